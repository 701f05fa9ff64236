//! The node's end of the socket.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
    BufReader, split,
};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use super::protocol::{
    Answer, Ask, Code, REQUEST_BYTES_MAX, Refusal, read_request, write_response,
};
use crate::base::{Clock, LocalError, LocalListener, Seams, Stream, within};
use crate::storage::Disk;

/// Wait before the next accept when the operating system refuses one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bounds of the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at one time; further ones are told so and closed.
    pub connections_max: usize,
    /// From the moment a request may come to its end of line.
    pub request: Duration,
    /// From a request to its answer.
    pub answer: Duration,
    /// From an answer to its last byte taken by the other side.
    pub write: Duration,
    /// Of these, how many may be followed without end; further ones are refused.
    pub follows_max: usize,
    /// As `write`, for whoever follows: what comes meanwhile may be missed, and is counted.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 16,
            request: Duration::from_secs(10),
            answer: Duration::from_secs(10),
            write: Duration::from_secs(10),
            follows_max: 8,
            stall: Duration::from_mins(1),
        }
    }
}

/// Who knows the answers. Runs on the control runtime: what takes long goes elsewhere.
pub(crate) trait Answers: fmt::Debug + Send + Sync + 'static {
    /// Answers one question. Dropped when it takes too long.
    fn answer(&self, ask: Ask) -> BoxFuture<'static, Result<Answer, Refusal>>;

    /// Answers without end, where that was asked for; `None`: one answer is to be given. The next
    /// one is waited for only when the one before was taken.
    fn follow(&self, ask: &Ask) -> Option<BoxStream<'static, Result<Answer, Refusal>>>;
}

/// What [`Server::start`] needs.
#[derive(Debug)]
pub(crate) struct ServerParts {
    /// Where the socket is to be.
    pub(crate) path: PathBuf,
    /// Time, and the control runtime.
    pub(crate) seams: Seams,
    /// The data directory: nobody else takes it before the socket's file is gone.
    pub(crate) disk: Arc<dyn Disk>,
    /// Bounds.
    pub(crate) limits: Limits,
    /// Who answers.
    pub(crate) answers: Arc<dyn Answers>,
}

/// The socket of one node. Its file goes with it.
pub(crate) struct Server(Mutex<Option<JoinHandle<()>>>);

impl Server {
    /// Listens, and from now on answers.
    ///
    /// # Errors
    /// [`LocalError`].
    pub(crate) async fn start(parts: ServerParts) -> Result<Self, LocalError> {
        let (control, path) = (parts.seams.control.clone(), parts.path.clone());
        let (bound, listens) = tokio::sync::oneshot::channel();
        let task = control.spawn(async move {
            // On the runtime that is to wait for it.
            match LocalListener::bind(&parts.path) {
                Ok(listener) => {
                    let _ = bound.send(Ok(()));
                    let (limits, answers) = (parts.limits, parts.answers);
                    let follows = Arc::new(Semaphore::new(limits.follows_max));
                    let room = Room { clock: parts.seams.clock, limits, answers, follows };
                    Accepting { listener, room: Arc::new(room), _disk: parts.disk }.run().await;
                }
                Err(error) => _ = bound.send(Err(error)),
            }
        });
        let server = Self(Mutex::new(Some(task)));
        let ended = |_| {
            let source = std::io::Error::other("the control runtime has ended");
            LocalError::Io { path, source }
        };
        listens.await.map_err(ended)??;
        Ok(server)
    }

