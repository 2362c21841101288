//! The file itself: whose it is, who may open it, and that it always has this program's tables and triggers.

use std::process::Command;

use rusqlite::Connection;
use sync::catalog::{Column, Kind, TABLES};
use sync::merge::ids::PersonId;
use sync::sqlite::error::StoreError;
use sync::sqlite::{capture, open, open_in_memory, open_reader, schema};
use tests::mirror::open_when_free;
use tests::scratch::Scratch;

fn one<T: rusqlite::types::FromSql>(connection: &Connection, query: &str) -> T {
    connection.query_row(query, [], |row| row.get(0)).unwrap()
}

#[test]
fn a_commit_is_on_the_disk_and_foreign_keys_bind_us() {
    let dir = Scratch::new();
    let store = open(&dir.path().join("edge.db")).unwrap();
    assert_eq!(one::<String>(store.connection(), "pragma journal_mode"), "wal");
    assert_eq!(one::<i64>(store.connection(), "pragma synchronous"), 2);
    assert_eq!(one::<i64>(store.connection(), "pragma foreign_keys"), 1);
}

#[test]
fn a_second_writer_is_told_who_is_in_the_way_and_a_reader_is_not() {
    let dir = Scratch::new();
    let path = dir.path().join("edge.db");
    let first = open(&path).unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    let reader = open_reader(&path).unwrap();
    assert_eq!(one::<i64>(&reader, "select count(*) from tasks"), 0);
    assert!(reader.execute("delete from sync_self", []).is_err());
    drop(first);
    open_when_free(&path).unwrap();
}

