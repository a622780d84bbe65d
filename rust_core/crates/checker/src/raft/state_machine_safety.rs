//! State-machine safety: if a server has applied a log entry at a given index, no other server will ever apply
//! a different entry for the same index (Ongaro's dissertation, §3.2, figure 3.2; entries are applied in log
//! order, §3.6.3). State machines are deterministic, so the states after the same index are the same as well,
//! whether they were reached entry by entry or through a snapshot.

use mcp_chaos_evidence::{TraceEvent, TraceRecord, node_name};
use serde_json::json;

use super::{PerNode, Property, Sighting, Violation, log::NodeLog};
use crate::{Check, table::Table, words::seconds};

/// What stands at an index, by the first record that told.
#[derive(Clone, Copy)]
struct Known {
    term: u64,
    state: u64,
    /// Checksum of the entry; unknown under a snapshot.
    entry: Option<u64>,
    /// (session, sequence, duplicate) of the request; unknown under a snapshot.
    request: Option<(u64, u64, bool)>,
    first: Sighting,
}

#[derive(Default)]
pub(super) struct StateMachineSafety {
    states: Table<Known>,
    /// The index that each node applied last, in its present boot.
    last: PerNode<Option<u64>>,
    applied: u64,
}

impl Property for StateMachineSafety {
    const CHECK: Check = Check::StateMachineSafety;

    fn observe(&mut self, record: &TraceRecord, log: &NodeLog) -> Result<(), Violation> {
        let first = Sighting::of(record);
        match record.event {
            TraceEvent::Applied { index, term, state, client, sequence, duplicate } => {
                self.applied += 1;
                let last = self.last.of(record.node);
                if let Some(last) = *last
                    && index > last.saturating_add(1)
                {
                    let reason = format!(
                        "{} applied index {index} right after {last}: entries are applied one by one, in log order",
                        node_name(record.node)
                    );
                    return Err(Violation::new(
                        record,
                        "entry-skipped",
                        reason,
                        json!({"applied_before": last}),
                    ));
                }
                *last = Some(index);
                let entry = log.get(index);
                if let Some(entry) = entry
                    && entry.term != term
                {
                    let reason = format!(
                        "{} applied index {index} as of term {term}, but its log holds an entry of term {} there",
                        node_name(record.node),
                        entry.term
                    );
                    return Err(Violation::new(
                        record,
                        "not-as-logged",
                        reason,
                        json!({"term_in_log": entry.term}),
                    ));
                }
                let request = Some((client, sequence, duplicate));
                self.compare(
                    record,
                    index,
                    Known { term, state, entry: entry.map(|entry| entry.checksum), request, first },
                )
            }
            TraceEvent::Started { snapshot_index, snapshot_term, snapshot_state, .. } => {
                *self.last.of(record.node) = (snapshot_index > 0).then_some(snapshot_index);
                self.snapshot(record, snapshot_index, snapshot_term, snapshot_state)
            }
            TraceEvent::SnapshotInstalled { index, term, state } => {
                *self.last.of(record.node) = Some(index);
                self.snapshot(record, index, term, state)
            }
            TraceEvent::SnapshotMade { index, term, state } => self.snapshot(record, index, term, state),
            _ => Ok(()),
        }
    }

    fn seen(&self) -> String {
        format!("{} applied entries gave the same states on every node", self.applied)
    }
}

impl StateMachineSafety {
    fn snapshot(&mut self, record: &TraceRecord, index: u64, term: u64, state: u64) -> Result<(), Violation> {
        if index == 0 {
            return Ok(());
        }
        self.compare(
            record,
            index,
            Known { term, state, entry: None, request: None, first: Sighting::of(record) },
        )
    }

