use serde_json::{Value as Json, json};

use crate::{
    draws::Draws,
    object::{Asked, Object, Reply, Values},
};

#[derive(Clone, Debug, PartialEq)]
pub struct Versioned {
    version: i64,
    value: Option<i64>,
}

#[derive(Clone, Debug)]
pub enum Op {
    Read,
    Write(i64),
    Cas(Option<i64>, i64),
    CasVersion(i64, i64),
}

impl Versioned {
    fn changed(&self, new: i64) -> (Self, Reply) {
        let version = self.version + 1;
        (Versioned { version, value: Some(new) }, Reply::Ok(json!([version, new])))
    }
}

impl Object for Versioned {
    const MODEL: &'static str = "versioned-register";
    type Op = Op;

    fn begin(values: &mut Values) -> Self {
        match values.draws.below(4) {
            0 => Versioned { version: 3, value: Some(values.any_value()) },
            _ => Versioned { version: 0, value: None },
        }
    }

    fn initial(&self) -> Option<Json> {
        (self.version > 0).then(|| json!([self.version, self.value]))
    }

    fn ask(&self, values: &mut Values) -> Op {
        let new = values.new_value();
        match values.draws.below(8) {
            0..=2 => Op::Read,
            3 | 4 => Op::Write(new),
            5 if values.draws.one_in(2) => Op::Cas(self.value, new),
            5 => Op::Cas(Some(values.any_value()), new),
            _ => Op::CasVersion(self.version + values.draws.below(3) as i64 - 1, new),
        }
    }

    fn asked(op: &Op) -> Asked {
        let (f, argument) = match op {
            Op::Read => ("read", Json::Null),
            Op::Write(new) => ("write", json!(new)),
            Op::Cas(expected, new) => ("cas", json!([expected, new])),
            Op::CasVersion(expected, new) => ("cas-version", json!([expected, new])),
        };
        Asked { f, key: "k", argument }
    }

    fn outcomes(&self, op: &Op) -> Vec<(Self, Reply)> {
        vec![match op {
            Op::Read => (self.clone(), Reply::Ok(json!([self.version, self.value]))),
            Op::Write(new) => self.changed(*new),
            Op::Cas(expected, new) if *expected == self.value => self.changed(*new),
            Op::CasVersion(expected, new) if *expected == self.version => self.changed(*new),
            _ => (self.clone(), Reply::Refused("mismatch")),
        }]
    }

    fn observations(op: &Op) -> &'static [&'static str] {
        match op {
            Op::Cas(..) | Op::CasVersion(..) => &["mismatch"],
            _ => &[],
        }
    }

    fn agrees(op: &Op, told: &Reply, full: &Reply) -> bool {
        let (Reply::Ok(told), Reply::Ok(full)) = (told, full) else { return told == full };
        let version = |told: &Json| told.is_null() || *told == full[0];
        match told {
            Json::Array(both) => version(&both[0]) && both[1] == full[1],
            told => !matches!(op, Op::Read) && version(told),
        }
    }

    fn retold(op: &Op, reply: Reply, draws: &mut Draws) -> Reply {
        let Reply::Ok(full) = &reply else { return reply };
        match draws.below(4) {
            0 => Reply::Ok(json!([null, full[1]])),
            1 if !matches!(op, Op::Read) => Reply::Ok(full[0].clone()),
            2 if !matches!(op, Op::Read) => Reply::Ok(Json::Null),
            _ => reply,
        }
    }

    fn any_reply(op: &Op, values: &mut Values) -> Reply {
        if !matches!(op, Op::Read | Op::Write(_)) && values.draws.one_in(2) {
            return Reply::Refused("mismatch");
        }
        let version = values.draws.below(6);
        let value = match op {
            Op::Write(new) | Op::Cas(_, new) | Op::CasVersion(_, new) if !values.draws.one_in(4) => *new,
            _ => values.any_value(),
        };
        Self::retold(op, Reply::Ok(json!([version, value])), &mut values.draws)
    }
}
