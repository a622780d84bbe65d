//! Becoming a member, changing who is one, and being one no more.

use mcp_chaos_consensus::{Event, Joining, MembershipChange, Message, join};

use super::errors::MAX_CLUSTER_BYTES;
use super::pending::Stage;
use super::recovery::restore;
use super::{Node, Output, unavailable};
use crate::command::{Request, Response};

impl Node {
    /// Whether it votes or listens in the cluster, as far as it knows. A node that was removed knows nothing of
    /// what came later, and answers nobody.
    pub fn is_member(&self) -> bool {
        self.founded && self.replica.is_member()
    }

    /// Why a request is turned away at the door.
    pub(super) fn turned_away(&self, request: &Request) -> Option<Response> {
        if !self.founded {
            let reason = if self.joining.is_some() {
                "this node waits to be made a member: add it through the leader"
            } else {
                "this node belongs to no cluster yet: found one first"
            };
            return Some(unavailable(reason));
        }
        let about_others = !matches!(request, Request::SnapshotNow);
        (about_others && !self.replica.is_member())
            .then(|| Response::NotMember { leader: self.replica.leader() })
    }

    /// The node has an empty directory, and is told to wait for a leader that makes it a member.
    pub(super) fn begin_to_join(&mut self, cluster: String) -> Response {
        if self.founded {
            return if self.machine.cluster() == cluster {
                Response::Accepted
            } else {
                let ours = self.machine.cluster();
                unavailable(&format!("this node already belongs to cluster {ours:?}"))
            };
        }
        if cluster.is_empty() || cluster.len() > MAX_CLUSTER_BYTES || cluster.chars().any(char::is_control) {
            return unavailable(&super::InitError::BadCluster.to_string());
        }
        match &self.joining {
            Some(first) if *first != cluster => unavailable(&format!("this node waits to join {first:?}")),
            _ => {
                self.joining = Some(cluster);
                Response::Accepted
            }
        }
    }

    /// Whether it ever was made a member, or founded as one.
    pub fn is_founded(&self) -> bool {
        self.founded
    }

    /// Whether it is empty and waits to be made a member.
    pub fn is_joining(&self) -> bool {
        self.joining.is_some()
    }

    /// A message reaches a node with an empty directory.
    pub(super) fn receive_empty(&mut self, message: Message, out: &mut Vec<Output>) {
        let Some(cluster) = &self.joining else { return };
        let from = message.from;
        match join(self.options.id, message) {
            Joining::Answer(answer) => out.push(Output::Send(answer)),
            // Another cluster's, or damaged: nothing of it is kept, and the leader will send another.
            Joining::Found(snapshot) if restore(&snapshot.data, cluster).is_err() => return,
            Joining::Found(snapshot) => {
                self.stopped = true;
                out.push(Output::Found { cluster: cluster.clone(), snapshot });
            }
            Joining::Ignore => return,
        }
        *self.received.entry(from).or_default() += 1;
    }

    pub(super) fn change_membership(&mut self, ticket: u64, change: MembershipChange, out: &mut Vec<Output>) {
        if self.admit(ticket, Stage::Proposing, out) {
            self.step(Event::ChangeMembership { ticket, change }, out);
        }
    }
}
