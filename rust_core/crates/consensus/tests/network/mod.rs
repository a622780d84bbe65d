//! A small network of replicas with disks, all in one thread. Whatever happens on it, it checks the caller's
//! side of the contract: nothing leaves a node before what it rests on is on its disk, the trace tells the
//! disk's log exactly, and the records that Raft's invariants forbid never appear together.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;

use bytes::Bytes;
use mcp_chaos_consensus::{
    Batch, ChangeRefused, Config, Configuration, Effect, Entry, EntryKind, Event, HardState, Joining,
    MembershipChange, Message, MessageKind, Recovered, Replica, Snapshot, SnapshotMeta, join,
};
use mcp_chaos_evidence::{NodeId, Role, TraceEvent, checksum};

/// What a node's disk holds.
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
            assert_eq!(first.index, self.last() + 1, "a gap in the log");
            self.entries.extend(batch.entries);
        }
        self.hard_state = batch.hard_state.unwrap_or(self.hard_state);
    }

    fn base(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.meta.index)
    }

    pub fn last(&self) -> u64 {
        self.entries.last().map_or(self.base(), |entry| entry.index)
    }

    /// Founding writes a snapshot alone.
    fn term(&self) -> u64 {
        self.hard_state.term.max(self.snapshot.as_ref().map_or(0, |snapshot| snapshot.meta.term))
    }
}

/// One node: a replica, its disk, and a state machine that is the list of what was applied.
pub struct Node {
    config: Config,
    pub disk: Disk,
    pub replica: Option<Replica>,
    /// Batches being written, in order.
    pub writing: VecDeque<(u64, Batch)>,
    /// Its disk is empty, and it waits to be made a member.
    pub joining: bool,
    /// If set, batches wait until they are written by hand.
    pub disk_held: bool,
    pub state: Vec<u8>,
    pub trace: Vec<TraceEvent>,
    /// The durable log as the trace tells it: index to (term, checksum).
    traced_log: BTreeMap<u64, (u64, u64)>,
    traced_commit: u64,
    reads: BTreeMap<u64, u64>,
}

/// What the checks remember over the whole run.
#[derive(Default)]
struct Seen {
    leaders: BTreeMap<u64, NodeId>,
    votes: BTreeMap<(NodeId, u64), NodeId>,
    committed: BTreeMap<u64, (u64, u64)>,
    states: BTreeMap<u64, u64>,
}

pub struct Network {
    pub nodes: BTreeMap<NodeId, Node>,
    pub messages: VecDeque<Message>,
    pub cut: BTreeSet<(NodeId, NodeId)>,
    /// What happened, for people.
    pub transcript: String,
    pub show_messages: bool,
    /// Off for nodes with planted bugs.
    pub checked: bool,
    /// (ticket, applied state when answered)
    pub reads_done: BTreeMap<u64, Vec<u8>>,
    /// ticket to (index, term), or None if it failed
    pub proposals: BTreeMap<u64, Option<(u64, u64)>>,
    /// Changes of the membership that the leader did not propose, by ticket.
    pub refused: BTreeMap<u64, ChangeRefused>,
    seen: Seen,
}

impl Network {
    pub fn new(configs: Vec<Config>) -> Network {
        let voters: Vec<NodeId> = configs.iter().map(|config| config.id).collect();
        let mut network = Network {
            nodes: BTreeMap::new(),
            messages: VecDeque::new(),
            cut: BTreeSet::new(),
            transcript: String::new(),
            show_messages: false,
            checked: true,
            reads_done: BTreeMap::new(),
            proposals: BTreeMap::new(),
            refused: BTreeMap::new(),
            seen: Seen::default(),
        };
        for config in configs {
            let id = config.id;
            let snapshot = Replica::found("test", id, &voters, Bytes::new()).expect("well-formed voters");
            let disk = Disk { snapshot: Some(snapshot), ..Disk::default() };
            network.add(config, disk);
            network.start(id);
        }
        network
    }

    pub fn of(voters: u64, seed: u64) -> Network {
        Network::new((1..=voters).map(|id| Config::new(id, seed)).collect())
    }

