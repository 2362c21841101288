//! The demo's directory, and how a command in another terminal finds it and talks to the demo.
//!
//! | file | purpose |
//! |---|---|
//! | `demo.sock`, 0600 | one word a line from `edge demo cut` and `heal`, one line of answer |
//! | `password`, 0600 | the database's, for the next start with `--dir` |
//! | `postgresql/` | the cluster; belongs to the server's user |
//! | `edges/NAME/` | the data directories |
//! | `logs/` | what the parts say |

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sync::wire::base64url;

use super::DemoError;
use crate::clock::Clock;
use crate::data_dir::write_private;
use crate::socket::remove_if_there;

/// A demo's directory.
#[derive(Clone, Debug)]
pub(super) struct Place {
    path: PathBuf,
    /// Whether it stays when the demo ends.
    pub(super) is_kept: bool,
}

impl Place {
    /// Makes the directory: the given one, which is kept, or a new one below the temporary directory.
    pub(super) fn make(given: Option<&Path>, clock: Clock) -> Result<Self, DemoError> {
        let path = match given {
            Some(path) => std::path::absolute(path).map_err(|source| unusable(path, source))?,
            None => std::env::temp_dir().join(format!("waystation-demo-{}", hex(clock.random::<6>()))),
        };
        let failed = |source| unusable(&path, source);
        if !path.is_dir() {
            DirBuilder::new().recursive(true).create(&path).map_err(failed)?;
            // Passable, not readable: the database server may belong to another user and has to reach its own part.
            fs::set_permissions(&path, Permissions::from_mode(0o711)).map_err(failed)?;
        }
        for part in ["edges", "logs"] {
            DirBuilder::new().recursive(true).mode(0o700).create(path.join(part)).map_err(failed)?;
        }
        Ok(Self { path, is_kept: given.is_some() })
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what is not kept; the keeper may have done so.
    pub(super) fn remove(&self) {
        if !self.is_kept {
            // A keeper that removes it at the same moment is as good.
            let _ = fs::remove_dir_all(&self.path);
        }
    }

    /// The cluster's directory.
    pub(super) fn postgresql(&self) -> PathBuf {
        self.path.join("postgresql")
    }

    /// Where the parts write what they say.
    pub(super) fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// An edge's data directory.
    pub(super) fn edge(&self, name: &str) -> PathBuf {
        self.path.join("edges").join(name)
    }

    /// The database's password: the one of a former demo in this directory, or a new one.
    pub(super) fn password(&self, clock: Clock) -> Result<String, DemoError> {
        let path = self.path.join("password");
        let failed = |source| unusable(&path, source);
        match fs::read_to_string(&path) {
            Ok(password) => Ok(password),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let password = base64url::encode(clock.random::<18>());
                write_private(&path, password.as_bytes()).map_err(failed)?;
                Ok(password)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Lets commands in other terminals find this demo without being told where it is. The last one started is found.
    pub(super) fn announce(&self) -> Result<(), DemoError> {
        let pointer = pointer();
        let path = self.path.as_os_str().as_encoded_bytes();
        write_private(&pointer, path).map_err(|source| unusable(&pointer, source))
    }

    /// Undoes [`Place::announce`], unless another demo was started since.
    pub(super) fn retract(&self) {
        if found().is_some_and(|path| path == self.path) {
            // What cannot be removed points to nothing, which the next command says.
            let _ = remove_if_there(&pointer());
        }
    }
}

/// The socket of a demo.
pub(super) fn socket(directory: &Path) -> PathBuf {
    directory.join("demo.sock")
}

/// The directory of the demo that was started last, if it is still announced.
pub(super) fn found() -> Option<PathBuf> {
    let pointer = pointer();
    // In a directory that everybody may write to, only our own word counts.
    let ours = fs::symlink_metadata(&pointer).ok().filter(|file| file.is_file());
    ours.filter(|file| file.uid() == rustix::process::getuid().as_raw())?;
    fs::read_to_string(&pointer).ok().map(PathBuf::from)
}

fn pointer() -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_dir());
    let user = rustix::process::getuid().as_raw();
    runtime.unwrap_or_else(std::env::temp_dir).join(format!("waystation-demo-of-{user}"))
}

fn unusable(path: &Path, source: io::Error) -> DemoError {
    DemoError::Directory { path: path.to_owned(), source }
}

fn hex(bytes: [u8; 6]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
