//! Every route, by everybody, about rows of this site, of another one, of another tenant, and of nobody.
//!
//! The table has a row for every method of every path that the edge serves; a route without one fails the test. What is
//! refused has changed nothing, and a row of another tenant is answered like one that nobody has, byte for byte.

use std::collections::BTreeSet;

use reqwest::Method;
use sync::catalog;
use sync::merge::ids::RowId;
use sync::sqlite::ledger::{self, Refused, Way};
use sync::sqlite::records;
use tests::client;
use tests::desk::{Desk, FOREIGN_TENANT, HERE, TENANT};
use uuid::Uuid;

/// Nobody, then one person of each role.
const PEOPLE: [&str; 5] = ["", "victor", "maria", "adam", "olga"];

/// Somebody else, a system administrator who is a member.
const STAFF: &str = "00000000-0000-4000-8000-000000000005";

/// A method of a route, asked about one thing.
struct Ask {
    method: &'static str,
    /// The route.
    route: &'static str,
    /// The path and the query; `{task}` and its like stand for a row's id.
    path: &'static str,
    body: Body,
    /// What everybody of [`PEOPLE`] is answered about this site's.
    own: [u16; 5],
    /// About another site's.
    other: [u16; 5],
    /// About another tenant's, and about nobody's.
    foreign: [u16; 5],
}

