//! The three kinds of entity that a file store is made of.
//!
//! A *chunk* is named by the SHA-1 of its bytes, a *file* by a random id, and a *catalog* holds the
//! names of the files whose name hashes to it. The ring places each of them on the nodes.

use std::collections::BTreeMap;

use bytes::Bytes;
use evertree::entity::{Cx, Entity, Failure, Reply};
use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};

/// Bytes of every chunk but a file's last one.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks of the largest file, 5.8 GiB: the list of their hashes, 42 bytes each, is one record, and
/// a record has at most 1 MiB.
pub(crate) const CHUNKS_MAX: usize = 24_000;
/// Bytes of the longest name.
pub(crate) const NAME_BYTES_MAX: usize = 4096;
/// Catalogs that share the names.
pub(crate) const CATALOGS: u8 = 16;
/// Bytes of a catalog's lines: they are one record, too.
const CATALOG_BYTES_MAX: usize = 900 * 1024;
/// Bytes of a line beside its name: the id, the size, and what the encoding needs.
const LINE_BYTES: usize = 64;

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// The SHA-1 of some bytes, in hexadecimal.
pub(crate) fn sha1_hex(bytes: &[u8]) -> String {
    hex(&Sha1::digest(bytes))
}

/// The catalog that knows `name`.
pub(crate) fn catalog_of(name: &str) -> String {
    format!("{}", Sha1::digest(name)[0] % CATALOGS)
}

/// Why a chunk or a file was refused. Nothing was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum Refused {
    /// The bytes do not have the hash they are stored under: they were damaged on the way.
    #[error("the bytes hash to {actual}")]
    WrongHash {
        /// What they hash to.
        actual: String,
    },
    /// Another manifest stands under this id.
    #[error("the file exists with other contents")]
    FileExists,
    /// The catalog that the name belongs to has no room.
    #[error("the catalog of this name holds {names} names and takes no more: use another name")]
    CatalogFull {
        /// How many it holds.
        names: usize,
    },
}

/// Some bytes of a file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Chunk {
    bytes: Option<Bytes>,
}

/// What a chunk understands.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ChunkMsg {
    /// Keep these bytes. Repeating is harmless.
    Put(Bytes, Reply<Result<(), Refused>>),
    /// Give the bytes back; `None` if it never had any.
    Get(Reply<Option<Bytes>>),
}

impl Entity for Chunk {
    const KIND: &'static str = "chunk";
    type Msg = ChunkMsg;
    type Env = ();

    async fn handle(&mut self, msg: ChunkMsg, cx: &mut Cx<'_, Self>) -> Result<(), Failure> {
        match msg {
            ChunkMsg::Put(bytes, reply) => {
                let actual = sha1_hex(&bytes);
                if actual != cx.id() {
                    reply.send(Err(Refused::WrongHash { actual }));
                } else if self.bytes.as_ref() == Some(&bytes) {
                    reply.send(Ok(()));
                } else {
                    self.bytes = Some(bytes);
                    cx.save(self).await?;
                    reply.send(Ok(()));
                }
            }
            ChunkMsg::Get(reply) => reply.send(self.bytes.clone()),
        }
        Ok(())
    }
}

/// What a file is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The name it was stored under.
    pub(crate) name: String,
    /// Bytes in all.
    pub(crate) size: u64,
    /// SHA-1 of the whole.
    pub(crate) sha1: String,
    /// SHA-1 of each chunk, in order.
    pub(crate) chunks: Vec<String>,
}

/// A stored file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct File {
    manifest: Option<Manifest>,
}

/// What a file understands.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FileMsg {
    /// Become this file. All its chunks are stored already. Repeating is harmless.
    Put(Manifest, Reply<Result<(), Refused>>),
    /// What are you made of?
    Get(Reply<Option<Manifest>>),
}

impl Entity for File {
    const KIND: &'static str = "file";
    type Msg = FileMsg;
    type Env = ();

    async fn handle(&mut self, msg: FileMsg, cx: &mut Cx<'_, Self>) -> Result<(), Failure> {
        match msg {
            FileMsg::Put(manifest, reply) => match &self.manifest {
                Some(old) if *old == manifest => reply.send(Ok(())),
                Some(_) => reply.send(Err(Refused::FileExists)),
                None => {
                    self.manifest = Some(manifest);
                    cx.save(self).await?;
                    reply.send(Ok(()));
                }
            },
            FileMsg::Get(reply) => reply.send(self.manifest.clone()),
        }
        Ok(())
    }
}

/// A line of a catalog.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Line {
    /// The file's id.
    pub(crate) id: String,
    /// Bytes in all.
    pub(crate) size: u64,
}

/// The names of a sixteenth of the files.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Catalog {
    lines: BTreeMap<String, Line>,
}

impl Catalog {
    fn has_room_for(&self, name: &str) -> bool {
        let names = self.lines.keys().map(String::as_str).chain([name]);
        names.map(|name| name.len() + LINE_BYTES).sum::<usize>() <= CATALOG_BYTES_MAX
    }
}

/// What a catalog understands.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum CatalogMsg {
    /// From now on `name` means this file. Repeating is harmless.
    Enter(String, Line, Reply<Result<(), Refused>>),
    /// Which file does `name` mean?
    Find(String, Reply<Option<Line>>),
    /// All names.
    List(Reply<Vec<(String, Line)>>),
}

impl Entity for Catalog {
    const KIND: &'static str = "catalog";
    type Msg = CatalogMsg;
    type Env = ();

    async fn handle(&mut self, msg: CatalogMsg, cx: &mut Cx<'_, Self>) -> Result<(), Failure> {
        match msg {
            CatalogMsg::Enter(name, line, reply) => {
                if self.lines.get(&name) == Some(&line) {
                    reply.send(Ok(()));
                } else if !self.lines.contains_key(&name) && !self.has_room_for(&name) {
                    reply.send(Err(Refused::CatalogFull { names: self.lines.len() }));
                } else {
                    self.lines.insert(name, line);
                    cx.save(self).await?;
                    reply.send(Ok(()));
                }
            }
            CatalogMsg::Find(name, reply) => reply.send(self.lines.get(&name).cloned()),
            CatalogMsg::List(reply) => {
                let lines = self.lines.iter();
                reply.send(lines.map(|(name, line)| (name.clone(), line.clone())).collect());
            }
        }
        Ok(())
    }
}
