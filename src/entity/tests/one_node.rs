//! Lanes, crashes, deadlines, passivation: what needs no second node.

use super::*;
use crate::entity::refs::{Bound, TURN};
use crate::restart::{Intensity, Restart};
use crate::wire::Codec;

async fn alone(kind: fn(Kind<Counter>) -> Kind<Counter>) -> Station {
    let station = Station::start("n1", &Shelf::default(), kind).await;
    station.apply(view(1, "n1"));
    station
}

/// Starts an ask and waits until its message is in the lane, or in hand.
async fn begun<T>(ask: &mut (impl Future<Output = T> + Unpin)) {
    assert!(futures::poll!(ask).is_pending());
}

#[tokio::test]
async fn c01_a_single_node_counts() {
    let n1 = alone(|kind| kind.durable(Durable::Snapshots)).await;
    for more in [1, 1, 1, -1] {
        n1.get("1").ask(|reply| CounterMsg::Save(more, reply)).await.expect("it serves");
    }
    assert_eq!(n1.get("1").ask(CounterMsg::Get).await, Ok(2));
    assert_eq!(n1.hosts.counted().in_memory, 1);
}

#[tokio::test]
async fn a_full_lane_refuses_and_what_it_holds_is_handled_in_order() {
    let n1 = alone(|kind| kind.lane(2)).await;
    let entity = n1.get("a");
    let mut hold = Box::pin(entity.ask(CounterMsg::Hold));
    begun(&mut hold).await;
    n1.held(1).await;
    let mut first = Box::pin(entity.ask(|reply| CounterMsg::Add(1, reply)));
    begun(&mut first).await;
    entity.tell(CounterMsg::Bump).expect("room for two");
    let full = NotExecuted::Overloaded { entity: "counter/a".into(), lane_messages_max: 2 };
    assert_eq!(entity.tell(CounterMsg::Bump), Err(full.clone()));
    assert_eq!(entity.ask(CounterMsg::Get).await, Err(full.into()));
    n1.go(1);
    assert_eq!(hold.await, Ok(()));
    assert_eq!(first.await, Ok(1));
    assert_eq!(entity.ask(CounterMsg::Get).await, Ok(2));
}

#[tokio::test]
async fn a_crash_fails_the_message_in_hand_and_keeps_the_rest() {
    let n1 = alone(|kind| kind.durable(Durable::Snapshots)).await;
    let entity = n1.get("a");
    assert_eq!(entity.ask(|reply| CounterMsg::Save(7, reply)).await, Ok(1));
    let mut hold = Box::pin(entity.ask(CounterMsg::Hold));
    begun(&mut hold).await;
    n1.held(1).await;
    let mut fail = Box::pin(entity.ask(CounterMsg::Fail));
    let mut after_fail = Box::pin(entity.ask(CounterMsg::Get));
    let mut panic = Box::pin(entity.ask(CounterMsg::Panic));
    let mut after_panic = Box::pin(entity.ask(CounterMsg::Get));
    begun(&mut fail).await;
    begun(&mut after_fail).await;
    begun(&mut panic).await;
    begun(&mut after_panic).await;
    n1.go(1);
    let crashed = |why: &str| Err(AskError::Unknown(Unknown::Crashed(why.into())));
    assert_eq!(fail.await, crashed("asked to"));
    assert_eq!(after_fail.await, Ok(7));
    assert_eq!(panic.await, crashed("panicked: asked to"));
    assert_eq!(after_panic.await, Ok(7));
    assert_eq!(n1.hosts.counted().crashed, 2);
}

#[tokio::test]
async fn one_crash_too_many_and_the_entity_rests_others_do_not() {
    let n1 = alone(|kind| kind.intensity(Intensity { restarts: 1, period: GENEROUS * 9 })).await;
    let entity = n1.get("a");
    for _ in 0..2 {
        assert!(matches!(entity.ask(CounterMsg::Fail).await, Err(AskError::Unknown(_))));
    }
    let rests = NotExecuted::Quarantined("counter/a".into());
    assert_eq!(entity.ask(CounterMsg::Get).await, Err(rests.into()));
    assert_eq!(n1.get("b").ask(CounterMsg::Get).await, Ok(0));
}

