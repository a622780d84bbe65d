//! What the search needs to know of one key's history: a register with reads, writes, compare-and-set.

pub use crate::problem::Moment;
use crate::problem::{moments, moments_bytes};
use mcp_chaos_history::{Ending, History, Operation, ValueId};

/// A value's number among those that the history's operations on this register tell apart. Values that nobody
/// observes are all [`OTHER`].
pub type Held = u32;

/// A value that no operation reads or compares with.
pub const OTHER: Held = 0;

/// What an operation did to the register, as its outcome tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Sets the value.
    Write {
        /// What it sets.
        new: Held,
    },
    /// Finds the expected value and sets a new one.
    Cas {
        /// What it finds.
        expected: Held,
        /// What it sets.
        new: Held,
    },
    /// Finds this value.
    Read {
        /// What it finds.
        value: Held,
    },
    /// Finds another value than the expected one.
    Mismatch {
        /// What it does not find.
        expected: Held,
    },
}

impl Action {
    /// Whether it sets a value.
    pub fn is_mutation(self) -> bool {
        matches!(self, Action::Write { .. } | Action::Cas { .. })
    }

    /// The value that it observes, if it compares with one.
    pub fn observes(self) -> Option<Held> {
        match self {
            Action::Write { .. } => None,
            Action::Cas { expected, .. } | Action::Mismatch { expected } => Some(expected),
            Action::Read { value } => Some(value),
        }
    }

    /// The value that it leaves behind.
    pub fn produces(self) -> Option<Held> {
        match self {
            Action::Write { new } | Action::Cas { new, .. } => Some(new),
            _ => None,
        }
    }

    pub(super) fn renumber(&mut self, numbers: &[Held]) {
        let at = |value: &mut Held| *value = numbers[*value as usize];
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
pub struct Step {
    /// What it did.
    pub action: Action,
    /// True: it took effect between invocation and completion. False: at any time after its invocation, or
    /// never.
    pub required: bool,
    /// Its number among the history's operations.
    pub operation: u32,
}

/// What is known of a value over the whole history.
#[derive(Clone, Copy, Debug, Default)]
pub struct ValueFacts {
    /// How many operations observe it.
    pub observers: u32,
    /// How many of these are required to (a read that answered, a compare-and-set that succeeded).
    pub required: u32,
    /// How many operations produce it; the initial value counts as one.
    pub producers: u32,
}

/// One key's history, ready for the search.
#[derive(Debug)]
pub struct Register {
    /// In the order of their invocations.
    pub steps: Vec<Step>,
    /// In the order of the history.
    pub moments: Vec<Moment>,
    /// Of each value by its number.
    pub facts: Vec<ValueFacts>,
    /// The value at the beginning.
    pub initial: Held,
    /// The initial value as the history has it.
    pub initial_value: ValueId,
    /// How many operations did not find what they expected.
    pub mismatches: usize,
    /// The most steps ever open at once.
    pub width: usize,
}

impl Register {
    /// What it takes to prepare so many of the history's operations, at most: about that where each names a value
    /// that no other does.
    pub(crate) fn bytes_for(history: &History, operations: usize) -> u64 {
        let values = 4 * history.values.len() as u64;
        values + 84 * operations as u64 + moments_bytes(history, operations)
    }

    /// Memory held, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        (self.steps.capacity() * size_of::<Step>()
            + self.moments.capacity() * size_of::<Moment>()
            + self.facts.capacity() * size_of::<ValueFacts>()) as u64
    }
}

/// What preparing writes on, kept from one key to the next: so a key costs what its own operations do, however
/// many values the history has.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The number of each of the history's values; `Held::MAX` for none.
    numbers: Vec<Held>,
    /// The values that have one, in the order of their numbers.
    numbered: Vec<ValueId>,
}

