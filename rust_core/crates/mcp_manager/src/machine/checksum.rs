//! The running checksum of the state's content.
//!
//! A wrapping sum over all items of xxh3 of the item's encoding. A sum can be kept up to date item by item,
//! in any order, and equals what a walk over the whole content gives: so a snapshot that misses a key shows
//! after it is restored. (An incremental multiset hash after Bellare and Micciancio, "A new paradigm for
//! collision-free hashing", EUROCRYPT 1997: AdHash; good against bugs, not against an adversary.)

use serde::Serialize;

use super::leases::Lease;
use super::sessions::Session;
use crate::command::{ServerSpec, ServerState};
use crate::limits::SessionLimits;

/// One item of the state. Its postcard encoding (kind, key, value; each string with its length) is hashed.
#[derive(Serialize)]
pub(super) enum Item<'a> {
    Founding { cluster: &'a str, sessions: &'a SessionLimits },
    Clock { now_ms: u64 },
    Setting { key: &'a str, value: &'a str, version: u64 },
    Server { spec: &'a ServerSpec, state: ServerState, version: u64 },
    Session { client: u64, session: &'a Session },
    Counter { key: &'a str, value: i64, version: u64 },
    List { key: &'a str, length: u64, version: u64 },
    Element { key: &'a str, position: u64, element: &'a str },
    Lease { name: &'a str, lease: &'a Lease },
}

/// The sum, how many bytes went into it, and a buffer kept so that hashing does not allocate.
#[derive(Clone, Debug, Default)]
pub(super) struct Checksum {
    sum: u64,
    bytes: usize,
    scratch: Vec<u8>,
}

impl Checksum {
    pub(super) fn value(&self) -> u64 {
        self.sum
    }

    /// The encoded size of all items.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn add(&mut self, item: &Item<'_>) {
        self.sum = self.sum.wrapping_add(self.hash(item));
        self.bytes += self.scratch.len();
    }

    pub(super) fn remove(&mut self, item: &Item<'_>) {
        self.sum = self.sum.wrapping_sub(self.hash(item));
        self.bytes -= self.scratch.len();
    }

    fn hash(&mut self, item: &Item<'_>) -> u64 {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        self.scratch = postcard::to_extend(item, scratch).expect("encoding into memory cannot fail");
        mcp_chaos_evidence::checksum(&self.scratch)
    }
}
