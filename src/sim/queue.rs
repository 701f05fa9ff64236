//! Membership alone, for up to 1,000 nodes: the machines on a queue of events.
//!
//! There are no tasks, no sockets and no TLS here: a [`Swarm`] holds one membership machine a node
//! and a heap of what comes next, and time is an integer that jumps from event to event. What the
//! machines get to see of the world is what the driver shows them over real links:
//!
//! - *Links.* One connection per ordered pair, dialled on demand (three round trips), in an LRU of
//!   [`Limits::on_demand_max`](crate::transport::Limits). Delivery is in order. A packet that is
//!   lost `k` times arrives `200 ms x (2^k - 1)` late, and all behind it wait, as over TCP. Packets
//!   are dropped when more than `gossip_bytes_max` are under way, when there is no way to the other
//!   node, and with a connection that breaks. A dial or a connection that hears nothing for as long
//!   as [`Timing`](crate::transport::Timing) says is given up, and dialled again after a back-off.
//! - *Faults.* See [`Fault`]: killed processes (their peers hear a reset), losses of power (nobody
//!   hears anything), pauses, starved processes, cuts both ways and one way, groups apart.
//! - *Agreement.* There is no authority here. The committed members are those that ever joined, in
//!   their latest life; a change reaches a node within [`COMMIT_MAX`] once it is in touch with a
//!   majority. Nobody is evicted, so that what the machines say of the dead can be judged.
//!
//! Not modelled: the processor time of a step, what other services send over the same links (it
//! would only let nodes hear more of one another), and the bytes of handshakes, TCP and IP.
//!
//! After every step the [laws](Broken) are checked.

mod events;
mod faults;
mod host;
mod laws;
mod lanes;
mod machine;
mod lives;
mod scenario;
mod setup;
mod swarm;

pub use faults::{Fault, RandomFaults};
pub use host::Tally;
pub use lanes::WIRE_EXTRA_BYTES;
pub use laws::Broken;
pub use machine::{Reachability, Seen};
pub use scenario::{Figures, Scenario};
pub use setup::{PINGED_MAX, Setup};
pub use swarm::{COMMIT_MAX, Change, Swarm};

#[cfg(test)]
mod tests;
