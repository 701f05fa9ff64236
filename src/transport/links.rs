//! The table of connections, and the tasks that make them: one that accepts, one per dial.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::api::{Class, Inbound, Limits, LinksConfig, Security, SendError, Service, Timing};
use super::conn::{Bounds, Conn, Role};
use super::handshake::{self, Me, Met};
use super::hooks::Hooks;
use super::io;
use super::tally::{Tally, count};
use super::tasks::Tasks;
use crate::base::{Boot, ClusterId, Instant, Listener, NodeId, Seams, Spawner, Stream, within};

/// Wait before the next accept when the operating system refuses one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// All that the tasks of the links share.
pub(super) struct Shared {
    pub(super) seams: Seams,
    pub(super) addr: SocketAddr,
    pub(super) timing: Timing,
    pub(super) hooks: Hooks,
    pub(super) tally: Arc<Tally>,
    pub(super) tasks: Tasks,
    limits: Limits,
    security: Security,
    services: RwLock<[Option<Arc<dyn Inbound>>; Service::PLACES]>,
    ids: AtomicU64,
    handshakes: Arc<Semaphore>,
    stopping: CancellationToken,
    table: Mutex<Table>,
}

struct Table {
    me: Me,
    stopped: bool,
    ways: BTreeMap<NodeId, Way>,
    /// Accepted connections, and those to an address whose node was not known.
    loose: BTreeMap<u64, Arc<Conn>>,
}

/// How to reach one node.
#[derive(Default)]
struct Way {
    addr: Option<String>,
    lanes: [Lane; 3],
}

/// The dialled connection of one class.
#[derive(Default)]
struct Lane {
    conn: Option<Arc<Conn>>,
    failures: u32,
    /// No dial before this.
    not_before: Instant,
    /// Why the last dial failed.
    why: String,
}

impl Table {
    fn conns(&self) -> impl Iterator<Item = &Arc<Conn>> {
        let dialled = self.ways.values().flat_map(|way| &way.lanes);
        dialled.filter_map(|lane| lane.conn.as_ref()).chain(self.loose.values())
    }

    fn lane_of(&mut self, conn: &Arc<Conn>, node: &NodeId) -> Option<&mut Lane> {
        let lane = &mut self.ways.get_mut(node)?.lanes[conn.class as usize];
        lane.conn.as_ref().is_some_and(|held| Arc::ptr_eq(held, conn)).then_some(lane)
    }
}

/// Whom a dial is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) addr: &'a str,
    pub(super) node: Option<&'a NodeId>,
    pub(super) class: Class,
}

impl Shared {
    pub(super) fn new(config: LinksConfig, seams: Seams, addr: SocketAddr) -> Arc<Self> {
        let LinksConfig { identity, limits, security, timing, .. } = config;
        let me = Me { identity, cluster: ClusterId::UNFORMED, generation: 0 };
        let (ways, loose) = (BTreeMap::new(), BTreeMap::new());
        Arc::new(Self {
            seams,
            addr,
            timing,
            hooks: Hooks::default(),
            tally: Arc::default(),
            tasks: Tasks::default(),
            handshakes: Arc::new(Semaphore::new(limits.handshakes_max)),
            limits,
            security,
            services: RwLock::default(),
            ids: AtomicU64::new(0),
            stopping: CancellationToken::new(),
            table: Mutex::new(Table { me, stopped: false, ways, loose }),
        })
    }

    fn spawner(&self, class: Class) -> &Spawner {
        if class == Class::Control { &self.seams.control } else { &self.seams.work }
    }

    fn now(&self) -> Instant {
        self.seams.clock.now()
    }

    pub(super) fn me(&self) -> Me {
        self.table.lock().me.clone()
    }

    pub(super) fn inbound(&self, service: Service) -> Option<Arc<dyn Inbound>> {
        self.services.read()[service as usize].clone()
    }

    pub(super) fn serve(&self, service: Service, inbound: Arc<dyn Inbound>) {
        self.services.write()[service as usize] = Some(inbound);
    }

