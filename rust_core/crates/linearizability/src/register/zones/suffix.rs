//! What survived until right before the failure, without a search of all that came before it.
//!
//! Zones tell where a history fails, not in which states it was before. The frontier tells that, and takes longer over
//! the whole history than zones do. But where a value's forward zone begins the register holds that value in every
//! order, so what came before is told by the operations open then. There the history is cut, and the frontier is given
//! what follows the cut.
//!
//! The value has one producer, a write, and no compare-and-set finds it. Let *p* be the first completion in its cluster.
//! Every order has a part before *p* that ends with this value. Of the operations open at *p*:
//!
//! - Those of blocks in which something completed before *p* belong to that part, being certain. They are *settled*.
//! - All others may belong to either part. In the first they can stand at its end, right before the write: nothing else
//!   there needs them, and all of them, and the write too, are still open just before *p*. So whatever order there is of
//!   them goes with any order of the rest.
//!
//! A mismatch breaks the latter, if it completed while one of them was open and needs it, or needs the write to come
//! sooner. So each of these must have found another value in every order: some forward zone of another block lies
//! within it, or between a completion in its own block and its end. And what is still open when the history fails must
//! not have missed its value: whether a read had found it before it was overwritten, zones do not know. Where a cut has
//! any such operation an earlier one is tried.

use super::{NONE, Zones};
use crate::{
    engine::Survivor,
    register::prepare::{Action, Held, Moment, OTHER, Register, Step, ValueFacts},
};

/// How many moments before the failure cuts are looked for, and how many are tried.
const REACH: u32 = 4_096;
const CUTS: usize = 24;

/// The end of a history.
pub(super) struct Suffix {
    /// The operations open at the cut, and those invoked later, until the failure.
    pub(super) register: Register,
    /// The failure's position among the moments.
    pub(super) failed: usize,
    /// The number of each of its steps in the whole history.
    pub(super) steps: Vec<u32>,
    /// Steps that took effect before the cut in every order, but had not completed when the history failed.
    pub(super) settled: Vec<u32>,
}

impl Suffix {
    /// What survived, by the steps of the whole history.
    pub(super) fn whole(&self, survivor: Survivor) -> Survivor {
        let step = |number: u32| self.steps[number as usize];
        let mut done: Vec<u32> =
            survivor.done.iter().map(|number| step(*number)).chain(self.settled.clone()).collect();
        done.sort_unstable();
        Survivor { done, set_by: survivor.set_by.map(step), ..survivor }
    }
}

/// The most that finding a suffix takes, beside a few bytes for each of its steps.
pub(super) fn bytes_for(register: &Register) -> u64 {
    (register.facts.len() * (size_of::<bool>() + size_of::<Held>()) + (REACH as usize + register.width) * 64)
        as u64
}

/// The end of the history that fails at this position and not before; none if it is not known to be told by zones.
pub(super) fn suffix(zones: &Zones, failed: u32) -> Option<Suffix> {
    Cuts { zones, failed, is_swapped: swapped(zones.register) }.last()
}

/// For each value, whether a compare-and-set may find it.
fn swapped(register: &Register) -> Vec<bool> {
    let mut swapped = vec![false; register.facts.len()];
    for step in &register.steps {
        if let Action::Cas { expected, .. } = step.action {
            swapped[expected as usize] = true;
        }
    }
    swapped
}

/// What an operation open at the cut does there.
enum Part {
    /// It takes effect before, certainly.
    Settled,
    /// It may take effect before or after.
    Either,
}

/// No cut is possible here.
struct Impossible;

struct Cuts<'z, 'r> {
    zones: &'z Zones<'r>,
    failed: u32,
    is_swapped: Vec<bool>,
}

impl Cuts<'_, '_> {
    /// The suffix after the last cut that is possible.
    fn last(&self) -> Option<Suffix> {
        let first = self.failed.saturating_sub(REACH).max(1);
        (first..self.failed)
            .rev()
            .filter(|at| self.begins_zone(*at))
            .take(CUTS)
            .find_map(|at| self.cut(at).ok())
    }

