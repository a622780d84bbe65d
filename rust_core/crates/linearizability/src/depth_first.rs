//! Depth-first search (Wing and Gong, Testing and verifying concurrent objects, 1993; Lowe, Testing for
//! linearizability, 2017), for any model.
//!
//! It goes through the same configurations as the frontier (see the module `window`: a step takes effect when a
//! completion demands it, observers at once, twins in order), but follows one order as far as it leads. So a
//! history that many orders explain is decided after little more than one of them. What it tries first: the
//! completing step itself, then those that complete soonest, unknown ones last.
//!
//! Configurations that led nowhere are remembered by what is in flight alone: the moment, the state, the open
//! steps done. That memory is bounded in generations: when the young one is full it becomes the old one, and
//! what was old is forgotten (Horn and Kroening, Faster linearizability checking via P-compositionality, 2015,
//! bound theirs too). To forget costs time, never the answer.
//!
//! Steps of different parts of the object commute ([`crate::Model::part`]), so only those of the completing step's
//! part are tried before it, and where none of them helps, nor does a choice among those of another part: the
//! search goes back to the last completion in the same part (conflict-directed backjumping: Prosser, Hybrid
//! algorithms for the constraint satisfaction problem, 1993).
//!
//! As completions are demanded in the order of the history, the furthest one that no configuration got past is
//! the first that cannot be explained.

use std::hash::Hasher;

use mcp_chaos_history::{Map, Mix};

use crate::{
    engine::{Answer, Engine, Progress, Survivor},
    index::Index,
    machine::{Machine, StateId},
    problem::{Moment, Problem, Step},
    window::Trouble,
};

const NONE: u32 = u32::MAX;
/// At most so many configurations of the furthest moment are kept to tell of, of different states.
const MOST_SURVIVORS: usize = 64;

/// What is fixed for each step.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// [`NONE`] for a step that is never worth taking.
    slot: u32,
    returns_at: u32,
    part: u32,
    /// The unknown step with the same action that comes before this one.
    twin: u32,
}

/// A configuration whose ways on are being tried.
#[derive(Clone, Copy, Debug)]
struct Frame {
    at: u32,
    state: StateId,
    set_by: u32,
    /// How many steps had taken effect.
    order: u32,
    /// Which open mutation comes next, and which of its successors.
    candidate: u32,
    successor: u32,
    part: u32,
    /// Its place among the configurations seen, and the generation in which it was young.
    seen: u32,
    born: u32,
    /// Whether some way on led nowhere for no part that is known.
    is_blurred: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Through moments that the configuration explains.
    Forward,
    /// The next way on from the last frame.
    Choose,
    /// To the last frame.
    Back,
}

/// Configurations seen, flat.
#[derive(Debug, Default)]
struct Generation {
    words: Vec<u64>,
    /// The part in which each led nowhere, as far as that is known.
    parts: Vec<u32>,
    index: Index,
    len: usize,
    room: usize,
}

impl Generation {
    fn bytes(&self) -> u64 {
        (self.words.capacity() * 8 + self.parts.capacity() * 4) as u64 + self.index.bytes()
    }

    fn find(&self, hash: u64, key: &[u64]) -> Option<u32> {
        let found = self.index.find(hash, |at| self.words[at as usize * key.len()..][..key.len()] == *key)?;
        Some(self.parts[found as usize])
    }

    /// Makes room within so many bytes; false if it cannot.
    fn grow(&mut self, bytes_left: u64, stride: usize) -> bool {
        let room = (self.room * 2).max(256);
        let slots = Index::slots_for(room);
        let words = (room * (stride * 8 + 4)) as u64;
        if words + Index::bytes_of(slots) > bytes_left + self.bytes() || room > NONE as usize / 2 {
            return false;
        }
        self.room = room;
        self.words.reserve_exact(room * stride - self.words.len());
        self.parts.reserve_exact(room - self.parts.len());
        let words = &self.words;
        self.index.rebuild(slots, (0..).zip(words.chunks_exact(stride).map(hash_of)));
        true
    }

