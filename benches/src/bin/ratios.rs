//! Spawn, cast, call, and crash to first answer: evertree and the baseline in turn, round after
//! round. Prints a table of medians and of the ratios of the rounds.
//!
//! ```text
//! cargo run --release --manifest-path benches/Cargo.toml --bin ratios [rounds] [only]
//! ```

use std::process::Command;

use evertree_benches::echo::silence_crashes;
use evertree_benches::figures::{Each, HEAD, Pair, Took, quantile};
use evertree_benches::{WORKERS, by_hand, on_worker, runtime, supervised};
use tokio::runtime::Runtime;

const ROUNDS: usize = 11;
const CHILDREN: u64 = 10_000;
const CASTS: u64 = 1_000_000;
const CALLS: u64 = 100_000;
const CRASHES: u64 = 2_000;

fn main() {
    silence_crashes();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let runtime = runtime();
    if let [fresh, figure] = &words[..]
        && fresh == FRESH
    {
        return say_fresh(&runtime, figure);
    }
    let rounds = words.first().and_then(|word| word.parse().ok()).unwrap_or(ROUNDS);
    let only = words.get(1).map_or("", String::as_str);
    println!("{rounds} rounds in turn, {WORKERS} tokio workers\n\n{HEAD}");
    for (name, figure) in FIGURES {
        if name.contains(only) {
            for pair in figure(&runtime, rounds) {
                println!("{}", pair.line());
            }
        }
    }
}

type Figure = fn(&Runtime, usize) -> Vec<Pair>;

const FIGURES: [(&str, Figure); 5] = [
    ("spawn fresh", spawn_fresh),
    ("spawn", spawn),
    ("cast", cast),
    ("call", call),
    ("crash", crash),
];

/// Says that one figure is to be taken, in a process that has not used its memory yet.
const FRESH: &str = "fresh";
const CHILDREN_FRESH: u64 = 100_000;

/// Takes one figure and prints it.
fn say_fresh(runtime: &Runtime, figure: &str) {
    let n = CHILDREN_FRESH;
    let took = match figure {
        "bare" => on_worker(runtime, by_hand::spawn_one_by_one(n)),
        "start_child" => on_worker(runtime, supervised::spawn_one_by_one(n)),
        "start_child_many" => on_worker(runtime, supervised::spawn_many(n)),
        _ => on_worker(runtime, supervised::spawn_declared(n)),
    };
    let Each { wall, cpu } = took.each(n);
    println!("{wall} {}", cpu.unwrap_or_default());
}

/// Has one figure taken by a process of its own.
fn fresh(figure: &str) -> Each {
    let program = std::env::current_exe().expect("the path of this program");
    let said = Command::new(program).args([FRESH, figure]).output().expect("it runs").stdout;
    let said = String::from_utf8(said).expect("text");
    let mut figures = said.split_whitespace().map(|word| word.parse().expect("a figure"));
    Each { wall: figures.next().expect("a figure"), cpu: figures.next() }
}

/// As the peers were measured: each figure in a process of its own, where all memory is new.
fn spawn_fresh(_: &Runtime, rounds: usize) -> Vec<Pair> {
    let target = Some(1.5);
    let mut pairs = [
        Pair::new("100,000 in a fresh process: start_child, one by one", target),
        Pair::new("100,000 in a fresh process: start_child, 64 in flight", target),
        Pair::new("100,000 in a fresh process: declared", target),
    ];
    for _ in 0..rounds {
        let bare = fresh("bare");
        pairs[0].add(bare, fresh("start_child"));
        pairs[1].add(bare, fresh("start_child_many"));
        pairs[2].add(bare, fresh("declared"));
    }
    pairs.into()
}

