//! The centre of a simulated run: rows in memory, plans by the real merge, bodies by the real codec.
//!
//! It stands in for PostgreSQL and the hub, and decides nothing: who wins is `merge::plan`'s to say, whose history goes on
//! `merge::fence`'s, what is renamed `merge::rename`'s; cursors and tokens are the hub's own. [`Database`] is everything that
//! a backup holds, and so everything that a restore takes back.

mod comparison;
mod feed;
mod fences;
mod incarnations;
mod push;
mod recovery;
mod references;
mod writers;

use std::collections::{BTreeMap, BTreeSet};

use sync::catalog::{self, Direction, TABLES};
use sync::merge::clock::{Dot, Hlc};
use sync::merge::conflict::{Conflict, Status};
use sync::merge::ids::{ReplicaId, RowId, TableId};
use sync::merge::value::{Register, Value};
use sync::merge::version::{Row, Version};
use sync::wire::convert;
use sync::wire::message::PullRow;
use sync::wire::version::{DotsText, VectorText, dots_text, vector_text};
use uuid::Uuid;

pub use self::comparison::Compared;
pub use self::feed::SentPage;
pub use self::fences::Fence;
pub use self::incarnations::{Incarnation, Kind};
pub use self::push::{Receipt, Refused};
pub use self::recovery::Recovered;
use crate::journal::{Key, Knowledge, Seen};
use crate::snapshots::Transactions;

/// The centre's replica id in its first incarnation.
pub const CENTRE: u32 = 1;

/// A row's table and id.
pub type RowKey = (TableId, RowId);

/// The registers that a plain writer sets, `None` for a JSON key that goes.
pub type Changes = BTreeMap<Register, Option<Value>>;

/// Faults that the centre makes on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Temper {
    /// Of a thousand pushed rows, how many are answered `busy`.
    pub busy_of_1000: u32,
    /// Whether rows with a title that begins with `poison` are refused.
    pub refuses_poison: bool,
    /// How often every edge is compared unasked, in milliseconds; zero for never.
    pub compared_every_ms: u64,
}

/// A row at the centre.
#[derive(Clone, Debug, PartialEq)]
pub struct CentreRow {
    /// Its values and version.
    pub row: Row,
    /// The transaction that wrote it last.
    pub txid: i64,
    echo_of: Option<ReplicaId>,
    died_ms: Option<u64>,
}

/// An edge as the centre knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    replica: u32,
    asked: bool,
    verified_ms: u64,
    seen_ms: u64,
    stale: bool,
}

/// Which server the database is on: the system's identifier and the timeline of its log.
pub type Server = (u32, u32);

/// What `sync.hub` holds.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HubRow {
    id: Uuid,
    replica: u32,
    key: [u8; 32],
    settled_seq: u64,
    candidate_seq: u64,
    candidate_xmax: i64,
    candidate_ms: u64,
    server: Server,
}

/// Everything that a backup of the centre holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Database {
    /// Its rows, dead ones included.
    pub rows: BTreeMap<RowKey, CentreRow>,
    /// Its conflicts, with the transactions that wrote them.
    pub conflicts: BTreeMap<Uuid, (Conflict, i64)>,
    /// What it has seen.
    pub knowledge: Knowledge,
    /// Rows that edges offered.
    pub recovered: BTreeMap<Uuid, Recovered>,
    scope_changes: Vec<(Uuid, i64)>,
    transactions: Transactions,
    seq: u64,
    last_replica: u32,
    hub: HubRow,
    incarnations: Vec<Incarnation>,
    replicas: BTreeMap<u32, Option<usize>>,
    edges: BTreeMap<usize, Edge>,
    fences: BTreeMap<u32, Fence>,
    /// Each with the name under which it was sent, and what it said.
    accepted: BTreeMap<(RowId, u32, u64, u64), fences::Taken>,
    refused: BTreeSet<(usize, RowKey)>,
}

/// The centre.
#[derive(Debug)]
pub struct Centre {
    /// What would be in a backup.
    pub database: Database,
    /// Rows whose death was forgotten. Nobody gives a new row such an id.
    pub forgotten: BTreeSet<RowKey>,
    /// What of `coverage` was reached since somebody looked.
    pub met: Vec<&'static str>,
    server: Server,
    writers: BTreeMap<i64, writers::Writer>,
}

impl Default for Centre {
    fn default() -> Self {
        let server = (1, 1);
        let hub = HubRow {
            id: Uuid::from_u128(0x1000_0001),
            replica: CENTRE,
            key: [7; 32],
            settled_seq: 0,
            candidate_seq: 0,
            candidate_xmax: 0,
            candidate_ms: 0,
            server,
        };
        let database = Database {
            rows: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            knowledge: Knowledge::default(),
            recovered: BTreeMap::new(),
            scope_changes: Vec::new(),
            transactions: Transactions::default(),
            seq: 0,
            last_replica: CENTRE,
            hub,
            incarnations: Vec::new(),
            replicas: BTreeMap::from([(CENTRE, None)]),
            edges: BTreeMap::new(),
            fences: BTreeMap::new(),
            accepted: BTreeMap::new(),
            refused: BTreeSet::new(),
        };
        Self { database, forgotten: BTreeSet::new(), met: Vec::new(), server, writers: BTreeMap::new() }
    }
}

