//! A register: one value, which is read, written, and perhaps compared and set.

use mcp_chaos_history::{Outcome, Value};

use super::{pair, unknown_function, value_bytes, words};
use crate::model::{Call, Model, Reading};

/// The model.
///
/// | function | argument | answer | failures that observe |
/// |---|---|---|---|
/// | `read` | | the value | |
/// | `write` | the new value | | |
/// | `cas` | `[expected, new]` | | `mismatch`: it held another value than the expected one |
#[derive(Clone, Debug, Default)]
pub struct Register {
    /// What it holds at the beginning.
    pub initial: Value,
    /// Whether it knows `cas`.
    pub cas: bool,
}

/// What an operation did, as its outcome tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Found this value.
    Read(Value),
    /// Set this value.
    Write(Value),
    /// Found the first value and set the second.
    Cas(Value, Value),
    /// Found another value than this.
    Mismatch(Value),
}

impl Model for Register {
    type State = Value;
    type Action = Action;

    fn by_key(&self) -> bool {
        true
    }

    fn read(&self, call: &Call) -> Result<Reading<Action>, String> {
        Ok(match (call.f, call.outcome) {
            ("read", Outcome::Ok(value)) => Reading::Certain(Action::Read(value.clone())),
            ("write", Outcome::Ok(_)) => Reading::Certain(Action::Write(call.argument.clone())),
            ("write", Outcome::Unknown) => Reading::Possible(Action::Write(call.argument.clone())),
            ("cas", Outcome::Fail(Some("mismatch"))) if self.cas => {
                let (expected, _) = pair(call, "[expected, new]")?;
                Reading::Certain(Action::Mismatch(expected.clone()))
            }
            ("cas", Outcome::Ok(_) | Outcome::Unknown) if self.cas => {
                let (expected, new) = pair(call, "[expected, new]")?;
                match (call.outcome, expected == new) {
                    (Outcome::Ok(_), true) => Reading::Certain(Action::Read(expected.clone())),
                    (Outcome::Ok(_), false) => Reading::Certain(Action::Cas(expected.clone(), new.clone())),
                    (_, true) => Reading::Nothing,
                    (_, false) => Reading::Possible(Action::Cas(expected.clone(), new.clone())),
                }
            }
            ("read" | "write", _) => Reading::Nothing,
            ("cas", _) if self.cas => Reading::Nothing,
            _ if self.cas => return unknown_function(call, "cas-register"),
            _ => return unknown_function(call, "register"),
        })
    }

    fn initial(&self) -> Value {
        self.initial.clone()
    }

    fn step(&self, state: &Value, action: &Action, next: &mut Vec<Value>) {
        match action {
            Action::Read(value) if value == state => next.push(state.clone()),
            Action::Write(new) => next.push(new.clone()),
            Action::Cas(expected, new) if expected == state => next.push(new.clone()),
            Action::Mismatch(expected) if expected != state => next.push(state.clone()),
            _ => {}
        }
    }

    fn is_observer(&self, action: &Action) -> bool {
        matches!(action, Action::Read(_) | Action::Mismatch(_))
    }

    fn state_bytes(&self, state: &Value) -> usize {
        value_bytes(state)
    }

    fn state_in_words(&self, state: &Value) -> String {
        words(state)
    }

    fn why_not(&self, state: &Value, action: &Action) -> String {
        match action {
            Action::Mismatch(_) => format!("it holds {}, which is what was expected", words(state)),
            Action::Cas(expected, _) => {
                format!("it holds {}, not the expected {}", words(state), words(expected))
            }
            Action::Read(value) | Action::Write(value) => {
                format!("it holds {}, not {}", words(state), words(value))
            }
        }
    }
}
