//! Pairs each invocation with its completion.

use std::collections::BTreeMap;

use mcp_chaos_evidence::{HistoryEvent, Kind};

/// An operation: its invocation, and how it ended. With no completion, or an `info`, nobody knows whether it
/// took effect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation<'a> {
    pub invoke: &'a HistoryEvent,
    pub completion: Option<&'a HistoryEvent>,
    /// Positions in the history; `usize::MAX` if it never ended.
    pub invoked_at: usize,
    pub completed_at: usize,
}

impl<'a> Operation<'a> {
    pub(crate) fn kind(&self) -> Kind {
        self.completion.map_or(Kind::Info, |event| event.kind)
    }

    /// The completion, if the operation succeeded.
    pub(crate) fn ok(&self) -> Option<&'a HistoryEvent> {
        self.completion.filter(|event| event.kind == Kind::Ok)
    }

    /// Whether it was [`served`].
    pub(crate) fn succeeded(&self) -> bool {
        self.completion.is_some_and(served)
    }

    /// A compare-and-set that failed because the value was not the expected one.
    pub(crate) fn is_mismatch(&self) -> bool {
        self.completion
            .is_some_and(|event| event.kind == Kind::Fail && event.error.as_deref() == Some("mismatch"))
    }
}

/// Whether the system did what it was asked for, or tells what it found instead (another value, a lease that is held,
/// no such server): in each case it serves.
pub(crate) fn served(event: &HistoryEvent) -> bool {
    match event.kind {
        Kind::Ok => true,
        Kind::Fail => {
            matches!(event.error.as_deref(), Some("mismatch" | "held" | "not_held" | "not_found"))
        }
        Kind::Info | Kind::Invoke => false,
    }
}

/// The operations in the order of their invocations; else which event makes no sense, and why.
pub(crate) fn pair(history: &[HistoryEvent]) -> Result<Vec<Operation<'_>>, String> {
    let mut operations: Vec<Operation> = Vec::with_capacity(history.len() / 2 + 1);
    let mut open: BTreeMap<u64, usize> = BTreeMap::new();
    for (at, event) in history.iter().enumerate() {
        let process = event.process;
        if event.kind == Kind::Invoke {
            if open.insert(process, operations.len()).is_some() {
                return Err(format!(
                    "event {at}: process {process} invokes an operation while its last has not ended \
                     (a process has one operation at a time, and a new number after an info)"
                ));
            }
            operations.push(Operation {
                invoke: event,
                completion: None,
                invoked_at: at,
                completed_at: usize::MAX,
            });
            continue;
        }
        let Some(operation) = open.remove(&process).map(|number| &mut operations[number]) else {
            return Err(format!("event {at}: process {process} ends an operation that it never invoked"));
        };
        if operation.invoke.f != event.f || operation.invoke.key != event.key {
            return Err(format!(
                "event {at}: process {process} ends another operation than the one it invoked"
            ));
        }
        operation.completion = Some(event);
        operation.completed_at = at;
    }
    Ok(operations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{event, history};

    #[test]
    fn events_pair_by_process() {
        let events = history("1 invoke write 5; 2 invoke read; 2 ok read 5; 1 info write 5; 3 invoke read");
        let operations = pair(&events).unwrap();
        let kinds: Vec<_> = operations.iter().map(Operation::kind).collect();
        assert_eq!(kinds, [Kind::Info, Kind::Ok, Kind::Info]);
        assert_eq!(operations[1].ok().unwrap().value, 5);
        assert_eq!((operations[0].invoked_at, operations[0].completed_at), (0, 3));
    }

    #[test]
    fn events_that_make_no_sense_are_named() {
        assert!(pair(&history("1 ok read 5")).unwrap_err().contains("event 0: process 1 ends an operation"));
        assert!(pair(&history("1 invoke read; 1 invoke read")).unwrap_err().contains("event 1"));
        assert!(pair(&history("1 invoke read; 1 ok write 3")).unwrap_err().contains("another operation"));
        let mut other = history("1 invoke read; 1 ok read 3");
        other[1].key = "other".into();
        assert!(pair(&other).is_err());
        assert_eq!(event("1 invoke cas 1 2").value, serde_json::json!([1, 2]));
    }
}
