//! A generator of correct runs: a few nodes that follow Raft's rules at the level of whole steps (an election,
//! a replication, a commit), and clients whose answers are given from what is committed. It knows nothing of
//! the checker but the evidence's types.

use std::collections::BTreeSet;

use mcp_chaos_evidence::{
    Function, HistoryEvent, Kind, NemesisRecord, NodeId, Phase, Role, Status, TraceEvent, TraceRecord,
    checksum, rng::Stream,
};
use serde_json::{Value, json};

/// What a run left.
#[derive(Clone)]
pub struct Run {
    pub history: Vec<HistoryEvent>,
    pub traces: Vec<TraceRecord>,
    pub nemesis: Vec<NemesisRecord>,
}

/// How large a run is.
#[derive(Clone, Copy)]
pub struct Shape {
    pub nodes: usize,
    pub clients: usize,
    pub keys: usize,
    /// Operations of roaming clients, before the final ones.
    pub operations: usize,
    /// One step in this many is an election, one a restart; snapshots are as frequent as both.
    pub trouble_one_in: u64,
}

#[derive(Clone, PartialEq)]
struct Entry {
    term: u64,
    checksum: u64,
    /// The request that it carries: (client, sequence).
    request: Option<(u64, u64)>,
}

struct Node {
    up_boot: u64,
    role: Role,
    term: u64,
    vote: Option<NodeId>,
    /// From index 1, where founding's snapshot stands.
    log: Vec<Entry>,
    commit: usize,
    applied: usize,
    snapshot: usize,
    /// As leader: how far each node's log is known to equal its own.
    matched: Vec<usize>,
}

/// A committed entry with what it did.
struct Done {
    entry: Entry,
    duplicate: bool,
    state: u64,
    mismatch: bool,
}

struct Client {
    process: u64,
    session: u64,
    sequence: u64,
    open: Option<Open>,
}

struct Open {
    f: Function,
    key: usize,
    value: Value,
    proposed: bool,
}

struct World {
    draws: Stream,
    drawn: u64,
    shape: Shape,
    now_ns: u64,
    nodes: Vec<Node>,
    truth: Vec<Done>,
    /// The requests in `truth`.
    requests: BTreeSet<(u64, u64)>,
    registers: Vec<Value>,
    clients: Vec<Client>,
    begun: usize,
    entries: u64,
    run: Run,
}

/// A correct run under `seed`.
pub fn generate(seed: u64, shape: Shape) -> Run {
    let mut world = World::new(seed, shape);
    while world.begun < shape.operations {
        world.step();
    }
    world.recover();
    world.run
}

impl World {
    fn new(seed: u64, shape: Shape) -> World {
        let founding = Entry { term: 1, checksum: 1, request: None };
        let nodes = (0..shape.nodes)
            .map(|_| Node {
                up_boot: 0,
                role: Role::Follower,
                term: 1,
                vote: None,
                log: vec![founding.clone()],
                commit: 1,
                applied: 1,
                snapshot: 1,
                matched: Vec::new(),
            })
            .collect();
        let clients = (0..shape.clients as u64)
            .map(|at| Client { process: at, session: at + 2, sequence: 0, open: None })
            .collect();
        let mut world = World {
            draws: Stream::new(seed, "cluster", 0, 0),
            drawn: 0,
            shape,
            now_ns: 0,
            nodes,
            truth: vec![Done { entry: founding, duplicate: false, state: 77, mismatch: false }],
            requests: BTreeSet::new(),
            registers: vec![Value::Null; shape.keys],
            clients,
            begun: 0,
            entries: 1,
            run: Run { history: Vec::new(), traces: Vec::new(), nemesis: Vec::new() },
        };
        for at in 0..shape.nodes {
            world.start(at);
        }
        world.elect(0);
        world
    }

    fn below(&mut self, limit: usize) -> usize {
        self.drawn += 1;
        self.draws.between(self.drawn, 0, limit as u64 - 1) as usize
    }

