//! `evertree certs`: a certificate authority in a directory, and the certificates of its nodes.
//!
//! Keys are for their owner alone from their first byte. Nothing is overwritten, but a node's
//! certificate when it is renewed: by a rename, so that whoever reads it finds the old one or the
//! new one. A renewed certificate is for the same key, so the key may be on the node alone.

mod files;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use evertree::base::{BootClock, Clock as _, NameError, NodeId};
use evertree::transport::certs::{Authority, CertsError, Issued, Moment, Validity};
use serde_json::json;

use crate::settings::{CLUSTER, Value};
use crate::{Failure, print};
use files::{Directory, Write};

/// Validity of an authority, in days.
const AUTHORITY_DAYS: u32 = 3_650;
/// Longest validity of a node, in days.
const NODE_DAYS_MAX: i64 = 3_650;
/// Certificates are valid from so long ago, because clocks of nodes differ.
const BACKDATED: Duration = Duration::from_hours(1);

/// `evertree certs ..`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum CertsCommand {
    /// Makes an authority: ca.pem and ca.key, valid for ten years
    Init(InitArgs),
    /// Makes certificate and key of a node: NAME.pem and NAME.key
    Issue(NodeArgs),
    /// Replaces the certificate of a node, NAME.pem; its key stays
    ///
    /// For a new key, move NAME.pem and NAME.key away and issue them again.
    Renew(NodeArgs),
}

#[derive(Debug, clap::Args)]
struct PlaceArgs {
    /// Directory with ca.pem and ca.key
    #[arg(long, value_name = "PATH", default_value = "certs")]
    dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Flags of `evertree certs init`.
#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {
    /// Name of the cluster, which will stand in every certificate
    #[arg(long, value_name = "NAME")]
    cluster: String,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Flags of `evertree certs issue` and `renew`.
#[derive(Debug, clap::Args)]
pub(crate) struct NodeArgs {
    /// Name of the node
    name: String,
    /// How long the certificate is valid
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 365,
        value_parser = clap::value_parser!(u32).range(1..=NODE_DAYS_MAX)
    )]
    days: u32,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What was done, and what is to be done next.
struct Done {
    node: Option<NodeId>,
    cluster: String,
    files: Vec<PathBuf>,
    until: Moment,
    /// Lines; commands are indented.
    said: String,
}

