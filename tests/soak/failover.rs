//! How soon two of three real processes go on without the third, whether it led or not, was killed
//! or cut off; and what a node costs while nothing happens.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::{Child, Stdio};
use std::time::Duration;

use evertree::base::{BootClock, Clock as _, Instant};

use super::net::Net;
use super::nodes::{Group, NAMES, loopback};
use super::tickers::{Fact, Mark, Plan, Trio, Verdict};

const TICK: Duration = Duration::from_millis(100);
/// The faults fall on all moments between two renewals of `lan`.
const RENEW: Duration = Duration::from_millis(200);
/// How long the load of a node that does nothing is counted.
const IDLE: Duration = Duration::from_mins(1);
/// Units in which Linux tells the time that a process took, a second.
const USER_HZ: u64 = 100;
/// Load before a fault.
const LOAD: Duration = Duration::from_millis(500);
/// How long the counters of a lost process may be without an answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);
/// Targets at the 95th percentile, and of the leases of others when the leader dies.
const FOLLOWER_P95: Duration = Duration::from_millis(1_300);
const LEADER_P95: Duration = Duration::from_millis(1_900);
const LAPSED_PERCENT_MAX: usize = 2;
const IDLE_PERCENT_MAX: f64 = 1.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Killed,
    CutOff,
}

/// What a fault led to, from its moment on.
#[derive(Debug, Default)]
struct Run {
    /// The last survivor applied a view without the lost process.
    view: Duration,
    /// A survivor took another one for the leader; empty if a follower was lost.
    leader: Option<Duration>,
    /// Of the counters that the lost process owned: the first that answered, and the last.
    answers: Option<(Duration, Duration)>,
    /// The lost process owned counters.
    owned: bool,
    /// Survivors whose lease ran out.
    lapsed: usize,
}

pub(crate) struct Report {
    pub(crate) text: String,
    /// Targets that were missed.
    pub(crate) missed: Vec<String>,
    /// Rules that did not hold.
    pub(crate) broken: Vec<String>,
}

