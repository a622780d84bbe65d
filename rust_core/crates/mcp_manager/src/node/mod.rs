//! One whole manager with no I/O: a Raft replica, the state machine, and the requests that wait.
//!
//! What goes in is an [`Input`], what comes out are [`Output`]s, which the shell (a simulated world, or a
//! binary on a real machine) carries out **in the order given**: so what a `Trace` reports is on record
//! before any `Send` or `Reply` behind it can leave the node. In particular:
//! - `Persist`: write the batch (see `mcp_chaos_consensus::Batch`), sync if it must, then `Input::Persisted`,
//!   in the order of the tokens.
//! - `SaveSnapshot`: write the snapshot's file atomically and durably, then `Input::SnapshotSaved`. The log
//!   below it may then be cut, but for `Options::keep_entries`.
//! - `Found`: the node was empty and is a member now. The shell founds the directory and starts a new [`Node`].
//! - `Fatal`: the node has stopped, answers nobody and ignores every further input. The shell ends it as after
//!   a panic, but the trace says `stopped`, with the reason.
//!
//! How trouble is answered:
//! - An entry that does not decode is applied as `Outcome::Rejected`, the same on every replica.
//! - A snapshot that does not restore, or another cluster's, is [`StartError`] at the start, and
//!   [`FatalError`] when the leader sent it: the node cannot go on without the state, nor with half of it.
//! - A message for another node, or from nobody, is dropped. That a peer belongs to the same cluster, and is
//!   whom its messages say they are from, is for the shell to see to before it hands them over.
//! - A node that was never founded answers `Unavailable`, and neither votes nor listens. Told to join, it waits for
//!   a leader's first snapshot; until then it has nothing to keep.
//! - A node that was removed answers `NotMember`.

mod boundary;
mod durable_log;
mod errors;
mod inspect;
#[cfg(feature = "plants")]
mod lease;
mod membership;
mod options;
mod pending;
mod recovery;
#[cfg(feature = "plants")]
mod speculation;
mod status;

use std::collections::BTreeMap;

use bytes::Bytes;
use mcp_chaos_consensus::{
    Effect, Entry, EntryKind, Event, Message, Recovered, Replica, Snapshot, SnapshotMeta,
};
use mcp_chaos_evidence::{NodeId, Plant, TraceEvent, rng::Stream};

pub use self::boundary::{Input, Now, Output};
use self::durable_log::DurableLog;
pub use self::durable_log::LogEntry;
pub use self::errors::{FatalError, InitError, MAX_CLUSTER_BYTES, StartError};
pub use self::options::Options;
use self::pending::{Pending, Stage};
use self::recovery::{check_log, check_options, restore};
pub use self::status::{NodeStatus, Observation};
use crate::command::{Command, Query, Request, Response};
use crate::limits::{self, SessionLimits};
use crate::machine::Machine;

/// A snapshot of the node's own state, on its way to the disk.
#[derive(Clone, Debug)]
struct Saving {
    snapshot: Box<Snapshot>,
    state: u64,
}

/// One manager.
pub struct Node {
    options: Options,
    boot: u64,
    replica: Replica,
    machine: Machine,
    /// The last entry applied, or covered by the snapshot restored: (index, term).
    applied: (u64, u64),
    founded: bool,
    /// The cluster that it waits to be a member of, if it is empty and was told to.
    joining: Option<String>,
    stopped: bool,
    ticks: u64,
    pending: Pending,
    /// Last index of the newest snapshot, durable or on its way.
    snapshot_index: u64,
    saving: Option<Saving>,
    /// A snapshot of the leader's is on its way to the disk: none of the node's own may follow it there.
    installing: bool,
    received: BTreeMap<NodeId, u64>,
    durable_log: DurableLog,
    /// Answers that wait until the trace has what they tell.
    told_next: Vec<Output>,
    /// Kept so that a step does not allocate.
    effects: Vec<Effect>,
    /// The node's own clocks at the last input.
    now: Now,
    /// The state before the entry at which a snapshot is due (`applied-index-ahead`).
    early: Option<Bytes>,
    #[cfg(feature = "plants")]
    speculation: speculation::Speculation,
    #[cfg(feature = "plants")]
    lease: lease::Lease,
}

