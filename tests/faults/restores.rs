//! Boxes and centres that were restored or copied. It is noticed at the next contact, heals itself, and loses no write
//! that anybody still holds.

use std::fs;
use std::path::Path;

use tests::deployment::{Deployment, Edge, HEADQUARTERS, Place, WAREHOUSE};
use tests::dumps;
use tests::fault_proxy::{Ending, Fault, Part, Position, Route};
use tests::processes::run;
use tests::wait::{Stopwatch, eventually, within};

use crate::{ACME, id};

/// The same box a second time.
pub(crate) const COPY: Place = Place { edge: "hq-1-copy", ..HEADQUARTERS };

pub(crate) fn insert(number: u32, title: &str) -> String {
    format!("insert into tasks (id, tenant_id, title) values ('{}', '{ACME}', '{title}');", id(number))
}

pub(crate) fn retitle(number: u32, title: &str) -> String {
    format!("update tasks set title = '{title}' where id = '{}';", id(number))
}

pub(crate) fn delete(number: u32) -> String {
    format!("delete from tasks where id = '{}';", id(number))
}

/// Copies a folder whose owner does not run.
pub(crate) fn copy(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).expect("the folder is the test's own");
    }
    fs::create_dir_all(to).expect("the test's directory is there");
    for entry in fs::read_dir(from).expect("the folder is there").flatten() {
        if entry.file_type().expect("a file has a type").is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("a file can be copied");
        }
    }
}

pub(crate) async fn replica(edge: &Edge) -> String {
    edge.sqlite("select replica from sync_self").await
}

/// The titles of some tasks at the centre, in their order; a dash for one that is not there.
pub(crate) async fn titles(world: &Deployment, numbers: std::ops::RangeInclusive<u32>) -> Vec<String> {
    let dump = world.dump_hub("acme-corp").await;
    let title = |number| dumps::value(&dump, "tasks", &id(number), "title");
    numbers
        .map(|number| {
            title(number).and_then(|title| title.as_str().map(str::to_owned)).unwrap_or_else(|| "-".to_owned())
        })
        .collect()
}

pub(crate) async fn is_integral(world: &Deployment) {
    for edge in world.edges() {
        assert_eq!(edge.sqlite("pragma integrity_check; pragma foreign_key_check;").await, "ok");
    }
    let twice = "select count(*) from (select id from audit_logs group by id having count(*) > 1) as twice";
    assert_eq!(world.sql(twice).await, "0");
}

/// The state of the box when the copy was taken, how much was lost with the box, and how much was written after.
async fn restore(unanswered: bool, lost: u32, after: u32) {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    let edge = world.edge(0);
    edge.api().await;
    edge.sqlite(&(insert(1, "old") + &insert(2, "old") + &insert(3, "old") + &insert(4, "old"))).await;
    world.assert_equal_dumps().await;
    let backup = world.directory().join("backup");
    if unanswered {
        edge.link().set_fault(Fault {
            route: Route::Push,
            part: Part::Answer,
            at: Position::Before,
            ending: Ending::Rst,
        });
        edge.sqlite(&format!("begin; {} {} commit;", retitle(1, "unanswered"), retitle(4, "unanswered"))).await;
        eventually("the push was taken and not answered", async || {
            edge.link().fault_happened().then_some(()).ok_or_else(|| edge.log())
        })
        .await;
    } else {
        edge.link().cut();
        edge.sqlite(&retitle(1, "waits in the backup")).await;
    }
    edge.stop();
    copy(edge.data(), &backup);
    let before = replica(edge).await;
    // The box goes on, is heard of, and is lost.
    edge.start().await;
    edge.link().heal();
    for number in 10..10 + lost {
        edge.sqlite(&insert(number, "between")).await;
    }
    edge.sqlite(&(retitle(2, "between") + &delete(3))).await;
    world.assert_equal_dumps().await;
    // Whoever deletes here has seen what the box will not know that the centre has.
    world.sql(&(retitle(10, "and changed at the centre") + &delete(4))).await;
    edge.stop();
    copy(&backup, edge.data());
    edge.link().cut();
    edge.start().await;
    // New writes use the numbers again that were used between.
    for number in 20..20 + after {
        edge.sqlite(&insert(number, "after")).await;
    }
    edge.sqlite(&retitle(1, "after")).await;
    edge.link().heal();
    world.assert_equal_dumps().await;
    assert_ne!(replica(edge).await, before, "it has a new id");
    let mut expected = vec!["and changed at the centre".to_owned()];
    expected.extend((1..lost).map(|_| "between".to_owned()));
    assert_eq!(titles(&world, 10..=9 + lost).await, expected);
    assert_eq!(titles(&world, 20..=19 + after).await, vec!["after"; after as usize]);
    assert_eq!(titles(&world, 1..=4).await, ["after", "between", "-", "-"], "deleted rows stay deleted");
    assert_eq!(world.sql("select count(*) from sync.quarantine where status = 'open'").await, "0");
    // It goes on as any other.
    edge.sqlite(&retitle(2, "later")).await;
    world.assert_equal_dumps().await;
    is_integral(&world).await;
}

