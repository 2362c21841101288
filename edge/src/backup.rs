//! One file that holds all of an edge: the mirror with what waits, and the credential.
//!
//! A backup is as secret as the data directory: with it, somebody is this edge to its hub. It is readable by its owner
//! alone, or encrypted with a passphrase. It is written beside its name and takes it when it is whole and on the disk; the name is
//! reserved by an empty file from the start, so that nothing is ever overwritten.
//!
//! What is encrypted leaves the data directory in no other form: SQLite copies into a file there, which is as private as the
//! mirror beside it, and that is encrypted to its destination. A copy that a killed command left behind is removed by the next
//! start of the edge and by the next backup; who is at work on one holds its lock.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use age::secrecy::SecretString;
use rustix::fs::{FlockOperation, flock};
use sync::sqlite::backup::{self, Contents, Found, Luggage};
use sync::sqlite::error::StoreError;
use sync::sqlite::open_reader;

use crate::credential::{Credential, CredentialError};
use crate::data_dir::{DataDir, DataDirError};
use crate::encryption::{self, Locked};
use crate::socket::remove_if_there;

/// A backup that was made.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    /// What it holds.
    pub contents: Contents,
    /// Whether it holds a credential: whether the edge is enrolled.
    pub has_credential: bool,
    /// Its size.
    pub bytes: u64,
}

/// A backup that was not made or not restored. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Something has the name.
    #[error("{} is there already and is not overwritten: give another name", .0.display())]
    Exists(PathBuf),
    /// The file cannot be made or made durable.
    #[error("cannot write {}: {source}: choose a place with room that you may write to", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The data directory has an edge.
    #[error("{} is there already and is not overwritten: give another --data, or move the old edge away", .0.display())]
    Occupied(PathBuf),
    /// The backup cannot be read.
    #[error("cannot read the backup {}: {source}", path.display())]
    Unread {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file to restore from is no backup.
    #[error("{} is no backup of an edge ({reason}); nothing was changed", path.display())]
    NoBackup {
        /// The file.
        path: PathBuf,
        /// How that was seen.
        reason: &'static str,
    },
    /// The backup is encrypted, and does not open.
    #[error("cannot restore {}: {source}; nothing was changed", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Locked,
    },
    /// The backup is not whole.
    #[error("cannot restore {}: {source}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<StoreError>,
    },
    /// The data directory cannot be made.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The edge's credential cannot be read.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The mirror cannot be read, or the copy not written.
    #[error("cannot copy the mirror to {}: {source}", path.display())]
    Store {
        /// The copy.
        path: PathBuf,
        /// Why.
        source: Box<StoreError>,
    },
}

/// Copies an edge, running or not, into a new file, encrypted if there is a passphrase. `made_at` is in stored form.
///
/// # Errors
/// [`BackupError`].
pub fn make(data: &DataDir, to: &Path, made_at: &str, passphrase: Option<&SecretString>) -> Result<Made, BackupError> {
    let file_error = |source| BackupError::File { path: to.to_owned(), source };
    let path = std::path::absolute(to).map_err(file_error)?;
    let directory = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let reserved = Unfinished::reserve(&path).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => BackupError::Exists(to.to_owned()),
        _ => file_error(source),
    })?;
    let mut partial = OsString::from(&path);
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    // Only a backup to this name that was cut short leaves one behind, and the name was free.
    remove_if_there(&partial).map_err(file_error)?;
    let copy = Unfinished::reserve(&partial).map_err(file_error)?;

    let (contents, has_credential) = match passphrase {
        None => fill(data, &partial, to, made_at)?,
        Some(passphrase) => {
            let (plain, copied) = copy_to_seal(data, to, made_at)?;
            let sealed = OpenOptions::new().write(true).open(&partial).map_err(file_error)?;
            let mut source = File::open(data.sealing()).map_err(file_error)?;
            encryption::encrypt(&mut source, &sealed, passphrase).map_err(file_error)?;
            drop(plain);
            copied
        }
    };

    let file = File::open(&partial).map_err(file_error)?;
    file.sync_all().map_err(file_error)?;
    let bytes = file.metadata().map_err(file_error)?.len();
    fs::rename(&partial, &path).map_err(file_error)?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(file_error)?;
    copy.keep();
    reserved.keep();
    Ok(Made { contents, has_credential, bytes })
}

/// Writes a whole backup into an empty file at an absolute path; tells what it holds, and whether a credential is among it. `to` is
/// the name for messages.
fn fill(data: &DataDir, into: &Path, to: &Path, made_at: &str) -> Result<(Contents, bool), BackupError> {
    let store_error = |source| BackupError::Store { path: to.to_owned(), source: Box::new(source) };
    let text = match Credential::load(&data.credential())? {
        Some(_) => Some(
            fs::read_to_string(data.credential())
                .map_err(|source| CredentialError::File { path: data.credential(), source })?,
        ),
        None => None,
    };
    let reader = open_reader(&data.database()).map_err(store_error)?;
    backup::copy(&reader, into).map_err(store_error)?;
    let luggage = Luggage { made_at, program: env!("CARGO_PKG_VERSION"), credential: text.as_deref() };
    let contents = backup::complete(into, luggage).map_err(store_error)?;
    Ok((contents, text.is_some()))
}

/// The same in the data directory, to be encrypted from there. The copy goes with what is returned.
fn copy_to_seal(data: &DataDir, to: &Path, made_at: &str) -> Result<(Unfinished, (Contents, bool)), BackupError> {
    let plain =
        std::path::absolute(data.sealing()).map_err(|source| BackupError::File { path: data.sealing(), source })?;
    let file_error = |source| BackupError::File { path: plain.clone(), source };
    remove_unfinished(&plain).map_err(file_error)?;
    let copy = Unfinished::reserve(&plain).map_err(file_error)?;
    let copied = fill(data, &plain, to, made_at)?;
    Ok((copy, copied))
}

