//! `evertree ring`: shares of ring and shards, the owner of a key, what a join or a loss would
//! move.

use std::process::ExitCode;

use evertree::admin::{Answer, Ask};
use evertree::base::NodeId;
use evertree::observe::{Joiner, Key, RingAsk};

use crate::asked::Asked;
use crate::{Failure, not_asked, print};

/// Flags of `evertree ring`.
#[derive(Debug, clap::Args)]
pub(crate) struct RingArgs {
    /// Where this entity is: its shard, owner, epoch, and the stores that hold it
    #[arg(long, value_name = "KIND/ID")]
    key: Option<Key>,
    /// What would move if this node joined
    #[arg(long, value_name = "NAME[:WEIGHT[:ZONE]]")]
    join: Option<Joiner>,
    /// What would move if this member were lost
    #[arg(long, value_name = "NAME")]
    lose: Option<NodeId>,
    #[command(flatten)]
    asked: Asked,
}

pub(crate) fn run(args: &RingArgs) -> Result<ExitCode, Failure> {
    let RingArgs { key, join, lose, asked } = args;
    let ask = RingAsk { key: key.clone(), join: join.clone(), lose: lose.clone() };
    match asked.ask(&Ask::Ring(ask))? {
        Answer::Ring(report) => {
            print::report(asked.json, &*report)?;
            Ok(ExitCode::SUCCESS)
        }
        other => not_asked(&other),
    }
}
