//! What crosses a node's boundary: inputs, and outputs.

use mcp_chaos_consensus::{Batch, Message, Snapshot};
use mcp_chaos_evidence::{NodeId, TraceEvent};

use super::errors::FatalError;
use crate::command::{Request, Response};

/// What a node's own clocks show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The time of day, in ms (`CLOCK_REALTIME`). It may jump, in both directions.
    pub wall_ms: u64,
    /// What timers go by, in ms since any moment (`CLOCK_MONOTONIC`). It never goes back.
    pub monotonic_ms: u64,
}

impl From<u64> for Now {
    /// Two clocks that agree.
    fn from(ms: u64) -> Now {
        Now { wall_ms: ms, monotonic_ms: ms }
    }
}

/// What happens to a node.
#[derive(Clone, Debug)]
pub enum Input {
    /// One tick of the clock passed.
    Tick,
    /// A message arrived from a peer.
    Peer(Box<Message>),
    /// A client asks for something.
    Client {
        /// The shell's number for it, unique within a boot. Exactly one `Output::Reply` carries it, unless it
        /// is cancelled first.
        ticket: u64,
        /// What it asks for.
        request: Box<Request>,
    },
    /// The batch of `Output::Persist` is on disk.
    Persisted {
        /// Which.
        token: u64,
    },
    /// The snapshot of `Output::SaveSnapshot` is on disk.
    SnapshotSaved {
        /// Its last index.
        index: u64,
    },
    /// A peer could not be reached (its queue was full, its connection broke).
    Unreachable {
        /// Which.
        peer: NodeId,
    },
    /// A message that carried a snapshot could be delivered to the peer's connection, or not.
    SnapshotSent {
        /// Which.
        peer: NodeId,
        /// Whether it could.
        delivered: bool,
    },
    /// The client no longer waits. Its request may still take effect.
    Cancel {
        /// Which.
        ticket: u64,
    },
}

impl Input {
    /// As [`Input::Client`].
    pub fn client(ticket: u64, request: Request) -> Input {
        Input::Client { ticket, request: Box::new(request) }
    }
}

/// What the shell is to do.
#[derive(Clone, Debug)]
pub enum Output {
    /// Write the batch, sync if it must, then `Input::Persisted`.
    Persist {
        /// For the answer.
        token: u64,
        /// What to write.
        batch: Batch,
    },
    /// Write the snapshot of the node's own state, durably, then `Input::SnapshotSaved`.
    SaveSnapshot(Box<Snapshot>),
    /// A leader made this node, which was empty, a member: found it on this snapshot, durably, and start a new
    /// [`super::Node`] on it. This one is done.
    Found {
        /// The cluster.
        cluster: String,
        /// The founding snapshot.
        snapshot: Box<Snapshot>,
    },
    /// Hand the message to the network.
    Send(Box<Message>),
    /// Answer a client.
    Reply {
        /// Whom.
        ticket: u64,
        /// What.
        response: Response,
    },
    /// Write this to the node's trace.
    Trace(TraceEvent),
    /// The node has stopped for good.
    Fatal(FatalError),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A simulation moves each of them several times, and most are small: what is large and rare is in a box.
    #[test]
    fn inputs_and_outputs_are_cheap_to_move() {
        assert!(size_of::<Input>() <= 24, "{}", size_of::<Input>());
        assert!(size_of::<Output>() <= 88, "{}", size_of::<Output>());
    }
}
