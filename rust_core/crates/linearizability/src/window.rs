//! The window of a history that is open now, and all configurations that explain what came before: what both
//! [`crate::Frontier`] and [`crate::Online`] move along a history.
//!
//! A configuration is a state and the set of open steps that have taken effect (just-in-time linearization:
//! Lowe, Testing for linearizability, 2017, §4; Wing and Gong, 1993). A step is made to take effect no earlier
//! than some completion demands it, so all orders that a prefix of the history allows are represented. What
//! keeps them few, each sound:
//!
//! - *Observers at once.* An observer changes nothing, so it takes effect as soon as the state allows it: to
//!   wait could only lose the chance.
//! - *Domination.* Of two configurations with the same state and the same required mutations done, the one
//!   with more observers done and fewer unknown steps spent can do all that the other can.
//! - *Twins.* Open unknown steps with the same action are interchangeable: used in the order of invocations.
//! - *Idle unknown steps.* A step that may never happen need only happen where it changes the state.
//! - *Parts.* Steps of different parts of the object commute ([`crate::Model::part`]), so only those of the
//!   completing step's part take effect before it: the others can do so later as well. (A persistent set:
//!   Godefroid, Partial-order methods for the verification of concurrent systems, 1996, ch. 4.)
//! - *No step without need.* To let m take effect right before the completing step r is of use only if it
//!   makes a difference: if r, then m lead to the same state and let the same observers take effect, then the
//!   configuration in which r took effect alone represents this one, for m is still open. (A form of sleep
//!   sets: Godefroid 1996, ch. 5, with independence found out state by state.)

use mcp_chaos_history::Set;

use crate::{
    configurations::{self as configuration, Added, List, Masks, NONE},
    engine::{Answer, Survivor},
    machine::{Machine, StateId},
};

/// A step, as the window needs to know it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Its number, for logs and reports.
    pub step: u32,
    pub action: u32,
    /// Whether it takes effect before its completion; else some day, or never.
    pub required: bool,
}

/// Why a search cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    OutOfMemory,
    ModelFailed(String),
}

impl Trouble {
    /// An engine's answer; where the model failed, what it said goes to `failure`.
    pub fn into_answer(self, failure: &mut Option<String>) -> Answer {
        match self {
            Trouble::OutOfMemory => Answer::OutOfMemory,
            Trouble::ModelFailed(words) => {
                *failure = Some(words);
                Answer::ModelFailed
            }
        }
    }
}

impl From<String> for Trouble {
    fn from(words: String) -> Trouble {
        Trouble::ModelFailed(words)
    }
}

/// An open step in its slot.
#[derive(Clone, Copy, Debug)]
struct Open {
    slot: u32,
    step: u32,
    action: u32,
    part: u32,
    required: bool,
    /// The slot of the open unknown step with the same action that comes before this one.
    twin: Option<u32>,
}

/// What the window is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing: it waits for the next moment.
    Idle,
    /// A new observer takes effect where it can; `at` of the frontier is next.
    Observing { at: usize, open: usize },
    /// Which configurations have the completing step done already?
    Sorting { at: usize },
    /// The others let further steps take effect until it is done.
    Expanding { at: usize, which: usize },
}

/// How a moment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worked {
    /// It did not: there is more to do.
    Running,
    /// Some configuration explains it.
    Explained,
    /// None does.
    Inexplicable,
}

/// At most so many surviving configurations are told of, of different states.
const MOST_SURVIVORS: usize = 64;

