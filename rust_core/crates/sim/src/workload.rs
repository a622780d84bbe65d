//! What clients do: the n-th operation of a client, as a pure function of the plan.
//!
//! The same function drives the clients of both backends, so a plan means the same on each.

use mcp_chaos_evidence::rng::Stream;

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
    /// Time from the beginning of the operation before (for the first: from the plan's start) to this one's,
    /// in nanoseconds. If that one takes longer, this one follows at once.
    pub think_ns: u64,
    /// The register's number: `k0` for 0.
    pub key: u32,
    /// What is done to it.
    pub action: Action,
}

/// The n-th operation (from 0) of a roaming client (from 1). `last_seen(key)` is what this client last saw in
/// that register: `None` if nothing yet, `Some(None)` if it saw that it was never written.
///
/// Draws `4n` to `4n + 2` of the client's stream, whatever they lead to: so one operation never shifts another.
pub fn operation(
    seed: u64,
    workload: &Workload,
    client: u32,
    n: u64,
    last_seen: impl FnOnce(u32) -> Option<Option<i64>>,
) -> Operation {
    let stream = Stream::new(seed, "operation", client.into(), 0);
    let key = stream.between(4 * n + 1, 0, u64::from(workload.keys) - 1) as u32;
    let percent = stream.between(4 * n + 2, 0, 99) as u32;
    let new = value(client, n);
    let action = if percent < workload.read_percent {
        Action::Read
    } else if percent < workload.read_percent + workload.cas_percent {
        last_seen(key).map_or(Action::Read, |expected| Action::Cas { expected, new })
    } else {
        Action::Write(new)
    };
    Operation { think_ns: think_ns(seed, workload, client, n), key, action }
}

/// The think time of [`operation`], which is needed before it is known what the client has seen.
///
/// Even between 0 and twice the mean: the mean gives the workload's rate, and no logarithm is needed.
pub fn think_ns(seed: u64, workload: &Workload, client: u32, n: u64) -> u64 {
    let mean_ns = u64::from(workload.clients) * 1_000_000_000_000 / workload.rate_per_1000s;
    Stream::new(seed, "operation", client.into(), 0).between(4 * n, 0, 2 * mean_ns)
}

/// The value that a client's n-th operation writes, if it writes: unique in the run.
pub fn value(client: u32, n: u64) -> i64 {
    (u64::from(client) * 1_000_000 + n + 1) as i64
}

/// A register's name: `k0` for 0.
pub fn key_name(key: u32) -> String {
    format!("k{key}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload() -> Workload {
        crate::testing::plan(7, 3).workload
    }

    #[test]
    fn rate_and_mix_are_as_asked() {
        let workload = workload();
        let operations: Vec<_> = (0..10_000).map(|n| operation(3, &workload, 2, n, |_| Some(None))).collect();
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
        assert_eq!(operation(3, &workload, 1, 4, |_| None).action, Action::Read);
        let seen = operation(3, &workload, 1, 4, |_| Some(Some(9))).action;
        assert_eq!(seen, Action::Cas { expected: Some(9), new: 1_000_005 });
    }
}
