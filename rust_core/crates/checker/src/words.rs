//! How times, values and operations read in a reason.

pub(crate) use mcp_chaos_evidence::seconds;
use mcp_chaos_evidence::{Function, NodeId, node_name};
use serde_json::Value;

use crate::operations::Operation;

/// Several nodes for people: `n1, n2`.
pub(crate) fn nodes(ids: impl IntoIterator<Item = NodeId>) -> String {
    ids.into_iter().map(node_name).collect::<Vec<_>>().join(", ")
}

/// `read k0`, `write k0 = 3`, `compare-and-set k0 from 3 to 4`.
pub(crate) fn call(operation: &Operation) -> String {
    let invoke = operation.invoke;
    match &invoke.f {
        Function::Read => match operation.ok() {
            Some(answer) => format!("read {} = {}", invoke.key, answer.value),
            None => format!("read {}", invoke.key),
        },
        Function::Write => format!("write {} = {}", invoke.key, invoke.value),
        Function::Cas => {
            format!(
                "compare-and-set {} from {} to {}",
                invoke.key,
                part(&invoke.value, 0),
                part(&invoke.value, 1)
            )
        }
        f if f.is_read() => match operation.ok() {
            Some(answer) => format!("{} {} = {}", f.name(), invoke.key, answer.value),
            None => format!("{} {}", f.name(), invoke.key),
        },
        f => match (&invoke.value, operation.ok().map(|answer| &answer.value)) {
            (Value::Null, _) => format!("{} {}", f.name(), invoke.key),
            (argument, Some(answer @ Value::Number(_))) if answer != argument => {
                format!("{} {} {argument} (answered {answer})", f.name(), invoke.key)
            }
            (argument, _) => format!("{} {} {argument}", f.name(), invoke.key),
        },
    }
}

fn part(value: &Value, position: usize) -> &Value {
    value.get(position).unwrap_or(&Value::Null)
}
