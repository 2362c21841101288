//! One push, in one transaction: lock, look, plan, write, answer.
//!
//! Who wins is decided by `merge::plan` alone. What this file adds is that nobody is waited for (a row that somebody
//! else holds is answered `busy`), that one bad row stops no other, and that a batch has its effect once: the answer is
//! stored with it and the fence token rotated.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::{Client, Transaction};
use uuid::Uuid;

use super::batch::{Batch, Incoming, Refusal};
use super::bisect::{self, Planned, Written};
use super::edges::{self, Edge};
use super::error::StoreError;
use super::ledger::{self, Refused};
use super::refusal::{self, Failure};
use super::{references, rows, versions};
use crate::catalog::Table;
use crate::merge::clock::{Dot, Hlc};
use crate::merge::conflict::Conflict;
use crate::merge::ids::{ReplicaId, RowId, TableId};
use crate::merge::plan::{Clamp, Forgery, Push, PushPlan, clamp, plan_push};
use crate::merge::value::{Value, Values};
use crate::merge::vector::Vector;
use crate::merge::version::{Row, Version};
use crate::wire::message::{Fence, Outcome, Pushed, PushedLine, RowAnswer};
use crate::wire::stream::Writer;
use crate::wire::version::VectorText;

/// How long a push waits for a lock, in milliseconds: shorter than PostgreSQL's `deadlock_timeout` of a second, so
/// that it is always the push that gives way.
pub const LOCK_MS_MAX: u64 = 100;

/// What the caller's clock and random source say.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Now, in Unix milliseconds.
    pub unix_ms: u64,
    /// The next fence token.
    pub token: [u8; 16],
}

/// What became of a push.
#[derive(Debug)]
pub enum Receipt {
    /// The answer's body, ready to send.
    Answered(Vec<u8>),
    /// The fence token is not the edge's: nothing was changed.
    Fenced,
    /// The credential was revoked: nothing was changed.
    Revoked,
    /// A version claims what its pusher cannot have written: nothing was changed.
    Forged(String),
}

/// Takes a push.
pub async fn push(client: &mut Client, edge_id: Uuid, batch: &Batch, moment: &Moment) -> Result<Receipt, StoreError> {
    let mut tx = client.transaction().await?;
    bound_waits(&tx).await?;
    let Some(edge) = edges::lock(&tx, edge_id).await? else { return Ok(Receipt::Revoked) };
    if edge.revoked {
        return Ok(Receipt::Revoked);
    }
    match admit(&edge, batch) {
        Admission::Next => {}
        Admission::Repeated(answer) => return Ok(Receipt::Answered(answer)),
        Admission::Stale => return Ok(Receipt::Fenced),
    }
    begin_apply(&tx).await?;
    let own = edges::replicas(&tx, edge.id).await?;
    let centre = versions::centre(&tx).await?;
    let mut work = Work { edge: &edge, own, centre, batch, now_ms: moment.unix_ms, fates: BTreeMap::new() };
    let candidates = look(&tx, &mut work).await?;
    let planned = match plan(&tx, &mut work, &candidates).await? {
        Ok(planned) => planned,
        Err(forgery) => return Ok(Receipt::Forged(forgery)),
    };
    let written = write(&mut tx, &mut work, &candidates, planned).await?;
    settle(&mut tx, &mut work, &candidates, written).await?;
    let answer = answer(&work, &candidates, moment);
    let done = (batch.id, batch.hash.as_slice(), batch.high_seq);
    edges::acknowledge_push(&tx, edge.id, done, &moment.token, &answer).await?;
    tx.commit().await?;
    Ok(Receipt::Answered(answer))
}

enum Admission {
    Next,
    Repeated(Vec<u8>),
    Stale,
}

/// Whether the batch continues what the hub knows of the edge. The same batch with the token before is a lost answer.
fn admit(edge: &Edge, batch: &Batch) -> Admission {
    if batch.replica != edge.replica {
        return Admission::Stale;
    }
    if batch.fence == edge.fence {
        return Admission::Next;
    }
    let before = edge.fence_before.clone().map(|token| Fence { count: edge.fence.count.wrapping_sub(1), token });
    let same = edge.last_batch == Some(batch.id) && edge.last_batch_hash.as_deref() == Some(batch.hash.as_slice());
    match &edge.last_answer {
        Some(answer) if same && before.as_ref() == Some(&batch.fence) => Admission::Repeated(answer.clone()),
        _ => Admission::Stale,
    }
}

struct Work<'a> {
    edge: &'a Edge,
    own: Vec<ReplicaId>,
    centre: ReplicaId,
    batch: &'a Batch,
    now_ms: u64,
    /// By place in the batch.
    fates: BTreeMap<usize, Fate>,
}

