//! A thousand seeds of membership alone: faults, heal, agreement.

use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

use tokio::time::Instant;

use evertree::sim::queue::{Figures, Scenario};

/// What all seeds came to.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) text: String,
    pub(crate) broken: Vec<u64>,
}

#[derive(Debug, Default)]
struct Sums {
    seeds: u64,
    faults: u64,
    steps: u64,
    alarms: u64,
    false_alarms: u64,
    gone: usize,
    agreed: Vec<Duration>,
}

impl Sums {
    fn add(&mut self, figures: &Figures) {
        self.seeds += 1;
        self.faults += figures.faults;
        self.steps += figures.steps;
        self.alarms += figures.alarms;
        self.false_alarms += figures.false_alarms;
        self.gone += figures.gone;
        self.agreed.push(figures.agreed_within);
    }

    fn line(&mut self) -> String {
        self.agreed.sort_unstable();
        let at = |percent: usize| self.agreed.get((self.agreed.len() * percent / 100).max(1) - 1);
        format!(
            "{} seeds passed: {} faults, {} inputs, {} times found unreachable, {} of them sound \
             nodes by sound nodes, {} nodes gone for good; agreed within {:?} at the median, \
             {:?} at p99, {:?} at most",
            self.seeds,
            self.faults,
            self.steps,
            self.alarms,
            self.false_alarms,
            self.gone,
            at(50),
            at(99),
            at(100),
        )
    }
}

/// Runs the seeds. Every hundredth runs twice and must go the same way.
pub(crate) fn run(seeds: Range<u64>) -> Report {
    let mut text = format!("seeds: {seeds:?}\n\n");
    let (mut broken, mut sums, began) = (Vec::new(), Sums::default(), Instant::now());
    for seed in seeds {
        let line = match Scenario::of(seed).run() {
            Ok(figures) if seed.is_multiple_of(100) && is_another(seed, &figures) => {
                broken.push(seed);
                format!("seed {seed} BROKEN: it went another way the second time")
            }
            Ok(figures) => {
                sums.add(&figures);
                format!("seed {seed}: {figures}")
            }
            Err(error) => {
                broken.push(seed);
                format!("seed {seed} BROKEN: {error}\n  repeat: {}", repeat(seed))
            }
        };
        writeln!(text, "{line}").expect("a string takes it");
    }
    writeln!(text, "\n{}", sums.line()).expect("a string takes it");
    writeln!(text, "broken: {broken:?}").expect("a string takes it");
    println!("{:.0} s", began.elapsed().as_secs_f64());
    Report { text, broken }
}

fn is_another(seed: u64, figures: &Figures) -> bool {
    let again = Scenario::of(seed).run();
    again.is_ok_and(|again| again.trace.first_difference(&figures.trace).is_some())
}

fn repeat(seed: u64) -> String {
    format!("SIM_SEEDS={seed}..{} cargo test --lib sim::queue::tests::all_agree", seed + 1)
}
