//! The search: a frontier of configurations, moved along the history event by event.
//!
//! A configuration is a value and the set of open operations that have taken effect (just-in-time
//! linearization: Lowe, Testing for linearizability, 2017; Wing and Gong, 1993). An operation is made to take
//! effect no earlier than some completion demands it, so all orders that a prefix of the history allows are
//! represented. What keeps the frontier small, each sound:
//!
//! - *Observers at once.* A read (or mismatch) changes nothing, so it takes effect as soon as the register
//!   holds what it found: to wait could only lose the chance.
//! - *Domination.* Of two configurations with the same value and the same required mutations done, the one
//!   with more observers done and fewer unknown operations spent can do all that the other can.
//! - *Twins.* Open operations of unknown outcome with the same action are interchangeable: used in order.
//! - *Dead values.* A value that no operation still open or to come observes is as good as any such other.
//! - *Idle writes.* When no mismatch is left, a write of a dead value can take effect right before another
//!   write, seen by nobody; and having it done is never worse than having it still to do.
//! - *Looking ahead* (optional). A value with one producer never comes back, so it may not be overwritten
//!   while an operation is left that must find it. This may fail a configuration before the event that proves
//!   it wrong: verdicts are the same, but the first inexplicable operation is found without it.

use std::hash::{Hash, Hasher};

use super::{
    bits::Bits,
    register::{Action, Moment, OTHER, Register, ValueId},
};
use crate::hash::Set;

/// How far a search may go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub memory_bytes: u64,
    pub steps: u64,
}

/// What a search found.
#[derive(Debug)]
pub(super) enum Found {
    /// Every event is explained; `held` is what the register may hold at the end.
    Linearizable { held: Vec<Option<u32>> },
    /// No configuration can explain the completion of this step.
    Inexplicable {
        step: u32,
        /// Position among the register's moments.
        at: usize,
        /// What the register may have held before: for each surviving value the step that last set it in some
        /// configuration (`None`: the initial value).
        held: Vec<Option<u32>>,
    },
    /// The budget ran out at this moment.
    Exhausted { at: usize, of: &'static str },
}

/// Runs the search; gives back the steps taken as well.
pub(super) fn search(register: &Register, budget: Budget, look_ahead: bool) -> (Found, u64) {
    fn run<const N: usize>(register: &Register, budget: Budget, look_ahead: bool) -> (Found, u64) {
        let mut search = Search::<N>::new(register, budget, look_ahead);
        let found = search.run();
        (found, search.taken)
    }
    match register.width {
        0..=64 => run::<1>(register, budget, look_ahead),
        65..=128 => run::<2>(register, budget, look_ahead),
        129..=256 => run::<4>(register, budget, look_ahead),
        257..=512 => run::<8>(register, budget, look_ahead),
        513..=1024 => run::<16>(register, budget, look_ahead),
        1025..=4096 => run::<64>(register, budget, look_ahead),
        _ => (Found::Exhausted { at: 0, of: "operations open at once (at most 4096 for each key)" }, 0),
    }
}

const INITIAL: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Configuration<const N: usize> {
    done: Bits<N>,
    value: ValueId,
    /// The step that set the value. Words only: not part of the identity.
    by: u32,
}

impl<const N: usize> PartialEq for Configuration<N> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value && self.done == other.done
    }
}

impl<const N: usize> Eq for Configuration<N> {}

impl<const N: usize> Hash for Configuration<N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.value);
        self.done.words().iter().for_each(|word| state.write_u64(*word));
    }
}

/// A list of different configurations; searched while short, hashed when long.
struct Distinct<const N: usize> {
    list: Vec<Configuration<N>>,
    set: Set<Configuration<N>>,
}

impl<const N: usize> Distinct<N> {
    const SHORT: usize = 16;

    fn new() -> Self {
        Distinct { list: Vec::new(), set: Set::default() }
    }

    fn clear(&mut self) {
        self.list.clear();
        self.set.clear();
    }

    fn insert(&mut self, configuration: Configuration<N>) -> bool {
        if self.list.len() < Self::SHORT {
            if self.list.contains(&configuration) {
                return false;
            }
        } else {
            if self.set.is_empty() {
                self.set.extend(self.list.iter().copied());
            }
            if !self.set.insert(configuration) {
                return false;
            }
        }
        self.list.push(configuration);
        true
    }
}

/// An open step in its slot.
#[derive(Clone, Copy)]
struct Open {
    slot: usize,
    step: u32,
    action: Action,
    required: bool,
    /// The slot of the open unknown operation with the same action that comes before this one.
    twin: Option<usize>,
}

struct Search<'a, const N: usize> {
    register: &'a Register,
    budget: Budget,
    look_ahead: bool,
    taken: u64,
    slots: Vec<usize>,
    free: Vec<usize>,
    mutations: Vec<Open>,
    observers: Vec<Open>,
    /// Slots of open required mutations, of unknown ones, of observers, of required writes of dead values.
    required_mask: Bits<N>,
    unknown_mask: Bits<N>,
    observer_mask: Bits<N>,
    idle_mask: Bits<N>,
    /// For each value: observers not yet completed, and required ones not yet invoked.
    observers_left: Vec<u32>,
    required_ahead: Vec<u32>,
    mismatches_left: usize,
    frontier: Vec<Configuration<N>>,
    next: Distinct<N>,
    visited: Distinct<N>,
}

