//! Founding, compaction, refusals, misuse.

use bytes::Bytes;
use mcp_chaos_consensus::{Batch, Entry, EntryKind, HardState, Recovered, Snapshot, SnapshotMeta};
use mcp_chaos_wal::{Disk, DiskOp, MAX_ENTRY_BYTES, OpenError, Options, SimDisk, Wal, WalError};

use crate::script::founding_snapshot;

fn open(disk: SimDisk, options: Options) -> Result<(Wal<SimDisk>, Recovered), OpenError> {
    Ok(Wal::open(disk, options)?)
}

fn founded(options: Options) -> Wal<SimDisk> {
    let (mut wal, _) = open(SimDisk::new(), options).expect("an empty disk");
    wal.found("tests", &founding_snapshot()).expect("unfounded");
    wal
}

fn entry(index: u64, data: impl Into<Bytes>) -> Entry {
    Entry { index, term: 1, kind: EntryKind::Normal, data: data.into() }
}

fn batch(entries: Vec<Entry>) -> Batch {
    Batch { entries, ..Batch::default() }
}

#[test]
fn an_empty_directory_counts_its_boots_and_belongs_to_no_cluster_until_it_is_founded() {
    let (wal, recovered) = open(SimDisk::new(), Options::new(3)).expect("an empty disk");
    assert_eq!(recovered, Recovered { boot: 1, ..Recovered::default() });
    let (mut wal, recovered) = open(wal.into_disk(), Options::new(3)).expect("opened before");
    assert_eq!(recovered, Recovered { boot: 2, ..Recovered::default() });

    wal.found("tests", &founding_snapshot()).expect("unfounded");
    assert!(matches!(wal.found("tests", &founding_snapshot()), Err(WalError::Invalid(_))));
    let (_, recovered) = open(wal.into_disk(), Options::new(3)).expect("opened before");
    let hard_state = HardState { term: 1, vote: 0, commit: 1 };
    let snapshot = Some(founding_snapshot());
    assert_eq!(
        recovered,
        Recovered { boot: 3, cluster: "tests".into(), hard_state, snapshot, entries: vec![] }
    );
}

#[test]
fn a_directory_of_another_node_or_cluster_is_refused_untouched() {
    let disk = founded(Options::new(3)).into_disk();
    let unfounded = open(SimDisk::new(), Options::new(3)).expect("an empty disk").0.into_disk();
    let other_cluster = Options { cluster: Some("production".into()), ..Options::new(3) };
    for (disk, options, found) in [
        (&disk, Options::new(4), "expected node n4, found n3"),
        (&unfounded, Options::new(4), "expected node n4, found n3"),
        (&disk, other_cluster, "expected cluster \"production\", found \"tests\""),
    ] {
        let failure = Wal::open(disk.clone(), options).expect_err("foreign");
        let OpenError::Foreign { what, .. } = &failure.error else { panic!("{failure}") };
        assert_eq!(what, found);
        assert_eq!(failure.disk.operations(), disk.operations());
    }
}

#[test]
fn a_directory_with_files_of_anothers_is_refused_untouched() {
    let mut disk = SimDisk::new();
    disk.create("holiday.jpg").expect("powered");
    let failure = Wal::open(disk, Options::new(3)).expect_err("foreign");
    assert!(matches!(&failure.error, OpenError::Foreign { file, .. } if file == "holiday.jpg"), "{failure}");
    assert_eq!(failure.disk.list(), Ok(vec!["holiday.jpg".to_owned()]));
}

#[test]
fn a_segment_that_strayed_in_from_another_cluster_is_recognised() {
    let mut disk = founded(Options::new(3)).into_disk();
    let (mut stranger, _) = open(SimDisk::new(), Options::new(3)).expect("an empty disk");
    stranger.found("elsewhere", &founding_snapshot()).expect("unfounded");
    let snapshot = "snapshot-00000000000000000001.snap";
    let content = stranger.disk().read(snapshot).expect("founded");
    disk.truncate(snapshot, 0).expect("powered");
    disk.append(snapshot, &content).expect("powered");
    // The founding segment is older than its cluster; the next one names it.
    let (mut wal, _) =
        open(disk, Options { segment_bytes: 1, ..Options::new(3) }).expect("as good as founded there");
    wal.write(&batch(vec![entry(2, "x")])).expect("contiguous");
    wal.sync().expect("powered");
    let mut disk = wal.into_disk();
    let content = founded(Options::new(3)).disk().read(snapshot).expect("founded");
    disk.truncate(snapshot, 0).expect("powered");
    disk.append(snapshot, &content).expect("powered");
    assert!(matches!(open(disk, Options::new(3)), Err(OpenError::Foreign { .. })));
}

#[test]
fn one_batch_costs_one_write_and_one_sync() {
    let mut wal = founded(Options::new(3));
    wal.sync().expect("powered");
    let (writes, syncs) = (wal.disk().writes(), wal.disk().syncs());
    let hard_state = Some(HardState { term: 1, vote: 1, commit: 1 });
    wal.write(&Batch { hard_state, ..batch(vec![entry(2, "a"), entry(3, "b")]) }).expect("contiguous");
    assert!(wal.sync_owed() && wal.disk().unsynced_bytes() > 0);
    wal.sync().expect("powered");
    assert_eq!((wal.disk().writes() - writes, wal.disk().syncs() - syncs), (1, 1));
    assert!(!wal.sync_owed() && wal.disk().unsynced_bytes() == 0);
    wal.sync().expect("powered");
    wal.write(&Batch { hard_state, ..Batch::default() }).expect("nothing new");
    wal.sync().expect("powered");
    assert_eq!((wal.disk().writes() - writes, wal.disk().syncs() - syncs), (1, 1), "nothing was owed");
}

