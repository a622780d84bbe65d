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
    log::{Entry, NodeLog},
};
use crate::{Check, table::Table, words::seconds};

/// An entry known as committed, by the first report.
#[derive(Clone, Copy)]
struct Committed {
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
    /// What stood above.
    tail: Vec<Entry>,
}

#[derive(Default)]
struct Node {
    /// Up to here the node's log was found equal to the table of committed entries.
    verified: u64,
    /// The commit index last reported in this boot.
    commit: u64,
}

#[derive(Default)]
pub(super) struct LeaderCompleteness {
    committed: Table<Committed>,
    /// The greatest index known as committed in each term.
    reach: BTreeMap<u64, u64>,
    leaders: BTreeMap<u64, Leader>,
    nodes: PerNode<Node>,
}

impl Property for LeaderCompleteness {
    const CHECK: Check = Check::LeaderCompleteness;

    fn observe(&mut self, record: &TraceRecord, log: &NodeLog) -> Result<(), Violation> {
        match record.event {
            TraceEvent::Started { snapshot_index, .. } => {
                *self.nodes.of(record.node) = Node { verified: snapshot_index, commit: snapshot_index };
            }
            TraceEvent::SnapshotInstalled { index, .. } => {
                *self.nodes.of(record.node) = Node { verified: index, commit: index };
            }
            TraceEvent::Truncated { from: index } | TraceEvent::Appended { index, .. } => {
                let node = self.nodes.of(record.node);
                node.verified = node.verified.min(index.saturating_sub(1));
            }
            TraceEvent::RoleChanged { role: Role::Leader, term, .. } => {
                return self.elected(record, term, log);
            }
            TraceEvent::Committed { index } => return self.committed(record, index, log),
            _ => {}
        }
        Ok(())
    }

    fn seen(&self) -> String {
        format!("{} leaders held what was committed before their terms", self.leaders.len())
    }
}

impl LeaderCompleteness {
    fn elected(&mut self, record: &TraceRecord, term: u64, log: &NodeLog) -> Result<(), Violation> {
        if self.leaders.contains_key(&term) {
            return Ok(());
        }
        let required = self.reach.range(..term).map(|(_, index)| *index).max().unwrap_or(0);
        let node = self.nodes.of(record.node);
        let mut verified = node.verified.max(log.base());
        while verified < required {
            let index = verified + 1;
            if let Some(committed) = self.committed.get(index)
                && log.get(index) != Some(committed.entry)
            {
                return Err(violation(record, Sighting::of(record), term, index, log.get(index), *committed));
            }
            verified = index;
        }
        node.verified = verified;
        let tail = log.above(verified.min(log.last())).to_vec();
        self.leaders
            .insert(term, Leader { sighting: Sighting::of(record), base: log.base(), verified, tail });
        Ok(())
    }

    fn committed(&mut self, record: &TraceRecord, index: u64, log: &NodeLog) -> Result<(), Violation> {
        let node = self.nodes.of(record.node);
        let from = node.commit.max(log.base()).saturating_add(1);
        node.commit = node.commit.max(index);
        let term = log.term();
        let reach = self.reach.entry(term).or_insert(0);
        *reach = (*reach).max(index.min(log.last()));
        let later_leaders = self.leaders.last_key_value().is_some_and(|(last, _)| *last > term);
        for index in from..=index.min(log.last()) {
            let Some(entry) = log.get(index) else { continue };
            let now = Committed { entry, by: Sighting::of(record) };
            let known = match self.committed.get(index) {
                Some(known) => *known,
                None => {
                    self.committed.insert(index, now);
                    now
                }
            };
            if !later_leaders {
                continue;
            }
            for (&leader_term, leader) in self.leaders.range(term + 1..) {
                let held = if index <= leader.base {
                    continue;
                } else if index <= leader.verified {
                    Some(known.entry)
                } else {
                    leader.tail.get((index - leader.verified - 1) as usize).copied()
                };
                if held != Some(entry) {
                    return Err(violation(record, leader.sighting, leader_term, index, held, now));
                }
            }
        }
        Ok(())
    }
}

#[cold]
fn violation(
    record: &TraceRecord,
    leader: Sighting,
    term: u64,
    index: u64,
    held: Option<Entry>,
    committed: Committed,
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
