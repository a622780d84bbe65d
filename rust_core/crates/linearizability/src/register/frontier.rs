//! A frontier of configurations, moved along the history moment by moment: just-in-time linearization (Wing and
//! Gong, Testing and verifying concurrent objects, 1993; Lowe, Testing for linearizability, 2017).
//!
//! A configuration is the register's value and what of the open operations has taken effect. An operation takes
//! effect no earlier than some completion demands, so all orders that a prefix of the history allows are
//! represented. What keeps the frontier small, each sound for every prefix unless it says otherwise:
//!
//! - *Observers at once.* A read (or mismatch) changes nothing, so it takes effect as soon as the register
//!   holds what it found: to wait could only lose the chance.
//! - *Hidden writes.* Right before a write takes effect any open write may: nobody sees it. So once some write
//!   took effect after an open write was invoked, the latter is *free*: it may take effect yet, or have been
//!   hidden there. Only a *fresh* write (none took effect since) must take effect when it completes. To be free
//!   is never worse than to have taken effect, nor than to be fresh: whatever these allow, it allows.
//! - *Reads of hidden writes.* A read that was open when some write took effect may have found, right before
//!   it, what a hidden write left there. So it waits until it completes, or until such a write does: if one is
//!   free then (or of unknown outcome, and was invoked in time), that write and all such reads of its value are
//!   taken to have taken effect before the last write, and the present value stays. The last write serves as
//!   well as any earlier one: what was open at an earlier one, and is still, was open at the last. A read is
//!   *fresh* if no write took effect since it was invoked.
//! - *Nothing in vain.* So a write other than the one that completes takes effect only if a compare-and-set that
//!   is open or of unknown outcome finds its value, if a mismatch waits for another value than the present one,
//!   or if the read that completes finds it. Else the next mutation is a write, which hides it, or there is
//!   none, and it can wait. A compare-and-set of unknown outcome, likewise, needs somebody to find its value.
//! - *Twins.* Of open mutations with equal actions the one that completes first takes effect first: exchange the
//!   two in any order that has them otherwise. The one that was to come first is open where the other stood,
//!   and the other is open until later. So of writes one of unknown outcome comes last, and operations of
//!   unknown outcome with equal actions need only be counted.
//! - *Spent operations.* Of two configurations equal but for the operations of unknown outcome that they spent,
//!   one that spent fewer of each action can do what the other can. Minimal sets of all configurations that
//!   are equal otherwise are one [`Family`](super::families::Family).
//! - *Domination.* For the same reasons: with the same value and compare-and-sets, more observers done, fewer
//!   writes done, fewer fresh, fewer operations spent.
//! - *Dead values.* A value that no operation still open or to come observes is as good as any such other. If
//!   no mismatch is left, open writes of such values are free where the register holds such a value: they change
//!   nothing.
//! - *Looking ahead.* A value with one producer never comes back: it may not be overwritten, nor hidden, while
//!   an operation is left that must find it. Only operations that complete before a *horizon* count, and the
//!   horizon goes ahead with the search. So if no configuration is left, some prefix up to the horizon is
//!   inexplicable; the shortest is found by bisection, from a snapshot that was taken before anything behind it
//!   was looked at. That is sound as what fails for one horizon fails for every later one.
//!
//! # Why
//!
//! An *order* of a prefix holds every operation that completed in it, and any of those open or of unknown
//! outcome; the values fit; and nothing stands behind what was invoked after it completed. Read along the
//! completions, an order *emits* at each one whatever stands up to the operation that completes and was not
//! emitted before. All that is emitted at a completion is open then, or of unknown outcome and invoked. So (*) it
//! may change places there, and as long as it stays open with anything emitted later: real time has no objection,
//! only values may.
//!
//! One configuration *covers* another if each continuation of the history that has an order from the other has
//! one from it. The frontier is right if orders emit its configurations, and these cover all that orders emit.
//! Rule by rule:
//!
//! 1. *Observers.* By (*) one may be put wherever the register holds what it found, once invoked. It changes
//!    nothing, so to have it done covers not to.
//! 2. *Hidden writes.* Let L be the last write emitted, at T. A write w that was invoked before T and is open yet
//!    may stand right before L by (*); L overwrites what it left. Between the two may stand every read of its
//!    value that was open at T and is. So a free write stands for two orders: with it there, and without it. To
//!    be free covers to be done (who had it done does not use it again: put it before L), and to be fresh (which
//!    has but one of the two). A compare-and-set hides nothing, and one that was emitted after L does not see
//!    what stands before L. What stands hidden before an earlier write and is open yet can stand before L: so the
//!    last write is enough.
//! 3. *Nothing in vain.* Of the writes that an order emits when o completes, o apart, look at each, w, from the
//!    last one back: at what follows it up to the next mutation m, or to o if there is none. If o is not there,
//!    nor a mismatch that did not hold already, nor m a compare-and-set, then m is a write, and only reads that do
//!    not complete now stand between.
//!    Leave w and them out until they complete: then (2) has them before m. If m is a compare-and-set of unknown
//!    outcome, look at what follows it in turn: if no read, no mismatch and no compare-and-set, it goes, being of
//!    unknown outcome. If w sets the present value again, whatever follows has that value without w, unless
//!    something stands hidden before w that cannot before L: what is fresh, or a write of unknown outcome invoked
//!    since T that a read found.
//! 4. *Twins.* Of two open mutations with equal actions let the later to complete come first in an order.
//!    Exchange them: the other is open there, and this one where the other stood, by (*). If the other was hidden
//!    before L with a read behind it, and this one is fresh, it cannot take that place. But the one emitted now
//!    leaves the same value, so the read finds it here, and this one may be hidden here. The same holds for a
//!    write of unknown outcome, which never completes, and is always open once invoked; if it is in nobody's
//!    place it goes.
//! 5. *Spent.* An order that leaves out an operation of unknown outcome is as good as one whose value nobody
//!    finds. So with all else equal fewer cover more; of equal actions only the number matters, by (4).
//! 6. *Domination* is 1, 2 and 5 at once. Compare-and-sets must be equal: one that is done cannot be hidden.
//! 7. *Dead values.* With no mismatch left, any value covers OTHER: after OTHER nothing is observed before the
//!    next write. So a free write w of a dead value need not take effect when it completes. Had it, all would be
//!    free and the value OTHER. Without it, if a fresh write is next to complete, or a read that found a write
//!    hidden before w, then that write takes effect: it frees all likewise, and leaves a value that covers OTHER.
//!    If a write is emitted before, the two are the same. That w is done need not be known: nobody finds its
//!    value, so all it can be yet is hidden. Where the register holds OTHER it can be put last, which changes
//!    nothing: so there it is free though it be fresh.
//! 8. *Looking ahead.* Where the register holds a value, its only producer was emitted. Once overwritten it is
//!    gone, and who completes before the horizon and must find it never will. If the only producer is hidden, the
//!    reads that (2) puts behind it found it, and nobody else will. Gone back to is the older of two snapshots:
//!    its frontier looked one window ahead, and the failure is behind that. What is explained up to a moment
//!    under some horizon is explained.

