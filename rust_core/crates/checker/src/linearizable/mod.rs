//! Linearizability: each operation seems to take effect at one instant between its invocation and its answer
//! (Herlihy and Wing, Linearizability: a correctness condition for concurrent objects, 1990, §2).
//!
//! Registers are independent objects, and linearizability is local (§3.1, theorem 1): a history is
//! linearizable if it is for each key apart. `fail` means no effect at all; a `cas` that failed with
//! `mismatch` has seen another value than the expected one; an `info`, and whatever never ended, may take
//! effect at any later time, or never.

mod bits;
mod blame;
mod explain;
mod frontier;
mod register;
mod shape;

use std::collections::BTreeMap;

use mcp_chaos_evidence::{Function, HistoryEvent, TraceRecord};
use serde_json::{Value, json};

use self::{
    frontier::{Budget, Found, search},
    shape::Observed,
};
use crate::{
    Check, Judgement,
    operations::{Operation, pair},
    words::seconds,
};

const CHECK: Check = Check::Linearizable;

/// Judges the history of any number of registers, each of which starts as `initial`. The search holds at
/// most `memory_bytes` and takes at most `steps`, all keys together; beyond that the verdict is unknown, with
/// how far the history was verified.
pub fn judge(history: &[HistoryEvent], initial: &Value, memory_bytes: u64, steps: u64) -> Judgement {
    judge_with_trace(history, &[], initial, memory_bytes, steps)
}

