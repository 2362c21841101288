//! The edges: how one gets an identity, proves it, and what it reports.

use tokio_postgres::{GenericClient, Row, Transaction};
use uuid::Uuid;

use super::cursor::{Checkpoint, Snapshot};
use super::error::StoreError;
use super::{edge_credentials, fences};
use crate::merge::ids::ReplicaId;
use crate::wire::message::{FORMER_MAX, Fence, FormerEdge, Replica, Report};

/// An edge as the hub knows it.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Its id.
    pub id: Uuid,
    /// Its name, unique at the hub.
    pub name: String,
    /// The tenant it mirrors; everything it reads or writes belongs to it.
    pub tenant: Uuid,
    /// The site it stands at.
    pub site: Uuid,
    /// Its present replica id.
    pub replica: ReplicaId,
    /// Whether its credential was revoked.
    pub revoked: bool,
    /// The fence token that it should hold.
    pub fence: Fence,
    /// The token before that.
    pub fence_before: Option<String>,
    /// The last batch that was answered.
    pub last_batch: Option<Uuid>,
    /// SHA-256 of that batch's body.
    pub last_batch_hash: Option<Vec<u8>>,
    /// The answer to it.
    pub last_answer: Option<Vec<u8>>,
    /// The highest seq it ever reported.
    pub high_seq: u64,
    /// The last checkpoint that it was given with a cursor.
    pub checkpoint: Checkpoint,
    /// Whether this replica id was silent for so long that dead rows may be forgotten which it has not been told of.
    pub stale: bool,
    /// The count of the checkpoint with which it was compared the last time that it had been; 0 if it never had.
    pub compared: u64,
    /// How far this replica id has said that it had come.
    pub acknowledged: Option<Snapshot>,
}

const COLUMNS: &str = "edge.id, edge.name, edge.tenant_id, edge.site_id, fence.replica_id, edge.status = 'revoked', fence.token_count, coalesce(encode(fence.token, 'hex'), ''),
  encode(fence.token_before, 'hex'), fence.last_batch, fence.last_batch_hash, fence.last_answer, fence.high_seq,
  fence.cursor_count, fence.cursor_nonce, fence.cursor_seq, fence.stale_at is not null,
  fence.cursor_acknowledged, fence.compared_count";

/// A one-time code's promise.
#[derive(Clone, Debug)]
pub struct Enrollment {
    /// The tenant.
    pub tenant: Uuid,
    /// The site.
    pub site: Uuid,
    /// The edge's name.
    pub name: String,
    /// Whether the code was used.
    pub used: bool,
    /// Whether its time is over.
    pub expired: bool,
}

/// What became of an enrolment.
#[derive(Clone, Debug)]
pub enum Enrolling {
    /// The edge exists. Of the ids that it had before, these are its own here.
    Enrolled(Box<Edge>, Vec<ReplicaId>),
    /// Nobody issued this code.
    Unknown,
    /// The code was used before.
    Used,
    /// The code's time is over.
    Expired,
    /// Another edge has taken the name meanwhile.
    NameTaken(String),
    /// The code is for another tenant than the edge's work is of.
    OtherTenant,
}

/// A new edge's secrets, made by the caller.
#[derive(Clone, Copy, Debug)]
pub struct NewEdge<'a> {
    /// Its id.
    pub id: Uuid,
    /// The public half of its key pair.
    pub public_key: &'a [u8; 32],
    /// SHA-256 of its first credential.
    pub credential_hash: &'a [u8],
    /// The random half of its first fence token.
    pub random: [u8; 8],
    /// Who it was, if it has work already.
    pub former: Option<&'a FormerEdge>,
}

/// A site that an edge may be enrolled at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The tenant.
    pub tenant: Uuid,
    /// The site.
    pub site: Uuid,
    /// The site's name.
    pub site_name: String,
}

/// An edge for people to read.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: Uuid,
    /// Its replica id.
    pub replica: i32,
    /// Its tenant's slug.
    pub tenant: Option<String>,
    /// Its site's name.
    pub site: Option<String>,
    /// `enrolled` or `revoked`.
    pub status: String,
    /// When it was last heard of, RFC 3339.
    pub last_seen_at: Option<String>,
    /// Rows that wait at it.
    pub pending: i64,
    /// The age of the oldest of them.
    pub lag_seconds: Option<f64>,
    /// Its version.
    pub app_version: Option<String>,
    /// When it was enrolled, RFC 3339.
    pub enrolled_at: String,
    /// When it was revoked, RFC 3339.
    pub revoked_at: Option<String>,
}