use mcp_chaos_history::{History, Map};

use super::{
    antichain::{Antichain, Configuration, Masks},
    bits::Bits,
    families::{EMPTY, Families, UNIT},
    prepare::{Action, Held, Moment, OTHER, Register, Step},
};
use crate::engine::{Answer, Engine, Progress, Survivor};

/// The most operations that may be open at once, those of unknown outcome apart.
const WIDEST: usize = 4096;
/// The most operations of unknown outcome: what recursion over their sets allows.
const MOST_UNKNOWN: usize = 10_000;
/// Nodes of families below which it is not worth the while to forget any.
const FAMILIES: usize = 1 << 15;
/// Configurations that are looked at before the memory is counted again.
const BATCH: usize = 32;
/// Survivors that are told of.
const LISTED: usize = 32;

/// The frontier as an engine.
pub struct Frontier<'a>(Box<dyn Engine + 'a>);

/// How far apart things are that hardly happen in a small history, unless a test has them close.
#[derive(Clone, Copy, Debug)]
pub(super) struct Narrow {
    /// So many moments lie between two snapshots.
    pub window: usize,
    /// Nodes of families below which none is forgotten.
    pub families: usize,
}

impl<'a> Frontier<'a> {
    /// A search that holds at most `memory_bytes`.
    pub fn new(register: &'a Register, history: &'a History, memory_bytes: u64) -> Frontier<'a> {
        let window = 64.max(required_width(register) * 4);
        Frontier::narrow(register, history, memory_bytes, Narrow { window, families: FAMILIES })
    }

    pub(super) fn narrow(
        register: &'a Register,
        history: &'a History,
        memory_bytes: u64,
        narrow: Narrow,
    ) -> Frontier<'a> {
        let required = required_width(register);
        macro_rules! of {
            ($words:literal) => {
                Box::new(Search::<$words>::new(register, history, memory_bytes, narrow, required))
            };
        }
        Frontier(match required {
            0..=64 => of!(1),
            65..=128 => of!(2),
            129..=256 => of!(4),
            257..=1024 => of!(16),
            _ => of!(64),
        })
    }
}

impl Engine for Frontier<'_> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn advance(&mut self, fuel: u64) -> Progress {
        self.0.advance(fuel)
    }

    fn steps(&self) -> u64 {
        self.0.steps()
    }

    fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    fn verified(&self) -> usize {
        self.0.verified()
    }

    fn survivors(&self) -> Vec<Survivor> {
        self.0.survivors()
    }
}

/// The most required steps ever open at once.
fn required_width(register: &Register) -> usize {
    let (mut open, mut width) = (0_usize, 0);
    for moment in &register.moments {
        match *moment {
            Moment::Invoke(step) => open += usize::from(register.steps[step as usize].required),
            Moment::Return(_) => open -= 1,
        }
        width = width.max(open);
    }
    width
}

const INITIAL: u32 = u32::MAX;
const NEVER: u32 = u32::MAX;
const NO_SLOT: u16 = u16::MAX;

/// What a configuration lacks for a completion.
struct Wish {
    /// The value that the read finds which completes.
    read: Option<Held>,
    /// Some open mismatch waits for another value than the present one.
    is_refused: bool,
    /// Something is fresh, or an open read may find what a write of unknown outcome left that was invoked after
    /// the last write took effect.
    frees: bool,
}

/// An open required step in its slot.
#[derive(Clone, Copy)]
struct Open<const N: usize> {
    slot: u16,
    step: u32,
    returns_at: u32,
    action: Action,
    /// Slots of open writes of the same value that complete earlier.
    twins: Bits<N>,
    /// It is a write of a value that nobody had still to find when it was invoked.
    is_unseen: bool,
}

/// Slots of the open required steps that speak of one value.
#[derive(Clone, Copy)]
struct Group<const N: usize> {
    value: Held,
    members: u32,
    reads: Bits<N>,
    writes: Bits<N>,
    /// Compare-and-sets and mismatches that expect it.
    cas: Bits<N>,
    mismatches: Bits<N>,
}

impl<const N: usize> Group<N> {
    fn new(value: Held) -> Self {
        let none = Bits::EMPTY;
        Group { value, members: 0, reads: none, writes: none, cas: none, mismatches: none }
    }

    fn of(&mut self, action: Action) -> &mut Bits<N> {
        match action {
            Action::Read { .. } => &mut self.reads,
            Action::Write { .. } => &mut self.writes,
            Action::Cas { .. } => &mut self.cas,
            Action::Mismatch { .. } => &mut self.mismatches,
        }
    }
}

/// Operations of unknown outcome with the same action.
struct Class {
    action: Action,
    /// The first one's number among all such operations, class by class.
    first: u32,
    /// The number behind the last one invoked so far.
    end: u32,
}

/// What is needed to go back to a moment, beside what the moments themselves tell.
struct Snapshot<const N: usize> {
    at: usize,
    frontier: Vec<Configuration<N>>,
    mutations: Vec<Open<N>>,
    observers: Vec<Open<N>>,
    free: Vec<u16>,
    unknown_writes: Vec<u32>,
}

impl<const N: usize> Snapshot<N> {
    fn bytes(&self) -> usize {
        self.frontier.capacity() * size_of::<Configuration<N>>()
            + (self.mutations.capacity() + self.observers.capacity()) * size_of::<Open<N>>()
            + self.free.capacity() * 2
            + self.unknown_writes.capacity() * 4
    }
}

