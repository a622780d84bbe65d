//! Zones (Gibbons and Korach, Testing shared memories, 1997, §4): where each value is written once, a register's
//! history is decided in linear time.
//!
//! Where a value has one producer, the write and all operations that find its value form a *cluster*: they take
//! effect one after another, with nothing else between. A successful compare-and-set ties the cluster of its new
//! value to the end of its expected one's, and so a chain of them is a single *block*, which starts with a write
//! (compare Rystsov's check of such chains, CASPaxos, 2018). A block's *zone* reaches from the first completion
//! in it to the last invocation. If these come in this order the zone is *forward*: the register held the
//! block's values from one end to the other. Else it is *backward*: all operations of the block overlap, and it
//! fits into any instant between. The history is linearizable iff
//!
//! - within each block the order of the chain contradicts no order in time,
//! - no two forward zones overlap, and
//! - no backward zone lies within a forward one.
//!
//! Each of these is looked at as completions come, for what is certain of the prefix so far, so that the first
//! prefix that fails is found. What is certain: operations that completed, and the producers of what these
//! found, whatever their own outcome. Others, still open or of unknown outcome, are not needed: without a
//! mismatch, an order in which such an operation takes effect stays an order when it is left out, since nothing
//! needed finds its value, so that the next mutation is a write.
//!
//! A compare-and-set that failed (a mismatch) says that the register held something else. Without them a history
//! that fails, fails; for one that does not, [`layout`] gives all blocks a place, so that each mismatch finds
//! another value. That is a good attempt, not a search: if it fails, this engine is not applicable.

mod layout;
mod suffix;

use layout::Layout;

use mcp_chaos_history::History;

use super::{
    frontier::Frontier,
    prepare::{Action, Held, Moment, Register},
};
use crate::engine::{Answer, Engine, Progress, Survivor};

const NONE: u32 = u32::MAX;
/// The producer of the initial value.
const INITIAL: u32 = u32::MAX - 1;
/// The producer of a value that nothing needs. There may be many.
const IDLE: u32 = u32::MAX - 2;
/// Several producers.
const MANY: u32 = u32::MAX - 3;

/// Steps that may be taken in any case to find what survived: a millisecond or two.
const FEW_STEPS: u64 = 100_000;

/// What is certain of a value. Positions are numbers of moments, from 1; 0 is before all.
#[derive(Clone, Copy, Debug)]
struct Cluster {
    /// The step that produces it.
    producer: u32,
    /// When it became certain that the value was produced: the first completion of any operation from the
    /// producer on along the block.
    certain_at: u32,
    /// The value that the block starts with.
    root: Held,
    /// Of a root: the last invocation of anything certain in the block.
    last: u32,
    /// The last invocation of a certain operation that finds this value.
    last_found: u32,
    /// The certain compare-and-set that replaced this value, and since when it is certain.
    next: u32,
    next_at: u32,
    /// The first completion of a mismatch that was invoked when the value was certain to be there, or gone.
    mismatched_at: u32,
}

impl Cluster {
    const UNKNOWN: Cluster = Cluster {
        producer: NONE,
        certain_at: NONE,
        root: NONE,
        last: 0,
        last_found: 0,
        next: NONE,
        next_at: NONE,
        mismatched_at: NONE,
    };

    fn is_forward(&self) -> bool {
        self.last > self.certain_at
    }
}

/// No order explains the prefix up to the present completion.
struct Conflict;

/// Which block an operation belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    /// The one that starts with this value.
    Of(Held),
    /// A write of a value that nothing needs: a block of its own.
    Alone,
    /// None: a mismatch.
    No,
}

/// The zones of a history's certain operations.
struct Zones<'a> {
    register: &'a Register,
    clusters: Vec<Cluster>,
    /// For each step its invocation's position and its completion's; [`NONE`] if that has not come.
    invoked: Vec<u32>,
    returned: Vec<u32>,
    /// For each position the root of the forward zone over it.
    cover: Vec<Held>,
}

