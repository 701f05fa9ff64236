mod ended;
mod leases;

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::super::formation::tests::trio;
use super::super::office::{Answer, Ask, ClaimError, Core, Door, Letter, UnderWay, Wire};
use super::super::{Grant, NotLeader, ProposeError, Proposed, Renew, RenewError};
use super::*;
use crate::base::{Clock, Seams, SeededRng, Spawner, TokioNet, VoterId};
use crate::placement::{Claim, Departure, Outcome, Profile, Refusal};
use crate::transport::{AskError, Peer};

/// A clock that a test moves.
#[derive(Debug)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, _: Instant) -> BoxFuture<'static, ()> {
        futures::future::pending().boxed()
    }

    fn unix(&self) -> Duration {
        Duration::ZERO
    }
}

/// A quorum that agrees at once, and a way to other offices that is cut.
#[derive(Debug)]
struct Fake {
    view: Mutex<Arc<View>>,
    key: Mutex<Option<LeaderKey>>,
    /// Whether proposals get through.
    open: Mutex<bool>,
    index: AtomicU64,
    /// How often it was told to hand over.
    transfers: AtomicU64,
    shrinks: Mutex<Option<LeaderKey>>,
}

impl Core for Fake {
    fn view(&self) -> Arc<View> {
        self.view.lock().clone()
    }

    fn leader_hint(&self) -> Option<NodeId> {
        None
    }

    fn leader_key(&self) -> BoxFuture<'_, Option<LeaderKey>> {
        async { *self.key.lock() }.boxed()
    }

    fn barrier(&self, _: Instant) -> BoxFuture<'_, Result<LeaderKey, NotLeader>> {
        async { self.key.lock().ok_or(NotLeader { leader: None }) }.boxed()
    }

    fn propose_as(
        &self,
        key: LeaderKey,
        proposals: Vec<Proposal>,
        _: Instant,
    ) -> BoxFuture<'_, Result<Proposed, ProposeError>> {
        async move {
            if *self.key.lock() != Some(key) || !*self.open.lock() {
                return Err(ProposeError::NotExecuted("no".into()));
            }
            let mut view = (**self.view.lock()).clone();
            let mut apply = |one: &Proposal| {
                let index = self.index.fetch_add(1, Ordering::SeqCst);
                (one.id, view.apply(index, one))
            };
            let outcomes = proposals.iter().map(&mut apply).collect();
            *self.view.lock() = Arc::new(view);
            Ok(outcomes)
        }
        .boxed()
    }

    fn transfer_leadership(&self) -> BoxFuture<'_, Option<NodeId>> {
        self.transfers.fetch_add(1, Ordering::SeqCst);
        async { Some(name("n2")) }.boxed()
    }

    fn let_shrink(&self, key: Option<LeaderKey>) {
        *self.shrinks.lock() = key;
    }
}

impl Wire for Fake {
    fn ask(&self, _: NodeId, _: Bytes, _: Instant) -> BoxFuture<'_, Result<Bytes, AskError>> {
        async { Err(AskError::NotExecuted("cut".into())) }.boxed()
    }
}

struct World {
    core: Arc<Fake>,
    clock: Arc<Hand>,
    office: Arc<Office>,
    leader: Leader,
}

fn name(name: &str) -> NodeId {
    name.parse().expect("a name")
}

fn key(term: u64) -> LeaderKey {
    LeaderKey { term, voter: VoterId(1) }
}

impl World {
    /// n1 of three leads in term 1, in its life `boot`; it is 100 s.
    fn new(boot: u64) -> Self {
        let mut view = View::default();
        assert_eq!(view.apply(1, &trio().first(16, &Profile::dev())), Outcome::Accepted);
        let core = Arc::new(Fake {
            view: Mutex::new(Arc::new(view)),
            key: Mutex::new(Some(key(1))),
            open: Mutex::new(true),
            index: AtomicU64::new(2),
            transfers: AtomicU64::new(0),
            shrinks: Mutex::default(),
        });
        let clock = Arc::new(Hand(AtomicU64::new(100_000_000_000)));
        let seams = Seams {
            clock: clock.clone(),
            rng: Arc::new(SeededRng::new(1)),
            net: Arc::new(TokioNet),
            control: Spawner::Current,
            work: Spawner::Current,
            threads: false,
        };
        let office = Office::new(seams, core.clone(), core.clone(), name("n1"));
        let leader = Leader::new(office.clone(), Boot(boot));
        Self { core, clock, office, leader }
    }

