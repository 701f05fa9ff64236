//! Owners shrink `in_sync` only under a leader that has said that they may.

use super::*;
use crate::placement::Refusal;

/// Goal: a leader that finds every voter restarted keeps each `in_sync` as it is. Method: shrinks
/// proposed at the leader and through it, before it lets them, after, and under the next leader.
#[tokio::test(start_paused = true)]
async fn a_shrink_waits_until_the_leader_lets_it() {
    let mut world = World::formed(11).await;
    let (leader, key) = world.leader(&[0, 1, 2]).await;
    let other = (leader + 1) % 3;
    let view = world.core(leader).view();
    let shrink = |place: usize, id: u128| {
        // Shard `i` is owned by node `i % 3`.
        let number = crate::base::ShardId(u16::try_from(place).unwrap());
        let shard = view.shard(number).unwrap();
        let when = crate::placement::Precondition {
            owner: shard.owner.clone().unwrap(),
            epoch: shard.epoch,
            in_sync_generation: shard.in_sync_generation,
        };
        let store = view.members[&name((place + 1) % 3)].store;
        Proposal { id: ChangeId(id), change: Change::Shrink { shard: number, store, when } }
    };
    for place in [leader, other] {
        let refused = world.core(place).propose(vec![shrink(place, 1)], world.in_secs(1)).await;
        assert!(matches!(refused, Err(ProposeError::NotExecuted(_))), "{refused:?}");
    }
    // Other changes of the same owner pass.
    let records = world.has_records(leader, u16::try_from(leader).unwrap() + 3);
    let done = world.core(leader).propose(vec![records.clone()], world.in_secs(1)).await.unwrap();
    assert_eq!(done, vec![(records.id, Outcome::Accepted)]);
    world.core(leader).let_shrink(Some(key));
    for (place, id) in [(leader, 2), (other, 3)] {
        let done = world.core(place).propose(vec![shrink(place, id)], world.in_secs(1)).await;
        let [(_, outcome)] = &done.unwrap()[..] else { panic!("one outcome") };
        // It was agreed on; whether there is anything to shrink is for the view.
        let no_answer = matches!(outcome, Outcome::Refused(Refusal::Stale(_)));
        assert!(!no_answer, "{outcome:?}");
    }
    world.kill(leader).await;
    let others: Vec<_> = (0..3).filter(|place| *place != leader).collect();
    let (next, _) = world.leader(&others).await;
    let refused = world.core(next).propose_local(vec![shrink(next, 4)], world.in_secs(1)).await;
    assert!(matches!(refused, Err(ProposeError::NotExecuted(_))), "{refused:?}");
    // What was said for the leadership before lets nothing pass under this one.
    world.core(next).let_shrink(Some(key));
    let refused = world.core(next).propose_local(vec![shrink(next, 5)], world.in_secs(1)).await;
    assert!(matches!(refused, Err(ProposeError::NotExecuted(_))), "{refused:?}");
}
