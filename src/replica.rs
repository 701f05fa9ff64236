//! Primary/backup replication of shard state under epochs (PacificA, under our view).
//!
//! The owner of a shard numbers its writes, stores each, sends it to every store that must have it
//! and acknowledges when all do. A new owner first *takes over*: it seals the stores of `in_sync`
//! under its epoch, makes each hold exactly its own log, and only then serves.

mod api;
mod backup;
mod driver;
mod frame;
mod handle;
mod primary;
#[cfg(test)]
mod world;

pub use api::{Copies, KEY_BYTES_MAX, ReplicaError, SaveError, VALUE_BYTES_MAX, Write};
pub use handle::{ReplicaParts, Replicas};

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use frame::fuzz_replica;

#[cfg(test)]
mod golden;
