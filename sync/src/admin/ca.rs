//! `hub ca`: a private CA for one organisation's hub, and the hub's certificate signed by it.
//!
//! Keys are ECDSA P-256 in files that their owner alone may read; the CA is good for ten years and signs no other CA. Its
//! certificates begin on the day this was written, not today: a box whose clock died judges them at its program's build
//! time, which may lie before today. Nothing that is there is overwritten, except the hub's certificate by a newer one.
//! Keys are drawn by the signing library, out of the operating system's randomness.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SerialNumber, date_time_ymd,
};
use serde_json::json;
use thiserror::Error;
use tokio_rustls::rustls::pki_types::{DnsName, ServerName};

use super::{Failure, print_json, print_line};
use crate::hub::certificate::{self, Described};
use crate::hub::clock;

/// Where the files are made when no directory is given.
pub const DIRECTORY: &str = "hub-tls";
/// How long a CA is good, in seconds: ten years.
const CA_SECONDS: i64 = 3653 * DAY_SECONDS;
/// How long a hub's certificate is good, in seconds: two years, and never longer than its CA.
const HUB_SECONDS: i64 = 730 * DAY_SECONDS;
const DAY_SECONDS: i64 = 24 * 60 * 60;
/// Domains that are nobody's in the world (RFC 6762, RFC 8375, and what ICANN keeps free), and `lan`, which many routers give.
const LOCAL_DOMAINS: [&str; 4] = ["local", "lan", "internal", "home.arpa"];
/// Addresses of local networks (RFC 1918, 3927, 4193, 4291) and of the machine itself.
const LOCAL_NETWORKS: [(IpAddr, u8); 8] = [
    (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::new(172, 16, 0, 0)), 12),
    (IpAddr::V4(Ipv4Addr::new(192, 168, 0, 0)), 16),
    (IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16),
    (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
    (IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0)), 7),
    (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10),
    (IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
];
/// The day this was written; no program that asks for these certificates was built earlier.
const BEGIN: (i32, u8, u8) = (2026, 1, 1);

/// A CA or a certificate that was not made.
#[derive(Debug, Error)]
pub enum CaError {
    /// A file is there.
    #[error("{} is there already and is not overwritten: give another --dir, or renew the hub's certificate with `hub ca issue`", .0.display())]
    Exists(PathBuf),
    /// A file cannot be read or written.
    #[error("cannot use {}: {source}; give the --dir of `hub ca init`, or its owner's rights", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is neither a host's name nor an address.
    #[error("{0:?} is no host name and no IP address: give one like hub.example.com, without https:// and port")]
    Name(String),
    /// The certificate cannot be signed.
    #[error("the certificate cannot be made with the CA in {}: {source}", path.display())]
    Signing {
        /// The CA's directory.
        path: PathBuf,
        /// Why.
        source: rcgen::Error,
    },
}

/// The files of a CA and of the hub's certificate.
struct Files {
    directory: PathBuf,
}

impl Files {
    fn ca(&self) -> PathBuf {
        self.directory.join("ca.crt")
    }

    fn ca_key(&self) -> PathBuf {
        self.directory.join("ca.key")
    }

    fn pages_ca(&self) -> PathBuf {
        self.directory.join("pages-ca.crt")
    }

    fn pages_ca_key(&self) -> PathBuf {
        self.directory.join("pages-ca.key")
    }

    fn hub(&self) -> PathBuf {
        self.directory.join("hub.crt")
    }

    fn hub_key(&self) -> PathBuf {
        self.directory.join("hub.key")
    }
}

