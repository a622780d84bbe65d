//! What is wrong with a history, and where.

use std::fmt;

/// A place in a history at which it is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// From 1.
    pub line: usize,
    /// From 1, in bytes.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What should stand there; empty if the message says it.
    pub expected: &'static str,
}

impl fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "line {}, column {}: {}", self.line, self.column, self.message)?;
        if !self.expected.is_empty() {
            write!(formatter, "; expected {}", self.expected)?;
        }
        Ok(())
    }
}

impl std::error::Error for ReadError {}

/// The same, by its offset in the piece of text that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub at: usize,
    pub message: String,
    pub expected: &'static str,
}

impl Flaw {
    pub(crate) fn new(at: usize, message: impl Into<String>, expected: &'static str) -> Flaw {
        Flaw { at, message: message.into(), expected }
    }

    /// In a text of which this is the given line, from 1.
    pub(crate) fn on_line(self, line: usize) -> ReadError {
        ReadError { line, column: self.at + 1, message: self.message, expected: self.expected }
    }
}

/// The text as UTF-8, without a byte order mark.
pub(crate) fn utf8(text: &[u8]) -> Result<&str, Flaw> {
    match str::from_utf8(text) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => Err(Flaw::new(error.valid_up_to(), "this byte is not UTF-8", "text in UTF-8")),
    }
}
