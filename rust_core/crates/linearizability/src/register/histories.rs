//! What the engines' tests share: small random histories with a brute force to judge them by, and large ones of
//! many clients.

use mcp_chaos_evidence::rng::Stream;
use mcp_chaos_history::{Ending, History, HistoryBuilder, NEVER, Value};

use super::prepare::{Register, prepare};

#[path = "../../examples/workload/mod.rs"]
pub(crate) mod workload;

/// What an operation of a small history does; 0 is the initial value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Read,
    Write(i64),
    Cas(i64, i64),
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Ok,
    /// A read that found this.
    Found(i64),
    Mismatch,
    Unavailable,
    Unknown,
}

/// A history built event by event; each operation has a process of its own.
pub(crate) struct Events {
    builder: HistoryBuilder,
    actions: Vec<Action>,
}

impl Events {
    pub(crate) fn new() -> Events {
        Events { builder: HistoryBuilder::new(), actions: Vec::new() }
    }

    /// Gives back the operation's number.
    pub(crate) fn invoke(&mut self, action: Action) -> usize {
        let number = self.actions.len();
        self.actions.push(action);
        let (process, f, argument) = self.event(number);
        self.builder.invoke(process, f, 0, argument, 0).expect("each process does one operation");
        number
    }

    pub(crate) fn end(&mut self, number: usize, end: End) {
        let (process, f, argument) = self.event(number);
        let history = self.builder.history();
        let (ending, result, error) = match end {
            End::Ok => (Ending::Ok, argument, None),
            End::Found(value) => (Ending::Ok, history.values.number(Value::Int(value)), None),
            End::Mismatch => (Ending::Fail, argument, Some(history.errors.number("mismatch"))),
            End::Unavailable => (Ending::Fail, argument, Some(history.errors.number("unavailable"))),
            End::Unknown => (Ending::Unknown, argument, None),
        };
        self.builder.end(process, f, 0, ending, result, error, 0).expect("it is open");
    }

    /// An operation that overlaps no other.
    pub(crate) fn alone(&mut self, action: Action, end: End) {
        let number = self.invoke(action);
        self.end(number, end);
    }

    pub(crate) fn history(self) -> History {
        self.builder.finish()
    }

    fn event(&mut self, number: usize) -> (u32, u32, u32) {
        let history = self.builder.history();
        let (f, argument) = match self.actions[number] {
            Action::Read => ("read", Value::Null),
            Action::Write(new) => ("write", Value::Int(new)),
            Action::Cas(expected, new) => ("cas", Value::list([Value::Int(expected), Value::Int(new)])),
        };
        let process = history.processes.number(&number.to_string());
        (process, history.functions.number(f), history.values.number(argument))
    }
}

/// Prepares a history whose register holds 0 at the beginning.
pub(crate) fn prepared(history: &mut History) -> Register {
    let initial = history.values.number(Value::Int(0));
    prepare(history, 0..history.operations.len() as u32, initial).expect("all operations make sense")
}

/// Prepares a large history.
pub(crate) fn large(shape: &workload::Shape) -> (History, Register) {
    let made = workload::register(shape);
    let mut events = Events::new();
    let held = |value: workload::Held| value.unwrap_or(0);
    for (number, edge) in made.events {
        let operation = &made.operations[number];
        let end = match (edge, operation.ending, operation.action) {
            (workload::Edge::Invoke, _, action) => {
                events.invoke(match action {
                    workload::Action::Read => Action::Read,
                    workload::Action::Write(new) => Action::Write(new),
                    workload::Action::Cas(expected, new) => Action::Cas(held(expected), new),
                });
                continue;
            }
            (_, workload::Ending::Ok(found), workload::Action::Read) => End::Found(held(found)),
            (_, workload::Ending::Ok(_), _) => End::Ok,
            (_, workload::Ending::Mismatch, _) => End::Mismatch,
            (_, workload::Ending::Unknown, _) => End::Unknown,
        };
        events.end(number, end);
    }
    let mut history = events.history();
    let register = prepared(&mut history);
    (history, register)
}

/// How many histories a test draws: more than every day where somebody asks for them.
#[expect(clippy::disallowed_methods, reason = "how many tests to run is the business of whoever runs them")]
pub(crate) fn histories(every_day: u64) -> u64 {
    std::env::var("MCP_CHAOS_HISTORIES").map_or(every_day, |number| number.parse().expect("a whole number"))
}

