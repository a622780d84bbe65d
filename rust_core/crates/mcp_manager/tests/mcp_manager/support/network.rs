//! Nodes on a network in memory: messages arrive in the order sent, disks are done at once (or when told),
//! and nothing happens that a test does not ask for. The same calls always give the same run.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mcp_chaos_consensus::{Batch, Entry, HardState, Message, Recovered, Snapshot};
use mcp_chaos_evidence::{NodeId, Role, TraceEvent};
use mcp_manager::command::{Answer, Operation, Outcome, Query, Request, Response};
use mcp_manager::{FatalError, Input, Node, Options, Output};

pub const CLUSTER: &str = "test";

/// What a node has written. All of it is durable.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub boot: u64,
    pub hard_state: HardState,
    pub snapshot: Option<Snapshot>,
    pub entries: Vec<Entry>,
}

impl Disk {
    fn write(&mut self, batch: Batch) {
        if let Some(snapshot) = batch.snapshot {
            self.entries.clear();
            self.snapshot = Some(*snapshot);
        }
        if let Some(first) = batch.entries.first() {
            self.entries.retain(|entry| entry.index < first.index);
            self.entries.extend(batch.entries);
        }
        self.hard_state = batch.hard_state.unwrap_or(self.hard_state);
    }

    fn save(&mut self, snapshot: Snapshot) {
        // Keeps nothing behind a snapshot: harder on the node than what a shell may do.
        self.entries.retain(|entry| entry.index > snapshot.meta.index);
        self.snapshot = Some(snapshot);
    }

    pub fn recovered(&self) -> Recovered {
        Recovered {
            boot: self.boot,
            cluster: CLUSTER.into(),
            hard_state: self.hard_state,
            snapshot: self.snapshot.clone(),
            entries: self.entries.clone(),
        }
    }
}

pub struct Network {
    pub options: Options,
    pub nodes: BTreeMap<NodeId, Node>,
    pub disks: BTreeMap<NodeId, Disk>,
    pub traces: Vec<(NodeId, TraceEvent)>,
    pub replies: BTreeMap<u64, Response>,
    pub fatal: Vec<(NodeId, FatalError)>,
    /// Directed links that carry nothing.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    /// Nodes whose snapshots of their own are written, but not yet reported as saved.
    pub slow_snapshots: BTreeSet<NodeId>,
    pub unreported: Vec<(NodeId, u64)>,
    /// Changed on the way.
    pub tamper: Option<fn(&mut Message)>,
    pub now_ms: u64,
    inputs: VecDeque<(NodeId, Input)>,
    last_ticket: u64,
}

impl Network {
    pub fn new(count: u64) -> Network {
        Network::with(count, Options::new(1, 7))
    }

    /// `options.id` is replaced by each node's own.
    pub fn with(count: u64, options: Options) -> Network {
        let mut network = Network {
            options,
            nodes: BTreeMap::new(),
            disks: BTreeMap::new(),
            traces: Vec::new(),
            replies: BTreeMap::new(),
            fatal: Vec::new(),
            cut: BTreeSet::new(),
            slow_snapshots: BTreeSet::new(),
            unreported: Vec::new(),
            tamper: None,
            now_ms: 1_000,
            inputs: VecDeque::new(),
            last_ticket: 0,
        };
        let voters: Vec<NodeId> = (1..=count).collect();
        for id in &voters {
            let snapshot = Node::found(CLUSTER, *id, &voters).unwrap();
            network.disks.insert(*id, Disk { snapshot: Some(snapshot), ..Disk::default() });
            network.start(*id);
        }
        network
    }

    pub fn start(&mut self, id: NodeId) {
        let disk = self.disks.get_mut(&id).unwrap();
        disk.boot += 1;
        let mut out = Vec::new();
        let options = Options { id, ..self.options.clone() };
        let node = Node::new(options, disk.recovered(), &mut out).unwrap();
        self.nodes.insert(id, node);
        self.carry_out(id, out);
        self.settle();
    }

    /// A node with an empty disk, told to join.
    pub fn start_empty(&mut self, id: NodeId) {
        let options = Options { id, ..self.options.clone() };
        let node = Node::new(options, Recovered::default(), &mut Vec::new()).unwrap();
        self.nodes.insert(id, node);
        assert_eq!(self.answer(id, Request::Join { cluster: CLUSTER.into() }), Response::Accepted);
    }

    pub fn kill(&mut self, id: NodeId) {
        self.nodes.remove(&id);
        self.inputs.retain(|(to, _)| *to != id);
    }

    /// Cuts a node off from all others, both ways.
    pub fn isolate(&mut self, id: NodeId) {
        for other in self.disks.keys().filter(|other| **other != id) {
            self.cut.insert((id, *other));
            self.cut.insert((*other, id));
        }
    }

    pub fn tick(&mut self) {
        self.now_ms += 20;
        for id in self.nodes.keys() {
            self.inputs.push_back((*id, Input::Tick));
        }
        self.settle();
    }

    pub fn ticks(&mut self, count: u32) {
        for _ in 0..count {
            self.tick();
        }
    }

    /// Ticks until `done`; panics if that takes more than 1,000 ticks.
    pub fn until(&mut self, what: &str, done: impl Fn(&Network) -> bool) {
        for _ in 0..1_000 {
            if done(self) {
                return;
            }
            self.tick();
        }
        panic!("not within 1,000 ticks: {what}");
    }

