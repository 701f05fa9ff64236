//! Refs that outlive restarts.

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
