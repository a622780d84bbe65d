use mcp_chaos_evidence::rng::Stream;
use mcp_chaos_history::{Ending, HistoryBuilder, Operation, Value, ValueId, Values};

use super::*;
use crate::register::{histories::histories, prepare::prepare};

/// A history of one register, from words such as `1 invoke write 3; 1 ok; 2 invoke cas 3 4; 2 mismatch`. A dash
/// is null. Ends: `ok` (with what a read found), `fail`, `mismatch`, `info`.
fn history(text: &str) -> History {
    let mut builder = HistoryBuilder::new();
    let mut last: Map<u32, (u32, ValueId)> = Map::default();
    for event in text.split(';') {
        let words: Vec<&str> = event.split_whitespace().collect();
        let names = builder.history();
        let process = names.processes.number(words[0]);
        let mut value = |word: &str| match word {
            "-" => Values::NULL,
            number => names.values.integer(number.parse().unwrap()),
        };
        if words[1] == "invoke" {
            let argument = match words[3..] {
                [] => Values::NULL,
                [one] => value(one),
                [expected, new, ..] => {
                    let pair = [value(expected), value(new)].map(|number| names.values.get(number).clone());
                    names.values.number(Value::list(pair))
                }
            };
            let f = names.functions.number(words[2]);
            last.insert(process, (f, argument));
            builder.invoke(process, f, 0, argument, 0).unwrap();
            continue;
        }
        let (f, argument) = last[&process];
        let found = words.get(2).map_or(argument, |word| value(word));
        let mismatch = names.errors.number("mismatch");
        let (ending, error) = match words[1] {
            "ok" => (Ending::Ok, None),
            "fail" => (Ending::Fail, None),
            "mismatch" => (Ending::Fail, Some(mismatch)),
            "info" => (Ending::Unknown, None),
            other => panic!("no such event: {other}"),
        };
        builder.end(process, f, 0, ending, found, error, 0).unwrap();
    }
    builder.finish()
}

fn register(history: &History) -> Register {
    prepare(history, 0..history.operations.len() as u32, Values::NULL).unwrap()
}

fn run(engine: &mut Frontier) -> Answer {
    loop {
        if let Progress::Done(answer) = engine.advance(1_000) {
            return answer;
        }
    }
}

/// What the frontier answers, and what survived.
fn check(text: &str) -> (Answer, Vec<Survivor>) {
    let history = history(text);
    let register = register(&history);
    let mut engine = Frontier::new(&register, &history, 1 << 20);
    let answer = run(&mut engine);
    (answer, engine.survivors())
}

/// Asserts that the history is linearizable but for its last event.
fn fails_at_last(text: &str, why: &[&str]) {
    let (before, _) = text.rsplit_once(';').unwrap();
    assert_eq!(check(before).0, Answer::Linearizable, "{before}");
    let (answer, survivors) = check(text);
    assert!(matches!(answer, Answer::Inexplicable { is_first: true, .. }), "{text}: {answer:?}");
    let words: Vec<&str> = survivors.iter().map(|survivor| survivor.why.as_str()).collect();
    assert_eq!(words, why, "{text}");
}

fn valid(text: &str) {
    assert_eq!(check(text).0, Answer::Linearizable, "{text}");
}

#[test]
fn a_stale_read_is_inexplicable() {
    fails_at_last(
        "1 invoke write 3; 1 ok; 2 invoke write 7; 2 ok; 9 invoke read; 9 ok 3",
        &["it holds 7, not 3"],
    );
    fails_at_last("2 invoke write 7; 2 ok; 9 invoke read; 9 ok -", &["it holds 7, not null"]);
    fails_at_last("9 invoke read; 9 ok 7", &["it holds null, not 7"]);
}