#[derive(Debug)]
pub(crate) struct Window {
    pub memory_bytes: u64,
    /// When the machine is asked to forget, beyond twice what it kept last.
    pub forget_bytes: u64,
    pub steps_taken: u64,
    bit_words: usize,
    /// Slots that were in use and are not.
    free: Vec<u32>,
    slots: u32,
    /// Those that are required come before those that are not.
    mutations: Vec<Open>,
    known_mutations: usize,
    observers: Vec<Open>,
    masks: Masks,
    phase: Phase,
    /// The step that completes.
    target: Option<Open>,
    frontier: List,
    /// While a step completes: configurations without it, all that were and all that come up; the first
    /// `start` are those of the frontier. It is also the queue.
    visited: List,
    start: usize,
    /// Configurations with it.
    next: List,
    /// The configuration in expansion, and the state in which the completing step would leave it, if that is
    /// one.
    before: Vec<u64>,
    target_alone: Option<StateId>,
    after: Vec<u64>,
    states: Vec<StateId>,
    others: Vec<StateId>,
    lists_bytes: u64,
    /// Steps in the order in which they took effect: each with the place of the one before.
    log: Option<Vec<(u32, u32)>>,
    log_kept: usize,
    machine_kept_bytes: u64,
}

impl Window {
    /// The window before the first moment.
    pub fn new(machine: &mut impl Machine, memory_bytes: u64, remember: bool) -> Result<Window, Trouble> {
        let initial = machine.initial();
        let mut window = Window {
            memory_bytes,
            forget_bytes: FORGET_BYTES,
            steps_taken: 0,
            bit_words: 1,
            free: Vec::new(),
            slots: 0,
            mutations: Vec::new(),
            known_mutations: 0,
            observers: Vec::new(),
            masks: Masks::default(),
            phase: Phase::Idle,
            target: None,
            frontier: List::new(1),
            visited: List::new(1),
            start: 0,
            next: List::new(1),
            before: Vec::new(),
            target_alone: None,
            after: vec![0; configuration::HEADER + 1],
            states: Vec::new(),
            others: Vec::new(),
            lists_bytes: 0,
            log: remember.then(Vec::new),
            log_kept: 0,
            machine_kept_bytes: 0,
        };
        window.masks.widen(1);
        window.start_from(machine, &[initial])?;
        Ok(window)
    }

    /// Begins again with these states; nothing may be open.
    pub fn start_from(&mut self, machine: &impl Machine, states: &[StateId]) -> Result<(), Trouble> {
        debug_assert!(self.mutations.is_empty() && self.observers.is_empty());
        self.frontier.clear();
        for state in states {
            self.after.fill(0);
            configuration::set_state(&mut self.after, *state);
            configuration::set_origin(&mut self.after, NONE, NONE);
            self.add(Place::Frontier, machine)?;
        }
        Ok(())
    }

    /// The states in which the object may be, by number, once each.
    pub fn states(&self) -> Vec<StateId> {
        let mut states: Vec<StateId> = self.frontier.iter().map(configuration::state).collect();
        states.sort_unstable();
        states.dedup();
        states
    }

    pub fn bytes(&self, machine: &impl Machine) -> u64 {
        self.lists_bytes + self.log_bytes() + machine.bytes() + self.small_bytes()
    }

    fn log_bytes(&self) -> u64 {
        self.log.as_ref().map_or(0, |log| (log.capacity() * size_of::<(u32, u32)>()) as u64)
    }

    fn small_bytes(&self) -> u64 {
        ((self.mutations.capacity() + self.observers.capacity()) * size_of::<Open>()
            + self.bit_words * size_of::<u64>() * 8
            + size_of::<Window>()) as u64
    }

    /// Whether no step is open.
    pub fn is_quiet(&self) -> bool {
        self.mutations.is_empty() && self.observers.is_empty()
    }

    /// The actions of open steps, ascending, once each.
    pub fn actions(&self) -> Vec<u32> {
        let open = self.mutations.iter().chain(&self.observers);
        let mut actions: Vec<u32> = open.map(|open| open.action).collect();
        actions.sort_unstable();
        actions.dedup();
        actions
    }

    /// The machine knows these actions by their places now.
    pub fn renumber_actions(&mut self, machine: &impl Machine, live: &[u32]) {
        for open in self.mutations.iter_mut().chain(&mut self.observers) {
            open.action = live.binary_search(&open.action).expect("it is live") as u32;
            open.part = machine.part(open.action);
        }
    }

