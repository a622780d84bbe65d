//! Frames: the unit of a segment that is there as a whole or not at all. Why they are laid out so is said in
//! the crate's documentation.
//!
//! ```text
//! offset, a multiple of 16
//! 0   u32  bytes of the body, the padding not counted
//! 4   u8   kind, from 1
//! 5   u24  watermark: length of the segment known to be durable when this was written, in units of 16 bytes
//! 8   u32  CRC32C of the body as stored, padding included
//! 12  u32  CRC32C of (sequence of the segment, offset, bytes 0..12)
//! 16       the body: u16 mask, then the payload, then zeros up to a multiple of 16; all of it XORed word by
//!          word (u16) with the mask (so that the mask's own place, zero before, shows it)
//! ```
//! All integers little-endian.

use std::borrow::Cow;
use std::collections::BTreeSet;

/// Bytes of a frame's header, and the unit to which frames are aligned and padded.
pub const HEADER_BYTES: usize = 16;
/// The unit a disk writes as a whole or not at all.
pub const SECTOR_BYTES: usize = 512;
/// The longest body. Keeps watermarks within 24 bits, and what a damaged length can make us read.
pub const MAX_BODY_BYTES: usize = 16 << 20;
/// The greatest watermark that 24 bits can express.
pub const MAX_WATERMARK_BYTES: u64 = 0xff_ffff * HEADER_BYTES as u64;

const MASK_BYTES: usize = 2;
/// An intact share of a sector differs from zero in at least this many words, so that damage to fewer of them
/// cannot make it look like one that never reached the disk.
const MIN_NONZERO_WORDS: usize = 3;

/// Where a frame stands: part of its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The segment's sequence.
    pub sequence: u64,
    /// The frame's offset in it, in bytes.
    pub offset: u64,
}

/// Begins a frame in `buffer`: leaves room for its header and mask. The caller appends the payload, then
/// calls [`finish`].
pub fn begin(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.extend_from_slice(&[0; HEADER_BYTES + MASK_BYTES]);
}

/// Completes the frame begun in `buffer`. `watermark` is in bytes. Panics if the payload is too long.
pub fn finish(buffer: &mut Vec<u8>, kind: u8, watermark: u64, place: Place) {
    let body_bytes = buffer.len() - HEADER_BYTES;
    assert!(body_bytes <= MAX_BODY_BYTES, "a body of {body_bytes} bytes");
    assert!(kind > 0 && watermark <= place.offset && place.offset.is_multiple_of(HEADER_BYTES as u64));
    buffer.resize(buffer.len().next_multiple_of(HEADER_BYTES), 0);
    apply_mask(buffer, place.offset);
    let body_crc = crc32c::crc32c(&buffer[HEADER_BYTES..]);
    let watermark_units = (watermark / HEADER_BYTES as u64) as u32;
    buffer[0..4].copy_from_slice(&(body_bytes as u32).to_le_bytes());
    buffer[4..8].copy_from_slice(&(u32::from(kind) | watermark_units << 8).to_le_bytes());
    buffer[8..12].copy_from_slice(&body_crc.to_le_bytes());
    let header_crc = header_checksum(&buffer[0..12], place);
    buffer[12..16].copy_from_slice(&header_crc.to_le_bytes());
}

/// What stands at an offset of a segment.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// A frame: its kind, its watermark in bytes, its payload, and where the next one begins.
    Frame { kind: u8, watermark: u64, payload: Cow<'a, [u8]>, next: u64 },
    /// What a power loss may leave of a frame that was never synced.
    Torn,
    /// What it may not.
    Damaged(&'static str),
}

/// Reads the frame of the segment `bytes` that begins at `place.offset`, below the segment's end. The body's
/// checksum is looked at if `verified`: always, but for the plant `corrupt-frame-accepted`.
pub fn read(bytes: &[u8], place: Place, verified: bool) -> Found<'_> {
    let start = place.offset as usize;
    let Some(header) = bytes.get(start..start + HEADER_BYTES) else { return Found::Torn };
    let Some(Header { kind, watermark, body_bytes, body_crc }) = Header::read(header, place) else {
        let sector_end = (start + 1).next_multiple_of(SECTOR_BYTES).min(bytes.len());
        return if all_zero(&bytes[start..sector_end]) {
            Found::Torn
        } else {
            Found::Damaged("a frame's header does not match its checksum")
        };
    };
    let body_start = start + HEADER_BYTES;
    let end = body_start + body_bytes.next_multiple_of(HEADER_BYTES);
    let Some(body) = bytes.get(body_start..end) else { return Found::Torn };
    if verified && crc32c::crc32c(body) != body_crc {
        let lost = shares(start, end).any(|(from, to)| all_zero(&bytes[from..to]));
        return if lost { Found::Torn } else { Found::Damaged("a frame's body does not match its checksum") };
    }
    let mask = [body[0], body[1]];
    let payload = match mask {
        [0, 0] => Cow::Borrowed(&body[MASK_BYTES..body_bytes]),
        _ => (MASK_BYTES..body_bytes).map(|at| body[at] ^ mask[at % 2]).collect(),
    };
    Found::Frame { kind, watermark, payload, next: end as u64 }
}

