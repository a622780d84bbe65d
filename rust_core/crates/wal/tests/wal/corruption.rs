//! Damage to what was durable: never read as something else, and refused with the place, untouched.

use std::collections::BTreeMap;

use mcp_chaos_wal::{CrashPoint, Disk, DiskOp, Moment, OpenError, SimDisk, Wal};

use crate::model::State;
use crate::script::{Action, Run, options};

fn files(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    let names = disk.list().expect("powered");
    names.into_iter().map(|name| (name.clone(), disk.read(&name).expect("listed"))).collect()
}

fn disk_with(files: &BTreeMap<String, Vec<u8>>) -> SimDisk {
    let mut disk = SimDisk::new();
    for (name, content) in files {
        disk.create(name).expect("powered");
        disk.append(name, content).expect("powered");
        disk.sync(name).expect("powered");
    }
    disk.sync_directory().expect("powered");
    disk
}

/// Where the frame around `offset` begins and ends; the whole file for a snapshot.
fn frame_around(file: &str, content: &[u8], offset: u64) -> (u64, u64) {
    if !file.ends_with(".wal") {
        return (0, content.len() as u64);
    }
    let mut start = 0;
    loop {
        let length = u32::from_le_bytes(content[start..start + 4].try_into().expect("four bytes"));
        let end = start + 16 + (length as usize).next_multiple_of(16);
        if offset < end as u64 {
            return (start as u64, end as u64);
        }
        start = end;
    }
}

/// A directory in the middle of a long life: several segments, long frames, a snapshot. All of it synced, so
/// the last frame is covered by no watermark.
fn synced() -> (SimDisk, State) {
    let (mut run, _) = Run::start(SimDisk::new(), options());
    let append = |count, bytes, over| Action::Append { count, bytes, over };
    let script = [
        append(3, 100, 0),
        Action::Commit,
        Action::Save { below_end: 1 },
        append(2, 300, 0),
        append(2, 1100, 1),
        append(3, 64, 0),
        Action::Vote,
        append(1, 900, 0),
        Action::Restart,
        append(1, 600, 0),
        Action::Vote,
        Action::Sync,
    ];
    run.run(&script).expect("powered");
    let state = run.newest().clone();
    (run.into_disk(), state)
}

/// A directory in which obsolete segments and snapshots still lie about.
fn with_obsolete_files() -> (SimDisk, State) {
    let (mut run, _) = Run::start(SimDisk::new(), options());
    let append = |count, bytes, over| Action::Append { count, bytes, over };
    let script = [append(3, 400, 0), append(3, 400, 0), append(1, 10, 0), Action::Sync];
    run.run(&script).expect("powered");
    run.wal().disk_mut().crash_at(CrashPoint { op: Some(DiskOp::Remove), nth: 1, moment: Moment::Before });
    run.act(&Action::Install { beyond_end: 3, with_state: true, with_entry: false }).expect_err("crashed");
    let state = run.newest().clone();
    let mut disk = run.into_disk();
    disk.restart();
    (disk, state)
}

/// Damages each byte of each file in each of the ways, and opens the result.
fn damage_every_byte(disk: &SimDisk, state: &State, patterns: &[u8]) -> (u64, u64) {
    let (mut refused, mut harmless) = (0, 0);
    let intact = files(disk);
    for (file, content) in &intact {
        for offset in 0..content.len() as u64 {
            for pattern in patterns {
                let mut damaged = disk.clone();
                assert!(damaged.corrupt(file, offset, *pattern));
                let (before, operations) = (files(&damaged), damaged.operations());
                match Wal::open(damaged, options()) {
                    Ok((_, recovered)) => {
                        assert_eq!(
                            &State::from(&recovered),
                            state,
                            "{file} at {offset} ^ {pattern}: silently different"
                        );
                        harmless += 1;
                    }
                    Err(failure) => {
                        let OpenError::Corrupt { file: named, offset: at, .. } = &failure.error else {
                            panic!("{file} at {offset} ^ {pattern}: {failure}")
                        };
                        let (start, end) = frame_around(file, content, offset);
                        assert_eq!(named, file, "at {offset} ^ {pattern}: {failure}");
                        assert!((start..end).contains(at), "{offset} ^ {pattern}: {failure}");
                        assert_eq!(failure.disk.operations(), operations, "touched nothing");
                        assert_eq!(files(&failure.disk), before, "changed nothing");
                        refused += 1;
                    }
                }
            }
        }
    }
    (refused, harmless)
}

