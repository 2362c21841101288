//! How a central database comes to be: the migrations, who may run them, and the sample data.

use chrono::{DateTime, TimeDelta};
use sync::admin::seed::{self, Seeded};
use sync::pg::{StoreError, schema};
use tests::postgres::{Cluster, connect, empty_database, fresh_database, shared_cluster};
use tokio_postgres::Client;

#[tokio::test]
async fn killed_durable_cluster_starts_again_with_its_rows() {
    let cluster = Cluster::start_durable();
    cluster.create_database("kept").await;
    let client = cluster.connect("kept").await;
    client.batch_execute("create table kept (id int); insert into kept values (7)").await.unwrap();
    cluster.kill();
    cluster.start_again();
    let row = cluster.connect("kept").await.query_one("select id from kept", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 7);
}

#[tokio::test]
async fn migrating_an_empty_database_applies_every_file_and_a_second_run_nothing() {
    let database = empty_database().await;
    let mut client = shared_cluster().connect(&database).await;
    let before = schema::status(&client).await.unwrap();
    assert!(before.applied.is_empty());
    let applied = schema::migrate(&mut client).await.unwrap();
    assert_eq!(
        applied.iter().map(|migration| (migration.version, migration.checksum)).collect::<Vec<_>>(),
        before.pending.iter().map(|migration| (migration.version, migration.checksum)).collect::<Vec<_>>(),
    );
    assert_eq!(applied.first().map(|migration| migration.name.as_str()), Some("enums"));
    assert_eq!(schema::migrate(&mut client).await.unwrap(), []);
    let after = schema::status(&client).await.unwrap();
    assert_eq!((after.applied, after.pending), (applied, Vec::new()));
    assert_eq!(schema::validate(&client).await.unwrap(), []);
}

#[tokio::test]
async fn two_runners_at_once_apply_each_file_once() {
    let database = empty_database().await;
    let (mut left, mut right) = (shared_cluster().connect(&database).await, shared_cluster().connect(&database).await);
    let (left, right) = tokio::join!(schema::migrate(&mut left), schema::migrate(&mut right));
    let mut versions: Vec<i32> =
        left.unwrap().into_iter().chain(right.unwrap()).map(|migration| migration.version).collect();
    versions.sort_unstable();
    assert_eq!(versions, (1..=8).collect::<Vec<_>>());
}

#[tokio::test]
async fn two_databases_of_one_cluster_migrate_at_once_although_they_share_the_role() {
    let cluster = Cluster::start();
    cluster.create_database("left").await;
    cluster.create_database("right").await;
    let (mut left, mut right) = (cluster.connect("left").await, cluster.connect("right").await);
    let (left, right) = tokio::join!(schema::migrate(&mut left), schema::migrate(&mut right));
    assert_eq!((left.unwrap().len(), right.unwrap().len()), (8, 8));
}

#[tokio::test]
async fn an_owner_who_is_no_superuser_migrates_and_becomes_the_hub_when_it_may_make_roles() {
    for (attributes, role_exists, may_become) in [("createrole", false, true), ("nocreaterole", true, false)] {
        let cluster = Cluster::start();
        let admin = cluster.connect("postgres").await;
        admin.batch_execute(&format!("create role owning login {attributes}")).await.unwrap();
        if role_exists {
            admin.batch_execute("create role waystation_hub nologin").await.unwrap();
        }
        admin.batch_execute("create database owned owner owning").await.unwrap();
        let mut owner = connect(&cluster.url_as("owning", "owned")).await;
        assert_eq!(schema::migrate(&mut owner).await.unwrap().len(), 8);
        assert_eq!(owner.batch_execute("set role waystation_hub").await.is_ok(), may_become, "{attributes}");
        owner.batch_execute("reset role").await.unwrap();
        seed::seed(&mut owner, DateTime::UNIX_EPOCH).await.unwrap();
    }
}

#[tokio::test]
async fn an_owner_who_may_not_make_the_missing_role_is_told_what_to_ask_for() {
    let cluster = Cluster::start();
    let admin = cluster.connect("postgres").await;
    admin.batch_execute("create role owning login").await.unwrap();
    admin.batch_execute("create database owned owner owning").await.unwrap();
    let mut owner = connect(&cluster.url_as("owning", "owned")).await;
    let error = schema::migrate(&mut owner).await.unwrap_err();
    assert!(format!("{error:?}").contains("create role waystation_hub nologin"), "{error:?}");
    // The failed file left nothing behind, and the next run goes on from it.
    assert_eq!(schema::status(&owner).await.unwrap().pending.len(), 2);
    admin.batch_execute("create role waystation_hub nologin").await.unwrap();
    assert_eq!(schema::migrate(&mut owner).await.unwrap().len(), 2);
}

