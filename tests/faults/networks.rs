//! What stands between an edge and its hub and speaks HTTP too; names that lead nowhere; programs of another version.

use serde_json::json;
use sync::merge::limits::LONG_POLL_MS;
use tests::deployment::{Deployment, Edge, HEADQUARTERS, WAREHOUSE};
use tests::fake_clock::FakeClock;
use tests::fault_proxy::{Alteration, Link, Part, Route};
use tests::wait::{Stopwatch, eventually, within};

use crate::{ACME, id};

async fn world() -> Deployment {
    let world = Deployment::start(&[HEADQUARTERS]).await;
    let edge = world.edge(0);
    world.sql(&format!("insert into tasks (id, tenant_id, title) values ('{}', '{ACME}', 'first')", id(0))).await;
    world.assert_equal_dumps().await;
    edge.api().await.patch(&format!("/tasks/{}", id(0)), &json!({"title": "second"})).await.expect(200);
    world.assert_equal_dumps().await;
    world
}

/// Waits until the link was asked so many more times.
async fn until_asked(edge: &Edge, more: usize) {
    let wanted = edge.link().exchanges().len() + more;
    eventually("the link is asked", async || {
        let asked = edge.link().exchanges().len();
        if asked >= wanted { Ok(()) } else { Err(format!("{asked} of {wanted}\n{}", edge.log())) }
    })
    .await;
}

#[tokio::test]
async fn whatever_a_proxy_on_the_way_answers_is_offline_explained_and_loses_nothing() {
    let world = world().await;
    let edge = world.edge(0);
    let answers = [
        (
            "HTTP/1.1 302 Found\r\nlocation: http://portal.example/\r\ncontent-length: 0\r\n\r\n",
            "sign in to this network",
        ),
        ("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}", "sign in to this network"),
        ("HTTP/1.1 413 Too Large\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>", "let it pass 1 MiB"),
        ("HTTP/1.1 429 Slow\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>", "come back later"),
        ("HTTP/1.1 502 Bad\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>", "does not reach the hub"),
        ("HTTP/1.1 504 Late\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>", "does not reach the hub"),
    ];
    for (round, (answer, words)) in answers.into_iter().enumerate() {
        let cursor = edge.sqlite("select cursor from sync_self").await;
        edge.link().set_link(Link::Answers(answer));
        let title = format!("behind a proxy {round}");
        edge.api().await.patch(&format!("/tasks/{}", id(0)), &json!({"title": title})).await.expect(200);
        until_asked(edge, 2).await;
        let status = edge
            .until_status("the status explains it", |status| {
                status["last_error"].as_str().is_some_and(|why| why.contains(words)) && status["state"] == "offline"
            })
            .await;
        assert_eq!((&status["in_sync"], &status["pending"]), (&json!(false), &json!(1)), "{status}");
        assert_eq!(edge.sqlite("select cursor from sync_self").await, cursor, "nobody but the hub moves a cursor");
        edge.link().heal();
        edge.sync_now().await;
        world.assert_equal_dumps().await;
        assert_eq!(world.sql(&format!("select title from tasks where id = '{}'", id(0))).await, title);
    }
}

#[tokio::test]
async fn who_is_told_to_come_back_later_does_and_not_before() {
    let world = world().await;
    let edge = world.edge(0);
    edge.link().set_link(Link::Answers("HTTP/1.1 503 Busy\r\nretry-after: 120\r\ncontent-length: 0\r\n\r\n"));
    until_asked(edge, 1).await;
    let asked = edge.link().exchanges().len();
    // A write is no reason to come back earlier; without the word it would have been tried several times by now.
    for number in 0..8 {
        let title = format!("meanwhile {number}");
        edge.api().await.patch(&format!("/tasks/{}", id(0)), &json!({"title": title})).await.expect(200);
        edge.command(&["status"]).await.succeeded();
    }
    within(10_000, "a few seconds pass", {
        let mut looks = 0;
        async move || {
            looks += 1;
            if looks > 200 { Ok(()) } else { Err(String::new()) }
        }
    })
    .await;
    assert_eq!(edge.link().exchanges().len(), asked, "{}", edge.log());
    edge.link().heal();
    edge.sync_now().await;
    world.assert_equal_dumps().await;
}

