//! Members come and go under faults, as an administrator has them do.

mod common;

use common::*;
use mcp_chaos_checker::Verdict;
use mcp_chaos_evidence::{NodeId, Phase, Status, TraceEvent, rng::Stream};
use mcp_chaos_sim::Run;
use serde_json::{Value, json};

/// A plan with members and spares; 2 s more than others have between heal and end.
fn plan_with_spares(seed: u64, founders: u64, spares: u64, steps: Vec<Value>) -> Value {
    let mut plan = plan(seed, founders + spares, steps);
    plan["spares"] = json!(spares);
    plan
}

fn add_node() -> Value {
    json!({"do": "add_node", "nodes": [], "links": []})
}

/// The voters of the newest configuration.
fn voters_at_end(run: &Run) -> Vec<NodeId> {
    let changes = run.trace.iter().filter_map(|record| match &record.event {
        TraceEvent::ConfigChanged { index, voters, .. } => Some((*index, voters.clone())),
        _ => None,
    });
    changes.max_by_key(|(index, _)| *index).expect("there is a configuration").1
}

fn done(run: &Run, step: u64) {
    let record = record(run, step, Phase::Install);
    assert_eq!(record.status, Status::Done, "{record:?}");
}

#[test]
fn a_spare_is_empty_and_silent_until_it_is_added() {
    let run = run(&plan_with_spares(1, 3, 1, vec![step(0, at(2 * S), None, add_node())]), NO_PLANTS);
    assert_valid(&run, "a spare is added");
    done(&run, 0);
    assert_eq!(voters_at_end(&run), [1, 2, 3, 4]);
    let evidence = &record(&run, 0, Phase::Heal).evidence;
    assert_eq!(evidence["voters"], json!(["n1", "n2", "n3", "n4"]));
    assert!(evidence["asked"].as_u64().unwrap() >= 2, "to listen, then to vote: {evidence}");
    let first = run.trace.iter().find(|record| record.node == 4).unwrap();
    assert!(first.time_ns > START + 2 * S, "{first:?}");
    assert!(matches!(first.event, TraceEvent::Started { snapshot_index: 1.., .. }));
    let finals = run.history.iter().filter(|event| event.is_final && event.home && event.node == Some(4));
    assert!(finals.count() > 0, "it is asked for final reads");
}

#[test]
fn the_leader_is_removed_and_clients_go_on() {
    let remove = anchored(0, "leader", at(2 * S), None, 3, |node| process("remove_node", &[node]));
    let run = run(&plan(2, 3, vec![remove]), NO_PLANTS);
    assert_valid(&run, "the leader is removed");
    done(&run, 0);
    let removed = record(&run, 0, Phase::Install).anchor.unwrap();
    let left = voters_at_end(&run);
    assert!(left.len() == 2 && !left.contains(&removed), "{left:?}");
    let asked = run.history.iter().any(|event| event.is_final && event.home && event.node == Some(removed));
    assert!(!asked, "who left is not asked for a final read");
    assert!(successes(&run, (START + 4 * S, START + 8 * S)).count() > 200);
}

#[test]
fn a_lost_machine_is_replaced_in_one_joint_change() {
    let replace = anchored(0, "leader", at(2 * S), None, 4, |node| process("replace_node", &[node]));
    let run = run(&plan_with_spares(3, 3, 1, vec![replace]), NO_PLANTS);
    assert_valid(&run, "a machine is replaced");
    done(&run, 0);
    let heal = record(&run, 0, Phase::Heal);
    assert_eq!(heal.status, Status::Done, "{heal:?}");
    let lost = heal.nodes[0];
    let left = voters_at_end(&run);
    assert!(left.len() == 3 && left.contains(&4) && !left.contains(&lost), "{left:?}");
    let is_joint = |event: &TraceEvent| match event {
        TraceEvent::ConfigChanged { voters_outgoing, .. } => !voters_outgoing.is_empty(),
        _ => false,
    };
    assert!(run.trace.iter().any(|record| is_joint(&record.event)));
    let last = run.trace.iter().rfind(|record| record.node == lost).unwrap();
    assert!(last.time_ns <= START + 2 * S, "{last:?}");
}

