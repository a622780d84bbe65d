//! Linearizability of a run's registers, or of whatever its clients worked on: each operation seems to take effect at
//! one instant between its invocation and its answer (Herlihy and Wing, Linearizability: a correctness condition for
//! concurrent objects, 1990, §2). Of transactions over several objects that is strict serializability (§3.1).
//!
//! The search is the `linearizability` crate's. Here its answer becomes a judgement: with the nodes that answered,
//! and, as far as their traces tell, with the rule that was broken.

mod online;
mod shape;
mod transactional;

use mcp_chaos_evidence::{HistoryEvent, TraceRecord, node_name};
use mcp_chaos_history::History;
use mcp_chaos_linearizability::{
    Failure, Limits, ModelOptions, OperationReport, Options, Report, Unwatched, Verdict, check,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use self::online::{Inexplicable, OnlineRegisters};
use self::shape::Observed;
use crate::{
    Check, Judgement,
    operations::{Operation, pair},
    words::{call, seconds},
};

const CHECK: Check = Check::Linearizable;

/// What the clients of a run work on: each key is one of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objects {
    /// Read, written, compared and set.
    #[default]
    Registers,
    /// Added to, and read.
    Counters,
    /// Appended to, and read.
    Lists,
    /// MCP servers.
    Registry,
    /// Locks that end, with fencing tokens.
    Leases,
    /// Lists, several of which are appended to and read at one moment.
    Transactions,
}

impl Objects {
    /// The model that says what they do, by name: `mcp-chaos check --model` judges a run's history by the same.
    /// None for transactions, which are judged by the cycles of their dependencies (there: `list-append`).
    fn model(self) -> Option<(&'static str, ModelOptions)> {
        let plain = ModelOptions::default();
        Some(match self {
            Objects::Registers => {
                ("cas-register", ModelOptions { initial: Some((&Value::Null).into()), ..plain })
            }
            Objects::Counters => ("counter", plain),
            Objects::Lists => ("log", plain),
            // Clients look servers up, and never list them all: each can be judged apart.
            Objects::Registry => ("registry", ModelOptions { parted: Some(true), ..plain }),
            Objects::Leases => ("lock", plain),
            Objects::Transactions => return None,
        })
    }
}

/// Judges the history of any number of registers, each of which starts as `initial`. The search holds at
/// most `memory_bytes` and takes at most `steps`, all keys together; beyond that the verdict is unknown, with
/// how far the history was verified.
pub fn judge(history: &[HistoryEvent], initial: &Value, memory_bytes: u64, steps: u64) -> Judgement {
    let registers =
        ("cas-register", ModelOptions { initial: Some(initial.into()), ..ModelOptions::default() });
    judge_by(registers, &Observed { history, traces: &[] }, memory_bytes, steps)
}

/// As [`judge`], of any objects as they begin; the nodes' traces, which may be empty, decide nothing but the shape of a
/// violation.
pub(crate) fn judge_with_trace(
    history: &[HistoryEvent],
    traces: &[TraceRecord],
    objects: Objects,
    memory_bytes: u64,
    steps: u64,
) -> Judgement {
    let observed = Observed { history, traces };
    match objects.model() {
        Some(model) => judge_by(model, &observed, memory_bytes, steps),
        None => transactional::judge(&observed, &Limits { memory_bytes, steps }),
    }
}

