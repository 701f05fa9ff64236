//! What stops a process and what kills it: the gate that its clock and its sockets pass, and the
//! order in which its sockets close.
//!
//! Turmoil runs every host in every step and cannot leave one out. So a *stopped* process
//! (`SIGSTOP`) is one for which nothing comes: its clock goes on, but no sleep ends, nothing can be
//! read, written, accepted or connected, while its peers' bytes wait in its sockets as in those of
//! a kernel. Whatever could still run comes to rest within the step. When it goes on, everything
//! comes at once, in the order in which it would have come. One thing goes on meanwhile: the timers
//! inside of openraft, which would be due at the same moment; what they send waits as well.
//!
//! A *killed* process (`SIGKILL`) is stopped, its sockets close in the order they were opened, each
//! saying "end" to its peer as a kernel does, and then its memory is gone.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::base::{Listener, Stream};

#[derive(Debug, Default)]
struct Waiting {
    is_shut: bool,
    /// In the order in which they came.
    wakers: Vec<Waker>,
}

/// Open while the process runs.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<Waiting>);

impl Gate {
    /// Opens or shuts it.
    pub(super) fn set(&self, is_shut: bool) {
        let wakers = {
            let mut waiting = self.0.lock();
            waiting.is_shut = is_shut;
            if is_shut { Vec::new() } else { std::mem::take(&mut waiting.wakers) }
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    fn poll_open(&self, cx: &Context<'_>) -> Poll<()> {
        let mut waiting = self.0.lock();
        if !waiting.is_shut {
            return Poll::Ready(());
        }
        if !waiting.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Polls `future` only while it is open.
    pub(super) async fn through<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|cx| {
            ready!(self.poll_open(cx));
            future.as_mut().poll(cx)
        })
        .await
    }

    /// Waits until it is open.
    pub(super) async fn opened(&self) {
        poll_fn(|cx| self.poll_open(cx)).await;
    }
}

/// A socket; empty once it is closed.
type Socket = Arc<Mutex<Option<Stream>>>;

#[derive(Default)]
struct Sockets {
    opened: u64,
    open: BTreeMap<u64, Socket>,
}

/// The process of a host, as its operating system sees it.
#[derive(Default)]
pub(super) struct Process {
    pub(super) gate: Arc<Gate>,
    sockets: Mutex<Sockets>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Process({:?}, {} sockets)", self.gate, self.sockets.lock().open.len())
    }
}

impl Process {
    /// `stream` as this process has it.
    pub(super) fn socket(self: &Arc<Self>, stream: Stream) -> Stream {
        let socket: Socket = Arc::new(Mutex::new(Some(stream)));
        let number = {
            let mut sockets = self.sockets.lock();
            sockets.opened += 1;
            let number = sockets.opened;
            sockets.open.insert(number, socket.clone());
            number
        };
        Box::new(GatedStream { process: self.clone(), number, socket })
    }

    /// Closes all sockets, oldest first. To be called on the host, whose network learns of it.
    pub(super) fn close_sockets(&self) {
        let open = std::mem::take(&mut self.sockets.lock().open);
        for socket in open.into_values() {
            drop(socket.lock().take());
        }
    }
}

struct GatedStream {
    process: Arc<Process>,
    number: u64,
    socket: Socket,
}

impl Drop for GatedStream {
    fn drop(&mut self) {
        self.process.sockets.lock().open.remove(&self.number);
    }
}

impl GatedStream {
    /// Asks the stream while the process runs. One that was closed is asked by nobody: its process
    /// does not run any more.
    fn ask<T>(
        &self,
        cx: &mut Context<'_>,
        ask: impl FnOnce(Pin<&mut Stream>, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        ready!(self.process.gate.poll_open(cx));
        match self.socket.lock().as_mut() {
            Some(stream) => ask(Pin::new(stream), cx),
            None => Poll::Pending,
        }
    }
}

impl AsyncRead for GatedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.ask(cx, |stream, cx| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for GatedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.ask(cx, |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ask(cx, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ask(cx, AsyncWrite::poll_shutdown)
    }
}

/// A listener of the process. Connections come while it is stopped, but nobody accepts them.
#[derive(Debug)]
pub(super) struct GatedListener {
    pub(super) process: Arc<Process>,
    pub(super) listener: Box<dyn Listener>,
}

impl Listener for GatedListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<(Stream, SocketAddr)>> {
        async move {
            let (stream, from) = self.listener.accept().await?;
            self.process.gate.opened().await;
            Ok((self.process.socket(stream), from))
        }
        .boxed()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nothing_passes_a_shut_gate_and_all_of_it_once_it_opens() {
        let process = Arc::new(Process::default());
        let (one, mut peer) = tokio::io::duplex(64);
        let mut socket = process.socket(Box::new(one));
        process.gate.set(true);
        peer.write_all(b"waits").await.expect("its socket has room");
        let mut bytes = [0; 5];
        let moment = Duration::from_mins(1);
        let read = tokio::time::timeout(moment, socket.read_exact(&mut bytes));
        assert!(read.await.is_err(), "a stopped process read");
        let write = tokio::time::timeout(moment, socket.write_all(b"late"));
        assert!(write.await.is_err(), "a stopped process wrote");
        process.gate.set(false);
        socket.read_exact(&mut bytes).await.expect("it waited");
        assert_eq!(&bytes, b"waits");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_woken_in_the_order_of_coming() {
        let (gate, order) = (Arc::new(Gate::default()), Arc::new(Mutex::new(Vec::new())));
        gate.set(true);
        let tasks: Vec<_> = (0..5)
            .map(|number| {
                let (gate, order) = (gate.clone(), order.clone());
                tokio::spawn(async move {
                    gate.opened().await;
                    order.lock().push(number);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        assert_eq!(*order.lock(), []);
        gate.set(false);
        for task in tasks {
            task.await.expect("no panic");
        }
        assert_eq!(*order.lock(), [0, 1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn a_killed_process_says_end_to_its_peers() {
        let process = Arc::new(Process::default());
        let (one, mut peer) = tokio::io::duplex(64);
        let socket = process.socket(Box::new(one));
        process.gate.set(true);
        process.close_sockets();
        assert_eq!(peer.read(&mut [0; 1]).await.expect("an end, not an error"), 0);
        drop(socket);
        assert_eq!(process.sockets.lock().open.len(), 0);
    }
}
