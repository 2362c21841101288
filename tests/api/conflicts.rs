//! Conflicts, looked at and decided.

use edge::control::Answer::{Done, Failed};
use edge::control::{Decision, Request};
use edge::operator;
use serde_json::{Value, json};
use sync::merge;
use sync::merge::clock::{Dot, Hlc};
use sync::merge::conflict::{Kind, Party, Status};
use sync::merge::ids::{ReplicaId, RowId, TableId};
use tests::desk::{Answer, DEVICE_HERE, Desk, PEOPLE, REPLICAS, TASK_HERE};
use uuid::Uuid;

use super::{UNKNOWN, refused};

#[tokio::test]
async fn conflicts_are_restored_and_dismissed() {
    let desk = Desk::start().await;
    let maria = desk.sign_in("maria").await;
    let conflict =
        |register: &str, value: Value, row: &str| Conflict { register: register.into(), value, row: row.into() };

    let id = conflict("title", json!("Lost title"), TASK_HERE).add(&desk, 1).await;
    let listed = desk.ask(&maria, "GET", "/sync/conflicts?status=open", None).await.json()["items"][0].clone();
    assert_eq!(
        (&listed["table"], &listed["row_id"], &listed["kind"]),
        (&json!("tasks"), &json!(TASK_HERE), &json!("edit_edit"))
    );
    assert_eq!((&listed["column"], &listed["status"]), (&json!("title"), &json!("open")));
    assert_eq!(
        listed["loser"],
        json!({"value": "Lost title", "site": "Warehouse", "person": "maria Example", "at": "2026-01-01T00:00:00.000000Z"})
    );
    assert_eq!((&listed["winner"]["site"], &listed["winner"]["person"]), (&json!("centre"), &Value::Null));
    let row = desk.ask(&maria, "GET", &format!("/tasks/{TASK_HERE}"), None).await.json();
    assert_eq!(row["_sync"]["state"], "conflict");
    let restored = decide(&desk, &maria, &id, "restore").await;
    assert_eq!((restored.status, &restored.json()["status"]), (200, &json!("restored")), "{}", restored.text);
    let row = desk.ask(&maria, "GET", &format!("/tasks/{TASK_HERE}"), None).await.json();
    assert_eq!((&row["title"], &row["_sync"]["state"]), (&json!("Lost title"), &json!("waiting")));
    assert_eq!(
        desk.value(&format!("select status || pending from sync_conflicts where id = '{id}'")).await,
        "restored1"
    );
    refused(&decide(&desk, &maria, &id, "restore").await, 409, "already_restored", None);
    refused(&decide(&desk, &maria, &id, "dismiss").await, 409, "already_restored", None);

    let id = conflict("status", json!(["done", "2026-01-02T00:00:00.000000Z"]), TASK_HERE).add(&desk, 2).await;
    let listed = desk.ask(&maria, "GET", &format!("/sync/conflicts/{id}"), None).await.json();
    assert_eq!(
        (&listed["loser"]["value"], &listed["loser"]["with"]),
        (&json!("done"), &json!({"completed_at": "2026-01-02T00:00:00.000000Z"}))
    );
    decide(&desk, &maria, &id, "restore").await;
    let row = desk.ask(&maria, "GET", &format!("/tasks/{TASK_HERE}"), None).await.json();
    assert_eq!((&row["status"], &row["completed_at"]), (&json!("done"), &json!("2026-01-02T00:00:00.000000Z")));

    for (register, value, metadata) in [
        ("metadata.b", json!({"z": 1}), json!({"a": 1, "b": {"z": 1}})),
        ("metadata.new.key", json!(null), json!({"a": 1, "b": {"z": 1}, "new.key": null})),
    ] {
        let id = conflict(register, value, TASK_HERE).add(&desk, 3).await;
        assert_eq!(decide(&desk, &maria, &id, "restore").await.status, 200);
        let row = desk.ask(&maria, "GET", &format!("/tasks/{TASK_HERE}"), None).await.json();
        assert_eq!(row["metadata"], metadata, "{register}");
    }

    let id = conflict("title", json!("Lost again"), TASK_HERE).add(&desk, 4).await;
    for _ in 0..2 {
        assert_eq!(decide(&desk, &maria, &id, "dismiss").await.json()["status"], "dismissed", "twice is once");
    }
    let victor = desk.sign_in("victor").await;
    for decision in ["restore", "dismiss"] {
        refused(&decide(&desk, &victor, &id, decision).await, 403, "forbidden", None);
    }
    assert_eq!(decide(&desk, &maria, &id, "restore").await.json()["status"], "restored", "a dismissal is not the end");
    let audited = desk.value("select group_concat(action || ':' || resource_type) from audit_logs where action in ('restore', 'conflict')").await;
    assert_eq!(audited, "restore:task,restore:task,restore:task,restore:task,conflict:conflict,restore:task");
}

