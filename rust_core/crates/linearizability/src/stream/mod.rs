//! A check of a history that is read once, from its beginning to its end, and not kept: one larger than memory, or
//! of a system that still runs. [`crate::Online`] judges; here events are paired, what a violation's words need is
//! remembered, and the answer is given in the form that a history in memory gets.

mod told;

use std::{any::Any, collections::BTreeMap};

use mcp_chaos_history::{Ending, FaultBand, Map, Outcome, RawEvent, Sort, Value};

use self::told::{Tale, Told};
use crate::{
    explain::{self, Failed, Possible},
    limits::{Limits, Stop, StreamProgress, Watch},
    machine::table_bytes,
    model::{Model, observes},
    models::{self, ModelOptions, Visitor},
    online::{Doubt, Online, OnlineLimits, OnlineViolation, Standing},
    report::{Report, StreamDoubt, StreamReport, Verdict, Verified},
};

/// Where a stream's events come from.
pub trait Source {
    /// Gives the next events, some or none, to `take`, in their order; whose error says why one makes no sense.
    /// False if there will be no more.
    ///
    /// # Errors
    /// What cannot be read, or was refused, and where: in words.
    fn next(&mut self, take: &mut dyn FnMut(RawEvent) -> Result<(), String>) -> Result<bool, String>;

    /// Times in which faults were in force, as far as the source knows by now.
    fn faults(&self) -> Vec<FaultBand> {
        Vec::new()
    }
}

/// Decides whether a history that is read once is linearizable under the model of this name. It ends with the first
/// violation. What does not fit into the limits is given up key by key, and the others go on.
///
/// # Errors
/// There is no such model, or the source's first event that makes no sense: in words.
pub fn check_stream(
    source: &mut dyn Source,
    model: &str,
    options: &ModelOptions,
    limits: &Limits,
    watch: &dyn Watch,
) -> Result<StreamReport, String> {
    struct Run<'a> {
        source: &'a mut dyn Source,
        name: &'a str,
        limits: &'a Limits,
        watch: &'a dyn Watch,
    }
    impl Visitor for Run<'_> {
        type Output = Result<StreamReport, String>;
        fn visit<M: Model + Clone + 'static>(self, model: M) -> Result<StreamReport, String> {
            let register = (&model as &dyn Any).downcast_ref::<models::Register>();
            let register = register.map(|register| register.initial.clone());
            Check::new(self.name, model, register, *self.limits, self.watch).run(self.source)
        }
    }
    let run = Run { source, name: model, limits, watch };
    models::with_model(model, options, run).map_err(|error| error.to_string())?
}

/// As [`check_stream`], under a model of the caller's own.
///
/// # Errors
/// As [`check_stream`].
pub fn check_stream_model<M: Model + Clone>(
    source: &mut dyn Source,
    name: &str,
    model: M,
    limits: &Limits,
    watch: &dyn Watch,
) -> Result<StreamReport, String> {
    Check::new(name, model, None, *limits, watch).run(source)
}

/// Events between two turns of the search: enough that a turn is worth its while, few enough to wait in memory.
const EVENTS_PER_TURN: u64 = 1024;

/// The most memory for what operations did, in bytes.
const MOST_TOLD_BYTES: u64 = 16 << 20;

/// The most doubts that a report lists.
const LISTED: usize = 32;

/// Positions of events are kept in 32 bits.
const MOST_EVENTS: u64 = u32::MAX as u64;

/// What ended a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Violated,
    Steps,
    /// Every key is given up, and there can be no other.
    Memory,
    /// There are no more numbers for events.
    Events,
    Stopped(Stop),
}

impl End {
    fn name(self) -> Option<&'static str> {
        Some(match self {
            End::Violated => return None,
            End::Steps => "steps",
            End::Memory => "memory",
            End::Events => "events",
            End::Stopped(Stop::Time) => "time",
            End::Stopped(Stop::Cancelled) => "cancelled",
        })
    }

    fn in_words(self) -> &'static str {
        match self {
            End::Violated => "a violation",
            End::Steps => "out of steps",
            End::Memory => "out of memory",
            End::Events => "out of numbers for events: a stream has fewer than 2^32",
            End::Stopped(Stop::Time) => "out of time",
            End::Stopped(Stop::Cancelled) => "cancelled",
        }
    }
}