fn judge_by(
    (model, options): (&str, ModelOptions),
    observed: &Observed,
    memory_bytes: u64,
    steps: u64,
) -> Judgement {
    let history = observed.history;
    let initial = options.initial.as_ref().map(Value::from);
    let options = Options {
        model: options,
        // A run's clients do more than the model knows.
        passes_over: true,
        ..Options::default()
    };
    let checked = History::from_events(history)
        .map_err(|error| error.to_string())
        .and_then(|compact| check(&compact, model, &options, &Limits { memory_bytes, steps }, &Unwatched));
    let report = match checked {
        Ok(report) => report,
        Err(why) => {
            return Judgement::unknown(CHECK, format!("the history makes no sense: {why}"), json!({}));
        }
    };
    match (report.verdict, &report.failure) {
        (Verdict::Invalid, Some(failure)) => inexplicable(&report, failure, initial.as_ref(), observed),
        (Verdict::Valid, _) => {
            let until = history.last().map_or(0, |event| event.time_ns);
            let evidence = json!({"operations": report.judged, "keys": report.keys});
            let reason = format!(
                "{} operations on {} keys have an order that explains them, up to {}",
                report.judged,
                report.keys,
                seconds(until)
            );
            Judgement::valid(CHECK, reason, evidence)
        }
        _ => match report.verified {
            Some(verified) => Judgement::unknown(
                CHECK,
                report.reason,
                json!({
                    "key": verified.key,
                    "verified_operations": verified.operations,
                    "verified_until_ns": verified.until_ns,
                }),
            ),
            None => {
                Judgement::unknown(CHECK, "no reads, writes or compare-and-sets in the history", json!({}))
            }
        },
    }
}

/// The judgement on a history in which nothing explains the operation that is to blame.
///
/// `initial`: what registers begin with; none for other objects, of which it is told in words what they may have held.
fn inexplicable(
    report: &Report,
    failure: &Failure,
    initial: Option<&Value>,
    observed: &Observed,
) -> Judgement {
    let operations = match pair(observed.history) {
        Ok(operations) => operations,
        Err(why) => unreachable!("the history made sense: {why}"),
    };
    let of_key: Vec<Operation> =
        operations.into_iter().filter(|operation| operation.invoke.key == failure.key).collect();
    let blamed = of_key
        .iter()
        .find(|operation| operation.invoked_at == failure.operation.operation.invoked_at as usize)
        .expect("the operation that failed is one of the key's");
    let event = |at: u32| observed.history.get(at as usize);
    let data = |of: &OperationReport| json!({"invoke": event(of.operation.invoked_at), "completion": event(of.operation.completed_at)});
    let mut possible: Vec<(Option<u32>, Value)> = failure
        .configurations
        .iter()
        .map(|one| match &one.set_by {
            _ if initial.is_none() => (None, json!({"state": one.state})),
            Some(by) => (
                Some(by.operation.invoked_at),
                json!({"value": produced(event(by.operation.invoked_at)), "set_by": data(by)}),
            ),
            None => (None, json!({"value": initial, "set_by": null})),
        })
        .collect();
    possible.sort_by_key(|(by, _)| *by);
    possible.dedup_by(|one, two| one.0 == two.0 && (initial.is_some() || one.1 == two.1));
    let evidence = json!({
        "key": failure.key,
        "operation": {"invoke": blamed.invoke, "completion": blamed.completion},
        "concurrent": failure.concurrent.iter().map(data).collect::<Vec<_>>(),
        "possible_values": possible.into_iter().map(|(_, value)| value).collect::<Vec<_>>(),
        "overwritten_by": failure.overwritten_by.as_ref().map(data),
        "is_first": failure.is_first,
        "verified_operations": report.verified.as_ref().map(|verified| verified.operations),
    });
    let reason = format!("{}, {}", answered(blamed), failure.why);
    Judgement::invalid(CHECK, observed.shape(&of_key, blamed, failure.shape), reason, evidence)
}

/// The value that an operation sets.
fn produced(invoke: Option<&HistoryEvent>) -> Value {
    let value = invoke.map_or(Value::Null, |invoke| invoke.value.clone());
    match value {
        Value::Array(pair) => pair.into_iter().nth(1).unwrap_or_default(),
        written => written,
    }
}

