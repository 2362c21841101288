//! What an edge is told before it starts: flags rank above the environment, that above `.env`, that above `edge.toml`.
//!
//! The environment belongs to everybody, so an unknown `EDGE_` variable there is only reported; in our own files an
//! unknown key stops the start, because a setting that is silently ignored is worse than none.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sync::suggestion::did_you_mean;

use crate::budget::DAILY_BYTES_MIN;
use crate::hosts::is_name;
use crate::trust::Transport;

/// The file read when no other is named, if it is there.
pub const FILE: &str = "edge.toml";
/// Ranks below the environment; may hold the keys of other programs too.
pub const DOTENV: &str = ".env";

const LISTEN_DEFAULT: &str = "127.0.0.1:7410";
const DATA_DEFAULT: &str = "./edge-data";
const PREFIX: &str = "EDGE_";
const LOG_DEFAULT: &str = "info";
const KEYS: &[&str] = &[
    "EDGE_LISTEN",
    "EDGE_DATA",
    "EDGE_HUB",
    "EDGE_LOG",
    "EDGE_DAILY_BYTES",
    "EDGE_PLAIN_HTTP",
    "EDGE_PAGES",
    "EDGE_NAMES",
];
const TOML_KEYS: &[&str] = &["listen", "data", "hub", "log", "daily_bytes", "plain_http", "pages", "names"];

/// What an edge is told before it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the API and the pages listen.
    pub listen: SocketAddr,
    /// The directory of the database, the credential, the lock and the control socket.
    pub data: PathBuf,
    /// The hub's URL; what enrolment stored when it is not given.
    pub hub: Option<String>,
    /// How many bytes may be exchanged with the hub in a day of UTC; as many as needed when it is not given.
    pub daily_bytes: Option<u64>,
    /// Whether a hub on another machine may be spoken to without TLS.
    pub plain_http: bool,
    /// How the pages are served.
    pub pages: Pages,
    /// By which names browsers may ask for this edge, beside those that it knows by itself.
    pub names: Vec<String>,
}

/// How the pages are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pages {
    /// By TLS, but on loopback without.
    #[default]
    Auto,
    /// By TLS on loopback too.
    Tls,
    /// In plain text anywhere.
    Plain,
}

impl Pages {
    fn parse(text: String) -> Result<Self, ConfigError> {
        match text.trim() {
            "tls" => Ok(Self::Tls),
            "plain" => Ok(Self::Plain),
            _ => Err(ConfigError::Pages { value: text }),
        }
    }
}

/// Settings from one place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `EDGE_LISTEN`.
    pub listen: Option<String>,
    /// `EDGE_DATA`.
    pub data: Option<PathBuf>,
    /// `EDGE_HUB`.
    pub hub: Option<String>,
    /// `EDGE_LOG`.
    pub log: Option<String>,
    /// `EDGE_DAILY_BYTES`.
    pub daily_bytes: Option<u64>,
    /// `EDGE_PLAIN_HTTP`.
    pub plain_http: Option<bool>,
    /// `EDGE_PAGES`.
    pub pages: Option<String>,
    /// `EDGE_NAMES`, separated by commas.
    pub names: Option<Vec<String>>,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no TOML, or has a key that we do not know.
    #[error("the configuration {} is not understood: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, naming the key.
        reason: String,
    },
    /// A key of ours that we do not know.
    #[error("unknown key {key} in {}{}: the known ones are {}", path.display(), did_you_mean(key, known.iter().copied()), known.join(", "))]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// Those that there are.
        known: &'static [&'static str],
    },
    /// A value that is no address.
    #[error("EDGE_LISTEN is {value:?}, which is no address: give one like {LISTEN_DEFAULT}")]
    Listen {
        /// The value.
        value: String,
    },
    /// A value that is no number of bytes, or too small a one.
    #[error("EDGE_DAILY_BYTES is {value:?}: give a number of bytes, {DAILY_BYTES_MIN} or more, or leave it out")]
    DailyBytes {
        /// The value.
        value: String,
    },
    /// A value that is neither true nor false.
    #[error("EDGE_PLAIN_HTTP is {value:?}: give true or false, or leave it out")]
    Truth {
        /// The value.
        value: String,
    },
    /// A way in which pages are not served.
    #[error("EDGE_PAGES is {value:?}: give tls or plain, or leave it out")]
    Pages {
        /// The value.
        value: String,
    },
    /// A text that is no name of a host.
    #[error(
        "EDGE_NAMES has {value:?}, which is no host's name: give names like edge.acme.lan, without a port, separated by commas"
    )]
    Name {
        /// The text.
        value: String,
    },
    /// A hub on another machine without TLS.
    #[error(
        "the hub's URL {:?} is not encrypted, and what is exchanged could be read on the way: give one with https://, or allow \
         this one with EDGE_PLAIN_HTTP=true if the way is safe",
        shown(value)
    )]
    PlainHttp {
        /// The value.
        value: String,
    },
    /// A value that is no URL of a hub.
    #[error("EDGE_HUB is {:?}, which is no URL of a hub: give one like https://hub.example.com", shown(value))]
    Hub {
        /// The value.
        value: String,
    },
}

