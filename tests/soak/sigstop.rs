//! Processes that are stopped for longer than their lease, under load, and go on.

use std::fmt::Write as _;
use std::time::Duration;

use rustix::process::Signal;

use super::nodes::{NAMES, loopback};
use super::tickers::{Plan, Trio};

/// How long a process is stopped: twice the lease of `dev`.
const STOPPED: Duration = Duration::from_secs(4);
const TICK: Duration = Duration::from_millis(50);

pub(crate) struct Report {
    pub(crate) text: String,
    /// Rules that did not hold.
    pub(crate) broken: Vec<String>,
}

/// Each of `stopped` in turn, so many rounds; each well within `bound` of SIGCONT.
pub(crate) fn run(
    entry: &'static [&'static str],
    rounds: u32,
    stopped: &[&'static str],
    bound: Duration,
) -> Report {
    let plan = Plan { entry, profile: "dev", seats: loopback(), tick: TICK };
    let mut trio = Trio::form(plan);
    let (mut text, mut broken) = (String::new(), Vec::new());
    let mut longest = Duration::ZERO;
    for round in 1..=rounds {
        for &name in stopped {
            let before = trio.view(name).map(|(_, members, _)| members[name]);
            let led = trio.leader() == Some(name);
            trio.signal(name, Signal::STOP);
            // It lasts, whatever happens meanwhile.
            trio.within(STOPPED, |_| false);
            let mark = trio.mark();
            let at = trio.signal(name, Signal::CONT);
            let back = trio.until(&format!("{name} is back"), |trio| trio.is_back(name, &mark));
            let after = back.since(at);
            longest = longest.max(after);
            let boot = trio.view(name).map(|(_, members, _)| members[name]);
            let what = if boot == before { "in the same boot" } else { "in another boot" };
            let leader = if led { ", the leader," } else { "" };
            let line = format!("round {round}: {name}{leader} is back after {after:.2?}, {what}");
            println!("{line}");
            writeln!(text, "{line}").expect("a string takes it");
            if after > bound {
                broken.push(line);
            }
            trio.until("all have a lease", |trio| NAMES.iter().all(|name| trio.has_lease(name)));
        }
    }
    let verdict = trio.finish();
    writeln!(
        text,
        "\nback after {longest:.2?} at most, bound {bound:?}\n{verdict}\nrules that did not \
         hold: {}",
        broken.len() + verdict.broken.len()
    )
    .expect("a string takes it");
    broken.extend(verdict.broken);
    for rule in &broken {
        writeln!(text, "  {rule}").expect("a string takes it");
    }
    Report { text, broken }
}
