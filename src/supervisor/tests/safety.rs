//! What must hold whatever children do: the supervisor lives, nothing overlaps, nothing is left.

use super::*;

/// Crashes the second child in each callback; the supervisor and the siblings must not care.
#[tokio::test(start_paused = true)]
async fn s46_a_panic_or_error_in_any_callback_never_kills_the_supervisor() {
    for callback in ["make", "pre_start", "post_start", "handle", "post_stop", "drop", "message"] {
        for what in [Act::Panic, Act::Fail] {
            // The second incarnation misbehaves, so that all callbacks are seen in a restart.
            let script = move |at, incarnation| {
                if at == callback && incarnation == 2 { what } else { Act::Go }
            };
            let (good, bad) = (Scene::new(), Scene::scripted(script));
            let child = ChildRef::unbound();
            let (tree, mut seen) = started(
                SupervisorSpec::one_for_one("top")
                    .intensity(9, HOUR)
                    .child(good.probe("a"))
                    .child(bad.probe("b").bind(&child)),
            )
            .await;
            child.cast(Do::Stop(None)).expect("it lives");
            seen.exited("top/b").await;
            if !["make", "pre_start", "post_start"].contains(&callback) {
                assert_eq!(seen.up("top/b").await, 2);
                match callback {
                    // Only after an error: a drop that panics while a panic unwinds past the
                    // mailbox aborts the process, by the rules of Rust.
                    "message" => {
                        child.cast(Do::Act(Act::Fail)).expect("it lives");
                        child.cast(Do::Bomb(Bomb)).expect("it lives");
                    }
                    "handle" => child.cast(Do::Act(what)).expect("it lives"),
                    _ => child.cast(Do::Stop(None)).expect("it lives"),
                }
            }
            let lenient = callback == "make" && what == Act::Fail;
            if !lenient {
                let reason = seen.exited("top/b").await;
                let started = !["make", "pre_start"].contains(&callback);
                assert!(
                    matches!(&reason, ExitReason::Crashed(why) | ExitReason::StartFailed(why)
                        if why.contains("boom") || why.contains("failed")),
                    "{callback}: {reason}"
                );
                assert_eq!(matches!(reason, ExitReason::Crashed(_)), started, "{callback}");
            }
            while seen.up("top/b").await < 3 - u64::from(lenient) {}
            assert_eq!(child.call(Do::Ping).await, Ok(3 - u64::from(lenient)), "{callback}");
            assert_eq!(incarnations(&tree)[0], 1, "{callback}");
            assert_eq!(tree.stop().await, ended(ExitReason::Shutdown));
            assert_eq!(good.look(), ["+a", "-a"]);
            seen_nothing_left(tree, seen).await;
        }
    }
}

async fn seen_nothing_left(tree: Tree, mut seen: Seen) {
    drop(tree);
    seen.drained().await;
}