#[tokio::test]
async fn an_old_answer_out_of_a_proxys_store_is_not_believed() {
    let world = world().await;
    let edge = world.edge(0);
    let state = "select cursor, seq, token from sync_self";
    edge.link().set_link(Link::Stale);
    edge.api().await.patch(&format!("/tasks/{}", id(0)), &json!({"title": "not what was stored"})).await.expect(200);
    let before = edge.sqlite(state).await;
    until_asked(edge, 3).await;
    let status = edge.until_status("it is offline", |status| status["state"] == "offline").await;
    assert_eq!((&status["in_sync"], &status["pending"]), (&json!(false), &json!(1)), "{status}");
    assert_eq!(edge.sqlite(state).await, before);
    edge.link().heal();
    edge.sync_now().await;
    world.assert_equal_dumps().await;
    assert_eq!(world.sql(&format!("select title from tasks where id = '{}'", id(0))).await, "not what was stored");
}

#[tokio::test]
async fn a_name_that_cannot_be_looked_up_is_said_in_words_and_work_goes_on() {
    let world = world().await;
    let edge = world.edge(0);
    edge.stop();
    edge.surround(tests::deployment::Surroundings {
        starter: Vec::new(),
        environment: vec![
            ("EDGE_HUB".to_owned(), "http://no-such-hub.invalid:7400".to_owned()),
            ("EDGE_PLAIN_HTTP".to_owned(), "true".to_owned()),
        ],
    });
    edge.start().await;
    edge.api().await.patch(&format!("/tasks/{}", id(0)), &json!({"title": "without a name"})).await.expect(200);
    let status = edge
        .until_status("the status explains it", |status| {
            status["last_error"].as_str().is_some_and(|why| why.contains("cannot be looked up"))
        })
        .await;
    println!("{status}");
    assert_eq!((&status["state"], &status["pending"]), (&json!("offline"), &json!(1)), "{status}");
    assert_eq!(status["transport"], "plain_http", "{status}");
    assert!(status["last_error"].as_str().is_some_and(|why| why.contains("no-such-hub.invalid")));
    edge.stop();
    edge.surround(tests::deployment::Surroundings::default());
    edge.start().await;
    world.assert_equal_dumps().await;
}

#[tokio::test]
async fn an_edge_newer_than_its_hub_waits_says_so_and_keeps_its_work() {
    let world = world().await;
    let edge = world.edge(0);
    edge.link().alter(Some(Alteration {
        route: Route::Hello,
        part: Part::Request,
        change: |text| text.replace("\"schema\":1", "\"schema\":2"),
    }));
    edge.link().cut();
    edge.api().await.patch(&format!("/tasks/{}", id(0)), &json!({"title": "by a newer edge"})).await.expect(200);
    edge.link().set_link(Link::Up);
    edge.sync_now().await;
    let status = edge.until_status("it says so", |status| status["state"] == "upgrade_hub").await;
    println!("{status}");
    assert_eq!((&status["pending"], &status["in_sync"]), (&json!(1), &json!(false)), "{status}");
    assert!(status["last_error"].as_str().is_some_and(|why| why.contains("upgrade the hub")), "{status}");
    assert_eq!(world.sql(&format!("select title from tasks where id = '{}'", id(0))).await, "second");
    // The hub is upgraded.
    edge.link().alter(None);
    edge.sync_now().await;
    world.assert_equal_dumps().await;
    assert_eq!(world.sql(&format!("select title from tasks where id = '{}'", id(0))).await, "by a newer edge");
}

#[tokio::test]
async fn an_edge_that_learns_a_column_gets_its_values_without_new_versions_and_keeps_what_waits() {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    let edge = world.edge(0);
    let values: Vec<String> =
        (1..40).map(|row| format!("('{}', '{ACME}', 'task {row}', 'told {row}')", id(row))).collect();
    world.sql(&format!("insert into tasks (id, tenant_id, title, description) values {}", values.join(", "))).await;
    world.assert_equal_dumps().await;
    edge.stop();
    let mirror = "select row_id, vv, dots, gone from sync_rows order by tbl, row_id";
    let centre = "select row_id, vv, dots, gone from sync.row_versions order by table_id, row_id";
    let before = (edge.sqlite(mirror).await, world.sql(centre).await);
    // The edge that ran until now knew no descriptions.
    let forget = "update sync_self set applying = 1; update tasks set description = null;
        update sync_self set applying = 0, catalog_version = 0;";
    edge.sqlite(forget).await;
    edge.start().await;
    world.assert_equal_dumps().await;
    assert_eq!(edge.sqlite("select count(*) from tasks where description like 'told %'").await, "39");
    assert_eq!((edge.sqlite(mirror).await, world.sql(centre).await), before);
    // The same with an edit that was not sent yet.
    edge.link().cut();
    edge.sqlite(&format!("update tasks set title = 'waits' where id = '{}'", id(7))).await;
    edge.stop();
    edge.sqlite(forget).await;
    edge.link().heal();
    edge.start().await;
    world.assert_equal_dumps().await;
    let kept = format!("select title || ' ' || description from tasks where id = '{}'", id(7));
    assert_eq!(
        (edge.sqlite(&kept).await, world.sql(&kept).await),
        ("waits told 7".to_owned(), "waits told 7".to_owned())
    );
}

