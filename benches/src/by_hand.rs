//! The baseline: ractor without us, and a supervisor written by hand on it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use ractor::rpc::CallResult;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::task::{JoinHandle, JoinSet};

use crate::echo::{Echo, Msg, last_crash_ns, now_ns};
use crate::figures::{Stopwatch, Took};
use crate::{BURST, STARTERS};

/// How long a call may take, where it has a limit: the same as our refs' default.
const CALL_MS: u64 = 5_000;

/// A parent that does nothing about its children: it takes notice of their ends. Asked, it starts
/// one.
struct Parent;

/// Starts an [`Echo`] and answers.
struct Start(RpcReplyPort<bool>);

impl Actor for Parent {
    type Msg = Start;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Start>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<Start>,
        Start(answer): Start,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let started = Actor::spawn_linked(None, Echo, (), myself.get_cell()).await;
        // Whoever asked may be gone.
        let _ = answer.send(started.is_ok());
        Ok(())
    }

    /// Ractor's own would end it with its first child.
    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Start>,
        _: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

async fn parent() -> (ActorRef<Start>, JoinHandle<()>) {
    Actor::spawn(None, Parent, ()).await.expect("a parent")
}

/// A bare actor, linked to `parent`.
///
/// # Panics
/// If it does not start.
pub async fn bare(parent: ActorCell) -> (ActorRef<Msg>, JoinHandle<()>) {
    Actor::spawn_linked(None, Echo, (), parent).await.expect("a bare actor")
}

/// Ends a parent and all its children, and waits for that.
async fn end(parent: &ActorRef<Start>, task: JoinHandle<()>) {
    parent.get_cell().stop_children_and_wait(None, None).await;
    parent.stop(None);
    task.await.expect("the parent ends");
}

/// `n` children one after another with `spawn_linked`.
///
/// # Panics
/// If one does not start.
pub async fn spawn_one_by_one(n: u64) -> Took {
    let (parent, task) = parent().await;
    let began = Stopwatch::start();
    for _ in 0..n {
        bare(parent.get_cell()).await;
    }
    let took = began.took();
    end(&parent, task).await;
    took
}

/// `n` children with `spawn_linked` from [`STARTERS`] tasks.
///
/// # Panics
/// If one does not start.
pub async fn spawn_many(n: u64) -> Took {
    let (parent, task) = parent().await;
    let cell = parent.get_cell();
    let took = at_once(n, move || {
        let cell = cell.clone();
        async move { drop(bare(cell).await) }
    });
    let took = took.await;
    end(&parent, task).await;
    took
}

/// `n` children one after another, each asked of a supervisor written by hand.
///
/// # Panics
/// If one does not start.
pub async fn request_one_by_one(n: u64) -> Took {
    let (parent, task) = parent().await;
    let began = Stopwatch::start();
    for _ in 0..n {
        request(&parent).await;
    }
    let took = began.took();
    end(&parent, task).await;
    took
}

/// `n` children asked of a supervisor written by hand from [`STARTERS`] tasks.
///
/// # Panics
/// If one does not start.
pub async fn request_many(n: u64) -> Took {
    let (parent, task) = parent().await;
    let asked = parent.clone();
    let took = at_once(n, move || {
        let parent = asked.clone();
        async move { request(&parent).await }
    });
    let took = took.await;
    end(&parent, task).await;
    took
}

async fn request(parent: &ActorRef<Start>) {
    let started = parent.call(Start, Some(Duration::from_millis(CALL_MS))).await;
    assert!(matches!(started, Ok(CallResult::Success(true))), "a child starts");
}

/// How long [`STARTERS`] tasks take to do `n` times what `one` gives.
///
/// # Panics
/// If one of them does.
pub async fn at_once<F>(n: u64, one: impl Fn() -> F + Clone + Send + 'static) -> Took
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut starters = JoinSet::new();
    let began = Stopwatch::start();
    for starter in 0..STARTERS {
        let one = one.clone();
        let share = n / STARTERS + u64::from(starter < n % STARTERS);
        starters.spawn(async move {
            for _ in 0..share {
                one().await;
            }
        });
    }
    while let Some(done) = starters.join_next().await {
        done.expect("a starter is done");
    }
    began.took()
}

/// `n` casts to a bare actor, until all are handled, and the senders' part of that.
///
/// # Panics
/// If one is refused.
pub async fn cast(n: u64) -> (Took, Took) {
    let (parent, task) = parent().await;
    let (actor, _) = bare(parent.get_cell()).await;
    let sender = actor.clone();
    let figures = in_bursts(
        n,
        move |add| sender.cast(Msg::Add(add)).expect("it lives"),
        move || {
            let actor = actor.clone();
            async move { ask(&actor, None).await.expect("it lives") }
        },
    );
    let figures = figures.await;
    end(&parent, task).await;
    figures
}

/// Sends `n` messages in bursts, waits after each until all are handled, and returns how long all
/// took, and the sending.
pub async fn in_bursts<F: Future<Output = u64> + Send>(
    n: u64,
    send: impl Fn(u64),
    handled: impl Fn() -> F,
) -> (Took, Took) {
    let mut sending = Took::default();
    let began = Stopwatch::start();
    for burst in 0..n.div_ceil(BURST) {
        let watch = Stopwatch::start();
        for add in 0..BURST.min(n - burst * BURST) {
            send(add);
        }
        sending += watch.took();
        handled().await;
    }
    (began.took(), sending)
}

