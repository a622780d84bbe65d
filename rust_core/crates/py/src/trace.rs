//! The Raft checks alone, over traces of any system and any length.

use std::sync::{Mutex, PoisonError};

use mcp_chaos_checker::{Check, Limits, RaftStream, TraceFiles, TraceFilesError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::errors::{guarded, value_error};
use crate::evidence::{named_checks, to_json};

struct Reading {
    files: TraceFiles,
    stream: RaftStream,
}

impl Reading {
    fn feed(&mut self, name: &str, piece: &[u8]) -> Result<(), TraceFilesError> {
        let Reading { files, stream } = self;
        files.feed(name, piece, |record| stream.push(record))
    }
}

/// Judges traces that come piece by piece.
#[pyclass(frozen, module = "chaos._core")]
pub struct TraceChecker(Mutex<Option<Reading>>);

impl TraceChecker {
    fn with<T>(&self, work: impl FnOnce(&mut Reading) -> T) -> PyResult<T> {
        let mut reading = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reading.as_mut().map(work).ok_or_else(finished)
    }
}

#[pymethods]
impl TraceChecker {
    #[new]
    #[pyo3(signature = (files, checks = None, memory_bytes = None))]
    fn new(
        files: Vec<String>,
        checks: Option<Vec<String>>,
        memory_bytes: Option<u64>,
    ) -> PyResult<TraceChecker> {
        Ok(TraceChecker(Mutex::new(Some(begin(files, checks, memory_bytes)?))))
    }

    #[getter]
    fn wants(&self) -> PyResult<Option<String>> {
        self.with(|reading| reading.files.wants().map(str::to_string))
    }

    #[getter]
    fn records(&self) -> PyResult<u64> {
        self.with(|reading| reading.stream.records())
    }

    fn feed(&self, py: Python<'_>, name: &str, piece: PyBackedBytes) -> PyResult<()> {
        py.detach(|| guarded(|| self.with(|reading| reading.feed(name, &piece))))??.map_err(value_error)
    }

    fn finish(&self, py: Python<'_>) -> PyResult<String> {
        py.detach(|| {
            let reading =
                self.0.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or_else(finished)?;
            if let Some(name) = reading.files.wants() {
                return Err(value_error(format!("{name} has not come to its end: an empty piece ends it")));
            }
            guarded(|| to_json(&reading.stream.finish()))
        })
    }
}

/// Judges whole traces.
#[pyfunction]
#[pyo3(signature = (files, checks = None, memory_bytes = None))]
pub fn check_trace(
    py: Python<'_>,
    files: Vec<(String, PyBackedBytes)>,
    checks: Option<Vec<String>>,
    memory_bytes: Option<u64>,
) -> PyResult<String> {
    /// Read at once, each file would stand in memory as records.
    const PIECE_BYTES: usize = 1 << 20;
    let mut reading = begin(files.iter().map(|(name, _)| name.clone()).collect(), checks, memory_bytes)?;
    py.detach(|| {
        guarded(|| {
            let mut pieces: Vec<_> = files.iter().map(|(_, text)| text.chunks(PIECE_BYTES)).collect();
            while let Some(wanted) = reading.files.wants().map(str::to_string) {
                let number = files.iter().position(|(name, _)| *name == wanted).unwrap_or_default();
                reading.feed(&wanted, pieces[number].next().unwrap_or_default())?;
            }
            Ok(to_json(&reading.stream.finish()))
        })
    })?
    .map_err(|error: TraceFilesError| value_error(error))
}

fn begin(files: Vec<String>, checks: Option<Vec<String>>, memory_bytes: Option<u64>) -> PyResult<Reading> {
    if let Some(twice) = files.iter().enumerate().find(|(at, name)| files[..*at].contains(name)) {
        return Err(value_error(format!("{} was given twice", twice.1)));
    }
    let checks = named_checks(&checks.unwrap_or_else(|| vec!["raft".to_string()]))?;
    if let Some(check) = checks.iter().find(|check| check.info().group != Some("raft")) {
        let raft: Vec<_> = Check::named("raft").iter().map(|check| check.name()).collect();
        return Err(value_error(format!(
            "{} needs more than traces; the checks of traces alone are: {}",
            check.name(),
            raft.join(", ")
        )));
    }
    let memory_bytes = memory_bytes.unwrap_or(Limits::default().memory_bytes);
    Ok(Reading { files: TraceFiles::new(files), stream: RaftStream::new(&checks, memory_bytes) })
}

fn finished() -> PyErr {
    value_error("this checker has given its answer")
}
