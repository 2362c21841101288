//! Changes at the centre that nothing captured.

use serde_json::json;
use tests::deployment::{Deployment, HEADQUARTERS, WAREHOUSE};

use crate::{id, insert_task, until_task};

#[tokio::test]
async fn what_was_changed_at_the_centre_with_triggers_off_is_found_by_the_daily_comparison_and_repaired() {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    let (changed, added, removed) = (id(1), id(2), id(3));
    for (task, title) in [(&changed, "As it was"), (&removed, "Will go unseen")] {
        world.sql(&insert_task(task, title)).await;
    }
    for edge in world.edges() {
        until_task(edge, &removed, "title", "Will go unseen").await;
    }
    // Capture triggers fire in every mode, so this takes a superuser who turns them off on purpose.
    world
        .sql(&format!(
            "begin; alter table tasks disable trigger user;
             update tasks set title = 'Changed in the dark' where id = '{changed}';
             {}
             delete from tasks where id = '{removed}';
             alter table tasks enable trigger user; commit;",
            insert_task(&added, "Added in the dark")
        ))
        .await;
    world.hub_command(&["db", "migrate", "up"]).await.succeeded();
    world.sql("update sync.edges set enrolled_at = now() - interval '2 days'").await;
    // The edges take turns: one an hour of so few.
    for _ in world.edges() {
        let told = world.hub_command(&["db", "maintain"]).await.succeeded();
        assert!(told.contains("is asked to compare itself"), "{told}");
    }
    for edge in world.edges() {
        until_task(edge, &changed, "title", json!("Changed in the dark")).await;
        until_task(edge, &added, "title", json!("Added in the dark")).await;
    }
    world.assert_equal_dumps().await;
    assert!(!world.edge(0).dump().await.contains(&removed));
}
