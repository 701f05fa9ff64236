//! The voters over real links, in real time, with real files and threads.

use std::net::SocketAddr;

use futures::future::join_all;

use super::world::{form, name, voters};
use super::*;
use crate::base::{ClusterId, SeededRng, Spawner, TokioClock, TokioNet};
use crate::storage::{Directory, Disk, Facts};
use crate::transport::{Identity, LinksConfig, Security};

async fn links(place: usize, seams: &Seams) -> Links {
    let identity = Identity { cluster_name: "test".into(), node: name(place), boot: Boot(1) };
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = LinksConfig::new(identity, any, Security::Insecure);
    let links = Links::start(config, seams.clone()).await.unwrap();
    links.set_cluster(ClusterId([7; 32]));
    links
}

fn seams() -> Seams {
    Seams {
        clock: Arc::new(TokioClock::new()),
        rng: Arc::new(SeededRng::from_os()),
        net: Arc::new(TokioNet),
        control: Spawner::Current,
        work: Spawner::Current,
        threads: true,
    }
}

/// Goal: three voters agree, a proposal finds its way from any of them, and the death of the leader
/// is survived. Method: as in production, but for TLS.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_voters_agree_over_links_and_survive_their_leader() {
    let (directory, seams) = (tempfile::tempdir().unwrap(), seams());
    let in_secs = |secs| seams.clock.now() + Duration::from_secs(secs);
    let (mut cores, mut all_links) = (Vec::new(), Vec::new());
    let mut list = voters();
    for (place, (id, voter)) in list.iter_mut().enumerate() {
        let links = links(place, &seams).await;
        voter.addr = links.local_addr().to_string();
        all_links.push(links.clone());
        let disk: Arc<dyn Disk> =
            Arc::new(Directory::open(directory.path().join(&voter.addr)).unwrap());
        let parts = RaftParts {
            seams: seams.clone(),
            links,
            facts: Facts::open(&*disk, &voter.node, &*seams.rng).unwrap(),
            disk,
            me: voter.node.clone(),
            voter: *id,
            profile: Profile::dev(),
        };
        cores.push(RaftCore::open(parts).await.unwrap());
    }
    let initialise = |core: &RaftCore| {
        let (core, list, deadline) = (core.clone(), list.clone(), in_secs(20));
        async move { core.initialize(list, form(64), deadline).await.unwrap() }
    };
    join_all(cores.iter().map(initialise)).await;

    // Every owner proposes for itself, wherever the leader is.
    for (shard, core) in (0_u16..).zip(&cores) {
        let change = world::has_records(core, shard, 500 + u128::from(shard));
        let done = core.propose(vec![change.clone()], in_secs(10)).await.unwrap();
        assert_eq!(done, vec![(change.id, Outcome::Accepted)]);
    }
    let until = in_secs(10);
    let leader = loop {
        let mut keys = join_all(cores.iter().map(|core| core.barrier(in_secs(1)))).await;
        if let Some(place) = keys.iter_mut().position(|key| key.is_ok()) {
            break place;
        }
        assert!(seams.clock.now() < until, "nobody leads");
    };
    all_links[leader].stop().await;
    cores[leader].shutdown().await;

    let place = (leader + 1) % 3;
    let shard = u16::try_from(place).unwrap() + 3;
    let change = world::has_records(&cores[place], shard, 600);
    let done = cores[place].propose(vec![change.clone()], in_secs(10)).await.unwrap();
    assert_eq!(done, vec![(change.id, Outcome::Accepted)]);
    assert!(cores[place].leader_hint().is_some_and(|hint| hint != name(leader)));
    for place in [place, (leader + 2) % 3] {
        cores[place].shutdown().await;
        all_links[place].stop().await;
    }
}
