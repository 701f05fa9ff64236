//! OTP's calls to a running supervisor, by the ids of the suites.

use std::future::pending;

use super::*;
use crate::restart::{AutoShutdown, Rule};
use crate::supervisor::{ChildSpec, Decline, Kind, RequestError, Stop, SupervisorRef};

fn sleeper(name: &str) -> ChildSpec {
    task(name, |stop: Stop| async move { stop.requested().await })
}

fn path(text: &str) -> crate::event::Path {
    let mut names = text.split('/');
    let root = crate::event::Path::root(names.next().expect("a root"));
    names.fold(root, |above, name| above.join(name))
}

#[tokio::test(start_paused = true)]
async fn s04_specs_that_say_nothing_get_the_defaults_of_otp() {
    let inner = SupervisorSpec::one_for_one("inner");
    let spec = SupervisorSpec::one_for_one("top").child(Scene::new().probe("a")).child(inner);
    let (tree, _) = started(spec).await;
    let children = tree.which_children();
    let kinds: Vec<_> = children.iter().map(|child| (child.kind, child.restart)).collect();
    assert_eq!(kinds, [(Kind::Worker, Restart::Permanent), (Kind::Supervisor, Restart::Permanent)]);
    let shutdowns: Vec<_> = children.iter().map(|child| child.shutdown).collect();
    assert_eq!(shutdowns, [Shutdown::Within(secs(5)), Shutdown::Patient]);
    let unknown = tree.root().terminate_child("b").await;
    assert_eq!(unknown, Err(RequestError::NotFound(path("top/b"))));
    assert!(tree.snapshot().find("top/b").is_none());
}

/// A field, what the supervisor says of significant children, and a spec with that field wrong.
type Bad<'a> = (&'static str, AutoShutdown, Box<dyn Fn() -> ChildSpec + 'a>);

#[tokio::test(start_paused = true)]
async fn s05_every_bad_spec_is_refused_by_field_and_every_good_one_accepted() {
    let scene = Scene::new();
    let (zero, one) = (Duration::ZERO, secs(1));
    let any = AutoShutdown::AnySignificant;
    let probe = || scene.probe("a");
    let cases: Vec<Bad<'_>> = vec![
        ("name", any, Box::new(|| sleeper(""))),
        ("name", any, Box::new(|| sleeper("a/b"))),
        ("name", any, Box::new(|| sleeper(&"x".repeat(256)))),
        (
            "significant",
            AutoShutdown::Never,
            Box::new(|| sleeper("a").restart(Restart::Transient).significant()),
        ),
        ("significant", any, Box::new(|| sleeper("a").significant())),
        ("backoff", any, Box::new(|| sleeper("a").backoff(secs(2)..=one))),
        ("backoff", any, Box::new(|| sleeper("a").backoff(zero..=one))),
        ("backoff", any, Box::new(|| sleeper("a").backoff(one..=Duration::MAX))),
        ("budget", any, Box::new(|| sleeper("a").budget(1, zero))),
        ("budget", any, Box::new(|| sleeper("a").budget(u32::MAX, one))),
        ("start_within", any, Box::new(|| sleeper("a").start_within(zero))),
        ("shutdown", any, Box::new(|| sleeper("a").shutdown(Duration::MAX))),
        ("handler_limit", any, Box::new(|| probe().handler_limit(zero).into())),
        ("mailbox", any, Box::new(|| probe().mailbox(0).into())),
        ("mailbox", any, Box::new(|| probe().mailbox(9).into())),
        ("hold", any, Box::new(|| probe().hold(9).into())),
        ("probe", any, Box::new(|| probe().probe(zero, one, Do::Ping).into())),
        ("probe", any, Box::new(|| probe().probe(one, zero, Do::Ping).into())),
    ];
    for (expected, auto_shutdown, child) in cases {
        let top = || SupervisorSpec::one_for_one("top").auto_shutdown(auto_shutdown);
        let (tree, _) = started(top()).await;
        match tree.root().start_child(child()).await {
            Err(RequestError::Invalid { field, .. }) => assert_eq!(field, expected),
            other => panic!("{expected}: {other:?}"),
        }
        assert_eq!(counts(&tree), [0, 0, 0, 0]);
        match top().child(child()).start().await.expect_err("it must not start") {
            StartError::Invalid { field, .. } => assert_eq!(field, expected),
            other => panic!("{expected}: {other}"),
        }
    }
    assert!(scene.look().is_empty(), "nothing was started");
}

