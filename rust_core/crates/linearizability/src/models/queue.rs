//! Queues: first in, first out; or in no order (a bag).

use std::hash::{Hash, Hasher};

use mcp_chaos_history::{Outcome, Value};

use super::{chain::Chain, digest, tree::Tree, unknown_function, value_bytes, words};
use crate::model::{Call, Model, Reading};

/// The model: what was enqueued first is dequeued first.
///
/// | function | argument | answer | failures that observe |
/// |---|---|---|---|
/// | `enqueue` | an element, not null | | |
/// | `dequeue` | | the element; null: it was empty | `empty`: it was |
#[derive(Clone, Debug, Default)]
pub struct Queue {
    /// What it holds at the beginning, the first in front.
    pub initial: Vec<Value>,
}

/// The model: as [`Queue`], but any element may be dequeued. A dequeue of unknown outcome may have taken any:
/// the model is not deterministic.
#[derive(Clone, Debug, Default)]
pub struct Bag {
    /// What it holds at the beginning.
    pub initial: Vec<Value>,
}

/// What an operation did, as its outcome tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Put the element in.
    Enqueue(Value),
    /// Took this element out.
    Dequeue(Value),
    /// Took some element out.
    DequeueAny,
    /// Found nothing.
    Empty,
}

fn read(call: &Call, model: &str) -> Result<Reading<Action>, String> {
    Ok(match (call.f, call.outcome) {
        ("enqueue", Outcome::Ok(_) | Outcome::Unknown) if *call.argument == Value::Null => {
            return Err("an enqueue takes any element but null".into());
        }
        ("enqueue", Outcome::Ok(_)) => Reading::Certain(Action::Enqueue(call.argument.clone())),
        ("enqueue", Outcome::Unknown) => Reading::Possible(Action::Enqueue(call.argument.clone())),
        ("dequeue", Outcome::Ok(Value::Null) | Outcome::Fail(Some("empty"))) => {
            Reading::Certain(Action::Empty)
        }
        ("dequeue", Outcome::Ok(element)) => Reading::Certain(Action::Dequeue(element.clone())),
        ("dequeue", Outcome::Unknown) => Reading::Possible(Action::DequeueAny),
        ("enqueue" | "dequeue", _) => Reading::Nothing,
        _ => return unknown_function(call, model),
    })
}

/// What a queue holds: a part turned round when its front was needed, and what came since.
#[derive(Clone, Debug)]
pub struct State {
    /// The first of all is the last link. Empty only if all is.
    front: Chain<Value>,
    /// In the order of arrival.
    back: Chain<Value>,
    len: usize,
    back_len: usize,
    digest: u64,
}

const ODD: u64 = 0xf135_7aea_2e62_a9c5;

impl State {
    const EMPTY: State = State { front: Chain::EMPTY, back: Chain::EMPTY, len: 0, back_len: 0, digest: 0 };

    fn with(&self, element: &Value) -> State {
        let mut after = self.clone();
        after.len += 1;
        // Of the elements' digests, each weighted by how many stand behind it: so it follows from the content,
        // and the first can be taken out again.
        after.digest = self.digest.wrapping_mul(ODD).wrapping_add(digest(element));
        if self.len == 0 {
            after.front = self.front.with(element.clone());
        } else {
            after.back = self.back.with(element.clone());
            after.back_len += 1;
        }
        after
    }

    fn first(&self) -> Option<&Value> {
        self.front.split_last().map(|(_, first)| first)
    }

    /// The queue without its first element; none if it is empty.
    fn without_first(&self) -> Option<State> {
        let (rest, first) = self.front.split_last()?;
        let weight = ODD.wrapping_pow(self.len as u32 - 1);
        let mut after = State {
            front: rest.clone(),
            len: self.len - 1,
            digest: self.digest.wrapping_sub(digest(first).wrapping_mul(weight)),
            ..self.clone()
        };
        if rest.split_last().is_none() {
            after.front =
                self.back.backwards().fold(Chain::EMPTY, |front, element| front.with(element.clone()));
            (after.back, after.back_len) = (Chain::EMPTY, 0);
        }
        Some(after)
    }

