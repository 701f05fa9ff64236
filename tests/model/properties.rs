//! What must hold in every state, and what must be possible.
//!
//! I5, I7 and I8 of the design speak of time, of supervisors and of queues: they are not of this
//! model. What is possible shows that the rules are not kept by nothing ever happening.

use stateright::Property;

use super::guard::Config;
use super::protocol::Protocol;
use super::state::{Length, NOBODY, NODES, Phase, STORES, State, WRITE_MIN, has};

/// The name of the one property that no state may break.
pub(crate) const RULES: &str = "rules";

/// The rules as one property, because the checker looks each property up by its name in every
/// state; and what the slice must show.
pub(crate) fn of(config: &Config) -> Vec<Property<Protocol>> {
    let mut all = vec![Property::always(RULES, |_, s: &State| broken(s).is_none())];
    if !config.shows.is_empty() {
        all.extend(possible().into_iter().filter(|one| config.shows.contains(&one.name)));
    }
    all
}

/// The first rule that a state breaks.
pub(crate) fn broken(s: &State) -> Option<&'static str> {
    let rules = [
        (open_gates(s) <= 1, "I1: two gates of one shard are open"),
        (!s.history.backwards, "I2: a store took a write of an earlier epoch after a later one"),
        (in_sync_holds(s), "I3: a store of in_sync lacks an acknowledged write"),
        (is_kept(s), "I3: an acknowledged write is lost, and fewer than write_min stores are"),
        (grows(s), "I4: somebody knows a newer version or epoch than there is"),
        (!s.history.unheard, "I6: a boot is evicted whose Renew was heard within D'"),
        (!s.history.stale, "an answer lacks an acknowledged write"),
        (s.history.runs <= 1, "the queue was run twice"),
    ];
    rules.into_iter().find(|(holds, _)| !holds).map(|(_, name)| name)
}

/// What must be possible, each in some slice.
fn possible() -> Vec<Property<Protocol>> {
    vec![
        Property::sometimes("a takeover serves", |_, s: &State| {
            s.view.has_records && s.view.epoch > 1 && serving(s)
        }),
        Property::sometimes("a store holds what its new owner lacks", |_, s: &State| diverges(s)),
        Property::sometimes("writes of two epochs are acknowledged", |_, s: &State| {
            let epoch =
                |at: u8| has(s.history.acked, at).then(|| s.history.epochs[usize::from(at)]);
            let mut epochs = (0..s.history.numbered).filter_map(epoch);
            epochs.next().is_some_and(|first| epochs.any(|other| other != first))
        }),
        Property::sometimes("an evicted node owns again", |_, s: &State| {
            (0..NODES).any(|n| s.node(n).gate(n) && s.node(n).boot > 1)
        }),
        Property::sometimes("a node rejoins with an empty store", |_, s: &State| {
            (0..NODES).any(|n| s.view.is_member(n) && has(s.view.second, n))
        }),
        Property::sometimes("a new store is in sync", |_, s: &State| {
            s.view.in_sync >> NODES != 0 && s.history.acked != 0
        }),
        Property::sometimes("a shard is lost", |_, s: &State| s.view.lost),
        Property::sometimes("a change is committed and proposed again", |_, s: &State| {
            s.nodes.iter().any(|node| {
                node.pending.is_some() && node.pending == node.flight && {
                    let seen = &node.seen;
                    s.view.epoch == seen.epoch && s.view.generation > seen.generation
                }
            })
        }),
        Property::sometimes("a change is committed after its proposer died", |_, s: &State| {
            (0..NODES).any(|n| {
                let node = s.node(n);
                let calm = s.view.version == 2 && s.view.boots == [1; NODES as usize];
                s.view.owner == n && !node.up && s.view.generation > 1 && calm
            })
        }),
        Property::sometimes("a move completes", |_, s: &State| {
            s.view.owner != NOBODY
                && s.nodes.iter().any(|node| node.released != 0 && node.released == s.view.previous)
                && s.node(s.view.owner).released != s.view.previous
        }),
        Property::sometimes("a released shard comes back", |_, s: &State| {
            s.view.owner != NOBODY
                && s.view.previous != 0
                && s.node(s.view.owner).released == s.view.previous
        }),
        Property::sometimes("another D holds", |_, s: &State| {
            s.view.length == Length::Second && open_gates(s) > 0
        }),
        Property::sometimes("a new leader evicts", |_, s: &State| {
            s.office.leader != 0 && s.office.ready && s.office.evicts != 0
        }),
    ]
}

fn open_gates(s: &State) -> usize {
    (0..NODES).filter(|&node| s.node(node).gate(node)).count()
}

fn serving(s: &State) -> bool {
    (0..NODES).any(|n| s.node(n).gate(n) && s.node(n).primary.phase == Phase::Serving)
}

fn diverges(s: &State) -> bool {
    let owner = s.view.owner;
    if owner == NOBODY || s.node(owner).primary.phase != Phase::TakingOver {
        return false;
    }
    let mine = s.store(s.node(owner).own(owner)).writes();
    let held = |store: u8| has(s.view.in_sync, store) && s.store(store).writes() & !mine != 0;
    (0..STORES).any(held)
}

/// Every acknowledged write is on every store of the current `in_sync` that is not gone.
fn in_sync_holds(s: &State) -> bool {
    (0..STORES)
        .filter(|&store| has(s.view.in_sync & !s.destroyed, store))
        .all(|store| s.history.acked & !s.store(store).writes() == 0)
}

/// An acknowledged write is on some store, unless `write_min` stores are gone; and no shard is
/// called lost before.
fn is_kept(s: &State) -> bool {
    if s.destroyed.count_ones() >= WRITE_MIN {
        return true;
    }
    let mut somewhere = 0;
    for store in (0..STORES).filter(|&store| !has(s.destroyed, store)) {
        somewhere |= s.store(store).writes();
    }
    s.history.acked & !somewhere == 0 && !(s.view.lost && s.history.acked != 0)
}

/// Nobody has seen, and no store is sealed to, what is newer than the newest view.
fn grows(s: &State) -> bool {
    let seen = s.nodes.iter().all(|node| {
        node.seen.version <= s.view.version
            && node.seen.epoch <= s.view.epoch
            && (node.seen.epoch < s.view.epoch || node.seen.generation <= s.view.generation)
    });
    seen && s.stores.iter().all(|store| store.sealed <= s.view.epoch)
}
