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
    Progresses,
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
    /// The shapes of its violations (docs/checks.md, "Signatures"). One that ends in `-` is followed by words of
    /// the node's own.
    #[serde(skip)]
    pub shapes: &'static [&'static str],
}

const RAFT: Option<&str> = Some("raft");

/// What may have become of a committed entry.
const REPLACED: &[&str] = &[
    "came-up-empty",
    "forgotten-at-restart",
    "entry-changed-at-restart",
    "truncated",
    "hidden-by-older-snapshot",
    "committed-without-quorum",
    "elected-without-it",
];

/// Every check there is.
pub const CHECKS: &[CheckInfo] = &[
    CheckInfo {
        check: Check::Linearizable,
        name: "linearizable",
        about: "Each operation seems to take effect at one instant between its invocation and its answer.",
        section: "Herlihy and Wing, Linearizability: a correctness condition for concurrent objects (1990), §2",
        needs: &[Need::History],
        group: None,
        shapes: &[
            "acknowledged-before-applied",
            "applied-twice",
            "lost-write",
            "stale-read-from-deposed-leader",
            "stale-read-from-new-leader",
            "stale-read-from-leader",
            "stale-read-from-follower",
            "value-from-nowhere",
            "failed-write-took-effect",
            "value-from-the-future",
            "overwritten-value",
            "no-order",
            // Of transactions: the names of the literature.
            "garbage-read",
            "duplicate-elements",
            "incompatible-order",
            "internal",
            "g0",
            "dirty-update",
            "g1a",
            "g1b",
            "g1c",
            "lost-update",
            "g-single",
            "g2",
            "g0-realtime",
            "g1c-realtime",
            "g-single-realtime",
            "g2-realtime",
        ],
    },
    CheckInfo {
        check: Check::ElectionSafety,
        name: "election_safety",
        about: "At most one leader is elected in a given term.",
        section: "Ongaro, Consensus: bridging theory and practice (2014), §3.2, figure 3.2",
        needs: &[Need::Trace],
        group: RAFT,
        shapes: &[
            "voted-twice",
            "elected-without-quorum",
            "configuration-too-early",
            "change-too-early",
            "two-leaders",
        ],
    },
    CheckInfo {
        check: Check::LogMatching,
        name: "log_matching",
        about: "Entries of the same index and term are the same entry, and all entries before them are the same.",
        section: "Ongaro, Consensus: bridging theory and practice (2014), §3.2, figure 3.2; §3.5",
        needs: &[Need::Trace],
        group: RAFT,
        shapes: &["hole", "term-decreases", "entry-changed-at-restart", "entries-differ", "prefixes-differ"],
    },
    CheckInfo {
        check: Check::LeaderCompleteness,
        name: "leader_completeness",
        about: "An entry committed in a term is in the log of every leader of a later term when it is elected.",
        section: "Ongaro, Consensus: bridging theory and practice (2014), §3.2, figure 3.2; §3.6",
        needs: &[Need::Trace],
        group: RAFT,
        shapes: REPLACED,
    },
    CheckInfo {
        check: Check::StateMachineSafety,
        name: "state_machine_safety",
        about: "No two nodes apply a different entry, or reach a different state, at the same index.",
        section: "Ongaro, Consensus: bridging theory and practice (2014), §3.2, figure 3.2; §3.6.3",
        needs: &[Need::Trace],
        group: RAFT,
        shapes: &[
            "entry-skipped",
            "not-as-logged",
            "terms-differ",
            "entries-differ",
            "requests-differ",
            "duplicates-differ",
            "states-differ",
            "snapshot-differs",
            "snapshot-differs-at-restart",
            "snapshot-differs-when-installed",
            "snapshot-differs-when-made",
        ],
    },
    CheckInfo {
        check: Check::CommittedNeverChanges,
        name: "committed_never_changes",
        about: "An index once committed is never committed with another entry, nor removed from the node's log.",
        section: "Ongaro, Consensus: bridging theory and practice (2014), §3.5, §3.6.2",
        needs: &[Need::Trace],
        group: RAFT,
        shapes: &[
            "came-up-empty",
            "forgotten-at-restart",
            "entry-changed-at-restart",
            "truncated",
            "hidden-by-older-snapshot",
            "committed-without-quorum",
            "elected-without-it",
            "rewritten",
            "beyond-own-log",
        ],
    },
    CheckInfo {
        check: Check::Monotonic,
        name: "monotonic",
        about: "Term and vote never go back over a node's whole life, commit and applied index never within a boot.",
        section: "Ongaro, Consensus: bridging theory and practice (2014), §3.3, figure 3.1; §3.8",
        needs: &[Need::Trace],
        group: RAFT,
        shapes: &[
            "boot-went-back",
            "came-up-empty",
            "vote-forgotten",
            "term-forgotten",
            "term-went-back",
            "voted-twice",
            "commit-went-back",
            "applied-went-back",
            "applied-beyond-commit",
        ],
    },
    CheckInfo {
        check: Check::Durable,
        name: "durable",
        about: "Every acknowledged operation was applied exactly once, at its index, on every node; none from nowhere.",
        section: "Ongaro, Consensus: bridging theory and practice (2014), §3.8, §6.3",
        needs: &[Need::History, Need::Trace],
        group: None,
        shapes: &[
            "acknowledged-before-applied",
            "acknowledged-twice-at-one-index",
            "applied-twice",
            "from-nowhere",
            "lost",
            "missing-on-a-node",
        ],
    },
    CheckInfo {
        check: Check::Recovers,
        name: "recovers",
        about: "After the heal the cluster has one leader, equal states, and serves every client again, in time.",
        section: "Ongaro, Consensus: bridging theory and practice (2014), §3.4, §3.9",
        needs: &[Need::History, Need::Trace, Need::Nemesis],
        group: None,
        shapes: &[
            "no-leader",
            "two-leaders",
            "node-behind",
            "states-differ",
            "no-success",
            "late",
            "no-final-write",
            "no-home-read",
        ],
    },
    CheckInfo {
        check: Check::Progresses,
        name: "progresses",
        about: "While a majority can go on, whatever faults stand, writes and reads go on succeeding, in time.",
        section: "Ongaro, Consensus: bridging theory and practice (2014), §2.1, §6.2, §9.6; Ng, Haridi and Carbone, \
                  Omni-Paxos (EuroSys 2023), §2",
        needs: &[Need::History, Need::Trace, Need::Nemesis],
        group: None,
        shapes: &[
            "no-leader",
            "leaders-change",
            "leader-without-quorum",
            "nothing-committed",
            "nothing-answered",
            "reads-unanswered",
            "change-without-end",
        ],
    },
    CheckInfo {
        check: Check::Available,
        name: "available",
        about: "Clients that may turn to any node are never without a success for longer than the limit.",
        section: "Ongaro, Consensus: bridging theory and practice (2014), §2.1, §3.9",
        needs: &[Need::History],
        group: None,
        shapes: &["no-success", "gap"],
    },
    CheckInfo {
        check: Check::NoPanic,
        name: "no_panic",
        about: "No node panics, refuses its own data, or ends without having been killed.",
        section: "mcp-chaos, the fault model in ARCHITECTURE.md",
        needs: &[Need::Trace, Need::Nemesis],
        group: None,
        shapes: &["panicked-", "refused-", "stopped-", "crashed"],
    },
];

