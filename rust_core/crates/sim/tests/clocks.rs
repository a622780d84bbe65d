//! Clocks that stand off, drift and jump: what hangs on them, and that a clean cluster survives.

mod common;

use common::*;
use mcp_chaos_evidence::{Kind, NodeId, Phase, TraceEvent};
use mcp_chaos_sim::Run;
use serde_json::{Value, json};

fn clock(what: &str, nodes: &[NodeId], amount: &str, value: i64) -> Value {
    let mut action = process(what, nodes);
    action[amount] = json!(value);
    action
}

fn of(run: &Run, id: u64, node: NodeId, counter: &str) -> i64 {
    record(run, id, Phase::Install).evidence["clocks"][name(node)][counter].as_i64().unwrap()
}

#[test]
fn a_drift_changes_how_often_a_node_ticks() {
    let drift = |id, node, ppm| step(id, at(S), Some(4 * S), clock("clock_drift", &[node], "fast_ppm", ppm));
    let run = run(&plan(1, 3, vec![drift(0, 1, 200_000), drift(1, 2, -200_000)]), NO_PLANTS);
    assert_valid(&run, "drift");
    // 4 s are 200 true ticks.
    assert!((238..=241).contains(&of(&run, 0, 1, "ticks")), "{}", of(&run, 0, 1, "ticks"));
    assert!((158..=161).contains(&of(&run, 1, 2, "ticks")), "{}", of(&run, 1, 2, "ticks"));
    assert_eq!(of(&run, 0, 1, "ahead_ns"), 800 * MS as i64);
    let left = &record(&run, 1, Phase::Heal).evidence["still_ahead_ns"];
    assert_eq!(left["n2"], json!(-800 * MS as i64), "what a drift has lost stays lost");
}

#[test]
fn a_fast_follower_calls_an_election_too_soon_and_all_is_well_again() {
    // A clock half as fast again: the follower's patience of 500 ms lasts 333 ms; heartbeats come every 100 ms.
    let faults = vec![
        anchored(0, "leader", at(S), Some(4 * S), 3, |leader| {
            clock("clock_drift", &[leader], "fast_ppm", -500_000)
        }),
        anchored(1, "leader", at(S), Some(4 * S), 3, |leader| {
            clock("clock_drift", &[leader % 3 + 1], "fast_ppm", 500_000)
        }),
    ];
    for seed in 0..5 {
        assert_valid(&run(&plan(seed, 3, faults.clone()), NO_PLANTS), "slow leader, fast follower");
    }
}

#[test]
fn an_offset_ends_and_a_jump_stays() {
    let faults = vec![
        step(0, at(S), Some(S), clock("clock_offset", &[1], "ahead_ns", 5 * S as i64)),
        step(1, at(3 * S), None, clock("clock_jump", &[1, 2], "ahead_ns", -(S as i64))),
    ];
    let run = run(&plan(3, 3, faults), NO_PLANTS);
    assert_valid(&run, "offset and jump");
    assert_eq!(of(&run, 0, 1, "ahead_ns"), 5 * S as i64);
    assert_eq!(record(&run, 0, Phase::Heal).evidence["still_ahead_ns"], json!({"n1": 0}));
    assert_eq!((of(&run, 1, 1, "ahead_ns"), of(&run, 1, 2, "ahead_ns")), (-(S as i64), -(S as i64)));
    let (begun, over) = in_force(&run, 1);
    assert_eq!(begun, over, "a jump is over at once");
}

#[test]
fn a_leader_whose_clock_jumps_beyond_it_expires_every_session_and_clients_open_new_ones() {
    let hour = 3_600 * S as i64;
    let jump =
        anchored(0, "leader", at(S), None, 3, |leader| clock("clock_jump", &[leader], "ahead_ns", hour));
    let run = run(&plan(4, 3, vec![jump]), NO_PLANTS);
    assert_valid(&run, "a jump of an hour");
    let expired = run
        .history
        .iter()
        .filter(|event| event.error.as_deref() == Some("session_expired"))
        .collect::<Vec<_>>();
    assert!(expired.len() >= 4, "{}", expired.len());
    let later = successes(&run, (START + 2 * S, START + 8 * S)).filter(|event| event.sequence.is_some());
    assert!(later.count() > 100, "writes go on");
}

