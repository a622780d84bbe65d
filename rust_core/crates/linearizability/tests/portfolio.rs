//! `check` as a user calls it: verdicts, words, limits, what is explained on demand.

use std::cell::Cell;

use mcp_chaos_history::{History, jsonl};
use mcp_chaos_linearizability::{Limits, Options, Report, Stop, Unwatched, Verdict, Watch, check};
use serde_json::{Value, json};

/// Events as `process type f value`, each line one; a key may follow after `@`.
fn history(text: &str) -> History {
    let mut lines = String::new();
    for (at, line) in text.lines().map(str::trim).filter(|line| !line.is_empty()).enumerate() {
        let (line, key) = line.split_once('@').unwrap_or((line, ""));
        let words: Vec<&str> = line.split_whitespace().collect();
        let value: Value = words.get(3).map_or(Value::Null, |value| serde_json::from_str(value).unwrap());
        let mut event = json!({
            "index": at, "time_ns": at * 1_000_000, "process": words[0], "type": words[1], "f": words[2],
            "key": key.trim(), "value": value,
        });
        if let Some(error) = words.get(4) {
            event["error"] = json!(error);
        }
        lines += &format!("{event}\n");
    }
    jsonl::read(lines.as_bytes()).unwrap()
}

fn explained(history: &History, model: &str) -> Report {
    let options = Options { minimal: true, witness: true, timeline: Some(100), ..Options::default() };
    check(history, model, &options, &Limits::default(), &Unwatched).unwrap()
}

/// A long correct history, then a read of what was overwritten long ago.
fn stale_read_among_many() -> String {
    let mut text = String::from("0 invoke write 1\n0 ok write 1\n");
    for value in 2..60 {
        text += &format!("0 invoke write {value}\n1 invoke read\n0 ok write {value}\n1 ok read {value}\n");
    }
    text + "2 invoke read\n2 ok read 30\n"
}

#[test]
fn a_stale_read_is_explained_by_three_operations() {
    let history = history(&stale_read_among_many());
    let report = explained(&history, "cas-register");
    assert_eq!(report.verdict, Verdict::Invalid);
    let failure = report.failure.unwrap();
    assert!(failure.is_first && failure.shape == "overwritten-value", "{}", failure.why);
    assert_eq!(failure.configurations.len(), 1);
    assert!(failure.configurations[0].why.contains("it holds 59, not 30"), "{:?}", failure.configurations);
    let minimal = report.minimal.unwrap();
    assert!(minimal.is_minimal);
    let calls: Vec<Value> = minimal.operations.iter().map(|one| serde_json::to_value(one).unwrap()).collect();
    let calls: Vec<(&str, &Value)> = calls
        .iter()
        .map(|one| {
            (one["f"].as_str().unwrap(), if one["f"] == "read" { &one["result"] } else { &one["argument"] })
        })
        .collect();
    assert_eq!(calls.len(), 3, "{calls:?}");
    assert_eq!((calls[0], calls[2]), (("write", &json!(30)), ("read", &json!(30))));
    assert_eq!(calls[1].0, "write");
    // All before the read is explained, and drawn.
    assert_eq!(report.witness.unwrap()[""].len(), 59 + 58);
    let timeline = report.timeline.unwrap();
    assert!(timeline.operations.len() <= 100 && timeline.left_out > 0);
}

#[test]
fn a_value_from_nowhere_fails_alone() {
    let report =
        explained(&history("0 invoke write 1\n0 ok write 1\n1 invoke read\n1 ok read 9"), "register");
    assert_eq!(report.failure.unwrap().shape, "value-from-nowhere");
    assert_eq!(report.minimal.unwrap().operations.len(), 1);
}

#[test]
fn other_models_are_explained_too() {
    let text = "0 invoke enqueue 1\n0 ok enqueue 1\n0 invoke enqueue 2\n0 ok enqueue 2\n\
                0 invoke enqueue 3\n0 ok enqueue 3\n1 invoke dequeue\n1 ok dequeue 2";
    let report = explained(&history(text), "queue");
    assert_eq!(report.verdict, Verdict::Invalid);
    assert!(report.reason.contains("dequeue = 2"), "{}", report.reason);
    assert_eq!(report.minimal.unwrap().operations.len(), 3, "1, 2, and the answer that came too soon");
    let valid = explained(&history(&text.replace("dequeue 2", "dequeue 1")), "queue");
    assert_eq!(valid.witness.unwrap()[""], [0, 1, 2, 3]);
}

