//! What must hold of any history's verdict when the history is changed a little: whatever gives operations more
//! freedom never makes a valid history invalid, and what nobody can see changes nothing.

use mcp_chaos_history::{History, Value};
use mcp_chaos_linearizability::ModelOptions;
use serde_json::Value as Json;

use crate::{
    draws::Draws,
    engines::{Found, is_linearizable, options, parts, run_all},
    history::{Done, Recorded, Size, Standing},
    object::{Object, Reply, Values},
    objects::{
        counter::Counter, key_value::KeyValue, lock::Lock, log::Log, queue::Queue, register::Register,
        registry::Registry, set::Set, versioned::Versioned,
    },
};

/// Larger than what a brute force can decide.
const SIZE: Size = Size { operations: (4, 10), clients: 5 };
const HISTORIES: u64 = 800;

fn is_valid<O: Object>(recorded: &Recorded<O>) -> bool {
    is_linearizable(O::MODEL, &options(&recorded.initial, None), &recorded.history())
}

/// Takes random histories, changes each into one that is valid if the history was, and sees whether it is.
/// `change` gives back false where it found nothing to change.
fn never_makes_invalid<O: Object>(label: &str, change: impl Fn(&mut Recorded<O>, &mut Draws) -> bool) {
    let (mut kept, mut mended) = (0, 0);
    for seed in 0..HISTORIES {
        let recorded = Recorded::<O>::random(seed, SIZE);
        let mut changed = recorded.clone();
        if !change(&mut changed, &mut Draws::new(seed, label)) {
            continue;
        }
        let (before, after) = (is_valid(&recorded), is_valid(&changed));
        let texts = || format!("seed {seed}\n{}\n{}", recorded.text(), changed.text());
        assert!(!before || after, "{} made invalid: {}", label, texts());
        kept += u64::from(before);
        mended += u64::from(!before && after);
    }
    assert!(kept > HISTORIES / 20, "{}, {label}: {kept} valid, {mended} became valid", O::MODEL);
}

/// Room between events for others.
fn spread<O: Object>(recorded: &mut Recorded<O>) {
    for done in &mut recorded.operations {
        done.begin = 4 * done.begin + 2;
        done.end = done.end.map(|end| 4 * end + 2);
    }
}

/// The other way round: a shorter interval never makes an invalid history valid.
fn longer_intervals<O: Object>(recorded: &mut Recorded<O>, draws: &mut Draws) -> bool {
    spread(recorded);
    let last = 4 * 2 * recorded.operations.len() as u64;
    let at = draws.below(recorded.operations.len() as u64) as usize;
    let done = &mut recorded.operations[at];
    // Odd positions are free.
    done.begin = 2 * draws.below(done.begin as u64 / 2) as usize + 1;
    done.end = done.end.map(|end| (end as u64 + 1 + 4 * draws.below(1 + last / 4)) as usize);
    recorded.renumber();
    true
}

/// An operation more, of which nobody knows what became: at any time, with or without an end.
fn another_unknown<O: Object>(recorded: &mut Recorded<O>, draws: &mut Draws) -> bool {
    spread(recorded);
    let mut values = Values::new(Draws::new(draws.below(1 << 40), "another"));
    let op = recorded.initial.ask(&mut values);
    let begin = 4 * draws.below(2 * recorded.operations.len() as u64) as usize + 1;
    let end = draws.one_in(2).then_some(begin + 2);
    recorded.operations.push(Done { op, begin, end, told: None });
    recorded.renumber();
    true
}

/// Only the first events; what is open then never ends.
fn prefix<O: Object>(recorded: &mut Recorded<O>, draws: &mut Draws) -> bool {
    let length = draws.below(2 * recorded.operations.len() as u64) as usize;
    recorded.operations.retain(|done| done.begin < length);
    for done in &mut recorded.operations {
        if done.end.is_some_and(|end| end >= length) {
            (done.end, done.told) = (None, None);
        }
    }
    true
}

/// A random operation of those for which it holds.
fn choose<O: Object>(
    recorded: &Recorded<O>,
    draws: &mut Draws,
    holds: impl Fn(&Done<O::Op>) -> bool,
) -> Option<usize> {
    let fit: Vec<usize> =
        (0..recorded.operations.len()).filter(|at| holds(&recorded.operations[*at])).collect();
    (!fit.is_empty()).then(|| *draws.one_of(&fit))
}

