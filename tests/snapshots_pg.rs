//! The simulator's model of PostgreSQL against PostgreSQL: the same transactions on both, begun, mixed and ended in the same
//! order, must show the same rows to an edge that pulls, with cursors that have seen the same.
//!
//! Scripts are drawn from their number. Each has a tenant of its own, so that all run in one database. The real side is
//! plain SQL with capture, and the real feed; the model is the centre of `random_schedules`.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use sync::catalog;
use sync::merge::ids::{ReplicaId, RowId};
use sync::merge::value::Value;
use sync::pg::cursor::{Checkpoint, Cursor};
use sync::pg::edges::Edge;
use sync::pg::feed;
use sync::wire::frames::read_page;
use sync::wire::message::{Fence, PullLine};
use tests::centre::{Centre, Changes, RowKey};
use tests::journal::Journal;
use tests::postgres::{connect, fresh_database, shared_cluster};
use tests::snapshots::is_new;
use tokio_postgres::Client;
use uuid::Uuid;

/// How many scripts are compared.
const SCRIPTS: u64 = 500;
/// Steps of each.
const STEPS: usize = 24;
/// Transactions that may be open at a time.
const WRITERS: usize = 3;
/// Rows of sites, and users, of each script.
const ROWS: u128 = 3;
/// The edge that pulls; it never pushes.
const EDGE: usize = 0;

/// What a page brings: rows, alive or dead, in their order, then rows that left the scope.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    rows: Vec<(String, Uuid, bool)>,
    evicted: Vec<(String, Uuid)>,
    complete: bool,
}

struct Script {
    number: u64,
    random: SmallRng,
    model: Centre,
    replica: u32,
    journal: Journal,
    /// The open transaction of each client, by its number in the model.
    open: [Option<i64>; WRITERS],
    /// Every transaction: its number in the model and in PostgreSQL.
    transactions: Vec<(i64, i64)>,
    model_cursor: Option<String>,
    real_cursor: Cursor,
    pulls: usize,
    values: u64,
}

impl Script {
    fn new(number: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(number);
        let mut model = Centre::default();
        let (ReplicaId(replica), _) = model.enroll(EDGE, 0, &mut random);
        Self {
            number,
            random,
            model,
            replica,
            journal: Journal::default(),
            open: [None; WRITERS],
            transactions: Vec::new(),
            model_cursor: None,
            real_cursor: Cursor::default(),
            pulls: 0,
            values: 0,
        }
    }

    fn id(&self, kind: u128, row: u128) -> Uuid {
        Uuid::from_u128(0x5c21_0000_0000_8000_0000_0000_0000 + (u128::from(self.number) << 16) + (kind << 8) + row)
    }

    fn tenant(&self) -> Uuid {
        self.id(0, 0)
    }

    /// A row that a statement is about: a site, or a user's membership, which decides who sees the user.
    fn choose(&mut self) -> (&'static str, Uuid, u128) {
        let row = self.random.random_range(0..ROWS);
        match self.random.random_range(0..3) {
            0 => ("user_tenant_associations", self.id(3, row), row),
            _ => ("sites", self.id(4, row), row),
        }
    }

    fn values(&mut self, table: &str, row: u128) -> Changes {
        self.values += 1;
        let tenant = Value::text(self.tenant().to_string());
        let mut values = Changes::from([("tenant_id".to_owned(), Some(tenant))]);
        match table {
            "sites" => values.insert("name".to_owned(), Some(Value::Text(format!("site {}", self.values)))),
            _ => values.insert("user_id".to_owned(), Some(Value::text(self.id(2, row).to_string()))),
        };
        values
    }

    /// What every script begins with: its tenant and users, in one transaction.
    async fn begin(&mut self, client: &Client) {
        let model = self.model.begin();
        let (tenant, mut sql) = (self.tenant(), String::from("begin;"));
        sql += &format!("insert into tenants (id, name, slug) values ('{tenant}', 'one', 's{}');", self.number);
        let key = |table: &str, id| -> RowKey { (catalog::by_name(table).unwrap().id, RowId(id)) };
        assert!(self.model.write_in(model, key("tenants", tenant), &Changes::new(), 0));
        for row in 0..ROWS {
            let user = self.id(2, row);
            sql += &format!("insert into users (id, email) values ('{user}', '{user}@example.org');");
            assert!(self.model.write_in(model, key("users", user), &Changes::new(), 0));
        }
        client.batch_execute(&sql).await.unwrap();
        let real = number_of(client).await;
        client.batch_execute("commit").await.unwrap();
        self.model.commit(model, &mut self.journal, 0);
        self.transactions.push((model, real));
    }

    async fn step(&mut self, clients: &mut [Client], feed: &mut Client) {
        let writer = self.random.random_range(0..WRITERS);
        match self.random.random_range(0..10) {
            0..5 => self.write(writer, &clients[writer]).await,
            5 | 6 => self.end(writer, &clients[writer], true).await,
            7 => self.end(writer, &clients[writer], false).await,
            _ => self.pull(feed).await,
        }
    }

