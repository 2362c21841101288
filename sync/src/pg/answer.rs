//! What a push leaves behind beside its rows, and what its sender is told.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Transaction;
use uuid::Uuid;

use super::apply::{Fate, Work};
use super::batch::{self, Incoming};
use super::bisect::Written;
use super::candidates::Candidate;
use super::error::StoreError;
use super::ledger::{self, Refused};
use super::refusal::Failure;
use super::{accepted, feed, fences, references, rows, versions};
use crate::catalog::{self, Direction};
use crate::merge::clock::{Dot, Hlc};
use crate::merge::conflict::Conflict;
use crate::merge::ids::{ReplicaId, RowId};
use crate::merge::plan::{Clamp, clamp_conflict};
use crate::merge::rename::unanswered;
use crate::merge::value::Value;
use crate::merge::vector::Vector;
use crate::merge::version::Row;
use crate::wire::digest;
use crate::wire::message::{Audit, Fence, Outcome, Pushed, PushedLine, RowAnswer};
use crate::wire::refusals;
use crate::wire::stream::Writer;
use crate::wire::version::VectorText;

/// Bytes of the hub's own rows that come with the refusals of one push, before compression.
const HUB_ROWS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Everything that a push leaves beside the rows: fates, conflicts, quarantine, audit records.
pub(super) async fn settle(
    tx: &mut Transaction<'_>,
    work: &mut Work<'_>,
    candidates: &[Candidate],
    written: Written,
) -> Result<(), StoreError> {
    let (mut conflicts, lowered) = pushed_conflicts(tx, work).await?;
    for done in written.done {
        work.fates.insert(done.index, Fate::Taken(done.version.version.vv.clone(), done.exact));
        conflicts.extend(done.conflicts);
    }
    for (failed, failure) in written.failed {
        let fate = match failure {
            Failure::Busy => Fate::Busy,
            Failure::Refused(refusal) => Fate::Refused(refusal),
        };
        work.fates.insert(failed.index, fate);
    }
    ledger::record(tx, work.edge.tenant, &conflicts, &lowered).await?;
    let mut refused: Vec<Refused> = work.fates.iter().filter_map(|(index, fate)| work.refused(*index, fate)).collect();
    refused.extend(work.batch.strange.iter().map(|strange| work.refused_strange(strange)));
    refused.extend(audit(tx, work).await?);
    ledger::quarantine(tx, work.edge.tenant, &refused).await?;
    let taken = candidates.iter().filter(|one| matches!(work.fates.get(&one.index), Some(Fate::Taken(..))));
    let (tables, ids): (Vec<i16>, Vec<Uuid>) = taken.map(|one| (versions::number(one.table.id), one.id.0)).unzip();
    ledger::close(tx, work.edge.id, &tables, &ids, "superseded").await?;
    ledger::close_covered(tx, work.edge.tenant, &tables, &ids).await?;
    blockers(tx, work).await?;
    hub_rows(tx, work).await
}

