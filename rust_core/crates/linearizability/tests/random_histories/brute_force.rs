//! Every engine against the brute force, on random histories of every model.

use std::collections::BTreeMap;

use mcp_chaos_linearizability::Answer;

use crate::{
    engines::{Found, options, parts, refute_survivors, run_all},
    history::{Done, Recorded, Size},
    object::Object,
    objects::{
        counter::Counter, key_value::KeyValue, lock::Lock, log::Log, queue::Queue, register::Register,
        registry::Registry, set::Set, versioned::Versioned,
    },
    search::{explicable, refute},
};

const SIZE: Size = Size { operations: (2, 7), clients: 4 };

/// Seeds beyond those of every day that found something.
const FAILED_ONCE: &[(&str, u64)] = &[
    // A register's frontier named a read as the first that nothing explains, and it was the one after it: an
    // unknown compare-and-set had made a mismatch, then what was read.
    ("cas-register", 355_465),
];

/// How many histories of each model.
#[expect(clippy::disallowed_methods, reason = "how many tests to run is the business of whoever runs them")]
fn histories() -> u64 {
    std::env::var("MCP_CHAOS_HISTORIES").map_or(8_000, |number| number.parse().expect("a whole number"))
}

/// What an engine answered, how often.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    valid: u64,
    invalid: u64,
    first: u64,
    witnesses: u64,
    survivors: u64,
    not_applicable: u64,
    out_of_memory: u64,
}

/// Counts for each engine.
type Counts = BTreeMap<&'static str, Count>;

/// Judges random histories by every engine; `parted` is the model's option.
fn agrees<O: Object>(parted: Option<bool>) {
    let histories = histories();
    let mut counts = Counts::new();
    let (mut valid, mut invalid) = (0, 0);
    let failed_once = FAILED_ONCE.iter().filter(|(model, _)| *model == O::MODEL).map(|(_, seed)| *seed);
    for seed in (0..histories).chain(failed_once) {
        let recorded = Recorded::<O>::random(seed, SIZE);
        let history = recorded.history();
        let options = options(&recorded.initial, parted);
        let mut all_valid = true;
        for numbers in parts(&history, parted == Some(true)) {
            let operations: Vec<Done<O::Op>> =
                numbers.iter().map(|number| recorded.operations[*number as usize].clone()).collect();
            let expected = explicable(&recorded.initial, &operations, usize::MAX);
            all_valid &= expected;
            let all = run_all(O::MODEL, &options, &history, &numbers, 1 + seed % 40);
            if !expected && let Some(why) = refute_survivors(O::MODEL, &options, &history, &numbers, &all) {
                panic!("seed {seed}, {why}\n{}", recorded.text());
            }
            for mut found in all {
                if let Some(witness) = &mut found.witness {
                    for number in witness {
                        *number = numbers.binary_search(&(*number as u32)).expect("one of them");
                    }
                }
                if let Err(why) = compare(&recorded.initial, &operations, &found, expected, &mut counts) {
                    panic!("seed {seed}, {}: {why}\n{found:?}\n{}", found.engine, recorded.text());
                }
            }
        }
        // Locality: what holds of each key holds of all.
        if parted == Some(true) {
            assert_eq!(all_valid, explicable(&recorded.initial, &recorded.operations, usize::MAX), "{seed}");
        }
        *if all_valid { &mut valid } else { &mut invalid } += 1;
    }
    let how = parted.map_or("", |parted| if parted { ", parted" } else { ", whole" });
    println!("{}{how}: {histories} histories, {valid} valid, {invalid} not", O::MODEL);
    for (engine, count) in counts {
        println!("    {engine}: {count:?}");
    }
    // The generator is no use unless both verdicts are common.
    assert!(valid > histories / 4 && invalid > histories / 8, "{}: {valid} valid, {invalid} not", O::MODEL);
}

/// Whether all that the engine found is right.
fn compare<O: Object>(
    initial: &O,
    operations: &[Done<O::Op>],
    found: &Found,
    expected: bool,
    counts: &mut Counts,
) -> Result<(), String> {
    let count = counts.entry(found.engine).or_default();
    match found.answer {
        Answer::Linearizable if !expected => return Err("called valid".into()),
        Answer::Linearizable => count.valid += 1,
        Answer::Inexplicable { .. } if expected => return Err("called invalid".into()),
        Answer::Inexplicable { is_first, .. } => {
            let at = found.failed_at.expect("where it failed");
            count.invalid += 1;
            count.first += u64::from(is_first);
            if is_first && explicable(initial, operations, at + 1) {
                return Err(format!("event {at} can be explained"));
            }
            if is_first && !explicable(initial, operations, at) {
                return Err(format!("event {at} is not the first"));
            }
        }
        Answer::NotApplicable => count.not_applicable += 1,
        Answer::OutOfMemory if found.engine.ends_with("little memory") => count.out_of_memory += 1,
        _ => return Err("no answer".into()),
    }
    count.survivors += found.survivors.len() as u64;
    if !expected && !explicable(initial, operations, found.verified) {
        return Err(format!("the first {} events are not explicable", found.verified));
    }
    if let Some(witness) = &found.witness {
        count.witnesses += 1;
        if let Some(why) = refute(initial, operations, witness) {
            return Err(format!("the witness is wrong: {why}"));
        }
    }
    Ok(())
}

#[test]
fn register() {
    agrees::<Register<false>>(None);
}

#[test]
fn cas_register() {
    agrees::<Register<true>>(None);
}

#[test]
fn versioned_register() {
    agrees::<Versioned>(None);
}

#[test]
fn key_value_whole() {
    agrees::<KeyValue<false>>(Some(false));
}

#[test]
fn key_value_parted() {
    agrees::<KeyValue<false>>(Some(true));
}

#[test]
fn key_value_where_a_missing_key_reads_as_empty_text() {
    agrees::<KeyValue<true>>(Some(false));
}

#[test]
fn log() {
    agrees::<Log>(None);
}

#[test]
fn counter() {
    agrees::<Counter>(None);
}

#[test]
fn set() {
    agrees::<Set>(None);
}

#[test]
fn queue() {
    agrees::<Queue<true>>(None);
}

#[test]
fn bag() {
    agrees::<Queue<false>>(None);
}

#[test]
fn lock() {
    agrees::<Lock>(None);
}

#[test]
fn registry() {
    agrees::<Registry>(None);
}
