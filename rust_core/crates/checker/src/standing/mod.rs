//! Where the cluster stands at a moment: which faults are in force since when, and what each node has shown of its
//! role, its log and its voters. Liveness is judged from it, and told by it: who refuses what, and why.
//!
//! [`Cluster::see`] follows a run record by record. [`promise`] says whether Raft promises progress as things
//! stand, [`why`] puts into words what stands in its way.

pub(crate) mod promise;
pub(crate) mod why;

use std::collections::BTreeMap;

use mcp_chaos_evidence::{
    HistoryEvent, NemesisRecord, NodeId, Phase, Role, Status, TraceEvent, TraceRecord, parse_node_name,
};

use crate::Evidence;

/// The side of clients, among the ends of links: nodes are numbered from 1.
const CLIENTS: NodeId = 0;

/// What a fault makes of the nodes and links that it hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The process does not run.
    Dead,
    /// The process stands still.
    Paused,
    /// The process stops as soon as it needs its disk.
    DiskFails,
    /// The process, or the link, works, but nobody knows how fast or how well.
    Impaired,
    /// The process keeps up with what it hears, and with its clock; but what must be on its disk first may come late,
    /// or not be there.
    DiskInDoubt,
    /// Nothing passes the links.
    Cut,
    /// It changes something, but takes nothing from who can lead: it is over at once, moves a time of day that no timer
    /// reads, or is a change of the members, which they show themselves.
    Harmless,
}

impl Effect {
    /// A kind that is not known here counts as one of which nothing can be said.
    fn of(record: &NemesisRecord) -> Effect {
        match record.kind.as_str() {
            "transfer_leader" | "reset" | "clock_offset" | "clock_jump" => Effect::Harmless,
            "add_node" | "remove_node" | "replace_node" | "snapshot_now" => Effect::Harmless,
            // The harness may have done it, or half of it.
            _ if record.status == Status::Failed => Effect::Impaired,
            "kill" | "power_off" | "restart" => Effect::Dead,
            "pause" => Effect::Paused,
            "full_disk" | "disk_error" => Effect::DiskFails,
            "slow_disk" | "slow_sync" | "lying_fsync" => Effect::DiskInDoubt,
            "partition" | "one_way" => Effect::Cut,
            _ => Effect::Impaired,
        }
    }
}

/// A fault in force.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    step: Option<u64>,
    kind: String,
    since_ns: u64,
    effect: Effect,
    nodes: Vec<NodeId>,
    /// Directed.
    links: Vec<(NodeId, NodeId)>,
}

/// Who decides: a majority of the voters, and while they are being changed also of those who are being left (Ongaro's
/// dissertation §4.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Configuration {
    voters: Vec<NodeId>,
    outgoing: Vec<NodeId>,
}

impl Configuration {
    fn votes(&self, id: NodeId) -> bool {
        self.voters.contains(&id) || self.outgoing.contains(&id)
    }

    /// Whether those who have something are enough to decide.
    fn is_quorum(&self, has: impl Fn(NodeId) -> bool) -> bool {
        let is_majority = |half: &[NodeId]| half.iter().filter(|id| has(**id)).count() > half.len() / 2;
        is_majority(&self.voters) && (self.outgoing.is_empty() || is_majority(&self.outgoing))
    }
}

/// What a node has shown of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    pub id: NodeId,
    /// Its process has started, and has not ended by itself.
    up: bool,
    /// When it ended by itself, and what it said.
    ended: Option<(u64, String)>,
    role: Role,
    term: u64,
    leader: Option<NodeId>,
    /// Term and candidate of its last vote.
    vote: (u64, NodeId),
    /// The durable log: where each term begins, what the snapshot covers included, and the last index.
    terms: Vec<(u64, u64)>,
    last: u64,
    /// When it appended last.
    appended_ns: u64,
    commit: u64,
    /// When its commit index moved last.
    committed_ns: u64,
    /// When it asked to be elected, and for which term.
    asked: Vec<(u64, u64)>,
    /// Index and content of the configuration that it goes by: the newest that it has applied.
    configuration: Option<(u64, Configuration)>,
}

impl Node {
    /// Term and index of the last entry of its log, as votes compare them (Ongaro's dissertation §3.6.1).
    fn log(&self) -> (u64, u64) {
        (self.terms.last().map_or(0, |(_, term)| *term), self.last)
    }

    fn append(&mut self, index: u64, term: u64) {
        self.cut_from(index);
        if self.terms.last().is_none_or(|(_, last)| *last != term) {
            self.terms.push((index, term));
        }
        self.last = index;
    }

    fn cut_from(&mut self, index: u64) {
        while self.terms.last().is_some_and(|(first, _)| *first >= index) {
            self.terms.pop();
        }
        self.last = self.last.min(index.saturating_sub(1));
    }

    fn stand_on(&mut self, index: u64, term: u64) {
        self.terms.clear();
        if index > 0 {
            self.terms.push((index, term));
        }
        self.last = index;
    }
}

