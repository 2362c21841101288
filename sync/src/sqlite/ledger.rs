//! What this edge keeps beside the rows: writes that lost, rows that were refused, and audit records on their way up.
//!
//! A conflict that waits for the hub (`pending`) is joined with what arrives; one that does not is a copy of the hub's,
//! and is replaced. Nothing here decides what a conflict is: the merge found it.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::error::StoreError;
use super::hub_rows;
use crate::catalog;
use crate::merge::conflict::{Conflict, Status};
use crate::merge::ids::{RowId, TableId};
use crate::wire::canonical;
use crate::wire::conflict;
use crate::wire::convert::ConvertError;
use crate::wire::message::{
    Audit, ConflictKind, ConflictStatus, ConflictText, PartyText, PullRow, UNSTORABLE_MAX, Unstorable,
};

/// The name space of quarantine ids (RFC 9562, version 5).
const NAMESPACE: Uuid = Uuid::from_u128(0x2a0e_77d1_93b6_5f0c_8c1d_7761_7973_7461);

/// A conflict as kept here.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Its id, the same at every replica.
    pub id: Uuid,
    /// What lost to what.
    pub conflict: Conflict,
    /// Whether the hub does not have it as it is here.
    pub pending: bool,
}

/// Notes a conflict that was found here, joined with what is known of it.
///
/// # Errors
/// [`StoreError::Conflict`], [`StoreError::Text`] when the stored record is damaged, [`StoreError::Sqlite`].
pub fn record(tx: &Transaction<'_>, found: Conflict) -> Result<(), StoreError> {
    let id = found.id();
    let (joined, pending) = match find(tx, id)? {
        None => (found, true),
        Some(kept) => {
            let joined = kept.conflict.clone().join(found);
            let pending = kept.pending || joined != kept.conflict;
            (joined, pending)
        }
    };
    save(tx, &Kept { id, conflict: joined, pending })
}

/// Notes all that was found here, as [`record`] does, and says how much that is.
///
/// # Errors
/// As [`record`].
pub(super) fn record_all(tx: &Transaction<'_>, found: Vec<Conflict>) -> Result<u64, StoreError> {
    let count = u64::try_from(found.len()).unwrap_or(u64::MAX);
    for conflict in found {
        record(tx, conflict)?;
    }
    Ok(count)
}

/// Takes a conflict as the hub has it. What the hub does not know yet of one that waits is kept.
///
/// # Errors
/// As [`record`].
pub fn receive(tx: &Transaction<'_>, hubs: Conflict) -> Result<(), StoreError> {
    let id = hubs.id();
    let (conflict, pending) = match find(tx, id)? {
        Some(Kept { conflict, pending: true, .. }) => {
            let joined = conflict.join(hubs.clone());
            let pending = joined != hubs;
            (joined, pending)
        }
        _ => (hubs, false),
    };
    save(tx, &Kept { id, conflict, pending })
}

/// Raises the status of a conflict, and says whether there is such a conflict. A status never falls.
///
/// # Errors
/// As [`record`].
pub fn decide(tx: &Transaction<'_>, id: Uuid, status: Status) -> Result<bool, StoreError> {
    let Some(kept) = find(tx, id)? else { return Ok(false) };
    record(tx, Conflict { status: kept.conflict.status.max(status), ..kept.conflict })?;
    Ok(true)
}

/// Notes that the hub has a conflict as it was sent. One that changed since then goes on waiting.
///
/// # Errors
/// As [`record`].
pub fn acknowledge(tx: &Transaction<'_>, sent: &Conflict) -> Result<(), StoreError> {
    match find(tx, sent.id())? {
        Some(kept) if kept.conflict == *sent => save(tx, &Kept { pending: false, ..kept }),
        _ => Ok(()),
    }
}

/// One conflict by its id.
///
/// # Errors
/// [`StoreError::Conflict`], [`StoreError::Text`] when the stored record is damaged, [`StoreError::Sqlite`].
pub fn find(tx: &Connection, id: Uuid) -> Result<Option<Kept>, StoreError> {
    let select =
        "select id, tbl, row_id, kind, register, status, winner, loser, pending from sync_conflicts where id = ?1";
    let mut statement = tx.prepare_cached(select)?;
    statement.query_row([id.to_string()], |row| Ok(kept(row))).optional()?.transpose()
}

