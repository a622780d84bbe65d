//! Clocks that stand off, drift and jump: what hangs on them, and that a clean cluster survives.

mod common;

use common::*;
use mcp_chaos_checker::{Check, Evidence, Limits, Objects, Verdict, judge};
use mcp_chaos_evidence::{HistoryEvent, Kind, NodeId, Phase, TraceEvent};
use mcp_chaos_sim::{Plan, Run, World};
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

/// A random mix, with some faults of clocks.
fn mix_of_clocks(seed: u64) -> Value {
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
    mix
}

#[test]
fn random_clocks_break_nothing() {
    for seed in 0..40 {
        assert_valid(&run(&mix_of_clocks(seed), NO_PLANTS), &format!("random clocks, seed {seed}"));
    }
}

/// That nobody holds what another holds, as far as leases may have ended.
#[track_caller]
fn assert_leases_hold(run: &Run, what: &str) {
    let evidence =
        Evidence { history: &run.history, traces: &run.trace, nemesis: &run.nemesis, system_has_trace: true };
    let limits = Limits { objects: Objects::Leases, ..Limits::default() };
    let judgement = &judge(&evidence, &[Check::Linearizable], &limits)[0];
    assert_eq!(judgement.verdict, Verdict::Valid, "{what}: {}", judgement.reason);
}

fn expired(run: &Run) -> impl Iterator<Item = u64> {
    let is_end = |event: &&HistoryEvent| event.f.name() == "expire" && event.kind == Kind::Invoke;
    run.history.iter().filter(is_end).map(|event| event.time_ns)
}

#[test]
fn leases_may_end_as_much_too_soon_as_clocks_have_come_apart() {
    for seed in 0..40 {
        let mut mix = mix_of_clocks(seed);
        mix["workload"]["kind"] = json!("leases");
        mix["workload"]["lease_ns"] = json!((300 + seed % 3 * 900) * MS);
        assert_leases_hold(&run(&mix, NO_PLANTS), &format!("leases under random clocks, seed {seed}"));
    }
}

// Whether clocks may jump was once read from the plan: a step done by hand ended leases that, for the history, went on.
#[test]
fn a_clock_set_by_hand_ends_leases_from_then_on() {
    let mut plan = plan(5, 3, vec![]);
    plan["workload"]["kind"] = json!("leases");
    plan["workload"]["lease_ns"] = json!(60 * S);
    let still = run(&plan, NO_PLANTS);
    assert_eq!(expired(&still).count(), 0, "they last longer than the run");
    let mut world = World::new(Plan::from_value(plan).unwrap(), NO_PLANTS).unwrap();
    world.advance(START + 2 * S);
    let jump = step(0, at(0), None, clock("clock_jump", &[1, 2, 3], "ahead_ns", 100 * S as i64));
    world.apply(&jump.to_string()).unwrap();
    let jumped = world.finish();
    assert_leases_hold(&jumped, "a jump by hand");
    assert!(expired(&jumped).count() > 1);
    assert!(expired(&jumped).all(|time_ns| time_ns >= START + 2 * S), "no lease ended before");
}

// A clock shows no time before its first. That hides nothing: the log's clock stands while a leader's clock is behind it,
// however far, and what it has reached lies after any clock's first time.
#[test]
fn how_far_a_clock_is_set_back_beyond_the_log_changes_nothing() {
    let history = |back: u64| {
        let jump = step(0, at(3 * S), None, clock("clock_jump", &[1, 2, 3], "ahead_ns", -(back as i64)));
        let mut plan = plan(6, 3, vec![jump]);
        plan["workload"]["kind"] = json!("leases");
        plan["workload"]["lease_ns"] = json!(S);
        let events = run(&plan, NO_PLANTS).history;
        let until_ns = START + 7 * S;
        let seen = events.into_iter().filter(|event| event.time_ns < until_ns && event.f.name() != "expire");
        seen.map(|event| (event.time_ns, event.process, event.kind, event.value)).collect::<Vec<_>>()
    };
    let (shown, stopped) = (history(5 * S), history(3_600 * S));
    assert!(shown.len() > 200, "{}", shown.len());
    assert_eq!(shown, stopped);
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
