//! Refs that outlive restarts.

use tokio::sync::mpsc;

use super::*;
use crate::supervisor::RefError;

#[tokio::test(start_paused = true)]
async fn a_ref_says_where_its_child_is() {
    let hang = |at, incarnation| {
        if at == "pre_start" && incarnation == 2 { Act::Hang } else { Act::Go }
    };
    let (scene, child) = (Scene::scripted(hang), ChildRef::unbound());
    assert_eq!(child.call(Do::Ping).await, Err(RefError::Unbound));
    let spec = SupervisorSpec::one_for_one("top").child(scene.probe("a").bind(&child));
    let (tree, mut seen) = started(spec).await;
    assert_eq!((child.incarnation(), child.call(Do::Ping).await), (Some(1), Ok(1)));

    let lost = child.call(|port: RpcReplyPort<()>| {
        drop(port);
        Do::Act(Act::Fail)
    });
    assert_eq!(lost.await, Err(RefError::Lost));
    seen.until("top/a", |kind| matches!(kind, EventKind::Restarting { .. })).await;
    let refused = child.cast(Do::Stop(None)).expect_err("nobody is there");
    assert_eq!(refused.why, RefError::Restarting);
    assert!(matches!(refused.message, Do::Stop(None)), "the message comes back");
    assert_eq!(tree.which_children()[0].status, ChildStatus::Starting);

    // Its start never ends, and still the tree stops at once.
    let before = seen.all.last().expect("an event").at;
    assert_eq!(tree.stop().await, ended(ExitReason::Shutdown));
    seen.exited("top").await;
    assert_eq!(seen.all.last().expect("the end").at, before);
    assert_eq!(child.call(Do::Ping).await, Err(RefError::Stopped));
    assert!(RefError::Stopped.not_executed() && !RefError::Lost.not_executed());
}

