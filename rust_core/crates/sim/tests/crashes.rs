//! Power lost, or a process killed, exactly at a write or a sync: whatever is left, nothing acknowledged is lost.

mod common;

use common::*;
use mcp_chaos_evidence::{Phase, Status, TraceEvent};

#[test]
fn a_crash_at_any_disk_operation_loses_nothing_acknowledged() {
    let mut torn = 0;
    // A sample over the whole run; founding and boot included.
    for (seed, nth) in (0..60u64).map(|n| (n, 1 + 15 * n)) {
        let event = ["disk_write", "disk_sync"][seed as usize % 2];
        let what = ["power_off", "kill"][seed as usize / 2 % 2];
        let crash = anchored(0, "event", on(event, nth), Some(200 * MS), 3, |node| process(what, &[node]));
        let run = run(&plan(seed, 3, vec![crash]), NO_PLANTS);
        let install = record(&run, 0, Phase::Install);
        if install.status == Status::Skipped {
            continue;
        }
        assert_valid(&run, &format!("{what} at {event} {nth}"));
        let node = install.anchor.unwrap();
        assert_eq!(install.evidence["processes_before"][name(node)], "crashed");
        let boots = run
            .trace
            .iter()
            .filter(|record| record.node == node && matches!(record.event, TraceEvent::Started { .. }));
        assert_eq!(boots.count(), 2);
        torn += 1;
    }
    assert!(torn > 40, "{torn} of 60 crashes took place");
}

#[test]
fn a_crash_while_the_node_comes_up_is_survived() {
    // n1 restarts at 1 s; the step at its next write falls into the recovery.
    let restart = step(0, at(S), None, process("restart", &[1, 2, 3]));
    for seed in 0..12 {
        let quiet = run(&plan(seed, 3, vec![restart.clone()]), NO_PLANTS);
        assert_valid(&quiet, "restart");
        let writes_at_restart = 300 + 40 * seed;
        let crash = anchored(1, "event", on("disk_write", writes_at_restart), Some(100 * MS), 3, |node| {
            process("power_off", &[node])
        });
        assert_valid(&run(&plan(seed, 3, vec![restart.clone(), crash]), NO_PLANTS), "crash near a restart");
    }
}
