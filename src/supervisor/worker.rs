//! Children that are ractor actors.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use ractor::{Actor, RpcReplyPort};

use super::checkpoint::Checkpoint;
use super::gauge::Gauge;
use super::hang::{Probe, Watch};
use super::launch::{Launch, NoStart, Post, Running, StopWay, spawn};
use super::options::{ChildOptions, Objection, say_options, span_objection};
use super::reference::ChildRef;
use super::shell::Shell;
use crate::restart::Shutdown;

/// How many messages of its ref may wait for a child if nothing is said.
pub const MAILBOX_DEFAULT: usize = 65_536;

/// The most messages that can be asked to wait, or to be held.
pub const MAILBOX_MAX: usize = 16_777_216;

/// The spec of a child that is a ractor actor. Made by [`worker`](super::worker).
pub struct Worker<A: Actor> {
    pub(super) name: String,
    pub(super) options: ChildOptions,
    pub(super) launch: ActorLaunch<A>,
    /// The ref given last was another child's already, or the child had one.
    pub(super) bound_twice: bool,
}

type Make<A> = Arc<dyn Fn() -> (A, <A as Actor>::Arguments) + Send + Sync>;

pub(super) struct ActorLaunch<A: Actor> {
    make: Make<A>,
    bind: Option<ChildRef<A::Msg>>,
    hold: u32,
    mailbox: Option<u32>,
    /// What few children have.
    watch: Option<Box<Watch<A::Msg>>>,
}

impl<A: Actor> Worker<A> {
    pub(super) fn new(
        name: String,
        make: impl Fn() -> (A, A::Arguments) + Send + Sync + 'static,
    ) -> Self {
        let launch =
            ActorLaunch { make: Arc::new(make), bind: None, hold: 0, mailbox: None, watch: None };
        let options = ChildOptions::new(Shutdown::WORKER);
        Self { name, options, launch, bound_twice: false }
    }

    say_options!();

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

    /// Holds up to `messages` of its ref while there is no incarnation, for the next. None if
    /// nothing is said: they are refused. At most as many as may wait in the
    /// [`mailbox`](Self::mailbox).
    #[must_use]
    pub fn hold(mut self, messages: usize) -> Self {
        self.launch.hold = counted(messages);
        self
    }

    /// Tells `checkpoint` of its starts and crashes, so that a generation which keeps crashing it
    /// is given up. The child gets its own clone from its factory, to save into and to begin from.
    #[must_use]
    pub fn checkpoint<S: Send + Sync + 'static>(mut self, checkpoint: &Checkpoint<S>) -> Self {
        self.options.recovery = Some(Arc::new(checkpoint.clone()));
        self
    }

    /// Lets up to `messages` of its ref wait for their handler; one more is refused.
    /// [`MAILBOX_DEFAULT`] if nothing is said; at least 1, at most [`MAILBOX_MAX`].
    #[must_use]
    pub fn mailbox(mut self, messages: usize) -> Self {
        self.launch.mailbox = Some(counted(messages));
        self
    }

    /// A call that runs for `limit` means that the incarnation hangs: it is killed, and its end is
    /// decided as that of one that hung. Calls are those of `post_start`, `handle` and
    /// `handle_supervisor_evt`. A handler that never awaits cannot be killed, and becomes stuck.
    /// Without limit if nothing is said; more than zero, at most
    /// [`SPAN_MAX`](super::SPAN_MAX).
    ///
    /// Cost: two reads of the clock per message, and a timer per incarnation.
    #[must_use]
    pub fn handler_limit(mut self, limit: Duration) -> Self {
        self.launch.watch.get_or_insert_default().handler_limit = Some(limit);
        self
    }

    /// Asks the incarnation a question each `every`, from that long after its start on. One that
    /// is not answered within `deadline` means that it hangs, as does a panic of `question`, which
    /// makes the message: `.probe(secs(10), secs(2), Msg::Ping)`.
    ///
    /// The question waits behind the messages before it: `deadline` must be longer than it takes
    /// to work off a mailbox that is as full as it gets. Only one question is under way at a time.
    /// It is let in however full the mailbox is, and counted as a message. Never asked if nothing
    /// is said; both times more than zero, at most [`SPAN_MAX`](super::SPAN_MAX).
    #[must_use]
    pub fn probe<T: Send + 'static>(
        mut self,
        every: Duration,
        deadline: Duration,
        question: impl Fn(RpcReplyPort<T>) -> A::Msg + Send + Sync + 'static,
    ) -> Self {
        self.launch.watch.get_or_insert_default().probe =
            Some(Probe::new(every, deadline, question));
        self
    }
}

/// More than can be counted is more than is allowed.
fn counted(messages: usize) -> u32 {
    u32::try_from(messages).unwrap_or(u32::MAX)
}

impl<A: Actor> fmt::Debug for Worker<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("name", &self.name)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl<A: Actor> ActorLaunch<A> {
    fn mailbox(&self) -> u32 {
        self.mailbox.unwrap_or(counted(MAILBOX_DEFAULT))
    }

    fn handler_limit(&self) -> Option<Duration> {
        self.watch.as_ref()?.handler_limit
    }

    /// The counters of one incarnation, if anybody wants to know them.
    fn gauge(&self, post: &Post) -> Option<Arc<Gauge>> {
        let clock = self.handler_limit().map(|_| post.setting.clock.clone());
        let wanted = self.bind.is_some() || clock.is_some();
        let limit = u64::from(self.mailbox());
        wanted.then(|| Arc::new(Gauge::new(limit, clock)))
    }
}

impl<A: Actor> Launch for ActorLaunch<A> {
    fn launch(&self, post: Post) -> BoxFuture<'static, Result<Running, NoStart>> {
        let (make, bind) = (self.make.clone(), self.bind.clone());
        let (hold, gauge) = (self.hold, self.gauge(&post));
        let watch = self.watch.as_deref().cloned();
        async move {
            let clock = &post.setting.clock;
            if let Some(bind) = &bind {
                bind.open(hold as usize, clock);
            }
            let (actor, arguments) = make();
            let shell = Shell::new(actor, gauge.clone());
            let (child, task) = spawn(shell, arguments, post.parent).await?;
            if let Some((bind, gauge)) = bind.zip(gauge.clone()) {
                bind.settle(child.clone(), post.incarnation, gauge);
            }
            let (cell, stop) = (child.get_cell(), StopWay::Actor);
            let hang = watch.and_then(|watch| watch.over(child, gauge, clock.clone()));
            Ok(Running { cell, task, stop, subtree: None, hang })
        }
        .boxed()
    }

    fn objection(&self) -> Option<Objection> {
        let mailbox = self.mailbox();
        if mailbox == 0 || mailbox > counted(MAILBOX_MAX) {
            return Some(("mailbox", format!("it must be 1 to {MAILBOX_MAX} messages")));
        }
        if self.hold > mailbox {
            let why = format!("it must be at most the mailbox's {mailbox} messages");
            return Some(("hold", why));
        }
        if self.bind.is_none() && (self.hold > 0 || self.mailbox.is_some()) {
            let field = if self.hold > 0 { "hold" } else { "mailbox" };
            return Some((field, "it is about messages of a ref: bind one".to_owned()));
        }
        let limit = self.handler_limit().and_then(|limit| span_objection("handler_limit", limit));
        limit.or_else(|| self.watch.as_ref()?.probe.as_ref()?.objection())
    }

    fn vacate(&self) -> u64 {
        self.bind.as_ref().map_or(0, ChildRef::vacate)
    }

    fn close(&self) -> u64 {
        self.bind.as_ref().map_or(0, ChildRef::close)
    }
}
