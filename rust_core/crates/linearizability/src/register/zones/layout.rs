//! A place for every block, so that mismatches find another value than they expected.
//!
//! Moment by moment, each mutation takes effect as late as it may: at the first completion in its block (or, for
//! a backward zone that reaches into a forward one, right before that begins). Only a mismatch that is about to
//! complete, and has not seen another value yet, makes one come sooner: the next of the chain, else of the
//! backward zones that have begun the one that ends first, else an operation that nothing else needs, else a block
//! that must then stay until its end.
//!
//! To be late is right where the order of blocks is given. Let a mismatch that overlaps the value's whole stay
//! demand that it come later, or the next one sooner: the later a block's place, the fewer such demands on the
//! place of the next, and none asks for less than its own invocation. Which block to pull forward is a guess.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{Block, Cluster, INITIAL, NONE, Zones};
use crate::register::prepare::{Action, Held, Moment, Register};

/// How many blocks are tried to let one begin early.
const GUESSES: usize = 4;

/// The layout up to some moment.
#[derive(Default)]
pub(super) struct Layout {
    /// What the register holds, and since which position.
    value: Held,
    since: u32,
    /// The block that the register is in the middle of.
    inside: Option<Held>,
    /// The steps that took effect (mutations only).
    done: Vec<bool>,
    /// Mutations that start backward zones that have begun, by the position at which they must have taken effect.
    begun: BinaryHeap<Reverse<(u32, u32)>>,
    /// Open writes that nothing needs.
    spare: Vec<u32>,
    /// Writes that have been invoked and start blocks, by the last invocation in their block.
    opened: BinaryHeap<Reverse<(u32, u32)>>,
    /// Nothing that must still take effect is due before this position.
    ahead: u32,
    /// Whether to note the order.
    records: bool,
    /// The steps in the order in which they took effect, if noted.
    pub(super) order: Vec<u32>,
    /// Observers that wait for a value to come, by value; mismatches that wait for the value to go.
    reads: Vec<u32>,
    mismatches: u32,
    /// The step that waits with this one.
    link: Vec<u32>,
}

impl Layout {
    /// The most that a layout without its order takes.
    pub(super) fn bytes_for(register: &Register) -> usize {
        register.steps.len() + 48 * register.width + 64
    }

    pub(super) fn bytes(&self) -> usize {
        self.done.capacity()
            + size_of::<(u32, u32)>() * (self.begun.capacity() + self.opened.capacity())
            + size_of::<u32>()
                * (self.spare.capacity()
                    + self.order.capacity()
                    + self.reads.capacity()
                    + self.link.capacity())
    }

    pub(super) fn new(zones: &Zones, records: bool) -> Layout {
        let register = zones.register;
        let initial = register.initial;
        let is_needed = zones.clusters[initial as usize].last > 0;
        let (values, steps) = if records { (register.facts.len(), register.steps.len()) } else { (0, 0) };
        Layout {
            value: initial,
            inside: is_needed.then_some(initial),
            done: vec![false; register.steps.len()],
            records,
            order: Vec::with_capacity(steps),
            reads: vec![NONE; values],
            mismatches: NONE,
            link: vec![NONE; steps],
            ..Layout::default()
        }
    }

    /// Goes on by a moment. False if a mismatch finds no other value.
    pub(super) fn take(&mut self, zones: &Zones, now: u32) -> bool {
        match zones.register.moments[now as usize - 1] {
            Moment::Invoke(step) => self.invoke(zones, step, now),
            Moment::Return(step) => match (zones.block_of(step), zones.action(step)) {
                (Block::No, Action::Mismatch { expected }) => {
                    let invoked = zones.invoked[step as usize];
                    while self.value == expected && self.since < invoked {
                        if !self.pull(zones, now) {
                            return false;
                        }
                    }
                }
                (Block::Of(root), _) => {
                    let producer = zones.clusters[root as usize].producer;
                    if producer != INITIAL && !self.done[producer as usize] {
                        self.start(zones, root, now);
                    }
                    self.follow(zones, |cluster| cluster.next_at <= now, now);
                }
                _ => {
                    if !self.done[step as usize] {
                        self.leave(zones, now);
                        self.set(zones, step, now);
                    }
                }
            },
        }
        true
    }

    fn invoke(&mut self, zones: &Zones, step: u32, now: u32) {
        match zones.action(step) {
            Action::Read { value } if self.records => {
                if self.value == value {
                    self.order.push(step);
                } else if zones.returned[step as usize] != NONE {
                    self.link[step as usize] = std::mem::replace(&mut self.reads[value as usize], step);
                }
            }
            Action::Mismatch { expected } if self.records => {
                if self.value != expected {
                    self.order.push(step);
                } else {
                    self.link[step as usize] = std::mem::replace(&mut self.mismatches, step);
                }
            }
            Action::Write { new } if zones.is_idle(new) => match zones.returned[step as usize] {
                NONE => self.spare.push(step),
                returned => self.begin(zones, step, returned),
            },
            Action::Write { new } => match zones.clusters[new as usize].last {
                0 => self.spare.push(step),
                last => {
                    prune(&mut self.opened, &self.done);
                    self.opened.push(Reverse((last, step)));
                }
            },
            _ => {}
        }
        // The last invocation of a backward zone is where it begins.
        if let Some(root) = self.block_of_certain(zones, step) {
            let cluster = &zones.clusters[root as usize];
            if cluster.last == now && !cluster.is_forward() && cluster.producer != INITIAL {
                self.begin(zones, cluster.producer, cluster.certain_at);
            }
        }
    }

