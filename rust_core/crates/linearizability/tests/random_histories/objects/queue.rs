use std::collections::VecDeque;

use serde_json::{Value as Json, json};

use crate::{
    draws::Draws,
    object::{Asked, Object, Reply, Values},
};

/// First in, first out; or in any order, if not `ORDERED`.
#[derive(Clone, Debug, PartialEq)]
pub struct Queue<const ORDERED: bool>(VecDeque<i64>);

#[derive(Clone, Debug)]
pub enum Op {
    Enqueue(i64),
    Dequeue,
}

impl<const ORDERED: bool> Object for Queue<ORDERED> {
    const MODEL: &'static str = if ORDERED { "queue" } else { "bag" };
    type Op = Op;

    fn begin(values: &mut Values) -> Self {
        Queue(if values.draws.one_in(4) { VecDeque::from([values.any_value(), 7]) } else { VecDeque::new() })
    }

    fn initial(&self) -> Option<Json> {
        (!self.0.is_empty()).then(|| json!(self.0))
    }

    fn ask(&self, values: &mut Values) -> Op {
        if values.draws.below(2) == 0 { Op::Enqueue(values.new_value()) } else { Op::Dequeue }
    }

    fn asked(op: &Op) -> Asked {
        let (f, argument) = match op {
            Op::Enqueue(element) => ("enqueue", json!(element)),
            Op::Dequeue => ("dequeue", Json::Null),
        };
        Asked { f, key: "k", argument }
    }

    fn outcomes(&self, op: &Op) -> Vec<(Self, Reply)> {
        match op {
            Op::Enqueue(element) => {
                let mut after = self.clone();
                after.0.push_back(*element);
                vec![(after, Reply::Ok(Json::Null))]
            }
            Op::Dequeue if self.0.is_empty() => vec![(self.clone(), Reply::Refused("empty"))],
            Op::Dequeue => {
                let choices = if ORDERED { 1 } else { self.0.len() };
                (0..choices)
                    .map(|at| {
                        let mut after = self.clone();
                        let element = after.0.remove(at);
                        (after, Reply::Ok(json!(element)))
                    })
                    .collect()
            }
        }
    }

    fn observations(op: &Op) -> &'static [&'static str] {
        if let Op::Dequeue = op { &["empty"] } else { &[] }
    }

    fn agrees(op: &Op, told: &Reply, full: &Reply) -> bool {
        match (op, told) {
            (Op::Dequeue, Reply::Ok(Json::Null)) => *full == Reply::Refused("empty"),
            _ => told == full,
        }
    }

    fn retold(_op: &Op, reply: Reply, draws: &mut Draws) -> Reply {
        if reply == Reply::Refused("empty") && draws.one_in(2) { Reply::Ok(Json::Null) } else { reply }
    }

    fn any_reply(op: &Op, values: &mut Values) -> Reply {
        match op {
            Op::Enqueue(_) => Reply::Ok(Json::Null),
            Op::Dequeue if values.draws.one_in(4) => Reply::Refused("empty"),
            Op::Dequeue => Reply::Ok(json!(values.any_value())),
        }
    }
}
