//! The catalogue of planted bugs: known failures of real systems, chosen by name, that prove the checks find them.
//!
//! One entry below is one bug. The code that carries it asks `plants.has(Plant::…)`, in whatever layer it stands.
//! Without the cargo feature `plants` the answer is a constant `false`, so that a released node carries neither a
//! bug nor its name.

/// The layer in which a planted bug stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The log and the snapshot files.
    Storage,
    /// What is sent to peers, and what is made of what they send.
    Transport,
    /// The state machine, its snapshots, and what is acknowledged.
    Apply,
    /// Reads that do not go through the log.
    Read,
    /// Who belongs to the cluster, and who decides.
    Membership,
}

impl Layer {
    /// In one word, as users read it.
    pub const fn name(self) -> &'static str {
        match self {
            Layer::Storage => "storage",
            Layer::Transport => "transport",
            Layer::Apply => "apply",
            Layer::Read => "read",
            Layer::Membership => "membership",
        }
    }
}

/// A planted bug, as it is listed to users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The bug.
    pub plant: Plant,
    /// The name by which it is chosen.
    pub name: &'static str,
    /// Where it stands.
    pub layer: Layer,
    /// What a node with it does.
    pub about: &'static str,
    /// Where the same failure was published, and the rule that it breaks.
    pub source: &'static str,
}

/// The whole catalogue, ascending by name.
macro_rules! catalogue {
    ($($plant:ident = $name:literal, $layer:ident: $about:literal, $source:literal;)+) => {
        /// A planted bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Plant {
            $(#[doc = concat!("`", $name, "`: ", $about, ". ", $source, ".")] $plant,)+
        }

        /// All that this build carries, ascending by name. Empty without the feature `plants`.
        #[cfg(feature = "plants")]
        pub const PLANTS: &[Entry] = &[
            $(Entry {
                plant: Plant::$plant,
                name: $name,
                layer: Layer::$layer,
                about: $about,
                source: $source,
            },)+
        ];
    };
}

/// All that this build carries, ascending by name. Empty without the feature `plants`.
#[cfg(not(feature = "plants"))]
pub const PLANTS: &[Entry] = &[];

