//! Drives the gossip: packets over the control links, timers from the clock.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use super::packet::PACKET_BYTES_MAX;
use super::{
    Gossip, GossipConfig, GossipCounts, GossipId, Hints, Input, MemberHub, MemberState, Output,
    Own, Reachability,
};
use crate::base::{Boot, Instant, NodeId, Publisher, Seams, Watch, Watched};
use crate::placement::{Profile, View};
use crate::transport::{Class, Head, Inbound, Links, Peer, ReplyTo, Service};

/// Packets that may wait for the gossip task; further ones are dropped, as a network would.
const PACKETS_MAX: usize = 256;

/// What this node observes of the others.
pub type Observations = BTreeMap<NodeId, (Boot, Reachability)>;

/// What a [`Membership`] is made of.
#[derive(Debug)]
pub struct MembershipParts {
    /// Time, chance, tasks.
    pub seams: Seams,
    /// The links it gossips over.
    pub links: Links,
    /// This node.
    pub node: NodeId,
    /// Its life.
    pub boot: Boot,
    /// Timing.
    pub profile: Profile,
    /// The committed members are fed into the gossip.
    pub views: Watched<View>,
    /// What this node says of itself; the version of its view is added.
    pub own: Watched<Own>,
    /// Who is told what changes.
    pub hub: MemberHub,
    /// Who is told whom to route around.
    pub hints: Hints,
}

/// The running gossip of one life of a node.
#[derive(Clone)]
pub struct Membership(Arc<Inner>);

struct Inner {
    seams: Seams,
    links: Links,
    node: NodeId,
    boot: Boot,
    views: Watched<View>,
    gossip: Mutex<Gossip>,
    observed: Publisher<Observations>,
    /// Members whose health probes fail.
    ailing: Publisher<BTreeSet<NodeId>>,
    hub: MemberHub,
    hints: Hints,
    news: News,
    dropped: AtomicU64,
}

/// What the links tell between two turns of the loop: of each node once.
#[derive(Default)]
struct News {
    heard: Mutex<BTreeSet<(NodeId, Boot)>>,
    broken: Mutex<BTreeSet<(NodeId, Boot)>>,
    any: Notify,
}

impl News {
    fn heard(&self, peer: &Peer) {
        if self.heard.lock().insert((peer.node.clone(), peer.boot)) {
            self.any.notify_one();
        }
    }

    fn broken(&self, peer: &Peer) {
        let life = (peer.node.clone(), peer.boot);
        // What came over it came before.
        self.heard.lock().remove(&life);
        self.broken.lock().insert(life);
        self.any.notify_one();
    }

    /// What has come; what broke goes first, since what was heard since is of the next link. A
    /// different life than the view's is none of the gossip's.
    fn take(&self, view: &View) -> Vec<Input> {
        let is_known = |(node, boot): &(NodeId, Boot)| view.has_boot(node, *boot);
        let broken = std::mem::take(&mut *self.broken.lock()).into_iter().filter(is_known);
        let heard = std::mem::take(&mut *self.heard.lock()).into_iter().filter(is_known);
        let broken = broken.map(|(node, _)| Input::Broken(node));
        broken.chain(heard.map(|(node, _)| Input::Heard(node))).collect()
    }
}

struct Receiver {
    packets: mpsc::Sender<Input>,
    inner: Arc<Inner>,
}

impl Inbound for Receiver {
    fn tell(&self, from: &Peer, _head: Head, bytes: Bytes) {
        let (from, boot) = (from.node.clone(), from.boot);
        let fits = bytes.len() <= PACKET_BYTES_MAX;
        let packet = Input::Packet { from, boot, bytes };
        if !fits || self.packets.try_send(packet).is_err() {
            self.inner.dropped.fetch_add(1, Relaxed);
        }
    }

    fn ask(&self, _from: &Peer, _head: Head, _body: Bytes, reply: ReplyTo) {
        reply.refuse(Bytes::from_static(b"gossip is told, not asked"));
    }
}

