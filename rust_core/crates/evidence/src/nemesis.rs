//! What was done to the cluster, to whom, when, and how we know that it took hold.

use serde::{Deserialize, Serialize};

use crate::NodeId;

/// Which part of a step a record reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The fault was to be installed.
    Install,
    /// The fault was to be taken away.
    Heal,
    /// Every fault was healed: recovery is measured from here. One such record in each run.
    AllHealed,
}

/// How that went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Carried out, and seen to hold.
    Done,
    /// Could not be carried out in the state the cluster was in (no leader to isolate, say).
    Skipped,
    /// The harness could not do it: the run says nothing about the system.
    Failed,
}

/// One line of `nemesis.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NemesisRecord {
    /// The plan step's number, from 0; null for `all_healed`.
    pub step: Option<u64>,
    /// Install or heal.
    pub phase: Phase,
    /// How it went.
    pub status: Status,
    /// When the plan had it, in nanoseconds since the run's start; null for a step that waits for an event.
    pub planned_ns: Option<u64>,
    /// When it was in force (or gone), in nanoseconds since the run's start.
    pub time_ns: u64,
    /// The fault's kind, as the scenario calls it (`partition`, `kill`, …).
    pub kind: String,
    /// Nodes hit.
    #[serde(with = "crate::name::list")]
    pub nodes: Vec<NodeId>,
    /// Directed links hit, as `["n1", "n2"]`; `clients` may stand for the side of the clients.
    pub links: Vec<(String, String)>,
    /// The node by which the step's target was resolved (the leader, or the event's node).
    #[serde(default, with = "crate::name::option", skip_serializing_if = "Option::is_none")]
    pub anchor: Option<NodeId>,
    /// What shows that it took hold: messages withheld, process states, received-message counters.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub evidence: serde_json::Value,
    /// Why it was skipped or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// True for a step that the author fixed: if it is skipped the run is unknown. False for a drawn one.
    #[serde(default)]
    pub fixed: bool,
}
