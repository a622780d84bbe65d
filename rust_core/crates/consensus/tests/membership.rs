//! Members come and go: learners, promotion, removal, replacement in a joint change.

mod network;

use mcp_chaos_consensus::{
    ChangeRefused, Config, Configuration, Entry, EntryKind, Event, HardState, Joining, MembershipChange,
    Message, MessageKind, Recovered, Replica, Snapshot, SnapshotMeta, join,
};
use mcp_chaos_evidence::{NodeId, Role, TraceEvent, rng::Stream};
use network::{Network, meta};

use MembershipChange::{AddLearner, Promote, Remove, Replace};

fn led_by_n1(nodes: u64) -> Network {
    let mut network = Network::of(nodes, 1);
    network.elect(1);
    network.run(1);
    network
}

fn configuration(network: &Network, id: NodeId) -> Configuration {
    network.replica(id).status().configuration
}

/// Proposes a change at n1 and lets it be over.
fn change(network: &mut Network, ticket: u64, change: MembershipChange) {
    network.change(1, ticket, change);
    network.run(40);
    assert!(network.proposals.contains_key(&ticket), "{change:?}: {:?}", network.refused.get(&ticket));
}

#[test]
fn a_new_node_listens_first_and_then_votes() {
    let mut network = led_by_n1(3);
    network.propose(1, 1, "old");
    network.add_joining(4, 1);
    change(&mut network, 2, AddLearner(4));
    assert_eq!(configuration(&network, 4).learners, [4], "it was sent a snapshot that knows it");
    assert_eq!(network.nodes[&4].state, network.nodes[&1].state);
    let names: Vec<&str> = network.nodes[&4].trace.iter().map(TraceEvent::name).take(2).collect();
    assert_eq!(names, ["started", "config_changed"], "an empty disk says nothing");

    change(&mut network, 3, Promote(4));
    for id in 1..=4 {
        assert_eq!(configuration(&network, id).voters, [1, 2, 3, 4]);
    }
    network.crash(1);
    network.crash(2);
    network.run(200);
    assert_eq!(network.leader(), None, "two of four are no majority");
    network.start(2);
    network.run(200);
    let leader = network.leader().expect("three of four are");
    network.propose(leader, 4, "new");
    network.run(10);
    assert!(network.nodes[&4].state.ends_with(b"new;"));
}

#[test]
fn a_learner_never_campaigns_and_its_word_decides_nothing() {
    let mut network = led_by_n1(2);
    network.add_joining(3, 1);
    change(&mut network, 1, AddLearner(3));
    network.crash(2);
    network.propose(1, 2, "lonely");
    network.settle();
    let committed = network.replica(1).status().commit;
    assert_eq!(network.replica(3).status().last_index, network.replica(1).status().last_index);
    assert!(committed < network.replica(1).status().last_index, "a voter is missing");
    network.crash(1);
    network.run(200);
    assert_eq!(network.replica(3).status().role, Role::Follower);
}

#[test]
fn the_leader_removes_itself_and_the_others_go_on() {
    let mut network = led_by_n1(3);
    change(&mut network, 1, Remove(1));
    let status = network.replica(1).status();
    assert_eq!((status.role, status.configuration.voters), (Role::Follower, vec![2, 3]));
    assert!(!network.replica(1).is_member());
    network.run(200);
    let leader = network.leader().expect("the others elected one");
    assert_ne!(leader, 1);
    network.propose(leader, 2, "later");
    network.run(10);
    assert!(network.nodes[&2].state.ends_with(b"later;") && network.nodes[&3].state.ends_with(b"later;"));
    assert!(!network.nodes[&1].state.ends_with(b"later;"));
    let term = network.replica(leader).status().term;
    network.run(300);
    assert_eq!(network.replica(leader).status().term, term, "nobody disturbs them");
    network.change(leader, 3, AddLearner(1));
    assert_eq!(network.refused[&3], ChangeRefused::Removed(1));
}

