//! The two tasks of a connection: one writes what has gathered, one reads, answers pings and finds
//! out that nothing arrives any more.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};

use super::api::{AskError, Class, Head, Peer, ReplyTo, Service};
use super::conn::{Conn, Half, Role};
use super::links::Shared;
use super::tally::count;
use super::tls::explain;
use crate::base::{Instant, Stream, within};
use crate::wire::{Frame, Header, Kind, Splitter};

/// Bytes the reader makes room for at a time.
const READ_BYTES: usize = 64 << 10;
/// Room below which more is made.
const READ_BYTES_MIN: usize = 16 << 10;
/// An output buffer larger than this is not kept after it was written.
const KEPT_BYTES_MAX: usize = 1 << 20;
/// How long the orderly end of a connection may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// Ends the connection when its reading task ends, however it ends.
struct Closer(Arc<Conn>);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.end("the task that served it ended", true);
    }
}

/// Writes what gathers in the output, all at once, until the connection ends.
pub(super) async fn write(shared: Arc<Shared>, conn: Arc<Conn>, mut half: WriteHalf<Stream>) {
    let clock = &*shared.seams.clock;
    let mut bytes = BytesMut::new();
    while poll_fn(|cx| conn.poll_take(&mut bytes, cx)).await {
        let written = async {
            while !bytes.is_empty() {
                let deadline = clock.now() + shared.timing.dead_after;
                within(clock, deadline, half.write_buf(&mut bytes)).await.map_err(stalled)??;
            }
            let deadline = clock.now() + shared.timing.dead_after;
            within(clock, deadline, half.flush()).await.map_err(stalled)?
        };
        match unless_broken(&conn, written).await {
            Some(Ok(())) if bytes.capacity() > KEPT_BYTES_MAX => bytes = BytesMut::new(),
            Some(Ok(())) => {}
            Some(Err(error)) => {
                conn.end(&explain(&error), true);
                break;
            }
            None => break,
        }
    }
    // The other side reads the end of the stream either way.
    let _ = within(clock, clock.now() + FAREWELL, half.shutdown()).await;
}

fn stalled(_: crate::base::Elapsed) -> std::io::Error {
    std::io::Error::other("the other side takes no bytes")
}

