//! `evertree nodes`: the members, as they say they are and as each observes the others.

use std::process::ExitCode;

use evertree::admin::{Answer, Ask};

use crate::asked::Asked;
use crate::{Failure, not_asked, print};

/// Flags of `evertree nodes`.
#[derive(Debug, clap::Args)]
pub(crate) struct NodesArgs {
    #[command(flatten)]
    asked: Asked,
}

pub(crate) fn run(args: &NodesArgs) -> Result<ExitCode, Failure> {
    match args.asked.ask(&Ask::Nodes)? {
        Answer::Nodes(report) => {
            print::report(args.asked.json, &report)?;
            Ok(ExitCode::SUCCESS)
        }
        other => not_asked(&other),
    }
}
