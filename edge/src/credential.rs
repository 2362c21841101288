//! Who this edge is to its hub: `credential.json` in the data directory, for its owner alone.
//!
//! The secret is never printed: [`Credential`] shows everything else.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::data_dir::write_private;

/// What enrolment gave.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// The hub's URL, without a slash at its end.
    pub hub: String,
    /// The edge's id at the hub.
    pub edge: Uuid,
    /// The edge's name at the hub.
    pub name: String,
    /// The bearer credential.
    pub secret: String,
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
    /// The file is not what enrolment writes.
    #[error("{} is damaged ({source}): restore it, or enrol this edge again", path.display())]
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
        let file = |source| CredentialError::File { path: path.to_owned(), source };
        let text = serde_json::to_vec(self).map_err(|error| file(io::Error::other(error)))?;
        write_private(path, &text).map_err(file)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hub, edge, name, secret: _ } = self;
        f.debug_struct("Credential").field("hub", hub).field("edge", edge).field("name", name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_not_printed() {
        let (hub, name, secret) = ("http://hub".to_owned(), "hq-1".to_owned(), "hush".to_owned());
        let credential = Credential { hub, edge: Uuid::nil(), name, secret };
        assert!(!format!("{credential:?}").contains("hush"));
    }
}
