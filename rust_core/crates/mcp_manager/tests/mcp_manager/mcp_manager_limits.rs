//! A limit on everything that clients can make grow.

use mcp_manager::command::{Operation, Outcome, ServerSpec, ServerState, Transport};
use mcp_manager::limits::{
    MAX_ENDPOINT_BYTES, MAX_GROWTH_BYTES, MAX_KEY_BYTES, MAX_SERVER_NAME_BYTES, MAX_SERVERS, MAX_STATE_BYTES,
    MAX_VALUE_BYTES, check,
};

use crate::support::{Log, register, write};

fn spec(name: &str, transport: Transport, endpoint: &str) -> Operation {
    Operation::Register { server: ServerSpec { name: name.into(), transport, endpoint: endpoint.into() } }
}

#[test]
fn what_just_fits_is_accepted() {
    let url = format!("http://{}", "x".repeat(MAX_ENDPOINT_BYTES - 7));
    for operation in [
        write(&"k".repeat(MAX_KEY_BYTES), &"v".repeat(MAX_VALUE_BYTES)),
        write("k", ""),
        spec(&"s".repeat(MAX_SERVER_NAME_BYTES), Transport::Sse, &url),
        spec("s", Transport::Stdio, "server --flag"),
    ] {
        assert_eq!(check(&operation), Ok(()));
    }
}

#[test]
fn what_does_not_fit_is_rejected_with_a_reason_and_changes_nothing() {
    let long = |bytes: usize| "x".repeat(bytes + 1);
    for (operation, reason) in [
        (write("", "1"), "a setting's name must not be empty"),
        (write("a\nb", "1"), "a setting's name must not hold control characters"),
        (write(&long(MAX_KEY_BYTES), "1"), "a setting's name has at most 256 bytes, not 257"),
        (write("k", &long(MAX_VALUE_BYTES)), "a value has at most 65536 bytes, not 65537"),
        (spec("", Transport::Stdio, "x"), "a server's name must not be empty"),
        (spec("s", Transport::Stdio, ""), "an endpoint must not be empty"),
        (
            spec("s", Transport::Stdio, &long(MAX_ENDPOINT_BYTES)),
            "an endpoint has at most 2048 bytes, not 2049",
        ),
        (
            spec("s", Transport::StreamableHttp, "server --flag"),
            "the endpoint of an HTTP transport begins with http:// or https://",
        ),
        (Operation::Deregister { name: String::new() }, "a server's name must not be empty"),
        (
            Operation::SetState { name: long(MAX_SERVER_NAME_BYTES), state: ServerState::Ready },
            "a server's name has at most 128 bytes, not 129",
        ),
    ] {
        let mut log = Log::new();
        let client = log.open_session();
        assert_eq!(log.operate(client, 1, operation).outcome, Outcome::Rejected { reason: reason.into() });
        assert_eq!((log.machine.setting_count(), log.machine.server_count()), (0, 0));
    }
}

#[test]
fn a_full_registry_still_lets_servers_be_replaced() {
    let mut log = Log::new();
    let client = log.open_session();
    for n in 0..MAX_SERVERS {
        log.operate(client, n as u64 + 1, register(&format!("s{n}")));
    }
    let next = MAX_SERVERS as u64 + 1;
    assert!(matches!(log.operate(client, next, register("more")).outcome, Outcome::Rejected { .. }));
    assert_eq!(log.operate(client, next + 1, register("s0")).outcome, Outcome::Done { version: log.index });
    assert_eq!(log.machine.server_count(), MAX_SERVERS);
    assert_eq!(log.machine.state_checksum(), log.machine.recomputed_checksum());
}

/// A lagging follower is sent the whole state in one frame of at most 64 MiB: a larger one never arrived.
#[test]
fn a_full_state_takes_no_more_and_still_fits_into_one_snapshot() {
    let mut log = Log::new();
    let client = log.open_session();
    let value = "v".repeat(MAX_VALUE_BYTES);
    let full = (1..).find(|&n| {
        let outcome = log.operate(client, n, write(&format!("k{n}"), &value)).outcome;
        matches!(outcome, Outcome::Rejected { reason } if reason.contains("the state is full"))
    });
    let next = full.unwrap() + 1;
    let snapshot = log.machine.snapshot();
    assert!((MAX_STATE_BYTES - 2 * MAX_GROWTH_BYTES..MAX_STATE_BYTES).contains(&snapshot.len()));
    assert!(matches!(log.operate(client, next, register("s")).outcome, Outcome::Rejected { .. }));
    assert_eq!(
        log.operate(client, next + 1, Operation::Deregister { name: "s".into() }).outcome,
        Outcome::NotFound
    );
    // What was restored counts too.
    log.machine = mcp_manager::machine::Machine::restore(&snapshot).unwrap();
    assert_eq!(log.machine.state_checksum(), log.machine.recomputed_checksum());
    assert!(matches!(log.operate(client, next, write("more", "1")).outcome, Outcome::Rejected { .. }));
}
