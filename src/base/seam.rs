//! The seams to time, chance and tasks. Everything above reads them through these traits, so that a
//! simulation can stand in for the machine.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
#[cfg(feature = "cluster")]
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::Instant;
#[cfg(feature = "cluster")]
use super::{Net, Worker};

/// How late a sleeper of [`BootClock`] may wake once a suspended machine goes on. Runtimes' timers
/// stand still meanwhile, so a longer sleep looks at the clock this often.
pub const LATE_MAX: Duration = Duration::from_secs(1);

/// Sleeps until `now` says `at`, by a runtime's timer that may stand still while `now` does not.
/// All that look at the clock do so at the same moments: a machine at rest wakes once for all.
#[cfg(feature = "cluster")]
async fn sleep_on(now: impl Fn() -> Instant, at: Instant) {
    if at == Instant::NEVER {
        return std::future::pending().await;
    }
    loop {
        let now = now();
        let left = at.since(now);
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(until_next(now, LATE_MAX))).await;
    }
}

/// How long after `now` the next multiple of `every` is.
fn until_next(now: Instant, every: Duration) -> Duration {
    let every = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX).max(1);
    Duration::from_nanos(every - now.as_nanos() % every)
}

/// A monotonic clock that can be waited on.
///
/// The lease rules need one that counts the time a machine is suspended: [`BootClock`].
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The present instant. Never falls.
    fn now(&self) -> Instant;

    /// Completes at `at` or a little later; at once if `at` is past. After the machine was
    /// suspended it may be [`LATE_MAX`] later: whoever decides by time asks [`Clock::now`] when it
    /// wakes, and gives nothing on having slept.
    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()>;

    /// Wall-clock time since 1970, for certificates and log lines only. May jump.
    fn unix(&self) -> Duration;

    /// Completes `span` from now.
    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        self.sleep_until(self.now() + span)
    }

    /// The next multiple of `every` of this clock. Who looks at something now and then does so
    /// then: a machine at rest wakes once for all of them.
    fn next_look(&self, every: Duration) -> Instant {
        let now = self.now();
        now + until_next(now, every)
    }
}

/// A deadline passed before the awaited thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the deadline passed")]
pub struct Elapsed;

/// Awaits `future` until `deadline` on `clock`. The future is polled first, so one that is ready at
/// the deadline wins.
///
/// # Errors
/// [`Elapsed`]; the future is dropped then.
pub async fn within<F: Future>(
    clock: &dyn Clock,
    deadline: Instant,
    future: F,
) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let mut timer = None;
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        // Made only when the future is not ready at once: most are.
        let timer = timer.get_or_insert_with(|| clock.sleep_until(deadline));
        timer.poll_unpin(cx).map(|()| Err(Elapsed))
    })
    .await
}

/// A source of random numbers. One per node, so that a seed fixes all its choices.
pub trait Rng: fmt::Debug + Send + Sync + 'static {
    /// 64 uniformly random bits.
    fn next_u64(&self) -> u64;

    /// 128 uniformly random bits.
    fn next_u128(&self) -> u128 {
        u128::from(self.next_u64()) << 64 | u128::from(self.next_u64())
    }

    /// A duration between zero and `most`, both included.
    fn up_to(&self, most: Duration) -> Duration {
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        let share = u128::from(self.next_u64()) * (u128::from(nanos) + 1);
        Duration::from_nanos(u64::try_from(share >> 64).unwrap_or(nanos))
    }
}

/// A [`Rng`] that gives the same numbers for the same seed. Not for keys.
pub struct SeededRng(Mutex<SmallRng>);

impl SeededRng {
    /// The sequence of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(SmallRng::seed_from_u64(seed)))
    }

    /// A sequence nobody can foretell, seeded by the operating system.
    ///
    /// # Panics
    /// If the operating system has no randomness to give.
    #[must_use]
    pub fn from_os() -> Self {
        Self(Mutex::new(rand::make_rng()))
    }
}

impl Rng for SeededRng {
    fn next_u64(&self) -> u64 {
        self.0.lock().next_u64()
    }
}

impl fmt::Debug for SeededRng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeededRng")
    }
}

/// Tokio's clock: virtual where the runtime is paused. Does not count suspend.
#[derive(Debug, Clone, Copy)]
pub struct TokioClock {
    start: tokio::time::Instant,
}

impl TokioClock {
    /// A clock that starts now.
    #[must_use]
    pub fn new() -> Self {
        Self { start: tokio::time::Instant::now() }
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

/// Time since 1970 as the operating system believes.
#[expect(clippy::disallowed_methods, reason = "this is the seam to the wall clock")]
fn wall() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

impl Clock for TokioClock {
    fn now(&self) -> Instant {
        let passed = tokio::time::Instant::now().saturating_duration_since(self.start);
        // One second in, so that "before the start" can be said.
        Instant::ZERO + Duration::from_secs(1) + passed
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        tokio::time::sleep(at.since(self.now())).boxed()
    }

    fn unix(&self) -> Duration {
        wall()
    }
}

/// Linux' `CLOCK_BOOTTIME`: monotonic, and counts the time the machine is suspended. Whoever sleeps
/// by it wakes at most [`LATE_MAX`] late after that.
#[cfg(feature = "cluster")]
#[derive(Debug, Clone, Copy, Default)]
pub struct BootClock;

#[cfg(feature = "cluster")]
impl Clock for BootClock {
    fn now(&self) -> Instant {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let secs = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
        Instant::ZERO + Duration::new(secs, nanos)
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        let clock = *self;
        sleep_on(move || clock.now(), at).boxed()
    }

    fn unix(&self) -> Duration {
        wall()
    }
}

/// Where a node's tasks run.
#[cfg(feature = "cluster")]
#[derive(Debug, Clone)]
pub enum Spawner {
    /// On the runtime of whoever spawns.
    Current,
    /// On this runtime.
    On(tokio::runtime::Handle),
}

#[cfg(feature = "cluster")]
impl Spawner {
    /// Starts a task.
    pub fn spawn<F>(&self, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match self {
            Self::Current => tokio::spawn(future),
            Self::On(handle) => handle.spawn(future),
        }
    }
}

/// A node's way to the world: time, chance, network, tasks and threads.
#[cfg(feature = "cluster")]
#[derive(Debug, Clone)]
pub struct Seams {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub rng: Arc<dyn Rng>,
    /// Sockets.
    pub net: Arc<dyn Net>,
    /// Raft, renewals, gossip and control links.
    pub control: Spawner,
    /// All else.
    pub work: Spawner,
    /// Whether blocking work gets an OS thread; in simulation it runs in line.
    pub threads: bool,
}

#[cfg(feature = "cluster")]
impl Seams {
    /// A worker for blocking calls, on a thread named `name` where threads are allowed.
    ///
    /// # Errors
    /// If the operating system refuses the thread.
    pub fn worker(&self, name: &str) -> std::io::Result<Worker> {
        if self.threads { Worker::thread(name) } else { Ok(Worker::inline()) }
    }
}

#[cfg(all(test, feature = "cluster"))]
mod tests;
