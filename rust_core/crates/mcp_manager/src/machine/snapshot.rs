//! The state as bytes: versioned, and canonical (same state, same bytes).
//!
//! The checksum is not stored: whoever restores computes it from the content that arrived, which is what
//! makes a snapshot that lost something visible in the trace. Bit flips are the storage's business (its
//! frames carry CRC32C).

use bytes::Bytes;
use mcp_chaos_evidence::Plant;
use serde::{Deserialize, Serialize};

use super::counters::Counters;
use super::leases::{Lease, Leases};
use super::lists::{List, Lists};
use super::sessions::Session;
use super::{Machine, Setting};
use crate::command::{Outcome, Server, ServerSpec, ServerState};
use crate::limits::SessionLimits;

/// What every snapshot begins with: a name, and the version of what follows.
const MAGIC: [u8; 4] = *b"mcpS";
/// Settings, servers and sessions; and so is still written where there is nothing else, as it always was.
const VERSION: u8 = 1;
/// The same, and behind it counters, lists and leases; and sessions may remember what only these answer.
const VERSION_WITH_OBJECTS: u8 = 2;

/// Why bytes could not be restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Not a snapshot at all.
    #[error("the bytes are not a snapshot of the manager's state (they do not begin with {MAGIC:?})")]
    NotASnapshot,
    /// Written by another version.
    #[error(
        "the snapshot has format {found}, this build reads formats {VERSION} and {VERSION_WITH_OBJECTS}: use the build \
         that wrote it"
    )]
    Version {
        /// The version found.
        found: u8,
    },
    /// Cut off, or followed by something.
    #[error("the snapshot's content is damaged: {0}")]
    Damaged(&'static str),
    /// The state of another cluster.
    #[error("the snapshot belongs to cluster {found:?}, this node to {expected:?}: give it its own data")]
    ForeignCluster {
        /// This node's cluster.
        expected: String,
        /// The snapshot's.
        found: String,
    },
}

