//! A judged run: random faults, then all is healed, and all views must agree.

use std::fmt;
use std::time::Duration;

use super::faults::RandomFaults;
use super::laws::Broken;
use super::machine::Reachability;
use super::setup::Setup;
use super::swarm::{Change, Swarm};
use crate::base::Instant;
use crate::placement::Profile;
use crate::sim::Trace;

/// Before the first fault all must see all.
const FORMED_WITHIN: Duration = Duration::from_secs(5);
/// How long faults come.
const FAULTS_FOR: Duration = Duration::from_secs(20);
/// Within this after the last fault all views agree.
const AGREE_WITHIN: Duration = Duration::from_secs(10);
/// Within this after agreement all have the cards of all: what was missed while a link was down is
/// learnt when two compare.
const CARDS_WITHIN: Duration = Duration::from_mins(1);
/// How often some node has something else to say of itself.
const SAYS_EVERY: Duration = Duration::from_millis(700);
/// How often it is looked whether they do.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Up to this loss no false alarm is let pass.
const STRICT_PERMILLE_MAX: u16 = 10;

/// What is run: everything follows from the seed and the number of nodes.
///
/// Random faults happen to a minority, the *victims*: to their processes, and to links that end at
/// one of them. Judged is:
///
/// - *No false alarm among the sound.* The others are never touched by a fault, and are a majority
///   in touch with one another. At no time does one of them find another unreachable, whatever the
///   victims say. Held at a loss of up to 10 permille; alarms at more loss are counted.
/// - *Agreement.* Within 10 s after the last fault every running node finds every running member
///   reachable, in its latest life, and every one that is gone for good unreachable.
/// - *Cards.* Within a further minute every running node has the latest card of every other.
/// - The [laws](Broken), after every step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// Fixes everything.
    pub seed: u64,
    /// How many, at least 3.
    pub nodes: usize,
}

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Everything that happened.
    pub trace: Trace,
    /// How many nodes.
    pub nodes: usize,
    /// Of 1000 segments, how many were lost.
    pub loss_permille: u16,
    /// Faults that began.
    pub faults: u64,
    /// Inputs of all machines.
    pub steps: u64,
    /// How often a node found another one unreachable.
    pub alarms: u64,
    /// Of those, how often a sound node found a sound one unreachable.
    pub false_alarms: u64,
    /// Nodes that were gone for good in the end.
    pub gone: usize,
    /// From the last fault's end to agreement.
    pub agreed_within: Duration,
    /// From there until all had all cards.
    pub cards_within: Duration,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} nodes at {} permille, {} faults, {} steps, {} alarms, {} false; {} gone in the \
             end, agreed within {} ms, cards {} ms later, trace {:016x}",
            self.nodes,
            self.loss_permille,
            self.faults,
            self.steps,
            self.alarms,
            self.false_alarms,
            self.gone,
            self.agreed_within.as_millis(),
            self.cards_within.as_millis(),
            self.trace.hash(),
        )
    }
}

impl Scenario {
    /// The scenario of a seed of the long runs: 3 to 10 nodes, every tenth seed 50.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let small = usize::try_from(seed % 8).map_or(3, |more| 3 + more);
        Self { seed, nodes: if seed % 10 == 9 { 50 } else { small } }
    }

    /// Every third seed loses 1 % of all segments, every twelfth 5 %.
    fn loss_permille(self) -> u16 {
        match self.seed % 12 {
            2 | 5 | 8 | 11 => 10,
            3 => 50,
            _ => 0,
        }
    }

    fn profile(self) -> Profile {
        if self.seed.is_multiple_of(2) { Profile::lan() } else { Profile::dev() }
    }

    /// Runs it.
    ///
    /// # Errors
    /// [`Broken`]: which law or judgement.
    pub fn run(self) -> Result<Figures, Broken> {
        let setup = Setup {
            loss_permille: self.loss_permille(),
            ..Setup::new(self.seed, self.nodes, self.profile())
        };
        let mut run = Run::new(self, setup);
        run.until(FORMED_WITHIN, disagreement)?;
        let end = run.swarm.now() + FAULTS_FOR;
        let mut says = run.swarm.now() + SAYS_EVERY;
        while run.swarm.now() < end {
            let next = run.faults.apply(&mut run.swarm)?;
            if run.swarm.now() >= says {
                says = run.swarm.now() + SAYS_EVERY;
                run.say()?;
            }
            run.pass(next.min(says).min(end))?;
        }
        run.faults.heal(&mut run.swarm)?;
        let agreed_within = run.until(AGREE_WITHIN, disagreement)?;
        let cards_within = run.until(CARDS_WITHIN, missing_card)?;
        Ok(run.figures(agreed_within, cards_within))
    }
}

