//! Messages that are lost, doubled, overtaken, throttled and torn: each fault takes hold, is seen in its evidence,
//! and leaves nothing behind.

mod common;

use common::*;
use mcp_chaos_evidence::{NodeId, Phase, Status};
use mcp_chaos_sim::Run;
use serde_json::{Value, json};

const ALL: [u64; 3] = [1, 2, 3];

/// The links between three nodes, both ways.
fn all_links() -> Vec<(NodeId, NodeId)> {
    let links = ALL.iter().flat_map(|node| around(*node, 3)).filter(|(from, to)| from < to);
    links.flat_map(|(from, to)| [(from, to), (to, from)]).collect()
}

/// A run in which all links of three nodes suffer this for two seconds.
fn with_all_links(seed: u64, what: &str, besides: Value) -> Run {
    let for_ns = (what != "reset").then_some(2 * S);
    let action = disturb(what, &all_links(), besides);
    let run = run(&plan(seed, 3, vec![step(0, at(S), for_ns, action)]), NO_PLANTS);
    assert_valid(&run, what);
    assert_eq!(record(&run, 0, Phase::Install).status, Status::Done);
    run
}

#[test]
fn a_share_of_the_messages_is_dropped() {
    let run = with_all_links(1, "drop", json!({"share_ppm": 300_000}));
    let install = record(&run, 0, Phase::Install);
    let (sent, dropped) = (over_links(install, "sent"), over_links(install, "dropped"));
    assert!((sent / 5..sent / 2).contains(&dropped), "about 3 of 10, found {dropped} of {sent}");
    assert_eq!(record(&run, 0, Phase::Heal).evidence["links_still_so"], json!([]));
}

#[test]
fn a_share_of_the_messages_arrives_twice() {
    let run = with_all_links(2, "duplicate", json!({"share_ppm": 500_000, "within_ns": 300 * MS}));
    let install = record(&run, 0, Phase::Install);
    let (sent, doubled) = (over_links(install, "sent"), over_links(install, "duplicated"));
    assert!((sent / 3..sent * 2 / 3).contains(&doubled), "about half, found {doubled} of {sent}");
    assert!(over_links(install, "delivered") > sent + doubled / 2, "and most copies came while it stood");
}

#[test]
fn a_share_of_the_messages_may_be_overtaken() {
    let run = with_all_links(3, "reorder", json!({"share_ppm": 500_000, "within_ns": 200 * MS}));
    let install = record(&run, 0, Phase::Install);
    assert!(over_links(install, "reordered") > over_links(install, "sent") / 3);
}

#[test]
fn a_limit_that_ends_leaves_a_wider_one_as_it_was() {
    let limit = |bytes_per_s: u64| disturb("bandwidth", &all_links(), json!({ "bytes_per_s": bytes_per_s }));
    let steps = vec![step(0, at(S), Some(4 * S), limit(1_000_000)), step(1, at(S), Some(S), limit(1))];
    let run = run(&plan(5, 3, steps), NO_PLANTS);
    assert_valid(&run, "bandwidth");
    let (_, to_ns) = in_force(&run, 1);
    assert!(
        successes(&run, (to_ns + S, to_ns + 3 * S)).count() > 50,
        "what came first does not stop the rest"
    );
}

#[test]
fn a_narrow_link_lets_messages_wait_and_what_waits_follows_when_it_widens() {
    let run = with_all_links(4, "bandwidth", json!({"bytes_per_s": 1_000}));
    let install = record(&run, 0, Phase::Install);
    let (queued, delivered) = (over_links(install, "queued"), over_links(install, "delivered"));
    assert!(queued > delivered + 100, "many wait: {delivered} of {queued} came through");
    assert!(over_links(install, "queued_bytes") > 10_000);
    let (_, to_ns) = in_force(&run, 0);
    assert!(successes(&run, (to_ns + S, to_ns + 2 * S)).count() > 50, "and then all is well at once");
}

#[test]
fn a_reset_loses_what_is_under_way_and_is_over_at_once() {
    let mut torn = 0;
    for seed in 0..10 {
        let run = with_all_links(seed, "reset", json!({}));
        let (from_ns, to_ns) = in_force(&run, 0);
        assert_eq!(from_ns, to_ns);
        torn += over_links(record(&run, 0, Phase::Install), "torn");
    }
    assert!(torn > 0, "something was under way");
}

#[test]
fn clients_see_connections_break() {
    let ways: Vec<(NodeId, NodeId)> = ALL.iter().flat_map(|node| [(0, *node), (*node, 0)]).collect();
    let resets = (0..20).map(|id| step(id, at(S + id * 100 * MS), None, disturb("reset", &ways, json!({}))));
    let run = run(&plan(5, 3, resets.collect()), NO_PLANTS);
    assert_valid(&run, "resets of the clients' connections");
    let torn: u64 = (0..20).map(|id| over_links(record(&run, id, Phase::Install), "torn")).sum();
    assert!(torn > 0);
    let errors = tally(run.history.iter().filter_map(|event| event.error.as_deref()));
    assert!(!errors.contains_key("timeout"), "who is told at once tries again: {errors:?}");
}

#[test]
fn faults_on_one_link_compose_and_each_ends_alone() {
    let links = around(1, 3);
    let steps = vec![
        step(0, at(S), Some(3 * S), disturb("drop", &links, json!({"share_ppm": 100_000}))),
        step(1, at(S), Some(S), disturb("drop", &links, json!({"share_ppm": 100_000}))),
        step(2, at(S), Some(2 * S), disturb("bandwidth", &links, json!({"bytes_per_s": 20_000}))),
        step(
            3,
            at(S),
            Some(2 * S),
            disturb("reorder", &links, json!({"share_ppm": 100_000, "within_ns": 50 * MS})),
        ),
        step(4, at(2 * S), Some(S), latency(&links, 10 * MS, 20 * MS)),
        step(5, at(2_500 * MS), None, disturb("reset", &links, json!({}))),
        step(6, at(2_600 * MS), Some(200 * MS), cut(&links)),
        step(7, at(2_700 * MS), Some(S), process("kill", &[1])),
    ];
    let run = run(&plan(6, 3, steps), NO_PLANTS);
    assert_valid(&run, "all together");
    let still = &record(&run, 1, Phase::Heal).evidence["links_still_so"];
    assert_eq!(still.as_array().unwrap().len(), 4, "the other drop stands: {still}");
    assert_eq!(record(&run, 0, Phase::Heal).evidence["links_still_so"], json!([]));
    let all_healed = run.nemesis.iter().find(|record| record.phase == Phase::AllHealed).unwrap();
    assert_eq!(all_healed.evidence["links_slow"], 0);
}

#[test]
fn a_fault_on_one_link_shifts_nothing_before_it() {
    let quiet = run(&plan(7, 3, vec![]), NO_PLANTS);
    for what in ["drop", "duplicate", "reorder", "bandwidth"] {
        let besides = match what {
            "drop" => json!({"share_ppm": 10_000}),
            "bandwidth" => json!({"bytes_per_s": 10_000}),
            _ => json!({"share_ppm": 10_000, "within_ns": MS}),
        };
        let with =
            run(&plan(7, 3, vec![step(0, at(2 * S), Some(S), disturb(what, &[(1, 2)], besides))]), NO_PLANTS);
        let before = |run: &Run| {
            run.trace.iter().filter(|record| record.time_ns < START + 2 * S).cloned().collect::<Vec<_>>()
        };
        assert!(before(&with) == before(&quiet), "{what}");
    }
}
