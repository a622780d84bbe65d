//! Lists of configurations, in which none is dominated by another as far as a bounded effort shows.
//!
//! A configuration is a state and a set of slots: of the steps in flight, those that have taken effect. Lists
//! lie flat in memory, [`HEADER`] words and as many words of bits as the window needs, so windows of any width
//! are served, and the size is known exactly.

use std::hash::Hasher;

use mcp_chaos_history::Mix;

use crate::{index::Index, machine::StateId};

/// Words before the bits: state and link; the step that set the state, and the place in the log.
pub(crate) const HEADER: usize = 2;

/// No step, no place in the log.
pub(crate) const NONE: u32 = u32::MAX;

/// A chain's end.
const END: u32 = (1 << 29) - 1;
/// The owner's mark; the first of a chain; one outside chains.
const FLAG: u64 = 1 << 63;
const HEAD: u64 = 1 << 62;
const REST: u64 = 1 << 61;

/// How many configurations of one group are compared with a new one.
const COMPARED: usize = 32;

pub(crate) fn state(configuration: &[u64]) -> StateId {
    configuration[0] as u32
}

pub(crate) fn set_state(configuration: &mut [u64], state: StateId) {
    configuration[0] = configuration[0] >> 32 << 32 | u64::from(state);
}

/// The step that set the state.
pub(crate) fn set_by(configuration: &[u64]) -> u32 {
    configuration[1] as u32
}

/// The last entry in the log.
pub(crate) fn log(configuration: &[u64]) -> u32 {
    (configuration[1] >> 32) as u32
}

pub(crate) fn set_origin(configuration: &mut [u64], set_by: u32, log: u32) {
    configuration[1] = u64::from(log) << 32 | u64::from(set_by);
}

pub(crate) fn has(configuration: &[u64], slot: u32) -> bool {
    configuration[HEADER + slot as usize / 64] >> (slot % 64) & 1 != 0
}

pub(crate) fn set(configuration: &mut [u64], slot: u32) {
    configuration[HEADER + slot as usize / 64] |= 1 << (slot % 64);
}

pub(crate) fn clear(configuration: &mut [u64], slot: u32) {
    configuration[HEADER + slot as usize / 64] &= !(1 << (slot % 64));
}

/// What slots stand for.
#[derive(Debug, Default)]
pub(crate) struct Masks {
    /// Steps whose being done or not must be the same for one configuration to dominate another.
    pub fixed: Vec<u64>,
    /// Observers: the more are done, the better.
    pub observers: Vec<u64>,
    /// Unknown steps: the fewer are spent, the better.
    pub unknown: Vec<u64>,
}

impl Masks {
    pub fn widen(&mut self, words: usize) {
        for mask in [&mut self.fixed, &mut self.observers, &mut self.unknown] {
            mask.resize(words, 0);
        }
    }

    pub fn clear(&mut self, slot: u32) {
        for mask in [&mut self.fixed, &mut self.observers, &mut self.unknown] {
            mask[slot as usize / 64] &= !(1 << (slot % 64));
        }
    }

    /// Whether whatever can follow `other` can follow `one`, of the same group.
    fn dominates(&self, one: &[u64], other: &[u64]) -> bool {
        let words = one[HEADER..].iter().zip(&other[HEADER..]);
        words.zip(self.observers.iter().zip(&self.unknown)).all(|((one, other), (observers, unknown))| {
            other & !one & observers | one & !other & unknown == 0
        })
    }

    fn same_group(&self, one: &[u64], other: &[u64]) -> bool {
        let words = one[HEADER..].iter().zip(&other[HEADER..]);
        state(one) == state(other)
            && words.zip(&self.fixed).all(|((one, other), fixed)| (one ^ other) & fixed == 0)
    }

    fn group_hash(&self, configuration: &[u64]) -> u64 {
        let mut hasher = Mix::default();
        hasher.write_u32(state(configuration));
        for (word, fixed) in configuration[HEADER..].iter().zip(&self.fixed) {
            hasher.write_u64(word & fixed);
        }
        hasher.finish()
    }
}

fn exact_hash(configuration: &[u64]) -> u64 {
    let mut hasher = Mix::default();
    hasher.write_u32(state(configuration));
    configuration[HEADER..].iter().for_each(|word| hasher.write_u64(*word));
    hasher.finish()
}

fn same(one: &[u64], other: &[u64]) -> bool {
    state(one) == state(other) && one[HEADER..] == other[HEADER..]
}

/// What became of a configuration that was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// It is at this place, and was there before if `is_new` is false.
    At { place: usize, is_new: bool },
    /// Another one dominates it.
    Dominated,
    /// There is no room: see [`List::grow`].
    NoRoom,
}

/// A list of different configurations.
#[derive(Debug)]
pub(crate) struct List {
    words: Vec<u64>,
    stride: usize,
    /// Configurations in `groups` and `rest` have room for so many.
    room: usize,
    /// The first configuration of each group (same state, same fixed steps done); the next hang on it.
    groups: Index,
    /// All whose group was too long to hang them on it.
    rest: Index,
}

impl List {
    pub fn new(bit_words: usize) -> List {
        List {
            words: Vec::new(),
            stride: HEADER + bit_words,
            room: 0,
            groups: Index::default(),
            rest: Index::default(),
        }
    }

    pub fn len(&self) -> usize {
        self.words.len() / self.stride
    }

    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    pub fn get(&self, at: usize) -> &[u64] {
        &self.words[at * self.stride..][..self.stride]
    }

    pub fn get_mut(&mut self, at: usize) -> &mut [u64] {
        &mut self.words[at * self.stride..][..self.stride]
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u64]> {
        self.words.chunks_exact(self.stride)
    }

