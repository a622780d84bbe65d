//! What nodes did.
//!
//! A record is written after what it reports is durable, and before anything outside the node can tell.
//! So term and vote never go back over a node's whole life; commit and applied never within one boot.

use serde::{Deserialize, Serialize};

use crate::NodeId;

/// A node's part in the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Follows a leader, or waits for one.
    #[default]
    Follower,
    /// Asks whether it could win before it raises its term (Ongaro's dissertation §9.6).
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads its term.
    Leader,
}

/// One line of `trace/NODE.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceRecord {
    /// Nanoseconds since the run's start.
    pub time_ns: u64,
    /// Who did it.
    #[serde(with = "crate::name::one")]
    pub node: NodeId,
    /// How often this node has started on its data directory, from 1.
    pub boot: u64,
    /// What was done.
    #[serde(flatten)]
    pub event: TraceEvent,
}

/// What a node did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum TraceEvent {
    /// The node came up with what its disk held. An `appended` record follows for each log entry above
    /// `snapshot_index`: the log as recovered replaces the log as known before.
    Started {
        /// Durable term.
        term: u64,
        /// For whom the node has voted in `term`.
        #[serde(default, with = "crate::name::option")]
        vote: Option<NodeId>,
        /// Index of the newest snapshot, 0 if none.
        snapshot_index: u64,
        /// Term of the newest snapshot's last entry.
        snapshot_term: u64,
        /// State checksum at `snapshot_index`, 0 if none.
        #[serde(with = "crate::hex")]
        snapshot_state: u64,
        /// Index of the last log entry found.
        last_index: u64,
    },
    /// The node was founded as one of these voters.
    Initialized {
        /// The cluster's identity.
        cluster: String,
        /// The founding voters.
        #[serde(with = "crate::name::list")]
        voters: Vec<NodeId>,
    },
    /// Role, term or known leader changed.
    RoleChanged {
        /// The new role.
        role: Role,
        /// The (durable) term.
        term: u64,
        /// Who leads, as far as the node knows.
        #[serde(default, with = "crate::name::option")]
        leader: Option<NodeId>,
    },
    /// A vote became durable (its own included).
    VoteCast {
        /// The term voted in.
        term: u64,
        /// For whom.
        #[serde(with = "crate::name::one")]
        candidate: NodeId,
    },
    /// A log entry became durable.
    Appended {
        /// Its index.
        index: u64,
        /// Its term.
        term: u64,
        /// Checksum of its kind and data.
        #[serde(with = "crate::hex")]
        checksum: u64,
    },
    /// The entries from this index on were removed, durably.
    Truncated {
        /// The first index removed.
        from: u64,
    },
    /// The commit index, as far as the node's own durable log reaches, moved to here.
    Committed {
        /// The new commit index.
        index: u64,
    },
    /// An entry was applied.
    Applied {
        /// Its index.
        index: u64,
        /// Its term.
        term: u64,
        /// Checksum of the whole state after it.
        #[serde(with = "crate::hex")]
        state: u64,
        /// Session of the request it carried; 0 for an entry that carries none.
        #[serde(default, skip_serializing_if = "is_zero")]
        client: u64,
        /// Number of the request within the session.
        #[serde(default, skip_serializing_if = "is_zero")]
        sequence: u64,
        /// True if the request had been applied before (a retry): it changed nothing.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        duplicate: bool,
    },
    /// A snapshot of the node's own state became durable.
    SnapshotMade {
        /// Last index covered.
        index: u64,
        /// Its term.
        term: u64,
        /// State checksum at `index`.
        #[serde(with = "crate::hex")]
        state: u64,
    },
    /// A snapshot from the leader replaced log and state.
    SnapshotInstalled {
        /// Last index covered.
        index: u64,
        /// Its term.
        term: u64,
        /// State checksum at `index`, computed from the restored content.
        #[serde(with = "crate::hex")]
        state: u64,
    },
    /// A configuration took effect (when applied, as in raft-rs).
    ConfigChanged {
        /// Index of the entry or snapshot that brought it.
        index: u64,
        /// Voters.
        #[serde(with = "crate::name::list")]
        voters: Vec<NodeId>,
        /// Learners.
        #[serde(with = "crate::name::list")]
        learners: Vec<NodeId>,
        /// While joint, the voters of the configuration that is being left: a majority of them is needed too.
        #[serde(default, skip_serializing_if = "Vec::is_empty", with = "crate::name::list")]
        voters_outgoing: Vec<NodeId>,
    },
    /// The node stopped of its own accord.
    Stopped {
        /// Why: `graceful`, or a reason in words.
        reason: String,
    },
    /// The node panicked. Never legal.
    Panicked {
        /// The panic's message.
        message: String,
    },
    /// The node refused to start on its data, and touched nothing.
    Refused {
        /// Why.
        reason: String,
    },
}

impl TraceEvent {
    /// The event's name as it stands in JSON, by which a scenario's `on:` steps call it.
    pub fn name(&self) -> &'static str {
        match self {
            TraceEvent::Started { .. } => "started",
            TraceEvent::Initialized { .. } => "initialized",
            TraceEvent::RoleChanged { .. } => "role_changed",
            TraceEvent::VoteCast { .. } => "vote_cast",
            TraceEvent::Appended { .. } => "appended",
            TraceEvent::Truncated { .. } => "truncated",
            TraceEvent::Committed { .. } => "committed",
            TraceEvent::Applied { .. } => "applied",
            TraceEvent::SnapshotMade { .. } => "snapshot_made",
            TraceEvent::SnapshotInstalled { .. } => "snapshot_installed",
            TraceEvent::ConfigChanged { .. } => "config_changed",
            TraceEvent::Stopped { .. } => "stopped",
            TraceEvent::Panicked { .. } => "panicked",
            TraceEvent::Refused { .. } => "refused",
        }
    }
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}
