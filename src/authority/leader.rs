//! What the leader does unasked: it evicts boots whose lease is over, and gives ownerless shards an
//! owner. Runs at every voter; acts only while that one leads.

mod moves;
mod refused;
mod settle;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use self::moves::{Known, Moves};
use self::refused::refuse_one;
use self::settle::settle;
use super::LeaderKey;
use super::office::{Office, saw_mark, span_of};
use super::raft::fitting;
use crate::base::{Boot, Epoch, Instant, NodeId, ShardId, Version};
use crate::detector::Span;
use crate::placement::{Change, Proposal, View, plan_evict_among, plan_ownerless};

/// A leader that finds every voter restarted waits this long for the others before it evicts, or
/// lets owners shrink `in_sync`.
const COLD_GRACE: Duration = Duration::from_secs(30);
/// Shortest time between two rounds.
const TICK_MIN: Duration = Duration::from_millis(10);

/// One leadership of this node.
#[derive(Debug)]
struct Reign {
    key: LeaderKey,
    /// Evictions under way, each repeated under its id until the view shows it.
    evicting: BTreeMap<(NodeId, Boot), Proposal>,
    cold: Option<Cold>,
    moves: Moves,
    /// The last view, and who was alive, for which no shard was to be given an owner: most rounds
    /// find both unchanged, and look through no shards.
    given: Option<(Version, BTreeSet<NodeId>)>,
}

/// Every voter seems to have been restarted since the last committed entry.
#[derive(Debug)]
struct Cold {
    until: Instant,
    /// The lives that the view knew then.
    before: BTreeMap<NodeId, Boot>,
}

/// The leader's loop at one node.
#[derive(Debug)]
pub(super) struct Leader {
    office: Arc<Office>,
    /// The life of this process.
    boot: Boot,
    /// When the loop should be where it is.
    expected: Instant,
    /// The loop was late too often: another node is to lead.
    hands_over: bool,
    reign: Option<Reign>,
}

impl Leader {
    pub(super) fn new(office: Arc<Office>, boot: Boot) -> Self {
        Self { office, boot, expected: Instant::NEVER, hands_over: false, reign: None }
    }

    /// Rounds without end.
    pub(super) async fn run(mut self) {
        loop {
            let clock = self.office.seams.clock.clone();
            let span = span_of(&self.office.core.view());
            // What a round waits for itself does not make it late.
            let patience = span.lease / 8;
            self.look_at_the_clock(clock.now(), span);
            self.expected = clock.now() + patience;
            self.round(self.expected).await;
            self.look_at_the_clock(clock.now(), span);
            // Who does not lead has nothing to do: the first Renew to a new leader begins its
            // table, not this loop.
            let part = if self.reign.is_some() { 20 } else { 8 };
            self.expected = clock.now() + (span.lease / part).max(TICK_MIN);
            clock.sleep_until(self.expected).await;
        }
    }

    /// If the loop is late by more than D/4, nobody new is evicted for D': what seems to be the
    /// others' silence may be this node's own.
    fn look_at_the_clock(&mut self, now: Instant, span: Span) {
        let late = now.since(self.expected);
        if late > span.lease / 4 && span.lease > Duration::ZERO {
            tracing::warn!(?late, "the leader's loop was late");
            self.hands_over |= self.office.table.lock().late_loop(now, span);
            self.expected = now;
        }
    }

