//! A view authority in memory, for unit tests: it agrees with itself at once.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::{Grant, ProposeError, Proposed, Renew, RenewError, ViewAuthority, Wish};
use crate::base::{Epoch, Instant, Publisher, ShardId, Watched};
use crate::placement::{Change, ChangeId, Outcome, Proposal, View};

/// Applies every proposal at once and grants every renewal. Nothing is kept on disk; several nodes
/// in one process may share it behind an [`Arc`].
#[derive(Debug)]
pub struct SingleNode {
    view: Publisher<View>,
    /// Index of the last entry; locked while one is applied.
    last: Mutex<u64>,
    /// Nobody leads: those that a test has wished.
    wishes: Publisher<Vec<Wish>>,
}

impl SingleNode {
    /// Starts with `view`.
    #[must_use]
    pub fn new(view: View) -> Self {
        // Past every epoch that the view may hold already.
        let last = view.shards.iter().map(|shard| shard.epoch.0).max().unwrap_or(0);
        let (view, wishes) = (Publisher::new(view), Publisher::new(Vec::new()));
        Self { view, last: Mutex::new(last), wishes }
    }

    /// Applies `change` and publishes the view.
    pub fn change(&self, change: Change) -> Outcome {
        let mut last = self.last.lock();
        let id = ChangeId(u128::MAX - u128::from(*last));
        self.apply(&mut last, &Proposal { id, change })
    }

    /// Wishes this of the owners, as a leader would.
    pub fn wish(&self, wishes: Vec<Wish>) {
        self.wishes.publish(Arc::new(wishes));
    }

    fn apply(&self, last: &mut u64, proposal: &Proposal) -> Outcome {
        *last += 1;
        let mut view = View::clone(&self.view.get());
        let outcome = view.apply(*last, proposal);
        self.view.publish(Arc::new(view));
        outcome
    }
}

impl ViewAuthority for SingleNode {
    fn view(&self) -> Arc<View> {
        self.view.get()
    }

    fn watched(&self) -> Watched<View> {
        self.view.watched()
    }

    fn propose(
        &self,
        proposals: Vec<Proposal>,
        _deadline: Instant,
    ) -> BoxFuture<'_, Result<Proposed, ProposeError>> {
        let mut last = self.last.lock();
        let outcome = |one: Proposal| (one.id, self.apply(&mut last, &one));
        let outcomes = proposals.into_iter().map(outcome).collect();
        std::future::ready(Ok(outcomes)).boxed()
    }

    fn renew(
        &self,
        request: Renew,
        _deadline: Instant,
    ) -> BoxFuture<'_, Result<Grant, RenewError>> {
        let view = self.view.get();
        let lease = view.constants.as_ref().map_or_else(Default::default, |c| c.profile.lease);
        let grant =
            Grant { nonce: request.nonce, lease, version: view.version, wishes: Vec::new() };
        std::future::ready(Ok(grant)).boxed()
    }

    fn release(&self, _: ShardId, _: Epoch) {}

    fn wishes(&self) -> Watched<Vec<Wish>> {
        self.wishes.watched()
    }
}