#[test]
fn what_is_told_to_be_held_is_what_was_written_last_though_nobody_reads_it() {
    fails_at_last("1 invoke write 3; 1 ok; 9 invoke read; 9 ok 7", &["it holds 3, not 7"]);
    fails_at_last(
        "1 invoke write 3; 1 ok; 2 invoke write 4; 2 ok; 9 invoke read; 9 ok 7",
        &["it holds 4, not 7"],
    );
    fails_at_last(
        "1 invoke write 3; 1 ok; 2 invoke read; 2 ok 3; 3 invoke write 4; 3 ok; 9 invoke read; 9 ok -",
        &["it holds 4, not null"],
    );
}

#[test]
fn operations_of_unknown_outcome_take_effect_once_or_never() {
    valid("1 invoke write 3; 1 info; 2 invoke read; 2 ok -; 2 invoke read; 2 ok 3");
    fails_at_last(
        "1 invoke write 3; 1 info; 2 invoke read; 2 ok 3; 2 invoke write 4; 2 ok; 3 invoke read; 3 ok 3",
        &["it holds 4, not 3"],
    );
    // Two such writes, and one of them comes back.
    valid(
        "1 invoke write 3; 1 info; 5 invoke write 3; 2 invoke read; 2 ok 3; 2 invoke write 4; 2 ok; \
         3 invoke read; 3 ok 3",
    );
    valid("1 invoke cas - 3; 1 info; 2 invoke cas 3 4; 2 info; 3 invoke read; 3 ok 4");
    fails_at_last(
        "1 invoke cas - 3; 1 info; 2 invoke cas 3 4; 2 info; 3 invoke read; 3 ok 4; 3 invoke read; 3 ok 3",
        &["it holds 4, not 3"],
    );
}

#[test]
fn a_mismatch_must_have_seen_another_value() {
    fails_at_last("1 invoke cas - 3; 1 mismatch", &["it holds null, which is what was expected"]);
    valid("1 invoke write 3; 1 info; 2 invoke cas - 3; 2 mismatch");
    valid("1 invoke cas 4 3; 1 mismatch");
}

#[test]
fn writes_hide_before_others() {
    valid(
        "1 invoke write 1; 2 invoke write 2; 3 invoke write 3; 3 ok; 4 invoke read; 4 ok 3; 1 ok; 2 ok; \
         4 invoke read; 4 ok 3",
    );
    fails_at_last(
        "3 invoke write 3; 3 ok; 1 invoke write 1; 4 invoke read; 4 ok 3; 1 ok; 4 invoke read; 4 ok 3",
        &["it holds 1, not 3"],
    );
}

#[test]
fn survivors_tell_what_had_taken_effect() {
    let (answer, survivors) = check(
        "1 invoke write 1; 1 info; 2 invoke write 2; 3 invoke read; 3 ok 1; 4 invoke read; 4 ok 2; \
         5 invoke read; 5 ok 1; 2 ok",
    );
    let Answer::Inexplicable { moment: 7, is_first: true } = answer else { panic!("{answer:?}") };
    let survivor =
        Survivor { state: "2".into(), done: vec![0, 1], set_by: Some(1), why: "it holds 2, not 1".into() };
    assert_eq!(survivors, [survivor]);
}

#[test]
fn little_memory_is_not_exceeded() {
    // Compare-and-sets from each of five values to each other one, in any order.
    let pairs = (0..20).map(|n| (n % 5, (n % 5 + n / 5 + 1) % 5));
    let invoked: Vec<String> =
        pairs.enumerate().map(|(n, (old, new))| format!("{n} invoke cas {old} {new}")).collect();
    let text = format!(
        "99 invoke write 0; 99 ok; {}; 98 invoke read; 98 ok 9; {}",
        invoked.join("; "),
        (0..20).map(|n| format!("{n} ok")).collect::<Vec<_>>().join("; ")
    );
    let history = history(&text);
    let register = register(&history);
    let mut engine = Frontier::new(&register, &history, 200_000);
    assert_eq!(run(&mut engine), Answer::OutOfMemory);
    assert!(engine.bytes() < 220_000, "{}", engine.bytes());
}

