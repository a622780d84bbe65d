//! The checker against an independent brute force: every order of a small history's transactions is tried, with and
//! without those of unknown outcome. The two share no code but the history's types. They must agree on each
//! history, whether or not all appends were read in the end.

mod common;

use common::{Act, Transaction, history};
use mcp_chaos_evidence::rng::Stream;
use mcp_chaos_history::Ending;
use mcp_chaos_linearizability::{Limits, Unwatched};
use mcp_chaos_transactions::{Level, Verdict, check};

/// How many random histories are judged; more with `MCP_CHAOS_HISTORIES`.
fn histories() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "how long to test is for who starts the test")]
    let asked = std::env::var("MCP_CHAOS_HISTORIES");
    asked.ok().and_then(|number| number.parse().ok()).unwrap_or(200_000)
}

/// Draws, one after another.
struct Draws {
    stream: Stream,
    n: u64,
}

impl Draws {
    fn new(seed: u64) -> Draws {
        Draws { stream: Stream::new(seed, "transactions", 0, 0), n: 0 }
    }

    fn below(&mut self, limit: usize) -> usize {
        self.n += 1;
        self.stream.between(self.n, 0, limit as u64 - 1) as usize
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }
}

/// How a store carries transactions out.
#[derive(Clone, Copy, PartialEq)]
enum Isolation {
    /// Each at one instant.
    Serial,
    /// Reads from a snapshot; appends at the commit (so write skew, and lost updates if nobody looks for conflicts).
    Snapshot { first_committer_wins: bool },
    /// Each micro-operation at once on what all see; what is aborted is taken back.
    ReadUncommitted,
    /// The same, and aborted appends stay.
    Dirty,
    /// Reads what is committed at the time of each read; appends at the commit.
    ReadCommitted,
}

type Lists = [Vec<i64>; 3];

const KEYS: [&str; 3] = ["x", "y", "z"];

struct Running {
    at: usize,
    next: usize,
    snapshot: Option<Lists>,
    own: Lists,
    took_effect: bool,
    aborts: bool,
}

/// A random history, executed on a store that keeps some isolation or other.
fn random_history(seed: u64) -> Vec<Transaction> {
    let draws = &mut Draws::new(seed);
    let isolation = match draws.below(7) {
        0 | 1 => Isolation::Serial,
        2 => Isolation::Snapshot { first_committer_wins: true },
        3 => Isolation::Snapshot { first_committer_wins: false },
        4 => Isolation::ReadUncommitted,
        5 => Isolation::Dirty,
        _ => Isolation::ReadCommitted,
    };
    let count = 2 + draws.below(4);
    let keys = 1 + draws.below(3);
    let clients = 1 + draws.below(4);
    let odd_one_in = [1_000, 6, 3][draws.below(3)];
    let corrupt_one_in = [1_000_000, 1_000_000, 12][draws.below(3)];
    let mut store = Lists::default();
    let mut transactions: Vec<Transaction> = Vec::new();
    let mut running: Vec<Running> = Vec::new();
    let (mut now, mut value) = (0, 0);
    while transactions.len() < count || !running.is_empty() {
        now += 1;
        if running.is_empty() || transactions.len() < count && running.len() < clients && draws.one_in(3) {
            if transactions.len() == count {
                break;
            }
            let micros = (0..1 + draws.below(4))
                .map(|_| {
                    let key = KEYS[draws.below(keys)].to_string();
                    if draws.one_in(2) {
                        value += 1;
                        (key, Act::Append(value))
                    } else {
                        (key, Act::Read(Vec::new()))
                    }
                })
                .collect();
            let ending = match draws.below(odd_one_in) {
                0 => Ending::Fail,
                1 => Ending::Unknown,
                _ => Ending::Ok,
            };
            running.push(Running {
                at: transactions.len(),
                next: 0,
                snapshot: None,
                own: Lists::default(),
                took_effect: false,
                aborts: ending == Ending::Fail || ending == Ending::Unknown && draws.one_in(2),
            });
            let process = transactions.len().to_string();
            transactions.push(Transaction { process, micros, ending, invoked: now, completed: None });
            continue;
        }
        let chosen = draws.below(running.len());
        if running[chosen].took_effect {
            let at = running[chosen].at;
            // One of unknown outcome ends before or after it takes effect, or never.
            if transactions[at].completed.is_none()
                && (transactions[at].ending != Ending::Unknown || draws.one_in(2))
            {
                transactions[at].completed = Some(now);
            }
            running.remove(chosen);
            continue;
        }
        let transaction = &mut transactions[running[chosen].at];
        if transaction.ending == Ending::Unknown && transaction.completed.is_none() && draws.one_in(4) {
            transaction.completed = Some(now);
        } else {
            execute(isolation, &mut store, &mut running[chosen], transaction);
        }
    }
    for transaction in &mut transactions {
        for (_, act) in &mut transaction.micros {
            if let (Act::Read(list), true) = (act, draws.one_in(corrupt_one_in)) {
                corrupt(draws, list, value);
            }
        }
    }
    if draws.one_in(2) {
        let micros = (0..3).map(|key| (KEYS[key].into(), Act::Read(store[key].clone()))).collect();
        transactions.push(Transaction {
            process: "last".into(),
            micros,
            ending: Ending::Ok,
            invoked: now + 1,
            completed: Some(now + 2),
        });
    }
    transactions
}

