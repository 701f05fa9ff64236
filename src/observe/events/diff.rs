//! The difference of two views, put to the versions between them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::like::Like;
use super::{
    ConstantsChange, Held, LISTED_MAX, Life, MemberChange, Passed, ShardChange, ViewChange,
};
use crate::base::{NodeId, ShardId, StoreId, Version};
use crate::placement::{Member, Noted, Owner, Shard, View};

/// Said of versions of which the view does not know any more why they came about.
const FORGOTTEN: &str = "why is not known any more";
/// Said of what several versions made together.
const TOGETHER: &str = "what these versions made together";

/// What changed from `old` to `new`, a change for each version in between whose cause is known, in
/// their order. Nothing if `new` is not newer.
///
/// Cost: a pointer comparison for each shard; those that differ are looked at.
#[must_use]
pub fn changes(old: &View, new: &View) -> Vec<ViewChange> {
    if new.version <= old.version {
        return Vec::new();
    }
    let mut drafts = Drafts::new(old, new);
    members(&mut drafts);
    if old.voters != new.voters {
        let voters: BTreeSet<&NodeId> = new.voters.values().collect();
        let voters = voters.into_iter().cloned().collect();
        drafts.any().change.voters = Some(voters);
    }
    if let Some(constants) = &new.constants
        && old.constants.as_ref() != Some(constants)
    {
        let (before, after) = (old.constants.clone(), constants.clone());
        drafts.any().change.constants = Some(ConstantsChange { before, after });
    }
    for (number, after) in (0..).map(ShardId).zip(&new.shards) {
        let before = old.shards.get(usize::from(number.0));
        let is_same = before.is_some_and(|before| Arc::ptr_eq(before, after) || before == after);
        if !is_same {
            shard(&mut drafts, number, (before.map(Arc::as_ref), after));
        }
    }
    drafts.done()
}

/// A change that is being put together.
#[derive(Default)]
struct Draft {
    change: ViewChange,
    /// Shards that its causes name.
    named: BTreeSet<ShardId>,
    owners: Counts,
    moves: Counts,
    stays: Counts,
    holders: BTreeMap<NodeId, (u32, u32)>,
}

/// How many shards go from whom to whom.
type Counts = BTreeMap<(Option<NodeId>, Option<NodeId>), u32>;

/// One draft for each version whose cause is known, or for like versions of one entry; and one for
/// what is left.
struct Drafts<'a> {
    old: &'a View,
    new: &'a View,
    notes: Vec<&'a Noted>,
    /// Which draft each note belongs to.
    at: Vec<usize>,
    all: Vec<Draft>,
    /// What cannot be put to one of several versions.
    rest: Option<Draft>,
}

impl<'a> Drafts<'a> {
    fn new(old: &'a View, new: &'a View) -> Self {
        let notes: Vec<&Noted> =
            new.history.iter().map(Arc::as_ref).filter(|note| note.version > old.version).collect();
        let (mut groups, mut at): (Vec<Like<'_>>, Vec<usize>) = (Vec::new(), Vec::new());
        for note in &notes {
            if !groups.last_mut().is_some_and(|last| last.takes(note)) {
                groups.push(Like::of(note));
            }
            at.push(groups.len() - 1);
        }
        let all = groups.into_iter().map(Draft::of).collect();
        Self { old, new, notes, at, all, rest: None }
    }

    /// Where belongs what no version in particular has made.
    fn any(&mut self) -> &mut Draft {
        let is_whole =
            u64::try_from(self.notes.len()) == Ok(self.new.version.0 - self.old.version.0);
        if self.all.len() == 1 && is_whole {
            return &mut self.all[0];
        }
        let (since, version) = (self.old.version, self.new.version);
        let cause = if is_whole { TOGETHER } else { FORGOTTEN };
        self.rest.get_or_insert_with(|| {
            let change =
                ViewChange { since, version, cause: cause.into(), ..ViewChange::default() };
            Draft { change, ..Draft::default() }
        })
    }

    /// The last note that `wanted` picks.
    fn pick(&mut self, wanted: impl Fn(&Noted) -> bool) -> Option<&mut Draft> {
        let at = self.notes.iter().rposition(|note| wanted(note))?;
        self.all.get_mut(self.at[at])
    }

    /// The draft of the entry that began the present ownership of a shard. One entry may have made
    /// several versions: the one that is about either owner is meant, or the first about no node,
    /// because the leader hands over before it begins moves.
    fn of_ownership(&mut self, (before, after): (Option<&Shard>, &Shard)) -> &mut Draft {
        let epoch = after.epoch;
        let owners: Vec<&NodeId> = before
            .and_then(|shard| shard.owner.as_ref())
            .into_iter()
            .chain(&after.owner)
            .map(|owner| &owner.node)
            .collect();
        let about = |note: &Noted| note.node.as_ref().is_some_and(|node| owners.contains(&node));
        let at = |wanted: &dyn Fn(&Noted) -> bool| {
            self.notes.iter().position(|note| note.epoch == epoch && wanted(note))
        };
        let found =
            at(&about).or_else(|| at(&|note| note.node.is_none())).or_else(|| at(&|_| true));
        match found {
            Some(at) => &mut self.all[self.at[at]],
            None => self.any(),
        }
    }

    /// The draft of what changed about the copies or the records of a shard alone: the only one
    /// whose causes name it.
    fn of_copies(&mut self, shard: ShardId) -> &mut Draft {
        let mut named = (0..self.all.len()).filter(|at| self.all[*at].named.contains(&shard));
        match (named.next(), named.next()) {
            (Some(at), None) => &mut self.all[at],
            (Some(_) | None, _) => self.any(),
        }
    }

    fn done(self) -> Vec<ViewChange> {
        let mut all: Vec<ViewChange> = self.all.into_iter().map(Draft::done).collect();
        all.extend(self.rest.map(Draft::done));
        all
    }
}

impl Draft {
    fn of(group: Like<'_>) -> Self {
        let (first, last, cause, named) = group.done();
        let change = ViewChange {
            since: Version(first.version.0 - 1),
            version: last,
            epoch: first.epoch,
            cause,
            node: first.node.clone(),
            ..ViewChange::default()
        };
        Self { change, named, ..Self::default() }
    }

