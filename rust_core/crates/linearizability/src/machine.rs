//! A model as engines see it: states and actions by number, so that engines know nothing of the types behind
//! them, and a model may live elsewhere (in Python, say).

use std::{
    borrow::Cow,
    hash::{Hash, Hasher},
};

use mcp_chaos_history::{Map, Mix};

use crate::{index::Index, model::Model, problem::Problem};

/// A state's number.
pub type StateId = u32;

/// A sequential object over numbered states and actions.
pub trait Machine {
    /// What the object holds at the beginning.
    fn initial(&mut self) -> StateId;

    /// Adds to `next` each state in which the action may leave the object, once: none if it is impossible.
    ///
    /// # Errors
    /// The model failed, in words. The search cannot go on.
    fn step(&mut self, state: StateId, action: u32, next: &mut Vec<StateId>) -> Result<(), String>;

    /// Whether the action is possible in the state.
    ///
    /// # Errors
    /// As for [`Machine::step`].
    fn is_possible(&mut self, state: StateId, action: u32) -> Result<bool, String> {
        let mut next = Vec::new();
        self.step(state, action, &mut next)?;
        Ok(!next.is_empty())
    }

    /// Whether the action leaves every state as it is wherever it is possible.
    fn is_observer(&self, action: u32) -> bool;

    /// The number of the part of the object that the action is about: see [`Model::part`].
    fn part(&self, action: u32) -> u32 {
        let _ = action;
        0
    }

    /// Memory held, in bytes. Asked often: it must be known, not counted.
    fn bytes(&self) -> u64;

    /// What the next step may add to that, at most.
    fn growth(&self) -> u64 {
        0
    }

    /// All states but these may be forgotten; a machine that does so gives those kept new numbers, in place.
    fn keep_only(&mut self, live: &mut [StateId]) {
        let _ = live;
    }

    /// The state in words.
    fn state_in_words(&self, state: StateId) -> String;

    /// Why the action is impossible in this state, in words that follow a comma.
    fn why_not(&self, state: StateId, action: u32) -> String;
}

/// What is remembered of a step that has no successor, or several.
const IMPOSSIBLE: StateId = u32::MAX;
const SEVERAL: StateId = u32::MAX - 1;

/// What a step led to, the last time.
#[derive(Clone, Copy, Debug)]
struct Memo {
    state: StateId,
    action: u32,
    next: StateId,
}

/// A [`Model`]'s states, each kept once, and what steps lead to, as far as it is remembered.
///
/// The memory of steps is a table where each pair of state and action has one place, which the next pair that
/// falls there takes over: long histories come to new states all the time and never see the old ones again.
pub struct Interned<'a, M: Model> {
    model: M,
    actions: Cow<'a, [M::Action]>,
    /// Each action's part, by number.
    parts: Vec<u32>,
    part_numbers: Map<Box<str>, u32>,
    /// What the names hold.
    names_bytes: u64,
    states: Vec<M::State>,
    index: Index,
    /// What states hold outside themselves.
    heap_bytes: u64,
    memos: Vec<Memo>,
    /// How many steps were computed since the table of memos grew.
    missed: usize,
    several: Map<(StateId, u32), Box<[StateId]>>,
    several_bytes: u64,
    scratch: Vec<M::State>,
}

/// States that a step is expected to lead to at most.
const MOST_SUCCESSORS: usize = 64;
/// The largest table of memos: it fits into the processor's cache.
const MOST_MEMOS: usize = 1 << 15;
/// The most memory for steps with several successors.
const MOST_SEVERAL_BYTES: u64 = 1 << 20;