/// The next step of a transaction.
fn execute(isolation: Isolation, store: &mut Lists, running: &mut Running, transaction: &mut Transaction) {
    if isolation == Isolation::Serial {
        if !running.aborts {
            for (key, act) in &mut transaction.micros {
                let list = &mut store[number(key)];
                match act {
                    Act::Append(value) => list.push(*value),
                    Act::Read(seen) => seen.clone_from(list),
                }
            }
        }
        running.took_effect = true;
        return;
    }
    let snapshot = running.snapshot.get_or_insert_with(|| store.clone());
    if running.next < transaction.micros.len() {
        let (key, act) = &mut transaction.micros[running.next];
        running.next += 1;
        let key = number(key);
        let direct = matches!(isolation, Isolation::ReadUncommitted | Isolation::Dirty);
        match act {
            Act::Append(value) if direct => {
                store[key].push(*value);
                running.own[key].push(*value);
            }
            Act::Append(value) => running.own[key].push(*value),
            Act::Read(seen) if direct => seen.clone_from(&store[key]),
            Act::Read(seen) => {
                let base = if isolation == Isolation::ReadCommitted { &store[key] } else { &snapshot[key] };
                *seen = [&base[..], &running.own[key]].concat();
            }
        }
        return;
    }
    running.took_effect = true;
    let own = |key: usize, value: &i64| running.own[key].contains(value);
    match isolation {
        Isolation::ReadUncommitted if running.aborts => {
            (0..3).for_each(|key| store[key].retain(|value| !own(key, value)));
        }
        Isolation::ReadUncommitted | Isolation::Dirty => {}
        _ if running.aborts => {}
        Isolation::Snapshot { first_committer_wins: true }
            if (0..3).any(|key| !running.own[key].is_empty() && store[key] != snapshot[key]) =>
        {
            transaction.ending = Ending::Fail;
        }
        _ => (0..3).for_each(|key| store[key].extend(&running.own[key])),
    }
}

fn corrupt(draws: &mut Draws, list: &mut Vec<i64>, values: i64) {
    match draws.below(5) {
        0 => drop(list.pop()),
        1 => list.push(1 + draws.below(values as usize + 1) as i64),
        2 if list.len() > 1 => {
            let at = draws.below(list.len() - 1);
            list.swap(at, at + 1);
        }
        3 if !list.is_empty() => drop(list.remove(draws.below(list.len()))),
        _ => list.clear(),
    }
}

fn number(key: &str) -> usize {
    KEYS.iter().position(|name| *name == key).expect("a known key")
}

/// Whether some order of the `ok` transactions and any of the unknown ones explains every read.
fn explained(transactions: &[Transaction], strict: bool, placed: u32, lists: &Lists) -> bool {
    let waits = |at: usize| placed & 1 << at == 0 && transactions[at].ending == Ending::Ok;
    if !(0..transactions.len()).any(waits) {
        return true;
    }
    for (at, transaction) in transactions.iter().enumerate() {
        if placed & 1 << at != 0 || transaction.ending == Ending::Fail {
            continue;
        }
        let ended_before =
            |other: usize| transactions[other].completed.is_some_and(|end| end < transaction.invoked);
        if strict && (0..transactions.len()).any(|other| waits(other) && ended_before(other)) {
            continue;
        }
        let mut after = lists.clone();
        let agrees = transaction.micros.iter().all(|(key, act)| {
            let list = &mut after[number(key)];
            match act {
                Act::Append(value) => {
                    list.push(*value);
                    true
                }
                Act::Read(seen) => transaction.ending != Ending::Ok || seen == list,
            }
        });
        if agrees && explained(transactions, strict, placed | 1 << at, &after) {
            return true;
        }
    }
    false
}

