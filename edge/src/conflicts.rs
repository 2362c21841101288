//! Looking at conflicts and deciding them.
//!
//! Restoring is an ordinary edit: it writes the losing value again, so it is stamped, pushed and merged like any other.
//! Deciding changes the conflict's status; both travel to the centre and to the other sites.

use std::collections::BTreeMap;

use rusqlite::{Connection, Transaction};
use sync::catalog::{self, Column, Table, split_key};
use sync::merge::conflict::{Kind, Party, Status};
use sync::merge::ids::{ReplicaId, RowId};
use sync::merge::value::Value;
use sync::sqlite::ledger::{self, Kept};
use sync::sqlite::records::{self, Record};
use sync::sqlite::{conflicts, directory, people, self_state, sites};
use sync::wire::message::Replica;
use uuid::Uuid;

use crate::action::Act;
use crate::audit::Event;
use crate::draft::Draft;
use crate::edits::{self, Reason};
use crate::refusal::Refusal;
use crate::{devices, sites as site_actions, tasks, times};

/// A conflict as people see it.
#[derive(Clone, Debug)]
pub struct ConflictView {
    /// Its id.
    pub id: Uuid,
    /// The table.
    pub table: &'static Table,
    /// The row.
    pub row_id: Uuid,
    /// What lost to what.
    pub kind: Kind,
    /// The column, or `metadata.key`; `None` when it is about the whole row.
    pub column: Option<String>,
    /// What was decided.
    pub status: Status,
    /// The write that won.
    pub winner: Side,
    /// The write that lost.
    pub loser: Side,
}

/// One side of a conflict.
#[derive(Clone, Debug)]
pub struct Side {
    /// The value; `None` for a delete and for a removed key.
    pub value: Option<Value>,
    /// The values of the columns that win and lose together with it.
    pub with: Vec<(&'static str, Value)>,
    /// Where it was written.
    pub site: String,
    /// The name of who wrote it, if a person did.
    pub person: Option<String>,
    /// When it was written, in stored form.
    pub at: String,
}

/// Conflicts by id, those after `after`.
///
/// # Errors
/// [`Refusal::Store`].
pub fn list(
    tx: &Connection,
    statuses: &[String],
    row: Option<Uuid>,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Vec<ConflictView>, Refusal> {
    let names = Names::load(tx)?;
    let mut views = Vec::new();
    for id in conflicts::ids(tx, statuses, row, after, limit)? {
        if let Some(kept) = ledger::find(tx, id)? {
            views.extend(view(tx, &names, kept)?);
        }
    }
    Ok(views)
}

/// One conflict.
///
/// # Errors
/// [`Refusal::NotFound`], [`Refusal::Store`].
pub fn find(tx: &Connection, id: Uuid) -> Result<ConflictView, Refusal> {
    let kept = ledger::find(tx, id)?.ok_or(Refusal::NotFound("conflict"))?;
    view(tx, &Names::load(tx)?, kept)?.ok_or(Refusal::NotFound("conflict"))
}

/// Writes the losing value again: an edit, a delete, or a row brought back from its last values.
///
/// # Errors
/// [`Refusal::NotFound`], [`Refusal::AlreadyRestored`], [`Refusal::NothingLeft`], [`Refusal::Forbidden`],
/// [`Refusal::Invalid`] when the value refers to something that is gone, [`Refusal::SerialNumberTaken`],
/// [`Refusal::Store`].
pub fn restore(tx: &Transaction<'_>, act: &Act, id: Uuid) -> Result<ConflictView, Refusal> {
    let conflict = open_or_dismissed(tx, id)?;
    let table = table_of(&conflict)?;
    let row = conflict.conflict.row;
    let living = records::find(tx, table, act.tenant, row)?;
    match (&conflict.conflict.register, living) {
        (Some(register), Some(record)) => {
            require_rights(act, &record)?;
            let draft = losing_value(table, register, &conflict.conflict.loser);
            check(tx, act, &draft, row)?;
            let changes = draft.changes(&record)?;
            edits::update(tx, act, record, changes, Reason::restored(id))?;
        }
        (Some(register), None) => revive(tx, act, table, register, &conflict)?,
        (None, Some(record)) => {
            require_rights(act, &record)?;
            edits::delete(tx, act, &record, Reason::restored(id))?;
        }
        // The delete that lost has been done again already.
        (None, None) => require_rights_on_dead(tx, act, table, row)?,
    }
    ledger::decide(tx, id, Status::Restored)?;
    find(tx, id)
}

/// Leaves things as they are, and says so everywhere.
///
/// # Errors
/// [`Refusal::NotFound`], [`Refusal::AlreadyRestored`], [`Refusal::Forbidden`], [`Refusal::Store`].
pub fn dismiss(tx: &Transaction<'_>, act: &Act, id: Uuid) -> Result<ConflictView, Refusal> {
    let conflict = open_or_dismissed(tx, id)?;
    let table = table_of(&conflict)?;
    match records::find(tx, table, act.tenant, conflict.conflict.row)? {
        Some(record) => require_rights(act, &record)?,
        None => require_rights_on_dead(tx, act, table, conflict.conflict.row)?,
    }
    if conflict.conflict.status == Status::Open {
        ledger::decide(tx, id, Status::Dismissed)?;
        let details = r#"{"status":"dismissed"}"#.to_owned();
        act.record(tx, Event { action: "conflict", resource_type: "conflict", resource: Some(id), details })?;
    }
    find(tx, id)
}

fn open_or_dismissed(tx: &Connection, id: Uuid) -> Result<Kept, Refusal> {
    let kept = ledger::find(tx, id)?.ok_or(Refusal::NotFound("conflict"))?;
    if kept.conflict.status == Status::Restored { Err(Refusal::AlreadyRestored) } else { Ok(kept) }
}

fn table_of(kept: &Kept) -> Result<&'static Table, Refusal> {
    catalog::by_id(kept.conflict.table).ok_or(Refusal::NotFound("conflict"))
}

fn require_rights(act: &Act, record: &Record) -> Result<(), Refusal> {
    match record.table.name {
        "tasks" => tasks::require_rights(act, record),
        "devices" => devices::require_rights(act, record),
        _ => site_actions::require_rights(act),
    }
}

fn check(tx: &Transaction<'_>, act: &Act, draft: &Draft, row: RowId) -> Result<(), Refusal> {
    edits::check_reference(tx, act, "site_id", edits::table("sites"), draft.value("site_id"))?;
    edits::check_reference(tx, act, "device_id", edits::table("devices"), draft.value("device_id"))?;
    edits::check_reference(tx, act, "user_id", edits::table("users"), draft.value("user_id"))?;
    devices::check_serial_number(tx, act, draft.text("serial_number"), row.0)
}

/// A draft that writes what lost.
fn losing_value(table: &'static Table, register: &str, loser: &Party) -> Draft {
    let mut draft = Draft::new();
    if let Some((_, key)) = split_key(register) {
        let value = match &loser.value {
            Some(Value::Json(text)) => Some(text.as_str()),
            _ => None,
        };
        draft.set_metadata_key(key, value);
        return draft;
    }
    let values = match &loser.value {
        Some(Value::Group(members)) => members.clone(),
        Some(value) => vec![value.clone()],
        None => Vec::new(),
    };
    for (column, value) in table.columns_of(register).zip(values) {
        draft.set(column.name, value);
    }
    draft
}

/// Brings a dead row back from its last values, with what lost in its place.
fn revive(
    tx: &Transaction<'_>,
    act: &Act,
    table: &'static Table,
    register: &str,
    conflict: &Kept,
) -> Result<(), Refusal> {
    let row = conflict.conflict.row;
    let last = records::last(tx, table, act.tenant, row)?.ok_or(Refusal::NothingLeft)?;
    require_rights(act, &last)?;
    let draft = losing_value(table, register, &conflict.conflict.loser);
    let whole = edits::revived(tx, act, &last, &draft.changes(&last)?)?;
    check(tx, act, &whole, row)?;
    edits::insert(tx, act, table, row.0, whole.values(table)?, Reason::restored(conflict.id))?;
    Ok(())
}

/// A dead row is judged by where it last was; of one that left nothing, only those decide who may change anything.
fn require_rights_on_dead(tx: &Connection, act: &Act, table: &'static Table, id: RowId) -> Result<(), Refusal> {
    match records::last(tx, table, act.tenant, id)? {
        Some(record) => require_rights(act, &record),
        None => act.person.require_admin("decide about a row that is gone"),
    }
}

/// Who and where, by the ids that dots carry.
#[derive(Debug)]
pub(crate) struct Names {
    replicas: BTreeMap<ReplicaId, Replica>,
}

impl Names {
    pub(crate) fn load(tx: &Connection) -> Result<Self, Refusal> {
        let mut replicas = directory::load(tx)?;
        let edge = self_state::load(tx)?;
        let name = edge.edge_name.unwrap_or_else(|| "this edge".to_owned());
        let own = Replica { id: edge.replica.0, name, site: edge.site };
        replicas.entry(edge.replica).or_insert(own);
        Ok(Self { replicas })
    }

