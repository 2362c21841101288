//! The central schema as other programs meet it: plain SQL on a migrated database.

use sync::pg::schema;
use tests::postgres::{Cluster, empty_database, shared_cluster};

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
    assert_eq!(versions, (1..=7).collect::<Vec<_>>());
}

#[tokio::test]
async fn two_databases_of_one_cluster_migrate_at_once_although_they_share_the_role() {
    let cluster = Cluster::start();
    cluster.create_database("left").await;
    cluster.create_database("right").await;
    let (mut left, mut right) = (cluster.connect("left").await, cluster.connect("right").await);
    let (left, right) = tokio::join!(schema::migrate(&mut left), schema::migrate(&mut right));
    assert_eq!((left.unwrap().len(), right.unwrap().len()), (7, 7));
}
