//! A certificate authority for development and tests, and the certificates of its nodes.
//!
//! Keys are Ed25519 and serial numbers have one length, so that records of a handshake are as long
//! in one run as in the next. The authority's key lives only as long as the value: whoever needs
//! certificates that outlast a run brings an authority of their own.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ED25519, SanType, SerialNumber,
};

/// First byte of every serial number: positive, and never a leading zero.
const SERIAL_BASE: u64 = 0x4000_0000_0000_0000;
/// Year from whose start certificates are valid: long before any clock that is set.
const VALID_FROM: i32 = 1975;

/// Makes certificates for the nodes of one cluster.
pub struct Authority {
    cluster_name: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
    issued: AtomicU64,
}

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a certificate: {0}")]
pub struct CertsError(String);

impl From<rcgen::Error> for CertsError {
    fn from(error: rcgen::Error) -> Self {
        Self(error.to_string())
    }
}

impl Authority {
    /// A new authority for the cluster of this name.
    ///
    /// # Errors
    /// [`CertsError`] if the name cannot stand in a certificate.
    pub fn new(cluster_name: &str) -> Result<Self, CertsError> {
        let mut params = params(0, &format!("evertree authority of {cluster_name}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let issuer = CertifiedIssuer::self_signed(params, key)?;
        Ok(Self { cluster_name: cluster_name.into(), issuer, issued: AtomicU64::new(0) })
    }

    /// The authority's own certificate, as PEM: what every node is told to trust.
    #[must_use]
    pub fn ca_pem(&self) -> String {
        self.issuer.pem()
    }

    /// Certificate and private key, as PEM, of the node `name`.
    ///
    /// # Errors
    /// [`CertsError`] if the name cannot stand in a certificate.
    pub fn issue_node(&self, name: &str) -> Result<(String, String), CertsError> {
        let uri = format!("spiffe://{}/node/{name}", self.cluster_name);
        self.issue(&[&uri], 4096)
    }

    /// A certificate with these names, valid until the start of `year`.
    pub(super) fn issue(&self, uris: &[&str], year: i32) -> Result<(String, String), CertsError> {
        self.issue_between(uris, [VALID_FROM, year])
    }

    /// A certificate with these names, valid from the start of one year to that of another.
    pub(super) fn issue_between(
        &self,
        uris: &[&str],
        [from, to]: [i32; 2],
    ) -> Result<(String, String), CertsError> {
        let serial = self.issued.fetch_add(1, Ordering::Relaxed) + 1;
        let mut params = params(serial, "evertree node");
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        for uri in uris {
            let uri = (*uri).try_into().map_err(|_| CertsError(format!("{uri:?} is no URI")))?;
            params.subject_alt_names.push(SanType::URI(uri));
        }
        self.sign(&params)
    }

    /// A certificate with this name that is itself one of an authority.
    #[cfg(test)]
    pub(super) fn issue_authority(&self, uri: &str) -> Result<(String, String), CertsError> {
        let mut params = params(self.issued.fetch_add(1, Ordering::Relaxed) + 1, "evertree node");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let uri = uri.try_into().map_err(|_| CertsError(format!("{uri:?} is no URI")))?;
        params.subject_alt_names.push(SanType::URI(uri));
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Result<(String, String), CertsError> {
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let cert = params.signed_by(&key, &self.issuer)?;
        Ok((cert.pem(), key.serialize_pem()))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({})", self.cluster_name)
    }
}

fn params(serial: u64, name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from(SERIAL_BASE + serial));
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
