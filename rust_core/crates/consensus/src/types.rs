//! The replica's vocabulary: entries, durable state, messages between peers.
//!
//! These are our own types, not raft-rs's protobuf ones: bytes from the network must never reach the
//! protobuf decoder (RUSTSEC-2024-0437), so peers exchange [`Message`] under a codec of our choice (serde).

use bytes::Bytes;
use mcp_chaos_evidence::NodeId;
use serde::{Deserialize, Serialize};

/// A log entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Position in the log, from 1.
    pub index: u64,
    /// The term of the leader that created it.
    pub term: u64,
    /// What it carries.
    pub kind: EntryKind,
    /// The state machine's command, or an encoded configuration change. Empty: the no-op of a new leader.
    pub data: Bytes,
}

impl Entry {
    /// The checksum by which traces compare entries: of kind and data (index and term stand beside it).
    pub fn checksum(&self) -> u64 {
        mcp_chaos_evidence::checksum(&self.data) ^ (self.kind as u64)
    }
}

/// What an entry carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// A command of the state machine, or nothing.
    Normal = 0,
    /// A configuration change, as one step.
    ConfChange = 1,
    /// A configuration change through joint consensus.
    ConfChangeV2 = 2,
}

/// What Raft demands to be durable besides the log (Ongaro's dissertation §3.3); commit is a hint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardState {
    /// The latest term seen.
    pub term: u64,
    /// For whom the node voted in `term`; 0 for nobody.
    pub vote: NodeId,
    /// The commit index as last known.
    pub commit: u64,
}

/// Who votes and who listens. `*_outgoing` and `*_next` are empty outside joint consensus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Voters, ascending.
    pub voters: Vec<NodeId>,
    /// Learners, ascending.
    pub learners: Vec<NodeId>,
    /// Voters of the outgoing configuration while joint.
    pub voters_outgoing: Vec<NodeId>,
    /// Learners-to-be while joint.
    pub learners_next: Vec<NodeId>,
    /// Whether raft-rs leaves the joint configuration by itself.
    pub auto_leave: bool,
    /// Who was a member once and is none any more, ascending: these identities do not come back.
    pub removed: Vec<NodeId>,
}

impl Configuration {
    /// Whether two majorities decide (Ongaro's dissertation §4.3).
    pub fn is_joint(&self) -> bool {
        !self.voters_outgoing.is_empty()
    }

    /// Whether `id` votes, in either half.
    pub fn is_voter(&self, id: NodeId) -> bool {
        self.voters.contains(&id) || self.voters_outgoing.contains(&id)
    }

    /// Whether `id` votes or listens.
    pub fn is_member(&self, id: NodeId) -> bool {
        self.is_voter(id) || self.learners.contains(&id)
    }

    /// Everyone who votes or listens, ascending.
    pub fn members(&self) -> Vec<NodeId> {
        let mut members = [&self.voters[..], &self.voters_outgoing, &self.learners].concat();
        members.sort_unstable();
        members.dedup();
        members
    }
}

/// Where a snapshot stands in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotMeta {
    /// The last index it covers.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// The configuration at that index.
    pub configuration: Configuration,
}

/// A snapshot: the state machine's bytes, and where they stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Where it stands.
    pub meta: SnapshotMeta,
    /// The state machine's own encoding.
    pub data: Bytes,
}

/// Everything the disk must hold before what depends on it may leave the node. Parts apply in this order:
/// snapshot (replaces log and state), `entries` (the first one's index says what they overwrite: any entry
/// at or above it is gone), hard state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// A snapshot received from the leader, to be installed.
    pub snapshot: Option<Box<Snapshot>>,
    /// Entries to append, contiguous; they overwrite whatever stands at or above the first one's index.
    pub entries: Vec<Entry>,
    /// The hard state to keep.
    pub hard_state: Option<HardState>,
    /// False if only the commit index moved: then nothing waits for a sync.
    pub must_sync: bool,
}

/// What a node finds on its disk when it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// How often this node has started on this directory, this time included (durable before it is used).
    pub boot: u64,
    /// The cluster it was founded for, empty if it never was.
    pub cluster: String,
    /// The hard state; all zero if never written.
    pub hard_state: HardState,
    /// The newest snapshot. A founded node has one at index 1 or above: founding itself writes it.
    pub snapshot: Option<Snapshot>,
    /// The log above the snapshot, contiguous.
    pub entries: Vec<Entry>,
}

/// The kinds of message peers exchange: raft-rs's, less the local ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)] // The names are raft-rs's own.
pub enum MessageKind {
    Append,
    AppendResponse,
    RequestVote,
    RequestVoteResponse,
    Snapshot,
    Heartbeat,
    HeartbeatResponse,
    TransferLeader,
    TimeoutNow,
    ReadIndex,
    ReadIndexResponse,
    RequestPreVote,
    RequestPreVoteResponse,
}

/// A message between peers. Fields mean what they mean in raft-rs's `Message`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // The names are raft-rs's own.
pub struct Message {
    pub kind: MessageKind,
    pub from: NodeId,
    pub to: NodeId,
    pub term: u64,
    pub log_term: u64,
    pub index: u64,
    pub entries: Vec<Entry>,
    pub commit: u64,
    pub commit_term: u64,
    pub snapshot: Option<Box<Snapshot>>,
    pub request_snapshot: u64,
    pub reject: bool,
    pub reject_hint: u64,
    pub context: Bytes,
    pub priority: i64,
}
