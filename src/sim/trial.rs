//! The standard run: a cluster forms, faults come and go while it is used, all is healed, and it
//! must serve again, with everything that was acknowledged.
//!
//! Two phases, as in the fuzzers of openraft and `TigerBeetle`: safety while anything may go wrong,
//! then heal and demand liveness. What it checks beside the laws of the [`World`]: the ticks of
//! every shard come strictly by epoch (I2), what was acknowledged or shown is on the disk of every
//! in-sync store (I3), and within a bound after the last fault every shard ticks and every counter
//! answers at every node (I5).

mod batch;
mod copies;
mod oracle;
mod ticks;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;

use self::oracle::{Counter, Oracle};
use super::{Broken, Changes, FaultKind, Faults, Setup, Trace, World};
use crate::base::{NodeId, ShardId};
use crate::entity::{Durable, Kind};
use crate::placement::Profile;

pub use self::batch::Batch;
pub use self::oracle::Counts;

/// Within this all nodes serve for the first time.
const FORMED_WITHIN: Duration = Duration::from_secs(15);
/// How long faults come.
const FAULTS_FOR: Duration = Duration::from_secs(20);
/// I5: within this after the last fault every shard ticks, and every counter answers at every node.
const SERVES_WITHIN: Duration = Duration::from_secs(10);
/// How often all copies are looked at; those of which something new is known are looked at in
/// every step.
const LOOK_AT_ALL: Duration = Duration::from_millis(250);
/// One step where nothing else is said.
const TICK: Duration = Duration::from_millis(1);
const SHARDS: u16 = 64;
/// See [`Setup::replace_voters_after`].
const REPLACE_VOTERS_AFTER: Duration = Duration::from_secs(3);

/// What one run is made of. All that happens follows from it.
#[derive(Debug, Clone)]
pub struct Trial {
    /// Fixes everything that happens.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// How long faults come.
    pub faults_for: Duration,
    /// What may go wrong, each as likely as it stands here often; empty: everything.
    pub kinds: Vec<FaultKind>,
    /// See [`Setup::loss_permille`].
    pub loss_permille: u16,
    /// See [`Setup::tick`].
    pub tick: Duration,
}

impl Trial {
    /// The run of `seed`. Of eight, two have five nodes, one has four and one seven (where one and
    /// two do not vote, but are lease clients), and the others three. Every third has links that
    /// lose one segment of a hundred, and every twelfth one of twenty.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let loss_permille = match seed % 12 {
            2 | 5 | 8 | 11 => 10,
            3 => 50,
            _ => 0,
        };
        let nodes = match seed % 8 {
            2 | 6 => 5,
            5 => 4,
            7 => 7,
            _ => 3,
        };
        let (faults_for, kinds) = (FAULTS_FOR, Vec::new());
        Self { seed, nodes, faults_for, kinds, loss_permille, tick: TICK }
    }

    /// Runs it.
    ///
    /// # Errors
    /// [`Broken`]: what does not hold, in which step.
    pub fn run(&self) -> Result<Figures, Broken> {
        let mut run = Run::new(self);
        let missing =
            |run: &Run| format!("{:?} of {} serve and vote", run.serve_and_vote(), self.nodes);
        let all = (self.nodes, voters_of(self.nodes));
        run.until(FORMED_WITHIN, missing, |run| run.serve_and_vote() == all)?;
        let first_owners = run.owners();
        let (mut faults, mut gone) = (self.faults(), Gone::default());
        let end = run.world.elapsed() + self.faults_for;
        while run.world.elapsed() < end {
            faults.apply(&mut run.world);
            gone.look(&run.world);
            run.step()?;
        }
        let healed_within = run.heal()?;
        run.figures(&first_owners, faults.begun(), gone.count, healed_within)
    }

    fn faults(&self) -> Faults {
        let faults = if self.kinds.is_empty() {
            Faults::new(self.seed)
        } else {
            Faults::among(self.seed, self.kinds.clone())
        };
        faults.around(profile().lease)
    }
}

