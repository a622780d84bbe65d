//! Counters, lists and leases.

use mcp_manager::Machine;
use mcp_manager::command::{Answer, ListStep, Operation, Outcome, Query};
use mcp_manager::limits;

use crate::support::{Log, write};

fn add(key: &str, amount: i64) -> Operation {
    Operation::Add { key: key.into(), amount }
}

fn append(key: &str, element: &str) -> ListStep {
    ListStep::Append { key: key.into(), element: element.into() }
}

fn read(key: &str) -> ListStep {
    ListStep::Read { key: key.into() }
}

fn acquire(holder: &str, ttl_ms: u64) -> Operation {
    Operation::Acquire { name: "l".into(), holder: holder.into(), ttl_ms }
}

fn renew(holder: &str, ttl_ms: u64) -> Operation {
    Operation::Renew { name: "l".into(), holder: holder.into(), ttl_ms }
}

fn release(holder: &str) -> Operation {
    Operation::Release { name: "l".into(), holder: holder.into() }
}

fn holder(log: &Log) -> Option<String> {
    match log.machine.query(&Query::Lease { name: "l".into() }) {
        Answer::Lease { holder, .. } => holder,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_counter_stands_where_its_adds_lead_and_a_retry_adds_nothing() {
    let mut log = Log::new();
    let client = log.open_session();
    log.operate(client, 1, add("a", 5));
    log.operate(client, 2, add("a", -2));
    assert!(log.operate(client, 2, add("a", -2)).duplicate);
    assert_eq!(
        log.machine.query(&Query::Counter { key: "a".into() }),
        Answer::Counter { value: 3, version: 4 }
    );
    let beyond = log.operate(client, 3, add("a", i64::MAX)).outcome;
    assert!(matches!(beyond, Outcome::Rejected { .. }), "{beyond:?}");
    assert_eq!(
        log.machine.query(&Query::Counter { key: "b".into() }),
        Answer::Counter { value: 0, version: 0 }
    );
}

#[test]
fn a_transaction_reads_and_appends_at_one_moment_and_a_retry_is_told_the_same() {
    let mut log = Log::new();
    let client = log.open_session();
    log.operate(client, 1, Operation::Transact { steps: vec![append("a", "1")] });
    let steps = vec![read("a"), append("a", "2"), read("a"), read("b"), append("b", "3")];
    let first = log.operate(client, 2, Operation::Transact { steps: steps.clone() });
    let found: Vec<Vec<String>> = vec![vec!["1".into()], vec!["1".into(), "2".into()], vec![]];
    assert_eq!(first.outcome, Outcome::Transacted { version: 4, lists: found });
    assert_eq!(log.operate(client, 2, Operation::Transact { steps }).outcome, first.outcome);
    let keys = vec!["b".into(), "a".into()];
    let lists = vec![vec!["3".into()], vec!["1".into(), "2".into()]];
    assert_eq!(log.machine.query(&Query::Lists { keys }), Answer::Lists { lists });
}

#[test]
fn a_transaction_that_breaks_a_limit_does_nothing_at_all() {
    let mut log = Log::new();
    let client = log.open_session();
    let large = "x".repeat(limits::MAX_TRANSACTION_BYTES - 100);
    for sequence in 1..=2 {
        let outcome = log.operate(client, sequence, Operation::Transact { steps: vec![append("a", &large)] });
        assert!(matches!(outcome.outcome, Outcome::Transacted { .. }));
    }
    for (sequence, steps) in [
        (3, vec![]),
        (4, vec![append("b", "1"), append("b", &large), append("b", &large)]),
        (5, vec![append("b", "1"), read("a")]),
        (6, vec![read("b"); limits::MAX_STEPS + 1]),
        (7, vec![append("", "1")]),
        (8, [vec![append("b", &"x".repeat(60_000))], vec![read("b"); 15]].concat()),
    ] {
        let outcome = log.operate(client, sequence, Operation::Transact { steps }).outcome;
        assert!(matches!(outcome, Outcome::Rejected { .. }), "{sequence}: {outcome:?}");
    }
    let lists = vec![Vec::<String>::new()];
    assert_eq!(log.machine.query(&Query::Lists { keys: vec!["b".into()] }), Answer::Lists { lists });
}

#[test]
fn nobody_takes_a_lease_that_somebody_holds_until_it_is_given_back_or_ends() {
    let mut log = Log::new();
    let client = log.open_session();
    let first = log.operate(client, 1, acquire("c1", 100));
    assert_eq!(first.outcome, Outcome::Leased { token: 3 });
    for (sequence, who) in [(2, "c2"), (3, "c1")] {
        let held = Outcome::Held { holder: "c1".into(), token: 3 };
        assert_eq!(log.operate(client, sequence, acquire(who, 100)).outcome, held);
    }
    assert_eq!(log.operate(client, 4, release("c2")).outcome, Outcome::NotHeld);
    assert_eq!(log.operate(client, 5, release("c1")).outcome, Outcome::Done { version: 7 });
    assert_eq!(log.operate(client, 6, acquire("c2", 100)).outcome, Outcome::Leased { token: 8 });
    log.now_ms += 99;
    assert_eq!(
        log.operate(client, 7, acquire("c1", 100)).outcome,
        Outcome::Held { holder: "c2".into(), token: 8 }
    );
    log.now_ms += 1;
    assert_eq!(log.operate(client, 8, renew("c2", 100)).outcome, Outcome::NotHeld, "it has just ended");
    assert_eq!(log.operate(client, 9, acquire("c1", 100)).outcome, Outcome::Leased { token: 11 });
}

#[test]
fn a_lease_that_is_renewed_keeps_its_token_and_ends_later() {
    let mut log = Log::new();
    let client = log.open_session();
    log.operate(client, 1, acquire("c1", 100));
    log.now_ms += 60;
    assert_eq!(log.operate(client, 2, renew("c1", 100)).outcome, Outcome::Leased { token: 3 });
    log.now_ms += 60;
    log.operate(client, 3, write("a", "1"));
    assert_eq!(holder(&log).as_deref(), Some("c1"));
    log.now_ms += 60;
    assert_eq!(holder(&log).as_deref(), Some("c1"), "only an entry moves the log's clock");
    log.operate(client, 4, write("a", "2"));
    assert_eq!(holder(&log), None);
}

#[test]
fn a_retry_that_comes_after_the_lease_has_ended_takes_no_other() {
    let mut log = Log::new();
    let (client, other) = (log.open_session(), log.open_session());
    let first = log.operate(client, 1, acquire("c1", 100));
    log.now_ms += 200;
    log.operate(other, 1, write("a", "1"));
    let retry = log.operate(client, 1, acquire("c1", 100));
    assert_eq!((retry.outcome, retry.duplicate), (first.outcome, true));
    assert_eq!(holder(&log), None);
}

#[test]
fn all_three_are_in_a_snapshot_whose_format_says_so() {
    let mut log = Log::new();
    let client = log.open_session();
    assert_eq!(log.machine.snapshot()[4], 1, "without them it is written as it always was");
    log.operate(client, 1, add("a", 5));
    log.operate(client, 2, Operation::Transact { steps: vec![append("a", "1"), append("b", "2")] });
    log.operate(client, 3, acquire("c1", 100));
    let bytes = log.machine.snapshot();
    assert_eq!(bytes[4], 2);
    let restored = Machine::restore(&bytes).unwrap();
    assert_eq!(restored.snapshot(), bytes);
    assert_eq!(restored.state_checksum(), log.machine.state_checksum());
    for length in 5..bytes.len() {
        assert!(Machine::restore(&bytes[..length]).is_err(), "{length}");
    }
    log.machine = restored;
    log.now_ms += 100;
    log.operate(client, 4, write("a", "1"));
    assert_eq!(holder(&log), None, "a restored lease ends when it would have ended");
}
