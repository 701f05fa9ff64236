use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::super::super::{ProposeError, Proposed};
use super::*;
use crate::base::{BootClock, NodeId, SeededRng, Spawner, TokioNet, VoterId};
use crate::placement::{Proposal, View};

/// A quorum whose barriers end when the test says so.
#[derive(Debug, Default)]
struct Slow {
    begun: Mutex<Vec<Option<oneshot::Sender<Answer>>>>,
}

impl Slow {
    fn begun(&self) -> usize {
        self.begun.lock().len()
    }

    fn end(&self, round: usize, term: u64) {
        let tell = self.begun.lock()[round].take().expect("it runs");
        tell.send(Ok(key(term))).expect("somebody waits");
    }
}

impl Core for Slow {
    fn view(&self) -> Arc<View> {
        Arc::default()
    }

    fn leader_hint(&self) -> Option<NodeId> {
        None
    }

    fn leader_key(&self) -> BoxFuture<'_, Option<LeaderKey>> {
        async { None }.boxed()
    }

    fn barrier(&self, _: Instant) -> BoxFuture<'_, Answer> {
        let (tell, told) = oneshot::channel();
        self.begun.lock().push(Some(tell));
        async { told.await.expect("the test ends it") }.boxed()
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

fn key(term: u64) -> LeaderKey {
    LeaderKey { term, voter: VoterId(1) }
}

fn rounds() -> (Arc<Slow>, Arc<Rounds>) {
    let core = Arc::new(Slow::default());
    let seams = Seams {
        clock: Arc::new(BootClock),
        rng: Arc::new(SeededRng::new(1)),
        net: Arc::new(TokioNet),
        control: Spawner::Current,
        work: Spawner::Current,
        threads: false,
    };
    (core.clone(), Rounds::new(core, seams))
}

/// Lets every task run that can.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_round_serves_only_those_who_came_before_it_began() {
    let (core, rounds) = rounds();
    let ask = || {
        let rounds = rounds.clone();
        tokio::spawn(async move { rounds.barrier(Instant::NEVER).await })
    };
    let first = ask();
    settle().await;
    assert_eq!(core.begun(), 1);
    let late: Vec<_> = (0..50).map(|_| ask()).collect();
    settle().await;
    core.end(0, 1);
    assert_eq!(first.await.expect("it ran"), Ok(key(1)));
    settle().await;
    assert!(late.iter().all(|one| !one.is_finished()), "the first round proves nothing to them");
    assert_eq!(core.begun(), 2, "they share one");
    core.end(1, 2);
    for one in late {
        assert_eq!(one.await.expect("it ran"), Ok(key(2)));
    }
    settle().await;
    assert_eq!(core.begun(), 2, "nobody waits, no round");
    let next = ask();
    settle().await;
    core.end(2, 3);
    assert_eq!(next.await.expect("it ran"), Ok(key(3)));
}

#[tokio::test]
async fn a_round_that_hangs_holds_up_nobody_who_comes_later() {
    let (core, rounds) = rounds();
    let hung = tokio::spawn({
        let rounds = rounds.clone();
        async move { rounds.barrier(Instant::NEVER).await }
    });
    settle().await;
    let later = tokio::spawn(async move { rounds.barrier(Instant::NEVER).await });
    while core.begun() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    core.end(1, 2);
    assert_eq!(later.await.expect("it ran"), Ok(key(2)));
    core.end(0, 1);
    assert_eq!(hung.await.expect("it ran"), Ok(key(1)), "its own answer still comes");
}

#[tokio::test]
async fn who_waits_longer_than_it_may_is_told_so() {
    let (core, rounds) = rounds();
    let now = crate::base::Clock::now(&BootClock);
    let answer = rounds.barrier(now + Duration::from_millis(5)).await;
    assert_eq!(answer, Err(NotLeader { leader: None }));
    assert_eq!(core.begun(), 1);
}
