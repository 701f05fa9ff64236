//! Control links on a thread of their own: they go on while user code blocks every worker.

use tokio::runtime;

use super::*;
use crate::base::ControlRuntime;

#[tokio::test]
async fn control_links_go_on_while_every_worker_is_blocked_and_message_links_outlive_it() {
    let control = ControlRuntime::start("control").expect("a thread");
    let work = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let work = work.expect("two threads");
    let on = |handle: &runtime::Handle| Spawner::On(handle.clone());
    let seams_of_b = Seams { control: on(control.handle()), work: on(work.handle()), ..seams() };
    let quick = |name| LinksConfig {
        timing: Timing {
            ping_interval: Duration::from_millis(20),
            dead_after: GENEROUS * 2,
            ..Timing::default()
        },
        ..insecure(name)
    };
    let a = start(quick("a")).await;
    // Made where a node makes it: on one of its own runtimes.
    let b = work.spawn(Links::start(quick("b"), seams_of_b)).await.expect("no panic");
    let b = b.expect("loopback and a free port");
    b.set_cluster(CLUSTER);
    introduce(&a, "b", &b);
    let _heard = obey(&b, Service::Entity);
    for class in [Class::Control, Class::Message] {
        assert_eq!(ask_in(&a, "b", class).await, Ok("x".into()));
    }

    // User code that blocks both workers until it is let go.
    let (blocked, mut is_blocked) = mpsc::unbounded_channel();
    let mut gates = Vec::new();
    for _ in 0..2 {
        let (gate, closed) = std::sync::mpsc::channel::<()>();
        gates.push(gate);
        let blocked = blocked.clone();
        work.spawn(async move {
            blocked.send(()).expect("the test waits for it");
            // An error: it is let go.
            let _ = closed.recv();
        });
    }
    for _ in 0..2 {
        in_time("a blocked worker", is_blocked.recv()).await;
    }
    let mut held_up = tokio::spawn({
        let a = a.clone();
        async move { ask_in(&a, "b", Class::Message).await }
    });
    let (_, mut rung, say) = collector();
    a.on_arrival(move |peer, _| say(peer.node.as_str()));
    // Many pings long.
    for _ in 0..50 {
        in_time("a pong", rung.recv()).await;
        assert_eq!(ask_in(&a, "b", Class::Control).await, Ok("x".into()));
    }
    assert!(futures::FutureExt::now_or_never(&mut held_up).is_none(), "no worker serves it");
    assert_eq!(b.counts().broken, 0);
    drop(gates);
    let answer = in_time("the answer", held_up).await.expect("no panic");
    assert_eq!(answer, Ok("x".into()), "it was only late");
    assert_eq!((a.counts().dialled, a.counts().broken, b.counts().broken), (2, 0, 0));
    b.stop().await;
    work.shutdown_background();
}
