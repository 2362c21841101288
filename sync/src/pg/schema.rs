//! The migrations of the central schema: applies them, tells which have run, and finds where the two disagree.
//!
//! The files of `migrations/central` are part of this program. Each runs in a transaction of its own, so that a failed one
//! leaves nothing behind. Runners take turns by an advisory lock of their session; looking takes the same lock shared and
//! never writes. If a caller gives up while a function here is waiting, the lock goes with the connection.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use tokio_postgres::Client;

use super::error::StoreError;
use crate::catalog;

/// "waystatn" in ASCII. It must never change: it keeps the runners of all releases apart.
const MIGRATION_LOCK: i64 = 0x7761_7973_7461_746e;

#[allow(unreachable_pub, missing_docs, reason = "the macro's code")]
mod files {
    refinery::embed_migrations!("../migrations/central");
}

/// A migration that has run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The number in the file's name.
    pub version: i32,
    /// The noun in the file's name.
    pub name: String,
    /// When it had run, by the clock of the machine that ran it.
    pub applied_on: DateTime<Utc>,
    /// Of version, name and text (SipHash-1-3, as refinery computes it).
    pub checksum: u64,
}

/// A migration of this program that has not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The number in the file's name.
    pub version: i32,
    /// The noun in the file's name.
    pub name: String,
    /// Of version, name and text (SipHash-1-3, as refinery computes it).
    pub checksum: u64,
}

/// What has run and what has not, each by version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// From the database's history.
    pub applied: Vec<Applied>,
    /// From this program's files.
    pub pending: Vec<Pending>,
}

/// One disagreement between the database's history and this program's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The file was edited or renamed after it had run.
    Changed {
        /// What ran.
        applied: Applied,
        /// What this program holds under the same version.
        file: Pending,
    },
    /// The database has run a migration that this program does not have: it was migrated by a newer release, or the file was removed.
    Missing(Applied),
    /// A file has not run although a later one has: it came from a branch that was merged late, and needs a new number.
    Skipped(Pending),
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { applied, file } if applied.name != file.name => write!(
                formatter,
                "version {} ran as \"{}\" but its file is named \"{}\"",
                applied.version, applied.name, file.name
            ),
            Self::Changed { applied, file } => write!(
                formatter,
                "V{:04}__{} was edited after it had run (checksum {:016x}, now {:016x})",
                applied.version, applied.name, applied.checksum, file.checksum
            ),
            Self::Missing(applied) => {
                write!(formatter, "V{:04}__{} has run but this program does not have it", applied.version, applied.name)
            }
            Self::Skipped(file) => {
                write!(formatter, "V{:04}__{} has not run but a later one has", file.version, file.name)
            }
        }
    }
}

/// Applies every pending migration and returns those that it applied, oldest first.
///
/// # Errors
/// [`StoreError::Migrations`] if history and files disagree, and [`StoreError::Occupied`] if somebody else's tables stand
/// where ours would, both before anything is changed; [`StoreError::Migrating`] if a migration failed: it is rolled
/// back, and those before it stay.
pub async fn migrate(client: &mut Client) -> Result<Vec<Applied>, StoreError> {
    lock(client).await?;
    let applied = migrate_locked(client).await;
    let unlocked = unlock(client).await;
    let applied = applied?;
    unlocked?;
    Ok(applied)
}

/// What has run in this database and what has not. A database without a history has run nothing.
pub async fn status(client: &Client) -> Result<Status, StoreError> {
    let applied = look(client).await?;
    let mut pending = files();
    for migration in &applied {
        pending.remove(&migration.version);
    }
    Ok(Status { applied, pending: pending.into_values().collect() })
}

/// Every disagreement between the history and this program's files, by version; empty if migrating is safe.
pub async fn validate(client: &Client) -> Result<Vec<Difference>, StoreError> {
    Ok(compare(look(client).await?, files()))
}

async fn migrate_locked(client: &mut Client) -> Result<Vec<Applied>, StoreError> {
    let before = if has_history(client).await? { history(client).await? } else { Vec::new() };
    let differences = compare(before.clone(), files());
    if !differences.is_empty() {
        return Err(StoreError::Migrations(differences));
    }
    if before.is_empty()
        && let Some(table) = foreign_table(client).await?
    {
        return Err(StoreError::Occupied { table });
    }
    pin_search_path(client).await?;
    let ran = files::migrations::runner().run_async(client).await;
    let reset = reset_search_path(client).await;
    ran.map_err(StoreError::Migrating)?;
    reset?;
    let mut after = history(client).await?;
    after.retain(|migration| !before.contains(migration));
    Ok(after)
}

