//! Two processes under one name: of one node, only one life has links here at a time.
//!
//! The life that is a member by the newest view goes before all others: its connections end theirs.
//! Any other life waits while connections of another stand. They end by themselves if that process
//! is gone; if something arrives on one of them after the newcomer did, it lives, and the newcomer
//! is refused. So neither a copied directory nor a stolen certificate ends the links of a node that
//! is alive. Connections that carry formation alone are for single calls, and take no part in this.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::api::{Life, Timing};
use super::conn::Conn;
use super::handshake::{Caller, Me};
use super::links::Shared;
use super::table::Table;
use crate::base::{Instant, NodeId, within};

/// Said to whom another life of its name stands in the way.
const TAKEN: &str = "another process runs under the same name: stop one of the two";
const LATER: &str = "a later life of the same node is connected already";
const SILENT: &str = "it was silent, and another life of the same node came";

/// Why a caller is not let in now.
pub(super) enum Hindrance {
    /// For good.
    Refused(&'static str),
    /// As long as these stand.
    Rivals(Vec<Arc<Conn>>),
}

impl Hindrance {
    /// In words for the other side.
    pub(super) fn why(self) -> &'static str {
        match self {
            Self::Refused(why) => why,
            Self::Rivals(_) => TAKEN,
        }
    }
}

impl Timing {
    /// How long nothing may arrive on connections that another life of the same node waits for. One
    /// that is alive says something with every ping.
    pub(super) fn contested(&self) -> Duration {
        (self.ping_interval * 3).min(self.dead_after)
    }
}

impl Table {
    /// The connections of `node` that stand and belong to another life of it than `life`.
    fn rivals<'a>(&'a self, node: &'a NodeId, life: Life) -> impl Iterator<Item = &'a Arc<Conn>> {
        self.conns().filter(move |conn| {
            conn.peer.get().is_some_and(|peer| peer.node == *node)
                && conn.life().is_some_and(|other| !other.is_of(life))
                && !conn.is_formation_only()
                && !conn.is_over()
        })
    }

    /// Whether a connection may stand that began when this node was `me`, with `caller` beyond it.
    pub(super) fn admits(
        &self,
        me: &Me,
        caller: &Caller,
        places_max: Option<usize>,
    ) -> Result<(), Hindrance> {
        if self.stopped || self.me.generation != me.generation {
            return Err(Hindrance::Refused("this node stopped, or changed its cluster or boot"));
        }
        // One that this node has dialled takes no place of others.
        let place = places_max.map_or(Ok(()), |places_max| self.has_place(caller, places_max));
        place.map_err(Hindrance::Refused)?;
        let node = &caller.peer.node;
        if caller.formation_only || self.members.get(node).is_some_and(|one| one.is_of(caller.life))
        {
            return Ok(());
        }
        let rivals: Vec<_> = self.rivals(node, caller.life).cloned().collect();
        let is_later = |other: &Arc<Conn>| other.life().is_some_and(|o| o.boot > caller.life.boot);
        if rivals.is_empty() {
            Ok(())
        } else if rivals.iter().any(is_later) {
            Err(Hindrance::Refused(LATER))
        } else {
            Err(Hindrance::Rivals(rivals))
        }
    }
}

impl Shared {
    /// Waits until a caller may be let in, or is refused.
    pub(super) async fn admit(&self, me: &Me, caller: &Caller) -> Result<(), &'static str> {
        let (clock, came) = (&*self.seams.clock, self.now());
        loop {
            let admitted = self.table.lock().admits(me, caller, Some(self.limits.accepted_max));
            let rivals = match admitted {
                Ok(()) => return Ok(()),
                Err(Hindrance::Refused(why)) => return Err(why),
                Err(Hindrance::Rivals(rivals)) => rivals,
            };
            let heard = |conn: &Arc<Conn>| Instant::from_nanos(conn.heard.load(Ordering::Relaxed));
            if rivals.iter().any(|conn| heard(conn) > came) {
                return Err(TAKEN);
            }
            let now = self.now();
            if now.since(came) >= self.timing.contested() {
                for conn in &rivals {
                    conn.end(SILENT, true);
                }
                continue;
            }
            // It ends, or time passes: both are looked at above.
            let next = now + self.timing.ping_interval / 8;
            if let Some(first) = rivals.first() {
                let _ = within(clock, next, first.stopped.cancelled()).await;
            }
        }
    }

    /// Another life of `node` than `life` that has links here and is alive, as far as this node
    /// knows; and for how long it has said nothing.
    pub(super) fn rival(&self, node: &NodeId, life: Life) -> Option<(Life, Duration)> {
        let now = self.now();
        let table = self.table.lock();
        let heard = |conn: &Arc<Conn>| {
            let heard = Instant::from_nanos(conn.heard.load(Ordering::Relaxed));
            conn.life().map(|other| (other, now.since(heard)))
        };
        let rivals = table.rivals(node, life).filter_map(heard);
        let loudest = rivals.min_by_key(|(_, silence)| *silence);
        loudest.filter(|(_, silence)| *silence < self.timing.contested())
    }
}
