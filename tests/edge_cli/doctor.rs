//! `edge doctor`: what is as it should be, and each thing that can be wrong, with what to do.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};
use tests::desk::{DEVICE_HERE, TASK_HERE};
use tests::programs::Running;
use tests::scratch::Scratch;

use super::desk::Desk;
use super::{on, path, portal, says};

/// What the doctor finds about something, and whether it exits with 0.
fn finding(scratch: &Scratch, data: &str, about: &str) -> (Value, bool) {
    let said = on(scratch, data, &["doctor", "--json"]);
    let report: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    let findings = report["findings"].as_array().unwrap();
    assert_eq!(report["ok"], (said.code == Some(0)), "{said:?}");
    for finding in findings {
        assert_eq!(finding["level"] == "ok", finding.get("do").is_none(), "{finding}");
    }
    let worst = findings.iter().any(|finding| finding["level"] == "error");
    assert_eq!(said.code, Some(i32::from(worst)), "{said:?}");
    let found = findings
        .iter()
        .filter(|finding| finding["about"] == about)
        .max_by_key(|finding| ["ok", "warn", "error"].iter().position(|level| finding["level"] == *level));
    (found.unwrap_or_else(|| panic!("nothing about {about}: {report}")).clone(), (said.code == Some(0)))
}

#[track_caller]
fn check(desk: &Desk, about: &str, level: &str, words: &[&str]) {
    let (finding, _) = finding(&desk.scratch, &desk.data, about);
    assert_eq!(finding["level"], level, "{finding}");
    says(&format!("{} {}", finding["found"], finding["do"]), words);
}

#[test]
fn a_new_edge_is_well_beside_a_running_one_and_alone() {
    let scratch = Scratch::new();
    let data = path(&scratch, "data");
    let (mut edge, _) = Running::serve(Path::new(&data), &scratch);
    let said = on(&scratch, &data, &["doctor"]).succeeded();
    says(&said, &["an edge runs", "every page reads back", "every write is stamped", "not enrolled", "edge enroll"]);
    assert!(edge.end(rustix::process::Signal::TERM).success());
    says(&on(&scratch, &data, &["doctor"]).succeeded(), &["no edge runs here", "every page reads back"]);
    says(&on(&scratch, "nowhere", &["doctor"]).failed(1), &["errors"]);
    assert!(!scratch.path().join("nowhere").exists(), "looking makes nothing");
}

#[test]
fn what_loses_writes_is_an_error() {
    let desk = Desk::new();
    check(&desk, "capture", "ok", &[]);
    let trigger = "sync_tasks_insert";
    desk.sql(&format!("drop trigger {trigger}"));
    check(&desk, "capture", "error", &["restart the edge"]);

    let desk = Desk::new();
    desk.sql("update sync_self set applying = 1");
    check(&desk, "capture", "error", &["switched off"]);

    let desk = Desk::new();
    desk.sql("insert into refinery_schema_history select 99, 'later', applied_on, checksum from refinery_schema_history limit 1");
    check(&desk, "schema", "error", &["99", "start the version"]);

    let desk = Desk::new();
    desk.sql("pragma wal_checkpoint(truncate)");
    let mut bytes = fs::read(desk.file("edge.db")).unwrap();
    let page = 4096 * 4;
    bytes[page..page + 4096].fill(0xA5);
    fs::write(desk.file("edge.db"), bytes).unwrap();
    check(&desk, "mirror", "error", &["sets the file aside"]);

    fs::write(desk.file("edge.db"), "nothing that SQLite knows").unwrap();
    check(&desk, "mirror", "error", &["not an edge's database"]);
}

#[test]
fn what_waits_was_refused_or_is_missing_is_told_without_an_error() {
    let desk = Desk::new();
    check(&desk, "waiting", "ok", &["nothing waits"]);
    desk.sql(&format!("update tasks set title = 'x' where id = '{TASK_HERE}'"));
    check(&desk, "waiting", "ok", &["1 rows wait"]);
    desk.sql("update sync_rows set hlc = (strftime('%s', 'now', '-2 days') * 1000) << 16");
    check(&desk, "waiting", "warn", &["2880 min", "only copy"]);
    desk.sql(&format!(
        "insert into sync_quarantine (id, tbl, row_id, code, reason, payload, created_at)
         values ('5fbb3f4c-3d09-5c5e-8d5e-000000000001', 8, '{TASK_HERE}', 'rule', 'x', '{{}}', '2026-01-01T00:00:00.000000Z');
         pragma foreign_keys = off; update sync_self set applying = 1; delete from devices where id = '{DEVICE_HERE}';
         update tasks set device_id = '{DEVICE_HERE}'; update sync_self set applying = 0"
    ));
    check(&desk, "refused", "warn", &["1 rows were refused", "edge quarantine list"]);
    check(&desk, "references", "warn", &["tasks to devices"]);
    assert!(finding(&desk.scratch, &desk.data, "references").1, "none of this is an error");
}

#[test]
fn secrets_that_others_may_read_are_an_error() {
    let desk = Desk::new();
    fs::set_permissions(&desk.data, fs::Permissions::from_mode(0o755)).unwrap();
    check(&desk, "files", "warn", &["0755"]);
    fs::set_permissions(&desk.data, fs::Permissions::from_mode(0o700)).unwrap();
    check(&desk, "files", "ok", &["private"]);
    fs::write(desk.file("credential.json"), "{}").unwrap();
    fs::set_permissions(desk.file("credential.json"), fs::Permissions::from_mode(0o640)).unwrap();
    check(&desk, "files", "error", &["0640", "chmod 600"]);
    check(&desk, "identity", "error", &["credential.json", "damaged"]);
}

#[test]
fn a_clock_that_is_wrong_is_told_with_how_much() {
    let desk = Desk::new();
    let offset = |ms: i64| desk.sql(&format!("update sync_self set clock_offset_ms = {ms}"));
    for (ms, level) in [(5, "ok"), (-45_000, "warn"), (400_000, "error"), (-400_000, "error")] {
        offset(ms);
        let side = if ms < 0 { "ahead of" } else { "behind" };
        check(&desk, "clock", level, &[&format!("{} ms {side} the hub's", ms.unsigned_abs())]);
    }
    desk.sql("update sync_self set clock_offset_ms = 0, last_exchange_at = '2099-01-01T00:00:00.000000Z'");
    check(&desk, "clock", "error", &["past", "set the clock"]);
}

#[test]
fn a_hub_that_does_not_answer_is_no_error_and_a_portal_is_told_apart() {
    let desk = Desk::new();
    let nobody = format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    for (hub, words) in [(nobody, "cannot be reached"), (portal(), "not the hub")] {
        desk.sql(&format!("update sync_self set hub_url = '{hub}'"));
        check(&desk, "hub", "warn", &[&hub, words]);
    }
    check(&desk, "identity", "error", &["credential.json is missing"]);
}

#[test]
fn a_process_that_holds_the_lock_and_does_not_answer_is_an_error() {
    let desk = Desk::new();
    let (_edge, _) = Running::serve(Path::new(&desk.data), &desk.scratch);
    check(&desk, "process", "ok", &["an edge runs"]);
    fs::remove_file(desk.file("control.sock")).unwrap();
    check(&desk, "process", "error", &["edge.lock"]);
    check(&desk, "mirror", "ok", &[]);
    assert_eq!(json!(finding(&desk.scratch, &desk.data, "library").0["level"]), "ok");
}