impl Node {
    /// The snapshot that founding a cluster writes: the same bytes on every node. The shell saves it, with
    /// the cluster's name, and then opens a [`Node`] on it.
    pub fn found(cluster: &str, id: NodeId, voters: &[NodeId]) -> Result<Snapshot, InitError> {
        Node::found_with(cluster, id, voters, SessionLimits::default())
    }

    /// As [`Node::found`], with session limits of the operator's choice; `Options` must then name the same.
    pub fn found_with(
        cluster: &str,
        id: NodeId,
        voters: &[NodeId],
        sessions: SessionLimits,
    ) -> Result<Snapshot, InitError> {
        if cluster.is_empty() || cluster.len() > MAX_CLUSTER_BYTES || cluster.chars().any(char::is_control) {
            return Err(InitError::BadCluster);
        }
        let data = Machine::found(cluster, sessions).snapshot();
        Replica::found(cluster, id, voters, data).map_err(|_| InitError::BadVoters)
    }

    /// Starts a node on what its disk held.
    pub fn new(options: Options, recovered: Recovered, out: &mut Vec<Output>) -> Result<Node, StartError> {
        check_options(&options)?;
        check_log(&recovered)?;
        let founded = recovered.snapshot.is_some();
        let (machine, applied) = match &recovered.snapshot {
            Some(snapshot) => {
                let error = |error| StartError::Snapshot { index: snapshot.meta.index, error };
                let machine = restore(&snapshot.data, &recovered.cluster).map_err(error)?;
                if machine.session_limits() != options.session_limits() {
                    return Err(StartError::SessionLimits {
                        founded: machine.session_limits(),
                        configured: options.session_limits(),
                    });
                }
                (
                    machine.planted(options.plants, map_order(&options, recovered.boot)),
                    (snapshot.meta.index, snapshot.meta.term),
                )
            }
            None => (Machine::found("", options.session_limits()), (0, 0)),
        };
        let boot = recovered.boot;
        let mut effects = Vec::new();
        let snapshot_state = if founded { machine.state_checksum() } else { 0 };
        let replica = Replica::new(options.of_consensus(snapshot_state), recovered, &mut effects);
        let mut node = Node {
            options,
            boot,
            replica,
            machine,
            applied,
            founded,
            joining: None,
            stopped: false,
            ticks: 0,
            pending: Pending::default(),
            snapshot_index: applied.0,
            saving: None,
            installing: false,
            received: BTreeMap::new(),
            durable_log: DurableLog::default(),
            told_next: Vec::new(),
            effects: Vec::new(),
            now: Now::default(),
            early: None,
            #[cfg(feature = "plants")]
            speculation: speculation::Speculation::default(),
            #[cfg(feature = "plants")]
            lease: lease::Lease::default(),
        };
        node.carry_out_all(effects, out);
        Ok(node)
    }

    /// Handles one input. The time of day is what a leader writes into the entries it proposes (sessions expire by
    /// it); nothing else depends on a clock.
    pub fn handle(&mut self, now: impl Into<Now>, input: Input, out: &mut Vec<Output>) {
        if self.stopped {
            return;
        }
        self.now = now.into();
        match input {
            Input::Tick => {
                self.ticks += 1;
                if self.founded {
                    self.step(Event::Tick, out);
                    #[cfg(feature = "plants")]
                    self.renew_lease(out);
                    self.give_up_expired(out);
                }
            }
            Input::Peer(message) => {
                let Message { from, to, .. } = *message;
                if !self.founded {
                    self.receive_empty(*message, out);
                } else if to == self.options.id && from != 0 && from != to {
                    *self.received.entry(from).or_default() += 1;
                    self.step(Event::Receive(message), out);
                }
            }
            Input::Client { ticket, request } => self.serve(ticket, *request, out),
            Input::Persisted { token } => self.step(Event::Persisted { token }, out),
            Input::SnapshotSaved { index } => self.snapshot_saved(index, out),
            Input::Unreachable { peer } => self.step(Event::Unreachable { peer }, out),
            Input::SnapshotSent { peer, delivered } => {
                self.step(Event::SnapshotSent { peer, delivered }, out)
            }
            Input::Cancel { ticket } => {
                if let Some(Stage::Reading(_)) = self.forget(ticket) {
                    self.step(Event::ForgetRead { ticket }, out);
                }
            }
        }
    }

