//! Supervision trees of plain ractor actors: [`restart`](crate::restart) carried out.
//!
//! A tree is declared as a [`SupervisorSpec`] and started with [`SupervisorSpec::start`]. Children
//! are unmodified ractor actors ([`worker`]), async tasks ([`task`]) and supervisors.
//!
//! # How a supervisor carries out its decisions
//! Each incarnation of a child has a *keeper*, a task that starts it, passes on the orders to stop
//! and to kill, waits until the child's task has ended, and only then reports the exit. So
//! - a slow start never blocks the supervisor, which answers and stops at any time;
//! - a replacement never overlaps the one it replaces: what the old one held (a port, a lock) is
//!   free, because its task has ended and its state was dropped;
//! - when a supervisor is killed its keepers kill what they keep, and its own supervisor waits
//!   until the whole subtree is gone before it starts a new one.
//!
//! An ordered stop is a protocol of supervisors, never ractor's: when a ractor actor ends, ractor
//! kills its children without order and without waiting.

mod board;
mod driver;
mod exit;
mod keeper;
mod launch;
mod reference;
mod spec;
mod task;
#[cfg(test)]
mod tests;
mod tree;
mod worker;

pub use board::{ChildSnapshot, ChildStatus, Counts, Kind, Snapshot};
pub use exit::Decline;
pub use reference::{CALL_DEADLINE_DEFAULT, ChildRef, RefError, Undelivered};
pub use spec::{ChildSpec, NAME_BYTES_MAX, SupervisorSpec, task, worker};
pub use task::{Outcome, Stop};
pub use tree::{Ended, Setting, StartError, Tree};
pub use worker::Worker;
