//! Says in words why an operation cannot be explained, or how far a search came.

use mcp_chaos_evidence::{Function, Kind, node_name};
use serde_json::{Value, json};

use super::{
    CHECK,
    blame::Blame,
    register::{Moment, Register},
    shape::Observed,
};
use crate::{
    Judgement,
    operations::Operation,
    words::{call, seconds},
};

/// The most operations that evidence lists of each kind.
const LISTED: usize = 32;

/// The verdict on a history in which nothing explains the operation that is to blame.
pub(super) fn inexplicable(
    key: &str,
    operations: &[Operation],
    blame: &Blame,
    initial: &Value,
    observed: &Observed,
) -> Judgement {
    let operation = &blame.operation;
    let concurrent: Vec<&Operation> = operations
        .iter()
        .filter(|other| {
            other.invoked_at != operation.invoked_at
                && other.invoked_at < operation.completed_at
                && other.completed_at > operation.invoked_at
                && matches!(other.kind(), Kind::Ok | Kind::Info)
        })
        .collect();
    let possible: Vec<(Value, Option<&Operation>)> = blame
        .set_by
        .iter()
        .map(|by| match by {
            Some(setter) => (produced(setter).unwrap_or_default(), Some(setter)),
            None => (initial.clone(), None),
        })
        .collect();
    let cause = cause(operation, operations, initial);
    let why = match &cause {
        Cause::NeverWritten(value) => format!("but nobody ever wrote {value}"),
        Cause::FailedOnly(value, writer) => {
            format!(
                "but {value} was only ever written by {}, which failed and so had no effect",
                named(writer)
            )
        }
        Cause::Later(value, writer) => {
            format!(
                "but {value} was written only later, by {} invoked at {}",
                named(writer),
                seconds(writer.invoke.time_ns)
            )
        }
        Cause::Overwritten(value, by) => format!(
            "but {value} had been overwritten by {} (process {}, acknowledged at {})",
            call(by),
            by.invoke.process,
            seconds(by.completion.map_or(0, |event| event.time_ns))
        ),
        Cause::Order if !blame.is_first => {
            "but no order of the operations explains it together with those that follow".to_string()
        }
        Cause::Order => {
            let mut values: Vec<String> = possible.iter().map(|(value, _)| value.to_string()).collect();
            values.dedup();
            let more = if values.len() > 8 { ", …" } else { "" };
            values.truncate(8);
            format!(
                "but no order of the operations explains it: just before, the register could only hold {}{more}",
                values.join(" or ")
            )
        }
    };
    let reason = format!("{}, {why}", answered(operation));
    let overwritten_by = match &cause {
        Cause::Overwritten(_, by) => data(by),
        _ => Value::Null,
    };
    let evidence = json!({
        "key": key,
        "operation": data(operation),
        "concurrent": concurrent.iter().take(LISTED).map(|other| data(other)).collect::<Vec<_>>(),
        "possible_values": possible
            .iter()
            .take(LISTED)
            .map(|(value, by)| json!({"value": value, "set_by": by.map(data)}))
            .collect::<Vec<_>>(),
        "overwritten_by": overwritten_by,
        "is_first": blame.is_first,
        "verified_operations": blame.verified,
    });
    Judgement::invalid(CHECK, observed.shape(operations, operation, cause.word()), reason, evidence)
}

/// The verdict on a history whose search ran out of `of` at the register's moment `at`.
pub(super) fn exhausted(
    key: &str,
    operations: &[Operation],
    register: &Register,
    at: usize,
    of: &str,
) -> Judgement {
    let verified = completed_before(register, at);
    let until = match register.moments.get(at) {
        Some(Moment::Return(step)) => {
            operation_of(operations, register, *step).completion.map_or(0, |event| event.time_ns)
        }
        Some(Moment::Invoke(step)) => operation_of(operations, register, *step).invoke.time_ns,
        None => 0,
    };
    let reason = format!(
        "out of {of}: {key} was verified up to {} ({verified} of {} operations)",
        seconds(until),
        operations.len()
    );
    Judgement::unknown(
        CHECK,
        reason,
        json!({"key": key, "verified_operations": verified, "verified_until_ns": until}),
    )
}

