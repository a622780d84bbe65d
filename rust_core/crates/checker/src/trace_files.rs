//! Traces of several nodes, read side by side and judged as one: of any length, in bounded memory.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use mcp_chaos_evidence::TraceRecord;

use crate::jsonl::{ParseError, TraceReader};

/// Joins files in time order while they are read, as [`crate::jsonl::merge_traces`] does with whole ones: each
/// file's records keep their own order, and one whose clock went back comes right behind the one before it.
///
/// Time decides nothing but the words of an explanation; but what is read at its time is compared while what it
/// speaks of is still remembered.
#[derive(Debug)]
pub struct TraceFiles {
    files: Vec<File>,
    /// (time, file) of each file's next record.
    heads: BinaryHeap<Reverse<(u64, usize)>>,
    /// How many files are neither at their end nor have a record that waits.
    starved: usize,
}

#[derive(Debug)]
struct File {
    name: String,
    reader: TraceReader,
    /// Records that wait, with the latest time so far.
    waiting: VecDeque<(u64, TraceRecord)>,
    latest_ns: u64,
    at_end: bool,
}

impl File {
    fn is_starved(&self) -> bool {
        self.waiting.is_empty() && !self.at_end
    }
}

/// What is wrong with one of the files.
#[derive(Debug, thiserror::Error)]
pub enum TraceFilesError {
    /// A line is not a trace record.
    #[error("{0}: {1}")]
    Parse(String, ParseError),
    /// There is no file of this name.
    #[error("no file {0:?} was announced; there are: {1}")]
    NoSuchFile(String, String),
    /// Something comes after the end.
    #[error("{0} has come to its end: nothing may follow")]
    AtEnd(String),
}

impl TraceFiles {
    /// All files must be known from the beginning: what comes first is known only when each has shown a record.
    pub fn new(names: impl IntoIterator<Item = String>) -> TraceFiles {
        let file = |name| File {
            name,
            reader: TraceReader::default(),
            waiting: VecDeque::new(),
            latest_ns: 0,
            at_end: false,
        };
        let files: Vec<File> = names.into_iter().map(file).collect();
        TraceFiles { starved: files.len(), files, heads: BinaryHeap::new() }
    }

    /// The file whose next piece is needed to go on; none: all are at their end.
    pub fn wants(&self) -> Option<&str> {
        self.files.iter().find(|file| file.is_starved()).map(|file| file.name.as_str())
    }

    /// Takes the next piece of a file, cut anywhere; an empty piece ends the file. `take` gets the records whose
    /// turn it is. To give what [`TraceFiles::wants`] names keeps memory to a piece of each file.
    pub fn feed(
        &mut self,
        name: &str,
        piece: &[u8],
        mut take: impl FnMut(&TraceRecord),
    ) -> Result<(), TraceFilesError> {
        let Some(number) = self.files.iter().position(|file| file.name == name) else {
            let names: Vec<_> = self.files.iter().map(|file| file.name.as_str()).collect();
            return Err(TraceFilesError::NoSuchFile(name.to_string(), names.join(", ")));
        };
        let file = &mut self.files[number];
        if file.at_end {
            return Err(TraceFilesError::AtEnd(name.to_string()));
        }
        let File { reader, waiting, latest_ns, .. } = file;
        let had_none = waiting.is_empty();
        let add = |record: TraceRecord| {
            *latest_ns = record.time_ns.max(*latest_ns);
            waiting.push_back((*latest_ns, record));
        };
        let read = if piece.is_empty() { reader.finish(add) } else { reader.feed(piece, add) };
        read.map_err(|error| TraceFilesError::Parse(name.to_string(), error))?;
        file.at_end = piece.is_empty();
        if had_none {
            if let Some((time_ns, _)) = file.waiting.front() {
                self.heads.push(Reverse((*time_ns, number)));
            }
            self.starved -= usize::from(!file.is_starved());
        }
        while self.starved == 0
            && let Some(Reverse((_, number))) = self.heads.pop()
        {
            let file = &mut self.files[number];
            let Some((_, record)) = file.waiting.pop_front() else { continue };
            take(&record);
            match file.waiting.front() {
                Some((time_ns, _)) => self.heads.push(Reverse((*time_ns, number))),
                None => self.starved += usize::from(file.is_starved()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mcp_chaos_evidence::rng::Stream;

    use super::*;
    use crate::{jsonl, testing::*};

    #[test]
    fn files_are_joined_as_whole_ones_are() {
        for seed in 0..200 {
            let draws = Stream::new(seed, "files", 0, 0);
            let traces: Vec<Vec<TraceRecord>> = (1..=draws.between(0, 1, 4))
                .map(|node| {
                    let length = draws.between(node, 0, 12);
                    let mut records = trace((0..length).map(|index| (node, committed(index))));
                    for (at, record) in records.iter_mut().enumerate() {
                        record.time_ns = draws.between(100 * node + at as u64, 0, 9);
                    }
                    records
                })
                .collect();
            let name = |number: usize| format!("trace/{number}.jsonl");
            let mut files = TraceFiles::new((0..traces.len()).map(name));
            let texts: Vec<_> = traces.iter().map(|records| jsonl::write(records)).collect();
            let mut pieces: Vec<_> = texts.iter().map(|text| text.chunks(60)).collect();
            let mut read = Vec::new();
            while let Some(wanted) = files.wants().map(str::to_string) {
                let number = (0..traces.len()).find(|number| name(*number) == wanted).unwrap();
                let piece = pieces[number].next().unwrap_or_default();
                files.feed(&wanted, piece, |record| read.push(record.clone())).unwrap();
            }
            assert_eq!(read, jsonl::merge_traces(traces));
        }
    }

    #[test]
    fn errors_name_the_file() {
        let mut files = TraceFiles::new(["n1.jsonl".to_string(), "n2.jsonl".to_string()]);
        let error = files.feed("n3.jsonl", b"", |_| {}).unwrap_err().to_string();
        assert_eq!(error, "no file \"n3.jsonl\" was announced; there are: n1.jsonl, n2.jsonl");
        files.feed("n1.jsonl", b"", |_| {}).unwrap();
        let error = files.feed("n1.jsonl", b"{}", |_| {}).unwrap_err().to_string();
        assert_eq!(error, "n1.jsonl has come to its end: nothing may follow");
        let error = files.feed("n2.jsonl", b"\n{}\n", |_| {}).unwrap_err().to_string();
        assert!(error.starts_with("n2.jsonl: line 2, column "), "{error}");
    }
}
