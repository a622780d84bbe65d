//! What goes into a replica and what comes out.

use mcp_chaos_evidence::{NodeId, Role, TraceEvent};

use crate::membership::{ChangeRefused, MembershipChange};
use crate::types::{Batch, Configuration, Entry, Message, Snapshot};

/// What happens to a replica.
#[derive(Clone, Debug)]
pub enum Event {
    /// One tick of the clock passed.
    Tick,
    /// A message arrived. What no correct peer would send is dropped and counted.
    Receive(Box<Message>),
    /// A client's command is to be replicated.
    Propose {
        /// The caller's, unique within a boot.
        ticket: u64,
        /// The command; not empty, at most [`crate::MAX_COMMAND_BYTES`].
        data: bytes::Bytes,
    },
    /// A linearizable read is asked for.
    Read {
        /// The caller's, unique within a boot.
        ticket: u64,
    },
    /// The caller no longer waits for this read.
    ForgetRead {
        /// The read's.
        ticket: u64,
    },
    /// Hand leadership over. Ignored unless this node leads.
    TransferLeader {
        /// A voter.
        to: NodeId,
    },
    /// The membership is to change. See [`MembershipChange`].
    ChangeMembership {
        /// The caller's, unique within a boot.
        ticket: u64,
        /// How.
        change: MembershipChange,
    },
    /// A batch handed out by `Effect::Persist` is on disk, and all before it.
    Persisted {
        /// The batch's.
        token: u64,
    },
    /// The state machine's snapshot at `meta.index` is durable: the log below may be compacted, and lagging
    /// followers are sent this one. See [`crate::Replica::applied_meta`].
    SnapshotMade(Box<Snapshot>),
    /// A peer could not be reached (its queue was full, its connection broke).
    Unreachable {
        /// The peer.
        peer: NodeId,
    },
    /// A snapshot could be delivered to the peer's connection, or not.
    SnapshotSent {
        /// The peer.
        peer: NodeId,
        /// False if it certainly never arrived.
        delivered: bool,
    },
}

/// What the caller is to do. See the crate's documentation for the duties.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Write and sync, then answer `Event::Persisted`.
    Persist {
        /// Ascending from 1 within a boot.
        token: u64,
        /// What to write.
        batch: Batch,
    },
    /// Send to `message.to`.
    Send(Box<Message>),
    /// Apply these committed entries, in order.
    Apply(Vec<Entry>),
    /// Replace the state machine's state (the snapshot is durable).
    Restore(Box<Snapshot>),
    /// The proposal stands in the log at (index, term): it will be applied, or overwritten.
    Proposed {
        /// The proposal's.
        ticket: u64,
        /// Where it stands.
        index: u64,
        /// The leader's term.
        term: u64,
    },
    /// The proposal was dropped before it reached any log.
    ProposalFailed {
        /// The proposal's.
        ticket: u64,
        /// Who leads, as far as this node knows; itself if it leads but cannot take the proposal now.
        leader: Option<NodeId>,
    },
    /// The leader does not propose this change of the membership.
    ChangeRefused {
        /// The proposal's.
        ticket: u64,
        /// Why.
        why: ChangeRefused,
    },
    /// The read may be answered once `index` is applied.
    ReadReady {
        /// The read's.
        ticket: u64,
        /// What must be applied first.
        index: u64,
    },
    /// Write this to the node's trace.
    Trace(TraceEvent),
    /// The node must stop, and not be started on this disk again. Nothing follows.
    Halt(Broken),
}

/// What a node finds out about promises that were not kept: beyond Raft's fault model, where a disk keeps what it
/// reported durable. To go on would be to give wrong answers, or to help others give them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The leader counts on entries that this node acknowledged, and does not have any more.
    #[error(
        "this node has forgotten what it acknowledged: n{leader}, which leads term {term}, counts on its log up to index \
         {acknowledged}, and it ends at {last_index}; its disk has lost what was synced; remove this node from its \
         cluster, and add it again, empty, under a new name"
    )]
    Forgotten {
        /// Who leads.
        leader: NodeId,
        /// Its term.
        term: u64,
        /// Up to where it counts on this node's log.
        acknowledged: u64,
        /// Where that ends.
        last_index: u64,
    },
    /// The leader's log holds another entry where this node knows one to be committed: so a quorum has forgotten it.
    /// (A follower in this case halts in Zeebe as well: <https://github.com/camunda/camunda/pull/30290>.)
    #[error(
        "what was committed is lost: n{leader}, which leads term {term}, has another entry than this node at index \
         {index}, and this node knows its own to be committed (up to {committed}); a quorum has forgotten it; \
         keep this node's data directory: it may hold the only copy"
    )]
    CommittedLost {
        /// Who leads.
        leader: NodeId,
        /// Its term.
        term: u64,
        /// Where its log holds another entry.
        index: u64,
        /// Up to where this node knows its log to be committed.
        committed: u64,
    },
}

/// A replica's view of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub id: NodeId,
    /// Its part in the protocol.
    pub role: Role,
    /// Its term, durable or about to be.
    pub term: u64,
    /// For whom it voted in `term`.
    pub vote: Option<NodeId>,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// The commit index as the cluster's leader told it, whether or not the entries are durable here.
    pub commit: u64,
    /// Last index handed to the state machine.
    pub applied: u64,
    /// First index still in the log.
    pub first_index: u64,
    /// Last index in the log.
    pub last_index: u64,
    /// Last index known durable.
    pub persisted: u64,
    /// Where the newest snapshot stands, 0 if there is none.
    pub snapshot_index: u64,
    /// The configuration as applied.
    pub configuration: Configuration,
    /// Messages dropped because no correct peer would send them.
    pub malformed_messages: u64,
    /// Committed configuration changes that could not be decoded or applied (the same on every node).
    pub refused_changes: u64,
}

/// Why a node could not be founded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    /// A voter is missing, named twice, or 0.
    #[error("a cluster needs at least one voter, each named once, this node among them")]
    BadVoters,
    /// The empty name stands for a node that was never founded.
    #[error("a cluster needs a name that is not empty")]
    BadName,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A simulation moves each of them several times, and most are small: what is large and rare is in a box.
    #[test]
    fn events_and_effects_are_cheap_to_move() {
        assert!(size_of::<Event>() <= 48, "{}", size_of::<Event>());
        assert!(size_of::<Effect>() <= 88, "{}", size_of::<Effect>());
    }
}