    fn trace(&mut self, at: usize, event: TraceEvent) {
        self.now_ns += 1_000;
        let boot = self.nodes[at].up_boot;
        self.run.traces.push(TraceRecord { time_ns: self.now_ns, node: at as u64 + 1, boot, event });
    }

    fn nemesis(&mut self, step: Option<u64>, phase: Phase, kind: &str, nodes: Vec<NodeId>) {
        self.run.nemesis.push(NemesisRecord {
            step,
            phase,
            status: Status::Done,
            planned_ns: None,
            time_ns: self.now_ns,
            kind: kind.into(),
            nodes,
            links: Vec::new(),
            anchor: None,
            evidence: Value::Null,
            reason: None,
            fixed: false,
        });
    }

    fn step(&mut self) {
        self.now_ns += 200_000;
        if self.below(self.shape.trouble_one_in as usize) == 0 {
            let at = self.below(self.shape.nodes);
            match self.below(4) {
                0 => self.elect(at),
                1 => self.restart(at),
                _ => self.snapshot(at),
            }
            return;
        }
        let at = self.below(self.shape.nodes);
        let term = self.nodes.iter().map(|node| node.term).max();
        let led = self.nodes.iter().any(|node| node.role == Role::Leader && Some(node.term) == term);
        if !led && self.below(20) == 0 {
            self.elect(at);
            return;
        }
        match self.below(8) {
            0 | 1 => {
                let client = self.below(self.shape.clients);
                self.client(client);
            }
            2 => self.propose(at),
            3 | 4 => {
                let to = self.below(self.shape.nodes);
                self.replicate(at, to);
            }
            5 => self.advance(at),
            6 => self.apply(at),
            _ => self.home_read(at, false),
        }
    }

    fn start(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.up_boot += 1;
        node.role = Role::Follower;
        node.commit = node.snapshot;
        node.applied = node.snapshot;
        let snapshot = node.snapshot;
        let event = TraceEvent::Started {
            term: node.term,
            vote: node.vote,
            snapshot_index: snapshot as u64,
            snapshot_term: node.log[snapshot - 1].term,
            snapshot_state: self.truth[snapshot - 1].state,
            last_index: node.log.len() as u64,
        };
        self.trace(at, event);
        for index in snapshot + 1..=self.nodes[at].log.len() {
            self.appended(at, index);
        }
    }

    fn appended(&mut self, at: usize, index: usize) {
        let Entry { term, checksum, .. } = self.nodes[at].log[index - 1];
        self.trace(at, TraceEvent::Appended { index: index as u64, term, checksum });
    }

    fn restart(&mut self, at: usize) {
        let step = Some(self.run.nemesis.len() as u64);
        self.nemesis(step, Phase::Install, "kill", vec![at as u64 + 1]);
        self.now_ns += 1_000_000;
        self.nemesis(step, Phase::Heal, "kill", vec![at as u64 + 1]);
        self.start(at);
    }

    fn role(&mut self, at: usize, role: Role, term: u64, leader: Option<NodeId>) {
        let node = &mut self.nodes[at];
        if term > node.term {
            node.vote = None;
        }
        node.term = term;
        node.role = role;
        self.trace(at, TraceEvent::RoleChanged { role, term, leader });
    }

    fn elect(&mut self, at: usize) {
        let term = self.nodes[at].term + 1;
        self.role(at, Role::Candidate, term, None);
        self.nodes[at].vote = Some(at as u64 + 1);
        self.trace(at, TraceEvent::VoteCast { term, candidate: at as u64 + 1 });
        let mine = self.nodes[at].log.last().map_or(0, |entry| entry.term);
        let mine = (mine, self.nodes[at].log.len());
        let mut votes = 1;
        for voter in 0..self.shape.nodes {
            let theirs =
                (self.nodes[voter].log.last().map_or(0, |entry| entry.term), self.nodes[voter].log.len());
            if voter == at || self.nodes[voter].term >= term || theirs > mine || self.below(8) == 0 {
                continue;
            }
            self.role(voter, Role::Follower, term, None);
            self.nodes[voter].vote = Some(at as u64 + 1);
            self.trace(voter, TraceEvent::VoteCast { term, candidate: at as u64 + 1 });
            votes += 1;
        }
        if votes * 2 <= self.shape.nodes {
            return;
        }
        self.role(at, Role::Leader, term, Some(at as u64 + 1));
        self.nodes[at].matched = vec![0; self.shape.nodes];
        self.append(at, None);
    }

