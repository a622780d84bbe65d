//! The world as JSON, for debuggers and for state machines that step it.

use mcp_chaos_evidence::{NodeId, node_name};
use serde_json::{Map, Value, json};

use super::{Event, World, end_name};
use crate::process::State;

impl World {
    /// What the world looks like now.
    ///
    /// `nodes`: for each its process (`up`, `paused`, `starting`, `down`, `ended`), its disk, and for one that
    /// is up its replica with its whole log. `links_cut` and `links_slow`: directed links under a fault.
    /// `messages_in_flight`: between nodes, and between clients and nodes.
    pub fn observe(&self) -> Value {
        let nodes: Map<String, Value> =
            (1..=self.plan.nodes).map(|node| (node_name(node), self.observe_node(node))).collect();
        let between_nodes = self.queue.iter().filter(|event| matches!(event, Event::Peer(_))).count();
        let of_clients = self
            .queue
            .iter()
            .filter(|event| {
                matches!(event, Event::Request { .. } | Event::Cancel { .. } | Event::Reply { .. })
            })
            .count();
        json!({
            "now_ns": self.now_ns,
            "over": self.is_over(),
            "leader": self.leader().map(node_name),
            "nodes": nodes,
            "links_cut": link_names(self.network.cut_links()),
            "links_slow": link_names(self.network.slow_links()),
            "messages_in_flight": {"nodes": between_nodes, "clients": of_clients},
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
            let inside = serde_json::to_value(running.node.observe()).expect("an observation is plain data");
            if let (Value::Object(observed), Value::Object(inside)) = (&mut observed, inside) {
                observed.extend(inside);
            }
        }
        observed
    }
}

fn link_names(links: impl Iterator<Item = (NodeId, NodeId)>) -> Vec<Value> {
    links.map(|(from, to)| json!([end_name(from), end_name(to)])).collect()
}