    pub fn add(&mut self, config: Config, disk: Disk) {
        let node = Node {
            config,
            disk,
            replica: None,
            writing: VecDeque::new(),
            joining: false,
            disk_held: false,
            state: Vec::new(),
            trace: Vec::new(),
            traced_log: BTreeMap::new(),
            traced_commit: 0,
            reads: BTreeMap::new(),
        };
        self.nodes.insert(node.config.id, node);
    }

    /// A node with an empty disk, which is told to join.
    pub fn add_joining(&mut self, id: NodeId, seed: u64) {
        self.add(Config::new(id, seed), Disk::default());
        self.node(id).joining = true;
    }

    /// Memory and whatever is being written are gone; written batches stay.
    pub fn crash(&mut self, id: NodeId) {
        let node = self.node(id);
        node.replica = None;
        node.writing.clear();
        node.reads.clear();
    }

    pub fn start(&mut self, id: NodeId) {
        let node = self.node(id);
        if node.joining {
            return;
        }
        node.disk.boot += 1;
        node.state = node.disk.snapshot.as_ref().map(|snapshot| snapshot.data.to_vec()).unwrap_or_default();
        let recovered = Recovered {
            boot: node.disk.boot,
            cluster: "test".into(),
            hard_state: node.disk.hard_state,
            snapshot: node.disk.snapshot.clone(),
            entries: node.disk.entries.clone(),
        };
        let mut effects = Vec::new();
        node.replica = Some(Replica::new(node.config.clone(), recovered, &mut effects));
        self.carry_out(id, effects);
    }

