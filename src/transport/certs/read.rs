//! Certificates read back from PEM: what they say, and authorities that outlast a process.

use std::fmt;
use std::time::Duration;

use rcgen::{Issuer, KeyPair, SubjectPublicKeyInfo};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, UnixTime};
use serde::Serialize;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use super::{Authority, CertsError, Validity, set_validity};
use crate::base::SeededRng;

/// Seconds since 1970 on the wall clock; prints as `2027-11-26 07:00:00 UTC`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Moment(pub u64);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = rcgen::date_time_ymd(1970, 1, 1);
        let span = Duration::from_secs(self.0).try_into().ok();
        let Some(at) = span.and_then(|span| start.checked_add(span)) else {
            return write!(f, "{} s after 1970", self.0);
        };
        let month = u8::from(at.month());
        write!(f, "{:04}-{month:02}-{:02} ", at.year(), at.day())?;
        write!(f, "{:02}:{:02}:{:02} UTC", at.hour(), at.minute(), at.second())
    }
}

/// What a certificate says of itself. Nobody has judged it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// Its URI names.
    pub uris: Vec<String>,
    /// When it begins to be valid.
    pub from: Moment,
    /// When it ends.
    pub until: Moment,
    /// Whether it may sign others.
    pub is_authority: bool,
}

impl Issued {
    /// Reads the first certificate of a PEM.
    ///
    /// # Errors
    /// [`CertsError`] if there is none, or it does not decode.
    pub fn read(pem: &str) -> Result<Self, CertsError> {
        Self::of(&decoded(&der(pem)?)?)
    }

    fn of(certificate: &X509Certificate<'_>) -> Result<Self, CertsError> {
        let names = certificate.subject_alternative_name().map_err(wrong)?;
        let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
        let uri = |name: &GeneralName<'_>| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        };
        let validity = certificate.validity();
        let moment = |seconds: i64| Moment(u64::try_from(seconds).unwrap_or(0));
        Ok(Self {
            uris: names.iter().filter_map(uri).collect(),
            from: moment(validity.not_before.timestamp()),
            until: moment(validity.not_after.timestamp()),
            is_authority: certificate.is_ca(),
        })
    }

    /// The cluster of an authority: the part after `spiffe://` of the one URI it carries.
    #[must_use]
    pub fn cluster_name(&self) -> Option<&str> {
        let [uri] = self.uris.as_slice() else { return None };
        let name = uri.strip_prefix("spiffe://")?;
        (!name.is_empty() && !name.contains('/')).then_some(name)
    }
}

impl Authority {
    /// The authority of [`Authority::ca_pem`] and [`Authority::key_pem`].
    ///
    /// # Errors
    /// [`CertsError`] if one of them does not decode, they do not belong together, or the
    /// certificate is not that of an authority that this crate made.
    pub fn from_pem(ca: &str, key: &str) -> Result<Self, CertsError> {
        let der = der(ca)?;
        let certificate = decoded(&der)?;
        let issued = Issued::of(&certificate)?;
        let cluster_name = issued.cluster_name().filter(|_| issued.is_authority);
        let cluster_name = cluster_name.ok_or_else(|| {
            CertsError("this is not an authority's: its one URI must be spiffe://<cluster>".into())
        })?;
        let key = KeyPair::from_pem(key)?;
        if certificate.public_key().subject_public_key.data != key.public_key_raw() {
            return Err(CertsError("the authority's key does not belong to it".into()));
        }
        Ok(Self {
            cluster_name: cluster_name.into(),
            issuer: Issuer::from_ca_cert_der(&der, key)?,
            pem: ca.into(),
            rng: SeededRng::from_os(),
        })
    }

    /// A new certificate, as PEM, of the node `name` for the key of its present one: whoever has
    /// the key goes on with it.
    ///
    /// # Errors
    /// [`CertsError`] if the present one is not of this authority and for this node. It may have
    /// ended.
    pub fn renew_node(
        &self,
        name: &str,
        present: &str,
        validity: Validity,
    ) -> Result<String, CertsError> {
        let der = der(present)?;
        let certificate = decoded(&der)?;
        let issued = Issued::of(&certificate)?;
        let uri = self.node_uri(name);
        if issued.uris != [uri.as_str()] {
            return Err(CertsError(format!("it is for {:?}, and not for {uri:?}", issued.uris)));
        }
        self.has_signed(&der, issued.from)?;
        let key = SubjectPublicKeyInfo::from_der(certificate.public_key().raw)?;
        let mut params = self.node_params(&[&uri])?;
        set_validity(&mut params, validity)?;
        self.sign(&params, &key)
    }

    /// Whether this authority signed a certificate, whatever time it is now.
    fn has_signed(&self, certificate: &CertificateDer<'_>, from: Moment) -> Result<(), CertsError> {
        let authority = der(&self.pem)?;
        let anchor = webpki::anchor_from_trusted_cert(&authority).map_err(wrong)?;
        let node = webpki::EndEntityCert::try_from(certificate).map_err(wrong)?;
        let (all, then) = (webpki::ALL_VERIFICATION_ALGS, Duration::from_secs(from.0));
        let (anchors, usage) = ([anchor], webpki::KeyUsage::server_auth());
        let then = UnixTime::since_unix_epoch(then);
        let judged = node.verify_for_usage(all, &anchors, &[], then, usage, None, None);
        let not_ours = |error| CertsError(format!("this authority did not sign it ({error})"));
        judged.map(drop).map_err(not_ours)
    }
}

