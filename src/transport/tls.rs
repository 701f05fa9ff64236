//! TLS 1.3 with certificates on both sides, and the name in them.
//!
//! A certificate carries exactly one URI: `spiffe://<cluster>/node/<name>`. The chain is judged
//! during the TLS handshake, the name right after it: then the other side can be told in words.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature};
use rustls::server::{ParsedCertificate, ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{
    AlertDescription, CertificateError, CipherSuite, ClientConfig, CommonState,
    DigitallySignedStruct, Error, HandshakeKind, OtherError, RootCertStore, ServerConfig,
    SignatureScheme, SupportedCipherSuite,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use webpki::KeyUsage;

mod files;

pub use files::{TlsFiles, TlsTexts};

use super::buffered::Buffered;
use crate::base::{Clock, NodeId, Stream};
use crate::ring::sha1;
use crate::wire::printable;

/// Of the cluster's name in somebody's certificate, so much is repeated.
const CLUSTER_NAME_CHARS_MAX: usize = 200;
/// Sessions that can be resumed, in each direction.
const SESSIONS_MAX: usize = 1_024;
/// Sessions to resume that each connection gives: one for every other class of it.
const TICKETS: usize = 2;

/// Certificate, key and trust of this node, ready for both directions.
pub struct TlsConfig {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    own: San,
    judge: Judge,
}

/// Judges the certificates of a session that was resumed.
struct Judge {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    time: Arc<dyn TimeProvider>,
}

impl Judge {
    fn chain(&self, chain: &[CertificateDer<'_>], usage: KeyUsage) -> Result<(), CertificateError> {
        let Some((end, intermediates)) = chain.split_first() else {
            return Err(CertificateError::UnknownIssuer);
        };
        let now = self.time.current_time().ok_or(CertificateError::Expired)?;
        let end =
            webpki::EndEntityCert::try_from(end).map_err(|_| CertificateError::BadEncoding)?;
        let (all, roots) = (self.algorithms.all, &self.roots.roots);
        let judged = end.verify_for_usage(all, roots, intermediates, now, usage, None, None);
        judged.map(drop).map_err(|error| match error {
            webpki::Error::CertExpired { .. } => CertificateError::Expired,
            webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
            webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer,
            other => CertificateError::Other(OtherError(Arc::new(other))),
        })
    }
}

/// Why certificate or key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(String);

impl TlsConfig {
    /// From PEM texts. `clock` says what time it is when certificates are judged.
    ///
    /// # Errors
    /// [`TlsError`] says which of the three is wrong, and how.
    pub fn from_pem(
        ca: &str,
        cert: &str,
        key: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TlsError> {
        Self::assemble([ca, cert, key], clock, San::of)
    }

    /// As [`TlsConfig::from_pem`], with `name` to find this node's name in its certificate.
    pub(super) fn assemble(
        [ca, cert, key]: [&str; 3],
        clock: Arc<dyn Clock>,
        name: impl Fn(&CertificateDer<'_>) -> Result<San, String>,
    ) -> Result<Self, TlsError> {
        let wrong = |what: &str, why: &dyn fmt::Display| TlsError(format!("the {what}: {why}"));
        let roots = roots(ca)?;
        let chain = certificates("node's certificate", cert)?;
        let own = chain.first().ok_or_else(|| wrong("node's certificate", &"it is empty"))?;
        let own = name(own).map_err(|error| wrong("node's certificate", &error))?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|error| wrong("node's private key", &error))?;

        let provider = Arc::new(provider());
        let time: Arc<dyn TimeProvider> = Arc::new(Wall(clock));
        let algorithms = provider.signature_verification_algorithms;
        let judge = Judge { roots: roots.clone(), algorithms, time: time.clone() };
        let acceptor =
            server(&provider, time.clone(), roots.clone(), (chain.clone(), key.clone_key()))?;
        let connector = client(&provider, time, roots, (chain, key))?;
        Ok(Self { acceptor, connector, own, judge })
    }

    /// The name in this node's own certificate.
    pub(super) const fn own(&self) -> &San {
        &self.own
    }

    /// The TLS handshake of the accepting side.
    pub(super) async fn accept(&self, stream: Stream) -> Result<Secured, String> {
        let stream =
            self.acceptor.accept(Buffered::new(stream)).await.map_err(|error| explain(&error))?;
        let session = stream.get_ref().1;
        let (proof, resumed) = self.proof(session, KeyUsage::client_auth());
        Ok(Secured { stream: Box::new(stream), proof: Some(proof), resumed })
    }

    /// The TLS handshake of the dialling side. The other side has not judged us yet.
    pub(super) async fn connect(
        &self,
        stream: Stream,
        to: Option<&NodeId>,
    ) -> Result<Secured, String> {
        // Never sent: names are in the URI, and are compared after the handshake. Sessions are
        // kept by it, so that one is resumed only with the node it was made with.
        let name = to.map_or_else(|| "evertree".into(), session_name);
        let name = ServerName::try_from(name).map_err(|error| error.to_string())?;
        let stream = self
            .connector
            .connect(name, Buffered::new(stream))
            .await
            .map_err(|error| explain(&error))?;
        let session = stream.get_ref().1;
        let (proof, resumed) = self.proof(session, KeyUsage::server_auth());
        Ok(Secured { stream: Box::new(stream), proof: Some(proof), resumed })
    }

    /// What the other side has proved. A session that was resumed shows the certificate of then:
    /// it is judged again, as of now.
    fn proof(&self, session: &CommonState, usage: KeyUsage) -> (Proof, bool) {
        let chain = session.peer_certificates().unwrap_or_default();
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        let judged = if resumed { self.judge.chain(chain, usage) } else { Ok(()) };
        let proof = judged
            .map_err(|error| explain_certificate(&error))
            .and_then(|()| San::of(chain.first().ok_or("it showed no certificate")?));
        (proof, resumed)
    }
}

/// A connection after the TLS handshake.
pub(super) struct Secured {
    pub(super) stream: Stream,
    /// `None` without TLS.
    pub(super) proof: Option<Proof>,
    pub(super) resumed: bool,
}

impl fmt::Debug for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secured({:?})", self.proof)
    }
}

/// The ciphers and algorithms spoken: those of rustls, AES-128 before AES-256, which has 14 rounds
/// where 10 are enough.
fn provider() -> CryptoProvider {
    let mut provider = ring::default_provider();
    let is_first =
        |suite: &SupportedCipherSuite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256;
    provider.cipher_suites.sort_by_key(|suite| !is_first(suite));
    provider
}

/// A name of host that stands for a node: its own may not be one.
fn session_name(node: &NodeId) -> String {
    let hash = sha1(&[node.as_str().as_bytes()]);
    hash.iter().fold(String::from("n"), |name, byte| format!("{name}{byte:02x}"))
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsConfig({})", self.own)
    }
}

/// What the other side's certificate says: a name, or why it has no usable one.
pub(super) type Proof = Result<San, String>;

/// What a certificate allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A member of the cluster.
    Node,
    /// Somebody who asks entities, and is no member.
    Client,
}