    fn new_conn(&self, class: Class, role: Role, label: String) -> Arc<Conn> {
        let Limits { output_bytes_max, calls_max, .. } = self.limits;
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let bounds = Bounds { output_bytes_max, calls_max };
        Conn::new(id, (class, role), label, bounds, self.tally.clone())
    }

    /// Changes what this node says of itself: links made before are closed.
    pub(super) fn change_me(&self, change: impl FnOnce(&mut Me)) {
        let mut table = self.table.lock();
        let before = table.me.clone();
        change(&mut table.me);
        if (table.me.cluster, table.me.identity.boot) == (before.cluster, before.identity.boot) {
            return;
        }
        table.me.generation += 1;
        Self::end_some(&mut table, |_| true, "this node changed its cluster or boot");
    }

    /// Ends connections by this node's own will; they may be dialled again at once.
    fn end_some(table: &mut Table, which: impl Fn(&Conn) -> bool, why: &str) {
        for conn in table.conns().filter(|conn| which(conn)) {
            conn.end(why, false);
        }
        for lane in table.ways.values_mut().flat_map(|way| &mut way.lanes) {
            if lane.conn.as_ref().is_some_and(|conn| which(conn)) {
                *lane = Lane::default();
            }
        }
        table.loose.retain(|_, conn| !which(conn));
    }

    pub(super) fn set_boot(&self, boot: Boot) {
        self.change_me(|me| me.identity.boot = boot);
    }

    pub(super) fn learn(&self, node: &NodeId, addr: &str) {
        let mut table = self.table.lock();
        let way = table.ways.entry(node.clone()).or_default();
        if way.addr.as_deref() == Some(addr) {
            return;
        }
        way.addr = Some(addr.into());
        // A new address deserves a try at once.
        way.lanes.iter_mut().for_each(|lane| lane.not_before = Instant::ZERO);
    }

    pub(super) fn recall(&self, node: &NodeId, addr: &str) {
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
        Self::end_some(&mut table, theirs, "this node closed it");
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
        let Table { me, ways, .. } = &mut *table;
        let Some(way) = ways.get_mut(to) else {
            return Err(SendError::Unreachable(format!("no address is known for {to}")));
        };
        let lane = &mut way.lanes[class as usize];
        if let Some(conn) = lane.conn.as_ref().filter(|conn| !conn.is_over()) {
            if conn.is_formation_only() && !formation {
                return Err(SendError::Unreachable(format!("{to} is in no cluster yet")));
            }
            return Ok(conn.clone());
        }
        let Some(addr) = way.addr.clone() else {
            return Err(SendError::Unreachable(format!("no address is known for {to}")));
        };
        let wait = lane.not_before.since(self.now());
        if !wait.is_zero() {
            let ms = wait.as_millis();
            return Err(SendError::Unreachable(format!("{to}: {}; next try in {ms} ms", lane.why)));
        }
        let conn = self.new_conn(class, Role::Dialled, to.to_string());
        lane.conn = Some(conn.clone());
        let (shared, dialled, me, to) = (self.clone(), conn.clone(), me.clone(), to.clone());
        let task = self.tasks.guard();
        self.spawner(class).spawn(async move {
            shared.dial_lane(&dialled, me, (&to, &addr)).await;
            drop(task);
        });
        Ok(conn)
    }

    /// Dials for a lane whose output gathers already.
    async fn dial_lane(self: &Arc<Self>, conn: &Arc<Conn>, me: Me, (to, addr): (&NodeId, &str)) {
        let deadline = self.now() + self.timing.dial;
        let target = Target { addr, node: Some(to), class: conn.class };
        let met = self.dial(&me, target, deadline, conn).await;
        match met {
            Ok(met) => {
                let stands = {
                    let mut table = self.table.lock();
                    let same = table.me.generation == me.generation && !table.stopped;
                    table.lane_of(conn, to).is_some_and(|lane| {
                        lane.failures = 0;
                        same
                    })
                };
                if stands {
                    count(&self.tally.dialled);
                    self.run(conn, met);
                } else {
                    conn.end("this node closed it while it was dialled", false);
                }
            }
            Err(why) => {
                if conn.is_over() {
                    return; // Closed by this node meanwhile.
                }
                count(&self.tally.dials_failed);
                tracing::debug!(%to, addr, why, "dial failed");
                self.back_off(conn, to, &format!("cannot reach {to} at {addr}: {why}"));
                conn.end(&why, false);
            }
        }
    }

