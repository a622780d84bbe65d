//! Histories of any system, checked on their own.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mcp_chaos_history::{self as histories, Format, History, Value, fault_bands};
use mcp_chaos_linearizability::models::ModelOptions;
use mcp_chaos_linearizability::{Limits, Options, Stop, Watch, check, check_model};
use mcp_chaos_transactions::{self as transactions, Level};
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use serde::Deserialize;

use crate::errors::{guarded, value_error};
use crate::evidence::to_json;
use crate::model::PythonModel;

/// What a check is to do: the options of `chaos.check`, as JSON.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Asked {
    pub model: String,
    format: Option<String>,
    independent: bool,
    initial: Option<serde_json::Value>,
    parted: Option<bool>,
    missing: Option<serde_json::Value>,
    algorithm: Option<String>,
    level: Option<String>,
    memory_bytes: u64,
    steps: Option<u64>,
    pub seconds: Option<f64>,
    minimal: bool,
    witness: bool,
    timeline: Option<usize>,
}

impl Default for Asked {
    fn default() -> Asked {
        Asked {
            model: "cas-register".into(),
            format: None,
            independent: false,
            initial: None,
            parted: None,
            missing: None,
            algorithm: None,
            level: None,
            memory_bytes: Limits::default().memory_bytes,
            steps: None,
            seconds: None,
            minimal: false,
            witness: false,
            timeline: None,
        }
    }
}

/// The model that is no model: transactions over lists.
pub const TRANSACTIONS: &str = "list-append";

impl Asked {
    /// Of options as JSON.
    pub fn parse(options: &str) -> PyResult<Asked> {
        serde_json::from_str(options).map_err(|error| value_error(format!("options: {error}")))
    }

    /// The format that is asked for, if one is.
    pub fn format(&self) -> Result<Option<Format>, String> {
        let names = || Format::ALL.map(Format::name).join(", ");
        let parse = |name: &str| {
            Format::parse(name).ok_or_else(|| format!("no format {name:?}; there are: {}", names()))
        };
        self.format.as_deref().map(parse).transpose()
    }

    /// How a text is to be understood.
    pub fn reading(&self) -> histories::Options {
        histories::Options { independent: self.independent, ..histories::Options::default() }
    }

    /// How the model is to be made.
    pub fn model_options(&self) -> ModelOptions {
        ModelOptions {
            initial: self.initial.as_ref().map(Value::from),
            parted: self.parted,
            missing: self.missing.as_ref().map(Value::from),
        }
    }

    /// How far the search may go.
    pub fn limits(&self) -> Limits {
        let limits = Limits::default();
        Limits { memory_bytes: self.memory_bytes, steps: self.steps.unwrap_or(limits.steps) }
    }
}

/// Stops a check when its time is over, or when Python wants to raise (Ctrl-C).
pub struct Clock {
    limit: Option<Duration>,
    deadline: Mutex<Option<Instant>>,
    raised: Mutex<Option<PyErr>>,
}

impl Clock {
    /// A clock that starts now.
    pub fn new(seconds: Option<f64>) -> Clock {
        let limit = seconds.map(|seconds| Duration::from_secs_f64(seconds.clamp(0.0, 1e9)));
        let clock = Clock { limit, deadline: Mutex::default(), raised: Mutex::default() };
        clock.begin_explanation();
        clock
    }

