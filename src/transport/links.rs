//! What all tasks of the links share, and how a connection begins and ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::accept::Refusals;
use super::api::{
    Class, Inbound, LANE_BYTES_MIN, Life, Limits, LinksConfig, LinksError, Lost, Security,
    SendError, Service, Timing,
};
use super::conn::{Conn, Role};
use super::crowd::Crowd;
use super::handshake::{Caller, Me, Met};
use super::hooks::Hooks;
use super::io;
use super::output::{Bounds, Ending};
use super::reader::Services;
use super::rivals::Hindrance;
use super::table::{Lane, Table};
use super::tally::{Tally, count};
use super::tasks::Tasks;
use super::watch;
use crate::base::{ClusterId, Instant, NodeId, Seams, Spawner};

/// All that the tasks of the links share.
pub(super) struct Shared {
    pub(super) seams: Seams,
    pub(super) addr: SocketAddr,
    pub(super) timing: Timing,
    pub(super) limits: Limits,
    pub(super) hooks: Hooks,
    pub(super) tally: Arc<Tally>,
    pub(super) tasks: Tasks,
    pub(super) security: ArcSwap<Security>,
    pub(super) services: ArcSwap<Services>,
    pub(super) crowd: Crowd,
    pub(super) refusals: Refusals,
    pub(super) stopping: CancellationToken,
    pub(super) table: Mutex<Table>,
    ids: AtomicU64,
}

impl Shared {
    pub(super) fn new(config: LinksConfig, seams: Seams, addr: SocketAddr) -> Arc<Self> {
        let LinksConfig { identity, limits, security, timing, schemas, token, .. } = config;
        let me = Me { identity, cluster: ClusterId::UNFORMED, schemas, token, generation: 0 };
        Arc::new(Self {
            seams,
            addr,
            timing,
            limits,
            hooks: Hooks::default(),
            tally: Arc::default(),
            tasks: Tasks::default(),
            security: ArcSwap::from_pointee(security),
            services: ArcSwap::default(),
            crowd: Crowd::default(),
            refusals: Refusals::default(),
            stopping: CancellationToken::new(),
            table: Mutex::new(Table::new(me)),
            ids: AtomicU64::new(0),
        })
    }

    fn spawner(&self, class: Class) -> &Spawner {
        if class == Class::Control { &self.seams.control } else { &self.seams.work }
    }

    pub(super) fn now(&self) -> Instant {
        self.seams.clock.now()
    }

    pub(super) fn me(&self) -> Me {
        self.table.lock().me.clone()
    }

    pub(super) fn serve(&self, service: Service, inbound: Arc<dyn Inbound>) {
        // One at a time.
        let table = self.table.lock();
        let mut services = Services::clone(&self.services.load());
        services[service as usize] = Some(inbound);
        let before = self.services.swap(Arc::new(services));
        drop(table);
        // What it drops may call these links.
        drop(before);
    }

    /// From now on handshakes use this.
    pub(super) fn replace_security(&self, security: Security) -> Result<(), LinksError> {
        let is_tls = |security: &Security| matches!(security, Security::Tls(_));
        if !is_tls(&security) || !is_tls(&self.security.load()) {
            return Err(LinksError::SecurityKind);
        }
        security.check_own(&self.me().identity)?;
        self.security.store(Arc::new(security));
        Ok(())
    }

    pub(super) fn new_conn(&self, class: Class, role: Role, label: String) -> Arc<Conn> {
        let Limits { output_bytes_max, lane_bytes_max, calls_max, .. } = self.limits;
        let lanes = class.lanes();
        let bounds = Bounds {
            lanes,
            // A window below what a credit is said for would stop at every pong.
            lane_bytes_max: if lanes == 1 {
                output_bytes_max.max(LANE_BYTES_MIN)
            } else {
                lane_bytes_max
            },
            output_bytes_max,
            calls_max,
            frame_body_bytes_max: class.frame_body_bytes_max(),
        };
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let conn = Conn::new(id, (class, role), label, bounds, self.tally.clone());
        conn.used.store(self.now().as_nanos(), Ordering::Relaxed);
        conn
    }

    /// Changes what this node says of itself: links made before are closed.
    pub(super) fn change_me(&self, change: impl FnOnce(&mut Me)) {
        let mut table = self.table.lock();
        let before = table.me.clone();
        change(&mut table.me);
        let says = |me: &Me| (me.cluster, me.identity.boot, me.token);
        if says(&table.me) == says(&before) {
            return;
        }
        table.me.generation += 1;
        table.end_some(|_| true, "this node changed its cluster or boot");
    }

    pub(super) fn set_life(&self, life: Life) {
        self.change_me(|me| (me.identity.boot, me.token) = (life.boot, life.token));
    }

