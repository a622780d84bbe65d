//! Client operations, as in Jepsen's histories.

use serde::{Deserialize, Serialize};

use crate::{NodeId, OperationName};

/// Whether an event opens an operation or says how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The client sends the operation.
    Invoke,
    /// It took effect exactly once, between its invocation and this event.
    Ok,
    /// It certainly had no effect, now or later.
    Fail,
    /// Nobody knows: it may take effect at any later time, or never. The client goes on as a new process.
    Info,
}

/// What an operation does. A register starts as null unless the history writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Function {
    /// Reads the register; `value` is null on invocation, what was read on `ok`.
    Read,
    /// Writes `value`.
    Write,
    /// Compare-and-set; `value` is `[expected, new]`. A `fail` with the error `mismatch` has also observed
    /// that the value was not the expected one.
    Cas,
    /// A workload's own function, which the register checkers pass over.
    #[serde(untagged)]
    Other(String),
}

impl Function {
    /// Whether it is one that only asks: `read`, or what a workload calls it.
    pub fn is_read(&self) -> bool {
        match self {
            Function::Read => true,
            Function::Write | Function::Cas => false,
            Function::Other(name) => matches!(name.as_str(), "lookup" | "read_txn"),
        }
    }

    /// As a history has it.
    pub fn name(&self) -> &str {
        match self {
            Function::Read => "read",
            Function::Write => "write",
            Function::Cas => "cas",
            Function::Other(name) => name,
        }
    }
}

/// One line of `history.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryEvent {
    /// Position in the history, from 0.
    pub index: u64,
    /// Nanoseconds since the run's start.
    pub time_ns: u64,
    /// The logical process: one operation at a time each; a client whose operation ended as `info` goes on
    /// under a new number.
    pub process: u64,
    /// Invocation or outcome.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The operation's function.
    pub f: Function,
    /// The register. Histories are checked for each key apart (P-compositionality).
    pub key: String,
    /// Argument on `invoke`, argument or result on completion.
    pub value: serde_json::Value,
    /// Why it failed, or why its outcome is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// On `ok`: for a write or compare-and-set the index of its log entry, for a read the index up to which
    /// the answering node had applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_index: Option<u64>,
    /// The node that answered, or that was asked last.
    #[serde(default, with = "crate::name::option", skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// The client's session (replicated operations only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<u64>,
    /// The operation's number within the session (replicated operations only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The workload's operation, by the name under which a plan may leave it out. Those of the recovery phase,
    /// and those done by hand, have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<OperationName>,
    /// True for the reader that only ever asks its home node: its pauses say nothing about availability.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub home: bool,
    /// True for the operations of the recovery phase (after every fault is healed).
    #[serde(default, rename = "final", skip_serializing_if = "std::ops::Not::not")]
    pub is_final: bool,
}

impl HistoryEvent {
    /// An event with what every event has. Its index is the recorder's to give.
    pub fn new(
        time_ns: u64,
        process: u64,
        kind: Kind,
        f: Function,
        key: &str,
        value: serde_json::Value,
    ) -> HistoryEvent {
        HistoryEvent {
            index: 0,
            time_ns,
            process,
            kind,
            f,
            key: key.to_owned(),
            value,
            error: None,
            log_index: None,
            node: None,
            client: None,
            sequence: None,
            op: None,
            home: false,
            is_final: false,
        }
    }
}
