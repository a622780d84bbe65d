//! The generic engines against a brute force, on random small histories of a register that may be set at random.

use mcp_chaos_evidence::rng::Stream;
use mcp_chaos_history::{Outcome, Value};
use mcp_chaos_linearizability::{
    Answer, Call, DepthFirst, Engine, Frontier, Interned, Model, Moment, Online, OnlineLimits,
    OnlineViolation, Problem, Progress, Reading, Standing, Step,
};

/// A register over small numbers. `Scatter` leaves it one of two values: a step of several successors.
#[derive(Clone, Copy, Debug)]
struct Tiny;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Act {
    Read(u8),
    Write(u8),
    Cas(u8, u8),
    Mismatch(u8),
    Scatter(u8),
}

impl Model for Tiny {
    type State = u8;
    type Action = Act;

    fn by_key(&self) -> bool {
        false
    }

    fn read(&self, call: &Call) -> Result<Reading<Act>, String> {
        let part = |at: usize| call.argument.as_list().unwrap()[at].as_int().unwrap() as u8;
        let action = match call.f {
            "read" => Act::Read(part(0)),
            "write" => Act::Write(part(0)),
            "cas" if call.outcome == Outcome::Fail(Some("mismatch")) => Act::Mismatch(part(0)),
            "cas" => Act::Cas(part(0), part(1)),
            _ => Act::Scatter(part(0)),
        };
        Ok(match call.outcome {
            Outcome::Unknown if call.f == "read" => Reading::Nothing,
            Outcome::Unknown => Reading::Possible(action),
            _ => Reading::Certain(action),
        })
    }

    fn initial(&self) -> u8 {
        0
    }

    fn step(&self, state: &u8, action: &Act, next: &mut Vec<u8>) {
        match action {
            Act::Read(value) if value == state => next.push(*state),
            Act::Write(value) => next.push(*value),
            Act::Cas(expected, new) if expected == state => next.push(*new),
            Act::Mismatch(expected) if expected != state => next.push(*state),
            Act::Scatter(value) => next.extend([*value, value + 1]),
            _ => {}
        }
    }

    fn is_observer(&self, action: &Act) -> bool {
        matches!(action, Act::Read(_) | Act::Mismatch(_))
    }

    fn state_in_words(&self, state: &u8) -> String {
        state.to_string()
    }
}

/// A history of `steps` steps, at most `width` of them open at once.
fn random(stream: Stream, steps: u64, width: usize, values: u64, unknown_percent: u64) -> Problem<Act> {
    let mut drawn = 0;
    let mut draw = |below: u64| {
        drawn += 1;
        stream.between(drawn, 0, below - 1) as u8
    };
    let mut problem = Problem { actions: Vec::new(), steps: Vec::new(), moments: Vec::new(), width: 0 };
    let mut open: Vec<u32> = Vec::new();
    let mut unknown = 0;
    while problem.steps.len() < steps as usize || !open.is_empty() {
        let may_open = problem.steps.len() < steps as usize && open.len() < width;
        if may_open && (open.is_empty() || draw(2) == 0) {
            let (value, other) = (draw(values), draw(values));
            let action = match draw(9) {
                0..3 => Act::Read(value),
                3..5 => Act::Write(value),
                5..7 => Act::Cas(value, other),
                7 => Act::Mismatch(value),
                _ => Act::Scatter(value),
            };
            let known = problem.actions.iter().position(|known| *known == action);
            let action = known.unwrap_or_else(|| {
                problem.actions.push(action);
                problem.actions.len() - 1
            });
            let number = problem.steps.len() as u32;
            let required = u64::from(draw(100)) >= unknown_percent;
            problem.steps.push(Step { action: action as u32, required, operation: number });
            problem.moments.push(Moment::Invoke(number));
            if required {
                open.push(number)
            } else {
                unknown += 1
            }
            problem.width = problem.width.max(open.len() + unknown);
        } else {
            let which = draw(open.len() as u64);
            problem.moments.push(Moment::Return(open.remove(which as usize)));
        }
    }
    problem
}

