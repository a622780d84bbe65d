//! The whole check, as a user calls it, against the brute force: the verdict, the first failure, the orders that are
//! said to explain what can be explained, and the smallest part that is still wrong.

use mcp_chaos_linearizability::{Limits, Minimal, Options, Report, Unwatched, Verdict, check};

use crate::{
    engines::{options, parts},
    history::{Done, Recorded, Size},
    object::{Object, Reply},
    objects::{
        counter::Counter, key_value::KeyValue, lock::Lock, log::Log, queue::Queue, register::Register,
        registry::Registry, set::Set, versioned::Versioned,
    },
    search::{explicable, refute},
};

const SIZE: Size = Size { operations: (2, 7), clients: 4 };
/// The brute force is asked about many parts of each that is wrong.
const HISTORIES: u64 = 1_500;

fn agrees<O: Object>(parted: Option<bool>) {
    let mut seen = [0; 2];
    for seed in 0..HISTORIES {
        let recorded = Recorded::<O>::random(seed, SIZE);
        let asked = Options {
            model: options(&recorded.initial, parted),
            minimal: true,
            witness: true,
            ..Options::default()
        };
        let history = recorded.history();
        let report = check(&history, O::MODEL, &asked, &Limits::default(), &Unwatched).unwrap();
        let parts: Vec<Part<O>> = parts(&history, parted == Some(true))
            .into_iter()
            .filter(|numbers| !numbers.is_empty())
            .map(|numbers| Part {
                initial: &recorded.initial,
                operations: numbers.iter().map(|at| recorded.operations[*at as usize].clone()).collect(),
                numbers,
            })
            .collect();
        let wrong = match report.verdict {
            Verdict::Valid => refute_valid(&parts, &report),
            Verdict::Invalid => refute_invalid(&parts, &report),
            Verdict::Unknown => Some("undecided".into()),
        };
        assert_eq!(wrong, None, "seed {seed}\n{report:?}\n{}", recorded.text());
        seen[usize::from(report.verdict == Verdict::Valid)] += 1;
    }
    assert!(seen.iter().all(|seen| *seen > HISTORIES / 8), "{}: {seen:?}", O::MODEL);
}

/// What is judged by itself.
struct Part<'a, O: Object> {
    initial: &'a O,
    /// By the history's numbers.
    numbers: Vec<u32>,
    operations: Vec<Done<O::Op>>,
}

impl<O: Object> Part<'_, O> {
    fn place(&self, number: u32) -> Option<usize> {
        self.numbers.binary_search(&number).ok()
    }

    fn places(&self, numbers: &[u32]) -> Option<Vec<usize>> {
        numbers.iter().map(|number| self.place(*number)).collect()
    }
}

fn refute_valid<O: Object>(parts: &[Part<O>], report: &Report) -> Option<String> {
    let orders = report.witness.as_ref().expect("an order was asked for");
    if orders.len() != parts.len() {
        return Some(format!("{} orders of {} objects", orders.len(), parts.len()));
    }
    parts.iter().find_map(|part| {
        let order = orders.values().find_map(|order| part.places(order).filter(|_| !order.is_empty()));
        refute(part.initial, &part.operations, &order.unwrap_or_default())
    })
}

fn refute_invalid<O: Object>(parts: &[Part<O>], report: &Report) -> Option<String> {
    let failure = report.failure.as_ref().expect("what failed");
    let number = failure.operation.number;
    let (part, failed) =
        parts.iter().find_map(|part| Some((part, part.place(number)?))).expect("one of them");
    let until = part.operations[failed].end.expect("what fails has an end");
    if explicable(part.initial, &part.operations, until + 1) {
        return Some(format!("{number} can be explained"));
    }
    if !failure.is_first || !explicable(part.initial, &part.operations, until) {
        return Some(format!("{number} is not the first"));
    }
    // What is open at the failure has an outcome that nobody knows yet.
    let before: Vec<Done<O::Op>> = part
        .operations
        .iter()
        .map(|done| if done.end.is_some_and(|end| end >= until) { open(done) } else { done.clone() })
        .collect();
    let order =
        report.witness.as_ref().and_then(|orders| orders.values().next()).expect("an order before it");
    let order = part.places(order).expect("of the same object");
    if order.iter().any(|at| before[*at].begin > until) {
        return Some("the order holds what began after the failure".into());
    }
    let begun: Vec<usize> = (0..before.len()).filter(|at| before[*at].begin < until).collect();
    let order: Vec<usize> = order.iter().map(|at| begun.binary_search(at).unwrap()).collect();
    let begun: Vec<Done<O::Op>> = begun.into_iter().map(|at| before[at].clone()).collect();
    let why = refute(part.initial, &begun, &order).map(|why| format!("before the failure: {why}"));
    why.or_else(|| refute_minimal(part, failed, until, report.minimal.as_ref().expect("it was asked for")))
}

