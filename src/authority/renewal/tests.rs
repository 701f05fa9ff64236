//! The driver: when a Renew is sent, to whom, and what it says.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::super::formation::tests::trio;
use super::super::office::{Core, Letter, Wire, encode};
use super::super::{LeaderKey, NotLeader, ProposeError, Proposed};
use super::*;
use crate::base::{Clock, Seams, SeededRng, Spawner, TokioClock, TokioNet};
use crate::placement::{Change, Proposal};

/// A voter that has heard of no leader, and a wire to the others that notes what is sent.
#[derive(Debug)]
struct Fake {
    clock: Arc<TokioClock>,
    /// What was sent: when, to whom.
    sent: Mutex<Vec<(Instant, NodeId, Renew)>>,
    /// Who answers.
    grants: Mutex<BTreeSet<NodeId>>,
    /// D in the grants.
    lease: Mutex<Duration>,
    /// What another node has told, and what a grant said of it.
    told: Mutex<Version>,
    refuted: Mutex<Vec<(Version, Version)>>,
}

impl Told for Fake {
    fn behind(&self, _: Version) {}

    fn told(&self) -> Version {
        *self.told.lock()
    }

    fn refuted(&self, told: Version, granted: Version) {
        self.refuted.lock().push((told, granted));
    }
}

impl Core for Fake {
    fn view(&self) -> Arc<View> {
        Arc::default()
    }

    fn leader_hint(&self) -> Option<NodeId> {
        None
    }

    fn leader_key(&self) -> BoxFuture<'_, Option<LeaderKey>> {
        async { None }.boxed()
    }

    fn barrier(&self, _: Instant) -> BoxFuture<'_, Result<LeaderKey, NotLeader>> {
        async { Err(NotLeader { leader: None }) }.boxed()
    }

    fn propose_as(
        &self,
        _: LeaderKey,
        _: Vec<Proposal>,
        _: Instant,
    ) -> BoxFuture<'_, Result<Proposed, ProposeError>> {
        async { Err(ProposeError::NotExecuted("no".into())) }.boxed()
    }

    fn transfer_leadership(&self) -> BoxFuture<'_, Option<NodeId>> {
        async { None }.boxed()
    }

    fn let_shrink(&self, _: Option<LeaderKey>) {}
}

impl Wire for Fake {
    fn ask(&self, to: NodeId, body: Bytes, _: Instant) -> BoxFuture<'_, Result<Bytes, AskError>> {
        let Some(Letter { ask: Ask::Renew(renew), .. }) = decode(&body) else {
            panic!("not a Renew");
        };
        let (nonce, answers) = (renew.nonce, self.grants.lock().contains(&to));
        self.sent.lock().push((self.clock.now(), to, renew));
        let lease = *self.lease.lock();
        async move {
            if !answers {
                return futures::future::pending().await;
            }
            let (version, wishes) = (crate::base::Version(1), vec![]);
            Ok(encode(&Answer::Renew(Ok(Grant { nonce, lease, version, wishes }))))
        }
        .boxed()
    }
}

struct World {
    core: Arc<Fake>,
    renewals: Arc<Renewals>,
    views: Publisher<View>,
    driver: tokio::task::JoinHandle<()>,
}