/// Awaits `future` unless the connection breaks first. An orderly end lets it finish.
async fn unless_broken<F: Future>(conn: &Conn, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        match conn.poll_ended(Half::Writer, cx) {
            Poll::Ready(()) if conn.ended().is_some_and(|ending| ending.broken) => {
                Poll::Ready(None)
            }
            Poll::Ready(()) | Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Reads until the connection ends.
pub(super) async fn read(
    shared: Arc<Shared>,
    conn: Arc<Conn>,
    mut half: ReadHalf<Stream>,
    mut input: BytesMut,
) {
    let _closer = Closer(conn.clone());
    let Some(peer) = conn.peer.get().cloned() else { return };
    let reader = Reader { shared: &shared, conn: &conn, peer };
    let clock = &*shared.seams.clock;
    let mut heard = clock.now();
    let mut tick = clock.sleep(shared.timing.ping_interval);
    reader.arrived(heard);
    if !reader.take_frames(&mut input) {
        return;
    }
    loop {
        if conn.role == Role::Accepted {
            // Whoever does not read its answers is not read from: this side's bound holds, and the
            // dialler, which always reads, cannot wait for us in a circle.
            poll_fn(|cx| conn.poll_room(cx)).await;
        }
        if input.capacity() - input.len() < READ_BYTES_MIN {
            input.reserve(READ_BYTES);
        }
        tokio::select! {
            biased;
            () = poll_fn(|cx| conn.poll_ended(Half::Reader, cx)) => return,
            got = half.read_buf(&mut input) => {
                match got {
                    Ok(0) => {
                        conn.end("the other side closed it", true);
                        return;
                    }
                    Ok(_) => {
                        heard = clock.now();
                        reader.arrived(heard);
                        if !reader.take_frames(&mut input) {
                            return;
                        }
                    }
                    Err(error) => {
                        conn.end(&explain(&error), true);
                        return;
                    }
                }
            }
            () = &mut tick => {
                let silence = clock.now().since(heard);
                if silence >= shared.timing.dead_after {
                    conn.end(&format!("nothing arrived for {} ms", silence.as_millis()), true);
                    return;
                }
                if conn.role == Role::Dialled {
                    conn.ping();
                }
                tick = clock.sleep(shared.timing.ping_interval);
            }
        }
    }
}

/// What the reading task needs to judge a frame.
struct Reader<'a> {
    shared: &'a Arc<Shared>,
    conn: &'a Arc<Conn>,
    peer: Peer,
}

impl Reader<'_> {
    fn arrived(&self, now: Instant) {
        if self.conn.class == Class::Control {
            self.shared.hooks.arrival(&self.peer.node, now);
        }
    }

    /// Hands on every whole frame; false if the connection has ended.
    fn take_frames(&self, input: &mut BytesMut) -> bool {
        let splitter = Splitter::new(self.conn.class.body_bytes_max());
        loop {
            let taken = splitter.next(input).map_err(|error| error.to_string());
            match taken.and_then(|frame| frame.map(|frame| self.take(frame)).transpose()) {
                Ok(Some(())) => {}
                Ok(None) => return true,
                Err(why) => {
                    let why = format!("the other side broke the protocol: {why}");
                    self.conn.end(&why, true);
                    return false;
                }
            }
        }
    }

    fn take(&self, frame: Frame) -> Result<(), String> {
        let Frame { header, body } = frame;
        match (self.conn.role, header.kind) {
            (_, Kind::Pong | Kind::Void) => {}
            (Role::Accepted, Kind::Tell) => self.tell(&header, body),
            (Role::Accepted, Kind::Ask) => self.ask(&header, body),
            (Role::Accepted, Kind::Ping) => self.conn.answer(Kind::Pong, 0, &Bytes::new()),
            (Role::Dialled, Kind::Reply) => self.conn.settle(header.call, Ok(body)),
            (Role::Dialled, Kind::Refusal) => {
                self.conn.settle(header.call, Err(AskError::Refused(body)));
            }
            (Role::Dialled, Kind::Dropped) => {
                let why = format!("{} dropped it without an answer", self.peer.node);
                self.conn.settle(header.call, Err(AskError::Unknown(why)));
            }
            (Role::Dialled, Kind::Tell | Kind::Ask | Kind::Ping)
            | (Role::Accepted, Kind::Reply | Kind::Refusal | Kind::Dropped) => {
                return Err(format!("{:?} on a {:?} connection", header.kind, self.conn.role));
            }
        }
        Ok(())
    }

    fn tell(&self, header: &Header, body: Bytes) {
        match self.inbound(header) {
            Some(inbound) => inbound.tell(&self.peer, head_of(header), body),
            None => count(&self.shared.tally.tells_dropped),
        }
    }

    fn ask(&self, header: &Header, body: Bytes) {
        let reply = ReplyTo { conn: self.conn.clone(), call: header.call, answered: false };
        match self.inbound(header) {
            Some(inbound) => inbound.ask(&self.peer, head_of(header), body, reply),
            None => reply.refuse(Bytes::new()),
        }
    }

    /// Whom the frame is for; nobody, if this link may not carry it.
    fn inbound(&self, header: &Header) -> Option<Arc<dyn super::Inbound>> {
        let service = Service::from_wire(header.service)?;
        if self.conn.is_formation_only() && service != Service::Formation {
            return None;
        }
        self.shared.inbound(service)
    }
}

fn head_of(header: &Header) -> Head {
    Head { version: header.version, shard: header.shard, epoch: header.epoch }
}
