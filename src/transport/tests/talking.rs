//! Two nodes that get along, and what they may say to each other.

use super::*;
use crate::base::{Epoch, ShardId, Version};

#[tokio::test]
async fn every_kind_of_answer_comes_back() {
    let authority = Authority::new("test").expect("a good name");
    let (a, b) = (start(secure("a", &authority)).await, start(secure("b", &authority)).await);
    introduce(&a, "b", &b);
    let mut inbox = obey(&b, Service::Entity);

    assert_eq!(ask(&a, "b", "hello").await, Ok(Bytes::from_static(b"hello")));
    let because = AskError::Refused(Bytes::from_static(b"because"));
    assert_eq!(ask(&a, "b", "refuse").await, Err(because));
    let dropped = AskError::Unknown("b dropped it without an answer".into());
    assert_eq!(ask(&a, "b", "drop").await, Err(dropped));

    let head =
        Head { version: Version(9), shard: Some(ShardId(3)), epoch: Epoch(77), lane: 5, schema: 2 };
    let body = Bytes::from_static(b"news");
    a.tell(&node("b"), Class::Message, Service::Entity, head, body.clone()).expect("open");
    let Some(Heard::Tell(from, got, said)) = in_time("the tell", inbox.recv()).await else {
        panic!("only a tell was sent");
    };
    assert_eq!((from, got, said), (Peer { node: node("a"), boot: Boot(1) }, head, body));
    assert_eq!((a.counts().dialled, b.counts().accepted), (1, 1), "one link carried it all");
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn nobody_serves_it_is_refused_and_tells_to_nobody_are_counted() {
    let (a, b) = (start(insecure("a")).await, start(insecure("b")).await);
    introduce(&a, "b", &b);
    a.tell(&node("b"), Class::Message, Service::Entity, Head::default(), Bytes::new())
        .expect("it is sent");
    // Same link, so in order: the tell was judged before the ask.
    assert_eq!(ask(&a, "b", "x").await, Err(AskError::Refused(Bytes::new())));
    assert_eq!(b.counts().tells_dropped, 1);
}

#[tokio::test]
async fn order_holds_from_before_the_link_stands() {
    let (a, b) = (start(insecure("a")).await, start(insecure("b")).await);
    introduce(&a, "b", &b);
    let mut heard = obey(&b, Service::Entity);
    for i in 0..20_000_u32 {
        let body = Bytes::copy_from_slice(&i.to_be_bytes());
        a.tell(&node("b"), Class::Message, Service::Entity, Head::default(), body)
            .expect("below the limit");
        if i % 1_000 == 0 {
            tokio::task::yield_now().await;
        }
    }
    for i in 0..20_000_u32 {
        match in_time("a tell", heard.recv()).await {
            Some(Heard::Tell(_, _, body)) => assert_eq!(body[..], i.to_be_bytes()),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn the_largest_body_passes_in_every_class_and_one_byte_more_does_not() {
    let authority = Authority::new("test").expect("a good name");
    let (a, b) = (start(secure("a", &authority)).await, start(secure("b", &authority)).await);
    introduce(&a, "b", &b);
    let _heard = obey(&b, Service::Replica);
    let service = Service::Replica;
    for class in Class::ALL {
        let body = Bytes::from(vec![7; class.body_bytes_max()]);
        let answer = a.ask(&node("b"), class, service, Head::default(), body.clone(), soon()).await;
        assert!(answer.as_ref() == Ok(&body), "{class}: {:?}", answer.map(|b| b.len()));
        let (bytes_max, bytes) = (body.len(), body.len() + 1);
        let body = Bytes::from(vec![7; bytes]);
        let told = a.tell(&node("b"), class, service, Head::default(), body);
        assert_eq!(told, Err(SendError::TooBig { bytes, bytes_max }));
    }
}

#[tokio::test]
async fn an_answer_too_big_for_a_frame_is_dropped_and_the_link_goes_on() {
    struct Verbose;
    impl Inbound for Verbose {
        fn tell(&self, _: &Peer, _: Head, _: Bytes) {}
        fn ask(&self, _: &Peer, _: Head, _: Bytes, reply: ReplyTo) {
            reply.send(Bytes::from(vec![0; Class::Message.body_bytes_max() + 1]));
        }
    }
    let (a, b) = (start(insecure("a")).await, start(insecure("b")).await);
    introduce(&a, "b", &b);
    b.serve(Service::Raft, Arc::new(Verbose));
    let _heard = obey(&b, Service::Entity);
    let to = node("b");
    let asked =
        a.ask(&to, Class::Message, Service::Raft, Head::default(), Bytes::new(), soon()).await;
    assert!(matches!(asked, Err(AskError::Unknown(_))), "{asked:?}");
    assert_eq!(b.counts().answers_dropped, 1);
    assert_eq!(ask(&a, "b", "x").await, Ok(Bytes::from_static(b"x")));
    assert_eq!(a.counts().dialled, 1);
}

#[tokio::test]
async fn before_the_cluster_is_formed_only_formation_passes() {
    let config = || insecure("b");
    let (a, b) = (start(insecure("a")).await, Links::start(config(), seams()).await);
    let b = b.expect("loopback and a free port");
    introduce(&a, "b", &b);
    introduce(&b, "a", &a);
    let _formation = obey(&b, Service::Formation);
    let _entity = obey(&b, Service::Entity);

    // The unformed side asks nothing else, and is told so at once.
    let refused = ask(&b, "a", "x").await;
    let why = "not executed: unreachable: this node is in no cluster yet";
    assert_eq!(refused.map_err(|e| e.to_string()), Err(why.into()));
    // The formed side learns it from the link; what it sent before is refused over there.
    assert_eq!(ask(&a, "b", "x").await, Err(AskError::Refused(Bytes::new())));
    let again = ask(&a, "b", "x").await;
    let why = "not executed: unreachable: b is in no cluster yet";
    assert_eq!(again.map_err(|e| e.to_string()), Err(why.into()));

    let addr = b.local_addr().to_string();
    let body = Bytes::from_static(b"join?");
    // On a task of its own, as whoever joins does it.
    let formed = tokio::spawn({
        let (a, addr, body) = (a.clone(), addr.clone(), body.clone());
        async move { a.ask_addr(&addr, Service::Formation, body, soon()).await }
    });
    let formed = in_time("the answer", formed).await.expect("no panic");
    let peer = Peer { node: node("b"), boot: Boot(1) };
    assert_eq!(formed, Ok((peer, ClusterId::UNFORMED, body.clone())));
    let other = a.ask_addr(&addr, Service::Raft, body, soon()).await;
    assert!(matches!(other, Err(AskError::NotExecuted(_))), "{other:?}");

    b.set_cluster(CLUSTER);
    answered(&a, "b").await;
}

#[tokio::test]
async fn a_node_of_another_cluster_is_told_so() {
    let (a, b) = (start(insecure("a")).await, start(insecure("b")).await);
    a.set_cluster(ClusterId([8; 32]));
    introduce(&a, "b", &b);
    let (said, mut rung, say) = collector();
    b.on_refused(move |_, why| say(why));
    let error = ask(&a, "b", "x").await.expect_err("another cluster").to_string();
    assert!(error.starts_with("not executed: no link to b: refused: its data belongs"), "{error}");
    assert!(error.contains("wrong data directory or wrong seeds"), "{error}");
    in_time("the refusal", rung.recv()).await;
    assert!(said.lock()[0].starts_with("a was refused: its data belongs to cluster 0808"));
}

#[tokio::test]
async fn a_new_boot_is_seen_by_the_other_side() {
    let (a, b) = (start(insecure("a")).await, start(insecure("b")).await);
    introduce(&a, "b", &b);
    let mut heard = obey(&b, Service::Entity);
    for boot in [Boot(1), Boot(2)] {
        a.set_life(Life { boot, token: 0 });
        a.tell(&node("b"), Class::Bulk, Service::Entity, Head::default(), Bytes::new())
            .expect("links are dialled again at once");
        match in_time("the tell", heard.recv()).await {
            Some(Heard::Tell(from, _, _)) => assert_eq!(from.boot, boot),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn arrivals_on_control_links_are_reported_on_both_sides_while_idle() {
    let quick = |name| LinksConfig {
        timing: Timing { ping_interval: Duration::from_millis(10), ..Timing::default() },
        ..insecure(name)
    };
    let (a, b) = (start(quick("a")).await, start(quick("b")).await);
    introduce(&a, "b", &b);
    let (said_a, mut rung_a, say_a) = collector();
    let (said_b, mut rung_b, say_b) = collector();
    a.on_arrival(move |peer, _| say_a(peer.node.as_str()));
    b.on_arrival(move |peer, _| say_b(peer.node.as_str()));
    a.tell(&node("b"), Class::Control, Service::Gossip, Head::default(), Bytes::new())
        .expect("dialled");
    for _ in 0..5 {
        in_time("a pong", rung_a.recv()).await;
        in_time("a ping", rung_b.recv()).await;
    }
    assert!(said_a.lock().iter().all(|name| name == "b"));
    assert!(said_b.lock().iter().all(|name| name == "a"));
}
