//! The generic engines at their limits: little memory, models that fail, many operations open at once, many keys,
//! long histories.

use std::fmt::Write as _;

use mcp_chaos_history::{Outcome, Value};
use mcp_chaos_linearizability::{
    Answer, DepthFirst, Engine, Frontier, Machine, Moment, Online, OnlineLimits, Problem, Progress, Standing,
    StateId, Step, models::KeyValue,
};

/// Counts what was added, by numbered actions: 2n adds one, 2n + 1 finds n.
struct Counter {
    /// Its step fails in this state.
    fails_at: StateId,
}

impl Machine for Counter {
    fn initial(&mut self) -> StateId {
        0
    }

    fn step(&mut self, state: StateId, action: u32, next: &mut Vec<StateId>) -> Result<(), String> {
        if state == self.fails_at {
            return Err(format!("no idea what follows {state}"));
        }
        match action % 2 {
            0 => next.push(state + 1),
            _ if action / 2 == state => next.push(state),
            _ => {}
        }
        Ok(())
    }

    fn is_observer(&self, action: u32) -> bool {
        action % 2 == 1
    }

    fn bytes(&self) -> u64 {
        0
    }

    fn state_in_words(&self, state: StateId) -> String {
        state.to_string()
    }

    fn why_not(&self, state: StateId, _: u32) -> String {
        format!("it is {state}")
    }
}

const NEVER_FAILS: Counter = Counter { fails_at: StateId::MAX };

/// All steps are invoked, then all complete in the same order.
fn all_at_once(actions: &[u32], required: bool) -> Problem<()> {
    let steps = (0..).zip(actions).map(|(operation, action)| Step { action: *action, required, operation });
    let numbers = 0..actions.len() as u32;
    let returns = numbers.clone().filter(|_| required).map(Moment::Return);
    Problem {
        actions: Vec::new(),
        steps: steps.collect(),
        moments: numbers.clone().map(Moment::Invoke).chain(returns).collect(),
        width: actions.len(),
    }
}

/// Then one step finds the number `found` (invoked when all others are).
fn then_find(mut problem: Problem<()>, found: u32) -> Problem<()> {
    let number = problem.steps.len() as u32;
    problem.steps.push(Step { action: 2 * found + 1, required: true, operation: number });
    problem.moments.extend([Moment::Invoke(number), Moment::Return(number)]);
    problem
}

fn run(engine: &mut dyn Engine, memory_bytes: u64) -> Answer {
    loop {
        if let Progress::Done(answer) = engine.advance(10_000) {
            return answer;
        }
        assert!(engine.bytes() <= memory_bytes + 4096, "{} holds {}", engine.name(), engine.bytes());
        assert!(engine.steps() < 200_000_000, "{} does not come to an end", engine.name());
    }
}

fn both(problem: &Problem<()>, memory_bytes: u64) -> [Answer; 2] {
    [
        run(&mut Frontier::new(problem, NEVER_FAILS, memory_bytes, true), memory_bytes),
        run(&mut DepthFirst::new(problem, NEVER_FAILS, memory_bytes), memory_bytes),
    ]
}

#[test]
fn a_model_that_fails_ends_the_search_with_its_words() {
    let problem = all_at_once(&[0, 0, 0], true);
    let mut frontier = Frontier::new(&problem, Counter { fails_at: 2 }, 1 << 20, false);
    let mut depth_first = DepthFirst::new(&problem, Counter { fails_at: 2 }, 1 << 20);
    for engine in [&mut frontier as &mut dyn Engine, &mut depth_first] {
        assert_eq!(run(engine, 1 << 20), Answer::ModelFailed);
        assert_eq!(engine.failure(), Some("no idea what follows 2"));
        assert_eq!(engine.advance(1), Progress::Done(Answer::ModelFailed));
    }
}

/// Unknown increments are twins: how many took effect matters, not which.
#[test]
fn windows_of_any_width_are_searched() {
    for width in [63, 64, 65, 128, 129, 300] {
        let unknown = |found| then_find(all_at_once(&vec![0; width], false), found);
        let valid = [Answer::Linearizable; 2];
        assert_eq!(both(&unknown(width as u32), 64 << 20), valid, "{width}");
        let moment = width + 1;
        let invalid = [Answer::Inexplicable { moment, is_first: true }; 2];
        assert_eq!(both(&unknown(width as u32 + 1), 64 << 20), invalid, "{width}");
    }
}

#[test]
fn five_thousand_operations_open_at_once_are_ordered() {
    // Observers of different numbers, and as many increments: depth first, any order will do.
    let problem = all_at_once(&[0; 5_000], true);
    let mut search = DepthFirst::new(&problem, NEVER_FAILS, 256 << 20);
    assert_eq!(run(&mut search, 256 << 20), Answer::Linearizable);
    assert_eq!(search.witness().map(|order| order.len()), Some(5_000));
    assert_eq!(both(&then_find(all_at_once(&[1; 5_000], true), 0), 64 << 20), [Answer::Linearizable; 2]);
}

