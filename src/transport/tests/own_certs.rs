//! A node checks its own certificate before anything starts, and whoever shows none is told so.

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::super::tls::{OfAuthority, roots};
use super::*;

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
