//! What a replica is told when it starts, and the limits that no replica passes.

use mcp_chaos_evidence::{NodeId, Plants};

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
