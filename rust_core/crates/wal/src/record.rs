//! What frames carry: the header of a segment, batches, marks.
//!
//! Batches are encoded by hand (they are the hot path), the rare records by postcard.

use bytes::Bytes;
use mcp_chaos_consensus::{Entry, EntryKind, HardState};
use mcp_chaos_evidence::NodeId;
use serde::{Deserialize, Serialize};

/// The format this code reads and writes.
pub const FORMAT: u32 = 1;

/// Bytes of a batch before its entries: flag, hard state, index of the first entry, number of entries.
const BATCH_BYTES: usize = 1 + 24 + 8 + 4;
/// Bytes of an entry besides its data: term, kind, length.
const ENTRY_BYTES: usize = 8 + 1 + 4;
/// Bytes of a batch's frame besides its entries, roughly: what the splitting of long batches reckons with.
pub const BATCH_OVERHEAD_BYTES: usize = 64;

/// The first frame of each segment: all that a start needs if every earlier segment is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentHeader {
    /// [`FORMAT`].
    pub format: u32,
    /// Whose log this is.
    pub node: NodeId,
    /// The cluster that the node was founded for; empty if it was not yet.
    pub cluster: String,
    /// Length of the segment before, which is complete; 0 for the first one.
    pub previous_bytes: u64,
    /// What held when the segment was begun.
    pub hard_state: HardState,
    /// What held when the segment was begun.
    pub mark: Mark,
}

/// Facts about the directory, true from here on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// How often the node has started.
    pub boot: u64,
    /// Index of the newest snapshot, which is durable; 0 for none.
    pub snapshot_index: u64,
    /// The first segment that counts. Earlier ones may be gone, any of them.
    pub first_segment: u64,
}

/// A frame's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Begins a segment.
    Header(SegmentHeader),
    /// What a [`mcp_chaos_consensus::Batch`] brought, less its snapshot.
    Batch { entries: Vec<Entry>, hard_state: Option<HardState> },
    /// News about the directory.
    Mark(Mark),
}

/// The kinds of frames.
pub mod kind {
    pub const HEADER: u8 = 1;
    pub const BATCH: u8 = 2;
    pub const MARK: u8 = 3;
}

/// Bytes that `entry` takes in a batch.
pub fn entry_bytes(entry: &Entry) -> usize {
    ENTRY_BYTES + entry.data.len()
}

/// Appends a batch's payload to `buffer`. Entries must be contiguous.
pub fn encode_batch(buffer: &mut Vec<u8>, entries: &[Entry], hard_state: Option<HardState>) {
    let state = hard_state.unwrap_or_default();
    let mut fixed = [0; BATCH_BYTES];
    fixed[0] = u8::from(hard_state.is_some());
    fixed[1..9].copy_from_slice(&state.term.to_le_bytes());
    fixed[9..17].copy_from_slice(&state.vote.to_le_bytes());
    fixed[17..25].copy_from_slice(&state.commit.to_le_bytes());
    fixed[25..33].copy_from_slice(&entries.first().map_or(0, |entry| entry.index).to_le_bytes());
    fixed[33..37].copy_from_slice(&(entries.len() as u32).to_le_bytes());
    buffer.extend_from_slice(&fixed);
    for entry in entries {
        let mut fixed = [0; ENTRY_BYTES];
        fixed[0..8].copy_from_slice(&entry.term.to_le_bytes());
        fixed[8] = entry.kind as u8;
        fixed[9..13].copy_from_slice(&(entry.data.len() as u32).to_le_bytes());
        buffer.extend_from_slice(&fixed);
        buffer.extend_from_slice(&entry.data);
    }
}

/// The content of a frame; `None` if no writer of this format made it.
pub fn decode(kind: u8, payload: &[u8]) -> Option<Record> {
    match kind {
        kind::HEADER => exactly(payload).map(Record::Header),
        kind::BATCH => decode_batch(payload),
        kind::MARK => exactly(payload).map(Record::Mark),
        _ => None,
    }
}

/// Decodes by postcard, and no byte may be left over.
fn exactly<T: for<'de> Deserialize<'de>>(payload: &[u8]) -> Option<T> {
    postcard::take_from_bytes(payload).ok().filter(|(_, rest)| rest.is_empty()).map(|(value, _)| value)
}

fn decode_batch(payload: &[u8]) -> Option<Record> {
    let mut rest = payload;
    let has_state = take(&mut rest)?;
    let state =
        HardState { term: take_u64(&mut rest)?, vote: take_u64(&mut rest)?, commit: take_u64(&mut rest)? };
    let hard_state = match has_state {
        [0] => None,
        [1] => Some(state),
        _ => return None,
    };
    let first_index = take_u64(&mut rest)?;
    let count = u32::from_le_bytes(take(&mut rest)?);
    let mut entries = Vec::with_capacity((count as usize).min(rest.len() / ENTRY_BYTES));
    for number in 0..u64::from(count) {
        let term = take_u64(&mut rest)?;
        let kind = match take(&mut rest)? {
            [0] => EntryKind::Normal,
            [1] => EntryKind::ConfChange,
            [2] => EntryKind::ConfChangeV2,
            _ => return None,
        };
        let length = u32::from_le_bytes(take(&mut rest)?) as usize;
        let (data, after) = rest.split_at_checked(length)?;
        rest = after;
        entries.push(Entry {
            index: first_index.checked_add(number)?,
            term,
            kind,
            data: Bytes::copy_from_slice(data),
        });
    }
    rest.is_empty().then_some(Record::Batch { entries, hard_state })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_read_back_and_every_shorter_or_longer_payload_is_refused() {
        let entry = |index, data: &'static [u8]| Entry {
            index,
            term: 4,
            kind: EntryKind::ConfChangeV2,
            data: data.into(),
        };
        let entries = vec![entry(9, b"a"), entry(10, b""), entry(11, b"ccc")];
        let hard_state = Some(HardState { term: 4, vote: 2, commit: 8 });
        let mut payload = Vec::new();
        encode_batch(&mut payload, &entries, hard_state);
        assert_eq!(payload.len(), BATCH_BYTES + entries.iter().map(entry_bytes).sum::<usize>());
        assert_eq!(decode(kind::BATCH, &payload), Some(Record::Batch { entries, hard_state }));
        for length in 0..payload.len() {
            assert_eq!(decode(kind::BATCH, &payload[..length]), None);
        }
        payload.push(0);
        assert_eq!(decode(kind::BATCH, &payload), None);
    }
}
