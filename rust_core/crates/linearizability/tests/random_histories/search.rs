//! The brute force: every order of a small history's operations is tried. And a verifier of witnesses.

use crate::{
    history::{Done, Recorded, Standing},
    object::{Object, Reply},
};

/// An operation that may come next.
struct Next<'a, Op> {
    op: &'a Op,
    told: Option<&'a Reply>,
    begin: usize,
    /// It must come before whatever begins after this.
    end: usize,
}

/// Whether some order explains the first `length` events, where the outcomes of operations still open then are
/// known already, but need not have taken effect.
pub fn explicable<O: Object>(initial: &O, operations: &[Done<O::Op>], length: usize) -> bool {
    let next: Vec<Next<O::Op>> = operations
        .iter()
        .filter(|done| done.begin < length && Recorded::<O>::standing(done) != Standing::Out)
        .map(|done| Next {
            op: &done.op,
            told: done.told.as_ref(),
            begin: done.begin,
            end: done.end.filter(|end| done.told.is_some() && *end < length).unwrap_or(usize::MAX),
        })
        .collect();
    permute(initial, &next, (1 << next.len()) - 1)
}

/// Tries each operation that may come next; `left` are those that have not come yet.
fn permute<O: Object>(object: &O, operations: &[Next<O::Op>], left: u32) -> bool {
    let are_left = || operations.iter().enumerate().filter(|(at, _)| left & (1 << at) != 0);
    let earliest_end = are_left().map(|(_, next)| next.end).min().unwrap_or(usize::MAX);
    earliest_end == usize::MAX
        || are_left().any(|(at, next)| {
            next.begin < earliest_end
                && object
                    .allows(next.op, next.told)
                    .iter()
                    .any(|after| permute(after, operations, left & !(1 << at)))
        })
}

/// What is wrong with an order that is said to explain all operations.
pub fn refute<O: Object>(initial: &O, operations: &[Done<O::Op>], order: &[usize]) -> Option<String> {
    let end = |number: usize| {
        let done = &operations[number];
        done.end.filter(|_| done.told.is_some()).unwrap_or(usize::MAX)
    };
    for (number, done) in operations.iter().enumerate() {
        let times = order.iter().filter(|other| **other == number).count();
        let standing = Recorded::<O>::standing(done);
        let is_right = match standing {
            Standing::Binding => times == 1,
            Standing::Open => times <= 1,
            Standing::Out => times == 0,
        };
        if !is_right {
            return Some(format!("operation {number}, which is {standing:?}, comes {times} times"));
        }
    }
    for (at, earlier) in order.iter().enumerate() {
        if let Some(later) = order[at + 1..].iter().find(|later| end(**later) < operations[*earlier].begin) {
            return Some(format!("{later} ended before {earlier} began"));
        }
    }
    let mut objects = vec![initial.clone()];
    for number in order {
        let done = &operations[*number];
        objects = objects.iter().flat_map(|object| object.allows(&done.op, done.told.as_ref())).collect();
        if objects.is_empty() {
            return Some(format!("operation {number} is impossible where it stands"));
        }
    }
    None
}
