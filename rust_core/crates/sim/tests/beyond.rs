//! Beyond Raft's model: disks that lie, rot, or are gone. The node concerned refuses, with a reason; the others go on.

mod common;

use common::*;
use mcp_chaos_checker::Verdict;
use mcp_chaos_evidence::{NodeId, Phase, TraceEvent};
use mcp_chaos_sim::Run;
use serde_json::{Value, json};

fn corrupt(node: NodeId, part: &str) -> Value {
    let mut action = process("corrupt", &[node]);
    action["part"] = json!(part);
    action
}

/// The last words of a node that is out.
fn refusal(run: &Run, node: NodeId) -> Option<&str> {
    match &run.trace.iter().rfind(|record| record.node == node)?.event {
        TraceEvent::Refused { reason } | TraceEvent::Stopped { reason } => Some(reason),
        _ => None,
    }
}

fn panics(run: &Run) -> Vec<&TraceEvent> {
    run.trace.iter().map(|record| &record.event).filter(|event| event.name() == "panicked").collect()
}

/// Of all checks but these: what they say of a run.
fn wrong_but_for(run: &Run, but: &[&str]) -> Vec<String> {
    judgements(run)
        .into_iter()
        .filter(|judged| judged.verdict != Verdict::Valid && !but.contains(&judged.check.name()))
        .map(|judged| format!("{}: {}", judged.check.name(), judged.reason))
        .collect()
}

/// That a disk forgot is what these say: the node's log, as it comes up, is not what it was.
const FORGETTING: &[&str] = &["committed_never_changes", "leader_completeness", "monotonic", "log_matching"];

#[test]
fn a_flipped_bit_is_refused_when_it_is_read_and_the_others_go_on() {
    let mut refused = 0;
    for seed in 0..40 {
        let part = ["any", "log", "snapshot"][seed as usize % 3];
        let steps = vec![
            step(0, at(2 * S), None, corrupt(1, part)),
            step(1, at(3 * S), None, process("restart", &[1])),
        ];
        let run = run(&plan(seed, 3, steps), NO_PLANTS);
        assert_valid(&run, &format!("seed {seed}"));
        let flipped = &record(&run, 0, Phase::Install).evidence["flipped"]["n1"];
        assert!(flipped["file"].is_string() && flipped["bit"].as_u64() < Some(8), "{flipped}");
        if let Some(reason) = refusal(&run, 1) {
            assert!(reason.starts_with("the data directory is corrupt"), "{reason}");
            refused += 1;
        }
        assert!(successes(&run, (START + 4 * S, START + 8 * S)).count() > 100, "the others go on");
    }
    // Not read again is what was compacted away meanwhile.
    assert!(refused >= 30, "{refused} of 40");
}

#[test]
fn a_wiped_node_refuses_to_come_back_under_its_old_identity() {
    for seed in 0..10 {
        let wipe = anchored(0, "leader", at(2 * S), None, 3, |leader| {
            process("wiped", &[if seed % 2 == 0 { leader } else { leader % 3 + 1 }])
        });
        let run = run(&plan(seed, 3, vec![wipe]), NO_PLANTS);
        assert_valid(&run, "wiped");
        let node = record(&run, 0, Phase::Install).nodes[0];
        assert!(refusal(&run, node).unwrap().starts_with("the data directory is empty"));
        let (_, gone_ns) = in_force(&run, 0);
        assert_eq!(events(&run, node, (gone_ns + 1, u64::MAX)).count(), 1, "it says so, and nothing else");
        assert!(successes(&run, (START + 4 * S, START + 8 * S)).count() > 100, "the others go on");
    }
}

#[test]
fn a_wiped_node_that_takes_part_again_is_seen() {
    let wipe = || vec![step(0, at(2 * S), None, process("wiped", &[2]))];
    for seed in 0..5 {
        let broken = broken(&run(&plan(seed, 3, wipe()), &["wiped-node-votes"]));
        assert!(broken.contains(&"monotonic"), "{broken:?}");
    }
}

