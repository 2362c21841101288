//! The feed: pages of what an edge's snapshot did not see, as `pg::feed` reads them; and how old deaths are forgotten.

use rand::Rng as _;
use rand::rngs::SmallRng;
use std::collections::{BTreeMap, BTreeSet};

use sync::catalog::{self, Scope};
use sync::merge::conflict::Status;
use sync::merge::ids::{ReplicaId, RowId, TableId};
use sync::pg::cursor::{self, CONFLICTS, Cursor, NONCE_BYTES, Window};
use sync::wire::conflict;
use sync::wire::message::{Evict, Page, PullEnd, PullLine};
use sync::wire::stream::Writer;
use uuid::Uuid;

use super::{Centre, Database, Fence, Refused, RowKey, name_of, pull_row};
use crate::journal::{Key, Seen};
use crate::snapshots::is_new;

/// How long a row has been dead at least before it is forgotten, in milliseconds.
const TOMBSTONE_MS_MIN: u64 = 15_000;
/// How long an edge may be silent before it is waited for no longer, in milliseconds.
const RETENTION_MS: u64 = 45_000;

/// How long a former replica id may be silent before it is waited for no longer, in milliseconds.
const FORMER_MS: u64 = 20_000;

/// A page on its way, with what the centre had seen of its rows.
#[derive(Clone, Debug)]
pub struct SentPage {
    /// The body.
    pub body: Vec<u8>,
    /// What the centre had seen.
    pub seen: BTreeMap<Key, Seen>,
}

/// What was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Dead rows.
    pub tombstones: usize,
    /// Edges that are waited for no longer.
    pub stale: usize,
}

impl Centre {
    /// An edge's cursor, if the hub may go on from it.
    fn admit_pull(
        &self,
        edge: usize,
        replica: u32,
        sealed: Option<&str>,
        every_ms: u64,
        now_ms: u64,
    ) -> Option<Cursor> {
        let database = &self.database;
        let fence = database.fences.get(&replica).filter(|fence| fence.edge == edge)?;
        let mut opened = database.open(edge, sealed)?;
        let asked = sealed.is_some() && (fence.is_stale(replica, &opened) || database.is_due(edge, every_ms, now_ms));
        let void = !opened.incarnation.is_nil() && opened.incarnation != database.hub.id;
        if asked
            || opened.checkpoint.is_foreign(replica, &fence.checkpoint)
            || self.server != database.hub.server
            || void
        {
            return None;
        }
        opened.incarnation = database.hub.id;
        Some(opened)
    }

    /// What an edge's cursor says.
    pub fn cursor(&self, edge: usize, sealed: Option<&str>) -> Option<Cursor> {
        self.database.open(edge, sealed)
    }

    /// Whether a pull would bring anything but an empty page.
    pub fn has_news(&self, edge: usize, replica: u32, sealed: Option<&str>) -> bool {
        let Some(cursor) = self.admit_pull(edge, replica, sealed, 0, 0) else { return true };
        cursor.window.is_some() || !self.database.keys(replica, &cursor, 1).is_empty()
    }

    /// One page for an edge, of at most `rows_max` rows.
    ///
    /// # Errors
    /// [`Refused::Fence`] when its cursor is of another history, or the two are to be compared.
    pub fn pull(
        &mut self,
        (edge, replica): (usize, u32),
        sealed: Option<&str>,
        (rows_max, every_ms): (usize, u64),
        now_ms: u64,
        random: &mut SmallRng,
    ) -> Result<SentPage, Refused> {
        let Some(from) = self.admit_pull(edge, replica, sealed, every_ms, now_ms) else { return Err(Refused::Fence) };
        let known = self.database.edges.get_mut(&edge).expect("the edge is enrolled");
        known.seen_ms = now_ms;
        let fence = self.database.fences.get_mut(&replica).expect("it was admitted");
        fence.seen_ms = now_ms;
        if let Some(start) = &from.start {
            fence.acknowledged = Some(start.clone());
        }
        let end =
            from.window.as_ref().map_or_else(|| self.database.transactions.snapshot(), |window| window.end.clone());
        let keys = self.database.keys(replica, &from, rows_max + 1);
        let complete = keys.len() <= rows_max;
        let keys = &keys[..keys.len().min(rows_max)];
        let mut seen = BTreeMap::new();
        let lines: Vec<PullLine> =
            keys.iter().filter_map(|key| self.line(*key, from.start.is_none(), &mut seen)).collect();
        let window = match keys.last() {
            Some(last) if !complete => Some(Window { end: end.clone(), after: *last }),
            _ => None,
        };
        let start = if window.is_some() { from.start.clone() } else { Some(end) };
        let next = self.seal(edge, replica, Cursor { start, window, ..from }, now_ms, random);
        let mut writer = Writer::default();
        writer
            .line(&PullLine::Page(Page { unix_ms: now_ms, rows_total: None, replicas: 0, renew: false }))
            .expect("memory");
        for line in &lines {
            writer.line(line).expect("memory");
        }
        let count = u64::try_from(lines.len()).expect("few lines");
        writer.line(&PullLine::End(PullEnd { lines: count, cursor: next, complete })).expect("memory");
        Ok(SentPage { body: writer.finish().expect("memory"), seen })
    }

