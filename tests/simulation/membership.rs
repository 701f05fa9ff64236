//! One run of whole nodes that watch each other: faults come and go, all is healed, one node dies,
//! one leaves; and whoever was not concerned must never be taken for gone.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use evertree::membership::{MemberChange, MemberEvents, Reachability};
use evertree::node::Node;
use evertree::placement::Profile;
use evertree::sim::{Broken, Fault, FaultKind, Faults, Setup, Trace, World};
use futures::FutureExt as _;

/// How many nodes the world of a seed has: from 3 to 10.
const NODES: [usize; 8] = [3, 5, 10, 4, 7, 6, 9, 8];
/// Within this all nodes are members for the first time.
const FORMED_WITHIN: Duration = Duration::from_secs(30);
/// How long faults come.
const FAULTS_FOR: Duration = Duration::from_secs(15);
/// Within this after the last fault everybody finds everybody reachable.
const HEALED_WITHIN: Duration = Duration::from_secs(20);
/// Within this a node that is dead is a member no more, or unreachable, for all.
const MISSED_WITHIN: Duration = Duration::from_secs(8);
/// How long a node that left is listened about.
const LEFT_FOR: Duration = Duration::from_secs(6);
/// A fault may show as long after its end: words about it are on their way, links are dialled anew.
const AFTERMATH: Duration = Duration::from_secs(4);
/// How often the nodes are asked what they observe, in steps.
const LOOK_EVERY: u64 = 10;
/// Events of one node that wait to be looked at.
const EVENTS_MAX: usize = 10_000;

/// What may go wrong, by how often it stands here.
const KINDS: [FaultKind; 12] = [
    FaultKind::PowerLoss,
    FaultKind::Killed,
    FaultKind::Killed,
    FaultKind::Stopped,
    FaultKind::Stopped,
    FaultKind::Stopped,
    FaultKind::Isolated,
    FaultKind::Cut,
    FaultKind::Cut,
    FaultKind::OneWay,
    FaultKind::Mute,
    FaultKind::Deaf,
];

/// The loss of a seed's links, of 1000 segments: every third seed has 10.
fn loss_permille(seed: u64) -> u16 {
    if seed % 3 == 2 { 10 } else { 0 }
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) trace: Trace,
    nodes: usize,
    faults: u64,
    lost: u64,
    /// Looks of one node at another, neither of them nor a majority concerned by any fault.
    pub(crate) looks: u64,
    /// How often a node newly found another one unreachable.
    pub(crate) found: u64,
    healed_within: Duration,
    missed_within: Duration,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} nodes, {} faults, {} segments lost, {} looks at those not concerned, {} times \
             unreachable; healed within {} ms, a dead one missed within {} ms, trace {:016x}",
            self.nodes,
            self.faults,
            self.lost,
            self.looks,
            self.found,
            self.healed_within.as_millis(),
            self.missed_within.as_millis(),
            self.trace.hash(),
        )
    }
}

