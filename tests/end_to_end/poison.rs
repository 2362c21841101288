//! Writes that the centre cannot take.

use serde_json::{Value, json};
use tests::deployment::{Deployment, Edge, HEADQUARTERS, OFFICE, WAREHOUSE};
use tests::dumps;
use tests::wait::eventually;

use crate::{ACME, OFFICE_SITE, TECHSTART, id, insert_task, until_task};

/// Waits until an edge lists exactly so many refused rows, and returns them.
pub(super) async fn until_refused(edge: &Edge, count: usize) -> Vec<Value> {
    let api = edge.api().await;
    eventually(&format!("{count} refused rows at {}", edge.place().edge), async || {
        let page = api.get("/sync/quarantine").await.expect(200);
        let items = page["items"].as_array().cloned().unwrap_or_default();
        if items.len() == count { Ok(items) } else { Err(format!("{page}\n{}", edge.log())) }
    })
    .await
}

#[tokio::test]
async fn a_row_that_refers_to_nothing_is_refused_with_a_reason_and_stops_nothing() {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    let edge = world.edge(0);
    let (bad, good) = (id(1), id(2));
    edge.sqlite(&format!(
        "begin;
         insert into tasks (id, tenant_id, site_id, title) values ('{bad}', '{ACME}', '{}', 'refers to nothing');
         {}
         commit;",
        id(404),
        insert_task(&good, "sound")
    ))
    .await;
    until_task(world.edge(1), &good, "title", "sound").await;
    let refused = until_refused(edge, 1).await;
    println!("a missing site is refused with: {}", refused[0]);
    assert_eq!((&refused[0]["table"], &refused[0]["row_id"]), (&json!("tasks"), &json!(bad)));
    assert!(refused[0]["reason"].as_str().is_some_and(|reason| reason.len() > 10), "{}", refused[0]);
    assert!(refused[0]["code"].is_string(), "{}", refused[0]);
    let row = edge.api().await.get(&format!("/tasks/{bad}")).await.expect(200);
    assert_eq!(row["_sync"]["state"], "refused", "{row}");
    let status = edge.status().await;
    assert_eq!(status["quarantined"], 1, "{status}");
    let central = world.sql("select table_name, row_id, code from sync.quarantined_rows").await;
    assert!(central.starts_with(&format!("tasks|{bad}|")), "{central}");
    assert_eq!(world.sql(&format!("select count(*) from tasks where id = '{bad}'")).await, "0");
    world.assert_equal_dumps_of(vec![world.edge(1)]).await;
    eventually("the refusing edge shows what the hub holds", async || {
        let differences = dumps::differences(&world.dump_hub("acme-corp").await, &edge.dump().await);
        if differences.is_empty() { Ok(()) } else { Err(differences.join("\n")) }
    })
    .await;

    // Later edits of other rows go on, and an edit of this one is tried again.
    edge.sqlite(&format!("update tasks set title = 'sound again' where id = '{good}'")).await;
    until_task(world.edge(1), &good, "title", "sound again").await;
    edge.sqlite(&format!("update tasks set site_id = null where id = '{bad}'")).await;
    until_task(world.edge(1), &bad, "title", "refers to nothing").await;
    until_refused(edge, 0).await;
    world.assert_equal_dumps().await;
    assert_eq!(world.sql("select count(*) from sync.quarantined_rows").await, "0");
}

#[tokio::test]
async fn a_refused_row_is_accepted_once_its_cause_is_gone() {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    let edge = world.edge(0);
    let (site, task, device, other) = (id(1), id(2), id(3), id(4));
    edge.sqlite(&format!(
        "insert into tasks (id, tenant_id, site_id, title) values ('{task}', '{ACME}', '{site}', 'waits for its site')"
    ))
    .await;
    until_refused(edge, 1).await;
    world.sql(&format!("insert into sites (id, tenant_id, name) values ('{site}', '{ACME}', 'Comes later')")).await;
    world
        .sql(&format!(
            "insert into devices (id, site_id, name, type, serial_number) values ('{other}', '{site}', 'Holder', 'sensor', 'TWICE')"
        ))
        .await;
    until_task(world.edge(1), &task, "title", "waits for its site").await;
    until_refused(edge, 0).await;

    edge.sqlite(&format!(
        "insert into devices (id, tenant_id, site_id, name, type, serial_number)
         values ('{device}', '{ACME}', '{site}', 'Same serial', 'sensor', 'TWICE')"
    ))
    .await;
    let refused = until_refused(edge, 1).await;
    println!("a serial number that is taken is refused with: {}", refused[0]);
    world.sql(&format!("update devices set serial_number = 'FREED' where id = '{other}'")).await;
    until_refused(edge, 0).await;
    world.assert_equal_dumps().await;
    assert_eq!(world.sql("select id from devices where serial_number = 'TWICE'").await, device);
}

