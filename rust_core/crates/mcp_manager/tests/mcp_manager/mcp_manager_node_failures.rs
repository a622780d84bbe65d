//! What a node answers when it cannot do what it was asked: certainly no effect, or nobody knows.

use mcp_chaos_evidence::Role;
use mcp_manager::command::{Answer, Operation, Outcome, Query, Request, Response};
use mcp_manager::limits::MAX_COMMAND_BYTES;
use mcp_manager::node::Options;
use mcp_manager::{Input, Node};

use crate::support::network::Network;
use crate::support::write;

/// A network whose requests wait for long enough that other causes come first.
fn patient(count: u64) -> Network {
    Network::with(count, Options { request_timeout_ticks: 10_000, ..Options::new(1, 7) })
}

fn others(id: u64) -> Vec<u64> {
    (1..=3).filter(|other| *other != id).collect()
}

fn operate(client: u64, sequence: u64, operation: Operation) -> Request {
    Request::Operate { client, sequence, operation }
}

fn query(key: &str) -> Request {
    Request::Query(Query::Setting { key: key.into() })
}

#[test]
fn a_node_of_no_cluster_is_unavailable_and_takes_no_part() {
    let mut out = Vec::new();
    let mut node = Node::new(Options::new(1, 7), Default::default(), &mut out).unwrap();
    out.clear();
    for (ticket, request) in [Request::OpenSession, query("k"), Request::SnapshotNow].into_iter().enumerate()
    {
        node.handle(0, Input::client(ticket as u64, request), &mut out);
    }
    assert_eq!(out.len(), 3);
    let text = format!("{out:?}");
    assert_eq!(text.matches("Unavailable").count(), 3, "{text}");
    out.clear();
    for _ in 0..1_000 {
        node.handle(0, Input::Tick, &mut out);
    }
    assert!(out.is_empty(), "{out:?}");
    assert_eq!((node.role(), node.term()), (Role::Follower, 0));
}

#[test]
fn a_proposal_that_another_leaders_entry_replaced_is_certainly_lost() {
    let mut network = patient(3);
    let old = network.elect();
    let client = network.open_session(old);
    network.isolate(old);
    let lost = network.ask(old, operate(client, 1, write("k", "lost")));
    let new = network.elect_among(&others(old));
    network.operate(new, client, 2, write("k", "kept"));
    assert!(!network.replies.contains_key(&lost), "it may still be applied, as far as the old leader knows");
    network.cut.clear();
    network.until("an answer", |network| network.replies.contains_key(&lost));
    let Response::Unavailable { reason } = &network.replies[&lost] else {
        panic!("{:?}", network.replies[&lost])
    };
    assert!(reason.starts_with("superseded"), "{reason}");
    network.agree();
    assert_eq!(network.read(old, "k").as_deref(), Some("kept"));
}

#[test]
fn a_proposal_that_the_next_leader_commits_is_applied() {
    let mut network = patient(3);
    let old = network.elect();
    let client = network.open_session(old);
    network.agree();
    for other in others(old) {
        network.cut.insert((other, old)); // Entries still go out; nobody's acknowledgement comes back.
    }
    let kept = network.ask(old, operate(client, 1, write("k", "kept")));
    network.ticks(6);
    network.isolate(old);
    network.elect_among(&others(old));
    assert!(!network.replies.contains_key(&kept));
    network.cut.clear();
    network.until("an answer", |network| network.replies.contains_key(&kept));
    assert!(
        matches!(network.replies[&kept], Response::Applied { outcome: Outcome::Done { .. }, .. }),
        "{:?}",
        network.replies[&kept]
    );
    network.agree();
}

#[test]
fn after_the_timeout_a_proposals_fate_is_unknown() {
    let mut network = Network::new(3);
    let old = network.elect();
    let client = network.open_session(old);
    network.isolate(old);
    let ticket = network.ask(old, operate(client, 1, write("k", "1")));
    network.ticks(99);
    assert!(!network.replies.contains_key(&ticket), "it waits although the node has stepped down");
    assert!(!network.nodes[&old].is_leader());
    network.tick();
    assert!(matches!(network.replies[&ticket], Response::Unknown { .. }), "{:?}", network.replies[&ticket]);
    network.agree();
}