    fn serve(&mut self, ticket: u64, request: Request, out: &mut Vec<Output>) {
        let reply = |response| Output::Reply { ticket, response };
        if let Request::Join { cluster } = request {
            let response = self.begin_to_join(cluster);
            return out.push(reply(response));
        }
        if let Some(refusal) = self.turned_away(&request) {
            return out.push(reply(refusal));
        }
        let now_ms = self.now.wall_ms;
        match request {
            Request::OpenSession => self.propose(ticket, &Command::OpenSession { now_ms }, out),
            Request::Operate { client, sequence, operation } => {
                self.propose(ticket, &Command::Operate { client, sequence, now_ms, operation }, out);
            }
            Request::Query(query) => self.read(ticket, query, out),
            Request::TransferLeader { to } => {
                let response = self.transfer_leader(to, out);
                out.push(reply(response));
            }
            Request::SnapshotNow => {
                let response = self.snapshot_now(out);
                out.push(reply(response));
            }
            Request::ChangeMembership(change) => self.change_membership(ticket, change, out),
            Request::Join { .. } => {}
        }
    }

    fn propose(&mut self, ticket: u64, command: &Command, out: &mut Vec<Output>) {
        if !self.replica.is_leader() {
            let response = Response::NotLeader { leader: self.replica.leader() };
            return out.push(Output::Reply { ticket, response });
        }
        let data = command.encode();
        if data.len() > limits::MAX_COMMAND_BYTES {
            let reason =
                format!("a request has at most {} bytes, not {}", limits::MAX_COMMAND_BYTES, data.len());
            return out.push(Output::Reply { ticket, response: Response::Unavailable { reason } });
        }
        if self.admit(ticket, Stage::Proposing, out) {
            #[cfg(feature = "plants")]
            if self.options.plants.has(Plant::AckBeforeCommit) {
                self.speculation.proposing(ticket, command);
            }
            self.step(Event::Propose { ticket, data }, out);
        }
    }

    fn read(&mut self, ticket: u64, query: Query, out: &mut Vec<Output>) {
        #[cfg(feature = "plants")]
        if self.options.plants.has(Plant::StaleRead) && self.replica.is_leader() {
            return out.push(Output::Reply { ticket, response: self.answer(&query) });
        }
        if self.admit(ticket, Stage::Reading(query), out) {
            #[cfg(feature = "plants")]
            if self.options.plants.has(Plant::LeaseReadDrift) && self.replica.is_leader() {
                let (term, now_ms) = (self.term(), self.now.monotonic_ms);
                if self.lease.holds(term, now_ms) {
                    self.pending.set_ready(ticket, self.replica.status().commit);
                    return self.answer_reads(out);
                }
                self.lease.ask(ticket, term, now_ms);
            }
            self.step(Event::Read { ticket }, out);
        }
    }

    /// Lets a request wait, or turns it away.
    fn admit(&mut self, ticket: u64, stage: Stage, out: &mut Vec<Output>) -> bool {
        let refused = if self.pending.contains(ticket) {
            "another request of this ticket waits: tickets are unique within a boot"
        } else if self.pending.len() >= self.options.max_pending {
            "overloaded: too many requests wait; try again later"
        } else {
            let deadline = self.ticks + u64::from(self.options.request_timeout_ticks);
            self.pending.add(ticket, deadline, stage);
            return true;
        };
        out.push(Output::Reply { ticket, response: unavailable(refused) });
        false
    }

