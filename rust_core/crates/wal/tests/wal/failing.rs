//! A full or failing simulated disk, and what the log makes of it.

use mcp_chaos_wal::{Disk, DiskError, Failing, SimDisk};

fn disk() -> SimDisk {
    let mut disk = SimDisk::new();
    disk.create("a").unwrap();
    disk.append("a", b"kept").unwrap();
    disk.sync("a").unwrap();
    disk.sync_directory().unwrap();
    disk
}

#[test]
fn a_full_disk_writes_half_and_says_so_but_syncs_and_reads() {
    let mut disk = disk();
    disk.set_failing(Failing { full: true, ..Failing::default() });
    assert_eq!(disk.append("a", b"1234"), Err(DiskError::Full { file: "a".into() }));
    assert_eq!(disk.create("b"), Err(DiskError::Full { file: "b".into() }));
    disk.sync("a").unwrap();
    assert_eq!(disk.read("a").unwrap(), b"kept12");
    disk.set_failing(Failing::default());
    disk.append("a", b"34").unwrap();
}

#[test]
fn what_a_failed_sync_lost_is_gone_when_the_file_is_opened_anew_although_the_next_sync_succeeds() {
    let mut disk = disk();
    disk.append("a", b"lost").unwrap();
    disk.set_failing(Failing { syncs: true, ..Failing::default() });
    assert!(matches!(disk.sync("a"), Err(DiskError::Io { .. })));
    disk.set_failing(Failing::default());
    disk.append("a", b"more").unwrap();
    disk.sync("a").unwrap();
    assert_eq!(disk.read("a").unwrap(), b"keptlostmore", "a process that goes on sees nothing of it");
    disk.restart();
    assert_eq!(disk.read("a").unwrap(), b"kept\0\0\0\0more");
}

#[test]
fn a_file_that_ends_with_what_was_lost_ends_before_it() {
    let mut disk = disk();
    disk.append("a", b"lost").unwrap();
    disk.set_failing(Failing { syncs: true, ..Failing::default() });
    disk.sync("a").unwrap_err();
    disk.sync("a").unwrap_err();
    disk.restart();
    assert_eq!(disk.read("a").unwrap(), b"kept");
}

#[test]
fn reads_and_writes_fail_alone() {
    let mut disk = disk();
    disk.set_failing(Failing { reads: true, ..Failing::default() });
    disk.read("a").unwrap_err();
    disk.list().unwrap_err();
    disk.append("a", b"!").unwrap();
    disk.set_failing(Failing { writes: true, ..Failing::default() });
    assert_eq!(disk.read("a").unwrap(), b"kept!");
    for refused in [disk.append("a", b"1234"), disk.truncate("a", 0), disk.rename("a", "b"), disk.remove("a")]
    {
        assert!(matches!(refused, Err(DiskError::Io { .. })), "{refused:?}");
    }
    assert_eq!(disk.read("a").unwrap(), b"kept!12");
}
