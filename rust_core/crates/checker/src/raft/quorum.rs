//! Who decides: the voters of a configuration, or of both while it is joint (Ongaro's dissertation §4.3). Learners
//! never count (§4.2.1).

use mcp_chaos_evidence::{NodeId, TraceEvent, node_name};
use serde_json::{Value, json};

/// The voters of a configuration as a node applied it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Voters {
    voters: Box<[NodeId]>,
    /// While joint, those of the configuration that is being left.
    outgoing: Box<[NodeId]>,
}

impl Voters {
    /// What a record tells of its node's configuration.
    pub(super) fn told_by(event: &TraceEvent) -> Option<Voters> {
        match event {
            TraceEvent::Initialized { voters, .. } => {
                Some(Voters { voters: voters[..].into(), outgoing: Box::default() })
            }
            TraceEvent::ConfigChanged { voters, voters_outgoing, .. } => {
                Some(Voters { voters: voters[..].into(), outgoing: voters_outgoing[..].into() })
            }
            _ => None,
        }
    }

    /// Everyone who has a say.
    pub(super) fn ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.voters.iter().chain(&*self.outgoing).copied()
    }

    /// Whether these are a majority, of each half.
    pub(super) fn are_won(&self, is_for: impl Fn(NodeId) -> bool) -> bool {
        let won = |half: &[NodeId]| 2 * half.iter().filter(|id| is_for(**id)).count() > half.len();
        won(&self.voters) && (self.outgoing.is_empty() || won(&self.outgoing))
    }

    /// `n1, n2, n3`, or both halves.
    pub(super) fn words(&self) -> String {
        let list = |ids: &[NodeId]| crate::words::nodes(ids.iter().copied());
        if self.outgoing.is_empty() {
            list(&self.voters)
        } else {
            format!("{} on the way from {}", list(&self.voters), list(&self.outgoing))
        }
    }

    pub(super) fn data(&self) -> Value {
        let names = |ids: &[NodeId]| ids.iter().map(|id| node_name(*id)).collect::<Vec<_>>();
        json!({"voters": names(&self.voters), "voters_outgoing": names(&self.outgoing)})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_joint_configuration_needs_both_majorities() {
        let joint = Voters { voters: [1, 2, 4].into(), outgoing: [1, 2, 3].into() };
        let won = |ids: &[NodeId]| joint.are_won(|id| ids.contains(&id));
        assert!(won(&[1, 2]) && won(&[1, 3, 4]));
        assert!(!won(&[1, 4]) && !won(&[2, 3]) && !won(&[3, 4, 5]));
    }
}
