//! A crowd that says nothing keeps nobody out, and fills no log.

use std::io::{self, Write};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::base::Net as _;

const SILENT: usize = 100;
const ROOM: usize = 4;

/// What was logged on this thread.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(&mut *self.0.lock(), bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_node_gets_in_through_a_silent_crowd_and_refusals_are_said_at_a_bounded_rate() {
    let log = Log::default();
    let (into, ansi) = (log.clone(), false);
    let subscriber = tracing_subscriber::fmt().with_ansi(ansi).with_writer(move || into.clone());
    // While there is one subscriber in all the process, whichever thread first comes to a place
    // that logs decides for all whether it does, and that may be another test's. With two, both
    // are asked.
    let silent = tracing_subscriber::fmt().with_writer(io::sink);
    let _second = tracing::Dispatch::new(silent.finish());
    let _logging = tracing::subscriber::set_default(subscriber.finish());
    let begun = BootClock.now();
    let authority = Authority::new("test").expect("a good name");
    let config = LinksConfig {
        limits: Limits { handshakes_max: ROOM, ..Limits::default() },
        timing: Timing { handshake: Duration::from_mins(10), ..Timing::default() },
        ..secure("a", &authority)
    };
    let (a, b) = (start(config).await, start(secure("b", &authority)).await);
    introduce(&b, "a", &a);
    let _heard = obey(&a, Service::Entity);
    let (said, mut rung, say) = collector();
    a.on_refused(move |_, why| say(why));
    let mut silent = Vec::new();
    for _ in 0..SILENT {
        silent.push(TcpStream::connect(a.local_addr()).await.expect("it listens"));
    }
    for _ in 0..SILENT - ROOM {
        in_time("a refusal", rung.recv()).await;
    }
    assert_eq!(ask_in(&b, "a", Class::Message).await, Ok("x".into()));
    in_time("the one that made way for b", rung.recv()).await;
    assert_eq!((a.counts().refused, a.counts().accepted), ((SILENT - ROOM + 1) as u64, 1));
    let made_way = "it made way for newer ones before its handshake was done";
    assert!(said.lock().iter().all(|why| why == made_way), "{said:?}");
    assert_eq!((b.counts().dials_failed, b.counts().dialled), (0, 1), "at its first try");

    let log = String::from_utf8(log.0.lock().clone()).expect("text");
    let lines = log.lines().filter(|line| line.contains("refused a connection")).count();
    let seconds =
        usize::try_from(BootClock.now().since(begun).as_secs()).expect("not for ever") + 1;
    assert!((1..=10 * seconds).contains(&lines), "{lines} lines in {seconds} s:\n{log}");
    assert!(log.contains(made_way) && log.contains("unsaid=0"), "{log}");
}

/// Goal: who stops in the middle of its handshake holds a place only so long. Method: virtual time;
/// half a greeting, and half a record of TLS, on connections that stay open.
#[tokio::test(start_paused = true)]
async fn a_handshake_that_stops_halfway_has_an_end() {
    let authority = Authority::new("test").expect("a good name");
    for (config, words) in [
        (insecure("a"), &b"evtr\x01\x00\x87\x01\x8a"[..]),
        (secure("a", &authority), b"\x16\x03\x01\x00\x80\x01\x00"),
    ] {
        let timing = Timing { handshake: Duration::from_millis(700), ..Timing::default() };
        let net = PipeNet::default();
        let a = virtual_node(&net, LinksConfig { timing, ..config }).await;
        let (said, mut rung, say) = collector();
        a.on_refused(move |_, why| say(why));
        let begun = tokio::time::Instant::now();
        let mut stream = net.connect(a.local_addr()).await.expect("it listens");
        stream.write_all(words).await.expect("it takes bytes");
        in_time("the refusal", rung.recv()).await;
        assert_eq!(*said.lock(), ["its handshake took too long"]);
        assert_eq!(begun.elapsed().as_millis() / 10, 70, "at its deadline");
        assert_eq!((a.counts().refused, a.counts().accepted), (1, 0));
        let end = in_time("the end", stream.read_to_end(&mut Vec::new())).await;
        assert_eq!(end.expect("an end in order"), 0, "it is closed, too");
        a.stop().await;
    }
}
