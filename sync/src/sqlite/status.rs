//! What waits, what was refused and what nobody decided, counted.

use rusqlite::Connection;

use super::error::StoreError;
use super::ledger;
use crate::merge::clock::Hlc;
use crate::wire::message::Report;

/// What waits, what was refused and what nobody decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows with writes that the hub has not acknowledged; refused ones are counted apart.
    pub rows_pending: u64,
    /// Conflicts found or decided here that the hub does not have.
    pub conflicts_pending: u64,
    /// Audit records that the hub does not have.
    pub audits_pending: u64,
    /// Whether a batch was sent and not answered.
    pub in_flight: bool,
    /// When the oldest waiting row was last written, in Unix milliseconds by its stamp.
    pub oldest_ms: Option<u64>,
    /// Conflicts that nobody decided.
    pub conflicts_open: u64,
    /// Rows that were refused, here or at the hub.
    pub quarantined: u64,
}

impl Counts {
    /// Whether the hub has everything that was written here.
    pub fn nothing_waits(&self) -> bool {
        self.rows_pending + self.conflicts_pending + self.audits_pending + self.quarantined == 0 && !self.in_flight
    }

    /// What an edge tells the hub about itself at `now_ms`.
    pub fn report(&self, now_ms: u64) -> Report {
        Report {
            pending: self.rows_pending,
            lag_ms: self.oldest_ms.map_or(0, |oldest_ms| now_ms.saturating_sub(oldest_ms)),
            conflicts_open: self.conflicts_open,
            quarantined: self.quarantined,
            unstorable: Vec::new(),
        }
    }
}

/// What an edge tells the hub about itself at `now_ms`, the rows of the hub that it cannot store included.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn report(tx: &Connection, now_ms: u64) -> Result<Report, StoreError> {
    let counts = counts(tx)?;
    let unstorable = if counts.quarantined == 0 { Vec::new() } else { ledger::unstorable(tx)? };
    Ok(Report { unstorable, ..counts.report(now_ms) })
}

/// Counts.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn counts(tx: &Connection) -> Result<Counts, StoreError> {
    let select = "select
        (select count(*) from sync_rows where base is not null and refused is null),
        (select count(*) from sync_conflicts where pending = 1),
        (select count(*) from sync_audit_outbox),
        (select count(*) from sync_inflight) > 0,
        (select min(hlc) from sync_rows where base is not null and refused is null),
        (select count(*) from sync_conflicts where status = 'open'),
        (select count(*) from sync_quarantine)";
    let unsigned = |value: i64| u64::try_from(value).unwrap_or(0);
    let mut statement = tx.prepare_cached(select)?;
    let counts = statement.query_row([], |row| {
        Ok(Counts {
            rows_pending: unsigned(row.get(0)?),
            conflicts_pending: unsigned(row.get(1)?),
            audits_pending: unsigned(row.get(2)?),
            in_flight: row.get(3)?,
            oldest_ms: row.get::<_, Option<i64>>(4)?.map(|hlc| Hlc(unsigned(hlc)).unix_ms()),
            conflicts_open: unsigned(row.get(5)?),
            quarantined: unsigned(row.get(6)?),
        })
    })?;
    Ok(counts)
}

/// A number that changes on this connection whenever another one, of any program, commits to the file.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn data_version(connection: &Connection) -> Result<i64, StoreError> {
    let pragma = "pragma data_version";
    Ok(connection.prepare_cached(pragma)?.query_row([], |row| row.get(0))?)
}