#[test]
fn keys_are_judged_apart_and_one_violation_is_enough() {
    let text = "0 invoke write 1 @a\n0 ok write 1 @a\n1 invoke read null @b\n1 ok read 1 @b";
    let report = explained(&history(text), "register");
    assert_eq!((report.verdict, report.keys), (Verdict::Invalid, 2));
    assert_eq!(report.failure.unwrap().key, "b");
    let report = explained(
        &history(&text.replace("read 1 @b", "read 1 @a").replace("read null @b", "read null @a")),
        "register",
    );
    assert_eq!((report.verdict, report.keys), (Verdict::Valid, 1));
}

#[test]
fn what_makes_no_sense_is_named() {
    let asked = |text: &str, model: &str| {
        check(&history(text), model, &Options::default(), &Limits::default(), &Unwatched).unwrap_err()
    };
    assert!(
        asked("0 invoke enqueue 1", "register")
            .contains("event 0: model register knows read, write, not enqueue")
    );
    assert!(asked("0 invoke cas 1", "cas-register").contains("event 0: a cas takes [expected, new], not 1"));
    assert!(asked("", "cas-regster").contains("cas-register"));
    let nothing =
        check(&history(""), "register", &Options::default(), &Limits::default(), &Unwatched).unwrap();
    assert_eq!(nothing.verdict, Verdict::Unknown);
}

/// Many operations of unknown outcome, few values: hard for every algorithm.
fn hard(writers: usize) -> History {
    let mut text = String::new();
    for n in 0..writers {
        text += &format!("{n} invoke cas [{},{}]\n{n} info cas [{},{}]\n", n % 5, n % 7, n % 5, n % 7);
    }
    for n in 0..400 {
        text += &format!(
            "r{n} invoke read\nw{n} invoke write {}\nr{n} ok read {}\nw{n} ok write {}\n",
            n % 5,
            (n * 3) % 7,
            n % 5
        );
    }
    history(&text)
}

#[test]
fn beyond_a_limit_the_answer_is_unknown_and_says_how_far_it_came() {
    struct After(Cell<u32>);
    impl Watch for After {
        fn stop(&self) -> Option<Stop> {
            self.0.set(self.0.get() + 1);
            (self.0.get() > 3).then_some(Stop::Time)
        }
    }
    let history = hard(60);
    let limited = |limits: Limits, watch: &dyn Watch| {
        let report = check(&history, "cas-register", &Options::default(), &limits, watch).unwrap();
        assert_eq!(report.verdict, Verdict::Unknown, "{}", report.reason);
        let verified = report.verified.unwrap();
        assert!(verified.operations < verified.of, "{verified:?}");
        assert!(report.peak_bytes <= limits.memory_bytes / 10 * 11, "{}", report.peak_bytes);
        report.reason
    };
    let steps = limited(Limits { steps: 1_000, ..Limits::default() }, &Unwatched);
    assert!(steps.starts_with("out of steps"), "{steps}");
    let time = limited(Limits::default(), &After(Cell::new(0)));
    assert!(time.starts_with("out of time"), "{time}");
}

#[test]
fn one_algorithm_alone_can_be_asked_for() {
    let history = history(&stale_read_among_many());
    for algorithm in ["zones", "frontier", "depth-first"] {
        let options = Options { algorithm: Some(algorithm.into()), ..Options::default() };
        let report = check(&history, "register", &options, &Limits::default(), &Unwatched).unwrap();
        assert_eq!(report.verdict, Verdict::Invalid);
        assert_eq!(report.algorithms.keys().copied().collect::<Vec<_>>(), [algorithm]);
        assert!(report.failure.unwrap().is_first, "{algorithm}");
    }
    let options = Options { algorithm: Some("zone".into()), ..Options::default() };
    let error = check(&history, "register", &options, &Limits::default(), &Unwatched).unwrap_err();
    assert!(error.contains("zones, frontier, depth-first"), "{error}");
}

