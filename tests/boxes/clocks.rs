//! Clocks that stand wrong, jump, or died with their battery.

use serde_json::{Value, json};
use tests::api::Api;
use tests::deployment::{Deployment, Edge, HEADQUARTERS, WAREHOUSE};
use tests::fake_clock::FakeClock;

use crate::{id, insert_task};

/// How far ahead of its own clock the hub lets a stamp stand, and what the machine may lose between two readings.
const AHEAD_MS_MAX: i64 = 5 * 60 * 1000 + 60_000;
const HOUR_MS: i64 = 60 * 60 * 1000;

/// The centre's clock, in Unix milliseconds.
async fn centre_ms(world: &Deployment) -> i64 {
    number(&world.sql("select (extract(epoch from clock_timestamp()) * 1000)::bigint").await)
}

fn number(text: &str) -> i64 {
    text.parse().unwrap_or_else(|error| panic!("{text:?} is no number: {error}"))
}

/// A box at headquarters that starts with its clock set, and another one whose clock is right.
async fn world_with(clock: &FakeClock, setting: &str) -> Deployment {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    let edge = world.edge(0);
    edge.stop();
    clock.set(setting);
    edge.surround(clock.surroundings());
    edge.start().await;
    world
}

async fn create(api: &Api, title: &str) -> String {
    let row = api.post("/tasks", &json!({"title": title})).await.expect(201);
    row["id"].as_str().expect("a row has an id").to_owned()
}

/// The highest stamp of a row at the centre, and that the edge holds the very same version.
async fn stamp_of(world: &Deployment, edge: &Edge, row: &str) -> i64 {
    let hub = world.sql(&format!("select dots from sync.row_versions where row_id = '{row}'")).await;
    let own = edge.sqlite(&format!("select dots from sync_rows where row_id = '{row}'")).await;
    let parse = |text: &str| -> Value { serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}")) };
    assert_eq!(parse(&hub), parse(&own), "the edge holds the stamps that the hub gave");
    let dots = parse(&hub);
    let stamps = dots.as_object().expect("dots are an object").values().map(|dot| dot[2].as_i64().expect("a stamp"));
    stamps.max().expect("a row has a dot") >> 16
}

/// What is written under a wrong clock is taken, arrives, and neither drags others along nor outlives what knew it.
async fn check(setting: &str, offset: impl Fn(i64, i64) -> i64) {
    let clock = FakeClock::new();
    let world = world_with(&clock, setting).await;
    let edge = world.edge(0);
    let api = edge.api().await.clone();
    let begun_ms = centre_ms(&world).await;
    let by_person = create(&api, &format!("written at {setting}")).await;
    let offline = {
        edge.link().cut();
        let row = create(&api, &format!("written offline at {setting}")).await;
        api.patch(&format!("/tasks/{row}"), &json!({"status": "done"})).await.expect(200);
        edge.link().heal();
        row
    };
    edge.sync_now().await;
    world.assert_equal_dumps().await;
    for row in [&by_person, &offline] {
        let stamp_ms = stamp_of(&world, edge, row).await;
        let now_ms = centre_ms(&world).await;
        assert!(stamp_ms <= now_ms + AHEAD_MS_MAX, "{setting}: the stamp is {} ms ahead", stamp_ms - now_ms);
    }
    // Whoever has seen the write wins over it, whatever its stamp says; here, there and at the centre.
    world.sql(&format!("update tasks set title = 'seen by the centre' where id = '{by_person}'")).await;
    world.assert_equal_dumps().await;
    world
        .edge(1)
        .api()
        .await
        .patch(&format!("/tasks/{offline}"), &json!({"title": "seen by the other"}))
        .await
        .expect(200);
    world.assert_equal_dumps().await;
    api.patch(&format!("/tasks/{by_person}"), &json!({"title": "last word"})).await.expect(200);
    world.assert_equal_dumps().await;
    for (row, title) in [(&by_person, "last word"), (&offline, "seen by the other")] {
        assert_eq!(world.sql(&format!("select title from tasks where id = '{row}'")).await, title, "{setting}");
    }
    assert_eq!(world.sql("select count(*) from sync.conflicts").await, "0", "nobody wrote without having seen");
    let status = edge.status().await;
    let told = status["hub_time_offset_ms"].as_i64().unwrap_or_else(|| panic!("no offset: {status}"));
    let wanted = offset(begun_ms, centre_ms(&world).await);
    assert!((told - wanted).abs() < 60_000, "{setting}: the offset is told as {told}, and is about {wanted}");
    println!("{setting}: offset {told} ms");
}

#[tokio::test]
async fn a_box_that_boots_in_1970_works_and_loses_nothing() {
    check("@1970-01-01 00:00:10", |_, now_ms| now_ms).await;
}

#[tokio::test]
async fn a_box_that_boots_in_2099_works_and_drags_nobody_along() {
    const IN_2099_MS: i64 = 4_070_908_800_000;
    check("@2099-01-01 00:00:00", |_, now_ms| now_ms - IN_2099_MS).await;
}

#[tokio::test]
async fn a_box_that_is_an_hour_ahead_works() {
    check("+3600", |_, _| -HOUR_MS).await;
}

