//! Who this edge is to its hub: `credential.json` in the data directory, for its owner alone.
//!
//! The secret is never printed: the debug form of [`Credential`] leaves it out.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sync::wire::message::Enrolled;
use uuid::Uuid;

use crate::data_dir::{DataDir, make_private, write_private};

/// What enrolment gave.
#[derive(Clone, Serialize, Deserialize)]
pub struct Credential {
    /// The hub's URL, without a slash at its end.
    pub hub: String,
    /// The certificates of the only CAs that may have signed the hub's, in PEM form; those of the system when it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
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
    /// Others may read it, and that cannot be changed.
    #[error(
        "{} may be read by others, and whoever reads it is this edge to the hub; its mode cannot be changed ({source}): \
         make it the edge's own user's with mode 600",
        path.display()
    )]
    Open {
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

    /// Takes others' rights to the file away before it is used, and says so: they may have read it. What systemd passes is guarded
    /// by systemd.
    ///
    /// # Errors
    /// [`CredentialError::Open`].
    pub fn guard(data: &DataDir) -> Result<(), CredentialError> {
        let path = data.own_credential();
        let tightened = make_private(&path).map_err(|source| CredentialError::Open { path: path.clone(), source })?;
        if let Some(mode) = tightened {
            tracing::warn!(
                "{} had mode {mode:04o} and could be read by others; it is private now: if others use this box, have \
                 the hub revoke this edge and enrol it again",
                path.display()
            );
        }
        Ok(())
    }

    /// Keeps the credential, whole or not at all, readable by its owner alone.
    ///
    /// # Errors
    /// [`CredentialError::File`].
    pub fn store(&self, path: &Path) -> Result<(), CredentialError> {
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
    use sync::wire::message::Fence;
    use uuid::Uuid;

    use super::*;

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
        let credential = Credential { hub: "http://hub".to_owned(), ca: None, follows: None, identity };
        assert!(!format!("{credential:?}").contains("hush"), "{credential:?}");
        let path =
            std::env::temp_dir().join(format!("{}.json", u64::from_be_bytes(crate::clock::Clock::new().random())));
        assert!(Credential::load(&path).unwrap().is_none());
        credential.store(&path).unwrap();
        let loaded = Credential::load(&path).unwrap().expect("it was stored");
        assert_eq!((loaded.identity.credential.as_str(), loaded.identity.replica), ("hush", 7));
        std::fs::remove_file(&path).unwrap();
    }
}