#[tokio::test]
async fn columns_that_an_older_edge_does_not_know_pass_it_by_and_stay_as_they_are() {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    let edge = world.edge(0);
    world.assert_equal_dumps().await;
    // To the edge, the hub is of a later version: its tasks have a column more.
    edge.link().alter(Some(Alteration {
        route: Route::Pull,
        part: Part::Answer,
        change: |text| text.replace("\"title\":", "\"colour\":\"red\",\"title\":"),
    }));
    world
        .sql(&format!(
            "insert into tasks (id, tenant_id, title, description) values ('{}', '{ACME}', 'new', 'kept')",
            id(1)
        ))
        .await;
    eventually("the row is at the older edge", async || {
        let title = edge.sqlite(&format!("select title from tasks where id = '{}'", id(1))).await;
        if title == "new" { Ok(()) } else { Err(edge.log()) }
    })
    .await;
    let last = edge.link().exchanges_of(Route::Pull).iter().filter_map(|pull| pull.answer.clone()).next_back();
    assert!(last.is_some_and(|answer| answer.text().contains("colour")), "the alteration was made");
    edge.api().await.patch(&format!("/tasks/{}", id(1)), &json!({"title": "by an older edge"})).await.expect(200);
    world.assert_equal_dumps().await;
    let sent = edge.link().exchanges_of(Route::Push);
    let last = sent.last().expect("the edit was pushed");
    assert!(!last.request.text().contains("colour") && !last.request.text().contains("kept"), "only what it wrote");
    assert_eq!(
        world.sql(&format!("select title || ' ' || description from tasks where id = '{}'", id(1))).await,
        "by an older edge kept"
    );
}

#[tokio::test]
async fn on_9600_bits_a_second_with_a_fifth_lost_a_hundred_edits_pass_each_way_within_a_minute() {
    const EDITS: u32 = 100;
    let world = Deployment::start(&[HEADQUARTERS]).await;
    let edge = world.edge(0);
    let values: Vec<String> = (0..2 * EDITS).map(|row| format!("('{}', '{ACME}', 'first')", id(row))).collect();
    world.sql(&format!("insert into tasks (id, tenant_id, title) values {}", values.join(", "))).await;
    world.assert_equal_dumps().await;
    let api = edge.api().await.clone();
    let (up_before, down_before) = edge.link().bytes_passed();
    let exchanges_before = edge.link().exchanges().len();
    edge.link().slow_down(9_600, 0.2);
    let watch = Stopwatch::start();
    let statements: String =
        (0..EDITS).map(|row| format!("update tasks set title = 'centre {row}' where id = '{}';\n", id(row))).collect();
    let at_the_centre = world.sql(&statements);
    let at_the_edge = async {
        for row in EDITS..2 * EDITS {
            api.patch(&format!("/tasks/{}", id(row)), &json!({"title": format!("edge {row}")})).await.expect(200);
        }
    };
    tokio::join!(at_the_centre, at_the_edge);
    within(60_000, "every edit is on the other side", async || {
        let there = world.sql("select count(*) from tasks where title like 'edge %'").await;
        let here = edge.sqlite("select count(*) from tasks where title like 'centre %'").await;
        let pending = edge.status().await["pending"].clone();
        if (there.as_str(), here.as_str(), &pending) == ("100", "100", &json!(0)) {
            Ok(())
        } else {
            Err(format!("{there} up, {here} down, {pending} wait"))
        }
    })
    .await;
    let seconds = watch.ms() / 1000.0;
    let (up, down) = edge.link().bytes_passed();
    let wire = up + down - up_before - down_before;
    let told = |exchange: &tests::fault_proxy::Exchange| {
        exchange.request.text().len() + exchange.answer.as_ref().map_or(0, |answer| answer.text().len())
    };
    let exchanges = edge.link().exchanges();
    let plain: usize = exchanges[exchanges_before..].iter().map(told).sum();
    println!("{} edits in {seconds:.1} s: {wire} bytes on the wire, of {plain} that were said", 2 * EDITS);
    assert!(wire <= 2 * plain as u64, "{wire} bytes for {plain}");
    assert!(seconds < 60.0);
}

