//! Several engines on one problem: the first answer counts, the others are dropped.
//!
//! The race is run on one thread, in turns, so it is deterministic. Each engine has a head start on the next: most
//! histories are decided before a second engine is even made.

use crate::{
    engine::{Answer, Engine, Progress},
    limits::{Limits, Stop, Watch},
};

/// Steps between two looks at the clock: one to three milliseconds.
const SLICE: u64 = 50_000;

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
    /// Steps taken so far, and the most memory held at once.
    pub steps: u64,
    pub peak_bytes: u64,
}

impl<'c> Course<'c> {
    pub(crate) fn new(limits: Limits, watch: &'c dyn Watch) -> Course<'c> {
        Course { limits, watch, steps: 0, peak_bytes: 0 }
    }

    /// Runs the entrants for at most `steps`.
    pub(crate) fn run<'a>(&mut self, entrants: Vec<Entrant<'a>>, steps: u64) -> Finish<'a> {
        let steps = steps.min(self.limits.steps.saturating_sub(self.steps));
        let share = self.limits.memory_bytes / entrants.len().max(1) as u64;
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
                let progress = running[at].advance(SLICE.min(steps.saturating_sub(taken).max(1)));
                taken += running[at].steps() - before;
                let held = running.iter().map(|engine| engine.bytes()).sum();
                self.peak_bytes = self.peak_bytes.max(held);
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
