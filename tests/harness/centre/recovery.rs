//! Rows that only edges still hold, as `pg::recovery` keeps them, until somebody accepts or discards them.

use sync::catalog;
use sync::merge::ids::RowId;
use sync::merge::resolve::merge;
use sync::merge::version::{Row, Version};
use sync::wire::convert;
use sync::wire::message::PullRow;
use uuid::Uuid;

use super::{Centre, Changes, RowKey};
use crate::journal::{Journal, Seen};

/// The name space of entries' ids.
const NAMESPACE: Uuid = Uuid::from_u128(0x5b1f_77de_0c4a_5f3e_9d20_7761_7973_7461);

/// A row that an edge offered.
#[derive(Clone, Debug, PartialEq)]
pub struct Recovered {
    /// The row's table and id.
    pub key: RowKey,
    /// The row as the edge held it.
    pub row: Row,
    /// What the edge had seen of it.
    pub seen: Seen,
    /// Whether nobody has decided yet.
    pub open: bool,
}

impl Centre {
    /// Keeps an edge's offers.
    pub fn offer(&mut self, rows: &[(PullRow, Seen)]) {
        for (row, seen) in rows {
            let table = catalog::by_name(&row.table).expect("edges offer rows of tables of the catalog");
            let payload = serde_json::to_string(row).expect("a row is JSON");
            let id = Uuid::new_v5(&NAMESPACE, payload.as_bytes());
            let version = Version { vv: row.vv.0.clone(), gone: row.gone.0.clone(), dots: row.dots.0.clone() };
            let values = convert::values(table, &row.values).expect("edges offer readable rows");
            let key = (table.id, RowId(row.id));
            let entry = Recovered { key, row: Row { version, values }, seen: seen.clone(), open: true };
            self.database.recovered.entry(id).or_insert(entry);
        }
    }

    /// Decides about an open entry; says whether there was one.
    pub fn decide_recovered(&mut self, id: Uuid, accept: bool, journal: &mut Journal, now_ms: u64) -> bool {
        let Some(entry) = self.database.recovered.get(&id).filter(|entry| entry.open).cloned() else { return false };
        if accept && !self.accept(&entry, journal, now_ms) {
            return false;
        }
        self.database.recovered.get_mut(&id).expect("it was found").open = false;
        true
    }

    /// Writes a recovered row as the centre's own: what it holds that wins against what is there by the merge.
    fn accept(&mut self, entry: &Recovered, journal: &mut Journal, now_ms: u64) -> bool {
        let table = catalog::by_id(entry.key.0).expect("rows are of tables of the catalog");
        let here = self.database.rows.get(&entry.key).map(|stored| stored.row.clone()).unwrap_or_default();
        let joined = merge(table.id, entry.key.1, &here, &entry.row, &table.quiet()).row;
        let lives = here.version.is_alive();
        match joined.version.is_alive() {
            true => {
                let old = |register: &String| if lives { here.values.get(register) } else { None };
                let set = joined.values.iter().filter(|(register, value)| old(register) != Some(*value));
                let mut changes: Changes =
                    set.map(|(register, value)| (register.clone(), Some(value.clone()))).collect();
                let removed = here.values.keys().filter(|register| lives && !joined.values.contains_key(*register));
                changes.extend(removed.map(|register| (register.clone(), None)));
                changes.is_empty()
                    || self.alone(journal, now_ms, |centre, txid| centre.write_in(txid, entry.key, &changes, now_ms))
            }
            false if lives => self.alone(journal, now_ms, |centre, txid| centre.delete_in(txid, entry.key, now_ms)),
            false => true,
        }
    }
}
