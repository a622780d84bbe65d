use serde_json::{Value as Json, json};

use crate::object::{Asked, Object, Reply, Values};

#[derive(Clone, Debug, PartialEq)]
pub struct Counter(i64);

#[derive(Clone, Debug)]
pub enum Op {
    Read,
    Add(i64),
    Increment,
    Decrement(i64),
    AddAndGet(i64),
}

impl Object for Counter {
    const MODEL: &'static str = "counter";
    type Op = Op;

    fn begin(values: &mut Values) -> Self {
        Counter(if values.draws.one_in(4) { 5 } else { 0 })
    }

    fn initial(&self) -> Option<Json> {
        (self.0 != 0).then(|| json!(self.0))
    }

    fn ask(&self, values: &mut Values) -> Op {
        let amount = values.draws.below(4) as i64 - 1;
        match values.draws.below(7) {
            0..=2 => Op::Read,
            3 => Op::Add(amount),
            4 => Op::Increment,
            5 => Op::Decrement(amount),
            _ => Op::AddAndGet(amount),
        }
    }

    fn asked(op: &Op) -> Asked {
        let (f, argument) = match op {
            Op::Read => ("read", Json::Null),
            Op::Add(amount) => ("add", json!(amount)),
            Op::Increment => ("increment", Json::Null),
            Op::Decrement(amount) => ("decrement", json!(amount)),
            Op::AddAndGet(amount) => ("add-and-get", json!(amount)),
        };
        Asked { f, key: "k", argument }
    }

    fn outcomes(&self, op: &Op) -> Vec<(Self, Reply)> {
        let (after, answer) = match op {
            Op::Read => (self.0, json!(self.0)),
            Op::Add(amount) => (self.0 + amount, Json::Null),
            Op::Increment => (self.0 + 1, Json::Null),
            Op::Decrement(amount) => (self.0 - amount, Json::Null),
            Op::AddAndGet(amount) => (self.0 + amount, json!(self.0 + amount)),
        };
        vec![(Counter(after), Reply::Ok(answer))]
    }

    fn observations(_op: &Op) -> &'static [&'static str] {
        &[]
    }

    fn any_reply(op: &Op, values: &mut Values) -> Reply {
        Reply::Ok(match op {
            Op::Read | Op::AddAndGet(_) => json!(values.draws.below(8) as i64 - 2),
            _ => Json::Null,
        })
    }
}
