//! Writes that do not know each other.

use serde_json::{Value, json};
use tests::deployment::{Deployment, HEADQUARTERS, WAREHOUSE};
use tests::wait::eventually;

use crate::{conflicts, id, insert_task, until_conflicts, until_task};

/// Two sites of Acme that both hold one task, and are cut off from the centre.
async fn apart(task: &str) -> Deployment {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    world.sql(&insert_task(task, "first")).await;
    for edge in world.edges() {
        until_task(edge, task, "title", "first").await;
        edge.link().cut();
    }
    for edge in world.edges() {
        edge.until_status("the edge notices that it is cut off", |status| status["state"] == "offline").await;
    }
    world
}

fn heal(world: &Deployment) {
    for edge in world.edges() {
        edge.link().heal();
    }
}

async fn patch(world: &Deployment, edge: usize, task: &str, change: Value) {
    world.edge(edge).api().await.patch(&format!("/tasks/{task}"), &change).await.expect(200);
}

#[tokio::test]
async fn offline_edits_of_different_columns_all_survive() {
    let task = id(1);
    let world = apart(&task).await;
    patch(&world, 0, &task, json!({"title": "from headquarters"})).await;
    patch(&world, 1, &task, json!({"description": "from the warehouse"})).await;
    world.sql(&format!("update tasks set priority = 'urgent' where id = '{task}'")).await;
    heal(&world);
    world.assert_equal_dumps().await;
    let merged = world.sql(&format!("select title, description, priority from tasks where id = '{task}'")).await;
    assert_eq!(merged, "from headquarters|from the warehouse|urgent");
    for edge in world.edges() {
        until_task(edge, &task, "title", "from headquarters").await;
        until_task(edge, &task, "description", "from the warehouse").await;
        until_task(edge, &task, "priority", "urgent").await;
        assert_eq!(conflicts(edge.api().await).await, Vec::<Value>::new());
    }
}

#[tokio::test]
async fn of_offline_edits_of_one_column_one_wins_and_each_other_is_listed_and_can_be_restored_at_another_site() {
    let task = id(1);
    let world = apart(&task).await;
    world.sql(&format!("update tasks set title = 'from the centre' where id = '{task}'")).await;
    patch(&world, 0, &task, json!({"title": "from headquarters"})).await;
    patch(&world, 1, &task, json!({"title": "from the warehouse"})).await;
    heal(&world);
    world.assert_equal_dumps().await;
    // The three clocks are one clock here, so the last write wins.
    for edge in world.edges() {
        until_task(edge, &task, "title", "from the warehouse").await;
        let listed = until_conflicts(edge, &task, 2).await;
        let mut losers: Vec<&str> = listed.iter().filter_map(|conflict| conflict["loser"]["value"].as_str()).collect();
        losers.sort_unstable();
        assert_eq!(losers, ["from headquarters", "from the centre"]);
        for conflict in &listed {
            assert_eq!((&conflict["kind"], &conflict["column"]), (&json!("edit_edit"), &json!("title")));
            assert_eq!((&conflict["table"], &conflict["status"]), (&json!("tasks"), &json!("open")));
            // The centre's write met whichever of the two came to it first.
            let winners: &[&str] = match conflict["loser"]["value"].as_str() {
                Some("from the centre") => &["from headquarters", "from the warehouse"],
                _ => &["from the warehouse"],
            };
            assert!(winners.iter().any(|winner| conflict["winner"]["value"] == *winner), "{conflict}");
        }
    }
    eventually("both sites tell the same story", async || {
        let at = async |edge: usize| until_conflicts(world.edge(edge), &task, 2).await;
        let (here, there) = (at(0).await, at(1).await);
        if here == there { Ok(()) } else { Err(format!("{here:#?}\n{there:#?}")) }
    })
    .await;

    // Restored at the site whose write won.
    let (headquarters, warehouse) = (world.edge(0), world.edge(1));
    let listed = until_conflicts(warehouse, &task, 2).await;
    let lost = listed.iter().find(|conflict| conflict["loser"]["value"] == "from headquarters").expect("listed");
    let conflict = lost["id"].as_str().expect("a conflict has an id").to_owned();
    warehouse.api().await.post(&format!("/sync/conflicts/{conflict}/restore"), &json!({})).await.expect(200);
    until_task(headquarters, &task, "title", "from headquarters").await;
    world.assert_equal_dumps().await;
    assert_eq!(world.sql(&format!("select title from tasks where id = '{task}'")).await, "from headquarters");
    for edge in world.edges() {
        let listed = until_conflicts(edge, &task, 2).await;
        let status =
            |id: &str| listed.iter().find(|conflict| conflict["id"] == id).map(|found| found["status"].clone());
        assert_eq!(status(&conflict), Some(json!("restored")), "{listed:#?}");
    }

    // The other one is dismissed at the other site, which changes no row.
    let other = listed.iter().find(|listed| listed["id"] != conflict.as_str()).expect("there are two");
    let other = other["id"].as_str().expect("a conflict has an id");
    headquarters.api().await.post(&format!("/sync/conflicts/{other}/dismiss"), &json!({})).await.expect(200);
    eventually("the decision is known at the other site and at the centre", async || {
        let listed = until_conflicts(warehouse, &task, 2).await;
        let known = listed.iter().any(|listed| listed["id"] == other && listed["status"] == "dismissed");
        let open = world.sql("select count(*) from sync.open_conflicts").await;
        if known && open == "0" { Ok(()) } else { Err(format!("{open} open at the centre, {listed:#?}")) }
    })
    .await;
    world.assert_equal_dumps().await;
    until_task(warehouse, &task, "title", "from headquarters").await;
}

