use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use crate::{
    draws::Draws,
    object::{Asked, Object, Reply, Values},
};

#[derive(Clone, Debug, PartialEq)]
pub struct Set(BTreeSet<i64>);

#[derive(Clone, Debug)]
pub enum Op {
    Add(i64),
    Remove(i64),
    Contains(i64),
    Read,
}

fn sorted(list: &Json) -> Vec<i64> {
    let mut list: Vec<i64> =
        list.as_array().unwrap().iter().map(|element| element.as_i64().unwrap()).collect();
    list.sort_unstable();
    list
}

impl Object for Set {
    const MODEL: &'static str = "set";
    type Op = Op;

    fn begin(values: &mut Values) -> Self {
        Set(if values.draws.one_in(4) { BTreeSet::from([values.any_value()]) } else { BTreeSet::new() })
    }

    fn initial(&self) -> Option<Json> {
        (!self.0.is_empty()).then(|| json!(self.0))
    }

    fn ask(&self, values: &mut Values) -> Op {
        match values.draws.below(7) {
            0..=2 => Op::Add(values.new_value()),
            3 => Op::Remove(values.any_value()),
            4 => Op::Contains(values.any_value()),
            _ => Op::Read,
        }
    }

    fn asked(op: &Op) -> Asked {
        let (f, argument) = match op {
            Op::Add(element) => ("add", json!(element)),
            Op::Remove(element) => ("remove", json!(element)),
            Op::Contains(element) => ("contains", json!(element)),
            Op::Read => ("read", Json::Null),
        };
        Asked { f, key: "k", argument }
    }

    fn outcomes(&self, op: &Op) -> Vec<(Self, Reply)> {
        let mut after = self.0.clone();
        let answer = match op {
            Op::Add(element) => json!(after.insert(*element)),
            Op::Remove(element) => json!(after.remove(element)),
            Op::Contains(element) => json!(after.contains(element)),
            Op::Read => json!(after),
        };
        vec![(Set(after), Reply::Ok(answer))]
    }

    fn observations(op: &Op) -> &'static [&'static str] {
        match op {
            Op::Add(_) => &["exists"],
            Op::Remove(_) => &["not-found", "not_found"],
            _ => &[],
        }
    }

    fn agrees(op: &Op, told: &Reply, full: &Reply) -> bool {
        let Reply::Ok(full) = full else { unreachable!("it never refuses") };
        match (op, told) {
            (Op::Read, Reply::Ok(told)) => sorted(told) == sorted(full),
            (_, Reply::Ok(Json::Bool(told))) => full == told,
            (_, Reply::Ok(_)) => true,
            (_, Reply::Refused(_)) => *full == json!(false),
        }
    }

    fn retold(op: &Op, reply: Reply, draws: &mut Draws) -> Reply {
        match (op, reply) {
            (Op::Read, Reply::Ok(Json::Array(mut list))) => {
                draws.shuffle(&mut list);
                Reply::Ok(Json::Array(list))
            }
            (Op::Add(_) | Op::Remove(_), _) if draws.one_in(4) => Reply::Ok(Json::Null),
            (Op::Add(element) | Op::Remove(element), _) if draws.one_in(4) => Reply::Ok(json!(element)),
            (Op::Add(_), Reply::Ok(Json::Bool(false))) if draws.one_in(2) => Reply::Refused("exists"),
            (Op::Remove(_), Reply::Ok(Json::Bool(false))) if draws.one_in(2) => Reply::Refused("not-found"),
            (_, reply) => reply,
        }
    }

    fn any_reply(op: &Op, values: &mut Values) -> Reply {
        let answer = Reply::Ok(match op {
            Op::Read => {
                let length = values.draws.below(4);
                json!((0..length).map(|_| values.any_value()).collect::<Vec<_>>())
            }
            _ => json!(values.draws.one_in(2)),
        });
        Self::retold(op, answer, &mut values.draws)
    }
}
