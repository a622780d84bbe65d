//! A disk in memory that can lose power, fill up, fail, and lie.
//!
//! Every file is an inode: a content, of which a beginning is durable. Names are durable only once the
//! directory was synced; until then each creation, renaming and removal is pending. [`SimDisk::power_off`]
//! leaves of all this anything that a real disk may (the crate's documentation says what that is).
//!
//! A sync that fails leaves what it was to write lost: kernels mark such pages clean, so that the next sync of the
//! file succeeds and writes nothing of them (Rebello et al., "Can Applications Recover from fsync Failures?",
//! USENIX ATC 2020). Whoever goes on after a failed sync therefore loses data; here at the latest when the file is
//! opened anew, after [`SimDisk::restart`].
//!
//! One that lies reports syncs done and does nothing: its own cache holds what it was given, and power lost meanwhile
//! takes that back. A cache is written out in the end, so with the lie what it still holds becomes durable.

use std::collections::BTreeMap;

use mcp_chaos_evidence::rng::Stream;

use crate::{Disk, DiskError};

/// Lost or kept as a whole by the page cache.
const PAGE_BYTES: usize = 4096;
/// Lost or kept as a whole by the disk.
const SECTOR_BYTES: usize = 512;

/// The kinds of operations that change a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskOp {
    /// Appending to a file.
    Write,
    /// Making a file's content durable.
    Sync,
    /// Creating a file.
    Create,
    /// Cutting a file.
    Truncate,
    /// Renaming a file.
    Rename,
    /// Removing a file.
    Remove,
    /// Making names durable.
    SyncDirectory,
}

impl DiskOp {
    /// How many kinds there are.
    const COUNT: usize = DiskOp::SyncDirectory as usize + 1;
}

/// When, around an operation, the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nothing of the operation happens.
    Before,
    /// Half of it: half of the bytes are appended, or made durable; half of the pending names are. An
    /// operation that has no halves happens.
    During,
    /// All of it happens, but its caller is never told.
    After,
}

/// What a disk refuses to do, while it is so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failing {
    /// There is no space left: half of what is appended is written, and nothing is created.
    pub full: bool,
    /// Reads fail.
    pub reads: bool,
    /// Appends fail half-way; whatever else changes files or names fails.
    pub writes: bool,
    /// Syncs of files and of the directory fail; what a file's was to make durable is lost.
    pub syncs: bool,
}

impl Failing {
    /// What fails under either.
    pub fn or(self, other: Failing) -> Failing {
        Failing {
            full: self.full || other.full,
            reads: self.reads || other.reads,
            writes: self.writes || other.writes,
            syncs: self.syncs || other.syncs,
        }
    }
}

/// Where a disk is to lose power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashPoint {
    /// The kind of operation that counts; `None` for all.
    pub op: Option<DiskOp>,
    /// Which one from now on, counted from 1.
    pub nth: u64,
    /// When around it.
    pub moment: Moment,
}

/// A simulated disk. A clone is a disk of its own with the same content.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    /// The names as a process sees them, with the numbers of their inodes.
    names: BTreeMap<String, u64>,
    /// The names as they are after a power loss that keeps nothing pending.
    durable_names: BTreeMap<String, u64>,
    /// What led from `durable_names` to `names`, in order.
    pending: Vec<NameChange>,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    counts: [u64; DiskOp::COUNT],
    crash: Option<CrashPoint>,
    off: bool,
    failing: Failing,
    lying: bool,
    /// How many of the pending changes of names were reported durable by a lie.
    said_names: usize,
    lies: Lies,
}

/// What a disk that lies has done, over its whole life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lies {
    /// Syncs of files and of the directory that it reported done and did not do.
    pub syncs: u64,
    /// Bytes, reported durable, that a power loss has taken or blanked since; and bytes, reported cut off, that it has
    /// brought back.
    pub lost_bytes: u64,
    /// Changes of names, reported durable, that a power loss has undone since.
    pub lost_names: u64,
}

