//! A link cut at a chosen byte, then healed.
//!
//! The table is: push and pull, their requests and answers, five positions, by FIN and by RST; and the texts that a
//! middlebox shortened and framed anew, which HTTP itself cannot notice.

use serde_json::json;
use tests::deployment::{Deployment, HEADQUARTERS, WAREHOUSE};
use tests::fault_proxy::{Ending, Fault, Link, Part, Position, Route};
use tests::wait::{Stopwatch, eventually};

use crate::{ACME, id};

/// The rows that one exchange carries; enough for a body of several hundred bytes.
const ROWS: u32 = 25;

/// Every cut of one route.
fn cuts_of(route: Route) -> Vec<Fault> {
    let mut faults = Vec::new();
    for part in [Part::Request, Part::Answer] {
        for at in
            [Position::Before, Position::InHeaders, Position::AtFrameBoundary, Position::MidRow, Position::LastByte]
        {
            for ending in [Ending::Fin, Ending::Rst] {
                faults.push(Fault { route, part, at, ending });
            }
        }
        for at in [Position::AtFrameBoundary, Position::MidRow, Position::LastByte] {
            faults.push(Fault { route, part, at, ending: Ending::Shortened });
        }
    }
    faults
}

/// A row's version as the hub stores it, and as the edge does; they must not grow by a repetition.
async fn versions(world: &Deployment, row: &str) -> (serde_json::Value, serde_json::Value) {
    let hub = world.sql(&format!("select vv from sync.row_versions where row_id = '{row}'")).await;
    let edge = world.edge(0).sqlite(&format!("select vv from sync_rows where row_id = '{row}'")).await;
    let parse = |text: &str| serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    (parse(&hub), parse(&edge))
}

/// `ROWS` tasks that both sides hold.
async fn world_with_tasks() -> Deployment {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    let values: Vec<String> = (0..ROWS).map(|row| format!("('{}', '{ACME}', 'first')", id(row))).collect();
    world.sql(&format!("insert into tasks (id, tenant_id, title) values {}", values.join(", "))).await;
    world.assert_equal_dumps().await;
    world
}

#[tokio::test]
async fn a_push_that_is_cut_anywhere_has_exactly_one_effect_once_the_link_is_healed() {
    let world = world_with_tasks().await;
    let edge = world.edge(0);
    let mut longest = (0.0_f64, None);
    let faults = cuts_of(Route::Push);
    for (round, fault) in faults.iter().enumerate() {
        let title = format!("push {round}");
        edge.link().set_fault(*fault);
        // One transaction of a plain client, so that one batch carries the rows; and one write of a person, which is audited.
        edge.sqlite(&format!("update tasks set title = '{title}' where id like '7e57%' and id < '{}'", id(ROWS - 1)))
            .await;
        let audited = id(ROWS - 1);
        let path = format!("/tasks/{audited}");
        edge.api().await.patch(&path, &json!({"title": title})).await.expect(200);
        eventually(
            &format!("{fault:?} happens"),
            async || {
                if edge.link().fault_happened() { Ok(()) } else { Err(edge.log()) }
            },
        )
        .await;
        let watch = Stopwatch::start();
        edge.link().heal();
        edge.sync_now().await;
        world.assert_equal_dumps().await;
        longest = if watch.ms() > longest.0 { (watch.ms(), Some(*fault)) } else { longest };
        let done = world.sql(&format!("select count(*) from tasks where title = '{title}'")).await;
        assert_eq!(done, ROWS.to_string(), "{fault:?}");
        let records = format!("select count(*) from audit_logs where action = 'update' and resource_id = '{audited}'");
        assert_eq!(world.sql(&records).await, (round + 1).to_string(), "one audit record a write: {fault:?}");
        let before = versions(&world, &id(0)).await;
        assert_eq!(before.0, before.1, "the centre has added nothing to the row: {fault:?}");
        edge.command(&["sync"]).await.succeeded();
        assert_eq!(versions(&world, &id(0)).await, before, "{fault:?}");
    }
    assert_eq!(world.sql("select count(*) from sync.conflicts").await, "0");
    println!("{} cuts of a push; healed to equal dumps in at most {:.0} ms ({:?})", faults.len(), longest.0, longest.1);
}

#[tokio::test]
async fn a_pull_that_is_cut_anywhere_is_applied_exactly_once_after_the_link_is_healed() {
    let world = world_with_tasks().await;
    let edge = world.edge(0);
    let mut longest = (0.0_f64, None);
    let faults = cuts_of(Route::Pull);
    for (round, fault) in faults.iter().enumerate() {
        let title = format!("pull {round}");
        // The pull that waits already has sent its request; a cut of a request falls on the one after it.
        edge.link().set_fault(*fault);
        world.sql(&format!("update tasks set title = '{title}' where id::text like '7e57%'")).await;
        eventually(
            &format!("{fault:?} happens"),
            async || {
                if edge.link().fault_happened() { Ok(()) } else { Err(edge.log()) }
            },
        )
        .await;
        let shown = edge.sqlite(&format!("select count(*) from tasks where title = '{title}'")).await;
        assert!(shown == "0" || shown == ROWS.to_string(), "a part of a page was applied: {shown} rows, {fault:?}");
        let watch = Stopwatch::start();
        edge.link().heal();
        edge.sync_now().await;
        world.assert_equal_dumps().await;
        longest = if watch.ms() > longest.0 { (watch.ms(), Some(*fault)) } else { longest };
        let done = edge.sqlite(&format!("select count(*) from tasks where title = '{title}'")).await;
        assert_eq!(done, ROWS.to_string(), "{fault:?}");
        let (hub, own) = versions(&world, &id(0)).await;
        assert_eq!(hub, own, "{fault:?}");
    }
    assert_eq!(world.sql("select count(*) from sync.conflicts").await, "0");
    println!("{} cuts of a pull; healed to equal dumps in at most {:.0} ms ({:?})", faults.len(), longest.0, longest.1);
}

