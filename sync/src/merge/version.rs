//! The version of a row: what has been seen of it, who wrote each register last, and what its deleters had seen.

use std::collections::BTreeMap;

use super::clock::{Dot, Hlc};
use super::value::{Register, Values};
use super::vector::Vector;

/// A row's version record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// Every write seen of this row.
    pub vv: Vector,
    /// Every write that a deleter of this row had seen, its own delete included; empty if it was never deleted.
    pub gone: Vector,
    /// The last write of each register.
    pub dots: Dots,
}

/// The last write of each register. Most rows were written whole, so one default stands for all that are not named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dots {
    /// The dot of every register that `named` lacks; `None` only for a row known by its tombstone alone.
    pub default: Option<Dot>,
    /// Registers whose last write differs from the default.
    pub named: BTreeMap<Register, Dot>,
    /// The highest delete of the row seen so far, kept when the row lives again.
    pub deleted: Option<Dot>,
}

/// A row with its version. A dead row keeps its last values, because an edit made elsewhere may revive it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// What is known about its writes.
    pub version: Version,
    /// Its values, or its last values when it is dead.
    pub values: Values,
}

impl Version {
    /// Whether the row lives: some replica has a write that no deleter had seen.
    pub fn is_alive(&self) -> bool {
        self.vv.iter().any(|(replica, seq)| seq > self.gone.seen(replica))
    }

    /// The highest stamp on the row; the next write of it is stamped later.
    pub fn hlc(&self) -> Hlc {
        self.dots.iter().map(|dot| dot.hlc).max().unwrap_or_default()
    }

    /// Forgets what `known` has not seen.
    pub fn cut_back(&mut self, known: &Vector) {
        for vector in [&mut self.vv, &mut self.gone] {
            let kept = vector.iter().map(|(replica, seq)| (replica, seq.min(known.seen(replica))));
            *vector = kept.filter(|(_, seq)| *seq > 0).collect();
        }
    }

    /// Records a write of `registers`, all of them if empty: the dot becomes theirs and the row's.
    pub fn write(&mut self, dot: Dot, registers: &[Register]) {
        self.vv.observe(dot.replica, dot.seq);
        if registers.is_empty() {
            self.dots.default = Some(dot);
            self.dots.named.clear();
        }
        for register in registers {
            self.dots.named.insert(register.clone(), dot);
        }
    }

    /// Records a delete. It takes a seq of its own and removes exactly what has been seen, itself included.
    pub fn delete(&mut self, dot: Dot) {
        self.vv.observe(dot.replica, dot.seq);
        self.gone = self.vv.clone();
        self.dots.deleted = Some(dot);
    }
}

impl Dots {
    /// The last write of a register.
    pub fn of(&self, register: &str) -> Option<Dot> {
        self.named.get(register).copied().or(self.default)
    }

    /// Every dot held, the default and the delete included.
    pub fn iter(&self) -> impl Iterator<Item = &Dot> {
        self.edits().chain(self.deleted.iter())
    }

    /// Every dot held that wrote a value.
    pub fn edits(&self) -> impl Iterator<Item = &Dot> {
        self.default.iter().chain(self.named.values())
    }

    /// Every dot held, for restamping.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Dot> {
        self.default.iter_mut().chain(self.named.values_mut()).chain(self.deleted.iter_mut())
    }
}
