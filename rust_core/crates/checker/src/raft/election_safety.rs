//! Election safety: at most one leader is elected in a given term (Ongaro's dissertation, §3.2, figure 3.2).
//!
//! That rests on who elects it: a majority of the voters in the configuration that the candidate has applied, of both
//! halves while it is joint (§3.4, §4.3). A leader without one breaks the property, even if nobody else leads its
//! term. And it rests on majorities that overlap from one configuration to the next: so a leader proposes a change only
//! once the one before it is committed (§4.1), and an entry of its own term too (Ongaro, "bug in single-server
//! membership changes", raft-dev, 2015); and, as in raft-rs, no node counts by a configuration before it is committed.
//! Changes are compared at the end of the trace, and votes are counted there unless all records are by one clock: so it
//! does not matter how those of nodes interleave. By one clock a vote that is cast later elects nobody.

use std::collections::{BTreeMap, BTreeSet};

use mcp_chaos_evidence::{NodeId, Role, TraceEvent, TraceRecord, node_name};
use serde_json::json;

use super::{
    Property, Sighting, Violation,
    facts::{Facts, View},
    log::Entry,
    middle,
    quorum::Voters,
};
use crate::{Check, words::seconds};

/// Who led which term. What counts is a node's own word that it leads.
#[derive(Default)]
pub(super) struct ElectionSafety {
    leaders: BTreeMap<u64, Sighting>,
    /// (term, candidate, voter).
    votes: BTreeSet<(u64, NodeId, NodeId)>,
    /// Each node's configuration as it applied it last, and the one seen last.
    configurations: BTreeMap<NodeId, Voters>,
    newest: Option<Voters>,
    /// Where changes of the configuration stand in the log, with the record in which one was first applied.
    changes: BTreeMap<u64, (Entry, TraceRecord)>,
    /// Leaders of whose voters no majority had been seen to vote for them when they began, by term, and who had.
    doubtful: BTreeMap<u64, (TraceRecord, Voters, Vec<NodeId>)>,
    /// The term from which on a node's trace tells all its votes: that of its first start. The greatest number if it
    /// tells of a vote or a leader before.
    begun: BTreeMap<NodeId, u64>,
    /// How many terms had a leader.
    terms: u64,
    /// What was known of lower terms is forgotten.
    forgotten_below: u64,
    missed: u64,
}

impl Property for ElectionSafety {
    const CHECK: Check = Check::ElectionSafety;

    #[inline]
    fn observe(&mut self, record: &TraceRecord, node: View) -> Result<(), Violation> {
        let term = match &record.event {
            TraceEvent::RoleChanged { role: Role::Leader, term, .. } => *term,
            TraceEvent::VoteCast { term, candidate } => {
                self.begun.entry(record.node).or_insert(u64::MAX);
                if *term >= self.forgotten_below {
                    self.votes.insert((*term, *candidate, record.node));
                }
                return Ok(());
            }
            TraceEvent::Started { term, vote, .. } => {
                self.begun.entry(record.node).or_insert(*term);
                // A vote may be on disk before the process that cast it could tell: it counts for whoever hears of it.
                if let Some(candidate) = vote
                    && *term >= self.forgotten_below
                {
                    self.votes.insert((*term, *candidate, record.node));
                }
                return Ok(());
            }
            event @ (TraceEvent::Initialized { .. } | TraceEvent::ConfigChanged { .. }) => {
                if matches!(event, TraceEvent::Initialized { .. }) {
                    self.begun.entry(record.node).or_insert(0);
                }
                if let Some(voters) = Voters::told_by(event) {
                    if let TraceEvent::ConfigChanged { index, .. } = event
                        && node.facts.one_clock
                        && node.known()
                        && *index >= node.uncommitted_from()
                    {
                        return Err(counts_too_early(record, *index, &voters));
                    }
                    // A configuration that comes with a snapshot does not stand in the log.
                    if let TraceEvent::ConfigChanged { index, .. } = event
                        && let Some(entry) = node.get(*index)
                    {
                        self.changes.entry(*index).or_insert_with(|| (entry, record.clone()));
                    }
                    self.newest = Some(voters.clone());
                    self.configurations.insert(record.node, voters);
                }
                return Ok(());
            }
            _ => return Ok(()),
        };
        self.begun.entry(record.node).or_insert(u64::MAX);
        if term < self.forgotten_below {
            self.missed += 1;
            return Ok(());
        }
        if let Some(voters) = self.configurations.get(&record.node)
            && !self.is_elected(term, record.node, voters)
        {
            let by_then = self.voters_for(term, record.node);
            self.doubtful.entry(term).or_insert_with(|| (record.clone(), voters.clone(), by_then));
        }
        let first = *self.leaders.entry(term).or_insert_with(|| {
            self.terms += 1;
            Sighting::of(record)
        });
        if first.node == record.node {
            return Ok(());
        }
        let reason = format!(
            "term {term} had two leaders: {}, and {} at {}",
            first.words(),
            node_name(record.node),
            seconds(record.time_ns)
        );
        Err(Violation::new(
            record,
            self.shape(term, [first.node, record.node]),
            reason,
            json!({"term": term, "first": first.data()}),
        ))
    }