#[test]
fn compaction_frees_segments_but_none_that_a_start_or_a_follower_needs() {
    let mut wal = founded(Options { segment_bytes: 300, ..Options::new(3) });
    for index in 2..=100 {
        wal.write(&batch(vec![entry(index, vec![7; 50])])).expect("contiguous");
    }
    wal.sync().expect("powered");
    let segments = |wal: &Wal<SimDisk>| wal.disk().list().expect("powered").len() - 1;
    let all = segments(&wal);
    assert!(all > 20, "{all}");
    wal.compact(u64::MAX).expect("powered");
    assert_eq!(segments(&wal), all, "nothing lies below the founding snapshot");

    let meta = SnapshotMeta { index: 80, term: 1, ..SnapshotMeta::default() };
    wal.save_snapshot(&Snapshot { meta, data: Bytes::from_static(b"at 80") }).expect("powered");
    wal.compact(41).expect("powered");
    let some = segments(&wal);
    assert!(some < all * 2 / 3 && some > all / 2, "{some} of {all}: entries 41 to 100 stay");
    wal.compact(u64::MAX).expect("powered");
    let few = segments(&wal);
    assert!(few < all / 3 && few > all / 6, "{few} of {all}: entries 81 to 100 stay");
    let removals = wal.disk().count(DiskOp::Remove);
    wal.compact(u64::MAX).expect("powered");
    assert_eq!(wal.disk().count(DiskOp::Remove), removals);

    let (_, recovered) = open(wal.into_disk(), Options::new(3)).expect("intact");
    assert_eq!(recovered.snapshot.expect("saved").meta.index, 80);
    assert_eq!(
        recovered.entries.iter().map(|entry| entry.index).collect::<Vec<_>>(),
        (81..=100).collect::<Vec<_>>()
    );
    assert_eq!(recovered.hard_state.commit, 80, "a snapshot vouches for commitment");
}

#[test]
fn superseded_entries_hold_no_segment() {
    let mut wal = founded(Options { segment_bytes: 300, ..Options::new(3) });
    for index in (2..=60).chain(5..=10) {
        wal.write(&batch(vec![entry(index, vec![7; 50])])).expect("contiguous");
    }
    let meta = SnapshotMeta { index: 10, term: 1, ..SnapshotMeta::default() };
    wal.save_snapshot(&Snapshot { meta, data: Bytes::new() }).expect("powered");
    wal.compact(u64::MAX).expect("powered");
    assert_eq!(wal.disk().list().expect("powered").len(), 2, "one segment and the snapshot");
    let (_, recovered) = open(wal.into_disk(), Options::new(3)).expect("intact");
    assert_eq!(recovered.entries, []);
}

#[test]
fn a_long_batch_takes_several_frames_and_comes_back_whole() {
    let mut wal = founded(Options::new(3));
    let entries: Vec<Entry> = (2..7).map(|index| entry(index, vec![index as u8; 9 << 20])).collect();
    let hard_state = HardState { term: 2, vote: 1, commit: 3 };
    wal.write(&Batch { hard_state: Some(hard_state), ..batch(entries.clone()) }).expect("split");
    wal.sync().expect("powered");
    let (_, recovered) = open(wal.into_disk(), Options::new(3)).expect("intact");
    assert_eq!((recovered.entries, recovered.hard_state), (entries, hard_state));
}

#[test]
fn a_batch_that_contradicts_the_log_is_refused_and_the_log_goes_on() {
    let (mut unfounded, _) = open(SimDisk::new(), Options::new(3)).expect("an empty disk");
    assert!(matches!(unfounded.write(&batch(vec![entry(1, "x")])), Err(WalError::Invalid(_))));

    let mut wal = founded(Options::new(3));
    let old = Snapshot {
        meta: SnapshotMeta { index: 1, term: 1, ..SnapshotMeta::default() },
        ..Snapshot::default()
    };
    let ahead = Snapshot {
        meta: SnapshotMeta { index: 9, term: 1, ..SnapshotMeta::default() },
        ..Snapshot::default()
    };
    for refused in [
        batch(vec![entry(3, "a gap")]),
        batch(vec![entry(1, "under the snapshot")]),
        batch(vec![entry(2, "a"), entry(4, "not contiguous")]),
        batch(vec![entry(2, vec![0; MAX_ENTRY_BYTES + 1])]),
        Batch { snapshot: Some(Box::new(old)), ..Batch::default() },
    ] {
        let writes = wal.disk().writes();
        assert!(matches!(wal.write(&refused), Err(WalError::Invalid(_))), "{refused:?}");
        assert_eq!(wal.disk().writes(), writes, "nothing was written");
    }
    assert!(matches!(wal.save_snapshot(&ahead), Err(WalError::Invalid(_))), "of what the log does not hold");
    wal.write(&batch(vec![entry(2, vec![0; MAX_ENTRY_BYTES])])).expect("contiguous, and just short enough");
    assert_eq!(wal.last_index(), 2);
}
