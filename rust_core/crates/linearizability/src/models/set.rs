//! A set.

use std::hash::{Hash, Hasher};

use mcp_chaos_history::{Outcome, Value};

use super::{elements, tree::Tree, unknown_function, value_bytes, words};
use crate::model::{Call, Model, Reading};

/// The model.
///
/// | function | argument | answer | failures that observe |
/// |---|---|---|---|
/// | `add` | an element | true: it was new; false: it was there already; else it does not tell | `exists`: it was there already |
/// | `remove` | an element | true: it was there; false: it was not; else it does not tell | `not-found`: it was not there |
/// | `contains` | an element | true or false | |
/// | `read` | | all elements, each once, in any order | |
///
/// An answer that is the element itself is an echo and does not tell.
#[derive(Clone, Debug, Default)]
pub struct Set {
    /// What it holds at the beginning.
    pub initial: Vec<Value>,
}

/// All elements, as a read told them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elements {
    /// Sorted.
    list: Box<[Value]>,
    /// Of the set of them.
    digest: u64,
}

impl Hash for Elements {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.digest);
    }
}

/// What an operation did, as its outcome tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The element is in the set now.
    Add(Value),
    /// It was not, and is now.
    AddNew(Value),
    /// The element is not in the set now.
    Remove(Value),
    /// It was, and is not now.
    RemoveFound(Value),
    /// Found whether the element is in the set.
    Contains(Value, bool),
    /// Found exactly these elements.
    Read(Elements),
}

impl Model for Set {
    type State = Tree<Value, ()>;
    type Action = Action;

    fn by_key(&self) -> bool {
        true
    }

    fn read(&self, call: &Call) -> Result<Reading<Action>, String> {
        let element = call.argument;
        let told = match call.outcome {
            Outcome::Ok(Value::Bool(answer)) if *element != Value::Bool(*answer) => Some(*answer),
            _ => None,
        };
        let contains = |is_there| Reading::Certain(Action::Contains(element.clone(), is_there));
        Ok(match (call.f, call.outcome) {
            ("add", Outcome::Ok(_)) => match told {
                Some(true) => Reading::Certain(Action::AddNew(element.clone())),
                Some(false) => contains(true),
                None => Reading::Certain(Action::Add(element.clone())),
            },
            ("add", Outcome::Fail(Some("exists"))) => contains(true),
            ("add", Outcome::Unknown) => Reading::Possible(Action::Add(element.clone())),
            ("remove", Outcome::Ok(_)) => match told {
                Some(true) => Reading::Certain(Action::RemoveFound(element.clone())),
                Some(false) => contains(false),
                None => Reading::Certain(Action::Remove(element.clone())),
            },
            ("remove", Outcome::Fail(Some("not-found" | "not_found"))) => contains(false),
            ("remove", Outcome::Unknown) => Reading::Possible(Action::Remove(element.clone())),
            ("contains", Outcome::Ok(Value::Bool(answer))) => contains(*answer),
            ("contains", Outcome::Ok(other)) => {
                return Err(format!("a contains answers true or false, not {other}"));
            }
            ("read", Outcome::Ok(answer)) => {
                let mut list = elements(call.f, answer)?.to_vec();
                list.sort_unstable();
                let digest =
                    list.iter().map(|element| Tree::entry_digest(element, &())).fold(0, u64::wrapping_add);
                Reading::Certain(Action::Read(Elements { list: list.into(), digest }))
            }
            ("add" | "remove" | "contains" | "read", _) => Reading::Nothing,
            _ => return unknown_function(call, "set"),
        })
    }

    fn initial(&self) -> Tree<Value, ()> {
        self.initial.iter().map(|element| (element.clone(), ())).collect()
    }

    fn step(&self, state: &Tree<Value, ()>, action: &Action, next: &mut Vec<Tree<Value, ()>>) {
        let has = |element: &Value| state.get(element).is_some();
        match action {
            Action::Add(element) if has(element) => next.push(state.clone()),
            Action::Remove(element) if !has(element) => next.push(state.clone()),
            Action::Add(element) => next.push(state.with(element.clone(), ())),
            Action::AddNew(element) if !has(element) => next.push(state.with(element.clone(), ())),
            Action::Remove(element) => next.push(state.without(element)),
            Action::RemoveFound(element) if has(element) => next.push(state.without(element)),
            Action::Contains(element, is_there) if has(element) == *is_there => next.push(state.clone()),
            Action::Read(elements)
                if state.len() == elements.list.len()
                    && state.digest() == elements.digest
                    && state.iter().map(|(element, ())| element).eq(&elements.list) =>
            {
                next.push(state.clone());
            }
            _ => {}
        }
    }

    fn is_observer(&self, action: &Action) -> bool {
        matches!(action, Action::Contains(..) | Action::Read(_))
    }

    fn state_bytes(&self, state: &Tree<Value, ()>) -> usize {
        state.change_bytes() + state.iter().next().map_or(0, |(element, ())| value_bytes(element))
    }

    fn state_in_words(&self, state: &Tree<Value, ()>) -> String {
        words(&Value::list(state.iter().map(|(element, ())| element.clone())))
    }

    fn why_not(&self, state: &Tree<Value, ()>, action: &Action) -> String {
        match action {
            Action::AddNew(element) | Action::Contains(element, false) => {
                format!("{} is in it", words(element))
            }
            Action::RemoveFound(element) | Action::Contains(element, true) => {
                format!("{} is not in it", words(element))
            }
            Action::Read(elements) => why_not_read(state, elements),
            Action::Add(_) | Action::Remove(_) => format!("it holds {}", self.state_in_words(state)),
        }
    }
}

/// One element that makes the difference tells more than two long lists.
fn why_not_read(state: &Tree<Value, ()>, elements: &Elements) -> String {
    if let Some(twice) = elements.list.windows(2).find(|two| two[0] == two[1]) {
        return format!("no set holds {} twice", words(&twice[0]));
    }
    if let Some(missing) = elements.list.iter().find(|element| state.get(*element).is_none()) {
        return format!("{} is not in it", words(missing));
    }
    match state.iter().find(|(element, ())| elements.list.binary_search(element).is_err()) {
        Some((more, ())) => format!("{} is in it too", words(more)),
        None => "it holds just that".into(),
    }
}
