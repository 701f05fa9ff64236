//! `evertree drain` and `evertree leave`: a node hands over what it has, and goes for good.

use std::process::ExitCode;
use std::time::Duration;

use evertree::admin::{Answer, Ask, Client, ClientError, DrainAsk};
use evertree::base::{BootClock, Clock as _, NodeId};
use evertree::observe::DrainReport;
use serde::Serialize;

use crate::asked::{Asked, block_on};
use crate::settings::Span;
use crate::{Failure, not_asked, print};

/// How often it is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Flags of `evertree drain`.
#[derive(Debug, clap::Args)]
pub(crate) struct DrainArgs {
    /// The member that is to hand over what it has
    #[arg(value_name = "NODE")]
    node: NodeId,
    /// Take it back: it keeps what it still has, and gets shards again
    #[arg(long, conflicts_with = "wait")]
    cancel: bool,
    /// If it votes and no member could vote in its place, make the voters fewer: of three one is
    /// left, of five three
    #[arg(long, conflicts_with = "cancel")]
    shrink_voters: bool,
    /// Wait until nothing of its shards keeps it, at most so long, and fail if that is too short
    #[arg(long, value_name = "DURATION")]
    wait: Option<Span>,
    #[command(flatten)]
    asked: Asked,
}

/// Flags of `evertree leave`.
#[derive(Debug, clap::Args)]
pub(crate) struct LeaveArgs {
    /// How long it may take to hand over what it has
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    wait: Span,
    #[command(flatten)]
    asked: Asked,
}

pub(crate) fn run(args: &DrainArgs) -> Result<ExitCode, Failure> {
    let data = args.asked.data()?;
    block_on(async {
        let mut client = connect(&data).await?;
        let shrink_voters = args.shrink_voters;
        let drain = |on| Ask::Drain(DrainAsk { node: args.node.clone(), on, shrink_voters });
        let mut report = drained(client.ask(&drain(Some(!args.cancel))).await)?;
        let until = args.wait.map(|wait| BootClock.now() + wait.0);
        let mut shown = String::new();
        while let Some(until) = until.filter(|_| !report.is_drained()) {
            show(&report, args.asked.json, &mut shown)?;
            if BootClock.now() >= until {
                return Err(Failure::failed(&format!("not in time: {report}")));
            }
            BootClock.sleep(LOOK_EVERY).await;
            report = drained(client.ask(&drain(None)).await)?;
        }
        print::report(args.asked.json, &report)?;
        Ok(ExitCode::SUCCESS)
    })?
}

/// What has become of the node that leaves.
#[derive(Serialize)]
struct Left<'a> {
    #[serde(flatten)]
    drain: &'a DrainReport,
    has_left: bool,
}

pub(crate) fn leave(args: &LeaveArgs) -> Result<ExitCode, Failure> {
    let data = args.asked.data()?;
    block_on(async {
        let mut client = connect(&data).await?;
        let until = BootClock.now() + args.wait.0;
        let mut shown = String::new();
        loop {
            let answer = client.ask(&Ask::Leave).await.map_err(|error| Failure::failed(&error))?;
            let Answer::Leave(answer) = answer else { return not_asked(&answer) };
            let drain = &answer.drain;
            if answer.has_left {
                if args.asked.json {
                    let left = serde_json::to_value(Left { drain, has_left: true });
                    print::json(&left.map_err(|error| Failure::failed(&error))?)?;
                } else {
                    let (node, boot) = (&drain.node, drain.boot);
                    print::text(&format!("{node}, {boot}, has left: its process ends\n"))?;
                }
                return Ok(ExitCode::SUCCESS);
            }
            show(drain, args.asked.json, &mut shown)?;
            if BootClock.now() >= until {
                let node = &drain.node;
                let how = format!("it is still drained (`evertree drain {node} --cancel`)");
                return Err(Failure::failed(&format!("not in time, {how}: {drain}")));
            }
            BootClock.sleep(LOOK_EVERY).await;
        }
    })?
}

async fn connect(data: &std::path::Path) -> Result<Client, Failure> {
    Client::connect(data).await.map_err(|error| Failure::failed(&error))
}

fn drained(answer: Result<Answer, ClientError>) -> Result<DrainReport, Failure> {
    match answer.map_err(|error| Failure::failed(&error))? {
        Answer::Drain(report) => Ok(report),
        other => not_asked(&other),
    }
}

/// Tells people how far it is, whenever that has changed. Programs read the end.
fn show(report: &DrainReport, json: bool, shown: &mut String) -> Result<(), Failure> {
    let text = report.to_string();
    if json || *shown == text {
        return Ok(());
    }
    print::text(&text)?;
    *shown = text;
    Ok(())
}
