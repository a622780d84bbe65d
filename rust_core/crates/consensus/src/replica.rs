//! The replica: one event in, effects out.

use std::collections::{BTreeMap, VecDeque};
use std::mem;

use bytes::Bytes;
use mcp_chaos_evidence::{NodeId, Plant, Role, TraceEvent};
use raft::eraftpb as pb;
use raft::{RawNode, ReadOnlyOption, SnapshotStatus, StateRole};

use crate::accept::{acceptable, contradiction, is_heard_from_strangers, well_formed};
use crate::conf_change;
use crate::config::{
    Config, MAX_APPEND_BYTES, MAX_APPLY_BYTES, MAX_COMMAND_BYTES, MAX_INFLIGHT_APPENDS, MAX_UNCOMMITTED_BYTES,
};
use crate::convert::{
    configuration_from_raft, entries_from_raft, entry_from_raft, entry_to_raft, hard_state_to_raft,
    message_from_raft, message_to_raft, snapshot_from_raft, snapshot_to_raft,
};
use crate::election::Elections;
use crate::event::{Broken, Effect, Event, InitError, Status};
use crate::in_flight::InFlight;
use crate::membership::{self, ChangeRefused, Known, MembershipChange};
use crate::planted::{self, Planted};
use crate::reads::{OF_ANY_BOOT, Reads};
use crate::storage::Log;
use crate::types::{
    Batch, Configuration, Entry, EntryKind, HardState, Message, MessageKind, Recovered, Snapshot,
    SnapshotMeta,
};

/// A Raft replica with no I/O. The crate's documentation lists what its caller owes.
pub struct Replica {
    config: Config,
    raw: RawNode<Log>,
    /// Whether this node was ever founded: if not, it takes no part.
    founded: bool,
    elections: Elections,
    reads: Reads,
    /// Batches on their way to the disk, in order.
    in_flight: VecDeque<InFlight>,
    next_token: u64,
    /// The term on the disk (or, under the plant `vote-not-durable`, said to be).
    durable_term: u64,
    /// What the disk tells to be committed: a restart begins with it.
    durable_commit: u64,
    /// Committed entries that wait for that: a change of the membership, and all behind it.
    waiting: Vec<pb::Entry>,
    /// The hard state last handed out to be persisted.
    handed: HardState,
    /// The last index on the disk once everything in flight is there.
    handed_last: u64,
    /// (term, candidate) of the vote last seen.
    voted: (u64, NodeId),
    /// Role, term and leader as last reported.
    reported: (Role, u64, NodeId),
    /// The commit index as last reported.
    reported_commit: u64,
    /// Where the state machine stands, with the configuration there.
    applied: SnapshotMeta,
    /// Ticks since a snapshot was sent to a peer and not acknowledged.
    snapshots_sent: BTreeMap<NodeId, u32>,
    planted: Planted,
    malformed_messages: u64,
    refused_changes: u64,
}

