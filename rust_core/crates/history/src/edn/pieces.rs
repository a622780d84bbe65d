//! EDN that comes piece by piece, cut where an event has ended.
//!
//! A token that is cut reads as another token, so nothing is parsed before its event has closed its brace.

use super::each_event;
use crate::{
    RawEvent, ReadError,
    error::{Flaw, utf8},
    lines::LONGEST_LINE_BYTES,
};

/// What the last byte stood in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Inside {
    /// Among forms.
    #[default]
    Forms,
    /// A string.
    Text,
    /// A string, behind a backslash.
    Escape,
    /// A comment.
    Comment,
    /// A character's backslash: what comes next is no bracket.
    Character,
}

/// Where the text stands.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    /// What follows the last event that was complete.
    rest: Vec<u8>,
    inside: Inside,
    /// Open braces.
    depth: usize,
    /// What closes the vector that the events stand in.
    vector: Option<u8>,
    /// Lines before `rest`, and bytes before it on its line.
    lines: usize,
    columns: usize,
}

impl Pieces {
    /// Takes the next piece, wherever it ends, and calls `each` for every event that is now complete.
    pub(crate) fn feed(
        &mut self,
        piece: &[u8],
        independent: bool,
        each: &mut impl FnMut(RawEvent) -> Result<(), String>,
    ) -> Result<(), ReadError> {
        let mut whole = 0;
        for (at, byte) in (1..).zip(piece) {
            self.inside = match (self.inside, byte) {
                (Inside::Forms, b'"') => Inside::Text,
                (Inside::Forms, b';') => Inside::Comment,
                (Inside::Forms, b'\\') => Inside::Character,
                (Inside::Forms, b'{') => {
                    self.depth += 1;
                    Inside::Forms
                }
                (Inside::Forms, b'}') => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        whole = at;
                    }
                    Inside::Forms
                }
                (Inside::Text, b'\\') => Inside::Escape,
                (Inside::Text, b'"') | (Inside::Comment, b'\n') | (Inside::Character, _) => Inside::Forms,
                (Inside::Escape, _) => Inside::Text,
                (same, _) => same,
            };
        }
        let (events, after) = piece.split_at(whole);
        if whole > 0 {
            self.rest.extend_from_slice(events);
            self.parse(independent, false, each)?;
        }
        self.rest.extend_from_slice(after);
        if self.rest.len() > LONGEST_LINE_BYTES {
            return Err(self.placed(Flaw::new(0, "this event does not end", "a } before 64 MiB")));
        }
        Ok(())
    }

    /// The text is over.
    pub(crate) fn finish(
        mut self,
        independent: bool,
        each: &mut impl FnMut(RawEvent) -> Result<(), String>,
    ) -> Result<(), ReadError> {
        self.parse(independent, true, each)
    }

    fn parse(
        &mut self,
        independent: bool,
        is_end: bool,
        each: &mut impl FnMut(RawEvent) -> Result<(), String>,
    ) -> Result<(), ReadError> {
        let vector = &mut self.vector;
        utf8(&self.rest)
            .and_then(|text| each_event(text, vector, is_end, independent, each))
            .map_err(|flaw| self.placed(flaw))?;
        let newlines = memchr::memchr_iter(b'\n', &self.rest);
        let (lines, last) = newlines.fold((0, None), |(lines, _), at| (lines + 1, Some(at)));
        self.lines += lines;
        self.columns = match last {
            Some(newline) => self.rest.len() - newline - 1,
            None => self.columns + self.rest.len(),
        };
        self.rest.clear();
        Ok(())
    }

    /// A flaw of `rest`, by its place in the whole text.
    fn placed(&self, flaw: Flaw) -> ReadError {
        let mut error = flaw.within(&self.rest);
        if error.line == 1 {
            error.column += self.columns;
        }
        error.line += self.lines;
        error
    }
}
