//! TLS between an edge and its hub: made by the hub's own CA, broken in every way that a certificate can be wrong, and mended.
//!
//! The edges reach their hub without a proxy between them: nothing on the way can read what passes.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use tests::client;
use tests::deployment::{Deployment, Edge, HEADQUARTERS, Place, Surroundings, WAREHOUSE};
use tests::fake_clock::FakeClock;
use tests::processes::{Process, Program, free_port, log_end, run};
use tests::wait::{eventually, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::{ACME, id};

/// How long an edge may stay away after failures in a row, and what a busy machine adds.
const RETRY_MS_MAX: u64 = 90_000;

/// A centre whose hub serves TLS with what `hub ca init` made.
struct World {
    hub: TlsHub,
    centre: Deployment,
}

/// A hub process on one port, with the certificate that lies in its directory.
struct TlsHub {
    port: u16,
    database_url: String,
    directory: PathBuf,
    process: Mutex<Option<Process>>,
}

impl World {
    /// With an edge that is enrolled and in sync at each place.
    async fn start(places: &[Place]) -> Self {
        let mut centre = Deployment::start(&[]).await;
        centre.hub_command(&["ca", "init", "--name", "127.0.0.1", "localhost"]).await.succeeded();
        let hub = TlsHub {
            port: free_port(),
            database_url: centre.database_url().to_owned(),
            directory: centre.directory().to_owned(),
            process: Mutex::default(),
        };
        hub.start().await;
        for place in places {
            let edge = centre.new_edge(*place);
            enrol(&centre, &hub, &edge, &[]).await;
            edge.start().await;
            centre.adopt_edge(edge);
        }
        centre.sql(&format!("insert into tasks (id, tenant_id, title) values ('{}', '{ACME}', 'first')", id(0))).await;
        centre.assert_equal_dumps().await;
        Self { hub, centre }
    }

    fn edge(&self) -> &Edge {
        self.centre.edge(0)
    }

    async fn title(&self) -> String {
        self.centre.sql(&format!("select title from tasks where id = '{}'", id(0))).await
    }
}

/// Trades a code for an identity, with more in the environment than the edge's own settings.
async fn enrol(centre: &Deployment, hub: &TlsHub, edge: &Edge, environment: &[(String, String)]) {
    let code = centre.enrolment_code(edge.place()).await;
    let ca = hub.file("ca.crt").display().to_string();
    let arguments = ["enroll", "--hub", &hub.url(), "--code", &code, "--ca", &ca];
    let environment = [edge.environment(), environment.to_vec()].concat();
    run(&Program::Edge.path(), &arguments, &environment, centre.directory(), "").await.succeeded();
}

impl TlsHub {
    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join("hub-tls").join(name)
    }

    /// Starts it with the certificate that lies there now.
    async fn start(&self) {
        let file = |name: &str| self.file(name).display().to_string();
        let tls = [("HUB_TLS_CERT", file("hub.crt")), ("HUB_TLS_KEY", file("hub.key"))];
        self.start_with(&tls).await;
    }

    async fn start_with(&self, more: &[(&str, String)]) {
        let own = [("HUB_LISTEN", format!("127.0.0.1:{}", self.port)), ("DATABASE_URL", self.database_url.clone())];
        let environment: Vec<_> =
            own.iter().chain(more).map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let log = self.directory.join("tls-hub.log");
        let process = Process::start("hub", &Program::Hub.path(), &["serve"], &environment, &self.directory, &log);
        *self.process.lock().expect("nobody panics with it") = Some(process);
        eventually("the hub listens", async || {
            TcpStream::connect(("127.0.0.1", self.port)).map(drop).map_err(|_| log_end(&log))
        })
        .await;
    }

    fn kill(&self) {
        let process = self.process.lock().expect("nobody panics with it").take();
        process.expect("a hub that is killed was running").kill();
    }

    /// Signs another certificate for its key, by the CA that its edges trust.
    fn sign(&self, change: impl FnOnce(&mut CertificateParams)) {
        let read = |name: &str| fs::read_to_string(self.file(name)).expect("`hub ca init` made it");
        let ca = KeyPair::from_pem(&read("ca.key")).expect("a key");
        let issuer = Issuer::from_ca_cert_pem(&read("ca.crt"), ca).expect("a CA");
        let key = KeyPair::from_pem(&read("hub.key")).expect("a key");
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("an address is a name");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        fs::write(self.file("hub.crt"), certificate.pem()).expect("the directory is there");
    }
}