    /// Whether the forward zone of a value begins with this completion that only a write produces and only reads find.
    fn begins_zone(&self, at: u32) -> bool {
        let Moment::Return(step) = self.zones.register.moments[at as usize - 1] else { return false };
        let (Action::Write { new: value } | Action::Read { value }) = self.zones.action(step) else {
            return false;
        };
        let cluster = &self.zones.clusters[value as usize];
        // What was noted of the failed operation itself may be half of it.
        let Moment::Return(failed) = self.zones.register.moments[self.failed as usize - 1] else {
            return false;
        };
        let failed = self.zones.action(failed);
        !self.zones.is_idle(value)
            && cluster.certain_at == at
            && cluster.root == value
            && cluster.is_forward()
            && value != self.zones.register.initial
            && !self.is_swapped[value as usize]
            && failed.observes() != Some(value)
            && failed.produces() != Some(value)
    }

    /// Whether the step completed before the failure.
    fn is_completed(&self, step: u32) -> bool {
        self.zones.returned[step as usize] < self.failed
    }

    /// Whether the value was certain before the cut.
    fn is_past(&self, value: Held, cut: u32) -> bool {
        let root = self.zones.clusters[value as usize].root;
        root != NONE && self.zones.clusters[root as usize].certain_at < cut
    }

    /// Whether the value is certain to have been produced.
    fn is_certain(&self, value: Held) -> bool {
        self.zones.clusters[value as usize].certain_at < self.failed
    }

    fn part(&self, step: u32, cut: u32) -> Result<Part, Impossible> {
        let (past, is_certain) = match self.zones.action(step) {
            Action::Mismatch { .. } => return Ok(Part::Either),
            Action::Write { new } if self.zones.is_idle(new) => return Ok(Part::Either),
            Action::Write { new } => (self.is_certain(new) && self.is_past(new, cut), true),
            Action::Read { value } => (self.is_past(value, cut), self.is_completed(step)),
            Action::Cas { expected, new } => {
                let is_idle = self.zones.is_idle(new);
                if is_idle && !self.zones.register.steps[step as usize].required {
                    return Ok(Part::Either);
                }
                (self.is_past(expected, cut), self.is_completed(step) || !is_idle && self.is_certain(new))
            }
        };
        match (past, is_certain) {
            (true, true) => Ok(Part::Settled),
            (true, false) => Err(Impossible),
            (false, _) => Ok(Part::Either),
        }
    }

    /// Cuts the history right before the completion at this position.
    fn cut(&self, cut: u32) -> Result<Suffix, Impossible> {
        let (mut steps, mut settled) = (Vec::new(), Vec::new());
        let mut earliest = cut;
        let open = (0_u32..).zip(self.zones.invoked.iter().zip(&self.zones.returned));
        for (step, (invoked, _)) in open
            .take_while(|(_, (invoked, _))| **invoked < cut)
            .filter(|(_, (_, returned))| **returned >= cut)
        {
            match self.part(step, cut)? {
                Part::Settled => settled.push(step),
                Part::Either => {
                    if !matches!(self.zones.action(step), Action::Mismatch { .. }) {
                        earliest = earliest.min(*invoked);
                    }
                    steps.push(step);
                }
            }
        }
        self.mismatches_are_indifferent(earliest, cut)?;
        Ok(self.suffix(cut, steps, settled))
    }

    /// Whether each mismatch that completed between these positions has found another value in every order.
    fn mismatches_are_indifferent(&self, earliest: u32, cut: u32) -> Result<(), Impossible> {
        for at in earliest..cut {
            let Some(step) = self.zones.returning(at) else { continue };
            let Action::Mismatch { expected } = self.zones.action(step) else { continue };
            let cluster = &self.zones.clusters[expected as usize];
            let from = self.zones.invoked[step as usize].min(cluster.certain_at);
            let is_other = |at: &u32| {
                let root = self.zones.cover[*at as usize];
                root != NONE && root != cluster.root
            };
            if !(from..=at).rev().any(|at| is_other(&at)) {
                return Err(Impossible);
            }
        }
        Ok(())
    }