#[tokio::test]
async fn a_box_that_is_an_hour_behind_works() {
    check("-3600", |_, _| HOUR_MS).await;
}

#[tokio::test]
async fn a_clock_that_jumps_while_the_box_works_signs_nobody_out_and_is_told_at_once() {
    let clock = FakeClock::new();
    let world = world_with(&clock, "@1970-01-01 00:00:10").await;
    let edge = world.edge(0);
    // Signed in with the clock at 1970, as after a power cut; then the network sets it, and worse.
    let api = edge.api().await.clone();
    let expires_at = api.get("/me").await.expect(200)["expires_at"].clone();
    assert!(expires_at.as_str().is_some_and(|at| at.starts_with("1970-01-08")), "{expires_at}");
    let mut rows = Vec::new();
    for (round, setting) in
        ["+0", "@2099-12-31 23:59:50", "-3600", "+7776000", "@1971-01-01 00:00:00", "+0"].iter().enumerate()
    {
        clock.set(setting);
        assert_eq!(api.get("/me").await.status, 200, "{setting}: nobody is signed out by a jump");
        rows.push(create(&api, &format!("round {round} at {setting}")).await);
        edge.sqlite(&insert_task(&id(u32::try_from(round).expect("a few")), "by a plain client")).await;
    }
    let status = edge.status().await;
    let told = status["hub_time_offset_ms"].as_i64().unwrap_or_else(|| panic!("no offset: {status}"));
    assert!(told.abs() < 60_000, "the clock is right again, and the status knows before the next exchange: {told}");
    clock.set("+3600");
    let told = edge.status().await["hub_time_offset_ms"].as_i64().expect("an offset");
    assert!((told + HOUR_MS).abs() < 60_000, "{told}");
    clock.set("+0");
    let expires_at = api.get("/me").await.expect(200)["expires_at"].clone();
    let this_year = world.sql("select to_char(now(), 'YYYY')").await;
    assert!(expires_at.as_str().is_some_and(|at| at.starts_with(&this_year)), "in this clock's time: {expires_at}");
    edge.sync_now().await;
    world.assert_equal_dumps().await;
    for row in &rows {
        let stamp_ms = stamp_of(&world, edge, row).await;
        assert!(stamp_ms <= centre_ms(&world).await + AHEAD_MS_MAX);
    }
}

#[tokio::test]
async fn a_request_repeated_after_a_jump_of_the_clock_is_still_done_once() {
    let clock = FakeClock::new();
    let world = world_with(&clock, "+0").await;
    let api = world.edge(0).api().await.clone();
    let key = [("idempotency-key", "one-of-a-kind")];
    let mut ids = Vec::new();
    for setting in ["+0", "@2099-01-01 00:00:00", "@1970-01-01 00:00:10", "+0"] {
        clock.set(setting);
        let body = json!({"title": "only once"}).to_string();
        let answer = api.try_send(reqwest::Method::POST, "/tasks", Some(body), &key).await.expect("the edge answers");
        let row: Value = serde_json::from_str(&answer.text).unwrap_or_else(|error| panic!("{answer}: {error}"));
        ids.push(row["id"].clone());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    // A box that starts with its clock years back goes on where it was: nobody is signed out, nothing is forgotten.
    world.edge(0).stop();
    clock.set("@1980-01-01 00:00:00");
    world.edge(0).start().await;
    let again =
        api.try_send(reqwest::Method::POST, "/tasks", Some(json!({"title": "only once"}).to_string()), &key).await;
    assert_eq!(again.expect("the edge answers").expect(201)["id"], ids[0]);
    world.assert_equal_dumps().await;
    assert_eq!(world.sql("select count(*) from tasks where title = 'only once'").await, "1");
}

#[tokio::test]
async fn a_lock_out_neither_ends_nor_grows_by_a_jump_and_a_new_pin_ends_it_under_any_clock() {
    let clock = FakeClock::new();
    let world = world_with(&clock, "@2099-01-01 00:00:00").await;
    let edge = world.edge(0);
    let set = ["user", "set-pin", "operator@acme-corp.com", "--site", "headquarters"];
    world.hub_command_with(&set, "271828\n").await.succeeded();
    world.assert_equal_dumps().await;
    let guest = Api::new(edge.port(), None);
    let sign_in = |secret: &str| json!({"email": "operator@acme-corp.com", "secret": secret});
    let mut status = 0;
    for _ in 0..6 {
        status = guest.post("/session", &sign_in("000000")).await.status;
    }
    assert_eq!(status, 429, "locked out after a few");
    for setting in ["+0", "@2099-06-01 00:00:00", "@1970-01-01 00:00:10", "+0"] {
        clock.set(setting);
        assert_eq!(guest.post("/session", &sign_in("271828")).await.status, 429, "{setting}: a jump ends no wait");
    }
    world.hub_command_with(&set, "314159\n").await.succeeded();
    tests::wait::eventually("the new PIN opens", async || {
        let answer = guest.post("/session", &sign_in("314159")).await;
        if [200, 201].contains(&answer.status) { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
}
