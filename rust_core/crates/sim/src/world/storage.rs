//! A process's storage thread: what waits for the disk, what the disk does, and where it may crash.

use std::collections::VecDeque;

use mcp_chaos_evidence::{NodeId, TraceEvent, rng::Stream};
use mcp_chaos_wal::{CrashPoint, DiskError, DiskOp, Moment, SimDisk, Wal, WalError};
use mcp_manager::Input;

use super::machines::Mishap;
use super::{Event, World};
use crate::panics;
use crate::plan::Trigger;
use crate::process::{Flight, Job, Machine, Waiting};

impl From<WalError> for Mishap {
    fn from(error: WalError) -> Mishap {
        match error {
            WalError::Disk(DiskError::PoweredOff) => Mishap::Crashed,
            WalError::Disk(DiskError::Full { .. } | DiskError::Io { .. }) => {
                Mishap::DiskFailed(TraceEvent::Stopped { reason: error.to_string() })
            }
            other => Mishap::Panicked(format!("the storage failed: {other}")),
        }
    }
}

impl World {
    pub(super) fn add_job(&mut self, node: NodeId, job: Job) {
        let running = self.machine(node).running().expect("only a process that is up has outputs");
        running.jobs.push_back(job);
    }

    /// If the storage thread is idle: it takes all batches that wait, or one snapshot.
    pub(super) fn start_disk(&mut self, node: NodeId) {
        let Some(running) = self.machine(node).running() else { return };
        if running.flight.is_some() || running.pauses > 0 || running.jobs.is_empty() {
            return;
        }
        if let Some(Job::SaveSnapshot(_)) = running.jobs.front() {
            let Some(Job::SaveSnapshot(snapshot)) = running.jobs.pop_front() else {
                unreachable!("it is in front")
            };
            running.flight = Some(Flight::Snapshot(snapshot));
            // The file is written; then its sync, and the directory's.
            let write_ns = self.machine(node).write_time_ns();
            let time_ns = write_ns + self.sync_time_ns(node) + self.sync_time_ns(node);
            return self.schedule_disk_done(node, time_ns);
        }
        let mut tokens = Vec::new();
        let mut must_sync = false;
        let mut write_ns = 0;
        while let Some(Job::Persist { .. }) = running_jobs(self.machine(node)).front() {
            let Some(Job::Persist { token, batch }) = running_jobs(self.machine(node)).pop_front() else {
                break;
            };
            tokens.push(token);
            must_sync |= batch.must_sync;
            write_ns += self.machine(node).write_time_ns();
            if let Err(mishap) = self.with_wal(node, |wal| wal.write(&batch)) {
                return self.end_badly(node, mishap);
            }
        }
        if must_sync {
            let time_ns = write_ns + self.sync_time_ns(node);
            self.machine(node).running().expect("it is up").flight = Some(Flight::Batches(tokens));
            self.schedule_disk_done(node, time_ns);
        } else if write_ns > 0 {
            self.machine(node).running().expect("it is up").flight = Some(Flight::Written(tokens));
            self.schedule_disk_done(node, write_ns);
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
            Flight::Batches(tokens) => self.with_wal(node, Wal::sync).map(|()| Flight::Done(tokens)),
            Flight::Written(tokens) => Ok(Flight::Done(tokens)),
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
            Ok(Flight::Done(tokens)) if !paused => {
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
        work: impl FnOnce(&mut Wal<SimDisk>) -> Result<(), WalError>,
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
    pub(super) fn leader_for_steps(&self) -> Option<NodeId> {
        self.nemesis.watches().then(|| self.leader()).flatten()
    }

    /// Where the disk of `node` is to crash, if a step that waits for a disk operation would take that very
    /// process down: the nearest of all such points.
    pub(super) fn crash_point(&self, node: NodeId, leader: Option<NodeId>) -> Option<CrashPoint> {
        let (trigger, nth, step) = self.nemesis.nearest_crash(node, leader)?;
        let op = if trigger == Trigger::DiskWrite { DiskOp::Write } else { DiskOp::Sync };
        let moments = [Moment::Before, Moment::During, Moment::After];
        let draw = Stream::new(self.plan.seed, "crash", step, 0).between(0, 0, 2);
        Some(CrashPoint { op: Some(op), nth, moment: moments[draw as usize] })
    }
}

fn running_jobs(machine: &mut Machine) -> &mut VecDeque<Job> {
    &mut machine.running().expect("it is up").jobs
}