    fn pass(&self, millis: u64) {
        self.clock.0.fetch_add(millis * 1_000_000, Ordering::SeqCst);
    }

    fn has(&self, node: &str, boot: u64) -> bool {
        self.core.view().has_boot(&name(node), Boot(boot))
    }

    async fn renew(&self, node: &str, boot: u64) -> Result<Grant, RenewError> {
        self.ask(self.request(node, boot)).await
    }

    fn request(&self, node: &str, boot: u64) -> Renew {
        Renew {
            nonce: 7,
            node: name(node),
            boot: Boot(boot),
            last_grant: Some(self.clock.now().as_nanos()),
            load: 0,
            unreachable: vec![],
            released: vec![],
            leaving: false,
        }
    }

    async fn ask(&self, renew: Renew) -> Result<Grant, RenewError> {
        match self.office.answer(self.clock.now(), Ask::Renew(renew), None).await {
            Answer::Renew(result) => result,
            Answer::Claim(_) => panic!("not what was asked"),
        }
    }

    async fn claim(&self, claim: Claim) -> Result<(), ClaimError> {
        match self.office.answer(self.clock.now(), Ask::Claim(claim), None).await {
            Answer::Claim(result) => result,
            Answer::Renew(_) => panic!("not what was asked"),
        }
    }

    async fn round(&mut self) {
        self.leader.round(Instant::NEVER).await;
    }

    /// `millis` pass, in which the nodes named renew every 200 ms.
    async fn live(&mut self, millis: u64, renewing: &[&str]) {
        for _ in 0..millis / 200 {
            self.pass(200);
            for node in renewing {
                let _ = self.renew(node, 1).await;
            }
            self.round().await;
        }
    }
}

/// n2 as it presents itself after a restart.
fn restarted() -> Claim {
    let claim = trio().0[1].claim.clone();
    Claim { boot: Boot(2), earlier_boots: vec![(Boot(1), Boot(1))], ..claim }
}

#[tokio::test]
async fn a_silent_boot_is_evicted_after_its_lease_and_its_shards_go_on() {
    let mut world = World::new(1);
    world.round().await;
    world.live(4_000, &["n1", "n2", "n3"]).await;
    world.live(1_800, &["n1", "n3"]).await;
    assert!(world.has("n2", 1), "its lease is not over");
    world.live(600, &["n1", "n3"]).await;
    assert!(!world.has("n2", 1));
    let view = world.core.view();
    assert!(view.numbered().all(|(_, shard)| shard.owner.is_some()), "every shard has an owner");
    let gone = RenewError::NotMember(name("n2"), Boot(1));
    assert_eq!(world.renew("n2", 1).await, Err(gone));
    assert_eq!(view.departure(&name("n2"), Boot(1)), Some(Departure::Evicted));
}

#[tokio::test]
async fn who_says_that_it_leaves_goes_at_once_and_the_view_says_that_it_left() {
    let mut world = World::new(1);
    world.round().await;
    world.live(3_000, &["n1", "n2", "n3"]).await;
    let leaving = Renew { leaving: true, ..world.request("n2", 1) };
    let ending = RenewError::Evicting(name("n2"), Boot(1));
    assert_eq!(world.ask(leaving).await, Err(ending));
    world.round().await;
    let view = world.core.view();
    assert_eq!(view.departure(&name("n2"), Boot(1)), Some(Departure::Released));
    assert!(!world.has("n2", 1));
}

#[tokio::test]
async fn a_new_leadership_evicts_nobody_for_d_prime() {
    let mut world = World::new(1);
    world.round().await;
    world.live(4_000, &["n1", "n3"]).await;
    assert!(!world.has("n2", 1));
    *world.core.key.lock() = Some(key(2));
    // n3 renewed at the old table just now; nothing of that is known to the new one.
    world.round().await;
    world.live(2_000, &["n1"]).await;
    assert!(world.has("n3", 1));
    world.live(200, &["n1"]).await;
    assert!(!world.has("n3", 1));
}