/// What the search is at.
#[derive(Clone, Copy, Debug)]
enum Aim {
    /// The end of the history.
    All,
    /// The shortest inexplicable prefix ends in one of these moments.
    Between { first: usize, last: usize },
    /// It ends in this one: to find what survived until then.
    Survivors { failed: usize },
}

struct Search<'a, const N: usize> {
    register: &'a Register,
    history: &'a History,
    memory_bytes: u64,
    narrow: Narrow,
    aim: Aim,
    answer: Option<Answer>,
    taken: u64,
    verified: usize,

    /// The next moment, the one to stop at, and the one from which on nothing is looked at.
    at: usize,
    until: usize,
    horizon: usize,
    /// Steps before this one have been invoked.
    invoked: u32,
    /// The completion that is being expanded; `queue` tells which configurations in `visited` have anything
    /// pending, from `cursor` on.
    completing: Option<u32>,
    frontier: Vec<Configuration<N>>,
    next: Antichain<N>,
    visited: Antichain<N>,
    queue: Vec<u32>,
    cursor: usize,
    /// How many configurations of the frontier are sorted for the completion; how many are looked at again after one,
    /// and of how many.
    sorted: usize,
    pruned: usize,
    to_prune: usize,

    slots: Vec<u16>,
    returns_at: Vec<u32>,
    free: Vec<u16>,
    mutations: Vec<Open<N>>,
    observers: Vec<Open<N>>,
    masks: Masks<N>,
    mismatch_mask: Bits<N>,
    /// What open required steps speak of, and where to find it by its value; the first group is empty, for all
    /// values that none of them speaks of.
    groups: Vec<Group<N>>,
    group_of: Vec<u32>,
    free_groups: Vec<u32>,
    /// Slots of open writes of dead values.
    idle_mask: Bits<N>,
    /// Slots of open writes that are unseen.
    unseen_mask: Bits<N>,

    families: Families,
    classes: Vec<Class>,
    class_of: Map<Action, u32>,
    /// All such operations' steps, class by class, and in the order of their invocations.
    unknown: Vec<u32>,
    unknown_in_order: Vec<u32>,
    /// Classes of which an operation was invoked: writes of values that are not dead; compare-and-sets.
    unknown_writes: Vec<u32>,
    unknown_cas: Map<Held, Vec<u32>>,
    /// Nodes of families at which to forget those that nobody needs.
    families_full: usize,

    /// For each value: observers not yet completed; those that must find it, are not yet invoked, and complete
    /// before the horizon.
    observers_left: Vec<u32>,
    ahead: Vec<u32>,
    mismatches_left: usize,
    /// Operations of unknown outcome invoked so far.
    unknown_invoked: u32,

    older: Option<Snapshot<N>>,
    newer: Option<Snapshot<N>>,
}

impl<'a, const N: usize> Search<'a, N> {
    fn new(
        register: &'a Register,
        history: &'a History,
        memory_bytes: u64,
        narrow: Narrow,
        width: usize,
    ) -> Self {
        let start = Configuration {
            done: Bits::EMPTY,
            fresh: Bits::EMPTY,
            value: register.initial,
            by: INITIAL,
            spent: UNIT,
            unknown: 0,
        };
        let mut returns_at = vec![NEVER; register.steps.len()];
        for (at, moment) in (0_u32..).zip(&register.moments) {
            if let Moment::Return(step) = *moment {
                returns_at[step as usize] = at;
            }
        }
        let (classes, class_of, unknown) = classes(register);
        let too_much = width > WIDEST || unknown.len() > MOST_UNKNOWN;
        let mut search = Search {
            register,
            history,
            memory_bytes,
            narrow,
            aim: Aim::All,
            answer: too_much.then_some(Answer::NotApplicable),
            taken: 0,
            verified: 0,
            at: 0,
            until: register.moments.len(),
            horizon: 0,
            invoked: 0,
            completing: None,
            frontier: vec![start],
            next: Antichain::new(),
            visited: Antichain::new(),
            queue: Vec::new(),
            cursor: 0,
            sorted: 0,
            pruned: 0,
            to_prune: 0,
            slots: vec![0; register.steps.len()],
            returns_at,
            free: (0..width.min(WIDEST) as u16).rev().collect(),
            mutations: Vec::new(),
            observers: Vec::new(),
            masks: Masks { cas: Bits::EMPTY, observers: Bits::EMPTY },
            mismatch_mask: Bits::EMPTY,
            groups: vec![Group::new(OTHER)],
            group_of: vec![0; register.facts.len()],
            free_groups: Vec::new(),
            idle_mask: Bits::EMPTY,
            unseen_mask: Bits::EMPTY,
            families: Families::new(),
            classes,
            class_of,
            unknown_in_order: {
                let mut steps = unknown.clone();
                steps.sort_unstable();
                steps
            },
            unknown,
            unknown_writes: Vec::new(),
            unknown_cas: Map::default(),
            families_full: narrow.families,
            observers_left: register.facts.iter().map(|fact| fact.observers).collect(),
            ahead: vec![0; register.facts.len()],
            mismatches_left: register.mismatches,
            unknown_invoked: 0,
            older: None,
            newer: None,
        };
        if search.bytes() > memory_bytes {
            search.answer.get_or_insert(Answer::OutOfMemory);
        }
        search
    }

    /// Goes on from one moment to the next, or from one configuration to the next within a completion.
    fn go_on(&mut self) {
        if self.pruned < self.to_prune {
            if !self.has_room(BATCH) {
                return self.out_of_memory();
            }
            return self.some(|search| search.pruned < search.to_prune, Self::prune);
        }
        if let Some(step) = self.completing {
            if self.sorted < self.frontier.len() {
                if !self.has_room(2 * BATCH) {
                    return self.out_of_memory();
                }
                return self.some(|search| search.sorted < search.frontier.len(), |search| search.sort(step));
            }
            if self.cursor < self.queue.len() {
                if !self.has_room(self.mutations.len() + self.unknown_writes.len() + 1) {
                    return self.out_of_memory();
                }
                return self.expand(step);
            }
            self.completing = None;
            if self.next.list.is_empty() {
                return self.failed();
            }
            self.next.list.retain(|configuration| configuration.spent != EMPTY);
            std::mem::swap(&mut self.frontier, &mut self.next.list);
            self.close(step);
            self.at += 1;
            return;
        }
        if self.at == self.until {
            return self.reached();
        }
        if matches!(self.aim, Aim::All) {
            self.verified = self.at;
            if self.at.is_multiple_of(self.narrow.window) {
                let bytes = size_of::<Configuration<N>>() * self.frontier.len();
                if self.bytes() + bytes as u64 > self.memory_bytes {
                    return self.out_of_memory();
                }
                self.take_snapshot();
                self.look_until(self.at + 2 * self.narrow.window);
            }
        }
        match self.register.moments[self.at] {
            Moment::Invoke(step) => {
                self.invoke(step);
                self.at += 1;
            }
            Moment::Return(step) => self.complete(step),
        }
    }