#[derive(Serialize)]
struct Written<'a> {
    cluster: &'a str,
    limits: SessionLimits,
    now_ms: u64,
    settings: Vec<(&'a str, &'a Setting)>,
    servers: Vec<(&'a ServerSpec, ServerState, u64)>,
    sessions: Vec<(u64, &'a Session)>,
}

#[derive(Deserialize)]
struct Read {
    cluster: String,
    limits: SessionLimits,
    now_ms: u64,
    settings: Vec<(String, Setting)>,
    servers: Vec<(ServerSpec, ServerState, u64)>,
    sessions: Vec<(u64, Session)>,
}

#[derive(Serialize)]
struct WrittenObjects<'a> {
    counters: Vec<(&'a str, i64, u64)>,
    lists: Vec<(&'a str, &'a List)>,
    leases: Vec<(&'a str, &'a Lease)>,
}

#[derive(Deserialize)]
struct ReadObjects {
    counters: Vec<(String, i64, u64)>,
    lists: Vec<(String, List)>,
    leases: Vec<(String, Lease)>,
}

pub(super) fn write(machine: &Machine) -> Bytes {
    let forgets = machine.plants.has(Plant::SessionForgotten);
    let kept = |count: usize| count - usize::from(machine.plants.has(Plant::SnapshotMissesKey) && count > 1);
    let bare: Vec<_> = machine
        .sessions
        .iter()
        .filter(|_| forgets)
        .map(|(client, session)| (client, Session { last: None, ..session.clone() }))
        .collect();
    let content = Written {
        cluster: &machine.cluster,
        limits: machine.limits,
        now_ms: machine.now_ms,
        settings: machine
            .settings
            .iter()
            .take(kept(machine.settings.len()))
            .map(|(key, setting)| (key.as_str(), setting))
            .collect(),
        servers: machine
            .servers
            .values()
            .map(|server| (&server.spec, server.state, server.version))
            .collect(),
        sessions: if forgets {
            bare.iter().map(|(client, session)| (*client, session)).collect()
        } else {
            machine.sessions.iter().collect()
        },
    };
    let (counters, lists) = (machine.counters.iter(), machine.lists.iter());
    let (counters_kept, lists_kept) = (kept(counters.len()), kept(lists.len()));
    let objects = WrittenObjects {
        counters: counters.take(counters_kept).collect(),
        lists: lists.take(lists_kept).collect(),
        leases: machine.leases.iter().collect(),
    };
    let remembers_objects =
        content.sessions.iter().filter_map(|(_, session)| session.last.as_ref()).any(|last| {
            use Outcome::{Held, Leased, NotHeld, Transacted};
            matches!(last.outcome, Transacted { .. } | Leased { .. } | Held { .. } | NotHeld)
        });
    let has_objects = remembers_objects
        || !objects.counters.is_empty()
        || !objects.lists.is_empty()
        || !objects.leases.is_empty();
    let mut bytes = MAGIC.to_vec();
    bytes.push(if has_objects { VERSION_WITH_OBJECTS } else { VERSION });
    let mut bytes = postcard::to_extend(&content, bytes).expect("encoding into memory cannot fail");
    if has_objects {
        bytes = postcard::to_extend(&objects, bytes).expect("encoding into memory cannot fail");
    }
    bytes.into()
}

pub(super) fn read(bytes: &[u8]) -> Result<Machine, SnapshotError> {
    let (&version, content) =
        bytes.strip_prefix(&MAGIC).and_then(|rest| rest.split_first()).ok_or(SnapshotError::NotASnapshot)?;
    if version != VERSION && version != VERSION_WITH_OBJECTS {
        return Err(SnapshotError::Version { found: version });
    }
    let Ok((read, rest)) = postcard::take_from_bytes::<Read>(content) else {
        return Err(SnapshotError::Damaged("it ends early, or holds what no version wrote"));
    };
    let (objects, rest) = if version == VERSION_WITH_OBJECTS {
        let Ok((objects, rest)) = postcard::take_from_bytes::<ReadObjects>(rest) else {
            return Err(SnapshotError::Damaged("it ends early, or holds what no version wrote"));
        };
        (objects, rest)
    } else {
        (ReadObjects { counters: Vec::new(), lists: Vec::new(), leases: Vec::new() }, rest)
    };
    let ascending = read.settings.is_sorted_by(|a, b| a.0 < b.0)
        && read.servers.is_sorted_by(|a, b| a.0.name < b.0.name)
        && read.sessions.is_sorted_by(|a, b| a.0 < b.0)
        && objects.counters.is_sorted_by(|a, b| a.0 < b.0)
        && objects.lists.is_sorted_by(|a, b| a.0 < b.0)
        && objects.leases.is_sorted_by(|a, b| a.0 < b.0);
    if !rest.is_empty() || !ascending {
        return Err(SnapshotError::Damaged("bytes follow its end, or its keys do not ascend"));
    }
    let mut machine = Machine::found(&read.cluster, read.limits);
    machine.now_ms = read.now_ms;
    machine.settings.extend(read.settings);
    for (spec, state, version) in read.servers {
        machine.servers.insert(spec.name.clone(), Server { spec, state, version });
    }
    for (client, session) in read.sessions {
        machine.sessions.insert(client, session);
    }
    machine.counters = Counters::restored(objects.counters);
    machine.lists = Lists::restored(objects.lists);
    machine.leases = Leases::restored(objects.leases);
    machine.checksum = machine.checksum_of_content();
    Ok(machine)
}

#[cfg(test)]
mod mcp_manager_tests {
    use super::*;
    use crate::command::{Command, ListStep, Operation};

    #[test]
    fn a_snapshot_that_lost_anything_shows_another_checksum_once_restored() {
        let mut machine = Machine::found("c", SessionLimits::default());
        machine.apply(2, 1, &Command::OpenSession { now_ms: 9 }.encode());
        let write = Operation::Write { key: "k".into(), value: "v".into() };
        machine.apply(
            3,
            1,
            &Command::Operate { client: 2, sequence: 1, now_ms: 9, operation: write }.encode(),
        );
        let server = ServerSpec {
            name: "s".into(),
            transport: crate::command::Transport::Stdio,
            endpoint: "serve".into(),
        };
        let register = Operation::Register { server };
        machine.apply(
            4,
            1,
            &Command::Operate { client: 2, sequence: 2, now_ms: 9, operation: register }.encode(),
        );
        let append = |key: &str| ListStep::Append { key: key.into(), element: "e".into() };
        let objects = [
            Operation::Add { key: "k".into(), amount: 3 },
            Operation::Transact { steps: vec![append("k"), append("l")] },
            Operation::Acquire { name: "k".into(), holder: "h".into(), ttl_ms: 100 },
        ];
        for (at, operation) in (5..).zip(objects) {
            let command = Command::Operate { client: 2, sequence: at, now_ms: 9, operation };
            machine.apply(at, 1, &command.encode());
        }
        let whole = machine.state_checksum();
        assert_eq!(read(&write_less(&machine, |_| {})).unwrap().state_checksum(), whole);

        let losses: [fn(&mut Machine); 9] = [
            |machine| machine.settings.clear(),
            |machine| machine.settings.get_mut("k").unwrap().version += 1,
            |machine| machine.servers.clear(),
            |machine| machine.servers.get_mut("s").unwrap().state = ServerState::Ready,
            |machine| drop(machine.sessions.pop_oldest()),
            |machine| machine.now_ms = 0,
            |machine| machine.counters = Counters::default(),
            |machine| machine.lists = Lists::default(),
            |machine| machine.leases = Leases::default(),
        ];
        for (n, lose) in losses.into_iter().enumerate() {
            assert_ne!(read(&write_less(&machine, lose)).unwrap().state_checksum(), whole, "loss {n}");
        }
    }

    #[test]
    fn a_snapshot_says_what_a_reader_must_know_to_read_it() {
        let mut machine = Machine::found("c", SessionLimits::default());
        machine.apply(2, 1, &Command::OpenSession { now_ms: 9 }.encode());
        let version = |machine: &Machine| write(machine)[MAGIC.len()];
        assert_eq!(version(&machine), VERSION);
        let release = Operation::Release { name: "k".into(), holder: "h".into() };
        machine.apply(
            3,
            1,
            &Command::Operate { client: 2, sequence: 1, now_ms: 9, operation: release }.encode(),
        );
        assert_eq!(
            version(&machine),
            VERSION_WITH_OBJECTS,
            "nobody holds a lease, but a session remembers one"
        );
        assert_eq!(read(&write(&machine)).unwrap().state_checksum(), machine.state_checksum());
    }

    fn write_less(machine: &Machine, lose: fn(&mut Machine)) -> Bytes {
        let mut less = machine.clone();
        lose(&mut less);
        write(&less)
    }
}
