//! A central database in trouble: rights taken, rows hidden, no connections, no disk, rows that move. Sites work on, are told
//! why nothing arrives, and nothing is lost or half done.

use tests::deployment::{Deployment, Edge, HEADQUARTERS, OFFICE, WAREHOUSE};
use tests::dumps;
use tests::wait::eventually;

use crate::restores::{insert, is_integral, retitle, titles};
use crate::{ACME, id};

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
        "alter table tasks enable row level security; update sync.edges set verified_at = now() - interval '3 days'",
        "lacks a right in the central database",
        "alter table tasks disable row level security",
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
