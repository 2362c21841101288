//! Who this edge is and how far it has come (`sync_self`, one row).

use rusqlite::{Connection, Transaction, params};
use uuid::Uuid;

use super::error::StoreError;
use super::{ledger, versions};
use crate::catalog::{Direction, TABLES, Table};
use crate::merge::ids::{PersonId, ReplicaId};
use crate::merge::vector::Vector;
use crate::merge::version::Version;
use crate::wire::message::{Enrolled, Fence};

/// What the one row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelfState {
    /// This replica; 0 until enrolled.
    pub replica: ReplicaId,
    /// Its last seq.
    pub seq: u64,
    /// The tenant it mirrors.
    pub tenant: Option<Uuid>,
    /// The site it stands at.
    pub site: Option<Uuid>,
    /// Its id at the hub.
    pub edge: Option<Uuid>,
    /// Its name at the hub.
    pub edge_name: Option<String>,
    /// The hub's URL.
    pub hub_url: Option<String>,
    /// The fence token for the next push.
    pub fence: Fence,
    /// How far it has pulled; `None` for nothing.
    pub cursor: Option<String>,
    /// Whether it is in the middle of a window.
    pub hydrating: bool,
    /// The hub's clock less ours, in milliseconds, when the hub last said.
    pub clock_offset_ms: Option<i64>,
    /// When the hub last answered, as a canonical timestamp.
    pub last_exchange_at: Option<String>,
    /// What went wrong last; `None` after a success.
    pub last_error: Option<String>,
    /// How many replicas it knows by name.
    pub directory_size: u64,
    /// The ids that it had before, those of its copies too.
    pub former: Vec<ReplicaId>,
    /// The centre's incarnation that it last agreed with; `None` before the first session.
    pub incarnation: Option<Uuid>,
    /// Whether it got a new id and has not been compared with the centre since.
    pub reconcile: bool,
}

impl SelfState {
    /// Whether the hub has given this edge an identity.
    pub fn is_enrolled(&self) -> bool {
        self.replica != ReplicaId(0)
    }

    /// The replica ids under which this edge's own writes are known.
    pub fn own(&self) -> Vec<ReplicaId> {
        std::iter::once(self.replica).chain(self.former.iter().copied()).collect()
    }

    /// The hub's clock, as far as it is known, when this edge's says `now_ms`.
    pub(super) fn hub_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_add_signed(self.clock_offset_ms.unwrap_or(0))
    }
}

/// Reads the row.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn load(tx: &Connection) -> Result<SelfState, StoreError> {
    let select = "select replica, seq, tenant_id, site_id, edge_id, edge_name, hub_url, token_count, token, cursor,
        hydrating, clock_offset_ms, last_exchange_at, last_error, directory_size, incarnation, reconcile from sync_self";
    let uuid = |text: Option<String>| text.and_then(|text| Uuid::try_parse(&text).ok());
    let unsigned = |value: i64| u64::try_from(value).unwrap_or(0);
    let mut statement = tx.prepare_cached(select)?;
    let state = statement.query_row([], |row| {
        Ok(SelfState {
            replica: ReplicaId(row.get(0)?),
            seq: unsigned(row.get(1)?),
            tenant: uuid(row.get(2)?),
            site: uuid(row.get(3)?),
            edge: uuid(row.get(4)?),
            edge_name: row.get(5)?,
            hub_url: row.get(6)?,
            fence: Fence { count: unsigned(row.get(7)?), token: row.get::<_, Option<String>>(8)?.unwrap_or_default() },
            cursor: row.get(9)?,
            hydrating: row.get(10)?,
            clock_offset_ms: row.get(11)?,
            last_exchange_at: row.get(12)?,
            last_error: row.get(13)?,
            directory_size: unsigned(row.get(14)?),
            former: Vec::new(),
            incarnation: uuid(row.get(15)?),
            reconcile: row.get(16)?,
        })
    })?;
    Ok(SelfState { former: former(tx)?, ..state })
}

