//! Whoever has no certificate of this cluster, or claims another name than its own, gets nowhere,
//! both sides say why in plain words, and links that stand do not notice.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::tls::{OfAuthority, San, roots};
use super::*;

/// TLS as by somebody who does not check its own certificate.
fn unchecked(trusts: &Authority, (cert, key): &(String, String)) -> Security {
    let name = San::node("test", &node("bad"));
    let ca = trusts.ca_pem();
    let tls = TlsConfig::assemble([&ca, cert, key], Arc::new(BootClock), |_| Ok(name.clone()));
    Security::Tls(Arc::new(tls.expect("good PEM")))
}

/// A certificate that no authority signed.
fn self_signed(uri: &str) -> (String, String) {
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names.push(rcgen::SanType::URI(uri.try_into().expect("a URI")));
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("randomness");
    let cert = params.self_signed(&key).expect("good fields");
    (cert.pem(), key.serialize_pem())
}

/// Starts a node that claims to be `name` with whatever certificate it has: its own check of it is
/// passed over, as an attacker would.
async fn forged(name: &str, security: Security) -> Links {
    let seams = seams();
    let config = LinksConfig { security, ..insecure(name) };
    let listener = seams.net.listen(config.listen).await.expect("a free port");
    let addr = listener.local_addr().expect("it listens");
    let shared = Shared::new(config, seams, addr);
    tokio::spawn(shared.clone().accept_all(listener));
    let links = Links(shared);
    links.set_cluster(CLUSTER);
    links
}

struct Case {
    what: &'static str,
    /// What the bad node calls itself.
    claims: &'static str,
    security: Security,
    /// What the bad node is told when it dials a good one.
    bad_hears: &'static str,
    /// What the good node says then.
    good_says: &'static str,
    /// What the good node says when it dials the bad one.
    good_dials: &'static str,
}

