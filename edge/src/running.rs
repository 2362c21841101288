//! An edge whose files are open in this process: the lock, the writer, the readers, and the sync loop when it is wanted.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use sync::sqlite::error::StoreError;
use sync::sqlite::{self, sessions};
use tokio::task::JoinSet;

use crate::App;
use crate::budget::Budget;
use crate::clock::Clock;
use crate::config::Config;
use crate::credential::{Credential, CredentialError};
use crate::data_dir::{DataDir, DataDirError};
use crate::db::{Db, Writer};
use crate::page_tls::PageTls;
use crate::rescue::{self, RescueError};
use crate::storage::Storage;
use crate::sync_handle::{self, SyncPort};
use crate::times;

/// How long the last write jobs may take when the edge stops, in milliseconds.
pub const CLOSE_MS_MAX: u64 = 5_000;

/// An edge whose files are open in this process.
#[derive(Debug)]
pub struct Running {
    /// What its parts share.
    pub app: App,
    port: Option<SyncPort>,
    tasks: JoinSet<()>,
    writer: Writer,
    // Dropped last: when the lock is free, nothing of ours writes any more.
    _lock: Option<File>,
}

/// Files that cannot be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A damaged database.
    #[error(transparent)]
    Rescue(#[from] RescueError),
    /// The credential.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The writer's thread.
    #[error("cannot start the database's thread: {0}")]
    Thread(#[from] io::Error),
}

/// Opens an edge's files: makes what is missing, takes the lock, and migrates the database.
///
/// # Errors
/// [`OpenError`], when another process has them above all.
pub fn open(config: Config) -> Result<Running, OpenError> {
    let data = DataDir::new(&config.data);
    data.create()?;
    let credential = Credential::load(&data.credential())?;
    let lock = sqlite::lock(&data.database())?;
    let now = times::timestamp(Clock::new().unix_ms());
    let (connection, lock) = rescue::open(&data, lock, credential.as_ref(), &now)?.into_parts();
    let open_reader = || sqlite::open_reader(&data.database()).map_err(OpenError::from);
    let clock = Clock::new().not_before(steady_ms(&connection)?);
    let (db, writer) = Db::start(|| Ok(connection), open_reader)?;
    let (sync, port) = sync_handle::channel();
    let budget = Arc::new(Budget::load(&data, config.daily_bytes));
    let pages = Arc::new(PageTls::load(&config));
    let app = App { budget, db, clock, config: Arc::new(config), pages, storage: Arc::new(Storage::new(data)), sync };
    Ok(Running { app, port: Some(port), tasks: JoinSet::new(), writer, _lock: lock })
}

/// How far an earlier process got by its steady clock, in Unix milliseconds.
fn steady_ms(connection: &Connection) -> Result<u64, StoreError> {
    let latest = sessions::latest(connection)?;
    Ok(latest.as_deref().and_then(times::unix_ms).unwrap_or_default())
}

impl Running {
    /// Starts exchanging with the hub. A second call does nothing.
    pub fn start_sync(&mut self) {
        if let Some(port) = self.port.take() {
            self.spawn(crate::sync_loop::run(self.app.clone(), port));
        }
    }

    /// Runs a part of the edge until the edge is closed.
    pub fn spawn(&mut self, part: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(part);
    }

    /// Stops every part, lets the writer finish what it has, and gives the lock back.
    pub async fn close(self) {
        let Self { app, port, mut tasks, writer, _lock: lock } = self;
        tasks.shutdown().await;
        drop((app, port, tasks));
        let join = move || writer.join(Duration::from_millis(CLOSE_MS_MAX));
        if !tokio::task::spawn_blocking(join).await.unwrap_or(false) {
            tracing::warn!("the last write jobs did not end within {CLOSE_MS_MAX} ms");
        }
        drop(lock);
    }
}

#[cfg(test)]
mod tests {
    use sync::sqlite::self_state;
    use sync::wire::message::{Enrolled, Fence};
    use uuid::Uuid;

    use super::*;

    fn identity(edge: u128, replica: u32, token: &str) -> Enrolled {
        Enrolled {
            edge: Uuid::from_u128(edge),
            name: "hq-1".to_owned(),
            replica,
            credential: "secret".to_owned(),
            tenant: Uuid::from_u128(2),
            site: Uuid::from_u128(3),
            fence: Fence { count: 4, token: token.to_owned() },
            former: Vec::new(),
        }
    }

    async fn opened(directory: &std::path::Path) -> self_state::SelfState {
        let listen = ([127, 0, 0, 1], 0).into();
        let edge = open(Config {
            listen,
            data: directory.to_owned(),
            hub: None,
            daily_bytes: None,
            plain_http: false,
            pages: crate::config::Pages::Auto,
            names: Vec::new(),
        })
        .unwrap();
        let state = edge.app.db.read(|connection| self_state::load(connection)).await.unwrap();
        edge.close().await;
        state
    }

    #[tokio::test]
    async fn an_enrolment_interrupted_after_its_file_is_finished_at_the_next_start() {
        let directory = std::env::temp_dir().join(format!("edge-running-{}", Clock::new().uuid_v4()));
        let data = DataDir::new(&directory);
        data.create().unwrap();
        let first = Credential {
            hub: "http://hub".to_owned(),
            ca: None,
            key: None,
            follows: None,
            identity: identity(1, 7, "fence"),
        };
        first.store(&data.credential()).unwrap();
        for _ in 0..2 {
            let state = opened(&directory).await;
            assert_eq!(
                (state.replica.0, state.tenant, state.site),
                (7, Some(Uuid::from_u128(2)), Some(Uuid::from_u128(3)))
            );
            assert_eq!((state.fence.count, state.hub_url.as_deref()), (4, Some("http://hub")));
        }
        // A second one, and the credential of an edge that this mirror never was.
        let again = Enrolled { former: vec![7], ..identity(9, 12, "again") };
        let again = Credential {
            hub: "http://hub".to_owned(),
            ca: None,
            key: None,
            follows: first.identity.edge.into(),
            identity: again,
        };
        let foreign = Credential {
            hub: "http://hub".to_owned(),
            ca: None,
            key: None,
            follows: None,
            identity: identity(5, 30, "foreign"),
        };
        for credential in [&again, &again, &foreign] {
            credential.store(&data.credential()).unwrap();
            let state = opened(&directory).await;
            assert_eq!((state.replica.0, state.edge, state.reconcile), (12, Some(Uuid::from_u128(9)), true));
            assert_eq!((state.own().len(), state.fence.token.as_str(), state.cursor), (2, "again", None));
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