/// A configuration, and what should be said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is logged, in the form of `tracing`'s filters: `info`, `edge=debug`.
    pub log: String,
    /// Variables of the environment that look like ours and are not known.
    pub unknown_variables: Vec<String>,
}

impl Loaded {
    /// What to say about the variables that are not known, a line each.
    pub fn remarks(&self) -> impl Iterator<Item = String> {
        self.unknown_variables.iter().map(|key| {
            format!(
                "the environment has {key}, which is not known and does nothing{}",
                did_you_mean(key, KEYS.iter().copied())
            )
        })
    }
}

/// Reads every place and puts the settings together.
///
/// `file` is the configuration file named by a flag; then it has to exist.
///
/// # Errors
/// [`ConfigError`], naming the place and the key.
pub fn load(flags: Settings, file: Option<&Path>) -> Result<Loaded, ConfigError> {
    let environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let dotenv = read_optional(Path::new(DOTENV))?.unwrap_or_default();
    let path = file.unwrap_or_else(|| Path::new(FILE));
    let toml = match (file, read_optional(path)?) {
        (Some(path), None) => {
            return Err(ConfigError::File { path: path.to_owned(), source: io::ErrorKind::NotFound.into() });
        }
        (_, text) => text.unwrap_or_default(),
    };
    let unknown_variables = unknown(environment.iter().map(|(key, _)| key.as_str()));
    let mut settings = merge([flags, from_pairs(&environment)?, from_dotenv(&dotenv)?, from_toml(&toml, path)?]);
    let log = settings.log.take().unwrap_or_else(|| LOG_DEFAULT.to_owned());
    Ok(Loaded { config: check(settings)?, log, unknown_variables })
}

/// The first place that says something wins.
fn merge(layers: [Settings; 4]) -> Settings {
    let merged = layers.into_iter().reduce(|above, below| Settings {
        listen: above.listen.or(below.listen),
        data: above.data.or(below.data),
        hub: above.hub.or(below.hub),
        log: above.log.or(below.log),
        daily_bytes: above.daily_bytes.or(below.daily_bytes),
        plain_http: above.plain_http.or(below.plain_http),
        pages: above.pages.or(below.pages),
        names: above.names.or(below.names),
    });
    merged.unwrap_or_default()
}

fn check(settings: Settings) -> Result<Config, ConfigError> {
    let Settings { listen, data, hub, log: _, daily_bytes, plain_http, pages, names } = settings;
    let names = names.unwrap_or_default();
    if let Some(value) = names.iter().find(|name| !is_name(name)) {
        return Err(ConfigError::Name { value: value.clone() });
    }
    let plain_http = plain_http.unwrap_or(false);
    let listen = listen.unwrap_or_else(|| LISTEN_DEFAULT.to_owned());
    if let Some(value) = hub.as_deref().filter(|url| !is_hub_url(url)) {
        return Err(ConfigError::Hub { value: value.to_owned() });
    }
    let is_plain = |url: &&str| Transport::to(url) == Some(Transport::PlainHttp);
    if let Some(value) = hub.as_deref().filter(is_plain).filter(|_| !plain_http) {
        return Err(ConfigError::PlainHttp { value: value.to_owned() });
    }
    if let Some(bytes) = daily_bytes.filter(|bytes| *bytes < DAILY_BYTES_MIN) {
        return Err(ConfigError::DailyBytes { value: bytes.to_string() });
    }
    Ok(Config {
        daily_bytes,
        plain_http,
        pages: pages.map_or(Ok(Pages::Auto), Pages::parse)?,
        names,
        listen: listen.parse().map_err(|_| ConfigError::Listen { value: listen })?,
        data: data.unwrap_or_else(|| PathBuf::from(DATA_DEFAULT)),
        hub: hub.map(|url| url.trim_end_matches('/').to_owned()),
    })
}

