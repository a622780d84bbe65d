//! The thread that owns the disk.
//!
//! It takes everything that is queued, writes it, syncs once for the group, and then reports. While one
//! group is being synced the next gathers: so the more there is to do, the less a sync costs each. An error
//! of the disk is final (see `mcp_chaos_wal`): the thread reports it and ends, and the process with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use mcp_chaos_consensus::{Batch, Snapshot};
use mcp_chaos_wal::{Disk, Wal, WalError};
use tokio::sync::{mpsc, oneshot};

/// Commands waiting for the disk. The node waits when it is full: it is slower than its disk, never ahead.
const QUEUE: usize = 4_096;
/// Batches written between two syncs.
const GROUP: usize = 1_024;

/// What the disk is asked to do.
#[derive(Debug)]
pub enum Command {
    /// Write a batch and sync if it must.
    Persist {
        /// For the report.
        token: u64,
        /// What to write.
        batch: Batch,
    },
    /// Write a snapshot of the node's own state and drop the log below it, but for what is kept.
    SaveSnapshot(Snapshot),
    /// Found the node.
    Found {
        /// The cluster's name.
        cluster: String,
        /// The founding snapshot.
        snapshot: Snapshot,
        /// Sent once it is durable.
        reply: oneshot::Sender<Result<(), WalError>>,
    },
}

/// What the disk has done.
#[derive(Debug)]
pub enum Done {
    /// The batch is on disk, and all before it.
    Persisted {
        /// Which.
        token: u64,
    },
    /// The snapshot is on disk.
    SnapshotSaved {
        /// Its last index.
        index: u64,
    },
    /// The disk failed. Nothing more will be done.
    Failed(WalError),
}

/// Counters for `/metrics`.
#[derive(Debug, Default)]
pub struct StorageStats {
    /// Batches written.
    pub batches: AtomicU64,
    /// Groups synced.
    pub syncs: AtomicU64,
    /// Nanoseconds spent in syncs.
    pub sync_ns: AtomicU64,
    /// Snapshots of the node's own written.
    pub snapshots: AtomicU64,
}

/// The node's end.
#[derive(Debug)]
pub struct Storage {
    commands: mpsc::Sender<Command>,
    thread: JoinHandle<()>,
}

/// Starts the thread on an open log. What it has done comes out of the receiver.
///
/// Reports are not bounded by a queue of their own: there is one for each command, and those are bounded.
pub fn start<D: Disk + Send + 'static>(
    wal: Wal<D>,
    keep_entries: u64,
    stats: Arc<StorageStats>,
) -> std::io::Result<(Storage, mpsc::UnboundedReceiver<Done>)> {
    let (commands, queue) = mpsc::channel(QUEUE);
    let (reports, done) = mpsc::unbounded_channel();
    let worker = Worker { wal, keep_entries, queue, reports, stats };
    let thread = std::thread::Builder::new().name("storage".to_owned()).spawn(move || worker.run())?;
    Ok((Storage { commands, thread }, done))
}

impl Storage {
    /// Queues a command. False if the thread has ended; its last report says why.
    pub async fn ask(&self, command: Command) -> bool {
        self.commands.send(command).await.is_ok()
    }

    /// Lets the thread finish what is queued, and waits for its end. Blocks.
    pub fn finish(self) {
        drop(self.commands);
        // A panic in the thread has ended the process already (see `serve`).
        let _ = self.thread.join();
    }
}

struct Worker<D: Disk> {
    wal: Wal<D>,
    keep_entries: u64,
    queue: mpsc::Receiver<Command>,
    reports: mpsc::UnboundedSender<Done>,
    stats: Arc<StorageStats>,
}

impl<D: Disk> Worker<D> {
    fn run(mut self) {
        let mut group = Vec::new();
        while let Some(first) = self.queue.blocking_recv() {
            group.push(first);
            while group.len() < GROUP
                && let Ok(next) = self.queue.try_recv()
            {
                group.push(next);
            }
            if let Err(error) = self.carry_out(&mut group) {
                self.report(Done::Failed(error));
                return;
            }
        }
    }

    fn carry_out(&mut self, group: &mut Vec<Command>) -> Result<(), WalError> {
        let mut written = Vec::new();
        let mut must_sync = false;
        for command in group.drain(..) {
            match command {
                Command::Persist { token, batch } => {
                    self.wal.write(&batch)?;
                    must_sync |= batch.must_sync;
                    written.push(token);
                }
                // The two others sync by themselves, and come in between in the order given.
                Command::SaveSnapshot(snapshot) => {
                    self.settle(&mut written, &mut must_sync)?;
                    self.save(&snapshot)?;
                }
                Command::Found { cluster, snapshot, reply } => {
                    self.settle(&mut written, &mut must_sync)?;
                    let founded = self.wal.found(&cluster, &snapshot);
                    // Whoever asked has gone only if the whole node has.
                    let _ = reply.send(founded);
                }
            }
        }
        self.settle(&mut written, &mut must_sync)
    }

    /// Syncs what was written, and reports it.
    fn settle(&mut self, written: &mut Vec<u64>, must_sync: &mut bool) -> Result<(), WalError> {
        if std::mem::take(must_sync) {
            let since = Instant::now();
            self.wal.sync()?;
            let spent = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.stats.syncs.fetch_add(1, Ordering::Relaxed);
            self.stats.sync_ns.fetch_add(spent, Ordering::Relaxed);
        }
        self.stats.batches.fetch_add(written.len() as u64, Ordering::Relaxed);
        for token in written.drain(..) {
            self.report(Done::Persisted { token });
        }
        Ok(())
    }

    fn save(&mut self, snapshot: &Snapshot) -> Result<(), WalError> {
        let index = snapshot.meta.index;
        self.wal.save_snapshot(snapshot)?;
        self.wal.compact(index.saturating_sub(self.keep_entries))?;
        self.stats.snapshots.fetch_add(1, Ordering::Relaxed);
        self.report(Done::SnapshotSaved { index });
        Ok(())
    }

    fn report(&self, done: Done) {
        // Nobody listens once the node has stopped.
        let _ = self.reports.send(done);
    }
}
