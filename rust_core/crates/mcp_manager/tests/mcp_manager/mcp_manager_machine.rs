//! Settings and the registry of servers.

use mcp_manager::command::{
    Answer, Command, Expected, NotACommand, Operation, Outcome, Query, Server, ServerState,
};
use mcp_manager::limits::SessionLimits;
use mcp_manager::{Applied, Machine};

use crate::support::{Log, register, server, write};

fn setting(machine: &Machine, key: &str) -> (Option<String>, u64) {
    match machine.query(&Query::Setting { key: key.into() }) {
        Answer::Setting { value, version } => (value, version),
        answer => panic!("{answer:?}"),
    }
}

fn names(machine: &Machine) -> Vec<String> {
    match machine.query(&Query::Servers) {
        Answer::Servers { servers } => servers.into_iter().map(|server| server.spec.name).collect(),
        answer => panic!("{answer:?}"),
    }
}

fn compare_and_set(key: &str, expected: Expected, value: &str) -> Operation {
    Operation::CompareAndSet { key: key.into(), expected, value: value.into() }
}

#[test]
fn a_setting_never_written_reads_as_null_at_version_0() {
    assert_eq!(setting(&Log::new().machine, "k0"), (None, 0));
}

#[test]
fn a_write_is_read_back_at_the_index_of_its_entry() {
    let mut log = Log::new();
    let client = log.open_session();
    let applied = log.operate(client, 1, write("k0", "7"));
    assert_eq!(
        applied,
        Applied {
            index: 3,
            term: 1,
            outcome: Outcome::Done { version: 3 },
            log_index: 3,
            client: 2,
            sequence: 1,
            duplicate: false,
            state_checksum: log.machine.state_checksum(),
        }
    );
    assert_eq!(setting(&log.machine, "k0"), (Some("7".into()), 3));
}

#[test]
fn compare_and_set_by_value_changes_what_is_as_expected() {
    let mut log = Log::new();
    let client = log.open_session();
    let created = log.operate(client, 1, compare_and_set("k0", Expected::Value(None), "1"));
    assert_eq!(created.outcome, Outcome::Done { version: 3 });
    let changed = log.operate(client, 2, compare_and_set("k0", Expected::Value(Some("1".into())), "2"));
    assert_eq!(changed.outcome, Outcome::Done { version: 4 });
    assert_eq!(setting(&log.machine, "k0"), (Some("2".into()), 4));
}

#[test]
fn compare_and_set_that_finds_something_else_says_what_and_changes_nothing() {
    let mut log = Log::new();
    let client = log.open_session();
    log.operate(client, 1, write("k0", "1"));
    for (sequence, expected) in [
        (2, Expected::Value(None)),
        (3, Expected::Value(Some("9".into()))),
        (4, Expected::Version(0)),
        (5, Expected::Version(2)),
    ] {
        let refused = log.operate(client, sequence, compare_and_set("k0", expected, "2"));
        assert_eq!(refused.outcome, Outcome::Mismatch { actual: Some("1".into()), version: 3 });
    }
    let absent = log.operate(client, 6, compare_and_set("k1", Expected::Value(Some("1".into())), "2"));
    assert_eq!(absent.outcome, Outcome::Mismatch { actual: None, version: 0 });
    assert_eq!(setting(&log.machine, "k0"), (Some("1".into()), 3));
    assert_eq!(setting(&log.machine, "k1"), (None, 0));
}

#[test]
fn compare_and_set_by_version() {
    let mut log = Log::new();
    let client = log.open_session();
    assert_eq!(
        log.operate(client, 1, compare_and_set("k0", Expected::Version(0), "1")).outcome,
        Outcome::Done { version: 3 }
    );
    assert_eq!(
        log.operate(client, 2, compare_and_set("k0", Expected::Version(3), "2")).outcome,
        Outcome::Done { version: 4 }
    );
}

#[test]
fn servers_are_registered_got_listed_and_deregistered() {
    let mut log = Log::new();
    let client = log.open_session();
    log.operate(client, 1, register("search"));
    log.operate(client, 2, register("files"));
    assert_eq!(names(&log.machine), ["files", "search"]);
    assert_eq!(
        log.machine.query(&Query::Server { name: "search".into() }),
        Answer::Server {
            server: Some(Server { spec: server("search"), state: ServerState::Registered, version: 3 })
        }
    );
    let removed = log.operate(client, 3, Operation::Deregister { name: "search".into() });
    assert_eq!(removed.outcome, Outcome::Done { version: 5 });
    assert_eq!(names(&log.machine), ["files"]);
    let again = log.operate(client, 4, Operation::Deregister { name: "search".into() });
    assert_eq!(again.outcome, Outcome::NotFound);
    assert_eq!(log.machine.query(&Query::Server { name: "search".into() }), Answer::Server { server: None });
}

