//! What to do with a row that arrives: at the edge from a pull, at the hub from a push.
//!
//! A plan says what to store; the stores carry it out and decide nothing. The hub trusts nothing of a push but the
//! pusher's own new dots: whatever it already knows, it takes from its own row.

use std::collections::{BTreeMap, BTreeSet};

use super::clock::{Dot, Hlc};
use super::conflict::{Conflict, Kind, Party, Status};
use super::ids::{ReplicaId, RowId, TableId};
use super::resolve::{Merged, Quiet, merge};
use super::value::{Register, Value, Values};
use super::vector::Vector;
use super::version::{Dots, Row, Version};

/// What an edge does with a pulled row.
#[derive(Clone, Debug, PartialEq)]
pub enum PullPlan {
    /// The local row already includes it.
    Keep,
    /// It includes the local row: store it as it is.
    Replace,
    /// Both sides hold writes that the other lacks: store the joined row and what lost.
    Merge {
        /// The joined row.
        row: Row,
        /// What lost.
        conflicts: Vec<Conflict>,
    },
}

/// Plans a pulled row. A local row is overwritten only by one that has seen all of it.
pub fn plan_pull(table: TableId, id: RowId, local: Option<&Row>, incoming: &Row, quiet: Quiet<'_>) -> PullPlan {
    let Some(local) = local else { return PullPlan::Replace };
    if incoming.version.vv.includes(&local.version.vv) {
        return PullPlan::Replace;
    }
    if local.version.vv.includes(&incoming.version.vv) {
        return PullPlan::Keep;
    }
    let merged = merge(table, id, local, incoming, quiet);
    PullPlan::Merge { row: merged.row, conflicts: merged.conflicts }
}

/// Whether a row that arrives and would be merged with the local one takes its place instead, with what lost in the merge.
///
/// The centre is known to have had all of a death here, and sends a row without it: it has forgotten the death, and nobody
/// joins its last values with the new ones there. If it sent this before it had the death, the joined row is still to come.
///
/// Another death is such a page if only writes of `own` are missing in it. The two are joined at once, so that who makes the
/// row anew here has seen both.
pub fn is_forgotten_there(local: &Row, incoming: &Row, own: &[ReplicaId], waits: bool) -> bool {
    let lacks = |(replica, seq)| !own.contains(&replica) && seq > incoming.version.vv.seen(replica);
    let is_forgotten = incoming.version.is_alive() || local.version.vv.iter().any(lacks);
    !waits && !local.version.is_alive() && is_forgotten
}

/// A row as an edge pushes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Push {
    /// The whole version as the edge holds it.
    pub version: Version,
    /// The hub's version vector that the edge last knew for this row; empty for a row it made itself.
    pub base: Vector,
    /// The values of the registers that the edge wrote since.
    pub values: Values,
    /// The registers without which there is no row.
    pub needed: Vec<&'static str>,
}

/// What the hub does with a pushed row.
#[derive(Clone, Debug, PartialEq)]
pub enum PushPlan {
    /// The hub already has every write in it.
    Known,
    /// Store this row.
    Store {
        /// The joined row.
        row: Row,
        /// What lost.
        conflicts: Vec<Conflict>,
        /// Whether the row is now exactly what the edge holds, so that it need not be sent back.
        exact: bool,
    },
    /// The row was deleted and forgotten here, or a death of it without its last values is all there is: it stays gone, and
    /// the values written since are kept as conflicts.
    Gone {
        /// One for each register that the push wrote.
        conflicts: Vec<Conflict>,
    },
    /// The push speaks of writes by others that the hub has never seen: it has to be sent whole.
    NeedFull,
    /// The push contradicts itself or claims writes that are not the pusher's.
    Refused(Forgery),
}

/// Why a pushed version cannot be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// A new dot names a replica that is not the pusher's.
    ForeignDot,
    /// A dot is not covered by the version vector that carries it.
    DotOutsideVector,
    /// A deleter is said to have seen writes that the row has not.
    GoneOutsideVector,
    /// A register has a new dot but no value came with it.
    MissingValue,
}

