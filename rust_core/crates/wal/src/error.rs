//! What can go wrong, and what to do about it.

use std::fmt;

use crate::DiskError;

/// Why a directory was not opened. Except after `Disk`, nothing in it was touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// What was durable is damaged: beyond Raft's fault model. The node must not take part under this identity.
    #[error(
        "the data directory is corrupt: {file} at offset {offset}: {what}; nothing was changed: restore the \
         disk, or remove the node from its cluster and add it again, empty, under a new name"
    )]
    Corrupt {
        /// The damaged file.
        file: String,
        /// Where its damaged part (a frame, or the whole file) begins, in bytes.
        offset: u64,
        /// What was found.
        what: String,
    },
    /// The directory is another node's or another cluster's, or holds files that are not a log's.
    #[error(
        "not this node's data directory: {file}: {what}; nothing was changed: give the node a directory of its own"
    )]
    Foreign {
        /// The file that gave it away.
        file: String,
        /// What was expected and what was found.
        what: String,
    },
    /// There is no founded log, though the node was founded: its disk was lost, or replaced.
    #[error(
        "the data directory is empty, or holds no founded log, but this node was founded before: what it promised \
         and acknowledged is lost; nothing was changed: give the node its directory back, or remove it from its cluster and add it again, \
         empty, under a new name"
    )]
    Lost,
    /// The disk failed.
    #[error("the data directory could not be opened: {0}")]
    Disk(#[from] DiskError),
}

/// A failed opening: the reason, and the disk handed back.
pub struct OpenFailure<D> {
    /// Why.
    pub error: OpenError,
    /// The disk that was to be opened.
    pub disk: D,
}

impl<D> fmt::Debug for OpenFailure<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<D> fmt::Display for OpenFailure<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<D> std::error::Error for OpenFailure<D> {}

impl<D> From<OpenFailure<D>> for OpenError {
    fn from(failure: OpenFailure<D>) -> OpenError {
        failure.error
    }
}

/// Why a call on an open log failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalError {
    /// The disk failed: nothing may be assumed about what is on it. The process must stop.
    #[error("the log's disk failed: {0}; stop, and start again once the disk is well")]
    Disk(#[from] DiskError),
    /// An earlier call met a disk error.
    #[error("the log's disk failed earlier; stop, and start again once the disk is well")]
    Poisoned,
    /// The request contradicts what the log holds: a mistake of the caller's. Nothing was written.
    #[error("refused to write: {0}")]
    Invalid(String),
}