#[tokio::test]
async fn edited_removed_and_skipped_files_are_named_and_nothing_is_migrated() {
    let database = fresh_database().await;
    let mut client = shared_cluster().connect(&database).await;
    client
        .batch_execute(
            "update refinery_schema_history set checksum = '1' where version = 2;
             update refinery_schema_history set name = 'jobs' where version = 4;
             delete from refinery_schema_history where version = 5;
             insert into refinery_schema_history values (9000, 'from_the_future', '2030-01-01T00:00:00Z', '7')",
        )
        .await
        .unwrap();
    let differences = schema::validate(&client).await.unwrap();
    let named: Vec<String> = differences.iter().map(ToString::to_string).collect();
    assert_eq!(named.len(), 4, "{named:?}");
    assert!(named[0].starts_with("V0002__tenants_and_users was edited after it had run"), "{named:?}");
    assert_eq!(named[1], "version 4 ran as \"jobs\" but its file is named \"tasks\"");
    assert_eq!(named[2], "V0005__audit has not run but a later one has");
    assert_eq!(named[3], "V9000__from_the_future has run but this program does not have it");
    let refused = schema::migrate(&mut client).await.unwrap_err();
    assert!(matches!(refused, StoreError::Migrations(found) if found == differences));
}

#[tokio::test]
async fn a_new_database_is_an_incarnation_of_its_own_with_the_centre_as_its_first_replica() {
    let row =
        "select hub_id::text, r.name, encode(seal_key, 'hex') from sync.hub join sync.replicas r on r.id = replica";
    let mut seen = Vec::new();
    for _ in 0..2 {
        let database = empty_database().await;
        let mut client = shared_cluster().connect(&database).await;
        schema::migrate(&mut client).await.unwrap();
        let row = client.query_one(row, &[]).await.unwrap();
        assert_eq!(row.get::<_, String>(1), "centre");
        assert_eq!(row.get::<_, String>(2).len(), 64);
        seen.push((row.get::<_, String>(0), row.get::<_, String>(2)));
    }
    assert_ne!(seen[0].0, seen[1].0);
    assert_ne!(seen[0].1, seen[1].1);
}

/// Every row of every table of both schemas, as text.
async fn dump(client: &Client) -> Vec<String> {
    let tables = "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname in ('public', 'sync') and c.relkind = 'r' order by 1";
    let mut rows = Vec::new();
    for table in client.query(tables, &[]).await.unwrap() {
        let table: String = table.get(0);
        let statement =
            format!("select '{table} ' || ctid::text || xmin::text || t::text from {table} as t order by 1");
        rows.extend(client.query(&statement, &[]).await.unwrap().iter().map(|row| row.get::<_, String>(0)));
    }
    rows
}

#[tokio::test]
async fn seeding_twice_changes_nothing_the_second_time_whatever_the_hour() {
    let mut client = shared_cluster().connect(&fresh_database().await).await;
    let now = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
    let seeded = seed::seed(&mut client, now).await.unwrap();
    assert_eq!((seeded.tenants, seeded.users, seeded.sites, seeded.invitations), (4, 8, 4, 1));
    let first = dump(&client).await;
    assert_eq!(seed::seed(&mut client, now + TimeDelta::days(3)).await.unwrap(), Seeded::default());
    assert_eq!(dump(&client).await, first);
}

#[tokio::test]
async fn seeding_keeps_what_somebody_did_with_the_samples() {
    let mut client = shared_cluster().connect(&fresh_database().await).await;
    let now = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
    seed::seed(&mut client, now).await.unwrap();
    client
        .batch_execute("update tasks set title = 'mine', status = 'done'; update users set email = 'x' || email")
        .await
        .unwrap();
    let edited = dump(&client).await;
    assert_eq!(seed::seed(&mut client, now).await.unwrap(), Seeded::default());
    assert_eq!(dump(&client).await, edited);
}

#[tokio::test]
async fn seeding_beside_a_foreign_row_with_a_samples_slug_inserts_nothing_and_says_why() {
    let mut client = shared_cluster().connect(&fresh_database().await).await;
    client.batch_execute("insert into tenants (name, slug) values ('somebody else', 'techstart')").await.unwrap();
    let before = dump(&client).await;
    let error = seed::seed(&mut client, DateTime::UNIX_EPOCH).await.unwrap_err();
    assert_eq!(error.constraint(), Some("tenants_slug_is_unique"));
    assert_eq!(dump(&client).await, before);
}

#[tokio::test]
async fn the_sample_data_shows_every_state_that_a_device_or_task_can_be_in() {
    let mut client = shared_cluster().connect(&fresh_database().await).await;
    seed::seed(&mut client, DateTime::from_timestamp(1_790_000_000, 0).unwrap()).await.unwrap();
    let statement = "select
        (select count(distinct type) from devices) >= 8,
        (select count(distinct status) from devices) = cardinality(enum_range(null::device_status)),
        (select count(distinct status) from tasks) = cardinality(enum_range(null::task_status)),
        (select count(distinct priority) from tasks) = cardinality(enum_range(null::task_priority)),
        (select count(distinct role) from user_tenant_associations a join users u on u.id = a.user_id
          where u.email = 'consultant@external.com') >= 3,
        (select bool_and((status = 'done') = (completed_at is not null)) from tasks),
        (select bool_and(latitude is not null and timezone <> 'UTC') from sites),
        (select string_agg(slug || '/' || type || '/' || status, ' ' order by id) from tenants)
          = 'acme-corp/enterprise/active techstart/standard/active beta-solutions/starter/active demo-company/trial/pending'";
    let row = client.query_one(statement, &[]).await.unwrap();
    for column in 0..row.len() {
        assert!(row.get::<_, bool>(column), "condition {column}");
    }
}
