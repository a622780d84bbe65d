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
use crate::{
    engine::{Answer, Engine, Progress},
    machine::table_bytes,
};

/// The most required operations open at once.
const WIDEST: usize = 64;
/// The most different actions of unknown outcome, and the most operations with the same.
const MOST_KINDS: usize = 64;
const MOST_ALIKE: usize = u8::MAX as usize;
/// The most sets of what was spent that are kept of configurations equal otherwise: looking through them takes time.
const MOST_LISTED: usize = 1 << 12;
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
    failed: Failures,
    failed_before: Failures,
    furthest: u32,
    /// The first completion of an operation that finds a stale value; without one, how many completions there are.
    limit: u32,
    taken: u64,
    answer: Option<Answer>,
    /// While the history is laid out.
    laying: Option<Laying>,
}

impl<'a> DepthFirst<'a> {
    /// A search that holds at most so much memory.
    pub fn new(register: &'a Register, memory_bytes: u64) -> DepthFirst<'a> {
        let needed = Laying::bytes_for(register)
            + (size_of::<u32>() * (3 * register.moments.len() / 2 + register.facts.len())) as u64;
        let has_room = needed <= memory_bytes / 2;
        DepthFirst {
            register,
            memory_bytes,
            open: Vec::new(),
            open_from: Vec::new(),
            invoked: Vec::new(),
            invoked_from: vec![0],
            moments: Vec::new(),
            kinds: Vec::new(),
            asked_until: if has_room { vec![0; register.facts.len()] } else { Vec::new() },
            stack: Vec::new(),
            failed: Failures::default(),
            failed_before: Failures::default(),
            furthest: 0,
            limit: 0,
            taken: 0,
            answer: (!has_room).then_some(Answer::OutOfMemory),
            laying: has_room.then(|| Laying::new(register)),
        }
    }

    /// Goes through a moment before the search begins. The answer, if there is one already.
    fn prepare(&mut self, laying: &mut Laying) -> Option<Answer> {
        let register = self.register;
        let moments = &register.moments;
        let at = laying.at;
        laying.at += 1;
        // First all completions are numbered, then every moment is laid out.
        if let Some(moment) = moments.get(at) {
            if let Moment::Return(step) = *moment {
                laying.completes[step as usize] = self.moments.len() as u32;
                self.moments.push(at as u32);
            }
            return None;
        }
        let Some(moment) = moments.get(at - moments.len()) else { return self.begin(self.moments.len()) };
        let stale = laying.staleness.take(register, *moment);
        match *moment {
            Moment::Invoke(number) => self.lay_invocation(laying, number),
            Moment::Return(_) => {
                let list = size_of::<Open>() * laying.open.len();
                let is_full = |list: &Vec<Open>, more: usize| list.capacity() - list.len() < more;
                let grows = is_full(&self.open, laying.open.len()) || is_full(&self.invoked, 1);
                let growth = if grows { size_of::<Open>() * self.open.capacity() + list } else { 0 };
                if self.bytes() + laying.bytes() + growth as u64 > self.memory_bytes / 2 {
                    return Some(Answer::OutOfMemory);
                }
                self.open_from.push(self.open.len() as u32);
                self.open.extend_from_slice(&laying.open);
                laying.slots.push(laying.open.remove(0).slot);
                laying.next += 1;
                self.invoked_from.push(self.invoked.len() as u32);
                // What comes after a stale value need not be looked at.
                stale.then(|| self.begin(laying.next as usize - 1)).flatten()
            }
        }
    }

    fn lay_invocation(&mut self, laying: &mut Laying, number: u32) -> Option<Answer> {
        let step = self.register.steps[number as usize];
        let until = if step.required { laying.completes[number as usize] } else { u32::MAX };
        if let Some(value) = step.action.observes() {
            let asked = &mut self.asked_until[value as usize];
            *asked = (*asked).max(until);
        }
        if step.required {
            let Some(slot) = laying.slots.pop() else { return Some(Answer::NotApplicable) };
            let step = Open { action: step.action, slot, completes: until };
            let place = laying.open.partition_point(|other| other.completes < until);
            laying.open.insert(place, step);
            self.invoked.push(step);
            return None;
        }
        let kinds = &mut self.kinds;
        let kind = *laying.numbers.entry(step.action).or_insert_with(|| {
            kinds.push(Kind { action: step.action, invoked: Vec::new() });
            kinds.len() - 1
        });
        kinds[kind].invoked.push(laying.next);
        let is_too_much = kinds.len() > MOST_KINDS || kinds[kind].invoked.len() > MOST_ALIKE;
        is_too_much.then_some(Answer::NotApplicable)
    }

    /// Begins the search for an order of all before this completion.
    fn begin(&mut self, limit: usize) -> Option<Answer> {
        self.open_from.push(self.open.len() as u32);
        self.limit = limit as u32;
        if limit == 0 {
            return Some(self.explained());
        }
        let key = Key { done: 0, fresh: 0, completion: 0, value: self.register.initial, seen: false };
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

    fn layout_bytes(&self) -> u64 {
        let words = self.open_from.capacity() + self.invoked_from.capacity() + self.moments.capacity();
        (size_of::<Open>() * (self.open.capacity() + self.invoked.capacity())
            + size_of::<u32>() * (words + self.asked_until.capacity())) as u64
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
        self.failed.knows(configuration) || self.failed_before.knows(configuration)
    }

    fn note_failure(&mut self, configuration: &Configuration) {
        // Each half may take three eighths of what the layout leaves; the rest is for the stack.
        let half = self.memory_bytes.saturating_sub(self.layout_bytes()) / 8 * 3;
        if self.failed.bytes() + self.failed.growth() > half {
            self.failed_before = std::mem::take(&mut self.failed);
            if self.failed.growth() > half {
                return;
            }
        }
        self.failed.add(configuration);
    }

    /// Makes room for what one step puts onto the stack. False if there is too little memory.
    fn has_room(&mut self) -> bool {
        // Every open step, every kind, and the configuration itself.
        let most = self.register.width.min(WIDEST) + self.kinds.len() + 2;
        if self.stack.capacity() - self.stack.len() >= most {
            return true;
        }
        let more = most + self.stack.len() / 2;
        let bytes = (size_of::<Entry>() * more) as u64;
        if self.bytes() + bytes > self.memory_bytes {
            (self.failed, self.failed_before) = Default::default();
        }
        if self.bytes() + bytes > self.memory_bytes {
            return false;
        }
        self.stack.reserve_exact(more);
        true
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

/// Looks for an operation that finds a stale value, moment by moment.
struct Staleness {
    now: u32,
    producers: Vec<Producers>,
    /// Of mutations that ended, the one invoked last, and the one invoked last that sets another value than this.
    last: [Option<(u32, Held)>; 2],
    invoked: Vec<u32>,
    /// For each observer the last invocation among mutations to other values that ended before it; 0 for none.
    gone_since: Vec<u32>,
}

/// What produces a value: how many have been invoked and not ended; the last end, from 1 on; the beginning is 1 too.
#[derive(Clone, Copy, Default)]
struct Producers {
    open: u32,
    last_end: u32,
}

impl Staleness {
    fn new(register: &Register) -> Staleness {
        let steps = register.steps.len();
        let mut producers = vec![Producers::default(); register.facts.len()];
        producers[register.initial as usize].last_end = 1;
        Staleness { now: 1, producers, last: [None; 2], invoked: vec![0; steps], gone_since: vec![0; steps] }
    }

    /// Whether a value that is found by the step that completes here was gone by its invocation.
    fn take(&mut self, register: &Register, moment: Moment) -> bool {
        self.now += 1;
        let now = self.now;
        match moment {
            Moment::Invoke(number) => {
                self.invoked[number as usize] = now;
                let action = register.steps[number as usize].action;
                if let Some(new) = action.produces() {
                    self.producers[new as usize].open += 1;
                }
                let mut others = self.last.iter().flatten();
                let other = others.find(|(_, value)| Some(*value) != action.observes());
                self.gone_since[number as usize] = other.map_or(0, |(invoked, _)| *invoked);
                false
            }
            Moment::Return(number) => {
                let action = register.steps[number as usize].action;
                if let Action::Read { value } | Action::Cas { expected: value, .. } = action {
                    let Producers { open, last_end } = self.producers[value as usize];
                    if open == 0 && (last_end == 0 || last_end < self.gone_since[number as usize]) {
                        return true;
                    }
                }
                if let Some(new) = action.produces() {
                    let of = &mut self.producers[new as usize];
                    (of.open, of.last_end) = (of.open - 1, now);
                    let this = Some((self.invoked[number as usize], new));
                    let sets = |entry: Option<(u32, Held)>| entry.map(|(_, value)| value);
                    self.last = match self.last {
                        [first, _] if sets(first) == Some(new) => [first.max(this), self.last[1]],
                        [first, _] if this > first => [this, first],
                        [first, second] => [first, second.max(this)],
                    };
                }
                false
            }
        }
    }
}

/// What is needed while a history is laid out.
struct Laying {
    /// The next moment, of both times through the history.
    at: usize,
    /// The number of each step's completion.
    completes: Vec<u32>,
    slots: Vec<u8>,
    numbers: Map<Action, usize>,
    /// The required steps open now, those that complete sooner first.
    open: Vec<Open>,
    /// The number of the next completion.
    next: u32,
    staleness: Staleness,
}

impl Laying {
    fn new(register: &Register) -> Laying {
        Laying {
            at: 0,
            completes: vec![0; register.steps.len()],
            slots: (0..WIDEST as u8).rev().collect(),
            numbers: Map::default(),
            open: Vec::new(),
            next: 0,
            staleness: Staleness::new(register),
        }
    }

    fn bytes_for(register: &Register) -> u64 {
        (3 * size_of::<u32>() * register.steps.len() + size_of::<Producers>() * register.facts.len()) as u64
    }

    fn bytes(&self) -> u64 {
        let Staleness { producers, invoked, gone_since, .. } = &self.staleness;
        (size_of::<u32>() * (self.completes.capacity() + invoked.capacity() + gone_since.capacity())
            + size_of::<Producers>() * producers.capacity()) as u64
    }
}

/// Configurations that failed: for each key the least sets of what was spent.
#[derive(Default)]
struct Failures {
    sets: Map<Key, Vec<Spent>>,
    /// What the lists of sets take, and how many sets the longest has room for.
    lists_bytes: u64,
    longest: usize,
}

impl Failures {
    const ENTRY: usize = size_of::<(Key, Vec<Spent>)>();

    fn bytes(&self) -> u64 {
        table_bytes(self.sets.capacity(), Failures::ENTRY) + self.lists_bytes
    }

    /// What one more may add for a time: a table that is full is doubled.
    fn growth(&self) -> u64 {
        let table = if self.sets.len() == self.sets.capacity() {
            table_bytes((2 * self.sets.capacity()).max(14), Failures::ENTRY)
        } else {
            0
        };
        table + (self.longest.max(1) * size_of::<Spent>()) as u64
    }

    fn knows(&self, configuration: &Configuration) -> bool {
        let sets = self.sets.get(&configuration.key);
        sets.is_some_and(|sets| sets.iter().any(|spent| is_within(spent, &configuration.spent)))
    }

    fn add(&mut self, configuration: &Configuration) {
        let sets = self.sets.entry(configuration.key).or_default();
        let before = sets.capacity();
        sets.retain(|spent| !is_within(&configuration.spent, spent));
        if sets.len() == MOST_LISTED {
            return;
        }
        if sets.len() == sets.capacity() {
            // Nearly always there is but one.
            sets.reserve_exact(sets.len().max(1));
        }
        sets.push(configuration.spent);
        self.longest = self.longest.max(sets.capacity());
        self.lists_bytes += ((sets.capacity() - before) * size_of::<Spent>()) as u64;
    }
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
        while self.answer.is_none()
            && self.taken < end
            && let Some(mut laying) = self.laying.take()
        {
            self.taken += 1;
            self.answer = self.prepare(&mut laying);
            // The search begins with something on the stack.
            if self.stack.is_empty() && self.answer.is_none() {
                self.laying = Some(laying);
            }
        }
        while self.answer.is_none() && self.taken < end {
            self.taken += 1;
            if !self.has_room() {
                // A stale value is reason enough, if not perhaps the first.
                self.answer = Some(match self.moments.get(self.limit as usize) {
                    Some(moment) => Answer::Inexplicable { moment: *moment as usize, is_first: false },
                    None => Answer::OutOfMemory,
                });
                break;
            }
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
        }
        self.answer.map_or(Progress::Running, Progress::Done)
    }

    fn steps(&self) -> u64 {
        self.taken
    }

    fn bytes(&self) -> u64 {
        self.layout_bytes()
            + self.laying.as_ref().map_or(0, Laying::bytes)
            + (size_of::<Entry>() * self.stack.capacity()) as u64
            + self.failed.bytes()
            + self.failed_before.bytes()
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
