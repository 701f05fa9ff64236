//! One node's clock in the simulated world, with an offset and a rate of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::process::Gate;
use crate::base::{Clock, Instant};

const MILLION: u64 = 1_000_000;

/// A clock that runs at `rate` parts in a million of the world's time.
#[derive(Debug)]
pub struct SimClock {
    offset: Duration,
    rate_ppm: u64,
    last: AtomicU64,
    /// No sleep ends while the process is stopped.
    gate: Arc<Gate>,
}

impl SimClock {
    /// A clock that shows `offset` at the world's start and runs at `rate_ppm` millionths of the
    /// world's rate: 1,000,000 is exact.
    #[must_use]
    pub fn new(offset: Duration, rate_ppm: u64) -> Self {
        Self { offset, rate_ppm: rate_ppm.max(1), last: AtomicU64::new(0), gate: Arc::default() }
    }

    /// The same, for a process that `gate` stops.
    pub(super) fn of(self, gate: Arc<Gate>) -> Self {
        Self { gate, ..self }
    }

    /// What it shows when `world` has passed since the world's start.
    #[must_use]
    pub fn at(&self, world: Duration) -> Instant {
        let local = world.as_nanos() * u128::from(self.rate_ppm) / u128::from(MILLION);
        let local = Duration::from_nanos(u64::try_from(local).unwrap_or(u64::MAX));
        Instant::ZERO + self.offset + local
    }

    /// The world's time that passes while this clock shows `local` more; rounded up.
    pub(super) fn to_world(&self, local: Duration) -> Duration {
        let world = (local.as_nanos() * u128::from(MILLION)).div_ceil(u128::from(self.rate_ppm));
        Duration::from_nanos(u64::try_from(world).unwrap_or(u64::MAX))
    }
}

impl Default for SimClock {
    fn default() -> Self {
        Self::new(Duration::from_secs(1), MILLION)
    }
}

impl Clock for SimClock {
    fn now(&self) -> Instant {
        // Asked from outside its host's runtime, as when a crash drops what the host's task held,
        // it shows what it showed last.
        let shown = super::elapsed().map_or(0, |world| self.at(world).as_nanos());
        Instant::from_nanos(self.last.fetch_max(shown, Relaxed).max(shown))
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        let gate = self.gate.clone();
        let sleep = tokio::time::sleep(self.to_world(at.since(self.now())));
        async move {
            sleep.await;
            gate.opened().await;
        }
        .boxed()
    }

    fn unix(&self) -> Duration {
        // 2026-01-01, so that certificates made for the world are valid from its start.
        Duration::from_hours(24 * 20_454) + self.now().since(Instant::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::BootClock;

    /// Asks the time when it is dropped, as what a node holds may.
    struct AsksOnDrop(Arc<SimClock>);

    impl Drop for AsksOnDrop {
        fn drop(&mut self) {
            self.0.now();
        }
    }

    #[test]
    fn a_host_that_is_taken_away_on_a_slow_machine_leaves_its_clock_where_it_was() {
        let (clock, tick) = (Arc::new(SimClock::default()), Duration::from_millis(1));
        let mut sim = turmoil::Builder::new().tick_duration(tick).build();
        let held = clock.clone();
        sim.host("n1", move || {
            let held = AsksOnDrop(held.clone());
            async move {
                let _held = held;
                std::future::pending().await
            }
        });
        sim.step().expect("one tick passes");
        // The machine's clock overtakes the world's.
        let slow = BootClock.now() + 10 * tick;
        while BootClock.now() < slow {
            std::hint::spin_loop();
        }
        sim.crash("n1");
        let shown = clock.now();
        assert!(shown <= clock.at(sim.elapsed()), "{shown:?} after {:?}", sim.elapsed());
    }

    #[test]
    fn a_fast_clock_sleeps_shorter_and_shows_more() {
        let fast = SimClock::new(Duration::ZERO, 1_020_000);
        assert_eq!(fast.at(Duration::from_secs(100)), Instant::ZERO + Duration::from_secs(102));
        assert_eq!(fast.to_world(Duration::from_secs(102)), Duration::from_secs(100));
    }
}