async fn look(client: &Client) -> Result<Vec<Applied>, StoreError> {
    lock_shared(client).await?;
    let applied = look_locked(client).await;
    let unlocked = unlock_shared(client).await;
    let applied = applied?;
    unlocked?;
    Ok(applied)
}

async fn look_locked(client: &Client) -> Result<Vec<Applied>, StoreError> {
    if has_history(client).await? { history(client).await } else { Ok(Vec::new()) }
}

fn files() -> BTreeMap<i32, Pending> {
    let runner = files::migrations::runner();
    let pending = runner.get_migrations().iter().map(|file| {
        let version = file.version();
        (version, Pending { version, name: file.name().to_owned(), checksum: file.checksum() })
    });
    pending.collect()
}

fn compare(applied: Vec<Applied>, mut files: BTreeMap<i32, Pending>) -> Vec<Difference> {
    let last = applied.iter().map(|migration| migration.version).max();
    let mut differences = Vec::new();
    for migration in applied {
        match files.remove(&migration.version) {
            None => differences.push(Difference::Missing(migration)),
            Some(file) if file.checksum != migration.checksum || file.name != migration.name => {
                differences.push(Difference::Changed { applied: migration, file });
            }
            Some(_) => {}
        }
    }
    let skipped = files.into_values().filter(|file| last.is_some_and(|last| file.version < last));
    differences.extend(skipped.map(Difference::Skipped));
    differences.sort_by_key(|difference| match difference {
        Difference::Changed { applied, .. } | Difference::Missing(applied) => applied.version,
        Difference::Skipped(file) => file.version,
    });
    differences
}

async fn lock(client: &Client) -> Result<(), StoreError> {
    client.execute("select pg_advisory_lock($1)", &[&MIGRATION_LOCK]).await?;
    Ok(())
}

async fn unlock(client: &Client) -> Result<(), StoreError> {
    client.execute("select pg_advisory_unlock($1)", &[&MIGRATION_LOCK]).await?;
    Ok(())
}

async fn lock_shared(client: &Client) -> Result<(), StoreError> {
    client.execute("select pg_advisory_lock_shared($1)", &[&MIGRATION_LOCK]).await?;
    Ok(())
}

async fn unlock_shared(client: &Client) -> Result<(), StoreError> {
    client.execute("select pg_advisory_unlock_shared($1)", &[&MIGRATION_LOCK]).await?;
    Ok(())
}

/// A role whose own schema stands first in its search path would otherwise get the tables there.
async fn pin_search_path(client: &Client) -> Result<(), StoreError> {
    client.batch_execute("set search_path = public").await?;
    Ok(())
}

async fn reset_search_path(client: &Client) -> Result<(), StoreError> {
    client.batch_execute("reset search_path").await?;
    Ok(())
}

async fn has_history(client: &Client) -> Result<bool, StoreError> {
    let row = client.query_one("select to_regclass('public.refinery_schema_history') is not null", &[]).await?;
    Ok(row.get(0))
}

/// A relation that has a name of ours in a database that we have not migrated, or anything in a schema named like ours.
async fn foreign_table(client: &Client) -> Result<Option<String>, StoreError> {
    let names: Vec<&str> = catalog::TABLES.iter().filter_map(|table| table.pg.strip_prefix("public.")).collect();
    let statement = "select format('%s.%s', n.nspname, c.relname) from pg_class as c
      join pg_namespace as n on n.oid = c.relnamespace
      where n.nspname = 'sync'
        or n.nspname = 'public' and c.relname = any($1 || array['audit_logs', 'tenant_invitations'])
      order by 1 limit 1";
    let row = client.query_opt(statement, &[&names]).await?;
    Ok(row.map(|row| row.get(0)))
}

async fn history(client: &Client) -> Result<Vec<Applied>, StoreError> {
    let statement = "select version, coalesce(name, ''), coalesce(applied_on, ''), coalesce(checksum, '')
      from public.refinery_schema_history order by version";
    let rows = client.query(statement, &[]).await?;
    let applied = rows.iter().map(|row| {
        let (version, applied_on, checksum): (i32, String, String) = (row.get(0), row.get(2), row.get(3));
        Ok(Applied {
            version,
            name: row.get(1),
            applied_on: DateTime::parse_from_rfc3339(&applied_on)
                .map_err(|_| StoreError::History { version, column: "applied_on", value: applied_on })?
                .to_utc(),
            checksum: checksum.parse().map_err(|_| StoreError::History {
                version,
                column: "checksum",
                value: checksum,
            })?,
        })
    });
    applied.collect()
}
