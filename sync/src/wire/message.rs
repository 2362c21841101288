//! The messages of protocol version 1, as they stand on the wire.
//!
//! `enroll` and `hello` are one JSON object each way. `push` and `pull` are streams of lines (`stream.rs`): a head,
//! rows, and an end that counts them, so that a body cut anywhere is noticed. Fields that a reader does not know are
//! ignored; lines that it does not know are refused. A row, conflict or audit record of a push that cannot be read is
//! set aside alone.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::convert::Fields;
use super::recovery::Reconcile;
use super::version::{DotText, DotsText, VectorText};
use crate::merge::version::{Dots, Version};
use crate::session;

/// The protocol's version, in the header `Sync-Protocol` of every request and answer.
pub const PROTOCOL: u32 = 1;
/// The header of the protocol's version.
pub const PROTOCOL_HEADER: &str = "sync-protocol";
/// The header whose random value the hub echoes, so that a captive portal's answer is never mistaken for the hub's.
pub const NONCE_HEADER: &str = "sync-nonce";
/// The media type of every body.
pub const NDJSON: &str = "application/x-ndjson";

/// Trades a one-time code for an identity.
#[derive(Clone, Serialize, Deserialize)]
pub struct Enroll {
    /// The code that `hub edge enroll` printed.
    pub code: String,
    /// The edge's version.
    pub app_version: String,
    /// The public half of the key pair that it made for this identity: Ed25519, 32 bytes in base64url without padding.
    pub key: String,
    /// Who it was, if it has work already and the hub refuses its credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<FormerEdge>,
}

impl fmt::Debug for Enroll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { app_version, former, .. } = self;
        f.debug_struct("Enroll").field("app_version", app_version).field("former", former).finish_non_exhaustive()
    }
}

/// Who an edge was that is enrolled again with its work, because the centre was restored to before its enrolment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FormerEdge {
    /// The tenant that it mirrors.
    pub tenant: Uuid,
    /// Its replica ids, the present one first, [`FORMER_MAX`] at most.
    pub replicas: Vec<u32>,
    /// The fence token that it holds, which only the hub can have sealed.
    pub fence: Fence,
    /// The centre's incarnation that it last agreed with.
    pub incarnation: Option<Uuid>,
}

/// How many replica ids an edge may ask to have back.
pub const FORMER_MAX: usize = 64;

/// An edge's identity.
#[derive(Clone, Serialize, Deserialize)]
pub struct Enrolled {
    /// The edge's id.
    pub edge: Uuid,
    /// Its name, unique at the hub.
    pub name: String,
    /// Its replica id.
    pub replica: u32,
    /// Its first bearer credential; the hub keeps only its hash. The edge makes the next ones ([`renewal`](super::renewal)).
    pub credential: String,
    /// The tenant it mirrors.
    pub tenant: Uuid,
    /// The site it stands at.
    pub site: Uuid,
    /// The fence token to begin with.
    pub fence: Fence,
    /// Which of the ids that it had before are its own here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<u32>,
}

impl fmt::Debug for Enrolled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { edge, name, replica, tenant, site, former, .. } = self;
        f.debug_struct("Enrolled")
            .field("edge", edge)
            .field("name", name)
            .field("replica", replica)
            .field("tenant", tenant)
            .field("site", site)
            .field("former", former)
            .finish_non_exhaustive()
    }
}

/// A fence token: rotated with every acknowledged push, so that a copy of an edge or of the centre is noticed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// How many pushes were acknowledged.
    pub count: u64,
    /// Random, in hexadecimal.
    pub token: String,
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, .. } = self;
        f.debug_struct("Fence").field("count", count).finish_non_exhaustive()
    }
}

/// What an edge says of itself, for `sync.edge_status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Rows with writes that the hub has not acknowledged.
    pub pending: u64,
    /// The age of the oldest of them in milliseconds.
    pub lag_ms: u64,
    /// Conflicts that nobody decided.
    pub conflicts_open: u64,
    /// Rows that the hub refused.
    pub quarantined: u64,
    /// Rows of the hub that it cannot store, the newest, [`UNSTORABLE_MAX`] at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unstorable: Vec<Unstorable>,
}

/// Rows of the hub that an edge tells it cannot store.
pub const UNSTORABLE_MAX: usize = 100;

/// A row of the hub that an edge cannot store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unstorable {
    /// The table's name.
    #[serde(rename = "t")]
    pub table: String,
    /// The row.
    pub id: Uuid,
    /// A stable code.
    pub code: String,
    /// The reason in words.
    pub reason: String,
}

/// Begins a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// The edge's replica id.
    pub replica: u32,
    /// Its highest seq.
    pub seq: u64,
    /// The fence token it holds.
    pub fence: Fence,
    /// The batch that was sent and not answered.
    pub in_flight: Option<Uuid>,
    /// How far it has pulled.
    pub cursor: Option<String>,
    /// The version of its catalog ([`VERSION`](crate::catalog::VERSION)): which tables and columns it exchanges.
    pub schema: u32,
    /// The edge's version.
    pub app_version: String,
    /// Its clock, in Unix milliseconds.
    pub unix_ms: u64,
    /// What it says of itself.
    pub report: Report,
    /// The incarnation of the centre that it last agreed with; none before its first session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Uuid>,
    /// Whether it asks to be compared with the centre.
    #[serde(default)]
    pub reconcile: bool,
    /// Whether it was sent writes under its own id that it never made.
    #[serde(default)]
    pub forked: bool,
}

