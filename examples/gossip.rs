//! Three nodes in one process see each other join, fail, come back and leave.
//!
//! Each has a runtime of its own; n2 is killed by ending its runtime, so that it says nothing to
//! anybody. Leases are long here, so that the gossip speaks before the cluster evicts n2.
//!
//! `cargo run --example gossip` prints:
//! ```text
//! n1 sees n1, n2, n3
//! n2 is killed
//! n1: n2 in boot 1 is suspect
//! n1: n2 in boot 1 is unreachable, says n1, says n3
//! n3: n2 in boot 1 is suspect
//! n3: n2 in boot 1 is unreachable, says n1, says n3
//! n2 starts again from its directory
//! n1: n2 in boot 1 has ended, its process started again
//! n1: n2 in boot 2 has joined
//! n3 stops
//! n1: n3 in boot 1 has left of its own will
//! ```
use std::error::Error;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use evertree::base::{BootClock, Seams, SeededRng, Spawner, TokioNet};
use evertree::membership::{MemberChange, MemberEvents};
use evertree::node::{Node, NodeConfig};
use evertree::placement::Profile;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// Longest wait for anything that is to happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node and its runtime, as a process of its own would be.
struct Process {
    node: Node,
    runtime: Option<Runtime>,
}

impl Process {
    /// As `kill -9`: no task of it goes on, and its sockets close.
    fn kill(mut self) {
        if let Some(runtime) = self.runtime.take() {
            drop(self);
            tokio::task::block_in_place(|| runtime.shutdown_timeout(PATIENCE));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn start(name: &str, ports: &[u16; 3], dir: &Path) -> Result<Process, Box<dyn Error>> {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let spawner = Spawner::On(runtime.handle().clone());
    let seams = Seams {
        clock: Arc::new(BootClock),
        rng: Arc::new(SeededRng::from_os()),
        net: Arc::new(TokioNet),
        control: spawner.clone(),
        work: spawner,
        threads: true,
    };
    let index: usize = name[1..].parse()?;
    let mut config = NodeConfig::insecure(name.parse()?);
    config.listen = ([127, 0, 0, 1], ports[index - 1]).into();
    config.seeds = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    (config.expect, config.shards, config.data) = (3, 64, dir.join(name));
    config.profile =
        Profile { name: "example".into(), lease: Duration::from_secs(15), ..Profile::lan() };
    let started = runtime.spawn(Node::build(config).seams(seams).start()).await?;
    match started {
        Ok(node) => Ok(Process { node, runtime: Some(runtime) }),
        Err(error) => {
            runtime.shutdown_background();
            Err(error.into())
        }
    }
}

/// Says what happens to `node` until `last` has.
async fn follow(
    by: &str,
    events: &mut MemberEvents,
    node: &str,
    last: impl Fn(&MemberChange) -> bool,
) -> Result<(), Box<dyn Error>> {
    loop {
        let event = timeout(PATIENCE, events.recv()).await?.ok_or("the node is gone")?;
        if event.node.as_str() != node {
            continue;
        }
        let what = match &event.change {
            MemberChange::Joined => "has joined".into(),
            MemberChange::Left => "has left of its own will".into(),
            MemberChange::Restarted => "has ended, its process started again".into(),
            MemberChange::Suspect { .. } => "is suspect".into(),
            MemberChange::Unreachable { observers } => observers
                .iter()
                .fold(String::from("is unreachable"), |text, by| format!("{text}, says {by}")),
            _ => continue,
        };
        println!("{by}: {node} in {} {what}", event.boot);
        if last(&event.change) {
            return Ok(());
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let free = || TcpListener::bind("127.0.0.1:0").and_then(|held| held.local_addr());
    let ports = [free()?.port(), free()?.port(), free()?.port()];
    let [n1, n2, n3] = ["n1", "n2", "n3"].map(|name| start(name, &ports, dir.path()));
    let (n1, n2, n3) = tokio::join!(n1, n2, n3);
    let (n1, n2, n3) = (n1?, n2?, n3?);
    let names = n1.node.members().into_iter().map(|member| member.node.to_string());
    println!("n1 sees {}", names.collect::<Vec<_>>().join(", "));
    let (mut at_n1, mut at_n3) = (n1.node.member_events(64), n3.node.member_events(64));

    println!("n2 is killed");
    n2.kill();
    let is_lost = |change: &MemberChange| matches!(change, MemberChange::Unreachable { .. });
    follow("n1", &mut at_n1, "n2", is_lost).await?;
    follow("n3", &mut at_n3, "n2", is_lost).await?;

    println!("n2 starts again from its directory");
    let _n2 = start("n2", &ports, dir.path()).await?;
    follow("n1", &mut at_n1, "n2", |change| *change == MemberChange::Joined).await?;

    println!("n3 stops");
    n3.node.stop().await;
    follow("n1", &mut at_n1, "n3", |change| *change == MemberChange::Left).await
}