    fn compare(&mut self, record: &TraceRecord, index: u64, now: Known) -> Result<(), Violation> {
        let Some(known) = self.states.get_mut(index) else {
            self.states.insert(index, now);
            return Ok(());
        };
        let (shape, what, before, after) = if known.term != now.term {
            ("terms-differ", "the entry's term is", known.term.to_string(), now.term.to_string())
        } else if known.entry.is_some() && now.entry.is_some() && known.entry != now.entry {
            ("entries-differ", "the entry has the checksum", hex(known.entry), hex(now.entry))
        } else if known.request.is_some() && now.request.is_some() && known.request != now.request {
            (
                if is_told_apart_by_duplicate(known.request, now.request) {
                    "duplicates-differ"
                } else {
                    "requests-differ"
                },
                "(session, sequence, duplicate) is",
                format!("{:?}", known.request.unwrap_or_default()),
                format!("{:?}", now.request.unwrap_or_default()),
            )
        } else if known.state != now.state {
            (
                of_states(record, known),
                "the state has the checksum",
                hex(Some(known.state)),
                hex(Some(now.state)),
            )
        } else {
            known.entry = known.entry.or(now.entry);
            known.request = known.request.or(now.request);
            return Ok(());
        };
        let reason = format!(
            "at index {index} {what} {before} on {}, and {after} on {} at {}",
            known.first.words(),
            node_name(record.node),
            seconds(record.time_ns)
        );
        Err(Violation::new(
            record,
            shape,
            reason,
            json!({"index": index, "first": known.first.data(), "before": before, "after": after}),
        ))
    }
}

/// Whether one node took for a retry what another took for new.
fn is_told_apart_by_duplicate(one: Option<(u64, u64, bool)>, other: Option<(u64, u64, bool)>) -> bool {
    matches!((one, other), (Some((a, b, _)), Some((c, d, _))) if (a, b) == (c, d))
}

/// In a word, how a node came to another state at an index than the one known.
fn of_states(record: &TraceRecord, known: &Known) -> &'static str {
    match record.event {
        TraceEvent::Started { .. } => "snapshot-differs-at-restart",
        TraceEvent::SnapshotInstalled { .. } => "snapshot-differs-when-installed",
        TraceEvent::SnapshotMade { .. } => "snapshot-differs-when-made",
        // The state of a snapshot was seen before the entry was applied.
        _ if known.request.is_none() => "snapshot-differs",
        _ => "states-differ",
    }
}

fn hex(checksum: Option<u64>) -> String {
    format!("{:016x}", checksum.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use crate::{Check, Verdict, testing::*};

    #[test]
    fn another_state_term_entry_or_request_fires() {
        for (events, word, shape) in [
            (vec![(1, applied(1, 1, 5)), (2, applied(1, 1, 6))], "state", "states-differ"),
            (vec![(1, applied(1, 1, 5)), (2, applied(1, 2, 5))], "term", "terms-differ"),
            (
                vec![(1, applied(1, 1, 5)), (2, installed(1, 1, 6))],
                "state",
                "snapshot-differs-when-installed",
            ),
            (
                vec![
                    (1, appended(1, 1, 3)),
                    (2, appended(1, 1, 4)),
                    (1, applied(1, 1, 5)),
                    (2, applied(1, 1, 5)),
                ],
                "entry",
                "entries-differ",
            ),
            (vec![(1, operated(1, 7, 1)), (2, operated(1, 7, 2))], "sequence", "requests-differ"),
            (vec![(1, appended(1, 1, 3)), (1, applied(1, 2, 5))], "its log holds", "not-as-logged"),
            (vec![(1, applied(1, 1, 5)), (1, applied(3, 1, 5))], "one by one", "entry-skipped"),
        ] {
            let judgement = judge_trace(Check::StateMachineSafety, events);
            assert_eq!(judgement.verdict, Verdict::Invalid, "{word}");
            assert!(judgement.reason.contains(word), "{}", judgement.reason);
            assert_eq!(judgement.shape.as_deref(), Some(shape));
        }
    }

    #[test]
    fn the_same_states_at_different_times_are_silent() {
        let events = vec![
            (1, applied(1, 1, 5)),
            (1, applied(2, 1, 6)),
            (2, installed(2, 1, 6)),
            (3, applied(1, 1, 5)),
            (3, started(1, None, 2)),
            (3, applied(1, 1, 5)),
            (3, applied(2, 1, 6)),
        ];
        assert_eq!(judge_trace(Check::StateMachineSafety, events).verdict, Verdict::Valid);
    }
}
