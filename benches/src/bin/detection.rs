//! What membership finds, how soon, how wrongly, and at what cost: the machines alone, simulated.
//!
//! ```text
//! cargo run --release --manifest-path benches/Cargo.toml --features sim --bin detection -- \
//!     [detection|alarms|joins|rest]... [--runs N] [--hours N] [--seed FIRST] [--quick]
//! ```
//! Without a word it prints all four tables. Time is simulated, so the figures do not depend on the
//! machine: latency 1 to 5 ms a packet, clocks wrong by up to 2 %, loss as TCP shows it (200, 600,
//! 1400 ms late). A run is its seed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant as WallInstant};

use evertree::placement::Profile;
use evertree::sim::queue::{Fault, Reachability, Setup, Swarm, Tally, WIRE_EXTRA_BYTES};

/// Before anything is measured, the first news has been passed on.
const WARM: Duration = Duration::from_secs(10);
/// Larger swarms are measured at rest without the pings of their links.
const PINGED_MAX: usize = 100;
/// Before traffic at rest is measured.
const SETTLED: Duration = Duration::from_secs(60);
/// A node that is not found within this is not found.
const FOUND_MAX: Duration = Duration::from_secs(30);
/// How often it is looked whether all know all.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const HOUR: Duration = Duration::from_hours(1);
/// Target: p99 for all survivors to find a silent node, profile `lan`, 10 nodes, no loss.
const SILENT_P99_MAX: Duration = Duration::from_millis(2_500);
const TABLES: [&str; 4] = ["detection", "alarms", "joins", "rest"];

#[derive(Debug, Clone)]
struct Plan {
    tables: BTreeSet<String>,
    runs: u64,
    hours: u32,
    first_seed: u64,
    /// Smaller clusters and fewer rows, for a look while the machine is being changed.
    quick: bool,
}

impl Plan {
    fn from_words() -> Self {
        let mut plan =
            Self { tables: BTreeSet::new(), runs: 100, hours: 4, first_seed: 1, quick: false };
        let mut words = std::env::args().skip(1);
        let number = |word: Option<String>| word.and_then(|word| word.parse().ok());
        while let Some(word) = words.next() {
            match word.as_str() {
                "--runs" => plan.runs = number(words.next()).expect("--runs N"),
                "--hours" => {
                    let hours = number(words.next()).and_then(|hours: u64| hours.try_into().ok());
                    plan.hours = hours.expect("--hours N");
                }
                "--seed" => plan.first_seed = number(words.next()).expect("--seed FIRST"),
                "--quick" => plan.quick = true,
                table if TABLES.contains(&table) => drop(plan.tables.insert(word)),
                other => panic!("{other} is none of {TABLES:?} and no flag"),
            }
        }
        if plan.tables.is_empty() {
            plan.tables = TABLES.map(String::from).into();
        }
        plan
    }

    fn has(&self, table: &str) -> bool {
        self.tables.contains(table)
    }

    fn seeds(&self, count: u64) -> std::ops::Range<u64> {
        self.first_seed..self.first_seed + count
    }
}

fn main() {
    let plan = Plan::from_words();
    let began = WallInstant::now();
    if plan.has("detection") {
        detection(&plan);
    }
    if plan.has("alarms") {
        alarms(&plan);
    }
    if plan.has("joins") {
        joins(&plan);
    }
    if plan.has("rest") {
        rest(&plan);
    }
    println!("All of it took {:.0} s.", began.elapsed().as_secs_f64());
}

fn pass(swarm: &mut Swarm, span: Duration) {
    let until = swarm.now() + span;
    swarm.run_until(until).unwrap_or_else(|broken| panic!("a law is broken {broken}"));
}

fn profiles() -> [Profile; 2] {
    [Profile::lan(), Profile::dev()]
}

fn started(seed: u64, nodes: usize, profile: &Profile, loss_permille: u16) -> Swarm {
    let setup = Setup { loss_permille, ..Setup::new(seed, nodes, profile.clone()) };
    let mut swarm = Swarm::new(setup);
    pass(&mut swarm, WARM);
    swarm.take_changes();
    swarm
}

/// p50, p99 and the most, in seconds.
fn spread(times: &mut [Duration]) -> String {
    if times.is_empty() {
        return "none".into();
    }
    times.sort_unstable();
    let at = |percent: usize| times[((times.len() * percent).div_ceil(100)).max(1) - 1];
    let seconds = |time: Duration| format!("{:.2}", time.as_secs_f64());
    format!("{} / {} / {}", seconds(at(50)), seconds(at(99)), seconds(at(100)))
}

// Table 1.

#[derive(Default)]
struct Found {
    first: Vec<Duration>,
    all: Vec<Duration>,
    /// Runs in which some survivor did not find it.
    missed: u64,
    /// How often a survivor found another survivor unreachable.
    wrong: u64,
}

