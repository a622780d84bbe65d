//! Each anomaly by an example, and histories that only look wrong.

mod common;

use common::{history, parse};
use mcp_chaos_history::{Ending, HistoryBuilder, Value};
use mcp_chaos_linearizability::{Limits, Stop, Unwatched, Watch};
use mcp_chaos_transactions::{Level, Report, Verdict, check};

fn judge(text: &str, level: Level) -> Report {
    check(&history(&parse(text)), level, &Limits::default(), &Unwatched).expect("these are transactions")
}

fn serializable(text: &str) -> Report {
    judge(text, Level::Serializable)
}

fn strict(text: &str) -> Report {
    judge(text, Level::StrictSerializable)
}

fn names(report: &Report) -> Vec<&str> {
    report.anomalies.iter().map(|anomaly| anomaly.name).collect()
}

/// Asserts that one anomaly is found, and what is said of it.
#[track_caller]
fn finds(report: &Report, name: &str, says: &str) {
    assert_eq!(report.verdict, Verdict::Invalid);
    assert_eq!(names(report), [name], "{report:#?}");
    assert_eq!(report.anomalies[0].says, says);
}

#[track_caller]
fn valid(report: &Report) {
    assert_eq!(report.verdict, Verdict::Valid, "{report:#?}");
    assert!(report.anomalies.is_empty() && report.graph.nodes.is_empty());
}

#[test]
fn transactions_one_after_another() {
    valid(&strict(
        "T0: append x 1, append y 2\n T1: r x [1], append x 3, r x [1 3]\n T2: r x [1 3], r y [2]",
    ));
    valid(&strict(""));
}

#[test]
fn a_value_from_nowhere() {
    finds(
        &serializable("T0: append x 1; T1: r x [1 7]"),
        "garbage-read",
        "T1 read x = [1, 7], and nobody ever appended 7",
    );
}

#[test]
fn a_value_that_is_there_twice() {
    finds(
        &serializable("T0: append x 1; T1: r x [1 1]"),
        "duplicate-elements",
        "T1 read x = [1, 1], which has 1 twice",
    );
}

#[test]
fn two_reads_that_no_order_explains() {
    finds(
        &serializable("T0: append x 1; T1: append x 2; T2: r x [1 2]; T3: r x [2]"),
        "incompatible-order",
        "T3 read x = [2], and T2 read x = [1, 2]: neither list begins with the other",
    );
}

#[test]
fn appends_of_one_transaction_in_another_order() {
    finds(
        &serializable("T0: append x 1, append x 2; T1: r x [2 1]"),
        "incompatible-order",
        "T1 read x = [2, 1], where 1 does not stand before 2, as T0 appended them",
    );
}

#[test]
fn a_transaction_that_does_not_see_its_own_append() {
    finds(
        &serializable("T0: append x 1, r x []"),
        "internal",
        "T0 read x = [], which is not what it had read and appended itself before that",
    );
    finds(
        &serializable("T0: r x [], r x [1]; T1: append x 1"),
        "internal",
        "T0 read x = [1], which is not what it had read and appended itself before that",
    );
}

#[test]
fn a_transaction_that_sees_its_own_future() {
    finds(
        &serializable("T0: r x [1], append x 1"),
        "internal",
        "T0 read x = [1], with a value that it appended only later",
    );
}

#[test]
fn g0_appends_of_two_transactions_interleave() {
    finds(
        &serializable("T0: append x 1, append y 3; T1: append x 2, append y 4; T2: r x [1 2], r y [4 3]"),
        "G0",
        "T0 appended 1 to x before T1 appended 2; T1 appended 4 to y before T0 appended 3",
    );
}

#[test]
fn g1a_a_read_of_what_failed() {
    finds(
        &serializable("T0 fails: append x 1; T1: r x [1]"),
        "G1a",
        "T1 read x = [1], with 1 of T0, which had failed",
    );
}

#[test]
fn a_dirty_update_builds_on_what_failed() {
    let report = serializable("T0 fails: append x 1; T1: append x 2; T2: r x [1 2]");
    assert_eq!(names(&report), ["dirty-update", "G1a"]);
    assert_eq!(
        report.anomalies[0].says,
        "T1 appended 2 to x after 1 of T0, which had failed, as T2 read: [1, 2]"
    );
}