/// The content of a file.
#[derive(Clone, Debug, Default)]
struct Inode {
    content: Vec<u8>,
    /// The content is durable up to here.
    durable_bytes: usize,
    /// What a power loss may bring back if the file was cut and not synced since: content and its durable length.
    before_cut: Option<(Vec<u8>, usize)>,
    /// From where to where a sync that failed has lost the content; a process still reads it until it opens the
    /// file anew.
    lost: Option<(usize, usize)>,
    /// What a lie has reported durable; none if none did since the last true sync.
    said: Option<Said>,
}

/// What a lie has reported durable of a file.
#[derive(Clone, Copy, Debug)]
struct Said {
    /// The content up to here.
    bytes: usize,
    /// The cut before it: nothing of what was cut off comes back.
    cut: bool,
}

#[derive(Clone, Debug)]
enum NameChange {
    Create { name: String, inode: u64 },
    Rename { from: String, to: String, inode: u64 },
    Remove { name: String },
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> SimDisk {
        SimDisk::default()
    }

    /// How many operations of this kind were begun since the disk was made.
    pub fn count(&self, op: DiskOp) -> u64 {
        self.counts[op as usize]
    }

    /// How many operations of any kind were begun since the disk was made.
    pub fn operations(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many writes were begun since the disk was made.
    pub fn writes(&self) -> u64 {
        self.count(DiskOp::Write)
    }

    /// How many syncs of files and of the directory were begun since the disk was made.
    pub fn syncs(&self) -> u64 {
        self.count(DiskOp::Sync) + self.count(DiskOp::SyncDirectory)
    }

    /// Bytes that a power loss could take, over all files that have a name.
    pub fn unsynced_bytes(&self) -> u64 {
        self.names
            .values()
            .map(|inode| &self.inodes[inode])
            .map(|inode| (inode.content.len() - inode.durable_bytes) as u64)
            .sum()
    }

    /// Makes the disk lie about syncs, or tell the truth again: then all that it had reported durable is.
    pub fn set_lying(&mut self, lying: bool) {
        self.lying = lying;
        if !lying {
            self.inodes.values_mut().for_each(Inode::keep_word);
            let said = std::mem::take(&mut self.said_names).min(self.pending.len());
            self.sync_names(said);
        }
    }

    /// What it has lied about.
    pub fn lies(&self) -> Lies {
        self.lies
    }

    /// The files with their lengths, in the order of their names; also of a disk without power.
    pub fn files(&self) -> impl Iterator<Item = (&str, u64)> {
        self.names.iter().map(|(name, inode)| (name.as_str(), self.inodes[inode].content.len() as u64))
    }

    /// Whether a power loss could take anything: bytes, a cut, or a change of names.
    pub fn is_synced(&self) -> bool {
        self.pending.is_empty()
            && self
                .inodes
                .values()
                .all(|inode| inode.durable_bytes == inode.content.len() && inode.before_cut.is_none())
    }

    /// Makes the power go at a point to come, in place of any set before. From then on every operation fails
    /// with [`DiskError::PoweredOff`] until [`SimDisk::restart`]; what of the volatile content is lost is
    /// decided by [`SimDisk::power_off`] (without it nothing is: that is a process killed at this point).
    pub fn crash_at(&mut self, point: CrashPoint) {
        assert!(point.nth > 0, "operations are counted from 1");
        self.crash = Some(point);
    }

    /// Forgets the point set by [`SimDisk::crash_at`], if it was not reached yet.
    pub fn disarm(&mut self) {
        self.crash = None;
    }

    /// Takes the power away: what is not durable is lost, wholly, partly, or not at all, as the draws of
    /// `stream` from `counter * 2^32` on decide. Every operation fails until [`SimDisk::restart`].
    pub fn power_off(&mut self, stream: Stream, counter: u64) {
        let mut draws = Draws { stream, n: counter << 32 };
        self.off = true;
        self.crash = None;
        let said: Vec<_> = self.pending.iter().take(std::mem::take(&mut self.said_names)).cloned().collect();
        let keeps_order = draws.coin();
        let kept = if keeps_order { draws.below(self.pending.len() + 1) } else { self.pending.len() };
        for change in std::mem::take(&mut self.pending).into_iter().take(kept) {
            // A journal keeps the order, and loses the last changes; elsewhere any may be lost.
            if keeps_order || draws.coin() {
                change.apply(&mut self.durable_names);
            }
        }
        self.lies.lost_names +=
            said.iter().filter(|change| !change.holds(&self.durable_names)).count() as u64;
        self.names.clone_from(&self.durable_names);
        self.drop_nameless();
        for inode in self.inodes.values_mut() {
            self.lies.lost_bytes += inode.lose_power(&mut draws);
        }
    }

    /// Gives the power back; what is on the disk stays. What a failed sync lost is not there any more.
    pub fn restart(&mut self) {
        self.off = false;
        self.inodes.values_mut().for_each(Inode::forget_lost);
    }

    /// Sets what fails from now on.
    pub fn set_failing(&mut self, failing: Failing) {
        self.failing = failing;
    }

    /// The error of an operation on `file`, if it fails.
    fn fails(file: &str, fails: bool) -> Result<(), DiskError> {
        let error = || DiskError::Io { file: file.into(), message: "input/output error".into() };
        if fails { Err(error()) } else { Ok(()) }
    }

    /// Why an operation on `file` that changes something fails, if it does.
    fn failure(&self, op: DiskOp, file: &str) -> Result<(), DiskError> {
        let Failing { full, writes, syncs, .. } = self.failing;
        if full && matches!(op, DiskOp::Write | DiskOp::Create) {
            return Err(DiskError::Full { file: file.into() });
        }
        Self::fails(file, if matches!(op, DiskOp::Sync | DiskOp::SyncDirectory) { syncs } else { writes })
    }

    /// Changes what is durable behind everyone's back: XORs the byte of `file` at `offset` with `pattern`.
    /// False if there is no such byte.
    pub fn corrupt(&mut self, file: &str, offset: u64, pattern: u8) -> bool {
        let Some(inode) = self.names.get(file).and_then(|inode| self.inodes.get_mut(inode)) else {
            return false;
        };
        let byte = usize::try_from(offset).ok().and_then(|offset| inode.content.get_mut(offset));
        byte.map(|byte| *byte ^= pattern).is_some()
    }

    /// Counts the operation on `file`, then runs it (`whole`), or what is left of it where the disk crashes or fails
    /// (`half`).
    fn operate(
        &mut self,
        op: DiskOp,
        file: &str,
        whole: impl FnOnce(&mut Self) -> Result<(), DiskError>,
        half: impl FnOnce(&mut Self) -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        if self.off {
            return Err(DiskError::PoweredOff);
        }
        self.counts[op as usize] += 1;
        let mut crashes = None;
        if let Some(point) = self.crash.as_mut().filter(|point| point.op.is_none_or(|counted| counted == op))
        {
            if point.nth == 1 {
                crashes = Some(*point);
            } else {
                point.nth -= 1;
            }
        }
        let Some(point) = crashes else {
            return match self.failure(op, file) {
                Ok(()) => whole(self),
                Err(error) => {
                    match op {
                        DiskOp::Write => half(self)?,
                        DiskOp::Sync => self.inode_mut(file)?.lose_unsynced(),
                        _ => {}
                    }
                    Err(error)
                }
            };
        };
        match point.moment {
            Moment::Before => {}
            Moment::During => half(self)?,
            Moment::After => whole(self)?,
        }
        self.crash = None;
        self.off = true;
        Err(DiskError::PoweredOff)
    }

    fn inode_mut(&mut self, file: &str) -> Result<&mut Inode, DiskError> {
        let number = self.number(file)?;
        Ok(self.inodes.get_mut(&number).expect("every name has its inode"))
    }

    fn number(&self, file: &str) -> Result<u64, DiskError> {
        self.names.get(file).copied().ok_or_else(|| DiskError::NotFound { file: file.into() })
    }

    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending.push(change);
    }

