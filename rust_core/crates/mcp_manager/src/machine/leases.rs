//! Leases: locks that end by themselves, each under a fencing token (Gray and Cheriton, Leases: an efficient
//! fault-tolerant mechanism for distributed file cache consistency, SOSP 1989; Kleppmann, How to do distributed
//! locking, 2016).
//!
//! A lease ends by the log's clock, so all replicas end it at the same index; and only when an entry moves that clock.
//! Its token is the log index of the entry that granted it: no later one is less.

use std::collections::{BTreeMap, BTreeSet};

use mcp_chaos_evidence::{Plant, Plants};
use serde::{Deserialize, Serialize};

use super::at_most;
use super::checksum::{Checksum, Item};
use crate::command::{Answer, Outcome};
use crate::limits;

/// A lease that somebody holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lease {
    pub(super) holder: String,
    pub(super) token: u64,
    /// By the log's clock: from then on nobody holds it.
    pub(super) ends_ms: u64,
}

/// All leases that somebody holds, by name, and by when they end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Leases {
    by_name: BTreeMap<String, Lease>,
    by_end: BTreeSet<(u64, String)>,
}

impl Leases {
    /// As a snapshot has them.
    pub(super) fn restored(content: Vec<(String, Lease)>) -> Leases {
        let by_end = content.iter().map(|(name, lease)| (lease.ends_ms, name.clone())).collect();
        Leases { by_name: content.into_iter().collect(), by_end }
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Lease)> {
        self.by_name.iter().map(|(name, lease)| (name.as_str(), lease))
    }

    pub(super) fn query(&self, name: &str) -> Answer {
        match self.by_name.get(name) {
            Some(lease) => Answer::Lease { holder: Some(lease.holder.clone()), token: lease.token },
            None => Answer::Lease { holder: None, token: 0 },
        }
    }

    /// Takes the lease until `ends_ms`, under the token `index`.
    pub(super) fn acquire(
        &mut self,
        index: u64,
        name: String,
        holder: String,
        ends_ms: u64,
        checksum: &mut Checksum,
    ) -> Outcome {
        if let Some(Lease { holder, token, .. }) = self.by_name.get(&name) {
            return Outcome::Held { holder: holder.clone(), token: *token };
        }
        if self.by_name.len() >= limits::MAX_LEASES {
            return Outcome::Rejected { reason: at_most(limits::MAX_LEASES, "leases") };
        }
        self.put(name, Lease { holder, token: index, ends_ms }, checksum);
        Outcome::Leased { token: index }
    }

    /// Lets the lease last until `ends_ms`. The plant `lease-ends-early` leaves the old end in the list.
    pub(super) fn renew(
        &mut self,
        plants: Plants,
        name: String,
        holder: &str,
        ends_ms: u64,
        checksum: &mut Checksum,
    ) -> Outcome {
        match self.take(&name, holder, checksum) {
            Some(lease) => {
                let token = lease.token;
                if plants.has(Plant::LeaseEndsEarly) {
                    self.by_end.insert((lease.ends_ms, name.clone()));
                }
                self.put(name, Lease { ends_ms, ..lease }, checksum);
                Outcome::Leased { token }
            }
            None => Outcome::NotHeld,
        }
    }

    pub(super) fn release(
        &mut self,
        index: u64,
        name: &str,
        holder: &str,
        checksum: &mut Checksum,
    ) -> Outcome {
        match self.take(name, holder, checksum) {
            Some(_) => Outcome::Done { version: index },
            None => Outcome::NotHeld,
        }
    }

    /// Ends all that end by then.
    pub(super) fn advance(&mut self, now_ms: u64, checksum: &mut Checksum) {
        while self.by_end.first().is_some_and(|(ends_ms, _)| *ends_ms <= now_ms) {
            let Some((_, name)) = self.by_end.pop_first() else { return };
            if let Some(lease) = self.by_name.remove(&name) {
                checksum.remove(&item(&name, &lease));
            }
        }
    }

    fn put(&mut self, name: String, lease: Lease, checksum: &mut Checksum) {
        checksum.add(&item(&name, &lease));
        self.by_end.insert((lease.ends_ms, name.clone()));
        self.by_name.insert(name, lease);
    }

    /// Takes the lease out, if this holder holds it.
    fn take(&mut self, name: &str, holder: &str, checksum: &mut Checksum) -> Option<Lease> {
        self.by_name.get(name).filter(|lease| lease.holder == holder)?;
        let lease = self.by_name.remove(name)?;
        self.by_end.remove(&(lease.ends_ms, name.to_owned()));
        checksum.remove(&item(name, &lease));
        Some(lease)
    }

    pub(super) fn sum_up(&self, checksum: &mut Checksum) {
        for (name, lease) in self.iter() {
            checksum.add(&item(name, lease));
        }
    }
}

fn item<'a>(name: &'a str, lease: &'a Lease) -> Item<'a> {
    Item::Lease { name, lease }
}
