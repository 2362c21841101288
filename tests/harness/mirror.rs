//! An edge's file as a plain client sees it: made by the program, written by any `sqlite3`, read back as text.
//!
//! Ids are written as `$a` in scripts and read back as `a`, dots as `replica.seq`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::{Batch, Connection};
use serde_json::Value;
use sync::catalog::{Direction, TABLES, Table};
use sync::sqlite::Store;
use sync::sqlite::error::StoreError;

/// The replica id of the file under test.
pub const REPLICA: u64 = 5;

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// The system's `sqlite3` program.
    Program {
        /// Its `recursive_triggers` setting.
        recursive: bool,
    },
    /// The library that the edge is linked with.
    Linked {
        /// Its `recursive_triggers` setting.
        recursive: bool,
    },
}

/// Every kind of client.
pub const CLIENTS: [Client; 4] = [
    Client::Program { recursive: false },
    Client::Program { recursive: true },
    Client::Linked { recursive: false },
    Client::Linked { recursive: true },
];

/// A directory that is removed when it goes out of scope.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// A new empty directory.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("waystation-test-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for TempDir {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Opens a file that nobody else uses for long: a program that a test of another thread is just starting holds copies of
/// all open files until it runs, the lock among them.
pub fn open_when_free(path: &Path) -> Result<Store, StoreError> {
    loop {
        match sync::sqlite::open(path) {
            Err(StoreError::Locked { .. }) => std::thread::yield_now(),
            opened => return opened,
        }
    }
}

/// An enrolled edge's file with rows that the centre has sent: tenant `t`, users `u` and `v`, site `s` with device
/// `d`, tasks `a` (at `s`, for `d` and `u`) and `b`. Nothing waits to be sent.
#[derive(Debug)]
pub struct Mirror {
    dir: TempDir,
}

impl Mirror {
    /// Makes the file and closes it. Later ones are copies of the first.
    pub fn new() -> Self {
        static FIRST: OnceLock<Vec<u8>> = OnceLock::new();
        let mirror = Self { dir: TempDir::new() };
        let first = FIRST.get_or_init(|| {
            let path = mirror.dir.path().join("first.db");
            let store = sync::sqlite::open(&path).unwrap();
            store.connection().execute_batch(&ids(FIXTURE)).unwrap();
            drop(store);
            std::fs::read(path).unwrap()
        });
        std::fs::write(mirror.path(), first).unwrap();
        mirror
    }