impl Found {
    /// One run: a node goes at a moment of the seed's choice.
    fn add(&mut self, mut swarm: Swarm, seed: u64, is_silent: bool) {
        let nodes = swarm.nodes();
        pass(&mut swarm, Duration::from_millis(seed * 7_919 % 3_000));
        swarm.take_changes();
        let victim = usize::try_from(seed).unwrap_or(0) % nodes;
        let began = swarm.now();
        swarm.begin(if is_silent { Fault::PowerLoss(victim) } else { Fault::Killed(victim) });
        let mut found = BTreeMap::new();
        while found.len() < nodes - 1 && swarm.now().since(began) < FOUND_MAX {
            pass(&mut swarm, LOOK_EVERY);
            for change in swarm.take_changes() {
                if change.seen.reachability != Reachability::Unreachable {
                    continue;
                }
                if change.of == victim {
                    found.entry(change.by).or_insert(change.at.since(began));
                } else {
                    self.wrong += 1;
                }
            }
        }
        self.first.extend(found.values().min());
        if found.len() == nodes - 1 {
            self.all.extend(found.values().max());
        } else {
            self.missed += 1;
        }
    }
}

fn detection(plan: &Plan) {
    println!("## A node is gone: until it is found unreachable, s\n");
    println!("{} runs each, seeds {:?}.\n", plan.runs, plan.seeds(plan.runs));
    println!(
        "| profile | nodes | loss | gone | first survivor p50 / p99 / max | all survivors p50 / \
         p99 / max | not by all in {FOUND_MAX:?} | others found unreachable | target |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for profile in profiles() {
        for nodes in if plan.quick { vec![3, 10] } else { vec![3, 10, 50] } {
            for loss_permille in [0, 10, 50] {
                for is_silent in [false, true] {
                    let mut found = Found::default();
                    for seed in plan.seeds(plan.runs) {
                        let swarm = started(seed, nodes, &profile, loss_permille);
                        found.add(swarm, seed, is_silent);
                    }
                    let how = if is_silent { "silent" } else { "killed" };
                    let all = spread(&mut found.all);
                    let counts = (profile.name.as_str(), nodes, loss_permille, is_silent);
                    let target = if counts == ("lan", 10, 0, true) {
                        let p99 = found.all[(found.all.len() * 99).div_ceil(100).max(1) - 1];
                        let met = p99 <= SILENT_P99_MAX && found.missed == 0;
                        if met { "2.5 at p99: met" } else { "2.5 at p99: **missed**" }
                    } else {
                        ""
                    };
                    println!(
                        "| {} | {nodes} | {} % | {how} | {} | {all} | {} | {} | {target} |",
                        profile.name,
                        f64::from(loss_permille) / 10.0,
                        spread(&mut found.first),
                        found.missed,
                        found.wrong,
                    );
                }
            }
        }
    }
    println!();
}

// Table 2.

#[derive(Default)]
struct Alarms {
    suspected: u64,
    /// Of nodes that run and are not starved, by nodes that are not.
    wrong: u64,
    by_starved: u64,
    of_starved: u64,
    /// Who accused whom, for the first few.
    who: Vec<(usize, usize)>,
}

impl Alarms {
    fn add(&mut self, mut swarm: Swarm, starved: Option<usize>, span: Duration) {
        if let Some(node) = starved {
            swarm.begin(Fault::Starved(node));
        }
        let end = swarm.now() + span;
        while swarm.now() < end {
            pass(&mut swarm, Duration::from_secs(1));
            for change in swarm.take_changes() {
                match change.seen.reachability {
                    Reachability::Unreachable if starved == Some(change.by) => self.by_starved += 1,
                    Reachability::Unreachable if starved == Some(change.of) => self.of_starved += 1,
                    Reachability::Unreachable => {
                        self.wrong += 1;
                        self.who.push((change.by, change.of));
                    }
                    Reachability::Reachable => {}
                    Reachability::Suspect => self.suspected += 1,
                }
            }
        }
    }
}

fn alarms(plan: &Plan) {
    println!(
        "## Nobody is gone: found unreachable per simulated hour, by all of 10 nodes together\n"
    );
    println!("{} hours each, one seed an hour: {:?}.\n", plan.hours, plan.seeds(plan.hours.into()));
    println!(
        "| profile | loss | starved | unreachable, of sound by sound | by the starved node | of \
         the starved node | suspected | target |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for profile in profiles() {
        let rows = [(0, false), (10, false), (50, false), (300, false), (0, true), (10, true)];
        for (loss_permille, is_starved) in rows {
            let mut alarms = Alarms::default();
            for seed in plan.seeds(plan.hours.into()) {
                let swarm = started(seed, 10, &profile, loss_permille);
                alarms.add(swarm, is_starved.then_some(3), HOUR);
            }
            let hourly = |count: u64| format!("{:.2}", count as f64 / f64::from(plan.hours));
            let target = match (loss_permille, is_starved, alarms.wrong, alarms.by_starved) {
                (0 | 10, _, 0, 0) => "none: met",
                (0 | 10, ..) => "none: **missed**",
                _ => "",
            };
            println!(
                "| {} | {} % | {} | {} | {} | {} | {} | {target} |",
                profile.name,
                f64::from(loss_permille) / 10.0,
                if is_starved { "one node" } else { "nobody" },
                hourly(alarms.wrong),
                hourly(alarms.by_starved),
                hourly(alarms.of_starved),
                hourly(alarms.suspected),
            );
            if !alarms.who.is_empty() {
                alarms.who.truncate(12);
                println!("|  | first of them, (by, of): {:?} |  |  |  |  |  |  |", alarms.who);
            }
        }
    }
    println!();
}