/// In a heap that was used before, where ractor itself is four times as fast.
fn spawn(runtime: &Runtime, rounds: usize) -> Vec<Pair> {
    let mut pairs = [
        Pair::new("warm heap: start_child, one by one", None),
        Pair::new("the same, to a hand-written supervisor that is asked", None),
        Pair::new("warm heap: start_child, 64 in flight, to spawn_linked from 64 tasks", None),
        Pair::new("the same, to a hand-written supervisor that is asked", None),
        Pair::new("warm heap: declared", None),
    ];
    let each = |took: Took| took.each(CHILDREN);
    for _ in 0..rounds {
        let bare = each(on_worker(runtime, by_hand::spawn_one_by_one(CHILDREN)));
        let ours = each(on_worker(runtime, supervised::spawn_one_by_one(CHILDREN)));
        let asked = each(on_worker(runtime, by_hand::request_one_by_one(CHILDREN)));
        let declared = each(on_worker(runtime, supervised::spawn_declared(CHILDREN)));
        let bare_many = each(on_worker(runtime, by_hand::spawn_many(CHILDREN)));
        let ours_many = each(on_worker(runtime, supervised::spawn_many(CHILDREN)));
        let asked_many = each(on_worker(runtime, by_hand::request_many(CHILDREN)));
        pairs[0].add(bare, ours);
        pairs[1].add(asked, ours);
        pairs[2].add(bare_many, ours_many);
        pairs[3].add(asked_many, ours_many);
        pairs[4].add(bare, declared);
    }
    pairs.into()
}

fn cast(runtime: &Runtime, rounds: usize) -> Vec<Pair> {
    let mut pairs =
        [Pair::new("cast, until handled", Some(1.1)), Pair::new("cast, the sender's part", None)];
    for _ in 0..rounds {
        let (bare, bare_sending) = on_worker(runtime, by_hand::cast(CASTS));
        let (ours, ours_sending) = on_worker(runtime, supervised::cast(CASTS));
        pairs[0].add(bare.each(CASTS), ours.each(CASTS));
        pairs[1].add(bare_sending.each(CASTS), ours_sending.each(CASTS));
    }
    pairs.into()
}

fn call(runtime: &Runtime, rounds: usize) -> Vec<Pair> {
    let mut pairs = [
        Pair::new("call, to one with a time limit", None),
        Pair::new("call, to one without", None),
    ];
    for _ in 0..rounds {
        let within = on_worker(runtime, by_hand::call_within(CALLS)).each(CALLS);
        let ours = on_worker(runtime, supervised::call(CALLS)).each(CALLS);
        let without = on_worker(runtime, by_hand::call(CALLS)).each(CALLS);
        pairs[0].add(within, ours);
        pairs[1].add(without, ours);
    }
    pairs.into()
}

fn crash(runtime: &Runtime, rounds: usize) -> Vec<Pair> {
    let target = Some(2.0);
    let mut pairs = [
        Pair::new("panic to first answer, p50", target),
        Pair::new("panic to first answer, p99", target),
        Pair::new("panic to first answer, question held, p50", None),
        Pair::new("panic to first answer, question held, p99", None),
        Pair::new("error to first answer, p50", target),
        Pair::new("error to first answer, p99", target),
    ];
    for _ in 0..rounds {
        let mut bare = on_worker(runtime, by_hand::crash(CRASHES, true));
        let mut ours = on_worker(runtime, supervised::crash(CRASHES, true, 0));
        let mut held = on_worker(runtime, supervised::crash(CRASHES, true, 1));
        let mut bare_error = on_worker(runtime, by_hand::crash(CRASHES, false));
        let mut ours_error = on_worker(runtime, supervised::crash(CRASHES, false, 0));
        for (index, permille) in [(0, 500), (1, 990)] {
            let of = |took: &mut Vec<u64>| Each { wall: quantile(took, permille), cpu: None };
            let hand = of(&mut bare);
            pairs[index].add(hand, of(&mut ours));
            pairs[index + 2].add(hand, of(&mut held));
            pairs[index + 4].add(of(&mut bare_error), of(&mut ours_error));
        }
    }
    pairs.into()
}
