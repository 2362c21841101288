//! The stand on which everything is measured: a durable PostgreSQL with a tenant's tasks, a hub, and boxes.

use std::fs;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tests::deployment::{Deployment, Edge, HEADQUARTERS, Place};
use tests::postgres::Cluster;
use tests::wait::Stopwatch;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::rows;

/// What a step may take before it counts as hanging.
const STEP_MS_MAX: u64 = 180_000;
/// How often a box's file is looked at.
const ASK_EVERY_MS: u64 = 2;

/// A centre with tasks, and a hub.
pub(crate) struct Stand {
    pub(crate) world: Deployment,
    /// A connection of the superuser to the centre.
    pub(crate) centre: Client,
    pub(crate) tenant: Uuid,
    pub(crate) ids: Vec<Uuid>,
}

impl Stand {
    /// One with so many tasks of one tenant.
    pub(crate) async fn start(tasks: usize) -> Self {
        let world = Deployment::start_on(Cluster::start_durable(), &[]).await;
        let centre = world.cluster().connect("waystation").await;
        let tenant = "select id from tenants where slug = 'acme-corp'";
        let tenant = centre.query_one(tenant, &[]).await.expect("the sample data has it").get(0);
        let ids = rows::ids(1, tasks);
        rows::copy_tasks(&centre, "tasks", tenant, &ids).await;
        centre.batch_execute("vacuum analyze").await.expect("the superuser may");
        Self { world, centre, tenant, ids }
    }

    /// A box at the tenant's headquarters that is enrolled, reaches the hub without anything between, and does not run.
    pub(crate) async fn enrolled(&self, name: &str) -> Edge {
        let edge = self.world.new_edge(Place { edge: String::leak(name.to_owned()), ..HEADQUARTERS });
        let code = self.world.enrolment_code(edge.place()).await;
        let hub = format!("http://127.0.0.1:{}", self.world.hub(0).port());
        edge.command(&["enroll", "--hub", &hub, "--code", &code]).await.succeeded();
        edge
    }

    /// A box that runs and has everything.
    pub(crate) async fn hydrated(&self, name: &str) -> Edge {
        let edge = self.enrolled(name).await;
        edge.start().await;
        until_hydrated(&edge).await;
        edge
    }
}

/// Waits until a box has read its first window.
pub(crate) async fn until_hydrated(edge: &Edge) {
    until(edge, "the box has everything", "select cursor is not null and not hydrating from sync_self").await;
}

/// Waits until nothing waits to be sent.
pub(crate) async fn until_sent(edge: &Edge) {
    until(edge, "everything is sent", "select not exists (select 1 from sync_rows where base is not null)").await;
}

/// Waits until a question to the box's file is answered with yes. It is asked as a plain client does.
pub(crate) async fn until(edge: &Edge, what: &str, question: &str) {
    let asking = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(ASK_EVERY_MS));
        let mut file = None;
        loop {
            ticks.tick().await;
            if file.is_none() {
                file = reader(edge);
            }
            let answer = file.as_ref().map(|file| file.query_row(question, [], |row| row.get(0)));
            if matches!(answer, Some(Ok(Some(true)))) {
                return;
            }
        }
    };
    let answered = tokio::time::timeout(Duration::from_millis(STEP_MS_MAX), asking).await;
    assert!(answered.is_ok(), "waited {STEP_MS_MAX} ms until {what}\n{}", edge.log());
}

/// A plain client of a box's file that only reads; `None` while there is none.
pub(crate) fn reader(edge: &Edge) -> Option<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(edge.data().join("edge.db"), flags).ok()
}

/// A plain client of a box's file that writes.
pub(crate) fn writer(edge: &Edge) -> Connection {
    let file = Connection::open(edge.data().join("edge.db")).expect("the box's file opens");
    file.busy_timeout(Duration::from_secs(60)).expect("a connection takes it");
    file.execute_batch("pragma foreign_keys = on; pragma recursive_triggers = on").expect("a connection takes it");
    file
}

/// The most memory that a process has held so far, in MB.
pub(crate) fn peak_mb(process: u32) -> f64 {
    memory_mb(process, "VmHWM:")
}

/// The memory that a process holds, in MB.
pub(crate) fn resident_mb(process: u32) -> f64 {
    memory_mb(process, "VmRSS:")
}

fn memory_mb(process: u32, name: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel says so");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1_000.0
}

/// Milliseconds that something takes.
pub(crate) async fn timed<T>(work: impl Future<Output = T>) -> (f64, T) {
    let watch = Stopwatch::start();
    let done = work.await;
    (watch.ms(), done)
}
