//! Refused rows: what is shown of them, and what becomes of them.

use sync::merge::ids::ReplicaId;
use sync::pg::ledger::{self, Refused};
use sync::pg::quarantine::Decision;
use uuid::Uuid;

use super::file::File;
use super::site::{ACME, Centre, EVE, HEADQUARTERS, WAREHOUSE, id};

/// A hub and the files of two sites, one device `TAKEN` at the centre.
async fn world() -> (Centre, File, File) {
    let centre = Centre::start().await;
    let holder = device(id(90), "TAKEN");
    centre.execute(&holder).await;
    let left = File::enroll(&centre, ACME, HEADQUARTERS, "left").await;
    let right = File::enroll(&centre, ACME, WAREHOUSE, "right").await;
    (centre, left, right)
}

/// An insert of a device, in SQL that both databases take.
fn device(id: Uuid, serial: &str) -> String {
    format!(
        "insert into devices (id, tenant_id, site_id, name, type, serial_number)
         values ('{id}', '{ACME}', '{HEADQUARTERS}', 'pump', 'sensor', '{serial}');"
    )
}

fn task(id: Uuid, title: &str) -> String {
    format!("insert into tasks (id, tenant_id, title) values ('{id}', '{ACME}', '{title}');")
}

/// Exchanges until all is quiet, and holds every dump against the centre's.
async fn assert_equal(centre: &Centre, files: &mut [&mut File]) {
    for _ in 0..2 {
        for file in files.iter_mut() {
            file.exchange().await;
        }
    }
    let hubs = centre.dump(ACME).await;
    for file in files.iter_mut() {
        assert_eq!(hubs, file.dump(), "{} shows what the centre holds", file.me.name);
    }
}

#[tokio::test]
async fn a_dump_shows_the_hubs_version_of_refused_rows() {
    let (centre, mut left, mut right) = world().await;
    left.sql(&(device(id(91), "MINE") + &task(id(92), "one") + &task(id(93), "two")));
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
    // An edit, an insert, an insert that depends on it, and a delete, all refused.
    centre
        .execute(&format!(
            "create function stay() returns trigger language plpgsql as
               $$ begin raise exception 'work is never deleted'; end $$;
             create trigger stay before delete on tasks for each row when (old.id = '{}') execute function stay()",
            id(93)
        ))
        .await;
    left.sql(&format!(
        "update devices set serial_number = 'TAKEN', name = 'renamed' where id = '{}'; {} {} delete from tasks where id = '{}';",
        id(91),
        device(id(80), "TAKEN"),
        task(id(81), "depends").replace("title) values", "device_id, title) values").replace(", 'depends')", &format!(", '{}', 'depends')", id(80))),
        id(93)
    ));
    left.push().await;
    let refused: Vec<Uuid> = left.codes().into_iter().map(|(row, _)| row).collect();
    assert_eq!(refused, [id(80), id(81), id(91), id(93)]);
    assert_eq!(centre.dump(ACME).await, left.dump(), "before any pull");
    assert_equal(&centre, &mut [&mut left, &mut right]).await;

    // Other columns of the refused rows go on at the centre; the local edit stays where its people see it.
    centre
        .execute(&format!(
            "update devices set status = 'error' where id = '{}'; update tasks set title = 'uno' where id = '{}'",
            id(91),
            id(93)
        ))
        .await;
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
    let local = left.value(&format!("select name || serial_number || status from devices where id = '{}'", id(91)));
    assert_eq!(local, "renamedTAKENerror");

    // The centre deletes one of them: it is left out here too, and the refused edit is kept.
    centre.execute(&format!("delete from devices where id = '{}'", id(91))).await;
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
    assert_eq!(left.value(&format!("select name from devices where id = '{}'", id(91))), "renamed");

    // Sent again, they are refused with what is stored then.
    left.begin_session();
    assert_equal(&centre, &mut [&mut left, &mut right]).await;

    // When nothing is in the way any more, they are rows like others, and nothing is kept of the hub's.
    centre.execute(&format!("drop trigger stay on tasks; delete from devices where id = '{}'", id(90))).await;
    left.sql(&format!("update devices set serial_number = 'FREE' where id = '{}'", id(91)));
    left.begin_session();
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
    assert_eq!((left.codes(), left.value("select count(*) from sync_hub_rows")), (vec![], "0".to_owned()));
    assert_eq!(centre.value("select count(*) from sync.quarantined_rows").await, "0");
}

