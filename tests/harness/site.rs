//! A site of a simulated run: a real SQLite file in memory, with the real triggers, written by plain SQL.
//!
//! Its clock is the simulation's: the connection has its own `strftime` that reads *now* from a number instead of from
//! the machine, so that the triggers stamp as they do in the field and a run can be repeated. Everything else is the
//! SQLite that ships. What a statement wrote is found by comparing the tables before and after it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rusqlite::backup::Backup;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, TransactionBehavior};
use sync::catalog::{self, Direction, TABLES};
use sync::merge::conflict::{Conflict, Status};
use sync::merge::ids::{ReplicaId, RowId};
use sync::sqlite::{self, dump, ledger, outbox, quarantine, self_state, status, versions};
use sync::wire::message::{Enrolled, Fence};
use uuid::Uuid;

use crate::centre::version_text;
use crate::journal::{Author, Deed, Journal, Key, Knowledge, Registers, Seen, Write};

/// The JSON keys that simulated writers use.
pub const KEYS: [&str; 3] = ["k1", "k2", "k.3"];
/// The tables that simulated writers write.
pub const WRITTEN: [&str; 3] = ["sites", "devices", "tasks"];

/// The rows of the written tables, by key.
pub type Rows = BTreeMap<Key, Registers>;

/// A site's database.
#[derive(Debug)]
pub struct Site {
    /// The writing connection.
    pub connection: Connection,
    /// Which edge it is; a copy of a box is the same edge.
    pub edge: usize,
    /// What it has seen.
    pub knowledge: Knowledge,
    /// What it had seen of the rows of each batch, when it put the batch together.
    pub batches: BTreeMap<Uuid, BTreeMap<Key, Seen>>,
    clock: Arc<AtomicI64>,
}

/// A copy of a site's file, as a backup has it.
#[derive(Debug)]
pub struct Copy {
    connection: Connection,
    edge: usize,
    knowledge: Knowledge,
    batches: BTreeMap<Uuid, BTreeMap<Key, Seen>>,
}

/// An empty site's database, made once and copied for each site.
#[derive(Debug)]
pub struct Blank(Connection);

impl Blank {
    /// Migrates a database and installs the triggers.
    pub fn new() -> Self {
        let store = sqlite::open_in_memory().expect("a database in memory opens");
        Self(store.into_parts().0)
    }
}

impl Default for Blank {
    fn default() -> Self {
        Self::new()
    }
}

impl Site {
    /// An enrolled site with an empty mirror.
    pub fn new(blank: &Blank, edge: usize, replica: ReplicaId, tenant: Uuid, fence: Fence) -> Self {
        let mut site = Self::of(&blank.0, edge);
        let identity = Enrolled {
            edge: Uuid::from_u128(u128::from(replica.0)),
            name: format!("edge-{replica}"),
            replica: replica.0,
            credential: String::new(),
            tenant,
            site: Uuid::nil(),
            fence,
            former: Vec::new(),
        };
        let tx = site.connection.transaction().expect("nothing else is open");
        self_state::enrolled(&tx, &identity, "http://centre").expect("an empty database enrols");
        tx.commit().expect("a commit in memory succeeds");
        site
    }

    /// A box with a copy of a file.
    pub fn from_copy(copy: &Copy) -> Self {
        let (knowledge, batches) = (copy.knowledge.clone(), copy.batches.clone());
        Self { knowledge, batches, ..Self::of(&copy.connection, copy.edge) }
    }

    fn of(file: &Connection, edge: usize) -> Self {
        let connection = duplicate(file);
        connection.set_prepared_statement_cache_capacity(256);
        connection.pragma_update(None, "foreign_keys", true).expect("a pragma");
        let clock = Arc::new(AtomicI64::new(0));
        replace_clock(&connection, Arc::clone(&clock)).expect("a function can be replaced");
        Self { connection, edge, knowledge: Knowledge::default(), batches: BTreeMap::new(), clock }
    }

    /// A copy of its file as it is now.
    pub fn copy(&self) -> Copy {
        Copy {
            connection: duplicate(&self.connection),
            edge: self.edge,
            knowledge: self.knowledge.clone(),
            batches: self.batches.clone(),
        }
    }

    /// Its present replica id.
    pub fn replica(&self) -> ReplicaId {
        self.this().replica
    }

    /// Sets what the triggers take for the present, in Unix milliseconds.
    pub fn set_clock(&self, unix_ms: i64) {
        self.clock.store(unix_ms, Ordering::Relaxed);
    }