catalogue! {
    AckBeforeCommit = "ack-before-commit", Apply:
        "a write is acknowledged when the leader has appended it to its own log, before any follower has it",
        "Kingsbury, Jepsen: MongoDB (2013), acknowledged writes rolled back after a partition, \
         https://aphyr.com/posts/284-jepsen-mongodb; breaks Ongaro's dissertation §3.5";
    AppendNotSynced = "append-not-synced", Storage:
        "entries are acknowledged once they are written, and not synced: a power loss takes them back",
        "https://github.com/tikv/tikv/issues/994 (the leader counts an append that the follower's crash loses) and \
         https://github.com/camunda/camunda/issues/4160; breaks Ongaro's dissertation §3.8";
    AppliedIndexAhead = "applied-index-ahead", Apply:
        "the index of a whole batch is kept as applied before the last entry's data is: a snapshot misses it",
        "etcd 3.5's data inconsistency, https://github.com/etcd-io/etcd/pull/13967 (postmortem: the consistent \
         index was not saved atomically with the data); breaks Ongaro's dissertation §5.1";
    ChangeNotRolledBack = "change-not-rolled-back", Membership:
        "a node counts by a new configuration as soon as it has appended the change, and goes on to if that entry is \
         removed from its log again",
        "https://github.com/camunda/camunda/issues/57393 (the configuration does not follow when the log is truncated) \
         and https://github.com/canonical/raft/issues/250; breaks Ongaro's dissertation §4.1 (a server falls back to \
         the configuration before it)";
    ConflictingLogKept = "conflicting-log-kept", Storage:
        "a snapshot of the leader's is installed beside the old log, which stays: a restart finds both",
        "https://github.com/databendlabs/openraft/pull/561 and https://github.com/hashicorp/raft/pull/704; breaks \
         Ongaro's dissertation §5.1 (figure 5.3, rule 7)";
    CorruptFrameAccepted = "corrupt-frame-accepted", Storage:
        "the checksum of a log record's body is not looked at when the log is read back: what a torn write left \
         passes for an entry",
        "https://github.com/tikv/raft-engine/pull/319 and https://github.com/valkey-io/valkey/issues/3951; breaks \
         Ongaro's dissertation §3.8";
    FollowerCommitsUnchecked = "follower-commits-unchecked", Transport:
        "a leader's heartbeat carries its whole commit index, also to a follower whose log is not known to match",
        "https://github.com/scylladb/scylladb/issues/9965 and https://github.com/atomix/copycat/issues/265 \
         (followers commit obsolete entries); breaks Ongaro's dissertation §3.5";
    GapAfterSnapshot = "gap-after-snapshot", Storage:
        "a restart resumes the log one entry too far above the snapshot",
        "https://github.com/camunda/camunda/issues/3573 (a gap between snapshot and log that is not noticed); breaks \
         Ongaro's dissertation §5.1";
    LeaderNeverStepsDown = "leader-never-steps-down", Transport:
        "a leader steps down neither for want of a quorum nor when it hears of a higher term",
        "https://github.com/etcd-io/etcd/issues/13527 (a leader that was cut off leads on beside its successor); \
         breaks Ongaro's dissertation §3.3 and §6.2";
    LearnerCounted = "learner-counted", Membership:
        "a learner's acknowledgements and votes count in every majority, as if it were a voter",
        "https://github.com/rabbitmq/ra/pull/427 (a non-voter is part of the quorum); breaks Ongaro's dissertation \
         §4.2.1";
    LeaseEndsEarly = "lease-ends-early", Apply:
        "a lease that was renewed stays in the list of those that end at its old time, and is taken from its holder \
         then",
        "https://github.com/etcd-io/etcd/pull/21389 (a lease is revoked that was renewed meanwhile) and \
         https://github.com/PrefectHQ/prefect/issues/22983 (after it was listed as expired); \
         breaks Ongaro's dissertation §2.1 (the state machine does what its commands say)";
    LeaseRead = "lease-read", Read:
        "a leader answers reads by a lease that it counts in its own ticks, and that outlasts its followers' \
         patience: after a pause, or a cut, it answers while another leads",
        "https://github.com/tikv/tikv/issues/964 (a lease that is `leader && check_quorum`); breaks Ongaro's \
         dissertation §6.4.1";
    LeaseReadDrift = "lease-read-drift", Read:
        "a leader answers reads by a lease that it measures on its own clock, right to the end and after a pause too, \
         but leaves no room for clocks that go at different rates",
        "https://github.com/tikv/tikv/pull/1127 (the lease takes no clock drift into account) and \
         https://github.com/sofastack/sofa-jraft/pull/34; breaks Ongaro's dissertation §6.4.1 (a lease assumes a bound \
         on clock drift)";
    LocalTime = "local-time", Apply:
        "the state machine takes the time from the node's own clock when it applies an entry, not from the entry",
        "https://github.com/databendlabs/databend/pull/7325 and https://github.com/openziti/ziti/issues/4088; \
         breaks Ongaro's dissertation §2.1 (deterministic state machines)";
    LossUnnoticed = "loss-unnoticed", Transport:
        "a node whose disk has lost what it acknowledged does not look for that in what the leader sends, and takes the \
         leader's word for entries that it does not have",
        "https://github.com/tikv/tikv/issues/994 and https://github.com/cockroachdb/cockroach/issues/25173 (the \
         follower comes up with a shorter log, and panics on the leader's commit index); breaks Ongaro's dissertation \
         §3.8";
    MapOrder = "map-order", Apply:
        "of several sessions that are to expire, each entry takes one: the first in the order of a map that is seeded \
         at random at each start",
        "https://github.com/trufnetwork/kwil-db/pull/376 and https://github.com/NibiruChain/nibiru/pull/1414 (state \
         that hangs on the order in which a map is walked); breaks Ongaro's dissertation §2.1 (deterministic state \
         machines)";
    QueueNeverResends = "queue-never-resends", Transport:
        "a snapshot that is lost on its way is not reported as lost: the leader waits for its answer for ever",
        "https://github.com/dgraph-io/dgraph/pull/2707 (a follower in permanent limbo after a crash while it \
         received a snapshot); breaks Ongaro's dissertation §3.3 (calls are retried)";
    ReadBeforeApplied = "read-before-applied", Read:
        "a confirmed read is answered at once from whatever the node has applied, not once its index is",
        "https://github.com/etcd-io/etcd/issues/3879 and https://github.com/RedisLabs/redisraft/pull/326; breaks \
         Ongaro's dissertation §6.4";
    ReadBeforeOwnCommit = "read-before-own-commit", Read:
        "a new leader answers reads, its own and its followers', at the commit index it knows, before an entry of its own \
         term is committed",
        "https://github.com/etcd-io/etcd/issues/7331 and https://github.com/RedisLabs/redisraft/pull/22; breaks \
         Ongaro's dissertation §6.4";
    ReadContextReused = "read-context-reused", Read:
        "ReadIndex contexts begin anew after a restart: an answer meant for an earlier life confirms a later read",
        "https://github.com/tikv/tikv/issues/4764 and https://github.com/etcd-io/etcd/pull/21399; breaks Ongaro's dissertation §6.4";
    RemovedNodeVotes = "removed-node-votes", Membership:
        "a candidate asks nodes for their votes, too, that were removed, and counts them",
        "https://github.com/hashicorp/raft/pull/477 and https://github.com/hashicorp/raft/pull/476 (a removed node is part \
         of the voting nodes); breaks Ongaro's dissertation §3.4 and §4.2.2";
    RetryAppliedTwice = "retry-applied-twice", Apply:
        "a retried request is carried out again",
        "https://github.com/CurvineIO/curvine/issues/676; breaks Ongaro's dissertation §6.3";
    SecondChangePending = "second-change-pending", Membership:
        "a leader proposes a change of the membership while another is under way, or before it has committed an entry of \
         its own term",
        "https://github.com/jgroups-extras/jgroups-raft/issues/38 and https://github.com/AxonIQ/axon-server-se/pull/120 \
         (Ongaro, bug in single-server membership changes, raft-dev, 2015); breaks Ongaro's dissertation §4.1";
    SessionForgotten = "session-forgotten", Apply:
        "a snapshot does not carry what the sessions remember of their last requests",
        "https://github.com/openstack-experimental/keystone/issues/1293 (a snapshot of the data alone); breaks \
         Ongaro's dissertation §6.3";
    SnapshotMissesKey = "snapshot-misses-key", Apply:
        "a snapshot misses the last of several keys",
        "https://github.com/hashicorp/nomad/pull/24412 (a restore that ends early); breaks Ongaro's dissertation §5.1";
    SnapshotNotSynced = "snapshot-not-synced", Storage:
        "a snapshot's file and name are not synced before the log below it is given up",
        "https://github.com/hashicorp/raft/issues/229 and https://github.com/hashicorp/consul/issues/3362; breaks \
         Ongaro's dissertation §5.1";
    StaleRead = "stale-read", Read:
        "a node that believes it leads answers reads from its own state without asking anyone, and does not step \
         down for want of a quorum",
        "Kingsbury, Jepsen: etcd and Consul (2014), https://aphyr.com/posts/316-jepsen-etcd-and-consul; breaks \
         Ongaro's dissertation §6.4";
    SuffixTruncated = "suffix-truncated", Transport:
        "an append that arrives late cuts the log behind its last entry, although nothing in it conflicts",
        "https://github.com/Hoverbear/old-raft-rs/pull/113 (reordered appends); breaks Ongaro's dissertation \
         §3.5 (only a conflict removes what follows)";
    TornTailKept = "torn-tail-kept", Storage:
        "a torn record at the log's end is passed over at the start and not cut: what is appended stands behind it",
        "https://github.com/etcd-io/etcd/issues/5230 and https://github.com/etcd-io/etcd/pull/4930; breaks \
         Ongaro's dissertation §3.8";
    VoteCountedTwice = "vote-counted-twice", Transport:
        "a late answer to a pre-vote is counted as a vote",
        "https://github.com/andreev-io/little-raft/issues/44 (stale answers are counted) and \
         https://github.com/xnnyygn/xraft/issues/27 (repeated ones are); breaks Ongaro's dissertation §3.4";
    VoteNotDurable = "vote-not-durable", Storage:
        "a vote is answered before it is on disk, so that a power loss forgets it and the node votes twice in one term",
        "https://github.com/tikv/tikv/issues/1610; breaks Ongaro's dissertation §3.8, \"Persisted state and server \
         restarts\"";
    WakeUpLost = "wake-up-lost", Transport:
        "once a peer could not be reached, the leader sends it no entries until it answers an append: which it \
         never gets",
        "https://github.com/etcd-io/raft/pull/52 (a follower that was reported unreachable stays in the probing \
         state); breaks Ongaro's dissertation §3.3 (calls are retried)";
    WipedNodeVotes = "wiped-node-votes", Storage:
        "a node that has lost its whole disk is founded once more under its old identity, and takes part and votes as if \
         nothing had happened",
        "https://github.com/lni/dragonboat/issues/256 and https://github.com/baidu/braft/issues/77 (directories are \
         removed, and the node is started as before); breaks Ongaro's dissertation §3.8 (what a server has promised and \
         acknowledged outlives it)";
}

