//! The replicated state machine: settings, a registry of MCP servers, counters, lists, leases, and the clients'
//! sessions. Pure.
//!
//! Same log, same state, on every replica: no clock but the log's, no randomness, ordered maps. An entry
//! that no version wrote has an outcome like any other; nothing that stands in a log panics.

mod checksum;
mod counters;
mod leases;
mod lists;
mod sessions;
mod snapshot;

use std::collections::BTreeMap;

use bytes::Bytes;
use mcp_chaos_evidence::{Plant, Plants, rng::Stream};
use serde::{Deserialize, Serialize};

use self::checksum::{Checksum, Item};
use self::counters::Counters;
use self::leases::Leases;
use self::lists::Lists;
use self::sessions::{Last, Session, Sessions};
pub use self::snapshot::SnapshotError;
use crate::command::{Answer, Command, Expected, Operation, Outcome, Query, Server, ServerState};
use crate::limits::{self, SessionLimits};

/// A setting's value and the log index of its last change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Setting {
    value: String,
    version: u64,
}

/// The whole state.
#[derive(Clone, Debug)]
pub struct Machine {
    cluster: String,
    limits: SessionLimits,
    /// The log's clock: the greatest leader's clock, in ms, of the entries that took effect.
    now_ms: u64,
    settings: BTreeMap<String, Setting>,
    servers: BTreeMap<String, Server>,
    counters: Counters,
    lists: Lists,
    leases: Leases,
    sessions: Sessions,
    checksum: Checksum,
    plants: Plants,
    /// In which order the planted bug `map-order` walks a map.
    map_order: u64,
}

/// What applying one entry did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The entry's index.
    pub index: u64,
    /// The entry's term.
    pub term: u64,
    /// What the request gave; a no-op is `Done` at its own index.
    pub outcome: Outcome,
    /// Where the request took effect: `index`, or for a retry the index of the first try.
    pub log_index: u64,
    /// The session of the request that was carried out, or had been before; 0 for an entry that carries
    /// none, and for a request that was not carried out (session expired, stale sequence number).
    pub client: u64,
    /// Its number within the session, 0 where `client` is.
    pub sequence: u64,
    /// True for a retry of what had been applied: it changed nothing.
    pub duplicate: bool,
    /// The checksum of the whole state after it.
    pub state_checksum: u64,
}

impl Machine {
    /// The empty state of a new cluster.
    pub fn found(cluster: &str, limits: SessionLimits) -> Machine {
        let mut machine = Machine {
            cluster: cluster.to_owned(),
            limits,
            now_ms: 0,
            settings: BTreeMap::new(),
            servers: BTreeMap::new(),
            counters: Counters::default(),
            lists: Lists::default(),
            leases: Leases::default(),
            sessions: Sessions::default(),
            checksum: Checksum::default(),
            plants: Plants::default(),
            map_order: 0,
        };
        machine.checksum = machine.checksum_of_content();
        machine
    }

    /// The same state with planted bugs. `map_order` is the seed that a randomly seeded map would have drawn.
    pub fn planted(self, plants: Plants, map_order: u64) -> Machine {
        Machine { plants, map_order, ..self }
    }

    /// Applies the entry at `index`, which must be above all applied before. Never panics on `data`.
    pub fn apply(&mut self, index: u64, term: u64, data: &[u8]) -> Applied {
        let not_carried_out =
            |outcome| Effect { outcome, log_index: index, request: (0, 0), duplicate: false };
        let effect = if data.is_empty() {
            not_carried_out(Outcome::Done { version: index })
        } else {
            match Command::decode(data) {
                Ok(Command::OpenSession { now_ms }) => not_carried_out(self.open_session(index, now_ms)),
                Ok(Command::Operate { client, sequence, now_ms, operation }) => {
                    self.operate(index, client, sequence, now_ms, operation)
                }
                Err(error) => not_carried_out(Outcome::Rejected { reason: error.to_string() }),
            }
        };
        Applied {
            index,
            term,
            outcome: effect.outcome,
            log_index: effect.log_index,
            client: effect.request.0,
            sequence: effect.request.1,
            duplicate: effect.duplicate,
            state_checksum: self.checksum.value(),
        }
    }

    /// Answers from the state as it is: whether that is recent enough is the caller's question.
    pub fn query(&self, query: &Query) -> Answer {
        match query {
            Query::Setting { key } => match self.settings.get(key) {
                Some(setting) => {
                    Answer::Setting { value: Some(setting.value.clone()), version: setting.version }
                }
                None => Answer::Setting { value: None, version: 0 },
            },
            Query::Server { name } => Answer::Server { server: self.servers.get(name).cloned() },
            Query::Servers => Answer::Servers { servers: self.servers.values().cloned().collect() },
            Query::Counter { key } => self.counters.query(key),
            Query::Lists { keys } => self.lists.query(keys),
            Query::Lease { name } => self.leases.query(name),
        }
    }

