//! The generic engines against a brute force, on random small histories of a register that may be set at random.

use mcp_chaos_evidence::rng::Stream;
use mcp_chaos_linearizability::{
    Answer, Call, DepthFirst, Engine, Frontier, Interned, Model, Moment, Problem, Progress, Reading, Step,
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

    fn read(&self, _: &Call) -> Result<Reading<Act>, String> {
        Ok(Reading::Nothing)
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
        for memory_bytes in [1 << 20, 1 << 14] {
            let mut search = DepthFirst::new(&problem, Interned::new(Tiny, &problem), memory_bytes);
            assert_eq!(run(&mut search, 1 + seed % 50), expected, "seed {seed}: {problem:?}");
            search.witness().iter().for_each(|order| confirm(&problem, order));
            assert_eq!(search.survivors().is_empty(), expected == Answer::Linearizable);
        }
    }
    assert!((10_000..50_000).contains(&failures), "{failures}: both answers must be frequent");
}
