//! One connection: its output, and the asks that wait for an answer on it.
//!
//! Everything is behind one short lock. Whether a frame has left is exact: the writer takes all
//! that has gathered at once, so a frame left if it starts before what was taken.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::api::{AskError, Class, Peer};
use super::calls::{Calls, Pending};
use super::tally::{Tally, count};
use crate::wire::{self, FRAME_EXTRA_BYTES_MAX, Header, Kind};

/// Why a connection takes no frame.
#[derive(Debug)]
pub(super) enum Rejected {
    /// Too much waits.
    Overloaded,
    /// It has ended.
    Closed(Arc<str>),
}

/// How a connection ended.
#[derive(Debug, Clone)]
pub(super) struct Ending {
    pub(super) why: Arc<str>,
    /// The other side or the network ended it, not this node.
    pub(super) broken: bool,
}

/// Who waits for the end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Half {
    Reader,
    Writer,
}

/// What a connection is to this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It asks and hears answers.
    Dialled,
    /// It hears asks and answers.
    Accepted,
}

/// Bounds of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) output_bytes_max: usize,
    pub(super) calls_max: usize,
}

/// One connection. Exists from the moment somebody wants it: frames gather while it is dialled.
pub(super) struct Conn {
    pub(super) id: u64,
    pub(super) class: Class,
    pub(super) role: Role,
    /// How errors name the other side.
    pub(super) label: String,
    /// Set once the handshake is through.
    pub(super) peer: OnceLock<Peer>,
    /// One side was in no cluster when the link was made.
    pub(super) formation_only: AtomicBool,
    bounds: Bounds,
    tally: Arc<Tally>,
    out: Mutex<Output>,
}

struct Output {
    buf: BytesMut,
    /// Frames in `buf`.
    frames: u64,
    /// Bytes the writer has taken since the start: `buf` starts here.
    taken: u64,
    calls: Calls,
    ended: Option<Ending>,
    /// Waits for the end.
    reader: Option<Waker>,
    /// Waits for frames, or for the end.
    writer: Option<Waker>,
    /// The reader, while it waits for room.
    room: Option<Waker>,
}

impl Output {
    /// Where the next frame starts, counted from the start of the connection.
    fn position(&self) -> u64 {
        self.taken + self.buf.len() as u64
    }

    fn push(&mut self, header: &Header, body: &[u8]) -> Option<Waker> {
        wire::encode(header, body, &mut self.buf);
        self.frames += 1;
        self.writer.take()
    }

    /// Takes the frame of `pending` back; whether it had not left yet.
    fn take_back(&mut self, pending: &Pending) -> bool {
        let offset = pending.start.checked_sub(self.taken);
        let offset = offset.and_then(|offset| usize::try_from(offset).ok());
        offset.is_some_and(|offset| wire::void(&mut self.buf, offset))
    }
}