impl Centre {
    /// A living row.
    pub fn living(&self, table: TableId, id: RowId) -> Option<&Row> {
        self.database.living((table, id))
    }

    /// Raises the status of a conflict.
    pub fn decide(&mut self, id: Uuid, status: Status) {
        let Some((conflict, _)) = self.database.conflicts.get(&id).cloned() else { return };
        let txid = self.database.transactions.begin();
        self.database.take_conflict(Conflict { status: conflict.status.max(status), ..conflict }, false, txid);
        self.database.transactions.end(txid);
    }

    /// The rows as `hub dump` prints them.
    pub fn dump(&self) -> String {
        let living = self.database.rows.iter().filter(|(_, stored)| stored.row.version.is_alive());
        let lines = living.filter_map(|((table, id), stored)| {
            let table = catalog::by_id(*table).filter(|table| table.dumped)?;
            self.database.in_scope((table.id, *id)).then(|| convert::dump_line(table, *id, &stored.row.values) + "\n")
        });
        lines.collect()
    }

    /// The versions of the rows that both sides write, as text by row, and whether each lives.
    pub fn versions(&self) -> BTreeMap<Key, (String, bool)> {
        let both = TABLES.iter().filter(|table| table.direction == Direction::Both);
        both.flat_map(|table| {
            let of_table = self.database.rows.iter().filter(|((of, _), _)| *of == table.id);
            of_table.map(|((_, id), stored)| {
                let version = &stored.row.version;
                ((table.name, id.0), (version_text(version), version.is_alive()))
            })
        })
        .collect()
    }

    /// Every write that a version names, with its row.
    pub fn names(&self) -> Vec<(RowKey, (u32, u64))> {
        let name = |dot: &Dot| (dot.replica.0, dot.seq);
        let rows = self.database.rows.iter();
        let dots = rows.flat_map(|(key, stored)| stored.row.version.dots.iter().map(|dot| (*key, name(dot))));
        dots.collect()
    }
}

impl Database {
    fn living(&self, key: RowKey) -> Option<&Row> {
        self.rows.get(&key).map(|stored| &stored.row).filter(|row| row.version.is_alive())
    }

    /// A new write of the centre on top of a row.
    fn stamp(&mut self, version: &Version, now_ms: u64) -> Dot {
        self.seq += 1;
        Dot { replica: ReplicaId(self.hub.replica), seq: self.seq, hlc: version.hlc().tick(now_ms), by: None }
    }

    fn store(&mut self, key: RowKey, row: Row, echo_of: Option<ReplicaId>, txid: i64, now_ms: u64) {
        let died_ms = (!row.version.is_alive()).then_some(now_ms);
        self.rows.insert(key, CentreRow { row, txid, echo_of, died_ms });
    }

    /// Joins a conflict with the copy that is there; one that brings nothing new is sent again only if `corrected`.
    fn take_conflict(&mut self, conflict: Conflict, corrected: bool, txid: i64) {
        let id = conflict.id();
        let joined = match self.conflicts.get(&id) {
            Some((stored, _)) => stored.clone().join(conflict),
            None => conflict,
        };
        if corrected || self.conflicts.get(&id).is_none_or(|(stored, _)| *stored != joined) {
            self.conflicts.insert(id, (joined, txid));
        }
    }

    /// What it has seen of a row.
    pub fn seen(&self, key: RowKey) -> Seen {
        self.knowledge.of(name_of(key))
    }

    fn ceiling(now_ms: u64) -> Hlc {
        Hlc::ceiling(now_ms)
    }
}

/// A row as the journal names it.
pub fn name_of((table, id): RowKey) -> Key {
    (catalog::by_id(table).expect("rows are of tables of the catalog").name, id.0)
}

/// A version as text, for comparing.
pub fn version_text(version: &Version) -> String {
    let Version { vv, gone, dots } = version;
    format!("vv {} gone {} dots {}", vector_text(vv), vector_text(gone), dots_text(dots))
}

fn pull_row(key: &RowKey, row: &Row) -> PullRow {
    let table = catalog::by_id(key.0).expect("rows are of tables of the catalog");
    let is_bare = table.direction == Direction::Down && !row.version.is_alive();
    let values = if is_bare { Default::default() } else { row.values.clone() };
    PullRow {
        table: table.name.to_owned(),
        id: key.1.0,
        vv: VectorText(row.version.vv.clone()),
        gone: VectorText(row.version.gone.clone()),
        dots: DotsText(row.version.dots.clone()),
        values: convert::fields(table, &values),
    }
}
