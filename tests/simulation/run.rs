//! One run: a cluster forms, faults come and go while counters are used, all is healed, and every
//! counter must answer and know what was acknowledged.

#[path = "oracle.rs"]
mod oracle;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use evertree::base::NodeId;
use evertree::entity::{Durable, Kind};
use evertree::placement::Profile;
use evertree::sim::{Broken, FaultKind, Faults, Setup, Trace, World};
use futures::FutureExt as _;

use oracle::{Counter, Counts, Oracle};

const NODES: usize = 3;
/// Within this all nodes serve for the first time.
const FORMED_WITHIN: Duration = Duration::from_secs(15);
/// How long faults come.
const FAULTS_FOR: Duration = Duration::from_secs(20);
/// I5: within this after the last fault every counter answers at every node.
const ANSWERS_WITHIN: Duration = Duration::from_secs(15);

/// The loss of a seed's links, of 1000 segments: every third seed has 10, every twelfth 50.
///
/// The bounds above hold with loss too. At 50 permille a segment is late by 200 ms one time in 20,
/// by 1.4 s one time in 8,000, and a link that is silent for 3 s is dialled again: the longest way
/// back of the seeds 0 to 59 took 3.9 s then, 5.0 s without loss.
fn loss_permille(seed: u64) -> u16 {
    match seed % 12 {
        2 | 5 | 8 | 11 => 10,
        3 => 50,
        _ => 0,
    }
}

/// What goes wrong in a seed's world: in every fourth, processes are also stopped, killed, and
/// asked to leave.
fn faults(seed: u64) -> Faults {
    if seed % 4 != 1 {
        return Faults::new(seed);
    }
    let kinds = [
        FaultKind::PowerLoss,
        FaultKind::Killed,
        FaultKind::Killed,
        FaultKind::Stopped,
        FaultKind::Stopped,
        FaultKind::Stopped,
        FaultKind::Left,
        FaultKind::Isolated,
        FaultKind::Cut,
        FaultKind::OneWay,
        FaultKind::Mute,
        FaultKind::Deaf,
    ];
    Faults::among(seed, kinds.into())
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) trace: Trace,
    pub(crate) steps: u64,
    pub(crate) faults: u64,
    pub(crate) loss_permille: u16,
    /// Segments that were lost, each as many times as it was.
    pub(crate) lost: u64,
    /// Nodes that were there and are gone: without power, killed, or of their own will.
    pub(crate) gone: u64,
    /// Shards whose owner in the end was not the node it was when all served first.
    pub(crate) moved: usize,
    pub(crate) views: u64,
    pub(crate) ownerships: u64,
    pub(crate) healed_within: Duration,
    counts: Counts,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { acked, unknown, refused } = self.counts;
        write!(
            f,
            "{} steps, {} faults, {} segments lost at {} permille, {} nodes gone, {} shards \
             moved, {} views, {} changes of owner seen, adds: {acked} acknowledged, {unknown} \
             unknown, {refused} not executed; healed within {} ms, trace {:016x}",
            self.steps,
            self.faults,
            self.lost,
            self.loss_permille,
            self.gone,
            self.moved,
            self.views,
            self.ownerships,
            self.healed_within.as_millis(),
            self.trace.hash(),
        )
    }
}

/// What a batch of runs came to together. One run may lack what all of them must not.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    gone: u64,
    moved: usize,
}

impl Batch {
    pub(crate) fn add(&mut self, figures: &Figures) {
        self.gone += figures.gone;
        self.moved += figures.moved;
    }

    /// Refuses a batch that never came to what it is there to show.
    pub(crate) fn judge(&self) -> Result<(), String> {
        let Self { gone, moved } = *self;
        if gone == 0 || moved == 0 {
            return Err(format!(
                "{gone} nodes gone and {moved} moved shards over all seeds: without \
                 one of each they show nothing, more seeds are needed"
            ));
        }
        Ok(())
    }
}

struct Run {
    world: World,
    oracle: Oracle,
}

