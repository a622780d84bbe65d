//! A hash index over entries that lie elsewhere: it holds their numbers alone, so its size is known exactly, and
//! growing it is up to its owner, who has to stay within a memory limit.

/// No entry.
const EMPTY: u32 = u32::MAX;

/// Numbers of entries, found by the hash of what the entries hold. Linear probing, at most two thirds full.
#[derive(Debug, Default)]
pub(crate) struct Index {
    slots: Vec<u32>,
}

impl Index {
    /// How many slots this many entries need.
    pub fn slots_for(entries: usize) -> usize {
        (entries + entries / 2 + 1).next_power_of_two().max(16)
    }

    /// The memory of this many slots.
    pub fn bytes_of(slots: usize) -> u64 {
        (slots * size_of::<u32>()) as u64
    }

    pub fn bytes(&self) -> u64 {
        Index::bytes_of(self.slots.capacity())
    }

    /// How many slots there are.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    pub fn is_unused(&self) -> bool {
        self.slots.is_empty()
    }

    /// Makes a table of this many slots (a power of two) with these entries: numbers and hashes.
    pub fn rebuild(&mut self, slots: usize, entries: impl Iterator<Item = (u32, u64)>) {
        self.slots.clear();
        if self.slots.capacity() > slots {
            self.slots.shrink_to(slots);
        }
        self.slots.reserve_exact(slots);
        self.slots.resize(slots, EMPTY);
        for (number, hash) in entries {
            self.insert(hash, number);
        }
    }

    /// Gives the memory back.
    pub fn release(&mut self) {
        self.slots = Vec::new();
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.slots.fill(EMPTY);
    }

    /// The entry of this hash that `is` what is looked for.
    #[inline]
    pub fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len().wrapping_sub(1);
        if self.slots.is_empty() {
            return None;
        }
        let mut at = hash as usize & mask;
        loop {
            let number = self.slots[at];
            if number == EMPTY {
                return None;
            }
            if is(number) {
                return Some(number);
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds an entry that is not in it. There must be room.
    #[inline]
    pub fn insert(&mut self, hash: u64, number: u32) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at] != EMPTY {
            at = (at + 1) & mask;
        }
        self.slots[at] = number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_put_in() {
        let entries: Vec<u64> = (0..1000).map(|n| n * 64).collect();
        let mut index = Index::default();
        assert_eq!(index.find(7, |_| true), None);
        index.rebuild(Index::slots_for(1000), (0..).zip(entries.iter().copied()));
        for entry in &entries {
            let found = index.find(*entry, |number| entries[number as usize] == *entry);
            assert_eq!(found.map(|number| entries[number as usize]), Some(*entry));
        }
        assert_eq!(index.find(64, |number| entries[number as usize] == 1), None);
    }
}
