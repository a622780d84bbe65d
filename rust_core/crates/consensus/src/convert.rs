//! Between our types and raft-rs's, by moves: payloads are reference-counted and never copied.

use raft::eraftpb as pb;

use crate::types::{
    Configuration, Entry, EntryKind, HardState, Message, MessageKind, Snapshot, SnapshotMeta,
};

pub(crate) fn entry_to_raft(entry: Entry) -> pb::Entry {
    pb::Entry {
        index: entry.index,
        term: entry.term,
        entry_type: match entry.kind {
            EntryKind::Normal => pb::EntryType::EntryNormal,
            EntryKind::ConfChange => pb::EntryType::EntryConfChange,
            EntryKind::ConfChangeV2 => pb::EntryType::EntryConfChangeV2,
        },
        data: entry.data,
        ..Default::default()
    }
}

pub(crate) fn entry_from_raft(raft: pb::Entry) -> Entry {
    Entry {
        index: raft.index,
        term: raft.term,
        kind: match raft.entry_type {
            pb::EntryType::EntryNormal => EntryKind::Normal,
            pb::EntryType::EntryConfChange => EntryKind::ConfChange,
            pb::EntryType::EntryConfChangeV2 => EntryKind::ConfChangeV2,
        },
        data: raft.data,
    }
}

pub(crate) fn entries_from_raft(raft: impl IntoIterator<Item = pb::Entry>) -> Vec<Entry> {
    raft.into_iter().map(entry_from_raft).collect()
}

pub(crate) fn hard_state_to_raft(hard_state: HardState) -> pb::HardState {
    let HardState { term, vote, commit } = hard_state;
    pb::HardState { term, vote, commit, ..Default::default() }
}

/// raft-rs knows nothing of members that were removed; they ride along in a field of their own, of this number,
/// wherever it only hands a configuration on.
const REMOVED_FIELD: u32 = 1_000;

pub(crate) fn configuration_to_raft(configuration: Configuration) -> pb::ConfState {
    let Configuration { voters, learners, voters_outgoing, learners_next, auto_leave, removed } =
        configuration;
    let mut raft =
        pb::ConfState { voters, learners, voters_outgoing, learners_next, auto_leave, ..Default::default() };
    for id in removed {
        raft.unknown_fields.add_varint(REMOVED_FIELD, id);
    }
    raft
}

/// Sorts: raft-rs lists members in the order of its hash sets.
pub(crate) fn configuration_from_raft(raft: pb::ConfState) -> Configuration {
    let sorted = |mut ids: Vec<u64>| {
        ids.sort_unstable();
        ids
    };
    Configuration {
        voters: sorted(raft.voters),
        learners: sorted(raft.learners),
        voters_outgoing: sorted(raft.voters_outgoing),
        learners_next: sorted(raft.learners_next),
        auto_leave: raft.auto_leave,
        removed: raft.unknown_fields.get(REMOVED_FIELD).map_or_else(Vec::new, |ids| ids.varint.clone()),
    }
}

pub(crate) fn snapshot_to_raft(snapshot: Snapshot) -> pb::Snapshot {
    let SnapshotMeta { index, term, configuration } = snapshot.meta;
    let mut metadata = pb::SnapshotMetadata { index, term, ..Default::default() };
    metadata.set_conf_state(configuration_to_raft(configuration));
    let mut raft = pb::Snapshot { data: snapshot.data, ..Default::default() };
    raft.set_metadata(metadata);
    raft
}

pub(crate) fn snapshot_from_raft(mut raft: pb::Snapshot) -> Snapshot {
    let mut metadata = raft.take_metadata();
    Snapshot {
        meta: SnapshotMeta {
            index: metadata.index,
            term: metadata.term,
            configuration: configuration_from_raft(metadata.take_conf_state()),
        },
        data: raft.data,
    }
}

