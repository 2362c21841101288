//! One edge without a hub: its file is prepared by SQL, its API listens on a loopback socket, and people talk to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use argon2::password_hash::PasswordHasher;
use argon2::{Algorithm, Argon2, Params, Version};
use edge::App;
use edge::budget::Budget;
use edge::clock::Clock;
use edge::config::{Config, Pages};
use edge::data_dir::DataDir;
use edge::db::Db;
use edge::page_tls::PageTls;
use edge::storage::Storage;
use edge::sync_handle::{self, SyncPort, SyncRequest};
use reqwest::{Client, Method};
use rusqlite::{Connection, params};
use serde_json::Value;
use sync::listener::{self, Limits};
use sync::merge::limits::{CONNECTIONS_MAX, HEAD_MS_MAX};
use sync::sqlite;
use sync::sqlite::error::StoreError;

use crate::scratch::Scratch;

/// The tenant of the edge.
pub const TENANT: &str = "00000000-0000-4000-8000-0000000000a0";
/// Another tenant, of which the file holds rows that it should not.
pub const FOREIGN_TENANT: &str = "00000000-0000-4000-8000-0000000000f0";
/// The site that the edge stands at.
pub const HERE: &str = "00000000-0000-4000-8000-000000000101";
/// Another site of the tenant.
pub const THERE: &str = "00000000-0000-4000-8000-000000000102";
/// A device here.
pub const DEVICE_HERE: &str = "00000000-0000-4000-8000-000000000201";
/// A device there.
pub const DEVICE_THERE: &str = "00000000-0000-4000-8000-000000000202";
/// A task here.
pub const TASK_HERE: &str = "00000000-0000-4000-8000-000000000301";
/// A task there.
pub const TASK_THERE: &str = "00000000-0000-4000-8000-000000000302";
/// A site, a device and a task of the other tenant.
pub const FOREIGN: [&str; 3] = [
    "00000000-0000-4000-8000-0000000001ff",
    "00000000-0000-4000-8000-0000000002ff",
    "00000000-0000-4000-8000-0000000003ff",
];
/// A name that the edge was given by its settings.
pub const NAME: &str = "edge.acme.example";
/// Everybody's PIN.
pub const PIN: &str = "402817";
/// The replica id of the edge, and of another site.
pub const REPLICAS: [u32; 2] = [7, 8];

/// Somebody in the file.
#[derive(Clone, Copy, Debug)]
pub struct Somebody {
    /// The user's id.
    pub id: &'static str,
    /// The address.
    pub email: &'static str,
    /// The kind of account.
    pub user_type: &'static str,
    /// The role in the tenant.
    pub role: &'static str,
    /// How the membership stands.
    pub membership: &'static str,
}

/// The people of the tenant. All but the stranger are assigned to the site and have a PIN for it.
pub const PEOPLE: &[Somebody] = &[
    somebody("00000000-0000-4000-8000-000000000001", "olga@acme.example", "owner"),
    somebody("00000000-0000-4000-8000-000000000002", "adam@acme.example", "admin"),
    somebody("00000000-0000-4000-8000-000000000003", "maria@acme.example", "member"),
    somebody("00000000-0000-4000-8000-000000000004", "victor@acme.example", "viewer"),
    Somebody {
        user_type: "system_admin",
        ..somebody("00000000-0000-4000-8000-000000000005", "root@system.example", "viewer")
    },
    Somebody {
        membership: "suspended",
        ..somebody("00000000-0000-4000-8000-000000000006", "gone@acme.example", "admin")
    },
];

/// A user who is no member of the tenant.
pub const STRANGER: &str = "00000000-0000-4000-8000-00000000000f";

const fn somebody(id: &'static str, email: &'static str, role: &'static str) -> Somebody {
    Somebody { id, email, user_type: "regular_user", role, membership: "active" }
}

/// One edge.
#[derive(Debug)]
pub struct Desk {
    /// What its parts share.
    pub app: App,
    /// Where it listens.
    pub url: String,
    directory: Scratch,
    client: Client,
    server: tokio::task::JoinHandle<()>,
    _lock: Option<std::fs::File>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: reqwest::header::HeaderMap,
    /// The body.
    pub text: String,
}

impl Answer {
    /// The body as JSON, null for none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// A header, empty for none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Desk {
    /// An edge with the people and things of this file.
    pub async fn start() -> Self {
        let directory = Scratch::new();
        prepare(directory.path());
        Self::open(directory).await
    }