/// POSIX locks belong to a process: closing any descriptor of the file would drop those that SQLite holds. A plain client
/// that leaves would then believe to be the last one, take the log away, and what we write afterwards would be lost.
#[test]
fn opening_a_reader_leaves_the_writer_its_locks() {
    let dir = Scratch::new();
    let path = dir.path().join("edge.db");
    let mut store = open(&path).unwrap();
    drop(open_reader(&path).unwrap());
    assert!(matches!(open(&path).unwrap_err(), StoreError::Locked { .. }));
    let plain = |script: &str| {
        let output = Command::new("sqlite3").arg(&path).arg(script).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    plain("insert into tasks (title) values ('theirs')");
    let tx = store.begin().unwrap();
    tx.execute("insert into tasks (title) values ('ours')", []).unwrap();
    tx.commit().unwrap();
    assert_eq!(plain("select count(*) from tasks"), "2\n", "the plain client took the log away");
}

#[test]
fn a_plain_client_that_closes_leaves_the_log_to_those_who_have_the_file_open() {
    let dir = Scratch::new();
    let path = dir.path().join("edge.db");
    let store = open(&path).unwrap();
    // Closing a handle of the file would give up the locks of this whole process; opening readers must not do that.
    let reader = open_reader(&path).unwrap();
    let write = Command::new("sqlite3").arg(&path).arg("update sync_self set last_error = 'seen'").status();
    assert!(write.expect("the sqlite3 program is installed").success());
    assert!(dir.path().join("edge.db-wal").exists(), "the program took itself for the last client");
    assert_eq!(one::<String>(store.connection(), "select last_error from sync_self"), "seen");
    assert_eq!(one::<String>(&reader, "select last_error from sync_self"), "seen");
}

#[test]
fn a_file_of_another_program_is_refused_and_untouched() {
    let dir = Scratch::new();
    let other = dir.path().join("other.db");
    Connection::open(&other).unwrap().execute_batch("pragma journal_mode = wal; create table notes (text)").unwrap();
    let text = dir.path().join("notes.db");
    std::fs::write(&text, "a shopping list, longer than a header of a hundred bytes".repeat(3)).unwrap();
    for path in [other, text] {
        let listing = || {
            let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> = names.collect();
            names.sort();
            names
        };
        let before = (std::fs::read(&path).unwrap(), listing());
        for error in [open(&path).unwrap_err(), open_reader(&path).unwrap_err()] {
            assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
        }
        assert_eq!((std::fs::read(&path).unwrap(), listing()), before);
    }
}

#[test]
fn a_reader_does_not_make_a_file() {
    let dir = Scratch::new();
    let path = dir.path().join("edge.db");
    assert!(matches!(open_reader(&path).unwrap_err(), StoreError::File { .. }));
    assert!(!path.exists());
}

/// The first page is the one that says how long the file is.
#[test]
fn a_checkpoint_that_was_cut_after_the_first_page_is_no_damage() {
    const PAGE_BYTES: usize = 4096;
    let (before, after) = (Scratch::new(), Scratch::new());
    let store = open(&before.path().join("edge.db")).unwrap();
    let grow = "pragma wal_checkpoint(truncate); pragma wal_autocheckpoint = 0;
        insert into sync_replicas (id, name)
          with recursive n (n) as (select 100 union all select n + 1 from n where n < 9000) select n, 'replica ' || n from n;";
    store.connection().execute_batch(grow).unwrap();
    let path = after.path().join("edge.db");
    for name in ["edge.db", "edge.db-wal"] {
        std::fs::copy(before.path().join(name), after.path().join(name)).unwrap();
    }
    store.connection().execute_batch("pragma wal_checkpoint(full);").unwrap();
    let (mut cut, whole) = (std::fs::read(&path).unwrap(), std::fs::read(before.path().join("edge.db")).unwrap());
    assert!(cut.len() < whole.len() && cut[..PAGE_BYTES] != whole[..PAGE_BYTES]);
    cut[..PAGE_BYTES].copy_from_slice(&whole[..PAGE_BYTES]);
    std::fs::write(&path, cut).unwrap();
    assert_eq!(edge::rescue::damage(&path, true), None);
    assert_eq!(one::<i64>(&open_reader(&path).unwrap(), "select count(*) from sync_replicas where id >= 100"), 8901);
    let store = open_when_free(&path).unwrap();
    assert_eq!(one::<String>(store.connection(), "pragma integrity_check"), "ok");
}

#[test]
fn an_empty_file_becomes_ours() {
    let dir = Scratch::new();
    let path = dir.path().join("edge.db");
    std::fs::write(&path, "").unwrap();
    drop(open(&path).unwrap());
    drop(open_when_free(&path).unwrap());
}

#[test]
fn a_newer_file_is_refused_and_keeps_its_triggers() {
    let dir = Scratch::new();
    let path = dir.path().join("edge.db");
    let store = open(&path).unwrap();
    let later = "insert into refinery_schema_history select version + 1, 'later', applied_on, checksum
        from refinery_schema_history order by version desc limit 1; drop trigger sync_tasks_insert";
    store.connection().execute_batch(later).unwrap();
    drop(store);
    let error = open_when_free(&path).unwrap_err();
    assert!(matches!(error, StoreError::Newer { file, program, .. } if file == program + 1), "{error}");
    assert_eq!(schema::installed(&open_reader(&path).unwrap()).unwrap().len(), capture::triggers().len() - 1);
}

#[test]
fn a_migration_that_fails_leaves_the_tables_as_they_were() {
    let dir = Scratch::new();
    let path = dir.path().join("edge.db");
    let half =
        "pragma application_id = 0x57617953; create table sync_replicas (mine); insert into sync_replicas values (1)";
    Connection::open(&path).unwrap().execute_batch(half).unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Migration { .. }), "{error}");
    let left = Connection::open(&path).unwrap();
    assert_eq!(one::<i64>(&left, "select mine from sync_replicas"), 1);
    assert_eq!(one::<i64>(&left, "select count(*) from sqlite_schema where name in ('tenants', 'sync_rows')"), 0);
}

