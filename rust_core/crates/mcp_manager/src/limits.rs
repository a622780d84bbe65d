//! A limit on everything that clients can make grow.
//!
//! The limits are checked when an entry is applied, so they are part of what a log means: replicas that
//! disagreed on one would part ways. The constants may therefore only change together with the command
//! format; what an operator may choose ([`SessionLimits`]) is fixed when the cluster is founded, and
//! travels in the state.

use serde::{Deserialize, Serialize};

use crate::command::{ListStep, Operation, ServerSpec, Transport};

/// Longest name of a setting, in bytes.
pub const MAX_KEY_BYTES: usize = 256;
/// Longest value of a setting, in bytes.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;
/// Most settings.
pub const MAX_SETTINGS: usize = 100_000;
/// Longest name of an MCP server, in bytes.
pub const MAX_SERVER_NAME_BYTES: usize = 128;
/// Longest command line or URL of an MCP server, in bytes.
pub const MAX_ENDPOINT_BYTES: usize = 2 * 1024;
/// Most MCP servers.
pub const MAX_SERVERS: usize = 10_000;
/// Most counters.
pub const MAX_COUNTERS: usize = 100_000;
/// Most lists.
pub const MAX_LISTS: usize = 100_000;
/// Most steps of one transaction.
pub const MAX_STEPS: usize = 16;
/// What a transaction appends and names, and what it reads, in bytes: each element and each name counts so much more.
pub const MAX_TRANSACTION_BYTES: usize = MAX_VALUE_BYTES;
/// What an element, or a name in a transaction, takes besides its own bytes.
pub const OVERHEAD_BYTES: usize = 32;
/// Most leases at one time.
pub const MAX_LEASES: usize = 10_000;
/// Longest name of a lease, and of a holder, in bytes.
pub const MAX_LEASE_NAME_BYTES: usize = 256;
/// Longest that a lease may last without being renewed: a day.
pub const MAX_LEASE_MS: u64 = 86_400_000;
/// Largest encoded command that a node proposes, in bytes: whatever passes the limits above fits.
pub const MAX_COMMAND_BYTES: usize = 256 * 1024;

/// Largest state, in encoded bytes: it travels to a lagging follower as one snapshot, in one frame of the
/// transport (64 MiB), and must always fit.
pub const MAX_STATE_BYTES: usize = 48 * 1024 * 1024;
/// The most that one operation adds to the state: its own value, and the other value that a session keeps
/// for a retry of a compare-and-set which found that one. Or what a transaction appends, to lists that are new, and
/// what it reads.
pub const MAX_GROWTH_BYTES: usize = 2 * MAX_VALUE_BYTES + MAX_STEPS * (MAX_KEY_BYTES + OVERHEAD_BYTES) + 1024;

/// When sessions expire. Equal on all nodes of a cluster: founding writes it into the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionLimits {
    /// A session idle for longer than this, by the log's clock, expires. Default 600,000 (10 minutes).
    pub ttl_ms: u64,
    /// Most sessions; one more, and the longest idle expires. Default 10,000. 0 is taken for 1.
    pub max_count: u64,
}

impl Default for SessionLimits {
    fn default() -> SessionLimits {
        SessionLimits { ttl_ms: 600_000, max_count: 10_000 }
    }
}

/// Whether an operation keeps to the limits that do not depend on the state; the error is the reason to give.
pub fn check(operation: &Operation) -> Result<(), String> {
    match operation {
        Operation::Write { key, value } | Operation::CompareAndSet { key, value, .. } => {
            check_name("a setting's name", key, MAX_KEY_BYTES)?;
            check_length("a value", value, MAX_VALUE_BYTES)
        }
        Operation::Register { server } => check_server(server),
        Operation::Deregister { name } | Operation::SetState { name, .. } => {
            check_name("a server's name", name, MAX_SERVER_NAME_BYTES)
        }
        Operation::Add { key, .. } => check_name("a counter's name", key, MAX_KEY_BYTES),
        Operation::Transact { steps } => check_transaction(steps),
        Operation::Acquire { name, holder, ttl_ms } | Operation::Renew { name, holder, ttl_ms } => {
            check_lease(name, holder)?;
            match ttl_ms {
                1..=MAX_LEASE_MS => Ok(()),
                _ => Err(format!("a lease lasts from 1 to {MAX_LEASE_MS} ms, not {ttl_ms}")),
            }
        }
        Operation::Release { name, holder } => check_lease(name, holder),
    }
}

/// Whether a state of `state_bytes` has room for an operation; the error is the reason to give. What only makes
/// room, or changes a state in place, always passes.
pub fn check_room(operation: &Operation, state_bytes: usize) -> Result<(), String> {
    let grows = !matches!(
        operation,
        Operation::Deregister { .. }
            | Operation::SetState { .. }
            | Operation::Renew { .. }
            | Operation::Release { .. }
    );
    if grows && state_bytes + MAX_GROWTH_BYTES > MAX_STATE_BYTES {
        return Err(format!("the state is full: at most {MAX_STATE_BYTES} bytes"));
    }
    Ok(())
}

fn check_transaction(steps: &[ListStep]) -> Result<(), String> {
    if steps.is_empty() || steps.len() > MAX_STEPS {
        return Err(format!("a transaction has from 1 to {MAX_STEPS} steps, not {}", steps.len()));
    }
    let mut bytes = 0;
    for step in steps {
        let (ListStep::Append { key, .. } | ListStep::Read { key }) = step;
        check_name("a list's name", key, MAX_KEY_BYTES)?;
        bytes += OVERHEAD_BYTES + key.len();
        if let ListStep::Append { element, .. } = step {
            bytes += element.len();
        }
    }
    if bytes > MAX_TRANSACTION_BYTES {
        return Err(format!("a transaction takes at most {MAX_TRANSACTION_BYTES} bytes, not {bytes}"));
    }
    Ok(())
}

fn check_lease(name: &str, holder: &str) -> Result<(), String> {
    check_name("a lease's name", name, MAX_LEASE_NAME_BYTES)?;
    check_name("a holder", holder, MAX_LEASE_NAME_BYTES)
}

fn check_server(server: &ServerSpec) -> Result<(), String> {
    check_name("a server's name", &server.name, MAX_SERVER_NAME_BYTES)?;
    check_name("an endpoint", &server.endpoint, MAX_ENDPOINT_BYTES)?;
    let is_url = server.endpoint.starts_with("http://") || server.endpoint.starts_with("https://");
    match server.transport {
        Transport::Stdio => Ok(()),
        Transport::StreamableHttp | Transport::Sse if is_url => Ok(()),
        Transport::StreamableHttp | Transport::Sse => {
            Err("the endpoint of an HTTP transport begins with http:// or https://".into())
        }
    }
}

fn check_name(what: &str, text: &str, max_bytes: usize) -> Result<(), String> {
    if text.is_empty() {
        return Err(format!("{what} must not be empty"));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("{what} must not hold control characters"));
    }
    check_length(what, text, max_bytes)
}

fn check_length(what: &str, text: &str, max_bytes: usize) -> Result<(), String> {
    if text.len() > max_bytes {
        return Err(format!("{what} has at most {max_bytes} bytes, not {}", text.len()));
    }
    Ok(())
}
