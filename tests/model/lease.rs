//! Leases, leaders and evictions.
//!
//! Time is ticks that every clock shows alike: what clocks of other rates need is arithmetic, and
//! proven in `detector::lease`. A Renew counts as received when it was sent, which is the earliest
//! the leader can have read its clock, so the model evicts no later than any real leader.

use super::action::{Action, LeaseStep};
use super::guard::{Config, Guard};
use super::state::{Length, NOBODY, NODES, Renew, State, View, bit, has};

/// D as a grant made under `length` carries it.
fn lease(config: &Config, length: Length) -> u8 {
    match length {
        Length::First => config.lengths[0],
        Length::Changing | Length::Second => config.lengths[1],
    }
}

/// D', which all clocks alike make D: the longer one while D changes.
fn at_leader(config: &Config, view: &View) -> u8 {
    match view.length {
        Length::First => config.lengths[0],
        Length::Changing => config.lengths[0].max(config.lengths[1]),
        Length::Second => config.lengths[1],
    }
}

/// Whether a leader can commit: it is up, and so is a majority.
pub(crate) fn can_commit(s: &State) -> bool {
    let up = s.nodes.iter().filter(|node| node.up).count();
    up >= 2 && s.node(s.office.leader).up
}

/// Whether the leader acts: its first entry is applied.
pub(crate) fn leads(s: &State) -> bool {
    s.office.ready && can_commit(s)
}

/// Whether the leader would grant a Renew of `node` now.
fn grants(config: &Config, s: &State, node: u8) -> bool {
    let boot = s.node(node).boot;
    let ready = s.office.ready || !config.keeps(Guard::FirstEntryBeforeGrants);
    boot != 0 && ready && can_commit(s) && s.view.boot(node) == boot && !has(s.office.marks, node)
}

pub(crate) fn actions(config: &Config, s: &State, out: &mut Vec<Action>) {
    let runs = |node: &super::state::Node| node.lease > 0 || node.renew != Renew::Idle;
    let office = &s.office;
    let waits = office.first > 0 || office.settling > 0 || office.expiry.iter().any(|&at| at > 0);
    if waits || s.nodes.iter().any(runs) {
        out.push(Action::Lease(LeaseStep::Tick));
    }
    for node in 0..NODES {
        if !has(config.idle, node) {
            renewals(config, s, node, out);
        }
        evictions(config, s, node, out);
        if s.left.elections > 0 && node != office.leader && s.node(node).up {
            let majority = s.nodes.iter().filter(|node| node.up).count() >= 2;
            if majority {
                out.push(Action::Lease(LeaseStep::Elect { node, inherits: true }));
                if office.evicts != 0 {
                    out.push(Action::Lease(LeaseStep::Elect { node, inherits: false }));
                }
            }
        }
    }
    // What the leader before had in the log comes first.
    if !office.ready && office.evicts == 0 && can_commit(s) {
        out.push(Action::Lease(LeaseStep::FirstEntry));
    }
    if leads(s) && s.view.owner == NOBODY && !s.view.lost {
        (0..NODES)
            .filter(|&to| may_own(&s.view, to))
            .for_each(|to| out.push(Action::Lease(LeaseStep::Assign { to })));
    }
    if leads(s) && s.view.length == Length::First && s.left.lengths > 0 {
        out.push(Action::Lease(LeaseStep::SetLength));
    }
    if leads(s) && s.view.length == Length::Changing && office.settling == 0 {
        out.push(Action::Lease(LeaseStep::SettleLength));
    }
}

fn renewals(config: &Config, s: &State, node: u8, out: &mut Vec<Action>) {
    let me = s.node(node);
    if !me.up || me.boot == 0 {
        return;
    }
    if !config.renew_in_steps {
        let current = me.seen.version == s.view.version;
        let full = lease(config, s.view.length);
        let new = me.lease < full || s.office.expiry[usize::from(node)] < full;
        if current && new && grants(config, s, node) {
            out.push(Action::Lease(LeaseStep::Renew(node)));
        }
        return;
    }
    if me.seen.boot(node) == me.boot && me.renew != (Renew::Sent { age: 0 }) {
        out.push(Action::Lease(LeaseStep::SendRenew(node)));
    }
    match me.renew {
        Renew::Idle => {}
        Renew::Sent { .. } => {
            if grants(config, s, node) {
                out.push(Action::Lease(LeaseStep::Grant(node)));
            }
            let deposed = s.left.elections < config.budget.elections;
            if deposed && !config.keeps(Guard::GrantNeedsBarrier) {
                out.push(Action::Lease(LeaseStep::GrantOfDeposed(node)));
            }
        }
        Renew::Granted { version, .. } => {
            let applied = me.seen.version >= version || !config.keeps(Guard::GrantNamesVersion);
            if applied && me.seen.boot(node) == me.boot {
                out.push(Action::Lease(LeaseStep::TakeGrant(node)));
            }
        }
    }
}

