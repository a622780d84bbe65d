//! The log: opening, founding, appending, syncing, snapshots, compaction.

use mcp_chaos_consensus::{Batch, Entry, HardState, Recovered, Snapshot};
use mcp_chaos_evidence::{NodeId, Plant, Plants};

use crate::frame::{self, MAX_BODY_BYTES, Place};
use crate::names;
use crate::record::{self, BATCH_OVERHEAD_BYTES, FORMAT, Mark, SegmentHeader};
use crate::recovery::{self, Contents, Segment};
use crate::snapshot_file::{self, Head};
use crate::{Disk, DiskError, OpenError, OpenFailure, WalError};

/// The most data that one entry may carry, in bytes.
pub const MAX_ENTRY_BYTES: usize = MAX_BODY_BYTES - 1024;

/// The greatest `segment_bytes` there may be.
pub const MAX_SEGMENT_BYTES: u64 = 128 << 20;

// A segment is followed by another only when it has grown beyond its limit: by a frame at most.
const _: () = assert!(MAX_SEGMENT_BYTES + 2 * MAX_BODY_BYTES as u64 <= frame::MAX_WATERMARK_BYTES);

/// How to open a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whose log this is. A directory of another node's is refused.
    pub node: NodeId,
    /// The cluster, if it is known before: a directory of another one's is refused.
    pub cluster: Option<String>,
    /// Whether the node is known to have been founded: a directory that says otherwise is refused. Default false.
    pub must_be_founded: bool,
    /// A segment that has grown beyond this is followed by a new one. Default 4 MiB; at most
    /// [`MAX_SEGMENT_BYTES`].
    pub segment_bytes: u64,
    /// Planted bugs. Default none.
    pub plants: Plants,
}

impl Options {
    /// The defaults, for the log of `node`.
    pub fn new(node: NodeId) -> Options {
        Options {
            node,
            cluster: None,
            must_be_founded: false,
            segment_bytes: 4 << 20,
            plants: Plants::default(),
        }
    }
}

/// An open log. See the crate's documentation for the caller's duties.
#[derive(Debug)]
pub struct Wal<D> {
    disk: D,
    options: Options,
    cluster: String,
    mark: Mark,
    hard_state: HardState,
    /// Of the log's last entry, or of the snapshot if the log is empty.
    last_index: u64,
    /// Those that count, ascending; the last one grows.
    segments: Vec<Segment>,
    /// The growing segment's file.
    file: String,
    /// Its length.
    bytes: u64,
    /// How much of that is durable.
    durable_bytes: u64,
    /// Whether a file was created or removed since the directory was synced.
    directory_owed: bool,
    /// Whether a term or a vote was written since the last sync.
    vote_owed: bool,
    /// Whether the disk failed.
    poisoned: bool,
    /// The frame in the making; kept for its capacity.
    buffer: Vec<u8>,
}

impl<D: Disk> Wal<D> {
    /// Opens the directory, an empty one too. On return the boot counter is increased, and all that is
    /// reported is durable. A torn tail is cut; any other damage, and a directory of another's, is refused
    /// before anything in it is touched. Panics if `segment_bytes` is above its bound.
    pub fn open(disk: D, options: Options) -> Result<(Wal<D>, Recovered), OpenFailure<D>> {
        assert!(
            options.segment_bytes <= 128 << 20,
            "segments of {} bytes: at most 128 MiB",
            options.segment_bytes
        );
        let must_be_founded = options.must_be_founded && !options.plants.has(Plant::WipedNodeVotes);
        let mut contents = match recovery::read_directory(&disk, &options) {
            Ok(contents) if contents.snapshot.is_none() && must_be_founded => {
                return Err(OpenFailure { error: OpenError::Lost, disk });
            }
            Ok(contents) => contents,
            Err(error) => return Err(OpenFailure { error, disk }),
        };
        let mut wal = Wal {
            disk,
            cluster: std::mem::take(&mut contents.cluster),
            mark: contents.mark,
            hard_state: contents.hard_state,
            last_index: 0,
            segments: std::mem::take(&mut contents.segments),
            file: String::new(),
            bytes: 0,
            durable_bytes: 0,
            directory_owed: false,
            vote_owed: false,
            poisoned: false,
            buffer: Vec::new(),
            options,
        };
        let snapshot_index = contents.snapshot.as_ref().map_or(0, |snapshot| snapshot.meta.index);
        wal.last_index = contents.entries.last().map_or(snapshot_index, |entry| entry.index);
        if let Err(error) = wal.settle(&contents) {
            return Err(OpenFailure { error: OpenError::Disk(error), disk: wal.disk });
        }
        let recovered = Recovered {
            boot: wal.mark.boot,
            cluster: wal.cluster.clone(),
            hard_state: wal.hard_state,
            snapshot: contents.snapshot,
            entries: contents.entries,
        };
        Ok((wal, recovered))
    }

