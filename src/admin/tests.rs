//! The socket with answers that a test makes up; with those of nodes in `tests/nodes`.

mod follow;
mod nodes;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::base::{
    BootClock, Clock as _, LocalError, Seams, SeededRng, Spawner, Stream, TokioNet, connect_local,
    within,
};
use crate::observe::{EventLog, RingAsk};
use crate::storage::Directory;

/// Longest wait for anything that is to happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// Deadlines of the sockets under test.
const SHORT: Duration = Duration::from_millis(300);

/// Refuses `nodes` at once, in words, tells of events, and answers nothing else. Counts what it was
/// asked.
#[derive(Debug)]
struct Parrot {
    asked: AtomicU32,
    events: EventLog,
}

impl Answers for Parrot {
    fn answer(&self, ask: Ask) -> BoxFuture<'static, Result<Answer, Refusal>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match ask {
            Ask::Nodes => std::future::ready(Err(Refusal::new(Code::Refused, "a parrot"))).boxed(),
            Ask::Ring(_)
            | Ask::Voters
            | Ask::Shards(_)
            | Ask::Where(_)
            | Ask::Drain(_)
            | Ask::Leave
            | Ask::Set(_) => std::future::pending().boxed(),
            Ask::Events(ask) => {
                let page = self.events.page(self.events.begin(&ask));
                std::future::ready(Ok(Answer::Events(page))).boxed()
            }
        }
    }

    fn follow(&self, ask: &Ask) -> Option<BoxStream<'static, Result<Answer, Refusal>>> {
        let Ask::Events(ask) = ask else { return None };
        let pages = ask.follow.then(|| self.events.pages(ask))?;
        Some(pages.map(|page| Ok(Answer::Events(page))).boxed())
    }
}

fn seams() -> Seams {
    Seams {
        clock: Arc::new(BootClock),
        rng: Arc::new(SeededRng::new(1)),
        net: Arc::new(TokioNet),
        control: Spawner::Current,
        work: Spawner::Current,
        threads: true,
    }
}

fn limits() -> Limits {
    // Whoever waits beside one whose answer is late is not late itself.
    Limits {
        connections_max: 3,
        request: SHORT * 4,
        answer: SHORT,
        write: SHORT,
        follows_max: 2,
        stall: SHORT,
    }
}

async fn start(data: &Path) -> (Server, Arc<Parrot>) {
    let events = EventLog::new("n1".parse().expect("a name"));
    let answers = Arc::new(Parrot { asked: AtomicU32::new(0), events });
    let server = Server::start(ServerParts {
        path: data.join(SOCKET_FILE),
        seams: seams(),
        disk: Arc::new(Directory::open(data).expect("a directory")),
        limits: limits(),
        answers: answers.clone(),
    });
    (server.await.expect("it listens"), answers)
}

/// Waits for `future`, but not for ever.
async fn soon<F: Future>(future: F) -> F::Output {
    let clock = BootClock;
    within(&clock, clock.now() + PATIENCE, future).await.expect("it comes to its end")
}

/// What is answered to `bytes`, until the other side closes.
async fn last_words(stream: &mut Stream, bytes: &[u8]) -> String {
    soon(stream.write_all(bytes)).await.expect("it is taken");
    let mut said = Vec::new();
    // What it did not read before it closed is a reset, after what it said.
    let _ = soon(stream.read_to_end(&mut said)).await;
    String::from_utf8(said).expect("text")
}

async fn ask(data: &Path, ask: &Ask) -> Result<Answer, ClientError> {
    soon(Client::connect(data)).await?.ask(ask).await
}

fn code(error: &ClientError) -> Code {
    let ClientError::Refused(refusal) = error else { panic!("{error}") };
    refusal.code
}

#[tokio::test]
async fn two_clients_are_answered_at_once_and_one_of_them_again() {
    let place = tempfile::tempdir().expect("a folder");
    let (server, parrot) = start(place.path()).await;
    let path = place.path().join(SOCKET_FILE);
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let mut one = Client::connect(place.path()).await.expect("it connects");
    let mut two = Client::connect(place.path()).await.expect("it connects");
    // The first waits for an answer that does not come; the second does not wait for it.
    let late = Ask::Ring(RingAsk::default());
    let (late, early) = soon(futures::future::join(one.ask(&late), two.ask(&Ask::Nodes))).await;
    assert_eq!(code(&late.expect_err("no answer")), Code::Late);
    let refusal = early.expect_err("a parrot");
    assert_eq!((code(&refusal), refusal.to_string()), (Code::Refused, "a parrot".into()));
    for client in [&mut one, &mut two] {
        let again = soon(client.ask(&Ask::Nodes)).await.expect_err("a parrot");
        assert_eq!(code(&again), Code::Refused, "the connection goes on");
    }
    assert_eq!(parrot.asked.load(Ordering::Relaxed), 4);
    server.stop().await;
    server.stop().await;
    assert!(!path.exists());
    let gone = soon(one.ask(&Ask::Nodes)).await.expect_err("it is gone");
    assert!(matches!(gone, ClientError::Ended { .. }), "{gone}");
}

