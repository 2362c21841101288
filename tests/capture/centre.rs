//! A small central database with names for its rows, and the judge of what a write stamped.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use sync::catalog::{self, Scope, TABLES};
use sync::merge::ids::TableId;
use sync::pg::capture;
use tests::postgres::{SUPERUSER, connect, fresh_database, shared_cluster};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Error};
use uuid::Uuid;

/// Every row that a test may name: tenants, users, memberships, sites, assignments, a credential, devices, tasks (k), and
/// ids for new rows.
const NAMES: [&str; 24] = [
    "t1", "t2", "u1", "u2", "u3", "m1", "m2", "m3", "s1", "s2", "s9", "a1", "a2", "c1", "d1", "d2", "k1", "k2", "k9",
    "n1", "n2", "n3", "n4", "n5",
];

const ROWS: &str = r#"
insert into tenants (id, name, slug) values ({t1}, 'one', 'one'), ({t2}, 'two', 'two');
insert into users (id, email) values ({u1}, 'u1@x'), ({u2}, 'u2@x'), ({u3}, 'u3@x');
insert into user_tenant_associations (id, user_id, tenant_id) values ({m1}, {u1}, {t1}), ({m2}, {u2}, {t1}), ({m3}, {u2}, {t2});
insert into sites (id, tenant_id, name, latitude, longitude) values
  ({s1}, {t1}, 's1', 50, 8), ({s2}, {t1}, 's2', 0, 0), ({s9}, {t2}, 's9', null, null);
insert into user_site_assignments (id, user_id, site_id, tenant_id, assigned_by) values
  ({a1}, {u1}, {s1}, {t1}, {u1}), ({a2}, {u2}, {s1}, {t1}, {u1});
insert into sync.credentials (id, tenant_id, user_id, site_id, verifier) values ({c1}, {t1}, {u1}, {s1}, '$argon2id$x');
insert into devices (id, tenant_id, site_id, name, type) values ({d1}, {t1}, {s1}, 'd1', 'meter'), ({d2}, {t1}, {s1}, 'd2', 'meter');
insert into tasks (id, tenant_id, user_id, site_id, device_id, title, metadata) values
  ({k1}, {t1}, {u1}, {s1}, {d1}, 'title k1', '{"changed": 1, "removed": 1, "left": 3}'),
  ({k2}, {t1}, null, null, null, 'title k2', '{}'), ({k9}, {t2}, null, null, null, 'title k9', '{}');
"#;

/// A write, and the stamps that it has to leave.
pub(crate) struct Case<'a> {
    /// What the write is, for the message of a failure.
    pub(crate) name: &'a str,
    /// Plain SQL; `{k1}` stands for the quoted id of the row k1.
    pub(crate) write: &'a str,
    /// In the order of tables, tenants and rows: `table row@tenant: registers`; `*` is the whole row, `-` a delete.
    pub(crate) stamps: &'a [&'a str],
}

/// Runs each case from a plain connection. One that ends no transaction itself is rolled back after it was judged, because
/// a database of its own costs more than all the rest.
pub(crate) async fn check(cases: &[Case<'_>]) {
    let shared = Centre::new().await;
    let before = versions(&shared.client).await;
    for case in cases {
        if case.write.contains("begin;") {
            let own = Centre::new().await;
            own.write(case.write).await.unwrap_or_else(|error| panic!("{}: {error:?}", case.name));
            assert_eq!(own.stamps_since(&before).await, case.stamps, "{}", case.name);
            continue;
        }
        shared.write("begin").await.unwrap();
        shared.write(case.write).await.unwrap_or_else(|error| panic!("{}: {error:?}", case.name));
        assert_eq!(stamps_since(&shared.client, &before).await, case.stamps, "{}", case.name);
        shared.write("rollback").await.unwrap();
    }
}

/// Runs each write and compares whom the scopes were told to look at again.
pub(crate) async fn check_scope(cases: &[(&str, &str, &[&str])]) {
    let centre = Centre::new().await;
    for (name, write, told) in cases {
        centre.write("begin; truncate sync.scope_changes").await.unwrap();
        centre.write(write).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let statement = "select distinct user_id, tenant_id from sync.scope_changes order by 1, 2";
        let rows = centre.client.query(statement, &[]).await.unwrap();
        let found = rows.iter().map(|row| format!("{}@{}", name_of(row.get(0)), name_of(row.get(1))));
        assert_eq!(found.collect::<Vec<_>>(), *told, "{name}");
        centre.write("rollback").await.unwrap();
    }
}

/// SQL with the ids in place of the names.
pub(crate) fn named(sql: &str) -> String {
    NAMES.iter().fold(sql.to_owned(), |sql, name| sql.replace(&format!("{{{name}}}"), &format!("'{}'", id_of(name))))
}

/// A row's name by its id.
pub(crate) fn name_of(id: Uuid) -> String {
    NAMES.iter().find(|name| id_of(name) == id).map_or_else(|| id.to_string(), |name| (*name).to_owned())
}

fn id_of(name: &str) -> Uuid {
    let index = NAMES.iter().position(|candidate| *candidate == name).expect("the name is in the list");
    Uuid::from_u128(0xa000_0000_0000_4000_8000_0000_0000_0000 + u128::try_from(index).expect("the list is short"))
}

/// A migrated database with capture installed and a few rows.
pub(crate) struct Centre {
    pub(crate) database: String,
    pub(crate) client: Client,
}

type Key = (u8, Uuid, Uuid);
type Versions = BTreeMap<Key, Version>;

/// A row of `sync.row_versions`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Version {
    txid: i64,
    hlc: i64,
    vv: Value,
    dots: Value,
    gone: Option<Value>,
    echo_of: Option<i32>,
    last_row: Option<Value>,
}