#[test]
fn a_spare_takes_the_place_of_one_that_somebody_else_removed_meanwhile() {
    let steps = vec![
        step(0, at(2 * S), None, process("replace_node", &[1])),
        step(1, at(2 * S), None, process("remove_node", &[1])),
    ];
    let run = run(&plan_with_spares(6, 3, 1, steps), NO_PLANTS);
    assert_valid(&run, "replaced and removed");
    assert_eq!(voters_at_end(&run), [2, 3, 4], "it votes");
    assert_eq!(record(&run, 0, Phase::Heal).status, Status::Done);
}

#[test]
fn who_is_no_member_is_not_removed() {
    let steps = vec![step(0, at(2 * S), None, process("remove_node", &[4]))];
    let run = run(&plan_with_spares(7, 3, 1, steps), NO_PLANTS);
    let record = record(&run, 0, Phase::Install);
    assert_eq!((record.status, record.reason.as_deref()), (Status::Skipped, Some("n4 was no member")));
}

#[test]
fn of_those_who_vote_a_majority_lives_whatever_is_asked_for() {
    let steps = (0..5).map(|id| step(id, at((1 + id) * S / 2), None, process("remove_node", &[id % 3 + 1])));
    let steps = steps.chain([step(9, at(S / 2), Some(5 * S), process("kill", &[1]))]);
    let run = run(&plan(4, 3, steps.collect()), NO_PLANTS);
    for judgement in judgements(&run) {
        assert_ne!(judgement.verdict, Verdict::Invalid, "{}", judgement.reason);
    }
    assert!(!voters_at_end(&run).is_empty());
}

/// Two become three, and one of the first two is lost for good around that moment, while all others crash: what is left
/// goes by the new configuration, in which it is a majority, or nobody is lost.
#[test]
fn whoever_is_lost_while_a_change_takes_effect_is_done_without() {
    let places = (0..8).flat_map(|seed| (1..=8).map(move |nth| (seed, nth)));
    let reasons = tally(places.map(|(seed, nth)| {
        let steps = vec![
            step(0, at(S), None, add_node()),
            anchored(1, "event", on("config_changed", nth), None, 4, |_| process("replace_node", &[2])),
            step(2, on("config_changed", nth), Some(300 * MS), process("kill", &[1, 3])),
        ];
        let run = run(&plan_with_spares(seed, 2, 2, steps), NO_PLANTS);
        assert_valid(&run, &format!("seed {seed}, the {nth}th config_changed"));
        record(&run, 1, Phase::Install).reason.clone().unwrap_or_default()
    }));
    assert!(reasons[""] > 5, "{reasons:?}");
    assert!(reasons["without n2 no majority would live"] > 5, "{reasons:?}");
    assert!(
        reasons["without n2 no majority would live that has heard of the newest change"] > 5,
        "{reasons:?}"
    );
}

#[test]
fn a_snapshot_is_made_now() {
    let run = run(&plan(5, 3, vec![step(0, at(S / 4), None, process("snapshot_now", &[1, 2]))]), NO_PLANTS);
    assert_valid(&run, "a snapshot now");
    let made = |node| {
        let due = (START + S / 4, START + S / 4 + 100 * MS);
        events(&run, node, due).any(|event| matches!(event, TraceEvent::SnapshotMade { .. }))
    };
    assert_eq!([made(1), made(2), made(3)], [true, true, false]);
}

