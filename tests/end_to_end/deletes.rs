//! Rows that go, and what goes or stays with them.

use serde_json::json;
use tests::deployment::{Deployment, HEADQUARTERS, WAREHOUSE};
use tests::wait::eventually;

use crate::{ACME, WAREHOUSE_SITE, id, insert_task, until_conflicts, until_task};

#[tokio::test]
async fn a_device_created_offline_arrives_with_the_tasks_that_refer_to_it() {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    let edge = world.edge(0);
    // Whoever signs in offline has come with the first page.
    let api = edge.api().await;
    edge.link().cut();
    let device =
        json!({"name": "New meter", "type": "meter", "site_id": crate::HEADQUARTERS_SITE, "serial_number": "OFF-1"});
    let device = api.post("/devices", &device).await.expect(201)["id"].as_str().expect("a row has an id").to_owned();
    let task = json!({"title": "Calibrate it", "device_id": device, "due_date": "2026-05-06T07:08:09Z"});
    let task = api.post("/tasks", &task).await.expect(201)["id"].as_str().expect("a row has an id").to_owned();
    // A plain client writes the child before the parent, in a transaction of its own.
    let (other_device, other_task) = (id(1), id(2));
    edge.sqlite(&format!(
        "insert into tasks (id, tenant_id, title, device_id) values ('{other_task}', '{ACME}', 'Child first', '{other_device}');
         insert into devices (id, tenant_id, site_id, name, type) values ('{other_device}', '{ACME}', '{}', 'Parent', 'sensor');",
        crate::HEADQUARTERS_SITE
    ))
    .await;
    let status = edge.until_status("four rows wait", |status| status["pending"] == 4).await;
    assert_eq!((&status["in_sync"], &status["state"]), (&json!(false), &json!("offline")), "{status}");
    edge.link().heal();
    world.assert_equal_dumps().await;
    let arrived = world
        .sql(
            "select t.title, d.name, d.serial_number from tasks t join devices d on d.id = t.device_id
              where d.name in ('New meter', 'Parent') order by 1",
        )
        .await;
    assert_eq!(arrived, "Calibrate it|New meter|OFF-1\nChild first|Parent|");
    until_task(world.edge(1), &task, "device_id", device.as_str()).await;
    let audited = world
        .sql(&format!("select action, count(*) from audit_logs where resource_id in ('{device}', '{task}') group by 1"))
        .await;
    assert_eq!(audited, "create|2");
}

#[tokio::test]
async fn a_device_deleted_at_a_site_is_forgotten_by_its_tasks_everywhere() {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    let (device, task) = (id(1), id(2));
    world
        .sql(&format!(
            "insert into devices (id, site_id, name, type) values ('{device}', '{WAREHOUSE_SITE}', 'Doomed', 'sensor');
             insert into tasks (id, tenant_id, device_id, title) values ('{task}', '{ACME}', '{device}', 'Of the doomed');"
        ))
        .await;
    for edge in world.edges() {
        until_task(edge, &task, "device_id", device.as_str()).await;
    }
    world.edge(1).api().await.delete(&format!("/devices/{device}")).await.expect(204);
    until_task(world.edge(0), &task, "device_id", json!(null)).await;
    world.assert_equal_dumps().await;
    assert_eq!(world.sql(&format!("select device_id is null from tasks where id = '{task}'")).await, "t");
    assert_eq!(world.sql(&format!("select count(*) from devices where id = '{device}'")).await, "0");
}

#[tokio::test]
async fn a_site_deleted_at_another_site_takes_its_devices_along_unless_somebody_added_one_meanwhile() {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    let (annex, empty, old, new) = (id(1), id(2), id(3), id(4));
    world
        .sql(&format!(
            "insert into sites (id, tenant_id, name) values ('{annex}', '{ACME}', 'Annex'), ('{empty}', '{ACME}', 'Shed');
             insert into devices (id, site_id, name, type) values ('{old}', '{annex}', 'Old', 'sensor'), ('{}', '{empty}', 'Shed''s', 'sensor');",
            id(5)
        ))
        .await;
    world.assert_equal_dumps().await;
    let (headquarters, warehouse) = (world.edge(0), world.edge(1));
    headquarters.link().cut();
    warehouse.link().cut();
    let device = json!({"name": "New", "type": "sensor", "site_id": annex});
    let made = warehouse.api().await.post("/devices", &device).await.expect(201);
    headquarters.api().await.delete(&format!("/sites/{annex}")).await.expect(204);
    headquarters.api().await.delete(&format!("/sites/{empty}")).await.expect(204);
    warehouse.link().heal();
    world.assert_equal_dumps_of(vec![warehouse]).await;
    headquarters.link().heal();
    world.assert_equal_dumps().await;
    let left = world.sql(&format!("select name from sites where id in ('{annex}', '{empty}')")).await;
    assert_eq!(left, "Annex", "what the delete had not seen keeps its site; {new}");
    let devices =
        world.sql(&format!("select name from devices where site_id in ('{annex}', '{empty}') order by 1")).await;
    assert!(devices.contains("New"), "{devices} ({made})");
    for edge in world.edges() {
        let listed = until_conflicts(edge, &annex, 1).await;
        assert_eq!(listed[0]["kind"], "edit_delete");
    }
}

