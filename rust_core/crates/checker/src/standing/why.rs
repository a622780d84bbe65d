//! What stands in the way of progress, in words: who leads or asks to, who refuses what, and why.
//!
//! Answers to candidates leave no record. But why a voter refuses follows from Raft's rules and from what the voter
//! has shown: it votes for nobody whose log is older than its own (Ongaro's dissertation §3.6.1), for one candidate in
//! a term (§3.4), and for nobody while it hears a leader (§4.2.3, §9.6); and it hears only what its links let through.

use mcp_chaos_evidence::{NodeId, node_name};

use super::{Cluster, Effect, Fault, Node};
use crate::words::{nodes, seconds};

/// So many elections within one stall are no accident.
const MANY_ELECTIONS: usize = 4;

/// What stands in the way.
pub(crate) struct Why {
    /// The same for one cause under any seed.
    pub shape: &'static str,
    pub words: String,
}

impl Cluster {
    /// Why nothing has gone on since a moment, seen from where the cluster stands now.
    pub(crate) fn why(&self, since_ns: u64) -> Why {
        let voters = self.voters();
        let elected: Vec<_> = self.elected.iter().filter(|(time_ns, ..)| *time_ns >= since_ns).collect();
        if let (Some((_, _, first)), Some((_, _, last)), true) =
            (elected.first(), elected.last(), elected.len() >= MANY_ELECTIONS)
        {
            let who: Vec<NodeId> = elected.iter().map(|(_, node, _)| *node).collect();
            let words = format!(
                "leaders changed {} times, in terms {first} to {last} ({}){}",
                elected.len(),
                nodes(who),
                also(self.troubles(&voters))
            );
            return Why { shape: "leaders-change", words };
        }
        match self.leaders().last() {
            Some(leader) => self.why_leader_is_stuck(leader, &voters, since_ns),
            None => self.why_nobody_leads(&voters, since_ns),
        }
    }

    fn why_leader_is_stuck(&self, leader: &Node, voters: &[NodeId], since_ns: u64) -> Why {
        let newest = self.newest();
        let others = || voters.iter().filter(|id| **id != leader.id).filter_map(|id| self.node(*id));
        let answers = |other: &&Node| {
            self.runs(other) && !self.is_cut(leader.id, other.id) && !self.is_cut(other.id, leader.id)
        };
        let answering: Vec<NodeId> =
            others().filter(answers).map(|other| other.id).chain([leader.id]).collect();
        let mut clauses: Vec<String> = others().filter_map(|other| self.grudge(leader, other)).collect();
        let who = format!("{} leads in term {}", node_name(leader.id), leader.term);
        let own = self.fault_of(leader.id).map(|fault| fault_words(leader.id, fault));
        clauses.splice(0..0, own);
        if !newest.is_quorum(|id| answering.contains(&id)) {
            let following = others().filter(|other| self.runs(other) && other.leader == Some(leader.id));
            let following: Vec<NodeId> = following.map(|other| other.id).collect();
            if !following.is_empty() {
                let elects = if following.len() == 1 { "elects" } else { "elect" };
                clauses.push(format!(
                    "{} still {} it and {elects} no other",
                    nodes(following.iter().copied()),
                    if following.len() == 1 { "follows" } else { "follow" }
                ));
            }
            let words = format!(
                "{who} though only {} of {} voters answer it{}",
                voters.iter().filter(|id| answering.contains(id)).count(),
                voters.len(),
                also(clauses)
            );
            return Why { shape: "leader-without-quorum", words };
        }
        if leader.committed_ns >= since_ns && leader.commit > 0 {
            let words = format!(
                "{who} and commits (index {} at {}){}",
                leader.commit,
                seconds(leader.committed_ns),
                also(clauses)
            );
            return Why { shape: "nothing-answered", words };
        }
        let words = format!(
            "{who} but has committed nothing since {} (index {}, while its log ends at {}){}",
            seconds(leader.committed_ns),
            leader.commit,
            leader.last,
            also(clauses)
        );
        Why { shape: "nothing-committed", words }
    }