#[tokio::test]
async fn keys_of_metadata_written_apart_are_merged_and_one_key_written_twice_is_a_conflict() {
    let task = id(1);
    let world = apart(&task).await;
    world
        .sql(&format!("update tasks set metadata = '{{\"centre\": 1, \"both\": \"centre\"}}' where id = '{task}'"))
        .await;
    world
        .edge(0)
        .sqlite(&format!("update tasks set metadata = '{{\"headquarters\": [1, 2]}}' where id = '{task}'"))
        .await;
    patch(&world, 1, &task, json!({"metadata": {"warehouse": {"deep": true}, "both": "warehouse"}})).await;
    heal(&world);
    world.assert_equal_dumps().await;
    let merged = json!({"both": "warehouse", "centre": 1, "headquarters": [1, 2], "warehouse": {"deep": true}});
    for edge in world.edges() {
        until_task(edge, &task, "metadata", merged.clone()).await;
        let listed = until_conflicts(edge, &task, 1).await;
        assert_eq!((&listed[0]["column"], &listed[0]["loser"]["value"]), (&json!("metadata.both"), &json!("centre")));
    }
}

#[tokio::test]
async fn status_and_completion_time_win_together() {
    let task = id(1);
    let world = apart(&task).await;
    patch(&world, 0, &task, json!({"status": "done", "completed_at": "2026-01-02T03:04:05Z"})).await;
    patch(&world, 1, &task, json!({"status": "blocked"})).await;
    heal(&world);
    world.assert_equal_dumps().await;
    let merged = world.sql(&format!("select status, completed_at is null from tasks where id = '{task}'")).await;
    assert_eq!(merged, "blocked|t");
}

#[tokio::test]
async fn a_task_deleted_at_the_centre_while_a_site_edits_it_stays_and_is_recorded() {
    let task = id(1);
    let world = apart(&task).await;
    world.sql(&format!("delete from tasks where id = '{task}'")).await;
    patch(&world, 0, &task, json!({"title": "still needed"})).await;
    world.edge(0).link().heal();
    world.assert_equal_dumps_of(vec![world.edge(0)]).await;
    world.edge(1).link().heal();
    world.assert_equal_dumps().await;
    assert_eq!(world.sql(&format!("select title from tasks where id = '{task}'")).await, "still needed");
    for edge in world.edges() {
        until_task(edge, &task, "title", "still needed").await;
        let listed = until_conflicts(edge, &task, 1).await;
        assert_eq!((&listed[0]["kind"], &listed[0]["status"]), (&json!("edit_delete"), &json!("open")));
    }
    let open = world.sql(&format!("select kind from sync.open_conflicts where row_id = '{task}'")).await;
    assert_eq!(open, "edit_delete");

    // The delete lost; restoring it deletes the task everywhere.
    let listed = until_conflicts(world.edge(1), &task, 1).await;
    let conflict = listed[0]["id"].as_str().expect("a conflict has an id");
    world.edge(1).api().await.post(&format!("/sync/conflicts/{conflict}/restore"), &json!({})).await.expect(200);
    world.assert_equal_dumps().await;
    assert_eq!(world.sql(&format!("select count(*) from tasks where id = '{task}'")).await, "0");
}

#[tokio::test]
async fn a_task_deleted_at_a_site_while_the_centre_and_another_site_edit_it_stays() {
    let task = id(1);
    let world = apart(&task).await;
    world.edge(0).api().await.delete(&format!("/tasks/{task}")).await.expect(204);
    patch(&world, 1, &task, json!({"description": "from the warehouse"})).await;
    world.sql(&format!("update tasks set title = 'from the centre' where id = '{task}'")).await;
    heal(&world);
    world.assert_equal_dumps().await;
    let kept = world.sql(&format!("select title, description from tasks where id = '{task}'")).await;
    assert_eq!(kept, "from the centre|from the warehouse");
    for edge in world.edges() {
        let listed = until_conflicts(edge, &task, 1).await;
        assert_eq!(listed[0]["kind"], "edit_delete");
    }
}

