//! Files that were damaged while nobody looked, or while somebody did.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use serde_json::json;
use tests::deployment::{Deployment, Edge, HEADQUARTERS, WAREHOUSE};
use tests::wait::eventually;

use crate::{ACME, id};

const PAGE: u64 = 4096;
/// Rows that the centre has, enough for a few hundred pages.
const ROWS: u32 = 1_500;

async fn world() -> Deployment {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    world
        .sql(&format!(
            "insert into tasks (tenant_id, title, description)
             select '{ACME}', 'old ' || n, repeat('words ', 20) from generate_series(1, {ROWS}) as n"
        ))
        .await;
    world.assert_equal_dumps().await;
    world
}

fn file(edge: &Edge) -> PathBuf {
    edge.data().join("edge.db")
}

/// Overwrites pages from one on with bytes that are none.
fn destroy(edge: &Edge, from_page: u64, pages: u64) {
    let file = fs::File::options().write(true).open(file(edge)).expect("the mirror is there");
    for page in from_page..from_page + pages {
        file.write_all_at(&[0xa5; 4096], page * PAGE).expect("a file can be written");
    }
}

fn set_aside(edge: &Edge) -> Vec<String> {
    let entries = fs::read_dir(edge.data()).expect("the folder is there").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> =
        names.filter(|name| name.contains(".damaged-") && !name.ends_with("-wal") && !name.ends_with("-shm")).collect();
    names.sort();
    names
}

/// The pages that hold the rows of a table or an index, in their order, counted from 0 as the file's offsets are.
async fn pages_of(edge: &Edge, name: &str) -> Vec<u64> {
    let select = format!("select pageno - 1 from dbstat where name = '{name}' and pagetype = 'leaf' order by path;");
    let listed = edge.sqlite(&select).await;
    listed.lines().map(|line| line.parse().expect("a page has a number")).collect()
}

/// Writes offline, stops, lets `harm` do its worst, starts; returns how many of the writes reached the centre.
async fn check(what: &str, written: u32, harm: impl AsyncFnOnce(&Edge)) -> u32 {
    let world = world().await;
    let edge = world.edge(0);
    let api = edge.api().await.clone();
    edge.link().cut();
    for number in 0..written {
        api.post("/tasks", &json!({"title": format!("unsent {number}")})).await.expect(201);
    }
    api.patch(&format!("/tasks/{}", first_old(edge).await), &json!({"title": "edited offline"})).await.expect(200);
    edge.stop();
    harm(edge).await;
    edge.start().await;
    assert_eq!(set_aside(edge).len(), 1, "{what}: set aside under a clear name\n{}", edge.log());
    println!("{what}: {}", edge.log().lines().filter(|line| line.contains("taken over")).collect::<String>());
    edge.link().heal();
    until_equal(&world, edge).await;
    world.assert_equal_dumps_of(vec![world.edge(1)]).await;
    assert_eq!(edge.sqlite("pragma integrity_check").await, "ok");
    assert!(edge.command(&["doctor"]).await.stdout.contains("damaged mirror was replaced"), "{what}");
    // Nothing arrived that nobody wrote.
    let strange = "select count(*) from tasks where title !~ '^(unsent|old) [0-9]+$' and title <> 'edited offline'
        and id::text not like '5eed%'";
    assert_eq!(world.sql(strange).await, "0", "{what}");
    let known = "select count(*) from tasks where title like 'old %' or title = 'edited offline'";
    assert_eq!(world.sql(known).await, ROWS.to_string(), "{what}");
    let arrived = "select count(*) from tasks where title like 'unsent %' or title = 'edited offline'";
    world.sql(arrived).await.parse().expect("a number")
}

/// Waits until nothing waits and both dumps are equal. Nobody is signed in at a new file, so the commands are asked.
async fn until_equal(world: &Deployment, edge: &Edge) {
    eventually("the new file holds what the hub holds", async || {
        let status = edge.command(&["status", "--json"]).await.stdout;
        let parsed: serde_json::Value = serde_json::from_str(&status).unwrap_or_default();
        if parsed["in_sync"] != true || parsed["pending"] != 0 {
            return Err(status + &edge.log());
        }
        let differences = tests::dumps::differences(&world.dump_hub("acme-corp").await, &edge.dump().await);
        if differences.is_empty() { Ok(()) } else { Err(differences.join("\n")) }
    })
    .await;
}

async fn first_old(edge: &Edge) -> String {
    edge.sqlite("select id from tasks where title like 'old %' order by id limit 1").await
}

