//! What lies between two nodes: it passes bytes on, and cuts what it carries at random moments.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evertree::base::{Rng as _, SeededRng};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// No multiple of a frame or a record: what is cut is cut within one.
const CHUNK_BYTES: usize = 5_003;
/// Between two cuts: so long, and at most so much longer.
const CALM_MIN: Duration = Duration::from_millis(200);
const CALM_MORE: Duration = Duration::from_millis(2_800);
/// Between two cuts of the first minutes: what fills up to a limit, as the table of TLS sessions
/// does, is full when memory is first compared.
const HASTY_FOR: Duration = Duration::from_secs(110);
const HASTY_MORE: Duration = Duration::from_millis(100);
/// How long nobody gets through after some of the cuts, at most.
const OUTAGE_MAX: Duration = Duration::from_millis(300);
/// How long a silent connection is held, at most. Longer than nodes wait for each other.
const SILENCE_MAX: Duration = Duration::from_millis(2_500);
/// How late what was under way arrives, at most, and how much that is.
const LATE_MAX: Duration = Duration::from_millis(400);
const LATE_BYTES_MAX: usize = 256 << 10;
const LATE_GATHER_MAX: Duration = Duration::from_millis(20);

/// How a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// Both sides read an error.
    Reset,
    /// Both sides read the end.
    Close,
    /// Nothing arrives any more, and nothing is said of it.
    Silence,
    /// What the dialler sends arrives, what it is answered does not.
    Deafness,
    /// The dialler reads an error; what it had sent arrives later.
    Late,
}

impl Cut {
    const ALL: [Self; 5] = [Self::Reset, Self::Close, Self::Silence, Self::Deafness, Self::Late];
}

/// The connections that were cut, by way.
#[derive(Debug, Default)]
struct Counts([AtomicU64; Cut::ALL.len()]);

/// A proxy for one way; passes on until its runtime ends.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    to: SocketAddr,
    rng: SeededRng,
    /// The last cut, with its number. The connections of before are cut by it.
    cut: watch::Sender<(u64, Cut)>,
    /// Nobody gets through before.
    outage: watch::Sender<Instant>,
    is_calm: watch::Sender<bool>,
    /// Connections that were cut, and still hold something.
    held: watch::Sender<u64>,
    counts: Counts,
}

impl Proxy {
    /// Begins to pass on to `to`, and to cut.
    pub(super) async fn start(to: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback and a free port");
        let addr = listener.local_addr().expect("it listens");
        let shared = Arc::new(Shared {
            to,
            rng: SeededRng::new(seed),
            cut: watch::Sender::new((0, Cut::Reset)),
            outage: watch::Sender::new(Instant::now()),
            is_calm: watch::Sender::new(false),
            held: watch::Sender::new(0),
            counts: Counts::default(),
        });
        tokio::spawn(shared.clone().accept(listener));
        tokio::spawn(shared.clone().storm());
        Self { addr, shared }
    }

    /// Cuts no more, and waits until nothing that was under way is held back.
    pub(super) async fn calm(&self) {
        self.shared.is_calm.send_replace(true);
        let mut held = self.shared.held.subscribe();
        held.wait_for(|held| *held == 0).await.expect("it is held here");
    }

    /// How many connections were cut, and how.
    pub(super) fn counts(&self) -> String {
        let all = Cut::ALL.iter().zip(&self.shared.counts.0);
        let all = all.map(|(cut, count)| format!("{cut:?} {}", count.load(Ordering::Relaxed)));
        all.collect::<Vec<_>>().join(", ")
    }

