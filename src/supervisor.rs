//! Supervision trees of plain ractor actors: [`restart`](crate::restart) carried out.
//!
//! A tree is declared as a [`SupervisorSpec`] and started with [`SupervisorSpec::start`]. Children
//! are unmodified ractor actors ([`worker`]), async tasks ([`task`]) and supervisors.
//!
//! # How a supervisor carries out its decisions
//! Each start runs in a task of its own, the *keeper*. A worker that has started is handed to its
//! supervisor with a *bell*, a waker at its task, which rings when that task has ended, and not
//! before; a supervisor's keeper stays with it. So
//! - a slow start never blocks the supervisor, which answers and stops at any time;
//! - a replacement never overlaps the one it replaces: what the old one held (a port, a lock) is
//!   free, because its task has ended and its state was dropped;
//! - a supervisor that is killed, and its keepers, kill what they hold, and its own supervisor
//!   waits until the whole subtree is gone before it starts a new one;
//! - a worker that runs costs no task besides its own.
//!
//! An ordered stop is a protocol of supervisors, never ractor's: when a ractor actor ends, ractor
//! kills its children without order and without waiting.

mod api;
mod bell;
mod board;
mod check;
mod checkpoint;
mod driver;
mod exit;
mod gauge;
mod hang;
mod keeper;
mod launch;
mod options;
mod plan;
mod reference;
mod retrying;
mod run;
mod shell;
mod spec;
mod task;
#[cfg(test)]
mod tests;
mod tree;
mod worker;

pub use api::{REQUEST_DEADLINE, REQUESTS_MAX, RequestError, SupervisorRef};
pub use board::{ChildSnapshot, ChildStatus, Counts, Kind, Snapshot};
pub use check::NAME_BYTES_MAX;
pub use checkpoint::{
    Checkpoint, CheckpointError, GENERATIONS_MAX, PROBATION_DEFAULT, STRIKES_DEFAULT,
};
pub use exit::Decline;
#[cfg(feature = "cluster")]
pub(crate) use exit::panic_text;
pub use options::SPAN_MAX;
pub use reference::{CALL_DEADLINE_DEFAULT, ChildRef, RefError, Undelivered};
pub use retrying::{Attempt, Retry, RetryBudget, RetryError};
pub use run::{EXIT_GAVE_UP, EXIT_NO_SIGNALS, EXIT_SIGNAL, EXIT_STOPPED, EXIT_STUCK};
pub use spec::{ChildSpec, SupervisorSpec, task, worker};
pub use task::{Outcome, Stop};
pub use tree::{Ended, Setting, StartError, Tree};
pub use worker::{MAILBOX_DEFAULT, MAILBOX_MAX, Worker};
