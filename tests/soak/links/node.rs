//! One of the two nodes: this program, started once more. It is told what to do on its standard
//! input, and says what it has done on its standard output.

use std::fmt::Write as _;
use std::io::{self, BufRead as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use evertree::base::{
    Boot, BootClock, ClusterId, ControlRuntime, NodeId, Seams, SeededRng, Spawner, TokioNet,
};
use evertree::transport::{
    Class, Head, Identity, Inbound, LANES, Links, LinksConfig, Lost, Peer, ReplyTo, Security,
    Service, Timing, TlsConfig,
};
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use super::account::{Account, Connections, Fate, Got, answer_to, fate_of};
use super::sender::{self, Lane};
use super::{CLUSTER_NAME, END, SAID};

const CLUSTER: ClusterId = ClusterId([4; 32]);
/// Quicker than by default, so that more goes wrong in ten minutes.
const TIMING: Timing = Timing {
    dial: Duration::from_secs(1),
    handshake: Duration::from_secs(2),
    ping_interval: Duration::from_millis(200),
    dead_after: Duration::from_secs(1),
    backoff_min: Duration::from_millis(20),
    backoff_max: Duration::from_millis(300),
};

/// Takes the messages of the other node.
#[derive(Debug, Default)]
struct Receiver {
    lanes: [Mutex<Got>; LANES as usize],
}

impl Receiver {
    fn got<T>(&self, head: Head, take: impl FnOnce(&mut Got) -> T) -> T {
        let lane = &self.lanes[usize::from(head.lane)];
        take(&mut lane.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inbound for Receiver {
    fn tell(&self, _: &Peer, head: Head, body: Bytes) {
        self.got(head, |got| got.tell(&body));
    }

    fn ask(&self, _: &Peer, head: Head, body: Bytes, reply: ReplyTo) {
        let Some(number) = self.got(head, |got| got.ask(&body)) else { return };
        match fate_of(number) {
            Fate::Answered => reply.send(answer_to(number)),
            Fate::Refused => reply.refuse(answer_to(number)),
            Fate::Dropped => drop(reply),
        }
    }
}

/// Takes the large asks of the control connection.
#[derive(Debug)]
struct Controlled;

impl Inbound for Controlled {
    fn tell(&self, _: &Peer, _: Head, _: Bytes) {}

    fn ask(&self, _: &Peer, _: Head, body: Bytes, reply: ReplyTo) {
        // An answer to no ask is counted where it arrives.
        reply.send(sender::control_number(&body).map_or(Bytes::new(), answer_to));
    }
}

/// What the links report as lost, by lane.
#[derive(Debug, Default)]
struct Losses {
    unsent: [AtomicU64; LANES as usize],
    unknown: [AtomicU64; LANES as usize],
    reports: AtomicU64,
}

impl Losses {
    fn add(&self, lost: &Lost) {
        if lost.class == Class::Message {
            let lane = usize::from(lost.lane);
            self.unsent[lane].fetch_add(lost.unsent, Ordering::Relaxed);
            self.unknown[lane].fetch_add(lost.unknown, Ordering::Relaxed);
            self.reports.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The next line; nothing if whoever started this process is gone.
fn line() -> Option<String> {
    let mut line = String::new();
    let bytes = io::stdin().lock().read_line(&mut line).ok()?;
    (bytes > 0).then(|| line.trim_end().to_owned())
}

fn text() -> Option<String> {
    let mut text = String::new();
    loop {
        let line = line()?;
        if line == END {
            return Some(text);
        }
        text += &line;
        text.push('\n');
    }
}

fn say(what: &str) {
    // On a line of its own: the test around this has begun one.
    println!("\n{SAID}{what}");
}

async fn start(name: &NodeId, [ca, cert, key]: [&str; 3], control: &ControlRuntime) -> Links {
    let tls = TlsConfig::from_pem(ca, cert, key, Arc::new(BootClock));
    let security = Security::Tls(Arc::new(tls.expect("certificates as they were made")));
    let identity =
        Identity { cluster_name: CLUSTER_NAME.into(), node: name.clone(), boot: Boot(1) };
    let mut config = LinksConfig::new(identity, SocketAddr::from(([127, 0, 0, 1], 0)), security);
    config.timing = TIMING;
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

/// Is the node `name` until it is told to stop, or nobody is there to tell it.
pub(super) fn be(name: &str) {
    let runtime = super::threads(2);
    let control = ControlRuntime::start("control").expect("a thread");
    let (name, receiver): (NodeId, _) = (name.parse().expect("a name"), Arc::<Receiver>::default());
    let (Some(ca), Some(cert), Some(key)) = (text(), text(), text()) else { return };
    let links = runtime.block_on(start(&name, [&ca, &cert, &key], &control));
    links.serve(Service::Entity, receiver.clone());
    links.serve(Service::Lease, Arc::new(Controlled));
    let losses = Arc::<Losses>::default();
    let reported = losses.clone();
    links.on_lost(move |lost| reported.add(lost));
    say(&links.local_addr().to_string());

    let Some(order) = line() else { return };
    let words: Vec<&str> = order.split(' ').collect();
    let [peer, addr, per_second] = words[..] else { panic!("an order: {order}") };
    let per_second: u64 = per_second.parse().expect("a number");
    let peer = peer.parse().expect("a name");
    links.learn(&peer, addr);
    let quiet = CancellationToken::new();
    let link = Arc::new(links.link(&peer, Class::Message, Service::Entity));
    let per_lane = per_second / u64::from(LANES);
    let lanes: Vec<_> = (0..LANES)
        .map(|lane| runtime.spawn(Lane::new(link.clone(), lane).run(per_lane, quiet.clone())))
        .collect();
    let link = Arc::new(links.link(&peer, Class::Control, Service::Lease));
    let controls = runtime.spawn(sender::control(link, quiet.clone()));

    if line().is_none() {
        return;
    }
    quiet.cancel();
    let sent = runtime.block_on(join_all(lanes));
    let mut account = Account {
        sent: sent.into_iter().map(|sent| sent.expect("it ends")).collect(),
        control: runtime.block_on(controls).expect("it ends"),
        ..Account::default()
    };
    say("drained");
    if line().is_none() {
        return;
    }
    runtime.block_on(links.stop());
    fill(&mut account, &links, &receiver, &losses);
    let account = postcard::to_stdvec(&account).expect("numbers and texts");
    let mut hex = String::new();
    for byte in account {
        write!(hex, "{byte:02x}").expect("a string takes it");
    }
    say(&hex);
}

/// What is known once the links have stopped.
fn fill(account: &mut Account, links: &Links, receiver: &Receiver, losses: &Losses) {
    for (lane, sent) in account.sent.iter_mut().enumerate() {
        sent.unsent = losses.unsent[lane].load(Ordering::Relaxed);
        sent.unknown = losses.unknown[lane].load(Ordering::Relaxed);
    }
    let got = |lane: &Mutex<Got>| lane.lock().unwrap_or_else(PoisonError::into_inner).clone();
    account.got = receiver.lanes.iter().map(got).collect();
    let counts = links.counts();
    account.connections = Connections {
        dialled: counts.dialled,
        dials_failed: counts.dials_failed,
        broken: counts.broken,
        resumed: counts.resumed,
        losses: losses.reports.load(Ordering::Relaxed),
    };
}