    fn sync_names(&mut self, count: usize) {
        for change in self.pending.drain(..count) {
            change.apply(&mut self.durable_names);
        }
        if self.pending.is_empty() {
            self.drop_nameless();
        }
    }

    /// Frees what neither a process nor a power loss can reach any more. Only right with nothing pending.
    fn drop_nameless(&mut self) {
        let names = &self.names;
        self.inodes.retain(|number, _| names.values().any(|named| named == number));
    }
}

impl NameChange {
    /// Whether the names are as it has left them.
    fn holds(&self, names: &BTreeMap<String, u64>) -> bool {
        match self {
            NameChange::Create { name, inode } | NameChange::Rename { to: name, inode, .. } => {
                names.get(name) == Some(inode)
            }
            NameChange::Remove { name } => !names.contains_key(name),
        }
    }

    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            NameChange::Create { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            NameChange::Rename { from, to, inode } => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
            NameChange::Remove { name } => {
                names.remove(name);
            }
        }
    }
}

impl Inode {
    fn sync(&mut self) {
        self.durable_bytes = self.content.len();
        self.before_cut = None;
        self.said = None;
    }

    /// A sync is reported done.
    fn lie(&mut self) {
        self.said = Some(Said { bytes: self.content.len(), cut: self.before_cut.is_some() });
    }

