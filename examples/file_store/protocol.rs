//! What the command says to a running node over the socket in its data directory.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio_util::codec::LengthDelimitedCodec;

use crate::entities::{Line, Manifest};

/// Largest frame: a manifest of the largest file.
const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A question to the node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Request {
    PutChunk { hash: String, bytes: Bytes },
    GetChunk { hash: String },
    PutFile { id: String, manifest: Manifest },
    GetFile { id: String },
    Enter { name: String, line: Line },
    Find { name: String },
    List { catalog: u8 },
    Where { kind: String, id: String },
    Status,
}

/// Its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Done,
    Chunk(Option<Bytes>),
    File(Option<Manifest>),
    Line(Option<Line>),
    Lines(Vec<(String, Line)>),
    Where(Place),
    Status(Status),
    /// It was not done, or whether it was done is unknown; every request may be repeated.
    Retry(String),
    /// It will never be done.
    Refused(String),
}

/// Where an entity is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) owner: Option<String>,
    pub(crate) holders: Vec<String>,
}

/// The cluster, as the asked node has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) name: String,
    pub(crate) version: u64,
    /// Name, boot and owned shards with records of each member.
    pub(crate) members: Vec<(String, u64, usize)>,
    /// Shards with records.
    pub(crate) shards: usize,
    /// Of these, those with an owner and all copies in sync.
    pub(crate) complete: usize,
    /// Who leads the authority, as far as this node knows.
    pub(crate) leader: Option<String>,
    /// Whether this node may run entities at present.
    pub(crate) serving: bool,
}

/// Where a node with this data directory listens for the command.
pub(crate) fn socket_in(data: &Path) -> PathBuf {
    data.join("file_store.sock")
}

/// Splits the byte stream into frames.
pub(crate) fn frames() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(FRAME_BYTES_MAX).new_codec()
}

/// A frame: the call it belongs to, and what is said.
pub(crate) fn encode<T: Serialize>(call: u64, what: &T) -> io::Result<Bytes> {
    postcard::to_stdvec(&(call, what)).map(Bytes::from).map_err(io::Error::other)
}

/// The reverse of [`encode`].
pub(crate) fn decode<T: DeserializeOwned>(frame: &[u8]) -> io::Result<(u64, T)> {
    postcard::from_bytes(frame).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