impl<'a> Zones<'a> {
    fn new(register: &'a Register) -> Self {
        Zones { register, clusters: Vec::new(), invoked: Vec::new(), returned: Vec::new(), cover: Vec::new() }
    }

    /// What [`Zones::allocate`] takes.
    fn bytes_for(register: &Register) -> usize {
        size_of::<Cluster>() * register.facts.len()
            + size_of::<u32>() * (2 * register.steps.len() + register.moments.len() + 1)
    }

    fn allocate(&mut self) {
        self.clusters = vec![Cluster::UNKNOWN; self.register.facts.len()];
        self.cluster(self.register.initial).producer = INITIAL;
        self.invoked = vec![NONE; self.register.steps.len()];
        self.returned = vec![NONE; self.register.steps.len()];
        self.cover = vec![NONE; self.register.moments.len() + 1];
    }

    fn bytes(&self) -> usize {
        if self.clusters.is_empty() { 0 } else { Zones::bytes_for(self.register) }
    }

    fn action(&self, step: u32) -> Action {
        self.register.steps[step as usize].action
    }

    fn cluster(&mut self, value: Held) -> &mut Cluster {
        &mut self.clusters[value as usize]
    }

    fn is_idle(&self, value: Held) -> bool {
        self.clusters[value as usize].producer == IDLE
    }

    /// Notes who produces the step's value.
    fn index(&mut self, step: u32) {
        if let Some(new) = self.action(step).produces() {
            let producer = &mut self.cluster(new).producer;
            *producer = if *producer == NONE { step } else { MANY };
        }
    }

    /// Tells values that are needed from others: some required operation finds it, or a compare-and-set that
    /// must have taken effect, since its new value is needed. False if a needed value has several producers.
    fn mark_needed(&mut self, value: Held) -> bool {
        if self.register.facts[value as usize].required == 0 {
            return true;
        }
        let mut value = value;
        loop {
            let cluster = self.cluster(value);
            if cluster.root == value {
                return true;
            }
            // Only a mark, until the sweep begins.
            cluster.root = value;
            match cluster.producer {
                MANY => return false,
                NONE | INITIAL => return true,
                producer => match self.action(producer) {
                    Action::Cas { expected, .. } => value = expected,
                    _ => return true,
                },
            }
        }
    }

    /// Begins a sweep.
    fn begin(&mut self) {
        for cluster in &mut self.clusters {
            let producer = if cluster.root == NONE { IDLE } else { cluster.producer };
            *cluster = Cluster { producer, ..Cluster::UNKNOWN };
        }
        let initial = self.register.initial;
        if !self.is_idle(initial) {
            let cluster = self.cluster(initial);
            (cluster.certain_at, cluster.root) = (0, initial);
        }
    }

    /// Begins the sweep again.
    fn begin_again(&mut self) {
        for (value, cluster) in (0..).zip(&mut self.clusters) {
            cluster.root = if cluster.producer == IDLE { NONE } else { value };
        }
        self.begin();
        self.invoked.fill(NONE);
        self.returned.fill(NONE);
        self.cover.fill(NONE);
    }

    fn take(&mut self, now: u32) -> Result<(), Conflict> {
        match self.register.moments[now as usize - 1] {
            Moment::Invoke(step) => {
                self.invoked[step as usize] = now;
                Ok(())
            }
            Moment::Return(step) => {
                self.returned[step as usize] = now;
                self.complete(step, now)
            }
        }
    }

