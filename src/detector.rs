//! Who seems alive, as integer deadlines. PURE.
//!
//! What this module says is an *observation* of one node: it routes around trouble and notifies, but
//! only an agreed eviction ends a boot.

mod heartbeat;

pub use heartbeat::{HeartbeatConfig, Heartbeats};
