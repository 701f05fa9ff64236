//! One run: a cluster forms, faults come and go while counters are used, all is healed, and every
//! counter must answer and know what was acknowledged.

#[path = "oracle.rs"]
mod oracle;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use evertree::entity::{Durable, Kind};
use evertree::placement::Profile;
use evertree::sim::{Broken, Faults, Setup, Trace, World};
use futures::FutureExt as _;

use oracle::{Counter, Counts, Oracle};

const NODES: usize = 3;
/// Within this all nodes serve for the first time.
const FORMED_WITHIN: Duration = Duration::from_secs(15);
/// How long faults come.
const FAULTS_FOR: Duration = Duration::from_secs(20);
/// I5: within this after the last fault every counter answers at every node.
const ANSWERS_WITHIN: Duration = Duration::from_secs(15);

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) trace: Trace,
    pub(crate) steps: u64,
    pub(crate) faults: u64,
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
            "{} steps, {} faults, {} views, {} changes of owner seen, adds: {acked} acknowledged, \
             {unknown} unknown, {refused} not executed; healed within {} ms, trace {:016x}",
            self.steps,
            self.faults,
            self.views,
            self.ownerships,
            self.healed_within.as_millis(),
            self.trace.hash(),
        )
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
}

/// Runs one seed.
pub(crate) fn run(seed: u64) -> Result<Figures, Broken> {
    let mut run = Run::new(seed);
    run.until(FORMED_WITHIN, |_| "not all nodes served".into(), Run::all_serve)?;
    let mut faults = Faults::new(seed);
    let end = run.world.elapsed() + FAULTS_FOR;
    while run.world.elapsed() < end {
        faults.apply(&mut run.world);
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
    Ok(Figures {
        trace: run.world.trace().clone(),
        steps: run.world.steps(),
        faults: faults.begun(),
        views: run.world.version().0,
        ownerships: run.world.ownerships(),
        healed_within,
        counts,
    })
}

/// The seeds that `SIM_SEEDS=a..b` asks for, or these.
pub(crate) fn seeds(otherwise: Range<u64>) -> Range<u64> {
    let Ok(text) = std::env::var("SIM_SEEDS") else { return otherwise };
    let bounds =
        text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    bounds.unwrap_or_else(|| panic!("SIM_SEEDS={text} is not a range as 0..20"))
}
