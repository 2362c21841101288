//! Writes a batch, parents last: what is deleted may not take along what its deleter has not seen.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Transaction;
use uuid::Uuid;

use super::apply::{Fate, Work, decide};
use super::batch::Incoming;
use super::bisect::{self, Planned, Written};
use super::candidates::{Candidate, centre_dot};
use super::error::StoreError;
use super::{references, rows};
use crate::catalog::Table;
use crate::merge::ids::{RowId, TableId};
use crate::merge::plan::PushPlan;

/// Writes everything but deletes of parents, then those, children before parents, then once more what failed.
pub(super) async fn write(
    tx: &mut Transaction<'_>,
    work: &mut Work<'_>,
    candidates: &[Candidate],
    planned: Vec<Planned>,
) -> Result<Written, StoreError> {
    let tenant = work.edge.tenant;
    let parents = references::parents();
    let (dying, rest): (Vec<_>, Vec<_>) =
        planned.into_iter().partition(|one| one.dies() && parents.iter().any(|table| table.id == one.table.id));
    let mut written = bisect::write(tx, tenant, rest).await?;
    let mut dying: BTreeMap<TableId, Vec<Planned>> = dying.into_iter().fold(BTreeMap::new(), |mut by_table, one| {
        by_table.entry(one.table.id).or_default().push(one);
        by_table
    });
    for table in parents {
        let Some(dying) = dying.remove(&table.id) else { continue };
        let spared = spare_parents(tx, work, candidates, table, dying).await?;
        let more = bisect::write(tx, tenant, spared).await?;
        written.done.extend(more.done);
        written.failed.extend(more.failed);
    }
    bisect::retry(tx, tenant, &mut written).await?;
    Ok(written)
}

/// A parent to which rows still refer was deleted by somebody who had not seen them: it stays, by a write of the
/// centre, and the delete becomes a conflict. One whose child is busy is busy too.
async fn spare_parents(
    tx: &Transaction<'_>,
    work: &mut Work<'_>,
    candidates: &[Candidate],
    table: &'static Table,
    dying: Vec<Planned>,
) -> Result<Vec<Planned>, StoreError> {
    let tenant = work.edge.tenant;
    let mut ids: Vec<Uuid> = dying.iter().map(|one| one.id().0).collect();
    ids.sort_unstable();
    let locked: BTreeSet<Uuid> = rows::lock_for_delete(tx, table, tenant, &ids).await?.into_iter().collect();
    let children = references::children(tx, table, tenant, &ids).await?;
    let busy = |child: &references::Child| {
        let is_it = |candidate: &Incoming| {
            candidate.id == child.id && candidate.parsed.as_ref().is_ok_and(|(table, _)| table.id == child.table)
        };
        let index = work.batch.rows.iter().position(is_it);
        index.is_some_and(|index| matches!(work.fates.get(&index), Some(Fate::Busy)))
    };
    let waiting: BTreeSet<RowId> = children.iter().filter(|child| busy(child)).map(|child| child.parent).collect();
    let parents: BTreeSet<RowId> = children.iter().map(|child| child.parent).collect();
    let (mut spared, mut stay) = (Vec::new(), Vec::new());
    for one in dying {
        let candidate = candidates.iter().find(|candidate| candidate.index == one.index);
        match candidate {
            _ if !locked.contains(&one.id().0) || waiting.contains(&one.id()) => {
                work.fates.insert(one.index, Fate::Busy);
            }
            Some(candidate) if parents.contains(&one.id()) => {
                stay.push(one.id().0);
                spared.push(keep(tx, work, candidate, one).await?);
            }
            _ => spared.push(one),
        }
    }
    if !stay.is_empty() {
        references::send_again(tx, tenant, &stay).await?;
    }
    Ok(spared)
}

/// The same push, joined with a parent that the centre has just written again.
async fn keep(
    tx: &Transaction<'_>,
    work: &Work<'_>,
    candidate: &Candidate,
    dying: Planned,
) -> Result<Planned, StoreError> {
    let Some(mut touched) = candidate.known.clone() else { return Ok(dying) };
    let dot = centre_dot(tx, work.desk(), touched.version.hlc()).await?;
    touched.version.write(dot, &["updated_at".to_owned()]);
    match decide(candidate, Some(&touched), &work.own) {
        PushPlan::Store { row, conflicts, exact } => Ok(candidate.planned(work, row, conflicts, exact)),
        _ => Ok(dying),
    }
}
