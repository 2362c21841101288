//! How an edge and the centre find together again after one of them was restored or copied: verdicts, new ids, and the
//! comparison. `merge::fence` tells what happened; this asks and answers.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use tokio_postgres::Client;

use super::error::Error;
use super::sync_routes::{answer, answer_one, is_stale, open, read, read_one};
use super::{Hub, clock};
use crate::catalog;
use crate::merge::fence::{Greeting, Known, Mark, Ruling, Said, common_seq, history, is_spent, ruling};
use crate::merge::ids::ReplicaId;
use crate::merge::limits::PUSH_BYTES_MAX;
use crate::pg::StoreError;
use crate::pg::cursor::{self, Cursor};
use crate::pg::edges::{self, Edge};
use crate::pg::incarnation::{self, Incarnation, Rewind};
use crate::pg::reach::Reach;
use crate::pg::{accepted, digest, feed, fences, recovery};
use crate::wire::message::{FormerEdge, Hello, PullRow, Verdict};
use crate::wire::recovery::{Accepted, Digest, DigestLine, Offered, Reconcile, Reidentified, Reidentify, Verification};
use crate::wire::stream::{self, Writer};

/// Rows that one request may ask for.
const WANT_MAX: usize = 1_000;

/// What a hello comes to.
pub(super) struct Judged {
    pub(super) verdict: Verdict,
    pub(super) incarnation: Incarnation,
    pub(super) reconcile: Option<Reconcile>,
}

/// Whether the edge's history continues what the hub knows of it, and the other way round. A rewind of the centre that
/// shows itself here begins a new incarnation.
pub(super) async fn judge(client: &mut Client, edge: &Edge, hello: &Hello) -> Result<Judged, Error> {
    let present = present(client).await?;
    let judged = |verdict| Judged { verdict, incarnation: present.clone(), reconcile: None };
    // A newer edge may have registers that the catalog here lacks.
    if hello.schema > catalog::VERSION {
        return Ok(judged(Verdict::UpgradeHub));
    }
    let replica = ReplicaId(hello.replica);
    let (edge, lost_replica) = match edges::find_as(client, edge.id, replica).await? {
        Some(edge) => (edge, false),
        None => match readmit(client, edge, replica).await? {
            true => (edges::find_as(client, edge.id, replica).await?.ok_or(Error::Unauthorized)?, true),
            // Somebody else has that id: it was given again before the rewind was noticed.
            false => return Ok(judged(Verdict::Reidentify)),
        },
    };
    let cursor = open(hello.cursor.as_deref(), &present.key, &edge);
    let shown = cursor.as_ref().map(|cursor| cursor.incarnation).filter(|id| !id.is_nil());
    let since = shown.or(hello.incarnation).unwrap_or(present.id);
    let renames = incarnation::renames(client, since).await?;
    let here = since == present.id;
    let said = said(client, &present, hello, cursor.as_ref(), replica).await?;
    // Only what the hub has sealed proves a rewind; what an edge merely says changes nothing for others.
    let unknown = shown.filter(|_| !here && renames.is_none());
    let known = known(&edge);
    let start = cursor.as_ref().and_then(|cursor| cursor.start.as_ref());
    let behind = here && cursor::is_behind(start, edge.acknowledged.as_ref());
    let stale = cursor.as_ref().map_or(edge.stale, |cursor| is_stale(cursor, &edge));
    let greeting = Greeting {
        here,
        unknown: unknown.is_some(),
        history: history(&said, &known),
        spent: is_spent(&said, &known),
        has_cursor: cursor.is_some(),
        // What an edge has before its first window it is not told the end of: it reads that first.
        asked: hello.reconcile
            || hello.cursor.is_some() && (stale || behind || digest::is_due(client, edge.id).await?),
    };
    match ruling(greeting) {
        Ruling::GoOn => Ok(judged(Verdict::Ok)),
        Ruling::Reidentify => Ok(judged(Verdict::Reidentify)),
        Ruling::Compare => {
            let reconcile = Some(Reconcile { fence: hello.fence.clone(), renames: Vec::new() });
            Ok(Judged { reconcile, ..judged(Verdict::Reconcile) })
        }
        Ruling::Rejoin => reconcile(client, &edge, since).await,
        Ruling::Rewind => {
            let above = match lost_replica {
                true => incarnation::common_seq(client).await?,
                false => common_seq(edge.checkpoint.seq, cursor.as_ref().map(|cursor| cursor.checkpoint.seq)),
            };
            let reason = format!("the edge {} holds what this database has lost", edge.name);
            begin(client, &present, Rewind { reason, above, lost: unknown, id: clock::id() }).await?;
            // As everybody else who comes from a former incarnation. What it agreed with before, it says again.
            let incarnation = incarnation::present(client).await?;
            Ok(Judged { verdict: Verdict::Reidentify, incarnation, reconcile: None })
        }
    }
}

