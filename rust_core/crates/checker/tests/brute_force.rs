//! The linearizability checker against an independent brute force: every order of a small history's
//! operations is tried. The two share no code but the history's types.

use mcp_chaos_checker::{Judgement, Verdict, linearizable};
use mcp_chaos_evidence::{Function, HistoryEvent, Kind, rng::Stream};
use serde_json::{Value, json};

const HISTORIES: u64 = 240_000;

/// Draws, one after another.
struct Draws {
    stream: Stream,
    n: u64,
}

impl Draws {
    fn below(&mut self, limit: u64) -> u64 {
        self.n += 1;
        self.stream.between(self.n, 0, limit - 1)
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
}

fn event(process: u64, kind: Kind, f: Function, value: Value, error: Option<&str>) -> HistoryEvent {
    HistoryEvent { error: error.map(String::from), ..HistoryEvent::new(0, process, kind, f, "k", value) }
}

/// A value of a domain of `size`: null, 1, 2, …
fn value(draws: &mut Draws, size: u64) -> Value {
    match draws.below(size) {
        0 => Value::Null,
        number => json!(number),
    }
}

/// A random history of a few operations. Each takes effect on a real register at a random moment; then, with
/// a probability that the seed decides, outcomes are replaced by random ones, so that valid and invalid
/// histories are both common.
fn random_history(seed: u64) -> Vec<HistoryEvent> {
    struct Open {
        process: u64,
        f: Function,
        argument: Value,
        outcome: Option<(Kind, Value, Option<&'static str>)>,
    }
    let mut draws = Draws { stream: Stream::new(seed, "brute force", 0, 0), n: 0 };
    let operations = 2 + draws.below(6);
    let clients = 1 + draws.below(4);
    let size = 2 + draws.below(4);
    let unique = draws.one_in(2);
    let corrupt_one_in = [1_000_000, 12, 4][draws.below(3) as usize];
    let mut register = Value::Null;
    let mut events: Vec<HistoryEvent> = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    // Operations whose client gave up, and which may yet take effect.
    let mut stray: Vec<(Function, Value)> = Vec::new();
    let (mut begun, mut next_process) = (0, 0);
    while begun < operations || !open.is_empty() {
        let choice = draws.below(4);
        if choice == 0 && !stray.is_empty() {
            let (f, argument) = stray.swap_remove(draws.below(stray.len() as u64) as usize);
            take_effect(&mut register, &f, &argument);
        } else if begun < operations && (open.is_empty() || choice < 2 && (open.len() as u64) < clients) {
            let written = if unique { json!(100 + begun) } else { value(&mut draws, size) };
            let (f, argument) = match draws.below(5) {
                0 | 1 => (Function::Read, Value::Null),
                2 | 3 => (Function::Write, written),
                _ => {
                    let expected = if draws.one_in(2) { register.clone() } else { value(&mut draws, size) };
                    (Function::Cas, json!([expected, written]))
                }
            };
            events.push(event(next_process, Kind::Invoke, f.clone(), argument.clone(), None));
            open.push(Open { process: next_process, f, argument, outcome: None });
            next_process += 1;
            begun += 1;
        } else if !open.is_empty() {
            let at = draws.below(open.len() as u64) as usize;
            if open[at].outcome.is_none() {
                open[at].outcome = Some(match draws.below(10) {
                    // Fails without effect.
                    0 => (Kind::Fail, open[at].argument.clone(), Some("unavailable")),
                    // Unknown; takes effect now, later or never.
                    1 | 2 => {
                        if open[at].f != Function::Read {
                            stray.push((open[at].f.clone(), open[at].argument.clone()));
                        }
                        (Kind::Info, open[at].argument.clone(), Some("timeout"))
                    }
                    _ => {
                        let argument = open[at].argument.clone();
                        take_effect(&mut register, &open[at].f, &argument)
                    }
                });
                continue;
            }
            let ended = open.swap_remove(at);
            let (mut kind, mut answer, mut error) = ended.outcome.expect("just seen");
            if draws.one_in(corrupt_one_in) {
                match (&ended.f, kind) {
                    (Function::Read, Kind::Ok) => answer = value(&mut draws, size),
                    (Function::Cas, Kind::Ok) => (kind, error) = (Kind::Fail, Some("mismatch")),
                    (Function::Cas, Kind::Fail) => (kind, error) = (Kind::Ok, None),
                    (Function::Write, Kind::Info) => (kind, error) = (Kind::Ok, None),
                    (_, Kind::Info) => (kind, error) = (Kind::Fail, Some("unavailable")),
                    _ => {}
                }
            }
            if kind == Kind::Info && draws.one_in(3) {
                continue; // Never ends at all.
            }
            events.push(event(ended.process, kind, ended.f, answer, error));
        }
    }
    for (at, event) in events.iter_mut().enumerate() {
        event.index = at as u64;
        event.time_ns = at as u64;
    }
    events
}

fn take_effect(register: &mut Value, f: &Function, argument: &Value) -> (Kind, Value, Option<&'static str>) {
    match f {
        Function::Read => (Kind::Ok, register.clone(), None),
        Function::Write => {
            *register = argument.clone();
            (Kind::Ok, argument.clone(), None)
        }
        _ if *register == argument[0] => {
            *register = argument[1].clone();
            (Kind::Ok, argument.clone(), None)
        }
        _ => (Kind::Fail, argument.clone(), Some("mismatch")),
    }
}

/// An operation as the brute force sees it.
struct Whole<'a> {
    invoke: &'a HistoryEvent,
    completion: Option<&'a HistoryEvent>,
    begin: usize,
    end: usize,
}

/// Whether some order explains the first `length` events, where the outcomes of operations still open then are
/// known already, but need not have taken effect.
fn explicable(history: &[HistoryEvent], length: usize) -> bool {
    let mut operations: Vec<Whole> = Vec::new();
    for (at, event) in history.iter().enumerate() {
        if event.kind == Kind::Invoke {
            operations.push(Whole { invoke: event, completion: None, begin: at, end: usize::MAX });
        } else {
            let operation =
                operations.iter_mut().find(|operation| operation.invoke.process == event.process).unwrap();
            operation.completion = Some(event);
            operation.end = at;
        }
    }
    operations.retain(|operation| {
        let mismatch = operation.completion.is_some_and(|end| end.error.as_deref() == Some("mismatch"));
        let failed = operation.completion.is_some_and(|end| end.kind == Kind::Fail) && !mismatch;
        operation.begin < length && !failed
    });
    for operation in &mut operations {
        if operation.end >= length || operation.completion.is_some_and(|end| end.kind == Kind::Info) {
            operation.end = usize::MAX;
        }
    }
    let all: Vec<usize> = (0..operations.len()).collect();
    permute(&operations, all, &Value::Null)
}

/// Tries each operation that may come next, with what is left.
fn permute(operations: &[Whole], left: Vec<usize>, register: &Value) -> bool {
    if left.iter().all(|at| operations[*at].end == usize::MAX) {
        return true;
    }
    let earliest_end = left.iter().map(|at| operations[*at].end).min().unwrap();
    left.iter().any(|at| {
        let operation = &operations[*at];
        if operation.begin > earliest_end {
            return false;
        }
        let argument = &operation.invoke.value;
        let mismatch = operation.completion.is_some_and(|end| end.error.as_deref() == Some("mismatch"));
        let answered = operation.completion.filter(|end| end.kind == Kind::Ok);
        let after = match &operation.invoke.f {
            Function::Read => match answered {
                Some(answer) if answer.value != *register => return false,
                _ => register.clone(),
            },
            Function::Write => argument.clone(),
            _ if mismatch && argument[0] != *register => register.clone(),
            _ if !mismatch && argument[0] == *register => argument[1].clone(),
            _ => return false,
        };
        permute(operations, left.iter().copied().filter(|other| other != at).collect(), &after)
    })
}

fn judge(history: &[HistoryEvent]) -> Judgement {
    linearizable::judge(history, &Value::Null, 1 << 24, 1 << 24)
}

fn text(history: &[HistoryEvent]) -> String {
    String::from_utf8(mcp_chaos_checker::jsonl::write(history)).unwrap()
}

#[test]
fn the_checker_agrees_with_the_brute_force() {
    let (mut valid, mut invalid, mut empty) = (0, 0, 0);
    for seed in 0..HISTORIES {
        let history = random_history(seed);
        let judgement = judge(&history);
        let expected = explicable(&history, history.len());
        match judgement.verdict {
            Verdict::Valid => {
                valid += 1;
                assert!(expected, "seed {seed}: called valid\n{}", text(&history));
            }
            Verdict::Invalid => {
                invalid += 1;
                assert!(!expected, "seed {seed}: called invalid: {}\n{}", judgement.reason, text(&history));
                // The operation named is the first that cannot be explained.
                let at = judgement.evidence["operation"]["completion"]["index"].as_u64().unwrap() as usize;
                assert!(
                    !explicable(&history, at + 1),
                    "seed {seed}: event {at} can be explained\n{}",
                    text(&history)
                );
                assert!(explicable(&history, at), "seed {seed}: not the first\n{}", text(&history));
            }
            _ => {
                empty += 1;
                assert!(history.is_empty(), "seed {seed}: {}", judgement.reason);
            }
        }
    }
    assert_eq!(empty, 0);
    // The generator is no use unless both verdicts are common.
    assert!(valid > HISTORIES / 4 && invalid > HISTORIES / 8, "{valid} valid, {invalid} invalid");
}

/// More operations at once than fit into one word, and more than into two: the same verdicts.
#[test]
fn wide_histories_are_judged_alike() {
    for (width, extra) in [(3_u64, 0), (70, 0), (200, 0), (600, 0), (70, 1), (200, 1), (600, 1)] {
        // `width` readers are open while one value is written after another; each saw a value in its turn.
        let mut history: Vec<HistoryEvent> = (0..width)
            .map(|reader| event(reader + 10, Kind::Invoke, Function::Read, Value::Null, None))
            .collect();
        for number in 1..=3 {
            history.push(event(1, Kind::Invoke, Function::Write, json!(number), None));
            history.push(event(1, Kind::Ok, Function::Write, json!(number), None));
        }
        for reader in 0..width {
            // With `extra`, the last reader found a value that nobody wrote.
            let found = if reader + 1 == width { 1 + reader % 3 + extra * 10 } else { 1 + reader % 3 };
            history.push(event(reader + 10, Kind::Ok, Function::Read, json!(found), None));
        }
        let expected = if extra == 0 { Verdict::Valid } else { Verdict::Invalid };
        assert_eq!(judge(&history).verdict, expected, "{width} {extra}");
    }
}
