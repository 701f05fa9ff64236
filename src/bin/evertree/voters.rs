//! `evertree voters`: who agrees on the views, how far each voter is, and how many may fail.

use std::process::ExitCode;

use evertree::admin::{Answer, Ask};

use crate::asked::Asked;
use crate::{Failure, not_asked, print};

/// Flags of `evertree voters`.
#[derive(Debug, clap::Args)]
pub(crate) struct VotersArgs {
    #[command(flatten)]
    asked: Asked,
}

pub(crate) fn run(args: &VotersArgs) -> Result<ExitCode, Failure> {
    match args.asked.ask(&Ask::Voters)? {
        Answer::Voters(report) => {
            print::report(args.asked.json, &report)?;
            Ok(ExitCode::SUCCESS)
        }
        other => not_asked(&other),
    }
}