/// Trades a code for an identity.
pub async fn enroll(
    client: &mut tokio_postgres::Client,
    key: &[u8],
    code_hash: &[u8],
    new: NewEdge<'_>,
) -> Result<Enrolling, StoreError> {
    let tx = client.transaction().await?;
    let Some(enrollment) = take_enrollment(&tx, code_hash).await? else { return Ok(Enrolling::Unknown) };
    if enrollment.used {
        return Ok(Enrolling::Used);
    }
    if enrollment.expired {
        return Ok(Enrolling::Expired);
    }
    if name_taken(&tx, &enrollment.name).await? {
        return Ok(Enrolling::NameTaken(enrollment.name));
    }
    if new.former.is_some_and(|former| former.tenant != enrollment.tenant) {
        return Ok(Enrolling::OtherTenant);
    }
    let Enrollment { tenant, site, name, .. } = &enrollment;
    let ids = new.former.map_or(&[][..], |former| &former.replicas);
    let mut own = Vec::new();
    for id in ids.iter().take(FORMER_MAX).copied().map(ReplicaId) {
        if fences::readmit(&tx, (new.id, *tenant, name, *site), id).await? {
            own.push(id);
        }
    }
    // Drawn after the former ids are taken: it is none of them.
    let replica = fences::draw_replica(&tx, (new.id, *tenant, name, *site), new.random).await?;
    insert_edge(&tx, &enrollment, replica.0.cast_signed(), new).await?;
    edge_credentials::insert(&tx, new.id, new.credential_hash).await?;
    mark_used(&tx, code_hash).await?;
    fences::insert(&tx, new.id, replica.0.cast_signed(), &fences::token(key, replica, 0, new.random)).await?;
    let edge = find(&tx, new.id).await?;
    tx.commit().await?;
    Ok(edge.map_or(Enrolling::Unknown, |edge| Enrolling::Enrolled(Box::new(edge), own)))
}

/// An edge by its id.
pub async fn find(client: &impl GenericClient, id: Uuid) -> Result<Option<Edge>, StoreError> {
    find_with(client, id, None, "").await
}

/// An edge as one of its replica ids, a former one or that of a copy; `None` for an id that is not its own.
pub async fn find_as(client: &impl GenericClient, id: Uuid, replica: ReplicaId) -> Result<Option<Edge>, StoreError> {
    find_with(client, id, Some(replica), "").await
}

/// An edge as one of its replica ids, its present one if none is named, locked: two pushes of one edge wait for each other.
pub async fn lock(tx: &Transaction<'_>, id: Uuid, replica: Option<ReplicaId>) -> Result<Option<Edge>, StoreError> {
    find_with(tx, id, replica, "for update").await
}

async fn find_with(
    client: &impl GenericClient,
    id: Uuid,
    replica: Option<ReplicaId>,
    lock: &str,
) -> Result<Option<Edge>, StoreError> {
    let statement = format!(
        "select {COLUMNS} from sync.edges as edge
         join sync.fences as fence on fence.edge_id = edge.id and fence.replica_id = coalesce($2, edge.replica_id)
         where edge.id = $1 {lock}"
    );
    let replica = replica.map(|replica| replica.0.cast_signed());
    Ok(client.query_opt(&statement, &[&id, &replica]).await?.map(|row| decode(&row)))
}

/// Every replica id that the edge ever had.
pub async fn replicas(client: &impl GenericClient, edge: Uuid) -> Result<Vec<ReplicaId>, StoreError> {
    let rows = client.query("select id from sync.replicas where edge_id = $1 order by id", &[&edge]).await?;
    Ok(rows.iter().map(|row| ReplicaId(row.get::<_, i32>(0).cast_unsigned())).collect())
}

/// Every replica that may stand in a version of the tenant.
pub async fn directory(client: &impl GenericClient, tenant: Uuid) -> Result<Vec<Replica>, StoreError> {
    let statement = "select id, name, site_id from sync.replicas where tenant_id = $1 or tenant_id is null order by id";
    let rows = client.query(statement, &[&tenant]).await?;
    let replica = |row: &Row| Replica { id: row.get::<_, i32>(0).cast_unsigned(), name: row.get(1), site: row.get(2) };
    Ok(rows.iter().map(replica).collect())
}