    /// What was reported durable is.
    fn keep_word(&mut self) {
        if let Some(said) = self.said.take() {
            self.durable_bytes = self.durable_bytes.max(said.bytes.min(self.content.len()));
            self.before_cut = None;
        }
    }

    /// As far as half of the bytes, in whole sectors.
    fn sync_half(&mut self) {
        let half = self.durable_bytes.midpoint(self.content.len());
        self.durable_bytes = self.durable_bytes.max(half / SECTOR_BYTES * SECTOR_BYTES);
    }

    /// A sync has failed: the next one will not write this any more.
    fn lose_unsynced(&mut self) {
        let from = self.lost.map_or(self.durable_bytes, |(from, _)| from.min(self.durable_bytes));
        self.lost = (from < self.content.len()).then_some((from, self.content.len()));
    }

    /// What a failed sync lost reads as blank; if nothing was written behind it, the file ends before it.
    fn forget_lost(&mut self) {
        let Some((from, to)) = self.lost.take() else { return };
        let to = to.min(self.content.len());
        if from < to && to == self.content.len() {
            self.content.truncate(from);
        } else if from < to {
            self.content[from..to].fill(0);
        }
        self.durable_bytes = self.durable_bytes.min(self.content.len());
    }

    fn truncate(&mut self, bytes: usize) {
        if self.before_cut.is_none() {
            self.before_cut = Some((self.content.clone(), self.durable_bytes));
        }
        self.content.truncate(bytes);
        self.durable_bytes = self.durable_bytes.min(bytes);
        self.said = self.said.map(|said| Said { bytes: said.bytes.min(bytes), cut: false });
        self.lost = self.lost.map(|(from, to)| (from, to.min(bytes))).filter(|(from, to)| from < to);
    }

    /// Gives how many bytes that a lie had reported durable are gone, or had reported cut off are back.
    fn lose_power(&mut self, draws: &mut Draws) -> u64 {
        self.forget_lost();
        let Said { bytes, cut } = self.said.unwrap_or(Said { bytes: 0, cut: false });
        let written_bytes = self.content.len();
        let said_bytes = bytes.min(written_bytes);
        let said = self.content[self.durable_bytes.min(said_bytes)..said_bytes].to_vec();
        let from = said_bytes - said.len();
        if let Some((content, durable_bytes)) = self.before_cut.take()
            && draws.coin()
        {
            (self.content, self.durable_bytes) = (content, durable_bytes);
        }
        let durable = self.durable_bytes;
        if durable < self.content.len() {
            match draws.below(5) {
                0 => self.content.truncate(durable),
                1 => {}
                2 => {
                    let kept = draws.below(self.content.len() - durable + 1);
                    self.content.truncate(durable + kept);
                }
                3 => self.lose_blocks(PAGE_BYTES, draws),
                _ => self.lose_blocks(SECTOR_BYTES, draws),
            }
        }
        self.sync();
        let left = self.content.get(from..).unwrap_or_default();
        let gone = said.iter().enumerate().filter(|(at, byte)| left.get(*at) != Some(byte)).count();
        let back = if cut { self.content.len().saturating_sub(written_bytes) } else { 0 };
        (gone + back) as u64
    }

