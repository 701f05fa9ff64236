//! The children, and who of them stands where.

use std::collections::BTreeSet;

use super::backoff::Row;
use super::intensity::Window;
use super::{Backoff, Intensity, Restart, Rule, Shutdown, Status};
use crate::base::{Instant, Keyed};

/// A start that is not a restart, and what its failure means. It holds until the child is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trial {
    /// Declared: the supervisor does not start.
    Declared,
    /// Added: the child is forgotten.
    Added,
    /// Asked for: the child rests again.
    Asked,
}

/// What becomes of a child that is to be terminated, when it is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doom {
    /// It is not to be terminated.
    None,
    /// It rests.
    Rests,
    /// It rests, and comes back with its group, which went down after the request.
    Returns,
}

/// What few children have.
#[derive(Debug, Clone)]
pub(super) struct Extra {
    pub(super) backoff: Option<Backoff>,
    pub(super) budget: Option<Intensity>,
    pub(super) row: Row,
    pub(super) window: Window,
}

/// A listed child. There may be 100,000 of them, so it is small.
#[derive(Debug, Clone)]
pub(super) struct Child {
    status: Status,
    pub(super) shutdown: Shutdown,
    extra: Option<Box<Extra>>,
    pub(super) restart: Restart,
    pub(super) trial: Option<Trial>,
    pub(super) doom: Doom,
    pub(super) significant: bool,
    pub(super) abandon_stuck: bool,
}

impl Child {
    fn new(rule: Rule, trial: Trial) -> Self {
        let Rule { restart, shutdown, significant, backoff, budget, abandon_stuck } = rule;
        let extra = (backoff.is_some() || budget.is_some()).then(|| {
            let (row, window) = (Row::default(), Window::default());
            Box::new(Extra { backoff, budget, row, window })
        });
        Self {
            status: Status::Due,
            shutdown,
            extra,
            restart,
            trial: Some(trial),
            doom: Doom::None,
            significant,
            abandon_stuck,
        }
    }

    fn marks(&self, grouped: bool) -> Marks {
        let mut marks = Marks { doomed: self.doom != Doom::None, ..Marks::default() };
        marks.place = match self.status {
            Status::Due => Place::Due,
            Status::BackingOff(until) => {
                marks.wake = Some(until);
                // In a group the ones after it wait for it; alone it holds nobody up.
                if grouped { Place::Due } else { Place::Nowhere }
            }
            Status::Starting => {
                marks.busy = 1;
                Place::Live
            }
            Status::Up => Place::Live,
            Status::Stopping(at) => {
                marks.timer = Some(at);
                Place::Live
            }
            Status::Killed { stuck_at, asked } => {
                marks.timer = Some(stuck_at);
                marks.busy = usize::from(!asked);
                Place::Live
            }
            Status::Stuck => {
                marks.stuck = 1;
                Place::Nowhere
            }
            Status::Resting => Place::Resting,
        };
        let leaves = marks.place == Place::Resting || self.doom == Doom::Rests;
        marks.significant = usize::from(self.significant && !leaves);
        marks
    }
}

/// In which of the sets of a [`List`] that exclude each other a child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    #[default]
    Nowhere,
    Live,
    Due,
    Resting,
}

/// In which of the sets and counts of a [`List`] a child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Marks {
    place: Place,
    doomed: bool,
    timer: Option<Instant>,
    wake: Option<Instant>,
    busy: usize,
    stuck: usize,
    significant: usize,
}

/// The listed children by key, which is their order; and what they say by status, so that no step
/// walks the whole list.
#[derive(Debug, Clone, Default)]
pub(super) struct List {
    grouped: bool,
    next_key: usize,
    children: Keyed<Child>,
    live: BTreeSet<usize>,
    due: BTreeSet<usize>,
    resting: BTreeSet<usize>,
    doomed: BTreeSet<usize>,
    timers: BTreeSet<(Instant, usize)>,
    wakes: BTreeSet<(Instant, usize)>,
    busy: usize,
    stuck: usize,
    significant: usize,
}

impl List {
    /// The declared children, all due. `grouped`: they go down and come back together.
    pub(super) fn new(rules: Vec<Rule>, grouped: bool) -> Self {
        let next_key = rules.len();
        let significant = rules.iter().filter(|rule| rule.significant).count();
        let children = rules.into_iter().map(|rule| Child::new(rule, Trial::Declared));
        let children = (0..).zip(children).collect();
        let due = (0..next_key).collect();
        Self { grouped, next_key, children, due, significant, ..Self::default() }
    }

    /// The key of the child that is added next.
    pub(super) fn next_key(&self) -> usize {
        self.next_key
    }

    /// Adds a child at the end, due: its key.
    pub(super) fn add(&mut self, rule: Rule) -> usize {
        let (key, child) = (self.next_key, Child::new(rule, Trial::Added));
        self.next_key += 1;
        let marks = child.marks(self.grouped);
        self.children.push(key, child);
        self.index(key, Marks::default(), marks);
        key
    }

    /// Takes a child off the list.
    pub(super) fn remove(&mut self, key: usize) {
        if let Some(child) = self.children.remove(key) {
            let marks = child.marks(self.grouped);
            self.index(key, marks, Marks::default());
        }
    }

    pub(super) fn get(&self, key: usize) -> Option<&Child> {
        self.children.get(key)
    }

    pub(super) fn status(&self, key: usize) -> Option<Status> {
        self.children.get(key).map(|child| child.status)
    }

    /// What the child has of backoff and budget.
    pub(super) fn extra(&self, key: usize) -> Option<&Extra> {
        self.children.get(key)?.extra.as_deref()
    }

    pub(super) fn extra_mut(&mut self, key: usize) -> Option<&mut Extra> {
        self.children.get_mut(key)?.extra.as_deref_mut()
    }