/// The child holds a port, and ends in each way 2,500 times: without a gap of our own making, a
/// replacement that came too early would find the port in use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_holds_a_port_restarts_10_000_times() {
    struct Holder;
    #[ractor::actor(message = Do, state = std::net::TcpListener, arguments = u16)]
    impl Holder {
        async fn pre_start(
            &self,
            _myself: ActorRef<Do>,
            port: u16,
        ) -> Result<std::net::TcpListener, ActorProcessingErr> {
            Ok(std::net::TcpListener::bind(("127.0.0.1", port))?)
        }

        async fn handle(
            &self,
            myself: ActorRef<Do>,
            message: Do,
            _held: &mut std::net::TcpListener,
        ) -> Result<(), ActorProcessingErr> {
            if let Do::Act(what) = message {
                act(what).await?;
            }
            myself.stop(None);
            Ok(())
        }
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("bound").port();
    drop(free);
    let child = ChildRef::unbound();
    let spec = SupervisorSpec::one_for_one("top").intensity(20_000, HOUR);
    let holder = worker("holder", move || (Holder, port)).bind(&child);
    let (tree, mut seen) = started(spec.child(holder)).await;
    seen.up("top").await;
    for round in 0..10_000_u64 {
        match round % 4 {
            0 => child.cast(Do::Act(Act::Panic)).expect("it lives"),
            1 => child.cast(Do::Act(Act::Fail)).expect("it lives"),
            2 => child.cast(Do::Stop(None)).expect("it lives"),
            _ => child.actor().expect("it lives").kill(),
        }
        let reason = seen.exited("top/holder").await;
        assert!(!matches!(reason, ExitReason::StartFailed(_)), "{round}: {reason}");
        assert_eq!(seen.up("top/holder").await, round + 2);
    }
    assert_eq!(tree.stop().await, ended(ExitReason::Shutdown));
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_gives_up_is_restarted_by_its_own() {
    let (scene, leaf) = (Scene::new(), ChildRef::unbound());
    let inner = SupervisorSpec::one_for_one("in").intensity(1, HOUR);
    let inner = inner.child(scene.probe("x")).child(scene.probe("y").bind(&leaf));
    let top = SupervisorSpec::one_for_one("top").intensity(1, HOUR).child(inner);
    let (tree, mut seen) = started(top).await;
    let crash = || leaf.cast(Do::Act(Act::Fail)).expect("it lives");
    for round in 0..2 {
        crash();
        seen.exited("top/in/y").await;
        seen.up("top/in/y").await;
        crash();
        let exit = seen.exited("top/in").await;
        assert_eq!(exit, ExitReason::GaveUp);
        if round == 0 {
            assert_eq!(seen.up("top/in").await, 2);
            assert_eq!(scene.look(), ["+x", "+y", "-y", "+y", "-y", "-x", "+x", "+y"]);
            assert_eq!(tree.snapshot().find("top/in/y").expect("listed").incarnation, 3);
        }
    }
    assert_eq!(tree.wait().await, ended(ExitReason::GaveUp));
    assert_eq!(scene.look(), ["-y", "+y", "-y", "-x"]);
    let escalated = |event: &&Arc<Event>| event.kind == EventKind::Escalated;
    assert_eq!(seen.all.iter().filter(escalated).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_killed_supervisor_is_replaced_when_its_subtree_is_gone() {
    let (scene, leaf) = (Scene::new(), ChildRef::unbound());
    let deep = SupervisorSpec::one_for_one("deep").child(scene.probe("x").bind(&leaf));
    let inner = SupervisorSpec::one_for_one("in").child(deep).child(scene.probe("y"));
    let (tree, mut seen) = started(SupervisorSpec::one_for_one("top").child(inner)).await;
    let deep = leaf.actor().and_then(|actor| actor.try_get_supervisor()).expect("linked");
    deep.try_get_supervisor().expect("linked").kill();
    assert_eq!(seen.exited("top/in").await, ExitReason::Killed);
    assert_eq!(seen.up("top/in").await, 2);
    let mut log = scene.look();
    // Ractor kills in no order, and yet both are gone before the first replacement starts.
    log[2..4].sort();
    assert_eq!(log, ["+x", "+y", "-x", "-y", "+x", "+y"]);
    assert_eq!(leaf.call(Do::Ping).await, Ok(2));
    assert_eq!(tree.stop().await, ended(ExitReason::Shutdown));
    assert_eq!(scene.look(), ["-y", "-x"]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_loop_answers_and_stops_at_once() {
    let scene = Scene::scripted(|at, _| if at == "post_start" { Act::Fail } else { Act::Go });
    let spec = SupervisorSpec::one_for_one("top").intensity(1_000_000, HOUR);
    let (tree, mut seen) = started(spec.child(scene.probe("a"))).await;
    while seen.up("top/a").await < 100 {}
    assert!(tree.which_children()[0].restarts >= 99);
    assert_eq!(tree.stop().await, ended(ExitReason::Shutdown));
    seen.exited("top").await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_start_is_undone_and_a_dropped_tree_stops_in_order() {
    let (good, bad) = (Scene::new(), Scene::scripted(|_, _| Act::Hang));
    let setting = Setting::default();
    let mut events = setting.events.subscribe(100);
    let spec = SupervisorSpec::one_for_one("top").child(good.probe("a")).child(bad.probe("b"));
    let clock = TokioClock::new();
    let start = within(&clock, clock.now() + secs(1), spec.start_in(setting)).await;
    assert!(start.is_err(), "it hangs");
    while events.recv().await.is_some() {}
    assert_eq!(good.look(), ["+a", "-a"]);

    let spec = SupervisorSpec::one_for_one("top").child(good.probe("a")).child(good.probe("b"));
    let (tree, mut seen) = started(spec).await;
    drop(tree);
    assert_eq!(seen.exited("top").await, ExitReason::Shutdown);
    assert_eq!(good.look(), ["+a", "+b", "-b", "-a"]);
}

/// A clock that moves only when told.
#[derive(Debug, Default)]
struct HandClock(Mutex<(Instant, Vec<Sleeper>)>);

type Sleeper = (Instant, tokio::sync::oneshot::Sender<()>);

impl HandClock {
    fn pass(&self, span: Duration) {
        let mut inner = self.0.lock();
        let now = inner.0 + span;
        inner.0 = now;
        for (_, wake) in inner.1.extract_if(.., |(at, _)| *at <= now) {
            let _ = wake.send(());
        }
    }
}

impl Clock for HandClock {
    fn now(&self) -> Instant {
        self.0.lock().0
    }

    fn sleep_until(&self, at: Instant) -> futures::future::BoxFuture<'static, ()> {
        let (wake, woken) = tokio::sync::oneshot::channel();
        let mut inner = self.0.lock();
        if at <= inner.0 {
            return Box::pin(std::future::ready(()));
        }
        inner.1.push((at, wake));
        Box::pin(async move { drop(woken.await) })
    }

    fn unix(&self) -> Duration {
        Duration::ZERO
    }
}

/// A handler that blocks its thread cannot be killed: it is named, nothing is started in its
/// place, and the whole tree gives up rather than wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stuck_child_escalates_to_the_root_and_is_named() {
    let (scene, a, b) = (Scene::new(), ChildRef::unbound(), ChildRef::unbound());
    let clock = Arc::new(HandClock::default());
    let setting = Setting::new(clock.clone());
    let mut seen = Seen { events: setting.events.subscribe(1_000), all: Vec::new() };
    let inner = SupervisorSpec::one_for_all("in")
        .child(scene.probe("a").bind(&a))
        .child(scene.probe("b").bind(&b));
    let spec = SupervisorSpec::one_for_one("top").child(scene.probe("c")).child(inner);
    let tree = spec.start_in(setting).await.expect("it starts");
    let (release, blocked) = std::sync::mpsc::channel();
    b.call(|entered| Do::Block(entered, blocked)).await.expect("it blocks");
    a.cast(Do::Act(Act::Fail)).expect("it lives");
    seen.until("top/in/b", |kind| *kind == EventKind::Stopping).await;
    clock.pass(secs(5));
    seen.until("top/in/b", |kind| *kind == EventKind::Killing).await;
    assert_eq!(tree.snapshot().find("top/in/b").expect("listed").status, ChildStatus::Stopping);
    clock.pass(secs(5));
    seen.until("top/in/b", |kind| *kind == EventKind::Stuck).await;
    assert_eq!(tree.snapshot().find("top/in/b").expect("listed").status, ChildStatus::Stuck);
    seen.until("top/in", |kind| *kind == EventKind::Escalated).await;
    // Each supervisor above waits its time for the subtree, in vain. Its wait may not have begun
    // when the clock is moved, so it is moved until the end.
    let mut wait = Box::pin(tree.wait());
    let begun = clock.now();
    let end = loop {
        if clock.now().since(begun) > HOUR {
            let told = std::iter::from_fn(|| seen.events.try_recv()).collect::<Vec<_>>();
            panic!("no end: {}\n{told:#?}", tree.snapshot());
        }
        tokio::select! {
            biased;
            end = &mut wait => break end,
            () = tokio::task::yield_now() => clock.pass(Duration::from_millis(1)),
        }
    };
    assert_eq!(end.reason, ExitReason::GaveUp);
    assert_eq!(end.stuck.iter().map(crate::event::Path::as_str).collect::<Vec<_>>(), ["top/in/b"]);
    assert!(scene.look().contains(&"-c".to_owned()), "the others were stopped");
    release.send(()).expect("it still waits");
    drop(wait);
    drop(tree);
    seen.drained().await;
    assert_eq!(scene.look(), ["-b"], "and nothing was started in its place");
}
