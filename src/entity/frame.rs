//! What a message, an answer and a refusal look like between nodes.
//!
//! A message: two bytes length of its head, the head, the message in the [`Codec`] that the
//! `schema` of the frame's header names. An answer: one byte, 0 before an answer in named-field
//! `MessagePack`, 2 before one in postcard (it has the schema of its ask), 1 before an [`Unknown`].
//! Heads, refusals and [`Unknown`] are named-field `MessagePack`, whatever the codec.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::reply::{Back, Call, decoding, encoding};
use super::{AskError, Failure, Hosts, NotExecuted, Unknown};
use crate::base::Version;
use crate::wire::{Codec, WireError, from_named, to_named};

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
    /// Its message type is another one than the sender's. Next: send it in named fields.
    OtherSchema {
        /// What the frame says.
        schema: u16,
        /// What is read there.
        own: u16,
    },
}

fn bad(error: &WireError) -> NotExecuted {
    NotExecuted::BadMessage(error.to_string())
}

/// Encodes the message alone; `call` is the ask whose reply it may carry.
pub(super) fn encode_message<M: Serialize>(
    codec: Codec,
    call: Option<u64>,
    msg: &M,
) -> Result<Bytes, NotExecuted> {
    encoding(call, || codec.encode(msg)).map_err(|error| bad(&error))
}

/// Puts the address before an encoded message.
pub(super) fn envelope(address: &Address, msg: &Bytes) -> Result<Bytes, NotExecuted> {
    let head = to_named(address).map_err(|error| bad(&error))?;
    let length = u16::try_from(head.len())
        .map_err(|_| NotExecuted::BadMessage("kind and id are too long".into()))?;
    let mut body = BytesMut::with_capacity(2 + head.len() + msg.len());
    body.put_u16(length);
    body.put_slice(&head);
    body.put_slice(msg);
    Ok(body.freeze())
}

/// Takes the address off; what is left is the message.
pub(super) fn open(mut body: Bytes) -> Result<(Address, Bytes), NotExecuted> {
    let short = || NotExecuted::BadMessage("the frame is too short".into());
    let length = usize::from(body.try_get_u16().map_err(|_| short())?);
    if body.len() < length {
        return Err(short());
    }
    let head = body.split_to(length);
    Ok((from_named(&head).map_err(|error| bad(&error))?, body))
}

/// Decodes a message together with the reply it carries, which will answer in the same codec. A
/// user's code that panics here must not end the task that reads the link: nothing was handled, and
/// the sender is told so.
pub(super) fn decode_message<M: DeserializeOwned>(
    codec: Codec,
    hosts: &Hosts,
    back: Option<(Arc<Back>, Arc<Call>)>,
    body: &Bytes,
) -> Result<M, NotExecuted> {
    let decode = || decoding(codec, hosts, back, || codec.decode(body));
    let why = match catch_unwind(AssertUnwindSafe(decode)) {
        Ok(Ok(msg)) => return Ok(msg),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => Failure::panicked(&*panic).to_string(),
    };
    Err(NotExecuted::BadMessage(why))
}

const ANSWER: u8 = 0;
const UNKNOWN: u8 = 1;
const ANSWER_IN_POSTCARD: u8 = 2;

/// `codec` is that of the ask.
pub(super) fn encode_answer<T: Serialize>(codec: Codec, answer: &T) -> Result<Bytes, WireError> {
    Ok(formed(form(codec), &codec.encode(answer)?))
}

const fn form(codec: Codec) -> u8 {
    match codec {
        Codec::Named => ANSWER,
        Codec::Postcard(_) => ANSWER_IN_POSTCARD,
    }
}

pub(super) fn encode_unknown(why: &Unknown) -> Bytes {
    // Plain texts always encode.
    formed(UNKNOWN, &to_named(why).unwrap_or_default())
}

fn formed(form: u8, what: &[u8]) -> Bytes {
    let mut body = BytesMut::with_capacity(1 + what.len());
    body.put_u8(form);
    body.put_slice(what);
    body.freeze()
}

/// `codec` is that of the ask.
pub(super) fn decode_answer<T: DeserializeOwned>(codec: Codec, body: &[u8]) -> Result<T, AskError> {
    let unreadable = |error: WireError| Unknown::BadAnswer(error.to_string());
    let why = match (body.split_first(), codec) {
        (Some((&ANSWER, rest)), _) => match from_named(rest) {
            Ok(answer) => return Ok(answer),
            Err(error) => unreadable(error),
        },
        (Some((&ANSWER_IN_POSTCARD, rest)), Codec::Postcard(_)) => match codec.decode(rest) {
            Ok(answer) => return Ok(answer),
            Err(error) => unreadable(error),
        },
        (Some((&UNKNOWN, rest)), _) => from_named(rest).unwrap_or_else(unreadable),
        (Some(_) | None, _) => Unknown::BadAnswer("it has no known form".into()),
    };
    Err(why.into())
}

pub(super) fn encode_refusal(why: &Refusal) -> Bytes {
    // Plain texts and numbers always encode; an empty refusal says "asked too early".
    to_named(why).unwrap_or_default()
}

/// `None`: the other side does not serve entities, or not yet.
pub(super) fn decode_refusal(body: &[u8]) -> Option<Refusal> {
    from_named(body).ok()
}

/// For the fuzz target `entity`.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzz_entity(bytes: &[u8]) -> bool {
    use crate::wire::fuzz::{Tree, stable};
    let message = stable::<(Address, Vec<u8>)>(
        bytes,
        |bytes| open(Bytes::copy_from_slice(bytes)).ok().map(|(head, msg)| (head, msg.into())),
        |(head, msg)| envelope(head, &Bytes::copy_from_slice(msg)).ok().map(Into::into),
    );
    let refusal =
        stable(bytes, decode_refusal, |refusal: &Refusal| Some(encode_refusal(refusal).into()));
    let answers = [Codec::Named, Codec::between(1, 1)].map(|codec| {
        stable::<Tree>(
            bytes,
            // An answer in named fields is taken by both askers; written again it is in `codec`, in
            // which not every value can be read.
            |bytes| decode_answer(codec, bytes).ok().filter(|_| bytes.starts_with(&[form(codec)])),
            |answer| encode_answer(codec, answer).ok().map(Into::into),
        )
    });
    let unknown = decode_answer::<Tree>(Codec::Named, bytes);
    let unknown = matches!(unknown, Err(AskError::Unknown(why)) if encode_unknown(&why) == bytes);
    message | refusal | unknown | answers.contains(&true)
}
