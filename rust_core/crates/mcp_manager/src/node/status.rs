//! What a node says of itself: for operators ([`NodeStatus`]) and for debugging ([`Observation`]).

use std::collections::BTreeMap;

use mcp_chaos_evidence::{NodeId, Role, node_name};
use serde::{Serialize, Serializer};

use super::durable_log::LogEntry;

/// A node's view of itself. In JSON nodes are called by name, and `state` is 16 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeStatus {
    /// This node.
    #[serde(serialize_with = "name")]
    pub node: NodeId,
    /// How often it has started on its data, this time included.
    pub boot: u64,
    /// The cluster it was founded for; empty if it never was.
    pub cluster: String,
    /// Its part in the protocol.
    pub role: Role,
    /// Its term.
    pub term: u64,
    /// For whom it voted in that term.
    #[serde(serialize_with = "optional_name")]
    pub vote: Option<NodeId>,
    /// Who leads, as far as it knows.
    #[serde(serialize_with = "optional_name")]
    pub leader: Option<NodeId>,
    /// Who votes, ascending.
    #[serde(serialize_with = "names")]
    pub voters: Vec<NodeId>,
    /// While two majorities decide, who votes in the configuration that is being left.
    #[serde(serialize_with = "names")]
    pub voters_outgoing: Vec<NodeId>,
    /// Who listens, ascending.
    #[serde(serialize_with = "names")]
    pub learners: Vec<NodeId>,
    /// Who was a member once, ascending.
    #[serde(serialize_with = "names")]
    pub removed: Vec<NodeId>,
    /// Commit index.
    pub commit: u64,
    /// Last index applied to `state`.
    pub applied: u64,
    /// First index in the log.
    pub first_index: u64,
    /// Last index in the log.
    pub last_index: u64,
    /// Last index known durable.
    pub persisted: u64,
    /// Last index covered by the newest snapshot.
    pub snapshot_index: u64,
    /// Checksum of the state.
    #[serde(serialize_with = "hex")]
    pub state: u64,
    /// Open sessions.
    pub sessions: usize,
    /// Settings.
    pub settings: usize,
    /// Registered MCP servers.
    pub servers: usize,
    /// Requests that wait.
    pub pending: usize,
    /// Messages received from each peer since this boot: what proves that a cut took hold.
    #[serde(serialize_with = "counts")]
    pub received: BTreeMap<NodeId, u64>,
    /// The planted bugs it runs with, by name.
    pub plants: Vec<&'static str>,
}

/// A node's inside, for debuggers. Costs a copy of the whole log's outline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Observation {
    /// Its part in the protocol.
    pub role: Role,
    /// Its term.
    pub term: u64,
    /// For whom it voted in that term.
    #[serde(serialize_with = "optional_name")]
    pub vote: Option<NodeId>,
    /// Who leads, as far as it knows.
    #[serde(serialize_with = "optional_name")]
    pub leader: Option<NodeId>,
    /// Commit index.
    pub commit: u64,
    /// Last index applied.
    pub applied: u64,
    /// First index in the log: entries before it are compacted.
    pub first_index: u64,
    /// Last index in the log; beyond `log`, entries are on their way to the disk.
    pub last_index: u64,
    /// Last index that it knows to be durable.
    pub persisted: u64,
    /// Last index covered by the newest snapshot.
    pub snapshot_index: u64,
    /// Checksum of the state.
    #[serde(serialize_with = "hex")]
    pub state: u64,
    /// The durable log, ascending, from the first entry that is not compacted.
    pub log: Vec<LogEntry>,
}

fn name<S: Serializer>(id: &NodeId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&node_name(*id))
}

fn optional_name<S: Serializer>(id: &Option<NodeId>, serializer: S) -> Result<S::Ok, S::Error> {
    id.map(node_name).serialize(serializer)
}

fn names<S: Serializer>(ids: &[NodeId], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(ids.iter().map(|id| node_name(*id)))
}

fn counts<S: Serializer>(counts: &BTreeMap<NodeId, u64>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(counts.iter().map(|(id, count)| (node_name(*id), count)))
}

pub(super) fn hex<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value:016x}"))
}
