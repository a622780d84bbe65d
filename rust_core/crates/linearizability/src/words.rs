//! How times and operations read in a sentence.

use mcp_chaos_evidence::seconds;
use mcp_chaos_history::{Ending, History, Operation, Outcome, Value};

/// `read k0 = 3`, `compare-and-set k0 from 3 to 4`, `enqueue 5`, `dequeue = 5`.
pub(crate) fn call(history: &History, operation: &Operation) -> String {
    let key = match history.key(operation) {
        "" => String::new(),
        key => format!(" {key}"),
    };
    let argument = history.values.get(operation.argument);
    match (history.function(operation), argument, history.outcome(operation)) {
        ("write", _, _) => format!("write{key} = {argument}"),
        ("cas", Value::List(pair), _) if pair.len() == 2 => {
            format!("compare-and-set{key} from {} to {}", pair[0], pair[1])
        }
        (f, Value::Null, Outcome::Ok(result)) if *result != Value::Null || f == "read" => {
            format!("{f}{key} = {result}")
        }
        (f, Value::Null, _) => format!("{f}{key}"),
        (f, argument, Outcome::Ok(result)) if result != argument && *result != Value::Null => {
            format!("{f}{key} {argument} = {result}")
        }
        (f, argument, _) => format!("{f}{key} {argument}"),
    }
}

/// `write k0 = 7 (process 2)`
pub(crate) fn named(history: &History, operation: &Operation) -> String {
    format!("{} (process {})", call(history, operation), history.processes.get(operation.process))
}

/// When it was invoked: `at 4.210 s`, or `at event 12` in a history without times.
pub(crate) fn invoked(history: &History, operation: &Operation) -> String {
    moment(history, operation.invoked_at, operation.invoked_ns)
}

/// When it ended.
pub(crate) fn completed(history: &History, operation: &Operation) -> String {
    match operation.ending {
        Ending::Unknown => "never".to_owned(),
        _ => moment(history, operation.completed_at, operation.completed_ns),
    }
}

fn moment(history: &History, event: u32, time_ns: u64) -> String {
    // Without times, positions stand for them.
    let is_told = |last: &Operation| last.invoked_ns > 0 && last.invoked_ns != u64::from(last.invoked_at);
    let has_times = history.operations.last().is_some_and(is_told);
    if has_times { format!("at {}", seconds(time_ns)) } else { format!("at event {event}") }
}
