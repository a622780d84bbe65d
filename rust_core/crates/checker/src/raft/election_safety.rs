//! Election safety: at most one leader is elected in a given term (Ongaro's dissertation, §3.2, figure 3.2).

use std::collections::{BTreeMap, BTreeSet};

use mcp_chaos_evidence::{NodeId, Role, TraceEvent, TraceRecord, node_name};
use serde_json::json;

use super::{Property, Sighting, Violation, facts::View, middle};
use crate::{Check, words::seconds};

/// Who led which term. What counts is a node's own word that it leads.
#[derive(Default)]
pub(super) struct ElectionSafety {
    leaders: BTreeMap<u64, Sighting>,
    /// (term, candidate, voter): not judged here, but it tells how a term came to have two leaders.
    votes: BTreeSet<(u64, NodeId, NodeId)>,
    /// How many voters the configuration seen last has.
    voters: usize,
    /// How many terms had a leader.
    terms: u64,
    /// What was known of lower terms is forgotten.
    forgotten_below: u64,
    missed: u64,
}

impl Property for ElectionSafety {
    const CHECK: Check = Check::ElectionSafety;

    #[inline]
    fn observe(&mut self, record: &TraceRecord, _: View) -> Result<(), Violation> {
        let term = match &record.event {
            TraceEvent::RoleChanged { role: Role::Leader, term, .. } => *term,
            TraceEvent::VoteCast { term, candidate } => {
                if *term >= self.forgotten_below {
                    self.votes.insert((*term, *candidate, record.node));
                }
                return Ok(());
            }
            TraceEvent::Initialized { voters, .. } | TraceEvent::ConfigChanged { voters, .. } => {
                self.voters = voters.len();
                return Ok(());
            }
            _ => return Ok(()),
        };
        if term < self.forgotten_below {
            self.missed += 1;
            return Ok(());
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

    fn seen(&self) -> String {
        format!("{} terms had a leader, each one only", self.terms)
    }

    fn missed(&self) -> u64 {
        self.missed
    }

    fn bytes(&self) -> usize {
        self.leaders.len() * 48 + self.votes.len() * 40
    }

    fn forget_terms(&mut self) {
        let Some(below) = middle(self.leaders.keys().chain(self.votes.iter().map(|(term, ..)| term))) else {
            return;
        };
        self.forgotten_below = below;
        self.leaders = self.leaders.split_off(&below);
        self.votes = self.votes.split_off(&(below, 0, 0));
    }
}

impl ElectionSafety {
    /// In a word, how these two came to lead the same term.
    fn shape(&self, term: u64, leaders: [NodeId; 2]) -> &'static str {
        let voted_for = |leader| -> Vec<NodeId> {
            let votes = self.votes.range((term, leader, 0)..=(term, leader, NodeId::MAX));
            votes.map(|(_, _, voter)| *voter).collect()
        };
        let [one, other] = leaders.map(voted_for);
        if one.iter().any(|voter| other.contains(voter)) {
            "voted-twice"
        } else if self.voters > 0 && [one, other].iter().any(|voters| 2 * voters.len() <= self.voters) {
            "elected-without-quorum"
        } else {
            "two-leaders"
        }
    }
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
        assert_eq!(shape(&[(1, 1), (3, 1), (2, 2), (4, 2)]), "two-leaders");
    }

    #[test]
    fn one_leader_for_each_term_is_silent() {
        let judgement =
            judge_trace(Check::ElectionSafety, [(1, leads(1)), (2, leads(2)), (1, leads(1)), (1, leads(3))]);
        assert_eq!(judgement.verdict, Verdict::Valid);
    }
}