#[tokio::test(start_paused = true)]
async fn a_call_has_a_deadline_and_a_waiting_one_is_lost_with_its_incarnation() {
    let (scene, child) = (Scene::new(), ChildRef::unbound());
    let spec = SupervisorSpec::one_for_one("top").child(scene.probe("a").bind(&child));
    let (tree, mut seen) = started(spec).await;
    let clock = TokioClock::new();
    let before = clock.now();
    assert_eq!(child.call_within(secs(2), Do::Hold).await, Err(RefError::TimedOut));
    assert!(clock.now().since(before) >= secs(2));
    let (answer, ()) = tokio::join!(child.call(Do::Ping), async {
        child.actor().expect("it lives").kill();
    });
    assert_eq!(answer, Err(RefError::Lost), "it waited in the mailbox");
    assert_eq!(seen.exited("top/a").await, ExitReason::Killed);
    seen.until("top/a", |kind| *kind == EventKind::Started).await;
    assert_eq!(child.call(Do::Ping).await, Ok(2));
    tree.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_ref_of_a_child_that_rests_is_stopped_and_wakes_with_its_group() {
    let (scene, a, b) = (Scene::new(), ChildRef::unbound(), ChildRef::unbound());
    let (tree, mut seen) = started(
        SupervisorSpec::one_for_all("top")
            .child(scene.probe("a").restart(Restart::Transient).bind(&a))
            .child(scene.probe("b").bind(&b)),
    )
    .await;
    a.cast(Do::Stop(None)).expect("it lives");
    assert_eq!(seen.exited("top/a").await, ExitReason::Normal);
    assert_eq!(b.call(Do::Ping).await, Ok(1));
    assert_eq!(a.call(Do::Ping).await, Err(RefError::Stopped));
    b.cast(Do::Act(Act::Panic)).expect("it lives");
    seen.exited("top/b").await;
    seen.up("top/b").await;
    assert_eq!(a.call(Do::Ping).await, Ok(2));
    tree.stop().await;
}

/// Waits in `pre_start` and in each message as long as it is told, and says when it has.
struct Slow {
    start: Duration,
    handled: mpsc::UnboundedSender<()>,
}

#[ractor::actor(message = Duration)]
impl Slow {
    async fn pre_start(
        &self,
        _myself: ActorRef<Duration>,
        _arguments: (),
    ) -> Result<(), ActorProcessingErr> {
        tokio::time::sleep(self.start).await;
        Ok(())
    }

    async fn handle(
        &self,
        _myself: ActorRef<Duration>,
        span: Duration,
        _state: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        tokio::time::sleep(span).await;
        Ok(self.handled.send(())?)
    }
}

fn slow(start: Duration) -> (Worker<Slow>, mpsc::UnboundedReceiver<()>) {
    let (tell, handled) = mpsc::unbounded_channel();
    (worker("slow", move || (Slow { start, handled: tell.clone() }, ())), handled)
}

#[tokio::test(start_paused = true)]
async fn s49_a_stop_comes_before_waiting_messages() {
    let (child, (slow, handled)) = (ChildRef::unbound(), slow(secs(0)));
    let (tree, mut seen) =
        started(SupervisorSpec::one_for_one("top").child(slow.bind(&child))).await;
    (0..10).for_each(|_| child.cast(Duration::from_millis(100)).expect("it lives"));
    tokio::time::sleep(Duration::from_millis(10)).await;
    let (before, stopping) = (TokioClock::new(), TokioClock::new().now());
    assert_eq!(tree.stop().await, ended(ExitReason::Shutdown));
    assert!(before.now().since(stopping) >= Duration::from_millis(90), "message 1 ended first");
    assert_eq!(seen.exited("top/slow").await, ExitReason::Shutdown);
    assert_eq!((handled.len(), child.dead_letters()), (1, 9));
}

#[tokio::test(start_paused = true)]
async fn s57_messages_sent_before_the_start_is_done_are_all_handled() {
    let (child, (slow, mut handled)) = (ChildRef::unbound(), slow(Duration::from_millis(100)));
    let spec = SupervisorSpec::one_for_one("top").child(slow.bind(&child).hold(10));
    let (tree, ()) = tokio::join!(started(spec), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        (0..10).for_each(|_| child.cast(secs(1)).expect("it is held"));
        let refused = child.cast(secs(1)).expect_err("as many as may are held");
        assert_eq!(refused.why, RefError::Overloaded);
        assert_eq!(handled.len(), 0);
    });
    for _ in 0..10 {
        handled.recv().await.expect("it lives");
    }
    tree.0.stop().await;
    assert_eq!((handled.len(), child.dead_letters()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_held_when_the_child_is_given_up_is_counted_or_answered() {
    let hang = |at, incarnation| {
        if at == "pre_start" && incarnation == 2 { Act::Hang } else { Act::Go }
    };
    let (scene, child) = (Scene::scripted(hang), ChildRef::unbound());
    let spec = SupervisorSpec::one_for_one("top").child(scene.probe("a").bind(&child).hold(4));
    let (tree, mut seen) = started(spec).await;
    child.cast(Do::Act(Act::Fail)).expect("it lives");
    seen.exited("top/a").await;
    child.cast(Do::Stop(None)).expect("it is held");
    child.cast(Do::Bomb(Bomb)).expect("it is held");
    // Its caller goes away.
    tokio::time::timeout(secs(1), child.call(Do::Ping)).await.expect_err("it is held");
    let (answer, ended_as) = tokio::join!(child.call(Do::Ping), tree.stop());
    assert_eq!((answer, ended_as), (Err(RefError::Stopped), ended(ExitReason::Shutdown)));
    assert_eq!(child.dead_letters(), 3, "all but the one whose caller was told");
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_with_an_incarnation_is_counted_and_what_crashed_it_was_handled() {
    let (scene, child) = (Scene::new(), ChildRef::unbound());
    let spec = SupervisorSpec::one_for_one("top").child(scene.probe("a").bind(&child).hold(1));
    let (tree, mut seen) = started(spec).await;
    child.cast(Do::Act(Act::Panic)).expect("it lives");
    child.cast(Do::Stop(None)).expect("it lives");
    let (lost, ()) = tokio::join!(child.call(Do::Ping), async {
        seen.exited("top/a").await;
        assert_eq!(seen.up("top/a").await, 2);
    });
    assert_eq!((lost, child.dead_letters()), (Err(RefError::Lost), 2));
    assert_eq!(child.call(Do::Ping).await, Ok(2));
    tree.stop().await;
    assert_eq!(child.dead_letters(), 2);
}

#[test]
fn each_error_says_whether_it_was_executed() {
    use RefError::{Lost, Overloaded, Restarting, Stopped, TimedOut, Unbound};
    for why in [Unbound, Restarting, Overloaded, Stopped, Lost, TimedOut] {
        assert_eq!(why.to_string().starts_with("not executed: "), why.not_executed());
        assert_eq!(why.to_string().starts_with("unknown: "), !why.not_executed());
        assert!(why.not_executed() || !why.is_retryable(), "{why}");
    }
}

#[tokio::test]
async fn numbers_that_cannot_be_kept_to_are_refused() {
    const MAX: Duration = Duration::MAX;
    type Change = fn(Worker<Probe>) -> Worker<Probe>;
    let refused: [(&str, Change); 16] = [
        ("mailbox", |child| child.mailbox(0)),
        ("mailbox", |child| child.mailbox(usize::MAX)),
        ("hold", |child| child.hold(65_537)),
        ("hold", |child| child.hold(3).mailbox(2)),
        ("handler_limit", |child| child.handler_limit(secs(0))),
        ("handler_limit", |child| child.handler_limit(MAX)),
        ("probe", |child| child.probe(secs(0), secs(1), Do::Ping)),
        ("probe", |child| child.probe(secs(1), secs(0), Do::Ping)),
        ("start_within", |child| child.start_within(secs(0))),
        ("start_within", |child| child.start_within(MAX)),
        ("backoff", |child| child.backoff(secs(0)..=secs(1))),
        ("backoff", |child| child.backoff(secs(2)..=secs(1))),
        ("backoff", |child| child.backoff(secs(1)..=MAX)),
        ("budget", |child| child.budget(1, secs(0))),
        ("budget", |child| child.budget(u32::MAX, secs(1))),
        ("significant", Worker::significant),
    ];
    for (field, change) in refused {
        let child = change(Scene::new().probe("a"));
        let error = start(SupervisorSpec::one_for_one("top").child(child)).await.0.err();
        let Some(StartError::Invalid { path, field: named, .. }) = error else {
            panic!("{field}: {error:?}")
        };
        assert_eq!((path.as_str(), named), ("top/a", field));
    }
}
