//! Processes and their disks: founding, starting, dying, handling inputs, storing what must last.

use mcp_chaos_consensus::Recovered;
use mcp_chaos_evidence::{NodeId, TraceEvent};
use mcp_chaos_wal::{CrashPoint, DiskError, DiskOp, Moment, OpenError, Wal, WalError};
use mcp_manager::{Input, Node, Options, Output};

use super::{CLUSTER, Event, World};
use crate::panics;
use crate::plan::Trigger;
use crate::process::{Flight, Job, MAX_INBOX, Running, State, Waiting};

/// A segment of a simulated log: small, so that a run goes through several.
const SEGMENT_BYTES: u64 = 64 << 10;

/// Why a call into a process did not return as it should.
enum Mishap {
    /// The disk crashed at a point that a step had set.
    Crashed,
    /// The process panicked.
    Panicked(String),
    /// The storage refused to go on.
    Refused(String),
}

impl From<WalError> for Mishap {
    fn from(error: WalError) -> Mishap {
        match error {
            WalError::Disk(DiskError::PoweredOff) => Mishap::Crashed,
            other => Mishap::Panicked(format!("the storage failed: {other}")),
        }
    }
}

impl World {
    /// Founds the node on an empty disk, and starts its process, at once.
    pub(super) fn found(&mut self, node: NodeId) {
        let voters: Vec<_> = (1..=self.plan.nodes).collect();
        let snapshot = Node::found(CLUSTER, node, &voters).expect("the voters are the cluster's nodes");
        let disk = self.machine(node).take_disk();
        let (mut wal, _) = Wal::open(disk, wal_options(node)).expect("an empty disk opens");
        wal.found(CLUSTER, &snapshot).expect("an empty log can be founded");
        let recovered = Recovered {
            boot: wal.boot(),
            cluster: CLUSTER.to_owned(),
            hard_state: wal.hard_state(),
            snapshot: Some(snapshot),
            entries: Vec::new(),
        };
        self.machine(node).boot = wal.boot();
        self.trace(node, TraceEvent::Initialized { cluster: CLUSTER.to_owned(), voters });
        if let Err(mishap) = self.run_process(node, wal, recovered) {
            self.end_badly(node, mishap);
        }
    }

    fn options(&self, node: NodeId) -> Options {
        let options = &self.plan.options;
        Options {
            tick_ns: options.tick_ns,
            heartbeat_ticks: options.heartbeat_ticks,
            election_ticks: options.election_ticks,
            snapshot_every_entries: options.snapshot_every_entries,
            keep_entries: options.keep_entries,
            plants: self.plants,
            ..Options::new(node, self.plan.seed)
        }
    }

    /// The process begins on an open log.
    fn run_process(
        &mut self,
        node: NodeId,
        wal: Wal<mcp_chaos_wal::SimDisk>,
        recovered: Recovered,
    ) -> Result<(), Mishap> {
        let options = self.options(node);
        let mut outputs = std::mem::take(&mut self.outputs);
        let begun = panics::catch(|| Node::new(options, recovered, &mut outputs));
        let failed = match begun {
            Ok(Ok(new)) => {
                let running = Running {
                    node: new,
                    wal,
                    jobs: Default::default(),
                    flight: None,
                    pauses: 0,
                    inbox: Default::default(),
                };
                self.machine(node).state = State::Up(Box::new(running));
                self.carry_out_outputs(node, &mut outputs);
                None
            }
            Ok(Err(error)) => Some((Mishap::Refused(error.to_string()), wal)),
            Err(message) => Some((Mishap::Panicked(message), wal)),
        };
        outputs.clear();
        self.outputs = outputs;
        match failed {
            None => Ok(()),
            Some((mishap, wal)) => {
                self.machine(node).state = State::Ended(wal.into_disk());
                Err(mishap)
            }
        }
    }

    pub(super) fn trace(&mut self, node: NodeId, event: TraceEvent) {
        self.nemesis.see_event(node, &event);
        let boot = self.machine(node).boot;
        self.records.trace(self.now_ns, node, boot, event);
    }

    pub(super) fn tick(&mut self, node: NodeId) {
        self.queue.push(self.now_ns + self.plan.options.tick_ns, Event::Tick { node });
        let machine = self.machine(node);
        match &machine.state {
            State::Up(running) if running.pauses > 0 => machine.ticks_withheld += 1,
            State::Up(_) => {
                let life = machine.life;
                self.hand_over(node, life, Input::Tick);
            }
            _ => {}
        }
    }

