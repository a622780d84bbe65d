//! Transactions over several lists: what Elle's `list-append` asks of a system (Kingsbury and Alvaro, Elle: inferring
//! isolation anomalies from experimental observations, VLDB 2020, §3).

use mcp_chaos_evidence::rng::Stream;
use serde_json::{Value, json};

use super::{fresh, key, key_name, value};
use crate::plan::Workload;

/// The most steps of one transaction.
const MOST_STEPS: usize = 4;
/// Between the elements of two operations: more than a transaction has steps, and easy to read.
const OPERATIONS_APART: i64 = 10;

/// One step of a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// The list's number.
    pub key: u32,
    /// What is appended; none: it is read.
    pub appended: Option<i64>,
}

/// What is done at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction {
    steps: [Step; MOST_STEPS],
    count: usize,
}

impl Transaction {
    /// That of a client's operation of this number: two to four steps, of which the first appends and each other does
    /// so or reads, with even chances.
    pub(super) fn drawn(seed: u64, workload: &Workload, client: u32, number: u64) -> Transaction {
        let stream = Stream::new(seed, "transaction", client.into(), number);
        let mut steps = [Step::default(); MOST_STEPS];
        for (at, step) in steps.iter_mut().enumerate() {
            let draw = 4 * at as u64;
            let appends = at == 0 || stream.between(draw + 2, 0, 1) == 0;
            // No two steps of a run append the same.
            let element = value(client, number) * OPERATIONS_APART + at as i64;
            let key = fresh(workload, key(workload, stream, draw), number);
            *step = Step { key, appended: appends.then_some(element) };
        }
        let count = stream.between(4 * MOST_STEPS as u64, 2, MOST_STEPS as u64) as usize;
        Transaction { steps, count }
    }

    /// Appends the number to one list, and does nothing else.
    pub(super) fn appends(key: u32, number: i64) -> Transaction {
        let first = Step { key, appended: Some(number * OPERATIONS_APART) };
        Transaction { steps: [first; MOST_STEPS], count: 1 }
    }

    /// How many of its steps read.
    pub fn reads(&self) -> usize {
        self.steps().iter().filter(|step| step.appended.is_none()).count()
    }

    /// What is done, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps[..self.count]
    }

    /// As a history has it on the invocation.
    pub(super) fn argument(&self) -> Value {
        self.result(std::iter::empty())
    }

    /// As a history has it once it is done: each read with what it found.
    pub fn result(&self, mut lists: impl Iterator<Item = Value>) -> Value {
        let micro = |step: &Step| match step.appended {
            Some(element) => json!(["append", key_name(step.key), element]),
            None => micro_read(&key_name(step.key), lists.next().unwrap_or_default()),
        };
        self.steps().iter().map(micro).collect()
    }
}

/// The reading of one list, as a step of a transaction.
pub fn micro_read(key: &str, list: Value) -> Value {
    json!(["r", key, list])
}
