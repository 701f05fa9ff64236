//! The baseline: what any layer between two processes must do, and nothing else.
//!
//! A message goes through a bounded channel to a task that writes whatever has gathered at once;
//! over one TCP connection, in clear; from the reading task through a channel to the task that
//! stands for an actor. A frame is its length (4 bytes), a kind (1), a call id (8), the body.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use super::{Handled, Way};

/// Frames that may wait for the writing task.
const WAITING_MAX: usize = 8192;
/// Frames written at once, at most.
const COALESCED_MAX: usize = 512;
/// Bytes read at once, at most.
const READ_BYTES: usize = 64 << 10;
const LENGTH_BYTES: usize = 4;
const HEAD_BYTES: usize = 9;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Tell,
    Ask,
    Answer,
}

#[derive(Debug)]
struct Frame {
    kind: Kind,
    call: u64,
    body: Bytes,
}

impl Frame {
    fn encode(&self, out: &mut BytesMut) {
        let length = HEAD_BYTES + self.body.len();
        out.put_u32(u32::try_from(length).expect("frames here are short"));
        out.put_u8(self.kind as u8);
        out.put_u64(self.call);
        out.put_slice(&self.body);
    }

    /// The first whole frame of `input`.
    fn decode(input: &mut BytesMut) -> Option<Self> {
        let length = u32::from_be_bytes(*input.first_chunk::<LENGTH_BYTES>()?);
        let length = usize::try_from(length).expect("32 bits fit");
        if input.len() < LENGTH_BYTES + length {
            return None;
        }
        input.advance(LENGTH_BYTES);
        let mut frame = input.split_to(length).freeze();
        let kind = match frame.get_u8() {
            0 => Kind::Tell,
            1 => Kind::Ask,
            _ => Kind::Answer,
        };
        Some(Self { kind, call: frame.get_u64(), body: frame })
    }
}

/// Writes what waits, until nobody can send any more.
async fn write(mut half: OwnedWriteHalf, mut frames: mpsc::Receiver<Frame>) {
    let mut waiting = Vec::with_capacity(COALESCED_MAX);
    let mut bytes = BytesMut::new();
    while frames.recv_many(&mut waiting, COALESCED_MAX).await > 0 {
        for frame in waiting.drain(..) {
            frame.encode(&mut bytes);
        }
        if half.write_all(&bytes).await.is_err() {
            return;
        }
        bytes.clear();
    }
}

/// Reads frames until the other side closes.
async fn read(mut half: OwnedReadHalf, take: impl Fn(Frame)) {
    let mut input = BytesMut::new();
    loop {
        input.reserve(READ_BYTES);
        match half.read_buf(&mut input).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        while let Some(frame) = Frame::decode(&mut input) {
            take(frame);
        }
    }
}

/// Accepts senders on `listener`, forever.
///
/// # Panics
/// If the operating system gives no connection.
pub async fn receive(listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let (input, output) = halves(stream);
        let (answers, gathered) = mpsc::channel(WAITING_MAX);
        tokio::spawn(write(output, gathered));
        let (inbox, mut mail) = mpsc::unbounded_channel::<Frame>();
        tokio::spawn(async move {
            let mut told = 0;
            while let Some(Frame { kind, call, body }) = mail.recv().await {
                if kind == Kind::Tell {
                    told += 1;
                    continue;
                }
                let body = if body.is_empty() { Handled::now(told).encode() } else { body };
                // Refused if the sender is gone.
                let _ = answers.send(Frame { kind: Kind::Answer, call, body }).await;
            }
        });
        tokio::spawn(read(input, move |frame| drop(inbox.send(frame))));
    }
}

fn halves(stream: TcpStream) -> (OwnedReadHalf, OwnedWriteHalf) {
    stream.set_nodelay(true).expect("a socket that stands");
    stream.into_split()
}

/// A sender's side of the connection.
#[derive(Debug, Clone)]
pub struct Raw {
    frames: mpsc::Sender<Frame>,
    calls: Arc<AtomicU64>,
    askers: Arc<Mutex<HashMap<u64, oneshot::Sender<Bytes>>>>,
}

impl Raw {
    /// Connects to [`receive`].
    ///
    /// # Panics
    /// If nobody listens at `addr`.
    pub async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.expect("the receiver listens");
        let (input, output) = halves(stream);
        let (frames, gathered) = mpsc::channel(WAITING_MAX);
        let way = Self { frames, calls: Arc::default(), askers: Arc::default() };
        let askers = way.askers.clone();
        tokio::spawn(write(output, gathered));
        tokio::spawn(read(input, move |frame| {
            let asker = askers.lock().remove(&frame.call);
            // An asker that is gone wants no answer.
            drop(asker.map(|asker| asker.send(frame.body)));
        }));
        way
    }
}

impl Way for Raw {
    async fn tell(&self, body: &Bytes) {
        let body = body.clone();
        self.frames.send(Frame { kind: Kind::Tell, call: 0, body }).await.expect("it stands");
    }

    async fn ask(&self, body: Bytes) -> Bytes {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let (asker, answer) = oneshot::channel();
        self.askers.lock().insert(call, asker);
        self.frames.send(Frame { kind: Kind::Ask, call, body }).await.expect("it stands");
        answer.await.expect("an answer")
    }
}