/// Tries every order of the first `moments` moments.
fn brute_force(problem: &Problem<Act>, moments: usize) -> bool {
    fn go(problem: &Problem<Act>, moments: &[Moment], done: &mut Vec<bool>, state: u8) -> bool {
        let first_return =
            moments.iter().position(|moment| matches!(moment, Moment::Return(n) if !done[*n as usize]));
        let Some(first_return) = first_return else { return true };
        for moment in &moments[..first_return] {
            let Moment::Invoke(number) = moment else { continue };
            let step = problem.steps[*number as usize];
            if done[*number as usize] {
                continue;
            }
            let mut next = Vec::new();
            Tiny.step(&state, &problem.actions[step.action as usize], &mut next);
            done[*number as usize] = true;
            for state in next {
                if go(problem, moments, done, state) {
                    return true;
                }
            }
            done[*number as usize] = false;
        }
        false
    }
    go(problem, &problem.moments[..moments], &mut vec![false; problem.steps.len()], 0)
}

fn run(engine: &mut impl Engine, fuel: u64) -> Answer {
    loop {
        let before = engine.steps();
        let progress = engine.advance(fuel);
        assert!(engine.steps() - before <= 2 * fuel.max(16), "{} overran", engine.name());
        if let Progress::Done(answer) = progress {
            return answer;
        }
    }
}

/// Whether this order explains the history, by the book.
fn confirm(problem: &Problem<Act>, order: &[u32]) {
    let at = |moment: Moment| problem.moments.iter().position(|other| *other == moment);
    let mut states = vec![Tiny.initial()];
    let mut latest_invocation = None;
    for number in order {
        let step = problem.steps[*number as usize];
        latest_invocation = latest_invocation.max(at(Moment::Invoke(*number)));
        assert!(at(Moment::Return(*number)).is_none_or(|end| Some(end) > latest_invocation), "{order:?}");
        let mut next = Vec::new();
        for state in &states {
            Tiny.step(state, &problem.actions[step.action as usize], &mut next);
        }
        states = next;
        assert!(!states.is_empty(), "{order:?} of {problem:?}");
    }
    for (number, step) in (0..).zip(&problem.steps) {
        assert!(order.iter().filter(|other| **other == number).count() <= 1);
        assert!(!step.required || order.contains(&number), "{number} is left out");
    }
}

/// The first moment whose prefix no order explains.
fn first_failure(problem: &Problem<Act>) -> Option<usize> {
    (1..=problem.moments.len()).find(|moments| !brute_force(problem, *moments)).map(|moments| moments - 1)
}

/// Gives an online check the problem's events, one by one.
fn online(problem: &Problem<Act>, fuel: u64) -> Option<OnlineViolation> {
    let mut check = Online::new(Tiny, OnlineLimits::default());
    let judge = |check: &mut Online<Tiny>| while check.advance(fuel) == Standing::Running {};
    for moment in &problem.moments {
        let (Moment::Invoke(number) | Moment::Return(number)) = *moment;
        let (f, value, other) = match problem.actions[problem.steps[number as usize].action as usize] {
            Act::Read(value) => ("read", value, 0),
            Act::Write(value) => ("write", value, 0),
            Act::Cas(expected, new) => ("cas", expected, new),
            Act::Mismatch(expected) => ("cas", expected, expected),
            Act::Scatter(value) => ("scatter", value, 0),
        };
        let argument = Value::list([value, other].map(|part| Value::Int(part.into())));
        if let Moment::Invoke(_) = moment {
            assert_eq!(check.invoke(number, f, "", &argument), Ok(number));
        } else if let Act::Mismatch(_) = problem.actions[problem.steps[number as usize].action as usize] {
            check.end(number, Outcome::Fail(Some("mismatch"))).unwrap();
        } else {
            check.end(number, Outcome::Ok(&Value::Null)).unwrap();
        }
        judge(&mut check);
    }
    check.finish();
    judge(&mut check);
    assert!(check.doubts().is_empty());
    check.violation().cloned()
}