/// Draws, one after another.
pub(crate) struct Draws {
    stream: Stream,
    n: u64,
}

impl Draws {
    pub(crate) fn new(seed: u64, name: &str) -> Draws {
        Draws { stream: Stream::new(seed, name, 0, 0), n: 0 }
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.n += 1;
        self.stream.between(self.n, 0, limit - 1)
    }

    pub(crate) fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    pub(crate) fn one_of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }
}

/// A random history of a few operations. Each takes effect on a real register at a random moment; then, with a
/// probability that the seed decides, outcomes are replaced, so that both verdicts are common.
pub(crate) fn small(seed: u64, operations: u64, is_unique: bool) -> History {
    struct Open {
        number: usize,
        action: Action,
        end: Option<End>,
    }
    let mut draws = Draws::new(seed, "small histories");
    let clients = 1 + draws.below(5);
    let size = 2 + draws.below(4);
    let corrupt_one_in = [1_000_000, 12, 4][draws.below(3) as usize];
    let cas_one_in = [1_000_000, 5, 2][draws.below(3) as usize];
    let may_mismatch = draws.one_in(2);
    let (mut register, mut begun) = (0, 0);
    let mut events = Events::new();
    let mut open: Vec<Open> = Vec::new();
    // Operations whose client gave up, and which may yet take effect.
    let mut stray: Vec<Action> = Vec::new();
    while begun < operations || !open.is_empty() {
        let choice = draws.below(4);
        if choice == 0 && !stray.is_empty() {
            let action = stray.swap_remove(draws.below(stray.len() as u64) as usize);
            take_effect(&mut register, action);
        } else if begun < operations && (open.is_empty() || choice < 2 && (open.len() as u64) < clients) {
            begun += 1;
            let new = if is_unique { 100 + begun as i64 } else { draws.below(size) as i64 };
            let action = if draws.one_in(cas_one_in) {
                let expected = if draws.one_in(3) { draws.below(size) as i64 } else { register };
                Action::Cas(expected, new)
            } else if draws.one_in(2) {
                Action::Read
            } else {
                Action::Write(new)
            };
            open.push(Open { number: events.invoke(action), action, end: None });
        } else if !open.is_empty() {
            let at = draws.below(open.len() as u64) as usize;
            let Open { action, end, .. } = &mut open[at];
            if end.is_none() {
                if let (Action::Cas(expected, _), false) = (*action, may_mismatch)
                    && expected != register
                {
                    *end = Some(End::Unavailable);
                    continue;
                }
                *end = Some(match draws.below(10) {
                    0 => End::Unavailable,
                    1 | 2 => {
                        stray.push(*action);
                        End::Unknown
                    }
                    _ => take_effect(&mut register, *action),
                });
                continue;
            }
            let Open { number, action, end } = open.swap_remove(at);
            let mut end = end.expect("just seen");
            if draws.one_in(corrupt_one_in) {
                end = match (action, end) {
                    (Action::Read, End::Found(value)) if is_unique && draws.one_in(2) => {
                        End::Found(value - 1 - draws.below(2) as i64)
                    }
                    (Action::Read, End::Found(_)) => End::Found(draws.below(size) as i64),
                    (Action::Cas(..), End::Ok) if may_mismatch => End::Mismatch,
                    (Action::Cas(..), End::Mismatch) | (Action::Write(_), End::Unknown) => End::Ok,
                    (_, End::Unknown) => End::Unavailable,
                    (_, end) => end,
                }
            }
            if end == End::Unknown && draws.one_in(3) {
                continue; // Never ends at all.
            }
            events.end(number, end);
        }
    }
    events.history()
}

fn take_effect(register: &mut i64, action: Action) -> End {
    match action {
        Action::Read => return End::Found(*register),
        Action::Write(new) => *register = new,
        Action::Cas(expected, new) if expected == *register => *register = new,
        Action::Cas(..) => return End::Mismatch,
    }
    End::Ok
}

