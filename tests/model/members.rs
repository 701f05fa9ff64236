//! How processes die and start, and how nodes become members again.

use super::action::{Action, MemberStep};
use super::guard::{Config, Guard};
use super::lease::{give, leads, may_own};
use super::state::{
    Kind, NOBODY, NODES, Phase, Primary, Proposed, Renew, State, Store, View, bit, has, store_of,
};

pub(crate) fn actions(config: &Config, s: &State, out: &mut Vec<Action>) {
    for node in 0..NODES {
        let me = s.node(node);
        if !me.up {
            out.push(Action::Member(MemberStep::Restart { node, empty: false }));
            if s.left.losses > 0 && !me.second {
                out.push(Action::Member(MemberStep::Restart { node, empty: true }));
            }
            continue;
        }
        if s.left.crashes > 0 {
            out.push(Action::Member(MemberStep::Crash { node, torn: false }));
            // What a store answered is synced, and so is all before it: a later seal ends this.
            let own = s.store(me.own(node));
            let unsynced = own.sealed == me.seen.epoch && own.len > me.primary.acked;
            if me.primary.phase == Phase::Serving && unsynced {
                out.push(Action::Member(MemberStep::Crash { node, torn: true }));
            }
        }
        if me.seen.version < s.view.version {
            out.push(Action::Member(MemberStep::Apply(node)));
        }
        if !leads(s) {
            continue;
        }
        if s.view.is_member(node) {
            if s.view.boot(node) < me.boot {
                rejoins(config, s, node, out);
            }
        } else if s.left.joins > 0 || me.fresh {
            out.push(Action::Member(MemberStep::Join(node)));
        }
    }
}

fn rejoins(config: &Config, s: &State, node: u8, out: &mut Vec<Action>) {
    let owned = s.view.owner == node;
    let empty = s.view.store(node) != s.node(node).own(node);
    if !owned || !empty || !config.keeps(Guard::EmptyStoreLosesShards) {
        out.push(Action::Member(MemberStep::Rejoin { node, to: NOBODY }));
        return;
    }
    let view = destroyed(config, s, node);
    out.push(Action::Member(MemberStep::Rejoin { node, to: NOBODY }));
    let next = (0..NODES).filter(|&to| to != node && view.in_sync != 0 && may_own(&view, to));
    next.for_each(|to| out.push(Action::Member(MemberStep::Rejoin { node, to })));
}

/// The view once `node` has entered with its new, empty store: the old one is out of `in_sync`.
fn destroyed(config: &Config, s: &State, node: u8) -> View {
    let (mut view, old, new) = (s.view, s.view.store(node), s.node(node).own(node));
    view.second |= bit(node);
    if has(view.in_sync, old) {
        view.in_sync &= !bit(old);
        view.generation += 1;
        let by_name = !config.keeps(Guard::InSyncNamesStores) && view.owner != node;
        let kept = !config.keeps(Guard::EmptyStoreLosesShards) && view.owner == node;
        if by_name || kept {
            view.in_sync |= bit(new);
        }
    }
    view
}

pub(crate) fn next(config: &Config, s: &mut State, step: MemberStep) {
    match step {
        MemberStep::Crash { node, torn } => crash(s, node, torn),
        MemberStep::Restart { node, empty } => restart(s, node, empty),
        MemberStep::Rejoin { node, to } => rejoin(config, s, node, to),
        MemberStep::Join(node) => join(s, node),
        MemberStep::Apply(node) => apply(config, s, node),
    }
}

/// The process is gone, and all that was in its memory. What it sent may still arrive. An owner
/// sends a write and stores it at once: others may have what its own store never got.
fn crash(s: &mut State, node: u8, torn: bool) {
    s.left.crashes -= 1;
    if torn {
        let (own, acked) = (s.node(node).own(node), s.node(node).primary.acked);
        s.store_mut(own).cut(acked);
    }
    let me = s.node_mut(node);
    me.up = false;
    me.seen = View::NONE;
    forget(s, node);
}

/// What ends with a life.
fn forget(s: &mut State, node: u8) {
    let me = s.node_mut(node);
    me.lease = 0;
    me.renew = Renew::Idle;
    me.primary = Primary::IDLE;
    me.pending = None;
    me.queue = 0;
}

fn restart(s: &mut State, node: u8, empty: bool) {
    let me = s.node_mut(node);
    me.up = true;
    me.boot += 1;
    me.fresh = true;
    me.turn = None;
    if empty {
        me.second = true;
        s.left.losses -= 1;
        s.destroyed |= bit(node);
        *s.store_mut(node) = Store::default();
    }
}

fn rejoin(config: &Config, s: &mut State, node: u8, to: u8) {
    let boot = s.node(node).boot;
    let (owned, moved) = (s.view.owner == node, s.view.moving == node);
    let empty = s.view.store(node) != s.node(node).own(node);
    let mut view = if empty { destroyed(config, s, node) } else { s.view };
    view.version += 1;
    view.boots[usize::from(node)] = boot;
    let keeps = !empty || !config.keeps(Guard::EmptyStoreLosesShards);
    if owned {
        give(&mut view, if keeps { node } else { to });
    } else if moved {
        let stays = view.owner;
        give(&mut view, stays);
    }
    if view.in_sync == 0 {
        view.owner = NOBODY;
        view.lost = view.has_records;
    }
    s.view = view;
    s.node_mut(node).fresh = false;
    end_seat(s, node);
}