#[test]
fn every_damaged_byte_of_a_synced_directory_is_refused_with_its_place() {
    let (disk, state) = synced();
    let (refused, harmless) = damage_every_byte(&disk, &state, &[0x01, 0x10, 0x80, 0xff]);
    assert!(refused > 10_000, "{refused}");
    assert_eq!(harmless, 0, "every file of this directory counts");
}

#[test]
fn damage_in_an_obsolete_file_is_harmless_and_in_any_other_refused() {
    let (disk, state) = with_obsolete_files();
    let (refused, harmless) = damage_every_byte(&disk, &state, &[0x04, 0xff]);
    assert!(refused > 100 && harmless > 1_000, "{refused} refused, {harmless} harmless");
}

#[test]
fn a_sector_that_turned_blank_below_a_watermark_is_refused() {
    let (disk, _) = synced();
    let intact = files(&disk);
    let last = intact.keys().rfind(|name| name.ends_with(".wal")).expect("a segment").clone();
    for (file, content) in intact.iter().filter(|(file, _)| file.ends_with(".wal")) {
        // In the last segment the last frames are above every watermark: those a power loss may have taken.
        let covered = if *file == last { content.len().saturating_sub(1200) } else { content.len() };
        for from in (0..covered).step_by(512) {
            let mut damaged = intact.clone();
            let to = (from + 512).min(content.len());
            damaged.get_mut(file).expect("listed")[from..to].fill(0);
            let error = Wal::open(disk_with(&damaged), options()).expect_err("damaged").error;
            assert!(
                matches!(&error, OpenError::Corrupt { file: named, .. } if named == file),
                "{file} at {from}: {error}"
            );
        }
    }
}

#[test]
fn a_file_that_vanished_or_shrank_is_refused() {
    let (disk, _) = synced();
    let intact = files(&disk);
    let last = intact.keys().rfind(|name| name.ends_with(".wal")).expect("a segment");
    for file in intact.keys() {
        let mut damaged = intact.clone();
        damaged.remove(file);
        if file != last {
            let error = Wal::open(disk_with(&damaged), options()).expect_err("a file is missing").error;
            assert!(
                matches!(&error, OpenError::Corrupt { file: named, .. } if named == file),
                "{file}: {error}"
            );
        }
        for length in 0..intact[file].len() {
            damaged.insert(file.clone(), intact[file][..length].to_vec());
            if file != last {
                let error = Wal::open(disk_with(&damaged), options()).expect_err("a file is shorter").error;
                assert!(
                    matches!(&error, OpenError::Corrupt { file: named, .. } if named == file),
                    "{file}: {error}"
                );
            }
        }
    }
}

/// The last segment never got its header to the disk; but it was begun, so the one before was complete.
#[test]
fn a_torn_segment_before_an_unborn_one_is_refused() {
    let (disk, state) = synced();
    let mut damaged = files(&disk);
    let last = damaged.keys().rfind(|name| name.ends_with(".wal")).expect("a segment").clone();
    let (number, unborn) =
        (last[4..24].parse::<u64>().expect("a number"), |number| format!("log-{number:020}.wal"));
    damaged.insert(unborn(number + 1), Vec::new());
    let (mut wal, recovered) =
        Wal::open(disk_with(&damaged), options()).expect("as if it had never been begun");
    assert_eq!(State::from(&recovered), state);
    assert!(!wal.disk_mut().list().expect("powered").contains(&unborn(number + 1)));

    damaged.get_mut(&last).expect("listed").pop();
    let error = Wal::open(disk_with(&damaged), options()).expect_err("torn").error;
    assert!(matches!(&error, OpenError::Corrupt { file, .. } if *file == last), "{error}");
}

/// An older snapshot lies about, but the log knows of a newer one, and may have dropped what lay between.
#[test]
fn an_older_snapshot_does_not_stand_in_for_a_missing_one() {
    let (founded, _) = Run::start(SimDisk::new(), options());
    let founding = files(&founded.into_disk()).pop_last().expect("the founding snapshot");
    let (disk, _) = synced();
    let mut damaged = files(&disk);
    let (newest, _) = damaged.pop_last().expect("a snapshot");
    assert!(newest > founding.0 && founding.0.starts_with("snapshot-"));
    damaged.extend([founding]);
    let error = Wal::open(disk_with(&damaged), options()).expect_err("missing").error;
    assert!(matches!(&error, OpenError::Corrupt { file, .. } if *file == newest), "{error}");
}