#[tokio::test]
async fn a_marked_boot_is_denied_though_its_evict_does_not_get_through() {
    let mut world = World::new(1);
    world.round().await;
    world.live(2_000, &["n1", "n3"]).await;
    *world.core.open.lock() = false;
    world.live(1_000, &["n1", "n3"]).await;
    assert!(world.has("n2", 1));
    assert_eq!(world.renew("n2", 1).await, Err(RenewError::Evicting(name("n2"), Boot(1))));
    *world.core.open.lock() = true;
    world.round().await;
    assert!(!world.has("n2", 1), "the eviction is repeated");
}

#[tokio::test]
async fn a_late_round_evicts_nobody() {
    let mut world = World::new(1);
    world.round().await;
    world.live(3_000, &["n1", "n2", "n3"]).await;
    world.leader.expected = world.clock.now();
    // The process stops; when it goes on, the others' renewals still lie unread.
    world.pass(60_000);
    world.round().await;
    assert!(world.has("n2", 1) && world.has("n3", 1));
    world.leader.expected = Instant::NEVER;
    world.live(2_200, &["n1", "n3"]).await;
    assert!(!world.has("n2", 1), "a D' later silence counts again");
    assert!(world.has("n3", 1));
}

#[tokio::test]
async fn who_does_not_lead_grants_nothing() {
    let world = World::new(1);
    *world.core.key.lock() = None;
    assert_eq!(world.renew("n2", 1).await, Err(RenewError::NotLeader { leader: None }));
}

#[tokio::test]
async fn a_restart_on_the_same_disk_and_host_is_accepted_at_once() {
    let mut world = World::new(1);
    world.round().await;
    assert_eq!(world.renew("n2", 1).await.map(|grant| grant.nonce), Ok(7));
    assert_eq!(world.claim(restarted()).await, Ok(()));
    assert!(world.has("n2", 2));
    assert_eq!(world.claim(restarted()).await, Ok(()), "repeating is harmless");
    assert!(world.claim(trio().0[1].claim.clone()).await.is_err(), "the old life does not return");
}