/// Up to 8 faults, changes of the membership among them.
fn membership_mix(seed: u64) -> Value {
    let stream = Stream::new(seed, "membership-mix", 0, 0);
    let mut drawn = 0;
    let mut draw = |low, high| {
        drawn += 1;
        stream.between(drawn, low, high)
    };
    let founders = draw(2, 5);
    let spares = draw(0, 3);
    let nodes = founders + spares;
    let count = draw(1, 8);
    let steps: Vec<Value> = (0..count)
        .map(|id| {
            let for_ns = Some(draw(50, 2_500) * MS);
            let events = ["vote_cast", "role_changed", "config_changed", "disk_sync", "snapshot_made"];
            let (anchor, when) = match draw(0, 3) {
                0 => ("event", on(events[draw(0, 4) as usize], draw(1, 12))),
                _ => ("leader", at(draw(0, 5_000) * MS)),
            };
            let shift = draw(0, nodes - 1);
            let other = move |node: NodeId| (node + shift - 1) % nodes + 1;
            let step = |action: &dyn Fn(NodeId) -> Value| anchored(id, anchor, when, for_ns, nodes, action);
            match draw(0, 11) {
                0 | 1 => step(&|_| add_node()),
                2 | 3 => step(&|node| process("remove_node", &[other(node)])),
                4 => step(&|node| process("replace_node", &[other(node)])),
                5 => step(&|node| process("snapshot_now", &[node])),
                6 => step(&|node| cut(&around(other(node), nodes))),
                7 => step(&|node| cut(&around(node, nodes)[1..])),
                8 => step(&|node| process("kill", &[other(node)])),
                9 => step(&|node| process("pause", &[other(node)])),
                10 => step(&|node| process("power_off", &[other(node)])),
                _ => step(&|node| process("transfer_leader", &[node % nodes + 1])),
            }
        })
        .collect();
    let mut plan = plan_with_spares(seed, founders, spares, steps);
    plan["options"]["snapshot_every_entries"] = json!([30, 100, 1_000][draw(0, 2) as usize]);
    for step in plan["steps"].as_array_mut().unwrap() {
        step["fixed"] = json!(false);
    }
    plan
}

#[test]
fn a_clean_cluster_survives_changes_under_faults() {
    let mut kinds = std::collections::BTreeMap::<(String, bool), u64>::new();
    for seed in 0..120 {
        let run = run(&membership_mix(seed), NO_PLANTS);
        for judgement in judgements(&run) {
            let name = judgement.check.name();
            assert_ne!(judgement.verdict, Verdict::Invalid, "seed {seed}: {name}: {}", judgement.reason);
        }
        for record in run.nemesis.iter().filter(|record| record.phase == Phase::Install) {
            *kinds.entry((record.kind.clone(), record.status == Status::Done)).or_default() += 1;
        }
    }
    for kind in ["add_node", "remove_node", "replace_node", "snapshot_now"] {
        assert!(kinds.get(&(kind.to_owned(), true)).is_some_and(|count| *count > 5), "{kinds:?}");
    }
}

#[test]
fn a_learner_that_counts_as_a_voter_is_found_over_the_random_mix() {
    let found = |seed: &u64| broken(&run(&membership_mix(*seed), &["learner-counted"]));
    let checks: Vec<_> = (0..60).map(|seed| found(&seed)).filter(|checks| !checks.is_empty()).collect();
    assert!(checks.iter().flatten().any(|check| *check == "committed_never_changes"), "{checks:?}");
}

/// A member that joined was founded by nobody's `init`: with the planted bug it comes back empty, and waits.
#[test]
fn a_member_that_joined_and_is_wiped_is_founded_by_nobody() {
    let steps =
        || vec![step(0, at(2 * S), None, add_node()), step(1, at(4 * S), None, process("wiped", &[4]))];
    let clean = run(&plan_with_spares(1, 3, 1, steps()), NO_PLANTS);
    assert_valid(&clean, "it refuses");
    assert!(clean.trace.iter().any(|record| record.node == 4 && record.event.name() == "refused"));
    let planted = run(&plan_with_spares(1, 3, 1, steps()), &["wiped-node-votes"]);
    let founded = |run: &Run| {
        let of_4 = run.trace.iter().filter(|record| record.node == 4);
        of_4.filter(|record| record.event.name() == "initialized").count()
    };
    assert_eq!((founded(&clean), founded(&planted)), (0, 0));
    assert!(!planted.trace.iter().any(|record| record.event.name() == "refused"));
}
