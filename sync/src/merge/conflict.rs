//! A losing write, kept. Its id and contents follow from the losing dot alone, so replicas that meet the same
//! conflict write the same record, and joining two copies is enough to agree.

use uuid::Uuid;

use super::clock::Dot;
use super::ids::{RowId, TableId};
use super::value::{Register, Value};

/// The name space of conflict ids (RFC 9562, version 5).
const NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_1f0e_58c4_5b7e_9a53_7761_7973_7461);

/// What lost to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Two writes of one register, neither of which knew the other.
    EditEdit,
    /// A delete that had not seen a write of the row; the row lives.
    EditDelete,
}

/// What a person decided about a conflict. It only moves upwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Nobody has decided.
    Open,
    /// The winner is right.
    Dismissed,
    /// The losing value was written again, as an ordinary edit.
    Restored,
}

/// One side of a conflict.
#[derive(Clone, Debug, PartialEq)]
pub struct Party {
    /// The write.
    pub dot: Dot,
    /// The value it wrote; `None` for a delete, a removed JSON key, or a whole row.
    pub value: Option<Value>,
}

/// A losing write and the write that beat it.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// The table.
    pub table: TableId,
    /// The row.
    pub row: RowId,
    /// What lost to what.
    pub kind: Kind,
    /// The register; `None` when it is about the whole row.
    pub register: Option<Register>,
    /// The write that lost.
    pub loser: Party,
    /// The highest write known to have beaten it.
    pub winner: Party,
    /// What was decided.
    pub status: Status,
}

impl Conflict {
    /// The id every replica gives to this conflict: UUID v5 of table, row, register and losing dot.
    pub fn id(&self) -> Uuid {
        let register = self.register.as_deref().unwrap_or("");
        let Dot { replica, seq, .. } = self.loser.dot;
        let name = format!("{}/{}/{register}/{replica}:{seq}", self.table.0, self.row);
        Uuid::new_v5(&NAMESPACE, name.as_bytes())
    }

    /// One record out of two copies of the same conflict: the later decision, the higher winner, the lower of two stamps
    /// of one write. Where one lost to an edit and, elsewhere, to a delete that is forgotten, the edit is named.
    pub fn join(self, other: Self) -> Self {
        let status = self.status.max(other.status);
        let [lower, higher] = match [self.winner, other.winner] {
            [ours, theirs] if theirs.dot < ours.dot => [theirs, ours],
            winners => winners,
        };
        let winner = if lower.dot.same_write(&higher.dot) { lower } else { higher };
        let loser = if other.loser.dot.hlc < self.loser.dot.hlc { other.loser } else { self.loser };
        Self { status, winner, loser, kind: self.kind.min(other.kind), ..self }
    }
}
