//! Links on a network in memory, under virtual time.

use super::*;
use crate::base::Net as _;
use crate::transport::net_contract;

async fn virtual_start(net: &PipeNet, name: &str) -> Links {
    virtual_node(net, insecure(name)).await
}

async fn ask_by(from: &Links, body: &'static str, by: Duration) -> Result<Bytes, AskError> {
    let deadline = from.0.seams.clock.now() + by;
    let (to, body) = (node("b"), Bytes::from_static(body.as_bytes()));
    from.ask(&to, Class::Message, Service::Entity, Head::default(), body, deadline).await
}

#[tokio::test]
async fn pipes_keep_the_contract() {
    let net = PipeNet::default();
    let listener = net_contract::listening(&net, insecure("a").listen).await;
    let host = listener.local_addr().expect("it listens").to_string();
    tokio::join!(net_contract::accept_side(&*listener), net_contract::dial_side(&net, &host));
}

#[tokio::test(start_paused = true)]
async fn an_idle_link_stays_open_for_ever() {
    let net = PipeNet::default();
    let (a, b) = (virtual_start(&net, "a").await, virtual_start(&net, "b").await);
    introduce(&a, "b", &b);
    let mut heard = obey(&b, Service::Entity);
    let hour = Duration::from_hours(1);
    let (asked, ()) = tokio::join!(ask_by(&a, "hold", hour * 2), async {
        let Some(Heard::Held(reply)) = heard.recv().await else { panic!("one ask was sent") };
        // Virtual: nothing but pings happens in it.
        tokio::time::sleep(hour).await;
        reply.send(Bytes::from_static(b"late"));
    });
    assert_eq!(asked, Ok("late".into()));
    assert_eq!((a.counts().dialled, a.counts().broken, b.counts().broken), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn no_answer_by_the_deadline_is_unknown_and_a_late_one_is_nobodys() {
    let net = PipeNet::default();
    let (a, b) = (virtual_start(&net, "a").await, virtual_start(&net, "b").await);
    introduce(&a, "b", &b);
    let mut heard = obey(&b, Service::Entity);
    let before = tokio::time::Instant::now();
    let asked = ask_by(&a, "hold", Duration::from_secs(7)).await;
    assert_eq!(asked, Err(AskError::Unknown("no answer from b in time".into())));
    assert_eq!(before.elapsed().as_secs(), 7);
    let Some(Heard::Held(late)) = heard.recv().await else { panic!("one ask was sent") };
    late.send(Bytes::from_static(b"late"));
    assert_eq!(ask_by(&a, "x", Duration::from_secs(1)).await, Ok("x".into()));
}

#[tokio::test(start_paused = true)]
async fn a_dialler_that_is_never_answered_gives_up_and_backs_off_longer_each_time() {
    let net = PipeNet::default();
    let a = virtual_start(&net, "a").await;
    let deaf = net.listen(insecure("b").listen).await.expect("a port is free");
    a.learn(&node("b"), &deaf.local_addr().expect("it listens").to_string());
    let timing = Timing::default();
    let mut waits = Vec::new();
    for _ in 0..8 {
        let begun = tokio::time::Instant::now();
        let asked = ask_by(&a, "x", Duration::from_mins(1)).await;
        let Err(AskError::NotExecuted(why)) = asked else { panic!("{asked:?}") };
        assert!(why.contains("no answer to the dial in time"), "{why}");
        assert_eq!(begun.elapsed().as_secs(), timing.dial.as_secs());
        let failed = tokio::time::Instant::now();
        while ask_by(&a, "x", Duration::from_millis(2)).await
            != Err(AskError::NotExecuted("the deadline passed before it could be sent to b".into()))
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        waits.push(failed.elapsed());
        // That ask began the next dial: let it end.
        tokio::time::sleep(timing.dial + timing.backoff_max).await;
    }
    assert!(waits[0] >= timing.backoff_min / 2, "{waits:?}");
    assert!(waits.iter().all(|wait| *wait <= timing.backoff_max + Duration::from_millis(5)));
    assert!(waits[3] > waits[0] && waits[7] >= timing.backoff_max / 2, "{waits:?}");
}

/// Counts the asks it answers.
struct Counting(Arc<Mutex<u64>>);

impl Inbound for Counting {
    fn tell(&self, _: &Peer, _: Head, _: Bytes) {}
    fn ask(&self, _: &Peer, _: Head, body: Bytes, reply: ReplyTo) {
        *self.0.lock() += 1;
        reply.send(body);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_reads_no_answers_is_not_read_from() {
    let net = PipeNet::default();
    let config = LinksConfig {
        limits: Limits { output_bytes_max: 100_000, ..Limits::default() },
        ..insecure("b")
    };
    let b = Links::start(config, virtual_seams(&net)).await.expect("a port is free");
    b.set_cluster(CLUSTER);
    let heard = Arc::new(Mutex::new(0_u64));
    b.serve(Service::Entity, Arc::new(Counting(heard.clone())));
    // A dialler by hand, which writes asks for ever and reads nothing after the handshake.
    let stream = net.connect(b.local_addr()).await.expect("it listens");
    let me = handshake::Me {
        identity: insecure("a").identity,
        cluster: CLUSTER,
        schemas: Schemas::default(),
        token: 0,
        generation: 0,
    };
    let to = (None, Class::Message);
    let mut met = handshake::dial(&me, &Security::Insecure, stream, to, 1).await.expect("let in");
    let mut asks = bytes::BytesMut::new();
    crate::wire::encode(
        &header(Kind::Ask, Service::Entity, Head::default()),
        &[1; 1_000],
        &mut asks,
    );
    let (_, mut rung, say) = collector();
    b.on_broken(move |_, why| say(why));
    let flood = async {
        use tokio::io::AsyncWriteExt as _;
        while met.stream.write_all(&asks).await.is_ok() {}
    };
    tokio::join!(flood, rung.recv());
    // What the output, the pipe and one read hold; not more, however long it floods.
    let heard = *heard.lock();
    assert!((50..400).contains(&heard), "{heard} asks were taken");
}

/// Passes on what it reads, at most 16 KiB in 50 ms on the way there.
async fn slow_relay(net: &PipeNet, to: SocketAddr) -> SocketAddr {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = net.listen(to).await.expect("a port is free");
    let addr = listener.local_addr().expect("it listens");
    let net = net.clone();
    tokio::spawn(async move {
        let (near, _) = listener.accept().await.expect("somebody connects");
        let far = net.connect(to).await.expect("it listens");
        let ((mut from, mut back), (mut answers, mut onwards)) =
            (tokio::io::split(near), tokio::io::split(far));
        tokio::spawn(async move { tokio::io::copy(&mut answers, &mut back).await });
        let mut chunk = vec![0; 16 << 10];
        while let Ok(got @ 1..) = from.read(&mut chunk).await {
            // Virtual.
            tokio::time::sleep(Duration::from_millis(50)).await;
            if onwards.write_all(&chunk[..got]).await.is_err() {
                return;
            }
        }
    });
    addr
}

#[tokio::test(start_paused = true)]
async fn one_frame_may_take_longer_than_a_silence_may_last() {
    let net = PipeNet::default();
    let (a, b) = (virtual_start(&net, "a").await, virtual_start(&net, "b").await);
    let relay = slow_relay(&net, b.local_addr()).await;
    a.learn(&node("b"), &relay.to_string());
    let _heard = obey(&b, Service::Entity);
    let body = Bytes::from(vec![7; Class::Message.body_bytes_max()]);
    let begun = tokio::time::Instant::now();
    let deadline = a.0.seams.clock.now() + Duration::from_mins(1);
    let (to, head) = (node("b"), Head::default());
    let asked = a.ask(&to, Class::Message, Service::Entity, head, body.clone(), deadline).await;
    assert!(asked == Ok(body), "{:?}", asked.map(|body| body.len()));
    assert!(begun.elapsed() > Timing::default().dead_after * 2, "{:?}", begun.elapsed());
    assert_eq!((a.counts().dialled, a.counts().broken, b.counts().broken), (1, 0, 0));
}
