//! Children that are ractor actors.

use std::fmt;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use ractor::Actor;

use super::launch::{Launch, NoStart, Post, Running, StopWay, spawn};
use super::reference::ChildRef;
use crate::restart::{Restart, Shutdown};

/// The spec of a child that is a ractor actor. Made by [`worker`](super::worker).
pub struct Worker<A: Actor> {
    pub(super) name: String,
    pub(super) restart: Restart,
    pub(super) shutdown: Shutdown,
    pub(super) launch: ActorLaunch<A>,
    /// The ref given last was another child's already, or the child had one.
    pub(super) bound_twice: bool,
}

type Make<A> = Arc<dyn Fn() -> (A, <A as Actor>::Arguments) + Send + Sync>;

pub(super) struct ActorLaunch<A: Actor> {
    pub(super) make: Make<A>,
    pub(super) bind: Option<ChildRef<A::Msg>>,
}

impl<A: Actor> Worker<A> {
    /// When it is restarted; `Permanent` if nothing is said.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// How it is stopped: a time after which it is killed, or a [`Shutdown`]; 5 s if nothing is
    /// said.
    #[must_use]
    pub fn shutdown(mut self, shutdown: impl Into<Shutdown>) -> Self {
        self.shutdown = shutdown.into();
        self
    }

    /// Lets `child` refer to this child's present incarnation. A ref has one child and a child one
    /// ref, cloned as often as needed; a second `bind` is an error at start.
    #[must_use]
    pub fn bind(mut self, child: &ChildRef<A::Msg>) -> Self {
        if child.claim() && self.launch.bind.is_none() {
            self.launch.bind = Some(child.clone());
        } else {
            self.bound_twice = true;
        }
        self
    }
}

impl<A: Actor> fmt::Debug for Worker<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("name", &self.name)
            .field("restart", &self.restart)
            .field("shutdown", &self.shutdown)
            .finish_non_exhaustive()
    }
}

impl<A: Actor> Launch for ActorLaunch<A> {
    fn launch(&self, post: Post) -> BoxFuture<'static, Result<Running, NoStart>> {
        let (make, bind) = (self.make.clone(), self.bind.clone());
        async move {
            let (actor, arguments) = make();
            let (child, task) = spawn(actor, arguments, post.parent).await?;
            if let Some(bind) = bind {
                bind.settle(child.clone(), post.incarnation, post.setting.clock.clone());
            }
            let (cell, stop) = (child.get_cell(), StopWay::Actor);
            Ok(Running { cell, task, stop, subtree: None })
        }
        .boxed()
    }

    fn vacate(&self) -> u64 {
        if let Some(bind) = &self.bind {
            bind.vacate();
        }
        0
    }

    fn close(&self) -> u64 {
        if let Some(bind) = &self.bind {
            bind.close();
        }
        0
    }
}
