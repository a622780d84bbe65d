//! Which messages a correct peer could have sent.
//!
//! raft-rs trusts its peers, and panics on some messages that no correct peer sends. Those that can be told
//! by the message alone are dropped here. What only the log can tell is in [`contradiction`]: it shows that somebody's
//! disk has lost what was acknowledged.

use mcp_chaos_evidence::NodeId;
use raft::Raft;

use crate::config::{
    MAX_APPEND_BYTES, MAX_APPEND_ENTRIES, MAX_COMMAND_BYTES, MAX_CONTEXT_BYTES, MAX_NUMBER,
    MAX_SNAPSHOT_BYTES,
};
use crate::event::Broken;
use crate::storage::Log;
use crate::types::{Configuration, Message, MessageKind, Snapshot};

/// Whether `message` may be handed to raft-rs on node `id`; that its sender is known is for the caller.
pub(crate) fn acceptable(id: NodeId, message: &Message) -> bool {
    let addressed = message.to == id && message.from != id && message.from != 0;
    let numbers = [
        message.term,
        message.log_term,
        message.index,
        message.commit,
        message.commit_term,
        message.reject_hint,
    ];
    addressed
        && numbers.iter().all(|number| *number < MAX_NUMBER)
        // Nobody here asks for a snapshot, nor has a priority.
        && message.request_snapshot == 0
        && message.priority == 0
        && message.context.len() <= MAX_CONTEXT_BYTES
        && message.snapshot.is_some() == (message.kind == MessageKind::Snapshot)
        && match message.kind {
            MessageKind::Append => message.term > 0 && append(message),
            MessageKind::Snapshot => {
                message.term > 0
                    && message.entries.is_empty()
                    && message.snapshot.as_ref().is_some_and(|snapshot| well_formed_snapshot(snapshot))
            }
            // raft-rs takes term 0 for a message of its own, and forwards requests under no term.
            MessageKind::ReadIndex => message.term == 0 && read(message),
            MessageKind::ReadIndexResponse => message.term > 0 && read(message),
            // Only ever asked of the leader by its own node.
            MessageKind::TransferLeader => false,
            MessageKind::AppendResponse
            | MessageKind::RequestVote
            | MessageKind::RequestVoteResponse
            | MessageKind::Heartbeat
            | MessageKind::HeartbeatResponse
            | MessageKind::TimeoutNow
            | MessageKind::RequestPreVote
            | MessageKind::RequestPreVoteResponse => message.term > 0 && message.entries.is_empty(),
        }
}

/// Whether a message counts although its sender is no member as far as this node knows: a node may lag behind the
/// very change that made its leader, or a candidate, a member (Ongaro's dissertation §4.2.2, §4.2.3).
pub(crate) fn is_heard_from_strangers(kind: MessageKind) -> bool {
    matches!(
        kind,
        MessageKind::Append
            | MessageKind::Snapshot
            | MessageKind::Heartbeat
            | MessageKind::RequestVote
            | MessageKind::RequestPreVote
            | MessageKind::TimeoutNow
            | MessageKind::ReadIndexResponse
    )
}

/// What a leader's message says that cannot be if every disk kept what it reported durable. raft-rs would panic on a
/// commit index beyond the log's end, and not see that committed entries differ: it takes its own prefix for the
/// leader's, and the states part.
pub(crate) fn contradiction(raft: &Raft<Log>, message: &Message) -> Option<Broken> {
    if message.term < raft.term {
        return None;
    }
    let (leader, term, log) = (message.from, message.term, &raft.raft_log);
    match message.kind {
        // A leader tells each follower of no more than that one has acknowledged in this term.
        MessageKind::Heartbeat if message.commit > log.last_index() => Some(Broken::Forgotten {
            leader,
            term,
            acknowledged: message.commit,
            last_index: log.last_index(),
        }),
        MessageKind::Append if message.index < log.committed => {
            let prefix = (message.index, message.log_term);
            let entries = message.entries.iter().map(|entry| (entry.index, entry.term));
            // Below the log's beginning a snapshot stands, whose terms nobody knows any more.
            let known = |index: &u64| (log.first_index()..=log.committed).contains(index);
            let mut common = std::iter::once(prefix).chain(entries).filter(|(index, _)| known(index));
            let (index, _) = common.find(|(index, term)| !log.match_term(*index, *term))?;
            Some(Broken::CommittedLost { leader, term, index, committed: log.committed })
        }
        _ => None,
    }
}

/// Entries continue (index, log_term), terms never fall, and all is within the limits.
fn append(message: &Message) -> bool {
    let mut bytes = 0;
    let mut term = message.log_term;
    message.entries.len() <= MAX_APPEND_ENTRIES
        && message.entries.iter().zip(message.index + 1..).all(|(entry, index)| {
            let ordered = entry.index == index && entry.term >= term.max(1) && entry.term <= message.term;
            term = entry.term;
            bytes += entry.data.len();
            ordered && entry.data.len() <= MAX_COMMAND_BYTES
        })
        && bytes <= MAX_APPEND_BYTES + MAX_COMMAND_BYTES
}

/// One entry, whose data is the request's context.
fn read(message: &Message) -> bool {
    matches!(&message.entries[..], [entry] if !entry.data.is_empty() && entry.data.len() <= MAX_CONTEXT_BYTES)
}

fn well_formed_snapshot(snapshot: &Snapshot) -> bool {
    (1..MAX_NUMBER).contains(&snapshot.meta.index)
        && (1..MAX_NUMBER).contains(&snapshot.meta.term)
        && snapshot.data.len() <= MAX_SNAPSHOT_BYTES
        && well_formed(&snapshot.meta.configuration)
}

/// What raft-rs's configuration changer would build, and nothing it would refuse.
pub(crate) fn well_formed(configuration: &Configuration) -> bool {
    let Configuration { voters, learners, voters_outgoing, learners_next, auto_leave, removed } =
        configuration;
    let ascending =
        |ids: &[NodeId]| ids.first().is_none_or(|id| *id > 0) && ids.windows(2).all(|pair| pair[0] < pair[1]);
    let joint = !voters_outgoing.is_empty();
    !voters.is_empty()
        && [voters, learners, voters_outgoing, learners_next, removed].into_iter().all(|ids| ascending(ids))
        && learners.iter().all(|id| !voters.contains(id) && !voters_outgoing.contains(id))
        && learners_next.iter().all(|id| voters_outgoing.contains(id) && !voters.contains(id))
        && removed.iter().all(|id| !configuration.is_member(*id))
        && (joint || !auto_leave)
}
