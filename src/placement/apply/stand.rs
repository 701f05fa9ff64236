//! How members stand, who votes, and the constants: what operators change.

use std::collections::BTreeMap;
use std::time::Duration;

use super::assign::Ended;
use crate::base::{Boot, Epoch, NodeId, VoterId};
use crate::placement::{Constants, Departure, Owner, Refusal, Shard, Status, View};

/// Most shards that a refusal names.
const NAMED_MAX: usize = 8;

impl View {
    /// A member hands its shards over from now on, or (`on` is false) no longer.
    pub(super) fn drain(&mut self, node: &NodeId, boot: Boot, on: bool) -> Result<(), Refusal> {
        let unknown = || Refusal::Boot { node: node.clone(), boot };
        let member = self.members.get(node).filter(|one| one.boot == boot).ok_or_else(unknown)?;
        if on == (member.status == Status::Leaving) {
            let is = if on { "it is draining already" } else { "it is not draining" };
            return Err(Refusal::Malformed(is.into()));
        }
        let others = self.members.iter().filter(|(name, _)| *name != node);
        let stay = others.filter(|(_, one)| one.status != Status::Leaving).count();
        if on && stay < self.write_min() {
            return Err(self.too_few(node, stay));
        }
        let holds = self.shards.iter().any(|shard| shard.in_sync.contains(&member.store));
        let status = match (on, holds) {
            (true, _) => Status::Leaving,
            (false, true) => Status::Up,
            (false, false) => Status::Joining,
        };
        if let Some(member) = self.members.get_mut(node) {
            member.status = status;
        }
        Ok(())
    }

    /// A member goes for good. Refused while it owns a shard, while it holds one that too few
    /// others hold, and while it votes.
    pub(super) fn leave(&mut self, epoch: Epoch, node: &NodeId, boot: Boot) -> Result<(), Refusal> {
        let unknown = || Refusal::Boot { node: node.clone(), boot };
        let member = self.members.get(node).filter(|one| one.boot == boot).ok_or_else(unknown)?;
        let stay = self.members.len() - 1;
        if stay < self.write_min() {
            return Err(self.too_few(node, stay));
        }
        let store = member.store;
        let needed = |why: String| Err(Refusal::Needed { node: node.clone(), why });
        if self.votes(node) {
            return needed("it votes; another must take its place first".into());
        }
        let owns = |shard: &Shard| shard.owner.as_ref().is_some_and(|owner| owner.node == *node);
        let comes = |shard: &Shard| shard.moving.as_ref().is_some_and(|to| to.node == *node);
        if let Some(shards) = self.named(|shard| owns(shard) || comes(shard)) {
            return needed(format!("it owns {shards}"));
        }
        let copies = self.constants.as_ref().map_or(1, |all| usize::from(all.copies)).min(stay);
        let few = |shard: &Shard| {
            let others = shard.in_sync.iter().filter(|&&one| one != store && self.is_live(one));
            shard.in_sync.contains(&store) && others.count() < copies
        };
        if let Some(shards) = self.named(few) {
            return needed(format!("fewer than {copies} others hold {shards}"));
        }
        let owner = Owner { node: node.clone(), boot };
        let token = self.token_of(&owner);
        self.members.remove(node);
        self.depart(&owner, token, Departure::Released);
        self.end(epoch, &Ended { owner: &owner, store, destroyed: false }, &[]);
        Ok(())
    }

    /// Changes constants, if they are still what the operator saw.
    pub(super) fn set(
        &mut self,
        seen: &Constants,
        (copies, write_min): (u8, u8),
        lease: Duration,
    ) -> Result<(), Refusal> {
        let refuse = |why: String| Err(Refusal::Constants(why));
        if self.constants.as_ref() != Some(seen) {
            return refuse("they are others by now; look at them again".into());
        }
        let mut next = Constants { copies, write_min, ..seen.clone() };
        next.profile.lease = lease;
        if next.profile.lease != seen.profile.lease {
            if let Some(before) = seen.lease_before {
                return refuse(format!("the lease is still being changed from {before:?}"));
            }
            next.lease_before = Some(seen.profile.lease);
            next.lease_set = true;
        }
        if next == *seen {
            return refuse("they are so already".into());
        }
        if write_min == 0 || write_min > copies || usize::from(write_min) > self.members.len() {
            let nodes = self.members.len();
            return refuse(format!("1 <= write_min <= replicas and nodes ({nodes}) must hold"));
        }
        // How long the network takes, the proposer knows better; this much no cluster can do.
        if let Err(error) = next.profile.validate(Duration::ZERO, Duration::ZERO) {
            return refuse(error.to_string());
        }
        self.constants = Some(next);
        Ok(())
    }

    /// Nobody acts on the D of before any more.
    pub(super) fn lease_settled(&mut self, lease: Duration) -> Result<(), Refusal> {
        let constants = self.constants.as_mut();
        let changing =
            |one: &&mut Constants| one.lease_before.is_some() && one.profile.lease == lease;
        let Some(constants) = constants.filter(changing) else {
            return Err(Refusal::Constants("the lease is not being changed to this one".into()));
        };
        constants.lease_before = None;
        Ok(())
    }

    /// Takes over who votes from an applied entry of raft's membership. Says whether that made a
    /// version.
    pub fn apply_voters(&mut self, index: u64, voters: BTreeMap<VoterId, NodeId>) -> bool {
        if self.voters == voters {
            return false;
        }
        self.voters = voters;
        if !self.is_formed() {
            return false;
        }
        self.version.0 += 1;
        let names: Vec<_> = self.voters.values().map(ToString::to_string).collect();
        let cause = format!("voters: {}", names.join(", "));
        self.note(Epoch::new(self.quorum_generation, index), cause, None);
        true
    }

    /// The first shards that `test` picks, in words; `None` if there is none.
    fn named(&self, test: impl Fn(&Shard) -> bool) -> Option<String> {
        let found: Vec<_> = self
            .numbered()
            .filter(|(_, shard)| test(shard))
            .map(|(id, _)| id.to_string())
            .collect();
        let named = found.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
        Some(match found.len().saturating_sub(NAMED_MAX) {
            _ if found.is_empty() => return None,
            0 => named,
            more => format!("{named} and {more} more"),
        })
    }

    /// Refuses what would leave too few nodes for a write.
    fn too_few(&self, node: &NodeId, stay: usize) -> Refusal {
        let write_min = self.write_min();
        let why = format!("{stay} would stay, and write_min is {write_min}: lower it first");
        Refusal::Needed { node: node.clone(), why }
    }
}