/// The planted bugs that a node runs with. Without the feature `plants` there is only the empty set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plants {
    #[cfg(feature = "plants")]
    bits: u64,
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
    #[error("there is no planted bug {name:?}{} There are: {all}", did_you_mean(.nearest.as_deref()))]
    Unknown {
        /// The name given.
        name: String,
        /// The nearest valid one, if one is near.
        nearest: Option<&'static str>,
        /// All valid ones.
        all: String,
    },
}

#[cfg(feature = "plants")]
impl Plants {
    /// Whether the bug is among them.
    #[inline]
    pub const fn has(self, plant: Plant) -> bool {
        self.bits & 1 << plant as u32 != 0
    }

    /// These and one more.
    #[must_use]
    pub const fn with(self, plant: Plant) -> Plants {
        Plants { bits: self.bits | 1 << plant as u32 }
    }

    /// The names of the set, ascending.
    pub fn names(self) -> Vec<&'static str> {
        PLANTS.iter().filter(|entry| self.has(entry.plant)).map(|entry| entry.name).collect()
    }

    /// The set of planted bugs of these names; a name may stand twice.
    ///
    /// # Errors
    /// If there is no planted bug of such a name.
    pub fn parse<S: AsRef<str>>(names: &[S]) -> Result<Plants, UnknownPlant> {
        names.iter().try_fold(Plants::default(), |plants, name| Ok(plants.with(named(name.as_ref())?)))
    }
}

