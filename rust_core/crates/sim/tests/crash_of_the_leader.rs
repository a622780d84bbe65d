//! A step that waits for any disk operation and takes the leader down, wherever that operation was.

mod common;

use common::*;
use mcp_chaos_evidence::{Phase, Status};

/// Once, every node crashed at the operation awaited, though the step meant the leader: a follower so hit lay
/// dead for the rest of the run, and the step was skipped for want of a leader if it was the leader.
#[test]
fn a_disk_operation_anywhere_takes_the_leader_down_and_nobody_else() {
    let mut at_its_own_disk = 0;
    for seed in 0..24u64 {
        let crash = anchored(0, "leader", on("disk_write", 700 + 10 * seed), Some(300 * MS), 3, |node| {
            process(if seed % 2 == 0 { "power_off" } else { "kill" }, &[node])
        });
        let run = run(&plan(seed, 3, vec![crash]), NO_PLANTS);
        assert_valid(&run, &format!("seed {seed}"));
        let install = record(&run, 0, Phase::Install);
        assert_eq!(install.status, Status::Done, "{:?}", install.reason);
        assert_eq!(install.nodes, [install.anchor.unwrap()]);
        let before = &install.evidence["processes_before"][name(install.nodes[0])];
        at_its_own_disk += u64::from(before == "crashed");
    }
    assert!((1..24).contains(&at_its_own_disk), "{at_its_own_disk} of 24 at the leader's own disk");
}
