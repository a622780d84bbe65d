//! What a run leaves behind.

use mcp_chaos_evidence::{HistoryEvent, NemesisRecord, NodeId, TraceEvent, TraceRecord};
use serde::Serialize;

use crate::fingerprint::fingerprint;

/// Counts over a whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Virtual time simulated.
    pub simulated_ns: u64,
    /// Events taken from the queue.
    pub events: u64,
    /// Messages handed to links, those of clients included.
    pub messages: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// Messages dropped on cut links.
    pub withheld: u64,
    /// Messages lost at random, dropped by a step, or torn with a connection.
    pub lost: u64,
    /// Writes to disks.
    pub disk_writes: u64,
    /// Syncs of disks.
    pub disk_syncs: u64,
    /// Operations that clients began.
    pub operations: u64,
    /// Trace records.
    pub trace_records: u64,
}

/// One finished run.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Number of nodes.
    pub nodes: u64,
    /// What clients saw.
    pub history: Vec<HistoryEvent>,
    /// What nodes did: all nodes in one, in the order in which it happened.
    pub trace: Vec<TraceRecord>,
    /// What was done to the cluster.
    pub nemesis: Vec<NemesisRecord>,
    /// Counts.
    pub stats: Stats,
    /// 128 bits over every record: two runs with one hash are one run. See [`fingerprint`].
    pub trace_hash: u128,
}

/// The records of a run under way.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub history: Vec<HistoryEvent>,
    pub trace: Vec<TraceRecord>,
    pub nemesis: Vec<NemesisRecord>,
}

impl Records {
    pub fn history(&mut self, mut event: HistoryEvent) {
        event.index = self.history.len() as u64;
        self.history.push(event);
    }

    pub fn trace(&mut self, time_ns: u64, node: NodeId, boot: u64, event: TraceEvent) {
        self.trace.push(TraceRecord { time_ns, node, boot, event });
    }

    /// Adds a nemesis record and gives its position.
    pub fn nemesis(&mut self, record: NemesisRecord) -> usize {
        self.nemesis.push(record);
        self.nemesis.len() - 1
    }

    pub fn into_run(self, nodes: u64, stats: Stats) -> Run {
        let Records { history, trace, nemesis } = self;
        let trace_hash = fingerprint(&history, &trace, &nemesis);
        Run { nodes, history, trace, nemesis, stats, trace_hash }
    }
}