impl<'a, const N: usize> Search<'a, N> {
    fn new(register: &'a Register, budget: Budget, look_ahead: bool) -> Self {
        let start = Configuration { done: Bits::EMPTY, value: register.initial, by: INITIAL };
        Search {
            register,
            budget,
            look_ahead,
            taken: 0,
            slots: vec![usize::MAX; register.steps.len()],
            free: (0..register.width).rev().collect(),
            mutations: Vec::new(),
            observers: Vec::new(),
            required_mask: Bits::EMPTY,
            unknown_mask: Bits::EMPTY,
            observer_mask: Bits::EMPTY,
            idle_mask: Bits::EMPTY,
            observers_left: register.facts.iter().map(|fact| fact.observers).collect(),
            required_ahead: register.facts.iter().map(|fact| fact.required).collect(),
            mismatches_left: register
                .steps
                .iter()
                .filter(|step| matches!(step.action, Action::Mismatch { .. }))
                .count(),
            frontier: vec![start],
            next: Distinct::new(),
            visited: Distinct::new(),
        }
    }

    fn run(&mut self) -> Found {
        for (at, moment) in self.register.moments.iter().enumerate() {
            match *moment {
                Moment::Invoke(step) => self.invoke(step),
                Moment::Return(step) => {
                    if let Err(of) = self.complete(step) {
                        return Found::Exhausted { at, of };
                    }
                    if self.next.list.is_empty() {
                        return Found::Inexplicable { step, at, held: self.held() };
                    }
                    std::mem::swap(&mut self.frontier, &mut self.next.list);
                    self.close(step);
                }
            }
        }
        Found::Linearizable { held: self.held() }
    }

    /// The steps that may have set the register last, over the surviving configurations.
    fn held(&self) -> Vec<Option<u32>> {
        let mut held: Vec<Option<u32>> = self
            .frontier
            .iter()
            .map(|configuration| (configuration.by != INITIAL).then_some(configuration.by))
            .collect();
        held.sort_unstable();
        held.dedup();
        held
    }

    fn dead(&self, value: ValueId) -> bool {
        self.observers_left[value as usize] == 0
    }

    fn invoke(&mut self, number: u32) {
        let step = self.register.steps[number as usize];
        let slot = self.free.pop().expect("the register's width counts the slots needed");
        self.slots[number as usize] = slot;
        self.taken += self.frontier.len() as u64;
        let mut open = Open { slot, step: number, action: step.action, required: step.required, twin: None };
        if !step.action.is_mutation() {
            self.observers.push(open);
            self.observer_mask.set(slot);
            if let Action::Read { value } = step.action {
                self.required_ahead[value as usize] -= 1;
            }
            for configuration in &mut self.frontier {
                if finds(step.action, configuration.value) {
                    configuration.done.set(slot);
                }
            }
            return;
        }
        if step.required {
            self.required_mask.set(slot);
            if let Action::Cas { expected, .. } = step.action {
                self.required_ahead[expected as usize] -= 1;
            }
            if let Action::Write { new } = step.action
                && self.dead(new)
            {
                self.idle_mask.set(slot);
                self.spend_idle_writes();
            }
        } else {
            self.unknown_mask.set(slot);
            let twin =
                self.mutations.iter().rev().find(|other| !other.required && other.action == step.action);
            open.twin = twin.map(|other| other.slot);
        }
        self.mutations.push(open);
    }

    /// Where the register holds a dead value, writes of dead values take effect without a trace.
    fn spend_idle_writes(&mut self) {
        if self.mismatches_left == 0 {
            for configuration in &mut self.frontier {
                if configuration.value == OTHER {
                    configuration.done = configuration.done.or(&self.idle_mask);
                }
            }
        }
    }