#[tokio::test]
async fn an_edge_restored_from_an_old_copy_of_its_folder_loses_nothing_that_anybody_holds() {
    restore(false, 3, 1).await;
}

#[tokio::test]
async fn an_edge_restored_to_an_unanswered_push_loses_nothing_that_anybody_holds() {
    restore(true, 3, 1).await;
}

#[tokio::test]
async fn an_edge_restored_to_an_unanswered_push_whose_new_writes_overtake_the_old_counter_loses_nothing() {
    restore(true, 2, 12).await;
}

#[tokio::test]
async fn a_box_copied_to_a_second_one_becomes_two_edges_and_nothing_of_either_is_lost() {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    let edge = world.edge(0);
    edge.api().await;
    edge.sqlite(&(insert(1, "old") + &insert(2, "old"))).await;
    world.assert_equal_dumps().await;
    edge.stop();
    let twin = world.new_edge(COPY);
    copy(edge.data(), twin.data());
    edge.start().await;
    twin.start().await;
    twin.api().await;
    let both = [edge, &twin];
    for round in 0..5 {
        for (side, one) in both.iter().enumerate() {
            // The same numbers on both sides, for different writes, also of one row.
            let number = 10 + 10 * u32::try_from(side).expect("two sides") + round;
            one.sqlite(
                &(insert(number, &format!("of side {side}")) + &retitle(1, &format!("{side} in round {round}"))),
            )
            .await;
        }
        if round == 2 {
            world.assert_equal_dumps_of(vec![edge, &twin, world.edge(1)]).await;
        }
    }
    world.assert_equal_dumps_of(vec![edge, &twin, world.edge(1)]).await;
    assert_ne!(replica(edge).await, replica(&twin).await);
    for side in 0..2 {
        let from = 10 + 10 * side;
        assert_eq!(titles(&world, from..=from + 4).await, vec![format!("of side {side}"); 5]);
    }
    let settled = (replica(edge).await, replica(&twin).await);
    for one in both {
        one.sqlite(&retitle(2, &format!("last of {}", one.place().edge))).await;
        world.assert_equal_dumps_of(vec![edge, &twin, world.edge(1)]).await;
    }
    assert_eq!((replica(edge).await, replica(&twin).await), settled, "two ids are enough for two boxes");
    // Every title that either wrote into the shared row is seen, superseded by its own writer, or listed.
    let listed = world.sql("select loser ->> 'value' from sync.conflicts where register = 'title'").await;
    let present = titles(&world, 1..=1).await;
    for side in 0..2 {
        let last = format!("{side} in round 4");
        assert!(present.contains(&last) || listed.contains(&last), "{last}: {present:?} {listed}");
    }
}

#[tokio::test]
async fn a_restored_box_lists_the_conflicts_that_it_has_forgotten() {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    let (edge, other) = (world.edge(0), world.edge(1));
    edge.api().await;
    edge.sqlite(&(insert(1, "old") + &insert(2, "old") + &insert(3, "old"))).await;
    world.assert_equal_dumps().await;
    let backup = world.directory().join("backup");
    edge.stop();
    copy(edge.data(), &backup);
    edge.start().await;
    for number in 1..=2 {
        other.link().cut();
        other.sqlite(&retitle(number, "at the warehouse")).await;
        world.sql(&retitle(number, "at the centre")).await;
        other.link().heal();
        other.sync_now().await;
        world.assert_equal_dumps().await;
    }
    edge.sqlite(&retitle(3, "lost with the box")).await;
    world.assert_equal_dumps().await;
    let listed = "select id from sync_conflicts order by id";
    let expected = edge.sqlite(listed).await;
    assert_eq!(expected.lines().count(), 2);
    edge.stop();
    copy(&backup, edge.data());
    edge.start().await;
    world.assert_equal_dumps().await;
    eventually("its conflicts are listed again", async || {
        let listed = edge.sqlite(listed).await;
        if listed == expected { Ok(()) } else { Err(format!("{listed:?}\n{}", edge.log())) }
    })
    .await;
}

/// Replaces the centre by what `pg_dump` saved of it.
pub(crate) async fn restore_centre(world: &Deployment, saved: &str) {
    world.hub(0).kill();
    let (server, database) = world.database_url().rsplit_once('/').expect("a URL has a path");
    let admin = format!("{server}/postgres");
    let replace = [format!("drop database \"{database}\" with (force)"), format!("create database \"{database}\"")];
    for statement in replace {
        run(
            &world.cluster().program_path("psql"),
            &["-X", "-q", "-d", &admin, "-c", &statement],
            &[],
            world.directory(),
            "",
        )
        .await
        .succeeded();
    }
    let arguments = ["-d", world.database_url(), "--exit-on-error", saved];
    run(&world.cluster().program_path("pg_restore"), &arguments, &[], world.directory(), "").await.succeeded();
    world.hub(0).start();
    assert!(world.hub(0).is_ready().await, "{}", world.hub(0).log());
}

