//! Messages between two processes on loopback: evertree's links beside the baseline
//! [`raw`](evertree_benches::wired::raw), in turn, round after round.
//!
//! ```text
//! cargo run --release --manifest-path benches/Cargo.toml --bin links -- \
//!     [--rounds N] [--only BENCH] [--mode MODE]
//! ```
//! `--only` and `--mode` choose by a part of a name. Each run has a receiving process and a runtime
//! of its own; both processes have two tokio workers. The ratio of a round is that of the rates:
//! above 1 evertree is faster. Processor time is that of both processes.

use evertree_benches::figures::low_mid_high;
use evertree_benches::wired::ours::{Handler, Ours, Pem, certificates};
use evertree_benches::wired::raw::Raw;
use evertree_benches::wired::receiver::{Kind, Process, Protection, was_one};
use evertree_benches::wired::{Run, Way, in_flight, one_by_one, one_way, runtime};
use evertree_benches::{WORKERS, on_worker};

const ROUNDS: usize = 5;
const SHORT: usize = 64;
const LONG: usize = 1024;

#[derive(Debug, Clone, Copy)]
enum Bench {
    OneWay { bytes: usize, n: u64 },
    OneByOne { n: u64 },
    InFlight { askers: u64, n: u64 },
}

/// With the ratio of rates that is to be reached, with TLS and an actor.
const BENCHES: [(&str, Bench, f64); 5] = [
    ("one-way 64 B", Bench::OneWay { bytes: SHORT, n: 1_000_000 }, 0.8),
    ("one-way 1 KiB", Bench::OneWay { bytes: LONG, n: 300_000 }, 0.7),
    ("round trip 64 B", Bench::OneByOne { n: 20_000 }, 1.0 / 1.1),
    ("64 in flight, 64 B", Bench::InFlight { askers: 64, n: 200_000 }, 1.0),
    ("256 in flight, 64 B", Bench::InFlight { askers: 256, n: 200_000 }, 1.5),
];

/// The first is what the others are compared with, the second what is judged.
const MODES: [(&str, Kind); 5] = [
    ("baseline", Kind::Raw),
    ("tls, actor", Kind::Ours(Handler::Actor, Protection::Tls)),
    ("tls, direct", Kind::Ours(Handler::Direct, Protection::Tls)),
    ("insecure, actor", Kind::Ours(Handler::Actor, Protection::Insecure)),
    ("insecure, direct", Kind::Ours(Handler::Direct, Protection::Insecure)),
];
const JUDGED: usize = 1;

#[derive(Debug)]
struct Wish {
    rounds: usize,
    only: String,
    mode: String,
}

fn wish() -> Wish {
    let mut wish = Wish { rounds: ROUNDS, only: String::new(), mode: String::new() };
    let mut words = std::env::args().skip(1);
    while let Some(flag) = words.next() {
        let mut value = || words.next().expect("a value follows each flag");
        match flag.as_str() {
            "--rounds" => wish.rounds = value().parse().expect("a number of rounds"),
            "--only" => wish.only = value(),
            "--mode" => wish.mode = value(),
            other => panic!("{other} is none of --rounds, --only, --mode"),
        }
    }
    wish
}

