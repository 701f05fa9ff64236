//! A distributed file store: files and their chunks are entities, placed by the consistent-hash
//! ring and kept on three nodes each.
//!
//! ```text
//! file_store certs --dir target/certs n1 n2 n3
//! file_store serve --name n1 --listen 127.0.0.1:7101 --data target/fs/n1 --certs target/certs \
//!     --seeds 127.0.0.1:7101,127.0.0.1:7102,127.0.0.1:7103        (and so on for n2 and n3)
//! file_store put README.md --data target/fs/n1
//! file_store ls --data target/fs/n2
//! file_store get README.md target/copy --data target/fs/n3
//! file_store verify --data target/fs/n1
//! ```
//!
//! `cargo run --example file_store -- ARGS`; `three_nodes` runs the whole story by itself.

mod certs;
mod client;
mod download;
mod entities;
mod gateway;
mod protocol;
mod serve;
mod transfer;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::client::Client;
use crate::entities::{CHUNK_BYTES, CHUNKS_MAX};

/// A file store on a consistent-hash ring.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an authority and a certificate for each named node.
    Certs {
        /// Where to.
        #[arg(long)]
        dir: PathBuf,
        /// The nodes.
        names: Vec<String>,
    },
    /// Run a node.
    Serve(serve::ServeArgs),
    /// Store a file, or all files below a directory.
    Put {
        path: PathBuf,
        #[command(flatten)]
        nodes: Nodes,
    },
    /// Read a stored file into TARGET.
    Get {
        name: String,
        target: PathBuf,
        #[command(flatten)]
        nodes: Nodes,
    },
    /// List what is stored.
    Ls {
        #[command(flatten)]
        nodes: Nodes,
    },
    /// Read everything and compare all hashes.
    Verify {
        #[command(flatten)]
        nodes: Nodes,
    },
}

#[derive(Debug, clap::Args)]
struct Nodes {
    /// Data directory of a running node on this machine; several to survive one's loss.
    #[arg(long, required = true)]
    data: Vec<PathBuf>,
}

impl Nodes {
    fn client(&self) -> Client {
        Client::new(self.data.iter().map(|data| protocol::socket_in(data)).collect())
    }
}

fn bar(size: u64, name: &str) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{msg:30!} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}");
    let bar = ProgressBar::new(size).with_message(name.to_owned());
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

async fn put(path: &std::path::Path, client: &Client) -> anyhow::Result<()> {
    for file in transfer::files_below(path, &[])? {
        let name = file.to_string_lossy().into_owned();
        let source =
            tokio::fs::File::open(&file).await.with_context(|| format!("reading {name}"))?;
        let size = source.metadata().await?.len();
        ensure!(size <= (CHUNKS_MAX * CHUNK_BYTES) as u64, "{name}: {}", transfer::too_large());
        let bar = bar(size, &name);
        let (id, manifest) = transfer::put(client, &name, source, |bytes| bar.inc(bytes)).await?;
        bar.finish_and_clear();
        println!("{id}  {:>12}  {name}", manifest.size);
    }
    Ok(())
}

async fn verify(client: &Client) -> anyhow::Result<()> {
    let files = transfer::list(client).await?;
    let mut bytes = 0;
    for (name, line) in &files {
        let (_, manifest) = transfer::find(client, name).await?;
        let bar = bar(line.size, name);
        transfer::read(client, &manifest, |chunk| {
            bar.inc(chunk.len() as u64);
            Ok(())
        })
        .await
        .with_context(|| format!("verifying {name}"))?;
        bar.finish_and_clear();
        bytes += manifest.size;
    }
    println!("{} files, {bytes} bytes: every hash is right", files.len());
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false);
    log.with_env_filter(filter).init();
    let command = Args::parse().command;
    // A node stops in order, and hears the signal itself.
    let serves = matches!(command, Command::Serve(_));
    let done = tokio::select! {
        biased;
        interrupted = interrupted(), if !serves => interrupted,
        done = run(command) => done,
    };
    if let Err(error) = done {
        eprintln!("file_store: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Fails at SIGINT or SIGTERM; what was begun is then dropped, and with it the partial file.
async fn interrupted() -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        biased;
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    anyhow::bail!("interrupted: no partial file is visible; what was printed is complete")
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Certs { dir, names } => certs::make(&dir, &names),
        Command::Serve(args) => serve::serve(args).await,
        Command::Put { path, nodes } => put(&path, &nodes.client()).await,
        Command::Get { name, target, nodes } => {
            let client = nodes.client();
            let (_, manifest) = transfer::find(&client, &name).await?;
            let bar = bar(manifest.size, &name);
            download::get(&client, &manifest, &target, |bytes| bar.inc(bytes)).await?;
            bar.finish_and_clear();
            Ok(())
        }
        Command::Ls { nodes } => {
            for (name, line) in transfer::list(&nodes.client()).await? {
                println!("{}  {:>12}  {name}", line.id, line.size);
            }
            Ok(())
        }
        Command::Verify { nodes } => verify(&nodes.client()).await,
    }
}