    fn append(&mut self, at: usize, request: Option<(u64, u64)>) {
        self.entries += 1;
        let node = &mut self.nodes[at];
        let bytes = request
            .map_or(vec![], |(client, sequence)| [client.to_le_bytes(), sequence.to_le_bytes()].concat());
        node.log.push(Entry { term: node.term, checksum: checksum(&bytes), request });
        let index = node.log.len();
        node.matched[at] = index;
        self.appended(at, index);
    }

    fn propose(&mut self, at: usize) {
        if self.nodes[at].role != Role::Leader {
            return;
        }
        let client = self.below(self.shape.clients);
        let Client { session, sequence, open: Some(open), .. } = &mut self.clients[client] else { return };
        if open.f == Function::Read {
            return;
        }
        let request = Some((*session, *sequence));
        // A client may send the same request twice, to two leaders.
        let again = open.proposed;
        open.proposed = true;
        if !again || self.below(6) == 0 {
            self.append(at, request);
        }
    }

    fn replicate(&mut self, from: usize, to: usize) {
        let term = self.nodes[from].term;
        if from == to || self.nodes[from].role != Role::Leader || self.nodes[to].term > term {
            return;
        }
        if self.nodes[to].term < term || self.nodes[to].role != Role::Follower {
            self.role(to, Role::Follower, term, Some(from as u64 + 1));
        }
        let (source, target) = (&self.nodes[from], &self.nodes[to]);
        if source.snapshot > target.log.len() && self.below(2) == 0 {
            self.install(from, to);
            return;
        }
        // What both know as committed is the same in both.
        let known = self.nodes[to].commit.min(self.nodes[from].commit);
        let same = known
            + (known..self.nodes[to].log.len().min(self.nodes[from].log.len()))
                .take_while(|at| self.nodes[to].log[*at] == self.nodes[from].log[*at])
                .count();
        let most = self.nodes[from].log.len();
        let until = same + if most > same { self.below(most - same + 1) } else { 0 };
        if until > same {
            if self.nodes[to].log.len() > same {
                self.nodes[to].log.truncate(same);
                self.trace(to, TraceEvent::Truncated { from: same as u64 + 1 });
            }
            for index in same + 1..=until {
                let entry = self.nodes[from].log[index - 1].clone();
                self.nodes[to].log.push(entry);
                self.appended(to, index);
            }
        }
        // Only what this leader has compared counts: entries behind a conflict are not yet known to match.
        self.nodes[from].matched[to] = until.max(self.nodes[from].matched[to]);
        let commit = self.nodes[from].commit.min(until);
        self.commit(to, commit);
    }

    fn install(&mut self, from: usize, to: usize) {
        let index = self.nodes[from].snapshot;
        self.nodes[to].log = self.nodes[from].log[..index].to_vec();
        let node = &mut self.nodes[to];
        (node.snapshot, node.commit, node.applied) = (index, index, index);
        let event = TraceEvent::SnapshotInstalled {
            index: index as u64,
            term: node.log[index - 1].term,
            state: self.truth[index - 1].state,
        };
        self.nodes[from].matched[to] = index;
        self.trace(to, event);
    }

    fn snapshot(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if node.applied > node.snapshot {
            node.snapshot = node.applied;
            let index = node.snapshot;
            let event = TraceEvent::SnapshotMade {
                index: index as u64,
                term: node.log[index - 1].term,
                state: self.truth[index - 1].state,
            };
            self.trace(at, event);
        }
    }

