//! The requests that wait for something: to be proposed, applied, confirmed, or given up.

use std::collections::{BTreeMap, BTreeSet};

use crate::command::Query;

/// What a request waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// A proposal that stands in no log yet.
    Proposing,
    /// A proposal that stands in this node's log: it will be applied, or overwritten.
    Proposed { index: u64, term: u64 },
    /// A read that waits for the leader's word.
    Reading(Query),
    /// A read that may be answered once `index` has been applied.
    ReadReady { index: u64, query: Query },
}

/// All requests that wait, by ticket; and in the orders in which they end.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending {
    requests: BTreeMap<u64, (u64, Stage)>,
    /// (deadline in ticks, ticket).
    by_deadline: BTreeSet<(u64, u64)>,
    /// (index, ticket) of proposals that stand in the log.
    proposed: BTreeSet<(u64, u64)>,
    /// (index, ticket) of reads that wait for that index.
    ready: BTreeSet<(u64, u64)>,
}

impl Pending {
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn contains(&self, ticket: u64) -> bool {
        self.requests.contains_key(&ticket)
    }

    /// `deadline` is the tick at which the request is given up.
    pub(super) fn add(&mut self, ticket: u64, deadline: u64, stage: Stage) {
        self.requests.insert(ticket, (deadline, stage));
        self.by_deadline.insert((deadline, ticket));
    }

    pub(super) fn remove(&mut self, ticket: u64) -> Option<Stage> {
        let (deadline, stage) = self.requests.remove(&ticket)?;
        self.by_deadline.remove(&(deadline, ticket));
        match stage {
            Stage::Proposed { index, .. } => self.proposed.remove(&(index, ticket)),
            Stage::ReadReady { index, .. } => self.ready.remove(&(index, ticket)),
            Stage::Proposing | Stage::Reading(_) => false,
        };
        Some(stage)
    }

    /// The proposal now stands at (index, term). Nothing if nobody waits for it any more.
    pub(super) fn set_proposed(&mut self, ticket: u64, index: u64, term: u64) {
        if let Some((_, stage @ Stage::Proposing)) = self.requests.get_mut(&ticket) {
            *stage = Stage::Proposed { index, term };
            self.proposed.insert((index, ticket));
        }
    }

    /// The read may be answered at `index`. Nothing if nobody waits for it any more.
    pub(super) fn set_ready(&mut self, ticket: u64, index: u64) {
        let Some((_, stage)) = self.requests.get_mut(&ticket) else { return };
        if let Stage::Reading(query) = stage {
            *stage = Stage::ReadReady { index, query: query.clone() };
            self.ready.insert((index, ticket));
        }
    }

    /// Takes the first proposal that stands at or below `applied`: (ticket, index, term).
    pub(super) fn pop_proposed(&mut self, applied: u64) -> Option<(u64, u64, u64)> {
        let &(index, ticket) = self.proposed.first().filter(|(index, _)| *index <= applied)?;
        match self.remove(ticket) {
            Some(Stage::Proposed { term, .. }) => Some((ticket, index, term)),
            _ => None,
        }
    }

    /// Takes the first read that may be answered at `applied`.
    pub(super) fn pop_ready(&mut self, applied: u64) -> Option<(u64, Query)> {
        let &(_, ticket) = self.ready.first().filter(|(index, _)| *index <= applied)?;
        match self.remove(ticket) {
            Some(Stage::ReadReady { query, .. }) => Some((ticket, query)),
            _ => None,
        }
    }

    /// Takes the first request whose deadline is `now` or before.
    pub(super) fn pop_expired(&mut self, now: u64) -> Option<(u64, Stage)> {
        let &(_, ticket) = self.by_deadline.first().filter(|(deadline, _)| *deadline <= now)?;
        self.remove(ticket).map(|stage| (ticket, stage))
    }
}
