//! Planted bugs: known failures of real systems, chosen by name, that prove the checks find them.
//!
//! They exist only under the cargo feature `plants`; a released node carries none.

/// A planted bug, as it is listed to users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plant {
    /// The name by which it is chosen.
    pub name: &'static str,
    /// What a node with it does.
    pub about: &'static str,
    /// Where the same failure was published, or the rule it breaks.
    pub source: &'static str,
}

/// All that this build carries, by name. Empty without the feature `plants`.
#[cfg(feature = "plants")]
pub const PLANTS: &[Plant] = &[
    Plant {
        name: "ack-before-commit",
        about: "a write is acknowledged when the leader has appended it to its own log, before any follower \
                has it",
        source: "Kingsbury, Jepsen: MongoDB (2013), acknowledged writes rolled back after a partition, \
                 https://aphyr.com/posts/284-jepsen-mongodb; breaks Ongaro's dissertation §3.5",
    },
    Plant {
        name: "stale-read",
        about: "a node that believes it leads answers reads from its own state without asking anyone, and \
                does not step down for want of a quorum",
        source: "Kingsbury, Jepsen: etcd and Consul (2014), https://aphyr.com/posts/316-jepsen-etcd-and-consul; \
                 breaks Ongaro's dissertation §6.4",
    },
    Plant {
        name: "vote-not-durable",
        about: "a vote is answered before it is on disk, so that a power loss forgets it and the node votes \
                twice in one term",
        source: "breaks Ongaro's dissertation §3.8, \"Persisted state and server restarts\"",
    },
];
/// All that this build carries, by name. Empty without the feature `plants`.
#[cfg(not(feature = "plants"))]
pub const PLANTS: &[Plant] = &[];

/// The planted bugs that a node runs with. Without the feature `plants` there is only the empty set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plants {
    /// `ack-before-commit`.
    #[cfg(feature = "plants")]
    pub ack_before_commit: bool,
    /// `stale-read`.
    #[cfg(feature = "plants")]
    pub stale_read: bool,
    /// `vote-not-durable`.
    #[cfg(feature = "plants")]
    pub vote_not_durable: bool,
}

/// A name that is no planted bug of this build.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownPlant {
    /// The build carries none at all.
    #[error(
        "planted bug {0:?}: this build carries none; build one that does with \
         `cargo build --release --manifest-path rust_core/Cargo.toml -p mcp-manager-node --features plants`"
    )]
    NotInThisBuild(String),
    /// The name is wrong.
    #[error("there is no planted bug {name:?}; did you mean {nearest:?}? There are: {all}")]
    Unknown {
        /// The name given.
        name: String,
        /// The nearest valid one.
        nearest: &'static str,
        /// All valid ones.
        all: String,
    },
}

impl Plants {
    /// The set of planted bugs of these names; a name may stand twice.
    pub fn parse<S: AsRef<str>>(names: &[S]) -> Result<Plants, UnknownPlant> {
        let mut plants = Plants::default();
        for name in names {
            plants.add(name.as_ref())?;
        }
        Ok(plants)
    }

    #[cfg(feature = "plants")]
    fn add(&mut self, name: &str) -> Result<(), UnknownPlant> {
        match name {
            "ack-before-commit" => self.ack_before_commit = true,
            "stale-read" => self.stale_read = true,
            "vote-not-durable" => self.vote_not_durable = true,
            _ => {
                // The beginning of a name is meant for that name, however short it is.
                let distance = |valid: &&str| (!valid.starts_with(name), edit_distance(name, valid));
                let nearest = PLANTS.iter().map(|plant| plant.name).min_by_key(distance);
                return Err(UnknownPlant::Unknown {
                    name: name.to_owned(),
                    nearest: nearest.expect("there are plants"),
                    all: PLANTS.iter().map(|plant| plant.name).collect::<Vec<_>>().join(", "),
                });
            }
        }
        Ok(())
    }

    #[cfg(not(feature = "plants"))]
    fn add(&mut self, name: &str) -> Result<(), UnknownPlant> {
        Err(UnknownPlant::NotInThisBuild(name.to_owned()))
    }

    /// The names of the set, ascending.
    pub fn names(&self) -> Vec<&'static str> {
        #[cfg(feature = "plants")]
        let chosen = [
            (self.ack_before_commit, "ack-before-commit"),
            (self.stale_read, "stale-read"),
            (self.vote_not_durable, "vote-not-durable"),
        ];
        #[cfg(not(feature = "plants"))]
        let chosen: [(bool, &'static str); 0] = [];
        chosen.into_iter().filter_map(|(is_chosen, name)| is_chosen.then_some(name)).collect()
    }

    /// The half that lives in the consensus layer.
    #[cfg(feature = "plants")]
    pub(crate) fn of_consensus(&self) -> mcp_chaos_consensus::Plants {
        mcp_chaos_consensus::Plants { vote_not_durable: self.vote_not_durable, stale_read: self.stale_read }
    }

    /// The half that lives in the consensus layer.
    #[cfg(not(feature = "plants"))]
    pub(crate) fn of_consensus(&self) -> mcp_chaos_consensus::Plants {
        mcp_chaos_consensus::Plants::default()
    }
}

/// How many characters must be inserted, removed or replaced to turn one into the other (Levenshtein 1965).
#[cfg(feature = "plants")]
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
