//! A durable log of Raft's state (entries, hard state) and atomic snapshot files, over the narrow [`Disk`]
//! trait: the same storage code runs on real files and on [`SimDisk`], with every fault a disk may show.
//!
//! The duties of a caller, in order: [`Wal::open`]; on an unfounded directory [`Wal::found`], once; then for
//! each batch [`Wal::write`], and [`Wal::sync`] before anything that rests on it leaves the node; now and then
//! [`Wal::save_snapshot`] and [`Wal::compact`]. After any error of the disk the process must stop: a failed
//! `fsync` says nothing about what is on disk, and a second one may lie (Rebello et al., "Can applications
//! recover from fsync failures?", USENIX ATC 2020). So a [`Wal`] that met one refuses every later call.
//!
//! # Files
//! One flat directory that belongs to the log alone:
//! - `log-<sequence>.wal`: segments, sequences contiguous. A segment is a row of frames, the first a header.
//! - `snapshot-<index>.snap`: complete from the moment it bears this name. Only the newest counts.
//! - `snapshot.tmp`: a snapshot in the making; without meaning after a restart.
//!
//! Every segment header and every snapshot says for which node and cluster it was written, so a file that
//! strayed in from elsewhere is recognised. Founding a node is the renaming of its first snapshot: one atomic
//! act. A received snapshot names the first segment that still counts: with its renaming, again one atomic
//! act, the log before it is void.
//!
//! # What an append-only file may look like after the power went
//! What was synced is there, byte for byte. Of what was appended since, the file system may have written back
//! any sectors in any order, and the new length or not. So the file ends anywhere at or above the synced
//! length, and each 512-byte sector above it holds what was written up to some append's end, then zeros.
//! Nothing else: the file systems in use do not show old blocks' content in an extended file.
//!
//! # Telling a torn tail from corruption
//! A torn tail is the work of the power loss above: it was never acknowledged, and is cut. Anything else is
//! corruption, and cutting it would drop what was acknowledged: such a directory is refused, untouched. Both
//! show as a frame with a wrong checksum, so three things tell them apart:
//! - **Order.** A segment is synced before the next is created: damage in any but the last is corruption.
//! - **Watermarks.** Each frame carries the length of its segment known to be durable when it was written. A
//!   bad frame below the watermark of a later good one was durable: corruption.
//! - **Shape.** Frames begin at multiples of 16 bytes and their headers, 16 bytes with a checksum of their own,
//!   never straddle two sectors. So an unsynced frame that is torn has lost its end (the file ends inside it),
//!   its header (zeros to the end of the sector), or a whole sector's share of its body (zeros). Bodies are
//!   masked so that no share is zero, nor within two 16-bit words of it, when intact (see `frame`). A frame
//!   that is complete, nowhere blank and yet wrong is therefore corruption, even if it is the very last one,
//!   which no watermark covers.
//!
//! What this cannot see: that the end of the last segment, whole sectors or whole frames of it above every
//! watermark, was durable and then lost (a disk that lies about `fsync`). Nothing on that disk could tell.
//!
//! Nor can a directory that is empty tell that it once was not. Who starts the node may know: under
//! [`Options::must_be_founded`] a directory without a founded log is refused, so that a node which lost its disk does
//! not come back as a new one under its old identity, and vote again.
//!
//! The checksum of a frame covers its segment's sequence and its offset: a frame in the wrong place is no frame.
//!
//! # Overwriting
//! The file only grows; truncating the log is logical. A batch whose entries begin at index i supersedes every
//! entry from i on that stands before it.

mod disk;
mod error;
mod frame;
mod names;
mod record;
mod recovery;
mod simulated;
mod snapshot_file;
mod wal;

pub use disk::{Disk, DiskError};
pub use error::{OpenError, OpenFailure, WalError};
pub use simulated::{CrashPoint, DiskOp, Failing, Lies, Moment, SimDisk};
pub use wal::{MAX_ENTRY_BYTES, MAX_SEGMENT_BYTES, Options, Wal};