/// A system whose only CA is the one in a file.
fn system_trusting(ca: String) -> Surroundings {
    Surroundings { starter: Vec::new(), environment: vec![("SSL_CERT_FILE".to_owned(), ca)] }
}

/// What one command says, in one text.
async fn said(edge: &Edge, arguments: &[&str]) -> String {
    edge.command(arguments).await.to_string()
}

/// With the trouble made, what is written waits and everybody who asks is told why; mended, it arrives without being asked.
async fn check(world: &World, title: &str, words: &[&str], mend: impl AsyncFnOnce()) {
    let edge = world.edge();
    let before = world.title().await;
    let cursor = edge.sqlite("select cursor from sync_self").await;
    edge.api().await.patch(&format!("/tasks/{}", id(0)), &json!({"title": title})).await.expect(200);
    let tells = |text: &str| words.iter().all(|word| text.contains(word));
    let why = |status: &Value| status["last_error"].as_str().unwrap_or_default().to_owned();
    let status =
        edge.until_status("the status explains it", |status| status["state"] == "offline" && tells(&why(status))).await;
    println!("{title}: {}", why(&status));
    assert_eq!((&status["in_sync"], &status["pending"]), (&json!(false), &json!(1)), "{status}");
    assert_eq!(status["transport"], "tls", "{status}");
    assert_eq!(world.title().await, before, "nothing was sent");
    assert_eq!(edge.sqlite("select cursor from sync_self").await, cursor);
    for command in ["status", "doctor"] {
        let said = said(edge, &[command]).await;
        assert!(tells(&said), "{words:?} are missing in {said}");
    }
    mend().await;
    within(RETRY_MS_MAX, "it arrives by itself", async || {
        let there = world.title().await;
        if there == title { Ok(()) } else { Err(format!("{there}\n{}", edge.log())) }
    })
    .await;
    world.centre.assert_equal_dumps().await;
    assert_eq!(edge.status().await["last_error"], Value::Null);
}

#[tokio::test]
async fn an_edge_enrols_and_syncs_over_tls_with_the_ca_that_the_hub_made_and_keeps_it() {
    let world = World::start(&[HEADQUARTERS, WAREHOUSE]).await;
    let edge = world.edge();
    let status = edge.status().await;
    assert_eq!((&status["transport"], &status["state"]), (&json!("tls"), &json!("online")), "{status}");
    assert!(said(edge, &["status"]).await.contains("encrypted (TLS)"));
    let task = format!("/tasks/{}", id(0));
    edge.api().await.patch(&task, &json!({"title": "by TLS"})).await.expect(200);
    world.centre.assert_equal_dumps().await;
    assert_eq!(world.title().await, "by TLS");
    // Only TLS is spoken there, and only the CA makes it trusted.
    let ca = fs::read_to_string(world.hub.file("ca.crt")).expect("`hub ca init` made it");
    let url = format!("{}/healthz", world.hub.url());
    assert_eq!(client::trusting(&ca).get(&url).send().await.expect("the hub answers").status(), 200);
    assert!(client::plain().get(&url).send().await.is_err(), "nobody is trusted who was not named");
    assert!(client::plain().get(url.replace("https", "http")).send().await.is_err(), "no plain text");

    // The CA file is not needed any more: it is kept with the credential, in backups too, and when enrolled again.
    fs::remove_file(world.hub.file("ca.crt")).expect("it is there");
    edge.stop();
    edge.start().await;
    edge.api().await.patch(&task, &json!({"title": "after a restart"})).await.expect(200);
    world.centre.assert_equal_dumps().await;
    let backup = world.centre.directory().join("hq.backup").display().to_string();
    edge.command(&["backup", &backup]).await.succeeded();
    edge.stop();
    let edge = world.centre.new_edge_in(HEADQUARTERS, world.centre.directory().join("restored"));
    edge.command(&["restore", &backup]).await.succeeded();
    edge.start().await;
    let both = || world.centre.assert_equal_dumps_of(vec![&edge, world.centre.edge(1)]);
    both().await;
    world.centre.hub_command(&["edge", "revoke", "hq-1"]).await.succeeded();
    edge.api().await.patch(&task, &json!({"title": "before it was enrolled again"})).await.expect(200);
    edge.until_status("it is revoked", |status| status["state"] == "revoked").await;
    let code = world.centre.enrolment_code(Place { edge: "hq-2", ..HEADQUARTERS }).await;
    edge.command(&["enroll", "--code", &code]).await.succeeded();
    edge.until_status("it goes on", |status| status["in_sync"] == true).await;
    both().await;
    assert_eq!(world.title().await, "before it was enrolled again");
}

