//! A kind on a node: the homes of its entities, one for each owned shard.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::frame::{Refusal, decode_message};
use super::home::Home;
use super::kind::Policy;
use super::lane::{Envelope, Fate};
use super::reply::{Back, Call};
use super::{Entity, Hosts};
use crate::authority::Tenure;
use crate::base::{Instant, ShardId};
use crate::wire::Codec;

/// A message from another node, its address read.
pub(super) struct Arrived {
    pub(super) shard: ShardId,
    pub(super) id: String,
    /// What the message is written in: see [`Codec`].
    pub(super) schema: u16,
    pub(super) msg: Bytes,
    pub(super) deadline: Instant,
    pub(super) back: Option<Arc<Back>>,
}

impl Arrived {
    /// It was not handled and will not be. True if nobody learns that.
    pub(super) fn refuse(&self, why: &Refusal) -> bool {
        match &self.back {
            Some(back) => back.refuse(super::frame::encode_refusal(why)),
            None => return true,
        }
        false
    }
}

/// A kind on this node, its type forgotten.
pub(super) trait AnyKind: Send + Sync {
    /// Decodes a message and puts it into its lane, or refuses it.
    fn deliver(&self, hosts: &Hosts, arrived: Arrived);
    /// Stops the homes of shards that are not owned any more.
    fn settle(&self, hosts: &Hosts);
    /// Begins no turn of that tenure any more.
    fn hold(&self, tenure: Tenure);
    /// Whether no turn of that tenure runs.
    fn is_quiet(&self, tenure: Tenure) -> bool;
    fn sweep(&self);
    fn stop(&self);
    /// Entities in memory.
    fn len(&self) -> usize;
    /// Of its messages.
    fn schema(&self) -> u16;
    fn as_any(&self) -> &dyn Any;
}

/// A kind on this node.
pub(super) struct Host<E: Entity> {
    env: Arc<E::Env>,
    policy: Policy,
    homes: Mutex<BTreeMap<ShardId, Arc<Home<E>>>>,
}

impl<E: Entity> Host<E> {
    pub(super) fn new(env: Arc<E::Env>, policy: Policy) -> Self {
        Self { env, policy, homes: Mutex::default() }
    }

    /// The home of a shard under its present tenure; `None` if this node does not own it.
    pub(super) fn home(&self, hosts: &Hosts, shard: ShardId) -> Option<Arc<Home<E>>> {
        let (home, old) = {
            let mut homes = self.homes.lock();
            // Asked under the lock: a home made for an older epoch must not replace a newer one.
            let (tenure, is_open) = hosts.own(shard)?;
            match homes.get(&shard) {
                Some(home) if home.tenure == tenure => return Some(home.clone()),
                Some(_) | None => {}
            }
            let home = Home::new(hosts.clone(), self.env.clone(), self.policy, tenure);
            let home = Arc::new(home);
            // Asked under the lock: whoever holds a shard looks at the homes after it has said so.
            if !is_open || hosts.moving().has(tenure) {
                home.hold();
            }
            // A stop that came before this one found nothing to stop here.
            if hosts.is_stopping() {
                return None;
            }
            (home.clone(), homes.insert(shard, home))
        };
        if let Some(old) = old {
            old.stop();
        }
        Some(home)
    }

    fn under(&self, tenure: Tenure) -> Option<Arc<Home<E>>> {
        self.homes.lock().get(&tenure.shard).filter(|home| home.tenure == tenure).cloned()
    }

    fn all(&self) -> Vec<Arc<Home<E>>> {
        self.homes.lock().values().cloned().collect()
    }
}

impl<E: Entity> AnyKind for Host<E> {
    fn deliver(&self, hosts: &Hosts, arrived: Arrived) {
        let own = E::SCHEMA;
        let Ok(codec) = Codec::received(arrived.schema, own) else {
            let schema = arrived.schema;
            return hosts.refuse_arrived(&arrived, &Refusal::OtherSchema { schema, own });
        };
        let call = Arc::new(Call::default());
        let back = arrived.back.clone().map(|back| (back, call.clone()));
        let msg = match decode_message(codec, hosts, back, &arrived.msg) {
            Ok(msg) => msg,
            Err(why) => return hosts.refuse_arrived(&arrived, &Refusal::Because(why)),
        };
        let Some(home) = self.home(hosts, arrived.shard) else {
            return hosts.refuse_arrived(&arrived, &Refusal::NotOwner(hosts.version()));
        };
        let Arrived { id, deadline, back, .. } = arrived;
        let fate = back.map_or(Fate::Nobody, Fate::There);
        if let Err((envelope, why)) = home.push(&id, Envelope { msg, call, deadline, fate }) {
            hosts.refuse(envelope, why);
        }
    }

    fn settle(&self, hosts: &Hosts) {
        let gone: Vec<_> = self
            .homes
            .lock()
            .extract_if(.., |shard, home| {
                // By the view, not by the gate: what was given up waits for its next owner here,
                // and may still have a turn in the middle of a poll.
                hosts.own(*shard).is_none_or(|(tenure, _)| tenure != home.tenure)
            })
            .collect();
        for (_, home) in gone {
            home.stop();
        }
    }

    fn hold(&self, tenure: Tenure) {
        if let Some(home) = self.under(tenure) {
            home.hold();
        }
    }

    fn is_quiet(&self, tenure: Tenure) -> bool {
        self.under(tenure).is_none_or(|home| home.is_quiet())
    }

    fn sweep(&self) {
        for home in self.all() {
            home.sweep();
        }
    }

    fn stop(&self) {
        let homes = std::mem::take(&mut *self.homes.lock());
        for home in homes.into_values() {
            home.stop();
        }
    }

    fn len(&self) -> usize {
        self.all().iter().map(|home| home.len()).sum()
    }

    fn schema(&self) -> u16 {
        E::SCHEMA
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
