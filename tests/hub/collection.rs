//! Dead rows are forgotten when nobody needs to be told of their death any more, and not before.

use sync::pg::collect::{Collected, collect};
use sync::wire::message::Verdict;
use sync::wire::recovery::Verification;
use sync::wire::stream;
use tests::wait::eventually;

use crate::file::File;
use crate::pair;
use crate::site::{ACME, Centre, ELSEWHERE, EVE, HEADQUARTERS, OTHER, Site, WAREHOUSE, id, settle};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Collects as if `days` had passed.
async fn after(centre: &Centre, days: u64) -> Collected {
    let now_ms = sync::hub::clock::unix_ms() + days * DAY_MS;
    collect(&mut centre.client().await, now_ms).await.unwrap()
}

/// Collects as if eight days had passed, until so many dead rows were forgotten; the sites say in between how far they are. A
/// transaction of another test, in another database of this server, holds their snapshots back for as long as it is open.
async fn until_forgotten(centre: &Centre, sites: &mut [&mut Site], rows: u64) {
    let mut forgotten = 0;
    eventually("the dead rows are forgotten", async || {
        forgotten += after(centre, 8).await.tombstones;
        if forgotten == rows {
            return Ok(());
        }
        for site in sites.iter_mut() {
            site.pull().await;
        }
        Err(format!("{forgotten} of {rows}"))
    })
    .await;
}

async fn tombstones(centre: &Centre) -> String {
    centre.value("select count(*)::text from sync.row_versions where last_row is not null").await
}

#[tokio::test]
async fn a_dead_row_is_forgotten_only_when_every_live_edge_has_seen_its_death() {
    let (centre, mut left, mut right) = pair().await;
    left.task(id(100), "one");
    left.push().await;
    right.pull().await;
    left.delete("tasks", id(100));
    left.push().await;
    // An edge says how far it is when it asks for more.
    left.pull().await;
    left.pull().await;
    assert_eq!(after(&centre, 8).await.tombstones, 0, "right has not heard of it");
    let (told, _) = right.page(0).await;
    told.into_iter().for_each(|line| drop(right.apply(line)));
    assert_eq!(after(&centre, 8).await.tombstones, 0, "right has been told, and has not said that it knows");
    right.pull().await;
    assert_eq!(after(&centre, 6).await.tombstones, 0, "it died less than a week ago");
    until_forgotten(&centre, &mut [&mut left, &mut right], 1).await;
    assert_eq!(tombstones(&centre).await, "0");
    settle(&centre, &mut [&mut left, &mut right]).await;
}

#[tokio::test]
async fn an_edge_that_is_still_reading_its_first_window_holds_everything_back() {
    let (centre, mut left, mut right) = pair().await;
    left.task(id(100), "one");
    left.push().await;
    left.delete("tasks", id(100));
    left.push().await;
    settle(&centre, &mut [&mut left, &mut right]).await;
    settle(&centre, &mut [&mut left, &mut right]).await;
    let mut late = centre.site(ACME, HEADQUARTERS, "late").await;
    assert_eq!(after(&centre, 8).await.tombstones, 0);
    late.pull().await;
    late.pull().await;
    until_forgotten(&centre, &mut [&mut left, &mut right, &mut late], 1).await;
}

#[tokio::test]
async fn a_dead_row_stays_while_a_conflict_or_a_refused_write_refers_to_it() {
    let (centre, mut left, mut right) = pair().await;
    for number in [100, 101] {
        left.task(id(number), "one");
    }
    left.push().await;
    right.pull().await;
    for number in [100, 101] {
        left.delete("tasks", id(number));
    }
    left.push().await;
    for _ in 0..3 {
        settle(&centre, &mut [&mut left, &mut right]).await;
    }
    centre
        .execute(&format!(
            "insert into sync.conflicts (tenant_id, id, table_id, row_id, kind, register, loser, txid)
               values ('{ACME}', gen_random_uuid(), 8, '{}', 'edit_delete', '-', '{{}}', 1);
             insert into sync.quarantine (tenant_id, table_id, row_id, seq, code, reason, payload)
               values ('{ACME}', 8, '{}', 1, 'x', 'x', '{{}}')",
            id(100),
            id(101)
        ))
        .await;
    assert_eq!(after(&centre, 8).await.tombstones, 0);
    centre.execute("update sync.conflicts set status = 'dismissed'").await;
    until_forgotten(&centre, &mut [&mut left, &mut right], 1).await;
    centre.execute("update sync.quarantine set status = 'discarded', settled_at = now()").await;
    until_forgotten(&centre, &mut [&mut left, &mut right], 1).await;
}

