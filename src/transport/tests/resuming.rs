//! TLS sessions that are resumed: a name is proved as in a whole handshake, as of now.

use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::*;

/// Time as ever, and a calendar that a test sets.
#[derive(Debug, Clone, Default)]
struct Calendar(Arc<AtomicU64>);

/// The last hour of 2040.
const LAST_HOUR_OF_2040: u64 = 2_240_607_600;

impl Calendar {
    fn set(&self, unix_secs: u64) {
        self.0.store(unix_secs, Ordering::Relaxed);
    }
}

impl Clock for Calendar {
    fn now(&self) -> Instant {
        BootClock.now()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        BootClock.sleep_until(at)
    }

    fn unix(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

async fn pair(authority: &Authority) -> (Links, Links) {
    let (a, b) = (start(secure("a", authority)).await, start(secure("b", authority)).await);
    introduce(&a, "b", &b);
    let _heard = obey(&b, Service::Entity);
    (a, b)
}

fn resumed(a: &Links, b: &Links) -> (u64, u64) {
    (a.counts().resumed, b.counts().resumed)
}

/// Closes what stands, and is answered over a new connection.
async fn again(a: &Links, b: &Links) {
    let before = b.counts().accepted;
    a.close(&node("b"));
    assert_eq!(ask_in(a, "b", Class::Message).await, Ok("x".into()));
    assert_eq!(b.counts().accepted, before + 1);
}

#[tokio::test]
async fn later_connections_to_a_node_resume_the_session_of_the_first() {
    let authority = Authority::new("test").expect("a good name");
    let (a, b) = pair(&authority).await;
    for (class, times) in [(Class::Message, 0), (Class::Control, 1), (Class::Bulk, 2)] {
        assert_eq!(ask_in(&a, "b", class).await, Ok("x".into()));
        assert_eq!(resumed(&a, &b), (times, times), "{class}");
    }
    let c = start(secure("c", &authority)).await;
    introduce(&a, "c", &c);
    let _heard = obey(&c, Service::Entity);
    assert_eq!(ask_in(&a, "c", Class::Message).await, Ok("x".into()));
    assert_eq!(resumed(&a, &c), (2, 0), "another node has another session");
}

#[tokio::test]
async fn no_session_outlives_the_certificate_it_was_made_with() {
    let authority = Authority::new("test").expect("a good name");
    let (a, b) = pair(&authority).await;
    assert_eq!(ask_in(&a, "b", Class::Message).await, Ok("x".into()));
    again(&a, &b).await;
    assert_eq!(resumed(&a, &b), (1, 1));
    for (links, name) in [(&a, "a"), (&b, "b")] {
        let before = resumed(&a, &b);
        links.replace_security(secure(name, &authority).security).expect("its own certificate");
        again(&a, &b).await;
        assert_eq!(resumed(&a, &b), before, "{name} has a new certificate");
        again(&a, &b).await;
        assert_eq!(resumed(&a, &b), (before.0 + 1, before.1 + 1), "the new session is resumed");
    }
}

#[tokio::test]
async fn a_session_whose_certificate_has_expired_is_refused() {
    for expires in ["a", "b"] {
        let (authority, calendar) = (Authority::new("test").expect("a name"), Calendar::default());
        calendar.set(LAST_HOUR_OF_2040);
        let node_of = async |name: &str, clock: Arc<dyn Clock>| {
            let uri = format!("spiffe://test/node/{name}");
            let year = if name == expires { 2041 } else { 4096 };
            let (cert, key) = authority.issue(&[&uri], year).expect("a good name");
            let tls = TlsConfig::from_pem(&authority.ca_pem(), &cert, &key, clock);
            let security = Security::Tls(Arc::new(tls.expect("good PEM")));
            start(LinksConfig { security, ..insecure(name) }).await
        };
        // For the one that expires the hour never ends: it still offers its session.
        let stopped = Calendar::default();
        stopped.set(LAST_HOUR_OF_2040);
        let clock_of = |name| if name == expires { stopped.clone() } else { calendar.clone() };
        let a = node_of("a", Arc::new(clock_of("a"))).await;
        let b = node_of("b", Arc::new(clock_of("b"))).await;
        introduce(&a, "b", &b);
        let _heard = obey(&b, Service::Entity);
        let (said, mut rung, say) = collector();
        b.on_refused(move |_, why| say(why));
        assert_eq!(ask_in(&a, "b", Class::Message).await, Ok("x".into()));
        again(&a, &b).await;
        assert_eq!(resumed(&a, &b), (1, 1), "it can be resumed");

        calendar.set(LAST_HOUR_OF_2040 + 7_200);
        a.close(&node("b"));
        let asked = ask_in(&a, "b", Class::Message).await;
        let Err(AskError::NotExecuted(heard)) = asked else { panic!("{expires}: {asked:?}") };
        in_time("the refusal", rung.recv()).await;
        for (side, says) in [("a", &heard), ("b", &said.lock()[0])] {
            let expired = "certificate has expired: renew it";
            assert!(says.contains(expired), "{expires} expires, {side} says: {says}");
        }
        assert_eq!(b.counts().accepted, 2, "{expires}");
    }
}

#[tokio::test]
async fn a_resumed_session_proves_the_name_it_was_made_with_and_no_other() {
    let authority = Authority::new("test").expect("a good name");
    let (of_a, b) = (secure("a", &authority), start(secure("b", &authority)).await);
    let security = of_a.security.clone();
    let a = start(of_a).await;
    introduce(&a, "b", &b);
    let _heard = obey(&b, Service::Entity);
    let (said, mut rung, say) = collector();
    b.on_refused(move |_, why| say(why));
    assert_eq!(ask_in(&a, "b", Class::Message).await, Ok("x".into()));
    // Shares the sessions of a, and calls itself otherwise.
    let thief = forged("z", security).await;
    introduce(&thief, "b", &b);
    let asked = ask_in(&thief, "b", Class::Message).await;
    let Err(AskError::NotExecuted(why)) = asked else { panic!("{asked:?}") };
    let says = "it claims to be z, but its certificate is for a";
    assert!(why.contains(says), "{why}");
    in_time("the refusal", rung.recv()).await;
    assert!(said.lock()[0].contains(says), "{said:?}");
    assert_eq!(b.counts().accepted, 1);

    // Whoever took the address of b has nothing to resume with.
    let c = start(secure("c", &authority)).await;
    introduce(&a, "b", &c);
    let _heard = obey(&c, Service::Entity);
    a.close(&node("b"));
    let asked = ask_in(&a, "b", Class::Message).await;
    let Err(AskError::NotExecuted(why)) = asked else { panic!("{asked:?}") };
    assert!(why.contains("it is for c, and the node meant is b"), "{why}");
    assert_eq!((c.counts().accepted, c.counts().resumed), (0, 0));
}

/// Reads one record of TLS.
async fn record(from: &mut TcpStream) -> Vec<u8> {
    let mut record = vec![0; 5];
    from.read_exact(&mut record).await.expect("a record");
    record.resize(5 + usize::from(u16::from_be_bytes([record[3], record[4]])), 0);
    from.read_exact(&mut record[5..]).await.expect("a whole one");
    record
}

/// Passes one connection on to `to`, and gives the first record of each side.
async fn listened(to: SocketAddr) -> (SocketAddr, oneshot::Receiver<[Vec<u8>; 2]>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("it listens");
    let (tell, told) = oneshot::channel();
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.expect("somebody connects");
        let mut far = TcpStream::connect(to).await.expect("it listens");
        let hello = record(&mut near).await;
        far.write_all(&hello).await.expect("it takes bytes");
        let answer = record(&mut far).await;
        near.write_all(&answer).await.expect("it takes bytes");
        tell.send([hello, answer]).expect("somebody waits");
        // Until either has gone.
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    });
    (addr, told)
}

