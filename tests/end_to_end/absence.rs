//! An edge that was away for longer than anybody waits for it.

use serde_json::json;
use tests::deployment::{Deployment, HEADQUARTERS, WAREHOUSE};
use tests::wait::eventually;

use crate::{id, insert_task, until_conflicts, until_task};

#[tokio::test]
async fn after_a_long_absence_forgotten_rows_stay_gone_and_unsent_edits_of_them_are_listed() {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    let (edited, untouched, kept) = (id(1), id(2), id(3));
    for (task, title) in [(&edited, "Edited far away"), (&untouched, "Not edited"), (&kept, "Stays")] {
        world.sql(&insert_task(task, title)).await;
    }
    for edge in world.edges() {
        until_task(edge, &kept, "title", "Stays").await;
    }
    let (away, present) = (world.edge(0), world.edge(1));
    away.link().cut();
    let api = away.api().await;
    api.patch(&format!("/tasks/{edited}"), &json!({"title": "Written in the basement"})).await.expect(200);
    api.patch(&format!("/tasks/{kept}"), &json!({"priority": "urgent"})).await.expect(200);
    world.sql(&format!("delete from tasks where id in ('{edited}', '{untouched}')")).await;
    eventually("the other site knows", async || {
        let dump = present.dump().await;
        if dump.contains(&untouched) { Err(dump) } else { Ok(()) }
    })
    .await;
    present.sync_now().await.expect(200);

    // Three months later.
    let aged = "update sync.edges set last_seen_at = now() - interval '91 days' where name = 'hq-1';
                update sync.row_versions set hlc = 1 where last_row is not null";
    world.sql(aged).await;
    let told = world.hub_command(&["db", "maintain"]).await.succeeded();
    assert!(told.contains("hq-1 was silent for too long") && told.contains("forgot 2 dead rows"), "{told}");
    assert_eq!(world.sql("select status from sync.edge_status where name = 'hq-1'").await, "stale");

    away.link().heal();
    away.until_status("it has come back", |status| status["in_sync"] == true).await;
    world.assert_equal_dumps().await;
    assert_eq!(world.sql(&format!("select count(*) from tasks where id in ('{edited}', '{untouched}')")).await, "0");
    assert_eq!(world.sql(&format!("select priority from tasks where id = '{kept}'")).await, "urgent");
    assert_eq!(world.sql("select status from sync.edge_status where name = 'hq-1'").await, "enrolled");
    // What it wrote on the row that is gone is kept, and a person at any site can bring it back.
    let conflicts = until_conflicts(present, &edited, 1).await;
    assert_eq!(conflicts[0]["loser"]["value"], "Written in the basement");
}
