//! The centre's side of a comparison, as `pg::digest` makes it. Ranges are folded by the real `wire::digest`.

use std::collections::BTreeMap;
use std::ops::Bound;

use rand::rngs::SmallRng;
use sync::catalog::{self, Scope, Table};
use sync::merge::ids::RowId;
use sync::pg::cursor::Cursor;
use sync::wire::digest::{answer, row_hash};
use sync::wire::message;
use sync::wire::recovery::{Digest, DigestLine, Found, Verification};
use sync::wire::stream::Writer;
use uuid::Uuid;

use super::{Centre, Database, Refused, name_of, pull_row};
use crate::journal::{Key, Seen};

/// The answer to a digest, with what the centre had seen of the rows that were wanted.
#[derive(Clone, Debug)]
pub struct Compared {
    /// The body.
    pub body: Vec<u8>,
    /// What the centre had seen.
    pub seen: BTreeMap<Key, Seen>,
}

impl Centre {
    /// Answers one question of a comparison.
    ///
    /// # Errors
    /// [`Refused::Fence`] when the edge is not who it says.
    pub fn digest(
        &mut self,
        edge: usize,
        asked: &Digest,
        now_ms: u64,
        random: &mut SmallRng,
    ) -> Result<Compared, Refused> {
        let fence =
            self.database.fences.get(&asked.replica).filter(|fence| fence.edge == edge).ok_or(Refused::Fence)?;
        let since = asked.cursor.as_deref().and_then(|sealed| self.database.open(edge, Some(sealed)));
        let went_back =
            since.as_ref().is_some_and(|cursor| cursor.checkpoint.is_foreign(asked.replica, &fence.checkpoint));
        let holds = |said: &message::Fence| said.count == fence.count && Some(&said.token) == fence.token.as_ref();
        if self.server != self.database.hub.server || went_back || !asked.fence.as_ref().is_none_or(holds) {
            return Err(Refused::Fence);
        }
        let start = self.database.transactions.snapshot();
        let mut lines: Vec<DigestLine> = Vec::new();
        for range in &asked.ranges {
            let table = catalog::by_name(&range.table).expect("edges compare tables of the catalog");
            let hashes = self.database.hashes(table, (range.after, range.to));
            lines.push(DigestLine::Range(if table.scope == Scope::Site {
                Found::Equal
            } else {
                answer(table, range, &hashes)
            }));
        }
        let mut seen = BTreeMap::new();
        for (table, id) in &asked.want {
            let table = catalog::by_name(table).expect("edges want rows of tables of the catalog");
            let name = name_of((table.id, RowId(*id)));
            seen.insert(name, self.database.knowledge.of(name));
            lines.push(self.database.wanted(table, RowId(*id)));
        }
        let incarnation = self.database.hub.id;
        let cursor = Cursor::after_comparison(since, start, incarnation);
        let cursor = asked.begin.then(|| self.seal(edge, asked.replica, cursor, now_ms, random));
        let end = DigestLine::End(u64::try_from(lines.len()).expect("few lines"));
        let mut writer = Writer::default();
        for line in std::iter::once(DigestLine::Head(cursor)).chain(lines).chain([end]) {
            writer.line(&line).expect("memory");
        }
        Ok(Compared { body: writer.finish().expect("memory"), seen })
    }

    /// Notes what a comparison with an edge found.
    pub fn verified(&mut self, edge: usize, found: &Verification, now_ms: u64) {
        let database = &mut self.database;
        let known = database.edges.get_mut(&edge).expect("the edge is enrolled");
        (known.asked, known.stale, known.verified_ms) = (false, false, now_ms);
        if let Some(fence) = database.fences.get_mut(&found.replica).filter(|fence| fence.edge == edge) {
            if fence.stale {
                fence.compared = fence.checkpoint.count;
            }
            (fence.stale, fence.acknowledged, fence.seen_ms) = (false, None, now_ms);
        }
        let uncaptured = found.differences.iter().filter(|difference| difference.what == "values");
        let txid = database.transactions.begin();
        for one in uncaptured {
            let table = catalog::by_name(&one.table).expect("a table of the catalog");
            if let Some(stored) = database.rows.get_mut(&(table.id, RowId(one.id))) {
                (stored.txid, stored.echo_of) = (txid, None);
            }
        }
        database.transactions.end(txid);
    }
}

impl Database {
    fn hashes(&self, table: &'static Table, (after, to): (Option<Uuid>, Option<Uuid>)) -> Vec<(Uuid, u64)> {
        let last = RowId(Uuid::max());
        let after =
            after.map_or(Bound::Included((table.id, RowId(Uuid::nil()))), |id| Bound::Excluded((table.id, RowId(id))));
        let found = self.rows.range((after, Bound::Included((table.id, to.map_or(last, RowId)))));
        let living = found.filter(|(key, stored)| stored.row.version.is_alive() && self.in_scope(**key));
        living.map(|((_, id), stored)| (id.0, row_hash(table, *id, &stored.row.version, &stored.row.values))).collect()
    }

    fn wanted(&self, table: &'static Table, id: RowId) -> DigestLine {
        let key = (table.id, id);
        let absent = DigestLine::Absent(table.name.to_owned(), id.0);
        let Some(stored) = self.rows.get(&key) else { return absent };
        let in_sight = match stored.row.version.is_alive() {
            true => self.in_scope(key),
            false => table.scope != Scope::Referred,
        };
        match in_sight {
            true => DigestLine::Row(pull_row(&key, &stored.row)),
            false => absent,
        }
    }
}
