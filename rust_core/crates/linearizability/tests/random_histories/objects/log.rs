use serde_json::{Value as Json, json};

use crate::{
    draws::Draws,
    object::{Asked, Object, Reply, Values},
};

#[derive(Clone, Debug, PartialEq)]
pub struct Log(Vec<i64>);

#[derive(Clone, Debug)]
pub enum Op {
    Append(i64),
    Read,
    ReadAt(usize),
    Length,
}

impl Object for Log {
    const MODEL: &'static str = "log";
    type Op = Op;

    fn begin(values: &mut Values) -> Self {
        Log(if values.draws.one_in(4) { vec![values.any_value()] } else { Vec::new() })
    }

    fn initial(&self) -> Option<Json> {
        (!self.0.is_empty()).then(|| json!(self.0))
    }

    fn ask(&self, values: &mut Values) -> Op {
        match values.draws.below(6) {
            0..=2 => Op::Append(values.new_value()),
            3 => Op::Read,
            4 => Op::ReadAt(values.draws.below(self.0.len() as u64 + 2) as usize),
            _ => Op::Length,
        }
    }

    fn asked(op: &Op) -> Asked {
        let (f, argument) = match op {
            Op::Append(entry) => ("append", json!(entry)),
            Op::Read => ("read", Json::Null),
            Op::ReadAt(offset) => ("read-at", json!(offset)),
            Op::Length => ("length", Json::Null),
        };
        Asked { f, key: "k", argument }
    }

    fn outcomes(&self, op: &Op) -> Vec<(Self, Reply)> {
        vec![match op {
            Op::Append(entry) => {
                let mut after = self.clone();
                after.0.push(*entry);
                (after, Reply::Ok(json!(self.0.len())))
            }
            Op::Read => (self.clone(), Reply::Ok(json!(self.0))),
            Op::ReadAt(offset) if *offset >= self.0.len() => (self.clone(), Reply::Refused("out-of-range")),
            Op::ReadAt(offset) => (self.clone(), Reply::Ok(json!(self.0[*offset]))),
            Op::Length => (self.clone(), Reply::Ok(json!(self.0.len()))),
        }]
    }

    fn observations(op: &Op) -> &'static [&'static str] {
        if let Op::ReadAt(_) = op { &["out-of-range"] } else { &[] }
    }

    fn agrees(op: &Op, told: &Reply, full: &Reply) -> bool {
        told == full || matches!((op, told), (Op::Append(_), Reply::Ok(Json::Null)))
    }

    fn retold(op: &Op, reply: Reply, draws: &mut Draws) -> Reply {
        match op {
            Op::Append(_) if draws.one_in(2) => Reply::Ok(Json::Null),
            _ => reply,
        }
    }

    fn any_reply(op: &Op, values: &mut Values) -> Reply {
        Reply::Ok(match op {
            Op::Append(_) | Op::Length => json!(values.draws.below(4)),
            Op::Read => {
                let length = values.draws.below(4);
                json!((0..length).map(|_| values.any_value()).collect::<Vec<_>>())
            }
            Op::ReadAt(_) if values.draws.one_in(2) => return Reply::Refused("out-of-range"),
            Op::ReadAt(_) => json!(values.any_value()),
        })
    }
}
