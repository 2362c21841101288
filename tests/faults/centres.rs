//! A central database in trouble: rights taken, rows hidden, no connections, no disk, rows that move. Sites work on, are told
//! why nothing arrives, and nothing is lost or half done.

use serde_json::json;
use tests::deployment::{Deployment, Edge, HEADQUARTERS, OFFICE, WAREHOUSE};
use tests::dumps;
use tests::postgres::Cluster;
use tests::small_disk::{Kind, SmallDisk};
use tests::wait::eventually;

use crate::id;
use crate::restores::{insert, is_integral, retitle, titles};

/// Waits until a site knows that it cannot exchange, and returns what it tells people about it.
async fn reason(edge: &Edge) -> String {
    let fails = |status: &serde_json::Value| status["in_sync"] == false && status["last_error"].is_string();
    let status = edge.until_status("it says why nothing arrives", fails).await;
    status["last_error"].as_str().expect("just looked").to_owned()
}

/// Makes `trouble` at the centre while a site writes, sees that the site says `why`, ends it, and holds everything equal.
async fn check(trouble: &str, why: &str, end: &str) {
    let mut world = Deployment::start_durable(&[HEADQUARTERS, WAREHOUSE]).await;
    world.sql("create role service login in role waystation_hub").await;
    world.reach_database_by(world.cluster().url_as("service", "waystation")).await;
    let edge = world.edge(0);
    edge.api().await;
    world.sql(&(1..=3).map(|number| insert(number, "old")).collect::<String>()).await;
    world.assert_equal_dumps().await;
    let before = world.dump_hub("acme-corp").await;
    world.sql(trouble).await;
    edge.sqlite(&(retitle(1, "written meanwhile") + &insert(4, "made meanwhile"))).await;
    edge.sync_now().await;
    let said = reason(edge).await;
    assert!(said.contains(why), "{said}\n{}", world.hub(0).log());
    let found = world.hub_command(&["doctor"]).await;
    assert_eq!(found.stdout.contains("error: rights: "), why.contains("right"), "{found}");
    let as_owner = dumps::differences(&before, &world.dump_hub("acme-corp").await);
    assert_eq!(as_owner, Vec::<String>::new(), "nothing of it is at the centre by half");
    assert_eq!(
        edge.sqlite("select count(*) from tasks").await,
        edge.sqlite("select count(*) from sync_rows where tbl = 8").await
    );
    world.sql(end).await;
    world.assert_equal_dumps().await;
    assert_eq!(titles(&world, 1..=4).await, ["written meanwhile", "old", "old", "made meanwhile"]);
    assert_eq!(world.sql("select count(*) from sync.quarantine where status = 'open'").await, "0");
    is_integral(&world).await;
}

#[tokio::test]
async fn a_right_that_was_taken_from_the_hub_is_named_and_nothing_is_taken_by_half() {
    check(
        "revoke update on sync.row_versions from waystation_hub",
        "lacks a right in the central database",
        "grant update on sync.row_versions to waystation_hub",
    )
    .await;
}

#[tokio::test]
async fn rows_hidden_from_the_hub_by_somebodys_policy_are_not_taken_for_deleted() {
    check(
        "create policy strangers on tasks as restrictive using (title <> 'old'); update sync.edges set verified_at = now() - interval '3 days'",
        "lacks a right in the central database",
        "drop policy strangers on tasks",
    )
    .await;
}

#[tokio::test]
async fn a_centre_without_connections_is_waited_for() {
    check(
        "alter role service connection limit 0;
         select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'service'",
        "the hub cannot serve at the moment: the central database is not",
        "alter role service connection limit -1",
    )
    .await;
}

#[tokio::test]
async fn a_hub_that_may_not_sign_in_any_more_goes_on_when_it_may_again() {
    check(
        "alter role service nologin;
         select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'service'",
        "the hub cannot serve at the moment: the central database is not",
        "alter role service login",
    )
    .await;
}

#[tokio::test]
async fn while_the_disk_of_the_centre_is_full_sites_work_on_and_everything_arrives_when_there_is_room() {
    let Some(disk) = SmallDisk::mount(Kind::Tmpfs, 192) else { return };
    let world = Deployment::start_on(Cluster::start_durable_in(disk.path()), &[HEADQUARTERS, WAREHOUSE]).await;
    let edge = world.edge(0);
    let api = edge.api().await;
    world.assert_equal_dumps().await;
    disk.fill();
    let mut acknowledged = 0;
    let mut write = async |number: usize| {
        let task = json!({"title": format!("kept {number}"), "description": "x".repeat(9_000)});
        api.post("/tasks", &task).await.expect(201);
        acknowledged += 1;
    };
    for number in 0..400 {
        write(number).await;
    }
    edge.sync_now().await;
    let said = reason(edge).await;
    assert!(said.contains("the hub cannot serve at the moment"), "{said}");
    write(400).await;
    api.get("/tasks?q=kept").await.expect(200);
    disk.make_room();
    world.cluster().revive();
    world.assert_equal_dumps().await;
    assert_eq!(world.sql("select count(*) from tasks where title like 'kept %'").await, acknowledged.to_string());
    is_integral(&world).await;
}

#[tokio::test]
async fn a_task_that_leaves_the_tenant_while_a_site_edits_it_is_listed_there_and_nothing_of_it_follows() {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE, OFFICE]).await;
    let edge = world.edge(0);
    edge.api().await;
    world.sql(&(insert(1, "old") + &insert(2, "old"))).await;
    world.assert_equal_dumps().await;
    edge.link().cut();
    edge.sqlite(&(retitle(1, "secret of acme") + &retitle(2, "edited"))).await;
    let other = "(select id from tenants where slug = 'techstart')";
    world.sql(&format!("update tasks set tenant_id = {other} where id = '{}'", id(1))).await;
    edge.link().heal();
    edge.sync_now().await;
    edge.until_status("the edit is refused", |status| status["quarantined"] == 1 && status["pending"] == 0).await;
    world.assert_equal_dumps_of(vec![world.edge(1), world.edge(2)]).await;
    eventually("the site shows others what the centre has", async || {
        let differences = dumps::differences(&world.dump_hub("acme-corp").await, &edge.dump().await);
        if differences.is_empty() { Ok(()) } else { Err(differences.join("\n")) }
    })
    .await;
    assert_eq!(titles(&world, 1..=2).await, ["-", "edited"], "of this tenant");
    assert_eq!(world.edge(2).sqlite(&format!("select title from tasks where id = '{}'", id(1))).await, "old");
    assert_eq!(world.edge(2).link().answers_with("secret of acme"), Vec::<String>::new());
    assert!(world.hub_command(&["quarantine", "list"]).await.succeeded().contains(&id(1)));
    let refused = edge.api().await.get("/sync/quarantine").await.expect(200);
    let entry = refused["items"][0]["id"].as_str().expect("an entry has an id").to_owned();
    edge.command(&["quarantine", "discard", &entry]).await.succeeded();
    edge.sync_now().await;
    world.assert_equal_dumps().await;
    assert_eq!(edge.sqlite(&format!("select count(*) from tasks where id = '{}'", id(1))).await, "0");
    is_integral(&world).await;
}
