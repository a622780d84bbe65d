//! The compiled plan: what the simulator carries out, as JSON that `chaos.plan.Plan.compiled` writes.
//!
//! Reading is strict: an unknown key, a missing one, a node outside the cluster or an empty range is an
//! error that names the path (`steps[3].cases.n2.links[0]`). Selectors are already resolved, into one case
//! for each node that may turn out to be the anchor.

mod only;
mod read;

use std::collections::BTreeMap;

use mcp_chaos_evidence::{NodeId, TraceEvent};
use mcp_chaos_wal::Failing;
use serde::Deserialize;

pub use only::Only;

use crate::workload::{Bursts, Windows};

/// The only format this crate reads.
pub const FORMAT: u64 = 1;
/// The most nodes a simulated cluster may have.
pub const MAX_NODES: u64 = 99;
/// The most roaming clients: their process numbers must stay below the home readers' (500, 501, …).
pub const MAX_CLIENTS: u32 = 499;
/// Home readers and other clients of one run are told apart by process number below this; after an unknown
/// outcome a client's number grows by it.
pub const PROCESS_STEP: u64 = 1_000;
/// The process number of node 1's home reader.
pub const FIRST_HOME_PROCESS: u64 = 500;
/// The process number of the first client that is driven by hand: above those of home readers (500 to 598).
pub const FIRST_HAND_PROCESS: u64 = 600;
/// The highest number of an operation that a plan may name: values of one client end where the next one's begin.
pub const MAX_OPERATION: u64 = 1_000_000;
/// The longest duration a plan may name: one virtual day. Sums of a few such times cannot overflow.
pub const MAX_DURATION_NS: u64 = 86_400_000_000_000;
/// The steepest skew of keys.
pub const MAX_KEY_SKEW: u32 = 4;
/// The least size that elements of lists may be given, at most, in bytes: nodes bound what is appended at one moment.
const MAX_ELEMENT_BYTES: u64 = 60 << 10;
/// The same of an element of a list in `transactions`, which read whole lists.
const MAX_ELEMENT_BYTES_OF_MANY: u64 = 64;
/// The largest value that a workload stores, in bytes.
pub const MAX_VALUE_BYTES: u64 = mcp_manager::limits::MAX_VALUE_BYTES as u64;
/// The least time from one burst, or one quiet window, to the next.
pub const MIN_WINDOW_NS: u64 = 10_000_000;
/// How many times as fast clients go in a burst at most.
pub const MAX_BURST_FACTOR: u64 = 1_000;
/// The most by which a drift may change a clock's rate, in parts of a million.
pub const MAX_DRIFT_PPM: i64 = 500_000;
/// The greatest bandwidth of a link, in bytes per second.
pub const MAX_BYTES_PER_S: u64 = 1_000_000_000;
/// The side of clients on a link: node numbers begin at 1.
pub const CLIENTS: NodeId = 0;
/// Pseudo-event of `on` steps: a write to the disk, before it is reported done.
pub const DISK_WRITE: &str = "disk_write";
/// Pseudo-event of `on` steps: a sync of the disk, before it is reported done.
pub const DISK_SYNC: &str = "disk_sync";

/// A plan that cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("compiled plan: {path}: {message}")]
pub struct PlanError {
    /// Where in the plan, such as `steps[3].when.at_ns`.
    pub path: String,
    /// What was found and what was expected.
    pub message: String,
}

impl PlanError {
    pub(crate) fn new(path: impl Into<String>, message: impl ToString) -> PlanError {
        PlanError { path: path.into(), message: message.to_string() }
    }
}

/// One run, in full.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Seed of every draw of the run.
    pub seed: u64,
    /// Number of nodes, named `n1`, `n2`, …, spares included.
    pub nodes: u64,
    /// So many of them, the last ones, begin with an empty disk and are no members.
    pub spares: u64,
    /// Settings of the nodes.
    pub options: Options,
    /// Behaviour of every link.
    pub network: Network,
    /// Behaviour of every disk.
    pub disk: Disk,
    /// What clients do.
    pub workload: Workload,
    /// When the parts of the run end.
    pub timeline: Timeline,
    /// Faults, in order of their ids.
    pub steps: Vec<Step>,
    /// Names of the checks that judge the run.
    pub checks: Vec<String>,
}

/// Settings of the nodes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Nanoseconds from tick to tick.
    pub tick_ns: u64,
    /// Ticks between two heartbeats of a leader.
    pub heartbeat_ticks: u32,
    /// Shortest election timeout in ticks; the longest is twice this.
    pub election_ticks: u32,
    /// Applied entries from one snapshot to the next.
    pub snapshot_every_entries: u64,
    /// Entries kept behind a snapshot for followers that lag a little.
    pub keep_entries: u64,
}

