//! Whom an edge trusts as its hub: one pinned CA and nobody else, or the CAs of the system; and at what time it judges.
//!
//! A certificate is judged at the latest of three times: the box's clock, the time the program was built, and the hub's own
//! time as this edge last heard it. So a box that boots in 1970 connects. A clock that stands in the future makes every
//! certificate look ended; that is refused like any other, said so, and over as soon as the clock is set, because nothing
//! of that clock is kept. Nothing here accepts a certificate that rustls refuses, and every connection is judged anew.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::Url;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier as SystemVerifier;
use sync::sqlite::self_state::SelfState;

use crate::clock::Clock;
use crate::times;

/// The most that a file of CA certificates may hold, in bytes.
pub const CA_BYTES_MAX: usize = 32 * 1024;
/// No clock stands before the day this was written: 2026-01-01T00:00:00Z, in Unix milliseconds.
pub const CLOCK_MS_MIN: u64 = 1_767_225_600_000;
/// What a hub says of the time is not believed when it lies further from the program's build than this, in milliseconds: ten
/// years. A hub whose clock once stood in 2099 must not make its certificates look ended for ever.
const HUB_AHEAD_MS_MAX: u64 = 3_653 * 24 * 60 * 60 * 1000;

/// Whom an edge trusts as its hub.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// The certificates of the only CAs that are trusted, in PEM form; without them, those of the system are.
    pub ca: Option<String>,
    /// Whether a hub on another machine may be spoken to without TLS.
    pub plain_http: bool,
    /// What time it was by the hub when that last said, in Unix milliseconds.
    pub hub_ms: Option<u64>,
}

/// A CA that cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read.
    #[error("cannot read the CA {}: {source}: give the ca.crt that `hub ca init` made", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is larger than any CA.
    #[error("the CA {} has more than {CA_BYTES_MAX} bytes: give the ca.crt that `hub ca init` made", .0.display())]
    Size(PathBuf),
    /// The file holds a secret that belongs to nobody but the CA.
    #[error("{} holds a private key, which no site needs: give the certificate alone, ca.crt", .0.display())]
    Key(PathBuf),
    /// What holds no certificate of a CA.
    #[error("{0} holds no certificate of a CA in PEM form: give the ca.crt that `hub ca init` made")]
    NoCa(String),
    /// A CA is given for a hub that shows no certificate.
    #[error("a CA is given for {0}, which is not spoken to by TLS: give the hub's URL with https://")]
    NoTls(String),
    /// The system trusts nobody.
    #[error(
        "this system has no CA certificates: enrol with `--ca FILE` if the hub has a CA of its own, or install ca-certificates"
    )]
    NoSystemCa(#[source] rustls::Error),
    /// TLS itself.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// How what is exchanged with a hub is kept from others, by the hub's URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// By TLS.
    Tls,
    /// It does not leave the box.
    Loopback,
    /// It is not: whoever is on the way can read and change it.
    PlainHttp,
}

impl Transport {
    /// The transport to a hub; `None` for what is no URL of one.
    pub fn to(hub: &str) -> Option<Self> {
        let url = Url::parse(hub).ok()?;
        let host = url.host_str()?;
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        match url.scheme() {
            "https" => Some(Self::Tls),
            "http" if host == "localhost" => Some(Self::Loopback),
            "http" if address.is_ok_and(|address| address.to_canonical().is_loopback()) => Some(Self::Loopback),
            "http" => Some(Self::PlainHttp),
            _ => None,
        }
    }

    /// Its name in the status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Loopback => "loopback",
            Self::PlainHttp => "plain_http",
        }
    }
}

/// The CA in a file, checked.
///
/// # Errors
/// [`TrustError`].
pub fn read_ca(path: &Path) -> Result<String, TrustError> {
    let text = std::fs::read(path).map_err(|source| TrustError::File { path: path.to_owned(), source })?;
    if text.len() > CA_BYTES_MAX {
        return Err(TrustError::Size(path.to_owned()));
    }
    if PrivateKeyDer::from_pem_slice(&text).is_ok() {
        return Err(TrustError::Key(path.to_owned()));
    }
    let name = || path.display().to_string();
    let text = String::from_utf8(text).map_err(|_| TrustError::NoCa(name()))?;
    match roots(&text) {
        Some(_) => Ok(text),
        None => Err(TrustError::NoCa(name())),
    }
}

/// What time it was by the hub when that last said, in Unix milliseconds.
pub fn hub_ms(state: &SelfState) -> Option<u64> {
    let heard_ms = times::unix_ms(state.last_exchange_at.as_deref()?)?;
    Some(heard_ms.saturating_add_signed(state.clock_offset_ms?))
}

impl Trust {
    /// What TLS needs to know to speak to a hub. Where none is spoken, nobody is trusted.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn client_config(
        &self,
        transport: Option<Transport>,
        time: CertificateTime,
    ) -> Result<ClientConfig, TrustError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_details(Arc::clone(&provider), Arc::new(time));
        let builder = builder.with_safe_default_protocol_versions()?;
        let mut config = match (transport, &self.ca) {
            (Some(Transport::Tls), Some(ca)) => {
                let roots = roots(ca).ok_or_else(|| TrustError::NoCa("credential.json".to_owned()))?;
                builder.with_webpki_verifier(verifier(roots, provider)?).with_no_client_auth()
            }
            (Some(Transport::Tls), None) => {
                let verifier = SystemVerifier::new(provider).map_err(TrustError::NoSystemCa)?;
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
            }
            _ => builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth(),
        };
        // A resumed session is not judged.
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn verifier(roots: RootCertStore, provider: Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, TrustError> {
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    built.map_err(|error| TrustError::Tls(rustls::Error::General(error.to_string())))
}

/// The certificates of a text, all of them usable, and at least one.
fn roots(pem: &str) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.ok()?).ok()?;
    }
    (!roots.is_empty()).then_some(roots)
}

