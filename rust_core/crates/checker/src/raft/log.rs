//! A node's log, reconstructed from its records.

use mcp_chaos_evidence::{NodeId, TraceEvent};

use super::PerNode;

/// What a trace says of an entry. The checksum is of kind and data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub term: u64,
    pub checksum: u64,
}

/// The logs of all nodes.
#[derive(Default)]
pub(super) struct NodeLogs(PerNode<NodeLog>);

impl NodeLogs {
    pub(super) fn of(&mut self, node: NodeId) -> &mut NodeLog {
        self.0.of(node)
    }
}

/// One node's durable log and term, as far as its records tell.
#[derive(Debug, Default)]
pub(super) struct NodeLog {
    /// What lies at or below this index is in a snapshot, or from before the trace began.
    base: u64,
    /// The term of the entry at `base`, if known.
    base_term: Option<u64>,
    entries: Vec<Entry>,
    /// The greatest term the node has reported.
    term: u64,
    /// Whether anything is known of this log: a trace may begin in the middle.
    known: bool,
    /// The log as it stood before the last restart: base, entries.
    before: (u64, Vec<Entry>),
}

impl NodeLog {
    /// The last index, 0 for an empty log.
    pub(super) fn last(&self) -> u64 {
        self.base.saturating_add(self.entries.len() as u64)
    }

    /// The index up to which the log is hidden in a snapshot.
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// The node's term.
    pub(super) fn term(&self) -> u64 {
        self.term
    }

    /// Whether the trace has shown this log from its beginning (or from a snapshot).
    pub(super) fn known(&self) -> bool {
        self.known
    }

    /// The entry at `index`; none below the base or above the end.
    #[inline]
    pub(super) fn get(&self, index: u64) -> Option<Entry> {
        let at = index.checked_sub(self.base.saturating_add(1))?;
        self.entries.get(at as usize).copied()
    }

    /// Whether, before its last restart, the node held an entry of this term at `index`.
    pub(super) fn held_before(&self, index: u64, term: u64) -> bool {
        let (base, entries) = &self.before;
        let at = index.checked_sub(base.saturating_add(1));
        at.and_then(|at| entries.get(at as usize)).is_some_and(|entry| entry.term == term)
    }

    /// The entries above `index`, which must not lie below the base.
    pub(super) fn above(&self, index: u64) -> &[Entry] {
        &self.entries[((index - self.base) as usize).min(self.entries.len())..]
    }

    /// The term at `index`, also where a snapshot ends.
    pub(super) fn term_at(&self, index: u64) -> Option<u64> {
        if index == self.base { self.base_term } else { self.get(index).map(|entry| entry.term) }
    }

    /// Takes in one of the node's records.
    pub(super) fn take_in(&mut self, event: &TraceEvent) {
        match *event {
            TraceEvent::Started { term, snapshot_index, snapshot_term, .. } => {
                self.before = (self.base, std::mem::take(&mut self.entries));
                self.rebase(snapshot_index, (snapshot_index > 0).then_some(snapshot_term));
                self.term = self.term.max(term);
            }
            TraceEvent::SnapshotInstalled { index, term, .. } => self.rebase(index, Some(term)),
            // The log below a snapshot of the node's own stays comparable; only a snapshot beyond the log's
            // end (founding writes one) says where the log begins.
            TraceEvent::SnapshotMade { index, term, .. } if index > self.last() => {
                self.rebase(index, Some(term))
            }
            TraceEvent::RoleChanged { term, .. } | TraceEvent::VoteCast { term, .. } => {
                self.term = self.term.max(term)
            }
            TraceEvent::Appended { index, term, checksum } => {
                if index > self.last().saturating_add(1) {
                    self.rebase(index - 1, None);
                }
                if let Some(at) = index.checked_sub(self.base.saturating_add(1)) {
                    self.entries.truncate(at as usize);
                    self.entries.push(Entry { term, checksum });
                }
                self.known = true;
            }
            TraceEvent::Truncated { from } => {
                self.entries.truncate(from.saturating_sub(self.base.saturating_add(1)) as usize);
            }
            _ => {}
        }
    }

    fn rebase(&mut self, index: u64, term: Option<u64>) {
        self.base = index;
        self.base_term = term;
        self.entries.clear();
        self.known = index > 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    #[test]
    fn a_log_follows_its_records() {
        let mut log = NodeLog::default();
        for event in [started(1, None, 0), appended(1, 1, 11), appended(2, 1, 12), appended(3, 1, 13)] {
            log.take_in(&event);
        }
        assert_eq!((log.last(), log.get(2).map(|entry| entry.checksum)), (3, Some(12)));
        log.take_in(&appended(2, 2, 22));
        assert_eq!((log.last(), log.term_at(2), log.get(3)), (2, Some(2), None));
        log.take_in(&TraceEvent::Truncated { from: 2 });
        assert_eq!(log.last(), 1);
        log.take_in(&installed(7, 3, 0));
        log.take_in(&appended(8, 3, 38));
        assert_eq!((log.last(), log.term_at(7), log.get(7), log.above(7).len()), (8, Some(3), None, 1));
        log.take_in(&started(9, None, 0));
        assert_eq!((log.last(), log.term()), (0, 9));
    }
}