    fn transfer_leader(&mut self, to: NodeId, out: &mut Vec<Output>) -> Response {
        if !self.replica.is_leader() {
            return Response::NotLeader { leader: self.replica.leader() };
        }
        if !self.replica.applied_meta().configuration.voters.contains(&to) {
            return unavailable("leadership can only be handed to a voter");
        }
        if to != self.options.id {
            #[cfg(feature = "plants")]
            self.lease.hand_over(self.term());
            self.step(Event::TransferLeader { to }, out);
        }
        Response::Accepted
    }

    fn snapshot_now(&mut self, out: &mut Vec<Output>) -> Response {
        if self.saving.is_some() || self.installing {
            return unavailable("a snapshot is already on its way to the disk");
        }
        if self.applied.0 > self.snapshot_index {
            self.save_snapshot(out);
        }
        Response::Accepted
    }

    /// Steps the replica and carries out what it says.
    fn step(&mut self, event: Event, out: &mut Vec<Output>) {
        let mut effects = std::mem::take(&mut self.effects);
        self.replica.step(event, &mut effects);
        self.effects = self.carry_out_all(effects, out);
    }

    /// Gives the emptied list back.
    fn carry_out_all(&mut self, mut effects: Vec<Effect>, out: &mut Vec<Output>) -> Vec<Effect> {
        for effect in effects.drain(..) {
            if !self.stopped {
                self.carry_out(effect, out);
            }
        }
        out.append(&mut self.told_next);
        if !self.stopped {
            self.save_snapshot_if_due(out);
        }
        effects
    }

    fn carry_out(&mut self, effect: Effect, out: &mut Vec<Output>) {
        match effect {
            Effect::Persist { token, batch } => {
                self.installing |= batch.snapshot.is_some();
                out.push(Output::Persist { token, batch });
            }
            Effect::Send(message) => out.push(Output::Send(message)),
            Effect::Apply(entries) => self.apply_all(&entries, out),
            Effect::Restore(snapshot) => self.install(&snapshot, out),
            Effect::Proposed { ticket, index, term } => {
                self.pending.set_proposed(ticket, index, term);
                #[cfg(feature = "plants")]
                self.acknowledge_early(ticket, index, out);
            }
            Effect::ProposalFailed { ticket, leader } => {
                if self.forget(ticket).is_some() {
                    let response = match leader {
                        Some(leader) if leader == self.options.id => {
                            unavailable("leadership is being handed over; try again")
                        }
                        leader => Response::NotLeader { leader },
                    };
                    out.push(Output::Reply { ticket, response });
                }
            }
            Effect::ChangeRefused { ticket, why } => {
                if self.forget(ticket).is_some() {
                    out.push(Output::Reply { ticket, response: Response::ChangeRefused { why } });
                }
            }
            Effect::ReadReady { ticket, index } => {
                let applied = self.applied.0;
                let index = if self.options.plants.has(Plant::ReadBeforeApplied) { applied } else { index };
                #[cfg(feature = "plants")]
                if self.replica.is_leader() {
                    // A follower that has just heard of this leader counts whole ticks, and the first may come at once.
                    let ticks = u64::from(self.options.election_ticks) - 1;
                    let patience_ms = ticks * self.options.tick_ns / 1_000_000;
                    self.lease.confirmed(ticket, self.term(), patience_ms);
                }
                self.pending.set_ready(ticket, index);
                self.answer_reads(out);
            }
            Effect::Trace(event) => {
                self.durable_log.follow(&event);
                out.push(Output::Trace(event));
            }
            Effect::Halt(broken) => self.stop(FatalError::Broken(broken), out),
        }
    }

    fn apply_all(&mut self, entries: &[Entry], out: &mut Vec<Output>) {
        for (entry, left) in entries.iter().zip((0..entries.len()).rev()) {
            if left == 0 && self.options.plants.has(Plant::AppliedIndexAhead) && self.is_due(entry.index) {
                self.early = Some(self.machine.snapshot());
            }
            self.apply(entry, out);
        }
        self.answer_reads(out);
    }

