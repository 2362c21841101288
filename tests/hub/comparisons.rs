//! What a comparison leaves to the feed.

use serde_json::json;
use sync::wire::frames::read_digest;
use sync::wire::message::Verdict;
use sync::wire::recovery::Digest;
use sync::wire::stream;

use crate::pair;
use crate::site::{Site, id};

/// Begins a comparison that says so much of the edge's cursor, and goes on from the one that it is given.
pub(crate) async fn compare(site: &mut Site, cursor: Option<String>) {
    let asked = Digest { replica: site.me.replica, begin: true, cursor, ..Digest::default() };
    let answer = site.post("digest", stream::write_one(&asked).unwrap()).await;
    site.cursor = Some(read_digest(&answer.body).unwrap().cursor.unwrap());
}

#[tokio::test]
async fn conflicts_and_deaths_of_the_meantime_still_come_after_a_comparison() {
    let (_centre, mut left, mut right) = pair().await;
    left.task(id(100), "one");
    left.task(id(101), "two");
    left.push().await;
    right.pull().await;
    left.pull().await;
    left.write("tasks", id(100), json!({"title": "uno"}));
    right.write("tasks", id(100), json!({"title": "une"}));
    left.push().await;
    right.push().await;
    right.delete("tasks", id(101));
    right.push().await;
    assert_eq!(left.conflicts.len(), 0, "the centre met it");
    let cursor = left.cursor.clone();
    compare(&mut left, cursor).await;
    let came = left.pull().await;
    assert!(came.contains(&format!("dead tasks {}", id(101))), "{came:?}");
    assert_eq!(left.conflicts.len(), 1);
}

#[tokio::test]
async fn an_edge_without_a_cursor_reads_every_conflict_and_no_row_after_a_comparison() {
    let (centre, mut left, mut right) = pair().await;
    left.task(id(100), "one");
    left.push().await;
    right.pull().await;
    left.write("tasks", id(100), json!({"title": "uno"}));
    right.write("tasks", id(100), json!({"title": "une"}));
    left.push().await;
    right.push().await;
    let mut fresh = centre.site(crate::site::ACME, crate::site::HEADQUARTERS, "fresh").await;
    compare(&mut fresh, None).await;
    let (lines, complete) = fresh.page(0).await;
    assert!(complete && lines.len() == 1, "{lines:?}");
    lines.into_iter().for_each(|line| drop(fresh.apply(line)));
    assert_eq!(fresh.conflicts.len(), 1);
}

#[tokio::test]
async fn a_comparison_with_a_centre_that_went_back_since_the_hello_is_not_answered() {
    let (centre, mut left, _right) = pair().await;
    let asked = |left: &Site| Digest {
        replica: left.me.replica,
        fence: Some(left.fence.clone()),
        cursor: left.cursor.clone(),
        ..Digest::default()
    };
    left.pull().await;
    for lost in ["cursor_count, cursor_nonce", "token_count, token, token_before"] {
        centre.execute("drop table if exists saved; create table saved as select * from sync.fences").await;
        left.task(id(100), lost);
        left.push().await;
        left.pull().await;
        let ask = async |left: &Site| left.post("digest", stream::write_one(&asked(left)).unwrap()).await.status;
        assert_eq!(ask(&left).await, 200);
        let back = "update sync.fences as f set (LOST) = (select LOST from saved s where s.replica_id = f.replica_id)";
        centre.execute(&back.replace("LOST", lost)).await;
        assert_eq!(ask(&left).await, 409, "it would take what the centre lost for long deleted: {lost}");
        assert_eq!(left.hello().await.verdict, Verdict::Reidentify);
        left.reidentify().await;
        left.fence = left.hello().await.reconcile.unwrap().fence;
        left.cursor = None;
        left.pull().await;
    }
}
