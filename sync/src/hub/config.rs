//! Where the hub's settings come from: flags, then the environment, then `.env`, then `hub.toml`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::suggestion::did_you_mean;

/// What a hub needs to serve.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens, `address:port`.
    pub listen: String,
    /// The central database.
    pub database: tokio_postgres::Config,
    /// How many connections to it at most.
    pub connections: usize,
    /// The certificate to serve TLS with; plain HTTP without one.
    pub tls: Option<TlsFiles>,
    /// The certificate of the CA of the edges' own pages, whose key stands beside it.
    pub pages_ca: Option<PathBuf>,
    /// Whether plain HTTP may be served on an address that other machines reach.
    pub plain_http: bool,
}

/// The PEM files of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those between it and its CA.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A setting that cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A file that cannot be read.
    #[error("cannot read {0}: {1}; check the path and its rights")]
    File(PathBuf, #[source] std::io::Error),
    /// A file that is no TOML.
    #[error("{0} is not valid TOML: {1}")]
    Toml(PathBuf, String),
    /// A key that we do not know.
    #[error("unknown key {key} in {}{}: the known ones are {}", path.display(), did_you_mean(key, known.iter().copied()), known.join(", "))]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// Those that there are.
        known: &'static [&'static str],
    },
    /// What is no PostgreSQL URL. It is not shown, because it may hold a password in any place.
    #[error(
        "DATABASE_URL is not a PostgreSQL URL, and is not repeated here for the password in it: give one like postgres://user@host/name"
    )]
    DatabaseUrl,
    /// A value of another form.
    #[error("{0} is {1:?}, which is not {2}")]
    Value(&'static str, String, &'static str),
    /// A certificate without its key, or a key without its certificate.
    #[error("{0} is given without {1}: TLS needs both; `hub ca init` makes them")]
    Half(&'static str, &'static str),
    /// Plain HTTP where others can listen in.
    #[error(
        "without TLS the hub does not listen on {0}, where credentials could be read on the way: give it a certificate \
         (`hub ca init`, then HUB_TLS_CERT and HUB_TLS_KEY), or set HUB_PLAIN_HTTP=true if something before it speaks TLS"
    )]
    PlainHttp(SocketAddr),
}

/// Settings by name, each with where it was found first.
#[derive(Clone, Default)]
pub struct Settings {
    /// Best first.
    sources: Vec<BTreeMap<String, String>>,
}

/// The names alone: values may be secrets.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.sources.iter().map(BTreeMap::keys)).finish()
    }
}

const DATABASE_PARTS: [&str; 5] = ["DB_HOST", "DB_PORT", "DB_USER", "DB_PASSWORD", "DB_NAME"];
/// Our own settings; the environment and `.env` may hold those of other programs too.
const KEYS: &[&str] =
    &["HUB_LISTEN", "HUB_CONNECTIONS", "HUB_LOG", "HUB_TLS_CERT", "HUB_TLS_KEY", "HUB_PAGES_CA", "HUB_PLAIN_HTTP"];
const TOML_KEYS: &[&str] = &[
    "listen",
    "connections",
    "tls_cert",
    "tls_key",
    "pages_ca",
    "plain_http",
    "database_url",
    "db_host",
    "db_port",
    "db_user",
    "db_password",
    "db_name",
];
const CONNECTIONS: usize = 16;
const DOTENV: &str = ".env";
const FILE: &str = "hub.toml";

impl Settings {
    /// Gathers all sources. `flags` are by the names of the environment; `file` is `hub.toml` in `directory` unless it
    /// was named.
    ///
    /// # Errors
    /// A named file that is missing, and any file that cannot be read or is malformed.
    pub fn gather(
        flags: impl IntoIterator<Item = (&'static str, String)>,
        environment: impl IntoIterator<Item = (String, String)>,
        directory: &Path,
        file: Option<&Path>,
    ) -> Result<Self, ConfigError> {
        let flags = flags.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let environment = environment.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let dotenv = read(&directory.join(DOTENV))?.map(|text| parse_dotenv(&text)).unwrap_or_default();
        if let Some(key) = unknown(&dotenv).next() {
            return Err(ConfigError::UnknownKey { path: DOTENV.into(), key: key.clone(), known: KEYS });
        }
        let path = file.map_or_else(|| directory.join(FILE), Path::to_path_buf);
        let toml = match read(&path)? {
            Some(text) => parse_toml(&path, &text)?,
            None if file.is_some() => return Err(ConfigError::File(path, std::io::ErrorKind::NotFound.into())),
            None => BTreeMap::new(),
        };
        Ok(Self { sources: vec![flags, environment, dotenv, toml] })
    }

    /// What to say about variables of the environment that look like ours and are not known, a line each.
    pub fn remarks(&self) -> Vec<String> {
        let remark = |key: &String| {
            let meant = did_you_mean(key, KEYS.iter().copied());
            format!("the environment has {key}, which is not known and does nothing{meant}")
        };
        // The second source is the environment.
        self.sources.iter().skip(1).take(1).flat_map(unknown).map(remark).collect()
    }

    /// A setting by its name in the environment.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.sources.iter().find_map(|source| source.get(name)).map(String::as_str)
    }

