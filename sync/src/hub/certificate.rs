//! The certificate that the hub shows, read from PEM files at the start.
//!
//! TLS is 1.2 or 1.3 by rustls with ring; nothing older is spoken. Nothing here makes a certificate: `hub ca` does.

use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, InconsistentKeys, ServerConfig};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use super::clock;
use super::config::TlsFiles;

/// A certificate that cannot be served with.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// A file that cannot be read, or holds nothing of the kind.
    #[error("{} holds no {what} in PEM form that can be read ({source}): give another file, or its owner's rights", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// Why it was not found.
        source: pem::Error,
    },
    /// A key of another certificate.
    #[error("the key {} is not the one of the certificate {}: give the two that belong together", key.display(), certificate.display())]
    Mismatch {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// A certificate or key that TLS cannot use.
    #[error("the certificate {} cannot be served with ({source}): give another one; `hub ca issue` makes one", certificate.display())]
    Unusable {
        /// The certificate.
        certificate: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// What is no X.509.
    #[error("{} is no X.509 certificate: give another one", .0.display())]
    Form(PathBuf),
}

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The end of its time, in Unix seconds.
    pub not_after: i64,
    /// The names and addresses that it is for.
    pub names: Vec<String>,
}

/// Accepts TLS with a certificate.
///
/// # Errors
/// [`CertificateError`], naming the file.
pub fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, CertificateError> {
    let TlsFiles { certificate, key } = files;
    let chain = read_chain(certificate)?;
    let unread = |source| CertificateError::File { path: key.clone(), what: "private key", source };
    let secret = PrivateKeyDer::from_pem_file(key).map_err(unread)?;
    let unusable = |source| match source {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            CertificateError::Mismatch { certificate: certificate.clone(), key: key.clone() }
        }
        source => CertificateError::Unusable { certificate: certificate.clone(), source },
    };
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(unusable)?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, secret).map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// What the first certificate of a file says of itself.
///
/// # Errors
/// [`CertificateError`].
pub fn describe(path: &std::path::Path) -> Result<Described, CertificateError> {
    let chain = read_chain(path)?;
    let form = || CertificateError::Form(path.to_owned());
    // A chain that was read has a first certificate.
    let (_, certificate) =
        parse_x509_certificate(chain.first().map(AsRef::as_ref).unwrap_or_default()).map_err(|_| form())?;
    let names = certificate.subject_alternative_name().map_err(|_| form())?;
    let names = names.map(|names| names.value.general_names.iter().filter_map(name).collect()).unwrap_or_default();
    Ok(Described { not_after: certificate.validity().not_after.timestamp(), names })
}

/// A number that no other certificate has (RFC 5280, 4.1.2.2: positive, at most 20 bytes).
///
/// # Errors
/// When the operating system has no randomness.
pub fn serial() -> Result<[u8; 16], getrandom::Error> {
    let mut serial: [u8; 16] = clock::random()?;
    serial[0] = serial[0] & 0x7f | 0x40;
    Ok(serial)
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(bytes) => Some(std::net::Ipv4Addr::from(bytes).to_string()),
            Err(_) => Some(std::net::Ipv6Addr::from(<[u8; 16]>::try_from(*bytes).ok()?).to_string()),
        },
        _ => None,
    }
}

fn read_chain(path: &std::path::Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let unread = |source| CertificateError::File { path: path.to_owned(), what: "certificate", source };
    let chain: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(unread)?.collect::<Result<_, _>>().map_err(unread)?;
    if chain.is_empty() { Err(unread(pem::Error::NoItemsFound)) } else { Ok(chain) }
}
