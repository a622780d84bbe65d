//! What a replica is told when it starts, and the limits that no replica passes.

use mcp_chaos_evidence::NodeId;

/// Largest payload of one append message, in bytes; a larger single entry travels alone.
pub const MAX_APPEND_BYTES: usize = 256 << 10;
/// Largest command that may be proposed, in bytes.
pub const MAX_COMMAND_BYTES: usize = 1 << 20;
/// Largest state-machine snapshot that is accepted from a peer, in bytes.
pub const MAX_SNAPSHOT_BYTES: usize = 256 << 20;
/// Most entries in one append message.
pub const MAX_APPEND_ENTRIES: usize = 16 << 10;
/// Append messages that a leader sends to one follower ahead of its acknowledgements.
pub const MAX_INFLIGHT_APPENDS: usize = 128;
/// Bytes that a leader holds uncommitted before it refuses proposals.
pub const MAX_UNCOMMITTED_BYTES: u64 = 16 << 20;
/// Bytes of committed entries handed to the state machine at once.
pub(crate) const MAX_APPLY_BYTES: u64 = 4 << 20;
/// Messages that wait on one batch; more are dropped, as the network may drop any.
pub(crate) const MAX_HELD_MESSAGES: usize = 1024;
/// ReadIndex contexts in flight; further reads share the next one.
pub(crate) const MAX_READ_CONTEXTS: u64 = 4;
/// Largest context that a peer's ReadIndex may carry, in bytes.
pub(crate) const MAX_CONTEXT_BYTES: usize = 64;
/// Indexes and terms stay below this, so that arithmetic on a peer's numbers cannot overflow.
pub(crate) const MAX_NUMBER: u64 = 1 << 62;

/// Named defaults, equal on all backends.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// Seed of the election timeouts.
    pub seed: u64,
    /// Ticks between two heartbeats of a leader. Default 5 (a tick is 20 ms: 100 ms).
    pub heartbeat_ticks: u32,
    /// Shortest election timeout in ticks; the longest is one less than twice this. Default 25 (500 ms to
    /// 1 s).
    pub election_ticks: u32,
    /// Ticks after which an unanswered ReadIndex request is sent again under a new context. Default 10.
    pub read_retry_ticks: u32,
    /// Entries kept behind a snapshot for followers that lag a little. Default 100.
    pub keep_entries: u64,
    /// Checksum of the state machine's state as restored from the recovered snapshot, 0 if there is none:
    /// the `started` record reports it, and only the caller can compute it.
    pub snapshot_state: u64,
    /// Planted bugs (only under the feature `plants`).
    pub plants: Plants,
}

impl Config {
    /// The defaults, for this node under this seed.
    pub fn new(id: NodeId, seed: u64) -> Config {
        Config {
            id,
            seed,
            heartbeat_ticks: 5,
            election_ticks: 25,
            read_retry_ticks: 10,
            keep_entries: 100,
            snapshot_state: 0,
            plants: Plants::default(),
        }
    }
}

/// Planted bugs that live in this layer. Without the feature `plants` no field can be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plants {
    /// `vote-not-durable`: a vote is answered, and traced, before it is on disk; term and vote reach the disk
    /// only with the next entries. A node that restarts in between votes again in the same term, and two
    /// leaders may be elected in it. Models a hard state that is written without waiting for the sync, or not
    /// at all. Forbidden by Ongaro's dissertation §3.8 (persisted state); met in practice as the risk named
    /// in tikv/tikv#1610: "a follower may send a vote to another peer at the same term".
    #[cfg(feature = "plants")]
    pub vote_not_durable: bool,
    /// `stale-read` (its half in this layer): a leader does not step down for want of a quorum, and confirms
    /// reads by itself, its followers' included. Cut off, it answers from a state that another leader's
    /// writes have passed. Models reads from the leader without the round of heartbeats of Ongaro's
    /// dissertation §6.4; met in practice in early etcd and Consul (Kingsbury, "Jepsen: etcd and Consul",
    /// aphyr.com/posts/316, 2014).
    #[cfg(feature = "plants")]
    pub stale_read: bool,
}

impl Plants {
    pub(crate) fn vote_not_durable(self) -> bool {
        #[cfg(feature = "plants")]
        return self.vote_not_durable;
        #[cfg(not(feature = "plants"))]
        false
    }

    pub(crate) fn stale_read(self) -> bool {
        #[cfg(feature = "plants")]
        return self.stale_read;
        #[cfg(not(feature = "plants"))]
        false
    }
}
