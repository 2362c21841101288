//! Several writes as one, and requests that are sent twice.

use serde_json::{Value, json};
use tests::desk::{DEVICE_HERE, Desk, FOREIGN, TASK_HERE};

use super::refused;

const KEY: &str = "idempotency-key";

#[tokio::test]
async fn a_batch_happens_whole_and_later_operations_refer_to_earlier_ones() {
    let desk = Desk::start().await;
    let maria = desk.sign_in("maria").await;
    let body = json!({"operations": [
        {"op": "create", "table": "devices", "row": {"name": "Pump", "type": "actuator"}},
        {"op": "create", "table": "tasks", "row": {"title": "Prime the pump", "device_id": "$0"}},
        {"op": "update", "table": "tasks", "id": "$1", "row": {"priority": "urgent"}},
        {"op": "delete", "table": "tasks", "id": TASK_HERE},
    ]});
    let answer = desk.ask(&maria, "POST", "/batch", Some(body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let items = answer.json()["items"].clone();
    assert_eq!(items[1]["device_id"], items[0]["id"]);
    assert_eq!((&items[2]["id"], &items[2]["priority"]), (&items[1]["id"], &json!("urgent")));
    assert_eq!(items[3], Value::Null);
    refused(&desk.ask(&maria, "GET", &format!("/tasks/{TASK_HERE}"), None).await, 404, "not_found", None);
}

#[tokio::test]
async fn a_refused_operation_is_named_and_undoes_the_others() {
    let desk = Desk::start().await;
    let maria = desk.sign_in("maria").await;
    let good = json!({"op": "update", "table": "tasks", "id": TASK_HERE, "row": {"title": "Changed"}});
    let foreign = format!("/tasks/{}", FOREIGN[2]);
    let cases = [
        (
            json!({"op": "create", "table": "tasks", "row": {"colour": 1}}),
            422,
            "unknown_field",
            "/operations/1/row/colour",
        ),
        (json!({"op": "create", "table": "tasks", "row": {"title": 1}}), 422, "wrong_type", "/operations/1/row/title"),
        (
            json!({"op": "create", "table": "tasks", "row": {"title": "x", "device_id": "$7"}}),
            422,
            "wrong_type",
            "/operations/1/row/device_id",
        ),
        (
            json!({"op": "create", "table": "tasks", "row": {"title": "x", "device_id": FOREIGN[1]}}),
            422,
            "missing_reference",
            "/operations/1/row/device_id",
        ),
        (json!({"op": "create", "table": "tasks"}), 422, "missing_field", "/operations/1/row"),
        (json!({"op": "create", "table": "tasks", "row": []}), 422, "wrong_type", "/operations/1/row"),
        (json!({"op": "upsert", "table": "tasks", "row": {}}), 422, "unknown_label", "/operations/1/op"),
        (json!({"op": "create", "table": "users", "row": {}}), 422, "unknown_label", "/operations/1/table"),
        (json!({"op": "delete", "table": "tasks", "id": FOREIGN[2]}), 404, "not_found", "/operations/1"),
        (
            json!({"op": "delete", "table": "tasks", "id": TASK_HERE, "why": 1}),
            422,
            "unknown_field",
            "/operations/1/why",
        ),
        (
            json!({"op": "update", "table": "tasks", "id": TASK_HERE, "row": {"title": "y"}, "if_match": "old"}),
            412,
            "version_mismatch",
            "/operations/1",
        ),
        (
            json!({"op": "create", "table": "devices", "row": {"name": "x", "type": "sensor", "serial_number": "SN-Boiler"}}),
            409,
            "serial_number_taken",
            "/operations/1/row/serial_number",
        ),
    ];
    for (bad, status, code, pointer) in cases {
        let answer = desk.ask(&maria, "POST", "/batch", Some(json!({"operations": [good, bad, good]}))).await;
        let problem = answer.json();
        assert_eq!((answer.status, problem["code"].as_str()), (status, Some(code)), "{bad}: {}", answer.text);
        assert_eq!((&problem["index"], &problem["pointer"]), (&json!(1), &json!(pointer)), "{bad}");
        let task = desk.ask(&maria, "GET", &format!("/tasks/{TASK_HERE}"), None).await.json();
        assert_eq!(task["title"], "Check the boiler", "{bad}: nothing has happened");
    }
    refused(&desk.ask(&maria, "GET", &foreign, None).await, 404, "not_found", None);
    for operations in [json!([]), json!(vec![good; 501])] {
        let answer = desk.ask(&maria, "POST", "/batch", Some(json!({"operations": operations}))).await;
        refused(&answer, 422, "invalid_value", Some("operations"));
    }
    refused(&desk.ask(&maria, "POST", "/batch", Some(json!({"operations": [1]}))).await, 422, "wrong_type", Some("0"));
    let victor = desk.sign_in("victor").await;
    let body = json!({"operations": [{"op": "update", "table": "devices", "id": DEVICE_HERE, "row": {"name": "x"}}]});
    refused(&desk.ask(&victor, "POST", "/batch", Some(body)).await, 403, "forbidden", None);
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer_across_restarts_and_is_done_once() {
    let desk = Desk::start().await;
    let maria = desk.sign_in("maria").await;
    let body = json!({"title": "Only once", "priority": "low"});
    let headers = [(KEY, "3f1c-a")];
    let first = desk.ask_with(&maria, "POST", "/tasks", Some(body.clone()), &headers).await;
    assert_eq!((first.status, first.header("idempotent-replayed")), (201, ""));
    let desk = desk.restart().await;
    // The same fields in another order are the same request.
    let text = r#"{"priority":"low","title":"Only once"}"#;
    let again = desk.send(&maria, "POST", "/api/v1/tasks", Some(("application/json", text.as_bytes())), &headers).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (201, "true"));
    assert_eq!((again.json(), again.header("etag")), (first.json(), first.header("etag")));
    assert_eq!(desk.value("select count(*) from tasks where title = 'Only once'").await, "1");

    let other = desk.ask_with(&maria, "POST", "/tasks", Some(json!({"title": "Other"})), &headers).await;
    refused(&other, 422, "idempotency_key_reused", None);
    let adam = desk.sign_in("adam").await;
    let his = desk.ask_with(&adam, "POST", "/tasks", Some(body.clone()), &headers).await;
    assert_eq!((his.status, his.header("idempotent-replayed")), (201, ""), "keys belong to a person");

    desk.sql("update sync_answers set at = '2020-01-01T00:00:00.000000Z'").await;
    let later = desk.ask_with(&maria, "POST", "/tasks", Some(body.clone()), &headers).await;
    assert_eq!((later.status, later.header("idempotent-replayed")), (201, ""), "a day later the key is new");
    for key in ["", "a b", &"k".repeat(256)] {
        let answer = desk.ask_with(&maria, "POST", "/tasks", Some(body.clone()), &[(KEY, key)]).await;
        refused(&answer, 400, "invalid_header", None);
    }
}

#[tokio::test]
async fn a_refused_request_may_be_sent_again_under_its_key() {
    let desk = Desk::start().await;
    let maria = desk.sign_in("maria").await;
    let headers = [(KEY, "again")];
    let body = |device: &str| {
        Some(json!({"operations": [{"op": "create", "table": "tasks", "row": {"title": "T", "device_id": device}}]}))
    };
    let refused_first = desk.ask_with(&maria, "POST", "/batch", body(FOREIGN[1]), &headers).await;
    assert_eq!(refused_first.status, 422);
    let done = desk.ask_with(&maria, "POST", "/batch", body(DEVICE_HERE), &headers).await;
    assert_eq!(done.status, 200, "{}", done.text);
}
