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

    /// In a text of several lines, whose offset this is.
    pub(crate) fn within(self, text: &[u8]) -> ReadError {
        let before = &text[..self.at.min(text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        ReadError { line, column: before.len() - start + 1, message: self.message, expected: self.expected }
    }
}

/// The text as UTF-8.
pub(crate) fn utf8(text: &[u8]) -> Result<&str, Flaw> {
    str::from_utf8(text)
        .map_err(|error| Flaw::new(error.valid_up_to(), "this byte is not UTF-8", "text in UTF-8"))
}

/// Where the text begins: some editors set a byte order mark before it.
pub(crate) fn after_mark(text: &str) -> usize {
    if text.starts_with('\u{feff}') { 3 } else { 0 }
}