impl Scratch {
    /// Memory held, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        ((self.numbers.capacity() + self.numbered.capacity()) * size_of::<Held>()) as u64
    }

    /// Numbers the values that occur, densely.
    fn number(&mut self, value: ValueId) -> Held {
        let number = &mut self.numbers[value as usize];
        if *number == Held::MAX {
            *number = self.numbered.len() as Held;
            self.numbered.push(value);
        }
        *number
    }

    fn begin(&mut self, values: usize) {
        for value in self.numbered.drain(..) {
            self.numbers[value as usize] = Held::MAX;
        }
        if self.numbers.len() < values {
            self.numbers.resize(values, Held::MAX);
        }
    }
}

/// As [`prepare_with`], for a history of one key.
///
/// # Errors
/// As [`prepare_with`].
pub fn prepare(
    history: &History,
    operations: impl IntoIterator<Item = u32>,
    initial: ValueId,
) -> Result<Register, (u32, String)> {
    prepare_with(history, operations, initial, &mut Scratch::default())
}

/// Prepares the operations of one key, given by their numbers (ascending). What neither constrains the order nor
/// can explain anything is left out: failed operations, reads without an answer, other functions.
///
/// # Errors
/// An operation that makes no sense: its number, and what was expected.
pub fn prepare_with(
    history: &History,
    operations: impl IntoIterator<Item = u32>,
    initial: ValueId,
    names: &mut Scratch,
) -> Result<Register, (u32, String)> {
    names.begin(history.values.len() + 1);
    let initial_value = initial;
    let initial = names.number(initial_value);
    let pair = |operation: &Operation, number: u32| {
        history.values.pair(operation.argument).ok_or_else(|| {
            (number, format!("a cas takes [expected, new], not {}", history.values.get(operation.argument)))
        })
    };
    let [read, write, cas] = ["read", "write", "cas"].map(|name| history.functions.find(name));
    let operations = operations.into_iter();
    let mut steps = Vec::with_capacity(operations.size_hint().1.unwrap_or(0));
    for number in operations {
        let operation = &history.operations[number as usize];
        let is_mismatch = operation.ending == Ending::Fail && history.error(operation) == Some("mismatch");
        let required = operation.ending == Ending::Ok || is_mismatch;
        let f = Some(operation.f);
        let action = if f == read && operation.ending == Ending::Ok {
            Action::Read { value: names.number(operation.result) }
        } else if f == write && operation.ending != Ending::Fail {
            Action::Write { new: names.number(operation.argument) }
        } else if f == cas && (operation.ending != Ending::Fail || is_mismatch) {
            let (expected, new) = pair(operation, number)?;
            let expected = names.number(expected);
            if is_mismatch {
                Action::Mismatch { expected }
            } else {
                Action::Cas { expected, new: names.number(new) }
            }
        } else {
            continue;
        };
        steps.push(Step { action, required, operation: number });
    }

    let mut facts = vec![ValueFacts::default(); names.numbered.len()];
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
    drop_unobservable(&mut steps, &mut facts, history);
    let (moments, width) = moments(history, &steps, |step| (step.operation, step.required));
    let is_mismatch = |step: &&Step| matches!(step.action, Action::Mismatch { .. });
    let mismatches = steps.iter().filter(is_mismatch).count();
    Ok(Register { steps, moments, facts, initial, initial_value, mismatches, width })
}

/// Gives all values that nobody observes the same number, [`OTHER`]: every observer (a read, a comparison)
/// answers the same whichever of them the register holds. Gives back the initial value's number.
fn merge_unobserved(steps: &mut [Step], facts: &mut Vec<ValueFacts>, initial: Held) -> Held {
    let mut merged = vec![ValueFacts::default()];
    let numbers: Vec<Held> = facts
        .iter()
        .map(|fact| {
            if fact.observers == 0 {
                merged[OTHER as usize].producers += fact.producers;
                return OTHER;
            }
            merged.push(*fact);
            merged.len() as Held - 1
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
fn drop_unobservable(steps: &mut Vec<Step>, facts: &mut [ValueFacts], history: &History) {
    let last_mismatch = steps
        .iter()
        .filter(|step| matches!(step.action, Action::Mismatch { .. }))
        .map(|step| history.operations[step.operation as usize].completed_at)
        .max();
    steps.retain(|step| {
        let invoked_at = history.operations[step.operation as usize].invoked_at;
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