    /// Runs a statement as a plain client does, and notes what it wrote. Says what was wrong when it was refused.
    pub fn write(&mut self, sql: &str, journal: &mut Journal) -> Result<usize, String> {
        let before = self.rows();
        let tx = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).expect("nothing is open");
        let run = tx.execute_batch(sql);
        if let Err(error) = run {
            drop(tx);
            assert_eq!(before, self.rows(), "a refused statement changes nothing: {sql}");
            return Err(error.to_string());
        }
        tx.commit().map_err(|error| error.to_string())?;
        let after = self.rows();
        let mut writes = Vec::new();
        let replica = self.replica();
        for row in before.keys().chain(after.keys().filter(|row| !before.contains_key(*row))) {
            let deed = match (before.get(row), after.get(row)) {
                (Some(old), Some(new)) if old == new => continue,
                (Some(old), Some(new)) => Deed::Wrote(changed(old, new)),
                (None, Some(new)) => Deed::Wrote(new.clone()),
                (_, None) => Deed::Deleted,
            };
            let (author, name) = (Author::Edge(self.edge), (replica.0, self.seq_of(*row, replica)));
            writes.push(Write { row: *row, author, name, deed, past: self.knowledge.of(*row) });
        }
        let count = writes.len();
        for write in writes {
            let row = write.row;
            let place = journal.add(write);
            self.knowledge.learn_one(row, place);
        }
        Ok(count)
    }

    /// Raises the status of a conflict, as a person does.
    pub fn decide(&mut self, id: Uuid, status: Status) {
        let tx = self.connection.transaction().expect("nothing else is open");
        ledger::decide(&tx, id, status).expect("a kept conflict can be decided");
        tx.commit().expect("a commit in memory succeeds");
    }

    /// The batch to send, under the id `batch` if it is a new one.
    pub fn prepare(&mut self, batch: Uuid, now_ms: u64) -> Option<outbox::InFlight> {
        let in_flight = outbox::prepare(&mut self.connection, batch, now_ms).expect("the outbox can be read")?;
        if in_flight.batch == batch {
            let push = sync::wire::frames::read_push(&in_flight.body).expect("our own body can be read");
            let key = |table: &str, id| (catalog::by_name(table).expect("a known table").name, id);
            let rows = push.rows.iter().map(|row| key(&row.table, row.id));
            self.batches.insert(batch, rows.map(|row| (row, self.knowledge.of(row))).collect());
        }
        Some(in_flight)
    }

    /// The row's last write by this replica, as its version says.
    fn seq_of(&self, row: Key, replica: ReplicaId) -> u64 {
        let table = catalog::by_name(row.0).expect("a known table");
        let select = "select vv from sync_rows where tbl = ?1 and row_id = ?2";
        let mut statement = self.connection.prepare_cached(select).expect("a statement");
        let vv: String = statement
            .query_row(rusqlite::params![table.id.0, row.1.to_string()], |row| row.get(0))
            .expect("a written row has a version");
        let vv: BTreeMap<String, u64> = serde_json::from_str(&vv).expect("a vector is JSON");
        vv[&replica.to_string()]
    }

    /// The rows of the written tables, read as any client reads them.
    pub fn rows(&self) -> Rows {
        WRITTEN.into_iter().flat_map(|table| self.rows_of(table)).collect()
    }

    fn rows_of(&self, table: &'static str) -> Vec<(Key, Registers)> {
        let mut statement = self.connection.prepare_cached(&format!("select * from {table}")).expect("a statement");
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let mut found = statement.query([]).expect("a query");
        let mut rows = Vec::new();
        while let Some(row) = found.next().expect("a row") {
            let mut id = Uuid::nil();
            let mut registers: Registers = KEYS.iter().map(|key| (format!("metadata.{key}"), None)).collect();
            for (index, name) in names.iter().enumerate() {
                let text = text(row.get_ref(index).expect("a column"));
                match name.as_str() {
                    "id" => id = text.parse().expect("ids are uuids"),
                    "metadata" => members(&text, &mut registers),
                    "completed_at" | "longitude" => {
                        let lead = if name == "longitude" { "latitude" } else { "status" };
                        let group = registers.get(lead).cloned().flatten().unwrap_or_default() + "|" + &text;
                        registers.insert(lead.to_owned(), Some(group));
                    }
                    _ => {
                        registers.insert(name.clone(), Some(text));
                    }
                }
            }
            rows.push(((table, id), registers));
        }
        rows
    }

    /// The mirror as `edge dump` prints it.
    pub fn dump(&mut self) -> String {
        let mut bytes = Vec::new();
        dump::write(&mut self.connection, None, &mut bytes).expect("a dump to memory succeeds");
        String::from_utf8(bytes).expect("a dump is UTF-8")
    }

    /// The versions of the rows that both sides write, as text by row, and whether each lives.
    pub fn versions(&self) -> BTreeMap<Key, (String, bool)> {
        let both = TABLES.iter().filter(|table| table.direction == Direction::Both);
        let mut all = BTreeMap::new();
        for table in both {
            let select = "select row_id from sync_rows where tbl = ?1";
            let mut statement = self.connection.prepare_cached(select).expect("a statement");
            let ids = statement.query_map([table.id.0], |row| row.get::<_, String>(0)).expect("a query");
            for id in ids {
                let id: Uuid = id.expect("a row").parse().expect("ids are uuids");
                let tracked = versions::load(&self.connection, table, RowId(id)).expect("a version can be read");
                let tracked = tracked.expect("the row is there");
                let alive = tracked.version.is_alive();
                all.insert((table.name, id), (version_text(&tracked.version), alive));
            }
        }
        all
    }

    /// The conflicts, decided ones included.
    pub fn conflicts(&self) -> Vec<Conflict> {
        ledger::all(&self.connection).expect("conflicts can be read").into_iter().map(|kept| kept.conflict).collect()
    }

    /// Gives a refused row up; says whether there was one. `pick` chooses among so many.
    pub fn discard(&mut self, pick: impl FnOnce(usize) -> usize) -> bool {
        let refused = self.refused();
        if refused.is_empty() {
            return false;
        }
        let tx = self.connection.transaction().expect("nothing else is open");
        let done = quarantine::discard(&tx, refused[pick(refused.len())]).expect("an entry can be given up");
        tx.commit().expect("a commit in memory succeeds");
        done == quarantine::Discard::Asked
    }

    /// The entries of rows that the hub has refused.
    pub fn refused(&self) -> Vec<Uuid> {
        let select = "select id from sync_quarantine where status = 'open' order by id";
        let mut statement = self.connection.prepare_cached(select).expect("a statement");
        let ids = statement.query_map([], |row| row.get::<_, String>(0)).expect("a query");
        ids.map(|id| id.expect("a row").parse().expect("ids are uuids")).collect()
    }

    /// Whether the file has a row or remembers that it died.
    pub fn tracks(&self, row: Key) -> bool {
        let table = catalog::by_name(row.0).expect("a known table");
        versions::load(&self.connection, table, RowId(row.1)).expect("a version can be read").is_some()
    }

    /// What waits.
    pub fn counts(&self) -> status::Counts {
        status::counts(&self.connection).expect("the tables can be counted")
    }

    /// Who it is and how far it has come.
    pub fn this(&self) -> self_state::SelfState {
        self_state::load(&self.connection).expect("the row is there")
    }
}