    pub fn bytes(&self) -> u64 {
        (self.words.capacity() * size_of::<u64>()) as u64 + self.groups.bytes() + self.rest.bytes()
    }

    /// Empties it. Memory that the last use had little need of is given back, so that clearing stays cheap.
    pub fn clear(&mut self) {
        let used = self.len();
        self.words.clear();
        if self.groups.is_unused() {
            self.room = 0;
        } else if self.room > 1024 && used < self.room / 8 {
            self.room = used * 2 + 64;
            self.words.shrink_to(self.room * self.stride);
            self.groups.rebuild(Index::slots_for(self.room), std::iter::empty());
            self.rest.release();
        } else {
            self.groups.clear();
            self.rest.clear();
        }
    }

    /// How many more bytes it takes to have room for `more` configurations beyond those held.
    fn growth(&self, more: usize) -> u64 {
        let room = self.len() + more;
        let words = ((room * self.stride).saturating_sub(self.words.capacity()) * size_of::<u64>()) as u64;
        let slots = Index::bytes_of(Index::slots_for(room));
        let rest = if self.rest.is_unused() { 0 } else { slots.saturating_sub(self.rest.bytes()) };
        words + slots.saturating_sub(self.groups.bytes()) + rest
    }

    /// Makes room for more, within so many bytes; false if there is too little memory.
    pub fn grow(&mut self, bytes_left: u64, masks: &Masks) -> bool {
        let len = self.len();
        if len == self.room {
            if len >= END as usize / 4 * 3 {
                return false;
            }
            let most = len.max(32);
            let Some(more) =
                [most, most / 2, most / 8].into_iter().find(|more| self.growth(*more) <= bytes_left)
            else {
                return false;
            };
            self.room = len + more;
            self.words.reserve_exact(more * self.stride);
            let slots = Index::slots_for(self.room);
            let entry = |at: usize| &self.words[at * self.stride..][..self.stride];
            let marked = |mark: u64| (0..len).filter(move |at| entry(*at)[0] & mark != 0);
            self.groups.rebuild(slots, marked(HEAD).map(|at| (at as u32, masks.group_hash(entry(at)))));
            if !self.rest.is_unused() {
                self.rest.rebuild(slots, marked(REST).map(|at| (at as u32, exact_hash(entry(at)))));
            }
        } else {
            // A group has become too long: the others need their own table.
            let slots = Index::slots_for(self.room);
            if Index::bytes_of(slots) > bytes_left {
                return false;
            }
            self.rest.rebuild(slots, std::iter::empty());
        }
        true
    }

    fn link(&self, at: usize) -> u32 {
        (self.words[at * self.stride] >> 32) as u32 & END
    }

    /// Puts this in place of the entry's state, link and marks.
    fn set_first_word(&mut self, at: usize, marks: u64, link: u32) {
        let word = &mut self.words[at * self.stride];
        *word = marks | u64::from(link) << 32 | u64::from(*word as u32);
    }

    /// Adds a configuration, unless another dominates it. If it dominates another one, it takes that one's
    /// place if `may_replace`.
    pub fn add(&mut self, new: &[u64], masks: &Masks, may_replace: bool) -> Added {
        let place = self.len();
        if place == self.room {
            return Added::NoRoom;
        }
        let hash = masks.group_hash(new);
        let Some(head) = self.groups.find(hash, |at| masks.same_group(self.get(at as usize), new)) else {
            self.words.extend_from_slice(new);
            self.set_first_word(place, HEAD, END);
            self.groups.insert(hash, place as u32);
            return Added::At { place, is_new: true };
        };
        let mut at = head as usize;
        for _ in 1..COMPARED {
            let known = self.get(at);
            if masks.dominates(known, new) {
                let is_same = same(known, new);
                return if is_same { Added::At { place: at, is_new: false } } else { Added::Dominated };
            }
            if may_replace && masks.dominates(new, known) {
                let first = known[0];
                let entry = self.get_mut(at);
                entry.copy_from_slice(new);
                entry[0] = first;
                return Added::At { place: at, is_new: true };
            }
            let link = self.link(at);
            if link == END {
                self.words.extend_from_slice(new);
                self.set_first_word(place, 0, END);
                let marks = self.words[at * self.stride] & (FLAG | HEAD);
                self.set_first_word(at, marks, place as u32);
                return Added::At { place, is_new: true };
            }
            at = link as usize;
        }
        if self.rest.is_unused() {
            return Added::NoRoom;
        }
        let hash = exact_hash(new);
        if let Some(place) = self.rest.find(hash, |at| same(self.get(at as usize), new)) {
            return Added::At { place: place as usize, is_new: false };
        }
        self.words.extend_from_slice(new);
        self.set_first_word(place, REST, END);
        self.rest.insert(hash, place as u32);
        Added::At { place, is_new: true }
    }

    /// Has room for sets of so many words. It must have no index to keep: for a list that is only read.
    pub fn widen(&mut self, bit_words: usize) {
        let stride = HEADER + bit_words;
        let mut words = Vec::with_capacity(self.len() * stride);
        for configuration in self.iter() {
            words.extend_from_slice(configuration);
            words.resize(words.len() + stride - self.stride, 0);
        }
        self.room = self.len();
        (self.words, self.stride) = (words, stride);
        self.groups.release();
        self.rest.release();
    }

    /// A mark, for the owner's use.
    pub fn flag(&mut self, at: usize) {
        self.words[at * self.stride] |= FLAG;
    }

    pub fn is_flagged(&self, at: usize) -> bool {
        self.words[at * self.stride] & FLAG != 0
    }
}
