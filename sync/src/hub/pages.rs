//! Certificates for the boxes' own pages, signed by a CA of their own that phones at the sites trust.
//!
//! That CA can vouch for nothing but names that mean something on a local network, and private addresses: it says so itself (name
//! constraints, RFC 5280, 4.2.1.10), so whoever trusts it risks nothing elsewhere. A box gets certificates for its own name
//! in those domains and for private addresses; for another box's name it gets none, whatever it asks for.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SerialNumber, SignatureAlgorithm, date_time_ymd,
};
use thiserror::Error;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;

use super::error::Error as RouteError;
use super::sync_routes::{answer_one, read_one};
use super::{Hub, certificate, clock};
use crate::pg::edges::Edge;
use crate::wire::base64url;
use crate::wire::pages::{AskCertificate, NAMES_MAX, PageCertificate};

/// How long a certificate is good, in days; browsers take none that is good for much longer than a year.
const DAYS: u64 = 365;
/// How long before now it begins, in days: the phones' clocks are not the hub's.
const DAYS_BEFORE: u64 = 2;
const DAY_S: u64 = 24 * 60 * 60;
/// An uncompressed point on P-256.
const POINT_BYTES: usize = 65;

/// A CA that cannot be used.
#[derive(Debug, Error)]
pub enum PagesCaError {
    /// A file that cannot be read.
    #[error("cannot read {}: {source}; give the pages-ca.crt that `hub ca init` made, with pages-ca.key beside it", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is no CA, or whose key is another one's.
    #[error("{} and the key beside it are no CA ({reason}); make one with `hub ca pages`", path.display())]
    Unusable {
        /// The certificate.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// The CA of the boxes' pages.
pub struct PagesCa {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    domains: Vec<String>,
}

impl PagesCa {
    /// The CA of a certificate file, with its key in the file of the same name that ends in `.key`.
    ///
    /// # Errors
    /// [`PagesCaError`].
    pub fn load(path: &Path) -> Result<Self, PagesCaError> {
        let read = |path: &Path| {
            fs::read_to_string(path).map_err(|source| PagesCaError::File { path: path.to_owned(), source })
        };
        let (pem, key) = (read(path)?, read(&path.with_extension("key"))?);
        let unusable = |reason: String| PagesCaError::Unusable { path: path.to_owned(), reason };
        let key = KeyPair::from_pem(&key).map_err(|error| unusable(error.to_string()))?;
        let domains = domains(&pem).ok_or_else(|| unusable("it does not say what it may vouch for".to_owned()))?;
        let issuer = Issuer::from_ca_cert_pem(&pem, key).map_err(|error| unusable(error.to_string()))?;
        Ok(Self { pem, issuer, domains })
    }

    /// A certificate for an edge, for those of the names that it may have; `None` when there is none of them, or the key is no key.
    fn sign(&self, edge: &str, asked: &AskCertificate, serial: [u8; 16], now_s: u64) -> Option<PageCertificate> {
        let point: [u8; POINT_BYTES] = base64url::decode_exactly(&asked.public_key)?;
        let names: Vec<String> =
            asked.names.iter().take(NAMES_MAX).filter_map(|name| own(name, edge, &self.domains)).collect();
        let first = names.first()?;
        let mut params = CertificateParams::new(names.clone()).ok()?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, first.as_str());
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let at = |seconds: u64| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
        let end = now_s + DAYS * DAY_S;
        (params.not_before, params.not_after) = (at(now_s.saturating_sub(DAYS_BEFORE * DAY_S)), at(end));
        let certificate = params.signed_by(&Point(point), &self.issuer).ok()?.pem();
        Some(PageCertificate { certificate, ca: self.pem.clone(), names, not_after: i64::try_from(end).ok()? })
    }
}

/// A public key as it stands in a certificate.
struct Point([u8; POINT_BYTES]);

impl PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// The name as it is certified, if an edge may have it: a private address, or its own name in one of the domains.
fn own(name: &str, edge: &str, domains: &[String]) -> Option<String> {
    let name = name.to_lowercase();
    let is_own = match name.parse::<IpAddr>() {
        Ok(address) => is_private(address),
        Err(_) => name
            .strip_prefix(&edge.to_lowercase())
            .and_then(|rest| rest.strip_prefix('.'))
            .is_some_and(|domain| domains.iter().any(|own| own == domain)),
    };
    is_own.then_some(name)
}

/// Whether an address is of a local network and of no other (RFC 1918, 3927, 4193, 4291).
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_private() || address.is_link_local() || address.is_loopback(),
        IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local() || address.is_loopback(),
    }
}

