//! Long runs, whose figures are kept as evidence.

#[path = "soak/failover.rs"]
mod failover;
#[path = "soak/flood.rs"]
mod flood;
#[path = "soak/group.rs"]
mod group;
#[path = "soak/links.rs"]
mod links;
#[path = "soak/main_job.rs"]
mod main_job;
#[path = "soak/membership.rs"]
mod membership;
#[path = "processes/net.rs"]
mod net;
#[path = "processes/nodes.rs"]
mod nodes;
#[path = "soak/ownership.rs"]
mod ownership;
#[path = "soak/planted.rs"]
mod planted;
#[path = "soak/power.rs"]
mod power;
#[path = "simulation/run.rs"]
mod run;
#[path = "soak/sigstop.rs"]
mod sigstop;
#[path = "processes/tickers.rs"]
mod tickers;

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use evertree::sim::trial::Batch;
use main_job::Report;
use run::{run, seeds};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Fewer seeds are no evidence.
const SEEDS_MIN: u64 = 200;
const MEMBERSHIP_SEEDS_MIN: u64 = 1_000;
const OWNERSHIP_SEEDS: Range<u64> = 10_000..12_000;
/// Variables that change what a long run does: they belong to its command.
const VARIABLES: [&str; 12] = [
    "SIM_SEEDS",
    "LINKS_SECS",
    "LINKS_RATE",
    "LINKS_SEED",
    "FLOOD_SECS",
    "FLOOD_RATE",
    "GROUP_RUNS",
    "SIGSTOP_ROUNDS",
    "POWER_TIMES",
    "FAILOVER_RUNS",
    "PLANTED",
    "PLANTED_FROM",
];
/// Fewer are no evidence.
const SIGSTOP_ROUNDS_MIN: u64 = 10;
/// From SIGCONT until a process is well.
const BACK_WITHIN: Duration = Duration::from_secs(5);
const POWER_TIMES_MIN: u64 = 20;
/// From the last start until every shard is appended to and every counter answers, in `dev`.
const SERVING_WITHIN: Duration = Duration::from_millis(3_500);
const FAILOVER_RUNS_MIN: u64 = 60;
/// How this program becomes a process of a trio.
const TICKERS_ENTRY: &[&str] = &["--ignored", "--exact", "sigstop"];
/// Fewer runs of a fault are no evidence.
const GROUP_RUNS_MIN: u64 = 30;
/// A shorter run of links, or one of fewer messages, is no evidence.
const LINKS_LENGTH_MIN: Duration = Duration::from_mins(10);
const LINKS_MESSAGES_MIN: u64 = 100_000_000;
/// A shorter flood, or one of fewer connections a second, is no evidence.
const FLOOD_LENGTH_MIN: Duration = Duration::from_mins(1);
const FLOOD_RATE_MIN: u128 = 9_000;