    fn done(self) -> ViewChange {
        let passed = |counts: Counts| {
            let rows = counts.into_iter();
            rows.map(|((from, to), shards)| Passed { from, to, shards }).collect()
        };
        let held = |(node, (more, fewer))| Held { node, more, fewer };
        ViewChange {
            owners: passed(self.owners),
            moves: passed(self.moves),
            stays: passed(self.stays),
            holders: self.holders.into_iter().map(held).collect(),
            ..self.change
        }
    }
}

fn members(drafts: &mut Drafts<'_>) {
    let (old, new) = (drafts.old, drafts.new);
    let names: BTreeSet<&NodeId> = old.members.keys().chain(new.members.keys()).collect();
    let standing = |member: &Member| Life { boot: member.boot, status: member.status };
    for node in names {
        let before = old.members.get(node).map(standing);
        let after = new.members.get(node).map(standing);
        if before == after {
            continue;
        }
        let departure = before
            .filter(|life| after.is_none_or(|now| now.boot != life.boot))
            .and_then(|life| new.departure(node, life.boot));
        let change = MemberChange { node: node.clone(), before, after, departure };
        let is_it = |note: &Noted| note.node.as_ref() == Some(node);
        match drafts.pick(is_it) {
            Some(draft) => draft.change.members.push(change),
            None => drafts.any().change.members.push(change),
        }
    }
}

fn shard(drafts: &mut Drafts<'_>, number: ShardId, (before, after): (Option<&Shard>, &Shard)) {
    let (old, new) = (drafts.old, drafts.new);
    let is_owned_anew = before.is_none_or(|before| before.epoch != after.epoch);
    let (added, dropped) = holders((old, new), before, after);
    let name = |owner: Option<&Owner>| owner.map(|owner| owner.node.clone());
    let was = before.and_then(|shard| shard.owner.as_ref());
    let was_moving = before.and_then(|shard| shard.moving.as_ref());
    let is_moved = was_moving != after.moving.as_ref();
    let draft = match (is_owned_anew, is_moved) {
        (true, _) => drafts.of_ownership((before, after)),
        (false, true) => drafts.any(),
        (false, false) => drafts.of_copies(number),
    };
    let (from, to) = (name(was), name(after.owner.as_ref()));
    if is_owned_anew || from != to {
        *draft.owners.entry((from.clone(), to.clone())).or_default() += 1;
    }
    if is_moved {
        match name(after.moving.as_ref()) {
            Some(goes) => *draft.moves.entry((to.clone(), Some(goes))).or_default() += 1,
            None if name(was_moving) != to => {
                *draft.stays.entry((to.clone(), name(was_moving))).or_default() += 1;
            }
            None => {}
        }
    }
    for (nodes, is_more) in [(&added, true), (&dropped, false)] {
        for node in nodes {
            let (more, fewer) = draft.holders.entry(node.clone()).or_default();
            *(if is_more { more } else { fewer }) += 1;
        }
    }
    let change = &mut draft.change;
    change.recorded += u32::from(after.has_records && !before.is_some_and(|one| one.has_records));
    change.lost += u32::from(after.lost && !before.is_some_and(|one| one.lost));
    if change.shards.len() >= LISTED_MAX {
        change.unlisted += 1;
        return;
    }
    change.shards.push(ShardChange {
        shard: number,
        epoch: after.epoch,
        before: was.cloned(),
        after: after.owner.clone(),
        moving_to: name(after.moving.as_ref()),
        added,
        dropped,
    });
}

/// The nodes whose stores hold it now and did not, and the other way round; sorted.
fn holders(
    (old, new): (&View, &View),
    before: Option<&Shard>,
    after: &Shard,
) -> (Vec<NodeId>, Vec<NodeId>) {
    let held = before.map_or(&[][..], |shard| &shard.in_sync);
    let node_of = |store: &StoreId| {
        let mark = new.stores.get(store).or_else(|| old.stores.get(store));
        mark.map(|mark| mark.node.clone())
    };
    let only = |these: &[StoreId], those: &[StoreId]| {
        let mut nodes: Vec<NodeId> =
            these.iter().filter(|store| !those.contains(store)).filter_map(node_of).collect();
        nodes.sort_unstable();
        nodes
    };
    (only(&after.in_sync, held), only(held, &after.in_sync))
}
