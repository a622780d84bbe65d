//! Every engine that there is for a model.

use mcp_chaos_history::{Ending, History, NEVER, Outcome, RawEvent, Sort, Value};
use mcp_chaos_linearizability::{
    Answer, Call, DepthFirst, Engine, Frontier, Interned, Limits, Model, ModelOptions, Moment, Online,
    OnlineLimits, Progress, Source, Standing, Survivor, Unwatched, Verdict, Visitor, check_stream_model,
    prepare, register, with_model,
};

use crate::{object::Object, plain::Plain};

/// More than any small history needs.
const MEMORY_BYTES: u64 = 1 << 26;
/// Not enough for some: then there is no answer, but no wrong one either.
const LITTLE_BYTES: u64 = 9_000;

/// What an engine found.
#[derive(Clone, Debug)]
pub struct Found {
    pub engine: &'static str,
    pub answer: Answer,
    /// The position of the event at which it failed, if it did.
    pub failed_at: Option<usize>,
    /// How many events it says are explained.
    pub verified: usize,
    /// Operations in an order that is said to explain them.
    pub witness: Option<Vec<usize>>,
    /// What survived until the failure, by operations, if it was the first.
    pub survivors: Vec<Survivor>,
    pub steps: u64,
}

/// The options of the model that objects of this kind, beginning as this one, are judged by.
pub fn options<O: Object>(initial: &O, parted: Option<bool>) -> ModelOptions {
    ModelOptions {
        initial: initial.initial().as_ref().map(Value::from),
        missing: O::missing().as_ref().map(Value::from),
        parted,
    }
}

/// Lets every engine decide the history of these of its operations. `fuel` is what each gets at a time.
pub fn run_all(
    model: &str,
    options: &ModelOptions,
    history: &History,
    operations: &[u32],
    fuel: u64,
) -> Vec<Found> {
    let run = Run { history, operations, fuel };
    let mut found = with_model(model, options, run).expect("a known model");
    if matches!(model, "register" | "cas-register") {
        found.extend(run.register_engines(options.initial.clone().unwrap_or_default()));
    }
    found
}

/// What is wrong with what engines say survived until the first failure of a history.
pub fn refute_survivors(
    model: &str,
    options: &ModelOptions,
    history: &History,
    operations: &[u32],
    found: &[Found],
) -> Option<String> {
    with_model(model, options, Survivors { history, operations, found }).expect("a known model")
}

struct Survivors<'a> {
    history: &'a History,
    operations: &'a [u32],
    found: &'a [Found],
}

impl Visitor for Survivors<'_> {
    type Output = Option<String>;

    fn visit<M: Model + 'static>(self, model: M) -> Option<String> {
        let problem = prepare(self.history, self.operations.iter().copied(), &model).unwrap();
        let mut plain = Plain::new(&model, &problem);
        while plain.advance(1) == Progress::Running {}
        let mut told = self.found.iter().filter(|found| !found.survivors.is_empty());
        told.find_map(|found| {
            let is_exact = !found.engine.starts_with("register:");
            Some(format!("{}: {}", found.engine, plain.refute(&found.survivors, is_exact)?))
        })
    }
}

/// Lets the plainest engine alone decide it: whether it is linearizable.
pub fn is_linearizable(model: &str, options: &ModelOptions, history: &History) -> bool {
    with_model(model, options, PlainAlone(history)).expect("a known model")
}

struct PlainAlone<'a>(&'a History);

impl Visitor for PlainAlone<'_> {
    type Output = bool;

    fn visit<M: Model + 'static>(self, model: M) -> bool {
        let keys: Vec<Vec<u32>> = parts(self.0, model.by_key());
        keys.into_iter().all(|operations| {
            let problem = prepare(self.0, operations, &model).unwrap();
            let mut engine = Plain::new(&model, &problem);
            loop {
                if let Progress::Done(answer) = engine.advance(1) {
                    return answer == Answer::Linearizable;
                }
            }
        })
    }
}

/// The operations of each key, or all in one.
pub fn parts(history: &History, by_key: bool) -> Vec<Vec<u32>> {
    let count = if by_key { history.keys.len() } else { 1 };
    let mut parts = vec![Vec::new(); count];
    for (number, operation) in (0..).zip(&history.operations) {
        parts[if by_key { operation.key as usize } else { 0 }].push(number);
    }
    parts
}

#[derive(Clone, Copy)]
struct Run<'a> {
    history: &'a History,
    operations: &'a [u32],
    fuel: u64,
}

