//! Whether Raft promises progress as the cluster stands.
//!
//! Raft goes on while a majority can talk to each other and to clients (Ongaro's dissertation §2.1), but says little of
//! links that are cut in part. What it promises there, with pre-vote and check-quorum (§9.6, §6.2), was worked out by
//! Howard and Abraham, "Raft does not guarantee liveness in the face of network faults" (2020), after Cloudflare's
//! outage of that year; by Jensen, Howard and Mortier, "Examining Raft's behaviour during partial network failures"
//! (HAOC 2021); and by Ng, Haridi and Carbone, "Omni-Paxos" (EuroSys 2023), whose names are used here:
//!
//! - *Quorum loss.* A leader must hear a majority of the voters that hear it, or it stands down (check-quorum). So
//!   only a node with links **both ways** to a majority, itself included, can lead for long: call it *quorum-connected*.
//!   If there is none, nothing is promised.
//! - *Constrained election.* A candidate needs the votes of a majority whose logs are no newer than its own. If the
//!   quorum-connected nodes all lack what others have, nobody can be elected, and nothing is promised. Among a
//!   majority that is whole in itself the node with the newest log always can.
//! - *Chained scenario.* A node that does not hear the leader, but whom followers of the leader hear, must not unseat
//!   it: pre-vote and the followers' own patience see to that. So a quorum-connected leader stays.
//!
//! Whoever leads must be reachable by clients, both ways. Of nodes and links that are slow or lossy nothing is known:
//! they are not counted on, and while somebody leads who is slow or needs them, nothing is promised (a slow leader
//! that was deposed is long in noticing, and sends clients round in a circle until it does). A leader whose disk fails,
//! or that has lost its quorum, is no excuse: it must give way.

use mcp_chaos_evidence::NodeId;

use super::{CLIENTS, Cluster, Effect, Node};

/// Why nothing is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Excuse {
    /// No node that works has links both ways to a majority.
    NoQuorum,
    /// No quorum-connected node's log is as new as those of a majority around it.
    LogOutOfReach,
    /// Who leads, or may come to, is cut off from the clients.
    ClientsCutOff,
    /// The voters are being changed, and two majorities decide.
    JointVoters,
    /// Who leads is slow, or needs links or nodes that are.
    ImpairedLeader,
}

impl Excuse {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Excuse::NoQuorum => "no node that works had whole links to a majority",
            Excuse::LogOutOfReach => "nobody with links to a majority had a log as new as theirs",
            Excuse::ClientsCutOff => "a node that led, or could, was cut off from the clients",
            Excuse::JointVoters => "the voters were being changed",
            Excuse::ImpairedLeader => "the leader was slow, or needed nodes or links that were",
        }
    }
}

/// How a link is, from one end to the other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Quality {
    Whole,
    Impaired,
    Cut,
}

/// All links between the clients and some nodes.
struct Links {
    ends: Vec<NodeId>,
    qualities: Vec<Quality>,
}

impl Links {
    fn of(cluster: &Cluster, nodes: &[NodeId]) -> Links {
        let ends: Vec<NodeId> = std::iter::once(CLIENTS).chain(nodes.iter().copied()).collect();
        let mut links = Links { qualities: vec![Quality::Whole; ends.len() * ends.len()], ends };
        for fault in &cluster.faults {
            let quality = match fault.effect {
                Effect::Cut => Quality::Cut,
                Effect::Harmless => continue,
                _ => Quality::Impaired,
            };
            for (from, to) in &fault.links {
                if let Some(at) = links.position(*from, *to) {
                    links.qualities[at] = links.qualities[at].max(quality);
                }
            }
        }
        links
    }

    fn position(&self, from: NodeId, to: NodeId) -> Option<usize> {
        let end = |wanted| self.ends.iter().position(|end| *end == wanted);
        Some(end(from)? * self.ends.len() + end(to)?)
    }

    /// The worse of the two directions.
    fn between(&self, a: NodeId, b: NodeId) -> Quality {
        let one_way = |from, to| self.position(from, to).map_or(Quality::Whole, |at| self.qualities[at]);
        one_way(a, b).max(one_way(b, a))
    }
}

impl Cluster {
    /// Whether Raft promises that clients make progress if all stays as it is.
    pub(crate) fn promise(&self) -> Result<(), Excuse> {
        if self.is_joint() {
            return Err(Excuse::JointVoters);
        }
        let voters = self.voters();
        let quorum = voters.len() / 2 + 1;
        let links = Links::of(self, &voters);
        let known: Vec<&Node> = voters.iter().filter_map(|id| self.node(*id)).collect();
        let agreed = |node: &Node| node.voters.as_ref().is_none_or(|(_, own)| same(own, &voters));

        // Whoever may still take part, and of these whoever can be relied on.
        let able: Vec<&Node> = known
            .iter()
            .copied()
            .filter(|node| self.runs(node) && self.fault_on(node.id, Effect::DiskFails).is_none())
            .collect();
        let sound: Vec<&Node> = able
            .iter()
            .copied()
            .filter(|node| agreed(node) && self.fault_on(node.id, Effect::Impaired).is_none())
            .collect();
        let around = |node: &Node, among: &[&Node], at_worst: Quality| {
            let near = |other: &&&Node| other.id == node.id || links.between(node.id, other.id) <= at_worst;
            among.iter().filter(near).filter(|other| other.log() <= node.log()).count()
        };
        let peers = |node: &Node, among: &[&Node], at_worst: Quality| {
            let near = |other: &&&Node| other.id == node.id || links.between(node.id, other.id) <= at_worst;
            among.iter().filter(near).count()
        };
        let is_among = |node: &Node, among: &[&Node]| among.iter().any(|other| other.id == node.id);
        let is_connected =
            |node: &Node| is_among(node, &sound) && peers(node, &sound, Quality::Whole) >= quorum;
        let may_lead = |node: &Node| is_among(node, &able) && peers(node, &able, Quality::Impaired) >= quorum;
        let serves = |node: &Node| links.between(CLIENTS, node.id) == Quality::Whole;

        if !sound.iter().any(|node| is_connected(node)) {
            return Err(Excuse::NoQuorum);
        }
        let leaders = self.leaders();
        // A slow one that ought to give way may take its time, and mislead clients until then.
        let is_slow = |leader: &&Node| self.fault_on(leader.id, Effect::Impaired).is_some();
        if leaders.iter().any(is_slow) {
            return Err(Excuse::ImpairedLeader);
        }
        let lasting: Vec<&&Node> = leaders.iter().filter(|leader| may_lead(leader)).collect();
        if lasting.iter().any(|leader| !is_connected(leader)) {
            return Err(Excuse::ImpairedLeader);
        }
        if !lasting.is_empty() {
            let all_serve = lasting.iter().all(|leader| serves(leader));
            return if all_serve { Ok(()) } else { Err(Excuse::ClientsCutOff) };
        }
        let electable = |node: &&&Node| is_connected(node) && around(node, &sound, Quality::Whole) >= quorum;
        if !sound.iter().any(|node| electable(&node)) {
            return Err(Excuse::LogOutOfReach);
        }
        if able.iter().any(|node| may_lead(node) && !serves(node)) {
            return Err(Excuse::ClientsCutOff);
        }
        Ok(())
    }
}

fn same(a: &[NodeId], sorted: &[NodeId]) -> bool {
    a.len() == sorted.len() && a.iter().all(|id| sorted.contains(id))
}
