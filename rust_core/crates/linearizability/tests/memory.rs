//! Budgets as the allocator and a clock see them: nobody ever holds more than the limit, each search knows what it
//! holds, and the watch is looked at all the time.
//!
//! Every search here would need far more than it is given. What asks the allocator for more ends the process; the
//! last line tells which one it was. A block that grows is counted by what it grows by, as an operating system that
//! remaps large blocks does it.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the time that its thread has worked")]

use std::{
    alloc::System,
    cell::Cell,
    fmt::Write as _,
    io::Write as _,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use cap::Cap;
use mcp_chaos_history::{History, Values, jsonl};
use mcp_chaos_linearizability::{
    Answer, DepthFirst, Engine, Frontier, Interned, Limits, Model, ModelOptions, Options, Progress, Stop,
    Verdict, Visitor, Watch, check, prepare, register, with_model,
};

#[path = "../examples/workload/mod.rs"]
mod workload;

use workload::{Action, Edge, Ending, Shape};

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// Only one measurement at a time: the allocator is everybody's.
static TURN: Mutex<()> = Mutex::new(());

const MB: u64 = 1 << 20;

/// What needs no counting: a search's own structure, names, small lists.
const SMALL: u64 = 64 << 10;

/// Steps of one turn in a race.
const FUEL: u64 = 10_000;

/// The most steps that a search is followed for.
const STEPS: u64 = 10_000_000;

/// Events as JSON Lines, each operation's process its own.
#[derive(Default)]
struct Events(String);

impl Events {
    fn add(&mut self, process: usize, kind: &str, f: &str, key: &str, value: &str) {
        writeln!(
            self.0,
            r#"{{"process":{process},"type":"{kind}","f":"{f}","key":"{key}","value":{value}}}"#
        )
        .unwrap();
    }

    fn history(&self) -> History {
        jsonl::read(self.0.as_bytes()).unwrap()
    }
}

/// Operations `f` with these arguments, all in flight at once; then `last` is answered what cannot be.
fn all_at_once(f: &str, arguments: &[(String, String)], last: [&str; 3]) -> History {
    let mut events = Events::default();
    for (process, (key, argument)) in arguments.iter().enumerate() {
        events.add(process, "invoke", f, key, argument);
    }
    for (process, (key, argument)) in arguments.iter().enumerate() {
        events.add(process, "ok", f, key, if f == "enqueue" { argument } else { "null" });
        let [f, argument, answer] = last;
        if process == 0 {
            events.add(9_999, "invoke", f, key, argument);
            events.add(9_999, "ok", f, key, answer);
        }
    }
    events.history()
}

fn one_key(arguments: impl Iterator<Item = i64>) -> Vec<(String, String)> {
    arguments.map(|argument| (String::new(), argument.to_string())).collect()
}

/// A register's history.
fn registers(shape: &Shape) -> History {
    let generated = workload::register(shape);
    let mut events = Events::default();
    let number = |held: Option<i64>| held.map_or("null".to_owned(), |held| held.to_string());
    for (operation, edge) in generated.events {
        let operation = &generated.operations[operation];
        let (f, argument) = match operation.action {
            Action::Read => ("read", "null".to_owned()),
            Action::Write(new) => ("write", new.to_string()),
            Action::Cas(expected, new) => ("cas", format!("[{},{new}]", number(expected))),
        };
        let (kind, value) = match (edge, operation.ending) {
            (Edge::Invoke, _) => ("invoke", argument),
            (_, Ending::Ok(found)) if f == "read" => ("ok", number(found)),
            (_, Ending::Ok(_)) => ("ok", argument),
            (_, Ending::Unknown) => ("info", argument),
            (_, Ending::Mismatch) => {
                writeln!(
                    events.0,
                    r#"{{"process":{},"type":"fail","f":"cas","value":{argument},"error":"mismatch"}}"#,
                    operation.process
                )
                .unwrap();
                continue;
            }
        };
        events.add(operation.process, kind, f, "", &value);
    }
    events.history()
}

/// What was measured of one search.
#[derive(Debug)]
struct Measured {
    name: String,
    answer: Option<Answer>,
    /// The most that the allocator had given between two turns, and the search's own figure then.
    held: u64,
    counted: u64,
    /// The greatest share by which the two differed, where more than a little was held.
    differs: f64,
    most_steps: u64,
    /// What the longest turn took, and to drop the search.
    longest: Duration,
    dropped: Duration,
}

/// Runs a search that `make` makes within `limit`.
fn measure<'a>(name: &str, limit: u64, make: impl FnOnce(u64) -> Box<dyn Engine + 'a>) -> Measured {
    let before = MEMORY.allocated() as u64;
    let name = name.to_owned();
    // What asks for more ends the process; this line then tells which search it was.
    let _ = writeln!(std::io::stderr(), "{name} within {} MB", limit / MB);
    MEMORY.set_limit((before + limit + limit / 10 + SMALL) as usize).expect("it holds less");
    let began = worked();
    let mut engine = make(limit);
    let mut found = Measured {
        name,
        answer: None,
        held: 0,
        counted: 0,
        differs: 0.0,
        most_steps: 0,
        longest: worked() - began,
        dropped: Duration::ZERO,
    };
    while engine.steps() < STEPS {
        let taken = engine.steps();
        let began = worked();
        let progress = engine.advance(FUEL);
        found.longest = found.longest.max(worked() - began);
        found.most_steps = found.most_steps.max(engine.steps() - taken);
        let (held, counted) = (MEMORY.allocated() as u64 - before, engine.bytes());
        if held > found.held {
            (found.held, found.counted) = (held, counted);
        }
        if held > 2 * MB {
            found.differs = found.differs.max((counted as f64 / held as f64 - 1.0).abs());
        }
        if let Progress::Done(answer) = progress {
            found.answer = Some(answer);
            break;
        }
    }
    let began = worked();
    drop(engine);
    found.dropped = worked() - began;
    MEMORY.set_limit(usize::MAX).expect("it is no limit");
    found
}

