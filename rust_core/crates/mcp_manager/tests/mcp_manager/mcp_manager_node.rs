//! A node among others, when nothing goes wrong.

use mcp_chaos_evidence::{Role, TraceEvent};
use mcp_manager::command::{Answer, Expected, Operation, Outcome, Query, Request, Response, ServerState};
use mcp_manager::{InitError, Input, Node};

use crate::support::network::{CLUSTER, Network};
use crate::support::{register, write};

fn applied(response: &Response) -> (&Outcome, u64) {
    match response {
        Response::Applied { outcome, log_index } => (outcome, *log_index),
        response => panic!("{response:?}"),
    }
}

#[test]
fn founding_gives_the_same_bytes_on_every_node_whatever_the_order_of_voters() {
    let first = Node::found(CLUSTER, 1, &[1, 2, 3]).unwrap();
    assert_eq!(first, Node::found(CLUSTER, 2, &[3, 1, 2]).unwrap());
    assert_eq!((first.meta.index, first.meta.configuration.voters), (1, vec![1, 2, 3]));
}

#[test]
fn founding_refuses_voters_and_names_that_are_none() {
    for voters in [&[][..], &[1, 1], &[0, 1], &[2, 3]] {
        assert_eq!(Node::found(CLUSTER, 1, voters), Err(InitError::BadVoters), "{voters:?}");
    }
    for cluster in ["", "a\nb", &"x".repeat(129)] {
        assert_eq!(Node::found(cluster, 1, &[1]), Err(InitError::BadCluster), "{cluster:?}");
    }
}

#[test]
fn a_single_node_leads_and_serves() {
    let mut network = Network::new(1);
    let leader = network.elect();
    let client = network.open_session(leader);
    network.operate(leader, client, 1, write("k", "1"));
    assert_eq!(network.read(leader, "k").as_deref(), Some("1"));
    network.agree();
}

#[test]
fn three_nodes_elect_one_leader_and_serve_writes() {
    let mut network = Network::new(3);
    let leader = network.elect();
    assert_eq!(network.roles().iter().filter(|role| **role == Role::Leader).count(), 1);
    let client = network.open_session(leader);
    let response = network.operate(leader, client, 1, write("k", "1"));
    let (outcome, log_index) = applied(&response);
    assert_eq!(*outcome, Outcome::Done { version: log_index });
    network.agree();
}

#[test]
fn every_node_serves_linearizable_reads() {
    let mut network = Network::new(3);
    let leader = network.elect();
    let client = network.open_session(leader);
    for (sequence, value) in ["1", "2", "3"].into_iter().enumerate() {
        network.operate(leader, client, sequence as u64 + 1, write("k", value));
        for id in 1..=3 {
            assert_eq!(network.read(id, "k").as_deref(), Some(value), "n{id}");
        }
    }
}

#[test]
fn a_read_carries_the_index_of_the_state_it_was_read_from() {
    let mut network = Network::new(3);
    let leader = network.elect();
    let client = network.open_session(leader);
    let response = network.operate(leader, client, 1, write("k", "1"));
    let (_, written) = applied(&response);
    let response = network.answer(leader % 3 + 1, Request::Query(Query::Setting { key: "k".into() }));
    let Response::Read { answer, log_index } = response else { panic!("{response:?}") };
    assert_eq!(answer, Answer::Setting { value: Some("1".into()), version: written });
    assert!(log_index >= written);
}

#[test]
fn a_follower_says_who_leads_and_takes_no_write() {
    let mut network = Network::new(3);
    let leader = network.elect();
    network.ticks(10);
    for follower in (1..=3).filter(|id| *id != leader) {
        for request in [
            Request::OpenSession,
            Request::Operate { client: 2, sequence: 1, operation: write("k", "1") },
            Request::TransferLeader { to: follower },
        ] {
            assert_eq!(network.answer(follower, request), Response::NotLeader { leader: Some(leader) });
        }
    }
}

#[test]
fn compare_and_set_and_the_registry_through_the_log() {
    let mut network = Network::new(3);
    let leader = network.elect();
    let client = network.open_session(leader);
    let attempt = |expected| Operation::CompareAndSet { key: "k".into(), expected, value: "2".into() };
    let response = network.operate(leader, client, 1, attempt(Expected::Value(Some("1".into()))));
    assert_eq!(applied(&response).0, &Outcome::Mismatch { actual: None, version: 0 });
    let response = network.operate(leader, client, 2, attempt(Expected::Version(0)));
    assert!(matches!(applied(&response).0, Outcome::Done { .. }));
    network.operate(leader, client, 3, register("files"));
    let ready = Operation::SetState { name: "files".into(), state: ServerState::Ready };
    network.operate(leader, client, 4, ready);
    let response = network.answer(leader, Request::Query(Query::Servers));
    let Response::Read { answer: Answer::Servers { servers }, .. } = response else { panic!("{response:?}") };
    assert_eq!(servers.len(), 1);
    assert_eq!((servers[0].spec.name.as_str(), servers[0].state), ("files", ServerState::Ready));
    network.agree();
}

