//! What a message, an answer and a refusal look like between nodes.
//!
//! A message: two bytes length of its head, the head, the message in named-field `MessagePack`. An
//! answer: one byte, 0 before an answer and 1 before an [`Unknown`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::reply::{Back, Call, decoding, encoding};
use super::{AskError, Failure, Hosts, NotExecuted, Unknown};
use crate::base::Version;

/// Longest name of a kind with an id, in bytes: they are a record's key.
pub(super) const NAME_BYTES_MAX: usize = 1_000;

/// Whom a message is for and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Address {
    pub(super) kind: String,
    pub(super) id: String,
    /// What is left of the deadline when it is sent; `None`: a tell.
    pub(super) left: Option<Duration>,
}

/// Why a node did not take a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Refusal {
    /// It does not own the shard under that epoch, as of this view. Next: wait for a newer view.
    NotOwner(Version),
    /// For good.
    Because(NotExecuted),
}

fn pack<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    rmp_serde::to_vec_named(value).map_err(|error| error.to_string())
}

/// Encodes the message alone; `call` is the ask whose reply it may carry.
pub(super) fn encode_message<M: Serialize>(
    call: Option<u64>,
    msg: &M,
) -> Result<Bytes, NotExecuted> {
    encoding(call, || pack(msg)).map(Bytes::from).map_err(NotExecuted::BadMessage)
}

/// Puts the address before an encoded message.
pub(super) fn envelope(address: &Address, msg: &Bytes) -> Result<Bytes, NotExecuted> {
    let head = pack(address).map_err(NotExecuted::BadMessage)?;
    let length = u16::try_from(head.len())
        .map_err(|_| NotExecuted::BadMessage("kind and id are too long".into()))?;
    let mut body = BytesMut::with_capacity(2 + head.len() + msg.len());
    body.put_u16(length);
    body.put_slice(&head);
    body.put_slice(msg);
    Ok(body.freeze())
}

/// Takes the address off; what is left is the message.
pub(super) fn open(mut body: Bytes) -> Result<(Address, Bytes), String> {
    if body.len() < 2 {
        return Err("the frame is too short".into());
    }
    let length = usize::from(body.get_u16());
    if body.len() < length {
        return Err("the frame is too short".into());
    }
    let head = body.split_to(length);
    let address = rmp_serde::from_slice(&head).map_err(|error| error.to_string())?;
    Ok((address, body))
}

/// Decodes a message together with the reply it carries. A user's code that panics here must not
/// end the task that reads the link: nothing was handled, and the sender is told so.
pub(super) fn decode_message<M: DeserializeOwned>(
    hosts: &Hosts,
    back: Option<(Arc<Back>, Arc<Call>)>,
    body: &Bytes,
) -> Result<M, NotExecuted> {
    let decode = || decoding(hosts, back, || rmp_serde::from_slice(body));
    let why = match catch_unwind(AssertUnwindSafe(decode)) {
        Ok(Ok(msg)) => return Ok(msg),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => Failure::panicked(&*panic).to_string(),
    };
    Err(NotExecuted::BadMessage(why))
}

const ANSWER: u8 = 0;
const UNKNOWN: u8 = 1;

pub(super) fn encode_answer<T: Serialize>(answer: &T) -> Result<Bytes, String> {
    let mut body = vec![ANSWER];
    body.extend(pack(answer)?);
    Ok(body.into())
}

pub(super) fn encode_unknown(why: &Unknown) -> Bytes {
    let mut body = vec![UNKNOWN];
    // Plain texts always encode.
    body.extend(pack(why).unwrap_or_default());
    body.into()
}

pub(super) fn decode_answer<T: DeserializeOwned>(body: &[u8]) -> Result<T, AskError> {
    let bad = |error: rmp_serde::decode::Error| Unknown::BadAnswer(error.to_string());
    Err(match body.split_first() {
        Some((&ANSWER, rest)) => match rmp_serde::from_slice(rest) {
            Ok(answer) => return Ok(answer),
            Err(error) => bad(error),
        },
        Some((&UNKNOWN, rest)) => rmp_serde::from_slice(rest).unwrap_or_else(bad),
        Some(_) | None => Unknown::BadAnswer("it has no known form".into()),
    }
    .into())
}

pub(super) fn encode_refusal(why: &Refusal) -> Bytes {
    // Plain texts and numbers always encode; an empty refusal says "asked too early".
    pack(why).unwrap_or_default().into()
}

/// `None`: the other side does not serve entities, or not yet.
pub(super) fn decode_refusal(body: &[u8]) -> Option<Refusal> {
    rmp_serde::from_slice(body).ok()
}
