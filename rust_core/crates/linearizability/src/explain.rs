//! Why an operation cannot be explained: what came before it in words, and the states that were possible.

use mcp_chaos_history::{Ending, History, NEVER, Operation, Outcome, Value};

use crate::{
    report::{Band, Configuration, Failure, OperationReport},
    words,
};

/// The most operations and configurations that a report lists of each kind.
const LISTED: usize = 32;

/// A configuration that survived until right before the failure, by the history's operations.
pub(crate) struct Possible {
    pub state: String,
    pub set_by: Option<u32>,
    pub done: Vec<u32>,
    pub why: String,
}

/// What is known of the failure.
pub(crate) struct Failed<'a> {
    /// The object's operations, ascending.
    pub operations: &'a [u32],
    pub operation: u32,
    pub is_first: bool,
    pub possible: Vec<Possible>,
    /// Whether an operation leaves the object as it is, so that nobody asks whether it had taken effect.
    pub observes: &'a dyn Fn(&Operation) -> bool,
    /// What a register holds at the beginning; none for models that are no registers.
    pub register: Option<&'a Value>,
    /// Operations that ended at or before this event may be missing from `operations`, and so their values.
    pub forgotten_until: Option<u32>,
    /// Whether the history may go on, and what it does not tell of may yet come.
    pub goes_on: bool,
}

/// The failure as data.
pub(crate) fn failure(history: &History, failed: Failed) -> Failure {
    let at = |number: u32| &history.operations[number as usize];
    let blamed = at(failed.operation);
    let in_flight: Vec<u32> = failed
        .operations
        .iter()
        .copied()
        .filter(|&number| {
            let other = at(number);
            number != failed.operation
                && other.invoked_at < blamed.completed_at
                && ends_at(other) > blamed.completed_at
                && other.ending != Ending::Fail
                && !(failed.observes)(other)
        })
        .collect();
    let concurrent = failed.operations.iter().copied().filter(|&number| {
        let other = at(number);
        number != failed.operation
            && other.invoked_at < blamed.completed_at
            && ends_at(other) > blamed.invoked_at
            && other.ending != Ending::Fail
    });
    let cause = match failed.register {
        Some(initial) => cause(history, failed.operations, failed.operation, initial, failed.forgotten_until),
        None => Cause::Order,
    };
    let why = match &cause {
        Cause::NeverWritten(value) if failed.goes_on => format!("but nobody had written {value} by then"),
        Cause::NeverWritten(value) => format!("but nobody ever wrote {value}"),
        Cause::FailedOnly(value, writer) => format!(
            "but {value} {} written by {}, which failed and so had no effect",
            if failed.goes_on { "had by then only been" } else { "was only ever" },
            words::named(history, writer)
        ),
        Cause::Later(value, writer) => format!(
            "but {value} was written only later, by {} invoked {}",
            words::named(history, writer),
            words::invoked(history, writer)
        ),
        Cause::Overwritten(value, by) => {
            let by = at(*by);
            format!(
                "but {value} had been overwritten by {} (process {}, acknowledged {})",
                words::call(history, by),
                history.processes.get(by.process),
                words::completed(history, by)
            )
        }
        Cause::Order if !failed.is_first => {
            "but no order of the operations explains it together with those around it".to_owned()
        }
        Cause::Order => {
            let mut reasons: Vec<&str> = failed.possible.iter().map(|one| one.why.as_str()).collect();
            reasons.sort_unstable();
            reasons.dedup();
            let more = if reasons.len() > 8 { ", or …" } else { "" };
            reasons.truncate(8);
            let just_before = if reasons.is_empty() {
                String::new()
            } else {
                format!(": just before, {}{more}", reasons.join(", or "))
            };
            format!("but no order of the operations explains it{just_before}")
        }
    };
    let report = |number: u32| OperationReport::of(history, number);
    let configurations = failed
        .possible
        .iter()
        .take(LISTED)
        .map(|one| Configuration {
            state: one.state.clone(),
            set_by: one.set_by.map(report),
            done: one.done.iter().copied().filter(|&number| !(failed.observes)(at(number))).collect(),
            pending: in_flight
                .iter()
                .copied()
                .filter(|number| !one.done.contains(number))
                .take(LISTED)
                .collect(),
            why: one.why.clone(),
        })
        .collect();
    Failure {
        key: history.key(blamed).to_owned(),
        operation: report(failed.operation),
        is_first: failed.is_first,
        why,
        shape: cause.shape(),
        configurations,
        configurations_in_all: failed.possible.len(),
        concurrent: concurrent.take(LISTED).map(report).collect(),
        overwritten_by: match cause {
            Cause::Overwritten(_, by) => Some(report(by)),
            _ => None,
        },
        faults: history
            .faults
            .iter()
            .filter(|band| band.from_ns <= blamed.completed_ns && band.to_ns >= blamed.invoked_ns)
            .map(Band::from)
            .collect(),
    }
}

