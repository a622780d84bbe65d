//! Each (client, sequence) takes effect once; sessions expire by the log's own clock.

use mcp_manager::command::{Command, Expected, Operation, Outcome};
use mcp_manager::limits::SessionLimits;

use crate::support::{Log, register, write};

#[test]
fn a_session_is_named_by_the_index_of_its_entry() {
    let mut log = Log::new();
    let applied = log.entry(&Command::OpenSession { now_ms: 1 }.encode());
    assert_eq!(applied.outcome, Outcome::Session { client: 2 });
    // The entry carries no request of a session: nobody's (client, sequence) was applied.
    assert_eq!((applied.client, applied.sequence), (0, 0));
    assert_eq!(log.machine.last_sequence(2), Some(0));
}

#[test]
fn a_retry_gets_the_first_outcome_and_index_and_changes_nothing() {
    let mut log = Log::new();
    let client = log.open_session();
    let first = log.operate(client, 1, write("k", "1"));
    let other = log.open_session();
    log.operate(other, 1, write("k", "2"));
    let before = log.machine.snapshot();
    log.now_ms += 1_000_000; // Not even the log's clock moves.
    let retry = log.operate(client, 1, write("k", "1"));
    assert_eq!((retry.outcome, retry.log_index), (first.outcome, first.log_index));
    assert_eq!((retry.client, retry.sequence, retry.duplicate), (client, 1, true));
    assert_eq!(log.machine.snapshot(), before);
}

#[test]
fn a_retried_mismatch_observes_what_the_first_try_did() {
    let mut log = Log::new();
    let client = log.open_session();
    let attempt = Operation::CompareAndSet {
        key: "k".into(),
        expected: Expected::Value(Some("1".into())),
        value: "2".into(),
    };
    let first = log.operate(client, 1, attempt.clone());
    assert_eq!(first.outcome, Outcome::Mismatch { actual: None, version: 0 });
    let other = log.open_session();
    log.operate(other, 1, write("k", "1"));
    // It would succeed now. But it has failed, and somebody may have been told.
    let retry = log.operate(client, 1, attempt);
    assert_eq!((retry.outcome, retry.duplicate), (first.outcome, true));
}

#[test]
fn a_rejection_is_an_outcome_like_any_other() {
    let mut log = Log::new();
    let client = log.open_session();
    let first = log.operate(client, 1, write("", "1"));
    assert!(matches!(first.outcome, Outcome::Rejected { .. }));
    let retry = log.operate(client, 1, write("", "1"));
    assert_eq!((retry.outcome, retry.log_index, retry.duplicate), (first.outcome, first.log_index, true));
}

#[test]
fn a_number_below_the_last_is_stale_and_a_gap_is_fine() {
    let mut log = Log::new();
    let client = log.open_session();
    log.operate(client, 5, write("k", "1"));
    let before = log.machine.snapshot();
    for sequence in [0, 1, 4] {
        let stale = log.operate(client, sequence, write("k", "2"));
        assert_eq!(stale.outcome, Outcome::StaleSequence { last: 5 });
        assert_eq!((stale.client, stale.sequence, stale.duplicate), (0, 0, false));
    }
    assert_eq!(log.machine.snapshot(), before);
    assert_eq!(log.operate(client, 9, write("k", "3")).outcome, Outcome::Done { version: log.index });
}

#[test]
fn number_0_is_stale_from_the_start() {
    let mut log = Log::new();
    let client = log.open_session();
    assert_eq!(log.operate(client, 0, write("k", "1")).outcome, Outcome::StaleSequence { last: 0 });
}

#[test]
fn a_session_nobody_opened_has_expired() {
    let mut log = Log::new();
    let refused = log.operate(77, 1, write("k", "1"));
    assert_eq!(refused.outcome, Outcome::SessionExpired);
    assert_eq!((refused.client, refused.sequence), (0, 0));
    assert_eq!(log.machine.setting_count(), 0);
}

#[test]
fn an_idle_session_expires_when_the_logs_clock_says_so() {
    let mut log = Log::with(SessionLimits { ttl_ms: 100, max_count: 10 });
    let idle = log.open_session();
    let busy = log.open_session();
    log.now_ms += 100;
    log.operate(busy, 1, write("k", "1"));
    assert_eq!(log.machine.session_count(), 2, "idle for exactly the limit is not longer than it");
    log.now_ms += 1;
    log.operate(busy, 2, write("k", "2"));
    assert_eq!(log.machine.last_sequence(idle), None);
    assert_eq!(log.machine.last_sequence(busy), Some(2));
    assert_eq!(log.operate(idle, 1, write("k", "3")).outcome, Outcome::SessionExpired);
}

#[test]
fn its_own_new_request_does_not_revive_an_idle_session() {
    let mut log = Log::with(SessionLimits { ttl_ms: 100, max_count: 10 });
    let client = log.open_session();
    log.now_ms += 101;
    assert_eq!(log.operate(client, 1, write("k", "1")).outcome, Outcome::SessionExpired);
}

#[test]
fn a_leaders_clock_that_goes_back_does_not_move_the_logs() {
    let mut log = Log::with(SessionLimits { ttl_ms: 100, max_count: 10 });
    let first = log.open_session();
    log.now_ms -= 500; // A new leader, whose clock is slow.
    let second = log.open_session();
    log.now_ms += 601; // 101 above the greatest seen.
    log.open_session();
    assert_eq!((log.machine.last_sequence(first), log.machine.last_sequence(second)), (None, None));
}

#[test]
fn beyond_the_most_sessions_the_longest_idle_goes_first_and_ties_go_by_id() {
    let mut log = Log::with(SessionLimits { ttl_ms: 1_000, max_count: 3 });
    let [a, b, c] = [log.open_session(), log.open_session(), log.open_session()];
    log.now_ms += 1;
    log.operate(a, 1, write("k", "1"));
    let d = log.open_session();
    assert_eq!(log.machine.last_sequence(b), None, "b and c are idle for as long; b is the older");
    assert!([a, c, d].iter().all(|client| log.machine.last_sequence(*client).is_some()));
    let e = log.open_session();
    assert_eq!(log.machine.last_sequence(c), None);
    assert!([a, d, e].iter().all(|client| log.machine.last_sequence(*client).is_some()));
}

#[test]
fn a_limit_of_no_sessions_is_taken_for_one() {
    let mut log = Log::with(SessionLimits { ttl_ms: 1_000, max_count: 0 });
    log.open_session();
    let second = log.open_session();
    assert_eq!(log.machine.session_count(), 1);
    assert_eq!(log.machine.last_sequence(second), Some(0));
}

#[test]
fn a_clock_at_the_end_of_time_is_survived() {
    let mut log = Log::with(SessionLimits { ttl_ms: 100, max_count: 10 });
    log.open_session();
    log.now_ms = u64::MAX;
    let last = log.open_session();
    assert_eq!(log.machine.session_count(), 1);
    assert_eq!(log.operate(last, u64::MAX, register("s")).outcome, Outcome::Done { version: log.index });
    assert_eq!(log.machine.state_checksum(), log.machine.recomputed_checksum());
}
