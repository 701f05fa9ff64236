//! What OTP's supervisors do not have: backoff, budgets, limits of time, hangs, rollback, letters
//! to the dead.

use ractor::factory::queues::DefaultQueue;
use ractor::factory::routing::QueuerRouting;
use ractor::factory::{
    Factory, FactoryArguments, FactoryMessage, Job, JobOptions, WorkerBuilder, WorkerId,
    WorkerMessage, WorkerStartContext,
};

use super::*;
use crate::event::Hang;
use crate::supervisor::Checkpoint;
use crate::testing::TestTree;

/// A delay as the machine draws it: from half of `full` to all of it.
fn is_about(delay: Duration, full: Duration) -> bool {
    (full / 2..=full).contains(&delay)
}

#[tokio::test(start_paused = true)]
async fn restarts_in_a_row_wait_longer_and_longer_and_the_row_ends() {
    for strategy in STRATEGIES {
        let scene = Scene::new();
        let probe = scene.probe("a").backoff(secs(1)..=secs(4));
        let spec = SupervisorSpec::new("top", strategy).intensity(100, HOUR).child(probe);
        let mut tree = TestTree::start(spec.child(scene.probe("b"))).await;
        for full in [1, 2, 4, 4] {
            tree.crash("top/a").await;
            let backing_off = |kind: &EventKind| matches!(kind, EventKind::BackingOff { .. });
            let event = tree.expect("top/a", backing_off).await;
            let EventKind::BackingOff { delay } = event.kind else { panic!("{event}") };
            assert!(is_about(delay, secs(full)), "{delay:?} of {full} s");
            let up = tree.expect("top/a", |kind| *kind == EventKind::Started).await;
            assert!(up.at.since(event.at) >= delay, "{strategy:?}");
        }
        // An incarnation that is up for the longest delay ends the row.
        tokio::time::advance(secs(5)).await;
        tree.crash("top/a").await;
        let event = tree.expect("top/a", |kind| matches!(kind, EventKind::BackingOff { .. })).await;
        let EventKind::BackingOff { delay } = event.kind else { panic!("{event}") };
        assert!(is_about(delay, secs(1)), "{delay:?}");
        let status = |tree: &TestTree| tree.snapshot().find("top/a").map(|child| child.status);
        if strategy == Strategy::OneForOne {
            assert_eq!(status(&tree), Some(ChildStatus::BackingOff));
        }
        let asked = tree.now();
        let end = tree.stop().await;
        assert_eq!(end, ended(ExitReason::Shutdown), "at once, from {asked:?} on");
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_may_have_a_budget_of_its_own() {
    let scene = Scene::new();
    let spec = SupervisorSpec::one_for_one("top")
        .intensity(100, HOUR)
        .child(scene.probe("a").budget(1, HOUR))
        .child(scene.probe("b"));
    let mut tree = TestTree::start(spec).await;
    for _ in 0..5 {
        tree.crash("top/b").await;
        tree.expect("top/b", |kind| *kind == EventKind::Started).await;
    }
    tree.crash("top/a").await;
    tree.expect("top/a", |kind| *kind == EventKind::Started).await;
    tree.crash("top/a").await;
    let escalated = tree.expect("top", |kind| *kind == EventKind::Escalated).await;
    let cause = tree.seen().iter().find(|event| Some(event.id) == escalated.cause);
    assert_eq!(cause.map(|event| event.path.as_str()), Some("top/a"));
}

#[tokio::test(start_paused = true)]
async fn a_start_that_takes_too_long_has_failed() {
    let hang = |from: u64| {
        Scene::scripted(
            move |at, life| {
                if at == "pre_start" && life >= from { Act::Hang } else { Act::Go }
            },
        )
    };
    let slow = hang(1).probe("a").start_within(secs(3));
    let (tree, _) = start(SupervisorSpec::one_for_one("top").child(slow)).await;
    let reason = ExitReason::StartFailed("it did not start within 3s".into());
    let failed = |path: &str| StartError::Failed {
        path: crate::event::Path::root("top").join(path),
        reason: reason.clone(),
    };
    assert_eq!(tree.expect_err("it does not start"), failed("a"));

    // A supervisor's start is that of all its children, and is undone.
    let good = Scene::new();
    let inner = SupervisorSpec::one_for_one("in").child(good.probe("b")).child(hang(1).probe("c"));
    let inner = crate::supervisor::ChildSpec::from(inner).start_within(secs(3));
    let (tree, mut seen) = start(SupervisorSpec::one_for_one("top").child(inner)).await;
    let StartError::Failed { path, .. } = tree.expect_err("it does not start") else {
        panic!("another error");
    };
    assert_eq!(path.as_str(), "top/in");
    seen.drained().await;
    assert_eq!(good.look(), ["+b", "-b"]);
}

#[tokio::test(start_paused = true)]
async fn a_hung_child_is_killed_and_restarted_as_its_type_says() {
    for restart in [Restart::Permanent, Restart::Transient, Restart::Temporary] {
        let (scene, child) = (Scene::new(), ChildRef::unbound());
        let probe = scene.probe("a").restart(restart).handler_limit(secs(10)).bind(&child);
        let (tree, mut seen) = started(SupervisorSpec::one_for_one("top").child(probe)).await;
        child.cast(Do::Act(Act::Hang)).expect("it lives");
        let hung = seen.until("top/a", |kind| matches!(kind, EventKind::Hung { .. })).await;
        assert_eq!(hung.kind, EventKind::Hung { why: Hang::Handler { limit: secs(10) } });
        assert_eq!(seen.exited("top/a").await, ExitReason::Hung);
        if restart == Restart::Temporary {
            assert_eq!(counts(&tree), [0, 0, 0, 0]);
        } else {
            assert_eq!(seen.up("top/a").await, 2);
            assert_eq!(child.call(Do::Ping).await, Ok(2));
        }
        assert_eq!(tree.stop().await, ended(ExitReason::Shutdown));
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_not_answered_ends_the_incarnation_and_a_good_child_lives_on() {
    let (scene, child, other) = (Scene::new(), ChildRef::unbound(), ChildRef::unbound());
    let spec = SupervisorSpec::one_for_one("top")
        .child(scene.probe("a").probe(secs(10), secs(2), Do::Ping).bind(&child))
        .child(scene.probe("b").probe(secs(10), secs(2), Do::Ping).bind(&other));
    let (_tree, mut seen) = started(spec).await;
    tokio::time::advance(HOUR / 2).await;
    child.cast(Do::Act(Act::Hang)).expect("it lives");
    assert_eq!(seen.exited("top/a").await, ExitReason::Hung);
    assert_eq!(seen.up("top/a").await, 2);
    assert_eq!((other.call(Do::Ping).await, child.call(Do::Ping).await), (Ok(1), Ok(2)));
}

#[tokio::test(start_paused = true)]
async fn a_generation_that_keeps_crashing_its_child_is_given_up() {
    /// Crashes at start on the state it dislikes.
    struct Picky;

    #[ractor::actor(message = (), state = u32, arguments = Option<u32>)]
    impl Picky {
        async fn pre_start(
            &self,
            _: ActorRef<()>,
            from: Option<u32>,
        ) -> Result<u32, ActorProcessingErr> {
            match from {
                Some(13) => Err("13 it cannot bear".into()),
                other => Ok(other.unwrap_or(0)),
            }
        }
    }

    let saved = Checkpoint::new(3).strikes(2).probation(secs(10));
    let from = saved.clone();
    let picky = worker("a", move || (Picky, from.restore())).checkpoint(&saved);
    let spec = SupervisorSpec::one_for_one("top").intensity(100, HOUR).child(picky);
    let mut tree = TestTree::start(spec).await;
    saved.save(7);
    saved.save(13);
    tree.crash("top/a").await;
    let rolled = tree.expect("top/a", |kind| matches!(kind, EventKind::RolledBack { .. })).await;
    assert_eq!(rolled.kind, EventKind::RolledBack { from: 2, to: Some(1) });
    tree.expect("top/a", |kind| *kind == EventKind::Started).await;
    assert_eq!((saved.generation(), saved.restore()), (Some(1), Some(7)));
    let cause = tree.seen().iter().find(|event| Some(event.id) == rolled.cause);
    assert!(matches!(cause.map(|event| &event.kind), Some(EventKind::Exited(_))));
}

#[tokio::test(start_paused = true)]
async fn messages_lost_with_an_incarnation_are_counted_as_dead_letters() {
    let (scene, child) = (Scene::new(), ChildRef::unbound());
    let probe = scene.probe("a").bind(&child);
    let (_tree, mut seen) = started(SupervisorSpec::one_for_one("top").child(probe)).await;
    assert_eq!(child.call(Do::Ping).await, Ok(1));
    child.cast(Do::Act(Act::Hang)).expect("it lives");
    for _ in 0..3 {
        child.cast(Do::Act(Act::Go)).expect("it lives");
    }
    // The first is in hand when the child is killed; the others wait.
    tokio::task::yield_now().await;
    child.actor().expect("it lives").kill();
    let letters = seen.until("top/a", |kind| matches!(kind, EventKind::DeadLetters { .. })).await;
    assert_eq!((&letters.kind, child.dead_letters()), (&EventKind::DeadLetters { count: 3 }, 3));
}

/// Who hears of a crash and asks again at once must not ask the incarnation that crashes.
#[tokio::test(start_paused = true)]
async fn what_is_sent_after_a_crash_is_held_for_the_next_incarnation() {
    for what in [Act::Fail, Act::Panic] {
        let (scene, child) = (Scene::new(), ChildRef::unbound());
        let probe = scene.probe("a").hold(10).bind(&child);
        let spec = SupervisorSpec::one_for_one("top").intensity(100, HOUR).child(probe);
        let (tree, _seen) = started(spec).await;
        for life in 1..=50 {
            assert_eq!(child.call(Do::Ping).await, Ok(life), "{what:?}");
            child.cast(Do::Act(what)).expect("it lives");
            // The handler has failed by now; its task has not ended.
            tokio::task::yield_now().await;
        }
        assert_eq!(child.dead_letters(), 0, "{what:?}");
        assert_eq!(tree.stop().await, ended(ExitReason::Shutdown));
        let all_at_rest =
            |child: &crate::supervisor::ChildSnapshot| child.status == ChildStatus::Resting;
        assert!(tree.which_children().iter().all(all_at_rest), "{:?}", tree.which_children());
    }
}

/// On real time: a task that never yields cannot be killed, and is stuck 5 s later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_child_may_be_abandoned_for_a_new_one() {
    let (scene, child) = (Scene::new(), ChildRef::unbound());
    let probe = scene.probe("a").shutdown(Shutdown::Kill).abandon_stuck().bind(&child);
    let spec = SupervisorSpec::one_for_one("top").child(probe);
    let (tree, mut seen) = started(spec).await;
    let (let_go, held) = std::sync::mpsc::channel();
    let (port, entered) = tokio::sync::oneshot::channel();
    child.cast(Do::Block(port.into(), held)).expect("it lives");
    entered.await.expect("it is in the handler");
    child.actor().expect("it lives").kill();
    // Ractor's kill does not reach it, and its supervisor does not know of it: a request does.
    tree.root().fail_child("a", ExitReason::Killed).await.expect("it is listed");
    let request = tree.root();
    let terminated = tokio::spawn(async move { request.terminate_child("a").await });
    seen.until("top/a", |kind| *kind == EventKind::Abandoned).await;
    assert_eq!(terminated.await.expect("no panic"), Ok(()));
    tree.root().restart_child("a").await.expect("a new one starts");
    assert_eq!(child.call(Do::Ping).await, Ok(2));
    let_go.send(()).expect("the old one waits");
    assert_eq!(tree.stop().await, ended(ExitReason::Shutdown));
}

/// A factory of ractor's is an actor like any other.
#[tokio::test]
async fn a_ractor_factory_is_a_child() {
    let pool = ChildRef::unbound();
    let factory = worker("pool", || {
        let arguments = FactoryArguments::builder()
            .worker_builder(Box::new(Doubles) as Box<dyn WorkerBuilder<Double, ()>>)
            .queue(DefaultQueue::default())
            .router(QueuerRouting::default())
            .num_initial_workers(2)
            .build();
        (Pool::default(), arguments)
    });
    let spec = SupervisorSpec::one_for_one("top").child(factory.bind(&pool));
    let (tree, mut seen) = started(spec).await;
    seen.up("top/pool").await;
    let ask = |key| {
        let job = move |msg| Job { key, msg, options: JobOptions::default(), accepted: None };
        pool.call(move |port| FactoryMessage::Dispatch(job(port)))
    };
    assert_eq!(ask(4).await, Ok(8));
    pool.actor().expect("it lives").kill();
    assert_eq!(seen.exited("top/pool").await, ExitReason::Killed);
    assert_eq!(seen.up("top/pool").await, 2);
    assert_eq!(ask(5).await, Ok(10));
    assert_eq!(tree.stop().await, ended(ExitReason::Shutdown));
}

type Question = RpcReplyPort<u64>;
type Start = WorkerStartContext<u64, Question, ()>;
type Pool =
    Factory<u64, Question, (), Double, QueuerRouting<u64, Question>, DefaultQueue<u64, Question>>;

/// Doubles its key.
struct Double;

#[ractor::actor(message = WorkerMessage<u64, Question>, state = Start, arguments = Start)]
impl Double {
    async fn pre_start(
        &self,
        _: ActorRef<WorkerMessage<u64, Question>>,
        start: Start,
    ) -> Result<Start, ActorProcessingErr> {
        Ok(start)
    }

    async fn handle(
        &self,
        _: ActorRef<WorkerMessage<u64, Question>>,
        message: WorkerMessage<u64, Question>,
        start: &mut Start,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            WorkerMessage::FactoryPing(_) => {}
            WorkerMessage::Dispatch(Job { key, msg, .. }) => {
                msg.send(key * 2)?;
                start.factory.cast(FactoryMessage::Finished(start.wid, key))?;
            }
        }
        Ok(())
    }
}

struct Doubles;

impl WorkerBuilder<Double, ()> for Doubles {
    fn build(&mut self, _: WorkerId) -> (Double, ()) {
        (Double, ())
    }
}