/// The greatest watermark (in bytes) of any frame at or after `from` whose header and body are intact; 0 if
/// there is none. Looks at every place where a frame may begin, since after damage their row is lost.
pub fn greatest_watermark(bytes: &[u8], sequence: u64, from: u64) -> u64 {
    let first = (from as usize).next_multiple_of(HEADER_BYTES);
    (first..bytes.len())
        .step_by(HEADER_BYTES)
        .filter_map(|start| {
            let place = Place { sequence, offset: start as u64 };
            let header = Header::read(bytes.get(start..start + HEADER_BYTES)?, place)?;
            let body_start = start + HEADER_BYTES;
            let body =
                bytes.get(body_start..body_start + header.body_bytes.next_multiple_of(HEADER_BYTES))?;
            (crc32c::crc32c(body) == header.body_crc).then_some(header.watermark)
        })
        .max()
        .unwrap_or(0)
}

struct Header {
    kind: u8,
    watermark: u64,
    body_bytes: usize,
    body_crc: u32,
}

impl Header {
    /// `None` if the checksum, or anything that a writer guarantees, does not hold.
    fn read(header: &[u8], place: Place) -> Option<Header> {
        let word =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (body_bytes, kind) = (word(0) as usize, header[4]);
        let watermark = u64::from(word(4) >> 8) * HEADER_BYTES as u64;
        let plausible =
            (MASK_BYTES..=MAX_BODY_BYTES).contains(&body_bytes) && kind > 0 && watermark <= place.offset;
        (plausible && header_checksum(&header[0..12], place) == word(12)).then_some(Header {
            kind,
            watermark,
            body_bytes,
            body_crc: word(8),
        })
    }
}

fn header_checksum(fields: &[u8], place: Place) -> u32 {
    let mut covered = [0; 28];
    covered[0..8].copy_from_slice(&place.sequence.to_le_bytes());
    covered[8..16].copy_from_slice(&place.offset.to_le_bytes());
    covered[16..28].copy_from_slice(fields);
    crc32c::crc32c(&covered)
}

/// The parts (from, to) of `start..end` in each sector but the first, which holds the header.
fn shares(start: usize, end: usize) -> impl Iterator<Item = (usize, usize)> {
    ((start + 1).next_multiple_of(SECTOR_BYTES)..end)
        .step_by(SECTOR_BYTES)
        .map(move |from| (from, (from + SECTOR_BYTES).min(end)))
}

/// Masks the body so that no sector's share of it is zero or nearly so.
fn apply_mask(frame: &mut [u8], offset: u64) {
    let start = offset as usize;
    let share_of = |(from, to): (usize, usize)| (from - start, to - start);
    let nearly = |share: &[u8], mask: u16| {
        words(share).filter(|word| *word != mask).take(MIN_NONZERO_WORDS).count() < MIN_NONZERO_WORDS
    };
    let blank =
        shares(start, start + frame.len()).map(share_of).any(|(from, to)| nearly(&frame[from..to], 0));
    if !blank {
        return;
    }
    // A share has 8 words or more, so at most one mask would blank it: the word that most of them equal. A
    // body has fewer shares than there are masks, so one is left over.
    let unfit: BTreeSet<u16> = shares(start, start + frame.len())
        .map(share_of)
        .filter_map(|(from, to)| {
            let share = &frame[from..to];
            let candidate = majority(words(share));
            nearly(share, candidate).then_some(candidate)
        })
        .collect();
    let mask = (0..=u16::MAX).find(|mask| !unfit.contains(mask)).expect("fewer shares than masks");
    for word in frame[HEADER_BYTES..].chunks_exact_mut(2) {
        word.copy_from_slice(&(u16::from_le_bytes([word[0], word[1]]) ^ mask).to_le_bytes());
    }
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes.chunks_exact(2).map(|word| u16::from_le_bytes([word[0], word[1]]))
}