    /// A step may take effect from now on. The window must be idle; then [`Window::work`].
    pub fn invoke(&mut self, machine: &mut impl Machine, entry: Entry) -> Result<(), Trouble> {
        debug_assert_eq!(self.phase, Phase::Idle);
        let Entry { step, action, required } = entry;
        let is_observer = machine.is_observer(action);
        if is_observer && !required {
            return Ok(());
        }
        let part = machine.part(action);
        let mut open = Open { slot: self.take_slot(machine)?, step, action, part, required, twin: None };
        let (word, bit) = (open.slot as usize / 64, 1 << (open.slot % 64));
        if is_observer {
            self.masks.observers[word] |= bit;
            self.observers.push(open);
            self.phase = Phase::Observing { at: 0, open: self.observers.len() - 1 };
        } else if !required {
            self.masks.unknown[word] |= bit;
            let mut unknown = self.mutations[self.known_mutations..].iter().rev();
            open.twin = unknown.find(|other| other.action == action).map(|other| other.slot);
            self.mutations.push(open);
        } else {
            self.masks.fixed[word] |= bit;
            self.mutations.insert(self.known_mutations, open);
            self.known_mutations += 1;
        }
        Ok(())
    }

    fn take_slot(&mut self, machine: &impl Machine) -> Result<u32, Trouble> {
        if let Some(slot) = self.free.pop() {
            return Ok(slot);
        }
        let slot = self.slots;
        if slot as usize == self.bit_words * 64 {
            let more = self.bit_words / 4 + 1;
            let bytes = (self.frontier.len() * (configuration::HEADER + self.bit_words + more) * 8) as u64;
            if self.bytes(machine) + bytes > self.memory_bytes {
                return Err(Trouble::OutOfMemory);
            }
            self.bit_words += more;
            self.steps_taken += self.frontier.len() as u64;
            self.masks.widen(self.bit_words);
            self.frontier.widen(self.bit_words);
            self.visited = List::new(self.bit_words);
            self.next = List::new(self.bit_words);
            self.after.resize(configuration::HEADER + self.bit_words, 0);
            self.count_lists();
        }
        self.slots += 1;
        Ok(slot)
    }

    /// The step has taken effect. The window must be idle; then [`Window::work`].
    pub fn complete(&mut self, step: u32) {
        debug_assert_eq!(self.phase, Phase::Idle);
        let known = self.mutations[..self.known_mutations].iter();
        let open = known.chain(&self.observers).find(|open| open.step == step);
        self.target = Some(*open.expect("a step completes that was invoked"));
        self.visited.clear();
        self.next.clear();
        self.count_lists();
        self.phase = Phase::Sorting { at: 0 };
    }

    /// Goes on with the last moment until about `until` steps are taken.
    pub fn work(&mut self, machine: &mut impl Machine, until: u64) -> Result<Worked, Trouble> {
        loop {
            match self.phase {
                Phase::Idle => return Ok(Worked::Explained),
                Phase::Observing { at, open } => {
                    if at == self.frontier.len() {
                        self.phase = Phase::Idle;
                        continue;
                    }
                    self.phase = Phase::Observing { at: at + 1, open };
                    self.steps_taken += 1;
                    self.observe(machine, at, self.observers[open])?;
                }
                Phase::Sorting { at } => self.sort(machine, at)?,
                Phase::Expanding { at, which } => {
                    if at == self.visited.len() {
                        if self.next.is_empty() {
                            return Ok(Worked::Inexplicable);
                        }
                        std::mem::swap(&mut self.frontier, &mut self.next);
                        self.close(machine)?;
                        self.phase = Phase::Idle;
                        continue;
                    }
                    if which == 0 {
                        self.begin_expansion(machine, at)?;
                    }
                    if which == self.mutations.len() {
                        self.phase = Phase::Expanding { at: at + 1, which: 0 };
                        continue;
                    }
                    self.phase = Phase::Expanding { at, which: which + 1 };
                    self.steps_taken += 1;
                    self.expand(machine, at, self.mutations[which])?;
                }
            }
            if self.steps_taken >= until && self.phase != Phase::Idle {
                return Ok(Worked::Running);
            }
        }
    }

