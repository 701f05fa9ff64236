//! Frames: length, header, body.
//!
//! | offset | bytes | field                                                         |
//! |--------|-------|---------------------------------------------------------------|
//! | 0      | 4     | length of all that follows                                    |
//! | 4      | 1     | kind                                                          |
//! | 5      | 1     | service                                                       |
//! | 6      | 1     | flags: 1 shard is set, 2 trace context follows, 4 more parts  |
//! |        |       | of this message follow, 8 this is a part                      |
//! | 7      | 1     | lane                                                          |
//! | 8      | 2     | schema of the body                                            |
//! | 10     | 2     | shard                                                         |
//! | 12     | 8     | call id                                                       |
//! | 20     | 8     | view version                                                  |
//! | 28     | 8     | epoch                                                         |
//! | 36     | 25    | trace context, if flagged                                     |
//!
//! All numbers are big-endian. A [`Kind::Credit`] has its two totals in the fields of call id and
//! view version.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::WireError;
use crate::base::{Epoch, ShardId, Version};

/// Bytes before the body (and before the trace context, if there is one).
pub const HEADER_BYTES: usize = 36;
/// Bytes of a trace context.
pub const TRACE_BYTES: usize = 25;
/// Bytes a frame may have beside its body.
pub const FRAME_EXTRA_BYTES_MAX: usize = 61;
/// Bytes of the length field, which the length does not count.
const LENGTH_BYTES: usize = 4;
/// Bytes after the length field that every frame has.
const FIXED_BYTES: usize = 32;
const _: () = assert!(LENGTH_BYTES + FIXED_BYTES == HEADER_BYTES);
const _: () = assert!(HEADER_BYTES + TRACE_BYTES == FRAME_EXTRA_BYTES_MAX);

const FLAG_SHARD: u8 = 1;
const FLAG_TRACE: u8 = 2;
const FLAG_MORE: u8 = 4;
const FLAG_PART: u8 = 8;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A message that wants no answer.
    Tell = 1,
    /// A message that wants one.
    Ask = 2,
    /// The answer to an ask.
    Reply = 3,
    /// An ask was not executed and never will be.
    Refusal = 4,
    /// An ask gets no answer; whether it was executed is unknown.
    Dropped = 5,
    /// Are you there?
    Ping = 6,
    /// I am.
    Pong = 7,
    /// Was taken back before it left: to be skipped.
    Void = 8,
    /// So much of a lane was taken in since the start of the connection.
    Credit = 9,
    /// The dialler ends the connection in order: nothing is wrong with it.
    Bye = 10,
}

impl Kind {
    const fn from_wire(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Tell,
            2 => Self::Ask,
            3 => Self::Reply,
            4 => Self::Refusal,
            5 => Self::Dropped,
            6 => Self::Ping,
            7 => Self::Pong,
            8 => Self::Void,
            9 => Self::Credit,
            10 => Self::Bye,
            _ => return None,
        })
    }
}

/// W3C trace context: trace id, span id, flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// Names the whole trace.
    pub trace_id: u128,
    /// Names the sender's span.
    pub span_id: u64,
    /// As in the `traceparent` header.
    pub flags: u8,
}

/// Which piece of a message a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Part {
    /// All of it.
    #[default]
    Whole,
    /// A part, and more follow.
    More,
    /// The last part.
    Last,
}

impl Part {
    const fn flags(self) -> u8 {
        match self {
            Self::Whole => 0,
            Self::More => FLAG_PART | FLAG_MORE,
            Self::Last => FLAG_PART,
        }
    }

    const fn of_flags(flags: u8) -> Option<Self> {
        match (flags & FLAG_PART != 0, flags & FLAG_MORE != 0) {
            (false, false) => Some(Self::Whole),
            (true, true) => Some(Self::More),
            (true, false) => Some(Self::Last),
            (false, true) => None,
        }
    }
}

/// The fixed fields of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub kind: Kind,
    /// The number of the service it is for; 0 where the kind says it all.
    pub service: u8,
    /// The lane it keeps order in.
    pub lane: u8,
    /// Which piece of its message it is.
    pub part: Part,
    /// Of the body.
    pub schema: u16,
    /// What it is about, if about a shard.
    pub shard: Option<ShardId>,
    /// Pairs asks and answers; the asker's choice.
    pub call: u64,
    /// The view the sender acted in.
    pub version: Version,
    /// The ownership the sender acted under.
    pub epoch: Epoch,
    /// For tracing.
    pub trace: Option<Trace>,
}

impl Header {
    /// A frame of `kind` for no service.
    #[must_use]
    pub const fn of(kind: Kind, call: u64) -> Self {
        Self {
            kind,
            service: 0,
            lane: 0,
            part: Part::Whole,
            schema: 0,
            shard: None,
            call,
            version: Version(0),
            epoch: Epoch::NONE,
            trace: None,
        }
    }
}

/// A frame as received. Holds on to the bytes it was split from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The fixed fields.
    pub header: Header,
    /// All else, not looked at.
    pub body: Bytes,
}

