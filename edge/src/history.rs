//! Everything that this edge knows of one row: what it holds, who wrote what and where, and how far it has come.
//!
//! The API's `/rows/{table}/{id}/history` and `edge explain` show the same [`History`]. Nothing here decides or writes.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;
use serde::Serialize;
use serde_json::value::RawValue;
use sync::catalog::Table;
use sync::merge::clock::Dot;
use sync::merge::ids::{ReplicaId, RowId};
use sync::merge::value::{Value, Values};
use sync::merge::vector::Vector;
use sync::merge::version::Version;
use sync::sqlite::audit::AuditRow;
use sync::sqlite::error::StoreError;
use sync::sqlite::ledger::Way;
use sync::sqlite::records::{self, Record};
use sync::sqlite::self_state::{self, SelfState};
use sync::sqlite::versions::{self, Tracked};
use sync::sqlite::{history, rows};
use sync::wire::convert::json_of;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::conflicts::{self as conflicts_json, ConflictJson};
use crate::conflicts::{self, Names};
use crate::edits::noun;
use crate::refusal::Refusal;
use crate::times;

/// The most audit records that a history has; older ones are left out.
pub const EVENTS_MAX: u32 = 200;
/// The most conflicts that a history has.
pub const CONFLICTS_MAX: u32 = 200;

/// Everything that this edge knows of one row.
#[derive(Debug, Serialize, ToSchema)]
pub struct History {
    /// The table.
    pub table: &'static str,
    /// The row.
    pub row_id: Uuid,
    /// Whether it lives. A dead row is told with its last values.
    pub alive: bool,
    /// The word for its version, as in `_sync.version` and `ETag`.
    pub version: String,
    /// Its columns as they are here, or were last; `None` when nothing is left of a dead one.
    #[schema(value_type = Option<Object>)]
    pub values: Option<BTreeMap<&'static str, Box<RawValue>>>,
    /// Why the values cannot be read as the protocol needs them, if they cannot.
    pub unreadable: Option<String>,
    /// The last write seen of each replica.
    pub vv: BTreeMap<u32, u64>,
    /// What its deleters had seen; empty when it was never deleted.
    pub gone: BTreeMap<u32, u64>,
    /// What HQ is known to have of `vv`: all of it when nothing waits.
    pub acknowledged: BTreeMap<u32, u64>,
    /// Who wrote each column, or group of columns, or key of `metadata` last.
    pub registers: Vec<RegisterHistory>,
    /// The latest delete, also of a row that lives again.
    pub deleted: Option<Write>,
    /// How far the row has come.
    pub receipt: Receipt,
    /// What HQ sent of it that this edge cannot hold.
    pub not_applied: Option<Refused>,
    /// What lost to what in it, decided or not.
    pub conflicts: Vec<ConflictJson>,
    /// What people did to it at this site, the newest first, [`EVENTS_MAX`] at most.
    pub events: Vec<Event>,
}

/// What merges as one: a column, a group of columns named by its first, or one key of `metadata`.
#[derive(Debug, Serialize, ToSchema)]
pub struct RegisterHistory {
    /// Its name.
    pub register: String,
    /// The value; null for a key that was removed.
    #[schema(value_type = Value)]
    pub value: Box<RawValue>,
    /// The values of the columns that win and lose together with it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Option<Object>)]
    pub with: BTreeMap<&'static str, Box<RawValue>>,
    /// Who wrote it last, where and when.
    #[serde(flatten)]
    pub write: Write,
    /// Whether HQ has this write.
    pub receipt: ReceiptState,
}

/// One write of a row.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Write {
    /// The replica's id.
    pub replica: u32,
    /// The replica's name: an edge's, or the centre's.
    pub edge: Option<String>,
    /// The replica's how-manieth write it was.
    pub seq: u64,
    /// The hybrid logical clock's reading, as decimal text because it has more digits than some readers of JSON keep.
    pub hlc: String,
    /// The site, or the replica's name when it stands at none.
    pub site: String,
    /// The person, if one wrote it.
    pub person: Option<Person>,
    /// When, by the writer's clock.
    pub at: String,
}

/// A person.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = HistoryPerson)]
pub struct Person {
    /// The user's id.
    pub id: Uuid,
    /// The name, or the address when there is none; `None` for somebody who has left.
    pub name: Option<String>,
    /// The address.
    pub email: Option<String>,
}

/// Where a write is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptState {
    /// Here alone.
    Waiting,
    /// At HQ too.
    AtHq,
    /// HQ does not take it.
    Refused,
}

