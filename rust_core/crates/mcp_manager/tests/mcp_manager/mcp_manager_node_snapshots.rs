//! A node's own snapshots, the leader's, and what it finds on its disk.

use mcp_chaos_consensus::{EntryKind, HardState, Message};
use mcp_chaos_evidence::TraceEvent;
use mcp_manager::command::{Request, Response};
use mcp_manager::limits::SessionLimits;
use mcp_manager::{FatalError, Input, Node, Options, SnapshotError, StartError};

use crate::support::network::{CLUSTER, Network};
use crate::support::write;

fn frequent(every: u64) -> Options {
    Options { snapshot_every_entries: every, keep_entries: 2, ..Options::new(1, 7) }
}

/// Writes `count` values in a new session.
fn fill(network: &mut Network, leader: u64, count: u64) {
    let client = network.open_session(leader);
    for sequence in 1..=count {
        network.operate(leader, client, sequence, write("k", &sequence.to_string()));
    }
}

#[test]
fn a_snapshot_is_made_every_so_many_applied_entries_and_the_log_cut() {
    let mut network = Network::with(3, frequent(10));
    let leader = network.elect();
    fill(&mut network, leader, 40);
    network.agree();
    for id in 1..=3 {
        let made: Vec<u64> = network
            .events(id)
            .filter_map(
                |event| if let TraceEvent::SnapshotMade { index, .. } = event { Some(*index) } else { None },
            )
            .collect();
        assert_eq!(made, [11, 21, 31, 41], "n{id}");
        let status = network.nodes[&id].status();
        assert_eq!((status.snapshot_index, status.first_index), (41, 40), "two entries are kept behind it");
        assert_eq!(network.nodes[&id].observe().log.first().map(|entry| entry.index), Some(40));
    }
}

#[test]
fn at_most_one_snapshot_is_on_its_way() {
    let mut network = Network::with(1, frequent(5));
    let leader = network.elect();
    network.slow_snapshots.insert(leader);
    fill(&mut network, leader, 30);
    assert_eq!(network.unreported, [(leader, 6)]);
    let response = network.answer(leader, Request::SnapshotNow);
    assert!(matches!(response, Response::Unavailable { .. }), "{response:?}");
    network.slow_snapshots.clear();
    network.input(leader, Input::SnapshotSaved { index: 5 });
    assert_eq!(network.nodes[&leader].status().snapshot_index, 1, "that is not the one on its way");
    network.input(leader, Input::SnapshotSaved { index: 6 });
    network.tick();
    assert!(network.nodes[&leader].status().snapshot_index > 6, "the next one follows at once");
}

#[test]
fn a_snapshot_is_made_when_asked_for() {
    let mut network = Network::with(3, frequent(0));
    let leader = network.elect();
    fill(&mut network, leader, 20);
    network.agree();
    let follower = leader % 3 + 1;
    assert_eq!(network.nodes[&follower].status().snapshot_index, 1, "0 means: only when asked for");
    assert_eq!(network.answer(follower, Request::SnapshotNow), Response::Accepted);
    let status = network.nodes[&follower].status();
    assert_eq!(status.snapshot_index, status.applied);
    let records = network.traces.len();
    assert_eq!(network.answer(follower, Request::SnapshotNow), Response::Accepted);
    assert_eq!(network.traces.len(), records, "nothing new to save");
}

#[test]
fn a_node_restarted_on_its_snapshot_has_the_same_state() {
    let mut network = Network::with(3, frequent(10));
    let leader = network.elect();
    fill(&mut network, leader, 25);
    network.agree();
    let state = network.nodes[&leader].state_checksum();
    network.kill(leader);
    network.start(leader);
    network.agree();
    let started = network.events(leader).filter_map(|event| match event {
        TraceEvent::Started { snapshot_index, snapshot_state, .. } => {
            Some((*snapshot_index, *snapshot_state))
        }
        _ => None,
    });
    let (index, restored) = started.last().unwrap();
    let made = network
        .events(leader)
        .any(|event| matches!(event, TraceEvent::SnapshotMade { index: i, state, .. } if (*i, *state) == (index, restored)));
    assert!(index == 21 && made);
    assert_eq!(network.nodes[&leader].state_checksum(), state);
}

#[test]
fn a_follower_far_behind_is_sent_the_leaders_snapshot() {
    let mut network = Network::with(3, frequent(10));
    let leader = network.elect();
    let behind = leader % 3 + 1;
    network.isolate(behind);
    fill(&mut network, leader, 50);
    network.agree(); // Compares the state installed with the others' at that index.
    let installed: Vec<u64> = network
        .events(behind)
        .filter_map(
            |event| if let TraceEvent::SnapshotInstalled { index, .. } = event { Some(*index) } else { None },
        )
        .collect();
    assert_eq!(installed.len(), 1);
    assert!(installed[0] >= 41, "{installed:?}");
    assert_eq!(network.read(behind, "k").as_deref(), Some("50"));
}

#[test]
fn proposals_below_an_installed_snapshot_are_unknown_and_reads_are_answered() {
    let options = Options { request_timeout_ticks: 10_000, ..frequent(10) };
    let mut network = Network::with(3, options);
    let old = network.elect();
    let client = network.open_session(old);
    network.isolate(old);
    let lost = network.ask(old, Request::Operate { client, sequence: 1, operation: write("k", "lost") });
    let others: Vec<u64> = (1..=3).filter(|id| *id != old).collect();
    let new = network.elect_among(&others);
    fill(&mut network, new, 50);
    network.agree();
    assert!(network.events(old).any(|event| matches!(event, TraceEvent::SnapshotInstalled { .. })));
    assert!(matches!(network.replies[&lost], Response::Unknown { .. }), "{:?}", network.replies[&lost]);
    assert_eq!(network.read(old, "k").as_deref(), Some("50"));
}

