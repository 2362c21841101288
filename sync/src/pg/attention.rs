//! What somebody at the centre should know: transactions that hold up rows, edges that are not heard of, what waits for a
//! decision. It reads and judges nothing.

use tokio_postgres::{GenericClient, Row};

use super::error::StoreError;

/// A transaction that has been open for long. Its own rows wait for its end, and nothing else does; but the server
/// cannot clean up behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenTransaction {
    /// The server process.
    pub pid: i32,
    /// Its database.
    pub database: String,
    /// Who it says it is.
    pub application: String,
    /// Its role.
    pub role: String,
    /// How long it has been open, in seconds.
    pub seconds: f64,
}

/// An edge that has not been heard of for long.
#[derive(Clone, Debug, PartialEq)]
pub struct SilentEdge {
    /// Its name.
    pub name: String,
    /// For how many days.
    pub days: f64,
    /// How many rows it last said to hold unsent.
    pub pending: i64,
    /// Whether it is no longer waited for.
    pub stale: bool,
}

/// What waits for a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Undecided {
    /// Refused writes.
    pub quarantined: i64,
    /// Conflicts.
    pub conflicts: i64,
    /// Rows that only edges still hold.
    pub recovered: i64,
}

/// Transactions that write, in any database of the server, open for longer than `seconds`. Those of other roles are seen
/// as far as the server lets us.
pub async fn open_transactions(client: &impl GenericClient, seconds: f64) -> Result<Vec<OpenTransaction>, StoreError> {
    let statement = "
      select pid, coalesce(datname, ''), application_name, coalesce(usename, ''), extract(epoch from now() - xact_start)::float8
      from pg_stat_activity
      where backend_xid is not null and pid <> pg_backend_pid() and now() - xact_start > make_interval(secs => $1)
      order by xact_start";
    let read = |row: &Row| OpenTransaction {
        pid: row.get(0),
        database: row.get(1),
        application: row.get(2),
        role: row.get(3),
        seconds: row.get(4),
    };
    Ok(client.query(statement, &[&seconds]).await?.iter().map(read).collect())
}

/// Edges that are enrolled and were last heard of more than `days` ago.
pub async fn silent_edges(client: &impl GenericClient, days: f64) -> Result<Vec<SilentEdge>, StoreError> {
    let statement = "
      select name, extract(epoch from now() - coalesce(last_seen_at, enrolled_at))::float8 / 86400, pending, stale_at is not null
      from sync.edges
      where status = 'enrolled' and extract(epoch from now() - coalesce(last_seen_at, enrolled_at))::float8 / 86400 > $1
      order by 2 desc";
    let read = |row: &Row| SilentEdge { name: row.get(0), days: row.get(1), pending: row.get(2), stale: row.get(3) };
    Ok(client.query(statement, &[&days]).await?.iter().map(read).collect())
}

/// Counts what waits for a decision.
pub async fn undecided(client: &impl GenericClient) -> Result<Undecided, StoreError> {
    let statement = "select
      (select count(*) from sync.quarantine where status = 'open'),
      (select count(*) from sync.conflicts where status = 'open'),
      (select count(*) from sync.recovered where status = 'open')";
    let row = client.query_one(statement, &[]).await?;
    Ok(Undecided { quarantined: row.get(0), conflicts: row.get(1), recovered: row.get(2) })
}
