//! What a replica does with messages that arrive, one by one: from correct peers, and from others.

mod network;

use bytes::Bytes;
use mcp_chaos_consensus::{
    Config, Effect, Entry, EntryKind, Event, HardState, InitError, Message, MessageKind, Recovered, Replica,
    Snapshot,
};
use mcp_chaos_evidence::{NodeId, TraceEvent};
use network::{Disk, Network, meta};

fn message(kind: MessageKind, from: NodeId, to: NodeId, term: u64) -> Message {
    Message {
        kind,
        from,
        to,
        term,
        log_term: 0,
        index: 0,
        entries: Vec::new(),
        commit: 0,
        commit_term: 0,
        snapshot: None,
        request_snapshot: 0,
        reject: false,
        reject_hint: 0,
        context: Bytes::new(),
        priority: 0,
    }
}

fn entry(index: u64, term: u64) -> Entry {
    Entry { index, term, kind: EntryKind::Normal, data: Bytes::from(format!("{index}@{term}")) }
}

/// To n3, after (index, log_term).
fn append(from: NodeId, term: u64, after: (u64, u64), entries: Vec<Entry>, commit: u64) -> Message {
    let (index, log_term) = after;
    Message { index, log_term, entries, commit, ..message(MessageKind::Append, from, 3, term) }
}

/// n3 of three, whose disk writes only when told.
fn n3() -> Network {
    let mut network = Network::of(3, 1);
    network.nodes.retain(|id, _| *id == 3);
    network.node(3).disk_held = true;
    network.transcript.clear();
    network
}

#[test]
fn entries_replaced_while_in_flight_count_as_durable_only_with_their_replacement() {
    let mut network = n3();
    // The leader of term 2 appends, that of term 3 replaces, and the first comes back in term 4 with the
    // entries it had: three batches under way at once, the last equal to the first.
    let old = || vec![entry(2, 2), entry(3, 2)];
    network.deliver(append(1, 2, (1, 1), old(), 1));
    network.deliver(append(2, 3, (1, 1), vec![entry(2, 3)], 1));
    network.deliver(append(1, 4, (1, 1), old(), 3));
    assert_eq!(network.nodes[&3].writing.len(), 3);
    network.write_one(3);
    assert_eq!(network.nodes[&3].state, b"", "to be overwritten: not to be applied yet");
    network.write_one(3);
    assert_eq!(network.nodes[&3].state, b"");
    network.write_one(3);
    assert_eq!(network.nodes[&3].state, b"2@2;3@2;");
    network.check_logs();
    let truncated = network.nodes[&3].trace.iter().filter(|e| matches!(e, TraceEvent::Truncated { .. }));
    assert_eq!(truncated.count(), 2);
}

#[test]
fn a_restart_between_two_batches_finds_the_first() {
    let mut network = n3();
    network.deliver(append(1, 2, (1, 1), vec![entry(2, 2), entry(3, 2)], 1));
    network.deliver(append(2, 3, (1, 1), vec![entry(2, 3)], 1));
    network.write_one(3);
    network.crash(3);
    network.start(3);
    network.check_logs();
    let status = network.replica(3).status();
    assert_eq!((status.term, status.last_index, status.commit), (2, 3, 1));
}

#[test]
fn a_commit_hint_rides_along_with_the_next_batch() {
    let mut network = n3();
    network.deliver(append(1, 2, (1, 1), vec![entry(2, 2)], 1));
    network.write_one(3);
    network.deliver(append(1, 2, (2, 2), vec![], 2));
    assert!(network.nodes[&3].writing.is_empty(), "a commit index alone is not worth a write");
    assert_eq!(network.nodes[&3].state, b"2@2;");
    network.deliver(append(1, 2, (2, 2), vec![entry(3, 2)], 2));
    let (_, batch) = network.nodes[&3].writing.front().expect("a batch");
    assert_eq!(batch.hard_state, Some(HardState { term: 2, vote: 0, commit: 2 }));
}