#[test]
fn a_retry_at_the_next_leader_gets_the_first_outcome_and_index() {
    let mut network = Network::new(3);
    let leader = network.elect();
    let client = network.open_session(leader);
    let first = network.operate(leader, client, 1, write("k", "1"));
    network.kill(leader);
    let next = network.elect();
    assert_ne!(next, leader);
    assert_eq!(network.operate(next, client, 1, write("k", "1")), first);
    let duplicates: Vec<_> = network
        .events(next)
        .filter_map(|event| match event {
            TraceEvent::Applied { client: c, sequence: 1, duplicate, .. } if *c == client => Some(*duplicate),
            _ => None,
        })
        .collect();
    assert_eq!(duplicates, [false, true]);
}

#[test]
fn leadership_is_handed_over_when_asked() {
    let mut network = Network::new(3);
    let leader = network.elect();
    let to = leader % 3 + 1;
    assert_eq!(network.answer(leader, Request::TransferLeader { to }), Response::Accepted);
    network.until("the new leader", |network| network.nodes[&to].is_leader());
    let refused = network.answer(to, Request::TransferLeader { to: 9 });
    assert!(matches!(refused, Response::Unavailable { .. }), "{refused:?}");
    assert_eq!(network.answer(to, Request::TransferLeader { to }), Response::Accepted);
    network.ticks(100);
    assert!(network.nodes[&to].is_leader());
}

#[test]
fn a_restarted_node_has_the_state_that_its_disk_held() {
    let mut network = Network::new(3);
    let leader = network.elect();
    let client = network.open_session(leader);
    network.operate(leader, client, 1, write("k", "1"));
    for id in 1..=3 {
        network.kill(id);
    }
    for id in 1..=3 {
        network.start(id);
    }
    network.elect();
    for id in 1..=3 {
        assert_eq!(network.read(id, "k").as_deref(), Some("1"));
        assert_eq!(network.nodes[&id].status().boot, 2);
    }
    network.agree();
}

#[test]
fn the_start_is_on_record_with_the_checksum_of_the_state_it_starts_from() {
    let network = Network::new(1);
    let TraceEvent::Started { snapshot_index, snapshot_state, .. } = network.events(1).next().unwrap() else {
        panic!("{:?}", network.traces)
    };
    assert_eq!((*snapshot_index, *snapshot_state), (1, network.nodes[&1].state_checksum()));
}

#[test]
fn messages_are_counted_by_sender_and_misdirected_ones_dropped() {
    let mut network = Network::new(3);
    let leader = network.elect();
    let [a, b]: [u64; 2] = (1..=3).filter(|id| *id != leader).collect::<Vec<_>>().try_into().unwrap();
    network.cut.insert((a, leader));
    let before = network.nodes[&leader].status().received;
    network.ticks(20);
    let after = network.nodes[&leader].status().received;
    assert_eq!(after[&a], before[&a], "a cut link delivers nothing");
    assert!(after[&b] > before[&b]);

    let stray = mcp_chaos_consensus::Message {
        kind: mcp_chaos_consensus::MessageKind::Heartbeat,
        from: b,
        to: 7,
        term: 1_000,
        log_term: 0,
        index: 0,
        entries: Vec::new(),
        commit: 0,
        commit_term: 0,
        snapshot: None,
        request_snapshot: 0,
        reject: false,
        reject_hint: 0,
        context: bytes::Bytes::new(),
        priority: 0,
    };
    let received = network.nodes[&leader].status().received;
    network.input(leader, Input::Peer(Box::new(stray)));
    assert_eq!(network.nodes[&leader].status().received, received);
    assert!(network.nodes[&leader].term() < 1_000);
}

#[test]
fn status_is_json_that_calls_nodes_by_name() {
    let mut network = Network::new(3);
    let leader = network.elect();
    network.ticks(10);
    let status = serde_json::to_value(network.nodes[&leader].status()).unwrap();
    let name = format!("n{leader}");
    assert_eq!(status["node"], name);
    assert_eq!(status["leader"], name);
    assert_eq!(status["role"], "leader");
    assert_eq!(status["cluster"], CLUSTER);
    assert_eq!(status["voters"], serde_json::json!(["n1", "n2", "n3"]));
    assert_eq!(status["state"], format!("{:016x}", network.nodes[&leader].state_checksum()));
    assert!(status["received"][format!("n{}", leader % 3 + 1)].as_u64().unwrap() > 0);
}

#[test]
fn an_observation_shows_the_durable_log() {
    let mut network = Network::new(3);
    let leader = network.elect();
    let client = network.open_session(leader);
    network.operate(leader, client, 1, write("k", "1"));
    for (id, node) in &network.nodes {
        let seen: Vec<_> =
            node.observe().log.iter().map(|entry| (entry.index, entry.term, entry.checksum)).collect();
        let written: Vec<_> = network.disks[id]
            .entries
            .iter()
            .map(|entry| (entry.index, entry.term, entry.checksum()))
            .collect();
        assert_eq!(seen, written);
        assert!(!seen.is_empty());
    }
}

#[test]
fn the_same_inputs_give_the_same_run() {
    let run = || {
        let mut network = Network::new(3);
        let leader = network.elect();
        let client = network.open_session(leader);
        network.operate(leader, client, 1, write("k", "1"));
        network.kill(leader);
        network.elect();
        network.start(leader);
        network.agree();
        format!("{:?} {:?}", network.traces, network.replies)
    };
    assert_eq!(run(), run());
}