enum Fate {
    /// The hub's vector afterwards, and whether it is now as the edge has it.
    Taken(Vector, bool),
    Busy,
    NeedFull,
    Refused(Refusal),
}

/// A pushed row beside what the hub has of it.
struct Candidate {
    index: usize,
    table: &'static Table,
    id: RowId,
    push: Push,
    clamps: Vec<Clamp>,
    known: Option<Row>,
    /// The row as it is in its table, if it is there.
    before: Option<Values>,
}

/// Locks every row that can be had, then reads rows and versions in later statements, which see what was committed
/// before the lock was granted.
async fn look<'a>(tx: &Transaction<'_>, work: &mut Work<'a>) -> Result<Vec<Candidate>, StoreError> {
    let mut tables: BTreeMap<TableId, (&'static Table, Vec<(usize, &'a Incoming, &'a Push)>)> = BTreeMap::new();
    for (index, incoming) in work.batch.rows.iter().enumerate() {
        match &incoming.parsed {
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
        let mut ids: Vec<Uuid> = pushed.iter().map(|(_, incoming, _)| incoming.row.id).collect();
        ids.sort_unstable();
        let mut hub = hub_rows(tx, work, table, &ids).await?;
        for (index, incoming, push) in pushed {
            match hub.remove(&incoming.id()) {
                Some(Held::Busy) => {
                    work.fates.insert(index, Fate::Busy);
                }
                Some(Held::Unreadable(reason)) => {
                    let reason = format!("the row cannot be read at the centre: {reason}");
                    work.fates.insert(index, Fate::Refused(Refusal { code: "unreadable", reason }));
                }
                Some(Held::Ours { known, before }) => {
                    let mut push = push.clone();
                    let seen = known.as_ref().map(|row| row.version.vv.clone()).unwrap_or_default();
                    let clamps = clamp(&mut push.version, &seen, &work.own, Hlc::ceiling(work.now_ms));
                    let id = incoming.id();
                    candidates.push(Candidate { index, table, id, push, clamps, known, before });
                }
                None => {}
            }
        }
    }
    Ok(candidates)
}

enum Held {
    Busy,
    Unreadable(String),
    Ours { known: Option<Row>, before: Option<Values> },
}

async fn hub_rows(
    tx: &Transaction<'_>,
    work: &Work<'_>,
    table: &'static Table,
    ids: &[Uuid],
) -> Result<BTreeMap<RowId, Held>, StoreError> {
    let tenant = work.edge.tenant;
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
            (None, stored) => known(tx, work, stored.and_then(Result::ok), values).await?,
        };
        hub.insert(id, ours);
    }
    Ok(hub)
}

/// The hub's row out of its version and its values. Where the two disagree, somebody wrote while capture was off: a row
/// without a living version counts as written by the centre now, a version without its row as forgotten.
async fn known(
    tx: &Transaction<'_>,
    work: &Work<'_>,
    stored: Option<versions::Stored>,
    before: Option<Values>,
) -> Result<Held, StoreError> {
    let known = match (stored, &before) {
        (Some(stored), Some(values)) if stored.version.is_alive() => {
            Some(Row { version: stored.version, values: values.clone() })
        }
        (stored, Some(values)) => {
            let mut version = stored.unwrap_or_default().version;
            version.write(centre_dot(tx, work, version.hlc()).await?, &[]);
            Some(Row { version, values: values.clone() })
        }
        (Some(stored), None) if stored.version.is_alive() => None,
        (Some(stored), None) => Some(Row { version: stored.version, values: stored.last.unwrap_or_default() }),
        (None, None) => None,
    };
    Ok(Held::Ours { known, before })
}

/// A new write of the centre on a row whose highest stamp is `hlc`. Taken only under the row's lock.
async fn centre_dot(tx: &Transaction<'_>, work: &Work<'_>, hlc: Hlc) -> Result<Dot, StoreError> {
    let seq = versions::next_seq(tx).await?;
    Ok(Dot { replica: work.centre, seq, hlc: hlc.tick(work.now_ms), by: None })
}

