//! What clients do: the n-th operation of a client, as a pure function of the plan.
//!
//! The same function drives the clients of both backends, so a plan means the same on each.

use mcp_chaos_evidence::{NodeId, rng::Stream};

use crate::plan::Workload;

/// An operation on a register.
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
}

/// One operation of a roaming client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Which of the client's operations it is, from 1, those that the plan leaves out included.
    pub number: u64,
    /// Time from the beginning of the operation before (for the first: from the plan's start) to this one's,
    /// in nanoseconds. If that one takes longer, this one follows at once. Operations that the plan leaves out
    /// take their time all the same: the others begin when they would have begun.
    pub think_ns: u64,
    /// The register's number: `k0` for 0.
    pub key: u32,
    /// What is done to it.
    pub action: Action,
}

/// The n-th operation (from 0) of a roaming client (from 1), of those that the plan does not leave out; `None` if
/// there are no more. `last_seen(key)` is what this client last saw in that register: `None` if nothing yet,
/// `Some(None)` if it saw that it was never written.
///
/// The operation of number `m + 1` takes the draws `4m` to `4m + 2` of the client's stream, whatever they lead to:
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
    let key = stream.between(first_draw + 1, 0, u64::from(workload.keys) - 1) as u32;
    let percent = stream.between(first_draw + 2, 0, 99) as u32;
    let new = value(client, number);
    let action = if percent < workload.read_percent {
        Action::Read
    } else if percent < workload.read_percent + workload.cas_percent {
        last_seen(key).map_or(Action::Read, |expected| Action::Cas { expected, new })
    } else {
        Action::Write(new)
    };
    Some(Operation { number, think_ns: think_ns(seed, workload, client, n)?, key, action })
}

/// The think time of [`operation`], which is needed before it is known what the client has seen.
///
/// Even between 0 and twice the mean: the mean gives the workload's rate, and no logarithm is needed.
pub fn think_ns(seed: u64, workload: &Workload, client: u32, n: u64) -> Option<u64> {
    let last = number(workload, client, n)?;
    let before = n.checked_sub(1).and_then(|n| number(workload, client, n)).unwrap_or(0);
    let mean_ns = u64::from(workload.clients) * 1_000_000_000_000 / workload.rate_per_1000s;
    let stream = stream(seed, client);
    Some((before..last).map(|left_out| stream.between(4 * left_out, 0, 2 * mean_ns)).sum())
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

/// The value that a client's operation of this number (from 1) writes, if it writes: unique in the run.
pub fn value(client: u32, number: u64) -> i64 {
    (u64::from(client) * 1_000_000 + number) as i64
}

/// The first slot, from `slot` (from 1) on, in which the home reader of `node` reads; `None` if there are no
/// more. A slot is one time that a read is due: the first at the reader's begin, then one every interval.
pub fn home_slot(workload: &Workload, node: NodeId, slot: u64) -> Option<u64> {
    let Some(only) = &workload.only else { return Some(slot) };
    let kept = only.of_home(node);
    kept.get(kept.partition_point(|one| *one < slot)).copied()
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
