use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::{
    draws::Draws,
    object::{Asked, Object, Reply, Values},
};

/// Endpoint and state, by name. All servers speak over standard input and output.
#[derive(Clone, Debug, PartialEq)]
pub struct Registry(BTreeMap<&'static str, (i64, &'static str)>);

#[derive(Clone, Debug)]
pub enum Op {
    Register(&'static str, i64),
    Deregister(&'static str),
    SetState(&'static str, &'static str),
    Lookup(&'static str),
    List,
}

fn any_state(draws: &mut Draws) -> &'static str {
    ["registered", "ready", "failed"][draws.below(3) as usize]
}

fn server(name: &str, endpoint: i64, state: &str) -> Json {
    // A version, which nobody looks at.
    json!({"name": name, "transport": "stdio", "endpoint": endpoint, "state": state, "version": 9})
}

impl Object for Registry {
    const MODEL: &'static str = "registry";
    type Op = Op;

    fn begin(_values: &mut Values) -> Self {
        Registry(BTreeMap::new())
    }

    fn initial(&self) -> Option<Json> {
        None
    }

    fn ask(&self, values: &mut Values) -> Op {
        let name = *values.draws.one_of(&["a", "b"]);
        match values.draws.below(9) {
            0..=2 => Op::Register(name, values.new_value()),
            3 => Op::Deregister(name),
            4 => Op::SetState(name, any_state(&mut values.draws)),
            5 | 6 => Op::Lookup(name),
            _ => Op::List,
        }
    }

    fn asked(op: &Op) -> Asked {
        let (f, key, argument) = match op {
            Op::Register(name, endpoint) => {
                ("register", *name, json!({"transport": "stdio", "endpoint": endpoint}))
            }
            Op::Deregister(name) => ("deregister", *name, Json::Null),
            Op::SetState(name, state) => ("set_state", *name, json!(state)),
            Op::Lookup(name) => ("lookup", *name, Json::Null),
            Op::List => ("list", "", Json::Null),
        };
        Asked { f, key, argument }
    }

    fn outcomes(&self, op: &Op) -> Vec<(Self, Reply)> {
        let mut after = self.clone();
        let mut not_found = false;
        let mut answer = Json::Null;
        match op {
            Op::Register(name, endpoint) => {
                after.0.insert(name, (*endpoint, "registered"));
            }
            Op::Deregister(name) => not_found = after.0.remove(name).is_none(),
            Op::SetState(name, state) => match after.0.get_mut(name) {
                Some(server) => server.1 = state,
                None => not_found = true,
            },
            Op::Lookup(name) => match self.0.get(name) {
                Some((endpoint, state)) => answer = server(name, *endpoint, state),
                None => not_found = true,
            },
            Op::List => {
                answer =
                    self.0.iter().map(|(name, (endpoint, state))| server(name, *endpoint, state)).collect();
            }
        }
        vec![(after, if not_found { Reply::Refused("not_found") } else { Reply::Ok(answer) })]
    }

    fn observations(op: &Op) -> &'static [&'static str] {
        match op {
            Op::Deregister(_) | Op::SetState(..) | Op::Lookup(_) => &["not_found", "not-found"],
            _ => &[],
        }
    }

    fn agrees(op: &Op, told: &Reply, full: &Reply) -> bool {
        match (op, told) {
            (Op::Lookup(_), Reply::Ok(Json::Null)) => *full == Reply::Refused("not_found"),
            (Op::List, Reply::Ok(told)) => {
                let Reply::Ok(full) = full else { unreachable!("it never refuses") };
                let [told, full] = [told, full].map(|list| {
                    let mut list: Vec<String> =
                        list.as_array().unwrap().iter().map(Json::to_string).collect();
                    list.sort_unstable();
                    list
                });
                told == full
            }
            _ => told == full,
        }
    }

    fn retold(op: &Op, reply: Reply, draws: &mut Draws) -> Reply {
        match (op, reply) {
            (Op::List, Reply::Ok(Json::Array(mut list))) => {
                draws.shuffle(&mut list);
                Reply::Ok(Json::Array(list))
            }
            (Op::Lookup(_), Reply::Refused(_)) if draws.one_in(2) => Reply::Ok(Json::Null),
            (_, reply) => reply,
        }
    }

    fn any_reply(op: &Op, values: &mut Values) -> Reply {
        let mut any_server = |name: &str| {
            let endpoint = values.any_value();
            server(name, endpoint, any_state(&mut values.draws))
        };
        let answer = match op {
            Op::Lookup(name) => any_server(name),
            Op::List => {
                let both = [any_server("a"), any_server("b")];
                let from = values.draws.below(3) as usize;
                json!(both[from.min(1)..(from + 1).min(2)])
            }
            _ => Json::Null,
        };
        let has_not_found = !Self::observations(op).is_empty();
        if has_not_found && values.draws.one_in(2) { Reply::Refused("not_found") } else { Reply::Ok(answer) }
    }
}