#[tokio::test]
async fn bad_requests_are_told_so_and_nobody_is_asked() {
    let place = tempfile::tempdir().expect("a folder");
    let (_server, parrot) = start(place.path()).await;
    let path = place.path().join(SOCKET_FILE);
    let connect = || async { connect_local(&path).await.expect("it connects") };
    let long = vec![b'x'; REQUEST_BYTES_MAX];
    let longer = vec![b'x'; 4 * REQUEST_BYTES_MAX];
    let half = br#"{"version":1,"ask":"no"#;
    let table: [(&str, &[u8], &str); 6] = [
        ("garbage", b"\x16\x03\x01\xff\n", "malformed"),
        ("another protocol", b"GET / HTTP/1.1\r\n", "malformed"),
        ("too long by a byte", &long, "too_long"),
        ("much too long", &longer, "too_long"),
        ("half a request", half, "too_slow"),
        ("silence", b"", "too_slow"),
    ];
    for (what, bytes, says) in table {
        let said = last_words(&mut connect().await, bytes).await;
        assert!(said.starts_with(r#"{"version":1,"error":"#), "{what}: {said}");
        assert!(said.contains(&format!(r#""code":"{says}""#)), "{what}: {said}");
    }
    // After garbage on a line of its own the next line counts.
    let good = b"garbage\n{\"version\":1,\"ask\":\"nodes\"}\n";
    let said = last_words(&mut connect().await, good).await;
    let codes = ["malformed", "refused", "too_slow"];
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), codes.len(), "{said}");
    for (line, code) in lines.iter().zip(codes) {
        assert!(line.contains(code), "{line}");
    }
    assert_eq!(parrot.asked.load(Ordering::Relaxed), 1, "nothing but the good one was asked");
    // A request whose end of line does not come, because its writer is done.
    let mut stream = connect().await;
    stream.write_all(half).await.expect("it is taken");
    stream.shutdown().await.expect("it is shut");
    let said = last_words(&mut stream, b"").await;
    assert!(said.contains("ends without an end of line"), "{said}");
}

#[tokio::test]
async fn a_full_room_says_so_and_silence_does_not_fill_it_for_long() {
    let place = tempfile::tempdir().expect("a folder");
    let (_server, _) = start(place.path()).await;
    let path = place.path().join(SOCKET_FILE);
    let mut silent = Vec::new();
    for _ in 0..limits().connections_max {
        silent.push(connect_local(&path).await.expect("it connects"));
    }
    let refused = ask(place.path(), &Ask::Nodes).await.expect_err("there is no room");
    assert_eq!(code(&refused), Code::Busy, "{refused}");
    for stream in &mut silent {
        let said = last_words(stream, b"").await;
        assert!(said.contains("no whole request came within 1.2s"), "{said}");
    }
    let answered = soon(async {
        loop {
            // The room is empty a moment after the last word.
            match ask(place.path(), &Ask::Nodes).await {
                Err(error) if code(&error) == Code::Busy => tokio::task::yield_now().await,
                other => return other,
            }
        }
    });
    assert_eq!(code(&answered.await.expect_err("a parrot")), Code::Refused);
}

/// Whoever asks and reads nothing is let go of.
#[tokio::test]
async fn answers_that_nobody_reads_end_the_connection() {
    let place = tempfile::tempdir().expect("a folder");
    let (_server, _) = start(place.path()).await;
    let path = place.path().join(SOCKET_FILE);
    let mut stream = connect_local(&path).await.expect("it connects");
    let error = soon(async {
        loop {
            // As much as it takes: it answers each line until its answers fill the socket.
            if let Err(error) = stream.write_all(&b"x\n".repeat(4_096)).await {
                return error;
            }
        }
    });
    assert_eq!(error.await.kind(), std::io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn what_stands_in_the_way_of_a_client_is_said_with_what_to_do() {
    let place = tempfile::tempdir().expect("a folder");
    let data = place.path().join("n1");
    let missing = ask(&data, &Ask::Nodes).await.expect_err("nothing is there");
    assert!(matches!(missing, ClientError::NoDirectory { .. }), "{missing}");
    std::fs::create_dir(&data).expect("a folder");
    let empty = ask(&data, &Ask::Nodes).await.expect_err("no node ran there");
    drop(std::os::unix::net::UnixListener::bind(data.join(SOCKET_FILE)).expect("a socket"));
    let stale = ask(&data, &Ask::Nodes).await.expect_err("its node is gone");
    for (error, says) in [(empty, "there is no socket"), (stale, "is gone")] {
        assert!(matches!(error, ClientError::NoNode { .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains("no node runs on") && error.contains("--data"), "{error}");
        assert!(error.contains(says) && error.contains(&data.display().to_string()), "{error}");
    }
    let long = place.path().join("x".repeat(120));
    let error = ask(&long, &Ask::Nodes).await.expect_err("too long");
    assert!(matches!(error, ClientError::Socket(LocalError::TooLong { .. })), "{error}");
}

/// A server that says nothing, garbage, or half an answer.
#[tokio::test]
async fn a_node_that_does_not_answer_as_it_should_is_told_apart() {
    let place = tempfile::tempdir().expect("a folder");
    let listener = crate::base::LocalListener::bind(&place.path().join(SOCKET_FILE));
    let listener = listener.expect("it listens");
    let table: [(&str, &[u8]); 3] =
        [("within", b""), ("not understood", b"what?\n"), ("has no end", b"{\"version\":1")];
    for (says, bytes) in table {
        let client = Client::connect(place.path()).await.expect("it connects");
        let mut client = client.within(SHORT);
        let mut stream = listener.accept().await.expect("it is let in");
        stream.write_all(bytes).await.expect("it is written");
        if says == "has no end" {
            stream.shutdown().await.expect("it is shut");
        }
        let error = soon(client.ask(&Ask::Nodes)).await.expect_err(says).to_string();
        assert!(error.contains(says), "{says}: {error}");
    }
}
