use super::*;
use crate::register::histories::{
    Action as Does, End, Events, confirm, large, prepared, small, verify, workload::Shape,
};

const AMPLE: u64 = 1 << 30;

fn judge(history: &History, register: &Register) -> (Answer, Option<Vec<u32>>) {
    let mut search = ZoneSearch::new(register, history, AMPLE);
    let Progress::Done(answer) = search.advance(u64::MAX) else { panic!("fuel without end is enough") };
    (answer, search.witness())
}

fn judge_events(events: Events) -> Answer {
    let mut history = events.history();
    let register = prepared(&mut history);
    let (answer, witness) = judge(&history, &register);
    confirm(&history, &register, answer, witness.as_deref());
    answer
}

#[test]
fn a_value_read_again_after_another_was_read_is_inexplicable() {
    let mut events = Events::new();
    let (one, two) = (events.invoke(Does::Write(1)), events.invoke(Does::Write(2)));
    events.end(one, End::Ok);
    events.end(two, End::Ok);
    for found in [1, 2, 1] {
        events.alone(Does::Read, End::Found(found));
    }
    assert_eq!(judge_events(events), Answer::Inexplicable { moment: 7, is_first: true });
}

#[test]
fn a_write_within_the_time_of_another_value_is_inexplicable() {
    let mut events = Events::new();
    events.alone(Does::Write(1), End::Ok);
    events.alone(Does::Write(2), End::Ok);
    events.alone(Does::Read, End::Found(1));
    assert_eq!(judge_events(events), Answer::Inexplicable { moment: 5, is_first: true });
}

#[test]
fn a_read_proves_that_a_write_of_unknown_outcome_took_effect() {
    let mut events = Events::new();
    events.alone(Does::Write(1), End::Unknown);
    events.alone(Does::Write(2), End::Ok);
    events.alone(Does::Read, End::Found(1));
    events.alone(Does::Read, End::Found(2));
    assert_eq!(judge_events(events), Answer::Inexplicable { moment: 6, is_first: true });
}

#[test]
fn a_chain_of_compare_and_sets_leaves_no_room_between() {
    let mut events = Events::new();
    let write = events.invoke(Does::Write(9));
    events.alone(Does::Cas(0, 1), End::Ok);
    events.alone(Does::Cas(1, 2), End::Ok);
    events.end(write, End::Ok);
    events.alone(Does::Cas(2, 3), End::Ok);
    events.alone(Does::Read, End::Found(3));
    // The write came before the chain could begin with 0, or after it ended.
    assert_eq!(judge_events(events), Answer::Inexplicable { moment: 7, is_first: true });
}

#[test]
fn two_compare_and_sets_cannot_both_replace_one_value() {
    let mut events = Events::new();
    let (one, two) = (events.invoke(Does::Cas(0, 1)), events.invoke(Does::Cas(0, 2)));
    events.end(one, End::Ok);
    events.end(two, End::Ok);
    assert_eq!(judge_events(events), Answer::Inexplicable { moment: 3, is_first: true });
}

#[test]
fn compare_and_sets_in_a_circle_never_begin() {
    let mut events = Events::new();
    let (one, two) = (events.invoke(Does::Cas(2, 1)), events.invoke(Does::Cas(1, 2)));
    events.end(one, End::Ok);
    events.end(two, End::Ok);
    assert_eq!(judge_events(events), Answer::Inexplicable { moment: 2, is_first: true });
}

#[test]
fn a_mismatch_makes_the_next_write_come_sooner() {
    let mut events = Events::new();
    let write = events.invoke(Does::Write(1));
    events.alone(Does::Cas(0, 2), End::Mismatch);
    events.alone(Does::Read, End::Found(1));
    events.end(write, End::Ok);
    assert_eq!(judge_events(events), Answer::Linearizable);
}

#[test]
fn a_mismatch_within_the_expected_values_time_is_inexplicable() {
    let mut events = Events::new();
    events.alone(Does::Write(1), End::Ok);
    events.alone(Does::Cas(1, 2), End::Mismatch);
    events.alone(Does::Read, End::Found(1));
    let answer = judge_events(events);
    assert!(matches!(answer, Answer::Inexplicable { .. } | Answer::NotApplicable), "{answer:?}");
}

#[test]
fn a_value_that_was_written_twice_is_for_others() {
    let mut events = Events::new();
    events.alone(Does::Write(1), End::Ok);
    events.alone(Does::Write(1), End::Ok);
    events.alone(Does::Read, End::Found(1));
    assert_eq!(judge_events(events), Answer::NotApplicable);
}

