//! Refused rows, one at a time: what was refused, and what the operators of the hub decide about it.
//!
//! To release a row is to push it again, as it came or with some values written over it, the latter by the centre. It goes
//! through the same checks and the same merge as any push, so an old payload never overwrites what is newer.

use serde::Serialize;
use serde_json::value::RawValue;
use tokio_postgres::{Client, GenericClient, Row, Transaction};
use uuid::Uuid;

use super::apply::{Fate, Work, begin_apply, bound_waits, plan};
use super::candidates::{Desk, look};
use super::decisions::{self, Decided};
use super::discards::{self, Discarded};
use super::error::StoreError;
use super::{answer, batch, edges, ledger, parents, rows, versions};
use crate::catalog::{self, Direction, Kind, Table};
use crate::merge::clock::{Dot, Hlc};
use crate::merge::ids::{ReplicaId, RowId, TableId};
use crate::merge::plan::Push;
use crate::merge::value::Values;
use crate::merge::vector::Vector;
use crate::merge::version::Version;
use crate::wire::convert::{self, Fields};
use crate::wire::message::PushRow;

/// What became of an operator's decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It was carried out.
    Done,
    /// There is no such entry.
    Unknown,
    /// It was settled before, in this way.
    Settled(String),
    /// Somebody else holds the row.
    Busy,
    /// It cannot be decided here, and why.
    Refused(String),
}

/// A refused row for people to read.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// The entry.
    pub id: Uuid,
    /// The tenant's slug.
    pub tenant: Option<String>,
    /// The edge that wrote it, or cannot take it; none for a row of the centre that can be sent to nobody.
    pub edge: Option<String>,
    /// Its table; none for what is no row.
    pub table: Option<String>,
    /// The row.
    pub row_id: Uuid,
    /// `up` for a site's write, `down` for a row of the centre.
    pub way: String,
    /// A stable code.
    pub code: String,
    /// The reason in words.
    pub reason: String,
    /// Since when, RFC 3339.
    pub created_at: String,
}

struct Entry {
    tenant: Uuid,
    /// The edge whose writes were refused, and its replica id then; none for a row of the centre.
    edge: Option<(Uuid, ReplicaId)>,
    table: i16,
    row: RowId,
    seq: u64,
    payload: String,
    status: String,
    /// Whether it is about the hub's row, which the edge or the protocol cannot take.
    down: bool,
}

/// Everything that waits for a decision, the oldest first.
pub async fn list(client: &impl GenericClient) -> Result<Vec<Listed>, StoreError> {
    let statement = r#"
      select id, tenant, edge, table_name, row_id, way, code, reason,
        to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
      from sync.quarantined_rows order by created_at, id"#;
    let listed = |row: &Row| Listed {
        id: row.get(0),
        tenant: row.get(1),
        edge: row.get(2),
        table: row.get(3),
        row_id: row.get(4),
        way: row.get(5),
        code: row.get(6),
        reason: row.get(7),
        created_at: row.get(8),
    };
    Ok(client.query(statement, &[]).await?.iter().map(listed).collect())
}

/// Takes what was refused after all, with some columns written over: `set` has their names, or `metadata.key`, and their
/// values as text, `null` for none. `now_ms` is the present in Unix milliseconds.
pub async fn release(
    client: &mut Client,
    id: Uuid,
    set: &[(String, String)],
    now_ms: u64,
) -> Result<Decision, StoreError> {
    let mut tx = client.transaction().await?;
    bound_waits(&tx).await?;
    let entry = match open(&tx, id).await? {
        Ok(entry) => entry,
        Err(decision) => return Ok(decision),
    };
    let Some((edge, replica)) = entry.edge else { return Ok(Decision::Refused(of_the_centre())) };
    let Some(edge) = edges::find(&tx, edge).await? else { return Ok(Decision::Unknown) };
    begin_apply(&tx).await?;
    let (row, over) = match entry.amended(&tx, set).await? {
        Ok(amended) => amended,
        Err(why) => return Ok(Decision::Refused(why)),
    };
    let batch = batch::released(row, replica);
    let (own, centre) = (edges::replicas(&tx, edge.id).await?, versions::centre(&tx).await?);
    let (fates, hub_rows, blockers) = Default::default();
    let release = Some(&over);
    let mut work = Work { edge: &edge, own, centre, batch: &batch, now_ms, fates, hub_rows, blockers, release };
    let candidates = look(&tx, &mut work).await?;
    let planned = plan(&tx, &mut work, &candidates).await?;
    let written = parents::write(&mut tx, &mut work, &candidates, planned).await?;
    if !written.done.is_empty() {
        ledger::close(&tx, edge.id, &[entry.table], &[entry.row.0], "released").await?;
    }
    answer::settle(&mut tx, &mut work, &candidates, written).await?;
    match work.fates.remove(&0) {
        Some(Fate::Taken(..)) => {
            decisions::record(&tx, entry.decided(id, "released")).await?;
            tx.commit().await?;
            Ok(Decision::Done)
        }
        Some(Fate::Refused(refusal)) => Ok(Decision::Refused(refusal.reason)),
        Some(Fate::NeedFull) => {
            Ok(Decision::Refused("the centre lacks writes of others that its site had seen".to_owned()))
        }
        Some(Fate::Busy) | None => Ok(Decision::Busy),
    }
}

