//! A world driven by hand: operations of one's own, and what can be seen of it.

mod common;

use common::*;
use mcp_chaos_evidence::{HistoryEvent, Kind};
use mcp_chaos_sim::{HandOutcome, Plan, Run, World};
use serde_json::{Value, json};

/// A world whose clients do nothing by themselves.
fn quiet(seed: u64, steps: Vec<Value>, plants: &[&str]) -> World {
    let mut plan = plan(seed, 3, steps);
    plan["workload"]["only"] = json!([]);
    World::new(Plan::from_value(plan).unwrap(), plants).unwrap()
}

fn operate(world: &mut World, operation: Value) -> u64 {
    world.operate(&operation.to_string()).unwrap()
}

fn outcome(world: &World, number: u64) -> Option<HandOutcome> {
    world.outcome(number).unwrap().cloned()
}

/// Begins an operation and lets time pass until it has ended.
fn done(world: &mut World, operation: Value) -> HandOutcome {
    let number = operate(world, operation);
    for _ in 0..400 {
        if let Some(outcome) = outcome(world, number) {
            return outcome;
        }
        world.advance(world.now_ns() + 10 * MS);
    }
    panic!("operation {number} has not ended in 4 s")
}

fn by_hand(run: &Run) -> Vec<&HistoryEvent> {
    run.history.iter().filter(|event| event.process % 1_000 >= 600).collect()
}

fn leader(world: &World) -> String {
    world.observe()["leader"].as_str().expect("one leads").to_owned()
}

#[test]
fn operations_by_hand_are_done_one_after_another_and_judged() {
    let mut world = quiet(1, vec![], NO_PLANTS);
    world.advance(START);
    let wrote = done(&mut world, json!({"f": "write", "key": "k0", "value": 7}));
    assert_eq!((wrote.kind, &wrote.value), (Kind::Ok, &json!(7)));
    let read = done(&mut world, json!({"f": "read", "key": "k0", "node": "n2", "home": true}));
    assert_eq!((read.kind, &read.value, read.log_index >= wrote.log_index), (Kind::Ok, &json!(7), true));
    let swapped = done(&mut world, json!({"f": "cas", "key": "k0", "expected": 7, "value": 8}));
    assert_eq!((swapped.kind, &swapped.value), (Kind::Ok, &json!([7, 8])));
    let missed = done(&mut world, json!({"f": "cas", "key": "k0", "expected": 7, "value": 9}));
    assert_eq!((missed.kind, missed.error.as_deref()), (Kind::Fail, Some("mismatch")));
    let first = done(&mut world, json!({"f": "cas", "key": "k1", "value": 3, "node": null}));
    assert_eq!(first.kind, Kind::Ok, "a register that was never written is expected as null");
    let run = world.finish();
    assert_valid(&run, "by hand");
    let events = by_hand(&run);
    assert_eq!(events.len(), 10);
    assert!(events.iter().all(|event| event.process == 600 && event.op.is_none() && !event.is_final));
    assert_eq!(events.iter().filter(|event| event.home).count(), 2);
    let sequences: Vec<_> = events.iter().filter_map(|event| event.sequence).collect();
    assert_eq!(sequences, [1, 2, 2, 3, 3, 4, 4], "the first invocation is before the session");
}

#[test]
fn operations_under_way_at_one_time_have_clients_of_their_own() {
    let mut world = quiet(2, vec![], NO_PLANTS);
    world.advance(START);
    let numbers: Vec<_> =
        (0..5).map(|value| operate(&mut world, json!({"f": "write", "key": "k0", "value": value}))).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
    assert!(numbers.iter().all(|number| outcome(&world, *number).is_none()), "no time has passed");
    world.advance(START + S);
    assert!(numbers.iter().all(|number| outcome(&world, *number).unwrap().kind == Kind::Ok));
    operate(&mut world, json!({"f": "read", "key": "k0"}));
    let run = world.finish();
    assert_valid(&run, "five at once");
    let processes = tally(by_hand(&run).iter().map(|event| event.process));
    assert_eq!(processes.keys().copied().collect::<Vec<_>>(), [600, 601, 602, 603, 604]);
}

