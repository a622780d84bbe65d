//! A snapshot's file: complete and synced before it gets its name, so any damage to it is corruption.
//!
//! ```text
//! 0   8 bytes  "mcpsnap1"
//! 8   u32      CRC32C of all that follows
//! 12  u32      bytes of the head
//! 16  u64      bytes of the data
//! 24           the head (postcard), then the state machine's data
//! ```

use bytes::Bytes;
use mcp_chaos_consensus::{HardState, Snapshot, SnapshotMeta};
use mcp_chaos_evidence::NodeId;
use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 8] = b"mcpsnap1";
const FIXED_BYTES: usize = 24;

/// What stands before the state machine's data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Whose snapshot this is.
    pub node: NodeId,
    /// The cluster that the node was founded for.
    pub cluster: String,
    /// Where it stands in the log.
    pub meta: SnapshotMeta,
    /// The first segment that counts beside it. A received snapshot voids all earlier ones.
    pub first_segment: u64,
    /// The hard state that a received snapshot brought along; it takes the place of any in earlier segments.
    pub hard_state: Option<HardState>,
}

/// The whole file.
pub fn encode(head: &Head, data: &[u8]) -> Vec<u8> {
    let head = postcard::to_stdvec(head).expect("a head has no field that postcard refuses");
    let mut file = Vec::with_capacity(FIXED_BYTES + head.len() + data.len());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&[0; 4]);
    file.extend_from_slice(&(head.len() as u32).to_le_bytes());
    file.extend_from_slice(&(data.len() as u64).to_le_bytes());
    file.extend_from_slice(&head);
    file.extend_from_slice(data);
    let crc = crc32c::crc32c(&file[12..]);
    file[8..12].copy_from_slice(&crc.to_le_bytes());
    file
}

/// The head and the snapshot; what is wrong with the file otherwise.
pub fn decode(file: &[u8]) -> Result<(Head, Snapshot), &'static str> {
    let fixed = file.first_chunk::<FIXED_BYTES>().ok_or("shorter than a snapshot can be")?;
    if &fixed[0..8] != MAGIC {
        return Err("does not begin as a snapshot of this format");
    }
    let crc = u32::from_le_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]);
    if crc32c::crc32c(&file[12..]) != crc {
        return Err("the content does not match its checksum");
    }
    let head_bytes = u32::from_le_bytes([fixed[12], fixed[13], fixed[14], fixed[15]]) as usize;
    let data_bytes = u64::from_le_bytes([
        fixed[16], fixed[17], fixed[18], fixed[19], fixed[20], fixed[21], fixed[22], fixed[23],
    ]);
    let (head, data) =
        file[FIXED_BYTES..].split_at_checked(head_bytes).ok_or("the head is longer than the file")?;
    if data.len() as u64 != data_bytes {
        return Err("the data is not as long as the file says");
    }
    let head: Head = match postcard::take_from_bytes(head) {
        Ok((head, [])) => head,
        _ => return Err("the head cannot be decoded"),
    };
    let snapshot = Snapshot { meta: head.meta.clone(), data: Bytes::copy_from_slice(data) };
    Ok((head, snapshot))
}