/// Plans a pushed row for the hub.
///
/// `own` are the pusher's replica ids, former ones included. Stamps have been clamped by [`clamp`] before.
pub fn plan_push(
    table: TableId,
    id: RowId,
    hub: Option<&Row>,
    push: &Push,
    own: &[ReplicaId],
    quiet: Quiet<'_>,
) -> PushPlan {
    let none = Row::default();
    let known = hub.unwrap_or(&none);
    if known.version.vv.includes(&push.version.vv) {
        return PushPlan::Known;
    }
    // A death of which the hub kept no values is one that it had forgotten: there is nothing that an edit could revive.
    let whole = |values: &Values| push.needed.iter().all(|register| values.contains_key(*register));
    let forgotten_here = hub.is_none_or(|hub| !hub.version.is_alive() && !whole(&hub.values));
    // Whoever was told of that death joined it with an edit of his, and has not made the row anew either.
    let knew = push.version.gone.includes(&known.version.gone);
    // A death that met it says no more than the two do: what its pusher takes for acknowledged is forgotten too.
    let is_late = hub.is_none() || !whole(&push.values) || push.version.is_alive() && !knew;
    if forgotten_here && is_late && !push.base.is_empty() {
        let pushed = (&push.version, &push.values);
        return PushPlan::Gone { conflicts: written_to_a_forgotten_row((table, id), pushed, &push.base, own, quiet) };
    }
    let unknown = |(replica, seq): (ReplicaId, u64)| !own.contains(&replica) && seq > known.version.vv.seen(replica);
    if push.version.vv.iter().any(unknown) || push.version.gone.iter().any(unknown) {
        return PushPlan::NeedFull;
    }
    if !push.version.vv.includes(&push.version.gone) {
        return PushPlan::Refused(Forgery::GoneOutsideVector);
    }
    let theirs = match complete(known, push, own) {
        Ok(row) => row,
        Err(forgery) => return PushPlan::Refused(forgery),
    };
    let merged = merge(table, id, known, &theirs, quiet);
    let exact = merged.row.version == push.version;
    PushPlan::Store { row: merged.row, conflicts: merged.conflicts, exact }
}

/// What an edge wrote beyond `base`, which the hub has acknowledged, to a row that was deleted so long ago that nothing is known
/// of its deleter. Nothing if the edge deleted the row as well: that delete had seen its writes.
pub(super) fn written_to_a_forgotten_row(
    (table, id): (TableId, RowId),
    (version, values): (&Version, &Values),
    base: &Vector,
    own: &[ReplicaId],
    quiet: Quiet<'_>,
) -> Vec<Conflict> {
    if !version.is_alive() {
        return Vec::new();
    }
    let unknown = Dot { replica: ReplicaId(0), seq: 0, hlc: Hlc(0), by: None };
    let lost = |(register, value): (&Register, &Value)| {
        let dot = version.dots.of(register).filter(|dot| own.contains(&dot.replica) && !base.covers(dot))?;
        Some(Conflict {
            table,
            row: id,
            kind: Kind::EditDelete,
            register: Some(register.clone()),
            loser: Party { dot, value: Some(value.clone()) },
            winner: Party { dot: unknown, value: None },
            status: Status::Open,
        })
    };
    let loud = values.iter().filter(|(register, _)| !quiet.contains(&register.as_str()));
    loud.filter_map(lost).collect()
}

/// The pushed row made whole: every register whose dot the hub has seen is the hub's own, so that a push can neither
/// lose nor forge the writes of others.
fn complete(known: &Row, push: &Push, own: &[ReplicaId]) -> Result<Row, Forgery> {
    let mut row = Row {
        version: Version {
            vv: push.version.vv.clone(),
            gone: push.version.gone.clone(),
            dots: Dots { default: None, named: BTreeMap::new(), deleted: known.version.dots.deleted },
        },
        values: Values::new(),
    };
    let admit = |dot: Dot| match () {
        () if known.version.vv.covers(&dot) => Ok(None),
        () if !own.contains(&dot.replica) => Err(Forgery::ForeignDot),
        () if !push.version.vv.covers(&dot) => Err(Forgery::DotOutsideVector),
        () => Ok(Some(dot)),
    };
    let default = push.version.dots.default.map(admit).transpose()?.flatten();
    row.version.dots.default = default.or(known.version.dots.default);
    if let Some(deleted) = push.version.dots.deleted.map(admit).transpose()?.flatten() {
        row.version.dots.deleted = Some(deleted);
    }
    for register in registers(known, push) {
        let new = push.version.dots.of(register).map(admit).transpose()?.flatten();
        let (dot, value) = match new {
            Some(dot) => (Some(dot), push.values.get(register)),
            None => (known.version.dots.of(register), known.values.get(register)),
        };
        let removed_key = register.contains('.');
        if new.is_some() && value.is_none() && !removed_key {
            return Err(Forgery::MissingValue);
        }
        if let Some(value) = value {
            row.values.insert(register.clone(), value.clone());
        }
        if let Some(dot) = dot.filter(|dot| row.version.dots.default != Some(*dot)) {
            row.version.dots.named.insert(register.clone(), dot);
        }
    }
    Ok(row)
}

