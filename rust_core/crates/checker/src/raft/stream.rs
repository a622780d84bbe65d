//! The Raft checks over a trace that comes record by record, within a limit of memory.

use mcp_chaos_evidence::TraceRecord;
use serde_json::json;

use super::{
    How, Property, Violation,
    committed_never_changes::CommittedNeverChanges,
    election_safety::ElectionSafety,
    facts::{Facts, View},
    fate,
    leader_completeness::LeaderCompleteness,
    log_matching::LogMatching,
    monotonic::Monotonic,
    state_machine_safety::StateMachineSafety,
};
use crate::{Check, Judgement, table::segment_start, words::seconds};

/// How many records are taken in between two looks at the memory held.
const LOOK_EVERY: u64 = 256;

/// A property under observation: until it is violated, or the trace ends.
struct Observer<P: Property> {
    property: P,
    violation: Option<Violation>,
}

impl<P: Property> Observer<P> {
    fn asked_for(checks: &[Check]) -> Option<Observer<P>> {
        checks.contains(&P::CHECK).then(|| Observer { property: P::default(), violation: None })
    }

    #[inline]
    fn show(&mut self, record: &TraceRecord, node: View) {
        if self.violation.is_none() {
            self.violation = self.property.observe(record, node).err();
        }
    }

    /// Says now what is to be told from facts that are about to be forgotten.
    fn settle(&mut self, facts: &Facts) {
        if let Some(Violation { shape, .. }) = &mut self.violation
            && let How::Replaced { index, committed } = *shape
        {
            *shape = How::Plainly(fate::of(facts, index, committed));
        }
    }

    fn finish(mut self, facts: &Facts, memory_bytes: u64, ended: Option<&Ended>) -> Judgement {
        if self.violation.is_none() && ended.is_none() {
            self.violation = self.property.end(facts);
        }
        self.settle(facts);
        let seen = self.property.seen();
        match (self.violation, ended, self.property.missed()) {
            (Some(Violation { shape: How::Plainly(word), reason, evidence }), ..) => {
                Judgement::invalid(P::CHECK, word, reason, evidence)
            }
            (_, Some(ended), _) => {
                let reason = format!(
                    "{} after {} records, at {}; up to there {seen}",
                    ended.why,
                    ended.records,
                    seconds(ended.time_ns)
                );
                let evidence = json!({"records": ended.records, "memory_bytes": memory_bytes});
                Judgement::unknown(P::CHECK, reason, evidence)
            }
            (_, None, 0) => Judgement::valid(P::CHECK, seen, json!({})),
            (_, None, missed) => {
                let reason = format!(
                    "{missed} records could not be compared: what they speak of had been forgotten, to stay within {memory_bytes} bytes of memory; as far as the others go, {seen}"
                );
                let below = facts.forgotten_below();
                let evidence =
                    json!({"missed": missed, "forgotten_below": below, "memory_bytes": memory_bytes});
                Judgement::unknown(P::CHECK, reason, evidence)
            }
        }
    }
}

/// The observation was given up.
struct Ended {
    why: String,
    records: u64,
    time_ns: u64,
}

/// Raft's invariants over a trace of any length: give it the records in time order (or at least each node's in
/// its own order), and ask at the end.
///
/// Memory grows with the nodes' log, by some 150 bytes for each index, and never beyond the limit. When it
/// comes near, what is known of the lowest part of the log is forgotten; a record that speaks of it later (a
/// node that starts with a very old log) cannot be compared, and if there was one, the answer is `unknown`
/// instead of `valid`. A violation that is found always is one.
pub struct RaftStream {
    checks: Vec<Check>,
    memory_bytes: u64,
    facts: Facts,
    /// Whether any check asks for logs.
    keeps_logs: bool,
    election_safety: Option<Observer<ElectionSafety>>,
    log_matching: Option<Observer<LogMatching>>,
    leader_completeness: Option<Observer<LeaderCompleteness>>,
    state_machine_safety: Option<Observer<StateMachineSafety>>,
    committed_never_changes: Option<Observer<CommittedNeverChanges>>,
    monotonic: Option<Observer<Monotonic>>,
    records: u64,
    look_at: u64,
    greatest_bytes: usize,
    ended: Option<Ended>,
}

/// The same for each observer that there is.
macro_rules! each {
    ($stream:expr, $observer:ident => $do:expr) => {{
        if let Some($observer) = &mut $stream.election_safety {
            $do;
        }
        if let Some($observer) = &mut $stream.log_matching {
            $do;
        }
        if let Some($observer) = &mut $stream.leader_completeness {
            $do;
        }
        if let Some($observer) = &mut $stream.state_machine_safety {
            $do;
        }
        if let Some($observer) = &mut $stream.committed_never_changes {
            $do;
        }
        if let Some($observer) = &mut $stream.monotonic {
            $do;
        }
    }};
}