    fn complete(&mut self, step: u32, now: u32) -> Result<(), Conflict> {
        let invoked = self.invoked[step as usize];
        let (root, last) = match self.action(step) {
            Action::Write { new } if self.is_idle(new) => return Ok(()),
            Action::Write { new } => self.make_certain(new, now)?,
            Action::Read { value } => {
                let (root, last) = self.make_certain(value, now)?;
                self.find(value, invoked)?;
                (root, last)
            }
            Action::Cas { expected, new } if self.is_idle(new) => {
                let (root, last) = self.make_certain(expected, now)?;
                self.replace(expected, step, now)?;
                (root, last)
            }
            Action::Cas { new, .. } => self.make_certain(new, now)?,
            Action::Mismatch { expected } => {
                let cluster = self.cluster(expected);
                if cluster.certain_at < invoked {
                    cluster.mismatched_at = cluster.mismatched_at.min(now);
                }
                return Ok(());
            }
        };
        self.grow(root, last.max(invoked), now)
    }

    /// It is certain now that the value was produced, and so on back along the chain. Gives back the block's root
    /// and the last invocation of what has become certain by this.
    fn make_certain(&mut self, value: Held, now: u32) -> Result<(Held, u32), Conflict> {
        let (mut at, mut last) = (value, 0);
        let root = loop {
            let cluster = self.clusters[at as usize];
            if cluster.certain_at == now {
                // Compare-and-sets in a circle.
                return Err(Conflict);
            }
            if cluster.certain_at != NONE {
                break cluster.root;
            }
            let producer = cluster.producer;
            if producer == NONE || self.invoked[producer as usize] == NONE {
                return Err(Conflict);
            }
            self.cluster(at).certain_at = now;
            last = last.max(self.invoked[producer as usize]);
            match self.action(producer) {
                Action::Cas { expected, .. } => {
                    self.replace(expected, producer, now)?;
                    at = expected;
                }
                _ => break at,
            }
        };
        let mut at = value;
        while self.clusters[at as usize].root == NONE {
            self.cluster(at).root = root;
            match self.action(self.clusters[at as usize].producer) {
                Action::Cas { expected, .. } => at = expected,
                _ => break,
            }
        }
        Ok((root, last))
    }

    /// A certain compare-and-set replaces this value.
    fn replace(&mut self, expected: Held, step: u32, now: u32) -> Result<(), Conflict> {
        self.find(expected, self.invoked[step as usize])?;
        let cluster = self.cluster(expected);
        if cluster.next != NONE {
            return Err(Conflict);
        }
        (cluster.next, cluster.next_at) = (step, now);
        Ok(())
    }

    /// A certain operation invoked then finds this value.
    fn find(&mut self, value: Held, invoked: u32) -> Result<(), Conflict> {
        let cluster = self.cluster(value);
        cluster.last_found = cluster.last_found.max(invoked);
        // Replaced before, or missed while it must have been there.
        if cluster.next_at < invoked || cluster.mismatched_at < invoked { Err(Conflict) } else { Ok(()) }
    }

    /// Something invoked at `last` is certain of the block.
    fn grow(&mut self, root: Held, last: u32, now: u32) -> Result<(), Conflict> {
        let Cluster { certain_at: first, last: before, .. } = self.clusters[root as usize];
        if last <= before {
            return Ok(());
        }
        self.cluster(root).last = last;
        if first == now {
            // A backward zone that ends now: no forward one reaches so far.
            return Ok(());
        }
        if last < first {
            let (from, to) = (self.cover[last as usize], self.cover[first as usize]);
            return if from != NONE && from == to { Err(Conflict) } else { Ok(()) };
        }
        // Forward zones are disjoint, so no position is come to twice.
        let from = if before > first { before + 1 } else { first };
        for at in from..=last {
            if self.cover[at as usize] != NONE || self.ends_within(root, first, at) {
                return Err(Conflict);
            }
            self.cover[at as usize] = root;
        }
        Ok(())
    }

    /// Whether a backward zone of another block ends here that began after `first`.
    fn ends_within(&self, root: Held, first: u32, at: u32) -> bool {
        self.zone_ending(at).is_some_and(|(block, last)| block != Block::Of(root) && last > first)
    }