fn evictions(config: &Config, s: &State, node: u8, out: &mut Vec<Action>) {
    let office = &s.office;
    let (marked, in_flight) = (has(office.marks, node), has(office.evicts, node));
    if leads(s) && s.view.is_member(node) {
        let over = office.first == 0 && office.expiry[usize::from(node)] == 0;
        if !marked && over && s.left.marks > 0 && !has(config.idle, node) {
            out.push(Action::Lease(LeaseStep::Mark(node)));
        }
        if marked && !in_flight {
            out.push(Action::Lease(LeaseStep::ProposeEvictAgain(node)));
        }
        if marked && in_flight && !config.keeps(Guard::MarkOutlastsFlight) {
            out.push(Action::Lease(LeaseStep::MarkFalls(node)));
        }
    }
    if in_flight {
        out.push(Action::Lease(LeaseStep::LoseEvict(node)));
        if can_commit(s) {
            let after = without_member(config, s, node);
            out.push(Action::Lease(LeaseStep::Evict { node, to: NOBODY }));
            if s.view.owner == node {
                let next = (0..NODES).filter(|&to| may_own(&after, to));
                next.for_each(|to| out.push(Action::Lease(LeaseStep::Evict { node, to })));
            }
        }
    }
}

/// The view without member `node`: its store leaves `in_sync` where enough live others stay.
fn without_member(config: &Config, s: &State, node: u8) -> View {
    let mut view = s.view;
    let store = view.store(node);
    view.boots[usize::from(node)] = 0;
    view.second &= !bit(node);
    if view.owner == node {
        view.owner = NOBODY;
    }
    let others = view.in_sync & !bit(store);
    let enough = (others & view.live()).count_ones() >= super::state::WRITE_MIN;
    let stays = !enough && config.keeps(Guard::WriteMinStays);
    if has(view.in_sync, store) && !stays && others != 0 {
        view.in_sync = others;
        view.generation += 1;
    }
    view
}

/// Whether `to` may be given the shard: a member; with records, one whose store is in `in_sync`.
pub(crate) fn may_own(view: &View, to: u8) -> bool {
    view.is_member(to) && (!view.has_records || has(view.in_sync, view.store(to)))
}

/// Gives the shard to `to` under the epoch of this version, or leaves it ownerless.
pub(crate) fn give(view: &mut View, to: u8) {
    view.moving = NOBODY;
    view.owner = to;
    if to == NOBODY {
        return;
    }
    view.previous = view.epoch;
    view.epoch = view.version;
    if !view.has_records {
        // Nothing to hold yet: the holders are planned anew.
        let planned = (view.in_sync & view.live()) | bit(view.store(to));
        if planned != view.in_sync {
            view.in_sync = planned;
            view.generation += 1;
        }
    }
}

