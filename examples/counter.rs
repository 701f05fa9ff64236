//! A durable counter on three nodes in one process: asked from each node, it is one counter; when
//! its node stops, it goes on elsewhere with its state.
//!
//! `cargo run --example counter` prints, but for the name of the owner:
//!
//! ```text
//! three nodes serve
//! asked from n1: 1
//! asked from n2: 2
//! asked from n3: 3
//! visits is owned by n2
//! n2 is gone
//! asked from n1: 4
//! asked from n3: 5
//! ```

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use evertree::entity::{Cx, Durable, Entity, Failure, Kind, Reply};
use evertree::node::{Node, NodeConfig};
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};

/// The entity's struct is its state.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Counter {
    value: u64,
}

#[derive(Debug, Serialize, Deserialize)]
enum CounterMsg {
    Add(u64, Reply<u64>),
}

impl Entity for Counter {
    const KIND: &'static str = "counter";
    type Msg = CounterMsg;
    type Env = ();

    async fn handle(&mut self, msg: CounterMsg, cx: &mut Cx<'_, Self>) -> Result<(), Failure> {
        let CounterMsg::Add(more, reply) = msg;
        self.value += more;
        cx.save(self).await?; // on two disks at least, before anybody hears of it
        reply.send(self.value);
        Ok(())
    }
}

const NAMES: [&str; 3] = ["n1", "n2", "n3"];
/// Longer than a lease: a failover falls into it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A free port for each node.
fn addresses() -> std::io::Result<Vec<SocketAddr>> {
    let held: Vec<TcpListener> =
        NAMES.iter().map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    held.iter().map(TcpListener::local_addr).collect()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let data = std::env::current_dir()?.join("target/counter");
    if data.exists() {
        std::fs::remove_dir_all(&data)?;
    }
    let addresses = addresses()?;
    let seeds: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let starting = NAMES.iter().zip(&addresses).map(|(name, listen)| {
        let config = NodeConfig {
            listen: *listen,
            seeds: seeds.clone(),
            expect: NAMES.len(),
            data: data.join(name),
            ..NodeConfig::insecure(name.parse().expect("a node name"))
        };
        Node::build(config).host(Kind::<Counter>::new(()).durable(Durable::Snapshots)).start()
    });
    let mut nodes: Vec<Node> = try_join_all(starting).await?;
    println!("three nodes serve");

    for node in &nodes {
        let visits = node.entities::<Counter>().get("visits");
        let value = visits.ask_within(PATIENCE, |reply| CounterMsg::Add(1, reply)).await?;
        println!("asked from {}: {value}", node.name());
    }
    let view = nodes[0].view();
    let shard = view.shard(nodes[0].shard_of("counter", "visits"));
    let owner = shard.and_then(|shard| shard.owner.clone()).ok_or("it has an owner")?.node;
    println!("visits is owned by {owner}");

    let at = nodes.iter().position(|node| *node.name() == owner).ok_or("it is one of them")?;
    nodes.remove(at).stop().await;
    println!("{owner} is gone");
    for node in &nodes {
        let visits = node.entities::<Counter>().get("visits");
        let value = visits.ask_within(PATIENCE, |reply| CounterMsg::Add(1, reply)).await?;
        println!("asked from {}: {value}", node.name());
    }
    for node in nodes {
        node.stop().await;
    }
    Ok(())
}