/// A process's operation.
#[derive(Clone, Copy, Debug)]
struct Open {
    operation: u32,
    f: u32,
}

/// One check under way.
struct Check<'a, M: Model + Clone> {
    model: M,
    name: &'a str,
    /// What a register holds at the beginning.
    register: Option<Value>,
    by_key: bool,
    online: Online<M>,
    limits: Limits,
    watch: &'a dyn Watch,
    told: Told,
    open: Map<Box<str>, Open>,
    events: u64,
    latest_ns: u64,
    has_keys: bool,
    peak_bytes: u64,
    /// When each of the doubts arose.
    doubt_times_ns: Vec<u64>,
    end: Option<End>,
}

impl<'a, M: Model + Clone> Check<'a, M> {
    fn new(name: &'a str, model: M, register: Option<Value>, limits: Limits, watch: &'a dyn Watch) -> Self {
        let told_bytes = MOST_TOLD_BYTES.min(limits.memory_bytes / 8);
        let online =
            OnlineLimits { memory_bytes: limits.memory_bytes - told_bytes, ..OnlineLimits::default() };
        Check {
            name,
            register,
            by_key: model.by_key(),
            online: Online::new(model.clone(), online),
            model,
            limits,
            watch,
            told: Told::new(told_bytes),
            open: Map::default(),
            events: 0,
            latest_ns: 0,
            has_keys: false,
            peak_bytes: 0,
            doubt_times_ns: Vec::new(),
            end: None,
        }
    }

    fn run(mut self, source: &mut dyn Source) -> Result<StreamReport, String> {
        loop {
            let mut take = |event: RawEvent| self.take(event);
            let more = source.next(&mut take);
            // What ended the check also ended the reading, and is no fault of the history.
            if self.end.is_some() {
                break;
            }
            let more = match more {
                Ok(more) => more,
                // A violation before it is one however the text was cut.
                Err(why) => {
                    self.judge();
                    if self.end == Some(End::Violated) {
                        break;
                    }
                    return Err(why);
                }
            };
            if !more {
                self.online.finish();
                self.judge();
                break;
            }
            self.judge();
            if self.end.is_some() {
                break;
            }
        }
        Ok(self.report(source))
    }

    /// Takes the next event, and judges now and then. An error is either the event's, or `end` says what it is.
    fn take(&mut self, event: RawEvent) -> Result<(), String> {
        if self.events == MOST_EVENTS {
            self.end = Some(End::Events);
            return Err(String::new());
        }
        let time_ns = event.time_ns.unwrap_or(self.events);
        match event.sort {
            Sort::Invoke => self.invoke(&event, time_ns)?,
            Sort::End(ending) => self.ended(&event, ending, time_ns)?,
        }
        self.latest_ns = self.latest_ns.max(time_ns);
        self.events += 1;
        if self.events.is_multiple_of(EVENTS_PER_TURN) {
            self.judge();
            if self.end.is_some() {
                return Err(String::new());
            }
        }
        Ok(())
    }

    fn invoke(&mut self, event: &RawEvent, time_ns: u64) -> Result<(), String> {
        if self.open.contains_key(&*event.process) {
            return Err(format!(
                "process {} invokes an operation while its last has not ended (a process has one operation at a \
                 time, and a new number after an info)",
                event.process
            ));
        }
        // An operation's number serves as that of its process: it is the only one of its time.
        let number = self.told.next_number();
        let operation = self.online.invoke(number, &event.f, &event.key, &event.value)?;
        debug_assert_eq!(operation, number);
        let f = self.told.function(&event.f);
        self.has_keys |= !event.key.is_empty();
        self.told.begin(Tale {
            process: event.process.as_ref().into(),
            f,
            key: event.key.as_ref().into(),
            argument: event.value.clone(),
            invoked_at: self.events as u32,
            invoked_ns: time_ns,
            end: None,
        });
        self.open.insert(event.process.as_ref().into(), Open { operation, f });
        if self.told.is_full() {
            self.told.forget_all_but(&self.online.operations_at_stake());
        }
        Ok(())
    }

