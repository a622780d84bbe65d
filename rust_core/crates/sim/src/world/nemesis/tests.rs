//! Every event that a step may wait for, held against an account of the run that knows nothing of steps.

use std::collections::BTreeSet;

use mcp_chaos_consensus::MessageKind;
use mcp_chaos_evidence::{NodeId, Phase, Status, TraceEvent};
use mcp_chaos_wal::DiskOp;
use mcp_manager::command::Response;
use serde_json::{Value, json};

use crate::clients::Reply;
use crate::plan::{DISK_SYNC, DISK_WRITE, EVENTS, Plan, Sent};
use crate::process::State;
use crate::testing::plan_json;
use crate::world::lines::Parcel;
use crate::world::{Event, START_NS, World};

const MS: u64 = 1_000_000;

/// A run in which everything happens: a leader dies, a disk fails under a node and another at its start, a follower
/// is brought up to date by a snapshot, a leader is cut off with entries that nobody else has.
fn eventful(seed: u64, waits: Option<Value>) -> World {
    let step = |id: u64, at_ms: u64, for_ms: u64, action: Value| {
        json!({"id": id, "fixed": true, "kind": action["do"], "when": {"at_ns": at_ms * MS}, "for_ns": for_ms * MS,
               "anchor": "none", "cases": {"*": action}})
    };
    let on_nodes = |what: &str, nodes: &[&str]| json!({"do": what, "nodes": nodes, "links": []});
    let failing = |node: &str, operations: &str| json!({"do": "disk_error", "nodes": [node], "links": [], "operations": operations});
    let isolated = |node: NodeId| {
        let links: Vec<_> = (1..=3).filter(|other| *other != node).collect();
        let links = links.iter().flat_map(|other| {
            [[format!("n{node}"), format!("n{other}")], [format!("n{other}"), format!("n{node}")]]
        });
        json!({"do": "cut", "nodes": [format!("n{node}")], "links": links.collect::<Vec<_>>()})
    };
    let cut_leader = json!({"id": 5, "fixed": true, "kind": "partition", "when": {"at_ns": 3_500 * MS},
        "for_ns": 1_500 * MS, "anchor": "leader",
        "cases": {"n1": isolated(1), "n2": isolated(2), "n3": isolated(3)}});
    let mut plan = plan_json(seed, 3);
    plan["options"]["snapshot_every_entries"] = json!(10);
    plan["options"]["keep_entries"] = json!(25);
    plan["timeline"]["workload_ns"] = json!(7_000 * MS);
    plan["timeline"]["heal_ns"] = json!(6_000 * MS);
    plan["steps"] = json!([
        step(0, 500, 1_000, on_nodes("kill", &["n1"])),
        step(1, 2_000, 300, failing("n2", "writes")),
        step(2, 2_600, 200, failing("n3", "reads")),
        step(3, 2_700, 10, on_nodes("kill", &["n3"])),
        step(4, 3_000, 10, on_nodes("restart", &["n2"])),
        cut_leader,
    ]);
    plan["steps"].as_array_mut().expect("a list").extend(waits);
    World::new(Plan::from_value(plan).expect("the plan is sound"), &[] as &[&str]).expect("no plants")
}

/// When and where an event happened, told from what lies open: records, disks, and messages under way.
fn occurrences(seed: u64, event: &str, panics_at_ns: u64) -> Vec<(u64, NodeId)> {
    let mut world = eventful(seed, None);
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    // What founding wrote came before the first start, and does not count.
    let mut counts = [1, 2, 3].map(|node| disk_operations(&world, event, node));
    note_messages(&world, event, &mut seen, &mut found);
    while !world.is_over() {
        advance(&mut world, event, panics_at_ns);
        note_messages(&world, event, &mut seen, &mut found);
        for (node, count) in (1..).zip(&mut counts) {
            let now = disk_operations(&world, event, node);
            found.extend((*count..now).map(|_| (world.now_ns, node)));
            *count = now;
        }
    }
    let traced = world.records.trace.iter().filter(|record| record.event.name() == event);
    found.extend(traced.map(|record| (record.time_ns, record.node)));
    found
}

/// How many writes, or syncs, the disk of a node has seen.
fn disk_operations(world: &World, event: &str, node: NodeId) -> u64 {
    let disk = world.machines[node as usize - 1].disk();
    match event {
        DISK_WRITE => disk.count(DiskOp::Write),
        DISK_SYNC => disk.count(DiskOp::Sync),
        _ => 0,
    }
}

/// One moment more. Nothing in a node of ours panics, so a panic is given to one.
fn advance(world: &mut World, event: &str, panics_at_ns: u64) {
    let next_ns = world.queue.next_time_ns().expect("the run is not over");
    if event == "panicked" && world.now_ns < panics_at_ns && next_ns >= panics_at_ns {
        world.advance(panics_at_ns);
        world.end_badly(2, crate::world::machines::Mishap::Panicked("oh".into()));
        world.settle();
    } else {
        world.advance(next_ns);
    }
}

