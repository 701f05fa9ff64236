//! The task of a connection: writes what has gathered, reads what arrives and hands it on, answers
//! pings, and finds out that nothing arrives any more.
//!
//! One task does both directions: what a batch of asks is answered with leaves in one write right
//! after it, and neither half ever waits for the other's lock.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};

use super::api::Class;
use super::blocks::Blocks;
use super::conn::{Conn, Role};
use super::links::Shared;
use super::pace::{Pace, WRITE_BYTES};
use super::reader::Reader;
use super::tls::explain;
use crate::base::{Clock, Instant, Stream, within};

/// An output buffer larger than this is not kept after it was written.
const KEPT_BYTES_MAX: usize = 1 << 20;
/// How long the orderly end of a connection may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// Reads and writes in a row before other tasks get their turn.
const TURNS_MAX: u32 = 256;

/// Asks and answers in one read after which those they are for come first.
const EXCHANGED_MANY: u32 = 4;

/// Ends the connection when its task does, however that ends.
struct Closer {
    shared: Arc<Shared>,
    conn: Arc<Conn>,
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.conn.end("the task that served it ended", true);
        self.conn.stopped.cancel();
        self.shared.gone(&self.conn);
    }
}

/// Serves a connection that stands, until it ends. `input` came behind the handshake.
///
/// Nothing is read before the connections that it takes the place of, `before`, have handed on
/// their last: order holds over them.
pub(super) async fn serve(
    shared: Arc<Shared>,
    conn: Arc<Conn>,
    before: Vec<Arc<Conn>>,
    (stream, mut input): (Stream, BytesMut),
) {
    let closer = Closer { shared: shared.clone(), conn: conn.clone() };
    let Some(peer) = conn.peer.get().cloned() else { return };
    let clock = &*shared.seams.clock;
    for older in before {
        let deadline = clock.now() + shared.timing.dead_after;
        if within(clock, deadline, older.stopped.cancelled()).await.is_err() {
            conn.end("the connection that it takes the place of does not end", true);
        }
    }
    if conn.is_over() {
        return;
    }
    let mut reader = Reader::new(&shared, &conn, peer);
    reader.arrived(clock);
    if let Err(why) = reader.take_frames(&mut input) {
        shared.accuse(&conn, &why);
        conn.end(&why, true);
    }
    let is_bulk = conn.class == Class::Bulk;
    let mut line = Line {
        clock,
        shared: &shared,
        conn: &conn,
        reader,
        stream,
        input,
        blocks: Blocks::default(),
        output: BytesMut::new(),
        output_bytes: 0,
        unflushed: false,
        lets_others_speak: false,
        was_deaf: false,
        ticked_at: clock.now(),
        silent_since: None,
        stalled: None,
        write_bytes_max: if is_bulk { WRITE_BYTES } else { usize::MAX },
        pace: is_bulk.then(|| (Pace::new(shared.limits.bulk_bytes_per_s), None)),
    };
    poll_fn(|cx| line.poll(cx)).await;
    // Before the farewell, which may take a second: nobody is to dial again without a back-off.
    drop(closer);
    line.leave().await;
}

/// See the module.
struct Line<'a> {
    clock: &'a dyn Clock,
    shared: &'a Shared,
    conn: &'a Conn,
    reader: Reader<'a>,
    stream: Stream,
    input: BytesMut,
    blocks: Blocks,
    output: BytesMut,
    /// How many were in `output` at first.
    output_bytes: usize,
    unflushed: bool,
    lets_others_speak: bool,
    /// It did not read when it last could.
    was_deaf: bool,
    /// The last tick.
    ticked_at: Instant,
    /// The first tick since bytes arrived.
    silent_since: Option<Instant>,
    /// Since when the other side takes no bytes.
    stalled: Option<Instant>,
    write_bytes_max: usize,
    /// Of a bulk connection, with the wait for its next write.
    pace: Option<(Pace, Option<BoxFuture<'static, ()>>)>,
}

