//! Byte credits: a full lane holds up its own senders and nobody else.

use std::pin::pin;

use futures::FutureExt as _;

use super::proxy::Proxy;
use super::*;

const BODY: usize = 16 << 10;

/// Two nodes, and between them a proxy that passes nothing on once their link of `class` stands.
async fn stalled(limits: Limits, class: Class) -> (Links, Links, Proxy) {
    let config = LinksConfig { limits, ..patient("a") };
    let (a, b) = (start(config).await, start(patient("b")).await);
    let proxy = Proxy::to(&b).await;
    a.learn(&node("b"), &proxy.addr());
    let _heard = obey(&b, Service::Entity);
    assert_eq!(ask_in(&a, "b", class).await, Ok("x".into()));
    proxy.stall();
    (a, b, proxy)
}

#[tokio::test]
async fn a_full_lane_is_overloaded_and_the_others_take_until_the_output_is_full() {
    let limits =
        Limits { lane_bytes_max: LANE_BYTES_MIN, output_bytes_max: 16 << 20, ..Limits::default() };
    let (a, b, proxy) = stalled(limits, Class::Message).await;
    let mut heard = obey(&b, Service::Entity);
    let link = a.link(&node("b"), Class::Message, Service::Entity);
    let mut taken = [0_u32; LANES as usize];
    // No await: nothing leaves meanwhile.
    for (lane, taken) in (0..LANES).zip(&mut taken) {
        let error = loop {
            match link.tell(on(lane), numbered(*taken, BODY)) {
                Ok(()) => *taken += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error, SendError::Overloaded("b".into()));
    }
    // Four lanes are full by their own bound, the rest by that of all.
    assert_eq!(taken[..6], [255, 255, 255, 255, 1, 0]);
    assert_eq!(a.counts().overloaded, 16);

    // From here on the output empties into the connection, and the lanes stay full.
    let by = BootClock.now() + Duration::from_millis(50);
    let asked = link.ask(on(0), numbered(0, BODY), by).await;
    let why = "overloaded: too much waits to be sent to b".to_owned();
    assert_eq!(asked, Err(AskError::NotExecuted(why)));
    assert_eq!(a.counts().overloaded, 17);
    let mut sending = pin!(link.send(on(0), numbered(taken[0], BODY), soon()));
    let mut asking = pin!(link.ask(on(0), Bytes::from_static(b"behind"), soon()));
    assert!(sending.as_mut().now_or_never().is_none(), "it waits for room");
    link.tell(on(9), numbered(taken[9], BODY)).expect("another lane has room");
    taken[9] += 1;
    let error = link.send(on(0), numbered(0, BODY), BootClock.now()).await;
    assert_eq!(error, Err(SendError::Overloaded("b".into())), "until its deadline only");

    proxy.open();
    assert_eq!(in_time("room", sending).await, Ok(()));
    taken[0] += 1;
    assert_eq!(asking.as_mut().await, Ok("behind".into()));
    let mut next = [0; LANES as usize];
    for _ in 0..taken.iter().sum() {
        let Some(Heard::Tell(_, Head { lane, .. }, body)) = in_time("a tell", heard.recv()).await
        else {
            panic!("only tells are heard");
        };
        let next = &mut next[usize::from(lane)];
        assert_eq!(number_of(&body), *next, "in the order of lane {lane}");
        *next += 1;
    }
    assert_eq!((next, heard.try_recv().is_err()), (taken, true), "what was taken, and no more");
    assert_eq!((a.counts().dialled, a.counts().broken), (1, 0));
}

#[tokio::test]
async fn a_full_control_lane_drops_gossip_and_nothing_else() {
    let limits = Limits { gossip_bytes_max: 64 << 10, ..Limits::default() };
    let (a, b, proxy) = stalled(limits, Class::Control).await;
    let (sender, mut heard) = mpsc::unbounded_channel();
    let inbound = Arc::new(Obedient(sender));
    for service in [Service::Gossip, Service::Lease, Service::Raft] {
        b.serve(service, inbound.clone());
    }
    let of = |service| a.link(&node("b"), Class::Control, service);
    let (gossip, lease, raft) = (of(Service::Gossip), of(Service::Lease), of(Service::Raft));
    let (mut taken, mut number, mut refused, mut in_a_row) = (Vec::new(), 0, 0, 0);
    // Until the sockets between are full as well: then a turn of the link changes nothing.
    while in_a_row < 200 {
        match gossip.tell(Head::default(), numbered(number, 8 << 10)) {
            Ok(()) => {
                taken.push(number);
                in_a_row = 0;
            }
            Err(error) => {
                assert_eq!(error, SendError::Overloaded("b".into()));
                (refused, in_a_row) = (refused + 1, in_a_row + 1);
            }
        }
        number += 1;
        tokio::task::yield_now().await;
    }
    assert_eq!(a.counts().gossip_dropped, refused);
    for _ in 0..20 {
        lease.tell(Head::default(), numbered(number, 8 << 10)).expect("it is no gossip");
        taken.push(number);
        number += 1;
    }
    let mut asked = pin!(raft.ask(Head::default(), Bytes::from_static(b"vote"), soon()));
    assert!(asked.as_mut().now_or_never().is_none(), "it was taken, and nothing comes back");
    gossip.tell(Head::default(), numbered(number, 8 << 10)).expect_err("gossip still waits");
    let counts = a.counts();
    assert_eq!((counts.gossip_dropped, counts.overloaded), (refused + 1, 0));

    proxy.open();
    assert_eq!(in_time("the answer", asked).await, Ok("vote".into()));
    for number in taken {
        let Some(Heard::Tell(_, _, body)) = in_time("a tell", heard.recv()).await else {
            panic!("only tells are heard");
        };
        assert_eq!(number_of(&body), number);
    }
    assert_eq!((a.counts().dialled, a.counts().broken, heard.try_recv().is_err()), (1, 0, true));
}
