//! A map from keys to values, judged key by key or whole.

use std::sync::Arc;

use mcp_chaos_history::{Outcome, Value};

use super::{pair, rope::Rope, tree::Tree, unknown_function, words};
use crate::model::{Call, Model, Reading};

/// The model. An operation names its key.
///
/// | function | argument | answer | failures that observe |
/// |---|---|---|---|
/// | `get`, `read` | | the value | |
/// | `put`, `write` | the new value | | |
/// | `append` | text, put after the text that is there | | |
/// | `delete` | | whether the key was there; null does not tell | `not-found`: it was not there |
/// | `cas` | `[expected, new]` | | `mismatch`: there was another value |
///
/// A key that is not there reads as null, or as `""` ([`KeyValue::missing`]); null, wherever it stands, means the
/// same. So a key that holds the missing value and one that is not there are one state. Text appended to what is
/// not there is all there is; to what holds neither text nor nothing, nothing can be appended.
///
/// No operation touches two keys: parted or whole, the verdict is the same (Herlihy and Wing 1990, §3.1), and
/// parted it is found much faster.
#[derive(Clone, Debug)]
pub struct KeyValue {
    /// Whether each key is judged apart.
    pub parted: bool,
    /// What a key that is not there reads as.
    pub missing: Missing,
    /// What is there at the beginning.
    pub initial: Vec<(Arc<str>, Value)>,
}

/// What a key that is not there reads as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// Null.
    #[default]
    Null,
    /// The text `""`.
    EmptyText,
}

impl Default for KeyValue {
    fn default() -> KeyValue {
        KeyValue { parted: true, missing: Missing::Null, initial: Vec::new() }
    }
}

/// A value that is held.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Held {
    /// Text, which may have been appended to.
    Text(Rope),
    /// Any other value.
    Other(Value),
}

/// What was done with a key, as the outcome tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Action {
    key: Arc<str>,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum What {
    /// Found this; none: the key was not there.
    Get(Option<Held>),
    /// Found another value than this.
    Mismatch(Option<Held>),
    Put(Option<Held>),
    Append(Arc<str>),
    /// Found that the key was there, and removed it.
    Remove,
    Cas(Option<Held>, Option<Held>),
}

/// What keys hold. Those that are not there are not in it.
pub type State = Tree<Arc<str>, Held>;

impl KeyValue {
    fn held(&self, value: &Value) -> Option<Held> {
        match value {
            Value::Null => None,
            Value::Text(text) => self.held_text(Rope::from(&**text)),
            other => Some(Held::Other(other.clone())),
        }
    }

    fn held_text(&self, text: Rope) -> Option<Held> {
        let is_missing = self.missing == Missing::EmptyText && text == Rope::EMPTY;
        (!is_missing).then_some(Held::Text(text))
    }

    fn in_words(&self, held: Option<&Held>) -> String {
        match held {
            Some(Held::Text(text)) => words(&Value::text(&text.text())),
            Some(Held::Other(value)) => words(value),
            None if self.missing == Missing::EmptyText => "\"\"".into(),
            None => "null".into(),
        }
    }

    fn set(&self, state: &State, key: &Arc<str>, held: Option<Held>) -> State {
        match held {
            Some(held) => state.with(Arc::clone(key), held),
            None => state.without(&**key),
        }
    }
}

impl Model for KeyValue {
    type State = State;
    type Action = Action;

    fn by_key(&self) -> bool {
        self.parted
    }

