//! `edge backup`: whole as of one moment, durable, private, and never over something else.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rusqlite::Connection;
use serde_json::Value;
use tests::desk::{TASK_HERE, TASK_THERE};
use tests::programs::Running;

use super::desk::Desk;
use super::{on, path, says};

const CREDENTIAL: &str = r#"{"hub":"http://hub","edge":"00000000-0000-4000-8000-00000000ed9e","name":"hq-1","replica":7,
    "credential":"hush","tenant":"00000000-0000-4000-8000-0000000000a0","site":"00000000-0000-4000-8000-000000000101",
    "fence":{"count":0,"token":"f"}}"#;

fn one(file: &str, sql: &str) -> String {
    let connection = Connection::open(file).unwrap();
    connection
        .query_row(sql, [], |row| row.get::<_, rusqlite::types::Value>(0))
        .map(|value| format!("{value:?}"))
        .unwrap()
}

#[test]
fn a_backup_holds_everything_and_can_be_an_edge_again() {
    let desk = Desk::new();
    fs::write(desk.file("credential.json"), CREDENTIAL).unwrap();
    desk.sql(&format!("update tasks set title = 'unsent' where id = '{TASK_HERE}'"));
    desk.sql("insert into sync_sessions (token_hash, user_id, created_at, last_seen_at, expires_at) values (x'00', 'x', '', '', '')");
    desk.sql("insert into sync_emergency_codes (id, code_hash, created_at, used_at) values ('x', x'00', '', null)");
    let file = path(&desk.scratch, "monday.backup");
    let said = desk.says(&["backup", &file]);
    says(&said, &[&file, "1 of them waiting", "keep it as you keep a key"]);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(desk.scratch.names(), ["data", "monday.backup"], "nothing is left beside it");
    assert!(one(&file, "select credential from sync_backup").contains("hush"));
    assert_eq!(one(&file, "select count(*) from sync_sessions"), "Integer(0)", "nobody is signed in by a restore");
    let codes = one(&file, "select count(*) from sync_emergency_codes");
    assert_eq!(codes, "Integer(0)", "no used code is good again");

    let dump = desk.says(&["dump"]);
    let replacement = path(&desk.scratch, "replacement");
    let said = on(&desk.scratch, &replacement, &["restore", &file]).succeeded();
    says(&said, &["restored edge hq-1", "1 of them waiting", "edge serve"]);
    assert_eq!(on(&desk.scratch, &replacement, &["dump"]).succeeded(), dump);
    let credential = Path::new(&replacement).join("credential.json");
    assert_eq!(fs::metadata(&credential).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::read_to_string(credential).unwrap().contains("hush"));
    let (_edge, _) = Running::serve(Path::new(&replacement), &desk.scratch);
    let status: Value =
        serde_json::from_str(&on(&desk.scratch, &replacement, &["status", "--json"]).succeeded()).unwrap();
    assert_eq!(status["pending"], 1, "what was unsent is unsent in the copy");
}

#[test]
fn a_restore_overwrites_nothing_and_takes_only_whole_backups() {
    let desk = Desk::new();
    fs::write(desk.file("credential.json"), CREDENTIAL).unwrap();
    let file = path(&desk.scratch, "monday.backup");
    desk.says(&["backup", &file]);
    says(&desk.refuses(&["restore", &file]), &["edge.db is there already", "another --data", "[file_exists]"]);
    let nowhere = path(&desk.scratch, "nowhere");
    let refused = |file: &str| on(&desk.scratch, &nowhere, &["restore", file]).failed(1);
    says(&refused("no.backup"), &["cannot read the backup no.backup", "[file]"]);
    says(
        &refused(desk.file("credential.json").to_str().unwrap()),
        &["credential.json", "no backup of an edge", "not a SQLite file", "[foreign_file]"],
    );
    says(&refused(desk.file("edge.db").to_str().unwrap()), &["edge.db", "no backup of an edge"]);
    let mut bytes = fs::read(&file).unwrap();
    bytes[4096 * 4..4096 * 5].fill(0xA5);
    fs::write(&file, bytes).unwrap();
    says(&refused(&file), &["cannot restore", "damaged"]);
    assert!(!Path::new(&nowhere).join("edge.db").exists());
    assert!(!Path::new(&nowhere).join("credential.json").exists());
    assert!(!Path::new(&nowhere).join("edge.db.restoring").exists());
}

#[test]
fn nothing_is_overwritten_and_a_failed_backup_leaves_nothing() {
    let desk = Desk::new();
    let file = path(&desk.scratch, "there");
    fs::write(&file, "something else").unwrap();
    says(&desk.refuses(&["backup", &file]), &[&file, "not overwritten", "another name"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "something else");
    let below = path(&desk.scratch, "no/such/directory");
    says(&desk.refuses(&["backup", &below]), &[&below]);
    says(&on(&desk.scratch, "nowhere", &["backup", "x"]).failed(1), &["there is no edge in"]);

    fs::write(desk.file("credential.json"), "{").unwrap();
    says(&desk.refuses(&["backup", "x"]), &["credential.json", "damaged"]);
    fs::remove_file(desk.file("credential.json")).unwrap();
    desk.sql("pragma wal_checkpoint(truncate)");
    let mut bytes = fs::read(desk.file("edge.db")).unwrap();
    bytes[4096 * 4..4096 * 5].fill(0xA5);
    fs::write(desk.file("edge.db"), bytes).unwrap();
    says(&desk.refuses(&["backup", "x"]), &["cannot copy the mirror to x"]);
    assert_eq!(desk.scratch.names(), ["data", "there"]);
}

/// Stops the writer when the test ends, in whatever way.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_backup_beside_a_running_edge_and_a_busy_program_is_of_one_moment() {
    let desk = Desk::new();
    let (mut edge, _) = Running::serve(Path::new(&desk.data), &desk.scratch);
    desk.sql("update tasks set title = 'before the first round'");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        // Two rows that are always equal, whatever the moment, and a counter that counts both.
        scope.spawn(|| {
            let connection = desk.open();
            for round in 0_u32.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let write = format!(
                    "begin immediate; update tasks set title = 'round {round}' where id = '{TASK_HERE}';
                     update tasks set title = 'round {round}' where id = '{TASK_THERE}'; commit"
                );
                connection.execute_batch(&write).unwrap();
            }
        });
        for number in 0..6 {
            // A name that SQLite would take for a URI.
            let name = format!("file:{number}?mode=memory");
            let said: Value = serde_json::from_str(&desk.says(&["backup", "--json", &name])).unwrap();
            let file = desk.scratch.path().join(&name);
            assert_eq!(said["bytes"], fs::metadata(&file).unwrap().len());
            let moved = path(&desk.scratch, &format!("copy-{number}"));
            fs::rename(&file, &moved).unwrap();
            let titles = format!("select count(distinct title) from tasks where id in ('{TASK_HERE}', '{TASK_THERE}')");
            assert_eq!(one(&moved, &titles), "Integer(1)");
            let counted = "select (select seq from sync_self) - max(vv ->> '$.\"7\"') from sync_rows";
            assert_eq!(one(&moved, counted), "Integer(0)", "the counter and the rows are of one moment");
            assert_eq!(one(&moved, "pragma integrity_check"), "Text(\"ok\")");
        }
    });
    assert!(edge.end(rustix::process::Signal::TERM).success(), "{}", edge.errors());
}
