//! The asking side: one loop per node, which rests while raft brings the views.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::super::office::{decode, encode};
use super::{News, Poll, Told as Answer};
use crate::authority::RaftCore;
use crate::authority::renewal::Told;
use crate::base::{Instant, NodeId, Seams, Version, within};
use crate::transport::{AskError, Class, Head, Links, Service};

/// The way of a [`Poll`] to another node.
pub(in crate::authority) trait PollWire:
    std::fmt::Debug + Send + Sync + 'static
{
    /// Asks the feed of `to`.
    fn poll(
        &self,
        to: NodeId,
        body: Bytes,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Bytes, AskError>>;
}

impl PollWire for Links {
    fn poll(
        &self,
        to: NodeId,
        body: Bytes,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Bytes, AskError>> {
        async move {
            let head = Head::default();
            Self::ask(self, &to, Class::Control, Service::View, head, body, deadline).await
        }
        .boxed()
    }
}

/// Keeps the view of one node new by asking others, whenever raft does not bring it.
#[derive(Debug)]
pub(in crate::authority) struct Follower {
    seams: Seams,
    core: RaftCore,
    wire: Arc<dyn PollWire>,
    me: NodeId,
    /// D.
    lease: Duration,
    /// The version of a grant that came before its view.
    wanted: Mutex<Version>,
    /// Wakes the loop when that happens.
    hurry: Notify,
}

impl Told for Follower {
    /// The leader has agreed on `granted`, which is not known here yet: whoever is asked may have
    /// died.
    fn behind(&self, granted: Version) {
        let mut wanted = self.wanted.lock();
        if granted > *wanted {
            *wanted = granted;
            self.hurry.notify_one();
        }
    }

    fn told(&self) -> Version {
        self.core.told_beyond_raft()
    }

    fn refuted(&self, told: Version, granted: Version) {
        self.core.refute(told, granted);
    }
}

impl Follower {
    pub(in crate::authority) fn new(
        seams: Seams,
        core: RaftCore,
        wire: Arc<dyn PollWire>,
        (me, lease): (NodeId, Duration),
    ) -> Arc<Self> {
        let (wanted, hurry) = (Mutex::default(), Notify::new());
        Arc::new(Self { seams, core, wire, me, lease, wanted, hurry })
    }

    fn is_behind(&self) -> bool {
        self.core.known().version < *self.wanted.lock()
    }

    /// Asks without end.
    pub(in crate::authority) async fn run(self: Arc<Self>) {
        let clock = self.seams.clock.clone();
        // Each node begins with another voter.
        let mut place = self.me.as_str().bytes().map(usize::from).sum::<usize>();
        let mut in_vain = 0_usize;
        loop {
            if self.core.hears_leader().await {
                in_vain = 0;
                let _ = within(&*clock, clock.now() + self.lease / 4, self.hurry.notified()).await;
                continue;
            }
            let others = self.others(in_vain);
            let Some(to) = place.checked_rem(others.len()).and_then(|at| others.get(at)) else {
                clock.sleep(self.lease / 4).await;
                continue;
            };
            if self.ask(to).await {
                in_vain = 0;
                continue;
            }
            (place, in_vain) = (place.wrapping_add(1), in_vain + 1);
            // Once round in vain: not again at once.
            if in_vain.is_multiple_of(others.len()) {
                clock.sleep(self.lease / 16).await;
            }
        }
    }

    /// Whom to ask: the voters; after two rounds in vain every other member, for the voters may all
    /// be others by now.
    fn others(&self, in_vain: usize) -> Vec<NodeId> {
        let voters: Vec<_> = self.core.voters().into_values().map(|voter| voter.node).collect();
        let mut others: Vec<NodeId> =
            voters.iter().filter(|node| **node != self.me).cloned().collect();
        if in_vain >= others.len() * 2 {
            let view = self.core.known();
            let is_more = |node: &&NodeId| **node != self.me && !voters.contains(node);
            others.extend(view.members.keys().filter(is_more).cloned());
        }
        others
    }

    /// One ask of `to`; whether it is worth asking it again.
    async fn ask(&self, to: &NodeId) -> bool {
        let clock = &*self.seams.clock;
        let old = self.core.known();
        // The other half is for the way, and for a clock that runs at another rate.
        let patience_ms = u64::try_from((self.lease / 2).as_millis()).unwrap_or(u64::MAX);
        let body = encode(&Poll { have: old.version, patience_ms });
        let mut asked = self.wire.poll(to.clone(), body, clock.now() + self.lease);
        let answer = tokio::select! {
            biased;
            answer = &mut asked => Some(answer),
            () = self.behind() => None,
        };
        let answer = match answer {
            Some(answer) => answer,
            // What the leader has agreed on takes a moment to come to other voters; no longer.
            None => match within(clock, clock.now() + self.lease / 20, asked).await {
                Ok(answer) => answer,
                Err(_) => return false,
            },
        };
        let Some(told) = answer.ok().and_then(|body| decode::<Answer>(&body)) else { return false };
        self.core.hint(told.leader);
        if told.news.is_empty() {
            return told.first_hand && !self.is_behind();
        }
        let news = decode::<News>(&told.news);
        let Some(view) = news.and_then(|news| news.apply(&old)) else {
            tracing::warn!(%to, "tells no view that follows from the one here");
            return false;
        };
        self.core.tell(Arc::new(view));
        told.first_hand
    }

    /// Waits until a grant came before its view.
    async fn behind(&self) {
        while !self.is_behind() {
            self.hurry.notified().await;
        }
    }
}
