//! `check_stream` as a user calls it: histories that are read once, and not kept.

use std::cell::Cell;
use std::fmt::Write;

use mcp_chaos_history::{EventStream, Options as Reading, RawEvent, jsonl};
use mcp_chaos_linearizability::{
    Limits, ModelOptions, Options, Source, Stop, StreamReport, Unwatched, Verdict, Watch, check, check_stream,
};

/// A text that is made line by line while it is read.
struct Text<I> {
    lines: I,
    events: EventStream,
}

impl<I: Iterator<Item = String>> Source for Text<I> {
    fn next(&mut self, take: &mut dyn FnMut(RawEvent) -> Result<(), String>) -> Result<bool, String> {
        let mut each = |event: RawEvent| take(event);
        let line = self.lines.next();
        let read = match &line {
            Some(line) => self.events.feed(line.as_bytes(), &mut each),
            None => self.events.finish(&mut each),
        };
        read.map(|()| line.is_some()).map_err(|error| error.to_string())
    }
}

fn judged(
    lines: impl Iterator<Item = String>,
    model: &str,
    limits: &Limits,
    watch: &dyn Watch,
) -> Result<StreamReport, String> {
    let mut text = Text { lines, events: EventStream::new(None, Reading::default()) };
    check_stream(&mut text, model, &ModelOptions::default(), limits, watch)
}