    /// Makes durable what was read, removes what does not count, increases the boot counter. The order
    /// matters: nothing is removed before what replaces it is durable (it may have been written by a process
    /// that was killed before it synced), nothing is appended before what it follows is.
    fn settle(&mut self, contents: &Contents) -> Result<(), DiskError> {
        self.mark.boot += 1;
        self.disk.sync_directory()?;
        if let (Some(last), Some(tail)) = (self.segments.last(), contents.tail) {
            self.file = names::segment(last.sequence);
            if tail.torn && !self.options.plants.has(Plant::TornTailKept) {
                self.disk.truncate(&self.file, tail.whole_bytes)?;
            }
            self.disk.sync(&self.file)?;
            (self.bytes, self.durable_bytes) = (tail.whole_bytes, tail.whole_bytes);
        }
        for file in &contents.obsolete {
            self.disk.remove(file)?;
        }
        if !contents.obsolete.is_empty() {
            self.disk.sync_directory()?;
        }
        if self.segments.is_empty() {
            self.mark.first_segment = 1;
            self.begin_segment(1)?;
        } else {
            self.append_mark()?;
        }
        self.make_durable()
    }

    /// Makes this node a member of `cluster`, starting from `snapshot`, durably and at once: a crash in the
    /// middle leaves the directory unfounded or founded. The hard state becomes the snapshot's term and index.
    pub fn found(&mut self, cluster: &str, snapshot: &Snapshot) -> Result<(), WalError> {
        self.check_health()?;
        if !self.cluster.is_empty() {
            return Err(WalError::Invalid(format!(
                "this node already belongs to cluster {:?}",
                self.cluster
            )));
        }
        if cluster.is_empty() || snapshot.meta.index == 0 {
            return Err(WalError::Invalid(
                "a cluster needs a name, and its founding snapshot an index of 1 or above".into(),
            ));
        }
        self.guarded(|wal| {
            wal.cluster = cluster.into();
            wal.install(snapshot, None)?;
            wal.make_durable()
        })
    }

    /// Appends a batch; durable only after [`Wal::sync`]. A snapshot in it is durable, and in force together
    /// with the batch's hard state, when this returns: a crash in the middle leaves the old log and state or
    /// the new ones.
    pub fn write(&mut self, batch: &Batch) -> Result<(), WalError> {
        self.check_health()?;
        self.check_batch(batch)?;
        self.guarded(|wal| {
            if let Some(snapshot) = &batch.snapshot {
                wal.install(snapshot, batch.hard_state)?;
            }
            // After a snapshot the hard state is written again even if it is the old one: a later snapshot's
            // file will not repeat it.
            let news = batch.hard_state.filter(|state| *state != wal.hard_state || batch.snapshot.is_some());
            if news.is_some() || !batch.entries.is_empty() {
                wal.append_batch(&batch.entries, news)?;
            }
            Ok(())
        })
    }

    /// Makes durable all that was written before: one `fdatasync`, and one sync of the directory if a file
    /// was created or removed since the last. Does nothing if nothing is owed.
    pub fn sync(&mut self) -> Result<(), WalError> {
        self.check_health()?;
        if self.options.plants.has(Plant::AppendNotSynced) && !self.vote_owed && !self.directory_owed {
            return Ok(());
        }
        self.guarded(Wal::make_durable)
    }

