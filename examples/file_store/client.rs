//! Asks running nodes, one after the other when one of them is gone. Every request may be repeated,
//! so a broken connection costs time and nothing else.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::codec::Framed;

use crate::protocol::{Answer, Request, decode, encode, frames};

/// How long one request is repeated before it is given up.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long it is tried when none of the nodes even takes a connection.
const NOBODY_THERE: Duration = Duration::from_secs(5);
/// How long one node may take to answer before the next one is asked.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// First pause before a repetition; doubled up to the last.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_LAST: Duration = Duration::from_millis(200);
/// Requests that wait for the connection's writer.
const QUEUE_MAX: usize = 64;

/// Asks any of several nodes.
#[derive(Debug)]
pub(crate) struct Client {
    sockets: Vec<PathBuf>,
    next: AtomicUsize,
    connection: Mutex<Option<Arc<Connection>>>,
}

#[derive(Debug)]
struct Connection {
    requests: mpsc::Sender<(u64, Request)>,
    waiting: Arc<Mutex<Waiting>>,
    calls: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    closed: bool,
    calls: HashMap<u64, oneshot::Sender<Answer>>,
}

impl Client {
    /// A client of the nodes that listen at `sockets`.
    pub(crate) fn new(sockets: Vec<PathBuf>) -> Self {
        Self { sockets, next: AtomicUsize::new(0), connection: Mutex::new(None) }
    }

    /// Asks until there is an answer that settles the matter.
    pub(crate) async fn ask(&self, request: &Request) -> anyhow::Result<Answer> {
        let began = Instant::now();
        let mut end = began + NOBODY_THERE;
        let mut pause = PAUSE_FIRST;
        loop {
            if self.connection.lock().is_some() {
                end = end.max(began + PATIENCE);
            }
            let why = match self.ask_once(request).await {
                Ok(Answer::Refused(why)) => bail!("refused: {why}"),
                Ok(Answer::Retry(why)) => {
                    end = began + PATIENCE;
                    why
                }
                Ok(answer) => return Ok(answer),
                Err(error) => error.to_string(),
            };
            if Instant::now() + pause > end {
                bail!("gave up after {} s: {why}", began.elapsed().as_secs());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_LAST);
        }
    }

    async fn ask_once(&self, request: &Request) -> anyhow::Result<Answer> {
        let connection = self.connected().await?;
        let answer = connection.call(request.clone()).await;
        if answer.is_none() {
            let mut current = self.connection.lock();
            if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, &connection)) {
                *current = None;
            }
        }
        answer.context("the node has closed the connection, or does not answer")
    }

    async fn connected(&self) -> anyhow::Result<Arc<Connection>> {
        if let Some(connection) = self.connection.lock().clone() {
            return Ok(connection);
        }
        let at = self.next.fetch_add(1, Relaxed) % self.sockets.len();
        let socket = &self.sockets[at];
        let stream = UnixStream::connect(socket)
            .await
            .with_context(|| format!("no node listens at {}", socket.display()))?;
        let connection = Arc::new(Connection::start(stream));
        *self.connection.lock() = Some(connection.clone());
        Ok(connection)
    }
}

impl Connection {
    fn start(stream: UnixStream) -> Self {
        let (requests, mut queue) = mpsc::channel::<(u64, Request)>(QUEUE_MAX);
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let (mut sink, mut source) = Framed::new(stream, frames()).split();
        tokio::spawn(async move {
            while let Some((call, request)) = queue.recv().await {
                let Ok(frame) = encode(call, &request) else { break };
                if sink.send(frame).await.is_err() {
                    break;
                }
            }
        });
        let answered = waiting.clone();
        tokio::spawn(async move {
            while let Some(Ok(frame)) = source.next().await {
                let decoded: io::Result<(u64, Answer)> = decode(&frame);
                let Ok((call, answer)) = decoded else { break };
                if let Some(waiter) = answered.lock().calls.remove(&call) {
                    // A caller that gave up does not want the answer.
                    let _ = waiter.send(answer);
                }
            }
            let mut waiting = answered.lock();
            waiting.closed = true;
            waiting.calls.clear();
        });
        Self { requests, waiting, calls: AtomicU64::new(0) }
    }

    async fn call(&self, request: Request) -> Option<Answer> {
        let call = self.calls.fetch_add(1, Relaxed);
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            if waiting.closed {
                return None;
            }
            waiting.calls.insert(call, answer);
        }
        let answer = async {
            self.requests.send((call, request)).await.ok()?;
            answered.await.ok()
        };
        timeout(ANSWER_WITHIN, answer).await.ok()?
    }
}
