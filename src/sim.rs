//! A world of simulated nodes: the real code of every layer on simulated links, disks and clocks.
//!
//! Nothing imports this module. The network and the time are turmoil's: a host is a paused
//! current-thread runtime, a link delivers in order after a drawn latency. What goes wrong is a
//! *power loss* (all links cut first, then the host is gone, its disk keeps what was synced and a
//! random part of the rest) or a *cut*; both are repeatable from the seed.

mod clock;
mod net;

pub use clock::SimClock;
pub use net::SimNet;