/// Whether this record is a server's hello that takes the session offered (RFC 8446, 4.1.3: the
/// extension `pre_shared_key`).
fn resumes(record: &[u8]) -> bool {
    assert_eq!((record[0], record[5]), (22, 2), "a server's hello");
    // Version, random, session, cipher suite, compression, length of the extensions.
    let session = usize::from(record[9 + 34]);
    let mut rest = &record[9 + 35 + session + 5..];
    while let [kind_high, kind, high, low, more @ ..] = rest {
        if (*kind_high, *kind) == (0, 41) {
            return true;
        }
        rest = &more[usize::from(u16::from_be_bytes([*high, *low]))..];
    }
    false
}

/// Goal: whoever repeats what a node said to resume a session resumes nothing. Method: the first
/// record of a connection that resumed one is kept and said again.
#[tokio::test]
async fn a_ticket_that_is_used_twice_resumes_once() {
    let authority = Authority::new("test").expect("a good name");
    let (a, b) = pair(&authority).await;
    assert_eq!(ask_in(&a, "b", Class::Message).await, Ok("x".into()));
    let (addr, told) = listened(b.local_addr()).await;
    a.learn(&node("b"), &addr.to_string());
    again(&a, &b).await;
    assert_eq!(resumed(&a, &b), (1, 1));
    let [hello, answer] = told.await.expect("it was made through there");
    assert!(resumes(&answer));
    let mut replay = TcpStream::connect(b.local_addr()).await.expect("it listens");
    replay.write_all(&hello).await.expect("it takes bytes");
    let answer = in_time("the answer", record(&mut replay)).await;
    assert!(!resumes(&answer), "a whole handshake is wanted, with a certificate");
    assert_eq!((b.counts().accepted, b.counts().resumed), (2, 1));
}
