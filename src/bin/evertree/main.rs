//! The command that operators live with: it runs a node, makes certificates, and says what is
//! configured. `docs/operating.md` is its page.

mod asked;
mod certs;
mod config;
mod drain;
mod events;
mod node;
mod nodes;
mod print;
mod recover;
mod ring;
mod set;
mod settings;
mod shards;
mod voters;
mod whereabouts;

use std::fmt;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What was asked is not done, or the node ended by itself.
const EXIT_FAILED: u8 = 1;
/// What was asked cannot be done as it is configured. clap exits with the same for flags.
const EXIT_CONFIG: u8 = 2;

/// Runs nodes of an Evertree cluster, and looks after them.
#[derive(Debug, Parser)]
#[command(name = "evertree", version, after_help = AFTER_HELP)]
struct Evertree {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Settings come from defaults, the file (--config FILE or EVERTREE_CONFIG), variables \
EVERTREE_<SETTING>, and flags, each over the ones before; `evertree config show` says which.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a node until SIGINT or SIGTERM
    Node(node::NodeArgs),
    /// Lists the members, as they say they are and as each observes the others
    Nodes(nodes::NodesArgs),
    /// Shares of the ring, the owner of a key, and what a join or a loss would move
    Ring(ring::RingArgs),
    /// Who agrees on the views, how far each voter is, and how many may fail
    Voters(voters::VotersArgs),
    /// Who owns and holds how many shards, which are not as they should be, and each
    Shards(shards::ShardsArgs),
    /// Where an entity is: its shard, owner, epoch, and the stores that hold it
    Where(whereabouts::WhereArgs),
    /// What changed in the view, and why; with --follow as it comes
    Events(events::EventsArgs),
    /// A member hands over what it has, from now on or (--cancel) no longer
    Drain(drain::DrainArgs),
    /// The node that is asked hands over what it has and leaves for good; its process ends
    Leave(drain::LeaveArgs),
    /// Sets constants of the cluster, after it has shown what follows
    Set(set::SetArgs),
    /// Begins a new quorum when too few voters are left, while no node runs; or follows one
    Recover(recover::RecoverArgs),
    /// Makes and renews certificates
    #[command(subcommand)]
    Certs(certs::CertsCommand),
    /// What is configured, and where each value comes from
    #[command(subcommand)]
    Config(config::ConfigCommand),
}

/// What a node answered to a question of another kind.
fn not_asked<T>(answer: &evertree::admin::Answer) -> Result<T, Failure> {
    Err(Failure::failed(&format!("the node answered something else: {answer:?}")))
}

/// Why a command ends without success.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    /// For standard error; may have several lines.
    text: String,
}

impl Failure {
    /// It did not work.
    pub(crate) fn failed(text: &(impl fmt::Display + ?Sized)) -> Self {
        Self { code: EXIT_FAILED, text: text.to_string() }
    }

    /// It cannot work as it is configured.
    pub(crate) fn config(text: &(impl fmt::Display + ?Sized)) -> Self {
        Self { code: EXIT_CONFIG, text: text.to_string() }
    }
}

/// Leaves panics to the hook that is there, but for those of reading a damaged file: they are
/// caught, and told as an error in plain words.
fn hook_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !evertree::storage::reads_what_may_be_damaged() {
            before(panic);
        }
    }));
}

fn main() -> ExitCode {
    hook_panics();
    let done = match Evertree::parse().command {
        Command::Node(args) => node::run(&args),
        Command::Nodes(args) => nodes::run(&args),
        Command::Ring(args) => ring::run(&args),
        Command::Voters(args) => voters::run(&args),
        Command::Shards(args) => shards::run(&args),
        Command::Where(args) => whereabouts::run(&args),
        Command::Events(args) => events::run(&args),
        Command::Drain(args) => drain::run(&args),
        Command::Leave(args) => drain::leave(&args),
        Command::Set(args) => set::run(&args),
        Command::Recover(args) => recover::run(&args),
        Command::Certs(command) => certs::run(&command),
        Command::Config(command) => config::run(&command),
    };
    done.unwrap_or_else(|failure| {
        for line in failure.text.lines() {
            eprintln!("evertree: {line}");
        }
        ExitCode::from(failure.code)
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Evertree;

    #[test]
    fn the_commands_are_put_together_as_clap_wants_them() {
        Evertree::command().debug_assert();
    }
}
