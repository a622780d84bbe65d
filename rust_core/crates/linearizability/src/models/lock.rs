//! A lock or a lease, with fencing tokens if it has any (Kleppmann, How to do distributed locking, 2016).

use mcp_chaos_history::{Outcome, Value};

use super::{unknown_function, value_bytes, words};
use crate::model::{Call, Model, Reading};

/// The model. Who acquires is the argument: a client's name, or null where the lock knows no names. Nobody
/// acquires it twice.
///
/// | function | argument | answer | failures that observe |
/// |---|---|---|---|
/// | `acquire` | the holder | a fencing token (a whole number), else it does not tell | `held`: somebody held it, perhaps the same |
/// | `release` | the holder | | `not-held`: this holder did not hold it |
/// | `renew` | the holder | ok: this holder held it | `not-held`: it did not |
/// | `expire` | the holder | the lease of this holder ended | |
/// | `read` | | the holder; null: nobody | |
///
/// Tokens increase strictly from each acquisition that told one to the next. An answer that is the holder itself
/// is an echo and no token. A lease may end without anybody's word: a history says so with an `expire` of unknown
/// outcome, invoked at the earliest moment at which the lease may end.
#[derive(Clone, Debug, Default)]
pub struct Lock {
    /// Who holds it at the beginning.
    pub holder: Option<Value>,
}

/// Who holds the lock, and the last token that was told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    holder: Option<Value>,
    token: Option<i64>,
}

/// What an operation did, as its outcome tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Found the lock free, and took it for this holder, under this token.
    Acquire(Value, Option<i64>),
    /// Found this holder, and set the lock free.
    Release(Value),
    /// Found that somebody holds it.
    Held,
    /// Found that this holder does not hold it.
    NotHeld(Value),
    /// Found this holder, or nobody.
    HeldBy(Option<Value>),
}

impl Model for Lock {
    type State = State;
    type Action = Action;

    fn by_key(&self) -> bool {
        true
    }

    fn read(&self, call: &Call) -> Result<Reading<Action>, String> {
        let holder = || call.argument.clone();
        Ok(match (call.f, call.outcome) {
            ("acquire", Outcome::Ok(answer)) => {
                let token = answer.as_int().filter(|_| answer != call.argument);
                Reading::Certain(Action::Acquire(holder(), token))
            }
            ("acquire", Outcome::Unknown) => Reading::Possible(Action::Acquire(holder(), None)),
            ("acquire", Outcome::Fail(Some("held"))) => Reading::Certain(Action::Held),
            ("release" | "expire", Outcome::Ok(_)) => Reading::Certain(Action::Release(holder())),
            ("release" | "expire", Outcome::Unknown) => Reading::Possible(Action::Release(holder())),
            ("release" | "renew", Outcome::Fail(Some("not-held" | "not_held"))) => {
                Reading::Certain(Action::NotHeld(holder()))
            }
            ("renew", Outcome::Ok(_)) => Reading::Certain(Action::HeldBy(Some(holder()))),
            ("read", Outcome::Ok(Value::Null)) => Reading::Certain(Action::HeldBy(None)),
            ("read", Outcome::Ok(holder)) => Reading::Certain(Action::HeldBy(Some(holder.clone()))),
            ("acquire" | "release" | "expire" | "renew" | "read", _) => Reading::Nothing,
            _ => return unknown_function(call, "lock"),
        })
    }

    fn initial(&self) -> State {
        State { holder: self.holder.clone(), token: None }
    }

    fn step(&self, state: &State, action: &Action, next: &mut Vec<State>) {
        match action {
            // None is less than any token.
            Action::Acquire(holder, token)
                if state.holder.is_none() && (token.is_none() || *token > state.token) =>
            {
                next.push(State { holder: Some(holder.clone()), token: token.or(state.token) });
            }
            Action::Release(holder) if state.holder.as_ref() == Some(holder) => {
                next.push(State { holder: None, token: state.token });
            }
            Action::Held if state.holder.is_some() => next.push(state.clone()),
            Action::NotHeld(holder) if state.holder.as_ref() != Some(holder) => next.push(state.clone()),
            Action::HeldBy(holder) if state.holder == *holder => next.push(state.clone()),
            _ => {}
        }
    }

    fn is_observer(&self, action: &Action) -> bool {
        matches!(action, Action::Held | Action::NotHeld(_) | Action::HeldBy(_))
    }

    fn state_bytes(&self, state: &State) -> usize {
        state.holder.as_ref().map_or(0, value_bytes)
    }

    fn state_in_words(&self, state: &State) -> String {
        let holder = match &state.holder {
            None => "free".into(),
            Some(Value::Null) => "held".into(),
            Some(holder) => format!("held by {}", words(holder)),
        };
        match state.token {
            Some(token) => format!("{holder}, last token {token}"),
            None => holder,
        }
    }

    fn why_not(&self, state: &State, action: &Action) -> String {
        match (action, &state.holder, state.token) {
            (Action::Acquire(_, Some(token)), None, Some(last)) => {
                format!("the last token was {last}, not less than {token}")
            }
            (_, None, _) => "nobody holds it".into(),
            (_, Some(Value::Null), _) => "it is held".into(),
            (_, Some(holder), _) => format!("{} holds it", words(holder)),
        }
    }
}
