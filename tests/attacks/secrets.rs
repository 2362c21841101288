//! Secrets stand where they belong and nowhere else: not in what is printed, logged, answered, dumped or stored beside.
//!
//! A deployment is run with everything logged that can be, people and programs use it well and badly, and then every file and
//! every word that came out of it is searched. Each secret is also looked for where it does belong, so that a search which
//! finds nothing has looked for the right thing.

use std::fs;
use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};
use tests::deployment::{Deployment, Edge, HEADQUARTERS, Surroundings};
use tests::processes::{Finished, Program, run};
use tests::scratch::Scratch;
use tests::wait::eventually;

/// What is planted. A PIN of 14 digits stands for no other number.
const PIN: &str = "83041992756613";
const PASSPHRASE: &str = "canary-passphrase-of-somebody";
const DATABASE_PASSWORD: &str = "canary-password-of-the-database";
/// What somebody gets wrong is often nearly right.
const WRONG_PIN: &str = "83041992756614";
const WRONG_TOKEN: &str = "canary-token-that-is-nobodys";
const WRONG_CODE: &str = "CANA-RYCA-NARY-CANA";

/// What came out of a deployment, piece by piece.
#[derive(Default)]
struct Found {
    pieces: Vec<(String, Vec<u8>)>,
}

impl Found {
    fn add(&mut self, what: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.pieces.push((what.into(), bytes.into()));
    }

    fn printed(&mut self, finished: &Finished) {
        self.add(&finished.command, format!("{}{}", finished.stdout, finished.stderr));
    }

    /// Every file of a directory, but those whose names end in one of `without`.
    fn files(&mut self, directory: &Path, without: &[&str]) {
        for entry in fs::read_dir(directory).expect("the directory is there").flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if without.iter().any(|end| name.ends_with(end)) {
                continue;
            }
            if path.is_dir() {
                self.files(&path, without);
            } else if path.is_file() {
                self.add(path.display().to_string(), fs::read(&path).expect("the test may read it"));
            }
        }
    }

    fn places_of(&self, secret: &str) -> Vec<&str> {
        let holds = |bytes: &[u8]| bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
        self.pieces.iter().filter(|(_, bytes)| holds(bytes)).map(|(what, _)| what.as_str()).collect()
    }

    #[track_caller]
    fn hold_none_of(&self, secrets: &[(&str, &str)]) {
        let held: Vec<String> = secrets
            .iter()
            .flat_map(|(name, secret)| self.places_of(secret).into_iter().map(move |place| format!("{name}: {place}")))
            .collect();
        assert!(held.is_empty(), "secrets are in the wrong places:\n  {}", held.join("\n  "));
    }
}

/// The central database for a role with a password.
async fn with_password(world: &Deployment) -> String {
    world.sql(&format!("create role canary superuser login password '{DATABASE_PASSWORD}'")).await;
    world.database_url().replacen("postgres://postgres@", &format!("postgres://canary:{DATABASE_PASSWORD}@"), 1)
}

/// A deployment with one edge, where everything is logged and two people have secrets.
async fn talkative() -> (Deployment, String) {
    let mut world = Deployment::start(&[]).await;
    let url = with_password(&world).await;
    world.reach_database_by_with(url.clone(), vec![("HUB_LOG".to_owned(), "trace".to_owned())]).await;
    let edge = world.enrolled_edge(HEADQUARTERS).await;
    let environment = vec![("EDGE_LOG".to_owned(), "trace".to_owned()), ("RUST_BACKTRACE".to_owned(), "1".to_owned())];
    edge.surround(Surroundings { environment, ..Surroundings::default() });
    edge.start().await;
    world.adopt_edge(edge);
    for (email, secret) in [("admin@acme-corp.com", PIN), ("operator@acme-corp.com", PASSPHRASE)] {
        let arguments = ["user", "set-pin", email, "--site", "headquarters"];
        world.hub_command_with(&arguments, secret).await.succeeded();
    }
    world.edge(0).is_in_sync().await;
    (world, url)
}

/// Signs in by the API, as soon as the secret has arrived; returns the token.
async fn sign_in(edge: &Edge, email: &str, secret: &str) -> String {
    let api = tests::api::Api::new(edge.port(), None);
    let body = json!({"email": email, "secret": secret});
    let answer = eventually("the secret has arrived", async || {
        let answer = api.post("/session", &body).await;
        if answer.status == 201 { Ok(answer.expect(201)) } else { Err(answer.to_string()) }
    })
    .await;
    answer["token"].as_str().expect("a token").to_owned()
}

