//! Operations done by hand, beside the workload's: for tests and state machines that step a world.
//!
//! Each is done by a client that has no other under way; one that has a session already comes first. What they do
//! is in the history under process numbers from 600 on and judged like any other operation. Their messages have
//! draws of their own, so that nothing else in the run is drawn differently for them.

use std::{collections::BTreeMap, sync::Arc};

use mcp_chaos_evidence::{HistoryEvent, Kind, NodeId, parse_node_name};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::World;
use super::traffic::Call;
use crate::clients::{Order, Roaming, Setting};
use crate::network::Lane;
use crate::plan::{FIRST_HAND_PROCESS, PROCESS_STEP, WorkloadKind};
use crate::workload::Action;

/// An operation that cannot be done by hand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("operation by hand: {0}")]
pub struct OperateError(String);

/// How an operation that was done by hand ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HandOutcome {
    /// `ok`, `fail` or `info`, as in a history.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What was read; for a write or a compare-and-set, its argument.
    pub value: Value,
    /// Why it failed, or why nobody knows.
    pub error: Option<String>,
    /// On `ok`, see `docs/formats.md`.
    pub log_index: Option<u64>,
    /// When, on the world's clock.
    pub time_ns: u64,
}

/// An operation as a caller writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    f: WrittenFunction,
    key: String,
    #[serde(default)]
    value: Option<i64>,
    #[serde(default)]
    expected: Option<i64>,
    #[serde(default)]
    node: Option<String>,
    #[serde(default)]
    home: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WrittenFunction {
    Read,
    Write,
    Cas,
}

impl Written {
    fn action(&self) -> Result<Action, &'static str> {
        match (self.f, self.value, self.expected) {
            (WrittenFunction::Read, None, None) => Ok(Action::Read),
            (WrittenFunction::Read, ..) => Err("a read takes no value and expects none"),
            (WrittenFunction::Write, Some(value), None) => Ok(Action::Write(value)),
            (WrittenFunction::Write, ..) => Err("a write takes a value, and expects none"),
            (WrittenFunction::Cas, Some(new), expected) => Ok(Action::Cas { expected, new }),
            (WrittenFunction::Cas, ..) => Err("a cas takes the value that it writes"),
        }
    }
}

/// The clients driven by hand.
pub(super) struct Hands {
    setting: Arc<Setting>,
    hands: Vec<Hand>,
    /// By number: how each operation ended, `None` while it is under way.
    outcomes: Vec<Option<HandOutcome>>,
}

struct Hand {
    client: Roaming,
    /// The number of its latest operation.
    operation: usize,
    lanes: BTreeMap<(NodeId, NodeId), Lane>,
}

impl Hands {
    pub fn new(setting: Arc<Setting>) -> Hands {
        Hands { setting, hands: Vec::new(), outcomes: Vec::new() }
    }

    pub fn are_idle(&self) -> bool {
        self.hands.iter().all(|hand| hand.client.is_idle())
    }

    pub fn client(&mut self, hand: usize) -> &mut Roaming {
        &mut self.hands[hand].client
    }

    pub fn lane(&mut self, seed: u64, hand: usize, from: NodeId, to: NodeId) -> &mut Lane {
        let new = || Lane::new(seed, hand as u64, from, to);
        self.hands[hand].lanes.entry((from, to)).or_insert_with(new)
    }

    /// Notes how an operation ended.
    pub fn see(&mut self, hand: usize, event: &HistoryEvent) {
        if event.kind != Kind::Invoke {
            self.outcomes[self.hands[hand].operation] = Some(HandOutcome {
                kind: event.kind,
                value: event.value.clone(),
                error: event.error.clone(),
                log_index: event.log_index,
                time_ns: event.time_ns,
            });
        }
    }

    /// An idle client, rather one that has a session; a new one if all are busy, `None` if there are too many.
    fn idle(&mut self) -> Option<usize> {
        let idle = |with_session| {
            self.hands
                .iter()
                .position(|hand| hand.client.is_idle() && hand.client.has_session() == with_session)
        };
        if let Some(hand) = idle(true).or_else(|| idle(false)) {
            return Some(hand);
        }
        let hand = self.hands.len() as u64;
        (hand < PROCESS_STEP - FIRST_HAND_PROCESS).then(|| {
            let client = Roaming::by_hand(self.setting.clone(), hand);
            self.hands.push(Hand { client, operation: 0, lanes: BTreeMap::new() });
            self.hands.len() - 1
        })
    }
}

impl World {
    /// Begins an operation now, whatever the workload does, and gives its number, from 0. It is JSON:
    /// `{"f": "read"|"write"|"cas", "key": "k0", "value": 5, "expected": null, "node": "n1", "home": false}`, where
    /// all but `f` and `key` may be left out. With a `node` that one is asked and no other; without, the client
    /// follows hints and tries elsewhere. `home` marks it as a reader's at home.
    ///
    /// # Errors
    /// If it cannot be read, names a register or node that the plan does not have, or the run is over.
    pub fn operate(&mut self, operation: &str) -> Result<u64, OperateError> {
        if self.is_over() {
            return Err(OperateError("the run is over".to_owned()));
        }
        let order = self.order(operation).map_err(OperateError)?;
        let number = self.hands.outcomes.len();
        let hand = self.hands.idle().ok_or_else(|| {
            let most = PROCESS_STEP - FIRST_HAND_PROCESS;
            OperateError(format!("{most} are under way, the most at one time"))
        })?;
        self.hands.outcomes.push(None);
        self.hands.hands[hand].operation = number;
        let client = self.first_hand() + hand;
        if client == self.calls.len() {
            self.calls.push(Call::default());
        }
        self.with_client(client, |world, effects| {
            world.hands.client(hand).operate(world.now_ns, order, effects);
        });
        Ok(number as u64)
    }

    /// How an operation of [`World::operate`] ended; `None` while it is under way.
    ///
    /// # Errors
    /// If there is none of this number.
    pub fn outcome(&self, number: u64) -> Result<Option<&HandOutcome>, OperateError> {
        let found = usize::try_from(number).ok().and_then(|number| self.hands.outcomes.get(number));
        found.map(Option::as_ref).ok_or_else(|| {
            let count = self.hands.outcomes.len();
            OperateError(format!("none has the number {number}; {count} were begun, numbered from 0"))
        })
    }

    fn order(&self, text: &str) -> Result<Order, String> {
        let written: Written = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let keys = &self.hands.setting.keys;
        let key = keys.iter().position(|key| *key == written.key).ok_or_else(|| {
            format!("no register {:?}; the plan has k0 to k{}", written.key, keys.len() - 1)
        })?;
        let only_node = written
            .node
            .as_ref()
            .map(|name| {
                parse_node_name(name)
                    .filter(|node| *node <= self.plan.nodes)
                    .ok_or_else(|| format!("no node {name:?}; expected n1 to n{}", self.plan.nodes))
            })
            .transpose()?;
        if written.home && only_node.is_none() {
            return Err("`home` is for an operation at one `node`".to_owned());
        }
        if self.plan.workload.kind != WorkloadKind::Registers {
            return Err("operations by hand are on registers: this plan's clients have others".to_owned());
        }
        let action = written.action()?;
        Ok(Order { key: key as u32, action, only_node, home: written.home })
    }
}