/// Makes a CA, and the hub's key and certificate for `names`; for this machine's when none is given.
///
/// # Errors
/// [`Failure::Ca`], above all when something is there already.
pub fn init(directory: &Path, names: &[String], json: bool) -> Result<(), Failure> {
    let files = Files { directory: directory.to_owned() };
    let names = if names.is_empty() { own_names() } else { names.to_vec() };
    let params = hub_params(&names)?;
    for path in [files.ca(), files.ca_key(), files.pages_ca(), files.pages_ca_key(), files.hub(), files.hub_key()] {
        if path.exists() {
            return Err(CaError::Exists(path).into());
        }
    }
    let file_error = |source| CaError::File { path: directory.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(file_error)?;
    let failed = |source| CaError::Signing { path: directory.to_owned(), source };
    let key = KeyPair::generate().map_err(failed)?;
    let ca = ca_params("Waystation CA")?;
    let certificate = ca.self_signed(&key).map_err(failed)?;
    write_new(&files.ca_key(), &key.serialize_pem(), 0o600)?;
    write_new(&files.ca(), &certificate.pem(), 0o644)?;
    sign(&files, params, &Issuer::new(ca, key))?;
    make_pages_ca(&files, &[])?;
    print(&files, "made a CA, and a certificate", json)
}

/// Makes a CA for the pages of edges, which may vouch for names of local networks, private addresses and `domains`.
///
/// # Errors
/// [`Failure::Ca`], above all when there is one already.
pub fn pages(directory: &Path, domains: &[String], json: bool) -> Result<(), Failure> {
    let files = Files { directory: directory.to_owned() };
    if let Some(wrong) = domains.iter().find(|domain| DnsName::try_from(domain.as_str()).is_err()) {
        return Err(CaError::Name(wrong.clone()).into());
    }
    let file_error = |source| CaError::File { path: directory.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(file_error)?;
    make_pages_ca(&files, domains)?;
    let (ca, key) = (files.pages_ca(), files.pages_ca_key());
    if json {
        return print_json(&json!({ "pages_ca": ca, "pages_ca_key": key }));
    }
    print_line(&format!(
        "made a CA for the pages of edges; phones at the sites install {}\n\
         now run (a hub that runs has to be started again):\n  HUB_PAGES_CA={} hub serve",
        ca.display(),
        ca.display()
    ))
}

fn make_pages_ca(files: &Files, domains: &[String]) -> Result<(), Failure> {
    let failed = |source| CaError::Signing { path: files.directory.clone(), source };
    let mut params = ca_params("Waystation pages CA")?;
    let domains = LOCAL_DOMAINS.iter().map(|domain| (*domain).to_owned()).chain(domains.iter().cloned());
    let networks = LOCAL_NETWORKS.iter().map(|(address, prefix)| CidrSubnet::from_addr_prefix(*address, *prefix));
    let permitted_subtrees =
        domains.map(GeneralSubtree::DnsName).chain(networks.map(GeneralSubtree::IpAddress)).collect();
    params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    write_new(&files.pages_ca_key(), &key.serialize_pem(), 0o600)?;
    Ok(write_new(&files.pages_ca(), &certificate.pem(), 0o644)?)
}

/// Makes the hub's certificate anew from the CA in a directory: for other `names`, or for the same ones when none is given.
/// The hub's key stays, if it is there, so that one file changes at once.
///
/// # Errors
/// [`Failure::Ca`], above all when there is no CA.
pub fn issue(directory: &Path, names: &[String], json: bool) -> Result<(), Failure> {
    let files = Files { directory: directory.to_owned() };
    let read = |path: PathBuf| fs::read_to_string(&path).map_err(|source| CaError::File { path, source });
    let failed = |source| CaError::Signing { path: directory.to_owned(), source };
    let key = KeyPair::from_pem(&read(files.ca_key())?).map_err(failed)?;
    let issuer = Issuer::from_ca_cert_pem(&read(files.ca())?, key).map_err(failed)?;
    let names = if names.is_empty() { certificate::describe(&files.hub())?.names } else { names.to_vec() };
    sign(&files, hub_params(&names)?, &issuer)?;
    print(&files, "made a new certificate", json)
}

/// Signs the hub's certificate, for the key that is there or a new one, and puts it in its place.
fn sign(files: &Files, mut params: CertificateParams, issuer: &Issuer<'_, KeyPair>) -> Result<(), Failure> {
    let failed = |source| CaError::Signing { path: files.directory.clone(), source };
    let path = files.hub_key();
    let key = match fs::read_to_string(&path) {
        Ok(pem) => KeyPair::from_pem(&pem).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = KeyPair::generate().map_err(failed)?;
            write_new(&path, &key.serialize_pem(), 0o600)?;
            key
        }
        Err(source) => return Err(CaError::File { path, source }.into()),
    };
    let end = certificate::describe(&files.ca())?.not_after.min(now_seconds() + HUB_SECONDS);
    set_end(&mut params, end);
    let certificate = params.signed_by(&key, issuer).map_err(failed)?;
    let (path, new) = (files.hub(), files.directory.join("hub.crt.new"));
    // Only a run that was cut short leaves one behind.
    let _ = fs::remove_file(&new);
    write_new(&new, &certificate.pem(), 0o644)?;
    let renamed = fs::rename(&new, &path).and_then(|()| File::open(&files.directory)?.sync_all());
    renamed.map_err(|source| CaError::File { path, source })?;
    Ok(())
}

fn ca_params(name: &str) -> Result<CertificateParams, Failure> {
    let serial = certificate::serial()?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name = DistinguishedName::new();
    // Two CAs of one name would be taken for each other where both are trusted.
    let number: String = serial.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name.push(DnType::CommonName, format!("{name} {number}"));
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = date_time_ymd(BEGIN.0, BEGIN.1, BEGIN.2);
    set_end(&mut params, now_seconds() + CA_SECONDS);
    Ok(params)
}

/// A certificate for a server of some names, without its end.
fn hub_params(names: &[String]) -> Result<CertificateParams, Failure> {
    let is_name = |name: &&String| ServerName::try_from(name.strip_prefix("*.").unwrap_or(name)).is_err();
    if let Some(wrong) = names.iter().find(is_name) {
        return Err(CaError::Name(wrong.clone()).into());
    }
    let wrong = |_| CaError::Name(names.join(", "));
    let mut params = CertificateParams::new(names.to_vec()).map_err(wrong)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Waystation hub");
    params.serial_number = Some(SerialNumber::from_slice(&certificate::serial()?));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = date_time_ymd(BEGIN.0, BEGIN.1, BEGIN.2);
    Ok(params)
}

/// The names by which this machine is reached, as far as it knows.
fn own_names() -> Vec<String> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host = Some(host).filter(|host| host != "localhost" && ServerName::try_from(host.as_str()).is_ok());
    host.into_iter().chain(["localhost", "127.0.0.1", "::1"].map(str::to_owned)).collect()
}