/// Every conflict by id, decided ones included.
///
/// # Errors
/// As [`find`].
pub fn all(tx: &Connection) -> Result<Vec<Kept>, StoreError> {
    let select =
        "select id, tbl, row_id, kind, register, status, winner, loser, pending from sync_conflicts order by id";
    let mut statement = tx.prepare_cached(select)?;
    statement.query_map([], |row| Ok(kept(row)))?.map(|row| row?).collect()
}

/// The conflicts that nobody decided, by id.
///
/// # Errors
/// As [`find`].
pub fn open(tx: &Connection) -> Result<Vec<Kept>, StoreError> {
    let select = "select id, tbl, row_id, kind, register, status, winner, loser, pending from sync_conflicts
        where status = 'open' order by id";
    let mut statement = tx.prepare_cached(select)?;
    statement.query_map([], |row| Ok(kept(row)))?.map(|row| row?).collect()
}

/// The conflicts that the hub does not have as they are here, by id.
///
/// # Errors
/// As [`find`].
pub fn pending(tx: &Connection) -> Result<Vec<Kept>, StoreError> {
    let select = "select id, tbl, row_id, kind, register, status, winner, loser, pending from sync_conflicts
        where pending = 1 order by id";
    let mut statement = tx.prepare_cached(select)?;
    statement.query_map([], |row| Ok(kept(row)))?.map(|row| row?).collect()
}

/// How many of a row's conflicts the hub has not acknowledged.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn count_pending(tx: &Connection, table: TableId, row: RowId) -> Result<u64, StoreError> {
    let select = "select count(*) from sync_conflicts where tbl = ?1 and row_id = ?2 and pending = 1";
    let count: i64 =
        tx.prepare_cached(select)?.query_row(params![table.0, row.to_string()], |counted| counted.get(0))?;
    Ok(count.unsigned_abs())
}

fn save(tx: &Transaction<'_>, kept: &Kept) -> Result<(), StoreError> {
    let insert = "insert into sync_conflicts (id, tbl, row_id, kind, register, status, winner, loser, pending)
        values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
        on conflict (id) do update set status = excluded.status, winner = excluded.winner, loser = excluded.loser,
          pending = excluded.pending";
    let text = text_of(kept.id, &kept.conflict)?;
    let party = |party: &PartyText| {
        serde_json::to_string(party).map_err(|source| StoreError::Text { what: "one side of a conflict", source })
    };
    tx.prepare_cached(insert)?.execute(params![
        kept.id.to_string(),
        kept.conflict.table.0,
        kept.conflict.row.to_string(),
        kind_name(text.kind),
        text.register,
        status_name(text.status),
        party(&text.winner)?,
        party(&text.loser)?,
        kept.pending,
    ])?;
    Ok(())
}

fn kept(row: &Row<'_>) -> Result<Kept, StoreError> {
    let id_text: String = row.get(0)?;
    let damaged = |column: &str, expected| StoreError::Conflict {
        id: id_text.clone(),
        source: ConvertError::Type { table: "sync_conflicts", column: column.to_owned(), expected },
    };
    let id = Uuid::try_parse(&id_text).map_err(|_| damaged("id", "a uuid"))?;
    let table = catalog::by_id(TableId(row.get(1)?)).ok_or_else(|| damaged("tbl", "a table of the catalog"))?;
    let row_id: String = row.get(2)?;
    let party = |index: usize| -> Result<PartyText, StoreError> {
        let text: String = row.get(index)?;
        serde_json::from_str(&text).map_err(|source| StoreError::Text { what: "one side of a conflict", source })
    };
    let (kind, status): (String, String) = (row.get(3)?, row.get(5)?);
    let text = ConflictText {
        table: table.name.to_owned(),
        row: Uuid::try_parse(&row_id).map_err(|_| damaged("row_id", "a uuid"))?,
        kind: if kind == kind_name(ConflictKind::EditDelete) {
            ConflictKind::EditDelete
        } else {
            ConflictKind::EditEdit
        },
        register: row.get(4)?,
        status: status_of(&status),
        winner: party(6)?,
        loser: party(7)?,
    };
    let parsed = conflict::parse(&text);
    let conflict = parsed.map_err(|source| StoreError::Conflict { id: id_text.clone(), source })?;
    Ok(Kept { id, conflict, pending: row.get(8)? })
}

/// A conflict as a message carries it.
///
/// # Errors
/// [`StoreError::Conflict`] when its table is not in the catalog.
pub(super) fn text_of(id: Uuid, conflict: &Conflict) -> Result<ConflictText, StoreError> {
    conflict::text(conflict).ok_or_else(|| StoreError::Conflict {
        id: id.to_string(),
        source: ConvertError::Type {
            table: "sync_conflicts",
            column: "tbl".to_owned(),
            expected: "a table of the catalog",
        },
    })
}