#[derive(Clone, Copy)]
enum Body {
    None,
    Json(&'static str),
    Form(&'static str),
}

use Body::{Form, Json, None as Empty};

const OPEN: [u16; 5] = [200; 5];
/// For whoever is signed in.
const READ: [u16; 5] = [401, 200, 200, 200, 200];
const ABSENT: [u16; 5] = [401, 404, 404, 404, 404];
const WRONG: [u16; 5] = [401, 422, 422, 422, 422];

/// What changes a row: answered with `status` where it may be done.
const fn write(status: u16) -> [u16; 5] {
    [401, 403, status, status, status]
}

/// What only those may do who administer the tenant.
const fn administer(status: u16) -> [u16; 5] {
    [401, 403, 403, status, status]
}

/// What is there only for those who administer the tenant.
const fn oversee(status: u16) -> [u16; 5] {
    [401, 404, 404, status, status]
}

/// What is the same whatever it is about.
const fn ask(method: &'static str, route: &'static str, statuses: [u16; 5]) -> Ask {
    Ask { method, route, path: route, body: Empty, own: statuses, other: statuses, foreign: statuses }
}

impl Ask {
    const fn at(self, path: &'static str) -> Self {
        Self { path, ..self }
    }

    const fn with(self, body: Body) -> Self {
        Self { body, ..self }
    }

    fn ends_sessions(&self) -> bool {
        matches!((self.method, self.route), ("DELETE", "/api/v1/session") | ("POST", "/sign-out"))
    }

    fn names_rows(&self) -> bool {
        let is_named = |text: &str| Rows::NAMES.iter().any(|name| text.contains(name));
        let (Json(body) | Form(body)) = self.body else { return is_named(self.path) };
        is_named(self.path) || is_named(body)
    }

    /// Other answers about another site's rows, and about rows that are not there.
    const fn but(self, other: [u16; 5], foreign: [u16; 5]) -> Self {
        Self { other, foreign, ..self }
    }
}

/// Every method of every route.
const ASKS: &[Ask] = &[
    ask("POST", "/api/v1/session", [201; 5]).with(Json(r#"{"email":"maria@acme.example","secret":"402817"}"#)),
    ask("DELETE", "/api/v1/session", [401, 204, 204, 204, 204]),
    ask("GET", "/api/v1/sessions", READ),
    // Of somebody else.
    ask("DELETE", "/api/v1/sessions/{id}", oversee(204)).at("/api/v1/sessions/{session}").but(oversee(204), ABSENT),
    ask("GET", "/api/v1/me", READ),
    ask("GET", "/api/v1/tasks", READ).at("/api/v1/tasks?site_id={site}&device_id={device}"),
    ask("POST", "/api/v1/tasks", write(201))
        .with(Json(r#"{"title":"x","site_id":"{site}"}"#))
        .but(administer(201), WRONG),
    ask("POST", "/api/v1/tasks", write(201))
        .with(Json(r#"{"title":"x","device_id":"{device}"}"#))
        .but(administer(201), WRONG),
    ask("GET", "/api/v1/tasks/{id}", READ).at("/api/v1/tasks/{task}").but(READ, ABSENT),
    ask("PATCH", "/api/v1/tasks/{id}", write(200))
        .at("/api/v1/tasks/{task}")
        .with(Json(r#"{"description":"x"}"#))
        .but(administer(200), ABSENT),
    ask("DELETE", "/api/v1/tasks/{id}", write(204)).at("/api/v1/tasks/{task}").but(administer(204), ABSENT),
    ask("GET", "/api/v1/devices", READ).at("/api/v1/devices?site_id={site}"),
    ask("POST", "/api/v1/devices", write(201))
        .with(Json(r#"{"name":"x","type":"router","site_id":"{site}"}"#))
        .but(administer(201), WRONG),
    ask("GET", "/api/v1/devices/{id}", READ).at("/api/v1/devices/{device}").but(READ, ABSENT),
    ask("PATCH", "/api/v1/devices/{id}", write(200))
        .at("/api/v1/devices/{device}")
        .with(Json(r#"{"status":"online"}"#))
        .but(administer(200), ABSENT),
    ask("DELETE", "/api/v1/devices/{id}", write(204)).at("/api/v1/devices/{device}").but(administer(204), ABSENT),
    ask("GET", "/api/v1/sites", READ),
    ask("POST", "/api/v1/sites", administer(201)).with(Json(r#"{"name":"x"}"#)),
    ask("GET", "/api/v1/sites/{id}", READ).at("/api/v1/sites/{site}").but(READ, ABSENT),
    ask("PATCH", "/api/v1/sites/{id}", administer(200))
        .at("/api/v1/sites/{site}")
        .with(Json(r#"{"address":"x"}"#))
        .but(administer(200), ABSENT),
    // The edge stands at its own.
    ask("DELETE", "/api/v1/sites/{id}", administer(409)).at("/api/v1/sites/{site}").but(administer(204), ABSENT),
    ask("GET", "/api/v1/users", READ),
    ask("GET", "/api/v1/tenant", READ),
    ask("GET", "/api/v1/audit", administer(200)),
    ask("GET", "/api/v1/rows/{table}/{id}/history", READ).at("/api/v1/rows/tasks/{task}/history").but(READ, ABSENT),
    ask("GET", "/api/v1/rows/{table}/{id}/history", READ).at("/api/v1/rows/devices/{device}/history").but(READ, ABSENT),
    ask("GET", "/api/v1/rows/{table}/{id}/history", READ).at("/api/v1/rows/sites/{site}/history").but(READ, ABSENT),
    ask("POST", "/api/v1/batch", write(200))
        .with(Json(r#"{"operations":[{"op":"update","table":"tasks","id":"{task}","row":{"description":"x"}}]}"#))
        .but(administer(200), ABSENT),
    ask("POST", "/api/v1/batch", write(200))
        .with(Json(r#"{"operations":[{"op":"delete","table":"devices","id":"{device}"}]}"#))
        .but(administer(200), ABSENT),
    ask("POST", "/api/v1/batch", write(200))
        .with(Json(r#"{"operations":[{"op":"create","table":"tasks","row":{"title":"x","site_id":"{site}"}}]}"#))
        .but(administer(200), WRONG),
    ask("GET", "/api/v1/export/{file}", READ).at("/api/v1/export/tasks.csv?site_id={site}"),
    ask("GET", "/api/v1/export/{file}", READ).at("/api/v1/export/devices.ndjson?site_id={site}"),
    ask("GET", "/api/v1/events", READ),
    ask("GET", "/api/v1/sync/status", READ),
    // There is no hub.
    ask("POST", "/api/v1/sync/now", [401, 503, 503, 503, 503]),
    ask("GET", "/api/v1/sync/conflicts", READ),
    ask("GET", "/api/v1/sync/conflicts/{id}", READ).at("/api/v1/sync/conflicts/{conflict}").but(READ, ABSENT),
    ask("POST", "/api/v1/sync/conflicts/{id}/restore", write(200))
        .at("/api/v1/sync/conflicts/{conflict}/restore")
        .but(administer(200), ABSENT),
    ask("POST", "/api/v1/sync/conflicts/{id}/dismiss", write(200))
        .at("/api/v1/sync/conflicts/{conflict}/dismiss")
        .but(administer(200), ABSENT),
    ask("GET", "/api/v1/sync/quarantine", READ),
    ask("DELETE", "/api/v1/sync/quarantine/{id}", administer(204))
        .at("/api/v1/sync/quarantine/{refused}")
        .but(administer(204), administer(404)),
    ask("GET", "/api/openapi.json", OPEN),
    ask("GET", "/metrics", OPEN),
    ask("GET", "/healthz", OPEN),
    ask("GET", "/readyz", OPEN),
    ask("GET", "/", READ).at("/?view=site"),
    ask("GET", "/sign-in", OPEN),
    ask("POST", "/sign-in", [303; 5]).with(Form("email=maria%40acme.example&secret=402817")),
    ask("POST", "/sign-out", [401, 303, 303, 303, 303]).with(Form("")),
    ask("GET", "/sessions", READ),
    ask("POST", "/sessions/{id}/end", oversee(303))
        .at("/sessions/{session}/end")
        .with(Form(""))
        .but(oversee(303), ABSENT),
    ask("GET", "/tasks", READ).at("/tasks?view=all"),
    ask("POST", "/tasks", write(303)).with(Form("title=x&device_id={device}")).but(administer(303), WRONG),
    ask("GET", "/tasks/new", write(200)),
    ask("GET", "/tasks/{id}", READ).at("/tasks/{task}").but(READ, ABSENT),
    ask("POST", "/tasks/{id}", write(303))
        .at("/tasks/{task}")
        .with(Form("was_description=&description=x"))
        .but(administer(303), ABSENT),
    ask("POST", "/tasks/{id}/delete", write(303))
        .at("/tasks/{task}/delete")
        .with(Form("version={version}"))
        .but(administer(303), ABSENT),
    ask("GET", "/devices", READ).at("/devices?view=all"),
    ask("GET", "/devices/{id}", READ).at("/devices/{device}").but(READ, ABSENT),
    ask("POST", "/devices/{id}", write(303))
        .at("/devices/{device}")
        .with(Form("was_status=unknown&status=online"))
        .but(administer(303), ABSENT),
    ask("GET", "/conflicts", READ),
    ask("POST", "/conflicts/{id}/{decision}", write(303))
        .at("/conflicts/{conflict}/restore")
        .with(Form(""))
        .but(administer(303), ABSENT),
    ask("POST", "/conflicts/{id}/{decision}", write(303))
        .at("/conflicts/{conflict}/dismiss")
        .with(Form(""))
        .but(administer(303), ABSENT),
    ask("GET", "/sync", READ),
    ask("POST", "/sync", [401, 303, 303, 303, 303]).with(Form("")),
    // On loopback there is no certificate to trust.
    ask("GET", "/trust", [404; 5]),
    ask("GET", "/trust/ca.crt", [404; 5]),
    ask("GET", "/trust/code.svg", [404; 5]),
    ask("GET", "/assets/style.css", OPEN),
    ask("GET", "/assets/icon.svg", OPEN),
];

#[tokio::test]
async fn every_route_has_a_row_in_the_table_of_roles_and_every_route_of_the_api_is_described() {
    let desk = Desk::start().await;
    let listed: BTreeSet<(String, String)> =
        ASKS.iter().map(|ask| (ask.route.to_owned(), ask.method.to_owned())).collect();
    let mut served = BTreeSet::new();
    for route in edge::api::paths() {
        // A method that nothing has: the answer lists those that are there.
        let answer = desk.send("", "TRACE", &route.replace(['{', '}'], ""), None, &[]).await;
        assert_eq!(answer.status, 405, "{route}: {}", answer.text);
        let allowed = answer.header("allow").split(',').filter(|method| *method != "HEAD");
        served.extend(allowed.map(|method| (route.to_owned(), method.to_owned())));
    }
    assert_eq!(served, listed, "the table has what is served and nothing else");

    let description = desk.send("", "GET", "/api/openapi.json", None, &[]).await.json();
    let described = description["paths"].as_object().unwrap();
    for (route, method) in served.iter().filter(|(route, _)| route.starts_with("/api/v1/")) {
        let begins = route.split("{file}").next().unwrap();
        let is_it = |path: &String| if route.ends_with("{file}") { path.starts_with(begins) } else { path == route };
        let found = described.iter().any(|(path, item)| is_it(path) && !item[method.to_lowercase()].is_null());
        assert!(found, "{method} {route} is not described");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_gets_what_their_role_allows_from_every_route_and_nothing_else() {
    let people = (0..PEOPLE.len()).map(|column| tokio::spawn(try_everything(column))).collect::<Vec<_>>();
    let mut wrong = Vec::new();
    for person in people {
        wrong.extend(person.await.unwrap());
    }
    assert!(wrong.is_empty(), "{} answers:\n  {}", wrong.len(), wrong.join("\n  "));
}

/// Everything that one of [`PEOPLE`] tries at an edge of their own; what went wrong.
async fn try_everything(column: usize) -> Vec<String> {
    let desk = Desk::start().await;
    let client = client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let person = PEOPLE[column];
    let who = if person.is_empty() { "nobody" } else { person };
    let sign_in = async || if person.is_empty() { String::new() } else { desk.sign_in(person).await };
    let (mut token, mut wrong) = (sign_in().await, Vec::new());
    for ask in ASKS {
        let expected = [ask.own[column], ask.other[column], ask.foreign[column], ask.foreign[column]];
        let mut answers = Vec::new();
        for (about, expected) in [About::Own, About::Other, About::Foreign, About::Nothing].into_iter().zip(expected) {
            let rows = Rows::make(&desk, if ask.names_rows() { about } else { About::Nothing }).await;
            let before = written(&desk).await;
            let (status, text) = send(&client, &desk, &token, ask, &rows).await;
            let name = format!("{who}: {} {} ({about:?})", ask.method, ask.path);
            if status != expected {
                wrong.push(format!("{name}: {status}, not {expected}"));
            }
            if status >= 400 && written(&desk).await != before {
                wrong.push(format!("{name}: refused, and yet something was written"));
            }
            answers.push((name, rows.hidden(&text)));
            if ask.ends_sessions() {
                token = sign_in().await;
            }
        }
        let [.., (name, foreign), (_, nothing)] = answers.as_slice() else { unreachable!("four answers") };
        if ask.foreign[column] >= 400 && foreign != nothing {
            wrong.push(format!("{name}: another answer than for nobody's: {foreign:?} and {nothing:?}"));
        }
    }
    wrong
}

/// Whose rows a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Own,
    Other,
    Foreign,
    Nothing,
}

/// Fresh ids, and for all but nothing's the rows that have them.
struct Rows {
    site: String,
    device: String,
    task: String,
    conflict: String,
    refused: String,
    session: String,
    version: String,
}

impl Rows {
    const NAMES: [&str; 7] = ["{site}", "{device}", "{task}", "{conflict}", "{refused}", "{session}", "{version}"];

    async fn make(desk: &Desk, about: About) -> Self {
        let id = || desk.app.clock.uuid_v4().to_string();
        let site = if about == About::Own { HERE.to_owned() } else { id() };
        let mut rows = Self {
            site,
            device: id(),
            task: id(),
            conflict: id(),
            refused: id(),
            session: id(),
            version: String::new(),
        };
        let Self { site, device, task, conflict, session, .. } = &rows;
        let tenant = if about == About::Foreign { FOREIGN_TENANT } else { TENANT };
        let site_row = format!("insert into sites (id, tenant_id, name) values ('{site}', '{tenant}', 'There');");
        let things = format!(
            "insert into devices (id, tenant_id, site_id, name, type) values ('{device}', '{tenant}', '{site}', 'x', 'sensor');
             insert into tasks (id, tenant_id, site_id, title) values ('{task}', '{tenant}', '{site}', 'x');"
        );
        let lost = format!(
            "insert into sync_conflicts (id, tbl, row_id, kind, register, winner, loser) values
               ('{conflict}', {}, '{task}', 'edit_edit', 'title', json_object('dot', json_array(1, 1, 1), 'value', 'x'),
                json_object('dot', json_array(8, 1, 1), 'value', 'y'));",
            catalog::by_name("tasks").unwrap().id.0
        );
        let somebody = format!(
            "insert into sync_sessions (token_hash, user_id, created_at, last_seen_at, expires_at, id) values
               (randomblob(32), '{STAFF}', '2999', '2999-01-01T00:00:00.000000Z', '2999-01-02T00:00:00.000000Z', '{session}');"
        );
        let sql = match about {
            About::Own => format!("{things} {lost} {somebody}"),
            About::Other => format!("{site_row} {things} {lost} {somebody}"),
            About::Foreign => {
                format!("update sync_self set applying = 1; {site_row} {things} update sync_self set applying = 0;")
            }
            About::Nothing => return rows,
        };
        desk.sql(&format!("begin immediate; {sql} commit")).await;
        if about != About::Foreign {
            rows.refused = refuse(desk, &rows.task).await;
            rows.version = version(desk, &rows.task).await;
        }
        rows
    }

    fn fill(&self, template: &str) -> String {
        self.names().iter().fold(template.to_owned(), |text, (name, id)| text.replace(name, id))
    }

    /// A text without the ids.
    fn hidden(&self, text: &str) -> String {
        let named = self.names().into_iter().filter(|(_, id)| !id.is_empty());
        named.fold(text.to_owned(), |text, (name, id)| text.replace(id, name))
    }

    fn names(&self) -> [(&'static str, &str); 7] {
        let Self { site, device, task, conflict, refused, session, version } = self;
        let ids: [&str; 7] = [site, device, task, conflict, refused, session, version];
        std::array::from_fn(|index| (Self::NAMES[index], ids[index]))
    }
}

/// The version of a task.
async fn version(desk: &Desk, task: &str) -> String {
    let (tenant, row) = (Uuid::try_parse(TENANT).unwrap(), RowId(Uuid::try_parse(task).unwrap()));
    let find = move |connection: &mut rusqlite::Connection| {
        records::find(connection, catalog::by_name("tasks").unwrap(), tenant, row)
    };
    desk.app.db.read(find).await.unwrap().unwrap().version
}

/// Lists a task as refused; the entry's id.
async fn refuse(desk: &Desk, task: &str) -> String {
    let (table, row) = (catalog::by_name("tasks").unwrap().id, RowId(Uuid::try_parse(task).unwrap()));
    let (code, reason, payload) = ("rule".to_owned(), "no more of these".to_owned(), "{}".to_owned());
    let refused = Refused { way: Way::Up, table, row, code, reason, payload };
    let work = move |connection: &mut rusqlite::Connection| {
        let tx = connection.transaction()?;
        ledger::refuse(&tx, &refused, 0)?;
        tx.commit()?;
        Ok::<(), sync::sqlite::error::StoreError>(())
    };
    desk.app.db.write(work).await.unwrap();
    desk.value(&format!("select id from sync_quarantine where row_id = '{task}'")).await
}

/// What changes with every write of a row, a decision about a conflict, and a refused row that is given up.
async fn written(desk: &Desk) -> String {
    desk.value(
        "select (select seq from sync_self) || ' ' || (select count(*) from sync_conflicts where status <> 'open') || ' ' ||
           (select count(*) from sync_quarantine where status <> 'open')",
    )
    .await
}

/// The status and the text; 401 when a person is sent to the door.
async fn send(client: &reqwest::Client, desk: &Desk, token: &str, ask: &Ask, rows: &Rows) -> (u16, String) {
    let method = Method::from_bytes(ask.method.as_bytes()).unwrap();
    let mut request = client.request(method, format!("{}{}", desk.url, rows.fill(ask.path)));
    request = request.header("origin", &desk.url).header("accept", "text/html");
    if !token.is_empty() {
        request = request.bearer_auth(token);
    }
    request = match ask.body {
        Empty => request,
        Json(text) => request.header("content-type", "application/json").body(rows.fill(text)),
        Form(text) => request.header("content-type", "application/x-www-form-urlencoded").body(rows.fill(text)),
    };
    let answer = request.send().await.unwrap();
    let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let to_the_door = header("location").starts_with("/sign-in") && header("set-cookie").is_empty();
    let status = if to_the_door { 401 } else { answer.status().as_u16() };
    // Events have no end.
    let text = if header("content-type") == "text/event-stream" { String::new() } else { answer.text().await.unwrap() };
    (status, text)
}