#[tokio::test]
async fn the_operator_of_the_box_decides_as_nobody_or_as_a_person_with_that_persons_rights() {
    let desk = Desk::start().await;
    let maria = desk.sign_in("maria").await;
    let add = async |number| {
        Conflict { register: "title".into(), value: json!(format!("Lost {number}")), row: TASK_HERE.into() }
            .add(&desk, number)
            .await
    };
    let operator = async |id: &str, decision, email: Option<&str>| {
        let request = Request::DecideConflict { id: id.parse().unwrap(), decision, email: email.map(str::to_owned) };
        let (answers, mut answered) = tokio::sync::mpsc::channel(1);
        operator::perform(desk.app.clone(), request, answers).await;
        answered.recv().await.expect("an answer")
    };
    let audited =
        "select coalesce(user_id, 'nobody') || details from audit_logs where action in ('restore', 'conflict')
        order by id desc";
    let by_nobody = add(1).await;
    assert_eq!(operator(&by_nobody, Decision::Restore, None).await, Done);
    let (record, writer) = (desk.value(audited).await, "select json_extract(dots, '$.title[3]') from sync_rows");
    assert!(record.starts_with("nobody") && record.contains(r#""by":"the operator of this box""#), "{record}");
    assert_eq!(desk.value(writer).await, "null");

    let by_maria = add(2).await;
    assert_eq!(operator(&by_maria, Decision::Restore, Some("Maria@acme.example")).await, Done);
    let record = desk.value(audited).await;
    assert!(record.starts_with(PEOPLE[2].id) && !record.contains("operator"), "{record}");
    assert_eq!(desk.value(writer).await, PEOPLE[2].id, "the write carries her name");

    let dismissed = add(3).await;
    assert_eq!(operator(&dismissed, Decision::Dismiss, None).await, Done);
    let record = desk.value(audited).await;
    assert_eq!(record, r#"nobody{"by":"the operator of this box","status":"dismissed"}"#);
    for (email, why) in [("victor@acme.example", "viewer"), ("stranger@other.example", "nobody with an active")] {
        let Failed(reason) = operator(&dismissed, Decision::Restore, Some(email)).await else { panic!("{email} may") };
        assert!(reason.contains(why), "{reason}");
    }
    let path = format!("/sync/conflicts/{dismissed}");
    assert_eq!(desk.ask(&maria, "GET", &path, None).await.json()["status"], "dismissed");
}

#[tokio::test]
async fn what_lost_on_a_dead_row_brings_it_back() {
    let desk = Desk::start().await;
    let maria = desk.sign_in("maria").await;
    let path = format!("/tasks/{TASK_HERE}");
    desk.ask(&maria, "PATCH", &path, Some(json!({"description": "kept", "device_id": DEVICE_HERE}))).await;
    assert_eq!(desk.ask(&maria, "DELETE", &path, None).await.status, 204);
    desk.sql(&format!("delete from devices where id = '{DEVICE_HERE}'")).await;
    let lost = Conflict { register: "title".into(), value: json!("Back again"), row: TASK_HERE.into() };
    let id = lost.add(&desk, 1).await;
    let restored = decide(&desk, &maria, &id, "restore").await;
    assert_eq!(restored.status, 200, "{}", restored.text);
    let row = desk.ask(&maria, "GET", &path, None).await.json();
    assert_eq!(
        (&row["title"], &row["description"], &row["device_id"]),
        (&json!("Back again"), &json!("kept"), &Value::Null)
    );
    assert_eq!(row["metadata"], json!({"a": 1, "b": {"c": [1.5]}}));

    let id = Conflict { register: String::new(), value: Value::Null, row: TASK_HERE.into() }.add(&desk, 2).await;
    let listed = desk.ask(&maria, "GET", &format!("/sync/conflicts/{id}"), None).await.json();
    assert_eq!(
        (&listed["kind"], &listed["column"], &listed["loser"]["value"]),
        (&json!("edit_delete"), &Value::Null, &Value::Null)
    );
    assert_eq!(decide(&desk, &maria, &id, "restore").await.status, 200);
    refused(&desk.ask(&maria, "GET", &path, None).await, 404, "not_found", None);

    let nothing = Conflict { register: "title".into(), value: json!("x"), row: UNKNOWN.into() }.add(&desk, 3).await;
    refused(&decide(&desk, &maria, &nothing, "restore").await, 409, "nothing_left", None);
}

async fn decide(desk: &Desk, token: &str, id: &str, decision: &str) -> Answer {
    desk.ask(token, "POST", &format!("/sync/conflicts/{id}/{decision}"), None).await
}

/// A conflict that a merge left behind: Maria's write at the warehouse lost to the centre's.
struct Conflict {
    register: String,
    value: Value,
    row: String,
}

impl Conflict {
    async fn add(&self, desk: &Desk, seq: u64) -> String {
        let hlc = 1_767_225_600_000_u64 << 16;
        let dot = Dot { replica: ReplicaId(REPLICAS[1]), seq, hlc: Hlc(hlc), by: None };
        let party = Party { dot, value: None };
        let found = merge::conflict::Conflict {
            table: TableId(8),
            row: RowId(Uuid::try_parse(&self.row).unwrap()),
            kind: Kind::EditEdit,
            register: (!self.register.is_empty()).then(|| self.register.clone()),
            loser: party.clone(),
            winner: party,
            status: Status::Open,
        };
        let id = found.id().to_string();
        let loser = json!([REPLICAS[1], seq, hlc, "00000000-0000-4000-8000-000000000003"]);
        let winner = json!([1, seq, hlc + 1]);
        let (kind, register) = match self.register.as_str() {
            "" => ("edit_delete", "null".to_owned()),
            register => ("edit_edit", format!("'{register}'")),
        };
        let side = |dot: Value| match self.register.as_str() {
            "" => json!({"dot": dot}),
            _ => json!({"dot": dot, "value": self.value}),
        };
        desk.sql(&format!(
            "insert into sync_conflicts (id, tbl, row_id, kind, register, winner, loser, pending)
             values ('{id}', 8, '{}', '{kind}', {register}, '{}', '{}', 0)",
            self.row,
            side(winner),
            side(loser),
        ))
        .await;
        id
    }
}
