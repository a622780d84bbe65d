//! Pairs invocations with completions as events come.

use crate::{Ending, History, Map, NEVER, NameId, Operation, ValueId, Values};

/// Whether an event opens an operation, or how it ends one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// It opens one.
    Invoke,
    /// It ends one.
    End(Ending),
}

/// An event that makes no sense where it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {at}: {why}")]
pub struct BuildError {
    /// Its position among the events, from 0.
    pub at: u32,
    /// What is wrong with it.
    pub why: String,
}

/// Takes events one by one, in the order of the history.
#[derive(Debug, Default)]
pub struct HistoryBuilder {
    history: History,
    open: Map<NameId, u32>,
}

impl HistoryBuilder {
    /// A builder that knows no event yet.
    pub fn new() -> HistoryBuilder {
        let mut builder = HistoryBuilder::default();
        builder.history.keys.number("");
        builder
    }

    /// The history so far: for numbers of names and values, which the next event needs.
    pub fn history(&mut self) -> &mut History {
        &mut self.history
    }

    /// The next event opens an operation.
    ///
    /// # Errors
    /// The process has another operation open.
    pub fn invoke(
        &mut self,
        process: NameId,
        f: NameId,
        key: NameId,
        argument: ValueId,
        time_ns: u64,
    ) -> Result<(), BuildError> {
        let at = self.next()?;
        let number = self.history.operations.len() as u32;
        if self.open.insert(process, number).is_some() {
            let name = self.history.processes.get(process);
            return Err(BuildError {
                at,
                why: format!(
                    "process {name} invokes an operation while its last has not ended (a process has one \
                     operation at a time, and a new number after an info)"
                ),
            });
        }
        self.history.operations.push(Operation {
            invoked_ns: time_ns,
            completed_ns: u64::MAX,
            invoked_at: at,
            completed_at: NEVER,
            process,
            key,
            f,
            argument,
            result: Values::NULL,
            error: 0,
            ending: Ending::Unknown,
        });
        Ok(())
    }

    /// The next event ends the process's operation; `result` counts for an ok one. `error` is a number in
    /// [`History::errors`].
    ///
    /// # Errors
    /// The process has no operation open, or one of another function or key.
    #[allow(clippy::too_many_arguments, reason = "an event has as many parts")]
    pub fn end(
        &mut self,
        process: NameId,
        f: NameId,
        key: NameId,
        ending: Ending,
        result: ValueId,
        error: Option<NameId>,
        time_ns: u64,
    ) -> Result<(), BuildError> {
        let at = self.next()?;
        let name = self.history.processes.get(process);
        let Some(number) = self.open.remove(&process) else {
            return Err(BuildError {
                at,
                why: format!("process {name} ends an operation that it never invoked"),
            });
        };
        let operation = &mut self.history.operations[number as usize];
        if (operation.f, operation.key) != (f, key) {
            return Err(BuildError {
                at,
                why: format!("process {name} ends another operation than the one it invoked"),
            });
        }
        operation.completed_at = at;
        operation.completed_ns = time_ns;
        operation.ending = ending;
        operation.error = error.map_or(0, |error| error + 1);
        if ending == Ending::Ok {
            operation.result = result;
        }
        Ok(())
    }

    /// The whole history. What is still open never ended.
    pub fn finish(self) -> History {
        self.history
    }

    fn next(&mut self) -> Result<u32, BuildError> {
        let at = self.history.events;
        if at == NEVER {
            return Err(BuildError { at, why: "a history has fewer than 2^32 events".into() });
        }
        self.history.events += 1;
        Ok(at)
    }
}
