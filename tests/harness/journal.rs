//! Every write of a simulated run, and what its writer had seen.
//!
//! The checkers judge by this record. It knows nothing of version vectors, dots or stamps: what a replica has seen of a
//! row is a set of writes, carried along with each message by the simulation itself.

use std::collections::{BTreeMap, BTreeSet};

use sync::merge::ids::ReplicaId;
use uuid::Uuid;

/// A row: its table's name and its id.
pub type Key = (&'static str, Uuid);
/// A register's value as text; `None` for a JSON key that is not there.
pub type Text = Option<String>;
/// The registers of a row.
pub type Registers = BTreeMap<String, Text>;
/// Some writes, by their place in the journal.
pub type Seen = BTreeSet<usize>;

/// What a write did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Wrote these registers.
    Wrote(Registers),
    /// Deleted the row.
    Deleted,
}

/// Who wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// Somebody at the centre.
    Centre,
    /// Somebody at an edge, the box itself or a copy of it.
    Edge(usize),
}

/// One write of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The row.
    pub row: Key,
    /// Who wrote.
    pub author: Author,
    /// The replica, and the how manieth write of that replica it was called. A database that goes back calls others so too.
    pub name: (u32, u64),
    /// What it did.
    pub deed: Deed,
    /// What its writer had seen of the row, the write itself left out.
    pub past: Seen,
}

/// Every write of a run, in the order in which they happened.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    writes: Vec<Write>,
    /// The replica ids under which a write of an edge was sent, by its place.
    senders: BTreeMap<usize, BTreeSet<u32>>,
}

impl Journal {
    /// Adds a write, and returns its place.
    pub fn add(&mut self, write: Write) -> usize {
        self.writes.push(write);
        self.writes.len() - 1
    }

    /// The writes with their places.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Write)> {
        self.writes.iter().enumerate()
    }

    /// The write at a place.
    pub fn write(&self, place: usize) -> &Write {
        &self.writes[place]
    }

    /// Notes that a write is sent under a replica id.
    pub fn note_sent(&mut self, place: usize, replica: u32) {
        self.senders.entry(place).or_default().insert(replica);
    }

    /// Whether a box of this edge, with these replica ids, takes a write for its own: its people made it, and it was sent
    /// under one of these, or not at all. What a copy of the box has sent under an id of its own is a write of another.
    pub fn is_own(&self, place: usize, edge: usize, replicas: &[ReplicaId]) -> bool {
        let sent = self.senders.get(&place);
        let by_us = sent.is_none_or(|sent| replicas.iter().any(|replica| sent.contains(&replica.0)));
        self.writes[place].author == Author::Edge(edge) && by_us
    }

    /// How many writes there are.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether nobody wrote.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

/// What a replica has seen of each row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Knowledge {
    rows: BTreeMap<Key, Seen>,
}

impl Knowledge {
    /// What has been seen of a row.
    pub fn of(&self, row: Key) -> Seen {
        self.rows.get(&row).cloned().unwrap_or_default()
    }

    /// Learns of more writes of a row.
    pub fn learn(&mut self, row: Key, seen: &Seen) {
        self.rows.entry(row).or_default().extend(seen);
    }

    /// Knows exactly this of a row from now on.
    pub fn set(&mut self, row: Key, seen: Seen) {
        self.rows.insert(row, seen);
    }

    /// Every write that has been seen.
    pub fn all(&self) -> Seen {
        self.rows.values().flatten().copied().collect()
    }

    /// Learns of one write of a row.
    pub fn learn_one(&mut self, row: Key, place: usize) {
        self.rows.entry(row).or_default().insert(place);
    }
}
