//! One row and its story: `edge explain` and `edge quarantine`.

use std::path::Path;

use serde_json::{Value, json};
use sync::catalog::by_name;
use sync::merge::clock::Dot;
use sync::merge::ids::{ReplicaId, RowId};
use sync::sqlite::ledger::{self, Refused, Way};
use sync::sqlite::versions::{self, Refusal, Tracked};
use sync::sqlite::{apply, outbox, receipts, rows};
use sync::wire::convert::fields;
use sync::wire::frames::{PulledPage, PushAnswer};
use sync::wire::message::{Fence, Outcome, Page, PullEnd, PullRow, Pushed, RowAnswer};
use sync::wire::version::{DotsText, VectorText};
use tests::desk::{FOREIGN, HERE, PEOPLE, TASK_HERE};
use tests::mirror::open_when_free;
use tests::programs::Running;
use uuid::Uuid;

use super::desk::Desk;
use super::says;

impl Desk {
    fn explain(&self, table: &str, id: &str) -> Value {
        serde_json::from_str(&self.says(&["explain", table, id, "--json"])).expect("one JSON object")
    }
}

fn register<'a>(history: &'a Value, name: &str) -> &'a Value {
    let registers = history["registers"].as_array().unwrap();
    registers.iter().find(|register| register["register"] == name).unwrap_or_else(|| panic!("{name}: {history}"))
}

#[test]
fn a_waiting_row_tells_who_wrote_what_and_what_hq_has() {
    let this = Desk::new();
    let by = PEOPLE[2].id;
    // The row as HQ has it was written at the centre; Maria changed its title here.
    this.sql(&format!(
        r#"insert into sync_rows (tbl, row_id, vv, dots, hlc, hub_had_ms)
             values (8, '{TASK_HERE}', '{{"1":5}}', '{{"*":[1,5,117000000000000000]}}', 117000000000000000, 1785278320000);
           begin; update sync_self set actor = '{by}';
           update tasks set title = 'Check the boiler twice' where id = '{TASK_HERE}';
           update sync_self set actor = null; commit;
           insert into audit_logs (tenant_id, user_id, action, resource_type, resource_id, details)
             select tenant_id, '{by}', 'update', 'task', id, '{{"after":{{"title":"Check the boiler twice"}}}}' from tasks
             where id = '{TASK_HERE}'"#
    ));
    let told = this.explain("tasks", TASK_HERE);
    assert_eq!(told["alive"], true);
    assert_eq!((&told["vv"], &told["acknowledged"]), (&json!({"1": 5, "7": 1}), &json!({"1": 5})));
    assert_eq!(told["receipt"]["state"], "waiting");
    let title = register(&told, "title");
    assert_eq!((&title["value"], &title["receipt"]), (&json!("Check the boiler twice"), &json!("waiting")));
    assert_eq!(
        (&title["replica"], &title["edge"], &title["site"]),
        (&json!(7), &json!("hq-1"), &json!("Headquarters"))
    );
    assert_eq!(title["person"], json!({"id": by, "name": "maria Example", "email": PEOPLE[2].email}));
    assert_eq!(title["at"], told["receipt"]["since"], "it waits since its only write");
    let status = register(&told, "status");
    assert_eq!((&status["value"], &status["with"]), (&json!("open"), &json!({"completed_at": null})));
    assert_eq!(
        (&status["edge"], &status["receipt"], &status["person"]),
        (&json!("centre"), &json!("at_hq"), &Value::Null)
    );
    assert_eq!(told["events"][0]["changes"], json!({"after": {"title": "Check the boiler twice"}}));

    let page = this.says(&["explain", "tasks", TASK_HERE]);
    says(
        &page,
        &["waiting since today", "Check the boiler twice", "written at Headquarters by maria Example", "centre"],
    );
    let (state, values) = (page.find("state").unwrap(), page.find("values").unwrap());
    assert!(state < values, "what matters comes first:\n{page}");
    let (mut edge, _) = Running::serve(Path::new(&this.data), &this.scratch);
    assert_eq!(this.explain("tasks", TASK_HERE), told, "beside a running edge");
    edge.end(rustix::process::Signal::TERM);
}