#[tokio::test]
async fn a_page_that_was_read_before_the_refusal_does_not_take_back_what_the_refusal_showed() {
    let (centre, mut left, mut right) = world().await;
    left.sql(&device(id(91), "MINE"));
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
    centre.execute(&format!("update devices set name = 'first' where id = '{}'", id(91))).await;
    let page = left.page().await;
    centre.execute(&format!("update devices set name = 'second' where id = '{}'", id(91))).await;
    left.sql(&format!("update devices set serial_number = 'TAKEN' where id = '{}'", id(91)));
    left.push().await;
    assert_eq!(centre.dump(ACME).await, left.dump());
    left.apply(&page);
    assert_eq!(centre.dump(ACME).await, left.dump(), "the page was older");
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
}

#[tokio::test]
async fn hub_rows_too_large_for_an_answer_come_with_the_next_pull() {
    let (centre, mut left, mut right) = world().await;
    for number in 100..106 {
        let large = format!(
            "update devices set metadata = jsonb_build_object('x', repeat('a', 1000000)) where id = '{}'",
            id(number)
        );
        centre.execute(&(device(id(number), &number.to_string()) + &large)).await;
    }
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
    left.sql("update devices set serial_number = 'TAKEN' where serial_number like '10%'");
    left.push().await;
    assert_eq!(left.codes().len(), 6);
    assert_eq!(left.value("select count(*) from sync_hub_rows where fields is null"), "2");
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
}

/// The state of the entries of a row at the centre.
async fn entries(centre: &Centre, row: Uuid) -> String {
    let select = format!(
        "select string_agg(status, ',' order by created_at, status) from sync.quarantine where row_id = '{row}'"
    );
    centre.value(&select).await
}

#[tokio::test]
async fn what_a_site_gives_up_is_superseded_by_a_write_of_the_hub() {
    let (centre, mut left, mut right) = world().await;
    left.sql(&(device(id(91), "MINE") + &task(id(93), "two")));
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
    left.sql(&format!(
        "update devices set serial_number = 'TAKEN', name = 'renamed' where id = '{}'; {}",
        id(91),
        device(id(80), "TAKEN")
    ));
    left.push().await;
    let given_up: Vec<Uuid> = left.refused().iter().map(|entry| entry.id).collect();
    assert_eq!(given_up.len(), 2);
    for entry in &given_up {
        left.discard(*entry);
    }
    assert!(left.refused().iter().all(|entry| entry.discarded), "listed until the hub has done it");
    assert_eq!(centre.dump(ACME).await, left.dump());
    left.begin_session();
    left.push().await;
    assert_eq!(
        (entries(&centre, id(91)).await, entries(&centre, id(80)).await),
        ("discarded".into(), "discarded".into())
    );
    assert_eq!(left.refused().len(), 2, "until the hub's row is here");
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
    assert_eq!(left.refused().len(), 0);
    let local = left.value(&format!("select name || serial_number from devices where id = '{}'", id(91)));
    assert_eq!((local.as_str(), left.value("select count(*) from devices").as_str()), ("pumpMINE", "2"));
    // A later edit of what was discarded goes its way.
    left.sql(&format!("update devices set name = 'pump 2' where id = '{}'", id(91)));
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
    assert_eq!(right.value(&format!("select name from devices where id = '{}'", id(91))), "pump 2");
}

#[tokio::test]
async fn a_write_after_giving_up_takes_it_back_and_keeps_the_row() {
    let (centre, mut left, mut right) = world().await;
    left.sql(&device(id(80), "TAKEN"));
    left.push().await;
    let entry = left.refused()[0].id;
    left.discard(entry);
    // Before the hub has heard of it.
    left.sql(&format!("update devices set name = 'kept' where id = '{}'", id(80)));
    left.push().await;
    assert_eq!(
        (left.codes(), entries(&centre, id(80)).await),
        (vec![(id(80), "serial_number_taken".into())], "open".into())
    );
    // While the hub does it: the row is deleted there, and comes back with all its values.
    left.discard(entry);
    let batch = left.batch().unwrap();
    let answer = left.send(&batch).await;
    left.sql(&format!("update devices set serial_number = 'FREE' where id = '{}'", id(80)));
    left.hear(&answer);
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
    assert_eq!(right.value(&format!("select name || serial_number from devices where id = '{}'", id(80))), "keptFREE");
    assert_eq!(left.refused().len(), 0);
}

