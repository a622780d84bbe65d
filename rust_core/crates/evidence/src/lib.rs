//! What a run leaves behind, and what all parts must agree on.
//!
//! A *history* is what clients saw ([`HistoryEvent`]), a *trace* is what nodes did ([`TraceRecord`]), the
//! *nemesis log* is what was done to the cluster ([`NemesisRecord`]). All three are JSON Lines on disk; the
//! formats are documented in `docs/formats.md`, since users of other systems write them too.
//!
//! [`plants`] is the catalogue of planted bugs, which every layer of a node may carry.
//! [`rng`] holds the counter-based randomness: a draw depends on (seed, stream, n) alone, so removing a step
//! from a plan never shifts the draws of another.

mod hex;
mod history;
mod name;
mod nemesis;
mod operation;
pub mod plants;
pub mod rng;
mod trace;

pub use history::{Function, HistoryEvent, Kind};
pub use name::{NodeId, node_name, parse_node_name};
pub use nemesis::{NemesisRecord, Phase, Status};
pub use operation::OperationName;
pub use plants::{Plant, Plants};
pub use trace::{Role, TraceEvent, TraceRecord};

/// A time for people: `4.213 s`.
pub fn seconds(time_ns: u64) -> String {
    let ms = time_ns / 1_000_000;
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}

/// The 64-bit checksum (xxh3) by which entries, snapshots and states are compared across nodes.
pub fn checksum(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}
