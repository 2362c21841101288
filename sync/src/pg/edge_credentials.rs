//! The credentials that edges show, and the keys with which they get new ones.

use tokio_postgres::{GenericClient, Transaction};
use uuid::Uuid;

use super::edges::{self, Edge};
use super::error::StoreError;
use crate::merge::limits::{CREDENTIAL_DAYS_MAX, CREDENTIAL_RENEWED_DAYS, CREDENTIALS_MAX};

/// An edge that has shown a credential.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The edge.
    pub edge: Edge,
    /// Whether the credential is old enough to be renewed.
    pub is_due: bool,
}

/// The edge of an id, if this is the hash of a credential of it that is good.
pub async fn find(client: &impl GenericClient, edge: Uuid, hash: &[u8]) -> Result<Option<Caller>, StoreError> {
    let statement =
        "select edge.public_key is not null and issued_at < now() - $3 * interval '1 day', replaces is not null
      from sync.edge_credentials as credential join sync.edges as edge on edge.id = credential.edge_id
      where edge_id = $1 and hash = $2 and coalesce(expires_at > now(), true)";
    let days = f64::from(CREDENTIAL_RENEWED_DAYS);
    let Some(row) = client.query_opt(statement, &[&edge, &hash, &days]).await? else { return Ok(None) };
    if row.get(1) {
        end_replaced(client, edge, hash).await?;
    }
    Ok(edges::find(client, edge).await?.map(|edge| Caller { edge, is_due: row.get(0) }))
}

/// Notes a first credential, which has an end if the edge has a key.
pub(super) async fn insert(tx: &Transaction<'_>, edge: Uuid, hash: &[u8]) -> Result<(), StoreError> {
    add(tx, edge, hash, None).await
}

/// The public key of an edge; `None` for an unknown edge, and one without a key.
pub async fn public_key(client: &impl GenericClient, edge: Uuid) -> Result<Option<Vec<u8>>, StoreError> {
    let statement = "select public_key from sync.edges where id = $1";
    Ok(client.query_opt(statement, &[&edge]).await?.and_then(|row| row.get(0)))
}

/// Notes another credential, which replaces one that the edge still has. Those that have ended are forgotten, and the oldest when
/// there are too many.
pub async fn renew(
    client: &mut tokio_postgres::Client,
    edge: Uuid,
    hash: &[u8],
    replaces: Option<&[u8]>,
) -> Result<(), StoreError> {
    let tx = client.transaction().await?;
    add(&tx, edge, hash, replaces).await?;
    let statement = "delete from sync.edge_credentials where edge_id = $1 and (expires_at <= now() or hash in (
        select hash from sync.edge_credentials where edge_id = $1 order by issued_at desc, hash offset $2
      ))";
    tx.execute(statement, &[&edge, &i64::from(CREDENTIALS_MAX)]).await?;
    tx.commit().await?;
    Ok(())
}

async fn add(tx: &Transaction<'_>, edge: Uuid, hash: &[u8], replaces: Option<&[u8]>) -> Result<(), StoreError> {
    let statement = "insert into sync.edge_credentials (edge_id, hash, expires_at, replaces)
      values ($1, $2, now() + $3 * interval '1 day', $4) on conflict (edge_id, hash) do nothing";
    tx.execute(statement, &[&edge, &hash, &f64::from(CREDENTIAL_DAYS_MAX), &replaces]).await?;
    Ok(())
}

/// The edge has shown that it has a credential: the one before it is good for nothing any more.
async fn end_replaced(client: &impl GenericClient, edge: Uuid, hash: &[u8]) -> Result<(), StoreError> {
    let statement = "
      with used as (select replaces from sync.edge_credentials where edge_id = $1 and hash = $2),
        ended as (delete from sync.edge_credentials where edge_id = $1 and hash in (select replaces from used))
      update sync.edge_credentials set replaces = null where edge_id = $1 and hash = $2";
    client.execute(statement, &[&edge, &hash]).await?;
    Ok(())
}