    pub fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node of this network")
    }

    pub fn replica(&self, id: NodeId) -> &Replica {
        self.nodes[&id].replica.as_ref().expect("a running node")
    }

    pub fn step(&mut self, id: NodeId, event: Event) {
        let mut effects = Vec::new();
        let node = self.node(id);
        if node.joining {
            if let Event::Receive(message) = event {
                self.join(id, *message);
            }
            return;
        }
        let Some(replica) = &mut node.replica else { return };
        replica.step(event, &mut effects);
        self.carry_out(id, effects);
        let replica = self.node(id).replica.as_mut().expect("it runs");
        if replica.takes_wish_for_snapshot() {
            self.snapshot(id);
        }
    }

    fn join(&mut self, id: NodeId, message: Message) {
        let leader = message.from;
        match join(id, message) {
            Joining::Answer(message) => self.messages.push_back(*message),
            Joining::Found(snapshot) => {
                self.say(format_args!("n{id} is founded at {}", snapshot.meta.index));
                let node = self.node(id);
                node.joining = false;
                node.disk.snapshot = Some(*snapshot);
                self.start(id);
                // The connection tells the leader.
                self.step(leader, Event::SnapshotSent { peer: id, delivered: true });
            }
            Joining::Ignore => {}
        }
    }

    pub fn change(&mut self, id: NodeId, ticket: u64, change: MembershipChange) {
        self.step(id, Event::ChangeMembership { ticket, change });
    }

    /// Writes the oldest batch under way on a node's disk.
    pub fn write_one(&mut self, id: NodeId) -> bool {
        let node = self.node(id);
        let Some((token, batch)) = node.writing.pop_front() else { return false };
        node.disk.write(batch);
        self.step(id, Event::Persisted { token });
        true
    }

    pub fn deliver(&mut self, message: Message) {
        if !self.cut.contains(&(message.from, message.to)) && self.nodes.contains_key(&message.to) {
            self.step(message.to, Event::Receive(Box::new(message)));
        }
    }

    /// Until no message is under way and no disk that is not held has work.
    pub fn settle(&mut self) {
        loop {
            let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
            let mut worked = false;
            for id in ids {
                while !self.nodes[&id].disk_held && self.write_one(id) {
                    worked = true;
                }
            }
            if let Some(message) = self.messages.pop_front() {
                self.deliver(message);
            } else if !worked {
                return;
            }
        }
    }

    /// Ticks every node that many times, settling in between.
    pub fn run(&mut self, ticks: u32) {
        for _ in 0..ticks {
            let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
            for id in ids {
                self.step(id, Event::Tick);
            }
            self.settle();
        }
    }

    /// Ticks one node until it leads.
    pub fn elect(&mut self, id: NodeId) {
        for _ in 0..200 {
            if self.replica(id).is_leader() {
                return;
            }
            self.step(id, Event::Tick);
            self.settle();
        }
        panic!("n{id} was not elected in 200 ticks");
    }

    pub fn leader(&self) -> Option<NodeId> {
        self.nodes
            .values()
            .filter_map(|node| node.replica.as_ref())
            .filter(|replica| replica.is_leader())
            .map(Replica::status)
            .max_by_key(|status| status.term)
            .map(|status| status.id)
    }

    pub fn propose(&mut self, id: NodeId, ticket: u64, data: &str) {
        self.step(id, Event::Propose { ticket, data: Bytes::copy_from_slice(data.as_bytes()) });
    }

    pub fn snapshot(&mut self, id: NodeId) {
        let node = self.node(id);
        let meta = node.replica.as_ref().expect("a running node").applied_meta().clone();
        let snapshot = Snapshot { meta, data: Bytes::copy_from_slice(&node.state) };
        node.disk.entries.retain(|entry| entry.index > snapshot.meta.index);
        node.disk.snapshot = Some(snapshot.clone());
        node.traced_log.retain(|index, _| *index > snapshot.meta.index);
        self.say(format_args!("n{id} snapshot at {}", snapshot.meta.index));
        self.step(id, Event::SnapshotMade(Box::new(snapshot)));
    }

    pub fn say(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.transcript, "{line}").expect("a string takes any text");
    }

    fn carry_out(&mut self, id: NodeId, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Trace(event) => self.trace(id, event),
                Effect::Persist { token, batch } => {
                    self.say(format_args!("n{id} persist #{token}{}", batch_text(&batch)));
                    assert!(batch.must_sync, "commit hints alone are not handed out");
                    self.node(id).writing.push_back((token, batch));
                }
                Effect::Send(message) => {
                    self.check_message(id, &message);
                    if self.show_messages {
                        let text = message_text(&message);
                        self.say(format_args!("n{id} -> n{} {text}", message.to));
                    }
                    self.messages.push_back(*message);
                }
                Effect::Apply(entries) => {
                    for entry in entries {
                        self.apply(id, &entry);
                    }
                    self.answer_reads(id);
                }
                Effect::Restore(snapshot) => {
                    self.say(format_args!("n{id} restore {}", snapshot.meta.index));
                    assert_eq!(self.nodes[&id].disk.base(), snapshot.meta.index, "restored before durable");
                    let node = self.node(id);
                    node.state = snapshot.data.to_vec();
                    node.traced_log.clear();
                    self.check_state(id, snapshot.meta.index);
                    self.answer_reads(id);
                }
                Effect::Proposed { ticket, index, term } => {
                    self.say(format_args!("n{id} proposed #{ticket} at {index} term {term}"));
                    self.proposals.insert(ticket, Some((index, term)));
                }
                Effect::ProposalFailed { ticket, leader } => {
                    let leader = leader.map_or("nobody".into(), |leader| format!("n{leader}"));
                    self.say(format_args!("n{id} proposal #{ticket} failed, {leader} leads"));
                    self.proposals.insert(ticket, None);
                }
                Effect::ChangeRefused { ticket, why } => {
                    self.say(format_args!("n{id} refuses #{ticket}: {why}"));
                    self.refused.insert(ticket, why);
                }
                Effect::Halt(broken) => self.say(format_args!("n{id} halts: {broken}")),
                Effect::ReadReady { ticket, index } => {
                    self.say(format_args!("n{id} read #{ticket} ready at {index}"));
                    self.node(id).reads.insert(ticket, index);
                    self.answer_reads(id);
                }
            }
        }
    }

    fn applied(&self, id: NodeId) -> u64 {
        self.nodes[&id].replica.as_ref().map_or(0, |replica| replica.applied_meta().index)
    }

    fn answer_reads(&mut self, id: NodeId) {
        let applied = self.applied(id);
        let node = self.nodes.get_mut(&id).expect("a node of this network");
        let (state, reads_done) = (&node.state, &mut self.reads_done);
        node.reads.retain(|ticket, index| {
            let waits = *index > applied;
            if !waits {
                reads_done.insert(*ticket, state.clone());
            }
            waits
        });
    }

    fn apply(&mut self, id: NodeId, entry: &Entry) {
        let text = String::from_utf8_lossy(&entry.data).into_owned();
        self.say(format_args!("n{id} apply {} {text:?}", entry.index));
        let known = (entry.term, entry.checksum());
        if self.checked {
            assert!(self.nodes[&id].traced_commit >= entry.index, "n{id} applied {} early", entry.index);
            assert_eq!(self.nodes[&id].traced_log.get(&entry.index).copied(), Some(known), "not durable");
        }
        let node = self.node(id);
        if entry.kind == EntryKind::Normal {
            node.state.extend_from_slice(&entry.data);
        }
        node.state.push(b';');
        self.check_state(id, entry.index);
    }

    fn check_state(&mut self, id: NodeId, index: u64) {
        let state = checksum(&self.nodes[&id].state);
        let known = *self.seen.states.entry(index).or_insert(state);
        assert!(!self.checked || known == state, "n{id}: another state at {index}");
    }

    /// Nothing leaves before what it rests on is durable.
    fn check_message(&mut self, id: NodeId, message: &Message) {
        assert_eq!(message.from, id);
        let disk = &self.nodes[&id].disk;
        let prevote =
            matches!(message.kind, MessageKind::RequestPreVote | MessageKind::RequestPreVoteResponse);
        if !self.checked || prevote {
            return;
        }
        assert!(message.term <= disk.term(), "n{id} shows term {} before it is durable", message.term);
        let current = disk.hard_state.term == message.term;
        match message.kind {
            MessageKind::RequestVoteResponse if !message.reject && current => {
                assert_eq!(disk.hard_state.vote, message.to, "n{id} tells a vote that is not durable");
            }
            MessageKind::RequestVote if current => assert_eq!(disk.hard_state.vote, id),
            MessageKind::AppendResponse if !message.reject => {
                assert!(message.index <= disk.last(), "n{id} acknowledges {} too early", message.index);
            }
            _ => {}
        }
    }

    fn trace(&mut self, id: NodeId, event: TraceEvent) {
        self.say(format_args!("n{id} {}", trace_text(&event)));
        let checked = self.checked;
        let seen = &mut self.seen;
        let node = self.nodes.get_mut(&id).expect("a node of this network");
        match &event {
            TraceEvent::Started { term, vote, snapshot_index, last_index, .. } => {
                node.traced_log.clear();
                node.traced_commit = *snapshot_index;
                assert_eq!(*term, node.disk.term());
                assert_eq!(vote.unwrap_or(0), node.disk.hard_state.vote);
                assert_eq!(*last_index, node.disk.last());
            }
            TraceEvent::Appended { index, term, checksum } => {
                let replaced = node.traced_log.insert(*index, (*term, *checksum));
                assert_eq!(replaced, None, "n{id} appended {index} twice without truncating");
            }
            TraceEvent::Truncated { from } => {
                assert!(*from > node.traced_commit, "n{id} truncated what it had committed");
                let removed = node.traced_log.split_off(from);
                assert!(!removed.is_empty(), "n{id} truncated nothing");
            }
            TraceEvent::VoteCast { term, candidate } if checked => {
                assert_eq!((node.disk.hard_state.term, node.disk.hard_state.vote), (*term, *candidate));
                let known = *seen.votes.entry((id, *term)).or_insert(*candidate);
                assert_eq!(known, *candidate, "n{id} voted twice in term {term}");
            }
            TraceEvent::RoleChanged { role, term, .. } if checked => {
                assert!(*term <= node.disk.term(), "n{id} traces term {term} before it is durable");
                if *role == Role::Leader {
                    let known = *seen.leaders.entry(*term).or_insert(id);
                    assert_eq!(known, id, "two leaders in term {term}");
                }
            }
            TraceEvent::Committed { index } => {
                assert!(*index > node.traced_commit, "n{id} commit went back");
                for at in node.traced_commit + 1..=*index {
                    if at <= node.disk.base() {
                        continue;
                    }
                    let entry = *node.traced_log.get(&at).expect("committed entries are durable");
                    let known = *seen.committed.entry(at).or_insert(entry);
                    assert!(!checked || known == entry, "n{id}: another entry was committed at {at}");
                }
                node.traced_commit = *index;
            }
            _ => {}
        }
        node.trace.push(event);
    }

    /// At rest the trace's log is the disk's.
    pub fn check_logs(&self) {
        for (id, node) in &self.nodes {
            if node.replica.is_some() && node.writing.is_empty() {
                let disk: BTreeMap<u64, (u64, u64)> =
                    node.disk.entries.iter().map(|e| (e.index, (e.term, e.checksum()))).collect();
                assert_eq!(node.traced_log, disk, "n{id}'s trace tells another log than its disk");
            }
        }
    }
}

