//! The cases of the suites we are measured against, by id.

use super::*;

#[tokio::test(start_paused = true)]
async fn s01_starts_and_stops_without_children() {
    for strategy in STRATEGIES {
        let (tree, mut seen) = started(SupervisorSpec::new("top", strategy)).await;
        assert_eq!(counts(&tree), [0, 0, 0, 0]);
        assert_eq!(tree.stop().await, ended(ExitReason::Shutdown));
        assert_eq!(tree.stop().await, ended(ExitReason::Shutdown), "again");
        assert_eq!(seen.exited("top").await, ExitReason::Shutdown);
    }
}

#[tokio::test(start_paused = true)]
async fn s02_a_failed_start_is_an_error_and_leaves_nothing() {
    for (callback, what) in
        [("pre_start", Act::Panic), ("pre_start", Act::Fail), ("make", Act::Panic)]
    {
        let (good, bad) = (
            Scene::new(),
            Scene::scripted(move |at, _| if at == callback { what } else { Act::Go }),
        );
        let inner =
            SupervisorSpec::one_for_all("inner").child(good.probe("b")).child(bad.probe("c"));
        let spec = SupervisorSpec::one_for_one("top").child(good.probe("a")).child(inner);
        let (tree, mut seen) = start(spec).await;
        let StartError::Failed { path, reason } = tree.expect_err("it must not start") else {
            panic!("another error");
        };
        assert_eq!(path.as_str(), "top/inner/c");
        let text = if what == Act::Panic { "boom" } else { "failed" };
        assert_eq!(reason, ExitReason::StartFailed(text.into()));
        assert_eq!(good.look(), ["+a", "+b", "-b", "-a"]);
        assert_eq!(seen.exited("top/inner/c").await, reason, "the same cause");
        seen.drained().await;
        assert!(ractor::registry::registered().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn s02_a_bad_spec_is_an_error_before_anything_starts() {
    let scene = Scene::new();
    let top = || SupervisorSpec::one_for_one("top").child(scene.probe("a"));
    let inner = |spec: SupervisorSpec| top().child(spec.child(scene.probe("b")));
    let bound = ChildRef::unbound();
    let other = ChildRef::unbound();
    let deep = SupervisorSpec::one_for_one("in");
    let cases = [
        (top().child(scene.probe("a")), "top/a", "name"),
        (top().child(scene.probe("")), "top/", "name"),
        (top().child(scene.probe("x/y")), "top/x/y", "name"),
        (SupervisorSpec::one_for_all(""), "", "name"),
        (top().intensity(1, Duration::ZERO), "top", "intensity"),
        (inner(deep.intensity(u32::MAX, HOUR)), "top/in", "intensity"),
        (
            top().child(scene.probe("c").bind(&bound)).child(scene.probe("d").bind(&bound)),
            "top/d",
            "bind",
        ),
        (top().child(scene.probe("e").bind(&other).bind(&ChildRef::unbound())), "top/e", "bind"),
    ];
    for (spec, at, part) in cases {
        match spec.start().await.expect_err("it must not start") {
            StartError::Invalid { path, field, .. } => {
                assert_eq!((path.as_str(), field), (at, part));
            }
            other => panic!("{other}"),
        }
    }
    assert!(scene.look().is_empty());
}

#[tokio::test(start_paused = true)]
async fn s08_restart_type_and_exit_reason() {
    type End = fn(&ChildRef<Do>);
    let ends: [(&str, bool, End); 6] = [
        ("normal", false, |child| drop(child.cast(Do::Stop(None)))),
        ("shutdown", false, |child| drop(child.cast(Do::Stop(Some("shutdown".into()))))),
        ("with term", false, |child| drop(child.cast(Do::Stop(Some("moved away".into()))))),
        ("error", true, |child| drop(child.cast(Do::Act(Act::Fail)))),
        ("panic", true, |child| drop(child.cast(Do::Act(Act::Panic)))),
        ("kill", true, |child| child.actor().expect("it lives").kill()),
    ];
    for strategy in STRATEGIES {
        for restart in [Restart::Permanent, Restart::Transient, Restart::Temporary] {
            for (name, abnormal, end) in ends {
                let (scene, child) = (Scene::new(), ChildRef::unbound());
                let probe = scene.probe("a").restart(restart).bind(&child);
                let (tree, mut seen) =
                    started(SupervisorSpec::new("top", strategy).child(probe)).await;
                end(&child);
                seen.exited("top/a").await;
                let back = match restart {
                    Restart::Permanent => true,
                    Restart::Transient => abnormal,
                    Restart::Temporary => false,
                };
                if back {
                    assert_eq!(seen.up("top/a").await, 2, "{restart:?} {name}");
                    assert_eq!(child.call(Do::Ping).await, Ok(2));
                    assert_eq!(counts(&tree), [1, 1, 0, 1]);
                } else {
                    let listed = usize::from(restart == Restart::Transient);
                    assert_eq!(counts(&tree), [listed, 0, 0, listed], "{restart:?} {name}");
                }
                assert_eq!(tree.stop().await, ended(ExitReason::Shutdown));
                let log = scene.look();
                let whole: &[&str] = if back { &["+a", "-a", "+a", "-a"] } else { &["+a", "-a"] };
                assert_eq!(log, whole, "{restart:?} {name}");
            }
        }
    }
}

async fn crash(child: &ChildRef<Do>, path: &str, seen: &mut Seen) {
    child.cast(Do::Act(Act::Panic)).expect("it lives");
    let reason = seen.exited(path).await;
    assert_eq!(reason, ExitReason::Crashed("boom".into()));
}

#[tokio::test(start_paused = true)]
async fn s12_one_for_one_replaces_only_the_crashed_child() {
    let (scene, b) = (Scene::new(), ChildRef::unbound());
    let spec = SupervisorSpec::one_for_one("top").intensity(2, HOUR);
    let (tree, mut seen) =
        started(spec.child(scene.probe("a")).child(scene.probe("b").bind(&b))).await;
    for round in 2..=3 {
        crash(&b, "top/b", &mut seen).await;
        assert_eq!(seen.up("top/b").await, round);
        assert_eq!(b.call(Do::Ping).await, Ok(round));
        assert_eq!((incarnations(&tree), counts(&tree)), (vec![1, round], [2, 2, 0, 2]));
    }
    crash(&b, "top/b", &mut seen).await;
    // Differs: OTP's reason is `shutdown`; ours says that the supervisor gave up.
    assert_eq!(tree.wait().await, ended(ExitReason::GaveUp));
    assert_eq!(scene.look(), ["+a", "+b", "-b", "+b", "-b", "+b", "-b", "-a"]);
}

#[tokio::test(start_paused = true)]
async fn s13_one_for_all_replaces_all_and_counts_once() {
    let (scene, a) = (Scene::new(), ChildRef::unbound());
    let spec = SupervisorSpec::one_for_all("top").intensity(2, HOUR);
    let (tree, mut seen) =
        started(spec.child(scene.probe("a").bind(&a)).child(scene.probe("b"))).await;
    for round in 2..=3 {
        crash(&a, "top/a", &mut seen).await;
        assert_eq!(seen.up("top/b").await, round);
        assert_eq!(a.call(Do::Ping).await, Ok(round));
        assert_eq!((incarnations(&tree), counts(&tree)), (vec![round; 2], [2, 2, 0, 2]));
    }
    crash(&a, "top/a", &mut seen).await;
    assert_eq!(tree.wait().await, ended(ExitReason::GaveUp));
    let round = ["-a", "-b", "+a", "+b"];
    let log = [&["+a", "+b"][..], &round, &round, &["-a", "-b"]].concat();
    assert_eq!(scene.look(), log);
}

#[tokio::test(start_paused = true)]
async fn s14_rest_for_one_replaces_the_later_ones() {
    let (scene, b) = (Scene::new(), ChildRef::unbound());
    let (tree, mut seen) = started(
        SupervisorSpec::rest_for_one("top")
            .intensity(2, HOUR)
            .child(scene.probe("a"))
            .child(scene.probe("b").bind(&b))
            .child(scene.probe("c")),
    )
    .await;
    for round in 2..=3 {
        crash(&b, "top/b", &mut seen).await;
        assert_eq!(seen.up("top/c").await, round);
        assert_eq!(b.call(Do::Ping).await, Ok(round));
        assert_eq!((incarnations(&tree), counts(&tree)), (vec![1, round, round], [3, 3, 0, 3]));
    }
    crash(&b, "top/b", &mut seen).await;
    assert_eq!(tree.wait().await, ended(ExitReason::GaveUp));
}

#[tokio::test(start_paused = true)]
async fn s26_timeout_kill_and_infinity() {
    let names = ["prompt", "late", "killed", "patient"];
    let refs: [ChildRef<Do>; 4] = std::array::from_fn(|_| ChildRef::unbound());
    let slow = Scene::scripted(|at, _| if at == "post_stop" { Act::Hang } else { Act::Go });
    let quick = Scene::new();
    let spec = SupervisorSpec::one_for_one("top")
        .child(quick.probe(names[0]).bind(&refs[0]).shutdown(secs(1)))
        .child(slow.probe(names[1]).bind(&refs[1]).shutdown(secs(1)))
        .child(slow.probe(names[2]).bind(&refs[2]).shutdown(Shutdown::Kill))
        .child(
            task(names[3], |stop| async move {
                stop.requested().await;
                TokioClock::new().sleep(secs(200)).await;
            })
            .shutdown(Shutdown::Patient),
        );
    let (tree, mut seen) = started(spec).await;
    let clock = TokioClock::new();
    let before = clock.now();
    let took = |span: Duration| {
        let passed = clock.now().since(before);
        assert!(passed >= span && passed < span + Duration::from_millis(50), "{passed:?}");
    };
    let (end, ()) = tokio::join!(tree.stop(), async {
        assert_eq!(seen.exited("top/patient").await, ExitReason::Shutdown);
        took(secs(200));
        assert_eq!(seen.exited("top/killed").await, ExitReason::Killed);
        took(secs(200));
        assert_eq!(seen.exited("top/late").await, ExitReason::Killed);
        took(secs(201));
        assert_eq!(seen.exited("top/prompt").await, ExitReason::Shutdown);
        took(secs(201));
    });
    assert_eq!(end, ended(ExitReason::Shutdown));
}

#[tokio::test(start_paused = true)]
async fn s28_order_is_list_order() {
    let names = ["ch7", "ch3", "ch10", "ch2", "ch5"];
    let (scene, third) = (Scene::new(), ChildRef::unbound());
    let spec = names.iter().fold(SupervisorSpec::rest_for_one("top"), |spec, name| {
        let probe = scene.probe(name);
        spec.child(if *name == "ch10" { probe.bind(&third) } else { probe })
    });
    let (tree, mut seen) = started(spec).await;
    assert_eq!(scene.look(), ["+ch7", "+ch3", "+ch10", "+ch2", "+ch5"]);
    crash(&third, "top/ch10", &mut seen).await;
    let first = seen.all.last().expect("the crash").id;
    seen.up("top/ch5").await;
    assert_eq!(scene.look(), ["-ch10", "-ch5", "-ch2", "+ch10", "+ch2", "+ch5"]);
    // Each event leads back to the crash.
    let last = seen.all.last().expect("the start").clone();
    let mut event = &last;
    while let Some(cause) = event.cause {
        event = seen.all.iter().find(|event| event.id == cause).expect("a cause comes first");
    }
    assert_eq!(event.id, first);
    assert_eq!(tree.stop().await, ended(ExitReason::Shutdown));
    assert_eq!(scene.look(), ["-ch5", "-ch2", "-ch10", "-ch3", "-ch7"]);
}
