//! Whether an acknowledgement was given too early: a leader answers a request only once it has applied its
//! entry (Ongaro's dissertation §3.5).

use mcp_chaos_evidence::{HistoryEvent, TraceEvent, TraceRecord};

/// The shape of a violation that rests on such an acknowledgement.
pub(crate) const EARLY: &str = "acknowledged-before-applied";

/// Whether the node that acknowledged this change had not applied it by then. False where history or trace do
/// not tell.
pub(crate) fn is_early(traces: &[TraceRecord], acknowledged: &HistoryEvent) -> bool {
    let (Some(node), Some(index)) = (acknowledged.node, acknowledged.log_index) else { return false };
    let request = acknowledged.client.zip(acknowledged.sequence);
    let mut has_trace = false;
    for record in traces.iter().filter(|record| record.node == node) {
        has_trace = true;
        if record.time_ns > acknowledged.time_ns {
            return true;
        }
        match record.event {
            // A retry is answered with the index of the first try, wherever its own entry stands.
            TraceEvent::Applied { index: at, client, sequence, .. }
                if at == index && request.is_none_or(|request| request == (client, sequence)) =>
            {
                return false;
            }
            TraceEvent::SnapshotInstalled { index: up_to, .. }
            | TraceEvent::Started { snapshot_index: up_to, .. }
                if up_to >= index =>
            {
                return false;
            }
            _ => {}
        }
    }
    has_trace
}