fn batch_text(batch: &Batch) -> String {
    let mut text = String::new();
    if let Some(snapshot) = &batch.snapshot {
        write!(text, " snapshot {}", snapshot.meta.index).unwrap();
    }
    if let (Some(first), Some(last)) = (batch.entries.first(), batch.entries.last()) {
        write!(text, " entries {}..={} term {}", first.index, last.index, last.term).unwrap();
    }
    if let Some(HardState { term, vote, commit }) = batch.hard_state {
        write!(text, " term {term} vote n{vote} commit {commit}").unwrap();
    }
    text
}

fn message_text(message: &Message) -> String {
    let mut text = format!("{:?} term {}", message.kind, message.term);
    match message.kind {
        MessageKind::Append => {
            let entries: Vec<String> =
                message.entries.iter().map(|entry| format!("{}/{}", entry.index, entry.term)).collect();
            write!(text, " after {}/{}", message.index, message.log_term).unwrap();
            write!(text, " entries [{}] commit {}", entries.join(" "), message.commit).unwrap();
        }
        MessageKind::AppendResponse => write!(text, " index {}", message.index).unwrap(),
        MessageKind::Heartbeat => write!(text, " commit {}", message.commit).unwrap(),
        MessageKind::Snapshot => {
            let index = message.snapshot.as_ref().map_or(0, |snapshot| snapshot.meta.index);
            write!(text, " at {index}").unwrap();
        }
        _ => {}
    }
    if message.reject {
        text.push_str(" rejected");
    }
    text
}