/// What the hub says to a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Go on.
    Ok,
    /// The edge's history does not continue what the hub knows of it: it was restored or cloned.
    Reidentify,
    /// The hub's history does not continue what the edge knows of it.
    Reconcile,
    /// The edge's schema is newer than the hub's.
    UpgradeHub,
    /// The credential has been revoked.
    Revoked,
}

impl From<Verdict> for session::Verdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Ok => Self::Ok,
            Verdict::Reidentify => Self::Reidentify,
            Verdict::Reconcile => Self::Reconcile,
            Verdict::UpgradeHub => Self::UpgradeHub,
            Verdict::Revoked => Self::Revoked,
        }
    }
}

/// The answer to a hello.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Welcome {
    /// What to do.
    pub verdict: Verdict,
    /// The hub's clock, in Unix milliseconds.
    pub unix_ms: u64,
    /// Every replica that may stand in a version of this tenant.
    pub directory: Vec<Replica>,
    /// The hub's version.
    pub app_version: String,
    /// The centre's present incarnation; none from a hub that knows of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Uuid>,
    /// What has to be done before the two are compared, for the verdict `reconcile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconcile: Option<Reconcile>,
}

/// A replica, for people to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// Its id.
    pub id: u32,
    /// The edge's name, or `centre`.
    pub name: String,
    /// The edge's site.
    pub site: Option<Uuid>,
}

/// A line of a push.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PushLine {
    /// The first line.
    Batch(Batch),
    /// A row with unacknowledged writes.
    Row(PushRow),
    /// A conflict found or decided at the edge.
    Conflict(ConflictText),
    /// An audit record written at the edge.
    Audit(Audit),
    /// The last line: how many stood between it and the first.
    End(u64),
}

/// A line of a push of which no more than its kind is understood.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OddLine {
    /// A row.
    Row(Box<RawValue>),
    /// A conflict.
    Conflict(Box<RawValue>),
    /// An audit record.
    Audit(Box<RawValue>),
}

/// What has to be readable of a row for it to be answered.
#[derive(Clone, Debug, Deserialize)]
pub struct RowName {
    /// The table's name.
    #[serde(rename = "t")]
    pub table: String,
    /// The row.
    pub id: Uuid,
}

/// The head of a push.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Random; the same id always has the same content.
    pub id: Uuid,
    /// The edge's replica id.
    pub replica: u32,
    /// The highest seq in it; an answer acknowledges nothing above.
    pub high_seq: u64,
    /// The fence token that the edge holds.
    pub fence: Fence,
}

/// A pushed row: its version, and the values that the edge wrote since `base`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PushRow {
    /// The table's name.
    #[serde(rename = "t")]
    pub table: String,
    /// The row.
    pub id: Uuid,
    /// Every write that the edge has seen of it.
    pub vv: VectorText,
    /// What its deleters had seen.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub gone: VectorText,
    /// The hub's vector that the edge last knew; empty for a row it made.
    pub base: VectorText,
    /// The last write of each register.
    pub dots: DotsText,
    /// The values of the registers written since.
    pub values: Fields,
    /// What stands instead of values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<Box<Instead>>,
    /// What writes in it were called before the edge took its present replica id, and may be called still by a copy of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub formerly: Vec<FormerName>,
}

/// The name that a write had before its edge took another replica id. It kept its stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerName {
    /// The replica id.
    #[serde(rename = "r")]
    pub replica: u32,
    /// Which of its writes.
    #[serde(rename = "s")]
    pub seq: u64,
    /// Its stamp.
    pub hlc: u64,
    /// Which write of the present replica id it is now.
    #[serde(rename = "now")]
    pub now_seq: u64,
}

/// What an edge says of a row instead of its values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Instead {
    /// It cannot send them: the row is to be listed as refused, for this reason.
    Withheld {
        /// A stable code.
        code: String,
        /// In words.
        reason: String,
    },
    /// Somebody gives them up: the hub's row is to supersede them.
    Discarded,
}

/// A line of the answer to a push.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PushedLine {
    /// The first line.
    Batch(Pushed),
    /// What became of a row.
    Row(RowAnswer),
    /// The last line: how many stood between it and the first.
    End(u64),
}

/// The head of the answer to a push.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pushed {
    /// The batch it answers.
    pub id: Uuid,
    /// The fence token from now on.
    pub fence: Fence,
    /// The hub's clock, in Unix milliseconds.
    pub unix_ms: u64,
}