fn former(tx: &Connection) -> Result<Vec<ReplicaId>, StoreError> {
    let mut statement = tx.prepare_cached("select replica from sync_former order by replica")?;
    let ids = statement.query_map([], |row| Ok(ReplicaId(row.get(0)?)))?.collect::<Result<_, _>>()?;
    Ok(ids)
}

fn add_former(tx: &Transaction<'_>, replica: ReplicaId) -> Result<(), StoreError> {
    let insert = "insert into sync_former (replica) values (?1) on conflict (replica) do nothing";
    tx.prepare_cached(insert)?.execute([replica.0])?;
    Ok(())
}

/// Takes a new id, of which `seq` numbers are used. It is to be compared with the centre.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn set_replica(tx: &Transaction<'_>, replica: ReplicaId, seq: u64) -> Result<(), StoreError> {
    let update = "update sync_self set replica = ?1, seq = ?2, reconcile = 1";
    tx.prepare_cached(update)?.execute(params![replica.0, signed(seq)])?;
    Ok(())
}

/// Takes another identity, of which `seq` numbers are used; of the ids that it had, those stay its own that the hub says. It
/// agrees with the same incarnation of the centre as before, and is to be compared.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn enrolled_again(
    tx: &Transaction<'_>,
    identity: &Enrolled,
    hub_url: &str,
    seq: u64,
) -> Result<(), StoreError> {
    save_identity(tx, identity, hub_url)?;
    set_replica(tx, ReplicaId(identity.replica), seq)?;
    replace_former(tx, &identity.former)
}

/// Keeps, of the ids that this edge or a copy of it had, those that the hub says are its own. One that is another's now names
/// the writes of another.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn replace_former(tx: &Transaction<'_>, former: &[u32]) -> Result<(), StoreError> {
    forget_former(tx)?;
    for replica in former {
        add_former(tx, ReplicaId(*replica))?;
    }
    Ok(())
}

fn forget_former(tx: &Transaction<'_>) -> Result<(), StoreError> {
    tx.execute("delete from sync_former", [])?;
    Ok(())
}

/// Takes the next number of this replica.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn next_seq(tx: &Transaction<'_>) -> Result<u64, StoreError> {
    let update = "update sync_self set seq = seq + 1 returning seq";
    let seq: i64 = tx.prepare_cached(update)?.query_row([], |row| row.get(0))?;
    Ok(u64::try_from(seq).unwrap_or(0))
}

/// Notes with which incarnation of the centre this edge agrees.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn set_incarnation(tx: &Transaction<'_>, incarnation: Uuid) -> Result<(), StoreError> {
    let update = "update sync_self set incarnation = ?1";
    tx.prepare_cached(update)?.execute([incarnation.to_string()])?;
    Ok(())
}

/// Notes whether this edge asks to be compared with the centre.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn set_reconcile(tx: &Transaction<'_>, asks: bool) -> Result<(), StoreError> {
    let update = "update sync_self set reconcile = ?1";
    tx.prepare_cached(update)?.execute([asks])?;
    Ok(())
}

/// Takes the identity that the hub gave. What was written here before becomes this replica's.
///
/// # Errors
/// [`StoreError::Version`] when a stored version is damaged, [`StoreError::Sqlite`].
pub fn enrolled(tx: &Transaction<'_>, identity: &Enrolled, hub_url: &str) -> Result<(), StoreError> {
    let replica = ReplicaId(identity.replica);
    set_applying(tx, true)?;
    for table in TABLES.iter().filter(|table| table.direction == Direction::Both) {
        fill_tenant(tx, table, identity.tenant)?;
        for (id, mut tracked) in versions::load_all_of(tx, table)? {
            rename(&mut tracked.version, ReplicaId(0), replica);
            versions::save(tx, table, id, &tracked)?;
        }
    }
    set_applying(tx, false)?;
    save_identity(tx, identity, hub_url)
}

fn save_identity(tx: &Transaction<'_>, identity: &Enrolled, hub_url: &str) -> Result<(), StoreError> {
    let update = "update sync_self set replica = ?1, tenant_id = ?2, site_id = ?3, edge_id = ?4, edge_name = ?5,
        hub_url = ?6, token_count = ?7, token = ?8, cursor = null, hydrating = 0, last_error = null";
    tx.prepare_cached(update)?.execute(params![
        identity.replica,
        identity.tenant.to_string(),
        identity.site.to_string(),
        identity.edge.to_string(),
        identity.name,
        hub_url,
        signed(identity.fence.count),
        identity.fence.token,
    ])?;
    Ok(())
}

