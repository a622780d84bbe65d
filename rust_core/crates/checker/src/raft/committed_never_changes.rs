//! Committed entries stand for ever: an index committed on some node with some entry is never committed with
//! another, anywhere, and never leaves the log of a node that knew it as committed, except into a snapshot
//! (Ongaro's dissertation, §3.5: a leader only ever appends, a follower removes only what conflicts with the
//! leader; §3.6.2: what is committed is in every later leader's log, so it never conflicts; §3.8: the log is
//! durable before it counts).
//!
//! That rests on when an entry is committed: once a majority has it on disk, of the leader's configuration, or of
//! both halves while it is joint (§3.5, §4.3). A leader that reports an entry of its own term earlier breaks the
//! property, whether or not the entry is lost in the end.

use mcp_chaos_evidence::{TraceEvent, TraceRecord, node_name};
use serde_json::json;

use super::{
    How, PerNode, Property, Violation,
    facts::{Committed, View},
    log::Entry,
};
use crate::{Check, words::seconds};

#[derive(Default)]
pub(super) struct CommittedNeverChanges {
    /// The greatest index that each node ever reported as committed.
    ever: PerNode<u64>,
    greatest: u64,
    missed: u64,
}

impl Property for CommittedNeverChanges {
    const CHECK: Check = Check::CommittedNeverChanges;

    #[inline]
    fn observe(&mut self, record: &TraceRecord, node: View) -> Result<(), Violation> {
        let ever = self.ever.of(node.slot);
        let forgotten_below = node.facts.forgotten_below();
        let lost = |shape: &'static str, what: String, ever: u64| {
            let reason = format!(
                "{} {what} at {}, but had reported all up to index {ever} as committed",
                node_name(record.node),
                seconds(record.time_ns)
            );
            Err(Violation::new(record, shape, reason, json!({"committed": ever})))
        };
        match record.event {
            TraceEvent::Started { snapshot_index, last_index, .. }
                if last_index.max(snapshot_index) < *ever =>
            {
                return lost(
                    came_up(&record.event),
                    format!("came up with a log that ends at index {last_index}"),
                    *ever,
                );
            }
            TraceEvent::Truncated { from } if from <= *ever => {
                return lost("truncated", format!("removed its entries from index {from} on"), *ever);
            }
            TraceEvent::SnapshotInstalled { index, .. } => {
                if index < *ever {
                    return lost(
                        "hidden-by-older-snapshot",
                        format!("replaced its log by a snapshot that ends at index {index}"),
                        *ever,
                    );
                }
                *ever = (*ever).max(index);
            }
            TraceEvent::Appended { index, term, checksum } if index <= *ever => {
                if index <= node.last() && node.last().min(*ever) > index {
                    return lost(
                        "rewritten",
                        format!("wrote index {index} anew, and so removed what stood above it"),
                        *ever,
                    );
                }
                let entry = Entry { term, checksum };
                if index < forgotten_below {
                    self.missed += 1;
                } else if let Some(committed) = node.facts.committed_at(index)
                    && committed.entry != entry
                {
                    return Err(conflict(record, node, index, entry, committed));
                }
            }
            TraceEvent::Committed { index } => {
                self.greatest = self.greatest.max(index);
                if index > node.last() {
                    let reason = format!(
                        "{} reported index {index} as committed at {}, but its own log ends at {}",
                        node_name(record.node),
                        seconds(record.time_ns),
                        node.last()
                    );
                    return Err(Violation::new(
                        record,
                        "beyond-own-log",
                        reason,
                        json!({"last_index": node.last()}),
                    ));
                }
                let from = node.uncommitted_from();
                if from < forgotten_below && from <= index {
                    self.missed += 1;
                }
                for index in from.max(forgotten_below)..=index {
                    if let Some(committed) = node.facts.committed_at(index)
                        && let Some(entry) = node.get(index)
                        && committed.entry != entry
                    {
                        return Err(conflict(record, node, index, entry, committed));
                    }
                }
                if index > *ever
                    && let Some(voters) = node.commits_alone(index)
                {
                    let reason = format!(
                        "{} reported index {index} as committed at {}, but no majority of {} had it on disk",
                        node_name(record.node),
                        seconds(record.time_ns),
                        voters.words()
                    );
                    return Err(Violation::new(record, "committed-without-quorum", reason, voters.data()));
                }
                *ever = (*ever).max(index);
            }
            _ => {}
        }
        Ok(())
    }

    fn seen(&self) -> String {
        format!("what was committed, up to index {}, stayed as it was", self.greatest)
    }

    fn missed(&self) -> u64 {
        self.missed
    }

    fn bytes(&self) -> usize {
        self.ever.bytes()
    }
}