pub(crate) async fn save_centre(world: &Deployment) -> String {
    let saved = world.directory().join("saved.dump").display().to_string();
    let arguments = ["-Fc", "-d", world.database_url(), "-f", &saved];
    run(&world.cluster().program_path("pg_dump"), &arguments, &[], world.directory(), "").await.succeeded();
    saved
}

#[tokio::test]
async fn a_centre_restored_from_a_dump_gets_back_what_its_edges_hold_and_lists_what_others_wrote() {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    let (hq, wh) = (world.edge(0), world.edge(1));
    for edge in [hq, wh] {
        edge.api().await;
    }
    hq.sqlite(&(1..=6).map(|number| insert(number, "old")).collect::<String>()).await;
    world.assert_equal_dumps().await;
    let saved = save_centre(&world).await;
    // All of this is acknowledged, and then lost at the centre.
    hq.sqlite(&(insert(10, "made at hq") + &retitle(1, "edited at hq") + &delete(2))).await;
    wh.sqlite(&(insert(11, "made at wh") + &retitle(3, "edited at wh"))).await;
    world.sql(&(insert(12, "made at the centre") + &retitle(4, "edited at the centre") + &delete(5))).await;
    world.assert_equal_dumps().await;
    hq.link().cut();
    hq.sqlite(&insert(13, "waits at hq")).await;
    wh.link().cut();
    restore_centre(&world, &saved).await;
    // The centre goes on, with the numbers that it has used already, before anybody comes back.
    world.sql(&(insert(14, "made since") + &retitle(6, "edited since") + &retitle(4, "another edit"))).await;
    wh.link().heal();
    hq.link().heal();
    world.assert_equal_dumps().await;
    let expected = ["edited at hq", "-", "edited at wh", "another edit", "old", "edited since"];
    assert_eq!(titles(&world, 1..=6).await, expected);
    assert_eq!(titles(&world, 10..=14).await, ["made at hq", "made at wh", "-", "waits at hq", "made since"]);
    let replicas = "select count(*) from sync.incarnations";
    assert_eq!(world.sql(replicas).await, "1", "one rewind, noticed once");
    assert_eq!(world.sql("select count(*) from audit_logs a where not exists (select from sync.replicas)").await, "0");
    // What only the centre had written is held by the edges alone, until somebody decides.
    let listed = world.hub_command(&["recover", "list", "--json"]).await.succeeded();
    let listed: Vec<serde_json::Value> = serde_json::from_str(&listed).expect("a list is JSON");
    let rows: Vec<&str> = listed.iter().filter_map(|entry| entry["row"].as_str()).collect();
    for number in [4, 5, 12] {
        assert_eq!(rows.iter().filter(|row| **row == id(number)).count(), 1, "{number} in {listed:?}");
    }
    assert_eq!(rows.len(), 3, "{listed:?}");
    let entry =
        |number| listed.iter().find(|entry| entry["row"] == id(number).as_str()).and_then(|entry| entry["id"].as_str());
    let discarded = entry(4).expect("it is listed");
    world.hub_command(&["recover", "discard", discarded]).await.succeeded();
    println!("{}", world.hub_command(&["recover", "accept", "--all"]).await.succeeded());
    world.assert_equal_dumps().await;
    assert_eq!(titles(&world, 12..=12).await, ["made at the centre"]);
    assert_eq!(titles(&world, 4..=5).await, ["another edit", "-"]);
    assert_eq!(world.hub_command(&["recover", "list", "--json"]).await.succeeded().trim(), "[]");
    let decided = "select string_agg(details ->> 'decision', ' ' order by details ->> 'decision') from audit_logs
      where resource_type = 'quarantine'";
    assert_eq!(world.sql(decided).await, "accepted accepted discarded");
    is_integral(&world).await;
}

/// Bytes that a comparison may take when ten rows differ, however many there are.
const COMPARISON_BYTES_MAX: u64 = 256 * 1024;
/// How long a comparison of a million rows may take where other tests run beside it, in milliseconds.
const COMPARISON_MS_MAX: u64 = 600_000;