impl RaftStream {
    /// Judges by those of `checks` that are about Raft, in at most about this much memory.
    pub fn new(checks: &[Check], memory_bytes: u64) -> RaftStream {
        let mut raft = Vec::new();
        for &check in checks {
            if check.info().group == Some("raft") && !raft.contains(&check) {
                raft.push(check);
            }
        }
        RaftStream {
            keeps_logs: raft.iter().any(|check| *check != Check::Monotonic),
            election_safety: Observer::asked_for(&raft),
            log_matching: Observer::asked_for(&raft),
            leader_completeness: Observer::asked_for(&raft),
            state_machine_safety: Observer::asked_for(&raft),
            committed_never_changes: Observer::asked_for(&raft),
            monotonic: Observer::asked_for(&raft),
            checks: raft,
            memory_bytes,
            facts: Facts::default(),
            records: 0,
            look_at: LOOK_EVERY,
            greatest_bytes: 0,
            ended: None,
        }
    }

    /// The nodes' records come in the order in which they were written, all by one clock: what a leader has heard
    /// of others stands before what it made of that. Then it is judged whether a majority held what was committed.
    #[must_use]
    pub fn by_one_clock(mut self) -> RaftStream {
        self.facts.one_clock = true;
        self
    }

    /// The checks that are judged by, each once.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// How many records were taken in.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The most memory that was held at once, in bytes.
    pub fn greatest_bytes(&self) -> usize {
        self.greatest_bytes.max(self.bytes())
    }

    /// Takes in the next record.
    #[inline]
    pub fn push(&mut self, record: &TraceRecord) {
        if self.ended.is_some() {
            return;
        }
        let Some(slot) = self.facts.slot(record.node) else {
            self.end("more nodes than a cluster can have", record);
            return;
        };
        let node = self.facts.view(slot);
        each!(self, observer => observer.show(record, node));
        if self.keeps_logs {
            self.facts.take_in(slot, record);
        }
        self.records += 1;
        if self.records >= self.look_at {
            self.stay_within_memory(record);
        }
    }

    /// The answers, in the order of [`RaftStream::checks`].
    pub fn finish(mut self) -> Vec<Judgement> {
        if self.records == 0 {
            return self.checks.iter().map(|&check| Judgement::without_trace(check, true)).collect();
        }
        let (facts, limit, ended) = (&self.facts, self.memory_bytes, self.ended.as_ref());
        let mut judgements: Vec<Judgement> = [
            self.election_safety.take().map(|observer| observer.finish(facts, limit, ended)),
            self.log_matching.take().map(|observer| observer.finish(facts, limit, ended)),
            self.leader_completeness.take().map(|observer| observer.finish(facts, limit, ended)),
            self.state_machine_safety.take().map(|observer| observer.finish(facts, limit, ended)),
            self.committed_never_changes.take().map(|observer| observer.finish(facts, limit, ended)),
            self.monotonic.take().map(|observer| observer.finish(facts, limit, ended)),
        ]
        .into_iter()
        .flatten()
        .collect();
        judgements.sort_by_key(|judgement| self.checks.iter().position(|check| *check == judgement.check));
        judgements
    }

    /// The memory held, in bytes.
    fn bytes(&self) -> usize {
        let parts = [
            self.election_safety.as_ref().map(|observer| observer.property.bytes()),
            self.leader_completeness.as_ref().map(|observer| observer.property.bytes()),
            self.state_machine_safety.as_ref().map(|observer| observer.property.bytes()),
            self.committed_never_changes.as_ref().map(|observer| observer.property.bytes()),
            self.monotonic.as_ref().map(|observer| observer.property.bytes()),
        ];
        self.facts.bytes() + parts.into_iter().flatten().sum::<usize>()
    }

    #[cold]
    #[inline(never)]
    fn stay_within_memory(&mut self, record: &TraceRecord) {
        // With very many nodes each look takes longer, so it is taken less often.
        self.look_at = self.records + LOOK_EVERY.max(self.facts.nodes() as u64);
        let bytes = self.bytes();
        self.greatest_bytes = self.greatest_bytes.max(bytes);
        let limit = usize::try_from(self.memory_bytes).unwrap_or(usize::MAX);
        if bytes <= limit {
            return;
        }
        let facts = &self.facts;
        each!(self, observer => {
            observer.settle(facts);
            if observer.property.bytes() > limit / 4 {
                observer.property.forget_terms();
            }
        });
        // A good part at once, since to forget takes time; in steps of about a thirtieth of what is known.
        let (enough, step) = (limit / 4 * 3, bytes as u64 / 5_000);
        while self.bytes() > enough {
            let mut end = self.facts.end_of_lowest();
            each!(self, observer => end = end.into_iter().chain(observer.property.end_of_lowest()).min());
            let end = end.map(|end| segment_start(end.saturating_add(step)));
            let Some(end) = end.filter(|end| *end > self.facts.forgotten_below()) else {
                self.end(&format!("the limit of {limit} bytes of memory was reached"), record);
                return;
            };
            self.facts.forget_below(end);
            each!(self, observer => observer.property.forget_below(end));
        }
    }

    /// Gives up, and gives the memory back. What was found before stands.
    #[cold]
    fn end(&mut self, why: &str, record: &TraceRecord) {
        let facts = &self.facts;
        each!(self, observer => observer.settle(facts));
        self.ended = Some(Ended { why: why.to_string(), records: self.records, time_ns: record.time_ns });
        self.facts = Facts::default();
        each!(self, observer => {
            observer.property.forget_below(u64::MAX);
            observer.property.forget_terms();
        });
    }
}
