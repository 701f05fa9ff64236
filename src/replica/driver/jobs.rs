//! What is under way outside the driver: transactions, frames, proposals, probes.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::Driver;
use crate::authority::{ProposeError, Proposed};
use crate::base::{Epoch, Instant, NodeId, ShardId, StoreId};
use crate::placement::{Change, ChangeId, Outcome, Proposal};
use crate::replica::frame::{Body, Frame, Item, Verdict, decode, encode};
use crate::replica::primary::Input;
use crate::storage::{Op, OpResult, StoreError};
use crate::transport::{AskError, Class, Head, Service};

/// Bytes of one frame on the message connection, where the next item does not fit; larger items
/// go alone, on the bulk connection.
const FRAME_BYTES_MAX: usize = 1_280 << 10;
/// Until the own store is asked again after it had no room.
const ROOM_PAUSE: Duration = Duration::from_millis(10);

/// One frame item with what its answer is reported under.
pub(super) struct Sending {
    pub(super) shard: ShardId,
    pub(super) epoch: Epoch,
    pub(super) order: u64,
    pub(super) body: Body,
}

impl Sending {
    pub(super) fn is_bulk(&self) -> bool {
        self.body.is_bulk() || self.body.bytes() > FRAME_BYTES_MAX
    }
}

/// A store and what was asked of it, with the number of each question.
pub(super) struct AskedOf {
    store: StoreId,
    items: Vec<(ShardId, Epoch, u64)>,
}

/// What ended.
pub(super) enum Ended {
    Applied { shards: Vec<(ShardId, Epoch)>, result: Result<Vec<OpResult>, StoreError> },
    Asked { asked: AskedOf, answer: Result<bytes::Bytes, AskError> },
    Proposed { ids: Vec<(ShardId, Epoch, ChangeId)>, result: Result<Proposed, ProposeError> },
}

pub(super) type Job = BoxFuture<'static, Ended>;

impl Driver {
    /// Starts what the pass has gathered.
    pub(super) fn flush(&mut self) {
        self.flush_ops();
        for ((store, bulk), sendings) in std::mem::take(&mut self.gathered.sends) {
            let mut frame = Vec::new();
            let mut bytes = 0;
            for sending in sendings {
                let more = sending.body.bytes();
                if bytes + more > FRAME_BYTES_MAX && !frame.is_empty() {
                    self.ask(store, bulk, std::mem::take(&mut frame));
                    bytes = 0;
                }
                bytes += more;
                frame.push(sending);
            }
            self.ask(store, bulk, frame);
        }
        for store in self.offers.take_probes() {
            self.ask(store, false, Vec::new());
        }
        self.flush_proposals();
    }

    fn flush_ops(&mut self) {
        // One call at a time, so that one the store has no room for yet is not overtaken by what
        // follows it. What comes meanwhile is the next call, as in a group commit.
        if self.applying || self.gathered.ops.is_empty() {
            return;
        }
        self.applying = true;
        let gathered = std::mem::take(&mut self.gathered.ops);
        let shards = gathered.iter().map(|&(shard, epoch, _)| (shard, epoch)).collect();
        let ops: Vec<Op> = gathered.into_iter().map(|(_, _, op)| op).collect();
        let (store, clock) =
            (self.shared.parts.store.clone(), self.shared.parts.seams.clock.clone());
        let applied = async move {
            loop {
                match store.apply(ops.clone()).await {
                    Err(StoreError::Overloaded) => clock.sleep(ROOM_PAUSE).await,
                    result => return Ended::Applied { shards, result },
                }
            }
        };
        self.jobs.push(applied.boxed());
    }

    /// The node that runs on `store` at present.
    fn node_of(&self, store: StoreId) -> Option<NodeId> {
        let (node, member) = self.view.member_of_store(store)?;
        self.shared.parts.links.learn(node, &member.addr);
        Some(node.clone())
    }

