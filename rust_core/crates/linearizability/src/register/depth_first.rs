//! Depth-first search with a good order: fast where a valid history leaves much open (Wing and Gong, Testing and
//! verifying concurrent objects, 1993; Lowe, Testing for linearizability, 2017).
//!
//! Where few values come again and again and many operations have an unknown outcome, a frontier has to keep
//! every set of them that may have been spent; one order is enough to call the history linearizable. So this
//! goes from completion to completion with one configuration, as the frontier does and by the same rules (see
//! there: observers at once, hidden writes, nothing in vain, twins), and turns back where it fails:
//!
//! - First comes what spends no operation of unknown outcome, and of this what gives the value that is asked for
//!   soonest. An operation of unknown outcome is spent only where an open one has still to find its value.
//! - What failed is kept: with the same value and the same operations done, another that has spent as many
//!   operations of each kind or more fails too. Keys name the operations in flight only, not the whole history
//!   (Horn and Kroening, Faster linearizability checking via P-compositionality, 2015, bound their cache alike).
//!   If memory runs short, the older half of it is forgotten: that costs time, never the answer.
//!
//! What no order explains is the weak side of such a search. So it begins by looking for an operation that finds
//! a stale value: all that produce the value ended before some mutation to another was invoked, and this ended
//! before the operation was invoked. Then only the prefix before it is left to explain.

use mcp_chaos_history::{Map, Set};

use super::prepare::{Action, Held, Moment, OTHER, Register};
use crate::engine::{Answer, Engine, Progress};

/// The most required operations open at once.
const WIDEST: usize = 64;
/// The most different actions of unknown outcome, and the most operations with the same.
const MOST_KINDS: usize = 64;
const MOST_ALIKE: usize = u8::MAX as usize;
/// How many completions ahead are looked at to choose what comes first.
const AHEAD: u32 = 24;

/// How many operations of each kind of unknown outcome have been spent.
type Spent = [u8; MOST_KINDS];

/// What a configuration is but for what it spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// Slots of open required operations that have taken effect.
    done: u64,
    /// Of open required writes before whose sight no other write took effect: they cannot have been hidden.
    fresh: u64,
    /// The completion that is next, by its number.
    completion: u32,
    value: Held,
    /// Whether the completing write must be seen, though it might have been hidden.
    seen: bool,
}

#[derive(Clone, Copy, Debug)]
struct Configuration {
    key: Key,
    spent: Spent,
}

/// An entry of the stack.
#[derive(Clone, Copy)]
enum Entry {
    /// To be looked at.
    Visit(Configuration),
    /// All that follows from this one, and stands above it, has been looked at.
    Left(Configuration),
}

/// A required step, as the search sees it.
#[derive(Clone, Copy)]
struct Open {
    action: Action,
    slot: u8,
    /// The number of its completion.
    completes: u32,
}

/// Operations of unknown outcome with the same action.
struct Kind {
    action: Action,
    /// Each one's invocation: the number of the next completion.
    invoked: Vec<u32>,
}

/// What takes effect next.
#[derive(Clone, Copy)]
enum Move {
    Required(Open),
    Unknown { kind: usize, action: Action },
}

/// The engine. A step is a configuration or a move that was looked at.
pub struct DepthFirst<'a> {
    register: &'a Register,
    memory_bytes: u64,
    /// The required steps open right before each completion, those that complete sooner first; where each
    /// completion's begin.
    open: Vec<Open>,
    open_from: Vec<u32>,
    /// The steps invoked right before each completion.
    invoked: Vec<Open>,
    invoked_from: Vec<u32>,
    /// The moment of each completion.
    moments: Vec<u32>,
    kinds: Vec<Kind>,
    /// After which completion a value is asked for no more.
    asked_until: Vec<u32>,
    stack: Vec<Entry>,
    failed: Map<Key, Vec<Spent>>,
    failed_before: Map<Key, Vec<Spent>>,
    /// How many sets the younger half holds; and the older.
    kept: (usize, usize),
    furthest: u32,
    /// The first completion of an operation that finds a stale value; without one, how many completions there are.
    limit: u32,
    taken: u64,
    answer: Option<Answer>,
    begun: bool,
}