impl Replica {
    /// Starts on what the disk held. Effects: the `started` record, an `appended` record for each recovered
    /// entry, the configuration of the snapshot, and whatever is known to be committed, to be applied.
    ///
    /// # Panics
    /// If `config` makes no sense (id 0; a heartbeat not shorter than the election timeout), or if
    /// `recovered` could not have been written by a replica (a gap in the log, a commit index beyond it).
    pub fn new(config: Config, recovered: Recovered, effects: &mut Vec<Effect>) -> Replica {
        let Recovered { boot, hard_state: written, snapshot, entries, .. } = recovered;
        let founded = snapshot.is_some();
        let snapshot = snapshot.unwrap_or_default();
        let meta = snapshot.meta.clone();
        let contiguous = entries.iter().zip(meta.index + 1..).all(|(entry, index)| entry.index == index);
        assert!(contiguous, "expected log entries without a gap from {} on", meta.index + 1);
        assert!(founded || entries.is_empty(), "expected no log where no snapshot was founded");

        // Founding writes a snapshot and no hard state: its term is then the snapshot's. The commit index
        // is a hint, written with the next entries: the snapshot may be ahead of it.
        let last_term = entries.last().map_or(meta.term, |entry| entry.term);
        let stale = written.term < last_term;
        let hard_state = HardState {
            term: written.term.max(last_term),
            vote: if stale { 0 } else { written.vote },
            commit: written.commit.max(meta.index).max(committed_by_changes(&entries)),
        };
        let last_index = meta.index + entries.len() as u64;

        effects.push(Effect::Trace(TraceEvent::Started {
            term: hard_state.term,
            vote: known(hard_state.vote),
            snapshot_index: meta.index,
            snapshot_term: meta.term,
            snapshot_state: config.snapshot_state,
            last_index,
        }));
        effects.extend(entries.iter().map(|entry| Effect::Trace(appended(entry))));
        if founded {
            effects.push(Effect::Trace(config_changed(&meta)));
        }

        let log = Log::new(
            hard_state_to_raft(hard_state),
            snapshot_to_raft(snapshot),
            entries.into_iter().map(entry_to_raft).collect(),
        );
        let contexts_of = if config.plants.has(Plant::ReadContextReused) { OF_ANY_BOOT } else { boot };
        let mut replica = Replica {
            raw: raw_node(&config, log, meta.index),
            founded,
            elections: Elections::new(config.seed, config.id, config.election_ticks),
            reads: Reads::new(config.id, contexts_of, config.read_retry_ticks),
            in_flight: VecDeque::new(),
            next_token: 1,
            durable_term: hard_state.term,
            durable_commit: hard_state.commit,
            waiting: Vec::new(),
            handed: written,
            handed_last: last_index,
            voted: (hard_state.term, hard_state.vote),
            reported: (Role::Follower, hard_state.term, 0),
            reported_commit: meta.index,
            applied: meta,
            snapshots_sent: BTreeMap::new(),
            planted: Planted::default(),
            malformed_messages: 0,
            refused_changes: 0,
            config,
        };
        replica.work(effects);
        replica
    }

    /// The snapshot that founds a cluster on this node: index 1, term 1, with these voters and the state
    /// machine's first state. The caller makes it durable on every voter, with the same `voters` and
    /// `data`, and starts a replica on it. Founding is always explicit: a node without such a snapshot
    /// never votes, so a node that lost its disk cannot vote twice.
    pub fn found(cluster: &str, id: NodeId, voters: &[NodeId], data: Bytes) -> Result<Snapshot, InitError> {
        if cluster.is_empty() {
            return Err(InitError::BadName);
        }
        let mut voters = voters.to_vec();
        voters.sort_unstable();
        let configuration = Configuration { voters, ..Configuration::default() };
        if !well_formed(&configuration) || !configuration.voters.contains(&id) {
            return Err(InitError::BadVoters);
        }
        Ok(Snapshot { meta: SnapshotMeta { index: 1, term: 1, configuration }, data })
    }

    /// Takes one event and appends what the caller is to do.
    pub fn step(&mut self, event: Event, effects: &mut Vec<Effect>) {
        if !self.founded {
            if let Event::Propose { ticket, .. } | Event::ChangeMembership { ticket, .. } = event {
                effects.push(Effect::ProposalFailed { ticket, leader: None });
            }
            return;
        }
        match event {
            Event::Tick => {
                if !self.tick() {
                    return;
                }
            }
            Event::Receive(message) => {
                if let Some(broken) = self.receive(message) {
                    return effects.push(Effect::Halt(broken));
                }
            }
            Event::Propose { ticket, data } => self.propose(ticket, data, effects),
            Event::Read { ticket } => {
                let context = self.reads.ask(ticket);
                self.ask_index(context);
            }
            Event::ForgetRead { ticket } => self.reads.forget(ticket),
            Event::TransferLeader { to } => {
                if self.is_leader() {
                    self.raw.transfer_leader(to);
                }
            }
            Event::ChangeMembership { ticket, change } => self.propose_change(ticket, change, effects),
            Event::Persisted { token } => self.persisted(token, effects),
            Event::SnapshotMade(snapshot) => {
                if snapshot.meta.index <= self.applied.index {
                    let keep = self.config.keep_entries;
                    self.raw.mut_store().compact(snapshot_to_raft(*snapshot), keep);
                }
            }
            Event::Unreachable { peer } => {
                self.raw.report_unreachable(peer);
                if self.config.plants.has(Plant::WakeUpLost) {
                    self.planted.unreachable(peer);
                }
            }
            Event::SnapshotSent { peer, delivered } => self.snapshot_sent(peer, delivered),
        }
        self.work(effects);
    }

