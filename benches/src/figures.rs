//! Rounds, medians, percentiles, and how they are printed.

use std::ops::{Add, AddAssign};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// What something took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Took {
    /// On the wall's clock.
    pub wall: Duration,
    /// Of the processors, by all threads together. Other programs on the machine hardly change it.
    pub cpu: Duration,
}

impl Took {
    /// Nanoseconds each, of `n`.
    #[must_use]
    pub fn each(self, n: u64) -> Each {
        let each = |took: Duration| took.as_nanos() as f64 / n as f64;
        Each { wall: each(self.wall), cpu: Some(each(self.cpu)) }
    }
}

impl Add for Took {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { wall: self.wall + other.wall, cpu: self.cpu + other.cpu }
    }
}

impl AddAssign for Took {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// Runs from when it is made.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch {
    wall: Instant,
    cpu: Duration,
}

impl Stopwatch {
    #[must_use]
    pub fn start() -> Self {
        Self { wall: Instant::now(), cpu: cpu() }
    }

    #[must_use]
    pub fn took(self) -> Took {
        Took { wall: self.wall.elapsed(), cpu: cpu().saturating_sub(self.cpu) }
    }
}

/// Time of the processors this process has used.
#[must_use]
pub fn cpu() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    // Never negative.
    Duration::try_from(used).unwrap_or_default()
}

/// Nanoseconds for one of many, on the wall's clock and of the processors where that is known.
#[derive(Debug, Clone, Copy)]
pub struct Each {
    pub wall: f64,
    pub cpu: Option<f64>,
}

/// The `permille`-th of `samples`, which it sorts: 500 is the median.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn quantile(samples: &mut [u64], permille: usize) -> f64 {
    samples.sort_unstable();
    samples[(samples.len() - 1) * permille / 1_000] as f64
}

/// What was measured of a baseline and of us, in turn.
#[derive(Debug)]
pub struct Pair {
    name: &'static str,
    /// The ratio is to be no more than this.
    target: Option<f64>,
    rounds: Vec<(Each, Each)>,
}

impl Pair {
    #[must_use]
    pub fn new(name: &'static str, target: Option<f64>) -> Self {
        Self { name, target, rounds: Vec::new() }
    }

    pub fn add(&mut self, baseline: Each, ours: Each) {
        self.rounds.push((baseline, ours));
    }

    /// One line of the table.
    ///
    /// # Panics
    /// If there was no round.
    #[must_use]
    pub fn line(&self) -> String {
        let (name, rounds) = (self.name, &self.rounds);
        let [_, baseline, _] = low_mid_high(rounds.iter().map(|round| round.0.wall));
        let [_, ours, _] = low_mid_high(rounds.iter().map(|round| round.1.wall));
        let wall = low_mid_high(rounds.iter().map(|(baseline, ours)| ours.wall / baseline.wall));
        let least = |of: fn(&(Each, Each)) -> f64| rounds.iter().map(of).fold(f64::MAX, f64::min);
        let best = least(|round| round.1.wall) / least(|round| round.0.wall);
        let cpu: Vec<f64> =
            rounds.iter().filter_map(|(base, ours)| Some(ours.cpu? / base.cpu?)).collect();
        let cpu =
            if cpu.is_empty() { String::new() } else { spread(low_mid_high(cpu.into_iter())) };
        let target = match self.target {
            None => String::new(),
            Some(target) if wall[1] <= target => format!("{target}: met"),
            Some(target) => format!("{target}: **missed**"),
        };
        let wall = spread(wall);
        format!("| {name} | {baseline:.0} | {ours:.0} | {wall} | {best:.2} | {cpu} | {target} |")
    }
}

fn spread([low, mid, high]: [f64; 3]) -> String {
    format!("{mid:.2} ({low:.2} to {high:.2})")
}

/// The head of the table.
pub const HEAD: &str = "| | baseline, ns | evertree, ns | ratio, median (lowest to highest) | of the \
     best rounds | of processor time | target |\n|---|---|---|---|---|---|---|";

/// The lowest, the median, the highest.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn low_mid_high(figures: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_unstable_by(f64::total_cmp);
    [figures[0], figures[figures.len() / 2], figures[figures.len() - 1]]
}
