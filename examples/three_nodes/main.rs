//! The main job: three real processes, real files, one node killed, every byte right.
//!
//! `cargo run --release --example three_nodes` starts three nodes of the file store on loopback
//! with data under `target/three_nodes`, stores this repository's source tree and a generated file
//! of 64 MiB, kills the owner of one of them with SIGKILL in the middle of a read and of a write,
//! reads everything back, restarts the node and waits until every copy is complete again. It exits
//! with 0 only if every byte is right and nothing acknowledged is missing.

#[path = "../file_store/certs.rs"]
mod certs;
#[path = "../file_store/client.rs"]
mod client;
mod cluster;
#[path = "../file_store/entities.rs"]
mod entities;
#[path = "../file_store/gateway.rs"]
mod gateway;
mod generated;
#[path = "../file_store/protocol.rs"]
mod protocol;
#[path = "../file_store/serve.rs"]
mod serve;
mod story;
#[path = "../file_store/transfer.rs"]
mod transfer;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Three nodes, one of them killed, every byte right.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    story: story::StoryArgs,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// One of the three processes; started by the story.
    Node(cluster::NodeArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.role {
        Some(Role::Node(node)) => cluster::run_node(node).await,
        None => story::tell(args.story).await,
    };
    if let Err(error) = done {
        eprintln!("three_nodes: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
