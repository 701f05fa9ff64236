//! A node's certificates: read when it starts, and again on SIGHUP.

use std::time::Duration;

use evertree::base::{BootClock, Clock as _, NodeId};
use evertree::node::{Node, NodeConfig, Security};
use evertree::transport::certs::{Issued, Moment};
use evertree::transport::{TlsFiles, TlsTexts};

/// A certificate that ends sooner is told to the log whenever it is read.
const ENDS_SOON: Duration = Duration::from_hours(30 * 24);

/// Where they are, and whose they must be.
#[derive(Debug)]
pub(super) struct Certificates {
    files: TlsFiles,
    name: NodeId,
    cluster: String,
}

impl Certificates {
    pub(super) fn new(files: TlsFiles, config: &NodeConfig) -> Self {
        Self { files, name: config.name.clone(), cluster: config.cluster.clone() }
    }

    /// Reads the files, and judges what the links themselves do not tell by file: name and time.
    ///
    /// # Errors
    /// What is wrong, with the file, and what to do.
    pub(super) fn read(&self) -> Result<Security, String> {
        self.read_until().map(|(security, _)| security)
    }

    fn read_until(&self) -> Result<(Security, Moment), String> {
        let (name, path) = (&self.name, self.files.cert.display());
        let TlsTexts { ca, cert, key } = self.files.read().map_err(|error| error.to_string())?;
        let issued = Issued::read(&cert).map_err(|error| format!("{path}: {error}"))?;
        let uri = format!("spiffe://{}/node/{name}", self.cluster);
        if issued.uris != [uri.as_str()] {
            return Err(format!(
                "{path} is for {}, and name and cluster say {uri}: give {name} its own certificate",
                issued.uris.join(" and ")
            ));
        }
        let now = Moment(BootClock.unix().as_secs());
        if issued.until <= now {
            return Err(format!("{path} ended on {}: `evertree certs renew {name}`", issued.until));
        }
        if issued.until.0 <= now.0 + ENDS_SOON.as_secs() {
            tracing::warn!(%name, until = %issued.until, "the certificate ends soon: renew it");
        }
        let [authorities, certificate, key] = [ca, cert, key].map(String::into_bytes);
        Ok((Security::Tls { authorities, certificate, key }, issued.until))
    }
}

/// Reads the files again. If anything is wrong with them, the old certificates stay in force.
pub(super) fn reload(node: &Node, certificates: Option<&Certificates>) {
    let name = node.name();
    let Some(certificates) = certificates else {
        eprintln!("evertree: {name}: SIGHUP: its links are plain TCP, there are no certificates");
        return;
    };
    let replaced = certificates.read_until().and_then(|(security, until)| {
        node.replace_certificates(&security).map_err(|error| error.to_string())?;
        Ok(until)
    });
    match replaced {
        Ok(until) => eprintln!(
            "evertree: {name}: SIGHUP: certificates read again, new links use them until {until}"
        ),
        Err(error) => {
            eprintln!("evertree: {name}: SIGHUP: the old certificates stay in force: {error}");
        }
    }
}