/// n3 has a change in its log, and hears that it is committed, and the entry behind it, too.
fn hears_of_a_change() -> Network {
    let mut network = n3();
    // AddLearnerNode 5.
    let data = Bytes::from_static(&[0x12, 4, 0x08, 2, 0x10, 5]);
    let change = Entry { index: 3, term: 2, kind: EntryKind::ConfChangeV2, data };
    network.deliver(append(1, 2, (1, 1), vec![entry(2, 2), change, entry(4, 2)], 1));
    network.write_one(3);
    network.deliver(append(1, 2, (4, 2), vec![], 4));
    network
}

#[test]
fn a_change_waits_until_the_disk_knows_it_to_be_committed_and_so_does_what_is_behind_it() {
    let mut network = hears_of_a_change();
    let (_, batch) = network.nodes[&3].writing.front().expect("a batch");
    assert_eq!(batch.hard_state, Some(HardState { term: 2, vote: 0, commit: 4 }));
    assert!(batch.must_sync && batch.entries.is_empty());
    network.deliver(append(1, 2, (4, 2), vec![entry(5, 2)], 4));
    let status = network.replica(3).status();
    assert_eq!((status.commit, status.applied, status.configuration.learners), (4, 2, vec![]));
    network.write_one(3);
    let status = network.replica(3).status();
    assert_eq!((status.applied, status.configuration.learners), (4, vec![5]));
    assert_eq!(network.nodes[&3].state, b"2@2;;4@2;");
    network.crash(3);
    network.start(3);
    assert_eq!(network.replica(3).status().configuration.learners, [5]);
}

#[test]
fn a_snapshot_overtakes_a_change_that_waits() {
    let mut network = hears_of_a_change();
    let snapshot = Snapshot { meta: meta(9, 2, &[1, 2, 3]), data: Bytes::from_static(b"state") };
    let snapshot = Some(Box::new(snapshot));
    network.deliver(Message { snapshot, ..message(MessageKind::Snapshot, 1, 3, 2) });
    assert_eq!(network.nodes[&3].writing.len(), 2, "the commit index, and the snapshot");
    network.write_one(3);
    assert_eq!(network.replica(3).status().applied, 2, "it is too late for the change");
    network.write_one(3);
    let status = network.replica(3).status();
    assert_eq!((status.applied, status.configuration.learners), (9, vec![]));
    assert_eq!(network.nodes[&3].state, b"state");
}

#[test]
fn a_node_that_was_never_founded_takes_no_part() {
    let mut network = Network::of(3, 1);
    network.add(Config::new(3, 1), Disk::default());
    network.start(3);
    network.transcript.clear();
    for kind in [MessageKind::RequestVote, MessageKind::RequestPreVote, MessageKind::Heartbeat] {
        network.deliver(message(kind, 1, 3, 9));
    }
    network.deliver(append(1, 9, (1, 1), vec![entry(2, 9)], 1));
    (0..500).for_each(|_| network.step(3, Event::Tick));
    network.step(3, Event::Read { ticket: 1 });
    assert_eq!(network.transcript, "");
    assert!(!network.replica(3).is_founded());
    network.propose(3, 2, "a");
    assert_eq!(network.proposals[&2], None);
}

#[test]
fn founding_names_its_voters() {
    let found = |cluster: &str, id, voters: &[NodeId]| Replica::found(cluster, id, voters, Bytes::new());
    assert_eq!(found("c", 1, &[3, 1, 2]).expect("well formed").meta, meta(1, 1, &[1, 2, 3]));
    for voters in [&[][..], &[2, 3], &[1, 1, 2], &[0, 1]] {
        assert_eq!(found("c", 1, voters), Err(InitError::BadVoters));
    }
    assert_eq!(found("", 1, &[1]), Err(InitError::BadName));
}

