//! How soon three real processes find one of them gone.

use std::fmt::Write as _;
use std::time::Duration;

use rustix::process::Signal;

use crate::nodes::{Group, NAMES, Sight, loopback};

/// A profile, and how much later after all is well each run's fault comes, in all at most the time
/// between two probes: the faults fall on all moments of it.
const PROFILES: [(&str, Duration); 2] =
    [("lan", Duration::from_millis(300)), ("dev", Duration::from_millis(500))];

/// What becomes of one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gone {
    Killed,
    Silent,
}

/// Of one run, after the fault.
#[derive(Debug, Default)]
struct Run {
    /// When the first other and when the last one suspected it, found it unreachable, saw it
    /// evicted, or heard the earlier of the latter two; empty where it did not come to that.
    suspect: Vec<Duration>,
    unreachable: Vec<Duration>,
    evicted: Vec<Duration>,
    gone: Vec<Duration>,
    /// Said of somebody else.
    false_alarms: Vec<String>,
}

pub(crate) struct Report {
    pub(crate) text: String,
    pub(crate) false_alarms: Vec<String>,
}

/// `runs` of each kind of fault in each profile, of the three nodes in turn.
pub(crate) fn run(runs: u32) -> Report {
    let mut text = String::from(
        "Seconds from the signal. first: of the others the first that says so; both: the last.\n\
         gone: found unreachable, or evicted where that comes first.\n\n\
         | profile | fault | what | runs | first p50 / p99 / max | both p50 / p99 / max |\n\
         |---|---|---|---|---|---|\n",
    );
    let mut false_alarms = Vec::new();
    let mut lag = Duration::ZERO;
    for (profile, period) in PROFILES {
        let mut group = Group::form(profile, loopback());
        for gone in [Gone::Killed, Gone::Silent] {
            let mut all = Vec::new();
            for number in 0..runs {
                // A pause, not a wait: nothing is expected of it.
                group.within(period * number / runs, |_| false);
                all.push(one(&mut group, gone, NAMES[number as usize % NAMES.len()]));
            }
            rows(&mut text, (profile, gone), &all);
            false_alarms.extend(all.into_iter().flat_map(|run| run.false_alarms));
        }
        lag = lag.max(group.lag_max());
    }
    writeln!(text, "\nfalse alarms: {}", false_alarms.len()).expect("a string takes it");
    writeln!(text, "a line of a log was read at most {lag:?} after its own time")
        .expect("as above");
    Report { text, false_alarms }
}

fn one(group: &mut Group, gone: Gone, victim: &'static str) -> Run {
    let (from, before) = (group.mark(), group.boot(victim));
    let signal = match gone {
        Gone::Killed => Signal::KILL,
        Gone::Silent => Signal::STOP,
    };
    let at = group.signal(victim, signal);
    let others: Vec<_> = NAMES.into_iter().filter(|name| *name != victim).collect();
    // Eviction ends what is observed; who was found unreachable is evicted a little later.
    group.until(&format!("{gone:?} {victim}: evicted for both"), |book| {
        let sees = |by| book.sees(by, victim).is_some_and(|said| said.sight == Sight::Evicted);
        others.iter().all(|by| sees(by))
    });
    let mut run = Run::default();
    for by in others {
        let said = group.since(from).into_iter().filter(|said| said.by == by);
        let said: Vec<_> = said.filter(|said| said.node == victim).collect();
        let first = |sights: &[Sight]| {
            let found = said.iter().find(|said| sights.contains(&said.sight));
            found.map(|said| said.at.since(at))
        };
        run.suspect.extend(first(&[Sight::Suspect]));
        run.unreachable.extend(first(&[Sight::Unreachable]));
        run.evicted.extend(first(&[Sight::Evicted]));
        run.gone.extend(first(&[Sight::Unreachable, Sight::Evicted]));
    }
    match gone {
        Gone::Killed => {
            group.ended(victim);
            group.start(victim);
        }
        Gone::Silent => {
            group.signal(victim, Signal::CONT);
        }
    }
    group.until(&format!("{gone:?} {victim}: all is well again"), |book| {
        book.is_well(&NAMES) && book.boot(victim).is_some_and(|boot| boot > before)
    });
    group.until_linked(&format!("{gone:?} {victim}"));
    let is_alarm = |sight| matches!(sight, Sight::Unreachable | Sight::Evicted);
    let alarms = group.since(from).into_iter();
    let alarms = alarms.filter(|said| said.node != victim && is_alarm(said.sight));
    run.false_alarms = alarms.map(|said| said.to_string()).collect();
    run
}

type Pick = fn(&Run) -> &Vec<Duration>;

fn rows(text: &mut String, (profile, gone): (&str, Gone), all: &[Run]) {
    let picks: [(&str, Pick); 4] = [
        ("suspect", |run| &run.suspect),
        ("unreachable", |run| &run.unreachable),
        ("evicted", |run| &run.evicted),
        ("gone", |run| &run.gone),
    ];
    for (what, pick) in picks {
        let first: Vec<_> = all.iter().filter_map(|run| pick(run).iter().min().copied()).collect();
        let both = all.iter().map(pick).filter(|times| times.len() == NAMES.len() - 1);
        let both: Vec<_> = both.filter_map(|times| times.iter().max().copied()).collect();
        let gone = format!("{gone:?}").to_lowercase();
        let runs = format!("{} of {} both, {} first", both.len(), all.len(), first.len());
        let (first, both) = (spread(first), spread(both));
        writeln!(text, "| {profile} | {gone} | {what} | {runs} | {first} | {both} |")
            .expect("a string takes it");
    }
}

/// p50 / p99 / max by nearest rank, in seconds.
fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let rank = |permille: usize| (times.len() * permille).div_ceil(1000).saturating_sub(1);
    let at = |permille| times.get(rank(permille)).map_or(0.0, Duration::as_secs_f64);
    if times.is_empty() {
        return "none".into();
    }
    format!("{:.2} / {:.2} / {:.2}", at(500), at(990), at(1000))
}