#[test]
fn whoever_is_left_alone_leads_only_once_all_it_was_sent_is_on_its_disk() {
    let mut network = led_by_n1(2);
    network.node(2).disk_held = true;
    network.change(1, 1, Remove(1));
    network.settle();
    network.node(1).disk_held = true;
    assert!(network.write_one(2), "the change alone");
    network.settle();
    network.propose(1, 2, "later");
    network.settle();
    assert!(network.write_one(2), "that it is committed");
    assert_eq!(configuration(&network, 2).voters, [2]);
    let status = network.replica(2).status();
    assert!(status.persisted < status.last_index, "{status:?}");
    network.run(200);
    assert_eq!(network.replica(2).status().role, Role::Follower);
    network.node(2).disk_held = false;
    network.run(200);
    assert_eq!(network.leader(), Some(2));
    assert!(network.nodes[&2].state.ends_with(b"later;;"), "and the new leader's own entry");
}

#[test]
fn a_node_that_has_not_heard_of_its_removal_does_not_disturb_the_others() {
    let mut network = led_by_n1(3);
    network.cut.extend([(1, 3), (2, 3)]);
    change(&mut network, 1, Remove(3));
    network.cut.clear();
    let term = network.replica(1).status().term;
    network.run(400);
    assert!(network.replica(3).is_member(), "it does not know");
    assert_ne!(network.replica(3).status().role, Role::Leader);
    assert_eq!((network.replica(1).status().term, network.leader()), (term, Some(1)));
}

#[test]
fn a_dead_voter_is_replaced_in_one_joint_change() {
    let mut network = led_by_n1(3);
    network.crash(3);
    network.add_joining(4, 1);
    change(&mut network, 1, AddLearner(4));
    change(&mut network, 2, Replace { old: 3, new: 4 });
    let joint = network.nodes[&1].trace.iter().find_map(|event| match event {
        TraceEvent::ConfigChanged { voters, voters_outgoing, .. } if !voters_outgoing.is_empty() => {
            Some((voters.clone(), voters_outgoing.clone()))
        }
        _ => None,
    });
    assert_eq!(joint, Some((vec![1, 2, 4], vec![1, 2, 3])), "both majorities decide meanwhile");
    for id in [1, 2, 4] {
        let configuration = configuration(&network, id);
        assert_eq!((configuration.voters, configuration.removed), (vec![1, 2, 4], vec![3]));
        assert!(configuration.voters_outgoing.is_empty(), "it is left by itself");
    }
    // Who left is known to a snapshot, and to whoever starts on it.
    network.snapshot(4);
    network.crash(4);
    network.start(4);
    assert_eq!(configuration(&network, 4).removed, [3]);
}

#[test]
fn a_joint_configuration_is_left_by_a_later_leader_too() {
    let mut network = led_by_n1(3);
    network.add_joining(4, 1);
    change(&mut network, 1, AddLearner(4));
    network.change(1, 2, Replace { old: 3, new: 4 });
    // The change is on every disk but n1's, which crashes before anything is committed.
    network.node(1).disk_held = true;
    for _ in 0..50 {
        if let Some(message) = network.messages.pop_front() {
            network.deliver(message);
        }
        for id in 2..=4 {
            while network.write_one(id) {}
        }
    }
    network.crash(1);
    network.node(1).disk_held = false;
    network.messages.clear();
    network.run(200);
    for id in [2, 4] {
        assert_eq!(configuration(&network, id).voters, [1, 2, 4]);
        assert!(!configuration(&network, id).is_joint());
    }
}

#[test]
fn one_change_at_a_time_and_none_by_a_leader_that_has_committed_nothing() {
    let mut network = led_by_n1(3);
    network.change(2, 1, Remove(3));
    assert_eq!(network.proposals[&1], None, "n2 does not lead");
    network.add_joining(4, 1);
    network.add_joining(5, 1);
    network.change(1, 2, AddLearner(4));
    network.change(1, 3, AddLearner(5));
    assert!(network.proposals[&2].is_some());
    assert_eq!(network.refused[&3], ChangeRefused::UnderWay);
    network.run(20);
    network.crash(1);
    // n2 is elected, but its first entry reaches nobody.
    (0..25).for_each(|_| network.step(3, Event::Tick));
    for _ in 0..200 {
        network.step(2, Event::Tick);
        while let Some(message) = network.messages.pop_front() {
            let votes = !matches!(message.kind, MessageKind::Append);
            if votes {
                network.deliver(message);
            }
        }
        (2..=4).for_each(|id| while network.write_one(id) {});
        if network.replica(2).is_leader() {
            break;
        }
    }
    assert!(network.replica(2).is_leader());
    network.change(2, 4, Remove(3));
    assert_eq!(network.refused[&4], ChangeRefused::NewLeader);
}

