//! One connection: its [`Output`] behind a short lock, and the bells of those who wait for it.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::api::{AskError, Class, Life, Peer};
use super::lanes::{LaneLoss, Totals};
use super::output::{Bounds, Ending, Output, Rejected};
use super::tally::{Tally, count};
#[cfg(feature = "sim")]
use crate::base::Fill;
use crate::base::Instant;
#[cfg(feature = "sim")]
use crate::wire::MESSAGE_BYTES_MAX;
use crate::wire::{Header, Kind};

/// What a connection is to this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It asks and hears answers.
    Dialled,
    /// It hears asks and answers.
    Accepted,
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
    /// The token of the other side's life.
    pub(super) token: AtomicU64,
    /// Not before this something arrived last, in nanoseconds of the node's clock.
    pub(super) heard: AtomicU64,
    /// One side was in no cluster when the link was made.
    pub(super) formation_only: AtomicBool,
    /// It is the other side's one link of its class, and not for one call.
    pub(super) is_lane: AtomicBool,
    /// Cancelled when its task hands nothing on any more.
    pub(super) stopped: CancellationToken,
    /// When it came to stand, in nanoseconds of the node's clock; never, so far, if at the end.
    pub(super) stands_since: AtomicU64,
    /// When it was seen in use, in nanoseconds of the node's clock.
    pub(super) used: AtomicU64,
    bounds: Bounds,
    tally: Arc<Tally>,
    out: Mutex<Shared>,
    /// Rings when there may be room again.
    room: Notify,
    /// How many wait for room.
    roomless: AtomicUsize,
}

struct Shared {
    output: Output,
    /// The connection's task, while it waits.
    task: Option<Waker>,
    /// It waits for frames also, not only for the end.
    wants_frames: bool,
    /// It is to look at the other side.
    tick_due: bool,
    /// The connection's clock, while it waits.
    watcher: Option<Waker>,
    /// When that looks at the deadlines of asks.
    alarm: Instant,
    /// Something was said since this was last asked.
    in_use: bool,
}

impl Shared {
    /// Who is to be woken now that something was pushed.
    fn pushed(&mut self) -> Option<Waker> {
        self.in_use = true;
        if self.wants_frames { self.task.take() } else { None }
    }
}

impl Conn {
    /// The other side's life, once the handshake is through.
    pub(super) fn life(&self) -> Option<Life> {
        let peer = self.peer.get()?;
        Some(Life { boot: peer.boot, token: self.token.load(Ordering::Acquire) })
    }

    pub(super) fn new(
        id: u64,
        (class, role): (Class, Role),
        label: String,
        bounds: Bounds,
        tally: Arc<Tally>,
    ) -> Arc<Self> {
        let output = Output::new(bounds);
        Arc::new(Self {
            id,
            class,
            role,
            label,
            peer: OnceLock::new(),
            token: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            formation_only: AtomicBool::new(false),
            is_lane: AtomicBool::new(false),
            stopped: CancellationToken::new(),
            stands_since: AtomicU64::new(u64::MAX),
            used: AtomicU64::new(0),
            bounds,
            tally,
            out: Mutex::new(Shared {
                output,
                task: None,
                wants_frames: false,
                tick_due: false,
                watcher: None,
                alarm: Instant::NEVER,
                in_use: true,
            }),
            room: Notify::new(),
            roomless: AtomicUsize::new(0),
        })
    }

    pub(super) fn is_formation_only(&self) -> bool {
        self.formation_only.load(Ordering::Acquire)
    }

    /// Takes a tell in, unless more than `waiting_max` bytes would wait with it. Tells how many
    /// wait now.
    pub(super) fn tell(
        &self,
        header: &Header,
        body: &Bytes,
        waiting_max: usize,
    ) -> Result<usize, Rejected> {
        let mut out = self.out.lock();
        out.output.say(header, body, waiting_max)?;
        let (woken, waiting) = (out.pushed(), out.output.waiting());
        drop(out);
        woken.into_iter().for_each(Waker::wake);
        Ok(waiting)
    }

