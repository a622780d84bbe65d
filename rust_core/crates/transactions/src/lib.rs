//! Transactions over lists: serializability and strict serializability, by cycles in the dependency graph.
//!
//! After Adya (Weak consistency: a generalized theory and optimistic implementations for distributed transactions,
//! 1999, §3 and §4) and Kingsbury and Alvaro (Elle: inferring isolation anomalies from experimental observations,
//! VLDB 2020), whose `list-append` workload this is. A list remembers every append, so what a transaction
//! read says which transactions came before it, and in which order.
//!
//! # Input
//! Each operation of the [`History`] is a transaction, whatever its function is called. Its argument is a list of
//! micro-operations: `["append", key, value]` appends a value to a list, `["r", key, null]` reads one. The result of
//! an `ok` transaction is the same list with each read filled in: `["r", key, [1, 2, 3]]`; null stands for the empty
//! list, with which every key begins. EDN's keywords are text here, so `[:append :x 1]` is `["append", "x", 1]`. Keys
//! and values are of any type. A value may be appended to a key once only, or the key cannot be judged (failed
//! transactions apart: their client may try again with the same value). The operation's own key is not looked at.
//!
//! # What it decides
//! The history is serializable if some order of all `ok` transactions and some of unknown outcome,
//! each executed alone, gives every read what it read; strictly so if a transaction that ended before another began
//! also comes before it in that order. A failed transaction takes no part; one of unknown outcome takes part if
//! somebody read what it appended, and else constrains nothing. Within a key appended to once per value, the answer is
//! exact both ways: see `orders.rs` and `graph.rs` for the argument.
//!
//! Everything but the shortest cycle is linear in the size of the history.

mod anomalies;
mod components;
mod cycles;
mod graph;
mod input;
mod meter;
mod orders;
mod report;

use mcp_chaos_history::History;
use mcp_chaos_linearizability::{Limits, Watch};
use serde::Serialize;

pub use input::Malformed;
pub use mcp_chaos_linearizability::Verdict;
pub use report::{Anomaly, Node, Report, Step, Surroundings};

use anomalies::Anomalies;
use input::Input;
use meter::Meter;

/// What is asked of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Some order of the transactions explains it (Adya's PL-3).
    Serializable,
    /// One that agrees with real time (Herlihy and Wing 1990, §3.1; PL-SS).
    StrictSerializable,
}

impl Level {
    /// All levels, the weaker first.
    pub const ALL: [Level; 2] = [Level::Serializable, Level::StrictSerializable];

    /// As reports and command lines name it.
    pub fn name(self) -> &'static str {
        match self {
            Level::Serializable => "serializable",
            Level::StrictSerializable => "strict-serializable",
        }
    }

    /// The level of this name.
    pub fn named(name: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|level| level.name() == name)
    }
}

/// Judges a history of transactions.
///
/// # Errors
/// An operation is not a transaction over lists.
pub fn check(
    history: &History,
    level: Level,
    limits: &Limits,
    watch: &dyn Watch,
) -> Result<Report, Malformed> {
    let mut meter = Meter::new(limits, watch);
    let micros = input::size(history);
    if let Err(stopped) = meter.hold(micros, history.operations.len()) {
        return Ok(Report::stopped(history, level, stopped));
    }
    let input = Input::read(history)?;
    let mut anomalies = Anomalies::default();
    let judged = orders::recover(&input, &mut anomalies, &mut meter).and_then(|orders| {
        let graph = graph::build(history, &orders, level, &mut meter)?;
        let cycles = cycles::search(&graph, level, &mut meter)?;
        Ok((orders, graph, cycles))
    });
    Ok(Report::new(&input, level, anomalies, judged))
}