pub(crate) fn run(command: &CertsCommand) -> Result<ExitCode, Failure> {
    let (done, place) = match command {
        CertsCommand::Init(args) => (init(args)?, &args.place),
        CertsCommand::Issue(args) => (issue(args)?, &args.place),
        CertsCommand::Renew(args) => (renew(args)?, &args.place),
    };
    if place.json {
        print::json(&json!({
            "node": done.node,
            "cluster": done.cluster,
            "files": done.files,
            "valid_until": done.until.to_string(),
            "valid_until_unix": done.until,
        }))?;
    } else {
        print::text(&done.said)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn init(args: &InitArgs) -> Result<Done, Failure> {
    let Ok(Value::Text(cluster)) = CLUSTER.kind.of_text(&args.cluster) else {
        let expected = CLUSTER.kind.expected();
        let text = format!("flag --cluster: {:?}: expected {expected}", args.cluster);
        return Err(Failure::config(&text));
    };
    let directory = Directory::make(&args.place.dir)?;
    directory.has_none(
        &["ca.pem", "ca.key"],
        "there is an authority already; use it, or give another directory",
    )?;
    let authority = Authority::valid(&cluster, validity(AUTHORITY_DAYS))?;
    let (pem, key) = (authority.ca_pem(), authority.key_pem());
    let files = directory.write(&[Write::key("ca.key", &key), Write::open("ca.pem", &pem)])?;
    let until = Issued::read(&pem)?.until;
    let dir = args.place.dir.display();
    let said = format!(
        "made the authority of {cluster}, valid until {until}:\n  {dir}/ca.pem, which every node \
         is given\n  {dir}/ca.key, which stays here: whoever has it can be any node\nnext, for \
         each node:\n  evertree certs issue NAME --dir {dir}\n"
    );
    Ok(Done { node: None, cluster, files, until, said })
}

fn issue(args: &NodeArgs) -> Result<Done, Failure> {
    let (name, directory, authority) = opened(args)?;
    let names = [format!("{name}.pem"), format!("{name}.key")];
    let [pem_name, key_name] = &names;
    let next = format!(
        "renew the certificate with `evertree certs renew {name}`; for a new key, or after a run \
         that was cut short, move {pem_name} and {key_name} away first"
    );
    directory.has_none(&names, &next)?;
    let (pem, key) = authority.issue_node_valid(name.as_str(), validity(args.days))?;
    let until = ends_with(&authority, &pem)?;
    let files = directory.write(&[Write::key(key_name, &key), Write::open(pem_name, &pem)])?;
    let (dir, cluster) = (args.place.dir.display(), authority.cluster_name().to_owned());
    let said = format!(
        "made {dir}/{pem_name} and {dir}/{key_name}, valid until {until}\nnext: give the node \
         ca.pem, {pem_name} and {key_name} (never ca.key), and start it:\n  evertree node --name \
         {name} --cluster {cluster} --ca {dir}/ca.pem --cert {dir}/{pem_name} --key \
         {dir}/{key_name} --data DIR \\\n    --listen HOST:PORT --join HOST:PORT,HOST:PORT,.. \
         --expect N\n(N empty nodes form the cluster; without --join it forms one alone)\n"
    );
    Ok(Done { node: Some(name), cluster, files, until, said })
}

fn renew(args: &NodeArgs) -> Result<Done, Failure> {
    let (name, directory, authority) = opened(args)?;
    let pem_name = format!("{name}.pem");
    let path = args.place.dir.join(&pem_name);
    if !path.exists() {
        let path = path.display();
        let text = format!("there is no {path} to renew: `evertree certs issue {name}` makes one");
        return Err(Failure::failed(&text));
    }
    let present = directory.read(&pem_name)?;
    let wrong = |error: CertsError| Failure::failed(&format!("{}: {error}", path.display()));
    let was = Issued::read(&present).map_err(wrong)?.until;
    let pem = authority.renew_node(name.as_str(), &present, validity(args.days)).map_err(wrong)?;
    let until = ends_with(&authority, &pem)?;
    let files = vec![directory.replace(&pem_name, &pem)?];
    let cluster = authority.cluster_name().to_owned();
    let said = format!(
        "renewed {}, valid until {until} (before: {was}); its key is the same\nnext: give the \
         node {pem_name}, if it runs elsewhere, and let it read the file:\n  kill -HUP PROCESS\n",
        path.display()
    );
    Ok(Done { node: Some(name), cluster, files, until, said })
}

/// The node, the directory, and the authority in it.
fn opened(args: &NodeArgs) -> Result<(NodeId, Directory, Authority), Failure> {
    let name: NodeId = args.name.parse().map_err(|error: NameError| Failure::config(&error))?;
    let directory = Directory::open(&args.place.dir)?;
    let (ca, key) = (directory.read("ca.pem")?, directory.read_key("ca.key")?);
    let wrong = |error| {
        let dir = args.place.dir.display();
        Failure::failed(&format!("{dir}/ca.pem and {dir}/ca.key: {error}"))
    };
    Ok((name, directory, Authority::from_pem(&ca, &key).map_err(wrong)?))
}

fn validity(days: u32) -> Validity {
    Validity { from: BootClock.unix().saturating_sub(BACKDATED), days }
}

/// When a certificate ends, which must not be after its authority.
fn ends_with(authority: &Authority, pem: &str) -> Result<Moment, Failure> {
    let last = Issued::read(&authority.ca_pem())?.until;
    let until = Issued::read(pem)?.until;
    if until > last {
        return Err(Failure::config(&format!(
            "the certificate would end on {until}, after its authority, on {last}: give fewer \
             --days, or make another authority"
        )));
    }
    Ok(until)
}

impl From<CertsError> for Failure {
    fn from(error: CertsError) -> Self {
        Self::failed(&error)
    }
}
