//! A smallest sub-history that is still not linearizable.
//!
//! Just any sub-history would not do: without its write, a read is wrong by itself, and says nothing. So what
//! is looked for is a set of operations that is inexplicable because of one operation, the one that failed:
//! without its answer all others are explained, and some others, were their times free, could explain it. Such
//! a set is made smaller by leaving out ever smaller runs of operations (Zeller and Hildebrandt, Simplifying and
//! isolating failure-inducing input, 2002): first of those that only observe, which can be left out in any
//! order, then of the rest, from the end, since later effects build on earlier ones.

use mcp_chaos_history::{Ending, History, NEVER, Operation, Value, Values};

use crate::models::value_bytes;

/// What is tried out.
pub(crate) struct Shrunk {
    /// Numbers of the operations kept, ascending.
    pub kept: Vec<u32>,
    pub is_minimal: bool,
    pub tried: usize,
}

/// Which search answers best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Some order is expected, or none: as in any check.
    Any,
    /// Nearly everything is open, and some order very likely explains it.
    Open,
}

/// What a decision about a sub-history says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decided {
    Explained,
    Inexplicable,
    /// The budget is spent.
    Undecided,
}

/// What a copy of the history takes, in bytes.
pub(crate) fn copy_bytes(history: &History) -> u64 {
    // A value, its places in the tables, and the numbers of its parts if it is a pair.
    const VALUE: usize = size_of::<Value>() + 24;
    const NAME: usize = 2 * (size_of::<Box<str>>() + 16) + 8;
    let values = (0..history.values.len()).map(|id| VALUE + value_bytes(history.values.get(id as u32)));
    let History { keys, functions, errors, processes, .. } = history;
    let names = [keys, functions, errors, processes].into_iter().flat_map(|names| names.iter());
    let names = names.map(|name| NAME + 2 * name.len());
    (size_of_val(&*history.operations) + values.sum::<usize>() + names.sum::<usize>()) as u64
}

/// What shrinking takes beside a copy of the history, in bytes: numbers of what is kept, tried and left out.
pub(crate) fn bytes_for(operations: usize) -> u64 {
    (4 * size_of::<u32>() * operations) as u64
}

/// Shrinks the part of the history that ends with the completion of `failed`. `decide` is asked about
/// sub-histories, given as a history of which all operations count; `observes` says whether an operation only
/// observes.
pub(crate) fn shrink(
    history: &History,
    operations: &[u32],
    failed: u32,
    observes: impl Fn(&Operation) -> bool,
    decide: &mut dyn FnMut(&History, Question) -> Decided,
) -> Shrunk {
    // Behind the last event there is room for an operation that comes after all others.
    let scratch = History { events: history.events + 2, ..history.clone() };
    let mut trial = Trial { scratch, history, failed, decide, tried: 0, spent: false };
    let mut kept = prefix(history, operations, failed);
    // What fails alone, or whose cause is no order at all, has nothing to be compared with.
    if trial.is_inexplicable(&[failed]) && !trial.has_explanation(&kept) {
        return Shrunk { kept: vec![failed], is_minimal: !trial.spent, tried: trial.tried };
    }
    let (observers, others): (Vec<u32>, Vec<u32>) = kept
        .iter()
        .copied()
        .filter(|number| *number != failed)
        .partition(|number| observes(&history.operations[*number as usize]));
    for candidates in [observers, others] {
        leave_out(&mut kept, candidates, &mut trial);
    }
    Shrunk { kept, is_minimal: !trial.spent, tried: trial.tried }
}

/// Leaves runs of the candidates out of `kept`: long ones first, from the end.
fn leave_out(kept: &mut Vec<u32>, mut candidates: Vec<u32>, trial: &mut Trial) {
    let mut length = candidates.len();
    while length > 0 && !trial.spent {
        let mut changed = false;
        let mut end = candidates.len();
        while end > 0 && !trial.spent {
            let start = end.saturating_sub(length);
            let without = &candidates[start..end];
            let fewer: Vec<u32> =
                kept.iter().copied().filter(|number| without.binary_search(number).is_err()).collect();
            if trial.is_honest(&fewer) {
                *kept = fewer;
                candidates.drain(start..end);
                changed = true;
            }
            end = start;
        }
        if length > 1 {
            length = length.div_ceil(2);
        } else if !changed {
            return;
        }
    }
}

/// The operations begun before the failed one completed, without those that failed or observed nothing by then.
pub(crate) fn prefix(history: &History, operations: &[u32], failed: u32) -> Vec<u32> {
    let until = history.operations[failed as usize].completed_at;
    let counts = |number: &u32| {
        let operation = &history.operations[*number as usize];
        operation.invoked_at < until && (operation.ending != Ending::Fail || operation.completed_at <= until)
    };
    operations.iter().copied().filter(counts).collect()
}

struct Trial<'a> {
    history: &'a History,
    /// The same names and values, other operations.
    scratch: History,
    failed: u32,
    decide: &'a mut dyn FnMut(&History, Question) -> Decided,
    tried: usize,
    spent: bool,
}

impl Trial<'_> {
    /// Inexplicable, and that because of the failed operation's answer alone.
    fn is_honest(&mut self, kept: &[u32]) -> bool {
        self.is_inexplicable(kept) && self.is_explained_without(kept) && self.has_explanation(kept)
    }

    fn is_inexplicable(&mut self, kept: &[u32]) -> bool {
        self.ask(kept, Question::Any, |_, operation| operation) == Decided::Inexplicable
    }

    fn is_explained_without(&mut self, kept: &[u32]) -> bool {
        let failed = self.failed;
        self.ask(
            kept,
            Question::Any,
            |number, operation| if number == failed { open(operation) } else { operation },
        ) == Decided::Explained
    }

    /// Whether the others, if they may take effect at any time or never, explain the failed one.
    fn has_explanation(&mut self, kept: &[u32]) -> bool {
        let failed = self.failed;
        let late = self.history.events;
        self.ask(kept, Question::Open, |number, operation| match number == failed {
            true => Operation { invoked_at: late, completed_at: late + 1, ..operation },
            false => open(operation),
        }) == Decided::Explained
    }

    fn ask(
        &mut self,
        kept: &[u32],
        question: Question,
        change: impl Fn(u32, Operation) -> Operation,
    ) -> Decided {
        let until = self.history.operations[self.failed as usize].completed_at;
        let operations = &mut self.scratch.operations;
        operations.clear();
        operations.extend(kept.iter().map(|number| {
            let operation = self.history.operations[*number as usize];
            change(*number, if operation.completed_at > until { open(operation) } else { operation })
        }));
        operations.sort_by_key(|operation| operation.invoked_at);
        self.tried += 1;
        let decided = (self.decide)(&self.scratch, question);
        self.spent |= decided == Decided::Undecided;
        decided
    }
}

/// The same operation with an outcome that nobody knows.
pub(crate) fn open(operation: Operation) -> Operation {
    Operation {
        completed_at: NEVER,
        completed_ns: u64::MAX,
        ending: Ending::Unknown,
        result: Values::NULL,
        error: 0,
        ..operation
    }
}
