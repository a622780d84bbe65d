//! Lines of a text that comes piece by piece.

use memchr::memchr;

use crate::{ReadError, error::Flaw};

/// The longest line that is kept in memory: what is longer is no history.
pub const LONGEST_LINE_BYTES: usize = 64 << 20;

/// Where the text stands.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// The beginning of a line whose end is still to come.
    rest: Vec<u8>,
    /// Lines that are over.
    over: usize,
}

impl Lines {
    /// Takes the next piece, wherever it ends, and calls `each` for every line that is now complete, with its
    /// number from 1.
    pub(crate) fn feed(
        &mut self,
        mut piece: &[u8],
        mut each: impl FnMut(&[u8], usize) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        while let Some(end) = memchr(b'\n', piece) {
            let (line, after) = piece.split_at(end);
            self.over += 1;
            if self.rest.is_empty() {
                each(line, self.over)?;
            } else {
                self.rest.extend_from_slice(line);
                each(&self.rest, self.over)?;
                self.rest.clear();
            }
            piece = &after[1..];
        }
        if self.rest.len() + piece.len() > LONGEST_LINE_BYTES {
            let flaw = Flaw::new(LONGEST_LINE_BYTES, "the line does not end", "one event on each line");
            return Err(flaw.on_line(self.over + 1));
        }
        self.rest.extend_from_slice(piece);
        Ok(())
    }

    /// The text is over: the last line may have no end.
    pub(crate) fn finish(
        self,
        mut each: impl FnMut(&[u8], usize) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        each(&self.rest, self.over + 1)
    }
}
