//! What clients do: the n-th operation of a client, as a pure function of the plan.
//!
//! The same function drives the clients of both backends, so a plan means the same on each.

mod pace;
mod transaction;

use mcp_chaos_evidence::{Function, NodeId, rng::Stream};
use mcp_manager::command::ServerState;
use serde_json::{Value, json};

pub use self::pace::{Bursts, Pace, Windows};
pub use self::transaction::{Step, Transaction, micro_read};
use crate::plan::{Workload, WorkloadKind};

/// An operation on a register, or on whatever the workload's clients work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reads it.
    Read,
    /// Writes this value.
    Write(i64),
    /// Writes `new` if the register holds `expected` (`None`: never written).
    Cas {
        /// What this client last saw in the register.
        expected: Option<i64>,
        /// The value to write.
        new: i64,
    },
    /// Adds so much to a counter.
    Add(i64),
    /// Appends this element to a list.
    Append(i64),
    /// Registers a server, at an endpoint of this number.
    Register(i64),
    /// Moves a server to another state.
    SetState(ServerState),
    /// Removes a server.
    Deregister,
    /// Takes a lease, under this number: each time as another holder, so that what is known of one time (that it
    /// ended, that it was given back) is said of no other.
    Acquire(i64),
    /// Lets the lease that was taken under this number last longer.
    Renew(i64),
    /// Gives the lease back that was taken under this number.
    Release(i64),
    /// Appends to several lists, and reads some, all at one moment.
    Transact(Transaction),
}

impl Action {
    /// As a history of this workload calls it.
    pub fn function(self, kind: WorkloadKind) -> Function {
        let name = match self {
            Action::Read if kind == WorkloadKind::Registry => "lookup",
            Action::Read if kind == WorkloadKind::Transactions => "read_txn",
            Action::Read => return Function::Read,
            Action::Write(_) => return Function::Write,
            Action::Cas { .. } => return Function::Cas,
            Action::Add(_) => "add",
            Action::Append(_) => "append",
            Action::Register(_) => "register",
            Action::SetState(_) => "set_state",
            Action::Deregister => "deregister",
            Action::Acquire(_) => "acquire",
            Action::Renew(_) => "renew",
            Action::Release(_) => "release",
            Action::Transact(_) => "txn",
        };
        Function::Other(name.to_owned())
    }

    /// Its argument, as a history has it.
    pub fn argument(self) -> Value {
        match self {
            Action::Read | Action::Deregister => Value::Null,
            Action::Write(value) | Action::Add(value) | Action::Append(value) => Value::from(value),
            Action::Cas { expected, new } => json!([expected, new]),
            Action::Register(number) => json!({"transport": "streamable_http", "endpoint": endpoint(number)}),
            Action::SetState(state) => json!(state),
            Action::Acquire(number) | Action::Renew(number) | Action::Release(number) => {
                Value::from(holder(number))
            }
            Action::Transact(transaction) => transaction.argument(),
        }
    }

    /// What a history says of it once it is done, but for what it found.
    pub fn result(self) -> Value {
        match self {
            // A number would be the offset.
            Action::Append(_) => Value::Null,
            _ => self.argument(),
        }
    }
}

/// Who holds the lease that was taken under this number (see [`value`]): the operation's name.
pub fn holder(number: i64) -> String {
    format!("c{}.{}", number / CLIENTS_APART, number % CLIENTS_APART)
}

/// Where the server of this number is reached.
pub fn endpoint(number: i64) -> String {
    format!("http://mcp.example/{number}")
}

/// The states that clients move servers to.
const STATES: [ServerState; 6] = [
    ServerState::Starting,
    ServerState::Ready,
    ServerState::Degraded,
    ServerState::Stopping,
    ServerState::Stopped,
    ServerState::Failed,
];

/// One operation of a roaming client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Which of the client's operations it is, from 1, those that the plan leaves out included.
    pub number: u64,
    /// Time from the beginning of the operation before (for the first: from the plan's start) to this one's,
    /// in nanoseconds. If that one takes longer, this one follows at once. Operations that the plan leaves out
    /// take their time all the same: the others begin when they would have begun.
    pub think_ns: u64,
    /// The register's number: `k0` for 0. Of a transaction the first list's.
    pub key: u32,
    /// What is done to it.
    pub action: Action,
}

