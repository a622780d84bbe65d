//! A disk that lies about syncs: what it takes back, what can be told from the directory alone, and what cannot.

use bytes::Bytes;
use mcp_chaos_consensus::{Batch, Configuration, Entry, EntryKind, Snapshot, SnapshotMeta};
use mcp_chaos_evidence::rng::Stream;
use mcp_chaos_wal::{Disk, OpenError, Options, SimDisk, Wal};

fn founded() -> Wal<SimDisk> {
    let (mut wal, _) = Wal::open(SimDisk::new(), Options::new(1)).unwrap();
    let configuration = Configuration { voters: vec![1], ..Configuration::default() };
    let meta = SnapshotMeta { index: 1, term: 1, configuration };
    wal.found("c", &Snapshot { meta, data: Bytes::from_static(b"state") }).unwrap();
    wal
}

fn append(wal: &mut Wal<SimDisk>, index: u64) {
    let entry = Entry { index, term: 1, kind: EntryKind::Normal, data: Bytes::from(vec![7; 600]) };
    wal.write(&Batch { entries: vec![entry], must_sync: true, ..Batch::default() }).unwrap();
    wal.sync().unwrap();
}

/// What is left of three entries that were synced truly, and seven that were not.
fn after_a_lie(seed: u64) -> (SimDisk, Result<u64, OpenError>) {
    let mut wal = founded();
    (2..=4).for_each(|index| append(&mut wal, index));
    wal.disk_mut().set_lying(true);
    (5..=11).for_each(|index| append(&mut wal, index));
    let mut disk = wal.into_disk();
    assert_eq!(disk.lies().syncs, 7);
    disk.power_off(Stream::new(seed, "lying", 0, 0), 1);
    disk.restart();
    let options = Options { must_be_founded: true, ..Options::new(1) };
    let result = match Wal::open(disk.clone(), options) {
        Ok((_, recovered)) => Ok(recovered.entries.last().map_or(1, |entry| entry.index)),
        Err(failure) => Err(failure.error),
    };
    (disk, result)
}

#[test]
fn a_power_loss_takes_back_what_a_lie_reported_durable_and_no_more() {
    let (mut forgotten, mut refused) = (0, 0);
    for seed in 0..200 {
        let (disk, result) = after_a_lie(seed);
        match result {
            Ok(last_index) => {
                assert!((4..=11).contains(&last_index), "what was truly synced is there: {last_index}");
                // Bytes of the last frame's padding may be gone without harm.
                assert!(last_index == 11 || disk.lies().lost_bytes > 0);
                forgotten += u32::from(last_index < 11);
            }
            // A hole below a later frame's watermark: that was once reported durable.
            Err(OpenError::Corrupt { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(forgotten > 20, "an end that is gone cannot be told from one that never was: {forgotten}");
    assert!(refused > 20, "a hole can: {refused}");
}

#[test]
fn with_the_lie_ends_the_danger() {
    let mut wal = founded();
    wal.disk_mut().set_lying(true);
    (2..=11).for_each(|index| append(&mut wal, index));
    wal.disk_mut().set_lying(false);
    let mut disk = wal.into_disk();
    assert!(disk.is_synced());
    disk.power_off(Stream::new(1, "lying", 0, 0), 1);
    disk.restart();
    let (_, recovered) = Wal::open(disk, Options::new(1)).unwrap();
    assert_eq!(recovered.entries.len(), 10);
}

/// A file of 5,000 durable bytes, cut to so many on a disk that lies.
fn cut_under_a_lie(left_bytes: u64) -> SimDisk {
    let mut disk = SimDisk::new();
    disk.create("a").unwrap();
    disk.append("a", &[7; 5_000]).unwrap();
    disk.sync("a").unwrap();
    disk.sync_directory().unwrap();
    disk.set_lying(true);
    disk.truncate("a", left_bytes).unwrap();
    disk.sync("a").unwrap();
    disk
}

#[test]
fn a_cut_that_a_lie_reported_durable_is_kept_once_the_lie_ends_and_counts_if_it_comes_back() {
    for left_bytes in [0, 1_200] {
        let mut came_back = 0;
        for seed in 0..40 {
            let lose_power = |mut disk: SimDisk| {
                disk.power_off(Stream::new(seed, "lying", 0, 0), 1);
                disk.restart();
                (disk.read("a").unwrap().len() as u64, disk.lies().lost_bytes)
            };
            let mut kept = cut_under_a_lie(left_bytes);
            kept.set_lying(false);
            assert_eq!(lose_power(kept), (left_bytes, 0));
            let (bytes, lost_bytes) = lose_power(cut_under_a_lie(left_bytes));
            assert_eq!(lost_bytes, bytes - left_bytes, "what came back");
            came_back += u32::from(lost_bytes > 0);
        }
        assert!((5..=35).contains(&came_back), "{came_back} of 40");
    }
}

#[test]
fn an_empty_directory_is_refused_under_the_identity_of_a_founded_node_and_stays_empty() {
    let options = Options { must_be_founded: true, ..Options::new(1) };
    let failure = Wal::open(SimDisk::new(), options.clone()).unwrap_err();
    assert_eq!(failure.error, OpenError::Lost);
    assert!(failure.error.to_string().starts_with("the data directory is empty"));
    assert!(failure.disk.list().unwrap().is_empty());
    // One that was opened, and never founded, is no better.
    let (wal, _) = Wal::open(SimDisk::new(), Options::new(1)).unwrap();
    let disk = wal.into_disk();
    let files = disk.list().unwrap();
    let failure = Wal::open(disk, options.clone()).unwrap_err();
    assert_eq!(failure.error, OpenError::Lost);
    assert_eq!(failure.disk.list().unwrap(), files);
    assert!(Wal::open(founded().into_disk(), options).is_ok());
}
