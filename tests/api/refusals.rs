//! What is refused, to whom, and with which code.

use serde_json::{Value, json};
use tests::desk::{
    DEVICE_HERE, DEVICE_THERE, Desk, FOREIGN, FOREIGN_TENANT, HERE, STRANGER, TASK_HERE, TASK_THERE, THERE,
};

use super::{UNKNOWN, refused};

/// Method, path, body; status, code and field of the refusal.
type Case<'a> = (&'a str, &'a str, Value, u16, &'a str, Option<&'a str>);

#[tokio::test]
async fn roles_decide_who_changes_what() {
    let desk = Desk::start().await;
    // What to do, and the status for viewer, member, admin, owner and a system administrator who is a member.
    let table: &[(&str, String, Value, [u16; 5])] = &[
        ("GET", "/tasks".into(), Value::Null, [200; 5]),
        ("GET", format!("/tasks/{TASK_THERE}"), Value::Null, [200; 5]),
        ("GET", "/sync/conflicts".into(), Value::Null, [200; 5]),
        ("GET", "/users".into(), Value::Null, [200; 5]),
        ("GET", "/audit".into(), Value::Null, [403, 403, 200, 200, 200]),
        ("POST", "/tasks".into(), json!({"title": "x"}), [403, 201, 201, 201, 201]),
        ("POST", "/tasks".into(), json!({"title": "x", "site_id": THERE}), [403, 403, 201, 201, 201]),
        ("PATCH", format!("/tasks/{TASK_HERE}"), json!({"description": "x"}), [403, 200, 200, 200, 200]),
        ("PATCH", format!("/tasks/{TASK_THERE}"), json!({"description": "x"}), [403, 403, 200, 200, 200]),
        ("PATCH", format!("/tasks/{TASK_HERE}"), json!({"site_id": THERE}), [403, 403, 200, 200, 200]),
        ("POST", "/devices".into(), json!({"name": "x", "type": "router"}), [403, 201, 201, 201, 201]),
        ("PATCH", format!("/devices/{DEVICE_HERE}"), json!({"status": "online"}), [403, 200, 200, 200, 200]),
        ("PATCH", format!("/devices/{DEVICE_THERE}"), json!({"status": "online"}), [403, 403, 200, 200, 200]),
        ("PATCH", format!("/devices/{DEVICE_HERE}"), json!({"site_id": THERE}), [403, 403, 200, 200, 200]),
        ("POST", "/sites".into(), json!({"name": "x"}), [403, 403, 201, 201, 201]),
        ("PATCH", format!("/sites/{HERE}"), json!({"address": "x"}), [403, 403, 200, 200, 200]),
        ("DELETE", format!("/sites/{UNKNOWN}"), Value::Null, [404; 5]),
        ("DELETE", format!("/sync/quarantine/{UNKNOWN}"), Value::Null, [403, 403, 404, 404, 404]),
    ];
    for (column, name) in ["victor", "maria", "adam", "olga", "root"].into_iter().enumerate() {
        let token = desk.sign_in(name).await;
        for (method, path, body, statuses) in table {
            let body = (!body.is_null()).then(|| body.clone());
            let answer = desk.ask(&token, method, path, body).await;
            assert_eq!(answer.status, statuses[column], "{name}: {method} {path}: {}", answer.text);
        }
        desk.sql(&format!("update tasks set site_id = '{HERE}' where id = '{TASK_HERE}'")).await;
        desk.sql(&format!("update devices set site_id = '{HERE}' where id = '{DEVICE_HERE}'")).await;
    }
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let desk = Desk::start().await;
    let adam = desk.sign_in("adam").await;
    let task = format!("/tasks/{TASK_HERE}");
    let site = format!("/sites/{HERE}");
    let cases: &[Case<'_>] = &[
        ("POST", "/tasks", json!({}), 422, "missing_field", Some("title")),
        ("POST", "/tasks", json!({"title": "  "}), 422, "invalid_value", Some("title")),
        ("POST", "/tasks", json!({"title": null}), 422, "wrong_type", Some("title")),
        ("POST", "/tasks", json!({"title": 7}), 422, "wrong_type", Some("title")),
        ("POST", "/tasks", json!({"title": "a\u{0}b"}), 422, "invalid_value", Some("title")),
        ("POST", "/tasks", json!({"title": "x", "colour": "red"}), 422, "unknown_field", Some("colour")),
        ("POST", "/tasks", json!({"title": "x", "id": UNKNOWN}), 422, "read_only_field", Some("id")),
        (
            "POST",
            "/tasks",
            json!({"title": "x", "tenant_id": FOREIGN_TENANT}),
            422,
            "read_only_field",
            Some("tenant_id"),
        ),
        ("POST", "/tasks", json!({"title": "x", "site_id": FOREIGN[0]}), 422, "missing_reference", Some("site_id")),
        ("POST", "/tasks", json!({"title": "x", "site_id": UNKNOWN}), 422, "missing_reference", Some("site_id")),
        ("POST", "/tasks", json!({"title": "x", "device_id": FOREIGN[1]}), 422, "missing_reference", Some("device_id")),
        ("POST", "/tasks", json!({"title": "x", "user_id": STRANGER}), 422, "missing_reference", Some("user_id")),
        ("POST", "/tasks", json!([1]), 422, "not_an_object", None),
        ("PATCH", &task, json!({"status": "finished"}), 422, "unknown_label", Some("status")),
        ("PATCH", &task, json!({"due_date": "tomorrow"}), 422, "invalid_value", Some("due_date")),
        ("PATCH", &task, json!({"user_id": "me"}), 422, "wrong_type", Some("user_id")),
        ("PATCH", &task, json!({"metadata": [1]}), 422, "invalid_value", Some("metadata")),
        ("PATCH", &task, json!({"completed_at": "2026-01-01T00:00:00Z"}), 422, "invalid_value", Some("completed_at")),
        ("PATCH", &task, json!({"_sync": {}}), 422, "read_only_field", Some("_sync")),
        ("POST", "/devices", json!({"name": "x"}), 422, "missing_field", Some("type")),
        ("POST", "/devices", json!({"name": "x", "type": "toaster"}), 422, "unknown_label", Some("type")),
        ("PATCH", &site, json!({"timezone": "Mars/Olympus"}), 422, "invalid_value", Some("timezone")),
        ("PATCH", &site, json!({"latitude": 91}), 422, "invalid_value", Some("latitude")),
        ("PATCH", &site, json!({"latitude": "north"}), 422, "wrong_type", Some("latitude")),
        ("GET", "/tasks?colour=red", Value::Null, 422, "unknown_parameter", Some("colour")),
        ("GET", "/tasks?status=open,finished", Value::Null, 422, "unknown_label", Some("status")),
        ("GET", "/tasks?sort=-colour", Value::Null, 422, "unknown_label", Some("sort")),
        ("GET", "/tasks?limit=501", Value::Null, 422, "invalid_value", Some("limit")),
        ("GET", "/tasks?cursor=x", Value::Null, 422, "invalid_value", Some("cursor")),
        ("GET", "/tasks?due_after=soon", Value::Null, 422, "wrong_type", Some("due_after")),
        ("GET", "/devices?site_id=x", Value::Null, 422, "wrong_type", Some("site_id")),
        ("GET", "/tasks/x", Value::Null, 404, "not_found", None),
        ("GET", "/nothing", Value::Null, 404, "no_such_route", None),
        ("PUT", "/tasks", Value::Null, 405, "method_not_allowed", None),
        ("POST", "/session", json!({"email": "a"}), 422, "missing_field", Some("secret")),
        ("POST", "/session", json!({"email": "a", "secret": 1}), 422, "wrong_type", Some("secret")),
        ("POST", &format!("/sync/conflicts/{UNKNOWN}/restore"), Value::Null, 404, "not_found", None),
    ];
    let before = desk.value("select count(*) || seq from tasks, sync_self").await;
    for (method, path, body, status, code, field) in cases {
        let body = (!body.is_null()).then(|| body.clone());
        let answer = desk.ask(&adam, method, path, body).await;
        refused(&answer, *status, code, *field);
    }
    let allowed = desk.ask(&adam, "PATCH", &task, Some(json!({"status": "finished"}))).await.json()["allowed"].clone();
    assert_eq!(allowed, json!(["open", "in_progress", "blocked", "done", "cancelled"]));
    assert_eq!(desk.ask(&adam, "PUT", "/tasks", None).await.header("allow"), "GET,HEAD,POST");
    assert_eq!(desk.value("select count(*) || seq from tasks, sync_self").await, before, "and nothing was changed");
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_refused() {
    let desk = Desk::start().await;
    let adam = desk.sign_in("adam").await;
    let large = format!("{{\"title\":\"{}\"}}", "x".repeat(1024 * 1024));
    let deep = format!("{{\"title\":\"x\",\"metadata\":{{\"a\":{}1{}}}}}", "[".repeat(100), "]".repeat(100));
    let cases: &[(&str, &[u8], u16, &str)] = &[
        ("application/json", b"{\"title\":", 400, "malformed_json"),
        ("application/json", b"", 400, "malformed_json"),
        ("application/json", b"{\"title\":\"\xff\"}", 400, "malformed_json"),
        ("application/json", b"{\"title\":\"a\",\"title\":\"b\"}", 400, "malformed_json"),
        ("application/json", large.as_bytes(), 413, "too_large"),
        ("text/plain", b"{\"title\":\"x\"}", 415, "unsupported_media_type"),
        ("", b"{\"title\":\"x\"}", 415, "unsupported_media_type"),
    ];
    for (kind, bytes, status, code) in cases {
        refused(&desk.send(&adam, "POST", "/api/v1/tasks", Some((kind, bytes)), &[]).await, *status, code, None);
    }
    // JSON, but with a value that no replica could hold: the field is to blame, not the body.
    for bytes in [&b"{\"title\":\"x\",\"metadata\":{\"n\":1e999}}"[..], deep.as_bytes()] {
        let answer = desk.send(&adam, "POST", "/api/v1/tasks", Some(("application/json", bytes)), &[]).await;
        refused(&answer, 422, "invalid_value", Some("metadata"));
    }
}

#[tokio::test]
async fn rows_of_another_tenant_do_not_exist() {
    let desk = Desk::start().await;
    let root = desk.sign_in("root").await;
    for (noun, id) in ["sites", "devices", "tasks"].into_iter().zip(FOREIGN) {
        let path = format!("/{noun}/{id}");
        let column = if noun == "tasks" { "title" } else { "name" };
        let there = desk.ask(&root, "GET", &path, None).await;
        let nowhere = desk.ask(&root, "GET", &format!("/{noun}/{UNKNOWN}"), None).await;
        assert_eq!((there.status, &there.text), (404, &nowhere.text), "{path}: the same answer as for nothing");
        refused(&desk.ask(&root, "PATCH", &path, Some(json!({column: "x"}))).await, 404, "not_found", None);
        refused(&desk.ask(&root, "DELETE", &path, None).await, 404, "not_found", None);
        let list = desk.ask(&root, "GET", &format!("/{noun}"), None).await;
        assert!(!list.text.contains(id), "{noun}: {}", list.text);
    }
}
