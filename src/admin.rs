//! A running node and the commands on its machine: a socket in the data directory.
//!
//! [`SOCKET_FILE`] is for the user who runs the node alone. On it one JSON object per line is asked
//! and one is answered, in order:
//!
//! ```text
//! > {"version":1,"ask":{"ring":{"key":"cart/alice"}}}
//! < {"version":1,"answer":{"ring":{...}}}
//! > {"version":1,"ask":"everything"}
//! < {"version":1,"error":{"code":"malformed","message":"unknown variant `everything`, ..."}}
//! ```
//!
//! One question has answers without end: `{"events":{"follow":true}}`. The next is written when
//! the one before was taken; whoever is slow is told how many events it missed. Anything that is
//! asked on such a connection ends it.
//!
//! A request that is not understood changes nothing. Requests, answers and the number of
//! connections have limits ([`Limits`]), and everything has a deadline. The socket is served on the
//! node's control runtime, so that it answers while user code blocks every other thread.
//!
//! [`Client`] is the other end.

mod client;
mod protocol;
mod server;

pub use client::{Client, ClientError};
pub use protocol::{
    Answer, Ask, Code, DrainAsk, LeaveAnswer, PROTOCOL, REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX,
    Refusal, SOCKET_FILE,
};
pub use server::Limits;
pub(crate) use server::{Answers, Server, ServerParts};

#[cfg(test)]
mod tests;
