//! What travels between peers: a little-endian u32 length, then that many bytes of postcard.
//!
//! A stream is one-way. Its first frame is a [`Hello`], all others are consensus messages. Lengths are
//! checked before anything is read, memory grows only as bytes really arrive, and no protobuf decoder ever
//! sees a peer's bytes (RUSTSEC-2024-0437).

use std::io;

use mcp_chaos_consensus::{Message, MessageKind};
use mcp_chaos_evidence::NodeId;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The version of this protocol; a peer that speaks another is refused.
pub const PROTOCOL: u32 = 2;
/// Longest hello.
pub const MAX_HELLO_BYTES: usize = 1024;
/// Longest message that carries no snapshot. Appends are kept far below this by the leader; one entry is at
/// most `mcp_manager::limits::MAX_COMMAND_BYTES`.
pub const MAX_MESSAGE_BYTES: usize = 8 * 1024 * 1024;
/// Longest message that carries a snapshot: the whole state travels in one.
pub const MAX_SNAPSHOT_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of the length before a frame.
pub const HEADER_BYTES: usize = 4;

/// The first frame of a stream: who speaks to whom, in which cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`]. Stays the first field in every version.
    pub protocol: u32,
    /// The cluster the sender was founded for.
    pub cluster: String,
    /// The sender, as its certificate says too.
    pub from: NodeId,
    /// Whom the sender believes to have reached.
    pub to: NodeId,
}

/// Why bytes are no frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection ended or broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Longer than allowed.
    #[error("a frame of {bytes} bytes; at most {limit} are allowed")]
    TooLong {
        /// The length found or announced.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Not what it should decode to.
    #[error("a frame that cannot be decoded: {0}")]
    Malformed(String),
}

/// Appends a message as a frame to `buffer`, which is left as it was on an error.
pub fn encode_message(message: &Message, buffer: &mut Vec<u8>) -> Result<(), FrameError> {
    encode(message, limit_of(message.kind), buffer)
}

/// A hello as a frame.
pub fn encode_hello(hello: &Hello) -> Result<Vec<u8>, FrameError> {
    let mut buffer = Vec::new();
    encode(hello, MAX_HELLO_BYTES, &mut buffer)?;
    Ok(buffer)
}

fn encode<T: Serialize>(value: &T, limit: usize, buffer: &mut Vec<u8>) -> Result<(), FrameError> {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEADER_BYTES]);
    let mut whole = postcard::to_extend(value, std::mem::take(buffer))
        .map_err(|error| FrameError::Malformed(error.to_string()))?;
    let bytes = whole.len() - start - HEADER_BYTES;
    if bytes > limit {
        whole.truncate(start);
        *buffer = whole;
        return Err(FrameError::TooLong { bytes, limit });
    }
    let length = u32::try_from(bytes).unwrap_or(u32::MAX);
    whole[start..start + HEADER_BYTES].copy_from_slice(&length.to_le_bytes());
    *buffer = whole;
    Ok(())
}

/// The length of the next message; `None` at a clean end of the stream.
pub async fn read_length<R: AsyncRead + Unpin>(reader: &mut R) -> Result<Option<usize>, FrameError> {
    let mut header = [0; HEADER_BYTES];
    match reader.read_exact(&mut header[..1]).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    reader.read_exact(&mut header[1..]).await?;
    let bytes = u32::from_le_bytes(header) as usize;
    if bytes > MAX_SNAPSHOT_BYTES {
        return Err(FrameError::TooLong { bytes, limit: MAX_SNAPSHOT_BYTES });
    }
    Ok(Some(bytes))
}

/// The message of the length announced.
pub async fn read_message<R: AsyncRead + Unpin>(reader: &mut R, bytes: usize) -> Result<Message, FrameError> {
    let mut payload = Vec::new();
    if bytes > MAX_MESSAGE_BYTES {
        // Only snapshots may be this long, and the first byte says whether it is one.
        let kind = reader.read_u8().await?;
        if kind != snapshot_tag() {
            return Err(FrameError::TooLong { bytes, limit: MAX_MESSAGE_BYTES });
        }
        payload.push(kind);
    }
    read_rest(reader, bytes, &mut payload).await?;
    let message: Message = decode(&payload)?;
    check(&message)?;
    Ok(message)
}

