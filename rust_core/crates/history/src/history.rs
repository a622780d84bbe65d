//! A history in memory.

use crate::{Names, Value, ValueId, Values};

/// The number of a name: of a key, a function, an error.
pub type NameId = u32;

/// The position of the end of an operation that never ended.
pub const NEVER: u32 = u32::MAX;

/// How an operation ended, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// It took effect exactly once, between its invocation and its completion.
    Ok,
    /// It certainly had no effect, now or later. Its error may be an observation (a compare-and-set that
    /// failed with `mismatch`, a dequeue that failed with `empty`): the model says which are.
    Fail,
    /// Nobody knows: it may take effect at any time after its invocation, or never.
    Unknown,
}

/// What is known of how an operation ended, as models see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It took effect, and answered this.
    Ok(&'a Value),
    /// It had no effect; the error, if one was told.
    Fail(Option<&'a str>),
    /// It may take effect at any time after its invocation, or never; nobody saw its answer.
    Unknown,
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// When it was invoked and when it ended, in nanoseconds of the history's clock, for people only: order is
    /// that of the events. The latter is `u64::MAX` if it never ended.
    pub invoked_ns: u64,
    /// See above.
    pub completed_ns: u64,
    /// The position of its invocation among the history's events.
    pub invoked_at: u32,
    /// The position of its completion; [`NEVER`] if it has none.
    pub completed_at: u32,
    /// Who did it: a number in [`History::processes`].
    pub process: NameId,
    /// A number in [`History::keys`]; 0 is the empty name, for histories of one object.
    pub key: NameId,
    /// A number in [`History::functions`].
    pub f: NameId,
    /// The argument.
    pub argument: ValueId,
    /// What it answered, if `ending` is ok; else null.
    pub result: ValueId,
    /// A number in [`History::errors`] plus one; 0 for none.
    pub error: NameId,
    /// How it ended.
    pub ending: Ending,
}

/// A time in which a fault was in force: for pictures and words only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultBand {
    /// What it was: `partition n1`, say.
    pub words: String,
    /// From when, in nanoseconds of the history's clock.
    pub from_ns: u64,
    /// Until when.
    pub to_ns: u64,
}

/// Operations in the order of their invocations, and what they name.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In the order of their invocations.
    pub operations: Vec<Operation>,
    /// How many events there were.
    pub events: u32,
    /// All arguments and results.
    pub values: Values,
    /// The objects that operations name.
    pub keys: Names,
    /// What operations do: `read`, `write`, `cas`, …
    pub functions: Names,
    /// Errors of failed and unknown operations.
    pub errors: Names,
    /// Processes, as the history names them.
    pub processes: Names,
    /// Faults in force, if the history (or what lies beside it) tells.
    pub faults: Vec<FaultBand>,
}

impl History {
    /// What a model sees of how an operation ended.
    pub fn outcome(&self, operation: &Operation) -> Outcome<'_> {
        match operation.ending {
            Ending::Ok => Outcome::Ok(self.values.get(operation.result)),
            Ending::Fail => Outcome::Fail(self.error(operation)),
            Ending::Unknown => Outcome::Unknown,
        }
    }

    /// The error that came with a completion.
    pub fn error(&self, operation: &Operation) -> Option<&str> {
        operation.error.checked_sub(1).map(|error| self.errors.get(error))
    }

    /// The operation's function.
    pub fn function(&self, operation: &Operation) -> &str {
        self.functions.get(operation.f)
    }

    /// The operation's key.
    pub fn key(&self, operation: &Operation) -> &str {
        self.keys.get(operation.key)
    }
}