#[cfg(not(feature = "plants"))]
impl Plants {
    /// Whether the bug is among them: never, in this build.
    #[inline]
    pub const fn has(self, _: Plant) -> bool {
        false
    }

    /// The names of the set: none.
    pub fn names(self) -> Vec<&'static str> {
        Vec::new()
    }

    /// The empty set.
    ///
    /// # Errors
    /// If there is any name: this build carries no planted bug.
    pub fn parse<S: AsRef<str>>(names: &[S]) -> Result<Plants, UnknownPlant> {
        match names.first() {
            Some(name) => Err(UnknownPlant::NotInThisBuild(name.as_ref().to_owned())),
            None => Ok(Plants::default()),
        }
    }
}

#[cfg(feature = "plants")]
fn named(name: &str) -> Result<Plant, UnknownPlant> {
    if let Some(entry) = PLANTS.iter().find(|entry| entry.name == name) {
        return Ok(entry.plant);
    }
    // The beginning of a name is meant for that name, however short it is.
    let distance = |valid: &&str| (!valid.starts_with(name), edit_distance(name, valid));
    let nearest = PLANTS.iter().map(|entry| entry.name).min_by_key(distance).expect("there are plants");
    let is_near = nearest.starts_with(name) || edit_distance(name, nearest) <= name.chars().count() / 2;
    Err(UnknownPlant::Unknown {
        name: name.to_owned(),
        nearest: is_near.then_some(nearest),
        all: PLANTS.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", "),
    })
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(|| ".".to_owned(), |name| format!("; did you mean {name:?}?"))
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
