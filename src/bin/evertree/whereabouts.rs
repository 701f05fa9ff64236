//! `evertree where`: the shard, owner, epoch and holders of one entity.

use std::process::ExitCode;

use evertree::admin::{Answer, Ask};
use evertree::observe::Key;

use crate::asked::Asked;
use crate::{Failure, not_asked, print};

/// Flags of `evertree where`.
#[derive(Debug, clap::Args)]
pub(crate) struct WhereArgs {
    /// The entity, as in `cart/alice`
    #[arg(value_name = "KIND/ID")]
    key: Key,
    #[command(flatten)]
    asked: Asked,
}

pub(crate) fn run(args: &WhereArgs) -> Result<ExitCode, Failure> {
    match args.asked.ask(&Ask::Where(args.key.clone()))? {
        Answer::Where(report) => {
            print::report(args.asked.json, &*report)?;
            Ok(ExitCode::SUCCESS)
        }
        other => not_asked(&other),
    }
}
