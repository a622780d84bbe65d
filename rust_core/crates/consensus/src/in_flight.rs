//! What has been handed out to be persisted, and what waits for it.

use mcp_chaos_evidence::TraceEvent;

use crate::config::MAX_HELD_MESSAGES;
use crate::types::{Message, Snapshot};

/// A batch on its way to the disk, with everything that must not be seen before it is there.
#[derive(Default)]
pub(crate) struct InFlight {
    pub(crate) token: u64,
    /// The last of raft-rs's readies that this batch, once durable, completes.
    pub(crate) ready: u64,
    /// The term that the disk will hold.
    pub(crate) term: u64,
    /// The commit index that the disk will hold.
    pub(crate) commit: u64,
    /// First and last index of the batch's entries; (0, 0) if it has none.
    pub(crate) entries: (u64, u64),
    /// Votes and changes of role, in order.
    pub(crate) changes: Vec<TraceEvent>,
    /// The snapshot to be restored from.
    pub(crate) snapshot: Option<Box<Snapshot>>,
    /// What happened to the log, in order.
    pub(crate) log: Vec<TraceEvent>,
    /// Messages that rest on it.
    #[expect(clippy::vec_box, reason = "they come and go in boxes")]
    pub(crate) messages: Vec<Box<Message>>,
}

impl InFlight {
    /// Whether it holds back so many messages that any more are dropped.
    pub(crate) fn is_full(&self) -> bool {
        self.messages.len() >= MAX_HELD_MESSAGES
    }

    /// Whether `later`, also in flight, replaces entries of this batch.
    pub(crate) fn is_overwritten_by(&self, later: &InFlight) -> bool {
        let (_, last) = self.entries;
        last > 0 && (later.snapshot.is_some() || (later.entries.0 > 0 && later.entries.0 <= last))
    }
}
