//! What happened in a run, in numbers: so that a pass cannot be a vacuous one.

use std::collections::BTreeMap;

use mcp_chaos_evidence::{Function, Kind, NodeId, Phase, Status, node_name};
use serde::Serialize;

use crate::{
    Evidence,
    available::longest_gap,
    goals,
    operations::{Operation, pair},
    recovers::{first_success, healed_at},
};

/// How the operations of one function ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FunctionCounts {
    /// Succeeded.
    pub ok: u64,
    /// Certainly had no effect.
    pub fail: u64,
    /// Of the failed: compare-and-sets that found another value than the expected one, which is an answer.
    pub mismatch: u64,
    /// Of unknown outcome, those that never ended included.
    pub info: u64,
}

/// A stretch of time in which no operation of a roaming client succeeded, in nanoseconds since the run's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The success (or first invocation) before it.
    pub from_ns: u64,
    /// The success (or last completion) after it.
    pub to_ns: u64,
}

/// What succeeded while a fault was in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DuringFault {
    /// The plan step's number.
    pub step: u64,
    /// The fault's kind.
    pub kind: String,
    /// Nodes hit, by name.
    pub nodes: Vec<String>,
    /// When it was in force.
    pub from_ns: u64,
    /// When it was healed; the end of the history if never.
    pub to_ns: u64,
    /// Operations of roaming clients that succeeded in that time (whatever was served: a mismatch too).
    pub succeeded: u64,
    /// Of these, those that also began in that time.
    pub began_and_succeeded: u64,
    /// Home reads that succeeded in that time.
    pub home_reads: u64,
    /// Operations of roaming clients that succeeded before the fault, during it and after it, by function.
    pub by_function: BTreeMap<String, AroundFault>,
}

/// How many operations succeeded (whatever was served: a mismatch too) around a fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AroundFault {
    /// Before it was installed.
    pub before: u64,
    /// While it was in force.
    pub during: u64,
    /// After it was healed.
    pub after: u64,
}

/// The first success after every fault was healed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FirstSuccess {
    /// When every fault was healed.
    pub healed_ns: u64,
    /// When an operation invoked after that first succeeded; none if none did.
    pub time_ns: Option<u64>,
}

/// What happened in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// All operations, by function.
    pub operations: BTreeMap<String, FunctionCounts>,
    /// The longest time without a success of a roaming client; none without operations.
    pub longest_gap: Option<Gap>,
    /// Kinds and steps of the faults that were in force at some time within the longest gap.
    pub faults_in_longest_gap: Vec<(u64, String)>,
    /// For each fault that was carried out, what succeeded during it.
    pub during_faults: Vec<DuringFault>,
    /// True if faults were in force for some time and no operation of a roaming client succeeded during any of them:
    /// then the run says nothing of the system under faults.
    pub nothing_under_faults: bool,
    /// Recovery; none if the nemesis log does not say that all was healed.
    pub first_success_after_heal: Option<FirstSuccess>,
    /// Which of the things that a scenario may want to see (`sometimes`) happened, by name.
    pub goals: Vec<&'static str>,
    /// Events that make no sense, if any: then the counts hold only what could be paired.
    pub malformed: Option<String>,
}

/// Counts what happened.
pub fn summary(evidence: &Evidence) -> Summary {
    let (paired, malformed) = match pair(evidence.history) {
        Ok(operations) => (operations, None),
        Err(why) => (Vec::new(), Some(why)),
    };
    let mut operations: BTreeMap<String, FunctionCounts> = BTreeMap::new();
    let mut counts: Vec<(&Function, FunctionCounts)> = Vec::new();
    for operation in &paired {
        let at = match counts.iter().position(|(f, _)| *f == &operation.invoke.f) {
            Some(at) => at,
            None => {
                counts.push((&operation.invoke.f, FunctionCounts::default()));
                counts.len() - 1
            }
        };
        let count = &mut counts[at].1;
        match operation.kind() {
            Kind::Ok => count.ok += 1,
            Kind::Fail => {
                count.fail += 1;
                count.mismatch += u64::from(operation.is_mismatch());
            }
            Kind::Info | Kind::Invoke => count.info += 1,
        }
    }
    for (f, count) in counts {
        operations.insert(name(f), count);
    }
    let mut during_faults = faults(evidence);
    for fault in &mut during_faults {
        count_successes(fault, &paired);
    }
    let nothing_under_faults = during_faults.iter().any(DuringFault::took_time)
        && during_faults.iter().all(|fault| fault.succeeded == 0);
    let goals = goals::reached(evidence, &paired, &during_faults);
    let longest_gap = longest_gap(evidence.history).map(|(gap, _)| gap);
    let faults_in_longest_gap = during_faults
        .iter()
        .filter(|fault| longest_gap.is_some_and(|gap| fault.from_ns < gap.to_ns && fault.to_ns > gap.from_ns))
        .map(|fault| (fault.step, fault.kind.clone()))
        .collect();
    let first_success_after_heal = healed_at(evidence).map(|healed_ns| FirstSuccess {
        healed_ns,
        time_ns: first_success(&paired, healed_ns).map(|event| event.time_ns),
    });
    Summary {
        operations,
        longest_gap,
        faults_in_longest_gap,
        during_faults,
        nothing_under_faults,
        first_success_after_heal,
        goals,
        malformed,
    }
}

fn name(f: &Function) -> String {
    f.name().to_owned()
}