impl Membership {
    /// Takes over the gossip service of the links, and what they tell of arrivals and of broken
    /// links. The returned future is the gossip itself: run it under supervision; it ends when the
    /// links drop the service.
    pub fn start(parts: MembershipParts) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let MembershipParts { seams, links, node, boot, profile, views, own, hub, hints } = parts;
        let (packets, arrived) = mpsc::channel(PACKETS_MAX);
        let me = GossipId::new(node.clone(), boot);
        let gossip = Gossip::new(me, &GossipConfig::from(&profile), seams.rng.next_u64());
        hints.clear();
        let inner = Arc::new(Inner {
            seams,
            links: links.clone(),
            node,
            boot,
            views: views.clone(),
            gossip: Mutex::new(gossip),
            observed: Publisher::new(Observations::new()),
            ailing: Publisher::new(BTreeSet::new()),
            hub,
            hints,
            news: News::default(),
            dropped: AtomicU64::new(0),
        });
        links.serve(Service::Gossip, Arc::new(Receiver { packets, inner: inner.clone() }));
        let (heard, broken) = (inner.clone(), inner.clone());
        links.on_arrival(move |peer, _| heard.news.heard(peer));
        links.on_broken(move |peer, _| broken.news.broken(peer));
        let (views, own) = (views.follow(), own.follow());
        let mut driver =
            Driver { inner: inner.clone(), views, own, has_changed: false, has_hint: false };
        // The members of today are known from the start.
        let view = driver.views.get();
        driver.view(&view);
        driver.tell();
        (Self(inner), driver.run(arrived))
    }

    /// What this node observes of the others, to follow.
    #[must_use]
    pub fn observed(&self) -> Watched<Observations> {
        self.0.observed.watched()
    }

    /// The nodes that this one finds unreachable.
    #[must_use]
    pub fn unreachable(&self) -> Vec<NodeId> {
        let observed = self.0.observed.get();
        let lost = observed.iter().filter(|(_, (_, seen))| *seen == Reachability::Unreachable);
        lost.map(|(node, _)| node.clone()).collect()
    }

    /// The members, this node included, whose health probes fail, to follow.
    #[must_use]
    pub fn ailing(&self) -> Watched<BTreeSet<NodeId>> {
        self.0.ailing.watched()
    }

    /// All members, this node included, by name.
    #[must_use]
    pub fn members(&self) -> Vec<MemberState> {
        let view = self.0.views.get();
        self.0.states(&self.0.gossip.lock(), &view)
    }

    /// Packets dropped so far: links or queue were full, or they were too large.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Relaxed)
    }

    /// What the gossip of this life did so far.
    #[must_use]
    pub fn counts(&self) -> GossipCounts {
        self.0.gossip.lock().counts()
    }

    /// From 0, all is well, to 7: how much this node doubts itself.
    #[must_use]
    pub fn self_doubt(&self) -> u32 {
        self.0.gossip.lock().self_doubt()
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

impl Inner {
    fn states(&self, gossip: &Gossip, view: &View) -> Vec<MemberState> {
        let now = self.seams.clock.now();
        let members = view.members.iter().map(|(node, member)| {
            let is_me = *node == self.node && member.boot == self.boot;
            let sight = gossip.sight(now, node).filter(|sight| sight.boot == member.boot);
            let (own, said) = (is_me.then(|| gossip.card()), sight.as_ref());
            let card = own.or_else(|| said.and_then(|sight| sight.card.as_ref()));
            MemberState {
                node: node.clone(),
                boot: member.boot,
                addr: member.addr.clone(),
                zone: member.zone.clone(),
                status: member.status,
                reachability: said.map_or(Reachability::Reachable, |sight| sight.reachability),
                observers: said.map(|sight| sight.observers.clone()).unwrap_or_default(),
                failing: card.map(|card| card.failing.clone()).unwrap_or_default(),
                draining: card.is_some_and(|card| card.draining),
                leaving: card.is_some_and(|card| card.leaving),
                view: card.map(|card| card.view),
                round_trip: said.and_then(|sight| sight.round_trip),
                silent: said.and_then(|sight| sight.silent),
            }
        });
        members.collect()
    }
}

struct Driver {
    inner: Arc<Inner>,
    views: Watch<View>,
    own: Watch<Own>,
    /// Something is to be told to followers at the end of this turn.
    has_changed: bool,
    /// Whom to route around has changed.
    has_hint: bool,
}

impl Driver {
    async fn run(mut self, mut arrived: mpsc::Receiver<Input>) {
        loop {
            let inner = self.inner.clone();
            let deadline = inner.gossip.lock().next_deadline().unwrap_or(Instant::NEVER);
            tokio::select! {
                biased;
                packet = arrived.recv() => match packet {
                    Some(packet) => self.step(packet),
                    None => return,
                },
                () = inner.news.any.notified() => {
                    for input in inner.news.take(&inner.views.get()) {
                        self.step(input);
                    }
                }
                view = self.views.changed() => match view {
                    Some(view) => self.view(&view),
                    None => return,
                },
                own = self.own.changed() => match own {
                    Some(_) => self.say(),
                    None => return,
                },
                () = inner.seams.clock.sleep_until(deadline) => self.step(Input::TimePassed),
            }
            self.tell();
        }
    }

    fn view(&mut self, view: &View) {
        let members = view.members.iter().map(|(node, member)| (node.clone(), member.boot));
        self.step(Input::Committed(members.collect()));
        self.say();
        (self.has_changed, self.has_hint) = (true, true);
    }

    /// What this node says of itself now.
    fn say(&mut self) {
        let view = self.inner.views.get().version;
        let own = self.own.get();
        self.step(Input::Own(Own { view, ..Own::clone(&own) }));
        self.has_changed = true;
    }

    fn step(&mut self, input: Input) {
        let inner = self.inner.clone();
        let mut out = Vec::new();
        inner.gossip.lock().step(inner.seams.clock.now(), input, &mut out);
        for output in out {
            match output {
                Output::Send { to, packet } => {
                    let head = Head::default();
                    let sent = inner.links.tell(&to, Class::Control, Service::Gossip, head, packet);
                    if sent.is_err() {
                        inner.dropped.fetch_add(1, Relaxed);
                    }
                }
                Output::Observed { .. } => (self.has_changed, self.has_hint) = (true, true),
                // Views come often, and nobody is told of them.
                Output::Said { before, now } => {
                    let seen = before.map(|card| (card.failing, card.draining, card.leaving));
                    self.has_changed |= seen != Some((now.failing, now.draining, now.leaving));
                }
                Output::Late { node, is_late } => {
                    tracing::debug!(%node, is_late, "a hint");
                    self.has_hint = true;
                }
            }
        }
    }

    /// Tells what this turn has changed.
    fn tell(&mut self) {
        if std::mem::take(&mut self.has_hint) {
            let gone = self.inner.gossip.lock().gone();
            self.inner.hints.set(gone);
        }
        if std::mem::take(&mut self.has_changed) {
            self.see();
        }
    }

    /// Tells followers what changed.
    fn see(&self) {
        let inner = &*self.inner;
        let view = inner.views.get();
        let (states, observed) = {
            let gossip = inner.gossip.lock();
            let observed: Observations = gossip
                .observed()
                .map(|(node, boot, reachability)| (node.clone(), (boot, reachability)))
                .collect();
            (inner.states(&gossip, &view), observed)
        };
        if *inner.observed.get() != observed {
            inner.observed.publish(Arc::new(observed));
        }
        let ailing = states.iter().filter(|state| !state.failing.is_empty());
        let ailing: BTreeSet<NodeId> = ailing.map(|state| state.node.clone()).collect();
        if *inner.ailing.get() != ailing {
            inner.ailing.publish(Arc::new(ailing));
        }
        inner.hub.see(inner.seams.clock.now(), &states, &view);
    }
}