    /// Gives an input to the node of that life; a paused process finds it later.
    pub(super) fn hand_over(&mut self, node: NodeId, life: u64, input: Input) {
        let now_ms = self.now_ms();
        let machine = &mut self.machines[node as usize - 1];
        if machine.life != life {
            return;
        }
        let State::Up(running) = &mut machine.state else { return };
        if running.pauses > 0 {
            // Only what comes from outside can be turned away.
            let may_drop = matches!(input, Input::Peer(_) | Input::Client { .. } | Input::Cancel { .. });
            if may_drop && running.inbox.len() >= MAX_INBOX {
                machine.overflowed += 1;
            } else {
                running.inbox.push_back(Waiting::Input(input));
            }
            return;
        }
        let mut outputs = std::mem::take(&mut self.outputs);
        let handled = panics::catch(|| running.node.handle(now_ms, input, &mut outputs));
        match handled {
            Ok(()) => self.carry_out_outputs(node, &mut outputs),
            Err(message) => self.end_badly(node, Mishap::Panicked(message)),
        }
        outputs.clear();
        self.outputs = outputs;
    }

    fn carry_out_outputs(&mut self, node: NodeId, outputs: &mut Vec<Output>) {
        for output in outputs.drain(..) {
            match output {
                Output::Trace(event) => self.trace(node, event),
                Output::Send(message) => self.send_to_peer(message),
                Output::Reply { ticket, response } => self.reply_to_client(node, ticket, response),
                Output::Persist { token, batch } => self.add_job(node, Job::Persist { token, batch }),
                Output::SaveSnapshot(snapshot) => self.add_job(node, Job::SaveSnapshot(snapshot)),
                Output::Fatal(error) => {
                    self.trace(node, TraceEvent::Stopped { reason: error.to_string() });
                    self.process_dies(node, false);
                    self.never_again(node);
                    return;
                }
            }
        }
        self.start_disk(node);
    }

    fn add_job(&mut self, node: NodeId, job: Job) {
        let running = self.machine(node).running().expect("only a process that is up has outputs");
        running.jobs.push_back(job);
    }

    /// If the storage thread is idle: it takes all batches that wait, or one snapshot.
    fn start_disk(&mut self, node: NodeId) {
        let Some(running) = self.machine(node).running() else { return };
        if running.flight.is_some() || running.pauses > 0 || running.jobs.is_empty() {
            return;
        }
        if let Some(Job::SaveSnapshot(_)) = running.jobs.front() {
            let Some(Job::SaveSnapshot(snapshot)) = running.jobs.pop_front() else {
                unreachable!("it is in front")
            };
            running.flight = Some(Flight::Snapshot(snapshot));
            // The file's sync, and the directory's.
            let time_ns = self.sync_time_ns(node) + self.sync_time_ns(node);
            return self.schedule_disk_done(node, time_ns);
        }
        let mut tokens = Vec::new();
        let mut must_sync = false;
        while let Some(Job::Persist { .. }) = running_jobs(self.machine(node)).front() {
            let Some(Job::Persist { token, batch }) = running_jobs(self.machine(node)).pop_front() else {
                break;
            };
            tokens.push(token);
            must_sync |= batch.must_sync;
            if let Err(mishap) = self.with_wal(node, |wal| wal.write(&batch)) {
                return self.end_badly(node, mishap);
            }
        }
        if must_sync {
            let time_ns = self.sync_time_ns(node);
            self.machine(node).running().expect("it is up").flight = Some(Flight::Batches(tokens));
            self.schedule_disk_done(node, time_ns);
        } else {
            self.persisted(node, tokens);
        }
    }

    fn sync_time_ns(&mut self, node: NodeId) -> u64 {
        let World { machines, plan, .. } = self;
        machines[node as usize - 1].sync_time_ns(&plan.disk)
    }

    fn schedule_disk_done(&mut self, node: NodeId, time_ns: u64) {
        let life = self.machine(node).life;
        self.queue.push(self.now_ns + time_ns, Event::DiskDone { node, life });
    }

    fn persisted(&mut self, node: NodeId, tokens: Vec<u64>) {
        let life = self.machine(node).life;
        self.due.extend(tokens.into_iter().map(|token| (node, life, Input::Persisted { token })));
    }