/// What a record changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing that decides who can lead.
    None,
    /// Who leads, asks or follows.
    Roles,
    /// Who takes part: faults, processes, voters.
    Members,
}

/// The cluster at a moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    faults: Vec<Fault>,
    /// Machines that are gone for good.
    lost: Vec<NodeId>,
    /// When somebody came to lead, who, and in which term.
    elected: Vec<(u64, NodeId, u64)>,
    /// Every configuration that anybody has shown, by its index.
    configurations: BTreeMap<u64, Configuration>,
}

impl Cluster {
    /// The cluster as it stands at a moment, that moment's records included.
    pub(crate) fn at(evidence: &Evidence, until_ns: u64) -> Cluster {
        let mut cluster = Cluster::default();
        for record in Records::of(evidence).take_while(|record| record.time_ns() <= until_ns) {
            cluster.see(&record);
        }
        cluster
    }

    pub(crate) fn see(&mut self, record: &Record) -> Change {
        match record {
            Record::Client(_) => Change::None,
            Record::Nemesis(record) => self.suffer(record),
            Record::Node(record) => self.act(record),
        }
    }

    fn suffer(&mut self, record: &NemesisRecord) -> Change {
        match (record.phase, record.status) {
            (_, Status::Skipped) | (Phase::AllHealed, Status::Failed) => return Change::None,
            (Phase::AllHealed, Status::Done) => self.faults.clear(),
            (Phase::Heal, Status::Done) => self.faults.retain(|fault| fault.step != record.step),
            (Phase::Heal, Status::Failed) => {
                let still = self.faults.iter_mut().filter(|fault| fault.step == record.step);
                still.for_each(|fault| fault.effect = Effect::Impaired);
            }
            (Phase::Install, _) => {
                if record.kind == "replace_node" {
                    self.lost.extend(record.nodes.first());
                }
                let end = |name: &String| {
                    if name == "clients" { Some(CLIENTS) } else { parse_node_name(name) }
                };
                let links = record.links.iter().filter_map(|(from, to)| Some((end(from)?, end(to)?)));
                let links: Vec<_> = links.collect();
                // Of a fault on links, the nodes only say who was meant.
                let nodes = if links.is_empty() { record.nodes.clone() } else { Vec::new() };
                self.faults.push(Fault {
                    step: record.step,
                    kind: record.kind.clone(),
                    since_ns: record.time_ns,
                    effect: Effect::of(record),
                    nodes,
                    links,
                });
            }
        }
        Change::Members
    }

    fn act(&mut self, record: &TraceRecord) -> Change {
        let time_ns = record.time_ns;
        let node = self.node_mut(record.node);
        match &record.event {
            TraceEvent::Started { term, vote, snapshot_index, snapshot_term, .. } => {
                node.up = true;
                node.ended = None;
                (node.role, node.term, node.leader) = (Role::Follower, *term, None);
                node.vote = (*term, vote.unwrap_or(0));
                node.stand_on(*snapshot_index, *snapshot_term);
                node.commit = *snapshot_index;
                return Change::Members;
            }
            TraceEvent::RoleChanged { role, term, leader } => {
                (node.role, node.term, node.leader) = (*role, *term, *leader);
                match role {
                    // It asks first whether it would win the next term (Ongaro's dissertation §9.6).
                    Role::PreCandidate => node.asked.push((time_ns, term + 1)),
                    Role::Candidate => node.asked.push((time_ns, *term)),
                    Role::Leader => self.elected.push((time_ns, record.node, *term)),
                    Role::Follower => {}
                }
                return Change::Roles;
            }
            TraceEvent::VoteCast { term, candidate } => node.vote = (*term, *candidate),
            TraceEvent::Appended { index, term, .. } => {
                node.append(*index, *term);
                node.appended_ns = time_ns;
            }
            TraceEvent::Truncated { from } => node.cut_from(*from),
            TraceEvent::Committed { index } => (node.commit, node.committed_ns) = (*index, time_ns),
            TraceEvent::SnapshotInstalled { index, term, .. } => {
                node.stand_on(*index, *term);
                (node.commit, node.appended_ns) = (*index, time_ns);
            }
            TraceEvent::Initialized { voters, .. } => return self.follow(record.node, 0, voters, &[]),
            TraceEvent::ConfigChanged { index, voters, voters_outgoing, .. } => {
                return self.follow(record.node, *index, voters, voters_outgoing);
            }
            TraceEvent::Stopped { reason } | TraceEvent::Refused { reason } => {
                (node.up, node.ended) = (false, Some((time_ns, reason.clone())));
                return Change::Members;
            }
            TraceEvent::Panicked { message } => {
                (node.up, node.ended) = (false, Some((time_ns, message.clone())));
                return Change::Members;
            }
            TraceEvent::Applied { .. } | TraceEvent::SnapshotMade { .. } => {}
        }
        Change::None
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        let at = match self.nodes.iter().position(|node| node.id == id) {
            Some(at) => at,
            None => {
                self.nodes.push(Node { id, up: true, ..Node::default() });
                self.nodes.len() - 1
            }
        };
        &mut self.nodes[at]
    }

    fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// A node goes by a configuration from now on.
    fn follow(&mut self, id: NodeId, index: u64, voters: &[NodeId], outgoing: &[NodeId]) -> Change {
        let sorted = |ids: &[NodeId]| {
            let mut ids = ids.to_vec();
            ids.sort_unstable();
            ids
        };
        let configuration = Configuration { voters: sorted(voters), outgoing: sorted(outgoing) };
        self.configurations.insert(index, configuration.clone());
        let node = self.node_mut(id);
        let changed = node.configuration.as_ref().is_none_or(|(_, known)| *known != configuration);
        node.configuration = Some((index, configuration));
        if changed { Change::Members } else { Change::None }
    }

    /// The newest configuration that anybody has shown; if nobody has any, everybody votes.
    fn newest(&self) -> Configuration {
        match self.configurations.last_key_value() {
            Some((_, newest)) => newest.clone(),
            None => Configuration {
                voters: self.nodes.iter().map(|node| node.id).collect(),
                outgoing: Vec::new(),
            },
        }
    }

    /// Whoever decides by it, ascending.
    fn voters(&self) -> Vec<NodeId> {
        let Configuration { mut voters, outgoing } = self.newest();
        voters.extend(outgoing);
        voters.sort_unstable();
        voters.dedup();
        voters
    }

    /// Whether the newest configuration that anybody has shown is joint.
    pub(crate) fn is_joint(&self) -> bool {
        self.configurations.last_key_value().is_some_and(|(_, newest)| !newest.outgoing.is_empty())
    }

    /// The fault that has this effect on a node, the earliest of several.
    fn fault_on(&self, id: NodeId, effect: Effect) -> Option<&Fault> {
        self.faults.iter().find(|fault| fault.effect == effect && fault.nodes.contains(&id))
    }

    /// The fault that has this effect on a directed link, the earliest of several.
    fn fault_between(&self, from: NodeId, to: NodeId, effect: Effect) -> Option<&Fault> {
        self.faults.iter().find(|fault| fault.effect == effect && fault.links.contains(&(from, to)))
    }

    fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.fault_between(from, to, Effect::Cut).is_some()
    }

    /// Its process runs: nothing keeps it from acting but a slow or failing part.
    fn runs(&self, node: &Node) -> bool {
        node.up
            && !self.lost.contains(&node.id)
            && self.fault_on(node.id, Effect::Dead).is_none()
            && self.fault_on(node.id, Effect::Paused).is_none()
    }

    /// Those who run and believe that they lead, by their terms, ascending.
    fn leaders(&self) -> Vec<&Node> {
        let mut leaders: Vec<&Node> =
            self.nodes.iter().filter(|node| node.role == Role::Leader && self.runs(node)).collect();
        leaders.sort_by_key(|node| node.term);
        leaders
    }
}

/// One record of a run, whoever wrote it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Record<'a> {
    Nemesis(&'a NemesisRecord),
    Node(&'a TraceRecord),
    Client(&'a HistoryEvent),
}

impl Record<'_> {
    pub(crate) fn time_ns(&self) -> u64 {
        match self {
            Record::Nemesis(record) => record.time_ns,
            Record::Node(record) => record.time_ns,
            Record::Client(event) => event.time_ns,
        }
    }
}

/// All records of a run in one, by their times; each node's, the nemesis' and the clients' in their own order.
pub(crate) struct Records<'a> {
    evidence: Evidence<'a>,
    /// Positions of the nodes' records by time; none if they stand so already.
    sorted: Option<Vec<usize>>,
    next: [usize; 3],
}

impl<'a> Records<'a> {
    pub(crate) fn of(evidence: &Evidence<'a>) -> Records<'a> {
        let traces = evidence.traces;
        let sorted = (!traces.is_sorted_by_key(|record| record.time_ns)).then(|| {
            let mut order: Vec<usize> = (0..traces.len()).collect();
            order.sort_by_key(|at| traces[*at].time_ns);
            order
        });
        Records { evidence: *evidence, sorted, next: [0; 3] }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let Records { evidence, sorted, next } = self;
        let traced = sorted.as_ref().map_or(Some(next[1]), |order| order.get(next[1]).copied());
        let candidates = [
            evidence.nemesis.get(next[0]).map(Record::Nemesis),
            traced.and_then(|at| evidence.traces.get(at)).map(Record::Node),
            evidence.history.get(next[2]).map(Record::Client),
        ];
        let (at, record) = candidates
            .into_iter()
            .enumerate()
            .filter_map(|(at, record)| Some((at, record?)))
            .min_by_key(|(_, record)| record.time_ns())?;
        next[at] += 1;
        Some(record)
    }
}