#[tokio::test]
async fn an_entity_does_not_rest_for_saves_that_the_cluster_failed() {
    let shelf = Shelf::default();
    let once = |kind: Kind<Counter>| {
        kind.durable(Durable::Snapshots).intensity(Intensity { restarts: 1, period: GENEROUS * 9 })
    };
    let n1 = Station::start("n1", &shelf, once).await;
    n1.apply(view(1, "n1"));
    let entity = n1.get("a");
    shelf.0.0.lock().0 = Epoch(99); // no save gets through
    for _ in 0..5 {
        let saved = entity.ask(|reply| CounterMsg::Save(1, reply)).await;
        assert!(matches!(saved, Err(AskError::Unknown(Unknown::Crashed(_)))), "{saved:?}");
    }
    shelf.0.0.lock().0 = Epoch(1);
    assert_eq!(entity.ask(|reply| CounterMsg::Save(1, reply)).await, Ok(1));
}

#[tokio::test]
async fn a_temporary_entity_takes_its_lane_with_it() {
    let n1 = alone(|kind| kind.restart(Restart::Temporary)).await;
    let entity = n1.get("a");
    let mut hold = Box::pin(entity.ask(CounterMsg::Hold));
    begun(&mut hold).await;
    n1.held(1).await;
    let mut fail = Box::pin(entity.ask(CounterMsg::Fail));
    begun(&mut fail).await;
    let mut waits = Box::pin(entity.ask(CounterMsg::Get));
    begun(&mut waits).await;
    n1.go(1);
    assert!(matches!(fail.await, Err(AskError::Unknown(Unknown::Crashed(_)))));
    assert!(matches!(waits.await, Err(AskError::NotExecuted(NotExecuted::Quarantined(_)))));
    assert_eq!(entity.ask(CounterMsg::Get).await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_says_whether_the_message_was_taken() {
    let n1 = alone(|kind| kind).await;
    let entity = n1.get("a");
    let second = Duration::from_secs(1);
    let (in_hand, waiting) = tokio::join!(
        entity.ask_within(second * 2, CounterMsg::Hold),
        entity.ask_within(second, |reply| CounterMsg::Add(1, reply)),
    );
    assert_eq!(in_hand, Err(AskError::Unknown(Unknown::Deadline)));
    assert_eq!(waiting, Err(AskError::NotExecuted(NotExecuted::Deadline)));
    n1.go(1);
    assert_eq!(entity.ask(CounterMsg::Get).await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn an_ask_from_a_handler_waits_no_longer_than_its_asker() {
    let n1 = alone(|kind| kind).await;
    let b = n1.get("b");
    let mut hold = Box::pin(b.ask_within(GENEROUS, CounterMsg::Hold));
    begun(&mut hold).await;
    n1.held(1).await;
    let within = Duration::from_secs(1);
    let other = |reply| CounterMsg::AskOther("b".into(), reply);
    // Inside a handler the ask would wait five seconds by itself.
    let asked = n1.get("a").ask_within(within, other).await;
    assert_eq!(asked, Err(AskError::Unknown(Unknown::Deadline)));
    n1.go(1);
    assert_eq!(hold.await, Ok(()));
    let asked = n1.get("a").ask(|reply| CounterMsg::AskOther("b".into(), reply)).await;
    assert_eq!(asked, Ok(Ok(0)));
}

#[tokio::test(start_paused = true)]
async fn an_idle_entity_leaves_memory_and_comes_back_with_what_it_saved() {
    let idle = Duration::from_secs(1);
    let n1 = alone(|kind| kind.durable(Durable::Snapshots).passivate_after(Duration::from_secs(1)))
        .await;
    let entity = n1.get("a");
    assert_eq!(entity.ask(|reply| CounterMsg::Save(7, reply)).await, Ok(1));
    entity.ask(|reply| CounterMsg::Add(1, reply)).await.expect("it serves");
    n1.counted(|counts| counts.passivated == 1).await;
    assert_eq!(n1.hosts.counted().in_memory, 0);
    assert_eq!(entity.ask(CounterMsg::Get).await, Ok(7));
    let mut hold = Box::pin(entity.ask_within(idle * 9, CounterMsg::Hold));
    begun(&mut hold).await;
    tokio::time::sleep(idle * 3).await;
    assert_eq!(n1.hosts.counted().in_memory, 1, "one in a turn is not idle");
}

#[tokio::test]
async fn nothing_is_handled_before_a_save_that_its_handler_dropped_is_acknowledged() {
    let n1 = alone(|kind| kind.durable(Durable::Snapshots)).await;
    let entity = n1.get("a");
    entity.ask(|reply| CounterMsg::DropSave(1, reply)).await.expect("it serves");
    assert_eq!(entity.ask(|reply| CounterMsg::Save(1, reply)).await, Ok(2));
}

#[tokio::test]
async fn a_handler_without_an_answer_is_told_apart() {
    let n1 = alone(|kind| kind).await;
    let asked = n1.get("a").ask(CounterMsg::Silent).await;
    assert_eq!(asked, Err(AskError::Unknown(Unknown::NoAnswer)));
}

#[tokio::test(start_paused = true)]
async fn nobody_handles_anything_without_a_lease() {
    let n1 = Station::start("n1", &Shelf::default(), |kind| kind).await;
    let second = Duration::from_secs(1);
    let nobody = n1.get("a").ask_within(second, CounterMsg::Get).await;
    assert!(matches!(nobody, Err(AskError::NotExecuted(NotExecuted::NoOwner(_)))), "{nobody:?}");
    n1.lease.begin(Boot(1));
    n1.apply(view(1, "n1"));
    let parked = n1.get("a").ask_within(second, |reply| CounterMsg::Add(1, reply)).await;
    assert_eq!(parked, Err(AskError::NotExecuted(NotExecuted::Deadline)));
    n1.lease.extend(Boot(1), Instant::NEVER);
    assert_eq!(n1.get("a").ask(CounterMsg::Get).await, Ok(0));
}

#[tokio::test]
async fn a_moved_shard_drops_the_turn_and_returns_the_lane() {
    let n1 = alone(|kind| kind).await;
    let entity = n1.get("a");
    let mut hold = Box::pin(entity.ask(CounterMsg::Hold));
    begun(&mut hold).await;
    n1.held(1).await;
    let mut waits = Box::pin(entity.ask(|reply| CounterMsg::Add(1, reply)));
    begun(&mut waits).await;
    n1.apply(view(2, "n1"));
    assert_eq!(hold.await, Err(AskError::Unknown(Unknown::Lapsed)));
    assert_eq!(waits.await, Ok(1), "sent again under the new epoch");
}

#[tokio::test]
async fn a_reference_from_a_message_speaks_for_the_entity_that_uses_it() {
    let n1 = alone(|kind| kind).await;
    let (one, other) = (n1.get("a"), n1.get("b"));
    assert_eq!(one.ask(|reply| CounterMsg::Via(other.clone(), reply)).await, Ok(true));
    assert!(other.speaks_for().is_none(), "outside of a turn it speaks for nobody");
    // A turn that went on without being polled: its tenure is over, and nothing leaves it.
    let tenure = Tenure {
        boot: Boot(1),
        shard: n1.hosts.shard_of("counter", "a").expect("formed"),
        epoch: Epoch(77),
    };
    let bound = Bound { tenure, deadline: Instant::NEVER };
    let told = TURN.sync_scope(bound, || other.tell(CounterMsg::Bump));
    assert_eq!(told, Err(NotExecuted::Lapsed));
    assert_eq!(other.tell(CounterMsg::Bump), Ok(()));
}

#[test]
fn a_reply_outside_a_message_is_an_error_not_a_panic() {
    let (reply, _call, _answer) = Reply::<u64>::here(1);
    assert!(rmp_serde::to_vec_named(&reply).is_err());
    let nil = [0xc0];
    assert!(rmp_serde::from_slice::<Reply<u64>>(&nil).is_err());
    assert!(frame::encode_message(Codec::Named, Some(2), &reply).is_err(), "of another ask");
    assert!(frame::encode_message(Codec::Named, None, &reply).is_err(), "of a tell");
    let named = frame::encode_message(Codec::Named, Some(1), &reply);
    assert_eq!(named.as_deref(), Ok(&nil[..]));
    let short = frame::encode_message(Codec::between(1, 1), Some(1), &reply);
    assert_eq!(short.as_deref(), Ok(&[][..]));
}

#[tokio::test]
async fn after_stop_nothing_is_taken_and_what_ran_is_dropped() {
    let n1 = alone(|kind| kind).await;
    let entity = n1.get("a");
    let mut hold = Box::pin(entity.ask(CounterMsg::Hold));
    begun(&mut hold).await;
    n1.held(1).await;
    n1.hosts.stop(n1.hosts.now()).await;
    assert_eq!(hold.await, Err(AskError::Unknown(Unknown::Lapsed)));
    assert_eq!(entity.ask(CounterMsg::Get).await, Err(NotExecuted::Stopping.into()));
}
