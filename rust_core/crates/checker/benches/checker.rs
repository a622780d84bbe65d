//! What judging costs. A simulated run of 20 s has about 2,000 operations and 30,000 trace records.

#![allow(missing_docs)] // criterion's macros write undocumented functions.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use mcp_chaos_checker::{CHECKS, Check, Evidence, Limits, Verdict, jsonl, judge, linearizable};
use mcp_chaos_evidence::{Function, HistoryEvent, Kind, rng::Stream};
use serde_json::{Value, json};

#[allow(dead_code)] // The mutation tests use more of it.
#[path = "../tests/cluster/mod.rs"]
mod cluster;

/// A linearizable history of one register with `clients` operations always in flight: 40 % reads, 40 % writes
/// of unique values, 20 % compare-and-sets (about half of which fail).
fn register_history(operations: usize, clients: u64) -> Vec<HistoryEvent> {
    struct Open {
        f: Function,
        argument: Value,
        outcome: Option<(Kind, Value)>,
    }
    let stream = Stream::new(1, "bench", 0, 0);
    let mut drawn = 0;
    let mut below = |limit: u64| {
        drawn += 1;
        stream.between(drawn, 0, limit - 1)
    };
    let mut register = Value::Null;
    let mut open: Vec<Option<Open>> = (0..clients).map(|_| None).collect();
    let mut history: Vec<HistoryEvent> = Vec::with_capacity(operations * 2);
    let mut begun = 0;
    while begun < operations || open.iter().any(Option::is_some) {
        let process = below(clients);
        let slot = &mut open[process as usize];
        let (kind, f, value) = match slot {
            None if begun == operations => continue,
            None => {
                begun += 1;
                let new = json!(begun);
                let (f, argument) = match below(5) {
                    0 | 1 => (Function::Read, Value::Null),
                    2 | 3 => (Function::Write, new),
                    _ => (Function::Cas, json!([register, new])),
                };
                *slot = Some(Open { f: f.clone(), argument: argument.clone(), outcome: None });
                (Kind::Invoke, f, argument)
            }
            Some(Open { f, argument, outcome: outcome @ None }) => {
                *outcome = Some(match f {
                    Function::Read => (Kind::Ok, register.clone()),
                    Function::Cas if argument[0] != register => (Kind::Fail, argument.clone()),
                    Function::Cas => {
                        register = argument[1].clone();
                        (Kind::Ok, argument.clone())
                    }
                    _ => {
                        register = argument.clone();
                        (Kind::Ok, argument.clone())
                    }
                });
                continue;
            }
            Some(Open { f, outcome: Some((kind, value)), .. }) => {
                let ended = (*kind, f.clone(), value.clone());
                *slot = None;
                ended
            }
        };
        let at = history.len() as u64;
        history.push(HistoryEvent {
            index: at,
            error: (kind == Kind::Fail).then(|| "mismatch".into()),
            ..HistoryEvent::new(at * 1_000_000, process, kind, f, "k0", value)
        });
    }
    history
}

fn linearizability(criterion: &mut Criterion) {
    for (name, clients, stale) in [
        ("linearizable_10k", 10, false),
        ("linearizable_10k_stale", 10, true),
        ("linearizable_10k_c20", 20, false),
    ] {
        let mut history = register_history(10_000, clients);
        if stale {
            // Near the end one read finds what the register held near the beginning.
            let old = history[..4000]
                .iter()
                .rev()
                .find(|event| event.f == Function::Write)
                .map(|event| event.value.clone());
            let read =
                history.iter_mut().rev().find(|event| event.f == Function::Read && event.kind == Kind::Ok);
            read.expect("the history has reads").value = old.expect("the history has writes");
        }
        let expected = if stale { Verdict::Invalid } else { Verdict::Valid };
        let check = || linearizable::judge(black_box(&history), &Value::Null, 1 << 28, 1 << 32);
        assert_eq!(check().verdict, expected);
        criterion
            .benchmark_group("checker")
            .throughput(Throughput::Elements(10_000))
            .bench_function(name, |bencher| bencher.iter(check));
    }
}

fn traces(criterion: &mut Criterion) {
    let run = cluster::generate(
        1,
        cluster::Shape { nodes: 5, clients: 5, keys: 2, operations: 27_000, trouble_one_in: 20_000 },
    );
    assert!(run.traces.len() > 100_000, "{} records", run.traces.len());
    let traces = &run.traces[..100_000];
    let evidence = Evidence { history: &[], traces, nemesis: &run.nemesis, system_has_trace: true };
    let raft = Check::named("raft");
    let check = || judge(black_box(&evidence), &raft, &Limits::default());
    assert!(check().iter().all(|judgement| judgement.verdict == Verdict::Valid));
    let mut group = criterion.benchmark_group("checker");
    group.throughput(Throughput::Elements(traces.len() as u64));
    group.bench_function("raft_100k", |bencher| bencher.iter(check));
    group.finish();

    // A long run, and the same from its files.
    let run = cluster::generate(
        3,
        cluster::Shape { nodes: 5, clients: 5, keys: 2, operations: 250_000, trouble_one_in: 100_000 },
    );
    assert!(run.traces.len() > 1_000_000, "{} records", run.traces.len());
    let traces = &run.traces[..1_000_000];
    let evidence = Evidence { history: &[], traces, nemesis: &[], system_has_trace: true };
    let check = || judge(black_box(&evidence), &raft, &Limits::default());
    assert!(check().iter().all(|judgement| judgement.verdict == Verdict::Valid));
    let text = jsonl::write(traces);
    let mut group = criterion.benchmark_group("checker");
    group.sample_size(10).throughput(Throughput::Elements(traces.len() as u64));
    group.bench_function("raft_1m", |bencher| bencher.iter(check));
    group.bench_function("read_trace_1m", |bencher| {
        bencher.iter(|| {
            let (mut reader, mut records) = (jsonl::TraceReader::default(), 0);
            reader.feed(black_box(&text), |_| records += 1).expect("it was written from records");
            assert_eq!(records, traces.len());
        });
    });
    group.finish();

    // What a simulated run of 20 s leaves, under every check.
    let run = cluster::generate(
        2,
        cluster::Shape { nodes: 5, clients: 5, keys: 2, operations: 2_000, trouble_one_in: 500 },
    );
    let evidence = Evidence {
        history: &run.history,
        traces: &run.traces,
        nemesis: &run.nemesis,
        system_has_trace: true,
    };
    let all: Vec<Check> = CHECKS.iter().map(|info| info.check).collect();
    let verdicts = judge(&evidence, &all, &Limits::default());
    assert!(verdicts.iter().all(|judgement| judgement.verdict == Verdict::Valid), "{verdicts:?}");
    let mut group = criterion.benchmark_group("checker");
    group.throughput(Throughput::Elements((run.traces.len() + run.history.len()) as u64));
    group.bench_function("whole_run_20s", |bencher| {
        bencher.iter_batched(
            || (),
            |()| judge(black_box(&evidence), &all, &Limits::default()),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, linearizability, traces);
criterion_main!(benches);
