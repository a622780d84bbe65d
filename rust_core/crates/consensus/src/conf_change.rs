//! Configuration changes as they stand in log entries.
//!
//! Entries come from peers too, and peers' bytes must not reach the protobuf 2.x decoder, which recurses
//! without a bound on nested groups (RUSTSEC-2024-0437). The two messages are flat, so reading them takes
//! no recursion: `ConfChange {id = 1, change_type = 2, node_id = 3, context = 4}`, `ConfChangeV2
//! {transition = 1, repeated changes = 2 {change_type = 1, node_id = 2}, context = 3}`.

use raft::eraftpb as pb;

use crate::membership::MembershipChange;
use crate::types::EntryKind;

/// Most single changes in one entry.
const MAX_CHANGES: usize = 64;

/// Why an entry is not a configuration change. The same bytes give the same answer on every node.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an encoded configuration change: {0}")]
pub(crate) struct BadChange(&'static str);

/// The entry's data for a change, as `ConfChangeV2`.
pub(crate) fn encode(change: MembershipChange) -> Vec<u8> {
    use pb::ConfChangeType::{AddLearnerNode, AddNode, RemoveNode};
    let mut data = Vec::new();
    let changes = match change {
        MembershipChange::AddLearner(id) => vec![(AddLearnerNode, id)],
        MembershipChange::Promote(id) => vec![(AddNode, id)],
        MembershipChange::Remove(id) => vec![(RemoveNode, id)],
        MembershipChange::Replace { old, new } => {
            // Joint, and left by the leader as soon as it may.
            data.extend([0x08, pb::ConfChangeTransition::Implicit as u8]);
            vec![(AddNode, new), (RemoveNode, old)]
        }
    };
    for (kind, id) in changes {
        let mut single = vec![0x08, kind as u8, 0x10];
        let mut rest = id;
        while rest >= 0x80 {
            single.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        single.push(rest as u8);
        data.extend([0x12, single.len() as u8]);
        data.extend(single);
    }
    data
}

/// One field of a protobuf message, of the two wire types that occur here.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

pub(crate) fn decode(kind: EntryKind, data: &[u8]) -> Result<pb::ConfChangeV2, BadChange> {
    let mut change = pb::ConfChangeV2::default();
    if kind == EntryKind::ConfChange {
        change.changes = vec![single(data, 2, 3, &[1, 4])?].into();
        return Ok(change);
    }
    let mut changes = Vec::new();
    let mut rest = data;
    while let Some((field, value)) = next(&mut rest)? {
        match (field, value) {
            (1, Value::Number(number)) => {
                change.transition = match number {
                    0 => pb::ConfChangeTransition::Auto,
                    1 => pb::ConfChangeTransition::Implicit,
                    2 => pb::ConfChangeTransition::Explicit,
                    _ => return Err(BadChange("unknown transition")),
                }
            }
            (2, Value::Bytes(bytes)) => changes.push(single(bytes, 1, 2, &[])?),
            (3, Value::Bytes(_)) => {}
            _ => return Err(BadChange("unknown field")),
        }
        if changes.len() > MAX_CHANGES {
            return Err(BadChange("too many changes"));
        }
    }
    change.changes = changes.into();
    Ok(change)
}

fn single(data: &[u8], kind: u64, node: u64, skipped: &[u64]) -> Result<pb::ConfChangeSingle, BadChange> {
    let mut change = pb::ConfChangeSingle::default();
    let mut rest = data;
    while let Some((field, value)) = next(&mut rest)? {
        match value {
            Value::Number(number) if field == kind => {
                change.change_type = match number {
                    0 => pb::ConfChangeType::AddNode,
                    1 => pb::ConfChangeType::RemoveNode,
                    2 => pb::ConfChangeType::AddLearnerNode,
                    _ => return Err(BadChange("unknown kind of change")),
                }
            }
            Value::Number(number) if field == node => change.node_id = number,
            _ if skipped.contains(&field) => {}
            _ => return Err(BadChange("unknown field")),
        }
    }
    Ok(change)
}

/// The next field's number and value; None at the end.
fn next<'a>(rest: &mut &'a [u8]) -> Result<Option<(u64, Value<'a>)>, BadChange> {
    if rest.is_empty() {
        return Ok(None);
    }
    let tag = varint(rest)?;
    let value = match tag & 7 {
        0 => Value::Number(varint(rest)?),
        2 => {
            let length = usize::try_from(varint(rest)?).map_err(|_| BadChange("length too large"))?;
            let (bytes, after) = rest.split_at_checked(length).ok_or(BadChange("cut short"))?;
            *rest = after;
            Value::Bytes(bytes)
        }
        _ => return Err(BadChange("unknown wire type")),
    };
    Ok(Some((tag >> 3, value)))
}

fn varint(rest: &mut &[u8]) -> Result<u64, BadChange> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().ok_or(BadChange("cut short"))?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(BadChange("number too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_read_back() {
        use pb::ConfChangeType::{AddLearnerNode, AddNode, RemoveNode};
        let read = |change| {
            let change = decode(EntryKind::ConfChangeV2, &encode(change)).unwrap();
            let singles: Vec<_> =
                change.changes.iter().map(|single| (single.change_type, single.node_id)).collect();
            (change.enter_joint(), singles)
        };
        assert_eq!(read(MembershipChange::AddLearner(4)), (None, vec![(AddLearnerNode, 4)]));
        assert_eq!(read(MembershipChange::Promote(300)), (None, vec![(AddNode, 300)]));
        assert_eq!(read(MembershipChange::Remove(1)), (None, vec![(RemoveNode, 1)]));
        let replace = MembershipChange::Replace { old: 1, new: u64::MAX };
        assert_eq!(read(replace), (Some(true), vec![(AddNode, u64::MAX), (RemoveNode, 1)]));
    }
}
