//! Election timeouts that repeat exactly.

use mcp_chaos_evidence::{NodeId, rng::Stream};
use raft::{Raft, Storage};

/// Replaces the timeouts that raft-rs draws from its thread's generator.
///
/// raft-rs draws one whenever it resets (a new term, or another role), from a range that we set to
/// `election_ticks..usize::MAX`. Ours are below `2 * election_ticks`: so a timeout at or above that bound is
/// one it has just drawn, and is replaced before the next tick reads it. Its draw falls below the bound
/// with a probability of 2^-58, so a run does not depend on it.
pub(crate) struct Elections {
    seed: u64,
    id: NodeId,
    low: u64,
    /// The term that `attempt` counts in.
    term: u64,
    /// Timeouts drawn before in this term.
    attempt: u64,
}

impl Elections {
    pub(crate) fn new(seed: u64, id: NodeId, election_ticks: u32) -> Elections {
        Elections { seed, id, low: u64::from(election_ticks), term: u64::MAX, attempt: 0 }
    }

    /// To be called after every call into raft-rs that may reset it.
    pub(crate) fn settle<T: Storage>(&mut self, raft: &mut Raft<T>) {
        if (raft.randomized_election_timeout() as u64) < 2 * self.low {
            return;
        }
        self.attempt = if raft.term == self.term { self.attempt + 1 } else { 0 };
        self.term = raft.term;
        let stream = Stream::new(self.seed, "election", self.id, self.term);
        raft.set_randomized_election_timeout(
            stream.between(self.attempt, self.low, 2 * self.low - 1) as usize
        );
    }
}
