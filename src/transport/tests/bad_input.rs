//! Bad input of every kind: it is refused with a clear reason on the refusing side and a plain
//! error on the other, no service is ever called, and links that stand do not notice.

mod rows;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::base::Net as _;
use crate::wire::hello::{Greeting, Hello};

type Answer = fn(Hello) -> Vec<u8>;

/// What a bad peer does to the good node a. Where it has a certificate, that is one of e.
enum Attack {
    /// Is a node, calls itself so, dials a in every class and is dialled by it.
    Node { claims: &'static str, security: Security },
    /// Says these bytes on a bare socket, and no more.
    Bytes(Vec<u8>),
    /// Says this over TLS, with a good certificate, and waits for the end.
    Speech(Vec<u8>),
    /// The same, and closes its way there after it.
    Cut(Vec<u8>),
    /// Is dialled by a, has a good certificate, and answers the hello like this.
    Answer(Answer),
    /// Is dialled by a, and answers its first bytes, which are those of TLS, with these.
    Greets(Vec<u8>),
    /// Stands between a good node and a, and says one TLS record twice.
    Repeat,
}

/// One row of the table.
struct Case {
    what: &'static str,
    attack: Attack,
    /// What a says on refusing it.
    says: &'static str,
    /// What the bad peer is told, if anything can be told to it.
    hears: &'static str,
    /// What a says when it dials the bad node.
    dials: &'static str,
}

/// Serves everything, and counts what comes from others than c.
struct Witness(Arc<AtomicU64>);

impl Witness {
    fn saw(&self, from: &Peer) {
        if from.node != node("c") {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Inbound for Witness {
    fn tell(&self, from: &Peer, _: Head, _: Bytes) {
        self.saw(from);
    }

    fn ask(&self, from: &Peer, _: Head, body: Bytes, reply: ReplyTo) {
        self.saw(from);
        reply.send(body);
    }
}

const SERVICES: [Service; 7] = [
    Service::Formation,
    Service::Raft,
    Service::Lease,
    Service::Propose,
    Service::Gossip,
    Service::Replica,
    Service::Entity,
];

/// The good node, and what it says of refusals and breaks.
struct Good {
    authority: Authority,
    links: Links,
    said: Said,
    rung: mpsc::UnboundedReceiver<()>,
    called: Arc<AtomicU64>,
}

impl Good {
    async fn start() -> Self {
        let authority = Authority::new("test").expect("a good name");
        let timing = Timing { ping_interval: Duration::from_secs(10), ..patient("a").timing };
        let links = start(LinksConfig { timing, ..secure("a", &authority) }).await;
        let (said, rung, say) = collector();
        let say_broken = say.clone();
        links.on_refused(move |_, why| say(why));
        links.on_broken(move |_, why| say_broken(why));
        let called = Arc::<AtomicU64>::default();
        for service in SERVICES {
            links.serve(service, Arc::new(Witness(called.clone())));
        }
        Self { authority, links, said, rung, called }
    }

    /// What it says next.
    async fn says(&mut self, what: &str) -> String {
        in_time(what, self.rung.recv()).await;
        self.said.lock().pop().expect("the bell rang")
    }

    fn of_e(&self) -> Arc<TlsConfig> {
        match secure("e", &self.authority).security {
            Security::Tls(tls) => tls,
            Security::Insecure => panic!("it is secure"),
        }
    }

    async fn suffer(&mut self, case: Case) {
        let Case { what, attack, says, hears, dials } = case;
        let heard = match attack {
            Attack::Node { claims, security } => {
                self.suffer_node(what, (claims, security), [says, hears, dials]).await;
                return;
            }
            Attack::Answer(answer) => {
                self.dials(what, answer, [says, dials]).await;
                return;
            }
            Attack::Greets(bytes) => {
                self.dials_bare(what, &bytes, dials).await;
                return;
            }
            Attack::Repeat => {
                self.suffer_repeat().await;
                String::new()
            }
            Attack::Bytes(bytes) => {
                let mut stream = TcpStream::connect(self.links.local_addr()).await.expect(what);
                stream.write_all(&bytes).await.expect("it takes bytes");
                stream.shutdown().await.expect("it was open");
                let mut answer = Vec::new();
                // An end or a reset: both are no.
                let _ = in_time(what, stream.read_to_end(&mut answer)).await;
                assert!(answer.len() < 64, "{what}: an alert at most");
                String::new()
            }
            Attack::Speech(words) => speak(&self.links, &self.of_e(), &words, false).await,
            Attack::Cut(words) => speak(&self.links, &self.of_e(), &words, true).await,
        };
        let said = self.says(what).await;
        assert!(said.contains(says), "{what}, said: {said}");
        assert!(heard.contains(hears), "{what}, heard: {heard}");
        assert_no_controls(&[said, heard]);
    }

    /// A bad node dials it in every class, and is dialled by it.
    async fn suffer_node(
        &mut self,
        what: &str,
        (claims, security): (&str, Security),
        [says, hears, dials]: [&str; 3],
    ) {
        let bad = forged(claims, security).await;
        let (bad_said, mut bad_rung, bad_say) = collector();
        bad.on_refused(move |_, why| bad_say(why));
        introduce(&bad, "a", &self.links);
        introduce(&self.links, claims, &bad);
        for class in Class::ALL {
            let asked = ask_in(&bad, "a", class).await;
            let Err(AskError::NotExecuted(told)) = asked else { panic!("{what}: {asked:?}") };
            assert!(told.contains(hears), "{what}, told: {told}");
            let said = self.says(what).await;
            assert!(said.contains(says), "{what}, said: {said}");
            assert_no_controls(&[said, told]);
        }
        let asked = ask_in(&self.links, claims, Class::Message).await;
        let Err(AskError::NotExecuted(why)) = asked else { panic!("{what}: {asked:?}") };
        assert!(why.contains(dials), "{what}, dialled: {why}");
        in_time("its refusal", bad_rung.recv()).await;
        assert!(!bad_said.lock()[0].is_empty(), "{what}: the bad side says something too");
        assert_eq!(bad.counts().accepted, 0, "{what}");
    }

    /// It dials somebody who answers its hello with `answer`.
    async fn dials(&mut self, what: &str, answer: Answer, words: [&str; 2]) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("it listens").to_string();
        self.links.learn(&node("e"), &addr);
        let (tls, dialled) = (self.of_e(), self.links.counts().dialled);
        let answering = async {
            let (stream, _) = listener.accept().await.expect("it is dialled");
            let mut stream = tls.accept(Box::new(stream)).await.expect("a good node").stream;
            let mut input = BytesMut::new();
            let hello = loop {
                match Greeting::decode(&mut input).expect("a good node") {
                    Some(Greeting::Hello(hello)) => break hello,
                    Some(other) => panic!("{other:?}"),
                    None => _ = stream.read_buf(&mut input).await.expect("it says hello"),
                }
            };
            stream.write_all(&answer(hello)).await.expect("it listens");
            stream.shutdown().await.expect("it was open");
            // Until it has gone: what it has not read yet must not be lost.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        };
        let both = async { tokio::join!(ask_in(&self.links, "e", Class::Message), answering) };
        let (asked, ()) = in_time(what, both).await;
        let [says, dials] = words;
        let Err(AskError::NotExecuted(why) | AskError::Unknown(why)) = &asked else {
            panic!("{what}: {asked:?}");
        };
        assert!(why.contains(dials), "{what}, dialled: {why}");
        assert_no_controls(std::slice::from_ref(why));
        if says.is_empty() {
            assert!(matches!(asked, Err(AskError::NotExecuted(_))), "{what}: {asked:?}");
            assert_eq!(self.links.counts().dialled, dialled, "{what}");
        } else {
            let said = self.says(what).await;
            assert!(said.contains(says), "{what}, said: {said}");
        }
    }

    /// It dials somebody who answers its first bytes with `answer`.
    async fn dials_bare(&mut self, what: &str, answer: &[u8], dials: &str) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("it listens").to_string();
        self.links.learn(&node("e"), &addr);
        let dialled = self.links.counts().dialled;
        let answering = async {
            let (mut stream, _) = listener.accept().await.expect("it is dialled");
            let mut hello = [0; 5];
            stream.read_exact(&mut hello).await.expect("it begins");
            let mut hello = vec![0; usize::from(u16::from_be_bytes([hello[3], hello[4]]))];
            stream.read_exact(&mut hello).await.expect("a whole record");
            stream.write_all(answer).await.expect("it listens");
            let _ = stream.read_to_end(&mut Vec::new()).await;
        };
        let both = async { tokio::join!(ask_in(&self.links, "e", Class::Message), answering) };
        let (asked, ()) = in_time(what, both).await;
        let Err(AskError::NotExecuted(why)) = asked else { panic!("{what}: {asked:?}") };
        assert!(why.contains(dials), "{what}, dialled: {why}");
        assert_no_controls(&[why]);
        assert_eq!(self.links.counts().dialled, dialled, "{what}");
    }

    /// A record is repeated on a link that stands: it breaks, and nothing is heard twice.
    async fn suffer_repeat(&mut self) {
        let (addr, repeats) = repeater(self.links.local_addr()).await;
        let timing = Timing { ping_interval: Duration::from_secs(10), ..patient("e").timing };
        let e = start(LinksConfig { timing, ..secure("e", &self.authority) }).await;
        e.learn(&node("a"), &addr.to_string());
        let (_, mut rung, say) = collector();
        e.on_broken(move |_, why| say(why));
        assert_eq!(ask_in(&e, "a", Class::Message).await, Ok("x".into()));
        let before = self.called.swap(0, Ordering::Relaxed);
        assert_eq!(before, 1, "it is a good node so far");
        repeats.store(true, Ordering::Relaxed);
        let body = Bytes::from_static(b"once");
        e.tell(&node("a"), Class::Message, Service::Entity, Head::default(), body).expect("open");
        in_time("the break", rung.recv()).await;
        // What came in one read with the repeated record may be lost with it, and is reported.
        let heard = self.called.swap(0, Ordering::Relaxed);
        assert!(heard <= 1, "heard {heard} times");
        assert_eq!(e.counts().tells_unknown, 1);
    }
}

/// Peers choose their words: none of them may steer a terminal, turn a text around, forge a line
/// of a log or fill it.
fn assert_no_controls(texts: &[String]) {
    for text in texts {
        assert!(!text.chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
        assert!(text.chars().count() <= 600, "{text:?}");
    }
}

/// Says `words` over TLS, closes its way if it `ends`, and gives the reason of a refusal.
async fn speak(to: &Links, tls: &TlsConfig, words: &[u8], ends: bool) -> String {
    let stream = TokioNet.connect(to.local_addr()).await.expect("it listens");
    let mut stream = tls.connect(stream, None).await.expect("a good certificate").stream;
    stream.write_all(words).await.expect("it takes bytes");
    stream.flush().await.expect("it takes bytes");
    if ends {
        stream.shutdown().await.expect("it was open");
    }
    let mut answer = Vec::new();
    let _ = in_time("the end", stream.read_to_end(&mut answer)).await;
    match Greeting::decode(&mut BytesMut::from(&answer[..])) {
        Ok(Some(Greeting::Refuse(refuse))) => refuse.reason,
        Ok(Some(Greeting::Welcome(_) | Greeting::Hello(_)) | None) | Err(_) => String::new(),
    }
}

/// A proxy that repeats the next record towards `to` once it is told so.
async fn repeater(to: SocketAddr) -> (SocketAddr, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("it listens");
    let repeats = Arc::<AtomicBool>::default();
    let told = repeats.clone();
    tokio::spawn(async move {
        let (near, _) = listener.accept().await.expect("somebody connects");
        let far = TcpStream::connect(to).await.expect("it listens");
        let ((mut near_read, mut near_write), (mut far_read, mut far_write)) =
            (near.into_split(), far.into_split());
        let there = async {
            loop {
                let mut record = vec![0; 5];
                near_read.read_exact(&mut record).await?;
                let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
                record.resize(5 + length, 0);
                near_read.read_exact(&mut record[5..]).await?;
                if told.swap(false, Ordering::Relaxed) {
                    record = record.repeat(2);
                }
                far_write.write_all(&record).await?;
            }
        };
        let back = tokio::io::copy(&mut far_read, &mut near_write);
        let ended: (std::io::Result<()>, _) = tokio::join!(there, back);
        assert!(ended.0.is_err(), "it goes on until one side ends it");
    });
    (addr, repeats)
}

#[tokio::test]
async fn every_bad_input_is_refused_in_words_calls_nobody_and_disturbs_nobody() {
    let mut good = Good::start().await;
    let c = start(secure("c", &good.authority)).await;
    introduce(&c, "a", &good.links);
    assert_eq!(ask(&c, "a", "before").await, Ok("before".into()));
    let answered = Arc::<AtomicU64>::default();
    let traffic = tokio::spawn({
        let (c, answered) = (c.clone(), answered.clone());
        async move {
            loop {
                assert_eq!(ask(&c, "a", "traffic").await, Ok("traffic".into()));
                answered.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    let refused_before = good.links.counts().refused;
    for case in rows::all(&good.authority) {
        let (what, before) = (case.what, answered.load(Ordering::Relaxed));
        good.suffer(case).await;
        assert_eq!(good.called.load(Ordering::Relaxed), 0, "{what}: a service was called");
        in_time("the traffic", async {
            while answered.load(Ordering::Relaxed) == before {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    assert!(good.links.counts().refused > refused_before + 30);
    assert!(!traffic.is_finished(), "its asks were answered throughout");
    traffic.abort();
    assert_eq!((c.counts().dialled, c.counts().broken), (1, 0), "its link never noticed");
}
