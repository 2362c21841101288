//! Wrong input: each gets its own clear answer and changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use reqwest::Method;
use serde_json::json;
use tests::api::Api;
use tests::deployment::{Deployment, HEADQUARTERS, OFFICE, WAREHOUSE};
use tests::fault_proxy::Route;
use tests::processes::{Finished, Program, free_port, run};

use crate::{OFFICE_SITE, id};

/// A problem of an edge's API: what is sent, and the status that answers it.
struct Wrong {
    what: &'static str,
    method: Method,
    path: String,
    body: Option<String>,
    media_type: &'static str,
    status: &'static [u16],
}

impl Wrong {
    fn new(
        what: &'static str,
        method: Method,
        path: impl Into<String>,
        body: impl ToString,
        status: &'static [u16],
    ) -> Self {
        let body = Some(body.to_string()).filter(|body| !body.is_empty());
        Self { what, method, path: path.into(), body, media_type: "application/json", status }
    }
}

#[tokio::test]
async fn wrong_requests_to_the_api_are_answered_with_problems_that_name_the_field_and_change_nothing() {
    let world = Deployment::start(&[HEADQUARTERS, OFFICE]).await;
    world.assert_equal_dumps().await;
    let edge = world.edge(0);
    let before = edge.dump().await;
    let own = world.sql("select id from tasks where tenant_id = (select id from tenants where slug = 'acme-corp') order by id limit 1").await;
    let theirs = world.sql("select id from tasks where tenant_id = (select id from tenants where slug = 'techstart') order by id limit 1").await;
    let own = format!("/tasks/{own}");
    let theirs = format!("/tasks/{theirs}");
    let tasks = "/tasks";
    let foreign = json!({"title": "x", "site_id": OFFICE_SITE});
    let missing = json!({"title": "x", "site_id": id(404)});
    let mut cases = vec![
        Wrong::new("malformed JSON", Method::POST, tasks, "{\"title\": ", &[400, 422]),
        Wrong::new("no JSON at all", Method::POST, tasks, "title=x", &[400, 422]),
        Wrong::new("a list instead of an object", Method::POST, tasks, "[]", &[400, 422]),
        Wrong::new("a number as title", Method::POST, tasks, json!({"title": 7}), &[422]),
        Wrong::new("no title", Method::POST, tasks, json!({"description": "x"}), &[422]),
        Wrong::new("null as title", Method::PATCH, &own, json!({"title": null}), &[422]),
        Wrong::new("an unknown column", Method::PATCH, &own, json!({"colour": "red"}), &[422]),
        Wrong::new(
            "a column that nobody may write",
            Method::PATCH,
            &own,
            json!({"created_at": "2026-01-01T00:00:00Z"}),
            &[422],
        ),
        Wrong::new("an unknown label", Method::PATCH, &own, json!({"status": "finished"}), &[422]),
        Wrong::new("a date without sense", Method::PATCH, &own, json!({"due_date": "2026-02-30T00:00:00Z"}), &[422]),
        Wrong::new("a list as metadata", Method::PATCH, &own, json!({"metadata": []}), &[422]),
        Wrong::new("a NUL in a text", Method::PATCH, &own, json!({"title": "a\u{0}b"}), &[422]),
        Wrong::new("a NUL in metadata", Method::PATCH, &own, json!({"metadata": {"a": "\u{0}"}}), &[422]),
        Wrong::new("half a surrogate", Method::PATCH, &own, "{\"title\": \"\\ud800\"}", &[400, 422]),
        Wrong::new("a number beyond every type", Method::PATCH, &own, "{\"metadata\": {\"n\": 1e999}}", &[422]),
        Wrong::new("a key that stands twice", Method::PATCH, &own, "{\"metadata\": {\"a\": 1, \"a\": 2}}", &[422]),
        Wrong::new("another tenant's site", Method::POST, tasks, foreign, &[422]),
        Wrong::new("a site that is not there", Method::POST, tasks, missing, &[422]),
        Wrong::new("another tenant's task", Method::GET, &theirs, "", &[404]),
        Wrong::new("another tenant's task, written", Method::PATCH, &theirs, json!({"title": "x"}), &[404]),
        Wrong::new("another tenant's task, deleted", Method::DELETE, &theirs, "", &[404]),
        Wrong::new("an id that is none", Method::GET, "/tasks/seven", "", &[400, 404, 422]),
        Wrong::new("a filter that is unknown", Method::GET, "/tasks?colour=red", "", &[400, 422]),
        Wrong::new("a limit that is no number", Method::GET, "/tasks?limit=many", "", &[400, 422]),
        Wrong::new("a cursor that is none", Method::GET, "/tasks?cursor=%21%21", "", &[400, 422]),
        Wrong::new("a route that is not there", Method::GET, "/nothing", "", &[404]),
        Wrong::new("a method that is not there", Method::DELETE, "/tenant", "", &[405]),
        Wrong::new("a body beyond the limit", Method::POST, tasks, json!({"title": "x".repeat(2 << 20)}), &[413]),
        Wrong::new(
            "a conflict that is not there",
            Method::POST,
            format!("/sync/conflicts/{}/restore", id(404)),
            json!({}),
            &[404],
        ),
    ];
    let mut form = Wrong::new("another media type", Method::POST, tasks, json!({"title": "x"}), &[415]);
    form.media_type = "text/plain";
    cases.push(form);
    let api = edge.api().await;
    let mut broken = Vec::new();
    for case in cases {
        let headers = [("content-type", case.media_type)];
        let answer = api.send(case.method, &case.path, case.body, &headers).await;
        let shown = answer.text.chars().take(300).collect::<String>();
        println!("{}: {} {shown}", case.what, answer.status);
        let problem = answer.media_type.as_deref() == Some("application/problem+json");
        if !case.status.contains(&answer.status) || !problem || !answer.text.contains("\"code\"") {
            broken.push(format!("{}: {} {:?} {shown}", case.what, answer.status, answer.media_type));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert_eq!(edge.dump().await, before);
    world.assert_equal_dumps().await;
}

#[tokio::test]
async fn enrolment_fails_with_a_message_of_its_own_for_each_cause_and_leaves_no_trace() {
    let world = Deployment::start(&[HEADQUARTERS]).await;
    let hub = format!("http://127.0.0.1:{}", world.hub(0).port());
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let other = format!("http://127.0.0.1:{}", world.edge(0).port());
    let code = world.enrolment_code(WAREHOUSE).await;
    let edge = world.new_edge(WAREHOUSE);
    let enroll = async |hub: &str, code: &str| edge.command(&["enroll", "--hub", hub, "--code", code]).await;
    let mut said = BTreeMap::new();
    said.insert("a wrong code", enroll(&hub, "AAAA-BBBB-CCCC").await.failed(1));
    said.insert("nobody listens", enroll(&nowhere, &code).await.failed(1));
    said.insert("somebody else answers", enroll(&other, &code).await.failed(1));
    said.insert("a name that does not resolve", enroll("http://hub.invalid:7400", &code).await.failed(1));
    let no_url = enroll("seven", &code).await;
    assert!(matches!(no_url.code, Some(1 | 2)), "{no_url}");
    println!("no URL at all: {no_url}");
    assert_eq!(world.sql("select count(*) from sync.edges").await, "1", "nothing was enrolled");
    enroll(&hub, &code).await.succeeded();
    said.insert("enrolled already", enroll(&hub, &code).await.failed(1));
    let second = world.new_edge(tests::deployment::Place { edge: "wh-2", ..WAREHOUSE });
    said.insert("a used code", second.command(&["enroll", "--hub", &hub, "--code", &code]).await.failed(1));
    for (what, message) in &said {
        println!("{what}: {message}");
    }
    let mut different: Vec<&String> = said.values().collect();
    different.sort();
    different.dedup();
    // A wrong and a used code may read alike: which codes exist is nobody's business.
    assert!(different.len() >= said.len() - 1, "{said:#?}");
    assert_eq!(world.sql("select count(*) from sync.edges").await, "2");
    for arguments in [
        ["edge", "enroll", "--tenant", "nobody", "--site", "office", "--name", "x"],
        ["edge", "enroll", "--tenant", "acme-corp", "--site", "office", "--name", "x"],
        ["edge", "enroll", "--tenant", "acme-corp", "--site", "headquarters", "--name", "hq-1"],
    ] {
        println!("{}", world.hub_command(&arguments).await.failed(1));
    }
    let usage = world.hub_command(&["edge", "enroll", "--tenant", "acme-corp"]).await;
    assert_eq!(usage.code, Some(2), "{usage}");
    let usage = edge.command(&["enrol"]).await;
    assert_eq!(usage.code, Some(2), "{usage}");
}

#[tokio::test]
async fn an_expired_code_enrols_nobody() {
    let world = Deployment::start(&[]).await;
    let code = world.enrolment_code(OFFICE).await;
    world.sql("update sync.enrollments set expires_at = now() - interval '1 second'").await;
    let edge = world.new_edge(OFFICE);
    let hub = format!("http://127.0.0.1:{}", world.hub(0).port());
    println!("{}", edge.command(&["enroll", "--hub", &hub, "--code", &code]).await.failed(1));
    assert_eq!(world.sql("select count(*) from sync.edges").await, "0");
}

#[tokio::test]
async fn a_database_that_is_not_ours_is_refused_and_left_as_it_was() {
    let world = Deployment::start(&[]).await;
    let name = tests::postgres::empty_database().await;
    let url = world.cluster().url(&name);
    let client = tests::postgres::connect(&url).await;
    client
        .batch_execute("create table users (id integer primary key, nickname text); insert into users values (1, 'x')")
        .await
        .expect("sql");
    let catalog =
        "select string_agg(relname, ',' order by relname) from pg_class c join pg_namespace n on n.oid = relnamespace
                   where nspname not in ('pg_catalog', 'information_schema', 'pg_toast')";
    let before: String = client.query_one(catalog, &[]).await.expect("sql").get(0);
    let hub = async |url: &str, arguments: &[&str]| -> Finished {
        let environment = [
            ("DATABASE_URL".to_owned(), url.to_owned()),
            ("HUB_LISTEN".to_owned(), format!("127.0.0.1:{}", free_port())),
        ];
        run(&Program::Hub.path(), arguments, &environment, world.directory(), "").await
    };
    for arguments in [&["serve"][..], &["db", "migrate", "up"], &["db", "seed"], &["dump", "--tenant", "acme-corp"]] {
        println!("a foreign database, hub {}: {}", arguments.join(" "), hub(&url, arguments).await.failed(1));
    }
    let after: String = client.query_one(catalog, &[]).await.expect("sql").get(0);
    assert_eq!(after, before);
    let empty = world.cluster().url(&tests::postgres::empty_database().await);
    println!("an empty database: {}", hub(&empty, &["serve"]).await.failed(1));
    println!("no such database: {}", hub(&world.cluster().url("nothing"), &["serve"]).await.failed(1));
    let nobody = format!("postgres://postgres@127.0.0.1:{}/x", free_port());
    // A hub that serves waits for its server; a command does not.
    println!("no server: {}", hub(&nobody, &["db", "seed"]).await.failed(1));
    println!("no URL: {}", hub("seven", &["serve"]).await.failed(2));
    println!("no such tenant: {}", world.hub_command(&["dump", "--tenant", "nobody"]).await.failed(1));
}

#[tokio::test]
async fn a_file_that_is_no_edges_is_refused_and_left_as_it_was() {
    let world = Deployment::start(&[]).await;
    let text: &[u8] = b"this is a shopping list, not a database";
    let edge = world.new_edge(HEADQUARTERS);
    fs::create_dir_all(edge.data()).expect("create the folder");
    let file = edge.data().join("edge.db");
    fs::write(&file, text).expect("write");
    println!("a text file: {}", edge.command(&["serve"]).await.failed(1));
    assert_eq!(fs::read(&file).expect("read"), text);
    fs::remove_file(&file).expect("remove");
    edge.sqlite("create table tasks (id integer primary key, note text); insert into tasks values (1, 'mine')").await;
    let before = fs::read(&file).expect("read");
    println!("another program's database: {}", edge.command(&["serve"]).await.failed(1));
    assert_eq!(fs::read(&file).expect("read"), before);
    assert_eq!(edge.sqlite("select note from tasks").await, "mine");
}

#[tokio::test]
async fn a_busy_port_is_named() {
    let world = Deployment::start(&[HEADQUARTERS]).await;
    let busy = format!("127.0.0.1:{}", world.hub(0).port());
    let environment =
        [("DATABASE_URL".to_owned(), world.database_url().to_owned()), ("HUB_LISTEN".to_owned(), busy.clone())];
    let hub = run(&Program::Hub.path(), &["serve"], &environment, world.directory(), "").await.failed(1);
    let other = world.directory().join("other").display().to_string();
    let environment = [("EDGE_DATA".to_owned(), other), ("EDGE_LISTEN".to_owned(), busy.clone())];
    let edge = run(&Program::Edge.path(), &["serve"], &environment, world.directory(), "").await.failed(1);
    for message in [hub, edge] {
        println!("{message}");
        assert!(message.contains(&busy), "it names the address: {message}");
    }
    let environment = [("EDGE_LISTEN".to_owned(), "seven".to_owned())];
    let wrong = run(&Program::Edge.path(), &["serve"], &environment, world.directory(), "").await;
    println!("an address that is none: {}", wrong.failed(1));
}

/// What the hub answers to raw bytes.
async fn raw(deployment: &Deployment, route: Route, body: Vec<u8>, headers: &[(&str, String)]) -> (u16, String) {
    let url = format!("http://127.0.0.1:{}{}", deployment.hub(0).port(), route.path());
    let mut request = tests::client::plain().post(url).body(body);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let answer = request.send().await.expect("the hub answers");
    (answer.status().as_u16(), answer.text().await.unwrap_or_default())
}

#[tokio::test]
async fn garbage_sent_to_the_hub_with_a_sites_own_credential_is_refused_and_changes_nothing() {
    let world = Deployment::start(&[HEADQUARTERS, OFFICE]).await;
    world.assert_equal_dumps().await;
    let edge = world.edge(0);
    edge.sqlite(&crate::insert_task(&id(1), "a real push")).await;
    world.assert_equal_dumps().await;
    let before = (world.dump_hub("acme-corp").await, world.dump_hub("techstart").await);
    let compressed = |text: &str| zstd::encode_all(text.as_bytes(), 1).expect("memory takes it");
    let mut broken = Vec::new();
    for route in [Route::Push, Route::Pull, Route::Hello] {
        let real = edge.link().exchanges_of(route).pop().expect("there was one").request;
        let header = |name: &str| real.header(name).unwrap_or_else(|| panic!("no {name} in {real:?}"));
        let own: Vec<(&str, String)> =
            ["authorization", "content-type", "sync-protocol", "sync-nonce"].map(|name| (name, header(name))).into();
        let without = |name: &str| own.iter().filter(|(header, _)| *header != name).cloned().collect::<Vec<_>>();
        let mut wrong = without("authorization");
        wrong.push(("authorization", "Bearer 00000000000000000000000000000000".to_owned()));
        let body = real.body.clone();
        let bomb = zstd::encode_all(&vec![b'\n'; 64 << 20][..], 1).expect("memory takes it");
        let cases = [
            ("no credential", body.clone(), without("authorization"), 401),
            ("a wrong credential", body.clone(), wrong, 401),
            ("no protocol", body.clone(), without("sync-protocol"), 400),
            ("no nonce", body.clone(), without("sync-nonce"), 400),
            ("bytes of nothing", b"\xff\xfe\x00garbage".to_vec(), own.clone(), 400),
            ("an empty body", Vec::new(), own.clone(), 400),
            ("half a message", body[..body.len() / 2].to_vec(), own.clone(), 400),
            ("a bomb", bomb, own.clone(), 413),
            ("a body beyond the limit", vec![7; (1 << 20) + 1], own.clone(), 413),
            ("an object without sense", compressed("{}\n"), own.clone(), 400),
            ("wrong types", compressed("{\"batch\":{\"id\":7}}\n{\"end\":0}\n"), own.clone(), 400),
        ];
        for (what, body, headers, wanted) in cases {
            let (status, text) = raw(&world, route, body, &headers).await;
            println!("{what} to {}: {status} {}", route.path(), text.chars().take(200).collect::<String>());
            if status != wanted || !text.contains("\"code\"") {
                broken.push(format!("{what} to {}: {status} instead of {wanted}: {text}", route.path()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert_eq!((world.dump_hub("acme-corp").await, world.dump_hub("techstart").await), before);
    // The edge whose credential was misused goes on.
    edge.sqlite(&crate::insert_task(&id(2), "after the garbage")).await;
    world.assert_equal_dumps().await;
    assert!(world.dump_hub("acme-corp").await.contains("after the garbage"));
}

#[tokio::test]
async fn the_health_routes_tell_whether_the_database_is_there() {
    let world = Deployment::start(&[HEADQUARTERS]).await;
    for port in [world.hub(0).port(), world.edge(0).port()] {
        let guest = Api::new(port, None);
        assert_eq!(guest.get("/healthz").await.status, 200);
        assert_eq!(guest.get("/readyz").await.status, 200);
    }
    assert!(Path::new(world.directory()).exists());
}