    /// The checksum of the whole state, kept up to date entry by entry. Two machines that found the same
    /// cluster and hold the same content have the same one, whatever index they have applied.
    pub fn state_checksum(&self) -> u64 {
        self.checksum.value()
    }

    /// The same checksum, computed afresh from everything the state holds.
    pub fn recomputed_checksum(&self) -> u64 {
        self.checksum_of_content().value()
    }

    /// The state as bytes. Same state, same bytes.
    pub fn snapshot(&self) -> Bytes {
        snapshot::write(self)
    }

    /// The state that [`Machine::snapshot`] wrote, its checksum computed from the content that arrived.
    pub fn restore(bytes: &[u8]) -> Result<Machine, SnapshotError> {
        snapshot::read(bytes)
    }

    /// The cluster this state belongs to.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// When sessions expire, as the cluster was founded.
    pub fn session_limits(&self) -> SessionLimits {
        self.limits
    }

    /// How many sessions are open.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// How many settings there are.
    pub fn setting_count(&self) -> usize {
        self.settings.len()
    }

    /// How many MCP servers are registered.
    pub fn server_count(&self) -> usize {
        self.servers.len()
    }

    /// A session's last sequence number (0 before its first request); none if the session is not open.
    pub fn last_sequence(&self, client: u64) -> Option<u64> {
        self.sessions.get(client).map(Session::last_sequence)
    }

    fn open_session(&mut self, index: u64, now_ms: u64) -> Outcome {
        self.advance_clock(now_ms);
        self.put_session(index, Session { used_ms: self.now_ms, last: None });
        while self.sessions.len() as u64 > self.limits.max_count.max(1) {
            self.expire_oldest_session();
        }
        Outcome::Session { client: index }
    }

    fn operate(
        &mut self,
        index: u64,
        client: u64,
        sequence: u64,
        now_ms: u64,
        operation: Operation,
    ) -> Effect {
        // A retry changes nothing, not even the clock: it is answered before anything else is looked at.
        if let Some(session) =
            self.sessions.get(client).filter(|_| !self.plants.has(Plant::RetryAppliedTwice))
        {
            if let Some(last) = session.last.as_ref().filter(|last| last.sequence == sequence) {
                return Effect {
                    outcome: last.outcome.clone(),
                    log_index: last.log_index,
                    request: (client, sequence),
                    duplicate: true,
                };
            }
            let last = session.last_sequence();
            if sequence <= last {
                return Effect::refused(index, Outcome::StaleSequence { last });
            }
        }
        self.advance_clock(now_ms);
        if self.sessions.get(client).is_none() {
            return Effect::refused(index, Outcome::SessionExpired);
        }
        let room = limits::check_room(&operation, self.checksum.bytes());
        let outcome = match limits::check(&operation).and(room) {
            Ok(()) => self.carry_out(index, operation),
            Err(reason) => Outcome::Rejected { reason },
        };
        let last = Last { sequence, log_index: index, outcome: outcome.clone() };
        self.put_session(client, Session { used_ms: self.now_ms, last: Some(last) });
        Effect { outcome, log_index: index, request: (client, sequence), duplicate: false }
    }

    fn carry_out(&mut self, index: u64, operation: Operation) -> Outcome {
        match operation {
            Operation::Write { key, value } => self.put_setting(index, key, value),
            Operation::CompareAndSet { key, expected, value } => {
                let (actual, version) = match self.settings.get(&key) {
                    Some(setting) => (Some(setting.value.as_str()), setting.version),
                    None => (None, 0),
                };
                if expected.holds(actual, version) {
                    self.put_setting(index, key, value)
                } else {
                    Outcome::Mismatch { actual: actual.map(str::to_owned), version }
                }
            }
            Operation::Register { server: spec } => {
                if self.servers.len() >= limits::MAX_SERVERS && !self.servers.contains_key(&spec.name) {
                    return Outcome::Rejected { reason: at_most(limits::MAX_SERVERS, "servers") };
                }
                self.put_server(Server { spec, state: ServerState::Registered, version: index })
            }
            Operation::Deregister { name } => match self.servers.remove(&name) {
                Some(server) => {
                    self.checksum.remove(&server_item(&server));
                    Outcome::Done { version: index }
                }
                None => Outcome::NotFound,
            },
            Operation::SetState { name, state } => match self.servers.get(&name) {
                Some(server) => self.put_server(Server { spec: server.spec.clone(), state, version: index }),
                None => Outcome::NotFound,
            },
            Operation::Add { key, amount } => self.counters.add(index, key, amount, &mut self.checksum),
            Operation::Transact { steps } => self.lists.transact(index, steps, &mut self.checksum),
            Operation::Acquire { name, holder, ttl_ms } => {
                let ends_ms = self.now_ms.saturating_add(ttl_ms);
                self.leases.acquire(index, name, holder, ends_ms, &mut self.checksum)
            }
            Operation::Renew { name, holder, ttl_ms } => {
                let ends_ms = self.now_ms.saturating_add(ttl_ms);
                self.leases.renew(self.plants, name, &holder, ends_ms, &mut self.checksum)
            }
            Operation::Release { name, holder } => {
                self.leases.release(index, &name, &holder, &mut self.checksum)
            }
        }
    }

