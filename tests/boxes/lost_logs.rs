//! A box whose database lost its log, or was put together from files of different times. It is as if the box had been
//! restored: noticed at the next contact, no number is used for a second write, and nothing that anybody holds is lost.

use std::fs;
use std::path::PathBuf;

use serde_json::json;
use tests::deployment::{Deployment, Edge, HEADQUARTERS, WAREHOUSE};
use tests::dots::Dots;

use crate::{id, insert_task};

fn file(edge: &Edge, suffix: &str) -> PathBuf {
    edge.data().join(format!("edge.db{suffix}"))
}

async fn replica(edge: &Edge) -> String {
    edge.sqlite("select replica from sync_self").await
}

/// What harm makes of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comes {
    /// Back as it was when its file was last whole without its log.
    Rewound,
    /// Through unharmed.
    Whole,
}

/// Writes at the box before `prepare` and after it, kills the box, lets `harm` do its worst to the files, and goes on.
async fn check(comes: Comes, prepare: impl AsyncFnOnce(&Deployment, &Edge), harm: impl AsyncFnOnce(&Edge)) {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    let edge = world.edge(0);
    let api = edge.api().await.clone();
    edge.sqlite(&(1..=5).map(|number| insert_task(&id(number), "old")).collect::<String>()).await;
    world.assert_equal_dumps().await;
    // All so far is in the file itself.
    edge.sqlite("pragma wal_checkpoint(truncate)").await;
    prepare(&world, edge).await;
    let mut acknowledged = Vec::new();
    for number in 0..10 {
        let title = format!("acknowledged {number}");
        api.post("/tasks", &json!({"title": title})).await.expect(201);
        acknowledged.push(title);
    }
    edge.sqlite(&format!(
        "update tasks set title = 'edited' where id = '{}'; delete from tasks where id = '{}'",
        id(1),
        id(2)
    ))
    .await;
    world.assert_equal_dumps().await;
    let (before, mut dots) = (replica(edge).await, Dots::default());
    dots.look_at(edge).await;
    dots.look_at_centre(&world).await;
    edge.link().cut();
    api.post("/tasks", &json!({"title": "waits"})).await.expect(201);
    edge.kill();
    harm(edge).await;
    edge.start().await;
    // Before anybody is asked, the numbers that are free here go to other writes.
    for number in 20..26 {
        edge.sqlite(&insert_task(&id(number), "after")).await;
    }
    edge.link().heal();
    // Sessions may be of the past that is lost.
    edge.command(&["sync"]).await.succeeded();
    world.assert_equal_dumps_of(vec![world.edge(1)]).await;
    tests::wait::eventually("the box holds what the hub holds", async || {
        let status = edge.command(&["status", "--json"]).await.stdout;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap_or_default();
        let differences = tests::dumps::differences(&world.dump_hub("acme-corp").await, &edge.dump().await);
        let settled = status["in_sync"] == true && status["pending"] == 0 && differences.is_empty();
        if settled { Ok(()) } else { Err(format!("{status} {differences:?}\n{}", edge.log())) }
    })
    .await;
    dots.look_at(edge).await;
    dots.look_at(world.edge(1)).await;
    dots.look_at_centre(&world).await;
    assert_eq!(dots.problems(), Vec::<String>::new());
    let there = world.sql("select title from tasks where title like 'acknowledged %' order by created_at, title").await;
    for title in acknowledged {
        assert!(there.lines().any(|line| line == title), "{title} is lost: {there}");
    }
    let counts = "select count(*) filter (where title = 'after'), count(*) filter (where title = 'edited'),
        count(*) filter (where title = 'waits') from tasks";
    let expected = if comes == Comes::Whole { "6|1|1" } else { "6|1|0" };
    assert_eq!(world.sql(counts).await, expected);
    let deleted = format!("select count(*) from tasks where id = '{}'", id(2));
    assert_eq!((world.sql(&deleted).await.as_str(), edge.sqlite(&deleted).await.as_str()), ("0", "0"));
    assert_eq!(replica(edge).await == before, comes == Comes::Whole, "a new id when it went back\n{}", edge.log());
    assert_eq!(edge.sqlite("pragma integrity_check; pragma foreign_key_check;").await, "ok");
}

async fn nothing(_: &Deployment, _: &Edge) {}

#[tokio::test]
async fn a_box_whose_log_was_deleted_after_a_crash_gets_a_new_id_and_uses_no_number_twice() {
    check(Comes::Rewound, nothing, async |edge| {
        let log = fs::metadata(file(edge, "-wal")).expect("what was written last is in the log");
        assert!(log.len() > 0);
        fs::remove_file(file(edge, "-wal")).expect("the log is there");
    })
    .await;
}

#[tokio::test]
async fn a_box_that_loses_log_and_index_gets_a_new_id_and_uses_no_number_twice() {
    check(Comes::Rewound, nothing, async |edge| {
        for suffix in ["-wal", "-shm"] {
            fs::remove_file(file(edge, suffix)).expect("it is there");
        }
    })
    .await;
}

#[tokio::test]
async fn a_copy_of_the_file_alone_that_is_put_back_gets_a_new_id_and_uses_no_number_twice() {
    let kept = tests::scratch::Scratch::new();
    let copy = kept.path().join("edge.db");
    check(
        Comes::Rewound,
        // While the box works, as a careless backup does.
        async |_, edge| {
            fs::copy(file(edge, ""), &copy).expect("the file can be copied");
        },
        async |edge| {
            for suffix in ["-wal", "-shm"] {
                fs::remove_file(file(edge, suffix)).expect("it is there");
            }
            fs::copy(&copy, file(edge, "")).expect("the copy can be put back");
        },
    )
    .await;
}

#[tokio::test]
async fn an_index_of_the_log_from_another_time_harms_nothing() {
    let kept = tests::scratch::Scratch::new();
    let copy = kept.path().join("edge.db-shm");
    check(
        Comes::Whole,
        async |_, edge| {
            fs::copy(file(edge, "-shm"), &copy).expect("the index can be copied");
        },
        async |edge| {
            fs::copy(&copy, file(edge, "-shm")).expect("the copy can be put back");
        },
    )
    .await;
}

#[tokio::test]
async fn an_index_of_the_log_that_is_noise_harms_nothing() {
    check(Comes::Whole, nothing, async |edge| {
        let length = fs::metadata(file(edge, "-shm")).expect("the index is there").len();
        let noise: Vec<u8> = (0..length).map(|at| (at * 31 + at / 7) as u8).collect();
        fs::write(file(edge, "-shm"), noise).expect("the index can be overwritten");
    })
    .await;
}
