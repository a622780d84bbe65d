//! Changes of the membership, and when a leader may propose one.
//!
//! One change at a time (Ongaro's dissertation §4.1), proposed only once an entry of the leader's own term is
//! committed: without the second rule two changes that each keep their majorities overlapping can together leave two
//! that do not (Ongaro, "bug in single-server membership changes", raft-dev, 2015). A change takes effect when it is
//! applied, as in raft-rs, and outlives restarts. A new member listens first, and votes only once it has nearly all of
//! the log (§4.2.1). Where two voters change places, both old and new majority decide until the change is over (§4.3).

use mcp_chaos_evidence::{NodeId, node_name};

use crate::types::Configuration;

/// A learner that lags by more entries than this is not made a voter.
pub const MAX_BEHIND_ENTRIES: u64 = 64;

/// A change of the membership, as an administrator asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MembershipChange {
    /// A new node listens.
    AddLearner(NodeId),
    /// A learner votes from now on.
    Promote(NodeId),
    /// A member is none any more.
    Remove(NodeId),
    /// A learner takes a voter's place, in one joint change.
    Replace {
        /// The voter, which is no member afterwards.
        old: NodeId,
        /// The learner.
        new: NodeId,
    },
}

/// Why a leader does not propose a change. Certainly no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefused {
    /// An earlier change is not over.
    #[error("another change of the membership is under way; try again once it is over")]
    UnderWay,
    /// The leader is new.
    #[error("this leader has not committed an entry of its own term yet; try again")]
    NewLeader,
    /// Already so.
    #[error("{} is a member already", node_name(*.0))]
    Member(NodeId),
    /// Nobody of this name.
    #[error("{} is no member", node_name(*.0))]
    NotMember(NodeId),
    /// Learners are added first.
    #[error("{} is no learner: add it as one first", node_name(*.0))]
    NotLearner(NodeId),
    /// Only voters are replaced.
    #[error("{} is no voter: only a voter can be replaced", node_name(*.0))]
    NotVoter(NodeId),
    /// It was a member once.
    #[error("{} was a member and was removed: a node comes back only empty, and under a new name", node_name(*.0))]
    Removed(NodeId),
    /// Nobody would be left to vote.
    #[error("{} is the last voter", node_name(*.0))]
    LastVoter(NodeId),
    /// The learner has too little of the log.
    #[error("{} lags {entries} entries behind: a learner votes once it has caught up", node_name(*.node))]
    Behind {
        /// The learner.
        node: NodeId,
        /// By how much.
        entries: u64,
    },
    /// The learner may be dead.
    #[error("the leader has not heard of {} lately: only a node that is up is made a voter", node_name(*.0))]
    Silent(NodeId),
}

impl ChangeRefused {
    /// Whether the same request may be taken later, with nothing done but to wait.
    pub fn is_passing(self) -> bool {
        use ChangeRefused::{Behind, NewLeader, Silent, UnderWay};
        matches!(self, UnderWay | NewLeader | Behind { .. } | Silent(_))
    }
}

/// What a leader knows of a member.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known {
    /// Up to which index it has acknowledged this leader's log, 0 if it never did: an empty directory lags behind the
    /// shortest log.
    pub(crate) matched: u64,
    /// It was heard of since the leader last asked itself whether a majority follows it, or it is too soon to say.
    pub(crate) is_heard: bool,
}