#[test]
fn triggers_that_were_dropped_or_changed_come_back() {
    let dir = Scratch::new();
    let path = dir.path().join("edge.db");
    drop(open(&path).unwrap());
    let damage = "drop trigger sync_tasks_delete; drop trigger sync_sites_update;
        create trigger sync_sites_update after update on sites begin select 1; end;
        create trigger sync_of_old after update on sites begin select 1; end;
        update sync_self set applying = 1, actor = '00000000-0000-4000-8000-000000000000'";
    Connection::open(&path).unwrap().execute_batch(damage).unwrap();
    let store = open_when_free(&path).unwrap();
    assert_eq!(schema::installed(store.connection()).unwrap(), capture::triggers());
    assert_eq!(one::<String>(store.connection(), "select schema_fingerprint from sync_self"), capture::fingerprint());
    assert_eq!(one::<i64>(store.connection(), "select applying from sync_self where actor is null"), 0);
}

#[test]
fn an_undamaged_file_is_opened_without_a_write() {
    let dir = Scratch::new();
    let path = dir.path().join("edge.db");
    drop(open(&path).unwrap());
    let before = std::fs::read(&path).unwrap();
    drop(open_when_free(&path).unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn writes_are_stamped_for_the_person_and_not_while_paused() {
    let mut store = open_in_memory().unwrap();
    let person = PersonId("00000000-0000-4000-8000-000000000001".parse().unwrap());
    let tx = store.begin().unwrap();
    capture::pause(&tx).unwrap();
    tx.execute("insert into tasks (title) values ('pulled')", []).unwrap();
    capture::resume(&tx).unwrap();
    capture::act_for(&tx, Some(person)).unwrap();
    tx.execute("insert into tasks (title) values ('made by a person')", []).unwrap();
    capture::act_for(&tx, None).unwrap();
    tx.execute("insert into tasks (title) values ('made by a program')", []).unwrap();
    tx.commit().unwrap();
    let by = "select group_concat(title || ': ' || coalesce(dots ->> '$.\"*\"[3]', 'nobody'), ', ' order by title)
        from sync_rows join tasks on id = row_id";
    assert_eq!(one::<String>(store.connection(), by), format!("made by a person: {person}, made by a program: nobody"));
}

#[test]
fn the_mirror_has_the_columns_of_the_catalog() {
    let store = open_in_memory().unwrap();
    let columns = |table: &str| -> Vec<(String, String, bool)> {
        let query = "select name, type, \"notnull\" from pragma_table_info(?1) order by cid";
        let mut statement = store.connection().prepare(query).unwrap();
        let rows = statement.query_map([table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        rows.map(Result::unwrap).collect()
    };
    for table in TABLES {
        let kind = |column: &Column| if column.kind == Kind::Real { "REAL" } else { "TEXT" };
        let both = table.direction == sync::catalog::Direction::Both;
        let nullable = |column: &Column| column.nullable || (both && column.name == "tenant_id");
        let declared = |column: &Column| (column.name.to_owned(), kind(column).to_owned(), !nullable(column));
        assert_eq!(columns(table.sqlite), table.columns.iter().map(declared).collect::<Vec<_>>(), "{}", table.sqlite);
        let names = |table: &str| columns(table).into_iter().map(|column| column.0).collect::<Vec<_>>();
        if both {
            let candidate = names(&format!("sync_candidate_{}", table.sqlite));
            assert_eq!(names(&format!("sync_last_{}", table.sqlite)), names(table.sqlite));
            assert_eq!(candidate[1..=table.columns.len()], names(table.sqlite));
        }
    }
}

#[test]
fn enum_labels_of_the_mirror_are_those_of_the_catalog() {
    let store = open_in_memory().unwrap();
    for table in TABLES {
        let text: String =
            one(store.connection(), &format!("select sql from sqlite_schema where name = '{}'", table.sqlite));
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ").replace("( ", "(").replace(" )", ")");
        for column in table.columns {
            let Kind::Enum(_, labels) = column.kind else { continue };
            let check = format!("check ({} in ('{}'))", column.name, labels.join("', '"));
            assert!(text.contains(&check), "{} lacks {check}", table.sqlite);
        }
    }
}