#[tokio::test]
async fn a_certificate_out_of_its_time_is_refused_explained_and_loses_nothing() {
    let world = World::start(&[HEADQUARTERS]).await;
    let hub = &world.hub;
    let mend = async || {
        hub.kill();
        fs::write(hub.file("ca.crt"), fs::read(hub.file("ca.kept")).expect("kept")).expect("the directory is there");
        world.centre.hub_command(&["ca", "issue", "--name", "127.0.0.1"]).await.succeeded();
        hub.start().await;
    };
    fs::copy(hub.file("ca.crt"), hub.file("ca.kept")).expect("`hub ca init` made it");
    hub.kill();
    hub.sign(|params| (params.not_before, params.not_after) = (date_time_ymd(2025, 1, 1), date_time_ymd(2025, 12, 31)));
    hub.start().await;
    let words = ["ended at 2025-12-31", "this box's clock says 20", "hub ca issue"];
    check(&world, "while it had expired", &words, mend).await;
    hub.kill();
    hub.sign(|params| (params.not_before, params.not_after) = (date_time_ymd(2098, 1, 1), date_time_ymd(2099, 1, 1)));
    hub.start().await;
    check(&world, "before its time", &["begins at 2098-01-01", "this box's clock says 20"], mend).await;
}

#[tokio::test]
async fn a_certificate_of_another_ca_or_name_is_refused_explained_and_loses_nothing() {
    let world = World::start(&[HEADQUARTERS]).await;
    let (hub, centre) = (&world.hub, &world.centre);
    let mend = async || {
        hub.kill();
        centre.hub_command(&["ca", "issue", "--name", "127.0.0.1"]).await.succeeded();
        hub.start().await;
    };
    hub.kill();
    centre.hub_command(&["ca", "init", "--dir", "other", "--name", "127.0.0.1"]).await.succeeded();
    let other = |name: &str| hub.directory.join("other").join(name).display().to_string();
    // Whom the system trusts is nothing to an edge that was given a CA.
    world.edge().stop();
    world.edge().surround(system_trusting(other("ca.crt")));
    world.edge().start().await;
    hub.start_with(&[("HUB_TLS_CERT", other("hub.crt")), ("HUB_TLS_KEY", other("hub.key"))]).await;
    check(&world, "under another CA", &["not signed by the CA that this edge was enrolled with", "--ca FILE"], mend)
        .await;
    hub.kill();
    centre.hub_command(&["ca", "issue", "--name", "hub.example.com", "192.0.2.7"]).await.succeeded();
    hub.start().await;
    let words = ["is for", "hub.example.com", "192.0.2.7", "hub ca issue --name HOST"];
    check(&world, "under another name", &words, mend).await;
}

#[tokio::test]
async fn a_hub_that_speaks_no_tls_or_too_old_a_one_is_refused_explained_and_loses_nothing() {
    let world = World::start(&[HEADQUARTERS]).await;
    let hub = &world.hub;
    hub.kill();
    hub.start_with(&[]).await;
    check(&world, "in plain text", &["speaks no TLS", "HUB_TLS_CERT"], async || {
        hub.kill();
        hub.start().await;
    })
    .await;
    hub.kill();
    // What a server answers that knows TLS 1.1 at most: the fatal alert protocol_version (RFC 5246, 7.2).
    let old = TcpListener::bind(("127.0.0.1", hub.port)).await.expect("the hub's port is free");
    let old = tokio::spawn(async move {
        loop {
            let Ok((mut stream, _)) = old.accept().await else { return };
            // Whoever asks may be gone already.
            let _ = stream.read(&mut [0; 2048]).await;
            let _ = stream.write_all(&[21, 3, 1, 0, 2, 2, 70]).await;
        }
    });
    check(&world, "by an old server", &["neither TLS 1.2 nor 1.3"], async || {
        old.abort();
        // It has ended when its listener is dropped.
        let _ = old.await;
        hub.start().await;
    })
    .await;
}

