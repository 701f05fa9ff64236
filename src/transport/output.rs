//! What waits to be written on one connection, and the asks that wait for an answer.
//!
//! Whether a frame has left is exact: the connection's task takes all that has gathered at once, so
//! a frame left if it starts before what was taken. Large control messages wait beside, and leave
//! part by part behind what has gathered: a heartbeat passes between two parts.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;

use super::api::AskError;
use super::calls::{Calls, Pending, Start};
use super::lanes::{LaneLoss, Sending, Totals};
use crate::base::Instant;
use crate::wire::{self, HEADER_BYTES, Header, Kind, PART_BYTES_MAX, TRACE_BYTES};

/// Bounds of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) lanes: u8,
    pub(super) lane_bytes_max: usize,
    pub(super) output_bytes_max: usize,
    pub(super) calls_max: usize,
    /// Longer bodies travel in parts.
    pub(super) frame_body_bytes_max: usize,
}

/// How a connection ended.
#[derive(Debug, Clone)]
pub(super) struct Ending {
    pub(super) why: Arc<str>,
    /// The other side or the network ended it, not this node.
    pub(super) broken: bool,
}

/// Why a connection takes no frame.
#[derive(Debug)]
pub(super) enum Rejected {
    /// Too much waits.
    Overloaded,
    /// It has ended.
    Closed(Arc<str>),
}