impl<'a> DepthFirst<'a> {
    /// A search that holds at most so much memory.
    pub fn new(register: &'a Register, memory_bytes: u64) -> DepthFirst<'a> {
        DepthFirst {
            register,
            memory_bytes,
            open: Vec::new(),
            open_from: Vec::new(),
            invoked: Vec::new(),
            invoked_from: Vec::new(),
            moments: Vec::new(),
            kinds: Vec::new(),
            asked_until: Vec::new(),
            stack: Vec::new(),
            failed: Map::default(),
            failed_before: Map::default(),
            kept: (0, 0),
            furthest: 0,
            limit: 0,
            taken: 0,
            answer: None,
            begun: false,
        }
    }

    /// Lays out which steps are open when. The answer, if there is one already.
    fn begin(&mut self) -> Option<Answer> {
        let register = self.register;
        let mut completes = vec![0_u32; register.steps.len()];
        let mut returns = 0;
        for (at, moment) in (0..).zip(&register.moments) {
            if let Moment::Return(step) = *moment {
                completes[step as usize] = returns;
                self.moments.push(at);
                returns += 1;
            }
        }
        self.asked_until = vec![0; register.facts.len()];
        let mut slots: Vec<u8> = (0..WIDEST as u8).rev().collect();
        let mut numbers: Map<Action, usize> = Map::default();
        let mut open: Vec<Open> = Vec::new();
        let mut next = 0;
        self.invoked_from.push(0);
        for moment in &register.moments {
            match *moment {
                Moment::Invoke(number) => {
                    let step = register.steps[number as usize];
                    let until = if step.required { completes[number as usize] } else { u32::MAX };
                    if let Some(value) = step.action.observes() {
                        let asked = &mut self.asked_until[value as usize];
                        *asked = (*asked).max(until);
                    }
                    if step.required {
                        let Some(slot) = slots.pop() else { return Some(Answer::NotApplicable) };
                        let step = Open { action: step.action, slot, completes: until };
                        let place = open.partition_point(|other| other.completes < until);
                        open.insert(place, step);
                        self.invoked.push(step);
                    } else {
                        let kinds = &mut self.kinds;
                        let kind = *numbers.entry(step.action).or_insert_with(|| {
                            kinds.push(Kind { action: step.action, invoked: Vec::new() });
                            kinds.len() - 1
                        });
                        kinds[kind].invoked.push(next);
                        if kinds.len() > MOST_KINDS || kinds[kind].invoked.len() > MOST_ALIKE {
                            return Some(Answer::NotApplicable);
                        }
                    }
                }
                Moment::Return(_) => {
                    self.open_from.push(self.open.len() as u32);
                    self.open.extend_from_slice(&open);
                    slots.push(open.remove(0).slot);
                    next += 1;
                    self.invoked_from.push(self.invoked.len() as u32);
                    if self.bytes() > self.memory_bytes / 2 {
                        return Some(Answer::OutOfMemory);
                    }
                }
            }
        }
        self.open_from.push(self.open.len() as u32);
        self.limit = first_stale(register).unwrap_or(returns);
        if self.limit == 0 {
            return Some(self.explained());
        }
        let key = Key { done: 0, fresh: 0, completion: 0, value: register.initial, seen: false };
        let mut start = Configuration { key, spent: [0; MOST_KINDS] };
        self.enter(&mut start);
        self.stack.push(Entry::Visit(start));
        None
    }

    /// The answer where all before the limit is explained.
    fn explained(&mut self) -> Answer {
        self.furthest = self.limit;
        self.moments.get(self.limit as usize).map_or(Answer::Linearizable, |moment| Answer::Inexplicable {
            moment: *moment as usize,
            is_first: true,
        })
    }

    fn open_at(&self, completion: u32) -> std::ops::Range<usize> {
        let at = completion as usize;
        self.open_from[at] as usize..self.open_from[at + 1] as usize
    }

    /// What is invoked right before the configuration's completion is open now.
    fn enter(&self, configuration: &mut Configuration) {
        let key = &mut configuration.key;
        let at = key.completion as usize;
        for step in &self.invoked[self.invoked_from[at] as usize..self.invoked_from[at + 1] as usize] {
            match step.action {
                Action::Write { .. } => key.fresh |= 1 << step.slot,
                action if finds(action, key.value) => key.done |= 1 << step.slot,
                _ => {}
            }
        }
        if self.asked_until[key.value as usize] < key.completion {
            key.value = OTHER;
        }
    }

    /// The configuration after its completion; none at the end.
    fn after(&self, configuration: &Configuration, slot: u8) -> Option<Configuration> {
        let mut after = *configuration;
        let key = &mut after.key;
        (key.done, key.fresh, key.seen) = (key.done & !(1 << slot), key.fresh & !(1 << slot), false);
        key.completion += 1;
        if key.completion == self.limit {
            return None;
        }
        self.enter(&mut after);
        Some(after)
    }

    /// Whether this is known to fail.
    fn has_failed(&self, configuration: &Configuration) -> bool {
        [&self.failed, &self.failed_before].into_iter().any(|failed| {
            failed
                .get(&configuration.key)
                .is_some_and(|sets| sets.iter().any(|spent| is_within(spent, &configuration.spent)))
        })
    }

    fn note_failure(&mut self, configuration: &Configuration) {
        let sets = self.failed.entry(configuration.key).or_default();
        let before = sets.len();
        sets.retain(|spent| !is_within(&configuration.spent, spent));
        sets.push(configuration.spent);
        self.kept.0 = self.kept.0 + sets.len() - before;
        if self.bytes() > self.memory_bytes / 2 {
            self.failed_before = std::mem::take(&mut self.failed);
            self.kept = (0, self.kept.0);
        }
    }

    /// Looks at a configuration. True if it explains everything.
    fn visit(&mut self, configuration: Configuration) -> bool {
        let Key { completion, .. } = configuration.key;
        if self.has_failed(&configuration) {
            return false;
        }
        self.furthest = self.furthest.max(completion);
        let open = self.open_at(completion);
        let returning = self.open[open.start];
        let is_done = configuration.key.done & 1 << returning.slot != 0;
        if is_done {
            let Some(after) = self.after(&configuration, returning.slot) else { return true };
            self.stack.push(Entry::Left(configuration));
            self.stack.push(Entry::Visit(after));
            return false;
        }
        self.stack.push(Entry::Left(configuration));
        let is_write = matches!(returning.action, Action::Write { .. });
        let may_hide =
            is_write && !configuration.key.seen && configuration.key.fresh & 1 << returning.slot == 0;
        if !may_hide {
            self.push_moves(&configuration, returning);
            return false;
        }
        let Some(hidden) = self.after(&configuration, returning.slot) else { return true };
        let mut seen = configuration;
        seen.key.seen = true;
        let (now, then) = (Some(configuration.key.value), returning.action.produces());
        // What comes last is looked at first.
        let order = if self.rank(&configuration, then) < self.rank(&configuration, now) {
            [hidden, seen]
        } else {
            [seen, hidden]
        };
        self.stack.extend(order.map(Entry::Visit));
        false
    }

    /// What open operations have still to find.
    fn needed(&self, configuration: &Configuration) -> Needed {
        let mut needed = Needed { values: Set::default(), others: None };
        for step in &self.open[self.open_at(configuration.key.completion)] {
            if configuration.key.done & 1 << step.slot != 0 {
                continue;
            }
            match step.action {
                Action::Read { value } | Action::Cas { expected: value, .. } => {
                    needed.values.insert(value);
                }
                Action::Mismatch { expected } => needed.others = Some(expected),
                Action::Write { .. } => {}
            }
        }
        loop {
            let before = needed.values.len();
            for (number, kind) in self.kinds.iter().enumerate() {
                if let Action::Cas { expected, .. } = kind.action
                    && self.is_left(configuration, number)
                    && needed.finds(kind.action)
                {
                    needed.values.insert(expected);
                }
            }
            if needed.values.len() == before {
                return needed;
            }
        }
    }

    /// Whether an operation of this kind has been invoked and not been spent.
    fn is_left(&self, configuration: &Configuration, kind: usize) -> bool {
        let spent = configuration.spent[kind] as usize;
        self.kinds[kind].invoked.get(spent).is_some_and(|invoked| *invoked <= configuration.key.completion)
    }

    /// Puts what may follow onto the stack, the best last.
    fn push_moves(&mut self, configuration: &Configuration, returning: Open) {
        let key = configuration.key;
        let needed = self.needed(configuration);
        let mut moves: Vec<(u32, Move)> = Vec::new();
        let open = self.open_at(key.completion);
        for at in open.clone() {
            let step = self.open[at];
            let is_returning = step.slot == returning.slot;
            let may = key.done & 1 << step.slot == 0
                && match step.action {
                    Action::Write { .. } => is_returning || needed.finds(step.action),
                    Action::Cas { expected, .. } => expected == key.value,
                    _ => false,
                };
            // Of twins the one that completes first comes first.
            let twin = || {
                self.open[open.start..at]
                    .iter()
                    .any(|other| other.action == step.action && key.done & 1 << other.slot == 0)
            };
            if may && !twin() {
                moves.push((self.rank(configuration, step.action.produces()), Move::Required(step)));
            }
        }
        for (number, kind) in self.kinds.iter().enumerate() {
            let action = kind.action;
            // Where the value is there already it may still hide others.
            let changes_nothing = action.produces() == Some(key.value)
                && (key.fresh == 0 || matches!(action, Action::Cas { .. }));
            if changes_nothing
                || !self.is_left(configuration, number)
                || matches!(action, Action::Cas { expected, .. } if expected != key.value)
                || !needed.finds(action)
            {
                continue;
            }
            let has_twin = self.open[open.clone()]
                .iter()
                .any(|other| other.action == action && key.done & 1 << other.slot == 0);
            if !has_twin {
                let rank = self.rank(configuration, action.produces()) + 2 * AHEAD;
                moves.push((rank, Move::Unknown { kind: number, action }));
            }
        }
        self.taken += moves.len() as u64;
        moves.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
        for (_, next) in moves {
            let after = self.take(configuration, next, returning);
            self.stack.push(Entry::Visit(after));
        }
    }

    /// How soon the value is asked for.
    fn rank(&self, configuration: &Configuration, value: Option<Held>) -> u32 {
        let first = configuration.key.completion;
        for ahead in 0..AHEAD {
            let Some(from) = self.open_from.get((first + ahead) as usize) else { break };
            let Some(step) = self.open.get(*from as usize) else { break };
            if configuration.key.done & 1 << step.slot != 0
                && self.open[self.open_at(first)].iter().any(|open| open.completes == step.completes)
            {
                continue;
            }
            match step.action {
                Action::Read { value: asked } | Action::Cas { expected: asked, .. }
                    if Some(asked) == value =>
                {
                    return ahead;
                }
                _ => {}
            }
        }
        AHEAD
    }

    /// The configuration after a move.
    fn take(&self, configuration: &Configuration, next: Move, returning: Open) -> Configuration {
        let mut after = *configuration;
        let key = &mut after.key;
        let action = match next {
            Move::Required(step) => {
                key.done |= 1 << step.slot;
                if step.slot == returning.slot {
                    key.seen = false;
                }
                step.action
            }
            Move::Unknown { kind, action } => {
                after.spent[kind] += 1;
                action
            }
        };
        if matches!(action, Action::Write { .. }) {
            key.fresh = 0;
        }
        let new = action.produces().expect("only mutations are moves");
        for step in &self.open[self.open_at(key.completion)] {
            if !step.action.is_mutation() && finds(step.action, new) {
                key.done |= 1 << step.slot;
            }
        }
        key.value = if self.asked_until[new as usize] < key.completion { OTHER } else { new };
        after
    }
}

/// The number of the first completion whose operation finds a stale value.
fn first_stale(register: &Register) -> Option<u32> {
    /// What produces a value: how many have been invoked and not ended; the last end.
    #[derive(Clone, Copy, Default)]
    struct Producers {
        open: u32,
        last_end: Option<u32>,
    }
    let mut producers = vec![Producers::default(); register.facts.len()];
    producers[register.initial as usize].last_end = Some(0);
    // Of mutations that ended, the one invoked last, and the one invoked last that sets another value than this.
    let mut last: [Option<(u32, Held)>; 2] = [None; 2];
    let mut invoked = vec![0; register.steps.len()];
    // For each observer the last invocation among mutations to other values that ended before it.
    let mut gone_since: Vec<Option<u32>> = vec![None; register.steps.len()];
    let mut completion = 0;
    for (now, moment) in (1..).zip(&register.moments) {
        match *moment {
            Moment::Invoke(number) => {
                invoked[number as usize] = now;
                let action = register.steps[number as usize].action;
                if let Some(new) = action.produces() {
                    producers[new as usize].open += 1;
                }
                let other = last.iter().flatten().find(|(_, value)| Some(*value) != action.observes());
                gone_since[number as usize] = other.map(|(invoked, _)| *invoked);
            }
            Moment::Return(number) => {
                let action = register.steps[number as usize].action;
                if let Action::Read { value } | Action::Cas { expected: value, .. } = action {
                    let Producers { open, last_end } = producers[value as usize];
                    if open == 0 && (last_end.is_none() || last_end < gone_since[number as usize]) {
                        return Some(completion);
                    }
                }
                if let Some(new) = action.produces() {
                    let of = &mut producers[new as usize];
                    (of.open, of.last_end) = (of.open - 1, Some(now));
                    let this = Some((invoked[number as usize], new));
                    let sets = |entry: Option<(u32, Held)>| entry.map(|(_, value)| value);
                    last = match last {
                        [first, _] if sets(first) == Some(new) => [first.max(this), last[1]],
                        [first, _] if this > first => [this, first],
                        [first, second] => [first, second.max(this)],
                    };
                }
                completion += 1;
            }
        }
    }
    None
}

/// Values that open operations have still to find.
struct Needed {
    values: Set<Held>,
    /// Some mismatch has still to find another value than this.
    others: Option<Held>,
}

impl Needed {
    /// Whether what the action leaves is one of them.
    fn finds(&self, action: Action) -> bool {
        action.produces().is_some_and(|new| {
            self.values.contains(&new) || self.others.is_some_and(|expected| expected != new)
        })
    }
}

/// Whether an observer answers so where the register holds this value.
fn finds(observer: Action, held: Held) -> bool {
    match observer {
        Action::Read { value } => value == held,
        Action::Mismatch { expected } => expected != held,
        _ => false,
    }
}

/// Whether the first spent no more of anything than the second.
fn is_within(first: &Spent, second: &Spent) -> bool {
    first.iter().zip(second).all(|(first, second)| first <= second)
}

impl Engine for DepthFirst<'_> {
    fn name(&self) -> &'static str {
        "depth-first"
    }

    fn advance(&mut self, fuel: u64) -> Progress {
        let end = self.taken.saturating_add(fuel);
        if !self.begun {
            self.begun = true;
            self.answer = self.begin();
        }
        while self.answer.is_none() && self.taken < end {
            self.taken += 1;
            self.answer = match self.stack.pop() {
                Some(Entry::Visit(configuration)) => self.visit(configuration).then(|| self.explained()),
                Some(Entry::Left(configuration)) => {
                    self.note_failure(&configuration);
                    None
                }
                None => {
                    let moment = self.moments[self.furthest as usize] as usize;
                    Some(Answer::Inexplicable { moment, is_first: true })
                }
            };
            if self.bytes() > self.memory_bytes {
                // A stale value is reason enough, if not perhaps the first.
                self.answer = Some(match self.moments.get(self.limit as usize) {
                    Some(moment) => Answer::Inexplicable { moment: *moment as usize, is_first: false },
                    None => Answer::OutOfMemory,
                });
            }
        }
        self.answer.map_or(Progress::Running, Progress::Done)
    }

    fn steps(&self) -> u64 {
        self.taken
    }

    fn bytes(&self) -> u64 {
        let words = self.open_from.capacity() + self.invoked_from.capacity() + self.moments.capacity();
        let map =
            |failed: &Map<Key, Vec<Spent>>| failed.capacity() * 8 / 7 * (size_of::<(Key, Vec<Spent>)>() + 1);
        let held = size_of::<Open>() * (self.open.capacity() + self.invoked.capacity())
            + size_of::<u32>() * (words + self.asked_until.capacity())
            + size_of::<Entry>() * self.stack.capacity()
            // A list of sets has room for four at first.
            + 4 * size_of::<Spent>() * (self.kept.0 + self.kept.1)
            + map(&self.failed)
            + map(&self.failed_before);
        held as u64
    }

    fn verified(&self) -> usize {
        match self.answer {
            Some(Answer::Linearizable) => self.register.moments.len(),
            _ => self.moments.get(self.furthest as usize).map_or(0, |moment| *moment as usize),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::histories::{confirm, large, prepared, small, workload::Shape};

    fn judge(register: &Register, memory_bytes: u64) -> Answer {
        let mut search = DepthFirst::new(register, memory_bytes);
        loop {
            if let Progress::Done(answer) = search.advance(10_000) {
                return answer;
            }
            assert!(search.bytes() <= memory_bytes);
        }
    }

    #[test]
    fn depth_first_and_brute_force_agree() {
        let mut counts = [0_u32; 2];
        for seed in 0..60_000 {
            let mut history = small(seed, 2 + seed % 7, seed % 4 == 0);
            let register = prepared(&mut history);
            // Some with a memory of failures that is always full.
            let answer = judge(&register, if seed % 3 == 0 { 1 << 14 } else { 1 << 24 });
            confirm(&history, &register, answer, None);
            match answer {
                Answer::Linearizable => counts[0] += 1,
                Answer::Inexplicable { is_first: true, .. } => counts[1] += 1,
                other => panic!("{seed}: {other:?}"),
            }
        }
        assert!(counts[0] > 20_000 && counts[1] > 5_000, "{counts:?}");
    }

    #[test]
    fn large_histories_with_unknown_outcomes_are_decided() {
        for (unknown, values) in [(0, Some(5)), (5, Some(5)), (50, Some(5)), (20, None)] {
            for stale in [false, true] {
                let shape =
                    Shape { operations: 1_000, clients: 5, unknown, values, stale, ..Shape::default() };
                let (_, register) = large(&shape);
                let answer = judge(&register, 1 << 26);
                match answer {
                    Answer::Linearizable if !stale => {}
                    Answer::Inexplicable { is_first: true, .. } if stale => {}
                    _ => panic!("{shape:?}: {answer:?}"),
                }
            }
        }
    }
}
