//! Plans for the unit tests.

use serde_json::{Value, json};

use crate::plan::Plan;

/// A plan without faults: 5 clients, 100 operations/s, 5 s.
pub(crate) fn plan_json(seed: u64, nodes: u64) -> Value {
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
        "timeline": {"workload_ns": 5_000_000_000u64, "heal_ns": 4_000_000_000u64,
                     "recovers_within_ns": 10_000_000_000u64, "unavailable_at_most_ns": null},
        "steps": [], "checks": [],
    })
}

pub(crate) fn plan(seed: u64, nodes: u64) -> Plan {
    Plan::from_value(plan_json(seed, nodes)).expect("the plan is sound")
}