/// Plans the discard of a refused push, as a write of the centre at `dot`; `None` when the hub has its writes already.
///
/// The hub's vector absorbs the pusher's refused writes, so that its row supersedes them wherever they are. What they
/// wrote keeps the hub's values under the centre's dot, so that they win nothing either beside a write made since. A row
/// that the hub does not have is deleted, and keeps the refused values as its last ones: an edit made since may revive it.
pub fn plan_discard(hub: Option<&Row>, refused: &Push, own: &[ReplicaId], dot: Dot) -> Option<Row> {
    let none = Row::default();
    let known = hub.unwrap_or(&none);
    let absorbed: Vector = refused.version.vv.iter().filter(|(replica, _)| own.contains(replica)).collect();
    if known.version.vv.includes(&absorbed) {
        return None;
    }
    let lost = |register: &&Register| {
        let last = refused.version.dots.of(register);
        last.is_some_and(|last| own.contains(&last.replica) && !known.version.vv.covers(&last))
    };
    let lost: Vec<Register> = registers(known, refused).into_iter().filter(lost).cloned().collect();
    let mut row = known.clone();
    row.version.vv = row.version.vv.join(&absorbed);
    row.version.vv.observe(dot.replica, dot.seq);
    row.version.dots.named.extend(lost.into_iter().map(|register| (register, dot)));
    if hub.is_none() {
        row.version.dots = Dots { default: Some(dot), ..Dots::default() };
        row.values = refused.values.clone();
    }
    if !known.version.is_alive() {
        row.version.delete(dot);
    }
    Some(row)
}

/// What takes the place of a row that was forgotten at the hub, by its write at `dot`: everything that the pusher has seen of
/// it is gone, of the replicas that the hub knows.
///
/// Of its own writes the centre believes nobody. Who speaks of later ones has them from a future that it has lost, and it
/// shall not take those that it makes now for dead.
pub fn plan_gone(known: &Version, pushed: &Version, is_known: impl Fn(ReplicaId) -> bool, dot: Dot) -> Version {
    let seen = pushed.vv.iter().filter(|(replica, _)| *replica != dot.replica && is_known(*replica));
    let mut version = Version { vv: seen.collect::<Vector>().join(&known.vv), ..Version::default() };
    version.delete(dot);
    version
}

fn registers<'a>(known: &'a Row, push: &'a Push) -> BTreeSet<&'a Register> {
    let ours = known.values.keys().chain(known.version.dots.named.keys());
    ours.chain(push.values.keys()).chain(push.version.dots.named.keys()).collect()
}

/// A write of this replica by somebody who decided about an older state of the row: their page was filled before
/// somebody else wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Late {
    /// The write. Its stamp is later than the row's, like that of every write.
    pub dot: Dot,
    /// What its writer had seen of the row.
    pub past: Vector,
    /// What it wrote; `None` for a JSON key that it removed.
    pub values: BTreeMap<Register, Option<Value>>,
}

/// No hub gives a replica this id. It stands for the page of a [`Late`] write while it is merged.
const PAGE: ReplicaId = ReplicaId(u32::MAX);