    fn insert(&mut self, hash: u64, key: &[u64]) {
        self.words.extend_from_slice(key);
        self.parts.push(NONE);
        self.index.insert(hash, self.len as u32);
        self.len += 1;
    }

    fn clear(&mut self) {
        self.words.clear();
        self.parts.clear();
        self.index.clear();
        self.len = 0;
    }
}

fn hash_of(key: &[u64]) -> u64 {
    let mut hasher = Mix::default();
    key.iter().for_each(|word| hasher.write_u64(*word));
    hasher.finish()
}

/// The engine that follows one order at a time.
pub struct DepthFirst<'a, K: Machine> {
    steps: &'a [Step],
    moments: &'a [Moment],
    machine: K,
    memory_bytes: u64,
    places: Vec<Place>,
    taken: u64,
    mode: Mode,
    /// The configuration.
    at: usize,
    state: StateId,
    set_by: u32,
    bits: Vec<u64>,
    /// Open mutations that must take effect, by completion; those that may, by invocation; open observers.
    required: Vec<u32>,
    unknown: Vec<u32>,
    observers: Vec<u32>,
    /// Steps that have taken effect.
    order: Vec<u32>,
    frames: Vec<Frame>,
    /// The bits of each frame.
    saved: Vec<u64>,
    young: Generation,
    old: Generation,
    /// How many generations there were before the young one.
    generation: u32,
    /// The part in which what is being left led nowhere; [`NONE`] if that is not known.
    conflict: u32,
    key: Vec<u64>,
    states: Vec<StateId>,
    furthest: usize,
    stuck: Vec<(StateId, u32, Vec<u32>)>,
    answer: Option<Answer>,
    failure: Option<String>,
}