fn now_seconds() -> i64 {
    i64::try_from(clock::unix_ms() / 1000).unwrap_or(i64::MAX)
}

/// Lets a certificate end at `unix_seconds`.
fn set_end(params: &mut CertificateParams, unix_seconds: i64) {
    let seconds = u64::try_from(unix_seconds).unwrap_or_default();
    params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
}

fn write_new(path: &Path, content: &str, mode: u32) -> Result<(), CaError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => CaError::Exists(path.to_owned()),
        _ => CaError::File { path: path.to_owned(), source },
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    file.write_all(content.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

fn print(files: &Files, made: &str, json: bool) -> Result<(), Failure> {
    let Described { names, not_after } = certificate::describe(&files.hub())?;
    let end = DateTime::from_timestamp(not_after, 0).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Secs, true);
    if json {
        return print_json(&json!({
            "dir": files.directory, "ca": files.ca(), "ca_key": files.ca_key(), "certificate": files.hub(),
            "key": files.hub_key(), "pages_ca": files.pages_ca(), "names": names, "not_after": end,
        }));
    }
    let first = names.first().map_or_else(|| "HOST".to_owned(), |name| in_url(name));
    let (ca, ca_key, hub, hub_key) = (files.ca(), files.ca_key(), files.hub(), files.hub_key());
    let pages_ca = files.pages_ca();
    print_line(&format!(
        "{made} for {} until {end}\n\
         {:<24}every site needs it; it is no secret\n\
         {:<24}phones at the sites need it, to visit a box's own pages; it is no secret\n\
         {:<24}who has it can pass for this hub: keep it where the hub is not, and bring it for `hub ca issue`\n\
         now run (a hub that runs has to be started again):\n  \
         HUB_LISTEN=0.0.0.0:7400 HUB_TLS_CERT={} HUB_TLS_KEY={} HUB_PAGES_CA={} hub serve\n  \
         edge enroll --hub https://{first}:7400 --code CODE --ca {}",
        names.join(", "),
        ca.display(),
        pages_ca.display(),
        ca_key.display(),
        hub.display(),
        hub_key.display(),
        pages_ca.display(),
        ca.display(),
    ))
}

/// A name as it stands in a URL.
fn in_url(name: &str) -> String {
    match name.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::hub::config::TlsFiles;

    fn scratch() -> Files {
        Files { directory: std::env::temp_dir().join(format!("hub-ca-{}", clock::id())) }
    }

    fn acceptable(files: &Files) -> bool {
        certificate::acceptor(&TlsFiles { certificate: files.hub(), key: files.hub_key() }).is_ok()
    }

    #[test]
    fn a_ca_is_made_once_with_private_keys_and_renews_the_hubs_certificate() {
        let files = scratch();
        let names = ["hub.example.com".to_owned(), "192.0.2.7".to_owned(), "2001:db8::1".to_owned()];
        init(&files.directory, &names, true).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!([mode(&files.ca_key()), mode(&files.hub_key()), mode(&files.directory)], [0o600, 0o600, 0o700]);
        let all = || [files.ca(), files.ca_key(), files.hub_key(), files.hub()].map(|path| fs::read(path).unwrap());
        let before = all();
        let refused = init(&files.directory, &names, true).unwrap_err().to_string();
        assert!(refused.contains("ca.crt") && refused.contains("not overwritten"), "{refused}");
        assert_eq!(all(), before);
        assert!(acceptable(&files));
        let first = certificate::describe(&files.hub()).unwrap();
        assert_eq!(first.names, names);
        let days = (first.not_after - now_seconds() + 60) / DAY_SECONDS;
        assert_eq!(days, 730);

        issue(&files.directory, &[], true).unwrap();
        let after = all();
        assert_eq!(after[..3], before[..3], "the CA and the keys stay");
        assert_ne!(after[3], before[3]);
        assert_eq!(certificate::describe(&files.hub()).unwrap().names, names);
        issue(&files.directory, &["other.example.com".to_owned()], true).unwrap();
        assert_eq!(certificate::describe(&files.hub()).unwrap().names, ["other.example.com"]);
        assert!(acceptable(&files));
        fs::remove_dir_all(&files.directory).unwrap();
    }

    #[test]
    fn what_is_no_name_and_what_is_no_ca_is_refused_and_leaves_nothing() {
        let files = scratch();
        for wrong in ["https://hub.example.com", "hub:7400", "", "a b"] {
            let refused = init(&files.directory, &[wrong.to_owned()], true).unwrap_err().to_string();
            assert!(refused.contains(&format!("{wrong:?}")), "{refused}");
        }
        let refused = issue(&files.directory, &[], true).unwrap_err().to_string();
        assert!(refused.contains("ca.key") && refused.contains("hub ca init"), "{refused}");
        assert!(!files.directory.exists());
    }
}