    /// What the newest view says of the members' lives: links of earlier ones end. Of a life whose
    /// membership has ended those of messages end too: it owns nothing any more, and may be silent
    /// for long before its links are found broken. On its control links it may come back.
    pub(super) fn set_members(&self, members: BTreeMap<NodeId, Life>) {
        let mut table = self.table.lock();
        if table.members == members {
            return;
        }
        let before = std::mem::replace(&mut table.members, members);
        let is_replaced = |conn: &Conn| {
            let member = conn.peer.get().and_then(|peer| table.members.get(&peer.node));
            member.zip(conn.life()).is_some_and(|(now, life)| life.boot < now.boot)
        };
        let is_evicted = |conn: &Conn| {
            let Some((peer, life)) = conn.peer.get().zip(conn.life()) else { return false };
            conn.class != Class::Control
                && before.get(&peer.node).is_some_and(|was| was.is_of(life))
                && !table.members.contains_key(&peer.node)
        };
        let of = |is_over: &dyn Fn(&Conn) -> bool| -> BTreeSet<u64> {
            table.conns().filter(|conn| is_over(conn)).map(|conn| conn.id).collect()
        };
        let (replaced, evicted) = (of(&is_replaced), of(&is_evicted));
        for (over, why) in [
            (replaced, "a later life of that node is a member"),
            (evicted, "the membership of that life has ended"),
        ] {
            if !over.is_empty() {
                table.end_some(|conn| over.contains(&conn.id), why);
            }
        }
    }

    pub(super) fn learn(&self, node: &NodeId, addr: &str) {
        // Whoever told of it did not know.
        if addr.is_empty() {
            return;
        }
        let mut table = self.table.lock();
        let way = table.ways.entry(node.clone()).or_default();
        if way.addr.as_deref() == Some(addr) {
            return;
        }
        way.addr = Some(addr.into());
        // A new address deserves a try at once.
        for lane in &mut way.lanes {
            (lane.not_before, lane.failures) = (Instant::ZERO, 0);
        }
    }

    pub(super) fn recall(&self, node: &NodeId, addr: &str) {
        if addr.is_empty() {
            return;
        }
        let mut table = self.table.lock();
        let way = table.ways.entry(node.clone()).or_default();
        way.addr.get_or_insert_with(|| addr.into());
    }

    pub(super) fn close(&self, node: &NodeId, forget: bool) {
        let mut table = self.table.lock();
        if let Some(way) = table.ways.get_mut(node) {
            for lane in &mut way.lanes {
                let lane = std::mem::take(lane);
                lane.conn.inspect(|conn| _ = conn.end("this node closed it", false));
            }
            if forget {
                table.ways.remove(node);
            }
        }
        let theirs = |conn: &Conn| conn.peer.get().is_some_and(|peer| peer.node == *node);
        table.end_some(theirs, "this node closed it");
    }

    /// The connection to `to`, dialled if need be. Never waits.
    pub(super) fn link_to(
        self: &Arc<Self>,
        to: &NodeId,
        class: Class,
        service: Service,
    ) -> Result<Arc<Conn>, SendError> {
        let unreachable = |why: &str| Err(SendError::Unreachable(why.into()));
        let mut table = self.table.lock();
        if table.stopped {
            return unreachable("the links of this node are stopped");
        }
        let formation = service == Service::Formation;
        if table.me.cluster == ClusterId::UNFORMED && !formation {
            return unreachable("this node is in no cluster yet");
        }
        let Some(way) = table.ways.get(to) else {
            return Err(SendError::Unreachable(format!("no address is known for {to}")));
        };
        let lane = &way.lanes[class as usize];
        if let Some(conn) = &lane.conn {
            match conn.ended() {
                None if conn.is_formation_only() && !formation => {
                    return Err(SendError::Unreachable(format!("{to} is in no cluster yet")));
                }
                None => return Ok(conn.clone()),
                // Its task is about to say when the next dial may be.
                Some(Ending { why, broken: true }) => {
                    return Err(SendError::Unreachable(format!("{to}: the link broke: {why}")));
                }
                Some(Ending { broken: false, .. }) => {}
            }
        }
        let addr = self.may_dial(to, lane, way.addr.as_deref())?.to_owned();
        if class != Class::Control || !table.kept.contains(to) {
            let room = table.make_room(self.limits.on_demand_max);
            if room.inspect_err(|_| count(&self.tally.overloaded))? {
                count(&self.tally.made_room);
            }
        }
        let conn = self.new_conn(class, Role::Dialled, to.to_string());
        let me = table.me.clone();
        if let Some(way) = table.ways.get_mut(to) {
            way.lanes[class as usize].conn = Some(conn.clone());
        }
        let (shared, dialled, to) = (self.clone(), conn.clone(), to.clone());
        let task = self.tasks.guard();
        self.spawner(class).spawn(async move {
            shared.dial_lane(&dialled, me, (&to, &addr)).await;
            drop(task);
        });
        Ok(conn)
    }