/// An older copy written over the directory itself counts to the number of the present life.
#[tokio::test]
async fn a_life_is_known_by_its_token_and_not_by_its_number_alone() {
    let mut world = World::new(1);
    world.round().await;
    assert_eq!(world.claim(restarted()).await, Ok(()));
    let twin = Claim { token: restarted().token + 1, ..restarted() };
    let refused = world.claim(twin.clone()).await;
    let Err(ClaimError::Refused(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("an older copy of itself"), "{why}");
    assert!(world.core.view().is_life(&restarted()) && !world.core.view().is_life(&twin));
}

#[tokio::test]
async fn a_restart_of_the_host_waits_for_the_old_life_to_run_out() {
    let mut world = World::new(1);
    world.round().await;
    world.live(3_000, &["n1", "n2", "n3"]).await;
    let mut claim = restarted();
    claim.disk.host_boot = "another run".into();
    assert_eq!(world.claim(claim.clone()).await, Err(ClaimError::Wait));
    world.pass(2_100);
    assert_eq!(world.claim(claim).await, Ok(()));
    assert!(world.has("n2", 2));
}

#[tokio::test]
async fn a_second_claimant_of_a_live_name_is_refused_when_the_first_renews() {
    let mut world = World::new(1);
    world.round().await;
    let mut claim = restarted();
    claim.disk.host_boot = "another host".into();
    for _ in 0..12 {
        assert_eq!(world.claim(claim.clone()).await, Err(ClaimError::Wait));
        world.live(200, &["n1", "n2", "n3"]).await;
    }
    assert!(matches!(world.claim(claim).await, Err(ClaimError::Refused(_))));
    assert!(world.has("n2", 1));
}

/// What the old life has sent may come after the next one has asked.
#[tokio::test]
async fn a_claimant_is_not_refused_for_a_renewal_that_was_on_its_way() {
    let mut world = World::new(1);
    world.round().await;
    let mut claim = restarted();
    claim.disk.host_boot = "another run".into();
    assert_eq!(world.claim(claim.clone()).await, Err(ClaimError::Wait));
    world.live(200, &["n1", "n2", "n3"]).await;
    for _ in 0..10 {
        assert_eq!(world.claim(claim.clone()).await, Err(ClaimError::Wait));
        world.pass(200);
    }
    world.pass(200);
    assert_eq!(world.claim(claim).await, Ok(()));
    assert!(world.has("n2", 2));
}

#[tokio::test]
async fn a_cold_leader_evicts_nobody_until_the_grace_is_over() {
    let mut world = World::new(2);
    world.round().await;
    world.live(29_000, &[]).await;
    assert!(world.has("n2", 1) && world.has("n3", 1));
    world.live(1_200, &[]).await;
    assert!(!world.has("n2", 1) && !world.has("n3", 1));
}

#[tokio::test]
async fn a_restarted_leader_is_not_cold_when_another_voter_never_went() {
    let mut world = World::new(2);
    world.round().await;
    world.live(4_000, &["n2"]).await;
    assert!(world.has("n2", 1) && !world.has("n3", 1));
}

#[tokio::test]
async fn a_boot_that_gets_no_grant_is_refused_and_evicted_unless_it_leads() {
    let mut world = World::new(1);
    world.round().await;
    let deaf = |node: &str| Renew {
        nonce: 1,
        node: name(node),
        boot: Boot(1),
        last_grant: None,
        load: 0,
        unreachable: vec![],
        released: vec![],
        leaving: false,
    };
    // n1 leads and is deaf to itself; n2 is deaf, too; n3 hears.
    for _ in 0..40 {
        world.pass(200);
        let now = world.clock.now();
        for node in ["n1", "n2"] {
            let _ = world.office.answer(now, Ask::Renew(deaf(node)), None).await;
        }
        let _ = world.renew("n3", 1).await;
        world.round().await;
    }
    assert!(!world.has("n2", 1));
    assert!(world.has("n1", 1) && world.has("n3", 1));
}

/// A node renews and claims for itself alone; a voter may pass on what another asked.
#[test]
fn the_office_hears_nobody_who_speaks_for_another() {
    let world = World::new(1);
    let door = Door(world.office.clone());
    let renew = |node: &str| {
        let (node, boot) = (name(node), Boot(1));
        let (unreachable, released) = (vec![], vec![]);
        let (nonce, last_grant, load, leaving) = (7, None, 0, false);
        Ask::Renew(Renew { nonce, node, boot, last_grant, load, unreachable, released, leaving })
    };
    let claim = |node: &str| Ask::Claim(Claim { node: name(node), ..restarted() });
    let may = |from: &str, relayed: bool, ask: Ask| {
        door.may_ask(&Peer { node: name(from), boot: Boot(1) }, &Letter { relayed, ask })
    };
    for of in [&renew as &dyn Fn(&str) -> Ask, &claim] {
        assert!(may("n2", false, of("n2")), "it speaks for itself");
        assert!(!may("n3", false, of("n2")), "a voter does not speak for another");
        assert!(!may("n9", false, of("n2")), "nor does a stranger");
        assert!(may("n9", false, of("n9")), "who is no member yet may ask to become one");
        assert!(may("n3", true, of("n2")), "a voter passes on");
        assert!(!may("n9", true, of("n2")), "nobody else passes on");
        assert!(!may("n9", true, of("n9")), "not even for itself");
    }
    // Once the view says who votes, a raft id alone makes no voter.
    let mut view = (**world.core.view.lock()).clone();
    view.voters = [(VoterId(2), name("n2"))].into();
    *world.core.view.lock() = Arc::new(view);
    assert!(may("n2", true, renew("n3")) && !may("n3", true, renew("n2")));
}

/// A task that panics takes its place with it for the moment, and not for good.
#[tokio::test]
async fn a_request_whose_task_panics_is_counted_no_more() {
    let world = World::new(1);
    let all = || (0..1_024).map(|_| UnderWay::of(&world.office)).collect::<Vec<_>>();
    for _ in 0..2 {
        let counted = all();
        assert!(counted.iter().all(Option::is_some));
        assert!(UnderWay::of(&world.office).is_none(), "one more");
        let panicked = tokio::spawn(async move {
            let _counted = counted;
            panic!("as any task may");
        });
        assert!(panicked.await.is_err());
    }
}