/// In a word, how a node came up with less than it had.
fn came_up(event: &TraceEvent) -> &'static str {
    match event {
        TraceEvent::Started { snapshot_index: 0, last_index: 0, .. } => "came-up-empty",
        _ => "forgotten-at-restart",
    }
}

#[cold]
fn conflict(record: &TraceRecord, node: View, index: u64, entry: Entry, committed: &Committed) -> Violation {
    let (committed, by) = (committed.entry, committed.by(node.facts));
    let reason = format!(
        "index {index} was committed with the entry {:016x} of term {} on {}, and holds the entry {:016x} of term {} on {} at {}",
        committed.checksum,
        committed.term,
        by.words(),
        entry.checksum,
        entry.term,
        node_name(record.node),
        seconds(record.time_ns)
    );
    Violation::new(
        record,
        How::Replaced { index, committed },
        reason,
        json!({"index": index, "first": by.data(), "terms": [committed.term, entry.term]}),
    )
}

#[cfg(test)]
mod tests {
    use mcp_chaos_evidence::TraceEvent;

    use crate::{Check, Verdict, testing::*};

    fn base() -> Vec<(u64, TraceEvent)> {
        vec![(1, appended(1, 1, 7)), (1, appended(2, 1, 8)), (1, committed(2)), (1, appended(3, 1, 9))]
    }

    #[test]
    fn a_committed_entry_that_changes_or_goes_fires() {
        for (more, word, shape) in [
            (vec![(1, TraceEvent::Truncated { from: 2 })], "removed its entries", "truncated"),
            (vec![(1, appended(1, 1, 7))], "anew", "rewritten"),
            (vec![(1, started(1, None, 1))], "came up", "forgotten-at-restart"),
            (vec![(1, installed(1, 1, 0))], "snapshot", "hidden-by-older-snapshot"),
            (vec![(1, committed(4))], "its own log ends at 3", "beyond-own-log"),
            (
                vec![(2, appended(1, 1, 7)), (2, appended(2, 2, 8)), (2, committed(2))],
                "index 2 was committed",
                "elected-without-it",
            ),
            (
                vec![(1, started(1, None, 2)), (1, appended(1, 1, 6))],
                "index 1 was committed",
                "entry-changed-at-restart",
            ),
        ] {
            let judgement = judge_trace(Check::CommittedNeverChanges, base().into_iter().chain(more));
            assert_eq!(judgement.verdict, Verdict::Invalid, "{word}");
            assert!(judgement.reason.contains(word), "{}", judgement.reason);
            assert_eq!(judgement.shape.as_deref(), Some(shape));
        }
    }

    #[test]
    fn an_uncommitted_entry_may_go_and_a_log_may_come_back() {
        let more = vec![
            (1, TraceEvent::Truncated { from: 3 }),
            (1, appended(3, 2, 5)),
            (1, committed(3)),
            (1, started(2, None, 3)),
            (1, appended(1, 1, 7)),
            (1, appended(2, 1, 8)),
            (1, appended(3, 2, 5)),
            (1, committed(2)),
            (2, installed(3, 2, 0)),
        ];
        let judgement = judge_trace(Check::CommittedNeverChanges, base().into_iter().chain(more));
        assert_eq!(judgement.verdict, Verdict::Valid, "{}", judgement.reason);
    }
}