/// Appends a frame to `out`. The caller keeps the body below the maximum of its class.
///
/// # Panics
/// If the body has 4 GiB: every class has a lower maximum.
pub fn encode(header: &Header, body: &[u8], out: &mut BytesMut) {
    let trace_bytes = if header.trace.is_some() { TRACE_BYTES } else { 0 };
    let length = body.len().saturating_add(FIXED_BYTES).saturating_add(trace_bytes);
    let length = u32::try_from(length).expect("a body is below the maximum of its class");
    let shard_flag = if header.shard.is_some() { FLAG_SHARD } else { 0 };
    let trace_flag = if header.trace.is_some() { FLAG_TRACE } else { 0 };
    // Gathered first: one look at the room of `out` for all of them.
    let mut fixed = [0; HEADER_BYTES];
    let mut at = &mut fixed[..];
    at.put_u32(length);
    at.put_u8(header.kind as u8);
    at.put_u8(header.service);
    at.put_u8(shard_flag | trace_flag | header.part.flags());
    at.put_u8(header.lane);
    at.put_u16(header.schema);
    at.put_u16(header.shard.unwrap_or_default().0);
    at.put_u64(header.call);
    at.put_u64(header.version.0);
    at.put_u64(header.epoch.0);
    out.reserve(body.len().saturating_add(FRAME_EXTRA_BYTES_MAX));
    out.put_slice(&fixed);
    if let Some(trace) = &header.trace {
        out.put_u128(trace.trace_id);
        out.put_u64(trace.span_id);
        out.put_u8(trace.flags);
    }
    out.put_slice(body);
}

/// Makes the encoded frame that starts at `start` of `out` one that its receiver skips.
///
/// Returns whether there is a frame.
pub fn void(out: &mut [u8], start: usize) -> bool {
    let kind = start.checked_add(LENGTH_BYTES).and_then(|at| out.get_mut(at));
    kind.map(|kind| *kind = Kind::Void as u8).is_some()
}

/// Splits what was received into frames, without copying.
#[derive(Debug, Clone, Copy)]
pub struct Splitter {
    body_bytes_max: usize,
}

impl Splitter {
    /// For a connection whose bodies have at most so many bytes.
    #[must_use]
    pub const fn new(body_bytes_max: usize) -> Self {
        Self { body_bytes_max }
    }

    /// Takes the next whole frame off the front of `input`; `None` if more must be received. A
    /// length that lies is found before anything is allocated for it.
    ///
    /// # Errors
    /// [`WireError`]: the connection cannot be used further.
    pub fn next(&self, input: &mut BytesMut) -> Result<Option<Frame>, WireError> {
        let Some(claim) = input.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let bytes = usize::try_from(u32::from_be_bytes(*claim)).unwrap_or(usize::MAX);
        let bytes_max = self.body_bytes_max.saturating_add(FIXED_BYTES.saturating_add(TRACE_BYTES));
        if bytes > bytes_max {
            return Err(WireError::TooLong { bytes, bytes_max });
        }
        if bytes < FIXED_BYTES {
            return Err(WireError::TooShort(bytes));
        }
        if input.len() < bytes.saturating_add(LENGTH_BYTES) {
            return Ok(None);
        }
        input.advance(LENGTH_BYTES);
        decode(input.split_to(bytes).freeze()).map(Some)
    }
}

/// Decodes what follows the length.
fn decode(mut bytes: Bytes) -> Result<Frame, WireError> {
    let length = bytes.len();
    let short = || WireError::TooShort(length);
    let mut fixed = &bytes.first_chunk::<FIXED_BYTES>().ok_or_else(short)?[..];
    let kind = fixed.get_u8();
    let kind = Kind::from_wire(kind).ok_or(WireError::Kind(kind))?;
    let (service, flags, lane) = (fixed.get_u8(), fixed.get_u8(), fixed.get_u8());
    let unknown = || WireError::Garbage(format!("flags {flags:#x} are not known here"));
    if flags & !(FLAG_SHARD | FLAG_TRACE | FLAG_MORE | FLAG_PART) != 0 {
        return Err(unknown());
    }
    let part = Part::of_flags(flags).ok_or_else(unknown)?;
    let (schema, shard) = (fixed.get_u16(), ShardId(fixed.get_u16()));
    let shard = (flags & FLAG_SHARD != 0).then_some(shard);
    let (call, version, epoch) = (fixed.get_u64(), fixed.get_u64(), fixed.get_u64());
    let (version, epoch) = (Version(version), Epoch(epoch));
    bytes.advance(FIXED_BYTES);
    let trace = if flags & FLAG_TRACE == 0 {
        None
    } else {
        let mut fixed = &bytes.first_chunk::<TRACE_BYTES>().ok_or_else(short)?[..];
        let trace =
            Trace { trace_id: fixed.get_u128(), span_id: fixed.get_u64(), flags: fixed.get_u8() };
        bytes.advance(TRACE_BYTES);
        Some(trace)
    };
    let header = Header { kind, service, lane, part, schema, shard, call, version, epoch, trace };
    Ok(Frame { header, body: bytes })
}

#[cfg(test)]
mod tests;