fn name(name: &str) -> NodeId {
    name.parse().expect("a name")
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl World {
    /// n1 of three, with the timing of `lan`; `change` makes something else of the first view.
    fn new(change: impl Fn(&mut View)) -> Self {
        let mut view = View::default();
        let first = trio().first(4_096, &Profile::lan());
        let Change::Form { .. } = &first.change else { panic!("the first change forms") };
        view.apply(1, &first);
        view.voters = (1..=3).map(|one| (VoterId(one), name(&format!("n{one}")))).collect();
        change(&mut view);
        let clock = Arc::new(TokioClock::new());
        let core = Arc::new(Fake {
            clock: clock.clone(),
            sent: Mutex::default(),
            grants: Mutex::default(),
            lease: Mutex::new(ms(1_000)),
            told: Mutex::default(),
            refuted: Mutex::default(),
        });
        let seams = Seams {
            clock: clock.clone(),
            rng: Arc::new(SeededRng::new(1)),
            net: Arc::new(TokioNet),
            control: Spawner::Current,
            work: Spawner::Current,
            threads: false,
        };
        let office = Office::new(seams, core.clone(), core.clone(), name("n1"));
        let lease = Lease::new(clock, name("n1"));
        let views = Publisher::new(View::default());
        lease.begin(Boot(1));
        lease.applied(&view);
        views.publish(Arc::new(view));
        let renewals = Renewals::new(RenewalParts {
            office,
            lease,
            profile: Profile::lan(),
            views: views.watched(),
            voters: Box::new(BTreeMap::new),
            told: core.clone(),
            standing: Arc::new(Publisher::new(Standing::Member(Boot(1)))),
        });
        renewals.begin(Boot(1));
        let driver = tokio::spawn(renewals.clone().run());
        Self { core, renewals, views, driver }
    }

    fn sent(&self) -> Vec<(Instant, NodeId, Renew)> {
        std::mem::take(&mut *self.core.sent.lock())
    }

    fn answers(&self, nodes: &[&str]) {
        *self.core.grants.lock() = nodes.iter().map(|node| name(node)).collect();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_renew_is_repeated_after_a_quarter_at_the_next_voter() {
    let world = World::new(|_| {});
    tokio::time::sleep(ms(995)).await;
    let sent = world.sent();
    // n1 is the third that is asked in turn: it answers itself, over no wire.
    for pair in sent.windows(2) {
        assert!(pair[1].0.since(pair[0].0) <= ms(100), "{sent:?}");
    }
    assert!(sent.len() > 12, "{}", sent.len());
    for node in ["n2", "n3"] {
        assert!(sent.iter().any(|(_, to, _)| *to == name(node)));
    }
    let nonces: BTreeSet<_> = sent.iter().map(|(_, _, renew)| renew.nonce).collect();
    assert_eq!(nonces.len(), sent.len(), "each is a request of its own");
    assert!(!world.renewals.lease.is_valid());
    // One answers from here on: nothing is repeated, and it alone is asked.
    world.answers(&["n3"]);
    tokio::time::sleep(ms(400)).await;
    world.sent();
    tokio::time::sleep(ms(2_000)).await;
    let sent = world.sent();
    assert_eq!(sent.len(), 10, "one each 200 ms: {sent:?}");
    assert!(sent.iter().all(|(_, to, _)| *to == name("n3")));
    assert!(world.renewals.lease.is_valid());
}

#[tokio::test(start_paused = true)]
async fn a_grant_counts_from_the_sending_and_for_the_d_it_carries() {
    for lease in [1_000, 3_000, 500] {
        let world = World::new(|_| {});
        *world.core.lease.lock() = ms(lease);
        world.answers(&["n2", "n3"]);
        tokio::time::sleep(ms(150)).await;
        let sent = world.sent();
        let (at, ..) = sent.last().expect("sent");
        assert_eq!(world.renewals.lease.valid_until(), *at + ms(lease - 50), "guard: 50 ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_waits_for_the_view_it_names_and_counts_for_nothing_if_that_has_another_boot() {
    for boot in [1, 2] {
        let world = World::new(|view| view.version.0 = 0);
        world.answers(&["n2", "n3"]);
        tokio::time::sleep(ms(600)).await;
        assert!(!world.renewals.lease.is_valid(), "the grant names version 1");
        let mut view = (*world.views.get()).clone();
        view.version.0 = 1;
        view.members.get_mut(&name("n1")).expect("a member").boot = Boot(boot);
        world.renewals.lease.applied(&view);
        world.views.publish(Arc::new(view));
        tokio::time::sleep(ms(50)).await;
        assert_eq!(world.renewals.lease.is_valid(), boot == 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_is_sent_at_once_and_repeated_until_the_view_shows_it() {
    let world = World::new(|_| {});
    world.answers(&["n2", "n3"]);
    tokio::time::sleep(ms(1_010)).await;
    world.sent();
    let epoch = world.views.get().shards[0].epoch;
    world.renewals.lease.release(ShardId(0), epoch);
    world.renewals.hurry.notify_one();
    tokio::time::sleep(ms(5)).await;
    let gives = |renew: &Renew| renew.released == [(ShardId(0), epoch)];
    let sent = world.sent();
    assert!(sent.len() == 1 && gives(&sent[0].2), "{sent:?}");
    tokio::time::sleep(ms(1_000)).await;
    let sent = world.sent();
    assert!(sent.len() >= 4 && sent.iter().all(|(_, _, renew)| gives(renew)), "{sent:?}");
    let mut view = (*world.views.get()).clone();
    Arc::make_mut(&mut view.shards[0]).epoch.0 += 1;
    view.version.0 += 1;
    world.renewals.lease.applied(&view);
    tokio::time::sleep(ms(400)).await;
    let last = world.sent().pop().expect("sent");
    assert_eq!(last.2.released, []);
}

/// A drained node gives up more at once than one Renew carries.
#[tokio::test(start_paused = true)]
async fn four_thousand_shards_released_at_once_are_all_said_at_once() {
    let world = World::new(|_| {});
    world.answers(&["n2", "n3"]);
    tokio::time::sleep(ms(1_010)).await;
    world.sent();
    let view = world.views.get();
    let all: BTreeSet<_> = view.numbered().map(|(number, shard)| (number, shard.epoch)).collect();
    for (shard, epoch) in &all {
        world.renewals.lease.release(*shard, *epoch);
    }
    for wait in [20, 1_000] {
        world.renewals.hurry.notify_one();
        tokio::time::sleep(ms(wait)).await;
        let sent = world.sent();
        assert!(sent.iter().all(|(_, _, renew)| renew.released.len() <= RELEASED_MAX));
        let said: BTreeSet<_> =
            sent.iter().flat_map(|(_, _, renew)| renew.released.iter().copied()).collect();
        assert!(said == all, "{} of {} after {wait} ms", said.len(), all.len());
    }
}

/// Workers that run nothing for 2 D: this node is better suspended and evicted.
#[tokio::test(start_paused = true)]
async fn without_a_tick_of_the_workers_for_two_leases_no_renew_is_sent() {
    let world = World::new(|_| {});
    world.answers(&["n2", "n3"]);
    tokio::time::sleep(ms(1_000)).await;
    // The tick that was asked for does not come.
    world.renewals.ticking.store(true, Ordering::Release);
    tokio::time::sleep(ms(1_800)).await;
    assert!(world.renewals.lease.is_valid(), "not for 2 D yet");
    tokio::time::sleep(ms(400)).await;
    world.sent();
    tokio::time::sleep(ms(3_000)).await;
    assert_eq!(world.sent().len(), 0);
    assert!(!world.renewals.lease.is_valid());
    world.renewals.ticking.store(false, Ordering::Release);
    tokio::time::sleep(ms(500)).await;
    assert!(world.renewals.lease.is_valid(), "the workers run again");
}

/// Goal: a view that a member made up is found out by the next grant. Method: grants of version 1.
#[tokio::test(start_paused = true)]
async fn a_grant_in_a_view_older_than_one_told_before_it_was_asked_for_refutes_that() {
    let world = World::new(|_| {});
    world.answers(&["n2", "n3"]);
    *world.core.told.lock() = Version(1);
    tokio::time::sleep(ms(2_000)).await;
    assert!(world.renewals.lease.is_valid() && world.core.refuted.lock().is_empty());
    *world.core.told.lock() = Version(u64::MAX);
    tokio::time::sleep(ms(400)).await;
    assert_eq!(world.core.refuted.lock().first(), Some(&(Version(u64::MAX), Version(1))));
    // No lease is extended by such a grant.
    tokio::time::sleep(ms(1_000)).await;
    assert!(!world.renewals.lease.is_valid());
}
