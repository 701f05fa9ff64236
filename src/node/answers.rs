//! What a node answers on its admin socket.

use std::sync::{Arc, OnceLock, Weak};

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, StreamExt as _, TryFutureExt as _};
use tokio::sync::Semaphore;

use super::{Inner, Node, OperatorError};
use crate::admin::{Answer, Answers, Ask, Code, DrainAsk, Refusal};
use crate::authority::ViewAuthority as _;
use crate::base::{NodeId, Seams};
use crate::observe::{RingAskError, RingReport, ShardsReport, WhereReport};

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

    /// Computes a report on a thread of its own: in a large cluster it may take long, and the
    /// control runtime has other things to do.
    fn compute<T: Send + 'static>(
        &self,
        what: &'static str,
        report: impl FnOnce() -> Result<T, RingAskError> + Send + 'static,
    ) -> impl Future<Output = Result<T, Refusal>> + Send + 'static {
        let (seams, planning) = (self.seams.clone(), self.planning.clone());
        let name = format!("{what}-{}", self.name);
        let failed = move |error: &dyn std::fmt::Display| {
            Refusal::new(Code::Failed, &format!("no report on {what} can be computed: {error}"))
        };
        async move {
            let place = planning.acquire_owned().await.map_err(|error| failed(&error))?;
            let worker = seams.worker(&name).map_err(|error| failed(&error))?;
            let report = worker.run(move || {
                let report = report();
                drop(place);
                report
            });
            let report = report.await.map_err(|error| failed(&error))?;
            report.map_err(|error| Refusal::new(Code::Refused, &error.to_string()))
        }
    }
}

impl Answers for Answering {
    fn answer(&self, ask: Ask) -> BoxFuture<'static, Result<Answer, Refusal>> {
        let node = match self.node() {
            Ok(node) => node,
            Err(refusal) => return std::future::ready(Err(refusal)).boxed(),
        };
        let (name, view) = (self.name.clone(), node.parts.authority.view());
        let desk = node.parts.desk.clone();
        match ask {
            Ask::Nodes => async move { Ok(Answer::Nodes(desk.report().await)) }.boxed(),
            Ask::Voters => async move { Ok(Answer::Voters(desk.voters().await)) }.boxed(),
            Ask::Ring(ask) => {
                let report = self.compute("ring", move || RingReport::new(&view, &ask));
                report.map_ok(|report| Answer::Ring(Box::new(report))).boxed()
            }
            Ask::Shards(ask) => {
                let report = self.compute("shards", move || ShardsReport::new(&view, &name, &ask));
                report.map_ok(Answer::Shards).boxed()
            }
            Ask::Where(key) => {
                let report = self.compute("where", move || WhereReport::new(&view, &name, &key));
                report.map_ok(|report| Answer::Where(Box::new(report))).boxed()
            }
            Ask::Events(ask) => {
                let events = &node.parts.events;
                let page = events.page(events.begin(&ask));
                std::future::ready(Ok(Answer::Events(page))).boxed()
            }
            Ask::Drain(DrainAsk { node: whom, on, shrink_voters }) => async move {
                let report = match on {
                    Some(true) if shrink_voters => node.parts.drain_voter(&whom).await,
                    Some(on) => node.parts.drain(&whom, on).await,
                    None => Node(node).drain_report(&whom),
                };
                report.map(Answer::Drain).map_err(|error| refusal(&error))
            }
            .boxed(),
            Ask::Leave => async move {
                let report = node.parts.leave().await;
                report.map(Answer::Leave).map_err(|error| refusal(&error))
            }
            .boxed(),
            Ask::Set(ask) => async move {
                let report = node.parts.set(&ask).await;
                let report = report.map_err(|error| refusal(&error))?;
                Ok(Answer::Set(Box::new(report)))
            }
            .boxed(),
        }
    }

    fn follow(&self, ask: &Ask) -> Option<BoxStream<'static, Result<Answer, Refusal>>> {
        let Ask::Events(ask) = ask else { return None };
        if !ask.follow {
            return None;
        }
        let events = match self.node() {
            Ok(node) => node.parts.events.clone(),
            Err(refusal) => return Some(stream::iter([Err(refusal)]).boxed()),
        };
        Some(events.pages(ask).map(|page| Ok(Answer::Events(page))).boxed())
    }
}

/// Why what an operator wanted was not done.
fn refusal(error: &OperatorError) -> Refusal {
    let code = match error {
        OperatorError::Who(_)
        | OperatorError::Set(_)
        | OperatorError::Refused(_)
        | OperatorError::VotesForGood(_)
        | OperatorError::TooFew { .. } => Code::Refused,
        OperatorError::NotAgreed(_) | OperatorError::Unknown(_) => Code::Late,
    };
    Refusal::new(code, &error.to_string())
}
