//! Disks that are full or fail: the node stops, acknowledges nothing that it could not keep, and comes back.

mod common;

use common::*;
use mcp_chaos_evidence::{NodeId, Phase, TraceEvent};
use mcp_chaos_sim::Run;
use serde_json::{Value, json};

fn disk_error(operations: &str, nodes: &[NodeId]) -> Value {
    let mut action = process("disk_error", nodes);
    action["operations"] = json!(operations);
    action
}

fn disk_failures(run: &Run, id: u64, node: NodeId) -> u64 {
    record(run, id, Phase::Install).evidence["disk_failures"][name(node)].as_u64().unwrap()
}

#[test]
fn a_leader_whose_disk_is_full_stops_and_comes_back_when_there_is_room() {
    let fault = anchored(0, "leader", at(S), Some(2 * S), 3, |leader| process("full_disk", &[leader]));
    let run = run(&plan(1, 3, vec![fault]), NO_PLANTS);
    assert_valid(&run, "full disk");
    let (from_ns, to_ns) = in_force(&run, 0);
    let leader = record(&run, 0, Phase::Install).anchor.unwrap();
    assert_eq!(disk_failures(&run, 0, leader), 1);
    assert_eq!(record(&run, 0, Phase::Install).evidence["processes_at_end"][name(leader)], "stopped");
    let stopped = events(&run, leader, (from_ns, to_ns)).last().unwrap();
    let TraceEvent::Stopped { reason } = stopped else { panic!("it stopped, found {stopped:?}") };
    assert!(reason.contains("no space left"), "{reason}");
    assert!(events(&run, leader, (to_ns, u64::MAX)).any(|event| matches!(event, TraceEvent::Started { .. })));
    assert!(successes(&run, (from_ns + S, to_ns)).count() > 20, "the others go on");
}

#[test]
fn nothing_is_lost_when_every_disk_fails_at_once() {
    for (seed, operations) in ["syncs", "writes", "reads", "all"].into_iter().cycle().take(24).enumerate() {
        let steps = vec![
            step(0, at(S), Some(S), disk_error(operations, &[1, 2, 3])),
            step(1, at(1_500 * MS), None, process("restart", &[2])),
            step(2, at(2_500 * MS), Some(S), process("power_off", &[1, 2, 3])),
            step(3, at(4 * S), Some(S), process("full_disk", &[1, 2, 3])),
        ];
        let run = run(&plan(seed as u64, 3, steps), NO_PLANTS);
        assert_valid(&run, &format!("{operations} fail, seed {seed}"));
        // Who is left alone has nothing to write.
        let failed = |id| (1..=3).filter(|node| disk_failures(&run, id, *node) > 0).count();
        assert!(failed(3) >= 2 && (failed(0) >= 2 || operations == "reads"), "{operations}, seed {seed}");
    }
}

#[test]
fn a_node_that_is_started_while_its_disk_fails_refuses_and_tries_again_when_it_is_well() {
    let steps = vec![
        step(0, at(S), Some(2 * S), disk_error("reads", &[2])),
        step(1, at(1_500 * MS), None, process("restart", &[2])),
        step(2, at(2 * S), Some(200 * MS), process("kill", &[2])),
    ];
    let run = run(&plan(3, 3, steps), NO_PLANTS);
    assert_valid(&run, "started on a failing disk");
    assert_eq!(disk_failures(&run, 0, 2), 2, "after the restart, and after the kill");
    let during = in_force(&run, 0);
    let refused = events(&run, 2, during).filter(|event| matches!(event, TraceEvent::Refused { .. })).count();
    assert_eq!(refused, 2);
    assert!(record(&run, 1, Phase::Heal).time_ns > during.1, "the restart is over when the process is up");
}

#[test]
fn who_writes_nothing_need_not_stop_and_steps_compose() {
    let steps = vec![
        step(0, at(S), Some(2 * S), disk_error("reads", &[1])),
        step(1, at(S), Some(3 * S), process("full_disk", &[1])),
        step(2, at(2 * S), Some(S), disk_error("syncs", &[1])),
    ];
    let run = run(&plan(4, 3, steps), NO_PLANTS);
    assert_valid(&run, "three faults on one disk");
    assert_eq!(disk_failures(&run, 0, 1), 1, "it stopped for want of room, once");
    let (_, to_ns) = in_force(&run, 1);
    let started: Vec<_> = run
        .trace
        .iter()
        .filter(|record| record.node == 1 && record.boot == 2)
        .map(|record| record.time_ns)
        .collect();
    assert!(started[0] >= to_ns, "and came up after the last of the three had ended");
}