#[test]
fn a_cut_off_leader_is_asked_alone_where_another_client_goes_elsewhere() {
    let mut world = quiet(3, vec![], &["stale-read"]);
    world.advance(START);
    assert_eq!(done(&mut world, json!({"f": "write", "key": "k0", "value": 1})).kind, Kind::Ok);
    let old = leader(&world);
    let number: u64 = old[1..].parse().unwrap();
    let isolate = step(0, at(0), Some(4 * S), cut(&around(number, 3)));
    world.apply(&isolate.to_string()).unwrap();
    world.advance(world.now_ns() + 2 * S);
    let alone = operate(&mut world, json!({"f": "write", "key": "k1", "value": 4, "node": old}));
    assert_eq!(done(&mut world, json!({"f": "write", "key": "k0", "value": 2})).kind, Kind::Ok);
    let stale = done(&mut world, json!({"f": "read", "key": "k0", "node": old, "home": true}));
    assert_eq!((stale.kind, stale.value), (Kind::Ok, json!(1)), "the planted bug");
    world.advance(world.now_ns() + 2 * S);
    let alone = outcome(&world, alone).unwrap();
    assert!(matches!(alone.kind, Kind::Fail | Kind::Info), "{alone:?}");
    let run = world.finish();
    assert_eq!(broken(&run), ["linearizable"]);
    assert!(
        by_hand(&run).iter().filter(|event| event.value == json!(4)).all(|event| event.node == Some(number))
    );
}

#[test]
fn without_a_majority_a_write_without_a_session_was_never_sent() {
    let mut world = quiet(4, vec![step(0, at(0), Some(5 * S), process("kill", &[1, 2]))], NO_PLANTS);
    world.advance(START + S / 2);
    let lost = done(&mut world, json!({"f": "write", "key": "k0", "value": 1}));
    assert_eq!((lost.kind, lost.error.as_deref()), (Kind::Fail, Some("no_session")));
    let took_ns = lost.time_ns - (START + S / 2);
    assert!(
        (2 * S..2 * S + 20 * MS).contains(&took_ns),
        "the plan's time for an operation, and a pause: {took_ns}"
    );
    let read = done(&mut world, json!({"f": "read", "key": "k0"}));
    assert_eq!(read.kind, Kind::Fail);
    assert_eq!(broken(&world.finish()), ["available"], "operations by hand count as any other");
}

#[test]
fn a_read_by_hand_shifts_no_other_draw_of_the_clients() {
    // What follows at the nodes may differ (a read asks the others); so it is a node's refused read that is made.
    let plan = plan(5, 3, vec![step(0, at(S), Some(2 * S), process("kill", &[3]))]);
    let whole = run(&plan, NO_PLANTS);
    let mut world = World::new(Plan::from_value(plan).unwrap(), NO_PLANTS).unwrap();
    world.advance(START + S + 100 * MS);
    let number = operate(&mut world, json!({"f": "read", "key": "k0", "node": "n3"}));
    world.advance(START + 2 * S);
    assert_eq!(outcome(&world, number), None, "it goes on asking n3");
    let run = world.finish();
    let others = |run: &Run| -> Vec<_> {
        let until = run.history.iter().filter(|event| event.time_ns < START + 3 * S);
        until
            .filter(|event| event.process % 1_000 < 600)
            .map(|event| (event.time_ns, event.process))
            .collect()
    };
    assert!(others(&run).len() > 300);
    assert_eq!(others(&run), others(&whole));
}