/// A message that travels in parts.
#[derive(Debug)]
struct Large {
    id: u64,
    header: Header,
    rest: Bytes,
    started: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Output {
    bounds: Bounds,
    buf: BytesMut,
    /// Bytes that were taken since the start: `buf` starts here.
    taken: u64,
    large: VecDeque<Large>,
    /// Bytes of bodies in `large`.
    large_bytes: usize,
    large_ids: u64,
    lanes: Sending,
    pub(super) calls: Calls,
    pub(super) ended: Option<Ending>,
    /// What was lost at the end, until it is reported.
    pub(super) losses: Vec<LaneLoss>,
}

/// Bytes on the wire of a message with this header and a body of so many bytes.
fn message_bytes(header: &Header, body: usize, frame_body_bytes_max: usize) -> u64 {
    let frames = if body > frame_body_bytes_max { body.div_ceil(PART_BYTES_MAX) } else { 1 };
    (body + frames * (frame_bytes(header, 0))) as u64
}

/// Bytes on the wire of one frame.
pub(super) fn frame_bytes(header: &Header, body: usize) -> usize {
    HEADER_BYTES + if header.trace.is_some() { TRACE_BYTES } else { 0 } + body
}

impl Output {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            buf: BytesMut::new(),
            taken: 0,
            large: VecDeque::new(),
            large_bytes: 0,
            large_ids: 0,
            lanes: Sending::new(bounds.lanes, bounds.lane_bytes_max as u64),
            calls: Calls::default(),
            ended: None,
            losses: Vec::new(),
        }
    }

    /// Bytes that wait.
    pub(super) fn waiting(&self) -> usize {
        self.buf.len() + self.large_bytes
    }

    /// Takes a message of this side in, unless it is to wait behind more than `waiting_max` bytes.
    pub(super) fn say(
        &mut self,
        header: &Header,
        body: &Bytes,
        waiting_max: usize,
    ) -> Result<Start, Rejected> {
        if let Some(ending) = &self.ended {
            return Err(Rejected::Closed(ending.why.clone()));
        }
        let lane = self.lanes.lane(header.lane);
        let bytes = message_bytes(header, body.len(), self.bounds.frame_body_bytes_max);
        // What waits alone passes whatever its length: its class bounds that. Large messages leave
        // part by part behind what has gathered, so that they hold nothing up.
        let fits = self.waiting() == 0
            || (self.waiting() + body.len() <= self.bounds.output_bytes_max
                && self.buf.len().saturating_add(body.len()) <= waiting_max);
        if !fits || !self.lanes.admits(lane, bytes) {
            return Err(Rejected::Overloaded);
        }
        self.lanes.pushed(lane, bytes, header.kind == Kind::Tell);
        let header = Header { lane, ..*header };
        let is_small = body.len() <= self.bounds.frame_body_bytes_max;
        Ok(if is_small {
            self.put_frame(&header, body)
        } else {
            self.put_large(&header, body.clone())
        })
    }

    /// Takes an ask in.
    pub(super) fn ask(
        &mut self,
        (header, body): (&Header, &Bytes),
        deadline: Instant,
        answer: oneshot::Sender<Result<Bytes, AskError>>,
    ) -> Result<u64, Rejected> {
        if self.ended.is_none() && self.calls.len() >= self.bounds.calls_max {
            return Err(Rejected::Overloaded);
        }
        let call = self.calls.reserve();
        match self.say(&Header { call, ..*header }, body, usize::MAX) {
            Ok(start) => {
                let lane = self.lanes.lane(header.lane);
                let bytes = message_bytes(header, body.len(), self.bounds.frame_body_bytes_max);
                self.calls.fill(call, Pending { start, lane, bytes, answer }, deadline);
                Ok(call)
            }
            Err(why) => {
                self.calls.remove(call);
                Err(why)
            }
        }
    }

    /// Puts a message of any length behind all others. Not for lanes to judge.
    pub(super) fn put(&mut self, header: &Header, body: Bytes) -> Start {
        if body.len() <= self.bounds.frame_body_bytes_max {
            self.put_frame(header, &body)
        } else {
            self.put_large(header, body)
        }
    }

    /// Puts a frame behind all others.
    pub(super) fn put_frame(&mut self, header: &Header, body: &[u8]) -> Start {
        let start = self.taken + self.buf.len() as u64;
        wire::encode(header, body, &mut self.buf);
        Start::At(start)
    }

    fn put_large(&mut self, header: &Header, body: Bytes) -> Start {
        self.large_ids += 1;
        self.large_bytes += body.len();
        let id = self.large_ids;
        self.large.push_back(Large { id, header: *header, rest: body, started: false });
        Start::Large(id)
    }

    /// Takes the message of `pending` back; whether none of it had left yet.
    pub(super) fn take_back(&mut self, pending: &Pending) -> bool {
        match pending.start {
            Start::At(start) => {
                let offset = start.checked_sub(self.taken);
                let offset = offset.and_then(|offset| usize::try_from(offset).ok());
                // It still travels, as a frame that its receiver skips.
                offset.is_some_and(|offset| wire::void(&mut self.buf, offset))
            }
            Start::Large(id) => {
                let at = self.large.iter().position(|large| large.id == id && !large.started);
                let large = at.and_then(|at| self.large.remove(at));
                if let Some(large) = &large {
                    self.large_bytes -= large.rest.len();
                    self.lanes.unpushed(pending.lane, pending.bytes);
                }
                large.is_some()
            }
        }
    }

    /// Takes out an ask whose deadline has passed, with whether none of it had left.
    pub(super) fn expired(&mut self, now: Instant) -> Option<(Pending, bool)> {
        let pending = self.calls.expired(now)?;
        let never_left = self.take_back(&pending);
        Some((pending, never_left))
    }

    /// Moves all that has gathered to the empty `bytes`, with the next part behind it. Whether
    /// there is anything.
    pub(super) fn take(&mut self, bytes: &mut BytesMut) -> bool {
        if let Some(large) = self.large.front_mut() {
            large.started = true;
            let (header, body) = wire::next_part(&large.header, &mut large.rest);
            self.large_bytes -= body.len();
            wire::encode(&header, &body, &mut self.buf);
            if large.rest.is_empty() {
                self.large.pop_front();
            }
        }
        if self.buf.is_empty() {
            return false;
        }
        std::mem::swap(&mut self.buf, bytes);
        self.taken += bytes.len() as u64;
        let waits = |large: &&Large| !large.started && large.header.kind == Kind::Tell;
        self.lanes.left_but(self.large.iter().filter(waits).count() as u64);
        true
    }

    /// The other side took in so much of a lane.
    pub(super) fn credit(&mut self, lane: u8, taken: Totals) -> Result<(), String> {
        self.lanes.credit(lane, taken)
    }

    /// Whether nothing waits, nothing is under way and nobody waits for an answer.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting() == 0 && self.calls.len() == 0 && self.lanes.is_settled()
    }

    /// Ends it: all asks, with what is known of each. `forget` drops what has gathered.
    pub(super) fn end(&mut self, ending: Ending, forget: bool) -> Vec<(Pending, bool)> {
        self.ended = Some(ending);
        self.losses = self.lanes.losses();
        let calls = self.calls.drain();
        let taken = self.taken;
        let is_waiting = |start: &Start| match *start {
            Start::At(start) => start >= taken,
            Start::Large(id) => self.large.iter().any(|large| large.id == id && !large.started),
        };
        let calls = calls.into_iter().map(|pending| {
            let never_left = is_waiting(&pending.start);
            (pending, never_left)
        });
        let calls = calls.collect();
        if forget {
            self.buf = BytesMut::new();
            self.large.clear();
            self.large_bytes = 0;
        }
        calls
    }
}