    /// The disk is done with what it was given: the sync has happened, and the node learns of it. A stopped
    /// process learns of it when it goes on; the kernel ends a sync that has begun all the same.
    pub(super) fn disk_done(&mut self, node: NodeId, life: u64) {
        let machine = self.machine(node);
        if machine.life != life {
            return;
        }
        let Some(running) = machine.running() else { return };
        let paused = running.pauses > 0;
        let flight = running.flight.take().expect("the disk was given something");
        let result = match flight {
            Flight::Batches(tokens) => self.with_wal(node, Wal::sync).map(|()| Flight::Synced(tokens)),
            Flight::Snapshot(snapshot) if !paused => {
                let keep = self.plan.options.keep_entries;
                let index = snapshot.meta.index;
                let saved = self.with_wal(node, |wal| {
                    wal.save_snapshot(&snapshot)?;
                    wal.compact((index + 1).saturating_sub(keep))
                });
                if saved.is_ok() {
                    self.due.push_back((node, life, Input::SnapshotSaved { index }));
                    self.start_disk(node);
                    return;
                }
                saved.map(|()| Flight::Snapshot(snapshot))
            }
            other => Ok(other),
        };
        match result {
            Err(mishap) => self.end_badly(node, mishap),
            Ok(Flight::Synced(tokens)) if !paused => {
                self.persisted(node, tokens);
                self.start_disk(node);
            }
            Ok(flight) => {
                let running = self.machine(node).running().expect("it is up");
                running.flight = Some(flight);
                running.inbox.push_back(Waiting::DiskDone);
            }
        }
    }

    /// Runs one call on the log of a process that is up, with the disk's crash point set if a step waits for
    /// one of its operations.
    fn with_wal(
        &mut self,
        node: NodeId,
        work: impl FnOnce(&mut Wal<mcp_chaos_wal::SimDisk>) -> Result<(), WalError>,
    ) -> Result<(), Mishap> {
        let leader = self.leader_for_steps();
        let point = self.crash_point(node, leader);
        let running = self.machine(node).running().expect("it is up");
        let disk = running.wal.disk_mut();
        if let Some(point) = point {
            disk.crash_at(point);
        }
        let before = (disk.writes(), disk.count(DiskOp::Sync));
        let result = panics::catch(|| work(&mut running.wal));
        let disk = running.wal.disk_mut();
        disk.disarm();
        let after = (disk.writes(), disk.count(DiskOp::Sync));
        self.nemesis.see_disk(node, leader, Trigger::DiskWrite, after.0 - before.0);
        self.nemesis.see_disk(node, leader, Trigger::DiskSync, after.1 - before.1);
        match result {
            Ok(result) => Ok(result?),
            Err(message) => Err(Mishap::Panicked(message)),
        }
    }

    /// Who leads before a call on a log, if a step may ask: the call may crash the leader's own disk.
    fn leader_for_steps(&self) -> Option<NodeId> {
        self.nemesis.watches().then(|| self.leader()).flatten()
    }

    /// Where the disk of `node` is to crash, if a step that waits for a disk operation would take that very
    /// process down: the nearest of all such points.
    fn crash_point(&self, node: NodeId, leader: Option<NodeId>) -> Option<CrashPoint> {
        let (trigger, nth, step) = self.nemesis.nearest_crash(node, leader)?;
        let op = if trigger == Trigger::DiskWrite { DiskOp::Write } else { DiskOp::Sync };
        let moments = [Moment::Before, Moment::During, Moment::After];
        let draw = mcp_chaos_evidence::rng::Stream::new(self.plan.seed, "crash", step, 0).between(0, 0, 2);
        Some(CrashPoint { op: Some(op), nth, moment: moments[draw as usize] })
    }

    /// A process that cannot go on.
    fn end_badly(&mut self, node: NodeId, mishap: Mishap) {
        match mishap {
            // The step that set the point takes the process down, as soon as this event is over; until
            // then nothing may touch the disk.
            Mishap::Crashed => self.process_dies(node, true),
            Mishap::Panicked(message) => {
                self.trace(node, TraceEvent::Panicked { message });
                self.process_dies(node, false);
                self.never_again(node);
            }
            Mishap::Refused(reason) => {
                self.trace(node, TraceEvent::Refused { reason });
                self.never_again(node);
            }
        }
    }

    fn never_again(&mut self, node: NodeId) {
        let machine = self.machine(node);
        let disk = machine.take_disk();
        machine.state = State::Ended(disk);
    }

