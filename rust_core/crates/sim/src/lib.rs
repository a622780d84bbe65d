//! The deterministic world: a whole cluster of nodes with its clients, network, disks and faults, on a
//! virtual clock.
//!
//! [`simulate`] carries out a compiled [`Plan`] and gives a [`Run`]: a history, a trace, a nemesis log and a
//! hash over all of them. [`World`] is the same, stepped by hand.
//!
//! # What closes the world
//! Two runs of one plan are equal, record for record, in any process on any machine. Nothing enters a run but
//! the plan: virtual time instead of clocks; events ordered by (time, sequence); draws by counters from streams
//! of their own for each link, node, client and purpose (see `mcp_chaos_evidence::rng`); no threads, no map
//! in random order, no floating-point number. A draw depends on nothing but its stream and its number, so
//! a step taken out of a plan never shifts another's draws.
//!
//! # What is simulated, and how
//! - **Process.** One whole node (`mcp_manager::Node`) at a time handles one input at one virtual moment.
//!   A tick comes every `tick_ns`, with a phase of the node's own. A paused process handles nothing: what
//!   arrives waits (in bounded space), ticks are lost. A slow one takes a drawn time over each input, and is no
//!   more than one tick behind. A killed one comes up again after 20 to 80 ms.
//! - **Clocks.** Each machine has its own, see `clock`: ticks come by it, and a leader dates its entries by it.
//! - **Disk.** The node's own log (`mcp_chaos_wal::Wal`) on a simulated disk. A storage thread takes all batches
//!   that wait, writes them at once, and syncs them after a drawn time; only then the node learns of it. So
//!   power lost between takes or tears what was written. Steps may also fall exactly on a write or sync. A process
//!   whose disk is full or fails stops; it is started again once the disk is well.
//!   A disk may also lie about syncs, rot, or be gone: then the process refuses to start, or stops once it finds out,
//!   and nothing brings it up again.
//! - **Network.** See [`network`]. A sender learns that its connection broke, and what became of a snapshot. What a
//!   link of limited bandwidth has no room for waits in the sender's buffer.
//! - **Clients.** See [`clients`]. A dead process refuses or breaks connections; a machine without power, and
//!   a cut link, only keep silent.

pub mod clients;
mod clock;
pub mod expirations;
mod fingerprint;
pub mod network;
mod panics;
pub mod plan;
mod process;
pub mod queue;
mod records;
#[cfg(test)]
mod testing;
pub mod workload;
mod world;

pub use fingerprint::fingerprint;
pub use plan::{Plan, PlanError};
pub use records::{Run, Stats};
pub use world::{CLUSTER, HandOutcome, OperateError, START_NS, World};

/// Carries out a whole plan, with these planted bugs, in one go.
///
/// # Errors
/// If there is no planted bug of such a name.
pub fn simulate(plan: Plan, plants: &[impl AsRef<str>]) -> Result<Run, mcp_manager::UnknownPlant> {
    Ok(World::new(plan, plants)?.finish())
}
