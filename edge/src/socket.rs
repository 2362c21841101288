//! Unix sockets in our own directories: private from their first moment, and wherever the directory is.
//!
//! The kernel takes a socket's path of 107 bytes at most. A longer one is reached through its directory's handle, which
//! has a short name below `/proc/self/fd`; where there is no such name the caller gets a clear error.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// The longest path that a socket can have, in bytes.
pub const PATH_BYTES_MAX: usize = 107;

/// Listens at a path that its owner alone can reach. What a dead process left there is replaced; that no live one
/// listens there is the caller's business.
///
/// # Errors
/// The system's; `InvalidFilename` for a path that is too long on this system.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    let new = path.with_extension("new");
    remove_if_there(&new)?;
    let listener = UnixListener::bind(short(&new)?.path())?;
    // Nobody knows the name yet, so nobody connects before the permissions are right.
    fs::set_permissions(&new, Permissions::from_mode(0o600))?;
    fs::rename(&new, path)?;
    Ok(listener)
}

/// Connects to a socket; `None` when nobody listens there.
///
/// # Errors
/// The system's; `InvalidFilename` for a path that is too long on this system.
pub async fn connect(path: &Path) -> io::Result<Option<UnixStream>> {
    let short = match short(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        short => short?,
    };
    match UnixStream::connect(short.path()).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a file, or finds that there is none.
///
/// # Errors
/// The system's.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A path that fits, and the directory's handle that it goes through if it needs one.
struct Short {
    path: PathBuf,
    _directory: Option<File>,
}

impl Short {
    fn path(&self) -> &Path {
        &self.path
    }
}

fn short(path: &Path) -> io::Result<Short> {
    if path.as_os_str().len() <= PATH_BYTES_MAX {
        return Ok(Short { path: path.to_owned(), _directory: None });
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    let directory = File::open(parent)?;
    let handle = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    if !handle.exists() {
        let message = format!("a socket's path may have {PATH_BYTES_MAX} bytes, choose a shorter directory");
        return Err(io::Error::new(io::ErrorKind::InvalidFilename, message));
    }
    Ok(Short { path: handle.join(name), _directory: Some(directory) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn a_long_path_works_and_is_private() {
        let random: [u8; 8] = crate::clock::Clock::new().random();
        let root = std::env::temp_dir().join(format!("edge-socket-{}", u64::from_be_bytes(random)));
        for directory in [root.join("short"), root.join("long".repeat(40)).join("longer".repeat(30))] {
            fs::create_dir_all(&directory).unwrap();
            let path = directory.join("control.sock");
            assert!(connect(&path).await.unwrap().is_none(), "nobody was there");
            drop(bind(&path).unwrap());
            assert!(connect(&path).await.unwrap().is_none(), "a dead process left it behind");
            let listener = bind(&path).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            let mut client = connect(&path).await.unwrap().expect("somebody listens");
            client.write_all(b"x").await.unwrap();
            let mut byte = [0];
            listener.accept().await.unwrap().0.read_exact(&mut byte).await.unwrap();
            assert_eq!(byte, *b"x");
        }
        fs::remove_dir_all(&root).unwrap();
    }
}