#[test]
fn g1b_a_read_from_the_middle_of_a_transaction() {
    finds(
        &serializable("T0: append x 1, append x 2; T1: r x [1]"),
        "G1b",
        "T1 read x = [1], which ends with 1 of T0, and T0 went on to append 2",
    );
    finds(
        &serializable("T0: append x 1, append x 2; T1: append x 3; T2: r x [1 3]"),
        "G1b",
        "T2 read x = [1, 3], with 1 of T0 but not all that T0 appended",
    );
}

#[test]
fn g1c_each_sees_the_other() {
    finds(
        &serializable("T0: append x 1, r y [2]; T1: append y 2, r x [1]"),
        "G1c",
        "T0 appended 1 to x, and T1 read x = [1]; T1 appended 2 to y, and T0 read y = [2]",
    );
}

#[test]
fn g_single_a_read_of_half_a_transaction() {
    finds(
        &serializable("T0: append x 1, append y 2; T1: r x [1], r y []"),
        "G-single",
        "T1 read y = [], so it came before T0 appended 2, which nobody read; T0 appended 1 to x, and T1 read x = [1]",
    );
}

#[test]
fn a_lost_update() {
    finds(
        &serializable("T0: append x 1\n T1: r x [1], append x 2; T2: r x [1], append x 3"),
        "lost-update",
        "T1 and T2 both read x = [1] and appended to it: the second of them had to see what the first appended",
    );
    // Where somebody saw the order, it is a cycle besides.
    let report = serializable("T0: r x [], append x 1; T1: r x [], append x 2; T2: r x [1 2]");
    assert_eq!(names(&report), ["lost-update", "G-single"]);
}

#[test]
fn g2_write_skew() {
    let report = serializable("T0: r x [], append y 1; T1: r y [], append x 2");
    finds(
        &report,
        "G2",
        "T0 read x = [], so it came before T1 appended 2, which nobody read; T1 read y = [], so it came before T0 \
         appended 1, which nobody read",
    );
    let cycle = &report.anomalies[0].cycle;
    assert_eq!(serde_json::json!(cycle[0].values), serde_json::json!([[], 2]));
    assert_eq!((cycle[0].from, cycle[0].to, cycle[0].kind), (0, 1, "rw"));
    assert_eq!((report.graph.nodes.len(), report.graph.edges.len()), (2, 2));
}

#[test]
fn a_stale_read_offends_real_time_alone() {
    let text = "T0: append x 1\n T1: r x []";
    valid(&serializable(text));
    finds(
        &strict(text),
        "G-single-realtime",
        "T1 read x = [], so it came before T0 appended 1, which nobody read; T0 had ended (event 1) before T1 began (event 2)",
    );
    valid(&strict("T0: append x 1; T1: r x []"));
}

#[test]
fn a_read_from_the_future_offends_real_time() {
    let report = strict("T0: r x [1]\n T1: append x 1");
    assert_eq!(names(&report), ["G1c-realtime"]);
}

#[test]
fn appends_against_real_time() {
    let report = strict("T0: append x 1\n T1: append x 2\n T2: r x [2 1]");
    assert_eq!(names(&report), ["G0-realtime"]);
}

#[test]
fn two_stale_reads_and_real_time() {
    // Each reads what was there before an append that had ended before the other began: no order, though each
    // pair of transactions could stand in one.
    let report = strict(
        "T0: r x []; T1: append y 1
         T2: r y [], append z 2; T3: append x 3, r z []",
    );
    assert_eq!(names(&report), ["G-single-realtime"]);
}

#[test]
fn an_unknown_transaction_that_was_seen_took_effect_as_a_whole() {
    valid(&strict("T0 unknown: append x 1, append y 2\n T1: r x []\n T2: r x [1], r y [2]"));
    finds(
        &serializable("T0 unknown: append x 1, append y 2; T1: r x [1], r y []"),
        "G-single",
        "T1 read y = [], so it came before T0 appended 2, which nobody read; T0 appended 1 to x, and T1 read x = [1]",
    );
}

#[test]
fn an_unknown_transaction_that_nobody_saw_constrains_nothing() {
    valid(&strict("T0 unknown: append x 1\n T1: r x []\n T2: append x 2, r x [2]"));
}

#[test]
fn an_append_that_nobody_read_comes_after_all_that_was_read() {
    let text = "T0: append x 1\n T1: append x 2, append y 3\n T2: r y [3], r x [1]";
    assert_eq!(names(&serializable(text)), ["G-single"]);
}

#[test]
fn a_failed_transaction_may_be_tried_again_with_the_same_value() {
    valid(&strict("T0 fails: append x 1\n T1: append x 1\n T2: r x [1]"));
}