#[test]
fn a_state_is_recorded_and_a_new_registration_begins_afresh() {
    let mut log = Log::new();
    let client = log.open_session();
    let set = |state| Operation::SetState { name: "files".into(), state };
    assert_eq!(log.operate(client, 1, set(ServerState::Ready)).outcome, Outcome::NotFound);
    log.operate(client, 2, register("files"));
    assert_eq!(log.operate(client, 3, set(ServerState::Ready)).outcome, Outcome::Done { version: 5 });
    let state = |machine: &Machine| match machine.query(&Query::Server { name: "files".into() }) {
        Answer::Server { server: Some(server) } => (server.state, server.version),
        answer => panic!("{answer:?}"),
    };
    assert_eq!(state(&log.machine), (ServerState::Ready, 5));
    log.operate(client, 4, register("files"));
    assert_eq!(state(&log.machine), (ServerState::Registered, 6));
}

#[test]
fn a_leaders_no_op_changes_nothing() {
    let mut log = Log::new();
    let before = log.machine.state_checksum();
    let applied = log.entry(&[]);
    assert_eq!((applied.outcome, applied.client, applied.sequence), (Outcome::Done { version: 2 }, 0, 0));
    assert_eq!(log.machine.state_checksum(), before);
}

#[test]
fn an_entry_that_does_not_decode_is_rejected_and_changes_nothing() {
    let mut log = Log::new();
    let mut trailing = Command::OpenSession { now_ms: 1 }.encode().to_vec();
    trailing.push(0);
    let before = log.machine.snapshot();
    for data in [&[0xff][..], &[1], &trailing, b"hello"] {
        let applied = log.entry(data);
        assert_eq!(applied.outcome, Outcome::Rejected { reason: NotACommand.to_string() });
        assert_eq!((applied.client, applied.sequence, applied.duplicate), (0, 0, false));
    }
    assert_eq!(log.machine.snapshot(), before);
}

#[test]
fn the_checksum_depends_on_content_and_not_on_the_index() {
    let mut early = Log::new();
    let mut late = Log::new();
    let founded = early.machine.state_checksum();
    for _ in 0..5 {
        late.entry(&[]);
    }
    assert_eq!(late.machine.state_checksum(), founded);
    early.open_session();
    assert_ne!(early.machine.state_checksum(), founded);
    // Another cluster, and another rule for sessions, are other content.
    assert_ne!(Machine::found("other", SessionLimits::default()).state_checksum(), founded);
    assert_ne!(Machine::found("test", SessionLimits { ttl_ms: 1, max_count: 1 }).state_checksum(), founded);
}

#[test]
fn swapped_values_do_not_cancel_in_the_checksum() {
    let checksum = |first: &str, second: &str| {
        let mut log = Log::new();
        let client = log.open_session();
        log.operate(client, 1, write("a", first));
        log.operate(client, 2, write("b", second));
        log.machine.state_checksum()
    };
    assert_ne!(checksum("1", "2"), checksum("2", "1"));
    // Nor do a key and a value whose border lies elsewhere.
    let mut one = Log::new();
    let client = one.open_session();
    one.operate(client, 1, write("ab", "c"));
    let mut other = Log::new();
    let client = other.open_session();
    other.operate(client, 1, write("a", "bc"));
    assert_ne!(one.machine.state_checksum(), other.machine.state_checksum());
}

#[test]
fn commands_are_encoded_as_before() {
    // Golden bytes: logs on disk outlive the build that wrote them.
    let command = Command::Operate { client: 300, sequence: 2, now_ms: 5, operation: write("k", "v") };
    assert_eq!(&command.encode()[..], [1, 0xac, 2, 2, 5, 0, 1, b'k', 1, b'v']);
    assert_eq!(&Command::OpenSession { now_ms: 5 }.encode()[..], [0, 5]);
    assert_eq!(Command::decode(&command.encode()), Ok(command));
}