    /// One round; it waits no longer than `deadline`.
    pub(super) async fn round(&mut self, deadline: Instant) {
        // Asking raft who leads is a round through its task: not where another is known to lead. A
        // leadership that the hint does not show yet begins a round later.
        let hint = self.office.core.leader_hint();
        let other = hint.is_some_and(|leader| leader != self.office.me);
        let key = if other { None } else { self.office.core.leader_key().await };
        let Some(key) = key else {
            self.reign = None;
            return;
        };
        if self.reign.as_ref().is_none_or(|reign| reign.key != key) {
            // The first entry of this leadership must be applied before its table starts.
            match self.office.core.barrier(deadline).await {
                Ok(confirmed) if confirmed == key => self.begin(key),
                Ok(_) | Err(_) => return,
            }
        }
        // Whatever was waited for above: it may have been a stop of the whole process.
        let span = span_of(&self.office.core.view());
        let now = self.office.seams.clock.now();
        self.look_at_the_clock(now, span);
        if std::mem::take(&mut self.hands_over) {
            // Who leads best after this node says so itself; alone, it goes on.
            if let Some(to) = self.office.core.transfer_leadership().await {
                tracing::warn!(%to, "the leader's loop is late too often: it hands over");
            }
        }
        let proposals = self.decide(now);
        if proposals.is_empty() {
            return;
        }
        match self.office.core.propose_as(key, proposals, deadline).await {
            // Repeated under its id it would be answered and not applied: what comes back after it
            // (a Join that was on its way) is evicted by a new one.
            Ok(outcomes) => {
                let is_settled =
                    |proposal: &Proposal| outcomes.iter().any(|(id, _)| *id == proposal.id);
                if let Some(reign) = &mut self.reign {
                    reign.evicting.retain(|_, proposal| !is_settled(proposal));
                }
            }
            Err(error) => {
                tracing::debug!(%error, "the leader's proposals are repeated in the next round");
            }
        }
    }

    fn begin(&mut self, key: LeaderKey) {
        let (view, now) = (self.office.core.view(), self.office.seams.clock.now());
        self.office.table.lock().lead(key, now, span_of(&view));
        // This node itself did not restart: then not every voter did.
        let restarted =
            view.members.get(&self.office.me).is_some_and(|member| member.boot < self.boot);
        let before = || view.members.iter().map(|(node, one)| (node.clone(), one.boot)).collect();
        let cold = restarted.then(|| Cold { until: now + COLD_GRACE, before: before() });
        let (evicting, moves) = (BTreeMap::new(), Moves::default());
        self.office.core.let_shrink(cold.is_none().then_some(key));
        self.office.wishes.lock().clear();
        self.reign = Some(Reign { key, evicting, cold, moves, given: None });
    }

    /// What is to be proposed at `now`. Marks what it evicts, in one step under the table's mutex.
    fn decide(&mut self, now: Instant) -> Vec<Proposal> {
        let Some(reign) = &mut self.reign else { return Vec::new() };
        let office = self.office.clone();
        let mut table = office.table.lock();
        let view = office.core.view();
        if !view.is_formed() || table.key() != Some(reign.key) {
            return Vec::new();
        }
        let span = span_of(&view);
        table.stretch(span);
        table.applied(
            |node, boot| view.has_boot(node, boot),
            |shard, epoch| view.shard(shard).is_some_and(|now| now.epoch == epoch),
        );
        for (node, member) in &view.members {
            table.admit(node, member.boot, now, span);
        }
        reign.evicting.retain(|(node, boot), _| view.has_boot(node, *boot));
        if reign.cold.as_ref().is_some_and(|cold| cold.is_over(&view, now, &table)) {
            reign.cold = None;
            office.core.let_shrink(Some(reign.key));
        }
        if reign.cold.is_none() {
            refuse_one(&office, &mut table, &view, (now, span));
        }
        let members = || view.members.iter().map(|(node, one)| (node, one.boot));
        let alive: BTreeSet<NodeId> = members()
            .filter(|(node, boot)| !table.is_due(node, *boot, now) && !table.is_ending(node, *boot))
            .map(|(node, _)| node.clone())
            .collect();
        if reign.cold.is_none() {
            evict_due(reign, &office, (&mut table, &view), (now, span), &alive);
        }
        let mut proposals: Vec<_> = reign.evicting.values().cloned().collect();
        let is_same = |(version, among): &(Version, _)| *version == view.version && *among == alive;
        let assign = match &reign.given {
            Some(before) if is_same(before) => Vec::new(),
            Some(_) | None => fitting(plan_ownerless(&view, &alive)),
        };
        reign.given = assign.is_empty().then(|| (view.version, alive.clone()));
        if !assign.is_empty() {
            let cause = "without an owner".into();
            proposals.push(office.proposal(Change::Assign { cause, assign }));
        }
        let settled = settle(&mut table, &view, now, span);
        proposals.extend(settled.map(|change| office.proposal(change)));
        let released = released(&table, &view);
        // Who is refused is drained: it still answers, and is not well.
        let drained: Vec<_> = table.drained(now).map(|(node, _)| node.clone()).collect();
        let mut ailing = office.ailing.lock().clone();
        ailing.extend(drained.iter().cloned());
        let alive = alive.into_iter().chain(drained).collect();
        // Moves are planned while nobody waits for the table: a release is final, and whatever else
        // has changed by then, the preconditions see.
        drop(table);
        // One entry gives a shard one epoch at most: what ends a boot comes first.
        if proposals.is_empty() && reign.cold.is_none() {
            let known = Known { now, released: &released, alive: &alive, ailing: &ailing };
            let mut wishes = office.wishes.lock().clone();
            let changes = reign.moves.decide(&view, &known, &mut wishes);
            *office.wishes.lock() = wishes;
            proposals.extend(changes.into_iter().map(|change| office.proposal(change)));
        }
        proposals
    }
}

