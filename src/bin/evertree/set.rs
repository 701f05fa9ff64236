//! `evertree set`: constants of the cluster, shown with what follows before they are agreed.

use std::process::ExitCode;

use evertree::admin::{Answer, Ask};
use evertree::observe::{SetAsk, SetReport};

use crate::asked::Asked;
use crate::settings::Span;
use crate::{Failure, not_asked, print};

/// Flags of `evertree set`.
#[derive(Debug, clap::Args)]
#[group(id = "what", required = true, multiple = true, args = ["replicas", "write_min", "lease"])]
pub(crate) struct SetArgs {
    /// Stores that hold each shard
    #[arg(long, value_name = "COUNT")]
    replicas: Option<u8>,
    /// Stores that must hold a write before it is acknowledged
    #[arg(long, value_name = "COUNT")]
    write_min: Option<u8>,
    /// How long a node may act on one grant: the longer, the later a failed one is replaced
    #[arg(long, value_name = "DURATION")]
    lease: Option<Span>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    asked: Asked,
}

pub(crate) fn run(args: &SetArgs) -> Result<ExitCode, Failure> {
    let SetArgs { replicas, write_min, lease, yes, asked } = args;
    let lease = lease.map(|lease| lease.0);
    let ask = SetAsk { replicas: *replicas, write_min: *write_min, lease, seen: None };
    let shown = set(asked, ask.clone())?;
    if !yes {
        print::report(asked.json, &shown)?;
        print::confirmed(asked.json, "Is this to be agreed?")?;
    }
    let agreed = set(asked, SetAsk { seen: Some(shown.before), ..ask })?;
    print::report(asked.json, &agreed)?;
    Ok(ExitCode::SUCCESS)
}

fn set(asked: &Asked, ask: SetAsk) -> Result<SetReport, Failure> {
    match asked.ask(&Ask::Set(ask))? {
        Answer::Set(report) => Ok(*report),
        other => not_asked(&other),
    }
}
