//! Decodes configuration changes from log entries.
//!
//! Entries come from peers too, and peers' bytes must not reach the protobuf 2.x decoder, which recurses
//! without a bound on nested groups (RUSTSEC-2024-0437). The two messages are flat, so reading them takes
//! no recursion: `ConfChange {id = 1, change_type = 2, node_id = 3, context = 4}`, `ConfChangeV2
//! {transition = 1, repeated changes = 2 {change_type = 1, node_id = 2}, context = 3}`.

use raft::eraftpb as pb;

use crate::types::EntryKind;

/// Most single changes in one entry.
const MAX_CHANGES: usize = 64;

/// Why an entry is not a configuration change. The same bytes give the same answer on every node.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an encoded configuration change: {0}")]
pub(crate) struct BadChange(&'static str);

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