    /// Does something a few times, while it is to be done, or until that has taken a while.
    fn some(&mut self, goes_on: impl Fn(&Self) -> bool, mut work: impl FnMut(&mut Self)) {
        let enough = self.steps() + 1_000;
        for _ in 0..BATCH {
            if !goes_on(self) || self.steps() >= enough {
                return;
            }
            work(self);
        }
    }

    // Moments.

    fn invoke(&mut self, number: u32) {
        let step = self.register.steps[number as usize];
        self.invoked = number + 1;
        self.taken += 1;
        if let (Some(value), false) = (step.action.observes(), is_mismatch(step.action))
            && (self.returns_at[number as usize] as usize) < self.horizon
        {
            self.ahead[value as usize] -= 1;
        }
        if !step.required {
            return self.invoke_unknown(step.action);
        }
        self.taken += self.frontier.len() as u64;
        let slot = self.free.pop().expect("the width counts the slots needed");
        self.slots[number as usize] = slot;
        let mut open = Open {
            slot,
            step: number,
            returns_at: self.returns_at[number as usize],
            action: step.action,
            twins: Bits::EMPTY,
            is_unseen: matches!(step.action, Action::Write { new } if self.is_dead(new)),
        };
        match step.action {
            Action::Read { .. } | Action::Mismatch { .. } => {
                for configuration in &mut self.frontier {
                    if finds(step.action, configuration.value) {
                        configuration.done.set(slot);
                    } else if !is_mismatch(step.action) {
                        configuration.fresh.set(slot);
                    }
                }
            }
            Action::Cas { .. } => self.find_twins(&mut open),
            Action::Write { new } => {
                self.find_twins(&mut open);
                let is_idle = self.is_dead(new) && self.mismatches_left == 0;
                for configuration in &mut self.frontier {
                    if !is_idle || configuration.value != OTHER {
                        configuration.fresh.set(slot);
                    }
                }
            }
        }
        self.open(open);
    }

    /// Looks for open mutations with the same action.
    fn find_twins(&mut self, new: &mut Open<N>) {
        for other in self.mutations.iter_mut().filter(|other| other.action == new.action) {
            if other.returns_at < new.returns_at {
                new.twins.set(other.slot);
            } else {
                other.twins.set(new.slot);
            }
        }
    }

    /// Lists an open step wherever it is looked for.
    fn open(&mut self, open: Open<N>) {
        let Open { slot, action, .. } = open;
        if action.is_mutation() {
            self.mutations.push(open);
        } else {
            self.observers.push(open);
        }
        match action {
            Action::Read { .. } => self.masks.observers.set(slot),
            Action::Mismatch { .. } => {
                self.masks.observers.set(slot);
                self.mismatch_mask.set(slot);
            }
            Action::Cas { .. } => self.masks.cas.set(slot),
            Action::Write { new } if self.is_dead(new) => self.idle_mask.set(slot),
            Action::Write { .. } => {}
        }
        if open.is_unseen {
            self.unseen_mask.set(slot);
        }
        let value = spoken_of(action);
        let mut number = self.group_of[value as usize];
        if number == 0 {
            number = self.free_groups.pop().unwrap_or(self.groups.len() as u32);
            if number as usize == self.groups.len() {
                self.groups.push(Group::new(value));
            } else {
                self.groups[number as usize] = Group::new(value);
            }
            self.group_of[value as usize] = number;
        }
        let group = &mut self.groups[number as usize];
        group.members += 1;
        group.of(action).set(slot);
    }

    fn group(&self, value: Held) -> &Group<N> {
        &self.groups[self.group_of[value as usize] as usize]
    }

    fn invoke_unknown(&mut self, action: Action) {
        self.unknown_invoked += 1;
        let number = self.class_of[&action];
        let class = &mut self.classes[number as usize];
        let is_first = class.end == class.first;
        class.end += 1;
        if is_first {
            match action {
                Action::Cas { expected, .. } => self.unknown_cas.entry(expected).or_default().push(number),
                _ => self.unknown_writes.push(number),
            }
        }
    }

    /// Begins to fill `next` with all configurations in which the step has taken effect, its slot cleared.
    fn complete(&mut self, step: u32) {
        let slot = self.slots[step as usize];
        self.taken += self.frontier.len() as u64;
        if self.frontier.iter().all(|configuration| configuration.done.has(slot)) {
            self.frontier.iter_mut().for_each(|configuration| configuration.done.clear(slot));
            self.close(step);
            self.at += 1;
            return;
        }
        self.next.clear();
        self.visited.clear();
        self.queue.clear();
        (self.sorted, self.cursor) = (0, 0);
        self.completing = Some(step);
    }

    /// Takes the next configuration of the frontier: to `next` if the step has taken effect there or may have been
    /// hidden, to `visited` if it may take effect yet.
    fn sort(&mut self, step: u32) {
        let configuration = self.frontier[self.sorted];
        self.sorted += 1;
        self.taken += 1;
        let slot = self.slots[step as usize];
        if configuration.done.has(slot) {
            self.put_next(configuration, slot);
            return;
        }
        match self.register.steps[step as usize].action {
            Action::Write { new } if !configuration.fresh.has(slot) => {
                let is_idle = self.is_dead(new) && self.mismatches_left == 0;
                if !self.is_lost(&configuration, new) {
                    let mut after = self.with_hidden(&configuration, new);
                    // It is open still, and nobody tells such values apart: so that what is told of the configuration
                    // is a state that there was, it takes effect now.
                    if is_idle && configuration.value == OTHER && self.unseen_mask.has(slot) {
                        after.by = step;
                    }
                    self.put_next(after, slot);
                }
                // To take effect with a dead value, if no mismatch is left, gains nothing over being hidden:
                // whatever takes effect next is a write, which frees what this one would free.
                if is_idle {
                    return;
                }
            }
            Action::Read { value } if !configuration.fresh.has(slot) => {
                self.hide(&configuration, value, slot);
            }
            _ => {}
        }
        self.put_visited(configuration);
    }

