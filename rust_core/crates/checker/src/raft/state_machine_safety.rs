//! State-machine safety: if a server has applied a log entry at a given index, no other server will ever apply
//! a different entry for the same index (Ongaro's dissertation, §3.2, figure 3.2; entries are applied in log
//! order, §3.6.3). State machines are deterministic, so the states after the same index are the same as well,
//! whether they were reached entry by entry or through a snapshot.

use mcp_chaos_evidence::{TraceEvent, TraceRecord, node_name};
use serde_json::json;

use super::{
    PerNode, Property, Violation,
    facts::{Slot, View},
};
use crate::{Check, table::Table, words::seconds};

/// What stands at an index, by the first record that told.
#[derive(Clone, Copy)]
struct Known {
    term: u64,
    state: u64,
    /// Checksum of the entry, if `has_entry`.
    entry: u64,
    /// Of the request, if `has_request`.
    client: u64,
    sequence: u64,
    time_ns: u64,
    by: Slot,
    duplicate: bool,
    /// False under a snapshot, as is `has_request`.
    has_entry: bool,
    has_request: bool,
}

impl Known {
    fn of_entry(&self) -> Option<u64> {
        self.has_entry.then_some(self.entry)
    }

    fn of_request(&self) -> Option<(u64, u64, bool)> {
        self.has_request.then_some((self.client, self.sequence, self.duplicate))
    }
}

#[derive(Default)]
pub(super) struct StateMachineSafety {
    states: Table<Known>,
    /// The index that each node applied last, in its present boot.
    last: PerNode<Option<u64>>,
    applied: u64,
    missed: u64,
}

impl Property for StateMachineSafety {
    const CHECK: Check = Check::StateMachineSafety;

    #[inline]
    fn observe(&mut self, record: &TraceRecord, node: View) -> Result<(), Violation> {
        match record.event {
            TraceEvent::Applied { index, term, state, client, sequence, duplicate } => {
                self.applied += 1;
                let last = self.last.of(node.slot);
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
                let entry = node.get(index);
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
                let now = Known {
                    term,
                    state,
                    entry: entry.map_or(0, |entry| entry.checksum),
                    client,
                    sequence,
                    time_ns: record.time_ns,
                    by: node.slot,
                    duplicate,
                    has_entry: entry.is_some(),
                    has_request: true,
                };
                self.compare(record, node, index, now)
            }
            TraceEvent::Started { snapshot_index, snapshot_term, snapshot_state, .. } => {
                *self.last.of(node.slot) = (snapshot_index > 0).then_some(snapshot_index);
                self.snapshot(record, node, snapshot_index, snapshot_term, snapshot_state)
            }
            TraceEvent::SnapshotInstalled { index, term, state } => {
                *self.last.of(node.slot) = Some(index);
                self.snapshot(record, node, index, term, state)
            }
            TraceEvent::SnapshotMade { index, term, state } => {
                self.snapshot(record, node, index, term, state)
            }
            _ => Ok(()),
        }
    }

    fn seen(&self) -> String {
        format!("{} applied entries gave the same states on every node", self.applied)
    }

    fn missed(&self) -> u64 {
        self.missed
    }

    fn bytes(&self) -> usize {
        self.states.bytes() + self.last.bytes()
    }

    fn end_of_lowest(&self) -> Option<u64> {
        self.states.end_of_lowest()
    }

    fn forget_below(&mut self, index: u64) {
        self.states.forget_below(index);
    }
}

impl StateMachineSafety {
    fn snapshot(
        &mut self,
        record: &TraceRecord,
        node: View,
        index: u64,
        term: u64,
        state: u64,
    ) -> Result<(), Violation> {
        if index == 0 {
            return Ok(());
        }
        let now = Known {
            term,
            state,
            entry: 0,
            client: 0,
            sequence: 0,
            time_ns: record.time_ns,
            by: node.slot,
            duplicate: false,
            has_entry: false,
            has_request: false,
        };
        self.compare(record, node, index, now)
    }

    fn compare(&mut self, record: &TraceRecord, node: View, index: u64, now: Known) -> Result<(), Violation> {
        if index < node.facts.forgotten_below() {
            self.missed += 1;
            return Ok(());
        }
        let Some(known) = self.states.get_mut(index) else {
            self.states.insert(index, now);
            return Ok(());
        };
        let (shape, what, before, after) = if known.term != now.term {
            ("terms-differ", "the entry's term is", known.term.to_string(), now.term.to_string())
        } else if known.has_entry && now.has_entry && known.entry != now.entry {
            ("entries-differ", "the entry has the checksum", hex(known.of_entry()), hex(now.of_entry()))
        } else if known.has_request && now.has_request && known.of_request() != now.of_request() {
            (
                if is_told_apart_by_duplicate(known.of_request(), now.of_request()) {
                    "duplicates-differ"
                } else {
                    "requests-differ"
                },
                "(session, sequence, duplicate) is",
                format!("{:?}", known.of_request().unwrap_or_default()),
                format!("{:?}", now.of_request().unwrap_or_default()),
            )
        } else if known.state != now.state {
            (
                of_states(record, known),
                "the state has the checksum",
                hex(Some(known.state)),
                hex(Some(now.state)),
            )
        } else {
            if !known.has_entry {
                (known.entry, known.has_entry) = (now.entry, now.has_entry);
            }
            if !known.has_request {
                (known.client, known.sequence) = (now.client, now.sequence);
                (known.duplicate, known.has_request) = (now.duplicate, now.has_request);
            }
            return Ok(());
        };
        let first = node.facts.sighting(known.by, known.time_ns);
        let reason = format!(
            "at index {index} {what} {before} on {}, and {after} on {} at {}",
            first.words(),
            node_name(record.node),
            seconds(record.time_ns)
        );
        Err(Violation::new(
            record,
            shape,
            reason,
            json!({"index": index, "first": first.data(), "before": before, "after": after}),
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
        _ if !known.has_request => "snapshot-differs",
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
