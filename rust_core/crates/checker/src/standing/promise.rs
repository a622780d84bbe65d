//! Whether Raft promises progress as the cluster stands.
//!
//! Raft goes on while a majority can talk to each other and to clients (Ongaro's dissertation §2.1), but says little of
//! links that are cut in part. What it promises there, with pre-vote and check-quorum (§9.6, §6.2), was worked out by
//! Howard and Abraham, "Raft does not guarantee liveness in the face of network faults" (2020), after Cloudflare's
//! outage of that year; by Jensen, Howard and Mortier, "Examining Raft's behaviour during partial network failures"
//! (HAOC 2021); and by Ng, Haridi and Carbone, "Omni-Paxos" (EuroSys 2023), whose names are used here:
//!
//! - *Quorum loss.* A leader must hear a majority of the voters that hear it, or it stands down (check-quorum). So
//!   only a node with links **both ways** to a majority, itself included, can lead for long: it is *quorum-connected*.
//!   If there is none, nothing is promised.
//! - *Constrained election.* A candidate needs the votes of a majority whose logs are no newer than its own. If the
//!   quorum-connected nodes all lack what others have, nobody can be elected, and nothing is promised. Among a
//!   majority that is whole in itself the node with the newest log always can.
//! - *Chained scenario.* A node that does not hear the leader, but whom followers of the leader hear, must not unseat
//!   it: pre-vote and the followers' own patience see to that. So a quorum-connected leader stays.
//!
//! Which majority counts is each node's own affair: a candidate, or a leader, goes by the newest configuration that it
//! has applied (raft-rs; in Ongaro's dissertation, §4.1, that it has appended), by both halves of a joint one (§4.3).
//! On its way it comes to the newer ones as well. So *a majority* means here one of each from the node's own
//! configuration to the newest that anybody has shown; who is to answer votes whatever configuration it has itself
//! come to (§4.2.3). If nobody who goes by an old one has its majority any more, the change came too late for them,
//! and nothing is promised. While two majorities decide and both can, progress is promised; and the change must come
//! to its end.
//!
//! Whoever leads must be reachable by clients, both ways; while nobody leads yet that is no question, for somebody must
//! come to. Of nodes and links that are slow or lossy nothing is known: they are not counted on, and while the one who
//! leads is slow or needs them, nothing is promised. A leader whose disk fails, or that has lost its quorum, is no
//! excuse: it must give way.
//!
//! One that was deposed, or has lost its quorum, and is slow in *hearing* (or in whatever nobody knows) may be long in
//! noticing, and sends clients round in a circle until it does: that excuses. A slow disk does not, nor do bad links:
//! to step down after an election timeout without a quorum (§6.2) takes neither.

use std::borrow::Cow;

use mcp_chaos_evidence::NodeId;

use super::{CLIENTS, Cluster, Configuration, Effect, Node};

/// Why nothing is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Excuse {
    /// No node that works has links both ways to a majority.
    NoQuorum,
    /// No quorum-connected node's log is as new as those of a majority around it.
    LogOutOfReach,
    /// Who leads is cut off from the clients.
    ClientsCutOff,
    /// Who leads is slow, or needs links or nodes that are.
    ImpairedLeader,
    /// Who led is slow to notice that it does not any more.
    SlowToGiveWay,
}

impl Excuse {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Excuse::NoQuorum => "no node that works had whole links to a majority",
            Excuse::LogOutOfReach => "nobody with links to a majority had a log as new as theirs",
            Excuse::ClientsCutOff => "the leader was cut off from the clients",
            Excuse::ImpairedLeader => "the leader was slow, or needed nodes or links that were",
            Excuse::SlowToGiveWay => "a slow node was yet to notice that it led no more",
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
        let ids: Vec<NodeId> = self.nodes.iter().map(|node| node.id).collect();
        let links = Links::of(self, &ids);

        // Whoever may still take part, and of these whoever can be relied on.
        let has = |node: &Node, effect| self.fault_on(node.id, effect).is_some();
        let is_able = |node: &Node| self.runs(node) && !has(node, Effect::DiskFails);
        let is_sound =
            |node: &Node| is_able(node) && !has(node, Effect::Impaired) && !has(node, Effect::DiskInDoubt);

        let are_near = |a: &Node, b: &Node, at_worst| a.id == b.id || links.between(a.id, b.id) <= at_worst;
        // Whether a node can lead by what it goes by now, at best.
        let may_lead = |node: &Node| {
            let near = |id| {
                let other = self.node(id);
                other.is_some_and(|other| is_able(other) && are_near(node, other, Quality::Impaired))
            };
            is_able(node) && self.own(node).votes(node.id) && self.own(node).is_quorum(near)
        };
        // Whether it has, in any case, a majority of nodes that are `so`, in whatever configuration it will come to.
        let is_backed = |node: &Node, so: &dyn Fn(&Node) -> bool| {
            let near = |id| {
                let other = self.node(id);
                other.is_some_and(|other| {
                    is_sound(other) && so(other) && are_near(node, other, Quality::Whole)
                })
            };
            is_sound(node)
                && self.own(node).votes(node.id)
                && self.own(node).is_quorum(near)
                && self.newer(node).all(|newer| newer.votes(node.id) && newer.is_quorum(near))
        };
        let is_connected = |node: &Node| is_backed(node, &|_| true);
        let is_electable = |node: &Node| is_backed(node, &|other| other.log() <= node.log());

        if !self.nodes.iter().any(is_connected) {
            return Err(Excuse::NoQuorum);
        }
        let leaders = self.leaders();
        let leads = leaders.iter().rfind(|leader| may_lead(leader));
        let is_it = |node: &Node| leads.is_some_and(|leads| leads.id == node.id);
        if leads.is_some_and(|leader| !is_connected(leader)) {
            return Err(Excuse::ImpairedLeader);
        }
        if leaders.iter().any(|leader| !is_it(leader) && has(leader, Effect::Impaired)) {
            return Err(Excuse::SlowToGiveWay);
        }
        match leads {
            Some(leader) if links.between(CLIENTS, leader.id) == Quality::Whole => Ok(()),
            Some(_) => Err(Excuse::ClientsCutOff),
            None if self.nodes.iter().any(is_electable) => Ok(()),
            None => Err(Excuse::LogOutOfReach),
        }
    }

    /// The configuration that a node goes by; of one that has shown none, the newest.
    fn own<'a>(&self, node: &'a Node) -> Cow<'a, Configuration> {
        match &node.configuration {
            Some((_, own)) => Cow::Borrowed(own),
            None => Cow::Owned(self.newest()),
        }
    }

    /// The configurations that are newer than that.
    fn newer(&self, node: &Node) -> impl Iterator<Item = &Configuration> {
        let own = node.configuration.as_ref().map_or(u64::MAX, |(index, _)| *index);
        self.configurations.range(own.saturating_add(1)..).map(|(_, configuration)| configuration)
    }
}