    fn ended(&mut self, event: &RawEvent, ending: Ending, time_ns: u64) -> Result<(), String> {
        let process = &*event.process;
        let Some(Open { operation, f }) = self.open.remove(process) else {
            return Err(format!("process {process} ends an operation that it never invoked"));
        };
        if self.told.key(operation) != &*event.key || !self.told.is_function(f, &event.f) {
            return Err(format!("process {process} ends another operation than the one it invoked"));
        }
        let outcome = match ending {
            Ending::Ok => Outcome::Ok(&event.value),
            Ending::Fail => Outcome::Fail(event.error.as_deref()),
            Ending::Unknown => Outcome::Unknown,
        };
        self.online.end(operation, outcome)?;
        let result = if ending == Ending::Ok { event.value.clone() } else { Value::Null };
        self.told.end(operation, ending, result, event.error.as_deref(), self.events as u32, time_ns);
        Ok(())
    }

    /// Judges what can be judged yet.
    fn judge(&mut self) {
        while self.end.is_none() {
            let left = self.limits.steps.saturating_sub(self.online.steps());
            if left == 0 {
                self.end = Some(End::Steps);
                return;
            }
            let standing = self.online.advance(self.watch.stride().clamp(1, left));
            for doubt in &self.online.doubts()[self.doubt_times_ns.len()..] {
                self.doubt_times_ns.push(self.time_ns(doubt.operation, doubt.since_event));
            }
            let held_bytes = self.bytes();
            self.peak_bytes = self.peak_bytes.max(held_bytes);
            let operations = u64::from(self.told.next_number());
            let keys = self.online.keys() as u64;
            self.watch.progress(&StreamProgress { events: self.events, operations, keys, held_bytes });
            if standing == Standing::Violated {
                self.end = Some(End::Violated);
            } else if let Some(stop) = self.watch.stop() {
                self.end = Some(End::Stopped(stop));
            } else if standing == Standing::UpToDate {
                let is_all = self.online.keys() > 0 && self.online.keys_given_up() == self.online.keys();
                let is_full = held_bytes > self.limits.memory_bytes;
                if is_full || is_all && !(self.by_key && self.has_keys) {
                    self.end = Some(End::Memory);
                }
                return;
            }
        }
    }

    fn bytes(&self) -> u64 {
        let entry = size_of::<(Box<str>, Open)>();
        let times = self.doubt_times_ns.capacity() * size_of::<u64>();
        self.online.bytes() + self.told.bytes() + table_bytes(self.open.capacity(), entry) + times as u64
    }

    fn report(mut self, source: &dyn Source) -> StreamReport {
        let operations = self.told.next_number() as usize;
        let mut report = Report {
            verdict: Verdict::Valid,
            model: self.name.to_owned(),
            reason: String::new(),
            operations,
            judged: operations,
            keys: self.online.keys(),
            algorithms: BTreeMap::from([("online", self.online.keys() - self.online.keys_given_up())]),
            steps: self.online.steps(),
            peak_bytes: self.peak_bytes,
            verified: None,
            failure: None,
            minimal: None,
            witness: None,
            timeline: None,
        };
        let doubts = self.online.doubts();
        let doubts_in_all = doubts.len();
        let told = doubts.iter().zip(&self.doubt_times_ns).take(LISTED);
        let told: Vec<StreamDoubt> = told.map(|(doubt, time_ns)| self.doubt(doubt, *time_ns)).collect();
        match self.end {
            Some(End::Violated) => {
                let violation = self.online.violation().expect("it ended the check").clone();
                self.fail(&mut report, &violation, source.faults());
            }
            None if operations == 0 => {
                report.verdict = Verdict::Unknown;
                report.reason = "there is no operation in the history to judge".to_owned();
            }
            None if doubts.is_empty() => {
                report.reason = match report.keys {
                    1 => format!("an order explains all {operations} operations"),
                    keys => format!(
                        "for each of {keys} keys an order explains its operations, {operations} in all"
                    ),
                };
            }
            Some(End::Memory) if !doubts.is_empty() => {
                report.verdict = Verdict::Unknown;
                report.reason = self.doubted(&told, doubts_in_all);
                report.verified = told.first().map(|doubt| doubt.verified.clone());
            }
            None => {
                report.verdict = Verdict::Unknown;
                report.reason = self.doubted(&told, doubts_in_all);
                report.verified = told.first().map(|doubt| doubt.verified.clone());
            }
            Some(end) => {
                report.verdict = Verdict::Unknown;
                let verified = self.verified();
                let but = match doubts_in_all {
                    0 => String::new(),
                    1 => ", one key with doubts apart".to_owned(),
                    keys => format!(", {keys} keys with doubts apart"),
                };
                report.reason = format!(
                    "{}: {} events were read, and the history was verified up to event {} ({} of {} operations){but}",
                    end.in_words(),
                    self.events,
                    verified.events,
                    verified.operations,
                    verified.of
                );
                report.verified = Some(verified);
            }
        }
        StreamReport {
            report,
            events: self.events,
            stopped: self.end.and_then(End::name),
            doubts: told,
            doubts_in_all,
        }
    }