    /// A statement of a transaction, which it begins if need be. One that would wait for another is not made.
    async fn write(&mut self, writer: usize, client: &Client) {
        let begins = self.open[writer].is_none();
        let model = self.open[writer].unwrap_or_else(|| self.model.begin());
        let (table, id, row) = self.choose();
        let key = (catalog::by_name(table).unwrap().id, RowId(id));
        let lives = self.model.row_in(model, key).is_some_and(|row| row.version.is_alive());
        let deletes = lives && (table != "sites" || self.random.random_range(0..3) == 0);
        let values = self.values(table, row);
        let made = match deletes {
            true => self.model.delete_in(model, key, 0),
            false => self.model.write_in(model, key, &values, 0),
        };
        if !made {
            if begins {
                self.model.roll_back(model);
            }
            return;
        }
        let (tenant, user, name) = (self.tenant(), self.id(2, row), self.values);
        let statement = match (deletes, table) {
            (true, _) => format!("delete from {table} where id = '{id}'"),
            (false, "sites") => format!(
                "insert into sites (id, tenant_id, name) values ('{id}', '{tenant}', 'site {name}')
                 on conflict (id) do update set name = excluded.name"
            ),
            (false, _) => format!(
                "insert into user_tenant_associations (id, tenant_id, user_id, role) values ('{id}', '{tenant}', '{user}', 'member')"
            ),
        };
        if begins {
            client.batch_execute("begin").await.unwrap();
        }
        client.batch_execute(&statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        if begins {
            self.transactions.push((model, number_of(client).await));
            self.open[writer] = Some(model);
        }
    }

    async fn end(&mut self, writer: usize, client: &Client, commits: bool) {
        let Some(model) = self.open[writer].take() else { return };
        match commits {
            true => self.model.commit(model, &mut self.journal, 0),
            false => self.model.roll_back(model),
        }
        client.batch_execute(if commits { "commit" } else { "rollback" }).await.unwrap();
    }

    /// A page on both sides, compared; and what the two cursors have seen.
    async fn pull(&mut self, client: &mut Client) {
        self.pulls += 1;
        let (real, next) = page(client, &self.edge(), &self.real_cursor).await;
        let at = (EDGE, self.replica);
        let sent = self.model.pull(at, self.model_cursor.as_deref(), (1_000, 0), 0, &mut self.random).unwrap();
        let modelled = read_page(&sent.body).unwrap();
        let rows = modelled.rows.iter().map(|row| (row.table.clone(), row.id, row.is_alive()));
        let evicted = modelled.evicted.iter().map(|gone| (gone.table.clone(), gone.id));
        let seen = Seen { rows: rows.collect(), evicted: evicted.collect(), complete: modelled.end.complete };
        assert_eq!(seen, real, "script {}, pull {}", self.number, self.pulls);
        self.model_cursor = Some(modelled.end.cursor);
        self.real_cursor = next;
        let modelled = self.model.cursor(EDGE, self.model_cursor.as_deref()).unwrap();
        for (model, real) in &self.transactions {
            let (here, there) =
                (is_new(modelled.start.as_ref(), *model), is_new(self.real_cursor.start.as_ref(), *real));
            assert_eq!(here, there, "script {}: whether transaction {model} or {real} is to come", self.number);
        }
    }

    fn edge(&self) -> Edge {
        Edge {
            id: self.id(9, 0),
            name: "edge".to_owned(),
            tenant: self.tenant(),
            site: Uuid::nil(),
            replica: ReplicaId(1_000_000),
            revoked: false,
            fence: Fence::default(),
            fence_before: None,
            last_batch: None,
            last_batch_hash: None,
            last_answer: None,
            high_seq: 0,
            checkpoint: Checkpoint::default(),
            stale: false,
            compared: 0,
            acknowledged: None,
        }
    }
}

/// The number of a client's transaction.
async fn number_of(client: &Client) -> i64 {
    let row = client.query_one("select pg_current_xact_id()::text::bigint", &[]).await.unwrap();
    row.get(0)
}

async fn page(client: &mut Client, edge: &Edge, cursor: &Cursor) -> (Seen, Cursor) {
    let page = feed::page(client, edge, cursor).await.unwrap();
    let (mut rows, mut evicted) = (Vec::new(), Vec::new());
    for line in &page.lines {
        match serde_json::from_str::<PullLine>(line.get()).unwrap() {
            PullLine::Row(row) => rows.push((row.table.clone(), row.id, row.is_alive())),
            PullLine::Evict(gone) => evicted.push((gone.table, gone.id)),
            other => panic!("nobody made a conflict: {other:?}"),
        }
    }
    (Seen { rows, evicted, complete: page.complete }, page.cursor)
}

#[tokio::test]
async fn the_model_shows_an_edge_what_postgresql_shows_it_whoever_commits_first() {
    let database = fresh_database().await;
    let url = shared_cluster().url(&database);
    sync::admin::database::install(&mut connect(&url).await).await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..WRITERS {
        clients.push(connect(&url).await);
    }
    let mut feed = connect(&url).await;
    let mut totals: BTreeMap<&str, usize> = BTreeMap::new();
    for number in 0..SCRIPTS {
        let mut script = Script::new(number);
        script.begin(&feed).await;
        for _ in 0..STEPS {
            script.step(&mut clients, &mut feed).await;
        }
        for (writer, client) in clients.iter().enumerate() {
            script.end(writer, client, true).await;
        }
        script.pull(&mut feed).await;
        script.pull(&mut feed).await;
        *totals.entry("pulls").or_default() += script.pulls;
        *totals.entry("transactions").or_default() += script.transactions.len();
    }
    println!("{SCRIPTS} scripts: {totals:?}");
}
