//! What others want to be told of the links.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::RwLock;

use super::api::{Lost, Peer};
use crate::base::{Instant, NodeId};
use crate::wire::negotiate::Schemas;

type Arrival = Arc<dyn Fn(&Peer, Instant) + Send + Sync>;
type Broken = Arc<dyn Fn(&Peer, &str) + Send + Sync>;
type Refused = Arc<dyn Fn(SocketAddr, &str) + Send + Sync>;
type Met = Arc<dyn Fn(&NodeId, &Schemas) + Send + Sync>;
type Losses = Arc<dyn Fn(&Lost) + Send + Sync>;

/// At most one listener of each kind.
#[derive(Default)]
pub(super) struct Hooks {
    pub(super) arrival: RwLock<Option<Arrival>>,
    pub(super) broken: RwLock<Option<Broken>>,
    pub(super) refused: RwLock<Option<Refused>>,
    pub(super) met: RwLock<Option<Met>>,
    pub(super) lost: RwLock<Option<Losses>>,
}

impl Hooks {
    /// Nobody listens any more.
    pub(super) fn clear(&self) {
        // Dropped after each lock: what a hook holds may hold these.
        let _arrival = self.arrival.write().take();
        let _broken = self.broken.write().take();
        let _refused = self.refused.write().take();
        let _met = self.met.write().take();
        let _lost = self.lost.write().take();
    }

    pub(super) fn arrival(&self, peer: &Peer, now: Instant) {
        // Not called under the lock: it may set hooks itself.
        let hook = self.arrival.read().clone();
        if let Some(hook) = hook {
            hook(peer, now);
        }
    }

    pub(super) fn broken(&self, peer: &Peer, why: &str) {
        let hook = self.broken.read().clone();
        if let Some(hook) = hook {
            hook(peer, why);
        }
    }

    pub(super) fn refused(&self, from: SocketAddr, why: &str) {
        let hook = self.refused.read().clone();
        if let Some(hook) = hook {
            hook(from, why);
        }
    }

    pub(super) fn met(&self, node: &NodeId, schemas: &Schemas) {
        let hook = self.met.read().clone();
        if let Some(hook) = hook {
            hook(node, schemas);
        }
    }

    pub(super) fn lost(&self, lost: &Lost) {
        let hook = self.lost.read().clone();
        if let Some(hook) = hook {
            hook(lost);
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooks")
    }
}
