//! A counter.

use mcp_chaos_history::{Outcome, Value};

use super::{unknown_function, whole_number};
use crate::model::{Call, Model, Reading};

/// The model. It never overflows.
///
/// | function | argument | answer | failures that observe |
/// |---|---|---|---|
/// | `add` | a whole number, perhaps negative; null is 1 | | |
/// | `increment`, `decrement` | as `add`; the latter takes it away | | |
/// | `add-and-get` | as `add` | the value after it | |
/// | `read` | | the value | |
#[derive(Clone, Debug, Default)]
pub struct Counter {
    /// What it counts from.
    pub initial: i64,
}

/// What an operation did, as its outcome tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Added this.
    Add(i128),
    /// Added the first and found the second after it.
    AddAndGet(i128, i128),
    /// Found this value.
    Read(i128),
}

impl Model for Counter {
    type State = i128;
    type Action = Action;

    fn by_key(&self) -> bool {
        true
    }

    fn read(&self, call: &Call) -> Result<Reading<Action>, String> {
        let amount = || match call.argument {
            Value::Null => Ok(1),
            argument => whole_number("the argument", argument).map(i128::from),
        };
        let (amount, answer) = match (call.f, call.outcome) {
            ("read", Outcome::Ok(answer)) => (0, Some(answer)),
            ("add-and-get" | "add_and_get", Outcome::Ok(answer)) => (amount()?, Some(answer)),
            ("add" | "increment" | "add-and-get" | "add_and_get", Outcome::Ok(_) | Outcome::Unknown) => {
                (amount()?, None)
            }
            ("decrement", Outcome::Ok(_) | Outcome::Unknown) => (-amount()?, None),
            ("read" | "add" | "increment" | "decrement" | "add-and-get" | "add_and_get", _) => {
                return Ok(Reading::Nothing);
            }
            _ => return unknown_function(call, "counter"),
        };
        let answer = answer
            .map(|answer| whole_number(&format!("the answer of {}", call.f), answer).map(i128::from))
            .transpose()?;
        Ok(match (amount, answer) {
            (0, Some(value)) => Reading::Certain(Action::Read(value)),
            (0, None) if call.outcome == Outcome::Unknown => Reading::Nothing,
            (amount, Some(value)) => Reading::Certain(Action::AddAndGet(amount, value)),
            (amount, None) if call.outcome == Outcome::Unknown => Reading::Possible(Action::Add(amount)),
            (amount, None) => Reading::Certain(Action::Add(amount)),
        })
    }

    fn initial(&self) -> i128 {
        self.initial.into()
    }

    fn step(&self, state: &i128, action: &Action, next: &mut Vec<i128>) {
        match action {
            Action::Add(amount) => next.push(state + amount),
            Action::AddAndGet(amount, value) if state + amount == *value => next.push(*value),
            Action::Read(value) if value == state => next.push(*state),
            _ => {}
        }
    }

    fn is_observer(&self, action: &Action) -> bool {
        matches!(action, Action::Read(_) | Action::Add(0))
    }

    fn state_in_words(&self, state: &i128) -> String {
        state.to_string()
    }

    fn why_not(&self, state: &i128, action: &Action) -> String {
        match action {
            Action::AddAndGet(amount, value) => {
                format!("it stands at {state}, and would be at {}, not {value}", state + amount)
            }
            Action::Read(value) | Action::Add(value) => format!("it stands at {state}, not {value}"),
        }
    }
}
