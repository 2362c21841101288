//! Refused rows, one at a time: what was refused, and what the operators of the hub decide about it.

use tokio_postgres::{Client, Row, Transaction};
use uuid::Uuid;

use super::candidates::Desk;
use super::discards::{self, Discarded};
use super::error::StoreError;
use super::{edges, ledger, versions};
use crate::catalog::{self, Direction, Table};
use crate::merge::clock::{Dot, Hlc};
use crate::merge::ids::{ReplicaId, RowId, TableId};
use crate::merge::plan::Push;
use crate::merge::vector::Vector;
use crate::merge::version::Version;
use crate::wire::convert;
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

/// A refused row.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) tenant: Uuid,
    /// The edge whose writes were refused, and its replica id then; none for a row of the centre.
    pub(super) edge: Option<(Uuid, ReplicaId)>,
    pub(super) table: i16,
    pub(super) row: RowId,
    pub(super) seq: u64,
    pub(super) payload: String,
    pub(super) status: String,
    /// Whether it is about the hub's row, which the edge or the protocol cannot take.
    pub(super) down: bool,
}

/// Gives up what was refused: the hub's row supersedes it at the site. `now_ms` is the present in Unix milliseconds.
pub async fn discard(client: &mut Client, id: Uuid, now_ms: u64) -> Result<Decision, StoreError> {
    let tx = client.transaction().await?;
    let Some(entry) = lock(&tx, id).await? else { return Ok(Decision::Unknown) };
    if entry.status != "open" {
        return Ok(Decision::Settled(entry.status));
    }
    let Some((edge, _)) = entry.edge.filter(|_| !entry.down) else { return Ok(Decision::Refused(of_the_centre())) };
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
    tx.commit().await?;
    Ok(Decision::Done)
}

fn of_the_centre() -> String {
    "it is a row of the centre, which an edge cannot take: change the row, and the entry goes by itself".to_owned()
}

pub(super) async fn desk(tx: &Transaction<'_>, entry: &Entry, now_ms: u64) -> Result<Desk, StoreError> {
    Ok(Desk { tenant: entry.tenant, centre: versions::centre(tx).await?, now_ms })
}

impl Entry {
    /// The table that the row is of, if edges write it.
    pub(super) fn table(&self) -> Option<&'static Table> {
        let table = catalog::by_id(TableId(u8::try_from(self.table).ok()?))?;
        (table.direction == Direction::Both).then_some(table)
    }

    /// What was pushed. Of a row that nobody could read the writes are known by their number alone.
    pub(super) fn push(&self) -> Option<(&'static Table, Push)> {
        let (table, (_, replica)) = (self.table()?, self.edge?);
        let Ok(row) = serde_json::from_str::<PushRow>(&self.payload) else {
            let mut version = Version::default();
            version.write(Dot { replica, seq: self.seq, hlc: Hlc(0), by: None }, &[]);
            return Some((table, Push { version, base: Vector::default(), values: Default::default() }));
        };
        let values = convert::values(table, &row.values).unwrap_or_default();
        let version = Version { vv: row.vv.0, gone: row.gone.0, dots: row.dots.0 };
        Some((table, Push { version, base: row.base.0, values }))
    }
}

/// An entry, locked.
pub(super) async fn lock(tx: &Transaction<'_>, id: Uuid) -> Result<Option<Entry>, StoreError> {
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