    fn end(&self, facts: &Facts) -> Option<Violation> {
        self.doubtful_leader(facts).or_else(|| self.hasty_change(facts))
    }

    fn seen(&self) -> String {
        format!("{} terms had a leader, each one only", self.terms)
    }

    fn missed(&self) -> u64 {
        self.missed
    }

    fn bytes(&self) -> usize {
        self.leaders.len() * 48 + self.votes.len() * 40 + (self.doubtful.len() + self.changes.len()) * 256
    }

    fn forget_terms(&mut self) {
        let Some(below) = middle(self.leaders.keys().chain(self.votes.iter().map(|(term, ..)| term))) else {
            return;
        };
        self.forgotten_below = below;
        self.leaders = self.leaders.split_off(&below);
        self.doubtful = self.doubtful.split_off(&below);
        self.votes = self.votes.split_off(&(below, 0, 0));
    }
}

impl ElectionSafety {
    /// A leader that no majority voted for.
    fn doubtful_leader(&self, facts: &Facts) -> Option<Violation> {
        self.doubtful.iter().find_map(|(term, (record, voters, by_then))| {
            let candidate = record.node;
            // Only where everyone's votes in this term are on record: the candidate's own is, so votes are told, and
            // every voter's trace begins before the term.
            let told = self.votes.contains(&(*term, candidate, candidate))
                && voters
                    .ids()
                    .all(|id| facts.knows(id) && self.begun.get(&id).is_some_and(|begun| begun < term));
            let counted = if facts.one_clock { by_then.clone() } else { self.voters_for(*term, candidate) };
            if !told || voters.are_won(|id| counted.contains(&id)) {
                return None;
            }
            let reason = format!(
                "{} led term {term} from {} on, but no majority of {} had voted for it",
                node_name(candidate),
                seconds(record.time_ns),
                voters.words()
            );
            let mut details = voters.data();
            let for_it = counted.into_iter().map(node_name).collect::<Vec<_>>();
            details["votes"] = json!(for_it);
            details["term"] = json!(term);
            Some(Violation::new(record, "elected-without-quorum", reason, details))
        })
    }

    /// A change that stood in a log before the one before it, or any entry of its leader's term, was committed. Told
    /// only where all is by one clock.
    fn hasty_change(&self, facts: &Facts) -> Option<Violation> {
        let mut last = None;
        self.changes.iter().filter(|_| facts.one_clock).find_map(|(index, (entry, record))| {
            let before = last.replace(*index);
            let own = facts.beginning_of_term(entry.term, *index);
            let appended_ns = facts.appended_ns(*index, *entry)?;
            let is_later = |awaited: &u64| facts.committed_ns(*awaited).is_some_and(|ns| ns > appended_ns);
            let (awaited, what) = if let Some(before) = before.filter(is_later) {
                (before, "the change before it")
            } else {
                (own.filter(is_later)?, "the first entry of its leader's term")
            };
            let reason = format!(
                "a change of the configuration stood at index {index} at {}, but {what}, at index {awaited}, was \
                 committed only at {}",
                seconds(appended_ns),
                seconds(facts.committed_ns(awaited)?)
            );
            let details = json!({"index": index, "awaited": awaited, "term": entry.term});
            Some(Violation::new(record, "change-too-early", reason, details))
        })
    }

    fn voters_for(&self, term: u64, candidate: NodeId) -> Vec<NodeId> {
        let votes = self.votes.range((term, candidate, 0)..=(term, candidate, NodeId::MAX));
        votes.map(|(_, _, voter)| *voter).collect()
    }

    fn is_elected(&self, term: u64, candidate: NodeId, voters: &Voters) -> bool {
        voters.are_won(|id| self.votes.contains(&(term, candidate, id)))
    }

    /// In a word, how these two came to lead the same term.
    fn shape(&self, term: u64, leaders: [NodeId; 2]) -> &'static str {
        let [one, other] = leaders.map(|leader| self.voters_for(term, leader));
        let elected = |leader: &NodeId| {
            let voters = self.configurations.get(leader).or(self.newest.as_ref());
            voters.is_none_or(|voters| self.is_elected(term, *leader, voters))
        };
        if one.iter().any(|voter| other.contains(voter)) {
            "voted-twice"
        } else if !leaders.iter().all(elected) {
            "elected-without-quorum"
        } else {
            "two-leaders"
        }
    }
}

