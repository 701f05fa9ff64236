//! The owner's half of replication: takeover, writes, acknowledgements, `in_sync`.
//!
//! A frame and its answer are one step, in which the owner may be long deposed: a frame that
//! arrives later than that is only ever seen by the seal that follows. What an owner learns it
//! keeps, whatever becomes of the store meanwhile.

use super::action::{Action, OwnerStep};
use super::guard::{Config, Guard};
use super::lease::can_commit;
use super::members::{commit, may_propose};
use super::state::{
    Kind, NODES, Phase, Proposed, STORES, State, Turn, WRITE_MIN, WRITES_MAX, bit, has, node_of,
};

pub(crate) fn actions(config: &Config, s: &State, out: &mut Vec<Action>) {
    for node in 0..NODES {
        let me = s.node(node);
        if let Some(change) = me.flight {
            out.push(Action::Owner(OwnerStep::Lose(node)));
            if can_commit(s) {
                out.push(Action::Owner(OwnerStep::Commit(node)));
            }
            debug_assert!(change.epoch > 0, "a change names an epoch");
        } else if me.pending.is_some() {
            out.push(Action::Owner(OwnerStep::ProposeAgain(node)));
        }
        match me.primary.phase {
            Phase::Idle => {}
            Phase::Bare => {
                if may_propose(s, node) {
                    out.push(Action::Owner(OwnerStep::Propose {
                        node,
                        kind: Kind::HasRecords,
                        store: 0,
                    }));
                }
            }
            Phase::TakingOver | Phase::Serving => {
                stores(config, s, node, out);
                own(config, s, node, out);
            }
        }
        let serves = me.primary.phase == Phase::Serving || me.primary.phase == Phase::Bare;
        if serves && me.gate(node) {
            turns(config, s, node, out);
        }
    }
}

/// What the owner does with each other store.
fn stores(config: &Config, s: &State, node: u8, out: &mut Vec<Action>) {
    let me = s.node(node);
    let (own, epoch, primary) = (me.own(node), me.seen.epoch, &me.primary);
    let (required, mine) = (me.required(true), s.store(own));
    for store in (0..STORES).filter(|&store| store != own) {
        let there = s.is_running(store);
        let it = s.store(store);
        let fenced = it.sealed == epoch || !config.keeps(Guard::SealFences);
        let at = usize::from(store);
        if there && has(required, store) && !has(primary.sealed, store) && it.sealed <= epoch {
            out.push(Action::Owner(OwnerStep::Seal { node, store }));
        }
        let diverges = has(primary.sealed, store) && !has(primary.live, store);
        if there && diverges && it.sealed == epoch && primary.phase == Phase::TakingOver {
            let whole = s.number(it.nth(it.acked)) <= s.number(mine.last());
            if whole && config.keeps(Guard::TakeoverResends) {
                out.push(Action::Owner(OwnerStep::Resend { node, store }));
            }
        }
        if there && has(primary.live, store) && fenced && primary.held[at] < mine.len {
            let room = usize::from(it.len) < WRITES_MAX;
            if room {
                out.push(Action::Owner(OwnerStep::Append { node, store }));
            }
        }
        if s.left.changes == 0 {
            continue;
        }
        let known = has(required, store) || has(primary.live, store);
        let member = me.seen.is_member(node_of(store)) && me.seen.store(node_of(store)) == store;
        if there && !known && member && it.sealed <= epoch {
            out.push(Action::Owner(OwnerStep::CatchUp { node, store }));
        }
        if !may_propose(s, node) {
            continue;
        }
        let ready = match primary.phase {
            Phase::Serving => primary.held[at] >= primary.acked,
            Phase::TakingOver => primary.held[at] == mine.len,
            Phase::Idle | Phase::Bare => false,
        };
        if has(primary.live, store) && !has(required, store) && ready {
            out.push(Action::Owner(OwnerStep::Propose { node, kind: Kind::Add, store }));
        }
        let enough = me.seen.in_sync.count_ones() > WRITE_MIN;
        if has(me.seen.in_sync, store) && (enough || !config.keeps(Guard::WriteMinStays)) {
            out.push(Action::Owner(OwnerStep::Propose { node, kind: Kind::Shrink, store }));
        }
    }
}

