//! The planted bugs of the transport: what a node with them makes of messages. See the catalogue in
//! `mcp_chaos_evidence::plants`.

use std::collections::BTreeSet;

use mcp_chaos_evidence::{NodeId, Plant};
use raft::eraftpb as pb;
use raft::{Raft, RawNode, ReadState, StateRole};

use crate::convert::{entry_from_raft, entry_to_raft};
use crate::storage::Log;
use crate::types::{Configuration, Entry, Message, MessageKind};

/// What the planted bugs remember.
#[derive(Default)]
pub(crate) struct Planted {
    /// Peers to which no appends are sent any more (`wake-up-lost`).
    asleep: BTreeSet<NodeId>,
    /// Learners that raft-rs takes for voters (`learner-counted`).
    counted: BTreeSet<NodeId>,
    /// Index and term of changes that took effect when they were appended (`change-not-rolled-back`).
    changed: BTreeSet<(u64, u64)>,
    /// Ticks since the start: a node that has just started does not know to whom it has promised its patience
    /// (`lease-read-drift`).
    pub(crate) ticks: u64,
}

impl Planted {
    /// `learner-counted`: raft-rs is told that new learners are voters.
    pub(crate) fn count_learners(&mut self, change: &mut pb::ConfChangeV2) {
        for single in change.changes.iter_mut() {
            if single.change_type == pb::ConfChangeType::AddLearnerNode {
                single.change_type = pb::ConfChangeType::AddNode;
                self.counted.insert(single.node_id);
            } else {
                self.counted.remove(&single.node_id);
            }
        }
    }

    /// … and everyone else that they are learners.
    pub(crate) fn call_learners(&self, configuration: &mut Configuration) {
        for id in &self.counted {
            if !configuration.is_voter(*id) {
                continue;
            }
            configuration.voters.retain(|voter| voter != id);
            configuration.voters_outgoing.retain(|voter| voter != id);
            configuration.learners.push(*id);
            configuration.learners.sort_unstable();
        }
    }

    /// `change-not-rolled-back`: the changes of the membership among entries that are appended.
    pub(crate) fn changes_among(entries: &[pb::Entry]) -> Vec<Entry> {
        let changes = entries.iter().filter(|entry| entry.entry_type != pb::EntryType::EntryNormal);
        changes.cloned().map(entry_from_raft).collect()
    }

    /// … which take effect now.
    pub(crate) fn changes(&mut self, entry: &Entry) {
        self.changed.insert((entry.index, entry.term));
    }

    /// … and not again once they are committed.
    pub(crate) fn has_changed(&self, entry: &Entry) -> bool {
        self.changed.contains(&(entry.index, entry.term))
    }

    /// A message from a peer, as a node with these bugs takes it; none if it is dropped.
    pub(crate) fn receive(
        &mut self,
        has: impl Fn(Plant) -> bool,
        raw: &mut RawNode<Log>,
        mut message: Box<Message>,
    ) -> Option<Box<Message>> {
        let raft = &mut raw.raft;
        if has(Plant::LeaderNeverStepsDown) && raft.state == StateRole::Leader && message.term > raft.term {
            return None;
        }
        let same_term = message.term == raft.term;
        match message.kind {
            MessageKind::RequestPreVoteResponse
                if has(Plant::VoteCountedTwice)
                    && raft.state == StateRole::Candidate
                    && same_term
                    && !message.reject =>
            {
                message.kind = MessageKind::RequestVoteResponse;
            }
            _ if has(Plant::RemovedNodeVotes)
                && is_vote(&message)
                && raft.prs().get(message.from).is_none() =>
            {
                let is_awaited = match raft.state {
                    StateRole::Candidate => message.kind == MessageKind::RequestVoteResponse && same_term,
                    StateRole::PreCandidate => {
                        message.kind == MessageKind::RequestPreVoteResponse && message.term == raft.term + 1
                    }
                    _ => false,
                };
                message.from = is_awaited.then(|| somebody_else(raft)).flatten()?;
            }
            MessageKind::Heartbeat if has(Plant::FollowerCommitsUnchecked) => {
                message.commit = message.commit.min(raft.raft_log.last_index());
            }
            MessageKind::Append
                if has(Plant::SuffixTruncated) && raft.state == StateRole::Follower && same_term =>
            {
                cut_behind(raw, &message);
            }
            MessageKind::ReadIndex if is_too_early(&has, raft) => {
                let index = raft.raft_log.committed;
                let entries = message.entries.into_iter().map(entry_to_raft).collect::<Vec<_>>();
                raft.msgs.push(pb::Message {
                    msg_type: pb::MessageType::MsgReadIndexResp,
                    from: raft.id,
                    to: message.from,
                    term: raft.term,
                    index,
                    entries: entries.into(),
                    ..pb::Message::default()
                });
                return None;
            }
            MessageKind::AppendResponse if has(Plant::WakeUpLost) => {
                self.asleep.remove(&message.from);
            }
            _ => {}
        }
        Some(message)
    }