#[test]
fn what_cannot_be_done_is_refused_with_a_reason() {
    let mut world = quiet(6, vec![], NO_PLANTS);
    for (operation, expected) in [
        (json!({"f": "read"}), "missing field `key`"),
        (json!({"f": "reed", "key": "k0"}), "unknown variant `reed`"),
        (json!({"f": "read", "key": "k2"}), "no register \"k2\"; the plan has k0 to k1"),
        (json!({"f": "read", "key": "k0", "value": 1}), "a read takes no value"),
        (json!({"f": "write", "key": "k0"}), "a write takes a value"),
        (json!({"f": "cas", "key": "k0", "expected": 1}), "a cas takes the value"),
        (json!({"f": "read", "key": "k0", "node": "n4"}), "no node \"n4\"; expected n1 to n3"),
        (json!({"f": "read", "key": "k0", "home": true}), "`home` is for an operation at one `node`"),
        (json!({"f": "read", "key": "k0", "colour": 1}), "unknown field `colour`"),
    ] {
        let error = world.operate(&operation.to_string()).unwrap_err().to_string();
        assert!(error.starts_with("operation by hand: ") && error.contains(expected), "{operation}: {error}");
    }
    assert!(world.outcome(0).unwrap_err().to_string().contains("none has the number 0"));
    world.advance(60 * S);
    let late = world.operate(&json!({"f": "read", "key": "k0"}).to_string());
    assert!(late.unwrap_err().to_string().contains("the run is over"));
}

#[test]
fn what_is_seen_of_a_world_is_whole_and_in_a_stable_order() {
    let world = || {
        let mut world = World::new(Plan::from_value(plan(7, 3, vec![])).unwrap(), NO_PLANTS).unwrap();
        world.advance(START + 2 * S + 3 * MS);
        world
    };
    let mut world_seen = world();
    let mut kinds = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let observed = world_seen.observe();
        let messages = observed["messages"].as_array().unwrap();
        assert_eq!(observed["messages_in_flight"]["nodes"], messages.len());
        let due: Vec<_> = messages.iter().map(|message| message["due_ns"].as_u64().unwrap()).collect();
        assert!(due.is_sorted() && due.iter().all(|due_ns| *due_ns >= world_seen.now_ns()));
        for message in messages {
            kinds.insert(message["kind"].as_str().unwrap().to_owned());
            // In raft-rs a question for the read index has no term.
            let term =
                if message["kind"] == "read_index" { &json!(0) } else { &observed["nodes"]["n1"]["term"] };
            assert_eq!(&message["term"], term, "{message}");
        }
        for node in observed["nodes"].as_object().unwrap().values() {
            let number = |name: &str| node[name].as_u64().unwrap();
            assert!(number("applied") <= number("commit") && number("persisted") <= number("last_index"));
            assert_eq!(node["log"].as_array().unwrap().last().unwrap()["index"], node["persisted"]);
            assert!(number("first_index") <= number("snapshot_index") + 1);
            let disk = &node["disk"];
            assert!(disk["written_index"].as_u64().unwrap() >= number("persisted"));
            assert_eq!(disk["synced"] == true, disk["unsynced_bytes"] == 0);
        }
        world_seen.advance(world_seen.now_ns() + MS);
    }
    for kind in ["append", "append_response", "heartbeat", "heartbeat_response"] {
        assert!(kinds.contains(kind), "{kinds:?}");
    }
    assert_eq!(world().observe(), world().observe());
}

#[test]
fn a_node_that_is_down_shows_its_disk_and_no_replica() {
    let mut world = quiet(8, vec![step(0, at(S), Some(S), process("power_off", &[2]))], NO_PLANTS);
    world.advance(START + S + MS);
    let node = &world.observe()["nodes"]["n2"];
    assert_eq!(node["process"], "down");
    assert!(node.get("role").is_none() && node["disk"].get("written_index").is_none());
    assert_eq!(
        node["disk"]["unsynced_bytes"], 0,
        "what was not synced is lost, torn or kept, and then is so"
    );
}