/// The name in a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct San {
    pub(super) cluster_name: String,
    pub(super) role: Role,
    pub(super) name: NodeId,
}

impl San {
    pub(super) fn node(cluster_name: &str, node: &NodeId) -> Self {
        Self { cluster_name: cluster_name.into(), role: Role::Node, name: node.clone() }
    }

    fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let certificate = webpki::EndEntityCert::try_from(certificate)
            .map_err(|error| format!("it does not decode: {error}"))?;
        let uris: Vec<&str> = certificate.valid_uri_names().collect();
        let [uri] = uris[..] else {
            return Err(format!(
                "it carries {} URI names, and must carry exactly one: \
                 spiffe://<cluster>/node/<name>",
                uris.len()
            ));
        };
        Self::parse(uri).ok_or_else(|| {
            format!("its name is {uri:?}, and must be spiffe://<cluster>/node/<name>")
        })
    }

    fn parse(uri: &str) -> Option<Self> {
        let (cluster_name, path) = uri.strip_prefix("spiffe://")?.split_once('/')?;
        let (role, name) = match path.split_once('/')? {
            ("node", name) => (Role::Node, name),
            ("client", name) => (Role::Client, name),
            _ => return None,
        };
        let name = name.parse().ok()?;
        (!cluster_name.is_empty()).then(|| Self { cluster_name: cluster_name.into(), role, name })
    }
}

impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            Role::Node => "node",
            Role::Client => "client",
        };
        let cluster_name = printable(&self.cluster_name, CLUSTER_NAME_CHARS_MAX);
        write!(f, "spiffe://{cluster_name}/{role}/{}", self.name)
    }
}