/// Finds the devices that have the serial numbers that others were refused for, so that their sites can tell when that
/// is worth another try.
async fn blockers(tx: &Transaction<'_>, work: &mut Work<'_>) -> Result<(), StoreError> {
    let mut refused = Vec::new();
    for (index, fate) in &work.fates {
        let (Fate::Refused(refusal), Some(incoming)) = (fate, work.batch.rows.get(*index)) else { continue };
        let Ok((_, push)) = &incoming.parsed else { continue };
        if let (refusals::SERIAL_NUMBER_TAKEN, Some(Value::Text(number))) =
            (refusal.code, push.values.get("serial_number"))
        {
            refused.push((*index, number.clone()));
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    let numbers: Vec<&str> = refused.iter().map(|(_, number)| number.as_str()).collect();
    let holders = references::holders(tx, work.edge.tenant, &numbers).await?;
    let held = refused.iter().filter_map(|(index, number)| Some((*index, *holders.get(number)?)));
    work.blockers.extend(held);
    Ok(())
}

/// Reads what is stored of the refused rows: a site shows it in the place of what was refused. Rows that would make the
/// answer too large are left to the next pull.
async fn hub_rows(tx: &Transaction<'_>, work: &mut Work<'_>) -> Result<(), StoreError> {
    let mut bytes = 0;
    for table in catalog::TABLES.iter().filter(|table| table.direction == Direction::Both) {
        let is_refused = |index: &usize| matches!(work.fates.get(index), Some(Fate::Refused(_) | Fate::NeedFull));
        let of_table = work.batch.rows.iter().enumerate().filter(|(_, incoming)| incoming.table == table.name);
        let refused: Vec<(usize, RowId)> =
            of_table.filter(|(index, _)| is_refused(index)).map(|(index, incoming)| (index, incoming.id)).collect();
        if refused.is_empty() {
            continue;
        }
        let ids: Vec<Uuid> = refused.iter().map(|(_, id)| id.0).collect();
        let mut stored = versions::read(tx, table, work.edge.tenant, &ids).await?;
        let mut found = rows::read(tx, table, work.edge.tenant, &ids).await?;
        let mut late = Vec::new();
        for (index, id) in refused {
            let stored = stored.remove(&id).and_then(Result::ok).unwrap_or_default();
            let values = match found.rows.remove(&id) {
                Some(values) => values,
                None if stored.version.is_alive() => continue,
                None => stored.last.clone().unwrap_or_default(),
            };
            let row = feed::pull_row(table, id, stored, &values);
            if row.vv.0.is_empty() && values.is_empty() {
                continue;
            }
            bytes += serde_json::to_string(&row).map_or(0, |text| text.len());
            if bytes > HUB_ROWS_BYTES_MAX {
                late.push(id.0);
                continue;
            }
            work.hub_rows.insert(index, row);
        }
        versions::touch(tx, work.edge.tenant, table.id, &late).await?;
    }
    Ok(())
}

/// The conflicts of a push with the stamps that their writes have here, and the ids of those that came with others: the
/// rows are stored by now, clamped where they had to be.
async fn pushed_conflicts(
    tx: &Transaction<'_>,
    work: &Work<'_>,
) -> Result<(Vec<Conflict>, BTreeSet<Uuid>), StoreError> {
    let mut conflicts = work.batch.conflicts.clone();
    let mut lowered = BTreeSet::new();
    for table in catalog::TABLES {
        let of_table = work.batch.conflicts.iter().filter(|conflict| conflict.table == table.id);
        let rows: Vec<Uuid> = of_table.map(|conflict| conflict.row.0).collect();
        if rows.is_empty() {
            continue;
        }
        let stored = versions::read(tx, table, work.edge.tenant, &rows).await?;
        for conflict in conflicts.iter_mut().filter(|conflict| conflict.table == table.id) {
            let row = stored.get(&conflict.row).and_then(|stored| stored.as_ref().ok());
            let version = row.map(|stored| stored.version.clone()).unwrap_or_default();
            if clamp_conflict(conflict, &version, Hlc::ceiling(work.now_ms)) {
                lowered.insert(conflict.id());
            }
        }
    }
    Ok((conflicts, lowered))
}

impl Work<'_> {
    fn refused(&self, index: usize, fate: &Fate) -> Option<Refused> {
        let (Fate::Refused(refusal), Some(incoming)) = (fate, self.batch.rows.get(index)) else { return None };
        let table = catalog::by_name(&incoming.table).map_or(0, |table| versions::number(table.id));
        Some(Refused {
            edge: Some((self.edge.id, self.edge.replica)),
            table,
            row: incoming.id.0,
            seq: incoming.seq,
            code: refusal.code,
            reason: refusal.reason.clone(),
            payload: incoming.payload(),
        })
    }
}

/// Stores the audit records; those that cannot be stored are kept as refused.
async fn audit(tx: &mut Transaction<'_>, work: &Work<'_>) -> Result<Vec<Refused>, StoreError> {
    let mut refused = Vec::new();
    let mut units = vec![work.batch.audits.iter().collect::<Vec<_>>()];
    while let Some(mut unit) = units.pop() {
        if unit.is_empty() {
            continue;
        }
        let savepoint = tx.savepoint("audit").await?;
        match ledger::audit(&savepoint, work.edge.tenant, &unit).await {
            Ok(()) => savepoint.commit().await?,
            Err(error @ (StoreError::Unreachable(_) | StoreError::Schema(_))) => return Err(error),
            Err(error) if unit.len() == 1 => {
                savepoint.rollback().await?;
                refused.extend(unit.iter().map(|record| work.refused_audit(record, &error)));
            }
            Err(_) => {
                savepoint.rollback().await?;
                let second = unit.split_off(unit.len() / 2);
                units.extend([second, unit]);
            }
        }
    }
    Ok(refused)
}

impl Work<'_> {
    fn refused_strange(&self, strange: &batch::Strange) -> Refused {
        Refused {
            edge: Some((self.edge.id, self.edge.replica)),
            table: 0,
            row: strange.id,
            seq: 0,
            code: strange.refusal.code,
            reason: strange.refusal.reason.clone(),
            payload: strange.payload.clone(),
        }
    }

    fn refused_audit(&self, record: &Audit, error: &StoreError) -> Refused {
        Refused {
            edge: Some((self.edge.id, self.edge.replica)),
            table: 0,
            row: record.id,
            seq: 0,
            code: refusals::BAD_AUDIT,
            reason: error.to_string(),
            payload: batch::payload(record),
        }
    }
}

