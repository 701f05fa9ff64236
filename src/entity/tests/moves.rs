//! A shard on its way from one live node to another.

use futures::FutureExt as _;

use super::two_nodes;
use super::*;

/// Two nodes, of which `n1` owns all shards.
async fn pair() -> (Station, Station) {
    let (one, two) = two_nodes::pair().await;
    for station in [&one, &two] {
        station.apply(view(1, "n1"));
    }
    (one, two)
}

/// View `version`: `n1` owns all shards under `epoch`, and all are on their way to `n2`.
fn moving(version: u64, epoch: u64) -> View {
    let view = view(version, "n1");
    let shards = view.shards.iter().map(|shard| {
        let to = Owner { node: node("n2"), boot: Boot(1) };
        Arc::new(Shard { epoch: Epoch(epoch), moving: Some(to), ..Shard::clone(shard) })
    });
    View { shards: shards.collect(), ..view }
}

/// Waits until `station` has released `count` shards, and says which.
async fn released(station: &Station, count: usize) -> Vec<(ShardId, Epoch)> {
    let come = async {
        loop {
            let released = station.views.1.lock().clone();
            if released.len() >= count {
                return released;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(GENEROUS, come).await.expect("they are released")
}

#[tokio::test]
async fn shards_of_which_nothing_runs_are_released_at_once() {
    let (one, _two) = pair().await;
    one.get("a").ask(|reply| CounterMsg::Add(1, reply)).await.expect("it answers");
    one.apply(moving(2, 1));
    let mut all = released(&one, 4).await;
    all.sort_unstable();
    assert_eq!(all, (0..4).map(|shard| (ShardId(shard), Epoch(1))).collect::<Vec<_>>());
}

/// Goal: what runs ends, what waits is handled by the next owner, and nothing is handled twice or
/// lost. Method: a turn that waits in its middle, with asks and tells behind it, while its shard
/// moves.
#[tokio::test]
async fn what_runs_ends_and_what_waits_goes_to_the_next_owner() {
    let (one, two) = pair().await;
    let counter = one.get("a");
    let mut held = counter.ask(CounterMsg::Hold).boxed();
    assert!((&mut held).now_or_never().is_none());
    one.held(1).await;
    one.apply(moving(2, 1));
    two.apply(moving(2, 1));
    for _ in 0..3 {
        counter.tell(CounterMsg::Bump).expect("it waits in the lane");
    }
    let mut asked = counter.ask(|reply| CounterMsg::Add(10, reply)).boxed();
    assert!((&mut asked).now_or_never().is_none());
    released(&one, 3).await;
    assert!(one.lease.owned(counter_shard(&one)).is_some(), "a turn runs, so it is not released");
    one.go(1);
    held.await.expect("what ran has ended");
    released(&one, 4).await;
    for station in [&one, &two] {
        station.apply(view(3, "n2"));
    }
    asked.await.expect("the next owner answers");
    let value = async {
        while two.get("a").ask(CounterMsg::Get).await != Ok(13) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(GENEROUS, value).await.expect("each was handled once, by n2");
    assert_eq!(one.hosts.counted().tells_lost, 0);
}

fn counter_shard(station: &Station) -> ShardId {
    station.hosts.shard_of(Counter::KIND, "a").expect("formed")
}

#[tokio::test]
async fn a_turn_that_takes_too_long_is_dropped_and_its_caller_does_not_know() {
    let (one, _two) = pair().await;
    let counter = one.get("a");
    let mut held = counter.ask(CounterMsg::Hold).boxed();
    assert!((&mut held).now_or_never().is_none());
    one.held(1).await;
    one.apply(moving(2, 1));
    let error = held.await.expect_err("the turn is dropped");
    assert!(matches!(error, AskError::Unknown(_)), "{error}");
    released(&one, 4).await;
}

#[tokio::test]
async fn a_move_that_is_taken_back_goes_on_where_it_was() {
    let (one, _two) = pair().await;
    let counter = one.get("a");
    let mut held = counter.ask(CounterMsg::Hold).boxed();
    assert!((&mut held).now_or_never().is_none());
    one.held(1).await;
    one.apply(moving(2, 1));
    let mut asked = counter.ask(|reply| CounterMsg::Add(10, reply)).boxed();
    assert!((&mut asked).now_or_never().is_none());
    released(&one, 3).await;
    // The leader gives up: n1 stays the owner, under a new epoch.
    one.apply(view(3, "n1"));
    assert!(matches!(held.await, Err(AskError::Unknown(_))), "its turn was of the old epoch");
    assert_eq!(asked.await, Ok(10));
}

/// Goal: between the release and the next owner nothing is lost either. Method: views that change
/// something else, and tells that come, while a shard is released and nobody else owns it yet.
#[tokio::test]
async fn what_comes_between_release_and_hand_over_waits_for_the_next_owner() {
    let (one, two) = pair().await;
    one.apply(moving(2, 1));
    two.apply(moving(2, 1));
    let all = released(&one, 4).await;
    for (shard, epoch) in all {
        one.lease.release(shard, epoch);
    }
    for station in [&one, &two] {
        station.get("a").tell(CounterMsg::Bump).expect("it waits at n1");
    }
    // Something else has changed: n1 is still the owner.
    for station in [&one, &two] {
        station.apply(moving(3, 1));
    }
    one.get("a").tell(CounterMsg::Bump).expect("it waits at n1");
    let counter = one.get("a");
    let mut asked = counter.ask(CounterMsg::Get).boxed();
    assert!((&mut asked).now_or_never().is_none());
    for station in [&one, &two] {
        station.apply(view(4, "n2"));
    }
    let value = async {
        while two.get("a").ask(CounterMsg::Get).await != Ok(3) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(GENEROUS, value).await.expect("all were handled, by n2");
    asked.await.expect("the next owner answers");
    assert_eq!(one.hosts.counted().tells_lost + two.hosts.counted().tells_lost, 0);
}
