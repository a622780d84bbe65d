//! Random histories of a few operations.

use std::fmt::Write;

use mcp_chaos_history::{Ending, History, HistoryBuilder, Value};
use serde_json::Value as Json;

use crate::{
    draws::Draws,
    object::{Object, Reply, Values},
};

/// An operation and what became of it.
#[derive(Clone, Debug)]
pub struct Done<Op> {
    pub op: Op,
    /// The position of its invocation among the events.
    pub begin: usize,
    /// The position of its end, if it has one.
    pub end: Option<usize>,
    /// How it ended; none: nobody knows.
    pub told: Option<Reply>,
}

/// What is known of how an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It took effect, or observed something, before its end.
    Binding,
    /// It may take effect at any time, or never.
    Open,
    /// It never took effect, and saw nothing.
    Out,
}

/// A history, and how its object began.
#[derive(Clone, Debug)]
pub struct Recorded<O: Object> {
    pub initial: O,
    /// In the order of their invocations.
    pub operations: Vec<Done<O::Op>>,
}

/// How large random histories are.
#[derive(Clone, Copy)]
pub struct Size {
    pub operations: (u64, u64),
    pub clients: u64,
}

impl<O: Object> Recorded<O> {
    pub fn standing(operation: &Done<O::Op>) -> Standing {
        match &operation.told {
            None => Standing::Open,
            Some(Reply::Ok(_)) => Standing::Binding,
            Some(Reply::Refused(error)) if O::observations(&operation.op).contains(error) => {
                Standing::Binding
            }
            Some(Reply::Refused(_)) => Standing::Out,
        }
    }

    /// A random history. Each operation takes effect on a real object at a random moment; then, with a
    /// probability that the seed decides, outcomes are replaced by others, so that valid and invalid histories
    /// are both common.
    pub fn random(seed: u64, size: Size) -> Recorded<O> {
        struct Open<Op> {
            number: usize,
            op: Op,
            reply: Option<Option<Reply>>,
        }
        let mut values = Values::new(Draws::new(seed, O::MODEL));
        let (low, high) = size.operations;
        let operations = low + values.draws.below(high - low + 1);
        let clients = 1 + values.draws.below(size.clients);
        let corrupt_one_in = [1_000_000, 5, 2][values.draws.below(3) as usize];
        let initial = O::begin(&mut values);
        let mut object = initial.clone();
        let mut done: Vec<Done<O::Op>> = Vec::new();
        let mut open: Vec<Open<O::Op>> = Vec::new();
        // Operations whose client gave up, and which may yet take effect.
        let mut stray: Vec<O::Op> = Vec::new();
        let mut at = 0;
        while (done.len() as u64) < operations || !open.is_empty() {
            let choice = values.draws.below(4);
            let begun = done.len() as u64;
            if choice == 0 && !stray.is_empty() {
                let op = stray.swap_remove(values.draws.below(stray.len() as u64) as usize);
                object = object.perform(&op, &mut values.draws).0;
            } else if begun < operations && (open.is_empty() || choice < 2 && (open.len() as u64) < clients) {
                let op = object.ask(&mut values);
                open.push(Open { number: done.len(), op: op.clone(), reply: None });
                done.push(Done { op, begin: at, end: None, told: None });
                at += 1;
            } else if !open.is_empty() {
                let chosen = values.draws.below(open.len() as u64) as usize;
                let Open { op, reply, .. } = &mut open[chosen];
                let Some(reply) = reply else {
                    *reply = Some(match values.draws.below(10) {
                        // Fails without effect.
                        0 => Some(failure::<O>(op, &mut values.draws)),
                        // Unknown; takes effect now, later or never.
                        1 | 2 => {
                            stray.push(op.clone());
                            None
                        }
                        _ => {
                            let (after, full) = object.perform(op, &mut values.draws);
                            object = after;
                            Some(O::retold(op, full, &mut values.draws))
                        }
                    });
                    continue;
                };
                let mut told = reply.clone();
                if values.draws.one_in(corrupt_one_in) {
                    told = match values.draws.below(4) {
                        0 => Some(failure::<O>(op, &mut values.draws)),
                        _ => Some(O::any_reply(op, &mut values)),
                    };
                }
                let ended = open.swap_remove(chosen);
                let done = &mut done[ended.number];
                if told.is_some() || !values.draws.one_in(3) {
                    done.end = Some(at);
                    done.told = told;
                    at += 1;
                }
            }
        }
        Recorded { initial, operations: done }
    }

    /// The history as a checker gets it. Each operation has a client of its own.
    pub fn history(&self) -> History {
        self.history_with(|number| number as u32, Json::clone)
    }

    /// The same, where one function says which client invokes an operation, and one what becomes of values.
    pub fn history_with(&self, process: impl Fn(usize) -> u32, value: impl Fn(&Json) -> Json) -> History {
        let mut builder = HistoryBuilder::new();
        for (_, number, is_end) in self.events() {
            let done = &self.operations[number];
            let asked = O::asked(&done.op);
            let name = format!("c{}", process(number));
            let history = builder.history();
            let [f, key] = [history.functions.number(asked.f), history.keys.number(asked.key)];
            let process = history.processes.number(&name);
            let paired = if !is_end {
                let argument = history.values.number(Value::from(&value(&asked.argument)));
                builder.invoke(process, f, key, argument, 0)
            } else {
                let mut result = 0;
                let mut error = None;
                let ending = match &done.told {
                    Some(Reply::Ok(answer)) => {
                        result = history.values.number(Value::from(&value(answer)));
                        Ending::Ok
                    }
                    Some(Reply::Refused(word)) => {
                        error = Some(history.errors.number(word));
                        Ending::Fail
                    }
                    None => Ending::Unknown,
                };
                builder.end(process, f, key, ending, result, error, 0)
            };
            paired.expect("a sound history");
        }
        builder.finish()
    }

    /// Position, operation, whether it ends; in order. Positions may have gaps.
    fn events(&self) -> Vec<(usize, usize, bool)> {
        let mut events: Vec<(usize, usize, bool)> = Vec::new();
        for (number, done) in self.operations.iter().enumerate() {
            events.push((done.begin, number, false));
            events.extend(done.end.map(|end| (end, number, true)));
        }
        events.sort_unstable();
        events
    }

    /// Numbers the events anew, without gaps, in the order of their positions.
    pub fn renumber(&mut self) {
        for (at, (_, number, is_end)) in self.events().into_iter().enumerate() {
            let done = &mut self.operations[number];
            if is_end {
                done.end = Some(at);
            } else {
                done.begin = at;
            }
        }
        self.operations.sort_by_key(|done| done.begin);
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!("{} from {:?}\n", O::MODEL, self.initial);
        for (at, number, is_end) in self.events() {
            let done = &self.operations[number];
            let asked = O::asked(&done.op);
            let end = if is_end { format!("-> {:?}", done.told) } else { String::new() };
            writeln!(text, "{at}: {number} {} {} {} {end}", asked.f, asked.key, asked.argument).unwrap();
        }
        text
    }
}

/// A failure that says nothing, though it may look like one that does.
fn failure<O: Object>(op: &O::Op, draws: &mut Draws) -> Reply {
    let errors = ["unavailable", "mismatch", "empty", "held", "not-found", "not_found"];
    let observations = O::observations(op);
    let plain: Vec<&'static str> = errors.into_iter().filter(|error| !observations.contains(error)).collect();
    Reply::Refused(plain[draws.below(plain.len() as u64) as usize])
}