/// Gives up what was refused: the hub's row supersedes it at the site. `now_ms` is the present in Unix milliseconds.
pub async fn discard(client: &mut Client, id: Uuid, now_ms: u64) -> Result<Decision, StoreError> {
    let tx = client.transaction().await?;
    bound_waits(&tx).await?;
    let entry = match open(&tx, id).await? {
        Ok(entry) => entry,
        Err(decision) => return Ok(decision),
    };
    let Some((edge, _)) = entry.edge else { return Ok(Decision::Refused(of_the_centre())) };
    if let Some((table, push)) = entry.push() {
        let desk = desk(&tx, &entry, now_ms).await?;
        let own = edges::replicas(&tx, edge).await?;
        match discards::row(&tx, desk, table, entry.row, &push, &own).await? {
            Discarded::Done(_) => {}
            Discarded::Busy => return Ok(Decision::Busy),
            Discarded::Unreadable(reason) => {
                return Ok(Decision::Refused(format!("the row cannot be read at the centre: {reason}")));
            }
        }
    }
    // What is no row, such as an audit record, has no version to supersede it with.
    ledger::close(&tx, edge, &[entry.table], &[entry.row.0], "discarded").await?;
    decisions::record(&tx, entry.decided(id, "discarded")).await?;
    tx.commit().await?;
    Ok(Decision::Done)
}

fn of_the_centre() -> String {
    "it is a row of the centre, which an edge cannot take: change the row, and the entry goes by itself".to_owned()
}

/// An entry that can be decided, locked after its edge, as a push locks them; or what is to be said of it.
async fn open(tx: &Transaction<'_>, id: Uuid) -> Result<Result<Entry, Decision>, StoreError> {
    let statement = "select edge_id from sync.quarantine where id = $1";
    let edge: Option<Uuid> = tx.query_opt(statement, &[&id]).await?.and_then(|row| row.get(0));
    if let Some(edge) = edge {
        edges::lock(tx, edge, None).await?;
    }
    let Some(entry) = lock(tx, id).await? else { return Ok(Err(Decision::Unknown)) };
    Ok(match entry.status.as_str() {
        "open" if entry.down => Err(Decision::Refused(of_the_centre())),
        "open" => Ok(entry),
        _ => Err(Decision::Settled(entry.status)),
    })
}

async fn desk(tx: &Transaction<'_>, entry: &Entry, now_ms: u64) -> Result<Desk, StoreError> {
    Ok(Desk { tenant: entry.tenant, centre: versions::centre(tx).await?, now_ms })
}

