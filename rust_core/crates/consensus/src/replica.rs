//! CONTRACT SKETCH: public surface. The implementer completes it.

use mcp_chaos_evidence::{NodeId, Role, TraceEvent};

use crate::types::*;

/// Named defaults, equal on all backends.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// Seed of the election timeouts.
    pub seed: u64,
    /// Ticks between two heartbeats of a leader. Default 5 (a tick is 20 ms: 100 ms).
    pub heartbeat_ticks: u32,
    /// Shortest election timeout in ticks; the longest is twice this. Default 25 (500 ms to 1 s).
    pub election_ticks: u32,
    /// Ticks after which an unanswered ReadIndex request is sent again under a new context. Default 10.
    pub read_retry_ticks: u32,
    /// Entries kept behind a snapshot for followers that lag a little.
    pub keep_entries: u64,
    /// Planted bugs (only under the feature `plants`).
    pub plants: Plants,
}

/// Planted bugs that live in this layer. Without the feature `plants` no field can be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plants {
    /// `vote-not-durable`: a vote is answered before it is on disk; it reaches the disk with the next entries.
    #[cfg(feature = "plants")]
    pub vote_not_durable: bool,
    /// `stale-read` (its half in this layer): a leader does not step down for want of a quorum, and confirms
    /// reads by itself.
    #[cfg(feature = "plants")]
    pub stale_read: bool,
}

/// What happens to a replica.
#[derive(Clone, Debug)]
pub enum Event {
    /// One tick of the clock passed.
    Tick,
    /// A message arrived.
    Receive(Message),
    /// A client's command is to be replicated. `ticket` is the caller's, unique within a boot.
    Propose { ticket: u64, data: bytes::Bytes },
    /// A linearizable read is asked for.
    Read { ticket: u64 },
    /// The caller no longer waits for this read.
    ForgetRead { ticket: u64 },
    /// Hand leadership over. Ignored unless this node leads.
    TransferLeader { to: NodeId },
    /// A batch handed out by `Effect::Persist` is on disk.
    Persisted { token: u64 },
    /// The state machine's snapshot at `meta.index` is durable: the log below may be compacted, and lagging
    /// followers are sent this one.
    SnapshotMade(Snapshot),
    /// A peer could not be reached (its queue was full, its connection broke).
    Unreachable { peer: NodeId },
    /// A snapshot could be delivered to the peer's connection, or not.
    SnapshotSent { peer: NodeId, delivered: bool },
}

/// What the caller is to do. See the crate's documentation for the duties.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Write and sync, then answer `Event::Persisted`.
    Persist { token: u64, batch: Batch },
    /// Send to `message.to`.
    Send(Message),
    /// Apply these committed entries, in order.
    Apply(Vec<Entry>),
    /// Replace the state machine's state (the snapshot is durable).
    Restore(Snapshot),
    /// The proposal stands in the log at (index, term): it will be applied, or overwritten.
    Proposed { ticket: u64, index: u64, term: u64 },
    /// The proposal was dropped before it reached any log.
    ProposalFailed { ticket: u64, leader: Option<NodeId> },
    /// The read may be answered once `index` is applied.
    ReadReady { ticket: u64, index: u64 },
    /// Write this to the node's trace.
    Trace(TraceEvent),
}

/// A replica's view of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub id: NodeId,
    pub role: Role,
    pub term: u64,
    pub vote: Option<NodeId>,
    pub leader: Option<NodeId>,
    pub commit: u64,
    pub applied: u64,
    pub first_index: u64,
    pub last_index: u64,
    /// Last index known durable.
    pub persisted: u64,
    pub snapshot_index: u64,
    pub configuration: Configuration,
}

/// Why a node could not be founded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    #[error("this node already belongs to cluster {0:?}")]
    AlreadyInitialized(String),
    #[error("a cluster needs at least one voter, each named once, this node among them")]
    BadVoters,
}
