//! What can be wrong with a history of transactions, by the names of the literature.

use std::collections::BTreeMap;

/// Kinds of anomalies, those that are wrong under the weakest level first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A value was read that nobody appended.
    GarbageRead,
    /// A value stands twice in a list, and was appended once.
    DuplicateElements,
    /// Two reads of a key that no one order of appends explains (Elle, §4.2.3).
    IncompatibleOrder,
    /// A transaction does not see its own past.
    Internal,
    /// A cycle of ww edges: writes are not even ordered (Adya, §4.2.1).
    G0,
    /// A committed append upon one that was aborted (Elle, §4.2.2).
    DirtyUpdate,
    /// A read of what an aborted transaction appended (Adya, §4.2.2).
    G1a,
    /// A read of what a transaction had not finished (the same).
    G1b,
    /// A cycle of ww and wr edges (the same).
    G1c,
    /// Two transactions read the same version and both appended to it (Berenson et al. 1995, P4).
    LostUpdate,
    /// A cycle with exactly one rw edge (Adya, §4.2.5).
    GSingle,
    /// A cycle with more of them: write skew, for one (Adya, §4.2.4).
    G2,
    /// As above, with the order of real time in the cycle.
    G0Realtime,
    G1cRealtime,
    GSingleRealtime,
    G2Realtime,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::GarbageRead => "garbage-read",
            Kind::DuplicateElements => "duplicate-elements",
            Kind::IncompatibleOrder => "incompatible-order",
            Kind::Internal => "internal",
            Kind::G0 => "G0",
            Kind::DirtyUpdate => "dirty-update",
            Kind::G1a => "G1a",
            Kind::G1b => "G1b",
            Kind::G1c => "G1c",
            Kind::LostUpdate => "lost-update",
            Kind::GSingle => "G-single",
            Kind::G2 => "G2",
            Kind::G0Realtime => "G0-realtime",
            Kind::G1cRealtime => "G1c-realtime",
            Kind::GSingleRealtime => "G-single-realtime",
            Kind::G2Realtime => "G2-realtime",
        }
    }
}

/// The first of a kind, and how many there are.
pub(crate) struct Seen {
    pub count: u64,
    pub says: String,
    /// Those that the sentence names.
    pub transactions: Vec<u32>,
}

/// Anomalies that show without a cycle.
#[derive(Default)]
pub(crate) struct Anomalies {
    pub seen: BTreeMap<Kind, Seen>,
    /// Why a key could not be judged, and how many there are.
    pub unjudged: Option<(String, u64)>,
}

impl Anomalies {
    /// Counts one; only the first is put into words.
    pub fn add<const N: usize>(&mut self, kind: Kind, transactions: [u32; N], says: impl FnOnce() -> String) {
        match self.seen.get_mut(&kind) {
            Some(seen) => seen.count += 1,
            None => {
                let mut transactions = transactions.to_vec();
                transactions.dedup();
                self.seen.insert(kind, Seen { count: 1, says: says(), transactions });
            }
        }
    }
}
