//! Clusters of one to seven nodes: who votes, who is told, and what becomes of dead voters.

use std::time::Duration;

use super::world::*;
use crate::authority::ViewAuthority as _;
use crate::placement::{Change, ChangeId, Proposal};

/// Goal: a cluster of any size forms, every node of it holds a lease, and a change proposed at any
/// of them is known at all others within 20 ms of being applied at a voter.
#[tokio::test(start_paused = true)]
async fn clusters_of_one_to_seven_nodes_form_with_one_three_or_five_voters() {
    for (nodes, voters) in [(1, 1), (2, 1), (3, 3), (5, 5), (7, 5)] {
        let mut town = Town::formed(nodes).await;
        town.until(5, "whole", Town::is_whole).await;
        let chosen: Vec<_> = (1..=voters).map(|number| format!("n{number}")).collect();
        for at in town.up() {
            assert_eq!(town.votes(at), chosen, "of {nodes} nodes");
        }
        let mut proposed = 0;
        for at in town.up() {
            let Some(change) = town.change(at) else { continue };
            town.propose(at, change, 2).await;
            proposed += 1;
            let leader = town.leader().await;
            let version = town.node(leader).view().version;
            let knows = |town: &Town, at: usize| town.node(at).view().version >= version;
            // Voters learn that an entry is agreed on with the next heartbeat at the latest.
            town.until(1, "known to a voter", |town| (0..chosen.len()).all(|at| knows(town, at)))
                .await;
            let from = town.clock.now();
            town.until(1, "known to all", |town| town.up().iter().all(|at| knows(town, *at))).await;
            let took = town.clock.now().since(from);
            assert!(took <= Duration::from_millis(20), "{took:?}");
        }
        assert!(proposed > 0 || nodes == 1, "of {nodes} nodes none could propose");
        for at in town.up() {
            town.kill(at).await;
        }
    }
}

/// Goal: five voters and two lease clients lose a voter and the leader; a client takes the place of
/// each, and no lease but that of the dead runs out.
#[tokio::test(start_paused = true)]
async fn a_dead_voter_is_replaced_by_a_lease_client() {
    let mut town = Town::formed(7).await;
    town.until(5, "whole", Town::is_whole).await;
    for round in 0..2 {
        let leader = town.leader().await;
        let voters = town.votes(leader);
        let is_voter = |at: &usize| voters.contains(&town.name(*at).to_string());
        let follower = town.up().into_iter().find(|at| *at != leader && is_voter(at)).unwrap();
        let dead = if round == 0 { follower } else { leader };
        let name = town.name(dead).to_string();
        town.kill(dead).await;
        let evicted_by = town.clock.now();
        town.until(8, "whole without it", Town::is_whole).await;
        town.until(10, "replaced", |town| {
            let voters = town.votes(town.up()[0]);
            voters.len() == 5 && !voters.contains(&name)
        })
        .await;
        let took = town.clock.now().since(evicted_by);
        assert!(took >= PATIENCE, "{took:?} is too soon");
        town.until(2, "whole", Town::is_whole).await;
    }
    // Nobody is left to replace the next one: there are five nodes, and five voters.
    let leader = town.leader().await;
    let dead = town.up().into_iter().find(|at| *at != leader).unwrap();
    town.kill(dead).await;
    town.until(5, "whole", Town::is_whole).await;
    town.clock.sleep(PATIENCE * 3).await;
    assert_eq!(town.votes(town.up()[0]).len(), 5, "they do not become fewer");
    let change = town.change(town.up()[0]);
    if let Some(change) = change {
        town.propose(town.up()[0], change, 2).await;
    }
}

/// Goal: of two nodes the one that votes goes on alone, and the other one does not.
#[tokio::test(start_paused = true)]
async fn of_two_nodes_the_first_by_name_votes() {
    let mut town = Town::formed(2).await;
    town.until(5, "whole", Town::is_whole).await;
    assert_eq!((town.votes(0), town.votes(1)), (vec!["n1".into()], vec!["n1".into()]));
    town.kill(1).await;
    town.until(5, "alone", Town::is_whole).await;
    town.start(1, &expecting(2)).await.unwrap();
    town.until(5, "whole", Town::is_whole).await;
    town.kill(0).await;
    town.until(3, "without a lease", |town| !town.node(1).lease().is_valid()).await;
    assert!(town.node(1).view().members.contains_key("n1"), "nobody evicts it");
    town.start(0, &expecting(2)).await.unwrap();
    town.until(5, "whole", Town::is_whole).await;
}

