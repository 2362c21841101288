//! Refused rows at the API: listed, and given up.

use serde_json::json;
use sync::catalog;
use sync::merge::ids::RowId;
use sync::sqlite::ledger::{self, Refused, Way};
use tests::desk::{Desk, TASK_HERE};

use super::refused;

/// Lists the task as refused, on its way up or down.
async fn refuse(desk: &Desk, way: Way) {
    let refused = Refused {
        way,
        table: catalog::by_name("tasks").unwrap().id,
        row: RowId(TASK_HERE.parse().unwrap()),
        code: "rule".to_owned(),
        reason: "no more boilers".to_owned(),
        payload: "{}".to_owned(),
    };
    let refuse = move |connection: &mut rusqlite::Connection| {
        let tx = connection.transaction()?;
        ledger::refuse(&tx, &refused, 0)?;
        tx.commit()?;
        Ok::<(), sync::sqlite::error::StoreError>(())
    };
    desk.app.db.write(refuse).await.unwrap();
}

#[tokio::test]
async fn a_refused_row_that_is_given_up_is_listed_until_headquarters_has_done_it() {
    let desk = Desk::start().await;
    let (adam, maria) = (desk.sign_in("adam").await, desk.sign_in("maria").await);
    desk.ask(&adam, "PATCH", &format!("/tasks/{TASK_HERE}"), Some(json!({"title": "no boiler"}))).await;
    refuse(&desk, Way::Up).await;
    let listed = desk.ask(&maria, "GET", "/sync/quarantine", None).await.json();
    let entry = &listed["items"][0];
    assert_eq!(
        (&entry["row_id"], &entry["code"], &entry["discarded"]),
        (&json!(TASK_HERE), &json!("rule"), &json!(false))
    );
    let path = format!("/sync/quarantine/{}", entry["id"].as_str().unwrap());
    refused(&desk.ask(&maria, "DELETE", &path, None).await, 403, "forbidden", None);
    for _ in 0..2 {
        assert_eq!(desk.ask(&adam, "DELETE", &path, None).await.status, 204);
    }
    let listed = desk.ask(&maria, "GET", "/sync/quarantine", None).await.json();
    assert_eq!(listed["items"][0]["discarded"], true);
    assert_eq!(desk.ask(&maria, "GET", "/sync/status", None).await.json()["quarantined"], 1);
    let row = desk.ask(&maria, "GET", &format!("/tasks/{TASK_HERE}"), None).await.json();
    assert_eq!((&row["title"], &row["_sync"]["state"]), (&json!("no boiler"), &json!("refused")), "until HQ's is here");
    let audited = "select count(*) from audit_logs where action = 'delete' and resource_type = 'quarantine'";
    assert_eq!(desk.value(audited).await, "2");
}

#[tokio::test]
async fn headquarters_row_that_cannot_be_stored_is_not_for_the_site_to_give_up() {
    let desk = Desk::start().await;
    let adam = desk.sign_in("adam").await;
    refuse(&desk, Way::Down).await;
    let listed = desk.ask(&adam, "GET", "/sync/quarantine", None).await.json();
    let path = format!("/sync/quarantine/{}", listed["items"][0]["id"].as_str().unwrap());
    refused(&desk.ask(&adam, "DELETE", &path, None).await, 403, "forbidden", None);
    assert_eq!(desk.value("select count(*) from sync_quarantine").await, "1");
}