fn main() {
    if was_one() {
        return;
    }
    let wish = wish();
    println!("{} rounds in turn, two processes of {WORKERS} tokio workers each\n", wish.rounds);
    println!(
        "| | | messages/s, median (lowest to highest) | us each | ratio of rates, median (lowest \
         to highest) | processor ns each | ratio of processor time | target |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let pem = certificates();
    for (name, bench, target) in BENCHES {
        if name.contains(&wish.only) {
            for line in measure(name, bench, target, (&wish, &pem)) {
                println!("{line}");
            }
        }
    }
}

/// All rounds of one bench, and the lines of the table.
fn measure(
    name: &str,
    bench: Bench,
    target: f64,
    (wish, pem): (&Wish, &(Pem, Pem)),
) -> Vec<String> {
    let modes: Vec<(usize, (&str, Kind))> = MODES.into_iter().enumerate().collect();
    let modes: Vec<_> = modes.into_iter().filter(|(_, m)| m.0.contains(&wish.mode)).collect();
    let mut rounds: Vec<[Option<Run>; MODES.len()]> = Vec::new();
    for round in 0..wish.rounds {
        let mut runs = [None; MODES.len()];
        // Each round begins with another one, so that none always follows the same.
        for turn in 0..modes.len() {
            let (index, (_, kind)) = modes[(turn + round) % modes.len()];
            runs[index] = Some(run(kind, bench, pem));
        }
        rounds.push(runs);
    }
    let of = |index: usize, figure: fn(&Run) -> f64| -> Vec<f64> {
        rounds.iter().filter_map(|runs| runs[index].as_ref().map(figure)).collect()
    };
    modes
        .iter()
        .map(|(index, (mode, _))| {
            let rate = low_mid_high(of(*index, |run| 1e9 / run.each).into_iter());
            let each = low_mid_high(of(*index, |run| run.each / 1e3).into_iter());
            let p99 = of(*index, |run| run.p99.unwrap_or_default() / 1e3);
            let [_, p99, _] = low_mid_high(p99.into_iter());
            let each = if p99 > 0.0 {
                format!("p50 {:.1}, p99 {p99:.1}", each[1])
            } else {
                format!("{:.3}", each[1])
            };
            let [_, cpu, _] = low_mid_high(of(*index, |run| run.cpu).into_iter());
            let ratio = ratio(&of(*index, |run| 1.0 / run.each), &of(0, |run| 1.0 / run.each));
            let ratio_cpu = ratio_text(self::ratio(&of(*index, |r| r.cpu), &of(0, |r| r.cpu)));
            let verdict = match ratio {
                Some([_, mid, _]) if *index == JUDGED && mid >= target => {
                    format!("{target:.2}: met")
                }
                Some(_) if *index == JUDGED => format!("{target:.2}: **missed**"),
                Some(_) | None => String::new(),
            };
            format!(
                "| {name} | {mode} | {} ({} to {}) | {each} | {} | {cpu:.0} | {ratio_cpu} | \
                 {verdict} |",
                thousands(rate[1]),
                thousands(rate[0]),
                thousands(rate[2]),
                ratio_text(ratio),
            )
        })
        .collect()
}

/// Round by round; nothing without a baseline.
fn ratio(ours: &[f64], baseline: &[f64]) -> Option<[f64; 3]> {
    (!baseline.is_empty()).then(|| low_mid_high(ours.iter().zip(baseline).map(|(o, b)| o / b)))
}

fn ratio_text(ratio: Option<[f64; 3]>) -> String {
    ratio.map(|[low, mid, high]| format!("{mid:.2} ({low:.2} to {high:.2})")).unwrap_or_default()
}

fn thousands(rate: f64) -> String {
    format!("{:.0} k", rate / 1e3)
}

/// One run: a receiving process, a runtime, a connection.
fn run(kind: Kind, bench: Bench, (own, theirs): &(Pem, Pem)) -> Run {
    let receiver = Process::start(kind, theirs);
    let (addr, runtime) = (receiver.addr, runtime("sender"));
    let own = own.clone();
    on_worker(&runtime, async move {
        match kind {
            Kind::Raw => through(Raw::connect(addr).await, bench).await,
            Kind::Ours(_, protection) => {
                let pem = (protection == Protection::Tls).then_some(&own);
                let ours = Ours::new(addr, pem).await;
                let run = through(ours.clone(), bench).await;
                ours.stop().await;
                run
            }
        }
    })
}

async fn through(way: impl Way, bench: Bench) -> Run {
    match bench {
        Bench::OneWay { bytes, n } => one_way(way, bytes, n).await,
        Bench::OneByOne { n } => one_by_one(way, SHORT, n).await,
        Bench::InFlight { askers, n } => in_flight(way, askers, SHORT, n).await,
    }
}
