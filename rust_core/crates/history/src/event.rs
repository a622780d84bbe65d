//! Events on their way from a text to a history: the part that all formats share.

use std::borrow::Cow;

use crate::{
    BuildError, Ending, FaultBand, History, HistoryBuilder, NameId, Sort, Value, ValueId, faults::Nemesis,
};

/// An event as a text tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEvent<'a> {
    /// Invocation, or outcome.
    pub sort: Sort,
    /// True for what was done to the system, not by a client of it: no operation.
    pub nemesis: bool,
    /// Who did it.
    pub process: Cow<'a, str>,
    /// What it did.
    pub f: Cow<'a, str>,
    /// To which object; empty in histories of one object.
    pub key: Cow<'a, str>,
    /// The argument of an invocation, the result of an ok completion.
    pub value: Value,
    /// Why it failed, or why nobody knows.
    pub error: Option<Cow<'a, str>>,
    /// When, in nanoseconds of the history's clock, if that is told.
    pub time_ns: Option<u64>,
}

/// An event in numbers of a [`History`]'s tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Invocation, or outcome.
    pub sort: Sort,
    /// A number in [`History::processes`].
    pub process: NameId,
    /// A number in [`History::functions`].
    pub f: NameId,
    /// A number in [`History::keys`].
    pub key: NameId,
    /// The argument of an invocation, the result of an ok completion.
    pub value: ValueId,
    /// A number in [`History::errors`].
    pub error: Option<NameId>,
    /// When, for people only. In a history without times: its position.
    pub time_ns: u64,
}

impl RawEvent<'_> {
    /// The event in numbers. `position` stands for its time if it tells none.
    pub fn intern(self, tables: &mut History, position: u64) -> Event {
        Event {
            sort: self.sort,
            process: tables.processes.number(&self.process),
            f: tables.functions.number(&self.f),
            key: tables.keys.number(&self.key),
            value: tables.values.number(self.value),
            error: self.error.map(|error| tables.errors.number(&error)),
            time_ns: self.time_ns.unwrap_or(position),
        }
    }
}

impl HistoryBuilder {
    /// Takes the next event, whose numbers are those of [`HistoryBuilder::history`].
    ///
    /// # Errors
    /// As [`HistoryBuilder::invoke`] and [`HistoryBuilder::end`].
    pub fn push(&mut self, event: &Event) -> Result<(), BuildError> {
        let Event { sort, process, f, key, value, error, time_ns } = *event;
        match sort {
            Sort::Invoke => self.invoke(process, f, key, value, time_ns),
            Sort::End(ending) => self.end(process, f, key, ending, value, error, time_ns),
        }
    }
}

/// What clients of Jepsen's tests call a compare-and-set that found another value than it expected.
const MISMATCHES: [&str; 3] = ["precondition-failed", "cas-failed", "did-not-succeed"];

/// What all formats have in common on the way from an event of a text to one of an operation.
#[derive(Debug)]
pub(crate) struct Sieve {
    nemesis: Nemesis,
    /// The latest time that was told.
    pub(crate) latest_ns: u64,
    /// See [`crate::Options`].
    failed_cas_is_mismatch: bool,
}

impl Sieve {
    pub(crate) fn new(failed_cas_is_mismatch: bool) -> Sieve {
        Sieve { nemesis: Nemesis::default(), latest_ns: 0, failed_cas_is_mismatch }
    }

    /// Keeps what is a nemesis's, and says what a failed compare-and-set has seen. `position` is the event's among
    /// those of operations.
    pub(crate) fn pass<'a>(&mut self, mut event: RawEvent<'a>, position: u64) -> Option<RawEvent<'a>> {
        self.latest_ns = self.latest_ns.max(event.time_ns.unwrap_or(position));
        if event.nemesis {
            self.nemesis.take(&event.f, &event.value, event.time_ns.unwrap_or(position));
            return None;
        }
        if self.failed_cas_is_mismatch
            && event.sort == Sort::End(Ending::Fail)
            && event.f == "cas"
            && event.error.as_deref().is_none_or(|error| MISMATCHES.contains(&error))
        {
            event.error = Some("mismatch".into());
        }
        Some(event)
    }

    /// The times in which faults were in force, up to now.
    pub(crate) fn faults(&self) -> Vec<FaultBand> {
        self.nemesis.clone().finish(self.latest_ns)
    }
}

/// Makes a history of a text's events.
#[derive(Debug)]
pub(crate) struct Assembler {
    builder: HistoryBuilder,
    sieve: Sieve,
}

impl Assembler {
    pub(crate) fn new(failed_cas_is_mismatch: bool) -> Assembler {
        Assembler { builder: HistoryBuilder::new(), sieve: Sieve::new(failed_cas_is_mismatch) }
    }

    /// Takes the next event. The error is in words.
    pub(crate) fn take(&mut self, event: RawEvent) -> Result<(), String> {
        let tables = self.builder.history();
        let position = u64::from(tables.events);
        let Some(event) = self.sieve.pass(event, position) else { return Ok(()) };
        let event = event.intern(tables, position);
        self.builder.push(&event).map_err(|error| error.why)
    }

    pub(crate) fn finish(self) -> History {
        let mut history = self.builder.finish();
        history.faults = self.sieve.faults();
        history.operations.shrink_to_fit();
        history
    }
}