fn duplicate(file: &Connection) -> Connection {
    let mut connection = Connection::open_in_memory().expect("a database in memory opens");
    Backup::new(file, &mut connection).and_then(|backup| backup.step(-1)).expect("a copy in memory succeeds");
    connection
}

/// Lets `strftime` read the present from `clock`.
fn replace_clock(connection: &Connection, clock: Arc<AtomicI64>) -> rusqlite::Result<()> {
    let plain = Connection::open_in_memory()?;
    let strftime = move |context: &Context<'_>| -> rusqlite::Result<Option<String>> {
        let (format, time): (String, String) = (context.get(0)?, context.get(1)?);
        let time = if time == "now" { iso(clock.load(Ordering::Relaxed)) } else { time };
        plain.prepare_cached("select strftime(?1, ?2)")?.query_row([format, time], |row| row.get(0))
    };
    connection.create_scalar_function("strftime", 2, FunctionFlags::SQLITE_UTF8, strftime)
}

fn iso(unix_ms: i64) -> String {
    let time = chrono::DateTime::from_timestamp_millis(unix_ms).expect("a simulated time is a time");
    time.format("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

fn changed(old: &Registers, new: &Registers) -> Registers {
    new.iter()
        .filter(|(name, value)| old.get(*name) != Some(value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "null".to_owned(),
        ValueRef::Integer(integer) => integer.to_string(),
        ValueRef::Real(real) => format!("{real:?}"),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        ValueRef::Blob(_) => "a blob".to_owned(),
    }
}

fn members(json: &str, registers: &mut Registers) {
    let object: BTreeMap<String, serde_json::Value> = serde_json::from_str(json).expect("metadata is an object");
    for (key, value) in object {
        registers.insert(format!("metadata.{key}"), Some(value.to_string()));
    }
}