#[tokio::test]
async fn giving_up_while_the_row_is_on_its_way_again_is_not_forgotten() {
    let (centre, mut left, mut right) = world().await;
    left.sql(&device(id(80), "TAKEN"));
    left.push().await;
    left.begin_session();
    let batch = left.batch().unwrap();
    let answer = left.send(&batch).await;
    left.discard(left.refused()[0].id);
    left.hear(&answer);
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
    assert_eq!((left.codes(), entries(&centre, id(80)).await), (vec![], "discarded".into()));
}

/// What the audit log says the operators decided.
async fn decisions(centre: &Centre) -> String {
    let recorded = "select string_agg(concat(details ->> 'decision', ' ', details ->> 'table'), ', '
        order by details ->> 'table')
      from audit_logs where resource_type = 'quarantine' and details ->> 'by' <> '' and tenant_id is not null";
    centre.value(recorded).await
}

#[tokio::test]
async fn what_the_centre_gives_up_goes_at_the_site() {
    let (mut centre, mut left, mut right) = world().await;
    left.sql(&(device(id(91), "MINE") + &task(id(92), "one")));
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
    left.sql(&format!(
        "update devices set serial_number = 'TAKEN' where id = '{}'; {} update tasks set priority = 'low', title = 'uno' where id = '{}';",
        id(91),
        device(id(80), "TAKEN"),
        id(92)
    ));
    centre.execute("alter table tasks add constraint task_has_no_number check (title <> 'uno')").await;
    left.push().await;
    assert_eq!(left.codes().len(), 3);
    // Whoever collects: versions that an entry speaks of stay.
    centre.execute(&format!("delete from devices where id = '{}'", id(91))).await;
    centre.execute("delete from sync.row_versions where last_row is not null").await;
    assert_eq!(centre.value("select count(*) from sync.row_versions where last_row is not null").await, "1");
    for row in [id(91), id(80), id(92)] {
        assert_eq!(centre.discard(row).await, Decision::Done);
        assert_eq!(centre.discard(row).await, Decision::Settled("discarded".to_owned()));
    }
    assert_eq!(decisions(&centre).await, "discarded devices, discarded devices, discarded tasks");
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
    assert_eq!(left.codes(), []);
    let counts = left.value("select (select count(*) from devices) || (select title from tasks)");
    assert_eq!(counts, "1one");
    centre.execute("delete from sync.row_versions where last_row is not null").await;
    assert_eq!(centre.value("select count(*) from sync.row_versions where last_row is not null").await, "0");
}

#[tokio::test]
async fn a_row_that_somebody_holds_is_given_up_later() {
    let (mut centre, mut left, _right) = world().await;
    left.sql(&device(id(91), "MINE"));
    left.exchange().await;
    left.sql(&format!("update devices set serial_number = 'TAKEN' where id = '{}'", id(91)));
    left.push().await;
    left.discard(left.refused()[0].id);
    let mut holder = centre.client().await;
    let hold = holder.transaction().await.unwrap();
    hold.execute("update devices set name = 'held' where id = $1", &[&id(91)]).await.unwrap();
    let batch = left.batch().unwrap();
    let answer = left.send(&batch).await;
    left.hear(&answer);
    assert_eq!(entries(&centre, id(91)).await, "open");
    assert_eq!(centre.discard(id(91)).await, Decision::Busy);
    hold.commit().await.unwrap();
    left.exchange().await;
    assert_eq!((left.codes(), centre.dump(ACME).await), (vec![], left.dump()));
}

#[tokio::test]
async fn an_entry_dies_when_the_rows_version_covers_it_and_an_older_payload_never_replaces_a_newer() {
    let (centre, mut left, _right) = world().await;
    left.sql(&device(id(91), "MINE"));
    left.exchange().await;
    left.sql(&format!("update devices set serial_number = 'TAKEN' where id = '{}'", id(91)));
    left.push().await;
    let seq = centre.value("select seq from sync.quarantine where status = 'open'").await;
    let older = Refused {
        edge: Some((left.me.edge, ReplicaId(left.me.replica))),
        table: 7,
        row: id(91),
        seq: seq.parse::<u64>().unwrap() - 1,
        code: sync::wire::refusals::RULE,
        reason: "an older one".to_owned(),
        payload: "{}".to_owned(),
    };
    ledger::quarantine(&centre.sql, ACME, &[older]).await.unwrap();
    assert_eq!(centre.value("select code from sync.quarantine where status = 'open'").await, "serial_number_taken");
    let cover = |seq: &str| {
        format!(
            "update sync.row_versions set vv = vv || jsonb_build_object('{}', {seq}) where row_id = '{}'",
            left.me.replica,
            id(91)
        )
    };
    ledger::close_covered(&centre.sql, ACME, &[7], &[id(91)]).await.unwrap();
    assert_eq!(entries(&centre, id(91)).await, "open");
    centre.execute(&cover(&seq)).await;
    ledger::close_covered(&centre.sql, ACME, &[7], &[id(91)]).await.unwrap();
    assert_eq!(entries(&centre, id(91)).await, "superseded");
}

