//! What the search needs to know of one key's history: a register with reads, writes, compare-and-set.

use mcp_chaos_evidence::{Function, Kind};
use serde_json::Value;

use crate::{hash::Map, operations::Operation};

/// A value's number. Values that nobody observes are all [`OTHER`]: nobody can tell them apart.
pub(super) type ValueId = u32;

/// A value that no operation reads or compares with.
pub(super) const OTHER: ValueId = 0;

/// What an operation did to the register, as its outcome tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Sets the value.
    Write { new: ValueId },
    /// Finds the expected value and sets a new one.
    Cas { expected: ValueId, new: ValueId },
    /// Finds this value.
    Read { value: ValueId },
    /// Finds another value than the expected one.
    Mismatch { expected: ValueId },
}

impl Action {
    pub(super) fn is_mutation(self) -> bool {
        matches!(self, Action::Write { .. } | Action::Cas { .. })
    }

    /// The value that it observes, if it compares with one.
    pub(super) fn observes(self) -> Option<ValueId> {
        match self {
            Action::Write { .. } => None,
            Action::Cas { expected, .. } | Action::Mismatch { expected } => Some(expected),
            Action::Read { value } => Some(value),
        }
    }

    /// The value that it leaves behind.
    pub(super) fn produces(self) -> Option<ValueId> {
        match self {
            Action::Write { new } | Action::Cas { new, .. } => Some(new),
            _ => None,
        }
    }

    fn renumber(&mut self, numbers: &[ValueId]) {
        let at = |value: &mut ValueId| *value = numbers[*value as usize];
        match self {
            Action::Write { new } => at(new),
            Action::Cas { expected, new } => {
                at(expected);
                at(new);
            }
            Action::Read { value } => at(value),
            Action::Mismatch { expected } => at(expected),
        }
    }
}

/// An operation that constrains the order, or may take part in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub action: Action,
    /// True: it took effect between invocation and completion. False: at any time after its invocation, or
    /// never.
    pub required: bool,
    /// Which of the key's operations this is.
    pub operation: u32,
}

/// What is known of a value over the whole history.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ValueFacts {
    /// How many operations observe it.
    pub observers: u32,
    /// How many of these are required to (a read that answered, a compare-and-set that succeeded).
    pub required: u32,
    /// How many operations produce it; the initial value counts as one.
    pub producers: u32,
}

/// An invocation or a completion of a step, by the step's number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Moment {
    Invoke(u32),
    Return(u32),
}

/// One key's history, ready for the search.
#[derive(Debug)]
pub(super) struct Register {
    pub steps: Vec<Step>,
    pub moments: Vec<Moment>,
    pub facts: Vec<ValueFacts>,
    pub initial: ValueId,
    /// The most steps ever open at once.
    pub width: usize,
}

/// A value as a key of the interning map; numbers and strings without a copy.
#[derive(PartialEq, Eq, Hash)]
enum Name<'a> {
    Null,
    Integer(i64),
    Text(&'a str),
    Json(String),
}

#[derive(Default)]
struct Names<'a>(Map<Name<'a>, ValueId>);

impl<'a> Names<'a> {
    fn number(&mut self, value: &'a Value) -> ValueId {
        let name = match value {
            Value::Null => Name::Null,
            Value::Number(number) => match number.as_i64() {
                Some(integer) => Name::Integer(integer),
                None => Name::Json(number.to_string()),
            },
            Value::String(text) => Name::Text(text),
            other => Name::Json(other.to_string()),
        };
        let next = self.0.len() as ValueId;
        *self.0.entry(name).or_insert(next)
    }
}

/// Prepares the operations of one key; else says which makes no sense. What neither constrains the order nor
/// can explain anything is left out: failed operations, reads without an answer, other functions.
pub(super) fn prepare<'a>(operations: &[Operation<'a>], initial: &'a Value) -> Result<Register, String> {
    let mut names = Names::default();
    let initial = names.number(initial);
    let mut steps = Vec::with_capacity(operations.len());
    for (number, operation) in operations.iter().enumerate() {
        let kind = operation.kind();
        let argument = &operation.invoke.value;
        let required = kind == Kind::Ok || operation.is_mismatch();
        let action = match (&operation.invoke.f, kind) {
            (Function::Read, Kind::Ok) => Action::Read {
                value: names.number(operation.completion.map_or(argument, |answer| &answer.value)),
            },
            (Function::Write, Kind::Ok | Kind::Info) => Action::Write { new: names.number(argument) },
            (Function::Cas, _) if required || kind == Kind::Info => {
                let Some([expected, new]) = argument.as_array().map(Vec::as_slice) else {
                    return Err(format!(
                        "event {}: a cas takes [expected, new], not {argument}",
                        operation.invoked_at
                    ));
                };
                if kind == Kind::Fail {
                    Action::Mismatch { expected: names.number(expected) }
                } else {
                    Action::Cas { expected: names.number(expected), new: names.number(new) }
                }
            }
            _ => continue,
        };
        steps.push(Step { action, required, operation: number as u32 });
    }

    let mut facts = vec![ValueFacts::default(); names.0.len()];
    facts[initial as usize].producers = 1;
    for step in &steps {
        if let Some(value) = step.action.observes() {
            facts[value as usize].observers += 1;
            facts[value as usize].required +=
                u32::from(step.required && !matches!(step.action, Action::Mismatch { .. }));
        }
        if let Some(value) = step.action.produces() {
            facts[value as usize].producers += 1;
        }
    }
    let initial = merge_unobserved(&mut steps, &mut facts, initial);
    drop_unobservable(&mut steps, &mut facts, operations);
    let (moments, width) = order(&steps, operations);
    Ok(Register { steps, moments, facts, initial, width })
}

