//! What judging transactions costs: a hundred thousand of four micro-operations each.

#![allow(missing_docs)] // criterion's macros write undocumented functions.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mcp_chaos_evidence::rng::Stream;
use mcp_chaos_history::{Ending, History, HistoryBuilder, Value};
use mcp_chaos_linearizability::{Limits, Unwatched};
use mcp_chaos_transactions::{Level, Verdict, check};

const TRANSACTIONS: usize = 100_000;
const CLIENTS: u64 = 20;

/// As Jepsen makes them: ten keys in use at a time, each given up after a hundred appends. Transactions take effect
/// one after another while others are open; with `stale`, those of one client read what was there some time ago.
fn history(stale: bool) -> History {
    let stream = Stream::new(1, "bench", 0, 0);
    let mut drawn = 0;
    let mut below = |limit: u64| {
        drawn += 1;
        stream.between(drawn, 0, limit - 1)
    };
    let mut builder = HistoryBuilder::new();
    let f = builder.history().functions.number("txn");
    let processes: Vec<u32> =
        (0..CLIENTS).map(|client| builder.history().processes.number(&client.to_string())).collect();
    let mut lists: Vec<Vec<Value>> = vec![Vec::new(); 10];
    let mut active: Vec<usize> = (0..10).collect();
    let mut open: Vec<Option<Value>> = vec![None; CLIENTS as usize];
    let mut begun = 0;
    let mut time = 0;
    while begun < TRANSACTIONS || open.iter().any(Option::is_some) {
        time += 1;
        let client = below(CLIENTS) as usize;
        if let Some(answer) = open[client].take() {
            let result = builder.history().values.number(answer);
            builder.end(processes[client], f, 0, Ending::Ok, result, None, time).expect("it is open");
            continue;
        }
        if begun == TRANSACTIONS {
            continue;
        }
        begun += 1;
        let lag = if stale && client == 0 { below(3) as usize } else { 0 };
        let (mut asked, mut answered) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            let slot = below(10) as usize;
            let key = active[slot];
            let micro = |f: &str, value: Value| Value::list([Value::text(f), Value::Int(key as i64), value]);
            if below(2) == 0 {
                let value = Value::Int(lists[key].len() as i64 + 1);
                lists[key].push(value.clone());
                asked.push(micro("append", value.clone()));
                answered.push(micro("append", value));
                if lists[key].len() == 100 {
                    active[slot] = lists.len();
                    lists.push(Vec::new());
                }
            } else {
                let seen = lists[key].len().saturating_sub(lag);
                asked.push(micro("r", Value::Null));
                answered.push(micro("r", Value::list(lists[key][..seen].iter().cloned())));
            }
        }
        let argument = builder.history().values.number(Value::List(asked.into()));
        builder.invoke(processes[client], f, 0, argument, time).expect("it is not open");
        open[client] = Some(Value::List(answered.into()));
    }
    builder.finish()
}

fn transactions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("transactions");
    group.sample_size(10).throughput(Throughput::Elements(TRANSACTIONS as u64));
    for (name, stale, verdict) in [("valid", false, Verdict::Valid), ("stale", true, Verdict::Invalid)] {
        let history = history(stale);
        for level in Level::ALL {
            group.bench_function(format!("{}/{name}", level.name()), |bencher| {
                bencher.iter(|| {
                    let report = check(black_box(&history), level, &Limits::default(), &Unwatched);
                    assert_eq!(report.expect("these are transactions").verdict, verdict);
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, transactions);
criterion_main!(benches);
