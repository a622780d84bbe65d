//! How long the Raft checks take for a trace of a million records: a JSON line on standard output.
//!
//! `cargo run --release -p mcp-chaos-checker --example raft_speed`
//!
//! `seconds` is judging, the trace in memory (the median of three); `read_s` is reading the same trace from JSON
//! Lines. Making the trace takes a minute.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a measurement reads the clock")]

use std::time::{Duration, Instant};

use mcp_chaos_checker::{Check, Evidence, Limits, Verdict, jsonl, judge};
use serde_json::json;

#[allow(dead_code, reason = "the mutation tests use more of it")]
#[path = "../tests/cluster/mod.rs"]
mod cluster;

const RECORDS: usize = 1_000_000;

fn main() {
    let shape =
        cluster::Shape { nodes: 5, clients: 5, keys: 2, operations: 250_000, trouble_one_in: 100_000 };
    let mut traces = cluster::generate(3, shape).traces;
    assert!(traces.len() >= RECORDS, "{} records", traces.len());
    traces.truncate(RECORDS);
    let text = jsonl::write(&traces);

    let began = Instant::now();
    let mut records = 0;
    jsonl::TraceReader::default().feed(&text, |_| records += 1).expect("it was written from records");
    let read = began.elapsed();
    assert_eq!(records, RECORDS);
    drop(text);

    let evidence = Evidence { history: &[], traces: &traces, nemesis: &[], system_has_trace: true };
    let raft = Check::named("raft");
    let mut judging: Vec<Duration> = (0..3)
        .map(|_| {
            let began = Instant::now();
            let judgements = judge(&evidence, &raft, &Limits::default());
            assert!(judgements.iter().all(|judgement| judgement.verdict == Verdict::Valid), "{judgements:?}");
            began.elapsed()
        })
        .collect();
    judging.sort_unstable();
    println!(
        "{}",
        json!({
            "records": RECORDS,
            "seconds": judging[1].as_secs_f64(),
            "read_s": read.as_secs_f64(),
        })
    );
}