/// Whether the operation can have changed nothing: a refusal.
fn is_refusal<O: Object>(done: &Done<O::Op>) -> bool {
    matches!(done.told, Some(Reply::Refused(_)))
}

/// One refusal less.
fn without_a_refusal<O: Object>(recorded: &mut Recorded<O>, draws: &mut Draws) -> bool {
    let Some(at) = choose(recorded, draws, is_refusal::<O>) else { return false };
    recorded.operations.remove(at);
    recorded.renumber();
    true
}

/// What one operation replied is forgotten.
fn forgotten_reply<O: Object>(recorded: &mut Recorded<O>, draws: &mut Draws) -> bool {
    let Some(at) = choose(recorded, draws, |done| done.told.is_some() && !is_refusal::<O>(done)) else {
        return false;
    };
    recorded.operations[at].told = None;
    true
}

/// Every engine's answers on a history.
fn answers<O: Object>(recorded: &Recorded<O>, history: &History) -> Vec<Found> {
    let by_key = O::MODEL == "key-value";
    let options = options(&recorded.initial, None);
    let found = |operations: Vec<u32>| run_all(O::MODEL, &options, history, &operations, 64);
    parts(history, by_key).into_iter().flat_map(found).collect()
}

/// What nobody can see changes nothing: not even where an engine fails, and after how many steps.
fn changes_nothing<O: Object>(change: impl Fn(&Recorded<O>) -> History) {
    for seed in 0..HISTORIES / 2 {
        let recorded = Recorded::<O>::random(seed, SIZE);
        let before = answers(&recorded, &recorded.history());
        let after = answers(&recorded, &change(&recorded));
        for (before, after) in before.iter().zip(&after) {
            let view = |found: &Found| (found.engine, found.answer, found.verified, found.steps);
            assert_eq!(view(before), view(after), "seed {seed}\n{}", recorded.text());
        }
    }
}

/// Clients that go on under the same number, as far as their operations have ended.
fn with_shared_clients<O: Object>(recorded: &Recorded<O>) -> History {
    // By client: when it is free again.
    let mut clients: Vec<Option<usize>> = Vec::new();
    let of: Vec<u32> = recorded
        .operations
        .iter()
        .map(|done| {
            let free = clients.iter().position(|free| free.is_some_and(|free| free < done.begin));
            let client = free.unwrap_or_else(|| {
                clients.push(None);
                clients.len() - 1
            });
            clients[client] = done.end;
            client as u32
        })
        .collect();
    recorded.history_with(|number| of[number], Json::clone)
}

/// Without operations that failed and saw nothing.
fn without_idle_failures<O: Object>(recorded: &mut Recorded<O>, _draws: &mut Draws) -> bool {
    recorded.operations.retain(|done| Recorded::<O>::standing(done) != Standing::Out);
    recorded.renumber();
    true
}

fn hold<O: Object>() {
    never_makes_invalid::<O>("a longer interval", longer_intervals);
    never_makes_invalid::<O>("another unknown operation", another_unknown);
    never_makes_invalid::<O>("a prefix", prefix);
    never_makes_invalid::<O>("a refusal less", without_a_refusal);
    never_makes_invalid::<O>("a forgotten reply", forgotten_reply);
    never_makes_invalid::<O>("no idle failures", without_idle_failures);
    changes_nothing::<O>(with_shared_clients);
    // Both ways: with the failures back, it is as valid as it was.
    for seed in 0..HISTORIES / 2 {
        let recorded = Recorded::<O>::random(seed, SIZE);
        let mut less = recorded.clone();
        without_idle_failures(&mut less, &mut Draws::new(seed, "none"));
        assert_eq!(is_valid(&recorded), is_valid(&less), "seed {seed}\n{}", recorded.text());
    }
}

/// As [`without_a_refusal`], for what succeeded and only looked.
fn without_an_observer<O: Object>(observes: impl Fn(&O::Op) -> bool) {
    never_makes_invalid::<O>("an observer less", |recorded, draws| {
        let Some(at) = choose(recorded, draws, |done| done.told.is_some() && observes(&done.op)) else {
            return false;
        };
        recorded.operations.remove(at);
        recorded.renumber();
        true
    });
}

