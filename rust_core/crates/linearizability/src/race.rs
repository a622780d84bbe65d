//! Several engines on one problem: the first answer counts, the others are dropped.
//!
//! The race is run on one thread, in turns, so it is deterministic. Each engine has a head start on the next: most
//! histories are decided before a second engine is even made.

use std::cell::Cell;

use crate::{
    engine::{Answer, Engine, Progress},
    limits::{Limits, Stop, Watch},
};

/// Operations that are prepared between two looks at the clock: 20 ms even where the model is Python's.
const PREPARED: u32 = 4_096;

/// An engine that has not been made yet.
pub(crate) struct Entrant<'a> {
    /// Steps after which the next one joins, if this one has no answer by then.
    pub head_start: u64,
    /// Makes it, given the memory that it may hold.
    pub make: Box<dyn FnOnce(u64) -> Box<dyn Engine + 'a> + 'a>,
}

impl<'a> Entrant<'a> {
    pub(crate) fn new<E: Engine + 'a>(head_start: u64, make: impl FnOnce(u64) -> E + 'a) -> Entrant<'a> {
        Entrant { head_start, make: Box::new(|memory| Box::new(make(memory))) }
    }
}

/// How a race ended.
pub(crate) enum Finish<'a> {
    /// This engine answered: linearizable, or not.
    Answered(Box<dyn Engine + 'a>, Answer),
    /// Nobody did; the engine that came farthest, if one is left.
    Exhausted(Exhausted, Option<Box<dyn Engine + 'a>>),
}

/// What ended a race without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exhausted {
    /// All steps were taken.
    Steps,
    /// Every engine needed more memory.
    Memory,
    /// No algorithm fits.
    NotApplicable,
    /// Ended from outside.
    Stopped(Stop),
}

/// What all races of one check share.
pub(crate) struct Course<'a> {
    pub limits: Limits,
    pub watch: &'a dyn Watch,
    /// Memory held beside what is prepared for the races and the engines.
    pub held_bytes: u64,
    /// Steps taken so far, and the most memory held at once.
    pub steps: u64,
    pub peak_bytes: u64,
}

impl<'c> Course<'c> {
    pub(crate) fn new(limits: Limits, watch: &'c dyn Watch, held_bytes: u64) -> Course<'c> {
        Course { limits, watch, held_bytes, steps: 0, peak_bytes: 0 }
    }

    /// Whether so many bytes more are within the limit.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        self.held_bytes.saturating_add(bytes) <= self.limits.memory_bytes
    }

    /// The operations in their order, to be prepared. They end early if the check is stopped: `stopped` says why.
    pub(crate) fn prepared<'o>(
        &self,
        operations: &'o [u32],
        stopped: &'o Cell<Option<Stop>>,
    ) -> impl Iterator<Item = u32> + use<'o, 'c> {
        let watch = self.watch;
        let mut until_look = PREPARED;
        operations.iter().copied().take_while(move |_| {
            until_look -= 1;
            if until_look == 0 {
                until_look = PREPARED;
                stopped.set(watch.stop());
            }
            stopped.get().is_none()
        })
    }

    /// Runs the entrants for at most `steps`, beside `prepared_bytes` that were prepared for them.
    pub(crate) fn run<'a>(
        &mut self,
        entrants: Vec<Entrant<'a>>,
        steps: u64,
        prepared_bytes: u64,
    ) -> Finish<'a> {
        let steps = steps.min(self.limits.steps.saturating_sub(self.steps));
        let beside = self.held_bytes + prepared_bytes;
        self.peak_bytes = self.peak_bytes.max(beside);
        if beside > self.limits.memory_bytes {
            return Finish::Exhausted(Exhausted::Memory, None);
        }
        let share = (self.limits.memory_bytes - beside) / entrants.len().max(1) as u64;
        let stride = self.watch.stride().max(1);
        let mut waiting = entrants.into_iter();
        let mut running: Vec<Box<dyn Engine + 'a>> = Vec::new();
        let (mut taken, mut next_joins_at) = (0_u64, 0_u64);
        let mut out_of_memory = false;
        let mut farthest: Option<Box<dyn Engine + 'a>> = None;
        let exhausted = loop {
            if (running.is_empty() || taken >= next_joins_at)
                && let Some(entrant) = waiting.next()
            {
                next_joins_at = taken.saturating_add(entrant.head_start);
                running.push((entrant.make)(share));
            }
            if running.is_empty() {
                break if out_of_memory { Exhausted::Memory } else { Exhausted::NotApplicable };
            }
            let mut at = 0;
            while at < running.len() {
                let before = running[at].steps();
                let progress = running[at].advance(stride.min(steps.saturating_sub(taken).max(1)));
                taken += running[at].steps() - before;
                let held: u64 = running.iter().chain(&farthest).map(|engine| engine.bytes()).sum();
                self.peak_bytes = self.peak_bytes.max(beside + held);
                match progress {
                    Progress::Running => at += 1,
                    Progress::Done(answer @ (Answer::Linearizable | Answer::Inexplicable { .. })) => {
                        self.steps += taken;
                        return Finish::Answered(running.swap_remove(at), answer);
                    }
                    Progress::Done(answer) => {
                        out_of_memory |= answer == Answer::OutOfMemory;
                        let engine = running.remove(at);
                        if farthest.as_ref().is_none_or(|other| other.verified() < engine.verified()) {
                            farthest = Some(engine);
                        }
                    }
                }
            }
            if let Some(stop) = self.watch.stop() {
                break Exhausted::Stopped(stop);
            }
            if taken >= steps {
                break Exhausted::Steps;
            }
        };
        self.steps += taken;
        let farthest = running.into_iter().chain(farthest).max_by_key(|engine| engine.verified());
        Finish::Exhausted(exhausted, farthest)
    }
}