    /// The history of these steps, open at the cut, and of all that follow.
    fn suffix(&self, cut: u32, mut steps: Vec<u32>, mut settled: Vec<u32>) -> Suffix {
        let whole = self.zones.register;
        let required = |step: u32| usize::from(whole.steps[step as usize].required);
        let mut numbers: Vec<(u32, u32)> =
            (0_u32..).zip(&steps).map(|(number, step)| (*step, number)).collect();
        let mut moments: Vec<Moment> = numbers.iter().map(|(_, number)| Moment::Invoke(*number)).collect();
        let mut to_return: usize = steps.iter().map(|step| required(*step)).sum();
        let (mut open, mut width, mut failed) = (steps.len(), steps.len(), 0);
        for (at, moment) in (cut..).zip(&whole.moments[cut as usize - 1..]) {
            match *moment {
                Moment::Invoke(step) if at < self.failed => {
                    let number = steps.len() as u32;
                    numbers.push((step, number));
                    steps.push(step);
                    moments.push(Moment::Invoke(number));
                    to_return += required(step);
                    open += 1;
                    width = width.max(open);
                }
                Moment::Invoke(_) => {}
                Moment::Return(step) => {
                    if at == self.failed {
                        failed = moments.len();
                    }
                    if let Ok(found) = numbers.binary_search_by_key(&step, |(step, _)| *step) {
                        moments.push(Moment::Return(numbers[found].1));
                        to_return -= 1;
                        open -= 1;
                    }
                }
            }
            // When the others end tells twins apart.
            if at >= self.failed && to_return == 0 {
                break;
            }
        }
        let mut register = Register {
            steps: steps.iter().map(|step| whole.steps[*step as usize]).collect(),
            moments,
            facts: Vec::new(),
            initial: OTHER,
            initial_value: whole.initial_value,
            mismatches: 0,
            width,
        };
        settled.retain(|step| !self.is_completed(*step));
        self.number(&steps, &mut settled, &mut register);
        Suffix { register, failed, steps, settled }
    }

    /// Numbers the values that steps speak of. Observers that completed before the cut do not count any more.
    fn number(&self, steps: &[u32], settled: &mut Vec<u32>, suffix: &mut Register) {
        let whole = self.zones.register;
        let mut numbers = vec![NONE; whole.facts.len()];
        suffix.facts.push(ValueFacts::default());
        numbers[OTHER as usize] = OTHER;
        for step in steps.iter().chain(settled.iter()) {
            let action = self.zones.action(*step);
            for value in [action.observes(), action.produces()].into_iter().flatten() {
                if numbers[value as usize] == NONE {
                    numbers[value as usize] = suffix.facts.len() as Held;
                    let fact = whole.facts[value as usize];
                    suffix.facts.push(ValueFacts { observers: 0, ..fact });
                }
            }
        }
        let mut is_kept = steps.iter().peekable();
        for (number, Step { action, .. }) in (0_u32..).zip(&whole.steps) {
            let is_kept = is_kept.next_if(|step| **step == number).is_some();
            if !is_kept && self.is_completed(number) {
                continue;
            }
            suffix.mismatches += usize::from(matches!(action, Action::Mismatch { .. }));
            if let Some(number) = action.observes().map(|value| numbers[value as usize])
                && number != NONE
            {
                suffix.facts[number as usize].observers += 1;
            }
        }
        suffix.steps.iter_mut().for_each(|step| step.action.renumber(&numbers));
        // As in the frontier: a write whose value nobody will find any more is not told to be done.
        settled.retain(|step| match whole.steps[*step as usize] {
            Step { action: Action::Write { new }, required: true, .. } => {
                suffix.mismatches > 0 || suffix.facts[numbers[new as usize] as usize].observers > 0
            }
            _ => true,
        });
    }
}
