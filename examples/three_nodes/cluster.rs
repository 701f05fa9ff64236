//! Three node processes on this machine. None of them outlives the process that started it.

use std::fs::File;
use std::net::TcpListener;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::protocol::{Answer, Request, Status, socket_in};
use crate::serve::{ServeArgs, serve};

/// The nodes' names.
pub(crate) const NAMES: [&str; 3] = ["n1", "n2", "n3"];
/// How long anything of the cluster may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(90);
/// Marks a directory as made by this example.
const MARK: &str = ".three_nodes";
/// Below those that Linux gives to outgoing connections, 32768 to 60999 unless it is told
/// otherwise: `ip_local_port_range` in `ip(7)`.
const PORTS: Range<u16> = 20_000..32_000;
/// How often a state that is waited for is asked.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// A node process.
#[derive(Debug, clap::Args)]
pub(crate) struct NodeArgs {
    /// The process it must not outlive.
    #[arg(long)]
    parent: i32,
    #[command(flatten)]
    serve: ServeArgs,
}

/// Runs a node that dies with its parent.
pub(crate) async fn run_node(args: NodeArgs) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    ensure!(getppid() == Pid::from_raw(args.parent), "the parent process is gone");
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    serve(args.serve).await
}

/// Three processes with their directories.
#[derive(Debug)]
pub(crate) struct Cluster {
    dir: PathBuf,
    seeds: Vec<String>,
    nodes: Vec<Option<Child>>,
    /// Locked as long as the directory is in use.
    _mark: File,
}

impl Cluster {
    /// Starts three empty nodes with their data below `dir`, which is emptied first if an earlier
    /// run made it.
    pub(crate) fn start(dir: &Path) -> anyhow::Result<Self> {
        let mark = take(dir)?;
        crate::certs::make(&dir.join("certs"), &NAMES)?;
        let seeds = free_ports()?.into_iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let mut cluster =
            Self { dir: dir.into(), seeds, nodes: vec![None, None, None], _mark: mark };
        for index in 0..NAMES.len() {
            cluster.start_node(index)?;
        }
        Ok(cluster)
    }

    /// The data directory of a node.
    pub(crate) fn data(&self, index: usize) -> PathBuf {
        self.dir.join(NAMES[index])
    }

    /// A client of all nodes, or of one.
    pub(crate) fn client(&self, indexes: &[usize]) -> Client {
        Client::new(indexes.iter().map(|&index| socket_in(&self.data(index))).collect())
    }

    /// Starts a node's process.
    pub(crate) fn start_node(&mut self, index: usize) -> anyhow::Result<()> {
        let log = self.dir.join(format!("{}.log", NAMES[index]));
        let log = File::options().create(true).append(true).open(log)?;
        let child = Command::new(std::env::current_exe()?)
            .arg("node")
            .args(["--parent", &std::process::id().to_string()])
            .args(["--name", NAMES[index], "--listen", &self.seeds[index]])
            .args(["--seeds", &self.seeds.join(",")])
            .arg("--data")
            .arg(self.data(index))
            .arg("--certs")
            .arg(self.dir.join("certs"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.nodes[index] = Some(child);
        Ok(())
    }

    /// Kills a node's process with SIGKILL and waits for its end.
    pub(crate) fn kill(&mut self, index: usize) -> anyhow::Result<()> {
        let mut child = self.nodes[index].take().context("it runs")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Asks node `index` for its state until `wanted` holds.
    pub(crate) async fn wait_for(
        &mut self,
        index: usize,
        what: &str,
        wanted: impl Fn(&Status) -> bool,
    ) -> anyhow::Result<Status> {
        let end = Instant::now() + PATIENCE;
        let client = self.client(&[index]);
        let mut last = None;
        while Instant::now() < end {
            if let Some(child) = &mut self.nodes[index]
                && let Some(status) = child.try_wait()?
            {
                bail!("{} has ended ({status}); its log: {}", NAMES[index], self.log(index));
            }
            if socket_in(&self.data(index)).exists()
                && let Ok(Answer::Status(status)) = client.ask(&Request::Status).await
            {
                if wanted(&status) {
                    return Ok(status);
                }
                last = Some(status);
            }
            sleep(ASK_EVERY).await;
        }
        bail!("{} is not {what} after {PATIENCE:?}: {last:?}; {}", NAMES[index], self.log(index))
    }

    fn log(&self, index: usize) -> String {
        let path = self.dir.join(format!("{}.log", NAMES[index]));
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let tail: Vec<&str> = text.lines().rev().take(12).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        format!("{}\n{}", path.display(), tail.join("\n"))
    }

    /// Stops all nodes with SIGTERM, and says so if one of them does not end well.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        for child in self.nodes.iter().flatten() {
            kill_process(Pid::from_child(child), Signal::TERM)?;
        }
        let end = Instant::now() + PATIENCE;
        for (index, name) in NAMES.iter().enumerate() {
            let Some(child) = &mut self.nodes[index] else { continue };
            let status = loop {
                if let Some(status) = child.try_wait()? {
                    break status;
                }
                ensure!(Instant::now() < end, "{name} does not stop");
                sleep(ASK_EVERY).await;
            };
            ensure!(status.success(), "{name} ended with {status}: {}", self.log(index));
            self.nodes[index] = None;
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.nodes.iter_mut().flatten() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Empties `dir` for this process alone. Only a directory that an earlier run marked is emptied.
fn take(dir: &Path) -> anyhow::Result<File> {
    let mark = dir.join(MARK);
    let fresh = !dir.exists() || std::fs::read_dir(dir)?.next().is_none();
    ensure!(
        fresh || mark.exists(),
        "{} was not made by this example: name a directory that does not exist yet",
        dir.display()
    );
    std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    let file = File::create(&mark).with_context(|| format!("making {}", mark.display()))?;
    file.try_lock().with_context(|| {
        format!("{} is in use by another run: name another with --dir", dir.display())
    })?;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            std::fs::remove_dir_all(&path)
                .with_context(|| format!("emptying {}", path.display()))?;
        } else if path != mark {
            std::fs::remove_file(&path).with_context(|| format!("emptying {}", path.display()))?;
        }
    }
    Ok(file)
}

/// Three ports nobody listens on at present. The system gives none of them to an outgoing
/// connection, so that a node which was killed finds its own free when it comes back.
fn free_ports() -> anyhow::Result<Vec<u16>> {
    let count = u32::from(PORTS.end - PORTS.start);
    let first = u16::try_from(std::process::id().wrapping_mul(7919) % count)?;
    let count = PORTS.end - PORTS.start;
    let ports = (0..count).map(|step| PORTS.start + (first + step) % count);
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let free: Vec<u16> = ports.filter(is_free).take(NAMES.len()).collect();
    ensure!(free.len() == NAMES.len(), "no free ports in {PORTS:?}");
    Ok(free)
}
