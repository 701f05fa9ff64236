//! What one round of answers means. No clock, no link.

use std::collections::BTreeMap;

use super::rival::Sight;
use super::{Candidate, List, State};
use crate::base::{ClusterId, NodeId};

/// What to do after one round of questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// Ask again.
    Wait(String),
    /// Keep this list on disk, and answer with it from then on.
    Hold(List),
    /// Everybody answered with it, or a node that did has started with it.
    Initialise(List),
    /// Name no list in the next round, so that the held one may be taken back.
    Withdraw,
    /// The held list can start nowhere: forget it.
    TakeBack,
    /// There is a cluster already.
    Join(ClusterId),
    /// A person must act.
    Refuse(String),
}

/// What this node knows when it decides.
#[derive(Debug, Clone)]
pub(super) struct Known<'a> {
    /// What it says of itself, with the list that it holds.
    pub(super) me: &'a State,
    /// What is known of another process under its name.
    pub(super) rival: Sight,
    /// In this round it named no list.
    pub(super) withdrawn: bool,
    pub(super) expect: usize,
    /// No other address is known to it.
    pub(super) alone: bool,
}

impl State {
    /// Of two processes under one name the greater was there first: whoever is of a cluster, then
    /// who stands in the list that it holds, then who has waited for longer. The same for all that
    /// hear of both.
    fn precedence(&self) -> (bool, bool, u64, (&NodeId, u128, u64, u64)) {
        let own = self.me.identity();
        let in_list =
            self.list.as_ref().is_some_and(|list| list.0.iter().any(|one| one.identity() == own));
        (self.formed.is_some(), in_list, self.waited_ms, own)
    }
}

/// Decides from the answers of one round, all asked after the held list was on disk.
pub(super) fn decide(known: &Known<'_>, answers: &[State]) -> Decision {
    let me = known.me;
    let my_name = &me.me.claim.node;
    let mut others: BTreeMap<&NodeId, &State> = BTreeMap::new();
    if let Sight::Lives(words) = &known.rival {
        return Decision::Refuse(words.clone());
    }
    for answer in answers {
        let name = &answer.me.claim.node;
        if name != my_name {
            let first = others.entry(name).or_insert(answer);
            if answer.precedence() > first.precedence() {
                *first = answer;
            }
        } else if answer.me.identity() != me.me.identity() && answer.precedence() > me.precedence()
        {
            // The other way round it is the other one that gives way.
            return Decision::Refuse(format!(
                "another process is named {name} too, at {}, and was there first: stop it, or give \
                 this one a name of its own",
                answer.me.claim.addr
            ));
        }
    }
    if let Some(list) = &me.list {
        return with_list(known, list, &others);
    }
    if let Sight::MayLive(words) = &known.rival {
        return Decision::Wait(words.clone());
    }
    for other in others.values() {
        if let Some(differs) = different(known, other) {
            return differs;
        }
    }
    if let Some(cluster) = others.values().find_map(|other| other.formed) {
        return Decision::Join(cluster);
    }
    if known.expect <= 1 && !known.alone {
        // One that is only late to answer must not find that there are two clusters.
        return Decision::Wait(
            "no seed answers from a cluster; to form one that others join, start one node with \
             `bootstrap`"
                .into(),
        );
    }
    let count = others.len() + 1;
    if count > known.expect {
        return Decision::Refuse(format!(
            "{count} nodes want to form a cluster of {}: `expect` must be the same everywhere",
            known.expect
        ));
    }
    if count < known.expect {
        return Decision::Wait(format!("{count} of {} nodes answered", known.expect));
    }
    let candidates = others.values().map(|other| other.me.clone());
    Decision::Hold(List::of(candidates.chain([me.me.clone()])))
}

/// What follows where the settings of `other` are not those of this node: who came later gives way,
/// so that a newcomer that is wrong ends nobody else; with a cluster it is always the newcomer.
fn different(known: &Known<'_>, other: &State) -> Option<Decision> {
    let (me, claim) = (known.me, &other.me.claim);
    let own = me.settings.as_ref()?;
    let words = own.differ(other.settings.as_ref()?, (&claim.node, &claim.addr))?;
    let gives_way = other.precedence() > me.precedence();
    Some(if gives_way { Decision::Refuse(words) } else { Decision::Wait(words) })
}

/// [`decide`] for a node that holds `list`.
fn with_list(known: &Known<'_>, list: &List, others: &BTreeMap<&NodeId, &State>) -> Decision {
    let id = list.id();
    let me: &Candidate = &known.me.me;
    if others.values().any(|other| other.formed == Some(id)) {
        return Decision::Initialise(list.clone());
    }
    let rest = || list.0.iter().filter(|one| one.claim.node != me.claim.node);
    let holds = |one: &Candidate| {
        let other = others.get(&one.claim.node)?;
        let same = other.me.identity() == one.identity();
        Some(same && other.list.as_ref().is_some_and(|list| list.id() == id))
    };
    if !known.withdrawn && rest().all(|one| holds(one) == Some(true)) {
        return Decision::Initialise(list.clone());
    }
    if known.withdrawn && rest().all(|one| holds(one) == Some(false)) {
        return Decision::TakeBack;
    }
    // One that holds another list, or is another directory by now, will not come to this one while
    // it is named here: the way out is to take it back.
    let astray = |one: &Candidate| {
        others.get(&one.claim.node).is_some_and(|other| {
            other.me.identity() != one.identity()
                || other.formed.is_some()
                || other.list.as_ref().is_some_and(|list| list.id() != id)
        })
    };
    if rest().any(astray) {
        return Decision::Withdraw;
    }
    Decision::Wait("not every node of the list has answered with it".into())
}
