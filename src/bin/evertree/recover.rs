//! `evertree recover`: a new quorum from the directory of one survivor, when too few voters of the
//! old one are left; and the others follow it. No node may run on the directory.

use std::process::ExitCode;

use evertree::base::{ClusterId, NodeId};
use evertree::node::{NodeConfig, Recovery, follow_quorum};
use serde_json::json;

use crate::asked::block_on;
use crate::settings::{Flags, Layers, Told};
use crate::{Failure, print};

/// Flags of `evertree recover`; those of `evertree node` besides.
#[derive(Debug, clap::Args)]
#[group(id = "how", required = true, multiple = false, args = ["new_quorum", "follow"])]
pub(crate) struct RecoverArgs {
    /// Begin a new quorum of this node alone; what only the lost voters knew is given up
    #[arg(long)]
    new_quorum: bool,
    /// The voters that are lost for good, with commas between: all but this node
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "new_quorum")]
    lost: Vec<NodeId>,
    /// Follow the new quorum of this cluster id, with the records that this node holds
    #[arg(long, value_name = "CLUSTER-ID", value_parser = cluster_id)]
    follow: Option<ClusterId>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

/// 64 hex digits.
fn cluster_id(text: &str) -> Result<ClusterId, String> {
    let expected = || String::from("expected the 64 hex digits that --new-quorum has printed");
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(expected());
    }
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| expected())?;
    }
    Ok(ClusterId(bytes))
}

pub(crate) fn run(args: &RecoverArgs) -> Result<ExitCode, Failure> {
    let layers = Layers::read(&args.flags);
    let config = Told::of(&layers).map_err(|error| Failure::config(&error))?.config;
    match args.follow {
        // The directory's worker runs beside a runtime, whatever is done with it.
        Some(cluster) => block_on(async { follow(args, &config, cluster) })?,
        None => block_on(new_quorum(args, &config))?,
    }
}

async fn new_quorum(args: &RecoverArgs, config: &NodeConfig) -> Result<ExitCode, Failure> {
    let lost = args.lost.iter().cloned().collect();
    let recovery = Recovery::look(config, &lost).map_err(|error| Failure::failed(&error))?;
    if !args.yes {
        print::report(args.json, recovery.report())?;
        print::confirmed(args.json, "Is this to be begun?")?;
    }
    let wait = recovery.report().wait;
    eprintln!("evertree: waiting {wait:?}, until no lease can be valid any more");
    let begun = recovery.begin().await.map_err(|error| Failure::failed(&error))?;
    print::report(args.json, &begun)?;
    Ok(ExitCode::SUCCESS)
}

fn follow(
    args: &RecoverArgs,
    config: &NodeConfig,
    cluster: ClusterId,
) -> Result<ExitCode, Failure> {
    if !args.yes {
        let name = &config.name;
        eprintln!(
            "{name} forgets what it voted, and follows cluster {cluster} from its next start"
        );
        print::confirmed(args.json, "Is it to?")?;
    }
    follow_quorum(config, cluster).map_err(|error| Failure::failed(&error))?;
    if args.json {
        print::json(&json!({ "node": config.name, "cluster": cluster.to_string() }))?;
    } else {
        print::text(&format!("{} follows cluster {cluster} from its next start\n", config.name))?;
    }
    Ok(ExitCode::SUCCESS)
}