/// How far a row has come.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Receipt {
    /// Where its writes are.
    pub state: ReceiptState,
    /// Since when: of waiting, by this edge's clock the first write that HQ lacks; at HQ, by HQ's clock when it was first
    /// known to have all of it; refused, by this edge's clock. `None` when it was not kept.
    pub since: Option<String>,
    /// Why it was refused, as a stable code. While it waits: why it was refused before.
    pub code: Option<String>,
    /// The same in words.
    pub reason: Option<String>,
}

/// A row that was refused.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = HistoryRefused)]
pub struct Refused {
    /// Why, as a stable code.
    pub code: String,
    /// The same in words.
    pub reason: String,
    /// When.
    pub at: String,
}

/// What a person did.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HistoryEvent)]
pub struct Event {
    /// When.
    pub at: String,
    /// Who; `None` for the operator of the box.
    pub person: Option<Person>,
    /// What.
    pub action: String,
    /// More: the columns with their values before and after.
    #[schema(value_type = Object)]
    pub changes: Box<RawValue>,
}

/// Tells everything of one row.
///
/// # Errors
/// [`Refusal::NotFound`] when the tenant has no such row, living or dead; [`Refusal::Store`].
pub fn history(tx: &Connection, table: &'static Table, tenant: Uuid, id: Uuid) -> Result<History, Refusal> {
    let row = RowId(id);
    let living = records::find(tx, table, tenant, row)?;
    let alive = living.is_some();
    let (record, tracked) = match (living, versions::load(tx, table, row)?) {
        // One without a version was put here by somebody who turned capture off.
        (Some(record), tracked) => (Some(record), tracked.unwrap_or_else(untracked)),
        (None, Some(tracked)) if !tracked.version.is_alive() => (last(tx, table, tenant, row)?, tracked),
        (None, _) => return Err(Refusal::NotFound(noun(table))),
    };
    let this = self_state::load(tx)?;
    let teller = Teller { tx, names: Names::load(tx)?, own: this.own().to_vec() };
    let (values, unreadable) = readable(tx, table, row, alive)?;
    let of_row = conflicts::list(tx, &[], Some(id), None, CONFLICTS_MAX)?;
    let events = history::events(tx, table, tenant, row, EVENTS_MAX)?;
    let refused = history::refusal(tx, Way::Down, table, row)?;
    Ok(History {
        table: table.name,
        row_id: id,
        alive,
        version: history::version_word(row, &tracked.version.vv),
        values: record.as_ref().map(columns),
        unreadable,
        vv: map(&tracked.version.vv),
        gone: map(&tracked.version.gone),
        acknowledged: map(tracked.base.as_ref().unwrap_or(&tracked.version.vv)),
        registers: teller.registers(table, &tracked, &values)?,
        deleted: tracked.version.dots.deleted.map(|dot| teller.write(&dot)).transpose()?,
        receipt: receipt(tx, &this, table, row, &tracked)?,
        not_applied: refused.map(|entry| Refused { code: entry.code, reason: entry.reason, at: entry.created_at }),
        conflicts: of_row.iter().filter(|view| view.table == table).map(conflicts_json::json).collect(),
        events: events.into_iter().map(|event| teller.event(event)).collect::<Result<_, _>>()?,
    })
}

/// The last values of a dead row; nothing for one that left none, and not found for one of another tenant.
fn last(tx: &Connection, table: &'static Table, tenant: Uuid, row: RowId) -> Result<Option<Record>, Refusal> {
    let last = records::last(tx, table, tenant, row)?;
    let is_foreign = last.is_none() && !matches!(rows::load_last(tx, table, row), Ok(None));
    if is_foreign { Err(Refusal::NotFound(noun(table))) } else { Ok(last) }
}

fn untracked() -> Tracked {
    Tracked { version: Version::default(), base: None, refused: None, hub_had_ms: None }
}

/// The values by register, or none with the reason when one of them has no canonical form.
fn readable(
    tx: &Connection,
    table: &'static Table,
    row: RowId,
    alive: bool,
) -> Result<(Values, Option<String>), Refusal> {
    match if alive { rows::load(tx, table, row) } else { rows::load_last(tx, table, row) } {
        Ok(values) => Ok((values.unwrap_or_default(), None)),
        Err(StoreError::Row { source, .. }) => Ok((Values::new(), Some(source.to_string()))),
        Err(error) => Err(error.into()),
    }
}

