//! Real sockets on loopback. A peer that acknowledges nothing cannot be had there; one that takes
//! nothing can.

use tokio::io::AsyncWriteExt as _;

use super::*;

const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

async fn pair(times: TcpTimes) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(LOOPBACK).expect("a free port");
    let addr = listener.local_addr().expect("it listens");
    let (dialled, accepted) = tokio::join!(dial(addr, times), listener.next());
    (dialled.expect("it listens"), accepted.expect("somebody dials").0)
}

#[tokio::test]
async fn dialled_and_accepted_sockets_have_every_option() {
    let (dialled, accepted) = pair(TIMES).await;
    for stream in [&dialled, &accepted] {
        let socket = SockRef::from(stream);
        assert!(socket.tcp_nodelay().expect("it can be read"));
        assert!(socket.keepalive().expect("it can be read"));
        let secs = Duration::from_secs;
        assert_eq!(socket.tcp_keepalive_time().expect("it can be read"), secs(5));
        assert_eq!(socket.tcp_keepalive_interval().expect("it can be read"), secs(1));
        assert_eq!(socket.tcp_keepalive_retries().expect("it can be read"), 3);
        assert_eq!(socket.tcp_user_timeout().expect("it can be read"), Some(secs(8)));
    }
}

#[tokio::test]
async fn a_listener_takes_the_port_of_connections_that_linger() {
    let listener = TcpListener::bind(LOOPBACK).expect("a free port");
    assert!(SockRef::from(&listener.0).reuse_address().expect("it can be read"));
    let addr = listener.local_addr().expect("it listens");
    let (dialled, accepted) = tokio::join!(dial(addr, TIMES), listener.next());
    // Whoever closes first keeps the port in TIME-WAIT.
    drop(accepted.expect("somebody dials"));
    drop(listener);
    dialled.expect("it listens").readable().await.expect("the end can be read");
    TcpListener::bind(addr).expect("the port is free for a listener");
}

#[tokio::test]
async fn a_peer_that_takes_nothing_breaks_the_connection() {
    let user_timeout = Duration::from_millis(500);
    let (mut dialled, _takes_nothing) = pair(TcpTimes { user_timeout, ..TIMES }).await;
    let writing = async {
        loop {
            if let Err(error) = dialled.write_all(&[0; 4096]).await {
                return error;
            }
        }
    };
    let error = tokio::time::timeout(Duration::from_mins(1), writing).await;
    assert_eq!(error.expect("the kernel gives up").kind(), io::ErrorKind::TimedOut);
}