#[tokio::test]
async fn a_push_that_is_sent_again_later_changes_nothing() {
    let world = world_with_tasks().await;
    let edge = world.edge(0);
    edge.api().await.patch(&format!("/tasks/{}", id(0)), &json!({"title": "sent once"})).await.expect(200);
    edge.api().await.post("/tasks", &json!({"title": "made once"})).await.expect(201);
    world.assert_equal_dumps().await;
    world.sql(&format!("update tasks set title = 'later' where id = '{}'", id(0))).await;
    world.sql("delete from tasks where title = 'made once'").await;
    world.assert_equal_dumps().await;
    let state = "select string_agg(v::text, ';' order by table_id, row_id) from sync.row_versions v";
    let audit = "select count(*) from audit_logs";
    let before = (world.dump_hub("acme-corp").await, world.sql(state).await, world.sql(audit).await);
    let pushes = edge.link().exchanges_of(Route::Push);
    assert!(!pushes.is_empty());
    for push in pushes.iter().chain(pushes.iter().rev()) {
        let status = push.send_again(world.hub(0).port()).await;
        println!("a push of long ago is answered with {status}");
        assert!([200, 409].contains(&status), "{status}");
    }
    let after = (world.dump_hub("acme-corp").await, world.sql(state).await, world.sql(audit).await);
    assert_eq!(after, before);
    // The real edge is not locked out by the copy of its own words.
    edge.sqlite(&format!("update tasks set title = 'goes on' where id = '{}'", id(1))).await;
    world.assert_equal_dumps().await;
    assert_eq!(world.sql(&format!("select title from tasks where id = '{}'", id(1))).await, "goes on");
}

#[tokio::test]
async fn a_captive_portal_is_offline_and_loses_nothing() {
    let world = world_with_tasks().await;
    let edge = world.edge(0);
    let portals = [
        ("text/html", "<!doctype html><title>Welcome to the airport</title>"),
        ("application/json", "{}"),
        ("application/x-ndjson", ""),
        ("application/x-ndjson", "{\"end\":0}\n"),
    ];
    for (round, (media_type, body)) in portals.into_iter().enumerate() {
        let cursor = edge.sqlite("select cursor from sync_self").await;
        let seen = edge.link().exchanges().len();
        edge.link().set_link(Link::Portal { media_type, body });
        let title = format!("behind portal {round}");
        edge.sqlite(&format!("update tasks set title = '{title}' where id = '{}'", id(0))).await;
        world.sql(&format!("update tasks set title = 'beyond portal {round}' where id = '{}'", id(1))).await;
        eventually("the portal is asked", async || {
            let asked = edge.link().exchanges().len();
            if asked > seen + 1 { Ok(()) } else { Err(format!("{asked} exchanges")) }
        })
        .await;
        let status = edge.until_status("a portal is offline", |status| status["state"] == "offline").await;
        assert_eq!((&status["in_sync"], &status["pending"]), (&json!(false), &json!(1)), "{status}");
        assert_eq!(edge.sqlite("select cursor from sync_self").await, cursor, "a portal moves no cursor");
        let by_hand = edge.command(&["sync"]).await;
        println!("sync through a portal that says {body:?}: {}", by_hand.failed(1));
        edge.link().heal();
        edge.sync_now().await;
        world.assert_equal_dumps().await;
        assert_eq!(world.sql(&format!("select title from tasks where id = '{}'", id(0))).await, title);
    }
}

#[tokio::test]
async fn a_link_that_swallows_everything_delays_nobody_at_the_site_and_heals() {
    let world = world_with_tasks().await;
    let edge = world.edge(0);
    edge.link().set_link(Link::Silent);
    let watch = Stopwatch::start();
    for round in 0..10 {
        let title = format!("in silence {round}");
        edge.api().await.patch(&format!("/tasks/{}", id(0)), &json!({"title": title})).await.expect(200);
    }
    println!("10 writes at a site whose link swallows everything: {:.0} ms", watch.ms());
    let status = edge.status().await;
    assert_eq!((&status["in_sync"], &status["pending"]), (&json!(false), &json!(1)), "{status}");
    edge.link().heal();
    world.assert_equal_dumps().await;
    assert_eq!(world.sql(&format!("select title from tasks where id = '{}'", id(0))).await, "in silence 9");
}

#[tokio::test]
async fn a_link_that_comes_and_goes_ends_in_equal_dumps_without_a_storm_of_requests() {
    let world = world_with_tasks().await;
    let edge = world.edge(0);
    let rounds = if tests::campaign::campaign() { 400 } else { 20 };
    for round in 0..rounds {
        edge.link().cut();
        edge.sqlite(&format!("update tasks set title = 'flap {round}' where id = '{}'", id(round % ROWS))).await;
        world.sql(&format!("update tasks set description = 'flap {round}' where id = '{}'", id(round % ROWS))).await;
        edge.link().heal();
    }
    world.assert_equal_dumps().await;
    let requests = edge.link().exchanges().len();
    println!("{rounds} times cut and healed: {requests} requests");
    assert!(requests < 40 * rounds as usize + 100, "a storm of {requests} requests");
}
