//! What the API answers when the box or the network is in trouble, and that nothing is lost by it.

use serde_json::json;
use tests::desk::{Answer, Desk, TASK_HERE};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::refused;

#[tokio::test]
async fn on_a_full_disk_writes_are_refused_reads_go_on_and_it_recovers_alone() {
    let desk = Desk::start().await;
    let maria = desk.sign_in("maria").await;
    let path = format!("/tasks/{TASK_HERE}");
    let long = json!({"description": "x".repeat(200_000)});
    desk.app.db.write(room(1)).await.unwrap();
    refused(&desk.ask(&maria, "PATCH", &path, Some(long.clone())).await, 507, "disk_full", None);
    assert_eq!(desk.ask(&maria, "GET", &path, None).await.json()["title"], "Check the boiler");
    desk.app.db.write(room(1_000_000)).await.unwrap();
    assert_eq!(desk.ask(&maria, "PATCH", &path, Some(long)).await.status, 200);
}

/// Limits the pages of the file: SQLite then refuses as it does when the disk has no more room.
fn room(pages: i64) -> impl FnOnce(&mut rusqlite::Connection) -> Result<i64, rusqlite::Error> + Send {
    move |connection| connection.query_row(&format!("pragma max_page_count = {pages}"), [], |row| row.get(0))
}

#[tokio::test]
async fn while_another_program_keeps_the_database_locked_writes_are_refused_with_a_time_to_come_back() {
    let desk = Desk::start().await;
    let maria = desk.sign_in("maria").await;
    let path = format!("/tasks/{TASK_HERE}");
    let impatient =
        |connection: &mut rusqlite::Connection| connection.busy_timeout(std::time::Duration::from_millis(20));
    desk.app.db.write(impatient).await.unwrap();
    let other = rusqlite::Connection::open(desk.file()).unwrap();
    other.execute_batch("begin immediate").unwrap();
    let answer = desk.ask(&maria, "PATCH", &path, Some(json!({"title": "x"}))).await;
    refused(&answer, 503, "busy", None);
    assert_eq!(answer.header("retry-after"), "5");
    assert_eq!(desk.ask(&maria, "GET", &path, None).await.status, 200, "reading goes on");
    other.execute_batch("rollback").unwrap();
    assert_eq!(desk.ask(&maria, "PATCH", &path, Some(json!({"title": "x"}))).await.status, 200);
}

#[tokio::test]
async fn a_body_that_never_comes_is_given_up_and_one_that_breaks_off_changes_nothing() {
    let desk = Desk::start().await;
    let maria = desk.sign_in("maria").await;
    let begin = format!(
        "POST /api/v1/tasks HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {maria}\r\ncontent-type: application/json\r\n\
         content-length: 100\r\n\r\n{{\"title\":"
    );
    let address = desk.url.trim_start_matches("http://");
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(begin.as_bytes()).await.unwrap();
    // The edge has the beginning once it answers somebody who came later.
    desk.ask(&maria, "GET", "/me", None).await;
    tokio::time::pause();
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains("}") {
        let length = slow.read(&mut buffer).await.unwrap();
        text.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
    }
    tokio::time::resume();
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    assert!(text.contains("\"request_timeout\""), "{text}");

    let mut cut = TcpStream::connect(address).await.unwrap();
    cut.write_all(begin.as_bytes()).await.unwrap();
    cut.shutdown().await.unwrap();
    let mut text = String::new();
    cut.read_to_string(&mut text).await.unwrap();
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 400 "), "{text}");
    assert_eq!(desk.value("select count(*) from tasks where title like '%title%'").await, "0");
}

#[tokio::test]
async fn any_method_is_answered() {
    let desk = Desk::start().await;
    let maria = desk.sign_in("maria").await;
    for method in ["PUT", "TRACE", "OPTIONS", "BREW"] {
        let answer: Answer = desk.ask(&maria, method, "/tasks", None).await;
        refused(&answer, 405, "method_not_allowed", None);
        assert_eq!(answer.header("allow"), "GET,HEAD,POST");
    }
}

#[tokio::test]
async fn rows_that_have_long_been_dead_are_forgotten_unless_something_still_needs_them() {
    let desk = Desk::start().await;
    let maria = desk.sign_in("maria").await;
    let mut ids = Vec::new();
    for title in ["Sent long ago", "Not sent yet", "Sent today"] {
        let made = desk.ask(&maria, "POST", "/tasks", Some(json!({"title": title}))).await.json();
        let id = made["id"].as_str().unwrap().to_owned();
        desk.ask(&maria, "DELETE", &format!("/tasks/{id}"), None).await;
        ids.push(id);
    }
    let [sent, waiting, young] = &ids[..] else { unreachable!("three were made") };
    desk.sql(&format!(
        "update sync_rows set base = null where row_id in ('{sent}', '{young}');
         update sync_rows set hlc = 1 where row_id in ('{sent}', '{waiting}')"
    ))
    .await;
    edge::upkeep::tidy(&desk.app).await.unwrap();
    for (id, left) in [(sent, "0"), (waiting, "1"), (young, "1")] {
        assert_eq!(desk.value(&format!("select count(*) from sync_rows where row_id = '{id}'")).await, left);
        assert_eq!(desk.value(&format!("select count(*) from sync_last_tasks where id = '{id}'")).await, left);
    }
}