/// `runs` of each fault.
pub(crate) fn run(entry: &'static [&'static str], runs: u32) -> Report {
    let net = Net::new().unwrap_or_else(|why| panic!("network namespaces are needed: {why}"));
    let mut verdict = Verdict::default();
    let mut text = String::from(
        "Profile lan, three new processes each time; s from the fault, p50 / p95 / max. view: the \
         last survivor has applied a view without the lost one. leader: the first survivor knows \
         another leader. answer: of the counters that the lost one owned the first has answered, \
         and the last. lapsed: leases of the others that ran out.\n\n\
         | lost | fault | runs | view | leader | first answer | last answer | lapsed |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    let (mut missed, mut others) = (Vec::new(), String::new());
    let mut rule = |holds: bool, what: String| {
        if !holds {
            missed.push(what);
        }
    };
    for leads in [false, true] {
        let mut lapsed = 0;
        for fault in [Fault::Killed, Fault::CutOff] {
            let mut all = Vec::new();
            for number in 0..runs {
                // A pause, not a wait: the faults fall on all moments between two renewals.
                let load = LOAD + RENEW * number / runs;
                let plan = Plan { entry, profile: "lan", seats: net.seats(), tick: TICK };
                let (run, found) = one(plan, &net, (leads, fault, number), load);
                verdict += found;
                println!("{number}: leader {leads}, {fault:?}: {run:.2?}");
                let what =
                    format!("run {number}, leader {leads}, {fault:?}: every counter answers");
                rule(run.answers.is_some() || !run.owned, what);
                all.push(run);
            }
            lapsed += all.iter().map(|run| run.lapsed).sum::<usize>();
            let p95 = row(&mut text, (leads, fault), &all);
            let target = if leads { LEADER_P95 } else { FOLLOWER_P95 };
            let what = format!("leader {leads}, {fault:?}: p95 {p95:.2?}, target {target:.1?}");
            rule(p95 <= target, what);
        }
        let healthy = 2 * 2 * usize::try_from(runs).expect("few");
        let what = format!("leader {leads}: {lapsed} of {healthy} leases of others ran out");
        writeln!(others, "{what}").expect("a string takes it");
        rule(!leads || lapsed * 100 <= healthy * LAPSED_PERCENT_MAX, what);
    }
    writeln!(text, "\n{others}\n{verdict}\n").expect("as above");
    for (name, percent) in idle() {
        let what = format!("at rest, dev: {name} takes {percent:.2} % of a core over {IDLE:?}");
        writeln!(text, "{what}").expect("as above");
        rule(percent < IDLE_PERCENT_MAX, what);
    }
    for (what, lines) in [("targets missed", &missed), ("rules broken", &verdict.broken)] {
        writeln!(text, "\n{what}: {}", lines.len()).expect("as above");
        for line in lines {
            writeln!(text, "  {line}").expect("as above");
        }
    }
    Report { text, missed, broken: verdict.broken }
}

fn letter(name: &str) -> char {
    name.chars().last().expect("a name")
}

/// In which shard each counter is.
fn shards(trio: &Trio) -> impl Iterator<Item = (u16, u16)> {
    // A process says it before anything else.
    trio.lives[0].entries.iter().map_while(|entry| match &entry.fact {
        Fact::Counter { counter, shard } => Some((*counter, *shard)),
        _ => None,
    })
}

/// The counters in shards that `name` owns.
fn owned(trio: &Trio, name: &str) -> BTreeSet<u16> {
    let (_, _, owners) = trio.view(name).expect("it has seen one");
    let owners: Vec<char> = owners.chars().collect();
    let owned = shards(trio).filter(|(_, shard)| owners[usize::from(*shard)] == letter(name));
    owned.map(|(counter, _)| counter).collect()
}

fn one(
    plan: Plan,
    net: &Net,
    (leads, fault, number): (bool, Fault, u32),
    load: Duration,
) -> (Run, Verdict) {
    let mut trio = Trio::form(plan);
    trio.within(load, |_| false);
    trio.until("all know one leader", |trio| trio.leader().is_some());
    let leader = trio.leader().expect("it was just known");
    let others: Vec<_> = NAMES.into_iter().filter(|name| *name != leader).collect();
    let lost = if leads { leader } else { others[number as usize % others.len()] };
    let survivors: Vec<_> = NAMES.into_iter().filter(|name| *name != lost).collect();
    let counters = owned(&trio, lost);
    let mark = trio.mark();
    let at = match fault {
        Fault::Killed => trio.kill(&[lost]),
        Fault::CutOff => {
            let at = BootClock.now();
            net.port(lost, "down");
            at
        }
    };
    let mut run = Run { owned: !counters.is_empty(), ..Run::default() };
    let mut views = Vec::new();
    trio.until(&format!("{fault:?}: both have a view without {lost}"), |trio| {
        views = survivors.iter().filter_map(|name| gone(trio, name, lost, &mark)).collect();
        views.len() == survivors.len()
    });
    run.view = views.iter().max().expect("two").since(at);
    trio.within(ANSWERS_WITHIN, |trio| {
        let answers = counters.iter().map(|counter| answer(trio, &survivors, *counter, &mark));
        let answers: Option<Vec<Instant>> = answers.collect();
        let ends = answers.and_then(|all| Some((*all.iter().min()?, *all.iter().max()?)));
        run.answers = ends.map(|(first, last)| (first.since(at), last.since(at)));
        counters.is_empty() || run.answers.is_some()
    });
    for name in &survivors {
        let noted = trio.since(name, &mark);
        let has_lapsed = |fact: &Fact| matches!(fact, Fact::Lapse { .. });
        run.lapsed += usize::from(noted.iter().any(|entry| has_lapsed(&entry.fact)));
        let other = noted
            .iter()
            .find(|entry| matches!(&entry.fact, Fact::Leader { node: Some(node) } if node != lost));
        let other = other.filter(|_| leads).map(|entry| entry.at.since(at));
        run.leader = run.leader.into_iter().chain(other).min();
    }
    if fault == Fault::CutOff {
        trio.kill(&[lost]);
        net.port(lost, "up");
    }
    (run, trio.finish())
}

/// When `by` applied its first view without `lost`.
fn gone(trio: &Trio, by: &str, lost: &str, mark: &Mark) -> Option<Instant> {
    let without =
        |fact: &Fact| matches!(fact, Fact::View { members, .. } if !members.contains_key(lost));
    trio.since(by, mark).iter().find(|entry| without(&entry.fact)).map(|entry| entry.at)
}

/// When any of `survivors` had an answer of `counter` after it knew the view without its owner.
fn answer(trio: &Trio, survivors: &[&str], counter: u16, mark: &Mark) -> Option<Instant> {
    let of = |name: &&str| {
        let noted = trio.since(name, mark);
        let mut noted = noted.iter().skip_while(|entry| {
            !matches!(&entry.fact, Fact::View { members, .. } if members.len() < NAMES.len())
        });
        let is_it =
            |fact: &Fact| matches!(fact, Fact::Answer { counter: of, .. } if *of == counter);
        noted.find(|entry| is_it(&entry.fact)).map(|entry| entry.at)
    };
    survivors.iter().filter_map(of).min()
}

/// A row of the table; the 95th percentile of the view.
fn row(text: &mut String, (leads, fault): (bool, Fault), all: &[Run]) -> Duration {
    let of = |pick: fn(&Run) -> Option<Duration>| spread(all.iter().filter_map(pick).collect());
    let shown = |[p50, p95, max]: [Duration; 3]| {
        let secs = |time: Duration| time.as_secs_f64();
        format!("{:.2} / {:.2} / {:.2}", secs(p50), secs(p95), secs(max))
    };
    let (view, leader) = (of(|run| Some(run.view)), of(|run| run.leader));
    let first = of(|run| run.answers.map(|(first, _)| first));
    let last = of(|run| run.answers.map(|(_, last)| last));
    let lapsed: usize = all.iter().map(|run| run.lapsed).sum();
    let who = if leads { "leader" } else { "follower" };
    let fault = match fault {
        Fault::Killed => "kill -9",
        Fault::CutOff => "cut off",
    };
    let (p95, view) = (view[1], shown(view));
    let (first, last) = (shown(first), shown(last));
    let leader = if leads { shown(leader) } else { String::new() };
    let runs = all.len();
    writeln!(
        text,
        "| {who} | {fault} | {runs} | {view} | {leader} | {first} | {last} | {lapsed} of {} |",
        2 * runs
    )
    .expect("a string takes it");
    p95
}

/// p50, p95 and the longest, by nearest rank; zero of none.
fn spread(mut times: Vec<Duration>) -> [Duration; 3] {
    times.sort_unstable();
    [50, 95, 100].map(|percent| {
        let rank = (times.len() * percent).div_ceil(100).saturating_sub(1);
        times.get(rank).copied().unwrap_or_default()
    })
}

/// What each of three nodes of the command takes of a core while nothing happens, in percent.
fn idle() -> Vec<(&'static str, f64)> {
    let group = Group::new("dev", loopback());
    let start = |name| {
        let mut command = group.command(name, &[]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Running(command.spawn().expect("it runs"))
    };
    let nodes = NAMES.map(start);
    group.until_linked("at rest");
    let before = nodes.each_ref().map(Running::cpu);
    group.within(IDLE, |_| false);
    let after = nodes.each_ref().map(Running::cpu);
    let percent = |(before, after): (&Duration, Duration)| {
        after.saturating_sub(*before).as_secs_f64() / IDLE.as_secs_f64() * 100.0
    };
    NAMES.into_iter().zip(before.iter().zip(after).map(percent)).collect()
}

/// A process, killed when dropped.
struct Running(Child);

impl Running {
    /// The time of processors that it has taken.
    fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).expect("/proc");
        // pid (command) state ..: its time as user and in the kernel are the 12th and 13th of it.
        let (_, rest) = stat.rsplit_once(") ").expect("a command");
        let ticks = rest.split(' ').skip(11).take(2).map(str::parse::<u64>);
        let ticks: u64 = ticks.map(|ticks| ticks.expect("a number")).sum();
        Duration::from_millis(ticks * 1_000 / USER_HZ)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
