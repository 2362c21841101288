//! Plain SQL at the centre: transactions of several statements that end in any order, or never commit.
//!
//! What a transaction has written is locked and unseen until it commits. Nobody waits here: a statement that would have to
//! wait for another transaction is not made at all.

use std::collections::BTreeSet;

use sync::catalog;
use sync::merge::version::Row;

use super::{Centre, Changes, RowKey, name_of};
use crate::journal::{Author, Deed, Journal, Registers, Text, Write};
use crate::schedule::register_text;
use crate::site::{KEYS, WRITTEN};

/// A transaction that has not ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Writer {
    writes: Vec<Pending>,
}

/// One write of one row in an open transaction.
#[derive(Clone, Debug)]
struct Pending {
    key: RowKey,
    row: Row,
    seq: u64,
    deed: Deed,
}

impl Centre {
    /// A transaction begins.
    pub fn begin(&mut self) -> i64 {
        let txid = self.database.transactions.begin();
        self.writers.insert(txid, Writer::default());
        txid
    }

    /// A transaction commits. The journal learns what it wrote.
    pub fn commit(&mut self, txid: i64, journal: &mut Journal, now_ms: u64) {
        let Some(writer) = self.writers.remove(&txid) else { return };
        for Pending { key, row, seq, deed } in writer.writes {
            let name = name_of(key);
            self.database.note_scope(key, &row, txid);
            let written = Write {
                row: name,
                author: Author::Centre,
                name: (self.database.hub.replica, seq),
                deed,
                past: self.database.knowledge.of(name),
            };
            self.database.store(key, row, None, txid, now_ms);
            if is_judged(key) {
                let place = journal.add(written);
                self.database.knowledge.learn_one(name, place);
            }
        }
        self.database.transactions.end(txid);
    }

    /// A transaction is rolled back.
    pub fn roll_back(&mut self, txid: i64) {
        self.writers.remove(&txid);
        self.database.transactions.end(txid);
    }

    /// The transactions that have not ended, oldest first.
    pub fn open_writers(&self) -> Vec<i64> {
        self.writers.keys().copied().collect()
    }

    /// A row as a transaction sees it: committed, or written by itself.
    pub fn row_in(&self, txid: i64, key: RowKey) -> Option<&Row> {
        let own = self.writers.get(&txid).and_then(|writer| writer.writes.iter().rev().find(|write| write.key == key));
        own.map(|write| &write.row).or_else(|| self.database.rows.get(&key).map(|stored| &stored.row))
    }

    fn lives_in(&self, txid: i64, key: RowKey) -> bool {
        self.row_in(txid, key).is_some_and(|row| row.version.is_alive())
    }

    /// Whether another transaction than `txid` has written the row and not ended.
    pub fn is_locked(&self, key: RowKey, txid: Option<i64>) -> bool {
        let others = self.writers.iter().filter(|(other, _)| Some(**other) != txid);
        others.into_iter().any(|(_, writer)| writer.writes.iter().any(|write| write.key == key))
    }

    /// Whether another transaction than `txid` has written a row that refers to this one and not ended.
    pub(super) fn is_referred(&self, key: RowKey, txid: Option<i64>) -> bool {
        let others = self.writers.iter().filter(|(other, _)| Some(**other) != txid);
        others
            .into_iter()
            .any(|(_, writer)| writer.writes.iter().any(|write| super::references::refers(write.key, &write.row, key)))
    }

