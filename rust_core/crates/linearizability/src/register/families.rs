//! Families of sets of spent operations, shared and never written out: zero-suppressed decision diagrams (Minato,
//! Zero-suppressed BDDs for set manipulation in combinatorial problems, 1993; Knuth, TAOCP 4A, §7.1.4).
//!
//! A configuration of the register's frontier is better the fewer operations of unknown outcome it has spent, so
//! a family holds minimal sets only. Where each of k needs could be met in two ways there are 2^k such sets; the
//! diagram that holds them has some 2k nodes, and what was computed once of it is known the next time.

/// A family's number.
pub type Family = u32;

/// No set at all.
pub const EMPTY: Family = 0;
/// The empty set alone: nothing was spent.
pub const UNIT: Family = 1;

const NONE: u32 = u32::MAX;

/// The sets of `low`, and those of `high` with `element` added. Elements grow towards the leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Node {
    element: u32,
    low: Family,
    high: Family,
}

/// What was computed: an operation (its first argument may be part of its number), its arguments, its result.
#[derive(Clone, Copy)]
struct Known {
    operation: u32,
    one: u32,
    other: u32,
    result: Family,
}

const MERGE: u32 = 0;
const WITHOUT: u32 = 1;
const ADD: u32 = 2;

/// All families of one search.
pub struct Families {
    nodes: Vec<Node>,
    /// Where a node is, by its hash: open addressing.
    index: Vec<u32>,
    known: Vec<Known>,
    /// Nodes looked at: what the work costs.
    pub steps: u64,
    /// By how many bytes all this may grow.
    pub room_bytes: u64,
    /// It would have had to grow by more: what was computed since then means nothing.
    pub is_full: bool,
}

impl Families {
    pub fn new() -> Families {
        let leaf = Node { element: NONE, low: EMPTY, high: EMPTY };
        Families {
            nodes: vec![leaf; 2],
            index: Vec::new(),
            known: Vec::new(),
            steps: 0,
            room_bytes: u64::MAX,
            is_full: false,
        }
    }

    pub fn bytes(&self) -> u64 {
        (self.nodes.capacity() * size_of::<Node>()
            + self.index.capacity() * 4
            + self.known.capacity() * size_of::<Known>()) as u64
    }

    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The minimal sets of both.
    pub fn merge(&mut self, one: Family, other: Family) -> Family {
        if one == other || other == EMPTY || self.is_full {
            return one;
        }
        if one == EMPTY {
            return other;
        }
        if one == UNIT || other == UNIT {
            return UNIT;
        }
        let (one, other) = (one.min(other), one.max(other));
        if let Some(result) = self.recall(MERGE, one, other) {
            return result;
        }
        let (element, [one_low, one_high], [other_low, other_high]) = self.part(one, other);
        let low = self.merge(one_low, other_low);
        let high = self.merge(one_high, other_high);
        let high = self.without(high, low);
        let result = self.node(element, low, high);
        self.remember(MERGE, one, other, result)
    }

    /// The sets of `one` that contain no set of `other`.
    pub fn without(&mut self, one: Family, other: Family) -> Family {
        if one == EMPTY || other == EMPTY || self.is_full {
            return one;
        }
        if one == other || other == UNIT {
            return EMPTY;
        }
        if one == UNIT {
            return UNIT;
        }
        if let Some(result) = self.recall(WITHOUT, one, other) {
            return result;
        }
        let (element, [one_low, one_high], [other_low, other_high]) = self.part(one, other);
        let low = self.without(one_low, other_low);
        let high = self.without(one_high, other_high);
        let high = self.without(high, other_low);
        let result = self.node(element, low, high);
        self.remember(WITHOUT, one, other, result)
    }

    /// Adds to each set the first of the elements `first..end` that it lacks; sets that have them all are
    /// dropped. Every set holds a beginning of that range, so this is to count one more, and keeps minimal sets
    /// minimal.
    pub fn add(&mut self, family: Family, first: u32, end: u32) -> Family {
        if first == end || family == EMPTY || self.is_full {
            return EMPTY;
        }
        let Node { element, low, high } = self.nodes[family as usize];
        if element > first {
            return self.node(first, EMPTY, family);
        }
        if let Some(result) = self.recall(ADD + first, family, end) {
            return result;
        }
        let result = if element < first {
            let low = self.add(low, first, end);
            let high = self.add(high, first, end);
            self.node(element, low, high)
        } else {
            let high = self.add(high, first + 1, end);
            let high = self.merge(low, high);
            self.node(first, EMPTY, high)
        };
        self.remember(ADD + first, family, end, result)
    }

    /// One of the family's sets.
    pub fn any(&self, mut family: Family) -> Vec<u32> {
        let mut set = Vec::new();
        while family > UNIT {
            let node = self.nodes[family as usize];
            if node.low != EMPTY {
                family = node.low;
            } else {
                set.push(node.element);
                family = node.high;
            }
        }
        set
    }

    /// Forgets every node that none of these families needs. Gives back the families' new numbers, by the old.
    pub fn keep(&mut self, families: impl Iterator<Item = Family>) -> Vec<Family> {
        let mut numbers = vec![EMPTY; self.nodes.len()];
        (numbers[EMPTY as usize], numbers[UNIT as usize]) = (1, 1);
        families.for_each(|family| numbers[family as usize] = 1);
        // A node's parts are older than the node.
        for at in (2..self.nodes.len()).rev() {
            if numbers[at] != 0 {
                let Node { low, high, .. } = self.nodes[at];
                (numbers[low as usize], numbers[high as usize]) = (1, 1);
            }
        }
        (numbers[EMPTY as usize], numbers[UNIT as usize]) = (EMPTY, UNIT);
        let mut kept = 2;
        for at in 2..self.nodes.len() {
            if numbers[at] != 0 {
                let Node { element, low, high } = self.nodes[at];
                self.nodes[kept] = Node { element, low: numbers[low as usize], high: numbers[high as usize] };
                numbers[at] = kept as Family;
                kept += 1;
            }
        }
        self.nodes.truncate(kept);
        self.nodes.shrink_to(kept * 2);
        self.rehash();
        numbers
    }