/// The hello that begins a stream.
pub async fn read_hello<R: AsyncRead + Unpin>(reader: &mut R) -> Result<Hello, FrameError> {
    let bytes = reader.read_u32_le().await? as usize;
    if bytes > MAX_HELLO_BYTES {
        return Err(FrameError::TooLong { bytes, limit: MAX_HELLO_BYTES });
    }
    let mut payload = Vec::new();
    read_rest(reader, bytes, &mut payload).await?;
    decode(&payload)
}

async fn read_rest<R: AsyncRead + Unpin>(
    reader: &mut R,
    bytes: usize,
    payload: &mut Vec<u8>,
) -> Result<(), FrameError> {
    let missing = bytes - payload.len();
    // `read_to_end` grows the buffer as bytes come: a length alone costs no memory.
    let read = reader.take(missing as u64).read_to_end(payload).await?;
    if read < missing {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(())
}

fn decode<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, FrameError> {
    match postcard::take_from_bytes(payload) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(FrameError::Malformed(format!("{} bytes too many", rest.len()))),
        Err(error) => Err(FrameError::Malformed(error.to_string())),
    }
}

/// What every sender keeps to, and what the replica may rely on.
fn check(message: &Message) -> Result<(), FrameError> {
    let snapshot = message.kind == MessageKind::Snapshot;
    if snapshot != message.snapshot.is_some() {
        return Err(FrameError::Malformed("a snapshot in the wrong kind of message".to_owned()));
    }
    if !message.entries.is_empty()
        && !matches!(
            message.kind,
            MessageKind::Append | MessageKind::ReadIndex | MessageKind::ReadIndexResponse
        )
    {
        return Err(FrameError::Malformed("entries in the wrong kind of message".to_owned()));
    }
    if message.kind == MessageKind::Append {
        let contiguous = message
            .entries
            .iter()
            .zip(1..)
            .all(|(entry, step)| message.index.checked_add(step) == Some(entry.index));
        if !contiguous {
            return Err(FrameError::Malformed("entries that are not contiguous".to_owned()));
        }
    }
    Ok(())
}

fn limit_of(kind: MessageKind) -> usize {
    if kind == MessageKind::Snapshot { MAX_SNAPSHOT_BYTES } else { MAX_MESSAGE_BYTES }
}