/// How long this thread has worked: other processes do not count.
fn worked() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0))
}

/// The searches for any model, in one of the models by name.
struct OfModel<'a> {
    name: &'a str,
    history: &'a History,
    limit: u64,
}

impl Visitor for OfModel<'_> {
    type Output = Vec<Measured>;

    fn visit<M: Model + 'static>(self, model: M) -> Vec<Measured> {
        let all = 0..self.history.operations.len() as u32;
        let problem = prepare(self.history, all, &model).unwrap();
        let (problem, model) = (&problem, &model);
        let name = |engine: &str| format!("{} {engine}", self.name);
        vec![
            measure(&name("frontier"), self.limit, |memory| {
                Box::new(Frontier::new(problem, Interned::new(model, problem), memory, false))
            }),
            measure(&name("frontier, witness"), self.limit, |memory| {
                Box::new(Frontier::new(problem, Interned::new(model, problem), memory, true))
            }),
            measure(&name("depth-first"), self.limit, |memory| {
                Box::new(DepthFirst::new(problem, Interned::new(model, problem), memory))
            }),
        ]
    }
}

fn explode(limit: u64) -> Vec<Measured> {
    let mut measured = Vec::new();
    let powers = one_key((0..40).map(|bit| 1 << bit));
    let numbers = |most: i64| one_key(0..most);
    let server = |name: i64| (format!("s{name}"), format!(r#"{{"transport":"stdio","endpoint":"e{name}"}}"#));
    let impossible = [
        ("counter", all_at_once("add", &powers, ["read", "null", "-1"])),
        ("set", all_at_once("add", &numbers(40), ["contains", "77", "true"])),
        ("queue", all_at_once("enqueue", &numbers(40), ["dequeue", "null", "77"])),
        ("bag", all_at_once("enqueue", &numbers(40), ["dequeue", "null", "77"])),
        ("log", all_at_once("append", &numbers(40), ["read", "null", "[77]"])),
        ("versioned-register", all_at_once("write", &numbers(40), ["read", "null", "[3,77]"])),
        (
            "registry",
            all_at_once("register", &(0..40).map(server).collect::<Vec<_>>(), ["list", "null", "[]"]),
        ),
        ("cas-register", registers(&hard(30))),
    ];
    for (name, history) in &impossible {
        let searches = OfModel { name, history, limit };
        measured.extend(with_model(name, &ModelOptions::default(), searches).unwrap());
    }
    for (name, shape) in [
        ("30 clients, 4 values", hard(30)),
        ("12 clients, 300 unknown", Shape { unknown: 300, ..hard(12) }),
        ("60 clients", hard(60)),
        ("200 clients", hard(200)),
        ("40 clients, unique", Shape { values: None, cas_percent: 60, ..hard(40) }),
    ] {
        let history = registers(&shape);
        let all = 0..history.operations.len() as u32;
        let prepared = register::prepare::prepare(&history, all, Values::NULL).expect("it makes sense");
        let (prepared, history) = (&prepared, &history);
        let name = |engine: &str| format!("register {engine}, {name}");
        measured.push(measure(&name("frontier"), limit, |memory| {
            Box::new(register::Frontier::new(prepared, history, memory))
        }));
        measured.push(measure(&name("depth-first"), limit, |memory| {
            Box::new(register::DepthFirst::new(prepared, memory))
        }));
        measured.push(measure(&name("zones"), limit, |memory| {
            Box::new(register::ZoneSearch::new(prepared, history, memory))
        }));
    }
    measured
}

/// One list, read as it grows, beside appends of which nobody knows; the last read may miss the last append.
fn lists(stale: bool) -> History {
    let mut text = String::new();
    let mut line = |process: usize, kind: &str, f: &str, value: &str| {
        let _ = writeln!(text, r#"{{"process":{process},"type":"{kind}","f":"{f}","value":{value}}}"#);
    };
    for process in 1..=200 {
        line(process, "invoke", "append", &process.to_string());
        line(process, "info", "append", &process.to_string());
    }
    let mut held: Vec<usize> = Vec::new();
    for at in 1..=400 {
        held.push(if at % 2 == 0 { at / 2 } else { 1_000 + at });
        if at % 2 == 1 {
            line(0, "invoke", "append", &held[at - 1].to_string());
            line(0, "ok", "append", "null");
        }
        line(0, "invoke", "read", "null");
        line(0, "ok", "read", &format!("{held:?}"));
    }
    if stale {
        line(0, "invoke", "read", "null");
        line(0, "ok", "read", &format!("{:?}", &held[..held.len() - 1]));
    }
    jsonl::read(text.as_bytes()).unwrap()
}

fn hard(clients: usize) -> Shape {
    Shape {
        operations: 3_000,
        unknown: 100,
        clients,
        values: Some(4),
        cas_percent: 40,
        stale: true,
        ..Shape::default()
    }
}

fn judge(limit: u64) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for one in explode(limit) {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!(
            "{:46}{:4} MB: held {:7.2} MB, counted {:7.2}, differs {:4.1} %, {:7} steps, {:6.1} ms, dropped in {:5.1} ms, {:?}",
            one.name,
            limit / MB,
            one.held as f64 / MB as f64,
            one.counted as f64 / MB as f64,
            one.differs * 100.0,
            one.most_steps,
            ms(one.longest),
            ms(one.dropped),
            one.answer,
        );
        // What trees share is estimated, and on the safe side.
        let estimated = ["set", "bag", "registry"].iter().any(|model| one.name.starts_with(model));
        assert!(one.differs <= if estimated { 0.3 } else { 0.1 }, "{one:?}");
    }
}

#[test]
fn no_search_exceeds_its_limit() {
    judge(16 * MB);
}

#[test]
#[ignore = "takes a while: run it in a release build"]
fn no_search_exceeds_a_great_limit() {
    judge(64 * MB);
    judge(256 * MB);
}

/// Notes the longest time between two looks.
struct Impatient {
    last: Cell<Duration>,
    longest: Cell<Duration>,
    looks: Cell<u64>,
    /// Stops at this look.
    stops_at: u64,
}

impl Impatient {
    fn new(stops_at: u64) -> Impatient {
        let (last, longest) = (Cell::new(worked()), Cell::default());
        Impatient { last, longest, looks: Cell::new(0), stops_at }
    }

    fn look(&self) {
        let now = worked();
        self.longest.set(self.longest.get().max(now - self.last.replace(now)));
    }
}

impl Watch for Impatient {
    fn stop(&self) -> Option<Stop> {
        self.look();
        self.looks.set(self.looks.get() + 1);
        (self.looks.get() >= self.stops_at).then_some(Stop::Cancelled)
    }
}

fn explained() -> Options {
    Options { minimal: true, witness: true, timeline: Some(200), ..Options::default() }
}

/// The whole check of a history: what is prepared, all searches, and what explains the answer.
#[test]
fn no_check_exceeds_its_limit() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let shape = |operations, values, stale| Shape { operations, values, stale, ..Shape::default() };
    let histories = [
        ("unique values", "cas-register", registers(&shape(30_000, None, false))),
        ("unique values, stale", "cas-register", registers(&shape(30_000, None, true))),
        ("five values, stale", "cas-register", registers(&shape(30_000, Some(5), true))),
        ("hard", "cas-register", registers(&hard(30))),
        ("a list", "log", lists(false)),
        ("a list, stale", "log", lists(true)),
    ];
    for (name, model, history) in &histories {
        for limit in [MB, 8 * MB, 32 * MB] {
            let _ = writeln!(std::io::stderr(), "{name} within {} MB", limit / MB);
            let before = MEMORY.allocated() as u64;
            MEMORY.set_limit((before + limit + limit / 10 + SMALL).max(1) as usize).expect("it holds less");
            let limits = Limits { memory_bytes: limit, steps: 20_000_000 };
            let report = check(history, model, &explained(), &limits, &Impatient::new(u64::MAX)).unwrap();
            MEMORY.set_limit(usize::MAX).expect("it is no limit");
            assert!(report.peak_bytes <= limit, "{name}: {}", report.reason);
            if limit == MB {
                assert_eq!(report.verdict, Verdict::Unknown, "{name}");
                assert!(report.reason.starts_with("out of memory"), "{}", report.reason);
            }
        }
    }
}

/// A check that is cancelled ends there, whatever it is at, and looks often enough.
#[test]
fn a_check_can_be_cancelled_at_every_look() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let shape = Shape { operations: 20_000, values: Some(5), stale: true, ..Shape::default() };
    let history = registers(&shape);
    let watched = |stops_at| {
        let watch = Impatient::new(stops_at);
        let report = check(&history, "cas-register", &explained(), &Limits::default(), &watch).unwrap();
        (watch.looks.get(), report.verdict)
    };
    let (looks, verdict) = watched(u64::MAX);
    assert_eq!(verdict, Verdict::Invalid);
    assert!(looks > 100, "{looks}");
    // While it is prepared, while it is searched, while it is explained.
    for stops_at in [1, 3, 5, 10, looks / 2, looks - 1] {
        let (looked, verdict) = watched(stops_at);
        assert!(looked <= stops_at + 3, "{looked} looks, {stops_at} wanted");
        if stops_at <= 5 {
            assert_eq!(verdict, Verdict::Unknown);
        }
    }
}