/// Serving, writing and acknowledging.
fn own(config: &Config, s: &State, node: u8, out: &mut Vec<Action>) {
    let me = s.node(node);
    let primary = &me.primary;
    let mine = s.store(me.own(node));
    if primary.phase == Phase::TakingOver {
        if may_serve(config, s, node) {
            out.push(Action::Owner(OwnerStep::Serve(node)));
        }
        return;
    }
    if !me.gate(node) {
        return;
    }
    let room = usize::from(mine.len) < WRITES_MAX && usize::from(s.history.numbered) < WRITES_MAX;
    let sealed = mine.sealed == me.seen.epoch || !config.keeps(Guard::SealFences);
    let started = me.seen.has_records || !config.keeps(Guard::HasRecordsFirst);
    if s.left.writes > 0 && room && sealed && started && me.turn.is_none() {
        out.push(Action::Owner(OwnerStep::Write(node)));
    }
    let mut required = me.required(config.keeps(Guard::PendingAddCounts));
    if !config.keeps(Guard::ShrinkCountsUntilSeen)
        && let Some(Proposed { kind: Kind::Shrink, store, .. }) = me.pending
    {
        required &= !bit(store);
    }
    let all_have = |store: u8| {
        let held = primary.held[usize::from(store)];
        has(primary.live, store) && held > primary.acked
    };
    let enough = required.count_ones() >= WRITE_MIN;
    if primary.acked < mine.len
        && enough
        && (0..STORES).filter(|&store| has(required, store)).all(all_have)
    {
        out.push(Action::Owner(OwnerStep::Acknowledge(node)));
    }
    if mine.first(primary.acked) & !s.history.acked != 0 {
        out.push(Action::Owner(OwnerStep::Read(node)));
    }
}

fn may_serve(config: &Config, s: &State, node: u8) -> bool {
    let me = s.node(node);
    let len = s.store(me.own(node)).len;
    let required = me.required(true);
    if !has(required, me.own(node)) {
        return false;
    }
    if !config.keeps(Guard::TakeoverResends) {
        return required & !me.primary.sealed == 0;
    }
    let mut agree = 0;
    for store in 0..STORES {
        let all = me.primary.held[usize::from(store)] == len;
        agree |= if has(me.primary.live, store) && all { bit(store) } else { 0 };
    }
    if !config.keeps(Guard::AllAgreeBeforeServing) {
        return (required & agree).count_ones() >= WRITE_MIN;
    }
    required & !agree == 0
}

fn turns(config: &Config, s: &State, node: u8, out: &mut Vec<Action>) {
    let me = s.node(node);
    let Some(turn) = me.turn else {
        if s.left.turns > 0 && me.primary.acked == s.store(me.own(node)).len {
            out.push(Action::Owner(OwnerStep::BeginTurn(node)));
        }
        return;
    };
    if turn.epoch == me.seen.epoch || !config.keeps(Guard::FutureKeepsTenure) {
        out.push(Action::Owner(OwnerStep::EndTurn(node)));
    }
}

pub(crate) fn next(config: &Config, s: &mut State, step: OwnerStep) {
    match step {
        OwnerStep::Propose { node, kind, store } => {
            s.left.changes -= 1;
            let me = s.node_mut(node);
            let (epoch, generation) = (me.seen.epoch, me.seen.generation);
            me.pending = Some(Proposed { kind, store, epoch, generation });
            me.flight = me.pending;
        }
        OwnerStep::ProposeAgain(node) => s.node_mut(node).flight = s.node(node).pending,
        OwnerStep::Commit(node) => commit(config, s, node),
        OwnerStep::Lose(node) => s.node_mut(node).flight = None,
        OwnerStep::Seal { node, store } => seal(s, node, store),
        OwnerStep::Resend { node, store } => resend(s, node, store),
        OwnerStep::Serve(node) => serve(config, s, node),
        OwnerStep::CatchUp { node, store } => catch_up(s, node, store),
        OwnerStep::Write(node) => write(s, node),
        OwnerStep::Append { node, store } => append(s, node, store),
        OwnerStep::Acknowledge(node) => {
            let own = s.node(node).own(node);
            let primary = &mut s.node_mut(node).primary;
            primary.acked += 1;
            let acked = primary.acked;
            let mine = s.store_mut(own);
            mine.acked = acked;
            s.history.acked |= mine.first(acked);
        }
        OwnerStep::Read(node) => {
            let (own, acked) = (s.node(node).own(node), s.node(node).primary.acked);
            s.history.acked |= s.store(own).first(acked);
        }
        OwnerStep::BeginTurn(node) => {
            s.left.turns -= 1;
            let (own, acked) = (s.node(node).own(node), s.node(node).primary.acked);
            let saw = s.store(own).first(acked);
            let epoch = s.node(node).seen.epoch;
            s.node_mut(node).turn = Some(Turn { epoch, saw });
        }
        OwnerStep::EndTurn(node) => {
            if let Some(turn) = s.node_mut(node).turn.take() {
                s.history.stale |= s.history.acked & !turn.saw != 0;
            }
        }
    }
}