    /// A new observer takes effect in one configuration, if it can.
    fn observe(&mut self, machine: &mut impl Machine, at: usize, open: Open) -> Result<(), Trouble> {
        let known = self.frontier.get(at);
        if !machine.is_possible(configuration::state(known), open.action)? {
            return Ok(());
        }
        let (set_by, mut log) = (configuration::set_by(known), configuration::log(known));
        self.log_step(machine, open.step, &mut log)?;
        let known = self.frontier.get_mut(at);
        configuration::set(known, open.slot);
        configuration::set_origin(known, set_by, log);
        Ok(())
    }

    fn sort(&mut self, machine: &mut impl Machine, at: usize) -> Result<(), Trouble> {
        if at == self.frontier.len() {
            self.start = self.visited.len();
            self.phase = Phase::Expanding { at: 0, which: 0 };
            return Ok(());
        }
        self.phase = Phase::Sorting { at: at + 1 };
        self.steps_taken += 1;
        let slot = self.target.expect("a step completes").slot;
        self.after.copy_from_slice(self.frontier.get(at));
        let place = if configuration::has(&self.after, slot) {
            configuration::clear(&mut self.after, slot);
            Place::Next
        } else {
            Place::Visited
        };
        self.add(place, machine)?;
        Ok(())
    }

    /// Whether the machine may take steps, and there is room for the states that they lead to.
    fn make_sure(&self, machine: &impl Machine) -> Result<(), Trouble> {
        let growth = machine.growth();
        if growth > 0 && self.bytes(machine) + growth > self.memory_bytes {
            return Err(Trouble::OutOfMemory);
        }
        Ok(())
    }

    fn begin_expansion(&mut self, machine: &mut impl Machine, at: usize) -> Result<(), Trouble> {
        self.make_sure(machine)?;
        self.before.clear();
        self.before.extend_from_slice(self.visited.get(at));
        self.target_alone = None;
        let target = self.target.expect("a step completes");
        if !has(&self.masks.observers, target.slot) {
            self.states.clear();
            machine.step(configuration::state(&self.before), target.action, &mut self.states)?;
            if let [only] = self.states[..] {
                self.target_alone = Some(only);
            }
        }
        Ok(())
    }

    /// Lets one more step take effect.
    fn expand(&mut self, machine: &mut impl Machine, at: usize, open: Open) -> Result<(), Trouble> {
        let target = self.target.expect("a step completes");
        if open.part != target.part
            || configuration::has(&self.before, open.slot)
            || open.twin.is_some_and(|twin| !configuration::has(&self.before, twin))
        {
            return Ok(());
        }
        let is_target = open.slot == target.slot;
        if is_target && self.visited.is_flagged(at) {
            return Ok(());
        }
        self.make_sure(machine)?;
        let state = configuration::state(&self.before);
        let mut states = std::mem::take(&mut self.states);
        states.clear();
        machine.step(state, open.action, &mut states)?;
        for next in &states {
            if !open.required && *next == state {
                continue;
            }
            self.after.copy_from_slice(&self.before);
            configuration::set_state(&mut self.after, *next);
            configuration::set(&mut self.after, open.slot);
            let mut log = configuration::log(&self.before);
            self.log_step(machine, open.step, &mut log)?;
            self.steps_taken += self.observers.len() as u64;
            for which in 0..self.observers.len() {
                let observer = self.observers[which];
                if observer.part == open.part
                    && !configuration::has(&self.after, observer.slot)
                    && machine.is_possible(*next, observer.action)?
                {
                    configuration::set(&mut self.after, observer.slot);
                    self.log_step(machine, observer.step, &mut log)?;
                }
            }
            configuration::set_origin(&mut self.after, open.step, log);
            if configuration::has(&self.after, target.slot) {
                configuration::clear(&mut self.after, target.slot);
                self.add(Place::Next, machine)?;
            } else if let Added::At { place, .. } = self.add(Place::Visited, machine)?
                && states.len() == 1
                && self.makes_no_difference(machine, open, *next)?
            {
                self.visited.flag(place);
            }
        }
        self.states = states;
        Ok(())
    }