fn receipt(
    tx: &Connection,
    this: &SelfState,
    table: &Table,
    row: RowId,
    tracked: &Tracked,
) -> Result<Receipt, Refusal> {
    let Some(base) = &tracked.base else {
        let since = tracked.hub_had_ms.map(times::timestamp);
        return Ok(Receipt { state: ReceiptState::AtHq, since, code: None, reason: None });
    };
    let entry = history::refusal(tx, Way::Up, table, row)?;
    if let Some(refused) = &tracked.refused {
        let (code, reason) = (Some(refused.code.clone()), Some(refused.reason.clone()));
        let since = entry.map(|entry| entry.created_at);
        return Ok(Receipt { state: ReceiptState::Refused, since, code, reason });
    }
    let own = this.own();
    let waits = tracked.version.dots.iter().filter(|dot| own.contains(&dot.replica) && !base.covers(dot));
    let first = waits.map(|dot| dot.hlc).min().unwrap_or_else(|| tracked.version.hlc());
    let (code, reason) = entry.map(|entry| (entry.code, entry.reason)).unzip();
    Ok(Receipt { state: ReceiptState::Waiting, since: Some(times::timestamp(first.unix_ms())), code, reason })
}

/// Tells who and where by the ids that dots carry.
struct Teller<'a> {
    tx: &'a Connection,
    names: Names,
    own: Vec<ReplicaId>,
}

impl Teller<'_> {
    /// In the order of the schema, then the keys of `metadata`.
    fn registers(
        &self,
        table: &'static Table,
        tracked: &Tracked,
        values: &Values,
    ) -> Result<Vec<RegisterHistory>, Refusal> {
        let dots = &tracked.version.dots;
        let fixed: Vec<String> = table.registers().map(str::to_owned).collect();
        let keys: BTreeSet<&String> =
            dots.named.keys().chain(values.keys()).filter(|register| !fixed.contains(register)).collect();
        let mut told = Vec::new();
        for register in fixed.iter().chain(keys) {
            let Some(dot) = dots.of(register) else { continue };
            let columns = table.columns_of(register).skip(1).map(|column| column.name);
            let (value, with) = match values.get(register) {
                Some(Value::Group(members)) => {
                    (members.first().unwrap_or(&Value::Null), columns.zip(members.iter().skip(1).map(raw)).collect())
                }
                other => (other.unwrap_or(&Value::Null), BTreeMap::new()),
            };
            told.push(RegisterHistory {
                register: register.clone(),
                value: raw(value),
                with,
                write: self.write(&dot)?,
                receipt: self.receipt(tracked, &dot),
            });
        }
        Ok(told)
    }

    fn receipt(&self, tracked: &Tracked, dot: &Dot) -> ReceiptState {
        match &tracked.base {
            Some(base) if self.own.contains(&dot.replica) && !base.covers(dot) => {
                if tracked.refused.is_some() {
                    ReceiptState::Refused
                } else {
                    ReceiptState::Waiting
                }
            }
            _ => ReceiptState::AtHq,
        }
    }

    fn write(&self, dot: &Dot) -> Result<Write, Refusal> {
        Ok(Write {
            replica: dot.replica.0,
            edge: self.names.edge(dot.replica).map(str::to_owned),
            seq: dot.seq,
            hlc: dot.hlc.0.to_string(),
            site: self.names.site(self.tx, dot.replica)?,
            person: dot.by.map(|person| self.person(person.0)).transpose()?,
            at: times::timestamp(dot.hlc.unix_ms()),
        })
    }

    fn event(&self, event: AuditRow) -> Result<Event, Refusal> {
        let person = event.user.map(|user| self.person(user)).transpose()?;
        let changes = RawValue::from_string(event.details).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Ok(Event { at: event.created_at, person, action: event.action, changes })
    }

    fn person(&self, id: Uuid) -> Result<Person, Refusal> {
        let (name, email) = history::person(self.tx, id)?.map(|known| (known.name, known.email)).unzip();
        Ok(Person { id, name, email })
    }
}

fn columns(record: &Record) -> BTreeMap<&'static str, Box<RawValue>> {
    record.columns().map(|(column, value)| (column.name, raw(value))).collect()
}

fn map(vector: &Vector) -> BTreeMap<u32, u64> {
    vector.iter().map(|(replica, seq)| (replica.0, seq)).collect()
}

/// `json_of` writes JSON, except where the file holds none in a JSON column.
fn raw(value: &Value) -> Box<RawValue> {
    RawValue::from_string(json_of(value)).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