    /// The process of `node`, if there is one, is gone; what it wrote stays. Clients whose requests it had
    /// see their connections break, unless the machine went silent.
    pub(super) fn process_dies(&mut self, node: NodeId, silent: bool) {
        let machine = self.machine(node);
        if matches!(machine.state, State::Ended(_)) {
            return;
        }
        machine.life += 1;
        let disk = machine.take_disk();
        machine.state = State::Down { disk, powered: !silent };
        if !silent {
            self.reset_calls(node);
        }
    }

    /// The machine of `node` loses power: what is not synced is lost, torn or kept, as drawn.
    pub(super) fn power_goes(&mut self, node: NodeId) {
        self.process_dies(node, true);
        let machine = self.machine(node);
        let counter = machine.power_losses.take();
        let stream = machine.power_losses.stream;
        let mut disk = machine.take_disk();
        disk.power_off(stream, counter);
        machine.state = State::Down { disk, powered: false };
    }

    /// Nothing holds the process down any more: it comes up after a drawn time.
    pub(super) fn schedule_start(&mut self, node: NodeId) {
        let machine = self.machine(node);
        if !matches!(machine.state, State::Down { .. }) {
            return;
        }
        let mut disk = machine.take_disk();
        disk.restart();
        machine.state = State::Starting(disk);
        machine.life += 1;
        let (life, time_ns) = (machine.life, machine.start_time_ns());
        self.queue.push(self.now_ns + time_ns, Event::Start { node, life });
    }

    /// The process comes up on what its disk holds.
    pub(super) fn start(&mut self, node: NodeId, life: u64) {
        let leader = self.leader_for_steps();
        let point = self.crash_point(node, leader);
        let machine = self.machine(node);
        if machine.life != life || !matches!(machine.state, State::Starting(_)) {
            return;
        }
        let mut disk = machine.take_disk();
        if let Some(point) = point {
            disk.crash_at(point);
        }
        let before = (disk.writes(), disk.count(DiskOp::Sync));
        let (after, result) = match Wal::open(disk, wal_options(node)) {
            Ok((mut wal, recovered)) => {
                let disk = wal.disk_mut();
                disk.disarm();
                let after = (disk.writes(), disk.count(DiskOp::Sync));
                machine.boot = recovered.boot;
                (after, self.run_process(node, wal, recovered))
            }
            Err(failure) => {
                let mut disk = failure.disk;
                disk.disarm();
                let after = (disk.writes(), disk.count(DiskOp::Sync));
                machine.state = State::Starting(disk);
                let mishap = match failure.error {
                    OpenError::Disk(DiskError::PoweredOff) => Mishap::Crashed,
                    error => {
                        machine.boot += 1;
                        Mishap::Refused(error.to_string())
                    }
                };
                (after, Err(mishap))
            }
        };
        self.nemesis.see_disk(node, leader, Trigger::DiskWrite, after.0 - before.0);
        self.nemesis.see_disk(node, leader, Trigger::DiskSync, after.1 - before.1);
        match result {
            Ok(()) => self.process_is_up(node),
            Err(mishap) => self.end_badly(node, mishap),
        }
    }

    /// One more step stops the process; false if there is none to stop.
    pub(super) fn pause(&mut self, node: NodeId) -> bool {
        let Some(running) = self.machine(node).running() else { return false };
        running.pauses += 1;
        true
    }

    /// One step less stops the process. When the last one ends, it handles what has arrived meanwhile.
    pub(super) fn resume(&mut self, node: NodeId) {
        let machine = self.machine(node);
        let life = machine.life;
        let Some(running) = machine.running() else { return };
        running.pauses = running.pauses.checked_sub(1).expect("a process goes on as often as it was stopped");
        if running.pauses > 0 {
            return;
        }
        for waiting in std::mem::take(&mut running.inbox) {
            match waiting {
                Waiting::Input(input) => self.due.push_back((node, life, input)),
                Waiting::DiskDone => self.disk_done(node, life),
            }
        }
        self.start_disk(node);
    }
}

fn running_jobs(machine: &mut crate::process::Machine) -> &mut std::collections::VecDeque<Job> {
    &mut machine.running().expect("it is up").jobs
}

fn wal_options(node: NodeId) -> mcp_chaos_wal::Options {
    mcp_chaos_wal::Options { segment_bytes: SEGMENT_BYTES, ..mcp_chaos_wal::Options::new(node) }
}