fn der(pem: &str) -> Result<CertificateDer<'static>, CertsError> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| CertsError(format!("there is no PEM certificate in it ({error})")))
}

fn decoded<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, CertsError> {
    match x509_parser::parse_x509_certificate(der) {
        Ok((_, certificate)) => Ok(certificate),
        Err(error) => Err(wrong(error)),
    }
}

fn wrong(error: impl fmt::Display) -> CertsError {
    CertsError(format!("the certificate does not decode: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-26 07:00:00 UTC.
    const NOW: u64 = 1_795_676_400;

    fn days(days: u32) -> Validity {
        Validity { from: Duration::from_secs(NOW), days }
    }

    #[test]
    fn an_authority_in_pem_goes_on_where_it_was() {
        let first = Authority::valid("shop", days(3_650)).expect("a good name");
        let again = Authority::from_pem(&first.ca_pem(), &first.key_pem()).expect("its own PEM");
        assert_eq!((again.cluster_name(), again.ca_pem()), ("shop", first.ca_pem()));
        let (pem, _) = again.issue_node_valid("n1", days(365)).expect("a good name");
        let issued = Issued::read(&pem).expect("it decodes");
        assert_eq!(issued.uris, ["spiffe://shop/node/n1"]);
        assert_eq!(issued.from.to_string(), "2026-11-26 07:00:00 UTC");
        assert_eq!(issued.until.to_string(), "2027-11-26 07:00:00 UTC");
        assert!(!issued.is_authority);
        let authority = der(&first.ca_pem()).expect("PEM");
        again.has_signed(&der(&pem).expect("PEM"), Moment(NOW)).expect("both are one authority");
        assert_eq!(Issued::of(&decoded(&authority).expect("DER")).expect("it reads").until.0, {
            NOW + 3_650 * 86_400
        });
    }

    #[test]
    fn serial_numbers_have_one_length_and_none_comes_twice() {
        let first = Authority::new("shop").expect("a good name");
        let again = Authority::from_pem(&first.ca_pem(), &first.key_pem()).expect("its own PEM");
        let mut serials = std::collections::BTreeSet::new();
        for authority in [&first, &again] {
            for _ in 0..100 {
                let (pem, _) = authority.issue_node("n1").expect("a good name");
                let der = der(&pem).expect("PEM");
                let serial = decoded(&der).expect("DER").raw_serial().to_vec();
                assert!(serial.len() == 8 && serial[0] >> 6 == 1, "{serial:x?}");
                serials.insert(serial);
            }
        }
        assert_eq!(serials.len(), 200);
    }

    #[test]
    fn what_is_no_authority_is_refused() {
        let [shop, other] = ["shop", "other"].map(|name| Authority::new(name).expect("a name"));
        let (node, node_key) = shop.issue_node("n1").expect("a good name");
        let (ca, key) = (shop.ca_pem(), shop.key_pem());
        let table: [(&str, &str, &str, &str); 5] = [
            ("no certificate", "hello", &key, "there is no PEM certificate in it"),
            ("no key", &ca, "hello", "PEM"),
            ("a node's", &node, &node_key, "this is not an authority's"),
            ("another's key", &ca, &other.key_pem(), "key does not belong to it"),
            ("a cut certificate", &ca.replacen("MII", "MIM", 1), &key, "does not decode"),
        ];
        for (what, ca, key, says) in table {
            let error = Authority::from_pem(ca, key).expect_err(what).to_string();
            assert!(error.contains(says), "{what}: {error}");
        }
    }

    #[test]
    fn a_certificate_is_renewed_for_its_own_node_and_key_by_its_own_authority() {
        let [shop, again] = ["shop", "shop"].map(|name| Authority::new(name).expect("a name"));
        let (old, _) = shop.issue_node_valid("n1", days(1)).expect("a good name");
        let new = shop.renew_node("n1", &old, days(400)).expect("it is its own");
        let key = |pem: &str| {
            let der = der(pem).expect("PEM");
            decoded(&der).expect("DER").public_key().raw.to_vec()
        };
        assert_eq!(key(&old), key(&new));
        assert_eq!(Issued::read(&new).expect("it decodes").until.0, NOW + 400 * 86_400);
        let error = shop.renew_node("n2", &old, days(1)).expect_err("another node's").to_string();
        assert!(error.contains("spiffe://shop/node/n1"), "{error}");
        let error = again.renew_node("n1", &old, days(1)).expect_err("another's").to_string();
        assert!(error.contains("this authority did not sign it"), "{error}");
    }

    #[test]
    fn what_would_end_after_the_year_9999_is_refused() {
        let error = Authority::valid("shop", days(u32::MAX)).expect_err("too long").to_string();
        assert!(error.contains("before the year 10000"), "{error}");
    }
}
