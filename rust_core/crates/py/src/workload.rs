//! The plan's operations, for clients on real nodes.

use std::collections::BTreeMap;

use mcp_chaos_evidence::parse_node_name;
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
}

#[pymethods]
impl Workload {
    #[new]
    fn new(compiled_plan: &str) -> PyResult<Workload> {
        let plan = Plan::parse(compiled_plan).map_err(value_error)?;
        Ok(Workload { seed: plan.seed, nodes: plan.nodes, workload: plan.workload })
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
        let (f, value, expected) = match operation.action {
            Action::Read => ("read", None, None),
            Action::Write(value) => ("write", Some(value), None),
            Action::Cas { expected, new } => ("cas", Some(new), expected),
        };
        drawn.set_item("f", f)?;
        drawn.set_item("value", value)?;
        drawn.set_item("expected", expected)?;
        Ok(Some(drawn))
    }

    fn due_ns(&self, begun_ns: u64, think_ns: u64) -> u64 {
        workload::pace(&self.workload).due_ns(begun_ns, think_ns)
    }

    fn waited_ns(&self, time_ns: u64) -> u64 {
        workload::pace(&self.workload).waited_ns(time_ns)
    }

    fn home_slot(&self, node: &str, slot: u64) -> PyResult<Option<u64>> {
        let id = parse_node_name(node).filter(|id| *id <= self.nodes).ok_or_else(|| {
            let nodes = self.nodes;
            value_error(format!("no node {node:?}; the plan has nodes n1 to n{nodes}"))
        })?;
        Ok(workload::home_slot(&self.workload, id, slot))
    }
}
