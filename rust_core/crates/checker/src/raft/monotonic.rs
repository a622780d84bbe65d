//! What never goes back: the term, and the vote within it, over a node's whole life, since both are durable
//! before they count (Ongaro's dissertation, §3.3, figure 3.1, §3.8; one vote a term: §3.4); the commit and
//! applied index within a boot, and applied never exceeds commit (§3.6.3, figure 3.1: both increase
//! monotonically).

use mcp_chaos_evidence::{NodeId, TraceEvent, TraceRecord, node_name};
use serde_json::json;

use super::{PerNode, Property, Violation, facts::View};
use crate::{Check, words::seconds};

#[derive(Default)]
struct Node {
    boot: u64,
    term: u64,
    /// For whom it voted in `term`.
    vote: Option<NodeId>,
    /// The last term in which it voted.
    voted_in: u64,
    commit: u64,
    applied: u64,
    /// False until the trace shows where commit and applied stand: it may begin in the middle.
    placed: bool,
}

#[derive(Default)]
pub(super) struct Monotonic {
    nodes: PerNode<Node>,
    records: u64,
}

impl Property for Monotonic {
    const CHECK: Check = Check::Monotonic;

    #[inline]
    fn observe(&mut self, record: &TraceRecord, view: View) -> Result<(), Violation> {
        self.records += 1;
        let node = self.nodes.of(view.slot);
        let back = |shape, what: &str, from: u64, to: u64| {
            Err(fault(record, shape, format!("'s {what} went back from {from} to {to}")))
        };
        if record.boot < node.boot {
            return back("boot-went-back", "boot number", node.boot, record.boot);
        }
        node.boot = record.boot;
        match record.event {
            TraceEvent::Started { term, .. }
            | TraceEvent::RoleChanged { term, .. }
            | TraceEvent::VoteCast { term, .. } => {
                if term < node.term {
                    let shape = match record.event {
                        TraceEvent::Started { .. } => forgotten(record, node),
                        _ => "term-went-back",
                    };
                    return back(shape, "term", node.term, term);
                }
                if term > node.term {
                    node.term = term;
                    node.vote = None;
                }
            }
            _ => {}
        }
        match record.event {
            TraceEvent::Started { term, vote, snapshot_index, .. } => {
                if let Some(candidate) = node.vote
                    && vote != node.vote
                {
                    let now = vote.map_or("nobody".to_string(), node_name);
                    return Err(fault(
                        record,
                        forgotten(record, node),
                        format!(
                            " came up with a vote for {now} in term {term}, after it had voted for {}",
                            node_name(candidate)
                        ),
                    ));
                }
                node.vote = vote;
                if vote.is_some() {
                    node.voted_in = node.term;
                }
                node.commit = snapshot_index;
                node.applied = snapshot_index;
                node.placed = true;
            }
            TraceEvent::VoteCast { term, candidate } => {
                if let Some(first) = node.vote
                    && first != candidate
                {
                    return Err(fault(
                        record,
                        "voted-twice",
                        format!(
                            " voted twice in term {term}: for {} and for {}",
                            node_name(first),
                            node_name(candidate)
                        ),
                    ));
                }
                node.vote = Some(candidate);
                node.voted_in = term;
            }
            TraceEvent::Committed { index } => {
                if index < node.commit {
                    return back("commit-went-back", "commit index", node.commit, index);
                }
                node.commit = index;
            }
            TraceEvent::SnapshotInstalled { index, .. } => {
                if index < node.applied {
                    return back("applied-went-back", "applied index", node.applied, index);
                }
                node.commit = node.commit.max(index);
                node.applied = index;
                node.placed = true;
            }
            TraceEvent::SnapshotMade { index, .. } if !node.placed || node.applied == 0 => {
                // Founding writes a snapshot before anything is applied.
                node.commit = node.commit.max(index);
                node.applied = node.applied.max(index);
                node.placed = true;
            }
            TraceEvent::Applied { index, .. } => {
                if node.placed && index <= node.applied {
                    return back("applied-went-back", "applied index", node.applied, index);
                }
                if node.placed && index > node.commit {
                    return Err(fault(
                        record,
                        "applied-beyond-commit",
                        format!(" applied index {index}, but knew only up to {} as committed", node.commit),
                    ));
                }
                node.applied = index;
                node.commit = node.commit.max(index);
                node.placed = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn seen(&self) -> String {
        format!("no term, vote, commit or applied index went back in {} records", self.records)
    }

    fn bytes(&self) -> usize {
        self.nodes.bytes()
    }
}

/// In a word, what a node that came up with an older term or another vote than it had reported had forgotten.
fn forgotten(record: &TraceRecord, node: &Node) -> &'static str {
    match record.event {
        // Even a founded node's empty log begins at the founding snapshot.
        TraceEvent::Started { term: 0, snapshot_index: 0, last_index: 0, .. } => "came-up-empty",
        // It may have gone on to later terms since, without a vote in them.
        TraceEvent::Started { term, .. } if node.voted_in > term || node.voted_in == node.term => {
            "vote-forgotten"
        }
        _ => "term-forgotten",
    }
}

#[cold]
fn fault(record: &TraceRecord, shape: &'static str, what: String) -> Violation {
    let reason = format!("{}{what}, at {}", node_name(record.node), seconds(record.time_ns));
    Violation::new(record, shape, reason, json!({}))
}

#[cfg(test)]
mod tests {
    use mcp_chaos_evidence::Role;

    use crate::{Check, Verdict, testing::*};

    #[test]
    fn whatever_goes_back_fires() {
        for (events, word, shape) in [
            (
                vec![(1, started(3, None, 0)), (1, role(Role::Follower, 2))],
                "term went back from 3 to 2",
                "term-went-back",
            ),
            (vec![(1, vote(3, 1)), (1, started(2, None, 0))], "term went back", "vote-forgotten"),
            (vec![(1, vote(3, 1)), (1, vote(3, 2))], "voted twice in term 3", "voted-twice"),
            (vec![(1, vote(3, 1)), (1, started(3, None, 0))], "vote for nobody", "vote-forgotten"),
            (vec![(1, vote(3, 1)), (1, started(3, Some(2), 0))], "vote for n2", "vote-forgotten"),
            (vec![(1, committed(5)), (1, committed(4))], "commit index went back", "commit-went-back"),
            (
                vec![(1, started(1, None, 2)), (1, committed(1)), (1, applied(2, 1, 0))],
                "knew only up to 1",
                "applied-beyond-commit",
            ),
            (
                vec![
                    (1, started(1, None, 2)),
                    (1, committed(1)),
                    (1, applied(1, 1, 0)),
                    (1, applied(1, 1, 0)),
                ],
                "applied index",
                "applied-went-back",
            ),
            (
                vec![(1, started(1, None, 0)), (1, installed(5, 1, 0)), (1, installed(4, 1, 0))],
                "applied index",
                "applied-went-back",
            ),
            (vec![(1, started(3, None, 0)), (1, started(2, None, 0))], "term went back", "term-forgotten"),
            (
                vec![(1, vote(3, 1)), (1, role(Role::Follower, 4)), (1, started(2, None, 0))],
                "from 4 to 2",
                "vote-forgotten",
            ),
            (
                vec![(1, vote(3, 1)), (1, role(Role::Follower, 4)), (1, started(3, Some(1), 0))],
                "from 4 to 3",
                "term-forgotten",
            ),
            (vec![(1, vote(3, 1)), (1, started(0, None, 0))], "term went back", "came-up-empty"),
        ] {
            let judgement = judge_trace(Check::Monotonic, events);
            assert_eq!(judgement.verdict, Verdict::Invalid, "{word}");
            assert!(judgement.reason.contains(word), "{}", judgement.reason);
            assert_eq!(judgement.shape.as_deref(), Some(shape));
        }
    }

    #[test]
    fn a_restart_may_take_commit_and_applied_back() {
        let events = vec![
            (1, started(0, None, 0)),
            (1, vote(1, 2)),
            (1, vote(1, 2)),
            (1, role(Role::Follower, 1)),
            (1, committed(2)),
            (1, applied(1, 1, 0)),
            (1, applied(2, 1, 0)),
            (1, started(1, Some(2), 2)),
            (1, committed(1)),
            (1, applied(1, 1, 0)),
            (1, started(4, Some(1), 2)),
            (1, installed(9, 4, 0)),
            (1, committed(10)),
            (1, applied(10, 4, 0)),
        ];
        let judgement = judge_trace(Check::Monotonic, events);
        assert_eq!(judgement.verdict, Verdict::Valid, "{}", judgement.reason);
    }
}