    /// Ends all connections and removes the socket's file. May be called again.
    pub(crate) async fn stop(&self) {
        let task = self.0.lock().take();
        if let Some(task) = task {
            task.abort();
            // Aborted: there is nothing to learn.
            let _ = task.await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(task) = self.0.get_mut() {
            task.abort();
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Server")
    }
}

/// Dropped in this order: the file is gone before the directory is free.
struct Accepting {
    listener: LocalListener,
    room: Arc<Room>,
    _disk: Arc<dyn Disk>,
}

impl Accepting {
    async fn run(self) {
        // Those that are left end with this task.
        let mut inside = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                Some(_) = inside.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok(stream) if inside.len() < self.room.limits.connections_max => {
                    inside.spawn(self.room.clone().serve(stream));
                }
                Ok(stream) => self.room.turn_away(stream),
                Err(error) => {
                    tracing::warn!(%error, "the admin socket lets nobody in");
                    self.room.clock.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// What all connections share.
struct Room {
    clock: Arc<dyn Clock>,
    limits: Limits,
    answers: Arc<dyn Answers>,
    /// Places of those who follow.
    follows: Arc<Semaphore>,
}

/// What came where a request was expected.
enum Came {
    Line(Vec<u8>),
    /// The other side is done.
    Nothing,
    /// No request: what is said of it.
    Bad(Refusal),
}

impl Room {
    /// One connection: questions and answers in turn, until either side ends it.
    async fn serve(self: Arc<Self>, stream: Stream) {
        let (reader, mut writer) = split(stream);
        let mut reader = BufReader::new(reader);
        loop {
            let until = self.clock.now() + self.limits.request;
            let came = within(&*self.clock, until, next_line(&mut reader)).await;
            let (answer, is_last) = match came {
                Ok(Came::Line(line)) => match read_request(&line) {
                    Ok(ask) => match self.answers.follow(&ask) {
                        Some(stream) => return self.tell(stream, &mut reader, &mut writer).await,
                        None => (self.answer(ask).await, false),
                    },
                    Err(refusal) => (Err(refusal), false),
                },
                Ok(Came::Nothing) => return,
                Ok(Came::Bad(refusal)) => (Err(refusal), true),
                Err(_) => {
                    let why = format!("no whole request came within {:?}", self.limits.request);
                    (Err(Refusal::new(Code::TooSlow, &why)), true)
                }
            };
            let written = self.write(&answer, &mut writer, self.limits.write).await;
            if is_last || !written {
                return;
            }
        }
    }

    /// Answers without end, until the other side says or takes nothing any more, or says anything.
    async fn tell(
        &self,
        mut stream: BoxStream<'static, Result<Answer, Refusal>>,
        reader: &mut (impl AsyncBufRead + Unpin),
        writer: &mut (impl AsyncWrite + Unpin),
    ) {
        let Ok(_place) = self.follows.try_acquire() else {
            let most = self.limits.follows_max;
            let why = format!("{most} connections follow already; end one of them");
            self.write(&Err(Refusal::new(Code::Busy, &why)), writer, self.limits.write).await;
            return;
        };
        loop {
            let answer = tokio::select! {
                biased;
                // Its end, or a word that nobody asked for.
                _ = reader.fill_buf() => return,
                answer = stream.next() => answer,
            };
            let Some(answer) = answer else { return };
            if !self.write(&answer, writer, self.limits.stall).await || answer.is_err() {
                return;
            }
        }
    }

    /// Whether the other side took it in time.
    async fn write(
        &self,
        answer: &Result<Answer, Refusal>,
        writer: &mut (impl AsyncWrite + Unpin),
        within_span: Duration,
    ) -> bool {
        let response = write_response(answer);
        let written = async {
            writer.write_all(&response).await?;
            writer.flush().await
        };
        let until = self.clock.now() + within_span;
        matches!(within(&*self.clock, until, written).await, Ok(Ok(())))
    }

    async fn answer(&self, ask: Ask) -> Result<Answer, Refusal> {
        let until = self.clock.now() + self.limits.answer;
        let answer = within(&*self.clock, until, self.answers.answer(ask)).await;
        answer.unwrap_or_else(|_| {
            let why = format!("there is no answer within {:?}", self.limits.answer);
            Err(Refusal::new(Code::Late, &why))
        })
    }

    /// Says that there is no room. What does not fit into the socket at once is not said.
    fn turn_away(&self, mut stream: Stream) {
        let most = self.limits.connections_max;
        let why = format!("{most} connections are open already; try again");
        let response = write_response(&Err(Refusal::new(Code::Busy, &why)));
        let _ = stream.write_all(&response).now_or_never();
    }
}

/// The next line, without more than fits into a request.
async fn next_line(reader: &mut (impl AsyncBufRead + Unpin)) -> Came {
    let (mut line, most) = (Vec::new(), u64::try_from(REQUEST_BYTES_MAX).unwrap_or(u64::MAX));
    let read = reader.take(most).read_until(b'\n', &mut line).await;
    match (read, line.last()) {
        (Ok(_), Some(b'\n')) => Came::Line(line),
        (Err(_), _) | (Ok(_), None) => Came::Nothing,
        (Ok(_), Some(_)) if line.len() >= REQUEST_BYTES_MAX => {
            let why = format!("a request has at most {REQUEST_BYTES_MAX} bytes");
            Came::Bad(Refusal::new(Code::TooLong, &why))
        }
        (Ok(_), Some(_)) => {
            let why = "the request ends without an end of line";
            Came::Bad(Refusal::new(Code::Malformed, why))
        }
    }
}
