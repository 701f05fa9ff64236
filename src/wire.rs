//! What stands on the wire, byte for byte. No socket and no clock; nothing here trusts a length.
//!
//! Two languages, one after the other on every connection:
//! - the [`hello`] handshake: small, before anything else is decoded;
//! - frames: a length, a fixed [`Header`], and a body that is only handed on ([`Splitter`]).
//!
//! Bodies are written by [`to_control`] (`MessagePack` with a schema byte: may gain fields) or by
//! [`to_data`] (postcard: short and fast, both sides must agree on the schema).
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod control;
mod data;
mod frame;
pub mod hello;
mod parts;

pub use control::{CONTROL_SCHEMA, from_control, to_control};
pub use data::{from_data, to_data};
pub use frame::{
    FRAME_EXTRA_BYTES_MAX, Frame, HEADER_BYTES, Header, Kind, Part, Splitter, TRACE_BYTES, Trace,
    encode, void,
};

pub use parts::{Assembler, MESSAGE_BYTES_MAX, PART_BYTES_MAX, next_part};

/// Why bytes are not what they should be. The connection they came on cannot be used further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// A length is above the maximum.
    #[error("a frame claims {bytes} bytes, at most {bytes_max} are allowed")]
    TooLong {
        /// What it claims.
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
    /// A length does not cover the fixed fields.
    #[error("a frame claims {0} bytes, too few for its header")]
    TooShort(usize),
    /// The first bytes are not ours.
    #[error("the other side does not speak this protocol (is it a node of this crate, with TLS?)")]
    NotOurs,
    /// The number of a kind is unknown.
    #[error("{0} is not a kind of frame")]
    Kind(u8),
    /// The schema number is unknown.
    #[error("schema {0} is not known here: the other side is newer")]
    Schema(u16),
    /// The bytes do not decode.
    #[error("bytes do not decode: {0}")]
    Garbage(String),
}
