//! What became of a committed entry that a node does not hold, or holds another in its place: the question is
//! which of the rules that keep it was broken (Ongaro's dissertation §3.6.3 proves that no one can break it
//! while all hold).

use std::collections::BTreeSet;

use mcp_chaos_evidence::{TraceEvent, TraceRecord};

use super::log::{Entry, NodeLogs};

/// In a word, how an entry that was committed at `index` came to be missing.
pub(super) fn of(traces: &[TraceRecord], index: u64, committed: Entry) -> &'static str {
    let mut logs = NodeLogs::default();
    // Who ever had it on disk, whether it was reported as committed by then, how many voters there are.
    let mut holders = BTreeSet::new();
    let (mut holders_at_commit, mut voters) = (None, 0);
    for record in traces {
        let log = logs.of(record.node);
        let held = log.get(index) == Some(committed);
        match &record.event {
            TraceEvent::Initialized { voters: ids, .. } | TraceEvent::ConfigChanged { voters: ids, .. } => {
                voters = ids.len();
            }
            TraceEvent::Started { snapshot_index, last_index, .. } if held => {
                if *snapshot_index == 0 && *last_index == 0 {
                    return "came-up-empty";
                }
                if *last_index < index && *snapshot_index < index {
                    return "forgotten-at-restart";
                }
            }
            TraceEvent::Truncated { from } if held && *from <= index && holders_at_commit.is_some() => {
                return "truncated";
            }
            TraceEvent::SnapshotInstalled { index: up_to, .. } if held && *up_to < index => {
                return "hidden-by-older-snapshot";
            }
            TraceEvent::Appended { index: at, term, checksum } if *at == index => {
                let entry = Entry { term: *term, checksum: *checksum };
                if entry == committed {
                    holders.insert(record.node);
                } else if log.held_before(index, committed.term) && entry.term == committed.term {
                    return "entry-changed-at-restart";
                }
            }
            TraceEvent::Committed { index: up_to } if held && *up_to >= index => {
                holders_at_commit.get_or_insert(holders.len());
            }
            _ => {}
        }
        log.take_in(&record.event);
    }
    match holders_at_commit {
        Some(count) if 2 * count <= voters => "committed-without-quorum",
        _ => "elected-without-it",
    }
}

#[cfg(test)]
mod tests {
    use mcp_chaos_evidence::NodeId;

    use super::*;
    use crate::testing::*;

    const LOST: Entry = Entry { term: 1, checksum: 8 };

    /// Index 2 is on the disks of n1 and n2, and n1 knows it as committed; then this happens.
    fn after(more: Vec<(NodeId, TraceEvent)>) -> &'static str {
        let voters = TraceEvent::Initialized { cluster: "c".into(), voters: vec![1, 2, 3] };
        let mut run = vec![(1, voters)];
        for node in [2, 1] {
            run.extend([(node, started(1, None, 0)), (node, appended(1, 1, 7)), (node, appended(2, 1, 8))]);
        }
        run.push((1, committed(2)));
        of(&trace(run.into_iter().chain(more)), 2, LOST)
    }

    #[test]
    fn the_rule_that_was_broken_is_told() {
        for (more, word) in [
            (vec![(2, started(0, None, 0))], "came-up-empty"),
            (vec![(2, started(1, None, 1))], "forgotten-at-restart"),
            (
                vec![(2, started(1, None, 2)), (2, appended(1, 1, 7)), (2, appended(2, 1, 9))],
                "entry-changed-at-restart",
            ),
            (vec![(2, TraceEvent::Truncated { from: 2 })], "truncated"),
            (vec![(2, installed(1, 1, 0))], "hidden-by-older-snapshot"),
            (vec![(3, leads(2))], "elected-without-it"),
        ] {
            assert_eq!(after(more), word);
        }
    }

    #[test]
    fn an_entry_that_too_few_had_was_committed_too_early() {
        let voters = TraceEvent::Initialized { cluster: "c".into(), voters: vec![1, 2, 3] };
        let run = [(1, voters), (1, appended(1, 1, 7)), (1, appended(2, 1, 8)), (1, committed(2))];
        assert_eq!(of(&trace(run), 2, LOST), "committed-without-quorum");
    }
}
