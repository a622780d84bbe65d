//! What a check answers, as data that can be written as JSON.

use std::collections::BTreeMap;

use mcp_chaos_history::{FaultBand, History, Operation, Outcome};
use serde::{Serialize, Serializer, ser::SerializeStruct};
use serde_json::Value as Json;

/// A check's answer. Unknown is never a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Some order explains every operation.
    Valid,
    /// None does.
    Invalid,
    /// Nobody can tell: a limit was reached, or the history makes no sense to the model.
    Unknown,
}

/// The answer, and what it rests on.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The answer.
    pub verdict: Verdict,
    /// The model's name.
    pub model: String,
    /// One sentence: what was found, or why nothing can be said.
    pub reason: String,
    /// Operations in the history.
    pub operations: usize,
    /// Of these, those that were judged: the others are passed over.
    pub judged: usize,
    /// Objects that were judged apart.
    pub keys: usize,
    /// How many objects each algorithm decided.
    pub algorithms: BTreeMap<&'static str, usize>,
    /// Steps taken, all keys together.
    pub steps: u64,
    /// The most memory that the search held, in bytes.
    pub peak_bytes: u64,
    /// How far the object that was not explained to its end is verified; none if all were.
    pub verified: Option<Verified>,
    /// What cannot be explained, if the verdict is invalid.
    pub failure: Option<Failure>,
    /// On demand: a smallest sub-history that is still not linearizable.
    pub minimal: Option<Minimal>,
    /// On demand: for each key an order that explains its operations (of an invalid history: of those before the
    /// failure), by their numbers. Operations that never took effect in it are missing.
    pub witness: Option<BTreeMap<String, Vec<u32>>>,
    /// On demand: what a picture shows.
    pub timeline: Option<Timeline>,
}

/// Part of a history, for a picture.
#[derive(Clone, Debug, Serialize)]
pub struct Timeline {
    /// In the order of their invocations.
    pub operations: Vec<OperationReport>,
    /// Faults in force at some time.
    pub faults: Vec<Band>,
    /// How many of the object's operations are not shown.
    pub left_out: usize,
}

impl Timeline {
    /// The first `most` operations of the history.
    pub(crate) fn first(history: &History, parts: &[Vec<u32>], most: usize) -> Timeline {
        let mut numbers: Vec<u32> = parts.iter().flatten().copied().collect();
        numbers.sort_unstable();
        let left_out = numbers.len().saturating_sub(most);
        numbers.truncate(most);
        Timeline::of(history, &numbers, left_out)
    }

    /// At most `most` of an object's operations: those of `always`, then the nearest to the failed one (or to the one
    /// at which a search ended early), most of them before it.
    pub(crate) fn around(
        history: &History,
        operations: &[u32],
        failed: u32,
        always: &[u32],
        most: usize,
    ) -> Timeline {
        let at = operations.partition_point(|number| *number <= failed);
        let end = operations.len().min(at + most / 4);
        let start = end.saturating_sub(most.saturating_sub(always.len()).max(1));
        let mut numbers = operations[start..end].to_vec();
        numbers.extend(always);
        numbers.sort_unstable();
        numbers.dedup();
        Timeline::of(history, &numbers, operations.len() - numbers.len())
    }

    fn of(history: &History, numbers: &[u32], left_out: usize) -> Timeline {
        Timeline {
            operations: numbers.iter().map(|number| OperationReport::of(history, *number)).collect(),
            faults: history.faults.iter().map(Band::from).collect(),
            left_out,
        }
    }
}

/// A verified part of one object's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// The object.
    pub key: String,
    /// Operations of certain outcome that ended in it.
    pub operations: usize,
    /// Of how many.
    pub of: usize,
    /// Events up to here are explained.
    pub events: u32,
    /// The time of the last of them, in nanoseconds of the history's clock.
    pub until_ns: u64,
}

/// The answer about a history that was read once and not kept ([`crate::check_stream`]).
#[derive(Clone, Debug, Serialize)]
pub struct StreamReport {
    /// As for a history in memory. What needs the whole of it (`minimal`, `witness`, `timeline`) is never there.
    #[serde(flatten)]
    pub report: Report,
    /// Events that were read: all, unless the check ended before.
    pub events: u64,
    /// What ended the check before the history did: `time`, `cancelled`, `steps`, `memory`, `events`; or nothing.
    pub stopped: Option<&'static str>,
    /// Keys of which something was not judged (the first few).
    pub doubts: Vec<StreamDoubt>,
    /// How many there are.
    pub doubts_in_all: usize,
}

/// A key of which something was not judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamDoubt {
    /// The cause.
    pub why: String,
    /// Whether nothing after `verified` was judged; else only what the cause tells of was not.
    pub is_given_up: bool,
    /// How far the key is explained.
    pub verified: Verified,
}