    fn read(&self, call: &Call) -> Result<Reading<Action>, String> {
        let what = match (call.f, call.outcome) {
            ("get" | "read", Outcome::Ok(value)) => What::Get(self.held(value)),
            ("put" | "write", Outcome::Ok(_) | Outcome::Unknown) => What::Put(self.held(call.argument)),
            ("append", Outcome::Ok(_) | Outcome::Unknown) => match call.argument.as_text() {
                Some(text) => What::Append(text.into()),
                None => return Err(format!("an append takes a text, not {}", call.argument)),
            },
            ("delete", Outcome::Ok(Value::Bool(true))) => What::Remove,
            ("delete", Outcome::Ok(Value::Bool(false)) | Outcome::Fail(Some("not-found" | "not_found"))) => {
                What::Get(None)
            }
            ("delete", Outcome::Ok(_) | Outcome::Unknown) => What::Put(None),
            ("cas", Outcome::Fail(Some("mismatch"))) => {
                What::Mismatch(self.held(pair(call, "[expected, new]")?.0))
            }
            ("cas", Outcome::Ok(_) | Outcome::Unknown) => {
                let (expected, new) = pair(call, "[expected, new]")?;
                match (self.held(expected), self.held(new)) {
                    (expected, new) if expected == new => What::Get(expected),
                    (expected, new) => What::Cas(expected, new),
                }
            }
            ("get" | "read" | "put" | "write" | "append" | "delete" | "cas", _) => {
                return Ok(Reading::Nothing);
            }
            _ => return unknown_function(call, "key-value"),
        };
        let action = Action { key: call.key.into(), what };
        Ok(match call.outcome {
            Outcome::Unknown if self.is_observer(&action) => Reading::Nothing,
            Outcome::Unknown => Reading::Possible(action),
            _ => Reading::Certain(action),
        })
    }

    fn initial(&self) -> State {
        self.initial.iter().filter_map(|(key, value)| Some((Arc::clone(key), self.held(value)?))).collect()
    }

    fn step(&self, state: &State, action: &Action, next: &mut Vec<State>) {
        let held = state.get(&*action.key);
        let mut set = |new: Option<Held>| next.push(self.set(state, &action.key, new));
        match &action.what {
            What::Get(value) if held == value.as_ref() => next.push(state.clone()),
            What::Mismatch(expected) if held != expected.as_ref() => next.push(state.clone()),
            What::Put(new) if held == new.as_ref() => next.push(state.clone()),
            What::Put(new) => set(new.clone()),
            What::Append(piece) => match held {
                Some(Held::Text(text)) => set(self.held_text(text.with(piece))),
                Some(Held::Other(_)) => {}
                None => set(self.held_text(Rope::EMPTY.with(piece))),
            },
            What::Remove if held.is_some() => set(None),
            What::Cas(expected, new) if held == expected.as_ref() => set(new.clone()),
            _ => {}
        }
    }

    fn is_observer(&self, action: &Action) -> bool {
        matches!(action.what, What::Get(_) | What::Mismatch(_))
    }

    fn part<'a>(&self, action: &'a Action) -> &'a str {
        &action.key
    }

    fn state_bytes(&self, state: &State) -> usize {
        state.change_bytes() + Rope::PIECE_BYTES
    }

    fn state_in_words(&self, state: &State) -> String {
        if self.parted && state.len() <= 1 {
            return self.in_words(state.iter().next().map(|(_, held)| held));
        }
        let entries: Vec<String> =
            state.iter().map(|(key, held)| format!("{key} = {}", self.in_words(Some(held)))).collect();
        if entries.is_empty() { "nothing".into() } else { entries.join(", ") }
    }

    fn why_not(&self, state: &State, action: &Action) -> String {
        let held = state.get(&*action.key);
        let key = if self.parted { "it" } else { &*action.key };
        let holds = format!("{key} holds {}", self.in_words(held));
        match &action.what {
            What::Mismatch(_) => format!("{holds}, as expected"),
            What::Remove => format!("{key} holds nothing"),
            What::Append(_) => format!("{holds}, which is no text"),
            What::Cas(expected, _) => {
                format!("{holds}, not the expected {}", self.in_words(expected.as_ref()))
            }
            What::Get(value) | What::Put(value) => format!("{holds}, not {}", self.in_words(value.as_ref())),
        }
    }
}