pub(crate) fn next(config: &Config, s: &mut State, step: LeaseStep) {
    match step {
        LeaseStep::Tick => tick(config, s),
        LeaseStep::Renew(node) => {
            let full = lease(config, s.view.length);
            s.node_mut(node).lease = full;
            let expiry = &mut s.office.expiry[usize::from(node)];
            *expiry = (*expiry).max(at_leader(config, &s.view));
        }
        LeaseStep::SendRenew(node) => s.node_mut(node).renew = Renew::Sent { age: 0 },
        LeaseStep::Grant(node) => grant(config, s, node, true),
        LeaseStep::GrantOfDeposed(node) => grant(config, s, node, false),
        LeaseStep::TakeGrant(node) => take(config, s, node),
        LeaseStep::Elect { node, inherits } => elect(config, s, node, inherits),
        LeaseStep::FirstEntry => {
            s.office.ready = true;
            let waits = config.keeps(Guard::NewLeaderWaits);
            s.office.first = if waits { at_leader(config, &s.view) } else { 0 };
        }
        LeaseStep::Mark(node) => {
            s.left.marks -= 1;
            s.office.marks |= bit(node);
            s.office.evicts |= bit(node);
        }
        LeaseStep::ProposeEvictAgain(node) => {
            s.history.unheard |= s.office.expiry[usize::from(node)] > 0;
            s.office.evicts |= bit(node);
        }
        LeaseStep::LoseEvict(node) => s.office.evicts &= !bit(node),
        LeaseStep::MarkFalls(node) => s.office.marks &= !bit(node),
        LeaseStep::Evict { node, to } => evict(config, s, node, to),
        LeaseStep::Assign { to } => {
            s.view.version += 1;
            give(&mut s.view, to);
        }
        LeaseStep::SetLength => {
            s.left.lengths -= 1;
            s.view.version += 1;
            s.view.length = Length::Changing;
            s.office.settling = at_leader(config, &s.view);
        }
        LeaseStep::SettleLength => {
            s.view.version += 1;
            s.view.length = Length::Second;
        }
    }
}

fn tick(config: &Config, s: &mut State) {
    for node in &mut s.nodes {
        node.lease = node.lease.saturating_sub(1);
        let longest = config.lengths[0].max(config.lengths[1]);
        node.renew = match node.renew {
            Renew::Sent { age } if age + 1 < longest => Renew::Sent { age: age + 1 },
            Renew::Granted { age, lease, version } if age + 1 < longest => {
                Renew::Granted { age: age + 1, lease, version }
            }
            Renew::Idle | Renew::Sent { .. } | Renew::Granted { .. } => Renew::Idle,
        };
    }
    let office = &mut s.office;
    office.first = office.first.saturating_sub(1);
    office.settling = office.settling.saturating_sub(1);
    for at in &mut office.expiry {
        *at = at.saturating_sub(1);
    }
}

fn grant(config: &Config, s: &mut State, node: u8, in_table: bool) {
    let Renew::Sent { age } = s.node(node).renew else { return };
    // A deposed leader names a view of long ago.
    let version = if in_table { s.view.version } else { 0 };
    let lease = lease(config, s.view.length);
    if in_table {
        let expiry = &mut s.office.expiry[usize::from(node)];
        *expiry = (*expiry).max(at_leader(config, &s.view).saturating_sub(age));
    }
    s.node_mut(node).renew = Renew::Granted { age, lease, version };
}

fn take(config: &Config, s: &mut State, node: u8) {
    let me = s.node_mut(node);
    let Renew::Granted { age, lease: carried, .. } = me.renew else { return };
    let counted = if config.keeps(Guard::GrantCarriesLength) {
        carried
    } else {
        lease(config, me.seen.length)
    };
    me.lease = me.lease.max(counted.saturating_sub(age));
    me.renew = Renew::Idle;
}

fn elect(config: &Config, s: &mut State, node: u8, inherits: bool) {
    s.left.elections -= 1;
    let office = &mut s.office;
    if !config.keeps(Guard::MarkFallsWithTable) {
        office.kept[usize::from(office.leader)] = office.marks;
    }
    office.marks = std::mem::take(&mut office.kept[usize::from(node)]);
    office.leader = node;
    office.ready = false;
    office.first = 0;
    office.expiry = [0; NODES as usize];
    if !inherits {
        office.evicts = 0;
    }
}

fn evict(config: &Config, s: &mut State, node: u8, to: u8) {
    s.office.evicts &= !bit(node);
    s.office.marks &= !bit(node);
    if !s.view.is_member(node) {
        return;
    }
    let owned = s.view.owner == node;
    let mut view = without_member(config, s, node);
    view.version += 1;
    if owned {
        give(&mut view, to);
    } else if s.view.moving == node {
        // The target is gone: the owner stays, under a new epoch.
        let keeps = view.owner;
        give(&mut view, keeps);
    }
    s.view = view;
    s.office.expiry[usize::from(node)] = 0;
}
