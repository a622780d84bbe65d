//! What a node is told when it starts.

use mcp_chaos_evidence::{NodeId, Plants};

use crate::limits::SessionLimits;

/// A node's settings. All durations count ticks; how long a tick is, is the shell's business.
#[derive(Clone, Debug)]
pub struct Options {
    /// This node.
    pub id: NodeId,
    /// Seed of the election timeouts.
    pub seed: u64,
    /// How often the shell ticks, in ns. Default 20,000,000 (20 ms). The node itself only counts ticks.
    pub tick_ns: u64,
    /// Ticks between two heartbeats of a leader. Default 5 (100 ms).
    pub heartbeat_ticks: u32,
    /// Shortest election timeout in ticks; the longest is twice this. Default 25 (500 ms to 1 s).
    pub election_ticks: u32,
    /// Ticks after which an unanswered ReadIndex request is sent again. Default 10 (200 ms).
    pub read_retry_ticks: u32,
    /// Applied entries between two snapshots; 0: only when asked. Default 1,000.
    pub snapshot_every_entries: u64,
    /// Entries kept behind a snapshot for followers that lag a little. Default 100.
    pub keep_entries: u64,
    /// Ticks after which a request is answered whatever has become of it. Default 100 (2 s).
    pub request_timeout_ticks: u32,
    /// Most requests that wait at a time; more are turned away. Default 1,024.
    pub max_pending: usize,
    /// When sessions expire, in ms of idleness. Must be what the cluster was founded with. Default 600,000.
    pub session_ttl_ms: u64,
    /// Most sessions. Must be what the cluster was founded with. Default 10,000.
    pub max_sessions: u64,
    /// Planted bugs. Default none.
    pub plants: Plants,
}

impl Options {
    /// The named defaults, equal on all backends.
    pub fn new(id: NodeId, seed: u64) -> Options {
        let sessions = SessionLimits::default();
        Options {
            id,
            seed,
            tick_ns: 20_000_000,
            heartbeat_ticks: 5,
            election_ticks: 25,
            read_retry_ticks: 10,
            snapshot_every_entries: 1_000,
            keep_entries: 100,
            request_timeout_ticks: 100,
            max_pending: 1_024,
            session_ttl_ms: sessions.ttl_ms,
            max_sessions: sessions.max_count,
            plants: Plants::default(),
        }
    }

    pub(super) fn session_limits(&self) -> SessionLimits {
        SessionLimits { ttl_ms: self.session_ttl_ms, max_count: self.max_sessions }
    }

    /// `snapshot_state`: checksum of the state that the node starts from, 0 if there is none.
    pub(super) fn of_consensus(&self, snapshot_state: u64) -> mcp_chaos_consensus::Config {
        mcp_chaos_consensus::Config {
            id: self.id,
            seed: self.seed,
            heartbeat_ticks: self.heartbeat_ticks,
            election_ticks: self.election_ticks,
            read_retry_ticks: self.read_retry_ticks,
            keep_entries: self.keep_entries,
            snapshot_state,
            plants: self.plants,
        }
    }
}