    /// Completes a read that may have found, before the last write, what a hidden write of this value left.
    fn hide(&mut self, before: &Configuration<N>, value: Held, slot: u16) {
        let free = self.group(value).writes.without(&before.done).without(&before.fresh);
        let mut after = self.with_hidden(before, value);
        if free.is_empty() {
            let Some(class) = self.class_of.get(&Action::Write { new: value }) else { return };
            let Class { first, end, .. } = self.classes[*class as usize];
            let invoked = self.step_of_unknown(before.unknown);
            let members = &self.unknown[first as usize..end as usize];
            let in_time = members.partition_point(|step| *step < invoked) as u32;
            after.spent = self.families.add(before.spent, first, first + in_time);
            if after.spent == EMPTY {
                return;
            }
        } else {
            let writes = self.mutations.iter().filter(|open| free.has(open.slot));
            let first = writes.min_by_key(|open| open.returns_at).expect("one is free");
            after.done.set(first.slot);
        }
        self.put_next(after, slot);
    }

    /// The configuration with all reads that a hidden write of this value serves.
    fn with_hidden(&self, before: &Configuration<N>, value: Held) -> Configuration<N> {
        let done = before.done.or(&self.group(value).reads.without(&before.fresh));
        Configuration { done, ..*before }
    }

    fn put_next(&mut self, mut configuration: Configuration<N>, slot: u16) {
        configuration.done.clear(slot);
        configuration.fresh.clear(slot);
        self.next.insert(configuration, &self.masks, &mut self.families, &mut self.taken);
    }

    fn put_visited(&mut self, configuration: Configuration<N>) {
        let at = self.visited.insert(configuration, &self.masks, &mut self.families, &mut self.taken);
        self.queue.extend(at.map(|at| at as u32));
    }

    /// Takes the next configuration in the queue, and lets every mutation take effect that may serve.
    fn expand(&mut self, target: u32) {
        let which = self.queue[self.cursor] as usize;
        self.cursor += 1;
        let spent = std::mem::replace(&mut self.visited.pending[which], EMPTY);
        if spent == EMPTY {
            return;
        }
        let before = Configuration { spent, ..self.visited.list[which] };
        let slot = self.slots[target as usize];
        let wish = Wish {
            read: match self.register.steps[target as usize].action {
                Action::Read { value } => Some(value),
                _ => None,
            },
            is_refused: !self.group(before.value).mismatches.without(&before.done).is_empty(),
            frees: !before.fresh.is_empty()
                || before.unknown < self.unknown_invoked
                    && !self.masks.observers.without(&self.mismatch_mask).without(&before.done).is_empty(),
        };
        self.taken += 1 + self.mutations.len() as u64;
        for at in 0..self.mutations.len() {
            let open = self.mutations[at];
            if before.done.has(open.slot) || open.slot != slot && !before.done.contains(&open.twins) {
                continue;
            }
            let new = match open.action {
                Action::Write { new } => {
                    if open.slot != slot && !self.serves(&before, new, &wish) {
                        continue;
                    }
                    new
                }
                Action::Cas { expected, new } if expected == before.value => new,
                _ => continue,
            };
            if new != before.value && self.is_needed(&before, open.slot) {
                continue;
            }
            let mut after = self.after(&before, open.action, new, open.step);
            after.done.set(open.slot);
            if self.mismatches_left == 0 {
                after.done = after.done.without(&self.idle_mask);
            }
            // A write of a dead value that completes is not in `done` any more.
            if open.slot == slot || after.done.has(slot) {
                self.put_next(after, slot);
            } else {
                self.put_visited(after);
            }
        }
        if !self.classes.is_empty() {
            self.expand_unknown(&before, slot, &wish);
        }
    }

    fn expand_unknown(&mut self, before: &Configuration<N>, slot: u16, wish: &Wish) {
        let writes = if wish.is_refused { self.classes.len() } else { self.unknown_writes.len() };
        for at in 0..writes {
            let number = if wish.is_refused { at as u32 } else { self.unknown_writes[at] };
            let Action::Write { new } = self.classes[number as usize].action else { continue };
            self.taken += 1;
            if self.serves(before, new, wish) && self.group(new).writes.without(&before.done).is_empty() {
                self.spend(before, number, new, slot);
            }
        }
        let Some(count) = self.unknown_cas.get(&before.value).map(Vec::len) else { return };
        for at in 0..count {
            let number = self.unknown_cas[&before.value][at];
            let new = self.classes[number as usize].action.produces().expect("it is a mutation");
            self.taken += 1;
            if new != before.value && (wish.is_refused || self.is_found(before, new)) {
                self.spend(before, number, new, slot);
            }
        }
    }

    /// Lets an operation of unknown outcome take effect.
    fn spend(&mut self, before: &Configuration<N>, number: u32, new: Held, slot: u16) {
        if new != before.value && self.is_needed(before, NO_SLOT) {
            return;
        }
        let Class { action, first, end } = self.classes[number as usize];
        let spent = self.families.add(before.spent, first, end);
        if spent == EMPTY {
            return;
        }
        let by = self.unknown[first as usize];
        let after = Configuration { spent, ..self.after(before, action, new, by) };
        if after.done.has(slot) {
            self.put_next(after, slot);
        } else {
            self.put_visited(after);
        }
    }

    /// The configuration after a mutation, but for that mutation's own slot.
    #[inline]
    fn after(&self, before: &Configuration<N>, action: Action, new: Held, by: u32) -> Configuration<N> {
        let mut after = Configuration { by, ..*before };
        if matches!(action, Action::Write { .. }) {
            after.fresh = Bits::EMPTY;
            after.unknown = self.unknown_invoked;
        }
        after.value = if self.is_dead(new) { OTHER } else { new };
        if after.value == OTHER && self.mismatches_left == 0 {
            after.fresh = after.fresh.without(&self.idle_mask);
        }
        let group = self.group(after.value);
        after.done = after.done.or(&group.reads).or(&self.mismatch_mask.without(&group.mismatches));
        after.fresh = after.fresh.without(&group.reads);
        after
    }

    // What serves, and what would harm.