fn case_of(
    what: &'static str,
    claims: &'static str,
    security: Security,
    says: [&'static str; 3],
) -> Case {
    let [bad_hears, good_says, good_dials] = says;
    Case { what, claims, security, bad_hears, good_says, good_dials }
}

const ONE_AUTHORITY: &str = "need certificates of one authority";

fn cases(good: &Authority) -> Vec<Case> {
    let other = Authority::new("test").expect("a good name");
    let issue = |authority: &Authority, uris: &[&str], year| {
        authority.issue(uris, year).expect("good names")
    };
    let of_other = issue(&other, &["spiffe://test/node/bad"], 4096);
    // Trusts the good authority, but shows the certificate of another one.
    let foreign = unchecked(good, &of_other);
    let alone = unchecked(good, &self_signed("spiffe://test/node/bad"));
    let with = |uris: &[&str], year| unchecked(good, &issue(good, uris, year));
    vec![
        case_of("wrong authority", "bad", foreign, [ONE_AUTHORITY; 3]),
        case_of("self-signed", "bad", alone, [ONE_AUTHORITY; 3]),
        case_of(
            "wrong cluster",
            "bad",
            with(&["spiffe://prod/node/bad"], 4096),
            ["use certificates of one cluster"; 3],
        ),
        case_of(
            "wrong name",
            "bad",
            with(&["spiffe://test/node/worse"], 4096),
            [
                "it claims to be bad, but its certificate is for worse",
                "give bad its own certificate",
                "it is for worse, and the node meant is bad",
            ],
        ),
        case_of(
            "two names",
            "bad",
            with(&["spiffe://test/node/bad", "spiffe://test/node/a"], 4096),
            ["it carries 2 URI names, and must carry exactly one"; 3],
        ),
        case_of(
            "no name",
            "bad",
            with(&[], 4096),
            ["it carries 0 URI names, and must carry exactly one"; 3],
        ),
        case_of(
            "a client",
            "bad",
            with(&["spiffe://test/client/bad"], 4096),
            ["and only nodes speak here"; 3],
        ),
        case_of(
            "expired",
            "bad",
            with(&["spiffe://test/node/bad"], 2020),
            [
                "this node's certificate has expired: renew it",
                "the other side's certificate has expired: renew it",
                "the other side's certificate has expired: renew it",
            ],
        ),
    ]
}

#[tokio::test]
async fn bad_certificates_are_refused_in_plain_words_on_both_sides() {
    let good = Authority::new("test").expect("a good name");
    let (a, b) = (start(secure("a", &good)).await, start(secure("b", &good)).await);
    introduce(&b, "a", &a);
    let _heard = obey(&a, Service::Entity);
    assert_eq!(ask(&b, "a", "before").await, Ok("before".into()));
    let (said, mut rung, say) = collector();
    a.on_refused(move |_, why| say(why));

    for case in cases(&good) {
        let Case { what, claims, security, bad_hears, good_says, good_dials } = case;
        let bad = forged(claims, security).await;
        let (bad_said, mut bad_rung, bad_say) = collector();
        bad.on_refused(move |_, why| bad_say(why));
        introduce(&bad, "a", &a);
        introduce(&a, claims, &bad);
        for class in Class::ALL {
            let (to, head) = (node("a"), Head::default());
            let asked = bad.ask(&to, class, Service::Entity, head, Bytes::new(), soon()).await;
            let Err(AskError::NotExecuted(why)) = asked else { panic!("{what}: {asked:?}") };
            assert!(why.contains(bad_hears), "{what}, the bad side: {why}");
            in_time("the refusal", rung.recv()).await;
            let why = said.lock().pop().expect("the bell rang");
            assert!(why.contains(good_says), "{what}, the good side: {why}");
        }
        let asked = ask(&a, claims, "secret").await;
        let Err(AskError::NotExecuted(why)) = asked else { panic!("{what}: {asked:?}") };
        assert!(why.contains(good_dials), "{what}, dialled: {why}");
        in_time("its refusal", bad_rung.recv()).await;
        assert!(!bad_said.lock()[0].is_empty(), "{what}: the bad side says something too");
        assert_eq!(bad.counts().accepted, 0, "{what}");
    }

    assert_eq!(a.counts().accepted, 1, "only b came in");
    assert_eq!(ask(&b, "a", "after").await, Ok("after".into()));
    assert_eq!((b.counts().dialled, b.counts().broken), (1, 0), "its link never noticed");
}

#[tokio::test]
async fn strangers_without_a_certificate_get_nowhere() {
    let good = Authority::new("test").expect("a good name");
    let a = start(LinksConfig {
        timing: Timing { handshake: Duration::from_millis(500), ..Timing::default() },
        ..secure("a", &good)
    })
    .await;
    let (said, mut rung, say) = collector();
    a.on_refused(move |_, why| say(why));
    let hello = b"evtr\x01\x00\x04\x01\x81\xa1a";
    let table: [(&str, &[u8], &str); 4] = [
        ("garbage", &[0x5a; 4096], "does not speak TLS"),
        ("a web browser", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "does not speak TLS"),
        ("an insecure node", hello, "does not speak TLS"),
        ("silence", b"", "its handshake took too long"),
    ];
    for (what, bytes, says) in table {
        let mut stream = TcpStream::connect(a.local_addr()).await.expect("it listens");
        stream.write_all(bytes).await.expect("it takes bytes");
        let mut answer = Vec::new();
        // An end or a reset: both are no.
        let _ = in_time("the end", stream.read_to_end(&mut answer)).await;
        assert!(answer.len() < 64, "{what}: an alert at most, not {} bytes", answer.len());
        in_time("the refusal", rung.recv()).await;
        let why = said.lock().pop().expect("the bell rang");
        assert!(why.contains(says), "{what}: {why}");
    }
    assert_eq!(a.counts().refused, 4);
}

#[tokio::test]
async fn a_client_that_shows_no_certificate_is_told_so() {
    let good = Authority::new("test").expect("a good name");
    let a = start(secure("a", &good)).await;
    let (said, mut rung, say) = collector();
    a.on_refused(move |_, why| say(why));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = OfAuthority {
        roots: roots(&good.ca_pem()).expect("good PEM"),
        algorithms: provider.signature_verification_algorithms,
    };
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3 exists")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    let stream = TcpStream::connect(a.local_addr()).await.expect("it listens");
    let name = rustls_pki_types::ServerName::try_from("evertree").expect("a name");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    if let Ok(mut stream) = connector.connect(name, stream).await {
        let mut answer = Vec::new();
        let end = in_time("the alert", stream.read_to_end(&mut answer)).await;
        assert!(end.is_err() && answer.is_empty(), "an alert, not an answer");
    }
    in_time("the refusal", rung.recv()).await;
    let why = said.lock().pop().expect("the bell rang");
    assert!(why.contains("the other side showed no certificate"), "{why}");
}

#[test]
fn certificates_that_are_not_ones_own_are_found_before_anything_starts() {
    let good = Authority::new("test").expect("a good name");
    let clock = || Arc::new(BootClock);
    let (cert, key) = good.issue_node("a").expect("a good name");
    let two = good.issue(&["spiffe://test/node/a", "spiffe://test/node/b"], 4096).expect("names");
    let (_, other_key) = good.issue_node("b").expect("a good name");
    let ca = good.ca_pem();
    let table: [(&str, [&str; 3], &str); 5] = [
        ("two names", [&ca, &two.0, &two.1], "carries 2 URI names, and must carry exactly one"),
        ("no authority", ["", &cert, &key], "the authority's certificate: there is no PEM"),
        ("no certificate", [&ca, "hello", &key], "the node's certificate: there is no PEM"),
        ("no key", [&ca, &cert, "hello"], "the node's private key"),
        ("another's key", [&ca, &cert, &other_key], "certificate and key of the node"),
    ];
    for (what, [ca, cert, key], says) in table {
        let error = TlsConfig::from_pem(ca, cert, key, clock()).expect_err(what).to_string();
        assert!(error.contains(says), "{what}: {error}");
    }
    let missing = TlsFiles { ca: "/nowhere/ca".into(), cert: "/c".into(), key: "/k".into() };
    let error = missing.load(clock()).expect_err("no file").to_string();
    assert!(error.starts_with("cannot read /nowhere/ca: "), "{error}");
}

#[tokio::test]
async fn a_node_with_the_certificate_of_another_does_not_start() {
    let good = Authority::new("test").expect("a good name");
    let config = LinksConfig { listen: insecure("b").listen, ..secure("a", &good) };
    let identity = insecure("b").identity;
    let error = Links::start(LinksConfig { identity, ..config }, seams()).await;
    let error = error.expect_err("not its own").to_string();
    assert!(error.contains("this node is spiffe://test/node/b"), "{error}");
}
