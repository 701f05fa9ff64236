//! What can be seen of a cluster: reports for people and programs.
//!
//! A report is a plain value: it is computed from a view and from what nodes say of themselves,
//! printed as a table by its `Display`, and written as JSON by serde. Field names say their units.
//!
//! - [`RingReport`]: shares of ring and shards, the owner of a key, what a join or a loss moves.

mod hex;
mod ring;
mod table;
mod words;

pub use ring::{
    Copying, Forecast, Handover, Holder, Joiner, Key, KeyReport, NameError, RingAsk, RingAskError,
    RingNode, RingReport,
};

#[cfg(test)]
mod golden;
