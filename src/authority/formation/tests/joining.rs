//! Nodes that look for each other over links in memory, under virtual time: names that stand for
//! several nodes, files, and two processes under one name.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::super::{Former, Found, NotFormed};
use super::*;
use crate::authority::{ADDRESSES_MAX, Seeds};
use crate::base::{Clock as _, Listener, Net, Seams, SeededRng, Spawner, Stream, TokioClock};
use crate::storage::{Facts, SimDisk};
use crate::transport::pipe_net::PipeNet;
use crate::transport::{Class, Head, Identity, Life, Links, LinksConfig, Security, Service};

pub(in crate::authority) const NAME: &str = "nodes.example:7946";

/// Pipes, and a name server whose only name a test changes.
#[derive(Debug, Clone, Default)]
pub(in crate::authority) struct Named {
    pipes: PipeNet,
    pub(in crate::authority) addrs: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Net for Named {
    fn listen(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        self.pipes.listen(addr)
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Stream>> {
        self.pipes.connect(addr)
    }

    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        if host != NAME {
            return self.pipes.resolve(host);
        }
        let addrs = self.addrs.lock().clone();
        let none = || io::Error::new(io::ErrorKind::NotFound, "no such host");
        async move { if addrs.is_empty() { Err(none()) } else { Ok(addrs) } }.boxed()
    }
}

/// The same node behind another address, which none but the name server gives: a pipe is found by
/// its port alone.
fn alias(links: &Links) -> SocketAddr {
    SocketAddr::from(([127, 9, 9, 9], links.local_addr().port()))
}

struct Station {
    former: Arc<Former>,
    links: Links,
}

fn seams(net: &Named, seed: u64) -> Seams {
    Seams {
        clock: Arc::new(TokioClock::new()),
        rng: Arc::new(SeededRng::new(seed)),
        net: Arc::new(net.clone()),
        control: Spawner::Current,
        work: Spawner::Current,
        threads: false,
    }
}

impl Station {
    /// An empty directory, which `nonce` tells from others.
    async fn start(net: &Named, name: &str, nonce: u64) -> Self {
        let seams = seams(net, nonce);
        let mut claim = candidate(name, nonce).claim;
        let disk = SimDisk::new(claim.disk.clone());
        let facts = Facts::open(&disk.mount(), &claim.node, &*seams.rng).expect("made");
        claim.voter = Some(facts.voter());
        let identity =
            Identity { cluster_name: "t".into(), node: claim.node.clone(), boot: claim.boot };
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = LinksConfig::new(identity, listen, Security::Insecure);
        let links = Links::start(config, seams.clone()).await.expect("a port is free");
        claim.addr = links.local_addr().to_string();
        let former = Former::open(&seams, &links, &facts, claim).expect("the disk is good");
        let former = Arc::new(former);
        links.serve(Service::Formation, former.clone());
        Self { former, links }
    }

