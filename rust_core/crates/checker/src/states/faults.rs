//! Which faults are in force, and how they hit each node, without their amounts.

use mcp_chaos_evidence::{NemesisRecord, NodeId, Phase, parse_node_name};

/// A fault in force.
struct Fault {
    step: Option<u64>,
    kind: Kind,
    nodes: Vec<NodeId>,
    /// Ends of directed links; none: the clients' side.
    links: Vec<(Option<NodeId>, Option<NodeId>)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pause,
    Cut,
    SlowLinks,
    LossyLinks,
    SlowMachine,
    SlowDisk,
    FailingDisk,
    LyingDisk,
    Clock,
}

/// Those that a node suffers or does not: each has a bit in [`Hit::suffers`].
const SUFFERED: [Kind; 7] = [
    Kind::SlowLinks,
    Kind::LossyLinks,
    Kind::SlowMachine,
    Kind::SlowDisk,
    Kind::FailingDisk,
    Kind::LyingDisk,
    Kind::Clock,
];

/// How many values [`Hit::suffers`] can have.
pub(super) const SUFFERINGS: u64 = 1 << SUFFERED.len();

impl Kind {
    /// None for what takes nodes down, for what leaves nothing behind, and for an administrator's doings.
    fn of(kind: &str) -> Option<Kind> {
        Some(match kind {
            "pause" => Kind::Pause,
            "partition" | "one_way" => Kind::Cut,
            "latency" | "bandwidth" => Kind::SlowLinks,
            "drop" | "duplicate" | "reorder" => Kind::LossyLinks,
            "slow_node" => Kind::SlowMachine,
            "slow_disk" | "slow_sync" => Kind::SlowDisk,
            "full_disk" | "disk_error" => Kind::FailingDisk,
            "lying_fsync" | "corrupt" => Kind::LyingDisk,
            "clock_offset" | "clock_jump" | "clock_drift" => Kind::Clock,
            _ => return None,
        })
    }
}

/// The nodes whose processes a fault took down: until they say that they have started.
pub(super) fn taken_down(record: &NemesisRecord) -> &[NodeId] {
    match record.kind.as_str() {
        "kill" | "power_off" | "restart" | "wiped" => &record.nodes,
        // The other one takes its place.
        "replace_node" => &record.nodes[..record.nodes.len().min(1)],
        _ => &[],
    }
}

/// Whether what a fault did stays after the step is over: until everything is healed.
fn stays(kind: &str) -> bool {
    matches!(kind, "clock_jump" | "corrupt")
}

/// What the faults in force do to one node.
#[derive(Clone, Copy, Default)]
pub(super) struct Hit {
    pub(super) is_paused: bool,
    /// How many nodes it cannot send to, and how many cannot send to it.
    pub(super) cut: [u64; 2],
    pub(super) cut_from_clients: bool,
    /// Which of [`SUFFERED`] hit it, or one of its links: a bit each.
    pub(super) suffers: u64,
}

/// All that are in force.
#[derive(Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    /// A step's fault took hold or ended, as recorded.
    pub(super) fn note(&mut self, record: &NemesisRecord) {
        match record.phase {
            Phase::Install => {
                let Some(kind) = Kind::of(&record.kind) else { return };
                let end = |name: &String| parse_node_name(name);
                let links = record.links.iter().map(|(from, to)| (end(from), end(to))).collect();
                self.0.push(Fault { step: record.step, kind, nodes: record.nodes.clone(), links });
            }
            Phase::Heal if stays(&record.kind) => {}
            Phase::Heal => self.0.retain(|fault| fault.step != record.step),
            Phase::AllHealed => self.0.clear(),
        }
    }

    /// What they do to this one of all nodes.
    pub(super) fn on(&self, id: NodeId, all: &[NodeId]) -> Hit {
        let of = |kind| self.0.iter().filter(move |fault| fault.kind == kind);
        let links = || of(Kind::Cut).flat_map(|fault| &fault.links);
        let others = |cut: &dyn Fn(NodeId) -> (Option<NodeId>, Option<NodeId>)| {
            all.iter().filter(|other| links().any(|link| *link == cut(**other))).count() as u64
        };
        let hits = |fault: &Fault| {
            fault.nodes.contains(&id) || fault.links.iter().any(|(from, to)| [*from, *to].contains(&Some(id)))
        };
        let bit = |(at, kind): (usize, &Kind)| u64::from(of(*kind).any(hits)) << at;
        Hit {
            is_paused: of(Kind::Pause).any(|fault| fault.nodes.contains(&id)),
            cut: [others(&|other| (Some(id), Some(other))), others(&|other| (Some(other), Some(id)))],
            cut_from_clients: links().any(|link| *link == (None, Some(id)) || *link == (Some(id), None)),
            suffers: SUFFERED.iter().enumerate().map(bit).sum(),
        }
    }
}