    /// Saves a snapshot of this node's own state machine, durably and atomically; what was written before is
    /// synced too. The log stays as it is (see [`Wal::compact`]); the snapshot before is removed. Does nothing
    /// if there is one at this index or above already.
    pub fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), WalError> {
        self.check_health()?;
        self.check_founded()?;
        if snapshot.meta.index > self.last_index {
            let what =
                format!("a snapshot at {}, where the log ends at {}", snapshot.meta.index, self.last_index);
            return Err(WalError::Invalid(what));
        }
        if snapshot.meta.index <= self.mark.snapshot_index {
            return Ok(());
        }
        self.guarded(|wal| {
            wal.make_durable()?;
            wal.put_snapshot_file(snapshot, wal.mark.first_segment, None)?;
            wal.append_mark()
        })
    }

    /// Removes the segments that hold nothing from `keep_from_index` on, and nothing above the newest
    /// snapshot. Whole segments only, so some entries below stay. Costs a sync if there is one to remove.
    pub fn compact(&mut self, keep_from_index: u64) -> Result<(), WalError> {
        self.check_health()?;
        let dead_index = keep_from_index.saturating_sub(1).min(self.mark.snapshot_index);
        let grown = &self.segments[..self.segments.len() - 1];
        let dead = grown.iter().take_while(|segment| segment.last_live_index <= dead_index).count();
        if dead == 0 {
            return Ok(());
        }
        self.guarded(|wal| {
            wal.mark.first_segment = wal.segments[dead].sequence;
            wal.append_mark()?;
            wal.make_durable()?;
            wal.drop_segments(dead)
        })
    }

    /// How often the node has started on this directory, this time included.
    pub fn boot(&self) -> u64 {
        self.mark.boot
    }

    /// The cluster; empty before [`Wal::found`].
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The hard state as last written.
    pub fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// The index of the log's last entry as last written; the snapshot's if the log is empty.
    pub fn last_index(&self) -> u64 {
        self.last_index
    }

    /// The newest snapshot's index; 0 for none.
    pub fn snapshot_index(&self) -> u64 {
        self.mark.snapshot_index
    }

    /// Whether [`Wal::sync`] would have anything to do.
    pub fn sync_owed(&self) -> bool {
        self.durable_bytes < self.bytes || self.directory_owed
    }

    /// The disk below.
    pub fn disk(&self) -> &D {
        &self.disk
    }

    /// The disk below, to arm its faults.
    pub fn disk_mut(&mut self) -> &mut D {
        &mut self.disk
    }

    /// Closes the log as a crash would: what was written and not synced stays so.
    pub fn into_disk(self) -> D {
        self.disk
    }

    fn check_health(&self) -> Result<(), WalError> {
        if self.poisoned { Err(WalError::Poisoned) } else { Ok(()) }
    }

    fn check_founded(&self) -> Result<(), WalError> {
        if self.cluster.is_empty() {
            return Err(WalError::Invalid("this node was not founded: it has no state to keep".into()));
        }
        Ok(())
    }

    fn check_batch(&self, batch: &Batch) -> Result<(), WalError> {
        self.check_founded()?;
        let invalid = |what| Err(WalError::Invalid(what));
        let (mut snapshot_index, mut last_index) = (self.mark.snapshot_index, self.last_index);
        if let Some(snapshot) = &batch.snapshot {
            if snapshot.meta.index <= snapshot_index {
                return invalid(format!(
                    "a snapshot at {}, with one at {snapshot_index} already",
                    snapshot.meta.index
                ));
            }
            (snapshot_index, last_index) = (snapshot.meta.index, snapshot.meta.index);
        }
        let Some(first) = batch.entries.first() else { return Ok(()) };
        if first.index <= snapshot_index || first.index > last_index + 1 {
            let to = last_index + 1;
            return invalid(format!(
                "entries from {} on, expected {} to {to}",
                first.index,
                snapshot_index + 1
            ));
        }
        for (entry, index) in batch.entries.iter().zip(first.index..) {
            if entry.index != index {
                return invalid(format!("entry {} where {index} was expected", entry.index));
            }
            if entry.data.len() > MAX_ENTRY_BYTES {
                return invalid(format!(
                    "entry {index} has {} bytes, at most {MAX_ENTRY_BYTES} fit",
                    entry.data.len()
                ));
            }
        }
        Ok(())
    }

    /// Runs `work`; if the disk fails in it, nothing works any more.
    fn guarded(&mut self, work: impl FnOnce(&mut Self) -> Result<(), DiskError>) -> Result<(), WalError> {
        let result = work(self);
        self.poisoned = result.is_err();
        Ok(result?)
    }

    /// Replaces log and state by `snapshot`. The new log's segment comes first, so that once the snapshot's
    /// name is there, everything is.
    fn install(&mut self, snapshot: &Snapshot, hard_state: Option<HardState>) -> Result<(), DiskError> {
        let keeps_log = self.options.plants.has(Plant::ConflictingLogKept) && self.mark.snapshot_index > 0;
        if !keeps_log {
            self.roll()?;
        }
        self.make_durable()?;
        let old = if keeps_log { 0 } else { self.segments.len() - 1 };
        self.mark.first_segment = self.segments[old].sequence;
        self.put_snapshot_file(snapshot, self.mark.first_segment, hard_state)?;
        self.last_index = snapshot.meta.index;
        self.hard_state = recovery::consistent(hard_state.unwrap_or(self.hard_state), snapshot);
        self.append_mark()?;
        self.drop_segments(old)
    }

    /// Writes a snapshot's file under another name, renames it, and removes the one it replaces.
    fn put_snapshot_file(
        &mut self,
        snapshot: &Snapshot,
        first_segment: u64,
        hard_state: Option<HardState>,
    ) -> Result<(), DiskError> {
        let head = Head {
            node: self.options.node,
            cluster: self.cluster.clone(),
            meta: snapshot.meta.clone(),
            first_segment,
            hard_state,
        };
        self.disk.create(names::TEMPORARY)?;
        self.disk.append(names::TEMPORARY, &snapshot_file::encode(&head, &snapshot.data))?;
        let is_synced = !self.options.plants.has(Plant::SnapshotNotSynced) || self.mark.snapshot_index == 0;
        if is_synced {
            self.disk.sync(names::TEMPORARY)?;
        }
        self.disk.rename(names::TEMPORARY, &names::snapshot(snapshot.meta.index))?;
        if is_synced {
            self.disk.sync_directory()?;
        }
        self.directory_owed = !is_synced;
        let replaced = std::mem::replace(&mut self.mark.snapshot_index, snapshot.meta.index);
        if replaced > 0 {
            self.disk.remove(&names::snapshot(replaced))?;
            self.directory_owed = true;
        }
        Ok(())
    }

    /// Removes the first `count` segments, which do not count any more.
    fn drop_segments(&mut self, count: usize) -> Result<(), DiskError> {
        for segment in self.segments.drain(..count) {
            self.disk.remove(&names::segment(segment.sequence))?;
            self.directory_owed = true;
        }
        Ok(())
    }

    /// Appends entries and hard state, in as many frames as their size demands.
    fn append_batch(&mut self, entries: &[Entry], hard_state: Option<HardState>) -> Result<(), DiskError> {
        let mut rest = entries;
        loop {
            let fit = fitting(rest);
            let (now, later) = rest.split_at(fit);
            let state = if later.is_empty() { hard_state } else { None };
            if self.bytes >= self.options.segment_bytes {
                self.roll()?;
            }
            frame::begin(&mut self.buffer);
            record::encode_batch(&mut self.buffer, now, state);
            self.append_frame(record::kind::BATCH)?;
            if let (Some(first), Some(last)) = (now.first(), now.last()) {
                recovery::supersede(&mut self.segments, first.index, last.index);
                self.last_index = last.index;
            }
            if let Some(state) = state {
                self.vote_owed |= (state.term, state.vote) != (self.hard_state.term, self.hard_state.vote);
                self.hard_state = state;
            }
            rest = later;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    /// Writes down the mark: in a frame of its own, or in the header of the next segment if one is due.
    fn append_mark(&mut self) -> Result<(), DiskError> {
        if self.bytes >= self.options.segment_bytes {
            return self.roll();
        }
        frame::begin(&mut self.buffer);
        self.encode(&self.mark.clone());
        self.append_frame(record::kind::MARK)
    }

    /// Completes the growing segment and begins the next.
    fn roll(&mut self) -> Result<(), DiskError> {
        self.make_durable()?;
        let last = self.segments.last().map_or(0, |segment| segment.sequence);
        self.begin_segment(last + 1)
    }

    fn begin_segment(&mut self, sequence: u64) -> Result<(), DiskError> {
        let header = SegmentHeader {
            format: FORMAT,
            node: self.options.node,
            // While founding, this segment precedes the snapshot that makes the node a member.
            cluster: if self.mark.snapshot_index > 0 { self.cluster.clone() } else { String::new() },
            previous_bytes: self.bytes,
            hard_state: self.hard_state,
            mark: self.mark,
        };
        self.file = names::segment(sequence);
        (self.bytes, self.durable_bytes) = (0, 0);
        self.segments.push(Segment { sequence, last_live_index: 0 });
        self.disk.create(&self.file)?;
        self.directory_owed = true;
        frame::begin(&mut self.buffer);
        self.encode(&header);
        self.append_frame(record::kind::HEADER)
    }

    fn encode<T: serde::Serialize>(&mut self, record: &T) {
        let buffer = std::mem::take(&mut self.buffer);
        self.buffer =
            postcard::to_extend(record, buffer).expect("no record has a field that postcard refuses");
    }

    /// Appends the frame whose payload is in the buffer.
    fn append_frame(&mut self, kind: u8) -> Result<(), DiskError> {
        let sequence = self.segments.last().map_or(0, |segment| segment.sequence);
        frame::finish(&mut self.buffer, kind, self.durable_bytes, Place { sequence, offset: self.bytes });
        self.disk.append(&self.file, &self.buffer)?;
        self.bytes += self.buffer.len() as u64;
        Ok(())
    }

    fn make_durable(&mut self) -> Result<(), DiskError> {
        if self.durable_bytes < self.bytes {
            self.disk.sync(&self.file)?;
            self.durable_bytes = self.bytes;
        }
        self.vote_owed = false;
        if self.directory_owed {
            self.disk.sync_directory()?;
            self.directory_owed = false;
        }
        Ok(())
    }
}

/// How many of the first entries go into one frame: at least one, if there is one.
fn fitting(entries: &[Entry]) -> usize {
    let mut bytes = BATCH_OVERHEAD_BYTES;
    let over = entries.iter().position(|entry| {
        bytes += record::entry_bytes(entry);
        bytes > MAX_BODY_BYTES
    });
    over.map_or(entries.len(), |fit| fit.max(1))
}
