//! The fence of each replica id: its token, its checkpoint, and the answer to its last push (`sync.fences`).
//!
//! A token carries the hub's seal. So an edge that shows one from a future which this database does not know has proved
//! that the centre was rewound; no edge can make that up.

use ring::hmac;
use tokio_postgres::{GenericClient, Transaction};
use uuid::Uuid;

use super::cursor::Checkpoint;
use super::edges::{self, Edge, signed};
use super::error::StoreError;
use crate::merge::ids::ReplicaId;
use crate::wire::message::{FORMER_MAX, Fence};

/// The length of a token in bytes, the second half of them the seal.
pub const TOKEN_BYTES: usize = 16;

/// A token out of its random half.
pub fn token(key: &[u8], replica: ReplicaId, count: u64, random: [u8; 8]) -> Vec<u8> {
    let mut token = random.to_vec();
    token.extend_from_slice(&seal(key, replica, count, &random).as_ref()[..TOKEN_BYTES - 8]);
    token
}

/// A token as it is sent.
pub fn text(token: &[u8]) -> String {
    token.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether the hub has made this token for the replica.
pub fn is_sealed(key: &[u8], replica: ReplicaId, fence: &Fence) -> bool {
    let half =
        |range: std::ops::Range<usize>| Some(u64::from_str_radix(fence.token.get(range)?, 16).ok()?.to_be_bytes());
    match (half(0..16), half(16..32)) {
        (Some(random), Some(shown)) if fence.token.len() == 2 * TOKEN_BYTES => {
            seal(key, replica, fence.count, &random).as_ref()[..8] == shown
        }
        _ => false,
    }
}

fn seal(key: &[u8], replica: ReplicaId, count: u64, random: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    context.update(b"fence");
    context.update(&replica.0.to_be_bytes());
    context.update(&count.to_be_bytes());
    context.update(random);
    context.sign()
}

/// The fence of a new replica id.
pub async fn insert(tx: &Transaction<'_>, edge: Uuid, replica: i32, token: &[u8]) -> Result<(), StoreError> {
    let statement = "insert into sync.fences (replica_id, edge_id, token) values ($1, $2, $3)";
    tx.execute(statement, &[&replica, &edge, &token]).await?;
    Ok(())
}

/// Notes the highest seq that a replica reported.
pub async fn reported(client: &impl GenericClient, replica: ReplicaId, seq: u64) -> Result<(), StoreError> {
    let statement =
        "update sync.fences set high_seq = greatest(high_seq, $2), last_seen_at = now() where replica_id = $1";
    client.execute(statement, &[&replica.0.cast_signed(), &signed(seq)]).await?;
    Ok(())
}

/// Rotates the fence token and keeps the answer, so that a push whose answer was lost gets the same one again.
pub async fn acknowledge_push(
    tx: &Transaction<'_>,
    replica: ReplicaId,
    (batch, hash, high_seq): (Uuid, &[u8], u64),
    token: &[u8],
    answer: &[u8],
) -> Result<(), StoreError> {
    let statement = "update sync.fences set token_before = token, token = $2, token_count = token_count + 1,
      last_batch = $3, last_batch_hash = $4, last_answer = $5, high_seq = greatest(high_seq, $6), last_seen_at = now()
      where replica_id = $1";
    tx.execute(statement, &[&replica.0.cast_signed(), &token, &batch, &hash, &answer, &signed(high_seq)]).await?;
    Ok(())
}

/// Notes the snapshot up to which whoever uses this id has applied and said so. Copies of a box have ids of their own, and
/// what one of them has seen, the others need not have.
pub async fn acknowledge_cursor(
    client: &impl GenericClient,
    replica: ReplicaId,
    snapshot: &str,
) -> Result<(), StoreError> {
    let statement = "update sync.fences set cursor_acknowledged = $2, last_seen_at = now()
      where replica_id = $1 and (cursor_acknowledged is distinct from $2 or last_seen_at < now() - interval '1 hour')";
    client.execute(statement, &[&replica.0.cast_signed(), &snapshot]).await?;
    Ok(())
}

/// Notes that whoever uses this id was compared with the centre: it has missed no death, and how far it has come it says next.
/// If the id had been silent for too long, a copy that shows an older checkpoint than this is still to be compared.
pub async fn compared(client: &impl GenericClient, edge: Uuid, replica: ReplicaId) -> Result<(), StoreError> {
    let statement = "update sync.fences set stale_at = null, cursor_acknowledged = null, last_seen_at = now(),
        compared_count = case when stale_at is null then compared_count else cursor_count end
      where replica_id = $1 and edge_id = $2";
    client.execute(statement, &[&replica.0.cast_signed(), &edge]).await?;
    Ok(())
}

/// Replaces the fence of a replica whose history was cut off by a rewind: what it holds counts no more.
pub async fn renew(client: &impl GenericClient, key: &[u8], edge: &Edge, random: [u8; 8]) -> Result<Fence, StoreError> {
    let count = edge.fence.count + 1;
    let token = token(key, edge.replica, count, random);
    let statement = "update sync.fences set token = $3, token_before = null, token_count = $2, last_batch = null,
      last_batch_hash = null, last_answer = null where replica_id = $1";
    client.execute(statement, &[&edge.replica.0.cast_signed(), &signed(count), &token]).await?;
    Ok(Fence { count, token: text(&token) })
}

/// Takes every token back: whoever pushes or pulls next says hello first.
pub async fn invalidate_all(tx: &Transaction<'_>) -> Result<(), StoreError> {
    tx.execute("update sync.fences set token = null, token_before = null", &[]).await?;
    Ok(())
}

/// Commits a checkpoint for the next cursor of a replica. To be called when all that the cursor stands for was read.
pub async fn checkpoint(
    client: &impl GenericClient,
    replica: ReplicaId,
    nonce: Uuid,
) -> Result<Checkpoint, StoreError> {
    let statement = "update sync.fences set cursor_count = cursor_count + 1, cursor_nonce = $2,
      cursor_seq = (select settled_seq from sync.hub) where replica_id = $1 returning cursor_count, cursor_seq";
    let row = client.query_one(statement, &[&replica.0.cast_signed(), &nonce]).await?;
    let unsigned = |column: usize| row.get::<_, i64>(column).cast_unsigned();
    Ok(Checkpoint { replica: replica.0, count: unsigned(0), nonce, seq: unsigned(1) })
}

/// A new replica id of an edge, the former ones, which stay its own, and the new one's fence. Of those that it `had` it gets
/// back what this database has lost and nobody else has.
pub async fn reidentify(
    client: &mut tokio_postgres::Client,
    key: &[u8],
    edge: &Edge,
    had: &[ReplicaId],
    random: [u8; 8],
) -> Result<(ReplicaId, Vec<ReplicaId>, Fence), StoreError> {
    let tx = client.transaction().await?;
    for id in had.iter().take(FORMER_MAX) {
        readmit(&tx, (edge.id, edge.tenant, &edge.name, edge.site), *id).await?;
    }
    let former = edges::replicas(&tx, edge.id).await?;
    let replica = draw_replica(&tx, (edge.id, edge.tenant, &edge.name, edge.site), random).await?;
    let token = token(key, replica, 0, random);
    insert(&tx, edge.id, replica.0.cast_signed(), &token).await?;
    set_replica(&tx, edge.id, replica).await?;
    tx.commit().await?;
    Ok((replica, former, Fence { count: 0, token: text(&token) }))
}

/// Gives an edge (its id, tenant, name and site) a number that no replica has: a random one, so that a centre that went back
/// and does not know it yet hardly gives a number again that it gave in the lost future.
pub(super) async fn draw_replica(
    tx: &Transaction<'_>,
    (edge, tenant, name, site): (Uuid, Uuid, &str, Uuid),
    random: [u8; 8],
) -> Result<ReplicaId, StoreError> {
    let statement = "insert into sync.replicas (id, tenant_id, edge_id, name, site_id)
      values (coalesce($5::integer, nextval('sync.replica_ids')::integer), $1, $2, $3, $4)
      on conflict (id) do nothing returning id";
    let mut wanted = Some(replica(random).0.cast_signed());
    loop {
        if let Some(row) = tx.query_opt(statement, &[&tenant, &edge, &name, &site, &wanted]).await? {
            return Ok(ReplicaId(row.get::<_, i32>(0).cast_unsigned()));
        }
        wanted = None;
    }
}

/// A replica id out of random bytes: one that PostgreSQL's `integer` holds.
pub fn replica(random: [u8; 8]) -> ReplicaId {
    let [first, second, third, fourth, ..] = random;
    ReplicaId((u32::from_be_bytes([first, second, third, fourth]) >> 1).max(1))
}

async fn set_replica(tx: &Transaction<'_>, edge: Uuid, replica: ReplicaId) -> Result<(), StoreError> {
    tx.execute("update sync.edges set replica_id = $2 where id = $1", &[&edge, &replica.0.cast_signed()]).await?;
    Ok(())
}

/// Gives an edge (its id, tenant, name and site) a replica id back that this database has lost; says whether it was free.
pub async fn readmit(
    tx: &Transaction<'_>,
    (edge, tenant, name, site): (Uuid, Uuid, &str, Uuid),
    replica: ReplicaId,
) -> Result<bool, StoreError> {
    // No hub ever gave a number that PostgreSQL cannot hold.
    let Ok(id) = i32::try_from(replica.0) else { return Ok(false) };
    if id == 0 {
        return Ok(false);
    }
    let statement = "insert into sync.replicas (id, tenant_id, edge_id, name, site_id)
      values ($1, $2, $3, $4, $5) on conflict do nothing";
    let free = tx.execute(statement, &[&id, &tenant, &edge, &name, &site]).await? > 0;
    if free {
        insert(tx, edge, id, &[]).await?;
    }
    Ok(free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_shows_who_made_it_for_whom() {
        let key = [7; 32];
        let fence = Fence { count: 5, token: text(&token(&key, ReplicaId(3), 5, [1; 8])) };
        assert!(is_sealed(&key, ReplicaId(3), &fence));
        assert!(!is_sealed(&key, ReplicaId(4), &fence));
        assert!(!is_sealed(&[8; 32], ReplicaId(3), &fence));
        assert!(!is_sealed(&key, ReplicaId(3), &Fence { count: 6, ..fence.clone() }));
        let longer = format!("{}00", fence.token);
        for token in ["", "00", "zz", "é", &longer] {
            assert!(!is_sealed(&key, ReplicaId(3), &Fence { count: 5, token: token.to_owned() }), "{token}");
        }
    }

    #[test]
    fn a_replica_id_out_of_any_bytes_is_one_that_postgresql_holds_and_never_nobodys() {
        assert_eq!(replica([0xff; 8]), ReplicaId(i32::MAX.cast_unsigned()));
        assert_eq!(replica([0, 0, 1, 2, 9, 9, 9, 9]), ReplicaId(129));
        for bytes in [[0; 8], [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]] {
            assert_eq!(replica(bytes), ReplicaId(1), "0 is who is not enrolled");
        }
    }
}
