//! A stream whose segments come late when they were lost.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::loss::{RETRANSMISSIONS_MAX, Retransmissions, delay};

/// A segment's bytes. A longer write is several segments, each lost or not by itself.
const SEGMENT_BYTES_MAX: usize = 65_536;
/// Bytes that wait for their time or for the reader; one segment more at most. When there are as
/// many, nothing is taken from the network, and the sender waits once that is full too.
const WAITING_BYTES_MAX: usize = 256 * 1024;

/// What came over the network, in order.
#[derive(Debug)]
enum Arrived {
    Bytes(Bytes),
    /// The other side has said all.
    End,
    Broken(io::ErrorKind),
}

/// Reads late what was lost on the way, and never out of order: a segment waits for those before
/// it, as in the receive buffer of a kernel. What waits does not delay the network: all that has
/// arrived is taken from it at once and begins its own delay, as long as somebody reads.
///
/// A segment that is lost too often breaks the connection in both directions, and it is the reader
/// who learns it, as one whose keepalive found nobody. Dropped with bytes that nobody read, it says
/// "end" to the other side, where a kernel would say "reset".
pub(super) struct LossyStream<S> {
    inner: S,
    losses: Retransmissions,
    waiting: VecDeque<(Instant, Arrived)>,
    waiting_bytes: usize,
    /// Whether there is nothing more to come.
    is_over: bool,
    is_given_up: bool,
    timer: Pin<Box<Sleep>>,
    segment: Box<[u8]>,
}

impl<S> fmt::Debug for LossyStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LossyStream({:?}, {} bytes wait)", self.losses, self.waiting_bytes)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> LossyStream<S> {
    /// Reads from `inner` with these losses, from now on.
    pub(super) fn new(inner: S, losses: Retransmissions) -> Self {
        let now = Instant::now();
        Self {
            inner,
            losses,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            is_over: false,
            is_given_up: false,
            timer: Box::pin(tokio::time::sleep_until(now)),
            segment: vec![0; SEGMENT_BYTES_MAX].into_boxed_slice(),
        }
    }

    /// Takes what the network has.
    fn take_arrived(&mut self, cx: &mut Context<'_>) {
        while !self.is_over && self.waiting_bytes < WAITING_BYTES_MAX {
            let mut segment = ReadBuf::new(&mut self.segment);
            let arrived = match Pin::new(&mut self.inner).poll_read(cx, &mut segment) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) if segment.filled().is_empty() => Arrived::End,
                Poll::Ready(Ok(())) => Arrived::Bytes(Bytes::copy_from_slice(segment.filled())),
                Poll::Ready(Err(error)) => Arrived::Broken(error.kind()),
            };
            self.put(arrived);
        }
    }

    fn put(&mut self, arrived: Arrived) {
        let lost = match &arrived {
            Arrived::Bytes(_) | Arrived::End => self.losses.draw(),
            // A reset is sent once; if it was lost, nothing would have arrived.
            Arrived::Broken(_) => 0,
        };
        let arrived = if lost > RETRANSMISSIONS_MAX {
            self.is_given_up = true;
            Arrived::Broken(io::ErrorKind::TimedOut)
        } else {
            arrived
        };
        match &arrived {
            Arrived::Bytes(bytes) => {
                self.losses.came(bytes.len());
                self.waiting_bytes += bytes.len();
            }
            Arrived::End | Arrived::Broken(_) => self.is_over = true,
        }
        // That what is before it may be due later does not matter: it leaves first.
        self.waiting.push_back((Instant::now() + delay(lost), arrived));
    }

    /// Whether the connection broke because a segment never came.
    fn is_broken(&self) -> bool {
        let is_next = self.waiting.len() == 1;
        let due = self.waiting.front().map(|(due, _)| *due);
        self.is_given_up && is_next && due.is_some_and(|due| due <= Instant::now())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for LossyStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.take_arrived(cx);
        let Some((due, arrived)) = this.waiting.front_mut() else { return Poll::Pending };
        if *due > Instant::now() {
            if this.timer.deadline() != *due {
                this.timer.as_mut().reset(*due);
            }
            ready!(this.timer.as_mut().poll(cx));
        }
        match arrived {
            Arrived::Bytes(bytes) => {
                let taken = bytes.len().min(buf.remaining());
                buf.put_slice(&bytes[..taken]);
                bytes.advance(taken);
                this.waiting_bytes -= taken;
                if bytes.is_empty() {
                    this.waiting.pop_front();
                }
                Poll::Ready(Ok(()))
            }
            // These stay: whoever reads again finds the same.
            Arrived::End => Poll::Ready(Ok(())),
            Arrived::Broken(kind) => Poll::Ready(Err((*kind).into())),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for LossyStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_broken() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
