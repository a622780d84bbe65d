//! Each kind of fault takes hold, ends, and says so with evidence; faults compose.

mod common;

use common::*;
use mcp_chaos_evidence::{Kind, Phase, Role, Status, TraceEvent};
use mcp_chaos_sim::Plan;
use serde_json::{Value, json};

#[test]
fn a_quiet_run_is_valid_and_busy() {
    let run = run(&plan(1, 3, vec![]), NO_PLANTS);
    assert_valid(&run, "quiet");
    let ok = successes(&run, (START, START + 8 * S)).count();
    assert!(ok > 700, "about 800 operations and 240 home reads in 8 s, less the mismatches: {ok}");
    let failed = run.history.iter().filter(|event| matches!(event.kind, Kind::Fail | Kind::Info));
    assert!(failed.into_iter().all(|event| event.error.as_deref() == Some("mismatch")));
    assert_eq!(
        run.history.iter().filter(|event| event.is_final && event.kind == Kind::Ok).count(),
        2 + 2 * 3
    );
    assert_eq!(run.nemesis.len(), 1, "all_healed");
    assert!(run.trace.iter().any(|record| matches!(record.event, TraceEvent::SnapshotMade { .. })));
}

#[test]
fn an_isolated_leader_is_cut_off_both_ways_until_the_end() {
    let isolate = anchored(0, "leader", at(S), Some(2 * S), 3, |node| cut(&around(node, 3)));
    let run = run(&plan(2, 3, vec![isolate]), NO_PLANTS);
    assert_valid(&run, "isolated leader");
    let install = record(&run, 0, Phase::Install);
    assert_eq!((install.status, install.time_ns), (Status::Done, START + S));
    let links = install.evidence["links"].as_array().unwrap();
    assert_eq!(links.len(), 4);
    for link in links {
        assert_eq!(link["delivered"], 0, "{link}");
    }
    assert!(links.iter().map(|link| link["withheld"].as_u64().unwrap()).sum::<u64>() > 50);
    assert_eq!(record(&run, 0, Phase::Heal).evidence["links_still_cut"], json!([]));
    let leader = install.anchor.unwrap();
    let during = in_force(&run, 0);
    let stepped_down = events(&run, leader, during)
        .any(|event| matches!(event, TraceEvent::RoleChanged { role: Role::Follower, .. }));
    assert!(stepped_down, "for want of a quorum");
    assert!(successes(&run, during).filter(|event| !event.home).count() > 50, "the others go on");
    let reads_at_leader =
        successes(&run, (during.0 + 100 * MS, during.1)).filter(|event| event.node == Some(leader));
    assert_eq!(reads_at_leader.count(), 0, "and it answers nothing");
}

#[test]
fn a_one_way_cut_leaves_the_other_way_open() {
    let run = run(&plan(3, 3, vec![step(0, at(S), Some(2 * S), cut(&[(1, 2)]))]), NO_PLANTS);
    assert_valid(&run, "one way");
    let links = &record(&run, 0, Phase::Install).evidence["links"];
    assert_eq!((links[0]["delivered"].as_u64(), links.as_array().unwrap().len()), (Some(0), 1));
    assert!(links[0]["withheld"].as_u64().unwrap() > 0, "{links}");
}

#[test]
fn clients_cut_off_from_a_node_go_to_another() {
    let run = run(&plan(18, 3, vec![step(0, at(S), Some(2 * S), cut(&[(0, 1), (1, 0)]))]), NO_PLANTS);
    assert_valid(&run, "clients cut off");
    let during = in_force(&run, 0);
    assert_eq!(record(&run, 0, Phase::Install).links[0], ("clients".to_owned(), "n1".to_owned()));
    let by_node = tally(successes(&run, (during.0 + 10 * MS, during.1)).map(|event| event.node.unwrap()));
    assert!(!by_node.contains_key(&1), "{by_node:?}");
    let home: Vec<_> =
        run.history.iter().filter(|event| event.process == 500 && event.kind == Kind::Fail).collect();
    assert!(!home.is_empty() && home.iter().all(|event| event.error.as_deref() == Some("timeout")));
}

