//! Clients as state machines with no I/O: a wake-up or a reply in, requests and history events out.
//!
//! Each client waits for one moment at a time. A wake-up that comes after the client has moved on carries an
//! old `epoch` and is passed over; so does a reply to a request that the client no longer waits for.

mod home;
mod roaming;

use std::borrow::Cow;

use mcp_chaos_evidence::{HistoryEvent, NodeId};
use mcp_manager::command::{Answer, Query, Request, Response};
use serde_json::{Value, json};

pub use home::Home;
pub use roaming::{Order, Roaming};

use crate::{
    plan::{Plan, WorkloadKind},
    workload,
};

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
    /// Names of the registers, or of whatever clients work on.
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
    /// What a key is called.
    fn name(&self, key: u32) -> Cow<'_, str> {
        // Transactions go on to keys that are not named beforehand.
        self.keys
            .get(key as usize)
            .map_or_else(|| workload::key_name(key).into(), |name| name.as_str().into())
    }

    /// What final operations work on in place of this key.
    fn final_key(&self, key: u32) -> u32 {
        workload::key_at(&self.workload, key, self.stop_ns - self.start_ns)
    }

    /// What asks for the state of a key.
    fn query(&self, key: u32) -> Query {
        let key = self.name(key).into_owned();
        match self.workload.kind {
            WorkloadKind::Registers => Query::Setting { key },
            WorkloadKind::Counters => Query::Counter { key },
            WorkloadKind::Lists | WorkloadKind::Transactions => Query::Lists { keys: vec![key] },
            WorkloadKind::Registry => Query::Server { name: key },
            WorkloadKind::Leases => Query::Lease { name: key },
        }
    }

    /// What a read was answered, as the history has it; `None` if that is no answer to what this workload asks.
    fn found(&self, answer: &Answer) -> Option<Value> {
        Some(match (self.workload.kind, answer) {
            (WorkloadKind::Registers, Answer::Setting { value, .. }) => self.to_json(value.as_deref()),
            (WorkloadKind::Counters, Answer::Counter { value, .. }) => Value::from(*value),
            (WorkloadKind::Lists | WorkloadKind::Transactions, Answer::Lists { lists }) => match &lists[..] {
                [list] => self.list(list),
                _ => return None,
            },
            (WorkloadKind::Registry, Answer::Server { server: None }) => Value::Null,
            (WorkloadKind::Registry, Answer::Server { server: Some(server) }) => json!({
                "transport": server.spec.transport, "endpoint": server.spec.endpoint, "state": server.state,
            }),
            (WorkloadKind::Leases, Answer::Lease { holder, .. }) => json!(holder),
            _ => return None,
        })
    }

    fn list(&self, elements: &[String]) -> Value {
        elements.iter().map(|element| self.to_json(Some(element))).collect()
    }

    /// What the history says of a read of this key that found so much, or nothing yet: among transactions it is one.
    fn read(&self, key: u32, found: Value) -> Value {
        match self.workload.kind {
            WorkloadKind::Transactions => Value::from(vec![workload::micro_read(&self.name(key), found)]),
            _ => found,
        }
    }

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

/// What a read gave, and the index up to which the node had applied.
fn read_result(response: &Response) -> Option<(&Answer, u64)> {
    match response {
        Response::Read { answer, log_index } => Some((answer, *log_index)),
        _ => None,
    }
}

/// The error code of an answer that is no result: the same codes as the node's HTTP interface has.
fn error_code(reply: &Reply) -> &'static str {
    match reply {
        Reply::Refused => "connection_refused",
        Reply::Reset => "connection_reset",
        Reply::Response(Response::NotLeader { .. }) => "not_leader",
        Reply::Response(Response::NotMember { .. }) => "not_member",
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
