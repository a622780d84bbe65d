//! A node's log, reconstructed from its records.
//!
//! The logs of a cluster are nearly the same. So what stands at an index is kept once, as first told by any node
//! (`Facts`), and a log holds its bounds and the entries in which it differs from that.

/// What a trace says of an entry. The checksum is of kind and data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub term: u64,
    pub checksum: u64,
}

/// The entries in which a log differs from what was told first, ascending.
pub(super) type Differing = Vec<(u64, Entry)>;

/// The entry at `index`, if it is one of those.
pub(super) fn differing_at(differing: &[(u64, Entry)], index: u64) -> Option<Entry> {
    if differing.is_empty() {
        return None;
    }
    let at = differing.binary_search_by_key(&index, |(index, _)| *index).ok()?;
    Some(differing[at].1)
}

/// Which indexes a log holds, and where it differs from what was told first.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// What lies at or below this index is in a snapshot, or from before the trace began.
    pub base: u64,
    /// The last index; the base for an empty log.
    pub last: u64,
    pub differing: Differing,
}

impl Log {
    /// Whether there is an entry at `index`.
    #[inline]
    pub(super) fn reaches(&self, index: u64) -> bool {
        self.base < index && index <= self.last
    }

    /// The log is empty, and begins above `base`.
    pub(super) fn rebase(&mut self, base: u64) {
        (self.base, self.last) = (base, base);
        self.differing.clear();
    }

    /// Removes the entries from `index` on.
    #[inline]
    pub(super) fn truncate(&mut self, index: u64) {
        if index <= self.last {
            self.last = self.base.max(index.saturating_sub(1));
            while self.differing.last().is_some_and(|(at, _)| *at > self.last) {
                self.differing.pop();
            }
        }
    }
}
