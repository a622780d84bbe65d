//! Plans and steps for the tests, and the checks that judge their runs.
#![allow(dead_code)] // Each test file uses its own share.

use std::collections::BTreeMap;

use mcp_chaos_checker::{CHECKS, Check, Evidence, Judgement, Limits, Verdict, judge};
use mcp_chaos_evidence::{HistoryEvent, Kind, NemesisRecord, NodeId, Phase, TraceEvent, rng::Stream};
use mcp_chaos_sim::{Plan, Run, START_NS, simulate};
use serde_json::{Map, Value, json};

pub const MS: u64 = 1_000_000;
pub const S: u64 = 1_000 * MS;
pub const NO_PLANTS: &[&str] = &[];

/// A plan of 8 s with a heal after 6 s: 5 clients, 100 operations/s.
pub fn plan(seed: u64, nodes: u64, steps: Vec<Value>) -> Value {
    json!({
        "format": 1, "seed": seed, "nodes": nodes,
        "options": {"tick_ns": 20 * MS, "heartbeat_ticks": 5, "election_ticks": 25,
                    "snapshot_every_entries": 100, "keep_entries": 20},
        "network": {"latency_min_ns": MS, "latency_max_ns": 5 * MS, "loss_ppm": 0},
        "disk": {"sync_min_ns": MS / 5, "sync_max_ns": 2 * MS},
        "workload": {"kind": "registers", "clients": 5, "rate_per_1000s": 100_000, "keys": 2,
                     "read_percent": 40, "cas_percent": 20, "home_readers": true,
                     "home_read_interval_ns": 100 * MS, "attempt_timeout_ns": 500 * MS,
                     "operation_timeout_ns": 2 * S},
        "timeline": {"workload_ns": 8 * S, "heal_ns": 6 * S, "recovers_within_ns": 10 * S,
                     "unavailable_at_most_ns": null},
        "steps": steps, "checks": [],
    })
}

pub fn run(plan: &Value, plants: &[&str]) -> Run {
    simulate(Plan::from_value(plan.clone()).expect("the plan is sound"), plants).expect("the plants exist")
}

/// Every check's judgement of a run.
pub fn judgements(run: &Run) -> Vec<Judgement> {
    let evidence =
        Evidence { history: &run.history, traces: &run.trace, nemesis: &run.nemesis, system_has_trace: true };
    let checks: Vec<Check> = CHECKS.iter().map(|info| info.check).collect();
    judge(&evidence, &checks, &Limits::default())
}

/// The names of the checks that a run violates.
pub fn broken(run: &Run) -> Vec<&'static str> {
    let invalid = judgements(run).into_iter().filter(|judgement| judgement.verdict == Verdict::Invalid);
    invalid.map(|judgement| judgement.check.name()).collect()
}

#[track_caller]
pub fn assert_valid(run: &Run, what: &str) {
    for judgement in judgements(run) {
        let name = judgement.check.name();
        assert_eq!(judgement.verdict, Verdict::Valid, "{what}: {name}: {}", judgement.reason);
    }
}

/// When a step is due: `at(2 * S)` after the plan's start.
pub fn at(at_ns: u64) -> Value {
    json!({"at_ns": at_ns})
}

/// At the nth event of this name, of any node.
pub fn on(event: &str, nth: u64) -> Value {
    json!({"on": {"event": event, "nth": nth, "node": null}})
}

/// A step without an anchor.
pub fn step(id: u64, when: Value, for_ns: Option<u64>, action: Value) -> Value {
    let kind = action["do"].clone();
    json!({"id": id, "fixed": true, "kind": kind, "when": when, "for_ns": for_ns, "anchor": "none",
           "cases": {"*": action}})
}

/// A step with one case for each node that may be the anchor.
pub fn anchored(
    id: u64,
    anchor: &str,
    when: Value,
    for_ns: Option<u64>,
    nodes: u64,
    action: impl Fn(NodeId) -> Value,
) -> Value {
    let cases: Map<String, Value> = (1..=nodes).map(|node| (name(node), action(node))).collect();
    let kind = cases["n1"]["do"].clone();
    json!({"id": id, "fixed": true, "kind": kind, "when": when, "for_ns": for_ns, "anchor": anchor, "cases": cases})
}

/// 0: the side of the clients.
pub fn name(node: NodeId) -> String {
    if node == 0 { "clients".to_owned() } else { format!("n{node}") }
}

/// `kill`, `power_off`, `pause`, `restart` or `transfer_leader`.
pub fn process(what: &str, nodes: &[NodeId]) -> Value {
    json!({"do": what, "nodes": nodes.iter().map(|node| name(*node)).collect::<Vec<_>>(), "links": []})
}

pub fn cut(links: &[(NodeId, NodeId)]) -> Value {
    json!({"do": "cut", "nodes": [], "links": link_names(links)})
}

pub fn latency(links: &[(NodeId, NodeId)], min_ns: u64, max_ns: u64) -> Value {
    json!({"do": "latency", "nodes": [], "links": link_names(links), "delay_min_ns": min_ns, "delay_max_ns": max_ns})
}