    /// The lane of `conn` is empty, and is not dialled again before the back-off has passed.
    fn back_off(&self, conn: &Arc<Conn>, node: &NodeId, why: &str) {
        let mut table = self.table.lock();
        let Some(lane) = table.lane_of(conn, node) else { return };
        let longest = self.timing.backoff_max;
        let most = self.timing.backoff_min.saturating_mul(1 << lane.failures.min(16)).min(longest);
        lane.not_before = self.now() + most / 2 + self.seams.rng.up_to(most / 2);
        lane.failures = lane.failures.saturating_add(1);
        why.clone_into(&mut lane.why);
        lane.conn = None;
    }

    /// Connects and shakes hands until `deadline`, unless `conn` is closed or all stops.
    async fn dial(
        &self,
        me: &Me,
        target: Target<'_>,
        deadline: Instant,
        conn: &Conn,
    ) -> Result<Met, String> {
        let dial = within(&*self.seams.clock, deadline, async {
            let stream = self.connect(target.addr).await?;
            let nonce = self.seams.rng.next_u64();
            let whom = (target.node, target.class);
            handshake::dial(me, &self.security, stream, whom, nonce).await
        });
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => Err("the links of this node stop".into()),
            () = std::future::poll_fn(|cx| conn.poll_ended(super::conn::Half::Reader, cx)) => {
                Err("this node closed it while it was dialled".into())
            }
            met = dial => met.unwrap_or_else(|_| Err("no answer to the dial in time".into())),
        }
    }

    async fn connect(&self, addr: &str) -> Result<Stream, String> {
        let net = &self.seams.net;
        let addrs = net
            .resolve(addr)
            .await
            .map_err(|error| format!("{addr:?} is no known address: {error}"))?;
        let mut why = format!("{addr:?} has no address");
        for addr in addrs {
            if matches!(self.security, Security::Insecure) && !addr.ip().is_loopback() {
                why = format!("{addr} is not a loopback address: insecure links need one");
                continue;
            }
            match net.connect(addr).await {
                Ok(stream) => return Ok(stream),
                Err(error) => why = error.to_string(),
            }
        }
        Err(why)
    }

    /// A connection to an address alone, open and running.
    pub(super) async fn dial_loose(
        self: &Arc<Self>,
        addr: &str,
        deadline: Instant,
    ) -> Result<(Arc<Conn>, ClusterId), String> {
        let me = self.me();
        let conn = self.new_conn(Class::Control, Role::Dialled, addr.into());
        let target = Target { addr, node: None, class: Class::Control };
        let deadline = deadline.min(self.now() + self.timing.dial);
        let met = self.dial(&me, target, deadline, &conn).await.inspect_err(|_| {
            count(&self.tally.dials_failed);
        })?;
        let cluster = met.cluster;
        self.adopt(&me, &conn, met).map_err(|why| {
            conn.end(why, false);
            why.to_owned()
        })?;
        count(&self.tally.dialled);
        Ok((conn, cluster))
    }

    /// Enters a connection that no lane holds, and runs it.
    fn adopt(self: &Arc<Self>, me: &Me, conn: &Arc<Conn>, met: Met) -> Result<(), &'static str> {
        let mut table = self.table.lock();
        if table.stopped || table.me.generation != me.generation {
            return Err("this node stopped, or changed its cluster or boot");
        }
        if conn.role == Role::Accepted && table.loose.len() >= self.limits.accepted_max {
            return Err("too many connections are open to this node");
        }
        table.loose.insert(conn.id, conn.clone());
        // A later life of the same node: what the earlier one left behind is dead.
        let earlier = |conn: &Conn| {
            conn.peer
                .get()
                .is_some_and(|peer| peer.node == met.peer.node && peer.boot < met.peer.boot)
        };
        Self::end_some(&mut table, earlier, "the other side has started again");
        drop(table);
        self.run(conn, met);
        Ok(())
    }

    /// Starts the two tasks of a connection that stands.
    fn run(self: &Arc<Self>, conn: &Arc<Conn>, met: Met) {
        conn.formation_only.store(met.formation_only, Ordering::Release);
        // Set once, here.
        let _ = conn.peer.set(met.peer);
        let (read, write) = tokio::io::split(met.stream);
        let spawner = self.spawner(conn.class);
        let (shared, held, task) = (self.clone(), conn.clone(), self.tasks.guard());
        spawner.spawn(async move {
            io::write(shared, held, write).await;
            drop(task);
        });
        let (shared, held, task) = (self.clone(), conn.clone(), self.tasks.guard());
        spawner.spawn(async move {
            io::read(shared.clone(), held.clone(), read, met.rest).await;
            shared.gone(&held);
            drop(task);
        });
    }

    /// A connection that stood has ended.
    fn gone(&self, conn: &Arc<Conn>) {
        self.table.lock().loose.remove(&conn.id);
        let (Some(peer), Some(ending)) = (conn.peer.get(), conn.ended()) else { return };
        if ending.broken && conn.role == Role::Dialled {
            self.back_off(conn, &peer.node, &format!("the link broke: {}", ending.why));
        }
        if ending.broken && !conn.is_formation_only() {
            count(&self.tally.broken);
            tracing::debug!(node = %peer.node, class = %conn.class, why = %ending.why, "broken");
            self.hooks.broken(&peer.node, &ending.why);
        }
    }

    /// Accepts until the links stop.
    pub(super) async fn accept_all(self: Arc<Self>, listener: Box<dyn Listener>) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stopping.cancelled() => return,
                accepted = async {
                    let permit = self.handshakes.clone().acquire_owned().await;
                    (permit, listener.accept().await)
                } => accepted,
            };
            match accepted {
                (Ok(permit), Ok((stream, from))) => {
                    let (shared, task) = (self.clone(), self.tasks.guard());
                    self.seams.control.spawn(async move {
                        shared.accept(stream, from).await;
                        drop((permit, task));
                    });
                }
                (Err(_), _) => return, // The semaphore is never closed.
                (_, Err(error)) => {
                    tracing::warn!(%error, "cannot accept a connection; trying again");
                    let pause = self.seams.clock.sleep(ACCEPT_PAUSE);
                    tokio::select! {
                        biased;
                        () = self.stopping.cancelled() => return,
                        () = pause => {}
                    }
                }
            }
        }
    }

    async fn accept(self: &Arc<Self>, stream: Stream, from: SocketAddr) {
        let me = self.me();
        let deadline = self.now() + self.timing.handshake;
        let shake = handshake::accept(&me, &self.security, stream);
        let met = tokio::select! {
            biased;
            () = self.stopping.cancelled() => return,
            met = within(&*self.seams.clock, deadline, shake) => met,
        };
        let why = match met.unwrap_or_else(|_| Err("its handshake took too long".into())) {
            Ok(met) => {
                let label = met.peer.node.to_string();
                let conn = self.new_conn(met.class, Role::Accepted, label);
                match self.adopt(&me, &conn, met) {
                    Ok(()) => {
                        count(&self.tally.accepted);
                        return;
                    }
                    Err(why) => why.into(),
                }
            }
            Err(why) => why,
        };
        count(&self.tally.refused);
        tracing::warn!(%from, why, "refused a connection");
        self.hooks.refused(from, &why);
    }

    pub(super) fn stop(&self) {
        self.stopping.cancel();
        let mut table = self.table.lock();
        table.stopped = true;
        Self::end_some(&mut table, |_| true, "the links of this node stop");
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Links({})", self.addr)
    }
}