    /// The name of the edge, or of the centre, that writes under a replica id.
    pub(crate) fn edge(&self, replica: ReplicaId) -> Option<&str> {
        self.replicas.get(&replica).map(|replica| replica.name.as_str())
    }

    pub(crate) fn site(&self, tx: &Connection, replica: ReplicaId) -> Result<String, Refusal> {
        let Some(replica) = self.replicas.get(&replica) else { return Ok("unknown".to_owned()) };
        let site = match replica.site {
            Some(site) => sites::name_and_timezone(tx, site)?.map(|(name, _)| name),
            None => None,
        };
        Ok(site.unwrap_or_else(|| replica.name.clone()))
    }
}

fn view(tx: &Connection, names: &Names, kept: Kept) -> Result<Option<ConflictView>, Refusal> {
    let Kept { id, conflict, .. } = kept;
    let Some(table) = catalog::by_id(conflict.table) else { return Ok(None) };
    let register = conflict.register.as_deref();
    let winner = side(tx, names, table, register, &conflict.winner)?;
    let loser = side(tx, names, table, register, &conflict.loser)?;
    let (row_id, kind, column, status) = (conflict.row.0, conflict.kind, conflict.register, conflict.status);
    Ok(Some(ConflictView { id, table, row_id, kind, column, status, winner, loser }))
}

fn side(
    tx: &Connection,
    names: &Names,
    table: &'static Table,
    register: Option<&str>,
    party: &Party,
) -> Result<Side, Refusal> {
    let group: Vec<&Column> = register.map(|register| table.columns_of(register).collect()).unwrap_or_default();
    let (value, with) = match &party.value {
        Some(Value::Group(members)) => {
            let mut members = members.iter().cloned();
            let lead = members.next();
            (lead, group.iter().skip(1).map(|column| column.name).zip(members).collect())
        }
        other => (other.clone(), Vec::new()),
    };
    let person = match party.dot.by {
        Some(person) => Some(people::name(tx, person.0)?.unwrap_or_else(|| "somebody who has left".to_owned())),
        None => None,
    };
    let site = names.site(tx, party.dot.replica)?;
    Ok(Side { value, with, site, person, at: times::timestamp(party.dot.hlc.unix_ms()) })
}