/// `drop`, `duplicate`, `reorder`, `bandwidth` or `reset`, with what it takes besides.
pub fn disturb(what: &str, links: &[(NodeId, NodeId)], besides: Value) -> Value {
    let mut action = json!({"do": what, "nodes": [], "links": link_names(links)});
    action.as_object_mut().unwrap().extend(besides.as_object().unwrap().clone());
    action
}

/// `slow_node`, `slow_disk` or `slow_sync`.
pub fn slow(what: &str, nodes: &[NodeId], min_ns: u64, max_ns: u64) -> Value {
    let mut action = process(what, nodes);
    (action["delay_min_ns"], action["delay_max_ns"]) = (json!(min_ns), json!(max_ns));
    action
}

/// A number of the evidence of a fault on links, over all of them.
pub fn over_links(record: &NemesisRecord, what: &str) -> u64 {
    record.evidence["links"].as_array().unwrap().iter().map(|link| link[what].as_u64().unwrap()).sum()
}

fn link_names(links: &[(NodeId, NodeId)]) -> Vec<[String; 2]> {
    links.iter().map(|(from, to)| [name(*from), name(*to)]).collect()
}

/// All links between `node` and the other nodes, both ways.
pub fn around(node: NodeId, nodes: u64) -> Vec<(NodeId, NodeId)> {
    (1..=nodes).filter(|other| *other != node).flat_map(|other| [(node, other), (other, node)]).collect()
}

pub fn record(run: &Run, step: u64, phase: Phase) -> &NemesisRecord {
    let found = run.nemesis.iter().find(|record| record.step == Some(step) && record.phase == phase);
    found.unwrap_or_else(|| panic!("no {phase:?} record of step {step}"))
}

/// The virtual times between which step `id` was in force.
pub fn in_force(run: &Run, id: u64) -> (u64, u64) {
    (record(run, id, Phase::Install).time_ns, record(run, id, Phase::Heal).time_ns)
}

/// The operations that succeeded in a stretch of virtual time.
pub fn successes(run: &Run, (from_ns, to_ns): (u64, u64)) -> impl Iterator<Item = &HistoryEvent> {
    run.history
        .iter()
        .filter(move |event| event.kind == Kind::Ok && (from_ns..to_ns).contains(&event.time_ns))
}

/// What a node did in a stretch of virtual time.
pub fn events(run: &Run, node: NodeId, (from_ns, to_ns): (u64, u64)) -> impl Iterator<Item = &TraceEvent> {
    run.trace
        .iter()
        .filter(move |record| record.node == node && (from_ns..to_ns).contains(&record.time_ns))
        .map(|record| &record.event)
}

/// A random mix of up to 6 faults of all kinds, drawn from `seed`.
pub fn random_mix(seed: u64) -> Value {
    let stream = Stream::new(seed, "mix", 0, 0);
    let mut drawn = 0;
    let mut draw = |low, high| {
        drawn += 1;
        stream.between(drawn, low, high)
    };
    let nodes = [3, 5][draw(0, 1) as usize];
    let steps = draw(0, 6);
    let steps: Vec<Value> = (0..steps)
        .map(|id| {
            let for_ns = Some(draw(50, 3_000) * MS);
            let events =
                ["vote_cast", "role_changed", "appended", "disk_write", "disk_sync", "snapshot_made"];
            let (anchor, when) = match draw(0, 2) {
                0 => ("event", on(events[draw(0, 5) as usize], draw(1, 60))),
                _ => ("leader", at(draw(0, 6_000) * MS)),
            };
            let shift = draw(0, nodes - 1);
            let other = |node: NodeId| (node + shift - 1) % nodes + 1;
            match draw(0, 9) {
                0 => anchored(id, anchor, when, for_ns, nodes, |node| cut(&around(other(node), nodes))),
                1 => anchored(id, anchor, when, for_ns, nodes, |node| cut(&around(node, nodes)[..2])),
                2 => anchored(id, anchor, when, for_ns, nodes, |node| cut(&around(node, nodes)[1..])),
                3 => anchored(id, anchor, when, for_ns, nodes, |node| {
                    latency(&around(other(node), nodes), 20 * MS, 200 * MS)
                }),
                4 => anchored(id, anchor, when, for_ns, nodes, |node| {
                    process("kill", &[node, node % nodes + 1])
                }),
                5 => anchored(id, anchor, when, for_ns, nodes, |node| process("pause", &[other(node)])),
                6 => anchored(id, anchor, when, for_ns, nodes, |node| process("restart", &[other(node)])),
                7 => anchored(id, anchor, when, for_ns, nodes, |node| {
                    process("transfer_leader", &[node % nodes + 1])
                }),
                8 => anchored(id, anchor, when, for_ns, nodes, |node| process("power_off", &[other(node)])),
                _ => {
                    let all: Vec<NodeId> = (1..=nodes).collect();
                    anchored(id, anchor, when, for_ns, nodes, |_| process("power_off", &all))
                }
            }
        })
        .collect();
    let mut plan = plan(seed, nodes, steps);
    plan["network"]["loss_ppm"] = json!([0, 0, 10_000][draw(0, 2) as usize]);
    plan["workload"]["keys"] = json!(draw(1, 4));
    plan
}

/// How often each value occurs.
pub fn tally<T: Ord>(values: impl IntoIterator<Item = T>) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    values.into_iter().for_each(|value| *counts.entry(value).or_default() += 1);
    counts
}

pub const START: u64 = START_NS;
