//! PostgreSQL's transactions as far as the feed sees them: numbers, who has not ended, and what a snapshot sees.
//!
//! A number is given at a transaction's first write. Transactions end in any order, and what one wrote is there for others
//! when it has committed. `snapshots_pg` holds this model against a real server and the real feed.

use std::collections::BTreeSet;

use sync::pg::cursor::Snapshot;

/// The transactions of a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transactions {
    next: i64,
    open: BTreeSet<i64>,
}

impl Transactions {
    /// A transaction begins to write. Returns its number.
    pub fn begin(&mut self) -> i64 {
        self.next += 1;
        self.open.insert(self.next);
        self.next
    }

    /// A transaction commits or is rolled back.
    pub fn end(&mut self, txid: i64) {
        self.open.remove(&txid);
    }

    /// What a statement that begins now sees.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { xmax: self.next + 1, xip: self.open.iter().copied().collect() }
    }

    /// Every transaction before this one has ended.
    pub fn horizon(&self) -> i64 {
        self.open.first().copied().unwrap_or(self.next + 1)
    }

    /// Those who have not ended.
    pub fn open(&self) -> impl Iterator<Item = i64> {
        self.open.iter().copied()
    }

    /// The server died: who had not committed never will.
    pub fn crash(&mut self) {
        self.open.clear();
    }

    /// A dump was read into a server that has come as far as `other`.
    pub fn continue_from(&mut self, other: &Self) {
        self.next = self.next.max(other.next);
    }
}

/// Whether what a transaction wrote is still to come for who has seen `start`; everything is for who has seen nothing.
pub fn is_new(start: Option<&Snapshot>, txid: i64) -> bool {
    start.is_none_or(|start| txid >= start.xmax || start.xip.contains(&txid))
}
