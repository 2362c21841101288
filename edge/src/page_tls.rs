//! TLS for those who visit this box over the site's network: the certificate that the hub's CA for pages signs, kept and renewed.
//!
//! Loopback needs none. Anywhere else pages are served by TLS, or in plain text if somebody allowed that. Until there is a
//! certificate, which takes one contact with the hub, nobody beyond the box is served.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use ring::digest;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls::crypto::ring as crypto;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use sync::listener::TlsAcceptor;
use sync::wire::base64url;
use sync::wire::pages::{AskCertificate, NAMES_MAX, PageCertificate};

use crate::App;
use crate::config::{Config, Pages};
use crate::data_dir::{DataDir, write_private};
use crate::hosts::Hosts;
use crate::sync_handle::LinkState;
use crate::sync_loop;

/// A certificate is renewed when it is good for fewer days: after two months of its year.
const RENEW_DAYS: i64 = 300;
/// And worth a warning when it is good for fewer.
pub const WARN_DAYS: i64 = 60;
/// How often it is looked at least whether another one is due, in milliseconds.
const LOOK_MS: u64 = 60_000;
/// How long after a failure it is asked for again, in milliseconds; twice as long each time.
const RETRY_MS_MIN: u64 = 5_000;
/// And at most: a hub without a CA for pages is not asked all day.
const RETRY_MS_MAX: u64 = 60 * 60 * 1000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// How pages reach those who visit them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visits {
    /// From this box alone.
    Loopback,
    /// By TLS.
    Tls,
    /// In plain text, which somebody allowed.
    Plain,
}

/// What the pages are served with.
#[derive(Debug)]
pub struct PageTls {
    visits: Visits,
    held: RwLock<Option<Held>>,
}

/// A certificate with its key.
#[derive(Clone, Debug)]
struct Held {
    stored: Stored,
    key: Arc<CertifiedKey>,
}

/// As it stands in the file.
#[derive(Clone, Serialize, Deserialize)]
struct Stored {
    /// The private key, PKCS #8 in base64url.
    key: String,
    /// The names that were asked for, those that were not granted too.
    asked: Vec<String>,
    #[serde(flatten)]
    granted: PageCertificate,
}

/// How the pages stand, for people to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How they are visited.
    pub visits: Visits,
    /// The certificate, if there is one.
    pub certificate: Option<Certificate>,
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The names and addresses that it is for.
    pub names: Vec<String>,
    /// Those that were asked for and not granted.
    pub refused: Vec<String>,
    /// Its end, in Unix milliseconds.
    pub ends_ms: i64,
    /// The CA's certificate, in PEM form.
    pub ca: String,
}

impl Held {
    fn certificate(&self) -> Certificate {
        let Stored { asked, granted, .. } = &self.stored;
        Certificate {
            names: granted.names.clone(),
            refused: asked.iter().filter(|name| !granted.names.contains(name)).cloned().collect(),
            ends_ms: granted.not_after.saturating_mul(1000),
            ca: granted.ca.clone(),
        }
    }
}

impl Certificate {
    /// For how many days it is good; negative when it has ended.
    pub fn days_left(&self, now_ms: u64) -> i64 {
        self.ends_ms.saturating_sub(i64::try_from(now_ms).unwrap_or(i64::MAX)).div_euclid(DAY_MS)
    }
}

/// Why there is no new certificate, in words for a person.
type Refused = String;

impl Visits {
    /// How an address is visited that an edge listens on.
    pub fn of(config: &Config) -> Self {
        match (config.pages, config.listen.ip().to_canonical().is_loopback()) {
            (Pages::Auto | Pages::Plain, true) => Self::Loopback,
            (Pages::Plain, false) => Self::Plain,
            (Pages::Tls, _) | (Pages::Auto, false) => Self::Tls,
        }
    }
}

impl PageTls {
    /// With the certificate that the data directory has, if it can be used.
    pub fn load(config: &Config) -> Self {
        let held = match load(&DataDir::new(&config.data).page_certificate()) {
            Ok(held) => held,
            Err(why) => {
                tracing::warn!(why, "the certificate of the pages cannot be used; another one is asked for");
                None
            }
        };
        Self { visits: Visits::of(config), held: RwLock::new(held) }
    }

    /// How the pages stand.
    pub fn standing(&self) -> Standing {
        Standing { visits: self.visits, certificate: self.held().as_ref().map(Held::certificate) }
    }

    /// What accepts TLS, with whatever certificate there is at that moment; `None` where pages are served without.
    pub fn acceptor(self: &Arc<Self>) -> Option<TlsAcceptor> {
        if self.visits != Visits::Tls {
            return None;
        }
        let builder = rustls::ServerConfig::builder_with_provider(Arc::new(crypto::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("the provider has what the versions need");
        let mut config =
            builder.with_no_client_auth().with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Some(TlsAcceptor::from(Arc::new(config)))
    }

    fn is_due(&self, wanted: &[String], now_ms: u64) -> bool {
        let fits = |held: &Held| held.stored.asked == wanted && held.certificate().days_left(now_ms) >= RENEW_DAYS;
        !self.held().as_ref().is_some_and(fits)
    }

    fn held(&self) -> RwLockReadGuard<'_, Option<Held>> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self, held: Held) {
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Some(held);
    }
}

impl ResolvesServerCert for PageTls {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.held().as_ref().map(|held| Arc::clone(&held.key))
    }
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stored").field("names", &self.granted.names).finish_non_exhaustive()
    }
}

