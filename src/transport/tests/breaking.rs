//! Peers that die, fall silent, are not there, or read nothing.

use tokio::net::{TcpListener, TcpStream};

use super::*;

fn quick(name: &str) -> LinksConfig {
    LinksConfig {
        timing: Timing {
            ping_interval: Duration::from_millis(50),
            dead_after: Duration::from_millis(1_500),
            ..Timing::default()
        },
        ..insecure(name)
    }
}

#[tokio::test]
async fn a_peer_that_dies_mid_ask_leaves_it_unknown_and_comes_back() {
    let (a, b) = (start(insecure("a")).await, start(insecure("b")).await);
    introduce(&a, "b", &b);
    let mut heard = obey(&b, Service::Entity);
    let (said, mut rung, say) = collector();
    a.on_broken(move |peer, _| say(peer.node.as_str()));

    let asked = tokio::spawn({
        let a = a.clone();
        async move { ask(&a, "b", "hold").await }
    });
    let held = in_time("the ask", heard.recv()).await;
    assert!(matches!(held, Some(Heard::Held(_))), "{held:?}");
    b.stop().await;
    let error = in_time("the end", asked).await.expect("no panic").expect_err("no answer");
    assert!(matches!(&error, AskError::Unknown(_)), "{error}");
    in_time("the hint", rung.recv()).await;
    assert_eq!(*said.lock(), ["b"]);
    drop(held); // Answering a link that is gone does nothing.

    let again = LinksConfig { listen: b.local_addr(), ..insecure("b") };
    let b = start(again).await;
    let _heard = obey(&b, Service::Entity);
    answered(&a, "b").await;
}

/// Passes bytes on until told to fall silent; then it keeps both connections open.
async fn silent_proxy(to: SocketAddr) -> (SocketAddr, tokio::sync::oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("it listens");
    let (silence, silent) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.expect("somebody connects");
        let mut far = TcpStream::connect(to).await.expect("it listens");
        let copy = tokio::io::copy_bidirectional(&mut near, &mut far);
        tokio::select! {
            biased;
            _ = silent => {}
            _ = copy => {}
        }
        std::future::pending::<()>().await;
    });
    (addr, silence)
}

#[tokio::test]
async fn a_half_open_link_is_found_on_both_sides() {
    let (a, b) = (start(quick("a")).await, start(quick("b")).await);
    let (addr, silence) = silent_proxy(b.local_addr()).await;
    a.learn(&node("b"), &addr.to_string());
    let mut heard = obey(&b, Service::Entity);
    let (_, mut rung, say) = collector();
    b.on_broken(move |peer, _| say(peer.node.as_str()));
    let asked = tokio::spawn({
        let a = a.clone();
        async move { ask(&a, "b", "hold").await }
    });
    let held = in_time("the ask", heard.recv()).await;
    silence.send(()).expect("the proxy runs");
    let error = in_time("the end", asked).await.expect("no panic").expect_err("no answer");
    assert!(error.to_string().contains("the link to b ended: nothing arrived for"), "{error}");
    assert!(matches!(error, AskError::Unknown(_)));
    in_time("the other side", rung.recv()).await;
    drop(held);
}

#[tokio::test]
async fn nobody_there_is_not_executed_at_once_until_the_back_off_passes() {
    let a = start(LinksConfig {
        timing: Timing {
            backoff_min: Duration::from_mins(10),
            backoff_max: Duration::from_mins(10),
            ..Timing::default()
        },
        ..insecure("a")
    })
    .await;
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = gone.local_addr().expect("it listens").to_string();
    drop(gone);

    let error = ask(&a, "b", "x").await.expect_err("no address").to_string();
    assert_eq!(error, "not executed: unreachable: no address is known for b");
    a.learn(&node("b"), &addr);
    let error = ask(&a, "b", "x").await.expect_err("nobody listens");
    assert!(matches!(&error, AskError::NotExecuted(why) if why.contains("refused")), "{error}");
    let error = ask(&a, "b", "x").await.expect_err("backing off");
    assert!(matches!(&error, AskError::NotExecuted(why) if why.contains("next try in")), "{error}");
    assert_eq!(a.counts().dials_failed, 1);

    // A new address is tried at once.
    let b = start(insecure("b")).await;
    let _heard = obey(&b, Service::Entity);
    introduce(&a, "b", &b);
    assert_eq!(ask(&a, "b", "x").await, Ok("x".into()));
}

#[tokio::test]
async fn whoever_dials_this_node_is_dialled_at_once_whatever_the_back_off() {
    let longest = Duration::from_mins(10);
    let timing = Timing { backoff_min: longest, backoff_max: longest, ..Timing::default() };
    let a = start(LinksConfig { timing, ..insecure("a") }).await;
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let listen = gone.local_addr().expect("it listens");
    drop(gone);
    a.learn(&node("b"), &listen.to_string());
    ask(&a, "b", "x").await.expect_err("nobody listens");
    let error = ask(&a, "b", "x").await.expect_err("backing off").to_string();
    assert!(error.contains("next try in"), "{error}");

    let b = start(LinksConfig { listen, ..insecure("b") }).await;
    let (_at_a, _at_b) = (obey(&a, Service::Entity), obey(&b, Service::Entity));
    introduce(&b, "a", &a);
    assert_eq!(ask(&b, "a", "x").await, Ok("x".into()));
    assert_eq!(ask(&a, "b", "x").await, Ok("x".into()));
}