fn kind_name(kind: ConflictKind) -> &'static str {
    match kind {
        ConflictKind::EditEdit => "edit_edit",
        ConflictKind::EditDelete => "edit_delete",
    }
}

fn status_name(status: ConflictStatus) -> &'static str {
    match status {
        ConflictStatus::Open => "open",
        ConflictStatus::Dismissed => "dismissed",
        ConflictStatus::Restored => "restored",
    }
}

/// The table's check lets no fourth name in.
fn status_of(name: &str) -> ConflictStatus {
    match name {
        "dismissed" => ConflictStatus::Dismissed,
        "restored" => ConflictStatus::Restored,
        _ => ConflictStatus::Open,
    }
}

/// On which way a row was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From here to the hub: by the hub, or by this edge before it was sent.
    Up,
    /// From the hub to here.
    Down,
}

/// A row that could not be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// On which way.
    pub way: Way,
    /// Its table; number 0 when this edge does not know it.
    pub table: TableId,
    /// The row.
    pub row: RowId,
    /// A stable code.
    pub code: String,
    /// The reason in words.
    pub reason: String,
    /// The row as it was refused, in the form of the protocol.
    pub payload: String,
}

/// A refused row as kept here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// The entry.
    pub id: Uuid,
    /// The table's number.
    pub table: TableId,
    /// The row.
    pub row: RowId,
    /// A stable code.
    pub code: String,
    /// The reason in words.
    pub reason: String,
    /// When, as a canonical timestamp.
    pub created_at: String,
    /// Whether somebody has given it up; it is listed until the hub's row is here.
    pub discarded: bool,
}

/// Keeps a refused row with its reason. A row has one entry for each way; a later refusal replaces it. Somebody may have
/// given it up while it was on its way: that stands.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn refuse(tx: &Transaction<'_>, refused: &Refused, now_ms: u64) -> Result<(), StoreError> {
    let insert = "insert into sync_quarantine (id, tbl, row_id, code, reason, payload, created_at)
        values (?1, ?2, ?3, ?4, ?5, ?6, ?7)
        on conflict (id) do update set code = excluded.code, reason = excluded.reason, payload = excluded.payload,
          created_at = excluded.created_at, status = case status when 'discarding' then status else 'open' end";
    let id = quarantine_id(refused.way, refused.table, refused.row);
    tx.prepare_cached(insert)?.execute(params![
        id.to_string(),
        refused.table.0,
        refused.row.to_string(),
        refused.code,
        refused.reason,
        refused.payload,
        timestamp(now_ms),
    ])?;
    Ok(())
}

/// Drops a row's entry, because it was stored after all.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn settle(tx: &Transaction<'_>, way: Way, table: TableId, row: RowId) -> Result<(), StoreError> {
    let delete = "delete from sync_quarantine where id = ?1";
    if tx.prepare_cached(delete)?.execute([quarantine_id(way, table, row).to_string()])? > 0 {
        hub_rows::forget(tx, table, row)?;
    }
    Ok(())
}

/// The refused rows, newest first.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn quarantined(tx: &Connection) -> Result<Vec<Quarantined>, StoreError> {
    let select = "select id, tbl, row_id, code, reason, created_at, status <> 'open' from sync_quarantine
        order by created_at desc, id";
    let mut statement = tx.prepare_cached(select)?;
    let mut rows = statement.query([])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, row_id): (String, String) = (row.get(0)?, row.get(2)?);
        let (Ok(id), Ok(row_id)) = (Uuid::try_parse(&id), Uuid::try_parse(&row_id)) else { continue };
        entries.push(Quarantined {
            id,
            table: TableId(row.get(1)?),
            row: RowId(row_id),
            code: row.get(3)?,
            reason: row.get(4)?,
            created_at: row.get(5)?,
            discarded: row.get(6)?,
        });
    }
    Ok(entries)
}

/// The hub's rows that cannot be stored here, as the hub is told of them.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn unstorable(tx: &Connection) -> Result<Vec<Unstorable>, StoreError> {
    let entries = quarantined(tx)?.into_iter();
    let of_the_hub = entries.filter(|entry| entry.id == quarantine_id(Way::Down, entry.table, entry.row));
    let told = |entry: Quarantined| Unstorable {
        table: catalog::by_id(entry.table).map_or_else(String::new, |table| table.name.to_owned()),
        id: entry.row.0,
        code: entry.code,
        reason: entry.reason,
    };
    Ok(of_the_hub.take(UNSTORABLE_MAX).map(told).collect())
}