impl Conn {
    pub(super) fn new(
        id: u64,
        (class, role): (Class, Role),
        label: String,
        bounds: Bounds,
        tally: Arc<Tally>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            class,
            role,
            label,
            peer: OnceLock::new(),
            formation_only: AtomicBool::new(false),
            bounds,
            tally,
            out: Mutex::new(Output {
                buf: BytesMut::new(),
                frames: 0,
                taken: 0,
                calls: Calls::default(),
                ended: None,
                reader: None,
                writer: None,
                room: None,
            }),
        })
    }

    pub(super) fn is_formation_only(&self) -> bool {
        self.formation_only.load(Ordering::Acquire)
    }

    /// Puts a frame that wants no answer into the output.
    pub(super) fn tell(&self, header: &Header, body: &[u8]) -> Result<(), Rejected> {
        let mut out = self.out.lock();
        self.admit(&out, body)?;
        let woken = out.push(header, body);
        drop(out);
        woken.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Puts an ask into the output; its call id is chosen here.
    pub(super) fn ask(&self, header: &Header, body: &[u8]) -> Result<Waiting<'_>, Rejected> {
        let mut out = self.out.lock();
        self.admit(&out, body)?;
        if out.calls.len() >= self.bounds.calls_max {
            count(&self.tally.overloaded);
            return Err(Rejected::Overloaded);
        }
        let (sender, answer) = oneshot::channel();
        let start = out.position();
        let call = out.calls.insert(Pending { start, answer: sender });
        let woken = out.push(&Header { call, ..*header }, body);
        drop(out);
        woken.into_iter().for_each(Waker::wake);
        Ok(Waiting { conn: self, call, answer })
    }

    fn admit(&self, out: &Output, body: &[u8]) -> Result<(), Rejected> {
        if let Some(ending) = &out.ended {
            return Err(Rejected::Closed(ending.why.clone()));
        }
        let bytes = out.buf.len() + body.len() + FRAME_EXTRA_BYTES_MAX;
        if bytes > self.bounds.output_bytes_max {
            count(&self.tally.overloaded);
            return Err(Rejected::Overloaded);
        }
        Ok(())
    }

    /// Answers a call of the other side. An answer that does not fit becomes "dropped"; if even
    /// such do not get through, the connection ends: whoever does not read gets no more.
    pub(super) fn answer(&self, kind: Kind, call: u64, body: &Bytes) {
        let mut out = self.out.lock();
        if out.ended.is_some() {
            return;
        }
        let bytes = out.buf.len() + body.len();
        let fits =
            bytes <= self.bounds.output_bytes_max && body.len() <= self.class.body_bytes_max();
        let woken = if fits || body.is_empty() {
            out.push(&Header::of(kind, call), body)
        } else {
            count(&self.tally.answers_dropped);
            out.push(&Header::of(Kind::Dropped, call), b"")
        };
        let overrun = out.buf.len() > 2 * self.bounds.output_bytes_max;
        drop(out);
        woken.into_iter().for_each(Waker::wake);
        if overrun {
            self.end("the other side does not read its answers", true);
        }
    }

    /// Asks whether the other side is there.
    pub(super) fn ping(&self) {
        let mut out = self.out.lock();
        // Behind frames that wait a ping would say nothing new.
        let woken = (out.ended.is_none() && out.buf.is_empty())
            .then(|| out.push(&Header::of(Kind::Ping, 0), b""))
            .flatten();
        drop(out);
        woken.into_iter().for_each(Waker::wake);
    }

    /// Gives an answer to whoever waits for it; late and repeated ones are nobody's.
    pub(super) fn settle(&self, call: u64, answer: Result<Bytes, AskError>) {
        let pending = self.out.lock().calls.remove(call);
        if let Some(pending) = pending {
            // Nobody waits any more: then nobody wants it.
            let _ = pending.answer.send(answer);
        }
    }

    /// Ends the connection and all calls on it. Only the first end counts; whether it was this.
    pub(super) fn end(&self, why: &str, broken: bool) -> bool {
        let mut out = self.out.lock();
        if out.ended.is_some() {
            return false;
        }
        out.ended = Some(Ending { why: why.into(), broken });
        let calls = out.calls.drain();
        let taken = out.taken;
        if broken || self.role == Role::Dialled {
            self.tally.frames_lost.fetch_add(out.frames, Ordering::Relaxed);
            out.buf = BytesMut::new();
            out.frames = 0;
        }
        let wakers = [out.reader.take(), out.writer.take(), out.room.take()];
        drop(out);
        for pending in calls {
            let error = if pending.start < taken {
                AskError::Unknown(format!("the link to {} ended: {why}", self.label))
            } else {
                AskError::NotExecuted(format!("no link to {}: {why}", self.label))
            };
            let _ = pending.answer.send(Err(error));
        }
        wakers.into_iter().flatten().for_each(Waker::wake);
        true
    }

    /// How it ended, if it has.
    pub(super) fn ended(&self) -> Option<Ending> {
        self.out.lock().ended.clone()
    }

    pub(super) fn is_over(&self) -> bool {
        self.out.lock().ended.is_some()
    }

    pub(super) fn poll_ended(&self, half: Half, cx: &mut Context<'_>) -> Poll<()> {
        let mut out = self.out.lock();
        if out.ended.is_some() {
            return Poll::Ready(());
        }
        match half {
            Half::Reader => out.reader = Some(cx.waker().clone()),
            Half::Writer => out.writer = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Waits until the output is at most half full, or the connection has ended.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut out = self.out.lock();
        if out.ended.is_some() || out.buf.len() <= self.bounds.output_bytes_max / 2 {
            return Poll::Ready(());
        }
        out.room = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Takes all that has gathered into the empty `bytes`; false when there will be no more.
    pub(super) fn poll_take(&self, bytes: &mut BytesMut, cx: &mut Context<'_>) -> Poll<bool> {
        let mut out = self.out.lock();
        if out.buf.is_empty() {
            if out.ended.is_some() {
                return Poll::Ready(false);
            }
            out.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        std::mem::swap(&mut out.buf, bytes);
        out.taken += bytes.len() as u64;
        out.frames = 0;
        let woken = out.room.take();
        drop(out);
        woken.into_iter().for_each(Waker::wake);
        Poll::Ready(true)
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Conn({} {:?} {} {})", self.id, self.role, self.class, self.label)
    }
}

/// An ask under way. Dropped, its frame is taken back if it has not left yet.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    conn: &'a Conn,
    call: u64,
    pub(super) answer: oneshot::Receiver<Result<Bytes, AskError>>,
}

impl Waiting<'_> {
    /// Waits no longer; whether the frame never left.
    pub(super) fn take_back(&self) -> bool {
        let mut out = self.conn.out.lock();
        let pending = out.calls.remove(self.call);
        pending.is_some_and(|pending| out.take_back(&pending))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.take_back();
    }
}
