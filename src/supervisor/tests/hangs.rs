//! Incarnations that hang are found out: by the length of a call, or by a probe.

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::*;
use crate::event::{Hang, Path};
use crate::supervisor::launch::{Launch as _, Post, Running};

enum Work {
    For(Duration),
    Ping(RpcReplyPort<u8>),
    /// Drops the port.
    Ignore(RpcReplyPort<u8>),
}

struct Busy;

#[ractor::actor(message = Work)]
impl Busy {
    async fn post_stop(
        &self,
        _myself: ActorRef<Work>,
        _state: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        tokio::time::sleep(secs(30)).await;
        Ok(())
    }

    async fn handle(
        &self,
        _myself: ActorRef<Work>,
        work: Work,
        _state: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        match work {
            Work::For(span) => tokio::time::sleep(span).await,
            Work::Ping(port) => port.send(1)?,
            Work::Ignore(port) => drop(port),
        }
        Ok(())
    }
}

fn busy() -> Worker<Busy> {
    worker("busy", || (Busy, ()))
}

/// An incarnation by itself, its ref, and what tells that it hangs.
struct Patient {
    child: ChildRef<Work>,
    running: Running,
    hang: Option<BoxFuture<'static, Hang>>,
    clock: Arc<dyn Clock>,
}

async fn admit(worker: Worker<Busy>) -> Patient {
    let child = ChildRef::unbound();
    let worker = worker.bind(&child);
    let setting = Arc::new(Setting::default());
    let clock = setting.clock.clone();
    let path = Path::root("busy");
    let post = Post { parent: None, path, incarnation: 1, cause: None, setting };
    let mut running = worker.launch.launch(post).await.expect("it starts");
    let hang = running.hang.take();
    Patient { child, running, hang, clock }
}

impl Patient {
    fn work(&self, span: Duration) {
        self.child.cast(Work::For(span)).expect("it lives");
    }

    /// Why it hangs, and how long after the start; `None` if not within `most`.
    async fn hangs_within(&mut self, most: Duration) -> Option<(Hang, Duration)> {
        let start = self.clock.now();
        let hang = self.hang.as_mut().expect("it is watched");
        let why = within(&*self.clock, start + most, hang).await.ok()?;
        Some((why, self.clock.now().since(start)))
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_of_which_nothing_was_said_is_not_watched() {
    assert!(admit(busy()).await.hang.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_call_over_its_limit_is_found_out_to_the_instant() {
    let mut patient = admit(busy().handler_limit(secs(10))).await;
    assert_eq!(patient.hangs_within(HOUR).await, None, "nothing is in hand");
    // Busy for an hour, but with no call that is long.
    (0..400).for_each(|_| patient.work(secs(9)));
    assert_eq!(patient.hangs_within(HOUR).await, None);
    assert_eq!(patient.child.call_within(HOUR, Work::Ping).await, Ok(1));
    patient.work(secs(3));
    patient.work(secs(11));
    let (why, after) = patient.hangs_within(HOUR).await.expect("it hangs");
    assert_eq!(why, Hang::Handler { limit: secs(10) });
    assert!((secs(13)..secs(13) + Duration::from_millis(2)).contains(&after), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn an_end_is_no_call() {
    let mut patient = admit(busy().handler_limit(secs(10))).await;
    patient.running.cell.stop(None);
    assert_eq!(patient.hangs_within(HOUR).await, None);
    assert!((&mut patient.running.task).now_or_never().is_some(), "it has ended");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_answered_goes_on_and_one_that_is_not_tells() {
    let mut patient = admit(busy().probe(secs(10), secs(2), Work::Ping)).await;
    assert_eq!(patient.hangs_within(HOUR).await, None);
    // A probe waits its turn: this is long enough for the next and its deadline.
    patient.work(secs(13));
    let (why, after) = patient.hangs_within(HOUR).await.expect("it hangs");
    assert_eq!(why, Hang::Probe { deadline: secs(2) });
    assert!(after >= secs(2) && after < secs(13), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_tells_at_its_deadline() {
    let mut patient = admit(busy().probe(secs(10), secs(2), Work::Ignore)).await;
    let (why, after) = patient.hangs_within(HOUR).await.expect("it hangs");
    assert_eq!(why, Hang::ProbeDropped);
    assert!((secs(12)..secs(12) + Duration::from_millis(3)).contains(&after), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_panics_is_a_hang_and_one_of_the_dead_is_not() {
    let question = |_: RpcReplyPort<u8>| -> Work { panic!("boom") };
    let watched = busy().probe(secs(10), secs(2), question).handler_limit(secs(1));
    let mut patient = admit(watched).await;
    let (why, _) = patient.hangs_within(HOUR).await.expect("it hangs");
    assert_eq!(why, Hang::ProbePanicked { why: "boom".into() });

    let mut ended = admit(busy().probe(secs(10), secs(2), Work::Ping)).await;
    ended.running.cell.kill();
    assert_eq!(ended.hangs_within(HOUR).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_full_mailbox_takes_a_probe_all_the_same() {
    let mut patient = admit(busy().mailbox(1).probe(secs(10), secs(50), Work::Ping)).await;
    assert_eq!(patient.child.call_within(HOUR, Work::Ping).await, Ok(1));
    patient.work(secs(20));
    tokio::task::yield_now().await;
    patient.work(secs(20));
    patient.child.cast(Work::For(secs(1))).expect_err("it is full");
    assert_eq!(patient.hangs_within(HOUR + secs(5)).await, None, "both were worked off");
    assert_eq!(patient.child.vacate(), 0);
}