    /// Why a node does not acknowledge what the leader has; none if it does.
    fn grudge(&self, leader: &Node, other: &Node) -> Option<String> {
        let name = node_name(other.id);
        if let Some(words) = self.absence(other) {
            return Some(words);
        }
        let heard = self.fault_between(leader.id, other.id, Effect::Cut);
        let answers = self.fault_between(other.id, leader.id, Effect::Cut);
        match (heard, answers) {
            (Some(cut), Some(_)) => {
                return Some(format!("{name} is cut off from it since {}", seconds(cut.since_ns)));
            }
            (Some(cut), None) => {
                return Some(format!("{name} does not hear it since {}", seconds(cut.since_ns)));
            }
            (None, Some(cut)) => {
                return Some(format!(
                    "{name} hears it, but its answers are lost since {}",
                    seconds(cut.since_ns)
                ));
            }
            (None, None) => {}
        }
        if other.term > leader.term {
            return Some(format!("{name} is in term {} already", other.term));
        }
        if other.last < leader.last {
            let since = seconds(other.appended_ns);
            let impaired = self
                .fault_of(other.id)
                .or_else(|| self.fault_between(leader.id, other.id, Effect::Impaired))
                .map_or(String::new(), |fault| {
                    format!(" ({} since {})", fault.kind, seconds(fault.since_ns))
                });
            return Some(format!(
                "{name}{impaired} hears it, but ends at index {}, and has appended nothing since {since}",
                other.last
            ));
        }
        None
    }

    fn why_nobody_leads(&self, voters: &[NodeId], since_ns: u64) -> Why {
        let terms_of = |node: &Node| {
            let asked = node.asked.iter().filter(|(time_ns, _)| *time_ns >= since_ns).map(|(_, term)| *term);
            asked.clone().min().zip(asked.max())
        };
        let known = || voters.iter().filter_map(|id| self.node(*id));
        // Of those who ask, the one who should win: the newest log among those who run.
        let asker =
            known().filter(|node| self.runs(node) && terms_of(node).is_some()).max_by_key(|node| node.log());
        let Some(asker) = asker else {
            let absent: Vec<String> = known().filter_map(|node| self.absence(node)).collect();
            let quiet: Vec<NodeId> =
                known().filter(|node| self.absence(node).is_none()).map(|node| node.id).collect();
            let words = match quiet.as_slice() {
                [] => format!("nobody leads{}", also(absent)),
                [one] => format!("nobody leads, and {} does not ask to{}", node_name(*one), also(absent)),
                several => format!(
                    "nobody leads, and none of {} asks to{}",
                    nodes(several.iter().copied()),
                    also(absent)
                ),
            };
            return Why { shape: "no-leader", words };
        };
        let (first, last) = terms_of(asker).unwrap_or((asker.term, asker.term));
        let terms = if first == last { format!("term {first}") } else { format!("terms {first} to {last}") };
        let clauses: Vec<String> =
            known().filter(|voter| voter.id != asker.id).map(|voter| self.refusal(asker, voter)).collect();
        let words = format!("nobody leads: {} asks to in {terms}{}", node_name(asker.id), also(clauses));
        Why { shape: "no-leader", words }
    }

