use std::sync::atomic::AtomicUsize;
use std::task::Wake;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use super::*;
use crate::placement::{Constants, Profile, Shard};

/// A clock that a test moves.
#[derive(Debug, Default)]
struct Hand(AtomicU64);

impl Hand {
    fn set(&self, millis: u64) {
        self.0.store(at(millis).as_nanos(), Ordering::SeqCst);
    }
}

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

/// Counts how often a future was woken.
#[derive(Debug, Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Woken {
    fn times(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

/// A view in which `boot` of n1 owns shard 0 under `epoch` and nothing else.
fn view(boot: u64, epoch: u64) -> View {
    let owner = Owner { node: "n1".parse().expect("a name"), boot: Boot(boot) };
    let shard = |epoch, owner| {
        Arc::new(Shard {
            epoch: Epoch(epoch),
            owner,
            in_sync: vec![],
            in_sync_generation: 0,
            has_records: false,
            lost: false,
            moving: None,
        })
    };
    View {
        constants: Some(Constants {
            shards: 2,
            copies: 1,
            write_min: 1,
            profile: Profile::dev(),
            lease_before: None,
            lease_set: false,
        }),
        shards: vec![shard(epoch, Some(owner)), shard(9, None)],
        ..View::default()
    }
}

/// A lease of boot 1, valid until 1,000 ms, that owns shard 0 under epoch 7; the clock is at 100.
fn granted() -> (Lease, Arc<Hand>, Tenure) {
    let clock = Arc::new(Hand::default());
    clock.set(100);
    let lease = Lease::new(clock.clone(), "n1".parse().expect("a name"));
    lease.begin(Boot(1));
    lease.applied(&view(1, 7));
    lease.extend(Boot(1), at(1_000));
    let tenure = lease.owned(ShardId(0)).expect("owned");
    (lease, clock, tenure)
}

/// A future that counts its polls and ends when told; says when it was dropped.
struct Probe {
    polls: Arc<AtomicUsize>,
    end: oneshot::Receiver<u32>,
}

impl Future for Probe {
    type Output = u32;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u32> {
        self.polls.fetch_add(1, Ordering::SeqCst);
        self.end.poll_unpin(cx).map(|end| end.expect("told"))
    }
}

fn probe() -> (Probe, Arc<AtomicUsize>, oneshot::Sender<u32>) {
    let polls = Arc::new(AtomicUsize::new(0));
    let (tell, end) = oneshot::channel();
    (Probe { polls: polls.clone(), end }, polls, tell)
}

/// Polls once, counting wakes in `woken`.
fn poll<F: Future>(gated: &mut Gated<F>, woken: &Arc<Woken>) -> Poll<Result<F::Output, Lapsed>> {
    gated.poll_unpin(&mut Context::from_waker(&Waker::from(woken.clone())))
}

#[test]
fn the_gate_reads_the_clock_and_no_flag() {
    let (lease, clock, tenure) = granted();
    assert_eq!(lease.check(&tenure), Ok(()));
    // Nothing ran in between, as in a process that was stopped.
    clock.set(1_000);
    assert_eq!(lease.check(&tenure), Err(Lapsed::Expired));
}

#[test]
fn before_the_first_grant_and_before_the_first_boot_every_gate_is_shut() {
    let clock = Arc::new(Hand::default());
    let lease = Lease::new(clock, "n1".parse().expect("a name"));
    lease.applied(&view(1, 7));
    assert_eq!(lease.owned(ShardId(0)), None, "the view's boot is not this process's");
    lease.begin(Boot(1));
    let tenure = lease.tenure(ShardId(0), Epoch(7));
    assert_eq!(lease.check(&tenure), Err(Lapsed::Moved));
    lease.applied(&view(1, 7));
    assert_eq!(lease.check(&tenure), Err(Lapsed::Expired));
}

#[test]
fn past_the_deadline_it_is_parked_and_not_polled() {
    let (lease, clock, tenure) = granted();
    let (future, polls, tell) = probe();
    let mut gated = lease.through(tenure, future);
    let woken = Arc::new(Woken::default());
    assert!(poll(&mut gated, &woken).is_pending());
    clock.set(1_001);
    tell.send(5).expect("waits");
    assert!(poll(&mut gated, &woken).is_pending());
    assert_eq!(polls.load(Ordering::SeqCst), 1);
}

#[test]
fn parked_work_goes_on_after_a_new_grant() {
    let (lease, clock, tenure) = granted();
    clock.set(1_001);
    let (future, polls, tell) = probe();
    let mut gated = lease.through(tenure, future);
    let woken = Arc::new(Woken::default());
    assert!(poll(&mut gated, &woken).is_pending());
    assert_eq!(polls.load(Ordering::SeqCst), 0);
    tell.send(5).expect("waits");
    lease.extend(Boot(1), at(2_000));
    assert_eq!(woken.times(), 1, "a grant wakes what is parked");
    assert_eq!(poll(&mut gated, &woken), Poll::Ready(Ok(5)));
}

#[test]
fn a_changed_epoch_drops_the_future_parked_or_not() {
    for parked in [true, false] {
        let (lease, clock, tenure) = granted();
        if parked {
            clock.set(1_001);
        }
        let (future, _, tell) = probe();
        let mut gated = lease.through(tenure, future);
        let woken = Arc::new(Woken::default());
        assert!(poll(&mut gated, &woken).is_pending());
        lease.applied(&view(1, 8));
        assert!(woken.times() > 0, "a move wakes what waits, parked: {parked}");
        assert_eq!(poll(&mut gated, &woken), Poll::Ready(Err(Lapsed::Moved)));
        assert!(tell.is_closed(), "the future was dropped");
        // It is final, whatever comes.
        lease.extend(Boot(1), at(9_000));
        assert_eq!(lease.check(&tenure), Err(Lapsed::Moved));
    }
}

#[test]
fn an_evicted_boot_is_over_and_the_next_one_needs_its_own_grant() {
    let (lease, _, tenure) = granted();
    lease.applied(&view(2, 8));
    assert_eq!(lease.check(&tenure), Err(Lapsed::Moved), "another life of this name owns it");
    lease.begin(Boot(2));
    lease.applied(&view(2, 8));
    let next = lease.owned(ShardId(0)).expect("owned");
    assert_eq!(next.boot, Boot(2));
    assert_eq!(lease.check(&next), Err(Lapsed::Expired), "boot 1's grant is not boot 2's");
    lease.extend(Boot(1), at(9_000));
    assert_eq!(lease.check(&next), Err(Lapsed::Expired), "a late grant for boot 1 neither");
    lease.extend(Boot(2), at(9_000));
    assert_eq!(lease.check(&next), Ok(()));
    assert_eq!(lease.check(&tenure), Err(Lapsed::Moved));
}

#[test]
fn a_release_is_final_though_the_view_still_shows_the_owner() {
    let (lease, _, tenure) = granted();
    lease.release(ShardId(0), Epoch(7));
    assert_eq!(lease.check(&tenure), Err(Lapsed::Moved));
    lease.applied(&view(1, 7));
    assert_eq!(lease.check(&tenure), Err(Lapsed::Moved));
    assert_eq!(lease.released(), [(ShardId(0), Epoch(7))]);
    lease.applied(&view(1, 8));
    assert_eq!(lease.released(), [], "the view shows it");
    assert!(lease.owned(ShardId(0)).is_some(), "a new epoch is a new right");
}

#[test]
fn an_older_view_opens_no_gate() {
    let (lease, _, tenure) = granted();
    let newer = View { version: crate::base::Version(2), ..view(1, 8) };
    lease.applied(&newer);
    lease.applied(&View { version: crate::base::Version(1), ..view(1, 7) });
    assert_eq!(lease.check(&tenure), Err(Lapsed::Moved));
}

#[test]
fn a_grant_that_comes_too_late_for_the_one_before_is_a_lapse() {
    let (lease, clock, _) = granted();
    lease.extend(Boot(1), at(2_000));
    assert_eq!(lease.lapses(), 0, "the first, and one in time");
    clock.set(2_000);
    lease.extend(Boot(1), at(3_000));
    assert_eq!(lease.lapses(), 1);
    lease.begin(Boot(2));
    clock.set(9_000);
    lease.extend(Boot(2), at(10_000));
    assert_eq!(lease.lapses(), 1, "the first grant of a life ends no lapse");
}

#[test]
fn an_older_grant_takes_no_time_back() {
    let (lease, _, _) = granted();
    lease.extend(Boot(1), at(500));
    assert_eq!(lease.valid_until(), at(1_000));
}

#[test]
fn a_shard_of_nobody_or_of_no_number_is_not_this_nodes() {
    let (lease, _, _) = granted();
    assert_eq!(lease.owned(ShardId(1)), None);
    assert_eq!(lease.owned(ShardId(99)), None);
    let none = lease.tenure(ShardId(1), Epoch::NONE);
    assert_eq!(lease.check(&none), Err(Lapsed::Moved));
}

#[test]
fn a_dropped_wait_leaves_nothing_behind() {
    let (lease, clock, tenure) = granted();
    clock.set(1_001);
    let mut gated = lease.through(tenure, futures::future::pending::<()>());
    assert!(poll(&mut gated, &Arc::default()).is_pending());
    drop(gated);
    assert!(lease.0.lists.iter().all(|list| list.lock().waiting.is_empty()));
}
