//! A supervisor is killed at every step of a group restart, and of a shutdown.
//!
//! Goal: never an orphan, never a duplicate, and the tree equals its spec afterwards. Method: a
//! hook kills the supervisor's actor before step n of what its machine decides, for every n until a
//! run has no step n.

use std::sync::atomic::AtomicUsize;

use super::*;
use crate::supervisor::tree::Hook;

/// Kills the supervisor at `path` before its step number `at`, once; counts the steps.
fn killing(path: &'static str, at: usize) -> (Hook, Arc<AtomicUsize>) {
    let steps = Arc::new(AtomicUsize::new(0));
    let counted = steps.clone();
    let hook = Hook(Arc::new(move |supervisor, of, _output| {
        if of.to_string() == path && counted.fetch_add(1, Ordering::SeqCst) == at {
            supervisor.kill();
        }
    }));
    (hook, steps)
}

/// Each probe is up at most once at a time, and in the end none is up.
fn check_lives(log: &[String]) {
    let mut up = std::collections::BTreeSet::new();
    for line in log {
        match line.split_at(1) {
            ("+", name) => assert!(up.insert(name.to_owned()), "a duplicate: {log:?}"),
            (_, name) => assert!(up.remove(name), "down twice: {log:?}"),
        }
    }
    assert!(up.is_empty(), "an orphan: {log:?}");
}

async fn killed_at(strategy: Strategy, at: usize, with_crash: bool) -> bool {
    let scene = Scene::new();
    let (two, deep) = (ChildRef::unbound(), ChildRef::unbound());
    let inner = SupervisorSpec::new("in", strategy)
        .intensity(100, HOUR)
        .child(scene.probe("a"))
        .child(scene.probe("b").bind(&two))
        .child(SupervisorSpec::one_for_one("deep").child(scene.probe("d").bind(&deep)))
        .child(scene.probe("e"));
    let spec = SupervisorSpec::one_for_one("top").intensity(100, HOUR).child(inner);
    let (hook, counted) = killing("top/in", at);
    let mut setting = Setting::new(Arc::new(TokioClock::new()));
    setting.hook = Some(hook);
    let events = setting.events.subscribe(100_000);
    let mut seen = Seen { events, all: Vec::new() };
    // A kill during the first start fails the start, and leaves nothing.
    let Ok(tree) = spec.start_in(setting).await else {
        seen.drained().await;
        check_lives(&scene.look());
        return true;
    };
    if with_crash {
        two.cast(Do::Act(Act::Panic)).expect("it lives");
        // Whoever is killed, and when: in the end every child answers, once.
        let clock = TokioClock::new();
        let until = clock.now() + HOUR;
        let whole = async {
            loop {
                seen.events.recv().await.expect("the tree lives");
                let snapshot = tree.snapshot();
                let running = |path: &str| {
                    let child = snapshot.find(path);
                    child.is_some_and(|child| child.status == ChildStatus::Running)
                };
                let all = ["top/in", "top/in/a", "top/in/b", "top/in/deep/d", "top/in/e"];
                let again = two.incarnation().is_some_and(|life| life > 1);
                if again && all.into_iter().all(running) {
                    break;
                }
            }
        };
        within(&clock, until, whole).await.expect("the tree equals its spec again");
        assert!(two.call(Do::Ping).await.is_ok() && deep.call(Do::Ping).await.is_ok());
    }
    let begun = counted.load(Ordering::SeqCst);
    tree.stop().await;
    drop(tree);
    seen.drained().await;
    check_lives(&scene.look());
    let taken = counted.load(Ordering::SeqCst);
    assert!(begun <= taken);
    taken > at
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_step_of_a_start_a_group_restart_and_a_stop_it_leaves_no_orphan() {
    for strategy in STRATEGIES {
        for with_crash in [false, true] {
            let mut at = 0;
            while killed_at(strategy, at, with_crash).await {
                at += 1;
            }
            assert!(at > 8, "only {at} steps: {strategy:?}");
        }
    }
}
