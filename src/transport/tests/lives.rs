//! One node's connections one after another: its lives, and its links that take each other's place.

use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::transport::handshake::{self, Me, Met};
use crate::wire::negotiate::Schemas;

/// A connection of node `a` in life `boot`, made by hand: what is written on it is up to the test.
async fn by_hand(to: &Links, boot: u64, knows: Option<&NodeId>) -> Result<Met, String> {
    let stream = seams().net.connect(to.local_addr()).await.expect("it listens");
    let identity = Identity { boot: Boot(boot), ..insecure("a").identity };
    let me = Me { identity, cluster: CLUSTER, schemas: Schemas::default(), generation: 0 };
    handshake::dial(&me, &Security::Insecure, stream, (knows, Class::Message), boot).await
}

async fn say(met: &mut Met, text: &str) {
    let mut frame = bytes::BytesMut::new();
    let header = header(Kind::Tell, Service::Entity, Head::default());
    crate::wire::encode(&header, text.as_bytes(), &mut frame);
    // A connection that was ended takes nothing, or nobody reads it.
    let _ = met.stream.write_all(&frame).await;
}

async fn hear(heard: &mut mpsc::UnboundedReceiver<Heard>) -> (u64, String) {
    match in_time("a tell", heard.recv()).await {
        Some(Heard::Tell(from, _, body)) => {
            (from.boot.0, String::from_utf8(body.to_vec()).expect("a text"))
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nothing_of_an_older_link_comes_after_what_a_newer_one_brings() {
    let b = start(insecure("b")).await;
    let mut heard = obey(&b, Service::Entity);
    let to = node("b");
    let mut older = by_hand(&b, 1, Some(&to)).await.expect("let in");
    say(&mut older, "first").await;
    assert_eq!(hear(&mut heard).await, (1, "first".into()));
    // One for a single call takes nobody's place.
    let mut single = by_hand(&b, 1, None).await.expect("let in");
    say(&mut single, "single").await;
    assert_eq!(hear(&mut heard).await, (1, "single".into()));
    say(&mut older, "second").await;
    assert_eq!(hear(&mut heard).await, (1, "second".into()));

    let mut newer = by_hand(&b, 1, Some(&to)).await.expect("let in");
    say(&mut older, "late").await;
    say(&mut newer, "third").await;
    assert_eq!(hear(&mut heard).await, (1, "third".into()), "and not what came late");
    assert_eq!(b.counts().broken, 0, "it is no fault of the network");
}

#[tokio::test]
async fn a_later_life_ends_the_links_of_the_earlier_one_which_does_not_come_back() {
    let b = start(insecure("b")).await;
    let mut heard = obey(&b, Service::Entity);
    let to = node("b");
    let mut first = by_hand(&b, 1, Some(&to)).await.expect("let in");
    say(&mut first, "of the first").await;
    assert_eq!(hear(&mut heard).await, (1, "of the first".into()));
    let mut second = by_hand(&b, 2, Some(&to)).await.expect("let in");
    say(&mut first, "of a ghost").await;
    say(&mut second, "of the second").await;
    assert_eq!(hear(&mut heard).await, (2, "of the second".into()));

    let (said, mut rung, note) = collector();
    b.on_refused(move |_, why| note(why));
    let ghost = by_hand(&b, 1, Some(&to)).await.expect_err("it is over");
    assert_eq!(ghost, "refused: a later life of the same node is connected already");
    in_time("the refusal", rung.recv()).await;
    let why = "a was refused: a later life of the same node is connected already";
    assert_eq!(*said.lock(), [why]);
    say(&mut second, "again").await;
    assert_eq!(hear(&mut heard).await, (2, "again".into()), "the later one does not notice");
}

#[tokio::test]
async fn too_many_connections_are_refused_and_said() {
    let limits = Limits { accepted_max: 2, ..Limits::default() };
    let b = start(LinksConfig { limits, ..insecure("b") }).await;
    let (said, mut rung, note) = collector();
    b.on_refused(move |_, why| note(why));
    let _held = [by_hand(&b, 1, None).await, by_hand(&b, 1, None).await];
    let third = by_hand(&b, 1, None).await.expect_err("there is no place");
    assert_eq!(third, "refused: too many connections are open to this node");
    in_time("the refusal", rung.recv()).await;
    assert_eq!(*said.lock(), ["a was refused: too many connections are open to this node"]);
    assert_eq!((b.counts().accepted, b.counts().refused), (2, 1));
}

#[tokio::test]
async fn a_panic_in_a_handler_ends_its_connection_alone_and_leaves_nothing_behind() {
    struct Panicking;
    impl Inbound for Panicking {
        fn tell(&self, _: &Peer, _: Head, _: Bytes) {
            panic!("on purpose");
        }
        fn ask(&self, _: &Peer, _: Head, _: Bytes, _: ReplyTo) {}
    }
    let limits = Limits { accepted_max: 2, ..Limits::default() };
    let b = start(LinksConfig { limits, ..insecure("b") }).await;
    let c = start(insecure("c")).await;
    introduce(&c, "b", &b);
    let _heard = obey(&b, Service::Entity);
    b.serve(Service::Replica, Arc::new(Panicking));
    assert_eq!(ask(&c, "b", "before").await, Ok("before".into()));
    let (_, mut rung, note) = collector();
    b.on_broken(move |peer, _| note(peer.node.as_str()));
    // More often than there are places: each is free again.
    for round in 0..4 {
        let mut met = by_hand(&b, 1, Some(&node("b"))).await.expect("there is a place");
        let mut frame = bytes::BytesMut::new();
        let header = header(Kind::Tell, Service::Replica, Head::default());
        crate::wire::encode(&header, b"", &mut frame);
        met.stream.write_all(&frame).await.expect("it stands");
        in_time("its end", rung.recv()).await.unwrap_or_else(|| panic!("round {round}"));
    }
    assert_eq!(ask(&c, "b", "after").await, Ok("after".into()), "the same link");
    assert_eq!((c.counts().dialled, c.counts().broken), (1, 0));
}

#[tokio::test]
async fn a_lane_that_the_largest_message_does_not_fit_is_refused() {
    let limits = Limits { lane_bytes_max: LANE_BYTES_MIN - 1, ..Limits::default() };
    let error = Links::start(LinksConfig { limits, ..insecure("a") }, seams()).await;
    let error = error.expect_err("too little").to_string();
    assert_eq!(error, "lane_bytes_max (4194303) must be at least 4194304");
}
