//! Tasks as children.

use super::*;
use crate::supervisor::{ChildSpec, Stop};

async fn act_or_end(what: Act) {
    act(what).await.expect("it panics before");
}

async fn run(child: ChildSpec) -> (Tree, Seen) {
    started(SupervisorSpec::one_for_one("top").child(child)).await
}

#[tokio::test(start_paused = true)]
async fn a_task_is_asked_to_stop_and_its_end_is_seen() {
    let (tree, mut seen) = run(task("t", |stop: Stop| async move {
        assert!(!stop.is_requested());
        stop.requested().await;
        assert!(stop.is_requested());
    }))
    .await;
    assert_eq!(counts(&tree), [1, 1, 0, 1]);
    assert_eq!(tree.stop().await, ended(ExitReason::Shutdown));
    assert_eq!(seen.exited("top/t").await, ExitReason::Shutdown);
}

#[tokio::test(start_paused = true)]
async fn how_a_task_ends_is_its_exit_reason() {
    let temporary = |child: ChildSpec| run(child.restart(Restart::Temporary));
    let (_tree, mut seen) = temporary(task("t", |_| async {})).await;
    assert_eq!(seen.exited("top/t").await, ExitReason::Normal);
    let (_tree, mut seen) = temporary(task("t", |_| async { Err("no disk") })).await;
    assert_eq!(seen.exited("top/t").await, ExitReason::Crashed("no disk".into()));
    let (_tree, mut seen) = temporary(task("t", |_| act_or_end(Act::Panic))).await;
    assert_eq!(seen.exited("top/t").await, ExitReason::Crashed("boom".into()));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ignores_the_wish_is_dropped_after_its_time() {
    struct Held(Arc<AtomicU64>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let dropped = Arc::new(AtomicU64::new(0));
    let held = dropped.clone();
    let deaf = task("t", move |_| {
        let held = Held(held.clone());
        async move {
            pending::<()>().await;
            drop(held);
        }
    });
    let (tree, mut seen) = run(deaf.shutdown(secs(3))).await;
    let before = seen.up("top").await;
    assert_eq!(before, 1);
    assert_eq!(tree.stop().await, ended(ExitReason::Shutdown));
    assert_eq!(seen.exited("top/t").await, ExitReason::Killed);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}
