//! Histories of a register for measurements: some number of operations always in flight, some of them of unknown
//! outcome, and on demand one stale read.

#![allow(dead_code, reason = "examples and benches include this file, and not all use all of it")]

use std::collections::BTreeMap;

use mcp_chaos_evidence::rng::Stream;

/// What a history is to be like.
#[derive(Clone, Debug)]
pub struct Shape {
    /// How many operations, those of unknown outcome included.
    pub operations: usize,
    /// How many clients: each invokes its next operation as soon as its last has ended.
    pub clients: usize,
    /// From how many values operations choose; none: each mutation has a value of its own.
    pub values: Option<i64>,
    /// How many operations, spread evenly, end unknown. A third of them take effect in time, a third at a random
    /// later time, a third never.
    pub unknown: usize,
    /// Whether one read near the end finds a value overwritten long before.
    pub stale: bool,
    /// The share of compare-and-sets, in percent. Of the others half are reads, half are writes.
    pub cas_percent: u64,
    /// Whether compare-and-sets may fail: about half of them do.
    pub mismatch: bool,
    /// Another seed, another history.
    pub seed: u64,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape {
            operations: 10_000,
            clients: 10,
            values: None,
            unknown: 0,
            stale: false,
            cas_percent: 20,
            mismatch: true,
            seed: 1,
        }
    }
}

/// What the register holds; none is null, with which it starts.
pub type Held = Option<i64>;

/// What an operation does.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    Read,
    Write(i64),
    Cas(Held, i64),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With what it read, if it is a read.
    Ok(Held),
    /// A compare-and-set found another value.
    Mismatch,
    Unknown,
}

/// An operation, with the positions of its events.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    pub process: usize,
    pub action: Action,
    pub ending: Ending,
    pub invoked_at: usize,
    /// None: it never ended.
    pub completed_at: Option<usize>,
}

impl Operation {
    /// The value that it leaves behind, if it takes effect.
    fn produces(&self) -> Option<i64> {
        match (self.action, self.ending) {
            (_, Ending::Mismatch) | (Action::Read, _) => None,
            (Action::Write(new) | Action::Cas(_, new), _) => Some(new),
        }
    }

    fn is_ok(&self) -> bool {
        matches!(self.ending, Ending::Ok(_))
    }
}

/// An event: an operation's number, and whether it begins or ends there.
pub type Event = (usize, Edge);

/// Which end of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    Invoke,
    Complete,
}

/// The value that the stale read finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    /// It was there once and certainly is no more: no order explains the history.
    Overwritten,
    /// The history is too short or too narrow for that: a value that nobody ever wrote.
    NeverWritten,
}

/// A generated history.
#[derive(Debug)]
pub struct Workload {
    /// In the order of their invocations.
    pub operations: Vec<Operation>,
    pub events: Vec<Event>,
    /// The stale read's number and what it finds.
    pub stale: Option<(usize, Stale)>,
}

/// A client's operation in flight.
#[derive(Clone, Copy)]
struct Flight {
    operation: usize,
    took_effect: bool,
}

struct Generator<'a> {
    shape: &'a Shape,
    stream: Stream,
    drawn: u64,
    register: Held,
    operations: Vec<Operation>,
    events: Vec<Event>,
    /// Operations of unknown outcome that take effect when so many have been invoked.
    late: BTreeMap<usize, Vec<usize>>,
    /// The next number whose operation ends unknown, and how many did before.
    unknown: (usize, usize),
}

/// Makes a history.
pub fn register(shape: &Shape) -> Workload {
    let mut generator = Generator {
        shape,
        stream: Stream::new(shape.seed, "register history", 0, 0),
        drawn: 0,
        register: None,
        operations: Vec::with_capacity(shape.operations),
        events: Vec::with_capacity(shape.operations * 2),
        late: BTreeMap::new(),
        unknown: (usize::MAX, 0),
    };
    generator.choose_unknown();
    generator.run();
    let Generator { mut operations, events, .. } = generator;
    let stale = if shape.stale { plant_stale_read(shape, &mut operations) } else { None };
    Workload { operations, events, stale }
}