    fn ask(&mut self, store: StoreId, bulk: bool, sendings: Vec<Sending>) {
        let items = sendings.iter().map(|one| (one.shard, one.epoch, one.order)).collect();
        let asked = AskedOf { store, items };
        let Some(node) = self.node_of(store) else {
            let why = "no member runs on this store".into();
            let ended = Ended::Asked { asked, answer: Err(AskError::NotExecuted(why)) };
            self.jobs.push(std::future::ready(ended).boxed());
            return;
        };
        let items = sendings
            .into_iter()
            .map(|Sending { shard, epoch, order: _, body }| Item { shard, epoch, body })
            .collect();
        let body = encode(&Frame { to: store, items });
        let head = Head { version: self.view.version, ..Head::default() };
        let class = if bulk { Class::Bulk } else { Class::Message };
        let deadline = self.now() + self.ack_timeout();
        let links = self.shared.parts.links.clone();
        self.jobs.push(
            async move {
                let ask = links.ask(&node, class, Service::Replica, head, body, deadline);
                Ended::Asked { asked, answer: ask.await }
            }
            .boxed(),
        );
    }

    pub(super) fn ack_timeout(&self) -> Duration {
        Self::terms_of(&self.view).map_or_else(Duration::default, |terms| terms.ack_timeout)
    }

    fn flush_proposals(&mut self) {
        if self.gathered.proposals.is_empty() {
            return;
        }
        // A leader may have to wait before it lets anybody shrink; the others do not wait with it.
        let gathered = std::mem::take(&mut self.gathered.proposals);
        let shrinks =
            |(_, _, one): &(ShardId, Epoch, Proposal)| matches!(one.change, Change::Shrink { .. });
        let (shrinks, others) = gathered.into_iter().partition(shrinks);
        for gathered in [others, shrinks] {
            self.propose(gathered);
        }
    }

    fn propose(&mut self, gathered: Vec<(ShardId, Epoch, Proposal)>) {
        if gathered.is_empty() {
            return;
        }
        let ids = gathered.iter().map(|(shard, epoch, one)| (*shard, *epoch, one.id)).collect();
        let proposals = gathered.into_iter().map(|(_, _, proposal)| proposal).collect();
        let authority = self.shared.parts.authority.clone();
        let deadline = self.now() + self.ack_timeout() * 2;
        self.jobs.push(
            async move {
                let result = authority.propose(proposals, deadline).await;
                Ended::Proposed { ids, result }
            }
            .boxed(),
        );
    }

    /// Reports what ended to the machines it is of.
    pub(super) fn ended(&mut self, ended: Ended) {
        let now = self.now();
        match ended {
            Ended::Applied { shards, result: Ok(results) } => {
                self.applying = false;
                for ((shard, epoch), result) in shards.into_iter().zip(results) {
                    self.step_under(now, (shard, epoch), Input::Stored(result));
                }
            }
            Ended::Applied { result: Err(error), .. } => {
                // Only a store that has failed answers so: it never will again.
                tracing::error!(%error, "the store failed: this node owns nothing any more");
                *self.shared.failed.lock() = Some(error.to_string());
            }
            Ended::Asked { asked, answer } => self.answered(now, asked, answer),
            Ended::Proposed { ids, result } => {
                let outcomes: BTreeMap<ChangeId, Outcome> =
                    result.unwrap_or_default().into_iter().collect();
                for (shard, epoch, id) in ids {
                    let outcome = outcomes.get(&id).cloned();
                    self.step_under(now, (shard, epoch), Input::Proposed { id, outcome });
                }
            }
        }
    }

    fn answered(&mut self, now: Instant, asked: AskedOf, answer: Result<bytes::Bytes, AskError>) {
        let AskedOf { store, items } = asked;
        let verdicts = answer.ok().and_then(|body| decode::<Vec<Verdict>>(&body));
        let verdicts = verdicts.filter(|verdicts| verdicts.len() == items.len());
        let waiting = self.offers.answered(now, store, verdicts.is_some());
        for shard in waiting {
            self.step(now, shard, Input::Heard { store, at: now });
        }
        let mut verdicts = verdicts.map(Vec::into_iter);
        for (shard, epoch, order) in items {
            let input = match verdicts.as_mut().and_then(Iterator::next) {
                Some(verdict) => Input::Answered { store, order, verdict },
                None => Input::Unanswered { store, order },
            };
            self.step_under(now, (shard, epoch), input);
        }
    }

    /// Steps the machine of that epoch; an answer to another's question is nobody's.
    fn step_under(&mut self, now: Instant, (shard, epoch): (ShardId, Epoch), input: Input) {
        if self.shards.get(&shard).is_some_and(|active| active.epoch == epoch) {
            self.step(now, shard, input);
        }
    }
}
