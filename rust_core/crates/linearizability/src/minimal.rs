//! A smallest sub-history that is still not linearizable.
//!
//! Just any sub-history would not do: without its write, a read is wrong by itself, and says nothing. So what
//! is looked for is a set of operations that is inexplicable because of one operation, the one that failed:
//! without its answer all others are explained, and some others, were their times free, could explain it. Such
//! a set is made smaller by leaving out ever smaller runs of operations (Zeller and Hildebrandt, Simplifying and
//! isolating failure-inducing input, 2002): first of those that only observe, which can be left out in any
//! order, then of the rest, from the end, since later effects build on earlier ones.
//!
//! What explains a failed operation in one set, were times free, does so in any larger one. So once a few operations
//! are known to do that (its *support*: the write of a value that was read, say), no set that holds them is asked
//! again: among thousands of operations of free times the question can be hopeless. A question that takes too long
//! leaves in what it was about, and the others go on.

use mcp_chaos_history::{Ending, History, NEVER, Operation, Value, Values};

use crate::models::value_bytes;

/// The most operations that are looked at because they speak of the failed one's value.
const RELATED: usize = 64;

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
    /// The question was too hard.
    Undecided,
    /// There is no budget for more questions.
    Spent,
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
    let mut trial = Trial {
        scratch,
        history,
        failed,
        decide,
        tried: 0,
        support: Vec::new(),
        knows_later: false,
        unsure: false,
        spent: false,
    };
    let mut kept = prefix(history, operations, failed);
    match trial.find_support(&kept) {
        Decided::Explained => {}
        // What fails alone, or whose cause is no order at all, has nothing to be compared with.
        Decided::Inexplicable => return Shrunk { kept: vec![failed], is_minimal: true, tried: trial.tried },
        // Whatever were left out, nobody could tell whether what is left is wrong for the same cause.
        _ => return Shrunk { kept, is_minimal: false, tried: trial.tried },
    }
    trial.knows_later = trial.is_explained(&kept);
    // What kept an observer may be gone with the others.
    let mut changed = true;
    while changed && !trial.spent {
        (changed, trial.unsure) = (false, false);
        let (observers, others): (Vec<u32>, Vec<u32>) = kept
            .iter()
            .copied()
            .filter(|number| *number != failed)
            .partition(|number| observes(&history.operations[*number as usize]));
        for candidates in [observers, others] {
            changed |= leave_out(&mut kept, candidates, &mut trial);
        }
    }
    Shrunk { kept, is_minimal: !trial.spent && !trial.unsure, tried: trial.tried }
}

/// Leaves runs of the candidates out of `kept`: long ones first, from the end. Whether it could leave out any.
fn leave_out(kept: &mut Vec<u32>, mut candidates: Vec<u32>, trial: &mut Trial) -> bool {
    let before = kept.len();
    let mut length = candidates.len();
    while length > 0 && !trial.spent {
        let (mut changed, unsure) = (false, trial.unsure);
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
            // What is in a run is looked at again by itself.
            trial.unsure = unsure;
        } else if !changed {
            break;
        }
    }
    kept.len() < before
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
    /// Operations that explain the failed one, were their times free.
    support: Vec<u32>,
    /// Whether outcomes count that were told after the failure: those of operations in flight, without which the
    /// failed one could be explained.
    knows_later: bool,
    /// Whether something was left in for a question that was too hard.
    unsure: bool,
    spent: bool,
}

impl Trial<'_> {
    /// Inexplicable, and that because of the failed operation's answer alone.
    fn is_honest(&mut self, kept: &[u32]) -> bool {
        self.is_inexplicable(kept)
            && (self.knows_later || self.is_explained_without(kept))
            && self.has_explanation(kept)
    }

    fn is_inexplicable(&mut self, kept: &[u32]) -> bool {
        self.ask(kept, Question::Any, |_, operation| operation) == Decided::Inexplicable
    }

    fn is_explained(&mut self, kept: &[u32]) -> bool {
        self.ask(kept, Question::Any, |_, operation| operation) == Decided::Explained
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
        if self.support.iter().all(|number| kept.binary_search(number).is_ok()) {
            return true;
        }
        let is_explained = self.explain(kept) == Decided::Explained;
        if is_explained {
            self.support = kept.to_vec();
        }
        is_explained
    }

    /// Looks for a few operations that explain the failed one, were their times free: those that speak of the same
    /// value, the first, the last; then all.
    fn find_support(&mut self, kept: &[u32]) -> Decided {
        let blamed = self.history.operations[self.failed as usize];
        let speaks_of_it = |number: &u32| {
            let other = &self.history.operations[*number as usize];
            other.argument != Values::NULL && [blamed.argument, blamed.result].contains(&other.argument)
        };
        let alone = vec![self.failed];
        let related: Vec<u32> = kept.iter().copied().filter(speaks_of_it).take(RELATED).collect();
        let few = std::iter::successors(Some(1), |few| Some(few * 2)).take_while(|few| few * 2 < kept.len());
        let ends = few.flat_map(|few| [kept[..few].to_vec(), kept[kept.len() - few..].to_vec()]);
        let all = [kept.to_vec()];
        let mut decided = Decided::Undecided;
        for mut support in [alone, related].into_iter().chain(ends).chain(all) {
            if let Err(place) = support.binary_search(&self.failed) {
                support.insert(place, self.failed);
            }
            decided = self.explain(&support);
            if decided == Decided::Explained {
                self.support = support;
            }
            if matches!(decided, Decided::Explained | Decided::Spent) {
                break;
            }
        }
        decided
    }

    fn explain(&mut self, kept: &[u32]) -> Decided {
        let failed = self.failed;
        let late = self.history.events;
        self.ask(kept, Question::Open, |number, operation| match number == failed {
            true => Operation { invoked_at: late, completed_at: late + 1, ..operation },
            false => open(operation),
        })
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
            let is_open = operation.completed_at > until && !self.knows_later;
            change(*number, if is_open { open(operation) } else { operation })
        }));
        operations.sort_by_key(|operation| operation.invoked_at);
        self.tried += 1;
        let decided = (self.decide)(&self.scratch, question);
        self.unsure |= decided == Decided::Undecided;
        self.spent |= decided == Decided::Spent;
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