#[tokio::test]
async fn a_hub_with_tls_that_is_addressed_without_is_named_before_a_code_is_used() {
    let world = World::start(&[]).await;
    let edge = world.centre.new_edge(HEADQUARTERS);
    let code = world.centre.enrolment_code(HEADQUARTERS).await;
    let plain = world.hub.url().replace("https", "http");
    let wrong = edge.command(&["enroll", "--hub", &plain, "--code", &code]).await.failed(1);
    assert!(wrong.contains("speaks no plain HTTP") && wrong.contains("https://"), "{wrong}");
    let ca = world.hub.file("ca.crt").display().to_string();
    let wrong = edge.command(&["enroll", "--hub", &plain, "--code", &code, "--ca", &ca]).await.failed(1);
    assert!(wrong.contains("not spoken to by TLS") && wrong.ends_with("[ca]"), "{wrong}");
    let key = world.hub.file("ca.key").display().to_string();
    for (file, words) in [(key, "a private key"), ("hub-tls".to_owned(), "cannot read"), ("none".to_owned(), "none")] {
        let wrong =
            edge.command(&["enroll", "--hub", &world.hub.url(), "--code", &code, "--ca", &file]).await.failed(1);
        assert!(wrong.contains(words) && wrong.ends_with("[ca]"), "{wrong}");
    }
    // Without the CA nobody vouches for the hub, whomever this system trusts.
    let wrong = edge.command(&["enroll", "--hub", &world.hub.url(), "--code", &code]).await.failed(1);
    assert!(wrong.contains("--ca FILE"), "{wrong}");
    let far = edge.command(&["enroll", "--hub", "http://192.0.2.7:7400", "--code", &code]).await.failed(1);
    assert!(far.contains("is not encrypted") && far.contains("EDGE_PLAIN_HTTP=true"), "{far}");
    assert!(!edge.data().join("edge.db").exists(), "nothing is left behind");
    // The code was never told to anybody.
    edge.command(&["enroll", "--hub", &world.hub.url(), "--code", &code, "--ca", &ca]).await.succeeded();
}

#[tokio::test]
async fn an_edge_that_is_given_no_ca_trusts_those_of_its_system() {
    let mut world = World::start(&[]).await;
    let edge = world.centre.new_edge(HEADQUARTERS);
    let code = world.centre.enrolment_code(HEADQUARTERS).await;
    let system = system_trusting(world.hub.file("ca.crt").display().to_string());
    let environment = [edge.environment(), system.environment.clone()].concat();
    let arguments = ["enroll", "--hub", &world.hub.url(), "--code", &code];
    run(&Program::Edge.path(), &arguments, &environment, world.centre.directory(), "").await.succeeded();
    edge.surround(system);
    edge.start().await;
    world.centre.adopt_edge(edge);
    world.centre.assert_equal_dumps().await;
}

