//! Disks that are full, become read-only, or fail a call: on real file systems, and on one whose n-th call fails.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tests::api::{Answer, Api};
use tests::deployment::{Deployment, Edge, HEADQUARTERS, WAREHOUSE};
use tests::faulty_disk::{Errno, FaultyDisk, Operation};
use tests::small_disk::{Kind, SmallDisk};
use tests::wait::eventually;

/// An edge whose folder is on a small disk.
async fn edge_on(world: &Deployment, disk: &SmallDisk) -> Edge {
    let edge = world.new_edge_in(HEADQUARTERS, disk.path().join("edge"));
    world.enrol(&edge).await;
    edge.start().await;
    edge
}

async fn create(api: &Api, title: &str) -> Answer {
    api.post("/tasks", &json!({"title": title, "description": "x".repeat(2_000)})).await
}

/// Writes until a write is refused for want of room; returns the titles that were acknowledged.
async fn write_until_full(api: &Api, what: &str) -> Vec<String> {
    let mut taken = Vec::new();
    for number in 0..20_000 {
        let title = format!("{what} {number}");
        let answer = create(api, &title).await;
        if answer.status == 201 {
            taken.push(title);
            continue;
        }
        assert_eq!(answer.problem(507), "disk_full");
        return taken;
    }
    panic!("the disk is never full");
}

async fn until_taken(edge: &Edge, title: &str) {
    let api = edge.api().await;
    eventually("writes are taken again", async || {
        let answer = create(api, title).await;
        if answer.status == 201 { Ok(()) } else { Err(format!("{answer}\n{}", edge.log())) }
    })
    .await;
}