#[tokio::test]
async fn what_never_left_is_not_executed_at_its_deadline_and_never_arrives() {
    let (a, b) = (start(insecure("a")).await, start(insecure("b")).await);
    let mut heard = obey(&b, Service::Entity);
    // Takes connections, and passes nothing on before it is told to.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    a.learn(&node("b"), &listener.local_addr().expect("it listens").to_string());
    let to = node("b");
    let deadline = BootClock.now() + Duration::from_millis(50);
    let hold = Bytes::from_static(b"hold");
    let asked = a.ask(&to, Class::Message, Service::Entity, Head::default(), hold, deadline).await;
    let why = "not executed: the deadline passed before it could be sent to b";
    assert_eq!(asked.map_err(|e| e.to_string()), Err(why.into()));

    let (mut near, _) = listener.accept().await.expect("it was dialled");
    let mut far = TcpStream::connect(b.local_addr()).await.expect("it listens");
    tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
    assert_eq!(ask(&a, "b", "x").await, Ok("x".into()), "the same link, once it stands");
    assert_eq!(a.counts().dialled, 1);
    assert!(heard.try_recv().is_err(), "the first ask was skipped");
}

#[tokio::test]
async fn too_much_waiting_is_overloaded_and_nothing_taken_is_lost() {
    let small = LinksConfig {
        limits: Limits { output_bytes_max: 100_000, ..Limits::default() },
        ..insecure("a")
    };
    let (a, b) = (start(small).await, start(insecure("b")).await);
    introduce(&a, "b", &b);
    let mut heard = obey(&b, Service::Entity);
    let body = Bytes::from(vec![1; 1_000]);
    let mut taken = 0;
    let error = loop {
        // No await: nothing can be written meanwhile.
        let to = node("b");
        match a.tell(&to, Class::Message, Service::Entity, Head::default(), body.clone()) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error, SendError::Overloaded("b".into()));
    assert!((90..100).contains(&taken), "{taken} fit");
    assert_eq!(a.counts().overloaded, 1);
    for _ in 0..taken {
        in_time("a tell", heard.recv()).await.expect("it serves");
    }
    assert_eq!(ask(&a, "b", "x").await, Ok("x".into()));
}

#[tokio::test]
async fn closing_and_forgetting_ends_asks_and_the_address() {
    let (a, b) = (start(insecure("a")).await, start(insecure("b")).await);
    introduce(&a, "b", &b);
    let mut heard = obey(&b, Service::Entity);
    let asked = tokio::spawn({
        let a = a.clone();
        async move { ask(&a, "b", "hold").await }
    });
    let _held = in_time("the ask", heard.recv()).await;
    a.close(&node("b"));
    let error = in_time("the end", asked).await.expect("no panic").expect_err("closed");
    assert_eq!(error.to_string(), "unknown: the link to b ended: this node closed it");
    assert_eq!(ask(&a, "b", "x").await, Ok("x".into()), "dialled again at once");
    a.forget(&node("b"));
    let error = ask(&a, "b", "x").await.expect_err("forgotten").to_string();
    assert_eq!(error, "not executed: unreachable: no address is known for b");
}

#[tokio::test]
async fn addresses_that_cannot_be_used_are_said_plainly() {
    let open = LinksConfig { listen: SocketAddr::from(([0, 0, 0, 0], 0)), ..insecure("a") };
    let error = Links::start(open, seams()).await.expect_err("not loopback").to_string();
    assert!(error.contains("listen on 127.0.0.1, or use TLS"), "{error}");

    let timing = Timing { dead_after: Duration::from_secs(1), ..Timing::default() };
    let deaf = LinksConfig { timing, ..insecure("a") };
    let error = Links::start(deaf, seams()).await.expect_err("two pings a second").to_string();
    assert!(error.contains("dead_after (1s) must be more than twice ping_interval"), "{error}");

    let a = start(insecure("a")).await;
    let taken = LinksConfig { listen: a.local_addr(), ..insecure("b") };
    let error = Links::start(taken, seams()).await.expect_err("in use").to_string();
    assert!(error.contains("choose another address, or stop what uses it"), "{error}");

    a.learn(&node("far"), "192.0.2.1:9");
    let error = ask(&a, "far", "x").await.expect_err("not loopback").to_string();
    assert!(error.contains("insecure links need one"), "{error}");

    a.stop().await;
    let error = ask(&a, "far", "x").await.expect_err("stopped").to_string();
    assert_eq!(error, "not executed: unreachable: the links of this node are stopped");
}