/// What became of a pushed row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RowAnswer {
    /// The table's name.
    #[serde(rename = "t")]
    pub table: String,
    /// The row.
    pub id: Uuid,
    /// What was done.
    pub outcome: Outcome,
    /// The hub's vector of the row afterwards; empty when nothing was stored.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub vv: VectorText,
    /// Stamps that were lowered: replica, seq and stamp.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clamps: Vec<(u32, u64, u64)>,
    /// A stable code, for a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The reason in words, for a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The hub's row, dead or alive, for a refusal; absent when it has none, or has no form in which it could be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<Box<PullRow>>,
    /// The row of the same table that stands in its way, if the hub knows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocker: Option<Uuid>,
}

/// What the hub did with a pushed row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is now as the edge has it.
    Accepted,
    /// It was joined with writes that the edge has not seen; a pull brings the result.
    Merged,
    /// Somebody else holds it at the centre: ask again.
    Busy,
    /// It is kept in quarantine with a reason.
    Quarantined,
    /// The hub lacks writes that the edge has seen: send it whole.
    NeedFull,
}

/// Asks for what changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pull {
    /// The edge's replica id.
    pub replica: u32,
    /// How far it has pulled; none for everything.
    pub cursor: Option<String>,
    /// How long to wait when there is nothing, in milliseconds.
    pub wait_ms: u64,
    /// What it says of itself.
    pub report: Report,
}

/// A line of the answer to a pull.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullLine {
    /// The first line.
    Page(Page),
    /// A row as the centre has it.
    Row(PullRow),
    /// A row that left the edge's scope.
    Evict(Evict),
    /// A conflict.
    Conflict(ConflictText),
    /// The last line.
    End(PullEnd),
}

/// The head of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The hub's clock, in Unix milliseconds.
    pub unix_ms: u64,
    /// About how many rows the whole window has; only in the first page of a window of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_total: Option<u64>,
    /// How many replicas the tenant's directory has; a hello brings it.
    pub replicas: u64,
    /// Whether the credential is old enough that the edge should get another one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub renew: bool,
}

/// A row as the centre has it, dead or alive.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PullRow {
    /// The table's name.
    #[serde(rename = "t")]
    pub table: String,
    /// The row.
    pub id: Uuid,
    /// Every write of it.
    pub vv: VectorText,
    /// What its deleters had seen.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub gone: VectorText,
    /// The last write of each register.
    pub dots: DotsText,
    /// Its values; its last ones when it is dead, none for a dead row that is written at the centre only.
    pub values: Fields,
}

impl PullRow {
    /// Whether the row lives.
    pub fn is_alive(&self) -> bool {
        Version { vv: self.vv.0.clone(), gone: self.gone.0.clone(), dots: Dots::default() }.is_alive()
    }

    /// Whether the other one is the same row, with the same history and the same values.
    pub fn says(&self, other: &Self) -> bool {
        let history = |row: &Self| (row.vv.clone(), row.gone.clone(), row.dots.clone());
        let values = self.values.iter().map(|(name, value)| (name, value.get()));
        (&self.table, self.id, history(self)) == (&other.table, other.id, history(other))
            && values.eq(other.values.iter().map(|(name, value)| (name, value.get())))
    }
}

/// A row that left the edge's scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evict {
    /// The table's name.
    #[serde(rename = "t")]
    pub table: String,
    /// The row.
    pub id: Uuid,
}

/// The end of a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullEnd {
    /// How many lines stood between it and the first.
    pub lines: u64,
    /// Where to go on.
    pub cursor: String,
    /// Whether the window is complete; otherwise the next page belongs to it.
    pub complete: bool,
}

/// A conflict.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConflictText {
    /// The table's name.
    #[serde(rename = "t")]
    pub table: String,
    /// The row.
    pub row: Uuid,
    /// What lost to what.
    pub kind: ConflictKind,
    /// The register, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register: Option<String>,
    /// What was decided.
    pub status: ConflictStatus,
    /// The write that lost.
    pub loser: PartyText,
    /// The write that won.
    pub winner: PartyText,
}

/// What lost to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictKind {
    /// Two writes of one register.
    EditEdit,
    /// A delete and a write that it had not seen.
    EditDelete,
}

/// What was decided about a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictStatus {
    /// Nothing yet.
    Open,
    /// The winner stays.
    Dismissed,
    /// The loser was written again.
    Restored,
}

/// One side of a conflict.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PartyText {
    /// The write.
    pub dot: DotText,
    /// The value; absent for a delete and for a removed JSON key, null for SQL null.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub value: Option<Box<RawValue>>,
}

/// An audit record written at an edge.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Audit {
    /// Its id; sent twice it is stored once.
    pub id: Uuid,
    /// Who.
    pub user_id: Option<Uuid>,
    /// What, one of the centre's `audit_action` labels.
    pub action: String,
    /// To what kind of thing.
    pub resource_type: String,
    /// To which one.
    pub resource_id: Option<Uuid>,
    /// More, as a JSON object.
    pub details: Box<RawValue>,
    /// When, by the edge's clock.
    pub created_at: String,
}

fn is_empty(vector: &VectorText) -> bool {
    vector.0.is_empty()
}

/// Tells a JSON null from an absent field.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}
