//! What a run left behind, kept in Rust.

use std::collections::BTreeMap;

use mcp_chaos_checker::{Check, Limits, jsonl};
use mcp_chaos_evidence::{HistoryEvent, NemesisRecord, NodeId, TraceRecord, node_name, parse_node_name};
use mcp_chaos_sim::{Run, Stats, fingerprint};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict};

use crate::errors::{guarded, value_error};

/// A run's history, traces and nemesis log.
#[pyclass(frozen, module = "chaos._core")]
pub struct Evidence {
    history: Vec<HistoryEvent>,
    trace: Vec<TraceRecord>,
    nemesis: Vec<NemesisRecord>,
    nodes: Vec<NodeId>,
    /// None: read from files, which hold no counts.
    stats: Option<Stats>,
    trace_hash: u128,
    has_trace: bool,
}

impl From<Run> for Evidence {
    fn from(run: Run) -> Evidence {
        let Run { nodes, history, trace, nemesis, stats, trace_hash } = run;
        let nodes = (1..=nodes).collect();
        Evidence { history, trace, nemesis, nodes, stats: Some(stats), trace_hash, has_trace: true }
    }
}

impl Evidence {
    fn view(&self) -> mcp_chaos_checker::Evidence<'_> {
        mcp_chaos_checker::Evidence {
            history: &self.history,
            traces: &self.trace,
            nemesis: &self.nemesis,
            system_has_trace: self.has_trace,
        }
    }

    fn read(
        history: &[u8],
        traces: &BTreeMap<String, PyBackedBytes>,
        nemesis: &[u8],
    ) -> Result<Evidence, String> {
        let named = |file: &str, error| format!("{file}: {error}");
        let mut by_node = BTreeMap::new();
        for (name, text) in traces {
            let file = format!("trace/{name}.jsonl");
            let node =
                parse_node_name(name).ok_or_else(|| format!("{file}: expected a node's name such as n1"))?;
            let records = jsonl::parse_trace(text).map_err(|error| named(&file, error))?;
            if let Some(position) = records.iter().position(|record| record.node != node) {
                let found = node_name(records[position].node);
                return Err(format!(
                    "{file}: record {}: expected records of {name}, found one of {found}",
                    position + 1
                ));
            }
            by_node.insert(node, records);
        }
        let history = jsonl::parse_history(history).map_err(|error| named("history.jsonl", error))?;
        let nemesis = jsonl::parse_nemesis(nemesis).map_err(|error| named("nemesis.jsonl", error))?;
        let nodes = by_node.keys().copied().collect();
        let trace = jsonl::merge_traces(by_node.into_values().collect());
        let trace_hash = fingerprint(&history, &trace, &nemesis);
        Ok(Evidence {
            history,
            trace,
            nemesis,
            nodes,
            stats: None,
            trace_hash,
            has_trace: !traces.is_empty(),
        })
    }
}

#[pymethods]
impl Evidence {
    #[staticmethod]
    fn from_jsonl(
        py: Python<'_>,
        history: PyBackedBytes,
        traces: BTreeMap<String, PyBackedBytes>,
        nemesis: PyBackedBytes,
    ) -> PyResult<Evidence> {
        py.detach(|| guarded(|| Evidence::read(&history, &traces, &nemesis)))?.map_err(value_error)
    }

    #[getter]
    fn trace_hash(&self) -> String {
        format!("{:032x}", self.trace_hash)
    }

    #[getter]
    fn nodes(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node_name(*node)).collect()
    }

    #[getter]
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = PyDict::new(py);
        let Some(counts) = &self.stats else { return Ok(stats) };
        if let Ok(serde_json::Value::Object(counts)) = serde_json::to_value(counts) {
            for (name, count) in counts {
                stats.set_item(name, count.as_u64())?;
            }
        }
        Ok(stats)
    }

    fn history_jsonl<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let text = py.detach(|| guarded(|| jsonl::write(&self.history)))?;
        Ok(PyBytes::new(py, &text))
    }

    fn trace_jsonl<'py>(&self, py: Python<'py>, node: &str) -> PyResult<Bound<'py, PyBytes>> {
        let id = parse_node_name(node).filter(|id| self.nodes.contains(id)).ok_or_else(|| {
            value_error(format!("no node {node:?} in this evidence; there are: {}", self.nodes().join(", ")))
        })?;
        let text = py.detach(|| {
            guarded(|| {
                let records: Vec<_> = self.trace.iter().filter(|record| record.node == id).collect();
                jsonl::write(&records)
            })
        })?;
        Ok(PyBytes::new(py, &text))
    }

    fn nemesis_jsonl<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &jsonl::write(&self.nemesis))
    }

    fn judge(&self, py: Python<'_>, checks: Vec<String>, limits: &str) -> PyResult<String> {
        let limits: Limits =
            serde_json::from_str(limits).map_err(|error| value_error(format!("limits: {error}")))?;
        let checks = named_checks(&checks)?;
        py.detach(|| guarded(|| to_json(&mcp_chaos_checker::judge(&self.view(), &checks, &limits))))
    }

    fn summary(&self, py: Python<'_>) -> PyResult<String> {
        py.detach(|| guarded(|| to_json(&mcp_chaos_checker::summary(&self.view()))))
    }

    fn transitions(&self, py: Python<'_>) -> PyResult<Vec<u64>> {
        py.detach(|| guarded(|| mcp_chaos_checker::transitions(&self.view())))
    }

    fn states(&self, py: Python<'_>) -> PyResult<Vec<u64>> {
        py.detach(|| guarded(|| mcp_chaos_checker::states(&self.view())))
    }

    fn __repr__(&self) -> String {
        format!(
            "<Evidence of {} nodes: {} history events, {} trace records, {} nemesis records>",
            self.nodes.len(),
            self.history.len(),
            self.trace.len(),
            self.nemesis.len()
        )
    }
}

/// The checks of these names, groups opened, each once and in order.
pub(crate) fn named_checks(names: &[String]) -> PyResult<Vec<Check>> {
    let mut checks = Vec::new();
    for name in names {
        let named = Check::named(name);
        if named.is_empty() {
            let all: Vec<_> = mcp_chaos_checker::CHECKS.iter().map(|info| info.name).collect();
            return Err(value_error(format!("no check {name:?}; there are: {}", all.join(", "))));
        }
        for check in named {
            if !checks.contains(&check) {
                checks.push(check);
            }
        }
    }
    Ok(checks)
}

pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("judgements, summaries and reports have string keys only")
}