    /// Each block of what is not durable is kept or blank; then the new length may be kept or not.
    fn lose_blocks(&mut self, block_bytes: usize, draws: &mut Draws) {
        let mut from = self.durable_bytes;
        while from < self.content.len() {
            let to = (from + 1).next_multiple_of(block_bytes).min(self.content.len());
            if draws.coin() {
                self.content[from..to].fill(0);
            }
            from = to;
        }
        if draws.coin() {
            let kept = draws.below(self.content.len() - self.durable_bytes + 1);
            self.content.truncate(self.durable_bytes + kept);
        }
    }
}

/// Draws from a stream, one after the other.
struct Draws {
    stream: Stream,
    n: u64,
}

impl Draws {
    /// Uniform in `0..bound`.
    fn below(&mut self, bound: usize) -> usize {
        self.n += 1;
        self.stream.between(self.n, 0, bound as u64 - 1) as usize
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

impl Disk for SimDisk {
    fn list(&self) -> Result<Vec<String>, DiskError> {
        if self.off {
            return Err(DiskError::PoweredOff);
        }
        Self::fails("the directory", self.failing.reads)?;
        Ok(self.names.keys().cloned().collect())
    }

    fn read(&self, file: &str) -> Result<Vec<u8>, DiskError> {
        if self.off {
            return Err(DiskError::PoweredOff);
        }
        Self::fails(file, self.failing.reads)?;
        Ok(self.inodes[&self.number(file)?].content.clone())
    }

    fn create(&mut self, file: &str) -> Result<(), DiskError> {
        let make = |disk: &mut SimDisk| {
            let inode = disk.next_inode;
            disk.next_inode += 1;
            disk.inodes.insert(inode, Inode::default());
            disk.change_names(NameChange::Create { name: file.into(), inode });
            Ok(())
        };
        self.operate(DiskOp::Create, file, make, make)
    }

    fn append(&mut self, file: &str, bytes: &[u8]) -> Result<(), DiskError> {
        let append = |disk: &mut SimDisk, bytes| {
            disk.inode_mut(file).map(|inode| inode.content.extend_from_slice(bytes))
        };
        let half = &bytes[..bytes.len() / 2];
        self.operate(DiskOp::Write, file, |disk| append(disk, bytes), |disk| append(disk, half))
    }

    fn sync(&mut self, file: &str) -> Result<(), DiskError> {
        self.operate(
            DiskOp::Sync,
            file,
            |disk| {
                if disk.lying {
                    disk.lies.syncs += 1;
                    return disk.inode_mut(file).map(Inode::lie);
                }
                disk.inode_mut(file).map(Inode::sync)
            },
            |disk| if disk.lying { Ok(()) } else { disk.inode_mut(file).map(Inode::sync_half) },
        )
    }

    fn truncate(&mut self, file: &str, length: u64) -> Result<(), DiskError> {
        let cut = |disk: &mut SimDisk| disk.inode_mut(file).map(|inode| inode.truncate(length as usize));
        self.operate(DiskOp::Truncate, file, cut, cut)
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        let change = |disk: &mut SimDisk| {
            let inode = disk.number(from)?;
            disk.change_names(NameChange::Rename { from: from.into(), to: to.into(), inode });
            Ok(())
        };
        self.operate(DiskOp::Rename, from, change, change)
    }

    fn remove(&mut self, file: &str) -> Result<(), DiskError> {
        let change = |disk: &mut SimDisk| {
            disk.number(file)?;
            disk.change_names(NameChange::Remove { name: file.into() });
            Ok(())
        };
        self.operate(DiskOp::Remove, file, change, change)
    }

    fn sync_directory(&mut self) -> Result<(), DiskError> {
        self.operate(
            DiskOp::SyncDirectory,
            "the directory",
            |disk| {
                if disk.lying {
                    disk.lies.syncs += 1;
                    disk.said_names = disk.pending.len();
                } else {
                    disk.said_names = 0;
                    disk.sync_names(disk.pending.len());
                }
                Ok(())
            },
            |disk| {
                if !disk.lying {
                    disk.sync_names(disk.pending.len() / 2);
                    disk.said_names = disk.said_names.min(disk.pending.len());
                }
                Ok(())
            },
        )
    }
}