/// The first byte of an encoded snapshot message: the kind's number, which stands first.
fn snapshot_tag() -> u8 {
    MessageKind::Snapshot as u8
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use bytes::Bytes;
    use mcp_chaos_consensus::{Entry, EntryKind, Snapshot};
    use mcp_chaos_evidence::rng::Stream;

    /// An append of `count` entries of `bytes` bytes each.
    pub fn append(count: u64, bytes: usize) -> Message {
        let entry =
            |index| Entry { index, term: 3, kind: EntryKind::Normal, data: Bytes::from(vec![7; bytes]) };
        Message {
            kind: MessageKind::Append,
            from: 1,
            to: 2,
            term: 3,
            log_term: 3,
            index: 10,
            entries: (11..11 + count).map(entry).collect(),
            commit: 9,
            commit_term: 3,
            snapshot: None,
            request_snapshot: 0,
            reject: false,
            reject_hint: 0,
            context: Bytes::from_static(b"context"),
            priority: 0,
        }
    }

    fn snapshot(bytes: usize) -> Message {
        let snapshot = Snapshot { data: Bytes::from(vec![1; bytes]), ..Snapshot::default() };
        Message { kind: MessageKind::Snapshot, snapshot: Some(Box::new(snapshot)), ..append(0, 0) }
    }

    fn frame(message: &Message) -> Vec<u8> {
        let mut buffer = Vec::new();
        encode_message(message, &mut buffer).unwrap();
        buffer
    }

    fn read(mut bytes: &[u8]) -> Result<Vec<Message>, FrameError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut messages = Vec::new();
            while let Some(length) = read_length(&mut bytes).await? {
                messages.push(read_message(&mut bytes, length).await?);
            }
            Ok(messages)
        })
    }

    #[test]
    fn messages_come_back_as_they_went() {
        let sent = [append(0, 0), append(3, 100), snapshot(MAX_MESSAGE_BYTES + 1), append(1, 0)];
        let mut stream = Vec::new();
        for message in &sent {
            encode_message(message, &mut stream).unwrap();
        }
        assert_eq!(read(&stream).unwrap(), sent);
    }

    #[test]
    fn hellos_come_back_as_they_went() {
        let hello = Hello { protocol: PROTOCOL, cluster: "c".to_owned(), from: 1, to: 2 };
        let bytes = encode_hello(&hello).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(read_hello(&mut &bytes[..])).unwrap(), hello);
        let long = Hello { cluster: "c".repeat(MAX_HELLO_BYTES), ..hello };
        assert!(matches!(encode_hello(&long), Err(FrameError::TooLong { .. })));
    }

    #[test]
    fn limits_hold_on_both_sides() {
        let mut buffer = vec![1, 2, 3];
        let error = encode_message(&append(1, MAX_MESSAGE_BYTES), &mut buffer).unwrap_err();
        assert!(matches!(error, FrameError::TooLong { .. }), "{error}");
        assert_eq!(buffer, [1, 2, 3], "a refused frame leaves nothing behind");

        // An announced length alone neither costs memory nor is waited for.
        let error = read(&u32::MAX.to_le_bytes()).unwrap_err();
        assert!(matches!(error, FrameError::TooLong { .. }), "{error}");
        let mut long = u32::try_from(MAX_MESSAGE_BYTES + 1).unwrap().to_le_bytes().to_vec();
        long.push(MessageKind::Append as u8);
        assert!(matches!(read(&long).unwrap_err(), FrameError::TooLong { .. }));
        long[HEADER_BYTES] = snapshot_tag();
        assert!(matches!(read(&long).unwrap_err(), FrameError::Io(_)));
    }

    #[test]
    fn a_stream_may_end_between_frames_and_nowhere_else() {
        let whole = frame(&append(2, 5));
        assert_eq!(read(&whole).unwrap().len(), 1);
        for cut in 1..whole.len() {
            assert!(read(&whole[..cut]).is_err(), "cut at {cut}");
        }
        let mut longer = whole.clone();
        longer[0] += 1;
        longer.push(0);
        assert!(matches!(read(&longer).unwrap_err(), FrameError::Malformed(_)));
    }

    #[test]
    fn what_no_sender_sends_is_refused() {
        let mut gap = append(2, 1);
        gap.entries[1].index += 1;
        let mut stray = append(1, 1);
        stray.kind = MessageKind::Heartbeat;
        let mut empty = append(0, 0);
        empty.kind = MessageKind::Snapshot;
        let mut last = append(1, 1);
        last.index = u64::MAX;
        for message in [gap, stray, empty, last] {
            assert!(matches!(read(&frame(&message)).unwrap_err(), FrameError::Malformed(_)), "{message:?}");
        }
    }

    /// Not a proof, a net: random and damaged bytes, 20,000 of them, neither panic nor hang.
    #[test]
    fn random_and_damaged_frames_never_panic() {
        let draws = Stream::new(11, "fuzz", 0, 0);
        let whole = [frame(&append(3, 20)), frame(&snapshot(300))];
        let mut refused = 0;
        for round in 0..20_000 {
            let draw = |n| draws.bits(round * 1_000 + n);
            let mut bytes = if round % 2 == 0 {
                let length = draw(0) % 200;
                let mut bytes: Vec<u8> = (0..length).map(|n| draw(n + 1) as u8).collect();
                let announced = u32::try_from(length).unwrap_or(0).saturating_sub(4);
                if length >= 4 {
                    bytes[..4].copy_from_slice(&announced.to_le_bytes());
                }
                bytes
            } else {
                whole[(draw(0) % 2) as usize].clone()
            };
            if round % 2 == 1 {
                for n in 0..1 + draw(1) % 4 {
                    let at = (draw(2 + 2 * n) % bytes.len() as u64) as usize;
                    bytes[at] = draw(3 + 2 * n) as u8;
                }
            }
            refused += u32::from(read(&bytes).is_err());
        }
        assert!(refused > 10_000, "{refused}");
    }
}
