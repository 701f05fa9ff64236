//! What a node keeps on its disk: one data directory, its own facts, and the records of shards.
//!
//! A [`Disk`] is one data directory: [`Directory`] on a real machine, a mount of a `SimDisk` in
//! simulation. [`Facts`] are what a node knows of itself. [`Store`] holds the records; every write
//! of a node passes through its group commit. Nothing here knows who owns a shard: it keeps the
//! *seal* of each shard and accepts writes under that epoch only (PacificA's replica, on its disk).

mod apply;
mod database;
mod disk;
mod error;
mod facts;
mod op;
mod record;
mod starts;
mod store;
mod tables;
#[cfg(feature = "sim")]
mod sim_disk;

pub use database::{
    CACHE_BYTES_SMALL, begin_write, open_database, open_database_with_room,
    reads_what_may_be_damaged,
};
pub(crate) use database::{UNREADABLE, reading};
pub(crate) use disk::disk_worker;
pub use disk::{Directory, Disk};
pub use error::{DiskError, StoreError};
pub use facts::{FACTS_FILE, Facts};
pub use op::{Op, OpResult};
pub use record::{Number, Record, ShardHead};
#[cfg(feature = "sim")]
pub use sim_disk::{SimDisk, SimMount};
pub use starts::Older;
pub(crate) use starts::{Counted, next_start};
pub use store::{DATA_FILE, Durability, Store};

#[cfg(all(test, feature = "sim"))]
mod tests;

#[cfg(test)]
mod golden;