/// Gives all values that nobody observes the same number, [`OTHER`]: every observer (a read, a comparison)
/// answers the same whichever of them the register holds. Gives back the initial value's number.
fn merge_unobserved(steps: &mut [Step], facts: &mut Vec<ValueFacts>, initial: ValueId) -> ValueId {
    let mut merged = vec![ValueFacts::default()];
    let numbers: Vec<ValueId> = facts
        .iter()
        .map(|fact| {
            if fact.observers == 0 {
                merged[OTHER as usize].producers += fact.producers;
                return OTHER;
            }
            merged.push(*fact);
            merged.len() as ValueId - 1
        })
        .collect();
    steps.iter_mut().for_each(|step| step.action.renumber(&numbers));
    *facts = merged;
    numbers[initial as usize]
}

/// Leaves out operations of unknown outcome that cannot explain anything.
///
/// - A compare-and-set whose expected value nobody ever produces never takes effect.
/// - A mutation to [`OTHER`] invoked after the last mismatch ended. Take an order in which it takes effect.
///   Until the next mutation the register holds OTHER, which no read and no compare-and-set finds; a mismatch
///   could (it only needs *another* value), but all have ended. The next mutation is thus a write, which does
///   the same whatever was there before. So the order without it is as good; and one without it was always
///   allowed, its outcome being unknown.
fn drop_unobservable(steps: &mut Vec<Step>, facts: &mut [ValueFacts], operations: &[Operation]) {
    let last_mismatch = steps
        .iter()
        .filter(|step| matches!(step.action, Action::Mismatch { .. }))
        .map(|step| operations[step.operation as usize].completed_at)
        .max();
    steps.retain(|step| {
        let invoked_at = operations[step.operation as usize].invoked_at;
        let idle = !step.required
            && (step.action.produces() == Some(OTHER) && last_mismatch.is_none_or(|last| invoked_at > last)
                || matches!(step.action, Action::Cas { expected, .. } if facts[expected as usize].producers == 0));
        if idle {
            if let Some(value) = step.action.observes() {
                facts[value as usize].observers -= 1;
            }
            if let Some(value) = step.action.produces() {
                facts[value as usize].producers -= 1;
            }
        }
        !idle
    });
}

/// The steps' invocations and completions in the order of the history. A step of unknown outcome never ends.
fn order(steps: &[Step], operations: &[Operation]) -> (Vec<Moment>, usize) {
    let mut returns: Vec<(usize, u32)> = Vec::with_capacity(steps.len());
    for (number, step) in steps.iter().enumerate() {
        if step.required {
            returns.push((operations[step.operation as usize].completed_at, number as u32));
        }
    }
    returns.sort_unstable();
    let mut moments = Vec::with_capacity(steps.len() + returns.len());
    let mut returns = returns.into_iter().peekable();
    let (mut open, mut width) = (0_usize, 0_usize);
    for (number, step) in steps.iter().enumerate() {
        let invoked_at = operations[step.operation as usize].invoked_at;
        while let Some((_, ended)) = returns.next_if(|(at, _)| *at < invoked_at) {
            moments.push(Moment::Return(ended));
            open -= 1;
        }
        moments.push(Moment::Invoke(number as u32));
        open += 1;
        width = width.max(open);
    }
    moments.extend(returns.map(|(_, ended)| Moment::Return(ended)));
    (moments, width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{operations::pair, testing::history};

    fn steps(text: &str) -> usize {
        let events = history(text);
        prepare(&pair(&events).unwrap(), &Value::Null).unwrap().steps.len()
    }

    #[test]
    fn what_cannot_matter_is_left_out() {
        assert_eq!(
            steps(
                "1 invoke write 5; 1 fail write 5; 2 invoke read; 2 fail read; 3 invoke cas 1 2; 3 fail cas 1 2"
            ),
            0
        );
        // Nobody reads 5; but a mismatch that is still to come may need it.
        assert_eq!(steps("1 invoke write 5; 1 info write 5; 2 invoke read; 2 ok read -"), 1);
        assert_eq!(steps("1 invoke write 5; 1 info write 5; 2 invoke cas - 1; 2 fail cas - 1 mismatch"), 2);
        assert_eq!(steps("2 invoke cas - 1; 2 fail cas - 1 mismatch; 1 invoke write 5; 1 info write 5"), 1);
        // Nobody ever wrote 8.
        assert_eq!(steps("1 invoke cas 8 9; 1 info cas 8 9; 2 invoke read; 2 ok read 9"), 1);
    }

    #[test]
    fn a_cas_without_a_pair_is_named() {
        let events = history("1 invoke cas 1; 1 ok cas 1");
        assert!(prepare(&pair(&events).unwrap(), &Value::Null).unwrap_err().contains("event 0"));
    }
}
