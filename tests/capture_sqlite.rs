//! Every form of write that SQLite knows, made by a plain client on an edge's file, and the versions it must leave.
//!
//! Each script runs with the system's `sqlite3` and with the linked library, each with `recursive_triggers` off and
//! on, and must leave the same. Expected lines list the rows that wait to be sent; `tests::mirror` explains the form and
//! checks what holds of every version.

#[path = "capture_sqlite/evictions.rs"]
mod evictions;
#[path = "capture_sqlite/file.rs"]
mod file;
#[path = "capture_sqlite/random.rs"]
mod random;
#[path = "capture_sqlite/refusals.rs"]
mod refusals;

use rusqlite::types::Value;
use tests::mirror::{CLIENTS, Mirror};

/// Runs `script` with every client. `errors` are parts of the errors in their order, `expected` the pending versions.
fn check(script: &str, errors: &[&str], expected: &str) {
    for client in CLIENTS {
        let mirror = Mirror::new();
        let seen = mirror.run(client, script);
        assert_eq!(seen.len(), errors.len(), "{client:?}: {script}\n{seen:#?}");
        for (seen, error) in seen.iter().zip(errors) {
            assert!(seen.contains(error), "{client:?}: {script}\nwanted {error}, saw {seen}");
        }
        let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let pending = mirror.pending();
        assert_eq!(pending.lines().collect::<Vec<_>>(), expected, "{client:?}: {script}");
    }
}

#[test]
fn insert_is_one_dot_for_the_whole_row() {
    check(
        "insert into tasks (id, title) values ('$m', 'new'), ('$n', 'newer');",
        &[],
        "tasks m: {5.1} 5.1 *; base {}
         tasks n: {5.2} 5.2 *; base {}",
    );
}

#[test]
fn update_stamps_what_changed_and_moves_updated_at() {
    check(
        "update tasks set title = 'x', description = description where id = '$a';",
        &[],
        "tasks a: {1.3 5.1} 1.3 *; 5.1 title, updated_at; base {1.3}",
    );
    for client in CLIENTS {
        let mirror = Mirror::new();
        mirror
            .run(client, "update tasks set title = 'x' where id = '$a'; update tasks set title = 'x' where id = '$b';");
        assert_eq!(mirror.value("select count(*) from tasks where updated_at > '2026-01-02'"), Value::Integer(2));
        assert_eq!(mirror.value("select count(*) from tasks where created_at > '2026-01-02'"), Value::Integer(0));
    }
}

#[test]
fn updated_at_set_by_the_statement_stays_and_alone_is_a_change() {
    check(
        "update tasks set updated_at = '2020-01-01T00:00:00.000000Z', title = 'x' where id = '$a';
         update tasks set updated_at = '2020-01-01T00:00:00.000000Z' where id = '$b';",
        &[],
        "tasks a: {1.3 5.1} 1.3 *; 5.1 title, updated_at; base {1.3}
         tasks b: {1.4 5.2} 1.4 *; 5.2 updated_at; base {1.4}",
    );
    let mirror = Mirror::new();
    mirror.run(CLIENTS[0], "update tasks set updated_at = '2020-01-01T00:00:00.000000Z', title = 'x';");
    assert_eq!(mirror.value("select count(*) from tasks where updated_at < '2021'"), Value::Integer(2));
}

#[test]
fn updated_at_set_back_to_what_capture_moved_it_to_is_a_change() {
    check(
        "update tasks set title = 'x' where id = '$a';
         create temp table moved as select updated_at from tasks where id = '$a';
         update tasks set updated_at = '2020-01-01T00:00:00.000000Z' where id = '$a';
         update tasks set updated_at = (select updated_at from moved) where id = '$a';",
        &[],
        "tasks a: {1.3 5.3} 1.3 *; 5.1 title; 5.3 updated_at; base {1.3}",
    );
}

#[test]
fn an_update_that_changes_nothing_is_no_write() {
    check(
        "update tasks set title = title;
         update tasks set title = 'A', status = 'open', completed_at = null where id = '$a';
         update tasks set metadata = ' {\"n\": {\"x\": [1, 2]}, \"k\": 1} ' where id = '$a';
         update sites set latitude = 0.1;
         update tasks set title = 'x' where id = 'nobody';
         delete from tasks where id = 'nobody';",
        &[],
        "",
    );
}