    /// The same edge after a restart.
    pub async fn restart(self) -> Self {
        let Self { app, directory, server, _lock, .. } = self;
        server.abort();
        let _ = server.await;
        drop((app, _lock));
        Self::open(directory).await
    }

    async fn open(directory: Scratch) -> Self {
        let path = directory.path().join("edge.db");
        let (connection, lock) = open_when_free(&path).await.into_parts();
        let open_reader = || sqlite::open_reader(&path).map_err(std::io::Error::other);
        let (db, _) = Db::start(|| Ok(connection), open_reader).expect("the file opens for reading");
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has free ports");
        let listen = listener.local_addr().expect("a bound socket has an address");
        let (sync, port) = sync_handle::channel();
        tokio::spawn(know_no_hub(port));
        let (data, names) = (directory.path().to_owned(), vec![NAME.to_owned()]);
        let config =
            Config { listen, data, hub: None, daily_bytes: None, plain_http: false, pages: Pages::Auto, names };
        let storage = Arc::new(Storage::new(DataDir::new(directory.path())));
        let budget = Arc::new(Budget::load(&DataDir::new(directory.path()), None));
        let pages = Arc::new(PageTls::load(&config));
        let app = App { budget, db, clock: Clock::new(), config: Arc::new(config), pages, storage, sync };
        let router = edge::api::router(app.clone(), tokio::sync::watch::channel(false).1);
        let limits = Limits { head_ms_max: HEAD_MS_MAX, connections_max: CONNECTIONS_MAX };
        let server = tokio::spawn(listener::serve(listener, router, limits, None, std::future::pending()));
        let client =
            crate::client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a plain client");
        Self { app, url: format!("http://{listen}"), directory, client, server, _lock: lock }
    }

