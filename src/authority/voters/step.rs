//! The next step from the voters there are to those there should be. No clock, no raft.

use std::collections::{BTreeMap, BTreeSet};

use super::{Elector, spread, voters_among};
use crate::base::{NodeId, VoterId};
use crate::placement::{Member, Status, View};

/// Raft's membership as its leader knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::authority) struct Quorum {
    /// The leader's own id.
    pub(in crate::authority) me: VoterId,
    /// The sets of voters: one, or two while they change, the newer one last.
    pub(in crate::authority) halves: Vec<BTreeSet<VoterId>>,
    /// Voters and learners.
    pub(in crate::authority) nodes: BTreeMap<VoterId, NodeId>,
    /// Those of them that have the log, but for the last few entries.
    pub(in crate::authority) caught_up: BTreeSet<VoterId>,
    /// Those of them that have answered the leader within two elections, itself included.
    pub(in crate::authority) heard: BTreeSet<VoterId>,
    /// Whether the newest membership is agreed on.
    pub(in crate::authority) is_settled: bool,
}

/// What the leader does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::authority) enum Step {
    /// Nothing, or wait for what is under way.
    Rest,
    /// Finish a change of the voters: these alone decide.
    Finish(BTreeSet<VoterId>),
    /// Send this one the log: it is to vote.
    Teach(VoterId, NodeId),
    /// Send this one the log no more: it will not vote.
    Forget(VoterId),
    /// These are the voters from now on.
    Change(BTreeSet<VoterId>),
    /// Let another voter lead: this one is to be replaced.
    HandOver,
}

/// Who of the view may vote under the id `voter`.
fn member_of(view: &View, voter: VoterId) -> Option<(&NodeId, &Member)> {
    view.members.iter().find(|(_, member)| member.voter == Some(voter))
}

/// The voters that no member votes as: their node was evicted, or has lost what it voted and has
/// another id.
pub(in crate::authority) fn dead_voters(view: &View, quorum: &Quorum) -> BTreeSet<VoterId> {
    let voters = quorum.halves.last().into_iter().flatten().copied();
    voters.filter(|voter| member_of(view, *voter).is_none()).collect()
}

/// Decides what the leader does next, given the members that are `alive` (their lease runs), the
/// dead voters that were waited for long enough (`ripe`), and those that did not get the log in
/// time (`hopeless`): another one is chosen in the place of such a learner.
pub(in crate::authority) fn next_step(
    view: &View,
    quorum: &Quorum,
    alive: &BTreeSet<NodeId>,
    (ripe, hopeless): (&BTreeSet<VoterId>, &BTreeSet<VoterId>),
) -> Step {
    let Some(voters) = quorum.halves.last() else { return Step::Rest };
    if quorum.halves.len() > 1 {
        return Step::Finish(voters.clone());
    }
    if !quorum.is_settled {
        return Step::Rest;
    }
    let sights = Sights::new(view, quorum, alive, hopeless);
    let (step, wanted) = match sights.to_replace(ripe) {
        Some(old) => sights.replace(old),
        None => sights.grow(),
    };
    if step != Step::Rest {
        return step;
    }
    let is_stray = |id: &&VoterId| !voters.contains(id) && !wanted.contains(id);
    quorum.nodes.keys().find(is_stray).map_or(Step::Rest, |id| Step::Forget(*id))
}

/// What a step is decided from.
struct Sights<'a> {
    view: &'a View,
    quorum: &'a Quorum,
    voters: &'a BTreeSet<VoterId>,
    /// Live members that could vote and do not, and are not about to leave.
    spares: Vec<Elector>,
    dead: BTreeSet<VoterId>,
    leaving: BTreeSet<VoterId>,
}

/// A step, and the learners that it is done for.
type Planned = (Step, Vec<VoterId>);

impl<'a> Sights<'a> {
    /// `quorum` has exactly one set of voters.
    fn new(
        view: &'a View,
        quorum: &'a Quorum,
        alive: &BTreeSet<NodeId>,
        hopeless: &BTreeSet<VoterId>,
    ) -> Self {
        let voters = &quorum.halves[0];
        let is_leaving = |id: &VoterId| {
            member_of(view, *id).is_some_and(|(_, member)| member.status == Status::Leaving)
        };
        let spare = |(node, member): (&NodeId, &Member)| {
            let may = |voter: &VoterId| !voters.contains(voter) && !hopeless.contains(voter);
            let voter = member.voter.filter(may)?;
            let stays = member.status != Status::Leaving && alive.contains(node);
            stays.then(|| Elector { node: node.clone(), voter, zone: member.zone.clone() })
        };
        Self {
            view,
            quorum,
            voters,
            spares: view.members.iter().filter_map(spare).collect(),
            dead: dead_voters(view, quorum),
            leaving: voters.iter().copied().filter(is_leaving).collect(),
        }
    }

    /// The dead before those that leave, and the leader itself last.
    fn to_replace(&self, ripe: &BTreeSet<VoterId>) -> Option<VoterId> {
        let dead = self.dead.iter().find(|id| ripe.contains(id));
        let others = || self.leaving.iter().find(|id| **id != self.quorum.me);
        dead.or_else(others).or_else(|| self.leaving.first()).copied()
    }