#[tokio::test]
async fn a_box_whose_clock_died_enrols_and_syncs_over_tls() {
    let mut world = World::start(&[]).await;
    let clock = FakeClock::new();
    clock.set("@1970-01-01 00:00:10");
    let edge = world.centre.new_edge(HEADQUARTERS);
    enrol(&world.centre, &world.hub, &edge, &clock.surroundings().environment).await;
    edge.surround(clock.surroundings());
    edge.start().await;
    world.centre.adopt_edge(edge);
    let edge = world.edge();
    let row = edge.api().await.post("/tasks", &json!({"title": "written in 1970"})).await.expect(201);
    world.centre.assert_equal_dumps().await;
    let written = format!("select title from tasks where id = '{}'", row["id"].as_str().expect("a row has an id"));
    assert_eq!(world.centre.sql(&written).await, "written in 1970");
    // What the hub says of the time is kept: a certificate that began after the program was built is good too.
    let begin = world.centre.sql("select floor(extract(epoch from now()))::bigint").await;
    edge.stop();
    edge.start().await;
    edge.until_status("the hub was heard", |status| status["in_sync"] == true).await;
    edge.stop();
    world.hub.kill();
    world.hub.sign(|params| {
        params.not_before = date_time_ymd(1970, 1, 1) + Duration::from_secs(begin.parse().expect("a number"));
    });
    world.hub.start().await;
    edge.start().await;
    within(RETRY_MS_MAX, "it goes on", async || {
        let status = edge.status().await;
        if status["in_sync"] == true { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    world.centre.assert_equal_dumps().await;
}

#[tokio::test]
async fn a_box_whose_clock_stands_in_2099_is_told_so_and_goes_on_when_it_is_set() {
    let world = World::start(&[HEADQUARTERS]).await;
    let edge = world.edge();
    let clock = FakeClock::new();
    edge.stop();
    edge.surround(clock.surroundings());
    edge.start().await;
    edge.until_status("it is in sync", |status| status["in_sync"] == true).await;
    clock.set("@2099-01-01 00:00:00");
    // A connection that stands is not judged again.
    world.hub.kill();
    world.hub.start().await;
    let task = format!("/tasks/{}", id(0));
    edge.api().await.patch(&task, &json!({"title": "written in 2099"})).await.expect(200);
    let status = edge
        .until_status("the status explains it", |status| {
            let why = status["last_error"].as_str().unwrap_or_default();
            ["this box's clock says 2099-01-01", "by the hub it was 20", "set this box's clock"]
                .iter()
                .all(|words| why.contains(words))
        })
        .await;
    println!("{status}");
    assert_eq!((&status["state"], &status["pending"]), (&json!("offline"), &json!(1)), "{status}");
    assert_eq!(world.title().await, "first");
    // Somebody sets it; the edge itself is left alone.
    clock.set("+0");
    within(RETRY_MS_MAX, "it goes on by itself", async || {
        let there = world.title().await;
        if there == "written in 2099" { Ok(()) } else { Err(format!("{there}\n{}", edge.log())) }
    })
    .await;
    world.centre.assert_equal_dumps().await;
}

#[tokio::test]
async fn handshakes_that_never_come_hold_up_no_edge() {
    const SILENT: usize = 200;
    let world = World::start(&[HEADQUARTERS]).await;
    let silent: Vec<TcpStream> = (0..SILENT)
        .map(|_| TcpStream::connect(("127.0.0.1", world.hub.port)).expect("the hub takes connections"))
        .collect();
    let edge = world.edge();
    edge.stop();
    edge.start().await;
    edge.api().await.patch(&format!("/tasks/{}", id(0)), &json!({"title": "beside them"})).await.expect(200);
    eventually("the write passes them", async || {
        let there = world.title().await;
        if there == "beside them" { Ok(()) } else { Err(format!("{there}\n{}", edge.log())) }
    })
    .await;
    drop(silent);
    world.centre.assert_equal_dumps().await;
}

#[tokio::test]
async fn an_edge_that_knows_its_hub_by_an_address_without_tls_stays_away_says_so_and_works_on() {
    const FAR: &str = "http://192.0.2.7:7400";
    let world = Deployment::start(&[HEADQUARTERS]).await;
    let edge = world.edge(0);
    assert_eq!(edge.status().await["transport"], "loopback");
    edge.stop();
    let credential = edge.data().join("credential.json");
    let near = fs::read_to_string(&credential).expect("the edge is enrolled");
    fs::write(&credential, near.replace(&edge.link().url(), FAR)).expect("it can be written");
    edge.sqlite(&format!("update sync_self set hub_url = '{FAR}'")).await;
    edge.start().await;
    edge.api().await.post("/tasks", &json!({"title": "kept"})).await.expect(201);
    let status = edge.until_status("it is offline", |status| status["state"] == "offline").await;
    let why = status["last_error"].as_str().unwrap_or_default();
    assert!(why.contains(FAR) && why.contains("EDGE_PLAIN_HTTP=true"), "{status}");
    assert_eq!((&status["transport"], &status["pending"]), (&json!("plain_http"), &json!(1)), "{status}");
    edge.stop();
    fs::write(&credential, near).expect("it can be written");
    edge.start().await;
    world.assert_equal_dumps().await;
    assert_eq!(world.sql("select count(*) from tasks where title = 'kept'").await, "1");
}