#[test]
fn columns_of_a_group_are_stamped_under_its_lead() {
    check(
        "update tasks set completed_at = '2026-02-01T10:00:00.000000Z' where id = '$a';
         update tasks set status = 'done' where id = '$b';
         update sites set longitude = 0.3;",
        &[],
        "sites s: {1.1 5.3} 1.1 *; 5.3 latitude, updated_at; base {1.1}
         tasks a: {1.3 5.1} 1.3 *; 5.1 status, updated_at; base {1.3}
         tasks b: {1.4 5.2} 1.4 *; 5.2 status, updated_at; base {1.4}",
    );
}

#[test]
fn several_writes_of_one_row_keep_the_first_base() {
    check(
        "begin; update tasks set title = 'x' where id = '$a'; update tasks set title = 'y' where id = '$a';
         update tasks set priority = 'low' where id = '$a'; commit;
         insert into tasks (id, title) values ('$m', 'new'); update tasks set title = 'newer' where id = '$m';",
        &[],
        "tasks a: {1.3 5.3} 1.3 *; 5.2 title; 5.3 priority, updated_at; base {1.3}
         tasks m: {5.5} 5.4 *; 5.5 title, updated_at; base {}",
    );
}

#[test]
fn what_is_rolled_back_was_never_stamped() {
    check(
        "begin; update tasks set title = 'x'; delete from devices; rollback;
         begin; update tasks set title = 'x' where id = '$a'; savepoint p; update tasks set priority = 'low' where id = '$a';
         delete from tasks where id = '$b'; rollback to p; commit;",
        &[],
        "tasks a: {1.3 5.1} 1.3 *; 5.1 title, updated_at; base {1.3}",
    );
}

#[test]
fn delete_takes_a_seq_and_keeps_the_last_values() {
    check(
        "update tasks set title = 'last' where id = '$a'; delete from tasks;",
        &[],
        "tasks a: {1.3 5.2} 1.3 *; 5.1 title, updated_at; 5.2 -; gone {1.3 5.2}, dead; base {1.3}
         tasks b: {1.4 5.3} 1.4 *; 5.3 -; gone {1.4 5.3}, dead; base {1.4}",
    );
    let mirror = Mirror::new();
    mirror.run(CLIENTS[0], "update tasks set title = 'last' where id = '$a'; delete from tasks;");
    assert_eq!(mirror.value("select title from sync_last_tasks where id = '$a'"), Value::Text("last".to_owned()));
}

#[test]
fn insert_of_a_dead_id_revives_it_and_keeps_its_delete() {
    check(
        "update tasks set title = 'x' where id = '$a'; delete from tasks where id = '$a';
         insert into tasks (id, title) values ('$a', 'again');
         insert into tasks (id, title) values ('$m', 'm'); delete from tasks where id = '$m';",
        &[],
        "tasks a: {1.3 5.3} 5.2 -; 5.3 *; gone {1.3 5.2}; base {1.3}
         tasks m: {5.5} 5.4 *; 5.5 -; gone {5.5}, dead; base {}",
    );
}

#[test]
fn replace_is_an_update_of_what_changed() {
    check(
        "insert or replace into tasks select id, tenant_id, user_id, site_id, device_id, 'x', description, status,
           priority, due_date, completed_at, metadata, created_at, updated_at from tasks where id = '$a';
         replace into tasks select * from tasks where id = '$b';",
        &[],
        "tasks a: {1.3 5.1} 1.3 *; 5.1 title; base {1.3}",
    );
}

#[test]
fn replace_of_several_rows_at_once_tells_old_from_new() {
    check(
        "replace into devices (id, site_id, name, type, created_at, updated_at)
           select '$d', site_id, 'one', type, created_at, updated_at from devices union all
           select '$m', site_id, 'two', type, created_at, updated_at from devices union all
           select '$d', site_id, 'three', type, created_at, updated_at from devices;",
        &[],
        "devices d: {1.2 5.3} 1.2 *; 5.3 name; base {1.2}
         devices m: {5.2} 5.2 *; base {}",
    );
}

#[test]
fn replace_of_a_dead_id_revives_it() {
    check(
        "replace into tasks (id, title) values ('$m', 'm'); delete from tasks where id = '$m';
         replace into tasks (id, title) values ('$m', 'm');",
        &[],
        "tasks m: {5.3} 5.2 -; 5.3 *; gone {5.2}; base {}",
    );
}

#[test]
fn replace_by_null_takes_the_default_that_it_writes() {
    check(
        "update tasks set status = 'blocked' where id = '$a';
         update or replace tasks set status = null where id = '$a';",
        &[],
        "tasks a: {1.3 5.2} 1.3 *; 5.2 status, updated_at; base {1.3}",
    );
}