    fn advance(&mut self, at: usize) {
        if self.nodes[at].role != Role::Leader {
            return;
        }
        let mut matched = self.nodes[at].matched.clone();
        matched.sort_unstable();
        let index = matched[(self.shape.nodes - 1) / 2];
        if index == 0 || self.nodes[at].log[index - 1].term != self.nodes[at].term {
            return;
        }
        while self.truth.len() < index {
            let entry = self.nodes[at].log[self.truth.len()].clone();
            self.decide(entry);
        }
        self.commit(at, index);
    }

    /// An entry is committed: it takes effect.
    fn decide(&mut self, entry: Entry) {
        let state = self.truth.last().map_or(0, |done| done.state);
        let state = checksum(&[state.to_le_bytes(), entry.checksum.to_le_bytes()].concat());
        let duplicate = entry.request.is_some_and(|request| !self.requests.insert(request));
        let mut mismatch = false;
        if let Some(request) = entry.request
            && !duplicate
        {
            // The request's arguments are found in the history: a request is invoked before it is proposed.
            let invoked = self
                .run
                .history
                .iter()
                .rev()
                .find(|event| {
                    event.kind == Kind::Invoke
                        && (event.client, event.sequence) == (Some(request.0), Some(request.1))
                })
                .expect("only requests that were invoked are proposed");
            let key: usize = invoked.key[1..].parse().expect("keys are k0, k1, …");
            match invoked.f {
                Function::Cas if invoked.value[0] != self.registers[key] => mismatch = true,
                Function::Cas => self.registers[key] = invoked.value[1].clone(),
                _ => self.registers[key] = invoked.value.clone(),
            }
        }
        self.truth.push(Done { entry, duplicate, state, mismatch });
    }

    fn commit(&mut self, at: usize, index: usize) {
        if index > self.nodes[at].commit {
            self.nodes[at].commit = index;
            self.trace(at, TraceEvent::Committed { index: index as u64 });
        }
    }

    fn apply(&mut self, at: usize) {
        while self.nodes[at].applied < self.nodes[at].commit {
            self.nodes[at].applied += 1;
            let index = self.nodes[at].applied;
            let done = &self.truth[index - 1];
            assert!(done.entry == self.nodes[at].log[index - 1], "the generator itself must be right");
            let (client, sequence) = done.entry.request.unwrap_or((0, 0));
            let event = TraceEvent::Applied {
                index: index as u64,
                term: done.entry.term,
                state: done.state,
                client,
                sequence,
                duplicate: done.duplicate,
            };
            self.trace(at, event);
            if self.below(5) == 0 {
                return;
            }
        }
    }

    fn event(
        &mut self,
        process: u64,
        kind: Kind,
        f: Function,
        key: usize,
        value: Value,
    ) -> &mut HistoryEvent {
        self.now_ns += 10_000;
        self.run.history.push(HistoryEvent {
            index: self.run.history.len() as u64,
            ..HistoryEvent::new(self.now_ns, process, kind, f, &format!("k{key}"), value)
        });
        self.run.history.last_mut().expect("just pushed")
    }

    /// A client begins an operation, or ends the one that it has.
    fn client(&mut self, at: usize) {
        if self.clients[at].open.is_none() {
            self.begun += 1;
            let key = self.below(self.shape.keys);
            let new = json!((at + 1) * 1_000_000 + self.begun);
            let (f, value) = match self.below(5) {
                0 | 1 => (Function::Read, Value::Null),
                2 | 3 => (Function::Write, new),
                _ => (Function::Cas, json!([self.registers[key], new])),
            };
            self.invoke(at, f, key, value, false);
            return;
        }
        self.complete(at, false);
    }

    fn invoke(&mut self, at: usize, f: Function, key: usize, value: Value, is_final: bool) {
        let client = &mut self.clients[at];
        if f != Function::Read {
            client.sequence += 1;
        }
        let (process, session, sequence) = (client.process, client.session, client.sequence);
        client.open = Some(Open { f: f.clone(), key, value: value.clone(), proposed: false });
        let event = self.event(process, Kind::Invoke, f.clone(), key, value);
        event.is_final = is_final;
        if f != Function::Read {
            (event.client, event.sequence) = (Some(session), Some(sequence));
        }
    }

