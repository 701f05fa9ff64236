//! Evertree's links, between two processes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use evertree::base::{
    Boot, BootClock, Clock as _, ClusterId, ControlRuntime, Instant, NodeId, Seams, SeededRng,
    Spawner, TokioNet,
};
use evertree::transport::certs::Authority;
use evertree::transport::{
    AskError, Class, Head, Identity, Inbound, Link, Links, LinksConfig, Peer, ReplyTo, Security,
    Service, TlsConfig,
};
use tokio::sync::mpsc;

use super::{Handled, Way};

const CLUSTER_NAME: &str = "benches";
const CLUSTER: ClusterId = ClusterId([7; 32]);
/// What asks may take.
const ASK_MAX: Duration = Duration::from_secs(30);
const SENDER: &str = "sender";
const RECEIVER: &str = "receiver";

/// Certificate of the authority, and certificate and key of one node, as PEM.
#[derive(Debug, Clone)]
pub struct Pem {
    pub ca: String,
    pub cert: String,
    pub key: String,
}

/// Certificates for the sender and for the receiver, of one authority.
///
/// # Panics
/// If the names cannot stand in a certificate.
#[must_use]
pub fn certificates() -> (Pem, Pem) {
    let authority = Authority::new(CLUSTER_NAME).expect("a good name");
    let issue = |name| {
        let (cert, key) = authority.issue_node(name).expect("a good name");
        Pem { ca: authority.ca_pem(), cert, key }
    };
    (issue(SENDER), issue(RECEIVER))
}

/// How a node is made that has `pem`, or plain TCP without.
async fn start(name: &str, pem: Option<&Pem>, control: &ControlRuntime) -> Links {
    let security = pem.map_or(Security::Insecure, |Pem { ca, cert, key }| {
        let tls = TlsConfig::from_pem(ca, cert, key, Arc::new(BootClock));
        Security::Tls(Arc::new(tls.expect("certificates as the authority made them")))
    });
    let identity = Identity { cluster_name: CLUSTER_NAME.into(), node: node(name), boot: Boot(1) };
    let config = LinksConfig::new(identity, SocketAddr::from(([127, 0, 0, 1], 0)), security);
    // As a node has it.
    let seams = Seams {
        clock: Arc::new(BootClock),
        rng: Arc::new(SeededRng::from_os()),
        net: Arc::new(TokioNet),
        control: Spawner::On(control.handle().clone()),
        work: Spawner::On(tokio::runtime::Handle::current()),
        threads: true,
    };
    let links = Links::start(config, seams).await.expect("loopback and a free port");
    links.set_cluster(CLUSTER);
    links
}

fn node(name: &str) -> NodeId {
    name.parse().expect("a node name")
}

fn control() -> ControlRuntime {
    ControlRuntime::start("control").expect("a thread")
}

/// A node that counts and answers, until it is dropped.
#[derive(Debug)]
pub struct Receiver {
    pub addr: SocketAddr,
    _links: Links,
    _control: ControlRuntime,
}

/// Who handles what arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handler {
    /// The reading task itself, in place.
    Direct,
    /// A task behind an unbounded channel, as the baseline has it.
    Actor,
}

impl Receiver {
    pub async fn start(pem: Option<&Pem>, handler: Handler) -> Self {
        let control = control();
        let links = start(RECEIVER, pem, &control).await;
        let inbound: Arc<dyn Inbound> = match handler {
            Handler::Direct => Arc::new(Direct::default()),
            Handler::Actor => Arc::new(Actor::start()),
        };
        links.serve(Service::Entity, inbound);
        Self { addr: links.local_addr(), _links: links, _control: control }
    }
}

#[derive(Default)]
struct Direct {
    told: AtomicU64,
}

fn answer(told: u64, body: Bytes, reply: ReplyTo) {
    reply.send(if body.is_empty() { Handled::now(told).encode() } else { body });
}

impl Inbound for Direct {
    fn tell(&self, _: &Peer, _: Head, _body: Bytes) {
        self.told.fetch_add(1, Ordering::Relaxed);
    }

    fn ask(&self, _: &Peer, _: Head, body: Bytes, reply: ReplyTo) {
        answer(self.told.load(Ordering::Relaxed), body, reply);
    }
}

struct Mail {
    body: Bytes,
    reply: Option<ReplyTo>,
}

struct Actor {
    inbox: mpsc::UnboundedSender<Mail>,
}

impl Actor {
    fn start() -> Self {
        let (inbox, mut mail) = mpsc::unbounded_channel::<Mail>();
        tokio::spawn(async move {
            let mut told = 0;
            while let Some(Mail { body, reply }) = mail.recv().await {
                match reply {
                    None => told += 1,
                    Some(reply) => answer(told, body, reply),
                }
            }
        });
        Self { inbox }
    }
}

impl Inbound for Actor {
    fn tell(&self, _: &Peer, _: Head, body: Bytes) {
        // The task ends with this end of its channel.
        let _ = self.inbox.send(Mail { body, reply: None });
    }

    fn ask(&self, _: &Peer, _: Head, body: Bytes, reply: ReplyTo) {
        let _ = self.inbox.send(Mail { body, reply: Some(reply) });
    }
}

/// A sender's links.
#[derive(Debug, Clone)]
pub struct Ours {
    links: Links,
    link: Arc<Link>,
    _control: Arc<ControlRuntime>,
}

impl Ours {
    /// A node of its own that knows the receiver at `addr`, and has not dialled it yet.
    pub async fn new(addr: SocketAddr, pem: Option<&Pem>) -> Self {
        let control = control();
        let links = start(SENDER, pem, &control).await;
        let to = node(RECEIVER);
        links.learn(&to, &addr.to_string());
        let link = Arc::new(links.link(&to, Class::Message, Service::Entity));
        Self { links, link, _control: Arc::new(control) }
    }

    /// Asks once, at most until `deadline`.
    ///
    /// # Errors
    /// [`AskError`], as the links say it.
    pub async fn ask_once(&self, body: Bytes, deadline: Instant) -> Result<Bytes, AskError> {
        self.link.ask(Head::default(), body, deadline).await
    }

    /// Closes everything.
    pub async fn stop(self) {
        self.links.stop().await;
    }
}

impl Way for Ours {
    async fn tell(&self, body: &Bytes) {
        let sent = self.link.send(Head::default(), body.clone(), Instant::NEVER).await;
        sent.expect("a message is taken");
    }

    async fn ask(&self, body: Bytes) -> Bytes {
        self.ask_once(body, BootClock.now() + ASK_MAX).await.expect("an answer")
    }
}
