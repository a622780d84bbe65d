//! Scripts drawn at random, against the model, ending in a power loss.

use mcp_chaos_evidence::rng::Stream;
use mcp_chaos_wal::{Options, SimDisk, Wal};
use proptest::prelude::*;

use crate::model::State;
use crate::script::{Action, Run};

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (1..5_u64, prop_oneof![8..80_usize, 400..1800_usize], 0..4_u64)
            .prop_map(|(count, bytes, over)| Action::Append { count, bytes, over }),
        1 => Just(Action::Vote),
        2 => Just(Action::Commit),
        3 => Just(Action::Sync),
        1 => (0..4_u64).prop_map(|below_end| Action::Save { below_end }),
        1 => (0..4_u64).prop_map(|keep| Action::Compact { keep }),
        1 => (-2..9_i64, any::<bool>(), any::<bool>())
            .prop_map(|(beyond_end, with_state, with_entry)| Action::Install { beyond_end, with_state, with_entry }),
        1 => Just(Action::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_holds_what_the_model_holds(
        script in prop::collection::vec(action(), 1..60),
        segment_bytes in 100..6000_u64,
        seed in any::<u64>(),
    ) {
        let options = Options { segment_bytes, ..Options::new(3) };
        let (mut run, started) = Run::start(SimDisk::new(), options.clone());
        started.and_then(|()| run.run(&script)).expect("powered");
        let admissible = run.admissible().to_vec();
        let mut disk = run.into_disk();
        disk.power_off(Stream::new(seed, "power_off", 3, 0), 0);
        disk.restart();
        let (_, recovered) = Wal::open(disk, options).expect("a power loss corrupts nothing");
        prop_assert!(admissible.contains(&State::from(&recovered)));
    }
}