/// Whether a text is the URL of a hub, as far as that can be seen without asking. One with a user or a password is none: it
/// would stand in the status, which everybody at the site may read.
pub fn is_hub_url(text: &str) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| {
        let is_bare = url.query().is_none() && url.fragment().is_none();
        let is_open = url.username().is_empty() && url.password().is_none();
        matches!(url.scheme(), "http" | "https") && url.has_host() && is_bare && is_open
    })
}

/// A URL for messages, without what may be a secret in it: a user and password, and what follows the path.
pub fn shown(url: &str) -> String {
    let (start, more) = url.find(['?', '#']).map_or((url, ""), |end| (&url[..end], "..."));
    let open = start.rsplit_once('@').map_or_else(|| start.to_owned(), |(_, host)| format!("...@{host}"));
    open + more
}

fn read_optional(path: &Path) -> Result<Option<String>, ConfigError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConfigError::File { path: path.to_owned(), source }),
    }
}

fn from_pairs(pairs: &[(String, String)]) -> Result<Settings, ConfigError> {
    let value = |name: &str| {
        let pair = pairs.iter().find(|(key, value)| key == name && !value.is_empty());
        pair.map(|(_, value)| value.clone())
    };
    let data = value("EDGE_DATA").map(PathBuf::from);
    let bytes = |value: String| value.trim().parse().map_err(|_| ConfigError::DailyBytes { value });
    let daily_bytes = value("EDGE_DAILY_BYTES").map(bytes).transpose()?;
    let plain_http = match value("EDGE_PLAIN_HTTP").as_deref().map(str::trim) {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(other) => return Err(ConfigError::Truth { value: other.to_owned() }),
    };
    let pages = value("EDGE_PAGES");
    let (listen, hub, log) = (value("EDGE_LISTEN"), value("EDGE_HUB"), value("EDGE_LOG"));
    let names = value("EDGE_NAMES").map(|value| value.split(',').map(|name| name.trim().to_owned()).collect());
    Ok(Settings { listen, data, hub, log, daily_bytes, plain_http, pages, names })
}

fn from_dotenv(text: &str) -> Result<Settings, ConfigError> {
    let mut pairs = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        let Some((key, value)) = line.strip_prefix("export ").unwrap_or(line).split_once('=') else { continue };
        if !line.starts_with('#') {
            pairs.push((key.trim().to_owned(), unquoted(value.trim()).to_owned()));
        }
    }
    match unknown(pairs.iter().map(|(key, _)| key.as_str())).pop() {
        Some(key) => Err(ConfigError::UnknownKey { path: DOTENV.into(), key, known: KEYS }),
        None => from_pairs(&pairs),
    }
}

fn unquoted(value: &str) -> &str {
    let within = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    within('"').or_else(|| within('\'')).unwrap_or(value)
}

fn from_toml(text: &str, path: &Path) -> Result<Settings, ConfigError> {
    let unclear = |error: toml::de::Error| ConfigError::Syntax {
        path: path.to_owned(),
        reason: error.message().replace('\n', " "),
    };
    let table: toml::Table = text.parse().map_err(unclear)?;
    if let Some(key) = table.keys().find(|key| !TOML_KEYS.contains(&key.as_str())) {
        return Err(ConfigError::UnknownKey { path: path.to_owned(), key: key.clone(), known: TOML_KEYS });
    }
    table.try_into().map_err(unclear)
}

