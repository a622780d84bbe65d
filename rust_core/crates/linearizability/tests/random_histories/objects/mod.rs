//! Sequential specifications, over the plainest types there are.

pub mod counter;
pub mod key_value;
pub mod lock;
pub mod log;
pub mod queue;
pub mod register;
pub mod registry;
pub mod set;
pub mod versioned;