/// Requests with secrets in every wrong place, and what was answered.
async fn misuse(edge: &Edge, token: &str, found: &mut Found) {
    let stranger = tests::api::Api::new(edge.port(), None);
    let owner = tests::api::Api::new(edge.port(), Some(token.to_owned()));
    let nobody = tests::api::Api::new(edge.port(), Some(WRONG_TOKEN.to_owned()));
    let bodies = [
        json!({"email": "member@acme-corp.com", "secret": WRONG_PIN}).to_string(),
        json!({"email": "nobody@acme-corp.com", "secret": PIN}).to_string(),
        json!({"email": ["x"], "secret": PIN}).to_string(),
        json!({"email": "admin@acme-corp.com", "secret": [PIN]}).to_string(),
        json!({"email": "admin@acme-corp.com", "pin": PIN}).to_string(),
        format!("{{\"email\": \"admin@acme-corp.com\", \"secret\": \"{PIN}\""),
        format!("secret={PIN}"),
        format!("\"{PIN}\""),
    ];
    for body in bodies {
        let answer = stranger.send(Method::POST, "/session", Some(body), &[]).await;
        assert!(answer.status >= 400, "{answer}");
        found.add("an answer to a wrong sign-in", answer.text);
    }
    for path in ["/me", "/tasks", &format!("/tasks?token={WRONG_TOKEN}")] {
        let answer = nobody.get(path).await;
        assert_eq!(answer.status, 401, "{answer}");
        found.add(format!("GET {path} by nobody"), answer.text);
    }
    // The form of the page, and a key that is repeated with another body.
    for secret in [WRONG_PIN, PASSPHRASE] {
        let page = stranger.submit("/sign-in", &[("email", "nobody@acme-corp.com"), ("secret", secret)]).await;
        found.add("the page after a wrong sign-in", page.text);
    }
    for path in
        ["/me", "/users", "/tenant", "/tasks", "/devices", "/sites", "/audit", "/sync/status", "/export/tasks.csv"]
    {
        let answer = owner.get(path).await;
        assert_eq!(answer.status, 200, "{answer}");
        found.add(format!("GET {path}"), answer.text);
    }
    let client = tests::client::plain();
    for path in ["/metrics", "/api/openapi.json", "/healthz", "/readyz", "/docs", "/"] {
        let answer = client.get(format!("http://127.0.0.1:{}{path}", edge.port())).send().await.expect("it answers");
        found.add(format!("GET {path}"), answer.text().await.expect("a body"));
    }
}

/// What a stranger who speaks the hub's protocol, badly, is told.
async fn misuse_hub(world: &Deployment, credential: &str, code: &str, found: &mut Found) {
    let client = tests::client::plain();
    let (id, _) = credential.split_once('.').expect("an id and a secret");
    for (path, bearer, body) in [
        ("hello", WRONG_TOKEN.to_owned(), String::new()),
        ("hello", format!("{id}.{WRONG_TOKEN}"), String::new()),
        ("push", credential.to_owned(), format!("{{\"fence\":\"{PIN}\"}}")),
        ("enroll", WRONG_TOKEN.to_owned(), format!("{{\"code\":\"{WRONG_CODE}\",\"app_version\":\"1\"}}")),
        ("enroll", WRONG_TOKEN.to_owned(), format!("{{\"code\":\"{code}\",\"app_version\":\"1\"}}")),
        ("enroll", WRONG_TOKEN.to_owned(), format!("{{\"code\":[\"{code}\"],\"app_version\":\"1\"}}")),
    ] {
        let request =
            client.post(format!("http://127.0.0.1:{}/sync/v1/{path}", world.hub(0).port())).bearer_auth(bearer);
        let request = request.header("sync-protocol", "1").header("sync-nonce", "canary");
        let request = request.header("content-type", "application/x-ndjson").body(body);
        let answer = request.send().await.expect("it answers");
        assert!(answer.status().is_client_error(), "{path}: {answer:?}");
        // Whoever sends a secret may read it in the answer; it is the log that may not have it.
        drop(answer);
    }
    for path in ["/metrics", "/healthz", "/readyz"] {
        let answer = client.get(format!("http://127.0.0.1:{}{path}", world.hub(0).port())).send().await;
        found.add(format!("hub {path}"), answer.expect("it answers").text().await.expect("a body"));
    }
}