/// The n-th operation (from 0) of a roaming client (from 1), of those that the plan does not leave out; `None` if
/// there are no more. `last_seen(key)` is what this client last saw in that register: `None` if nothing yet,
/// `Some(None)` if it saw that it was never written.
///
/// The operation of number `m + 1` takes the draws `4m` to `4m + 3` of the client's stream, whatever they lead to:
/// so one operation never shifts another.
pub fn operation(
    seed: u64,
    workload: &Workload,
    client: u32,
    n: u64,
    last_seen: impl FnOnce(u32) -> Option<Option<i64>>,
) -> Option<Operation> {
    let number = number(workload, client, n)?;
    let stream = stream(seed, client);
    let first_draw = 4 * (number - 1);
    let key = fresh(workload, key(workload, stream, first_draw), number);
    let percent = stream.between(first_draw + 2, 0, 99) as u32;
    let new = value(client, number);
    let action = if percent < workload.read_percent {
        Action::Read
    } else {
        change(
            workload,
            percent - workload.read_percent,
            new,
            || last_seen(key),
            || Transaction::drawn(seed, workload, client, number),
        )
    };
    let key = match action {
        Action::Transact(transaction) => transaction.steps()[0].key,
        _ => key,
    };
    Some(Operation { number, think_ns: think_ns(seed, workload, client, n)?, key, action })
}

/// What an operation does that is no read. `percent`: from 0, below the share of those that are not.
fn change(
    workload: &Workload,
    percent: u32,
    new: i64,
    last_seen: impl FnOnce() -> Option<Option<i64>>,
    transaction: impl FnOnce() -> Transaction,
) -> Action {
    let tenth = percent * 10 / (100 - workload.read_percent);
    match workload.kind {
        WorkloadKind::Registers if percent < workload.cas_percent => {
            last_seen().map_or(Action::Read, |expected| Action::Cas { expected, new })
        }
        WorkloadKind::Registers => Action::Write(new),
        WorkloadKind::Counters => Action::Add(i64::from(tenth) + 1),
        WorkloadKind::Lists => Action::Append(new),
        WorkloadKind::Registry => match tenth {
            0..4 => Action::Register(new),
            4..8 => Action::SetState(STATES[new as usize % STATES.len()]),
            _ => Action::Deregister,
        },
        // What it last saw in a lease is the number under which it holds it.
        WorkloadKind::Leases => match (last_seen(), tenth) {
            (Some(Some(taken)), 0..4) => Action::Renew(taken),
            (Some(Some(taken)), _) => Action::Release(taken),
            _ => Action::Acquire(new),
        },
        WorkloadKind::Transactions => Action::Transact(transaction()),
    }
}

/// The change that a client makes once all faults are healed; a cluster that serves again answers it.
pub fn last_change(workload: &Workload, key: u32, value: i64) -> Action {
    match workload.kind {
        WorkloadKind::Registers => Action::Write(value),
        WorkloadKind::Counters => Action::Add(1),
        WorkloadKind::Lists => Action::Append(value),
        WorkloadKind::Registry => Action::Register(value),
        WorkloadKind::Leases => Action::Acquire(value),
        WorkloadKind::Transactions => Action::Transact(Transaction::appends(key, value)),
    }
}

/// The key of an operation: the hot one, or any of all.
fn key(workload: &Workload, stream: Stream, first_draw: u64) -> u32 {
    if stream.chance_ppm(first_draw + 3, workload.hot_key_ppm) {
        return 0;
    }
    let keys = u64::from(workload.keys);
    if workload.key_skew == 0 {
        return stream.between(first_draw + 1, 0, keys - 1) as u32;
    }
    let weight = |key: u64| SKEW_UNIT / (key + 1).pow(workload.key_skew);
    let mut left = stream.between(first_draw + 1, 0, (0..keys).map(weight).sum::<u64>() - 1);
    let mut key = 0;
    while left >= weight(key) {
        left -= weight(key);
        key += 1;
    }
    key as u32
}

/// What the first key weighs under a skew: key n weighs 1/n^s of it (Zipf's law), in whole numbers, that every machine
/// may draw the same.
const SKEW_UNIT: u64 = 1 << 40;