#[test]
fn update_or_replace_that_hits_another_key_is_an_update_of_that_row() {
    check(
        "update or replace tasks set id = '$b' where id = '$a';",
        &[],
        "tasks a: {1.3 5.1} 1.3 *; 5.1 -; gone {1.3 5.1}, dead; base {1.3}
         tasks b: {1.4 5.2} 1.4 *; 5.2 device_id, metadata.k, metadata.n, site_id, title, updated_at, user_id; base {1.4}",
    );
}

#[test]
fn a_changed_key_is_a_delete_and_an_insert() {
    check(
        "update tasks set id = '$m' where id = '$a';",
        &[],
        "tasks a: {1.3 5.1} 1.3 *; 5.1 -; gone {1.3 5.1}, dead; base {1.3}
         tasks m: {5.2} 5.2 *; base {}",
    );
    check(
        "update tasks set id = '$b' where id = '$a';
         update or ignore tasks set id = '$b' where id = '$a';",
        &["UNIQUE constraint failed"],
        "",
    );
}

#[test]
fn two_keys_can_be_swapped_by_way_of_a_third() {
    check(
        "begin; update tasks set id = '$m' where id = '$a'; update tasks set id = '$a' where id = '$b';
         update tasks set id = '$b' where id = '$m'; commit;",
        &[],
        "tasks a: {1.3 5.4} 5.1 -; 5.4 *; gone {1.3 5.1}; base {1.3}
         tasks b: {1.4 5.6} 5.3 -; 5.6 *; gone {1.4 5.3}; base {1.4}
         tasks m: {5.5} 5.2 *; 5.5 -; gone {5.5}, dead; base {}",
    );
}

#[test]
fn upsert_is_an_update_or_nothing() {
    check(
        "insert into tasks (id, title) values ('$a', 'x'), ('$m', 'm') on conflict (id) do update set title = excluded.title;
         insert into tasks (id, title) values ('$b', 'x'), ('$n', 'n') on conflict do nothing;
         insert into tasks (id, title) values ('$b', 'x') on conflict (id) do update set title = 'B';",
        &[],
        "tasks a: {1.3 5.1} 1.3 *; 5.1 title, updated_at; base {1.3}
         tasks m: {5.2} 5.2 *; base {}
         tasks n: {5.3} 5.3 *; base {}",
    );
}

#[test]
fn rows_that_are_ignored_or_fail_leave_no_stamp() {
    check(
        "insert or ignore into tasks (id, title) values ('$m', 'm'), ('$a', 'x'), ('$n', 'n');
         insert or ignore into tasks (id, title, status) values ('$o', 'o', 'no such');",
        &[],
        "tasks m: {5.1} 5.1 *; base {}
         tasks n: {5.2} 5.2 *; base {}",
    );
    check(
        "insert or fail into tasks (id, title) values ('$m', 'm'), ('$a', 'x'), ('$n', 'n');
         insert or abort into tasks (id, title) values ('$o', 'm'), ('$a', 'x');
         insert into tasks (id, title) values ('$p', 'm'), ('$a', 'x');
         insert or rollback into tasks (id, title) values ('$q', 'm'), ('$a', 'x');",
        &["UNIQUE", "UNIQUE", "UNIQUE", "UNIQUE"],
        "tasks m: {5.1} 5.1 *; base {}",
    );
    check(
        "update or fail tasks set status = case id when '$a' then 'done' else 'no such' end;
         update tasks set status = case id when '$b' then 'done' else 'no such' end;",
        &["CHECK", "CHECK"],
        "tasks a: {1.3 5.1} 1.3 *; 5.1 status, updated_at; base {1.3}",
    );
}

#[test]
fn or_ignore_and_or_replace_outside_do_not_reach_the_statements_inside() {
    check(
        "update tasks set title = 'x'; update or ignore tasks set title = 'y' where id = '$a';
         update or replace tasks set title = 'z' where id = '$b';
         insert or ignore into tasks (id, title) values ('$m', 'm'); insert or ignore into tasks (id, title) values ('$n', 'n');
         update or ignore tasks set title = 'm2' where id = '$m'; delete from tasks where id = '$n';
         insert or replace into tasks (id, title) values ('$n', 'n2');",
        &[],
        "tasks a: {1.3 5.3} 1.3 *; 5.3 title, updated_at; base {1.3}
         tasks b: {1.4 5.4} 1.4 *; 5.4 title, updated_at; base {1.4}
         tasks m: {5.7} 5.5 *; 5.7 title, updated_at; base {}
         tasks n: {5.9} 5.8 -; 5.9 *; gone {5.8}; base {}",
    );
}