    /// An insert or an update: `changes` are the whole row when it is new or was dead, else the registers that change. Says
    /// whether it was made.
    pub fn write_in(&mut self, txid: i64, key: RowKey, changes: &Changes, now_ms: u64) -> bool {
        let mut row = self.row_in(txid, key).cloned().unwrap_or_default();
        let was_alive = row.version.is_alive();
        let mut values = if was_alive { row.values.clone() } else { Default::default() };
        for (register, value) in changes {
            match value {
                Some(value) => values.insert(register.clone(), value.clone()),
                None => values.remove(register),
            };
        }
        let parents = super::references::parents(key, &Row { values: values.clone(), ..Row::default() });
        let waits = self.is_locked(key, Some(txid)) || parents.iter().any(|parent| self.is_locked(*parent, Some(txid)));
        if waits || !parents.iter().all(|parent| self.lives_in(txid, *parent)) {
            return false;
        }
        let dot = self.database.stamp(&row.version, now_ms);
        let registers: Vec<String> = if was_alive { changes.keys().cloned().collect() } else { Vec::new() };
        row.version.write(dot, &registers);
        row.values = values;
        let written = changes.iter().map(|(register, value)| (register.clone(), register_text(value.as_ref())));
        let mut deed: Registers = if was_alive { Registers::new() } else { unset() };
        deed.extend(written);
        self.note(txid, Pending { key, row, seq: dot.seq, deed: Deed::Wrote(deed) });
        true
    }

    /// A delete, with what it takes along. Says whether it was made.
    pub fn delete_in(&mut self, txid: i64, key: RowKey, now_ms: u64) -> bool {
        if !self.lives_in(txid, key) {
            return false;
        }
        let mut affected = BTreeSet::from([key]);
        let mut reached = vec![key];
        while let Some(parent) = reached.pop() {
            reached.extend(self.children_in(txid, parent).into_iter().filter(|child| affected.insert(*child)));
        }
        let waits = |key: &RowKey| self.is_locked(*key, Some(txid)) || self.is_referred(*key, Some(txid));
        if affected.iter().any(waits) {
            return false;
        }
        let children = self.children_in(txid, key);
        children.iter().for_each(|_| self.met.push("a delete at the centre takes rows along"));
        self.die(txid, key, now_ms);
        for child in children {
            if !self.lives_in(txid, child) {
                continue;
            }
            let row = self.row_in(txid, child).expect("it lives");
            match super::references::when_deleted(child, row, key) {
                None => _ = self.delete_in(txid, child, now_ms),
                Some(changes) => _ = self.write_in(txid, child, &changes, now_ms),
            }
        }
        true
    }

    fn die(&mut self, txid: i64, key: RowKey, now_ms: u64) {
        let mut row = self.row_in(txid, key).cloned().unwrap_or_default();
        let dot = self.database.stamp(&row.version, now_ms);
        row.version.delete(dot);
        self.note(txid, Pending { key, row, seq: dot.seq, deed: Deed::Deleted });
    }

    fn children_in(&self, txid: i64, key: RowKey) -> Vec<RowKey> {
        let own = self.writers.get(&txid).into_iter().flat_map(|writer| writer.writes.iter().map(|write| write.key));
        let all: BTreeSet<RowKey> = self.database.rows.keys().copied().chain(own).collect();
        let is_child = |child: &RowKey| {
            self.lives_in(txid, *child)
                && self.row_in(txid, *child).is_some_and(|row| super::references::refers(*child, row, key))
        };
        all.into_iter().filter(is_child).collect()
    }

    fn note(&mut self, txid: i64, write: Pending) {
        self.writers.entry(txid).or_default().writes.push(write);
    }

    /// The server died: nobody who had not committed ever will.
    pub(super) fn drop_writers(&mut self) {
        self.writers.clear();
        self.database.transactions.crash();
    }

    /// A statement that is a transaction of its own. Says whether it was made.
    pub fn alone(
        &mut self,
        journal: &mut Journal,
        now_ms: u64,
        statement: impl FnOnce(&mut Self, i64) -> bool,
    ) -> bool {
        let txid = self.begin();
        let made = statement(self, txid);
        self.commit(txid, journal, now_ms);
        made
    }
}

/// The JSON keys that simulated writers use, as a new row has them.
fn unset() -> Registers {
    KEYS.iter().map(|key| (format!("metadata.{key}"), Text::None)).collect()
}

/// Whether a table is one whose writes the journal has.
fn is_judged(key: RowKey) -> bool {
    catalog::by_id(key.0).is_some_and(|table| WRITTEN.contains(&table.name))
}
