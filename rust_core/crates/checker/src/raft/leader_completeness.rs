//! Leader completeness: if a log entry is committed in a given term, then that entry will be present in the
//! logs of the leaders for all higher-numbered terms (Ongaro's dissertation, §3.2, figure 3.2; proof in §3.6).
//!
//! A node that reports a commit index while in term t shows that all entries up to it, as they stand in its
//! own log, were committed in term t or before. So a leader of a term above t must hold them when it is
//! elected. The report may come after the election (the acknowledgements were under way meanwhile), so each
//! leader's tail, the part not known as committed when it was elected, is kept and compared later.

use std::collections::BTreeMap;

use mcp_chaos_evidence::{Role, TraceEvent, TraceRecord, node_name};
use serde_json::json;

use super::{
    How, PerNode, Property, Sighting, Violation,
    facts::{Facts, View},
    log::{Entry, differing_at},
    middle,
};
use crate::{Check, words::seconds};

/// An entry as one node reported it.
#[derive(Clone, Copy)]
struct Report {
    entry: Entry,
    by: Sighting,
}

/// A leader's log as it was at its election.
struct Leader {
    sighting: Sighting,
    /// Up to here its log is hidden in a snapshot.
    base: u64,
    /// Up to here it holds the committed entries of the table.
    verified: u64,
    last: u64,
    /// Where it differed, above `verified`, from what was told first.
    differing: Box<[(u64, Entry)]>,
}

#[derive(Default)]
pub(super) struct LeaderCompleteness {
    /// The greatest index known as committed in a term or before it, where a term raised it.
    reach: BTreeMap<u64, u64>,
    leaders: BTreeMap<u64, Leader>,
    /// The memory of `leaders` beside the map itself.
    leader_bytes: usize,
    /// How many leaders there were.
    terms: u64,
    /// Leaders of lower terms are forgotten.
    forgotten_below: u64,
    /// Up to here each node's log was found equal to the table of committed entries.
    verified: PerNode<u64>,
    missed: u64,
}

impl Property for LeaderCompleteness {
    const CHECK: Check = Check::LeaderCompleteness;

    #[inline]
    fn observe(&mut self, record: &TraceRecord, node: View) -> Result<(), Violation> {
        match record.event {
            TraceEvent::Started { snapshot_index: index, .. }
            | TraceEvent::SnapshotInstalled { index, .. } => *self.verified.of(node.slot) = index,
            TraceEvent::Truncated { from: index } | TraceEvent::Appended { index, .. } => {
                let verified = self.verified.of(node.slot);
                *verified = (*verified).min(index.saturating_sub(1));
            }
            TraceEvent::RoleChanged { role: Role::Leader, term, .. } => {
                return self.elected(record, term, node);
            }
            TraceEvent::Committed { index } => return self.committed(record, index, node),
            _ => {}
        }
        Ok(())
    }

    fn seen(&self) -> String {
        format!("{} leaders held what was committed before their terms", self.terms)
    }

    fn missed(&self) -> u64 {
        self.missed
    }

    fn bytes(&self) -> usize {
        self.leaders.len() * 96 + self.leader_bytes + self.reach.len() * 32 + self.verified.bytes()
    }

    fn forget_terms(&mut self) {
        let Some(below) = middle(self.leaders.keys()) else { return };
        self.forgotten_below = below;
        self.leaders = self.leaders.split_off(&below);
        self.leader_bytes = self.leaders.values().map(|leader| size_of_val(&*leader.differing)).sum();
        // Of the terms before, the last one says what all of them reached.
        let kept = self.reach.split_off(&below);
        let reached = self.reach.pop_last();
        self.reach = kept;
        self.reach.extend(reached);
    }
}

impl LeaderCompleteness {
    fn elected(&mut self, record: &TraceRecord, term: u64, node: View) -> Result<(), Violation> {
        if term < self.forgotten_below {
            self.missed += 1;
            return Ok(());
        }
        if self.leaders.contains_key(&term) {
            return Ok(());
        }
        let required = self.reach.range(..term).next_back().map_or(0, |(_, index)| *index);
        let mut verified = (*self.verified.of(node.slot)).max(node.base());
        if verified < required && verified.saturating_add(1) < node.facts.forgotten_below() {
            self.missed += 1;
        }
        while verified < required {
            let Some(index) = node.facts.committed_from(verified + 1).filter(|index| *index <= required)
            else {
                verified = required;
                break;
            };
            if let Some(committed) = node.facts.committed_at(index)
                && node.get(index) != Some(committed.entry)
            {
                let report = Report { entry: committed.entry, by: committed.by(node.facts) };
                return Err(violation(record, Sighting::of(record), term, index, node.get(index), report));
            }
            verified = index;
        }
        *self.verified.of(node.slot) = verified;
        let differing: Box<[_]> = node.differing_from(verified.saturating_add(1)).into();
        self.leader_bytes += size_of_val(&*differing);
        self.terms += 1;
        self.leaders.insert(
            term,
            Leader {
                sighting: Sighting::of(record),
                base: node.base(),
                verified,
                last: node.last(),
                differing,
            },
        );
        Ok(())
    }