#[test]
fn a_row_at_hq_says_since_when_and_a_refused_one_why() {
    let this = Desk::new();
    this.sql(&format!(
        r#"insert into sync_rows (tbl, row_id, vv, dots, hlc, hub_had_ms)
             values (8, '{TASK_HERE}', '{{"1":5}}', '{{"*":[1,5,117000000000000000]}}', 117000000000000000, 1785278320000)"#
    ));
    let receipt = &this.explain("tasks", TASK_HERE)["receipt"];
    assert_eq!(
        receipt,
        &json!({"state": "at_hq", "since": "2026-07-28T22:38:40.000000Z", "code": null, "reason": null})
    );
    this.sql(&format!("update sync_rows set hub_had_ms = null where row_id = '{TASK_HERE}'"));
    assert_eq!(this.explain("tasks", TASK_HERE)["receipt"]["since"], Value::Null, "what was not kept is not made up");

    this.sql(&format!(
        r#"update tasks set title = 'x' where id = '{TASK_HERE}';
           update sync_rows set refused = '{{"code":"rule","reason":"against the rule: titles are long","seq":1}}'
             where row_id = '{TASK_HERE}'"#
    ));
    let told = this.explain("tasks", TASK_HERE);
    assert_eq!((&told["receipt"]["state"], &told["receipt"]["code"]), (&json!("refused"), &json!("rule")));
    assert_eq!(register(&told, "title")["receipt"], "refused");
    says(&this.says(&["explain", "tasks", TASK_HERE]), &["refused", "titles are long", "rule"]);
}

#[test]
fn at_hq_since_is_when_the_hub_answered_by_its_own_clock() {
    let this = Desk::new();
    this.sql(&format!("update tasks set title = 'x' where id = '{TASK_HERE}'"));
    let (hub_ms, batch, task) = (1_785_278_320_000, Uuid::from_u128(9), Uuid::try_parse(TASK_HERE).unwrap());
    let table = by_name("tasks").unwrap();
    let store = open_when_free(&Path::new(&this.data).join("edge.db")).unwrap();
    let (mut connection, _lock) = store.into_parts();
    outbox::prepare(&mut connection, batch, 1_000).unwrap().expect("the task waits");
    let row = RowAnswer {
        table: "tasks".to_owned(),
        id: task,
        outcome: Outcome::Accepted,
        vv: VectorText([(ReplicaId(7), 1)].into_iter().collect()),
        clamps: Vec::new(),
        code: None,
        reason: None,
        hub: None,
        blocker: None,
    };
    let head = Pushed { id: batch, fence: Fence::default(), unix_ms: hub_ms };
    receipts::acknowledge(&mut connection, &PushAnswer { head, rows: vec![row] }, 2_000).unwrap();
    let receipt = &this.explain("tasks", TASK_HERE)["receipt"];
    assert_eq!((&receipt["state"], &receipt["since"]), (&json!("at_hq"), &json!("2026-07-28T22:38:40.000000Z")));

    // A page that tells the same later does not move it; one that brings something new does.
    let mut tell = |seq: u64, unix_ms: u64| {
        let values = rows::load(&connection, table, RowId(task)).unwrap().unwrap();
        let mut version = versions::load(&connection, table, RowId(task)).unwrap().unwrap().version;
        let hlc = version.hlc().tick(0);
        if version.vv.seen(ReplicaId(1)) < seq {
            version.write(Dot { replica: ReplicaId(1), seq, hlc, by: None }, &["title".to_owned()]);
        }
        let row = PullRow {
            table: "tasks".to_owned(),
            id: task,
            vv: VectorText(version.vv),
            gone: VectorText::default(),
            dots: DotsText(version.dots),
            values: fields(table, &values),
        };
        let head = Page { unix_ms, rows_total: None, replicas: 2, renew: false };
        let end = PullEnd { lines: 1, cursor: String::new(), complete: true };
        let page = PulledPage { head, rows: vec![row], evicted: Vec::new(), conflicts: Vec::new(), end };
        assert_eq!(apply::page(&mut connection, &page, 3_000).unwrap().refused, 0);
        this.explain("tasks", TASK_HERE)["receipt"]["since"].as_str().unwrap().to_owned()
    };
    assert_eq!(tell(4, hub_ms + 60_000), "2026-07-28T22:39:40.000000Z");
    assert_eq!(tell(4, hub_ms + 120_000), "2026-07-28T22:39:40.000000Z");
    assert_eq!(tell(5, hub_ms + 180_000), "2026-07-28T22:41:40.000000Z");
}

