//! Large control messages in parts, on a network in memory.

use std::pin::pin;

use futures::FutureExt as _;

use super::*;

const LARGE: usize = 16 << 20;
const SMALL: usize = 100;

/// Keeps the lengths of what comes, in its order.
#[derive(Clone, Default)]
struct Lengths(Arc<Mutex<Vec<usize>>>);

impl Inbound for Lengths {
    fn tell(&self, _: &Peer, _: Head, body: Bytes) {
        self.0.lock().push(body.len());
    }

    fn ask(&self, _: &Peer, _: Head, body: Bytes, reply: ReplyTo) {
        self.0.lock().push(body.len());
        reply.send(Bytes::new());
    }
}

async fn pair() -> (Links, Links, Arc<Mutex<Vec<usize>>>) {
    let net = PipeNet::default();
    let a = virtual_node(&net, insecure("a")).await;
    let b = virtual_node(&net, insecure("b")).await;
    introduce(&a, "b", &b);
    let lengths = Lengths::default();
    for service in [Service::Raft, Service::Lease, Service::Gossip] {
        b.serve(service, Arc::new(lengths.clone()));
    }
    assert_eq!(ask_with(&a, SMALL).await, Ok(Bytes::new()));
    lengths.0.lock().clear();
    (a, b, lengths.0)
}

async fn ask_with(a: &Links, bytes: usize) -> Result<Bytes, AskError> {
    let service = if bytes == SMALL { Service::Lease } else { Service::Raft };
    let (deadline, body) = (a.0.seams.clock.now() + GENEROUS, Bytes::from(vec![7; bytes]));
    a.ask(&node("b"), Class::Control, service, Head::default(), body, deadline).await
}

/// Some virtual seconds later nothing may be under way any more, and nothing may have broken.
async fn settles(a: &Links, b: &Links) {
    tokio::time::sleep(Duration::from_secs(5)).await;
    let table = a.0.table.lock();
    let conn = table.ways[&node("b")].lanes[Class::Control as usize].conn.clone();
    assert!(conn.is_some_and(|conn| conn.is_idle()), "something is still under way");
    assert_eq!((a.counts().dialled, a.counts().broken, b.counts().broken), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn small_control_messages_pass_between_the_parts_of_a_large_one() {
    let (a, b, lengths) = pair().await;
    let small = async {
        for _ in 0..4 {
            assert_eq!(ask_with(&a, SMALL).await, Ok(Bytes::new()));
            let gossip = Bytes::from(vec![1; 1_000]);
            a.tell(&node("b"), Class::Control, Service::Gossip, Head::default(), gossip)
                .expect("gossip waits behind no part");
        }
        assert_eq!(ask_with(&a, SMALL).await, Ok(Bytes::new()));
    };
    let (large, ()) = tokio::join!(ask_with(&a, LARGE), small);
    assert_eq!(large, Ok(Bytes::new()));
    let mut expected = [SMALL, 1_000].repeat(4);
    expected.extend([SMALL, LARGE]);
    assert_eq!(*lengths.lock(), expected);
    settles(&a, &b).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_before_its_first_part_left_is_taken_back() {
    let (a, b, lengths) = pair().await;
    let mut first = pin!(ask_with(&a, LARGE));
    let mut second = Box::pin(ask_with(&a, 1 << 20));
    let mut third = pin!(ask_with(&a, 100_000));
    assert!(first.as_mut().now_or_never().is_none());
    assert!(second.as_mut().now_or_never().is_none());
    assert!(third.as_mut().now_or_never().is_none());
    assert_eq!(ask_with(&a, SMALL).await, Ok(Bytes::new()), "now the first is under way");
    drop(second);
    assert_eq!(tokio::join!(first, third), (Ok(Bytes::new()), Ok(Bytes::new())));
    assert_eq!(*lengths.lock(), [SMALL, LARGE, 100_000]);
    settles(&a, &b).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_midway_breaks_nothing() {
    let (a, b, lengths) = pair().await;
    let mut large = Box::pin(ask_with(&a, LARGE));
    assert!(large.as_mut().now_or_never().is_none());
    assert_eq!(ask_with(&a, SMALL).await, Ok(Bytes::new()), "now it is under way");
    drop(large);
    assert_eq!(*lengths.lock(), [SMALL], "it has not arrived yet");
    assert_eq!(ask_with(&a, 100_000).await, Ok(Bytes::new()));
    assert_eq!(*lengths.lock(), [SMALL, LARGE, 100_000]);
    settles(&a, &b).await;
}

#[tokio::test(start_paused = true)]
async fn asks_that_wait_behind_a_large_one_end_at_their_deadline_and_never_arrive() {
    let (a, b, lengths) = pair().await;
    let mut first = pin!(ask_with(&a, LARGE));
    assert!(first.as_mut().now_or_never().is_none());
    let (by, body) = (a.0.seams.clock.now(), Bytes::from(vec![7; 1 << 20]));
    let by = by + Duration::from_millis(1);
    let to = node("b");
    let mut late = pin!(a.ask(&to, Class::Control, Service::Raft, Head::default(), body, by));
    assert!(late.as_mut().now_or_never().is_none());
    // Nothing moves while time does: both runs of parts are behind it.
    tokio::time::advance(Duration::from_millis(20)).await;
    let (late, first) = tokio::join!(late, first);
    let why = "the deadline passed before it could be sent to b".to_owned();
    assert_eq!((late, first), (Err(AskError::NotExecuted(why)), Ok(Bytes::new())));
    assert_eq!(*lengths.lock(), [LARGE]);
    settles(&a, &b).await;
}
