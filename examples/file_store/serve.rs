//! A node of the file store: one process, one data directory, one port.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use evertree::entity::{Durable, Kind};
use evertree::node::{Node, NodeConfig, Security};
use tokio::signal::unix::{SignalKind, signal};

use crate::entities::{Catalog, Chunk, File};
use crate::gateway;

/// How long an unused entity stays in memory.
const IDLE: Duration = Duration::from_secs(2);

/// What one node is told.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ServeArgs {
    /// Its name, unique in the cluster.
    #[arg(long)]
    pub(crate) name: String,
    /// Where it listens for the other nodes.
    #[arg(long)]
    pub(crate) listen: SocketAddr,
    /// Where the first nodes listen, its own address included: the same list for all of them.
    #[arg(long, value_delimiter = ',')]
    pub(crate) seeds: Vec<String>,
    /// Its data directory; made if absent.
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// The directory with ca.pem, NAME.pem and NAME.key; `certs` makes one.
    #[arg(long)]
    pub(crate) certs: PathBuf,
    /// Seconds it may take to find the other nodes and become a member.
    #[arg(long = "start-within", value_name = "SECONDS", default_value_t = 60)]
    pub(crate) start_within_secs: u64,
}

/// Runs a node until SIGINT or SIGTERM.
pub(crate) async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    gateway::check(&args.data)?;
    let pem = |name: String| {
        let path = args.certs.join(name);
        std::fs::read(&path).with_context(|| {
            format!("reading {}: make certificates with `file_store certs`", path.display())
        })
    };
    let security = Security::Tls {
        authorities: pem("ca.pem".into())?,
        certificate: pem(format!("{}.pem", args.name))?,
        key: pem(format!("{}.key", args.name))?,
    };
    let expect = args.seeds.len().max(1);
    let config = NodeConfig {
        cluster: "file-store".into(),
        listen: args.listen,
        seeds: args.seeds.clone(),
        expect,
        data: args.data.clone(),
        ..NodeConfig::new(args.name.parse()?, security)
    };
    let node = Node::build(config)
        .host(Kind::<Chunk>::new(()).durable(Durable::Snapshots).passivate_after(IDLE))
        .host(Kind::<File>::new(()).durable(Durable::Snapshots).passivate_after(IDLE))
        .host(Kind::<Catalog>::new(()).durable(Durable::Snapshots))
        .start_within(Duration::from_secs(args.start_within_secs))
        .start()
        .await?;
    let done = until_asked(&args.data, &node).await;
    node.stop().await;
    done
}

/// Answers the command until SIGINT, SIGTERM, or the node's own end.
async fn until_asked(data: &Path, node: &Node) -> anyhow::Result<()> {
    let listener = gateway::listen(data)?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        biased;
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = gateway::serve(listener, node.clone()) => {}
        why = node.ended() => anyhow::bail!("the node has ended: {why}"),
    }
    Ok(())
}