    /// This replica's view of itself.
    pub fn status(&self) -> Status {
        let raft = &self.raw.raft;
        Status {
            id: self.config.id,
            role: role(raft.state),
            term: raft.term,
            vote: known(raft.vote),
            leader: known(raft.leader_id),
            commit: raft.raft_log.committed,
            applied: self.applied.index,
            first_index: raft.raft_log.first_index(),
            last_index: raft.raft_log.last_index(),
            persisted: raft.raft_log.persisted,
            snapshot_index: self.raw.store().snapshot_index(),
            configuration: self.applied.configuration.clone(),
            malformed_messages: self.malformed_messages,
            refused_changes: self.refused_changes,
        }
    }

    /// Where the state machine stands after all effects so far: what a snapshot of it made now must carry.
    pub fn applied_meta(&self) -> &SnapshotMeta {
        &self.applied
    }

    /// Whether a member is to be sent a snapshot and the newest one does not know it, so that the caller should
    /// make one now. Says so once for each time that one was asked for.
    pub fn takes_wish_for_snapshot(&mut self) -> bool {
        self.raw.mut_store().takes_wish_for_snapshot()
    }

    /// Whether this node is a voter or a learner, as far as it knows.
    pub fn is_member(&self) -> bool {
        self.applied.configuration.is_member(self.config.id)
    }

