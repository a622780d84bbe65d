use serde_json::{Value as Json, json};

use crate::{
    draws::Draws,
    object::{Asked, Object, Reply, Values},
};

/// Who holds it, and the last token told.
#[derive(Clone, Debug, PartialEq)]
pub struct Lock {
    holder: Option<Json>,
    token: i64,
}

#[derive(Clone, Debug)]
pub enum Op {
    Acquire(Json),
    Release(Json),
    Renew(Json),
    Expire(Json),
    Read,
}

impl Object for Lock {
    const MODEL: &'static str = "lock";
    type Op = Op;

    fn begin(values: &mut Values) -> Self {
        Lock { holder: values.draws.one_in(4).then(|| json!("ann")), token: i64::MIN }
    }

    fn initial(&self) -> Option<Json> {
        self.holder.clone()
    }

    fn ask(&self, values: &mut Values) -> Op {
        let mut who = match values.draws.below(5) {
            0 | 1 => json!("ann"),
            2 | 3 => json!("bob"),
            _ => Json::Null,
        };
        match (values.draws.below(11), &self.holder) {
            (0..=3, _) => Op::Acquire(who),
            (7, _) => Op::Read,
            (choice, holder) => {
                if let Some(holder) = holder.as_ref().filter(|_| !values.draws.one_in(4)) {
                    who = holder.clone();
                }
                match choice {
                    4..=6 => Op::Release(who),
                    8 | 9 => Op::Expire(who),
                    _ => Op::Renew(who),
                }
            }
        }
    }

    fn asked(op: &Op) -> Asked {
        let (f, argument) = match op {
            Op::Acquire(who) => ("acquire", who.clone()),
            Op::Release(who) => ("release", who.clone()),
            Op::Renew(who) => ("renew", who.clone()),
            Op::Expire(who) => ("expire", who.clone()),
            Op::Read => ("read", Json::Null),
        };
        Asked { f, key: "k", argument }
    }

    /// Without tokens, of which there is no end.
    fn outcomes(&self, op: &Op) -> Vec<(Self, Reply)> {
        let set = |holder| (Lock { holder, token: self.token }, Reply::Ok(Json::Null));
        let holds = |who: &Json| self.holder.as_ref() == Some(who);
        vec![match op {
            Op::Acquire(who) if self.holder.is_none() => set(Some(who.clone())),
            Op::Acquire(_) => (self.clone(), Reply::Refused("held")),
            Op::Release(who) | Op::Expire(who) if holds(who) => set(None),
            Op::Renew(who) if holds(who) => set(self.holder.clone()),
            Op::Release(_) | Op::Expire(_) | Op::Renew(_) => (self.clone(), Reply::Refused("not-held")),
            // Of a holder without a name a read cannot tell.
            Op::Read if self.holder == Some(Json::Null) => (self.clone(), Reply::Refused("nameless")),
            Op::Read => (self.clone(), Reply::Ok(json!(self.holder))),
        }]
    }

    fn observations(op: &Op) -> &'static [&'static str] {
        match op {
            Op::Acquire(_) => &["held"],
            Op::Release(_) | Op::Renew(_) => &["not-held", "not_held"],
            _ => &[],
        }
    }

    fn perform(&self, op: &Op, draws: &mut Draws) -> (Self, Reply) {
        let (mut after, mut reply) = self.outcomes(op).remove(0);
        if matches!((op, &reply), (Op::Acquire(_), Reply::Ok(_))) && !draws.one_in(3) {
            after.token = self.token.max(0) + 1 + draws.below(2) as i64;
            reply = Reply::Ok(json!(after.token));
        }
        (after, reply)
    }

    fn allows(&self, op: &Op, told: Option<&Reply>) -> Vec<Self> {
        let (mut after, full) = self.outcomes(op).remove(0);
        let is_possible = match (op, told, &full) {
            (_, None, full) => matches!(full, Reply::Ok(_)),
            (Op::Acquire(_), Some(Reply::Ok(token)), Reply::Ok(_)) => match token.as_i64() {
                Some(token) => {
                    after.token = token;
                    token > self.token
                }
                None => true,
            },
            (Op::Release(_) | Op::Renew(_), Some(Reply::Refused("not_held")), full) => {
                *full == Reply::Refused("not-held")
            }
            (_, Some(told), full) => told == full,
        };
        if is_possible { vec![after] } else { Vec::new() }
    }

    fn any_reply(op: &Op, values: &mut Values) -> Reply {
        let draws = &mut values.draws;
        match op {
            Op::Acquire(_) => match draws.below(3) {
                0 => Reply::Refused("held"),
                1 => Reply::Ok(Json::Null),
                _ => Reply::Ok(json!(draws.below(5))),
            },
            Op::Release(_) | Op::Renew(_) => match draws.below(4) {
                0 => Reply::Refused("not-held"),
                1 => Reply::Refused("not_held"),
                _ => Reply::Ok(Json::Null),
            },
            Op::Expire(_) => Reply::Ok(Json::Null),
            Op::Read => Reply::Ok(draws.one_of(&[Json::Null, json!("ann"), json!("bob")]).clone()),
        }
    }
}