    /// How to reach the central database. The best source that says anything of it decides between DATABASE_URL and the
    /// single parts.
    pub fn database(&self) -> Result<tokio_postgres::Config, ConfigError> {
        let names = |source: &&BTreeMap<String, String>| {
            source.contains_key("DATABASE_URL") || DATABASE_PARTS.iter().any(|part| source.contains_key(*part))
        };
        if let Some(url) = self.sources.iter().find(names).and_then(|source| source.get("DATABASE_URL")) {
            return url.parse().map_err(|_| ConfigError::DatabaseUrl);
        }
        let mut database = tokio_postgres::Config::new();
        let port = self.value("DB_PORT").unwrap_or("5432");
        let wrong = || ConfigError::Value("DB_PORT", port.to_owned(), "a port number");
        database
            .host(self.value("DB_HOST").unwrap_or("127.0.0.1"))
            .port(port.parse().map_err(|_| wrong())?)
            .user(self.value("DB_USER").unwrap_or("postgres"))
            .dbname(self.value("DB_NAME").unwrap_or("waystation"))
            .keepalives_idle(Duration::from_secs(60));
        if let Some(password) = self.value("DB_PASSWORD") {
            database.password(password);
        }
        Ok(database)
    }

    /// Everything that serving needs.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let connections = match self.value("HUB_CONNECTIONS") {
            None => CONNECTIONS,
            Some(text) => {
                let wrong = || ConfigError::Value("HUB_CONNECTIONS", text.to_owned(), "a number from 2 to 1000");
                text.parse().ok().filter(|number| (2..=1000).contains(number)).ok_or_else(wrong)?
            }
        };
        let listen = self.value("HUB_LISTEN").unwrap_or("127.0.0.1:7400").to_owned();
        let plain_http = match self.value("HUB_PLAIN_HTTP") {
            None | Some("false") => false,
            Some("true") => true,
            Some(text) => return Err(ConfigError::Value("HUB_PLAIN_HTTP", text.to_owned(), "true or false")),
        };
        let pages_ca = self.value("HUB_PAGES_CA").map(PathBuf::from);
        Ok(Config { listen, database: self.database()?, connections, tls: self.tls()?, pages_ca, plain_http })
    }

    /// The certificate that is configured.
    ///
    /// # Errors
    /// [`ConfigError::Half`].
    pub fn tls(&self) -> Result<Option<TlsFiles>, ConfigError> {
        const CERTIFICATE: &str = "HUB_TLS_CERT";
        const KEY: &str = "HUB_TLS_KEY";
        match (self.value(CERTIFICATE), self.value(KEY)) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate: certificate.into(), key: key.into() })),
            (Some(_), None) => Err(ConfigError::Half(CERTIFICATE, KEY)),
            (None, Some(_)) => Err(ConfigError::Half(KEY, CERTIFICATE)),
        }
    }
}

impl Config {
    /// Whether it may listen there: with TLS anywhere, without it where no other machine can listen in, or where it was
    /// allowed.
    ///
    /// # Errors
    /// [`ConfigError::PlainHttp`].
    pub fn may_listen_on(&self, address: SocketAddr) -> Result<(), ConfigError> {
        match self.tls.is_some() || self.plain_http || address.ip().to_canonical().is_loopback() {
            true => Ok(()),
            false => Err(ConfigError::PlainHttp(address)),
        }
    }
}

fn unknown(source: &BTreeMap<String, String>) -> impl Iterator<Item = &String> {
    source.keys().filter(|key| key.starts_with("HUB_") && !KEYS.contains(&key.as_str()))
}

fn read(path: &Path) -> Result<Option<String>, ConfigError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ConfigError::File(path.to_path_buf(), error)),
    }
}

/// `NAME=value` lines, with `export `, quotes and comments as shells have them.
fn parse_dotenv(text: &str) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=').filter(|_| !line.starts_with('#'))?;
        let value = value.trim();
        let quoted = |quote| value.strip_prefix(quote).and_then(|value| value.strip_suffix(quote));
        let bare = || value.split(" #").next().unwrap_or_default().trim_end();
        let value = quoted('"').or_else(|| quoted('\'')).unwrap_or_else(bare);
        Some((name.trim().to_owned(), value.to_owned())).filter(|(_, value)| !value.is_empty())
    };
    text.lines().filter_map(line).collect()
}

