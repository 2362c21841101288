//! Rows from their making to their end.

use serde_json::{Value, json};
use tests::desk::{Desk, FOREIGN, HERE, TENANT};

use super::refused;

#[tokio::test]
async fn a_task_lives_from_post_to_delete_and_each_write_is_audited() {
    let desk = Desk::start().await;
    let maria = desk.sign_in("maria").await;
    let body = json!({"title": "Bleed the radiators", "priority": "high", "due_date": "2026-03-01T08:00:00+01:00",
        "metadata": {"floor": 9_223_372_036_854_775_807_i64, "x": null}});
    let made = desk.ask(&maria, "POST", "/tasks", Some(body)).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let task = made.json();
    assert_eq!(task["site_id"], HERE, "a task without a site is at this one");
    assert_eq!(task["tenant_id"], TENANT);
    assert_eq!(task["due_date"], "2026-03-01T07:00:00.000000Z");
    assert_eq!(task["metadata"], json!({"floor": 9_223_372_036_854_775_807_i64, "x": null}));
    assert_eq!(
        (&task["status"], &task["description"], &task["completed_at"]),
        (&json!("open"), &Value::Null, &Value::Null)
    );
    assert_eq!(task["_sync"]["state"], "waiting");
    let path = format!("/tasks/{}", task["id"].as_str().unwrap());

    let tag = made.header("etag").to_owned();
    assert_eq!(tag, format!("\"{}\"", task["_sync"]["version"].as_str().unwrap()));
    let known = desk.ask_with(&maria, "GET", &path, None, &[("if-none-match", &tag)]).await;
    assert_eq!((known.status, known.text.as_str()), (304, ""));

    let done = desk.ask_with(&maria, "PATCH", &path, Some(json!({"status": "done"})), &[("if-match", &tag)]).await;
    assert_eq!(done.status, 200, "{}", done.text);
    assert!(done.json()["completed_at"].is_string(), "done sets the time");
    let late = desk.ask_with(&maria, "PATCH", &path, Some(json!({"title": "x"})), &[("if-match", &tag)]).await;
    refused(&late, 412, "version_mismatch", None);
    assert_eq!(late.json()["current"], done.json());
    let open = desk.ask(&maria, "PATCH", &path, Some(json!({"status": "open"}))).await;
    assert_eq!(open.json()["completed_at"], Value::Null, "leaving done clears it");
    let same = desk.ask(&maria, "PATCH", &path, Some(json!({"status": "open"}))).await;
    assert_eq!(same.header("etag"), open.header("etag"), "nothing to write, nothing written");

    let gone = desk.ask(&maria, "DELETE", &path, None).await;
    assert_eq!((gone.status, gone.text.as_str()), (204, ""));
    refused(&desk.ask(&maria, "GET", &path, None).await, 404, "not_found", None);

    let olga = desk.sign_in("olga").await;
    let audit = desk.ask(&olga, "GET", "/audit?limit=5", None).await.json();
    let actions: Vec<_> =
        audit["items"].as_array().unwrap().iter().map(|item| item["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["login", "delete", "update", "update", "create"], "one record a write, newest first");
    let update = &audit["items"][3];
    assert_eq!(update["details"]["before"], json!({"status": "open", "completed_at": null}));
    assert_eq!(update["details"]["after"]["status"], "done");
    assert_eq!(update["resource_id"], task["id"]);
    let marked = desk.value("select count(*) from audit_logs where id not in (select id from sync_audit_outbox)").await;
    assert_eq!(marked, "0", "every record waits for the hub");
    let by = desk.value(&format!("select dots from sync_rows where row_id = '{}'", task["id"].as_str().unwrap())).await;
    assert!(by.contains("00000000-0000-4000-8000-000000000003"), "the write carries its person: {by}");
    assert_eq!(desk.value("select actor from sync_self").await, "null", "no actor is left behind");
}

#[tokio::test]
async fn devices_and_sites_are_made_changed_and_deleted() {
    let desk = Desk::start().await;
    let adam = desk.sign_in("adam").await;
    let site = desk
        .ask(
            &adam,
            "POST",
            "/sites",
            Some(json!({"name": "Lab", "timezone": "Asia/Tokyo", "latitude": 35.6581, "longitude": 139.7017})),
        )
        .await;
    assert_eq!(site.status, 201, "{}", site.text);
    let site = site.json();
    assert_eq!((&site["latitude"], &site["timezone"]), (&json!(35.6581), &json!("Asia/Tokyo")));
    let site_id = site["id"].as_str().unwrap();
    let device = json!({"name": "Meter", "type": "meter", "site_id": site_id, "serial_number": "M-1"});
    let device = desk.ask(&adam, "POST", "/devices", Some(device)).await;
    assert_eq!(device.status, 201, "{}", device.text);
    assert_eq!(device.json()["status"], "offline");
    let path = format!("/devices/{}", device.json()["id"].as_str().unwrap());
    let twice = json!({"name": "Second", "type": "meter", "serial_number": "M-1"});
    refused(&desk.ask(&adam, "POST", "/devices", Some(twice)).await, 409, "serial_number_taken", Some("serial_number"));
    let kept = desk.ask(&adam, "PATCH", &path, Some(json!({"serial_number": "M-1", "status": "maintenance"}))).await;
    assert_eq!((kept.status, &kept.json()["status"]), (200, &json!("maintenance")));

    let patch = json!({"metadata": {"a": {"x": 1}}}).to_string();
    desk.send(&adam, "PATCH", &format!("/api/v1{path}"), Some(("application/json", patch.as_bytes())), &[]).await;
    let patch = json!({"metadata": {"b": 2, "a": {"y": null}}}).to_string();
    let merged = desk
        .send(&adam, "PATCH", &format!("/api/v1{path}"), Some(("application/merge-patch+json", patch.as_bytes())), &[])
        .await;
    assert_eq!(merged.json()["metadata"], json!({"a": {"x": 1}, "b": 2}), "a merge patch leaves the other keys");

    assert_eq!(desk.ask(&adam, "DELETE", &format!("/sites/{site_id}"), None).await.status, 204);
    refused(&desk.ask(&adam, "GET", &path, None).await, 404, "not_found", None);
    refused(&desk.ask(&adam, "DELETE", &format!("/sites/{HERE}"), None).await, 409, "own_site", None);
}

#[tokio::test]
async fn the_rest_of_the_routes_answer_as_the_contract_says() {
    let desk = Desk::start().await;
    let maria = desk.sign_in("maria").await;
    for (path, status) in [("/healthz", 200), ("/readyz", 200)] {
        assert_eq!(desk.send("", "GET", path, None, &[]).await.status, status, "{path}");
    }
    let me = desk.ask(&maria, "GET", "/me", None).await.json();
    assert_eq!((&me["email"], &me["role"]), (&json!("maria@acme.example"), &json!("member")));
    assert_eq!((&me["tenant"]["slug"], &me["site"]["name"]), (&json!("acme"), &json!("Headquarters")));
    let tenant = desk.ask(&maria, "GET", "/tenant", None).await.json();
    assert_eq!((&tenant["id"], &tenant["_sync"]["state"]), (&json!(TENANT), &json!("synced")));
    let users = desk.ask(&maria, "GET", "/users?limit=4", None).await.json();
    assert_eq!(users["items"].as_array().unwrap().len(), 4);
    let rest = desk
        .ask(&maria, "GET", &format!("/users?limit=4&cursor={}", users["next"].as_str().unwrap()), None)
        .await
        .json();
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (2, &Value::Null));
    let status = desk.ask(&maria, "GET", "/sync/status", None).await.json();
    for field in [
        "state",
        "in_sync",
        "pending",
        "last_exchange_at",
        "last_error",
        "hub_time_offset_ms",
        "conflicts_open",
        "quarantined",
        "storage",
        "transport",
    ] {
        assert!(status.get(field).is_some(), "{field} in {status}");
    }
    assert_eq!(desk.ask(&maria, "GET", "/sync/quarantine", None).await.json(), json!({"items": [], "next": null}));
    assert_eq!(desk.ask(&maria, "DELETE", "/session", None).await.status, 204);
    refused(&desk.ask(&maria, "GET", "/me", None).await, 401, "unauthorized", None);
}

#[tokio::test]
async fn the_history_of_a_row_says_who_wrote_what_and_whether_headquarters_has_it() {
    let desk = Desk::start().await;
    let maria = desk.sign_in("maria").await;
    let made = desk.ask(&maria, "POST", "/tasks", Some(json!({"title": "First"}))).await.json();
    let id = made["id"].as_str().unwrap();
    let path = format!("/rows/tasks/{id}/history");
    desk.ask(&maria, "PATCH", &format!("/tasks/{id}"), Some(json!({"title": "Second"}))).await;
    let history = desk.ask(&maria, "GET", &path, None).await.json();
    assert_eq!((&history["alive"], &history["receipt"]["state"]), (&json!(true), &json!("waiting")));
    let title = history["registers"].as_array().unwrap().iter().find(|one| one["register"] == "title").unwrap();
    assert_eq!((&title["value"], &title["receipt"]), (&json!("Second"), &json!("waiting")));
    assert_eq!((&title["edge"], &title["person"]["email"]), (&json!("hq-1"), &json!("maria@acme.example")));
    let events = history["events"].as_array().unwrap();
    assert_eq!((events.len(), &events[0]["action"], &events[1]["action"]), (2, &json!("update"), &json!("create")));
    assert_eq!(events[0]["changes"]["after"]["title"], "Second");

    desk.ask(&maria, "DELETE", &format!("/tasks/{id}"), None).await;
    let dead = desk.ask(&maria, "GET", &path, None).await.json();
    assert_eq!((&dead["alive"], &dead["values"]["title"]), (&json!(false), &json!("Second")));
    for path in [
        format!("/rows/tasks/{}/history", FOREIGN[2]),
        format!("/rows/credentials/{id}/history"),
        "/rows/tasks/x/history".to_owned(),
    ] {
        refused(&desk.ask(&maria, "GET", &path, None).await, 404, "not_found", None);
    }
}