impl Run {
    fn new(seed: u64) -> Self {
        let oracle = Oracle::default();
        let profile = Profile { offer_after: Duration::from_secs(1), ..Profile::dev() };
        let load = oracle.clone();
        let world = World::new(Setup {
            seed,
            nodes: NODES,
            shards: 64,
            profile,
            loss_permille: loss_permille(seed),
            prepare: Arc::new(|node| {
                node.host(Kind::<Counter>::new(()).durable(Durable::Snapshots))
            }),
            load: Arc::new(move |node, host| {
                let seed = seed << 8 | host as u64;
                load.clone().load(node, host, seed).boxed_local()
            }),
        });
        Self { world, oracle }
    }

    fn step(&mut self) -> Result<(), Broken> {
        let counts = self.oracle.counts();
        self.world.note(counts.acked);
        self.world.note(counts.unknown);
        self.world.step()?;
        match self.oracle.wrong() {
            Some(what) => Err(self.broken(what)),
            None => Ok(()),
        }
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

    fn all_serve(&self) -> bool {
        (0..NODES).all(|host| self.world.node(host).is_some_and(|node| node.is_serving()))
    }

    /// Which node owns each shard, in the newest view that any node has.
    fn owners(&self) -> Vec<Option<NodeId>> {
        let nodes = (0..NODES).filter_map(|host| self.world.node(host));
        let newest = nodes.map(|node| node.view()).max_by_key(|view| view.version);
        let shards = newest.iter().flat_map(|view| view.shards.iter());
        shards.map(|shard| shard.owner.as_ref().map(|owner| owner.node.clone())).collect()
    }

    /// How many nodes are gone since the last look. Only faults take a node that had
    /// started: one that ends by itself breaks the run.
    fn gone(&self, was_up: &mut [bool; NODES]) -> u64 {
        let mut gone = 0;
        for (host, was_up) in was_up.iter_mut().enumerate() {
            let is_up = self.world.node(host).is_some();
            gone += u64::from(*was_up && !is_up);
            *was_up = is_up;
        }
        gone
    }
}

/// Runs one seed.
pub(crate) fn run(seed: u64) -> Result<Figures, Broken> {
    let mut run = Run::new(seed);
    run.until(FORMED_WITHIN, |_| "not all nodes served".into(), Run::all_serve)?;
    let first_owners = run.owners();
    let mut faults = faults(seed);
    let (mut was_up, mut gone) = ([true; NODES], 0);
    let end = run.world.elapsed() + FAULTS_FOR;
    while run.world.elapsed() < end {
        faults.apply(&mut run.world);
        gone += run.gone(&mut was_up);
        run.step()?;
    }
    tracing::info!("heal");
    run.world.heal();
    run.oracle.begin_audit();
    let missing = |run: &Run| format!("I5: no answer from {}", run.oracle.missing(NODES));
    let healed_within = run.until(ANSWERS_WITHIN, missing, |run| run.oracle.is_audited(NODES))?;
    run.oracle.judge().map_err(|what| run.broken(what))?;
    let counts = run.oracle.counts();
    if counts.acked == 0 {
        return Err(run.broken("nothing was acknowledged: the run shows nothing".into()));
    }
    if faults.begun() == 0 {
        return Err(run.broken("no fault began: the run shows nothing".into()));
    }
    let (loss_permille, lost) = (loss_permille(seed), run.world.lost());
    if (loss_permille > 0) != (lost > 0) {
        return Err(run.broken(format!("{lost} segments were lost at {loss_permille} permille")));
    }
    let owners = run.owners();
    let moved = first_owners.iter().zip(&owners).filter(|(first, last)| first != last).count();
    Ok(Figures {
        trace: run.world.trace().clone(),
        steps: run.world.steps(),
        faults: faults.begun(),
        loss_permille,
        lost,
        gone,
        moved,
        views: run.world.version().0,
        ownerships: run.world.ownerships(),
        healed_within,
        counts,
    })
}

/// The seeds that `SIM_SEEDS=a..b` asks for, or these.
pub(crate) fn seeds(otherwise: Range<u64>) -> Range<u64> {
    let Ok(text) = std::env::var("SIM_SEEDS") else { return otherwise };
    let bounds: Option<Range<u64>> =
        text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    let bounds = bounds.unwrap_or_else(|| panic!("SIM_SEEDS={text} is not a range as 0..20"));
    assert!(!bounds.is_empty(), "SIM_SEEDS={text} has no seed: 0..20 has twenty, 20 not included");
    bounds
}
