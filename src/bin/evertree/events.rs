//! `evertree events`: what changed in the view, and why; with `--follow` as it comes.

use std::process::ExitCode;

use evertree::admin::{Answer, Ask, Client, ClientError};
use evertree::observe::{EventsAsk, EventsPage};
use serde_json::json;

use crate::asked::Asked;
use crate::{Failure, not_asked, print};

/// Events that are printed before those that come, if nothing else is said.
const FOLLOW_LAST: u32 = 10;

/// Flags of `evertree events`.
#[derive(Debug, clap::Args)]
pub(crate) struct EventsArgs {
    /// Go on as events come, until Ctrl-C or the node ends
    #[arg(long)]
    follow: bool,
    /// Only so many, the newest; all that are kept, or with --follow 10, if nothing is said
    #[arg(long, value_name = "COUNT")]
    last: Option<u32>,
    /// Only those after the event of this number, which --json shows
    #[arg(long, value_name = "NUMBER", conflicts_with = "last")]
    after: Option<u64>,
    #[command(flatten)]
    asked: Asked,
}

pub(crate) fn run(args: &EventsArgs) -> Result<ExitCode, Failure> {
    let EventsArgs { follow, after, asked, .. } = args;
    let last = args.last.or_else(|| (*follow && after.is_none()).then_some(FOLLOW_LAST));
    let data = asked.data()?;
    let ask = EventsAsk { follow: *follow, after: *after, last };
    crate::asked::block_on(async {
        let mut client = Client::connect(&data).await.map_err(|error| Failure::failed(&error))?;
        if *follow {
            tell(&mut client, ask, asked.json).await
        } else {
            list(&mut client, ask, asked.json).await
        }
    })?
}

/// One page after another, until there is no more.
async fn list(client: &mut Client, mut ask: EventsAsk, json: bool) -> Result<ExitCode, Failure> {
    loop {
        let answer = client.ask(&Ask::Events(ask)).await;
        let page = page(answer.map_err(|error| Failure::failed(&error))?)?;
        show(&page, json)?;
        match page.events.last().filter(|_| page.more) {
            Some(event) => ask = EventsAsk { after: Some(event.number), ..EventsAsk::default() },
            None => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// As they come, until the node ends.
async fn tell(client: &mut Client, ask: EventsAsk, json: bool) -> Result<ExitCode, Failure> {
    let mut answer = client.ask(&Ask::Events(ask)).await;
    let mut is_told = false;
    loop {
        match answer {
            Ok(answer) => show(&page(answer)?, json)?,
            // It has said something before: that is its end, not a failure.
            Err(error @ ClientError::Ended { .. }) if is_told => {
                eprintln!("evertree: {error}");
                return Ok(ExitCode::SUCCESS);
            }
            Err(error) => return Err(Failure::failed(&error)),
        }
        is_told = true;
        answer = client.next().await;
    }
}

fn page(answer: Answer) -> Result<EventsPage, Failure> {
    match answer {
        Answer::Events(page) => Ok(page),
        other => not_asked(&other),
    }
}

/// One line for each event, and one for those that were missed.
fn show(page: &EventsPage, json: bool) -> Result<(), Failure> {
    if page.missed > 0 {
        let missed = page.missed;
        if json {
            print::json_line(&json!({ "missed": missed }))?;
        } else {
            print::text(&format!("{missed} events are missing here: they are kept no longer\n"))?;
        }
    }
    for event in &page.events {
        if json {
            let value = serde_json::to_value(event);
            print::json_line(&value.map_err(|error| Failure::failed(&error))?)?;
        } else {
            print::text(&format!("{event}\n"))?;
        }
    }
    Ok(())
}