impl Line<'_> {
    /// Ready when the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Many were given something to do at once: let them all say what comes of it, then write
        // it at once. Whoever speaks first has just woken this task, which would run next.
        if std::mem::take(&mut self.lets_others_speak) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut may_read = true;
        for _ in 0..TURNS_MAX {
            if self.conn.is_over_for_its_task() {
                return Poll::Ready(());
            }
            // Both, whatever the first says: each registers what it waits for.
            let read = if may_read { self.poll_read(cx) } else { Poll::Pending };
            let written = self.poll_write(cx);
            // Once is enough to wait for the other side; whoever was deaf may hear again.
            may_read = read.is_ready() || self.was_deaf && !self.is_deaf();
            match (read, written) {
                (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => {
                    self.conn.end(&error, true);
                    return Poll::Ready(());
                }
                (Poll::Pending, Poll::Pending) if may_read => {}
                (Poll::Pending, Poll::Pending) => match self.poll_wait(cx) {
                    Poll::Ready(()) => {}
                    Poll::Pending => return Poll::Pending,
                },
                (Poll::Ready(Ok(())), _) | (_, Poll::Ready(Ok(()))) => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Waits for frames, a tick or the end. Ready if there is something to do.
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let wants_frames = self.output.is_empty() && !self.unflushed;
        ready!(self.conn.poll_wanted(wants_frames, cx));
        if self.conn.take_tick() {
            self.ticked(self.clock.now());
        }
        Poll::Ready(())
    }

    fn ticked(&mut self, now: Instant) {
        let dead_after = self.shared.timing.dead_after;
        let silence = match self.silent_since {
            Some(since) => now.since(since),
            None => Duration::ZERO,
        };
        self.blocks.rest(&mut self.input);
        let has_heard = self.silent_since.is_none();
        if has_heard {
            // At some time since the last tick. To note it with every read would cost messages.
            self.conn.heard.fetch_max(self.ticked_at.as_nanos(), Ordering::Relaxed);
        }
        self.ticked_at = now;
        self.silent_since.get_or_insert(now);
        if silence >= dead_after {
            self.conn.end(&format!("nothing arrived for {} ms", silence.as_millis()), true);
        } else if self.stalled.is_some_and(|since| now.since(since) >= dead_after) {
            self.conn.end("the other side takes no bytes", true);
        }
        match self.conn.role {
            Role::Dialled => self.conn.ping(),
            // It has no room for a ping behind a frame that takes long: this shows that it is
            // heard.
            Role::Accepted if has_heard && !self.input.is_empty() => self.reader.show_heard(),
            Role::Accepted => self.reader.say_unsaid(),
        }
        if self.conn.was_used() {
            self.conn.used.store(now.as_nanos(), Ordering::Relaxed);
        }
    }

    /// Whether it does not read now. Whoever does not read its answers is not read from: this
    /// side's bound holds, and the dialler, which always reads, cannot wait for us in a circle.
    fn is_deaf(&self) -> bool {
        self.conn.role == Role::Accepted && self.conn.is_clogged()
    }

    /// One read. Ready if something arrived.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        self.was_deaf = self.is_deaf();
        if self.was_deaf {
            // Whoever is not listened to is not silent.
            self.silent_since = None;
            return Poll::Pending;
        }
        self.blocks.make_room(&mut self.input);
        let read = ready!(pin!(self.stream.read_buf(&mut self.input)).poll(cx));
        if read.map_err(|error| explain(&error))? == 0 {
            let whole = if self.input.is_empty() { "" } else { " in the middle of a frame" };
            return Poll::Ready(Err(format!("the other side closed it{whole}")));
        }
        self.silent_since = None;
        if self.conn.role == Role::Dialled {
            // Whoever answers is alive, and takes bytes again once its answers are written.
            self.stalled = None;
        }
        self.reader.arrived(self.clock);
        let taken = self.reader.take_frames(&mut self.input);
        self.lets_others_speak = self.reader.take_exchanged() >= EXCHANGED_MANY;
        Poll::Ready(taken.inspect_err(|why| self.shared.accuse(self.conn, why)))
    }

    /// Writes once what has gathered, and flushes when that is all. Ready if something was written.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        if self.output.is_empty() {
            // Under TLS a stream takes more than the socket does: what follows waits where it can
            // be taken back, and shows that the other side takes nothing.
            if self.unflushed {
                let flushed = Pin::new(&mut self.stream).poll_flush(cx);
                ready!(self.judge(flushed))?;
                self.unflushed = false;
            }
            if self.output_bytes > KEPT_BYTES_MAX {
                self.output = BytesMut::new();
            }
            self.conn.take(&mut self.output);
            self.output_bytes = self.output.len();
        }
        let had_output = !self.output.is_empty();
        if had_output {
            ready!(self.poll_pace(cx));
            let bytes = &mut (&mut self.output).take(self.write_bytes_max);
            let written = pin!(self.stream.write_buf(bytes)).poll(cx);
            let bytes = ready!(self.judge(written))?;
            self.unflushed = true;
            if let Some((pace, _)) = &mut self.pace {
                pace.wrote(self.clock.now(), bytes);
            }
        }
        if self.unflushed && self.output.is_empty() {
            let flushed = Pin::new(&mut self.stream).poll_flush(cx);
            ready!(self.judge(flushed))?;
            self.unflushed = false;
            return Poll::Ready(Ok(()));
        }
        if had_output { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Notes since when the other side takes no bytes.
    fn judge<T>(&mut self, written: Poll<io::Result<T>>) -> Poll<Result<T, String>> {
        match written {
            Poll::Pending => {
                self.stalled.get_or_insert_with(|| self.clock.now());
                Poll::Pending
            }
            Poll::Ready(written) => {
                self.stalled = None;
                Poll::Ready(written.map_err(|error| explain(&error)))
            }
        }
    }

    /// Waits until the pace of a bulk connection allows the next write.
    fn poll_pace(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((pace, rest)) = &mut self.pace else { return Poll::Ready(()) };
        let clock = self.clock;
        while let Some(next) = pace.next(clock.now()) {
            ready!(rest.get_or_insert_with(|| clock.sleep_until(next)).as_mut().poll(cx));
            *rest = None;
        }
        Poll::Ready(())
    }

    /// Writes what is left unless the link is broken, and closes the stream.
    async fn leave(mut self) {
        let is_broken = self.conn.ended().is_none_or(|ending| ending.broken);
        let farewell = async {
            while !is_broken && (!self.output.is_empty() || self.conn.take(&mut self.output)) {
                self.stream.write_buf(&mut self.output).await?;
            }
            // The other side reads the end of the stream either way.
            self.stream.shutdown().await?;
            io::Result::Ok(())
        };
        let _ = within(self.clock, self.clock.now() + FAREWELL, farewell).await;
    }
}