/// The value that more than half of `words` have, if there is one, else any (Boyer and Moore's vote).
fn majority(words: impl Iterator<Item = u16>) -> u16 {
    let (mut candidate, mut lead) = (0, 0_usize);
    for word in words {
        match (word == candidate, lead) {
            (true, _) => lead += 1,
            (false, 0) => (candidate, lead) = (word, 1),
            (false, _) => lead -= 1,
        }
    }
    candidate
}

fn all_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame_at(offset: u64, watermark: u64, payload: &[u8]) -> Vec<u8> {
        let mut buffer = Vec::new();
        begin(&mut buffer);
        buffer.extend_from_slice(payload);
        finish(&mut buffer, 3, watermark, Place { sequence: 1, offset });
        buffer
    }

    /// A segment whose first `offset` bytes do not matter, then one frame.
    fn segment_with(offset: u64, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![7; offset as usize];
        bytes.extend(frame_at(offset, 0, payload));
        bytes
    }

    #[test]
    fn a_frame_is_read_back_with_its_kind_watermark_and_payload() {
        let mut bytes = vec![0; 32];
        bytes.extend(frame_at(32, 16, b"vote for n2"));
        let place = Place { sequence: 1, offset: 32 };
        assert_eq!(
            read(&bytes, place, true),
            Found::Frame { kind: 3, watermark: 16, payload: b"vote for n2".into(), next: 64 }
        );
        assert_eq!(greatest_watermark(&bytes, 1, 0), 16);
    }

    #[test]
    fn a_frame_in_the_wrong_segment_or_at_the_wrong_offset_is_none() {
        let mut bytes = frame_at(0, 0, b"x");
        let elsewhere = frame_at(0, 0, b"y");
        assert!(matches!(read(&bytes, Place { sequence: 2, offset: 0 }, true), Found::Damaged(_)));
        bytes.extend(elsewhere);
        assert!(matches!(read(&bytes, Place { sequence: 1, offset: 32 }, true), Found::Damaged(_)));
    }

    #[test]
    fn a_frame_cut_anywhere_is_torn() {
        let bytes = segment_with(480, &[5; 1200]);
        for length in 481..bytes.len() {
            assert_eq!(
                read(&bytes[..length], Place { sequence: 1, offset: 480 }, true),
                Found::Torn,
                "{length}"
            );
        }
    }

    /// Payloads that would hide a lost sector, or that nearly would, were they stored as they are.
    #[test]
    fn a_lost_sector_is_torn_and_a_flipped_bit_is_not_whatever_the_payload() {
        let mut almost_blank = vec![0; 1500];
        almost_blank[600] = 1;
        let striped: Vec<u8> = (0..3000_usize).map(|at| (at / 512) as u8).collect();
        let sparse: Vec<u8> = (0..3000_usize).map(|at| u8::from(at % 300 == 0)).collect();
        for payload in [vec![0; 1500], almost_blank, vec![1; 1500], striped, sparse, vec![0; 480]] {
            for offset in [0, 16, 480, 496] {
                let bytes = segment_with(offset, &payload);
                let place = Place { sequence: 1, offset };
                let Found::Frame { payload: read_back, .. } = read(&bytes, place, true) else {
                    panic!("unreadable")
                };
                assert_eq!(read_back, payload);
                for (from, to) in shares(offset as usize, bytes.len()) {
                    let mut lost = bytes.clone();
                    lost[from..to].fill(0);
                    assert_eq!(read(&lost, place, true), Found::Torn, "offset {offset}, {from}..{to}");
                }
                for bit in 0..(bytes.len() - offset as usize) * 8 {
                    let mut flipped = bytes.clone();
                    flipped[offset as usize + bit / 8] ^= 1 << (bit % 8);
                    assert!(
                        matches!(read(&flipped, place, true), Found::Damaged(_)),
                        "offset {offset}, bit {bit}"
                    );
                }
            }
        }
    }
}