/// Behaviour of every link, clients' links included.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Shortest one-way delay.
    pub latency_min_ns: u64,
    /// Longest one-way delay.
    pub latency_max_ns: u64,
    /// Messages lost, in parts of a million. Links between nodes only: a client's request rides on TCP.
    pub loss_ppm: u32,
}

/// Behaviour of every disk.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Shortest time of a sync.
    pub sync_min_ns: u64,
    /// Longest time of a sync.
    pub sync_max_ns: u64,
}

/// What clients do. See [`crate::workload`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// What they work on, named `k0`, `k1`, ….
    pub kind: WorkloadKind,
    /// Roaming clients.
    pub clients: u32,
    /// Operations that all roaming clients together begin in 1,000 s.
    pub rate_per_1000s: u64,
    /// Registers.
    pub keys: u32,
    /// Share of operations, in parts of a million, that are on the first register whatever else is drawn.
    #[serde(default)]
    pub hot_key_ppm: u32,
    /// How uneven the others are: register n has 1/n^s of the first one's share (Zipf's law). 0: even.
    #[serde(default)]
    pub key_skew: u32,
    /// The least size of a stored value, in bytes.
    #[serde(default)]
    pub value_bytes: u64,
    /// How long a lease lasts unless it is renewed.
    #[serde(default = "usual_lease_ns")]
    pub lease_ns: u64,
    /// When clients go faster.
    #[serde(default)]
    pub bursts: Option<Bursts>,
    /// When they begin nothing.
    #[serde(default)]
    pub quiet: Option<Windows>,
    /// Share of reads, in percent.
    pub read_percent: u32,
    /// Share of compare-and-sets, in percent; the rest are writes.
    pub cas_percent: u32,
    /// One reader more for each node, which asks that node only.
    pub home_readers: bool,
    /// Time from one such read to the next.
    pub home_read_interval_ns: u64,
    /// How long a client waits for an answer before it asks another node.
    pub attempt_timeout_ns: u64,
    /// How long a client goes on trying before it gives an operation up.
    pub operation_timeout_ns: u64,
    /// The operations that are done; `None`: all. Those of the recovery are done always.
    #[serde(skip)]
    pub only: Option<Only>,
}

fn usual_lease_ns() -> u64 {
    2_000_000_000
}

/// The workloads there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkloadKind {
    /// Registers over the versioned settings: read, written, compared and set.
    Registers,
    /// Counters: added to, and read.
    Counters,
    /// Lists: appended to, and read.
    Lists,
    /// MCP servers: registered, looked up, moved from state to state, removed.
    Registry,
    /// Leases: acquired, renewed, given back, and looked at.
    Leases,
    /// Transactions over several lists.
    Transactions,
}

/// When the parts of the run end, counted from the plan's start.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timeline {
    /// Clients begin no operation after this.
    pub workload_ns: u64,
    /// Every fault still in force ends here.
    pub heal_ns: u64,
    /// How long after the heal the cluster may take to agree again.
    pub recovers_within_ns: u64,
    /// The longest time without a successful operation, for the checks. Null: no limit.
    pub unavailable_at_most_ns: Option<u64>,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Number of the step, unique in the plan.
    pub id: u64,
    /// True if the author fixed it: skipping it makes the run unknown.
    pub fixed: bool,
    /// The fault's kind, as the scenario calls it.
    pub kind: String,
    /// When it is due.
    pub when: When,
    /// How long it stays; `None`: until everything is healed.
    pub for_ns: Option<u64>,
    /// What is known only at run time, and selects the case.
    pub anchor: Anchor,
    /// The action for each anchor; under [`Step::ANY`] if there is none.
    pub cases: BTreeMap<NodeId, Action>,
}

impl Plan {
    /// The nodes on which the cluster is founded.
    pub fn founders(&self) -> Vec<NodeId> {
        (1..=self.nodes - self.spares).collect()
    }

    /// Whether any node may become a member, or cease to be one.
    pub fn changes_membership(&self) -> bool {
        let changes = |action: &Action| action.is_errand();
        self.spares > 0 || self.steps.iter().any(|step| step.cases.values().any(changes))
    }
}

impl Step {
    /// The key of the one case of a step without an anchor (`*` in JSON).
    pub const ANY: NodeId = 0;
}

/// When a step is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// So long after the plan's start.
    At {
        /// Nanoseconds.
        at_ns: u64,
    },
    /// At the nth occurrence of an event.
    On {
        /// The event.
        event: Trigger,
        /// Which occurrence, from 1, over the whole run.
        nth: u64,
        /// Only this node's events count; `None`: all nodes'.
        node: Option<NodeId>,
    },
}

/// What an `on` step waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A trace event of this name.
    Trace(&'static str),
    /// A write to the disk.
    DiskWrite,
    /// A sync of the disk.
    DiskSync,
    /// A node sends something, of which no trace record tells.
    Sends(Sent),
}

