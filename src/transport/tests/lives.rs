//! One node's connections one after another: its lives, and its links that take each other's place.

use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::base::Net as _;
use crate::transport::handshake::{self, Me, Met};
use crate::wire::negotiate::Schemas;

/// A connection of node `a` in life `boot`, made by hand: what is written on it is up to the test.
async fn by_hand(to: &Links, boot: u64, knows: Option<&NodeId>) -> Result<Met, String> {
    let life = Life { boot: Boot(boot), token: 0 };
    by_hand_as(to, life, knows).await
}

async fn by_hand_as(to: &Links, life: Life, knows: Option<&NodeId>) -> Result<Met, String> {
    let Life { boot, token } = life;
    let stream = seams().net.connect(to.local_addr()).await.expect("it listens");
    let identity = Identity { boot, ..insecure("a").identity };
    let me = Me { identity, cluster: CLUSTER, schemas: Schemas::default(), token, generation: 0 };
    handshake::dial(&me, &Security::Insecure, stream, (knows, Class::Message), boot.0).await
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
async fn a_later_life_waits_for_the_end_of_the_earlier_one_which_does_not_come_back() {
    // Nobody is given up for its silence in this test.
    let timing = Timing { ping_interval: Duration::from_mins(4), ..Timing::default() };
    let timing = Timing { dead_after: Duration::from_mins(10), ..timing };
    let b = start(LinksConfig { timing, ..insecure("b") }).await;
    let mut heard = obey(&b, Service::Entity);
    let to = node("b");
    let mut first = by_hand(&b, 1, Some(&to)).await.expect("let in");
    say(&mut first, "of the first").await;
    assert_eq!(hear(&mut heard).await, (1, "of the first".into()));
    let (later, whom) = (b.clone(), to.clone());
    let second = tokio::spawn(async move { by_hand(&later, 2, Some(&whom)).await });
    // It is not the only one that comes: these are let in and served while it waits.
    let mut other = Vec::new();
    for name in ["c", "d"] {
        let links = start(insecure(name)).await;
        introduce(&links, "b", &b);
        assert_eq!(ask(&links, "b", "x").await, Ok("x".into()));
        other.push(links);
    }
    assert!(!second.is_finished(), "the first one stands");
    drop(first);
    let mut second = in_time("its turn", second).await.expect("no panic").expect("let in");
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

/// Goal: a process whose end nobody was told of keeps its next life out for a moment only. Method:
/// virtual time; a connection that stands, and on which nothing comes.
#[tokio::test(start_paused = true)]
async fn an_earlier_life_that_says_nothing_makes_way_after_three_pings() {
    let net = PipeNet::default();
    let b = virtual_node(&net, insecure("b")).await;
    let (_, mut rung, say) = collector();
    b.on_broken(move |_, why| say(why));
    let dial = async |boot| {
        let stream = net.connect(b.local_addr()).await.expect("it listens");
        let identity = Identity { boot: Boot(boot), ..insecure("a").identity };
        let schemas = Schemas::default();
        let me = Me { identity, cluster: CLUSTER, schemas, token: boot, generation: 0 };
        let to = node("b");
        handshake::dial(&me, &Security::Insecure, stream, (Some(&to), Class::Control), 1).await
    };
    let _silent = dial(1).await.expect("let in");
    let begun = tokio::time::Instant::now();
    let _next = dial(2).await.expect("let in, too");
    let waited = begun.elapsed().as_millis();
    assert!((1_500..1_600).contains(&waited), "three times half a second, and not {waited} ms");
    in_time("its end", rung.recv()).await;
}

/// Goal: whatever a second process under a living node's name claims, the first keeps its links.
#[tokio::test]
async fn a_second_process_is_refused_while_the_first_is_heard_and_ends_none_of_its_links() {
    let quick = |name, boot, token| {
        let timing = Timing { ping_interval: Duration::from_millis(40), ..Timing::default() };
        let identity = Identity { boot: Boot(boot), ..insecure(name).identity };
        LinksConfig { identity, timing, token, ..insecure(name) }
    };
    let (a, b) = (start(quick("a", 5, 1)).await, start(quick("b", 1, 1)).await);
    introduce(&a, "b", &b);
    let _heard = obey(&b, Service::Entity);
    for class in Class::ALL {
        assert_eq!(ask_in(&a, "b", class).await, Ok("x".into()));
    }
    // The same boot, a later one, and an earlier one, of other processes.
    for boot in [5, 9, 2] {
        let second = start(quick("a", boot, 2)).await;
        introduce(&second, "b", &b);
        for class in Class::ALL {
            let error = ask_in(&second, "b", class).await.expect_err("refused").to_string();
            let says = if boot == 2 { "a later life" } else { "another process runs under" };
            assert!(error.contains(says), "boot {boot}: {error}");
        }
        let mine = Life { boot: Boot(boot), token: 2 };
        let (rival, _) = b.rival(&node("a"), mine).expect("it is heard");
        assert_eq!(rival, Life { boot: Boot(5), token: 1 });
        second.stop().await;
    }
    assert_eq!(b.rival(&node("a"), Life { boot: Boot(5), token: 1 }), None, "itself");
    for class in Class::ALL {
        assert_eq!(ask_in(&a, "b", class).await, Ok("x".into()));
    }
    assert_eq!((a.counts().dialled, a.counts().broken, b.counts().broken), (3, 0, 0));
}

#[tokio::test]
async fn the_life_that_is_a_member_goes_before_all_others() {
    let timing = Timing { ping_interval: Duration::from_mins(4), ..Timing::default() };
    let timing = Timing { dead_after: Duration::from_mins(10), ..timing };
    let b = start(LinksConfig { timing, ..insecure("b") }).await;
    let mut heard = obey(&b, Service::Entity);
    let to = node("b");
    let life = |boot, token| Life { boot: Boot(boot), token };
    let members = |life| std::collections::BTreeMap::from([(node("a"), life)]);
    b.set_members(members(life(5, 7)));
    // Whoever is there first: it is not the member.
    let mut second = by_hand_as(&b, life(6, 8), Some(&to)).await.expect("nobody else is there");
    let mut member = by_hand_as(&b, life(5, 7), Some(&to)).await.expect("it is the member");
    say(&mut second, "of no member").await;
    say(&mut member, "of the member").await;
    assert_eq!(hear(&mut heard).await, (5, "of the member".into()));
    // A later life is admitted: the links of the one before end, and it does not come back.
    b.set_members(members(life(6, 8)));
    let mut second = by_hand_as(&b, life(6, 8), Some(&to)).await.expect("it is the member now");
    say(&mut member, "of one that was").await;
    say(&mut second, "of the next").await;
    assert_eq!(hear(&mut heard).await, (6, "of the next".into()));
    let late = by_hand_as(&b, life(5, 7), Some(&to)).await.expect_err("it is over");
    assert_eq!(late, "refused: a later life of the same node is connected already");
}

/// Goal: whoever waits for the answer of an evicted node, which may be cut off, is told at once.
/// Method: asks of which nobody answers any, and a view without that node.
#[tokio::test]
async fn a_membership_that_ends_ends_the_messages_under_way_and_not_the_control_links() {
    let (a, b) = (start(insecure("a")).await, start(insecure("b")).await);
    introduce(&a, "b", &b);
    let mut heard = obey(&b, Service::Entity);
    let life = Life { boot: insecure("b").identity.boot, token: 0 };
    a.set_members(std::collections::BTreeMap::from([(node("b"), life)]));
    let [message, control] = [Class::Message, Class::Control].map(|class| {
        let (a, to, body) = (a.clone(), node("b"), Bytes::from_static(b"hold"));
        let asked =
            async move { a.ask(&to, class, Service::Entity, Head::default(), body, soon()).await };
        tokio::spawn(asked)
    });
    let mut held = Vec::new();
    for _ in 0..2 {
        held.extend(in_time("it arrives", heard.recv()).await);
    }
    a.set_members(std::collections::BTreeMap::new());
    let ended = in_time("its end", message).await.expect("no panic").expect_err("no answer");
    let says = "the link to b ended: the membership of that life has ended";
    assert_eq!(ended, AskError::Unknown(says.into()));
    for one in held {
        let Heard::Held(reply) = one else { panic!("{one:?}") };
        reply.send(Bytes::from_static(b"late"));
    }
    let answer = in_time("an answer", control).await.expect("no panic");
    assert_eq!(answer, Ok("late".into()));
    assert_eq!(a.counts().broken, 0, "it is no fault of the network");
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
