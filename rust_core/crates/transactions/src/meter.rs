//! Counts steps and memory against the limits.

use mcp_chaos_linearizability::{Limits, Stop, Watch};

/// Steps between two looks at the watch: about a millisecond.
const STRIDE: u64 = 1 << 15;

/// Bytes that a micro-operation may take, in all structures together: an access, an append and its entry in the
/// map, its places in the orders, its edges (twice while they are sorted).
const BYTES_FOR_A_MICRO_OPERATION: u64 = 320;

/// The same for a transaction: its node and that of its time, edges between them, and what the searches keep.
const BYTES_FOR_A_TRANSACTION: u64 = 240;

/// Why a check ended before it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// It would have needed this many bytes.
    Memory(u64),
    /// It took all its steps.
    Steps,
    /// Somebody stopped it.
    Watch(Stop),
}

pub(crate) struct Meter<'w> {
    limits: Limits,
    watch: &'w dyn Watch,
    steps: u64,
    look_at: u64,
}

impl<'w> Meter<'w> {
    pub fn new(limits: &Limits, watch: &'w dyn Watch) -> Meter<'w> {
        Meter { limits: *limits, watch, steps: 0, look_at: 0 }
    }

    /// Refuses a history that is too large, before anything is made for it: all needs are linear in its size.
    pub fn hold(&self, micro_operations: usize, transactions: usize) -> Result<(), Stopped> {
        let bytes = micro_operations as u64 * BYTES_FOR_A_MICRO_OPERATION
            + transactions as u64 * BYTES_FOR_A_TRANSACTION;
        if bytes > self.limits.memory_bytes { Err(Stopped::Memory(bytes)) } else { Ok(()) }
    }

    pub fn step(&mut self, steps: u64) -> Result<(), Stopped> {
        self.steps += steps;
        if self.steps > self.limits.steps {
            return Err(Stopped::Steps);
        }
        if self.steps >= self.look_at {
            self.look_at = self.steps + STRIDE;
            if let Some(stop) = self.watch.stop() {
                return Err(Stopped::Watch(stop));
            }
        }
        Ok(())
    }
}