#[test]
fn a_dead_row_is_told_with_its_last_values_and_a_foreign_one_not_at_all() {
    let this = Desk::new();
    this.sql(&format!("delete from tasks where id = '{TASK_HERE}'"));
    let told = this.explain("tasks", TASK_HERE);
    assert_eq!((&told["alive"], &told["values"]["title"]), (&json!(false), &json!("Check the boiler")));
    assert_eq!((&told["gone"], &told["deleted"]["edge"]), (&json!({"7": 1}), &json!("hq-1")));
    says(&this.says(&["explain", "tasks", TASK_HERE]), &["deleted; these are its last values", "Check the boiler"]);

    this.sql(&format!("delete from tasks where id = '{}'", FOREIGN[2]));
    for (table, id) in [("tasks", FOREIGN[2]), ("devices", FOREIGN[1]), ("sites", TASK_HERE)] {
        says(&this.refuses(&["explain", table, id]), &[id, table, "edge dump"]);
    }
    for (table, id) in [("sites", HERE), ("users", PEOPLE[0].id)] {
        assert_eq!(this.explain(table, id)["alive"], true, "{table}");
    }
    says(&this.refuses(&["explain", "credentials", TASK_HERE]), &["credentials", "tasks"]);
}

#[test]
fn a_value_that_cannot_be_read_is_told_and_not_a_failure() {
    let this = Desk::new();
    this.sql(&format!(
        "pragma ignore_check_constraints = on; update tasks set due_date = 'soon' where id = '{TASK_HERE}'"
    ));
    let told = this.explain("tasks", TASK_HERE);
    assert!(told["unreadable"].as_str().is_some_and(|reason| reason.contains("due_date")), "{told}");
    assert_eq!((&told["values"]["due_date"], &told["values"]["title"]), (&json!("soon"), &json!("Check the boiler")));
}

#[test]
fn refused_rows_are_listed_and_discarded_with_or_without_a_running_edge() {
    for beside in [true, false] {
        let this = Desk::new();
        assert_eq!(this.says(&["quarantine", "list"]), "nothing was refused\n");
        assert_eq!(this.says(&["quarantine", "list", "--json"]), "");
        refuse(&this);
        let running = beside.then(|| Running::serve(Path::new(&this.data), &this.scratch));
        let listed: Value = serde_json::from_str(&this.says(&["quarantine", "list", "--json"])).unwrap();
        let entry = listed["id"].as_str().unwrap();
        let expected = json!({"id": entry, "table": "tasks", "row_id": TASK_HERE, "code": "rule",
            "reason": "against the rule", "at": "1970-01-01T00:00:01.000000Z", "discarded": false});
        assert_eq!(listed, expected);
        says(&this.refuses(&["quarantine", "discard", TASK_HERE]), &["no refused row"]);
        says(&this.says(&["quarantine", "discard", entry]), &["given up", "headquarters"]);
        says(&this.says(&["quarantine", "list"]), &[entry, "given up, and listed until headquarters"]);
        drop(running);
    }
}

/// As when the hub refuses a write of here.
fn refuse(this: &Desk) {
    this.sql(&format!("update tasks set title = 'x' where id = '{TASK_HERE}'"));
    let row = RowId(Uuid::try_parse(TASK_HERE).unwrap());
    let table = by_name("tasks").unwrap();
    let mut store = open_when_free(&Path::new(&this.data).join("edge.db")).unwrap();
    let tx = store.begin().unwrap();
    let (code, reason) = ("rule".to_owned(), "against the rule".to_owned());
    let tracked = versions::load(&tx, table, row).unwrap().unwrap();
    let refused = Some(Refusal { code: code.clone(), reason: reason.clone(), seq: 1 });
    versions::save(&tx, table, row, &Tracked { refused, ..tracked }).unwrap();
    let refused = Refused { way: Way::Up, table: table.id, row, code, reason, payload: "{}".to_owned() };
    ledger::refuse(&tx, &refused, 1_000).unwrap();
    tx.commit().unwrap();
}
