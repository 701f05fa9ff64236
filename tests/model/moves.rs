//! Planned moves: the queue, the release, and the three ways in which a move ends.

use super::action::{Action, MoveStep};
use super::guard::{Config, Guard};
use super::lease::{give, leads, may_own};
use super::state::{NOBODY, NODES, Phase, State};

pub(crate) fn actions(config: &Config, s: &State, out: &mut Vec<Action>) {
    let view = &s.view;
    let owned = view.owner != NOBODY;
    if leads(s) && owned && view.moving == NOBODY && s.left.moves > 0 {
        let targets = (0..NODES).filter(|&to| to != view.owner && may_own(view, to));
        targets.for_each(|to| out.push(Action::Move(MoveStep::Move { to })));
    }
    if leads(s) && owned && view.moving != NOBODY {
        out.push(Action::Move(MoveStep::AbortMove));
        let released = s.node(view.owner).released == view.epoch;
        let may = released || !config.keeps(Guard::HandOverAfterRelease);
        if may && may_own(view, view.moving) {
            out.push(Action::Move(MoveStep::HandOver));
        }
    }
    for node in 0..NODES {
        let me = s.node(node);
        if !me.is_owner(node) {
            continue;
        }
        if me.seen.moving != NOBODY {
            giving(s, node, out);
        }
        let stopped = me.seen.moving != NOBODY && config.keeps(Guard::MoveEndsByCommit);
        let serves = me.primary.phase == Phase::Serving || me.primary.phase == Phase::Bare;
        if me.gate(node) && serves && !stopped && me.queue == me.seen.epoch {
            out.push(Action::Move(MoveStep::RunQueue(node)));
        }
    }
}

/// The owner has seen the move: it hands the queue over, and releases the shard when the target
/// has confirmed the whole of it.
fn giving(s: &State, node: u8, out: &mut Vec<Action>) {
    let me = s.node(node);
    let target = s.node(me.seen.moving);
    // A frame of a newer view makes the receiver fetch it first.
    let meets =
        target.up && target.seen.epoch == me.seen.epoch && target.seen.moving == me.seen.moving;
    if meets && me.queue == me.seen.epoch && target.queue != me.queue {
        out.push(Action::Move(MoveStep::HandQueue(node)));
    }
    let confirmed = me.queue != me.seen.epoch || target.queue == me.queue;
    if confirmed && me.turn.is_none() && me.released != me.seen.epoch {
        out.push(Action::Move(MoveStep::Release(node)));
    }
}

pub(crate) fn next(s: &mut State, step: MoveStep) {
    match step {
        MoveStep::Move { to } => {
            s.left.moves -= 1;
            s.view.version += 1;
            s.view.moving = to;
        }
        MoveStep::HandQueue(node) => {
            let (to, queue) = (s.node(node).seen.moving, s.node(node).queue);
            s.node_mut(to).queue = queue;
        }
        MoveStep::Release(node) => {
            let epoch = s.node(node).seen.epoch;
            s.node_mut(node).released = epoch;
        }
        MoveStep::HandOver => {
            let to = s.view.moving;
            s.view.version += 1;
            give(&mut s.view, to);
        }
        MoveStep::AbortMove => {
            let owner = s.view.owner;
            s.view.version += 1;
            give(&mut s.view, owner);
        }
        MoveStep::RunQueue(node) => {
            s.node_mut(node).queue = 0;
            s.history.runs += 1;
        }
    }
}

/// What becomes of a held queue when `node` applies a view: the one named in what directly
/// followed the move runs it, all others drop it. Views may be skipped, so the view must say what
/// it followed.
pub(crate) fn applied(config: &Config, s: &mut State, node: u8) {
    let me = s.node_mut(node);
    if me.queue == 0 {
        return;
    }
    let seen = me.seen;
    if seen.epoch == me.queue {
        return;
    }
    let follows = seen.previous == me.queue || !config.keeps(Guard::QueueOfThisMove);
    let named = me.is_owner(node) && follows;
    me.queue = if named { seen.epoch } else { 0 };
}