/// Goal: of three nodes one goes for good: no other can vote in its place, so an operator has the
/// voters made fewer, whoever leads, and two nodes with one voter go on.
#[tokio::test(start_paused = true)]
async fn an_operator_makes_the_voters_fewer_where_no_node_is_left_to_vote() {
    for goes_leading in [false, true] {
        let mut town = Town::formed(3).await;
        town.until(5, "whole", Town::is_whole).await;
        let leader = town.leader().await;
        let goes = if goes_leading { leader } else { (leader + 1) % 3 };
        let asked = (goes + 1) % 3;
        let name = town.name(goes);
        // First it leaves, so that it is not chosen again.
        let boot = town.node(asked).view().members[&name].boot;
        let change = Change::Drain { node: name.clone(), boot, on: true };
        town.propose(asked, Proposal { id: ChangeId(1_000_000), change }, 2).await;
        let deadline = town.clock.now() + Duration::from_secs(5);
        let core = town.node(asked).core().clone();
        assert_eq!(core.without_voter(name.clone(), deadline).await, Ok(()));
        town.until(2, "one voter", |town| town.votes(asked).len() == 1).await;
        assert!(!town.node(asked).view().votes(&name));
        town.kill(goes).await;
        town.until(5, "whole without it", Town::is_whole).await;
        // They do not become more again by themselves: two nodes have one voter.
        town.clock.sleep(PATIENCE * 2).await;
        assert_eq!(town.votes(asked).len(), 1);
    }
}

/// Goal: an operator does not stop a cluster by making its voters fewer. Method: of five voters two
/// have just died, and are members still.
#[tokio::test(start_paused = true)]
async fn voters_do_not_become_fewer_where_those_that_stay_would_be_dead() {
    let mut town = Town::formed(5).await;
    town.until(5, "whole", Town::is_whole).await;
    let leader = town.leader().await;
    let others: Vec<_> = (0..5).filter(|at| *at != leader).collect();
    let goes = town.name(others[3]);
    let boot = town.node(leader).view().members[&goes].boot;
    let change = Change::Drain { node: goes.clone(), boot, on: true };
    town.propose(leader, Proposal { id: ChangeId(1_000_000), change }, 2).await;
    for at in &others[..2] {
        town.kill(*at).await;
    }
    // Not heard within two elections: and long before the end of their leases.
    town.clock.sleep(Duration::from_millis(600)).await;
    assert_eq!(town.node(leader).view().members.len(), 5, "they are members still");
    let core = town.node(leader).core().clone();
    let shrink = async |town: &Town| {
        core.without_voter(goes.clone(), town.clock.now() + Duration::from_millis(200)).await
    };
    let refused = shrink(&town).await.expect_err("the dead cannot vote").to_string();
    assert!(refused.contains("3 voters are to stay without"), "{refused}");
    let dead = |at: &usize| town.name(*at).to_string();
    assert!(others[..2].iter().all(|at| refused.contains(&dead(at))), "{refused}");
    // The cluster goes on, and once they are evicted one voter is enough for the two that stay.
    town.until(5, "whole without them", Town::is_whole).await;
    assert_eq!(shrink(&town).await, Ok(()));
    town.until(2, "one voter", |town| town.votes(leader).len() == 1).await;
}

/// Goal: a node whose raft does nothing does not keep the cluster a voter short. Method: seven
/// nodes, of which the first spare holds a lease and cannot write its log.
#[tokio::test(start_paused = true)]
async fn a_learner_that_never_has_the_log_is_given_up_for_another() {
    let mut town = Town::formed(7).await;
    town.until(5, "whole", Town::is_whole).await;
    let leader = town.leader().await;
    town.hosts[5].disk.fail_write_after(0);
    let dead = (leader + 1) % 5;
    let name = town.name(dead).to_string();
    town.kill(dead).await;
    town.until(8, "whole without it", Town::is_whole).await;
    let from = town.clock.now();
    town.until(30, "replaced", |town| {
        let voters = town.votes(leader);
        voters.len() == 5 && !voters.contains(&name)
    })
    .await;
    let took = town.clock.now().since(from);
    let voters = town.votes(leader);
    assert!(voters.contains(&"n7".into()) && !voters.contains(&"n6".into()), "{voters:?}");
    assert!(took >= PATIENCE, "{took:?}: n6 was to be tried first");
    assert!(took < PATIENCE * 5, "{took:?}");
    town.until(5, "whole", Town::is_whole).await;
}
