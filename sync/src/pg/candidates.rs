//! Pushed rows beside what the hub has of them, locked.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Transaction;
use uuid::Uuid;

use super::apply::{Fate, Work};
use super::batch::{Incoming, Refusal};
use super::error::StoreError;
use super::{accepted, rows, versions};
use crate::catalog::Table;
use crate::merge::clock::{Dot, Hlc};
use crate::merge::ids::{ReplicaId, RowId, TableId};
use crate::merge::plan::{Clamp, Push, clamp};
use crate::merge::value::Values;
use crate::merge::version::Row;
use crate::wire::refusals;

/// Whose rows are looked at, and what a write of the centre is stamped with.
#[derive(Clone, Copy)]
pub(super) struct Desk {
    pub(super) tenant: Uuid,
    pub(super) centre: ReplicaId,
    pub(super) now_ms: u64,
}

/// A pushed row beside what the hub has of it.
pub(super) struct Candidate {
    pub(super) index: usize,
    pub(super) table: &'static Table,
    pub(super) id: RowId,
    pub(super) push: Push,
    pub(super) clamps: Vec<Clamp>,
    pub(super) known: Option<Row>,
    /// The row as it is in its table, if it is there.
    pub(super) before: Option<Values>,
}

/// Its place in the batch, the row as it came and as it was parsed.
type Pushed<'a> = (usize, &'a Incoming, &'a Push);

/// Locks every row that can be had, then reads rows and versions in later statements, which see what was committed
/// before the lock was granted.
pub(super) async fn look<'a>(tx: &Transaction<'_>, work: &mut Work<'a>) -> Result<Vec<Candidate>, StoreError> {
    let mut tables: BTreeMap<TableId, (&'static Table, Vec<Pushed<'a>>)> = BTreeMap::new();
    for (index, incoming) in work.batch.rows.iter().enumerate() {
        match &incoming.parsed {
            // Given up; nothing of it is written.
            Ok(_) if incoming.discarded => {}
            Ok((table, push)) => {
                tables.entry(table.id).or_insert((*table, Vec::new())).1.push((index, incoming, push));
            }
            Err(refusal) => {
                work.fates.insert(index, Fate::Refused(refusal.clone()));
            }
        }
    }
    let mut candidates = Vec::new();
    for (table, pushed) in tables.into_values() {
        let mut ids: Vec<Uuid> = pushed.iter().map(|(_, incoming, _)| incoming.id.0).collect();
        ids.sort_unstable();
        let mut hub = hub_rows(tx, work.desk(), table, &ids).await?;
        for (index, incoming, push) in pushed {
            match hub.remove(&incoming.id) {
                Some(Held::Busy) => {
                    work.fates.insert(index, Fate::Busy);
                }
                Some(Held::Unreadable(reason)) => {
                    let reason = format!("the row cannot be read at the centre: {reason}");
                    work.fates.insert(index, Fate::Refused(Refusal { code: refusals::UNREADABLE, reason }));
                }
                Some(Held::Ours { known, before }) => {
                    let (id, push) = (incoming.id, push.clone());
                    candidates.push(Candidate { index, table, id, push, clamps: Vec::new(), known, before });
                }
                None => {}
            }
        }
    }
    recall(tx, &mut candidates).await?;
    for one in &mut candidates {
        let seen = one.known.as_ref().map(|row| row.version.clone()).unwrap_or_default();
        one.clamps = clamp(&mut one.push.version, &seen, &work.own, Hlc::ceiling(work.now_ms));
    }
    Ok(candidates)
}

/// An edge that went back sends a row as its own new one that the centre had taken, and has forgotten as deleted since. What it
/// had taken counts as acknowledged, whatever the edge remembers.
async fn recall(tx: &Transaction<'_>, candidates: &mut [Candidate]) -> Result<(), StoreError> {
    let is_new = |one: &Candidate| one.known.is_none() && one.push.base.is_empty();
    let asked: Vec<_> = candidates.iter().filter(|one| is_new(one)).map(|one| (one.id, &one.push)).collect();
    let mut acknowledged = accepted::acknowledged(tx, &asked).await?;
    for one in candidates.iter_mut().filter(|one| is_new(one)) {
        one.push.base = acknowledged.remove(&one.id).unwrap_or_default();
    }
    Ok(())
}

/// What the hub has of a row.
pub(super) enum Held {
    Busy,
    Unreadable(String),
    Ours { known: Option<Row>, before: Option<Values> },
}

/// Locks those of the rows that nobody else holds, and reads them.
pub(super) async fn hub_rows(
    tx: &Transaction<'_>,
    desk: Desk,
    table: &'static Table,
    ids: &[Uuid],
) -> Result<BTreeMap<RowId, Held>, StoreError> {
    let tenant = desk.tenant;
    let locked: BTreeSet<Uuid> = rows::lock(tx, table, tenant, ids).await?.into_iter().collect();
    let mut stored = versions::lock(tx, table, tenant, ids).await?;
    let without: Vec<Uuid> = ids.iter().copied().filter(|id| !stored.contains_key(&RowId(*id))).collect();
    let held = versions::present(tx, table, tenant, &without).await?;
    let mut found = rows::read(tx, table, tenant, ids).await?;
    let mut hub = BTreeMap::new();
    for id in ids.iter().copied().map(RowId) {
        let (values, unreadable) = (found.rows.remove(&id), found.unreadable.remove(&id));
        let there = values.is_some() || unreadable.is_some();
        let ours = match (unreadable, stored.remove(&id)) {
            _ if held.contains(&id) || there && !locked.contains(&id.0) => Held::Busy,
            (Some(reason), _) | (None, Some(Err(reason))) => Held::Unreadable(reason),
            (None, stored) => known(tx, desk, stored.and_then(Result::ok), values).await?,
        };
        hub.insert(id, ours);
    }
    Ok(hub)
}

/// The hub's row out of its version and its values. Where the two disagree, somebody wrote while capture was off: a row
/// without a living version counts as written by the centre now, a version without its row as forgotten.
async fn known(
    tx: &Transaction<'_>,
    desk: Desk,
    stored: Option<versions::Stored>,
    before: Option<Values>,
) -> Result<Held, StoreError> {
    let known = match (stored, &before) {
        (Some(stored), Some(values)) if stored.version.is_alive() => {
            Some(Row { version: stored.version, values: values.clone() })
        }
        (stored, Some(values)) => {
            let mut version = stored.unwrap_or_default().version;
            version.write(centre_dot(tx, desk, version.hlc()).await?, &[]);
            Some(Row { version, values: values.clone() })
        }
        (Some(stored), None) if stored.version.is_alive() => None,
        (Some(stored), None) => Some(Row { version: stored.version, values: stored.last.unwrap_or_default() }),
        (None, None) => None,
    };
    Ok(Held::Ours { known, before })
}

/// A new write of the centre on a row whose highest stamp is `hlc`. Taken only under the row's lock.
pub(super) async fn centre_dot(tx: &Transaction<'_>, desk: Desk, hlc: Hlc) -> Result<Dot, StoreError> {
    let seq = versions::next_seq(tx).await?;
    Ok(Dot { replica: desk.centre, seq, hlc: hlc.tick(desk.now_ms), by: None })
}