/// Plans a late write on the row as it is at present: like one from another replica that had seen only its past.
///
/// The vector of one replica orders all of its writes, whoever of its people made them, so that the write is merged
/// under the name of a replica of its own and takes its real one afterwards. What it beats is thus found by [`merge`],
/// and only here: every vector from now on covers both writes.
pub fn plan_late(table: TableId, id: RowId, present: &Row, late: &Late, quiet: Quiet<'_>) -> Merged {
    let alias = Dot { replica: PAGE, seq: 1, ..late.dot };
    let mut page = Row::default();
    page.version.vv = late.past.iter().filter(|(replica, _)| *replica != PAGE).collect();
    page.version.vv.observe(alias.replica, alias.seq);
    for (register, value) in &late.values {
        page.version.dots.named.insert(register.clone(), alias);
        page.values.extend(value.clone().map(|value| (register.clone(), value)));
    }
    let mut merged = merge(table, id, present, &page, quiet);
    merged.row.version.vv = present.version.vv.clone();
    merged.row.version.vv.observe(late.dot.replica, late.dot.seq);
    let parties = merged.conflicts.iter_mut().flat_map(|conflict| [&mut conflict.winner.dot, &mut conflict.loser.dot]);
    for dot in merged.row.version.dots.iter_mut().chain(parties).filter(|dot| dot.same_write(&alias)) {
        *dot = late.dot;
    }
    merged
}

/// The registers a push has to carry: those whose last write is one of `own` and is not in `base`.
pub fn unacknowledged<'a>(row: &'a Row, base: &'a Vector, own: &'a [ReplicaId]) -> impl Iterator<Item = &'a Register> {
    row.values.keys().filter(move |register| {
        row.version.dots.of(register).is_some_and(|dot| own.contains(&dot.replica) && !base.covers(&dot))
    })
}

/// A stamp that the hub lowered because it lay in the future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clamp {
    /// The replica whose write it is.
    pub replica: ReplicaId,
    /// The write.
    pub seq: u64,
    /// Its stamp from now on.
    pub hlc: Hlc,
}

/// Lowers every dot of `own` that lies above `ceiling` and that `known`, the hub's version of the row, has not seen;
/// and says which. None is lowered below what the hub knows of the row: the write may have seen it, and hub processes
/// whose clocks differ, or one whose clock was set back, would otherwise let the older write win.
pub fn clamp(version: &mut Version, known: &Version, own: &[ReplicaId], ceiling: Hlc) -> Vec<Clamp> {
    let ceiling = ceiling.max(Hlc(known.hlc().0.saturating_add(1)));
    let mut clamps: Vec<Clamp> = Vec::new();
    for dot in version.dots.iter_mut() {
        if own.contains(&dot.replica) && !known.vv.covers(dot) && dot.hlc > ceiling {
            dot.hlc = ceiling;
            if !clamps.iter().any(|clamp| clamp.replica == dot.replica && clamp.seq == dot.seq) {
                clamps.push(Clamp { replica: dot.replica, seq: dot.seq, hlc: ceiling });
            }
        }
    }
    clamps
}

/// Gives the writes that a pushed conflict names the stamps they have at the hub, and says whether any was lowered.
///
/// `row` is the hub's version of the conflict's row after the push. A write that it still names has its stamp from
/// there, so that the record is the same wherever the conflict was met; any other, whoever made it, lies at most at
/// `ceiling`, or as high as the row itself.
pub fn clamp_conflict(conflict: &mut Conflict, row: &Version, ceiling: Hlc) -> bool {
    let ceiling = ceiling.max(row.hlc());
    let mut lowered = false;
    for dot in [&mut conflict.loser.dot, &mut conflict.winner.dot] {
        let stored = row.dots.iter().find(|stored| stored.same_write(dot)).map(|stored| stored.hlc);
        let hlc = dot.hlc.min(stored.unwrap_or(ceiling));
        lowered |= hlc < dot.hlc;
        dot.hlc = hlc;
    }
    lowered
}

/// Applies the hub's clamps to the edge's own copy. Later writes of the row by the same replica are restamped just
/// above, in their order, so that what came later still ranks later.
///
/// `base` is the hub's vector that the edge last knew for this row, before the answer that brought the clamps. A clamp
/// of a write in it has been applied already: applying it again would lower writes made since, below writes of others
/// that they had seen.
pub fn restamp(version: &mut Version, base: &Vector, clamps: &[Clamp]) {
    for clamp in clamps.iter().filter(|clamp| clamp.seq > base.seen(clamp.replica)) {
        for dot in version.dots.iter_mut().filter(|dot| dot.replica == clamp.replica) {
            if dot.seq == clamp.seq {
                dot.hlc = dot.hlc.min(clamp.hlc);
            } else if dot.seq > clamp.seq {
                let later = Hlc(clamp.hlc.0.saturating_add(dot.seq - clamp.seq));
                dot.hlc = dot.hlc.min(later);
            }
        }
    }
}