#[tokio::test]
async fn a_site_deleted_at_the_centre_takes_its_devices_along_everywhere() {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    let (annex, device, task) = (id(1), id(2), id(3));
    world
        .sql(&format!(
            "insert into sites (id, tenant_id, name) values ('{annex}', '{ACME}', 'Annex');
             insert into devices (id, site_id, name, type) values ('{device}', '{annex}', 'Its device', 'sensor');
             insert into tasks (id, tenant_id, site_id, device_id, title) values ('{task}', '{ACME}', '{annex}', '{device}', 'There');"
        ))
        .await;
    for edge in world.edges() {
        until_task(edge, &task, "site_id", annex.as_str()).await;
    }
    world.sql(&format!("delete from sites where id = '{annex}'")).await;
    for edge in world.edges() {
        until_task(edge, &task, "site_id", json!(null)).await;
        until_task(edge, &task, "device_id", json!(null)).await;
        assert_eq!(edge.api().await.get(&format!("/devices/{device}")).await.problem(404), "not_found");
    }
    world.assert_equal_dumps().await;
}

#[tokio::test]
async fn truncate_at_the_centre_empties_the_sites_but_for_what_it_had_not_seen() {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    let (edited, made) = (id(1), id(2));
    world.sql(&insert_task(&edited, "first")).await;
    for edge in world.edges() {
        until_task(edge, &edited, "title", "first").await;
    }
    let warehouse = world.edge(1);
    warehouse.link().cut();
    warehouse.api().await.patch(&format!("/tasks/{edited}"), &json!({"title": "edited"})).await.expect(200);
    warehouse.sqlite(&insert_task(&made, "made")).await;
    world.sql("truncate tasks").await;
    eventually("headquarters has no task", async || {
        let count = world.edge(0).sqlite("select count(*) from tasks").await;
        if count == "0" { Ok(()) } else { Err(format!("{count} tasks")) }
    })
    .await;
    warehouse.link().heal();
    world.assert_equal_dumps().await;
    assert_eq!(world.sql("select title from tasks order by 1").await, "edited\nmade");
}

#[tokio::test]
async fn insert_or_replace_at_a_site_is_an_edit_and_a_replaced_key_is_a_delete_and_an_insert() {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    let (task, renamed) = (id(1), id(2));
    let edge = world.edge(0);
    world.sql(&insert_task(&task, "first")).await;
    until_task(edge, &task, "title", "first").await;
    edge.sqlite(&format!(
        "insert or replace into tasks (id, tenant_id, title, priority) values ('{task}', '{ACME}', 'replaced', 'high')"
    ))
    .await;
    until_task(world.edge(1), &task, "title", "replaced").await;
    world.assert_equal_dumps().await;
    edge.sqlite(&format!("update tasks set id = '{renamed}' where id = '{task}'")).await;
    until_task(world.edge(1), &renamed, "title", "replaced").await;
    world.assert_equal_dumps().await;
    assert_eq!(world.sql(&format!("select count(*) from tasks where id = '{task}'")).await, "0");
    edge.sqlite(&format!(
        "replace into tasks (id, tenant_id, title) values ('{renamed}', '{ACME}', 'again'), ('{task}', '{ACME}', 'back');
         insert into tasks (id, tenant_id, title) values ('{renamed}', '{ACME}', 'x')
           on conflict (id) do update set description = 'upserted';"
    ))
    .await;
    until_task(world.edge(1), &renamed, "description", "upserted").await;
    world.assert_equal_dumps().await;
    let titles = world.sql(&format!("select title from tasks where id in ('{task}', '{renamed}') order by 1")).await;
    assert_eq!(titles, "again\nback");
}

#[tokio::test]
async fn plain_statements_of_every_form_at_the_centre_reach_the_sites() {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    let (one, two, three) = (id(1), id(2), id(3));
    world
        .sql(&format!(
            "copy tasks (id, tenant_id, title) from stdin;\n{one}\t{ACME}\tcopied\n{two}\t{ACME}\tcopied\n\\.\n
             insert into tasks (id, tenant_id, title) values ('{one}', '{ACME}', 'x')
               on conflict (id) do update set title = 'upserted';
             merge into tasks as target using (values ('{two}'::uuid), ('{three}'::uuid)) as source (id)
               on target.id = source.id
               when matched then update set title = 'merged'
               when not matched then insert (id, tenant_id, title) values (source.id, '{ACME}', 'merged');
             begin;
             update tasks set title = 'twice' where id = '{three}';
             delete from tasks where id = '{three}';
             insert into tasks (id, tenant_id, title) values ('{three}', '{ACME}', 'reborn');
             commit;"
        ))
        .await;
    for edge in world.edges() {
        until_task(edge, &one, "title", "upserted").await;
        until_task(edge, &two, "title", "merged").await;
        until_task(edge, &three, "title", "reborn").await;
    }
    world.assert_equal_dumps().await;
}