impl Check {
    /// What there is to know of this check.
    pub fn info(self) -> &'static CheckInfo {
        CHECKS.iter().find(|info| info.check == self).expect("every check is listed in CHECKS")
    }

    /// Whether this is one of the check's shapes.
    pub fn has_shape(self, shape: &str) -> bool {
        let is_it = |known: &&str| match known.strip_suffix('-') {
            Some(word) => {
                shape.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            }
            None => **known == *shape,
        };
        self.info().shapes.iter().any(is_it)
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
    fn every_shape_is_documented() {
        let document = include_str!("../../../../docs/checks.md");
        for info in CHECKS {
            let row = document.lines().find(|line| {
                line.starts_with(&format!("| `{}` |", info.name))
                    && line.contains(&format!("`{}", info.shapes[0]))
            });
            let row =
                row.unwrap_or_else(|| panic!("docs/checks.md, \"Signatures\": no row for {}", info.name));
            for shape in info.shapes {
                assert!(row.contains(&format!("`{shape}")), "{}: {shape}", info.name);
            }
        }
    }

    #[test]
    fn names_and_groups_resolve() {
        for info in CHECKS {
            assert_eq!(Check::named(info.name), [info.check]);
        }
        assert_eq!(Check::named("raft").len(), 6);
        assert!(Check::Available.has_shape("gap") && !Check::Available.has_shape("gaps"));
        assert!(Check::NoPanic.has_shape("panicked-to-commit") && !Check::NoPanic.has_shape("panickedto"));
        assert!(Check::named("no such check").is_empty());
    }
}