/// The think time of [`operation`], which is needed before it is known what the client has seen.
///
/// Even between 0 and twice the mean: the mean gives the workload's rate, and no logarithm is needed.
pub fn think_ns(seed: u64, workload: &Workload, client: u32, n: u64) -> Option<u64> {
    let last = number(workload, client, n)?;
    let before = n.checked_sub(1).and_then(|n| number(workload, client, n)).unwrap_or(0);
    let mean_ns = mean_ns(workload);
    let stream = stream(seed, client);
    Some((before..last).map(|left_out| stream.between(4 * left_out, 0, 2 * mean_ns)).sum())
}

/// When clients are busy.
pub fn pace(workload: &Workload) -> Pace {
    Pace { bursts: workload.bursts, quiet: workload.quiet }
}

/// A value as it is stored: padded to the size that the plan asks for.
pub fn text(workload: &Workload, value: i64) -> String {
    format!("{value:.<width$}", width = workload.value_bytes as usize)
}

/// The value that is stored so; `None` if no client of this plan stored it. What was cut short, or grew, is none.
pub fn number_in(workload: &Workload, stored: &str) -> Option<i64> {
    let value = stored.trim_end_matches('.').parse().ok()?;
    (text(workload, value).len() == stored.len()).then_some(value)
}

/// The number of a client's n-th operation (from 0) that the plan does not leave out.
fn number(workload: &Workload, client: u32, n: u64) -> Option<u64> {
    match &workload.only {
        None => Some(n + 1),
        Some(only) => only.of_client(client).get(usize::try_from(n).ok()?).copied(),
    }
}

fn stream(seed: u64, client: u32) -> Stream {
    Stream::new(seed, "operation", client.into(), 0)
}

/// Between the values of two clients: more than one has operations.
const CLIENTS_APART: i64 = 1_000_000;

/// The value that a client's operation of this number (from 1) writes, if it writes: unique in the run.
pub fn value(client: u32, number: u64) -> i64 {
    i64::from(client) * CLIENTS_APART + number as i64
}

/// The first slot, from `slot` (from 1) on, in which the home reader of `node` reads; `None` if there are no
/// more. A slot is one time that a read is due: the first at the reader's begin, then one every interval.
pub fn home_slot(workload: &Workload, node: NodeId, slot: u64) -> Option<u64> {
    let Some(only) = &workload.only else { return Some(slot) };
    let kept = only.of_home(node);
    kept.get(kept.partition_point(|one| *one < slot)).copied()
}

/// A transaction shows whole lists, which nodes bound (`mcp_manager::limits`): so clients go on to others after so many
/// operations, all clients together, as Elle's generator does (`max-writes-per-key`).
const OPERATIONS_OF_A_LIST: u64 = 64;

/// What an operation of this number works on that falls on this key: among transactions a list that is not too long.
fn fresh(workload: &Workload, key: u32, number: u64) -> u32 {
    if workload.kind != WorkloadKind::Transactions {
        return key;
    }
    let of_each_client = (OPERATIONS_OF_A_LIST / u64::from(workload.clients)).max(1);
    key + workload.keys * ((number - 1) / of_each_client) as u32
}

/// What clients work on in place of this key, so long after the plan's start, as far as their pace is even.
pub fn key_at(workload: &Workload, key: u32, since_start_ns: u64) -> u32 {
    fresh(workload, key, since_start_ns / mean_ns(workload) + 1)
}

fn mean_ns(workload: &Workload) -> u64 {
    u64::from(workload.clients) * 1_000_000_000_000 / workload.rate_per_1000s
}

/// The number of the register that home readers read in a slot.
pub fn home_key(workload: &Workload, slot: u64) -> u32 {
    ((slot - 1) % u64::from(workload.keys)) as u32
}