#[tokio::test]
async fn an_edge_that_was_silent_too_long_is_marked_and_no_longer_waited_for() {
    let (centre, mut left, mut right) = pair().await;
    left.task(id(100), "one");
    left.push().await;
    right.pull().await;
    left.delete("tasks", id(100));
    left.push().await;
    left.pull().await;
    left.pull().await;
    centre.execute("update sync.edges set last_seen_at = now() - interval '89 days' where name = 'right'").await;
    let collected = after(&centre, 8).await;
    assert_eq!((collected.stale, collected.tombstones), (vec![], 0));
    centre.execute("update sync.edges set last_seen_at = now() - interval '91 days' where name = 'right'").await;
    let collected = after(&centre, 8).await;
    assert_eq!(collected.stale, ["right"]);
    until_forgotten(&centre, &mut [&mut left], 1 - collected.tombstones).await;

    // What it wrote on the row meanwhile does not bring it back, and is listed.
    right.write("tasks", id(100), serde_json::json!({"title": "written far away"}));
    right.push().await;
    assert_eq!(centre.value("select count(*)::text from tasks").await, "0");
    assert_eq!(
        centre.value("select loser ->> 'value' from sync.conflicts where status = 'open'").await,
        "written far away"
    );
}

#[tokio::test]
async fn who_was_compared_after_a_long_silence_is_not_compared_again_and_is_waited_for_once_more() {
    let (centre, mut left, mut right) = pair().await;
    right.pull().await;
    centre.execute("update sync.edges set last_seen_at = now() - interval '91 days' where name = 'right'").await;
    assert_eq!(after(&centre, 0).await.stale, ["right"]);
    assert_eq!(right.hello().await.verdict, Verdict::Reconcile);
    let found = Verification { replica: right.me.replica, ..Verification::default() };
    assert_eq!(right.post("verified", stream::write_one(&found).unwrap()).await.status, 200);
    assert_eq!(right.hello().await.verdict, Verdict::Ok);

    left.task(id(100), "one");
    left.push().await;
    left.delete("tasks", id(100));
    left.push().await;
    left.pull().await;
    left.pull().await;
    assert_eq!(after(&centre, 8).await.tombstones, 0, "it has not said how far it has come");
    until_forgotten(&centre, &mut [&mut left, &mut right], 1).await;
}

#[tokio::test]
async fn a_former_id_is_waited_for_a_week_and_the_one_that_took_its_place_as_any_other() {
    let (centre, mut left, _right) = pair().await;
    let former = left.me.replica;
    left.reidentify().await;
    centre.execute("update sync.fences set last_seen_at = now() - interval '8 days'").await;
    after(&centre, 0).await;
    let stale = "select string_agg(replica_id::text, ',') from sync.fences where stale_at is not null";
    assert_eq!(centre.value(stale).await, former.to_string());
}

#[tokio::test]
async fn a_person_that_is_gone_is_remembered_until_the_edges_of_every_tenant_know() {
    let (centre, mut left, mut right) = pair().await;
    let mut other = centre.site(OTHER, ELSEWHERE, "other").await;
    other.pull().await;
    other.pull().await;
    centre.execute(&format!("delete from users where id = '{EVE}'")).await;
    for _ in 0..2 {
        left.pull().await;
        right.pull().await;
    }
    let dead_users = "select count(*)::text from sync.row_versions where table_id = 2 and last_row is not null";
    after(&centre, 8).await;
    assert_eq!(centre.value(dead_users).await, "1", "the other tenant's edge has not heard of it");
    eventually("the person and the changes of scope are forgotten", async || {
        for site in [&mut left, &mut right, &mut other] {
            site.pull().await;
        }
        after(&centre, 8).await;
        let left_over =
            centre.value(&format!("select ({dead_users}) || (select count(*) from sync.scope_changes)")).await;
        if left_over == "00" { Ok(()) } else { Err(left_over) }
    })
    .await;
}

#[tokio::test]
async fn what_holds_up_rows_and_what_waits_for_somebody_is_found() {
    use sync::pg::attention;
    let (centre, left, _right) = pair().await;
    let other = centre.client().await;
    other.batch_execute("begin; update tenants set name = name").await.unwrap();
    let open = attention::open_transactions(&centre.sql, 0.0).await.unwrap();
    let pid: i32 = other.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    let found = open.iter().find(|one| one.pid == pid).expect("the open transaction");
    assert_eq!(found.database, centre.database);
    assert!(!attention::open_transactions(&centre.sql, 60.0).await.unwrap().iter().any(|one| one.pid == pid));
    other.batch_execute("rollback").await.unwrap();

    assert_eq!(attention::silent_edges(&centre.sql, 1.0).await.unwrap(), []);
    centre
        .execute("update sync.edges set last_seen_at = now() - interval '3 days', pending = 2 where name = 'left'")
        .await;
    let silent = attention::silent_edges(&centre.sql, 1.0).await.unwrap();
    assert_eq!((silent.len(), silent[0].name.as_str(), silent[0].pending, silent[0].stale), (1, "left", 2, false));
    assert_eq!(attention::undecided(&centre.sql).await.unwrap(), attention::Undecided::default());
    drop(left);
}