#[test]
fn a_candidate_left_behind_hides_no_later_delete() {
    check(
        "insert or ignore into tasks (id, title) values ('$a', 'x'); delete from tasks where id = '$a';
         insert or fail into tasks (id, title) values ('$b', 'x'); delete from tasks where id = '$b';
         insert into tasks (id, title) values ('$b', 'again');
         replace into tasks (id, title, created_at, updated_at)
           values ('$b', 'B', '2020-01-01T00:00:00.000000Z', '2020-01-01T00:00:00.000000Z');
         delete from tasks where id = '$b';",
        &["UNIQUE"],
        "tasks a: {1.3 5.1} 1.3 *; 5.1 -; gone {1.3 5.1}, dead; base {1.3}
         tasks b: {1.4 5.5} 5.3 *; 5.4 created_at, title, updated_at; 5.5 -; gone {1.4 5.5}, dead; base {1.4}",
    );
}

#[test]
fn cascades_are_writes_where_foreign_keys_are_on() {
    check(
        "pragma foreign_keys = on; delete from sites;",
        &[],
        "sites s: {1.1 5.4} 1.1 *; 5.4 -; gone {1.1 5.4}, dead; base {1.1}
         devices d: {1.2 5.3} 1.2 *; 5.3 -; gone {1.2 5.3}, dead; base {1.2}
         tasks a: {1.3 5.2} 1.3 *; 5.1 site_id; 5.2 device_id, updated_at; base {1.3}",
    );
    check(
        "pragma foreign_keys = off; delete from sites;",
        &[],
        "sites s: {1.1 5.1} 1.1 *; 5.1 -; gone {1.1 5.1}, dead; base {1.1}",
    );
    check(
        "pragma foreign_keys = on; replace into devices (id, site_id, name, type, created_at, updated_at)
           select id, site_id, 'x', type, created_at, updated_at from devices;
         insert into devices (id, site_id, name, type) values ('$m', '$x', 'x', 'meter');",
        &["FOREIGN KEY"],
        "devices d: {1.2 5.2} 1.2 *; 5.2 name; base {1.2}
         tasks a: {1.3 5.1} 1.3 *; 5.1 device_id, updated_at; base {1.3}",
    );
}

#[test]
fn metadata_is_stamped_by_its_keys() {
    check(
        "update tasks set metadata = '{\"k\":2,\"n\":{\"x\":[1,2]},\"z\":null}' where id = '$a';
         update tasks set metadata = json_remove(metadata, '$.k') where id = '$a';
         update tasks set metadata = json_set(metadata, '$.n.x[0]', 9), title = 'x' where id = '$a';",
        &[],
        "tasks a: {1.3 5.3} 1.3 *; 5.1 metadata.z; 5.2 metadata.k; 5.3 metadata.n, title, updated_at; base {1.3}",
    );
    check(
        "update tasks set metadata = '{\"k\":true,\"n\":\"{\\\"x\\\":[1,2]}\"}' where id = '$a';
         update tasks set metadata = '{\"k\":true,\"n\":{\"x\":[1,2]}}' where id = '$a';",
        &[],
        "tasks a: {1.3 5.2} 1.3 *; 5.1 metadata.k; 5.2 metadata.n, updated_at; base {1.3}",
    );
}

#[test]
fn metadata_keys_may_be_anything_that_json_allows() {
    let odd = r#"{"":1,"a.b":1,"it''s":1,"say \"hi\"":1,"back\\slash":1,"$.[0]":1,"ключ":1,"*":1,"tab\t":1}"#;
    let registers = "metadata., metadata.$.[0], metadata.*, metadata.a.b, metadata.back\\slash, metadata.it's, \
         metadata.say \"hi\", metadata.tab\t, metadata.ключ, updated_at";
    check(
        &format!("update tasks set metadata = '{odd}' where id = '$b';"),
        &[],
        &format!("tasks b: {{1.4 5.1}} 1.4 *; 5.1 {registers}; base {{1.4}}"),
    );
    check(
        &format!(
            "update tasks set metadata = '{odd}' where id = '$b'; update tasks set metadata = '{{}}' where id = '$b';"
        ),
        &[],
        &format!("tasks b: {{1.4 5.2}} 1.4 *; 5.2 {registers}; base {{1.4}}"),
    );
}

