//! Drives the gossip: packets over the control links, timers from the clock.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::packet::PACKET_BYTES_MAX;
use super::{Gossip, GossipConfig, GossipId, Input, Output, Reachability};
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
}

/// The running gossip of one life of a node.
#[derive(Clone)]
pub struct Membership {
    observed: Watched<Observations>,
    dropped: Arc<AtomicU64>,
}

struct Receiver {
    packets: mpsc::Sender<Input>,
    dropped: Arc<AtomicU64>,
}

impl Inbound for Receiver {
    fn tell(&self, from: &Peer, _head: Head, bytes: Bytes) {
        let (from, boot) = (from.node.clone(), from.boot);
        let fits = bytes.len() <= PACKET_BYTES_MAX;
        let packet = Input::Packet { from, boot, bytes };
        if !fits || self.packets.try_send(packet).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    fn ask(&self, _from: &Peer, _head: Head, _body: Bytes, reply: ReplyTo) {
        reply.refuse(Bytes::from_static(b"gossip is told, not asked"));
    }
}

impl Membership {
    /// Takes over the gossip service of the links. The returned future is the gossip itself: run it
    /// under supervision; it ends when the links drop the service.
    pub fn start(parts: MembershipParts) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (packets, arrived) = mpsc::channel(PACKETS_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let receiver = Receiver { packets, dropped: dropped.clone() };
        parts.links.serve(Service::Gossip, Arc::new(receiver));
        let publisher = Publisher::new(Observations::new());
        let membership = Self { observed: publisher.watched(), dropped: dropped.clone() };
        let me = GossipId::new(parts.node, parts.boot);
        let config = GossipConfig::from(&parts.profile);
        let driver = Driver {
            gossip: Gossip::new(me, &config, parts.seams.rng.next_u64()),
            views: parts.views.follow(),
            seams: parts.seams,
            links: parts.links,
            observed: publisher,
            dropped,
        };
        (membership, driver.run(arrived))
    }

    /// What this node observes of the others, to follow.
    #[must_use]
    pub fn observed(&self) -> Watched<Observations> {
        self.observed.clone()
    }

    /// The nodes that this one finds unreachable.
    #[must_use]
    pub fn unreachable(&self) -> Vec<NodeId> {
        let observed = self.observed.get();
        let lost = observed.iter().filter(|(_, (_, seen))| *seen == Reachability::Unreachable);
        lost.map(|(node, _)| node.clone()).collect()
    }

    /// Packets dropped so far: links or queue were full, or they were too large.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

struct Driver {
    gossip: Gossip,
    views: Watch<View>,
    seams: Seams,
    links: Links,
    observed: Publisher<Observations>,
    dropped: Arc<AtomicU64>,
}

impl Driver {
    async fn run(mut self, mut arrived: mpsc::Receiver<Input>) {
        let view = self.views.get();
        self.step(committed(&view));
        loop {
            let deadline = self.gossip.next_deadline().unwrap_or(Instant::NEVER);
            let input = tokio::select! {
                biased;
                packet = arrived.recv() => match packet {
                    Some(packet) => packet,
                    None => return,
                },
                view = self.views.changed() => match view {
                    Some(view) => committed(&view),
                    None => return,
                },
                () = self.seams.clock.sleep_until(deadline) => Input::TimePassed,
            };
            self.step(input);
        }
    }

    fn step(&mut self, input: Input) {
        let mut out = Vec::new();
        self.gossip.step(self.seams.clock.now(), input, &mut out);
        let mut observed = None;
        for output in out {
            match output {
                Output::Send { to, packet } => {
                    let head = Head::default();
                    let sent = self.links.tell(&to, Class::Control, Service::Gossip, head, packet);
                    if sent.is_err() {
                        self.dropped.fetch_add(1, Relaxed);
                    }
                }
                Output::Observed { node, boot, reachability, observers } => {
                    tracing::info!(%node, %boot, ?reachability, ?observers, "observed");
                    observed
                        .get_or_insert_with(|| (*self.observed.get()).clone())
                        .insert(node, (boot, reachability));
                }
                Output::Said { .. } => {}
            }
        }
        if let Some(observed) = observed {
            self.observed.publish(Arc::new(observed));
        }
    }
}

fn committed(view: &View) -> Input {
    let members = view.members.iter().map(|(node, member)| (node.clone(), member.boot));
    Input::Committed(members.collect())
}
