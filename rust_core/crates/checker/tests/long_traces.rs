//! The Raft checks over traces that are longer than the memory they may use.

use mcp_chaos_checker::{Check, Judgement, RaftStream, Verdict};
use mcp_chaos_evidence::{NodeId, Role, TraceEvent, TraceRecord};

/// A stream of records, one every microsecond.
struct Trace {
    stream: RaftStream,
    now_ns: u64,
}

impl Trace {
    fn new(memory_bytes: u64) -> Trace {
        Trace { stream: RaftStream::new(&Check::named("raft"), memory_bytes), now_ns: 0 }
    }

    fn push(&mut self, node: NodeId, event: TraceEvent) {
        self.now_ns += 1_000;
        self.stream.push(&TraceRecord { time_ns: self.now_ns, node, boot: 1, event });
    }

    /// n1 leads term 1; three nodes write, commit and apply the entries of these indexes, one after the other.
    fn replicate(&mut self, indexes: std::ops::RangeInclusive<u64>) {
        if *indexes.start() == 1 {
            self.push(1, TraceEvent::RoleChanged { role: Role::Leader, term: 1, leader: Some(1) });
        }
        for index in indexes {
            for node in 1..=3 {
                self.push(node, TraceEvent::Appended { index, term: 1, checksum: index });
            }
            for node in 1..=3 {
                self.push(node, TraceEvent::Committed { index });
                self.push(node, applied(index, index));
            }
        }
    }

    fn finish(self) -> Vec<Judgement> {
        self.stream.finish()
    }
}

fn applied(index: u64, state: u64) -> TraceEvent {
    TraceEvent::Applied { index, term: 1, state, client: 0, sequence: 0, duplicate: false }
}

fn of(judgements: &[Judgement], check: Check) -> &Judgement {
    judgements.iter().find(|judgement| judgement.check == check).unwrap()
}

#[test]
fn memory_grows_with_the_log_and_not_with_the_nodes() {
    let mut trace = Trace::new(1 << 30);
    trace.replicate(1..=50_000);
    let bytes = trace.stream.greatest_bytes();
    assert!(bytes < 50_000 * 170, "{bytes}");
}

#[test]
fn a_trace_longer_than_memory_is_valid_if_nobody_comes_back_to_its_beginning() {
    let mut trace = Trace::new(1 << 20);
    trace.replicate(1..=50_000);
    assert!(trace.stream.greatest_bytes() < (1 << 20) * 11 / 10, "{}", trace.stream.greatest_bytes());
    for judgement in trace.finish() {
        assert_eq!(judgement.verdict, Verdict::Valid, "{}", judgement.reason);
    }
}

#[test]
fn what_speaks_of_something_forgotten_is_unknown() {
    let mut trace = Trace::new(1 << 20);
    trace.replicate(1..=50_000);
    // n4 is new, and gets the whole log. One of its entries is wrong, but nobody knows any more.
    for index in 1..=3 {
        trace.push(4, TraceEvent::Appended { index, term: 1, checksum: 0 });
    }
    trace.push(4, TraceEvent::Committed { index: 3 });
    trace.push(4, applied(1, 1));
    let judgements = trace.finish();
    for judgement in &judgements {
        let concerned = !matches!(judgement.check, Check::ElectionSafety | Check::Monotonic);
        let expected = if concerned { Verdict::Unknown } else { Verdict::Valid };
        assert_eq!(judgement.verdict, expected, "{judgement:?}");
    }
    let judgement = of(&judgements, Check::LogMatching);
    assert!(judgement.reason.starts_with("3 records could not be compared"), "{}", judgement.reason);
    assert_eq!(judgement.evidence["missed"], 3);
}

#[test]
fn a_violation_is_found_also_where_much_was_forgotten() {
    let mut trace = Trace::new(1 << 20);
    trace.replicate(1..=50_000);
    trace.push(4, TraceEvent::Appended { index: 50_000, term: 1, checksum: 0 });
    trace.push(4, applied(49_999, 7));
    let judgements = trace.finish();
    for check in [Check::LogMatching, Check::StateMachineSafety] {
        assert_eq!(of(&judgements, check).verdict, Verdict::Invalid, "{check:?}");
    }
}

/// Elections without end, and votes: terms are forgotten as well.
#[test]
fn terms_do_not_fill_memory() {
    let mut trace = Trace::new(1 << 20);
    for term in 1..=50_000 {
        let leader = term % 3 + 1;
        for voter in 1..=3 {
            trace.push(voter, TraceEvent::VoteCast { term, candidate: leader });
        }
        trace.push(leader, TraceEvent::RoleChanged { role: Role::Leader, term, leader: Some(leader) });
    }
    assert!(trace.stream.greatest_bytes() < (1 << 20) * 11 / 10, "{}", trace.stream.greatest_bytes());
    trace.push(4, TraceEvent::RoleChanged { role: Role::Leader, term: 2, leader: None });
    let judgements = trace.finish();
    assert_eq!(of(&judgements, Check::ElectionSafety).verdict, Verdict::Unknown);
    assert_eq!(of(&judgements, Check::Monotonic).verdict, Verdict::Valid);
}

/// Nothing can be forgotten where every record is far from every other: the check gives up, and says how far it came.
#[test]
fn a_trace_that_does_not_fit_at_all_is_unknown() {
    let mut trace = Trace::new(100_000);
    for node in 1..=10_000 {
        trace.push(node, TraceEvent::Committed { index: 0 });
        trace.push(node, TraceEvent::SnapshotMade { index: node << 40, term: 1, state: 0 });
    }
    let judgements = trace.finish();
    let judgement = of(&judgements, Check::Monotonic);
    assert_eq!(judgement.verdict, Verdict::Unknown);
    assert!(judgement.reason.starts_with("the limit of 100000 bytes of memory was reached after "));
    assert!(judgement.evidence["records"].as_u64().unwrap() > 100);
}