type Own = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn server(
    provider: &Arc<CryptoProvider>,
    time: Arc<dyn TimeProvider>,
    roots: Arc<RootCertStore>,
    (chain, key): Own,
) -> Result<TlsAcceptor, TlsError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|error| TlsError(format!("the authority's certificate: {error}")))?;
    let mut config = ServerConfig::builder_with_details(provider.clone(), time)
        .with_protocol_versions(&[&TLS13])
        .and_then(|builder| {
            builder.with_client_cert_verifier(verifier).with_single_cert(chain, key)
        })
        .map_err(|error| TlsError(format!("certificate and key of the node: {error}")))?;
    // Kept here and not in the ticket: a session is forgotten with this configuration.
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
    config.send_tls13_tickets = TICKETS;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn client(
    provider: &Arc<CryptoProvider>,
    time: Arc<dyn TimeProvider>,
    roots: Arc<RootCertStore>,
    (chain, key): Own,
) -> Result<TlsConnector, TlsError> {
    let algorithms = provider.signature_verification_algorithms;
    let mut config = ClientConfig::builder_with_details(provider.clone(), time)
        .with_protocol_versions(&[&TLS13])
        .and_then(|builder| {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(OfAuthority { roots, algorithms }))
                .with_client_auth_cert(chain, key)
        })
        .map_err(|error| TlsError(format!("certificate and key of the node: {error}")))?;
    config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
    config.enable_sni = false;
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The authorities in a PEM text.
pub(super) fn roots(ca: &str) -> Result<Arc<RootCertStore>, TlsError> {
    let what = "authority's certificate";
    let mut roots = RootCertStore::empty();
    for root in certificates(what, ca)? {
        roots.add(root).map_err(|error| TlsError(format!("the {what}: {error}")))?;
    }
    Ok(Arc::new(roots))
}

fn certificates(what: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match all {
        Ok(all) if all.is_empty() => {
            Err(TlsError(format!("the {what}: there is no PEM certificate in it")))
        }
        Ok(all) => Ok(all),
        Err(error) => Err(TlsError(format!("the {what}: {error}"))),
    }
}

/// The wall clock of the node, as certificates are judged by.
#[derive(Debug)]
struct Wall(Arc<dyn Clock>);

impl TimeProvider for Wall {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.unix()))
    }
}

/// Accepts a server by the chain to our authority. Its name is no host name: it is compared with
/// the node we mean once the handshake is through.
#[derive(Debug)]
pub(super) struct OfAuthority {
    pub(super) roots: Arc<RootCertStore>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for OfAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Says in plain words what went wrong on a connection, and what to do.
pub(super) fn explain(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(why)) => explain_certificate(why),
        Some(Error::AlertReceived(alert)) => explain_alert(*alert),
        Some(Error::NoCertificatesPresented) => {
            "the other side showed no certificate: only nodes with a certificate of this \
             cluster's authority may connect"
                .into()
        }
        Some(Error::InvalidMessage(_)) => {
            "the other side does not speak TLS: is it in insecure mode, or no node at all?".into()
        }
        Some(Error::PeerIncompatible(why)) => {
            format!("the other side speaks another TLS than 1.3, which nodes speak ({why:?})")
        }
        Some(other) => format!("TLS failed: {other}"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the other side closed the connection".into()
        }
        None => error.to_string(),
    }
}

fn explain_certificate(why: &CertificateError) -> String {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the other side's certificate has expired: renew it, or correct this node's clock"
                .into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the other side's certificate is not valid yet: correct this node's clock".into()
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the other side's certificate is not from the authority this node trusts: all nodes \
             of a cluster need certificates of one authority"
                .into()
        }
        other => format!("the other side's certificate is not accepted: {other}"),
    }
}

fn explain_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateExpired => {
            // The same alert stands for both.
            "the other side says that this node's certificate has expired: renew it; or that it is \
             not valid yet: correct the clock that is wrong"
                .into()
        }
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "the other side does not trust the authority of this node's certificate: all nodes of \
             a cluster need certificates of one authority"
                .into()
        }
        AlertDescription::CertificateRequired => {
            "the other side wants a certificate: configure this node with one".into()
        }
        other => format!("the other side refused this node's certificate or TLS: {other:?}"),
    }
}
