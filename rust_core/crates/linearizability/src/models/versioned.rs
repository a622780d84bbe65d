//! A register with a version that counts its changes, as a key of etcd has.

use mcp_chaos_history::{Outcome, Value};

use super::{pair, unknown_function, value_bytes, words};
use crate::model::{Call, Model, Reading};

/// The model. Each change adds exactly one to the version, which begins at 0. At the greatest whole number of 64 bits
/// no change is possible any more.
///
/// | function | argument | answer | failures that observe |
/// |---|---|---|---|
/// | `read` | | `[version, value]` | |
/// | `write` | the new value | see below | |
/// | `cas` | `[expected value, new value]` | see below | `mismatch`: it held another value |
/// | `cas-version` | `[expected version, new value]` | see below | `mismatch`: it was at another version |
///
/// A change answers `[version, value]` as they are after it, the version alone, or nothing (null). A version that
/// is null in an answer was not told.
#[derive(Clone, Debug, Default)]
pub struct VersionedRegister {
    /// What it holds at the beginning.
    pub initial: Versioned,
}

/// A version and a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Versioned {
    /// How many changes there have been.
    pub version: i64,
    /// What the last one set.
    pub value: Value,
}

/// What an operation did, as its outcome tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Found this.
    Read(Told),
    /// Set a value.
    Change {
        /// Found this.
        found: Condition,
        /// The value set.
        new: Value,
        /// What it left behind.
        told: Told,
    },
    /// Found this not to hold.
    Mismatch(Condition),
}

/// What must hold for a change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Anything.
    Any,
    /// This value.
    Value(Value),
    /// This version.
    Version(i64),
}

/// What an answer tells of version and value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Told {
    version: Option<i64>,
    value: Option<Value>,
}

impl Told {
    fn of(answer: &Value) -> Option<Told> {
        match answer {
            Value::Null => Some(Told::default()),
            Value::Int(version) => Some(Told { version: Some(*version), value: None }),
            Value::List(list) => match &**list {
                [Value::Null, value] => Some(Told { version: None, value: Some(value.clone()) }),
                [Value::Int(version), value] => {
                    Some(Told { version: Some(*version), value: Some(value.clone()) })
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn holds(&self, version: i64, value: &Value) -> bool {
        self.version.is_none_or(|told| told == version)
            && self.value.as_ref().is_none_or(|told| told == value)
    }

    fn in_words(&self) -> String {
        match (&self.version, &self.value) {
            (Some(version), Some(value)) => format!("{} at version {version}", words(value)),
            (Some(version), None) => format!("at version {version}"),
            (None, Some(value)) => words(value),
            (None, None) => "anything".into(),
        }
    }
}

impl Condition {
    fn holds(&self, state: &Versioned) -> bool {
        match self {
            Condition::Any => true,
            Condition::Value(value) => *value == state.value,
            Condition::Version(version) => *version == state.version,
        }
    }

    fn of(call: &Call) -> Result<(Condition, Value), String> {
        match call.f {
            "write" => Ok((Condition::Any, call.argument.clone())),
            "cas" => {
                let (expected, new) = pair(call, "[expected value, new value]")?;
                Ok((Condition::Value(expected.clone()), new.clone()))
            }
            _ => match pair(call, "[expected version, new value]")? {
                (Value::Int(expected), new) => Ok((Condition::Version(*expected), new.clone())),
                (other, _) => Err(format!("a cas-version expects a version, a whole number, not {other}")),
            },
        }
    }
}

impl Model for VersionedRegister {
    type State = Versioned;
    type Action = Action;

    fn by_key(&self) -> bool {
        true
    }

    fn read(&self, call: &Call) -> Result<Reading<Action>, String> {
        let is_cas = matches!(call.f, "cas" | "cas-version" | "cas_version");
        if call.f == "read" {
            let Outcome::Ok(answer) = call.outcome else { return Ok(Reading::Nothing) };
            return match Told::of(answer) {
                Some(told) if told.value.is_some() => Ok(Reading::Certain(Action::Read(told))),
                _ => Err(format!("a read answers [version, value], not {answer}")),
            };
        }
        if !is_cas && call.f != "write" {
            return unknown_function(call, "versioned-register");
        }
        Ok(match call.outcome {
            Outcome::Ok(answer) => {
                let (found, new) = Condition::of(call)?;
                let told = Told::of(answer).ok_or_else(|| {
                    format!("a {} answers [version, value], a version or null, not {answer}", call.f)
                })?;
                Reading::Certain(Action::Change { found, new, told })
            }
            Outcome::Fail(Some("mismatch")) if is_cas => {
                Reading::Certain(Action::Mismatch(Condition::of(call)?.0))
            }
            Outcome::Fail(_) => Reading::Nothing,
            Outcome::Unknown => {
                let (found, new) = Condition::of(call)?;
                Reading::Possible(Action::Change { found, new, told: Told::default() })
            }
        })
    }

    fn initial(&self) -> Versioned {
        self.initial.clone()
    }

    fn step(&self, state: &Versioned, action: &Action, next: &mut Vec<Versioned>) {
        match action {
            Action::Read(told) if told.holds(state.version, &state.value) => next.push(state.clone()),
            Action::Change { found, new, told } => {
                let after = state.version.checked_add(1).filter(|_| found.holds(state));
                if let Some(version) = after.filter(|version| told.holds(*version, new)) {
                    next.push(Versioned { version, value: new.clone() });
                }
            }
            Action::Mismatch(condition) if !condition.holds(state) => next.push(state.clone()),
            _ => {}
        }
    }

    fn is_observer(&self, action: &Action) -> bool {
        matches!(action, Action::Read(_) | Action::Mismatch(_))
    }

    fn state_bytes(&self, state: &Versioned) -> usize {
        value_bytes(&state.value)
    }

    fn state_in_words(&self, state: &Versioned) -> String {
        format!("{} at version {}", words(&state.value), state.version)
    }

    fn why_not(&self, state: &Versioned, action: &Action) -> String {
        let holds = self.state_in_words(state);
        match action {
            Action::Read(told) => format!("it holds {holds}, not {}", told.in_words()),
            Action::Mismatch(_) => format!("it holds {holds}, as expected"),
            Action::Change { found: Condition::Value(expected), .. } if *expected != state.value => {
                format!("it holds {holds}, not the expected {}", words(expected))
            }
            Action::Change { found: Condition::Version(expected), .. } if *expected != state.version => {
                format!("it is at version {}, not at the expected {expected}", state.version)
            }
            Action::Change { new, told, .. } => match state.version.checked_add(1) {
                Some(version) => {
                    format!("it would leave {} at version {version}, not {}", words(new), told.in_words())
                }
                None => format!("it is at version {}, which nothing comes after", state.version),
            },
        }
    }
}