/// Engines for any model.
impl Visitor for Run<'_> {
    type Output = Vec<Found>;

    fn visit<M: Model + Clone + 'static>(self, model: M) -> Vec<Found> {
        let problem = prepare(self.history, self.operations.iter().copied(), &model).unwrap();
        let operation = |step: u32| problem.steps[step as usize].operation;
        let event = |moment: usize| match problem.moments[moment] {
            Moment::Invoke(step) => Event::Begin(operation(step)),
            Moment::Return(step) => Event::End(operation(step)),
        };
        let machine = || Interned::new(&model, &problem);
        let frontier = |memory_bytes, remember| Frontier::new(&problem, machine(), memory_bytes, remember);
        let depth_first = |memory_bytes| DepthFirst::new(&problem, machine(), memory_bytes);
        let [much, little] = [MEMORY_BYTES, LITTLE_BYTES];
        let mut found = vec![
            self.run("plain", &mut Plain::new(&model, &problem), much, event, operation),
            self.run("frontier", &mut frontier(much, true), much, event, operation),
            self.run("frontier, little memory", &mut frontier(little, false), little, event, operation),
            self.run("depth-first", &mut depth_first(much), much, event, operation),
            self.run("depth-first, little memory", &mut depth_first(little), little, event, operation),
        ];
        found.push(self.run_online(model.clone()));
        found.push(self.run_stream(model));
        found
    }
}

/// A history in memory, given event by event.
struct Replay<'a> {
    history: &'a History,
    events: Vec<(u32, bool)>,
    at: usize,
    per_turn: u64,
}

impl Source for Replay<'_> {
    fn next(&mut self, take: &mut dyn FnMut(RawEvent) -> Result<(), String>) -> Result<bool, String> {
        for _ in 0..self.per_turn {
            let Some((number, is_end)) = self.events.get(self.at).copied() else { return Ok(false) };
            self.at += 1;
            let history = self.history;
            let operation = &history.operations[number as usize];
            let answer = match history.outcome(operation) {
                Outcome::Ok(result) if is_end => result.clone(),
                _ if is_end => Value::Null,
                _ => history.values.get(operation.argument).clone(),
            };
            let error = history.error(operation).filter(|_| is_end && operation.ending == Ending::Fail);
            take(RawEvent {
                sort: if is_end { Sort::End(operation.ending) } else { Sort::Invoke },
                nemesis: false,
                process: history.processes.get(operation.process).into(),
                f: history.function(operation).into(),
                key: history.key(operation).into(),
                value: answer,
                error: error.map(Into::into),
                time_ns: None,
            })?;
        }
        Ok(true)
    }
}

/// An operation's begin or end.
enum Event {
    Begin(u32),
    End(u32),
}

