//! What an object does, one operation after another.

use std::{fmt::Debug, hash::Hash};

use mcp_chaos_history::{History, Operation, Outcome, Value};

/// An operation as a model sees it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// What it does: `read`, `write`, …
    pub f: &'a str,
    /// The object's name; empty in histories of one object.
    pub key: &'a str,
    /// Its argument; null for none.
    pub argument: &'a Value,
    /// How it ended.
    pub outcome: Outcome<'a>,
}

impl<'a> Call<'a> {
    /// The call of one of the history's operations.
    pub fn of(history: &'a History, operation: &Operation) -> Call<'a> {
        Call {
            f: history.function(operation),
            key: history.key(operation),
            argument: history.values.get(operation.argument),
            outcome: history.outcome(operation),
        }
    }
}

/// What a call says of the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading<A> {
    /// It certainly took effect, or observed something, between its invocation and its completion.
    Certain(A),
    /// It may have taken effect, at any time after its invocation, or never.
    Possible(A),
    /// It constrains nothing and explains nothing: a failure without an observation, a read without an answer,
    /// a function that the model passes over.
    Nothing,
}

/// A sequential object. It may be non-deterministic: a step may lead to several states.
pub trait Model {
    /// What the object holds. Equal states must be indistinguishable.
    type State: Clone + Debug + Eq + Hash;
    /// An operation together with what is known of its outcome. Operations with equal actions are
    /// interchangeable but for their intervals.
    type Action: Clone + Debug + Eq + Hash + 'static;

    /// Whether the history may be parted by key, each key being an object of its own.
    fn by_key(&self) -> bool;

    /// What a call says.
    ///
    /// # Errors
    /// Says what was expected if the call makes no sense to this model (a `cas` without a pair).
    fn read(&self, call: &Call) -> Result<Reading<Self::Action>, String>;

    /// What the object holds at the beginning.
    fn initial(&self) -> Self::State;

    /// Adds to `next` every state in which the action may leave the object: none if it is impossible there.
    fn step(&self, state: &Self::State, action: &Self::Action, next: &mut Vec<Self::State>);

    /// Whether the action leaves every state as it is wherever it is possible. False is always safe; true
    /// makes the search fast.
    fn is_observer(&self, action: &Self::Action) -> bool {
        let _ = action;
        false
    }

    /// The part of the object that the action is about, by name. Actions of different parts commute: neither
    /// enables, hinders or changes what the other does, and whether one is possible shows in its own part alone.
    /// One name for all is always safe; a map that names its keys is searched without trying in which order
    /// operations on different keys took effect.
    fn part<'a>(&self, action: &'a Self::Action) -> &'a str {
        let _ = action;
        ""
    }

    /// The same object with what one of the actions tells of all others, and which one that is. No order that explains
    /// these actions (all of a history's, each of them observed for certain or only possible) leads through a step that
    /// it forbids: so it explains exactly what this one explains, and a search need not try the rest. What it finds
    /// inexplicable is so only once the telling action is completed, too. None if nothing is gained.
    fn informed(&self, actions: &[Self::Action]) -> Option<(Self, usize)>
    where
        Self: Sized,
    {
        let _ = actions;
        None
    }

    /// Memory in bytes that the state holds beyond its own size and shares with none of the states it came
    /// from: what one more such state costs an engine.
    fn state_bytes(&self, state: &Self::State) -> usize {
        let _ = state;
        0
    }

    /// The state in words: `7`, `[1, 2]`, `nothing`.
    fn state_in_words(&self, state: &Self::State) -> String;

    /// Why the action is impossible in this state, in words that follow a comma: `it holds 7, not 3`. The action
    /// may be of any kind, and is impossible there.
    fn why_not(&self, state: &Self::State, action: &Self::Action) -> String {
        let _ = action;
        format!("it holds {}", self.state_in_words(state))
    }
}

impl<M: Model> Model for &M {
    type State = M::State;
    type Action = M::Action;

    fn by_key(&self) -> bool {
        (**self).by_key()
    }

    fn read(&self, call: &Call) -> Result<Reading<M::Action>, String> {
        (**self).read(call)
    }

    fn initial(&self) -> M::State {
        (**self).initial()
    }

    fn step(&self, state: &M::State, action: &M::Action, next: &mut Vec<M::State>) {
        (**self).step(state, action, next);
    }

    fn is_observer(&self, action: &M::Action) -> bool {
        (**self).is_observer(action)
    }

    fn part<'a>(&self, action: &'a M::Action) -> &'a str {
        (**self).part(action)
    }

    fn state_bytes(&self, state: &M::State) -> usize {
        (**self).state_bytes(state)
    }

    fn state_in_words(&self, state: &M::State) -> String {
        (**self).state_in_words(state)
    }

    fn why_not(&self, state: &M::State, action: &M::Action) -> String {
        (**self).why_not(state, action)
    }
}

/// Whether an operation, as it ended, leaves the object as it is: nobody asks whether it had taken effect.
pub(crate) fn observes<M: Model>(model: &M, history: &History, operation: &Operation) -> bool {
    match model.read(&Call::of(history, operation)) {
        Ok(Reading::Certain(action) | Reading::Possible(action)) => model.is_observer(&action),
        _ => true,
    }
}
