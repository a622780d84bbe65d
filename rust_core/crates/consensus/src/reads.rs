//! Which reads wait for which ReadIndex context (Ongaro's dissertation §6.4).
//!
//! raft-rs drops a ReadIndex request silently when it knows no leader, or when the leader has not yet
//! committed an entry in its term: so a request that stays unanswered is sent again under a new context.
//!
//! Contexts are numbered. An answer to context c, however late, confirms every read that was asked for
//! before c was issued: the leader took its commit index after c was issued, and a quorum confirmed its
//! leadership later still; so the index covers every write that was acknowledged before any of those reads
//! was asked for.

use std::collections::VecDeque;

use mcp_chaos_evidence::NodeId;

use crate::config::MAX_READ_CONTEXTS;

/// Boots count from 1. The plant `read-context-reused` numbers its contexts under this one in every life, and takes
/// each answer for its own.
pub(crate) const OF_ANY_BOOT: u64 = 0;

struct Waiting {
    ticket: u64,
    /// The first context issued after this read was asked for.
    context: u64,
}

pub(crate) struct Reads {
    id: NodeId,
    boot: u64,
    retry_ticks: u32,
    /// In the order asked for: `context` never falls.
    waiting: VecDeque<Waiting>,
    /// The last context issued.
    issued: u64,
    /// The last context that was answered or given up.
    settled: u64,
    ticks_since_issue: u32,
}

impl Reads {
    pub(crate) fn new(id: NodeId, boot: u64, retry_ticks: u32) -> Reads {
        Reads { id, boot, retry_ticks, waiting: VecDeque::new(), issued: 0, settled: 0, ticks_since_issue: 0 }
    }

    /// A read is asked for. The context to send for it now, if any; else it shares the next one.
    pub(crate) fn ask(&mut self, ticket: u64) -> Option<Vec<u8>> {
        self.waiting.push_back(Waiting { ticket, context: self.issued + 1 });
        (self.issued - self.settled < MAX_READ_CONTEXTS).then(|| self.issue())
    }

    pub(crate) fn forget(&mut self, ticket: u64) {
        self.waiting.retain(|read| read.ticket != ticket);
    }

    /// One tick passed. The context to send again, if it is time.
    pub(crate) fn tick(&mut self) -> Option<Vec<u8>> {
        if self.waiting.is_empty() {
            return None;
        }
        self.ticks_since_issue += 1;
        if self.ticks_since_issue < self.retry_ticks {
            return None;
        }
        self.settled = self.issued;
        Some(self.issue())
    }

    /// A context was answered: gives the tickets confirmed. An answer to another boot's context, or a
    /// repeated one, confirms nothing.
    pub(crate) fn answer(&mut self, context: &[u8]) -> impl Iterator<Item = u64> + use<'_> {
        let number = self.number(context).unwrap_or(0);
        self.settled = self.settled.max(number.min(self.issued));
        let confirmed = self.waiting.partition_point(|read| read.context <= number);
        self.waiting.drain(..confirmed).map(|read| read.ticket)
    }

    /// The context to send for reads that found all contexts taken, once one is free.
    pub(crate) fn catch_up(&mut self) -> Option<Vec<u8>> {
        let unsent = self.waiting.back().is_some_and(|read| read.context > self.issued);
        (unsent && self.issued - self.settled < MAX_READ_CONTEXTS).then(|| self.issue())
    }

    fn issue(&mut self) -> Vec<u8> {
        self.issued += 1;
        self.ticks_since_issue = 0;
        let mut context = Vec::with_capacity(24);
        for number in [self.id, self.boot, self.issued] {
            context.extend_from_slice(&number.to_be_bytes());
        }
        context
    }

    fn number(&self, context: &[u8]) -> Option<u64> {
        let word = |at: usize| Some(u64::from_be_bytes(context.get(at..at + 8)?.try_into().ok()?));
        let known = context.len() == 24 && word(0)? == self.id && word(8)? == self.boot;
        known.then(|| word(16)).flatten().filter(|number| self.boot == OF_ANY_BOOT || *number <= self.issued)
    }
}