#[test]
fn what_no_correct_peer_sends_is_dropped_and_counted() {
    let good = append(1, 2, (1, 1), vec![entry(2, 2)], 1);
    let with = |change: &dyn Fn(&mut Message)| {
        let mut bad = good.clone();
        change(&mut bad);
        bad
    };
    let huge = Bytes::from(vec![0; mcp_chaos_consensus::MAX_COMMAND_BYTES + 1]);
    let snapshot = |ids: &[NodeId], index| {
        let snapshot = Snapshot { meta: meta(index, 2, ids), data: Bytes::new() };
        Message { snapshot: Some(Box::new(snapshot)), ..message(MessageKind::Snapshot, 1, 3, 2) }
    };
    let read = |entries| Message { entries, ..message(MessageKind::ReadIndex, 1, 3, 0) };
    let bad = [
        with(&|m| m.to = 2),
        with(&|m| m.from = 3),
        with(&|m| m.from = 0),
        with(&|m| m.term = 0),
        with(&|m| m.term = 1),
        with(&|m| m.term = u64::MAX),
        with(&|m| m.index = u64::MAX),
        with(&|m| m.entries[0].index = 3),
        with(&|m| m.entries[0].term = 0),
        with(&|m| m.entries[0].data = huge.clone()),
        with(&|m| m.entries.push(entry(4, 2))),
        with(&|m| m.entries.push(entry(3, 1))),
        with(&|m| m.context = Bytes::from(vec![0; 1000])),
        with(&|m| m.request_snapshot = 5),
        with(&|m| m.kind = MessageKind::Heartbeat),
        with(&|m| m.kind = MessageKind::Snapshot),
        message(MessageKind::Snapshot, 1, 3, 2),
        message(MessageKind::TransferLeader, 1, 3, 2),
        message(MessageKind::RequestVote, 1, 3, 0),
        message(MessageKind::ReadIndex, 1, 3, 2),
        read(vec![]),
        read(vec![entry(0, 0), entry(0, 0)]),
        snapshot(&[], 9),
        snapshot(&[3, 1, 2], 9),
        snapshot(&[0, 3], 9),
        snapshot(&[1, 2, 3], 0),
    ];
    let mut network = n3();
    for (count, bad) in bad.into_iter().enumerate() {
        let told = format!("{bad:?}");
        network.step(3, Event::Receive(Box::new(bad)));
        assert_eq!(network.replica(3).status().malformed_messages, count as u64 + 1, "{told}");
    }
    assert_eq!(network.transcript, "");
    network.deliver(good);
    assert_eq!(network.nodes[&3].writing.len(), 1);
}

#[test]
fn a_node_that_lost_what_it_acknowledged_halts_once_its_leader_counts_on_it() {
    let mut network = n3();
    network.deliver(append(1, 2, (1, 1), vec![entry(2, 2)], 1));
    network.write_one(3);
    network.transcript.clear();
    // As far as its log goes all is well, and a deposed leader may say what it likes.
    network.deliver(Message { commit: 2, ..message(MessageKind::Heartbeat, 1, 3, 2) });
    network.deliver(Message { commit: 9, ..message(MessageKind::Heartbeat, 2, 3, 1) });
    assert!(!network.transcript.contains("halts"), "{}", network.transcript);
    network.deliver(Message { commit: 9, ..message(MessageKind::Heartbeat, 1, 3, 2) });
    let expected = "n3 halts: this node has forgotten what it acknowledged: n1, which leads term 2, counts on its log \
                    up to index 9, and it ends at 2; its disk has lost what was synced";
    assert!(network.transcript.contains(expected), "{}", network.transcript);
}

#[test]
fn a_node_halts_if_a_later_leader_has_other_entries_than_those_it_knows_to_be_committed() {
    let committed = || {
        let mut network = n3();
        network.deliver(append(1, 2, (1, 1), vec![entry(2, 2), entry(3, 2), entry(4, 2)], 3));
        network.write_one(3);
        network.transcript.clear();
        network
    };
    // A repeated or late append, and a later leader's that agrees as far as is committed, are all right.
    let mut network = committed();
    network.deliver(append(1, 2, (1, 1), vec![entry(2, 2), entry(3, 2)], 2));
    network.deliver(append(2, 3, (2, 2), vec![entry(3, 2), entry(4, 3)], 3));
    network.deliver(append(2, 1, (1, 1), vec![entry(2, 1)], 2));
    assert!(!network.transcript.contains("halts"), "{}", network.transcript);
    for (after, entries) in [((1, 1), vec![entry(2, 3)]), ((2, 2), vec![entry(3, 3)]), ((2, 3), vec![])] {
        let mut network = committed();
        network.deliver(append(2, 3, after, entries, 1));
        assert!(
            network.transcript.contains("n3 halts: what was committed is lost"),
            "{}",
            network.transcript
        );
    }
}

