//! Processes and disks that are slow: how they fall behind, and that they come back.

mod common;

use common::*;
use mcp_chaos_evidence::Phase;
use mcp_chaos_sim::Run;
use serde_json::json;

fn slow_follower(seed: u64, what: &str, min_ns: u64, max_ns: u64) -> Run {
    let fault =
        anchored(0, "leader", at(S), Some(2 * S), 3, |leader| slow(what, &[leader % 3 + 1], min_ns, max_ns));
    let run = run(&plan(seed, 3, vec![fault]), NO_PLANTS);
    assert_valid(&run, what);
    run
}

fn of(run: &Run, counter: &str) -> u64 {
    let install = record(run, 0, Phase::Install);
    install.evidence["slowed"][name(install.nodes[0])][counter].as_u64().unwrap()
}

#[test]
fn a_slow_process_falls_behind_and_catches_up() {
    let run = slow_follower(1, "slow_node", 20 * MS, 40 * MS);
    let inputs = of(&run, "inputs");
    assert!((50..=100).contains(&inputs), "2 s of 20 to 40 ms each: {inputs}");
    assert!(of(&run, "added_ns") >= inputs * 20 * MS);
    let (from_ns, to_ns) = in_force(&run, 0);
    let node = record(&run, 0, Phase::Install).nodes[0];
    let busy = |(from_ns, to_ns)| events(&run, node, (from_ns, to_ns)).count();
    assert!(busy((to_ns - S, to_ns)) < busy((from_ns - S, from_ns)) / 2, "it is behind");
    assert!(busy((to_ns, to_ns + 100 * MS)) > 50, "then it does at once what it had not come to");
}

#[test]
fn a_slow_leader_is_slow_for_its_clients() {
    let fault =
        anchored(0, "leader", at(S), Some(2 * S), 3, |leader| slow("slow_node", &[leader], 5 * MS, 10 * MS));
    let run = run(&plan(2, 3, vec![fault]), NO_PLANTS);
    assert_valid(&run, "slow leader");
    let (from_ns, to_ns) = in_force(&run, 0);
    assert!(successes(&run, (from_ns, to_ns)).count() < successes(&run, (to_ns, to_ns + 2 * S)).count());
}

#[test]
fn slow_writes_and_syncs_are_counted_and_take_longer() {
    let disk = slow_follower(3, "slow_disk", 20 * MS, 30 * MS);
    let (writes, syncs) = (of(&disk, "writes"), of(&disk, "syncs"));
    assert!(writes > 0 && syncs > 0, "{writes} writes, {syncs} syncs");
    assert!(syncs <= 2_000 / 20 + 1, "one after the other: {syncs}");
    let sync = slow_follower(3, "slow_sync", 20 * MS, 30 * MS);
    assert!(of(&sync, "syncs") > 0);
    assert_eq!(record(&sync, 0, Phase::Install).evidence["slowed"][name(1)]["writes"], json!(null));
}

#[test]
fn slowness_outlives_a_restart_and_meets_pauses_and_kills() {
    let steps = vec![
        step(0, at(S), Some(3 * S), slow("slow_node", &[1, 2], 5 * MS, 15 * MS)),
        step(1, at(S), Some(2 * S), slow("slow_disk", &[1], 5 * MS, 15 * MS)),
        step(2, at(1_500 * MS), Some(500 * MS), process("pause", &[1])),
        step(3, at(2_500 * MS), None, process("restart", &[1])),
        step(4, at(3 * S), Some(300 * MS), process("power_off", &[2])),
        step(5, at(3_200 * MS), Some(S), slow("slow_node", &[1], MS, 2 * MS)),
    ];
    let run = run(&plan(4, 3, steps), NO_PLANTS);
    assert_valid(&run, "slow, paused, restarted");
    let inputs =
        |id: u64| record(&run, id, Phase::Install).evidence["slowed"]["n1"]["inputs"].as_u64().unwrap();
    assert!(inputs(0) > inputs(5) && inputs(5) > 0, "the restarted process is slow still");
}
