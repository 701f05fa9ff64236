//! Those who connect and mean nothing: a third closes at once, a third says nothing, a third sends
//! what is no TLS. None of them goes before it is made to.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// From how many addresses they come; the nodes have another one.
pub(crate) const ADDRESSES: u64 = 8;
/// Connections under way at one time.
const UNDER_WAY_MAX: usize = 4_000;
const TICK: Duration = Duration::from_millis(10);
/// How long one waits for its connection, and for its end.
const PATIENCE: Duration = Duration::from_secs(6);

/// What became of them.
#[derive(Debug, Default, Clone)]
pub(crate) struct Crowd {
    pub(crate) connected: u64,
    closed: u64,
    silent: u64,
    garbage: u64,
    failed: u64,
    /// Not begun, since too many were under way.
    left_out: u64,
}

impl fmt::Display for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connected, closed, silent, garbage, failed, left_out } = self;
        write!(
            f,
            "{connected} connected, of which {closed} closed at once, {silent} said nothing, \
             {garbage} sent garbage; {failed} did not connect, {left_out} were left out"
        )
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// One of them; its kind, if it connected.
async fn come(to: SocketAddr, number: u64) -> Option<u64> {
    let last = u8::try_from(number % ADDRESSES).ok()? + 1;
    let from = SocketAddrV4::new(Ipv4Addr::new(127, 0, 1, last), 0);
    let socket = TcpSocket::new_v4().ok()?;
    // Its port is free again at once.
    socket.set_zero_linger().ok()?;
    socket.bind(from.into()).ok()?;
    let mut stream = timeout(PATIENCE, socket.connect(to)).await.ok()?.ok()?;
    let kind = number / ADDRESSES % 3;
    if kind == 2 {
        // It may have been closed already.
        let _ = stream.write_all(&[0x2a; 64]).await;
    }
    if kind > 0 {
        let _ = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
    }
    Some(kind)
}

/// Connects `per_second` times in each second of `length`, as far as this machine can.
pub(crate) async fn flood(to: SocketAddr, per_second: u64, length: Duration) -> Crowd {
    let (mut crowd, mut under_way) = (Crowd::default(), FuturesUnordered::new());
    let (begun, mut ticks) = (Instant::now(), interval(TICK));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut number = 0;
    let settle = |crowd: &mut Crowd, came: Option<u64>| {
        let of_kind = match came {
            Some(0) => &mut crowd.closed,
            Some(1) => &mut crowd.silent,
            Some(_) => &mut crowd.garbage,
            None => &mut crowd.failed,
        };
        *of_kind += 1;
        crowd.connected += u64::from(came.is_some());
    };
    while begun.elapsed() < length {
        tokio::select! {
            biased;
            _ = ticks.tick() => {
                let passed = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                let wanted = passed * per_second / 1_000_000;
                // What a late tick missed comes now, but not all of a long pause.
                while number < wanted {
                    number += 1;
                    if under_way.len() < UNDER_WAY_MAX {
                        under_way.push(come(to, number));
                    } else {
                        crowd.left_out += 1;
                    }
                }
            }
            Some(came) = under_way.next() => settle(&mut crowd, came),
        }
    }
    while let Some(came) = under_way.next().await {
        settle(&mut crowd, came);
    }
    crowd
}