#[tokio::test]
async fn a_task_deleted_at_two_places_is_gone_without_a_conflict() {
    let task = id(1);
    let world = apart(&task).await;
    world.edge(0).api().await.delete(&format!("/tasks/{task}")).await.expect(204);
    world.edge(1).sqlite(&format!("delete from tasks where id = '{task}'")).await;
    world.sql(&format!("delete from tasks where id = '{task}'")).await;
    heal(&world);
    world.assert_equal_dumps().await;
    for edge in world.edges() {
        assert_eq!(conflicts(edge.api().await).await, Vec::<Value>::new());
    }
}

#[tokio::test]
async fn two_people_on_old_pages_at_one_site_are_a_conflict_that_every_site_and_the_centre_list_alike() {
    let task = id(1);
    let world = apart(&task).await;
    let (here, there) = (world.edge(0), world.edge(1));
    let old = here.sqlite(&format!("select vv from sync_rows where row_id = '{task}'")).await;
    let (first, second) = (here.api().await, here.api_of("manager@acme-corp.com").await);
    for (person, title) in [(first, "by the admin"), (&second, "by the manager")] {
        let form = [("base", old.as_str()), ("was_title", "first"), ("title", title)];
        let saved = person.submit(&format!("/tasks/{task}"), &form).await;
        assert_eq!(saved.status, 200, "{saved}");
    }
    heal(&world);
    world.assert_equal_dumps().await;
    until_task(there, &task, "title", "by the manager").await;
    let listed = until_conflicts(there, &task, 1).await;
    assert_eq!(listed, until_conflicts(here, &task, 1).await);
    let lost = &listed[0];
    assert_eq!(
        (&lost["kind"], &lost["column"], &lost["status"]),
        (&json!("edit_edit"), &json!("title"), &json!("open"))
    );
    assert_eq!((&lost["loser"]["value"], &lost["loser"]["person"]), (&json!("by the admin"), &json!("Grace Okafor")));
    assert_eq!(
        (&lost["winner"]["value"], &lost["winner"]["person"]),
        (&json!("by the manager"), &json!("Daniel Reyes"))
    );
    let open = world.sql("select id from sync.open_conflicts").await;
    assert_eq!(Some(open.as_str()), lost["id"].as_str());
    let refused = world.sql("select count(*) from sync.quarantine").await;
    assert_eq!(refused, "0", "the hub takes a conflict between two writes of one replica");
}

#[tokio::test]
async fn a_page_sent_after_its_task_was_deleted_at_the_same_site_keeps_the_task_everywhere() {
    let task = id(1);
    let world = apart(&task).await;
    let here = world.edge(0);
    let old = here.sqlite(&format!("select vv from sync_rows where row_id = '{task}'")).await;
    here.api().await.delete(&format!("/tasks/{task}")).await.expect(204);
    let form = [("base", old.as_str()), ("was_title", "first"), ("title", "still needed")];
    let saved = here.api().await.submit(&format!("/tasks/{task}"), &form).await;
    assert_eq!(saved.status, 200, "{saved}");
    heal(&world);
    world.assert_equal_dumps().await;
    for edge in world.edges() {
        until_task(edge, &task, "title", "still needed").await;
        let listed = until_conflicts(edge, &task, 1).await;
        assert_eq!((&listed[0]["kind"], &listed[0]["status"]), (&json!("edit_delete"), &json!("open")));
    }
}

#[tokio::test]
async fn an_if_match_of_an_old_version_is_answered_with_the_present_row() {
    let task = id(1);
    let world = Deployment::start(&[HEADQUARTERS]).await;
    world.sql(&insert_task(&task, "first")).await;
    let edge = world.edge(0);
    until_task(edge, &task, "title", "first").await;
    let api = edge.api().await;
    let read = api.get(&format!("/tasks/{task}")).await;
    let etag = read.etag.clone().unwrap_or_else(|| panic!("a row has an ETag\n{read}"));
    world.sql(&format!("update tasks set title = 'second' where id = '{task}'")).await;
    until_task(edge, &task, "title", "second").await;
    let path = format!("/tasks/{task}");
    let change = json!({"title": "third"}).to_string();
    let answer = api.send(reqwest::Method::PATCH, &path, Some(change.clone()), &[("if-match", &etag)]).await;
    assert_eq!(answer.status, 412, "{answer}");
    assert!(answer.text.contains("second"), "the answer shows the present row: {answer}");
    let etag = api.get(&path).await.etag.expect("a row has an ETag");
    api.send(reqwest::Method::PATCH, &path, Some(change), &[("if-match", &etag)]).await.expect(200);
    world.assert_equal_dumps().await;
    assert_eq!(world.sql(&format!("select title from tasks where id = '{task}'")).await, "third");
}