/// An operation that no order explains together with those before it.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// The object.
    pub key: String,
    /// The operation.
    pub operation: OperationReport,
    /// True if it is the completion of the shortest prefix that is not linearizable; false if that could not
    /// be found within the limits: the history is then wrong at or before this operation.
    pub is_first: bool,
    /// Why it cannot be explained, in words that begin with `but`.
    pub why: String,
    /// In a few words joined by hyphens, as far as the history tells: `overwritten-value`, say.
    pub shape: &'static str,
    /// Each state that explained everything before, and why the operation is impossible there (the first
    /// few).
    pub configurations: Vec<Configuration>,
    /// How many there were.
    pub configurations_in_all: usize,
    /// Operations in flight at its completion whose effect may or may not have been there (the first few).
    pub concurrent: Vec<OperationReport>,
    /// Of a value that was overwritten: the operation that did it.
    pub overwritten_by: Option<OperationReport>,
    /// Faults in force at some time during the operation.
    pub faults: Vec<Band>,
}

impl Failure {
    /// Gives every operation that it names another number.
    pub(crate) fn renumber(&mut self, number: impl Fn(u32) -> u32) {
        self.operation.number = number(self.operation.number);
        for one in self.concurrent.iter_mut().chain(&mut self.overwritten_by) {
            one.number = number(one.number);
        }
        for configuration in &mut self.configurations {
            if let Some(one) = &mut configuration.set_by {
                one.number = number(one.number);
            }
            for one in configuration.done.iter_mut().chain(&mut configuration.pending) {
                *one = number(*one);
            }
        }
    }
}

/// A configuration that explained all that came before.
#[derive(Clone, Debug, Serialize)]
pub struct Configuration {
    /// The object's state, in words.
    pub state: String,
    /// The operation that left it so; none if nothing had changed it, or if the search does not know.
    pub set_by: Option<OperationReport>,
    /// Operations in flight that had taken effect, by number; here and below only such as may change the object.
    pub done: Vec<u32>,
    /// Operations in flight that had not, by number.
    pub pending: Vec<u32>,
    /// Why the operation is impossible here.
    pub why: String,
}

/// A sub-history that is not linearizable, of which no operation can be spared.
#[derive(Clone, Debug, Serialize)]
pub struct Minimal {
    /// In the order of their invocations.
    pub operations: Vec<OperationReport>,
    /// False if the budget ended before every operation had been tried, or a question about one was too hard.
    pub is_minimal: bool,
    /// How many sub-histories were tried.
    pub tried: usize,
}

/// A time in which a fault was in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Band {
    /// What it was.
    pub words: String,
    /// From when, in nanoseconds of the history's clock.
    pub from_ns: u64,
    /// Until when.
    pub to_ns: u64,
}

impl From<&FaultBand> for Band {
    fn from(band: &FaultBand) -> Band {
        Band { words: band.words.clone(), from_ns: band.from_ns, to_ns: band.to_ns }
    }
}

/// An operation as reports show it.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationReport {
    /// Its number among the history's operations.
    pub number: u32,
    /// It itself.
    pub operation: Operation,
    process: String,
    f: String,
    key: String,
    argument: Json,
    outcome: &'static str,
    result: Json,
    error: Option<String>,
}

impl OperationReport {
    /// Of one of the history's operations.
    pub fn of(history: &History, number: u32) -> OperationReport {
        let operation = history.operations[number as usize];
        let (outcome, result) = match history.outcome(&operation) {
            Outcome::Ok(result) => ("ok", Json::from(result)),
            Outcome::Fail(_) => ("fail", Json::Null),
            Outcome::Unknown => ("unknown", Json::Null),
        };
        OperationReport {
            number,
            operation,
            process: history.processes.get(operation.process).to_owned(),
            f: history.function(&operation).to_owned(),
            key: history.key(&operation).to_owned(),
            argument: Json::from(history.values.get(operation.argument)),
            outcome,
            result,
            error: history.error(&operation).map(str::to_owned),
        }
    }
}

impl Serialize for OperationReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let known = |at: u64, never: u64| (at != never).then_some(at);
        let mut fields = serializer.serialize_struct("Operation", 12)?;
        fields.serialize_field("number", &self.number)?;
        fields.serialize_field("process", &self.process)?;
        fields.serialize_field("f", &self.f)?;
        fields.serialize_field("key", &self.key)?;
        fields.serialize_field("argument", &self.argument)?;
        fields.serialize_field("outcome", self.outcome)?;
        fields.serialize_field("result", &self.result)?;
        fields.serialize_field("error", &self.error)?;
        fields.serialize_field("invoked_at", &self.operation.invoked_at)?;
        let completed_at = known(u64::from(self.operation.completed_at), u64::from(mcp_chaos_history::NEVER));
        fields.serialize_field("completed_at", &completed_at)?;
        fields.serialize_field("invoked_ns", &self.operation.invoked_ns)?;
        fields.serialize_field("completed_ns", &known(self.operation.completed_ns, u64::MAX))?;
        fields.end()
    }
}
