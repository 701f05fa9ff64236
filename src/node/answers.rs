//! What a node answers on its admin socket.

use std::sync::{Arc, OnceLock, Weak};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::Semaphore;

use super::Inner;
use crate::admin::{Answer, Answers, Ask, Code, Refusal};
use crate::authority::ViewAuthority as _;
use crate::base::{NodeId, Seams};
use crate::observe::{RingAsk, RingReport};
use crate::placement::View;

/// Answers for a node from before it has started until it is gone.
#[derive(Debug)]
pub(super) struct Answering {
    name: NodeId,
    seams: Seams,
    /// Put in once it has started.
    node: OnceLock<Weak<Inner>>,
    /// One plan at a time: its thread goes on even where nobody waits for it any more.
    planning: Arc<Semaphore>,
}

impl Answering {
    pub(super) fn new(name: NodeId, seams: Seams) -> Self {
        let planning = Arc::new(Semaphore::new(1));
        Self { name, seams, node: OnceLock::new(), planning }
    }

    /// The node has started.
    pub(super) fn started(&self, node: &Arc<Inner>) {
        // Once for each node.
        let _ = self.node.set(Arc::downgrade(node));
    }

    fn node(&self) -> Result<Arc<Inner>, Refusal> {
        let name = &self.name;
        let node = self.node.get().ok_or_else(|| {
            let why = format!("{name} starts: it waits until its cluster has taken it in");
            Refusal::new(Code::NotRunning, &why)
        })?;
        let stops = || Refusal::new(Code::NotRunning, &format!("{name} stops"));
        node.upgrade().ok_or_else(stops)
    }

    /// Planning may take long in a large cluster: not on the control runtime.
    fn ring(
        &self,
        view: Arc<View>,
        ask: RingAsk,
    ) -> impl Future<Output = Result<Answer, Refusal>> + Send + 'static {
        let (seams, planning) = (self.seams.clone(), self.planning.clone());
        let name = format!("ring-{}", self.name);
        let failed = |error: &dyn std::fmt::Display| {
            Refusal::new(Code::Failed, &format!("the ring cannot be computed: {error}"))
        };
        async move {
            let place = planning.acquire_owned().await.map_err(|error| failed(&error))?;
            let worker = seams.worker(&name).map_err(|error| failed(&error))?;
            let report = worker.run(move || {
                let report = RingReport::new(&view, &ask);
                drop(place);
                report
            });
            let report = report.await.map_err(|error| failed(&error))?;
            let refused =
                |error: &dyn std::fmt::Display| Refusal::new(Code::Refused, &error.to_string());
            Ok(Answer::Ring(Box::new(report.map_err(|error| refused(&error))?)))
        }
    }
}

impl Answers for Answering {
    fn answer(&self, ask: Ask) -> BoxFuture<'static, Result<Answer, Refusal>> {
        let node = match self.node() {
            Ok(node) => node,
            Err(refusal) => return std::future::ready(Err(refusal)).boxed(),
        };
        match ask {
            Ask::Nodes => {
                let desk = node.parts.desk.clone();
                async move { Ok(Answer::Nodes(desk.report().await)) }.boxed()
            }
            Ask::Ring(ask) => self.ring(node.parts.authority.view(), ask).boxed(),
        }
    }
}