    fn is_dead(&self, value: Held) -> bool {
        self.observers_left[value as usize] == 0
    }

    /// Whether a write serves right after it took effect. To set the present value again serves only to free
    /// what is not yet free, before a compare-and-set: one whose value somebody finds, or that a mismatch waits for.
    fn serves(&self, before: &Configuration<N>, new: Held, wish: &Wish) -> bool {
        if new == before.value && !wish.frees {
            return false;
        }
        wish.read == Some(new)
            || wish.is_refused && new != before.value
            || !self.group(new).cas.without(&before.done).is_empty()
            || self.unknown_cas.get(&new).is_some_and(|classes| {
                let produced = |class: &u32| self.classes[*class as usize].action.produces();
                classes
                    .iter()
                    .filter_map(produced)
                    .any(|last| wish.is_refused && last != new || self.is_found(before, last))
            })
    }

    /// Whether somebody has still to find this value, or may.
    fn is_found(&self, before: &Configuration<N>, value: Held) -> bool {
        let group = self.group(value);
        !group.reads.or(&group.cas).without(&before.done).is_empty() || self.unknown_cas.contains_key(&value)
    }

    /// Whether some other operation has still to find the present value, which would not come back.
    fn is_needed(&self, before: &Configuration<N>, next: u16) -> bool {
        let value = before.value;
        self.is_unique(value)
            && (self.ahead[value as usize] > 0 || self.is_wanted_by_cas(before, value, next))
    }

    /// Whether a write of this value may not be hidden, as somebody has still to find it.
    fn is_lost(&self, before: &Configuration<N>, value: Held) -> bool {
        self.is_unique(value)
            && (self.ahead[value as usize] > 0
                || self.is_wanted_by_cas(before, value, NO_SLOT)
                || self.is_near(&self.observers, &self.group(value).reads.and(&before.fresh)))
    }

    fn is_unique(&self, value: Held) -> bool {
        value != OTHER && self.register.facts[value as usize].producers == 1
    }

    fn is_wanted_by_cas(&self, before: &Configuration<N>, value: Held, but: u16) -> bool {
        let mut cas = self.group(value).cas.without(&before.done);
        if but != NO_SLOT {
            cas.clear(but);
        }
        self.is_near(&self.mutations, &cas)
    }

    /// Whether any of these completes before the horizon.
    fn is_near(&self, list: &[Open<N>], slots: &Bits<N>) -> bool {
        !slots.is_empty()
            && list.iter().any(|open| slots.has(open.slot) && (open.returns_at as usize) < self.horizon)
    }

    /// The number of the first step that is invoked after so many of unknown outcome.
    fn step_of_unknown(&self, count: u32) -> u32 {
        self.unknown_in_order.get(count as usize).copied().unwrap_or(u32::MAX)
    }

    // After a completion.

    /// Takes a completed step out, and drops configurations that others dominate.
    fn close(&mut self, number: u32) {
        let slot = self.slots[number as usize];
        let action = self.register.steps[number as usize].action;
        self.free.push(slot);
        self.masks.cas.clear(slot);
        self.masks.observers.clear(slot);
        self.mismatch_mask.clear(slot);
        self.idle_mask.clear(slot);
        self.unseen_mask.clear(slot);
        let value = spoken_of(action);
        let which = self.group_of[value as usize];
        let group = &mut self.groups[which as usize];
        group.of(action).clear(slot);
        group.members -= 1;
        if group.members == 0 {
            self.group_of[value as usize] = 0;
            self.free_groups.push(which);
            self.groups[which as usize].value = OTHER;
        }
        let list = if action.is_mutation() { &mut self.mutations } else { &mut self.observers };
        let at = list.iter().position(|open| open.slot == slot).expect("it is open");
        list.swap_remove(at);
        if action.is_mutation() {
            self.mutations.iter_mut().for_each(|open| open.twins.clear(slot));
        }
        let mut changed = false;
        if let Action::Mismatch { .. } = action {
            self.mismatches_left -= 1;
            changed = self.mismatches_left == 0;
        }
        if let Some(value) = action.observes() {
            self.observers_left[value as usize] -= 1;
            if self.is_dead(value) {
                changed = true;
                self.bury(value);
            }
        }
        if changed && self.mismatches_left == 0 {
            for configuration in &mut self.frontier {
                configuration.done = configuration.done.without(&self.idle_mask);
                if configuration.value == OTHER {
                    configuration.fresh = configuration.fresh.without(&self.idle_mask);
                }
            }
        }
        if changed && self.frontier.len() > 1 {
            self.next.clear();
            (self.pruned, self.to_prune) = (0, self.frontier.len());
        } else if self.families.nodes() > self.families_full {
            self.forget_families();
        }
    }

    /// Takes the next configuration of the frontier to `next`, unless another dominates it; then `next` becomes the
    /// frontier.
    fn prune(&mut self) {
        let configuration = self.frontier[self.pruned];
        self.pruned += 1;
        self.taken += 1;
        self.next.insert(configuration, &self.masks, &mut self.families, &mut self.taken);
        if self.pruned == self.to_prune {
            (self.pruned, self.to_prune) = (0, 0);
            self.next.list.retain(|configuration| configuration.spent != EMPTY);
            std::mem::swap(&mut self.frontier, &mut self.next.list);
            if self.families.nodes() > self.families_full && !self.families.is_full {
                self.forget_families();
            }
        }
    }

    /// Nobody will observe this value any more.
    fn bury(&mut self, value: Held) {
        self.idle_mask = self.idle_mask.or(&self.group(value).writes);
        for configuration in &mut self.frontier {
            if configuration.value == value {
                configuration.value = OTHER;
            }
        }
        let classes = &self.classes;
        self.unknown_writes.retain(|class| classes[*class as usize].action != Action::Write { new: value });
    }

    fn forget_families(&mut self) {
        let snapshots = [&mut self.older, &mut self.newer].into_iter().flatten();
        let mut lists: Vec<&mut Vec<Configuration<N>>> =
            snapshots.map(|snapshot| &mut snapshot.frontier).collect();
        lists.push(&mut self.frontier);
        let all = lists.iter().flat_map(|list| list.iter().map(|configuration| configuration.spent));
        let numbers = self.families.keep(all);
        for configuration in lists.into_iter().flatten() {
            configuration.spent = numbers[configuration.spent as usize];
        }
        self.families_full = (self.families.nodes() * 2).max(self.narrow.families);
    }

