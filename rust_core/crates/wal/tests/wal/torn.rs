//! Two images, built by hand, for which a careless reader would fall: one that does not cut a torn tail, one
//! that takes a damaged frame for a good one. And what lies between the two.

use mcp_chaos_consensus::{Batch, Entry, EntryKind, HardState, Recovered};
use mcp_chaos_wal::{Disk, OpenError, Options, SimDisk, Wal};

use crate::script::founding_snapshot;

const SEGMENT: &str = "log-00000000000000000002.wal";

fn founded() -> Wal<SimDisk> {
    let (mut wal, _) = Wal::open(SimDisk::new(), Options::new(3)).expect("an empty disk");
    wal.found("tests", &founding_snapshot()).expect("unfounded");
    wal
}

fn write(wal: &mut Wal<SimDisk>, index: u64, data: &'static [u8]) {
    let entries = vec![Entry { index, term: 1, kind: EntryKind::Normal, data: data.into() }];
    let hard_state = Some(HardState { term: 1, vote: 1, commit: index - 1 });
    wal.write(&Batch { entries, hard_state, ..Batch::default() }).expect("contiguous");
}

fn length(wal: &Wal<SimDisk>) -> usize {
    wal.disk().read(SEGMENT).expect("the growing segment").len()
}

/// The disk with its growing segment replaced.
fn with_segment(mut disk: SimDisk, content: &[u8]) -> SimDisk {
    disk.truncate(SEGMENT, 0).expect("powered");
    disk.append(SEGMENT, content).expect("powered");
    disk.sync(SEGMENT).expect("powered");
    disk
}

fn open(disk: SimDisk) -> Result<(Wal<SimDisk>, Recovered), OpenError> {
    Ok(Wal::open(disk, Options::new(3))?)
}

fn texts(recovered: &Recovered) -> Vec<&[u8]> {
    recovered.entries.iter().map(|entry| &entry.data[..]).collect()
}

/// A page of the first unsynced frame never reached the disk, the frame after it did. A reader that kept the
/// tail, and appended to it, would hide what is synced later behind garbage; one that skipped the gap would
/// give back "third" without "second".
#[test]
fn a_torn_tail_is_cut_and_what_comes_after_it_is_found() {
    let mut wal = founded();
    write(&mut wal, 2, b"first");
    wal.sync().expect("powered");
    let durable = length(&wal);
    write(&mut wal, 3, &[b'2'; 1600]);
    write(&mut wal, 4, b"third");
    let mut content = wal.disk().read(SEGMENT).expect("the growing segment");
    let sector = durable.next_multiple_of(512);
    content[sector..sector + 512].fill(0);

    let (mut wal, recovered) = open(with_segment(wal.into_disk(), &content)).expect("torn, not corrupt");
    assert_eq!(texts(&recovered), [b"first"]);
    assert!(length(&wal) < sector, "the tail is gone from the file");
    write(&mut wal, 3, b"another second");
    wal.sync().expect("powered");
    let (_, recovered) = open(wal.into_disk()).expect("intact");
    assert_eq!(texts(&recovered), [&b"first"[..], b"another second"]);
}

/// One bit of the last synced frame turned. A reader that took every bad last frame for a torn tail would cut
/// it, and with it an acknowledged entry; one that did not look at checksums would give back another entry.
#[test]
fn a_damaged_frame_is_refused_even_as_the_very_last() {
    let mut wal = founded();
    write(&mut wal, 2, b"acknowledged");
    wal.sync().expect("powered");
    let content = wal.disk().read(SEGMENT).expect("the growing segment");
    let at = content.windows(12).position(|window| window == b"acknowledged").expect("written as it is");
    let mut disk = wal.into_disk();
    disk.corrupt(SEGMENT, at as u64, 0x20);
    let error = open(disk).expect_err("corrupt");
    let OpenError::Corrupt { file, offset, what } = error else { panic!("{error}") };
    assert_eq!(file, SEGMENT);
    assert!((offset as usize) < at && at - (offset as usize) < 96, "{offset}");
    assert_eq!(what, "a frame's body does not match its checksum");
}

/// The same blank sector, once of a frame that was never synced, once of one that a later frame knows to be
/// durable: the watermark alone tells them apart.
#[test]
fn a_blank_sector_is_torn_above_the_watermark_and_corrupt_below() {
    for synced in [false, true] {
        let mut wal = founded();
        let start = length(&wal);
        write(&mut wal, 2, &[b'a'; 1600]);
        if synced {
            wal.sync().expect("powered");
        }
        write(&mut wal, 3, b"later");
        let mut content = wal.disk().read(SEGMENT).expect("the growing segment");
        let sector = start.next_multiple_of(512);
        content[sector..sector + 512].fill(0);
        match open(with_segment(wal.into_disk(), &content)) {
            Ok((_, recovered)) => assert!(!synced && recovered.entries.is_empty()),
            Err(error) => {
                assert!(synced, "{error}");
                assert!(
                    matches!(error, OpenError::Corrupt { offset, .. } if offset == start as u64),
                    "{error}"
                );
            }
        }
    }
}

/// A frame may end anywhere: at each length of the file the last whole frame is the last entry.
#[test]
fn an_unsynced_tail_cut_at_any_byte_leaves_whole_frames() {
    let mut wal = founded();
    let start = length(&wal);
    let mut ends = vec![start];
    for index in 2..6 {
        write(&mut wal, index, &[b'x'; 300]);
        ends.push(length(&wal));
    }
    let content = wal.disk().read(SEGMENT).expect("the growing segment");
    let disk = wal.into_disk();
    for cut in start..=content.len() {
        let (wal, recovered) = open(with_segment(disk.clone(), &content[..cut])).expect("torn, not corrupt");
        let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
        assert_eq!(recovered.entries.len(), whole, "cut at {cut}");
        assert!(length(&wal) >= ends[whole]);
    }
}