fn is_read<O: Object>(op: &O::Op) -> bool {
    ["read", "get", "read-at", "length", "contains", "renew", "lookup", "list"].contains(&O::asked(op).f)
}

#[test]
fn registers() {
    hold::<Register<false>>();
    hold::<Register<true>>();
    hold::<Versioned>();
    without_an_observer::<Register<true>>(is_read::<Register<true>>);
    without_an_observer::<Versioned>(is_read::<Versioned>);
}

#[test]
fn maps() {
    hold::<KeyValue<false>>();
    hold::<KeyValue<true>>();
    hold::<Registry>();
    without_an_observer::<KeyValue<true>>(is_read::<KeyValue<true>>);
    without_an_observer::<Registry>(is_read::<Registry>);
}

#[test]
fn lists_and_numbers() {
    hold::<Log>();
    hold::<Counter>();
    without_an_observer::<Log>(is_read::<Log>);
    without_an_observer::<Counter>(is_read::<Counter>);
}

#[test]
fn sets_and_queues() {
    hold::<Set>();
    hold::<Queue<true>>();
    hold::<Queue<false>>();
    without_an_observer::<Set>(is_read::<Set>);
}

#[test]
fn locks() {
    hold::<Lock>();
    without_an_observer::<Lock>(is_read::<Lock>);
}

/// Only whether two values are equal counts.
#[test]
fn other_values_change_nothing() {
    fn holds<O: Object>() {
        for seed in 0..HISTORIES / 2 {
            let recorded = Recorded::<O>::random(seed, SIZE);
            let (before, after) = (recorded.history(), recorded.history_with(|number| number as u32, other));
            let plain = options(&recorded.initial, None);
            let renamed = ModelOptions {
                initial: recorded.initial.initial().map(|initial| Value::from(&other(&initial))),
                ..plain.clone()
            };
            let [before, after] = [(before, plain), (after, renamed)].map(|(history, options)| {
                run_all(O::MODEL, &options, &history, &parts(&history, false)[0], 64)
            });
            for (before, after) in before.iter().zip(&after) {
                // How much memory a set of values takes does depend on them.
                if before.engine.ends_with("little memory") {
                    continue;
                }
                assert_eq!(before.answer, after.answer, "seed {seed}\n{}", recorded.text());
            }
        }
    }
    holds::<Register<false>>();
    holds::<Register<true>>();
    holds::<Set>();
    holds::<Queue<true>>();
    holds::<Queue<false>>();
}

/// Whole numbers are other numbers, one for one.
fn other(value: &Json) -> Json {
    match value {
        Json::Number(number) => Json::from(-3 * number.as_i64().expect("a whole number")),
        Json::Array(list) => list.iter().map(other).collect(),
        same => same.clone(),
    }
}

/// Locality (Herlihy and Wing 1990, theorem 1).
#[test]
fn parted_by_key_or_whole_the_verdict_is_the_same() {
    fn agree<O: Object>(seed: u64, recorded: &Recorded<O>) -> bool {
        let [parted, whole] = [true, false].map(|parted| {
            is_linearizable(O::MODEL, &options(&recorded.initial, Some(parted)), &recorded.history())
        });
        assert_eq!(parted, whole, "seed {seed}\n{}", recorded.text());
        whole
    }
    let mut valid = [0; 3];
    for seed in 0..HISTORIES {
        valid[0] += u64::from(agree(seed, &Recorded::<KeyValue<false>>::random(seed, SIZE)));
        valid[1] += u64::from(agree(seed, &Recorded::<KeyValue<true>>::random(seed, SIZE)));
        let mut registry = Recorded::<Registry>::random(seed, SIZE);
        registry.operations.retain(|done| Registry::asked(&done.op).f != "list");
        registry.renumber();
        valid[2] += u64::from(agree(seed, &registry));
    }
    assert!(valid.iter().all(|valid| (HISTORIES / 10..HISTORIES * 9 / 10).contains(valid)), "{valid:?}");
}
