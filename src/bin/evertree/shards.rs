//! `evertree shards`: who owns and holds how many, which are not as they should be, and each.

use std::process::ExitCode;

use evertree::admin::{Answer, Ask};
use evertree::base::NodeId;
use evertree::observe::{ShardState, ShardsAsk};

use crate::asked::Asked;
use crate::{Failure, not_asked, print};

/// Flags of `evertree shards`.
#[derive(Debug, clap::Args)]
pub(crate) struct ShardsArgs {
    /// List each shard
    #[arg(long)]
    all: bool,
    /// List the shards that this member owns, holds or is about to get
    #[arg(long, value_name = "NAME")]
    node: Option<NodeId>,
    /// List the shards in this state: owned, ownerless, lost, moving, under-replicated, unwritable
    /// or records
    #[arg(long, value_name = "STATE")]
    state: Option<ShardState>,
    #[command(flatten)]
    asked: Asked,
}

pub(crate) fn run(args: &ShardsArgs) -> Result<ExitCode, Failure> {
    let ShardsArgs { all, node, state, asked } = args;
    let ask = ShardsAsk { all: *all, node: node.clone(), state: *state };
    match asked.ask(&Ask::Shards(ask))? {
        Answer::Shards(report) => {
            print::report(asked.json, &report)?;
            Ok(ExitCode::SUCCESS)
        }
        other => not_asked(&other),
    }
}
