//! The planted bugs do what they say, and only under their feature.
#![cfg(feature = "plants")]

mod network;

use mcp_chaos_consensus::{Config, Event};
use mcp_chaos_evidence::Plant;
use network::Network;

fn three(plant: impl Fn(&mut Config)) -> Network {
    let configs = (1..=3).map(|id| {
        let mut config = Config::new(id, 1);
        plant(&mut config);
        config
    });
    let mut network = Network::new(configs.collect());
    network.checked = false;
    network
}

/// n2 votes for n1, loses power, and votes for n3 in the same term: two leaders in one term.
#[test]
fn vote_not_durable_forgets_a_vote() {
    let mut network = three(|config| config.plants = config.plants.with(Plant::VoteNotDurable));
    network.node(2).disk_held = true;
    network.cut.extend([(1, 3), (3, 1)]);
    network.elect(1);
    assert!(network.transcript.contains("n2 vote_cast term 2 for n1"));
    assert_eq!(network.nodes[&2].disk.hard_state.term, 0, "told, but not on disk");
    network.crash(2);
    network.start(2);
    network.cut.extend([(1, 2), (2, 1)]);
    network.elect(3);
    assert!(network.transcript.contains("n2 vote_cast term 2 for n3"));
    let terms = [1, 3].map(|id| network.replica(id).status().term);
    assert_eq!(terms, [2, 2]);
    assert!(network.replica(1).is_leader() && network.replica(3).is_leader());
}

/// The vote reaches the disk together with the first entries after it.
#[test]
fn vote_not_durable_writes_it_with_the_next_entries() {
    let mut network = three(|config| config.plants = config.plants.with(Plant::VoteNotDurable));
    network.elect(1);
    network.run(1);
    for node in network.nodes.values() {
        assert_eq!((node.disk.hard_state.term, node.disk.last()), (2, 2));
    }
}

/// A leader that is cut off goes on confirming reads while another leader's writes are acknowledged.
#[test]
fn stale_read_answers_from_a_deposed_leader() {
    let mut network = three(|config| config.plants = config.plants.with(Plant::StaleRead));
    network.elect(1);
    network.run(1);
    network.cut.extend([(1, 2), (1, 3), (2, 1), (3, 1)]);
    network.run(150);
    assert!(network.replica(1).is_leader(), "it does not step down");
    let leader = network.leader().expect("another leads by now");
    assert_ne!(leader, 1);
    network.propose(leader, 1, "new");
    network.settle();
    assert!(network.nodes[&leader].state.ends_with(b"new;"));
    network.step(1, Event::Read { ticket: 9 });
    assert!(!network.reads_done[&9].ends_with(b"new;"), "stale");
}

/// The same without the plant: the read waits.
#[test]
fn without_the_plant_a_deposed_leader_answers_no_read() {
    let mut network = three(|_| {});
    network.elect(1);
    network.run(1);
    network.cut.extend([(1, 2), (1, 3), (2, 1), (3, 1)]);
    network.step(1, Event::Read { ticket: 9 });
    network.run(150);
    assert!(!network.replica(1).is_leader());
    assert!(network.reads_done.is_empty());
}