impl Run<'_> {
    /// The check that takes events as they come.
    fn run_online<M: Model + Clone>(&self, model: M) -> Found {
        let mut online = Online::new(model, OnlineLimits::default());
        for (number, is_end) in self.events() {
            let operation = &self.history.operations[number as usize];
            let call = Call::of(self.history, operation);
            if is_end {
                online.end(operation.process, call.outcome).unwrap();
            } else {
                online.invoke(operation.process, call.f, call.key, call.argument).unwrap();
            }
            online.advance(self.fuel);
        }
        online.finish();
        while online.advance(self.fuel) == Standing::Running {}
        assert!(online.doubts().is_empty(), "{:?}", online.doubts());
        let violated = online.violation().map(|violation| self.operations[violation.operation as usize]);
        let failed_at = violated.map(|number| self.history.operations[number as usize].completed_at as usize);
        Found {
            engine: "online",
            answer: match failed_at {
                // It counts no moments.
                Some(_) => Answer::Inexplicable { moment: 0, is_first: true },
                None => Answer::Linearizable,
            },
            failed_at,
            verified: failed_at.unwrap_or(0),
            witness: None,
            survivors: Vec::new(),
            steps: online.steps(),
        }
    }

    /// The events of its operations: whose, and whether it is the end.
    fn events(&self) -> Vec<(u32, bool)> {
        let mut events: Vec<(u32, u32, bool)> = Vec::new();
        for number in self.operations {
            let operation = &self.history.operations[*number as usize];
            events.push((operation.invoked_at, *number, false));
            if operation.completed_at != NEVER {
                events.push((operation.completed_at, *number, true));
            }
        }
        events.sort_unstable();
        events.into_iter().map(|(_, number, is_end)| (number, is_end)).collect()
    }

    /// The check of a history that is read once.
    fn run_stream<M: Model + Clone>(&self, model: M) -> Found {
        let mut source =
            Replay { history: self.history, events: self.events(), at: 0, per_turn: 1 + self.fuel % 7 };
        let limits = Limits::default();
        let answer = check_stream_model(&mut source, "random", model, &limits, &Unwatched).unwrap();
        let failure = answer.report.failure.as_ref();
        let failed_at = failure.map(|failure| {
            assert!(failure.is_first && !failure.configurations.is_empty());
            let number = self.operations[failure.operation.number as usize];
            assert!(failure.operation.operation.invoked_at <= failure.operation.operation.completed_at);
            self.history.operations[number as usize].completed_at as usize
        });
        assert_eq!(
            failed_at.is_some(),
            answer.report.verdict == Verdict::Invalid,
            "{}",
            answer.report.reason
        );
        let verified = answer.report.verified.map_or(0, |verified| verified.events as usize);
        Found {
            engine: "stream",
            answer: match answer.report.verdict {
                Verdict::Invalid => Answer::Inexplicable { moment: 0, is_first: true },
                Verdict::Valid => Answer::Linearizable,
                Verdict::Unknown => {
                    assert!(self.operations.is_empty(), "{}", answer.report.reason);
                    Answer::Linearizable
                }
            },
            failed_at,
            // Positions are those among the key's own events.
            verified: failed_at.filter(|_| verified > 0).unwrap_or(0),
            witness: None,
            survivors: Vec::new(),
            steps: answer.report.steps,
        }
    }

    /// Engines made for registers.
    fn register_engines(&self, initial: Value) -> Vec<Found> {
        let mut history = self.history.clone();
        let initial = history.values.number(initial);
        let register =
            register::prepare::prepare(&history, self.operations.iter().copied(), initial).unwrap();
        let operation = |step: u32| register.steps[step as usize].operation;
        let event = |moment: usize| match register.moments[moment] {
            register::prepare::Moment::Invoke(step) => Event::Begin(operation(step)),
            register::prepare::Moment::Return(step) => Event::End(operation(step)),
        };
        let frontier = |memory_bytes| register::Frontier::new(&register, &history, memory_bytes);
        let zones = |memory_bytes| register::ZoneSearch::new(&register, &history, memory_bytes);
        let depth_first = |memory_bytes| register::DepthFirst::new(&register, memory_bytes);
        let [much, little] = [MEMORY_BYTES, LITTLE_BYTES];
        vec![
            self.run("register: frontier", &mut frontier(much), much, event, operation),
            self.run("register: frontier, little memory", &mut frontier(little), little, event, operation),
            self.run("register: zones", &mut zones(much), much, event, operation),
            self.run("register: zones, little memory", &mut zones(little), little, event, operation),
            self.run("register: depth-first", &mut depth_first(much), much, event, operation),
            self.run(
                "register: depth-first, little memory",
                &mut depth_first(little),
                little,
                event,
                operation,
            ),
        ]
    }

    /// Runs an engine to its end; `event` gives a moment's event, `operation` a step's operation.
    fn run(
        &self,
        name: &'static str,
        engine: &mut dyn Engine,
        memory_bytes: u64,
        event: impl Fn(usize) -> Event,
        operation: impl Fn(u32) -> u32,
    ) -> Found {
        let answer = loop {
            if let Progress::Done(answer) = engine.advance(self.fuel) {
                break answer;
            }
            assert!(engine.steps() < 10_000_000, "{name} does not come to an end");
            // A tenth more, and what the smallest tables take.
            let most_bytes = memory_bytes + memory_bytes / 10 + 4_096;
            assert!(engine.bytes() <= most_bytes, "{name} holds {} bytes", engine.bytes());
        };
        let at = |moment: usize| match event(moment) {
            Event::Begin(number) => self.history.operations[number as usize].invoked_at as usize,
            Event::End(number) => self.history.operations[number as usize].completed_at as usize,
        };
        Found {
            engine: name,
            answer,
            failed_at: match answer {
                Answer::Inexplicable { moment, .. } => Some(at(moment)),
                _ => None,
            },
            verified: engine.verified().checked_sub(1).map_or(0, |last| at(last) + 1),
            witness: engine
                .witness()
                .map(|steps| steps.into_iter().map(|step| operation(step) as usize).collect()),
            survivors: match answer {
                Answer::Inexplicable { is_first: true, .. } => engine
                    .survivors()
                    .into_iter()
                    .map(|survivor| Survivor {
                        done: survivor.done.into_iter().map(&operation).collect(),
                        set_by: survivor.set_by.map(&operation),
                        ..survivor
                    })
                    .collect(),
                _ => Vec::new(),
            },
            steps: engine.steps(),
        }
    }
}
