mod change;
mod disk;
mod links;
mod shrinks;
mod starts;
mod world;

use std::time::Duration;

use openraft::raft::VoteRequest;

use super::message::{Addressed, RaftRequest};
use super::*;
use crate::base::{Boot, SeededRng};
use crate::placement::{Change, ChangeId};
use world::{World, name};

/// Goal: one view, whoever proposes it. Method: all three initialise at once with one proposal.
#[tokio::test(start_paused = true)]
async fn three_voters_form_one_view() {
    let world = World::formed(1).await;
    let (leader, key) = world.leader(&[0, 1, 2]).await;
    let view = world.core(leader).view();
    assert!(view.is_formed());
    assert_eq!(view.version.0, 1, "one of three proposals was applied");
    for place in 0..3 {
        world.caught_up(place, leader).await;
        let led = world.core(place).leader_key().await;
        assert_eq!(led, (place == leader).then_some(key));
        assert_eq!(world.core(place).voters(), world::voters());
        assert!(world.core(place).is_initialized().await);
    }
    // Harmless to repeat.
    world.form().await;
    assert_eq!(world.core(leader).view().version.0, 1);
}

#[tokio::test(start_paused = true)]
async fn a_voter_that_is_not_listed_does_not_initialise() {
    let world = World::new(1, 16).await;
    let mut others = world::voters();
    others.pop_first();
    let error = world.core(0).initialize(others, world::form(16), world.in_secs(1)).await;
    assert!(matches!(error, Err(FormError::NotAVoter(_))), "{error:?}");
    assert!(!world.core(0).is_initialized().await);
}

/// Goal: elections follow from the seed. Method: the same run twice, and another.
#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_elections() {
    async fn run(seed: u64) -> Vec<(Instant, LeaderKey)> {
        let mut world = World::formed(seed).await;
        let mut led = Vec::new();
        for _ in 0..3 {
            let (leader, key) = world.leader(&[0, 1, 2]).await;
            led.push((world.clock.now(), key));
            world.kill(leader).await;
            let others: Vec<_> = (0..3).filter(|place| *place != leader).collect();
            let (_, key) = world.leader(&others).await;
            led.push((world.clock.now(), key));
            world.start(leader).await;
        }
        led
    }
    let first = run(5).await;
    assert_eq!(first, run(5).await);
    assert_ne!(first, run(6).await);
}

/// Goal: the death of a leader stops nothing for long and loses nothing. Method: kill it after an
/// acknowledged change, propose at the survivors, start it again.
#[tokio::test(start_paused = true)]
async fn a_killed_leader_is_replaced_and_comes_back() {
    let mut world = World::formed(2).await;
    let (old, old_key) = world.leader(&[0, 1, 2]).await;
    let first = world.has_records(old, 3);
    let done = world.core(old).propose(vec![first.clone()], world.in_secs(5)).await.unwrap();
    assert_eq!(done, vec![(first.id, Outcome::Accepted)]);

    world.kill(old).await;
    let others: Vec<_> = (0..3).filter(|place| *place != old).collect();
    let killed_at = world.clock.now();
    let (new, new_key) = world.leader(&others).await;
    assert!(new_key > old_key);
    let took = world.clock.now().since(killed_at);
    assert!(took < Duration::from_secs(2), "{took:?} without a leader");
    assert!(world.core(new).view().shards[3].has_records, "acknowledged and lost");

    // Shard `i` is owned by node `i % 3`: the survivor that does not lead proposes for itself.
    let follower = others.into_iter().find(|place| *place != new).unwrap();
    let own = u16::try_from(follower).unwrap() + 6;
    let second = world.has_records(follower, own);
    let done = world.core(follower).propose(vec![second.clone()], world.in_secs(5)).await.unwrap();
    assert_eq!(done, vec![(second.id, Outcome::Accepted)]);

    world.start(old).await;
    world.caught_up(old, new).await;
}

