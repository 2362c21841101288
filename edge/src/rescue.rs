//! A database file that does not read back whole: found, set aside under a name that says so, and replaced by a new one
//! with all that could be read of what the hub does not have. The rest comes from the hub.
//!
//! Nothing is deleted: the damaged file stays beside the new one until a person removes it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};
use sync::sqlite::error::StoreError;
use sync::sqlite::salvage::{self, Salvaged};
use sync::sqlite::{self, Store, health, open_reader, reidentify, self_state};

use crate::App;
use crate::credential::Credential;
use crate::data_dir::DataDir;
use crate::running::OpenError;
use crate::socket::remove_if_there;

/// How often a running edge reads its whole file back, in milliseconds.
pub const CHECK_MS: u64 = 24 * 60 * 60 * 1000;
/// So many damaged files beside each other, and the next one stops the edge: its disk is not to be trusted.
pub const SET_ASIDE_MAX: usize = 5;

/// What belongs to one database, by the ends of the names.
const FILES: [&str; 3] = ["-wal", "-shm", ""];

/// A damaged file that cannot be replaced.
#[derive(Debug, thiserror::Error)]
pub enum RescueError {
    /// There are too many of them.
    #[error(
        "{} is damaged again ({problem}), and {SET_ASIDE_MAX} damaged ones lie beside it: replace the disk, then move them away",
        path.display()
    )]
    AgainAndAgain {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// It cannot be renamed.
    #[error("cannot set the damaged {} aside: {source}", path.display())]
    Rename {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What is wrong with a file that is there; `None` when it reads back whole, or something else keeps it from being read.
/// `is_ours` says that an edge's file stood here, so that one which is no database any more is a damaged one.
pub fn damage(path: &Path, is_ours: bool) -> Option<String> {
    if fs::metadata(path).map_or(0, |file| file.len()) == 0 {
        return None;
    }
    let problem = match open_reader(path) {
        Ok(connection) => match health::damage(&connection) {
            Ok(problems) => problems.into_iter().next(),
            Err(error) => means_damage(&error).then(|| error.to_string()),
        },
        Err(StoreError::Foreign { reason, .. }) if is_ours => Some(reason.to_owned()),
        Err(error) => means_damage(&error).then(|| error.to_string()),
    };
    problem.map(|problem| problem.lines().next().unwrap_or_default().to_owned())
}

/// Whether a failure of the database says that its file is damaged.
pub fn means_damage(error: &StoreError) -> bool {
    let StoreError::Sqlite(error) = error else { return false };
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Opens the database under the caller's lock; first, if it is damaged, replaces it by a new one with what can be read of what
/// the hub does not have. Cut short at any point, it is done again by the next start.
///
/// # Errors
/// [`OpenError`].
pub fn open(data: &DataDir, lock: File, credential: Option<&Credential>, now: &str) -> Result<Store, OpenError> {
    let path = data.database();
    if !data.rescued().exists() {
        let problem = match damage(&path, credential.is_some()) {
            Some(problem) => problem,
            // What reads back page by page may still not fit together, as a copy of files of different moments does.
            None => match open_new(data, lock.try_clone()?, credential) {
                Err(OpenError::Store(error)) if means_damage(&error) => error.to_string(),
                opened => return opened,
            },
        };
        if damaged_files(data).len() >= SET_ASIDE_MAX {
            return Err(RescueError::AgainAndAgain { path, problem }.into());
        }
        tracing::error!(problem, "the database is damaged; it is set aside, and a new one is filled from the hub");
        rename(&path, &data.rescued())?;
    } else {
        // A new file that nobody has written to: its maker held the lock and was cut short.
        for suffix in FILES {
            remove_if_there(&beside(&path, suffix))
                .map_err(|source| RescueError::Rename { path: path.clone(), source })?;
        }
    }
    let mut store = open_new(data, lock, credential)?;
    let salvaged = salvage(&data.rescued(), store.connection_mut())?;
    let stamp: String = now.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let aside = beside(&path, &format!(".damaged-{stamp}"));
    rename(&data.rescued(), &aside)?;
    let Salvaged { rows, rows_lost, conflicts, audits, audits_lost, knows_itself } = salvaged;
    tracing::warn!(
        rows,
        rows_lost,
        conflicts,
        audits,
        audits_lost,
        knows_itself,
        "what the hub does not have was taken over; the damaged file is kept as {}",
        aside.display()
    );
    Ok(store)
}

fn open_new(data: &DataDir, lock: File, credential: Option<&Credential>) -> Result<Store, OpenError> {
    let mut store = sqlite::open_locked(&data.database(), lock)?;
    if let Some(credential) = credential {
        let tx = store.begin()?;
        let state = self_state::load(&tx)?;
        // Also finishes an enrolment, a first or a second one, that was interrupted between its file and the database.
        if !state.is_enrolled() {
            self_state::enrolled(&tx, &credential.identity, &credential.hub)?;
        } else if state.edge.is_some() && state.edge == credential.follows {
            reidentify::enroll_again(&tx, &credential.identity, &credential.hub)?;
        }
        tx.commit().map_err(StoreError::from)?;
    }
    Ok(store)
}

fn salvage(aside: &Path, new: &mut Connection) -> Result<Salvaged, StoreError> {
    match open_reader(aside) {
        Ok(damaged) => salvage::copy(&damaged, new),
        Err(error) => {
            tracing::warn!(%error, "nothing can be read of the damaged file");
            Ok(Salvaged::default())
        }
    }
}

/// Renames a database with its log. The log first: without it a file is an older one, and with another's it is none.
fn rename(from: &Path, to: &Path) -> Result<(), RescueError> {
    for suffix in FILES {
        match fs::rename(beside(from, suffix), beside(to, suffix)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(RescueError::Rename { path: from.to_owned(), source }),
        }
    }
    Ok(())
}

/// The damaged files of a data directory, by name.
pub fn damaged_files(data: &DataDir) -> Vec<PathBuf> {
    let start = format!("{}.damaged-", data.database().file_name().unwrap_or_default().to_string_lossy());
    let is_log = |name: &str| name.ends_with("-wal") || name.ends_with("-shm");
    let entries = fs::read_dir(data.path()).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.starts_with(&start) && !is_log(&name)
        })
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// Returns when the file of a running edge is found damaged, with what is wrong: looked for once a day, and at once when a
/// statement failed for it.
pub async fn found(app: &App) -> String {
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(CHECK_MS)) => {}
            () = app.storage.suspected() => {}
        }
        match app.db.read(|connection| health::damage(connection)).await {
            Ok(problems) => {
                if let Some(problem) = problems.into_iter().next() {
                    return problem;
                }
            }
            Err(error) if means_damage(&error) => return error.to_string(),
            Err(error) => tracing::warn!(%error, "the database could not be checked"),
        }
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