    fn complete(&mut self, at: usize, is_final: bool) {
        let give_up = !is_final && self.below(12) == 0;
        let client = &self.clients[at];
        let Some(Open { f, key, value, proposed }) = &client.open else { return };
        let (process, session, sequence) = (client.process, client.session, client.sequence);
        let (f, key, value, proposed) = (f.clone(), *key, value.clone(), *proposed);
        let is_read = f == Function::Read;
        let done = (0..self.truth.len())
            .find(|index| !is_read && self.truth[*index].entry.request == Some((session, sequence)));
        let (kind, answer, log_index, error) = match done {
            _ if is_read && give_up => (Kind::Fail, Value::Null, None, Some("timeout")),
            _ if is_read => (Kind::Ok, self.registers[key].clone(), Some(self.truth.len() as u64), None),
            Some(index) if !give_up && self.truth[index].mismatch => {
                (Kind::Fail, value, Some(index as u64 + 1), Some("mismatch"))
            }
            Some(index) if !give_up => (Kind::Ok, value, Some(index as u64 + 1), None),
            _ if give_up && proposed => (Kind::Info, value, None, Some("timeout")),
            _ if give_up => (Kind::Fail, value, None, Some("unavailable")),
            _ => return,
        };
        let event = self.event(process, kind, f, key, answer);
        (event.log_index, event.error, event.is_final) = (log_index, error.map(String::from), is_final);
        if !is_read {
            (event.client, event.sequence) = (Some(session), Some(sequence));
        }
        let client = &mut self.clients[at];
        client.open = None;
        if kind == Kind::Info {
            client.process += 1000;
            client.session += 1000;
            client.sequence = 0;
        }
    }

    fn home_read(&mut self, at: usize, is_final: bool) {
        let process = 500 + at as u64;
        for key in 0..if is_final { self.shape.keys } else { 1 } {
            let value = self.registers[key].clone();
            for (kind, value) in [(Kind::Invoke, Value::Null), (Kind::Ok, value)] {
                let event = self.event(process, kind, Function::Read, key, value);
                (event.home, event.is_final, event.node) = (true, is_final, Some(at as u64 + 1));
            }
        }
    }

    /// All is healed; a leader brings everyone up to date; final operations.
    fn recover(&mut self) {
        self.nemesis(None, Phase::AllHealed, "all_healed", Vec::new());
        let best = (0..self.shape.nodes)
            .max_by_key(|at| (self.nodes[*at].log.last().map(|entry| entry.term), self.nodes[*at].log.len()))
            .expect("there are nodes");
        let leader = loop {
            let term = self.nodes.iter().map(|node| node.term).max().unwrap_or(0);
            if self.nodes[best].role == Role::Leader && self.nodes[best].term == term {
                break best;
            }
            if self.nodes[best].term < term {
                self.role(best, Role::Follower, term, None);
            }
            self.elect(best);
        };
        self.settle(leader);
        for client in 0..self.shape.clients {
            while self.clients[client].open.is_some() {
                self.complete(client, false);
                if self.clients[client].open.is_some() {
                    self.propose(leader);
                    self.settle(leader);
                }
            }
        }
        for key in 0..self.shape.keys {
            let new = json!(900_000_000 + key);
            self.invoke(0, Function::Write, key, new, true);
            let request = (self.clients[0].session, self.clients[0].sequence);
            self.append(leader, Some(request));
            self.settle(leader);
            self.complete(0, true);
        }
        for at in 0..self.shape.nodes {
            self.home_read(at, true);
        }
    }

    fn settle(&mut self, leader: usize) {
        let behind = |world: &World| {
            let last = world.nodes[leader].log.len();
            world.nodes.iter().any(|node| node.log.len() < last || node.applied < last)
        };
        while behind(self) {
            for at in 0..self.shape.nodes {
                self.replicate(leader, at);
            }
            self.advance(leader);
            for at in 0..self.shape.nodes {
                self.apply(at);
            }
        }
    }
}
