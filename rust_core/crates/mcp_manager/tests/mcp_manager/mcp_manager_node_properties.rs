//! Three nodes under random cuts, kills, restarts and snapshots: what clients are told is true.

use std::collections::{BTreeMap, BTreeSet};

use mcp_chaos_evidence::TraceEvent;
use mcp_manager::command::{Outcome, Query, Request, Response};
use mcp_manager::node::Options;
use proptest::prelude::*;

use crate::support::network::Network;
use crate::support::write;

#[derive(Clone, Debug)]
enum Step {
    Ticks(u32),
    Write(u64),
    Read(u64),
    Isolate(u64),
    CutOneWay(u64, u64),
    Heal,
    Kill(u64),
    Start(u64),
    Snapshot(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let node = || 1u64..=3;
    let step = prop_oneof![
        4 => (1u32..60).prop_map(Step::Ticks),
        8 => node().prop_map(Step::Write),
        2 => node().prop_map(Step::Read),
        1 => node().prop_map(Step::Isolate),
        1 => (node(), node()).prop_map(|(from, to)| Step::CutOneWay(from, to)),
        2 => Just(Step::Heal),
        1 => node().prop_map(Step::Kill),
        2 => node().prop_map(Step::Start),
        1 => node().prop_map(Step::Snapshot),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_clients_are_told_is_true(steps in steps(), seed: u64) {
        let options = Options { snapshot_every_entries: 8, keep_entries: 0, ..Options::new(1, seed) };
        let mut network = Network::with(3, options);
        let leader = network.elect();
        let client = network.open_session(leader);
        let mut writes = BTreeMap::new(); // Ticket to sequence.
        let mut reads = BTreeSet::new();
        for step in steps {
            match step {
                Step::Ticks(count) => network.ticks(count),
                Step::Write(id) => {
                    let sequence = writes.len() as u64 + 1;
                    let operation = write("k", &sequence.to_string());
                    let ticket = network.ask(id, Request::Operate { client, sequence, operation });
                    writes.insert(ticket, sequence);
                }
                Step::Read(id) => {
                    reads.insert(network.ask(id, Request::Query(Query::Setting { key: "k".into() })));
                }
                Step::Isolate(id) => network.isolate(id),
                Step::CutOneWay(from, to) => drop(network.cut.insert((from, to))),
                Step::Heal => network.cut.clear(),
                Step::Kill(id) => network.kill(id),
                Step::Start(id) if network.nodes.contains_key(&id) => {}
                Step::Start(id) => network.start(id),
                Step::Snapshot(id) => drop(network.ask(id, Request::SnapshotNow)),
            }
        }
        for id in 1..=3 {
            if !network.nodes.contains_key(&id) {
                network.start(id);
            }
        }
        network.agree();
        network.ticks(101);
        network.agree();

        // Where each request was applied, by sequence number: at one index, on every node that applied it.
        let mut applied = BTreeMap::new();
        for (id, event) in &network.traces {
            if let TraceEvent::Applied { index, client: c, sequence, duplicate: false, .. } = event
                && *c == client
            {
                prop_assert_eq!(*applied.entry(*sequence).or_insert(*index), *index, "n{}: {}", id, sequence);
            }
        }
        for (ticket, sequence) in &writes {
            let response = network.replies.get(ticket);
            match response {
                Some(Response::Applied { outcome: Outcome::Done { version }, log_index }) => {
                    prop_assert_eq!(version, log_index);
                    prop_assert_eq!(applied.get(sequence), Some(log_index));
                }
                // A later request overtook it.
                Some(Response::Applied { outcome: Outcome::StaleSequence { last }, .. }) => {
                    prop_assert!(last > sequence && !applied.contains_key(sequence));
                }
                Some(Response::NotLeader { .. } | Response::Unavailable { .. }) => {
                    prop_assert_eq!(applied.get(sequence), None, "certainly no effect: {:?}", response);
                }
                // Unknown, or asked of a node that was killed: either may be.
                Some(Response::Unknown { .. }) | None => {}
                response => prop_assert!(false, "{:?}", response),
            }
        }
        for ticket in reads {
            let response = network.replies.get(&ticket);
            let is_answer = matches!(response, None | Some(Response::Read { .. } | Response::Unavailable { .. }));
            prop_assert!(is_answer, "{:?}", response);
        }
        for node in network.nodes.values() {
            prop_assert_eq!(node.status().pending, 0);
        }
    }
}