struct Run {
    world: World,
    nodes: usize,
    /// Until when a fault concerns each host.
    concerned: Vec<Duration>,
    /// Who found whom unreachable at the last look: `[observer][other]`.
    missed: Vec<Vec<bool>>,
    looks: u64,
    found: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let nodes = NODES[usize::try_from(seed % NODES.len() as u64).expect("it is small")];
        let world = World::new(Setup {
            seed,
            nodes,
            shards: 16,
            profile: Profile::dev(),
            replace_voters_after: Duration::from_secs(30),
            tick: Duration::from_millis(1),
            loss_permille: loss_permille(seed),
            prepare: Arc::new(|node| node),
            load: Arc::new(|_, _| std::future::pending().boxed_local()),
        });
        Self {
            world,
            nodes,
            concerned: vec![Duration::ZERO; nodes],
            missed: vec![vec![false; nodes]; nodes],
            looks: 0,
            found: 0,
        }
    }

    fn broken(&self, what: String) -> Broken {
        Broken { step: self.world.steps(), what }
    }

    /// One step, in which these faults go on.
    fn step(&mut self, faults: &[Fault]) -> Result<(), Broken> {
        let until = self.world.elapsed() + AFTERMATH;
        for fault in faults {
            let (one, other) = fault.hosts();
            for host in [one, other].into_iter().flatten() {
                self.concerned[host] = until;
            }
        }
        self.world.step()?;
        if self.world.steps().is_multiple_of(LOOK_EVERY) {
            self.look()?;
        }
        Ok(())
    }

    /// Safety: while no fault concerns either of two nodes or a majority, neither finds the other
    /// unreachable that it did not before.
    fn look(&mut self) -> Result<(), Broken> {
        let now = self.world.elapsed();
        let calm: Vec<bool> = self.concerned.iter().map(|until| *until <= now).collect();
        let majority = calm.iter().filter(|calm| **calm).count() > self.nodes / 2;
        for one in 0..self.nodes {
            let Some(node) = self.world.node(one) else {
                self.missed[one].fill(false);
                continue;
            };
            let observed = node.observed();
            for other in (0..self.nodes).filter(|other| *other != one) {
                let seen = observed.get(name(other).as_str());
                let misses = seen.is_some_and(|(_, seen)| *seen == Reachability::Unreachable);
                self.world.note(u64::from(misses));
                let is_new = misses && !self.missed[one][other];
                self.missed[one][other] = misses;
                self.found += u64::from(is_new);
                if !(majority && calm[one] && calm[other]) {
                    continue;
                }
                self.looks += 1;
                if is_new {
                    let (one, other) = (name(one), name(other));
                    let what = format!("{one} finds {other} unreachable, and no fault is near");
                    return Err(self.broken(what));
                }
            }
        }
        Ok(())
    }

    /// Steps until `done`, which is asked every now and then; how long it took.
    fn until(
        &mut self,
        within: Duration,
        faults: &[Fault],
        done: impl Fn(&Self) -> Result<(), String>,
    ) -> Result<Duration, Broken> {
        let began = self.world.elapsed();
        loop {
            let took = self.world.elapsed().saturating_sub(began);
            match done(self) {
                Ok(()) => return Ok(took),
                Err(what) if took > within => {
                    return Err(self.broken(format!("after {within:?} {what}")));
                }
                Err(_) => {}
            }
            for _ in 0..LOOK_EVERY {
                self.step(faults)?;
            }
        }
    }

    /// Liveness: every node finds every other one, in its present life, reachable.
    fn all_see_all(&self) -> Result<(), String> {
        for one in 0..self.nodes {
            let node = self.world.node(one).ok_or_else(|| format!("{} is not up", name(one)))?;
            let members = node.members();
            for other in 0..self.nodes {
                let name = name(other);
                let Some(member) = members.iter().find(|member| member.node.as_str() == name)
                else {
                    return Err(format!("{name} is no member for {}", node.name()));
                };
                if member.reachability != Reachability::Reachable {
                    return Err(format!("{name} is not reachable for {}", node.name()));
                }
            }
        }
        Ok(())
    }

    /// Liveness: nobody else finds `dead` reachable.
    fn all_miss(&self, dead: usize) -> Result<(), String> {
        let name = name(dead);
        for one in (0..self.nodes).filter(|one| *one != dead) {
            let node = self.world.node(one).ok_or_else(|| format!("n{} is not up", one + 1))?;
            let there = node.members().into_iter().find(|member| member.node.as_str() == name);
            if there.is_some_and(|member| member.reachability != Reachability::Unreachable) {
                return Err(format!("{name} is not missed by {}", node.name()));
            }
        }
        Ok(())
    }

    /// A node that leaves of its own will is said to have left, and never to have failed.
    fn leave(&mut self, leaver: usize) -> Result<(), Broken> {
        let fault = Fault::Left(leaver);
        let others: Vec<Node> = (0..self.nodes)
            .filter(|one| *one != leaver)
            .filter_map(|one| self.world.node(one))
            .collect();
        let mut events: Vec<MemberEvents> =
            others.iter().map(|node| node.member_events(EVENTS_MAX)).collect();
        self.world.begin(fault);
        let end = self.world.elapsed() + LEFT_FOR;
        while self.world.elapsed() < end {
            self.step(&[fault])?;
        }
        for (node, events) in others.iter().zip(&mut events) {
            let mut left = 0;
            while let Some(event) = events.try_recv() {
                if event.node.as_str() != name(leaver) {
                    continue;
                }
                match event.change {
                    MemberChange::Left => left += 1,
                    MemberChange::Unreachable { .. } | MemberChange::Evicted => {
                        let what = format!(
                            "{} said {:?} of {}, which left",
                            node.name(),
                            event.change,
                            name(leaver)
                        );
                        return Err(self.broken(what));
                    }
                    _ => {}
                }
            }
            if left != 1 {
                let what = format!("{} said {left} times that {} left", node.name(), name(leaver));
                return Err(self.broken(what));
            }
        }
        self.world.end(fault);
        Ok(())
    }
}

fn name(host: usize) -> String {
    format!("n{}", host + 1)
}

/// Runs one seed.
pub(crate) fn run(seed: u64) -> Result<Figures, Broken> {
    let mut run = Run::new(seed);
    run.until(FORMED_WITHIN, &[], Run::all_see_all)?;
    let mut faults = Faults::among(seed, KINDS.into());
    let end = run.world.elapsed() + FAULTS_FOR;
    while run.world.elapsed() < end {
        faults.apply(&mut run.world);
        let active: Vec<_> = faults.active().collect();
        run.step(&active)?;
    }
    tracing::info!("heal");
    run.world.heal();
    let healed_within = run.until(HEALED_WITHIN, &[], Run::all_see_all)?;
    // From here on one fault at a time: any of the nodes, and either way to die.
    let nodes = run.nodes as u64;
    let at = |number: u64| usize::try_from(number % nodes).expect("it is small");
    let dead = at(seed / 8 + 1);
    let fault = if seed.is_multiple_of(2) { Fault::Killed(dead) } else { Fault::PowerLoss(dead) };
    run.world.begin(fault);
    let missed_within = run.until(MISSED_WITHIN, &[fault], |run| run.all_miss(dead))?;
    run.world.end(fault);
    run.until(HEALED_WITHIN, &[], Run::all_see_all)?;
    run.leave(at(seed / 8 + 2))?;
    run.until(HEALED_WITHIN, &[], Run::all_see_all)?;
    let (loss_permille, lost) = (loss_permille(seed), run.world.lost());
    if (loss_permille > 0) != (lost > 0) {
        return Err(run.broken(format!("{lost} segments were lost at {loss_permille} permille")));
    }
    Ok(Figures {
        trace: run.world.trace().clone(),
        nodes: run.nodes,
        faults: faults.begun(),
        lost,
        looks: run.looks,
        found: run.found,
        healed_within,
        missed_within,
    })
}
