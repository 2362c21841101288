//! One push, in one transaction: lock, look, plan, write, answer.
//!
//! Who wins is decided by `merge::plan` alone. What this file adds is that nobody is waited for (a row that somebody
//! else holds is answered `busy`), that one bad row stops no other, and that a batch has its effect once: the answer is
//! stored with it and the fence token rotated.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::{Client, Transaction};
use uuid::Uuid;

use super::batch::{Batch, Refusal};
use super::bisect::Planned;
use super::candidates::{Candidate, Desk, centre_dot, look};
use super::edges::{self, Edge};
use super::error::StoreError;
use super::{accepted, answer, discards, feed, fences, parents, references, refusal, revocations, rows, versions};
use crate::catalog::Table;
use crate::merge::conflict::Conflict;
use crate::merge::fence::{Admission, Mark, admission};
use crate::merge::ids::{ReplicaId, RowId};
use crate::merge::plan::{Forgery, PushPlan, plan_gone, plan_push};
use crate::merge::value::{Value, Values};
use crate::merge::vector::Vector;
use crate::merge::version::Row;
use crate::wire::message::{Fence, PullRow};
use crate::wire::refusals;

/// How long a push waits for a lock, in milliseconds: shorter than PostgreSQL's `deadlock_timeout` of a second, so
/// that it is always the push that gives way.
pub const LOCK_MS_MAX: u64 = 100;

/// What the caller's clock and random source say.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Now, in Unix milliseconds.
    pub unix_ms: u64,
    /// The random part of the next fence token.
    pub random: [u8; 8],
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
}

/// Takes a push.
pub async fn push(client: &mut Client, edge_id: Uuid, batch: &Batch, moment: &Moment) -> Result<Receipt, StoreError> {
    let mut tx = client.transaction().await?;
    bound_waits(&tx).await?;
    let Some(edge) = edges::lock(&tx, edge_id, Some(batch.replica)).await? else { return Ok(Receipt::Fenced) };
    if edge.revoked {
        return Ok(Receipt::Revoked);
    }
    match (admit(&edge, batch), &edge.last_answer) {
        (Admission::Next, _) => {}
        (Admission::Repeated, Some(answer)) => return Ok(Receipt::Answered(answer.clone())),
        (Admission::Repeated, None) | (Admission::Stale, _) => return Ok(Receipt::Fenced),
    }
    begin_apply(&tx).await?;
    let own = edges::replicas(&tx, edge.id).await?;
    let centre = versions::centre(&tx).await?;
    let mut work = Work {
        edge: &edge,
        own,
        centre,
        batch,
        now_ms: moment.unix_ms,
        fates: BTreeMap::new(),
        hub_rows: BTreeMap::new(),
        blockers: BTreeMap::new(),
        release: None,
    };
    let candidates = look(&tx, &mut work).await?;
    let planned = plan(&tx, &mut work, &candidates).await?;
    let written = parents::write(&mut tx, &mut work, &candidates, planned).await?;
    discards::pushed(&tx, &mut work).await?;
    answer::settle(&mut tx, &mut work, &candidates, written).await?;
    accepted::remember(&tx, &answer::accepted(&work)).await?;
    let key = feed::seal_key(&tx).await?;
    let token = fences::token(&key, edge.replica, edge.fence.count + 1, moment.random);
    let answer = answer::answer(&work, &candidates, moment.unix_ms, &token);
    let done = (batch.id, batch.hash.as_slice(), batch.high_seq);
    fences::acknowledge_push(&tx, edge.replica, done, &token, &answer).await?;
    edges::seen(&tx, edge.id).await?;
    tx.commit().await?;
    Ok(Receipt::Answered(answer))
}

/// Whether the batch continues what the hub knows of the edge.
fn admit(edge: &Edge, batch: &Batch) -> Admission {
    let mark = |fence: &Fence| Mark { count: fence.count, word: fence.token.clone() };
    let same = edge.last_batch == Some(batch.id) && edge.last_batch_hash.as_deref() == Some(batch.hash.as_slice());
    admission(&mark(&batch.fence), &mark(&edge.fence), edge.fence_before.as_deref(), same)
}

pub(super) struct Work<'a> {
    pub(super) edge: &'a Edge,
    pub(super) own: Vec<ReplicaId>,
    pub(super) centre: ReplicaId,
    pub(super) batch: &'a Batch,
    pub(super) now_ms: u64,
    /// By place in the batch.
    pub(super) fates: BTreeMap<usize, Fate>,
    /// By place in the batch: what is stored of the refused rows.
    pub(super) hub_rows: BTreeMap<usize, PullRow>,
    /// By place in the batch: the row that stands in the way of a refused one.
    pub(super) blockers: BTreeMap<usize, Uuid>,
    /// What the operators write over a row that they release; none for a push.
    pub(super) release: Option<&'a Values>,
}

