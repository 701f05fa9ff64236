//! Counters that remember every add, those who ask them, and what they must know in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::copies;
use super::ticks::{self, Ticks};
use crate::authority::Tenure;
use crate::base::ShardId;
use crate::entity::{AskError, Cx, Entity, Failure, Reply};
use crate::node::Node;
use crate::sim::World;

/// How many counters there are.
pub(super) const COUNTERS: u64 = 12;
/// Longest wait between two asks of one host.
const PAUSE_MS_MAX: u64 = 120;
/// How long one ask of the audit may take before it is tried again.
const AUDIT_WITHIN: Duration = Duration::from_secs(1);

/// A counter that knows every token it was given, and how many came twice.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Counter {
    value: u64,
    pub(super) tokens: BTreeMap<u64, u64>,
    twice: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum CounterMsg {
    /// Adds an amount under a token that no other add has; answers with the value then.
    Add(u64, u64, Reply<u64>),
    /// Shows all of it.
    Show(Reply<Counter>),
}

impl Entity for Counter {
    const KIND: &'static str = "counter";
    type Msg = CounterMsg;
    type Env = ();

    async fn handle(&mut self, msg: CounterMsg, cx: &mut Cx<'_, Self>) -> Result<(), Failure> {
        match msg {
            CounterMsg::Add(token, amount, reply) => {
                self.value += amount;
                self.twice += u64::from(self.tokens.insert(token, amount).is_some());
                cx.save(self).await?;
                reply.send(self.value);
            }
            CounterMsg::Show(reply) => reply.send(self.clone()),
        }
        Ok(())
    }
}

/// An add that was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Add {
    /// Its asker waits, or is gone.
    Open,
    Acked,
    Unknown,
    /// Known not to have been executed.
    Refused,
}

/// What a host was shown of a counter, and what had to be in it.
#[derive(Debug)]
struct Shown {
    counter: u64,
    host: usize,
    acked_before: BTreeSet<u64>,
    state: Counter,
}

#[derive(Debug, Default)]
struct Inner {
    /// By token: counter, amount, what became of it.
    adds: BTreeMap<u64, (u64, u64, Add)>,
    /// Per counter: the highest value that was shown.
    floors: BTreeMap<u64, u64>,
    /// Per counter: the tokens that were acknowledged or shown: what nobody may lose.
    known: BTreeMap<u64, BTreeSet<u64>>,
    /// Counters of which more is known since the last look at their copies.
    fresh: BTreeSet<u64>,
    ticks: Ticks,
    auditing: bool,
    shown: Vec<Shown>,
    /// What was wrong while it went on.
    wrong: Option<String>,
}

/// What became of all adds.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    /// Answered.
    pub acked: u64,
    /// Begun, and whether they were executed is not known.
    pub unknown: u64,
    /// Known not to have been executed.
    pub refused: u64,
}

/// Knows all that was asked and answered. Clones are one.
#[derive(Debug, Clone, Default)]
pub(super) struct Oracle(Arc<Mutex<Inner>>);

impl Oracle {
    /// What runs beside each node: tickers, and adds and looks until the audit, then a look at
    /// every counter.
    pub(super) async fn load(self, node: Node, host: usize, seed: u64) {
        let ticks = ticks::tick(self.clone(), node.clone(), host);
        futures::join!(ticks, self.count(node, host, seed));
    }

    async fn count(&self, node: Node, host: usize, seed: u64) {
        let mut state = seed;
        let mut draw = move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        while !self.0.lock().auditing {
            if draw() % 4 == 0 {
                self.look(&node, draw() % COUNTERS).await;
            } else {
                self.add(&node, draw() % COUNTERS, 1 + draw() % 9).await;
            }
            tokio::time::sleep(Duration::from_millis(draw() % PAUSE_MS_MAX)).await;
        }
        for counter in 0..COUNTERS {
            self.audit(&node, host, counter).await;
        }
    }

    async fn add(&self, node: &Node, counter: u64, amount: u64) {
        let (token, floor) = {
            let mut inner = self.0.lock();
            let token = inner.adds.len() as u64;
            inner.adds.insert(token, (counter, amount, Add::Open));
            (token, inner.floors.get(&counter).copied().unwrap_or(0))
        };
        let entity = node.entities::<Counter>().get(&name(counter));
        let answer = entity.ask(|reply| CounterMsg::Add(token, amount, reply)).await;
        tracing::debug!(token, counter, ?answer, "add");
        let mut inner = self.0.lock();
        let became = match answer {
            Ok(value) => {
                inner.saw(counter, floor + amount, value);
                inner.learn(counter, [token]);
                Add::Acked
            }
            Err(AskError::Unknown(_)) => Add::Unknown,
            Err(AskError::NotExecuted(_)) => Add::Refused,
        };
        inner.adds.insert(token, (counter, amount, became));
    }

    /// Asks once what is in a counter. What is shown is acknowledged by that.
    async fn look(&self, node: &Node, counter: u64) {
        let floor = self.0.lock().floors.get(&counter).copied().unwrap_or(0);
        let entity = node.entities::<Counter>().get(&name(counter));
        if let Ok(state) = entity.ask(CounterMsg::Show).await {
            let mut inner = self.0.lock();
            inner.saw(counter, floor, state.value);
            inner.learn(counter, state.tokens.into_keys());
        }
    }

    /// A shard's owner ticked; `votes`: it is a voter.
    pub(super) fn ticked(&self, host: usize, votes: bool, tenure: Tenure, number: u64) {
        let at = crate::sim::elapsed().unwrap_or_default();
        let mut inner = self.0.lock();
        inner.ticks.at_clients += u64::from(!votes);
        if let Err(what) = inner.ticks.took((host, at), tenure, number) {
            inner.wrong.get_or_insert(what);
        }
    }