#[tokio::test]
async fn a_refused_row_is_tried_again_as_soon_as_what_is_in_its_way_changes() {
    let (centre, mut left, mut right) = world().await;
    let (site, stranger) = (id(70), id(71));
    let with = |row: Uuid, column: &str, value: Uuid| {
        format!("insert into tasks (id, tenant_id, title, {column}) values ('{row}', '{ACME}', 'waits', '{value}');")
    };
    left.sql(
        &(device(id(80), "TAKEN")
            + &with(id(81), "device_id", id(80))
            + &with(id(82), "site_id", site)
            + &with(id(83), "user_id", stranger)
            + &with(id(84), "user_id", EVE)),
    );
    left.push().await;
    assert_eq!(left.codes().len(), 5);
    let waits = left.refused().into_iter().find(|entry| entry.row.0 == id(81)).unwrap().reason;
    assert!(waits.starts_with("it waits for a row that is refused itself: its device"), "{waits}");
    // No session begins, and nobody writes here: what is pulled is enough.
    left.pull().await;
    left.push().await;
    assert_eq!(left.codes().len(), 5, "nothing has changed");
    assert!(left.batch().is_none());
    let steps: [(String, &[u128]); 5] = [
        (format!("update devices set name = 'other' where id = '{}'", id(90)), &[80, 81, 82, 83, 84]),
        (format!("insert into sites (id, tenant_id, name) values ('{site}', '{ACME}', 'Late')"), &[80, 81, 83, 84]),
        (
            format!(
                "insert into users (id, email) values ('{stranger}', 'new@acme');
                 insert into user_tenant_associations (user_id, tenant_id, role) values ('{stranger}', '{ACME}', 'member')"
            ),
            &[80, 81, 84],
        ),
        (
            format!("insert into user_tenant_associations (user_id, tenant_id, role) values ('{EVE}', '{ACME}', 'member')"),
            &[80, 81],
        ),
        (format!("update devices set serial_number = 'FREED' where id = '{}'", id(90)), &[]),
    ];
    for (step, still) in steps {
        centre.execute(&step).await;
        left.pull().await;
        left.push().await;
        let refused: Vec<Uuid> = left.codes().into_iter().map(|(row, _)| row).collect();
        let still: Vec<Uuid> = still.iter().map(|number| id(*number)).collect();
        assert_eq!(refused, still, "{step}");
    }
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
}

#[tokio::test]
async fn a_refused_row_is_tried_again_when_it_changes_at_the_centre_and_what_waits_for_it_follows() {
    let (centre, mut left, mut right) = world().await;
    left.sql(&device(id(91), "MINE"));
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
    left.sql(&format!(
        "update devices set serial_number = 'TAKEN' where id = '{}'; {} {}",
        id(91),
        device(id(80), "TAKEN"),
        task(id(81), "x")
            .replace("title) values", "device_id, title) values")
            .replace(", 'x')", &format!(", '{}', 'x')", id(80)))
    ));
    left.push().await;
    assert_eq!(left.codes().len(), 3);
    // Somebody at the centre writes the number later: theirs wins, and what is left of the edit is taken.
    centre
        .execute(&format!("select pg_sleep(0.01); update devices set serial_number = 'NEW' where id = '{}'", id(91)))
        .await;
    left.pull().await;
    left.push().await;
    assert_eq!(left.codes().len(), 2);
    // A local edit of the device is enough for its task.
    left.sql(&format!("update devices set serial_number = 'OWN' where id = '{}'", id(80)));
    left.push().await;
    assert_eq!(left.codes(), []);
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
}

