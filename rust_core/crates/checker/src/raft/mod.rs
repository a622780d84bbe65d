//! Raft's own invariants, judged in one pass over the trace.
//!
//! Each property is an observer that is shown every record together with the node's log as it was before it.
//! It keeps what it must remember by log index or term, never by record; its answer does not depend on how
//! the records of different nodes interleave, only on each node's own order.

mod committed_never_changes;
mod election_safety;
mod fate;
mod leader_completeness;
mod log;
mod log_matching;
mod monotonic;
mod state_machine_safety;

use mcp_chaos_evidence::{NodeId, TraceRecord, node_name};
use serde_json::{Value, json};

use self::log::{Entry, NodeLog, NodeLogs};
use crate::{Check, Evidence, Judgement, words::seconds};

/// A property of Raft as an observer of the trace.
trait Property: Default {
    const CHECK: Check;

    /// Takes in a record; `log` is the node's log before it. An error ends the observation.
    fn observe(&mut self, record: &TraceRecord, log: &NodeLog) -> Result<(), Violation>;

    /// What was looked at, for the reason of a pass.
    fn seen(&self) -> String;
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

/// A property under observation: until it is violated, or the trace ends.
struct Observer<P: Property> {
    property: P,
    violation: Option<Violation>,
}

impl<P: Property> Observer<P> {
    fn asked_for(checks: &[Check]) -> Option<Observer<P>> {
        checks.contains(&P::CHECK).then(|| Observer { property: P::default(), violation: None })
    }

    fn finish(self, traces: &[TraceRecord]) -> Judgement {
        match self.violation {
            Some(Violation { shape, reason, evidence }) => {
                let shape = match shape {
                    How::Plainly(word) => word,
                    How::Replaced { index, committed } => fate::of(traces, index, committed),
                };
                Judgement::invalid(P::CHECK, shape, reason, evidence)
            }
            None => Judgement::valid(P::CHECK, self.property.seen(), json!({})),
        }
    }
}

#[inline]
fn show<P: Property>(observer: &mut Option<Observer<P>>, record: &TraceRecord, log: &NodeLog) {
    if let Some(observer) = observer
        && observer.violation.is_none()
    {
        observer.violation = observer.property.observe(record, log).err();
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
pub(crate) fn judge(evidence: &Evidence, checks: &[Check]) -> Judgements {
    let raft: Vec<Check> =
        checks.iter().copied().filter(|check| check.info().group == Some("raft")).collect();
    if evidence.traces.is_empty() {
        return Judgements(
            raft.iter().map(|&check| Judgement::without_trace(check, evidence.system_has_trace)).collect(),
        );
    }
    if raft.is_empty() {
        return Judgements(Vec::new());
    }
    let mut election_safety = Observer::<election_safety::ElectionSafety>::asked_for(checks);
    let mut log_matching = Observer::<log_matching::LogMatching>::asked_for(checks);
    let mut leader_completeness = Observer::<leader_completeness::LeaderCompleteness>::asked_for(checks);
    let mut state_machine_safety = Observer::<state_machine_safety::StateMachineSafety>::asked_for(checks);
    let mut committed = Observer::<committed_never_changes::CommittedNeverChanges>::asked_for(checks);
    let mut monotonic = Observer::<monotonic::Monotonic>::asked_for(checks);
    let mut logs = NodeLogs::default();
    for record in evidence.traces {
        let log = logs.of(record.node);
        show(&mut election_safety, record, log);
        show(&mut log_matching, record, log);
        show(&mut leader_completeness, record, log);
        show(&mut state_machine_safety, record, log);
        show(&mut committed, record, log);
        show(&mut monotonic, record, log);
        log.take_in(&record.event);
    }
    Judgements(
        [
            election_safety.map(|observer| observer.finish(evidence.traces)),
            log_matching.map(|observer| observer.finish(evidence.traces)),
            leader_completeness.map(|observer| observer.finish(evidence.traces)),
            state_machine_safety.map(|observer| observer.finish(evidence.traces)),
            committed.map(|observer| observer.finish(evidence.traces)),
            monotonic.map(|observer| observer.finish(evidence.traces)),
        ]
        .into_iter()
        .flatten()
        .collect(),
    )
}

/// Something kept for each node. Nodes are few and numbers may be large: a list, searched.
struct PerNode<T>(Vec<(NodeId, T)>);

impl<T> Default for PerNode<T> {
    fn default() -> PerNode<T> {
        PerNode(Vec::new())
    }
}

impl<T: Default> PerNode<T> {
    fn of(&mut self, node: NodeId) -> &mut T {
        let at = match self.0.iter().position(|(id, _)| *id == node) {
            Some(at) => at,
            None => {
                self.0.push((node, T::default()));
                self.0.len() - 1
            }
        };
        &mut self.0[at].1
    }
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
