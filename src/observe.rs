//! What can be seen of a cluster: reports for people and programs.
//!
//! A report is a plain value: it is computed from a view and from what nodes say of themselves,
//! printed as a table by its `Display`, and written as JSON by serde. Field names say their units.
//!
//! - [`NodesReport`]: the members, as they say they are and as each observes the others.
//! - [`RingReport`]: shares of ring and shards, the owner of a key, what a join or a loss moves.
//! - [`VotersReport`]: who agrees on the views, how far each is, and how many may fail.
//! - [`ShardsReport`]: who owns and holds how many, which are not as they should be, and each.
//! - [`WhereReport`]: where one entity is.
//! - [`DrainReport`], [`SetReport`]: what keeps a node that is drained; what follows from other
//!   constants.
//! - [`ViewEvent`]: what each version of the view changed, and why.

mod constants;
mod drain;
mod events;
mod hex;
mod load;
mod nodes;
mod ring;
mod shards;
mod status;
mod table;
mod voters;
mod whereabouts;
mod words;

pub use constants::{SetAsk, SetError, SetReport};
pub use drain::DrainReport;
pub(crate) use events::EventLog;
pub use events::{
    ConstantsChange, EVENTS_MAX, EventsAsk, EventsPage, Held, LISTED_MAX, Life, MemberChange,
    Passed, ShardChange, ViewChange, ViewEvent, changes,
};
pub use nodes::{NodeRow, NodesReport, SIGHTS_MAX, Said, Sight};
pub use ring::{
    Copying, Forecast, Handover, Holder, Joiner, Key, KeyReport, NameError, RingAsk, RingAskError,
    RingNode, RingReport,
};
pub use shards::{ShardRow, ShardState, ShardsAsk, ShardsNode, ShardsReport, StateError};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use status::fuzz_status;
pub(crate) use status::{Desk, DeskParts};
pub use status::{NodeStatus, STATUS_BYTES_MAX};
pub use voters::{VoterRole, VoterRow, VoterSaid, VotersReport};
pub use whereabouts::WhereReport;

#[cfg(test)]
mod golden;
