//! A socket that is woken by the runtime it is used on.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::{Handle, Id};

/// Tokio watches a socket on the runtime where it was made, for ever. Connections are accepted on
/// the control runtime, and those of messages are served elsewhere: without this every arrival
/// would wake the control thread first.
#[derive(Debug)]
pub(super) struct HomingStream {
    /// Missing only after it could not be moved.
    tcp: Option<TcpStream>,
    home: Id,
    /// Uses after which it no longer asks where it is.
    unsettled: u8,
}

impl HomingStream {
    /// A stream made on the runtime of the caller.
    pub(super) fn new(tcp: TcpStream) -> Self {
        Self { tcp: Some(tcp), home: Handle::current().id(), unsettled: u8::MAX }
    }

    /// The stream, watched by the runtime of the caller. A connection moves once, after its
    /// handshake: to ask for ever would cost every message.
    fn here(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        if self.unsettled > 0 {
            self.unsettled -= 1;
            self.come_here()?;
        }
        let tcp = self.tcp.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        Ok(Pin::new(tcp))
    }

    fn come_here(&mut self) -> io::Result<()> {
        let here = Handle::current().id();
        if here != self.home {
            let moved = self.tcp.take().ok_or(io::ErrorKind::NotConnected)?;
            self.tcp = Some(TcpStream::from_std(moved.into_std()?)?);
            self.home = here;
        }
        Ok(())
    }
}

impl AsyncRead for HomingStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.here()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for HomingStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.here()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match bufs {
            // The plain call costs the kernel less.
            [buf] => self.here()?.poll_write(cx, buf),
            bufs => self.here()?.poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.here()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.here()?.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::base::ControlRuntime;

    /// The runtime that made it is gone: nothing but the new one can wake it.
    #[tokio::test]
    async fn it_is_woken_where_it_is_used() {
        let first = ControlRuntime::start("first").expect("a thread");
        let made = first.handle().spawn(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let near = TcpStream::connect(listener.local_addr().expect("it listens"));
            let (near, (far, _)) =
                tokio::join!(near, async { listener.accept().await.expect("somebody connects") });
            (HomingStream::new(near.expect("it listens")), HomingStream::new(far))
        });
        let (mut near, mut far) = made.await.expect("both ends");
        let echo = tokio::spawn(async move {
            let mut bytes = [0; 2];
            far.read_exact(&mut bytes).await.expect("two bytes come");
            far.write_all(&bytes).await.expect("the other side reads");
        });
        // Used here once, then the runtime that made it may go.
        tokio::task::yield_now().await;
        near.write_all(b"a").await.expect("the other side reads");
        drop(first);
        near.write_all(b"b").await.expect("the other side reads");
        let mut back = [0; 2];
        let deadline = std::time::Duration::from_secs(30);
        let read = tokio::time::timeout(deadline, near.read_exact(&mut back)).await;
        read.expect("it is woken").expect("two bytes come back");
        assert_eq!(&back, b"ab");
        echo.await.expect("it did not panic");
    }
}