/// The same with an outcome that nobody knows.
fn open<Op: Clone>(done: &Done<Op>) -> Done<Op> {
    Done { told: None, end: None, ..done.clone() }
}

/// What becomes of an operation, by its place.
type Change<'a, Op> = dyn Fn(usize, &Done<Op>) -> Done<Op> + 'a;

/// Each part that is wrong for the cause of the failure, of which no operation can be left out.
fn refute_minimal<O: Object>(
    part: &Part<O>,
    failed: usize,
    until: usize,
    minimal: &Minimal,
) -> Option<String> {
    let kept: Option<Vec<usize>> = minimal.operations.iter().map(|one| part.place(one.number)).collect();
    let kept = kept.expect("of the same object");
    // What will have failed has no effect, and has seen nothing yet.
    let counts = |at: &usize| {
        let done = &part.operations[*at];
        let is_refused = matches!(done.told, Some(Reply::Refused(_)));
        done.begin < until && !(is_refused && done.end.is_some_and(|end| end > until))
    };
    let all: Vec<usize> = (0..part.operations.len()).filter(counts).collect();
    let history = |kept: &[usize], knows_later: bool, change: &Change<O::Op>| {
        let known = |at: &usize| {
            let done = &part.operations[*at];
            let is_known = knows_later || done.end.is_some_and(|end| end <= until);
            change(*at, &if is_known { done.clone() } else { open(done) })
        };
        kept.iter().map(known).collect::<Vec<_>>()
    };
    let explains = |operations: &[Done<O::Op>]| explicable(part.initial, operations, usize::MAX);
    let wrong = |kept: &[usize], later: bool| !explains(&history(kept, later, &|_, done| done.clone()));
    // Outcomes that were told after the failure count only where it could be explained without them.
    let later = !wrong(&all, false);
    let is_wrong = |kept: &[usize]| wrong(kept, later);
    let is_wrong_without = |kept: &[usize]| {
        let without = |at: usize, done: &Done<O::Op>| if at == failed { open(done) } else { done.clone() };
        !later && !explains(&history(kept, false, &without))
    };
    let has_explanation = |kept: &[usize]| {
        let late = 1_000;
        explains(&history(kept, false, &|at, done| match at == failed {
            true => Done { begin: late, end: Some(late + 1), ..done.clone() },
            false => open(done),
        }))
    };
    if !kept.contains(&failed) || !is_wrong(&kept) {
        return Some(format!("{kept:?} can be explained"));
    }
    if kept.len() == 1 {
        return None;
    }
    if !minimal.is_minimal {
        return Some("it is small enough to be sure".into());
    }
    if is_wrong_without(&kept) || !has_explanation(&kept) {
        return Some(format!("{kept:?} is wrong for another cause"));
    }
    let spare = kept.iter().filter(|at| **at != failed).find(|spare| {
        let less: Vec<usize> = kept.iter().copied().filter(|at| at != *spare).collect();
        is_wrong(&less) && !is_wrong_without(&less) && has_explanation(&less)
    });
    spare.map(|spare| format!("{kept:?} does not need {spare}"))
}

#[test]
fn registers() {
    agrees::<Register<false>>(None);
    agrees::<Register<true>>(None);
    agrees::<Versioned>(None);
}

#[test]
fn maps() {
    agrees::<KeyValue<false>>(Some(false));
    agrees::<KeyValue<true>>(Some(true));
    agrees::<Registry>(None);
}

#[test]
fn lists_and_numbers() {
    agrees::<Log>(None);
    agrees::<Counter>(None);
}

#[test]
fn sets_queues_and_locks() {
    agrees::<Set>(None);
    agrees::<Queue<true>>(None);
    agrees::<Queue<false>>(None);
    agrees::<Lock>(None);
}
