//! Log matching: if two logs contain an entry with the same index and term, then the logs are identical in
//! all entries up through that index (Ongaro's dissertation, §3.2, figure 3.2; the induction is in §3.5).
//!
//! Only one leader creates the entry of a given (index, term), once. So over a whole run, truncated entries
//! included, (index, term) determines the entry and the term of the one before it; and if that holds at every
//! index, then by induction it holds for whole prefixes.

use std::collections::BTreeMap;

use mcp_chaos_evidence::{TraceEvent, TraceRecord, node_name};
use serde_json::json;

use super::{Property, Sighting, Violation, log::NodeLog};
use crate::{Check, table::Table, words::seconds};

#[derive(Clone, Copy)]
struct Known {
    term: u64,
    checksum: u64,
    /// The term of the entry before, where some log showed it.
    previous_term: Option<u64>,
    first: Sighting,
}

/// Every (index, term) seen. Nearly every index has one term only: that one lies in the table.
#[derive(Default)]
pub(super) struct LogMatching {
    usual: Table<Known>,
    others: BTreeMap<(u64, u64), Known>,
    entries: u64,
}

impl Property for LogMatching {
    const CHECK: Check = Check::LogMatching;

    fn observe(&mut self, record: &TraceRecord, log: &NodeLog) -> Result<(), Violation> {
        let TraceEvent::Appended { index, term, checksum } = record.event else { return Ok(()) };
        self.entries += 1;
        let who = node_name(record.node);
        if index > log.last().saturating_add(1) && log.known() {
            let reason = format!(
                "{who} appended index {index} at {} while its log ended at {}: a log has no holes",
                seconds(record.time_ns),
                log.last()
            );
            return Err(Violation::new(record, "hole", reason, json!({"last_index": log.last()})));
        }
        let previous_term =
            index.checked_sub(1).filter(|previous| *previous > 0).and_then(|previous| log.term_at(previous));
        if let Some(previous) = previous_term
            && previous > term
        {
            let reason = format!(
                "{who} appended index {index} of term {term} behind an entry of the later term {previous}: terms never decrease along a log"
            );
            return Err(Violation::new(record, "term-decreases", reason, json!({"previous_term": previous})));
        }
        let now = Known { term, checksum, previous_term, first: Sighting::of(record) };
        let known = match self.usual.get_mut(index) {
            None => {
                self.usual.insert(index, now);
                return Ok(());
            }
            Some(known) if known.term == term => known,
            Some(_) => self.others.entry((index, term)).or_insert(now),
        };
        if known.checksum != checksum {
            let reason = format!(
                "two entries at index {index} of term {term}: {} with checksum {:016x}, {who} at {} with {checksum:016x}",
                known.first.words(),
                known.checksum,
                seconds(record.time_ns)
            );
            let shape =
                if log.held_before(index, term) { "entry-changed-at-restart" } else { "entries-differ" };
            return Err(Violation::new(
                record,
                shape,
                reason,
                json!({"first": known.first.data(), "checksum": format!("{:016x}", known.checksum)}),
            ));
        }
        match (known.previous_term, previous_term) {
            (Some(before), Some(now)) if before != now => {
                let reason = format!(
                    "the entry at index {index} of term {term} stands behind an entry of term {before} on {}, of term {now} on {who} at {}",
                    known.first.words(),
                    seconds(record.time_ns)
                );
                Err(Violation::new(
                    record,
                    "prefixes-differ",
                    reason,
                    json!({"first": known.first.data(), "previous_terms": [before, now]}),
                ))
            }
            (None, Some(_)) => {
                known.previous_term = previous_term;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn seen(&self) -> String {
        format!("{} appended entries agree wherever index and term are the same", self.entries)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Check, Verdict, testing::*};

    fn judge(events: Vec<(u64, mcp_chaos_evidence::TraceEvent)>) -> crate::Judgement {
        judge_trace(Check::LogMatching, events)
    }

    #[test]
    fn another_entry_at_the_same_index_and_term_fires() {
        let judgement = judge(vec![(1, appended(1, 1, 7)), (2, appended(1, 2, 9)), (3, appended(1, 1, 8))]);
        assert_eq!(judgement.verdict, Verdict::Invalid);
        assert!(
            judgement.reason.starts_with("two entries at index 1 of term 1: n1 at 0.000 s"),
            "{}",
            judgement.reason
        );
    }

    #[test]
    fn another_prefix_fires() {
        let judgement = judge(vec![
            (1, appended(1, 1, 7)),
            (1, appended(2, 3, 8)),
            (2, appended(1, 2, 7)),
            (2, appended(2, 3, 8)),
        ]);
        assert_eq!(judgement.verdict, Verdict::Invalid);
        assert!(judgement.reason.contains("of term 1 on n1"), "{}", judgement.reason);
    }

    #[test]
    fn a_hole_or_a_falling_term_fires() {
        assert_eq!(judge(vec![(1, appended(1, 1, 7)), (1, appended(3, 1, 7))]).verdict, Verdict::Invalid);
        assert_eq!(judge(vec![(1, appended(1, 2, 7)), (1, appended(2, 1, 7))]).verdict, Verdict::Invalid);
    }

    #[test]
    fn other_terms_at_the_same_index_and_logs_above_a_snapshot_are_silent() {
        let judgement = judge(vec![
            (1, appended(1, 1, 7)),
            (2, appended(1, 2, 9)),
            (2, appended(2, 2, 10)),
            (1, appended(1, 2, 9)),
            (1, appended(2, 2, 10)),
            (3, installed(1, 2, 0)),
            (3, appended(2, 2, 10)),
        ]);
        assert_eq!(judgement.verdict, Verdict::Valid, "{}", judgement.reason);
    }
}