/// Why an answer contradicts the operations before it.
enum Cause<'a> {
    NeverWritten(Value),
    FailedOnly(Value, &'a Operation<'a>),
    Later(Value, &'a Operation<'a>),
    /// By an operation that began after every writer of the value had ended, and ended before the answer's
    /// operation began.
    Overwritten(Value, &'a Operation<'a>),
    /// None of these simple ones: the order as a whole is impossible.
    Order,
}

impl Cause<'_> {
    /// The shape of a violation of which the history alone is known.
    fn word(&self) -> &'static str {
        match self {
            Cause::NeverWritten(_) => "value-from-nowhere",
            Cause::FailedOnly(..) => "failed-write-took-effect",
            Cause::Later(..) => "value-from-the-future",
            Cause::Overwritten(..) => "overwritten-value",
            Cause::Order => "no-order",
        }
    }
}

fn cause<'a>(operation: &Operation, operations: &'a [Operation<'a>], initial: &Value) -> Cause<'a> {
    let Some(value) = found(operation) else { return Cause::Order };
    let writers: Vec<&Operation> = operations
        .iter()
        .filter(|other| other.invoked_at != operation.invoked_at && produced(other).as_ref() == Some(&value))
        .collect();
    let effective: Vec<&&Operation> =
        writers.iter().filter(|writer| matches!(writer.kind(), Kind::Ok | Kind::Info)).collect();
    let is_initial = value == *initial;
    if !is_initial {
        match (effective.first(), writers.first()) {
            (None, None) => return Cause::NeverWritten(value),
            (None, Some(writer)) => return Cause::FailedOnly(value, writer),
            (Some(first), _) if first.invoked_at > operation.completed_at => {
                return Cause::Later(value, first);
            }
            _ => {}
        }
    }
    // Writers that begin after the answer cannot have given it. The initial value was there before all.
    let written = effective
        .iter()
        .filter(|writer| writer.invoked_at < operation.completed_at)
        .map(|writer| if writer.kind() == Kind::Ok { writer.completed_at } else { usize::MAX })
        .max();
    operations
        .iter()
        .filter(|other| {
            other.ok().is_some()
                && produced(other).is_some_and(|new| new != value)
                && other.completed_at < operation.invoked_at
                && written.is_none_or(|written| written < other.invoked_at)
        })
        .min_by_key(|other| other.completed_at)
        .map_or(Cause::Order, |other| Cause::Overwritten(value, other))
}

/// The value that an operation claims to have found.
fn found(operation: &Operation) -> Option<Value> {
    match operation.invoke.f {
        Function::Read => operation.ok().map(|answer| answer.value.clone()),
        Function::Cas if operation.ok().is_some() => operation.invoke.value.get(0).cloned(),
        _ => None,
    }
}

/// The value that an operation sets, if it takes effect.
fn produced(operation: &Operation) -> Option<Value> {
    match operation.invoke.f {
        Function::Write => Some(operation.invoke.value.clone()),
        Function::Cas if !operation.is_mismatch() => operation.invoke.value.get(1).cloned(),
        _ => None,
    }
}

fn operation_of<'a>(operations: &'a [Operation<'a>], register: &Register, step: u32) -> &'a Operation<'a> {
    &operations[register.steps[step as usize].operation as usize]
}

/// `write k0 = 7 (process 2)`
fn named(operation: &Operation) -> String {
    format!("{} (process {})", call(operation), operation.invoke.process)
}

/// `n1 answered read k0 = 3 at 4.210 s (process 500)`
fn answered(operation: &Operation) -> String {
    let completion = operation.completion.unwrap_or(operation.invoke);
    let who = completion.node.map_or("the system".to_string(), node_name);
    let outcome = if operation.is_mismatch() { " with mismatch" } else { "" };
    format!(
        "{who} answered {}{outcome} at {} (process {})",
        call(operation),
        seconds(completion.time_ns),
        operation.invoke.process
    )
}

fn data(operation: &Operation) -> Value {
    json!({"invoke": operation.invoke, "completion": operation.completion})
}

fn completed_before(register: &Register, at: usize) -> usize {
    register.moments[..at].iter().filter(|moment| matches!(moment, Moment::Return(_))).count()
}
