//! The replicated manager of MCP servers: its state machine, and one whole node of it with no I/O.
//!
//! - [`command`]: what is replicated, and what clients ask and are told.
//! - [`machine`]: the state machine. Pure: same log, same state.
//! - [`node`]: a Raft replica, the machine, and the requests that wait. Inputs in, outputs out.
//! - [`limits`]: a limit on everything.
//!
//! [`plants`] are bugs of real systems, planted by name to prove that the checks find them.

pub mod command;
pub mod limits;
pub mod machine;
pub mod node;

pub use machine::{Applied, Machine, SnapshotError};
pub use mcp_chaos_evidence::plants::{self, PLANTS, Plant, Plants, UnknownPlant};
pub use node::{
    FatalError, InitError, Input, Node, NodeStatus, Now, Observation, Options, Output, StartError,
};