fn git(arguments: &[&str]) -> String {
    let output = Command::new("git").args(arguments).current_dir(ROOT).output().expect("git runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// The commit, and what in the working tree differs from it; evidence itself does not count.
fn tree() -> String {
    let commit = git(&["rev-parse", "HEAD"]);
    let changed = git(&["status", "--porcelain", "--", ".", ":(exclude)docs/evidence"]);
    if changed.is_empty() {
        return format!("commit: {commit}\ntree: clean");
    }
    format!("commit: {commit}\ntree: dirty\n{changed}")
}

/// The evidence of a long run: command, commit and what it found. `begun` is the tree it began in.
fn evidence(name: &str, begun: &str, found: &str) -> String {
    let set = |name: &str| std::env::var(name).map(|value| format!("{name}={value} "));
    let set: String = VARIABLES.iter().filter_map(|name| set(name).ok()).collect();
    let command = format!("{set}cargo test --release --test soak -- --ignored {name}");
    let ended = tree();
    let became = if ended == begun { String::new() } else { format!("when it ended,\n{ended}\n") };
    format!("command: {command}\n{begun}\n{became}{found}")
}

fn keep(name: &str, text: &str) {
    let path = Path::new(ROOT).join(format!("docs/evidence/{name}.txt"));
    std::fs::create_dir_all(path.parent().expect("it has one")).expect("it can be made");
    std::fs::write(&path, text).expect("it can be written");
}

/// Goal: the main job passes every time, also on a busy machine. Method: twenty runs, ten of them
/// beside two busy loops, each with another moment of the kill.
#[test]
#[ignore = "takes ten minutes: cargo test --release --test soak -- --ignored main_job"]
fn main_job() {
    let begun = tree();
    let Report { text, failures } = main_job::run();
    keep("main_job", &evidence("main_job", &begun, &text));
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// Goal and method are those of `tests/simulation.rs`, over 200 seeds. With fewer it prints what it
/// found and keeps nothing: they would pass for the long run.
#[test]
#[ignore = "takes minutes: cargo test --release --test soak -- --ignored turmoil_seeds"]
fn turmoil_seeds() {
    let begun = tree();
    let seeds = seeds(0..SEEDS_MIN);
    let is_evidence = seeds.end - seeds.start >= SEEDS_MIN;
    let mut text = format!("seeds: {seeds:?}\n\n");
    let mut broken = Vec::new();
    let mut batch = Batch::default();
    for seed in seeds {
        let line = match run(seed) {
            Ok(figures) => {
                batch.add(&figures);
                format!("seed {seed}: {figures}")
            }
            Err(error) => {
                broken.push(seed);
                format!("seed {seed} BROKEN: {error}")
            }
        };
        println!("{line}");
        writeln!(text, "{line}").expect("a string takes it");
    }
    writeln!(text, "\nbroken: {broken:?}").expect("a string takes it");
    let text = evidence("turmoil_seeds", &begun, &text);
    if is_evidence {
        keep("turmoil_seeds", &text);
    } else {
        println!("\nnot kept, it takes {SEEDS_MIN} seeds:\n{text}");
    }
    assert!(broken.is_empty(), "broken seeds: {broken:?}; repeat one with SIM_SEEDS=a..b");
    batch.judge().unwrap_or_else(|why| panic!("{why}"));
}

/// Goal: among the nodes that nothing happens to nobody is ever found unreachable, and once all is
/// healed all agree, in 3 to 10 and 50 nodes. Method: the membership machines alone on a queue of
/// events, 1,000 seeds of random faults; see `evertree::sim::queue::Scenario`. With fewer seeds it
/// keeps nothing.
#[test]
#[ignore = "takes a minute: cargo test --release --test soak -- --ignored membership_seeds"]
fn membership_seeds() {
    let begun = tree();
    let seeds = seeds(0..MEMBERSHIP_SEEDS_MIN);
    let is_evidence = seeds.end - seeds.start >= MEMBERSHIP_SEEDS_MIN;
    let membership::Report { text, broken } = membership::run(seeds);
    let text = evidence("membership_seeds", &begun, &text);
    println!("{text}");
    if is_evidence {
        keep("membership_seeds", &text);
    }
    assert!(broken.is_empty(), "broken seeds: {broken:?}");
}

/// Goal: no seed breaks an invariant, and one cluster of 50 nodes does not. Method: the standard
/// run (`evertree::sim::trial`) of 2,000 seeds that no other test runs, in ranges of a hundred.
/// With fewer seeds it keeps nothing.
#[test]
#[ignore = "takes half an hour: cargo test --release --test soak -- --ignored ownership_seeds"]
fn ownership_seeds() {
    let begun = tree();
    let seeds = seeds(OWNERSHIP_SEEDS);
    let length = seeds.end - seeds.start;
    let is_evidence = length >= OWNERSHIP_SEEDS.end - OWNERSHIP_SEEDS.start;
    let fifty = ownership::fifty_nodes(seeds.start);
    let ownership::Report { text, broken, batch } = ownership::run(seeds);
    let text = format!("{}{text}", fifty.as_ref().unwrap_or_else(|broken| broken));
    let text = evidence("ownership_seeds", &begun, &text);
    println!("{text}");
    if is_evidence {
        keep("ownership_seeds", &text);
    }
    assert!(broken.is_empty() && fifty.is_ok(), "broken seeds: {broken:?}, {fifty:?}");
    batch.judge().unwrap_or_else(|why| panic!("{why}"));
}

/// Goal: each planted bug is found within 50 seeds by the invariants as they stand. Method: the
/// ignored unit test `planted_search`, which alone can plant them.
#[test]
#[ignore = "takes minutes: cargo test --release --test soak -- --ignored planted"]
fn planted() {
    let begun = tree();
    let (text, all_found) = planted::search(ROOT);
    let text = evidence("planted", &begun, &text);
    println!("{text}");
    assert!(all_found, "not every bug was found, see above");
    // A search for one bug is no evidence of all.
    if ["PLANTED", "PLANTED_FROM"].iter().all(|name| std::env::var(name).is_err()) {
        keep("planted", &text);
    }
}

fn number(variable: &str, default: u64) -> u64 {
    let number = |text: String| text.parse().expect("it is a number");
    std::env::var(variable).map_or(default, number)
}

/// Goal: two processes exchange 100 million messages over TLS in ten minutes, whatever is cut
/// between them: nothing twice, nothing out of order in its lane, every loss reported to its
/// sender, and no more memory at the end than after two minutes. Method: proxies that cut at random
/// moments, and the accounts of both sides compared. With `LINKS_SECS` below 600 or fewer messages
/// it keeps nothing.
#[test]
#[ignore = "takes ten minutes: cargo test --release --test soak -- --ignored links"]
fn links() {
    if links::was_node() {
        return;
    }
    let begun = tree();
    let links::Report { text, length, messages, broken, .. } = links::run(links::Plan {
        length: Duration::from_secs(number("LINKS_SECS", LINKS_LENGTH_MIN.as_secs())),
        per_second: number("LINKS_RATE", 240_000),
        seed: number("LINKS_SEED", 1),
    });
    let text = evidence("links", &begun, &text);
    println!("{text}");
    let is_enough = length >= LINKS_LENGTH_MIN && messages >= LINKS_MESSAGES_MIN;
    if is_enough {
        keep("links", &text);
    }
    assert!(broken.is_empty(), "{} rules did not hold, see above", broken.len());
    let is_short = std::env::var("LINKS_SECS").is_ok();
    assert!(is_enough || is_short, "{messages} messages in {length:?} are no evidence");
}

/// Goal and method are those of [`links`], for a few seconds.
#[test]
fn links_briefly() {
    let length = Duration::from_secs(5);
    let plan = links::Plan { length, per_second: 20_000, seed: 1 };
    let links::Report { text, messages, cuts, broken, .. } = links::run(plan);
    assert!(broken.is_empty(), "{text}");
    assert!(messages > 0 && cuts > 0, "nothing happened:\n{text}");
}

/// Goal: a flood of connections to one node of three disturbs nobody: no lease runs out, nobody is
/// called unreachable or evicted, every ask is answered, and neither memory nor sockets grow with
/// the flood. Method: 10,000 connections a second for a minute, as far as this machine can. With
/// `FLOOD_SECS` below 60 it keeps nothing.
#[test]
#[ignore = "takes a minute: cargo test --release --test soak -- --ignored flood"]
fn flood() {
    if flood::was_node() {
        return;
    }
    let begun = tree();
    let secs = number("FLOOD_SECS", FLOOD_LENGTH_MIN.as_secs());
    let per_second = number("FLOOD_RATE", 10_000);
    let plan = flood::Plan { length: Duration::from_secs(secs), per_second };
    let flood::Report { text, length, rate, broken } = flood::run(plan);
    let text = evidence("flood", &begun, &text);
    println!("{text}");
    if length >= FLOOD_LENGTH_MIN && rate >= FLOOD_RATE_MIN {
        keep("flood", &text);
    }
    assert!(broken.is_empty(), "{} rules did not hold, see above", broken.len());
}

/// Goal and method are those of [`flood`], for three seconds, and as many as a build without
/// optimisations takes.
#[test]
fn flood_briefly() {
    let plan = flood::Plan { length: Duration::from_secs(3), per_second: 2_000 };
    let flood::Report { text, broken, .. } = flood::run(plan);
    assert!(broken.is_empty(), "{text}");
}

/// Goal: how soon two of three real processes find the third gone, killed or silent. Method: 30
/// signals of each kind in each profile, at all moments between two probes. With fewer `GROUP_RUNS`
/// it keeps nothing.
#[test]
#[ignore = "takes five minutes: cargo test --release --test soak -- --ignored group_detection"]
fn group_detection() {
    let begun = tree();
    let runs = number("GROUP_RUNS", GROUP_RUNS_MIN);
    let group::Report { text, false_alarms } = group::run(u32::try_from(runs).expect("few"));
    let text = evidence("group_detection", &begun, &text);
    println!("{text}");
    if runs >= GROUP_RUNS_MIN {
        keep("group_detection", &text);
    }
    assert!(false_alarms.is_empty(), "false alarms:\n{}", false_alarms.join("\n"));
}

fn few(variable: &str, default: u64) -> u32 {
    u32::try_from(number(variable, default)).expect("few")
}

/// Goal: never two valid tenures of one shard, no answered addition lost, and every process back
/// within 5 s. Method: three real processes under load, each stopped for 4 s in turn, ten rounds;
/// then the event logs of all are judged. With fewer `SIGSTOP_ROUNDS` it keeps nothing.
#[test]
#[ignore = "takes four minutes: cargo test --release --test soak -- --ignored sigstop"]
fn sigstop() {
    if tickers::was_node() {
        return;
    }
    let begun = tree();
    let rounds = few("SIGSTOP_ROUNDS", SIGSTOP_ROUNDS_MIN);
    let sigstop::Report { text, broken } =
        sigstop::run(TICKERS_ENTRY, rounds, &nodes::NAMES, BACK_WITHIN);
    let text = evidence("sigstop", &begun, &text);
    println!("{text}");
    if u64::from(rounds) >= SIGSTOP_ROUNDS_MIN {
        keep("sigstop", &text);
    }
    assert!(broken.is_empty(), "{} rules did not hold, see above", broken.len());
}

/// Goal: after a power failure nothing moves, no answered addition is lost, and all serve within
/// 3.5 s. Method: all three processes killed at once, twenty times, under load; then the event logs
/// of all are judged. With fewer `POWER_TIMES` it keeps nothing.
#[test]
#[ignore = "takes a minute: cargo test --release --test soak -- --ignored power"]
fn power() {
    let begun = tree();
    let times = few("POWER_TIMES", POWER_TIMES_MIN);
    let power::Report { text, broken } = power::run(TICKERS_ENTRY, times, SERVING_WITHIN);
    let text = evidence("power", &begun, &text);
    println!("{text}");
    if u64::from(times) >= POWER_TIMES_MIN {
        keep("power", &text);
    }
    assert!(broken.is_empty(), "{} rules did not hold, see above", broken.len());
}

/// Goal: without one of three processes the others go on, p95, within 1.3 s, and within 1.9 s if it
/// led, and no lease of theirs runs out meanwhile. Method: 60 kills and 60 cuts of each, in network
/// namespaces, which takes root. With fewer `FAILOVER_RUNS` it keeps nothing.
#[test]
#[ignore = "takes twelve minutes: cargo test --release --test soak -- --ignored failover"]
fn failover() {
    let begun = tree();
    let runs = few("FAILOVER_RUNS", FAILOVER_RUNS_MIN);
    let failover::Report { text, missed, broken } = failover::run(TICKERS_ENTRY, runs);
    let text = evidence("failover", &begun, &text);
    println!("{text}");
    if u64::from(runs) >= FAILOVER_RUNS_MIN {
        keep("failover", &text);
    }
    assert!(broken.is_empty(), "{} rules did not hold, see above", broken.len());
    assert!(missed.is_empty(), "targets missed:\n{}", missed.join("\n"));
}
