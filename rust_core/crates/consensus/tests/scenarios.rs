//! The protocol as transcripts. Each scenario's transcript stands in `tests/transcripts/`, to be read; after
//! a wanted change run the tests with `REWRITE=1` in the environment and review the difference.

mod network;

use bytes::Bytes;
use mcp_chaos_consensus::{Config, Event, MAX_COMMAND_BYTES, MessageKind};
use network::Network;

#[expect(clippy::disallowed_methods, reason = "rewrites the expected transcripts when asked to")]
fn expect(name: &str, network: &Network) {
    network.check_logs();
    let path = format!("{}/tests/transcripts/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("REWRITE").is_some() {
        std::fs::write(&path, &network.transcript).expect("the transcripts can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (found, expected)) in network.transcript.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "{name}.txt, line {}: run with REWRITE=1 if this is wanted", number + 1);
    }
    assert_eq!(network.transcript.lines().count(), expected.lines().count(), "{name}.txt: another length");
}

/// Three nodes of which n1 leads, all at rest.
fn led_by_n1() -> Network {
    let mut network = Network::of(3, 1);
    network.elect(1);
    network.run(1);
    network.transcript.clear();
    network
}

#[test]
fn election_with_pre_vote() {
    let mut network = Network::of(3, 1);
    network.show_messages = true;
    network.elect(1);
    expect("election", &network);
}

#[test]
fn a_single_node_elects_itself_once_its_vote_is_durable() {
    let mut network = Network::of(1, 1);
    network.elect(1);
    network.propose(1, 1, "a");
    network.settle();
    expect("single", &network);
}

#[test]
fn replication_commits_on_a_quorum_that_need_not_include_the_leader() {
    let mut network = led_by_n1();
    network.show_messages = true;
    network.node(1).disk_held = true;
    network.propose(1, 1, "a");
    network.settle();
    network.say(format_args!("-- n1's disk goes on"));
    network.node(1).disk_held = false;
    network.settle();
    expect("replication", &network);
}

#[test]
fn a_leader_that_hears_nobody_steps_down() {
    let mut network = led_by_n1();
    network.cut.extend([(2, 1), (3, 1)]);
    network.run(100);
    assert_ne!(network.leader(), Some(1));
    expect("one_way_cut", &network);
}

#[test]
fn a_new_leader_replaces_what_the_old_one_could_not_commit() {
    let mut network = led_by_n1();
    network.cut.extend([(1, 2), (1, 3), (2, 1), (3, 1)]);
    network.propose(1, 1, "lost");
    network.propose(1, 2, "lost too");
    network.settle();
    for _ in 0..60 {
        network.step(2, Event::Tick);
        network.step(3, Event::Tick);
        network.settle();
    }
    let leader = network.leader().expect("n2 or n3 leads");
    network.propose(leader, 3, "kept");
    network.settle();
    network.say(format_args!("-- the cut heals"));
    network.cut.clear();
    network.run(10);
    expect("conflict", &network);
    assert_eq!(network.nodes[&1].state, network.nodes[&leader].state);
}

#[test]
fn a_follower_that_lags_behind_the_log_gets_a_snapshot() {
    let configs = (1..=3).map(|id| Config { keep_entries: 1, ..Config::new(id, 1) });
    let mut network = Network::new(configs.collect());
    network.elect(1);
    network.run(1);
    network.transcript.clear();
    network.crash(3);
    for ticket in 1..=4 {
        network.propose(1, ticket, &format!("v{ticket}"));
        network.settle();
    }
    network.snapshot(1);
    assert_eq!((network.replica(1).status().first_index, network.replica(1).status().last_index), (6, 6));
    network.say(format_args!("-- n3 comes back"));
    network.start(3);
    network.show_messages = true;
    network.run(12);
    expect("snapshot", &network);
    assert_eq!(network.nodes[&3].state, network.nodes[&1].state);
}

#[test]
fn a_snapshot_lost_on_the_way_is_sent_again() {
    let mut network = led_by_n1();
    network.crash(3);
    for ticket in 1..=200 {
        network.propose(1, ticket, "x");
        network.settle();
    }
    network.snapshot(1);
    network.start(3);
    // Whatever carries the snapshot is lost, and nobody says so.
    for _ in 0..20 {
        network.step(1, Event::Tick);
        while let Some(message) = network.messages.pop_front() {
            if message.to != 3 || message.snapshot.is_none() {
                network.deliver(message);
                for id in 1..=3 {
                    while network.write_one(id) {}
                }
            }
        }
    }
    assert!(network.nodes[&3].state.len() < network.nodes[&1].state.len());
    network.run(150);
    assert_eq!(network.nodes[&3].state, network.nodes[&1].state);
}

#[test]
fn leadership_is_handed_over_without_waiting_for_a_timeout() {
    let mut network = led_by_n1();
    network.show_messages = true;
    network.step(1, Event::TransferLeader { to: 3 });
    network.step(2, Event::TransferLeader { to: 2 });
    network.settle();
    expect("transfer", &network);
    assert_eq!(network.leader(), Some(3));
}

#[test]
fn followers_serve_linearizable_reads() {
    let mut network = led_by_n1();
    network.propose(1, 1, "a");
    network.settle();
    network.transcript.clear();
    network.show_messages = true;
    network.step(2, Event::Read { ticket: 1 });
    network.settle();
    expect("read_on_follower", &network);
    assert!(network.reads_done[&1].ends_with(b"a;"));
}

#[test]
fn a_fresh_leader_drops_reads_until_it_has_committed_and_they_are_asked_again() {
    let mut network = Network::of(3, 1);
    // n1 has won, but can tell nobody: it cannot commit an entry of its own term.
    while !network.replica(1).is_leader() {
        network.step(1, Event::Tick);
        while let Some(message) = network.messages.pop_front() {
            if message.kind != MessageKind::Append {
                network.deliver(message);
            }
            (1..=3).for_each(|id| while network.write_one(id) {});
        }
    }
    network.step(1, Event::Read { ticket: 7 });
    network.step(2, Event::Read { ticket: 8 });
    network.settle();
    assert!(network.reads_done.is_empty(), "no read is answered before the leader has committed");
    network.run(12);
    let mut done: Vec<u64> = network.reads_done.keys().copied().collect();
    done.sort_unstable();
    assert_eq!(done, [7, 8]);
}

#[test]
fn many_reads_share_few_contexts() {
    let mut network = led_by_n1();
    for ticket in 1..=100 {
        network.step(2, Event::Read { ticket });
    }
    let asked = network.messages.len();
    network.settle();
    assert_eq!(network.reads_done.len(), 100);
    assert!(asked <= 4, "{asked} requests under way at once");
}

#[test]
fn no_vote_leaves_before_it_is_durable() {
    let mut network = Network::of(3, 1);
    network.show_messages = true;
    network.node(2).disk_held = true;
    network.cut.extend([(1, 3), (3, 1)]);
    while network.nodes[&2].writing.is_empty() {
        network.step(1, Event::Tick);
        network.settle();
    }
    network.say(format_args!("-- n2's disk is slow: no vote yet"));
    assert!(!network.replica(1).is_leader());
    network.node(2).disk_held = false;
    network.settle();
    assert!(network.replica(1).is_leader());
    expect("slow_vote", &network);
}

#[test]
fn a_crash_between_persisting_and_telling_keeps_the_vote() {
    let mut network = Network::of(3, 1);
    network.cut.extend([(1, 3), (3, 1)]);
    network.node(2).disk_held = true;
    while network.nodes[&2].writing.is_empty() {
        network.step(1, Event::Tick);
        network.settle();
    }
    // The batch reaches the disk; the node dies before it learns of it.
    let (_, batch) = network.node(2).writing.pop_front().expect("a vote under way");
    let vote = batch.hard_state.expect("a vote is part of the hard state");
    network.node(2).disk.hard_state = vote;
    network.crash(2);
    network.node(2).disk_held = false;
    network.start(2);
    expect("crash_after_persist", &network);
    assert_eq!((vote.term, vote.vote), (2, 1));
    assert_eq!(network.replica(2).status().vote, Some(1));
}

#[test]
fn a_node_without_a_quorum_of_disks_commits_nothing() {
    let mut network = led_by_n1();
    network.node(2).disk_held = true;
    network.node(3).disk_held = true;
    network.propose(1, 1, "a");
    network.settle();
    let before = network.replica(1).status().commit;
    network.node(3).disk_held = false;
    network.settle();
    assert_eq!(network.replica(1).status().commit, before + 1);
}

#[test]
fn proposals_fail_at_once_where_they_cannot_be_taken() {
    let mut network = led_by_n1();
    network.propose(2, 1, "a");
    network.step(1, Event::Propose { ticket: 2, data: Bytes::new() });
    let large = Bytes::from(vec![0; MAX_COMMAND_BYTES + 1]);
    network.step(1, Event::Propose { ticket: 3, data: large });
    network.cut.extend([(1, 2), (1, 3)]);
    let megabyte = Bytes::from(vec![0; MAX_COMMAND_BYTES]);
    for ticket in 10..30 {
        network.step(1, Event::Propose { ticket, data: megabyte.clone() });
    }
    for ticket in 1..=3 {
        assert_eq!(network.proposals[&ticket], None);
    }
    let taken = (10..30).filter(|ticket| network.proposals[ticket].is_some()).count();
    assert_eq!(taken, 16, "at most 16 MiB are held uncommitted");
}
