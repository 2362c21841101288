//! Who this edge is to its hub: `credential.json` in the data directory, for its owner alone.
//!
//! The secret is never printed: the debug form of [`Credential`] leaves it out.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use sync::wire::message::Enrolled;
use uuid::Uuid;

use crate::data_dir::write_private;
use crate::key_pair::KeyPair;

/// Held while the file is replaced, so that a renewal does not bring back an identity that was just given up.
static REPLACING: Mutex<()> = Mutex::new(());

/// What enrolment gave.
#[derive(Clone, Serialize, Deserialize)]
pub struct Credential {
    /// The hub's URL, without a slash at its end.
    pub hub: String,
    /// The certificates of the only CAs that may have signed the hub's, in PEM form; those of the system when it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The key pair that it was enrolled with; none if that was before there were keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyPair>,
    /// Which edge the mirror belonged to before, if it was enrolled again. Whoever finds the mirror still that one's was cut
    /// short, and finishes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<Uuid>,
    /// Who this edge is. Kept whole, so that a crash between this file and the database loses nothing.
    #[serde(flatten)]
    pub identity: Enrolled,
}

/// A credential that cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file cannot be read or written.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what enrolment writes. Only the place is told: the library would quote what stands there.
    #[error(
        "{} is damaged at line {} column {}: restore it, or enrol this edge again",
        path.display(), source.line(), source.column()
    )]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

impl Credential {
    /// The credential in a file; `None` when there is no file.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn load(path: &Path) -> Result<Option<Self>, CredentialError> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(CredentialError::File { path: path.to_owned(), source }),
        };
        let content = |source| CredentialError::Content { path: path.to_owned(), source };
        serde_json::from_slice(&text).map(Some).map_err(content)
    }

    /// Keeps the credential, whole or not at all, readable by its owner alone.
    ///
    /// # Errors
    /// [`CredentialError::File`].
    pub fn store(&self, path: &Path) -> Result<(), CredentialError> {
        let _replacing = REPLACING.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(path)
    }

    /// Keeps the next bearer credential of an edge; does nothing when the file is another edge's by now. Says whether it did.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn renew(path: &Path, edge: Uuid, next: &str) -> Result<bool, CredentialError> {
        let _replacing = REPLACING.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut credential) = Self::load(path)?.filter(|credential| credential.identity.edge == edge) else {
            return Ok(false);
        };
        credential.identity.credential = next.to_owned();
        credential.write(path)?;
        Ok(true)
    }

    fn write(&self, path: &Path) -> Result<(), CredentialError> {
        let file = |source| CredentialError::File { path: path.to_owned(), source };
        let text = serde_json::to_vec(self).map_err(|error| file(io::Error::other(error)))?;
        write_private(path, &text).map_err(file)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hub, identity, .. } = self;
        let Enrolled { edge, name, tenant, site, .. } = identity;
        let mut shown = f.debug_struct("Credential");
        shown.field("hub", hub).field("edge", edge).field("name", name).field("tenant", tenant).field("site", site);
        shown.finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync::wire::message::Fence;

    #[test]
    fn the_secret_is_stored_and_not_printed() {
        let identity = Enrolled {
            edge: Uuid::max(),
            name: "hq-1".to_owned(),
            replica: 7,
            credential: "hush".to_owned(),
            tenant: Uuid::nil(),
            site: Uuid::nil(),
            fence: Fence { count: 0, token: "hushed".to_owned() },
            former: Vec::new(),
        };
        let key = KeyPair::generate(crate::clock::Clock::new());
        let seed = serde_json::to_string(&key).unwrap();
        let credential = Credential { hub: "http://hub".to_owned(), ca: None, key: Some(key), follows: None, identity };
        let shown = format!("{credential:?} {:?}", credential.key);
        assert!(!shown.contains("hush") && !shown.contains(seed.trim_matches('"')), "{shown}");
        let path =
            std::env::temp_dir().join(format!("{}.json", u64::from_be_bytes(crate::clock::Clock::new().random())));
        assert!(Credential::load(&path).unwrap().is_none());
        credential.store(&path).unwrap();
        let loaded = Credential::load(&path).unwrap().expect("it was stored");
        assert_eq!((loaded.identity.credential.as_str(), loaded.identity.replica), ("hush", 7));
        let signed = |credential: &Credential| credential.key.as_ref().map(|key| (key.public(), key.sign("text")));
        assert_eq!(signed(&loaded), signed(&credential));
        assert!(!Credential::renew(&path, Uuid::nil(), "stray").unwrap(), "another edge's");
        assert!(Credential::renew(&path, Uuid::max(), "next").unwrap());
        let renewed = Credential::load(&path).unwrap().expect("it was stored");
        assert_eq!((renewed.identity.credential.as_str(), signed(&renewed)), ("next", signed(&credential)));
        std::fs::remove_file(&path).unwrap();
    }
}