/// `process 9 was answered read k0 = 3 at 4.210 s`
pub(crate) fn answered(history: &History, operation: &Operation) -> String {
    let process = history.processes.get(operation.process);
    let error = match history.error(operation) {
        Some(error) if operation.ending == Ending::Fail => format!(" with {error}"),
        _ => String::new(),
    };
    format!(
        "process {process} was answered {}{error} {}",
        words::call(history, operation),
        words::completed(history, operation)
    )
}

/// Why an answer contradicts the operations before it.
enum Cause<'a> {
    NeverWritten(&'a Value),
    FailedOnly(&'a Value, &'a Operation),
    Later(&'a Value, &'a Operation),
    /// By an operation that began after every writer of the value had ended, and ended before the answer's
    /// operation began.
    Overwritten(&'a Value, u32),
    /// None of these simple ones: the order as a whole is impossible.
    Order,
}

impl Cause<'_> {
    fn shape(&self) -> &'static str {
        match self {
            Cause::NeverWritten(_) => "value-from-nowhere",
            Cause::FailedOnly(..) => "failed-write-took-effect",
            Cause::Later(..) => "value-from-the-future",
            Cause::Overwritten(..) => "overwritten-value",
            Cause::Order => "no-order",
        }
    }
}

fn cause<'a>(
    history: &'a History,
    operations: &[u32],
    blamed: u32,
    initial: &'a Value,
    forgotten_until: Option<u32>,
) -> Cause<'a> {
    let at = |number: &u32| &history.operations[*number as usize];
    let operation = at(&blamed);
    let Some(value) = found(history, operation) else { return Cause::Order };
    let mut effective = operations.iter().filter(|number| {
        **number != blamed
            && at(number).ending != Ending::Fail
            && produced(history, at(number)) == Some(value)
    });
    // The earliest invoked, since operations stand in that order.
    let first = effective.next();
    if value != initial {
        match first {
            // Who wrote it may be forgotten.
            None if forgotten_until.is_some() => return Cause::Order,
            None => {
                let failed = operations.iter().find(|number| written(history, at(number)) == Some(value));
                return match failed {
                    Some(writer) if *writer != blamed => Cause::FailedOnly(value, at(writer)),
                    _ => Cause::NeverWritten(value),
                };
            }
            Some(first) if at(first).invoked_at > operation.completed_at => {
                if forgotten_until.is_some() {
                    return Cause::Order;
                }
                return Cause::Later(value, at(first));
            }
            _ => {}
        }
    }
    // Writers that begin after the answer cannot have given it. The initial value was there before all.
    let written_until = first
        .into_iter()
        .chain(effective)
        .filter(|number| at(number).invoked_at < operation.completed_at)
        .map(|number| ends_at(at(number)))
        .chain(forgotten_until)
        .max();
    // The earliest invoked: the smallest part that is still wrong mostly keeps the same.
    operations
        .iter()
        .find(|number| {
            let other = at(number);
            other.ending == Ending::Ok
                && other.completed_at < operation.invoked_at
                && written_until.is_none_or(|written| written < other.invoked_at)
                && produced(history, other).is_some_and(|new| new != value)
        })
        .map_or(Cause::Order, |by| Cause::Overwritten(value, *by))
}

/// When its effect is certain to have been there.
fn ends_at(operation: &Operation) -> u32 {
    if operation.ending == Ending::Unknown { NEVER } else { operation.completed_at }
}

/// The value that an operation claims to have found.
fn found<'a>(history: &'a History, operation: &Operation) -> Option<&'a Value> {
    match (history.function(operation), history.outcome(operation)) {
        ("read", Outcome::Ok(result)) => Some(result),
        ("cas", Outcome::Ok(_)) => history.values.get(operation.argument).as_list()?.first(),
        _ => None,
    }
}

/// The value that an operation sets, if it takes effect.
fn produced<'a>(history: &'a History, operation: &Operation) -> Option<&'a Value> {
    if operation.ending == Ending::Fail { None } else { written(history, operation) }
}

fn written<'a>(history: &'a History, operation: &Operation) -> Option<&'a Value> {
    let argument = history.values.get(operation.argument);
    match history.function(operation) {
        "write" => Some(argument),
        "cas" => argument.as_list()?.get(1),
        _ => None,
    }
}