#[tokio::test]
async fn no_log_answer_dump_or_file_holds_a_secret_that_does_not_belong_there() {
    let (world, url) = talkative().await;
    let edge = world.edge(0);
    let mut found = Found::default();

    let session = sign_in(edge, "admin@acme-corp.com", PIN).await;
    let other_session = sign_in(edge, "operator@acme-corp.com", PASSPHRASE).await;
    let token = edge.command(&["token", "--email", "admin@acme-corp.com"]).await.succeeded().trim().to_owned();
    let code = world.enrolment_code(tests::deployment::WAREHOUSE).await;
    let identity = fs::read_to_string(edge.data().join("credential.json")).expect("the edge is enrolled");
    let identity: Value = serde_json::from_str(&identity).expect("JSON");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let (credential, fence) = (text(&identity["credential"]), text(&identity["fence"]["token"]));
    let (_, credential_secret) = credential.split_once('.').expect("an id and a secret");

    misuse(edge, &session, &mut found).await;
    misuse_hub(&world, &credential, &code, &mut found).await;
    edge.sqlite("update tasks set title = title || '!'").await;
    edge.until_status("what was written has arrived", |status| status["pending"] == 0).await;
    let fence_now = edge.sqlite("select token from sync_self").await;

    let task = edge.sqlite("select id from tasks limit 1").await;
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["doctor"],
        &["doctor", "--json"],
        &["dump"],
        &["explain", "tasks", &task, "--json"],
        &["conflicts", "list", "--json"],
        &["quarantine", "list", "--json"],
        &["openapi"],
        &["verify"],
        &["enroll", "--code", &code],
        &["enroll", "--hub", &format!("https://me:{PASSPHRASE}@hub.example.com"), "--code", &code],
    ] {
        found.printed(&edge.command(arguments).await);
    }
    let environment = [("DATABASE_URL".to_owned(), url.clone())];
    for arguments in [
        &["doctor"][..],
        &["doctor", "--json"],
        &["dump", "--tenant", "acme-corp"],
        &["edge", "list", "--json"],
        &["edge", "show", "hq-1", "--json"],
        &["quarantine", "list", "--json"],
        &["recover", "list", "--json"],
        &["db", "migrate", "status", "--json"],
        &["db", "create"],
        &["edge", "enroll", "--tenant", "none", "--site", "none", "--name", "none"],
    ] {
        found.printed(&run(&Program::Hub.path(), arguments, &environment, world.directory(), "").await);
    }
    // The arguments that a test gives are shown with what was printed; they are no output.
    for (command, _) in &mut found.pieces {
        *command = command.split(" --code").next().unwrap_or_default().to_owned();
    }
    // Both end in order, so that what they would say at their end is there too; the file's log stays as it is while somebody
    // has it open.
    let reader = rusqlite::Connection::open(edge.data().join("edge.db")).expect("the file opens");
    reader.query_row("select count(*) from sync_self", [], |_| Ok(())).expect("it can be read");
    edge.stop();
    found.files(world.directory(), &["credential.json"]);
    let dump = world.cluster().program_path("pg_dump");
    let arguments = ["-d", world.database_url()];
    let central = run(&dump, &arguments, &[], world.directory(), "").await.succeeded();
    found.add("the central database", central);

    // The search finds what is there: names in the mirror, the log of both programs, the fence where it belongs.
    let places = found.places_of("Acme Corporation");
    assert!(places.iter().any(|place| place.contains("edge.db")), "{places:?}");
    for (word, log) in [("TRACE", "hq-1.log"), ("edge enrolled", "hub-")] {
        assert!(found.places_of(word).iter().any(|place| place.contains(log)), "{word}: {:?}", found.places_of(word));
    }
    assert!(found.places_of(&fence_now).iter().all(|place| place.contains("edge.db") || place.contains("central")));
    assert!(!found.places_of(&fence_now).is_empty());

    found.hold_none_of(&[
        ("PIN", PIN),
        ("wrong PIN", WRONG_PIN),
        ("passphrase", PASSPHRASE),
        ("session", &session),
        ("session", &other_session),
        ("token", &token),
        ("wrong token", WRONG_TOKEN),
        ("enrolment code", &code),
        ("wrong code", WRONG_CODE),
        ("credential", credential_secret),
        ("database password", DATABASE_PASSWORD),
    ]);
    let logs = |(what, _): &&(String, Vec<u8>)| what.ends_with(".log");
    let logged = Found { pieces: found.pieces.iter().filter(logs).cloned().collect() };
    assert!(logged.pieces.len() >= 2);
    logged.hold_none_of(&[("first fence", &fence), ("present fence", &fence_now)]);
}