fn note_messages(
    world: &World,
    event: &str,
    seen: &mut BTreeSet<(NodeId, String)>,
    found: &mut Vec<(u64, NodeId)>,
) {
    for (due_ns, waiting) in world.queue.waiting() {
        let Event::Arrives { from, to, parcel, .. } = waiting else { continue };
        let told = match parcel {
            Parcel::Peer(message) => {
                let is_it = match event {
                    "append_sent" => message.kind == MessageKind::Append && !message.entries.is_empty(),
                    "snapshot_sent" => message.kind == MessageKind::Snapshot,
                    "vote_requested" => message.kind == MessageKind::RequestVote,
                    "read_confirmed" => message.kind == MessageKind::ReadIndexResponse,
                    _ => false,
                };
                is_it.then(|| format!("{to} {due_ns} {message:?}"))
            }
            Parcel::Reply { client, serial, reply } => {
                let is_it = match &**reply {
                    Reply::Response(Response::Read { .. }) => event == "read_answered",
                    Reply::Response(Response::Applied { .. }) => event == "write_answered",
                    _ => false,
                };
                is_it.then(|| format!("{client} {serial}"))
            }
            _ => None,
        };
        if told.is_some_and(|told| seen.insert((*from, told))) {
            found.push((world.now_ns, *from));
        }
    }
}

/// Waits for the occurrence in the middle, at the node where the event happens most often, and for no other.
fn strikes_at_the_very_occurrence(event: &str) {
    let panics_at_ns = START_NS + 1_800 * MS;
    let healed_ns = START_NS + 6_000 * MS;
    // Not every run has everything: a leader that is cut off may have nothing that the others lack.
    let (seed, all) = (1..=20)
        .map(|seed| (seed, occurrences(seed, event, panics_at_ns)))
        .find(|(_, all)| all.iter().any(|(time_ns, _)| *time_ns < healed_ns))
        .unwrap_or_else(|| panic!("{event} never happens"));
    let at = |node: NodeId| {
        let of_node = all.iter().filter(|(time_ns, other)| *other == node && *time_ns < healed_ns);
        of_node.map(|(time_ns, _)| *time_ns).collect::<Vec<_>>()
    };
    let node = (1..=3).max_by_key(|node| at(*node).len()).expect("there are nodes");
    let times = at(node);
    let nth = times.len().div_ceil(2);

    let links = json!([["n1", "n2"]]);
    let mild =
        json!({"do": "latency", "nodes": ["n1"], "links": links, "delay_min_ns": 0, "delay_max_ns": 0});
    let mut world = eventful(
        seed,
        Some(json!({
            "id": 9, "fixed": true, "kind": "latency", "anchor": "event", "for_ns": MS,
            "when": {"on": {"event": event, "nth": nth, "node": format!("n{node}")}},
            "cases": {"n1": mild, "n2": mild, "n3": mild},
        })),
    );
    while !world.is_over() {
        advance(&mut world, event, panics_at_ns);
    }
    let mut struck = world.records.nemesis.iter().filter(|record| record.step == Some(9));
    let struck = struck.find(|record| record.phase == Phase::Install).expect("there is a record of the step");
    assert_eq!(struck.status, Status::Done, "{event}: {:?}", struck.reason);
    assert_eq!(
        (struck.time_ns, struck.anchor),
        (times[nth - 1], Some(node)),
        "{event}, no. {nth} of {}",
        times.len()
    );
}

#[test]
fn a_step_strikes_at_the_very_occurrence_of_every_event_it_can_wait_for() {
    let sent = Sent::ALL.map(Sent::name);
    for event in EVENTS.into_iter().chain([DISK_WRITE, DISK_SYNC]).chain(sent) {
        strikes_at_the_very_occurrence(event);
    }
}

#[test]
fn a_step_that_waits_may_take_down_who_panics_or_refuses() {
    let refusing = json!({
        "id": 9, "fixed": true, "kind": "kill", "anchor": "event", "for_ns": MS,
        "when": {"on": {"event": "refused", "nth": 1, "node": null}},
        "cases": {"n3": {"do": "kill", "nodes": ["n3"], "links": []}},
    });
    let run = eventful(11, Some(refusing)).finish();
    let record = run.nemesis.iter().find(|record| record.step == Some(9)).expect("its record");
    assert_eq!((record.status, record.anchor), (Status::Done, Some(3)));
    let last = run
        .trace
        .iter()
        .rfind(|record| record.node == 3 && matches!(record.event, TraceEvent::Started { .. }));
    assert!(last.is_some_and(|record| record.time_ns > START_NS + 2_700 * MS), "it comes up again");
}

#[test]
fn a_snapshot_on_its_way_is_lost_if_its_link_is_cut_as_it_leaves() {
    let cut = |node: u64| {
        let links: Vec<_> = (1..=3)
            .filter(|other| *other != node)
            .map(|other| [format!("n{node}"), format!("n{other}")])
            .collect();
        json!({"do": "cut", "nodes": [format!("n{node}")], "links": links})
    };
    let waits = json!({
        "id": 9, "fixed": true, "kind": "one_way", "anchor": "event", "for_ns": 20 * MS,
        "when": {"on": {"event": "snapshot_sent", "nth": 1, "node": null}},
        "cases": {"n1": cut(1), "n2": cut(2), "n3": cut(3)},
    });
    let mut world = eventful(11, Some(waits));
    let struck = loop {
        let next_ns = world.queue.next_time_ns().expect("it happens");
        world.advance(next_ns);
        if let Some(record) = world.records.nemesis.iter().find(|record| record.step == Some(9)) {
            break record.time_ns;
        }
    };
    world.advance(struck + 15 * MS);
    let installed = |record: &&mcp_chaos_evidence::TraceRecord| {
        matches!(record.event, TraceEvent::SnapshotInstalled { .. })
    };
    assert_eq!(world.records.trace.iter().filter(installed).count(), 0);
    assert!(world.machines.iter().any(|machine| matches!(machine.state, State::Up(_))));
}