/// Four clients over one key, without end: memory holds what is in flight, not the history.
#[test]
fn an_online_check_of_a_long_history_stays_small() {
    let mut check = Online::new(Tiny, OnlineLimits::default());
    let mut most_bytes = 0;
    for number in 0..200_000_u32 {
        let argument = Value::list([Value::Int(i64::from(number % 200)), Value::Int(0)]);
        if number >= 4 {
            check.end(number % 4, Outcome::Ok(&Value::Null)).unwrap();
        }
        check.invoke(number % 4, "write", "", &argument).unwrap();
        assert_eq!(check.advance(1 << 20), Standing::UpToDate);
        most_bytes = most_bytes.max(check.bytes());
    }
    assert!(most_bytes < 1 << 20, "{most_bytes}");
}

/// A process that never answers holds up its key for as long as events may wait. After that its operation may
/// have taken effect or not; an answer that comes then is not judged, and the check says so.
#[test]
fn an_operation_that_does_not_end_is_waited_for_only_so_long() {
    let mut check = Online::new(Tiny, OnlineLimits { patience_events: 100, ..OnlineLimits::default() });
    let argument = |value: i64| Value::list([Value::Int(value), Value::Int(0)]);
    check.invoke(0, "write", "", &argument(7)).unwrap();
    for _ in 0..100 {
        check.invoke(1, "read", "", &argument(0)).unwrap();
        check.end(1, Outcome::Ok(&Value::Null)).unwrap();
    }
    check.invoke(1, "read", "", &argument(7)).unwrap();
    check.end(1, Outcome::Ok(&Value::Null)).unwrap();
    assert_eq!(check.advance(1 << 20), Standing::UpToDate);
    check.end(0, Outcome::Ok(&Value::Null)).unwrap();
    assert_eq!(check.doubts().len(), 1);
    check.invoke(1, "read", "", &argument(8)).unwrap();
    check.end(1, Outcome::Ok(&Value::Null)).unwrap();
    assert_eq!(check.advance(1 << 20), Standing::Violated);
    assert_eq!(check.violation().unwrap().operation, 102);
}

#[test]
fn engines_agree_with_the_brute_force() {
    let mut failures = 0;
    for seed in 0..60_000 {
        let stream = Stream::new(seed, "engines", 0, 0);
        let unknown = [0, 20, 50][seed as usize % 3];
        let problem = random(stream, 2 + seed % 7, 2 + seed as usize % 4, 2 + seed % 3, unknown);
        let expected = match first_failure(&problem) {
            None => Answer::Linearizable,
            Some(moment) => Answer::Inexplicable { moment, is_first: true },
        };
        failures += u64::from(expected != Answer::Linearizable);
        let mut frontier = Frontier::new(&problem, Interned::new(Tiny, &problem), 1 << 20, seed % 2 == 0);
        assert_eq!(run(&mut frontier, 1 + seed % 50), expected, "seed {seed}: {problem:?}");
        if expected == Answer::Linearizable {
            frontier.witness().iter().for_each(|order| confirm(&problem, order));
            assert_eq!(frontier.witness().is_some(), seed % 2 == 0);
        } else {
            assert!(!frontier.survivors().is_empty());
        }
        let violation = online(&problem, 1 + seed % 50);
        match expected {
            Answer::Inexplicable { moment, .. } => {
                let violation = violation.expect("the others saw it");
                assert_eq!(problem.moments[moment], Moment::Return(violation.operation));
                assert_eq!(violation.survivors, frontier.survivors());
            }
            _ => assert_eq!(violation, None, "seed {seed}: {problem:?}"),
        }
        for memory_bytes in [1 << 20, 1 << 14] {
            let mut search = DepthFirst::new(&problem, Interned::new(Tiny, &problem), memory_bytes);
            assert_eq!(run(&mut search, 1 + seed % 50), expected, "seed {seed}: {problem:?}");
            search.witness().iter().for_each(|order| confirm(&problem, order));
            assert_eq!(search.survivors().is_empty(), expected == Answer::Linearizable);
        }
    }
    assert!((10_000..50_000).contains(&failures), "{failures}: both answers must be frequent");
}
