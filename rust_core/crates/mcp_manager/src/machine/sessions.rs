//! Client sessions (Ongaro's dissertation §6.3): what makes a retried request take effect once.
//!
//! A session remembers its last request and what it gave. It expires by the log's own decision: the log's
//! clock is the greatest leader's clock seen in the entries, so all replicas drop the same sessions at the
//! same index.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::command::Outcome;

/// One client's session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    /// The log's clock when it was last used.
    pub(super) used_ms: u64,
    /// The last request that took effect; none yet in a new session.
    pub(super) last: Option<Last>,
}

/// A request that took effect, and what it gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Last {
    pub(super) sequence: u64,
    /// Where it was applied.
    pub(super) log_index: u64,
    pub(super) outcome: Outcome,
}

impl Session {
    /// The sequence number of the last request; 0 if there was none.
    pub(super) fn last_sequence(&self) -> u64 {
        self.last.as_ref().map_or(0, |last| last.sequence)
    }
}

/// All sessions, by id, and by how long they have been idle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sessions {
    by_client: BTreeMap<u64, Session>,
    /// (used_ms, client): the longest idle first, ties by id.
    by_idleness: BTreeSet<(u64, u64)>,
}

impl Sessions {
    pub(super) fn len(&self) -> usize {
        self.by_client.len()
    }

    pub(super) fn get(&self, client: u64) -> Option<&Session> {
        self.by_client.get(&client)
    }

    /// Ascending by id.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (u64, &Session)> {
        self.by_client.iter().map(|(client, session)| (*client, session))
    }

    /// Puts a session, and gives back what stood there.
    pub(super) fn insert(&mut self, client: u64, session: Session) -> Option<Session> {
        let used_ms = session.used_ms;
        let previous = self.by_client.insert(client, session);
        match &previous {
            Some(previous) if previous.used_ms == used_ms => {}
            Some(previous) => {
                self.by_idleness.remove(&(previous.used_ms, client));
                self.by_idleness.insert((used_ms, client));
            }
            None => {
                self.by_idleness.insert((used_ms, client));
            }
        }
        previous
    }

    /// When the longest idle session was last used.
    pub(super) fn oldest_used_ms(&self) -> Option<u64> {
        self.by_idleness.first().map(|(used_ms, _)| *used_ms)
    }

    /// Removes this session.
    pub(super) fn remove(&mut self, client: u64) -> Option<(u64, Session)> {
        let session = self.by_client.remove(&client)?;
        self.by_idleness.remove(&(session.used_ms, client));
        Some((client, session))
    }

    /// Removes the longest idle session.
    pub(super) fn pop_oldest(&mut self) -> Option<(u64, Session)> {
        let (_, client) = self.by_idleness.pop_first()?;
        let session = self.by_client.remove(&client).expect("both maps hold the same sessions");
        Some((client, session))
    }
}