/// As [`judge`]; the nodes' traces, which may be empty, decide nothing but the shape of a violation.
pub(crate) fn judge_with_trace(
    history: &[HistoryEvent],
    traces: &[TraceRecord],
    initial: &Value,
    memory_bytes: u64,
    steps: u64,
) -> Judgement {
    let operations = match pair(history) {
        Ok(operations) => operations,
        Err(why) => {
            return Judgement::unknown(CHECK, format!("the history makes no sense: {why}"), json!({}));
        }
    };
    let mut keys: BTreeMap<&str, Vec<Operation>> = BTreeMap::new();
    for operation in operations {
        if !matches!(operation.invoke.f, Function::Other(_)) {
            keys.entry(operation.invoke.key.as_str()).or_default().push(operation);
        }
    }
    if keys.is_empty() {
        return Judgement::unknown(CHECK, "no reads, writes or compare-and-sets in the history", json!({}));
    }
    let mut left = Budget { memory_bytes, steps };
    let (mut verified, mut unknown) = (0, None);
    for (&key, operations) in &keys {
        let register = match register::prepare(operations, initial) {
            Ok(register) => register,
            Err(why) => {
                return Judgement::unknown(
                    CHECK,
                    format!("the history makes no sense: {why}"),
                    json!({"key": key}),
                );
            }
        };
        let (found, taken) = search(&register, left, true);
        left.steps = left.steps.saturating_sub(taken);
        match found {
            Found::Linearizable { .. } => verified += operations.len(),
            // A violation on one key outweighs an exhausted budget on another.
            Found::Inexplicable { step, at, .. } => {
                let blame = blame::find(operations, initial, &register, (step, at), taken, left);
                return explain::inexplicable(
                    key,
                    operations,
                    &blame,
                    initial,
                    &Observed { history, traces },
                );
            }
            Found::Exhausted { at, of } => {
                unknown.get_or_insert_with(|| explain::exhausted(key, operations, &register, at, of));
            }
        }
    }
    if let Some(judgement) = unknown {
        return judgement;
    }
    let until = history.last().map_or(0, |event| event.time_ns);
    let reason = format!(
        "{verified} operations on {} keys have an order that explains them, up to {}",
        keys.len(),
        seconds(until)
    );
    Judgement::valid(CHECK, reason, json!({"operations": verified, "keys": keys.len()}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Verdict, testing::history};

    fn check(text: &str) -> Judgement {
        judge(&history(text), &Value::Null, 1 << 20, 1_000_000)
    }

    fn valid(text: &str) {
        let judgement = check(text);
        assert_eq!(judgement.verdict, Verdict::Valid, "{text}: {}", judgement.reason);
    }

    fn invalid(text: &str, words: &[&str]) {
        let judgement = check(text);
        assert_eq!(judgement.verdict, Verdict::Invalid, "{text}");
        for word in words {
            assert!(judgement.reason.contains(word), "expected {word:?} in {:?}", judgement.reason);
        }
    }

    #[test]
    fn a_stale_read_fires_and_names_what_overwrote_it() {
        invalid(
            "1 invoke write 3; 1 ok write 3; 2 invoke write 7; 2 ok write 7; 9 invoke read; 9 ok read 3",
            &["read k0 = 3", "process 9", "overwritten by write k0 = 7 (process 2, acknowledged at 0.030 s)"],
        );
        invalid(
            "2 invoke write 7; 2 ok write 7; 9 invoke read; 9 ok read -",
            &["read k0 = null", "overwritten by write k0 = 7"],
        );
    }

    #[test]
    fn the_operation_named_is_the_first_that_cannot_be_explained() {
        // Looking ahead, write 7 could not be completed: 3 is still to be read.
        let judgement = check(
            "1 invoke write 3; 1 ok write 3; 2 invoke write 7; 2 ok write 7; 9 invoke read; 9 ok read 3",
        );
        assert_eq!(judgement.evidence["operation"]["completion"]["index"], 5);
        assert_eq!(judgement.evidence["possible_values"][0]["value"], 7);
    }

    #[test]
    fn the_first_inexplicable_operation_is_found_among_many_open_ones() {
        // A dozen writes of unknown outcome are all read much later: without looking ahead, any of them may
        // have taken effect any time, and the plain search runs out of steps.
        let mut text = String::new();
        for n in 1..=12 {
            text += &format!("{n} invoke write {n}; {n} info write {n};");
        }
        text += "50 invoke write 90; 50 ok write 90; 51 invoke write 91; 51 ok write 91; 52 invoke read; 52 ok read 90;";
        let stale_at = history(&text).len() - 1;
        for n in 1..=12 {
            text += &format!("60 invoke read; 60 ok read {n};");
        }
        for steps in [2_000, 1 << 24] {
            let judgement = judge(&history(&text), &Value::Null, 1 << 24, steps);
            if judgement.verdict == Verdict::Invalid {
                assert_eq!(judgement.evidence["operation"]["completion"]["index"], stale_at);
                assert!(
                    judgement.reason.contains("90 had been overwritten by write k0 = 91"),
                    "{}",
                    judgement.reason
                );
            }
        }
    }

    #[test]
    fn a_value_from_nowhere_a_failed_write_or_the_future_fires() {
        invalid("9 invoke read; 9 ok read 3", &["nobody ever wrote 3"]);
        invalid("1 invoke write 3; 1 fail write 3; 9 invoke read; 9 ok read 3", &["failed"]);
        invalid("9 invoke read; 9 ok read 3; 1 invoke write 3; 1 ok write 3", &["only later"]);
        invalid("9 invoke cas 3 4; 9 ok cas 3 4", &["nobody ever wrote 3"]);
    }

    #[test]
    fn two_reads_that_disagree_about_the_order_fire() {
        invalid(
            "1 invoke write 1; 2 invoke write 2; 3 invoke read; 3 ok read 1; 3 invoke read; 3 ok read 2; 3 invoke read; 3 ok read 1",
            &["read k0 = 1", "could only hold 2"],
        );
    }

    #[test]
    fn a_mismatch_is_an_observation() {
        invalid("1 invoke write 3; 1 ok write 3; 2 invoke cas 3 4; 2 fail cas 3 4 mismatch", &["mismatch"]);
        valid("1 invoke write 3; 1 ok write 3; 2 invoke cas 3 4; 2 fail cas 3 4 timeout");
        valid(
            "1 invoke write 3; 1 ok write 3; 1 invoke write 5; 2 invoke cas 3 4; 2 fail cas 3 4 mismatch; 1 info write 5",
        );
    }

    #[test]
    fn unknown_operations_may_take_effect_late_or_never() {
        valid("1 invoke write 3; 1 info write 3; 2 invoke read; 2 ok read -; 2 invoke read; 2 ok read 3");
        valid("1 invoke write 3; 1 info write 3; 2 invoke read; 2 ok read -");
        valid("1 invoke write 3; 2 invoke read; 2 ok read 3");
        invalid(
            "1 invoke write 3; 1 info write 3; 2 invoke write 4; 2 ok write 4; 2 invoke read; 2 ok read 3; 2 invoke read; 2 ok read 4",
            &["read k0 = 4"],
        );
    }

    #[test]
    fn exactly_one_of_two_competing_compare_and_sets_succeeds() {
        valid(
            "1 invoke cas - 1; 2 invoke cas - 2; 1 ok cas - 1; 2 fail cas - 2 mismatch; 3 invoke read; 3 ok read 1",
        );
        invalid("1 invoke cas - 1; 2 invoke cas - 2; 1 ok cas - 1; 2 ok cas - 2", &["compare-and-set k0"]);
    }

    #[test]
    fn keys_are_independent_and_other_functions_are_passed_over() {
        let mut events = history(
            "1 invoke write 3; 1 ok write 3; 2 invoke read; 2 ok read -; 3 invoke register 5; 3 ok register 5",
        );
        assert_eq!(judge(&events, &Value::Null, 1 << 20, 1000).verdict, Verdict::Invalid);
        events[2].key = "k1".into();
        events[3].key = "k1".into();
        assert_eq!(judge(&events, &Value::Null, 1 << 20, 1000).verdict, Verdict::Valid);
        assert_eq!(judge(&events, &json!(5), 1 << 20, 1000).verdict, Verdict::Invalid);
    }

    #[test]
    fn beyond_the_budget_or_without_sense_it_is_unknown() {
        let text = "1 invoke write 3; 1 ok write 3; 2 invoke read; 2 ok read 3";
        let judgement = judge(&history(text), &Value::Null, 1 << 20, 2);
        assert_eq!(judgement.verdict, Verdict::Unknown);
        assert!(judgement.reason.contains("verified up to"), "{}", judgement.reason);
        assert_eq!(judge(&history(text), &Value::Null, 8, 1000).verdict, Verdict::Unknown);
        assert_eq!(check("1 ok read 3").verdict, Verdict::Unknown);
        assert_eq!(check("").verdict, Verdict::Unknown);
    }
}