struct Run {
    scenario: Scenario,
    swarm: Swarm,
    faults: RandomFaults,
    loss_permille: u16,
    alarms: u64,
    false_alarms: u64,
}

impl Run {
    fn new(scenario: Scenario, setup: Setup) -> Self {
        let loss_permille = setup.loss_permille;
        let faults = RandomFaults::new(scenario.seed, scenario.nodes);
        let swarm = Swarm::new(setup);
        Self { scenario, swarm, faults, loss_permille, alarms: 0, false_alarms: 0 }
    }

    fn pass(&mut self, until: Instant) -> Result<(), Broken> {
        self.swarm.run_until(until)?;
        for change in self.swarm.take_changes() {
            self.judge(&change)?;
        }
        Ok(())
    }

    fn judge(&mut self, change: &Change) -> Result<(), Broken> {
        if change.seen.reachability != Reachability::Unreachable {
            return Ok(());
        }
        self.alarms += 1;
        let victims = self.faults.victims();
        if victims.contains(&change.by) || victims.contains(&change.of) {
            return Ok(());
        }
        self.false_alarms += 1;
        if self.loss_permille > STRICT_PERMILLE_MAX {
            return Ok(());
        }
        let Change { at, by, of, seen } = change;
        let what = format!("false alarm: {by} and {of} are sound, and {by} finds {of} {seen:?}");
        Err(Broken { at: *at, what })
    }

    /// Some node has something else to say of itself.
    fn say(&mut self) -> Result<(), Broken> {
        let node = self.faults.draw_node();
        self.swarm.say(node)
    }

    /// Passes time until there is no fault to be found.
    fn until(
        &mut self,
        within: Duration,
        fault: fn(&Swarm) -> Option<String>,
    ) -> Result<Duration, Broken> {
        let began = self.swarm.now();
        loop {
            let Some(what) = fault(&self.swarm) else {
                return Ok(self.swarm.now().since(began));
            };
            if self.swarm.now().since(began) >= within {
                let what = format!("not within {within:?}: {what}");
                return Err(Broken { at: self.swarm.now(), what });
            }
            self.pass(self.swarm.now() + LOOK_EVERY)?;
        }
    }

    fn figures(self, agreed_within: Duration, cards_within: Duration) -> Figures {
        let Self { scenario, mut swarm, faults, loss_permille, alarms, false_alarms } = self;
        let nodes = scenario.nodes;
        Figures {
            nodes,
            loss_permille,
            faults: faults.begun(),
            steps: (0..nodes).map(|node| swarm.take_tally(node).steps).sum(),
            alarms,
            false_alarms,
            gone: (0..nodes).filter(|node| !swarm.is_running(*node)).count(),
            agreed_within,
            cards_within,
            trace: swarm.trace().clone(),
        }
    }
}

/// The first node that sees another one otherwise than it is.
pub(super) fn disagreement(swarm: &Swarm) -> Option<String> {
    let returning = |node: usize| {
        let gone = swarm.faults().iter().any(|fault| fault.of_process() == Some(node));
        !swarm.is_running(node) && !gone
    };
    if let Some(node) = (0..swarm.nodes()).find(|node| returning(*node)) {
        return Some(format!("node {node} is no member yet"));
    }
    for by in (0..swarm.nodes()).filter(|by| swarm.is_running(*by)) {
        for (&of, &boot) in swarm.committed().iter().filter(|(of, _)| **of != by) {
            let want = if swarm.is_running(of) {
                Reachability::Reachable
            } else {
                Reachability::Unreachable
            };
            let seen = swarm.seen(by, of);
            if seen.as_ref().is_none_or(|seen| (seen.boot, seen.reachability) != (boot, want)) {
                let doubt = swarm.self_doubt(by);
                return Some(format!(
                    "{of} is {want:?} in {boot}, and {by}, in doubt {doubt} of itself, finds \
                     {seen:?}"
                ));
            }
        }
    }
    None
}

/// The first running node that lacks the card of another.
fn missing_card(swarm: &Swarm) -> Option<String> {
    let running = || (0..swarm.nodes()).filter(|node| swarm.is_running(*node));
    let pairs = running().flat_map(|by| running().map(move |of| (by, of)));
    pairs.filter(|(by, of)| by != of).find_map(|(by, of)| swarm.card_missing(by, of))
}