    /// The block whose first completion is here, if it has come, with its last invocation.
    fn zone_ending(&self, at: u32) -> Option<(Block, u32)> {
        let step = self.returning(at)?;
        match self.block_of(step) {
            Block::Alone => Some((Block::Alone, self.invoked[step as usize])),
            Block::Of(root) => {
                let cluster = &self.clusters[root as usize];
                (cluster.certain_at == at).then_some((Block::Of(root), cluster.last))
            }
            Block::No => None,
        }
    }

    /// The step that completes here, if that has come.
    fn returning(&self, at: u32) -> Option<u32> {
        match self.register.moments[(at as usize).checked_sub(1)?] {
            Moment::Return(step) if self.returned[step as usize] != NONE => Some(step),
            _ => None,
        }
    }

    /// The block of a completed step.
    fn block_of(&self, step: u32) -> Block {
        match self.action(step) {
            Action::Write { new } if self.is_idle(new) => Block::Alone,
            Action::Write { new: value } | Action::Read { value } | Action::Cas { expected: value, .. } => {
                Block::Of(self.clusters[value as usize].root)
            }
            Action::Mismatch { .. } => Block::No,
        }
    }
}

/// What comes next.
#[derive(Clone, Copy)]
enum Phase {
    Begin,
    /// Who produces which value.
    Index {
        step: u32,
    },
    /// Which values are needed.
    Need {
        value: Held,
    },
    /// Zones, moment by moment.
    Sweep {
        now: u32,
    },
    /// A place for every block, moment by moment.
    Lay {
        now: u32,
    },
    Done(Answer),
}

/// The engine. Its step is a moment (or a value, or an operation); one moment is never split, so one that lets a
/// zone grow over a million others takes a millisecond.
pub struct ZoneSearch<'a> {
    zones: Zones<'a>,
    history: &'a History,
    layout: Layout,
    memory_bytes: u64,
    phase: Phase,
    taken: u64,
    /// The first moment whose prefix fails even without mismatches.
    failed_at: Option<u32>,
    has_mismatches: bool,
    verified: usize,
}