impl Centre {
    /// A copy of a template that is made once for each process.
    pub(crate) async fn new() -> Self {
        static TEMPLATE: OnceCell<String> = OnceCell::const_new();
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let template = TEMPLATE.get_or_init(Self::template).await;
        let database = format!("centre_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let admin = shared_cluster().connect("postgres").await;
        admin.batch_execute(&format!("create database {database} template {template}")).await.unwrap();
        let client = shared_cluster().connect(&database).await;
        Self { database, client }
    }

    async fn template() -> String {
        let database = fresh_database().await;
        let mut centre = Self { client: shared_cluster().connect(&database).await, database };
        centre.install().await;
        centre.write(ROWS).await.unwrap();
        // As if every row had just come from a site: whoever writes next has to take the mark away, and whoever deletes has
        // seen that site's write too.
        centre.write("update sync.row_versions set echo_of = 7, vv = vv || '{\"7\": 3}'").await.unwrap();
        centre.database
    }

    pub(crate) async fn install(&mut self) {
        let tx = self.client.transaction().await.unwrap();
        capture::install(&tx).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub(crate) async fn connect(&self) -> Client {
        connect(&shared_cluster().url(&self.database)).await
    }

    pub(crate) async fn write(&self, sql: &str) -> Result<(), Error> {
        self.client.batch_execute(&named(sql)).await
    }

    /// Runs SQL on another connection without waiting for it.
    pub(crate) fn spawn(&self, client: Client, sql: &str) -> JoinHandle<()> {
        let sql = named(sql);
        tokio::spawn(async move { client.batch_execute(&sql).await.unwrap() })
    }

    pub(crate) async fn wait_until_someone_waits_for_a_lock(&self) {
        let statement = "select exists (select from pg_stat_activity
          where datname = current_database() and wait_event_type = 'Lock')";
        while !self.client.query_one(statement, &[]).await.unwrap().get::<_, bool>(0) {}
    }

    /// Feeds a script to psql. Names stand without quotes, as in COPY.
    pub(crate) fn psql(&self, script: &str) {
        let script = NAMES
            .iter()
            .fold(script.to_owned(), |script, name| script.replace(&format!("{{{name}}}"), &id_of(name).to_string()));
        let mut psql = Command::new(shared_cluster().program_path("psql"))
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &shared_cluster().url(&self.database)])
            .env("PGUSER", SUPERUSER)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        psql.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(psql.wait().unwrap().success());
    }

    pub(crate) async fn json(&self, sql: &str) -> Value {
        self.client.query_one(&named(sql), &[]).await.unwrap().get(0)
    }

    /// The versions, seen by a connection that nothing was done to.
    pub(crate) async fn versions(&self) -> Versions {
        versions(&self.connect().await).await
    }

    /// What was stamped since, seen by a connection that nothing was done to.
    pub(crate) async fn stamps_since(&self, before: &Versions) -> Vec<String> {
        stamps_since(&self.connect().await, before).await
    }
}

async fn versions(client: &Client) -> Versions {
    let statement =
        "select table_id, tenant_id, row_id, txid, hlc, vv, dots, gone, echo_of, last_row from sync.row_versions";
    let rows = client.query(statement, &[]).await.unwrap();
    let versions = rows.iter().map(|row| {
        let key = (u8::try_from(row.get::<_, i16>(0)).unwrap(), row.get(1), row.get(2));
        let version = Version {
            txid: row.get(3),
            hlc: row.get(4),
            vv: row.get(5),
            dots: row.get(6),
            gone: row.get(7),
            echo_of: row.get(8),
            last_row: row.get(9),
        };
        (key, version)
    });
    versions.collect()
}