    /// The parts of two families by the smaller of their first elements.
    fn part(&mut self, one: Family, other: Family) -> (u32, [Family; 2], [Family; 2]) {
        let (one_node, other_node) = (self.nodes[one as usize], self.nodes[other as usize]);
        let element = one_node.element.min(other_node.element);
        let parts = |family: Family, node: Node| {
            if node.element == element { [node.low, node.high] } else { [family, EMPTY] }
        };
        (element, parts(one, one_node), parts(other, other_node))
    }

    fn node(&mut self, element: u32, low: Family, high: Family) -> Family {
        if high == EMPTY {
            return low;
        }
        if !self.grow() {
            return low;
        }
        let new = Node { element, low, high };
        let mask = self.index.len() - 1;
        let mut at = hash(element, low, high) as usize & mask;
        loop {
            match self.index[at] {
                NONE => break,
                known if self.nodes[known as usize] == new => return known,
                _ => at = (at + 1) & mask,
            }
        }
        self.index[at] = self.nodes.len() as u32;
        self.nodes.push(new);
        self.nodes.len() as u32 - 1
    }

    /// Makes room for one more node. False if there is too little memory.
    fn grow(&mut self) -> bool {
        let mut bytes = 0;
        let (more, size) = (self.nodes.len() / 2 + 64, self.size());
        if self.nodes.len() == self.nodes.capacity() {
            bytes += more * size_of::<Node>();
        }
        if self.index.len() < self.nodes.len() * 2 {
            bytes += (size - self.index.len()) * (size_of::<u32>() + size_of::<Known>() / 2);
        }
        if bytes == 0 {
            return true;
        }
        if self.is_full || bytes as u64 > self.room_bytes {
            self.is_full = true;
            return false;
        }
        self.room_bytes -= bytes as u64;
        if self.nodes.len() == self.nodes.capacity() {
            self.nodes.reserve_exact(more);
        }
        if self.index.len() < self.nodes.len() * 2 {
            self.rehash();
        }
        true
    }

    /// The places that the nodes need.
    fn size(&self) -> usize {
        (self.nodes.len() * 4).next_power_of_two().max(64)
    }

    fn rehash(&mut self) {
        let size = self.size();
        // First what is no longer needed is given back.
        (self.index, self.known) = (Vec::new(), Vec::new());
        self.index = vec![NONE; size];
        for (number, node) in (0_u32..).zip(&self.nodes).skip(2) {
            let mut at = hash(node.element, node.low, node.high) as usize & (size - 1);
            while self.index[at] != NONE {
                at = (at + 1) & (size - 1);
            }
            self.index[at] = number;
        }
        self.known = vec![Known { operation: NONE, one: 0, other: 0, result: 0 }; size / 2];
    }

    fn recall(&mut self, operation: u32, one: u32, other: u32) -> Option<Family> {
        self.steps += 1;
        let size = self.known.len();
        let known = self.known.get(hash(operation, one, other) as usize & size.wrapping_sub(1))?;
        let same = (known.operation, known.one, known.other) == (operation, one, other);
        same.then_some(known.result)
    }

    fn remember(&mut self, operation: u32, one: u32, other: u32, result: Family) -> Family {
        let size = self.known.len();
        if let Some(known) = self.known.get_mut(hash(operation, one, other) as usize & size.wrapping_sub(1)) {
            *known = Known { operation, one, other, result };
        }
        result
    }
}

fn hash(one: u32, two: u32, three: u32) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed = (u64::from(one) << 32 | u64::from(two)).wrapping_mul(ODD);
    let mixed = (mixed ^ mixed >> 29 ^ u64::from(three)).wrapping_mul(ODD);
    mixed ^ mixed >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_minimal_sets_are_kept() {
        let mut families = Families::new();
        // Two kinds of operations: 0, 1, 2 of one, 3 of another.
        let one = families.add(UNIT, 0, 3);
        let two = families.add(one, 0, 3);
        let other = families.add(UNIT, 3, 4);
        assert_eq!(families.merge(one, two), one);
        assert_eq!(families.add(other, 3, 4), EMPTY);
        let both = families.merge(two, other);
        assert_eq!(families.without(both, one), other);
        assert_eq!(families.without(one, both), one);
        assert_eq!(families.any(other), [3]);
        assert_eq!(families.merge(both, UNIT), UNIT);
    }

    #[test]
    fn ways_to_meet_many_needs_take_few_nodes() {
        let mut families = Families::new();
        let mut all = UNIT;
        for need in 0..40 {
            let one = families.add(all, 2 * need, 2 * need + 1);
            let other = families.add(all, 2 * need + 1, 2 * need + 2);
            all = families.merge(one, other);
        }
        let numbers = families.keep([all].into_iter());
        assert!(families.nodes() < 100, "2^40 sets in {} nodes", families.nodes());
        let all = numbers[all as usize];
        assert_eq!(families.any(all).len(), 40);
        assert_eq!(families.merge(all, UNIT), UNIT);
    }
}
