//! The messages with which an edge and the centre find together again after one of them was restored or copied.
//!
//! `accepted` and `reidentify` are one JSON object each way; `digest` answers with a stream of lines; `offer` is a
//! stream of rows with one object as its answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::message::{Fence, PullRow};

/// What an edge does before it is compared with the centre. To do it twice changes nothing more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconcile {
    /// The fence token from now on.
    pub fence: Fence,
    /// Writes of former centres that take another name: from, above which seq, to. In this order.
    #[serde(default)]
    pub renames: Vec<(u32, u64, u32)>,
}

/// Asks which writes of this edge the hub has taken, exactly as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The writes.
    pub rows: Vec<AcceptedRow>,
}

/// The writes of one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedRow {
    /// The table's name.
    #[serde(rename = "t")]
    pub table: String,
    /// The row.
    pub id: Uuid,
    /// Replica, seq and stamp of each.
    pub dots: Vec<(u32, u64, u64)>,
    /// What each has in the registers that show it: two copies of a box whose clock is behind stamp alike.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contents: Vec<BTreeMap<String, String>>,
    /// In an answer: the replica and number under which the hub has each; empty where all have the names that were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub now: Vec<(u32, u64)>,
}

impl AcceptedRow {
    /// The row with those of its writes only that are `taken`, as an answer says it: each with its name at the hub.
    pub fn answered(self, taken: &BTreeMap<(u32, u64, u64), (u32, u64)>) -> Self {
        let (dots, now): (Vec<_>, Vec<_>) =
            self.dots.into_iter().filter_map(|name| Some((name, *taken.get(&name)?))).unzip();
        let same = dots.iter().zip(&now).all(|((replica, seq, _), now)| (*replica, *seq) == *now);
        Self { dots, now: if same { Vec::new() } else { now }, ..self }
    }

    /// The writes that an answer names, each with its name at the hub.
    pub fn taken(&self) -> impl Iterator<Item = ((u32, u64, u64), (u32, u64))> {
        let now = |(index, name): (usize, &(u32, u64, u64))| {
            (*name, self.now.get(index).copied().unwrap_or((name.0, name.1)))
        };
        self.dots.iter().enumerate().map(now)
    }
}

/// Asks for a new replica id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reidentify {
    /// The id that it had.
    pub replica: u32,
    /// Those that it had before. A centre that was restored may have lost some, and gives back what is free.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<u32>,
}

/// A new replica id of the same edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reidentified {
    /// The id.
    pub replica: u32,
    /// Every id that the edge had before, those of its copies too. One that it had and that is not among them is another's now.
    pub former: Vec<u32>,
    /// The fence token to begin with.
    pub fence: Fence,
}

/// Rows of one table by id, folded into two numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The table's name.
    #[serde(rename = "t")]
    pub table: String,
    /// Ids above this one; none from the first on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Uuid>,
    /// Up to this one; none to the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Uuid>,
    /// How many rows.
    #[serde(rename = "n")]
    pub rows: u64,
    /// The sum of their hashes, modulo 2^64, in hexadecimal; empty where nobody has computed it.
    #[serde(default, rename = "h", skip_serializing_if = "String::is_empty")]
    pub hash: String,
}

/// Compares ranges, and asks for rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// The edge's replica id.
    pub replica: u32,
    /// Whether a cursor is wanted with which to go on afterwards.
    #[serde(default)]
    pub begin: bool,
    /// Its fence token, and the cursor that it was given last, at the beginning the one with which it pulls: they show that the
    /// centre has not gone back since the hello. The latter also says how far the edge had pulled when it began: rows are
    /// compared, what else the centre has since then is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
    /// See above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// What the edge has.
    #[serde(default)]
    pub ranges: Vec<Range>,
    /// Rows that it wants as the centre has them: table and id.
    #[serde(default)]
    pub want: Vec<(String, Uuid)>,
}

/// A line of the answer to a digest.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DigestLine {
    /// The first line: a cursor, if one was wanted.
    Head(Option<String>),
    /// What the hub has in a range, in the order in which they were asked about. Those that are left out are to be asked
    /// about again.
    Range(Found),
    /// A row that was wanted.
    Row(PullRow),
    /// A row that was wanted and that the centre has never had, or has outside of the edge's scope.
    Absent(String, Uuid),
    /// A row that was wanted and has no form in which it could be sent: what the edge has stays.
    Held(String, Uuid),
    /// The last line: how many stood between it and the first. Rows that were wanted and are left out are to be asked for
    /// again.
    End(u64),
}

/// What the hub has in a range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// The same.
    Equal,
    /// Something else, in these parts.
    Parts(Vec<Range>),
    /// Something else, namely these rows: id and hash.
    Rows(Vec<(Uuid, String)>),
}

/// The answer to rows that were offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// How many are kept for somebody to decide about.
    pub kept: u64,
}

/// What an edge found when it was compared with the centre.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// The edge's replica id.
    #[serde(default)]
    pub replica: u32,
    /// How many rows were compared.
    pub rows: u64,
    /// Bytes sent and received for it.
    pub bytes: u64,
    /// Rows that differed, the first thousand of them.
    pub differences: Vec<Difference>,
    /// How many differed.
    pub differing: u64,
}

/// A row that differed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The table's name.
    pub table: String,
    /// The row.
    pub id: Uuid,
    /// The columns whose values differed; empty when one side lacked the row or only its version differed.
    pub columns: Vec<String>,
    /// `missing here`, `missing at the centre`, `values` or `version`.
    pub what: String,
    /// `replaced`, `sent`, `merged`, `offered` or `removed`.
    pub repair: String,
}