async fn readmit(client: &mut Client, edge: &Edge, replica: ReplicaId) -> Result<bool, Error> {
    let tx = client.transaction().await.map_err(StoreError::from)?;
    let free = fences::readmit(&tx, (edge.id, edge.tenant, &edge.name, edge.site), replica).await?;
    tx.commit().await.map_err(StoreError::from)?;
    Ok(free)
}

/// Begins a new incarnation when an edge that is enrolled again proves a rewind that nobody has noticed yet. `own` are the ids
/// that this database had lost.
pub(super) async fn adopted(
    client: &mut Client,
    present: &Incarnation,
    edge: &Edge,
    former: &FormerEdge,
    own: &[ReplicaId],
) -> Result<(), Error> {
    let Some(agreed) = former.incarnation else { return Ok(()) };
    let is_lost = former.replicas.first().is_some_and(|id| own.contains(&ReplicaId(*id)));
    let known = incarnation::renames(client, agreed).await?.is_some();
    if known && !(agreed == present.id && is_lost) {
        return Ok(());
    }
    let reason = format!("the edge {} was enrolled in a past that this database has lost", edge.name);
    let above = incarnation::common_seq(client).await?;
    let lost = (!known).then_some(agreed);
    begin(client, present, Rewind { reason, above, lost, id: clock::id() }).await
}

/// What an edge is told that last agreed with incarnation `since`. It gets a fence of its own in the present one.
async fn reconcile(client: &mut Client, edge: &Edge, since: uuid::Uuid) -> Result<Judged, Error> {
    let incarnation = incarnation::present(client).await?;
    let renames = incarnation::renames(client, since).await?.unwrap_or_default();
    let renames = renames.iter().map(|rename| (rename.from.0, rename.above, rename.to.0)).collect();
    let fence = fences::renew(client, &incarnation.key, edge, clock::random()?).await?;
    Ok(Judged { verdict: Verdict::Reconcile, incarnation, reconcile: Some(Reconcile { fence, renames }) })
}

/// The present incarnation, a new one if the database has come to another server.
pub(super) async fn present(client: &mut Client) -> Result<Incarnation, Error> {
    let present = incarnation::present(client).await?;
    if !present.moved {
        return Ok(present);
    }
    let above = incarnation::last_seq(client).await?;
    let reason = "the database is on another server or timeline, or was made anew from a dump".to_owned();
    begin(client, &present, Rewind { reason, above, lost: None, id: clock::id() }).await?;
    Ok(incarnation::present(client).await?)
}

async fn begin(client: &mut Client, present: &Incarnation, rewind: Rewind) -> Result<(), Error> {
    if incarnation::begin(client, present.id, &rewind).await? {
        let (reason, above) = (rewind.reason, rewind.above);
        tracing::warn!(reason, above, "the centre was rewound: every edge is compared; see `hub recover list`");
    }
    Ok(())
}

async fn said(
    client: &Client,
    present: &Incarnation,
    hello: &Hello,
    cursor: Option<&Cursor>,
    replica: ReplicaId,
) -> Result<Said<uuid::Uuid>, Error> {
    let now = feed::snapshot_of(client).await?;
    let checkpoint = cursor.map(|cursor| cursor.checkpoint).filter(|mark| mark.replica == replica.0);
    Ok(Said {
        seq: hello.seq,
        token: Mark { count: hello.fence.count, word: hello.fence.token.clone() },
        token_sealed: fences::is_sealed(&present.key, replica, &hello.fence),
        checkpoint: checkpoint.map(|mark| Mark { count: mark.count, word: mark.nonce.to_string() }),
        beyond: cursor.and_then(|cursor| cursor.start.as_ref()).is_some_and(|start| start.xmax > now.xmax),
        in_flight: hello.in_flight,
        forked: hello.forked,
    })
}

fn known(edge: &Edge) -> Known<uuid::Uuid> {
    Known {
        high_seq: edge.high_seq,
        token: Mark { count: edge.fence.count, word: edge.fence.token.clone() },
        word_before: edge.fence_before.clone(),
        last_batch: edge.last_batch,
        checkpoint: Mark { count: edge.checkpoint.count, word: edge.checkpoint.nonce.to_string() },
    }
}

/// `POST /sync/v1/accepted`: which writes of the edge were taken, exactly.
pub(super) async fn accepted(State(hub): State<Hub>, edge: Edge, body: Body) -> Result<Response, Error> {
    let Accepted { rows } = read_one(body).await?;
    let client = hub.rows.get(Reach::Tenant(edge.tenant)).await?;
    let own = edges::replicas(&**client, edge.id).await?;
    let taken = accepted::find(&**client, edge.tenant, &own, &rows).await?;
    let rows = rows.into_iter().zip(&taken).map(|(row, taken)| row.answered(taken));
    answer_one(&Accepted { rows: rows.collect() })
}