/// The hub's rows that could not be stored here, as they came, each with the table under which it is listed, oldest first.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn unstored(tx: &Connection) -> Result<Vec<(TableId, PullRow)>, StoreError> {
    let select = "select id, tbl, row_id, payload from sync_quarantine order by created_at, id";
    let mut statement = tx.prepare_cached(select)?;
    let mut rows = statement.query([])?;
    let mut unstored = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, row_id, payload): (String, String, String) = (row.get(0)?, row.get(2)?, row.get(3)?);
        let table = TableId(row.get(1)?);
        let Ok(row_id) = Uuid::try_parse(&row_id) else { continue };
        if id == quarantine_id(Way::Down, table, RowId(row_id)).to_string() {
            unstored.extend(serde_json::from_str(&payload).map(|row| (table, row)));
        }
    }
    Ok(unstored)
}

/// Keeps the hub's rows that could not be stored here on the list, and forgets what was in them.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn void_unstored(tx: &Transaction<'_>) -> Result<(), StoreError> {
    let void = "update sync_quarantine set payload = '' where id = ?1";
    for (table, row) in unstored(tx)? {
        tx.prepare_cached(void)?.execute([quarantine_id(Way::Down, table, RowId(row.id)).to_string()])?;
    }
    Ok(())
}

/// Whether a row was refused on a way and is listed for it still, given up or not.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn has_entry(tx: &Connection, way: Way, table: TableId, row: RowId) -> Result<bool, StoreError> {
    let select = "select exists (select 1 from sync_quarantine where id = ?1)";
    let id = quarantine_id(way, table, row).to_string();
    Ok(tx.prepare_cached(select)?.query_row([id], |row| row.get(0))?)
}

/// The one entry that a row can have for a way.
pub(super) fn quarantine_id(way: Way, table: TableId, row: RowId) -> Uuid {
    let way = match way {
        Way::Up => "up",
        Way::Down => "down",
    };
    Uuid::new_v5(&NAMESPACE, format!("{way}/{}/{row}", table.0).as_bytes())
}

/// A wall-clock time as the tables write it; the last moment of the year 9999 for one beyond it.
pub(super) fn timestamp(unix_ms: u64) -> String {
    let micros = i64::try_from(unix_ms).unwrap_or(i64::MAX).saturating_mul(1000);
    canonical::timestamp_from_micros(micros).unwrap_or_else(|| "9999-12-31T23:59:59.999999Z".to_owned())
}

/// The oldest audit records that the hub does not have, at most `limit`.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn audits_pending(tx: &Connection, limit: usize) -> Result<Vec<Audit>, StoreError> {
    let select = "select a.id, a.user_id, a.action, a.resource_type, a.resource_id, a.details, a.created_at
        from sync_audit_outbox o join audit_logs a on a.id = o.id order by a.created_at, a.id limit ?1";
    let mut statement = tx.prepare_cached(select)?;
    let mut rows = statement.query([i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut audits = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, details): (String, String) = (row.get(0)?, row.get(5)?);
        let (user, resource): (Option<String>, Option<String>) = (row.get(1)?, row.get(4)?);
        let uuid = |text: Option<String>| text.and_then(|text| Uuid::try_parse(&text).ok());
        let Ok(id) = Uuid::try_parse(&id) else { continue };
        audits.push(Audit {
            id,
            user_id: uuid(user),
            action: row.get(2)?,
            resource_type: row.get(3)?,
            resource_id: uuid(resource),
            details: details_of(&details),
            created_at: row.get(6)?,
        });
    }
    Ok(audits)
}

/// Notes that the hub has an audit record.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn audit_sent(tx: &Transaction<'_>, id: Uuid) -> Result<(), StoreError> {
    let delete = "delete from sync_audit_outbox where id = ?1";
    tx.prepare_cached(delete)?.execute([id.to_string()])?;
    Ok(())
}

/// The details as canonical JSON. What has no canonical form is sent as text, because a record is never held back.
fn details_of(details: &str) -> Box<RawValue> {
    let json = canonical::json(details)
        .unwrap_or_else(|_| format!("{{\"unreadable\":{}}}", canonical::json_string(&details.replace('\0', ""))));
    RawValue::from_string(json).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