#[test]
fn an_empty_directory_takes_no_snapshot_in_which_it_votes() {
    let snapshot = |configuration| {
        let snapshot = Snapshot { meta: SnapshotMeta { index: 9, term: 3, configuration }, data: "s".into() };
        Message { snapshot: Some(Box::new(snapshot)), ..append() }
    };
    let voter = Configuration { voters: vec![1, 4], ..Configuration::default() };
    assert_eq!(join(4, snapshot(voter)), Joining::Ignore, "it voted before, and lost its disk");
    let learner = Configuration { voters: vec![1, 2], learners: vec![4], ..Configuration::default() };
    assert!(matches!(join(4, snapshot(learner)), Joining::Found(_)));
    let vote = Message { kind: MessageKind::RequestVote, snapshot: None, ..append() };
    assert_eq!(join(4, vote), Joining::Ignore);
}

fn append() -> Message {
    Message {
        kind: MessageKind::Snapshot,
        from: 1,
        to: 4,
        term: 3,
        log_term: 0,
        index: 0,
        entries: Vec::new(),
        commit: 0,
        commit_term: 0,
        snapshot: None,
        request_snapshot: 0,
        reject: false,
        reject_hint: 0,
        context: Default::default(),
        priority: 0,
    }
}

/// Else those that are left would wait for ever for the vote of a node that the cluster can do without by now.
#[test]
fn a_restart_of_all_does_not_undo_a_change() {
    let mut network = led_by_n1(2);
    network.add_joining(3, 1);
    change(&mut network, 1, AddLearner(3));
    change(&mut network, 2, Promote(3));
    let changed = |network: &Network, id| {
        let is_change = |event: &&TraceEvent| matches!(event, TraceEvent::ConfigChanged { .. });
        network.nodes[&id].trace.iter().rfind(is_change).cloned()
    };
    let before = [1, 2, 3].map(|id| changed(&network, id));
    for id in 1..=3 {
        network.crash(id);
    }
    network.start(1);
    network.start(3);
    for id in [1, 3] {
        assert_eq!(configuration(&network, id).voters, [1, 2, 3], "nothing was written since");
        assert_eq!(changed(&network, id), before[id as usize - 1]);
    }
    network.run(200);
    assert!(network.leader().is_some(), "two of three are a majority");
}

/// The hint of what is committed may be torn off the batch that brought a second change.
#[test]
fn of_two_changes_in_a_recovered_log_the_first_is_committed() {
    let change = |index| Entry {
        index,
        term: 2,
        kind: EntryKind::ConfChangeV2,
        // AddLearnerNode, 10 more than its index.
        data: vec![0x12, 4, 0x08, 2, 0x10, 10 + index as u8].into(),
    };
    let recovered = Recovered {
        boot: 2,
        cluster: "c".into(),
        hard_state: HardState { term: 2, vote: 1, commit: 1 },
        snapshot: Some(Snapshot { meta: meta(1, 1, &[1, 2, 3]), data: Default::default() }),
        entries: vec![change(2), change(3), change(4)],
    };
    let mut effects = Vec::new();
    let replica = Replica::new(Config::new(1, 1), recovered, &mut effects);
    assert_eq!(replica.status().configuration.learners, [12, 13]);
    assert_eq!(replica.status().applied, 3);
}

