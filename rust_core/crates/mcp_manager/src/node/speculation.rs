//! The planted bug `ack-before-commit`: what a leader with it answers as soon as it has appended.
//!
//! The outcome is guessed from the applied state and the node's own appended entries that are not applied
//! yet. Only what needs no look at anything else is acknowledged early: writes and compare-and-sets of settings, adds,
//! appends. All else waits as it should, and so does a request that the applied state has seen already, or whose
//! session it does not know.

use std::collections::BTreeMap;

use crate::command::{Answer, Command, ListStep, Operation, Outcome, Query};
use crate::limits;
use crate::machine::Machine;

/// A write of a setting, not applied yet.
#[derive(Clone, Debug)]
struct Write {
    client: u64,
    sequence: u64,
    operation: Operation,
}

/// What this node has proposed and not applied.
#[derive(Clone, Debug, Default)]
pub(super) struct Speculation {
    /// Stands in no log yet, by ticket.
    proposing: BTreeMap<u64, Write>,
    /// Appended and acknowledged, by index, with what was answered. Entries that another leader overwrites
    /// stay until something is applied at their index: it is a bug, not a view.
    appended: BTreeMap<u64, (Write, Outcome)>,
}

impl Speculation {
    pub(super) fn proposing(&mut self, ticket: u64, command: &Command) {
        if let Command::Operate { client, sequence, operation, .. } = command {
            let write = Write { client: *client, sequence: *sequence, operation: operation.clone() };
            self.proposing.insert(ticket, write);
        }
    }

    /// The proposal now stands at `index`: what to answer at once, and under which log index.
    pub(super) fn appended(&mut self, ticket: u64, index: u64, machine: &Machine) -> Option<(Outcome, u64)> {
        let write = self.proposing.remove(&ticket)?;
        let is_fresh = machine.last_sequence(write.client).is_some_and(|last| write.sequence > last);
        if !is_fresh || limits::check(&write.operation).is_err() {
            return None;
        }
        let same =
            |(first, _): &&(Write, Outcome)| (first.client, first.sequence) == (write.client, write.sequence);
        if let Some((first_index, (_, outcome))) = self.appended.iter().find(|(_, first)| same(first)) {
            return Some((outcome.clone(), *first_index));
        }
        let outcome = match &write.operation {
            Operation::Write { .. } => Outcome::Done { version: index },
            Operation::CompareAndSet { key, expected, .. } => {
                let (actual, version) = self.setting(key, machine);
                if expected.holds(actual.as_deref(), version) {
                    Outcome::Done { version: index }
                } else {
                    Outcome::Mismatch { actual, version }
                }
            }
            Operation::Add { .. } => Outcome::Done { version: index },
            Operation::Transact { steps }
                if steps.iter().all(|step| matches!(step, ListStep::Append { .. })) =>
            {
                Outcome::Transacted { version: index, lists: Vec::new() }
            }
            Operation::Register { .. }
            | Operation::Deregister { .. }
            | Operation::SetState { .. }
            | Operation::Transact { .. }
            | Operation::Acquire { .. }
            | Operation::Renew { .. }
            | Operation::Release { .. } => return None,
        };
        self.appended.insert(index, (write, outcome.clone()));
        Some((outcome, index))
    }

    pub(super) fn applied(&mut self, index: u64) {
        while self.appended.first_key_value().is_some_and(|(first, _)| *first <= index) {
            self.appended.pop_first();
        }
    }

    pub(super) fn forget(&mut self, ticket: u64) {
        self.proposing.remove(&ticket);
    }

    /// A setting's value and version, with what is appended and not applied.
    fn setting(&self, key: &str, machine: &Machine) -> (Option<String>, u64) {
        for (index, (write, outcome)) in self.appended.iter().rev() {
            match &write.operation {
                Operation::Write { key: written, value }
                | Operation::CompareAndSet { key: written, value, .. }
                    if written == key && matches!(outcome, Outcome::Done { .. }) =>
                {
                    return (Some(value.clone()), *index);
                }
                _ => {}
            }
        }
        match machine.query(&Query::Setting { key: key.to_owned() }) {
            Answer::Setting { value, version } => (value, version),
            _ => (None, 0),
        }
    }
}
