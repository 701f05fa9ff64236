//! Two hosts in a world of turmoil's.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::*;
use crate::transport::net_contract;

const PORT: u16 = 7000;
/// More than one write carries.
const BYTES: usize = 300_000;

fn name(name: &str) -> NodeId {
    name.parse().expect("a plain name")
}

fn world() -> turmoil::Sim<'static> {
    let tick = Duration::from_millis(1);
    turmoil::Builder::new()
        .rng_seed(1)
        .tick_duration(tick)
        .simulation_duration(Duration::from_hours(2))
        .min_message_latency(tick)
        .max_message_latency(tick)
        .tcp_capacity(65_536)
        .build()
}

/// Runs `client` on the host `n2` until it ends, beside `n1` that sends back what it reads.
fn run<F>(loss: &Arc<Loss>, client: impl FnOnce(SimNet) -> F)
where
    F: Future<Output = ()> + 'static,
{
    let mut sim = world();
    let net = SimNet::new(name("n1"), loss.clone(), Arc::default());
    sim.host("n1", move || {
        let net = net.clone();
        async move {
            let listener = net.listen(SocketAddr::from(([0, 0, 0, 0], PORT))).await?;
            loop {
                let (stream, _) = listener.accept().await?;
                tokio::spawn(echo(stream));
            }
        }
    });
    let client = client(SimNet::new(name("n2"), loss.clone(), Arc::default()));
    sim.client("n2", async move {
        client.await;
        Ok(())
    });
    sim.run().expect("the client comes to its end");
}

async fn echo(stream: Stream) {
    let (mut read, mut write) = tokio::io::split(stream);
    tokio::io::copy(&mut read, &mut write).await.expect("an end, not an error");
    write.write_all(b"end").await.expect("this way is still open");
    write.shutdown().await.expect("this way is still open");
}

async fn dial(net: &SimNet) -> Stream {
    let addrs = net.resolve("n1:7000").await.expect("a known name");
    net.connect(addrs[0]).await.expect("it listens")
}

/// When how many bytes came back, and how much was lost.
fn trace(seed: u64, permille: u16) -> (Vec<(Duration, usize)>, u64) {
    let loss = Arc::new(Loss::new(seed, permille));
    let (told, trace) = std::sync::mpsc::channel();
    run(&loss, |net| async move {
        let began = Instant::now();
        let (mut read, mut write) = tokio::io::split(dial(&net).await);
        let sent: Vec<u8> = (0..BYTES).map(|i| u8::try_from(i % 251).expect("small")).collect();
        let bytes = sent.clone();
        tokio::spawn(async move {
            for chunk in bytes.chunks(10_000) {
                write.write_all(chunk).await.expect("it is open");
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            write.shutdown().await.expect("it is open");
        });
        let (mut got, mut came) = (Vec::new(), Vec::new());
        loop {
            let before = got.len();
            read.read_buf(&mut got).await.expect("an end, not an error");
            if got.len() == before {
                break;
            }
            came.push((began.elapsed(), got.len()));
        }
        assert!(
            got.strip_suffix(b"end").is_some_and(|got| got == sent),
            "all, in order, and the end"
        );
        told.send(came).expect("somebody waits");
    });
    (trace.recv().expect("the client told it"), loss.lost())
}

#[test]
fn simulated_sockets_are_held_to_what_real_ones_are() {
    for permille in [0, 100] {
        let (loss, mut sim) = (Arc::new(Loss::new(1, permille)), world());
        let net = SimNet::new(name("n1"), loss.clone(), Arc::default());
        sim.client("n1", async move {
            let listener = net.listen(SocketAddr::from(([0, 0, 0, 0], PORT))).await?;
            net_contract::accept_side(&*listener).await;
            let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
            let listener = net_contract::listening(&net, loopback).await;
            let host = listener.local_addr()?.to_string();
            tokio::join!(
                net_contract::accept_side(&*listener),
                net_contract::dial_side(&net, &host)
            );
            Ok(())
        });
        let net = SimNet::new(name("n2"), loss.clone(), Arc::default());
        sim.client("n2", async move {
            net_contract::dial_side(&net, "n1:7000").await;
            Ok(())
        });
        sim.run().expect("both come to their end");
        assert_eq!(loss.lost() > 0, permille > 0);
    }
}

#[test]
fn a_connection_with_loss_keeps_the_contract_and_a_seed_is_a_run() {
    let (lossless, lost) = trace(1, 0);
    assert_eq!(lost, 0);
    assert!(lossless.last().expect("it came").0 < Duration::from_millis(200), "{lossless:?}");
    let (came, lost) = trace(1, 100);
    assert!(lost > 0, "nothing was lost");
    assert!(came.last().expect("it came").0 >= Duration::from_millis(200), "{came:?}");
    assert_eq!((came, lost), trace(1, 100), "the same seed");
    assert_ne!(trace(1, 100).0, trace(2, 100).0, "another seed");
}

#[test]
fn connecting_takes_as_long_as_its_first_segment_is_lost() {
    let loss = Arc::new(Loss::new(1, 300));
    let (told, took) = std::sync::mpsc::channel();
    run(&loss, |net| async move {
        for _ in 0..200 {
            let began = Instant::now();
            dial(&net).await;
            told.send(began.elapsed()).expect("somebody waits");
        }
    });
    let took: Vec<_> = took.iter().collect();
    let fastest = *took.iter().min().expect("200 of them");
    assert!(fastest < Duration::from_millis(5), "a round trip takes {fastest:?}");
    let late: Vec<_> = took.iter().map(|took| took.saturating_sub(fastest).as_millis()).collect();
    let steps = [0, 200, 600, 1400, 3000, 6200];
    assert!(late.iter().all(|late| steps.contains(late)), "{late:?}");
    let count = late.iter().filter(|late| **late > 0).count();
    assert!((40..=80).contains(&count), "{count} of 200 were late, 60 should be");
}

#[test]
fn connecting_gives_up() {
    let loss = Arc::new(Loss::new(1, 1000));
    run(&loss, |net| async move {
        let began = Instant::now();
        let addrs = net.resolve("n1:7000").await.expect("a known name");
        let error = net.connect(addrs[0]).await.err().expect("all is lost");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), Duration::from_millis(102_200));
    });
}

#[test]
fn what_leaves_no_host_is_not_lost() {
    let loss = Arc::new(Loss::new(1, 1000));
    run(&loss, |net| async move {
        let listener = net.listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
        let addr = listener.local_addr().expect("it listens");
        let (dialled, accepted) = tokio::join!(net.connect(addr), listener.accept());
        let (mut dialled, (mut accepted, _)) =
            (dialled.expect("it listens"), accepted.expect("somebody dials"));
        dialled.write_u8(7).await.expect("it is open");
        assert_eq!(accepted.read_u8().await.expect("it arrives"), 7);
    });
    assert_eq!(loss.lost(), 0);
}