#[test]
fn latency_delays_every_message_of_its_links() {
    let slow =
        anchored(0, "leader", at(S), Some(2 * S), 3, |node| latency(&around(node, 3), 30 * MS, 60 * MS));
    let run = run(&plan(4, 3, vec![slow]), NO_PLANTS);
    assert_valid(&run, "latency");
    for link in record(&run, 0, Phase::Install).evidence["links"].as_array().unwrap() {
        assert_eq!(link["delayed"], link["sent"]);
        assert!(link["delayed"].as_u64().unwrap() > 20, "{link}");
    }
    let (from_ns, to_ns) = in_force(&run, 0);
    let writes =
        |from_ns, to_ns| successes(&run, (from_ns, to_ns)).filter(|event| event.sequence.is_some()).count();
    assert!(writes(from_ns + S, to_ns) < writes(from_ns - S, from_ns), "writes take longer");
}

#[test]
fn a_killed_node_is_silent_and_comes_back_with_all_it_wrote() {
    let kill = anchored(0, "leader", at(S), Some(S), 3, |node| process("kill", &[node]));
    let run = run(&plan(5, 3, vec![kill]), NO_PLANTS);
    assert_valid(&run, "kill");
    let install = record(&run, 0, Phase::Install);
    let node = install.anchor.unwrap();
    let (from_ns, to_ns) = in_force(&run, 0);
    assert_eq!(install.evidence["processes"][name(node)], "down");
    assert_eq!(events(&run, node, (from_ns + 1, to_ns)).count(), 0);
    let started = events(&run, node, (to_ns, u64::MAX)).next().unwrap();
    let last = |events: &mut dyn Iterator<Item = &TraceEvent>| {
        events
            .filter_map(
                |event| if let TraceEvent::Appended { index, .. } = event { Some(*index) } else { None },
            )
            .last()
    };
    let before = last(&mut events(&run, node, (0, from_ns + 1))).unwrap();
    assert!(
        matches!(started, TraceEvent::Started { last_index, .. } if *last_index >= before),
        "{started:?}"
    );
}

#[test]
fn clients_see_refusals_and_resets_at_a_killed_node() {
    let kill = anchored(0, "leader", at(S), Some(2 * S), 3, |node| process("kill", &[node]));
    let run = run(&plan(6, 3, vec![kill]), NO_PLANTS);
    let errors = tally(run.history.iter().filter_map(|event| event.error.as_deref()));
    assert!(errors["connection_refused"] > 10, "the home reader of the dead node: {errors:?}");
}

#[test]
fn power_loss_takes_only_what_was_not_synced() {
    // All nodes lose power together, several times: what was acknowledged must still be there.
    let off = |id, at_ns| step(id, at(at_ns), Some(300 * MS), process("power_off", &[1, 2, 3]));
    let mut lost = 0;
    for seed in 0..20 {
        let run =
            run(&plan(seed, 3, vec![off(0, S), off(1, 2 * S), off(2, 3 * S), off(3, 4 * S)]), NO_PLANTS);
        assert_valid(&run, &format!("power loss, seed {seed}"));
        // What a leader had written and not synced may be gone: then its proposal was never acknowledged.
        lost += run.history.iter().filter(|event| event.kind == Kind::Info).count();
    }
    assert!(lost > 0, "some operations were under way when the power went");
}

#[test]
fn a_paused_node_handles_nothing_and_goes_on_without_a_new_boot() {
    let pause = anchored(0, "leader", at(S), Some(2 * S), 3, |node| process("pause", &[node]));
    let run = run(&plan(8, 3, vec![pause]), NO_PLANTS);
    assert_valid(&run, "pause");
    let install = record(&run, 0, Phase::Install);
    let node = install.anchor.unwrap();
    let (from_ns, to_ns) = in_force(&run, 0);
    assert_eq!(install.evidence["ticks_withheld"][name(node)], 100);
    assert_eq!(events(&run, node, (from_ns + 1, to_ns)).count(), 0);
    assert!(events(&run, node, (to_ns, u64::MAX)).count() > 10);
    assert!(!events(&run, node, (to_ns, u64::MAX)).any(|event| matches!(event, TraceEvent::Started { .. })));
    assert!(successes(&run, (from_ns, to_ns)).count() > 20, "the others elect a leader meanwhile");
}

#[test]
fn a_restart_is_over_when_the_process_is_up() {
    let run = run(&plan(9, 3, vec![step(0, at(S), None, process("restart", &[1, 2]))]), NO_PLANTS);
    assert_valid(&run, "restart");
    let (from_ns, to_ns) = in_force(&run, 0);
    assert!((20 * MS..=80 * MS).contains(&(to_ns - from_ns)));
    assert_eq!(record(&run, 0, Phase::Heal).evidence["processes"], json!({"n1": "up", "n2": "up"}));
}