impl Trigger {
    /// The event's name, as it stands in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Trigger::Trace(name) => name,
            Trigger::DiskWrite => DISK_WRITE,
            Trigger::DiskSync => DISK_SYNC,
            Trigger::Sends(sent) => sent.name(),
        }
    }
}

/// What a node sends: the event happens when its link takes it, so that a step strikes before it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// A leader sends entries to a follower.
    Append,
    /// A leader sends a snapshot to a follower.
    Snapshot,
    /// A candidate asks one voter for its vote.
    VoteRequest,
    /// A leader tells a follower up to where its read must be applied (ReadIndex, Ongaro's dissertation §6.4).
    ReadIndex,
    /// A node answers a client's read.
    ReadAnswer,
    /// A node answers a client's write.
    WriteAnswer,
}

impl Sent {
    /// All there are.
    pub const ALL: [Sent; 6] = [
        Sent::Append,
        Sent::Snapshot,
        Sent::VoteRequest,
        Sent::ReadIndex,
        Sent::ReadAnswer,
        Sent::WriteAnswer,
    ];

    /// The event's name, as it stands in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Sent::Append => "append_sent",
            Sent::Snapshot => "snapshot_sent",
            Sent::VoteRequest => "vote_requested",
            Sent::ReadIndex => "read_confirmed",
            Sent::ReadAnswer => "read_answered",
            Sent::WriteAnswer => "write_answered",
        }
    }
}

/// What is known only when a step is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Anchor {
    /// Nothing: one case.
    None,
    /// Who leads.
    Leader,
    /// Where the event happened.
    Event,
}

/// What is done, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing passes these directed links.
    Cut {
        /// Nodes meant, for the record.
        nodes: Vec<NodeId>,
        /// Links from, to; [`CLIENTS`] for the side of the clients.
        links: Vec<(NodeId, NodeId)>,
    },
    /// Something happens to messages on these directed links.
    Disturb {
        /// Nodes meant, for the record.
        nodes: Vec<NodeId>,
        /// Links from, to.
        links: Vec<(NodeId, NodeId)>,
        /// What.
        by: Disturbance,
    },
    /// The connections on these directed links break.
    Reset {
        /// Nodes meant, for the record.
        nodes: Vec<NodeId>,
        /// Links from, to.
        links: Vec<(NodeId, NodeId)>,
    },
    /// The processes take longer over something.
    Slow {
        /// Whose.
        nodes: Vec<NodeId>,
        /// Over what.
        what: Slow,
        /// The least that is added.
        delay_min_ns: u64,
        /// The most that is added.
        delay_max_ns: u64,
    },
    /// The disks fail; a node that cannot go on is started again when they are well.
    FailDisk {
        /// Whose.
        nodes: Vec<NodeId>,
        /// At what.
        failing: Failing,
    },
    /// Something happens to the clocks.
    Clock {
        /// Whose.
        nodes: Vec<NodeId>,
        /// What.
        what: ClockFault,
    },
    /// The disks report syncs done, and do nothing: beyond Raft's model.
    Lie(Vec<NodeId>),
    /// One bit on each disk flips: beyond Raft's model.
    Corrupt {
        /// Whose.
        nodes: Vec<NodeId>,
        /// In which files.
        part: Part,
    },
    /// The processes die, their disks are empty, and they are started at once: beyond Raft's model.
    Wipe(Vec<NodeId>),
    /// The processes die; what they wrote survives.
    Kill(Vec<NodeId>),
    /// The machines lose power; what was not synced is lost or torn.
    PowerOff(Vec<NodeId>),
    /// The processes are stopped as by SIGSTOP.
    Pause(Vec<NodeId>),
    /// The processes die and are started at once.
    Restart(Vec<NodeId>),
    /// The leader is told to hand over to this node.
    TransferLeader(NodeId),
    /// An administrator makes a spare a member. In a record it stands here.
    AddNode(Vec<NodeId>),
    /// An administrator removes the node from the cluster.
    RemoveNode(NodeId),
    /// The machine is gone for good; an administrator has a spare take its place. In a record it stands behind.
    ReplaceNode(Vec<NodeId>),
    /// The nodes make a snapshot now, and cut their logs behind it.
    SnapshotNow(Vec<NodeId>),
}

/// What happens to single messages on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// Each takes longer, by a drawn time.
    Latency {
        /// The least that is added.
        min_ns: u64,
        /// The most that is added.
        max_ns: u64,
    },
    /// A share is lost.
    Drop {
        /// In parts of a million.
        share_ppm: u32,
    },
    /// A share arrives twice.
    Duplicate {
        /// In parts of a million.
        share_ppm: u32,
        /// The copy comes so long after its original at most.
        within_ns: u64,
    },
    /// A share is held back, and may be overtaken.
    Reorder {
        /// In parts of a million.
        share_ppm: u32,
        /// For so long at most.
        within_ns: u64,
    },
    /// So many bytes fit through in a second; the others wait their turn.
    Bandwidth {
        /// At least 1.
        bytes_per_s: u64,
    },
}