#[tokio::test]
async fn what_the_centre_releases_is_merged_like_any_push_and_its_site_hears_of_it() {
    let (mut centre, mut left, mut right) = world().await;
    left.sql(&device(id(91), "MINE"));
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
    left.sql(&format!(
        "update devices set serial_number = 'TAKEN', name = 'refused name' where id = '{}'; {}",
        id(91),
        device(id(80), "TAKEN")
    ));
    left.sql("pragma ignore_check_constraints = on; update devices set status = 'cosmic' where name = 'refused name'");
    left.push().await;
    let words = |decision: Decision| match decision {
        Decision::Refused(why) => why,
        other => panic!("{other:?}"),
    };
    // The cause is there still, and nothing has changed.
    let reason = words(centre.release(id(80), &[]).await);
    assert_eq!(reason, "another device already has the serial number \"TAKEN\"");
    for (set, why) in [
        (("tenant_id", "x"), "devices has no column tenant_id that can be written"),
        (("colour", "x"), "devices has no column colour"),
        (("metadata.k", "{"), "metadata.k: \"{\" is no JSON value"),
        (("type", "teapot"), "teapot"),
        (("site_id", "x"), "devices.site_id: expected a uuid"),
    ] {
        let reason = words(centre.release(id(80), &[set]).await);
        assert!(reason.contains(why), "{reason}");
    }
    assert_eq!(entries(&centre, id(80)).await, "open");

    // The site is off line. Somebody at the centre writes the name meanwhile, later than the refused edit.
    centre.execute(&format!("select pg_sleep(0.01); update devices set name = 'later' where id = '{}'", id(91))).await;
    let set = [("serial_number", "NEW"), ("status", "error"), ("metadata.k", "{\"a\":1}")];
    assert_eq!(centre.release(id(91), &set).await, Decision::Done);
    assert_eq!(centre.release(id(80), &[("serial_number", "null")]).await, Decision::Done);
    assert_eq!(centre.release(id(80), &[]).await, Decision::Settled("released".to_owned()));
    let query =
        "select string_agg(name || coalesce(serial_number, '-') || status || metadata, ' ' order by id) from devices
      where serial_number is distinct from 'TAKEN'";
    assert_eq!(centre.value(query).await, r#"pump-offline{} laterNEWerror{"k": {"a": 1}}"#);
    assert_eq!(
        (entries(&centre, id(91)).await, entries(&centre, id(80)).await),
        ("released".into(), "released".into())
    );
    assert_eq!(decisions(&centre).await, "released devices, released devices");
    // What the centre wrote over is the centre's write: the site's has another value.
    let dot = format!("select dots -> 'serial_number' ->> 0 from sync.row_versions where row_id = '{}'", id(91));
    assert_eq!(centre.value(&dot).await, centre.value("select replica from sync.hub").await);
    // The edit that lost to the later name is a conflict like any other.
    assert_eq!(
        centre.value("select string_agg(register || ' ' || (loser ->> 'value'), ',') from sync.conflicts").await,
        "name refused name"
    );
    left.begin_session();
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
    assert_eq!((left.codes(), centre.value("select count(*) from sync.quarantined_rows").await), (vec![], "0".into()));
    assert_eq!(left.value(&format!("select serial_number from devices where id = '{}'", id(91))), "NEW");
}

#[tokio::test]
async fn the_hubs_commands_list_release_and_discard() {
    let (centre, mut left, _right) = world().await;
    left.sql(&(device(id(80), "TAKEN") + &device(id(81), "TAKEN")));
    left.push().await;
    let entry = async |row: Uuid| centre.value(&format!("select id from sync.quarantine where row_id = '{row}'")).await;
    let (first, second) = (entry(id(80)).await, entry(id(81)).await);
    let listed = sync::pg::quarantine::list(&centre.sql).await.unwrap();
    let told = (listed[0].edge.as_deref(), listed[0].table.as_deref(), listed[0].way.as_str());
    assert_eq!((listed.len(), told), (2, (Some("left"), Some("devices"), "up")));
    let commands = [
        ("quarantine list --json".to_owned(), true),
        ("quarantine list".to_owned(), true),
        (format!("quarantine release {first}"), false),
        (format!("quarantine release {first} --set serial_number"), false),
        (format!("quarantine release {first} --set serial_number=FREE --json"), true),
        (format!("quarantine discard {second}"), true),
        (format!("quarantine discard {second} --json"), false),
        (format!("quarantine discard {}", id(1)), false),
    ];
    for (command, done) in commands {
        let words = ["hub", "--database-url", &centre.database_url].into_iter().chain(command.split(' '));
        let code = sync::hub::cli::run(words.map(Into::into)).await;
        assert_eq!(code == std::process::ExitCode::SUCCESS, done, "{command}");
    }
    left.exchange().await;
    assert_eq!((left.codes(), centre.dump(ACME).await), (vec![], left.dump()));
}

#[tokio::test]
async fn a_row_that_an_edge_cannot_store_is_listed_at_the_hub_and_shown_in_its_dump() {
    let (mut centre, mut left, mut right) = world().await;
    // Some other program at the site wants titles to be unique.
    left.sql("create unique index titles on tasks (title)");
    centre.execute(&(task(id(91), "same") + &task(id(92), "same") + &task(id(93), "other"))).await;
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
    assert_eq!(left.codes(), [(id(92), "does_not_fit".to_owned())]);
    assert_eq!(left.value("select count(*) from tasks"), "2");
    let listed =
        "select string_agg(edge || ' ' || way || ' ' || table_name || ' ' || code, ',') from sync.quarantined_rows";
    assert_eq!(centre.value(listed).await, "left down tasks does_not_fit");
    assert!(matches!(centre.discard(id(92)).await, Decision::Refused(_)), "the site wrote nothing");
    // It is renewed, and goes, with the row.
    centre.execute(&format!("update tasks set priority = 'high' where id = '{}'", id(92))).await;
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
    centre.execute(&format!("update tasks set title = 'unlike' where id = '{}'", id(92))).await;
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
    assert_eq!((left.codes(), centre.value(listed).await), (vec![], "-".to_owned()));
    assert_eq!(left.value("select count(*) from sync_hub_rows"), "0");
}

#[tokio::test]
async fn a_row_that_an_edge_could_not_store_is_stored_when_what_was_in_its_way_is_gone() {
    let (centre, mut left, mut right) = world().await;
    left.sql("create unique index titles on tasks (title)");
    centre.execute(&(task(id(91), "same") + &task(id(92), "same"))).await;
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
    assert_eq!(left.codes(), [(id(92), "does_not_fit".to_owned())]);
    let since = left.value("select created_at from sync_quarantine");
    left.begin_session();
    assert_eq!(left.codes(), [(id(92), "does_not_fit".to_owned())], "it is in its way still");
    assert_eq!(left.value("select created_at from sync_quarantine"), since);
    left.sql("drop index titles");
    left.begin_session();
    assert_eq!(left.codes(), []);
    assert_eq!(left.value("select count(*) from tasks where title = 'same'"), "2");
    assert_eq!(left.value("select count(*) from sync_hub_rows"), "0");
    assert_eq!(left.value("select count(*) from sync_rows where base is not null"), "0");
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
}

#[tokio::test]
async fn a_row_that_an_edge_could_not_store_is_forgotten_when_it_leaves_the_scope() {
    let (centre, mut left, mut right) = world().await;
    left.sql("create unique index names on users (first_name)");
    let person = |number| {
        let user = id(number);
        format!(
            "insert into users (id, email, first_name) values ('{user}', '{number}@acme', 'Kim');
             insert into user_tenant_associations (user_id, tenant_id, role) values ('{user}', '{ACME}', 'viewer');"
        )
    };
    centre.execute(&(person(91) + &person(92))).await;
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
    assert_eq!(left.codes(), [(id(92), "does_not_fit".to_owned())]);
    centre.execute(&format!("delete from user_tenant_associations where user_id = '{}'", id(92))).await;
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
    assert_eq!(left.codes(), []);
    left.sql("drop index names");
    left.begin_session();
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
}

#[tokio::test]
async fn a_row_whose_record_of_writes_makes_no_sense_is_refused_alone_and_can_be_given_up() {
    let (centre, mut left, mut right) = world().await;
    left.sql(&(task(id(91), "damaged") + &task(id(92), "damaged too") + &task(id(93), "sound")));
    // A write that is the centre's by its name, and a deleter that saw more than there is.
    left.sql(&format!(
        "update sync_rows set dots = json_set(dots, '$.\"*\"[0]', 1) where row_id = '{}';
         update sync_rows set gone = '{{\"1\":99}}' where row_id = '{}';",
        id(91),
        id(92)
    ));
    left.exchange().await;
    assert_eq!(left.codes(), [(id(91), "forged_version".to_owned()), (id(92), "need_full".to_owned())]);
    assert_eq!(centre.value("select string_agg(title, ',') from tasks").await, "sound");
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
    for entry in left.refused() {
        left.discard(entry.id);
    }
    left.begin_session();
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
    assert_eq!((left.codes(), left.value("select count(*) from tasks")), (vec![], "1".to_owned()));
}