impl<'a, K: Machine> DepthFirst<'a, K> {
    /// Begins. It holds at most `memory_bytes`.
    pub fn new<A>(problem: &'a Problem<A>, mut machine: K, memory_bytes: u64) -> DepthFirst<'a, K> {
        let state = machine.initial();
        let needed = (problem.steps.len() * size_of::<Place>()) as u64 + machine.bytes();
        let has_room = needed <= memory_bytes;
        let (places, slots) = if has_room { places(problem, &machine) } else { (Vec::new(), 0) };
        let bit_words = slots.div_ceil(64).max(1) as usize;
        DepthFirst {
            steps: &problem.steps,
            moments: &problem.moments,
            state,
            machine,
            memory_bytes,
            places,
            taken: 0,
            mode: Mode::Forward,
            at: 0,
            set_by: NONE,
            bits: vec![0; bit_words],
            required: Vec::new(),
            unknown: Vec::new(),
            observers: Vec::new(),
            order: Vec::new(),
            frames: Vec::new(),
            saved: Vec::new(),
            young: Generation::default(),
            old: Generation::default(),
            generation: 0,
            conflict: NONE,
            key: Vec::new(),
            states: Vec::new(),
            furthest: 0,
            stuck: Vec::new(),
            answer: (!has_room).then_some(Answer::OutOfMemory),
            failure: None,
        }
    }

    fn has(&self, slot: u32) -> bool {
        self.bits[slot as usize / 64] >> (slot % 64) & 1 != 0
    }

    fn set(&mut self, slot: u32) {
        self.bits[slot as usize / 64] |= 1 << (slot % 64);
    }

    fn go(&mut self, fuel: u64) -> Result<Progress, Trouble> {
        let until = self.taken.saturating_add(fuel);
        while self.taken < until {
            self.taken += 1;
            match self.mode {
                Mode::Forward if self.at == self.moments.len() => {
                    return Ok(Progress::Done(Answer::Linearizable));
                }
                Mode::Forward => self.forward()?,
                Mode::Choose => self.choose()?,
                Mode::Back => {
                    let Some(frame) = self.frames.last().copied() else {
                        let moment = self.furthest;
                        return Ok(Progress::Done(Answer::Inexplicable { moment, is_first: true }));
                    };
                    self.back(frame);
                }
            }
        }
        Ok(Progress::Running)
    }

    fn forward(&mut self) -> Result<(), Trouble> {
        match self.moments[self.at] {
            Moment::Invoke(number) => {
                let Place { slot, .. } = self.places[number as usize];
                self.open(number);
                let action = self.steps[number as usize].action;
                if slot != NONE
                    && self.machine.is_observer(action)
                    && self.machine.is_possible(self.state, action)?
                {
                    self.set(slot);
                    self.order.push(number);
                }
                self.at += 1;
            }
            Moment::Return(number) => {
                let Place { slot, .. } = self.places[number as usize];
                if !self.has(slot) {
                    return self.meet(number);
                }
                self.bits[slot as usize / 64] &= !(1 << (slot % 64));
                self.close(number);
                self.at += 1;
            }
        }
        Ok(())
    }

    /// Puts a step among those that are open.
    fn open(&mut self, number: u32) {
        let Step { action, required, .. } = self.steps[number as usize];
        let Place { slot, returns_at, .. } = self.places[number as usize];
        if slot == NONE {
        } else if self.machine.is_observer(action) {
            self.observers.push(number);
        } else if !required {
            self.unknown.push(number);
        } else {
            let places = &self.places;
            let at = self.required.partition_point(|other| places[*other as usize].returns_at < returns_at);
            self.required.insert(at, number);
        }
    }

    fn close(&mut self, number: u32) {
        let Step { action, required, .. } = self.steps[number as usize];
        let list = if self.machine.is_observer(action) {
            &mut self.observers
        } else if required {
            &mut self.required
        } else {
            &mut self.unknown
        };
        if let Some(at) = list.iter().rposition(|other| *other == number) {
            list.remove(at);
        }
    }

    /// At a completion of a step that has not taken effect: a frame, unless the configuration led nowhere before.
    fn meet(&mut self, number: u32) -> Result<(), Trouble> {
        if self.at > self.furthest {
            self.furthest = self.at;
            self.stuck.clear();
        }
        if self.at == self.furthest
            && self.stuck.len() < MOST_SURVIVORS
            && self.stuck.iter().all(|(state, ..)| *state != self.state)
        {
            let open = self.required.iter().chain(&self.unknown).chain(&self.observers);
            let mut done: Vec<u32> =
                open.copied().filter(|number| self.has(self.places[*number as usize].slot)).collect();
            done.sort_unstable();
            self.stuck.push((self.state, self.set_by, done));
        }
        self.key.clear();
        self.key.push((self.at as u64) << 32 | u64::from(self.state));
        self.key.extend_from_slice(&self.bits);
        let hash = hash_of(&self.key);
        if let Some(part) = self.young.find(hash, &self.key).or_else(|| self.old.find(hash, &self.key)) {
            self.leave(part);
            return Ok(());
        }
        self.make_room()?;
        self.key[0] = (self.at as u64) << 32 | u64::from(self.state);
        let hash = hash_of(&self.key);
        let mut seen = NONE;
        if self.young.len < self.young.room {
            seen = self.young.len as u32;
            self.young.insert(hash, &self.key);
        }
        self.saved.extend_from_slice(&self.bits);
        self.frames.push(Frame {
            at: self.at as u32,
            state: self.state,
            set_by: self.set_by,
            order: self.order.len() as u32,
            candidate: 0,
            successor: 0,
            part: self.places[number as usize].part,
            seen,
            born: self.generation,
            is_blurred: false,
        });
        self.mode = Mode::Choose;
        Ok(())
    }

    /// Makes room for one more configuration, forgetting old ones where memory is short.
    fn make_room(&mut self) -> Result<(), Trouble> {
        // The next frame may double what frames take.
        let ahead =
            |capacity: usize, len: usize, size: usize| if len == capacity { capacity * size } else { 0 };
        let ahead = (ahead(self.frames.capacity(), self.frames.len(), size_of::<Frame>())
            + ahead(self.saved.capacity(), self.saved.len(), 8)
            + ahead(self.order.capacity(), self.order.len(), 4)) as u64
            + self.machine.growth();
        if self.machine.bytes() > self.memory_bytes / 2 {
            self.forget();
            // Numbers old and new are needed meanwhile.
            if self.bytes() + self.machine.bytes() / 2 > self.memory_bytes {
                return Err(Trouble::OutOfMemory);
            }
            let stuck = self.stuck.iter().map(|(state, ..)| *state);
            let frames = self.frames.iter().map(|frame| frame.state);
            let mut live: Vec<StateId> = std::iter::once(self.state).chain(stuck).chain(frames).collect();
            self.machine.keep_only(&mut live);
            let mut live = live.into_iter();
            let mut next = || live.next().expect("as many come back");
            self.state = next();
            self.stuck.iter_mut().for_each(|(state, ..)| *state = next());
            self.frames.iter_mut().for_each(|frame| frame.state = next());
            if self.machine.bytes() > self.memory_bytes / 8 * 3 {
                return Err(Trouble::OutOfMemory);
            }
        }
        if self.bytes() + ahead > self.memory_bytes {
            self.old = Generation::default();
            if self.bytes() + ahead > self.memory_bytes {
                self.forget();
            }
            if self.bytes() + ahead > self.memory_bytes {
                return Err(Trouble::OutOfMemory);
            }
        }
        if self.young.len == self.young.room {
            let left = self.memory_bytes.saturating_sub(self.bytes() + ahead);
            // Not more than half for the young one: the old one is to have as much.
            if !self.young.grow(left / 2, self.key.len()) && self.young.room > 0 {
                std::mem::swap(&mut self.young, &mut self.old);
                self.young.clear();
                self.generation += 1;
            }
        }
        Ok(())
    }

    /// Forgets all configurations seen.
    fn forget(&mut self) {
        (self.young, self.old) = Default::default();
        self.generation += 2;
    }

    fn choose(&mut self) -> Result<(), Trouble> {
        let frame = *self.frames.last().expect("there is one to choose for");
        let candidate = frame.candidate as usize;
        let is_unknown = candidate >= self.required.len();
        let number = if is_unknown {
            self.unknown.get(candidate - self.required.len())
        } else {
            self.required.get(candidate)
        };
        let Some(&number) = number else {
            self.drop_frame(if frame.is_blurred { NONE } else { frame.part });
            self.leave(if frame.is_blurred { NONE } else { frame.part });
            return Ok(());
        };
        let Place { slot, twin, part, .. } = self.places[number as usize];
        self.states.clear();
        if part == frame.part
            && !self.has(slot)
            && (twin == NONE || self.has(self.places[twin as usize].slot))
        {
            self.machine.step(self.state, self.steps[number as usize].action, &mut self.states)?;
            if is_unknown {
                self.states.retain(|next| *next != frame.state);
            }
        }
        let last = self.frames.last_mut().expect("as above");
        let Some(&next) = self.states.get(frame.successor as usize) else {
            (last.candidate, last.successor) = (frame.candidate + 1, 0);
            return Ok(());
        };
        last.successor += 1;
        self.set(slot);
        (self.state, self.set_by) = (next, number);
        self.order.push(number);
        self.taken += self.observers.len() as u64;
        for which in 0..self.observers.len() {
            let observer = self.observers[which];
            let Place { slot, part: seen, .. } = self.places[observer as usize];
            if seen == part
                && !self.has(slot)
                && self.machine.is_possible(next, self.steps[observer as usize].action)?
            {
                self.set(slot);
                self.order.push(observer);
            }
        }
        self.mode = Mode::Forward;
        Ok(())
    }

    /// Gives a configuration up that leads nowhere because of what this part's steps can do.
    fn leave(&mut self, part: u32) {
        self.conflict = part;
        self.mode = Mode::Back;
    }

    /// Forgets the last frame, whose configuration leads nowhere because of this part.
    fn drop_frame(&mut self, part: u32) {
        let frame = self.frames.pop().expect("there is one to drop");
        self.saved.truncate(self.saved.len() - self.bits.len());
        let generation = match self.generation.wrapping_sub(frame.born) {
            0 => &mut self.young,
            1 => &mut self.old,
            _ => return,
        };
        if let Some(known) = generation.parts.get_mut(frame.seen as usize) {
            *known = part;
        }
    }

    /// One moment back, or to the frame.
    fn back(&mut self, frame: Frame) {
        if self.at > frame.at as usize {
            self.at -= 1;
            match self.moments[self.at] {
                Moment::Invoke(number) => self.close(number),
                Moment::Return(number) => self.open(number),
            }
            return;
        }
        if self.conflict == NONE {
            self.frames.last_mut().expect("it is the last").is_blurred = true;
        } else if self.conflict != frame.part {
            self.drop_frame(self.conflict);
            return;
        }
        self.state = frame.state;
        self.set_by = frame.set_by;
        self.order.truncate(frame.order as usize);
        let saved = &self.saved[self.saved.len() - self.bits.len()..];
        self.bits.copy_from_slice(saved);
        self.mode = Mode::Choose;
    }
}

/// Slots for the steps, each used again once it is free, and how many it takes.
fn places<A>(problem: &Problem<A>, machine: &impl Machine) -> (Vec<Place>, u32) {
    let mut places = vec![Place { slot: NONE, returns_at: NONE, part: 0, twin: NONE }; problem.steps.len()];
    let (mut free, mut slots) = (Vec::new(), 0);
    let mut last_unknown: Map<u32, u32> = Map::default();
    for (at, moment) in (0..).zip(&problem.moments) {
        match moment {
            Moment::Invoke(number) => {
                let Step { action, required, .. } = problem.steps[*number as usize];
                if !required && machine.is_observer(action) {
                    continue;
                }
                let place = &mut places[*number as usize];
                place.part = machine.part(action);
                place.slot = free.pop().unwrap_or_else(|| {
                    slots += 1;
                    slots - 1
                });
                if !required {
                    place.twin = last_unknown.insert(action, *number).unwrap_or(NONE);
                }
            }
            Moment::Return(number) => {
                let place = &mut places[*number as usize];
                place.returns_at = at;
                free.push(place.slot);
            }
        }
    }
    (places, slots)
}

impl<K: Machine> Engine for DepthFirst<'_, K> {
    fn name(&self) -> &'static str {
        "depth-first"
    }

    fn advance(&mut self, fuel: u64) -> Progress {
        if let Some(answer) = self.answer {
            return Progress::Done(answer);
        }
        let progress =
            self.go(fuel).unwrap_or_else(|trouble| Progress::Done(trouble.into_answer(&mut self.failure)));
        if let Progress::Done(answer) = progress {
            self.answer = Some(answer);
            (self.young, self.old) = Default::default();
        }
        progress
    }

    fn steps(&self) -> u64 {
        self.taken
    }

    fn bytes(&self) -> u64 {
        (self.places.capacity() * size_of::<Place>()
            + self.frames.capacity() * size_of::<Frame>()
            + self.saved.capacity() * size_of::<u64>()
            + (self.order.capacity() + self.required.capacity() + self.unknown.capacity()) * size_of::<u32>())
            as u64
            + self.young.bytes()
            + self.old.bytes()
            + self.machine.bytes()
    }

    fn verified(&self) -> usize {
        match self.answer {
            Some(Answer::Linearizable) => self.moments.len(),
            _ => self.furthest,
        }
    }

    fn survivors(&self) -> Vec<Survivor> {
        let (Some(Answer::Inexplicable { moment, .. }), true) = (self.answer, !self.stuck.is_empty()) else {
            return Vec::new();
        };
        let Moment::Return(failing) = self.moments[moment] else { return Vec::new() };
        let action = self.steps[failing as usize].action;
        let survivor = |(state, set_by, done): &(StateId, u32, Vec<u32>)| Survivor {
            state: self.machine.state_in_words(*state),
            done: done.clone(),
            set_by: (*set_by != NONE).then_some(*set_by),
            why: self.machine.why_not(*state, action),
        };
        self.stuck.iter().map(survivor).collect()
    }

    fn witness(&self) -> Option<Vec<u32>> {
        (self.answer == Some(Answer::Linearizable)).then(|| self.order.clone())
    }

    fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}
