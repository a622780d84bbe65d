//! Linearizability: does each operation seem to take effect at one instant between its invocation and its answer
//! (Herlihy and Wing, Linearizability: a correctness condition for concurrent objects, 1990, §2)?
//!
//! A [`Model`] says what the object does, one operation after another. [`check()`] parts a history by key where
//! the model allows it (locality, §3.1, theorem 1), and lets a portfolio of [`Engine`]s decide each part within
//! [`Limits`]: beyond them the answer is unknown, with how far the history was verified. [`MODELS`] lists the
//! models there are.
//!
//! Nothing here reads a clock, a file or ambient randomness: the same history gives the same answer in the same
//! number of steps. Time limits and Ctrl-C come through [`Watch`].

mod configurations;
mod depth_first;
mod engine;
mod explain;
mod frontier;
mod index;
mod limits;
mod machine;
mod minimal;
mod model;
pub mod models;
mod online;
mod portfolio;
mod problem;
mod race;
pub mod register;
mod report;
mod stream;
mod window;
mod words;

pub use depth_first::DepthFirst;
pub use engine::{Answer, Engine, Progress, Survivor};
pub use frontier::Frontier;
pub use limits::{Limits, Stop, StreamProgress, Unwatched, Watch};
pub use machine::{Interned, Machine, StateId};
pub use model::{Call, Model, Reading};
pub use models::{MODELS, ModelError, ModelInfo, ModelOptions, Visitor, model_info, with_model};
pub use online::{Doubt, Frontline, Online, OnlineLimits, OnlineViolation, Standing, Tally};
pub use portfolio::{ALGORITHMS, Options, check, check_model};
pub use problem::{Moment, Problem, Step, prepare};
pub use report::{
    Band, Configuration, Failure, Minimal, OperationReport, Report, StreamDoubt, StreamReport, Timeline,
    Verdict, Verified,
};
pub use stream::{Source, check_stream, check_stream_model};
