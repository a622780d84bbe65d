//! The world as JSON, for debuggers and for state machines that step it.

use std::collections::{BTreeMap, BTreeSet};

use mcp_chaos_consensus::{Message, MessageKind};
use mcp_chaos_evidence::{NodeId, node_name};
use serde_json::{Map, Value, json};

use super::lines::Parcel;
use super::{Event, World, end_name};
use crate::process::State;

impl World {
    /// What the world looks like now.
    ///
    /// `nodes`: for each its process (`up`, `paused`, `starting`, `down`, `crashed`, `ended`, or `stopped`: its disk
    /// failed, and it waits for it to be well), its disk, and for one that is up its replica with its whole log.
    /// `links_cut`: directed links that are cut; `links_disturbed`: those whose messages suffer otherwise, by the kind
    /// of fault. `messages_in_flight`: how many between nodes, and between clients and nodes. `messages`: each of
    /// those between nodes, in the order in which they arrive. `messages_waiting`: how many wait before links of
    /// limited bandwidth.
    pub fn observe(&self) -> Value {
        let nodes: Map<String, Value> =
            (1..=self.plan.nodes).map(|node| (node_name(node), self.observe_node(node))).collect();
        let waiting = self.queue.waiting();
        let messages: Vec<_> = waiting
            .iter()
            .filter_map(|(due_ns, event)| match event {
                Event::Arrives { parcel: Parcel::Peer(message), .. } => {
                    Some(observe_message(message, *due_ns))
                }
                _ => None,
            })
            .collect();
        let in_flight = waiting.iter().filter(|(_, event)| matches!(event, Event::Arrives { .. })).count();
        json!({
            "now_ns": self.now_ns,
            "over": self.is_over(),
            "leader": self.leader().map(node_name),
            "nodes": nodes,
            "links_cut": link_names(self.network.cut_links()),
            "links_disturbed": self.links_disturbed(),
            "messages_in_flight": {"nodes": messages.len(), "clients": in_flight - messages.len()},
            "messages_waiting": self.lines.waiting(),
            "messages": messages,
        })
    }

    fn observe_node(&self, node: NodeId) -> Value {
        let machine = &self.machines[node as usize - 1];
        let disk = machine.disk();
        let mut observed = json!({
            "process": machine.word(),
            "boot": machine.boot,
            "disk": {"synced": disk.is_synced(), "unsynced_bytes": disk.unsynced_bytes()},
        });
        if let State::Up(running) = &machine.state {
            let disk = &mut observed["disk"];
            disk["written_index"] = running.wal.last_index().into();
            disk["busy"] = running.flight.is_some().into();
            disk["queued"] = running.jobs.len().into();
            let inside = serde_json::to_value(running.node.observe()).expect("an observation is plain data");
            if let (Value::Object(observed), Value::Object(inside)) = (&mut observed, inside) {
                observed.extend(inside);
            }
        }
        observed
    }
}

impl World {
    /// Links under faults that let some of their messages through, by kind, each link once.
    fn links_disturbed(&self) -> BTreeMap<&'static str, Vec<Value>> {
        let mut by_kind: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for (link, by) in self.network.disturbances() {
            by_kind.entry(by.name()).or_default().insert(link);
        }
        by_kind.into_iter().map(|(kind, links)| (kind, link_names(links.into_iter()))).collect()
    }
}

fn link_names(links: impl Iterator<Item = (NodeId, NodeId)>) -> Vec<Value> {
    links.map(|(from, to)| json!([end_name(from), end_name(to)])).collect()
}

/// A message on its way. `index` and `log_term` mean what they mean in raft-rs: for an append, where its entries
/// begin.
fn observe_message(message: &Message, due_ns: u64) -> Value {
    json!({
        "from": node_name(message.from),
        "to": node_name(message.to),
        "kind": kind_name(message.kind),
        "term": message.term,
        "index": message.index,
        "log_term": message.log_term,
        "commit": message.commit,
        "entries": message.entries.len(),
        "reject": message.reject,
        "snapshot_index": message.snapshot.as_ref().map(|snapshot| snapshot.meta.index),
        "due_ns": due_ns,
    })
}

fn kind_name(kind: MessageKind) -> &'static str {
    match kind {
        MessageKind::Append => "append",
        MessageKind::AppendResponse => "append_response",
        MessageKind::RequestVote => "request_vote",
        MessageKind::RequestVoteResponse => "request_vote_response",
        MessageKind::Snapshot => "snapshot",
        MessageKind::Heartbeat => "heartbeat",
        MessageKind::HeartbeatResponse => "heartbeat_response",
        MessageKind::TransferLeader => "transfer_leader",
        MessageKind::TimeoutNow => "timeout_now",
        MessageKind::ReadIndex => "read_index",
        MessageKind::ReadIndexResponse => "read_index_response",
        MessageKind::RequestPreVote => "request_pre_vote",
        MessageKind::RequestPreVoteResponse => "request_pre_vote_response",
    }
}