#[tokio::test]
async fn a_row_made_anew_beside_a_delete_that_met_a_forgotten_row_keeps_its_values_and_the_delete_is_a_conflict() {
    let (centre, mut left, mut right) = pair().await;
    left.task(id(100), "one");
    left.push().await;
    centre.execute(&format!("delete from tasks where id = '{0}'", id(100))).await;
    centre.execute(&format!("delete from sync.row_versions where row_id = '{0}'", id(100))).await;
    left.delete("tasks", id(100));
    left.push().await;
    // Its stamp is older than the one under which the centre noted the delete.
    right.task(id(100), "made anew");
    assert_eq!(right.push().await[&id(100)], "merged");
    settle(&centre, &mut [&mut left, &mut right]).await;
    assert_eq!(left.field("tasks", id(100), "title"), "\"made anew\"");
    let conflicts = centre.value("select string_agg(kind || ' ' || register, ', ') from sync.conflicts").await;
    assert_eq!(conflicts, "edit_delete -");
}

#[tokio::test]
async fn rows_that_come_and_go_leave_nothing_behind_on_either_side() {
    let centre = Centre::start().await;
    let mut left = File::enroll(&centre, ACME, HEADQUARTERS, "left").await;
    let mut right = File::enroll(&centre, ACME, WAREHOUSE, "right").await;
    let churn = "insert into tasks (title, description)
        with recursive n (n) as (select 1 union all select n + 1 from n where n < 200)
        select 'comes and goes', hex(zeroblob(500)) from n;
      update tasks set priority = 'high'; delete from tasks;";
    let (mut pages, mut rows) = (Vec::new(), 0);
    for _ in 0..5 {
        left.sql(churn);
        left.exchange().await;
        right.exchange().await;
        rows += 200;
        let mut forgotten = 0;
        eventually("the centre forgets what everybody has been told", async || {
            forgotten += after(&centre, 8).await.tombstones;
            left.exchange().await;
            right.exchange().await;
            if forgotten == 200 { Ok(()) } else { Err(format!("{forgotten} of this round")) }
        })
        .await;
        assert_eq!(tombstones(&centre).await, "0");
        pages.push((left.tidy(), right.tidy()));
        for file in [&left, &right] {
            assert_eq!(file.value("select count(*) from sync_rows where tbl = 8"), "0");
        }
    }
    println!("{rows} rows have come and gone; pages of both files after each 200: {pages:?}");
    let ((left_first, right_first), (left_last, right_last)) = (pages[1], pages[4]);
    // Rows of random ids fill their pages now better, now worse; 600 rows that stayed would take more than 100.
    assert!(left_last <= left_first + 10 && right_last <= right_first + 10, "{pages:?}");
}

#[tokio::test]
async fn a_row_that_an_edge_of_before_sends_as_its_own_new_one_stays_forgotten() {
    let (centre, mut left, mut right) = pair().await;
    left.task(id(100), "taken and deleted");
    let mut before = left.rows[&(8, id(100))].clone();
    left.push().await;
    left.delete("tasks", id(100));
    left.push().await;
    until_forgotten(&centre, &mut [&mut left, &mut right], 1).await;
    // Its stamp was lowered when it was taken.
    before.row.version.dots.iter_mut().for_each(|dot| dot.hlc.0 -= 1);
    left.rows.insert((8, id(100)), before.clone());
    left.task(id(101), "new");
    let answers = left.push().await;
    assert_eq!((answers[&id(100)].as_str(), answers[&id(101)].as_str()), ("merged", "accepted"));
    assert_eq!(centre.value("select string_agg(title, ',') from tasks").await, "new");
    left.pull().await;
    assert!(!left.rows[&(8, id(100))].row.version.is_alive(), "it is told");
}

#[tokio::test]
async fn a_row_of_another_life_under_the_numbers_of_a_forgotten_one_is_new() {
    let (centre, mut left, mut right) = pair().await;
    left.task(id(100), "taken and deleted");
    let mut other = left.rows[&(8, id(100))].clone();
    left.push().await;
    left.delete("tasks", id(100));
    left.push().await;
    until_forgotten(&centre, &mut [&mut left, &mut right], 1).await;
    other.row.values.insert("title".to_owned(), sync::merge::value::Value::text("of another life"));
    left.rows.insert((8, id(100)), other);
    assert_eq!(left.push().await[&id(100)], "accepted");
    assert_eq!(centre.value("select title from tasks").await, "of another life");
}
