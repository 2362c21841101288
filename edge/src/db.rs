//! Access to the edge's database: one writer, a few readers.
//!
//! One thread owns the only writing connection and runs one job after another; a job opens and ends its own
//! transaction. Readers are read-only connections used on the blocking pool. A job that panics is rolled back and its
//! panic goes on in the caller; the thread and the connection live on. The thread ends when the last [`Db`] is gone.
//! A job whose caller went away still runs. Nothing here knows the schema.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Transaction};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

/// How many write jobs may wait before callers do.
pub const WRITE_JOBS_MAX: usize = 64;
/// How many reads may run at once.
pub const READERS: usize = 4;

/// A handle to the database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    jobs: mpsc::Sender<Job>,
    written: watch::Receiver<u64>,
    readers: Arc<Readers>,
}

/// The writer's thread, to wait for at the end.
#[derive(Debug)]
pub struct Writer {
    ended: std::sync::mpsc::Receiver<()>,
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;
type Caught<T> = Result<T, Box<dyn Any + Send>>;

#[derive(Debug)]
struct Readers {
    permits: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

impl Db {
    /// Opens the writing connection, then [`READERS`] reading ones, and starts the writer's thread.
    ///
    /// # Errors
    /// What the openers say, and the system's refusal to start a thread.
    pub fn start<E: From<std::io::Error>>(
        open_writer: impl FnOnce() -> Result<Connection, E>,
        open_reader: impl Fn() -> Result<Connection, E>,
    ) -> Result<(Self, Writer), E> {
        let connection = open_writer()?;
        let idle = (0..READERS).map(|_| open_reader()).collect::<Result<Vec<_>, E>>()?;
        let (jobs, waiting) = mpsc::channel(WRITE_JOBS_MAX);
        let (signal, written) = watch::channel(0);
        let (end, ended) = std::sync::mpsc::channel();
        let run = move || {
            run_jobs(connection, waiting, &signal);
            // Nobody may be waiting for the end; then there is nobody to tell.
            let _ = end.send(());
        };
        std::thread::Builder::new().name("db-writer".to_owned()).spawn(run)?;
        let readers = Arc::new(Readers { permits: Semaphore::new(READERS), idle: Mutex::new(idle) });
        Ok((Self { jobs, written, readers }, Writer { ended }))
    }

    /// Runs a job on the writing connection and returns what it returns. Jobs run one at a time, in the order of the
    /// calls.
    ///
    /// # Errors
    /// What the job says.
    ///
    /// # Panics
    /// When the job does.
    pub async fn write<T, E>(&self, job: impl FnOnce(&mut Connection) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job = move |connection: &mut Connection| {
            let result = catch_unwind(AssertUnwindSafe(|| job(connection)));
            // A caller that went away does not want the answer.
            let _ = answer.send(result);
        };
        let sent = self.jobs.send(Box::new(job)).await;
        sent.expect("the writer's thread runs while a handle exists");
        finish(answered.await.expect("the writer's thread answers every job"))
    }

    /// Runs a job on a reading connection and returns what it returns. Waits while [`READERS`] reads run.
    ///
    /// # Errors
    /// What the job says.
    ///
    /// # Panics
    /// When the job does.
    pub async fn read<T, E>(&self, job: impl FnOnce(&mut Connection) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let readers = Arc::clone(&self.readers);
        let blocking = tokio::task::spawn_blocking({
            let permit = self.readers.permits.acquire().await.expect("the semaphore is never closed");
            permit.forget();
            move || {
                let mut connection = readers.take();
                let result = catch_unwind(AssertUnwindSafe(|| job(&mut connection)));
                readers.put(connection);
                result
            }
        });
        finish(blocking.await.expect("the job's panics are caught and blocking jobs are not aborted"))
    }