    pub(super) fn set(&mut self, key: usize, status: Status) {
        self.change(key, |child| child.status = status);
    }

    pub(super) fn doom(&mut self, key: usize, doom: Doom) {
        self.change(key, |child| child.doom = doom);
    }

    pub(super) fn set_trial(&mut self, key: usize, trial: Option<Trial>) {
        self.change(key, |child| child.trial = trial);
    }

    /// The child is down, to stay so or to be started anew.
    pub(super) fn settle(&mut self, key: usize, status: Status) {
        self.change(key, |child| {
            (child.status, child.trial, child.doom) = (status, None, Doom::None);
            if let Some(extra) = child.extra.as_deref_mut() {
                extra.row = Row::default();
            }
        });
    }

    /// A group restart starts every listed member, also one that is at rest or will be.
    ///
    /// Source: OTP stdlib, `supervisor:start_children/2`, which looks at no pid.
    pub(super) fn wake(&mut self, from: usize) {
        // Each came to rest by a step of its own, which pays for this one.
        let resting: Vec<usize> = self.resting.range(from..).copied().collect();
        for key in resting {
            self.set(key, Status::Due);
        }
        let doomed: Vec<usize> = self.doomed.range(from..).copied().collect();
        for key in doomed {
            self.doom(key, Doom::Returns);
        }
    }

    /// The last child from `from` on that may still run.
    pub(super) fn last_live(&self, from: usize) -> Option<usize> {
        self.live.range(from..).next_back().copied()
    }

    /// The first child that waits for its turn.
    pub(super) fn first_due(&self) -> Option<usize> {
        self.due.first().copied()
    }

    /// Whether a child is being started, or dies unasked.
    pub(super) fn busy(&self) -> bool {
        self.busy > 0
    }

    pub(super) fn any_stuck(&self) -> bool {
        self.stuck > 0
    }

    /// Whether a significant child is up, or is to be.
    pub(super) fn any_significant(&self) -> bool {
        self.significant > 0
    }

    /// When a child must be killed or given up.
    pub(super) fn first_timer(&self) -> Option<(Instant, usize)> {
        self.timers.first().copied()
    }

    /// When a backoff ends.
    pub(super) fn first_wake(&self) -> Option<(Instant, usize)> {
        self.wakes.first().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.children.len()
    }

    fn change(&mut self, key: usize, change: impl FnOnce(&mut Child)) {
        let Some(child) = self.children.get_mut(key) else { return };
        let old = child.marks(self.grouped);
        change(child);
        let new = child.marks(self.grouped);
        self.index(key, old, new);
    }

    fn index(&mut self, key: usize, old: Marks, new: Marks) {
        if old == new {
            return;
        }
        let place = |set: &mut BTreeSet<usize>, place: Place| {
            member(set, key, old.place == place, new.place == place);
        };
        place(&mut self.live, Place::Live);
        place(&mut self.due, Place::Due);
        place(&mut self.resting, Place::Resting);
        member(&mut self.doomed, key, old.doomed, new.doomed);
        timed(&mut self.timers, key, old.timer, new.timer);
        timed(&mut self.wakes, key, old.wake, new.wake);
        self.busy = self.busy + new.busy - old.busy;
        self.stuck = self.stuck + new.stuck - old.stuck;
        self.significant = self.significant + new.significant - old.significant;
    }

    /// Panics if a set or count is not what the children say.
    pub(super) fn check(&self) {
        let mut fresh = Self { grouped: self.grouped, ..Self::default() };
        let mut starting = 0;
        for (key, child) in self.children.iter() {
            assert!(key < self.next_key, "{key} was not given yet");
            fresh.index(key, Marks::default(), child.marks(self.grouped));
            starting += usize::from(child.status == Status::Starting);
            let (status, doom) = (child.status, child.doom);
            assert!(doom == Doom::None || status.live(), "{key} {status:?} is terminated already");
        }
        assert_eq!(fresh.live, self.live, "live");
        assert_eq!(fresh.due, self.due, "due");
        assert_eq!(fresh.resting, self.resting, "resting");
        assert_eq!(fresh.doomed, self.doomed, "doomed");
        assert_eq!(fresh.timers, self.timers, "timers");
        assert_eq!(fresh.wakes, self.wakes, "wakes");
        let counts = |list: &Self| (list.busy, list.stuck, list.significant);
        assert_eq!(counts(&fresh), counts(self), "busy, stuck, significant");
        assert!(!self.grouped || starting <= 1, "a group starts one by one");
        for extra in self.children.values().filter_map(|child| child.extra.as_deref()) {
            let most = extra.budget.map_or(0, |budget| budget.restarts as usize);
            assert!(extra.window.len() <= most, "too many restarts of one child");
        }
    }
}

fn member(set: &mut BTreeSet<usize>, key: usize, was: bool, is: bool) {
    match (was, is) {
        (false, true) => assert!(set.insert(key), "{key} is there already"),
        (true, false) => assert!(set.remove(&key), "{key} is not there"),
        (true, true) | (false, false) => {}
    }
}

fn timed(
    set: &mut BTreeSet<(Instant, usize)>,
    key: usize,
    was: Option<Instant>,
    is: Option<Instant>,
) {
    let real = |at: &Instant| *at != Instant::NEVER;
    let (was, is) = (was.filter(real), is.filter(real));
    if was != is {
        if let Some(at) = was {
            set.remove(&(at, key));
        }
        if let Some(at) = is {
            set.insert((at, key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_small() {
        assert!(size_of::<Status>() <= 16, "{}", size_of::<Status>());
        assert!(size_of::<Child>() <= 48, "{}", size_of::<Child>());
    }
}