/// `listen`, `connections`, `database_url`, `db_host` and so on.
fn parse_toml(path: &Path, text: &str) -> Result<BTreeMap<String, String>, ConfigError> {
    let refuse = |message: String| ConfigError::Toml(path.to_path_buf(), message.lines().collect::<Vec<_>>().join(" "));
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| refuse(error.message().to_owned()))?;
    if let Some(key) = table.keys().find(|key| !TOML_KEYS.contains(&key.as_str())) {
        return Err(ConfigError::UnknownKey { path: path.to_path_buf(), key: key.clone(), known: TOML_KEYS });
    }
    let setting = |(name, value): (String, toml::Value)| {
        let name = match name.as_str() {
            "listen" | "connections" | "tls_cert" | "tls_key" | "pages_ca" | "plain_http" => {
                format!("HUB_{}", name.to_uppercase())
            }
            _ => name.to_uppercase(),
        };
        match value {
            toml::Value::String(text) => Ok((name, text)),
            toml::Value::Integer(number) => Ok((name, number.to_string())),
            toml::Value::Boolean(truth) => Ok((name, truth.to_string())),
            _ => Err(refuse(format!("{} has to be a text, a number, true or false", name.to_lowercase()))),
        }
    };
    table.into_iter().map(setting).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(sources: [&[(&str, &str)]; 4]) -> Settings {
        let own = |source: &[(&str, &str)]| {
            source.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        Settings { sources: sources.into_iter().map(own).collect() }
    }

    #[test]
    fn the_best_source_wins() {
        let all = settings([
            &[("HUB_LISTEN", "flag")],
            &[("HUB_LISTEN", "environment"), ("DB_NAME", "environment")],
            &[("DATABASE_URL", "postgres://somebody@elsewhere/dotenv")],
            &[("HUB_CONNECTIONS", "7"), ("DB_HOST", "toml")],
        ]);
        let config = all.config().unwrap();
        assert_eq!((config.listen.as_str(), config.connections), ("flag", 7));
        assert_eq!(config.database.get_dbname(), Some("environment"));
        assert_eq!(config.database.get_hosts(), [tokio_postgres::config::Host::Tcp("toml".to_owned())]);
    }

    #[test]
    fn a_dotenv_is_read_as_shells_do() {
        let parsed = parse_dotenv("# comment\nexport A=1\nB=\"two # words\" \nC='3'\nD=4 # four\nE=\nnonsense\n");
        let expected = [("A", "1"), ("B", "two # words"), ("C", "3"), ("D", "4")];
        assert_eq!(parsed, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn an_unknown_key_is_named_with_the_nearest_right_one() {
        let wrong = parse_toml(Path::new("hub.toml"), "databse_url = 'x'").unwrap_err().to_string();
        assert!(wrong.contains("databse_url in hub.toml (did you mean database_url?)"), "{wrong}");
        let remarks = settings([&[], &[("HUB_LISTNE", "x"), ("HOME", "/")], &[], &[]]).remarks();
        assert_eq!(remarks.len(), 1);
        assert!(remarks[0].contains("HUB_LISTNE") && remarks[0].contains("did you mean HUB_LISTEN?"), "{remarks:?}");
    }

    #[test]
    fn without_tls_only_loopback_is_listened_on_unless_it_is_allowed() {
        let flags = [("DB_HOST", "x")];
        let config = |more: &[(&str, &str)]| settings([&[flags.as_slice(), more].concat(), &[], &[], &[]]).config();
        let (own, all) = (([127, 0, 0, 1], 7400).into(), ([0, 0, 0, 0], 7400).into());
        let plain = config(&[]).unwrap();
        assert!(plain.may_listen_on(own).is_ok() && plain.may_listen_on("[::1]:1".parse().unwrap()).is_ok());
        let refused = plain.may_listen_on(all).unwrap_err().to_string();
        for words in ["0.0.0.0:7400", "hub ca init", "HUB_TLS_CERT", "HUB_PLAIN_HTTP=true"] {
            assert!(refused.contains(words), "{refused}");
        }
        assert!(config(&[("HUB_PLAIN_HTTP", "true")]).unwrap().may_listen_on(all).is_ok());
        assert!(config(&[("HUB_TLS_CERT", "c"), ("HUB_TLS_KEY", "k")]).unwrap().may_listen_on(all).is_ok());
        assert!(config(&[("HUB_PLAIN_HTTP", "yes")]).is_err());
        let half = config(&[("HUB_TLS_KEY", "k")]).unwrap_err().to_string();
        assert!(half.contains("HUB_TLS_KEY is given without HUB_TLS_CERT"), "{half}");
    }

    #[test]
    fn the_files_keys_of_tls_are_those_of_the_environment() {
        let read = parse_toml(Path::new("hub.toml"), "tls_cert = 'c'\ntls_key = 'k'\nplain_http = true").unwrap();
        let expected = [("HUB_TLS_CERT", "c"), ("HUB_TLS_KEY", "k"), ("HUB_PLAIN_HTTP", "true")];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn a_wrong_value_names_its_setting_and_hides_the_password() {
        for url in ["nonsense://me:secret@host/db", "postgres://host/db?pasword=secret", "me:secret", "passwrd=secret"]
        {
            let wrong = settings([&[], &[("DATABASE_URL", url)], &[], &[]]);
            assert_eq!(format!("{wrong:?}").matches("secret").count(), 0, "{wrong:?}");
            let message = wrong.database().unwrap_err().to_string();
            assert!(message.contains("DATABASE_URL") && !message.contains("secret"), "{message}");
        }
        assert!(settings([&[], &[("DB_PORT", "x")], &[], &[]]).database().is_err());
        assert!(settings([&[], &[("HUB_CONNECTIONS", "1")], &[], &[]]).config().is_err());
    }
}
