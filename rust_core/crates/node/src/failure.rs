//! How a run of the binary can end badly, and with which exit code.

use std::fmt;

/// Why the process ends before its time. The message says what was expected and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The command line or the configuration cannot be carried out: exit code 2.
    Usage(String),
    /// The data directory is corrupt, foreign, in use, or empty though the node was founded, and nothing in it was touched;
    /// or the node has found out while it ran that its disk, or a quorum, has lost what counted: exit code 3.
    Refused(String),
    /// Anything else, a failing disk among them: exit code 1.
    Other(String),
}

/// The exit code of a process in which anything panicked.
pub const PANICKED: i32 = 101;

impl Failure {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Refused(_) => 3,
            Failure::Other(_) => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(message) | Failure::Refused(message) | Failure::Other(message) => {
                formatter.write_str(message)
            }
        }
    }
}

impl std::error::Error for Failure {}
