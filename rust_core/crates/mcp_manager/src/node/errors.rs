//! Why a cluster is not founded, a node does not start, or has to stop.

use mcp_chaos_consensus::Broken;

use crate::limits::SessionLimits;
use crate::machine::SnapshotError;

/// Why a cluster could not be founded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    /// The voters are not a cluster with this node in it.
    #[error("a cluster needs at least one voter, each named once and numbered from 1, this node among them")]
    BadVoters,
    /// The cluster's name is not one.
    #[error("a cluster's name has 1 to {MAX_CLUSTER_BYTES} bytes and no control characters")]
    BadCluster,
}

/// Longest name of a cluster, in bytes.
pub const MAX_CLUSTER_BYTES: usize = 128;

/// Why a node could not start on what its disk held. Nothing has been touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The options contradict each other.
    #[error("bad options: {0}")]
    BadOptions(&'static str),
    /// The newest snapshot's content cannot be used.
    #[error("the snapshot at index {index}: {error}")]
    Snapshot {
        /// Its last index.
        index: u64,
        /// What is wrong.
        error: SnapshotError,
    },
    /// The log cannot have been written by a node.
    #[error("the log cannot be trusted: {0}; give this node its whole directory back, or a new identity")]
    Log(&'static str),
    /// The options name other session limits than the cluster was founded with.
    #[error(
        "the cluster was founded with {founded:?}, this node is started with {configured:?}: replicas that \
         disagreed would part ways; start it with the former"
    )]
    SessionLimits {
        /// The cluster's.
        founded: SessionLimits,
        /// The options'.
        configured: SessionLimits,
    },
}

/// Why a running node had to stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FatalError {
    /// Promises on which Raft rests were not kept.
    #[error("{0}")]
    Broken(#[from] Broken),
    /// The leader's snapshot is durable, but cannot be restored.
    #[error("the leader's snapshot at index {index} cannot be restored: {error}")]
    Restore {
        /// Its last index.
        index: u64,
        /// What is wrong.
        error: SnapshotError,
    },
}