fn trace_text(event: &TraceEvent) -> String {
    match event {
        TraceEvent::Started { term, vote, snapshot_index, last_index, .. } => {
            let vote = vote.unwrap_or(0);
            format!("started term {term} vote n{vote} snapshot {snapshot_index} last {last_index}")
        }
        TraceEvent::RoleChanged { role, term, leader } => {
            format!("role_changed {role:?} term {term} leader n{}", leader.unwrap_or(0))
        }
        TraceEvent::VoteCast { term, candidate } => format!("vote_cast term {term} for n{candidate}"),
        TraceEvent::Appended { index, term, .. } => format!("appended {index} term {term}"),
        TraceEvent::Truncated { from } => format!("truncated from {from}"),
        TraceEvent::Committed { index } => format!("committed {index}"),
        TraceEvent::ConfigChanged { index, voters, learners, voters_outgoing } => {
            let joint =
                if voters_outgoing.is_empty() { String::new() } else { format!(" and {voters_outgoing:?}") };
            format!("config_changed at {index} voters {voters:?}{joint} learners {learners:?}")
        }
        other => format!("{other:?}"),
    }
}

/// A configuration of plain voters.
pub fn voters(ids: &[NodeId]) -> Configuration {
    Configuration { voters: ids.to_vec(), ..Configuration::default() }
}

/// A snapshot's place.
pub fn meta(index: u64, term: u64, ids: &[NodeId]) -> SnapshotMeta {
    SnapshotMeta { index, term, configuration: voters(ids) }
}