/// `dev`, with a removed replica offered again soon.
fn profile() -> Profile {
    Profile { offer_after: Duration::from_secs(1), ..Profile::dev() }
}

/// How many of so many nodes vote; the others are lease clients.
fn voters_of(nodes: usize) -> usize {
    match nodes {
        0..=2 => 1,
        3 | 4 => 3,
        _ => 5,
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct Figures {
    /// What happened, step by step.
    pub trace: Trace,
    /// How many steps it had.
    pub steps: u64,
    /// How many nodes.
    pub nodes: usize,
    /// How many of them voted when all served first; the others were lease clients.
    pub voters: usize,
    /// How many faults there were.
    pub faults: u64,
    /// Of 1000 segments, how many were to be lost.
    pub loss_permille: u16,
    /// Segments that were lost, each as many times as it was.
    pub lost: u64,
    /// Nodes that were there and are gone: without power, killed, or of their own will.
    pub gone: u64,
    /// Shards whose owner in the end was not the node it was when all served first.
    pub moved: usize,
    /// The last version of the view.
    pub views: u64,
    /// Changes of a shard's owner, each at every node that saw it.
    pub ownerships: u64,
    /// How often shards ticked.
    pub ticks: u64,
    /// How often they did at nodes that did not vote.
    pub client_ticks: u64,
    /// What became other in the view.
    pub changes: Changes,
    /// How long after the last fault everything served.
    pub healed_within: Duration,
    /// What became of all adds.
    pub counts: Counts,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { acked, unknown, refused } = self.counts;
        let Changes { voters_replaced, drains, leases, .. } = self.changes;
        write!(
            f,
            "{} nodes, {} of them voters, {} steps, {} faults, {} segments lost at {} permille, \
             {} nodes gone, {} shards moved, {} views, {} changes of owner seen, \
             {voters_replaced} voters replaced, \
             {drains} drains and {leases} changes of D, {} ticks, {} of them at lease clients, \
             adds: {acked} acknowledged, {unknown} unknown, {refused} not executed; healed within \
             {} ms, trace {:016x}",
            self.nodes,
            self.voters,
            self.steps,
            self.faults,
            self.lost,
            self.loss_permille,
            self.gone,
            self.moved,
            self.views,
            self.ownerships,
            self.ticks,
            self.client_ticks,
            self.healed_within.as_millis(),
            self.trace.hash(),
        )
    }
}

/// Counts nodes that are gone. Only faults take a node that had started: one that ends by itself
/// breaks the run.
#[derive(Debug, Default)]
struct Gone {
    was_up: Vec<bool>,
    count: u64,
}

impl Gone {
    fn look(&mut self, world: &World) {
        self.was_up.resize(world.hosts(), true);
        for (host, was_up) in self.was_up.iter_mut().enumerate() {
            let is_up = world.node(host).is_some();
            self.count += u64::from(*was_up && !is_up);
            *was_up = is_up;
        }
    }
}

struct Run {
    world: World,
    oracle: Oracle,
    nodes: usize,
    loss_permille: u16,
    look_at_all: Duration,
}

impl Run {
    fn new(trial: &Trial) -> Self {
        let Trial { seed, nodes, loss_permille, tick, .. } = *trial;
        let oracle = Oracle::default();
        let load = oracle.clone();
        let world = World::new(Setup {
            seed,
            nodes,
            shards: SHARDS,
            profile: profile(),
            replace_voters_after: REPLACE_VOTERS_AFTER,
            tick,
            loss_permille,
            prepare: Arc::new(|node| {
                node.host(Kind::<Counter>::new(()).durable(Durable::Snapshots))
            }),
            load: Arc::new(move |node, host| {
                let seed = seed << 8 | host as u64;
                load.clone().load(node, host, seed).boxed_local()
            }),
        });
        Self { world, oracle, nodes, loss_permille, look_at_all: Duration::ZERO }
    }

    fn step(&mut self) -> Result<(), Broken> {
        let counts = self.oracle.counts();
        self.world.note(counts.acked);
        self.world.note(counts.unknown);
        self.world.note(self.oracle.ticks());
        self.world.step()?;
        if let Some(what) = self.oracle.wrong() {
            return Err(self.broken(what));
        }
        let all = self.world.elapsed() >= self.look_at_all;
        if all {
            self.look_at_all = self.world.elapsed() + LOOK_AT_ALL;
        }
        self.oracle.check_copies(&self.world, all).map_err(|what| self.broken(what))
    }

    fn broken(&self, what: String) -> Broken {
        Broken { step: self.world.steps(), what }
    }

    fn until(
        &mut self,
        within: Duration,
        what: impl Fn(&Self) -> String,
        done: impl Fn(&Self) -> bool,
    ) -> Result<Duration, Broken> {
        let began = self.world.elapsed();
        while !done(self) {
            if self.world.elapsed().saturating_sub(began) > within {
                return Err(self.broken(format!("{} within {within:?}", what(self))));
            }
            self.step()?;
        }
        Ok(self.world.elapsed().saturating_sub(began))
    }

    /// How many nodes serve, and how many vote.
    fn serve_and_vote(&self) -> (usize, usize) {
        let serves = |host: &usize| self.world.node(*host).is_some_and(|node| node.is_serving());
        let votes = self.world.view().map_or(0, |view| view.voters.len());
        ((0..self.nodes).filter(serves).count(), votes)
    }

    /// Which node owns each shard, in the newest view that any node has.
    fn owners(&self) -> Vec<Option<NodeId>> {
        let view = self.world.view();
        let shards = view.iter().flat_map(|view| view.shards.iter());
        shards.map(|shard| shard.owner.as_ref().map(|owner| owner.node.clone())).collect()
    }

    /// The second phase: no more faults, and all must serve.
    fn heal(&mut self) -> Result<Duration, Broken> {
        tracing::info!("heal");
        self.world.heal();
        let healed = self.world.elapsed();
        self.oracle.begin_audit();
        let (nodes, silent) =
            (self.nodes, move |run: &Self| run.oracle.silent_since(healed, SHARDS));
        let missing = move |run: &Self| {
            let silent: Vec<ShardId> = silent(run);
            let (missing, wanted) = (run.oracle.missing(nodes), run.world.is_as_wanted());
            format!("I5: no answer from {missing}; no tick of {silent:?}; as wanted: {wanted}")
        };
        let within = self.until(SERVES_WITHIN, missing, |run| {
            run.oracle.is_audited(nodes) && silent(run).is_empty() && run.world.is_as_wanted()
        })?;
        self.oracle.judge().map_err(|what| self.broken(what))?;
        self.oracle.check_copies(&self.world, true).map_err(|what| self.broken(what))?;
        Ok(within)
    }

    fn figures(
        self,
        first_owners: &[Option<NodeId>],
        faults: u64,
        gone: u64,
        healed_within: Duration,
    ) -> Result<Figures, Broken> {
        let (counts, lost) = (self.oracle.counts(), self.world.lost());
        let (ticks, client_ticks) = (self.oracle.ticks(), self.oracle.client_ticks());
        if counts.acked == 0 || ticks == 0 {
            return Err(
                self.broken(format!("{} adds and {ticks} ticks show nothing", counts.acked))
            );
        }
        if faults == 0 {
            return Err(self.broken("no fault began: the run shows nothing".into()));
        }
        let loss_permille = self.loss_permille;
        if (loss_permille > 0) != (lost > 0) {
            let what = format!("{lost} segments were lost at {loss_permille} permille");
            return Err(self.broken(what));
        }
        let owners = self.owners();
        let moved = first_owners.iter().zip(&owners).filter(|(first, last)| first != last).count();
        Ok(Figures {
            trace: self.world.trace().clone(),
            steps: self.world.steps(),
            nodes: self.nodes,
            voters: voters_of(self.nodes),
            faults,
            loss_permille,
            lost,
            gone,
            moved,
            views: self.world.version().0,
            ownerships: self.world.ownerships(),
            ticks,
            client_ticks,
            changes: self.world.changes(),
            healed_within,
            counts,
        })
    }
}
