//! Writers at the same time: stamps rise with the lock of a row, and a reader by snapshots misses none of them.

use tokio_postgres::Client;

use super::centre::{Centre, name_of, named};

#[tokio::test]
async fn writers_of_one_row_stamp_it_in_the_order_of_its_lock() {
    let centre = Centre::new().await;
    let (first, second) = (centre.connect().await, centre.connect().await);
    centre.write("update sync.row_versions set hlc = 4611686018427387904 where row_id = {k1}").await.unwrap();
    first.batch_execute(&named("begin; update tasks set title = 'first' where id = {k1}")).await.unwrap();
    let waiting = centre.spawn(second, "update tasks set title = 'second' where id = {k1}");
    centre.wait_until_someone_waits_for_a_lock().await;
    centre.write("update tasks set title = 'meanwhile' where id = {k2}").await.unwrap();
    let before = centre.versions().await;
    first.batch_execute("commit").await.unwrap();
    waiting.await.unwrap();
    assert_eq!(centre.stamps_since(&before).await, ["tasks k1: title updated_at"]);
    let statement = "
      select k1.hlc, (k1.vv -> '1')::bigint > (k2.vv -> '1')::bigint
      from sync.row_versions as k1, sync.row_versions as k2 where k1.row_id = {k1} and k2.row_id = {k2}";
    let row = centre.client.query_one(&named(statement), &[]).await.unwrap();
    let (hlc, drawn_under_the_lock): (i64, bool) = (row.get(0), row.get(1));
    assert_eq!(hlc, 4_611_686_018_427_387_906, "two writes under a clock that is behind");
    assert!(drawn_under_the_lock, "the second writer draws its seq after it got the row");
}

#[tokio::test]
async fn a_cursor_misses_no_commit_and_waits_for_none() {
    let centre = Centre::new().await;
    let other_database = Centre::new().await;
    let (late, early) = (centre.connect().await, centre.connect().await);
    let holders = [centre.connect().await, other_database.connect().await];
    for holder in &holders {
        holder.batch_execute("begin; select pg_current_xact_id()").await.unwrap();
    }
    let start = cursor(&centre.client).await;
    late.batch_execute(&named("begin; update tasks set title = 'late' where id = {k1}")).await.unwrap();
    early.batch_execute(&named("begin; update tasks set title = 'early' where id = {k2}")).await.unwrap();
    early.batch_execute("commit").await.unwrap();
    assert_eq!(window(&centre, &start).await, ["k2"], "a commit shows at once, whoever is still open");
    let between = cursor(&centre.client).await;
    assert_eq!(window(&centre, &between).await, [""; 0], "what was seen is not seen again");
    centre.write("update tasks set title = 'later' where id = {k9}").await.unwrap();
    late.batch_execute("commit").await.unwrap();
    assert_eq!(window(&centre, &between).await, ["k1", "k9"], "the earlier writer that committed later is not missed");
    let end = cursor(&centre.client).await;
    for holder in &holders {
        holder.batch_execute("commit").await.unwrap();
    }
    assert_eq!(window(&centre, &end).await, [""; 0]);
}

async fn cursor(client: &Client) -> String {
    client.query_one("select pg_current_snapshot()::text", &[]).await.unwrap().get(0)
}

/// The rows that a cursor has not seen and this moment sees.
async fn window(centre: &Centre, cursor: &str) -> Vec<String> {
    let statement = "
      select row_id from sync.row_versions, cast($1::text as pg_snapshot) as cursor
      where txid >= pg_snapshot_xmax(cursor)::text::bigint
        or txid = any (select xid::text::bigint from pg_snapshot_xip(cursor) as xid)
      order by row_id";
    let rows = centre.client.query(statement, &[&cursor]).await.unwrap();
    rows.iter().map(|row| name_of(row.get(0))).collect()
}