    fn committed(&mut self, record: &TraceRecord, index: u64, node: View) -> Result<(), Violation> {
        let facts = node.facts;
        let term = node.term();
        let (from, to) = (node.uncommitted_from(), index.min(node.last()));
        self.reached(term, to);
        if from <= to && from < facts.forgotten_below() {
            self.missed += 1;
        }
        let has_later_leaders = self.leaders.last_key_value().is_some_and(|(last, _)| *last > term);
        let has_forgotten_leaders = term.saturating_add(1) < self.forgotten_below;
        if !has_later_leaders && !has_forgotten_leaders {
            return Ok(());
        }
        for index in from.max(facts.forgotten_below())..=to {
            let Some(entry) = node.get(index) else { continue };
            let known = facts.committed_at(index);
            // Who led later terms than the entry was known as committed in has been compared with it.
            let before = match known {
                Some(known) if known.entry == entry && known.in_term <= term => continue,
                Some(known) if known.entry == entry => known.in_term,
                _ => u64::MAX,
            };
            self.missed += u64::from(has_forgotten_leaders);
            let of_table = known.map_or(entry, |known| known.entry);
            for (&leader_term, leader) in self.leaders.range(term + 1..=before) {
                let held = if index <= leader.base {
                    continue;
                } else if index <= leader.verified {
                    Some(of_table)
                } else {
                    leader.held(facts, index)
                };
                if held != Some(entry) {
                    let report = Report { entry, by: Sighting::of(record) };
                    return Err(violation(record, leader.sighting, leader_term, index, held, report));
                }
            }
        }
        Ok(())
    }

    /// In this term all up to `index` is known as committed.
    fn reached(&mut self, term: u64, index: u64) {
        if self.reach.range(..=term).next_back().is_some_and(|(_, before)| *before >= index) {
            return;
        }
        while let Some((&later, &reached)) = self.reach.range(term..).next()
            && reached <= index
        {
            self.reach.remove(&later);
        }
        self.reach.insert(term, index);
    }
}

impl Leader {
    /// What stood at an index above `verified`.
    fn held(&self, facts: &Facts, index: u64) -> Option<Entry> {
        if index > self.last {
            return None;
        }
        differing_at(&self.differing, index).or_else(|| facts.told_first(index))
    }
}

#[cold]
fn violation(
    record: &TraceRecord,
    leader: Sighting,
    term: u64,
    index: u64,
    held: Option<Entry>,
    committed: Report,
) -> Violation {
    let instead = match held {
        None => "had nothing there".to_string(),
        Some(entry) => format!("had an entry of term {} there", entry.term),
    };
    let reason = format!(
        "{} became leader of term {term} at {} without the entry at index {index} of term {}, which {} knew as committed in an earlier term: it {instead}",
        node_name(leader.node),
        seconds(leader.time_ns),
        committed.entry.term,
        committed.by.words(),
    );
    let details = json!({
        "leader": leader.data(), "term": term, "index": index,
        "committed": {"term": committed.entry.term, "checksum": format!("{:016x}", committed.entry.checksum), "by": committed.by.data()},
        "held": held.map(|entry| json!({"term": entry.term, "checksum": format!("{:016x}", entry.checksum)})),
    });
    let shape = How::Replaced { index, committed: committed.entry };
    Violation::new(record, shape, reason, details)
}

#[cfg(test)]
mod tests {
    use mcp_chaos_evidence::TraceEvent;

    use crate::{Check, Verdict, testing::*};

    fn judge(events: Vec<(u64, TraceEvent)>) -> crate::Judgement {
        judge_trace(Check::LeaderCompleteness, events)
    }

    #[test]
    fn a_leader_without_a_committed_entry_fires() {
        let judgement = judge(vec![
            (1, leads(1)),
            (1, appended(1, 1, 7)),
            (1, appended(2, 1, 8)),
            (1, committed(2)),
            (2, appended(1, 1, 7)),
            (2, leads(2)),
        ]);
        assert_eq!(judgement.verdict, Verdict::Invalid);
        assert!(
            judgement.reason.contains("n2 became leader of term 2") && judgement.reason.contains("index 2"),
            "{}",
            judgement.reason
        );
    }

    #[test]
    fn a_commit_of_an_older_term_reported_after_the_election_fires() {
        let mut run = vec![
            (1, leads(1)),
            (1, appended(1, 1, 7)),
            (1, appended(2, 1, 8)),
            (2, appended(1, 1, 7)),
            (2, appended(2, 1, 9)),
            (2, leads(2)),
            (2, appended(3, 2, 3)),
            (1, committed(1)),
        ];
        assert_eq!(judge(run.clone()).verdict, Verdict::Valid);
        run.push((1, committed(2)));
        assert_eq!(judge(run).verdict, Verdict::Invalid);
    }

    /// n2's trace begins after it had learned of term 2: its commit was held for one of term 0, which n1 lacked.
    #[test]
    fn a_commit_is_of_no_earlier_term_than_the_entries_that_the_node_took() {
        let judgement = judge(vec![(1, leads(2)), (2, appended(1, 2, 7)), (2, committed(1))]);
        assert_eq!(judgement.verdict, Verdict::Valid, "{}", judgement.reason);
        let judgement = judge(vec![(1, leads(2)), (2, appended(1, 1, 7)), (2, committed(1))]);
        assert_eq!(judgement.verdict, Verdict::Invalid, "{}", judgement.reason);
    }

    #[test]
    fn a_leader_with_the_entry_in_its_log_or_below_its_snapshot_is_silent() {
        let judgement = judge(vec![
            (1, leads(1)),
            (1, appended(1, 1, 7)),
            (1, appended(2, 1, 8)),
            (2, appended(1, 1, 7)),
            (2, appended(2, 1, 8)),
            (3, installed(2, 1, 5)),
            (2, leads(2)),
            (1, committed(2)),
            (3, leads(3)),
            (3, appended(3, 3, 1)),
            (2, committed(2)),
        ]);
        assert_eq!(judgement.verdict, Verdict::Valid, "{}", judgement.reason);
    }
}