async fn ask(actor: &ActorRef<Msg>, limit: Option<Duration>) -> Option<u64> {
    match actor.call(Msg::Sum, limit).await {
        Ok(CallResult::Success(sum)) => Some(sum),
        Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => None,
    }
}

/// `n` calls of a bare actor one after another, without a time limit.
///
/// # Panics
/// If one is not answered.
pub async fn call(n: u64) -> Took {
    calls(n, None).await
}

/// `n` calls of a bare actor one after another, with a time limit, as ours have.
///
/// # Panics
/// If one is not answered.
pub async fn call_within(n: u64) -> Took {
    calls(n, Some(Duration::from_millis(CALL_MS))).await
}

async fn calls(n: u64, limit: Option<Duration>) -> Took {
    let (parent, task) = parent().await;
    let (actor, _) = bare(parent.get_cell()).await;
    let began = Stopwatch::start();
    for _ in 0..n {
        ask(&actor, limit).await.expect("it lives");
    }
    let took = began.took();
    end(&parent, task).await;
    took
}

/// Where a hand-written supervisor keeps the present incarnation of its child.
type Slot = Arc<RwLock<Option<ActorRef<Msg>>>>;

/// A one-for-one supervisor of one child, as short as ractor lets it be: no intensity, no stop in
/// order, and it does not wait until the old one is gone.
struct OneForOne;

async fn start_into(slot: &Slot, parent: ActorCell) -> Result<(), ActorProcessingErr> {
    let (actor, _) = Actor::spawn_linked(None, Echo, (), parent).await?;
    *slot.write() = Some(actor);
    Ok(())
}

impl Actor for OneForOne {
    type Msg = ();
    type State = Slot;
    type Arguments = Slot;

    async fn pre_start(&self, me: ActorRef<()>, slot: Slot) -> Result<Slot, ActorProcessingErr> {
        start_into(&slot, me.get_cell()).await?;
        Ok(slot)
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<()>,
        event: SupervisionEvent,
        slot: &mut Slot,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(..) = event {
            start_into(slot, me.get_cell()).await?;
        }
        Ok(())
    }
}

/// `n` times: nanoseconds from just before a crash to the first answer of the replacement. The
/// caller tries again until it is answered.
///
/// # Panics
/// If the supervisor does not start.
pub async fn crash(n: u64, panics: bool) -> Vec<u64> {
    let slot = Slot::default();
    let (supervisor, task) = Actor::spawn(None, OneForOne, slot.clone()).await.expect("it starts");
    let mut took = Vec::new();
    for _ in 0..n {
        let before = last_crash_ns();
        if let Some(actor) = slot.read().as_ref() {
            // Refused by none: it was just answered.
            let _ = actor.cast(if panics { Msg::Crash } else { Msg::Fail });
        }
        loop {
            let actor = slot.read().clone();
            if let Some(actor) = actor
                && ask(&actor, Some(Duration::from_millis(CALL_MS))).await.is_some()
            {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert!(last_crash_ns() > before, "it has crashed");
        took.push(now_ns() - last_crash_ns());
    }
    supervisor.stop(None);
    task.await.expect("the supervisor ends");
    took
}

/// Bare actors, and what ends them.
pub struct Crowd {
    parent: ActorRef<Start>,
    task: JoinHandle<()>,
    children: Vec<(ActorRef<Msg>, JoinHandle<()>)>,
}

impl Crowd {
    /// `n` children of one parent.
    ///
    /// # Panics
    /// If one does not start.
    pub async fn start(n: usize) -> Self {
        let (parent, task) = parent().await;
        let mut children = Vec::with_capacity(n);
        for _ in 0..n {
            children.push(bare(parent.get_cell()).await);
        }
        Self { parent, task, children }
    }

    /// Keeps neither refs nor handles: only the parent knows the children.
    pub fn forget(&mut self) {
        self.children = Vec::new();
    }

    /// Stops the children one by one, the last first, each when the task of the one before has
    /// ended.
    ///
    /// # Panics
    /// If a task ends by a panic.
    pub async fn stop_in_order(self) -> Took {
        let began = Stopwatch::start();
        for (actor, task) in self.children.into_iter().rev() {
            actor.stop(None);
            task.await.expect("it ends");
        }
        let took = began.took();
        end(&self.parent, self.task).await;
        took
    }

    /// Crashes all children at once, and waits until their tasks have ended.
    ///
    /// # Panics
    /// If a task ends by a panic, outside ractor's care.
    pub async fn crash_all(self) -> Took {
        let began = Stopwatch::start();
        for (actor, _) in &self.children {
            // Refused by none: all live.
            let _ = actor.cast(Msg::Crash);
        }
        for (_, task) in self.children {
            task.await.expect("ractor catches it");
        }
        let took = began.took();
        end(&self.parent, self.task).await;
        took
    }

    /// Ends all at once.
    ///
    /// # Panics
    /// If the parent's task ends by a panic.
    pub async fn end(self) {
        end(&self.parent, self.task).await;
    }
}