#[test]
fn committed_configuration_changes_take_effect_when_applied() {
    let mut network = n3();
    // Protobuf by hand: ConfChange {change_type: AddNode, node_id: 4}, ConfChangeV2 {changes:
    // [AddLearnerNode 5]}, and bytes that are neither (a nested group).
    let change =
        |index, kind, data: &'static [u8]| Entry { index, term: 2, kind, data: Bytes::from_static(data) };
    let entries = vec![
        entry(2, 2),
        change(3, EntryKind::ConfChange, &[0x10, 0, 0x18, 4]),
        entry(4, 2),
        change(5, EntryKind::ConfChangeV2, &[0x12, 4, 0x08, 2, 0x10, 5]),
        change(6, EntryKind::ConfChange, &[0x0b, 0x0b, 0x0b]),
        change(7, EntryKind::ConfChangeV2, &[0x12, 0xff]),
    ];
    network.deliver(append(1, 2, (1, 1), entries, 7));
    network.write_one(3);
    let status = network.replica(3).status();
    assert_eq!(status.configuration.voters, [1, 2, 3, 4]);
    assert_eq!(status.configuration.learners, [5]);
    assert_eq!((status.applied, status.refused_changes), (7, 2));
    let changes: Vec<u64> = network.nodes[&3]
        .trace
        .iter()
        .filter_map(|event| match event {
            TraceEvent::ConfigChanged { index, .. } => Some(*index),
            _ => None,
        })
        .collect();
    assert_eq!(changes, [1, 3, 5]);
    assert!(
        network.transcript.find("apply 3").unwrap() < network.transcript.find("config_changed at 3").unwrap()
    );
    assert!(
        network.transcript.find("config_changed at 3").unwrap() < network.transcript.find("apply 4").unwrap()
    );
}

#[test]
fn an_election_timeout_lies_in_its_range_and_depends_on_seed_node_and_attempt() {
    let timeouts = |seed| {
        let mut network = Network::of(3, seed);
        network.nodes.retain(|id, _| *id == 3);
        let mut at = Vec::new();
        for tick in 1..=500u32 {
            network.step(3, Event::Tick);
            if !network.messages.is_empty() {
                at.push(tick);
                network.messages.clear();
            }
        }
        at
    };
    let first = timeouts(1);
    assert_eq!(first, timeouts(1));
    assert_ne!(first, timeouts(2));
    assert!((25..50).contains(&first[0]), "{first:?}");
    assert!(first.windows(2).all(|pair| (25..50).contains(&(pair[1] - pair[0]))), "{first:?}");
}

#[test]
fn recovery_starts_with_what_the_disk_held() {
    let snapshot = Snapshot { meta: meta(5, 2, &[1, 2, 3]), data: Bytes::from_static(b"state") };
    let recovered = Recovered {
        boot: 4,
        cluster: "c".into(),
        // The hint is older than the snapshot: legal, since hints ride along.
        hard_state: HardState { term: 3, vote: 2, commit: 4 },
        snapshot: Some(snapshot),
        entries: vec![entry(6, 2), entry(7, 3)],
    };
    let mut config = Config::new(1, 1);
    config.snapshot_state = 77;
    let mut effects = Vec::new();
    let replica = Replica::new(config, recovered, &mut effects);
    let names: Vec<&str> = effects
        .iter()
        .map(|effect| match effect {
            Effect::Trace(event) => event.name(),
            _ => "another effect",
        })
        .collect();
    assert_eq!(names, ["started", "appended", "appended", "config_changed"]);
    let started = TraceEvent::Started {
        term: 3,
        vote: Some(2),
        snapshot_index: 5,
        snapshot_term: 2,
        snapshot_state: 77,
        last_index: 7,
    };
    assert!(matches!(&effects[0], Effect::Trace(event) if *event == started));
    assert_eq!((replica.status().commit, replica.applied_meta().index), (5, 5));
}

#[test]
#[should_panic(expected = "expected log entries without a gap from 6 on")]
fn a_gap_in_the_recovered_log_is_refused() {
    let snapshot = Snapshot { meta: meta(5, 2, &[1, 2, 3]), data: Bytes::new() };
    let recovered =
        Recovered { snapshot: Some(snapshot), entries: vec![entry(7, 2)], ..Recovered::default() };
    Replica::new(Config::new(1, 1), recovered, &mut Vec::new());
}