/// Faults of every kind while an administrator adds, promotes, removes and replaces at random. The network's checks
/// must hold, and at the end all members agree.
fn storm(seed: u64, steps: u64) -> (String, usize) {
    const ALL: u64 = 7;
    let mut network = Network::of(3, seed);
    (4..=ALL).for_each(|id| network.add_joining(id, seed));
    let draws = Stream::new(seed, "membership-storm", 0, 0);
    let mut n = 0;
    let mut draw = |low: u64, high: u64| {
        n += 1;
        draws.between(n, low, high)
    };
    let mut ticket = 0;
    for _ in 0..steps {
        let id = draw(1, ALL);
        match draw(0, 999) {
            0..=299 => network.step(id, Event::Tick),
            300..=649 if !network.messages.is_empty() => {
                let last = network.messages.len() as u64 - 1;
                let at = if draw(0, 9) == 0 { draw(0, last) } else { 0 };
                let message = network.messages.remove(at as usize).expect("in range");
                if draw(0, 49) > 0 {
                    network.deliver(message);
                }
            }
            650..=849 => {
                network.write_one(id);
            }
            850..=919 => {
                let leader = network.leader().unwrap_or(id);
                ticket += 1;
                network.propose(leader, ticket, &format!("{ticket}"));
            }
            920..=949 => {
                let leader = network.leader().unwrap_or(id);
                let other = draw(1, ALL);
                let change = match draw(0, 5) {
                    0 | 1 => AddLearner(other),
                    2 | 3 => Promote(other),
                    4 => Remove(other),
                    _ => Replace { old: other, new: draw(1, ALL) },
                };
                // Who is removed for good may be the one that the others need: three voters stay.
                let voters = network.nodes[&leader]
                    .replica
                    .as_ref()
                    .map_or(0, |replica| replica.status().configuration.voters.len());
                if !matches!(change, Remove(_)) || voters > 3 {
                    ticket += 1;
                    network.change(leader, ticket, change);
                }
            }
            950..=956 => {
                network.crash(id);
                network.start(id);
            }
            957..=961 if network.nodes[&id].replica.is_some() => network.snapshot(id),
            962..=967 => {
                network.cut.insert((id, draw(1, ALL)));
            }
            968..=974 => network.cut.clear(),
            975..=979 => (0..60).for_each(|_| network.step(id, Event::Tick)),
            980..=992 => {
                for _ in 0..200 {
                    if let Some(message) = network.messages.pop_front() {
                        network.deliver(message);
                    }
                    (1..=ALL).for_each(|id| while network.write_one(id) {});
                }
            }
            _ => {}
        }
    }
    network.cut.clear();
    network.run(600);
    network.check_logs();
    let leader = network.leader().expect("a leader once all is healed");
    network.propose(leader, ticket + 1, "last");
    network.run(100);
    let configuration = configuration(&network, leader);
    assert!(!configuration.is_joint(), "seed {seed}: {configuration:?}");
    for id in configuration.members() {
        let node = &network.nodes[&id];
        assert!(
            node.state == network.nodes[&leader].state,
            "seed {seed}: n{id} of {configuration:?} is behind"
        );
        assert!(node.state.ends_with(b"last;"), "seed {seed}: the last proposal was not applied");
    }
    let left = configuration.removed.len();
    (network.transcript, left)
}

#[test]
fn random_changes_under_random_faults_break_no_invariant() {
    let mut seen = [(" and [", 0), ("is founded", 0), ("truncated", 0), ("refuses", 0)];
    let mut left = 0;
    for seed in 0..60 {
        let (transcript, removed) = storm(seed, 6_000);
        left += removed;
        for (what, count) in &mut seen {
            *count += transcript.matches(*what).count();
        }
    }
    assert!(left > 10 && seen.iter().all(|(_, count)| *count > 10), "too mild: {seen:?}, {left} left");
}

#[test]
fn a_learner_that_is_not_heard_of_is_not_made_a_voter() {
    let mut network = led_by_n1(3);
    network.add_joining(4, 1);
    change(&mut network, 1, AddLearner(4));
    network.crash(4);
    network.run(60);
    network.change(1, 2, Promote(4));
    assert_eq!(network.refused[&2], ChangeRefused::Silent(4));
    network.start(4);
    network.run(60);
    change(&mut network, 3, Promote(4));
    assert_eq!(configuration(&network, 1).voters, [1, 2, 3, 4]);
}

/// Its empty directory must not be founded on an older snapshot, in which it does not vote yet.
#[test]
fn a_voter_that_lost_its_disk_is_not_founded_again() {
    let mut network = led_by_n1(3);
    network.add_joining(4, 1);
    change(&mut network, 1, AddLearner(4));
    network.snapshot(2);
    let votes = |network: &Network| {
        let snapshot = network.nodes[&2].disk.snapshot.as_ref().expect("it has made one");
        snapshot.meta.configuration.voters.contains(&4)
    };
    change(&mut network, 2, Promote(4));
    assert!(!votes(&network), "it is older");
    network.add_joining(4, 2);
    // A new leader does not know what n4 had acknowledged.
    network.step(1, Event::TransferLeader { to: 2 });
    network.run(200);
    assert_eq!(network.leader(), Some(2));
    assert!(network.nodes[&4].joining, "it waits: only an administrator can replace it");
    assert_eq!(configuration(&network, 2).voters, [1, 2, 3, 4]);
    assert!(votes(&network), "it was sent a newer one");
}
