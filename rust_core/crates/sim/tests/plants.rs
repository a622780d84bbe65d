//! Each planted bug is found.

mod common;

use common::*;

/// Of 20 seeds, those in which one of these checks fires.
fn found(plant: &str, checks: &[&str], plan: impl Fn(u64) -> serde_json::Value) -> usize {
    let fires = |seed: &u64| broken(&run(&plan(*seed), &[plant])).iter().any(|name| checks.contains(name));
    (0..20).filter(fires).count()
}

fn isolated_leader(seed: u64) -> serde_json::Value {
    let isolate = anchored(0, "leader", at(S), Some(4 * S), 3, |node| cut(&around(node, 3)));
    plan(seed, 3, vec![isolate])
}

#[test]
fn an_isolated_leader_that_reads_from_its_own_state_is_stale() {
    assert!(found("stale-read", &["linearizable"], isolated_leader) >= 19);
}

#[test]
fn a_write_acknowledged_before_it_is_committed_is_lost_with_its_leader() {
    assert!(found("ack-before-commit", &["linearizable", "durable"], isolated_leader) >= 15);
}

#[test]
fn a_vote_that_a_power_loss_forgets_is_cast_twice() {
    // Each of the first voters loses power right after its vote, while the old leader is away.
    let plan = |seed| {
        let mut steps = vec![anchored(0, "leader", at(S), Some(2 * S), 5, |node| process("kill", &[node]))];
        for id in 1..=6 {
            steps.push(anchored(id, "event", on("vote_cast", 4 + id), Some(5 * MS), 5, |node| {
                process("power_off", &[node])
            }));
        }
        plan(seed, 5, steps)
    };
    let seeds = found("vote-not-durable", &["election_safety", "monotonic"], plan);
    assert!(seeds >= 1, "found in {seeds} of 20 seeds");
}

#[test]
fn an_unknown_plant_is_refused_by_name() {
    let plan = mcp_chaos_sim::Plan::from_value(plan(1, 3, vec![])).unwrap();
    let error = mcp_chaos_sim::simulate(plan, &["stale-reads"]).unwrap_err();
    assert!(error.to_string().contains("did you mean \"stale-read\""), "{error}");
}
