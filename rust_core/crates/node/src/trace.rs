//! The trace file: what this node did, one JSON record a line.
//!
//! Records reach the file by plain write(2) before the messages and replies that follow them leave: what is
//! written survives kill -9 (the page cache stays), so nobody outside ever knows more than the trace.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mcp_chaos_evidence::{NodeId, TraceEvent, TraceRecord};

use crate::clock::RunClock;

/// Appends records to a trace file, or nowhere if none was asked for.
#[derive(Debug)]
pub struct TraceWriter {
    file: Option<File>,
    node: NodeId,
    boot: Arc<AtomicU64>,
    clock: RunClock,
    pending: Vec<u8>,
}

impl TraceWriter {
    /// Opens `path` for appending. A last line without its newline (the process died in the middle of it)
    /// is cut off: nothing that followed it ever left the node.
    pub fn open(path: Option<&Path>, node: NodeId, clock: RunClock) -> io::Result<TraceWriter> {
        let mut boot = 1;
        let file = match path {
            None => None,
            Some(path) => {
                if let Some(parent) = path.parent() {
                    std::fs::create_dir_all(parent)?;
                }
                let last_line = cut_torn_line(path)?;
                if let Ok(last) = serde_json::from_slice::<TraceRecord>(&last_line) {
                    boot = last.boot + 1;
                }
                Some(OpenOptions::new().create(true).append(true).open(path)?)
            }
        };
        Ok(TraceWriter { file, node, boot: Arc::new(AtomicU64::new(boot)), clock, pending: Vec::new() })
    }

    /// A second writer on the same file, sharing the boot number: for the panic hook.
    pub fn duplicate(&self) -> io::Result<TraceWriter> {
        Ok(TraceWriter {
            file: self.file.as_ref().map(File::try_clone).transpose()?,
            node: self.node,
            boot: Arc::clone(&self.boot),
            clock: self.clock,
            pending: Vec::new(),
        })
    }

    /// Says which boot the records belong to. Before that they carry the one after the file's last record:
    /// a node that is refused its data cannot know its boot, and boots never go back in a trace.
    pub fn set_boot(&self, boot: u64) {
        self.boot.store(boot, Ordering::Relaxed);
    }

    /// Takes a record; it is written by the next [`flush`](Self::flush).
    pub fn push(&mut self, event: TraceEvent) {
        if self.file.is_none() {
            return;
        }
        let record = TraceRecord {
            time_ns: self.clock.now_ns(),
            node: self.node,
            boot: self.boot.load(Ordering::Relaxed),
            event,
        };
        if serde_json::to_writer(&mut self.pending, &record).is_ok() {
            self.pending.push(b'\n');
        }
    }

    /// Writes all records taken, in one call.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if let Some(file) = &mut self.file {
            file.write_all(&self.pending)?;
        }
        self.pending.clear();
        Ok(())
    }

    /// Takes a record and writes it.
    pub fn write(&mut self, event: TraceEvent) -> io::Result<()> {
        self.push(event);
        self.flush()
    }
}

/// Cuts the file after its last newline, if it exists and does not end with one, and gives its last line.
fn cut_torn_line(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let length = file.seek(SeekFrom::End(0))?;
    let end = after_newline_before(&mut file, length)?;
    if end < length {
        file.set_len(end)?;
    }
    let start = after_newline_before(&mut file, end.saturating_sub(1))?;
    file.seek(SeekFrom::Start(start))?;
    let mut line = Vec::new();
    file.take(end - start).read_to_end(&mut line)?;
    Ok(line)
}

/// The place behind the last newline that lies before `end`; 0 if there is none.
fn after_newline_before(file: &mut File, mut end: u64) -> io::Result<u64> {
    const STEP_BYTES: u64 = 64 * 1024;
    let mut chunk = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(STEP_BYTES);
        chunk.resize(usize::try_from(end - start).unwrap_or(0), 0);
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut chunk)?;
        if let Some(at) = chunk.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stopped(reason: &str) -> TraceEvent {
        TraceEvent::Stopped { reason: reason.to_owned() }
    }

    #[test]
    fn records_are_appended_over_restarts_and_a_torn_line_is_cut() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deeper/n1.jsonl");
        let mut writer = TraceWriter::open(Some(&path), 1, RunClock::new(0)).unwrap();
        writer.set_boot(1);
        writer.write(stopped("graceful")).unwrap();
        drop(writer);
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{{\"time_ns\":12")).unwrap();

        let mut writer = TraceWriter::open(Some(&path), 1, RunClock::new(0)).unwrap();
        writer.push(stopped("a"));
        writer.duplicate().unwrap().write(stopped("b")).unwrap();
        writer.flush().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let records: Vec<TraceRecord> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let seen: Vec<_> = records.iter().map(|record| (record.boot, record.event.clone())).collect();
        assert_eq!(seen, [(1, stopped("graceful")), (2, stopped("b")), (2, stopped("a"))]);
    }

    #[test]
    fn without_a_path_nothing_is_written() {
        let mut writer = TraceWriter::open(None, 1, RunClock::new(0)).unwrap();
        writer.write(stopped("graceful")).unwrap();
    }

    #[test]
    fn a_file_of_one_torn_line_becomes_empty() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t");
        std::fs::write(&path, "x".repeat(200_000)).unwrap();
        cut_torn_line(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    }
}