/// Removes what backups and restores that were killed have left in the data directory: a whole copy of the mirror each.
///
/// # Errors
/// [`BackupError::File`]. One that somebody is at work on stays.
pub fn remove_leftovers(data: &DataDir) -> Result<(), BackupError> {
    for path in [data.sealing(), data.restoring()] {
        match remove_unfinished(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
            Err(source) => return Err(BackupError::File { path, source }),
        }
    }
    Ok(())
}

/// Whether a file is an encrypted backup, for which [`restore`] needs a passphrase.
///
/// # Errors
/// [`BackupError::Unread`].
pub fn is_encrypted(from: &Path) -> Result<bool, BackupError> {
    let unread = |source| BackupError::Unread { path: from.to_owned(), source };
    let mut file = File::open(from).map_err(unread)?;
    encryption::is_encrypted(&mut file).map_err(unread)
}

/// An edge that was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The backup.
    pub found: Found,
    /// The edge's name; `None` for one that was never enrolled.
    pub name: Option<String>,
}

/// Makes an edge of a backup, in a data directory without one. The backup stays as it is.
///
/// Whether the hub still knows this past of the edge is seen at the first contact: where it does not, the edge gets a new
/// identity there and keeps what waits.
///
/// # Errors
/// [`BackupError`].
pub fn restore(data: &DataDir, from: &Path, passphrase: Option<&SecretString>) -> Result<Restored, BackupError> {
    let (database, credential) = (data.database(), data.own_credential());
    let file_error = |path: &Path, source| BackupError::File { path: path.to_owned(), source };
    if database.exists() {
        return Err(BackupError::Occupied(database));
    }
    data.create()?;
    let partial = data.restoring();
    // Only a restore that was cut short leaves one behind.
    remove_unfinished(&partial).map_err(|source| file_error(&partial, source))?;
    let copy = Unfinished::reserve(&partial).map_err(|source| file_error(&partial, source))?;
    take_in(from, &partial, passphrase)?;
    let found = backup::unpack(&partial).map_err(|source| match source {
        StoreError::Foreign { reason, .. } => BackupError::NoBackup { path: from.to_owned(), reason },
        source => BackupError::Unfit { path: from.to_owned(), source: Box::new(source) },
    })?;
    File::open(&partial).and_then(|file| file.sync_all()).map_err(|source| file_error(&partial, source))?;
    let name = match &found.credential {
        None => None,
        Some(text) => {
            let known: Credential = serde_json::from_str(text)
                .map_err(|source| CredentialError::Content { path: from.to_owned(), source })?;
            // One of the same edge was left by a restore that was cut short.
            if Credential::load(&credential)?.is_some_and(|there| there.identity.edge != known.identity.edge) {
                return Err(BackupError::Occupied(credential));
            }
            known.store(&credential)?;
            Some(known.identity.name)
        }
    };
    // The last step: without the database there is no edge, and a second try begins anew.
    fs::rename(&partial, &database).map_err(|source| file_error(&database, source))?;
    let durable = File::open(data.path()).and_then(|directory| directory.sync_all());
    durable.map_err(|source| file_error(data.path(), source))?;
    copy.keep();
    Ok(Restored { found, name })
}

/// Copies a backup into the data directory, decrypted with a passphrase if there is one.
fn take_in(from: &Path, partial: &Path, passphrase: Option<&SecretString>) -> Result<(), BackupError> {
    let unread = |source| BackupError::Unread { path: from.to_owned(), source };
    let Some(passphrase) = passphrase else { return fs::copy(from, partial).map(drop).map_err(unread) };
    let sealed = File::open(from).map_err(unread)?;
    let unwritten = |source| BackupError::File { path: partial.to_owned(), source };
    let mut plain = OpenOptions::new().write(true).open(partial).map_err(unwritten)?;
    encryption::decrypt(&sealed, &mut plain, passphrase).map_err(|source| match source {
        Locked::Unwritten(source) => unwritten(source),
        Locked::Unread(source) => unread(source),
        source => BackupError::Locked { path: from.to_owned(), source },
    })
}

/// Removes a file of [`Unfinished`] that was left behind, with what SQLite keeps beside it.
fn remove_unfinished(path: &Path) -> io::Result<()> {
    match File::open(path) {
        Ok(file) => match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => {
                Err(io::Error::new(io::ErrorKind::ResourceBusy, "another command is at work on it"))
            }
            _ => {
                remove_if_there(&journal(path))?;
                remove_if_there(path)
            }
        },
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(()),
        Err(error) => Err(error),
    }
}

fn journal(path: &Path) -> PathBuf {
    let mut journal = OsString::from(path);
    journal.push("-journal");
    PathBuf::from(journal)
}

/// A file that goes again unless it is kept.
struct Unfinished {
    path: Option<PathBuf>,
    // Tells others that somebody is at work on it. SQLite's locks on the file are of another kind; they would go when this
    // handle closes, and by then SQLite has closed it.
    _lock: File,
}

impl Unfinished {
    /// Makes an empty file that its owner alone may read. It must not be there.
    fn reserve(path: &Path) -> io::Result<Self> {
        let lock = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        // Where files cannot be locked, nobody else works on them either.
        let _ = flock(&lock, FlockOperation::NonBlockingLockExclusive);
        Ok(Self { path: Some(path.to_owned()), _lock: lock })
    }

    fn keep(mut self) {
        self.path = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // A failed backup is told already; what SQLite keeps beside a copy goes with it.
            let _ = fs::remove_file(path);
            let _ = fs::remove_file(journal(path));
        }
    }
}
