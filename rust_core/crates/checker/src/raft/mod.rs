//! Raft's own invariants, judged in one pass over the trace.
//!
//! Each property is an observer that is shown every record together with its node's log as it was before it, and
//! with what all nodes have told. What must be remembered is remembered by log index or term, never by record;
//! the answer does not depend on how the records of different nodes interleave, only on each node's own order.

mod committed_never_changes;
mod election_safety;
mod facts;
mod fate;
mod leader_completeness;
mod log;
mod log_matching;
mod monotonic;
mod quorum;
mod state_machine_safety;
mod stream;

use mcp_chaos_evidence::{NodeId, TraceRecord, node_name};
use serde_json::{Value, json};

use self::facts::{Slot, View};
use self::log::Entry;
pub use self::stream::RaftStream;
use crate::{Check, Evidence, Judgement, words::seconds};

/// A property of Raft as an observer of the trace.
trait Property: Default {
    const CHECK: Check;

    /// Takes in a record; `node` is the node before it. An error ends the observation.
    fn observe(&mut self, record: &TraceRecord, node: View) -> Result<(), Violation>;

    /// What only the whole trace tells.
    fn end(&self, _facts: &facts::Facts) -> Option<Violation> {
        None
    }

    /// What was looked at, for the reason of a pass.
    fn seen(&self) -> String;

    /// How many records could not be judged, because what they speak of had been forgotten.
    fn missed(&self) -> u64 {
        0
    }

    /// The memory held beside the facts, in bytes.
    fn bytes(&self) -> usize {
        0
    }

    /// Where the lowest part of the log ends that can be forgotten.
    fn end_of_lowest(&self) -> Option<u64> {
        None
    }

    /// Forgets what lies below this index.
    fn forget_below(&mut self, _index: u64) {}

    /// Forgets the lower half of the terms.
    fn forget_terms(&mut self) {}
}

/// What broke a property.
struct Violation {
    shape: How,
    reason: String,
    evidence: Value,
}

/// How a property was broken: in a word, or to be told from what became of a committed entry.
enum How {
    Plainly(&'static str),
    Replaced { index: u64, committed: Entry },
}

impl From<&'static str> for How {
    fn from(word: &'static str) -> How {
        How::Plainly(word)
    }
}

impl Violation {
    /// `record` broke it; `details` holds whatever else explains it.
    #[cold]
    fn new(record: &TraceRecord, shape: impl Into<How>, reason: String, details: Value) -> Violation {
        Violation { shape: shape.into(), reason, evidence: json!({"record": record, "details": details}) }
    }
}

/// Where something was first seen.
#[derive(Clone, Copy, Debug)]
struct Sighting {
    node: NodeId,
    time_ns: u64,
}

impl Sighting {
    fn of(record: &TraceRecord) -> Sighting {
        Sighting { node: record.node, time_ns: record.time_ns }
    }

    /// `n2 at 4.213 s`
    fn words(self) -> String {
        format!("{} at {}", node_name(self.node), seconds(self.time_ns))
    }

    fn data(self) -> Value {
        json!({"node": node_name(self.node), "time_ns": self.time_ns})
    }
}

/// The answers, to be taken one by one.
pub(crate) struct Judgements(Vec<Judgement>);

impl Judgements {
    /// The answer of one check, which must have been asked for.
    pub(crate) fn take(&mut self, check: Check) -> Judgement {
        self.0
            .iter()
            .find(|judgement| judgement.check == check)
            .cloned()
            .expect("a Raft check that was asked for was judged")
    }
}

/// Judges by those of `checks` that are about Raft.
pub(crate) fn judge(evidence: &Evidence, checks: &[Check], memory_bytes: u64) -> Judgements {
    let mut stream = RaftStream::new(checks, memory_bytes).by_one_clock();
    if evidence.traces.is_empty() {
        let without = |check| Judgement::without_trace(check, evidence.system_has_trace);
        return Judgements(stream.checks().iter().copied().map(without).collect());
    }
    if !stream.checks().is_empty() {
        for record in evidence.traces {
            stream.push(record);
        }
    }
    Judgements(stream.finish())
}

/// Something kept for each node.
struct PerNode<T>(Vec<T>);

impl<T> Default for PerNode<T> {
    fn default() -> PerNode<T> {
        PerNode(Vec::new())
    }
}

impl<T: Default> PerNode<T> {
    #[inline]
    fn of(&mut self, node: Slot) -> &mut T {
        let at = usize::from(node.get()) - 1;
        if at >= self.0.len() {
            self.0.resize_with(at + 1, T::default);
        }
        &mut self.0[at]
    }

    fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<T>()
    }
}

/// The term below which the lower half of these lies.
fn middle<'a>(terms: impl Iterator<Item = &'a u64>) -> Option<u64> {
    let mut terms: Vec<u64> = terms.copied().collect();
    terms.sort_unstable();
    let middle = *terms.get(terms.len() / 2)?;
    // Many records of one term are no reason to keep them all.
    if terms.first() == Some(&middle) { middle.checked_add(1) } else { Some(middle) }
}

#[cfg(test)]
mod tests {
    use mcp_chaos_evidence::TraceEvent;

    use super::*;
    use crate::{Limits, Verdict, testing::*};

    #[test]
    fn no_trace_is_unknown_unless_the_system_has_none() {
        for (system_has_trace, verdict) in [(true, Verdict::Unknown), (false, Verdict::NotApplicable)] {
            let evidence = Evidence { history: &[], traces: &[], nemesis: &[], system_has_trace };
            for judgement in crate::judge(&evidence, &Check::named("raft"), &Limits::default()) {
                assert_eq!(judgement.verdict, verdict, "{judgement:?}");
            }
        }
    }

    /// n1 leads term 1 and is cut off with an entry of its own; n2 leads term 2 and overwrites it; n3 gets a
    /// snapshot; n1 restarts.
    #[test]
    fn a_correct_run_breaks_nothing() {
        let run: Vec<(NodeId, TraceEvent)> = vec![
            (1, started(0, None, 0)),
            (2, started(0, None, 0)),
            (3, started(0, None, 0)),
            (1, vote(1, 1)),
            (2, vote(1, 1)),
            (1, leads(1)),
            (2, appended(1, 1, 11)),
            (1, appended(1, 1, 11)),
            (1, committed(1)),
            (1, applied(1, 1, 101)),
            (1, appended(2, 1, 12)),
            (2, vote(2, 2)),
            (3, vote(2, 2)),
            (2, leads(2)),
            (2, committed(1)),
            (2, applied(1, 1, 101)),
            (2, appended(2, 2, 22)),
            (3, appended(1, 1, 11)),
            (3, appended(2, 2, 22)),
            (2, committed(2)),
            (2, applied(2, 2, 102)),
            (2, TraceEvent::SnapshotMade { index: 2, term: 2, state: 102 }),
            (1, role(mcp_chaos_evidence::Role::Follower, 2)),
            (1, TraceEvent::Truncated { from: 2 }),
            (1, appended(2, 2, 22)),
            (3, installed(2, 2, 102)),
            (1, started(2, None, 2)),
            (1, appended(1, 1, 11)),
            (1, appended(2, 2, 22)),
            (1, committed(2)),
            (1, applied(1, 1, 101)),
            (1, applied(2, 2, 102)),
            (3, appended(3, 2, 23)),
            (2, appended(3, 2, 23)),
            (3, committed(3)),
            (3, applied(3, 2, 103)),
        ];
        for check in Check::named("raft") {
            let judgement = judge_trace(check, run.clone());
            assert_eq!(judgement.verdict, Verdict::Valid, "{judgement:?}");
        }
    }
}
