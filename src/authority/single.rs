//! A view authority in memory, for unit tests: it agrees with itself at once.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{Grant, ProposeError, Proposed, Renew, RenewError, ViewAuthority};
use crate::base::{Instant, Publisher, Watched};
use crate::placement::{Proposal, View};

/// Applies every proposal at once and grants every renewal. Nothing is kept on disk; several nodes
/// in one process may share it behind an [`Arc`].
#[derive(Debug)]
pub struct SingleNode {
    view: Publisher<View>,
}

impl SingleNode {
    /// Starts with `view`.
    #[must_use]
    pub fn new(view: View) -> Self {
        Self { view: Publisher::new(view) }
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
        _proposals: Vec<Proposal>,
        _deadline: Instant,
    ) -> BoxFuture<'_, Result<Proposed, ProposeError>> {
        std::future::ready(Err(ProposeError::NotExecuted("not built yet".into()))).boxed()
    }

    fn renew(&self, request: Renew, _deadline: Instant) -> BoxFuture<'_, Result<Grant, RenewError>> {
        let view = self.view.get();
        let lease = view.constants.as_ref().map_or_else(Default::default, |c| c.profile.lease);
        let grant = Grant { nonce: request.nonce, lease, version: view.version };
        std::future::ready(Ok(grant)).boxed()
    }
}
