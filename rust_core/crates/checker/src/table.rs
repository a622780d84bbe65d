//! A map from log indexes, dense where logs are dense.

use std::collections::BTreeMap;

/// How far beyond its end the dense part may be extended at once. What lies further goes to the sparse part,
/// so that one absurd index in a trace costs no memory.
const REACH: u64 = 1 << 16;

/// Values by log index: a vector from the first index seen, and a map for outliers.
#[derive(Debug)]
pub(crate) struct Table<T> {
    start: u64,
    dense: Vec<Option<T>>,
    sparse: BTreeMap<u64, T>,
}

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table { start: 0, dense: Vec::new(), sparse: BTreeMap::new() }
    }
}

impl<T> Table<T> {
    pub(crate) fn get(&self, index: u64) -> Option<&T> {
        match index.checked_sub(self.start).and_then(|at| self.dense.get(usize::try_from(at).ok()?)) {
            Some(slot) => slot.as_ref(),
            None if self.sparse.is_empty() => None,
            None => self.sparse.get(&index),
        }
    }

    pub(crate) fn get_mut(&mut self, index: u64) -> Option<&mut T> {
        match index.checked_sub(self.start).and_then(|at| self.dense.get_mut(usize::try_from(at).ok()?)) {
            Some(slot) => slot.as_mut(),
            None => self.sparse.get_mut(&index),
        }
    }

    /// Sets the value at `index`; one that was there is replaced.
    pub(crate) fn insert(&mut self, index: u64, value: T) {
        if self.dense.is_empty() {
            self.start = index;
        }
        match index.checked_sub(self.start) {
            Some(at) if at < self.dense.len() as u64 + REACH => {
                let at = at as usize;
                while self.dense.len() <= at {
                    // What was an outlier when it came may by now lie within.
                    let moved = if self.sparse.is_empty() {
                        None
                    } else {
                        self.sparse.remove(&(self.start + self.dense.len() as u64))
                    };
                    self.dense.push(moved);
                }
                self.dense[at] = Some(value);
            }
            _ => {
                self.sparse.insert(index, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn near_and_far_indexes_are_kept() {
        let mut table = Table::default();
        for index in [10, 11, 3, u64::MAX, 500_000, 60_000, 70_010, 130_000, 190_000, 250_000] {
            table.insert(index, index);
        }
        for step in (0..=500_000).step_by(1000) {
            table.insert(step + 1, 0);
        }
        for index in [10, 11, 3, u64::MAX, 500_000, 60_000, 70_010, 130_000, 190_000, 250_000] {
            assert_eq!(table.get(index), Some(&index));
            assert_eq!(table.get_mut(index).copied(), Some(index));
        }
        assert_eq!(table.get(12), None);
        assert_eq!(table.get(u64::MAX - 1), None);
    }
}