#[test]
fn agrees_with_a_brute_force_over_all_orders() {
    let mut found = [[0; 2]; 2];
    for seed in 0..histories() {
        let transactions = random_history(seed);
        let history = history(&transactions);
        for level in Level::ALL {
            let strict = level == Level::StrictSerializable;
            let expected = explained(&transactions, strict, 0, &Lists::default());
            let report =
                check(&history, level, &Limits::default(), &Unwatched).expect("these are transactions");
            let valid = report.verdict == Verdict::Valid;
            assert!(
                valid == expected && report.verdict != Verdict::Unknown,
                "seed {seed}, {}: {transactions:#?}\n{:#?}",
                level.name(),
                report
            );
            assert_eq!(valid, report.anomalies.is_empty());
            found[usize::from(strict)][usize::from(valid)] += 1;
        }
    }
    for [invalid, valid] in found {
        assert!(invalid * 5 > valid && valid * 5 > invalid, "too few of one kind: {found:?}");
    }
}

fn verdicts(transactions: &[Transaction]) -> [Verdict; 2] {
    let history = history(transactions);
    Level::ALL.map(|level| {
        check(&history, level, &Limits::default(), &Unwatched).expect("these are transactions").verdict
    })
}

/// Changes that must not change a verdict, or only one way.
#[test]
fn verdicts_follow_from_what_happened() {
    for seed in 0..histories() / 20 {
        let transactions = random_history(seed);
        let [serializable, strict] = verdicts(&transactions);
        assert!(
            strict == Verdict::Invalid || serializable == Verdict::Valid,
            "seed {seed}: strict is stronger"
        );
        let changed = |change: &dyn Fn(usize, &mut Transaction)| {
            let mut changed = transactions.clone();
            changed.iter_mut().enumerate().for_each(|(at, transaction)| change(at, transaction));
            verdicts(&changed)
        };
        let renamed =
            changed(&|_, transaction| transaction.process = format!("client {}", transaction.process));
        assert_eq!(renamed, [serializable, strict], "seed {seed}: names say nothing");
        let other_keys = changed(&|_, transaction| {
            transaction.micros.iter_mut().for_each(|(key, _)| *key = format!("{key}{key}"));
        });
        assert_eq!(other_keys, [serializable, strict], "seed {seed}: nor do keys");

        let mut more = transactions.clone();
        more.insert(
            0,
            Transaction {
                process: "unseen".into(),
                micros: vec![("x".into(), Act::Append(1_000)), ("y".into(), Act::Read(Vec::new()))],
                ending: Ending::Unknown,
                invoked: 0,
                completed: None,
            },
        );
        assert_eq!(verdicts(&more), [serializable, strict], "seed {seed}: nobody saw it");

        // Twice the time, so that there is room between events; then one transaction ends as early as it can.
        let mut shrunk = transactions.clone();
        for transaction in &mut shrunk {
            transaction.invoked *= 2;
            transaction.completed =
                transaction.completed.map(|end| (2 * end - 1).max(transaction.invoked + 1));
        }
        let draws = &mut Draws::new(seed);
        let at = draws.below(shrunk.len());
        if let Some(end) = shrunk[at].completed {
            let mut taken: Vec<u32> =
                shrunk.iter().flat_map(|t| [Some(t.invoked), t.completed]).flatten().collect();
            taken.sort_unstable();
            let earlier = (shrunk[at].invoked + 1..end).find(|moment| taken.binary_search(moment).is_err());
            shrunk[at].completed = earlier.or(Some(end));
        }
        let [same, shorter] = verdicts(&shrunk);
        assert_eq!(same, serializable, "seed {seed}: time says nothing here");
        assert!(strict == Verdict::Valid || shorter == Verdict::Invalid, "seed {seed}: less freedom");
    }
}
