//! What deciding a register's history costs, history in memory. `ci/bench_checkers.py` has the whole table, beside
//! Porcupine; these are for work on the algorithms.

#![allow(missing_docs)] // criterion's macros write undocumented functions.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mcp_chaos_history::{Ending, History, HistoryBuilder, Value};
use mcp_chaos_linearizability::{Limits, Options, Unwatched, Verdict, check};
use workload::{Action, Edge, Held, Shape, Workload};

#[path = "../examples/workload/mod.rs"]
mod workload;

fn value(held: Held) -> Value {
    held.map_or(Value::Null, Value::Int)
}

/// The workload as a history.
fn history(shape: &Shape) -> History {
    let Workload { operations, events, .. } = workload::register(shape);
    let mut builder = HistoryBuilder::new();
    for (position, (number, edge)) in events.into_iter().enumerate() {
        let operation = &operations[number];
        let tables = builder.history();
        let process = tables.processes.number(&operation.process.to_string());
        let (f, argument) = match operation.action {
            Action::Read => ("read", Value::Null),
            Action::Write(new) => ("write", Value::Int(new)),
            Action::Cas(expected, new) => ("cas", Value::list([value(expected), Value::Int(new)])),
        };
        let (f, key) = (tables.functions.number(f), tables.keys.number("k0"));
        let done = match (edge, operation.ending) {
            (Edge::Invoke, _) => {
                let argument = tables.values.number(argument);
                builder.invoke(process, f, key, argument, position as u64)
            }
            (Edge::Complete, ending) => {
                let (ending, answer, error) = match ending {
                    workload::Ending::Ok(found) => (Ending::Ok, value(found), None),
                    workload::Ending::Mismatch => (Ending::Fail, Value::Null, Some("mismatch")),
                    workload::Ending::Unknown => (Ending::Unknown, Value::Null, None),
                };
                let answer = tables.values.number(answer);
                let error = error.map(|error| tables.errors.number(error));
                builder.end(process, f, key, ending, answer, error, position as u64)
            }
        };
        done.expect("the workload makes sense");
    }
    builder.finish()
}

fn registers(criterion: &mut Criterion) {
    let small = |values, stale, unknown| Shape { values, stale, unknown, ..Shape::default() };
    for (name, shape) in [
        ("unique_10k_c10", small(None, false, 0)),
        ("unique_10k_c10_stale", small(None, true, 0)),
        ("five_values_10k_c10", small(Some(5), false, 0)),
        ("five_values_10k_c10_stale", small(Some(5), true, 0)),
        ("five_values_10k_c5_unknown_20", Shape { clients: 5, ..small(Some(5), false, 20) }),
        ("unique_10k_c10_no_mismatch", Shape { mismatch: false, ..small(None, false, 0) }),
    ] {
        let history = history(&shape);
        let decide = || {
            let report = check(
                black_box(&history),
                "cas-register",
                &Options::default(),
                &Limits::default(),
                &Unwatched,
            );
            report.expect("there is such a model").verdict
        };
        assert_eq!(decide(), if shape.stale { Verdict::Invalid } else { Verdict::Valid }, "{name}");
        let mut group = criterion.benchmark_group("linearizability");
        group.throughput(Throughput::Elements(shape.operations as u64));
        group.bench_function(name, |bencher| bencher.iter(decide));
        group.finish();
    }
}

criterion_group!(benches, registers);
criterion_main!(benches);