/// Plans every candidate; the outer error is the store's, the inner one a forgery.
async fn plan(
    tx: &Transaction<'_>,
    work: &mut Work<'_>,
    candidates: &[Candidate],
) -> Result<Result<Vec<Planned>, String>, StoreError> {
    let mut planned = Vec::new();
    for candidate in candidates {
        match decide(candidate, candidate.known.as_ref(), &work.own) {
            PushPlan::Known => {
                let version = candidate.known.as_ref().map(|row| row.version.clone()).unwrap_or_default();
                let exact = version == candidate.push.version;
                work.fates.insert(candidate.index, Fate::Taken(version.vv, exact));
            }
            PushPlan::NeedFull => {
                work.fates.insert(candidate.index, Fate::NeedFull);
            }
            PushPlan::Store { row, conflicts, exact } => {
                planned.push(candidate.planned(work, row, conflicts, exact));
            }
            PushPlan::Gone { conflicts } => {
                let row = tombstone(tx, work, candidate).await?;
                planned.push(candidate.planned(work, row, conflicts, false));
            }
            PushPlan::Refused(forgery) => return Ok(Err(candidate.forged(forgery))),
        }
    }
    refuse_foreign(tx, work, candidates, planned).await.map(Ok)
}

fn decide(candidate: &Candidate, known: Option<&Row>, own: &[ReplicaId]) -> PushPlan {
    plan_push(candidate.table.id, candidate.id, known, &candidate.push, own, &candidate.table.quiet())
}

impl Candidate {
    fn planned(&self, work: &Work<'_>, row: Row, conflicts: Vec<Conflict>, exact: bool) -> Planned {
        let exact = exact && self.clamps.is_empty();
        let dead = !row.version.is_alive();
        let last = || match row.values.is_empty() {
            true => "{}".to_owned(),
            false => rows::json(self.table, self.id, &row.values),
        };
        let version = versions::Write {
            table: self.table.id,
            id: self.id,
            version: row.version.clone(),
            echo_of: exact.then_some(work.edge.replica),
            last_row: dead.then(last),
        };
        let before = self.before.clone();
        Planned { index: self.index, table: self.table, version, row, before, conflicts, exact }
    }

    fn forged(&self, forgery: Forgery) -> String {
        let what = match forgery {
            Forgery::ForeignDot => "names a write by a replica that is not the pusher's",
            Forgery::DotOutsideVector => "has a dot that its own vector does not cover",
            Forgery::MissingValue => "has a new dot without its value",
        };
        format!("{} {} {what}", self.table.name, self.id)
    }
}

/// What takes the place of a row that was forgotten here: everything that the pusher has seen of it is gone.
async fn tombstone(tx: &Transaction<'_>, work: &Work<'_>, candidate: &Candidate) -> Result<Row, StoreError> {
    let directory: BTreeSet<u32> =
        edges::directory(tx, work.edge.tenant).await?.into_iter().map(|replica| replica.id).collect();
    let pushed = &candidate.push.version;
    let seen: Vector = pushed.vv.iter().filter(|(replica, _)| directory.contains(&replica.0)).collect();
    let dot = centre_dot(tx, work, pushed.hlc()).await?;
    let mut version = Version { vv: seen, ..Version::default() };
    version.dots.default = Some(dot);
    version.delete(dot);
    Ok(Row { version, values: Values::new() })
}

/// Takes out what would reach into another tenant, by its own tenant or by its assignee; sites and devices are checked by
/// composite keys. What the push does not change is not asked about: people leave, and their work keeps their name.
async fn refuse_foreign(
    tx: &Transaction<'_>,
    work: &mut Work<'_>,
    candidates: &[Candidate],
    planned: Vec<Planned>,
) -> Result<Vec<Planned>, StoreError> {
    let assignee = |planned: &Planned| match planned.row.values.get("user_id") {
        Some(Value::Text(user)) if planned.row.version.is_alive() => Uuid::try_parse(user).ok(),
        _ => None,
    };
    let known = |index: usize| candidates.iter().find(|candidate| candidate.index == index)?.known.as_ref();
    let mut before: BTreeMap<usize, &Row> = BTreeMap::new();
    for planned in &planned {
        before.extend(known(planned.index).map(|row| (planned.index, row)));
    }
    let unchanged = |planned: &Planned| {
        before.get(&planned.index).is_some_and(|row| row.values.get("user_id") == planned.row.values.get("user_id"))
    };
    let asked: Vec<Uuid> = planned.iter().filter(|one| !unchanged(one)).filter_map(assignee).collect();
    let members =
        if asked.is_empty() { BTreeSet::new() } else { references::members(tx, work.edge.tenant, &asked).await? };
    let tenant = Value::text(work.edge.tenant.hyphenated().to_string());
    let mut kept = Vec::new();
    for one in planned {
        let foreign = match (one.row.values.get("tenant_id"), assignee(&one)) {
            (Some(other), _) if *other != tenant => Some("tenant_id"),
            (_, Some(user)) if !unchanged(&one) && !members.contains(&user) => Some("user_id"),
            _ => None,
        };
        match foreign {
            Some(column) => {
                let refusal = refusal::missing_reference(one.table, column);
                work.fates.insert(one.index, Fate::Refused(refusal));
            }
            None => kept.push(one),
        }
    }
    Ok(kept)
}

