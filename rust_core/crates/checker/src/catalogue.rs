//! Which checks there are, and what each needs.

use serde::{Serialize, Serializer};

/// A check, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // `CHECKS` says what each is about.
pub enum Check {
    Linearizable,
    ElectionSafety,
    LogMatching,
    LeaderCompleteness,
    StateMachineSafety,
    CommittedNeverChanges,
    Monotonic,
    Durable,
    Recovers,
    Available,
    NoPanic,
}

/// A kind of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// What clients saw.
    History,
    /// What nodes did.
    Trace,
    /// What was done to the cluster.
    Nemesis,
}

/// What a user should know of a check.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CheckInfo {
    /// The check itself; serialized, its name.
    #[serde(skip)]
    pub check: Check,
    /// The name by which scenarios ask for it.
    pub name: &'static str,
    /// What it holds a system to, in one sentence.
    pub about: &'static str,
    /// Where the property is defined.
    pub section: &'static str,
    /// What it judges from.
    pub needs: &'static [Need],
    /// The name by which several checks are asked for together, if it belongs to such a group.
    pub group: Option<&'static str>,
}

const RAFT: Option<&str> = Some("raft");

/// Every check there is.
pub const CHECKS: &[CheckInfo] = &[
    CheckInfo {
        check: Check::Linearizable,
        name: "linearizable",
        about: "Each operation seems to take effect at one instant between its invocation and its answer.",
        section: "Herlihy and Wing, Linearizability: a correctness condition for concurrent objects (1990), §2",
        needs: &[Need::History],
        group: None,
    },
    CheckInfo {
        check: Check::ElectionSafety,
        name: "election_safety",
        about: "At most one leader is elected in a given term.",
        section: "Ongaro, Consensus: bridging theory and practice (2014), §3.2, figure 3.2",
        needs: &[Need::Trace],
        group: RAFT,
    },
    CheckInfo {
        check: Check::LogMatching,
        name: "log_matching",
        about: "Entries of the same index and term are the same entry, and all entries before them are the same.",
        section: "Ongaro, Consensus: bridging theory and practice (2014), §3.2, figure 3.2; §3.5",
        needs: &[Need::Trace],
        group: RAFT,
    },
    CheckInfo {
        check: Check::LeaderCompleteness,
        name: "leader_completeness",
        about: "An entry committed in a term is in the log of every leader of a later term when it is elected.",
        section: "Ongaro, Consensus: bridging theory and practice (2014), §3.2, figure 3.2; §3.6",
        needs: &[Need::Trace],
        group: RAFT,
    },
    CheckInfo {
        check: Check::StateMachineSafety,
        name: "state_machine_safety",
        about: "No two nodes apply a different entry, or reach a different state, at the same index.",
        section: "Ongaro, Consensus: bridging theory and practice (2014), §3.2, figure 3.2; §3.6.3",
        needs: &[Need::Trace],
        group: RAFT,
    },
    CheckInfo {
        check: Check::CommittedNeverChanges,
        name: "committed_never_changes",
        about: "An index once committed is never committed with another entry, nor removed from the node's log.",
        section: "Ongaro, Consensus: bridging theory and practice (2014), §3.5, §3.6.2",
        needs: &[Need::Trace],
        group: RAFT,
    },
    CheckInfo {
        check: Check::Monotonic,
        name: "monotonic",
        about: "Term and vote never go back over a node's whole life, commit and applied index never within a boot.",
        section: "Ongaro, Consensus: bridging theory and practice (2014), §3.3, figure 3.1; §3.8",
        needs: &[Need::Trace],
        group: RAFT,
    },
    CheckInfo {
        check: Check::Durable,
        name: "durable",
        about: "Every acknowledged operation was applied exactly once, at its index, on every node; none from nowhere.",
        section: "Ongaro, Consensus: bridging theory and practice (2014), §3.8, §6.3",
        needs: &[Need::History, Need::Trace],
        group: None,
    },
    CheckInfo {
        check: Check::Recovers,
        name: "recovers",
        about: "After the heal the cluster has one leader, equal states, and serves every client again, in time.",
        section: "Ongaro, Consensus: bridging theory and practice (2014), §3.4, §3.9",
        needs: &[Need::History, Need::Trace, Need::Nemesis],
        group: None,
    },
    CheckInfo {
        check: Check::Available,
        name: "available",
        about: "Clients that may turn to any node are never without a success for longer than the limit.",
        section: "Ongaro, Consensus: bridging theory and practice (2014), §2.1, §3.9",
        needs: &[Need::History],
        group: None,
    },
    CheckInfo {
        check: Check::NoPanic,
        name: "no_panic",
        about: "No node panics, refuses its own data, or ends without having been killed.",
        section: "mcp-chaos, the fault model in ARCHITECTURE.md",
        needs: &[Need::Trace, Need::Nemesis],
        group: None,
    },
];

impl Check {
    /// What there is to know of this check.
    pub fn info(self) -> &'static CheckInfo {
        CHECKS.iter().find(|info| info.check == self).expect("every check is listed in CHECKS")
    }

    /// The name by which scenarios ask for it.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// The checks that a name stands for: one check, or a group such as `raft`. Empty if there are none.
    pub fn named(name: &str) -> Vec<Check> {
        CHECKS
            .iter()
            .filter(|info| info.name == name || info.group == Some(name))
            .map(|info| info.check)
            .collect()
    }
}

impl Serialize for Check {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_groups_resolve() {
        for info in CHECKS {
            assert_eq!(Check::named(info.name), [info.check]);
        }
        assert_eq!(Check::named("raft").len(), 6);
        assert!(Check::named("no such check").is_empty());
    }
}
