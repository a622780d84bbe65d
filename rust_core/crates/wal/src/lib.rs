//! CONTRACT SKETCH. A durable log of (entries, hard state) and atomic snapshot files, over [`Disk`].

mod disk;
pub use disk::{Disk, DiskError};
