//! The backup's half: takes what an owner sends, if it is the owner's to send.
//!
//! The check is pure; the epoch itself is checked by the store, which takes a write only under
//! exactly the epoch that is sealed on its disk.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::ReplicaParts;
use super::frame::{Body, Frame, Item, Verdict, decode, encode};
use crate::authority::ViewAuthority;
use crate::base::{Bug, Epoch, ShardId, planted};
use crate::placement::View;
use crate::storage::{OpResult, ShardHead, Store, StoreError};
use crate::transport::{Head, Inbound, Peer, ReplyTo};

/// Frames that may wait; further ones are refused, and their owners send again.
const FRAMES_MAX: usize = 1_024;
/// Frames taken into one transaction.
const BATCH_MAX: usize = 64;

/// Whether `from` may change `shard` here under `epoch`: never under an epoch lower than that of
/// the newest view known here, and under that one only if it is the owner.
pub(super) fn admits(view: &View, from: &Peer, shard: ShardId, epoch: Epoch) -> bool {
    let Some(known) = view.shard(shard) else { return false };
    let owner = known.owner.as_ref();
    let is_owner = || owner.is_some_and(|owner| owner.node == from.node && owner.boot == from.boot);
    match epoch.cmp(&known.epoch) {
        Ordering::Less => planted(Bug::OldEpochStored),
        Ordering::Equal => is_owner(),
        // Of a view that has not come here yet.
        Ordering::Greater => true,
    }
}

struct Asked {
    from: Peer,
    frame: Frame,
    reply: ReplyTo,
}

/// Queues what arrives.
pub(super) struct Backup {
    asked: mpsc::Sender<Asked>,
}

impl fmt::Debug for Backup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backup")
    }
}

impl Backup {
    /// Starts the task that serves the queue in order.
    pub(super) fn start(parts: &ReplicaParts) -> Arc<Self> {
        let (asked, inbox) = mpsc::channel(FRAMES_MAX);
        let (store, authority) = (parts.store.clone(), parts.authority.clone());
        parts.seams.work.spawn(serve(store, authority, inbox));
        Arc::new(Self { asked })
    }
}

impl Inbound for Backup {
    fn tell(&self, _from: &Peer, _head: Head, _body: Bytes) {
        // Owners only ask: a tell is of no version of this protocol.
    }

    fn ask(&self, from: &Peer, _head: Head, body: Bytes, reply: ReplyTo) {
        let Some(frame) = decode::<Frame>(&body) else {
            reply.refuse(Bytes::from_static(b"malformed"));
            return;
        };
        let full = self.asked.try_send(Asked { from: from.clone(), frame, reply });
        if let Err(mpsc::error::TrySendError::Full(one) | mpsc::error::TrySendError::Closed(one)) =
            full
        {
            one.reply.refuse(Bytes::from_static(b"overloaded"));
        }
    }
}

async fn serve(store: Store, authority: Arc<dyn ViewAuthority>, mut inbox: mpsc::Receiver<Asked>) {
    let mut batch = Vec::new();
    while inbox.recv_many(&mut batch, BATCH_MAX).await > 0 {
        // Read before the store is: what a later view forbids, the seal forbids.
        let view = authority.view();
        let mut ops = Vec::new();
        let mut answers = Vec::new();
        for Asked { from, frame, reply } in batch.drain(..) {
            if frame.to != store.id() {
                reply.refuse(Bytes::from_static(b"another store"));
                continue;
            }
            let marks = frame.items.into_iter().map(|Item { shard, epoch, body }| {
                let admitted = admits(&view, &from, shard, epoch);
                let lists = body == Body::List;
                if admitted {
                    ops.push(body.into_op(shard, epoch));
                }
                admitted.then_some((shard, lists))
            });
            answers.push((marks.collect::<Vec<_>>(), reply));
        }
        let results = if ops.is_empty() { Ok(Vec::new()) } else { store.apply(ops).await };
        match results {
            Ok(results) => answer(&store, answers, results),
            // Dropped replies say *unknown*; a store that failed stops the node elsewhere.
            Err(error) => tracing::error!(%error, "a replica's writes failed"),
        }
    }
}

type Marks = Vec<Option<(ShardId, bool)>>;

fn answer(store: &Store, asked: Vec<(Marks, ReplyTo)>, results: Vec<OpResult>) {
    let mut results = results.into_iter();
    for (marks, reply) in asked {
        let verdict = |mark: Option<(ShardId, bool)>| match mark {
            None => Ok(Verdict::Outdated),
            Some((shard, lists)) => results
                .next()
                .map_or(Ok(Verdict::Outdated), |result| verdict_of(store, shard, lists, &result)),
        };
        match marks.into_iter().map(verdict).collect::<Result<Vec<_>, StoreError>>() {
            Ok(verdicts) => reply.send(encode(&verdicts)),
            Err(error) => tracing::error!(%error, "an inventory cannot be read"),
        }
    }
}

fn verdict_of(
    store: &Store,
    shard: ShardId,
    lists: bool,
    result: &OpResult,
) -> Result<Verdict, StoreError> {
    let head: ShardHead = *result.head();
    match result {
        OpResult::Done(_) if lists => Ok(Verdict::Listed(head, store.inventory(shard)?)),
        OpResult::Done(_) => Ok(Verdict::Done(head)),
        OpResult::Refused { why, .. } => {
            tracing::debug!(%shard, ?head, why, "refused as a replica");
            Ok(Verdict::Refused(head))
        }
    }
}
