//! Histories of our own runs, judged as they lie in memory.

use mcp_chaos_evidence::{Function, HistoryEvent, Kind};

use crate::{BuildError, Ending, Event, History, HistoryBuilder, Map, NameId, Sort, Value};

impl History {
    /// The history of events in memory. Faults are told apart: [`crate::fault_bands`].
    ///
    /// # Errors
    /// The first event that makes no sense, by its position among `events`.
    pub fn from_events(events: &[HistoryEvent]) -> Result<History, BuildError> {
        let mut builder = HistoryBuilder::new();
        builder.history().operations.reserve_exact(events.len().div_ceil(2));
        // A process's number is written out once, not at each event.
        let mut processes: Map<u64, NameId> = Map::default();
        for event in events {
            let tables = builder.history();
            let process = *processes
                .entry(event.process)
                .or_insert_with(|| tables.processes.number(&event.process.to_string()));
            let event = Event {
                sort: sort(event.kind),
                process,
                f: tables.functions.number(name(&event.f)),
                key: tables.keys.number(&event.key),
                value: match event.value.as_i64() {
                    Some(whole) => tables.values.integer(whole),
                    None => tables.values.number(Value::from(&event.value)),
                },
                error: event.error.as_deref().map(|error| tables.errors.number(error)),
                time_ns: event.time_ns,
            };
            builder.push(&event)?;
        }
        Ok(builder.finish())
    }
}

fn sort(kind: Kind) -> Sort {
    match kind {
        Kind::Invoke => Sort::Invoke,
        Kind::Ok => Sort::End(Ending::Ok),
        Kind::Fail => Sort::End(Ending::Fail),
        Kind::Info => Sort::End(Ending::Unknown),
    }
}

fn name(function: &Function) -> &str {
    match function {
        Function::Read => "read",
        Function::Write => "write",
        Function::Cas => "cas",
        Function::Other(name) => name,
    }
}