/// Goal: what was agreed survives the loss of power at all voters, and no vote is forgotten.
#[tokio::test(start_paused = true)]
async fn a_restart_of_all_keeps_log_and_vote() {
    let mut world = World::formed(3).await;
    let (leader, key) = world.leader(&[0, 1, 2]).await;
    let change = world.has_records(leader, 1);
    world.core(leader).propose(vec![change.clone()], world.in_secs(5)).await.unwrap();
    let before = world.core(leader).view();
    for place in 0..3 {
        world.kill(place).await;
        world.disks[place].power_loss(&SeededRng::new(9));
    }
    for place in 0..3 {
        world.start(place).await;
        assert!(world.core(place).is_initialized().await);
    }
    let (leader, new_key) = world.leader(&[0, 1, 2]).await;
    assert!(new_key.term > key.term, "{new_key} after {key}");
    assert_eq!(*world.core(leader).view(), *before);
    for place in 0..3 {
        world.caught_up(place, leader).await;
    }
    // Repeated under its id after all that, it is still answered and not applied again.
    let again = world.core(leader).propose(vec![change.clone()], world.in_secs(5)).await.unwrap();
    assert_eq!(again, vec![(change.id, Outcome::Accepted)]);
    assert_eq!(world.core(leader).view().version, before.version);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_under_the_same_id_is_applied_once() {
    let mut world = World::formed(4).await;
    let (leader, key) = world.leader(&[0, 1, 2]).await;
    let change = world.has_records(leader, 2);
    let twice = vec![change.clone(), change.clone()];
    let done = world.core(leader).propose_as(key, twice, world.in_secs(5)).await.unwrap();
    assert_eq!(done, vec![(change.id, Outcome::Accepted); 2]);
    let version = world.core(leader).view().version;
    assert_eq!(version.0, 2);
    let done = world.core(leader).propose_local(vec![change.clone()], world.in_secs(5)).await;
    assert_eq!(done.unwrap(), vec![(change.id, Outcome::Accepted)]);
    assert_eq!(world.core(leader).view().version, version);
}

/// Goal: a leader that was cut off never believes itself for long, and nothing is proposed under
/// its leadership afterwards.
#[tokio::test(start_paused = true)]
async fn a_deposed_leader_has_no_barrier_and_proposes_nothing() {
    let mut world = World::formed(7).await;
    let (old, key) = world.leader(&[0, 1, 2]).await;
    let change = world.has_records(old, 4);
    world.cut(old);
    // Nobody else leads yet, but no majority confirms it any more.
    assert_eq!(world.core(old).leader_key().await, Some(key));
    let soon = world.clock.now() + Duration::from_millis(100);
    assert!(world.core(old).barrier(soon).await.is_err());
    let lost = world.core(old).propose_as(key, vec![change.clone()], world.in_secs(1)).await;
    assert!(matches!(lost, Err(ProposeError::Unknown(_))), "{lost:?}");

    let others: Vec<_> = (0..3).filter(|place| *place != old).collect();
    let (new, new_key) = world.leader(&others).await;
    assert!(new_key > key);
    assert!(world.core(old).barrier(world.in_secs(1)).await.is_err());

    world.heal();
    world.caught_up(old, new).await;
    let late = world.core(old).propose_as(key, vec![change], world.in_secs(1)).await;
    assert!(matches!(late, Err(ProposeError::NotExecuted(_))), "{late:?}");
    // Under a key that is not its own, the new leader proposes nothing either.
    let change = world.has_records(new, 5);
    let wrong = world.core(new).propose_as(key, vec![change], world.in_secs(1)).await;
    assert!(matches!(wrong, Err(ProposeError::NotExecuted(_))), "{wrong:?}");
    assert!(!world.core(new).view().shards[5].has_records);
}

/// Goal: only the leader evicts and assigns; others propose for themselves only.
#[tokio::test(start_paused = true)]
async fn what_a_sender_may_not_propose_is_forbidden() {
    let mut world = World::formed(8).await;
    let (leader, key) = world.leader(&[0, 1, 2]).await;
    let other = (leader + 1) % 3;
    let victim = (leader + 2) % 3;
    let evict = Proposal {
        id: ChangeId(77),
        change: Change::Evict {
            node: name(victim),
            boot: Boot(1),
            cause: "a test".into(),
            assign: Vec::new(),
            released: false,
        },
    };
    let of_another = world.has_records(other, u16::try_from(victim).unwrap());
    for change in [evict.clone(), of_another] {
        let denied = world.core(other).propose(vec![change], world.in_secs(2)).await;
        assert_eq!(denied, Err(ProposeError::Forbidden(name(other))));
    }
    assert_eq!(world.core(leader).view().version.0, 1);
    let done = world.core(leader).propose_as(key, vec![evict], world.in_secs(2)).await.unwrap();
    assert_eq!(done, vec![(ChangeId(77), Outcome::Accepted)]);
    assert!(!world.core(leader).view().members.contains_key(&name(victim)));
}

#[tokio::test(start_paused = true)]
async fn without_a_leader_a_proposal_says_whether_it_may_have_been_made() {
    let mut world = World::formed(9).await;
    let (leader, _) = world.leader(&[0, 1, 2]).await;
    let asker = (leader + 1) % 3;
    let change = world.has_records(asker, u16::try_from(asker).unwrap());
    world.kill(leader).await;
    world.kill((leader + 2) % 3).await;
    let begun = world.clock.now();
    let lost = world.core(asker).propose(vec![change], world.in_secs(2)).await;
    // The dead were asked and were silent: they may have done it.
    assert!(matches!(lost, Err(ProposeError::Unknown(_))), "{lost:?}");
    assert!(world.clock.now().since(begun) < Duration::from_millis(2_600));
    let local = world.core(asker).propose_local(Vec::new(), world.in_secs(2)).await;
    assert!(matches!(local, Err(ProposeError::NotExecuted(_))), "{local:?}");
}

/// Goal: a cluster of one needs nobody, and finds everything again after the power failed.
#[tokio::test(start_paused = true)]
async fn one_voter_is_a_quorum() {
    let mut world = World::new(13, 8).await;
    let alone = world::voters().into_iter().take(1).collect();
    world.core(0).initialize(alone, world::form(8), world.in_secs(5)).await.unwrap();
    let change = world.has_records(0, 0);
    world.core(0).propose(vec![change], world.in_secs(5)).await.unwrap();
    let before = world.core(0).view();
    world.kill(0).await;
    world.disks[0].power_loss(&SeededRng::new(1));
    world.start(0).await;
    world.leader(&[0]).await;
    assert_eq!(*world.core(0).view(), *before);
}

/// Goal: a voter too far behind gets the view itself, in parts. Method: the 4,096 shards of a real
/// cluster, a snapshot and a cut log while one voter is dead.
#[tokio::test(start_paused = true)]
async fn a_voter_far_behind_gets_a_snapshot() {
    let mut world = World::new(10, 4_096).await;
    world.form().await;
    let (leader, _) = world.leader(&[0, 1, 2]).await;
    let dead = (leader + 1) % 3;
    world.kill(dead).await;
    for shard in 0..3 {
        let change = world.has_records(leader, shard);
        let proposed = world.core(leader).propose(vec![change], world.in_secs(5)).await;
        proposed.unwrap();
    }
    let raft = &world.core(leader).0.raft;
    let applied = world.core(leader).0.machine.applied().unwrap();
    raft.trigger().snapshot().await.unwrap();
    let wait = Some(Duration::from_secs(10));
    raft.wait(wait).snapshot(applied, "a snapshot is made").await.unwrap();
    raft.trigger().purge_log(applied.index).await.unwrap();
    raft.wait(wait).purged(Some(applied), "the log is cut").await.unwrap();

    world.start(dead).await;
    world.caught_up(dead, leader).await;
    // What was sent lies on its disk, and is enough to start from.
    let sent = world.core(dead).0.raft.get_snapshot().await.unwrap().unwrap();
    assert!(sent.snapshot.len() > 2 * message::PART_BYTES, "{} bytes", sent.snapshot.len());
    world.kill(dead).await;
    world.start(dead).await;
    assert!(world.core(dead).view().is_formed());
    world.caught_up(dead, leader).await;
}

/// Goal: a voter whose disk fails stops, and says so, instead of acknowledging what is not there.
#[tokio::test(start_paused = true)]
async fn a_voter_whose_disk_fails_stops() {
    let mut world = World::formed(11).await;
    let (leader, _) = world.leader(&[0, 1, 2]).await;
    let follower = (leader + 1) % 3;
    world.disks[follower].fail_sync_after(0);
    let change = world.has_records(leader, 0);
    world.core(leader).propose(vec![change], world.in_secs(5)).await.unwrap();
    let stopped = world.core(follower).stopped();
    let why = within(&*world.clock, world.in_secs(5), stopped).await.unwrap();
    assert!(!why.is_empty());
}

/// Goal: nobody but a voter takes part in elections or writes a log.
#[tokio::test(start_paused = true)]
async fn raft_takes_messages_of_voters_only_once_there_are_voters() {
    let stranger = name(7);
    let vote = VoteRequest::new(types::Vote::new(u64::MAX, 1_007), None);
    let vote_of = |place: usize| {
        let (to, request) = (world::voter(place), RaftRequest::Vote(vote.clone()));
        message::to_frame(&Addressed { to, request }).unwrap()
    };
    let new = World::new(5, 16).await;
    assert!(new.core(0).may_speak_raft(&stranger), "nobody is a voter yet");
    let world = World::formed(5).await;
    for place in 0..3 {
        let core = world.core(place);
        assert!((0..3).all(|place| core.may_speak_raft(&name(place))));
        assert!(!core.may_speak_raft(&stranger));
        let server = Server::new(core, world::seams(world.clock.clone(), 1));
        let answer = server.answer(&stranger, Service::Raft, &vote_of(place)).await;
        assert_eq!(answer, Err("n7 is no voter".into()));
        // A voter's, but for the one that this node was before it lost what it voted.
        let other = (place + 1) % 3;
        let answer = server.answer(&name(other), Service::Raft, &vote_of(other)).await;
        assert!(answer.is_err_and(|why| why.contains("is gone")));
    }
    let (_, key) = world.leader(&[0, 1, 2]).await;
    assert!(key.term < u64::MAX, "its term was not taken up");
}

/// Goal: a leader can hand over to a voter that lives and has the log. Method: one voter dead.
#[tokio::test(start_paused = true)]
async fn leadership_is_handed_to_a_voter_that_is_heard() {
    let mut world = World::formed(12).await;
    let (old, key) = world.leader(&[0, 1, 2]).await;
    let (dead, living) = ((old + 1) % 3, (old + 2) % 3);
    world.kill(dead).await;
    world.clock.sleep(Duration::from_secs(1)).await;
    assert_eq!(world.core(living).transfer_leadership().await, None, "it does not lead");
    let begun = world.clock.now();
    assert_eq!(world.core(old).transfer_leadership().await, Some(name(living)));
    let (new, new_key) = world.leader(&[living]).await;
    assert!(new == living && new_key > key);
    let took = world.clock.now().since(begun);
    assert!(took < Duration::from_millis(200), "{took:?}: an election waited for a time-out");
    let change = world.has_records(old, u16::try_from(old).unwrap());
    world.core(old).propose(vec![change], world.in_secs(5)).await.unwrap();
    assert_eq!(world.core(old).transfer_leadership().await, None, "it leads no more");
}
