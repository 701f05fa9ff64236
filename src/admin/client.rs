//! The command's end of the socket.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use super::protocol::{
    Answer, Ask, RESPONSE_BYTES_MAX, Refusal, SOCKET_FILE, read_response, write_request,
};
use crate::base::{BootClock, Clock, LocalError, Stream, connect_local, within};

/// How long an answer may take if nothing else is said: longer than a node takes to say that it
/// has none.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Why a node did not answer. Nothing was changed by it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// There is no data directory.
    #[error(
        "there is no directory {}: name the data directory of a node with --data",
        data.display()
    )]
    NoDirectory {
        /// What was named.
        data: PathBuf,
    },
    /// No node has its socket there.
    #[error(
        "no node runs on {}: start it, or name the data directory of one that runs with --data \
         ({why})",
        data.display()
    )]
    NoNode {
        /// The directory.
        data: PathBuf,
        /// What was found.
        why: String,
    },
    /// The socket is another user's.
    #[error("{source}: run this as the user who runs the node")]
    Denied {
        /// What the operating system said.
        source: LocalError,
    },
    /// The socket cannot be used.
    #[error(transparent)]
    Socket(LocalError),
    /// The node took the question and gave no answer.
    #[error(
        "the node on {} gave no answer within {within:?}: its machine may be overloaded, or the \
         process stopped (SIGSTOP)",
        data.display()
    )]
    Late {
        /// The directory.
        data: PathBuf,
        /// How long was waited.
        within: Duration,
    },
    /// The node ended the connection.
    #[error("the node on {} ended the connection: {why}", data.display())]
    Ended {
        /// The directory.
        data: PathBuf,
        /// How.
        why: String,
    },
    /// What came is no answer.
    #[error("the node on {} is not understood: {why}", data.display())]
    Garbage {
        /// The directory.
        data: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The node answered that it does not.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A connection to the node that runs on a data directory.
pub struct Client {
    data: PathBuf,
    stream: BufReader<Stream>,
    clock: Arc<dyn Clock>,
    within: Duration,
}

impl Client {
    /// Connects to the node that runs on `data`. Must be called on a runtime of tokio.
    ///
    /// # Errors
    /// [`ClientError`] says whether a node runs there.
    pub async fn connect(data: &Path) -> Result<Self, ClientError> {
        let clock: Arc<dyn Clock> = Arc::new(BootClock);
        let path = data.join(SOCKET_FILE);
        let until = clock.now() + ANSWER_WITHIN;
        let connected = within(&*clock, until, connect_local(&path)).await;
        let data = data.to_owned();
        match connected {
            Ok(Ok(stream)) => {
                let stream = BufReader::new(stream);
                Ok(Self { data, stream, clock, within: ANSWER_WITHIN })
            }
            Ok(Err(error)) => Err(refused(data, error)),
            Err(_) => Err(ClientError::Late { data, within: ANSWER_WITHIN }),
        }
    }

    /// How long each answer may take; 15 s if nothing is said.
    #[must_use]
    pub fn within(mut self, span: Duration) -> Self {
        self.within = span;
        self
    }

    /// Asks, and waits for the answer. After an error other than [`ClientError::Refused`] the
    /// connection is of no use any more.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ask(&mut self, ask: &Ask) -> Result<Answer, ClientError> {
        let request = write_request(ask).map_err(|error| {
            let (data, why) = (self.data.clone(), error.to_string());
            ClientError::Garbage { data, why }
        })?;
        let clock = self.clock.clone();
        let asked = within(&*clock, clock.now() + self.within, self.exchange(&request)).await;
        let Ok(line) = asked else {
            let (data, within) = (self.data.clone(), self.within);
            return Err(ClientError::Late { data, within });
        };
        self.read(line)
    }

    /// The next answer to a question that is answered without end, after the first one. Waits as
    /// long as none comes.
    ///
    /// # Errors
    /// [`ClientError::Ended`] once the node has ended.
    pub async fn next(&mut self) -> Result<Answer, ClientError> {
        let line = self.line().await;
        self.read(line)
    }

    fn read(&self, line: std::io::Result<Vec<u8>>) -> Result<Answer, ClientError> {
        let garbage = |data: &Path, why: String| ClientError::Garbage { data: data.into(), why };
        let line = line.map_err(|error| {
            let (data, why) = (self.data.clone(), error.to_string());
            ClientError::Ended { data, why }
        })?;
        if line.last() != Some(&b'\n') {
            let why = "its answer has no end, or is too long".into();
            return Err(garbage(&self.data, why));
        }
        let answer = read_response(&line).map_err(|why| garbage(&self.data, why))?;
        Ok(answer?)
    }

    async fn exchange(&mut self, request: &[u8]) -> std::io::Result<Vec<u8>> {
        // It may have said why it takes no request, and closed: that is read all the same.
        let sent = self.stream.get_mut().write_all(request).await;
        match self.line().await {
            Err(error) => sent.and(Err(error)),
            line => line,
        }
    }

    async fn line(&mut self) -> std::io::Result<Vec<u8>> {
        let most = u64::try_from(RESPONSE_BYTES_MAX).unwrap_or(u64::MAX);
        let mut line = Vec::new();
        let read = (&mut self.stream).take(most).read_until(b'\n', &mut line).await;
        if line.is_empty() {
            read?;
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client of {}", self.data.display())
    }
}

fn refused(data: PathBuf, error: LocalError) -> ClientError {
    match error {
        LocalError::Absent { .. } if !data.is_dir() => ClientError::NoDirectory { data },
        LocalError::Absent { .. } | LocalError::Deserted { .. } => {
            ClientError::NoNode { data, why: error.to_string() }
        }
        source @ LocalError::Denied { .. } => ClientError::Denied { source },
        other @ (LocalError::TooLong { .. }
        | LocalError::Occupied { .. }
        | LocalError::Io { .. }) => ClientError::Socket(other),
    }
}