    /// Why a voter does not help a node to be elected.
    fn refusal(&self, asker: &Node, voter: &Node) -> String {
        let name = node_name(voter.id);
        if let Some(words) = self.absence(voter) {
            return words;
        }
        let asked = self.fault_between(asker.id, voter.id, Effect::Cut);
        let answers = self.fault_between(voter.id, asker.id, Effect::Cut);
        match (asked, answers) {
            (Some(cut), Some(_)) => {
                return format!("{name} is cut off from it since {}", seconds(cut.since_ns));
            }
            (Some(cut), None) => return format!("{name} does not hear it since {}", seconds(cut.since_ns)),
            (None, Some(cut)) => {
                return format!("{name}'s answers to it are lost since {}", seconds(cut.since_ns));
            }
            (None, None) => {}
        }
        let (term, last) = voter.log();
        let (own_term, own_last) = asker.log();
        if (term, last) > (own_term, own_last) {
            return format!(
                "{name} refuses: its log is newer (term {term}, index {last} against term {own_term}, index {own_last})"
            );
        }
        match voter.leader {
            Some(leader) if leader != voter.id => {
                return format!("{name} refuses: it follows {}", node_name(leader));
            }
            _ => {}
        }
        let (voted_in, candidate) = voter.vote;
        if candidate != 0
            && candidate != asker.id
            && candidate != voter.id
            && voted_in >= asker.term
            && voted_in > 0
        {
            return format!("{name} has voted for {} in term {voted_in}", node_name(candidate));
        }
        match self.fault_of(voter.id).or_else(|| self.fault_between(voter.id, asker.id, Effect::Impaired)) {
            Some(fault) => format!("{name} may vote ({} since {})", fault.kind, seconds(fault.since_ns)),
            None => format!("{name} could vote for it"),
        }
    }

    /// Why a node takes no part at all.
    fn absence(&self, node: &Node) -> Option<String> {
        if self.lost.contains(&node.id) {
            return Some(format!("{} is lost for good", node_name(node.id)));
        }
        let gone =
            [Effect::Dead, Effect::Paused].into_iter().find_map(|effect| self.fault_on(node.id, effect));
        if let Some(fault) = gone {
            return Some(fault_words(node.id, fault));
        }
        let (time_ns, reason) = node.ended.as_ref().filter(|_| !node.up)?;
        let failing = self.fault_on(node.id, Effect::DiskFails).map(|fault| fault_words(node.id, fault));
        Some(failing.map_or_else(
            || format!("{} ended at {} ({reason})", node_name(node.id), seconds(*time_ns)),
            |words| format!("{words}, and it stopped at {}", seconds(*time_ns)),
        ))
    }

    /// The fault on a node that works all the same, more or less.
    fn fault_of(&self, id: NodeId) -> Option<&Fault> {
        [Effect::DiskFails, Effect::Impaired, Effect::DiskInDoubt]
            .into_iter()
            .find_map(|effect| self.fault_on(id, effect))
    }

    fn troubles(&self, voters: &[NodeId]) -> Vec<String> {
        let known = voters.iter().filter_map(|id| self.node(*id));
        known
            .filter_map(|node| {
                let fault = self.fault_of(node.id).map(|fault| fault_words(node.id, fault));
                self.absence(node).or(fault)
            })
            .collect()
    }
}

/// `n1 is dead since 4.200 s`.
fn fault_words(id: NodeId, fault: &Fault) -> String {
    let (name, since) = (node_name(id), seconds(fault.since_ns));
    match (fault.effect, fault.kind.as_str()) {
        (Effect::Dead, "power_off") => format!("{name} has no power since {since}"),
        (Effect::Dead, _) => format!("{name} is dead since {since}"),
        (Effect::Paused, _) => format!("{name} is paused since {since}"),
        (Effect::DiskFails, "full_disk") => format!("{name}'s disk is full since {since}"),
        (Effect::DiskFails, _) => format!("{name}'s disk fails since {since}"),
        (_, "clock_drift") => format!("{name}'s clock drifts since {since}"),
        (_, "slow_node") => format!("{name} is slow since {since}"),
        (_, "slow_disk" | "slow_sync") => format!("{name}'s disk is slow since {since}"),
        (_, kind) => format!("{name} is under {kind} since {since}"),
    }
}

/// `: one; another`, or nothing.
fn also(clauses: Vec<String>) -> String {
    if clauses.is_empty() { String::new() } else { format!(": {}", clauses.join("; ")) }
}
