//! Which running node is asked, and how it is to be answered: the flags that all commands share
//! which talk to a node over the socket in its data directory.

use std::path::PathBuf;

use evertree::admin::{Answer, Ask, Client};

use crate::Failure;
use crate::settings::{DATA, Fault, Faults, Flags, Layers};

/// Runs `future` to its end.
///
/// # Errors
/// The operating system gives no runtime.
pub(crate) fn block_on<F: Future>(future: F) -> Result<F::Output, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(&format!("no runtime: {error}")))?;
    Ok(runtime.block_on(future))
}

/// Flags of a command that asks a running node.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Asked {
    /// Data directory of the node, if the file or `EVERTREE_DATA` does not name it
    #[arg(long, value_name = "PATH")]
    data: Option<String>,
    /// TOML file with settings [variable: `EVERTREE_CONFIG`]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl Asked {
    /// Asks the node, and waits for its answer.
    ///
    /// # Errors
    /// Which node is meant is not said, it does not run, or it does not answer that.
    pub(crate) fn ask(&self, ask: &Ask) -> Result<Answer, Failure> {
        let data = self.data()?;
        let answer = block_on(async { Client::connect(&data).await?.ask(ask).await })?;
        answer.map_err(|error| Failure::failed(&error))
    }

    /// The data directory of the node to ask, from the same layers as the node's own.
    ///
    /// # Errors
    /// All that is wrong in any layer, and that no layer names a directory.
    pub(crate) fn data(&self) -> Result<PathBuf, Failure> {
        let written = self.data.iter().map(|data| (DATA.key, data.clone())).collect();
        let layers = Layers::read(&Flags { config: self.config.clone(), written });
        let mut faults = layers.faults.clone();
        let data = layers.path(&DATA);
        if data.is_none() {
            let why = "it tells which running node is asked";
            faults.push(Fault::Missing { key: DATA.key, why });
        }
        data.filter(|_| faults.is_empty()).ok_or_else(|| Failure::config(&Faults(faults)))
    }
}