    // The horizon, and the way back.

    /// Counts who completes before the horizon, which moves on.
    fn look_until(&mut self, horizon: usize) {
        let horizon = horizon.min(self.register.moments.len());
        for at in self.horizon..horizon {
            if let Some(value) = self.must_find(at) {
                self.ahead[value as usize] += 1;
            }
        }
        self.horizon = horizon;
    }

    /// The value that a step not yet invoked, which completes at this moment, must find.
    fn must_find(&self, at: usize) -> Option<Held> {
        match self.register.moments[at] {
            Moment::Return(step) if step >= self.invoked => {
                let action = self.register.steps[step as usize].action;
                if is_mismatch(action) { None } else { action.observes() }
            }
            _ => None,
        }
    }

    fn take_snapshot(&mut self) {
        let mut snapshot = self.older.take().unwrap_or_else(|| Snapshot {
            at: 0,
            frontier: Vec::new(),
            mutations: Vec::new(),
            observers: Vec::new(),
            free: Vec::new(),
            unknown_writes: Vec::new(),
        });
        snapshot.at = self.at;
        snapshot.frontier.clone_from(&self.frontier);
        snapshot.mutations.clone_from(&self.mutations);
        snapshot.observers.clone_from(&self.observers);
        snapshot.free.clone_from(&self.free);
        snapshot.unknown_writes.clone_from(&self.unknown_writes);
        self.older = self.newer.replace(snapshot);
        self.taken += self.frontier.len() as u64;
    }

    /// Goes back to the older snapshot (the newer one if there is but one), to look at the prefix that ends in
    /// moment `last` and at nothing behind it.
    fn go_back(&mut self, last: usize) {
        let snapshot =
            self.older.take().or_else(|| self.newer.take()).expect("one was taken at the beginning");
        self.older = None;
        for at in snapshot.at..self.horizon {
            if let Some(value) = self.must_find(at) {
                self.ahead[value as usize] = 0;
            }
        }
        // Not all that was counted as ahead is, any more; what is left of it goes with the steps undone here.
        for at in (snapshot.at..self.at).rev() {
            self.taken += 1;
            match self.register.moments[at] {
                Moment::Invoke(step) => self.undo_invoke(step),
                Moment::Return(step) => self.undo_return(step),
            }
        }
        self.at = snapshot.at;
        self.horizon = snapshot.at;
        self.completing = None;
        self.frontier.clone_from(&snapshot.frontier);
        self.free.clone_from(&snapshot.free);
        self.unknown_writes.clone_from(&snapshot.unknown_writes);
        self.mutations.clear();
        self.observers.clear();
        self.masks = Masks { cas: Bits::EMPTY, observers: Bits::EMPTY };
        (self.idle_mask, self.unseen_mask, self.mismatch_mask) = (Bits::EMPTY, Bits::EMPTY, Bits::EMPTY);
        self.groups.drain(1..).for_each(|group| self.group_of[group.value as usize] = 0);
        self.free_groups.clear();
        for open in snapshot.mutations.iter().chain(&snapshot.observers) {
            self.slots[open.step as usize] = open.slot;
            self.open(*open);
        }
        self.newer = Some(snapshot);
        self.look_until(last + 1);
        self.until = last + 1;
    }

    fn undo_invoke(&mut self, number: u32) {
        let step = self.register.steps[number as usize];
        self.invoked = number;
        if !step.required {
            self.unknown_invoked -= 1;
            let which = self.class_of[&step.action];
            let class = &mut self.classes[which as usize];
            class.end -= 1;
            if class.end == class.first
                && let Action::Cas { expected, .. } = step.action
            {
                let classes = self.unknown_cas.entry(expected).or_default();
                classes.retain(|class| *class != which);
                if classes.is_empty() {
                    self.unknown_cas.remove(&expected);
                }
            }
        }
    }

    fn undo_return(&mut self, number: u32) {
        let action = self.register.steps[number as usize].action;
        if let Some(value) = action.observes() {
            self.observers_left[value as usize] += 1;
            self.mismatches_left += usize::from(is_mismatch(action));
        }
    }

    // Ends.

    /// Everything up to the moment to stop at is explained.
    fn reached(&mut self) {
        match self.aim {
            Aim::All => {
                self.verified = self.at;
                self.answer = Some(Answer::Linearizable);
            }
            Aim::Between { last, .. } => {
                self.verified = self.at;
                self.narrow(self.at, last);
            }
            Aim::Survivors { failed } => {
                self.verified = failed;
                self.answer = Some(Answer::Inexplicable { moment: failed, is_first: true });
            }
        }
    }

    /// No configuration is left.
    fn failed(&mut self) {
        match self.aim {
            Aim::All => self.narrow(self.at, self.horizon - 1),
            Aim::Between { first, .. } => self.narrow(first.max(self.at), self.until - 1),
            Aim::Survivors { .. } => unreachable!("what was explained once is explained again"),
        }
    }

    fn narrow(&mut self, first: usize, last: usize) {
        if first == last {
            self.aim = Aim::Survivors { failed: first };
            if first == 0 {
                unreachable!("the first moment is an invocation");
            }
            self.go_back(first - 1);
        } else {
            self.aim = Aim::Between { first, last };
            self.go_back(first + (last - first) / 2);
        }
    }

    fn out_of_memory(&mut self) {
        self.answer = Some(match self.aim {
            Aim::All => Answer::OutOfMemory,
            Aim::Between { last, .. } => {
                // What is invoked after a completion does not make the prefix before it any better.
                let is_completion = |at: &usize| matches!(self.register.moments[*at], Moment::Return(_));
                let moment = (0..=last).rev().find(is_completion).expect("only a completion can fail");
                Answer::Inexplicable { moment, is_first: false }
            }
            Aim::Survivors { failed } => Answer::Inexplicable { moment: failed, is_first: true },
        });
        // What was reached is forgotten: it would describe another moment.
        self.frontier.clear();
    }

    /// Whether so many more configurations fit, were each list that is full to double. What is left then is for
    /// families.
    fn has_room(&mut self, most: usize) -> bool {
        let held = self.bytes() + self.next.growth(most) + self.visited.growth(most);
        let queue =
            if self.queue.capacity() - self.queue.len() < most { self.queue.capacity() * 4 } else { 0 };
        let left = self.memory_bytes.checked_sub(held + queue as u64);
        self.families.room_bytes = left.unwrap_or(0);
        left.is_some() && !self.families.is_full
    }
}

