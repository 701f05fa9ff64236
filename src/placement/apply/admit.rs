//! How nodes come and go: formation, join, rejoin, eviction.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::assign::Ended;
use super::is_sorted_set;
use crate::base::{Boot, Bug, ClusterId, Epoch, planted};
use crate::placement::{
    Assign, Claim, Constants, Departure, Member, Owner, Refusal, SHARDS_MAX, Shard, Status,
    StoreMark, View, WEIGHT_MAX,
};

impl View {
    /// The first view. All or nothing: there is no older state that a plan could miss.
    pub(super) fn form(
        &mut self,
        epoch: Epoch,
        cluster: ClusterId,
        constants: &Constants,
        (claims, assigns): (&[Claim], &[Assign]),
    ) -> Result<(), Refusal> {
        if self.is_formed() {
            return Err(Refusal::Formation("already ".into()));
        }
        if cluster == ClusterId::UNFORMED || claims.is_empty() {
            return Err(malformed("a cluster has an id and members"));
        }
        are_valid(constants, claims.len())?;
        // Built aside, so that a refusal leaves nothing behind.
        let mut first = Self {
            version: self.version,
            quorum_generation: self.quorum_generation,
            cluster,
            constants: Some(constants.clone()),
            shards: (0..constants.shards).map(|_| Arc::new(Shard::unassigned())).collect(),
            ..Self::default()
        };
        for claim in claims {
            if first.members.contains_key(&claim.node) {
                return Err(Refusal::NameTaken(claim.node.clone()));
            }
            first.admit(claim)?;
            first.enter(claim);
        }
        let assigned: BTreeSet<_> = assigns.iter().map(|assign| assign.shard).collect();
        if assigned.len() != first.shards.len() || assigns.len() != first.shards.len() {
            return Err(malformed("every shard is assigned once"));
        }
        for assign in assigns {
            let enough = assign.in_sync.len() >= usize::from(constants.write_min);
            if assign.owner.is_none() || !enough || !is_sorted_set(&assign.in_sync) {
                return Err(malformed("every shard has an owner and write_min stores"));
            }
            first.assign_one(epoch, assign)?;
        }
        first.recent = std::mem::take(&mut self.recent);
        first.voters = std::mem::take(&mut self.voters);
        *self = first;
        Ok(())
    }

    /// A node that is no member becomes one. If its store stands in some `in_sync` still, it is
    /// known and the claim must show that it is that very directory.
    pub(super) fn join(
        &mut self,
        epoch: Epoch,
        claim: &Claim,
        assigns: &[Assign],
    ) -> Result<(), Refusal> {
        if self.members.contains_key(&claim.node) {
            return Err(Refusal::NameTaken(claim.node.clone()));
        }
        self.admit(claim)?;
        self.enter(claim);
        // What was planned from an older view is left alone; the leader plans it again.
        let _refused = self.assign(epoch, assigns);
        Ok(())
    }

    /// A member's process was restarted. Under its store it keeps its shards, with new epochs;
    /// under another the old store is destroyed.
    pub(super) fn rejoin(
        &mut self,
        epoch: Epoch,
        replaces: Boot,
        claim: &Claim,
        assigns: &[Assign],
    ) -> Result<(), Refusal> {
        let unknown = || Refusal::Boot { node: claim.node.clone(), boot: replaces };
        let member = self.members.get(&claim.node).ok_or_else(unknown)?;
        if member.boot != replaces {
            return Err(unknown());
        }
        if claim.boot <= replaces {
            return Err(Refusal::Boot { node: claim.node.clone(), boot: claim.boot });
        }
        let (store, disk) = (member.store, &member.disk);
        if store == claim.store && !disk.is_same_place(&claim.disk) {
            return Err(Refusal::Copy(store));
        }
        self.admit(claim)?;
        let before = Owner { node: claim.node.clone(), boot: replaces };
        let (token, why) = (self.token_of(&before), Departure::Replaced);
        if store != claim.store {
            self.enter(claim);
            self.depart(&before, token, why);
            let ended = Ended { owner: &before, store, destroyed: true };
            self.end(epoch, &ended, assigns);
            return Ok(());
        }
        let own: Vec<_> = self
            .numbered()
            .filter(|(_, shard)| shard.owner.as_ref() == Some(&before))
            .map(|(number, shard)| (number, shard.clone()))
            .collect();
        // Assigned by this very entry: the new epoch would not be new.
        if let Some((shard, _)) = own.iter().find(|(_, shard)| shard.epoch >= epoch) {
            return Err(Refusal::Stale(*shard));
        }
        self.enter(claim);
        self.depart(&before, token, why);
        for (number, shard) in own {
            let owner = Some(Owner { node: claim.node.clone(), boot: claim.boot });
            self.put(number, Shard { epoch, owner, moving: None, ..shard });
        }
        self.abort_moves_to(epoch, &before);
        let _refused = self.assign(epoch, assigns);
        Ok(())
    }