impl Disturbance {
    /// The action's name in a compiled plan; draws are made under it, too.
    pub fn name(self) -> &'static str {
        match self {
            Disturbance::Latency { .. } => "latency",
            Disturbance::Drop { .. } => "drop",
            Disturbance::Duplicate { .. } => "duplicate",
            Disturbance::Reorder { .. } => "reorder",
            Disturbance::Bandwidth { .. } => "bandwidth",
        }
    }
}

/// Which of a node's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Any of them.
    Any,
    /// Segments of the log.
    Log,
    /// Snapshots.
    Snapshot,
}

/// What happens to a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockFault {
    /// The time of day is ahead by so much, or behind if it is negative, while this stands.
    Offset {
        /// In nanoseconds.
        ahead_ns: i64,
    },
    /// Both clocks go too fast by this share, or too slowly if it is negative.
    Drift {
        /// In parts of a million.
        fast_ppm: i64,
    },
    /// The time of day jumps once, forward or back.
    Jump {
        /// In nanoseconds.
        ahead_ns: i64,
    },
}

/// What a process takes longer over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slow {
    /// Each input that it handles.
    Node,
    /// Each write to its disk, and each sync.
    Disk,
    /// Each sync.
    Sync,
}

impl Slow {
    /// The action's name in a compiled plan; draws are made under it, too.
    pub fn name(self) -> &'static str {
        match self {
            Slow::Node => "slow_node",
            Slow::Disk => "slow_disk",
            Slow::Sync => "slow_sync",
        }
    }
}

impl Action {
    /// Whether it changes the membership, which takes an administrator a while.
    pub fn is_errand(&self) -> bool {
        matches!(self, Action::AddNode(_) | Action::RemoveNode(_) | Action::ReplaceNode(_))
    }

    /// The nodes it names.
    pub fn nodes(&self) -> &[NodeId] {
        match self {
            Action::Cut { nodes, .. }
            | Action::Disturb { nodes, .. }
            | Action::Reset { nodes, .. }
            | Action::Slow { nodes, .. }
            | Action::FailDisk { nodes, .. }
            | Action::Clock { nodes, .. }
            | Action::Corrupt { nodes, .. } => nodes,
            Action::Lie(nodes)
            | Action::Wipe(nodes)
            | Action::Kill(nodes)
            | Action::PowerOff(nodes)
            | Action::Pause(nodes)
            | Action::Restart(nodes) => nodes,
            Action::AddNode(nodes) | Action::ReplaceNode(nodes) | Action::SnapshotNow(nodes) => nodes,
            Action::TransferLeader(node) | Action::RemoveNode(node) => std::slice::from_ref(node),
        }
    }

    /// The directed links it names.
    pub fn links(&self) -> &[(NodeId, NodeId)] {
        match self {
            Action::Cut { links, .. } | Action::Disturb { links, .. } | Action::Reset { links, .. } => links,
            _ => &[],
        }
    }
}

/// Names of the trace events that an `on` step may wait for, as they stand in JSON.
pub const EVENTS: [&str; 14] = [
    "started",
    "initialized",
    "role_changed",
    "vote_cast",
    "appended",
    "truncated",
    "committed",
    "applied",
    "snapshot_made",
    "snapshot_installed",
    "config_changed",
    "stopped",
    "panicked",
    "refused",
];

/// The position of an event's name in [`EVENTS`]: counters are kept by it.
pub(crate) fn event_number(event: &TraceEvent) -> usize {
    match event {
        TraceEvent::Started { .. } => 0,
        TraceEvent::Initialized { .. } => 1,
        TraceEvent::RoleChanged { .. } => 2,
        TraceEvent::VoteCast { .. } => 3,
        TraceEvent::Appended { .. } => 4,
        TraceEvent::Truncated { .. } => 5,
        TraceEvent::Committed { .. } => 6,
        TraceEvent::Applied { .. } => 7,
        TraceEvent::SnapshotMade { .. } => 8,
        TraceEvent::SnapshotInstalled { .. } => 9,
        TraceEvent::ConfigChanged { .. } => 10,
        TraceEvent::Stopped { .. } => 11,
        TraceEvent::Panicked { .. } => 12,
        TraceEvent::Refused { .. } => 13,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_names_and_numbers_agree() {
        let events = [
            TraceEvent::Stopped { reason: String::new() },
            TraceEvent::Committed { index: 1 },
            TraceEvent::Panicked { message: String::new() },
            TraceEvent::Refused { reason: String::new() },
        ];
        for event in events {
            assert_eq!(EVENTS[event_number(&event)], event.name());
        }
    }
}
