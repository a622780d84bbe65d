//! The planted bug `lease-read-drift`: a leader that answers reads by a lease on its own clock.
//!
//! What a quorum has confirmed, a read or a question of the leader's own, renews the lease: whoever confirmed it has
//! heard of this leader since, and votes for nobody else for an election timeout from then on, by its own clock. The
//! lease runs from before the question was asked, on the monotonic clock, which a pause does not stop; it ends with
//! the term and with a hand-over of leadership. So it is right (Ongaro's dissertation §6.4.1), as long as no clock
//! goes faster than another: it leaves no room for drift, and that is the bug.

use std::collections::BTreeMap;

/// The reads by which a leader renews its lease have tickets from here on, which no client's have.
pub(super) const RENEWALS: u64 = 1 << 63;

/// What a leader with this bug remembers.
#[derive(Clone, Debug, Default)]
pub(super) struct Lease {
    /// The term of the lease, and when it ends, in ms of the monotonic clock.
    until: Option<(u64, u64)>,
    /// The reads that wait for a quorum: in which term each was asked for, and when.
    asked: BTreeMap<u64, (u64, u64)>,
    /// The last term in which leadership was handed over: whoever gets it need not wait.
    handed_over: u64,
}

impl Lease {
    /// Whether a leader of `term` may answer by itself.
    pub(super) fn holds(&self, term: u64, now_ms: u64) -> bool {
        self.until.is_some_and(|(of_term, until_ms)| of_term == term && now_ms < until_ms)
    }

    /// A read is asked for.
    pub(super) fn ask(&mut self, ticket: u64, term: u64, now_ms: u64) {
        self.asked.insert(ticket, (term, now_ms));
    }

    /// A quorum has confirmed it, to a leader of `term`: for `patience_ms` from then on nobody else is elected.
    pub(super) fn confirmed(&mut self, ticket: u64, term: u64, patience_ms: u64) {
        let Some((of_term, asked_ms)) = self.asked.remove(&ticket) else { return };
        if of_term != term || term == self.handed_over {
            return;
        }
        let until_ms = asked_ms + patience_ms;
        let known_ms = self.until.filter(|(of, _)| *of == term).map_or(0, |(_, known_ms)| known_ms);
        self.until = Some((term, until_ms.max(known_ms)));
    }

    /// Nobody waits for the read any more.
    pub(super) fn forget(&mut self, ticket: u64) {
        self.asked.remove(&ticket);
    }

    /// Leadership is handed over.
    pub(super) fn hand_over(&mut self, term: u64) {
        self.handed_over = term;
        self.until = None;
    }
}
