//! Which connections there are, and which of them makes room for another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::api::{Class, Life, SendError};
use super::conn::{Conn, Role};
use super::handshake::{Caller, Me};
use crate::base::{Instant, NodeId};
use crate::wire::negotiate::Schemas;

/// Accepted connections of one node that name no node, as to a seed: each is for one ask.
const UNNAMED_MAX: usize = 16;

/// All connections of a node. Whoever holds its lock neither waits nor calls out.
pub(super) struct Table {
    pub(super) me: Me,
    pub(super) stopped: bool,
    pub(super) ways: BTreeMap<NodeId, Way>,
    /// Accepted connections, and those to an address whose node was not known.
    pub(super) loose: BTreeMap<u64, Arc<Conn>>,
    /// Their control connections make room for nobody.
    pub(super) kept: BTreeSet<NodeId>,
    /// The life of each member, as the newest view has it.
    pub(super) members: BTreeMap<NodeId, Life>,
}

/// How to reach one node.
#[derive(Default)]
pub(super) struct Way {
    pub(super) addr: Option<String>,
    /// The kinds it knew when it was last met, if it was.
    pub(super) schemas: Option<Schemas>,
    pub(super) lanes: [Lane; 3],
}

/// The dialled connection of one class.
#[derive(Default)]
pub(super) struct Lane {
    pub(super) conn: Option<Arc<Conn>>,
    pub(super) failures: u32,
    /// No dial before this.
    pub(super) not_before: Instant,
    /// Why the last dial failed.
    pub(super) why: String,
}

impl Table {
    pub(super) fn new(me: Me) -> Self {
        let (ways, loose) = (BTreeMap::new(), BTreeMap::new());
        let (kept, members) = (BTreeSet::new(), BTreeMap::new());
        Self { me, stopped: false, ways, loose, kept, members }
    }

    pub(super) fn conns(&self) -> impl Iterator<Item = &Arc<Conn>> {
        let dialled = self.ways.values().flat_map(|way| &way.lanes);
        dialled.filter_map(|lane| lane.conn.as_ref()).chain(self.loose.values())
    }

    /// Whether there is a place for a connection from elsewhere: one of all, and one of the few
    /// that a node has for connections that mean nobody and so take no other's place.
    ///
    /// # Errors
    /// Why not, in words for the other side.
    pub(super) fn has_place(&self, caller: &Caller, places_max: usize) -> Result<(), &'static str> {
        let holds_place = |conn: &&Arc<Conn>| conn.role == Role::Accepted && !conn.is_over();
        let (mut all, mut of_this) = (0, 0);
        for conn in self.loose.values().filter(holds_place) {
            all += 1;
            let theirs = conn.peer.get().is_some_and(|peer| peer.node == caller.peer.node);
            of_this += usize::from(theirs && !conn.is_lane.load(Ordering::Acquire));
        }
        if all >= places_max {
            return Err("too many connections are open to this node");
        }
        if !caller.is_lane && of_this >= UNNAMED_MAX {
            return Err("too many connections of this node are open that name no node");
        }
        Ok(())
    }

    pub(super) fn lane_of(&mut self, conn: &Arc<Conn>, node: &NodeId) -> Option<&mut Lane> {
        let lane = &mut self.ways.get_mut(node)?.lanes[conn.class as usize];
        lane.conn.as_ref().is_some_and(|held| Arc::ptr_eq(held, conn)).then_some(lane)
    }

    /// Ends connections by this node's own will; they may be dialled again at once.
    pub(super) fn end_some(&mut self, which: impl Fn(&Conn) -> bool, why: &str) {
        let ended: Vec<_> = self.conns().filter(|conn| which(conn)).cloned().collect();
        for conn in &ended {
            conn.end(why, false);
        }
        for lane in self.ways.values_mut().flat_map(|way| &mut way.lanes) {
            let is_ended = |conn: &Arc<Conn>| ended.iter().any(|one| Arc::ptr_eq(one, conn));
            if lane.conn.as_ref().is_some_and(is_ended) {
                *lane = Lane::default();
            }
        }
        // Accepted ones stay until their tasks are over: who comes next waits for that.
    }

    /// Makes room for one more connection, where there is none: closes the idle one that was not
    /// used for longest. Whether one was closed.
    ///
    /// # Errors
    /// All of them are busy.
    pub(super) fn make_room(&mut self, on_demand_max: usize) -> Result<bool, SendError> {
        let kept = &self.kept;
        let on_demand = self.ways.iter_mut().flat_map(|(node, way)| {
            let is_kept = kept.contains(node);
            way.lanes.iter_mut().filter_map(move |lane| {
                let conn = lane.conn.as_ref().filter(|conn| !conn.is_over())?.clone();
                (!is_kept || conn.class != Class::Control).then_some((lane, conn))
            })
        });
        let on_demand: Vec<(&mut Lane, Arc<Conn>)> = on_demand.collect();
        if on_demand.len() < on_demand_max {
            return Ok(false);
        }
        let mut idle: Vec<_> = on_demand.into_iter().filter(|(_, conn)| conn.is_idle()).collect();
        idle.sort_by_key(|(_, conn)| (conn.used.load(Ordering::Relaxed), conn.id));
        // Somebody may use one meanwhile: then it is the next one's turn.
        let why = "it was idle, and made room for another";
        let closed = idle.into_iter().find(|(_, conn)| conn.end_if_idle(why));
        let Some((lane, _)) = closed else {
            let why = format!("anybody new: all {on_demand_max} links to others are in use");
            return Err(SendError::Overloaded(why));
        };
        *lane = Lane::default();
        Ok(true)
    }
}