/// Events as `process type f value error @ key`, with semicolons between, as JSON Lines.
fn lines(text: &str) -> Vec<String> {
    let line = |event: &str| {
        let (event, key) = event.split_once('@').unwrap_or((event, ""));
        let words: Vec<&str> = event.split_whitespace().collect();
        let (value, key) = (words.get(3).unwrap_or(&"null"), key.trim());
        let mut line = format!(
            r#"{{"process":{},"type":"{}","f":"{}","value":{value},"key":"{key}""#,
            words[0], words[1], words[2]
        );
        if let Some(error) = words.get(4) {
            write!(line, r#","error":"{error}""#).unwrap();
        }
        line + "}\n"
    };
    text.split(';').map(str::trim).filter(|event| !event.is_empty()).map(line).collect()
}

fn told(text: &str, model: &str) -> Result<StreamReport, String> {
    judged(lines(text).into_iter(), model, &Limits::default(), &Unwatched)
}

const STALE: &str = "0 invoke write 1; 0 ok write 1; 1 invoke write 2; 1 ok write 2; 2 invoke write 3; \
                     9 invoke read; 9 ok read 1; 2 ok write 3; 9 invoke read; 9 ok read 3";

#[test]
fn a_short_history_is_told_as_one_in_memory() {
    for text in [
        STALE,
        "0 invoke cas [5,6]; 1 invoke write 5; 0 fail cas null mismatch; 1 ok write 5; 1 invoke cas [5,6]; 1 fail cas null mismatch",
        "0 invoke write 1; 0 info write 1; 1 invoke read; 1 ok read 1; 1 invoke read; 1 ok read null",
    ] {
        let lines = lines(text);
        let history = jsonl::read(lines.concat().as_bytes()).unwrap();
        let options = Options { algorithm: Some("frontier".into()), ..Options::default() };
        let whole = check(&history, "cas-register", &options, &Limits::default(), &Unwatched).unwrap();
        let stream = told(text, "cas-register").unwrap().report;
        assert_eq!((stream.verdict, &stream.reason), (whole.verdict, &whole.reason), "{text}");
        let (Some(stream), Some(whole)) = (stream.failure, whole.failure) else { panic!("{text}") };
        assert_eq!(stream.shape, whole.shape);
        assert_eq!(stream.operation, whole.operation);
        assert_eq!(stream.overwritten_by, whole.overwritten_by);
        assert_eq!(stream.concurrent, whole.concurrent);
        assert_eq!(stream.configurations_in_all, whole.configurations_in_all);
    }
}

/// What a stream has not told of may yet come.
#[test]
fn of_a_value_that_nobody_wrote_only_what_is_known_is_told() {
    let read = "1 invoke read null @a; 1 ok read 1 @a; 0 invoke write 1 @a";
    for (before, expected) in [
        ("", "but nobody had written 1 by then"),
        ("0 invoke write 1 @b; 0 ok write 1 @b;", "but nobody had written 1 by then"),
        (
            "0 invoke write 1 @a; 0 fail write 1 @a;",
            "but 1 had by then only been written by write a = 1 (process 0), which failed",
        ),
    ] {
        let stream = told(&format!("{before} {read}"), "register").unwrap();
        assert!(stream.report.reason.contains(expected), "{}", stream.report.reason);
    }
}

/// Four clients that write and read one register for ever.
fn long(operations: u32) -> impl Iterator<Item = String> {
    (0..operations).map(|number| {
        let (process, value) = (number % 4, number / 4);
        let event = |kind: &str, f: &str, value: u32| {
            format!("{{\"process\":{process},\"type\":\"{kind}\",\"f\":\"{f}\",\"value\":{value}}}\n")
        };
        if process == 3 {
            event("invoke", "read", 0) + &event("ok", "read", value)
        } else {
            event("invoke", "write", value) + &event("ok", "write", value)
        }
    })
}

#[test]
fn memory_does_not_grow_with_the_history() {
    let short = judged(long(20_000), "register", &Limits::default(), &Unwatched).unwrap().report;
    let report = judged(long(200_000), "register", &Limits::default(), &Unwatched).unwrap().report;
    assert_eq!((report.verdict, report.operations), (Verdict::Valid, 200_000));
    assert_eq!(report.reason, "an order explains all 200000 operations");
    assert!(report.peak_bytes < short.peak_bytes * 11 / 10, "{} {}", short.peak_bytes, report.peak_bytes);
    assert!(report.peak_bytes < 4 << 20, "{}", report.peak_bytes);
}

/// What wrote 7 is forgotten, so nothing is said of it that is not known; what holds now is.
#[test]
fn after_a_long_time_only_what_is_known_is_told() {
    let stale = |value: u32| lines(&format!("9 invoke read; 9 ok read {value}"));
    let of = |value: u32| {
        judged(long(100_000).chain(stale(value)), "register", &Limits::default(), &Unwatched).unwrap().report
    };
    for value in [7, 10_000_000] {
        let report = of(value);
        assert_eq!(
            report.reason,
            format!(
                "process 9 was answered read = {value} at event 200001, but no order of the operations explains it: \
                 just before, it holds 24999, not {value}"
            )
        );
        let failure = report.failure.unwrap();
        assert_eq!((failure.shape, failure.operation.number), ("no-order", 100_000));
        assert_eq!(failure.configurations[0].set_by.as_ref().unwrap().number, 99_998);
        assert_eq!(report.verified.unwrap().operations, 100_000);
    }
    // This one is not.
    assert!(of(24_900).reason.contains("but 24900 had been overwritten by write = 24901"));
}

#[test]
fn what_makes_no_sense_is_named_with_its_line() {
    for (text, expected) in [
        ("0 invoke write 1; 0 invoke write 2", "line 2, column 1: process 0 invokes an operation while"),
        ("0 invoke write 1; 1 ok write 1", "line 2, column 1: process 1 ends an operation that it never"),
        ("0 invoke write 1; 0 ok read 1", "line 2, column 1: process 0 ends another operation than the"),
        ("0 invoke write 1 @a; 0 ok write 1 @b", "line 2, column 1: process 0 ends another operation"),
        ("0 invoke enqueue 1", "line 1, column 1: model register knows read, write, not enqueue"),
    ] {
        let error = told(text, "register").unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
    assert!(told("", "regster").unwrap_err().contains("did you mean"));
    let nothing = told("", "register").unwrap();
    assert_eq!(nothing.report.verdict, Verdict::Unknown);
    assert_eq!(nothing.report.reason, "there is no operation in the history to judge");
}

/// 26 additions at once make 67 million sums: more than fit into a little memory.
fn sums(key: &str) -> String {
    let mut text = String::new();
    (0..26).for_each(|n| write!(text, "{n} invoke add {} @{key};", 3_u64.pow(n)).unwrap());
    (0..26).for_each(|n| write!(text, "{n} info add @{key};").unwrap());
    text + &format!("90 invoke read null @{key}; 90 ok read 2 @{key};")
}

#[test]
fn a_key_that_is_too_hard_is_given_up_and_the_others_go_on() {
    let limits = Limits { memory_bytes: 4 << 20, ..Limits::default() };
    let easy = |answer: u32| {
        lines(&format!(
            "50 invoke add 1 @b; 50 ok add null @b; 51 invoke read null @b; 51 ok read {answer} @b"
        ))
    };
    let of = |answer| {
        let lines = lines(&sums("a")).into_iter().chain(easy(answer));
        judged(lines, "counter", &limits, &Unwatched).unwrap()
    };
    let valid = of(1);
    assert_eq!((valid.report.verdict, valid.stopped, valid.doubts_in_all), (Verdict::Unknown, None, 1));
    assert_eq!(
        valid.report.reason,
        "the search needs more memory than it was given: a was verified up to event 53 (0 of 1 operations); the other \
         key is explained"
    );
    assert!(valid.report.peak_bytes <= limits.memory_bytes * 11 / 10, "{}", valid.report.peak_bytes);
    let invalid = of(2);
    assert_eq!((invalid.report.verdict, invalid.doubts_in_all), (Verdict::Invalid, 1));
    assert_eq!(invalid.report.failure.unwrap().key, "b");
}

#[test]
fn a_history_of_one_object_ends_when_that_is_given_up() {
    let limits = Limits { memory_bytes: 4 << 20, ..Limits::default() };
    let more = (0..100_000).flat_map(|_| lines("50 invoke read; 50 fail read"));
    let report = judged(lines(&sums("")).into_iter().chain(more), "counter", &limits, &Unwatched).unwrap();
    assert_eq!((report.report.verdict, report.stopped), (Verdict::Unknown, Some("memory")));
    assert!(
        report.report.reason.contains("the history was verified up to event 53"),
        "{}",
        report.report.reason
    );
    assert!(report.events < 10_000);
}

/// Says stop after so many looks.
struct Patience(Cell<u32>);

impl Watch for Patience {
    fn stop(&self) -> Option<Stop> {
        self.0.set(self.0.get().saturating_sub(1));
        (self.0.get() == 0).then_some(Stop::Cancelled)
    }
}

#[test]
fn beyond_its_limits_it_tells_how_far_it_came() {
    let cancelled =
        judged(long(1_000_000), "register", &Limits::default(), &Patience(Cell::new(2_000))).unwrap();
    assert_eq!((cancelled.report.verdict, cancelled.stopped), (Verdict::Unknown, Some("cancelled")));
    let verified = cancelled.report.verified.unwrap();
    assert_eq!((u64::from(verified.events), verified.operations), (cancelled.events, verified.of));
    assert!(cancelled.report.reason.starts_with("cancelled: "), "{}", cancelled.report.reason);

    let limits = Limits { steps: 20_000, ..Limits::default() };
    let exhausted = judged(long(1_000_000), "register", &limits, &Unwatched).unwrap();
    assert_eq!((exhausted.report.verdict, exhausted.stopped), (Verdict::Unknown, Some("steps")));
    let verified = exhausted.report.verified.unwrap();
    assert!(u64::from(verified.events) <= exhausted.events && verified.operations > 1_000, "{verified:?}");
    assert!(verified.operations <= verified.of);
}

#[test]
fn a_violation_is_one_however_the_text_is_cut() {
    let bad = lines(STALE).concat() + "hello\n";
    for piece_bytes in [1, 50, 10_000] {
        let pieces =
            bad.as_bytes().chunks(piece_bytes).map(|piece| String::from_utf8(piece.to_vec()).unwrap());
        let report = judged(pieces, "register", &Limits::default(), &Unwatched).unwrap();
        assert_eq!(report.report.verdict, Verdict::Invalid, "{piece_bytes}");
    }
    assert!(told("0 invoke write 1; 0 ok write 2; 7 ok write 1", "register").is_err());
}

#[test]
fn keys_without_end_end_a_check_that_has_no_memory_for_them() {
    let keys = (0..200_000).flat_map(|key| {
        let invoke =
            format!(r#"{{"process":{key},"type":"invoke","f":"write","value":1,"key":"key-{key}"}}"#);
        [
            invoke + "\n",
            format!(r#"{{"process":{key},"type":"ok","f":"write","value":1,"key":"key-{key}"}}"#) + "\n",
        ]
    });
    let limits = Limits { memory_bytes: 4 << 20, ..Limits::default() };
    let report = judged(keys, "register", &limits, &Unwatched).unwrap();
    assert_eq!((report.report.verdict, report.stopped), (Verdict::Unknown, Some("memory")));
    assert!(report.events < 400_000 && !report.report.reason.is_empty(), "{}", report.report.reason);
    assert!(report.report.peak_bytes < 6 << 20, "{}", report.report.peak_bytes);
}