#[tokio::test]
async fn damage_in_pages_that_the_hub_has_is_found_at_the_start_and_nothing_unsent_is_lost() {
    // The list of live changes: nothing that waits lies there.
    let arrived = check("pages of no importance", 20, async |edge| {
        let pages = pages_of(edge, "sync_changes").await;
        destroy(edge, pages[0], 1);
    });
    assert_eq!(arrived.await, 21);
}

#[tokio::test]
async fn of_damaged_tasks_what_can_be_read_is_sent_and_the_rest_comes_from_the_hub() {
    let arrived = check("a page of tasks", 40, async |edge| {
        // Ids made one after another lie together, and before most random ones.
        let pages = pages_of(edge, "tasks").await;
        let holds_unsent = |page: &&u64| {
            let mut bytes = [0; 4096];
            let file = fs::File::open(file(edge)).expect("the mirror is there");
            file.read_exact_at(&mut bytes, **page * PAGE).expect("the page is there");
            bytes.windows(7).any(|window| window == b"unsent ")
        };
        destroy(edge, *pages.iter().find(holds_unsent).expect("what was written is in the file"), 1);
        assert!(edge.command(&["doctor"]).await.stdout.contains("it is damaged"));
    })
    .await;
    println!("{arrived} of 41 unsent writes were salvaged");
    assert!((20..41).contains(&arrived), "{arrived}");
}

#[tokio::test]
async fn a_damaged_index_hides_nothing_that_waits() {
    let arrived = check("the index of what waits", 20, async |edge| {
        for page in pages_of(edge, "sync_rows_pending").await {
            destroy(edge, page, 1);
        }
    });
    assert_eq!(arrived.await, 21);
}

#[tokio::test]
async fn damage_under_a_running_box_is_found_and_it_starts_again_by_itself() {
    let world = world().await;
    let edge = world.edge(0);
    let api = edge.api().await.clone();
    edge.link().cut();
    api.post("/tasks", &json!({"title": "unsent"})).await.expect(201);
    edge.sqlite("pragma wal_checkpoint(truncate)").await;
    let pages = pages_of(edge, "tasks").await;
    for page in &pages {
        destroy(edge, *page, 1);
    }
    // Whoever meets the damage is told of a failure, and the box sees to it.
    eventually("it is found", async || {
        let _ = api.try_send(reqwest::Method::GET, "/tasks?q=old&limit=500", None, &[]).await;
        let body = json!({"title": "while it is damaged"}).to_string();
        let _ = api.try_send(reqwest::Method::POST, "/tasks", Some(body), &[]).await;
        if set_aside(edge).len() == 1 { Ok(()) } else { Err(edge.log()) }
    })
    .await;
    edge.is_ready().await;
    assert!(edge.ended().is_none(), "the process goes on");
    edge.link().heal();
    eventually("it is filled again", async || {
        let tasks = edge.sqlite("select count(*) from tasks where title like 'old %'").await;
        if tasks == ROWS.to_string() { Ok(()) } else { Err(format!("{tasks}\n{}", edge.log())) }
    })
    .await;
}

#[tokio::test]
async fn a_mirror_that_is_no_database_any_more_is_set_aside_and_made_anew() {
    let world = world().await;
    let edge = world.edge(0);
    edge.stop();
    destroy(edge, 0, 1);
    edge.start().await;
    assert_eq!(set_aside(edge).len(), 1, "{}", edge.log());
    eventually("the hub was asked", async || {
        let status = edge.command(&["status", "--json"]).await.stdout;
        if status.contains("\"online\"") || status.contains("\"stuck\"") { Ok(()) } else { Err(status + &edge.log()) }
    })
    .await;
    println!("{}", edge.command(&["status"]).await.stdout);
    world.edge(1).sqlite(&crate::insert_task(&id(1), "the other box is untouched")).await;
    world.assert_equal_dumps_of(vec![world.edge(1)]).await;
}

#[tokio::test]
async fn a_folder_of_damaged_files_stops_the_box_instead_of_filling_the_disk() {
    let world = Deployment::start(&[HEADQUARTERS]).await;
    let edge = world.edge(0);
    edge.stop();
    for number in 0..edge::rescue::SET_ASIDE_MAX {
        fs::write(edge.data().join(format!("edge.db.damaged-{number}")), "").expect("the folder takes files");
    }
    destroy(edge, 0, 1);
    let message = edge.command(&["serve"]).await.failed(1);
    println!("{message}");
    assert!(message.contains("damaged again"), "{message}");
    assert!(file(edge).exists(), "nothing was moved");
}
