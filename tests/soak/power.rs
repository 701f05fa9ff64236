//! All processes are killed at once, as when the power fails, and started again.

use std::fmt::Write as _;
use std::time::Duration;

use evertree::base::{BootClock, Clock as _};

use super::nodes::{NAMES, loopback};
use super::tickers::{Plan, Trio};

/// Load before each kill, a little longer each time: the kills come at all moments.
const LOAD: Duration = Duration::from_millis(500);
const LONGER: Duration = Duration::from_millis(37);
const TICK: Duration = Duration::from_millis(50);

pub(crate) struct Report {
    pub(crate) text: String,
    /// Rules that did not hold.
    pub(crate) broken: Vec<String>,
}

/// So many times. Every shard is appended to and every counter answers, in `dev`, within `bound` of
/// the last start.
pub(crate) fn run(entry: &'static [&'static str], times: u32, bound: Duration) -> Report {
    let plan = Plan { entry, profile: "dev", seats: loopback(), tick: TICK };
    let mut trio = Trio::form(plan);
    let (mut text, mut broken) = (String::new(), Vec::new());
    let mut all = Vec::new();
    for time in 1..=times {
        // A pause, not a wait: nothing is expected of it.
        trio.within(LOAD + LONGER * time, |_| false);
        let owners = |trio: &Trio| {
            let newest = NAMES.iter().filter_map(|name| trio.view(name));
            newest.max_by_key(|(version, ..)| *version).map(|(_, _, owners)| owners.to_owned())
        };
        let before = owners(&trio);
        trio.kill(&NAMES);
        let mark = trio.mark();
        for name in NAMES {
            trio.start(name);
        }
        let started = BootClock.now();
        let serves = trio.until("all serve again", |trio| trio.serve_since(&mark));
        let after = serves.since(started);
        all.push(after);
        let moved = moved(&before.unwrap_or_default(), &owners(&trio).unwrap_or_default());
        let line = format!("time {time}: all serve {after:.2?} after the start, {moved} moved");
        println!("{line}");
        writeln!(text, "{line}").expect("a string takes it");
        if moved > 0 || after > bound {
            broken.push(line);
        }
    }
    let verdict = trio.finish();
    all.sort_unstable();
    let (middle, longest) = (all[all.len() / 2], all[all.len() - 1]);
    writeln!(
        text,
        "\nserving after {middle:.2?} at the median and {longest:.2?} at most, bound \
         {bound:?}\n{verdict}\nrules that did not hold: {}",
        broken.len() + verdict.broken.len()
    )
    .expect("a string takes it");
    broken.extend(verdict.broken);
    for rule in &broken {
        writeln!(text, "  {rule}").expect("a string takes it");
    }
    Report { text, broken }
}

/// Shards that have another owner than before.
fn moved(before: &str, after: &str) -> usize {
    assert_eq!(before.len(), after.len(), "as many shards as before");
    before.bytes().zip(after.bytes()).filter(|(one, other)| one != other).count()
}