async fn titles_at_the_centre(world: &Deployment, pattern: &str) -> Vec<String> {
    let titles = world.sql(&format!("select title from tasks where title like '{pattern}' order by title")).await;
    titles.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn on_a_full_disk_writes_are_refused_and_reads_and_sending_go_on_until_there_is_room() {
    for kind in [Kind::Tmpfs, Kind::Ext4] {
        let Some(disk) = SmallDisk::mount(kind, 40) else { continue };
        let world = Deployment::start(&[WAREHOUSE]).await;
        let edge = edge_on(&world, &disk).await;
        world.assert_equal_dumps_of(vec![&edge]).await;
        let api = edge.api().await.clone();
        edge.link().cut();
        let mut taken = Vec::new();
        for number in 0..200 {
            let title = format!("full, at first not {number}");
            create(&api, &title).await.expect(201);
            taken.push(title);
        }
        disk.fill();
        taken.extend(write_until_full(&api, "full, at last").await);
        println!("{kind:?}: {} writes until the disk was full", taken.len());
        for _ in 0..3 {
            assert_eq!(create(&api, "refused").await.problem(507), "disk_full");
        }
        assert_eq!(api.get("/tasks?limit=5").await.status, 200, "reading goes on");
        let status = edge.until_status("it says so", |status| status["storage"] == "full").await;
        assert_eq!(status["pending"], taken.len(), "{status}");
        // What was taken is sent though there is no room for anything new.
        edge.link().heal();
        eventually("what was taken is at the centre", async || {
            let there = titles_at_the_centre(&world, "full,%").await.len();
            if there == taken.len() { Ok(()) } else { Err(format!("{there} of {}\n{}", taken.len(), edge.log())) }
        })
        .await;
        let status = edge.until_status("nothing waits", |status| status["pending"] == 0).await;
        assert_eq!(status["storage"], "full", "{status}");
        assert_eq!(create(&api, "refused").await.problem(507), "disk_full");
        disk.make_room();
        until_taken(&edge, "full, and then there was room").await;
        taken.push("full, and then there was room".to_owned());
        edge.until_status("it says so", |status| status["storage"] == "ok").await;
        world.assert_equal_dumps_of(vec![&edge]).await;
        let mut there = titles_at_the_centre(&world, "full,%").await;
        taken.sort();
        there.sort();
        assert_eq!(there, taken, "each write once, and none that was refused");
        assert_eq!(world.sql("select count(*) from tasks where title = 'refused'").await, "0");
        assert_eq!(edge.sqlite("pragma integrity_check").await, "ok");
        edge.stop();
    }
}

#[tokio::test]
async fn a_disk_that_the_kernel_gives_up_refuses_writes_in_words_and_keeps_what_was_acknowledged() {
    let Some(disk) = SmallDisk::mount(Kind::Ext4, 40) else { return };
    let world = Deployment::start(&[WAREHOUSE]).await;
    let edge = edge_on(&world, &disk).await;
    world.assert_equal_dumps_of(vec![&edge]).await;
    let api = edge.api().await.clone();
    create(&api, "before").await.expect(201);
    disk.break_down();
    let answer = create(&api, "while it is read-only").await;
    println!("{answer}");
    assert_eq!(answer.problem(503), "storage_failed");
    assert_eq!(api.get("/tasks?limit=5").await.status, 200, "reading goes on");
    let status = edge.until_status("it says so", |status| status["storage"] == "read_only").await;
    println!("{status}");
    edge.kill();
    // Somebody started the box again; the disk is still only readable.
    disk.mount_again("ro");
    let message = edge.command(&["serve"]).await.failed(1);
    println!("{message}");
    assert!(message.contains("Read-only file system"), "{message}");
    disk.mount_again("rw");
    edge.start().await;
    until_taken(&edge, "after").await;
    edge.until_status("it says so", |status| status["storage"] == "ok").await;
    world.assert_equal_dumps_of(vec![&edge]).await;
    assert_eq!(titles_at_the_centre(&world, "before").await.len(), 1);
    assert_eq!(edge.sqlite("pragma integrity_check").await, "ok");
    edge.stop();
}

#[tokio::test]
async fn on_a_disk_that_is_read_only_for_a_while_writes_are_refused_and_it_recovers_alone() {
    let disk = FaultyDisk::new();
    let world = Deployment::start(&[HEADQUARTERS]).await;
    let edge = world.edge(0);
    let api = edge.api().await.clone();
    edge.stop();
    edge.surround(disk.surroundings(edge.data()));
    edge.start().await;
    world.assert_equal_dumps().await;
    edge.link().cut();
    create(&api, "before").await.expect(201);
    disk.fail_all(Operation::Write, Errno::ReadOnly);
    for _ in 0..3 {
        assert_eq!(create(&api, "refused").await.problem(503), "storage_failed");
    }
    assert_eq!(api.get("/tasks?limit=5").await.status, 200, "reading goes on");
    let status = edge.until_status("it says so", |status| status["storage"] != "ok").await;
    assert_eq!(status["pending"], 1, "{status}");
    disk.mend();
    until_taken(edge, "after").await;
    edge.until_status("it says so", |status| status["storage"] == "ok").await;
    edge.link().heal();
    world.assert_equal_dumps().await;
    assert_eq!(world.sql("select count(*) from tasks where title in ('before', 'after')").await, "2");
    assert_eq!(world.sql("select count(*) from tasks where title = 'refused'").await, "0");
}

/// Every write of one request fails once, the first, the second, and so on until the request does without a fault;
/// what was acknowledged is there after the process was killed, and what was refused was not acknowledged.
async fn check_every_call(operation: Operation) {
    let disk = FaultyDisk::new();
    let world = Deployment::start(&[HEADQUARTERS]).await;
    let edge = world.edge(0);
    world.assert_equal_dumps().await;
    let api = edge.api().await.clone();
    edge.stop();
    edge.surround(disk.surroundings(edge.data()));
    edge.start().await;
    edge.link().cut();
    let mut acknowledged = BTreeMap::new();
    let (mut refused, mut number) = (0, 0);
    loop {
        number += 1;
        assert!(number < 200, "every request fails");
        // Some commits also move the log into the file; they have more calls to fail.
        for round in 0..3 {
            let title = format!("call {number} round {round}");
            disk.fail(number, operation, Errno::Device);
            let answer = create(&api, &title).await;
            match answer.status {
                201 => {
                    let row: Value = answer.expect(201);
                    acknowledged.insert(row["id"].as_str().expect("a row has an id").to_owned(), title);
                }
                _ => {
                    assert!(disk.has_failed(), "refused without a fault: {answer}");
                    assert_eq!(answer.problem(503), "storage_failed");
                    refused += 1;
                }
            }
        }
        let failed = disk.has_failed();
        disk.mend();
        until_taken(edge, &format!("mended {number}")).await;
        if number % 3 == 0 || !failed {
            edge.kill();
            assert_eq!(edge.sqlite("pragma integrity_check").await, "ok", "after call {number}");
            edge.start().await;
        }
        for (id, title) in &acknowledged {
            let row = api.get(&format!("/tasks/{id}")).await.expect(200);
            assert_eq!(row["title"], json!(title), "an acknowledged write is there");
        }
        if !failed {
            break;
        }
    }
    println!("{operation:?}: {number} calls failed in turn; {refused} refused, {} acknowledged", acknowledged.len());
    assert!(refused > 0, "some write was refused");
    edge.link().heal();
    edge.sync_now().await;
    world.assert_equal_dumps().await;
    for (id, title) in &acknowledged {
        assert_eq!(world.sql(&format!("select title from tasks where id = '{id}'")).await, *title);
    }
}

#[tokio::test]
async fn a_write_that_fails_at_any_call_is_refused_and_loses_nothing_acknowledged() {
    check_every_call(Operation::Write).await;
}

#[tokio::test]
async fn a_write_that_cannot_be_made_durable_is_never_reported_as_done() {
    check_every_call(Operation::Sync).await;
}

#[tokio::test]
async fn a_disk_that_fails_during_an_exchange_loses_nothing_and_the_exchange_goes_on_when_it_works() {
    let disk = FaultyDisk::new();
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    let edge = world.edge(0);
    world.assert_equal_dumps().await;
    let api = edge.api().await.clone();
    edge.stop();
    edge.surround(disk.surroundings(edge.data()));
    edge.start().await;
    let rounds = if tests::campaign::campaign() { 60_u32 } else { 12 };
    for number in 1..=rounds {
        edge.link().cut();
        create(&api, &format!("exchange {number}")).await.expect(201);
        world
            .sql(&format!("update tasks set description = 'exchange {number}' where title = 'exchange {}'", number - 1))
            .await;
        let operation = if number % 2 == 0 { Operation::Write } else { Operation::Sync };
        disk.fail(number.div_ceil(2), operation, Errno::Device);
        edge.link().heal();
        edge.sync_now().await;
        disk.mend();
        world.assert_equal_dumps_of(vec![edge]).await;
    }
    world.assert_equal_dumps().await;
    assert_eq!(titles_at_the_centre(&world, "exchange %").await.len(), usize::try_from(rounds).expect("a few"));
    assert_eq!(edge.sqlite("pragma integrity_check").await, "ok");
}
