//! Configurations of the register's frontier, and sets of them of which none makes another superfluous.

use super::{
    bits::Bits,
    families::{EMPTY, Families, Family},
    prepare::Held,
};

const NONE: u32 = u32::MAX;

/// A value, and what of the open operations has taken effect.
#[derive(Clone, Copy, Debug)]
pub struct Configuration<const N: usize> {
    /// Open required steps that have taken effect.
    pub done: Bits<N>,
    /// Open required writes and reads that have not, and were invoked after the last write took effect.
    pub fresh: Bits<N>,
    pub value: Held,
    /// The step that set the value. Words only: not part of the identity.
    pub by: u32,
    /// What was spent of the operations of unknown outcome.
    pub spent: Family,
    /// How many of these had been invoked when the last write took effect.
    pub unknown: u32,
}

impl<const N: usize> Configuration<N> {
    /// Whether one can do whatever the other can, if it spent no more.
    #[inline]
    pub fn dominates(&self, other: &Self, masks: &Masks<N>) -> bool {
        self.is_in_group_of(other, masks)
            && other.fresh.contains(&self.fresh)
            && self.done.and(&masks.observers).contains(&other.done.and(&masks.observers))
            && other.done.contains(&self.done.without(&masks.observers))
            && self.unknown >= other.unknown
    }

    /// Only configurations of one group can dominate each other.
    #[inline]
    fn is_in_group_of(&self, other: &Self, masks: &Masks<N>) -> bool {
        self.value == other.value && self.done.and(&masks.cas) == other.done.and(&masks.cas)
    }

    /// The same for all configurations of one group.
    #[inline]
    fn hash(&self, masks: &Masks<N>) -> usize {
        let hash = self.done.and(&masks.cas).fold(u64::from(self.value));
        (hash ^ hash >> 32) as usize
    }
}

/// Slots of open compare-and-sets, and of open observers.
#[derive(Clone, Copy)]
pub struct Masks<const N: usize> {
    pub cas: Bits<N>,
    pub observers: Bits<N>,
}

/// Configurations of which none makes another superfluous; searched while few, hashed by group when many.
pub struct Antichain<const N: usize> {
    /// One that was made superfluous later has an empty family.
    pub list: Vec<Configuration<N>>,
    /// For each, what it may have spent that nobody has taken from it yet.
    pub pending: Vec<Family>,
    /// For each, the one before it in its group.
    before: Vec<u32>,
    /// The last one of each group.
    groups: Vec<u32>,
}

impl<const N: usize> Antichain<N> {
    const FEW: usize = 12;

    pub fn new() -> Self {
        Antichain { list: Vec::new(), pending: Vec::new(), before: Vec::new(), groups: Vec::new() }
    }

    pub fn bytes(&self) -> usize {
        self.list.capacity() * size_of::<Configuration<N>>()
            + (self.pending.capacity() + self.before.capacity() + self.groups.capacity()) * 4
    }

    /// What it takes to add so many more, in bytes.
    pub fn growth(&self, more: usize) -> u64 {
        let len = self.list.len() + more;
        let mut bytes = 0;
        if len > self.list.capacity() {
            let room = len.max(2 * self.list.capacity());
            bytes += (room - self.list.capacity()) * (size_of::<Configuration<N>>() + 8);
        }
        if len >= Self::FEW && self.groups.len() < 2 * len {
            bytes += ((4 * len).next_power_of_two()).saturating_sub(self.groups.capacity()) * 4;
        }
        bytes as u64
    }

    pub fn clear(&mut self) {
        self.list.clear();
        self.pending.clear();
        self.before.clear();
        self.groups.clear();
    }

    /// Adds what the others do not make superfluous; gives back where it is if nothing was pending there.
    pub fn insert(
        &mut self,
        mut new: Configuration<N>,
        masks: &Masks<N>,
        families: &mut Families,
        taken: &mut u64,
    ) -> Option<usize> {
        let at = self.list.len();
        let (group, last) = self.find(&new, masks);
        let mut other = last;
        while other != NONE {
            *taken += 1;
            let known = &self.list[other as usize];
            if known.spent != EMPTY && known.dominates(&new, masks) {
                new.spent = families.without(new.spent, known.spent);
                if new.spent == EMPTY {
                    return None;
                }
            }
            other = self.before[other as usize];
        }
        let mut same = None;
        other = last;
        while other != NONE {
            let which = other as usize;
            let known = &mut self.list[which];
            if known.spent != EMPTY && new.dominates(known, masks) {
                known.spent = families.without(known.spent, new.spent);
                self.pending[which] = families.without(self.pending[which], new.spent);
                if known.done == new.done && known.fresh == new.fresh && known.unknown == new.unknown {
                    same = Some(which);
                }
            }
            other = self.before[which];
        }
        if let Some(which) = same {
            let known = &mut self.list[which].spent;
            *known = families.merge(*known, new.spent);
            let is_idle = self.pending[which] == EMPTY;
            self.pending[which] = families.merge(self.pending[which], new.spent);
            return is_idle.then_some(which);
        }
        self.before.push(last);
        self.pending.push(new.spent);
        self.list.push(new);
        if let Some(group) = group {
            self.groups[group] = at as u32;
        }
        Some(at)
    }

    /// Where the group's last one is noted, once groups are, and which it is.
    fn find(&mut self, new: &Configuration<N>, masks: &Masks<N>) -> (Option<usize>, u32) {
        let count = self.list.len();
        if count < Self::FEW {
            let last = self.list.iter().rposition(|known| known.is_in_group_of(new, masks));
            return (None, last.map_or(NONE, |last| last as u32));
        }
        if self.groups.len() < count * 2 {
            let size = (count * 4).next_power_of_two();
            self.groups.clear();
            self.groups.resize(size, NONE);
            for number in 0..count {
                let group = self.place(&self.list[number], masks);
                self.groups[group] = number as u32;
            }
        }
        let group = self.place(new, masks);
        (Some(group), self.groups[group])
    }

    fn place(&self, new: &Configuration<N>, masks: &Masks<N>) -> usize {
        let mask = self.groups.len() - 1;
        let mut at = new.hash(masks) & mask;
        while self.groups[at] != NONE && !self.list[self.groups[at] as usize].is_in_group_of(new, masks) {
            at = (at + 1) & mask;
        }
        at
    }
}
