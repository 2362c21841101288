//! Boxes that may open few files and have little memory.

use serde_json::json;
use tests::campaign::campaign;
use tests::deployment::{Deployment, HEADQUARTERS, Surroundings};
use tests::wait::{Stopwatch, eventually, within};
use tokio::net::TcpStream;

use crate::{ACME, id, insert_task};

/// More than the process may have files.
const CLIENTS: usize = 200;
const MEBIBYTES_MAX: u64 = 256;

fn prlimit(limit: &str) -> Surroundings {
    Surroundings { starter: vec!["prlimit".to_owned(), limit.to_owned()], environment: Vec::new() }
}

#[tokio::test]
async fn with_64_files_a_crowd_is_turned_away_and_the_box_goes_on_exchanging() {
    let world = Deployment::start(&[HEADQUARTERS]).await;
    let edge = world.edge(0);
    edge.stop();
    edge.surround(prlimit("--nofile=64"));
    edge.start().await;
    world.assert_equal_dumps().await;
    let api = edge.api().await.clone();
    let mut crowd = Vec::new();
    for _ in 0..CLIENTS {
        // A backlog that is full refuses, which is as good.
        crowd.extend(TcpStream::connect(("127.0.0.1", edge.port())).await.ok());
    }
    let mut turned_away = vec![false; crowd.len()];
    let turned_away = eventually("most of the crowd are turned away", async || {
        for (client, told) in crowd.iter().zip(&mut turned_away) {
            let mut text = [0; 12];
            *told |= client.try_read(&mut text).is_ok_and(|length| length == 12) && text == *b"HTTP/1.1 503";
        }
        let count = turned_away.iter().filter(|told| **told).count();
        if count > CLIENTS / 2 { Ok(count) } else { Err(format!("{count} of {CLIENTS}")) }
    })
    .await;
    println!("{turned_away} of {CLIENTS} were turned away");
    // The exchange, and programs on the box, are not kept out by those who only hold a connection.
    world.sql(&insert_task(&id(1), "in spite of the crowd")).await;
    eventually("the exchange goes on", async || {
        let seen = edge.sqlite(&format!("select count(*) from tasks where id = '{}'", id(1))).await;
        if seen == "1" { Ok(()) } else { Err(edge.log()) }
    })
    .await;
    edge.sqlite(&insert_task(&id(2), "from the crowded box")).await;
    eventually("the exchange goes on", async || {
        let seen = world.sql(&format!("select count(*) from tasks where id = '{}'", id(2))).await;
        if seen == "1" { Ok(()) } else { Err(edge.log()) }
    })
    .await;
    let listed = edge.command(&["status"]).await;
    println!("status beside the crowd: {:?}", listed.code);
    assert!(edge.ended().is_none(), "{}", edge.log());
    drop(crowd);
    eventually("people are served again", async || {
        let answer = api.try_send(reqwest::Method::GET, "/tasks?limit=1", None, &[]).await;
        if answer.as_ref().is_ok_and(|answer| answer.status == 200) { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    api.post("/tasks", &json!({"title": "after the crowd"})).await.expect(201);
    world.assert_equal_dumps().await;
}

/// The most memory that a process has had, in MiB.
fn peak_mebibytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells it");
    let kibibytes: u64 = line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number");
    kibibytes / 1024
}

#[tokio::test]
async fn a_large_tenant_is_taken_in_with_256_mebibytes_of_memory() {
    let rows = if campaign() { 100_000 } else { 20_000 };
    let world = Deployment::start(&[]).await;
    world
        .sql(&format!(
            "insert into tasks (tenant_id, title, description)
             select '{ACME}', 'task ' || n, repeat('words ', 30) from generate_series(1, {rows}) as n"
        ))
        .await;
    let edge = world.enrolled_edge(HEADQUARTERS).await;
    edge.surround(prlimit(&format!("--data={}", MEBIBYTES_MAX * 1024 * 1024)));
    let watch = Stopwatch::start();
    edge.start().await;
    within(900_000, "all of it has arrived", async || {
        let status = edge.status().await;
        assert!(edge.ended().is_none(), "{}", edge.log());
        if status["in_sync"] == true { Ok(()) } else { Err(format!("{status}\n{}", edge.log())) }
    })
    .await;
    let held: u64 = edge.sqlite("select count(*) from tasks").await.parse().expect("a number");
    assert!(held >= rows, "{held} of {rows}");
    println!("{rows} rows in {:.1} s, at most {} MiB", watch.ms() / 1000.0, peak_mebibytes(edge.process_id()));
    assert!(peak_mebibytes(edge.process_id()) <= MEBIBYTES_MAX);
    edge.sqlite(&insert_task(&id(1), "after all that")).await;
    edge.until_status("nothing waits", |status| status["pending"] == 0).await;
    assert_eq!(world.sql(&format!("select count(*) from tasks where id = '{}'", id(1))).await, "1");
    edge.stop();
}
