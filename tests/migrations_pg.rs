//! The central schema as other programs meet it: plain SQL on a migrated database.

use tests::postgres::Cluster;

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