#[test]
fn a_read_that_nobody_confirms_is_unavailable() {
    let mut network = Network::new(3);
    let leader = network.elect();
    network.isolate(leader);
    let response = network.answer(leader, query("k"));
    assert!(matches!(response, Response::Unavailable { .. }), "{response:?}");
    assert_eq!(network.nodes[&leader].status().pending, 0);
}

#[test]
fn a_read_asked_for_without_a_leader_is_answered_once_there_is_one() {
    let mut network = patient(3);
    let leader = network.elect();
    network.kill(leader);
    let follower = others(leader)[0];
    let response = network.answer(follower, query("k"));
    assert_eq!(
        response,
        Response::Read {
            answer: Answer::Setting { value: None, version: 0 },
            log_index: network.nodes[&follower].applied()
        }
    );
}

#[test]
fn a_cancelled_request_is_not_answered() {
    let mut network = Network::new(3);
    let leader = network.elect();
    let client = network.open_session(leader);
    network.isolate(leader);
    let read = network.ask(leader, query("k"));
    let proposal = network.ask(leader, operate(client, 1, write("k", "1")));
    for ticket in [read, proposal, 999] {
        network.input(leader, Input::Cancel { ticket });
    }
    assert_eq!(network.nodes[&leader].status().pending, 0);
    network.cut.clear();
    network.ticks(200);
    assert!(!network.replies.contains_key(&read) && !network.replies.contains_key(&proposal));
    network.agree();
}

#[test]
fn beyond_the_most_pending_requests_are_turned_away() {
    let mut network = Network::with(3, Options { max_pending: 2, ..Options::new(1, 7) });
    let leader = network.elect();
    let client = network.open_session(leader);
    network.isolate(leader);
    network.ask(leader, operate(client, 1, write("k", "1")));
    network.ask(leader, query("k"));
    for request in [operate(client, 2, write("k", "2")), query("k"), Request::OpenSession] {
        let ticket = network.ask(leader, request);
        let Some(Response::Unavailable { reason }) = network.replies.get(&ticket) else {
            panic!("{:?}", network.replies)
        };
        assert!(reason.starts_with("overloaded"), "{reason}");
    }
    network.agree();
    network.ticks(200);
    assert_eq!(network.nodes[&leader].status().pending, 0);
}

#[test]
fn a_ticket_in_use_is_refused() {
    let mut network = Network::new(3);
    let leader = network.elect();
    network.isolate(leader);
    let mut out = Vec::new();
    let node = network.nodes.get_mut(&leader).unwrap();
    for _ in 0..2 {
        node.handle(0, Input::client(77, query("k")), &mut out);
    }
    assert_eq!(format!("{out:?}").matches("tickets are unique").count(), 1, "{out:?}");
}

#[test]
fn a_command_too_large_for_the_log_is_turned_away() {
    let mut network = Network::new(1);
    let leader = network.elect();
    let client = network.open_session(leader);
    let end = network.nodes[&leader].status().last_index;
    let response = network.operate(leader, client, 1, write("k", &"x".repeat(MAX_COMMAND_BYTES)));
    assert!(matches!(response, Response::Unavailable { .. }), "{response:?}");
    assert_eq!(network.nodes[&leader].status().last_index, end);
}

#[test]
fn a_request_of_an_expired_session_says_so() {
    let mut network = Network::new(1);
    let leader = network.elect();
    let client = network.open_session(leader);
    network.now_ms += 600_001;
    let other = network.open_session(leader);
    let response = network.operate(leader, client, 1, write("k", "1"));
    assert!(matches!(response, Response::Applied { outcome: Outcome::SessionExpired, .. }), "{response:?}");
    network.operate(leader, other, 1, write("k", "2"));
    assert_eq!(network.read(leader, "k").as_deref(), Some("2"));
}