    /// Whether this node leads, as far as it knows.
    pub fn is_leader(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    /// Who leads, as far as this node knows.
    pub fn leader(&self) -> Option<NodeId> {
        known(self.raw.raft.leader_id)
    }

    /// Whether this node was ever founded, and so takes part.
    pub fn is_founded(&self) -> bool {
        self.founded
    }

    /// True if raft-rs may have something to hand out.
    fn tick(&mut self) -> bool {
        self.planted.ticks += 1;
        if self.awaits_disk_to_lead_alone() {
            self.raw.raft.election_elapsed = 0;
        }
        let mut ready = self.raw.tick();
        if let Some(context) = self.reads.tick() {
            self.ask_index(Some(context));
            ready = true;
        }
        if !self.snapshots_sent.is_empty() {
            ready |= self.resend_snapshots();
        }
        ready
    }

    /// Whether this node would win an election at once, by the only vote there is, with entries that are not on disk
    /// yet. raft-rs counts on a leader's log being there: with other voters it is, for their answers come later.
    fn awaits_disk_to_lead_alone(&self) -> bool {
        let raft = &self.raw.raft;
        raft.state != StateRole::Leader
            && raft.raft_log.persisted < raft.raft_log.last_index()
            && raft.prs().conf().voters().ids().iter().eq([self.config.id])
    }

    /// A snapshot may be lost on the way, with nobody to say so; raft-rs would wait for ever.
    fn resend_snapshots(&mut self) -> bool {
        let patience = 4 * self.config.election_ticks;
        let mut lost = Vec::new();
        for (peer, ticks) in &mut self.snapshots_sent {
            *ticks += 1;
            if *ticks >= patience {
                lost.push(*peer);
            }
        }
        for peer in &lost {
            self.snapshot_sent(*peer, false);
        }
        !lost.is_empty()
    }

    fn snapshot_sent(&mut self, peer: NodeId, delivered: bool) {
        if self.config.plants.has(Plant::QueueNeverResends) && !delivered {
            return;
        }
        self.snapshots_sent.remove(&peer);
        let status = if delivered { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.raw.report_snapshot(peer, status);
    }

    /// What the message shows to be broken, if anything.
    fn receive(&mut self, message: Box<Message>) -> Option<Broken> {
        let plants = self.config.plants;
        let has_no_say = self.raw.raft.prs().get(message.from).is_none();
        let known = is_heard_from_strangers(message.kind)
            || !has_no_say
            || plants.has(Plant::RemovedNodeVotes) && planted::is_vote(&message);
        if !known || !acceptable(self.config.id, &message) {
            self.malformed_messages += 1;
            return None;
        }
        // raft-rs would pass another node's request on to the leader under that node's name: but peers are
        // authenticated, and speak for themselves. The asker tries again.
        if message.kind == MessageKind::ReadIndex && !self.is_leader() {
            return None;
        }
        if message.kind == MessageKind::TimeoutNow && self.awaits_disk_to_lead_alone() {
            return None;
        }
        let asks_for_vote = matches!(message.kind, MessageKind::RequestVote | MessageKind::RequestPreVote);
        if plants.has(Plant::LeaseReadDrift)
            && asks_for_vote
            && self.planted.ticks < u64::from(self.config.election_ticks)
        {
            return None;
        }
        let has = |plant| plants.has(plant);
        let message = self.planted.receive(has, &mut self.raw, message)?;
        let broken = contradiction(&self.raw.raft, &message);
        if broken.is_some() && !plants.has(Plant::LossUnnoticed) {
            return broken;
        }
        // Not through `RawNode::step`, which asks once more who the sender is, and drops answers from strangers: those
        // have just been dropped. An error is a proposal's, and no peer's message is one.
        let _ = self.raw.raft.step(message_to_raft(message));
        None
    }

    /// Proposals are never forwarded: a follower's client is told who leads, and asks there.
    fn propose(&mut self, ticket: u64, data: Bytes, effects: &mut Vec<Effect>) {
        // An empty entry is a new leader's own.
        let fits = !data.is_empty() && data.len() <= MAX_COMMAND_BYTES;
        let entry = pb::Entry { data, ..Default::default() };
        if fits && self.append(ticket, entry, effects) {
            return;
        }
        effects.push(Effect::ProposalFailed { ticket, leader: self.leader() });
    }

    /// A change of the membership, if it may be proposed now.
    fn propose_change(&mut self, ticket: u64, change: MembershipChange, effects: &mut Vec<Effect>) {
        if self.is_leader() {
            if let Err(why) = self.may_change(change) {
                effects.push(Effect::ChangeRefused { ticket, why });
                return;
            }
            if self.config.plants.has(Plant::SecondChangePending) {
                self.raw.raft.pending_conf_index = 0;
            }
            let entry = pb::Entry {
                entry_type: pb::EntryType::EntryConfChangeV2,
                data: conf_change::encode(change).into(),
                ..Default::default()
            };
            if self.append(ticket, entry, effects) {
                return;
            }
        }
        effects.push(Effect::ProposalFailed { ticket, leader: self.leader() });
    }

    /// raft-rs, too, lets one change at a time into the log, but would put an empty entry in a second one's place.
    fn may_change(&self, change: MembershipChange) -> Result<(), ChangeRefused> {
        let raft = &self.raw.raft;
        let configuration = &self.applied.configuration;
        let waits = !self.config.plants.has(Plant::SecondChangePending);
        if waits && !raft.commit_to_current_term() {
            return Err(ChangeRefused::NewLeader);
        }
        if waits && (raft.has_pending_conf() || configuration.is_joint()) {
            return Err(ChangeRefused::UnderWay);
        }
        membership::judge(change, configuration, raft.raft_log.last_index(), |id| {
            raft.prs().get(id).map_or(Known::default(), |progress| Known {
                matched: progress.matched,
                is_heard: progress.recent_active,
            })
        })
    }

    /// Whether the entry now stands in this leader's log.
    fn append(&mut self, ticket: u64, entry: pb::Entry, effects: &mut Vec<Effect>) -> bool {
        if self.is_leader() {
            let message = pb::Message {
                msg_type: pb::MessageType::MsgPropose,
                from: self.config.id,
                entries: vec![entry].into(),
                ..Default::default()
            };
            if self.raw.raft.step(message).is_ok() {
                let index = self.raw.raft.raft_log.last_index();
                effects.push(Effect::Proposed { ticket, index, term: self.raw.raft.term });
                return true;
            }
        }
        false
    }

    fn ask_index(&mut self, context: Option<Vec<u8>>) {
        let Some(context) = context else { return };
        let plants = self.config.plants;
        if !planted::answer_too_early(|plant| plants.has(plant), &mut self.raw, &context) {
            self.raw.read_index(context);
        }
    }

    /// A batch is durable: what waited for it may be seen.
    fn persisted(&mut self, token: u64, effects: &mut Vec<Effect>) {
        while self.in_flight.front().is_some_and(|batch| batch.token <= token) {
            let batch = self.in_flight.pop_front().expect("just seen");
            self.durable_term = batch.term;
            self.durable_commit = self.durable_commit.max(batch.commit);
            // Entries that a later batch in flight replaces do not count as durable in raft-rs until that one
            // is: it compares (index, term) alone, and takes them for equal ones that come back after it.
            if !self.in_flight.iter().any(|later| batch.is_overwritten_by(later)) {
                self.raw.on_persist_ready(batch.ready);
            }
            effects.extend(batch.changes.into_iter().map(Effect::Trace));
            if let Some(snapshot) = batch.snapshot {
                self.applied = snapshot.meta.clone();
                self.raw.mut_store().is_decided_by(&self.applied.configuration);
                effects.push(Effect::Restore(snapshot));
                effects.push(Effect::Trace(config_changed(&self.applied)));
            }
            effects.extend(batch.log.into_iter().map(Effect::Trace));
            self.report_commit(effects);
            effects.extend(batch.messages.into_iter().map(Effect::Send));
            let waited = mem::take(&mut self.waiting);
            self.apply(waited, effects);
        }
    }

    /// Everything raft-rs has to hand out after an event.
    fn work(&mut self, effects: &mut Vec<Effect>) {
        self.elections.settle(&mut self.raw.raft);
        while self.raw.has_ready() {
            self.hand_out(effects);
        }
    }

    fn hand_out(&mut self, effects: &mut Vec<Effect>) {
        let mut ready = self.raw.ready();
        // One of the two is empty: a leader's messages wait for nothing, everyone else's do.
        let mut messages = ready.take_messages();
        if messages.is_empty() {
            messages = ready.take_persisted_messages();
        }
        if self.config.plants.has(Plant::RemovedNodeVotes) {
            planted::ask_removed(&self.applied.configuration.removed, &mut messages);
        }
        let reads = ready.take_read_states();
        let committed = ready.take_committed_entries();
        let entries = ready.take_entries();
        let snapshot = (!ready.snapshot().is_empty()).then(|| ready.snapshot().clone());
        let number = ready.number();
        let must_sync = ready.must_sync()
            && !(self.config.plants.has(Plant::VoteNotDurable) && entries.is_empty() && snapshot.is_none());

        let changes = if self.config.plants.has(Plant::ChangeNotRolledBack) {
            Planted::changes_among(&entries)
        } else {
            Vec::new()
        };
        let persist = must_sync.then(|| self.batch(number, snapshot, entries));
        if ready.must_sync() && !must_sync {
            self.pretend_durable();
        }
        self.report_vote(effects);
        self.report_role(effects);
        self.report_commit(effects);
        self.send(messages, effects);
        effects.extend(persist);

        self.raw.advance_append_async(ready);
        if let (Some(batch), false) = (self.in_flight.back_mut(), must_sync) {
            batch.ready = number;
        } else if !must_sync {
            self.raw.on_persist_ready(number);
        }
        self.change_at_once(changes, effects);
        self.apply(committed, effects);
        self.answer(reads, effects);
    }

    /// Mirrors in the log what is to be persisted, and hands it out.
    fn batch(&mut self, ready: u64, snapshot: Option<pb::Snapshot>, entries: Vec<pb::Entry>) -> Effect {
        let raft = &self.raw.raft;
        let hard_state = HardState { term: raft.term, vote: raft.vote, commit: raft.raft_log.committed };
        let mut batch = Batch {
            hard_state: (hard_state != self.handed).then_some(hard_state),
            must_sync: true,
            ..Batch::default()
        };
        self.handed = hard_state;
        let mut held = InFlight {
            token: self.next_token,
            ready,
            term: hard_state.term,
            commit: hard_state.commit,
            ..InFlight::default()
        };
        self.next_token += 1;

        if let Some(snapshot) = snapshot {
            self.handed_last = snapshot.get_metadata().index;
            self.waiting.clear();
            self.raw.mut_store().install(snapshot.clone());
            // The caller restores it before anything else is applied. Until then raft-rs may campaign, for
            // which it reads the entries above the applied index: below the snapshot there are none.
            self.raw.raft.raft_log.applied = self.handed_last;
            let snapshot = Box::new(snapshot_from_raft(snapshot));
            batch.snapshot = Some(snapshot.clone());
            held.snapshot = Some(snapshot);
        }
        if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
            held.entries = (first.index, last.index);
            if first.index <= self.handed_last {
                held.log.push(TraceEvent::Truncated { from: first.index });
            }
            self.handed_last = last.index;
            batch.entries = entries_from_raft(entries.iter().cloned());
            held.log.extend(batch.entries.iter().map(appended));
            self.raw.mut_store().append(entries);
        }
        let token = held.token;
        self.in_flight.push_back(held);
        Effect::Persist { token, batch }
    }

    /// Once the vote is durable.
    fn report_vote(&mut self, effects: &mut Vec<Effect>) {
        let vote = (self.raw.raft.term, self.raw.raft.vote);
        if vote == self.voted {
            return;
        }
        self.voted = vote;
        let (term, candidate) = vote;
        if candidate == 0 {
            return;
        }
        let vote = TraceEvent::VoteCast { term, candidate };
        match self.in_flight.back_mut() {
            Some(batch) => batch.changes.push(vote),
            None => effects.push(Effect::Trace(vote)),
        }
    }

    /// Once the term is durable.
    fn report_role(&mut self, effects: &mut Vec<Effect>) {
        let raft = &self.raw.raft;
        let reported = (role(raft.state), raft.term, raft.leader_id);
        if reported == self.reported {
            return;
        }
        self.reported = reported;
        if !self.is_leader() {
            self.snapshots_sent.clear();
            self.planted.forget_peers();
        }
        let (role, term, leader) = reported;
        let change = TraceEvent::RoleChanged { role, term, leader: known(leader) };
        match self.awaited(term) {
            Some(batch) => batch.changes.push(change),
            None => effects.push(Effect::Trace(change)),
        }
    }

    /// As far as the node's own durable log reaches.
    fn report_commit(&mut self, effects: &mut Vec<Effect>) {
        let log = &self.raw.raft.raft_log;
        let index = log.committed.min(log.persisted);
        if index > self.reported_commit {
            self.reported_commit = index;
            effects.push(Effect::Trace(TraceEvent::Committed { index }));
        }
    }

    /// The batch that makes `term` durable; None if it is durable already.
    fn awaited(&mut self, term: u64) -> Option<&mut InFlight> {
        if term <= self.durable_term {
            return None;
        }
        self.in_flight.iter_mut().find(|batch| batch.term >= term)
    }

    /// The plant `vote-not-durable`: term and vote pass for durable once what is in flight is. They reach the
    /// disk with the next entries.
    fn pretend_durable(&mut self) {
        let term = self.raw.raft.term;
        match self.in_flight.back_mut() {
            Some(batch) => batch.term = term,
            None => self.durable_term = term,
        }
    }

    /// A leader's messages go at once, in parallel with its own write (Ongaro's dissertation §10.2.1), once
    /// its term is durable. Everyone else's rest on what they acknowledge.
    fn send(&mut self, mut messages: Vec<pb::Message>, effects: &mut Vec<Effect>) {
        if messages.is_empty() {
            return;
        }
        let plants = self.config.plants;
        let committed = self.raw.raft.raft_log.committed;
        let mut waits_for = if self.is_leader() {
            let (term, durable) = (self.raw.raft.term, self.durable_term);
            self.in_flight.iter_mut().find(|batch| term > durable && batch.term >= term)
        } else {
            self.in_flight.back_mut()
        };
        for raft in &mut messages {
            // They are dropped, as on a network: the disk has stalled.
            if waits_for.as_ref().is_some_and(|batch| batch.is_full()) {
                break;
            }
            let Some(mut message) = message_from_raft(raft) else { continue };
            if !self.planted.send(|plant| plants.has(plant), committed, &mut message) {
                continue;
            }
            if message.kind == MessageKind::Snapshot {
                self.snapshots_sent.insert(message.to, 0);
            }
            match &mut waits_for {
                Some(batch) => batch.messages.push(message),
                None => effects.push(Effect::Send(message)),
            }
        }
        // raft-rs gets its list back, and need not allocate another.
        messages.clear();
        if self.raw.raft.msgs.capacity() == 0 {
            self.raw.raft.msgs = messages;
        }
    }

    /// Hands committed entries out. A configuration takes effect when it is applied, and for good: not before the
    /// disk knows it to be committed. A node that went back to an older one could wait for ever for the votes of nodes
    /// that have left, or have been lost, since.
    fn apply(&mut self, mut committed: Vec<pb::Entry>, effects: &mut Vec<Effect>) {
        if !self.waiting.is_empty() {
            return self.waiting.append(&mut committed);
        }
        let durable = self.durable_commit;
        let awaited = |entry: &pb::Entry| entry.index > durable && is_change(entry);
        if let Some(position) = committed.iter().position(awaited) {
            self.waiting = committed.split_off(position);
            if self.handed.commit < self.waiting[0].index {
                // It completes none of raft-rs's readies by itself; later ones may ride on it.
                let batch = self.batch(0, None, Vec::new());
                effects.push(batch);
            }
        }
        let Some(last) = committed.last() else { return };
        let last = last.index;
        let mut entries = Vec::with_capacity(committed.len());
        for entry in committed {
            let entry = entry_from_raft(entry);
            (self.applied.index, self.applied.term) = (entry.index, entry.term);
            let changed = entry.kind != EntryKind::Normal
                && !self.planted.has_changed(&entry)
                && self.change_configuration(&entry);
            entries.push(entry);
            if changed {
                effects.push(Effect::Apply(mem::take(&mut entries)));
                effects.push(Effect::Trace(config_changed(&self.applied)));
            }
        }
        if !entries.is_empty() {
            effects.push(Effect::Apply(entries));
        }
        self.raw.advance_apply_to(last);
        self.step_down_if_removed();
    }

    /// The plant `change-not-rolled-back`: takes changes for decided that were just appended.
    fn change_at_once(&mut self, changes: Vec<Entry>, effects: &mut Vec<Effect>) {
        for entry in changes {
            self.planted.changes(&entry);
            if self.change_configuration(&entry) {
                let configuration = self.applied.configuration.clone();
                let meta = SnapshotMeta { index: entry.index, term: entry.term, configuration };
                effects.push(Effect::Trace(config_changed(&meta)));
            }
            self.step_down_if_removed();
        }
    }

    /// A leader that votes no more has committed the change that says so, and leads no further
    /// (Ongaro's dissertation §4.2.2). raft-rs would go on, without a place in its own tracker.
    fn step_down_if_removed(&mut self) {
        if self.is_leader() && !self.raw.raft.promotable() {
            let term = self.raw.raft.term;
            self.raw.raft.become_follower(term, 0);
            self.elections.settle(&mut self.raw.raft);
        }
    }

    /// False if the change is refused: every node decides alike, since it has the same bytes and the same
    /// configuration before it.
    fn change_configuration(&mut self, entry: &Entry) -> bool {
        let mut change = conf_change::decode(entry.kind, &entry.data).ok();
        if self.config.plants.has(Plant::LearnerCounted) {
            change.iter_mut().for_each(|change| self.planted.count_learners(change));
        }
        let applied = change.and_then(|change| self.raw.apply_conf_change(&change).ok());
        match applied {
            Some(configuration) => {
                let before = mem::take(&mut self.applied.configuration);
                self.applied.configuration = configuration_from_raft(configuration);
                self.planted.call_learners(&mut self.applied.configuration);
                self.applied.configuration.removed =
                    membership::removed(&before, &self.applied.configuration);
                self.raw.mut_store().is_decided_by(&self.applied.configuration);
                true
            }
            None => {
                self.refused_changes += 1;
                false
            }
        }
    }

    fn answer(&mut self, reads: Vec<raft::ReadState>, effects: &mut Vec<Effect>) {
        if reads.is_empty() {
            return;
        }
        for read in reads {
            let index = read.index;
            let confirmed = self.reads.answer(&read.request_ctx);
            effects.extend(confirmed.map(|ticket| Effect::ReadReady { ticket, index }));
        }
        let context = self.reads.catch_up();
        self.ask_index(context);
    }
}

fn raw_node(config: &Config, log: Log, applied: u64) -> RawNode<Log> {
    let stale_read = config.plants.has(Plant::StaleRead);
    let by_lease = stale_read || config.plants.has(Plant::LeaseRead);
    let raft_config = raft::Config {
        id: config.id,
        election_tick: config.election_ticks as usize,
        heartbeat_tick: config.heartbeat_ticks as usize,
        applied,
        max_size_per_msg: MAX_APPEND_BYTES as u64,
        max_inflight_msgs: MAX_INFLIGHT_APPENDS,
        check_quorum: true,
        pre_vote: true,
        min_election_tick: config.election_ticks as usize,
        // See `Elections`: what raft-rs draws must be told from what we set.
        max_election_tick: usize::MAX,
        read_only_option: if by_lease { ReadOnlyOption::LeaseBased } else { ReadOnlyOption::Safe },
        max_uncommitted_size: MAX_UNCOMMITTED_BYTES,
        max_committed_size_per_ready: MAX_APPLY_BYTES,
        ..raft::Config::default()
    };
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    let mut raw = match RawNode::new(&raft_config, log, &logger) {
        Ok(raw) => raw,
        Err(error) => panic!("expected a configuration that raft accepts: {error}"),
    };
    // The plants: raft-rs itself insists on check-quorum where leases serve reads.
    raw.raft.set_check_quorum(!stale_read && !config.plants.has(Plant::LeaderNeverStepsDown));
    raw
}

/// A change stands in a log only if the one before it was applied by the leader that proposed it: so all changes
/// but the last are committed. The commit index is a hint, and may be lost where a crash tears the batch in which
/// it rode; a node that then counted by the configuration before two changes would not need a majority of the
/// one that decides.
fn committed_by_changes(entries: &[Entry]) -> u64 {
    let changes = entries.iter().rev().filter(|entry| entry.kind != EntryKind::Normal);
    changes.map(|entry| entry.index).nth(1).unwrap_or(0)
}

fn is_change(entry: &pb::Entry) -> bool {
    entry.entry_type != pb::EntryType::EntryNormal
}

fn role(state: StateRole) -> Role {
    match state {
        StateRole::Follower => Role::Follower,
        StateRole::PreCandidate => Role::PreCandidate,
        StateRole::Candidate => Role::Candidate,
        StateRole::Leader => Role::Leader,
    }
}

fn known(id: NodeId) -> Option<NodeId> {
    (id != 0).then_some(id)
}

fn appended(entry: &Entry) -> TraceEvent {
    TraceEvent::Appended { index: entry.index, term: entry.term, checksum: entry.checksum() }
}

fn config_changed(meta: &SnapshotMeta) -> TraceEvent {
    TraceEvent::ConfigChanged {
        index: meta.index,
        voters: meta.configuration.voters.clone(),
        learners: meta.configuration.learners.clone(),
        voters_outgoing: meta.configuration.voters_outgoing.clone(),
    }
}