    /// The database file.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("edge.db")
    }

    /// A connection of the linked library, as any program might open one.
    pub fn connection(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    /// Runs a script statement by statement, on after errors, and returns the errors.
    pub fn run(&self, client: Client, script: &str) -> Vec<String> {
        let script = ids(script);
        match client {
            Client::Program { recursive } => self.run_program(recursive, &script),
            Client::Linked { recursive } => self.run_linked(recursive, &script),
        }
    }

    fn run_program(&self, recursive: bool, script: &str) -> Vec<String> {
        let mut program = Command::new("sqlite3");
        program.arg(self.path()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = program.spawn().expect("the sqlite3 program is installed");
        let mut stdin = child.stdin.take().unwrap();
        writeln!(stdin, "pragma synchronous = off; pragma recursive_triggers = {recursive};").unwrap();
        // One statement a line, so that an error does not take the rest of its line along.
        let statements = script.split_inclusive(';').map(|statement| statement.replace('\n', " "));
        stdin.write_all(statements.collect::<Vec<_>>().join("\n").as_bytes()).unwrap();
        writeln!(stdin).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        errors.lines().filter(|line| line.contains("rror")).map(str::to_owned).collect()
    }

    fn run_linked(&self, recursive: bool, script: &str) -> Vec<String> {
        let connection = self.connection();
        connection.pragma_update(None, "recursive_triggers", recursive).unwrap();
        connection.pragma_update(None, "foreign_keys", false).unwrap();
        connection.pragma_update(None, "synchronous", "off").unwrap();
        let mut errors = Vec::new();
        let mut batch = Batch::new(&connection, script);
        while let Some(mut statement) = batch.next().unwrap() {
            let mut rows = statement.raw_query();
            while let Some(_row) = rows.next().unwrap_or_else(|error| {
                errors.push(error.to_string());
                None
            }) {}
        }
        errors
    }

    /// The versions of the rows that wait to be sent, one a line, by table and id; and proof that the file is whole.
    pub fn pending(&self) -> String {
        let connection = self.connection();
        let mut lines = String::new();
        let mut last_seq = 0;
        for table in TABLES.iter().filter(|table| table.direction == Direction::Both) {
            for (id, version) in versions(&connection, table) {
                last_seq = last_seq.max(version.vv.get(&REPLICA).copied().unwrap_or(0));
                version.check(&connection, table, &id);
                if version.base.is_some() {
                    writeln!(lines, "{} {}: {}", table.sqlite, id, version.line()).unwrap();
                }
            }
            let strays = format!(
                "select count(*) from {0} where id not in (select row_id from sync_rows where tbl = {1})",
                table.sqlite, table.id.0
            );
            assert_eq!(number(&connection, &strays), 0, "a row of {} has no version", table.sqlite);
        }
        assert_eq!(
            number(&connection, "select seq from sync_self"),
            last_seq.cast_signed(),
            "seqs have a gap at the end"
        );
        lines
    }

    /// One value of the file.
    pub fn value(&self, query: &str) -> rusqlite::types::Value {
        self.connection().query_row(&ids(query), [], |row| row.get(0)).unwrap()
    }
}

impl Default for Mirror {
    fn default() -> Self {
        Self::new()
    }
}

/// The uuid that `$a` stands for.
pub fn id(letter: char) -> String {
    format!("{:02x}000000-0000-4000-8000-000000000000", u32::from(letter))
}

fn ids(script: &str) -> String {
    let mut out = String::new();
    let mut chars = script.chars().peekable();
    while let Some(char) = chars.next() {
        match (char, chars.peek()) {
            ('$', Some(&letter)) if letter.is_ascii_lowercase() => {
                chars.next();
                out.push_str(&id(letter));
            }
            _ => out.push(char),
        }
    }
    out
}

#[derive(Debug)]
struct Version {
    vv: BTreeMap<u64, u64>,
    dots: BTreeMap<String, (u64, u64, u64)>,
    gone: Option<BTreeMap<u64, u64>>,
    base: Option<BTreeMap<u64, u64>>,
    hlc: u64,
}

impl Version {
    fn is_alive(&self) -> bool {
        let gone = self.gone.clone().unwrap_or_default();
        self.vv.iter().any(|(replica, &seq)| seq > gone.get(replica).copied().unwrap_or(0))
    }

    fn line(&self) -> String {
        let vector = |vector: &BTreeMap<u64, u64>| {
            vector.iter().map(|(replica, seq)| format!("{replica}.{seq}")).collect::<Vec<_>>().join(" ")
        };
        let mut groups: BTreeMap<(u64, u64), Vec<&str>> = BTreeMap::new();
        for (register, (replica, seq, _)) in &self.dots {
            groups.entry((*replica, *seq)).or_default().push(register);
        }
        let dots = groups.iter().map(|((replica, seq), registers)| format!("{replica}.{seq} {}", registers.join(", ")));
        let mut line = format!("{{{}}} {}", vector(&self.vv), dots.collect::<Vec<_>>().join("; "));
        if let Some(gone) = &self.gone {
            write!(line, "; gone {{{}}}{}", vector(gone), if self.is_alive() { "" } else { ", dead" }).unwrap();
        }
        write!(line, "; base {{{}}}", vector(self.base.as_ref().unwrap())).unwrap();
        line
    }

    /// What holds of every version, whoever wrote.
    fn check(&self, connection: &Connection, table: &Table, id: &str) {
        let holds = |name: &str| {
            connection
                .query_row(&format!("select count(*) from {name} where id = ?1"), [letter_id(id)], |row| {
                    row.get::<_, i64>(0)
                })
                .unwrap()
                == 1
        };
        let context = format!("{} {id} {self:?}", table.sqlite);
        assert_eq!(self.is_alive(), holds(table.sqlite), "alive and there: {context}");
        assert_eq!(!self.is_alive(), holds(&format!("sync_last_{}", table.sqlite)), "dead and kept: {context}");
        assert_eq!(self.hlc, self.dots.values().map(|dot| dot.2).max().unwrap(), "highest stamp: {context}");
        let mut dots: Vec<_> = self.dots.values().filter(|dot| dot.0 == REPLICA).collect();
        dots.sort_by_key(|dot| dot.1);
        assert!(
            dots.windows(2).all(|pair| pair[0].1 == pair[1].1 || pair[0].2 < pair[1].2),
            "later is higher: {context}"
        );
        assert!(self.dots.values().all(|dot| dot.1 <= self.vv[&dot.0]), "dots are seen: {context}");
    }
}

fn letter_id(shown: &str) -> String {
    let mut chars = shown.chars();
    match (chars.next(), chars.next()) {
        (Some(letter), None) => id(letter),
        _ => shown.to_owned(),
    }
}

fn versions(connection: &Connection, table: &Table) -> Vec<(String, Version)> {
    let query = "select row_id, vv, dots, gone, base, hlc from sync_rows where tbl = ?1 order by row_id";
    let mut statement = connection.prepare(query).unwrap();
    let rows = statement.query_map([table.id.0], |row| {
        let vector = |text: Option<String>| text.map(|text| vector(&text));
        let version = Version {
            vv: vector(row.get(1)?).unwrap(),
            dots: dots(&row.get::<_, String>(2)?),
            gone: vector(row.get(3)?),
            base: vector(row.get(4)?),
            hlc: row.get::<_, i64>(5)?.cast_unsigned(),
        };
        Ok((row.get::<_, String>(0)?, version))
    });
    let letters: BTreeMap<String, String> = ('a'..='z').map(|letter| (id(letter), letter.to_string())).collect();
    rows.unwrap()
        .map(|row| row.unwrap())
        .map(|(id, version)| (letters.get(&id).cloned().unwrap_or(id), version))
        .collect()
}

fn vector(text: &str) -> BTreeMap<u64, u64> {
    let map: BTreeMap<String, u64> = serde_json::from_str(text).unwrap();
    map.into_iter().map(|(replica, seq)| (replica.parse().unwrap(), seq)).collect()
}

fn dots(text: &str) -> BTreeMap<String, (u64, u64, u64)> {
    let map: BTreeMap<String, Value> = serde_json::from_str(text).unwrap();
    let part = |dot: &Value, index: usize| dot[index].as_u64().unwrap();
    map.into_iter().map(|(register, dot)| (register, (part(&dot, 0), part(&dot, 1), part(&dot, 2)))).collect()
}

fn number(connection: &Connection, query: &str) -> i64 {
    connection.query_row(query, [], |row| row.get(0)).unwrap()
}

const FIXTURE: &str = r#"
update sync_self set replica = 5, tenant_id = '$t', applying = 1;
insert into tenants (id, name, slug) values ('$t', 'Acme', 'acme');
insert into users (id, email) values ('$u', 'u@acme.example'), ('$v', 'v@acme.example');
insert into sites (id, tenant_id, name, latitude, longitude) values ('$s', '$t', 'HQ', 0.1, 0.2);
insert into user_site_assignments (id, user_id, site_id, tenant_id) values ('$w', '$u', '$s', '$t');
insert into devices (id, tenant_id, site_id, name, type) values ('$d', '$t', '$s', 'Meter', 'meter');
insert into tasks (id, tenant_id, user_id, site_id, device_id, title, metadata, created_at, updated_at) values
  ('$a', '$t', '$u', '$s', '$d', 'A', '{"k":1,"n":{"x":[1,2]}}', '2026-01-01T00:00:00.000000Z', '2026-01-01T00:00:00.000000Z'),
  ('$b', '$t', null, null, null, 'B', '{}', '2026-01-01T00:00:00.000000Z', '2026-01-01T00:00:00.000000Z');
insert into sync_rows (tbl, row_id, vv, dots, hlc) values
  (4, '$s', '{"1":1}', '{"*":[1,1,65536]}', 65536), (7, '$d', '{"1":2}', '{"*":[1,2,65536]}', 65536),
  (8, '$a', '{"1":3}', '{"*":[1,3,65536]}', 65536), (8, '$b', '{"1":4}', '{"*":[1,4,65536]}', 65536);
update sync_self set applying = 0;
"#;