fn seal(s: &mut State, node: u8, store: u8) {
    let (own, epoch) = (s.node(node).own(node), s.node(node).seen.epoch);
    let last = s.store(own).last();
    let it = s.store_mut(store);
    it.sealed = epoch;
    let (len, same) = (it.len, it.last() == last);
    let primary = &mut s.node_mut(node).primary;
    primary.sealed |= bit(store);
    if same {
        // A number names one write, and the owner that gave it had fixed everything below.
        primary.live |= bit(store);
        primary.held[usize::from(store)] = len;
    }
}

/// The store keeps what it knows to be acknowledged, drops the rest and takes the owner's tail.
fn resend(s: &mut State, node: u8, store: u8) {
    let own = s.node(node).own(node);
    let mine = *s.store(own);
    let mut it = *s.store(store);
    let after = s.number(it.nth(it.acked));
    let acked = it.acked;
    it.cut(acked);
    for at in 0..mine.len {
        let write = mine.log[usize::from(at)];
        if s.number(write) > after {
            it.push(write);
        }
    }
    *s.store_mut(store) = it;
    let primary = &mut s.node_mut(node).primary;
    primary.live |= bit(store);
    primary.held[usize::from(store)] = mine.len;
}

fn serve(config: &Config, s: &mut State, node: u8) {
    let own = s.node(node).own(node);
    let len = s.store(own).len;
    let me = s.node_mut(node);
    let required = me.required(true);
    me.primary.phase = Phase::Serving;
    me.primary.acked = len;
    if !config.keeps(Guard::TakeoverResends) {
        me.primary.live |= required;
        for store in (0..STORES).filter(|&store| has(required, store)) {
            me.primary.held[usize::from(store)] = len;
        }
    }
    s.store_mut(own).acked = len;
}

/// The store drops what it holds and gets the owner's state: what is acknowledged, or, before that
/// is known, everything.
fn catch_up(s: &mut State, node: u8, store: u8) {
    let me = s.node(node);
    let (mine, epoch) = (*s.store(me.own(node)), me.seen.epoch);
    let serving = me.primary.phase == Phase::Serving;
    let upto = if serving { me.primary.acked } else { mine.len };
    let mut it = mine;
    it.sealed = epoch;
    it.cut(upto);
    it.acked = if serving { upto } else { 0 };
    *s.store_mut(store) = it;
    let primary = &mut s.node_mut(node).primary;
    primary.sealed |= bit(store);
    primary.live |= bit(store);
    primary.held[usize::from(store)] = upto;
}

fn write(s: &mut State, node: u8) {
    s.left.writes -= 1;
    let (own, epoch) = (s.node(node).own(node), s.node(node).seen.epoch);
    let at = s.history.numbered;
    s.history.numbered += 1;
    s.history.epochs[usize::from(at)] = epoch;
    let write = s.history.numbered;
    note_order(s, own, write);
    let mine = s.store_mut(own);
    mine.push(write);
    let len = mine.len;
    s.node_mut(node).primary.held[usize::from(own)] = len;
}

fn append(s: &mut State, node: u8, store: u8) {
    let me = s.node(node);
    let at = usize::from(store);
    let mine = *s.store(me.own(node));
    let write = mine.log[usize::from(me.primary.held[at])];
    let acked = me.primary.acked;
    note_order(s, store, write);
    let it = s.store_mut(store);
    it.push(write);
    it.acked = it.acked.max(acked.min(it.len));
    s.node_mut(node).primary.held[at] += 1;
}

/// I2: a store takes writes strictly by epoch.
fn note_order(s: &mut State, store: u8, write: u8) {
    let before = s.number(s.store(store).last()).0;
    s.history.backwards |= s.number(write).0 < before;
}