/// What the owners of the view have released, with the epoch that each gave up.
fn released(table: &Table, view: &View) -> BTreeSet<(ShardId, Epoch)> {
    let owns = |node: &NodeId, boot: Boot, shard: ShardId| {
        let owner = view.shard(shard).and_then(|shard| shard.owner.as_ref());
        owner.is_some_and(|owner| (&owner.node, owner.boot) == (node, boot))
    };
    let released = table.released().filter(|&(node, boot, shard, _)| owns(node, boot, shard));
    released.map(|(_, _, shard, epoch)| (shard, epoch)).collect()
}

type Table = crate::detector::LeaseTable<LeaderKey>;

/// Marks whoever is due, and keeps the entry that evicts it until the view shows it.
fn evict_due(
    reign: &mut Reign,
    office: &Office,
    (table, view): (&mut Table, &View),
    (now, span): (Instant, Span),
    alive: &BTreeSet<NodeId>,
) {
    for (node, boot) in view.members.iter().map(|(node, one)| (node, one.boot)) {
        let ending = table.is_ending(node, boot);
        if !table.is_due(node, boot, now) || !table.mark(reign.key, node, boot, now) {
            continue;
        }
        if !ending {
            saw_mark(&office.me, (node, boot), (now, span));
        }
        let evict = || {
            let released = table.is_released(node, boot);
            tracing::warn!(%node, %boot, released, version = %view.version, "evicting");
            let assign = fitting(plan_evict_among(view, node, alive));
            let cause = match (released, table.is_refused(node, boot)) {
                (true, _) => "it left",
                (false, true) => "refused, and its lease ran out",
                (false, false) => "its lease ran out",
            };
            let (node, cause) = (node.clone(), cause.into());
            office.proposal(Change::Evict { node, boot, cause, assign, released })
        };
        reign.evicting.entry((node.clone(), boot)).or_insert_with(evict);
    }
}

impl Cold {
    /// Not cold after all, or over: a voter's life that the view knew before renews, all are back,
    /// or the time is up.
    fn is_over(&self, view: &View, now: Instant, table: &Table) -> bool {
        let votes = |node: &NodeId| view.voters.is_empty() || view.votes(node);
        let one_never_went = self
            .before
            .iter()
            .any(|(node, boot)| votes(node) && table.heard(node, *boot).is_some());
        let is_back = |(node, boot): (&NodeId, &Boot)| {
            view.members.get(node).is_none_or(|member| member.boot != *boot)
        };
        one_never_went || now >= self.until || self.before.iter().all(is_back)
    }
}

#[cfg(test)]
mod tests;