    /// Python wants to raise this, when the check has ended: soon.
    pub fn raise(&self, error: PyErr) {
        self.raised.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    /// What Python wants to raise.
    pub fn raised(self) -> Option<PyErr> {
        self.raised.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch for Clock {
    fn stop(&self) -> Option<Stop> {
        let deadline = *self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Some(Stop::Time);
        }
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        if raised.is_none() {
            // Signals are Python's to handle; what its handler raises is raised again once the check has ended.
            *raised = Python::attach(|py| py.check_signals().err());
        }
        raised.is_some().then_some(Stop::Cancelled)
    }

    fn begin_explanation(&self) {
        let deadline = self.limit.map(|limit| Instant::now() + limit);
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
    }
}

/// Judges a history of any system, on its own; `options` and the answer are JSON.
#[pyfunction]
#[pyo3(signature = (history, options, *, nemesis = None, model = None, call_type = None))]
pub fn check_history(
    py: Python<'_>,
    history: PyBackedBytes,
    options: &str,
    nemesis: Option<PyBackedBytes>,
    model: Option<Py<PyAny>>,
    call_type: Option<Py<PyAny>>,
) -> PyResult<String> {
    let asked = Asked::parse(options)?;
    let history =
        py.detach(|| guarded(|| read_history(&history, &asked, nemesis.as_deref())))?.map_err(value_error)?;
    let clock = Clock::new(asked.seconds);
    let report = match (model, call_type) {
        (Some(model), Some(call_type)) => by_python(py, &history, &asked, &clock, model, call_type)?,
        _ => py.detach(|| guarded(|| judged(&history, &asked, &clock)))?.map_err(value_error)?,
    };
    match clock.raised() {
        None => Ok(report),
        Some(error) => Err(with_note(py, error, &report)),
    }
}

/// What Ctrl-C raises tells how far the check had come.
fn with_note(py: Python<'_>, error: PyErr, report: &str) -> PyErr {
    let report: serde_json::Value = serde_json::from_str(report).unwrap_or_default();
    if let (Some(reason), true) = (report["reason"].as_str(), error.is_instance_of::<PyKeyboardInterrupt>(py))
    {
        let note = match report["verdict"].as_str() {
            Some(verdict @ ("valid" | "invalid")) => format!("{verdict}: {reason}"),
            _ => reason.strip_prefix("cancelled: ").unwrap_or(reason).to_owned(),
        };
        // Without its note the interrupt is still one.
        let _ = error.value(py).call_method1("add_note", (note,));
    }
    error
}

fn read_history(text: &[u8], asked: &Asked, nemesis: Option<&[u8]>) -> Result<History, String> {
    let options = asked.reading();
    let history = match asked.format()? {
        None => histories::read_any(text, &options),
        Some(format) => histories::read(text, format, &options),
    };
    let mut history = history.map_err(|error| error.to_string())?;
    if let Some(nemesis) = nemesis {
        let records = mcp_chaos_checker::jsonl::parse_nemesis(nemesis)
            .map_err(|error| format!("nemesis.jsonl: {error}"))?;
        history.faults = fault_bands(&records, end_ns(&history));
    }
    Ok(history)
}

fn end_ns(history: &History) -> u64 {
    let ends = history.operations.iter().map(|operation| match operation.completed_ns {
        u64::MAX => operation.invoked_ns,
        completed_ns => completed_ns,
    });
    ends.max().unwrap_or(0)
}

fn judged(history: &History, asked: &Asked, clock: &Clock) -> Result<String, String> {
    let limits = asked.limits();
    if asked.model == TRANSACTIONS {
        let name = asked.level.as_deref().unwrap_or(Level::StrictSerializable.name());
        let names = || Level::ALL.map(Level::name).join(", ");
        let level = Level::named(name).ok_or_else(|| format!("no level {name:?}; there are: {}", names()))?;
        let report =
            transactions::check(history, level, &limits, clock).map_err(|error| error.to_string())?;
        return Ok(to_json(&report));
    }
    check(history, &asked.model, &wanted(asked), &limits, clock).map(|report| to_json(&report))
}

fn by_python(
    py: Python<'_>,
    history: &History,
    asked: &Asked,
    clock: &Clock,
    model: Py<PyAny>,
    call_type: Py<PyAny>,
) -> PyResult<String> {
    let model = PythonModel::new(py, model, call_type)?;
    let watch = OfPython { clock, model: &model };
    let report =
        guarded(|| check_model(history, &asked.model, &model, &wanted(asked), &asked.limits(), &watch))?;
    match model.raised() {
        Some(error) => Err(match &report {
            Ok(report) => with_note(py, error, &to_json(report)),
            Err(_) => error,
        }),
        None => report.map(|report| to_json(&report)).map_err(value_error),
    }
}

/// Stops also when the model has raised.
struct OfPython<'a> {
    clock: &'a Clock,
    model: &'a PythonModel,
}

impl Watch for OfPython<'_> {
    fn stop(&self) -> Option<Stop> {
        if self.model.has_raised() { Some(Stop::Cancelled) } else { self.clock.stop() }
    }

    fn begin_explanation(&self) {
        self.clock.begin_explanation();
    }

    fn stride(&self) -> u64 {
        PYTHON_STEPS
    }
}

/// Steps of a model in Python between two looks at the clock: each takes some microseconds, or what its author likes.
pub const PYTHON_STEPS: u64 = 64;

fn wanted(asked: &Asked) -> Options {
    Options {
        model: asked.model_options(),
        minimal: asked.minimal,
        witness: asked.witness,
        timeline: asked.timeline,
        algorithm: asked.algorithm.clone(),
        passes_over: false,
    }
}