#[tokio::test]
async fn ids_of_another_tenant_are_answered_like_ids_of_nothing_and_change_nothing_there() {
    let world = Deployment::start(&[HEADQUARTERS, OFFICE]).await;
    world.assert_equal_dumps().await;
    let before = world.dump_hub("techstart").await;
    let edge = world.edge(0);
    let theirs = world.sql(&format!("select id from tasks where tenant_id = '{TECHSTART}' order by id limit 1")).await;
    let (foreign_site, missing_site, own_row_in_their_tenant) = (id(1), id(2), id(3));
    // What their row is refused for must not tell whether it exists.
    edge.sqlite(&format!(
        "insert into tasks (id, tenant_id, site_id, title) values
           ('{foreign_site}', '{ACME}', '{OFFICE_SITE}', 'their site'),
           ('{missing_site}', '{ACME}', '{}', 'no site'),
           ('{theirs}', '{ACME}', null, 'their id');",
        id(404)
    ))
    .await;
    let refused = until_refused(edge, 3).await;
    let of = |row: &str| refused.iter().find(|entry| entry["row_id"] == row).expect("it is listed");
    assert_eq!(of(&foreign_site)["code"], of(&missing_site)["code"]);
    let reason = |row: &str| of(row)["reason"].to_string().replace(OFFICE_SITE, "ID").replace(&id(404), "ID");
    assert_eq!(reason(&foreign_site), reason(&missing_site));
    println!("another tenant's site is refused with: {}", of(&foreign_site));
    println!("another tenant's row id is refused with: {}", of(&theirs));
    let direct = edge
        .try_sqlite(&format!(
            "insert into tasks (id, tenant_id, title) values ('{own_row_in_their_tenant}', '{TECHSTART}', 'smuggled')"
        ))
        .await;
    println!("a row of another tenant at the file: {direct}");
    world.assert_equal_dumps_of(vec![world.edge(1)]).await;
    assert_eq!(world.dump_hub("techstart").await, before);
    assert_eq!(world.sql(&format!("select count(*) from tasks where id = '{own_row_in_their_tenant}'")).await, "0");
}

#[tokio::test]
async fn values_that_no_centre_can_hold_stop_neither_direction() {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    let (edge, last) = (world.edge(0), id(99));
    let poison = [
        (id(1), "due_date", "'infinity'"),
        (id(2), "metadata", "'{\"n\": 1e400}'"),
        (id(3), "metadata", "'{\"n\": 123456789012345678901234567890}'"),
        (id(4), "due_date", "'0044-03-15 12:00:00 BC'"),
    ];
    for (row, column, value) in &poison {
        world
            .sql(&format!("{} update tasks set {column} = {value} where id = '{row}'", insert_task(row, "poison")))
            .await;
    }
    world.sql(&insert_task(&last, "after the poison")).await;
    for edge in world.edges() {
        until_task(edge, &last, "title", "after the poison").await;
    }
    let listed = world.sql("select row_id, reason from sync.quarantined_rows order by row_id").await;
    println!("values of the centre that are left out:\n{listed}");
    for (row, ..) in &poison {
        assert!(listed.contains(row), "{row} is not listed:\n{listed}");
    }
    for text in ["char(0)", "'a' || char(0) || 'b'", "cast(x'fffe' as text)"] {
        let written = edge.try_sqlite(&format!("update tasks set title = {text} where id = '{last}'")).await;
        println!("title = {text} at the file: {written}");
    }
    edge.sqlite(&format!(
        "update tasks set description = 'moves on' where id = '{last}'; {}",
        insert_task(&id(98), "next")
    ))
    .await;
    until_task(world.edge(1), &id(98), "title", "next").await;
    for (row, column, _) in &poison {
        let sound = if *column == "metadata" { "'{}'" } else { "null" };
        world.sql(&format!("update tasks set {column} = {sound} where id = '{row}'")).await;
    }
    edge.sqlite(&format!("update tasks set title = 'sound' where id = '{last}'")).await;
    world.assert_equal_dumps().await;
    assert_eq!(
        world.sql("select count(*) from sync.quarantined_rows").await,
        "0",
        "repaired rows are no longer listed"
    );
}

#[tokio::test]
async fn a_row_that_somebody_holds_at_the_centre_waits_alone() {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    let (held, free, edge) = (id(1), id(2), world.edge(0));
    world.sql(&format!("{} {}", insert_task(&held, "first"), insert_task(&free, "first"))).await;
    until_task(edge, &held, "title", "first").await;
    until_task(edge, &free, "title", "first").await;
    let mut holder = tests::postgres::connect(world.database_url()).await;
    let hold = holder.transaction().await.expect("begin");
    hold.execute("update tasks set priority = 'high' where id = $1::text::uuid", &[&held]).await.expect("update");
    edge.sqlite(&format!("update tasks set title = 'edited' where id in ('{held}', '{free}')")).await;
    until_task(world.edge(1), &free, "title", "edited").await;
    let status = edge.until_status("one row waits", |status| status["pending"] == 1).await;
    assert_eq!(status["in_sync"], false, "{status}");
    hold.commit().await.expect("commit");
    until_task(world.edge(1), &held, "title", "edited").await;
    world.assert_equal_dumps().await;
    let both = world.sql(&format!("select title, priority from tasks where id = '{held}'")).await;
    assert_eq!(both, "edited|high");
}