#[test]
fn too_little_memory_is_an_answer() {
    let problem = then_find(all_at_once(&vec![0; 2_000], false), 2_000);
    assert_eq!(both(&problem, 20_000), [Answer::OutOfMemory; 2]);
}

/// Orders that are no longer possible are forgotten: one survives, of all that were tried.
#[test]
fn a_witness_of_a_long_history_is_whole() {
    let mut problem = all_at_once(&[], true);
    for pair in 0..100_000_u32 {
        let [one, two] = [2 * pair, 2 * pair + 1];
        // An increment, and a read beside it which finds the old or the new number.
        let found = pair + pair % 2;
        problem.steps.push(Step { action: 0, required: true, operation: one });
        problem.steps.push(Step { action: 2 * found + 1, required: true, operation: two });
        problem.moments.extend([Moment::Invoke(one), Moment::Invoke(two)]);
        problem.moments.extend([Moment::Return(two), Moment::Return(one)]);
    }
    let memory_bytes = 8 << 20;
    let mut frontier = Frontier::new(&problem, NEVER_FAILS, memory_bytes, true);
    assert_eq!(run(&mut frontier, memory_bytes), Answer::Linearizable);
    let order = frontier.witness().expect("it was to be remembered");
    assert_eq!(order.len(), problem.steps.len());
    let mut number = 0;
    for step in order {
        let action = problem.steps[step as usize].action;
        assert!(action == 0 || action / 2 == number, "step {step} at {number}");
        number += u32::from(action == 0);
    }
}

/// Rounds over `keys` keys of a map parted by key, two clients: what is written is read in the next round.
fn map_online(keys: u32, operations: u32, stale_at: Option<u32>) -> (Online<KeyValue>, u64) {
    let mut check = Online::new(KeyValue::default(), OnlineLimits::default());
    let (mut most_bytes, mut key) = (0, String::new());
    for number in 0..operations {
        let (round, process) = (number / keys, number % 2);
        key.clear();
        write!(key, "key {}", number % keys).unwrap();
        let value = |round: u32| Value::Int(i64::from(round));
        if round % 2 == 0 {
            check.invoke(process, "put", &key, &value(round)).unwrap();
            check.end(process, Outcome::Ok(&Value::Null)).unwrap();
        } else {
            check.invoke(process, "get", &key, &Value::Null).unwrap();
            let found = if stale_at == Some(number) { value(round + 7) } else { value(round - 1) };
            check.end(process, Outcome::Ok(&found)).unwrap();
        }
        while check.advance(1 << 20) == Standing::Running {}
        most_bytes = most_bytes.max(check.bytes());
    }
    check.finish();
    while check.advance(1 << 20) == Standing::Running {}
    (check, most_bytes)
}

/// More keys than searches are kept ready: most are parked, and woken by their next operation.
#[test]
fn many_keys_are_followed_online() {
    let (check, _) = map_online(500, 10_000, None);
    assert_eq!((check.violation(), check.doubts()), (None, &[][..]));
    let (check, _) = map_online(500, 10_000, Some(7_777));
    let violation = check.violation().expect("a value that was never written");
    assert_eq!((&*violation.key, violation.operation), ("key 277", 7_777));
}

#[test]
fn a_stream_of_a_million_operations_is_followed_in_memory_for_its_keys() {
    let (check, most_bytes) = map_online(100, 1_000_000, None);
    assert_eq!((check.violation(), check.doubts()), (None, &[][..]));
    assert!(most_bytes < 8 << 20, "{most_bytes}");
}

/// A read that was given up, and then fails, told nothing either way.
#[test]
fn a_read_that_fails_late_raises_no_doubt() {
    let limits = OnlineLimits { patience_events: 10, ..OnlineLimits::default() };
    let mut check = Online::new(KeyValue::default(), limits);
    check.invoke(0, "get", "x", &Value::Null).unwrap();
    for value in 0..100 {
        check.invoke(1, "put", "x", &Value::Int(value)).unwrap();
        check.end(1, Outcome::Ok(&Value::Null)).unwrap();
        while check.advance(1 << 20) == Standing::Running {}
    }
    check.end(0, Outcome::Fail(None)).unwrap();
    assert_eq!(check.advance(1 << 20), Standing::UpToDate);
    assert!(check.doubts().is_empty());
}

/// What is needed before the first step counts as well.
#[test]
fn a_limit_that_not_even_the_tables_fit_into_is_too_little() {
    let problem = all_at_once(&[0; 1_000], true);
    let mut search = DepthFirst::new(&problem, NEVER_FAILS, 10_000);
    assert!(search.bytes() <= 10_000);
    assert_eq!(search.advance(1), Progress::Done(Answer::OutOfMemory));
}