/// A register's name: `k0` for 0.
pub fn key_name(key: u32) -> String {
    format!("k{key}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Only;

    fn workload() -> Workload {
        crate::testing::plan(7, 3).workload
    }

    #[test]
    fn rate_and_mix_are_as_asked() {
        let workload = workload();
        let operations: Vec<_> =
            (0..10_000).map(|n| operation(3, &workload, 2, n, |_| Some(None)).unwrap()).collect();
        let mean_ns = operations.iter().map(|operation| operation.think_ns).sum::<u64>() / 10_000;
        assert!((48_000_000..52_000_000).contains(&mean_ns), "5 clients at 100/s together: {mean_ns}");
        let count = |holds: fn(&Action) -> bool| {
            operations.iter().filter(|operation| holds(&operation.action)).count()
        };
        assert!((3_800..4_200).contains(&count(|action| matches!(action, Action::Read))));
        assert!((1_800..2_200).contains(&count(|action| matches!(action, Action::Cas { .. }))));
        assert!((4_800..5_200).contains(&operations.iter().filter(|operation| operation.key == 0).count()));
    }

    #[test]
    fn a_hot_key_and_a_skew_take_their_share_and_change_nothing_else() {
        let even = Workload { keys: 4, ..workload() };
        let share = |workload: &Workload, key: u32| {
            (0..10_000).filter(|n| operation(3, workload, 2, *n, |_| None).unwrap().key == key).count()
        };
        let hot = Workload { hot_key_ppm: 600_000, ..even.clone() };
        // 60 % by being hot, and a quarter of the rest.
        assert!((6_800..7_200).contains(&share(&hot, 0)), "{}", share(&hot, 0));
        let skewed = Workload { key_skew: 1, ..even.clone() };
        let shares = [0, 1, 2, 3].map(|key| share(&skewed, key));
        // 12, 6, 4 and 3 parts of 25.
        for (found, wanted) in shares.into_iter().zip([4_800, 2_400, 1_600, 1_200]) {
            assert!(found.abs_diff(wanted) < 200, "{shares:?}");
        }
        for n in 0..100 {
            let plain = operation(3, &even, 2, n, |_| Some(None)).unwrap();
            let other = operation(3, &hot, 2, n, |_| Some(None)).unwrap();
            assert_eq!(Operation { key: 0, ..plain }, Operation { key: 0, ..other });
        }
    }

    #[test]
    fn a_large_value_is_stored_padded_and_one_of_another_size_is_none() {
        let large = Workload { value_bytes: 12, ..workload() };
        let stored = text(&large, 1_000_001);
        assert_eq!((stored.as_str(), number_in(&large, &stored)), ("1000001.....", Some(1_000_001)));
        assert_eq!(number_in(&large, &stored[..11]), None);
        assert_eq!((text(&workload(), 7), number_in(&workload(), "7.")), ("7".into(), None));
    }

    #[test]
    fn a_cas_expects_what_was_seen_or_becomes_a_read() {
        let workload = Workload { read_percent: 0, cas_percent: 100, ..workload() };
        assert_eq!(operation(3, &workload, 1, 4, |_| None).unwrap().action, Action::Read);
        let seen = operation(3, &workload, 1, 4, |_| Some(Some(9))).unwrap().action;
        assert_eq!(seen, Action::Cas { expected: Some(9), new: 1_000_005 });
    }

    #[test]
    fn operations_left_out_take_their_time_and_their_values_with_them() {
        let all = workload();
        let kept = Workload { only: Some(only(&["c2.3", "c2.4", "c2.9", "c1.1", "n1.2"])), ..all.clone() };
        let whole: Vec<_> = (0..9).map(|n| operation(3, &all, 2, n, |_| Some(None)).unwrap()).collect();
        let begins = |number: usize| whole[..number].iter().map(|one| one.think_ns).sum::<u64>();
        let mut begun_ns = 0;
        for (n, number) in [3, 4, 9].into_iter().enumerate() {
            let one = operation(3, &kept, 2, n as u64, |_| Some(None)).unwrap();
            begun_ns += one.think_ns;
            assert_eq!(begun_ns, begins(number));
            assert_eq!(Operation { think_ns: whole[number - 1].think_ns, ..one }, whole[number - 1]);
        }
        assert_eq!(operation(3, &kept, 2, 3, |_| Some(None)), None);
        assert_eq!(operation(3, &kept, 3, 0, |_| Some(None)), None);
    }

    #[test]
    fn home_readers_pass_over_slots_left_out() {
        let kept = Workload { only: Some(only(&["n1.2", "n1.7"])), ..workload() };
        let slots: Vec<_> = [1, 2, 3, 7, 8].into_iter().map(|slot| home_slot(&kept, 1, slot)).collect();
        assert_eq!(slots, [Some(2), Some(2), Some(7), Some(7), None]);
        assert_eq!((home_slot(&kept, 2, 1), home_slot(&workload(), 2, 5)), (None, Some(5)));
        assert_eq!([1, 2, 3].map(|slot| home_key(&kept, slot)), [0, 1, 0]);
    }

    fn only(names: &[&str]) -> Only {
        Only::read("only", names.iter().map(ToString::to_string).collect(), 5, 3).unwrap()
    }
}
