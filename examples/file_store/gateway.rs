//! The node's side of the socket in its data directory: turns requests into asks to entities.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use evertree::base::NodeId;
use evertree::entity::{AskError, EntityRef};
use evertree::node::Node;
use evertree::placement::Shard;
use futures::{SinkExt as _, StreamExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::codec::Framed;

use crate::entities::{Catalog, CatalogMsg, Chunk, ChunkMsg, File, FileMsg, Refused};
use crate::protocol::{Answer, Place, Request, Status, decode, encode, frames, socket_in};

/// Requests of one connection that are worked on at once.
const AT_ONCE_MAX: usize = 32;
/// How long an entity may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// Longest path of a socket on Linux, from `unix(7)`: 108 bytes with the zero at its end.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Pause after a connection that could not be accepted.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Fails if the path of the socket is longer than the system allows.
pub(crate) fn check(data: &Path) -> anyhow::Result<()> {
    let path = socket_in(data);
    let bytes = path.as_os_str().len();
    ensure!(
        bytes <= SOCKET_PATH_BYTES_MAX,
        "{}: the path of a socket has at most {SOCKET_PATH_BYTES_MAX} bytes, this one has {bytes}: \
         choose a shorter data directory, or a relative one",
        path.display()
    );
    Ok(())
}

/// Listens for the command in the data directory, for its owner only.
pub(crate) fn listen(data: &Path) -> anyhow::Result<UnixListener> {
    let path = socket_in(data);
    let failed = || format!("listening at {}", path.display());
    // The directory is locked by this process: a socket in it is a dead one's.
    if path.exists() {
        std::fs::remove_file(&path).with_context(failed)?;
    }
    let listener = UnixListener::bind(&path).with_context(failed)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).with_context(failed)?;
    Ok(listener)
}

/// Serves connections as long as it is polled.
pub(crate) async fn serve(listener: UnixListener, node: Node) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, node.clone()))),
            // Most likely too many open files, which passes when connections end.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; trying again");
                tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
            }
        }
    }
}

async fn connection(stream: UnixStream, node: Node) {
    let (mut sink, mut source) = Framed::new(stream, frames()).split();
    let (answers, mut answered) = mpsc::channel::<Bytes>(AT_ONCE_MAX);
    tokio::spawn(async move {
        while let Some(frame) = answered.recv().await {
            if sink.send(frame).await.is_err() {
                break;
            }
        }
    });
    let slots = Arc::new(Semaphore::new(AT_ONCE_MAX));
    while let Some(Ok(frame)) = source.next().await {
        let decoded: io::Result<(u64, Request)> = decode(&frame);
        let Ok((call, request)) = decoded else { break };
        let Ok(slot) = slots.clone().acquire_owned().await else { break };
        let (node, answers) = (node.clone(), answers.clone());
        tokio::spawn(async move {
            let answer = answer(&node, request).await;
            if let Ok(frame) = encode(call, &answer) {
                // A command that is gone does not want the answer.
                let _ = answers.send(frame).await;
            }
            drop(slot);
        });
    }
}

async fn answer(node: &Node, request: Request) -> Answer {
    match request {
        Request::PutChunk { hash, bytes } => {
            let chunk: EntityRef<Chunk> = node.entities().get(&hash);
            stored(chunk.ask_within(ANSWER_WITHIN, |reply| ChunkMsg::Put(bytes, reply)).await)
        }
        Request::GetChunk { hash } => {
            let chunk: EntityRef<Chunk> = node.entities().get(&hash);
            got(chunk.ask_within(ANSWER_WITHIN, ChunkMsg::Get).await, Answer::Chunk)
        }
        Request::PutFile { id, manifest } => {
            let file: EntityRef<File> = node.entities().get(&id);
            stored(file.ask_within(ANSWER_WITHIN, |reply| FileMsg::Put(manifest, reply)).await)
        }
        Request::GetFile { id } => {
            let file: EntityRef<File> = node.entities().get(&id);
            got(file.ask_within(ANSWER_WITHIN, FileMsg::Get).await, Answer::File)
        }
        Request::Enter { name, line } => {
            let catalog: EntityRef<Catalog> = catalog_for(node, &name);
            let enter = |reply| CatalogMsg::Enter(name, line, reply);
            stored(catalog.ask_within(ANSWER_WITHIN, enter).await)
        }
        Request::Find { name } => {
            let catalog: EntityRef<Catalog> = catalog_for(node, &name);
            let found =
                catalog.ask_within(ANSWER_WITHIN, |reply| CatalogMsg::Find(name, reply)).await;
            got(found, Answer::Line)
        }
        Request::List { catalog } => {
            let catalog: EntityRef<Catalog> = node.entities().get(&catalog.to_string());
            got(catalog.ask_within(ANSWER_WITHIN, CatalogMsg::List).await, Answer::Lines)
        }
        Request::Where { kind, id } => Answer::Where(place(node, &kind, &id)),
        Request::Status => Answer::Status(status(node)),
    }
}

fn catalog_for(node: &Node, name: &str) -> EntityRef<Catalog> {
    node.entities().get(&crate::entities::catalog_of(name))
}

fn stored(asked: Result<Result<(), Refused>, AskError>) -> Answer {
    match asked {
        Ok(Ok(())) => Answer::Done,
        Ok(Err(refused)) => Answer::Refused(refused.to_string()),
        Err(error) => Answer::Retry(error.to_string()),
    }
}

fn got<T>(asked: Result<T, AskError>, answer: impl FnOnce(T) -> Answer) -> Answer {
    asked.map_or_else(|error| Answer::Retry(error.to_string()), answer)
}

fn place(node: &Node, kind: &str, id: &str) -> Place {
    let view = node.view();
    let shard = view.shard(node.shard_of(kind, id));
    let holders = shard.iter().flat_map(|shard| &shard.in_sync);
    Place {
        owner: shard.and_then(|shard| Some(shard.owner.as_ref()?.node.to_string())),
        holders: holders
            .map(|store| match view.member_of_store(*store) {
                Some((node, _)) => node.to_string(),
                None => format!("{store} (away)"),
            })
            .collect(),
    }
}

fn status(node: &Node) -> Status {
    let view = node.view();
    let copies = view.constants.as_ref().map_or(0, |constants| usize::from(constants.copies));
    let wanted = copies.min(view.members.len());
    let with_records: Vec<&Shard> =
        view.numbered().map(|(_, shard)| shard).filter(|shard| shard.has_records).collect();
    let is_complete = |shard: &&&Shard| {
        let present = shard.in_sync.iter().filter(|store| view.member_of_store(**store).is_some());
        shard.owner.is_some() && present.count() >= wanted
    };
    let owned = |name: &NodeId| {
        let owns = |shard: &&&Shard| shard.owner.as_ref().is_some_and(|owner| owner.node == *name);
        with_records.iter().filter(owns).count()
    };
    Status {
        name: node.name().to_string(),
        version: view.version.0,
        members: view
            .members
            .iter()
            .map(|(name, member)| (name.to_string(), member.boot.0, owned(name)))
            .collect(),
        shards: with_records.len(),
        complete: with_records.iter().filter(is_complete).count(),
        leader: node.leader().map(|leader| leader.to_string()),
        serving: node.is_serving(),
    }
}
