//! A history judged while it is being written.

use std::sync::{Mutex, PoisonError};

use mcp_chaos_checker::jsonl::parse_history;
use mcp_chaos_checker::linearizable::OnlineRegisters;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::errors::{guarded, value_error};
use crate::evidence::to_json;

/// Judges a run's registers while the run goes on.
#[pyclass(frozen, module = "chaos._core")]
pub struct OnlineCheck(Mutex<OnlineRegisters>);

impl OnlineCheck {
    fn with<T>(&self, work: impl FnOnce(&mut OnlineRegisters) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[pymethods]
impl OnlineCheck {
    #[new]
    fn new() -> OnlineCheck {
        OnlineCheck(Mutex::new(OnlineRegisters::default()))
    }

    #[pyo3(signature = (events, steps = 1_000_000))]
    fn push(&self, py: Python<'_>, events: PyBackedBytes, steps: u64) -> PyResult<()> {
        py.detach(|| {
            guarded(|| {
                let events = parse_history(&events).map_err(|error| error.to_string())?;
                self.with(|registers| {
                    events.iter().try_for_each(|event| registers.take(event))?;
                    registers.advance(steps);
                    Ok(())
                })
            })
        })?
        .map_err(|error: String| value_error(error))
    }

    fn violation(&self) -> Option<String> {
        self.with(|registers| registers.violation()).map(|violation| to_json(&violation))
    }

    fn doubts(&self) -> Vec<String> {
        self.with(|registers| registers.doubts())
    }
}
