//! Messages between two processes on loopback: by evertree's links, and by as little as does it.
//!
//! | module | is |
//! |---|---|
//! | [`raw`] | the baseline: length-delimited frames on one TCP connection |
//! | [`ours`] | `evertree::transport::Links`, with TLS and without |
//! | [`receiver`] | the other process: this program once more |
//!
//! Whoever receives counts what it is told, answers an ask with its own body, and an ask without a
//! body with [`Handled`].

pub mod ours;
pub mod raw;
pub mod receiver;

use std::time::{Duration, Instant};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::task::JoinSet;

use crate::figures::{Stopwatch, cpu, quantile};

/// The runtime of one of the two processes; its threads have this name.
///
/// # Panics
/// If the operating system gives no threads.
#[must_use]
pub fn runtime(name: &str) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(crate::WORKERS)
        .thread_name(name)
        .enable_all()
        .build()
        .expect("a runtime of two threads")
}

/// Messages sent before the clock starts: a part of those that are measured.
const WARM_UP_PARTS: u64 = 10;

/// A sender's way to the other process.
pub trait Way: Clone + Send + Sync + 'static {
    /// Sends a message that wants no answer; waits for room if there is none.
    fn tell(&self, body: &Bytes) -> impl Future<Output = ()> + Send;

    /// Sends a message and waits for its answer.
    fn ask(&self, body: Bytes) -> impl Future<Output = Bytes> + Send;

    /// What the other process has done so far.
    fn handled(&self) -> impl Future<Output = Handled> + Send {
        async { Handled::decode(self.ask(Bytes::new()).await) }
    }
}

/// What the receiving process has done so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Handled {
    /// Messages it was told.
    pub told: u64,
    /// Time of the processors it has used.
    pub cpu: Duration,
}

impl Handled {
    /// Of this process, which has been told so many messages.
    #[must_use]
    pub fn now(told: u64) -> Self {
        Self { told, cpu: cpu() }
    }

    #[must_use]
    pub fn encode(self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(16);
        bytes.put_u64(self.told);
        bytes.put_u64(u64::try_from(self.cpu.as_nanos()).unwrap_or(u64::MAX));
        bytes.freeze()
    }

    /// # Panics
    /// If it is not what [`Handled::encode`] gave.
    #[must_use]
    pub fn decode(mut bytes: Bytes) -> Self {
        Self { told: bytes.get_u64(), cpu: Duration::from_nanos(bytes.get_u64()) }
    }
}

/// What one run gave.
#[derive(Debug, Clone, Copy, Default)]
pub struct Run {
    /// Nanoseconds of the wall's clock for one message; a round trip's median if one by one.
    pub each: f64,
    /// The slowest percent begins here, if one by one.
    pub p99: Option<f64>,
    /// Nanoseconds of the processors for one message, both processes together.
    pub cpu: f64,
}

/// Measures `n` of whatever `work` does, the receiver's part included.
async fn measure<W: Way>(way: &W, n: u64, work: impl Future<Output = ()>) -> Run {
    let before = way.handled().await;
    let watch = Stopwatch::start();
    work.await;
    let took = watch.took();
    let cpu = took.cpu + way.handled().await.cpu.saturating_sub(before.cpu);
    let each = |took: Duration| took.as_nanos() as f64 / n as f64;
    Run { each: each(took.wall), p99: None, cpu: each(cpu) }
}

/// `n` messages of so many bytes, until the receiver says that it has handled all.
pub async fn one_way<W: Way>(way: W, bytes: usize, n: u64) -> Run {
    let body = Bytes::from(vec![7; bytes]);
    tell_all(&way, &body, n / WARM_UP_PARTS).await;
    measure(&way, n, tell_all(&way, &body, n)).await
}

async fn tell_all<W: Way>(way: &W, body: &Bytes, n: u64) {
    let before = way.handled().await.told;
    for _ in 0..n {
        way.tell(body).await;
    }
    while way.handled().await.told < before + n {
        tokio::task::yield_now().await;
    }
}

/// `n` round trips one after another.
///
/// # Panics
/// If an answer is wrong.
pub async fn one_by_one<W: Way>(way: W, bytes: usize, n: u64) -> Run {
    let body = Bytes::from(vec![7; bytes]);
    ask_all(&way, &body, n / WARM_UP_PARTS).await;
    let mut took = Vec::new();
    let run = measure(&way, n, async {
        for _ in 0..n {
            let began = Instant::now();
            let answer = way.ask(body.clone()).await;
            took.push(u64::try_from(began.elapsed().as_nanos()).expect("less than 500 years"));
            assert_eq!(answer.len(), bytes, "an answer is what was sent");
        }
    })
    .await;
    Run { each: quantile(&mut took, 500), p99: Some(quantile(&mut took, 990)), ..run }
}

/// `n` round trips by `askers` tasks, each of which has one in flight.
///
/// # Panics
/// If an answer is wrong.
pub async fn in_flight<W: Way>(way: W, askers: u64, bytes: usize, n: u64) -> Run {
    let body = Bytes::from(vec![7; bytes]);
    ask_all(&way, &body, n / WARM_UP_PARTS / askers).await;
    measure(&way, n, async {
        let mut asking = JoinSet::new();
        for asker in 0..askers {
            let share = n / askers + u64::from(asker < n % askers);
            let (way, body) = (way.clone(), body.clone());
            asking.spawn(async move { ask_all(&way, &body, share).await });
        }
        while let Some(done) = asking.join_next().await {
            done.expect("an asker is done");
        }
    })
    .await
}

async fn ask_all<W: Way>(way: &W, body: &Bytes, n: u64) {
    for _ in 0..n {
        let answer = way.ask(body.clone()).await;
        assert_eq!(answer.len(), body.len(), "an answer is what was sent");
    }
}
