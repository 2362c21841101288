//! Refused writes that somebody gives up: a write of the centre that supersedes them, at every site that has them.
//!
//! Only the version is written. The row itself, if the hub has it, stays as it is.

use tokio_postgres::Transaction;

use super::apply::{Fate, Work, last_row};
use super::batch::Refusal;
use super::candidates::{Desk, Held, centre_dot, hub_rows};
use super::error::StoreError;
use super::{ledger, versions};
use crate::catalog::Table;
use crate::merge::clock::Hlc;
use crate::merge::ids::{ReplicaId, RowId};
use crate::merge::plan::{Push, clamp, plan_discard};
use crate::merge::vector::Vector;
use crate::wire::refusals;

/// What became of a discard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Discarded {
    /// The hub's row supersedes the refused writes; its vector.
    Done(Vector),
    /// Somebody else holds the row.
    Busy,
    /// The hub's row cannot be read, and why.
    Unreadable(String),
}

/// Discards what the edge gives up in a push, and closes its entries.
pub(super) async fn pushed(tx: &Transaction<'_>, work: &mut Work<'_>) -> Result<(), StoreError> {
    for (index, incoming) in work.batch.rows.iter().enumerate().filter(|(_, incoming)| incoming.discarded) {
        let Ok((table, push)) = &incoming.parsed else { continue };
        let fate = match row(tx, work.desk(), table, incoming.id, push, &work.own).await? {
            Discarded::Done(vv) => {
                let number = [versions::number(table.id)];
                ledger::close(tx, work.edge.id, &number, &[incoming.id.0], "discarded").await?;
                Fate::Taken(vv, false)
            }
            Discarded::Busy => Fate::Busy,
            Discarded::Unreadable(reason) => {
                let reason = format!("the row cannot be read at the centre: {reason}");
                Fate::Refused(Refusal { code: refusals::UNREADABLE, reason })
            }
        };
        work.fates.insert(index, fate);
    }
    Ok(())
}

/// Writes the version that supersedes the refused writes of one row. `own` are its pusher's replica ids.
pub(super) async fn row(
    tx: &Transaction<'_>,
    desk: Desk,
    table: &'static Table,
    id: RowId,
    refused: &Push,
    own: &[ReplicaId],
) -> Result<Discarded, StoreError> {
    let known = match hub_rows(tx, desk, table, &[id.0]).await?.remove(&id) {
        Some(Held::Ours { known, .. }) => known,
        Some(Held::Unreadable(reason)) => return Ok(Discarded::Unreadable(reason)),
        Some(Held::Busy) | None => return Ok(Discarded::Busy),
    };
    let seen = known.as_ref().map(|row| row.version.clone()).unwrap_or_default();
    let mut refused = refused.clone();
    clamp(&mut refused.version, &seen, own, Hlc::ceiling(desk.now_ms));
    let dot = centre_dot(tx, desk, seen.hlc().max(refused.version.hlc())).await?;
    let Some(row) = plan_discard(known.as_ref(), &refused, own, dot) else {
        // The hub has these writes or has superseded them: whoever asks has not heard of it.
        versions::touch(tx, desk.tenant, table.id, &[id.0]).await?;
        return Ok(Discarded::Done(seen.vv));
    };
    let last_row = last_row(table, id, &row);
    let vv = row.version.vv.clone();
    let write = versions::Write { table: table.id, id, version: row.version, echo_of: None, last_row };
    if seen.vv.is_empty() {
        // Nothing could be locked: somebody may have written the row meanwhile.
        let stored = versions::store_new(tx, desk.tenant, &write).await?;
        return Ok(if stored { Discarded::Done(vv) } else { Discarded::Busy });
    }
    versions::store(tx, desk.tenant, &[&write]).await?;
    Ok(Discarded::Done(vv))
}