#[tokio::test]
async fn a_comparison_names_and_repairs_what_differs_and_costs_in_proportion_to_it() {
    let rows = if tests::campaign::campaign() { 1_000_000 } else { 30_000 };
    let world = Deployment::start(&[HEADQUARTERS]).await;
    let edge = world.edge(0);
    edge.api().await;
    // Ids that are spread, and ids that cluster as those of version 7 do.
    world
        .sql(&format!(
            "insert into tasks (id, tenant_id, title)
             select case when n % 2 = 0 then gen_random_uuid()
               else ('018f0000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid end, '{ACME}', 'task ' || n
             from generate_series(1, {rows}) as n"
        ))
        .await;
    within(600_000, "the edge holds every row", async || {
        // What was written a moment ago it may not have heard of: its word alone does not do.
        let held: u64 = edge.sqlite("select count(*) from tasks").await.parse().expect("a count");
        let status = edge.status().await;
        if status["in_sync"] == true && held >= rows { Ok(()) } else { Err(format!("{held} rows, {status}")) }
    })
    .await;
    let watch = Stopwatch::start();
    let equal = edge.command_within(COMPARISON_MS_MAX, &["verify", "--json"]).await.succeeded();
    let equal: serde_json::Value = serde_json::from_str(&equal).expect("a report is JSON");
    println!("{rows} rows, none differs: {} bytes, {:.0} ms", equal["bytes"], watch.ms());
    assert!(equal["rows"].as_u64() > Some(rows), "{equal}");
    // Changed where nobody looks: three kinds at the edge, two at the centre. At once, or a page that is applied meanwhile ends it.
    let dark = "begin immediate; update sync_self set applying = 1;
      update tasks set title = 'dark', status = 'done' where id in (select id from tasks order by id limit 4 offset 900);
      delete from tasks where id in (select id from tasks order by id desc limit 2);
      update sync_self set applying = 0; commit;";
    edge.sqlite(dark).await;
    world
        .sql(
            "alter table tasks disable trigger all;
             update tasks set priority = 'urgent' where id in (select id from tasks order by id limit 2 offset 5000);
             delete from tasks where id in (select id from tasks order by id limit 1 offset 6000);
             insert into tasks (id, tenant_id, title)
               values ('7e570000-0000-4000-8000-000000000077', '5eed0000-0000-4000-8000-000100000001', 'unseen');
             alter table tasks enable trigger all",
        )
        .await;
    world.hub_command(&["db", "migrate", "up"]).await.succeeded();
    // The migration gives a version to the row that lacked one; this one lacks it still.
    world.sql("delete from sync.row_versions where row_id = '7e570000-0000-4000-8000-000000000077'").await;
    let (sent, received) = edge.link().bytes_passed();
    let found = edge.command_within(COMPARISON_MS_MAX, &["verify", "--json"]).await;
    assert_eq!(found.code, Some(1), "{found}");
    let found: serde_json::Value = serde_json::from_str(&found.stdout).expect("a report is JSON");
    let (sent, received) = (edge.link().bytes_passed().0 - sent, edge.link().bytes_passed().1 - received);
    println!("{rows} rows, ten differ: {} bytes, with all else {sent} up and {received} down", found["bytes"]);
    assert_eq!(found["differing"], 10, "{found}");
    assert!(sent + received < COMPARISON_BYTES_MAX, "{sent} and {received}");
    let differences = found["differences"].as_array().expect("a list");
    let count = |what: &str, columns: serde_json::Value| {
        differences.iter().filter(|one| one["what"] == what && one["columns"] == columns).count()
    };
    assert_eq!(count("values", serde_json::json!(["title", "status"])), 4, "{found}");
    assert_eq!(count("values", serde_json::json!(["priority"])), 2, "{found}");
    assert_eq!(count("missing here", serde_json::json!([])) + count("version", serde_json::json!([])), 3, "{found}");
    assert_eq!(count("missing at the centre", serde_json::json!([])), 1, "{found}");
    world.assert_equal_dumps().await;
    let again = world.hub_command_within(COMPARISON_MS_MAX, &["verify", "hq-1", "--json"]).await.succeeded();
    assert!(again.contains("\"differing\":0"), "{again}");
}

#[tokio::test]
async fn a_change_that_nobody_captured_is_found_by_the_daily_comparison_and_reaches_every_edge() {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    for edge in world.edges() {
        edge.api().await;
    }
    world.sql(&(insert(1, "seen") + &insert(2, "seen") + &insert(3, "seen"))).await;
    world.assert_equal_dumps().await;
    world.sql(&format!("alter table tasks disable trigger all; {} {}", retitle(1, "unseen"), delete(2))).await;
    world.hub_command(&["db", "migrate", "up"]).await.succeeded();
    // A day later, for one of the two edges.
    world.sql("update sync.edges set verified_at = now() - interval '3 days' where name = 'hq-1'").await;
    world.edge(0).sync_now().await;
    world.assert_equal_dumps_of(vec![world.edge(0)]).await;
    assert_eq!(titles(&world, 1..=3).await, ["unseen", "-", "seen"]);
    world.assert_equal_dumps().await;
}
