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

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use mcp_chaos_consensus::{Configuration, Entry, EntryKind, HardState, SnapshotMeta};
    use mcp_chaos_wal::{CrashPoint, DiskOp, Moment, Options, SimDisk};

    fn snapshot(index: u64) -> Snapshot {
        let configuration = Configuration { voters: vec![1], ..Configuration::default() };
        Snapshot { meta: SnapshotMeta { index, term: 1, configuration }, data: Bytes::from_static(b"state") }
    }

    fn worker() -> (Worker<SimDisk>, mpsc::UnboundedReceiver<Done>) {
        let (mut wal, _) = Wal::open(SimDisk::new(), Options::new(1)).unwrap();
        wal.found("c", &snapshot(1)).unwrap();
        let (_, queue) = mpsc::channel(1);
        let (reports, done) = mpsc::unbounded_channel();
        (Worker { wal, keep_entries: 1, queue, reports, stats: Arc::default() }, done)
    }

    fn append(token: u64, index: u64) -> Command {
        let entry = Entry { index, term: 1, kind: EntryKind::Normal, data: Bytes::from_static(b"x") };
        Command::Persist { token, batch: Batch { entries: vec![entry], must_sync: true, ..Batch::default() } }
    }

    fn tokens(done: &mut mpsc::UnboundedReceiver<Done>) -> Vec<u64> {
        std::iter::from_fn(|| done.try_recv().ok())
            .map(|done| match done {
                Done::Persisted { token } => token,
                Done::SnapshotSaved { index } => 1_000 + index,
                Done::Failed(error) => panic!("{error}"),
            })
            .collect()
    }

    #[test]
    fn a_group_is_synced_once_and_reported_in_order() {
        let (mut worker, mut done) = worker();
        let before = worker.wal.disk().syncs();
        let mut group: Vec<Command> = (1..=100).map(|token| append(token, token + 1)).collect();
        worker.carry_out(&mut group).unwrap();
        assert_eq!(worker.wal.disk().syncs() - before, 1);
        assert_eq!(tokens(&mut done), (1..=100).collect::<Vec<_>>());
    }

    #[test]
    fn a_moved_commit_index_alone_is_not_synced() {
        let (mut worker, mut done) = worker();
        let before = worker.wal.disk().syncs();
        let hard_state = Some(HardState { term: 1, vote: 0, commit: 1 });
        let batch = Batch { hard_state, must_sync: false, ..Batch::default() };
        worker.carry_out(&mut vec![Command::Persist { token: 1, batch }]).unwrap();
        assert_eq!(worker.wal.disk().syncs(), before);
        assert_eq!(tokens(&mut done), [1]);
    }

    #[test]
    fn a_snapshot_waits_for_what_was_written_before_it() {
        let (mut worker, mut done) = worker();
        let mut group = vec![append(1, 2), append(2, 3), Command::SaveSnapshot(snapshot(3)), append(3, 4)];
        worker.carry_out(&mut group).unwrap();
        assert_eq!(tokens(&mut done), [1, 2, 1_003, 3]);
        assert_eq!(worker.wal.snapshot_index(), 3);
    }

    #[test]
    fn after_a_failed_sync_nothing_is_reported_done() {
        let (mut worker, mut done) = worker();
        let crash = CrashPoint { op: Some(DiskOp::Sync), nth: 1, moment: Moment::Before };
        worker.wal.disk_mut().crash_at(crash);
        let error = worker.carry_out(&mut vec![append(1, 2)]).unwrap_err();
        assert!(error.to_string().contains("stop"), "{error}");
        assert_eq!(tokens(&mut done), [0; 0]);
        assert!(worker.carry_out(&mut vec![append(2, 3)]).is_err(), "it went on");
    }

    #[tokio::test]
    async fn a_failure_ends_the_thread_and_is_its_last_report() {
        let (mut wal, _) = Wal::open(SimDisk::new(), Options::new(1)).unwrap();
        wal.found("c", &snapshot(1)).unwrap();
        wal.disk_mut().crash_at(CrashPoint { op: Some(DiskOp::Sync), nth: 2, moment: Moment::Before });
        let (storage, mut done) = start(wal, 1, Arc::default()).unwrap();
        assert!(storage.ask(append(1, 2)).await);
        assert!(matches!(done.recv().await, Some(Done::Persisted { token: 1 })));
        assert!(storage.ask(append(2, 3)).await);
        assert!(matches!(done.recv().await, Some(Done::Failed(_))));
        assert!(done.recv().await.is_none());
        storage.finish();
    }
}
