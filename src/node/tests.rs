//! What a running node can be told.

mod joining;

use std::path::Path;

use super::*;
use crate::transport::certs::Authority;

fn tls(authority: &Authority, name: &str) -> Security {
    let (certificate, key) = authority.issue_node(name).expect("a plain name");
    let authorities = authority.ca_pem().into();
    Security::Tls { authorities, certificate: certificate.into(), key: key.into() }
}

async fn start(data: &Path, security: Security) -> Node {
    let config = NodeConfig {
        cluster: "test".into(),
        data: data.into(),
        shards: 16,
        ..NodeConfig::new("n1".parse().expect("a plain name"), security)
    };
    Node::build(config).start().await.expect("it forms a cluster of one")
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_replaced_while_it_runs_by_its_own_only() {
    let data = tempfile::tempdir().expect("a directory");
    let authority = Authority::new("test").expect("a plain name");
    let node = start(&data.path().join("n1"), tls(&authority, "n1")).await;
    let next = Authority::new("test").expect("a plain name");
    node.replace_certificates(&tls(&next, "n1")).expect("its own, of another authority");
    let table = [
        (tls(&next, "n2"), "this node is spiffe://test/node/n1"),
        (tls(&Authority::new("prod").expect("a plain name"), "n1"), "spiffe://prod/node/n1"),
        (Security::Insecure, "start the links anew"),
        (
            Security::Tls { authorities: vec![0xff], certificate: vec![], key: vec![] },
            "the list of authorities is not PEM text",
        ),
    ];
    for (security, says) in table {
        let error = node.replace_certificates(&security).expect_err(says).to_string();
        assert!(error.contains(says), "{says}: {error}");
    }
    assert!(node.is_serving());
    node.stop().await;
}