    fn put_setting(&mut self, index: u64, key: String, value: String) -> Outcome {
        if let Some(setting) = self.settings.get_mut(&key) {
            self.checksum.remove(&setting_item(&key, setting));
            *setting = Setting { value, version: index };
            self.checksum.add(&setting_item(&key, setting));
        } else if self.settings.len() >= limits::MAX_SETTINGS {
            return Outcome::Rejected { reason: at_most(limits::MAX_SETTINGS, "settings") };
        } else {
            let setting = Setting { value, version: index };
            self.checksum.add(&setting_item(&key, &setting));
            self.settings.insert(key, setting);
        }
        Outcome::Done { version: index }
    }

    fn put_server(&mut self, server: Server) -> Outcome {
        let version = server.version;
        self.checksum.add(&server_item(&server));
        if let Some(previous) = self.servers.insert(server.spec.name.clone(), server) {
            self.checksum.remove(&server_item(&previous));
        }
        Outcome::Done { version }
    }

    fn put_session(&mut self, client: u64, session: Session) {
        self.checksum.add(&Item::Session { client, session: &session });
        if let Some(previous) = self.sessions.insert(client, session) {
            self.checksum.remove(&Item::Session { client, session: &previous });
        }
    }

    /// Moves the log's clock forward, never back, and ends leases and sessions whose time is over by it.
    fn advance_clock(&mut self, now_ms: u64) {
        if now_ms <= self.now_ms {
            return;
        }
        self.checksum.remove(&Item::Clock { now_ms: self.now_ms });
        self.now_ms = now_ms;
        self.checksum.add(&Item::Clock { now_ms });
        self.leases.advance(now_ms, &mut self.checksum);
        if self.plants.has(Plant::MapOrder) {
            return self.expire_first_of_map();
        }
        while self
            .sessions
            .oldest_used_ms()
            .is_some_and(|used_ms| now_ms.saturating_sub(used_ms) > self.limits.ttl_ms)
        {
            self.expire_oldest_session();
        }
    }

    /// The planted bug `map-order`: one session that has been idle for too long, the first in a randomly seeded
    /// map's order; others wait for the next entry.
    fn expire_first_of_map(&mut self) {
        let (now_ms, ttl_ms) = (self.now_ms, self.limits.ttl_ms);
        let place = |client: u64| Stream::new(self.map_order, "session", client, 0).bits(0);
        let idle =
            self.sessions.iter().filter(|(_, session)| now_ms.saturating_sub(session.used_ms) > ttl_ms);
        let first = idle.map(|(client, _)| client).min_by_key(|client| place(*client));
        if let Some((client, session)) = first.and_then(|client| self.sessions.remove(client)) {
            self.checksum.remove(&Item::Session { client, session: &session });
        }
    }

    fn expire_oldest_session(&mut self) {
        if let Some((client, session)) = self.sessions.pop_oldest() {
            self.checksum.remove(&Item::Session { client, session: &session });
        }
    }

    fn checksum_of_content(&self) -> Checksum {
        let mut checksum = Checksum::default();
        checksum.add(&Item::Founding { cluster: &self.cluster, sessions: &self.limits });
        checksum.add(&Item::Clock { now_ms: self.now_ms });
        for (key, setting) in &self.settings {
            checksum.add(&setting_item(key, setting));
        }
        for server in self.servers.values() {
            checksum.add(&server_item(server));
        }
        for (client, session) in self.sessions.iter() {
            checksum.add(&Item::Session { client, session });
        }
        self.counters.sum_up(&mut checksum);
        self.lists.sum_up(&mut checksum);
        self.leases.sum_up(&mut checksum);
        checksum
    }
}

impl Expected {
    /// Whether what is found is what was expected.
    pub(crate) fn holds(&self, actual: Option<&str>, actual_version: u64) -> bool {
        match self {
            Expected::Value(value) => value.as_deref() == actual,
            Expected::Version(version) => *version == actual_version,
        }
    }
}

/// What a command did, before the entry's own index and the checksum are put beside it.
struct Effect {
    outcome: Outcome,
    log_index: u64,
    request: (u64, u64),
    duplicate: bool,
}

impl Effect {
    /// A request that was not carried out, so nobody's (client, sequence) stands at this index.
    fn refused(index: u64, outcome: Outcome) -> Effect {
        Effect { outcome, log_index: index, request: (0, 0), duplicate: false }
    }
}

fn setting_item<'a>(key: &'a str, setting: &'a Setting) -> Item<'a> {
    Item::Setting { key, value: &setting.value, version: setting.version }
}

fn server_item(server: &Server) -> Item<'_> {
    Item::Server { spec: &server.spec, state: server.state, version: server.version }
}

fn at_most(count: usize, what: &str) -> String {
    format!("there are at most {count} {what}: remove one first")
}