/// Whether the first so many events of a history are linearizable, by trying every order.
pub(crate) fn brute_force(history: &History, events: u32) -> bool {
    struct Brute {
        operations: Vec<(Action, End, u32, u32)>,
        failed: std::collections::BTreeSet<(u64, i64)>,
    }
    impl Brute {
        fn explain(&mut self, done: u64, register: i64) -> bool {
            let is_done = |number: usize| done & 1 << number != 0;
            let left = self.operations.iter().enumerate().filter(|(number, _)| !is_done(*number));
            let Some(first_end) = left.map(|(_, operation)| operation.3).filter(|end| *end != NEVER).min()
            else {
                return true;
            };
            if self.failed.contains(&(done, register)) {
                return false;
            }
            for number in 0..self.operations.len() {
                let (action, end, invoked_at, _) = self.operations[number];
                if is_done(number) || invoked_at > first_end {
                    continue;
                }
                let mut after = register;
                let found = take_effect(&mut after, action);
                let fits = match (action, end) {
                    (Action::Cas(..), End::Unknown) => found == End::Ok,
                    (_, End::Unknown) => true,
                    _ => found == end,
                };
                if fits && self.explain(done | 1 << number, after) {
                    return true;
                }
            }
            self.failed.insert((done, register));
            false
        }
    }
    let int = |value: &Value| value.as_int().unwrap_or(0);
    let mut operations = Vec::new();
    for operation in history.operations.iter().filter(|operation| operation.invoked_at < events) {
        let argument = history.values.get(operation.argument);
        let action = match history.function(operation) {
            "read" => Action::Read,
            "write" => Action::Write(int(argument)),
            _ => {
                let pair = argument.as_list().expect("a cas has a pair");
                Action::Cas(int(&pair[0]), int(&pair[1]))
            }
        };
        let end = match (operation.ending, action) {
            (Ending::Ok, Action::Read) => End::Found(int(history.values.get(operation.result))),
            (Ending::Ok, _) => End::Ok,
            (Ending::Fail, _) if history.error(operation) == Some("mismatch") => End::Mismatch,
            (Ending::Fail, _) => continue,
            (Ending::Unknown, _) => End::Unknown,
        };
        let is_open = operation.completed_at >= events || end == End::Unknown;
        match (is_open, end) {
            (true, End::Mismatch | End::Found(_)) => {}
            (true, _) if action == Action::Read => {}
            (true, _) => operations.push((action, End::Unknown, operation.invoked_at, NEVER)),
            (false, _) => operations.push((action, end, operation.invoked_at, operation.completed_at)),
        }
    }
    Brute { operations, failed: Default::default() }.explain(0, 0)
}

/// How an answer compares with the brute force: panics if it is wrong.
pub(crate) fn confirm(
    history: &History,
    register: &Register,
    answer: crate::Answer,
    witness: Option<&[u32]>,
) {
    use super::prepare::Moment;
    use crate::Answer;
    let whole = brute_force(history, history.events);
    match answer {
        Answer::Linearizable => {
            assert!(whole, "no order explains this");
            if let Some(witness) = witness {
                verify(register, witness);
            }
        }
        Answer::Inexplicable { moment, is_first } => {
            assert!(!whole, "an order explains this");
            let Moment::Return(step) = register.moments[moment] else { panic!("invocations never fail") };
            let operation = register.steps[step as usize].operation;
            let position = history.operations[operation as usize].completed_at;
            assert!(!brute_force(history, position + 1), "the prefix up to {position} has an order");
            if is_first {
                assert!(brute_force(history, position), "the prefix before {position} has none already");
            }
        }
        _ => {}
    }
}

/// Whether the steps explain the history in this order: panics if they do not.
pub(crate) fn verify(register: &Register, witness: &[u32]) {
    use super::prepare::{Action, Moment};
    let mut at = vec![usize::MAX; register.steps.len()];
    let mut held = register.initial;
    for (number, step) in witness.iter().enumerate() {
        assert_eq!(at[*step as usize], usize::MAX, "step {step} takes effect once");
        at[*step as usize] = number;
        match register.steps[*step as usize].action {
            Action::Write { new } => held = new,
            Action::Read { value } => assert_eq!(held, value, "step {step} reads"),
            Action::Mismatch { expected } => assert_ne!(held, expected, "step {step} finds another value"),
            Action::Cas { expected, new } => {
                assert_eq!(held, expected, "step {step} compares");
                held = new;
            }
        }
    }
    // The last place among the steps that have completed so far.
    let mut completed = 0;
    for moment in &register.moments {
        match *moment {
            Moment::Invoke(step) => {
                assert!(at[step as usize] >= completed, "step {step} takes effect before one that ended");
            }
            Moment::Return(step) => {
                assert_ne!(at[step as usize], usize::MAX, "step {step} is required");
                completed = completed.max(at[step as usize] + 1);
            }
        }
    }
}
