//! How a box gets a certificate for its own pages.

use serde::{Deserialize, Serialize};

/// The most names that are asked for at once.
pub const NAMES_MAX: usize = 32;

/// Asks for a certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AskCertificate {
    /// The public key to certify: an uncompressed point on P-256 (SEC 1), 65 bytes in base64url without padding.
    pub public_key: String,
    /// The names and addresses by which the box is visited, [`NAMES_MAX`] at most.
    pub names: Vec<String>,
}

/// A certificate of the box's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageCertificate {
    /// The certificate, in PEM form.
    pub certificate: String,
    /// The CA that signed it and that phones have to trust, in PEM form.
    pub ca: String,
    /// Those of the names that it is for.
    pub names: Vec<String>,
    /// Its end, in Unix seconds.
    pub not_after: i64,
}