#[tokio::test(start_paused = true)]
async fn s05_all_restart_types_with_all_ways_to_stop_are_accepted() {
    for restart in [Restart::Permanent, Restart::Transient, Restart::Temporary] {
        let ways = [
            Shutdown::Within(Duration::ZERO),
            Shutdown::Within(secs(1)),
            Shutdown::Patient,
            Shutdown::Kill,
        ];
        for shutdown in ways {
            let inner = SupervisorSpec::one_for_one("inner");
            let inner = ChildSpec::from(inner).restart(restart).shutdown(shutdown);
            let spec = SupervisorSpec::one_for_one("top");
            let spec = spec.child(sleeper("a").restart(restart).shutdown(shutdown)).child(inner);
            let (tree, _) = started(spec).await;
            assert_eq!(counts(&tree), [2, 2, 1, 1], "{restart:?} {shutdown:?}");
            assert_eq!(tree.stop().await, ended(ExitReason::Shutdown));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s07_the_documented_defaults_are_the_ones_enforced() {
    let intensity = crate::restart::Intensity::default();
    assert_eq!((intensity.restarts, intensity.period), (3, secs(5)));
    assert_eq!(AutoShutdown::default(), AutoShutdown::Never);
    let rule = Rule::new(Restart::Permanent, Shutdown::WORKER);
    assert!(rule.backoff.is_none() && rule.budget.is_none() && !rule.significant);
    let child = ChildRef::unbound();
    let spec = SupervisorSpec::dynamic("top");
    let (tree, mut seen) = started(spec).await;
    let root = tree.root();
    for _ in 0..100 {
        root.start_child(sleeper("many")).await.expect("there is no limit");
    }
    root.start_child(Scene::new().probe("a").bind(&child)).await.expect("it starts");
    assert_eq!(tree.snapshot().restarts_left, 3);
    for incarnation in 1..=3 {
        child.cast(Do::Act(Act::Panic)).expect("it lives");
        assert_eq!(seen.up("top/a-100").await, incarnation, "its start before the crash");
        seen.exited("top/a-100").await;
    }
    seen.up("top/a-100").await;
    assert_eq!(tree.snapshot().restarts_left, 0);
    child.cast(Do::Act(Act::Panic)).expect("it lives");
    assert_eq!(tree.wait().await, ended(ExitReason::GaveUp));
}

#[tokio::test(start_paused = true)]
async fn s09_the_life_of_a_child_under_requests() {
    for strategy in STRATEGIES {
        let scene = Scene::new();
        let (tree, _) = started(SupervisorSpec::new("top", strategy)).await;
        let (root, a) = (tree.root(), path("top/a"));
        let added = root.start_child(scene.probe("a")).await.expect("it starts");
        assert_eq!(added.map(|child| child.incarnation), Some(1));
        let again = root.start_child(scene.probe("a")).await;
        assert_eq!(again, Err(RequestError::AlreadyStarted(a.clone())));
        assert_eq!(root.restart_child("a").await, Err(RequestError::Running(a.clone())));
        assert_eq!(root.delete_child("a").await, Err(RequestError::Running(a.clone())));
        assert_eq!(counts(&tree), [1, 1, 0, 1]);

        assert_eq!(root.terminate_child("a").await, Ok(()));
        assert_eq!(counts(&tree), [1, 0, 0, 1]);
        assert_eq!(root.terminate_child("a").await, Ok(()), "again");
        let again = root.start_child(scene.probe("a")).await;
        assert_eq!(again, Err(RequestError::AlreadyPresent(a.clone())));
        let restarted = root.restart_child("a").await.expect("it starts");
        assert_eq!(restarted.map(|child| child.incarnation), Some(2));
        assert_eq!(counts(&tree), [1, 1, 0, 1]);

        assert_eq!(root.terminate_child("a").await, Ok(()));
        assert_eq!(root.delete_child("a").await, Ok(()));
        assert_eq!(counts(&tree), [0, 0, 0, 0]);
        assert_eq!(root.restart_child("a").await, Err(RequestError::NotFound(a.clone())));
        assert_eq!(root.delete_child("a").await, Err(RequestError::NotFound(a.clone())));
        assert_eq!(root.terminate_child("a").await, Err(RequestError::NotFound(a)));
        assert_eq!(scene.look(), ["+a", "-a", "+a", "-a"]);
        tree.stop().await;
        assert_eq!(root.start_child(scene.probe("a")).await, Err(RequestError::Stopped));
    }
    assert_eq!(SupervisorRef::unbound().delete_child("a").await, Err(RequestError::Unbound));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_added_and_does_not_start_is_not_listed() {
    let scene = Scene::scripted(|at, _| if at == "pre_start" { Act::Fail } else { Act::Go });
    let (tree, _) = started(SupervisorSpec::one_for_one("top")).await;
    let failed = tree.root().start_child(scene.probe("a")).await;
    let reason = ExitReason::StartFailed("failed".into());
    assert_eq!(failed, Err(RequestError::StartFailed { path: path("top/a"), reason }));
    assert_eq!((counts(&tree), tree.snapshot().restarts_left), ([0, 0, 0, 0], 3));

    // One that is restarted by request and fails stays listed, and costs no restart either.
    let scene = Scene::scripted(
        |at, life| {
            if at == "pre_start" && life == 2 { Act::Fail } else { Act::Go }
        },
    );
    tree.root().start_child(scene.probe("b")).await.expect("it starts");
    tree.root().terminate_child("b").await.expect("it stops");
    let failed = tree.root().restart_child("b").await;
    assert!(matches!(failed, Err(RequestError::StartFailed { .. })), "{failed:?}");
    assert_eq!((counts(&tree), tree.snapshot().restarts_left), ([1, 0, 0, 1], 3));
    tree.root().restart_child("b").await.expect("the third start is good");
}

#[tokio::test(start_paused = true)]
async fn s36_counts_and_lists_agree_with_thousands_of_children() {
    for kind in [Kind::Worker, Kind::Supervisor] {
        let (tree, mut seen) = started(SupervisorSpec::dynamic("top")).await;
        let root = tree.root();
        for more in [1_000, 2_000] {
            for _ in 0..1_000 {
                let child = match kind {
                    Kind::Worker => sleeper("c"),
                    Kind::Supervisor => SupervisorSpec::one_for_one("c").into(),
                };
                let added = root.start_child(child.restart(Restart::Temporary)).await;
                assert!(added.expect("it starts").is_some());
            }
            let supervisors = if kind == Kind::Supervisor { more } else { 0 };
            assert_eq!(counts(&tree), [more, more, supervisors, more - supervisors]);
            assert_eq!(tree.which_children().len(), more);
        }
        for child in tree.which_children() {
            root.terminate_child(&child.name).await.expect("it stops");
        }
        assert_eq!((counts(&tree), tree.which_children().len()), ([0, 0, 0, 0], 0));
        seen.until("top/c-1999", |kind| matches!(kind, EventKind::Exited(_))).await;
        assert_eq!(tree.stop().await, ended(ExitReason::Shutdown));
    }
}

#[tokio::test(start_paused = true)]
async fn s40_a_significant_child_ends_its_supervisor_as_said() {
    type End = fn(&ChildRef<Do>);
    let normal: End = |child| drop(child.cast(Do::Stop(None)));
    let crash: End = |child| drop(child.cast(Do::Act(Act::Panic)));
    let kill: End = |child| child.actor().expect("it lives").kill();
    for strategy in STRATEGIES {
        for restart in [Restart::Temporary, Restart::Transient] {
            for (end, is_normal) in [(normal, true), (crash, false), (kill, false)] {
                let scene = Scene::new();
                let (one, other) = (ChildRef::unbound(), ChildRef::unbound());
                let spec = SupervisorSpec::new("top", strategy)
                    .auto_shutdown(AutoShutdown::AnySignificant)
                    .child(scene.probe("c1").restart(restart).significant().bind(&one))
                    .child(scene.probe("c2").restart(restart).significant())
                    .child(scene.probe("c3").restart(restart).bind(&other));
                let (tree, mut seen) = started(spec).await;
                normal(&other);
                seen.exited("top/c3").await;
                tree.root().terminate_child("c2").await.expect("it stops");
                assert!(other.call(Do::Ping).await.is_err(), "it has ended for good");
                end(&one);
                seen.exited("top/c1").await;
                if restart == Restart::Temporary || is_normal {
                    assert_eq!(tree.wait().await, ended(ExitReason::Shutdown));
                } else {
                    assert_eq!(seen.up("top/c1").await, 2);
                    assert_eq!(tree.stop().await, ended(ExitReason::Shutdown));
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn all_significant_children_end_before_their_supervisor_does() {
    let scene = Scene::new();
    let (one, two) = (ChildRef::unbound(), ChildRef::unbound());
    let significant =
        |name, child| scene.probe(name).restart(Restart::Transient).significant().bind(child);
    let spec = SupervisorSpec::one_for_one("top")
        .auto_shutdown(AutoShutdown::AllSignificant)
        .child(significant("a", &one))
        .child(significant("b", &two))
        .child(scene.probe("c"));
    let (tree, mut seen) = started(spec).await;
    one.cast(Do::Stop(None)).expect("it lives");
    seen.exited("top/a").await;
    assert_eq!(two.call(Do::Ping).await, Ok(1), "the other goes on");
    two.cast(Do::Stop(None)).expect("it lives");
    assert_eq!(tree.wait().await, ended(ExitReason::Shutdown));
    let shut = seen.until("top", |kind| *kind == EventKind::AutoShutdown).await;
    let cause = seen.all.iter().find(|event| Some(event.id) == shut.cause).expect("a cause");
    assert_eq!(cause.path, path("top/b"));
    assert_eq!(scene.look(), ["+a", "+b", "+c", "-a", "-b", "-c"]);
}

#[tokio::test(start_paused = true)]
async fn s56_one_off_tasks_and_a_limit_of_children() {
    let spec = SupervisorSpec::dynamic("tasks").max_children(1);
    let (tree, mut seen) = started(spec).await;
    let root = tree.root();
    let name = root.start_child(sleeper("t").restart(Restart::Temporary)).await;
    let name = name.expect("it starts").expect("it is listed").name;
    let full = RequestError::MaxChildren { path: path("tasks"), children_max: 1 };
    assert_eq!(root.start_child(sleeper("t")).await, Err(full));
    assert_eq!(root.terminate_child(&name).await, Ok(()));
    let gone = Err(RequestError::NotFound(path(&format!("tasks/{name}"))));
    assert_eq!(root.terminate_child(&name).await, gone);

    // A permanent task that ends starts again; a crash of one leaves whoever started it alive.
    let runs = Arc::new(AtomicU64::new(0));
    let counted = runs.clone();
    let permanent = task("p", move |_stop: Stop| {
        let run = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            match run {
                0 => {}
                1 => panic!("boom"),
                _ => pending().await,
            }
        }
    });
    root.start_child(permanent).await.expect("it starts");
    while seen.up("tasks/p-1").await < 3 {}
    // Started is told before the body is called.
    while runs.load(Ordering::SeqCst) < 3 {
        tokio::task::yield_now().await;
    }
}

/// OTP: `supervisor:del_child/2`. A pool must not fill up with children that have done their work.
#[tokio::test(start_paused = true)]
async fn a_dynamic_supervisor_lists_nobody_who_does_not_run() {
    for restart in [Restart::Permanent, Restart::Transient, Restart::Temporary] {
        let (tree, mut seen) = started(SupervisorSpec::dynamic("pool").max_children(1)).await;
        let pool = tree.root();
        let added = pool.start_child(sleeper("a").restart(restart)).await.expect("it starts");
        let name = added.expect("it is listed").name;
        assert_eq!(pool.terminate_child(&name).await, Ok(()));
        assert_eq!(counts(&tree), [0, 0, 0, 0], "{restart:?}");
        let gone = RequestError::NotFound(path("pool/a-0"));
        assert_eq!(pool.terminate_child(&name).await, Err(gone.clone()));
        assert_eq!(pool.restart_child(&name).await, Err(gone));
        let done = task("b", |_stop: Stop| async {});
        let once = if restart == Restart::Permanent { Restart::Transient } else { restart };
        pool.start_child(done.restart(once)).await.expect("there is room");
        seen.exited("pool/b-1").await;
        while counts(&tree) != [0, 0, 0, 0] {
            tokio::task::yield_now().await;
        }
        pool.start_child(sleeper("c")).await.expect("there is room again");
    }
    let pool = started(SupervisorSpec::dynamic("pool")).await.0;
    let nameless = pool.root().start_child(sleeper("")).await;
    assert!(matches!(nameless, Err(RequestError::Invalid { field: "name", .. })), "{nameless:?}");
}

/// The child is down in between, which is what was asked for; that its group brings it back does
/// not keep whoever asked waiting.
#[tokio::test(start_paused = true)]
async fn a_request_to_terminate_is_answered_although_the_group_brings_the_child_back() {
    let (scene, a) = (Scene::new(), ChildRef::unbound());
    let slow = task("slow", |stop: Stop| async move {
        stop.requested().await;
        TokioClock::new().sleep(secs(3)).await;
    });
    let spec = SupervisorSpec::one_for_all("top").child(scene.probe("a").bind(&a)).child(slow);
    let (tree, mut seen) = started(spec).await;
    let root = tree.root();
    let clock = TokioClock::new();
    let asked = clock.now();
    let (done, ()) = tokio::join!(root.terminate_child("slow"), async {
        seen.until("top/slow", |kind| *kind == EventKind::Stopping).await;
        a.cast(Do::Act(Act::Panic)).expect("it lives");
    });
    assert_eq!(done, Ok(()));
    assert!(clock.now().since(asked) < secs(4), "when it was down");
    assert_eq!(seen.up("top/slow").await, 2);
}

/// A chain of causes leads through the time that was waited.
#[tokio::test(start_paused = true)]
async fn a_start_after_a_backoff_names_its_cause() {
    let (scene, a) = (Scene::new(), ChildRef::unbound());
    let child = scene.probe("a").backoff(secs(1)..=secs(9)).bind(&a);
    let (_tree, mut seen) = started(SupervisorSpec::one_for_one("top").child(child)).await;
    a.cast(Do::Act(Act::Panic)).expect("it lives");
    let waits = seen.until("top/a", |kind| matches!(kind, EventKind::BackingOff { .. })).await;
    let start = seen.until("top/a", |kind| *kind == EventKind::Started).await;
    assert_eq!(start.cause, Some(waits.id));
}

#[tokio::test(start_paused = true)]
async fn a_child_may_decline() {
    struct Shy;

    #[ractor::actor(message = (), state = (), arguments = ())]
    impl Shy {
        async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
            Err(Decline.into())
        }
    }

    let scene = Scene::new();
    let spec = SupervisorSpec::rest_for_one("top")
        .child(worker("shy", || (Shy, ())))
        .child(scene.probe("a"));
    let (tree, mut seen) = started(spec).await;
    seen.until("top/shy", |kind| *kind == EventKind::Declined).await;
    assert_eq!(counts(&tree), [2, 1, 0, 2]);
    let status = |name: &str| tree.snapshot().find(name).map(|child| child.status);
    assert_eq!(status("top/shy"), Some(ChildStatus::Resting));
    let added = tree.root().start_child(worker("shy2", || (Shy, ()))).await.expect("no failure");
    assert_eq!(added.map(|child| child.status), Some(ChildStatus::Resting));
    let temporary = worker("shy3", || (Shy, ())).restart(Restart::Temporary);
    assert_eq!(tree.root().start_child(temporary).await, Ok(None));
    assert_eq!(tree.snapshot().restarts_left, 3, "it costs nothing");
}

#[tokio::test(start_paused = true)]
async fn added_children_go_with_their_supervisor_and_its_ref_outlives_it() {
    let (scene, couriers) = (Scene::new(), SupervisorRef::unbound());
    let inner = SupervisorSpec::one_for_one("in").intensity(0, HOUR).bind(&couriers);
    let spec = SupervisorSpec::one_for_one("top").child(inner.child(scene.probe("a")));
    let (tree, mut seen) = started(spec).await;
    let (added, kept) = (ChildRef::unbound(), tree.supervisor("top/in").expect("it is there"));
    couriers.start_child(scene.probe("b").bind(&added)).await.expect("it starts");
    assert_eq!(added.call(Do::Ping).await, Ok(1));
    added.cast(Do::Act(Act::Panic)).expect("it lives");
    assert_eq!(seen.exited("top/in").await, ExitReason::GaveUp);
    assert_eq!(seen.up("top/in").await, 2);
    let names = |of: &SupervisorRef| {
        of.which_children().iter().map(|child| child.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!((names(&couriers), names(&kept)), (vec!["a".to_owned()], vec!["a".to_owned()]));
    assert_eq!(added.call(Do::Ping).await, Err(crate::supervisor::RefError::Stopped));
    couriers.start_child(scene.probe("c")).await.expect("the ref outlived the restart");
}