/// Notes what an edge says of itself.
pub async fn report(client: &impl GenericClient, edge: Uuid, report: &Report) -> Result<(), StoreError> {
    let statement = "update sync.edges set last_seen_at = now(), pending = $2, lag_seconds = $3, conflicts_open = $4,
      quarantined = $5 where id = $1";
    let (pending, lag) = (signed(report.pending), report.lag_ms as f64 / 1000.0);
    let (conflicts, quarantined) = (signed(report.conflicts_open), signed(report.quarantined));
    client.execute(statement, &[&edge, &pending, &lag, &conflicts, &quarantined]).await?;
    Ok(())
}

/// Notes how a session began.
pub async fn greet(
    client: &impl GenericClient,
    edge: Uuid,
    (app_version, schema): (&str, u32),
    clock_offset_ms: i64,
) -> Result<(), StoreError> {
    let statement = "update sync.edges set app_version = $2, schema_version = $3, clock_offset_ms = $4 where id = $1";
    let app_version: String = app_version.chars().filter(|character| *character != '\0').take(100).collect();
    client.execute(statement, &[&edge, &app_version, &schema.cast_signed(), &clock_offset_ms]).await?;
    Ok(())
}

/// Notes that the edge was heard of.
pub async fn seen(tx: &Transaction<'_>, edge: Uuid) -> Result<(), StoreError> {
    tx.execute("update sync.edges set last_seen_at = now() where id = $1", &[&edge]).await?;
    Ok(())
}

/// Notes the snapshot that the edge has applied and said so: one of its copies, for people to read.
pub async fn acknowledge_cursor(client: &impl GenericClient, edge: Uuid, snapshot: &str) -> Result<(), StoreError> {
    let statement = "update sync.edges set cursor_acknowledged = $2, last_seen_at = now()
      where id = $1 and cursor_acknowledged is distinct from $2";
    client.execute(statement, &[&edge, &snapshot]).await?;
    Ok(())
}

/// A tenant's sites whose name, in any case, or id is `site`.
pub async fn places(client: &impl GenericClient, slug: &str, site: &str) -> Result<Vec<Place>, StoreError> {
    let statement = "select site.tenant_id, site.id, site.name from public.sites as site
      join public.tenants as tenant on tenant.id = site.tenant_id
      where tenant.slug = $1 and (lower(site.name) = lower($2) or site.id::text = lower($2)) order by site.id";
    let rows = client.query(statement, &[&slug, &site]).await?;
    Ok(rows.iter().map(|row| Place { tenant: row.get(0), site: row.get(1), site_name: row.get(2) }).collect())
}

/// A tenant's id by its slug.
pub async fn tenant(client: &impl GenericClient, slug: &str) -> Result<Option<Uuid>, StoreError> {
    let row = client.query_opt("select id from public.tenants where slug = $1", &[&slug]).await?;
    Ok(row.map(|row| row.get(0)))
}

/// The names of a tenant's sites.
pub async fn site_names(client: &impl GenericClient, tenant: Uuid) -> Result<Vec<String>, StoreError> {
    let statement = "select name from public.sites where tenant_id = $1 order by name limit 50";
    Ok(client.query(statement, &[&tenant]).await?.iter().map(|row| row.get(0)).collect())
}

/// Whether an edge of this name exists.
pub async fn name_taken(client: &impl GenericClient, name: &str) -> Result<bool, StoreError> {
    let row = client.query_one("select exists (select from sync.edges where name = $1)", &[&name]).await?;
    Ok(row.get(0))
}