#[test]
fn a_follower_that_has_forgotten_what_it_acknowledged_refuses_to_go_on() {
    let mut forgot = 0;
    for seed in 0..40 {
        let steps = vec![
            anchored(0, "leader", at(2 * S), Some(S), 3, |leader| process("lying_fsync", &[leader % 3 + 1])),
            anchored(1, "leader", at(2_500 * MS), Some(100 * MS), 3, |leader| {
                process("power_off", &[leader % 3 + 1])
            }),
        ];
        let run = run(&plan(seed, 3, steps), NO_PLANTS);
        assert_eq!(panics(&run), [] as [&TraceEvent; 0], "seed {seed}");
        let wrong = wrong_but_for(&run, FORGETTING);
        assert!(wrong.is_empty(), "seed {seed}: {wrong:?}");
        let install = record(&run, 0, Phase::Install);
        let node = install.nodes[0];
        let lies = &install.evidence["lies"][name(node)];
        assert!(lies["syncs"].as_u64() > Some(0), "{lies}");
        match refusal(&run, node) {
            Some(reason) => {
                assert!(
                    lies["lost_bytes"].as_u64() > Some(0) || lies["lost_names"].as_u64() > Some(0),
                    "{lies}"
                );
                let known = ["this node has forgotten", "the data directory is", "the log cannot be trusted"];
                assert!(known.iter().any(|words| reason.starts_with(words)), "{reason}");
                forgot += 1;
            }
            None => assert_eq!(broken(&run), [] as [&str; 0], "nothing was lost"),
        }
        assert!(successes(&run, (START + 4 * S, START + 8 * S)).count() > 100, "the others go on");
    }
    assert!(forgot >= 20, "{forgot} of 40");
}

#[test]
fn a_follower_that_does_not_look_for_what_it_has_forgotten_is_seen() {
    let mut seen = 0;
    for seed in 0..20 {
        let steps = vec![
            anchored(0, "leader", at(2 * S), Some(S), 3, |leader| process("lying_fsync", &[leader % 3 + 1])),
            anchored(1, "leader", at(2_500 * MS), Some(100 * MS), 3, |leader| {
                process("power_off", &[leader % 3 + 1])
            }),
        ];
        let run = run(&plan(seed, 3, steps), &["loss-unnoticed"]);
        let panicked = !panics(&run).is_empty();
        assert_eq!(broken(&run).contains(&"no_panic"), panicked, "seed {seed}");
        seen += u32::from(panicked);
    }
    assert!(seen >= 5, "{seen} of 20");
}

#[test]
fn what_a_majority_has_forgotten_nobody_can_refuse_and_the_checks_report() {
    let mut lost = 0;
    for seed in 0..40 {
        let all = [1, 2, 3];
        let steps = vec![
            step(0, at(2 * S), Some(2 * S), process("lying_fsync", &all)),
            step(1, at(3 * S), Some(100 * MS), process("power_off", &all)),
        ];
        let run = run(&plan(seed, 3, steps), NO_PLANTS);
        assert_eq!(panics(&run), [] as [&TraceEvent; 0], "seed {seed}");
        lost += usize::from(broken(&run).iter().any(|check| ["durable", "linearizable"].contains(check)));
    }
    assert!(lost >= 10, "{lost} of 40");
}

#[test]
fn with_the_lie_ends_the_danger() {
    for seed in 0..10 {
        let all = [1, 2, 3];
        let steps = vec![
            step(0, at(2 * S), Some(S), process("lying_fsync", &all)),
            step(1, at(3_500 * MS), Some(100 * MS), process("power_off", &all)),
        ];
        assert_valid(&run(&plan(seed, 3, steps), NO_PLANTS), "power lost after the lie");
    }
}

#[test]
fn a_node_on_a_disk_that_fails_or_is_held_down_may_be_wiped_too() {
    for seed in 0..5 {
        let steps = vec![
            step(0, at(2 * S), Some(2 * S), process("kill", &[1])),
            step(1, at(3 * S), None, process("wiped", &[1])),
            step(2, at(3 * S), Some(S), process("lying_fsync", &[2])),
            step(3, at(3_200 * MS), None, process("wiped", &[2])),
        ];
        let run = run(&plan(seed, 5, steps), NO_PLANTS);
        assert_valid(&run, "two of five are wiped");
        for node in [1, 2] {
            assert!(refusal(&run, node).unwrap().starts_with("the data directory is empty"));
        }
    }
}
