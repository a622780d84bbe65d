//! The plan's operations, for clients on real nodes.

use std::collections::BTreeMap;

use mcp_chaos_evidence::{HistoryEvent, parse_node_name};
use mcp_chaos_sim::workload::{self, Action};
use mcp_chaos_sim::{Plan, plan};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::value_error;

/// What the clients of a compiled plan do: the same on every backend.
#[pyclass(frozen, module = "chaos._core")]
pub struct Workload {
    seed: u64,
    nodes: u64,
    workload: plan::Workload,
    workload_ns: u64,
}

impl Workload {
    /// What is done, for requests and for the history.
    fn tell(&self, drawn: &Bound<'_, PyDict>, action: Action) -> PyResult<()> {
        let (value, expected) = match action {
            Action::Write(value) | Action::Add(value) | Action::Append(value) | Action::Register(value) => {
                (Some(value), None)
            }
            Action::Acquire(number) => (Some(number), None),
            Action::Cas { expected, new } => (Some(new), expected),
            _ => (None, None),
        };
        drawn.set_item("f", action.function(self.workload.kind).name())?;
        drawn.set_item("value", value)?;
        drawn.set_item("expected", expected)?;
        drawn.set_item("argument", action.argument().to_string())?;
        drawn.set_item("result", action.result().to_string())?;
        Ok(())
    }
}

/// When the leases of a run may end, for its history: the same on every backend.
#[pyclass(module = "chaos._core")]
pub struct Expirations(mcp_chaos_sim::expirations::Expirations);

#[pymethods]
impl Expirations {
    #[new]
    fn new(lease_ns: u64) -> Expirations {
        Expirations(mcp_chaos_sim::expirations::Expirations::new(lease_ns))
    }

    fn see(&mut self, event: &str) -> PyResult<Option<u64>> {
        let event: HistoryEvent = serde_json::from_str(event).map_err(value_error)?;
        Ok(self.0.see(&event))
    }

    fn ended(&mut self, now_ns: u64) -> PyResult<String> {
        serde_json::to_string(&self.0.ended(now_ns)).map_err(value_error)
    }
}

#[pymethods]
impl Workload {
    #[new]
    fn new(compiled_plan: &str) -> PyResult<Workload> {
        let plan = Plan::parse(compiled_plan).map_err(value_error)?;
        Ok(Workload {
            seed: plan.seed,
            nodes: plan.nodes,
            workload: plan.workload,
            workload_ns: plan.timeline.workload_ns,
        })
    }

    fn operation<'py>(
        &self,
        py: Python<'py>,
        client: u32,
        n: u64,
        last_seen: BTreeMap<String, Option<i64>>,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        if !(1..=self.workload.clients).contains(&client) {
            let clients = self.workload.clients;
            return Err(value_error(format!("no client {client}; the plan has clients 1 to {clients}")));
        }
        let seen = |key| last_seen.get(&workload::key_name(key)).copied();
        let Some(operation) = workload::operation(self.seed, &self.workload, client, n, seen) else {
            return Ok(None);
        };
        let drawn = PyDict::new(py);
        drawn.set_item("number", operation.number)?;
        drawn.set_item("think_ns", operation.think_ns)?;
        drawn.set_item("key", workload::key_name(operation.key))?;
        self.tell(&drawn, operation.action)?;
        Ok(Some(drawn))
    }

    fn last_change<'py>(&self, py: Python<'py>, key: u32, value: i64) -> PyResult<Bound<'py, PyDict>> {
        let drawn = PyDict::new(py);
        let key = workload::key_at(&self.workload, key, self.workload_ns);
        drawn.set_item("key", workload::key_name(key))?;
        self.tell(&drawn, workload::last_change(&self.workload, key, value))?;
        Ok(drawn)
    }

    fn due_ns(&self, begun_ns: u64, think_ns: u64) -> u64 {
        workload::pace(&self.workload).due_ns(begun_ns, think_ns)
    }

    fn waited_ns(&self, time_ns: u64) -> u64 {
        workload::pace(&self.workload).waited_ns(time_ns)
    }

    fn key_at(&self, key: u32, since_start_ns: u64) -> String {
        workload::key_name(workload::key_at(&self.workload, key, since_start_ns))
    }

    fn home_slot(&self, node: &str, slot: u64) -> PyResult<Option<u64>> {
        let id = parse_node_name(node).filter(|id| *id <= self.nodes).ok_or_else(|| {
            let nodes = self.nodes;
            value_error(format!("no node {node:?}; the plan has nodes n1 to n{nodes}"))
        })?;
        Ok(workload::home_slot(&self.workload, id, slot))
    }
}