/// An operation as the brute force sees it: its last moment, and what it does.
struct Whole {
    begin: u32,
    end: u32,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Read(ValueId),
    Write(ValueId),
    Cas(ValueId, ValueId),
    Mismatch(ValueId),
}

/// Whether some order explains the first `length` events. Outcomes of operations still open then are known, but
/// these need not have taken effect.
fn explicable(history: &History, length: u32) -> bool {
    let whole = |operation: &Operation| {
        if operation.invoked_at >= length {
            return None;
        }
        let pair = history.values.pair(operation.argument);
        let kind = match (history.function(operation), operation.ending) {
            ("read", Ending::Ok) => Kind::Read(operation.result),
            ("write", Ending::Ok | Ending::Unknown) => Kind::Write(operation.argument),
            ("cas", Ending::Fail) if history.error(operation) == Some("mismatch") => Kind::Mismatch(pair?.0),
            ("cas", Ending::Ok | Ending::Unknown) => Kind::Cas(pair?.0, pair?.1),
            _ => return None,
        };
        let is_over = operation.completed_at < length && operation.ending != Ending::Unknown;
        let end = if is_over { operation.completed_at } else { u32::MAX };
        Some(Whole { begin: operation.invoked_at, end, kind })
    };
    let operations: Vec<Whole> = history.operations.iter().filter_map(whole).collect();
    permute(&operations, (1 << operations.len()) - 1, Values::NULL)
}

fn permute(operations: &[Whole], left: u32, held: ValueId) -> bool {
    let those = || (0..operations.len()).filter(|at| left >> at & 1 != 0);
    let earliest = those().map(|at| operations[at].end).min().unwrap_or(u32::MAX);
    earliest == u32::MAX
        || those().filter(|at| operations[*at].begin < earliest).any(|at| {
            let after = match operations[at].kind {
                Kind::Read(value) if value == held => held,
                Kind::Write(new) => new,
                Kind::Cas(expected, new) if expected == held => new,
                Kind::Mismatch(expected) if expected != held => held,
                _ => return false,
            };
            permute(operations, left & !(1 << at), after)
        })
}

/// A random history: operations take effect at random moments, and some answers are then made up.
fn random_text(seed: u64) -> String {
    let stream = Stream::new(seed, "frontier", 0, 0);
    let mut drawn = 0;
    let mut below = |limit: u64| {
        drawn += 1;
        stream.between(drawn, 0, limit - 1)
    };
    let size = 2 + below(4);
    let word = |value: u64| if value == 0 { "-".to_string() } else { value.to_string() };
    let operations = 3 + below(8);
    let clients = 1 + below(5);
    let made_up_one_in = [1_000, 8, 3][below(3) as usize];
    let unknown_one_in = [100, 5, 2][below(3) as usize];
    let unique = below(3) == 0;
    let mut register = 0;
    let mut events: Vec<String> = Vec::new();
    // Process, kind, arguments, answer if it took effect.
    let mut open: Vec<(u64, u64, u64, u64, Option<String>)> = Vec::new();
    let mut begun = 0;
    while begun < operations || !open.is_empty() {
        if begun < operations && (open.is_empty() || (open.len() as u64) < clients && below(2) == 0) {
            let new = if unique { 10 + begun } else { below(size) };
            let expected = if below(2) == 0 { register } else { below(size) };
            let kind = below(5);
            events.push(match kind {
                0 | 1 => format!("{begun} invoke read"),
                2 | 3 => format!("{begun} invoke write {}", word(new)),
                _ => format!("{begun} invoke cas {} {}", word(expected), word(new)),
            });
            open.push((begun, kind, expected, new, None));
            begun += 1;
            continue;
        }
        let at = below(open.len() as u64) as usize;
        let (process, kind, expected, new, answer) = open[at].clone();
        let effect = match kind {
            0 | 1 => format!("ok {}", word(register)),
            4 if register != expected => "mismatch".to_string(),
            _ => "ok".to_string(),
        };
        match answer {
            None if below(unknown_one_in) == 0 => {
                if below(2) == 0 && effect == "ok" {
                    register = new;
                }
                open.swap_remove(at);
                if below(2) == 0 {
                    events.push(format!("{process} info"));
                }
            }
            None => {
                if effect == "ok" {
                    register = new;
                }
                open[at].4 = Some(effect);
            }
            Some(mut answer) => {
                open.swap_remove(at);
                if below(made_up_one_in) == 0 {
                    answer = match kind {
                        0 | 1 => format!("ok {}", word(below(size))),
                        4 => ["ok", "mismatch", "fail"][below(3) as usize].to_string(),
                        _ => ["ok", "fail"][below(2) as usize].to_string(),
                    };
                }
                events.push(format!("{process} {answer}"));
            }
        }
    }
    events.join("; ")
}

