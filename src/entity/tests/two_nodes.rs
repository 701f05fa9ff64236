//! Two nodes over loopback.

use super::*;

pub(super) async fn pair() -> (Station, Station) {
    let shelf = Shelf::default();
    let kind = |kind: Kind<Counter>| kind.durable(Durable::Snapshots);
    let n1 = Station::start("n1", &shelf, kind).await;
    let n2 = Station::start("n2", &shelf, kind).await;
    n1.links.learn(&node("n2"), &n2.links.local_addr().to_string());
    n2.links.learn(&node("n1"), &n1.links.local_addr().to_string());
    (n1, n2)
}

async fn save(station: &Station, more: i64) -> Result<u64, AskError> {
    station.get("2").ask_within(GENEROUS, |reply| CounterMsg::Save(more, reply)).await
}

async fn value(station: &Station) -> Result<i64, AskError> {
    station.get("2").ask_within(GENEROUS, CounterMsg::Get).await
}

#[tokio::test]
async fn c02_one_instance_serves_both_nodes() {
    let (n1, n2) = pair().await;
    for station in [&n1, &n2] {
        station.apply(view(1, "n1"));
    }
    assert_eq!(save(&n1, 1).await, Ok(1));
    assert_eq!(save(&n1, 1).await, Ok(2));
    assert_eq!(value(&n2).await, Ok(2));
    assert_eq!(save(&n2, 1).await, Ok(3));
    assert_eq!(value(&n1).await, Ok(3));
    for station in [&n1, &n2] {
        let home = station.get("2").ask(CounterMsg::Node).await;
        assert_eq!(home, Ok("n1".into()));
    }
    for (id, count) in [("3", 10), ("4", 20)] {
        for _ in 0..count {
            n2.get(id).tell(CounterMsg::Bump).expect("it is sent");
        }
        // In order with the tells before it.
        assert_eq!(n2.get(id).ask(CounterMsg::Get).await, Ok(count));
        let more = n1.get(id).ask(|reply| CounterMsg::Add(1, reply)).await;
        assert_eq!(more, Ok(count + 1));
    }
    assert_eq!(n2.hosts.counted().in_memory, 0);
}

#[tokio::test]
async fn c38_revisions_go_on_under_a_new_owner() {
    let (n1, n2) = pair().await;
    for station in [&n1, &n2] {
        station.apply(view(1, "n1"));
    }
    assert_eq!(save(&n2, 1).await, Ok(1));
    assert_eq!(save(&n2, 1).await, Ok(2));
    for station in [&n1, &n2] {
        station.apply(view(2, "n2"));
    }
    assert_eq!(value(&n1).await, Ok(2), "recovered");
    assert_eq!(save(&n1, 1).await, Ok(3));
    assert_eq!(n2.get("2").ask(CounterMsg::Node).await, Ok("n2".into()));
    let three = tokio::join!(save(&n1, 1), save(&n1, 1), save(&n1, 1));
    assert_eq!(three, (Ok(4), Ok(5), Ok(6)));
}

#[tokio::test]
async fn not_owner_sends_the_asker_to_the_next_view() {
    let (n1, n2) = pair().await;
    n1.apply(view(2, "n2"));
    n2.apply(view(1, "n1"));
    let late = async {
        n1.counted(|counts| counts.not_owner > 0).await;
        n2.apply(view(2, "n2"));
    };
    let (asked, ()) = tokio::join!(save(&n2, 1), late);
    assert_eq!(asked, Ok(1));
}

#[tokio::test]
async fn a_frame_of_a_newer_view_is_held_until_it_is_seen() {
    let (n1, n2) = pair().await;
    n1.apply(view(2, "n2"));
    n2.apply(view(1, "n1"));
    n1.get("2").tell(CounterMsg::Bump).expect("it is sent");
    let late = async {
        n2.counted(|counts| counts.held > 0).await;
        n2.apply(view(2, "n2"));
    };
    let (asked, ()) = tokio::join!(value(&n1), late);
    assert_eq!(asked, Ok(1), "behind the tell that was held before it");
    assert_eq!(n2.hosts.counted().not_owner, 0);
}

#[tokio::test]
async fn a_crash_is_told_over_the_link() {
    let (n1, n2) = pair().await;
    for station in [&n1, &n2] {
        station.apply(view(1, "n1"));
    }
    let crashed = n2.get("2").ask_within(GENEROUS, CounterMsg::Fail).await;
    assert_eq!(crashed, Err(AskError::Unknown(Unknown::Crashed("asked to".into()))));
    let long = n2.get(&"x".repeat(2_000)).ask(CounterMsg::Get).await;
    assert!(matches!(long, Err(AskError::NotExecuted(NotExecuted::BadMessage(_)))));
    let silent = n2.get("2").ask(CounterMsg::Silent).await;
    assert!(matches!(silent, Err(AskError::Unknown(_))), "{silent:?}");
}

#[tokio::test]
async fn a_panic_while_a_message_is_decoded_is_an_answer_and_the_link_goes_on() {
    let (n1, n2) = pair().await;
    for station in [&n1, &n2] {
        station.apply(view(1, "n1"));
    }
    let asked = n2.get("2").ask(|reply| CounterMsg::Explode(reply, Bomb)).await;
    let Err(AskError::NotExecuted(NotExecuted::BadMessage(why))) = asked else {
        panic!("{asked:?}");
    };
    assert!(why.contains("a bomb was decoded"), "{why}");
    assert_eq!(value(&n2).await, Ok(0));
    assert_eq!(n2.links.counts().dialled, 1, "over the same link");
}

/// While the owner seems gone an ask waits and was not executed when its deadline comes, and a tell
/// is refused at once; as soon as it is heard, all goes through.
#[tokio::test]
async fn who_seems_gone_is_sent_nothing() {
    let (n1, n2) = pair().await;
    for station in [&n1, &n2] {
        station.apply(view(1, "n1"));
    }
    assert_eq!(value(&n2).await, Ok(0));
    n2.hosts.hints().set([node("n1")].into());
    let told = n2.get("2").tell(CounterMsg::Bump);
    assert!(matches!(told, Err(NotExecuted::Unreachable(_))), "{told:?}");
    let short = Duration::from_millis(50);
    let asked = n2.get("2").ask_within(short, CounterMsg::Get).await;
    let Err(AskError::NotExecuted(NotExecuted::Unreachable(why))) = &asked else {
        panic!("{asked:?}")
    };
    assert!(why.contains("n1 seems gone"), "{why}");
    let entity = n2.get("2");
    let waits = entity.ask_within(GENEROUS, CounterMsg::Get);
    let heard = async {
        tokio::task::yield_now().await;
        n2.hosts.hints().clear();
    };
    let (answer, ()) = tokio::join!(waits, heard);
    assert_eq!(answer, Ok(0), "no tell has arrived");
}
