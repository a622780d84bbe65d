//! The registry of MCP servers that this project's nodes replicate (docs/node.md), as its clients see it.

use std::sync::Arc;

use mcp_chaos_history::{Outcome, Value};

use super::{elements, tree::Tree, unknown_function, words};
use crate::model::{Call, Model, Reading};

/// The model. An operation names its server in the key; `list` has none.
///
/// | function | argument | answer | failures that observe |
/// |---|---|---|---|
/// | `register` | `{transport, endpoint}` | | |
/// | `deregister` | | | `not_found`: there was no such server |
/// | `set_state` | the state | | `not_found`: there was no such server |
/// | `lookup` | | `{transport, endpoint, state}`; null: there was no such server | `not_found`: the same |
/// | `list` | | all servers, `{name, transport, endpoint, state}` each, in any order | |
///
/// A server that is registered again under its name is replaced: its state is `registered`, as a new one's is.
/// Other fields (`version`, `log_index`) are passed over.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// Whether each server is judged apart: for histories without `list`.
    pub parted: bool,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    transport: Value,
    endpoint: Value,
    state: Value,
}

/// The state of a server that was just registered.
const REGISTERED: &str = "registered";

impl Server {
    fn of(value: &Value, state: Option<&str>) -> Option<Server> {
        Some(Server {
            transport: value.get("transport")?.clone(),
            endpoint: value.get("endpoint")?.clone(),
            state: state.map(Value::text).or_else(|| value.get("state").cloned())?,
        })
    }

    fn in_words(&self) -> String {
        format!("{} over {}, {}", words(&self.endpoint), text(&self.transport), text(&self.state))
    }
}

/// A word without quotation marks.
fn text(value: &Value) -> String {
    value.as_text().map_or_else(|| words(value), str::to_owned)
}

/// What an operation did, as its outcome tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Put a server there.
    Register(Arc<str>, Server),
    /// Found a server, and removed it.
    Deregister(Arc<str>),
    /// Found a server, and set its state.
    SetState(Arc<str>, Value),
    /// Found this server, or none of the name.
    Lookup(Arc<str>, Option<Server>),
    /// Found exactly these servers, sorted by name.
    List(Box<[(Arc<str>, Server)]>),
}

impl Model for Registry {
    type State = Tree<Arc<str>, Server>;
    type Action = Action;

    fn by_key(&self) -> bool {
        self.parted
    }

    fn read(&self, call: &Call) -> Result<Reading<Action>, String> {
        let name = || Arc::from(call.key);
        let action = match (call.f, call.outcome) {
            ("register", Outcome::Ok(_) | Outcome::Unknown) => {
                let server = Server::of(call.argument, Some(REGISTERED)).ok_or_else(|| {
                    format!("a register takes {{transport, endpoint}}, not {}", call.argument)
                })?;
                Action::Register(name(), server)
            }
            ("deregister", Outcome::Ok(_) | Outcome::Unknown) => Action::Deregister(name()),
            ("set_state" | "set-state", Outcome::Ok(_) | Outcome::Unknown) => {
                Action::SetState(name(), call.argument.clone())
            }
            (
                "deregister" | "set_state" | "set-state" | "lookup",
                Outcome::Fail(Some("not_found" | "not-found")),
            )
            | ("lookup", Outcome::Ok(Value::Null)) => Action::Lookup(name(), None),
            ("lookup", Outcome::Ok(answer)) => {
                let server = Server::of(answer, None).ok_or_else(|| {
                    format!("a lookup answers {{transport, endpoint, state}} or null, not {answer}")
                })?;
                Action::Lookup(name(), Some(server))
            }
            ("list", Outcome::Ok(_)) if self.parted => {
                return Err("a list is about all servers: it cannot be judged server by server".into());
            }
            ("list", Outcome::Ok(answer)) => {
                let mut servers = elements(call.f, answer)?
                    .iter()
                    .map(|server| {
                        let name = server.get("name").and_then(Value::as_text);
                        name.zip(Server::of(server, None))
                            .map(|(name, server)| (name.into(), server))
                            .ok_or_else(|| {
                                format!(
                                    "a list answers {{name, transport, endpoint, state}} each, not {server}"
                                )
                            })
                    })
                    .collect::<Result<Vec<(Arc<str>, Server)>, String>>()?;
                servers.sort_by(|(one, _), (two, _)| one.cmp(two));
                Action::List(servers.into())
            }
            ("register" | "deregister" | "set_state" | "set-state" | "lookup" | "list", _) => {
                return Ok(Reading::Nothing);
            }
            _ => return unknown_function(call, "registry"),
        };
        Ok(match call.outcome {
            Outcome::Unknown => Reading::Possible(action),
            _ => Reading::Certain(action),
        })
    }

    fn initial(&self) -> Tree<Arc<str>, Server> {
        Tree::EMPTY
    }

    fn step(&self, state: &Self::State, action: &Action, next: &mut Vec<Self::State>) {
        match action {
            Action::Register(name, server) => next.push(state.with(Arc::clone(name), server.clone())),
            Action::Deregister(name) if state.get(&**name).is_some() => next.push(state.without(&**name)),
            Action::SetState(name, new) => {
                next.extend(state.get(&**name).map(|server| {
                    state.with(Arc::clone(name), Server { state: new.clone(), ..server.clone() })
                }))
            }
            Action::Lookup(name, server) if state.get(&**name) == server.as_ref() => next.push(state.clone()),
            Action::List(servers)
                if state.len() == servers.len()
                    && state.iter().eq(servers.iter().map(|(name, server)| (name, server))) =>
            {
                next.push(state.clone());
            }
            _ => {}
        }
    }

    fn is_observer(&self, action: &Action) -> bool {
        matches!(action, Action::Lookup(..) | Action::List(_))
    }

    fn state_bytes(&self, state: &Self::State) -> usize {
        state.change_bytes()
    }

    fn state_in_words(&self, state: &Self::State) -> String {
        let servers: Vec<String> =
            state.iter().map(|(name, server)| format!("{name} ({})", server.in_words())).collect();
        if servers.is_empty() { "no server".into() } else { servers.join(", ") }
    }

    fn why_not(&self, state: &Self::State, action: &Action) -> String {
        let found = |name: &str| match state.get(name) {
            Some(server) => format!("{name} is {}", server.in_words()),
            None => format!("there is no {name}"),
        };
        match action {
            Action::Lookup(name, Some(server)) if state.get(&**name).is_some() => {
                format!("{}, not {}", found(name), server.in_words())
            }
            Action::Register(name, _)
            | Action::Deregister(name)
            | Action::SetState(name, _)
            | Action::Lookup(name, _) => found(name),
            Action::List(servers) => servers
                .iter()
                .find(|(name, server)| state.get(&**name) != Some(server))
                .map(|(name, _)| found(name))
                .or_else(|| {
                    let listed = |name: &str| servers.iter().any(|(other, _)| &**other == name);
                    state
                        .iter()
                        .find(|(name, _)| !listed(name))
                        .map(|(name, _)| format!("there is {name} too"))
                })
                .unwrap_or_else(|| "no registry lists a server twice".into()),
        }
    }
}