impl Entry {
    /// What was decided about it; `id` is its own.
    fn decided<'a>(&self, id: Uuid, status: &'a str) -> Decided<'a> {
        Decided { tenant: self.tenant, entry: id, table: self.table, row: self.row.0, status }
    }

    /// The table that the row is of, if edges write it.
    fn table(&self) -> Option<&'static Table> {
        let table = catalog::by_id(TableId(u8::try_from(self.table).ok()?))?;
        (table.direction == Direction::Both).then_some(table)
    }

    /// What was pushed. Of a row that nobody could read the writes are known by their number alone.
    fn push(&self) -> Option<(&'static Table, Push)> {
        let (table, (_, replica)) = (self.table()?, self.edge?);
        let Ok(row) = serde_json::from_str::<PushRow>(&self.payload) else {
            let mut version = Version::default();
            version.write(Dot { replica, seq: self.seq, hlc: Hlc(0), by: None }, &[]);
            let (base, values) = (Vector::default(), Values::new());
            return Some((table, Push { version, base, values, needed: table.needed() }));
        };
        let values = convert::values(table, &row.values).unwrap_or_default();
        let version = Version { vv: row.vv.0, gone: row.gone.0, dots: row.dots.0 };
        Some((table, Push { version, base: row.base.0, values, needed: table.needed() }))
    }
}

impl Entry {
    /// The row as it was pushed with the operators' values in it, and those values by register; or why there is no such.
    async fn amended(
        &self,
        tx: &Transaction<'_>,
        set: &[(String, String)],
    ) -> Result<Result<(PushRow, Values), String>, StoreError> {
        let Some(table) = self.table() else { return Ok(Err("it is no row that a site writes".to_owned())) };
        let Ok(mut row) = serde_json::from_str::<PushRow>(&self.payload) else {
            return Ok(Err("what was pushed cannot be read; it can only be discarded".to_owned()));
        };
        if row.instead.is_some() {
            return Ok(Err("its site could not send the values; it has to be written again there".to_owned()));
        }
        let mut fields = Fields::new();
        for (name, text) in set {
            match field(table, name, text) {
                Ok(value) => fields.insert(name.clone(), value),
                Err(why) => return Ok(Err(why)),
            };
        }
        // Columns that win together are written together: the others as they came, or as the centre has them.
        let mut present = rows::read(tx, table, self.tenant, &[self.row.0]).await?;
        let present = present.rows.remove(&self.row).map(|values| convert::fields(table, &values)).unwrap_or_default();
        for register in table.registers().filter(|register| table.columns_of(register).count() > 1) {
            if table.columns_of(register).any(|column| fields.contains_key(column.name)) {
                for column in
                    table.columns_of(register).filter(|column| !fields.contains_key(column.name)).collect::<Vec<_>>()
                {
                    let other = row.values.get(column.name).or_else(|| present.get(column.name));
                    fields.insert(column.name.to_owned(), other.cloned().unwrap_or_else(|| RawValue::NULL.to_owned()));
                }
            }
        }
        if convert::values(table, &row.values).is_err() {
            // What cannot be read is replaced before the merge; what can is merged as it came, and written over then.
            row.values.extend(fields.clone());
        }
        Ok(convert::values(table, &fields).map(|over| (row, over)).map_err(|error| error.to_string()))
    }
}

/// A value as the operator typed it, as JSON.
fn field(table: &Table, name: &str, text: &str) -> Result<Box<RawValue>, String> {
    let known = catalog::split_key(name).map_or(name, |(column, _)| column);
    let column = table.column(known).filter(|column| !["id", "tenant_id"].contains(&column.name));
    let Some(column) = column else { return Err(format!("{} has no column {name} that can be written", table.name)) };
    let plain = matches!(column.kind, Kind::Real | Kind::Json) || text == "null";
    let json = if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() };
    RawValue::from_string(json).map_err(|_| format!("{name}: {text:?} is no JSON value"))
}

/// An entry, locked.
async fn lock(tx: &Transaction<'_>, id: Uuid) -> Result<Option<Entry>, StoreError> {
    let statement = "select tenant_id, edge_id, replica_id, table_id, row_id, seq, payload::text, status, way = 'down'
      from sync.quarantine where id = $1 for update";
    Ok(tx.query_opt(statement, &[&id]).await?.as_ref().map(decode))
}

fn decode(row: &Row) -> Entry {
    let edge: Option<Uuid> = row.get(1);
    let replica: Option<i32> = row.get(2);
    Entry {
        tenant: row.get(0),
        edge: edge.map(|edge| (edge, ReplicaId(replica.unwrap_or_default().cast_unsigned()))),
        table: row.get(3),
        row: RowId(row.get(4)),
        seq: row.get::<_, i64>(5).cast_unsigned(),
        payload: row.get(6),
        status: row.get(7),
        down: row.get(8),
    }
}