    /// Ticks until one of `among` leads, and gives its name.
    pub fn elect_among(&mut self, among: &[NodeId]) -> NodeId {
        let leader = |network: &Network| {
            among.iter().copied().find(|id| {
                let leads =
                    |node: &Node| node.is_leader() && node.status().commit >= node.status().last_index;
                network.nodes.get(id).is_some_and(leads)
            })
        };
        self.until("a leader", |network| leader(network).is_some());
        leader(self).unwrap()
    }

    pub fn elect(&mut self) -> NodeId {
        let all: Vec<NodeId> = self.nodes.keys().copied().collect();
        self.elect_among(&all)
    }

    /// Hands in a request, and gives its ticket.
    pub fn ask(&mut self, id: NodeId, request: Request) -> u64 {
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        self.input(id, Input::client(ticket, request));
        ticket
    }

    pub fn input(&mut self, id: NodeId, input: Input) {
        self.inputs.push_back((id, input));
        self.settle();
    }

    /// Asks, and ticks until the answer is there.
    pub fn answer(&mut self, id: NodeId, request: Request) -> Response {
        let ticket = self.ask(id, request);
        self.until("an answer", |network| network.replies.contains_key(&ticket));
        self.replies[&ticket].clone()
    }

    pub fn open_session(&mut self, id: NodeId) -> u64 {
        match self.answer(id, Request::OpenSession) {
            Response::Applied { outcome: Outcome::Session { client }, .. } => client,
            response => panic!("{response:?}"),
        }
    }

    pub fn operate(&mut self, id: NodeId, client: u64, sequence: u64, operation: Operation) -> Response {
        self.answer(id, Request::Operate { client, sequence, operation })
    }

    pub fn read(&mut self, id: NodeId, key: &str) -> Option<String> {
        match self.answer(id, Request::Query(Query::Setting { key: key.into() })) {
            Response::Read { answer: Answer::Setting { value, .. }, .. } => value,
            response => panic!("{response:?}"),
        }
    }

    pub fn roles(&self) -> Vec<Role> {
        self.nodes.values().map(Node::role).collect()
    }

    pub fn events(&self, id: NodeId) -> impl Iterator<Item = &TraceEvent> {
        self.traces.iter().filter(move |(node, _)| *node == id).map(|(_, event)| event)
    }

    /// Ticks until all nodes have applied the same, then checks that no two ever differed at an index, and
    /// that each state's running checksum is that of its content.
    pub fn agree(&mut self) {
        self.cut.clear();
        self.until("agreement", |network| {
            let mut applied = network.nodes.values().map(|node| (node.applied(), node.state_checksum()));
            let first = applied.next();
            applied.all(|next| Some(next) == first) && network.nodes.values().any(Node::is_leader)
        });
        let mut states = BTreeMap::new();
        for (id, event) in &self.traces {
            let (index, state) = match event {
                TraceEvent::Applied { index, state, .. }
                | TraceEvent::SnapshotMade { index, state, .. }
                | TraceEvent::SnapshotInstalled { index, state, .. } => (*index, *state),
                _ => continue,
            };
            assert_eq!(*states.entry(index).or_insert(state), state, "n{id} differs at {index}");
        }
        for node in self.nodes.values() {
            assert_eq!(node.state_checksum(), node.machine().recomputed_checksum());
        }
    }

    /// Handles inputs until none is left.
    fn settle(&mut self) {
        while let Some((id, input)) = self.inputs.pop_front() {
            let mut out = Vec::new();
            if let Some(node) = self.nodes.get_mut(&id) {
                node.handle(self.now_ms, input, &mut out);
            }
            self.carry_out(id, out);
        }
    }

    fn carry_out(&mut self, id: NodeId, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Persist { token, batch } => {
                    self.disks.get_mut(&id).unwrap().write(batch);
                    self.inputs.push_back((id, Input::Persisted { token }));
                }
                Output::SaveSnapshot(snapshot) => {
                    let index = snapshot.meta.index;
                    self.disks.get_mut(&id).unwrap().save(*snapshot);
                    if self.slow_snapshots.contains(&id) {
                        self.unreported.push((id, index));
                    } else {
                        self.inputs.push_back((id, Input::SnapshotSaved { index }));
                    }
                }
                Output::Send(mut message) => {
                    assert_eq!(message.from, id);
                    if !self.cut.contains(&(id, message.to)) {
                        if let Some(tamper) = self.tamper {
                            tamper(&mut message);
                        }
                        if message.snapshot.is_some() {
                            let delivered = Input::SnapshotSent { peer: message.to, delivered: true };
                            self.inputs.push_back((id, delivered));
                        }
                        self.inputs.push_back((message.to, Input::Peer(message)));
                    }
                }
                Output::Reply { ticket, response } => {
                    let earlier = self.replies.insert(ticket, response);
                    assert_eq!(earlier, None, "ticket {ticket} is answered twice");
                }
                Output::Trace(event) => self.traces.push((id, event)),
                Output::Found { cluster, snapshot } => {
                    assert_eq!(cluster, CLUSTER);
                    self.disks.insert(id, Disk { snapshot: Some(*snapshot), ..Disk::default() });
                    self.start(id);
                }
                Output::Fatal(error) => self.fatal.push((id, error)),
            }
        }
    }
}