#[tokio::test]
async fn a_days_bytes_are_not_exceeded_rows_go_before_records_and_the_status_says_when_it_goes_on() {
    const DAILY_BYTES: u64 = 80_000;
    let clock = FakeClock::new();
    clock.set("@2026-03-01 12:00:00");
    let world = world().await;
    let edge = world.edge(0);
    edge.stop();
    let mut surroundings = clock.surroundings();
    surroundings.environment.push(("EDGE_DAILY_BYTES".to_owned(), DAILY_BYTES.to_string()));
    edge.surround(surroundings);
    edge.start().await;
    let api = edge.api_of("admin@acme-corp.com").await;
    let before = edge.link().bytes_passed();
    let mut acknowledged = 0_u32;
    // Random text, which nothing compresses.
    let used_up = within(120_000, "the bytes are used up", async || {
        for _ in 0..20 {
            let word =
                |place: u32| uuid::Uuid::new_v5(&uuid::Uuid::nil(), format!("{acknowledged} {place}").as_bytes());
            let text: String = (0..40).map(|place| word(place).to_string()).collect();
            api.post("/tasks", &json!({"title": format!("metered {acknowledged}"), "description": text}))
                .await
                .expect(201);
            acknowledged += 1;
        }
        let status = api.get("/sync/status").await.expect(200);
        let why = status["last_error"].as_str().unwrap_or_default();
        if why.contains("EDGE_DAILY_BYTES") { Ok(status) } else { Err(status.to_string()) }
    })
    .await;
    println!("{used_up}");
    assert!(used_up["last_error"].as_str().is_some_and(|why| why.contains("2026-03-02T00:00:00")), "{used_up}");
    let passed = edge.link().bytes_passed();
    let bytes = passed.0 + passed.1 - before.0 - before.1;
    println!("{bytes} bytes passed of {DAILY_BYTES}");
    assert!(bytes <= DAILY_BYTES + 20_000, "one exchange over it at most");
    let asked = edge.link().exchanges().len();
    api.post("/tasks", &json!({"title": "metered last"})).await.expect(201);
    acknowledged += 1;
    // A restart forgets nothing.
    edge.stop();
    edge.start().await;
    let doctor = edge.command(&["doctor"]).await;
    assert_eq!(edge.link().exchanges().len(), asked + 1, "nothing but the doctor's one question: {doctor}");
    // At midnight it goes on.
    let metered = "select count(*) from tasks where title like 'metered %'";
    let records = "select count(*) from audit_logs where action = 'create' and resource_type = 'task'
        and resource_id in (select id from tasks where title like 'metered %')";
    let number = |text: String| text.parse::<u32>().expect("a number");
    let (before, recorded) = (number(world.sql(metered).await), number(world.sql(records).await));
    println!("{before} of {acknowledged} rows and {recorded} of their records on the first day");
    assert!(recorded < before, "rows go before records");
    edge.stop();
    clock.set("@2026-03-02 00:00:05");
    edge.start().await;
    within(
        60_000,
        "it goes on",
        async || {
            if number(world.sql(metered).await) > before { Ok(()) } else { Err(edge.log()) }
        },
    )
    .await;
    edge.stop();
    edge.surround(clock.surroundings());
    edge.start().await;
    within(60_000, "everything arrives", async || {
        let there = number(world.sql(metered).await);
        if there == acknowledged { Ok(()) } else { Err(format!("{there} of {acknowledged}\n{}", edge.log())) }
    })
    .await;
}

#[tokio::test]
async fn what_an_idle_link_costs() {
    let world = world().await;
    let edge = world.edge(0);
    // A pull that is asked for does not wait; but for that it is what an idle edge sends.
    edge.command(&["sync"]).await.succeeded();
    edge.command(&["sync"]).await.succeeded();
    let pulls = edge.link().exchanges_of(Route::Pull);
    let idle = pulls.iter().rev().find(|pull| pull.answer.is_some()).expect("a pull was answered");
    let (up, down) = (idle.request.bytes().len(), idle.answer.as_ref().map_or(0, |answer| answer.bytes().len()));
    let per_minute = (up + down) as u64 * 60_000 / LONG_POLL_MS;
    println!("an idle pull: {up} bytes up, {down} down: {per_minute} bytes a minute");
    println!("{}", String::from_utf8_lossy(&idle.request.head));
    assert!(per_minute <= 1_000, "{per_minute} bytes a minute");
}
