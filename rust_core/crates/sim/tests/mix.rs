//! Random mixes of all faults break nothing in a clean build.

mod common;

use common::*;
use mcp_chaos_evidence::{Kind, Phase, Status};

#[test]
fn two_hundred_seeds_of_a_random_mix_are_valid() {
    let mut done = Vec::new();
    let mut ends = Vec::new();
    for seed in 0..200 {
        let run = run(&random_mix(seed), NO_PLANTS);
        assert_valid(&run, &format!("seed {seed}"));
        let installed = run
            .nemesis
            .iter()
            .filter(|record| record.phase == Phase::Install && record.status == Status::Done);
        done.extend(installed.map(|record| record.kind.clone()));
        ends.extend(
            run.history
                .iter()
                .filter(|event| event.kind != Kind::Invoke)
                .map(|event| format!("{:?}", event.kind)),
        );
    }
    let done = tally(done);
    assert!(
        done.len() == 7 && done.values().all(|count| *count >= 20),
        "every kind of fault took hold: {done:?}"
    );
    let ends = tally(ends);
    assert!(ends["Info"] > 50 && ends["Ok"] > 50_000, "and clients noticed: {ends:?}");
}