/// `POST /sync/v1/reidentify`: a new replica id for a restored edge or a copy.
pub(super) async fn reidentify(State(hub): State<Hub>, edge: Edge, body: Body) -> Result<Response, Error> {
    let Reidentify { replica, former } = read_one(body).await?;
    let had: Vec<ReplicaId> = std::iter::once(replica).chain(former).map(ReplicaId).collect();
    let mut client = hub.rows.get(Reach::Tenant(edge.tenant)).await?;
    let key = feed::seal_key(&**client).await?;
    let (id, former, fence) = fences::reidentify(&mut client, &key, &edge, &had, clock::random()?).await?;
    let former = former.iter().map(|id| id.0).collect();
    tracing::warn!(edge = edge.name, former = replica, replica = id.0, "a restored or copied edge got a new id");
    answer_one(&Reidentified { replica: id.0, former, fence })
}

/// `POST /sync/v1/digest`: what ranges add up to, and rows as the centre has them.
pub(super) async fn digest(State(hub): State<Hub>, edge: Edge, body: Body) -> Result<Response, Error> {
    let asked: Digest = read_one(body).await?;
    // Comparing reads whole tables: a few edges at once, the others come back.
    let _turn = hub.comparing.try_acquire().map_err(|_| Error::Busy)?;
    let mut client = hub.rows.get(Reach::Tenant(edge.tenant)).await?;
    let edge = edges::find_as(&**client, edge.id, ReplicaId(asked.replica)).await?.ok_or(Error::Fence)?;
    let present = incarnation::present(&**client).await?;
    let since = asked.cursor.as_deref().and_then(|sealed| open(Some(sealed), &present.key, &edge));
    // A centre that went back since the hello has lost rows; compared with it, the edge would take them for long deleted.
    let went_back = since.as_ref().is_some_and(|cursor| cursor.checkpoint.is_foreign(edge.replica.0, &edge.checkpoint));
    if present.moved || went_back || asked.fence.as_ref().is_some_and(|fence| *fence != edge.fence) {
        return Err(Error::Fence);
    }
    let start = feed::snapshot_of(&**client).await?;
    let found = digest::compare(&mut client, &edge, &asked.ranges).await?;
    let want = asked.want.get(..WANT_MAX).unwrap_or(&asked.want);
    if digest::mend(&mut client, &edge, want, clock::unix_ms()).await? > 0 {
        hub.wake.wake(edge.tenant);
    }
    let rows = digest::wanted(&client, &edge, want).await?;
    drop(client);
    let cursor = match asked.begin {
        true => {
            let cursor = Cursor::after_comparison(since, start, present.id);
            Some(hub.seal(&edge, &present.key, cursor).await?)
        }
        false => None,
    };
    let mut writer = Writer::default();
    let middle: Vec<DigestLine> = found.into_iter().map(DigestLine::Range).chain(rows).collect();
    let end = DigestLine::End(middle.len() as u64);
    for line in std::iter::once(DigestLine::Head(cursor)).chain(middle).chain([end]) {
        writer.line(&line).map_err(Error::Answer)?;
    }
    Ok(answer(writer.finish().map_err(Error::Answer)?))
}

/// `POST /sync/v1/offer`: rows that the centre has lost and the edge still holds.
pub(super) async fn offer(State(hub): State<Hub>, edge: Edge, body: Body) -> Result<Response, Error> {
    let rows: Vec<PullRow> = stream::read(&read(body, PUSH_BYTES_MAX).await?)?;
    let mut client = hub.rows.get(Reach::Tenant(edge.tenant)).await?;
    let kept = recovery::keep(&mut client, &edge, &rows).await?;
    if kept > 0 {
        tracing::warn!(edge = edge.name, kept, "rows that only an edge still holds wait in `hub recover list`");
    }
    answer_one(&Offered { kept })
}

/// `POST /sync/v1/verified`: what an edge found when it was compared.
pub(super) async fn verified(State(hub): State<Hub>, edge: Edge, body: Body) -> Result<Response, Error> {
    let found: Verification = read_one(body).await?;
    let mut client = hub.rows.get(Reach::Tenant(edge.tenant)).await?;
    // Contents that differ under one version were changed while nobody captured it: every edge has them wrong.
    let uncaptured = found.differences.iter().filter(|difference| difference.what == "values");
    let rows: Vec<(String, uuid::Uuid)> = uncaptured.map(|one| (one.table.clone(), one.id)).collect();
    if !rows.is_empty() {
        digest::resend(&mut client, &edge, &rows).await?;
        hub.wake.wake(edge.tenant);
    }
    if found.differing > 0 {
        tracing::warn!(edge = edge.name, differing = found.differing, "rows differed and were repaired");
    }
    fences::compared(&**client, edge.id, ReplicaId(found.replica)).await?;
    digest::verified(&**client, edge.id, &serde_json::to_string(&found).unwrap_or_default()).await?;
    answer_one(&Offered { kept: 0 })
}
