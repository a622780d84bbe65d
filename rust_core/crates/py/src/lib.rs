//! `chaos._core`: the Rust crates as Python sees them. Conversions only: every decision is in the crates below.
//!
//! Histories and traces stay in Rust; bytes are made when Python asks for them. The GIL is released wherever a
//! call may take long. A panic becomes a `RuntimeError`. The types are in `chaos/_core.pyi`.

mod errors;
mod evidence;
mod histories;
mod model;
mod online;
mod stream;
mod trace;
mod workload;
mod world;

#[pyo3::pymodule]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::evidence::Evidence;
    #[pymodule_export]
    use super::histories::check_history;
    #[pymodule_export]
    use super::online::OnlineCheck;
    #[pymodule_export]
    use super::stream::check_stream;
    #[pymodule_export]
    use super::trace::{TraceChecker, check_trace};
    #[pymodule_export]
    use super::workload::{Expirations, Workload};
    #[pymodule_export]
    use super::world::{World, simulate};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("CHECKS", super::checks())?;
        module.add("MODELS", super::models())?;
        module.add("PLANTS", super::plants())?;
        module.add("RejectedError", module.py().get_type::<super::errors::RejectedError>())?;
        module.add("START_NS", mcp_chaos_sim::START_NS)
    }
}

/// Each check: name, what it holds a system to, where it is defined, what it needs.
fn checks() -> Vec<(&'static str, &'static str, &'static str, Vec<&'static str>)> {
    let need = |need: &mcp_chaos_checker::Need| match need {
        mcp_chaos_checker::Need::History => "history",
        mcp_chaos_checker::Need::Trace => "trace",
        mcp_chaos_checker::Need::Nemesis => "nemesis",
    };
    mcp_chaos_checker::CHECKS
        .iter()
        .map(|info| (info.name, info.about, info.section, info.needs.iter().map(need).collect()))
        .collect()
}

/// A model's name, what it is, its functions, and which errors of which function are observations.
type ModelRow = (&'static str, &'static str, Vec<&'static str>, Vec<(&'static str, &'static str)>);

/// Each sequential model.
fn models() -> Vec<ModelRow> {
    mcp_chaos_linearizability::models::MODELS
        .iter()
        .map(|model| (model.name, model.about, model.functions.to_vec(), model.observations.to_vec()))
        .collect()
}

/// Each planted bug: name, the layer in which it stands, what a node with it does, where it was published.
fn plants() -> Vec<(&'static str, &'static str, &'static str, &'static str)> {
    mcp_manager::PLANTS
        .iter()
        .map(|plant| (plant.name, plant.layer.name(), plant.about, plant.source))
        .collect()
}