#[test]
fn leadership_is_handed_over() {
    let transfer = |id, at_ns, to| step(id, at(at_ns), None, process("transfer_leader", &[to]));
    let run =
        run(&plan(10, 3, vec![transfer(0, S, 1), transfer(1, 2 * S, 2), transfer(2, 3 * S, 2)]), NO_PLANTS);
    assert_valid(&run, "transfer");
    assert_eq!(
        record(&run, 1, Phase::Install).evidence,
        json!({"leader_before": "n1", "leader_after": "n2"})
    );
    let again = record(&run, 2, Phase::Install);
    assert_eq!((again.status, again.reason.as_deref()), (Status::Skipped, Some("n2 led already")));
}

#[test]
fn faults_on_one_target_end_one_by_one() {
    let steps = vec![
        step(0, at(S), Some(2 * S), cut(&[(1, 2), (2, 1)])),
        step(1, at(2 * S), Some(2 * S), cut(&[(1, 2)])),
        step(2, at(S), Some(2 * S), process("kill", &[3])),
        step(3, at(2 * S), Some(2 * S), process("power_off", &[3])),
        step(4, at(2 * S + S / 2), None, process("restart", &[3])),
    ];
    let run = run(&plan(11, 5, steps), NO_PLANTS);
    assert_valid(&run, "composition");
    assert_eq!(record(&run, 0, Phase::Heal).evidence["links_still_cut"], json!([["n1", "n2"]]));
    assert_eq!(record(&run, 1, Phase::Heal).evidence["links_still_cut"], json!([]));
    assert_eq!(record(&run, 2, Phase::Heal).evidence["processes"], json!({"n3": "down"}));
    assert_eq!(record(&run, 3, Phase::Heal).evidence["processes"], json!({"n3": "starting"}));
    assert!(
        record(&run, 4, Phase::Heal).time_ns > START + 4 * S,
        "a restart waits for who holds the node down"
    );
    assert_eq!(events(&run, 3, (START + S + 1, START + 4 * S)).count(), 0);
}

#[test]
fn a_machine_without_power_stays_silent_when_it_is_killed_or_restarted() {
    let steps = vec![
        step(0, at(S), Some(4 * S), process("power_off", &[3])),
        step(1, at(2 * S), Some(S), process("kill", &[3])),
        step(2, at(4 * S), None, process("restart", &[3])),
    ];
    let run = run(&plan(19, 3, steps), NO_PLANTS);
    assert_valid(&run, "kill without power");
    // A request that was under way when the power went, or arrives when the machine is coming up again, may
    // be turned away at once; one in between gets no answer.
    let home: Vec<_> = run.history.iter().filter(|event| event.process == 502).collect();
    let during = START + S + 100 * MS..START + 5 * S;
    let failed = home.iter().filter(|event| event.kind == Kind::Fail && during.contains(&event.time_ns));
    let errors = tally(failed.map(|event| event.error.as_deref().unwrap()));
    assert_eq!(errors.keys().collect::<Vec<_>>(), [&"timeout"], "{errors:?}");
    assert_eq!(record(&run, 1, Phase::Heal).evidence["processes"], json!({"n3": "down"}));
    assert!(record(&run, 2, Phase::Heal).time_ns > START + 5 * S, "up when the power is back");
}

#[test]
fn a_step_due_at_the_heal_itself_is_skipped() {
    let run = run(&plan(20, 3, vec![step(0, at(6 * S), Some(S), process("kill", &[1]))]), NO_PLANTS);
    let late = record(&run, 0, Phase::Install);
    assert_eq!((late.status, late.time_ns), (Status::Skipped, START + 6 * S));
    assert_eq!(late.reason.as_deref(), Some("every fault was healed before it could be carried out"));
    assert!(run.nemesis.iter().all(|record| record.phase != Phase::Heal), "nothing began, so nothing ends");
}

#[test]
fn everything_ends_at_the_heal_and_what_never_happened_is_skipped() {
    let steps = vec![
        step(0, at(S), None, cut(&around(1, 3))),
        step(1, at(5 * S), Some(60 * S), process("kill", &[2])),
        step(2, on("snapshot_installed", 1_000), Some(S), process("kill", &[3])),
    ];
    let run = run(&plan(12, 3, steps), NO_PLANTS);
    assert_valid(&run, "heal");
    for step in [0, 1] {
        assert_eq!(record(&run, step, Phase::Heal).time_ns, START + 6 * S);
    }
    let never = record(&run, 2, Phase::Install);
    assert_eq!(never.status, Status::Skipped);
    let reason = never.reason.as_deref().unwrap();
    assert!(
        reason.starts_with("snapshot_installed happened ") && reason.contains("of 1000 times"),
        "{reason}"
    );
    let healed = run.nemesis.iter().find(|record| record.phase == Phase::AllHealed).unwrap();
    assert_eq!((healed.time_ns, &healed.evidence["links_cut"]), (START + 6 * S, &json!(0)));
}

