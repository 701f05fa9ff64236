//! The runtime openraft runs on: tokio, the same in production and in simulation.
//!
//! Two things differ from openraft's own `TokioRuntime`. Chance comes from a seed that belongs to
//! the task and is handed on to every task it spawns, so that a node's elections follow from its
//! [`crate::base::Rng`]; and the watch channel wakes in order. Neither needs a compiler flag.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use openraft::OptionalSend;
use openraft::impls::TokioRuntime;
use openraft::type_config::AsyncRuntime;
use rand_core::TryRng;

use super::watch::OrderedWatch;

type Tokio = TokioRuntime;

tokio::task_local! {
    /// Of the running task. Absent in tasks that openraft's caller spawned.
    static SEED: Cell<u64>;
}

/// Weyl sequence and finaliser of `SplitMix64` (Steele, Lea, Flood: OOPSLA 2014).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(state: u64) -> u64 {
    let state = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ state >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ state >> 31
}

/// A fresh seed from the task's own, if it has one.
fn draw() -> Option<u64> {
    SEED.try_with(|seed| {
        let next = seed.get().wrapping_add(GOLDEN);
        seed.set(next);
        mix(next)
    })
    .ok()
}

/// `SplitMix64` behind the trait that openraft draws from.
#[derive(Debug)]
pub(super) struct Draws(u64);

impl TryRng for Draws {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|draw| u32::try_from(draw >> 32).unwrap_or(0))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_add(GOLDEN);
        Ok(mix(self.0))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for chunk in out.chunks_mut(8) {
            let draw = self.try_next_u64()?.to_le_bytes();
            chunk.copy_from_slice(&draw[..chunk.len()]);
        }
        Ok(())
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct RaftRt(Tokio);

impl RaftRt {
    /// Runs `future` with a seed for it and for all it spawns.
    pub(super) async fn scope<F: Future>(seed: u64, future: F) -> F::Output {
        SEED.scope(Cell::new(seed), future).await
    }
}

impl AsyncRuntime for RaftRt {
    type JoinError = <Tokio as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <Tokio as AsyncRuntime>::Sleep;
    type Instant = <Tokio as AsyncRuntime>::Instant;
    type TimeoutError = <Tokio as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> =
        <Tokio as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = Draws;
    type Mpsc = <Tokio as AsyncRuntime>::Mpsc;
    type Watch = OrderedWatch;
    type Oneshot = <Tokio as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        match draw() {
            Some(seed) => Tokio::spawn(SEED.scope(Cell::new(seed), future)),
            None => Tokio::spawn(future),
        }
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        Tokio::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        Tokio::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        Tokio::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        Tokio::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        Tokio::is_panic(join_error)
    }

    #[expect(clippy::disallowed_methods, reason = "only for tasks outside any voter's scope")]
    fn thread_rng() -> Draws {
        Draws(draw().unwrap_or_else(|| rand::Rng::random(&mut rand::rng())))
    }

    fn new(threads: usize) -> Self {
        Self(Tokio::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}

#[cfg(test)]
mod tests {
    use rand_core::Rng as _;

    use super::*;

    #[test]
    fn it_is_a_runtime_as_openraft_wants_it() {
        openraft::testing::runtime::Suite::<RaftRt>::test_all();
    }

    #[tokio::test]
    async fn a_seed_fixes_the_draws_of_a_task_and_of_those_it_spawns() {
        async fn draws(seed: u64) -> [u64; 3] {
            RaftRt::scope(seed, async {
                let here = RaftRt::thread_rng().next_u64();
                let there = RaftRt::spawn(async { RaftRt::thread_rng().next_u64() });
                [here, there.await.unwrap(), RaftRt::thread_rng().next_u64()]
            })
            .await
        }
        let first = draws(7).await;
        assert_eq!(first, draws(7).await);
        assert_ne!(first, draws(8).await);
        assert!(first[0] != first[1] && first[1] != first[2]);
    }
}