impl<'a, M: Model> Interned<'a, M> {
    /// The machine of a model over a problem's actions.
    pub fn new(model: M, problem: &'a Problem<M::Action>) -> Interned<'a, M> {
        Interned::over(model, Cow::Borrowed(&problem.actions))
    }

    pub(crate) fn over(model: M, actions: Cow<'a, [M::Action]>) -> Interned<'a, M> {
        let mut machine = Interned {
            model,
            actions: Cow::Borrowed(&[]),
            parts: Vec::with_capacity(actions.len()),
            part_numbers: Map::default(),
            names_bytes: 0,
            states: Vec::new(),
            index: Index::default(),
            heap_bytes: 0,
            memos: Vec::new(),
            missed: 0,
            several: Map::default(),
            several_bytes: 0,
            scratch: Vec::new(),
        };
        machine.take_over(actions);
        machine
    }

    fn take_over(&mut self, actions: Cow<'a, [M::Action]>) {
        self.parts.clear();
        self.part_numbers.clear();
        self.names_bytes = 0;
        actions.iter().for_each(|action| self.number_part(action));
        self.actions = actions;
    }

    fn number_part(&mut self, action: &M::Action) {
        let name = self.model.part(action);
        let part = match self.part_numbers.get(name) {
            Some(known) => *known,
            None => {
                let number = self.part_numbers.len() as u32;
                self.names_bytes += name.len().next_multiple_of(16) as u64;
                self.part_numbers.insert(name.into(), number);
                number
            }
        };
        self.parts.push(part);
    }

    pub(crate) fn state(&self, state: StateId) -> &M::State {
        &self.states[state as usize]
    }

    pub(crate) fn actions(&self) -> &[M::Action] {
        &self.actions
    }

    /// Another action; its number.
    pub(crate) fn add_action(&mut self, action: M::Action) -> u32 {
        self.number_part(&action);
        let actions = self.actions.to_mut();
        actions.push(action);
        actions.len() as u32 - 1
    }

    /// Forgets all actions but these (ascending), which get the numbers of their places.
    pub(crate) fn keep_only_actions(&mut self, live: &[u32]) {
        self.take_over(live.iter().map(|action| self.actions[*action as usize].clone()).collect());
        (self.memos, self.missed) = (Vec::new(), 0);
        (self.several, self.several_bytes) = (Map::default(), 0);
    }

    /// The number of a state.
    pub(crate) fn intern(&mut self, state: M::State) -> StateId {
        let hash = hash_of(&state);
        let Interned { states, index, .. } = self;
        if let Some(known) = index.find(hash, |number| states[number as usize] == state) {
            return known;
        }
        let number = states.len();
        assert!(number < SEVERAL as usize, "as many states as this need far more memory than there is");
        self.heap_bytes += self.model.state_bytes(&state) as u64;
        if number == states.capacity() {
            states.reserve_exact(more_states(number));
            let slots = Index::slots_for(states.capacity());
            if index.slots() < slots {
                index.rebuild(slots, (0..).zip(states.iter().map(hash_of)));
            }
        }
        states.push(state);
        index.insert(hash, number as u32);
        number as u32
    }

    #[inline]
    fn place(&self, state: StateId, action: u32) -> usize {
        let mixed = (u64::from(state) << 32 | u64::from(action)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 40) as usize & (self.memos.len() - 1)
    }

    /// The only successor, [`IMPOSSIBLE`], or [`SEVERAL`]; these lie in `several` then.
    #[inline]
    fn look(&mut self, state: StateId, action: u32) -> StateId {
        if !self.memos.is_empty() {
            let memo = self.memos[self.place(state, action)];
            if memo.state == state
                && memo.action == action
                && (memo.next != SEVERAL || self.several.contains_key(&(state, action)))
            {
                return memo.next;
            }
        }
        self.compute(state, action)
    }

    #[cold]
    #[inline(never)]
    fn compute(&mut self, state: StateId, action: u32) -> StateId {
        let mut found = std::mem::take(&mut self.scratch);
        self.model.step(&self.states[state as usize], &self.actions[action as usize], &mut found);
        let next = match found.len() {
            0 => IMPOSSIBLE,
            1 => self.intern(found.pop().expect("there is one")),
            _ => {
                let mut numbers: Vec<StateId> = found.drain(..).map(|state| self.intern(state)).collect();
                numbers.sort_unstable();
                numbers.dedup();
                match numbers[..] {
                    [only] => only,
                    _ => {
                        if self.several_bytes > MOST_SEVERAL_BYTES {
                            self.several = Map::default();
                            self.several_bytes = 0;
                        }
                        // A table at worst half empty, and what the allocator adds.
                        self.several_bytes += 80 + 4 * numbers.len() as u64;
                        self.several.insert((state, action), numbers.into());
                        SEVERAL
                    }
                }
            }
        };
        found.clear();
        self.scratch = found;
        self.missed += 1;
        if self.missed > self.memos.len() / 2 && self.memos.len() < MOST_MEMOS {
            self.missed = 0;
            let empty = Memo { state: u32::MAX, action: 0, next: IMPOSSIBLE };
            let old = std::mem::take(&mut self.memos);
            self.memos = vec![empty; (old.len() * 4).max(256)];
            for memo in old.into_iter().filter(|memo| memo.state != u32::MAX) {
                let place = self.place(memo.state, memo.action);
                self.memos[place] = memo;
            }
        }
        let place = self.place(state, action);
        self.memos[place] = Memo { state, action, next };
        next
    }
}

/// The memory of a standard hash table of this capacity: eight places for seven entries, a control byte each.
pub(crate) fn table_bytes(capacity: usize, entry: usize) -> u64 {
    (capacity.div_ceil(7) * 8 * (entry + 1)) as u64
}

/// For how many more room is made when there are so many states: by an eighth, not twofold, since what is counted
/// must be near to what is needed.
fn more_states(states: usize) -> usize {
    states / 8 + MOST_SUCCESSORS
}

fn hash_of(state: &impl Hash) -> u64 {
    let mut hasher = Mix::default();
    state.hash(&mut hasher);
    hasher.finish()
}

impl<M: Model> Machine for Interned<'_, M> {
    fn initial(&mut self) -> StateId {
        self.intern(self.model.initial())
    }

    #[inline]
    fn step(&mut self, state: StateId, action: u32, next: &mut Vec<StateId>) -> Result<(), String> {
        match self.look(state, action) {
            IMPOSSIBLE => {}
            SEVERAL => next.extend_from_slice(&self.several[&(state, action)]),
            only => next.push(only),
        }
        Ok(())
    }

    #[inline]
    fn is_possible(&mut self, state: StateId, action: u32) -> Result<bool, String> {
        Ok(self.look(state, action) != IMPOSSIBLE)
    }

    fn is_observer(&self, action: u32) -> bool {
        self.model.is_observer(&self.actions[action as usize])
    }

    #[inline]
    fn part(&self, action: u32) -> u32 {
        self.parts[action as usize]
    }

    #[inline]
    fn bytes(&self) -> u64 {
        (self.states.capacity() * size_of::<M::State>() + self.memos.capacity() * size_of::<Memo>()) as u64
            + self.index.bytes()
            + (self.parts.capacity() * 4) as u64
            + table_bytes(self.part_numbers.capacity(), size_of::<(Box<str>, u32)>())
            + self.names_bytes
            + self.heap_bytes
            + self.several_bytes
    }

    #[inline]
    fn growth(&self) -> u64 {
        let mut bytes = 0;
        if self.states.capacity() - self.states.len() < MOST_SUCCESSORS {
            let room = self.states.capacity() + more_states(self.states.capacity());
            bytes += ((room - self.states.capacity()) * size_of::<M::State>()) as u64;
            bytes += Index::bytes_of(Index::slots_for(room)).saturating_sub(self.index.bytes());
        }
        if self.missed >= self.memos.len() / 2 && self.memos.len() < MOST_MEMOS {
            // The old table is there until all is in the new one.
            bytes += (4 * self.memos.len().max(64) * size_of::<Memo>()) as u64;
        }
        bytes
    }

    fn keep_only(&mut self, live: &mut [StateId]) {
        let mut numbers = vec![u32::MAX; self.states.len()];
        live.iter().for_each(|state| numbers[*state as usize] = 0);
        (self.memos, self.missed) = (Vec::new(), 0);
        (self.several, self.several_bytes) = (Map::default(), 0);
        self.index.release();
        // In place: beside all that there were there may be no room for those kept.
        let mut kept = 0;
        for (at, number) in numbers.iter_mut().enumerate().filter(|(_, number)| **number == 0) {
            self.states.swap(kept, at);
            *number = kept as StateId;
            kept += 1;
        }
        self.states.truncate(kept);
        self.states.shrink_to(kept + more_states(kept));
        self.heap_bytes = self.states.iter().map(|state| self.model.state_bytes(state) as u64).sum();
        let slots = Index::slots_for(self.states.capacity());
        self.index.rebuild(slots, (0..).zip(self.states.iter().map(hash_of)));
        live.iter_mut().for_each(|state| *state = numbers[*state as usize]);
    }

    fn state_in_words(&self, state: StateId) -> String {
        self.model.state_in_words(self.state(state))
    }

    fn why_not(&self, state: StateId, action: u32) -> String {
        self.model.why_not(self.state(state), &self.actions[action as usize])
    }
}
