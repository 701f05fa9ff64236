//! How many renewals one leader answers, and what each costs it.
//!
//! ```text
//! cargo run --release --manifest-path benches/Cargo.toml --bin renewals -- [--seconds N]
//! ```
//! Three voters in one process form a cluster over loopback with TLS; each has a control thread of
//! its own, as a node has it, on which all of its leases, raft and links run. The two that do not
//! lead ask the leader to renew, as themselves, with so many requests in flight together. A grant
//! counts when its answer is back. What it costs is the time of the leader's control thread, raft's
//! own heartbeats included; one core answers as many as that time goes into a second.
//!
//! With one request in flight every renewal has a barrier of its own; with more they share one.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use evertree::authority::{
    Formation, QuorumAuthority, QuorumParts, Renew, RenewError, Seeds, ViewAuthority as _,
};
use evertree::base::{
    Boot, BootClock, Clock as _, ControlRuntime, NodeId, Seams, SeededRng, Spawner, TokioNet,
    Version,
};
use evertree::placement::Profile;
use evertree::storage::{Directory, Disk, Durability, Facts, Store};
use evertree::transport::certs::Authority;
use evertree::transport::{
    Class, Head, Identity, Links, LinksConfig, Security, Service, TlsConfig,
};
use evertree::wire::{from_control, to_control};
use evertree_benches::on_worker;
use evertree_benches::wired::runtime;
use serde::{Deserialize, Serialize};

const CLUSTER_NAME: &str = "benches";
const NAMES: [&str; 3] = ["n1", "n2", "n3"];
const IN_FLIGHT: [usize; 4] = [1, 8, 64, 256];
const SECONDS: u64 = 10;
/// Renewals per second that a leader is to answer on one core.
const AIM: f64 = 5_000.0;
const WITHIN: Duration = Duration::from_secs(30);

/// What a lease office is asked and answers, as it stands on the wire.
#[derive(Serialize)]
struct Letter {
    relayed: bool,
    ask: Ask,
}

#[derive(Serialize)]
enum Ask {
    Renew(Renew),
}

#[derive(Deserialize)]
enum Answer {
    Renew(Result<Granted, RenewError>),
}

/// What of a grant is looked at.
#[derive(Deserialize)]
struct Granted {
    nonce: u64,
    version: Version,
}

struct Member {
    name: NodeId,
    boot: Boot,
    links: Links,
    authority: QuorumAuthority,
    _control: ControlRuntime,
}

impl Member {
    async fn start(
        place: &Path,
        (name, listens): (&str, &[SocketAddr]),
        listen: SocketAddr,
        tls: TlsConfig,
    ) -> Self {
        let control = ControlRuntime::start(&format!("control-{name}")).expect("a thread");
        let seams = Seams {
            clock: Arc::new(BootClock),
            rng: Arc::new(SeededRng::from_os()),
            net: Arc::new(TokioNet),
            control: Spawner::On(control.handle().clone()),
            work: Spawner::On(tokio::runtime::Handle::current()),
            threads: true,
        };
        let me: NodeId = name.parse().expect("a plain name");
        let disk: Arc<dyn Disk> =
            Arc::new(Directory::open(&place.join(name)).expect("a directory"));
        let facts = Facts::open(&*disk, &me, &*seams.rng).expect("an empty directory");
        facts.set_mark(disk.mark()).expect("it is written");
        let worker = seams.worker(&format!("store-{name}")).expect("a thread");
        let store = Store::open(&*disk, worker, Durability::Disk, &*seams.rng).expect("a store");
        facts.set_store(store.id()).expect("it is written");
        let boot = facts.begin_boot(&*seams.rng).expect("it is written");
        let identity = Identity { cluster_name: CLUSTER_NAME.into(), node: me.clone(), boot };
        let config = LinksConfig {
            token: facts.token(boot),
            ..LinksConfig::new(identity, listen, Security::Tls(Arc::new(tls)))
        };
        let links = Links::start(config, seams.clone()).await.expect("a free port");
        let list = listens.iter().map(ToString::to_string).collect();
        let deadline = seams.clock.now() + WITHIN;
        let parts = QuorumParts {
            links: links.clone(),
            disk,
            facts,
            me: me.clone(),
            boot,
            store: store.id(),
            addr: listen.to_string(),
            zone: String::new(),
            weight: 1,
            shards: 4_096,
            profile: Profile::lan(),
            formation: Formation::Expect {
                expect: listens.len(),
                seeds: Seeds { list, file: None },
            },
            replace_voters_after: Duration::from_secs(30),
            seams,
        };
        let authority = QuorumAuthority::start(parts, deadline).await.expect("they form a cluster");
        Self { name: me, boot, links, authority, _control: control }
    }