impl Work<'_> {
    pub(super) fn desk(&self) -> Desk {
        Desk { tenant: self.edge.tenant, centre: self.centre, now_ms: self.now_ms }
    }
}

pub(super) enum Fate {
    /// The hub's vector afterwards, and whether it is now as the edge has it.
    Taken(Vector, bool),
    Busy,
    NeedFull,
    Refused(Refusal),
}

/// Plans every candidate.
pub(super) async fn plan(
    tx: &Transaction<'_>,
    work: &mut Work<'_>,
    candidates: &[Candidate],
) -> Result<Vec<Planned>, StoreError> {
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
                let row = amended(tx, work, row).await?;
                // Whoever waits for a release is told of it, though the row be as it was sent.
                planned.push(candidate.planned(work, row, conflicts, exact && work.release.is_none()));
            }
            PushPlan::Gone { conflicts } => {
                let row = tombstone(tx, work, candidate).await?;
                planned.push(candidate.planned(work, row, conflicts, false));
            }
            PushPlan::Refused(forgery) => {
                work.fates.insert(candidate.index, Fate::Refused(candidate.forged(forgery)));
            }
        }
    }
    let planned = refuse_foreign(tx, work, candidates, planned).await?;
    revocations::refuse(tx, work, candidates, planned).await
}

/// The row with what the operators write over it, as a write of the centre on top.
async fn amended(tx: &Transaction<'_>, work: &Work<'_>, mut row: Row) -> Result<Row, StoreError> {
    let Some(values) = work.release.filter(|values| !values.is_empty()) else { return Ok(row) };
    let dot = centre_dot(tx, work.desk(), row.version.hlc()).await?;
    row.version.write(dot, &values.keys().cloned().collect::<Vec<_>>());
    row.values.extend(values.clone());
    Ok(row)
}

pub(super) fn decide(candidate: &Candidate, known: Option<&Row>, own: &[ReplicaId]) -> PushPlan {
    plan_push(candidate.table.id, candidate.id, known, &candidate.push, own, &candidate.table.quiet())
}

impl Candidate {
    pub(super) fn planned(&self, work: &Work<'_>, row: Row, conflicts: Vec<Conflict>, exact: bool) -> Planned {
        let exact = exact && self.clamps.is_empty();
        let version = versions::Write {
            table: self.table.id,
            id: self.id,
            version: row.version.clone(),
            echo_of: exact.then_some(work.edge.replica),
            last_row: last_row(self.table, self.id, &row),
        };
        let before = self.before.clone();
        Planned { index: self.index, table: self.table, version, row, before, conflicts, exact }
    }

    fn forged(&self, forgery: Forgery) -> Refusal {
        let what = match forgery {
            Forgery::ForeignDot => "names a write by a replica that is not the pusher's",
            Forgery::DotOutsideVector => "has a dot that its own vector does not cover",
            Forgery::GoneOutsideVector => "has a deleter that saw more of the row than there is",
            Forgery::MissingValue => "has a new dot without its value",
        };
        Refusal { code: refusals::FORGED_VERSION, reason: format!("the record of the row's writes {what}") }
    }
}

/// The last values of a dead row, as they are stored; none for a living one.
pub(super) fn last_row(table: &'static Table, id: RowId, row: &Row) -> Option<String> {
    let last = || if row.values.is_empty() { "{}".to_owned() } else { rows::json(table, id, &row.values) };
    (!row.version.is_alive()).then(last)
}

/// What takes the place of a row that was forgotten here: everything that the pusher has seen of it is gone.
async fn tombstone(tx: &Transaction<'_>, work: &Work<'_>, candidate: &Candidate) -> Result<Row, StoreError> {
    let directory: BTreeSet<u32> =
        edges::directory(tx, work.edge.tenant).await?.into_iter().map(|replica| replica.id).collect();
    let pushed = &candidate.push.version;
    let known = candidate.known.as_ref().map(|row| row.version.clone()).unwrap_or_default();
    let dot = centre_dot(tx, work.desk(), pushed.hlc().max(known.hlc())).await?;
    let version = plan_gone(&known, pushed, |replica| directory.contains(&replica.0), dot);
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

pub(super) async fn bound_waits(tx: &Transaction<'_>) -> Result<(), StoreError> {
    tx.batch_execute(&format!("set local lock_timeout = {LOCK_MS_MAX}")).await?;
    Ok(())
}

/// Says that rows may be announced. Before the first savepoint: a setting made inside of one goes with it.
pub(super) async fn begin_apply(tx: &Transaction<'_>) -> Result<(), StoreError> {
    tx.batch_execute("set local sync.applying = 'on'").await?;
    Ok(())
}