impl<'a> ZoneSearch<'a> {
    /// An engine that holds at most so much memory.
    pub fn new(register: &'a Register, history: &'a History, memory_bytes: u64) -> ZoneSearch<'a> {
        ZoneSearch {
            zones: Zones::new(register),
            history,
            layout: Layout::default(),
            memory_bytes,
            phase: Phase::Begin,
            taken: 0,
            failed_at: None,
            has_mismatches: false,
            verified: 0,
        }
    }

    /// What survived until the failure, found by a frontier over the end of the history: none if that takes more than
    /// a part of the steps that were taken.
    fn survived(&self, moment: usize) -> Option<Vec<Survivor>> {
        let left = self.memory_bytes.checked_sub(self.bytes() + suffix::bytes_for(self.zones.register))?;
        let suffix = suffix::suffix(&self.zones, moment as u32 + 1)?;
        let mut frontier = Frontier::new(&suffix.register, self.history, left);
        let Progress::Done(Answer::Inexplicable { moment, is_first: true }) =
            frontier.advance(self.taken / 8 + FEW_STEPS)
        else {
            return None;
        };
        let survivors = (moment == suffix.failed).then(|| frontier.survivors())?;
        Some(survivors.into_iter().map(|survivor| suffix.whole(survivor)).collect())
    }

    /// The next thing.
    fn go_on(&mut self) -> Phase {
        let register = self.zones.register;
        match self.phase {
            Phase::Begin => {
                let needed = Zones::bytes_for(register) + Layout::bytes_for(register);
                if needed as u64 > self.memory_bytes {
                    return Phase::Done(Answer::OutOfMemory);
                }
                self.zones.allocate();
                Phase::Index { step: 0 }
            }
            Phase::Index { step } if (step as usize) < register.steps.len() => {
                self.zones.index(step);
                self.has_mismatches |= matches!(self.zones.action(step), Action::Mismatch { .. });
                Phase::Index { step: step + 1 }
            }
            Phase::Index { .. } => Phase::Need { value: 0 },
            Phase::Need { value } if (value as usize) < register.facts.len() => {
                if !self.zones.mark_needed(value) {
                    return Phase::Done(Answer::NotApplicable);
                }
                Phase::Need { value: value + 1 }
            }
            Phase::Need { .. } => {
                self.zones.begin();
                Phase::Sweep { now: 1 }
            }
            Phase::Sweep { now } if now <= self.limit() => {
                if self.zones.take(now).is_err() {
                    let moment = now as usize - 1;
                    self.failed_at = Some(now);
                    if !self.has_mismatches {
                        self.verified = moment;
                        return Phase::Done(Answer::Inexplicable { moment, is_first: true });
                    }
                    self.zones.begin_again();
                    return Phase::Sweep { now: 1 };
                }
                if !self.has_mismatches {
                    self.verified = now as usize;
                }
                Phase::Sweep { now: now + 1 }
            }
            Phase::Sweep { .. } => {
                if !self.has_mismatches {
                    return Phase::Done(Answer::Linearizable);
                }
                self.layout = Layout::new(&self.zones, false);
                Phase::Lay { now: 1 }
            }
            Phase::Lay { now } if now <= self.limit() => {
                if self.layout.take(&self.zones, now) {
                    self.verified = now as usize;
                    return Phase::Lay { now: now + 1 };
                }
                Phase::Done(match self.failed_at {
                    Some(failed) => Answer::Inexplicable { moment: failed as usize - 1, is_first: false },
                    None => Answer::NotApplicable,
                })
            }
            Phase::Lay { .. } => Phase::Done(match self.failed_at {
                Some(failed) => Answer::Inexplicable { moment: failed as usize - 1, is_first: true },
                None => Answer::Linearizable,
            }),
            Phase::Done(_) => self.phase,
        }
    }

    /// The last position to look at: the end, or right before what failed.
    fn limit(&self) -> u32 {
        self.failed_at.map_or(self.zones.register.moments.len() as u32, |failed| failed - 1)
    }
}

impl Engine for ZoneSearch<'_> {
    fn name(&self) -> &'static str {
        "zones"
    }

    fn advance(&mut self, fuel: u64) -> Progress {
        for _ in 0..fuel {
            if let Phase::Done(answer) = self.phase {
                return Progress::Done(answer);
            }
            self.taken += 1;
            self.phase = self.go_on();
        }
        if let Phase::Done(answer) = self.phase { Progress::Done(answer) } else { Progress::Running }
    }

    fn steps(&self) -> u64 {
        self.taken
    }

    fn bytes(&self) -> u64 {
        (self.zones.bytes() + self.layout.bytes()) as u64
    }

    fn verified(&self) -> usize {
        self.verified
    }

    fn survivors(&self) -> Vec<Survivor> {
        let Phase::Done(Answer::Inexplicable { moment, is_first: true }) = self.phase else {
            return Vec::new();
        };
        self.survived(moment).unwrap_or_default()
    }

    fn witness(&self) -> Option<Vec<u32>> {
        let Phase::Done(Answer::Linearizable) = self.phase else { return None };
        let Register { steps, facts, .. } = self.zones.register;
        let noted = size_of::<u32>() * (2 * steps.len() + facts.len());
        if self.bytes() + (Layout::bytes_for(self.zones.register) + noted) as u64 > self.memory_bytes {
            return None;
        }
        let mut layout = Layout::new(&self.zones, true);
        let laid = (1..=self.limit()).all(|now| layout.take(&self.zones, now));
        debug_assert!(laid, "a history whose zones agree has a layout");
        laid.then_some(layout.order)
    }
}

#[cfg(test)]
mod tests;