/// A node that counts by a configuration that may yet be taken back.
#[cold]
fn counts_too_early(record: &TraceRecord, index: u64, voters: &Voters) -> Violation {
    let reason = format!(
        "{} counted by the configuration {} at index {index} from {} on, but had not reported it as committed",
        node_name(record.node),
        voters.words(),
        seconds(record.time_ns)
    );
    Violation::new(record, "configuration-too-early", reason, voters.data())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Verdict, testing::*};

    #[test]
    fn two_leaders_in_a_term_fire() {
        let judgement = judge_trace(Check::ElectionSafety, [(1, leads(1)), (2, leads(3)), (1, leads(3))]);
        assert_eq!(judgement.verdict, Verdict::Invalid);
        assert!(
            judgement.reason.contains("term 3 had two leaders: n2 at 0.001 s, and n1"),
            "{}",
            judgement.reason
        );
    }

    #[test]
    fn the_votes_tell_how_it_came_to_that() {
        let voters = || TraceEvent::Initialized { cluster: "c".into(), voters: vec![1, 2, 3] };
        let shape = |votes: &[(u64, u64)]| {
            let votes = votes.iter().map(|(voter, candidate)| (*voter, vote(3, *candidate)));
            let run = [(1, voters())].into_iter().chain(votes).chain([(1, leads(3)), (2, leads(3))]);
            judge_trace(Check::ElectionSafety, run).shape.unwrap()
        };
        assert_eq!(shape(&[(1, 1), (3, 1), (2, 2), (3, 2)]), "voted-twice");
        assert_eq!(shape(&[(1, 1), (3, 1), (2, 2)]), "elected-without-quorum");
        assert_eq!(shape(&[(1, 1), (3, 1), (2, 2), (4, 2)]), "elected-without-quorum", "n4 has no vote");
        // Each by a majority, but of configurations whose majorities need not overlap.
        let split = [(1, voters()), (2, configuration(&[2, 4], &[], &[])), (1, vote(3, 1)), (3, vote(3, 1))];
        let split = split.into_iter().chain([(2, vote(3, 2)), (4, vote(3, 2)), (1, leads(3)), (2, leads(3))]);
        assert_eq!(judge_trace(Check::ElectionSafety, split).shape.unwrap(), "two-leaders");
    }

    fn configuration(voters: &[NodeId], outgoing: &[NodeId], learners: &[NodeId]) -> TraceEvent {
        TraceEvent::ConfigChanged {
            index: 1,
            voters: voters.to_vec(),
            learners: learners.to_vec(),
            voters_outgoing: outgoing.to_vec(),
        }
    }

    /// n1 leads term 3 by these votes.
    fn elected_by(configuration: TraceEvent, votes: &[NodeId]) -> crate::Judgement {
        let mut run: Vec<_> = (1..=5).map(|node| (node, started(1, None, 0))).collect();
        run.push((1, configuration));
        run.extend(votes.iter().map(|voter| (*voter, vote(3, 1))));
        run.push((1, leads(3)));
        judge_trace(Check::ElectionSafety, run)
    }

    #[test]
    fn a_vote_cast_later_elects_nobody_unless_the_clocks_differ() {
        let mut run: Vec<_> = (1..=3).map(|node| (node, started(1, None, 0))).collect();
        run.push((1, configuration(&[1, 2, 3], &[], &[])));
        run.extend([(1, vote(3, 1)), (1, leads(3)), (2, vote(3, 1))]);
        let judgement = judge_trace(Check::ElectionSafety, run.clone());
        assert_eq!(judgement.shape.as_deref(), Some("elected-without-quorum"));
        assert_eq!(judgement.evidence["details"]["votes"], json!(["n1"]));
        let mut stream = crate::RaftStream::new(&[Check::ElectionSafety], 1 << 20);
        for (at, (node, event)) in run.into_iter().enumerate() {
            stream.push(&TraceRecord { time_ns: at as u64, node, boot: 1, event });
        }
        assert_eq!(stream.finish()[0].verdict, Verdict::Valid);
    }

    #[test]
    fn a_leader_needs_a_majority_of_its_own_configuration() {
        let of_three = || configuration(&[1, 2, 3], &[], &[4, 5]);
        assert_eq!(elected_by(of_three(), &[1, 3]).verdict, Verdict::Valid);
        let by_learners = elected_by(of_three(), &[1, 4, 5]);
        assert_eq!(
            (by_learners.verdict, by_learners.shape.as_deref()),
            (Verdict::Invalid, Some("elected-without-quorum"))
        );
        assert!(by_learners.reason.contains("no majority of n1, n2, n3"), "{}", by_learners.reason);
        let joint = || configuration(&[1, 4, 5], &[1, 2, 3], &[]);
        assert_eq!(elected_by(joint(), &[1, 2, 4]).verdict, Verdict::Valid);
        assert_eq!(elected_by(joint(), &[1, 4, 5]).verdict, Verdict::Invalid, "the old majority is missing");
        assert_eq!(elected_by(joint(), &[1, 2, 3]).verdict, Verdict::Invalid, "the new majority is missing");
        assert_eq!(elected_by(of_three(), &[]).verdict, Verdict::Valid, "a trace that tells no votes");
    }

    #[test]
    fn a_configuration_counts_once_it_is_committed() {
        let run = |order: [(NodeId, TraceEvent); 3]| {
            let log = [(1, started(1, None, 0)), (1, appended(1, 1, 1)), (1, committed(1))];
            judge_trace(Check::ElectionSafety, log.into_iter().chain(order))
        };
        let change = || {
            (
                1,
                TraceEvent::ConfigChanged {
                    index: 2,
                    voters: vec![1, 2],
                    learners: vec![],
                    voters_outgoing: vec![],
                },
            )
        };
        let patient = run([(1, appended(2, 1, 2)), (1, committed(2)), change()]);
        assert_eq!(patient.verdict, Verdict::Valid, "{}", patient.reason);
        let hasty = run([(1, appended(2, 1, 2)), change(), (1, committed(2))]);
        assert_eq!(hasty.shape.as_deref(), Some("configuration-too-early"));
    }

    /// n1 leads term 2, and its log holds what it led with at index 2 and changes at 3 and 4.
    fn changes(order: &[(NodeId, TraceEvent)]) -> crate::Judgement {
        let mut run = vec![(1, started(1, None, 0)), (1, appended(1, 1, 1)), (1, leads(2))];
        run.extend(order.iter().cloned());
        judge_trace(Check::ElectionSafety, run)
    }

    #[test]
    fn a_change_waits_for_the_one_before_it_and_for_an_entry_of_its_leaders_term() {
        let change = |index| {
            let event = TraceEvent::ConfigChanged {
                index,
                voters: vec![1],
                learners: (2..=index).collect(),
                voters_outgoing: vec![],
            };
            (1, event)
        };
        let log = |index| (1, appended(index, 2, index));
        let commit = |index| (1, committed(index));
        let patient = [log(2), commit(2), log(3), commit(3), change(3), log(4), commit(4), change(4)];
        let judgement = changes(&patient);
        assert_eq!(judgement.verdict, Verdict::Valid, "{}", judgement.reason);
        for (hasty, what) in [
            (
                [log(2), commit(2), log(3), log(4), commit(3), change(3), commit(4), change(4)],
                "the change before",
            ),
            (
                [log(2), log(3), commit(2), commit(3), change(3), log(4), commit(4), change(4)],
                "its leader's term",
            ),
        ] {
            let judgement = changes(&hasty);
            assert_eq!(judgement.shape.as_deref(), Some("change-too-early"), "{}", judgement.reason);
            assert!(judgement.reason.contains(what), "{}", judgement.reason);
        }
    }

    #[test]
    fn a_vote_that_only_a_restart_tells_of_counts() {
        let run = |told: Option<NodeId>| {
            let mut run: Vec<_> = (1..=3).map(|node| (node, started(1, None, 0))).collect();
            run.push((1, configuration(&[1, 2, 3], &[], &[])));
            run.extend([(1, vote(3, 1)), (2, started(3, told, 0)), (1, leads(3))]);
            judge_trace(Check::ElectionSafety, run).verdict
        };
        assert_eq!(run(Some(1)), Verdict::Valid, "killed once the vote was on disk, and asked again");
        assert_eq!(run(None), Verdict::Invalid);
    }

    #[test]
    fn a_voter_whose_trace_begins_later_may_have_voted() {
        let mut run = vec![(1, started(1, None, 0)), (1, configuration(&[1, 2, 3], &[], &[]))];
        run.extend([(2, appended(1, 3, 7)), (3, appended(1, 3, 7)), (1, vote(3, 1)), (1, leads(3))]);
        assert_eq!(judge_trace(Check::ElectionSafety, run).verdict, Verdict::Valid);
    }

    #[test]
    fn one_leader_for_each_term_is_silent() {
        let judgement =
            judge_trace(Check::ElectionSafety, [(1, leads(1)), (2, leads(2)), (1, leads(1)), (1, leads(3))]);
        assert_eq!(judgement.verdict, Verdict::Valid);
    }
}
