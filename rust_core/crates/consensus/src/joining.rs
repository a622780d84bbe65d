//! A node with an empty directory that waits to be made a member.
//!
//! It is no replica: it votes for nobody and acknowledges nothing, so it has nothing to keep. It tells a leader that
//! it has no log at all, until the leader sends a snapshot; on that one it is founded, as the first members were
//! on theirs. A snapshot in which it votes already is not for it: who voted before has lost its disk since, and an
//! empty directory never votes.

use mcp_chaos_evidence::NodeId;

use crate::accept::acceptable;
use crate::types::{Message, MessageKind, Snapshot};

/// What a joining node makes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joining {
    /// Send this.
    Answer(Box<Message>),
    /// Make this durable as the founding snapshot, and start a replica on it.
    Found(Box<Snapshot>),
    /// Nothing: no correct leader would send it to a node that has yet to join.
    Ignore,
}

/// Takes a message at node `id`, which has an empty directory.
pub fn join(id: NodeId, message: Message) -> Joining {
    if !acceptable(id, &message) {
        return Joining::Ignore;
    }
    let answer = Message {
        kind: MessageKind::AppendResponse,
        from: id,
        to: message.from,
        term: message.term,
        log_term: 0,
        index: message.index,
        entries: Vec::new(),
        commit: 0,
        commit_term: 0,
        snapshot: None,
        request_snapshot: 0,
        reject: true,
        reject_hint: 0,
        context: bytes::Bytes::new(),
        priority: 0,
    };
    match message.kind {
        MessageKind::Append => Joining::Answer(Box::new(answer)),
        // Without the context of a read: who confirms that a leader leads must know of its term.
        MessageKind::Heartbeat => {
            let kind = MessageKind::HeartbeatResponse;
            Joining::Answer(Box::new(Message { kind, index: 0, reject: false, ..answer }))
        }
        MessageKind::Snapshot => match message.snapshot {
            Some(snapshot) if snapshot.meta.configuration.learners.contains(&id) => Joining::Found(snapshot),
            _ => Joining::Ignore,
        },
        _ => Joining::Ignore,
    }
}