/// The writes that were taken, with the stamps with which they came: the pusher asks for them by these, and its copies by
/// the names that they had before.
pub(super) fn accepted(work: &Work<'_>) -> Vec<accepted::Write> {
    let taken = work.fates.iter().filter(|(_, fate)| matches!(fate, Fate::Taken(..)));
    let mut writes = Vec::new();
    for incoming in taken.filter_map(|(index, _)| work.batch.rows.get(*index)) {
        let Ok((_, push)) = &incoming.parsed else { continue };
        let (row, said) = (incoming.id, Row { version: push.version.clone(), values: push.values.clone() });
        let contents = |replica, seq| digest::contents(&said, &Dot { replica, seq, hlc: Hlc(0), by: None });
        for dot in unanswered(&push.version, &push.base, &work.own) {
            let (name, contents) = ((dot.replica.0, dot.seq, dot.hlc.0), contents(dot.replica, dot.seq));
            writes.push(accepted::Write { row, name, now: None, contents });
        }
        for former in incoming.formerly.iter().filter(|former| work.own.contains(&ReplicaId(former.replica))) {
            let name = (former.replica, former.seq, former.hlc);
            let (now, contents) =
                ((work.batch.replica.0, former.now_seq), contents(work.batch.replica, former.now_seq));
            writes.push(accepted::Write { row, name, now: Some(now), contents });
        }
    }
    writes
}

pub(super) fn answer(work: &Work<'_>, candidates: &[Candidate], unix_ms: u64, token: &[u8]) -> Vec<u8> {
    let mut clamps: BTreeMap<usize, &[Clamp]> = BTreeMap::new();
    clamps.extend(candidates.iter().map(|candidate| (candidate.index, candidate.clamps.as_slice())));
    let fence = Fence { count: work.edge.fence.count + 1, token: fences::text(token) };
    let mut writer = Writer::default();
    let head = PushedLine::Batch(Pushed { id: work.batch.id, fence, unix_ms });
    let lines = work.batch.rows.iter().enumerate().map(|(index, incoming)| {
        let fate = work.fates.get(&index).unwrap_or(&Fate::Busy);
        let clamps = clamps.get(&index).copied().unwrap_or_default();
        let answer = row_answer(incoming, fate, clamps);
        let hub = work.hub_rows.get(&index).cloned().map(Box::new);
        PushedLine::Row(RowAnswer { hub, blocker: work.blockers.get(&index).copied(), ..answer })
    });
    let end = PushedLine::End(work.batch.rows.len() as u64);
    for line in std::iter::once(head).chain(lines).chain(std::iter::once(end)) {
        // Our own messages have no map with keys that JSON cannot hold, which is all that serialising can fail at.
        let _ = writer.line(&line);
    }
    writer.finish().unwrap_or_default()
}

fn row_answer(incoming: &Incoming, fate: &Fate, clamps: &[Clamp]) -> RowAnswer {
    let (outcome, vv, refusal) = match fate {
        Fate::Taken(vv, true) => (Outcome::Accepted, vv.clone(), None),
        Fate::Taken(vv, false) => (Outcome::Merged, vv.clone(), None),
        Fate::Busy => (Outcome::Busy, Vector::default(), None),
        Fate::NeedFull => (Outcome::NeedFull, Vector::default(), None),
        Fate::Refused(refusal) => (Outcome::Quarantined, Vector::default(), Some(refusal)),
    };
    let taken = matches!(fate, Fate::Taken(..));
    let clamps = clamps.iter().filter(|_| taken).map(|clamp| (clamp.replica.0, clamp.seq, clamp.hlc.0));
    RowAnswer {
        table: incoming.table.clone(),
        id: incoming.id.0,
        outcome,
        vv: VectorText(vv),
        clamps: clamps.collect(),
        code: refusal.map(|refusal| refusal.code.as_str().to_owned()),
        reason: refusal.map(|refusal| refusal.reason.clone()),
        hub: None,
        blocker: None,
    }
}