/// Writes everything but deletes of parents, then those, children before parents, then once more what failed.
async fn write(
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
            candidate.id() == child.id && candidate.parsed.as_ref().is_ok_and(|(table, _)| table.id == child.table)
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
    let dot = centre_dot(tx, work, touched.version.hlc()).await?;
    touched.version.write(dot, &["updated_at".to_owned()]);
    match decide(candidate, Some(&touched), &work.own) {
        PushPlan::Store { row, conflicts, exact } => Ok(candidate.planned(work, row, conflicts, exact)),
        _ => Ok(dying),
    }
}

/// Everything that a push leaves beside the rows: fates, conflicts, quarantine, audit records.
async fn settle(
    tx: &mut Transaction<'_>,
    work: &mut Work<'_>,
    candidates: &[Candidate],
    written: Written,
) -> Result<(), StoreError> {
    let mut conflicts = work.batch.conflicts.clone();
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
    ledger::record(tx, work.edge.tenant, &conflicts).await?;
    let mut refused: Vec<Refused> = work.fates.iter().filter_map(|(index, fate)| work.refused(*index, fate)).collect();
    refused.extend(audit(tx, work).await?);
    ledger::quarantine(tx, work.edge.tenant, &refused).await?;
    let taken = candidates.iter().filter(|one| matches!(work.fates.get(&one.index), Some(Fate::Taken(..))));
    let (tables, ids): (Vec<i16>, Vec<Uuid>) = taken.map(|one| (versions::number(one.table.id), one.id.0)).unzip();
    ledger::supersede(tx, work.edge.id, &tables, &ids).await
}

impl Work<'_> {
    fn refused(&self, index: usize, fate: &Fate) -> Option<Refused> {
        let (Fate::Refused(refusal), Some(incoming)) = (fate, self.batch.rows.get(index)) else { return None };
        let table = crate::catalog::by_name(&incoming.row.table).map_or(0, |table| versions::number(table.id));
        Some(Refused {
            edge: Some((self.edge.id, self.edge.replica)),
            table,
            row: incoming.row.id,
            seq: incoming.row.vv.0.seen(self.edge.replica),
            code: refusal.code.to_owned(),
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
    fn refused_audit(&self, record: &crate::wire::message::Audit, error: &StoreError) -> Refused {
        let text = serde_json::to_string(record).unwrap_or_default();
        let payload = crate::wire::canonical::json(&text)
            .unwrap_or_else(|_| format!("{{\"unreadable\":{}}}", crate::wire::canonical::json_string(&text)));
        Refused {
            edge: Some((self.edge.id, self.edge.replica)),
            table: 0,
            row: record.id,
            seq: 0,
            code: "bad_audit".to_owned(),
            reason: error.to_string(),
            payload,
        }
    }
}

fn answer(work: &Work<'_>, candidates: &[Candidate], moment: &Moment) -> Vec<u8> {
    let mut clamps: BTreeMap<usize, &[Clamp]> = BTreeMap::new();
    clamps.extend(candidates.iter().map(|candidate| (candidate.index, candidate.clamps.as_slice())));
    let token = moment.token.iter().map(|byte| format!("{byte:02x}")).collect();
    let fence = Fence { count: work.edge.fence.count + 1, token };
    let mut writer = Writer::default();
    let head = PushedLine::Batch(Pushed { id: work.batch.id, fence, unix_ms: moment.unix_ms });
    let lines = work.batch.rows.iter().enumerate().map(|(index, incoming)| {
        let fate = work.fates.get(&index).unwrap_or(&Fate::Busy);
        PushedLine::Row(row_answer(incoming, fate, clamps.get(&index).copied().unwrap_or_default()))
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
        table: incoming.row.table.clone(),
        id: incoming.row.id,
        outcome,
        vv: VectorText(vv),
        clamps: clamps.collect(),
        code: refusal.map(|refusal| refusal.code.to_owned()),
        reason: refusal.map(|refusal| refusal.reason.clone()),
    }
}

async fn bound_waits(tx: &Transaction<'_>) -> Result<(), StoreError> {
    tx.batch_execute(&format!("set local lock_timeout = {LOCK_MS_MAX}")).await?;
    Ok(())
}

/// Says that rows may be announced. Before the first savepoint: a setting made inside of one goes with it.
async fn begin_apply(tx: &Transaction<'_>) -> Result<(), StoreError> {
    tx.batch_execute("set local sync.applying = 'on'").await?;
    Ok(())
}