    fn line(&self, (number, id): (i16, Uuid), first: bool, seen: &mut BTreeMap<Key, Seen>) -> Option<PullLine> {
        if number == CONFLICTS {
            let (found, _) = self.database.conflicts.get(&id)?;
            return Some(PullLine::Conflict(conflict::text(found).expect("known tables only")));
        }
        let key: RowKey = (TableId(u8::try_from(number).expect("table numbers are small")), RowId(id));
        let table = catalog::by_id(key.0).expect("rows are of tables of the catalog");
        let stored = self.database.rows.get(&key);
        let in_sight = stored.is_some_and(|stored| stored.row.version.is_alive()) && self.database.in_scope(key);
        if table.scope == Scope::Referred && !in_sight {
            return (!first).then(|| PullLine::Evict(Evict { table: table.name.to_owned(), id }));
        }
        seen.insert(name_of(key), self.database.seen(key));
        stored.map(|stored| PullLine::Row(pull_row(&key, &stored.row)))
    }

    /// A cursor as it leaves, with a checkpoint that is committed after all was read that it stands for.
    pub(super) fn seal(
        &mut self,
        edge: usize,
        replica: u32,
        cursor: Cursor,
        now_ms: u64,
        random: &mut SmallRng,
    ) -> String {
        self.database.settle(now_ms);
        let nonce = Uuid::from_u128(random.random());
        let checkpoint = self.database.checkpoint(replica, nonce);
        let bytes: [u8; NONCE_BYTES] = random.random();
        let cursor = Cursor { checkpoint, ..cursor };
        cursor::seal(&cursor, &self.database.hub.key, id_of(edge), bytes).expect("a cursor can be sealed")
    }

    /// Forgets the dead rows that every live edge has been told of, as `pg::collect` does.
    pub fn collect(&mut self, now_ms: u64) -> Collected {
        let database = &mut self.database;
        let mut collected = Collected::default();
        for edge in database.edges.values_mut().filter(|edge| !edge.stale && edge.seen_ms + RETENTION_MS < now_ms) {
            (edge.stale, edge.asked) = (true, true);
            collected.stale += 1;
        }
        let edges = &database.edges;
        for (id, fence) in database.fences.iter_mut().filter(|(_, fence)| !fence.stale) {
            let edge = &edges[&fence.edge];
            let silent_ms = if edge.replica == *id { RETENTION_MS } else { FORMER_MS };
            if edge.stale || fence.seen_ms + silent_ms < now_ms {
                (fence.stale, fence.acknowledged) = (true, None);
            }
        }
        let live = database.fences.values().filter(|fence| !fence.stale);
        let told = |fence: &Fence| {
            let seen = fence.acknowledged.as_ref();
            seen.map_or(0, |seen| seen.xip.iter().copied().min().unwrap_or(seen.xmax))
        };
        let horizon = live.map(told).min().unwrap_or(i64::MAX);
        let conflicts = database.conflicts.values().filter(|(conflict, _)| conflict.status == Status::Open);
        let wanted: BTreeSet<RowKey> = conflicts
            .map(|(conflict, _)| (conflict.table, conflict.row))
            .chain(database.refused.iter().map(|(_, key)| *key))
            .collect();
        let gone = database.rows.iter().filter(|(key, stored)| {
            let old = stored.died_ms.is_some_and(|died_ms| died_ms + TOMBSTONE_MS_MIN < now_ms);
            old && stored.txid < horizon && !wanted.contains(*key)
        });
        let gone: Vec<RowKey> = gone.map(|(key, _)| *key).collect();
        gone.iter().for_each(|key| _ = database.rows.remove(key));
        database.scope_changes.retain(|(_, txid)| *txid >= horizon);
        collected.tombstones = gone.len();
        self.forgotten.extend(gone);
        collected
    }
}

impl Database {
    /// An edge's cursor; `None` for one that this hub did not give to it.
    pub(super) fn open(&self, edge: usize, sealed: Option<&str>) -> Option<Cursor> {
        sealed.map_or_else(|| Some(Cursor::default()), |sealed| cursor::open(sealed, &self.hub.key, id_of(edge)).ok())
    }

    /// The first keys of a window after a position, in the order of pages.
    fn keys(&self, replica: u32, cursor: &Cursor, limit: usize) -> Vec<(i16, Uuid)> {
        let start = cursor.start.as_ref();
        let after = cursor.window.as_ref().map_or((0, Uuid::nil()), |window| window.after);
        let mut keys: BTreeSet<(i16, Uuid)> = BTreeSet::new();
        for ((table, id), stored) in &self.rows {
            let table = catalog::by_id(*table).expect("rows are of tables of the catalog");
            let echo = start.is_some() && stored.echo_of == Some(ReplicaId(replica));
            let due = match start {
                None => stored.row.version.is_alive(),
                Some(_) => is_new(start, stored.txid) && !echo,
            };
            if due && (table.scope != Scope::Referred || self.in_scope((table.id, *id))) {
                keys.insert((i16::from(table.id.0), id.0));
            }
        }
        let users = catalog::by_name("users").expect("a table of the catalog").id;
        let moved = self.scope_changes.iter().filter(|(_, txid)| start.is_some() && is_new(start, *txid));
        keys.extend(moved.map(|(user, _)| (i16::from(users.0), *user)));
        let conflicts = self.conflicts.iter().filter(|(_, (_, txid))| is_new(start, *txid));
        keys.extend(conflicts.map(|(id, _)| (CONFLICTS, *id)));
        keys.into_iter().filter(|key| *key > after).take(limit).collect()
    }
}

/// An edge's id.
pub(super) fn id_of(edge: usize) -> Uuid {
    Uuid::from_u128(0xed6e_0000 + u128::try_from(edge).expect("few edges"))
}