/// Whether the change makes sense in this configuration, which is not joint.
pub(crate) fn judge(
    change: MembershipChange,
    configuration: &Configuration,
    last_index: u64,
    known: impl Fn(NodeId) -> Known,
) -> Result<(), ChangeRefused> {
    let is_learner = |id| configuration.learners.contains(&id);
    let caught_up = |node| {
        let Known { matched, is_heard } = known(node);
        let entries = last_index.saturating_sub(matched);
        if matched == 0 || entries > MAX_BEHIND_ENTRIES {
            Err(ChangeRefused::Behind { node, entries })
        } else if !is_heard {
            Err(ChangeRefused::Silent(node))
        } else {
            Ok(())
        }
    };
    match change {
        MembershipChange::AddLearner(id) if configuration.removed.contains(&id) => {
            Err(ChangeRefused::Removed(id))
        }
        MembershipChange::AddLearner(id) if configuration.is_member(id) => Err(ChangeRefused::Member(id)),
        MembershipChange::AddLearner(_) => Ok(()),
        MembershipChange::Promote(id) if configuration.is_voter(id) => Err(ChangeRefused::Member(id)),
        MembershipChange::Promote(id) if !is_learner(id) => Err(ChangeRefused::NotLearner(id)),
        MembershipChange::Promote(id) => caught_up(id),
        MembershipChange::Remove(id) if !configuration.is_member(id) => Err(ChangeRefused::NotMember(id)),
        MembershipChange::Remove(id) if configuration.voters == [id] => Err(ChangeRefused::LastVoter(id)),
        MembershipChange::Remove(_) => Ok(()),
        MembershipChange::Replace { old, .. } if !configuration.is_voter(old) => {
            Err(ChangeRefused::NotVoter(old))
        }
        MembershipChange::Replace { new, .. } if !is_learner(new) => Err(ChangeRefused::NotLearner(new)),
        MembershipChange::Replace { new, .. } => caught_up(new),
    }
}

/// Who has left between these two.
pub(crate) fn removed(before: &Configuration, after: &Configuration) -> Vec<NodeId> {
    let gone = before.members().into_iter().filter(|id| !after.is_member(*id));
    let mut removed: Vec<NodeId> = before.removed.iter().copied().chain(gone).collect();
    removed.sort_unstable();
    removed.dedup();
    removed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        let configuration = Configuration {
            voters: vec![1, 2],
            learners: vec![4, 5, 7, 8],
            removed: vec![3],
            ..Configuration::default()
        };
        let known = |id| match id {
            4 => Known { matched: 6, is_heard: true },
            5 => Known { matched: 5, is_heard: true },
            8 => Known { matched: 70, is_heard: false },
            _ => Known::default(),
        };
        let judge = |change| judge(change, &configuration, 70, known);
        assert_eq!(judge(MembershipChange::AddLearner(6)), Ok(()));
        assert_eq!(judge(MembershipChange::AddLearner(3)), Err(ChangeRefused::Removed(3)));
        assert_eq!(judge(MembershipChange::AddLearner(4)), Err(ChangeRefused::Member(4)));
        assert_eq!(judge(MembershipChange::Promote(4)), Ok(()));
        assert_eq!(judge(MembershipChange::Promote(1)), Err(ChangeRefused::Member(1)));
        assert_eq!(judge(MembershipChange::Promote(6)), Err(ChangeRefused::NotLearner(6)));
        assert_eq!(judge(MembershipChange::Promote(5)), Err(ChangeRefused::Behind { node: 5, entries: 65 }));
        let short = super::judge(MembershipChange::Promote(7), &configuration, 9, known);
        assert_eq!(short, Err(ChangeRefused::Behind { node: 7, entries: 9 }), "it has nothing at all");
        assert_eq!(judge(MembershipChange::Promote(8)), Err(ChangeRefused::Silent(8)));
        assert_eq!(judge(MembershipChange::Replace { old: 1, new: 8 }), Err(ChangeRefused::Silent(8)));
        assert_eq!(judge(MembershipChange::Remove(4)), Ok(()));
        assert_eq!(judge(MembershipChange::Remove(3)), Err(ChangeRefused::NotMember(3)));
        assert_eq!(judge(MembershipChange::Replace { old: 4, new: 5 }), Err(ChangeRefused::NotVoter(4)));
        assert_eq!(judge(MembershipChange::Replace { old: 1, new: 2 }), Err(ChangeRefused::NotLearner(2)));
        assert_eq!(judge(MembershipChange::Replace { old: 1, new: 4 }), Ok(()));
        let alone = Configuration { voters: vec![1], learners: vec![4], ..Configuration::default() };
        let last = super::judge(MembershipChange::Remove(1), &alone, 70, known);
        assert_eq!(last, Err(ChangeRefused::LastVoter(1)));
    }
}
