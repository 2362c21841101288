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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::clock::Hlc;
    use crate::merge::ids::ReplicaId;

    fn party(replica: u32, seq: u64, hlc: u64, value: &str) -> Party {
        let dot = Dot { replica: ReplicaId(replica), seq, hlc: Hlc(hlc), by: None };
        Party { dot, value: Some(Value::text(value)) }
    }

    fn conflict(loser: Party, winner: Party) -> Conflict {
        Conflict {
            table: TableId(8),
            row: RowId(Uuid::from_u128(1)),
            kind: Kind::EditEdit,
            register: Some("title".to_owned()),
            loser,
            winner,
            status: Status::Open,
        }
    }

    #[test]
    fn whoever_meets_a_conflict_calls_it_by_the_same_id_and_any_other_by_another() {
        let met = conflict(party(3, 7, 50, "lost"), party(1, 9, 60, "won"));
        let elsewhere = Conflict { winner: party(4, 2, 90, "won later"), status: Status::Restored, ..met.clone() };
        assert_eq!(elsewhere.id(), met.id(), "the winner and the decision are not part of it");
        let mut ids = vec![
            met.id(),
            Conflict { table: TableId(9), ..met.clone() }.id(),
            Conflict { row: RowId(Uuid::from_u128(2)), ..met.clone() }.id(),
            Conflict { register: None, ..met.clone() }.id(),
            Conflict { loser: party(3, 8, 50, "lost"), ..met.clone() }.id(),
            Conflict { loser: party(4, 7, 50, "lost"), ..met }.id(),
        ];
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 6);
    }

    #[test]
    fn two_copies_of_a_record_are_the_same_one_whoever_joins_them() {
        let (lost, won) = (party(3, 7, 50, "lost"), party(1, 9, 60, "won"));
        let base = conflict(lost.clone(), won.clone());
        let decided = Conflict { status: Status::Dismissed, ..base.clone() };
        let beaten_twice = conflict(lost.clone(), party(4, 2, 90, "won later"));
        let clamped_winner = conflict(lost, party(1, 9, 55, "won"));
        let clamped_loser = conflict(party(3, 7, 45, "lost"), won);
        let to_a_delete = Conflict { kind: Kind::EditDelete, ..base.clone() };
        let cases = [
            ("a decision stays", &base, &decided, &decided),
            ("the higher winner is named", &base, &beaten_twice, &beaten_twice),
            ("one winner has its lower stamp", &base, &clamped_winner, &clamped_winner),
            ("the loser has its lower stamp", &base, &clamped_loser, &clamped_loser),
            ("an edit is named before a delete", &to_a_delete, &base, &base),
            ("the same once more", &base, &base, &base),
        ];
        for (name, one, other, expected) in cases {
            assert_eq!(&one.clone().join(other.clone()), expected, "{name}");
            assert_eq!(&other.clone().join(one.clone()), expected, "{name}, the other way round");
        }
    }
}
