//! The state as bytes.

use mcp_manager::limits::SessionLimits;
use mcp_manager::{Machine, SnapshotError};

use crate::support::{Log, register, write};

fn filled() -> Log {
    let mut log = Log::new();
    let client = log.open_session();
    log.operate(client, 1, write("a", "1"));
    log.operate(client, 2, register("files"));
    log.open_session();
    log
}

#[test]
fn a_restored_machine_has_the_same_content_bytes_and_checksum() {
    let log = filled();
    let restored = Machine::restore(&log.machine.snapshot()).unwrap();
    assert_eq!(restored.snapshot(), log.machine.snapshot());
    assert_eq!(restored.state_checksum(), log.machine.state_checksum());
    assert_eq!(restored.cluster(), "test");
    assert_eq!(restored.session_limits(), SessionLimits::default());
}

#[test]
fn a_restored_machine_still_knows_a_retry() {
    let mut log = filled();
    let first = log.operate(2, 3, write("a", "2"));
    log.machine = Machine::restore(&log.machine.snapshot()).unwrap();
    let retry = log.operate(2, 3, write("a", "2"));
    assert_eq!((retry.outcome, retry.log_index, retry.duplicate), (first.outcome, first.log_index, true));
}

#[test]
fn a_snapshot_is_written_as_before() {
    // Golden bytes: snapshots on disk outlive the build that wrote them.
    let machine = Machine::found("c", SessionLimits { ttl_ms: 5, max_count: 3 });
    assert_eq!(&machine.snapshot()[..], b"mcpS\x01\x01c\x05\x03\x00\x00\x00\x00");
}

#[test]
fn what_is_no_snapshot_is_told_from_one_of_another_version() {
    for bytes in [&b""[..], b"mcp", b"mcpS", b"hello, world"] {
        assert_eq!(Machine::restore(bytes).unwrap_err(), SnapshotError::NotASnapshot);
    }
    let error = Machine::restore(b"mcpS\x07anything").unwrap_err();
    assert_eq!(error, SnapshotError::Version { found: 7 });
    assert!(error.to_string().contains("format 7"), "{error}");
}

#[test]
fn a_snapshot_cut_short_or_drawn_out_is_damaged() {
    let whole = filled().machine.snapshot();
    for length in 5..whole.len() {
        assert!(matches!(Machine::restore(&whole[..length]), Err(SnapshotError::Damaged(_))), "{length}");
    }
    let mut longer = whole.to_vec();
    longer.push(0);
    assert!(matches!(Machine::restore(&longer), Err(SnapshotError::Damaged(_))));
}

#[test]
fn keys_out_of_order_are_damage_since_the_same_state_has_the_same_bytes() {
    let mut log = Log::new();
    let client = log.open_session();
    log.operate(client, 1, write("a", "1"));
    log.operate(client, 2, write("b", "1"));
    let mut bytes = log.machine.snapshot().to_vec();
    let at = |bytes: &[u8], key: u8| bytes.windows(2).position(|pair| pair == [1, key]).unwrap() + 1;
    let (a, b) = (at(&bytes, b'a'), at(&bytes, b'b'));
    bytes.swap(a, b);
    assert!(matches!(Machine::restore(&bytes), Err(SnapshotError::Damaged(_))));
    bytes[a] = b'b'; // Twice the same key.
    bytes[b] = b'b';
    assert!(matches!(Machine::restore(&bytes), Err(SnapshotError::Damaged(_))));
}
