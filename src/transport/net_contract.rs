//! What the links expect of any [`Net`], in a form that real and simulated sockets can be held to.
//! The two sides may run on two simulated hosts.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::base::{Listener, Net, TokioNet};

/// Bytes sent each way: more than sockets hold at once.
const BYTES: usize = 300_000;

fn pattern() -> Vec<u8> {
    (0..BYTES).map(|i| u8::try_from(i % 251).expect("below 251")).collect()
}

/// Accepts one connection and sends back what it reads until the other side has said all.
pub(crate) async fn accept_side(listener: &dyn Listener) {
    let (mut stream, from) = listener.accept().await.expect("somebody connects");
    assert_ne!(from.port(), 0, "a connection comes from somewhere");
    let mut chunk = vec![0; 8192];
    loop {
        let got = stream.read(&mut chunk).await.expect("reads until the end");
        if got == 0 {
            break;
        }
        stream.write_all(&chunk[..got]).await.expect("the other side reads");
    }
    // Its way here is closed, the way back is not: half-closed streams carry on.
    stream.write_all(b"end").await.expect("the other side still reads");
    stream.shutdown().await.expect("an open stream can be shut");
}

/// Connects to `host:port`, where [`accept_side`] runs.
pub(crate) async fn dial_side(net: &dyn Net, host: &str) {
    let addrs = net.resolve(host).await.expect("a known name");
    let stream = net.connect(*addrs.first().expect("one address")).await.expect("it listens");
    let (mut read, mut write) = tokio::io::split(stream);
    let sent = pattern();
    let (sending, receiving) = (
        async {
            write.write_all(&sent).await.expect("the other side reads");
            write.shutdown().await.expect("an open stream can be shut");
        },
        async {
            let mut got = Vec::new();
            read.read_to_end(&mut got).await.expect("an end, not an error");
            got
        },
    );
    let ((), got) = tokio::join!(sending, receiving);
    assert!(got.ends_with(b"end"), "the end comes last");
    assert!(got[..BYTES] == sent[..], "all bytes come back, in order");
    assert_eq!(got.len(), BYTES + 3, "no byte is made up");
}

/// Listens on `addr` with port 0, and again where nobody listens any more.
pub(crate) async fn listening(net: &dyn Net, addr: SocketAddr) -> Box<dyn Listener> {
    let gone = net.listen(addr).await.expect("a free port");
    let gone_addr = gone.local_addr().expect("it listens");
    assert_ne!(gone_addr.port(), 0, "port 0 picks one");
    drop(gone);
    assert!(net.connect(gone_addr).await.is_err(), "nobody listens there any more");
    net.listen(addr).await.expect("another free port")
}

#[tokio::test]
async fn tokio_net_keeps_the_contract() {
    let test = async {
        let listener = listening(&TokioNet, SocketAddr::from(([127, 0, 0, 1], 0))).await;
        let host = listener.local_addr().expect("it listens").to_string();
        tokio::join!(accept_side(&*listener), dial_side(&TokioNet, &host));
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), test).await.expect("no wait hangs");
}