    /// Zones of the voters that stay.
    fn kept(&self, without: Option<VoterId>) -> Vec<&'a str> {
        let stay = self.voters.iter().filter(|id| Some(**id) != without);
        stay.filter_map(|id| member_of(self.view, *id)).map(|(_, one)| &*one.zone).collect()
    }

    /// `count` spares: those that get the log already, then by zone.
    fn pick(&self, without: Option<VoterId>, count: usize) -> Vec<Elector> {
        let taught = |one: &&Elector| self.quorum.nodes.contains_key(&one.voter);
        let learners: Vec<_> = self.spares.iter().filter(taught).cloned().collect();
        let mut kept = self.kept(without);
        let mut chosen = spread(&kept, &learners, count);
        kept.extend(
            chosen.iter().filter_map(|one| self.view.members.get(&one.node)).map(|one| &*one.zone),
        );
        let others: Vec<_> = self.spares.iter().filter(|one| !taught(one)).cloned().collect();
        let more = spread(&kept, &others, count - chosen.len());
        chosen.extend(more);
        chosen
    }

    fn replace(&self, old: VoterId) -> Planned {
        let new = self.pick(Some(old), 1);
        let ids: Vec<VoterId> = new.iter().map(|one| one.voter).collect();
        let Some(first) = new.first() else { return (Step::Rest, ids) };
        let is_sound =
            |id: &VoterId| *id != old && !self.dead.contains(id) && !self.leaving.contains(id);
        if old == self.quorum.me && self.voters.iter().any(is_sound) {
            return (Step::HandOver, ids);
        }
        let mut then = self.voters.clone();
        then.remove(&old);
        then.insert(first.voter);
        (self.teach_or(&new, then), ids)
    }

    fn grow(&self) -> Planned {
        if !self.dead.is_empty() {
            return (Step::Rest, Vec::new());
        }
        let all = self.voters.len() + self.spares.len();
        // From an odd number by two; an even one was not chosen here, and is made odd.
        let more = if self.voters.len().is_multiple_of(2) { 1 } else { 2 };
        if self.voters.len() + more > voters_among(all) {
            return (Step::Rest, Vec::new());
        }
        let new = self.pick(None, more);
        let ids: Vec<VoterId> = new.iter().map(|one| one.voter).collect();
        let then = self.voters.iter().copied().chain(ids.iter().copied()).collect();
        (self.teach_or(&new, then), ids)
    }

    /// The change, once all new ones have the log.
    fn teach_or(&self, new: &[Elector], then: BTreeSet<VoterId>) -> Step {
        let untaught = new.iter().find(|one| !self.quorum.nodes.contains_key(&one.voter));
        if let Some(one) = untaught {
            return Step::Teach(one.voter, one.node.clone());
        }
        let ready = new.iter().all(|one| self.quorum.caught_up.contains(&one.voter));
        if ready { Step::Change(then) } else { Step::Rest }
    }
}

/// The voters without `node`, as an operator wants them where no other node can take its place: as
/// many as suit the nodes that stay, an odd number, the leader among them, and all of them heard
/// and in possession of the log: with a dead one among fewer the cluster might stop at once.
///
/// # Errors
/// Why not, in words.
pub(in crate::authority) fn fewer_voters(
    view: &View,
    quorum: &Quorum,
    node: &NodeId,
) -> Result<BTreeSet<VoterId>, String> {
    let [voters] = quorum.halves.as_slice() else {
        return Err("the voters are being changed already: ask again".into());
    };
    if !quorum.is_settled {
        return Err("the voters are being changed already: ask again".into());
    }
    let of_node = |id: &VoterId| quorum.nodes.get(id) == Some(node);
    if !voters.iter().any(of_node) {
        return Err(format!("{node} does not vote"));
    }
    if of_node(&quorum.me) {
        return Err(format!("{node} leads: hand over first"));
    }
    let stays =
        |(name, member): &(&NodeId, &Member)| *name != node && member.status != Status::Leaving;
    let staying = view.members.iter().filter(stays).count();
    let elector = |id: &VoterId| {
        let (node, member) = member_of(view, *id).filter(stays)?;
        Some(Elector { node: node.clone(), voter: *id, zone: member.zone.clone() })
    };
    let sound: Vec<Elector> = voters.iter().filter_map(elector).collect();
    let answers = |one: &Elector| {
        let (is_heard, has_log) = (&quorum.heard, &quorum.caught_up);
        one.voter == quorum.me || is_heard.contains(&one.voter) && has_log.contains(&one.voter)
    };
    let (able, silent): (Vec<_>, Vec<_>) = sound.iter().cloned().partition(answers);
    let (me, others): (Vec<_>, Vec<_>) =
        able.iter().cloned().partition(|one| one.voter == quorum.me);
    let zones: Vec<&str> = me.iter().map(|one| &*one.zone).collect();
    let most = sound.len().min(voters_among(staying));
    // An even set survives no more than the odd one below it.
    let count = if most.is_multiple_of(2) { most.saturating_sub(1) } else { most };
    if me.is_empty() || count == 0 {
        return Err("no voter would stay".into());
    }
    if able.len() < count {
        let silent: Vec<_> = silent.iter().map(|one| one.node.to_string()).collect();
        return Err(format!(
            "{count} voters are to stay without {node}, and only {} of those that could answer \
             and have the log; start {} again, or ask again once they are evicted",
            able.len(),
            silent.join(" and ")
        ));
    }
    let kept = me.iter().cloned().chain(spread(&zones, &others, count - 1));
    Ok(kept.map(|one| one.voter).collect())
}