fn unknown<'a>(keys: impl Iterator<Item = &'a str>) -> Vec<String> {
    keys.filter(|key| key.starts_with(PREFIX) && !KEYS.contains(key)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(listen: &str) -> Settings {
        from_pairs(&[("EDGE_LISTEN".to_owned(), listen.to_owned())]).unwrap()
    }

    #[test]
    fn the_higher_place_wins() {
        let toml = from_toml("listen = '127.0.0.1:4'\nhub = 'https://hub:7400/'", Path::new(FILE)).unwrap();
        let dotenv = from_dotenv("# a comment\nexport EDGE_LISTEN=\"127.0.0.1:3\"\nDB_NAME=x").unwrap();
        let flags = Settings { listen: Some("127.0.0.1:1".to_owned()), ..Settings::default() };
        let environment = pairs("127.0.0.1:2");
        let layers = [flags, environment, dotenv, toml];
        for highest in 0..4_usize {
            let mut left = layers.clone();
            left[..highest].fill(Settings::default());
            let config = check(merge(left)).unwrap();
            assert_eq!(usize::from(config.listen.port()), highest + 1);
            assert_eq!(config.hub.as_deref(), Some("https://hub:7400"), "said in one place only");
            assert_eq!(config.data, Path::new(DATA_DEFAULT));
        }
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = from_toml("lissten = 'x'", Path::new("my.toml")).unwrap_err().to_string();
        assert!(error.contains("my.toml (did you mean listen?)") && error.contains("lissten"), "{error}");
        let error = from_dotenv("EDGE_LISTN=x").unwrap_err().to_string();
        assert!(error.contains("EDGE_LISTN") && error.contains("did you mean EDGE_LISTEN?"), "{error}");
    }

    #[test]
    fn a_hub_on_another_machine_is_not_spoken_to_in_plain_text_unless_that_is_said() {
        let hub = |url: &str| Settings { hub: Some(url.to_owned()), ..Settings::default() };
        for url in ["http://hub.example.com", "http://192.0.2.7:7400", "http://127.0.0.1.example.com"] {
            let refused = check(hub(url)).unwrap_err().to_string();
            assert!(refused.contains(url) && refused.contains("EDGE_PLAIN_HTTP=true"), "{refused}");
            let allowed = from_pairs(&[("EDGE_PLAIN_HTTP".to_owned(), "true".to_owned())]).unwrap();
            assert!(check(merge([hub(url), allowed, Settings::default(), Settings::default()])).unwrap().plain_http);
        }
        for url in ["https://hub.example.com", "http://127.0.0.1:7400", "http://[::1]:7400", "http://localhost:1"] {
            assert!(!check(hub(url)).unwrap().plain_http, "{url}");
        }
        assert!(from_pairs(&[("EDGE_PLAIN_HTTP".to_owned(), "yes".to_owned())]).is_err());
        assert_eq!(from_toml("plain_http = true", Path::new(FILE)).unwrap().plain_http, Some(true));
    }

    #[test]
    fn names_come_from_a_list_and_what_is_none_is_quoted() {
        let names = |text: &str| from_pairs(&[("EDGE_NAMES".to_owned(), text.to_owned())]).unwrap();
        assert_eq!(check(names("edge.acme.lan, box-7")).unwrap().names, ["edge.acme.lan", "box-7"]);
        let toml = from_toml("names = ['edge.acme.lan']", Path::new(FILE)).unwrap();
        assert_eq!(check(toml).unwrap().names, ["edge.acme.lan"]);
        for wrong in ["https://edge.acme.lan", "edge.acme.lan:7410", "a,,b", "*"] {
            let error = check(names(wrong)).unwrap_err().to_string();
            assert!(error.contains("EDGE_NAMES has \""), "{error}");
        }
    }

    #[test]
    fn a_value_that_cannot_be_used_is_quoted() {
        let error = check(pairs("here")).unwrap_err();
        assert!(error.to_string().contains("\"here\""), "{error}");
        for bytes in ["many", "-1", "1"] {
            let settings = from_pairs(&[("EDGE_DAILY_BYTES".to_owned(), bytes.to_owned())]);
            let error = settings.and_then(check).unwrap_err().to_string();
            assert!(error.contains(&format!("{bytes:?}")) && error.contains("65536"), "{error}");
        }
        for url in ["hub", "ftp://hub", "http://", "hub:7400", "http://hub?x=1", "https://me@hub", "https://me:pw@hub"]
        {
            assert!(!is_hub_url(url), "{url}");
        }
        assert!(is_hub_url("http://127.0.0.1:7400") && is_hub_url("https://hub.example.com/waystation/"));
    }
}
