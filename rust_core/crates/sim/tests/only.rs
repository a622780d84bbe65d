//! A plan that leaves out some of its operations.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::*;
use mcp_chaos_checker::Verdict;
use mcp_chaos_evidence::{Function, HistoryEvent, Kind, OperationName};
use mcp_chaos_sim::{Plan, Run, workload};
use serde_json::{Value, json};

fn only(plan: &Value, names: impl IntoIterator<Item = impl AsRef<str>>) -> Value {
    let mut plan = plan.clone();
    plan["workload"]["only"] = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
    plan
}

fn invocations(run: &Run) -> impl Iterator<Item = &HistoryEvent> {
    run.history.iter().filter(|event| event.kind == Kind::Invoke)
}

/// The operations of the workload, by name.
fn named(run: &Run) -> BTreeMap<OperationName, &HistoryEvent> {
    let named: Vec<_> = invocations(run).filter_map(|event| Some((event.op?, event))).collect();
    let count = named.len();
    let by_name: BTreeMap<_, _> = named.into_iter().collect();
    assert_eq!(by_name.len(), count, "a name is given once");
    by_name
}

#[test]
fn keeping_every_operation_is_leaving_none_out() {
    for seed in 0..6 {
        let plan = random_mix(seed);
        let whole = run(&plan, NO_PLANTS);
        let names: Vec<_> = named(&whole).keys().map(ToString::to_string).collect();
        let again = run(&only(&plan, &names), NO_PLANTS);
        assert!(whole.trace_hash == again.trace_hash, "seed {seed}");
    }
}

/// When an operation begins if none before it takes longer than the client thinks.
fn undisturbed_ns(plan: &Value, name: OperationName) -> Option<u64> {
    let plan = Plan::from_value(plan.clone()).unwrap();
    match name {
        OperationName::Home { .. } => None,
        OperationName::Client { client, number } => {
            let thinks =
                (0..number).map(|n| workload::think_ns(plan.seed, &plan.workload, client, n).unwrap());
            Some(START + thinks.sum::<u64>())
        }
    }
}

#[test]
fn those_kept_and_no_others_begin_when_they_would_have_begun_and_write_what_they_would_have_written() {
    let mut plan = plan(4, 3, vec![]);
    plan["workload"]["rate_per_1000s"] = json!(20_000);
    let whole = run(&plan, NO_PLANTS);
    let all = named(&whole);
    let kept: BTreeSet<_> = all.keys().copied().step_by(3).collect();
    let some = run(&only(&plan, kept.iter().map(ToString::to_string)), NO_PLANTS);
    assert_valid(&some, "a part of the operations");
    let found = named(&some);
    assert!(found.keys().eq(kept.iter()));
    let mut compared = 0;
    for (name, event) in found {
        let before = all[&name];
        assert_eq!(event.key, before.key, "{name}");
        if event.f == Function::Write {
            assert_eq!(event.value, before.value, "{name}");
        }
        if undisturbed_ns(&plan, name).is_none_or(|begins_ns| begins_ns == before.time_ns) {
            assert_eq!(event.time_ns, before.time_ns, "{name}");
            compared += 1;
        }
    }
    assert!(compared > 100 && kept.len() > 120, "{compared} of {}", kept.len());
    let finals = |run: &Run| invocations(run).filter(|event| event.is_final).count();
    assert_eq!(finals(&some), finals(&whole), "the final operations are never left out");
}

#[test]
fn both_events_of_an_operation_have_its_name_and_those_of_the_recovery_have_none() {
    let run = run(&random_mix(5), NO_PLANTS);
    let mut open = BTreeMap::new();
    for event in &run.history {
        assert_eq!(event.op.is_none(), event.is_final);
        match event.kind {
            Kind::Invoke => assert_eq!(open.insert(event.process, event.op), None),
            _ => assert_eq!(open.remove(&event.process), Some(event.op)),
        }
    }
    assert!(run.history.iter().any(|event| matches!(event.op, Some(OperationName::Client { .. }))));
    assert!(run.history.iter().any(|event| matches!(event.op, Some(OperationName::Home { .. }))));
}

#[test]
fn final_writes_are_unique_among_the_values_kept() {
    // The client's third operation keeps its value; a final write that counted kept ones would write it again.
    let mut plan = plan(4, 3, vec![]);
    (plan["workload"]["read_percent"], plan["workload"]["cas_percent"]) = (json!(0), json!(0));
    let run = run(&only(&plan, ["c1.1", "c1.3", "c2.2", "c2.40"]), NO_PLANTS);
    let values: Vec<_> =
        invocations(&run).map(|event| event.value.clone()).filter(|v| !v.is_null()).collect();
    assert_eq!(values.len(), 6, "four of the workload, one of each register at the end");
    assert_eq!(values.iter().map(Value::to_string).collect::<BTreeSet<_>>().len(), 6, "{values:?}");
    assert_valid(&run, "four operations");
}

#[test]
fn a_workload_of_no_operations_recovers_and_is_judged() {
    for steps in [vec![], vec![step(0, at(S), Some(S), process("kill", &[1, 2]))]] {
        let run = run(&only(&plan(6, 3, steps), &[] as &[&str]), NO_PLANTS);
        assert!(run.history.iter().all(|event| event.is_final));
        assert_eq!(invocations(&run).count(), 2 + 2 * 3, "two registers, written once and read at each node");
        // Whether it was available, or went on under the faults, nobody can say.
        let nobody_can_say = ["available", "progresses"];
        for judgement in judgements(&run) {
            if nobody_can_say.contains(&judgement.check.name()) {
                continue;
            }
            assert_eq!(judgement.verdict, Verdict::Valid, "{}: {}", judgement.check.name(), judgement.reason);
        }
    }
}
