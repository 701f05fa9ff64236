//! What stands on the wire, byte for byte. No socket and no clock; nothing here trusts a length.
//!
//! Two languages, one after the other on every connection:
//! - the [`hello`] handshake: small, before anything else is decoded;
//! - frames: a length, a fixed [`Header`], and a body that is only handed on ([`Splitter`]).
//!
//! Bodies are written by [`to_control`] (`MessagePack` with a schema byte: may gain fields), by
//! [`to_data`] (postcard: short and fast, both sides must agree on the schema) or by [`to_named`]
//! (`MessagePack` where they do not): a [`Codec`] is the choice between the latter two, and
//! [`negotiate`] how it is made. All decoding of untrusted bytes is bounded in depth, in what a
//! length may claim, and in the room made before data arrives.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod bounded;
mod codec;
mod control;
mod data;
mod frame;
pub mod hello;
mod named;
pub mod negotiate;
mod parts;

pub use codec::Codec;
pub use control::{CONTROL_SCHEMA, from_control, to_control};
pub use data::{from_data, to_data};
pub use frame::{
    FRAME_EXTRA_BYTES_MAX, Frame, HEADER_BYTES, Header, Kind, Part, Splitter, TRACE_BYTES, Trace,
    encode, void,
};
pub use named::{from_named, to_named};
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
    /// A message is written in postcard under another schema of its kind.
    #[error("it is written under schema {schema} of its kind, and this node reads {own}")]
    OtherSchema {
        /// What the frame says.
        schema: u16,
        /// What this node knows.
        own: u16,
    },
    /// The bytes do not decode.
    #[error("bytes do not decode: {0}")]
    Garbage(String),
}

/// Longest text of an error that may quote what was received, in characters.
const WORDS_MAX: usize = 200;

/// Words of a decoder may quote the bytes: a bounded, printable part of them goes on.
fn garbage(error: &impl std::fmt::Display) -> WireError {
    WireError::Garbage(printable(&error.to_string(), WORDS_MAX))
}

/// `text`, which may be anybody's, fit for a log or a terminal: at most `chars_max` characters, and
/// what steers or hides (controls, marks of direction, letters without width) is escaped as in
/// [`char::escape_debug`]. Quotes and backslashes stay.
pub(crate) fn printable(text: &str, chars_max: usize) -> String {
    let mut escaped = String::new();
    for letter in text.chars().take(chars_max) {
        match letter {
            '"' | '\'' | '\\' => escaped.push(letter),
            _ => escaped.extend(letter.escape_debug()),
        }
    }
    escaped.chars().take(chars_max).collect()
}

#[cfg(test)]
pub(crate) mod golden;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn words_of_others_neither_steer_nor_hide_and_have_an_end() {
        let table = [
            ("n1's \"cart\" at C:\\data", "n1's \"cart\" at C:\\data"),
            ("caf\u{e9} \u{8336}", "caf\u{e9} \u{8336}"),
            ("a\n\r\tb\0", r"a\n\r\tb\0"),
            ("\u{1b}[2J\u{7f}\u{9b}", r"\u{1b}[2J\u{7f}\u{9b}"),
            ("in\u{202e}gpj.exe\u{2066}", r"in\u{202e}gpj.exe\u{2066}"),
            ("ro\u{200b}ot\u{feff}\u{2028}", r"ro\u{200b}ot\u{feff}\u{2028}"),
        ];
        for (text, shown) in table {
            assert_eq!(printable(text, 200), shown);
        }
        assert_eq!(printable(&"\u{202e}".repeat(9), 10), r"\u{202e}\u");
        assert_eq!(printable(&"x".repeat(201), 200).len(), 200);
    }
}
