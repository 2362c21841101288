//! People who come into a tenant's scope and leave it.

use serde_json::json;
use tests::deployment::{Deployment, Edge, HEADQUARTERS, OFFICE, WAREHOUSE};
use tests::dumps;
use tests::postgres::connect;
use tests::wait::eventually;

use crate::poison::until_refused;
use crate::{ACME, HEADQUARTERS_SITE, id};

/// Waits until an edge holds a person under this first name, or not at all.
async fn until_person(edge: &Edge, user: &str, first_name: Option<&str>) {
    eventually(&format!("{user} is {first_name:?} at {}", edge.place().edge), async || {
        let found = dumps::value(&edge.dump().await, "users", user, "first_name");
        let found = found.as_ref().map(|value| value.as_str().unwrap_or("(null)"));
        if found == first_name { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_membership_granted_while_the_users_own_update_is_open_brings_the_user_and_then_the_update() {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE, OFFICE]).await;
    let user =
        world.sql("insert into users (email, first_name) values ('new@acme-corp.com', 'Before') returning id").await;
    let mut writer = connect(world.database_url()).await;
    let update = writer.transaction().await.expect("begin");
    update.execute("update users set first_name = 'After' where id = $1::text::uuid", &[&user]).await.expect("update");
    let member = id(1);
    // A foreign key takes a lock that an update of other columns does not hinder.
    world
        .sql(&format!(
            "insert into user_tenant_associations (id, user_id, tenant_id, role) values ('{member}', '{user}', '{ACME}', 'member')"
        ))
        .await;
    for edge in &world.edges()[..2] {
        until_person(edge, &user, Some("Before")).await;
    }
    world.assert_equal_dumps().await;
    update.commit().await.expect("commit");
    for edge in &world.edges()[..2] {
        until_person(edge, &user, Some("After")).await;
    }
    until_person(world.edge(2), &user, None).await;
    world.assert_equal_dumps().await;
}

#[tokio::test]
async fn a_membership_taken_while_the_users_own_update_is_open_removes_the_user_for_good() {
    let world = Deployment::start(&[HEADQUARTERS, OFFICE]).await;
    let user =
        world.sql("insert into users (email, first_name) values ('leaver@acme-corp.com', 'Before') returning id").await;
    world.sql(&format!("insert into user_tenant_associations (user_id, tenant_id) values ('{user}', '{ACME}')")).await;
    let edge = world.edge(0);
    until_person(edge, &user, Some("Before")).await;
    let mut writer = connect(world.database_url()).await;
    let update = writer.transaction().await.expect("begin");
    update.execute("update users set first_name = 'After' where id = $1::text::uuid", &[&user]).await.expect("update");
    world.sql(&format!("delete from user_tenant_associations where user_id = '{user}'")).await;
    until_person(edge, &user, None).await;
    update.commit().await.expect("commit");
    // A later write shows that the window with the update has passed.
    world.sql(&format!("update tenants set name = 'Acme, later' where id = '{ACME}'")).await;
    eventually("the later write is at the site", async || {
        let dump = edge.dump().await;
        if dump.contains("Acme, later") { Ok(()) } else { Err(edge.log()) }
    })
    .await;
    until_person(edge, &user, None).await;
    world.assert_equal_dumps().await;
}

#[tokio::test]
async fn a_user_stays_as_long_as_anything_of_the_tenant_refers_to_them() {
    let world = Deployment::start(&[HEADQUARTERS, OFFICE]).await;
    let edge = world.edge(0);
    let user =
        world.sql("insert into users (email, first_name) values ('many@example.com', 'Mentioned') returning id").await;
    let task = id(1);
    world
        .sql(&format!(
            "insert into user_tenant_associations (user_id, tenant_id) values ('{user}', '{ACME}');
             insert into user_site_assignments (user_id, site_id, tenant_id) values ('{user}', '{HEADQUARTERS_SITE}', '{ACME}');
             insert into tasks (id, tenant_id, user_id, title) values ('{task}', '{ACME}', '{user}', 'Mentions them');"
        ))
        .await;
    until_person(edge, &user, Some("Mentioned")).await;
    world.assert_equal_dumps().await;
    world
        .sql(&format!(
            "delete from user_tenant_associations where user_id = '{user}';
             delete from user_site_assignments where user_id = '{user}';
             update users set first_name = 'Still mentioned' where id = '{user}'"
        ))
        .await;
    until_person(edge, &user, Some("Still mentioned")).await;
    world.assert_equal_dumps().await;
    world.sql(&format!("update tasks set user_id = null where id = '{task}'")).await;
    until_person(edge, &user, None).await;
    world.assert_equal_dumps().await;

    // The other tenant's membership is another scope.
    world
        .sql(&format!(
            "insert into user_tenant_associations (user_id, tenant_id) select '{user}', id from tenants where slug = 'techstart'"
        ))
        .await;
    until_person(world.edge(1), &user, Some("Still mentioned")).await;
    until_person(edge, &user, None).await;
    world.assert_equal_dumps().await;
}

#[tokio::test]
async fn a_user_deleted_at_the_centre_is_gone_everywhere_and_forgotten_by_tasks() {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    let user = world.sql("select id from users where email = 'operator@acme-corp.com'").await;
    for edge in world.edges() {
        until_person(edge, &user, Some("Mei")).await;
    }
    let edge = world.edge(0);
    edge.link().cut();
    let made = edge.api().await.post("/tasks", &json!({"title": "For Mei", "user_id": user})).await.expect(201);
    world.sql(&format!("delete from users where id = '{user}'")).await;
    until_person(world.edge(1), &user, None).await;
    edge.link().heal();
    until_person(edge, &user, None).await;
    // A task for someone who is gone is refused until it names somebody else; nothing else waits for it.
    let refused = until_refused(edge, 1).await;
    assert_eq!((&refused[0]["row_id"], &refused[0]["code"]), (&made["id"], &json!("missing_reference")));
    let row = made["id"].as_str().expect("a row has an id");
    let differences = dumps::differences(&world.dump_hub("acme-corp").await, &edge.dump().await);
    assert!(differences.iter().all(|difference| difference.contains(row)), "{differences:#?}");
    let path = format!("/tasks/{row}");
    edge.api().await.patch(&path, &json!({"user_id": null})).await.expect(200);
    world.assert_equal_dumps().await;
    assert_eq!(world.sql("select count(*) from tasks where title = 'For Mei' and user_id is null").await, "1");
}
