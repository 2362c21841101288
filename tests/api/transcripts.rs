//! Representative requests with their whole answers, kept as text, so that a change of the API is seen in review.
//!
//! What changes from run to run is replaced by its kind. `cargo insta review`, or `INSTA_UPDATE=always`, takes a change.

use std::fmt::Write as _;

use insta::{Settings, assert_snapshot};
use serde_json::{Value, json};
use tests::desk::{DEVICE_HERE, Desk, FOREIGN, PIN, TASK_HERE};

/// The headers that are part of the API.
const HEADERS: &[&str] = &[
    "content-type",
    "etag",
    "location",
    "retry-after",
    "allow",
    "www-authenticate",
    "idempotent-replayed",
    "set-cookie",
];

/// A conversation of one person with the edge.
struct Transcript<'a> {
    desk: &'a Desk,
    token: String,
    text: String,
}

impl Transcript<'_> {
    async fn ask(&mut self, method: &str, path: &str, body: Option<Value>, headers: &[(&str, &str)]) -> Value {
        let answer = self.desk.ask_with(&self.token, method, path, body.clone(), headers).await;
        let _ = writeln!(self.text, "> {method} /api/v1{path}");
        for (name, value) in headers {
            let _ = writeln!(self.text, "> {name}: {value}");
        }
        if let Some(body) = body {
            let _ = writeln!(self.text, "> {body}");
        }
        let _ = writeln!(self.text, "{}", answer.status);
        for name in HEADERS.iter().filter(|name| !answer.header(name).is_empty()) {
            let _ = writeln!(self.text, "{name}: {}", answer.header(name));
        }
        let json = answer.json();
        if json.is_null() {
            let _ = writeln!(self.text, "{}\n", answer.text);
        } else {
            let _ = writeln!(self.text, "{}\n", serde_json::to_string_pretty(&json).unwrap());
        }
        json
    }
}

async fn transcript<'a>(desk: &'a Desk, person: &str) -> Transcript<'a> {
    let token = if person.is_empty() { String::new() } else { desk.sign_in(person).await };
    Transcript { desk, token, text: String::new() }
}

fn check(name: &str, transcript: &Transcript<'_>) {
    let mut settings = Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path("transcripts");
    for (pattern, kind) in [
        (r"0[0-9a-f]{7}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "[new id]"),
        (r"20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z", "[time]"),
        (r#""version": "[0-9a-f]{16}""#, r#""version": "[version]""#),
        (r#"etag: "[0-9a-f]{16}""#, r#"etag: "[version]""#),
        (r#"("token": "|waystation-)[^";]+"#, "$1[secret]"),
    ] {
        settings.add_filter(pattern, kind);
    }
    settings.bind(|| assert_snapshot!(name, transcript.text));
}

#[tokio::test]
async fn signing_in_and_asking_who_one_is() {
    let desk = Desk::start().await;
    let mut talk = transcript(&desk, "").await;
    talk.ask("GET", "/me", None, &[]).await;
    talk.ask("POST", "/session", Some(json!({"email": "maria@acme.example", "secret": "000000"})), &[]).await;
    let session = talk.ask("POST", "/session", Some(json!({"email": "maria@acme.example", "secret": PIN})), &[]).await;
    talk.token = session["token"].as_str().unwrap().to_owned();
    talk.ask("GET", "/me", None, &[]).await;
    check("session", &talk);
}

#[tokio::test]
async fn a_task_from_its_making_to_its_end() {
    let desk = Desk::start().await;
    let mut talk = transcript(&desk, "maria").await;
    let task =
        json!({"title": "Bleed the radiators", "device_id": DEVICE_HERE, "due_date": "2026-12-01T09:00:00+01:00"});
    let made = talk.ask("POST", "/tasks", Some(task.clone()), &[("idempotency-key", "k-1")]).await;
    talk.ask("POST", "/tasks", Some(task), &[("idempotency-key", "k-1")]).await;
    let path = format!("/tasks/{}", made["id"].as_str().unwrap());
    talk.ask("PATCH", &path, Some(json!({"status": "done"})), &[]).await;
    talk.ask("PATCH", &path, Some(json!({"title": "x"})), &[("if-match", "\"an-old-version\"")]).await;
    talk.ask("DELETE", &path, None, &[]).await;
    check("task", &talk);
}

#[tokio::test]
async fn lists_and_what_they_refuse() {
    let desk = Desk::start().await;
    let mut talk = transcript(&desk, "maria").await;
    talk.ask("GET", "/tasks?sort=-title&limit=1&fields=title,status", None, &[]).await;
    talk.ask("GET", "/devices?type=toaster", None, &[]).await;
    talk.ask("GET", "/sites?colour=red", None, &[]).await;
    talk.ask("GET", "/tasks?limit=0", None, &[]).await;
    talk.ask("GET", "/tasks?cursor=nonsense", None, &[]).await;
    talk.ask("GET", "/export/tasks.csv?fields=title,priority&sort=title", None, &[]).await;
    check("lists", &talk);
}

#[tokio::test]
async fn bodies_that_are_refused() {
    let desk = Desk::start().await;
    let mut talk = transcript(&desk, "maria").await;
    talk.ask("POST", "/tasks", Some(json!({"title": 7})), &[]).await;
    talk.ask("POST", "/tasks", Some(json!({"title": "x", "colour": "red"})), &[]).await;
    talk.ask("POST", "/tasks", Some(json!({"title": "x", "priority": "asap"})), &[]).await;
    talk.ask("POST", "/tasks", Some(json!({"title": "x", "device_id": FOREIGN[1]})), &[]).await;
    talk.ask("PATCH", &format!("/tasks/{TASK_HERE}"), Some(json!([])), &[]).await;
    let batch = json!({"operations": [{"op": "delete", "table": "tasks", "id": TASK_HERE}, {"op": "create", "table": "tasks", "row": {}}]});
    talk.ask("POST", "/batch", Some(batch), &[]).await;
    talk.ask("PUT", "/tasks", None, &[]).await;
    talk.ask("GET", &format!("/tasks/{}", FOREIGN[2]), None, &[]).await;
    check("refusals", &talk);
}

#[tokio::test]
async fn how_the_edge_stands() {
    let desk = Desk::start().await;
    let mut talk = transcript(&desk, "maria").await;
    talk.ask("GET", "/sync/status", None, &[]).await;
    talk.ask("GET", "/sync/quarantine", None, &[]).await;
    talk.ask("GET", "/sync/conflicts", None, &[]).await;
    check("sync", &talk);
}