    /// Fills `next` with all configurations in which the step has taken effect, its slot cleared.
    fn complete(&mut self, step: u32) -> Result<(), &'static str> {
        let slot = self.slots[step as usize];
        self.next.clear();
        self.visited.clear();
        self.taken += self.frontier.len() as u64;
        for at in 0..self.frontier.len() {
            let mut configuration = self.frontier[at];
            if configuration.done.has(slot) {
                configuration.done.clear(slot);
                self.next.insert(configuration);
            } else {
                self.visited.insert(configuration);
            }
        }
        // `visited` is also the queue: what lies behind `at` has still to be expanded.
        let mut at = 0;
        while at < self.visited.list.len() {
            let configuration = self.visited.list[at];
            at += 1;
            for which in 0..self.mutations.len() {
                self.taken += 1;
                let Some(mut after) = self.effect(&configuration, which) else { continue };
                if after.done.has(slot) {
                    after.done.clear(slot);
                    self.next.insert(after);
                } else {
                    self.visited.insert(after);
                }
            }
            if self.taken > self.budget.steps {
                return Err("steps");
            }
            let held = self.frontier.len() + 2 * (self.visited.list.len() + self.next.list.len());
            if (held * 2 * size_of::<Configuration<N>>()) as u64 > self.budget.memory_bytes {
                return Err("memory");
            }
        }
        Ok(())
    }

    /// The configuration after one of the open mutations has taken effect; none if it cannot, or need not.
    #[inline]
    fn effect(&self, before: &Configuration<N>, which: usize) -> Option<Configuration<N>> {
        let open = &self.mutations[which];
        if before.done.has(open.slot) {
            return None;
        }
        let (new, is_write) = match open.action {
            Action::Write { new } => (new, true),
            Action::Cas { expected, new } if expected == before.value => (new, false),
            _ => return None,
        };
        let new = if self.dead(new) { OTHER } else { new };
        if !open.required {
            // It may never happen, so let it only happen where it changes something, and in its turn.
            if new == before.value || open.twin.is_some_and(|twin| !before.done.has(twin)) {
                return None;
            }
        }
        if self.look_ahead && new != before.value && self.is_needed(before, open) {
            return None;
        }
        let mut done = before.done;
        done.set(open.slot);
        if self.mismatches_left == 0 && (is_write || new == OTHER) {
            done = done.or(&self.idle_mask);
        }
        for observer in &self.observers {
            if finds(observer.action, new) {
                done.set(observer.slot);
            }
        }
        Some(Configuration { done, value: new, by: open.step })
    }

    /// Whether some other operation has still to find the present value, which would not come back.
    fn is_needed(&self, before: &Configuration<N>, next: &Open) -> bool {
        let value = before.value as usize;
        if self.register.facts[value].producers != 1 || before.value == OTHER {
            return false;
        }
        self.required_ahead[value] > 0
            || self.mutations.iter().any(|other| {
                other.required
                    && other.slot != next.slot
                    && matches!(other.action, Action::Cas { expected, .. } if expected == before.value)
                    && !before.done.has(other.slot)
            })
    }

    /// Takes a completed step out, and drops configurations that others dominate.
    fn close(&mut self, number: u32) {
        let slot = self.slots[number as usize];
        let action = self.register.steps[number as usize].action;
        self.free.push(slot);
        self.required_mask.clear(slot);
        self.observer_mask.clear(slot);
        self.idle_mask.clear(slot);
        let list = if action.is_mutation() { &mut self.mutations } else { &mut self.observers };
        list.retain(|open| open.slot != slot);
        if let Action::Mismatch { .. } = action {
            self.mismatches_left -= 1;
        }
        let mut changed = matches!(action, Action::Mismatch { .. }) && self.mismatches_left == 0;
        if let Some(value) = action.observes() {
            self.observers_left[value as usize] -= 1;
            if self.dead(value) {
                changed = true;
                for open in &self.mutations {
                    if open.required && open.action == (Action::Write { new: value }) {
                        self.idle_mask.set(open.slot);
                    }
                }
                for configuration in &mut self.frontier {
                    if configuration.value == value {
                        configuration.value = OTHER;
                    }
                }
            }
        }
        if changed {
            self.spend_idle_writes();
        }
        if self.frontier.len() > 1 {
            self.drop_dominated();
        }
    }

    fn drop_dominated(&mut self) {
        /// Groups larger than this are only cleared of duplicates: the comparison is quadratic.
        const LARGE: usize = 128;
        let required = self.required_mask;
        let group =
            |configuration: &Configuration<N>| (configuration.value, configuration.done.and(&required));
        self.frontier.sort_unstable_by_key(|configuration| (group(configuration), configuration.done));
        self.frontier.dedup();
        let mut kept = 0;
        let mut start = 0;
        while start < self.frontier.len() {
            let key = group(&self.frontier[start]);
            let length = self.frontier[start..].iter().take_while(|other| group(other) == key).count();
            let first_kept = kept;
            for at in start..start + length {
                let candidate = self.frontier[at];
                if length > LARGE {
                    self.frontier[kept] = candidate;
                    kept += 1;
                    continue;
                }
                if (first_kept..kept).any(|other| self.dominates(&self.frontier[other], &candidate)) {
                    continue;
                }
                let mut end = first_kept;
                for other in first_kept..kept {
                    if !self.dominates(&candidate, &self.frontier[other]) {
                        self.frontier[end] = self.frontier[other];
                        end += 1;
                    }
                }
                self.frontier[end] = candidate;
                kept = end + 1;
            }
            start += length;
        }
        self.frontier.truncate(kept);
    }

    fn dominates(&self, one: &Configuration<N>, other: &Configuration<N>) -> bool {
        one.done.and(&self.observer_mask).contains(&other.done.and(&self.observer_mask))
            && other.done.and(&self.unknown_mask).contains(&one.done.and(&self.unknown_mask))
    }
}

/// Whether an observer finds what it found if the register holds `value`.
#[inline]
fn finds(observer: Action, value: ValueId) -> bool {
    match observer {
        Action::Read { value: found } => found == value,
        Action::Mismatch { expected } => expected != value,
        _ => false,
    }
}