#[test]
fn random_clocks_break_nothing() {
    for seed in 0..40 {
        let mut mix = random_mix(seed);
        let nodes = mix["nodes"].as_u64().unwrap();
        let draw = |n, low, high| {
            mcp_chaos_evidence::rng::Stream::new(seed, "clocks", 0, 0).between(n, low, high) as i64
        };
        let steps = mix["steps"].as_array_mut().unwrap();
        for id in 0..4 {
            let (node, way) = (draw(id * 4, 1, nodes) as u64, draw(id * 4 + 1, 0, 1) * 2 - 1);
            let fault = match draw(id * 4 + 2, 0, 2) {
                0 => clock("clock_offset", &[node], "ahead_ns", way * draw(id * 4 + 3, 0, 5_000) * MS as i64),
                1 => clock("clock_jump", &[node], "ahead_ns", way * draw(id * 4 + 3, 0, 1_000) * S as i64),
                _ => clock("clock_drift", &[node], "fast_ppm", way * draw(id * 4 + 3, 0, 200_000)),
            };
            steps.push(step(100 + id, at(draw(id * 4 + 3, 0, 5_000) as u64 * MS), Some(2 * S), fault));
        }
        assert_valid(&run(&mix, NO_PLANTS), &format!("random clocks, seed {seed}"));
    }
}

#[test]
fn a_lease_on_a_clock_without_room_for_drift_serves_stale_reads_under_drift_alone() {
    // The leader's clock is slow, the others' are fast, and then the leader is cut off.
    let faults = |drifts: bool| {
        let mut faults = Vec::new();
        for (id, at_ns) in [(0, 1_000), (10, 2_500), (20, 4_000)] {
            if drifts {
                faults.push(anchored(id, "leader", at(at_ns * MS), Some(1_200 * MS), 3, |leader| {
                    clock("clock_drift", &[leader], "fast_ppm", -200_000)
                }));
                faults.push(anchored(id + 1, "leader", at(at_ns * MS), Some(1_200 * MS), 3, |leader| {
                    clock("clock_drift", &[leader % 3 + 1, (leader + 1) % 3 + 1], "fast_ppm", 200_000)
                }));
            }
            faults.push(anchored(id + 2, "leader", at((at_ns + 200) * MS), Some(S), 3, |leader| {
                cut(&around(leader, 3))
            }));
        }
        faults
    };
    let broken_with = |drifts| {
        let plans = (0..60).map(|seed| {
            let mut plan = plan(seed, 3, faults(drifts));
            plan["workload"]["home_read_interval_ns"] = json!(10 * MS);
            plan
        });
        plans.filter(|plan| !broken(&run(plan, &["lease-read-drift"])).is_empty()).count()
    };
    let (with, without) = (broken_with(true), broken_with(false));
    assert!(with >= 5, "{with} of 60");
    assert_eq!(without, 0, "with clocks of one rate the lease is right");
}

#[test]
fn a_lease_on_a_clock_survives_a_pause_and_one_in_ticks_does_not() {
    // The leader goes on behind a cut: nobody tells it that another leads by now.
    let faults = |id, at_ns| {
        [
            anchored(id, "leader", at(at_ns), Some(1_500 * MS), 3, |leader| process("pause", &[leader])),
            anchored(id + 1, "leader", at(at_ns), Some(1_900 * MS), 3, |leader| cut(&around(leader, 3))),
        ]
    };
    let broken_with = |plant: &str| {
        let plans = (0..20).map(|seed| plan(seed, 3, [faults(0, S), faults(10, 4 * S)].concat()));
        plans.filter(|plan| !broken(&run(plan, &[plant])).is_empty()).count()
    };
    assert_eq!(broken_with("lease-read-drift"), 0, "the monotonic clock goes on during a pause");
    assert!(broken_with("lease-read") > 0, "ticks stand still");
}

#[test]
fn what_expires_in_the_order_of_a_map_differs_from_node_to_node() {
    let jump = anchored(0, "leader", at(S), None, 3, |leader| {
        clock("clock_jump", &[leader], "ahead_ns", 3_600 * S as i64)
    });
    let run = run(&plan(5, 3, vec![jump]), &["map-order"]);
    assert_eq!(broken(&run).iter().filter(|check| **check == "state_machine_safety").count(), 1);
    assert!(run.history.iter().any(|event| event.kind == Kind::Ok));
    assert!(run.trace.iter().any(|record| matches!(record.event, TraceEvent::Applied { .. })));
}
