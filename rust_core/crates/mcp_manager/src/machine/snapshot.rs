//! The state as bytes: versioned, and canonical (same state, same bytes).
//!
//! The checksum is not stored: whoever restores computes it from the content that arrived, which is what
//! makes a snapshot that lost something visible in the trace. Bit flips are the storage's business (its
//! frames carry CRC32C).

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::sessions::Session;
use super::{Machine, Setting};
use crate::command::{Server, ServerSpec, ServerState};
use crate::limits::SessionLimits;

/// What every snapshot begins with: a name, and the version of what follows.
const MAGIC: [u8; 4] = *b"mcpS";
const VERSION: u8 = 1;

/// Why bytes could not be restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Not a snapshot at all.
    #[error("the bytes are not a snapshot of the manager's state (they do not begin with {MAGIC:?})")]
    NotASnapshot,
    /// Written by another version.
    #[error(
        "the snapshot has format {found}, this build reads format {VERSION}: use the build that wrote it"
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

pub(super) fn write(machine: &Machine) -> Bytes {
    let content = Written {
        cluster: &machine.cluster,
        limits: machine.limits,
        now_ms: machine.now_ms,
        settings: machine.settings.iter().map(|(key, setting)| (key.as_str(), setting)).collect(),
        servers: machine
            .servers
            .values()
            .map(|server| (&server.spec, server.state, server.version))
            .collect(),
        sessions: machine.sessions.iter().collect(),
    };
    let mut bytes = MAGIC.to_vec();
    bytes.push(VERSION);
    postcard::to_extend(&content, bytes).expect("encoding into memory cannot fail").into()
}

pub(super) fn read(bytes: &[u8]) -> Result<Machine, SnapshotError> {
    let (&version, content) =
        bytes.strip_prefix(&MAGIC).and_then(|rest| rest.split_first()).ok_or(SnapshotError::NotASnapshot)?;
    if version != VERSION {
        return Err(SnapshotError::Version { found: version });
    }
    let Ok((read, rest)) = postcard::take_from_bytes::<Read>(content) else {
        return Err(SnapshotError::Damaged("it ends early, or holds what no version wrote"));
    };
    let ascending = read.settings.is_sorted_by(|a, b| a.0 < b.0)
        && read.servers.is_sorted_by(|a, b| a.0.name < b.0.name)
        && read.sessions.is_sorted_by(|a, b| a.0 < b.0);
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
    machine.checksum = machine.checksum_of_content();
    Ok(machine)
}
