//! HTTP clients of tests: plain ones that trust nobody, and ones that trust a CA.

use edge::clock::Clock;
use edge::trust::{CertificateTime, Transport, Trust};

/// A client for plain HTTP that uses no proxy, to be told more.
///
/// The HTTP library knows no cryptography of its own here, so every client has to be given some.
pub fn builder() -> reqwest::ClientBuilder {
    with(&Trust::default(), Transport::Loopback)
}

/// A client for HTTPS that trusts one CA, in PEM form, and nobody else.
pub fn trusting(ca: &str) -> reqwest::Client {
    let trust = Trust { ca: Some(ca.to_owned()), ..Trust::default() };
    with(&trust, Transport::Tls).build().expect("a client needs nothing")
}

#[expect(clippy::disallowed_methods, reason = "it is given cryptography")]
fn with(trust: &Trust, transport: Transport) -> reqwest::ClientBuilder {
    let config = trust.client_config(Some(transport), CertificateTime::new(Clock::new(), None));
    reqwest::Client::builder().no_proxy().tls_backend_preconfigured(config.expect("the CA of a test is one"))
}

/// A client for plain HTTP.
pub fn plain() -> reqwest::Client {
    builder().build().expect("a client needs nothing")
}
