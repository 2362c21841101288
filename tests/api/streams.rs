//! Answers that come in pieces: events as they happen, and whole lists as files.

use serde_json::{Value, json};
use tests::desk::{Desk, FOREIGN, HERE, TASK_HERE};
use tests::events::Events;

use super::refused;

#[tokio::test]
async fn a_listener_is_told_of_every_change_and_goes_on_where_it_was_after_a_restart() {
    let desk = Desk::start().await;
    let maria = desk.sign_in("maria").await;
    let mut events = Events::open(&desk.url, &maria, None).await;
    let hello = events.next().await;
    assert_eq!(hello.name, "status", "the first event says how the edge stands");
    assert_eq!(hello.data["state"], "offline");

    let path = format!("/tasks/{TASK_HERE}");
    desk.ask(&maria, "PATCH", &path, Some(json!({"title": "First"}))).await;
    // A look that the write falls into tells the count before the row.
    let (mut rows, mut counts) = (Vec::new(), Vec::new());
    while rows.is_empty() || counts.is_empty() {
        let event = events.next().await;
        if event.name == "row" { rows.push(event) } else { counts.push(event.data["pending"].clone()) }
    }
    assert_eq!(counts, [1], "what waits is counted");
    let first = rows.remove(0);
    assert_eq!((&first.data["table"], &first.data["id"]), (&json!("tasks"), &json!(TASK_HERE)));
    assert_eq!(
        (&first.data["row"]["title"], &first.data["row"]["_sync"]["state"]),
        (&json!("First"), &json!("waiting"))
    );
    drop(events);

    // While nobody listens: our own API, a plain program, a delete; then a restart.
    desk.ask(&maria, "PATCH", &path, Some(json!({"title": "Second"}))).await;
    desk.sql(&format!("insert into tasks (title, site_id) values ('By sqlite3', '{HERE}')")).await;
    desk.ask(&maria, "DELETE", &path, None).await;
    let desk = desk.restart().await;
    let mut events = Events::open(&desk.url, &maria, Some(&first.id)).await;
    let plain = events.next().await;
    assert_eq!(plain.data["row"]["title"], "By sqlite3");
    let gone = events.next().await;
    assert_eq!((&gone.data["id"], &gone.data["row"]), (&json!(TASK_HERE), &Value::Null), "told once, as it is now");
}

#[tokio::test]
async fn a_listener_that_missed_too_much_is_told_to_read_again() {
    let desk = Desk::start().await;
    let maria = desk.sign_in("maria").await;
    for place in ["0", "-7", "99999999", "nonsense"] {
        if place == "0" {
            desk.sql(
                "insert into tasks (title) with recursive n(i) as (select 1 union all select i + 1 from n where i < 1001)
                 select 'T' || i from n",
            )
            .await;
        }
        let mut events = Events::open(&desk.url, &maria, Some(place)).await;
        assert_eq!(events.next().await.name, "reset", "{place}");
        desk.ask(&maria, "PATCH", &format!("/tasks/{TASK_HERE}"), Some(json!({"title": place}))).await;
        assert_eq!(events.next_named("row").await.data["row"]["title"], place, "then it goes on");
    }
}

#[tokio::test]
async fn nothing_of_another_tenant_and_no_credential_is_told() {
    let desk = Desk::start().await;
    let maria = desk.sign_in("maria").await;
    let start = desk.value("select max(id) from sync_changes").await;
    let mut events = Events::open(&desk.url, &maria, Some(&start)).await;
    desk.sql(&format!(
        "update sync_self set applying = 1;
         insert into sync_rows (tbl, row_id, vv, dots, hlc) values (8, '{}', '{{}}', '{{}}', 1), (6, '{HERE}', '{{}}', '{{}}', 1);
         update sync_self set applying = 0",
        FOREIGN[2]
    ))
    .await;
    desk.ask(&maria, "PATCH", &format!("/tasks/{TASK_HERE}"), Some(json!({"title": "Mine"}))).await;
    let foreign = events.next_named("row").await;
    assert_eq!((&foreign.data["id"], &foreign.data["row"]), (&json!(FOREIGN[2]), &Value::Null));
    let own = events.next_named("row").await;
    assert_eq!(own.data["row"]["title"], "Mine", "the credential was passed over");
}

