//! A plan means one run: record for record, however often and wherever it is carried out.

mod common;

use common::*;
use mcp_chaos_sim::{Plan, World, fingerprint};

#[test]
#[allow(clippy::disallowed_methods)] // Another thread must make no difference: that is the test.
fn a_plan_run_twice_and_in_another_thread_gives_the_same_records() {
    for seed in 0..8 {
        let plan = random_mix(seed);
        let first = run(&plan, NO_PLANTS);
        assert_eq!(first.trace_hash, fingerprint(&first.history, &first.trace, &first.nemesis));
        let second = run(&plan, NO_PLANTS);
        assert!(first == second, "seed {seed} ran differently the second time");
        let elsewhere = std::thread::spawn(move || run(&plan, NO_PLANTS)).join().unwrap();
        assert!(first == elsewhere, "seed {seed} ran differently in another thread");
    }
}

#[test]
fn stepping_by_hand_changes_nothing() {
    let plan = random_mix(3);
    let whole = run(&plan, NO_PLANTS);
    let mut world = World::new(Plan::from_value(plan).unwrap(), NO_PLANTS).unwrap();
    for until_ns in (0..20 * S).step_by(7_777_777) {
        world.advance(until_ns);
        if until_ns % 5 == 0 {
            world.observe();
        }
    }
    assert_eq!(world.finish().trace_hash, whole.trace_hash);
}

#[test]
fn seeds_differ_and_a_step_less_shifts_no_draw_before_it() {
    let late = step(0, at(5 * S), Some(S / 2), process("kill", &[2]));
    let with = run(&plan(1, 3, vec![late]), NO_PLANTS);
    let without = run(&plan(1, 3, vec![]), NO_PLANTS);
    let before = |run: &mcp_chaos_sim::Run| {
        let trace: Vec<_> =
            run.trace.iter().filter(|record| record.time_ns < START + 5 * S).cloned().collect();
        fingerprint(&[], &trace, &[])
    };
    assert_eq!(before(&with), before(&without));
    assert_ne!(with.trace_hash, without.trace_hash);
    assert_ne!(run(&plan(2, 3, vec![]), NO_PLANTS).trace_hash, without.trace_hash);
}
