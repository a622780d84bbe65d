//! Clients as state machines with no I/O: a wake-up or a reply in, requests and history events out.
//!
//! Each client waits for one moment at a time. A wake-up that comes after the client has moved on carries an
//! old `epoch` and is passed over; so does a reply to a request that the client no longer waits for.

mod home;
mod roaming;

use mcp_chaos_evidence::{HistoryEvent, NodeId};
use mcp_manager::command::{Answer, Request, Response};
use serde_json::Value;

pub use home::Home;
pub use roaming::{Order, Roaming};

use crate::{plan::Plan, workload};

/// How long a client waits before it asks again after it was turned away.
pub const PAUSE_NS: u64 = 20_000_000;
/// How many `not_leader` hints a client follows in one attempt.
pub const MAX_HOPS: u32 = 3;

/// What all clients of a run know.
#[derive(Debug)]
pub struct Setting {
    /// Seed of the run.
    pub seed: u64,
    /// Number of nodes.
    pub nodes: u64,
    /// What clients do.
    pub workload: crate::plan::Workload,
    /// Names of the registers.
    pub keys: Vec<String>,
    /// Virtual time of the plan's start: no operation begins before.
    pub start_ns: u64,
    /// Virtual time of the workload's end: no operation begins at it or later, but the final ones.
    pub stop_ns: u64,
}

impl Setting {
    /// The setting of a plan that starts at `start_ns`.
    pub fn new(plan: &Plan, start_ns: u64) -> Setting {
        Setting {
            seed: plan.seed,
            nodes: plan.nodes,
            workload: plan.workload.clone(),
            keys: (0..plan.workload.keys).map(workload::key_name).collect(),
            start_ns,
            stop_ns: start_ns + plan.timeline.workload_ns,
        }
    }
}

/// What a client gets back on its connection.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The node's answer.
    Response(Response),
    /// Nobody listened: the request was never sent.
    Refused,
    /// The connection broke after the request was sent: the node died.
    Reset,
}

/// What a client wants done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Send a request; the reply is to carry the same serial number.
    Send {
        /// To this node.
        node: NodeId,
        /// Counts this client's requests.
        serial: u32,
        /// The request.
        request: Request,
    },
    /// Close the connection: nobody waits for the reply any more.
    Cancel {
        /// To this node.
        node: NodeId,
        /// Of the request given up.
        serial: u32,
    },
    /// Wake the client at this time, with this epoch.
    Wake {
        /// Virtual time.
        at_ns: u64,
        /// To be handed back.
        epoch: u32,
    },
    /// Write this to the history; the index is the recorder's to give.
    Record(HistoryEvent),
}

/// The moment a client waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Alarm {
    epoch: u32,
}

impl Alarm {
    fn set(&mut self, at_ns: u64, out: &mut Vec<Effect>) {
        self.epoch += 1;
        out.push(Effect::Wake { at_ns, epoch: self.epoch });
    }

    /// The client waits for nothing that an earlier wake-up could bring.
    fn clear(&mut self) {
        self.epoch += 1;
    }
}

impl Setting {
    /// A setting's text as the history has it: an integer, or null for one that was never written.
    fn to_json(&self, text: Option<&str>) -> Value {
        match text {
            None => Value::Null,
            Some(text) => {
                workload::number_in(&self.workload, text).map_or_else(|| Value::from(text), Value::from)
            }
        }
    }
}

/// What a read gave: the text, and the index up to which the node had applied.
fn read_result(response: &Response) -> Option<(Option<&str>, u64)> {
    match response {
        Response::Read { answer: Answer::Setting { value, .. }, log_index } => {
            Some((value.as_deref(), *log_index))
        }
        _ => None,
    }
}

/// The error code of an answer that is no result: the same codes as the node's HTTP interface has.
fn error_code(reply: &Reply) -> &'static str {
    match reply {
        Reply::Refused => "connection_refused",
        Reply::Reset => "connection_reset",
        Reply::Response(Response::NotLeader { .. }) => "not_leader",
        Reply::Response(Response::Unavailable { .. }) => "unavailable",
        Reply::Response(Response::Unknown { .. }) => "timeout",
        Reply::Response(_) => "unexpected_answer",
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use std::sync::Arc;

    use super::*;

    pub(crate) fn setting() -> Arc<Setting> {
        Arc::new(Setting::new(&crate::testing::plan(7, 3), 3_000_000_000))
    }

    /// The last request sent: (node, serial, request).
    pub(crate) fn sent(out: &[Effect]) -> (NodeId, u32, Request) {
        let found = out.iter().rev().find_map(|effect| match effect {
            Effect::Send { node, serial, request } => Some((*node, *serial, request.clone())),
            _ => None,
        });
        found.expect("a request was sent")
    }

    pub(crate) fn wake(out: &[Effect]) -> (u64, u32) {
        let found = out.iter().rev().find_map(|effect| match effect {
            Effect::Wake { at_ns, epoch } => Some((*at_ns, *epoch)),
            _ => None,
        });
        found.expect("an alarm was set")
    }

    pub(crate) fn recorded(out: &[Effect]) -> Vec<&HistoryEvent> {
        out.iter()
            .filter_map(|effect| match effect {
                Effect::Record(event) => Some(event),
                _ => None,
            })
            .collect()
    }
}
