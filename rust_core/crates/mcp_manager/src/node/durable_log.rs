//! The outline of the durable log, for debuggers: followed from the node's own trace, so that it shows what
//! a reader of the trace would believe.

use std::collections::VecDeque;

use mcp_chaos_evidence::TraceEvent;
use serde::Serialize;

use super::status::hex;

/// A log entry, without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LogEntry {
    /// Its index.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Checksum of its kind and data, as in the trace.
    #[serde(serialize_with = "hex")]
    pub checksum: u64,
}

/// Ascending by index.
#[derive(Clone, Debug, Default)]
pub(super) struct DurableLog(VecDeque<LogEntry>);

impl DurableLog {
    pub(super) fn follow(&mut self, event: &TraceEvent) {
        match *event {
            TraceEvent::Appended { index, term, checksum } => {
                self.0.push_back(LogEntry { index, term, checksum });
            }
            TraceEvent::Truncated { from } => {
                let kept = self.0.partition_point(|entry| entry.index < from);
                self.0.truncate(kept);
            }
            _ => {}
        }
    }

    pub(super) fn cut_below(&mut self, first_index: u64) {
        let cut = self.0.partition_point(|entry| entry.index < first_index);
        self.0.drain(..cut);
    }

    pub(super) fn entries(&self) -> Vec<LogEntry> {
        self.0.iter().copied().collect()
    }
}
