//! Thousands of new seeds of the standard run, in ranges, and one large cluster.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use evertree::sim::trial::{Batch, Figures, Trial};

/// Seeds of one range.
const RANGE: u64 = 100;
/// Ranges that run at the same time.
const THREADS: usize = 2;

/// What all seeds came to.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) text: String,
    pub(crate) broken: Vec<u64>,
    pub(crate) batch: Batch,
}

#[derive(Debug, Default)]
struct Sums {
    seeds: u64,
    steps: u64,
    faults: u64,
    gone: u64,
    ownerships: u64,
    ticks: u64,
    acked: u64,
    unknown: u64,
    refused: u64,
    healed: Vec<Duration>,
}

impl Sums {
    fn add(&mut self, figures: &Figures) {
        self.seeds += 1;
        self.steps += figures.steps;
        self.faults += figures.faults;
        self.gone += figures.gone;
        self.ownerships += figures.ownerships;
        self.ticks += figures.ticks;
        self.acked += figures.counts.acked;
        self.unknown += figures.counts.unknown;
        self.refused += figures.counts.refused;
        self.healed.push(figures.healed_within);
    }

    fn line(&mut self) -> String {
        self.healed.sort_unstable();
        let at = |percent: usize| {
            let place = (self.healed.len() * percent / 100).max(1) - 1;
            self.healed.get(place).map_or(0, Duration::as_millis)
        };
        format!(
            "{} passed: {} steps, {} faults, {} nodes gone, {} changes of owner seen, {} ticks, \
             adds: {} acknowledged, {} unknown, {} not executed; healed within {} ms at the \
             median, {} ms at p99, {} ms at most",
            self.seeds,
            self.steps,
            self.faults,
            self.gone,
            self.ownerships,
            self.ticks,
            self.acked,
            self.unknown,
            self.refused,
            at(50),
            at(99),
            at(100),
        )
    }
}

/// What is common to all ranges.
#[derive(Debug, Default)]
struct Found {
    text: Vec<(u64, String)>,
    broken: Vec<u64>,
    batch: Batch,
    all: Sums,
}

/// Runs the seeds, range by range. The first seed of each range runs twice and must go the same
/// way.
pub(crate) fn run(seeds: Range<u64>) -> Report {
    let (found, began) = (Mutex::new(Found::default()), Instant::now());
    let next = Mutex::new(seeds.start);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let range = {
                        let mut next = next.lock().expect("no thread panicked");
                        let range = *next..seeds.end.min(*next + RANGE);
                        *next = range.end;
                        range
                    };
                    if range.is_empty() {
                        return;
                    }
                    one_range(range, &found);
                }
            });
        }
    });
    let Found { mut text, mut broken, batch, mut all } =
        found.into_inner().expect("no thread panicked");
    text.sort_unstable();
    broken.sort_unstable();
    let mut lines: String = text.into_iter().map(|(_, text)| text).collect();
    let secs = began.elapsed().as_secs();
    writeln!(lines, "\nall: {}", all.line()).expect("a string takes it");
    writeln!(lines, "{secs} s on {THREADS} threads\nbroken: {broken:?}").expect("as above");
    Report { text: format!("seeds: {seeds:?}\n\n{lines}"), broken, batch }
}

fn one_range(range: Range<u64>, found: &Mutex<Found>) {
    let (mut sums, mut text) = (Sums::default(), String::new());
    for seed in range.clone() {
        let ran = Trial::of(seed).run();
        let ran = ran.and_then(|figures| {
            let again = (seed == range.start).then(|| Trial::of(seed).run()).transpose()?;
            Ok((figures, again))
        });
        let mut found = found.lock().expect("no thread panicked");
        let wrong = match &ran {
            Ok((figures, Some(again)))
                if figures.trace.first_difference(&again.trace).is_some() =>
            {
                Some("it went another way the second time".to_owned())
            }
            Ok(_) => None,
            Err(broken) => Some(broken.to_string()),
        };
        if let Ok((figures, _)) = &ran {
            sums.add(figures);
            found.all.add(figures);
            found.batch.add(figures);
        }
        if let Some(wrong) = wrong {
            found.broken.push(seed);
            let repeat = format!("SIM_SEEDS={seed}..{} cargo test --test simulation", seed + 1);
            writeln!(text, "seed {seed} BROKEN: {wrong}\n  repeat: {repeat} nothing_acknowledged")
                .expect("a string takes it");
        }
    }
    writeln!(text, "{range:?}: {}", sums.line()).expect("a string takes it");
    print!("{text}");
    found.lock().expect("no thread panicked").text.push((range.start, text));
}

/// Five voters and 45 lease clients, in steps of 5 ms.
pub(crate) fn fifty_nodes(seed: u64) -> Result<String, String> {
    let tick = Duration::from_millis(5);
    let trial = Trial { nodes: 50, tick, loss_permille: 0, ..Trial::of(seed) };
    let broken = |what: String| format!("50 nodes, seed {seed} BROKEN: {what}\n");
    let figures = trial.run().map_err(|what| broken(what.to_string()))?;
    let clients = figures.nodes - figures.voters;
    if (figures.voters, clients) != (5, 45) || figures.client_ticks == 0 {
        return Err(broken(format!("not 5 voters and 45 lease clients that serve: {figures}")));
    }
    Ok(format!("50 nodes, seed {seed}: {figures}\n"))
}
