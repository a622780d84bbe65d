//! How fast the simulator is: simulated seconds for each second of one core, all checks on.
//!
//! `cargo run --release -p mcp-chaos-sim --example speed -- --nodes 3,5,7 [--runs 5] [--seconds 60] [--json]`
//!
//! Each run is a plan of that length (60 s) at 100 operations/s with a partition, a power loss, a kill and a
//! pause, each with a seed of its own; every check judges it, and a run that is not valid ends the benchmark.
//! Shown is the median of the runs.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // A benchmark reads the clock; the simulator does not.

use std::time::{Duration, Instant};

use mcp_chaos_checker::{CHECKS, Check, Evidence, Limits, Verdict, judge};
use mcp_chaos_sim::{Plan, Run, simulate};
use serde_json::{Value, json};

struct Options {
    nodes: Vec<u64>,
    runs: u64,
    seconds: u64,
    json: bool,
}

/// One run's cost.
struct Cost {
    simulated_s: f64,
    events: f64,
    simulation: Duration,
    judging: Duration,
}

fn main() {
    let options = options();
    for &nodes in &options.nodes {
        let costs: Vec<Cost> = (0..options.runs).map(|seed| measure(seed, nodes, options.seconds)).collect();
        let times_real = median(
            costs.iter().map(|cost| cost.simulated_s / (cost.simulation + cost.judging).as_secs_f64()),
        );
        let events = median(costs.iter().map(|cost| cost.events / cost.simulation.as_secs_f64()));
        let judging = median(
            costs
                .iter()
                .map(|cost| cost.judging.as_secs_f64() / (cost.simulation + cost.judging).as_secs_f64()),
        );
        if options.json {
            let row = json!({
                "nodes": nodes,
                "times_real_time": times_real.round(),
                "events_per_second": events.round(),
                "share_of_checks_percent": (100.0 * judging).round(),
                "runs": options.runs,
                "seconds": options.seconds,
            });
            println!("{row}");
        } else {
            println!(
                "{nodes} nodes: {times_real:.0} simulated s for each real s, {events:.0} events/s, checks take \
                 {:.0} % (median of {} runs of {} s)",
                100.0 * judging,
                options.runs,
                options.seconds,
            );
        }
    }
}

fn options() -> Options {
    let mut options = Options { nodes: vec![3, 5, 7], runs: 5, seconds: 60, json: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| usage(&argument));
        match argument.as_str() {
            "--nodes" => {
                options.nodes = value().split(',').map(|n| n.parse().unwrap_or_else(|_| usage(n))).collect()
            }
            "--runs" => options.runs = value().parse().unwrap_or_else(|_| usage("--runs")),
            "--seconds" => options.seconds = value().parse().unwrap_or_else(|_| usage("--seconds")),
            "--json" => options.json = true,
            other => usage(other),
        }
    }
    options
}

fn usage(found: &str) -> ! {
    eprintln!("{found:?}: expected --nodes 3,5,7, --runs 5, --seconds 60 or --json");
    std::process::exit(2)
}

fn measure(seed: u64, nodes: u64, seconds: u64) -> Cost {
    let plan = Plan::from_value(plan(seed, nodes, seconds)).expect("the benchmark's plan is sound");
    let begun = Instant::now();
    let run = simulate(plan, &[] as &[&str]).expect("no planted bug is asked for");
    let simulated = Instant::now();
    judge_all(&run);
    Cost {
        simulated_s: run.stats.simulated_ns as f64 / 1e9,
        events: run.stats.events as f64,
        simulation: simulated - begun,
        judging: simulated.elapsed(),
    }
}

fn judge_all(run: &Run) {
    let evidence =
        Evidence { history: &run.history, traces: &run.trace, nemesis: &run.nemesis, system_has_trace: true };
    let checks: Vec<Check> = CHECKS.iter().map(|info| info.check).collect();
    for judgement in judge(&evidence, &checks, &Limits::default()) {
        assert_eq!(judgement.verdict, Verdict::Valid, "{}: {}", judgement.check.name(), judgement.reason);
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn plan(seed: u64, nodes: u64, seconds: u64) -> Value {
    let at = |percent: u64| seconds * 10_000_000 * percent;
    let every = |action: &dyn Fn(u64) -> Value| -> Value {
        (1..=nodes).map(|node| (format!("n{node}"), action(node))).collect::<serde_json::Map<_, _>>().into()
    };
    let isolate = |node: u64| {
        let others = (1..=nodes).filter(|other| *other != node);
        let links: Vec<_> = others
            .flat_map(|other| [[node, other], [other, node]])
            .map(|link| link.map(|end| format!("n{end}")))
            .collect();
        json!({"do": "cut", "nodes": [format!("n{node}")], "links": links})
    };
    let one =
        |what: &'static str| move |node: u64| json!({"do": what, "nodes": [format!("n{node}")], "links": []});
    let step = |id: u64, kind: &str, percent: u64, cases: Value| {
        json!({"id": id, "fixed": false, "kind": kind, "when": {"at_ns": at(percent)}, "for_ns": at(5),
               "anchor": "leader", "cases": cases})
    };
    json!({
        "format": 1, "seed": seed, "nodes": nodes,
        "options": {"tick_ns": 20_000_000, "heartbeat_ticks": 5, "election_ticks": 25,
                    "snapshot_every_entries": 1_000, "keep_entries": 100},
        "network": {"latency_min_ns": 1_000_000, "latency_max_ns": 5_000_000, "loss_ppm": 0},
        "disk": {"sync_min_ns": 200_000, "sync_max_ns": 2_000_000},
        "workload": {"kind": "registers", "clients": 5, "rate_per_1000s": 100_000, "keys": 2,
                     "read_percent": 40, "cas_percent": 20, "home_readers": true,
                     "home_read_interval_ns": 100_000_000, "attempt_timeout_ns": 500_000_000,
                     "operation_timeout_ns": 2_000_000_000u64},
        "timeline": {"workload_ns": at(100), "heal_ns": at(80), "recovers_within_ns": 10_000_000_000u64,
                     "unavailable_at_most_ns": null},
        "steps": [
            step(0, "partition", 10, every(&isolate)),
            step(1, "power_off", 25, every(&one("power_off"))),
            step(2, "kill", 40, every(&one("kill"))),
            step(3, "pause", 60, every(&one("pause"))),
        ],
        "checks": [],
    })
}