    /// How many connections were cut.
    pub(super) fn cuts(&self) -> u64 {
        self.shared.counts.0.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

fn reset(stream: &TcpStream) {
    // It may be gone already.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// One direction of a connection. Goes on where it stopped.
struct Pump {
    chunk: Box<[u8; CHUNK_BYTES]>,
    from: usize,
    to: usize,
}

impl Pump {
    fn new() -> Self {
        Self { chunk: Box::new([0; CHUNK_BYTES]), from: 0, to: 0 }
    }

    fn rest(&self) -> &[u8] {
        &self.chunk[self.from..self.to]
    }

    /// Passes on until the end, and passes that on too.
    async fn run(&mut self, from: &mut ReadHalf<'_>, to: &mut WriteHalf<'_>) -> io::Result<()> {
        loop {
            while self.from < self.to {
                self.from += to.write(self.rest()).await?;
            }
            (self.from, self.to) = (0, from.read(&mut self.chunk[..]).await?);
            if self.to == 0 {
                return to.shutdown().await;
            }
        }
    }
}

/// Counts a connection that was cut and still holds something.
struct Held<'a>(&'a watch::Sender<u64>);

impl<'a> Held<'a> {
    fn one(count: &'a watch::Sender<u64>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Shared {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            if Instant::now() < *self.outage.borrow() {
                reset(&stream);
                continue;
            }
            let shared = self.clone();
            tokio::spawn(async move {
                // The other side may be gone, which is for the dialler to find out.
                let _ = shared.carry(stream).await;
            });
        }
    }

    async fn storm(self: Arc<Self>) {
        let mut is_calm = self.is_calm.subscribe();
        let begun = Instant::now();
        loop {
            let more = if begun.elapsed() < HASTY_FOR { HASTY_MORE } else { CALM_MORE };
            let pause = CALM_MIN + self.rng.up_to(more);
            tokio::select! {
                biased;
                _ = is_calm.wait_for(|is_calm| *is_calm) => return,
                () = sleep(pause) => {}
            }
            let draw = self.rng.next_u64();
            let [kind, outage, ..] = draw.to_be_bytes();
            let cut = Cut::ALL[usize::from(kind) % Cut::ALL.len()];
            if outage.is_multiple_of(4) {
                self.outage.send_replace(Instant::now() + self.rng.up_to(OUTAGE_MAX));
            }
            self.cut.send_modify(|last| *last = (last.0 + 1, cut));
        }
    }

    async fn carry(&self, mut dialler: TcpStream) -> io::Result<()> {
        let mut cuts = self.cut.subscribe();
        let mut acceptor = TcpStream::connect(self.to).await?;
        dialler.set_nodelay(true)?;
        acceptor.set_nodelay(true)?;
        let (mut there, mut back) = (Pump::new(), Pump::new());
        {
            let (mut from, mut answers) = dialler.split();
            let (mut answering, mut to) = acceptor.split();
            let both = async {
                let there = there.run(&mut from, &mut to);
                tokio::try_join!(there, back.run(&mut answering, &mut answers)).map(drop)
            };
            tokio::select! {
                biased;
                changed = cuts.changed() => changed.expect("it is sent from here"),
                passed = both => return passed,
            }
        }
        let (_, cut) = *cuts.borrow();
        self.counts.0[cut as usize].fetch_add(1, Ordering::Relaxed);
        let _held = Held::one(&self.held);
        self.cut(cut, there, dialler, acceptor).await
    }

    async fn cut(
        &self,
        cut: Cut,
        mut there: Pump,
        mut dialler: TcpStream,
        mut acceptor: TcpStream,
    ) -> io::Result<()> {
        match cut {
            Cut::Reset => {
                reset(&dialler);
                reset(&acceptor);
            }
            Cut::Close => {
                dialler.shutdown().await?;
                acceptor.shutdown().await?;
            }
            Cut::Silence => sleep(self.rng.up_to(SILENCE_MAX)).await,
            Cut::Deafness => {
                let (mut from, _answers) = dialler.split();
                let (_answering, mut to) = acceptor.split();
                let passed = there.run(&mut from, &mut to);
                // Until the dialler is tired of it, or this is.
                let _ = timeout(SILENCE_MAX, passed).await;
            }
            Cut::Late => {
                let mut late = there.rest().to_vec();
                let gathered = async {
                    while late.len() < LATE_BYTES_MAX && dialler.read_buf(&mut late).await? > 0 {}
                    io::Result::Ok(())
                };
                // What came before the time was up is in it.
                let _ = timeout(LATE_GATHER_MAX, gathered).await;
                reset(&dialler);
                drop(dialler);
                sleep(self.rng.up_to(LATE_MAX)).await;
                acceptor.write_all(&late).await?;
                acceptor.shutdown().await?;
            }
        }
        Ok(())
    }
}
