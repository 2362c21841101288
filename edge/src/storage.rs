//! How the disk under the data directory takes writes, and the room that is kept on it for sending what waits.
//!
//! A file of [`RESERVE_BYTES`] is kept while there is room. When a write meets a full disk the file is emptied: from then on
//! people's writes are refused, and what the exchange stores has that room, so that a full box still gets rid of what it
//! owes. When the file can be kept again, with some room beside it, writes are taken again. A disk that became read-only or
//! fails is only noticed and told; it is tried again by every write, and by [`watch()`] until one succeeds.
//!
//! SQLite undoes a transaction whose pages cannot be written or made durable, and writes every one of them anew in the next,
//! so nothing that failed is ever taken for done.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;
use sync::sqlite::error::StoreError;
use sync::sqlite::health;
use tokio::sync::{Notify, watch};
use tokio::time::MissedTickBehavior;

use crate::App;
use crate::data_dir::DataDir;
use crate::rescue;

/// How much room is kept, in bytes: two of the largest batches with their logs, and their answers.
pub const RESERVE_BYTES: u64 = 8 * 1024 * 1024;
/// How much room there must be beside the reserve before writes are taken again, in bytes.
pub const ROOM_BYTES_MIN: u64 = 2 * 1024 * 1024;
/// How often a disk in trouble is tried, in milliseconds.
pub const LOOK_MS: u64 = 1_000;

/// How the disk takes writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// It does.
    #[default]
    Ok,
    /// It is full: people's writes are refused, and what waits is sent.
    Full,
    /// It became read-only.
    ReadOnly,
    /// It fails.
    Failing,
}

impl Condition {
    /// Its name in the status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Full => "full",
            Self::ReadOnly => "read_only",
            Self::Failing => "failing",
        }
    }
}

/// The disk of one data directory.
#[derive(Debug)]
pub struct Storage {
    data: DataDir,
    condition: watch::Sender<Condition>,
    keeps_room: AtomicBool,
    suspicion: Notify,
}

impl Storage {
    /// The disk of a data directory, so far without a fault and without a reserve.
    pub fn new(data: DataDir) -> Self {
        let condition = watch::Sender::new(Condition::Ok);
        Self { data, condition, keeps_room: AtomicBool::new(false), suspicion: Notify::new() }
    }

    /// How it takes writes.
    pub fn condition(&self) -> Condition {
        *self.condition.borrow()
    }

    /// Whether a person's write may be tried: not while the last of the room is kept for sending what waits.
    pub fn has_room(&self) -> bool {
        self.condition() != Condition::Full || self.look_for_room()
    }

    /// Draws conclusions from a failure of the database.
    pub fn notice(&self, error: &StoreError) {
        if rescue::means_damage(error) {
            self.suspicion.notify_one();
        }
        let StoreError::Sqlite(error) = error else { return };
        let found = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Condition::Full,
            Some(ErrorCode::ReadOnly) => Condition::ReadOnly,
            Some(ErrorCode::SystemIoFailure) if self.is_read_only() => Condition::ReadOnly,
            Some(ErrorCode::SystemIoFailure) => Condition::Failing,
            _ => return,
        };
        if found == Condition::Full {
            self.give_room();
        }
        self.turn(found);
    }

    /// Returns when a failure has said that the file may be damaged.
    pub async fn suspected(&self) {
        self.suspicion.notified().await;
    }

    /// Begins to keep room; without it, it is only noticed when a disk is full.
    pub fn keep_room(&self) {
        self.keeps_room.store(true, Ordering::Relaxed);
        if !self.look_for_room() {
            self.turn(Condition::Full);
        }
    }

    /// Keeps the reserve if there is room for it and more, and says whether there is.
    fn look_for_room(&self) -> bool {
        if self.keeps_room.load(Ordering::Relaxed) {
            let missing = RESERVE_BYTES.saturating_sub(fs::metadata(self.reserve()).map_or(0, |file| file.len()));
            // Asked before it is taken: what is nearly full is not made full for a moment.
            let free = statvfs(self.data.path()).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
            if free.is_ok_and(|free| free < missing + ROOM_BYTES_MIN) {
                return false;
            }
            if let Err(error) = self.take_room() {
                tracing::debug!(%error, "no room can be kept on the disk");
                self.give_room();
                return false;
            }
        }
        self.turn(Condition::Ok);
        true
    }

    fn take_room(&self) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(self.reserve())?;
        if file.metadata()?.len() >= RESERVE_BYTES {
            return Ok(());
        }
        match fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES) {
            Ok(()) => Ok(()),
            // Some file systems cannot; room is taken there by filling it.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                for _ in 0..RESERVE_BYTES / 65_536 {
                    file.write_all(&[0; 65_536])?;
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn give_room(&self) {
        // What cannot be emptied holds no room that could be given.
        let _ = OpenOptions::new().write(true).open(self.reserve()).and_then(|file: File| file.set_len(0));
    }

    /// Asked by making a file: a disk that the kernel gave up after an error says nothing of it in its flags.
    fn is_read_only(&self) -> bool {
        let trial = self.data.trial();
        match OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&trial) {
            Ok(_) => {
                // What stays behind is made anew by the next trial.
                let _ = fs::remove_file(&trial);
                false
            }
            Err(error) => error.kind() == io::ErrorKind::ReadOnlyFilesystem,
        }
    }

    fn turn(&self, condition: Condition) {
        let before = self.condition.send_replace(condition);
        if before != condition {
            match condition {
                Condition::Ok => tracing::info!("the disk takes writes again"),
                _ => tracing::error!(disk = condition.name(), "writes are refused; reading goes on"),
            }
        }
    }

    fn reserve(&self) -> PathBuf {
        self.data.reserve()
    }
}

/// Tries a disk in trouble until it takes writes again, and keeps room on one that has some. Ends when it is dropped.
pub async fn watch(app: App) {
    app.storage.keep_room();
    let mut condition = app.storage.condition.subscribe();
    let mut ticks = tokio::time::interval(Duration::from_millis(LOOK_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if condition.wait_for(|condition| *condition != Condition::Ok).await.is_err() {
            return;
        }
        ticks.tick().await;
        match app.storage.condition() {
            Condition::Ok => {}
            Condition::Full => _ = app.storage.look_for_room(),
            Condition::ReadOnly | Condition::Failing => match app.db.write(try_to_write).await {
                Ok(()) => app.storage.turn(Condition::Ok),
                Err(error) => app.storage.notice(&error),
            },
        }
    }
}

fn try_to_write(connection: &mut Connection) -> Result<(), StoreError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    health::write_something(&tx)?;
    tx.commit()?;
    Ok(())
}
