//! The log as raft-rs reads it: a mirror, in memory, of what was handed out to be persisted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use mcp_chaos_evidence::NodeId;
use raft::eraftpb as pb;
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use crate::types::Configuration;

/// What an entry takes on the wire besides its payload, roughly, in bytes.
const ENTRY_OVERHEAD: u64 = 16;

/// The newest snapshot, and the entries above what was compacted.
pub(crate) struct Log {
    /// As recovered; raft-rs reads it once.
    initial: RaftState,
    /// For followers that lag behind `compacted`. Its index is at least `compacted.0`.
    snapshot: pb::Snapshot,
    /// (index, term) of the last entry that is gone.
    compacted: (u64, u64),
    /// Contiguous, from `compacted.0 + 1`.
    entries: VecDeque<pb::Entry>,
    /// Who votes in the configuration in force.
    voters: Vec<NodeId>,
    /// A member is to be sent a snapshot, and the newest one does not know it, or not that it votes. (raft-rs asks
    /// through a shared reference.)
    snapshot_wanted: AtomicBool,
}

impl Log {
    pub(crate) fn new(
        hard_state: pb::HardState,
        snapshot: pb::Snapshot,
        entries: VecDeque<pb::Entry>,
    ) -> Log {
        let metadata = snapshot.get_metadata();
        Log {
            initial: RaftState::new(hard_state, metadata.get_conf_state().clone()),
            compacted: (metadata.index, metadata.term),
            voters: voters_of(metadata.get_conf_state()),
            snapshot,
            entries,
            snapshot_wanted: AtomicBool::new(false),
        }
    }

    /// Whether a snapshot that knows every member was asked for in vain since this was called last.
    pub(crate) fn takes_wish_for_snapshot(&mut self) -> bool {
        std::mem::take(self.snapshot_wanted.get_mut())
    }

    /// From now on these vote.
    pub(crate) fn is_decided_by(&mut self, configuration: &Configuration) {
        self.voters = [&configuration.voters[..], &configuration.voters_outgoing].concat();
    }

    pub(crate) fn first(&self) -> u64 {
        self.compacted.0 + 1
    }

    pub(crate) fn last(&self) -> u64 {
        self.compacted.0 + self.entries.len() as u64
    }

    pub(crate) fn snapshot_index(&self) -> u64 {
        self.snapshot.get_metadata().index
    }

    /// Appends contiguous entries, over whatever stands at or above the first one's index.
    pub(crate) fn append(&mut self, entries: Vec<pb::Entry>) {
        let Some(first) = entries.first() else { return };
        assert!(
            self.first() <= first.index && first.index <= self.last() + 1,
            "entries from {} do not continue a log of {}..={}",
            first.index,
            self.first(),
            self.last()
        );
        self.entries.truncate((first.index - self.first()) as usize);
        self.entries.extend(entries);
    }

    /// A snapshot from the leader replaces everything.
    pub(crate) fn install(&mut self, snapshot: pb::Snapshot) {
        self.compacted = (snapshot.get_metadata().index, snapshot.get_metadata().term);
        self.entries.clear();
        self.snapshot = snapshot;
    }

    /// Keeps an own snapshot, and `keep` entries behind it. Older than the newest one: ignored.
    pub(crate) fn compact(&mut self, snapshot: pb::Snapshot, keep: u64) {
        let index = snapshot.get_metadata().index;
        if index <= self.snapshot_index() {
            return;
        }
        let gone = index.saturating_sub(keep).saturating_sub(self.compacted.0).min(self.entries.len() as u64);
        if let Some(last) = self.entries.drain(..gone as usize).next_back() {
            self.compacted = (last.index, last.term);
        }
        self.snapshot = snapshot;
    }
}

impl Storage for Log {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(self.initial.clone())
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<pb::Entry>> {
        if low < self.first() {
            return Err(StorageError::Compacted.into());
        }
        assert!(high <= self.last() + 1, "entries up to {high} asked of a log that ends at {}", self.last());
        let max_size = max_size.into().unwrap_or(u64::MAX);
        let range = (low - self.first()) as usize..(high - self.first()) as usize;
        let mut size = 0;
        let count = self
            .entries
            .range(range.clone())
            .take_while(|entry| {
                let first = size == 0;
                size += ENTRY_OVERHEAD + entry.data.len() as u64;
                first || size <= max_size
            })
            .count();
        Ok(self.entries.range(range.start..range.start + count).cloned().collect())
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.compacted.0 {
            return Ok(self.compacted.1);
        }
        if index < self.compacted.0 {
            return Err(StorageError::Compacted.into());
        }
        match self.entries.get((index - self.first()) as usize) {
            Some(entry) => Ok(entry.term),
            None => Err(StorageError::Unavailable.into()),
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    /// A node takes only a snapshot in which it is a member. One that votes gets none in which it only listens: if it
    /// has lost its disk since, it would be founded on that as a learner, and vote again as if nothing had happened.
    fn snapshot(&self, request_index: u64, to: NodeId) -> raft::Result<pb::Snapshot> {
        let members = self.snapshot.get_metadata().get_conf_state();
        let votes_there = voters_of(members).contains(&to);
        let listens_there = members.learners.contains(&to);
        if !votes_there && (!listens_there || self.voters.contains(&to)) {
            self.snapshot_wanted.store(true, Ordering::Relaxed);
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        }
        if self.snapshot_index() < request_index {
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        }
        Ok(self.snapshot.clone())
    }
}

/// Who votes, in either half.
fn voters_of(members: &pb::ConfState) -> Vec<NodeId> {
    [&members.voters[..], &members.voters_outgoing].concat()
}