/// Issues a code for `minutes`; returns when it expires, RFC 3339.
pub async fn issue(
    client: &impl GenericClient,
    code_hash: &[u8],
    place: &Place,
    name: &str,
    valid_ms: u64,
) -> Result<String, StoreError> {
    let statement = "insert into sync.enrollments (code_hash, tenant_id, site_id, name, expires_at)
      values ($1, $2, $3, $4, now() + $5 * interval '1 millisecond')
      returning to_char(expires_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')";
    let valid_ms = valid_ms as f64;
    let row = client.query_one(statement, &[&code_hash, &place.tenant, &place.site, &name, &valid_ms]).await?;
    Ok(row.get(0))
}

/// Every edge, or the one of this name.
pub async fn list(client: &impl GenericClient, name: Option<&str>) -> Result<Vec<Listed>, StoreError> {
    let iso = r#"'YYYY-MM-DD"T"HH24:MI:SS"Z"'"#;
    let statement = format!(
        "select edge.name, edge.id, edge.replica_id, tenant.slug, site.name, edge.status,
           to_char(edge.last_seen_at at time zone 'UTC', {iso}), edge.pending, edge.lag_seconds, edge.app_version,
           to_char(edge.enrolled_at at time zone 'UTC', {iso}), to_char(edge.revoked_at at time zone 'UTC', {iso})
         from sync.edges as edge
         left join public.tenants as tenant on tenant.id = edge.tenant_id
         left join public.sites as site on site.id = edge.site_id
         where $1::text is null or edge.name = $1 order by tenant.slug, edge.name"
    );
    let listed = |row: &Row| Listed {
        name: row.get(0),
        id: row.get(1),
        replica: row.get(2),
        tenant: row.get(3),
        site: row.get(4),
        status: row.get(5),
        last_seen_at: row.get(6),
        pending: row.get(7),
        lag_seconds: row.get(8),
        app_version: row.get(9),
        enrolled_at: row.get(10),
        revoked_at: row.get(11),
    };
    Ok(client.query(&statement, &[&name]).await?.iter().map(listed).collect())
}

/// Revokes an edge's credential; says whether there was one to revoke.
pub async fn revoke(client: &impl GenericClient, name: &str) -> Result<bool, StoreError> {
    let statement = "update sync.edges set status = 'revoked', revoked_at = now()
      where name = $1 and status <> 'revoked'";
    Ok(client.execute(statement, &[&name]).await? > 0)
}

async fn take_enrollment(tx: &Transaction<'_>, code_hash: &[u8]) -> Result<Option<Enrollment>, StoreError> {
    let statement = "select tenant_id, site_id, name, used_at is not null, expires_at <= now()
      from sync.enrollments where code_hash = $1 for update";
    let enrollment = |row: Row| Enrollment {
        tenant: row.get(0),
        site: row.get(1),
        name: row.get(2),
        used: row.get(3),
        expired: row.get(4),
    };
    Ok(tx.query_opt(statement, &[&code_hash]).await?.map(enrollment))
}

async fn insert_edge(
    tx: &Transaction<'_>,
    enrollment: &Enrollment,
    replica: i32,
    new: NewEdge<'_>,
) -> Result<(), StoreError> {
    let statement = "insert into sync.edges (id, name, tenant_id, site_id, replica_id, public_key)
      values ($1, $2, $3, $4, $5, $6)";
    let Enrollment { tenant, site, name, .. } = enrollment;
    tx.execute(statement, &[&new.id, name, tenant, site, &replica, &new.public_key.as_slice()]).await?;
    Ok(())
}

async fn mark_used(tx: &Transaction<'_>, code_hash: &[u8]) -> Result<(), StoreError> {
    tx.execute("update sync.enrollments set used_at = now() where code_hash = $1", &[&code_hash]).await?;
    Ok(())
}

fn decode(row: &Row) -> Edge {
    Edge {
        id: row.get(0),
        name: row.get(1),
        tenant: row.get(2),
        site: row.get(3),
        replica: ReplicaId(row.get::<_, i32>(4).cast_unsigned()),
        revoked: row.get(5),
        fence: Fence { count: row.get::<_, i64>(6).cast_unsigned(), token: row.get(7) },
        fence_before: row.get(8),
        last_batch: row.get(9),
        last_batch_hash: row.get(10),
        last_answer: row.get(11),
        high_seq: row.get::<_, i64>(12).cast_unsigned(),
        checkpoint: Checkpoint {
            replica: row.get::<_, i32>(4).cast_unsigned(),
            count: row.get::<_, i64>(13).cast_unsigned(),
            nonce: row.get::<_, Option<Uuid>>(14).unwrap_or_default(),
            seq: row.get::<_, i64>(15).cast_unsigned(),
        },
        stale: row.get(16),
        acknowledged: row.get::<_, Option<&str>>(17).and_then(Snapshot::parse),
        compared: row.get::<_, i64>(18).cast_unsigned(),
    }
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