    /// A boot's membership ends, whatever becomes of its shards.
    pub(super) fn evict(
        &mut self,
        epoch: Epoch,
        owner: &Owner,
        (assigns, why): (&[Assign], Departure),
    ) -> Result<(), Refusal> {
        if !self.has_boot(&owner.node, owner.boot) && !planted(Bug::OldBoot) {
            return Err(Refusal::Boot { node: owner.node.clone(), boot: owner.boot });
        }
        let token = self.token_of(owner);
        if let Some(member) = self.members.remove(&owner.node) {
            self.depart(owner, token, why);
            self.end(epoch, &Ended { owner, store: member.store, destroyed: false }, assigns);
        }
        Ok(())
    }

    /// Whether a node may enter as it presents itself: nobody else runs on its store or votes under
    /// its id, and if the view knows the store, the directory has seen the last boot that ran on
    /// it.
    fn admit(&self, claim: &Claim) -> Result<(), Refusal> {
        if claim.weight > WEIGHT_MAX {
            return Err(malformed("the weight is too high"));
        }
        let others = self.members.iter().filter(|(name, _)| **name != claim.node);
        for (name, other) in others {
            if other.store == claim.store {
                return Err(Refusal::Copy(claim.store));
            }
            if claim.voter.is_some() && other.voter == claim.voter {
                return Err(malformed(&format!("{name} votes under the same id")));
            }
        }
        let over = || Err(Refusal::Over { node: claim.node.clone(), boot: claim.boot });
        let Some(mark) = self.stores.get(&claim.store) else {
            // A Join that was on its way when the same life was evicted.
            return self.departure(&claim.node, claim.boot).map_or(Ok(()), |_| over());
        };
        if (&mark.node, mark.last_boot, mark.token) == (&claim.node, claim.boot, claim.token) {
            return over();
        }
        if mark.node != claim.node || !claim.has_seen(mark.last_boot, mark.token) {
            return Err(Refusal::Copy(claim.store));
        }
        if claim.boot <= mark.last_boot {
            return Err(Refusal::Boot { node: claim.node.clone(), boot: claim.boot });
        }
        Ok(())
    }

    /// Writes the node down as a member.
    fn enter(&mut self, claim: &Claim) {
        let holds = self.shards.iter().any(|shard| shard.in_sync.contains(&claim.store));
        let status = match self.members.get(&claim.node).map(|member| member.status) {
            Some(Status::Leaving) => Status::Leaving,
            Some(Status::Joining | Status::Up) | None if holds => Status::Up,
            Some(Status::Joining | Status::Up) | None => Status::Joining,
        };
        let member = Member {
            boot: claim.boot,
            store: claim.store,
            addr: claim.addr.clone(),
            zone: claim.zone.clone(),
            weight: claim.weight,
            status,
            voter: claim.voter,
            disk: claim.disk.clone(),
        };
        self.members.insert(claim.node.clone(), member);
        let mark =
            StoreMark { node: claim.node.clone(), last_boot: claim.boot, token: claim.token };
        self.stores.insert(claim.store, mark);
    }
}

/// Whether a cluster of `nodes` can be formed with `constants`.
fn are_valid(constants: &Constants, nodes: usize) -> Result<(), Refusal> {
    let Constants { shards, copies, write_min, .. } = *constants;
    if !shards.is_power_of_two() || shards > SHARDS_MAX {
        return Err(malformed("the shard count is a power of two, 1 to 32,768"));
    }
    if write_min == 0 || write_min > copies || usize::from(write_min) > nodes {
        return Err(malformed("1 <= write_min <= copies, nodes must hold"));
    }
    Ok(())
}

/// Refuses what no proposer should send.
fn malformed(why: &str) -> Refusal {
    Refusal::Malformed(why.into())
}
