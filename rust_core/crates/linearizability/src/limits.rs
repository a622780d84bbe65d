//! How far a check may go.

/// Hard limits of a check. Beyond them the answer is unknown.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most memory that the check may hold beside the history, in bytes: what is prepared for the searches, the
    /// searches, and for an explanation a copy of the history.
    pub memory_bytes: u64,
    /// The most steps that the search may take, all keys together (very roughly 20 million a second).
    pub steps: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { memory_bytes: 1 << 30, steps: u64::MAX }
    }
}

/// Why a check was ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Its time is over.
    Time,
    /// Somebody does not want the answer any more.
    Cancelled,
}

/// Looks at what a pure crate cannot see: a clock, a signal. It is asked every few milliseconds.
pub trait Watch {
    /// Whether to stop, and why.
    fn stop(&self) -> Option<Stop>;

    /// How many steps each search may take between two looks: some 0.2 ms' worth, ten where a model's states are
    /// large. Less where a step takes longer, as one of a model in Python.
    fn stride(&self) -> u64 {
        10_000
    }

    /// The verdict is there. What is wanted besides has as much time again.
    fn begin_explanation(&self) {}

    /// How far the check of a stream is, now and then: for people who wait.
    fn progress(&self, far: &StreamProgress) {
        let _ = far;
    }
}

/// How far the check of a stream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamProgress {
    /// Events read.
    pub events: u64,
    /// Operations begun.
    pub operations: u64,
    /// Keys seen.
    pub keys: u64,
    /// Memory that the check holds, in bytes.
    pub held_bytes: u64,
}

/// Never stops a check.
#[derive(Clone, Copy, Debug)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn stop(&self) -> Option<Stop> {
        None
    }
}