    fn apply(&mut self, entry: &Entry, out: &mut Vec<Output>) {
        // What a configuration change carries is the replica's business; to the state it is a no-op.
        let data: &[u8] = if entry.kind == EntryKind::Normal { &entry.data } else { &[] };
        let dated_here = if self.options.plants.has(Plant::LocalTime) { self.dated_here(data) } else { None };
        let data = dated_here.as_deref().unwrap_or(data);
        let applied = self.machine.apply(entry.index, entry.term, data);
        self.applied = (entry.index, entry.term);
        out.push(Output::Trace(TraceEvent::Applied {
            index: entry.index,
            term: entry.term,
            state: applied.state_checksum,
            client: applied.client,
            sequence: applied.sequence,
            duplicate: applied.duplicate,
        }));
        #[cfg(feature = "plants")]
        self.speculation.applied(entry.index);
        while let Some((ticket, _, term)) = self.pending.pop_proposed(entry.index) {
            let response = if term == entry.term && entry.kind != EntryKind::Normal {
                // The configuration is on record only after this entry.
                let response = Response::Changed { log_index: entry.index };
                self.told_next.push(Output::Reply { ticket, response });
                continue;
            } else if term == entry.term {
                Response::Applied { outcome: applied.outcome.clone(), log_index: applied.log_index }
            } else {
                // Another leader's entry is committed where this one stood: it can never be (§3.6.2).
                unavailable("superseded: another leader's entry was committed in its place; try again")
            };
            out.push(Output::Reply { ticket, response });
        }
    }

    /// Replaces the state by the leader's snapshot, which is durable.
    fn install(&mut self, snapshot: &Snapshot, out: &mut Vec<Output>) {
        let SnapshotMeta { index, term, .. } = snapshot.meta;
        match restore(&snapshot.data, self.machine.cluster()) {
            Ok(machine) => {
                self.machine = machine.planted(self.options.plants, map_order(&self.options, self.boot));
            }
            Err(error) => return self.stop(FatalError::Restore { index, error }, out),
        }
        self.installing = false;
        self.durable_log = DurableLog::default();
        self.applied = (index, term);
        self.snapshot_index = index;
        // An own snapshot still on its way is older than this one (see `installing`), and of no more use.
        self.saving = None;
        let state = self.machine.state_checksum();
        out.push(Output::Trace(TraceEvent::SnapshotInstalled { index, term, state }));
        #[cfg(feature = "plants")]
        self.speculation.applied(index);
        while let Some((ticket, ..)) = self.pending.pop_proposed(index) {
            let reason = "a snapshot of the leader's covers the place where it stood: applied or not".into();
            out.push(Output::Reply { ticket, response: Response::Unknown { reason } });
        }
        self.answer_reads(out);
    }

    fn stop(&mut self, error: FatalError, out: &mut Vec<Output>) {
        self.stopped = true;
        out.push(Output::Trace(TraceEvent::Stopped { reason: error.to_string() }));
        out.push(Output::Fatal(error));
    }

    fn save_snapshot_if_due(&mut self, out: &mut Vec<Output>) {
        let may_save = self.saving.is_none() && !self.installing && self.applied.0 > self.snapshot_index;
        if self.is_due(self.applied.0) || may_save && self.replica.takes_wish_for_snapshot() {
            self.save_snapshot(out);
        }
    }

    /// Whether a snapshot is to be made once `index` has been applied.
    fn is_due(&self, index: u64) -> bool {
        let every = self.options.snapshot_every_entries;
        every > 0 && index - self.snapshot_index >= every && self.saving.is_none() && !self.installing
    }

    /// Only between two steps: the replica's configuration is the one at the last entry handed out.
    fn save_snapshot(&mut self, out: &mut Vec<Output>) {
        let meta = self.replica.applied_meta().clone();
        debug_assert_eq!((meta.index, meta.term), self.applied);
        let data = self.early.take().unwrap_or_else(|| self.machine.snapshot());
        let snapshot = Box::new(Snapshot { meta, data });
        self.snapshot_index = self.applied.0;
        self.saving = Some(Saving { snapshot: snapshot.clone(), state: self.machine.state_checksum() });
        out.push(Output::SaveSnapshot(snapshot));
    }

