//! The event queue: a binary heap keyed by (virtual time, sequence number).
//!
//! Two events at one time come out in the order in which they were put in, so a run never depends on the
//! heap's inner order. The heap holds keys only; the events wait in slots that are used again and again.

use std::{cmp::Reverse, collections::BinaryHeap};

/// Events ordered by virtual time, then by insertion.
#[derive(Debug)]
pub struct Queue<E> {
    heap: BinaryHeap<Reverse<(u64, u64, u32)>>,
    slots: Vec<Option<E>>,
    free: Vec<u32>,
    inserted: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Queue<E> {
        Queue { heap: BinaryHeap::new(), slots: Vec::new(), free: Vec::new(), inserted: 0 }
    }
}

impl<E> Queue<E> {
    /// Puts an event in, to come out at `time_ns`.
    pub fn push(&mut self, time_ns: u64, event: E) {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(event);
                slot
            }
            None => {
                self.slots.push(Some(event));
                u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 events wait at one time")
            }
        };
        self.heap.push(Reverse((time_ns, self.inserted, slot)));
        self.inserted += 1;
    }

    /// The time of the next event.
    pub fn next_time_ns(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((time_ns, _, _))| *time_ns)
    }

    /// Takes the next event out, with its time.
    pub fn pop(&mut self) -> Option<(u64, E)> {
        let Reverse((time_ns, _, slot)) = self.heap.pop()?;
        let event = self.slots[slot as usize].take().expect("a key in the heap has its event");
        self.free.push(slot);
        Some((time_ns, event))
    }

    /// The waiting events with their times, in the order in which they will come out.
    pub fn waiting(&self) -> Vec<(u64, &E)> {
        let mut keys: Vec<_> = self.heap.iter().map(|Reverse(key)| *key).collect();
        keys.sort_unstable();
        keys.iter()
            .filter_map(|(time_ns, _, slot)| Some((*time_ns, self.slots[*slot as usize].as_ref()?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_out_by_time_then_by_insertion() {
        let mut queue = Queue::default();
        for (time_ns, name) in [(5, "b"), (3, "a"), (5, "c"), (9, "e")] {
            queue.push(time_ns, name);
        }
        assert_eq!(queue.next_time_ns(), Some(3));
        assert_eq!(queue.waiting(), [(3, &"a"), (5, &"b"), (5, &"c"), (9, &"e")]);
        assert_eq!(queue.pop(), Some((3, "a")));
        queue.push(5, "d");
        let rest: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|(_, name)| name).collect();
        assert_eq!(rest, ["b", "c", "d", "e"]);
        assert_eq!(queue.slots.len(), 4, "slots are used again");
    }
}
