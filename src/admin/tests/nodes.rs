//! Real nodes in this process, asked over their sockets.

use std::net::SocketAddr;
use std::sync::mpsc;

use serde::{Deserialize, Serialize};

use super::*;
use crate::entity::{Cx, Entity, Failure, Kind, Reply};
use crate::node::{Node, NodeConfig, StartError};
use crate::observe::{NodesReport, RingReport, VotersReport};

fn config(data: &Path, name: &str) -> NodeConfig {
    let name = name.parse().expect("a plain name");
    NodeConfig { data: data.into(), shards: 16, ..NodeConfig::insecure(name) }
}

async fn nodes(data: &Path) -> NodesReport {
    let answer = ask(data, &Ask::Nodes).await.expect("an answer");
    let Answer::Nodes(report) = answer else { panic!("{answer:?}") };
    report
}

async fn ring(data: &Path, what: RingAsk) -> Result<RingReport, ClientError> {
    let answer = ask(data, &Ask::Ring(what)).await?;
    let Answer::Ring(report) = answer else { panic!("{answer:?}") };
    Ok(*report)
}

async fn voters(data: &Path) -> VotersReport {
    let answer = ask(data, &Ask::Voters).await.expect("an answer");
    let Answer::Voters(report) = answer else { panic!("{answer:?}") };
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_answers_from_its_start_to_its_stop_and_a_stale_socket_is_replaced() {
    let place = tempfile::tempdir().expect("a folder");
    let data = place.path().join("n1");
    std::fs::create_dir(&data).expect("a folder");
    let path = data.join(SOCKET_FILE);
    // As a process leaves it that was killed.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    let node = soon(Node::build(config(&data, "n1")).start()).await.expect("it starts");
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let report = nodes(&data).await;
    let row = &report.nodes[0];
    let said = row.said.as_ref().expect("it says");
    assert_eq!((report.nodes.len(), row.owns, said.is_serving), (1, 16, true), "{report}");
    assert_eq!((said.software.as_str(), said.view), (env!("CARGO_PKG_VERSION"), report.version));
    let what = RingAsk { key: Some("cart/alice".parse().expect("a key")), ..RingAsk::default() };
    let found = ring(&data, what.clone()).await.expect("an answer");
    assert_eq!(found, node.ring_report(&what).expect("an answer"));
    let key = found.key.expect("asked");
    assert_eq!(
        (key.shard, key.owner.as_ref()),
        (node.shard_of("cart", "alice"), Some(node.name()))
    );
    let what = RingAsk { lose: Some("n9".parse().expect("a name")), ..RingAsk::default() };
    let refused = ring(&data, what).await.expect_err("n9 is nobody");
    assert_eq!(code(&refused), Code::Refused);
    assert_eq!(refused.to_string(), "n9 is no member of the cluster; members are n1");
    soon(node.stop()).await;
    assert!(!path.exists());
    let gone = ask(&data, &Ask::Nodes).await.expect_err("it has stopped");
    assert!(matches!(gone, ClientError::NoNode { .. }), "{gone}");
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Echo;

#[derive(Debug, Serialize, Deserialize)]
struct Say(Reply<()>);

impl Entity for Echo {
    const KIND: &'static str = "echo";
    type Msg = Say;
    type Env = ();

    async fn handle(&mut self, Say(reply): Say, _: &mut Cx<'_, Self>) -> Result<(), Failure> {
        reply.send(());
        Ok(())
    }
}

/// Every message handled is a turn, and turns per second are the load.
#[tokio::test(flavor = "multi_thread")]
async fn messages_handled_are_the_load() {
    let place = tempfile::tempdir().expect("a folder");
    let data = place.path().join("n1");
    let node = Node::build(config(&data, "n1")).host(Kind::<Echo>::new(()));
    let node = soon(node.start()).await.expect("it starts");
    let (echoes, mut asked) = (node.entities::<Echo>(), 0_u64);
    let load = soon(async {
        loop {
            for id in ["a", "b", "c"] {
                echoes.get(id).ask(Say).await.expect("an answer");
                asked += 1;
            }
            let load = nodes(&data).await.nodes[0].said.as_ref().map_or(0, |said| said.load);
            if load > 0 {
                return load;
            }
        }
    });
    let load = load.await;
    // A turn is counted when it ends, a moment after its answer.
    let counted = async {
        while node.entity_counts().turns < asked {
            tokio::task::yield_now().await;
        }
    };
    soon(counted).await;
    assert_eq!(node.entity_counts().turns, asked);
    assert!(u64::from(load) <= asked, "{load} a second, {asked} in all, in a second or more");
    soon(node.stop()).await;
}

/// Goal: a node whose user code blocks every thread still says what it is. Method: every worker of
/// the runtime is blocked, and the question is asked from a thread of its own.
#[test]
fn it_answers_while_every_worker_is_blocked() {
    const WORKERS: usize = 2;
    let place = tempfile::tempdir().expect("a folder");
    let data = place.path().join("n1");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .expect("a runtime");
    let node = runtime.block_on(async { soon(Node::build(config(&data, "n1")).start()).await });
    let node = node.expect("it starts");
    let (blocked, is_blocked) = mpsc::sync_channel(WORKERS);
    let mut release = Vec::new();
    for _ in 0..WORKERS {
        let (free, is_free) = mpsc::sync_channel::<()>(0);
        let blocked = blocked.clone();
        release.push(free);
        runtime.spawn(async move {
            blocked.send(()).expect("the test waits");
            // Blocks its thread until the test drops the other end.
            let _ = is_free.recv();
        });
    }
    (0..WORKERS).for_each(|_| is_blocked.recv_timeout(PATIENCE).expect("a worker is blocked"));
    let own = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("another");
    own.block_on(async {
        let report = nodes(&data).await;
        assert_eq!(report.nodes[0].node.as_str(), "n1");
        let what = RingAsk { join: Some("n2".parse().expect("a joiner")), ..RingAsk::default() };
        let found = ring(&data, what).await.expect("an answer").join.expect("asked");
        assert_eq!(found.shards, 8, "half of them");
    });
    drop(release);
    runtime.block_on(async { soon(node.stop()).await });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_waits_for_its_cluster_says_so_and_leaves_nothing_behind() {
    let place = tempfile::tempdir().expect("a folder");
    let data = place.path().join("n1");
    // The other seed is nobody's port: nobody listens on port 1 of loopback.
    let seeds = vec!["127.0.0.1:1".to_owned(), "127.0.0.1:2".to_owned()];
    let config = NodeConfig { seeds, expect: 2, ..config(&data, "n1") };
    let starts = Node::build(config).start_within(Duration::from_secs(2)).start();
    let starts = tokio::spawn(starts);
    let waits = soon(async {
        loop {
            // Until the socket is there.
            match ask(&data, &Ask::Nodes).await {
                Err(ClientError::NoDirectory { .. } | ClientError::NoNode { .. }) => {
                    tokio::task::yield_now().await;
                }
                other => return other.expect_err("it has no cluster"),
            }
        }
    });
    let waits = waits.await;
    assert_eq!(code(&waits), Code::NotRunning);
    assert!(waits.to_string().contains("n1 starts"), "{waits}");
    soon(starts).await.expect("no panic").expect_err("it found nobody");
    assert!(!data.join(SOCKET_FILE).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_its_socket_or_with_a_path_too_long_for_one() {
    let place = tempfile::tempdir().expect("a folder");
    let deep = place.path().join("x".repeat(100));
    let error = Node::build(config(&deep, "n1")).start().await.expect_err("too long");
    assert!(matches!(error, StartError::Admin(LocalError::TooLong { .. })), "{error}");
    let error = error.to_string();
    assert!(error.contains(&deep.display().to_string()) && error.contains("shorter"), "{error}");
    let config = NodeConfig { admin: false, ..config(&deep, "n1") };
    let node = soon(Node::build(config).start()).await.expect("it does without");
    assert!(node.is_serving() && !deep.join(SOCKET_FILE).exists());
    soon(node.stop()).await;
}

fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    // All bound at once, so that they differ.
    let bound = [(); N].map(|()| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    bound.map(|listener| listener.local_addr().expect("an address"))
}

/// Three nodes see each other; one is stopped, and the others say so of it.
#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_are_asked_at_once_and_one_that_is_gone_gives_no_answer() {
    let place = tempfile::tempdir().expect("a folder");
    let addresses: [SocketAddr; 3] = free_addresses();
    let seeds: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let start = |(name, listen): (&str, SocketAddr)| {
        let config = NodeConfig {
            listen,
            seeds: seeds.clone(),
            expect: 3,
            zone: format!("zone-{name}"),
            ..config(&place.path().join(name), name)
        };
        Node::build(config).start()
    };
    let starts = ["n1", "n2", "n3"].into_iter().zip(addresses).map(start);
    let started = soon(futures::future::try_join_all(starts)).await;
    let [one, two, three]: [Node; 3] =
        started.expect("they form a cluster").try_into().expect("three");
    let data = |name: &str| place.path().join(name);
    let sighted = |report: &NodesReport, by: u32| {
        report.nodes.len() == 3 && report.nodes.iter().all(|row| row.reachable_by == by)
    };
    let report = soon(async {
        loop {
            // Gossip takes a few rounds.
            let report = nodes(&data("n2")).await;
            if sighted(&report, 2) {
                return report;
            }
        }
    });
    let report = report.await;
    assert_eq!(report.asked, *two.name());
    for row in &report.nodes {
        let said = row.said.as_ref().expect("each answers");
        assert!(said.is_serving && said.links.dialled > 0, "{report}");
        assert_eq!((said.view, row.zone.clone()), (report.version, format!("zone-{}", row.node)));
    }
    assert_eq!(report.nodes.iter().map(|row| row.owns).sum::<u32>(), 16);
    let report = soon(async {
        loop {
            // Whoever leads has heard of all once they have answered its heartbeats.
            let report = voters(&data("n2")).await;
            let said =
                report.voters.iter().filter(|row| row.said.is_some() && row.behind == Some(0));
            if said.count() == 3 {
                return report;
            }
        }
    });
    let report = report.await;
    assert_eq!((report.quorum, report.may_fail, report.may_fail_now), (2, 1, Some(1)), "{report}");
    assert!(report.leader.is_some() && report.term > 0 && report.clients.is_empty(), "{report}");
    assert!(report.voters.iter().all(|row| row.is_member), "{report}");
    // It answers nobody any more, but is a member until its lease has run out.
    soon(three.stop()).await;
    let after = voters(&data("n1")).await;
    assert_eq!((after.may_fail, after.may_fail_now), (1, Some(0)), "{after}");
    let after = nodes(&data("n1")).await;
    assert!(after.nodes.iter().all(|row| row.node != *three.name() || row.said.is_none()));
    for node in [one, two] {
        soon(node.stop()).await;
    }
}