fn fill_tenant(tx: &Transaction<'_>, table: &Table, tenant: Uuid) -> Result<(), StoreError> {
    let update = format!("update {} set tenant_id = ?1 where tenant_id is null", table.sqlite);
    tx.prepare_cached(&update)?.execute([tenant.to_string()])?;
    Ok(())
}

fn rename(version: &mut Version, from: ReplicaId, to: ReplicaId) {
    let renamed = |vector: &Vector| -> Vector {
        vector.iter().map(|(replica, seq)| (if replica == from { to } else { replica }, seq)).collect()
    };
    version.vv = renamed(&version.vv);
    version.gone = renamed(&version.gone);
    for dot in version.dots.iter_mut().filter(|dot| dot.replica == from) {
        dot.replica = to;
    }
}

/// Tells the capture triggers whether our own code is writing rows with their versions. Set and cleared inside of one
/// transaction.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn set_applying(tx: &Transaction<'_>, applying: bool) -> Result<(), StoreError> {
    let update = "update sync_self set applying = ?1";
    tx.prepare_cached(update)?.execute([applying])?;
    Ok(())
}

/// Tells the capture triggers on whose behalf the transaction writes. Set and cleared inside of one transaction.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn set_actor(tx: &Transaction<'_>, actor: Option<PersonId>) -> Result<(), StoreError> {
    let update = "update sync_self set actor = ?1";
    tx.prepare_cached(update)?.execute([actor.map(|person| person.to_string())])?;
    Ok(())
}

/// Notes how far the centre's changes have been read.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn set_cursor(tx: &Transaction<'_>, cursor: &str, hydrating: bool) -> Result<(), StoreError> {
    let update = "update sync_self set cursor = ?1, hydrating = ?2";
    tx.prepare_cached(update)?.execute(params![cursor, hydrating])?;
    Ok(())
}

/// Stores the fence token for the next push.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn set_fence(tx: &Transaction<'_>, fence: &Fence) -> Result<(), StoreError> {
    let update = "update sync_self set token_count = ?1, token = ?2";
    tx.prepare_cached(update)?.execute(params![signed(fence.count), fence.token])?;
    Ok(())
}

/// Goes on as the replica that another file of this edge was, from where its count of writes and its fence token stand.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn resume(tx: &Transaction<'_>, state: &SelfState) -> Result<(), StoreError> {
    let update = "update sync_self set replica = ?1, seq = ?2, token_count = ?3, token = ?4";
    let SelfState { replica, seq, fence, .. } = state;
    tx.prepare_cached(update)?.execute(params![replica.0, signed(*seq), signed(fence.count), fence.token])?;
    Ok(())
}

/// Notes that the hub answered at `now_ms`, and how its clock stands to ours.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn heard(tx: &Transaction<'_>, now_ms: u64, hub_ms: u64) -> Result<(), StoreError> {
    let update = "update sync_self set last_exchange_at = ?1, clock_offset_ms = ?2, last_error = null";
    let offset_ms = signed(hub_ms).saturating_sub(signed(now_ms));
    tx.prepare_cached(update)?.execute(params![ledger::timestamp(now_ms), offset_ms])?;
    Ok(())
}

/// Notes what went wrong.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn failed(tx: &Transaction<'_>, reason: &str) -> Result<(), StoreError> {
    let update = "update sync_self set last_error = ?1 where last_error is not ?1";
    tx.prepare_cached(update)?.execute([reason])?;
    Ok(())
}

/// Notes how many replicas are known by name.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn set_directory_size(tx: &Transaction<'_>, size: usize) -> Result<(), StoreError> {
    let update = "update sync_self set directory_size = ?1";
    tx.prepare_cached(update)?.execute([i64::try_from(size).unwrap_or(i64::MAX)])?;
    Ok(())
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