    fn snapshot_saved(&mut self, index: u64, out: &mut Vec<Output>) {
        let Some(saving) = self.saving.take_if(|saving| saving.snapshot.meta.index == index) else { return };
        let term = saving.snapshot.meta.term;
        out.push(Output::Trace(TraceEvent::SnapshotMade { index, term, state: saving.state }));
        self.step(Event::SnapshotMade(saving.snapshot), out);
        self.durable_log.cut_below(self.replica.status().first_index);
    }

    fn answer_reads(&mut self, out: &mut Vec<Output>) {
        while let Some((ticket, query)) = self.pending.pop_ready(self.applied.0) {
            out.push(Output::Reply { ticket, response: self.answer(&query) });
        }
    }

    fn answer(&self, query: &Query) -> Response {
        Response::Read { answer: self.machine.query(query), log_index: self.applied.0 }
    }

    fn give_up_expired(&mut self, out: &mut Vec<Output>) {
        while let Some((ticket, stage)) = self.pending.pop_expired(self.ticks) {
            #[cfg(feature = "plants")]
            self.speculation.forget(ticket);
            let response = match stage {
                Stage::Proposing | Stage::Proposed { .. } => {
                    Response::Unknown { reason: "it was proposed, and not applied in time".into() }
                }
                Stage::Reading(_) => {
                    #[cfg(feature = "plants")]
                    self.lease.forget(ticket);
                    self.step(Event::ForgetRead { ticket }, out);
                    unavailable("no leader confirmed the read in time; try again")
                }
                Stage::ReadReady { .. } => {
                    unavailable("what the read needs was not applied in time; try again")
                }
            };
            out.push(Output::Reply { ticket, response });
        }
    }

    fn forget(&mut self, ticket: u64) -> Option<Stage> {
        #[cfg(feature = "plants")]
        {
            self.speculation.forget(ticket);
            self.lease.forget(ticket);
        }
        self.pending.remove(ticket)
    }

    /// The planted bug `local-time`: the command as if it had been proposed now, by this node's clock.
    fn dated_here(&self, data: &[u8]) -> Option<Bytes> {
        let mut command = Command::decode(data).ok()?;
        match &mut command {
            Command::OpenSession { now_ms } | Command::Operate { now_ms, .. } => *now_ms = self.now.wall_ms,
        }
        Some(command.encode())
    }

    /// The planted bug `lease-read-drift`: a leader asks its followers as often as it sends heartbeats.
    #[cfg(feature = "plants")]
    fn renew_lease(&mut self, out: &mut Vec<Output>) {
        let is_due = self.ticks.is_multiple_of(u64::from(self.options.heartbeat_ticks));
        if is_due && self.options.plants.has(Plant::LeaseReadDrift) && self.replica.is_leader() {
            let ticket = lease::RENEWALS + self.ticks;
            self.lease.ask(ticket, self.term(), self.now.monotonic_ms);
            self.step(Event::Read { ticket }, out);
        }
    }

    /// The planted bug `ack-before-commit`.
    #[cfg(feature = "plants")]
    fn acknowledge_early(&mut self, ticket: u64, index: u64, out: &mut Vec<Output>) {
        let Some((outcome, log_index)) = self.speculation.appended(ticket, index, &self.machine) else {
            return;
        };
        if self.pending.remove(ticket).is_some() {
            out.push(Output::Reply { ticket, response: Response::Applied { outcome, log_index } });
        }
    }
}

/// The seed of the planted bug `map-order`: what a randomly seeded map would have drawn at this start.
fn map_order(options: &Options, boot: u64) -> u64 {
    Stream::new(options.seed, "map_order", options.id, boot).bits(0)
}

fn unavailable(reason: &str) -> Response {
    Response::Unavailable { reason: reason.to_owned() }
}
