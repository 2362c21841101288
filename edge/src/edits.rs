//! Writing one row with its audit record. What may be written was decided before.
//!
//! Somebody may decide on an old page. Their write is made all the same, and what they had not seen is kept beside it
//! as a conflict, because two people at one edge are no less apart than two edges.

use rusqlite::Transaction;
use sync::catalog::{self, Table};
use sync::merge::ids::RowId;
use sync::merge::value::Value;
use sync::merge::vector::Vector;
use sync::sqlite::collisions::{self, Unseen};
use sync::sqlite::records::{self, Record};
use uuid::Uuid;

use crate::action::Act;
use crate::audit::{self, Event};
use crate::draft::Draft;
use crate::refusal::{Mistake, Refusal};

/// What an audit record says of a write.
#[derive(Clone, Debug)]
pub struct Reason {
    action: &'static str,
    more: Vec<(&'static str, String)>,
}

impl Reason {
    /// An ordinary write: `create`, `update` or `delete`.
    pub fn ordinary(action: &'static str) -> Self {
        Self { action, more: Vec::new() }
    }

    /// The write that restores what lost in a conflict.
    pub fn restored(conflict: Uuid) -> Self {
        Self { action: "restore", more: vec![("conflict", format!("\"{conflict}\""))] }
    }
}

/// A synced table by its name.
pub fn table(name: &'static str) -> &'static Table {
    catalog::by_name(name).expect("the catalog has the tables that the edge edits")
}

/// What a row of a table is called, in the singular.
pub fn noun(table: &Table) -> &'static str {
    match table.name {
        "tasks" => "task",
        "devices" => "device",
        "sites" => "site",
        "tenants" => "tenant",
        "users" => "user",
        "user_tenant_associations" => "user_tenant_association",
        "user_site_assignments" => "user_site_assignment",
        _ => "credential",
    }
}

/// The row with an id.
///
/// # Errors
/// [`Refusal::NotFound`] when this tenant has none, [`Refusal::Store`].
pub fn find(tx: &rusqlite::Connection, table: &'static Table, tenant: Uuid, id: Uuid) -> Result<Record, Refusal> {
    records::find(tx, table, tenant, RowId(id))?.ok_or_else(|| Refusal::NotFound(noun(table)))
}

/// The row with an id, or what it was last when it is dead.
///
/// # Errors
/// [`Refusal::NotFound`] when this tenant has none, [`Refusal::Store`].
pub fn find_or_last(
    tx: &rusqlite::Connection,
    table: &'static Table,
    tenant: Uuid,
    id: Uuid,
) -> Result<Record, Refusal> {
    let living = records::find(tx, table, tenant, RowId(id))?;
    let found = if living.is_some() { living } else { records::last(tx, table, tenant, RowId(id))? };
    found.ok_or_else(|| Refusal::NotFound(noun(table)))
}

/// What somebody knew of a row when they decided to write it.
#[derive(Clone, Copy, Debug)]
pub enum Known<'a> {
    /// They mean it however it is.
    Any,
    /// One of these versions, separated by commas. In any other the write is refused.
    Version(&'a str),
    /// What their page had seen of it. What it had not seen is kept as a conflict where the write beats it.
    Page(&'a Vector),
}

/// A row to be changed.
#[derive(Debug)]
pub struct Target {
    /// The row as it is, or as it was last when it is dead.
    pub record: Record,
    is_alive: bool,
    unseen: Option<Unseen>,
}

/// The row that somebody wants to change. One that was deleted behind their page comes back.
///
/// # Errors
/// [`Refusal::NotFound`] when this tenant has none, [`Refusal::Store`].
pub fn target(
    tx: &Transaction<'_>,
    table: &'static Table,
    act: &Act,
    id: Uuid,
    known: Known<'_>,
) -> Result<Target, Refusal> {
    let unseen = match known {
        Known::Page(past) => collisions::unseen(tx, table, RowId(id), past)?,
        Known::Any | Known::Version(_) => None,
    };
    if let Some(record) = records::find(tx, table, act.tenant, RowId(id))? {
        return Ok(Target { record, is_alive: true, unseen });
    }
    let last = if unseen.is_some() { records::last(tx, table, act.tenant, RowId(id))? } else { None };
    let record = last.ok_or_else(|| Refusal::NotFound(noun(table)))?;
    Ok(Target { record, is_alive: false, unseen })
}

/// Refuses when the row is in none of the versions that a person expects.
///
/// # Errors
/// [`Refusal::Changed`].
pub fn expect(record: &Record, known: Known<'_>) -> Result<(), Refusal> {
    match known {
        Known::Version(versions) => expect_version(record, Some(versions)),
        Known::Any | Known::Page(_) => Ok(()),
    }
}

/// Refuses when the row is in none of the versions, separated by commas, that a person expects.
///
/// # Errors
/// [`Refusal::Changed`].
pub fn expect_version(record: &Record, expected: Option<&str>) -> Result<(), Refusal> {
    match expected {
        Some(versions) if !versions.split(',').any(|version| version == record.version) => {
            Err(Refusal::Changed { what: noun(record.table), current: Box::new(record.clone()) })
        }
        _ => Ok(()),
    }
}

/// Refuses a reference to something that this tenant does not have. One of another tenant gets the same answer.
///
/// # Errors
/// [`Refusal::Invalid`], [`Refusal::Store`].
pub fn check_reference(
    tx: &Transaction<'_>,
    act: &Act,
    column: &'static str,
    target: &'static Table,
    value: Option<&Value>,
) -> Result<(), Refusal> {
    let Some(Value::Text(id)) = value else { return Ok(()) };
    let exists = match Uuid::try_parse(id) {
        Ok(id) => records::exists(tx, target, act.tenant, id)?,
        Err(_) => false,
    };
    if exists { Ok(()) } else { Err(missing(column, noun(target))) }
}

/// The refusal of a reference to nothing.
pub fn missing(column: &'static str, what: &str) -> Refusal {
    Refusal::invalid(column, Mistake::Reference, format!("there is no {what} with this id"))
}

/// Adds a row.
///
/// # Errors
/// [`Refusal::Store`].
pub fn insert(
    tx: &Transaction<'_>,
    act: &Act,
    table: &'static Table,
    id: Uuid,
    mut values: Vec<(&'static str, Value)>,
    reason: Reason,
) -> Result<Record, Refusal> {
    values.retain(|(name, _)| !matches!(*name, "id" | "tenant_id" | "created_at" | "updated_at"));
    let details = audit::changes(&[], &borrowed(&values), &reason.more);
    for column in ["created_at", "updated_at"] {
        values.push((column, Value::text(&*act.now)));
    }
    values.push(("tenant_id", Value::text(act.tenant.to_string())));
    records::insert(tx, table, RowId(id), &values)?;
    let (action, resource_type) = (reason.action, noun(table));
    act.record(tx, Event { action, resource_type, resource: Some(id), details })?;
    find(tx, table, act.tenant, id)
}

/// Writes the given columns of a row; nothing at all when there are none.
///
/// # Errors
/// [`Refusal::Store`].
pub fn update(
    tx: &Transaction<'_>,
    act: &Act,
    record: Record,
    mut changes: Vec<(&'static str, Value)>,
    reason: Reason,
) -> Result<Record, Refusal> {
    if changes.is_empty() {
        return Ok(record);
    }
    let before: Vec<(&str, &Value)> = changes.iter().map(|(name, _)| (*name, record.value(name))).collect();
    let details = audit::changes(&before, &borrowed(&changes), &reason.more);
    changes.push(("updated_at", Value::text(&*act.now)));
    records::update(tx, record.table, record.id, &changes)?;
    let (action, resource_type) = (reason.action, noun(record.table));
    act.record(tx, Event { action, resource_type, resource: Some(record.id.0), details })?;
    find(tx, record.table, act.tenant, record.id.0)
}

/// Writes the given columns of a row that somebody may have decided about on an old page; nothing at all when there are
/// none.
///
/// # Errors
/// [`Refusal::NotFound`] when the row is dead and there is nothing to bring it back for, [`Refusal::Invalid`] when it
/// cannot come back, [`Refusal::Store`].
pub fn change(
    tx: &Transaction<'_>,
    act: &Act,
    target: Target,
    changes: Vec<(&'static str, Value)>,
    reason: Reason,
) -> Result<Record, Refusal> {
    let Target { record, is_alive, unseen } = target;
    let (table, id) = (record.table, record.id);
    let written = match is_alive {
        true => update(tx, act, record, changes, reason)?,
        false if changes.is_empty() => return Err(Refusal::NotFound(noun(table))),
        false => {
            let whole = revived(tx, act, &record, &changes)?;
            insert(tx, act, table, id.0, whole.values(table)?, reason)?
        }
    };
    match unseen {
        Some(unseen) if collisions::record(tx, table, id, &unseen)? > 0 => find(tx, table, act.tenant, id.0),
        _ => Ok(written),
    }
}

/// The whole of a dead row with some columns changed. What it referred to may be gone as well; it comes back without
/// it.
///
/// # Errors
/// [`Refusal::Invalid`] when it cannot be without it, [`Refusal::Store`].
pub fn revived(
    tx: &Transaction<'_>,
    act: &Act,
    last: &Record,
    changes: &[(&'static str, Value)],
) -> Result<Draft, Refusal> {
    let mut whole = Draft::new();
    for (column, value) in last.columns() {
        whole.set(column.name, value.clone());
    }
    for (column, value) in changes {
        whole.set(column, value.clone());
    }
    for (column, target) in [("site_id", "sites"), ("device_id", "devices"), ("user_id", "users")] {
        match check_reference(tx, act, column, table(target), whole.value(column)) {
            Err(Refusal::Invalid { .. }) if last.table.column(column).is_some_and(|column| column.nullable) => {
                whole.set(column, Value::Null);
            }
            checked => checked?,
        }
    }
    Ok(whole)
}

/// Deletes a row.
///
/// # Errors
/// [`Refusal::Store`].
pub fn delete(tx: &Transaction<'_>, act: &Act, record: &Record, reason: Reason) -> Result<(), Refusal> {
    let before: Vec<(&str, &Value)> = record.columns().map(|(column, value)| (column.name, value)).collect();
    let details = audit::changes(&before, &[], &reason.more);
    records::delete(tx, record.table, record.id)?;
    let (action, resource_type) = (reason.action, noun(record.table));
    act.record(tx, Event { action, resource_type, resource: Some(record.id.0), details })
}

fn borrowed<'a>(values: &'a [(&'static str, Value)]) -> Vec<(&'a str, &'a Value)> {
    values.iter().map(|(name, value)| (*name, value)).collect()
}
