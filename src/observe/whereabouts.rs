//! Where one entity is: its shard, the shard's point on the ring, who serves it and who holds it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ring::{Key, KeyReport, RingAskError, key_report, ring_of};
use super::words::shown;
use crate::base::{NodeId, Version};
use crate::placement::View;
use crate::ring::shard_point;

/// Where one entity is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhereReport {
    /// Who was asked.
    pub asked: NodeId,
    /// Of the view it was computed from.
    pub version: Version,
    /// The entity, its shard, owner, epoch and holders.
    #[serde(flatten)]
    pub place: KeyReport,
    /// The shard's point on the ring, in 16 hex digits.
    pub point: String,
    /// Where the owner is reached, `host:port`.
    pub owner_addr: Option<String>,
    /// Grows with each change of the holders.
    pub generation: u64,
    /// To whom the shard is on its way; the owner is still the owner.
    #[serde(default)]
    pub moving_to: Option<NodeId>,
}

impl WhereReport {
    /// Looks `key` up in `view`, as `asked` has it. Cost: the tokens of all members are hashed.
    ///
    /// # Errors
    /// [`RingAskError::NotFormed`].
    pub fn new(view: &View, asked: &NodeId, key: &Key) -> Result<Self, RingAskError> {
        let constants = view.constants.as_ref().ok_or(RingAskError::NotFormed)?;
        let place = key_report(view, constants, &ring_of(view), key);
        let shard = view.shard(place.shard);
        let owner = place.owner.as_ref().and_then(|owner| view.members.get(owner));
        let moving = shard.and_then(|shard| shard.moving.as_ref());
        Ok(Self {
            asked: asked.clone(),
            version: view.version,
            point: format!("{:016x}", shard_point(place.shard)),
            owner_addr: owner.map(|owner| owner.addr.clone()),
            generation: shard.map_or(0, |shard| shard.in_sync_generation),
            moving_to: moving.map(|to| to.node.clone()),
            place,
        })
    }
}

impl fmt::Display for WhereReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} as {} has it", self.version, self.asked)?;
        write!(f, "{}", self.place)?;
        if let Some(addr) = &self.owner_addr {
            writeln!(f, "  address     {}", shown(addr))?;
        }
        writeln!(f, "  generation  {}", self.generation)?;
        if let Some(to) = &self.moving_to {
            writeln!(f, "  moving to   {to}")?;
        }
        writeln!(f, "  point       {}", self.point)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::StoreId;
    use crate::placement::tests::{Cluster, constants, id};

    #[test]
    fn an_entity_is_where_the_view_has_its_shard() {
        let mut cluster = Cluster::formed(3, &constants(2, 2));
        let key: Key = "cart/alice".parse().expect("a key");
        let number = crate::ring::shard_of("cart", b"alice", 16);
        cluster.write(number);
        let report = WhereReport::new(&cluster.view, &id(1), &key).expect("it is formed");
        let shard = cluster.shard(number);
        let owner = shard.owner.as_ref().expect("owned");
        assert_eq!((report.place.shard, report.place.owner.as_ref()), (number, Some(&owner.node)));
        assert_eq!((report.place.epoch, report.generation), (shard.epoch, 2));
        let stores: Vec<StoreId> = report.place.in_sync.iter().map(|one| one.store).collect();
        assert_eq!(stores, shard.in_sync);
        assert_eq!(report.point, format!("{:016x}", shard_point(number)));
        let addr = &cluster.view.members[&owner.node].addr;
        assert_eq!(report.owner_addr.as_ref(), Some(addr));
        let text = report.to_string();
        for words in ["cart/alice is in", "point       ", "generation  2", "in sync     ", addr] {
            assert!(text.contains(words), "{words} is not in\n{text}");
        }
        let json = serde_json::to_string(&report).expect("it is written");
        assert_eq!(serde_json::from_str::<WhereReport>(&json).expect("it is read"), report);
        assert!(json.contains(r#""key":"cart/alice""#), "{json}");
        let nowhere = WhereReport::new(&View::default(), &id(1), &key);
        assert_eq!(nowhere, Err(RingAskError::NotFormed));
    }
}
