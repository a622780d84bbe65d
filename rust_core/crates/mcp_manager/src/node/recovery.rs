//! What a node makes sure of before it trusts its options, its disk, or a snapshot.

use bytes::Bytes;
use mcp_chaos_consensus::Recovered;

use super::errors::StartError;
use super::options::Options;
use crate::machine::{Machine, SnapshotError};

pub(super) fn check_options(options: &Options) -> Result<(), StartError> {
    if options.id == 0 {
        return Err(StartError::BadOptions("nodes are numbered from 1"));
    }
    if options.heartbeat_ticks == 0 || options.election_ticks <= options.heartbeat_ticks {
        return Err(StartError::BadOptions(
            "the election timeout must be longer than the heartbeat, which is at least 1",
        ));
    }
    if options.request_timeout_ticks == 0 || options.max_pending == 0 {
        return Err(StartError::BadOptions(
            "the request timeout and the most pending requests are at least 1",
        ));
    }
    Ok(())
}

/// The replica takes what it recovers for its own: what no replica writes is refused here, in words.
pub(super) fn check_log(recovered: &Recovered) -> Result<(), StartError> {
    let Some(snapshot) = &recovered.snapshot else {
        let is_empty = recovered.cluster.is_empty() && recovered.entries.is_empty();
        return if is_empty {
            Ok(())
        } else {
            Err(StartError::Log("it stands on a snapshot that is missing"))
        };
    };
    let mut last = (snapshot.meta.index, snapshot.meta.term);
    for entry in &recovered.entries {
        if entry.index != last.0 + 1 || entry.term < last.1 {
            return Err(StartError::Log("entries are missing, or their terms fall"));
        }
        last = (entry.index, entry.term);
    }
    if recovered.hard_state.commit > last.0 {
        return Err(StartError::Log("it ends below what was known to be committed: entries are lost"));
    }
    Ok(())
}

/// Restores a snapshot that must be this cluster's.
pub(super) fn restore(data: &Bytes, cluster: &str) -> Result<Machine, SnapshotError> {
    let machine = Machine::restore(data)?;
    if machine.cluster() != cluster {
        return Err(SnapshotError::ForeignCluster {
            expected: cluster.to_owned(),
            found: machine.cluster().to_owned(),
        });
    }
    Ok(machine)
}