fn damage(message: &mut Message) {
    if let Some(snapshot) = &mut message.snapshot {
        snapshot.data = bytes::Bytes::from_static(b"mcpS\x01nonsense");
    }
}

#[test]
fn a_leaders_snapshot_that_cannot_be_restored_stops_the_node_visibly() {
    let mut network = Network::with(3, frequent(10));
    let leader = network.elect();
    let behind = leader % 3 + 1;
    network.isolate(behind);
    fill(&mut network, leader, 50);
    network.tamper = Some(damage);
    network.cut.clear();
    network.until("the end of the node", |network| !network.fatal.is_empty());
    let (id, FatalError::Restore { index, error }) = network.fatal[0].clone() else {
        panic!("{:?}", network.fatal)
    };
    assert_eq!(id, behind);
    assert!(index >= 41 && matches!(error, SnapshotError::Damaged(_)));
    let Some(TraceEvent::Stopped { reason }) = network.events(behind).last() else { panic!("not on record") };
    assert!(reason.contains("cannot be restored"), "{reason}");
    let mut out = Vec::new();
    let node = network.nodes.get_mut(&behind).unwrap();
    node.handle(0, Input::Tick, &mut out);
    node.handle(0, Input::client(1, Request::OpenSession), &mut out);
    assert!(out.is_empty(), "{out:?}");
    // And it does not come back on what it was sent, nor touch it.
    let recovered = network.disks[&behind].recovered();
    let error = Node::new(Options { id: behind, ..frequent(10) }, recovered, &mut out).err();
    assert!(matches!(error, Some(StartError::Snapshot { .. })), "{error:?}");
    assert!(out.is_empty());
}

fn start_on(change: impl FnOnce(&mut mcp_chaos_consensus::Recovered)) -> Option<StartError> {
    let mut network = Network::new(1);
    let leader = network.elect();
    fill(&mut network, leader, 3);
    let mut recovered = network.disks[&leader].recovered();
    change(&mut recovered);
    let mut out = Vec::new();
    let error = Node::new(Options::new(leader, 7), recovered, &mut out).err();
    assert!(error.is_none() || out.is_empty(), "a node that does not start does nothing");
    error
}

#[test]
fn a_node_starts_on_what_it_wrote() {
    assert_eq!(start_on(|_| {}), None);
}

#[test]
fn another_clusters_data_is_refused() {
    let error = start_on(|recovered| recovered.cluster = "other".into());
    assert_eq!(
        error,
        Some(StartError::Snapshot {
            index: 1,
            error: SnapshotError::ForeignCluster { expected: "other".into(), found: CLUSTER.into() }
        })
    );
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let error =
        start_on(|recovered| recovered.snapshot.as_mut().unwrap().data = bytes::Bytes::from_static(b"junk"));
    assert_eq!(error, Some(StartError::Snapshot { index: 1, error: SnapshotError::NotASnapshot }));
}

#[test]
fn a_log_that_no_node_writes_is_refused_in_words() {
    for error in [
        start_on(|recovered| recovered.snapshot = None),
        start_on(|recovered| drop(recovered.entries.remove(1))),
        start_on(|recovered| recovered.entries[2].term = 0),
        start_on(|recovered| recovered.hard_state = HardState { commit: 1_000, ..recovered.hard_state }),
    ] {
        assert!(matches!(error, Some(StartError::Log(_))), "{error:?}");
    }
}

#[test]
fn session_limits_other_than_the_clusters_are_refused() {
    let limits = SessionLimits { ttl_ms: 5, max_count: 10_000 };
    let snapshot = Node::found_with(CLUSTER, 1, &[1], limits).unwrap();
    let recovered = mcp_chaos_consensus::Recovered {
        boot: 1,
        cluster: CLUSTER.into(),
        snapshot: Some(snapshot),
        ..Default::default()
    };
    let mut out = Vec::new();
    let error = Node::new(Options::new(1, 7), recovered.clone(), &mut out).err();
    assert_eq!(
        error,
        Some(StartError::SessionLimits { founded: limits, configured: SessionLimits::default() })
    );
    let options = Options { session_ttl_ms: 5, ..Options::new(1, 7) };
    assert!(Node::new(options, recovered, &mut out).is_ok());
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    for options in [
        Options::new(0, 7),
        Options { heartbeat_ticks: 0, ..Options::new(1, 7) },
        Options { election_ticks: 5, ..Options::new(1, 7) },
        Options { request_timeout_ticks: 0, ..Options::new(1, 7) },
        Options { max_pending: 0, ..Options::new(1, 7) },
    ] {
        let error = Node::new(options, Default::default(), &mut Vec::new()).err();
        assert!(matches!(error, Some(StartError::BadOptions(_))), "{error:?}");
    }
}

#[test]
fn a_configuration_change_is_a_no_op_to_the_state() {
    // The entry's bytes would decode as a command: the kind decides, not the bytes.
    let mut network = Network::new(1);
    let leader = network.elect();
    fill(&mut network, leader, 1);
    network.kill(leader);
    let disk = network.disks.get_mut(&leader).unwrap();
    let index = disk.entries.last().unwrap().index;
    let last = disk.entries.last_mut().unwrap();
    last.kind = EntryKind::ConfChangeV2;
    network.start(leader);
    network.elect();
    let state = |at: u64| {
        network
            .events(leader)
            .filter_map(|event| match event {
                TraceEvent::Applied { index, state, client, .. } if *index == at => Some((*state, *client)),
                _ => None,
            })
            .last()
    };
    assert_eq!(state(index).map(|(state, _)| state), state(index - 1).map(|(state, _)| state));
    assert_eq!(state(index).map(|(_, client)| client), Some(0));
}
