//! Finds the first operation that cannot be explained: the completion of the shortest prefix of the history
//! that is not linearizable. (Prefixes of a linearizable history are linearizable, so there is one such.)

use serde_json::Value;

use super::{
    frontier::{Budget, Found, search},
    register::{Register, prepare},
};
use crate::operations::Operation;

/// Which operation cannot be explained, and what the register may have held before.
pub(super) struct Blame<'a> {
    pub operation: Operation<'a>,
    /// For each value possible before, an operation that may have set it (`None`: the initial value).
    pub set_by: Vec<Option<Operation<'a>>>,
    /// True if the operation is certainly the first; false if the budget did not suffice to tell. Then the
    /// history is known to be wrong as a whole, at or behind this operation.
    pub is_first: bool,
    /// Operations completed before it.
    pub verified: usize,
}

/// `failed` is where the search that looks ahead gave up: that step, at that moment, or a later one is to
/// blame, since looking ahead only ever fails a configuration too early.
pub(super) fn find<'a>(
    operations: &[Operation<'a>],
    initial: &Value,
    register: &Register,
    failed: (u32, usize),
    taken: u64,
    left: Budget,
) -> Blame<'a> {
    // Most often the search without looking ahead costs little more, and answers at once.
    let plain = Budget { steps: left.steps.min(taken.saturating_mul(8).saturating_add(100_000)), ..left };
    let (step, is_first, set_by) = match search(register, plain, false).0 {
        Found::Inexplicable { step, held, .. } => (step, true, setters(operations, register, &held)),
        _ => match bisect(operations, initial, failed, register, left) {
            Some((blamed, set_by)) => {
                return Blame {
                    operation: blamed,
                    set_by,
                    is_first: true,
                    verified: completed_before(operations, &blamed),
                };
            }
            None => (failed.0, false, Vec::new()),
        },
    };
    let operation = operations[register.steps[step as usize].operation as usize];
    Blame { operation, set_by, is_first, verified: completed_before(operations, &operation) }
}

/// Searches for the shortest prefix that fails, by searches that look ahead within the prefix only.
fn bisect<'a>(
    operations: &[Operation<'a>],
    initial: &Value,
    failed: (u32, usize),
    register: &Register,
    left: Budget,
) -> Option<(Operation<'a>, Vec<Option<Operation<'a>>>)> {
    let at_least = operations[register.steps[failed.0 as usize].operation as usize].completed_at;
    let mut candidates: Vec<Operation> = register
        .steps
        .iter()
        .filter(|step| step.required)
        .map(|step| operations[step.operation as usize])
        .collect();
    candidates.retain(|operation| operation.completed_at >= at_least);
    candidates.sort_unstable_by_key(|operation| operation.completed_at);
    let explained = |length: usize| -> Option<Option<Vec<Option<Operation<'a>>>>> {
        let prefix = cut(operations, length);
        let register = prepare(&prefix, initial).ok()?;
        match search(&register, left, true).0 {
            Found::Linearizable { held } => Some(Some(setters(&prefix, &register, &held))),
            Found::Inexplicable { .. } => Some(None),
            Found::Exhausted { .. } => None,
        }
    };
    // The prefix through the last candidate is known to fail. Steps double at first: the end may be far.
    let (mut low, mut high, mut stride) = (0, candidates.len().checked_sub(1)?, 1);
    while low < high {
        let middle = (low + stride - 1).min(low + (high - low) / 2);
        stride *= 2;
        if explained(candidates[middle].completed_at + 1)?.is_some() {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let set_by = explained(candidates[low].completed_at)??;
    Some((candidates[low], set_by))
}

/// The history's first `length` events. What is still open then has taken effect or not, as it pleases; its
/// outcome is known already, so what fails, or changes nothing, is left out.
fn cut<'a>(operations: &[Operation<'a>], length: usize) -> Vec<Operation<'a>> {
    let begun = operations.iter().take_while(|operation| operation.invoked_at < length);
    begun
        .filter(|operation| operation.completed_at < length || !operation.is_failed())
        .map(|operation| match operation.completed_at < length {
            true => *operation,
            false => Operation { completion: None, completed_at: usize::MAX, ..*operation },
        })
        .collect()
}

fn setters<'a>(
    operations: &[Operation<'a>],
    register: &Register,
    held: &[Option<u32>],
) -> Vec<Option<Operation<'a>>> {
    held.iter()
        .map(|step| step.map(|step| operations[register.steps[step as usize].operation as usize]))
        .collect()
}

fn completed_before(operations: &[Operation], blamed: &Operation) -> usize {
    operations.iter().filter(|operation| operation.completed_at < blamed.completed_at).count()
}