    /// How often shards ticked.
    pub(super) fn ticks(&self) -> u64 {
        self.0.lock().ticks.count
    }

    /// How often shards ticked at nodes that do not vote.
    pub(super) fn client_ticks(&self) -> u64 {
        self.0.lock().ticks.at_clients
    }

    /// The shards, of `shards`, that did not tick since `since`.
    pub(super) fn silent_since(&self, since: Duration, shards: u16) -> Vec<ShardId> {
        self.0.lock().ticks.silent_since(since, shards)
    }

    /// I3, of the counters of which something new is known, or of all.
    pub(super) fn check_copies(&self, world: &World, all: bool) -> Result<(), String> {
        let mut inner = self.0.lock();
        let fresh = std::mem::take(&mut inner.fresh);
        let known = inner.known.iter().filter(|(counter, _)| all || fresh.contains(counter));
        for (counter, tokens) in known {
            copies::check(world, &name(*counter), tokens)?;
        }
        Ok(())
    }

    /// Asks until the counter answers.
    async fn audit(&self, node: &Node, host: usize, counter: u64) {
        let entity = node.entities::<Counter>().get(&name(counter));
        loop {
            let (acked_before, floor) = {
                let inner = self.0.lock();
                (inner.tokens(counter, &[Add::Acked]), inner.floors.get(&counter).copied())
            };
            match entity.ask_within(AUDIT_WITHIN, CounterMsg::Show).await {
                Ok(state) => {
                    let mut inner = self.0.lock();
                    inner.saw(counter, floor.unwrap_or(0), state.value);
                    inner.learn(counter, state.tokens.keys().copied());
                    inner.shown.push(Shown { counter, host, acked_before, state });
                    return;
                }
                Err(error) => {
                    tracing::info!(counter, %error, "audit");
                    // Some refusals come at once.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    /// No more adds from here on.
    pub(super) fn begin_audit(&self) {
        self.0.lock().auditing = true;
    }

    /// Whether every one of `hosts` was shown every counter.
    pub(super) fn is_audited(&self, hosts: usize) -> bool {
        let inner = self.0.lock();
        let shown: BTreeSet<_> = inner.shown.iter().map(|one| (one.host, one.counter)).collect();
        shown.len() as u64 == hosts as u64 * COUNTERS
    }

    /// What a host misses, for the message of a failure.
    pub(super) fn missing(&self, hosts: usize) -> String {
        let inner = self.0.lock();
        let shown: BTreeSet<_> = inner.shown.iter().map(|one| (one.host, one.counter)).collect();
        let all = (0..hosts).flat_map(|host| (0..COUNTERS).map(move |counter| (host, counter)));
        let missing: Vec<_> = all
            .filter(|one| !shown.contains(one))
            .map(|(host, counter)| format!("c{counter} at n{}", host + 1))
            .collect();
        missing.join(", ")
    }

    pub(super) fn counts(&self) -> Counts {
        let inner = self.0.lock();
        let mut counts = Counts::default();
        for (_, _, became) in inner.adds.values() {
            match became {
                Add::Acked => counts.acked += 1,
                Add::Open | Add::Unknown => counts.unknown += 1,
                Add::Refused => counts.refused += 1,
            }
        }
        counts
    }

    /// What was wrong so far, if anything.
    pub(super) fn wrong(&self) -> Option<String> {
        self.0.lock().wrong.clone()
    }

    /// Every acknowledged add is in what was shown after it, and nothing else but what may be.
    pub(super) fn judge(&self) -> Result<(), String> {
        let inner = self.0.lock();
        for Shown { counter, host, acked_before, state } in &inner.shown {
            let fault =
                |what: String| Err(format!("I3: c{counter} as n{} was shown it: {what}", host + 1));
            let has: BTreeSet<u64> = state.tokens.keys().copied().collect();
            let lost: Vec<_> = acked_before.difference(&has).collect();
            if !lost.is_empty() {
                return fault(format!("acknowledged adds are lost: {lost:?}"));
            }
            let may = inner.tokens(*counter, &[Add::Acked, Add::Unknown, Add::Open]);
            let extra: Vec<_> = has.difference(&may).collect();
            if !extra.is_empty() {
                return fault(format!("it has adds that were not executed: {extra:?}"));
            }
            if state.twice > 0 || state.value != state.tokens.values().sum::<u64>() {
                return fault(format!("adds were executed twice: {state:?}"));
            }
        }
        Ok(())
    }
}

/// The id of a counter.
fn name(counter: u64) -> String {
    format!("c{counter}")
}

impl Inner {
    /// These tokens of a counter are known to somebody outside.
    fn learn(&mut self, counter: u64, tokens: impl IntoIterator<Item = u64>) {
        let known = self.known.entry(counter).or_default();
        let before = known.len();
        known.extend(tokens);
        if known.len() > before {
            self.fresh.insert(counter);
        }
    }

    /// The tokens of a counter's adds that became one of these.
    fn tokens(&self, counter: u64, wanted: &[Add]) -> BTreeSet<u64> {
        let adds = self.adds.iter();
        adds.filter(|(_, (of, _, became))| *of == counter && wanted.contains(became))
            .map(|(token, _)| *token)
            .collect()
    }

    /// `counter` was shown to be `value`, which must be `least` at least: what was shown before
    /// this was asked.
    fn saw(&mut self, counter: u64, least: u64, value: u64) {
        if value < least {
            let what = format!("I3: c{counter} went back: {value} was shown, {least} is the least");
            self.wrong.get_or_insert(what);
        }
        let floor = self.floors.entry(counter).or_default();
        *floor = value.max(*floor);
    }
}
