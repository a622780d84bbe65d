//! A Raft replica with no I/O, over the `raft` crate: events in, effects out.
//!
//! The caller owes, in this order, for each [`Effect`] as it comes out of [`Replica::step`]:
//! 1. `Trace`: write it to the node's trace.
//! 2. `Persist { token, batch }`: write the batch, sync if `must_sync`, then step
//!    `Event::Persisted { token }`. Tokens are persisted in the order given. The replica itself holds back
//!    every message, vote and acknowledgement that rests on a batch until that event.
//! 3. `Send`: hand the message to the network, which may lose, delay, reorder or repeat it.
//! 4. `Apply`: apply the entries, in order, to the state machine, before the next step.
//! 5. `Restore`: replace the state machine by the snapshot's (already durable).
//! 6. `ReadReady { ticket, index }`: the read may be answered once `index` has been applied.
//! 7. `ProposalFailed`, `ChangeRefused`: the request certainly had no effect and never will. A read never fails:
//!    it waits until it can be confirmed, or until the caller gives `Event::ForgetRead`.
//!
//! A leader may need a snapshot of its state machine for a member that the newest one does not know yet: see
//! [`Replica::takes_wish_for_snapshot`].
//!
//! Of the trace, the replica writes `started`, `appended`, `truncated`, `vote_cast`, `role_changed`, `committed` and
//! `config_changed`. The caller writes the rest: `applied` for each entry of an `Apply`, before its next effect;
//! `snapshot_installed` on `Restore`, from the restored content; `snapshot_made` before it steps
//! `Event::SnapshotMade`; and `initialized`, `stopped`, `panicked`, `refused`.
//!
//! Only batches that must be synced are handed out. A commit index that moved alone is a hint, and rides
//! along with the next batch; so after a restart it may be behind. It is never behind a change of the membership that
//! has taken effect: such a change is applied once the disk knows that it is committed.
//!
//! No clock, no ambient randomness: time comes as ticks, election timeouts from a counter-based stream.

mod accept;
mod conf_change;
mod config;
mod configuration_bytes;
mod convert;
mod election;
mod event;
mod in_flight;
mod joining;
mod membership;
mod planted;
mod reads;
mod replica;
mod storage;
mod types;

pub use config::*;
pub use event::{Broken, Effect, Event, InitError, Status};
pub use joining::{Joining, join};
pub use membership::{ChangeRefused, MAX_BEHIND_ENTRIES, MembershipChange};
pub use replica::Replica;
pub use types::*;
