//! `evertree node`: one process, one data directory, one port, until a signal or its own end.

mod certificates;
mod signals;

use std::process::ExitCode;
use std::time::Duration;

use evertree::base::{BootClock, Clock as _, NodeId};
use evertree::node::{Node, StartError};
use evertree::supervisor::{EXIT_NO_SIGNALS, EXIT_SIGNAL, EXIT_STOPPED, EXIT_STUCK};
use serde_json::json;
use tracing_subscriber::EnvFilter;

use crate::settings::{Flags, LOG, Layers, Told};
use crate::{EXIT_FAILED, Failure, print};
use certificates::Certificates;
use signals::{Ask, Signals};

/// A node that has not stopped after so long is stuck: its own limits are shorter.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// Flags of `evertree node`.
#[derive(Debug, clap::Args)]
pub(crate) struct NodeArgs {
    /// Print the line that says that it is a member as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

pub(crate) fn run(args: &NodeArgs) -> Result<ExitCode, Failure> {
    let layers = Layers::read(&args.flags);
    let told = Told::of(&layers).map_err(|error| Failure::config(&error))?;
    let filter = layers.text(&LOG).unwrap_or_default();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(&format!("no runtime: {error}")))?;
    let done = runtime.block_on(serve(told, args.json));
    // A task that is stuck must not keep the process.
    runtime.shutdown_background();
    done
}

async fn serve(mut told: Told, json: bool) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new().map_err(|error| Failure {
        code: EXIT_NO_SIGNALS,
        text: format!("no signal can be waited for: {error}"),
    })?;
    let certificates = told.files.take().map(|files| Certificates::new(files, &told.config));
    if let Some(certificates) = &certificates {
        told.config.security = certificates.read().map_err(|error| Failure::config(&error))?;
    }
    let name = told.config.name.clone();
    let (cluster, data) = (told.config.cluster.clone(), told.config.data.display().to_string());
    let start = Node::build(told.config).start_within(told.start_within).start();
    let node = tokio::select! {
        biased;
        number = signals.end() => {
            // It has promised nothing to anybody, so nothing is to be put in order.
            let text = format!("{name} was ended by a signal before it was a member");
            return Err(Failure { code: exit_of(number), text });
        }
        started = start => started.map_err(|error| not_started(&name, &error))?,
    };
    let done = match announce(&node, &cluster, &data, json) {
        Ok(()) => until_ended(&node, &mut signals, certificates.as_ref()).await,
        Err(failure) => Err(failure),
    };
    stop(&node, &mut signals).await?;
    done
}

fn not_started(name: &NodeId, error: &StartError) -> Failure {
    let text = format!("{name} cannot start: {error}");
    match error {
        StartError::Config(_)
        | StartError::Profile(_)
        | StartError::Certificates { .. }
        | StartError::Pem(_) => Failure::config(&text),
        _ => Failure::failed(&text),
    }
}

/// Says on standard output that the node is a member, on one line.
fn announce(node: &Node, cluster: &str, data: &str, json: bool) -> Result<(), Failure> {
    let (view, name, pid) = (node.view(), node.name(), std::process::id());
    let id = view.cluster;
    // Evicted again already, if it is not in the view: it begins another boot then.
    let member = view.members.get(name);
    let (boot, addr) =
        member.map_or((0, "unknown"), |member| (member.boot.0, member.addr.as_str()));
    if json {
        return print::json_line(&json!({
            "node": name,
            "cluster": cluster,
            "cluster_id": id.to_string(),
            "boot": boot,
            "address": addr,
            "data": data,
            "pid": pid,
        }));
    }
    print::text(&format!(
        "{name} is a member of {cluster} (cluster id {id}), boot {boot}, at {addr}, data in \
         {data}, process {pid}\n"
    ))
}

/// Until a signal asks for the end, or the node ends by itself.
async fn until_ended(
    node: &Node,
    signals: &mut Signals,
    certificates: Option<&Certificates>,
) -> Result<ExitCode, Failure> {
    loop {
        let ask = tokio::select! {
            biased;
            ask = signals.next() => ask,
            () = node.left() => {
                eprintln!("evertree: {} has left the cluster for good", node.name());
                return Ok(ExitCode::from(EXIT_STOPPED));
            }
            why = node.ended() => {
                return Err(Failure::failed(&format!("{} ended by itself: {why}", node.name())));
            }
        };
        match ask {
            Ask::End(_) => return Ok(ExitCode::from(EXIT_STOPPED)),
            Ask::Reload => certificates::reload(node, certificates),
        }
    }
}

/// Stops the node in order. A second signal ends the process at once.
async fn stop(node: &Node, signals: &mut Signals) -> Result<(), Failure> {
    let clock = BootClock;
    tokio::select! {
        biased;
        () = node.stop() => Ok(()),
        number = signals.end() => {
            let text = format!("{} was ended by a second signal while it stopped", node.name());
            Err(Failure { code: exit_of(number), text })
        }
        () = clock.sleep(STOP_WITHIN) => {
            let text = format!("{} is stuck: it did not stop within {STOP_WITHIN:?}", node.name());
            Err(Failure { code: EXIT_STUCK, text })
        }
    }
}

/// As shells say it.
fn exit_of(signal: i32) -> u8 {
    u8::try_from(signal).map_or(EXIT_FAILED, |number| EXIT_SIGNAL.saturating_add(number))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use evertree::node::NodeConfig;
    use evertree::placement::DiskMark;
    use evertree::storage::SimDisk;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_node_that_ends_by_itself_is_a_failure_that_says_why() {
        let folder = tempfile::tempdir().expect("a folder");
        // Both are held until both are known.
        let held = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
        let listen = held.map(|held| held.local_addr().expect("an address"));
        let seeds = listen.map(|listen| listen.to_string());
        let build = |number: usize| {
            let name = format!("n{}", number + 1);
            Node::build(NodeConfig {
                listen: listen[number],
                seeds: seeds.to_vec(),
                expect: 2,
                data: folder.path().join(&name),
                shards: 16,
                ..NodeConfig::insecure(name.parse().expect("a name"))
            })
        };
        let mark = DiskMark { filesystem: 1, device: 1, lock_inode: 1, host_boot: "a".into() };
        let disk = SimDisk::new(mark);
        let one = build(0).disk(Arc::new(disk.mount())).start();
        let (one, other) = tokio::join!(one, build(1).start());
        let (one, other) = (one.expect("they form a cluster"), other.expect("they form a cluster"));
        disk.fail_sync_after(0);
        // The other one leaves, which the first would have to keep on its disk.
        let leaves = tokio::spawn(async move { other.stop().await });
        let mut signals = Signals::new().expect("signals");
        let failure = until_ended(&one, &mut signals, None).await.expect_err("its disk failed");
        assert_eq!(failure.code, EXIT_FAILED);
        assert!(failure.text.starts_with("n1 ended by itself: "), "{}", failure.text);
        stop(&one, &mut signals).await.expect("it stops nevertheless");
        leaves.await.expect("it leaves");
    }
}
