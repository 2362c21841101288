//! Rows that leave the scope of this edge while they hold writes that the hub does not have.
//!
//! Every step opens the file anew, as after a restart.

use rusqlite::types::Value;
use sync::catalog;
use sync::merge::ids::RowId;
use sync::sqlite::receipts::Receipt;
use sync::sqlite::{apply, outbox, receipts, rows};
use sync::wire::convert;
use sync::wire::frames::{PulledPage, PushAnswer, read_push};
use sync::wire::message::{Evict, Fence, Outcome, Page, PullEnd, PullRow, Pushed, RowAnswer};
use sync::wire::version::{DotsText, VectorText};
use tests::mirror::{CLIENTS, Mirror, id, open_when_free};
use uuid::Uuid;

const NOW_MS: u64 = 1_800_000_000_000;

fn task() -> Uuid {
    Uuid::parse_str(&id('a')).unwrap()
}

/// Stores a page that brings rows and takes task `a` away, if it does.
fn pull(mirror: &Mirror, rows: Vec<PullRow>, takes_away: bool) {
    let evicted = takes_away.then(|| Evict { table: "tasks".to_owned(), id: task() });
    let lines = rows.len() as u64 + u64::from(takes_away);
    let page = PulledPage {
        head: Page { unix_ms: NOW_MS, rows_total: None, replicas: 0, renew: false },
        rows,
        evicted: evicted.into_iter().collect(),
        conflicts: Vec::new(),
        end: PullEnd { lines, cursor: "next".to_owned(), complete: true },
    };
    apply::page(&mut open_when_free(&mirror.path()).unwrap().into_parts().0, &page, NOW_MS).unwrap();
}

/// Puts a batch together.
fn prepare(mirror: &Mirror) -> outbox::InFlight {
    let mut connection = open_when_free(&mirror.path()).unwrap().into_parts().0;
    outbox::prepare(&mut connection, Uuid::from_u128(7), NOW_MS).unwrap().expect("something waits")
}

/// The hub's answer to a batch: each row is taken or refused.
fn hear(mirror: &Mirror, batch: &outbox::InFlight, outcome: Outcome) {
    let answer = |row: &sync::wire::message::PushRow| RowAnswer {
        table: row.table.clone(),
        id: row.id,
        outcome,
        vv: if outcome == Outcome::Accepted { row.vv.clone() } else { VectorText::default() },
        clamps: Vec::new(),
        code: (outcome == Outcome::Quarantined).then(|| "missing_reference".to_owned()),
        reason: None,
        hub: None,
        blocker: None,
    };
    let rows = read_push(&batch.body).unwrap().rows.iter().map(answer).collect();
    let head = Pushed { id: batch.batch, fence: Fence::default(), unix_ms: NOW_MS };
    let mut connection = open_when_free(&mirror.path()).unwrap().into_parts().0;
    let taken = receipts::acknowledge(&mut connection, &PushAnswer { head, rows }, NOW_MS).unwrap();
    assert!(matches!(taken, Receipt::Taken { .. }), "{taken:?}");
}

/// How many traces of task `a` there are: the row, its last values, its version, and that it is to go.
#[track_caller]
fn traces(mirror: &Mirror) -> [i64; 4] {
    ["tasks where id", "sync_last_tasks where id", "sync_rows where row_id", "sync_evictions where row_id"].map(
        |place| match mirror.value(&format!("select count(*) from {place} = '$a'")) {
            Value::Integer(count) => count,
            other => panic!("{other:?}"),
        },
    )
}

fn edited() -> Mirror {
    let mirror = Mirror::new();
    assert_eq!(mirror.run(CLIENTS[0], "update tasks set title = 'x' where id = '$a';"), Vec::<String>::new());
    mirror
}

#[test]
fn a_row_without_unsent_writes_goes_at_once() {
    let mirror = Mirror::new();
    pull(&mirror, Vec::new(), true);
    assert_eq!(traces(&mirror), [0; 4]);
    assert_eq!(mirror.value("select count(*) from tasks"), Value::Integer(1));
}

#[test]
fn a_row_with_unsent_writes_goes_when_the_last_of_them_is_acknowledged_or_refused() {
    for (outcome, refused) in [(Outcome::Accepted, 0), (Outcome::Quarantined, 1)] {
        let mirror = edited();
        pull(&mirror, Vec::new(), true);
        assert_eq!(traces(&mirror), [1, 0, 1, 1], "what was not sent is kept");
        let batch = prepare(&mirror);
        mirror.run(CLIENTS[0], "update tasks set priority = 'low' where id = '$a';");
        hear(&mirror, &batch, outcome);
        assert_eq!(traces(&mirror), [1, 0, 1, 1], "it was written again since: {outcome:?}");
        hear(&mirror, &prepare(&mirror), outcome);
        assert_eq!(traces(&mirror), [0; 4], "{outcome:?}");
        let kept = "select count(*) from sync_quarantine where row_id = '$a' and payload like '%\"title\":\"x\"%'";
        assert_eq!(mirror.value(kept), Value::Integer(refused), "what was refused is not lost");
        assert_eq!(mirror.value("select applying from sync_self"), Value::Integer(0));
        assert_eq!(mirror.value("select count(*) from sync_rows where base is not null"), Value::Integer(0));
    }
}

#[test]
fn a_deleted_row_goes_with_its_last_values() {
    let mirror = Mirror::new();
    mirror.run(CLIENTS[0], "delete from tasks where id = '$a';");
    pull(&mirror, Vec::new(), true);
    assert_eq!(traces(&mirror), [0, 1, 1, 1]);
    hear(&mirror, &prepare(&mirror), Outcome::Accepted);
    assert_eq!(traces(&mirror), [0; 4]);
}

#[test]
fn a_busy_hub_changes_nothing_and_a_row_that_comes_back_stays() {
    let mirror = edited();
    pull(&mirror, Vec::new(), true);
    hear(&mirror, &prepare(&mirror), Outcome::Busy);
    assert_eq!(traces(&mirror), [1, 0, 1, 1]);
    let tasks = catalog::by_name("tasks").unwrap();
    let values = rows::load(&mirror.connection(), tasks, RowId(task())).unwrap().unwrap();
    let row = PullRow {
        table: "tasks".to_owned(),
        id: task(),
        vv: serde_json::from_str::<VectorText>("{\"1\":9}").unwrap(),
        gone: VectorText::default(),
        dots: serde_json::from_str::<DotsText>("{\"*\":[1,9,65537]}").unwrap(),
        values: convert::fields(tasks, &values),
    };
    pull(&mirror, vec![row], false);
    hear(&mirror, &prepare(&mirror), Outcome::Accepted);
    assert_eq!(traces(&mirror), [1, 0, 1, 0]);
    assert_eq!(mirror.value("select title from tasks where id = '$a'"), Value::Text("x".to_owned()));
}
