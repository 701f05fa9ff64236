//! A certificate authority, and the certificates of the nodes of its cluster.
//!
//! Keys are Ed25519 and serial numbers have one length, so that records of a handshake are as long
//! in one run as in the next. The authority of [`Authority::new`] is for development and tests: its
//! key lives only as long as the value, and its certificates are valid for centuries. The command
//! `evertree certs` keeps one in files, with [`Authority::valid`] and `Authority::from_pem`.

use std::fmt;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SanType, SerialNumber,
};

use crate::base::{Rng as _, SeededRng};

#[cfg(feature = "cli")]
mod read;

#[cfg(feature = "cli")]
pub use read::{Issued, Moment};

/// First byte of every serial number: positive, and never a leading zero.
const SERIAL_BASE: u64 = 0x4000_0000_0000_0000;
/// The bits of a serial number that are drawn: 62, so that no two of an authority meet.
const SERIAL_DRAWN: u64 = SERIAL_BASE - 1;
/// Year from whose start certificates are valid: long before any clock that is set.
const VALID_FROM: i32 = 1975;
const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// Makes certificates for the nodes of one cluster.
pub struct Authority {
    cluster_name: String,
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    rng: SeededRng,
}

/// How long a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Wall-clock time since 1970 from which it is; whole seconds count.
    pub from: Duration,
    /// For so many days of 24 hours. Certificates end before the year 10,000.
    pub days: u32,
}

/// Why a certificate could not be made, or read back.
#[derive(Debug, thiserror::Error)]
#[error("certificates: {0}")]
pub struct CertsError(String);

impl From<rcgen::Error> for CertsError {
    fn from(error: rcgen::Error) -> Self {
        Self(error.to_string())
    }
}

impl Authority {
    /// A new authority for the cluster of this name, valid until the year 4096.
    ///
    /// # Errors
    /// [`CertsError`] if the name cannot stand in a certificate.
    pub fn new(cluster_name: &str) -> Result<Self, CertsError> {
        Self::make(cluster_name, authority_params(cluster_name)?)
    }

    /// A new authority for the cluster of this name.
    ///
    /// # Errors
    /// [`CertsError`] if the name cannot stand in a certificate, or the time is out of range.
    pub fn valid(cluster_name: &str, validity: Validity) -> Result<Self, CertsError> {
        let mut params = authority_params(cluster_name)?;
        set_validity(&mut params, validity)?;
        Self::make(cluster_name, params)
    }

    fn make(cluster_name: &str, mut params: CertificateParams) -> Result<Self, CertsError> {
        let rng = SeededRng::from_os();
        params.serial_number = Some(serial(&rng));
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let pem = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        Ok(Self { cluster_name: cluster_name.into(), issuer, pem, rng })
    }

    /// The cluster whose nodes it makes certificates for.
    #[must_use]
    pub fn cluster_name(&self) -> &str {
        &self.cluster_name
    }

    /// The authority's own certificate, as PEM: what every node is told to trust.
    #[must_use]
    pub fn ca_pem(&self) -> String {
        self.pem.clone()
    }

    /// The authority's private key, as PEM. Whoever has it can be any node.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Certificate and private key, as PEM, of the node `name`, valid until the year 4096.
    ///
    /// # Errors
    /// [`CertsError`] if the name cannot stand in a certificate.
    pub fn issue_node(&self, name: &str) -> Result<(String, String), CertsError> {
        self.issue(&[&self.node_uri(name)], 4096)
    }

    /// Certificate and private key, as PEM, of the node `name`.
    ///
    /// # Errors
    /// [`CertsError`] if the name cannot stand in a certificate, or the time is out of range.
    pub fn issue_node_valid(
        &self,
        name: &str,
        validity: Validity,
    ) -> Result<(String, String), CertsError> {
        let mut params = self.node_params(&[&self.node_uri(name)])?;
        set_validity(&mut params, validity)?;
        self.sign_new(&params)
    }

    fn node_uri(&self, name: &str) -> String {
        format!("spiffe://{}/node/{name}", self.cluster_name)
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
        let mut params = self.node_params(uris)?;
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        self.sign_new(&params)
    }

    /// A certificate with this name that is itself one of an authority.
    #[cfg(test)]
    pub(super) fn issue_authority(&self, uri: &str) -> Result<(String, String), CertsError> {
        let mut params = params(serial(&self.rng), "evertree node");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.subject_alt_names.push(uri_name(uri)?);
        self.sign_new(&params)
    }

    fn node_params(&self, uris: &[&str]) -> Result<CertificateParams, CertsError> {
        let mut params = params(serial(&self.rng), "evertree node");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        for uri in uris {
            params.subject_alt_names.push(uri_name(uri)?);
        }
        Ok(params)
    }

    /// Signs for a key made now.
    fn sign_new(&self, params: &CertificateParams) -> Result<(String, String), CertsError> {
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        Ok((self.sign(params, &key)?, key.serialize_pem()))
    }

    fn sign(
        &self,
        params: &CertificateParams,
        key: &impl PublicKeyData,
    ) -> Result<String, CertsError> {
        Ok(params.signed_by(key, &self.issuer)?.pem())
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({})", self.cluster_name)
    }
}

fn authority_params(cluster_name: &str) -> Result<CertificateParams, CertsError> {
    let serial = SerialNumber::from(SERIAL_BASE);
    let mut params = params(serial, &format!("evertree authority of {cluster_name}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // X.509-SVID 3.1: the name of a signing certificate is that of its trust domain, without path.
    params.subject_alt_names.push(uri_name(&format!("spiffe://{cluster_name}"))?);
    Ok(params)
}

fn params(serial: SerialNumber, name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.serial_number = Some(serial);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn serial(rng: &SeededRng) -> SerialNumber {
    SerialNumber::from(SERIAL_BASE | rng.next_u64() & SERIAL_DRAWN)
}

fn uri_name(uri: &str) -> Result<SanType, CertsError> {
    let uri = uri.try_into().map_err(|_| CertsError(format!("{uri:?} is no URI")))?;
    Ok(SanType::URI(uri))
}

/// The whole seconds of `validity`, from the start of the first to the start of the last.
fn set_validity(params: &mut CertificateParams, validity: Validity) -> Result<(), CertsError> {
    let out_of_range = || CertsError(format!("{validity:?} does not end before the year 10000"));
    let start = rcgen::date_time_ymd(1970, 1, 1);
    let after = |span: Duration| {
        let span = Duration::from_secs(span.as_secs()).try_into().ok()?;
        start.checked_add(span)
    };
    let lasts = Duration::from_secs(u64::from(validity.days) * SECONDS_PER_DAY);
    params.not_before = after(validity.from).ok_or_else(out_of_range)?;
    params.not_after = after(validity.from + lasts).ok_or_else(out_of_range)?;
    Ok(())
}
