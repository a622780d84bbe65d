//! A log that is only ever appended to.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use mcp_chaos_history::{Outcome, Value};

use super::{chain::Chain, digest, elements, unknown_function, value_bytes, whole_number, words};
use crate::model::{Call, Model, Reading};

/// The model.
///
/// | function | argument | answer | failures that observe |
/// |---|---|---|---|
/// | `append` | an entry | its offset, from 0; null does not tell | |
/// | `read` | | all entries, in order | |
/// | `read-at` | an offset | the entry there | `out-of-range`: there was none |
/// | `length` | | how many entries there were | |
///
/// A whole number that an append answers is an offset, even if it is what was appended.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// What it holds at the beginning.
    pub initial: Arc<[Value]>,
    /// What it is known to hold at last, or begin with by then: nothing else is appended in these places. Empty where
    /// nothing is known.
    pub known: Arc<[Value]>,
}

/// The entries.
#[derive(Clone, Debug)]
pub struct State {
    entries: Chain<Value>,
    len: usize,
    digest: u64,
}

impl State {
    fn empty() -> State {
        State { entries: Chain::EMPTY, len: 0, digest: 0 }
    }

    fn with(&self, entry: &Value) -> State {
        State {
            entries: self.entries.with(entry.clone()),
            len: self.len + 1,
            digest: digest_with(self.digest, entry),
        }
    }

    fn at(&self, offset: i64) -> Option<&Value> {
        let offset = usize::try_from(offset).ok().filter(|offset| *offset < self.len)?;
        self.entries.backwards().nth(self.len - 1 - offset)
    }

    fn is(&self, entries: &Entries) -> bool {
        self.len == entries.list.len()
            && self.digest == entries.digest
            && self.entries.backwards().eq(entries.list.iter().rev())
    }
}

/// The digest of a log of the first digest with this entry appended.
fn digest_with(before: u64, entry: &Value) -> u64 {
    digest(&(before, entry))
}

impl PartialEq for State {
    fn eq(&self, other: &State) -> bool {
        (self.len, self.digest) == (other.len, other.digest) && self.entries == other.entries
    }
}

impl Eq for State {}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.digest);
    }
}

/// All entries, as a read told them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries {
    list: Arc<[Value]>,
    digest: u64,
}

impl Hash for Entries {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.digest);
    }
}

/// What an operation did, as its outcome tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Appended an entry, at the offset if it was told.
    Append(Value, Option<i64>),
    /// Found these entries.
    Read(Entries),
    /// Found this entry at this offset, or none there.
    ReadAt(i64, Option<Value>),
    /// Found so many entries.
    Length(i64),
}

impl Model for Log {
    type State = State;
    type Action = Action;

    fn by_key(&self) -> bool {
        true
    }

    fn read(&self, call: &Call) -> Result<Reading<Action>, String> {
        Ok(match (call.f, call.outcome) {
            ("append", Outcome::Ok(answer)) => {
                let offset = match answer {
                    Value::Int(offset) => Some(*offset),
                    Value::Null => None,
                    echo if echo == call.argument => None,
                    other => return Err(format!("an append answers an offset or null, not {other}")),
                };
                Reading::Certain(Action::Append(call.argument.clone(), offset))
            }
            ("append", Outcome::Unknown) => Reading::Possible(Action::Append(call.argument.clone(), None)),
            ("read", Outcome::Ok(answer)) => {
                let list: Arc<[Value]> = elements(call.f, answer)?.into();
                let digest = list.iter().fold(0, digest_with);
                Reading::Certain(Action::Read(Entries { list, digest }))
            }
            ("read-at" | "read_at", Outcome::Ok(entry)) => {
                let offset = whole_number("the argument of read-at", call.argument)?;
                Reading::Certain(Action::ReadAt(offset, Some(entry.clone())))
            }
            ("read-at" | "read_at", Outcome::Fail(Some("out-of-range" | "out_of_range"))) => {
                let offset = whole_number("the argument of read-at", call.argument)?;
                Reading::Certain(Action::ReadAt(offset, None))
            }
            ("length", Outcome::Ok(answer)) => {
                Reading::Certain(Action::Length(whole_number("the answer of length", answer)?))
            }
            ("append" | "read" | "read-at" | "read_at" | "length", _) => Reading::Nothing,
            _ => return unknown_function(call, "log"),
        })
    }

    fn initial(&self) -> State {
        self.initial.iter().fold(State::empty(), |state, entry| state.with(entry))
    }

    fn step(&self, state: &State, action: &Action, next: &mut Vec<State>) {
        match action {
            Action::Append(entry, offset)
                if offset.is_none_or(|offset| offset == state.len as i64)
                    && self.known.get(state.len).is_none_or(|known| known == entry) =>
            {
                next.push(state.with(entry));
            }
            Action::Read(entries) if state.is(entries) => next.push(state.clone()),
            Action::ReadAt(offset, entry) if state.at(*offset) == entry.as_ref() => next.push(state.clone()),
            Action::Length(length) if *length == state.len as i64 => next.push(state.clone()),
            _ => {}
        }
    }

    fn is_observer(&self, action: &Action) -> bool {
        !matches!(action, Action::Append(..))
    }

    /// An entry stays where it is: whatever is appended at an offset is what the longest read found there. Without this
    /// every order of appends whose outcomes are unknown is tried.
    fn informed(&self, actions: &[Action]) -> Option<(Log, usize)> {
        let reads = actions.iter().enumerate().filter_map(|(number, action)| match action {
            Action::Read(entries) => Some((number, &entries.list)),
            _ => None,
        });
        let (number, longest) = reads.max_by_key(|(_, list)| list.len())?;
        Some((Log { initial: self.initial.clone(), known: longest.clone() }, number))
    }

    fn state_bytes(&self, state: &State) -> usize {
        let last = state.entries.split_last().map_or(0, |(_, last)| value_bytes(last));
        Chain::<Value>::LINK_BYTES + last
    }

    fn state_in_words(&self, state: &State) -> String {
        let mut entries: Vec<Value> = state.entries.backwards().cloned().collect();
        entries.reverse();
        words(&Value::list(entries))
    }

    fn why_not(&self, state: &State, action: &Action) -> String {
        match action {
            Action::Append(_, offset) => {
                format!("the next offset is {}, not {}", state.len, offset.unwrap_or(state.len as i64))
            }
            Action::Length(length) => format!("it has {} entries, not {length}", state.len),
            Action::ReadAt(offset, entry) => match (state.at(*offset), entry) {
                (Some(there), Some(entry)) => {
                    format!("{} is at offset {offset}, not {}", words(there), words(entry))
                }
                (Some(there), None) => format!("{} is at offset {offset}", words(there)),
                (None, _) => format!("it has only {} entries", state.len),
            },
            Action::Read(entries) => self.why_not_read(state, entries),
        }
    }
}

impl Log {
    /// The first difference tells more than two long lists.
    fn why_not_read(&self, state: &State, entries: &Entries) -> String {
        let mut held: Vec<&Value> = state.entries.backwards().collect();
        held.reverse();
        let common = held.iter().zip(&*entries.list).take_while(|(one, two)| *one == two).count();
        match (held.get(common), entries.list.get(common)) {
            (Some(one), Some(two)) => format!("{} is at offset {common}, not {}", words(one), words(two)),
            (Some(one), None) => {
                format!("it has {} entries, not {common}: {} is next", held.len(), words(one))
            }
            _ => format!("it has only {common} entries, not {}", entries.list.len()),
        }
    }
}