/// The verdict, and the first inexplicable operation, are those of trying every order; with snapshots so close
/// that small histories have many.
#[test]
fn it_agrees_with_trying_every_order() {
    let (mut good, mut bad) = (0, 0);
    let number = histories(60_000);
    for seed in 0..number {
        let text = random_text(seed);
        let history = history(&text);
        let register = register(&history);
        let window = [1, 2, 3, 5, 8, 64][(seed % 6) as usize];
        let mut engine =
            Frontier::narrow(&register, &history, 1 << 20, Narrow { window, families: FAMILIES });
        let answer = loop {
            if let Progress::Done(answer) = engine.advance(1 + seed % 40) {
                break answer;
            }
        };
        match answer {
            Answer::Linearizable => {
                good += 1;
                assert!(explicable(&history, history.events), "seed {seed}: called good\n{text}");
            }
            Answer::Inexplicable { moment, is_first: true } => {
                bad += 1;
                let Moment::Return(step) = register.moments[moment] else { panic!("no completion") };
                let operation = register.steps[step as usize].operation;
                let at = history.operations[operation as usize].completed_at;
                assert!(!explicable(&history, at + 1), "seed {seed}: {at} can be explained\n{text}");
                assert!(explicable(&history, at), "seed {seed}: {at} is not the first\n{text}");
                assert_eq!(engine.verified(), moment);
                assert!(!engine.survivors().is_empty());
            }
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    assert!(good > number / 4 && bad > number / 6, "{good} {bad}");
}

/// More operations at once than fit into one word, or into two: the same verdicts.
#[test]
fn wide_histories_are_judged_alike() {
    for (width, found) in [(3, 3), (70, 3), (200, 3), (600, 3), (70, 9), (200, 9), (600, 9)] {
        // So many readers are open while one value is written after another; each saw a value in its turn, the
        // last one perhaps a value that nobody wrote.
        let mut events: Vec<String> =
            (0..width).map(|reader| format!("{} invoke read", reader + 10)).collect();
        events.extend((1..=3).map(|value| format!("1 invoke write {value}; 1 ok")));
        events.extend((1..width).map(|reader| format!("{} ok {}", reader + 10, 1 + reader % 3)));
        events.push(format!("10 ok {found}"));
        let (answer, _) = check(&events.join("; "));
        assert_eq!(answer == Answer::Linearizable, found == 3, "{width} {found}: {answer:?}");
    }
}

/// The present value was not set again where that alone lets a write of unknown outcome have been hidden: an open
/// read found its value before a compare-and-set.
#[test]
fn a_hidden_write_of_unknown_outcome_may_come_after_the_write_of_the_present_value() {
    for end in ["2 ok", "2 info"] {
        let text = format!(
            "1 invoke read; 2 invoke write 1; 3 invoke write 1; 3 ok; 4 invoke write 2; 5 invoke cas 1 3; 5 ok; \
             1 ok 2; 6 invoke read; 6 ok 3; {end}"
        );
        assert!(explicable(&history(&text), u32::MAX));
        valid(&text);
    }
}
