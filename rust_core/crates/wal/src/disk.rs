//! The narrow door to a disk: one flat directory of files that grow at their end.

/// Why a disk operation did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// The power went: the caller is dead, and must not touch anything any more.
    #[error("the power went off")]
    PoweredOff,
    /// The disk is full.
    #[error("no space left on the disk ({file})")]
    Full {
        /// What was to be written.
        file: String,
    },
    /// No such file.
    #[error("no such file: {file}")]
    NotFound {
        /// What was to be read or changed.
        file: String,
    },
    /// Any other error of the operating system.
    #[error("{file}: {message}")]
    Io {
        /// What was to be read or changed.
        file: String,
        /// The operating system's own words.
        message: String,
    },
}

/// One flat directory. What was appended is durable only after `sync` of that file; what was created,
/// renamed or removed only after `sync_directory`.
pub trait Disk {
    /// Names of all files, ascending.
    fn list(&self) -> Result<Vec<String>, DiskError>;
    /// The whole content.
    fn read(&self, file: &str) -> Result<Vec<u8>, DiskError>;
    /// Creates an empty file (an existing one is emptied).
    fn create(&mut self, file: &str) -> Result<(), DiskError>;
    /// Appends at the end.
    fn append(&mut self, file: &str, bytes: &[u8]) -> Result<(), DiskError>;
    /// Makes the file's content (data and length) durable: `fdatasync`.
    fn sync(&mut self, file: &str) -> Result<(), DiskError>;
    /// Cuts the file to `length` bytes.
    fn truncate(&mut self, file: &str, length: u64) -> Result<(), DiskError>;
    /// Renames, replacing the target if there is one.
    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError>;
    /// Removes.
    fn remove(&mut self, file: &str) -> Result<(), DiskError>;
    /// Makes creations, renames and removals durable.
    fn sync_directory(&mut self) -> Result<(), DiskError>;
}