#[test]
#[ignore = "a measurement: run it in a release build, with --nocapture"]
fn the_longest_time_between_two_looks() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let shape = |operations, values, stale| Shape { operations, values, stale, ..Shape::default() };
    for (name, shape, model) in [
        ("1,000,000 operations, unique values", shape(1_000_000, None, false), "cas-register"),
        ("1,000,000 operations, unique values, stale", shape(1_000_000, None, true), "cas-register"),
        ("1,000,000 operations, 5 values", shape(1_000_000, Some(5), false), "cas-register"),
        ("1,000,000 operations, 5 values, stale", shape(1_000_000, Some(5), true), "cas-register"),
        ("3,000 operations, 60 clients", hard(60), "cas-register"),
    ] {
        let history = registers(&shape);
        for (algorithm, options) in
            [("", explained()), ("depth-first", Options::default()), ("frontier", Options::default())]
        {
            let options =
                Options { algorithm: (!algorithm.is_empty()).then(|| algorithm.to_owned()), ..options };
            let watch = Impatient::new(200_000);
            let limits = Limits { steps: 300_000_000, ..Limits::default() };
            let report = check(&history, model, &options, &limits, &watch);
            watch.look();
            println!(
                "{name:45} {algorithm:12} {:6.1} ms, {:7} looks: {:?}",
                watch.longest.get().as_secs_f64() * 1e3,
                watch.looks.get(),
                report.map(|report| report.verdict),
            );
        }
    }
}
