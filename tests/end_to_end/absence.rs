//! An edge that was away for longer than anybody waits for it.

use serde_json::json;
use tests::deployment::{Deployment, Edge, HEADQUARTERS, WAREHOUSE};
use tests::fault_proxy::{Ending, Fault, Part, Position, Route};
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
    until_gone(present, &untouched).await;
    three_months_pass(&world, "forgot 2 dead rows").await;

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

#[tokio::test]
async fn after_a_long_absence_an_edit_that_was_taken_and_not_answered_brings_no_forgotten_row_back() {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    let task = id(1);
    world.sql(&insert_task(&task, "Fix the pump")).await;
    for edge in world.edges() {
        until_task(edge, &task, "title", "Fix the pump").await;
    }
    let (away, present) = (world.edge(0), world.edge(1));
    // The record of the technician's sign-in is sent before, so that the next push is the edit.
    away.sync_now().await.expect(200);
    away.link().set_fault(Fault { route: Route::Push, part: Part::Answer, at: Position::Before, ending: Ending::Fin });
    away.api().await.patch(&format!("/tasks/{task}"), &json!({"title": "Written in the lift"})).await.expect(200);
    until_task(present, &task, "title", "Written in the lift").await;
    assert!(away.link().fault_happened());
    world.sql(&format!("delete from tasks where id = '{task}'")).await;
    until_gone(present, &task).await;
    three_months_pass(&world, "forgot 1 dead row").await;

    away.link().heal();
    away.until_status("it has come back", |status| status["in_sync"] == true).await;
    world.assert_equal_dumps().await;
    assert_eq!(world.sql(&format!("select count(*) from tasks where id = '{task}'")).await, "0");
    assert_eq!(world.sql("select count(*) from sync.conflicts").await, "0", "whoever deleted it had seen the edit");
}

async fn until_gone(edge: &Edge, task: &str) {
    eventually("the other site knows", async || {
        let dump = edge.dump().await;
        if dump.contains(task) { Err(dump) } else { Ok(()) }
    })
    .await;
    edge.sync_now().await.expect(200);
}

/// The edge at headquarters is silent for longer than anybody waits for it, and dead rows are forgotten.
async fn three_months_pass(world: &Deployment, forgotten: &str) {
    let aged = "update sync.edges set last_seen_at = now() - interval '91 days' where name = 'hq-1';
                update sync.row_versions set hlc = 1 where last_row is not null";
    world.sql(aged).await;
    let told = world.hub_command(&["db", "maintain"]).await.succeeded();
    assert!(told.contains("hq-1 was silent for too long") && told.contains(forgotten), "{told}");
    assert_eq!(world.sql("select status from sync.edge_status where name = 'hq-1'").await, "stale");
}
