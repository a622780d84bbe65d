//! Committed entries stand for ever: an index committed on some node with some entry is never committed with
//! another, anywhere, and never leaves the log of a node that knew it as committed, except into a snapshot
//! (Ongaro's dissertation, §3.5: a leader only ever appends, a follower removes only what conflicts with the
//! leader; §3.6.2: what is committed is in every later leader's log, so it never conflicts; §3.8: the log is
//! durable before it counts).

use mcp_chaos_evidence::{TraceEvent, TraceRecord, node_name};
use serde_json::json;

use super::{
    How, PerNode, Property, Sighting, Violation,
    log::{Entry, NodeLog},
};
use crate::{Check, table::Table, words::seconds};

#[derive(Default)]
struct Node {
    /// The greatest index that the node ever reported as committed.
    ever: u64,
    /// Up to here its committed entries were compared, in this boot.
    compared: u64,
}

#[derive(Default)]
pub(super) struct CommittedNeverChanges {
    committed: Table<(Entry, Sighting)>,
    nodes: PerNode<Node>,
    greatest: u64,
}

impl Property for CommittedNeverChanges {
    const CHECK: Check = Check::CommittedNeverChanges;

    fn observe(&mut self, record: &TraceRecord, log: &NodeLog) -> Result<(), Violation> {
        let node = self.nodes.of(record.node);
        let lost = |shape: &'static str, what: String, ever: u64| {
            let reason = format!(
                "{} {what} at {}, but had reported all up to index {ever} as committed",
                node_name(record.node),
                seconds(record.time_ns)
            );
            Err(Violation::new(record, shape, reason, json!({"committed": ever})))
        };
        match record.event {
            TraceEvent::Started { snapshot_index, last_index, .. } => {
                node.compared = snapshot_index;
                if last_index.max(snapshot_index) < node.ever {
                    return lost(
                        came_up(&record.event),
                        format!("came up with a log that ends at index {last_index}"),
                        node.ever,
                    );
                }
            }
            TraceEvent::Truncated { from } if from <= node.ever => {
                return lost("truncated", format!("removed its entries from index {from} on"), node.ever);
            }
            TraceEvent::SnapshotInstalled { index, .. } => {
                if index < node.ever {
                    return lost(
                        "hidden-by-older-snapshot",
                        format!("replaced its log by a snapshot that ends at index {index}"),
                        node.ever,
                    );
                }
                node.ever = node.ever.max(index);
                node.compared = index;
            }
            TraceEvent::Appended { index, term, checksum } if index <= node.ever => {
                if index <= log.last() && log.last().min(node.ever) > index {
                    return lost(
                        "rewritten",
                        format!("wrote index {index} anew, and so removed what stood above it"),
                        node.ever,
                    );
                }
                let entry = Entry { term, checksum };
                if let Some((committed, by)) = self.committed.get(index)
                    && *committed != entry
                {
                    return Err(conflict(record, index, entry, *committed, *by));
                }
            }
            TraceEvent::Committed { index } => {
                self.greatest = self.greatest.max(index);
                if index > log.last() {
                    let reason = format!(
                        "{} reported index {index} as committed at {}, but its own log ends at {}",
                        node_name(record.node),
                        seconds(record.time_ns),
                        log.last()
                    );
                    return Err(Violation::new(
                        record,
                        "beyond-own-log",
                        reason,
                        json!({"last_index": log.last()}),
                    ));
                }
                for index in node.compared.max(log.base()).saturating_add(1)..=index {
                    let Some(entry) = log.get(index) else { continue };
                    match self.committed.get(index) {
                        None => self.committed.insert(index, (entry, Sighting::of(record))),
                        Some((committed, by)) if *committed != entry => {
                            return Err(conflict(record, index, entry, *committed, *by));
                        }
                        Some(_) => {}
                    }
                }
                node.compared = node.compared.max(index);
                node.ever = node.ever.max(index);
            }
            _ => {}
        }
        Ok(())
    }

    fn seen(&self) -> String {
        format!("what was committed, up to index {}, stayed as it was", self.greatest)
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
fn conflict(record: &TraceRecord, index: u64, entry: Entry, committed: Entry, by: Sighting) -> Violation {
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