    /// Whether a node with these bugs sends the message, and how.
    pub(crate) fn send(&self, has: impl Fn(Plant) -> bool, committed: u64, message: &mut Message) -> bool {
        if has(Plant::FollowerCommitsUnchecked) && message.kind == MessageKind::Heartbeat {
            message.commit = committed;
        }
        !(has(Plant::WakeUpLost) && message.kind == MessageKind::Append && self.asleep.contains(&message.to))
    }

    /// A peer could not be reached.
    pub(crate) fn unreachable(&mut self, peer: NodeId) {
        self.asleep.insert(peer);
    }

    /// The node does not lead any more.
    pub(crate) fn forget_peers(&mut self) {
        self.asleep.clear();
    }
}

/// `removed-node-votes`: whoever was removed is asked for a vote like everyone else.
pub(crate) fn ask_removed(removed: &[NodeId], messages: &mut Vec<pb::Message>) {
    use pb::MessageType::{MsgRequestPreVote, MsgRequestVote};
    let asks = |message: &&pb::Message| matches!(message.msg_type, MsgRequestVote | MsgRequestPreVote);
    if let Some(question) = messages.iter().rev().find(asks).cloned() {
        messages.extend(removed.iter().map(|node| pb::Message { to: *node, ..question.clone() }));
    }
}

/// Whether somebody votes for this node, now or in the next term.
pub(crate) fn is_vote(message: &Message) -> bool {
    let votes =
        matches!(message.kind, MessageKind::RequestVoteResponse | MessageKind::RequestPreVoteResponse);
    votes && !message.reject
}

/// A voter that has not answered yet, under whose name another's vote is counted.
fn somebody_else(raft: &mut Raft<Log>) -> Option<NodeId> {
    let own = raft.id;
    let answered = |raft: &Raft<Log>| {
        let (granted, rejected, _) = raft.prs().tally_votes();
        granted + rejected
    };
    let voters: Vec<NodeId> = raft.prs().conf().voters().ids().iter().filter(|id| *id != own).collect();
    voters.into_iter().find(|voter| {
        let before = answered(raft);
        raft.mut_prs().record_vote(*voter, true);
        answered(raft) > before
    })
}

/// `read-before-own-commit`: answers an own question for the commit index at once; false if it is not to be.
pub(crate) fn answer_too_early(has: impl Fn(Plant) -> bool, raw: &mut RawNode<Log>, context: &[u8]) -> bool {
    let raft = &mut raw.raft;
    let too_early = is_too_early(&has, raft);
    if too_early {
        let index = raft.raft_log.committed;
        raft.read_states.push(ReadState { index, request_ctx: context.to_vec() });
    }
    too_early
}

/// `read-before-own-commit`: whether it leads, and does not know yet what its predecessors committed.
fn is_too_early(has: &impl Fn(Plant) -> bool, raft: &Raft<Log>) -> bool {
    has(Plant::ReadBeforeOwnCommit) && raft.state == StateRole::Leader && !raft.commit_to_current_term()
}

/// `suffix-truncated`: appends what is in the log already, over all that follows it.
fn cut_behind(raw: &mut RawNode<Log>, message: &Message) {
    let log = &mut raw.raft.raft_log;
    let (committed, last_index) = (log.committed, log.last_index());
    let ends_early = message.entries.last().is_some_and(|last| last.index < last_index);
    if !ends_early || message.entries.iter().any(|entry| !log.match_term(entry.index, entry.term)) {
        return;
    }
    let again: Vec<_> =
        message.entries.iter().filter(|entry| entry.index > committed).cloned().map(entry_to_raft).collect();
    if let Some(first) = again.first().map(|entry| entry.index) {
        log.append(&again);
        log.persisted = log.persisted.min(first - 1);
    }
}