#[tokio::test]
async fn a_setting_that_cannot_be_used_is_not_repeated_when_it_may_hold_a_password() {
    let scratch = Scratch::new();
    let hub = Program::Hub.path();
    let edge = Program::Edge.path();
    let mut found = Found::default();
    let urls = [
        format!("postgres://me:{DATABASE_PASSWORD}@127.0.0.1:none/db"),
        format!("postgers://me:{DATABASE_PASSWORD}@127.0.0.1/db"),
        format!("postgres://127.0.0.1/db?pasword={DATABASE_PASSWORD}"),
        format!("host=127.0.0.1 pasword={DATABASE_PASSWORD}"),
        format!("me:{DATABASE_PASSWORD}"),
        format!("postgres://me:{DATABASE_PASSWORD}@127.0.0.1:1/db"),
        format!("host=127.0.0.1 port=1 user=me password={DATABASE_PASSWORD}"),
    ];
    for url in &urls {
        let environment = [("DATABASE_URL".to_owned(), url.clone())];
        let finished = run(&hub, &["doctor"], &environment, scratch.path(), "").await;
        assert_ne!(finished.code, Some(0), "{finished}");
        found.add("hub doctor, by the environment", format!("{}{}", finished.stdout, finished.stderr));
        let finished = run(&hub, &["doctor", &format!("--database-url={url}")], &[], scratch.path(), "").await;
        found.add("hub doctor, by a flag", format!("{}{}", finished.stdout, finished.stderr));
        let finished = run(&hub, &["doctor", &format!("--database_url={url}")], &[], scratch.path(), "").await;
        assert_eq!(finished.code, Some(2), "{finished}");
        found.add("hub doctor, by a wrong flag", format!("{}{}", finished.stdout, finished.stderr));
        for toml in [
            format!("database_url = '{url}'"),
            format!("database_url = '{url}"),
            format!("database_url = {url}"),
            format!("database_url = ['{url}']"),
            format!("db_password = '{DATABASE_PASSWORD}'\ndb_port = 'x'"),
            format!("db_pasword = '{DATABASE_PASSWORD}'"),
        ] {
            fs::write(scratch.path().join("hub.toml"), &toml).unwrap();
            let finished = run(&hub, &["doctor"], &[], scratch.path(), "").await;
            assert_ne!(finished.code, Some(0), "{finished}");
            found.add(format!("hub.toml {}", toml.len()), format!("{}{}", finished.stdout, finished.stderr));
        }
        fs::remove_file(scratch.path().join("hub.toml")).unwrap();
    }
    for hub in [
        format!("https://me:{DATABASE_PASSWORD}@hub.example.com"),
        format!("http://me:{DATABASE_PASSWORD}@hub.example.com"),
        format!("https://hub.example.com/?token={DATABASE_PASSWORD}"),
        format!("ftp://{DATABASE_PASSWORD}@hub.example.com"),
    ] {
        let environment = [("EDGE_HUB".to_owned(), hub.clone())];
        let finished = run(&edge, &["serve"], &environment, scratch.path(), "").await;
        assert_eq!(finished.code, Some(1), "{finished}");
        found.add("edge serve", format!("{}{}", finished.stdout, finished.stderr));
        let finished = run(&edge, &["enroll", "--code", "X", "--hub", &hub], &[], scratch.path(), "").await;
        assert_eq!(finished.code, Some(1), "{finished}");
        found.add("edge enroll", format!("{}{}", finished.stdout, finished.stderr));
    }
    // A credential with its secret in the wrong place.
    let data = scratch.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("credential.json"), format!("{{\"hub\": \"x\", \"replica\": \"{DATABASE_PASSWORD}\"}}"))
        .unwrap();
    for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["doctor", "--json"], &["backup", "x"]] {
        let environment = [("EDGE_DATA".to_owned(), data.display().to_string())];
        let finished = run(&edge, command, &environment, scratch.path(), "").await;
        assert_eq!(finished.code, Some(1), "{finished}");
        found.add(format!("edge {}", command[0]), format!("{}{}", finished.stdout, finished.stderr));
    }
    assert!(!found.places_of("is not a PostgreSQL URL").is_empty(), "the messages were searched");
    found.hold_none_of(&[("a password", DATABASE_PASSWORD)]);
}
