//! A certificate authority for development and tests, and the certificates of its nodes.

/// Makes certificates for the nodes of one cluster.
#[derive(Debug)]
pub struct Authority(());

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a certificate: {0}")]
pub struct CertsError(pub String);

impl Authority {
    /// A new authority for the cluster of this name.
    ///
    /// # Errors
    /// [`CertsError`].
    pub fn new(_cluster_name: &str) -> Result<Self, CertsError> {
        Ok(Self(()))
    }

    /// The authority's own certificate, as PEM: what every node is told to trust.
    #[must_use]
    pub fn ca_pem(&self) -> String {
        String::new()
    }

    /// Certificate and private key, as PEM, of the node `name`.
    ///
    /// # Errors
    /// [`CertsError`].
    pub fn issue_node(&self, _name: &str) -> Result<(String, String), CertsError> {
        Ok((String::new(), String::new()))
    }
}
