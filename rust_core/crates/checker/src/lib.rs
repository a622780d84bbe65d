//! The checks: what a run's history and traces say about the system.
//!
//! [`judge`] runs the checks asked for over an [`Evidence`] and gives one [`Judgement`] for each; it never
//! panics and never runs out of memory on bad evidence, it answers `unknown` with the reason. [`CHECKS`] lists
//! what there is. One file holds one property, and cites where it is defined:
//!
//! - what clients saw: [`linearizable`], `available`;
//! - Raft's own invariants, over the trace, in one pass: the modules of `raft`, and [`RaftStream`] for traces
//!   of any length;
//! - both together: `durable`, `recovers`, `progresses`; and `no_panic`.
//!
//! [`summary()`] counts what happened, so that a pass cannot be vacuous; [`states()`] tells apart what a run went
//! through; [`jsonl`] reads and writes evidence.

mod acknowledgement;
mod available;
mod beyond;
mod catalogue;
mod durable;
mod goals;
pub mod jsonl;
mod judgement;
mod life;
pub mod linearizable;
mod no_panic;
mod operations;
mod progresses;
mod raft;
mod recovers;
mod standing;
mod states;
mod summary;
mod table;
#[cfg(test)]
mod testing;
mod trace_files;
mod trace_line;
mod words;

pub use catalogue::{CHECKS, Check, CheckInfo, Need};
pub use judgement::{Judgement, Shape, Verdict};
pub use linearizable::Objects;
use mcp_chaos_evidence::{HistoryEvent, NemesisRecord, TraceRecord};
pub use raft::RaftStream;
use serde::{Deserialize, Serialize};
pub use states::{states, transitions};
pub use summary::{AroundFault, DuringFault, FirstSuccess, FunctionCounts, Gap, Summary, summary};
pub use trace_files::{TraceFiles, TraceFilesError};

/// What a run left behind.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// What clients saw, in the order in which it happened.
    pub history: &'a [HistoryEvent],
    /// What nodes did, all nodes in one, each node's records in its own order. How records of different
    /// nodes interleave decides nothing but the words of an explanation.
    pub traces: &'a [TraceRecord],
    /// What was done to the cluster, in order.
    pub nemesis: &'a [NemesisRecord],
    /// False for a system that writes no trace: checks that need one are then not applicable, by name.
    /// True makes an empty trace `unknown`.
    pub system_has_trace: bool,
}

/// What the run allows, and what the checks may use.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// `recovers`: the longest time from the heal to service again, in nanoseconds.
    pub recovers_within_ns: u64,
    /// `available`: the longest time without a success, in nanoseconds; none: any gap passes, so long as
    /// something succeeded.
    pub unavailable_at_most_ns: Option<u64>,
    /// `progresses`: the longest time without a success while progress is promised, in nanoseconds; none: any.
    pub progress_within_ns: Option<u64>,
    /// The most memory that the search of `linearizable` may hold, and that the Raft checks may hold together, in
    /// bytes.
    pub memory_bytes: u64,
    /// `linearizable`: what clients worked on.
    pub objects: Objects,
    /// `linearizable`: the most steps its search may take, all keys together (about 20 million a second).
    pub steps: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            recovers_within_ns: 10_000_000_000,
            unavailable_at_most_ns: None,
            progress_within_ns: None,
            objects: Objects::Registers,
            memory_bytes: 256 << 20,
            steps: 50_000_000,
        }
    }
}

/// Judges the evidence by each of the checks, in the order given.
pub fn judge(evidence: &Evidence, checks: &[Check], limits: &Limits) -> Vec<Judgement> {
    // The Raft checks share one pass over the trace, so they are judged together.
    let mut raft = raft::judge(evidence, checks, limits.memory_bytes);
    checks
        .iter()
        .map(|&check| match check {
            Check::Linearizable => linearizable::judge_with_trace(
                evidence.history,
                evidence.traces,
                limits.objects,
                limits.memory_bytes,
                limits.steps,
            ),
            Check::Durable => durable::judge(evidence),
            Check::Recovers => recovers::judge(evidence, limits.recovers_within_ns),
            Check::Progresses => progresses::judge(evidence, limits.progress_within_ns),
            Check::Available => available::judge(evidence, limits.unavailable_at_most_ns),
            Check::NoPanic => no_panic::judge(evidence),
            Check::ElectionSafety
            | Check::LogMatching
            | Check::LeaderCompleteness
            | Check::StateMachineSafety
            | Check::CommittedNeverChanges
            | Check::Monotonic => raft.take(check),
        })
        .collect()
}