/// `n1 answered read k0 = 3 at 4.210 s (process 500)`
fn answered(operation: &Operation) -> String {
    let completion = operation.completion.unwrap_or(operation.invoke);
    let who = completion.node.map_or("the system".to_string(), node_name);
    let outcome = if operation.is_mismatch() { " with mismatch" } else { "" };
    format!(
        "{who} answered {}{outcome} at {} (process {})",
        call(operation),
        seconds(completion.time_ns),
        operation.invoke.process
    )
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
            &["read k0 = 1", "just before, it holds 2, not 1"],
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

    fn of(objects: Objects, events: &[HistoryEvent]) -> Judgement {
        judge_with_trace(events, &[], objects, 1 << 24, 10_000_000)
    }

    fn with_values(text: &str, values: &[(usize, Value)]) -> Vec<HistoryEvent> {
        let mut events = history(text);
        for (at, value) in values {
            events[*at].value = value.clone();
        }
        events
    }

    #[test]
    fn a_counter_that_was_added_to_twice_fires_and_one_that_may_have_been_does_not() {
        let twice = history("1 invoke add 3; 1 ok add 3; 2 invoke read; 2 ok read 6");
        let judgement = of(Objects::Counters, &twice);
        assert_eq!(judgement.verdict, Verdict::Invalid);
        assert!(judgement.reason.contains("read k0 = 6"), "{}", judgement.reason);
        assert_eq!(judgement.evidence["possible_values"], json!([{"state": "3"}]));
        let unknown = "1 invoke add 3; 1 info add 3; 2 invoke read; 2 ok read 0; 2 invoke read; 2 ok read 3";
        assert_eq!(of(Objects::Counters, &history(unknown)).verdict, Verdict::Valid);
    }

    #[test]
    fn a_list_that_lost_or_doubled_an_element_fires() {
        let text =
            "1 invoke append 3; 1 ok append -; 1 invoke append 4; 1 ok append -; 2 invoke read; 2 ok read";
        let read = |elements: Value| of(Objects::Lists, &with_values(text, &[(5, elements)]));
        assert_eq!(read(json!([3, 4])).verdict, Verdict::Valid);
        for wrong in [json!([3]), json!([3, 3, 4]), json!([4, 3])] {
            assert_eq!(read(wrong.clone()).verdict, Verdict::Invalid, "{wrong}");
        }
    }

    #[test]
    fn a_server_that_is_not_there_cannot_be_moved_and_that_is_an_observation() {
        let spec = json!({"transport": "streamable_http", "endpoint": "http://a"});
        let found =
            |state: &str| json!({"transport": "streamable_http", "endpoint": "http://a", "state": state});
        let text = "1 invoke register; 1 ok register; 2 invoke set_state; 2 ok set_state; 3 invoke lookup; 3 ok lookup";
        let moved = |state: &str| {
            let ready = json!("ready");
            let values =
                [(0, spec.clone()), (1, spec.clone()), (2, ready.clone()), (3, ready), (5, found(state))];
            of(Objects::Registry, &with_values(text, &values)).verdict
        };
        assert_eq!((moved("ready"), moved("registered")), (Verdict::Valid, Verdict::Invalid));
        let gone = "1 invoke register; 1 ok register; 2 invoke deregister; 2 fail deregister not_found";
        let values = [(0, spec.clone()), (1, spec)];
        assert_eq!(of(Objects::Registry, &with_values(gone, &values)).verdict, Verdict::Invalid);
    }

    #[test]
    fn a_lease_is_held_by_one_at_a_time_until_it_is_given_back_or_may_have_ended() {
        let lease = |text: &str| {
            let mut events = history(text);
            for event in events.iter_mut().filter(|event| event.value.is_null()) {
                event.value = json!(format!("c{}", event.process));
            }
            of(Objects::Leases, &events)
        };
        let taken = "1 invoke acquire; 1 ok acquire 5; ";
        let then = |more: &str| lease(&format!("{taken}{more}")).verdict;
        assert_eq!(then("2 invoke acquire; 2 ok acquire 9"), Verdict::Invalid);
        assert_eq!(then("2 invoke acquire; 2 fail acquire held"), Verdict::Valid);
        assert_eq!(then("1 invoke release; 1 ok release; 2 invoke acquire; 2 ok acquire 9"), Verdict::Valid);
        assert_eq!(
            then("1 invoke release; 1 ok release; 2 invoke acquire; 2 ok acquire 4"),
            Verdict::Invalid
        );
        let mut ended =
            history(&format!("{taken}599 invoke expire; 599 info expire; 2 invoke acquire; 2 ok acquire 9"));
        for (event, who) in ended.iter_mut().zip(["c1", "", "c1", "c1", "c2", ""]) {
            if !who.is_empty() {
                event.value = json!(who);
            }
        }
        assert_eq!(of(Objects::Leases, &ended).verdict, Verdict::Valid);
    }
}