    /// The block of a step that is certain, completed or not.
    fn block_of_certain(&self, zones: &Zones, step: u32) -> Option<Held> {
        let value = match zones.action(step) {
            Action::Write { new } | Action::Cas { new, .. } if !zones.is_idle(new) => new,
            Action::Read { value } | Action::Cas { expected: value, .. }
                if zones.returned[step as usize] != NONE =>
            {
                value
            }
            _ => return None,
        };
        let root = zones.clusters[value as usize].root;
        (root != NONE).then_some(root)
    }

    /// A backward zone begins, which ends at `end`: the block that starts with this step.
    fn begin(&mut self, zones: &Zones, step: u32, end: u32) {
        prune(&mut self.begun, &self.done);
        let due = match zones.cover[end as usize] {
            NONE => end,
            within => zones.clusters[within as usize].certain_at,
        };
        self.begun.push(Reverse((due, step)));
    }

    /// The block takes effect: at once, or from now until its last operation has been invoked.
    fn start(&mut self, zones: &Zones, root: Held, now: u32) {
        self.leave(zones, now);
        let cluster = &zones.clusters[root as usize];
        if cluster.last < now {
            self.set_all(zones, cluster.producer, now);
            return;
        }
        // What must have taken effect before the block ends will not come within it.
        for at in now..=cluster.last {
            if let Some(first) = self.due(zones, at)
                && first != cluster.producer
            {
                self.set_all(zones, first, now);
            }
        }
        self.set(zones, cluster.producer, now);
        self.inside = Some(root);
    }

    /// A whole block takes effect.
    fn set_all(&mut self, zones: &Zones, producer: u32, now: u32) {
        self.set(zones, producer, now);
        loop {
            match zones.clusters[self.value as usize].next {
                NONE => return,
                next => self.set(zones, next, now),
            }
        }
    }

    /// The block that the register is in goes on along its chain, as far as the condition holds.
    fn follow(&mut self, zones: &Zones, goes_on: impl Fn(&Cluster) -> bool, now: u32) {
        while self.inside.is_some() {
            let cluster = &zones.clusters[self.value as usize];
            if cluster.next == NONE || !goes_on(cluster) {
                return;
            }
            self.set(zones, cluster.next, now);
        }
    }

    /// The block that the register is in comes to its end.
    fn leave(&mut self, zones: &Zones, now: u32) {
        self.follow(zones, |_| true, now);
        self.inside = None;
    }

    /// Lets some mutation come sooner; false if none can.
    fn pull(&mut self, zones: &Zones, now: u32) -> bool {
        if let Some(root) = self.inside {
            let cluster = &zones.clusters[self.value as usize];
            if cluster.next != NONE {
                let may = cluster.last_found < now;
                if may {
                    self.set(zones, cluster.next, now);
                }
                return may;
            }
            if zones.clusters[root as usize].last >= now {
                return false;
            }
            self.inside = None;
        }
        while let Some(Reverse((_, step))) = self.begun.pop() {
            if !self.done[step as usize] {
                self.set_all(zones, step, now);
                return true;
            }
        }
        while let Some(step) = self.spare.pop() {
            if !self.done[step as usize] {
                self.set(zones, step, now);
                return true;
            }
        }
        self.start_early(zones, now)
    }

    /// Lets a block begin whose end cannot have come yet. Until then no other may, so none may be due.
    fn start_early(&mut self, zones: &Zones, now: u32) -> bool {
        self.ahead = self.ahead.max(now);
        while (self.ahead as usize) < zones.cover.len() && self.due(zones, self.ahead).is_none() {
            self.ahead += 1;
        }
        let mut failed = Vec::new();
        let mut started = false;
        while failed.len() < GUESSES
            && !started
            && let Some(Reverse((last, step))) = self.opened.pop()
        {
            if self.done[step as usize] {
                continue;
            }
            started = (self.ahead..=last).all(|at| self.due(zones, at).is_none_or(|first| first == step));
            if started {
                let new = zones.action(step).produces().expect("blocks begin with a write");
                self.start(zones, new, now);
            } else {
                failed.push(Reverse((last, step)));
            }
        }
        self.opened.extend(failed);
        started
    }

    /// The mutation that must have taken effect by this position, if it has not: the first of its block.
    fn due(&self, zones: &Zones, at: u32) -> Option<u32> {
        let first = match zones.zone_ending(at)?.0 {
            Block::Of(root) => zones.clusters[root as usize].producer,
            _ => zones.returning(at)?,
        };
        (!self.done[first as usize]).then_some(first)
    }

    /// The mutation takes effect, right before the moment `now`.
    fn set(&mut self, zones: &Zones, step: u32, now: u32) {
        self.done[step as usize] = true;
        let new = zones.action(step).produces().expect("only mutations are laid out");
        if self.records {
            self.order.push(step);
        }
        if new == self.value {
            return;
        }
        (self.value, self.since) = (new, now);
        if self.records {
            let mismatches = std::mem::replace(&mut self.mismatches, NONE);
            let reads = std::mem::replace(&mut self.reads[new as usize], NONE);
            for mut waiting in [mismatches, reads] {
                while waiting != NONE {
                    self.order.push(waiting);
                    waiting = self.link[waiting as usize];
                }
            }
        }
    }
}

/// Forgets the first of a queue that have taken effect.
fn prune(queue: &mut BinaryHeap<Reverse<(u32, u32)>>, done: &[bool]) {
    while queue.peek().is_some_and(|Reverse((_, step))| done[*step as usize]) {
        queue.pop();
    }
}