#[test]
fn reals_survive_to_the_last_bit() {
    let next = f64::from_bits(0.1_f64.to_bits() + 1);
    check(
        &format!("update sites set latitude = {next:?};"),
        &[],
        "sites s: {1.1 5.1} 1.1 *; 5.1 latitude, updated_at; base {1.1}",
    );
    for client in CLIENTS {
        let mirror = Mirror::new();
        mirror.run(client, "update sites set latitude = 0.1 + 0.2, longitude = 1.0 / 3e16; delete from sites;");
        assert_eq!(mirror.value("select latitude from sync_last_sites"), Value::Real(0.1 + 0.2));
        assert_eq!(mirror.value("select longitude from sync_last_sites"), Value::Real(1.0 / 3e16));
    }
    check(
        "update sites set longitude = 1.0 / 3e16; replace into sites select * from sites;
         insert or replace into sites select id, tenant_id, 'x', address, latitude, longitude, timezone, metadata,
           created_at, updated_at from sites;",
        &[],
        "sites s: {1.1 5.2} 1.1 *; 5.1 latitude, updated_at; 5.2 name; base {1.1}",
    );
}

#[test]
fn a_box_that_is_not_enrolled_stamps_as_replica_zero() {
    let mirror = Mirror::new();
    mirror.run(
        CLIENTS[0],
        "update sync_self set replica = 0, tenant_id = null; insert into tasks (id, title) values ('$m', 'm');",
    );
    let version = "select vv || (dots ->> '$.\"*\"[0]') from sync_rows where row_id = '$m'";
    assert_eq!(mirror.value(version), Value::Text("{\"0\":1}0".to_owned()));
    assert_eq!(mirror.value("select tenant_id from tasks where id = '$m'"), Value::Null);
}

#[test]
fn the_person_is_the_fourth_part_of_the_dot() {
    let mirror = Mirror::new();
    mirror.run(
        CLIENTS[0],
        "begin; update sync_self set actor = '$u'; update tasks set title = 'x' where id = '$a';
         update sync_self set actor = null; commit; update tasks set priority = 'low' where id = '$a';",
    );
    let by =
        |register: &str| mirror.value(&format!("select dots -> '$.{register}[3]' from sync_rows where row_id = '$a'"));
    assert_eq!(by("title"), Value::Text(format!("\"{}\"", tests::mirror::id('u'))));
    assert_eq!(by("priority"), Value::Null);
}

#[test]
fn a_stamp_is_later_than_the_row_even_when_the_clock_is_not() {
    let mirror = Mirror::new();
    let future = (4_102_444_800_000_u64 << 16) + 7;
    mirror.run(
        CLIENTS[0],
        &format!(
            "update sync_rows set dots = '{{\"*\":[1,3,{future}]}}', hlc = {future} where row_id = '$a';
             update tasks set title = 'x' where id = '$a'; delete from tasks where id = '$a';"
        ),
    );
    let hlc = mirror.value("select hlc from sync_rows where row_id = '$a'");
    assert_eq!(hlc, Value::Integer(future.cast_signed() + 2));
    mirror.pending();
}

#[test]
fn a_stamp_tells_the_time_of_the_wall_clock() {
    let mirror = Mirror::new();
    mirror.run(CLIENTS[0], "update tasks set title = 'x' where id = '$a';");
    let apart = "select abs((hlc >> 16) / 1000 - strftime('%s', 'now')) < 600 from sync_rows where row_id = '$a'";
    assert_eq!(mirror.value(apart), Value::Integer(1));
}

#[test]
fn a_new_write_retries_what_the_hub_refused() {
    let mirror = Mirror::new();
    let script =
        "update tasks set title = 'x' where id = '$a'; update sync_rows set refused = 'no' where row_id = '$a';";
    mirror.run(CLIENTS[0], script);
    mirror.run(CLIENTS[0], "update tasks set title = 'y' where id = '$a';");
    assert_eq!(mirror.value("select refused from sync_rows where row_id = '$a'"), Value::Null);
}

#[test]
fn what_apply_writes_is_not_stamped() {
    check(
        "begin; update sync_self set applying = 1; delete from user_site_assignments; update users set first_name = 'x';
         update tasks set title = 'x'; insert or replace into devices (id, site_id, name, type) values ('$d', '$s', 'x', 'meter');
         update sync_self set applying = 0; commit;",
        &[],
        "",
    );
}