#[test]
fn zones_and_brute_force_agree() {
    // (histories, answered, inexplicable) of each kind: unique values or not.
    let mut counts = [[0_u32; 4]; 2];
    for seed in 0..60_000 {
        let is_unique = seed % 4 != 0;
        let mut history = small(seed, 2 + seed % 7, is_unique);
        let register = prepared(&mut history);
        let (answer, witness) = judge(&history, &register);
        confirm(&history, &register, answer, witness.as_deref());
        assert_eq!(witness.is_some(), answer == Answer::Linearizable, "{seed}");
        let [all, linearizable, first, later] = &mut counts[usize::from(is_unique)];
        *all += 1;
        match answer {
            Answer::Linearizable => *linearizable += 1,
            Answer::Inexplicable { is_first: true, .. } => *first += 1,
            Answer::Inexplicable { .. } => *later += 1,
            _ => {}
        }
    }
    println!("{counts:?}");
    let [all, linearizable, first, later] = counts[1];
    assert!((linearizable + first + later) * 100 > all * 97, "{counts:?}");
    assert!(first > 5_000 && linearizable > 20_000, "{counts:?}");
}

#[test]
fn large_histories_of_unique_values_are_decided() {
    for (seed, mismatch, unknown, stale) in [
        (1, false, 0, false),
        (2, true, 0, false),
        (3, true, 30, false),
        (4, false, 30, true),
        (5, true, 0, true),
    ] {
        for clients in [1, 5, 10, 20] {
            let shape =
                Shape { operations: 5_000, clients, unknown, stale, mismatch, seed, ..Shape::default() };
            let (history, register) = large(&shape);
            let (answer, witness) = judge(&history, &register);
            match answer {
                Answer::Linearizable if !stale => {
                    verify(&register, &witness.expect("a linearizable history has one"));
                }
                Answer::Inexplicable { is_first: true, .. } if stale => {}
                _ => panic!("{shape:?}: {answer:?}"),
            }
        }
    }
}

#[test]
fn fuel_and_memory_are_limits() {
    let (history, register) = large(&Shape { operations: 1_000, ..Shape::default() });
    let mut search = ZoneSearch::new(&register, &history, AMPLE);
    let mut before = 0;
    while search.advance(100) == Progress::Running {
        assert!(search.steps() - before <= 200);
        before = search.steps();
    }
    assert_eq!(search.advance(100), Progress::Done(Answer::Linearizable));
    assert_eq!(search.verified(), register.moments.len());
    let needed = search.bytes();
    let mut search = ZoneSearch::new(&register, &history, needed / 2);
    assert_eq!(search.advance(u64::MAX), Progress::Done(Answer::OutOfMemory));
    assert_eq!(search.bytes(), 0);
}

/// What survives according to an engine, in an order that does not tell how it was found.
fn survivors(engine: &mut dyn Engine) -> (Answer, Vec<Survivor>) {
    let Progress::Done(answer) = engine.advance(u64::MAX) else { panic!("fuel without end is enough") };
    let mut survivors = engine.survivors();
    survivors.sort_unstable_by(|one, other| (&one.state, &one.done).cmp(&(&other.state, &other.done)));
    (answer, survivors)
}

/// How many histories fail, and of how many of these a suffix tells what survived: the same that the frontier tells.
fn compare(histories: impl Iterator<Item = (History, Register)>) -> (u32, u32) {
    let (mut failed, mut told) = (0, 0);
    for (history, register) in histories {
        let (answer, found) = survivors(&mut ZoneSearch::new(&register, &history, AMPLE));
        if !matches!(answer, Answer::Inexplicable { is_first: true, .. }) {
            continue;
        }
        failed += 1;
        if found.is_empty() {
            continue;
        }
        told += 1;
        let whole = survivors(&mut Frontier::new(&register, &history, AMPLE));
        assert_eq!((answer, found), whole, "{:#?}\n{:#?}", register.steps, register.moments);
    }
    (failed, told)
}

#[test]
fn what_survived_is_told_by_the_end_of_the_history() {
    let small = (0..40_000).map(|seed| {
        let mut history = small(seed, 8 + seed % 40, true);
        let register = prepared(&mut history);
        (history, register)
    });
    let (failed, told) = compare(small);
    assert!(failed > 10_000 && told * 4 > failed, "{told} of {failed}");
}

#[test]
fn what_survived_a_stale_read_is_told_by_the_end_of_the_history() {
    let shapes = (0..200).map(|seed| Shape {
        operations: 300,
        clients: [2, 3, 5, 8][seed as usize % 4],
        unknown: [0, 0, 2, 10][seed as usize / 4 % 4],
        mismatch: seed / 16 % 2 == 0,
        cas_percent: [20, 50][seed as usize / 32 % 2],
        stale: true,
        seed,
        ..Shape::default()
    });
    let (failed, told) = compare(shapes.map(|shape| large(&shape)));
    assert!(failed > 150 && told * 2 > failed, "{told} of {failed}");
}