/// More writes at once, and more of unknown outcome, than the register's own engines have room for: those for any
/// model decide.
#[test]
fn a_register_with_very_much_at_once_is_decided_too() {
    let mut text = String::new();
    (0..4_200).for_each(|process| text += &format!("{process} invoke write {}\n", process % 7));
    (0..4_200).for_each(|process| text += &format!("{process} ok write\n"));
    let wide = text + "0 invoke read\n0 ok read 3\n";
    let open: String =
        (0..10_100).map(|process| format!("{process} invoke write {}\n", process % 7)).collect();
    let open = open + "a invoke read\na ok read 3\n";
    for (text, verdict) in
        [(wide.replace("read 3", "read 9"), Verdict::Invalid), (wide, Verdict::Valid), (open, Verdict::Valid)]
    {
        let report =
            check(&history(&text), "register", &Options::default(), &Limits::default(), &Unwatched).unwrap();
        assert_eq!(report.verdict, verdict, "{}", report.reason);
    }
}

/// Where no version can follow, no change is possible: nothing overflows.
#[test]
fn the_last_version_is_not_followed_by_another() {
    let judged = |text: &str| {
        let mut options = Options::default();
        options.model.initial = Some(mcp_chaos_history::Value::list([
            mcp_chaos_history::Value::Int(i64::MAX),
            mcp_chaos_history::Value::Int(1),
        ]));
        check(&history(text), "versioned-register", &options, &Limits::default(), &Unwatched).unwrap()
    };
    assert_eq!(judged(&format!("0 invoke read\n0 ok read [{},1]", i64::MAX)).verdict, Verdict::Valid);
    let report = judged("0 invoke write 2\n0 ok write");
    assert_eq!(report.verdict, Verdict::Invalid);
    assert!(report.reason.contains(&format!("at version {}", i64::MAX)), "{}", report.reason);
    // Of unknown outcome it may never have taken effect.
    assert_eq!(judged("0 invoke write 2").verdict, Verdict::Valid);
}

/// What nobody asked for is not blamed.
#[test]
fn an_algorithm_that_does_not_fit_is_blamed_only_if_it_was_asked_for() {
    let text = "0 invoke write 1\n0 ok write 1\n1 invoke write 1\n1 ok write 1\n2 invoke read\n2 ok read 1";
    let options = Options { algorithm: Some("zones".into()), ..Options::default() };
    let report = check(&history(text), "register", &options, &Limits::default(), &Unwatched).unwrap();
    assert_eq!(report.verdict, Verdict::Unknown);
    assert!(report.reason.starts_with("the algorithm that was asked for"), "{}", report.reason);
}

/// Many appends of which nobody knows whether and when they took effect, beside reads that tell.
fn lost_appends(last_read: &str) -> History {
    let mut text = String::new();
    for process in 0..40 {
        text += &format!("{process} invoke append {process}\n");
    }
    for process in 0..40 {
        text += &format!("{process} info append {process}\n");
    }
    let mut held: Vec<u64> = Vec::new();
    for at in 0..20 {
        // Neither the order in which they began nor its reverse.
        held.push(at * 7 % 40);
        text += &format!("100 invoke read\n100 ok read {}\n", serde_json::to_string(&held).unwrap());
        text += &format!("101 invoke append {}\n101 ok append null\n", 100 + at);
        held.push(100 + at);
    }
    text += &format!("100 invoke read\n100 ok read {last_read}\n");
    history(&text)
}

#[test]
fn appends_of_unknown_outcome_are_where_the_longest_read_shows_them() {
    let held: Vec<u64> = (0..20).flat_map(|at| [at * 7 % 40, 100 + at]).collect();
    let limits = Limits { steps: 20_000, ..Limits::default() };
    let judged = |last_read: &[u64]| {
        let history = lost_appends(&serde_json::to_string(last_read).unwrap());
        check(&history, "log", &Options::default(), &limits, &Unwatched).unwrap()
    };
    let report = judged(&held);
    assert_eq!(report.verdict, Verdict::Valid, "{}", report.reason);
    let uninformed = Options { algorithm: Some("frontier".to_owned()), ..Options::default() };
    let text = serde_json::to_string(&held).unwrap();
    let report = check(&lost_appends(&text), "log", &uninformed, &limits, &Unwatched).unwrap();
    assert_eq!(report.verdict, Verdict::Unknown, "every order is tried");
    let mut swapped = held.clone();
    swapped.swap(37, 39);
    let report = judged(&swapped);
    assert_eq!(report.verdict, Verdict::Invalid, "{}", report.reason);
    // The search for the first took too long; but no later one than this is named, and none before it is wrong.
    assert!(!report.failure.unwrap().is_first);
    let verified = report.verified.unwrap();
    assert_eq!(verified.operations + 1, verified.of, "all but the last read");
}