/// What was stamped since, each stamp judged by the invariants of a stamp.
async fn stamps_since(client: &Client, before: &Versions) -> Vec<String> {
    let statement = "select replica, pg_current_xact_id()::text::bigint from sync.hub";
    let row = client.query_one(statement, &[]).await.unwrap();
    let (own, txid): (i32, i64) = (row.get(0), row.get(1));
    let living = living(client).await;
    let after = versions(client).await;
    let unversioned = living.iter().filter(|key| !after.contains_key(key));
    let mut stamps: Vec<String> =
        unversioned.map(|key| format!("(alive without a version) {}", describe(*key))).collect();
    for (key, version) in &after {
        let name = describe(*key);
        let is_alive = is_alive(version);
        if before.get(key) == Some(version) {
            assert!(is_alive || !living.contains(key), "{name} lives, and its version is dead");
            if is_alive && !living.contains(key) {
                stamps.push(format!("(dead without a stamp) {name}"));
            }
            continue;
        }
        assert_eq!(is_alive, living.contains(key), "{name}: {version:?}");
        judge(&name, before.get(key), version, own);
        assert!(version.txid <= txid, "{name} is of a transaction to come");
        stamps.push(format!("{name}: {}", registers(before.get(key), version, own)));
    }
    stamps
}

async fn living(client: &Client) -> BTreeSet<Key> {
    let mut living = BTreeSet::new();
    for table in TABLES {
        let tenant = match table.scope {
            Scope::Itself => "id",
            Scope::Referred => "'00000000-0000-0000-0000-000000000000'::uuid",
            Scope::Tenant | Scope::Site => "tenant_id",
        };
        let rows = client.query(&format!("select {tenant}, id from {}", table.pg), &[]).await.unwrap();
        living.extend(rows.iter().map(|row| (table.id.0, row.get::<_, Uuid>(0), row.get::<_, Uuid>(1))));
    }
    living
}

/// `table row`, with `@tenant` if it is not the first one.
fn describe((table, tenant, row): Key) -> String {
    let table = catalog::by_id(TableId(table)).expect("the table is in the catalog");
    let row = name_of(row);
    match table.scope {
        Scope::Tenant | Scope::Site if tenant != id_of("t1") => format!("{} {row}@{}", table.name, name_of(tenant)),
        _ => format!("{} {row}", table.name),
    }
}

fn is_alive(version: &Version) -> bool {
    let gone = |replica: &str| version.gone.as_ref().and_then(|gone| gone[replica].as_i64()).unwrap_or(0);
    version.vv.as_object().unwrap().iter().any(|(replica, seq)| seq.as_i64().unwrap() > gone(replica))
}

/// What holds for every stamp, whatever it stamped.
fn judge(name: &str, before: Option<&Version>, after: &Version, own: i32) {
    let seq = |version: &Version| version.vv[own.to_string()].as_i64().unwrap_or(0);
    let message = || format!("{name}: {before:?} became {after:?}");
    let known = before.map_or(0, seq);
    assert!(seq(after) > known, "the seq rises; {}", message());
    assert_eq!(after.echo_of, None, "{}", message());
    assert_eq!(after.last_row.is_some(), !is_alive(after), "the last values are kept only while dead; {}", message());
    if let Some(before) = before {
        assert!(after.hlc > before.hlc, "the clock of a row rises; {}", message());
        assert!(after.txid > before.txid, "{}", message());
    }
    let newest = after.dots.as_object().unwrap().values().filter(|dot| dot[1].as_i64() == Some(seq(after)));
    let newest = newest.collect::<Vec<_>>();
    assert!(!newest.is_empty(), "the newest seq has a dot; {}", message());
    for dot in newest {
        assert_eq!((dot[0].as_i64(), dot[2].as_i64()), (Some(i64::from(own)), Some(after.hlc)), "{}", message());
    }
    for (register, dot) in after.dots.as_object().unwrap() {
        assert!(
            dot[1].as_i64().unwrap() <= after.vv[dot[0].to_string()].as_i64().unwrap(),
            "{register}; {}",
            message()
        );
        assert!(dot[2].as_i64().unwrap() <= after.hlc, "{register}; {}", message());
    }
}

/// The registers stamped since, in the order of their names.
fn registers(before: Option<&Version>, after: &Version, own: i32) -> String {
    let known = before.and_then(|before| before.vv[own.to_string()].as_i64()).unwrap_or(0);
    let dots = after.dots.as_object().unwrap();
    if !is_alive(after) {
        return "-".to_owned();
    }
    let stamped = dots.iter().filter(|(name, dot)| *name != "-" && dot[1].as_i64().unwrap() > known);
    let mut stamped = stamped.map(|(name, _)| name.as_str()).collect::<Vec<_>>();
    stamped.sort_unstable();
    let was_deleted = if dots.contains_key("-") { " (was deleted)" } else { "" };
    format!("{}{was_deleted}", stamped.join(" "))
}