    fn list(&self) -> Vec<&Value> {
        let mut list: Vec<&Value> = self.front.backwards().chain(self.back.backwards()).collect();
        let back = self.len - self.back_len;
        list[back..].reverse();
        list
    }
}

impl PartialEq for State {
    fn eq(&self, other: &State) -> bool {
        if (self.len, self.digest) != (other.len, other.digest) {
            return false;
        }
        if !self.front.is_same(&other.front) || self.back_len != other.back_len {
            return self.list() == other.list();
        }
        self.back == other.back
    }
}

impl Eq for State {}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.digest);
    }
}

impl Model for Queue {
    type State = State;
    type Action = Action;

    fn by_key(&self) -> bool {
        true
    }

    fn read(&self, call: &Call) -> Result<Reading<Action>, String> {
        read(call, "queue")
    }

    fn initial(&self) -> State {
        self.initial.iter().fold(State::EMPTY, |state, element| state.with(element))
    }

    fn step(&self, state: &State, action: &Action, next: &mut Vec<State>) {
        match action {
            Action::Enqueue(element) => next.push(state.with(element)),
            Action::Dequeue(element) if state.first() == Some(element) => next.extend(state.without_first()),
            Action::DequeueAny => next.extend(state.without_first()),
            Action::Empty if state.len == 0 => next.push(state.clone()),
            _ => {}
        }
    }

    fn is_observer(&self, action: &Action) -> bool {
        *action == Action::Empty
    }

    fn state_bytes(&self, state: &State) -> usize {
        let last = state.back.split_last().map_or(0, |(_, last)| value_bytes(last));
        Chain::<Value>::LINK_BYTES + last
    }

    fn state_in_words(&self, state: &State) -> String {
        words(&Value::list(state.list().into_iter().cloned()))
    }

    fn why_not(&self, state: &State, action: &Action) -> String {
        match (state.first(), action) {
            (None, _) => "it is empty".into(),
            (Some(first), Action::Dequeue(element)) => {
                format!("{} is at the front, not {}", words(first), words(element))
            }
            (Some(first), _) => format!("{} is at the front", words(first)),
        }
    }
}

/// Each element, and how often it is there.
pub type Counts = Tree<Value, u32>;

impl Bag {
    fn with(state: &Counts, element: &Value) -> Counts {
        state.with(element.clone(), state.get(element).map_or(1, |count| count + 1))
    }

    fn without(state: &Counts, element: &Value, count: u32) -> Counts {
        match count {
            1 => state.without(element),
            _ => state.with(element.clone(), count - 1),
        }
    }
}

impl Model for Bag {
    type State = Counts;
    type Action = Action;

    fn by_key(&self) -> bool {
        true
    }

    fn read(&self, call: &Call) -> Result<Reading<Action>, String> {
        read(call, "bag")
    }

    fn initial(&self) -> Counts {
        self.initial.iter().fold(Counts::EMPTY, |state, element| Bag::with(&state, element))
    }

    fn step(&self, state: &Counts, action: &Action, next: &mut Vec<Counts>) {
        match action {
            Action::Enqueue(element) => next.push(Bag::with(state, element)),
            Action::Dequeue(element) => {
                next.extend(state.get(element).map(|count| Bag::without(state, element, *count)));
            }
            Action::DequeueAny => {
                next.extend(state.iter().map(|(element, count)| Bag::without(state, element, *count)));
            }
            Action::Empty if state.is_empty() => next.push(state.clone()),
            Action::Empty => {}
        }
    }

    fn is_observer(&self, action: &Action) -> bool {
        *action == Action::Empty
    }

    fn state_bytes(&self, state: &Counts) -> usize {
        state.change_bytes() + state.iter().next().map_or(0, |(element, _)| value_bytes(element))
    }

    fn state_in_words(&self, state: &Counts) -> String {
        words(&Value::list(state.iter().flat_map(|(element, count)| (0..*count).map(|_| element.clone()))))
    }

    fn why_not(&self, state: &Counts, action: &Action) -> String {
        match action {
            Action::Dequeue(element) if !state.is_empty() => {
                format!("it holds {}, not {}", self.state_in_words(state), words(element))
            }
            Action::Empty => format!("it holds {}", self.state_in_words(state)),
            _ => "it is empty".into(),
        }
    }
}
