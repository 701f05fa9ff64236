//! Stands between two nodes: passes bytes on, stalls, or cuts.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::*;

#[derive(Debug, Clone, Copy, Default)]
struct Orders {
    /// Nothing is passed on from the dialler.
    stalled: bool,
    /// Connections made before the last cut end.
    cuts: u64,
}

/// See the module. Ends with its test.
#[derive(Debug)]
pub(super) struct Proxy {
    addr: SocketAddr,
    orders: watch::Sender<Orders>,
}

impl Proxy {
    pub(super) async fn to(to: &Links) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("it listens");
        let (orders, obeyed) = watch::channel(Orders::default());
        let to = to.local_addr();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(to).await.expect("it listens");
                tokio::spawn(pass(near, far, obeyed.clone()));
            }
        });
        Self { addr, orders }
    }

    pub(super) fn addr(&self) -> String {
        self.addr.to_string()
    }

    pub(super) fn stall(&self) {
        self.orders.send_modify(|orders| orders.stalled = true);
    }

    /// Passes on what has gathered, and all else.
    pub(super) fn open(&self) {
        self.orders.send_modify(|orders| orders.stalled = false);
    }

    /// Ends all connections with what is in them. Later ones pass.
    pub(super) fn cut(&self) {
        self.orders.send_modify(|orders| {
            orders.cuts += 1;
            orders.stalled = false;
        });
    }
}

async fn pass(near: TcpStream, far: TcpStream, orders: watch::Receiver<Orders>) {
    let cuts = orders.borrow().cuts;
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    let mut cut = orders.clone();
    tokio::select! {
        biased;
        _ = cut.wait_for(|orders| orders.cuts != cuts) => {}
        () = pump(near_read, far_write, Some(orders)) => {}
        () = pump(far_read, near_write, None) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut orders: Option<watch::Receiver<Orders>>,
) {
    let mut chunk = vec![0; 64 << 10];
    loop {
        let read = match &mut orders {
            Some(orders) => {
                if orders.wait_for(|orders| !orders.stalled).await.is_err() {
                    return;
                }
                tokio::select! {
                    biased;
                    _ = orders.changed() => continue,
                    read = from.read(&mut chunk) => read,
                }
            }
            None => from.read(&mut chunk).await,
        };
        let Ok(bytes @ 1..) = read else { return };
        if to.write_all(&chunk[..bytes]).await.is_err() {
            return;
        }
    }
}
