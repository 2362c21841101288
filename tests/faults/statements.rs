//! The hub's connection to its database breaks at the first call of an exchange, at the second, and so on.

use serde_json::json;
use tests::campaign::campaign;
use tests::deployment::{Deployment, HEADQUARTERS};
use tests::postgres_proxy::{Call, Moment, PostgresProxy};
use tests::wait::eventually;

use crate::{ACME, id};

/// More calls than any exchange makes.
const CALLS_MAX: u32 = 300;
/// Of how many calls the short form breaks one.
const STRIDE: u32 = 11;

/// Both sides write; the exchange of it breaks at a call, if it makes so many. What both wrote arrives all the same.
async fn exchange(world: &Deployment, proxy: &PostgresProxy, call: Call, number: u32, moment: Moment) -> bool {
    let edge = world.edge(0);
    let api = edge.api().await;
    let title = format!("{moment:?} {call:?} {number}");
    edge.link().cut();
    let row = api.post("/tasks", &json!({"title": title})).await.expect(201);
    api.patch(&format!("/tasks/{}", id(1)), &json!({"title": format!("{title} here")})).await.expect(200);
    let there = format!("update tasks set title = '{title} there' where id in ('{}', '{}')", id(1), id(2));
    world.sql(&there).await;
    proxy.fail(call, number, moment);
    edge.link().heal();
    edge.sync_now().await;
    let arrived = format!("select count(*) from tasks where id = '{}'", row["id"].as_str().expect("a row has an id"));
    let pulled = format!("select count(*) from tasks where id = '{}' and title = '{title} there'", id(2));
    eventually("what both wrote arrives", async || {
        let (up, down) = (world.sql(&arrived).await, edge.sqlite(&pulled).await);
        let pending = edge.status().await["pending"].clone();
        let done = up == "1" && down == "1" && pending == 0;
        if done { Ok(()) } else { Err(format!("up {up}, down {down}, {pending} wait\n{}", edge.log())) }
    })
    .await;
    proxy.take_failed()
}

#[tokio::test]
async fn wherever_the_hubs_connection_breaks_the_exchange_is_repeated_and_has_one_effect() {
    let mut world = Deployment::start(&[HEADQUARTERS]).await;
    let server = world.cluster().port();
    let proxy = PostgresProxy::start(server);
    let rows = format!("('{}', '{ACME}', 'first'), ('{}', '{ACME}', 'second')", id(1), id(2));
    world.sql(&format!("insert into tasks (id, tenant_id, title) values {rows}")).await;
    world.reach_database_by(proxy.url(world.database_url(), server)).await;
    world.assert_equal_dumps().await;
    let identities = async || {
        let centre = world.sql("select count(*) from sync.incarnations").await;
        (centre, world.edge(0).sqlite("select replica from sync_self").await)
    };
    let before = identities().await;
    let stride = if campaign() { 1 } else { STRIDE };
    for (call, stride) in [(Call::Commit, 1), (Call::Any, stride)] {
        for moment in [Moment::Before, Moment::After] {
            let (mut broken, mut number) = (0, 1);
            while exchange(&world, &proxy, call, number, moment).await {
                broken += 1;
                number += stride;
                assert!(number < CALLS_MAX, "every exchange breaks");
            }
            println!("{moment:?} {call:?}: {broken} exchanges broke, at calls 1 to {number}");
            // A push and a page have a commit each; what comes after them may come after what is waited for.
            assert!(broken >= 2, "hardly a call was seen");
        }
    }
    world.assert_equal_dumps().await;
    let twice = "select count(*) from (select resource_id, action, details from audit_logs
        where resource_type = 'task' and action = 'create' group by 1, 2, 3 having count(*) > 1) as twice";
    assert_eq!(world.sql(twice).await, "0", "an exchange that was repeated has one effect");
    // An answer to something that had not happened would heal, too: as a restored centre does.
    assert_eq!(identities().await, before, "nobody was taken for one that was restored");
    let log = world.hub(0).log();
    assert!(!log.contains("panicked") && !log.contains("code=\"internal\""), "{log}");
}