    /// The edge's file.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("edge.db")
    }

    /// Writes as a program on the box would, or with `applying` as the sync loop.
    pub async fn sql(&self, sql: &str) {
        let connection = Connection::open(self.directory.path().join("edge.db")).expect("the file is there");
        connection.busy_timeout(std::time::Duration::from_secs(5)).expect("a timeout can be set");
        connection.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// One value out of the file, as text.
    pub async fn value(&self, sql: &str) -> String {
        let connection = Connection::open(self.directory.path().join("edge.db")).expect("the file is there");
        let value: rusqlite::types::Value =
            connection.query_row(sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"));
        match value {
            rusqlite::types::Value::Text(text) => text,
            rusqlite::types::Value::Integer(integer) => integer.to_string(),
            rusqlite::types::Value::Null => "null".to_owned(),
            other => format!("{other:?}"),
        }
    }

    /// A token of somebody, by the first letters of the address.
    pub async fn sign_in(&self, name: &str) -> String {
        let somebody = PEOPLE.iter().find(|somebody| somebody.email.starts_with(name)).expect("somebody of this file");
        let body = serde_json::json!({"email": somebody.email, "secret": PIN});
        let answer = self.ask("", "POST", "/session", Some(body)).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json()["token"].as_str().expect("an answer with a token").to_owned()
    }

    /// A request to the API with a token, none if it is empty, and a JSON body.
    pub async fn ask(&self, token: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.ask_with(token, method, path, body, &[]).await
    }

    /// The same with more headers.
    pub async fn ask_with(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let body = body.map(|body| ("application/json", body.to_string().into_bytes()));
        let path = format!("/api/v1{path}");
        let body = body.as_ref().map(|(kind, bytes)| (*kind, bytes.as_slice()));
        self.send(token, method, &path, body, headers).await
    }

    /// A request as it is told: a body with its media type.
    pub async fn send(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<(&str, &[u8])>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some((kind, bytes)) = body {
            request = request.body(bytes.to_vec());
            if !kind.is_empty() {
                request = request.header("content-type", kind);
            }
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.expect("the edge answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, text: response.text().await.expect("a whole answer") }
    }
}

/// What a sync loop says that has nobody to exchange with.
async fn know_no_hub(mut port: SyncPort) {
    let no_hub = || "there is no hub".to_owned();
    while let Some(request) = port.requests.recv().await {
        // Whoever asked may have gone.
        match request {
            SyncRequest::Now(answer) => drop(answer.send(Err(no_hub()))),
            SyncRequest::Verify(answer) => drop(answer.send(Err(no_hub()))),
            SyncRequest::Enrolled => {}
        }
    }
}

/// Makes the data directory of an edge with the people and things of this file. It knows no hub.
pub fn prepare(directory: &Path) {
    std::fs::create_dir_all(directory).expect("the temporary directory can be written");
    let mut store = sqlite::open(&directory.join("edge.db")).expect("a new file opens");
    let tx = store.begin().expect("nobody else writes");
    fill(&tx).expect("the sample fits the schema");
    tx.commit().expect("the disk has room");
}

/// The thread of an edge that has just ended may still hold the file.
async fn open_when_free(path: &Path) -> sqlite::Store {
    loop {
        match sqlite::open(path) {
            Err(StoreError::Locked { .. }) => tokio::task::yield_now().await,
            opened => return opened.expect("the file opens"),
        }
    }
}

fn fill(tx: &Connection) -> rusqlite::Result<()> {
    tx.execute(
        "update sync_self set applying = 1, replica = ?1, tenant_id = ?2, site_id = ?3, edge_name = 'hq-1'",
        params![REPLICAS[0], TENANT, HERE],
    )?;
    tx.execute("insert into sync_replicas (id, name, site_id) values (1, 'centre', null)", [])?;
    tx.execute("insert into sync_replicas (id, name, site_id) values (?, 'wh-1', ?)", params![REPLICAS[1], THERE])?;
    for (tenant, slug) in [(TENANT, "acme"), (FOREIGN_TENANT, "other")] {
        tx.execute("insert into tenants (id, name, slug) values (?, ?, ?)", params![tenant, slug, slug])?;
    }
    for (id, tenant, name) in
        [(HERE, TENANT, "Headquarters"), (THERE, TENANT, "Warehouse"), (FOREIGN[0], FOREIGN_TENANT, "Elsewhere")]
    {
        tx.execute(
            "insert into sites (id, tenant_id, name, timezone) values (?, ?, ?, 'Europe/Berlin')",
            params![id, tenant, name],
        )?;
    }
    for somebody in PEOPLE {
        add_somebody(tx, somebody)?;
    }
    tx.execute("insert into users (id, email) values (?, 'stranger@other.example')", [STRANGER])?;
    for (id, tenant, site, name) in [
        (DEVICE_HERE, TENANT, HERE, "Boiler"),
        (DEVICE_THERE, TENANT, THERE, "Gate"),
        (FOREIGN[1], FOREIGN_TENANT, FOREIGN[0], "Secret"),
    ] {
        tx.execute(
            "insert into devices (id, tenant_id, site_id, name, type, serial_number) values (?, ?, ?, ?, 'sensor', 'SN-' || ?)",
            params![id, tenant, site, name, name],
        )?;
    }
    for (id, tenant, site, title) in [
        (TASK_HERE, TENANT, HERE, "Check the boiler"),
        (TASK_THERE, TENANT, THERE, "Oil the gate"),
        (FOREIGN[2], FOREIGN_TENANT, FOREIGN[0], "Secret"),
    ] {
        tx.execute(
            "insert into tasks (id, tenant_id, site_id, title, metadata) values (?, ?, ?, ?, '{\"a\":1,\"b\":{\"c\":[1.5]}}')",
            params![id, tenant, site, title],
        )?;
    }
    tx.execute("update sync_self set applying = 0", [])?;
    Ok(())
}

fn add_somebody(tx: &Connection, somebody: &Somebody) -> rusqlite::Result<()> {
    let Somebody { id, email, user_type, role, membership } = somebody;
    let name = email.split('@').next().unwrap_or_default();
    tx.execute(
        "insert into users (id, email, first_name, last_name, user_type) values (?, ?, ?, 'Example', ?)",
        params![id, email, name, user_type],
    )?;
    tx.execute(
        "insert into user_tenant_associations (user_id, tenant_id, role, status) values (?, ?, ?, ?)",
        params![id, TENANT, role, membership],
    )?;
    tx.execute(
        "insert into user_site_assignments (user_id, site_id, tenant_id) values (?, ?, ?)",
        params![id, HERE, TENANT],
    )?;
    tx.execute(
        "insert into sync_credentials (tenant_id, user_id, site_id, verifier, updated_at) \
         values (?, ?, ?, ?, '2026-01-01T00:00:00.000000Z')",
        params![TENANT, id, HERE, verifier(PIN)],
    )?;
    Ok(())
}

/// A verifier as the centre makes it, at a cost that suits tests.
fn verifier(pin: &str) -> String {
    let params = Params::new(32, 1, 1, None).expect("parameters within argon2's bounds");
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash: argon2::password_hash::phc::PasswordHash =
        argon2.hash_password_with_salt(pin.as_bytes(), b"sixteen bytes ok").expect("a salt of the right length");
    hash.to_string()
}