/// The faults that were carried out, each from its installation to its heal.
fn faults(evidence: &Evidence) -> Vec<DuringFault> {
    let end = evidence.history.last().map_or(0, |event| event.time_ns);
    let installed = evidence
        .nemesis
        .iter()
        .enumerate()
        .filter(|(_, record)| record.phase == Phase::Install && record.status == Status::Done);
    installed
        .filter_map(|(at, record)| {
            let step = record.step?;
            let healed = evidence.nemesis[at..].iter().find(|later| match later.phase {
                Phase::Install => false,
                Phase::Heal => later.step == record.step,
                Phase::AllHealed => true,
            });
            let to_ns = healed.map_or(end, |later| later.time_ns).max(record.time_ns);
            let nodes = record.nodes.iter().map(|id: &NodeId| node_name(*id)).collect();
            Some(DuringFault {
                step,
                kind: record.kind.clone(),
                nodes,
                from_ns: record.time_ns,
                to_ns,
                succeeded: 0,
                began_and_succeeded: 0,
                home_reads: 0,
                by_function: BTreeMap::new(),
            })
        })
        .collect()
}

impl DuringFault {
    /// Whether it was in force for any time at all.
    fn took_time(&self) -> bool {
        self.to_ns > self.from_ns
    }
}

fn count_successes(fault: &mut DuringFault, operations: &[Operation]) {
    let mut around: Vec<(&Function, AroundFault)> = Vec::new();
    for operation in operations {
        let Some(completion) = operation.completion else { continue };
        if !operation.succeeded() {
            continue;
        }
        let is_during = (fault.from_ns..=fault.to_ns).contains(&completion.time_ns);
        if operation.invoke.home {
            fault.home_reads += u64::from(is_during);
            continue;
        }
        let at = around.iter().position(|(f, _)| *f == &operation.invoke.f).unwrap_or_else(|| {
            around.push((&operation.invoke.f, AroundFault::default()));
            around.len() - 1
        });
        let counts = &mut around[at].1;
        if is_during {
            counts.during += 1;
            fault.began_and_succeeded += u64::from(operation.invoke.time_ns >= fault.from_ns);
        } else if completion.time_ns < fault.from_ns {
            counts.before += 1;
        } else {
            counts.after += 1;
        }
    }
    fault.succeeded = around.iter().map(|(_, counts)| counts.during).sum();
    fault.by_function = around.into_iter().map(|(f, counts)| (name(f), counts)).collect();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{history, nemesis};

    #[test]
    fn a_run_is_counted() {
        let mut history = history(
            "1 invoke write 1; 1 ok write 1; 1 invoke cas 1 2; 1 fail cas 1 2 mismatch; 2 invoke read; 1 invoke write 3; \
             1 info write 3; 2 ok read 1; 9 invoke read; 9 ok read 1; 3 invoke drain 0; 3 ok drain 0; 4 invoke read",
        );
        history[8].home = true;
        history[9].home = true;
        let nemesis = [
            nemesis(Some(0), Phase::Install, "kill", 25_000_000, &[1]),
            nemesis(Some(1), Phase::Install, "partition", 60_000_000, &[2]),
            nemesis(Some(0), Phase::Heal, "kill", 75_000_000, &[1]),
            nemesis(None, Phase::AllHealed, "all_healed", 90_000_000, &[]),
        ];
        let summary =
            summary(&Evidence { history: &history, traces: &[], nemesis: &nemesis, system_has_trace: true });
        assert_eq!(summary.operations["write"], FunctionCounts { ok: 1, fail: 0, mismatch: 0, info: 1 });
        assert_eq!(summary.operations["cas"], FunctionCounts { ok: 0, fail: 1, mismatch: 1, info: 0 });
        assert_eq!(summary.operations["read"], FunctionCounts { ok: 2, fail: 0, mismatch: 0, info: 1 });
        assert_eq!(summary.operations["drain"].ok, 1);
        assert_eq!(
            summary.longest_gap,
            Some(Gap { from_ns: 40_000_000, to_ns: 70_000_000 }),
            "a mismatch was served"
        );
        assert_eq!(summary.faults_in_longest_gap, [(0, "kill".into()), (1, "partition".into())]);
        let during: Vec<_> = summary
            .during_faults
            .iter()
            .map(|fault| (fault.to_ns, fault.succeeded, fault.began_and_succeeded, fault.home_reads))
            .collect();
        assert_eq!(during, [(75_000_000, 2, 1, 0), (90_000_000, 1, 0, 1)]);
        let around = |fault: usize, f: &str| summary.during_faults[fault].by_function[f];
        assert_eq!(around(0, "write"), AroundFault { before: 1, during: 0, after: 0 });
        assert_eq!(around(0, "cas"), AroundFault { before: 0, during: 1, after: 0 });
        assert_eq!(around(1, "drain"), AroundFault { before: 0, during: 0, after: 1 });
        assert!(!summary.nothing_under_faults);
        assert_eq!(
            summary.first_success_after_heal,
            Some(FirstSuccess { healed_ns: 90_000_000, time_ns: Some(110_000_000) })
        );
    }

    #[test]
    fn a_run_in_which_nothing_succeeded_under_faults_says_so() {
        let history = history(
            "1 invoke write 1; 1 ok write 1; 2 invoke write 2; 2 info write 2; 3 invoke read; 3 ok read 1",
        );
        let between = |from_ns, to_ns| {
            let log = [
                nemesis(Some(0), Phase::Install, "kill", from_ns, &[1]),
                nemesis(Some(0), Phase::Heal, "kill", to_ns, &[1]),
            ];
            summary(&Evidence { history: &history, traces: &[], nemesis: &log, system_has_trace: true })
        };
        assert!(between(15_000_000, 45_000_000).nothing_under_faults);
        assert!(!between(15_000_000, 55_000_000).nothing_under_faults);
        let without =
            summary(&Evidence { history: &history, traces: &[], nemesis: &[], system_has_trace: true });
        assert!(!without.nothing_under_faults, "a run without faults is no vacuous one");
    }
}
