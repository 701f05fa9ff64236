//! What a thousand clients that connect and say nothing cost a node that means it.
//!
//! ```text
//! cargo run --release --manifest-path benches/Cargo.toml --bin silent -- \
//!     [--dials N] [--clients N]
//! ```
//! A node with TLS listens in another process. Fresh nodes dial it, one after another: each time
//! from the first connect to the answer of its first ask is taken, first with nobody else there,
//! then beside clients that say nothing, then beside clients that stop within their first TLS
//! record. Before every dial whoever was closed by the node is replaced.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use evertree::base::{BootClock, Clock as _};
use evertree_benches::figures::low_mid_high;
use evertree_benches::on_worker;
use evertree_benches::wired::ours::{Handler, Ours, Pem, certificates};
use evertree_benches::wired::receiver::{Kind, Process, Protection, was_one};
use evertree_benches::wired::runtime;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const DIALS: usize = 30;
const CLIENTS: usize = 1_000;
/// How much later a node may be answered because of the crowd.
const LATER_MAX: Duration = Duration::from_millis(50);
/// A node that was not answered for so long is counted as not answered.
const DIAL_MAX: Duration = Duration::from_secs(10);
/// So many nodes that were not answered say enough.
const UNANSWERED_MAX: usize = 2;
/// How long a client tries to connect.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// Wait before a node dials again that was refused.
const AGAIN: Duration = Duration::from_millis(5);

/// A crowd of clients.
#[derive(Debug, Clone, Copy)]
enum Crowd {
    Nobody,
    Silent,
    /// Sends the first half of a TLS client hello.
    HalfHello,
}

fn main() {
    if was_one() {
        return;
    }
    let (mut dials, mut clients) = (DIALS, CLIENTS);
    let mut words = std::env::args().skip(1);
    while let Some(flag) = words.next() {
        let value = words.next().and_then(|word| word.parse().ok()).expect("a number");
        match flag.as_str() {
            "--dials" => dials = value,
            "--clients" => clients = value,
            other => panic!("{other} is neither --dials nor --clients"),
        }
    }
    println!("{dials} dials each, {clients} clients\n");
    println!(
        "| beside | median, ms | longest, ms | not answered in {DIAL_MAX:?} | clients there |"
    );
    println!("|---|---|---|---|---|");
    let pem = certificates();
    let mut alone = None;
    for crowd in [Crowd::Nobody, Crowd::Silent, Crowd::HalfHello] {
        // A process of its own: no crowd suffers from the one before.
        let receiver = Process::start(Kind::Ours(Handler::Direct, Protection::Tls), &pem.1);
        let (addr, own) = (receiver.addr, pem.0.clone());
        let clients = if matches!(crowd, Crowd::Nobody) { 0 } else { clients };
        let taken = on_worker(&runtime("dialler"), async move {
            Taken::take(addr, &own, crowd, (dials, clients)).await
        });
        println!("{}", taken.line(crowd));
        let figures = taken.figures();
        let [_, before, longest_before] = *alone.get_or_insert(figures);
        if clients > 0 {
            let [_, median, longest] = figures;
            let (later, longest) = (median - before, longest - longest_before);
            let most = LATER_MAX.as_secs_f64() * 1e3;
            let met = taken.unanswered == 0 && later < most && longest < most;
            println!(
                "| later by | {later:.1} | {longest:.1} | | below {most:.0} ms: {} |",
                if met { "met" } else { "**missed**" },
            );
        }
    }
}

#[derive(Debug, Default)]
struct Taken {
    ms: Vec<f64>,
    unanswered: usize,
    /// The fewest clients connected when a node dialled.
    there: Option<usize>,
}

impl Taken {
    async fn take(addr: SocketAddr, pem: &Pem, crowd: Crowd, (dials, n): (usize, usize)) -> Self {
        let mut taken = Self::default();
        let mut clients = Vec::new();
        for _ in 0..dials {
            gather(&mut clients, addr, crowd, n).await;
            taken.there = Some(taken.there.map_or(clients.len(), |there| there.min(clients.len())));
            match dial(addr, pem).await {
                Some(took) => taken.ms.push(took.as_secs_f64() * 1e3),
                None => taken.unanswered += 1,
            }
            if taken.unanswered == UNANSWERED_MAX {
                break;
            }
        }
        taken
    }

    /// The lowest, the median, the highest; who was not answered took longer than all.
    fn figures(&self) -> [f64; 3] {
        let unanswered = std::iter::repeat_n(DIAL_MAX.as_secs_f64() * 1e3, self.unanswered);
        low_mid_high(self.ms.iter().copied().chain(unanswered))
    }

    fn line(&self, crowd: Crowd) -> String {
        let ([_, median, longest], unanswered) = (self.figures(), self.unanswered);
        let crowd = match crowd {
            Crowd::Nobody => "nobody",
            Crowd::Silent => "silent clients",
            Crowd::HalfHello => "clients that stop in their hello",
        };
        let (answered, there) = (self.ms.len(), self.there.unwrap_or_default());
        let all = answered + unanswered;
        format!("| {crowd} | {median:.1} | {longest:.1} | {unanswered} of {all} | {there} |")
    }
}

/// Replaces the clients that were closed, and waits until all are connected or cannot be.
async fn gather(clients: &mut Vec<TcpStream>, addr: SocketAddr, crowd: Crowd, n: usize) {
    clients.retain(is_open);
    let mut coming = JoinSet::new();
    for _ in clients.len()..n {
        coming.spawn(tokio::time::timeout(CONNECT_MAX, client(addr, crowd)));
    }
    while let Some(come) = coming.join_next().await {
        // Too late, or refused: the node's queue is full.
        if let Ok(Ok(client)) = come.expect("no client panics") {
            clients.push(client);
        }
    }
}

async fn client(addr: SocketAddr, crowd: Crowd) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(addr).await?;
    if matches!(crowd, Crowd::HalfHello) {
        stream.write_all(&half_hello()).await?;
    }
    Ok(stream)
}

/// A record that says it has 512 bytes of a client hello, and the first of them.
fn half_hello() -> [u8; 256] {
    let mut bytes = [0x5a; 256];
    // Handshake record, 512 bytes; client hello, 508 bytes; TLS 1.2, as all versions say.
    bytes[..11].copy_from_slice(&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]);
    bytes
}

/// Whether the node has not closed it.
fn is_open(stream: &TcpStream) -> bool {
    let mut rest = [0; 64];
    loop {
        match stream.try_read(&mut rest) {
            Ok(0) => return false,
            // An alert, before it closes.
            Ok(_) => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

/// From the first connect of a fresh node to its first answer; `None` if there is none in time.
async fn dial(addr: SocketAddr, pem: &Pem) -> Option<Duration> {
    let node = Ours::new(addr, Some(pem)).await;
    let (began, deadline) = (Instant::now(), BootClock.now() + DIAL_MAX);
    let took = loop {
        match node.ask_once(Bytes::from_static(b"are you there?"), deadline).await {
            Ok(_) => break Some(began.elapsed()),
            Err(_) if began.elapsed() >= DIAL_MAX => break None,
            // Refused, or given up; the links know when they may dial again.
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    };
    node.stop().await;
    took
}