// Table 3.

/// Until all nodes have the cards of all that joined, and those that joined of all.
fn joined(mut swarm: Swarm, count: usize) -> Option<Duration> {
    let (before, began) = (swarm.nodes(), swarm.now());
    swarm.join(count);
    let mut left: BTreeSet<(usize, usize)> = (0..before + count)
        .flat_map(|by| (0..before + count).map(move |of| (by, of)))
        .filter(|(by, of)| by != of && (*by >= before || *of >= before))
        .collect();
    while swarm.now().since(began) < FOUND_MAX {
        pass(&mut swarm, LOOK_EVERY);
        left.retain(|(by, of)| !swarm.has_card(*by, *of));
        if left.is_empty() {
            return Some(swarm.now().since(began));
        }
    }
    None
}

fn joins(plan: &Plan) {
    let runs = plan.runs.div_ceil(5);
    println!("## Nodes join: until all have the cards of all, s\n");
    println!("{runs} runs each, seeds {:?}, profile lan.\n", plan.seeds(runs));
    println!("| nodes before | joining at once | loss | p50 / p99 / max | not in {FOUND_MAX:?} |");
    println!("|---|---|---|---|---|");
    for nodes in [10, 100] {
        for count in [1, 50] {
            for loss_permille in [0, 10] {
                let (mut times, mut missed) = (Vec::new(), 0);
                for seed in plan.seeds(runs) {
                    let swarm = started(seed, nodes, &Profile::lan(), loss_permille);
                    match joined(swarm, count) {
                        Some(time) => times.push(time),
                        None => missed += 1,
                    }
                }
                println!(
                    "| {nodes} | {count} | {} % | {} | {missed} |",
                    f64::from(loss_permille) / 10.0,
                    spread(&mut times)
                );
            }
        }
    }
    println!();
}

// Table 4.

fn rest(plan: &Plan) {
    const SPAN: u32 = 30;
    println!("## At rest: per node and second\n");
    println!(
        "{SPAN} s after {SETTLED:?}, seed {}, nothing lost. Bytes are those of the packets, with \
         {WIRE_EXTRA_BYTES} for the frame and a TLS record of its own; in brackets, of the node \
         with the most. Above {PINGED_MAX} nodes the pings of links are left out: the machines hear \
         less of one another, and probe more. Keeping the links: a ping and a pong every 500 ms on each, if nothing else \
         passes. A dial is a TLS handshake.\n",
        plan.first_seed
    );
    println!(
        "| profile | nodes | packets | bytes | dials | links dialled | keeping them, bytes at \
         most | dropped | simulated s per s |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for profile in profiles() {
        for nodes in match (plan.quick, profile.name.as_str()) {
            (false, "lan") => vec![10, 100, 1_000],
            _ => vec![10, 100],
        } {
            let setup = Setup::new(plan.first_seed, nodes, profile.clone());
            let setup = Setup { pings: nodes <= PINGED_MAX, ..setup };
            let mut swarm = Swarm::new(setup);
            let began = WallInstant::now();
            pass(&mut swarm, SETTLED);
            (0..nodes).for_each(|node| {
                swarm.take_tally(node);
            });
            pass(&mut swarm, Duration::from_secs(SPAN.into()));
            let tallies: Vec<Tally> = (0..nodes).map(|node| swarm.take_tally(node)).collect();
            let links: Vec<u64> = (0..nodes).map(|node| swarm.links(node) as u64).collect();
            let per = |of: fn(&Tally) -> u64, by: f64| {
                let sum: u64 = tallies.iter().map(of).sum();
                let most = tallies.iter().map(of).max().unwrap_or(0);
                format!("{:.1} ({:.1})", sum as f64 / nodes as f64 / by, most as f64 / by)
            };
            let by = f64::from(SPAN);
            let mean_links = links.iter().sum::<u64>() as f64 / nodes as f64;
            println!(
                "| {} | {nodes} | {} | {} | {} | {mean_links:.1} ({}) | {:.0} | {} | {:.1} |",
                profile.name,
                per(|tally| tally.packets, by),
                per(|tally| tally.bytes, by),
                per(|tally| tally.dials, by),
                links.iter().max().unwrap_or(&0),
                mean_links * 2.0 * 2.0 * WIRE_EXTRA_BYTES as f64,
                per(|tally| tally.dropped + tally.overrun, by),
                (SETTLED.as_secs_f64() + by) / began.elapsed().as_secs_f64(),
            );
        }
    }
    println!();
}