    /// Runs a job that reads several things as they are at one moment.
    ///
    /// # Errors
    /// What the job says, and what SQLite says.
    ///
    /// # Panics
    /// When the job does.
    pub async fn snapshot<T, E>(
        &self,
        job: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<rusqlite::Error> + Send + 'static,
    {
        let whole = move |connection: &mut Connection| {
            let tx = connection.transaction()?;
            let seen = job(&tx)?;
            tx.commit()?;
            Ok(seen)
        };
        self.read(whole).await
    }

    /// Changes its value after every job that changed the database. Writes of other programs are not seen here.
    pub fn written(&self) -> watch::Receiver<u64> {
        self.written.clone()
    }
}

impl Writer {
    /// Waits until every [`Db`] is gone and the connection is closed, but no longer than `limit`. Says whether it is.
    pub fn join(self, limit: Duration) -> bool {
        self.ended.recv_timeout(limit).is_ok()
    }
}

impl Readers {
    fn take(&self) -> Connection {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop().expect("there is a connection for every permit")
    }

    fn put(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        self.permits.add_permits(1);
    }
}

fn run_jobs(mut connection: Connection, mut waiting: mpsc::Receiver<Job>, signal: &watch::Sender<u64>) {
    let mut changes = connection.total_changes();
    while let Some(job) = waiting.blocking_recv() {
        job(&mut connection);
        if !connection.is_autocommit() {
            // Only a job that leaked its transaction comes here. What it did not commit must not become part of the
            // next job's transaction.
            tracing::error!("a write job left its transaction open; it is rolled back");
            if let Err(error) = roll_back(&connection) {
                tracing::error!(%error, "the rollback failed");
            }
        }
        let changes_now = connection.total_changes();
        if std::mem::replace(&mut changes, changes_now) != changes_now {
            signal.send_modify(|count| *count = count.wrapping_add(1));
        }
    }
}

fn roll_back(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("rollback")
}

fn finish<T>(caught: Caught<T>) -> T {
    caught.unwrap_or_else(|panic| resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that goes with the test.
    struct Scratch(std::path::PathBuf);

    impl Drop for Scratch {
        fn drop(&mut self) {
            // What stays behind is below the temporary directory.
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn start() -> (Db, Writer, Scratch) {
        let path = std::env::temp_dir().join(format!("edge-db-{}", crate::clock::Clock::new().uuid_v4()));
        std::fs::create_dir(&path).unwrap();
        let open = || Connection::open(path.join("db")).map_err(std::io::Error::other);
        let (db, writer) = Db::start(open, open).unwrap();
        (db, writer, Scratch(path))
    }

    async fn insert(db: &Db) -> Result<usize, rusqlite::Error> {
        db.write(|connection| connection.execute("insert into t values (1)", [])).await
    }

    #[tokio::test]
    async fn a_job_that_panics_is_rolled_back_and_the_next_one_runs() {
        let (db, writer, _scratch) = start();
        db.write(|connection| connection.execute("create table t (x)", [])).await.unwrap();
        let handle = db.clone();
        let panicking = tokio::spawn(async move {
            handle
                .write(|connection| -> Result<(), rusqlite::Error> {
                    let tx = connection.transaction()?;
                    tx.execute("insert into t values (2)", [])?;
                    panic!("on purpose")
                })
                .await
        });
        assert!(panicking.await.unwrap_err().is_panic());
        insert(&db).await.unwrap();
        let count = db.read(|reader| reader.query_row("select count(*) from t", [], |row| row.get::<_, i64>(0))).await;
        assert_eq!(count, Ok(1));
        drop(db);
        assert!(writer.join(Duration::from_secs(10)));
    }

    #[tokio::test]
    async fn only_jobs_that_change_something_signal() {
        let (db, _writer, _scratch) = start();
        db.write(|connection| connection.execute("create table t (x)", [])).await.unwrap();
        let mut written = db.written();
        written.mark_unchanged();
        db.write(|connection| connection.query_row("select 1", [], |_| Ok(()))).await.unwrap();
        assert!(!written.has_changed().unwrap());
        insert(&db).await.unwrap();
        written.changed().await.unwrap();
    }

    #[tokio::test]
    async fn a_read_that_panics_gives_its_connection_back() {
        let (db, _writer, _scratch) = start();
        for _ in 0..3 * READERS {
            let db = db.clone();
            let job = |_: &mut Connection| -> Result<(), rusqlite::Error> { panic!("on purpose") };
            assert!(tokio::spawn(async move { db.read(job).await }).await.unwrap_err().is_panic());
        }
        assert!(db.read(|reader| reader.query_row("select 1", [], |_| Ok(()))).await.is_ok());
    }
}
