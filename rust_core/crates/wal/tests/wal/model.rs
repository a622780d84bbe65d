//! What a log must hold, as plain values.

use mcp_chaos_consensus::{Batch, Entry, HardState, Recovered, Snapshot};

/// A directory's content as a restart must report it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub cluster: String,
    pub hard_state: HardState,
    pub snapshot: Option<Snapshot>,
    /// Above the snapshot.
    pub entries: Vec<Entry>,
}

impl State {
    pub fn snapshot_index(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.meta.index)
    }

    pub fn last_index(&self) -> u64 {
        self.entries.last().map_or(self.snapshot_index(), |entry| entry.index)
    }

    /// The term of the entry at `index`, which must be the snapshot's or above.
    pub fn term_at(&self, index: u64) -> u64 {
        let snapshot_term = || self.snapshot.as_ref().map_or(0, |snapshot| snapshot.meta.term);
        self.entries.iter().find(|entry| entry.index == index).map_or_else(snapshot_term, |entry| entry.term)
    }

    pub fn found(&self, cluster: &str, snapshot: &Snapshot) -> State {
        State { cluster: cluster.into(), ..self.install(snapshot, None) }
    }

    /// The states through which a batch leads, the last one complete.
    pub fn write(&self, batch: &Batch) -> Vec<State> {
        let mut states = Vec::new();
        let mut state = self.clone();
        if let Some(snapshot) = &batch.snapshot {
            state = state.install(snapshot, batch.hard_state);
            states.push(state.clone());
        }
        if let Some(first) = batch.entries.first() {
            state.entries.retain(|entry| entry.index < first.index);
            state.entries.extend(batch.entries.iter().cloned());
        }
        state.hard_state = batch.hard_state.unwrap_or(state.hard_state);
        states.push(state.consistent());
        states
    }

    pub fn save_snapshot(&self, snapshot: &Snapshot) -> State {
        let mut state = self.clone();
        state.entries.retain(|entry| entry.index > snapshot.meta.index);
        state.snapshot = Some(snapshot.clone());
        state.consistent()
    }

    fn install(&self, snapshot: &Snapshot, hard_state: Option<HardState>) -> State {
        let hard_state = hard_state.unwrap_or(self.hard_state);
        let snapshot = Some(snapshot.clone());
        State { cluster: self.cluster.clone(), hard_state, snapshot, entries: Vec::new() }.consistent()
    }

    /// A snapshot vouches for its term and for the commitment of all that it covers.
    fn consistent(mut self) -> State {
        if let Some(snapshot) = &self.snapshot {
            if self.hard_state.term < snapshot.meta.term {
                (self.hard_state.term, self.hard_state.vote) = (snapshot.meta.term, 0);
            }
            self.hard_state.commit = self.hard_state.commit.max(snapshot.meta.index);
        }
        self
    }
}

impl From<&Recovered> for State {
    fn from(recovered: &Recovered) -> State {
        State {
            cluster: recovered.cluster.clone(),
            hard_state: recovered.hard_state,
            snapshot: recovered.snapshot.clone(),
            entries: recovered.entries.clone(),
        }
    }
}