#[test]
fn a_step_that_needs_a_leader_waits_two_seconds_for_one() {
    let steps = vec![
        step(0, at(S), None, process("kill", &[1, 2])),
        anchored(1, "leader", at(3 * S), Some(S), 3, |node| process("kill", &[node])),
    ];
    let run = run(&plan(13, 3, steps), NO_PLANTS);
    let skipped = record(&run, 1, Phase::Install);
    assert_eq!((skipped.status, skipped.time_ns), (Status::Skipped, START + 5 * S));
    assert_eq!(skipped.reason.as_deref(), Some("nobody led, for 2 s"));
}

#[test]
fn an_event_step_fires_at_its_event() {
    let off = anchored(0, "event", on("vote_cast", 2), Some(S), 3, |node| process("power_off", &[node]));
    let run = run(&plan(14, 3, vec![off]), NO_PLANTS);
    assert_valid(&run, "on vote_cast");
    let install = record(&run, 0, Phase::Install);
    let mut votes = run.trace.iter().filter(|record| matches!(record.event, TraceEvent::VoteCast { .. }));
    let second = votes.nth(1).unwrap();
    assert_eq!((install.time_ns, install.anchor), (second.time_ns, Some(second.node)));
}

#[test]
fn a_snapshot_reaches_a_follower_that_was_away_for_long() {
    let run = run(&plan(15, 3, vec![step(0, at(0), Some(5 * S), process("kill", &[3]))]), NO_PLANTS);
    assert_valid(&run, "snapshot");
    let installed = run
        .trace
        .iter()
        .any(|record| record.node == 3 && matches!(record.event, TraceEvent::SnapshotInstalled { .. }));
    assert!(installed, "the log had been compacted below what n3 needs");
}

#[test]
fn a_cluster_that_does_not_recover_in_time_still_gives_its_evidence() {
    // Power is back one second before the end, and recovery is given no time at all.
    let mut plan = plan(16, 3, vec![step(0, at(5 * S), None, process("power_off", &[1, 2, 3]))]);
    plan["timeline"]["recovers_within_ns"] = json!(0);
    plan["timeline"]["workload_ns"] = json!(6 * S);
    let run = run(&plan, NO_PLANTS);
    let finals = run.history.iter().filter(|event| event.is_final && event.kind == Kind::Invoke).count();
    assert_eq!(finals, 2 + 2 * 3, "the final operations are tried all the same");
    let invoked = run.history.iter().filter(|event| event.kind == Kind::Invoke).count();
    assert_eq!(run.history.len(), 2 * invoked, "and each has an end");
}

#[test]
fn steps_given_by_hand_work_like_planned_ones() {
    let plan = Plan::from_value(plan(17, 3, vec![])).unwrap();
    let mut world = mcp_chaos_sim::World::new(plan, NO_PLANTS).unwrap();
    world.advance(START);
    let observed = world.observe();
    assert_eq!(
        (observed["now_ns"].as_u64(), observed["nodes"]["n1"]["process"].as_str()),
        (Some(START), Some("up"))
    );
    let step = |id: u64, action: Value| {
        let mut step = step(id, at(0), Some(S), action);
        step.as_object_mut().unwrap().remove("when");
        step.to_string()
    };
    let done = world.apply(&step(0, process("pause", &[1]))).unwrap();
    assert_eq!((done.status, done.time_ns), (Status::Done, START));
    assert_eq!(world.observe()["nodes"]["n1"]["process"], "paused");
    let error = world.apply(&step(0, process("kill", &[1]))).unwrap_err();
    assert!(error.to_string().contains("ids are unique"), "{error}");
    let error = world.apply(&step(1, process("kill", &[9]))).unwrap_err();
    assert_eq!(error.to_string(), "compiled plan: step.cases.*.nodes[0]: no node \"n9\"; expected n1 to n3");
    world.advance(START + S);
    assert_eq!(world.observe()["nodes"]["n1"]["process"], "up");
    world.advance(START + 6 * S);
    let late = world.apply(&step(2, process("kill", &[1]))).unwrap();
    assert_eq!(late.status, Status::Skipped);
    assert_valid(&world.finish(), "by hand");
}