    /// Whether `open` having led from `before` to `after` (in state `next`) is of no use to the completing step:
    /// it could as well take effect later.
    fn makes_no_difference(
        &mut self,
        machine: &mut impl Machine,
        open: Open,
        next: StateId,
    ) -> Result<bool, Trouble> {
        let (Some(alone), Some(target)) = (self.target_alone, self.target) else { return Ok(false) };
        self.steps_taken += 1;
        self.others.clear();
        machine.step(next, target.action, &mut self.others)?;
        let &[both] = &self.others[..] else { return Ok(false) };
        self.others.clear();
        machine.step(alone, open.action, &mut self.others)?;
        if self.others != [both] {
            return Ok(false);
        }
        for which in 0..self.observers.len() {
            let observer = self.observers[which];
            if configuration::has(&self.after, observer.slot)
                && !configuration::has(&self.before, observer.slot)
                && !machine.is_possible(alone, observer.action)?
                && !machine.is_possible(both, observer.action)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes the completed step out of the window.
    fn close(&mut self, machine: &mut impl Machine) -> Result<(), Trouble> {
        let target = self.target.take().expect("a step completes");
        self.visited.clear();
        self.next.clear();
        if has(&self.masks.observers, target.slot) {
            self.observers.retain(|open| open.slot != target.slot);
        } else {
            self.mutations.retain(|open| open.slot != target.slot);
            self.known_mutations -= 1;
        }
        self.masks.clear(target.slot);
        self.free.push(target.slot);
        self.count_lists();
        self.forget(machine);
        Ok(())
    }

    /// Forgets states and log entries that no configuration leads to any more, once there are many.
    fn forget(&mut self, machine: &mut impl Machine) {
        let bytes = machine.bytes();
        if bytes > self.machine_kept_bytes * 2 + self.forget_bytes.min(self.memory_bytes / 8) {
            // Numbers old and new are needed meanwhile.
            if self.bytes(machine) + bytes / 2 > self.memory_bytes {
                (self.visited, self.next) = (List::new(self.bit_words), List::new(self.bit_words));
                self.count_lists();
            }
            self.keep_only(machine);
        }
        if let Some(log) = &mut self.log
            && log.len() > self.log_kept * 2 + FORGET_LOG
        {
            self.steps_taken += log.len() as u64 / 4;
            let mut numbers = vec![NONE; log.len()];
            for configuration in self.frontier.iter() {
                let mut at = configuration::log(configuration);
                while at != NONE && numbers[at as usize] == NONE {
                    numbers[at as usize] = 0;
                    at = log[at as usize].1;
                }
            }
            let mut kept = 0;
            for at in 0..log.len() {
                if numbers[at] != NONE {
                    let (step, parent) = log[at];
                    log[kept] = (step, if parent == NONE { NONE } else { numbers[parent as usize] });
                    numbers[at] = kept as u32;
                    kept += 1;
                }
            }
            log.truncate(kept);
            self.log_kept = kept;
            for at in 0..self.frontier.len() {
                let known = self.frontier.get_mut(at);
                let log = configuration::log(known);
                if log != NONE {
                    configuration::set_origin(known, configuration::set_by(known), numbers[log as usize]);
                }
            }
        }
    }

    /// The machine forgets all states but the frontier's. The window must be idle.
    pub fn keep_only(&mut self, machine: &mut impl Machine) {
        let mut states: Vec<StateId> = self.frontier.iter().map(configuration::state).collect();
        machine.keep_only(&mut states);
        for (at, state) in states.into_iter().enumerate() {
            configuration::set_state(self.frontier.get_mut(at), state);
        }
        self.steps_taken += self.frontier.len() as u64;
        self.machine_kept_bytes = machine.bytes();
    }

    fn count_lists(&mut self) {
        self.lists_bytes = self.frontier.bytes() + self.visited.bytes() + self.next.bytes();
    }

    /// Adds `after` to a list.
    fn add(&mut self, to: Place, machine: &impl Machine) -> Result<Added, Trouble> {
        loop {
            let list = match to {
                Place::Frontier => &mut self.frontier,
                Place::Visited => &mut self.visited,
                Place::Next => &mut self.next,
            };
            // What was visited may have been expanded: it stays where it is.
            match list.add(&self.after, &self.masks, to == Place::Next) {
                Added::NoRoom => {
                    let held = self.lists_bytes + machine.bytes();
                    let held = held + self.log.as_ref().map_or(0, |log| log.capacity() as u64 * 8);
                    let left =
                        self.memory_bytes.saturating_sub(held + FIXED_BYTES.min(self.memory_bytes / 16));
                    if !list.grow(left, &self.masks) {
                        return Err(Trouble::OutOfMemory);
                    }
                    self.count_lists();
                }
                added => {
                    if self.lists_bytes + machine.bytes() > self.memory_bytes {
                        return Err(Trouble::OutOfMemory);
                    }
                    return Ok(added);
                }
            }
        }
    }

    fn log_step(&mut self, machine: &impl Machine, step: u32, last: &mut u32) -> Result<(), Trouble> {
        let Some(log) = &mut self.log else { return Ok(()) };
        if log.len() == log.capacity() {
            let held = self.lists_bytes + machine.bytes() + (log.capacity() * 8) as u64;
            let left = (self.memory_bytes.saturating_sub(held) / 8) as usize;
            // A half may be needed beside it when it is cleared of what is out of date.
            let more = log.len().max(1024).min(left * 2 / 3);
            if more < 64.max(log.len() / 16) || log.len() + more >= NONE as usize {
                return Err(Trouble::OutOfMemory);
            }
            log.reserve_exact(more);
        }
        log.push((step, *last));
        *last = log.len() as u32 - 1;
        Ok(())
    }

    /// The frontier before the step that failed to complete.
    pub fn survivors(&self, machine: &impl Machine) -> Vec<Survivor> {
        let Some(target) = self.target else { return Vec::new() };
        let mut survivors: Vec<(StateId, Survivor)> = Vec::new();
        for configuration in self.visited.iter().take(self.start) {
            let state = configuration::state(configuration);
            if survivors.iter().any(|(known, _)| *known == state) {
                continue;
            }
            let open = self.mutations.iter().chain(&self.observers);
            let mut done: Vec<u32> = open
                .filter(|open| configuration::has(configuration, open.slot))
                .map(|open| open.step)
                .collect();
            done.sort_unstable();
            let set_by = configuration::set_by(configuration);
            survivors.push((
                state,
                Survivor {
                    state: machine.state_in_words(state),
                    done,
                    set_by: (set_by != NONE).then_some(set_by),
                    why: machine.why_not(state, target.action),
                },
            ));
            if survivors.len() == MOST_SURVIVORS {
                break;
            }
        }
        survivors.into_iter().map(|(_, survivor)| survivor).collect()
    }

    /// Adds every step that [`Window::survivors`] might name, now or later.
    pub fn name_steps(&self, found: &mut Set<u32>) {
        let open = self.mutations.iter().chain(&self.observers).chain(&self.target);
        found.extend(open.map(|open| open.step));
        for list in [&self.frontier, &self.visited, &self.next] {
            found.extend(list.iter().map(configuration::set_by).filter(|step| *step != NONE));
        }
    }

    /// The steps in the order in which they took effect in some configuration.
    pub fn order(&self) -> Option<Vec<u32>> {
        let log = self.log.as_ref()?;
        let mut order = Vec::new();
        let mut at = configuration::log(self.frontier.iter().next()?);
        while at != NONE {
            let (step, before) = log[at as usize];
            order.push(step);
            at = before;
        }
        order.reverse();
        Some(order)
    }
}

/// For a window that is alone.
const FORGET_BYTES: u64 = 4 << 20;
const FORGET_LOG: usize = 1 << 16;
/// For what is not counted one by one.
const FIXED_BYTES: u64 = 4 << 10;

/// A list of configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Frontier,
    Visited,
    Next,
}

fn has(mask: &[u64], slot: u32) -> bool {
    mask[slot as usize / 64] >> (slot % 64) & 1 != 0
}