    /// Agrees on a task of its own.
    fn agree(&self, seeds: &Seeds, secs: u64) -> tokio::task::JoinHandle<Result<Found, NotFormed>> {
        let (former, seeds) = (self.former.clone(), seeds.clone());
        let deadline = former.seams.clock.now() + Duration::from_secs(secs);
        tokio::spawn(async move { former.agree(3, &seeds, deadline).await })
    }
}

async fn trio_of(net: &Named) -> Vec<Station> {
    let mut stations = Vec::new();
    for (name, nonce) in [("n1", 1), ("n2", 2), ("n3", 3)] {
        stations.push(Station::start(net, name, nonce).await);
    }
    stations
}

fn by_name() -> Seeds {
    Seeds { list: vec![NAME.into()], file: None }
}

fn in_file(path: PathBuf) -> Seeds {
    Seeds { list: vec![], file: Some(path) }
}

fn why(result: Result<Found, NotFormed>) -> String {
    match result {
        Err(NotFormed::Late(why) | NotFormed::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn list(result: Result<Found, NotFormed>) -> List {
    match result {
        Ok(Found::List(list)) => list,
        other => panic!("{other:?}"),
    }
}

async fn pass(secs: u64) {
    TokioClock::new().sleep(Duration::from_secs(secs)).await;
}

#[tokio::test(start_paused = true)]
async fn a_name_that_gains_addresses_later_is_enough_for_all() {
    let net = Named::default();
    let stations = trio_of(&net).await;
    let agreeing: Vec<_> = stations.iter().map(|one| one.agree(&by_name(), 60)).collect();
    pass(5).await;
    assert!(agreeing.iter().all(|one| !one.is_finished()), "nobody knows of anybody");
    // Two of them, for n1 and n2 their own among them, and one at which nobody is.
    let nobody = SocketAddr::from(([127, 0, 0, 1], 999));
    *net.addrs.lock() = vec![alias(&stations[0].links), nobody, alias(&stations[1].links)];
    let mut lists = Vec::new();
    for one in agreeing {
        lists.push(list(one.await.expect("no panic")));
    }
    let names: Vec<_> = lists[0].0.iter().map(|one| one.claim.node.as_str()).collect();
    assert_eq!(names, ["n1", "n2", "n3"]);
    assert!(lists.iter().all(|list| *list == lists[0]));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_found_is_told() {
    let net = Named::default();
    let station = Station::start(&net, "n1", 1).await;
    let told = why(station.agree(&by_name(), 5).await.expect("no panic"));
    let says = "1 of 3 nodes answered; nodes.example:7946 is no known address: no such host";
    assert_eq!(told, says);
    // Itself, behind the name: known by what it answers.
    *net.addrs.lock() = vec![alias(&station.links)];
    let told = why(station.agree(&by_name(), 5).await.expect("no panic"));
    assert_eq!(told, "1 of 3 nodes answered");

    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("seeds");
    let told = why(station.agree(&in_file(path.clone()), 5).await.expect("no panic"));
    assert!(told.contains(&format!("{}: No such file", path.display())), "{told}");
    std::fs::write(&path, "n2.example:1\nn3.example\n").expect("it is written");
    let told = why(station.agree(&in_file(path.clone()), 5).await.expect("no panic"));
    assert!(told.contains(&format!("{}, line 2: \"n3.example\"", path.display())), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_written_later_is_enough() {
    let net = Named::default();
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("seeds");
    let stations = trio_of(&net).await;
    let agreeing: Vec<_> =
        stations.iter().map(|one| one.agree(&in_file(path.clone()), 60)).collect();
    pass(5).await;
    assert!(agreeing.iter().all(|one| !one.is_finished()), "there is no file");
    let lines = format!("# the oldest\n{}\n", stations[2].links.local_addr());
    std::fs::write(&path, lines).expect("it is written");
    for one in agreeing {
        assert_eq!(list(one.await.expect("no panic")).0.len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_with_too_many_addresses_is_bounded_and_told() {
    let net = Named::default();
    let addr = |port| SocketAddr::from(([127, 0, 0, 1], port));
    *net.addrs.lock() = (10_000..11_000).map(addr).collect();
    let deadline = TokioClock::new().now() + Duration::from_secs(1);
    let (found, told) = by_name().look_up(&seams(&net, 1), "n1:1", deadline).await;
    assert_eq!(found.len(), ADDRESSES_MAX);
    assert_eq!(told, ["the seeds stand for more than 64 addresses: 936 are not asked"]);
}

#[tokio::test(start_paused = true)]
async fn a_second_process_under_a_name_gives_way_and_the_first_forms_the_cluster() {
    let net = Named::default();
    let first = Station::start(&net, "n1", 1).await;
    *net.addrs.lock() = vec![alias(&first.links)];
    let forming = first.agree(&by_name(), 60);
    pass(2).await;
    for nonce in [8, 9] {
        let second = Station::start(&net, "n1", nonce).await;
        let refused = why(second.agree(&by_name(), 60).await.expect("no panic"));
        assert!(refused.starts_with("another process is named n1 too, at 127."), "{refused}");
        assert!(!forming.is_finished());
    }
    let others = [Station::start(&net, "n2", 2).await, Station::start(&net, "n3", 3).await];
    let agreeing: Vec<_> = others.iter().map(|one| one.agree(&by_name(), 60)).collect();
    let agreed = list(forming.await.expect("no panic"));
    assert_eq!(agreed.0[0].nonce, first.former.inner.lock().state.me.nonce, "the first one");
    for one in agreeing {
        assert_eq!(list(one.await.expect("no panic")), agreed);
    }
}

/// Where a member of the name of `first` has links with `other`, whose cluster it is.
async fn member_of_two(net: &Named) -> (Station, Station, ClusterId) {
    let cluster = ClusterId([3; 32]);
    let other = Station::start(net, "n2", 2).await;
    other.former.formed(cluster).expect("the disk is good");
    other.links.set_cluster(cluster);
    let first = Station::start(net, "n1", 1).await;
    first.links.set_life(Life { boot: Boot(4), token: 4 });
    first.links.set_cluster(cluster);
    let n2 = other.former.name();
    first.links.learn(&n2, &other.links.local_addr().to_string());
    let link = first.links.link(&n2, Class::Control, Service::Gossip);
    link.tell(Head::default(), Bytes::new()).expect("it is dialled");
    let me = first.former.name();
    while other.links.rival(&me, Life { boot: Boot(9), token: 9 }).is_none() {
        pass(1).await;
    }
    *net.addrs.lock() = vec![alias(&other.links)];
    (first, other, cluster)
}

async fn fits(second: &Station, cluster: ClusterId) -> Result<BTreeMap<VoterId, Voter>, Unfit> {
    let deadline = second.former.seams.clock.now() + Duration::from_mins(1);
    let times = (Duration::from_millis(500), deadline);
    second.former.fits(&by_name(), cluster, times).await
}

/// Goal: a copied directory takes part in nothing while the process it was copied from is alive,
/// and goes on as soon as that is gone. Method: links of a life, and the directory of another.
#[tokio::test(start_paused = true)]
async fn a_directory_whose_name_is_alive_elsewhere_is_refused_and_later_goes_on() {
    let net = Named::default();
    let (first, other, cluster) = member_of_two(&net).await;
    for boot in [3, 4, 5] {
        let second = Station::start(&net, "n1", 1).await;
        second.links.set_life(Life { boot: Boot(boot), token: 1 });
        let refused = fits(&second, cluster).await;
        let Err(Unfit::Rival(why)) = refused else { panic!("{refused:?}") };
        assert!(why.starts_with("another process runs as n1 (boot 4): n2 heard it"), "{why}");
    }
    assert_eq!((first.links.counts().broken, other.links.counts().broken), (0, 0));
    // It ends: whoever asks next is not kept waiting.
    first.links.stop().await;
    let second = Station::start(&net, "n1", 1).await;
    assert_eq!(fits(&second, cluster).await, Ok(BTreeMap::new()));
}

/// Goal: a process that is started before anybody has noticed the end of the one before it is not
/// refused, whatever that one is heard of late. Method: it is heard, and silent, from 1 s on.
#[tokio::test(start_paused = true)]
async fn a_life_whose_last_words_come_late_is_waited_for_and_refuses_nobody() {
    let net = Named::default();
    let (first, other, cluster) = member_of_two(&net).await;
    let second = Station::start(&net, "n1", 1).await;
    second.links.set_life(Life { boot: Boot(5), token: 1 });
    let came = second.former.seams.clock.now();
    let late = async {
        pass(1).await;
        let me = second.former.name();
        let (_, silent) =
            other.links.rival(&me, Life { boot: Boot(5), token: 1 }).expect("it has links");
        assert!(silent < Duration::from_secs(1), "heard {silent:?} ago: after the second came");
        first.links.stop().await;
    };
    let (fit, ()) = tokio::join!(fits(&second, cluster), late);
    assert_eq!(fit, Ok(BTreeMap::new()));
    assert!(second.former.seams.clock.now().since(came) < Duration::from_secs(3));
}

/// Goal: the lock of the directory on the same run of the host is proof enough. Method: the member
/// is heard all the time, and the view says that it ran on the very directory of the second.
#[tokio::test(start_paused = true)]
async fn who_holds_the_lock_of_the_members_directory_does_not_wait() {
    let net = Named::default();
    let (first, other, cluster) = member_of_two(&net).await;
    let second = Station::start(&net, "n1", 1).await;
    let me = second.former.name();
    let show = |boot: u64, lock_inode: u64| {
        let claim = candidate("n1", 1).claim;
        let disk = DiskMark { lock_inode, ..claim.disk.clone() };
        let mut view = View::default();
        let claim = Claim { boot: Boot(boot), disk, ..claim };
        let mut list = trio();
        list.0[0].claim = claim;
        view.apply(1, &list.first(16, &Profile::lan()));
        other.former.show(&Arc::new(view), BTreeMap::new());
        let members = BTreeMap::from([(me.clone(), Life { boot: Boot(boot), token: 0 })]);
        other.links.set_members(members);
    };
    let own = second.former.inner.lock().state.me.claim.disk.lock_inode;
    for (boot, lock_inode, is_over) in [(4, own, true), (3, own, false), (4, own + 1, false)] {
        show(boot, lock_inode);
        let claim = Claim { boot: Boot(5), ..second.former.inner.lock().state.me.claim.clone() };
        second.former.present_as(claim);
        second.links.set_life(Life { boot: Boot(5), token: 1 });
        let asked = second.former.seams.clock.now();
        let fit = fits(&second, cluster).await;
        let took = second.former.seams.clock.now().since(asked);
        if is_over {
            assert_eq!(fit, Ok(BTreeMap::new()));
            assert!(took < Duration::from_millis(500), "{took:?}");
        } else {
            assert!(matches!(fit, Err(Unfit::Rival(_))), "{fit:?}");
        }
    }
    assert_eq!(first.links.counts().broken, 0);
}

/// Goal: a directory that began empty is not taken for an old backup by who has not heard of its
/// first life as a member; an old backup is, one boot behind or started again and again.
#[tokio::test(start_paused = true)]
async fn lives_before_an_empty_directory_are_not_missing_from_it() {
    let net = Named::default();
    let station = Station::start(&net, "n1", 1).await;
    let Former { facts, seams, .. } = &*station.former;
    let starts_in = |boot| {
        let claim = candidate("n1", 1).claim;
        let (earlier_boots, tokens) = (facts.boots_before(boot), facts.tokens_before(boot));
        let token = facts.token(boot);
        station.former.present_as(Claim { boot, token, earlier_boots, tokens, ..claim });
    };
    let lacks = |boot, token| station.former.lacks((Boot(boot), token)).is_some();
    let first = facts.begin_boot(&*seams.rng).expect("the disk is good");
    starts_in(first);
    assert!(lacks(first.0, 7), "another life of this number");
    assert!(lacks(first.0 + 1, 7), "one boot behind");
    let second = facts.begin_boot(&*seams.rng).expect("the disk is good");
    starts_in(second);
    assert!(lacks(first.0 + 5, 7), "started again");
    for seen in [second.0, second.0 + 5] {
        let adopted = facts.boot_above(Boot(seen), &*seams.rng).expect("the disk is good");
        starts_in(adopted);
        assert_eq!(adopted, Boot(seen + 1));
        assert!((1..=seen).all(|boot| !lacks(boot, 7)), "they were elsewhere");
        assert!(!lacks(adopted.0, facts.token(adopted)));
        assert!(lacks(adopted.0, 7) && lacks(adopted.0 + 1, 7), "a backup of the new directory");
    }
}
