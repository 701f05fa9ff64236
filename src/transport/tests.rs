//! Links on loopback. All waits are for events, with a generous deadline.

mod bad_input;
mod breaking;
mod lives;
mod credits;
mod crowd;
mod deadlines;
mod losses;
mod own_certs;
mod parts;
mod pipes;
mod proxy;
mod reloading;
mod resuming;
mod room;
mod runtimes;
mod talking;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::certs::Authority;
use super::pipe_net::PipeNet;
use super::tls::San;
use super::*;
use crate::base::{Boot, BootClock, Clock, SeededRng, Spawner, TokioClock, TokioNet};

/// More than any test needs on a busy machine.
const GENEROUS: Duration = Duration::from_secs(30);
const CLUSTER: ClusterId = ClusterId([7; 32]);

fn seams() -> Seams {
    Seams {
        clock: Arc::new(BootClock),
        rng: Arc::new(SeededRng::new(1)),
        net: Arc::new(TokioNet),
        control: Spawner::Current,
        work: Spawner::Current,
        threads: true,
    }
}

fn node(name: &str) -> NodeId {
    name.parse().expect("a node name")
}

fn soon() -> Instant {
    BootClock.now() + GENEROUS
}

async fn in_time<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(GENEROUS, future).await.unwrap_or_else(|_| panic!("waiting for {what}"))
}

fn insecure(name: &str) -> LinksConfig {
    let identity = Identity { cluster_name: "test".into(), node: node(name), boot: Boot(1) };
    LinksConfig::new(identity, SocketAddr::from(([127, 0, 0, 1], 0)), Security::Insecure)
}

fn tls(authority: &Authority, pem: &(String, String)) -> Security {
    let tls = TlsConfig::from_pem(&authority.ca_pem(), &pem.0, &pem.1, Arc::new(BootClock));
    Security::Tls(Arc::new(tls.expect("good PEM")))
}

fn secure(name: &str, authority: &Authority) -> LinksConfig {
    let pem = authority.issue_node(name).expect("a good name");
    LinksConfig { security: tls(authority, &pem), ..insecure(name) }
}

/// TLS as by somebody who does not check its own certificate.
fn unchecked(trusts: &Authority, (cert, key): &(String, String)) -> Security {
    let name = San::node("test", &node("bad"));
    let ca = trusts.ca_pem();
    let tls = TlsConfig::assemble([&ca, cert, key], Arc::new(BootClock), |_| Ok(name.clone()));
    Security::Tls(Arc::new(tls.expect("good PEM")))
}

/// Starts a node that claims to be `name` with whatever certificate it has: its own check of it is
/// passed over, as an attacker would.
async fn forged(name: &str, security: Security) -> Links {
    let seams = seams();
    let config = LinksConfig { security, ..insecure(name) };
    let listener = seams.net.listen(config.listen).await.expect("a free port");
    let addr = listener.local_addr().expect("it listens");
    let shared = Shared::new(config, seams, addr);
    tokio::spawn(shared.clone().accept_all(listener));
    let links = Links(shared);
    links.set_cluster(CLUSTER);
    links
}

async fn start(config: LinksConfig) -> Links {
    let links = Links::start(config, seams()).await.expect("loopback and a free port");
    links.set_cluster(CLUSTER);
    links
}

fn virtual_seams(net: &PipeNet) -> Seams {
    Seams { clock: Arc::new(TokioClock::new()), net: Arc::new(net.clone()), ..seams() }
}

/// A node on a network in memory, under virtual time.
async fn virtual_node(net: &PipeNet, config: LinksConfig) -> Links {
    let links = Links::start(config, virtual_seams(net)).await.expect("a port is free");
    links.set_cluster(CLUSTER);
    links
}

/// A node that takes nobody for dead while a test holds a link up.
fn patient(name: &str) -> LinksConfig {
    let dead_after = Duration::from_mins(10);
    LinksConfig { timing: Timing { dead_after, ..Timing::default() }, ..insecure(name) }
}

fn on(lane: u8) -> Head {
    Head { lane, ..Head::default() }
}

/// A body of so many bytes that begins with its number.
fn numbered(number: u32, bytes: usize) -> Bytes {
    let mut body = vec![0; bytes];
    body[..4].copy_from_slice(&number.to_be_bytes());
    body.into()
}

fn number_of(body: &Bytes) -> u32 {
    u32::from_be_bytes(*body.first_chunk().expect("a numbered body"))
}

fn introduce(a: &Links, b_name: &str, b: &Links) {
    a.learn(&node(b_name), &b.local_addr().to_string());
}

/// What a service of a test heard.
#[derive(Debug)]
enum Heard {
    Tell(Peer, Head, Bytes),
    /// An ask that is held, with the means to answer it.
    Held(ReplyTo),
}

/// Does what the body says: `refuse`, `drop`, `hold`, or anything else to be sent back.
struct Obedient(mpsc::UnboundedSender<Heard>);

impl Inbound for Obedient {
    fn tell(&self, from: &Peer, head: Head, body: Bytes) {
        // A test that does not listen does not care.
        let _ = self.0.send(Heard::Tell(from.clone(), head, body));
    }

    fn ask(&self, _from: &Peer, _head: Head, body: Bytes, reply: ReplyTo) {
        match &body[..] {
            b"refuse" => reply.refuse(Bytes::from_static(b"because")),
            b"drop" => drop(reply),
            b"hold" => drop(self.0.send(Heard::Held(reply))),
            _ => reply.send(body),
        }
    }
}

fn obey(links: &Links, service: Service) -> mpsc::UnboundedReceiver<Heard> {
    let (sender, heard) = mpsc::unbounded_channel();
    links.serve(service, Arc::new(Obedient(sender)));
    heard
}

/// Asks the service of entities over a link of `class`.
async fn ask_in(from: &Links, to: &str, class: Class) -> Result<Bytes, AskError> {
    let (to, body) = (node(to), Bytes::from_static(b"x"));
    let deadline = from.0.seams.clock.now() + GENEROUS;
    from.ask(&to, class, Service::Entity, Head::default(), body, deadline).await
}

async fn ask(from: &Links, to: &str, body: &'static str) -> Result<Bytes, AskError> {
    let body = Bytes::from_static(body.as_bytes());
    let to = node(to);
    from.ask(&to, Class::Message, Service::Entity, Head::default(), body, soon()).await
}

/// Asks until it is answered: for a link that was just lost and is dialled again.
async fn answered(from: &Links, to: &str) {
    in_time("an answer", async {
        while ask(from, to, "again").await != Ok(Bytes::from_static(b"again")) {
            // The back-off is the only thing waited for.
            BootClock.sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

type Said = Arc<Mutex<Vec<String>>>;

/// Collects what a hook says, and rings with each.
fn collector() -> (Said, mpsc::UnboundedReceiver<()>, impl Fn(&str) + Clone) {
    let said = Arc::new(Mutex::new(Vec::new()));
    let (bell, rung) = mpsc::unbounded_channel();
    let into = said.clone();
    let say = move |why: &str| {
        into.lock().push(why.to_owned());
        let _ = bell.send(());
    };
    (said, rung, say)
}
