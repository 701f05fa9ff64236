//! Reading a socket in large pieces, with memory only for those who have said something.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::base::Stream;

/// Bytes read from a socket at a time.
const READ_BYTES: usize = 64 << 10;
/// Bytes of the first read, which waits without memory of its own.
const FIRST_BYTES: usize = 512;

/// What stands under TLS: rustls asks for 4 KiB at a time, the socket gives more in one call.
/// Whoever connects and says nothing costs no buffer.
pub(super) struct Buffered {
    stream: Stream,
    /// Empty until the first bytes have come.
    buffer: Vec<u8>,
    /// What was received and not taken yet.
    from: usize,
    to: usize,
}

impl Buffered {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, buffer: Vec::new(), from: 0, to: 0 }
    }

    /// Receives; ready with nothing at the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.buffer.is_empty() {
            let mut first = [0; FIRST_BYTES];
            let mut room = ReadBuf::new(&mut first);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room))?;
            let bytes = room.filled();
            if !bytes.is_empty() {
                self.buffer = vec![0; READ_BYTES];
                self.buffer[..bytes.len()].copy_from_slice(bytes);
            }
            (self.from, self.to) = (0, bytes.len());
            return Poll::Ready(Ok(()));
        }
        let mut room = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room))?;
        (self.from, self.to) = (0, room.filled().len());
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Buffered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.from == this.to {
            // A large piece needs no buffer in between.
            if !this.buffer.is_empty() && out.remaining() >= READ_BYTES {
                return Pin::new(&mut this.stream).poll_read(cx, out);
            }
            ready!(this.poll_fill(cx))?;
        }
        let bytes = out.remaining().min(this.to - this.from);
        out.put_slice(&this.buffer[this.from..this.from + bytes]);
        this.from += bytes;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Buffered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read_whatever_the_pieces_are() {
        let (near, mut far) = tokio::io::duplex(100_000);
        let mut near = Buffered::new(Box::new(near));
        let all: Vec<u8> = (0..200_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let sent = all.clone();
        let writing = tokio::spawn(async move {
            for piece in sent.chunks(777) {
                far.write_all(piece).await.expect("it is read");
            }
        });
        let (mut read, mut sizes) = (Vec::new(), [1, 4_096, 70_000, 3].into_iter().cycle());
        loop {
            let mut piece = vec![0; sizes.next().expect("it cycles")];
            let bytes = near.read(&mut piece).await.expect("it is written");
            if bytes == 0 {
                break;
            }
            read.extend_from_slice(&piece[..bytes]);
        }
        writing.await.expect("no panic");
        assert!(read == all, "{} bytes", read.len());
    }

    #[tokio::test]
    async fn who_says_nothing_costs_no_buffer() {
        let (near, mut far) = tokio::io::duplex(100);
        let mut near = Buffered::new(Box::new(near));
        let mut byte = [0];
        assert!(futures::poll!(std::pin::pin!(near.read(&mut byte))).is_pending());
        assert_eq!(near.buffer.capacity(), 0);
        far.write_all(b"x").await.expect("there is room");
        assert_eq!(near.read(&mut byte).await.expect("one byte"), 1);
        assert_eq!(near.buffer.len(), READ_BYTES);
    }
}
