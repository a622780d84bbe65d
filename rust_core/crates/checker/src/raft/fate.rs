//! What became of a committed entry that a node does not hold, or holds another in its place: the question is
//! which of the rules that keep it was broken (Ongaro's dissertation §3.6.3 proves that no one can break it
//! while all hold).

use super::{
    facts::{Facts, Held},
    log::{Entry, differing_at},
};

/// Entries that went from a node's log.
#[derive(Debug)]
pub(super) struct Loss {
    /// The record that told.
    pub record: u64,
    /// In a word, how they went.
    pub how: &'static str,
    pub from: u64,
    pub to: u64,
    /// Where they differed from what was told first.
    pub differing: Box<[(u64, Entry)]>,
}

/// In a word, how an entry that was committed at `index` came to be missing: by the first record of the trace
/// that tells.
pub(super) fn of(facts: &Facts, index: u64, committed: Entry) -> &'static str {
    let first_commit = facts.first_commit(index, committed);
    let lost = facts.losses().iter().find(|loss| {
        (loss.from..=loss.to).contains(&index)
            && differing_at(&loss.differing, index).or_else(|| facts.told_first(index)) == Some(committed)
            // To remove what is not committed is no fault.
            && (loss.how != "truncated" || first_commit.is_some_and(|(record, _)| record < loss.record))
    });
    let rewritten = facts
        .of_term(index, committed.term)
        .filter(|seen| seen.checksum != committed.checksum && seen.rewritten > 0)
        .map(|seen| seen.rewritten)
        .min();
    match (lost, rewritten, first_commit) {
        (Some(loss), Some(record), _) if record < loss.record => "entry-changed-at-restart",
        (Some(loss), _, _) => loss.how,
        (None, Some(_), _) => "entry-changed-at-restart",
        (None, None, Some((_, Held::ByTooFew))) => "committed-without-quorum",
        _ => "elected-without-it",
    }
}

#[cfg(test)]
mod tests {
    use mcp_chaos_evidence::{NodeId, TraceEvent, TraceRecord};

    use super::*;
    use crate::testing::*;

    fn of(traces: &[TraceRecord], index: u64, committed: Entry) -> &'static str {
        let mut facts = Facts::default();
        for record in traces {
            let slot = facts.slot(record.node).unwrap();
            facts.take_in(slot, record);
        }
        super::of(&facts, index, committed)
    }

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
