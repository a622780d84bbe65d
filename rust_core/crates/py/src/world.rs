//! The simulator: stepped by hand, or a whole plan in one call.

use std::sync::{Mutex, PoisonError};

use mcp_chaos_sim::Plan;
use pyo3::prelude::*;

use crate::errors::{guarded, value_error};
use crate::evidence::Evidence;

/// How much virtual time passes between two looks at whether a signal (Ctrl-C) has come.
const LOOK_NS: u64 = 30_000_000_000;

/// One simulated cluster.
#[pyclass(frozen, module = "chaos._core")]
pub struct World {
    /// None once it is finished.
    world: Mutex<Option<mcp_chaos_sim::World>>,
}

impl World {
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut mcp_chaos_sim::World) -> T + Send,
    ) -> PyResult<T> {
        py.detach(|| {
            let mut held = self.world.lock().unwrap_or_else(PoisonError::into_inner);
            let world = held.as_mut().ok_or_else(finished)?;
            guarded(|| work(world))
        })
    }

    /// Advances in pieces, so that a signal is seen in time.
    fn advance_until(&self, py: Python<'_>, until_ns: u64) -> PyResult<()> {
        loop {
            let done = self.with(py, |world| {
                world.advance(until_ns.min(world.now_ns().saturating_add(LOOK_NS)));
                world.is_over() || world.now_ns() >= until_ns
            })?;
            py.check_signals()?;
            if done {
                return Ok(());
            }
        }
    }
}

#[pymethods]
impl World {
    #[new]
    #[pyo3(signature = (compiled_plan, plants = Vec::new()), text_signature = "(compiled_plan, plants=())")]
    fn new(py: Python<'_>, compiled_plan: &str, plants: Vec<String>) -> PyResult<World> {
        let plan = Plan::parse(compiled_plan).map_err(value_error)?;
        let world =
            py.detach(|| guarded(|| mcp_chaos_sim::World::new(plan, &plants)))?.map_err(value_error)?;
        Ok(World { world: Mutex::new(Some(world)) })
    }

    #[getter]
    fn now_ns(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |world| world.now_ns())
    }

    #[getter]
    fn is_over(&self, py: Python<'_>) -> PyResult<bool> {
        self.with(py, |world| world.is_over())
    }

    fn advance(&self, py: Python<'_>, until_ns: u64) -> PyResult<()> {
        self.advance_until(py, until_ns)
    }

    fn apply(&self, py: Python<'_>, step: &str) -> PyResult<String> {
        let record = self.with(py, |world| world.apply(step))?.map_err(value_error)?;
        serde_json::to_string(&record).map_err(value_error)
    }

    fn operate(&self, py: Python<'_>, operation: &str) -> PyResult<u64> {
        self.with(py, |world| world.operate(operation))?.map_err(value_error)
    }

    fn outcome(&self, py: Python<'_>, number: u64) -> PyResult<Option<String>> {
        let outcome = self.with(py, |world| world.outcome(number).map(Option::<&_>::cloned))?;
        outcome.map_err(value_error)?.map(|one| serde_json::to_string(&one).map_err(value_error)).transpose()
    }

    fn observe(&self, py: Python<'_>) -> PyResult<String> {
        self.with(py, |world| world.observe().to_string())
    }

    fn finish(&self, py: Python<'_>) -> PyResult<Evidence> {
        self.advance_until(py, u64::MAX)?;
        let world = self.world.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or_else(finished)?;
        py.detach(|| guarded(|| Evidence::from(world.finish())))
    }
}

/// Carries out a whole plan.
#[pyfunction]
#[pyo3(signature = (compiled_plan, plants = Vec::new()), text_signature = "(compiled_plan, plants=())")]
pub fn simulate(py: Python<'_>, compiled_plan: &str, plants: Vec<String>) -> PyResult<Evidence> {
    World::new(py, compiled_plan, plants)?.finish(py)
}

fn finished() -> PyErr {
    value_error("this world is finished: make a new one")
}
