//! A box by itself: who may run on it, who may sign in, and what it keeps when nobody wants it.

use std::time::Duration;

use serde_json::json;
use tests::api::Api;
use tests::deployment::{Deployment, HEADQUARTERS, WAREHOUSE};
use tests::wait::{Stopwatch, eventually};

use crate::{id, insert_task, until_task};

#[tokio::test]
async fn a_revoked_edge_keeps_what_waits_and_goes_on_working_for_its_people() {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    let edge = world.edge(0);
    let api = edge.api().await.clone();
    edge.link().cut();
    api.post("/tasks", &json!({"title": "waits for ever"})).await.expect(201);
    println!("{}", world.hub_command(&["edge", "revoke", "hq-1"]).await.succeeded());
    edge.link().heal();
    let status = edge.until_status("the edge knows", |status| status["state"] == "revoked").await;
    assert_eq!((&status["pending"], &status["in_sync"]), (&json!(1), &json!(false)), "{status}");
    edge.sqlite(&insert_task(&id(1), "written when revoked")).await;
    let status = edge.until_status("two rows wait", |status| status["pending"] == 2).await;
    assert_eq!(status["state"], "revoked", "{status}");
    assert_eq!(
        world.sql("select count(*) from tasks where title in ('waits for ever', 'written when revoked')").await,
        "0"
    );
    let synced = edge.command(&["sync"]).await;
    println!("sync of a revoked edge: {}", synced.failed(1));
    // A restart forgets nothing either.
    edge.stop();
    edge.start().await;
    let status = edge.until_status("the edge knows still", |status| status["state"] == "revoked").await;
    assert_eq!(status["pending"], 2, "{status}");
    // The canary that the revoked edge must not learn.
    world.sql(&insert_task(&id(2), "canary-after-revocation")).await;
    until_task(world.edge(1), &id(2), "title", "canary-after-revocation").await;
    edge.sync_now().await;
    assert_eq!(edge.link().answers_with("canary-after-revocation"), Vec::<String>::new());
    assert!(world.hub_command(&["edge", "list"]).await.succeeded().contains("revoked"));
    world.assert_equal_dumps_of(vec![world.edge(1)]).await;
}

#[tokio::test]
async fn a_second_edge_process_on_the_same_folder_ends_at_once_and_says_why() {
    let world = Deployment::start(&[HEADQUARTERS]).await;
    let edge = world.edge(0);
    let second = tokio::time::timeout(Duration::from_secs(5), edge.command(&["serve"])).await;
    let message = second.expect("it ends at once").failed(1);
    println!("a second edge says: {message}");
    assert!(message.contains(&edge.data().display().to_string()), "it names the folder: {message}");
    assert_eq!(edge.status().await["state"], "online", "the first one is untouched");
    world.assert_equal_dumps().await;
    // A lock dies with its process.
    edge.kill();
    edge.start().await;
    world.assert_equal_dumps().await;
}

#[tokio::test]
async fn a_person_signs_in_offline_with_the_pin_that_the_centre_set() {
    let world = Deployment::start(&[HEADQUARTERS]).await;
    let edge = world.edge(0);
    let set = ["user", "set-pin", "operator@acme-corp.com", "--site", "headquarters"];
    world.hub_command_with(&set, "271828\n").await.succeeded();
    // A sign-in that is tried too early counts as a wrong one, and a few of these lock the person out for a while.
    eventually("the PIN has reached the site", async || {
        let told = !edge.link().answers_with("$argon2id$").is_empty();
        if told { Ok(()) } else { Err(edge.log()) }
    })
    .await;
    world.assert_equal_dumps().await;
    let guest = Api::new(edge.port(), None);
    let sign_in = json!({"email": "operator@acme-corp.com", "secret": "271828"});
    edge.link().cut();
    edge.stop();
    edge.start().await;
    let answer = guest.post("/session", &sign_in).await;
    assert!([200, 201].contains(&answer.status), "{answer}");
    let session: serde_json::Value = serde_json::from_str(&answer.text).expect("a session is JSON");
    let token = session["token"].as_str().unwrap_or_else(|| panic!("no token: {answer}"));
    let mei = Api::new(edge.port(), Some(token.to_owned()));
    let me = mei.get("/me").await.expect(200);
    assert!(me.to_string().contains("operator@acme-corp.com"), "{me}");
    let made = mei.post("/tasks", &json!({"title": "signed in offline"})).await.expect(201);
    assert_eq!(made["_sync"]["state"], "waiting", "{made}");
    let wrong = json!({"email": "operator@acme-corp.com", "secret": "000000"});
    println!("a wrong PIN: {}", guest.post("/session", &wrong).await);
    assert_eq!(guest.post("/session", &wrong).await.status, 401);
    assert_eq!(guest.get("/tasks").await.status, 401);
    mei.delete("/session").await.expect(204);
    assert_eq!(mei.get("/tasks").await.status, 401, "a session that was ended is no session");
    edge.link().heal();
    world.assert_equal_dumps().await;
    let by = world
        .sql("select email from audit_logs a join users u on u.id = a.user_id where action = 'create' and details::text is not null
              and resource_id = (select id from tasks where title = 'signed in offline')")
        .await;
    assert_eq!(by, "operator@acme-corp.com");
}

#[tokio::test]
async fn an_exchange_that_is_asked_for_does_not_wait_for_the_pull_that_waits() {
    let world = Deployment::start(&[HEADQUARTERS]).await;
    let edge = world.edge(0);
    for round in 0..3 {
        // A push that nobody asked for comes in between; it must not make the edge forget its waiting pull.
        edge.api().await.post("/tasks", &json!({"title": format!("round {round}")})).await.expect(201);
        world.assert_equal_dumps().await;
        let watch = Stopwatch::start();
        let synced = tokio::time::timeout(Duration::from_secs(15), edge.command(&["sync"])).await;
        synced.expect("a pull waits at the hub for most of a minute").succeeded();
        println!("an exchange that is asked for: {:.0} ms", watch.ms());
    }
}

#[tokio::test]
async fn commands_work_beside_a_running_edge_and_without_one() {
    let world = Deployment::start(&[HEADQUARTERS]).await;
    let edge = world.edge(0);
    world.assert_equal_dumps().await;
    let running = edge.dump().await;
    assert!(edge.command(&["status"]).await.succeeded().contains("online"));
    edge.command(&["sync"]).await.succeeded();
    edge.stop();
    assert_eq!(edge.dump().await, running);
    edge.command(&["status"]).await.succeeded();
    let status = edge.command(&["status", "--json"]).await.succeeded();
    assert!(serde_json::from_str::<serde_json::Value>(&status).is_ok(), "{status}");
    world.sql(&insert_task(&id(1), "while no edge runs")).await;
    edge.command(&["sync"]).await.succeeded();
    assert!(edge.dump().await.contains("while no edge runs"));
    edge.link().cut();
    let offline = edge.command(&["sync"]).await;
    println!("sync without a hub: {}", offline.failed(1));
    let tasks = edge.command(&["dump", "--table", "tasks"]).await.succeeded();
    assert!(tasks.lines().count() > 1 && tasks.lines().all(|line| line.starts_with("{\"table\":\"tasks\",")));
    edge.link().heal();
    edge.start().await;
    world.assert_equal_dumps().await;
}