    /// Renews at `leader`, as this member, one after the other until `until`; how often it was
    /// granted.
    async fn renew(&self, leader: &NodeId, nonces: &AtomicU64, until: Instant) -> u64 {
        let (mut granted, mut last) = (0, None);
        while Instant::now() < until {
            let nonce = nonces.fetch_add(1, Ordering::Relaxed);
            let renew = Renew {
                nonce,
                node: self.name.clone(),
                boot: self.boot,
                last_grant: last,
                load: 1,
                unreachable: vec![],
                released: vec![],
                leaving: false,
            };
            let body = to_control(&Letter { relayed: false, ask: Ask::Renew(renew) });
            let deadline = BootClock.now() + WITHIN;
            let (class, service) = (Class::Control, Service::Lease);
            let asked = self.links.ask(leader, class, service, Head::default(), body, deadline);
            let Answer::Renew(answer) =
                from_control(&asked.await.expect("an answer")).expect("what an office answers");
            let grant = answer.expect("it leads, and this is a member");
            assert!(grant.nonce == nonce && grant.version > Version(0), "an answer to another");
            (granted, last) = (granted + 1, Some(nonce));
        }
        granted
    }
}

/// Three members, of which one leads.
async fn cluster(place: &Path) -> Vec<Member> {
    let held = NAMES.map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let listens: Vec<SocketAddr> =
        held.iter().map(|one| one.local_addr().expect("it listens")).collect();
    drop(held);
    let signer = Authority::new(CLUSTER_NAME).expect("a plain name");
    let starting = NAMES.iter().zip(&listens).map(|(name, listen)| {
        let (cert, key) = signer.issue_node(name).expect("a plain name");
        let tls = TlsConfig::from_pem(&signer.ca_pem(), &cert, &key, Arc::new(BootClock));
        let (place, listens, listen) = (place.to_owned(), listens.clone(), *listen);
        let tls = tls.expect("certificates as the authority made them");
        tokio::spawn(async move { Member::start(&place, (name, &listens), listen, tls).await })
    });
    let starting: Vec<_> = starting.collect();
    let mut members = Vec::new();
    for one in starting {
        members.push(one.await.expect("it starts"));
    }
    members
}

/// Nanoseconds that the thread named `name` of this process has run.
fn ran(name: &str) -> u64 {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux");
    for task in tasks.filter_map(Result::ok) {
        let text = |file| fs::read_to_string(task.path().join(file)).unwrap_or_default();
        if text("comm").trim() == name {
            let ran = text("schedstat");
            return ran.split_whitespace().next().and_then(|ran| ran.parse().ok()).expect("a time");
        }
    }
    panic!("no thread {name}");
}

/// Takes one row, and whether it meets the aim.
async fn row(members: &[Arc<Member>], leader: &NodeId, in_flight: usize, seconds: u64) -> bool {
    let nonces = Arc::new(AtomicU64::new(1));
    let thread = format!("control-{leader}");
    let (before, began) = (ran(&thread), Instant::now());
    let until = began + Duration::from_secs(seconds);
    let askers: Vec<_> = members.iter().filter(|member| member.name != *leader).collect();
    let tasks: Vec<_> = (0..in_flight)
        .map(|number| {
            let (member, leader) = (askers[number % askers.len()].clone(), leader.clone());
            let nonces = nonces.clone();
            tokio::spawn(async move { member.renew(&leader, &nonces, until).await })
        })
        .collect();
    let mut granted = 0;
    for task in tasks {
        granted += task.await.expect("it ran");
    }
    let (took, ran) = (began.elapsed().as_secs_f64(), ran(&thread) - before);
    let each = ran as f64 / 1e3 / granted as f64;
    let of_a_core = 1e6 / each;
    println!(
        "| {in_flight} | {:.0} | {each:.1} | {of_a_core:.0} | {:.0} % |",
        granted as f64 / took,
        ran as f64 / 1e7 / took,
    );
    of_a_core >= AIM
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let mut seconds = SECONDS;
    while let Some(flag) = words.next() {
        let value = words.next().and_then(|word| word.parse().ok()).expect("a number");
        match flag.as_str() {
            "--seconds" => seconds = value,
            other => panic!("{other} is not --seconds"),
        }
    }
    let place = std::env::temp_dir().join(format!("evertree-renewals-{}", std::process::id()));
    let data = place.clone();
    let met = on_worker(&runtime("renewals"), async move {
        let members: Vec<_> = cluster(&data).await.into_iter().map(Arc::new).collect();
        let led: BTreeMap<_, _> = members
            .iter()
            .filter_map(|one| Some((one.authority.core().leader_hint()?, one.authority.view())))
            .collect();
        let leader = led.keys().next().expect("one leads").clone();
        println!("{leader} leads three voters; profile lan; {seconds} s each\n");
        println!("| in flight | grants/s | leader's us each | grants/s of one core | its core |");
        println!("|---|---|---|---|---|");
        let mut met = false;
        for in_flight in IN_FLIGHT {
            met = row(&members, &leader, in_flight, seconds).await;
        }
        let end = members.iter().map(|one| one.authority.core().leader_hint());
        assert!(end.flatten().all(|now| now == leader), "another leads by now");
        met
    });
    // What is left there is of no use to anybody.
    let _ = fs::remove_dir_all(place);
    println!("\nat least {AIM:.0} of one core: {}", if met { "met" } else { "**missed**" });
    if met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
