//! What a sequential specification says, apart from the models: the two share no code.

use std::fmt::Debug;

use serde_json::Value as Json;

use crate::draws::Draws;

/// What an object answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Ok(Json),
    Refused(&'static str),
}

/// An operation as it stands in a history.
#[derive(Clone, Debug)]
pub struct Asked {
    pub f: &'static str,
    pub key: &'static str,
    pub argument: Json,
}

/// Where random operations take their values from.
pub struct Values {
    pub draws: Draws,
    /// How many different values there are.
    pub size: u64,
    /// Whether each value is used once only.
    pub unique: bool,
    used: i64,
}

impl Values {
    pub fn new(mut draws: Draws) -> Values {
        let size = 2 + draws.below(3);
        let unique = draws.one_in(2);
        Values { draws, size, unique, used: 0 }
    }

    /// A value to write.
    pub fn new_value(&mut self) -> i64 {
        self.used += 1;
        if self.unique { 100 + self.used } else { self.any_value() }
    }

    /// A value that may have been written.
    pub fn any_value(&mut self) -> i64 {
        match self.unique {
            true => 100 + self.draws.below(self.used as u64 + 2) as i64,
            false => 1 + self.draws.below(self.size) as i64,
        }
    }
}

/// An object, one operation after another.
pub trait Object: Clone + Debug + PartialEq {
    /// The model that this specifies.
    const MODEL: &'static str;

    /// An operation.
    type Op: Clone + Debug;

    /// A new object, perhaps not empty.
    fn begin(values: &mut Values) -> Self;

    /// The option `initial` that says how this object begins; none if it is empty.
    fn initial(&self) -> Option<Json>;

    /// The option `missing` of such objects.
    fn missing() -> Option<Json> {
        None
    }

    /// A random operation; looking at the object makes it more often one that can succeed.
    fn ask(&self, values: &mut Values) -> Self::Op;

    /// The operation as it stands in a history.
    fn asked(op: &Self::Op) -> Asked;

    /// Every state after the operation, with all that can be told of it. Never empty. A refusal leaves the
    /// object as it was.
    fn outcomes(&self, op: &Self::Op) -> Vec<(Self, Reply)>;

    /// The refusals that tell something of the object.
    fn observations(op: &Self::Op) -> &'static [&'static str];

    /// Whether an object that could have replied `full` may be one that replied `told`.
    fn agrees(_op: &Self::Op, told: &Reply, full: &Reply) -> bool {
        told == full
    }

    /// Carries the operation out.
    fn perform(&self, op: &Self::Op, draws: &mut Draws) -> (Self, Reply) {
        draws.one_of(&self.outcomes(op)).clone()
    }

    /// Every state after an operation that replied this; none told: it took effect, and nobody knows what it
    /// replied.
    fn allows(&self, op: &Self::Op, told: Option<&Reply>) -> Vec<Self> {
        self.outcomes(op)
            .into_iter()
            .filter(|(_, full)| match told {
                Some(told) => Self::agrees(op, told, full),
                None => matches!(full, Reply::Ok(_)),
            })
            .map(|(after, _)| after)
            .collect()
    }

    /// The same reply told otherwise, perhaps with less in it.
    fn retold(_op: &Self::Op, reply: Reply, _draws: &mut Draws) -> Reply {
        reply
    }

    /// Some reply that this operation could have had.
    fn any_reply(op: &Self::Op, values: &mut Values) -> Reply;
}
