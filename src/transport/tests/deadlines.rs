//! Deadlines and back-off, to the millisecond of virtual time.

use std::collections::BTreeSet;

use super::*;
use crate::base::{Listener, Net as _};
use crate::transport::handshake::{Me, Met};

/// How late an ask may end: the slot of its deadline and the granularity of a timer.
const LATE: Duration = Duration::from_millis(6);

async fn ask_by(a: &Links, body: &'static str, span: Duration) -> Result<Bytes, AskError> {
    let (deadline, body) = (a.0.seams.clock.now() + span, Bytes::from_static(body.as_bytes()));
    let to = node("b");
    a.ask(&to, Class::Message, Service::Entity, Head::default(), body, deadline).await
}

#[tokio::test(start_paused = true)]
async fn asks_of_one_connection_end_each_at_its_own_deadline() {
    let net = PipeNet::default();
    let a = virtual_node(&net, insecure("a")).await;
    let b = virtual_node(&net, insecure("b")).await;
    introduce(&a, "b", &b);
    let _heard = obey(&b, Service::Entity);
    assert_eq!(ask_by(&a, "x", Duration::from_secs(1)).await, Ok("x".into()));
    let asked = async |millis| {
        let (begun, span) = (tokio::time::Instant::now(), Duration::from_millis(millis));
        let answer = ask_by(&a, "hold", span).await;
        let late = begun.elapsed().checked_sub(span).expect("not before its deadline");
        assert!(late <= LATE, "{millis} ms and {late:?}");
        answer
    };
    // The latest first: each has to be looked at before those that were there.
    let (hour, second, moment, soon) =
        tokio::join!(asked(3_600_000), asked(1_000), asked(5), asked(3_600));
    let unknown = Err(AskError::Unknown("no answer from b in time".into()));
    for answer in [hour, second, moment, soon] {
        assert_eq!(answer, unknown);
    }
    assert_eq!((a.counts().dialled, a.counts().broken), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_ask_on_a_link_still_being_dialled_ends_at_its_deadline() {
    let net = PipeNet::default();
    let a = virtual_node(&net, insecure("a")).await;
    let deaf = net.listen(insecure("b").listen).await.expect("a port is free");
    a.learn(&node("b"), &deaf.local_addr().expect("it listens").to_string());
    let asked = async |millis| {
        let (begun, span) = (tokio::time::Instant::now(), Duration::from_millis(millis));
        let answer = ask_by(&a, "x", span).await;
        let late = begun.elapsed().checked_sub(span).expect("not before its deadline");
        assert!(late <= LATE, "{millis} ms and {late:?}");
        answer
    };
    let answers = tokio::join!(asked(1_000), asked(100), asked(5));
    let why = "the deadline passed before it could be sent to b".to_owned();
    let late = Err(AskError::NotExecuted(why));
    assert_eq!(answers, (late.clone(), late.clone(), late));
}

/// Accepts one link by hand, as the node b.
async fn meet(listener: &dyn Listener) -> Met {
    let (stream, _) = listener.accept().await.expect("it is dialled");
    let (identity, schemas) = (insecure("b").identity, Schemas::default());
    let me = Me { identity, cluster: CLUSTER, schemas, token: 0, generation: 0 };
    handshake::accept(&me, &Security::Insecure, stream, async |_| Ok(()))
        .await
        .expect("a is a good node")
}

#[tokio::test(start_paused = true)]
async fn a_broken_link_is_said_once_and_dialled_again_after_a_jittered_wait() {
    const BREAKS: usize = 30;
    let net = PipeNet::default();
    let a = virtual_node(&net, insecure("a")).await;
    let listener = net.listen(insecure("b").listen).await.expect("a port is free");
    a.learn(&node("b"), &listener.local_addr().expect("it listens").to_string());
    let (said, mut rung, say) = collector();
    a.on_broken(move |node, why| say(&format!("{node}: {why}")));
    let asking = tokio::spawn({
        let a = a.clone();
        async move {
            let (mut unknown, mut why) = (0, BTreeSet::new());
            // One ask is on the link when it breaks; what comes meanwhile is told when to return.
            while unknown < BREAKS {
                match ask_by(&a, "hold", GENEROUS).await {
                    Err(AskError::Unknown(_)) => unknown += 1,
                    Err(AskError::NotExecuted(text)) => drop(why.insert(text)),
                    other => panic!("{other:?}"),
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            why
        }
    });
    let (timing, mut waits) = (Timing::default(), BTreeSet::new());
    let mut met = meet(&*listener).await;
    for number in 0..BREAKS {
        // Virtual: the ask has arrived.
        tokio::time::sleep(Duration::from_millis(10)).await;
        let broken = tokio::time::Instant::now();
        drop(met);
        rung.recv().await.expect("the break is said");
        if number + 1 == BREAKS {
            break;
        }
        met = meet(&*listener).await;
        let wait = broken.elapsed();
        // None of them stands for long: each is dialled later than the one before, up to a bound.
        let longest = timing.backoff_min.saturating_mul(1 << number.min(16));
        let longest = longest.min(timing.backoff_max);
        let bounds = longest / 2..=longest + Duration::from_millis(3);
        assert!(bounds.contains(&wait), "break {number}: {wait:?}");
        waits.insert(wait.as_millis());
    }
    let why = asking.await.expect("no panic");
    assert!(why.iter().all(|why| why.contains("b: the link broke: ")), "{why:?}");
    assert!(why.iter().any(|why| why.contains("next try in ")), "{why:?}");
    assert!(waits.len() > 5, "they are drawn at random: {waits:?}");
    let closed = "b: the other side closed it".to_owned();
    assert_eq!(*said.lock(), vec![closed; BREAKS], "once each");
    assert_eq!((a.counts().broken, a.counts().dialled), (BREAKS as u64, BREAKS as u64));
}
