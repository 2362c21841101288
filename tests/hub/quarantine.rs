//! Refused rows: what is shown of them, and what becomes of them.

use uuid::Uuid;

use super::file::File;
use super::site::{ACME, Centre, HEADQUARTERS, WAREHOUSE, id};

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
