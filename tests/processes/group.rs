//! Three processes with certificates, whatever happens to each of them in turn.
//!
//! Goal: the others find out, name who did, and take it in again; nobody accuses a node that runs.
//! Method: signals to real processes of the command; everything that any of them says of another
//! is kept, and judged at the end.

use std::time::Duration;

use evertree::base::{BootClock, Clock as _, Instant};
use rustix::process::Signal;

use crate::processes::nodes::{Group, NAMES, Said, Seat, Sight, loopback};

/// From a fault until both others say so. Measured: a few seconds; a busy machine may need more.
const FOUND_WITHIN: Duration = Duration::from_secs(20);
/// From the end of a fault until all see each other again.
const WELL_WITHIN: Duration = Duration::from_secs(30);

/// A fault: who may be accused, and from where to where in what was said.
struct Fault {
    node: &'static str,
    /// It is alone, so what it says of the others meanwhile is the truth for it.
    is_alone: bool,
    from: usize,
    to: usize,
}

/// A group, and the faults it has gone through.
pub(super) struct Story {
    pub(super) group: Group,
    faults: Vec<Fault>,
}

fn others(name: &str) -> Vec<&'static str> {
    NAMES.into_iter().filter(|other| *other != name).collect()
}

fn is_gone(sight: Sight) -> bool {
    matches!(sight, Sight::Unreachable | Sight::Evicted)
}

impl Story {
    pub(super) fn begin(profile: &'static str, seats: [Seat; 3]) -> Self {
        let begun = BootClock.now();
        let group = Group::form(profile, seats);
        println!("formed after {:?}", BootClock.now().since(begun));
        Self { group, faults: Vec::new() }
    }

    /// Something happens to `name`; both others must say `expected` of it. Returns where in what
    /// was said it begins.
    pub(super) fn found(
        &self,
        (what, name): (&str, &'static str),
        fault: impl FnOnce(&Group) -> Instant,
        expected: impl Fn(Sight) -> bool,
    ) -> usize {
        let from = self.group.mark();
        let at = fault(&self.group);
        for other in others(name) {
            self.group.until(&format!("{what} {name}: found by {other}"), |book| {
                let said = &book.said[from..];
                said.iter()
                    .any(|said| said.by == other && said.node == name && expected(said.sight))
            });
        }
        for said in self.group.since(from).iter().filter(|said| said.node == name) {
            let after = said.at.since(at);
            println!("{what} {name}: {said}, after {after:?}");
            let is_first = expected(said.sight) && said.by != name;
            assert!(!is_first || after < FOUND_WITHIN, "{what} {name}: {said} after {after:?}");
        }
        from
    }

    /// What happened to `name` is over; all must see each other again, `name` in a boot after
    /// `before`.
    pub(super) fn healed(
        &mut self,
        (what, name): (&str, &'static str),
        from: usize,
        before: u64,
        is_alone: bool,
    ) {
        let at = BootClock.now();
        self.group.until(&format!("{what} {name}: all see each other again"), |book| {
            book.is_well(&NAMES) && book.boot(name).is_some_and(|boot| boot > before)
        });
        self.group.until_linked(&format!("{what} {name}"));
        let after = BootClock.now().since(at);
        println!("{what} {name}: all is well in boot {}, after {after:?}", self.group.boot(name));
        assert!(after < WELL_WITHIN, "{what} {name}: well after {after:?}");
        self.faults.push(Fault { node: name, is_alone, from, to: self.group.mark() });
    }

    /// `kill -9`, seen by both others; then a restart.
    pub(super) fn kill(&mut self, name: &'static str) {
        let (what, before) = (("kill -9", name), self.group.boot(name));
        let from = self.found(what, |group| group.signal(name, Signal::KILL), is_gone);
        assert!(!self.group.ended(name).success(), "it was killed");
        self.group.start(name);
        self.healed(what, from, before, false);
    }

    /// `kill -9` and a restart at once.
    fn kill_and_start(&mut self, name: &'static str) {
        let (from, before) = (self.group.mark(), self.group.boot(name));
        self.group.signal(name, Signal::KILL);
        assert!(!self.group.ended(name).success(), "it was killed");
        self.group.start(name);
        self.healed(("kill -9 and restart", name), from, before, false);
    }

    /// SIGSTOP until both others have found out, then SIGCONT: it goes on in another boot if it was
    /// evicted, which a lease decides, and in the same one if it was only unreachable.
    pub(super) fn pause(&mut self, name: &'static str) {
        let (what, before) = (("SIGSTOP", name), self.group.boot(name));
        let from = self.found(what, |group| group.signal(name, Signal::STOP), is_gone);
        // Its lease has run out too, so that it must begin a new boot.
        self.group.until(&format!("{name} is evicted"), |book| {
            let said = &book.said[from..];
            said.iter().any(|said| said.node == name && said.sight == Sight::Evicted)
        });
        self.group.signal(name, Signal::CONT);
        self.healed(what, from, before, false);
    }

    /// SIGTERM: both others say that it left, and nobody that it failed; then a restart.
    fn leave(&mut self, name: &'static str) {
        let (what, before) = (("SIGTERM", name), self.group.boot(name));
        let is_left = |sight| sight == Sight::Left;
        let from = self.found(what, |group| group.signal(name, Signal::TERM), is_left);
        let status = self.group.ended(name);
        assert!(status.success(), "SIGTERM {name}: {status}");
        for said in self.group.since(from) {
            assert!(!is_gone(said.sight), "{name} left in order, and yet {said}");
        }
        self.group.start(name);
        self.healed(what, from, before, false);
    }

    /// Nobody was accused whom nothing had happened to; observers were named, and were others.
    pub(super) fn judge(self) {
        let mut suspected = 0;
        for (index, said) in self.group.since(0).into_iter().enumerate() {
            let within = |fault: &Fault| (fault.from..fault.to).contains(&index);
            let excuses =
                |fault: &Fault| fault.node == said.node || fault.is_alone && fault.node == said.by;
            let is_excused = self.faults.iter().any(|fault| within(fault) && excuses(fault));
            assert!(is_excused || !is_gone(said.sight), "nothing had happened to it: {said}");
            suspected += usize::from(!is_excused && said.sight == Sight::Suspect);
            let Said { node, observers, .. } = &said;
            let are_named = !observers.is_empty() && !observers.contains(node);
            assert!(said.sight != Sight::Unreachable || are_named, "{said}");
        }
        println!("a log line was read at most {:?} after its own time", self.group.lag_max());
        println!("{suspected} suspicions against nodes that nothing had happened to");
    }
}

#[test]
fn three_processes_survive_kill_stop_and_restart_of_each() {
    let mut story = Story::begin("dev", loopback());
    for name in NAMES {
        story.kill(name);
        story.kill_and_start(name);
        story.pause(name);
        story.leave(name);
    }
    story.judge();
}
