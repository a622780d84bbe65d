//! A map from log indexes, dense where logs are dense, that can forget its lower end.

use std::collections::{BTreeMap, VecDeque};

/// How many indexes a segment holds. A lone index costs a whole one.
const SEGMENT: u64 = 64;

/// How many segments beyond its ends the dense part may be extended at once. What lies further goes to the
/// sparse part, so that one absurd index in a trace costs no memory.
const REACH: u64 = 1 << 10;

/// The first index of the segment that holds this one. Only whole segments are forgotten.
pub(crate) fn segment_start(index: u64) -> u64 {
    index / SEGMENT * SEGMENT
}

type Segment<T> = Box<[Option<T>]>;

/// Values by log index: segments in a row from the first one seen, and a map of segments for outliers. Growing
/// moves nothing, and the oldest segments can be dropped.
#[derive(Debug)]
pub(crate) struct Table<T> {
    /// The number of the first dense segment.
    first: u64,
    dense: VecDeque<Option<Segment<T>>>,
    sparse: BTreeMap<u64, Segment<T>>,
    /// How many segments there are.
    segments: usize,
}

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table { first: 0, dense: VecDeque::new(), sparse: BTreeMap::new(), segments: 0 }
    }
}

impl<T> Table<T> {
    #[inline]
    pub(crate) fn get(&self, index: u64) -> Option<&T> {
        self.segment(index / SEGMENT)?[(index % SEGMENT) as usize].as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u64) -> Option<&mut T> {
        let number = index / SEGMENT;
        let segment = match number.checked_sub(self.first).and_then(|at| self.dense.get_mut(at as usize)) {
            Some(slot) => slot.as_mut(),
            None => self.sparse.get_mut(&number),
        };
        segment?[(index % SEGMENT) as usize].as_mut()
    }

    /// Sets the value at `index`; one that was there is replaced.
    pub(crate) fn insert(&mut self, index: u64, value: T) {
        let number = index / SEGMENT;
        if self.dense.is_empty() {
            self.first = number;
        }
        let end = self.first + self.dense.len() as u64;
        let is_near = number < end.saturating_add(REACH) && number.saturating_add(REACH) >= self.first;
        let slot = if is_near {
            // What was an outlier when it came may by now lie within.
            while number < self.first {
                self.first -= 1;
                let moved = if self.sparse.is_empty() { None } else { self.sparse.remove(&self.first) };
                self.dense.push_front(moved);
            }
            while number >= self.first + self.dense.len() as u64 {
                let next = self.first + self.dense.len() as u64;
                let moved = if self.sparse.is_empty() { None } else { self.sparse.remove(&next) };
                self.dense.push_back(moved);
            }
            &mut self.dense[(number - self.first) as usize]
        } else {
            let segment = self.sparse.entry(number).or_insert_with(|| {
                self.segments += 1;
                empty()
            });
            segment[(index % SEGMENT) as usize] = Some(value);
            return;
        };
        let segment = slot.get_or_insert_with(|| {
            self.segments += 1;
            empty()
        });
        segment[(index % SEGMENT) as usize] = Some(value);
    }

    /// The least index from `index` on that has a value.
    pub(crate) fn at_or_after(&self, index: u64) -> Option<u64> {
        if self.get(index).is_some() {
            return Some(index);
        }
        let number = index / SEGMENT;
        let within = |(at, segment): (u64, &Segment<T>)| {
            let from = if at == number { (index % SEGMENT) as usize } else { 0 };
            let found = segment[from..].iter().position(Option::is_some)?;
            Some(at * SEGMENT + (from + found) as u64)
        };
        let skip = (number.saturating_sub(self.first) as usize).min(self.dense.len());
        let dense = self.dense.range(skip..).zip(self.first + skip as u64..);
        let dense = dense.filter_map(|(slot, at)| Some((at, slot.as_ref()?))).find_map(within);
        let sparse = self.sparse.range(number..).map(|(at, segment)| (*at, segment)).find_map(within);
        match (dense, sparse) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Where the lowest segment ends: to forget below this frees something. None: nothing is kept.
    pub(crate) fn end_of_lowest(&self) -> Option<u64> {
        let dense = self.dense.iter().zip(self.first..).find_map(|(slot, at)| slot.as_ref().map(|_| at));
        let sparse = self.sparse.first_key_value().map(|(at, _)| *at);
        let lowest = match (dense, sparse) {
            (Some(one), Some(other)) => one.min(other),
            (one, other) => one.or(other)?,
        };
        Some((lowest + 1).saturating_mul(SEGMENT))
    }

    /// Drops every segment that begins below `index`, but for the one that holds it.
    pub(crate) fn forget_below(&mut self, index: u64) {
        let number = index / SEGMENT;
        while self.first < number && !self.dense.is_empty() {
            self.segments -= usize::from(self.dense.pop_front().flatten().is_some());
            self.first += 1;
        }
        let kept = self.sparse.split_off(&number);
        self.segments -= self.sparse.len();
        self.sparse = kept;
    }

    /// The memory held, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.segments * (SEGMENT as usize * size_of::<Option<T>>() + 16)
            + self.dense.capacity() * size_of::<Option<Segment<T>>>()
            + self.sparse.len() * 32
    }

    #[inline]
    fn segment(&self, number: u64) -> Option<&Segment<T>> {
        match number.checked_sub(self.first).and_then(|at| self.dense.get(usize::try_from(at).ok()?)) {
            Some(slot) => slot.as_ref(),
            None if self.sparse.is_empty() => None,
            None => self.sparse.get(&number),
        }
    }
}

fn empty<T>() -> Segment<T> {
    (0..SEGMENT).map(|_| None).collect()
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

    #[test]
    fn a_table_may_begin_high_and_grow_downwards() {
        let mut table = Table::default();
        for index in [1_000_000, 999_000, 5, 990_000] {
            table.insert(index, index);
        }
        for index in [1_000_000, 999_000, 5, 990_000] {
            assert_eq!(table.get(index), Some(&index));
        }
        assert_eq!(table.at_or_after(0), Some(5));
        assert_eq!(table.at_or_after(6), Some(990_000));
        assert_eq!(table.at_or_after(999_001), Some(1_000_000));
        assert_eq!(table.at_or_after(1_000_001), None);
    }

    #[test]
    fn the_lower_end_can_be_forgotten() {
        let mut table = Table::default();
        for index in 1..=100_000 {
            table.insert(index, index);
        }
        table.insert(u64::MAX, 1);
        let full = table.bytes();
        assert_eq!(table.end_of_lowest(), Some(64));
        table.forget_below(64);
        assert_eq!((table.get(63), table.get(64)), (None, Some(&64)));
        table.forget_below(50_000);
        assert_eq!(table.get(50_000), Some(&50_000));
        assert!(table.bytes() < full * 6 / 10, "{} of {full}", table.bytes());
        table.forget_below(u64::MAX - 64);
        assert_eq!(table.end_of_lowest(), Some(u64::MAX));
        table.insert(7, 7);
        assert_eq!(table.get(7), Some(&7));
    }
}