#[expect(clippy::boxed_local, reason = "a message comes in a box, and this takes it apart")]
pub(crate) fn message_to_raft(message: Box<Message>) -> pb::Message {
    let mut raft = pb::Message {
        msg_type: kind_to_raft(message.kind),
        from: message.from,
        to: message.to,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        entries: message.entries.into_iter().map(entry_to_raft).collect(),
        commit: message.commit,
        commit_term: message.commit_term,
        request_snapshot: message.request_snapshot,
        reject: message.reject,
        reject_hint: message.reject_hint,
        context: message.context,
        priority: message.priority,
        ..Default::default()
    };
    if let Some(snapshot) = message.snapshot {
        raft.set_snapshot(snapshot_to_raft(*snapshot));
    }
    raft
}

/// Empties the message. None for the kinds that raft-rs only sends to itself.
pub(crate) fn message_from_raft(raft: &mut pb::Message) -> Option<Box<Message>> {
    let kind = kind_from_raft(raft.msg_type)?;
    let snapshot = raft.has_snapshot().then(|| Box::new(snapshot_from_raft(raft.take_snapshot())));
    Some(Box::new(Message {
        kind,
        from: raft.from,
        to: raft.to,
        term: raft.term,
        log_term: raft.log_term,
        index: raft.index,
        entries: entries_from_raft(raft.take_entries()),
        commit: raft.commit,
        commit_term: raft.commit_term,
        snapshot,
        request_snapshot: raft.request_snapshot,
        reject: raft.reject,
        reject_hint: raft.reject_hint,
        context: raft.take_context(),
        priority: raft.priority,
    }))
}

fn kind_to_raft(kind: MessageKind) -> pb::MessageType {
    match kind {
        MessageKind::Append => pb::MessageType::MsgAppend,
        MessageKind::AppendResponse => pb::MessageType::MsgAppendResponse,
        MessageKind::RequestVote => pb::MessageType::MsgRequestVote,
        MessageKind::RequestVoteResponse => pb::MessageType::MsgRequestVoteResponse,
        MessageKind::Snapshot => pb::MessageType::MsgSnapshot,
        MessageKind::Heartbeat => pb::MessageType::MsgHeartbeat,
        MessageKind::HeartbeatResponse => pb::MessageType::MsgHeartbeatResponse,
        MessageKind::TransferLeader => pb::MessageType::MsgTransferLeader,
        MessageKind::TimeoutNow => pb::MessageType::MsgTimeoutNow,
        MessageKind::ReadIndex => pb::MessageType::MsgReadIndex,
        MessageKind::ReadIndexResponse => pb::MessageType::MsgReadIndexResp,
        MessageKind::RequestPreVote => pb::MessageType::MsgRequestPreVote,
        MessageKind::RequestPreVoteResponse => pb::MessageType::MsgRequestPreVoteResponse,
    }
}

fn kind_from_raft(kind: pb::MessageType) -> Option<MessageKind> {
    Some(match kind {
        pb::MessageType::MsgAppend => MessageKind::Append,
        pb::MessageType::MsgAppendResponse => MessageKind::AppendResponse,
        pb::MessageType::MsgRequestVote => MessageKind::RequestVote,
        pb::MessageType::MsgRequestVoteResponse => MessageKind::RequestVoteResponse,
        pb::MessageType::MsgSnapshot => MessageKind::Snapshot,
        pb::MessageType::MsgHeartbeat => MessageKind::Heartbeat,
        pb::MessageType::MsgHeartbeatResponse => MessageKind::HeartbeatResponse,
        pb::MessageType::MsgTransferLeader => MessageKind::TransferLeader,
        pb::MessageType::MsgTimeoutNow => MessageKind::TimeoutNow,
        pb::MessageType::MsgReadIndex => MessageKind::ReadIndex,
        pb::MessageType::MsgReadIndexResp => MessageKind::ReadIndexResponse,
        pb::MessageType::MsgRequestPreVote => MessageKind::RequestPreVote,
        pb::MessageType::MsgRequestPreVoteResponse => MessageKind::RequestPreVoteResponse,
        pb::MessageType::MsgHup
        | pb::MessageType::MsgBeat
        | pb::MessageType::MsgPropose
        | pb::MessageType::MsgUnreachable
        | pb::MessageType::MsgSnapStatus
        | pb::MessageType::MsgCheckQuorum => return None,
    })
}