/// The time at which certificates are judged. Copies share what the hub says.
#[derive(Clone, Debug)]
pub struct CertificateTime {
    clock: Clock,
    /// The hub's time when `clock` began, in Unix milliseconds; 0 while it is not known.
    hub_origin_ms: Arc<AtomicU64>,
}

/// A time, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// In Unix milliseconds.
    pub unix_ms: u64,
    /// Who says so.
    pub by: Witness,
}

/// Who says what time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// The box's clock.
    Clock,
    /// The program: it was built then.
    Build,
    /// The hub, when it was last heard, and what has passed since this process began.
    Hub,
}

impl CertificateTime {
    /// By a clock, and by what the hub said last.
    pub fn new(clock: Clock, hub_ms: Option<u64>) -> Self {
        let time = Self { clock, hub_origin_ms: Arc::default() };
        if let Some(hub_ms) = hub_ms {
            time.heard(hub_ms);
        }
        time
    }

    /// Notes what time it is by the hub.
    pub fn heard(&self, hub_ms: u64) {
        if hub_ms <= built_ms().saturating_add(HUB_AHEAD_MS_MAX) {
            self.hub_origin_ms.store(hub_ms.saturating_sub(self.clock.monotonic_ms()), Ordering::Relaxed);
        }
    }

    /// What time it is by the hub, if that is known.
    pub fn hub_ms(&self) -> Option<u64> {
        match self.hub_origin_ms.load(Ordering::Relaxed) {
            0 => None,
            origin_ms => Some(origin_ms.saturating_add(self.clock.monotonic_ms())),
        }
    }

    /// The time at which a certificate is judged now.
    pub fn judged(&self) -> Judged {
        latest(self.clock.unix_ms(), built_ms(), self.hub_ms())
    }
}

impl TimeProvider for CertificateTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(self.judged().unix_ms)))
    }
}

fn latest(clock_ms: u64, built_ms: u64, hub_ms: Option<u64>) -> Judged {
    let hub = Judged { unix_ms: hub_ms.unwrap_or_default(), by: Witness::Hub };
    let build = Judged { unix_ms: built_ms, by: Witness::Build };
    let clock = Judged { unix_ms: clock_ms, by: Witness::Clock };
    // Of equal ones the last counts: the box's clock is doubted only when another is later.
    [hub, build, clock].into_iter().max_by_key(|judged| judged.unix_ms).unwrap_or(clock)
}

/// When this program was built, in Unix milliseconds.
fn built_ms() -> u64 {
    let seconds: u64 = env!("EDGE_BUILT_UNIX_SECONDS").parse().unwrap_or_default();
    seconds.saturating_mul(1000).max(CLOCK_MS_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR_MS: u64 = 365 * 24 * 60 * 60 * 1000;

    #[test]
    fn a_certificate_is_judged_at_the_latest_of_three_times() {
        let built = 2 * CLOCK_MS_MIN;
        for (clock_ms, hub_ms, by) in [
            (0, None, Witness::Build),
            (0, Some(built + 1), Witness::Hub),
            (0, Some(built - 1), Witness::Build),
            (built + 2, Some(built + 1), Witness::Clock),
            (built, None, Witness::Clock),
        ] {
            let judged = latest(clock_ms, built, hub_ms);
            assert_eq!(judged.by, by, "{clock_ms} {hub_ms:?}");
            assert_eq!(judged.unix_ms, built.max(clock_ms).max(hub_ms.unwrap_or_default()));
        }
    }

    #[test]
    fn a_hub_is_believed_about_the_time_and_not_about_the_next_century() {
        let time = CertificateTime::new(Clock::new(), None);
        assert_eq!(time.hub_ms(), None);
        time.heard(built_ms() + YEAR_MS);
        let Judged { unix_ms, by } = time.judged();
        assert!(by == Witness::Hub && unix_ms >= built_ms() + YEAR_MS, "{unix_ms} {by:?}");
        time.heard(built_ms() + 70 * YEAR_MS);
        assert!(time.judged().unix_ms < built_ms() + 2 * YEAR_MS);
        // It is heard again with its clock set back, and believed.
        time.heard(built_ms() + YEAR_MS / 2);
        assert!(time.judged().unix_ms < built_ms() + YEAR_MS);
    }

    #[test]
    fn only_what_stays_on_the_box_is_on_loopback() {
        let cases = [
            ("https://hub.example.com", Some(Transport::Tls)),
            ("https://127.0.0.1:7400", Some(Transport::Tls)),
            ("http://127.0.0.1:7400", Some(Transport::Loopback)),
            ("http://127.8.8.8", Some(Transport::Loopback)),
            ("http://[::1]:7400", Some(Transport::Loopback)),
            ("http://[::ffff:127.0.0.1]", Some(Transport::Loopback)),
            ("http://localhost:7400/waystation", Some(Transport::Loopback)),
            ("http://192.0.2.7:7400", Some(Transport::PlainHttp)),
            ("http://localhost.example.com", Some(Transport::PlainHttp)),
            ("http://127.0.0.1.example.com", Some(Transport::PlainHttp)),
            ("http://[2001:db8::1]", Some(Transport::PlainHttp)),
            ("ftp://127.0.0.1", None),
            ("", None),
        ];
        for (url, transport) in cases {
            assert_eq!(Transport::to(url), transport, "{url}");
        }
    }
}