/// The office forgets the boot that is gone: an Evict of it changes nothing any more.
fn end_seat(s: &mut State, node: u8) {
    let office = &mut s.office;
    office.marks &= !bit(node);
    office.evicts &= !bit(node);
    // A boot that was just admitted has D' for its first Renew; that is only kinder to it.
    office.expiry[usize::from(node)] = 0;
}

/// Under a boot that was never a member. A process that was evicted begins one by itself.
fn join(s: &mut State, node: u8) {
    if !s.node(node).fresh {
        s.left.joins -= 1;
        s.node_mut(node).boot += 1;
        forget(s, node);
    }
    s.node_mut(node).fresh = false;
    let (boot, second) = (s.node(node).boot, s.node(node).second);
    s.view.version += 1;
    s.view.boots[usize::from(node)] = boot;
    if second {
        s.view.second |= bit(node);
    }
    end_seat(s, node);
}

/// The node applies the newest view; it may skip some.
fn apply(config: &Config, s: &mut State, node: u8) {
    let view = s.view;
    let before = s.node(node).seen;
    let me = s.node_mut(node);
    let was_owner = me.is_owner(node);
    me.seen = view;
    let is_owner = me.is_owner(node);
    super::moves::applied(config, s, node);
    let same = was_owner && is_owner && before.epoch == view.epoch;
    if !same {
        let me = s.node_mut(node);
        me.primary = Primary::IDLE;
        me.pending = None;
        if config.keeps(Guard::FutureKeepsTenure) {
            me.turn = None;
        }
    }
    if is_owner {
        follow(config, s, node, before.in_sync);
    }
}

/// The owner begins its epoch, or follows `in_sync`.
fn follow(config: &Config, s: &mut State, node: u8, before: u8) {
    let view = s.view;
    let own = s.node(node).own(node);
    let me = s.node_mut(node);
    me.pending = me.pending.filter(|change| change.generation >= view.generation);
    let gone = before & !view.in_sync;
    if me.primary.phase != Phase::Idle {
        me.primary.live &= !gone;
        me.primary.sealed &= !gone;
        for store in (0..super::state::STORES).filter(|&store| has(gone, store)) {
            me.primary.held[usize::from(store)] = 0;
        }
    }
    let starts = match me.primary.phase {
        Phase::Idle => true,
        Phase::Bare => view.has_records,
        Phase::TakingOver | Phase::Serving => false,
    };
    if !starts {
        return;
    }
    let with_records = view.has_records || !config.keeps(Guard::HasRecordsFirst);
    if !with_records {
        me.primary.phase = Phase::Bare;
        return;
    }
    let store = s.store_mut(own);
    if store.sealed > view.epoch {
        return; // A later owner has sealed it: the view will tell.
    }
    store.sealed = view.epoch;
    let (len, acked) = (store.len, store.acked);
    let primary = &mut s.node_mut(node).primary;
    *primary = Primary { phase: Phase::TakingOver, acked, ..Primary::IDLE };
    primary.sealed = bit(own);
    primary.live = bit(own);
    primary.held[usize::from(own)] = len;
}

/// Whether `node` may propose: its last change is settled, and none is on its way.
pub(crate) fn may_propose(s: &State, node: u8) -> bool {
    let me = s.node(node);
    s.left.changes > 0 && me.pending.is_none() && me.flight.is_none() && me.is_owner(node)
}

/// Applies what an owner proposed, or refuses it.
pub(crate) fn commit(config: &Config, s: &mut State, node: u8) {
    let Some(change) = s.node_mut(node).flight.take() else { return };
    let Proposed { kind, store, epoch, generation } = change;
    let same = s.view.owner == node && s.view.epoch == epoch;
    let named = s.view.generation == generation || !config.keeps(Guard::ChangeNamesGeneration);
    if !same || !named {
        return;
    }
    let live = s.view.live();
    let view = &mut s.view;
    let enough = |set: u8| {
        set.count_ones() >= super::state::WRITE_MIN || !config.keeps(Guard::WriteMinStays)
    };
    match kind {
        Kind::HasRecords => {
            let refused = view.has_records || view.in_sync & !live != 0 || !enough(view.in_sync);
            if refused {
                return;
            }
            view.has_records = true;
        }
        Kind::Add => {
            if !has(live, store) || has(view.in_sync, store) {
                return;
            }
            view.in_sync |= bit(store);
        }
        Kind::Shrink => {
            let stay = view.in_sync & !bit(store);
            let own = store_of(node, has(view.second, node));
            if store == own || !has(view.in_sync, store) || !enough(stay) {
                return;
            }
            view.in_sync = stay;
        }
    }
    view.generation += 1;
    view.version += 1;
}
