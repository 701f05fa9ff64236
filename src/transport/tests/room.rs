//! Links on demand: there is a most of them, and the one unused for longest makes room.

use std::collections::BTreeSet;

use super::*;

/// One node that may dial three, and five others, under virtual time.
async fn crowd() -> (Links, Vec<Links>) {
    let (net, authority) = (PipeNet::default(), Authority::new("test").expect("a good name"));
    let limits = Limits { on_demand_max: 3, ..Limits::default() };
    let a = virtual_node(&net, LinksConfig { limits, ..secure("a", &authority) }).await;
    let mut others = Vec::new();
    for name in NAMES {
        let other = virtual_node(&net, secure(name, &authority)).await;
        introduce(&a, name, &other);
        others.push(other);
    }
    (a, others)
}

const NAMES: [&str; 5] = ["p0", "p1", "p2", "p3", "p4"];

/// Asks, then lets some virtual time pass, in which pings tell that all has arrived.
async fn use_link(a: &Links, name: &str) {
    assert_eq!(ask_in(a, name, Class::Message).await, Ok("x".into()), "{name}");
    tokio::time::sleep(Duration::from_secs(2)).await;
}

fn accepted(others: &[Links]) -> Vec<u64> {
    others.iter().map(|other| other.counts().accepted).collect()
}

#[tokio::test(start_paused = true)]
async fn the_link_unused_for_longest_makes_room_and_comes_back_with_its_session() {
    let (a, others) = crowd().await;
    let _heard: Vec<_> = others.iter().map(|other| obey(other, Service::Entity)).collect();
    let (lost, _, say) = collector();
    a.on_lost(move |lost| say(&format!("{lost:?}")));
    for name in ["p0", "p1", "p2", "p0"] {
        use_link(&a, name).await;
    }
    assert_eq!((a.counts().made_room, accepted(&others)), (0, vec![1, 1, 1, 0, 0]));
    use_link(&a, "p3").await;
    assert_eq!(a.counts().made_room, 1);
    for name in ["p0", "p2", "p3"] {
        use_link(&a, name).await;
    }
    assert_eq!(accepted(&others), [1, 1, 1, 1, 0], "p1 it was");
    assert!(others[1].0.table.lock().loose.is_empty(), "p1 knows that it ended");
    // Dialled again at once; now p0 is the one that was not used for longest.
    assert_eq!(a.counts().resumed, 0);
    use_link(&a, "p1").await;
    for name in ["p2", "p3", "p1"] {
        use_link(&a, name).await;
    }
    assert_eq!((a.counts().made_room, accepted(&others)), (2, vec![1, 2, 1, 1, 0]));
    assert_eq!((a.counts().resumed, others[1].counts().resumed), (1, 1));
    use_link(&a, "p0").await;
    assert_eq!((a.counts().resumed, others[0].counts().resumed), (2, 1));
    let broken = |links: &Links| links.counts().broken;
    assert_eq!((broken(&a), others.iter().map(broken).sum::<u64>()), (0, 0), "all in order");
    assert_eq!((a.counts().dials_failed, lost.lock().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn busy_links_make_room_for_nobody() {
    let (a, others) = crowd().await;
    let mut heard: Vec<_> = others.iter().map(|other| obey(other, Service::Entity)).collect();
    let mut held = Vec::new();
    for (name, heard) in NAMES.iter().zip(&mut heard).take(3) {
        use_link(&a, name).await;
        let (a, to) = (a.clone(), node(name));
        let (body, by) = (Bytes::from_static(b"hold"), Instant::NEVER);
        let asked = tokio::spawn(async move {
            a.ask(&to, Class::Message, Service::Entity, Head::default(), body, by).await
        });
        let Some(Heard::Held(reply)) = heard.recv().await else { panic!("one ask was sent") };
        held.push((asked, reply));
    }
    let link = a.link(&node("p3"), Class::Message, Service::Entity);
    let overloaded = link.tell(Head::default(), Bytes::new());
    let why = "anybody new: all 3 links to others are in use".to_owned();
    assert_eq!(overloaded, Err(SendError::Overloaded(why.clone())));
    let asked = ask_in(&a, "p3", Class::Message).await;
    assert_eq!(asked, Err(SendError::Overloaded(why).into()));
    // Whatever has a link already goes on.
    use_link(&a, "p0").await;

    let (asked, reply) = held.remove(1);
    reply.send(Bytes::from_static(b"done"));
    assert_eq!(asked.await.expect("no panic"), Ok("done".into()));
    use_link(&a, "p3").await;
    assert_eq!((a.counts().made_room, accepted(&others)), (1, vec![1, 1, 1, 1, 0]));
    for (asked, reply) in held {
        reply.send(Bytes::from_static(b"done"));
        assert_eq!(asked.await.expect("no panic"), Ok("done".into()), "it was not disturbed");
    }
}

#[tokio::test(start_paused = true)]
async fn control_links_to_nodes_that_are_kept_make_room_for_nobody() {
    let (a, others) = crowd().await;
    let _heard: Vec<_> = others.iter().map(|other| obey(other, Service::Entity)).collect();
    a.keep(BTreeSet::from([node("p0"), node("p1")]));
    for name in ["p0", "p1"] {
        assert_eq!(ask_in(&a, name, Class::Control).await, Ok("x".into()));
    }
    // Their other links are as anybody's.
    for name in ["p0", "p2", "p3", "p4", "p2"] {
        use_link(&a, name).await;
    }
    assert_eq!(a.counts().made_room, 1);
    for name in ["p0", "p1"] {
        assert_eq!(ask_in(&a, name, Class::Control).await, Ok("x".into()));
    }
    assert_eq!(accepted(&others), [2, 1, 1, 1, 1], "both control links still stand");
    // Kept no more, they are two of the five that are too many.
    a.keep(BTreeSet::new());
    tokio::time::sleep(Duration::from_secs(2)).await;
    use_link(&a, "p0").await;
    assert_eq!(a.counts().made_room, 2);
}
