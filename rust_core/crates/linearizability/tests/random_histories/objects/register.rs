use serde_json::{Value as Json, json};

use crate::{
    draws::Draws,
    object::{Asked, Object, Reply, Values},
};

/// With `cas`, or without.
#[derive(Clone, Debug, PartialEq)]
pub struct Register<const CAS: bool>(Option<i64>);

#[derive(Clone, Debug)]
pub enum Op {
    Read,
    Write(Option<i64>),
    Cas(Option<i64>, Option<i64>),
}

/// Now and then null.
fn perhaps(value: i64, draws: &mut Draws) -> Option<i64> {
    (!draws.one_in(6)).then_some(value)
}

impl<const CAS: bool> Object for Register<CAS> {
    const MODEL: &'static str = if CAS { "cas-register" } else { "register" };
    type Op = Op;

    fn begin(values: &mut Values) -> Self {
        Register(values.draws.one_in(4).then(|| values.any_value()))
    }

    fn initial(&self) -> Option<Json> {
        self.0.map(Json::from)
    }

    fn ask(&self, values: &mut Values) -> Op {
        let new = values.new_value();
        let new = perhaps(new, &mut values.draws);
        match values.draws.below(if CAS { 5 } else { 4 }) {
            0 | 1 => Op::Read,
            2 | 3 => Op::Write(new),
            _ if values.draws.one_in(2) => Op::Cas(self.0, new),
            _ => {
                let expected = values.any_value();
                Op::Cas(perhaps(expected, &mut values.draws), new)
            }
        }
    }

    fn asked(op: &Op) -> Asked {
        let (f, argument) = match op {
            Op::Read => ("read", Json::Null),
            Op::Write(new) => ("write", json!(new)),
            Op::Cas(expected, new) => ("cas", json!([expected, new])),
        };
        Asked { f, key: "k", argument }
    }

    fn outcomes(&self, op: &Op) -> Vec<(Self, Reply)> {
        vec![match op {
            Op::Read => (self.clone(), Reply::Ok(json!(self.0))),
            Op::Write(new) => (Register(*new), Reply::Ok(Json::Null)),
            Op::Cas(expected, new) if self.0 == *expected => (Register(*new), Reply::Ok(Json::Null)),
            Op::Cas(..) => (self.clone(), Reply::Refused("mismatch")),
        }]
    }

    fn observations(op: &Op) -> &'static [&'static str] {
        if let Op::Cas(..) = op { &["mismatch"] } else { &[] }
    }

    fn any_reply(op: &Op, values: &mut Values) -> Reply {
        match op {
            Op::Read => {
                let value = values.any_value();
                Reply::Ok(json!(perhaps(value, &mut values.draws)))
            }
            Op::Cas(..) if values.draws.one_in(2) => Reply::Refused("mismatch"),
            _ => Reply::Ok(Json::Null),
        }
    }
}