impl Generator<'_> {
    fn below(&mut self, limit: u64) -> u64 {
        self.drawn += 1;
        self.stream.between(self.drawn, 0, limit - 1)
    }

    fn run(&mut self) {
        let clients = self.shape.clients;
        let mut processes: Vec<usize> = (0..clients).collect();
        let mut flights: Vec<Option<Flight>> = vec![None; clients];
        for client in 0..clients {
            flights[client] = self.invoke(processes[client]);
        }
        let mut flying = flights.iter().flatten().count();
        while flying > 0 {
            let client = self.below(clients as u64) as usize;
            let Some(flight) = &mut flights[client] else { continue };
            let number = flight.operation;
            let is_unknown = self.operations[number].ending == Ending::Unknown;
            if !flight.took_effect {
                flight.took_effect = true;
                if is_unknown {
                    self.decide_fate(number);
                } else {
                    self.take_effect(number);
                }
                continue;
            }
            if !is_unknown || self.below(2) == 0 {
                self.operations[number].completed_at = Some(self.events.len());
                self.events.push((number, Edge::Complete));
            }
            if is_unknown {
                processes[client] += 1000.max(clients);
            }
            flights[client] = self.invoke(processes[client]);
            flying -= usize::from(flights[client].is_none());
        }
    }

    /// Begins the next operation, if there is one.
    fn invoke(&mut self, process: usize) -> Option<Flight> {
        let number = self.operations.len();
        if number == self.shape.operations {
            return None;
        }
        for operation in self.late.remove(&number).unwrap_or_default() {
            self.take_effect(operation);
        }
        let is_unknown = number == self.unknown.0;
        let action = loop {
            let action = self.action(number, is_unknown);
            // What a read that timed out would have found nobody knows: it is nothing to a checker.
            if !(is_unknown && matches!(action, Action::Read)) {
                break action;
            }
        };
        let ending = if is_unknown { Ending::Unknown } else { Ending::Ok(None) };
        if is_unknown {
            self.choose_unknown();
        }
        self.operations.push(Operation {
            process,
            action,
            ending,
            invoked_at: self.events.len(),
            completed_at: None,
        });
        self.events.push((number, Edge::Invoke));
        Some(Flight { operation: number, took_effect: false })
    }

    fn action(&mut self, number: usize, is_unknown: bool) -> Action {
        if self.below(100) < self.shape.cas_percent {
            Action::Cas(self.register, self.value(number, is_unknown))
        } else if self.below(2) == 0 {
            Action::Read
        } else {
            Action::Write(self.value(number, is_unknown))
        }
    }

    /// A value for this mutation. That of a stale read is kept free of what could explain it: neither an
    /// operation of unknown outcome writes it, nor any operation right before the read.
    fn value(&mut self, number: usize, is_unknown: bool) -> i64 {
        let Some(values) = self.shape.values else { return number as i64 + 1 };
        let keep_free = self.shape.stale && (is_unknown || window(self.shape).contains(&number));
        let choice = values - i64::from(keep_free && values > 1);
        1 + self.below(choice as u64) as i64
    }

    /// The operation takes effect now, if it can.
    fn take_effect(&mut self, number: usize) {
        let register = self.register;
        // Of the others some find by chance what they expect.
        let hits = !self.shape.mismatch || self.below(3) == 0;
        let operation = &mut self.operations[number];
        if let (Action::Cas(expected, _), true) = (&mut operation.action, hits) {
            *expected = register;
        }
        match operation.action {
            Action::Read => operation.ending = Ending::Ok(register),
            Action::Write(new) => self.register = Some(new),
            Action::Cas(expected, new) if expected == register => self.register = Some(new),
            Action::Cas(..) if operation.ending != Ending::Unknown => operation.ending = Ending::Mismatch,
            Action::Cas(..) => {}
        }
    }

    /// When an operation of unknown outcome takes effect: now, later, or never.
    fn decide_fate(&mut self, number: usize) {
        let (begun, all) = (self.operations.len(), self.shape.operations);
        match self.below(3) {
            0 => self.take_effect(number),
            1 if begun < all => {
                let at = begun + self.below((all - begun) as u64) as usize;
                self.late.entry(at).or_default().push(number);
            }
            _ => {}
        }
    }

    /// Chooses the next operation that ends unknown: one in each of so many equal parts of the history.
    fn choose_unknown(&mut self) {
        let (all, wanted, before) = (self.shape.operations, self.shape.unknown, self.unknown.1);
        self.unknown = if before == wanted {
            (usize::MAX, before)
        } else {
            let (from, to) = (before * all / wanted, (before + 1) * all / wanted);
            (from + self.below((to - from) as u64) as usize, before + 1)
        };
    }
}

/// The operations among which the stale read is.
fn window(shape: &Shape) -> std::ops::Range<usize> {
    let from = shape.operations * 9 / 10;
    from..from + 10 * shape.clients
}

/// Makes one read near the end find what was overwritten long before; else what nobody ever wrote.
fn plant_stale_read(shape: &Shape, operations: &mut [Operation]) -> Option<(usize, Stale)> {
    let end = window(shape).end.min(operations.len());
    let value = match shape.values {
        Some(values) => Some(values),
        None => operations.iter().filter(|operation| operation.is_ok()).find_map(Operation::produces),
    };
    let reads = || {
        (0..end)
            .rev()
            .filter(|&number| operations[number].is_ok() && matches!(operations[number].action, Action::Read))
    };
    let overwritten = value.and_then(|value| {
        let read = reads().take(10 * shape.clients).find(|&read| is_overwritten(operations, value, read))?;
        Some((read, value, Stale::Overwritten))
    });
    let never_written = shape.values.unwrap_or(shape.operations as i64) + 1;
    let (read, value, stale) =
        overwritten.or_else(|| Some((reads().next()?, never_written, Stale::NeverWritten)))?;
    operations[read].ending = Ending::Ok(Some(value));
    Some((read, stale))
}

/// Whether the register certainly does not hold the value while the read is open: each operation that could have
/// set it ended before some certain mutation to another value began, and that one ended before the read began.
fn is_overwritten(operations: &[Operation], value: i64, read: usize) -> bool {
    let Operation { invoked_at: begins, completed_at: Some(ends), .. } = operations[read] else {
        return false;
    };
    let last_overwrite = operations
        .iter()
        .filter(|operation| operation.is_ok() && operation.completed_at.is_some_and(|at| at < begins))
        .filter(|operation| operation.produces().is_some_and(|produced| produced != value))
        .map(|operation| operation.invoked_at)
        .max();
    let Some(last_overwrite) = last_overwrite else { return false };
    operations
        .iter()
        .take_while(|operation| operation.invoked_at < ends)
        .filter(|operation| operation.produces() == Some(value))
        .all(|operation| operation.is_ok() && operation.completed_at.is_some_and(|at| at < last_overwrite))
}