impl<const N: usize> Engine for Search<'_, N> {
    fn name(&self) -> &'static str {
        "frontier"
    }

    fn advance(&mut self, fuel: u64) -> Progress {
        let enough = self.steps().saturating_add(fuel);
        loop {
            if self.families.is_full && self.answer.is_none() {
                self.out_of_memory();
            }
            if let Some(answer) = self.answer {
                return Progress::Done(answer);
            }
            if self.steps() >= enough {
                return Progress::Running;
            }
            self.go_on();
        }
    }

    fn steps(&self) -> u64 {
        self.taken + self.families.steps
    }

    fn bytes(&self) -> u64 {
        let snapshots = [&self.older, &self.newer].into_iter().flatten().map(Snapshot::bytes);
        let lists = snapshots.sum::<usize>()
            + self.next.bytes()
            + self.visited.bytes()
            + self.frontier.capacity() * size_of::<Configuration<N>>()
            + self.queue.capacity() * 4
            + self.slots.capacity() * 2
            + (self.returns_at.capacity()
                + self.observers_left.capacity()
                + self.group_of.capacity()
                + self.ahead.capacity())
                * 4
            + (self.mutations.capacity() + self.observers.capacity()) * size_of::<Open<N>>()
            + self.groups.capacity() * size_of::<Group<N>>()
            + self.classes.capacity() * 2 * (size_of::<Class>() + 32)
            + self.unknown.capacity() * 8;
        lists as u64 + self.families.bytes()
    }

    fn verified(&self) -> usize {
        self.verified
    }

    fn survivors(&self) -> Vec<Survivor> {
        let Some(Answer::Inexplicable { moment, is_first: true }) = self.answer else { return Vec::new() };
        let Moment::Return(failed) = self.register.moments[moment] else { return Vec::new() };
        let failed = self.register.steps[failed as usize];
        self.frontier
            .iter()
            .take(LISTED)
            .map(|configuration| {
                let spent = self.families.any(configuration.spent);
                let set_by = (configuration.by != INITIAL).then(|| self.setter(configuration.by, &spent));
                let state = set_by.map_or_else(
                    || match self.register.initial_value {
                        // No operation speaks of it, so the history does not know it.
                        value if value as usize >= self.history.values.len() => "what it began with".into(),
                        value => self.history.values.get(value).to_string(),
                    },
                    |step| self.words(self.register.steps[step as usize], true),
                );
                let why = match failed.action {
                    Action::Mismatch { .. } => format!("it holds {state}, which is what was expected"),
                    _ => format!("it holds {state}, not {}", self.words(failed, false)),
                };
                let open = self.mutations.iter().chain(&self.observers);
                let done = open.filter(|open| configuration.done.has(open.slot)).map(|open| open.step);
                let spent = spent.iter().map(|number| self.unknown[*number as usize]);
                let mut done: Vec<u32> = done.chain(spent).collect();
                // One whose value nobody will find any more need not be remembered as done.
                done.extend(set_by.filter(|step| self.mutations.iter().any(|open| open.step == *step)));
                done.sort_unstable();
                done.dedup();
                Survivor { state, done, set_by, why }
            })
            .collect()
    }
}

impl<const N: usize> Search<'_, N> {
    /// Of equal operations of unknown outcome the last one that was spent set the value.
    fn setter(&self, by: u32, spent: &[u32]) -> u32 {
        let step = self.register.steps[by as usize];
        if step.required {
            return by;
        }
        let Class { first, end, .. } = self.classes[self.class_of[&step.action] as usize];
        let last = spent.iter().rev().find(|number| (first..end).contains(*number));
        last.map_or(by, |number| self.unknown[*number as usize])
    }

    /// The value that a step left behind, or that it had to find.
    fn words(&self, step: Step, new: bool) -> String {
        let operation = &self.history.operations[step.operation as usize];
        let value = match step.action {
            Action::Read { .. } => operation.result,
            Action::Write { .. } => operation.argument,
            Action::Cas { .. } | Action::Mismatch { .. } => {
                let pair = self.history.values.pair(operation.argument);
                let (expected, set) = pair.expect("it was a pair when it was prepared");
                if new { set } else { expected }
            }
        };
        self.history.values.get(value).to_string()
    }
}

/// Whether an observer finds what it found if the register holds `value`.
#[inline]
fn finds(observer: Action, value: Held) -> bool {
    match observer {
        Action::Read { value: found } => found == value,
        Action::Mismatch { expected } => expected != value,
        _ => false,
    }
}

/// The value by which an open step is looked for: what it finds or expects, or what it writes.
fn spoken_of(action: Action) -> Held {
    match action {
        Action::Write { new } => new,
        Action::Read { value } => value,
        Action::Cas { expected, .. } | Action::Mismatch { expected } => expected,
    }
}

fn is_mismatch(action: Action) -> bool {
    matches!(action, Action::Mismatch { .. })
}

/// The operations of unknown outcome by action, and the steps in the order of their numbers.
fn classes(register: &Register) -> (Vec<Class>, Map<Action, u32>, Vec<u32>) {
    let mut class_of: Map<Action, u32> = Map::default();
    let mut members: Vec<(u32, u32)> = Vec::new();
    for (number, step) in (0_u32..).zip(&register.steps).filter(|(_, step)| !step.required) {
        let next = class_of.len() as u32;
        members.push((*class_of.entry(step.action).or_insert(next), number));
    }
    // Those first invoked last come first: what was just spent then stands at the top of a family, whose rest is
    // shared with what it was before.
    let last = class_of.len() as u32;
    class_of.values_mut().for_each(|class| *class = last - 1 - *class);
    members.iter_mut().for_each(|(class, _)| *class = last - 1 - *class);
    members.sort_unstable();
    let mut classes: Vec<Class> = Vec::with_capacity(class_of.len());
    for (number, (class, step)) in (0_u32..).zip(&members) {
        if *class as usize == classes.len() {
            classes.push(Class { action: register.steps[*step as usize].action, first: number, end: number });
        }
    }
    (classes, class_of, members.into_iter().map(|(_, step)| step).collect())
}

#[cfg(test)]
mod tests;