    /// The time of an operation's event.
    fn time_ns(&self, operation: u32, event: u64) -> u64 {
        self.told.get(operation).map_or(self.latest_ns, |tale| tale.time_ns_at(event as u32))
    }

    fn doubt(&self, doubt: &Doubt, time_ns: u64) -> StreamDoubt {
        let tally = self.online.tally(&doubt.key);
        StreamDoubt {
            why: doubt.why.clone(),
            is_given_up: doubt.is_given_up,
            verified: Verified {
                key: doubt.key.clone(),
                operations: tally.explained as usize,
                of: tally.ended as usize,
                events: doubt.since_event as u32,
                until_ns: time_ns,
            },
        }
    }

    fn doubted(&self, told: &[StreamDoubt], in_all: usize) -> String {
        let Some(StreamDoubt { why, is_given_up, verified }) = told.first() else { return String::new() };
        let what = if verified.key.is_empty() { "the history" } else { &*verified.key };
        let first = if *is_given_up {
            format!(
                "{why}: {what} was verified up to event {} ({} of {} operations)",
                verified.events, verified.operations, verified.of
            )
        } else {
            format!("{what}: {why}")
        };
        let others = self.online.keys() - in_all;
        let rest = match (in_all - 1, others) {
            (0, 0) => String::new(),
            (0, 1) => "; the other key is explained".to_owned(),
            (0, others) => format!("; the other {others} keys are explained"),
            (more, 0) => format!("; so with {more} more"),
            (more, others) => format!("; so with {more} more; {others} of the keys are explained"),
        };
        first + &rest
    }

    /// How far everything is explained that is not given up.
    fn verified(&self) -> Verified {
        let tally = self.online.tally_of_all();
        let (key, events, until_ns) = match self.online.frontline() {
            Some(front) => (front.key.to_owned(), front.event, self.time_ns(front.operation, front.event)),
            None => (String::new(), self.events, self.latest_ns),
        };
        Verified {
            key,
            operations: tally.explained as usize,
            of: tally.ended as usize,
            events: events as u32,
            until_ns,
        }
    }

    fn fail(&mut self, report: &mut Report, violation: &OnlineViolation, faults: Vec<FaultBand>) {
        let key = self.by_key.then_some(&*violation.key);
        let (mut excerpt, numbers) = self.told.excerpt(key, violation.operation);
        excerpt.faults = faults;
        let local = |number: u32| numbers.binary_search(&number).ok().map(|at| at as u32);
        let operations: Vec<u32> = (0..numbers.len() as u32).collect();
        let operation = local(violation.operation).expect("what fails is at stake");
        let possible = violation.survivors.iter().map(|survivor| Possible {
            state: survivor.state.clone(),
            set_by: survivor.set_by.and_then(local),
            done: survivor.done.iter().copied().filter_map(local).collect(),
            why: survivor.why.clone(),
        });
        let is_doubted = self.online.doubts().iter().any(|doubt| doubt.key == violation.key);
        let mut failure = explain::failure(
            &excerpt,
            Failed {
                operations: &operations,
                operation,
                is_first: !is_doubted,
                possible: possible.collect(),
                observes: &|operation| observes(&self.model, &excerpt, operation),
                register: self.register.as_ref(),
                forgotten_until: self.told.forgotten_until(),
                goes_on: true,
            },
        );
        let blamed = &excerpt.operations[operation as usize];
        report.verdict = Verdict::Invalid;
        report.reason = format!("{}, {}", explain::answered(&excerpt, blamed), failure.why);
        report.algorithms = BTreeMap::from([("online", 1)]);
        let tally = self.online.tally(&violation.key);
        report.verified = Some(Verified {
            key: violation.key.clone(),
            operations: tally.explained as usize,
            of: tally.ended as usize,
            events: blamed.completed_at,
            until_ns: blamed.completed_ns,
        });
        failure.renumber(|number| numbers[number as usize]);
        report.failure = Some(failure);
    }
}
