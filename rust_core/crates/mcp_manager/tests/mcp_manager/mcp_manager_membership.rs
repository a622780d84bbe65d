//! A node joins, takes a dead one's place, or leaves, as its clients and its administrator see it.

use mcp_chaos_consensus::{ChangeRefused, MembershipChange};
use mcp_manager::command::{Query, Request, Response};

use crate::support::network::Network;
use crate::support::write;

fn change(network: &mut Network, leader: u64, change: MembershipChange) -> Response {
    network.answer(leader, Request::ChangeMembership(change))
}

#[test]
fn a_new_node_is_told_to_join_and_added_by_the_leader() {
    let mut network = Network::new(3);
    let leader = network.elect();
    let client = network.open_session(leader);
    network.operate(leader, client, 1, write("k", "v"));
    network.start_empty(4);
    let read = Request::Query(Query::Setting { key: "k".into() });
    assert!(matches!(network.answer(4, read.clone()), Response::Unavailable { .. }));

    let added = change(&mut network, leader, MembershipChange::AddLearner(4));
    assert!(matches!(added, Response::Changed { .. }), "{added:?}");
    network.agree();
    assert_eq!(network.nodes[&4].status().learners, [4]);
    assert_eq!(network.read(4, "k").as_deref(), Some("v"), "a learner answers reads");
    change(&mut network, leader, MembershipChange::Promote(4));
    network.agree();
    assert_eq!(network.nodes[&4].status().voters, [1, 2, 3, 4]);
    let foreign = network.answer(4, Request::Join { cluster: "another".into() });
    assert!(matches!(foreign, Response::Unavailable { .. }), "it has a cluster");
}

#[test]
fn what_is_refused_is_refused_by_name() {
    let mut network = Network::new(3);
    let leader = network.elect();
    let other = leader % 3 + 1;
    let refused = change(&mut network, leader, MembershipChange::Promote(other));
    assert_eq!(refused, Response::ChangeRefused { why: ChangeRefused::Member(other) });
    let elsewhere = change(&mut network, other, MembershipChange::Remove(leader));
    assert_eq!(elsewhere, Response::NotLeader { leader: Some(leader) });
}

#[test]
fn a_leader_that_removed_itself_answers_nobody() {
    let mut network = Network::new(3);
    let leader = network.elect();
    let client = network.open_session(leader);
    let removed = change(&mut network, leader, MembershipChange::Remove(leader));
    assert!(matches!(removed, Response::Changed { .. }), "the last thing it says: {removed:?}");
    assert!(!network.nodes[&leader].is_member());
    let read = Request::Query(Query::Setting { key: "k".into() });
    assert!(matches!(network.answer(leader, read), Response::NotMember { .. }));
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    let next = network.elect_among(&others);
    network.operate(next, client, 1, write("k", "on"));
    assert_eq!(network.read(next, "k").as_deref(), Some("on"));
}
