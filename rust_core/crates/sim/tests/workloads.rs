//! Every kind of workload: clean nodes pass under random faults, and a planted bug is seen by what clients saw.

mod common;

use std::collections::BTreeSet;

use common::*;
use mcp_chaos_checker::{Check, Evidence, Judgement, Limits, Objects, Verdict, judge};
use mcp_chaos_evidence::Kind;
use mcp_chaos_sim::Run;
use serde_json::{Value, json};

const KINDS: [(&str, Objects); 5] = [
    ("counters", Objects::Counters),
    ("lists", Objects::Lists),
    ("registry", Objects::Registry),
    ("leases", Objects::Leases),
    ("transactions", Objects::Transactions),
];

/// A random mix of faults for clients of another kind.
fn mixed(kind: &str, seed: u64) -> Value {
    let mut plan = random_mix(seed);
    plan["workload"]["kind"] = json!(kind);
    if kind == "transactions" {
        // Few elements in each list: every read shows all of them.
        plan["workload"]["keys"] = json!(6);
    }
    plan["workload"]["lease_ns"] = json!(300_000_000 + seed % 3 * 500_000_000);
    plan["options"]["snapshot_every_entries"] = json!(if seed.is_multiple_of(2) { 50 } else { 1_000 });
    plan
}

fn judged(run: &Run, objects: Objects, checks: &[Check]) -> Vec<Judgement> {
    let evidence =
        Evidence { history: &run.history, traces: &run.trace, nemesis: &run.nemesis, system_has_trace: true };
    let limits = Limits { objects, ..Limits::default() };
    judge(&evidence, checks, &limits)
}

#[test]
fn a_clean_build_passes_with_every_kind_and_each_kind_does_all_that_it_can() {
    for (kind, objects) in KINDS {
        let mut done = BTreeSet::new();
        for seed in 0..60 {
            let run = run(&mixed(kind, seed), NO_PLANTS);
            for judgement in judged(&run, objects, &[Check::Linearizable, Check::Durable, Check::Recovers]) {
                assert_eq!(
                    judgement.verdict,
                    Verdict::Valid,
                    "{kind}, seed {seed}, {}: {}",
                    judgement.check.name(),
                    judgement.reason
                );
            }
            let ended = run.history.iter().filter(|event| event.kind != Kind::Invoke);
            done.extend(ended.map(|event| match &event.error {
                Some(error) if event.kind == Kind::Fail => format!("{} {error}", event.f.name()),
                _ => format!("{} {:?}", event.f.name(), event.kind),
            }));
        }
        let expected: &[&str] = match objects {
            Objects::Registers => &[],
            Objects::Counters => &["add Ok", "add Info", "read Ok"],
            Objects::Lists => &["append Ok", "append Info", "read Ok"],
            Objects::Registry => &[
                "register Ok",
                "set_state Ok",
                "set_state not_found",
                "deregister Ok",
                "deregister not_found",
                "lookup Ok",
            ],
            Objects::Leases => &[
                "acquire Ok",
                "acquire held",
                "renew Ok",
                "renew not_held",
                "release Ok",
                "expire Info",
                "read Ok",
            ],
            Objects::Transactions => &["txn Ok", "txn Info", "read_txn Ok"],
        };
        for what in expected {
            assert!(done.contains(*what), "{kind}: no {what} among {done:?}");
        }
    }
}

#[test]
fn bugs_are_seen_by_what_clients_saw() {
    for (kind, objects, plant) in [
        ("counters", Objects::Counters, "retry-applied-twice"),
        ("lists", Objects::Lists, "retry-applied-twice"),
        ("lists", Objects::Lists, "stale-read"),
        ("registry", Objects::Registry, "stale-read"),
        ("leases", Objects::Leases, "stale-read"),
        ("leases", Objects::Leases, "retry-applied-twice"),
        ("transactions", Objects::Transactions, "stale-read"),
        ("transactions", Objects::Transactions, "retry-applied-twice"),
    ] {
        let found = (0..400).find(|seed| {
            let run = run(&mixed(kind, *seed), &[plant]);
            judged(&run, objects, &[Check::Linearizable])[0].verdict == Verdict::Invalid
        });
        assert!(found.is_some(), "{plant} is not seen by clients of {kind}");
    }
}

#[test]
fn the_same_plan_is_the_same_run() {
    for (kind, _) in KINDS {
        let (one, two) = (run(&mixed(kind, 3), NO_PLANTS), run(&mixed(kind, 3), NO_PLANTS));
        assert_eq!(one.trace_hash, two.trace_hash, "{kind}");
    }
}

#[test]
fn large_values_take_a_narrow_link_longer() {
    let mut plan = plan(5, 3, vec![]);
    let links: Vec<_> = (1..=3).flat_map(|node| around(node, 3)).collect();
    let narrow = disturb("bandwidth", &links, json!({"bytes_per_s": 200_000}));
    plan["steps"] = json!([step(0, at(100_000_000), Some(3_000_000_000), narrow)]);
    let succeeded = |plan: &Value| {
        let run = run(plan, NO_PLANTS);
        assert_valid(&run, "large values");
        run.history.iter().filter(|event| event.kind == Kind::Ok && !event.home).count()
    };
    let small = succeeded(&plan);
    plan["workload"]["value_bytes"] = json!(16_000);
    let large = succeeded(&plan);
    assert!(large * 10 < small * 9, "{large} of large values, {small} of small ones");
}

#[test]
fn nothing_begins_in_a_quiet_window_and_more_in_a_burst() {
    let mut plan = plan(5, 3, vec![]);
    let begun = |plan: &Value, window: std::ops::Range<u64>| {
        let run = run(plan, NO_PLANTS);
        assert_valid(&run, "uneven");
        let start_ns = mcp_chaos_sim::START_NS;
        let window = start_ns + window.start..start_ns + window.end;
        run.history
            .iter()
            .filter(|event| event.kind == Kind::Invoke && window.contains(&event.time_ns))
            .count()
    };
    let window = 2_000_000_000..2_500_000_000;
    let usual = begun(&plan, window.clone());
    plan["workload"]["bursts"] = json!({"every_ns": 2_000_000_000, "for_ns": 500_000_000, "factor": 3});
    let more = begun(&plan, window.clone());
    assert!(more > usual * 3 / 2, "{more} in a burst, {usual} else");
    plan["workload"]["quiet"] = json!({"every_ns": 2_000_000_000, "for_ns": 500_000_000});
    assert_eq!(begun(&plan, window), 0);
}
