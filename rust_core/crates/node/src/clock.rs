//! The two clocks a node reads: one for evidence, one for sessions.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// CLOCK_MONOTONIC in nanoseconds. All containers of one host share it, so the traces of a cluster's nodes
/// lie on one time line.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// The wall clock in milliseconds since 1970, by which sessions age. It may jump: the log's own clock is the
/// greatest value seen, so a jump back only stands still.
pub fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

/// The time line of a run's evidence.
#[derive(Clone, Copy, Debug)]
pub struct RunClock {
    epoch_ns: u64,
}

impl RunClock {
    /// A time line that starts when CLOCK_MONOTONIC shows `epoch_ns`.
    pub fn new(epoch_ns: u64) -> RunClock {
        RunClock { epoch_ns }
    }

    /// Nanoseconds since the run's start, 0 before it.
    pub fn now_ns(self) -> u64 {
        monotonic_ns().saturating_sub(self.epoch_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_its_epoch_a_run_stands_at_zero() {
        assert_eq!(RunClock::new(u64::MAX).now_ns(), 0);
        let clock = RunClock::new(monotonic_ns());
        let first = clock.now_ns();
        assert!(first <= clock.now_ns());
        assert!(first < 60_000_000_000);
    }
}
