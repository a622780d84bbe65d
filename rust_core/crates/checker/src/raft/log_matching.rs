//! Log matching: if two logs contain an entry with the same index and term, then the logs are identical in
//! all entries up through that index (Ongaro's dissertation, §3.2, figure 3.2; the induction is in §3.5).
//!
//! Only one leader creates the entry of a given (index, term), once. So over a whole run, truncated entries
//! included, (index, term) determines the entry and the term of the one before it; and if that holds at every
//! index, then by induction it holds for whole prefixes.

use mcp_chaos_evidence::{TraceEvent, TraceRecord, node_name};
use serde_json::json;

use super::{Property, Violation, facts::View};
use crate::{Check, words::seconds};

#[derive(Default)]
pub(super) struct LogMatching {
    entries: u64,
    missed: u64,
}

impl Property for LogMatching {
    const CHECK: Check = Check::LogMatching;

    #[inline]
    fn observe(&mut self, record: &TraceRecord, node: View) -> Result<(), Violation> {
        let TraceEvent::Appended { index, term, checksum } = record.event else { return Ok(()) };
        self.entries += 1;
        if index > node.last().saturating_add(1) && node.known() {
            return Err(hole(record, index, node.last()));
        }
        let previous_term = node.previous_term(index);
        if let Some(previous) = previous_term
            && previous > term
        {
            return Err(term_decreases(record, index, term, previous));
        }
        if index < node.facts.forgotten_below() {
            self.missed += 1;
            return Ok(());
        }
        let Some((seen, first)) = node.seen(index, term) else { return Ok(()) };
        if seen.checksum != checksum {
            let reason = format!(
                "two entries at index {index} of term {term}: {} with checksum {:016x}, {} at {} with {checksum:016x}",
                first.words(),
                seen.checksum,
                node_name(record.node),
                seconds(record.time_ns)
            );
            let shape =
                if node.held_before(index, term) { "entry-changed-at-restart" } else { "entries-differ" };
            return Err(Violation::new(
                record,
                shape,
                reason,
                json!({"first": first.data(), "checksum": format!("{:016x}", seen.checksum)}),
            ));
        }
        match (seen.previous_term, previous_term) {
            (Some(before), Some(now)) if before.get() != now => {
                let before = before.get();
                let reason = format!(
                    "the entry at index {index} of term {term} stands behind an entry of term {before} on {}, of term {now} on {} at {}",
                    first.words(),
                    node_name(record.node),
                    seconds(record.time_ns)
                );
                Err(Violation::new(
                    record,
                    "prefixes-differ",
                    reason,
                    json!({"first": first.data(), "previous_terms": [before, now]}),
                ))
            }
            _ => Ok(()),
        }
    }

    fn seen(&self) -> String {
        format!("{} appended entries agree wherever index and term are the same", self.entries)
    }

    fn missed(&self) -> u64 {
        self.missed
    }
}

#[cold]
fn hole(record: &TraceRecord, index: u64, last: u64) -> Violation {
    let reason = format!(
        "{} appended index {index} at {} while its log ended at {last}: a log has no holes",
        node_name(record.node),
        seconds(record.time_ns),
    );
    Violation::new(record, "hole", reason, json!({"last_index": last}))
}

#[cold]
fn term_decreases(record: &TraceRecord, index: u64, term: u64, previous: u64) -> Violation {
    let reason = format!(
        "{} appended index {index} of term {term} behind an entry of the later term {previous}: terms never decrease along a log",
        node_name(record.node)
    );
    Violation::new(record, "term-decreases", reason, json!({"previous_term": previous}))
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
