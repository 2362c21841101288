//! The edge's data directory: what stands where, and who may read it.
//!
//! | file | purpose | written by |
//! |---|---|---|
//! | `edge.db` (and `-wal`, `-shm`) | the mirror | the writer's thread; plain clients |
//! | `edge.db.damaged-`... | a mirror that was damaged, until somebody removes it | `rescue` |
//! | `edge.lock` | held by the one process that writes | `sync::sqlite` |
//! | `credential.json`, 0600 | who this edge is to its hub, and which CA it trusts | enrolment |
//! | `page-certificate.json`, 0600 | the certificate and key of the box's own pages | `page_tls` |
//! | `reserve`, 0600 | room on the disk for sending what waits | `storage` |
//! | `budget.json`, 0600 | the bytes exchanged today, when they are limited | `budget` |
//! | `control.sock`, 0600 | commands beside a running edge | `edge serve` |

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::socket::remove_if_there;

/// A data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDir {
    path: PathBuf,
}

/// A data directory that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the data directory {}: {source}: give another one with --data or EDGE_DATA", path.display())]
pub struct DataDirError {
    path: PathBuf,
    source: io::Error,
}

impl DataDir {
    /// Names a directory; it need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Makes the directory if there is none, for its owner alone, and checks that files can be made in it.
    ///
    /// # Errors
    /// [`DataDirError`].
    pub fn create(&self) -> Result<(), DataDirError> {
        let failed = |source| DataDirError { path: self.path.clone(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path).map_err(failed)?;
        let writable = rustix::fs::access(&self.path, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK);
        writable.map_err(|error| failed(error.into()))
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.path.join("edge.db")
    }

    /// A damaged database out of which not all has been taken over yet.
    pub fn rescued(&self) -> PathBuf {
        self.path.join("edge.db.rescue")
    }

    /// The credential.
    pub fn credential(&self) -> PathBuf {
        self.path.join("credential.json")
    }

    /// The certificate and key of the box's own pages.
    pub fn page_certificate(&self) -> PathBuf {
        self.path.join("page-certificate.json")
    }

    /// The room that is kept for sending what waits.
    pub fn reserve(&self) -> PathBuf {
        self.path.join("reserve")
    }

    /// The bytes exchanged today.
    pub fn budget(&self) -> PathBuf {
        self.path.join("budget.json")
    }

    /// A file that is made and removed to see whether files can be made.
    pub fn trial(&self) -> PathBuf {
        self.path.join("trial")
    }

    /// The control socket.
    pub fn control(&self) -> PathBuf {
        self.path.join("control.sock")
    }
}

/// Writes a file that its owner alone may read, whole or not at all, and makes it durable.
///
/// # Errors
/// The system's.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let new = path.with_extension("new");
    // A crash may have left one behind, and in a directory that others write to it may be anybody's link.
    remove_if_there(&new)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_private_file_is_replaced_whole_and_stays_private() {
        let random: [u8; 8] = crate::clock::Clock::new().random();
        let directory = std::env::temp_dir().join(format!("edge-data-dir-{}", u64::from_be_bytes(random)));
        let data = DataDir::new(&directory);
        data.create().unwrap();
        assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(data.credential().with_extension("new"), "left behind").unwrap();
        for content in ["one", "two"] {
            write_private(&data.credential(), content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(data.credential()).unwrap(), content);
            assert_eq!(fs::metadata(data.credential()).unwrap().permissions().mode() & 0o777, 0o600);
        }
        fs::remove_dir_all(&directory).unwrap();
    }
}