/// The SHA-256 of a certificate in PEM form, as phones show it: pairs of digits with colons in between; empty for what is none.
pub fn fingerprint(pem: &str) -> String {
    let Ok(der) = CertificateDer::from_pem_slice(pem.as_bytes()) else { return String::new() };
    let hash = digest::digest(&digest::SHA256, &der);
    hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

/// Gets a certificate whenever one is due and the hub can be reached, until it is dropped.
pub async fn keep(app: App) {
    if app.pages.visits != Visits::Tls {
        return;
    }
    let mut link = app.sync.watch();
    let (mut next_ms, mut pause_ms) = (0, RETRY_MS_MIN);
    loop {
        let now_ms = app.clock.monotonic_ms();
        let wanted = wanted(app.config.listen, &Hosts::of_this_machine(&app.config.names));
        let online = link.borrow_and_update().state == LinkState::Online;
        if online && now_ms >= next_ms && app.pages.is_due(&wanted, app.clock.unix_ms()) {
            match renew(&app, wanted).await {
                Ok(names) => {
                    tracing::info!(names, "the pages have a certificate");
                    pause_ms = RETRY_MS_MIN;
                }
                Err(why) => {
                    tracing::warn!(why, "the pages get no certificate; it is tried again in {} s", pause_ms / 1000);
                    next_ms = now_ms.saturating_add(pause_ms);
                    pause_ms = (pause_ms * 2).min(RETRY_MS_MAX);
                }
            }
        }
        // A link that comes up is looked at at once; what else becomes due has time.
        let look_ms = next_ms.saturating_sub(now_ms).clamp(RETRY_MS_MIN, LOOK_MS);
        if let Ok(Err(_)) = tokio::time::timeout(Duration::from_millis(look_ms), link.changed()).await {
            return;
        }
    }
}

/// Asks the hub for a certificate for a new key, keeps both, and serves with them from then on.
async fn renew(app: &App, asked: Vec<String>) -> Result<String, Refused> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let random = |_| "the operating system has no randomness".to_owned();
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).map_err(random)?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.as_ref(), &SystemRandom::new());
    let public = base64url::encode(pair.map_err(|error| words(&error))?.public_key().as_ref());
    let hub = sync_loop::client_of(app).await?;
    let granted = hub.certificate(&AskCertificate { public_key: public, names: asked.clone() }).await;
    let granted = granted.map_err(|error| words(&error))?;
    let held = held(Stored { key: base64url::encode(key.as_ref()), asked, granted })?;
    let text = serde_json::to_vec(&held.stored).map_err(|error| words(&error))?;
    let path = DataDir::new(&app.config.data).page_certificate();
    write_private(&path, &text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    let names = held.stored.granted.names.join(", ");
    app.pages.hold(held);
    Ok(names)
}

fn load(path: &Path) -> Result<Option<Held>, Refused> {
    match fs::read(path) {
        Ok(text) => {
            let stored = serde_json::from_slice(&text);
            // What is wrong is told by its place: a message of the parser may quote what stands there.
            let damaged = |error: serde_json::Error| format!("{} is damaged at line {}", path.display(), error.line());
            held(stored.map_err(damaged)?).map(Some)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

fn held(stored: Stored) -> Result<Held, Refused> {
    let no_key = || "the key of the certificate is none".to_owned();
    let secret = base64url::decode(&stored.key).ok_or_else(no_key)?;
    let secret = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(secret));
    let signer = crypto::sign::any_ecdsa_type(&secret).map_err(|_| no_key())?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(stored.granted.certificate.as_bytes()).collect();
    let chain = chain.map_err(|_| "what the hub signed is no certificate".to_owned())?;
    let key = CertifiedKey::new(chain, signer);
    key.keys_match().map_err(|_| "the certificate is another key's".to_owned())?;
    Ok(Held { stored, key: Arc::new(key) })
}

/// The names and addresses by which others visit an edge that listens there: its own where it listens on one address, all that
/// the machine has where it listens on any.
fn wanted(listen: SocketAddr, hosts: &Hosts) -> Vec<String> {
    let mut addresses = match listen.ip().to_canonical() {
        address if !address.is_unspecified() => vec![address],
        _ => {
            let all = if_addrs::get_if_addrs().unwrap_or_default();
            all.iter().map(if_addrs::Interface::ip).collect()
        }
    };
    addresses.retain(|address| !is_link_local(*address));
    addresses.sort_unstable();
    addresses.dedup();
    let names = hosts.names().filter(|name| name.contains('.')).map(str::to_owned);
    names.chain(addresses.iter().map(ToString::to_string)).take(NAMES_MAX).collect()
}

/// Addresses of version 6 that need the name of an interface beside them, which no certificate has.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_asks_for_what_it_is_visited_by() {
        let hosts = Hosts::new("hq-1", &["hq-1.acme.lan".to_owned()]);
        let asked = wanted("192.168.7.4:7410".parse().unwrap(), &hosts);
        assert_eq!(asked, ["hq-1.local", "hq-1.acme.lan", "192.168.7.4"]);
        let any = wanted("0.0.0.0:7410".parse().unwrap(), &hosts);
        assert!(any.iter().all(|name| !name.starts_with("fe80")), "{any:?}");
        assert!(any.contains(&"127.0.0.1".to_owned()), "programs on the box speak to it too: {any:?}");
    }
}