#[test]
fn a_value_appended_twice_tells_nothing() {
    let report = serializable("T0: append x 1; T1: append x 1; T2: r x [1 1]");
    assert_eq!(report.verdict, Verdict::Unknown);
    assert_eq!(
        report.reason,
        "T0 and T1 both append 1 to x: the value does not tell who appended it; nothing else is wrong"
    );
    // Other keys are judged all the same.
    let report = serializable("T0: append x 1; T1: append x 1; T2: append y 2, r y []");
    assert_eq!(names(&report), ["internal"]);
}

#[test]
fn the_shortest_cycle_is_shown_and_components_are_counted() {
    let report = serializable(
        "T0: r a [], append b 1; T1: r b [], append c 1; T2: r c [], append a 1
         T3: r x [], append y 1; T4: r y [], append x 2",
    );
    assert_eq!(names(&report), ["G2"]);
    assert_eq!(report.anomalies[0].count, 2);
    assert_eq!(report.anomalies[0].transactions, [3, 4]);
}

#[test]
fn a_report_is_data() {
    let json = serializable("T0: append x 1, r y [2]; T1: append y 2, r x [1]").to_json();
    assert_eq!(json["verdict"], "invalid");
    assert_eq!(json["level"], "serializable");
    assert_eq!(json["anomalies"][0]["cycle"][0]["kind"], "wr");
    assert_eq!(json["anomalies"][0]["cycle"][0]["key"], "x");
    assert_eq!(
        json["graph"]["nodes"][1],
        serde_json::json!({
            "transaction": 1, "process": "pT1", "outcome": "ok", "invoked_at": 1, "completed_at": 3,
            "micro_operations": [["append", "y", 2], ["r", "x", [1]]], "named": true,
        })
    );
}

#[test]
fn beyond_its_limits_the_answer_is_unknown() {
    let history = history(&parse("T0: append x 1; T1: r x [1]"));
    let judge = |limits: &Limits, watch: &dyn Watch| {
        let report = check(&history, Level::Serializable, limits, watch).expect("these are transactions");
        assert_eq!(report.verdict, Verdict::Unknown);
        report.reason
    };
    let memory = Limits { memory_bytes: 1_000, ..Limits::default() };
    assert_eq!(judge(&memory, &Unwatched), "judging this history takes 1 MB: more than the limit of memory");
    let steps = Limits { steps: 3, ..Limits::default() };
    assert_eq!(
        judge(&steps, &Unwatched),
        "the limit of steps was reached before the whole history was judged"
    );
    struct Never;
    impl Watch for Never {
        fn stop(&self) -> Option<Stop> {
            Some(Stop::Cancelled)
        }
    }
    assert_eq!(judge(&Limits::default(), &Never), "the check was cancelled");
}

#[test]
fn what_is_no_transaction_is_refused_with_its_place() {
    let refused = |argument: Value, result: Value| {
        let mut builder = HistoryBuilder::new();
        let process = builder.history().processes.number("0");
        let f = builder.history().functions.number("txn");
        let argument = builder.history().values.number(argument);
        builder.invoke(process, f, 0, argument, 0).expect("it is not open");
        let result = builder.history().values.number(result);
        builder.end(process, f, 0, Ending::Ok, result, None, 1).expect("it is open");
        let history = builder.finish();
        check(&history, Level::Serializable, &Limits::default(), &Unwatched)
            .expect_err("malformed")
            .to_string()
    };
    let txn = |f: &str, value: Value| Value::list([Value::list([Value::text(f), Value::text("x"), value])]);
    let expected = "; expected a list of [\"append\", key, value] and [\"r\", key, list]";
    for (argument, result, why) in [
        (Value::Int(3), Value::Null, "operation 0 (event 0): its argument is 3"),
        (
            txn("w", Value::Int(1)),
            txn("w", Value::Int(1)),
            "operation 0 (event 0): its argument has the micro-operation [\"w\",\"x\",1]",
        ),
        (
            txn("r", Value::Null),
            Value::Null,
            "operation 0 (event 1): its result null has not as many micro-operations as its argument",
        ),
        (
            txn("append", Value::Int(1)),
            txn("append", Value::Int(2)),
            "operation 0 (event 1): it was asked for [\"append\",\"x\",1] and answered [\"append\",\"x\",2]",
        ),
        (
            txn("r", Value::Null),
            txn("r", Value::Int(2)),
            "operation 0 (event 1): it was asked for [\"r\",\"x\",null] and answered [\"r\",\"x\",2]",
        ),
    ] {
        assert_eq!(refused(argument, result), format!("{why}{expected}"));
    }
}
