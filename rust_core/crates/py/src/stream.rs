//! A history judged while it is read, piece by piece.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mcp_chaos_evidence::NemesisRecord;
use mcp_chaos_history::{EventStream, FaultBand, RawEvent, fault_bands};
use mcp_chaos_linearizability::{
    Source, Stop, StreamProgress, StreamReport, Watch, check_stream as check, check_stream_model,
};
use pyo3::exceptions::{PyKeyboardInterrupt, PyStopIteration};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::errors::{guarded, value_error};
use crate::evidence::to_json;
use crate::histories::{Asked, Clock, PYTHON_STEPS, TRANSACTIONS};
use crate::model::PythonModel;

/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Pieces that a Python iterator gives.
struct Pieces<'a> {
    pieces: Py<PyAny>,
    events: EventStream,
    nemesis: Vec<NemesisRecord>,
    clock: &'a Clock,
}

impl Source for Pieces<'_> {
    fn next(&mut self, take: &mut dyn FnMut(RawEvent) -> Result<(), String>) -> Result<bool, String> {
        let piece = Python::attach(|py| match self.pieces.bind(py).call_method0("__next__") {
            Ok(piece) => Ok(Some(piece.extract::<PyBackedBytes>()?)),
            Err(error) if error.is_instance_of::<PyStopIteration>(py) => Ok(None),
            Err(error) => Err(error),
        });
        let mut each = |event: RawEvent| take(event);
        let read = match &piece {
            Ok(Some(piece)) => self.events.feed(piece, &mut each),
            Ok(None) => self.events.finish(&mut each),
            Err(_) => Ok(()),
        };
        read.map_err(|error| error.to_string())?;
        match piece {
            Ok(piece) => Ok(piece.is_some()),
            Err(error) => {
                // The check looks at the clock next.
                self.clock.raise(error);
                Ok(true)
            }
        }
    }

    fn faults(&self) -> Vec<FaultBand> {
        let mut faults = self.events.faults();
        faults.extend(fault_bands(&self.nemesis, self.events.latest_ns()));
        faults
    }
}

/// Tells Python how far the check is, and stops it when the clock says so.
struct Observer<'a> {
    clock: &'a Clock,
    progress: Option<Py<PyAny>>,
    told_at: Mutex<Instant>,
}

impl Watch for Observer<'_> {
    fn stop(&self) -> Option<Stop> {
        self.clock.stop()
    }

    fn progress(&self, far: &StreamProgress) {
        let Some(progress) = &self.progress else { return };
        let mut told_at = self.told_at.lock().unwrap_or_else(PoisonError::into_inner);
        if told_at.elapsed() < PROGRESS_EVERY {
            return;
        }
        *told_at = Instant::now();
        let far = (far.events, far.operations, far.keys, far.held_bytes);
        if let Err(error) = Python::attach(|py| progress.call1(py, far)) {
            self.clock.raise(error);
        }
    }
}

/// Stops also when the model has raised.
struct OfPython<'a> {
    observer: &'a Observer<'a>,
    model: &'a PythonModel,
}

impl Watch for OfPython<'_> {
    fn stop(&self) -> Option<Stop> {
        if self.model.has_raised() { Some(Stop::Cancelled) } else { self.observer.stop() }
    }

    fn stride(&self) -> u64 {
        PYTHON_STEPS
    }

    fn progress(&self, far: &StreamProgress) {
        self.observer.progress(far);
    }
}

/// Judges a history that comes in pieces, and is not kept; `options` and the answer are JSON.
#[pyfunction]
#[pyo3(signature = (pieces, options, *, nemesis = None, model = None, call_type = None, progress = None))]
pub fn check_stream(
    py: Python<'_>,
    pieces: Py<PyAny>,
    options: &str,
    nemesis: Option<PyBackedBytes>,
    model: Option<Py<PyAny>>,
    call_type: Option<Py<PyAny>>,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let asked = Asked::parse(options)?;
    if asked.model == TRANSACTIONS {
        return Err(value_error(format!("options: {TRANSACTIONS} needs the whole history, not a stream")));
    }
    let nemesis = mcp_chaos_checker::jsonl::parse_nemesis(nemesis.as_deref().unwrap_or_default())
        .map_err(|error| value_error(format!("nemesis.jsonl: {error}")))?;
    let events = EventStream::new(asked.format().map_err(value_error)?, asked.reading());
    let clock = Clock::new(asked.seconds);
    let mut source = Pieces { pieces, events, nemesis, clock: &clock };
    let observer = Observer { clock: &clock, progress, told_at: Mutex::new(Instant::now()) };
    let answer = match (model, call_type) {
        (Some(model), Some(call_type)) => {
            let model = PythonModel::new(py, model, call_type)?;
            let watch = OfPython { observer: &observer, model: &model };
            let answer =
                guarded(|| check_stream_model(&mut source, &asked.model, &model, &asked.limits(), &watch))?;
            if let Some(error) = model.raised() {
                return Err(with_report(py, error, answer));
            }
            answer
        }
        _ => py.detach(|| {
            guarded(|| check(&mut source, &asked.model, &asked.model_options(), &asked.limits(), &observer))
        })?,
    };
    drop((source, observer));
    match clock.raised() {
        Some(error) => Err(with_report(py, error, answer)),
        None => answer.map(|report| to_json(&report)).map_err(value_error),
    }
}

/// Who interrupts a check is told by the exception itself, as JSON in its `report`, what was found until then.
fn with_report(py: Python<'_>, error: PyErr, answer: Result<StreamReport, String>) -> PyErr {
    if let (true, Ok(report)) = (error.is_instance_of::<PyKeyboardInterrupt>(py), answer)
        && let Err(other) = error.value(py).setattr("report", to_json(&report))
    {
        return other;
    }
    error
}
