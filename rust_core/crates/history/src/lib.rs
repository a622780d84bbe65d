//! Histories of concurrent operations, of any system, compact in memory.
//!
//! A history is a list of events: a process invokes an operation, and later it ends with a known or an unknown
//! outcome. [`HistoryBuilder`] pairs events as they come and names the first that makes no sense; [`History`]
//! holds the operations in 56 bytes each, beside their values, each of which it keeps once.

mod builder;
pub mod edn;
mod error;
pub mod etcd;
mod event;
mod faults;
mod format;
mod hash;
mod history;
mod json;
pub mod jsonl;
mod lines;
mod recorded;
mod stream;
mod value;

pub use builder::{BuildError, HistoryBuilder, Sort};
pub use error::ReadError;
pub use event::{Event, RawEvent};
pub use faults::fault_bands;
pub use format::{Format, Options, read, read_any};
pub use hash::{Map, Mix, Set};
pub use history::{Ending, FaultBand, History, NEVER, NameId, Operation, Outcome};
pub use stream::EventStream;
pub use value::{Names, Value, ValueId, Values};
