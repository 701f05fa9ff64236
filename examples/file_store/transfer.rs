//! Files in and out of the store: in chunks, a bounded number of them at a time.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use sha1::{Digest as _, Sha1};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::client::Client;
use crate::entities::{
    CATALOGS, CHUNK_BYTES, CHUNKS_MAX, Line, Manifest, NAME_BYTES_MAX, hex, sha1_hex,
};
use crate::protocol::{Answer, Request};

/// Chunks under way at once: what bounds the memory of a transfer, at 4 MiB.
const CHUNKS_AT_ONCE: usize = 16;

fn unexpected(answer: &Answer) -> anyhow::Error {
    anyhow::anyhow!("the node answered something else: {answer:?}")
}

/// What is said of a file that is too large.
pub(crate) fn too_large() -> String {
    format!("a file has at most {} MiB: split it", (CHUNKS_MAX * CHUNK_BYTES) >> 20)
}

/// A random file id.
pub(crate) fn new_id() -> String {
    let id: u128 = rand::random();
    format!("{id:032x}")
}

/// Reads `source` to its end in chunks, and hashes the whole as it goes by.
struct Chunks<R> {
    source: R,
    whole: Sha1,
    size: u64,
    hashes: Vec<String>,
}

impl<R: AsyncRead + Unpin> Chunks<R> {
    async fn next(&mut self) -> anyhow::Result<Option<(String, Bytes)>> {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let limit = CHUNK_BYTES as u64;
        (&mut self.source).take(limit).read_to_end(&mut chunk).await?;
        if chunk.is_empty() {
            return Ok(None);
        }
        ensure!(self.hashes.len() < CHUNKS_MAX, "{}", too_large());
        self.whole.update(&chunk);
        self.size += chunk.len() as u64;
        let hash = sha1_hex(&chunk);
        self.hashes.push(hash.clone());
        Ok(Some((hash, chunk.into())))
    }
}

/// Stores what `source` yields under `name`, and gives back its id and manifest. The name means the
/// new file only once all of it is stored. `progress` hears of each stored chunk's bytes.
pub(crate) async fn put(
    client: &Client,
    name: &str,
    source: impl AsyncRead + Unpin,
    progress: impl Fn(u64),
) -> anyhow::Result<(String, Manifest)> {
    ensure!(name.len() <= NAME_BYTES_MAX, "a name has at most {NAME_BYTES_MAX} bytes: {name:?}");
    let chunks = Chunks { source, whole: Sha1::new(), size: 0, hashes: Vec::new() };
    let chunks = tokio::sync::Mutex::new(chunks);
    let read = stream::unfold((), |()| async {
        let next = chunks.lock().await.next().await.transpose()?;
        Some((next, ()))
    });
    let progress = &progress;
    read.map_ok(|(hash, bytes)| async move {
        let size = bytes.len() as u64;
        match client.ask(&Request::PutChunk { hash, bytes }).await? {
            Answer::Done => progress(size),
            other => return Err(unexpected(&other)),
        }
        Ok(())
    })
    .try_buffer_unordered(CHUNKS_AT_ONCE)
    .try_collect::<()>()
    .await?;
    let chunks = chunks.into_inner();
    let sha1 = hex(&chunks.whole.finalize());
    let manifest = Manifest { name: name.into(), size: chunks.size, sha1, chunks: chunks.hashes };
    let id = new_id();
    let file = Request::PutFile { id: id.clone(), manifest: manifest.clone() };
    let line = Line { id: id.clone(), size: manifest.size };
    for request in [file, Request::Enter { name: name.into(), line }] {
        match client.ask(&request).await? {
            Answer::Done => {}
            other => return Err(unexpected(&other)),
        }
    }
    Ok((id, manifest))
}

/// The file that `name` means.
pub(crate) async fn find(client: &Client, name: &str) -> anyhow::Result<(String, Manifest)> {
    let line = match client.ask(&Request::Find { name: name.into() }).await? {
        Answer::Line(Some(line)) => line,
        Answer::Line(None) => bail!("no file is stored as {name:?}; `ls` lists the names"),
        other => return Err(unexpected(&other)),
    };
    match client.ask(&Request::GetFile { id: line.id.clone() }).await? {
        Answer::File(Some(manifest)) => Ok((line.id, manifest)),
        Answer::File(None) => bail!("{name:?} is listed as {}, which is empty", line.id),
        other => Err(unexpected(&other)),
    }
}

/// Reads a stored file in order, checking every chunk and the whole, and hands its bytes to `sink`.
pub(crate) async fn read(
    client: &Client,
    manifest: &Manifest,
    mut sink: impl FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut whole = Sha1::new();
    let mut chunks = stream::iter(manifest.chunks.iter().cloned())
        .map(|hash| async move {
            let bytes = match client.ask(&Request::GetChunk { hash: hash.clone() }).await? {
                Answer::Chunk(Some(bytes)) => bytes,
                Answer::Chunk(None) => bail!("chunk {hash} is missing"),
                other => return Err(unexpected(&other)),
            };
            ensure!(sha1_hex(&bytes) == hash, "chunk {hash} was damaged on the way");
            Ok(bytes)
        })
        .buffered(CHUNKS_AT_ONCE);
    while let Some(bytes) = chunks.next().await {
        let bytes = bytes?;
        whole.update(&bytes);
        sink(&bytes)?;
    }
    let sha1 = hex(&whole.finalize());
    ensure!(sha1 == manifest.sha1, "{}: the whole hashes to {sha1}", manifest.name);
    Ok(())
}

/// All names with their files, sorted by name.
pub(crate) async fn list(client: &Client) -> anyhow::Result<Vec<(String, Line)>> {
    let mut names = Vec::new();
    for catalog in 0..CATALOGS {
        match client.ask(&Request::List { catalog }).await? {
            Answer::Lines(lines) => names.extend(lines),
            other => return Err(unexpected(&other)),
        }
    }
    names.sort();
    Ok(names)
}

/// The regular files below `path` (itself, if it is one), sorted, without what `left_out` names.
pub(crate) fn files_below(path: &Path, left_out: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    let meta = path.metadata().with_context(|| format!("reading {}", path.display()))?;
    if meta.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    ensure!(meta.is_dir(), "{} is neither a file nor a directory", path.display());
    let mut files = Vec::new();
    let mut open = vec![path.to_owned()];
    while let Some(folder) = open.pop() {
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            let name = entry.file_name();
            if kind.is_dir() && !left_out.iter().any(|left| name == **left) {
                open.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}