/// The domains that a CA may vouch for; `None` when it does not say.
fn domains(pem: &str) -> Option<Vec<String>> {
    let (_, pem) = parse_x509_pem(pem.as_bytes()).ok()?;
    let certificate = pem.parse_x509().ok()?;
    let permitted = certificate.name_constraints().ok()??.value.permitted_subtrees.as_ref()?;
    let domain = |base: &GeneralName<'_>| match base {
        GeneralName::DNSName(name) => Some(name.to_lowercase()),
        _ => None,
    };
    Some(permitted.iter().filter_map(|subtree| domain(&subtree.base)).collect())
}

/// `POST /sync/v1/certificate`: a certificate for the edge's own pages.
pub(super) async fn certificate(State(hub): State<Hub>, edge: Edge, body: Body) -> Result<Response, RouteError> {
    let asked: AskCertificate = read_one(body).await?;
    let ca = hub.pages.as_ref().ok_or(RouteError::NoPagesCa)?;
    let signed = ca.sign(&edge.name, &asked, certificate::serial()?, clock::unix_ms() / 1000);
    let signed = signed.ok_or_else(|| RouteError::ForeignNames(edge.name.clone(), ca.domains.join(", ")))?;
    tracing::info!(edge = edge.name, names = signed.names.join(", "), "a certificate for the edge's pages was signed");
    answer_one(&signed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::ca;

    #[test]
    fn an_edge_is_certified_for_its_own_name_and_private_addresses_and_for_nothing_else() {
        let directory = std::env::temp_dir().join(format!("hub-pages-{}", clock::id()));
        ca::pages(&directory, &["acme.example".to_owned()], true).unwrap();
        let authority = PagesCa::load(&directory.join("pages-ca.crt")).unwrap();
        let pair = KeyPair::generate().unwrap();
        let ask = |names: &[&str]| AskCertificate {
            public_key: base64url::encode(pair.der_bytes()),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        let now_s = 1_800_000_000;
        let signed = authority.sign(
            "HQ-1",
            &ask(&["hq-1.local", "HQ-1.acme.example", "192.168.7.4", "fd00::1"]),
            [1; 16],
            now_s,
        );
        let signed = signed.expect("all of them are its own");
        assert_eq!(signed.names, ["hq-1.local", "hq-1.acme.example", "192.168.7.4", "fd00::1"]);
        assert_eq!(u64::try_from(signed.not_after).unwrap(), now_s + 365 * DAY_S);
        for foreign in [
            "hq-2.local",
            "hq-1",
            "hq-1.com",
            "hq-1.local.evil.com",
            "xhq-1.local",
            "a.hq-1.local",
            "8.8.8.8",
            "local",
            "",
        ] {
            assert_eq!(authority.sign("hq-1", &ask(&[foreign]), [1; 16], now_s), None, "{foreign}");
        }
        let mixed = authority.sign("hq-1", &ask(&["hq-2.local", "10.0.0.7"]), [1; 16], now_s).expect("one is its own");
        assert_eq!(mixed.names, ["10.0.0.7"]);
        let no_key = AskCertificate { public_key: base64url::encode([1; 64]), ..ask(&["hq-1.local"]) };
        assert_eq!(authority.sign("hq-1", &no_key, [1; 16], now_s), None);
        fs::remove_dir_all(&directory).unwrap();
    }
}