    /// Where to dial `to` now.
    fn may_dial<'a>(
        &self,
        to: &NodeId,
        lane: &Lane,
        addr: Option<&'a str>,
    ) -> Result<&'a str, SendError> {
        let unknown = || SendError::Unreachable(format!("no address is known for {to}"));
        let addr = addr.ok_or_else(unknown)?;
        let wait = lane.not_before.since(self.now());
        if wait.is_zero() {
            return Ok(addr);
        }
        let ms = wait.as_millis();
        Err(SendError::Unreachable(format!("{to}: {}; next try in {ms} ms", lane.why)))
    }

    /// Enters a connection that no lane holds, and runs it.
    pub(super) fn adopt(
        self: &Arc<Self>,
        me: &Me,
        conn: &Arc<Conn>,
        met: Met,
    ) -> Result<(), &'static str> {
        let mut table = self.table.lock();
        let accepted = conn.role == Role::Accepted;
        let places = accepted.then_some(self.limits.accepted_max);
        let life = Life { boot: met.peer.boot, token: met.token };
        let Met { formation_only, is_lane, .. } = met;
        let caller = Caller { peer: met.peer.clone(), life, formation_only, is_lane };
        table.admits(me, &caller, places).map_err(Hindrance::why)?;
        // Another life of the same node that still has links is over: this one is a member. A link
        // of the same life and class: the dialler has given the one before up, and what is still
        // on its way must not come after what the new one brings.
        let class = conn.class;
        let replaced = |other: &Conn| {
            let same_node = other.peer.get().is_some_and(|peer| peer.node == met.peer.node);
            other.life().filter(|_| same_node).is_some_and(|other_life| {
                if !other_life.is_of(life) {
                    return !caller.formation_only && !other.is_formation_only();
                }
                let same = (other.class, other.role) == (class, Role::Accepted);
                accepted && same && is_lane && other.is_lane.load(Ordering::Acquire)
            })
        };
        let before = table.conns().filter(|other| replaced(other) && other.class == class);
        let before = before.cloned().collect();
        table.end_some(replaced, "a newer link of the other side takes its place");
        // Known at once, to whoever comes next.
        conn.is_lane.store(met.is_lane, Ordering::Release);
        conn.formation_only.store(met.formation_only, Ordering::Release);
        conn.token.store(met.token, Ordering::Release);
        let _ = conn.peer.set(met.peer.clone());
        table.loose.insert(conn.id, conn.clone());
        drop(table);
        self.run(conn, met, before);
        Ok(())
    }

    /// Starts the tasks of a connection that stands.
    pub(super) fn run(self: &Arc<Self>, conn: &Arc<Conn>, met: Met, before: Vec<Arc<Conn>>) {
        conn.formation_only.store(met.formation_only, Ordering::Release);
        conn.token.store(met.token, Ordering::Release);
        if met.resumed {
            count(&self.tally.resumed);
        }
        let node = met.peer.node.clone();
        {
            let mut table = self.table.lock();
            let way = table.ways.entry(node).or_default();
            way.schemas = Some(met.schemas.clone());
            if conn.role == Role::Accepted {
                // Whoever reaches this node can perhaps be reached: a node that starts again must
                // not wait for what its end made others wait. Its failures still count.
                for lane in &mut way.lanes {
                    lane.not_before = Instant::ZERO;
                }
            }
        }
        self.hooks.met(&met.peer.node, &met.schemas);
        // Set before, if it was accepted.
        let _ = conn.peer.set(met.peer);
        conn.stands_since.store(self.now().as_nanos(), Ordering::Relaxed);
        let (shared, held, task) = (self.clone(), conn.clone(), self.tasks.guard());
        self.spawner(conn.class).spawn(async move {
            io::serve(shared, held, before, (met.stream, met.rest)).await;
            drop(task);
        });
        let (shared, held, task) = (self.clone(), conn.clone(), self.tasks.guard());
        self.seams.control.spawn(async move {
            let interval = Some(shared.timing.ping_interval);
            watch::until_ended(&*shared.seams.clock, &held, interval).await;
            drop(task);
        });
    }

    /// A connection that stood has ended.
    pub(super) fn gone(&self, conn: &Arc<Conn>) {
        self.table.lock().loose.remove(&conn.id);
        let (Some(peer), Some(ending)) = (conn.peer.get(), conn.ended()) else { return };
        if ending.broken && conn.role == Role::Dialled {
            self.back_off(conn, &peer.node, &format!("the link broke: {}", ending.why));
        }
        self.report_losses(conn, &peer.node);
        if ending.broken && !conn.is_formation_only() {
            count(&self.tally.broken);
            tracing::debug!(node = %peer.node, class = %conn.class, why = %ending.why, "broken");
            self.hooks.broken(peer, &ending.why);
        }
    }

    /// Says which tells were lost with a connection, or may have been.
    pub(super) fn report_losses(&self, conn: &Conn, node: &NodeId) {
        for loss in conn.take_losses() {
            self.tally.tells_unsent.fetch_add(loss.unsent, Ordering::Relaxed);
            self.tally.tells_unknown.fetch_add(loss.unknown, Ordering::Relaxed);
            self.hooks.lost(&Lost {
                node: node.clone(),
                class: conn.class,
                lane: loss.lane,
                unsent: loss.unsent,
                unknown: loss.unknown,
            });
        }
    }

    pub(super) fn stop(&self) {
        self.stopping.cancel();
        {
            let mut table = self.table.lock();
            table.stopped = true;
            table.end_some(|_| true, "the links of this node stop");
        }
        // Whoever serves holds the links as well: neither would ever be dropped.
        self.services.store(Arc::default());
        self.hooks.clear();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Links({})", self.addr)
    }
}
