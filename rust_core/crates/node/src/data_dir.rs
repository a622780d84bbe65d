//! The data directory: one process at a time, and only what is this node's.

use std::fs::File;
use std::path::Path;

use mcp_chaos_consensus::Recovered;
use mcp_chaos_evidence::{NodeId, Plants};
use mcp_chaos_wal::{OpenError, Options, Wal};
use rustix::fs::{FlockOperation, flock};

use crate::failure::Failure;
use crate::file_disk::FileDisk;

/// An open data directory. The lock ends with the process, or with this value.
pub struct DataDir {
    /// The log.
    pub wal: Wal<FileDisk>,
    /// What it held.
    pub recovered: Recovered,
    /// The lock: held open for as long as the log may be written.
    pub lock: Lock,
}

/// An exclusive lock on a directory.
pub struct Lock {
    _directory: File,
}

/// Opens the locked directory. What is corrupt or another's is refused, and not touched.
pub fn open(
    path: &Path,
    id: NodeId,
    must_be_founded: bool,
    plants: Plants,
    lock: Lock,
) -> Result<DataDir, Failure> {
    let refused = |error: OpenError| {
        let message = format!("--data-dir {}: {error}", path.display());
        match error {
            OpenError::Corrupt { .. } | OpenError::Foreign { .. } | OpenError::Lost => {
                Failure::Refused(message)
            }
            OpenError::Disk(_) => Failure::Other(message),
        }
    };
    let disk = FileDisk::open(path).map_err(|error| refused(OpenError::Disk(error)))?;
    let options = Options { must_be_founded, plants, ..Options::new(id) };
    let (wal, recovered) = Wal::open(disk, options).map_err(|failure| refused(failure.error))?;
    Ok(DataDir { wal, recovered, lock })
}

/// Locks the directory, creating it if it does not exist; one that is in use is refused. The lock is on the
/// directory itself, so that not even a lock file appears in one that is refused.
pub fn lock(path: &Path) -> Result<Lock, Failure> {
    let other = |error: &dyn std::fmt::Display| {
        Failure::Other(format!("--data-dir {}: cannot be locked: {error}", path.display()))
    };
    std::fs::create_dir_all(path).map_err(|error| other(&error))?;
    let directory = File::open(path).map_err(|error| other(&error))?;
    match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock { _directory: directory }),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Failure::Refused(format!(
            "--data-dir {}: another process uses this directory; stop it, or give this node one of its own",
            path.display()
        ))),
        Err(error) => Err(other(&error)),
    }
}
