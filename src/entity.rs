//! Entities: actors with a name and one home, placed by the ring and reached from every node.
//!
//! A user declares an [`Entity`] and hosts its [`Kind`]; [`Entities`] gives an [`EntityRef`] by id,
//! which finds the owner in the view: a push into a lane on this node, a frame to another. What an
//! asker learns is exact: [`AskError::NotExecuted`] or [`AskError::Unknown`].
//!
//! Every turn runs under a [`Tenure`](crate::authority::Tenure) and passes the gate of the lease
//! whenever it is polled and before each effect that leaves it: reply, message, save. Under another
//! epoch nothing is taken over but what was saved.

mod counts;
mod cx;
mod door;
mod error;
mod frame;
mod home;
mod host;
mod hosted;
mod kind;
mod kinds;
mod lane;
mod moving;
mod parts;
mod records;
mod refs;
mod reply;

pub use counts::EntityCounts;
pub use cx::Cx;
pub use error::{AskError, Failure, NotExecuted, Unknown};
pub use host::{ASK_WITHIN, Hosts};
pub use kind::{Durable, Entity, HostedKind, Kind, LANE_MESSAGES, PASSIVATE_AFTER};
pub use kinds::{HostError, Kinds};
pub use parts::HostParts;
pub use records::Records;
pub use refs::{Entities, EntityRef};
pub use reply::Reply;

#[cfg(test)]
mod tests;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use frame::fuzz_entity;

#[cfg(test)]
mod golden;