#[tokio::test]
async fn a_stream_ends_with_its_session_and_there_are_only_so_many() {
    let desk = Desk::start().await;
    let (maria, adam) = (desk.sign_in("maria").await, desk.sign_in("adam").await);
    refused(&desk.ask("", "GET", "/events", None).await, 401, "unauthorized", None);
    let mut events = Events::open(&desk.url, &maria, None).await;
    events.next().await;
    desk.ask(&maria, "DELETE", "/session", None).await;
    desk.ask(&adam, "PATCH", &format!("/tasks/{TASK_HERE}"), Some(json!({"title": "Secret now"}))).await;
    assert!(events.ends().await, "the stream of a session that is over ends without a word more");

    let mut open = Vec::new();
    for _ in 0..edge::api::events::STREAMS_MAX {
        open.push(Events::open(&desk.url, &adam, None).await);
    }
    let crowded = desk.ask(&adam, "GET", "/events", None).await;
    refused(&crowded, 429, "too_many_listeners", None);
    assert_eq!(crowded.header("retry-after"), "30");
}

#[tokio::test]
async fn an_export_is_the_whole_list_with_its_filters_and_is_safe_in_a_spreadsheet() {
    let desk = Desk::start().await;
    let maria = desk.sign_in("maria").await;
    desk.sql(
        "insert into tasks (title, priority) with recursive n(i) as (select 1 union all select i + 1 from n where i < 1200)
         select printf('T%04d', i), 'low' from n",
    )
    .await;
    desk.sql(
        "insert into tasks (title, priority, description) values ('=1+1', 'urgent', 'a \"b\",' || char(10) || 'c')",
    )
    .await;
    let file = desk.ask(&maria, "GET", "/export/tasks.ndjson?priority=low&sort=-title&fields=title", None).await;
    assert_eq!(file.status, 200, "{}", file.text);
    assert_eq!(file.header("content-disposition"), "attachment; filename=\"tasks.ndjson\"");
    let rows: Vec<Value> = file.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((rows.len(), &rows[0]["title"], &rows[1199]["title"]), (1200, &json!("T1200"), &json!("T0001")));
    assert_eq!(rows[0].as_object().unwrap().keys().collect::<Vec<_>>(), ["_sync", "id", "title"]);

    let file =
        desk.ask(&maria, "GET", "/export/tasks.csv?priority=urgent&fields=title,description,due_date", None).await;
    assert_eq!(file.header("content-type"), "text/csv; charset=utf-8; header=present");
    let (head, row) = file.text.split_once("\r\n").unwrap();
    assert_eq!(head, "id,title,description,due_date,_sync");
    assert!(row.ends_with(",'=1+1,\"a \"\"b\"\",\nc\",,waiting\r\n"), "{row:?}");

    let olga = desk.sign_in("olga").await;
    let audit = desk.ask(&olga, "GET", "/audit?limit=3", None).await.json();
    assert_eq!(
        (&audit["items"][1]["action"], &audit["items"][1]["details"]),
        (&json!("export"), &json!({"table": "tasks"}))
    );
    refused(&desk.ask(&maria, "GET", "/export/users.csv", None).await, 404, "no_such_route", None);
    refused(&desk.ask(&maria, "GET", "/export/tasks.xlsx", None).await, 404, "no_such_route", None);
    refused(&desk.ask(&maria, "GET", "/export/tasks.csv?limit=3", None).await, 422, "unknown_parameter", Some("limit"));
}

#[tokio::test]
async fn metrics_are_numbers_only() {
    let desk = Desk::start().await;
    let maria = desk.sign_in("maria").await;
    desk.ask(&maria, "PATCH", &format!("/tasks/{TASK_HERE}"), Some(json!({"title": "x"}))).await;
    let metrics = desk.send("", "GET", "/metrics", None, &[]).await;
    assert!(metrics.text.contains("\nwaystation_edge_pending_rows 1\n"), "{}", metrics.text);
    assert!(metrics.text.contains("\nwaystation_edge_in_sync 0\n"), "{}", metrics.text);
}