    /// Takes an ask in. Its answer comes to what is returned, at the latest when the deadline has
    /// passed.
    pub(super) fn ask(
        &self,
        header: &Header,
        body: &Bytes,
        deadline: Instant,
    ) -> Result<Waiting<'_>, Rejected> {
        let (sender, answer) = oneshot::channel();
        let mut out = self.out.lock();
        let call = out.output.ask((header, body), deadline, sender)?;
        let woken = out.pushed();
        let watcher = if deadline < out.alarm { out.watcher.take() } else { None };
        drop(out);
        [woken, watcher].into_iter().flatten().for_each(Waker::wake);
        Ok(Waiting { conn: self, call, answer, is_answered: false })
    }

    /// Tries until there is room, or the connection has ended.
    pub(super) async fn with_room<T>(
        &self,
        mut attempt: impl FnMut() -> Result<T, Rejected>,
    ) -> Result<T, Rejected> {
        if let done @ (Ok(_) | Err(Rejected::Closed(_))) = attempt() {
            return done;
        }
        let _roomless = Roomless::one(&self.roomless);
        loop {
            let mut rung = pin!(self.room.notified());
            // From here on no bell is missed.
            rung.as_mut().enable();
            if let done @ (Ok(_) | Err(Rejected::Closed(_))) = attempt() {
                return done;
            }
            rung.await;
        }
    }

    fn ring_room(&self) {
        if self.roomless.load(Ordering::Acquire) > 0 {
            self.room.notify_waiters();
        }
    }

    /// Answers a call of the other side. An answer that does not fit becomes "dropped"; if even
    /// such do not get through, the connection ends: whoever does not read gets no more.
    pub(super) fn answer(&self, kind: Kind, call: u64, body: Bytes) {
        let mut out = self.out.lock();
        if out.output.ended.is_some() {
            return;
        }
        let waiting = out.output.waiting();
        let fits = waiting == 0 || waiting + body.len() <= self.bounds.output_bytes_max;
        if fits && body.len() <= self.class.body_bytes_max() || body.is_empty() {
            out.output.put(&Header::of(kind, call), body);
        } else {
            count(&self.tally.answers_dropped);
            out.output.put_frame(&Header::of(Kind::Dropped, call), b"");
        }
        let woken = out.pushed();
        let overrun = out.output.waiting() > 2 * self.bounds.output_bytes_max;
        drop(out);
        woken.into_iter().for_each(Waker::wake);
        if overrun {
            self.end("the other side does not read its answers", true);
        }
    }

    /// Says what was taken in of lanes.
    pub(super) fn say_credits(&self, credits: &[(u8, Totals)]) {
        let mut out = self.out.lock();
        if out.output.ended.is_some() {
            return;
        }
        for &(lane, Totals { bytes, tells }) in credits {
            let mut header = Header::of(Kind::Credit, bytes);
            (header.lane, header.version.0) = (lane, tells);
            out.output.put_frame(&header, b"");
        }
        let woken = if out.wants_frames { out.task.take() } else { None };
        drop(out);
        woken.into_iter().for_each(Waker::wake);
    }

    /// The other side took in so much of a lane.
    pub(super) fn credit(&self, lane: u8, taken: Totals) -> Result<(), String> {
        let credited = self.out.lock().output.credit(lane, taken);
        self.ring_room();
        credited
    }

    /// Asks whether the other side is there.
    pub(super) fn ping(&self) {
        let mut out = self.out.lock();
        // Behind frames that wait a ping would say nothing new.
        if out.output.ended.is_none() && out.output.waiting() == 0 {
            out.output.put_frame(&Header::of(Kind::Ping, 0), b"");
        }
    }

    /// Gives an answer to whoever waits for it; late and repeated ones are nobody's.
    pub(super) fn settle(&self, call: u64, answer: Result<Bytes, AskError>) {
        let pending = self.out.lock().output.calls.remove(call);
        if let Some(pending) = pending {
            // Nobody waits any more: then nobody wants it.
            let _ = pending.answer.send(answer);
        }
        self.ring_room();
    }

    /// Ends the connection and all calls on it. Only the first end counts; whether it was this.
    pub(super) fn end(&self, why: &str, broken: bool) -> bool {
        self.end_locked(self.out.lock(), why, broken)
    }

    fn end_locked(&self, mut out: MutexGuard<'_, Shared>, why: &str, broken: bool) -> bool {
        if out.output.ended.is_some() {
            return false;
        }
        let ending = Ending { why: why.into(), broken };
        // What this side asked is over; what it answers is written yet, if the link can.
        let forget = broken || self.role == Role::Dialled;
        let calls = out.output.end(ending, forget);
        if !broken && self.role == Role::Dialled {
            out.output.put_frame(&Header::of(Kind::Bye, 0), b"");
        }
        let woken = [out.task.take(), out.watcher.take()];
        drop(out);
        for (pending, never_left) in calls {
            let error = if never_left {
                AskError::NotExecuted(format!("no link to {}: {why}", self.label))
            } else {
                AskError::Unknown(format!("the link to {} ended: {why}", self.label))
            };
            let _ = pending.answer.send(Err(error));
        }
        woken.into_iter().flatten().for_each(Waker::wake);
        self.room.notify_waiters();
        true
    }

    /// How it ended, if it has.
    pub(super) fn ended(&self) -> Option<Ending> {
        self.out.lock().output.ended.clone()
    }

    pub(super) fn is_over(&self) -> bool {
        self.out.lock().output.ended.is_some()
    }

    /// As [`Conn::is_over`], asked by the connection's task while it runs: frames that are pushed
    /// meanwhile need not wake it, it looks for them before it waits.
    pub(super) fn is_over_for_its_task(&self) -> bool {
        let mut out = self.out.lock();
        out.wants_frames = false;
        out.output.ended.is_some()
    }

    /// What was lost with it; each is given once.
    pub(super) fn take_losses(&self) -> Vec<LaneLoss> {
        std::mem::take(&mut self.out.lock().output.losses)
    }

    /// Whether nothing waits on it, in either direction.
    pub(super) fn is_idle(&self) -> bool {
        self.peer.get().is_some() && self.out.lock().output.is_idle()
    }

    /// Ends it unless something waits on it; whether it did.
    pub(super) fn end_if_idle(&self, why: &str) -> bool {
        let out = self.out.lock();
        self.peer.get().is_some() && out.output.is_idle() && self.end_locked(out, why, false)
    }

    /// Whether anything was said on it since this was last asked.
    pub(super) fn was_used(&self) -> bool {
        std::mem::take(&mut self.out.lock().in_use)
    }

    /// Whether so much waits for the other side that it is not read from.
    pub(super) fn is_clogged(&self) -> bool {
        self.out.lock().output.waiting() > self.bounds.output_bytes_max / 2
    }

    /// How much waits to be written, and how many asks for an answer. One message may come to an
    /// empty connection that is above the limit, and answers go first: see [`Self::say`].
    #[cfg(feature = "sim")]
    pub(super) fn fills(&self) -> [Fill; 2] {
        let (out, bounds) = (self.out.lock(), self.bounds);
        let bytes_max = 2 * bounds.output_bytes_max + MESSAGE_BYTES_MAX;
        [
            Fill::of("bytes for a connection", out.output.waiting(), bytes_max),
            Fill::of("asks of a connection", out.output.calls.len(), bounds.calls_max),
        ]
    }

    /// Ends the asks whose deadline has passed.
    pub(super) fn expire(&self, now: Instant) {
        loop {
            let expired = self.out.lock().output.expired(now);
            let Some((pending, never_left)) = expired else { return };
            let to = &self.label;
            let error = if never_left {
                let why = format!("the deadline passed before it could be sent to {to}");
                AskError::NotExecuted(why)
            } else {
                AskError::Unknown(format!("no answer from {to} in time"))
            };
            let _ = pending.answer.send(Err(error));
            self.ring_room();
        }
    }

    /// Moves what has gathered to the empty `bytes`; whether there was anything.
    pub(super) fn take(&self, bytes: &mut BytesMut) -> bool {
        let taken = self.out.lock().output.take(bytes);
        if taken {
            self.ring_room();
        }
        taken
    }

    /// Has the connection's task look at the other side.
    pub(super) fn tick(&self) {
        let mut out = self.out.lock();
        out.tick_due = true;
        let woken = out.task.take();
        drop(out);
        woken.into_iter().for_each(Waker::wake);
    }

    /// Whether it is time to look at the other side; asked once.
    pub(super) fn take_tick(&self) -> bool {
        std::mem::take(&mut self.out.lock().tick_due)
    }

    /// Lets the connection's task wait: for the end, for a tick, and for frames if it
    /// `wants_frames`.
    pub(super) fn poll_wanted(&self, wants_frames: bool, cx: &mut Context<'_>) -> Poll<()> {
        let mut out = self.out.lock();
        let is_wanted = wants_frames && out.output.waiting() > 0;
        if out.output.ended.is_some() || out.tick_due || is_wanted {
            return Poll::Ready(());
        }
        out.wants_frames = wants_frames;
        wait(&mut out.task, cx);
        Poll::Pending
    }

    /// Lets the connection's clock wait: for the end, and for an ask with an earlier deadline than
    /// those of today.
    ///
    /// # Errors
    /// It waits; when asks may expire.
    pub(super) fn poll_alarm(&self, cx: &mut Context<'_>) -> Result<(), Instant> {
        let mut out = self.out.lock();
        if out.output.ended.is_some() {
            return Ok(());
        }
        out.alarm = out.output.calls.next_deadline();
        wait(&mut out.watcher, cx);
        Err(out.alarm)
    }
}

fn wait(waker: &mut Option<Waker>, cx: &mut Context<'_>) {
    match waker {
        Some(waker) => waker.clone_from(cx.waker()),
        none => *none = Some(cx.waker().clone()),
    }
}

/// Counts somebody who waits for room.
struct Roomless<'a>(&'a AtomicUsize);

impl<'a> Roomless<'a> {
    fn one(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Roomless<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
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
    answer: oneshot::Receiver<Result<Bytes, AskError>>,
    is_answered: bool,
}

impl Waiting<'_> {
    /// The answer, or what is known at the deadline or at the end of the connection.
    pub(super) async fn answer(mut self) -> Result<Bytes, AskError> {
        let answer = (&mut self.answer).await;
        self.is_answered = true;
        // Not reached: the table answers every ask it held.
        let gone = |_| AskError::Unknown(format!("the link to {} is gone", self.conn.label));
        answer.unwrap_or_else(|closed| Err(gone(closed)))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            let mut out = self.conn.out.lock();
            let pending = out.output.calls.remove(self.call);
            pending.inspect(|pending| _ = out.output.take_back(pending));
            drop(out);
            self.conn.ring_room();
        }
    }
}
